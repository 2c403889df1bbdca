//! Counts lines of code.
//!
//! Decides what a line of code is: one that still holds something after comments, blank space and
//! tests are taken away. The text is read character by character, so that a comment sign inside a
//! string, a nested comment or a raw string deceives nobody. Tests are items under
//! `#[cfg(test)]`; what only builds the image (packer, generators) is left out in the same way.

use std::ops::{AddAssign, Range};

/// What a file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust.
    Rust,
    /// Arm assembly for the C preprocessor or the compiler's assembler.
    Assembly,
}

impl Language {
    /// The language of a file, by its name.
    pub fn of(name: &str) -> Option<Language> {
        match name.rsplit_once('.')?.1 {
            "rs" => Some(Language::Rust),
            "S" | "s" => Some(Language::Assembly),
            _ => None,
        }
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Lines with code.
    pub code: u64,
    /// Lines with comment and no code.
    pub comments: u64,
    /// `unsafe` blocks.
    pub unsafe_blocks: u64,
    /// Comments that say why an `unsafe` is sound.
    pub safety_comments: u64,
}

impl AddAssign for Lines {
    fn add_assign(&mut self, other: Lines) {
        self.code += other.code;
        self.comments += other.comments;
        self.unsafe_blocks += other.unsafe_blocks;
        self.safety_comments += other.safety_comments;
    }
}

/// Counts the lines of a file.
pub fn count(text: &str, language: Language) -> Lines {
    let split = Split::new(text, language);
    let ranges = match language {
        Language::Rust => elsewhere(&split.code, &split.bare),
        Language::Assembly => Vec::new(),
    };
    let code = without(&split.code, &ranges);
    let mut lines = Lines::default();
    for ((code, original), comment) in
        code.lines().zip(split.code.lines()).zip(split.comment.lines())
    {
        if !code.trim().is_empty() {
            lines.code += 1;
        } else if original.trim().is_empty() && !comment.trim().is_empty() {
            lines.comments += 1;
        }
        // Of comments in tests nothing is taken: they are counted with the code they are in.
        if comment.contains("SAFETY:") && !is_test_line(original, code) {
            lines.safety_comments += 1;
        }
    }
    if language == Language::Rust {
        lines.unsafe_blocks = unsafe_blocks(&without(&split.bare, &ranges));
    }
    lines
}

/// Whether a line had code that was taken away as a test.
fn is_test_line(original: &str, code: &str) -> bool {
    !original.trim().is_empty() && code.trim().is_empty()
}

/// A file in three layers of the same shape, each with blanks where the others have text.
struct Split {
    /// Code with its strings.
    code: String,
    /// Code without what is in strings.
    bare: String,
    /// Comments.
    comment: String,
}

impl Split {
    fn new(text: &str, language: Language) -> Split {
        let mut split = Split { code: String::new(), bare: String::new(), comment: String::new() };
        let mut rest = text;
        while !rest.is_empty() {
            let (kind, length) = token(rest, language);
            let (piece, after) = rest.split_at(length);
            let blank = blanked(piece);
            match kind {
                Kind::Comment => {
                    split.comment.push_str(piece);
                    split.code.push_str(&blank);
                    split.bare.push_str(&blank);
                }
                Kind::Text => {
                    split.comment.push_str(&blank);
                    split.code.push_str(piece);
                    split.bare.push_str(&blank);
                }
                Kind::Code => {
                    split.comment.push_str(&blank);
                    split.code.push_str(piece);
                    split.bare.push_str(piece);
                }
            }
            rest = after;
        }
        split
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Comment,
    Text,
    Code,
}

/// The piece that `rest` begins with, and its length in bytes.
fn token(rest: &str, language: Language) -> (Kind, usize) {
    if rest.starts_with("//") {
        return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Kind::Comment, block_comment(rest, language == Language::Rust));
    }
    if rest.starts_with('"') {
        return (Kind::Text, quoted(rest, 1));
    }
    if language == Language::Rust {
        if let Some(length) = raw_string(rest) {
            return (Kind::Text, length);
        }
        if let Some(length) = character(rest) {
            return (Kind::Text, length);
        }
        // A whole word at once, so that its letters are not taken for a string's prefix.
        let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        if word > 0 {
            return (Kind::Code, word);
        }
    }
    (Kind::Code, rest.chars().next().map_or(0, char::len_utf8))
}

/// The length of a block comment; Rust's may hold others.
fn block_comment(rest: &str, nested: bool) -> usize {
    let (mut depth, mut at) = (1, 2);
    while depth > 0 {
        let Some(found) = rest[at..].find(['*', '/']) else {
            return rest.len();
        };
        at += found;
        if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
        } else if nested && rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else {
            at += 1;
        }
    }
    at
}

/// The length of a string whose text begins at `start`.
fn quoted(rest: &str, start: usize) -> usize {
    let mut escaped = false;
    for (at, c) in rest[start..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return start + at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a raw string (`r"..."`, `br#"..."#`, `c"..."`), if there is one.
fn raw_string(rest: &str) -> Option<usize> {
    let after = ["br", "cr", "r"].iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let text = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - text.len();
    Some(text.find(&end).map_or(rest.len(), |at| start + at + end.len()))
}

/// The length of a character literal, if it is one and not a lifetime.
fn character(rest: &str) -> Option<usize> {
    let text = rest.strip_prefix('\'')?;
    if let Some(escape) = text.strip_prefix('\\') {
        // The escaped character itself may be a quote.
        let skip = escape.chars().next()?.len_utf8();
        let end = escape[skip..].find('\'')?;
        return Some(2 + skip + end + 1);
    }
    let length = text.chars().next()?.len_utf8();
    text[length..].starts_with('\'').then_some(length + 2)
}

/// The attributes of items that are never in the image: tests, and what only runs where it is built.
const ELSEWHERE: [&str; 5] = [
    "#[cfg(test)]",
    "#[cfg(feature=\"pack\")]",
    "#[cfg(feature=\"generate\")]",
    "#[cfg(any(test,feature=\"generate\"))]",
    "#[cfg(any(test,feature=\"invariants\"))]",
];

/// Where the items are that are never in the image, as ranges of bytes. `code` has the strings that
/// `bare` has not.
fn elsewhere(code: &str, bare: &str) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (start, _) in bare.match_indices("#[cfg(") {
        if ranges.last().is_some_and(|range| start < range.end) {
            continue;
        }
        let Some(length) = bare[start..].find(']') else { continue };
        let end = start + length + 1;
        let attribute: String = code[start..end].split_whitespace().collect();
        if ELSEWHERE.contains(&attribute.as_str()) {
            ranges.push(start..end + item(&bare[end..]));
        }
    }
    ranges
}

/// `text` with these ranges blanked.
fn without(text: &str, ranges: &[Range<usize>]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut at = 0;
    for range in ranges {
        result.push_str(&text[at..range.start]);
        result.push_str(&blanked(&text[range.clone()]));
        at = range.end;
    }
    result.push_str(&text[at..]);
    result
}

/// The modules in other files that a file declares and that are never in the image.
pub fn modules_elsewhere(text: &str) -> Vec<String> {
    let split = Split::new(text, Language::Rust);
    let items = elsewhere(&split.code, &split.bare).into_iter().map(|range| &split.bare[range]);
    let declared = items.filter_map(|item| {
        let name = item.rsplit_once("mod ")?.1.strip_suffix(';')?.trim();
        name.chars().all(|c| c.is_alphanumeric() || c == '_').then(|| name.to_owned())
    });
    declared.collect()
}

/// As many bytes of blank space, in as many lines.
fn blanked(piece: &str) -> String {
    piece.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
}

/// The length of the item that `bare` begins with: up to its `;`, or through its braces.
fn item(bare: &str) -> usize {
    let mut depth = 0_u32;
    for (at, c) in bare.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && c == '}' {
                    // The braces of a `use` have its semicolon behind them.
                    let end = at + 1;
                    return if bare[end..].starts_with(';') { end + 1 } else { end };
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    bare.len()
}

/// The number of `unsafe {` in code without comments and strings.
fn unsafe_blocks(bare: &str) -> u64 {
    let mut count = 0;
    for (at, _) in bare.match_indices("unsafe") {
        let before = bare[..at].chars().next_back();
        let whole = !before.is_some_and(|c| c.is_alphanumeric() || c == '_');
        if whole && bare[at + "unsafe".len()..].trim_start().starts_with('{') {
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests;

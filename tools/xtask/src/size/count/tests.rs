//! What is code, and what only looks like it.

use super::{Language, Lines, count};

fn rust(text: &str) -> Lines {
    count(text, Language::Rust)
}

#[test]
fn blank_lines_and_comments_are_no_code() {
    let lines = rust("//! Doc.\n\n/// Doc.\nfn f() {} // why\n/* a\n b */\n");
    assert_eq!((lines.code, lines.comments), (1, 4));
}

#[test]
fn a_comment_sign_in_a_string_begins_no_comment() {
    let text =
        "let a = \"// no\";\nlet b = r#\"/* \"no\" \"#;\nlet c = '\"';\nlet d = b'\\'';\nf();\n";
    assert_eq!(rust(text).code, 5);
}

#[test]
fn comments_nest_in_rust_and_not_in_assembly() {
    let text = "/* a /* b */\nc */\nd\n";
    assert_eq!(rust(text).code, 1);
    assert_eq!(count(text, Language::Assembly).code, 2);
}

#[test]
fn a_lifetime_is_no_character() {
    let lines = rust("fn f<'a>(x: &'a str) -> &'a str {\n    // c\n    x\n}\n");
    assert_eq!((lines.code, lines.comments), (3, 1));
}

#[test]
fn tests_are_left_out_wherever_they_are() {
    let text = "\
fn a() {}
#[cfg(test)]
mod tests;
#[cfg(test)]
mod more {
    fn b() { let s = \"}\"; }
}
#[cfg(test)]
use x::{y, z};
fn c() {}
";
    assert_eq!(rust(text).code, 2);
}

#[test]
fn other_configurations_are_code() {
    assert_eq!(rust("#[cfg(not(test))]\nfn a() {}\n").code, 2);
}

#[test]
fn counts_unsafe_blocks_and_their_reasons() {
    let text = "\
// SAFETY: why.
unsafe { f() };
unsafe fn g() {}
let s = \"unsafe { }\"; // unsafe { }
let not_unsafe = { 1 };
// SAFETY: why.
unsafe
{ h() }
#[cfg(test)]
mod t {
    fn x() { unsafe { f() } }
}
";
    let lines = rust(text);
    assert_eq!((lines.unsafe_blocks, lines.safety_comments), (2, 2));
}

#[test]
fn letters_before_a_quote_are_no_raw_string() {
    assert_eq!(rust("bar\"x\";\nfor\"//\";\n").code, 2);
}

#[test]
fn lines_with_wide_characters_keep_their_place() {
    let lines = rust("let é = \"ü\"; // ö\n// ß\nfn f() {}\n#[cfg(test)]\nmod é {}\n");
    assert_eq!((lines.code, lines.comments), (2, 1));
}

#[test]
fn assembly_counts_instructions_and_labels() {
    let text = "// file\nstart:\n    mov x0, x1 // why\n\n/* c */ nop\n";
    assert_eq!(count(text, Language::Assembly).code, 3);
}

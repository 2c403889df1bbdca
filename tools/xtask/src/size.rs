//! Measures the trusted base.
//!
//! Decides what counts: code at EL2 without tests, blank lines and comments, per crate; `unsafe`
//! blocks and the comments that justify them; the bytes and the panics in the linked image; the
//! crates it depends on.

mod count;
mod dependencies;
mod symbols;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::build;
use crate::elf;
use crate::paths::Paths;
use crate::setup;

use count::{Language, Lines};

/// The crates that are EL2, and their folders.
const CRATES: [(&str, &str); 3] = [
    ("redoubt-abi", "hyp/redoubt-abi"),
    ("redoubt-core", "hyp/redoubt-core"),
    ("redoubt-el2", "hyp/redoubt-el2"),
];

/// The crate of ours that runs once, before anything else does.
const BOOT: (&str, &str) = ("redoubt-boot", "boot");

/// The most lines of the crates that are EL2; what they depend on is reported beside them.
const BUDGET: u64 = 10_000;

/// `cargo xtask size`.
pub fn command() -> Result<ExitCode> {
    let paths = Paths::find()?;
    let ready = setup::ensure(&paths)?;
    println!("{:<24}{:>8}{:>10}{:>10}{:>8}", "", "lines", "comments", "unsafe {", "SAFETY");
    let mut total = Lines::default();
    for (name, folder) in CRATES {
        let lines = crate_lines(&paths.root.join(folder))?;
        row(name, &lines);
        total += lines;
    }
    row("total at EL2", &total);
    println!("{:<24}{BUDGET:>8}", "budget");
    row(&format!("{}, at boot", BOOT.0), &crate_lines(&paths.root.join(BOOT.1))?);
    let dependencies = dependencies::of_image(&paths)?;
    println!("dependency crates in the trusted base: {}", dependencies.len());
    for dependency in &dependencies {
        let lines = crate_lines(&dependency.folder)?;
        row(&format!("  {} {}", dependency.name, dependency.version), &lines);
    }
    let mut good = total.code <= BUDGET && total.unsafe_blocks <= total.safety_comments;
    let program = build::hypervisor_elf(&paths, ready.road)?;
    let bytes = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    let flat = elf::flatten(&bytes)?;
    println!("image: {} bytes, {} in memory", flat.bytes.len(), flat.memory_size);
    let panics = symbols::panics(&bytes)?;
    println!("panic symbols in the image: {}", panics.len());
    panics.iter().for_each(|symbol| println!("  {symbol}"));
    good &= panics.is_empty();
    if !good {
        println!("over budget: the trusted base must shrink");
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn row(name: &str, lines: &Lines) {
    println!(
        "{name:<24}{:>8}{:>10}{:>10}{:>8}",
        lines.code, lines.comments, lines.unsafe_blocks, lines.safety_comments
    );
}

/// Counts what is compiled from a crate's `src`, its build script being none of it.
fn crate_lines(folder: &Path) -> Result<Lines> {
    let mut files = Vec::new();
    collect(&folder.join("src"), &mut files)?;
    let mut texts = Vec::new();
    let mut elsewhere = BTreeSet::new();
    for file in files {
        let Some(language) = Language::of(&file.to_string_lossy()) else { continue };
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        if language == Language::Rust {
            let folder = submodules(&file);
            let names = count::modules_elsewhere(&text);
            elsewhere.extend(names.into_iter().map(|name| folder.join(name)));
        }
        texts.push((file, text, language));
    }
    let mut total = Lines::default();
    for (file, text, language) in texts {
        if !file.ancestors().any(|path| elsewhere.contains(&path.with_extension(""))) {
            total += count::count(&text, language);
        }
    }
    Ok(total)
}

/// Where the modules are that a file declares.
fn submodules(file: &Path) -> PathBuf {
    let root = ["lib.rs", "main.rs", "mod.rs"].iter().any(|name| file.ends_with(name));
    if root { file.with_file_name("") } else { file.with_extension("") }
}

/// Finds all files below `folder`, but for programs of a library crate: those run elsewhere.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if !path.is_dir() {
            files.push(path);
        } else if !path.ends_with("src/bin") {
            collect(&path, files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! Modules that are left out with their files.

    use super::{crate_lines, submodules};
    use std::fs;
    use std::path::Path;

    #[test]
    fn modules_are_where_rust_looks_for_them() {
        assert_eq!(submodules(Path::new("src/lib.rs")), Path::new("src/"));
        assert_eq!(submodules(Path::new("src/a/mod.rs")), Path::new("src/a/"));
        assert_eq!(submodules(Path::new("src/a.rs")), Path::new("src/a"));
    }

    #[test]
    fn what_is_not_in_the_image_does_not_count() {
        let root = std::env::temp_dir().join(format!("redoubt-size-{}", std::process::id()));
        let write = |name: &str, text: &str| {
            let file = root.join("src").join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        write("lib.rs", "mod a;\n#[cfg(test)]\nmod fake;\n#[cfg(feature = \"pack\")]\nfn p() {}\n");
        write("a.rs", "fn a() {}\n#[cfg(test)]\nmod tests;\n");
        write("a/tests.rs", "fn t() {}\n");
        write("fake.rs", "fn f() {}\n");
        write("fake/more.rs", "fn m() {}\n");
        write("entry.S", "nop\n");
        write("bin/tool.rs", "fn main() {}\n");
        assert_eq!(crate_lines(&root).unwrap().code, 3);
        fs::remove_dir_all(&root).unwrap();
    }
}

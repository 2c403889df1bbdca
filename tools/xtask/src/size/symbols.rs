//! Panics in a linked image.
//!
//! Decides what a panic is: a function of Rust's panic machinery that the linker kept. Where there
//! is none, no code path of the image can panic.

use anyhow::{Context, Result, bail};
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol};

/// The panic machinery of `core` and of the code generator.
const MARKS: [&str; 7] = [
    "core::panicking",
    "core::option::unwrap_failed",
    "core::option::expect_failed",
    "core::result::unwrap_failed",
    "core::slice::index::slice_",
    "rust_begin_unwind",
    "panic_",
];

/// The panic functions in `elf`, by their Rust names.
pub fn panics(elf: &[u8]) -> Result<Vec<String>> {
    let file = ElfFile64::<Endianness>::parse(elf).context("this is no 64-bit ELF file")?;
    let names: Vec<_> = file.symbols().filter_map(|symbol| symbol.name().ok()).collect();
    if names.iter().all(|name| name.is_empty()) {
        bail!("the image has no symbols, so its panics cannot be counted: do not strip it");
    }
    let mut found: Vec<_> = names.into_iter().map(readable).filter(|name| is_panic(name)).collect();
    found.sort();
    found.dedup();
    Ok(found)
}

fn readable(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

fn is_panic(name: &str) -> bool {
    MARKS.iter().any(|mark| name.contains(mark))
}

#[cfg(test)]
mod tests {
    //! Names as the compiler makes them.

    use super::{is_panic, readable};

    #[test]
    fn knows_the_panic_machinery() {
        let mangled = "_ZN4core9panicking18panic_bounds_check17h0123456789abcdefE";
        assert_eq!(readable(mangled), "core::panicking::panic_bounds_check");
        assert!(is_panic(&readable(mangled)));
        assert!(is_panic("__rustc::rust_begin_unwind"));
        assert!(!is_panic("redoubt_core::stage2::map"));
    }
}

//! The UART to speak through.
//!
//! The console is never a reason to refuse a boot: what cannot be resolved is as good as absent.

use crate::bytes;
use crate::error::BootError;
use crate::fdt::{Fdt, MAX_PATH_SIZE, Path};
use crate::range::PhysRange;

/// A PL011 UART.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Console {
    /// Its registers.
    pub registers: PhysRange,
}

/// Tells whether the node is a UART with the PL011's data and flag registers.
fn is_pl011(path: &Path<'_>) -> bool {
    let node = path.node();
    path.is_enabled() && (node.is_compatible(b"arm,pl011") || node.is_compatible(b"arm,sbsa-uart"))
}

/// Finds the UART that /chosen names, or else the first one.
#[inline(never)]
pub(crate) fn find_console(fdt: &Fdt<'_>) -> Result<Option<Console>, BootError> {
    let chosen = chosen_path(fdt);
    let mut first = None;
    let mut walk = fdt.walk();
    while let Some(path) = walk.next_node() {
        if !is_pl011(path) {
            continue;
        }
        if chosen.is_some_and(|chosen| path.matches(chosen)) {
            return console_at(path);
        }
        if first.is_none() {
            first = Some(console_at(path));
        }
    }
    first.unwrap_or(Ok(None))
}

/// Resolves `stdout-path`: an absolute path or an alias, and behind a `:` options.
#[inline(never)]
fn chosen_path<'a>(fdt: &Fdt<'a>) -> Option<&'a [u8]> {
    let stdout = string_at(fdt, b"/chosen", b"stdout-path")?;
    let target = bytes::before(stdout, b':');
    let path = if target.starts_with(b"/") { target } else { string_at(fdt, b"/aliases", target)? };
    if path.len() <= MAX_PATH_SIZE { Some(path) } else { None }
}

/// Reads a string of the node at `path`.
#[inline(never)]
fn string_at<'a>(fdt: &Fdt<'a>, path: &[u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut walk = fdt.walk();
    while let Some(here) = walk.next_node() {
        if here.matches(path) {
            return here.node().property(name)?.as_string();
        }
    }
    None
}

/// Reads the first frame of the UART.
fn console_at(path: &Path<'_>) -> Result<Option<Console>, BootError> {
    let Some(entry) = path.reg()?.next() else {
        return Ok(None);
    };
    let (start, size) = entry?;
    Ok(path.translate(start, size)?.map(|registers| Console { registers }))
}

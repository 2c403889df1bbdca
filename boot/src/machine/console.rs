//! The UART to speak through.
//!
//! The console is never a reason to refuse a boot: what cannot be resolved is as good as absent.

use crate::bytes;
use crate::error::BootError;
use crate::fdt::{Fdt, Path};
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
    if let Some(path) = chosen_path(fdt).filter(is_pl011) {
        return console_at(&path);
    }
    let mut walk = fdt.walk();
    while let Some(path) = walk.next_node() {
        if is_pl011(path) {
            return console_at(path);
        }
    }
    Ok(None)
}

/// Resolves `stdout-path`: an absolute path or an alias, and behind a `:` options.
#[inline(never)]
fn chosen_path<'a>(fdt: &Fdt<'a>) -> Option<Path<'a>> {
    let chosen = fdt.find(b"/chosen")?;
    let stdout = chosen.node().property(b"stdout-path")?.as_string()?;
    let target = bytes::before(stdout, b':');
    if target.starts_with(b"/") {
        return fdt.find(target);
    }
    let aliases = fdt.find(b"/aliases")?;
    fdt.find(aliases.node().property(target)?.as_string()?)
}

/// Reads the first frame of the UART.
fn console_at(path: &Path<'_>) -> Result<Option<Console>, BootError> {
    let Some(entry) = path.reg()?.next() else {
        return Ok(None);
    };
    let (start, size) = entry?;
    Ok(path.translate(start, size)?.map(|registers| Console { registers }))
}

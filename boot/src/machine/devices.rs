//! The address ranges that the host may reach as devices.
//!
//! The union of the `reg` of every enabled node that a CPU can address, and of the windows of
//! PCI host bridges. What is left out: memory, CPUs, reserved memory, what lies behind a bus that
//! maps nothing (I2C addresses and the like), and devices below PCI, whose `reg` is a function
//! number; what is withdrawn from the host, with every page of it, even if another device has
//! registers there too; and of the interrupt controller, the frames of the GICv2 compatible CPU
//! and virtual CPU interfaces, which are EL2's or nobody's. What the set does not hold, the host
//! cannot touch: leaving out is the safe mistake, and a device on a page of RAM is refused,
//! because a rule for one would then be a hole in the other.

use crate::error::BootError;
use crate::fdt::{Fdt, Path};
use crate::range::{PhysRange, RangeSet};

use super::interrupts::{GicV3, is_gic_node};
use super::masters::is_withdrawn_node;
use super::memory::{MAX_MEMORY_RANGES, is_memory_node};

/// How many device ranges, after adjacent ones are joined, there is room for.
pub const MAX_DEVICE_RANGES: usize = 64;

/// Tells whether `reg` of the node holds addresses of registers.
pub(super) fn has_registers(path: &Path<'_>) -> bool {
    path.is_enabled()
        && path.depth() > 0
        && !is_memory_node(path)
        && !path.is_in(b"cpus")
        && !path.is_in(b"reserved-memory")
        && !path.is_in(b"chosen")
        && !path.is_below_pci()
}

/// Collects the device ranges; `memory` is RAM to the byte, parts of pages included.
#[inline(never)]
pub(crate) fn collect_devices(
    fdt: &Fdt<'_>,
    gic: &GicV3,
    memory: &RangeSet<MAX_MEMORY_RANGES>,
) -> Result<RangeSet<MAX_DEVICE_RANGES>, BootError> {
    let mut devices = RangeSet::default();
    let mut walk = fdt.walk();
    while let Some(path) = walk.next_node() {
        if !has_registers(path) {
            continue;
        }
        let name = path.node().display_name();
        let is_gic = is_gic_node(&path.node());
        let is_withdrawn = is_withdrawn_node(&path.node());
        let mut add = |range: PhysRange| {
            let pages = range.page_outward();
            if memory.overlaps(&pages) {
                return Err(BootError::DeviceOverlapsMemory(name));
            }
            if is_withdrawn {
                return Ok(());
            }
            devices.insert(pages).map_err(|_| BootError::TooManyDeviceRanges(name))
        };
        for entry in path.reg()? {
            let (start, size) = entry?;
            if size == 0 {
                continue;
            }
            match path.translate(start, size)? {
                Some(range) if !is_gic || gic.is_host_frame(&range) => add(range)?,
                Some(_) | None => {}
            }
        }
        if path.is_pci() {
            for window in path.pci_windows()? {
                add(window?)?;
            }
        }
    }
    withdraw(fdt, &mut devices)?;
    Ok(devices)
}

/// Takes the pages of all withdrawn devices away, the disabled ones included: they may be
/// there nevertheless.
#[inline(never)]
fn withdraw(fdt: &Fdt<'_>, devices: &mut RangeSet<MAX_DEVICE_RANGES>) -> Result<(), BootError> {
    let mut walk = fdt.walk();
    while let Some(path) = walk.next_node() {
        if !is_withdrawn_node(&path.node()) {
            continue;
        }
        for entry in path.reg()? {
            let (start, size) = entry?;
            if size != 0
                && let Some(range) = path.translate(start, size)?
            {
                let full = BootError::TooManyDeviceRanges(path.node().display_name());
                devices.remove(range.page_outward()).map_err(|_| full)?;
            }
        }
    }
    Ok(())
}

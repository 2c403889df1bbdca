//! Registers of devices that EL2 drives or guards, mapped while EL2 boots and for good.
//!
//! One page a slot: two for each SMMU (its two register pages), one for each ITS (the first page of
//! its control frame), one for each CPU (the first page of its redistributor).

use redoubt_core::addr::Pa;
use redoubt_core::cpu::MAX_CPUS;
use redoubt_core::gic::MAX_ITS;
use redoubt_core::hw::RegisterFrame;
use redoubt_core::smmu::MAX_SMMUS;

use crate::layout::{FIRST_DEVICE, FIXMAP_VA};
use crate::window;

/// First page of the ITSs.
const ITS: u64 = 2 * MAX_SMMUS as u64;
/// First page of the redistributors.
const REDISTRIBUTORS: u64 = ITS + MAX_ITS as u64;
/// Pages in all.
pub const PAGES: u64 = REDISTRIBUTORS + MAX_CPUS as u64;

/// Bytes from an SMMU's register page 0 to page 1 (IHI 0070, 6.1).
pub const SMMU_PAGE1: u32 = 0x1_0000;

/// The number, among windows and device pages, of the page that holds a register.
fn page(frame: RegisterFrame, offset: u32) -> u64 {
    let (first, number) = match frame {
        RegisterFrame::Smmu(number) => {
            (u64::from(offset >= SMMU_PAGE1), u64::from(number).saturating_mul(2))
        }
        RegisterFrame::Its(number) => (ITS, number.into()),
        RegisterFrame::Redistributor(cpu) => (REDISTRIBUTORS, cpu.into()),
    };
    // A number beyond the room would be a bug; it leads to a page that is not mapped.
    FIRST_DEVICE.saturating_add(number.saturating_add(first).min(PAGES))
}

/// Maps the page that holds the register at `offset`. Only the first CPU does this, while booting.
pub fn map(frame: RegisterFrame, offset: u32, registers: Pa) {
    window::map_device(page(frame, offset), registers);
}

/// Where a register is.
pub fn address(frame: RegisterFrame, offset: u32) -> u64 {
    let page = FIXMAP_VA.saturating_add(page(frame, offset).saturating_mul(4096));
    page.saturating_add(u64::from(offset) & 0xfff)
}

/// Reads 32 bits.
pub fn read32(frame: RegisterFrame, offset: u32) -> u32 {
    // SAFETY: the address lies in the slots, where only device registers are mapped.
    unsafe { ((address(frame, offset) & !3) as *const u32).read_volatile() }
}

/// Reads 64 bits.
pub fn read64(frame: RegisterFrame, offset: u32) -> u64 {
    // SAFETY: as in `read32`.
    unsafe { ((address(frame, offset) & !7) as *const u64).read_volatile() }
}

/// Writes 32 bits.
pub fn write32(frame: RegisterFrame, offset: u32, value: u32) {
    // SAFETY: as in `read32`. What a device does with memory on a write is what the core decided.
    unsafe { ((address(frame, offset) & !3) as *mut u32).write_volatile(value) }
}

/// Writes 64 bits.
pub fn write64(frame: RegisterFrame, offset: u32, value: u64) {
    // SAFETY: as in `write32`.
    unsafe { ((address(frame, offset) & !7) as *mut u64).write_volatile(value) }
}

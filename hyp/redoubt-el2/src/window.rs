//! Windows: a page of memory that is not EL2's own, mapped for one operation.
//!
//! EL2 has no linear map of RAM. A page of a VM or of the host is mapped into one of this CPU's
//! windows, used, and unmapped, with its TLB entry gone before the window is free again. Other CPUs
//! never use this CPU's windows, so their TLBs need not be asked. A window is writable and never
//! executable.

use redoubt_core::addr::Pa;
use redoubt_core::stage1::{HypAttrs, Stage1};

use crate::arch;
use crate::layout::{FIXMAP_PAGES, FIXMAP_VA, WINDOWS};
use crate::percpu;
use crate::sync::BootCell;

/// What a window is for. A CPU has one window of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Use {
    /// A translation table of a VM.
    Table = 0,
    /// A page that is scrubbed or cleaned.
    Scrub = 1,
    /// The state page of the vCPU that runs here, or whose registers the host asks for.
    State = 2,
    /// The run page of the vCPU that runs here.
    Run = 3,
    /// The configuration space of a PCI function, while booting.
    Config = 4,
}

const _: () = assert!((Use::Config as u64) < WINDOWS);

/// Address, where EL2 sees it, of the table that holds the descriptors of all windows.
static DESCRIPTORS: BootCell<u64> = BootCell::new();

/// Says where the descriptors are.
pub fn set_descriptors(address: u64) {
    DESCRIPTORS.set(address);
}

/// Where the descriptor of a window or of a page of device registers is.
fn descriptor(number: u64) -> *mut u64 {
    (*DESCRIPTORS.get() as *mut u64).wrapping_add((number % FIXMAP_PAGES) as usize)
}

/// Maps a page of device registers for good, behind the windows.
pub fn map_device(number: u64, registers: Pa) {
    let value = Stage1::page_descriptor(registers, HypAttrs::Device);
    // SAFETY: the descriptor lies in the table, behind those of all windows; only the first CPU maps
    // devices, while it boots.
    unsafe { descriptor(number).write_volatile(value) };
    arch::dsb_ishst();
    arch::isb();
}

/// A mapped page.
#[derive(Debug)]
pub struct Window {
    descriptor: *mut u64,
    address: u64,
}

impl Window {
    /// Maps a page. The caller has checked that EL2 may use it, and has no other window of the
    /// same use open.
    pub fn map(purpose: Use, page: Pa) -> Self {
        let cpu = percpu::this().index.get() as u64;
        let number = cpu.saturating_mul(WINDOWS).saturating_add(purpose as u64);
        let descriptor = descriptor(number);
        let device = purpose == Use::Config;
        let attrs = if device { HypAttrs::Device } else { HypAttrs::Data };
        let value = Stage1::page_descriptor(page, attrs);
        // SAFETY: the descriptor belongs to a window of this CPU, and is inside the table because
        // the layout bounds CPUs and uses.
        if unsafe { descriptor.read_volatile() } != 0 {
            crate::fatal::stop("a window was opened twice");
        }
        // SAFETY: as above.
        unsafe { descriptor.write_volatile(value) };
        arch::dsb_ishst();
        arch::isb();
        Self { descriptor, address: FIXMAP_VA.saturating_add(number.saturating_mul(4096)) }
    }

    /// Start of the mapped page, valid while the window lives.
    pub fn pointer<T>(&self) -> *mut T {
        self.address as *mut T
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: as in `map`; nobody uses the page any more.
        unsafe { self.descriptor.write_volatile(0) };
        arch::dsb_ishst();
        arch::tlbi_vae2_local(self.address);
    }
}

//! Memory effects for `redoubt-core`: tables, TLB maintenance, scrubbing.

use redoubt_core::addr::{HypVa, Ipa, Pa, Pfn};
use redoubt_core::hw::{
    Breach, DeviceHw, FailStop, PageScrub, RegisterFrame, Stage2Context, TableMemory, TlbOps,
};
use redoubt_core::memory::HostMemory;
use redoubt_core::stage1::HypTlb;

use crate::arch::{self, sysreg};
use crate::layout::LINEAR_VA;
use crate::sync::{BootCell, Guard, Lock, rank};
use crate::traps::HOST_STAGE2;
use crate::window::{Use, Window};
use crate::world::{self, Walks};
use crate::{fatal, mmio};

/// The part of EL2's region that the linear map covers.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// First physical address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

impl Linear {
    /// Address of a physical page in the linear map, if it is covered.
    pub fn address(&self, page: Pa) -> Option<u64> {
        let offset = page.raw().checked_sub(self.start)?;
        (offset < self.size).then(|| LINEAR_VA.wrapping_add(offset))
    }
}

/// The linear map.
pub static LINEAR: BootCell<Linear> = BootCell::new();

/// Host memory: the ownership table and the host's stage-2 table.
pub static HOST: BootCell<Lock<{ rank::HOST }, HostMemory<'static>>> = BootCell::new();

/// Takes the lock of host memory.
pub fn host() -> Guard<'static, { rank::HOST }, HostMemory<'static>> {
    HOST.get().lock()
}

/// The effects, for one operation: it keeps the last table of a VM mapped.
#[derive(Debug, Default)]
pub struct Hw {
    table: Option<(Pa, Window)>,
    /// VTCR_EL2 of the VM that this operation is about.
    vm_vtcr: u64,
    /// What `enter` found.
    current: Option<(u64, u64, Walks)>,
}

impl Hw {
    /// Effects for one operation on the host's memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Effects for one operation on a VM, whose tables have this VTCR_EL2.
    pub fn for_vm(vtcr: u64) -> Self {
        Self { vm_vtcr: vtcr, ..Self::default() }
    }

    /// Address of a descriptor.
    fn entry(&mut self, table: Pa, index: usize) -> *mut u64 {
        let index = index & 511;
        if let Some(address) = LINEAR.get().address(table) {
            return (address as *mut u64).wrapping_add(index);
        }
        if let Some((mapped, window)) = &self.table
            && *mapped == table
        {
            return window.pointer::<u64>().wrapping_add(index);
        }
        self.table = None;
        let window = Window::map(Use::Table, table);
        let address = window.pointer::<u64>().wrapping_add(index);
        self.table = Some((table, window));
        address
    }
}

impl TableMemory for Hw {
    fn read(&mut self, table: Pa, index: usize) -> u64 {
        let entry = self.entry(table, index);
        // SAFETY: the address is in the linear map or in an open window, and aligned; the core
        // passes only tables that EL2 owns, and to this function also pages of the host that it has
        // pinned, from which any value is as good as another.
        unsafe { entry.read_volatile() }
    }

    fn write(&mut self, table: Pa, index: usize, descriptor: u64) {
        let entry = self.entry(table, index);
        // SAFETY: as in `read`.
        unsafe { entry.write_volatile(descriptor) }
    }

    fn zero(&mut self, table: Pa) {
        let entry = self.entry(table, 0);
        // SAFETY: as in `read`; a table is one page.
        unsafe { arch::zero_page(entry) }
    }
}

/// Makes another stage 2 the current one. Walks that began under the old one are over before
/// (Arm ARM D8.1.5, R_LFHQG), so that none ends with a mix of the two.
fn load_stage2(vttbr: u64, vtcr: u64) {
    arch::dsb_nsh();
    sysreg::write_vtcr_el2(vtcr);
    sysreg::write_vttbr_el2(vttbr);
    arch::isb();
}

/// Emits a TLBI, and on CPUs that may need it a second time behind a DSB: on some, an access that
/// races with the first one can leave an entry behind (Cortex-A76 erratum 1286807 and its kind).
fn repeatedly(invalidate: impl Fn()) {
    invalidate();
    if redoubt_core::cpu::repeats_tlbi(sysreg::read_midr_el1()) {
        arch::dsb_ish();
        invalidate();
    }
}

impl TlbOps for Hw {
    fn dsb_ishst(&mut self) {
        arch::dsb_ishst();
    }

    fn dsb_ish(&mut self) {
        arch::dsb_ish();
    }

    fn isb(&mut self) {
        arch::isb();
    }

    fn enter(&mut self, context: Stage2Context) {
        let (vttbr, vtcr) = (sysreg::read_vttbr_el2(), sysreg::read_vtcr_el2());
        if vttbr == context.vttbr() {
            return;
        }
        self.current = Some((vttbr, vtcr, world::block_walks()));
        let host = HOST_STAGE2.get();
        let vtcr = if context.vmid == host.context.vmid { host.vtcr } else { self.vm_vtcr };
        load_stage2(context.vttbr(), vtcr);
    }

    fn leave(&mut self) {
        if let Some((vttbr, vtcr, walks)) = self.current.take() {
            load_stage2(vttbr, vtcr);
            world::allow_walks(walks);
        }
    }

    fn invalidate_ipa(&mut self, ipa: Ipa, _level: Option<u8>) {
        repeatedly(|| arch::tlbi_ipas2e1is(ipa.raw()));
    }

    fn invalidate_stage1(&mut self) {
        repeatedly(arch::tlbi_vmalle1is);
    }

    fn invalidate_all(&mut self) {
        repeatedly(arch::tlbi_vmalls12e1is);
    }
}

impl HypTlb for Hw {
    fn break_va(&mut self, va: HypVa) {
        arch::dsb_ishst();
        arch::tlbi_vae2is(va.raw());
        arch::dsb_ish();
        arch::isb();
    }
}

impl PageScrub for Hw {
    fn scrub(&mut self, page: Pfn) {
        let window = Window::map(Use::Scrub, page.base());
        let start = window.pointer::<u64>();
        // SAFETY: the window maps one page, which no lower exception level can reach any more or
        // yet; that is the core's order of steps.
        unsafe { arch::zero_page(start) };
        // SAFETY: the window is mapped.
        unsafe { arch::clean_invalidate(start as u64, 4096) };
    }

    fn clean(&mut self, page: Pfn) {
        let window = Window::map(Use::Scrub, page.base());
        // SAFETY: the window is mapped.
        unsafe { arch::clean_invalidate(window.pointer::<u64>() as u64, 4096) };
    }

    fn settle(&mut self) {
        arch::dsb_ish();
        arch::ic_ialluis();
        arch::dsb_ish();
    }
}

impl DeviceHw for Hw {
    fn read32(&mut self, frame: RegisterFrame, offset: u32) -> u32 {
        mmio::read32(frame, offset)
    }

    fn read64(&mut self, frame: RegisterFrame, offset: u32) -> u64 {
        mmio::read64(frame, offset)
    }

    fn write32(&mut self, frame: RegisterFrame, offset: u32, value: u32) {
        mmio::write32(frame, offset, value);
    }

    fn write64(&mut self, frame: RegisterFrame, offset: u32, value: u64) {
        mmio::write64(frame, offset, value);
    }

    fn clean_entry(&mut self, table: Pa, index: usize) {
        let entry = self.entry(table, index);
        // SAFETY: as in `read`.
        unsafe { arch::clean_line(entry as u64) }
    }

    fn dsb_sy(&mut self) {
        arch::dsb_sy();
    }
}

impl FailStop for Hw {
    fn fail_stop(&mut self, breach: Breach) -> ! {
        fatal::stop(match breach {
            Breach::DmaUnfinished => "an SMMU does not finish an invalidation",
            Breach::TableMissing => "a planned table is missing",
            Breach::TablesDisagree => "a stage-2 table disagrees with the ownership table",
            Breach::TransitionLost => "a planned transition was refused",
        })
    }
}

//! The tables that the host's devices are translated with.
//!
//! Decides that devices do not walk the host's own stage 2: there blocks are split and merged, and in
//! the moment between break and make a transfer to a page that nobody touches would fail. These tables
//! map RAM in 4 KiB pages alone and keep every table that boot has made, so a page comes and goes with
//! one store, of its own descriptor. Devices see what the host sees: its RAM, and what it borrows, at
//! IPA = PA; of devices, only the page that takes their interrupts.
//!
//! Invariant: when [`take`](DeviceTables::take) returns, no SMMU has a translation to the pages.
//! [`Stage2`] keeps the order of stores, barriers and invalidations here as it does for CPUs; the view
//! below says what each step is for an SMMU.

use super::check_free;
use crate::addr::{Ipa, Pa, PageRange};
use crate::hw::{Breach, FailStop, MemoryHw, Stage2Context, TableMemory, TlbOps};
use crate::refusal::Refusal;
use crate::smmu::{self, Smmus};
use crate::stage2::descriptor::Attrs;
use crate::stage2::{BlockSize, Stage2};
use crate::tables::TablePool;

/// The tables, and the SMMUs that walk them.
#[derive(Debug)]
pub(super) struct DeviceTables {
    pub(super) stage2: Stage2,
    pub(super) pool: TablePool,
    pub(super) smmus: Smmus,
}

impl DeviceTables {
    /// Checks that pages can be mapped.
    pub(super) fn check_map(
        &self,
        hw: &mut impl MemoryHw,
        range: PageRange,
    ) -> Result<(), Refusal> {
        let ipas = range.identity_ipas();
        let tables = self.stage2.check_map(hw, ipas, range.start(), BlockSize::Page)?;
        check_free(&self.pool, tables)
    }

    /// Maps checked pages, at boot.
    pub(super) fn map(&mut self, hw: &mut impl MemoryHw, range: PageRange, attrs: Attrs) {
        let (hw, ipas) = (&mut View { hw, smmus: &mut self.smmus, vmid: 0 }, range.identity_ipas());
        self.stage2.map(hw, &mut self.pool, ipas, range.start(), attrs, BlockSize::Page);
    }

    /// Unmaps pages. When it returns, no device reaches them any more.
    pub(super) fn take(&mut self, hw: &mut impl MemoryHw, range: PageRange) {
        let hw = &mut View { hw, smmus: &mut self.smmus, vmid: 0 };
        self.stage2.unmap(hw, &mut self.pool, range.identity_ipas());
    }

    /// Maps pages again that were taken.
    pub(super) fn give(&mut self, hw: &mut impl MemoryHw, range: PageRange) {
        let hw = &mut View { hw, smmus: &mut self.smmus, vmid: 0 };
        self.stage2.refill(hw, range.identity_ipas(), range.start(), Attrs::RAM);
    }
}

/// The hardware as [`Stage2`] sees it when the tables are those of devices.
struct View<'v, H> {
    hw: &'v mut H,
    smmus: &'v mut Smmus,
    vmid: u16,
}

impl<H: MemoryHw> TableMemory for View<'_, H> {
    fn read(&mut self, table: Pa, index: usize) -> u64 {
        self.hw.read(table, index)
    }

    fn write(&mut self, table: Pa, index: usize, descriptor: u64) {
        smmu::store(self.hw, table, index, descriptor);
    }

    fn zero(&mut self, table: Pa) {
        self.hw.zero(table);
        smmu::clean(self.hw, table);
    }
}

impl<H: MemoryHw> TlbOps for View<'_, H> {
    fn dsb_ishst(&mut self) {
        self.hw.dsb_sy();
    }

    fn dsb_ish(&mut self) {
        self.smmus.sync(self.hw);
    }

    fn isb(&mut self) {}

    fn enter(&mut self, context: Stage2Context) {
        self.vmid = context.vmid;
    }

    fn leave(&mut self) {}

    fn invalidate_ipa(&mut self, ipa: Ipa, level: Option<u8>) {
        self.smmus.invalidate(self.hw, smmu::tlbi_ipa(self.vmid, ipa, level.is_some()));
    }

    // The streams have no stage 1.
    fn invalidate_stage1(&mut self) {}

    fn invalidate_all(&mut self) {
        self.smmus.invalidate(self.hw, smmu::tlbi_all(self.vmid));
    }
}

impl<H: MemoryHw> FailStop for View<'_, H> {
    fn fail_stop(&mut self, breach: Breach) -> ! {
        self.hw.fail_stop(breach)
    }
}

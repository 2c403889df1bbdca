//! The operations in one step: plan and commit. What the hypercall handlers call.
//!
//! Decides nothing. Each is all or nothing: an error says that no page, no record and no table has
//! changed.

use super::{Contents, HostMemory, Lend, VmMemory};
use crate::addr::{Ipa, IpaRange, PageRange};
use crate::hw::MemoryHw;
use crate::refusal::Refusal;

impl HostMemory<'_> {
    /// The host gives pages to EL2.
    pub fn donate_hyp(
        &mut self,
        hw: &mut impl MemoryHw,
        range: PageRange,
        contents: Contents,
    ) -> Result<(), Refusal> {
        self.plan_donate_hyp(hw, range, contents)?.commit(hw);
        Ok(())
    }

    /// EL2 gives pages back, scrubbed, that the host had given. EL2 no longer maps them.
    pub fn return_host(&mut self, hw: &mut impl MemoryHw, range: PageRange) -> Result<(), Refusal> {
        self.plan_return_host(range)?.commit(hw);
        Ok(())
    }

    /// The host gives pages for a VM's stage-2 tables.
    pub fn donate_tables(
        &mut self,
        hw: &mut impl MemoryHw,
        vm: &mut VmMemory,
        range: PageRange,
    ) -> Result<(), Refusal> {
        self.plan_donate_tables(hw, vm, range)?.commit(hw);
        Ok(())
    }

    /// The host gives pages for the state of a VM and its vCPUs. They are zeroed.
    pub fn donate_state(
        &mut self,
        hw: &mut impl MemoryHw,
        vm: &mut VmMemory,
        range: PageRange,
    ) -> Result<(), Refusal> {
        self.plan_donate_state(hw, vm, range)?.commit(hw);
        Ok(())
    }

    /// The host gives pages to a VM as memory, from `ipa` on.
    pub fn donate_memory(
        &mut self,
        hw: &mut impl MemoryHw,
        vm: &mut VmMemory,
        range: PageRange,
        ipa: Ipa,
        contents: Contents,
    ) -> Result<(), Refusal> {
        self.plan_donate_memory(hw, vm, range, ipa, contents)?.commit(hw);
        Ok(())
    }

    /// The host lends pages to a VM, from `ipa` on, and keeps its own access.
    pub fn share_memory(
        &mut self,
        hw: &mut impl MemoryHw,
        vm: &mut VmMemory,
        range: PageRange,
        ipa: Ipa,
        lend: Lend,
    ) -> Result<(), Refusal> {
        self.plan_share_memory(hw, vm, range, ipa, lend)?.commit(hw);
        Ok(())
    }

    /// The host ends the loan of pages to a VM.
    pub fn unshare_memory(
        &mut self,
        hw: &mut impl MemoryHw,
        vm: &mut VmMemory,
        ipas: IpaRange,
    ) -> Result<(), Refusal> {
        self.plan_unshare_memory(hw, vm, ipas)?.commit(hw);
        Ok(())
    }

    /// A VM lends pages to the host.
    pub fn guest_share(
        &mut self,
        hw: &mut impl MemoryHw,
        vm: &mut VmMemory,
        ipas: IpaRange,
        contents: Contents,
    ) -> Result<(), Refusal> {
        self.plan_guest_share(hw, vm, ipas, contents)?.commit(hw);
        Ok(())
    }

    /// A VM ends the loan of pages to the host.
    pub fn guest_unshare(
        &mut self,
        hw: &mut impl MemoryHw,
        vm: &mut VmMemory,
        ipas: IpaRange,
        contents: Contents,
    ) -> Result<(), Refusal> {
        self.plan_guest_unshare(hw, vm, ipas, contents)?.commit(hw);
        Ok(())
    }

    /// A VM gives pages back to the host for good. They are scrubbed.
    pub fn guest_relinquish(
        &mut self,
        hw: &mut impl MemoryHw,
        vm: &mut VmMemory,
        ipas: IpaRange,
    ) -> Result<(), Refusal> {
        self.plan_guest_relinquish(hw, vm, ipas)?.commit(hw);
        Ok(())
    }
}

//! Every change of ownership: what is checked, and then the order of the steps.
//!
//! Decides both for each call. A call has two halves. The first checks every page and every table,
//! reserves tables (by holding the `&mut` of all that it looked at) and changes nothing; it alone may
//! refuse. The second half is made of steps that return nothing, so it cannot be left half way; if
//! the tables are not as the first half found them all the same, EL2's memory is broken and the
//! machine stops. When a call returns, every CPU sees the new owners.

use super::{Contents, HostMemory, Lend, VmMemory, check_count, check_free};
use crate::addr::{Ipa, IpaRange, PageRange};
use crate::hw::{Breach, MemoryHw, TableMemory};
use crate::refusal::Refusal;
use crate::stage2::descriptor::Attrs;
use crate::stage2::{BlockSize, windows};
use crate::transition::{Event, MetaKind};

impl HostMemory<'_> {
    /// The host gives pages to EL2.
    pub fn donate_hyp(
        &mut self,
        hw: &mut impl MemoryHw,
        range: PageRange,
        contents: Contents,
    ) -> Result<(), Refusal> {
        self.give_away(hw, range, contents, |_| Ok(Event::HostDonateHyp))
    }

    /// EL2 gives pages back, scrubbed, that the host had given. EL2 no longer maps them.
    pub fn return_host(&mut self, hw: &mut impl MemoryHw, range: PageRange) -> Result<(), Refusal> {
        self.check_records(range, |_| Ok(Event::HypReturnHost))?;
        self.scrub_and_return(hw, range, Event::HypReturnHost);
        Ok(())
    }

    /// The host gives pages for a VM's stage-2 tables.
    pub fn donate_tables(
        &mut self,
        hw: &mut impl MemoryHw,
        vm: &mut VmMemory,
        range: PageRange,
    ) -> Result<(), Refusal> {
        vm.check_alive()?;
        let event = Event::HostDonateMeta { vm: vm.slot, kind: MetaKind::Table };
        // A table is zeroed when it is used. What the host left in its caches must not reach memory
        // after that.
        self.give_away(hw, range, Contents::Keep, |_| Ok(event))?;
        for page in range.iter() {
            vm.pool.push(hw, page);
        }
        Ok(())
    }

    /// The host gives pages for the state of a VM and its vCPUs. They are zeroed.
    pub fn donate_state(
        &mut self,
        hw: &mut impl MemoryHw,
        vm: &mut VmMemory,
        range: PageRange,
    ) -> Result<(), Refusal> {
        vm.check_alive()?;
        let event = Event::HostDonateMeta { vm: vm.slot, kind: MetaKind::State };
        self.give_away(hw, range, Contents::Zero, |_| Ok(event))
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
        vm.check_alive()?;
        let (slot, ipas) = (vm.slot, IpaRange::new(ipa, range.pages())?);
        let event = |index| Ok(Event::HostDonateVm { vm: slot, ipa: page_ipa(ipas, index)? });
        self.check_take(hw, range, event)?;
        vm.check_map(hw, range, ipas)?;
        self.hand_over(hw, range, contents, event);
        vm.map(hw, range, ipas, Attrs::RAM);
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
        vm.check_alive()?;
        check_count(range.pages())?;
        let (slot, ipas) = (vm.slot, IpaRange::new(ipa, range.pages())?);
        let event = |index| Ok(Event::HostShareVm { vm: slot, ipa: page_ipa(ipas, index)? });
        self.frames.check_range(range, event)?;
        vm.check_map(hw, range, ipas)?;
        treat(hw, range, Contents::Keep);
        self.record(hw, range, event);
        vm.map(hw, range, ipas, lend.attrs());
        Ok(())
    }

    /// The host ends the loan of pages to a VM.
    pub fn unshare_memory(
        &mut self,
        hw: &mut impl MemoryHw,
        vm: &mut VmMemory,
        ipas: IpaRange,
    ) -> Result<(), Refusal> {
        let event = Event::HostUnshareVm { vm: vm.slot };
        self.check_runs(hw, vm, ipas, event)?;
        vm.check_unmap(hw, ipas)?;
        for_each_run(hw, vm, ipas, |hw, vm, run, pages| {
            vm.stage2.unmap(hw, &mut vm.pool, run);
            self.record(hw, pages, |_| Ok(event));
        });
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
        let event = Event::VmShareHost { vm: vm.slot };
        self.check_runs(hw, vm, ipas, event)?;
        for_each_run(hw, vm, ipas, |hw, _, _, pages| {
            treat(hw, pages, contents);
            self.record(hw, pages, |_| Ok(event));
            self.refill(hw, pages, Attrs::BORROWED);
        });
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
        let event = Event::VmUnshareHost { vm: vm.slot };
        self.check_runs(hw, vm, ipas, event)?;
        for_each_run(hw, vm, ipas, |hw, _, _, pages| {
            self.hand_over(hw, pages, contents, |_| Ok(event));
        });
        Ok(())
    }

    /// A VM gives pages back to the host for good. They are scrubbed.
    pub fn guest_relinquish(
        &mut self,
        hw: &mut impl MemoryHw,
        vm: &mut VmMemory,
        ipas: IpaRange,
    ) -> Result<(), Refusal> {
        let event = Event::VmRelinquish { vm: vm.slot };
        self.check_runs(hw, vm, ipas, event)?;
        vm.check_unmap(hw, ipas)?;
        for_each_run(hw, vm, ipas, |hw, vm, run, pages| {
            vm.stage2.unmap(hw, &mut vm.pool, run);
            self.scrub_and_return(hw, pages, event);
        });
        Ok(())
    }

    /// Checks that `event` is legal for every page of `range`, which one call may take.
    pub(super) fn check_records(
        &self,
        range: PageRange,
        event: impl FnMut(u64) -> Result<Event, Refusal>,
    ) -> Result<(), Refusal> {
        check_count(range.pages())?;
        self.frames.check_range(range, event)
    }

    /// Makes sure that pages can be taken from the host.
    fn check_take(
        &self,
        hw: &mut impl TableMemory,
        range: PageRange,
        event: impl FnMut(u64) -> Result<Event, Refusal>,
    ) -> Result<(), Refusal> {
        self.check_records(range, event)?;
        check_free(&self.pool, self.stage2.check_unmap(hw, range.identity_ipas())?)
    }

    /// Checks that the VM lives and that `event` is legal for every page that it sees in `ipas`.
    fn check_runs(
        &self,
        hw: &mut impl TableMemory,
        vm: &VmMemory,
        ipas: IpaRange,
        event: Event,
    ) -> Result<(), Refusal> {
        vm.check_alive()?;
        check_count(ipas.pages())?;
        let mut ipa = ipas.start();
        loop {
            let run = vm.run_in(hw, ipa, ipas)?;
            self.frames.check_range(run.pages, |_| Ok(event))?;
            if run.ipas.end() >= ipas.end() {
                return Ok(());
            }
            ipa = Ipa::from_page_number(run.ipas.end()).ok_or(Refusal::OutOfRange)?;
        }
    }

    /// Unmaps pages from the host and its devices. When it returns, no CPU reaches them as the host
    /// any more, and no device does.
    pub(super) fn take(&mut self, hw: &mut impl MemoryHw, range: PageRange) {
        self.stage2.unmap(hw, &mut self.pool, range.identity_ipas());
        if let Some(devices) = &mut self.devices {
            devices.take(hw, range);
        }
    }

    /// Maps pages for the host and its devices again.
    fn refill(&mut self, hw: &mut impl MemoryHw, range: PageRange, attrs: Attrs) {
        self.stage2.refill(hw, range.identity_ipas(), range.start(), attrs);
        if let Some(devices) = &mut self.devices {
            devices.give(hw, range);
        }
    }

    /// Maps pages for the host as its own again.
    pub(super) fn give(&mut self, hw: &mut impl MemoryHw, range: PageRange) {
        self.refill(hw, range, Attrs::RAM);
        for window in windows(range.identity_ipas()) {
            self.stage2.merge(hw, &mut self.pool, window.ipa);
        }
    }

    /// Applies a checked event to the records of a range.
    pub(super) fn record(
        &mut self,
        hw: &mut impl MemoryHw,
        range: PageRange,
        event: impl Fn(u64) -> Result<Event, Refusal>,
    ) {
        for (index, page) in (0..range.pages()).zip(range.iter()) {
            let applied = event(index).and_then(|event| self.frames.apply(page, event));
            if applied.is_err() {
                hw.fail_stop(Breach::TransitionLost);
            }
        }
    }

    /// Takes pages from the host, which may be refused, and hands them over.
    pub(super) fn give_away(
        &mut self,
        hw: &mut impl MemoryHw,
        range: PageRange,
        contents: Contents,
        event: impl Fn(u64) -> Result<Event, Refusal>,
    ) -> Result<(), Refusal> {
        self.check_take(hw, range, &event)?;
        self.hand_over(hw, range, contents, event);
        Ok(())
    }

    /// Takes checked pages from the host and makes the records say who has them now.
    fn hand_over(
        &mut self,
        hw: &mut impl MemoryHw,
        range: PageRange,
        contents: Contents,
        event: impl Fn(u64) -> Result<Event, Refusal>,
    ) {
        self.take(hw, range);
        treat(hw, range, contents);
        self.record(hw, range, event);
    }

    /// Scrubs pages that nobody can reach any more, and makes them the host's.
    pub(super) fn scrub_and_return(
        &mut self,
        hw: &mut impl MemoryHw,
        range: PageRange,
        event: Event,
    ) {
        treat(hw, range, Contents::Zero);
        self.record(hw, range, |_| Ok(event));
        self.give(hw, range);
    }
}

impl VmMemory {
    /// Checks that the VM can map `range` at `ipas`.
    fn check_map(
        &self,
        hw: &mut impl TableMemory,
        range: PageRange,
        ipas: IpaRange,
    ) -> Result<(), Refusal> {
        if ipas.end() > self.geometry().end_page() {
            return Err(Refusal::OutOfRange);
        }
        let tables = self.stage2.check_map(hw, ipas, range.start(), BlockSize::Mega2)?;
        check_free(&self.pool, tables)
    }

    /// Checks that the VM can unmap `ipas`.
    fn check_unmap(&self, hw: &mut impl TableMemory, ipas: IpaRange) -> Result<(), Refusal> {
        check_free(&self.pool, self.stage2.check_unmap(hw, ipas)?)
    }

    /// Maps checked pages.
    fn map(&mut self, hw: &mut impl MemoryHw, range: PageRange, ipas: IpaRange, attrs: Attrs) {
        self.stage2.map(hw, &mut self.pool, ipas, range.start(), attrs, BlockSize::Mega2);
    }
}

/// Calls `change` for each run of pages that the VM sees in `ipas`.
fn for_each_run<H: MemoryHw>(
    hw: &mut H,
    vm: &mut VmMemory,
    ipas: IpaRange,
    mut change: impl FnMut(&mut H, &mut VmMemory, IpaRange, PageRange),
) {
    let mut next = Some(ipas.start());
    while let Some(ipa) = next {
        let Ok(run) = vm.run_in(hw, ipa, ipas) else { hw.fail_stop(Breach::TablesDisagree) };
        change(hw, vm, run.ipas, run.pages);
        let end = run.ipas.end();
        next = if end < ipas.end() { Ipa::from_page_number(end) } else { None };
    }
}

/// Makes the contents of pages what the next party is to see, for every kind of observer.
fn treat(hw: &mut impl MemoryHw, range: PageRange, contents: Contents) {
    for page in range.iter() {
        match contents {
            Contents::Keep => hw.clean(page),
            Contents::Zero => hw.scrub(page),
        }
    }
    hw.settle();
}

/// Returns the address of the page at position `index`.
fn page_ipa(ipas: IpaRange, index: u64) -> Result<Ipa, Refusal> {
    let number = ipas.start().page_number().checked_add(index).ok_or(Refusal::Overflow)?;
    Ipa::from_page_number(number).ok_or(Refusal::Overflow)
}

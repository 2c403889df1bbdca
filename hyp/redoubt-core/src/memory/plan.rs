//! Two-phase changes: a [`Plan`] is made, which may be refused and changes nothing, and then
//! committed, which cannot fail.
//!
//! Decides, for each change, what is checked and the order of its steps. The plan holds the `&mut`
//! of all that it looked at, so nothing can happen in between; if the tables are not as the plan
//! found them all the same, EL2's memory is broken and the machine stops.

use super::{Contents, HostMemory, Lend, VmMemory, check_count, check_free};
use crate::addr::{Ipa, IpaRange, PageRange};
use crate::hw::{Breach, MemoryHw, TableMemory};
use crate::refusal::Refusal;
use crate::stage2::descriptor::Attrs;
use crate::stage2::{BlockSize, windows};
use crate::transition::{Event, MetaKind};

/// A checked change of ownership that waits for its commit. Dropping it changes nothing.
#[must_use = "a plan changes nothing until it is committed"]
#[derive(Debug)]
pub struct Plan<'p, 'a> {
    host: &'p mut HostMemory<'a>,
    change: Change<'p>,
}

/// What a plan will do.
#[derive(Debug)]
enum Change<'p> {
    DonateHyp { range: PageRange, contents: Contents },
    ReturnHost { range: PageRange },
    DonateTables { vm: &'p mut VmMemory, range: PageRange },
    DonateState { vm: &'p mut VmMemory, range: PageRange },
    DonateMemory { vm: &'p mut VmMemory, range: PageRange, ipas: IpaRange, contents: Contents },
    ShareMemory { vm: &'p mut VmMemory, range: PageRange, ipas: IpaRange, lend: Lend },
    UnshareMemory { vm: &'p mut VmMemory, ipas: IpaRange },
    GuestShare { vm: &'p mut VmMemory, ipas: IpaRange, contents: Contents },
    GuestUnshare { vm: &'p mut VmMemory, ipas: IpaRange, contents: Contents },
    GuestRelinquish { vm: &'p mut VmMemory, ipas: IpaRange },
}

impl<'a> HostMemory<'a> {
    /// Plans that the host gives pages to EL2.
    pub fn plan_donate_hyp<'p>(
        &'p mut self,
        hw: &mut impl TableMemory,
        range: PageRange,
        contents: Contents,
    ) -> Result<Plan<'p, 'a>, Refusal> {
        self.check_take(hw, range, |_| Ok(Event::HostDonateHyp))?;
        Ok(Plan { host: self, change: Change::DonateHyp { range, contents } })
    }

    /// Plans that EL2 gives pages back that the host had given. They are scrubbed.
    pub fn plan_return_host<'p>(&'p mut self, range: PageRange) -> Result<Plan<'p, 'a>, Refusal> {
        check_count(range.pages())?;
        self.frames.check_range(range, |_| Ok(Event::HypReturnHost))?;
        Ok(Plan { host: self, change: Change::ReturnHost { range } })
    }

    /// Plans that the host gives pages for a VM's stage-2 tables.
    pub fn plan_donate_tables<'p>(
        &'p mut self,
        hw: &mut impl TableMemory,
        vm: &'p mut VmMemory,
        range: PageRange,
    ) -> Result<Plan<'p, 'a>, Refusal> {
        vm.check_alive()?;
        let event = Event::HostDonateMeta { vm: vm.slot, kind: MetaKind::Table };
        self.check_take(hw, range, |_| Ok(event))?;
        Ok(Plan { host: self, change: Change::DonateTables { vm, range } })
    }

    /// Plans that the host gives pages for the state of a VM and its vCPUs. They are zeroed.
    pub fn plan_donate_state<'p>(
        &'p mut self,
        hw: &mut impl TableMemory,
        vm: &'p mut VmMemory,
        range: PageRange,
    ) -> Result<Plan<'p, 'a>, Refusal> {
        vm.check_alive()?;
        let event = Event::HostDonateMeta { vm: vm.slot, kind: MetaKind::State };
        self.check_take(hw, range, |_| Ok(event))?;
        Ok(Plan { host: self, change: Change::DonateState { vm, range } })
    }

    /// Plans that the host gives pages to a VM as memory, from `ipa` on.
    pub fn plan_donate_memory<'p>(
        &'p mut self,
        hw: &mut impl TableMemory,
        vm: &'p mut VmMemory,
        range: PageRange,
        ipa: Ipa,
        contents: Contents,
    ) -> Result<Plan<'p, 'a>, Refusal> {
        vm.check_alive()?;
        let (slot, ipas) = (vm.slot, IpaRange::new(ipa, range.pages())?);
        self.check_take(hw, range, |index| {
            Ok(Event::HostDonateVm { vm: slot, ipa: page_ipa(ipas, index)? })
        })?;
        vm.check_map(hw, range, ipas)?;
        Ok(Plan { host: self, change: Change::DonateMemory { vm, range, ipas, contents } })
    }

    /// Plans that the host lends pages to a VM, from `ipa` on, and keeps its own access.
    pub fn plan_share_memory<'p>(
        &'p mut self,
        hw: &mut impl TableMemory,
        vm: &'p mut VmMemory,
        range: PageRange,
        ipa: Ipa,
        lend: Lend,
    ) -> Result<Plan<'p, 'a>, Refusal> {
        vm.check_alive()?;
        check_count(range.pages())?;
        let (slot, ipas) = (vm.slot, IpaRange::new(ipa, range.pages())?);
        self.frames.check_range(range, |index| {
            Ok(Event::HostShareVm { vm: slot, ipa: page_ipa(ipas, index)? })
        })?;
        vm.check_map(hw, range, ipas)?;
        Ok(Plan { host: self, change: Change::ShareMemory { vm, range, ipas, lend } })
    }

    /// Plans that the host ends the loan of pages to a VM.
    pub fn plan_unshare_memory<'p>(
        &'p mut self,
        hw: &mut impl TableMemory,
        vm: &'p mut VmMemory,
        ipas: IpaRange,
    ) -> Result<Plan<'p, 'a>, Refusal> {
        vm.check_alive()?;
        self.check_runs(hw, vm, ipas, Event::HostUnshareVm { vm: vm.slot })?;
        check_free(&vm.pool, vm.stage2.check_unmap(hw, ipas)?)?;
        Ok(Plan { host: self, change: Change::UnshareMemory { vm, ipas } })
    }

    /// Plans that a VM lends pages to the host.
    pub fn plan_guest_share<'p>(
        &'p mut self,
        hw: &mut impl TableMemory,
        vm: &'p mut VmMemory,
        ipas: IpaRange,
        contents: Contents,
    ) -> Result<Plan<'p, 'a>, Refusal> {
        vm.check_alive()?;
        self.check_runs(hw, vm, ipas, Event::VmShareHost { vm: vm.slot })?;
        Ok(Plan { host: self, change: Change::GuestShare { vm, ipas, contents } })
    }

    /// Plans that a VM ends the loan of pages to the host.
    pub fn plan_guest_unshare<'p>(
        &'p mut self,
        hw: &mut impl TableMemory,
        vm: &'p mut VmMemory,
        ipas: IpaRange,
        contents: Contents,
    ) -> Result<Plan<'p, 'a>, Refusal> {
        vm.check_alive()?;
        self.check_runs(hw, vm, ipas, Event::VmUnshareHost { vm: vm.slot })?;
        Ok(Plan { host: self, change: Change::GuestUnshare { vm, ipas, contents } })
    }

    /// Plans that a VM gives pages back to the host for good. They are scrubbed.
    pub fn plan_guest_relinquish<'p>(
        &'p mut self,
        hw: &mut impl TableMemory,
        vm: &'p mut VmMemory,
        ipas: IpaRange,
    ) -> Result<Plan<'p, 'a>, Refusal> {
        vm.check_alive()?;
        self.check_runs(hw, vm, ipas, Event::VmRelinquish { vm: vm.slot })?;
        check_free(&vm.pool, vm.stage2.check_unmap(hw, ipas)?)?;
        Ok(Plan { host: self, change: Change::GuestRelinquish { vm, ipas } })
    }

    /// Checks that `event` is legal for every page that the VM sees in `ipas`.
    fn check_runs(
        &self,
        hw: &mut impl TableMemory,
        vm: &VmMemory,
        ipas: IpaRange,
        event: Event,
    ) -> Result<(), Refusal> {
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

    /// Maps checked pages.
    fn map(&mut self, hw: &mut impl MemoryHw, range: PageRange, ipas: IpaRange, attrs: Attrs) {
        self.stage2.map(hw, &mut self.pool, ipas, range.start(), attrs, BlockSize::Mega2);
    }
}

impl Plan<'_, '_> {
    /// Carries the change out. When it returns, every CPU sees the new owners.
    pub fn commit(self, hw: &mut impl MemoryHw) {
        let host = self.host;
        match self.change {
            Change::DonateHyp { range, contents } => {
                host.take(hw, range);
                treat(hw, range, contents);
                host.record(hw, range, |_| Ok(Event::HostDonateHyp));
            }
            Change::ReturnHost { range } => {
                host.scrub_and_return(hw, range, Event::HypReturnHost);
            }
            Change::DonateTables { vm, range } => {
                let event = Event::HostDonateMeta { vm: vm.slot, kind: MetaKind::Table };
                host.take(hw, range);
                // A table is zeroed when it is used. What the host left in its caches must not
                // reach memory after that.
                treat(hw, range, Contents::Keep);
                host.record(hw, range, |_| Ok(event));
                for page in range.iter() {
                    vm.pool.push(hw, page);
                }
                vm.counts.tables = vm.counts.tables.saturating_add(range.pages());
            }
            Change::DonateState { vm, range } => {
                let event = Event::HostDonateMeta { vm: vm.slot, kind: MetaKind::State };
                host.take(hw, range);
                treat(hw, range, Contents::Zero);
                host.record(hw, range, |_| Ok(event));
                vm.counts.state = vm.counts.state.saturating_add(range.pages());
            }
            Change::DonateMemory { vm, range, ipas, contents } => {
                let slot = vm.slot;
                host.take(hw, range);
                treat(hw, range, contents);
                host.record(hw, range, |index| {
                    Ok(Event::HostDonateVm { vm: slot, ipa: page_ipa(ipas, index)? })
                });
                vm.map(hw, range, ipas, Attrs::RAM);
                vm.counts.owned = vm.counts.owned.saturating_add(range.pages());
            }
            Change::ShareMemory { vm, range, ipas, lend } => {
                let slot = vm.slot;
                treat(hw, range, Contents::Keep);
                host.record(hw, range, |index| {
                    Ok(Event::HostShareVm { vm: slot, ipa: page_ipa(ipas, index)? })
                });
                vm.map(hw, range, ipas, lend.attrs());
                vm.counts.borrowed = vm.counts.borrowed.saturating_add(range.pages());
            }
            Change::UnshareMemory { vm, ipas } => {
                let event = Event::HostUnshareVm { vm: vm.slot };
                for_each_run(hw, vm, ipas, |hw, vm, run, pages| {
                    vm.stage2.unmap(hw, &mut vm.pool, run);
                    host.record(hw, pages, |_| Ok(event));
                });
                vm.counts.borrowed = vm.counts.borrowed.saturating_sub(ipas.pages());
            }
            Change::GuestShare { vm, ipas, contents } => {
                let event = Event::VmShareHost { vm: vm.slot };
                for_each_run(hw, vm, ipas, |hw, _, _, pages| {
                    treat(hw, pages, contents);
                    host.record(hw, pages, |_| Ok(event));
                    host.refill(hw, pages, Attrs::BORROWED);
                });
            }
            Change::GuestUnshare { vm, ipas, contents } => {
                let event = Event::VmUnshareHost { vm: vm.slot };
                for_each_run(hw, vm, ipas, |hw, _, _, pages| {
                    host.take(hw, pages);
                    treat(hw, pages, contents);
                    host.record(hw, pages, |_| Ok(event));
                });
            }
            Change::GuestRelinquish { vm, ipas } => {
                let event = Event::VmRelinquish { vm: vm.slot };
                for_each_run(hw, vm, ipas, |hw, vm, run, pages| {
                    vm.stage2.unmap(hw, &mut vm.pool, run);
                    host.scrub_and_return(hw, pages, event);
                });
                vm.counts.owned = vm.counts.owned.saturating_sub(ipas.pages());
            }
        }
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

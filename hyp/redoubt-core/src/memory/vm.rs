//! A VM's memory: its stage 2, its table pool, its birth and its end.
//!
//! Decides the order of teardown. A dying VM's pages go back to the host in bounded steps: leaves
//! first (from a cursor, so a call can stop and the next one go on), then the pool of tables, the
//! start-level tables last. Every page that the VM owned is scrubbed after its last TLB entry is
//! gone and before the host can map it.
//!
//! Invariants: only a dying VM is reclaimed, and a dying VM takes nothing new.
//! Trusts the caller that no vCPU of a dying VM runs.

use super::{Access, Contents, HostMemory, MAX_PAGES_PER_CALL};
use crate::addr::{Ipa, IpaRange, PageRange};
use crate::hw::{Breach, MemoryHw, Stage2Context, TableMemory};
use crate::refusal::Refusal;
use crate::stage2::descriptor::LEAF_LEVEL;
use crate::stage2::geometry::Geometry;
use crate::stage2::{Emptied, Mapping, Run, Stage2};
use crate::tables::TablePool;
use crate::transition::{Event, HostAccess, MetaKind, VmSlot};

/// Says how far a teardown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reclaim {
    /// There is more to take back: call again.
    More,
    /// Memory and tables are the host's again; the stage 2 is gone.
    Done,
}

/// The memory of one VM: part of what the VM's lock guards.
#[derive(Debug, PartialEq, Eq)]
pub struct VmMemory {
    pub(super) slot: VmSlot,
    pub(super) stage2: Stage2,
    pub(super) root: Option<PageRange>,
    pub(super) pool: TablePool,
    dying: bool,
    /// The start level is invalid, see [`shut`](Self::shut): there is nothing to walk.
    pub(super) shut: bool,
    cursor: Ipa,
}

impl VmMemory {
    /// Makes the memory of a new VM. The host gives the start-level tables, `root`:
    /// [`Geometry::root_pages`] pages, aligned to their total size.
    ///
    /// Refuses [`TooMany`](Refusal::TooMany) and [`Empty`](Refusal::Empty) a wrong number of
    /// pages, [`Misaligned`](Refusal::Misaligned) a wrong alignment, and whatever the host may not
    /// give.
    pub fn create(
        host: &mut HostMemory<'_>,
        hw: &mut impl MemoryHw,
        slot: VmSlot,
        vmid: u16,
        geometry: Geometry,
        root: PageRange,
    ) -> Result<Self, Refusal> {
        if root.pages() > geometry.root_pages() {
            return Err(Refusal::TooMany);
        }
        if root.pages() < geometry.root_pages() {
            return Err(Refusal::Empty);
        }
        let context = Stage2Context { vmid, root: root.start_pa() };
        let stage2 = Stage2::new(context, geometry, Emptied::Freed)?;
        let cursor = Ipa::new(0).ok_or(Refusal::OutOfRange)?;
        let event = Event::HostDonateMeta { vm: slot, kind: MetaKind::Table };
        host.give_away(hw, root, Contents::Zero, |_| Ok(event))?;
        // Whoever had the VMID before must not be found in a TLB.
        stage2.flush_all(hw);
        Ok(Self {
            slot,
            stage2,
            root: Some(root),
            pool: TablePool::EMPTY,
            dying: false,
            shut: false,
            cursor,
        })
    }

    /// Returns the slot in the VM table.
    #[cfg(any(test, feature = "invariants"))]
    pub const fn slot(&self) -> VmSlot {
        self.slot
    }

    /// Returns VMID and root for VTTBR_EL2; `None` once the tables are gone.
    pub const fn context(&self) -> Option<Stage2Context> {
        match self.root {
            Some(_) => Some(self.stage2.context()),
            None => None,
        }
    }

    /// Returns the shape of the stage 2.
    pub const fn geometry(&self) -> Geometry {
        self.stage2.geometry()
    }

    /// Returns how many tables the VM's pool still has.
    #[cfg(test)]
    pub const fn free_tables(&self) -> u64 {
        self.pool.free()
    }

    /// Walks the stage 2 to the leaf for `ipa`.
    pub fn lookup(&self, hw: &mut impl TableMemory, ipa: Ipa) -> Option<Mapping> {
        self.root?;
        self.stage2.get(hw, ipa)
    }

    /// Tells whether the guest may do this at `ipa` by now: a fault that was taken while another CPU
    /// changed the table is over when the VM's lock is held.
    pub fn allows(&self, hw: &mut impl TableMemory, ipa: Ipa, access: Access) -> bool {
        self.lookup(hw, ipa).is_some_and(|mapping| access.is_allowed(mapping.attrs))
    }

    /// Says that the VM dies: from now on its memory can only be taken back.
    pub const fn begin_teardown(&mut self) {
        self.dying = true;
    }

    /// Tells whether the VM is being torn down.
    #[cfg(test)]
    pub const fn is_dying(&self) -> bool {
        self.dying
    }

    /// Refuses what only a living VM may do.
    pub(super) const fn check_alive(&self) -> Result<(), Refusal> {
        if self.dying { Err(Refusal::WrongState) } else { Ok(()) }
    }

    /// Finds the run of pages at `ipa`, of at most what is left of `range`.
    pub(super) fn run_in(
        &self,
        hw: &mut impl TableMemory,
        ipa: Ipa,
        range: IpaRange,
    ) -> Result<Run, Refusal> {
        if !self.geometry().contains(ipa) {
            return Err(Refusal::OutOfRange);
        }
        let left = range.end().saturating_sub(ipa.page_number());
        self.stage2.run_at(hw, ipa, left).ok_or(Refusal::NotMapped)
    }
}

impl HostMemory<'_> {
    /// Gives back, scrubbed, pages in which EL2 kept state of the VM or its vCPUs. The caller has
    /// dropped every use of them, its own mappings included.
    pub fn return_state(
        &mut self,
        hw: &mut impl MemoryHw,
        vm: &VmMemory,
        range: PageRange,
    ) -> Result<(), Refusal> {
        let event = Event::ReturnMeta { vm: vm.slot, kind: MetaKind::State };
        self.check_records(range, |_| Ok(event))?;
        self.scrub_and_return(hw, range, event);
        Ok(())
    }

    /// Takes back up to [`MAX_PAGES_PER_CALL`] pages of a dying VM.
    ///
    /// Refuses [`WrongState`](Refusal::WrongState) while the VM lives and
    /// [`Pinned`](Refusal::Pinned) when the next page is in use by EL2 or by DMA; a later call goes
    /// on from there.
    pub fn reclaim_step(
        &mut self,
        hw: &mut impl MemoryHw,
        vm: &mut VmMemory,
    ) -> Result<Reclaim, Refusal> {
        if !vm.dying || vm.shut {
            return Err(Refusal::WrongState);
        }
        if vm.root.is_none() {
            return Ok(Reclaim::Done);
        }
        let mut budget = MAX_PAGES_PER_CALL;
        while budget > 0 {
            let Some(leaf) = vm.stage2.next_leaf(hw, vm.cursor) else {
                return Ok(self.reclaim_tables(hw, vm, budget));
            };
            // A block is taken as a whole: to split it would need a table.
            if leaf.level < LEAF_LEVEL && leaf.pages() > budget {
                return Ok(Reclaim::More);
            }
            let limit = if leaf.level < LEAF_LEVEL { leaf.pages() } else { budget };
            let Some(run) = vm.stage2.run_at(hw, leaf.ipa, limit) else {
                hw.fail_stop(Breach::TablesDisagree);
            };
            let event = Event::ReclaimMemory { vm: vm.slot };
            match self.frames.check_range(run.pages, |_| Ok(event)) {
                Ok(()) => {}
                Err(Refusal::Pinned) if budget < MAX_PAGES_PER_CALL => return Ok(Reclaim::More),
                Err(Refusal::Pinned) => return Err(Refusal::Pinned),
                Err(_) => hw.fail_stop(Breach::TablesDisagree),
            }
            self.reclaim_run(hw, vm, run, event);
            budget = budget.saturating_sub(run.pages.pages());
            vm.cursor = Ipa::from_page_number(run.ipas.end()).unwrap_or(vm.cursor);
        }
        Ok(Reclaim::More)
    }

    /// Takes back one checked run of pages.
    fn reclaim_run(&mut self, hw: &mut impl MemoryHw, vm: &mut VmMemory, run: Run, event: Event) {
        vm.stage2.unmap(hw, &mut vm.pool, run.ipas);
        let mut rest = Some(run.pages);
        while let Some(range) = rest {
            let (part, access) = self.same_access(hw, range);
            if access == HostAccess::Borrowed {
                self.take(hw, part);
            }
            match access {
                HostAccess::None | HostAccess::Borrowed => self.scrub_and_return(hw, part, event),
                HostAccess::Owned => self.record(hw, part, |_| Ok(event)),
            }
            rest = range
                .page(part.pages())
                .zip(range.pages().checked_sub(part.pages()))
                .and_then(|(next, pages)| PageRange::new(next, pages).ok());
        }
    }

    /// Finds the longest start of `range` that the host reaches in one way.
    fn same_access(&self, hw: &mut impl MemoryHw, range: PageRange) -> (PageRange, HostAccess) {
        let mut found = None;
        let mut pages = 0u64;
        for page in range.iter() {
            let Ok(frame) = self.frames.frame(page) else { hw.fail_stop(Breach::TablesDisagree) };
            let access = frame.host_access();
            if *found.get_or_insert(access) != access {
                break;
            }
            pages = pages.saturating_add(1);
        }
        match (PageRange::new(range.start(), pages), found) {
            (Ok(part), Some(access)) => (part, access),
            _ => hw.fail_stop(Breach::TablesDisagree),
        }
    }

    /// Takes back the tables of a VM that has no leaf any more.
    fn reclaim_tables(
        &mut self,
        hw: &mut impl MemoryHw,
        vm: &mut VmMemory,
        mut budget: u64,
    ) -> Reclaim {
        let event = Event::ReturnMeta { vm: vm.slot, kind: MetaKind::Table };
        while let Some(rest) = budget.checked_sub(1) {
            let Some(table) = vm.pool.pop(hw) else {
                let Some(root) = vm.root else {
                    return Reclaim::Done;
                };
                // Nothing of the VMID is left in a TLB for whoever gets it next.
                vm.stage2.flush_all(hw);
                self.scrub_and_return(hw, root, event);
                vm.root = None;
                return Reclaim::Done;
            };
            self.scrub_and_return(hw, PageRange::one(table.pfn()), event);
            budget = rest;
        }
        Reclaim::More
    }
}

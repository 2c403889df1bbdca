//! Teardown of a VM, in bounded steps.
//!
//! Decides in which order a destroyed VM's pages go back: the guest's memory first, while the tables
//! that say where it is still stand; then the tables; then the pages of the virtual CPUs; the root
//! and what is left of the table pool last. A step that was interrupted is taken again at its cursor,
//! so no call of the host keeps EL2 for long.

use redoubt_abi::Status;

use super::{MAX_VCPUS, Vcpu, Vm, VmState};
use crate::addr::{Pa, Pfn};

/// How far the teardown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Guest memory, from this address on.
    Memory(u64),
    /// Translation tables, from this position on.
    Tables(u64),
    /// Virtual CPUs, from this index on; then the root and the rest of the pool.
    Vcpus(usize),
    /// All is back.
    Done,
}

impl Progress {
    /// Where every teardown starts.
    pub(super) const START: Self = Self::Memory(0);
}

/// What the next call of VM_RECLAIM does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReclaimStep {
    /// Give guest memory back, starting at the cursor, an intermediate physical address.
    Memory {
        /// Where to go on.
        cursor: u64,
    },
    /// Give translation tables back, the meaning of the cursor is the caller's.
    Tables {
        /// Where to go on.
        cursor: u64,
    },
    /// Scrub and give back the state page, and unpin the run page.
    Vcpu {
        /// Index of the virtual CPU.
        index: usize,
        /// The state page.
        state: Pfn,
        /// The run page.
        run: Pfn,
    },
    /// Give the root of the stage-2 table back, and what the pool still holds.
    Root {
        /// Its first page.
        root: Pa,
    },
    /// Nothing is left: close the VM and release its slot.
    Done,
}

impl Vm {
    /// Destroys the VM, for VM_DESTROY.
    ///
    /// # Errors
    /// [`Status::WrongState`] when it is destroyed already; [`Status::Busy`] while a virtual CPU
    /// runs.
    pub fn destroy(&mut self) -> Result<(), Status> {
        self.require_alive()?;
        if self.vcpus.iter().flatten().any(|vcpu| vcpu.running.is_some()) {
            return Err(Status::Busy);
        }
        self.state = VmState::Dying;
        self.teardown = Progress::START;
        Ok(())
    }

    /// Tells what VM_RECLAIM has to do next.
    ///
    /// # Errors
    /// [`Status::WrongState`] when the VM has not been destroyed.
    pub fn reclaim_step(&self) -> Result<ReclaimStep, Status> {
        if self.state != VmState::Dying {
            return Err(Status::WrongState);
        }
        Ok(match self.teardown {
            Progress::Memory(cursor) => ReclaimStep::Memory { cursor },
            Progress::Tables(cursor) => ReclaimStep::Tables { cursor },
            Progress::Vcpus(first) => match self.next_vcpu(first) {
                Some((index, found)) => {
                    ReclaimStep::Vcpu { index, state: found.state, run: found.run }
                }
                None => self.root_step(),
            },
            Progress::Done => ReclaimStep::Done,
        })
    }

    /// The step that gives the root back, if there is one.
    fn root_step(&self) -> ReclaimStep {
        self.root.map_or(ReclaimStep::Done, |root| ReclaimStep::Root { root })
    }

    /// Finds the first virtual CPU from `first` on.
    fn next_vcpu(&self, first: usize) -> Option<(usize, &Vcpu)> {
        let find = |index: usize| Some((index, self.vcpus.get(index)?.as_ref()?));
        (first..MAX_VCPUS).find_map(find)
    }

    /// Notes how far the step `Memory` or `Tables` has come. In any other step it does nothing.
    pub fn reclaim_progress(&mut self, cursor: u64) {
        self.teardown = match self.teardown {
            Progress::Memory(_) => Progress::Memory(cursor),
            Progress::Tables(_) => Progress::Tables(cursor),
            other @ (Progress::Vcpus(_) | Progress::Done) => other,
        };
    }

    /// Notes that the step that [`Vm::reclaim_step`] told is finished.
    pub fn reclaim_next(&mut self) {
        if self.state != VmState::Dying {
            return;
        }
        self.teardown = match self.teardown {
            Progress::Memory(_) => Progress::Tables(0),
            Progress::Tables(_) => Progress::Vcpus(0),
            Progress::Vcpus(first) => match self.next_vcpu(first).map(|(index, _)| index) {
                Some(index) => {
                    if let Some(slot) = self.vcpus.get_mut(index) {
                        *slot = None;
                    }
                    Progress::Vcpus(index.saturating_add(1))
                }
                None => self.forget_root(),
            },
            Progress::Done => Progress::Done,
        };
    }

    /// The root has been given back.
    fn forget_root(&mut self) -> Progress {
        self.root = None;
        Progress::Done
    }

    /// Empties the slot, once [`Vm::reclaim_step`] has told that everything was given back; before
    /// that it does nothing.
    pub fn close(&mut self) {
        if self.state == VmState::Dying && self.teardown == Progress::Done {
            self.state = VmState::Free;
            self.handle = None;
        }
    }
}

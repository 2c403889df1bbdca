//! Teardown of a VM, in bounded steps.
//!
//! Decides in which order a destroyed VM's pages go back: the pages of the virtual CPUs first, one a
//! step, then memory and tables, whose progress `redoubt_core::memory` keeps. Nothing goes back while a
//! virtual CPU runs: its physical CPU still walks the tables and will store registers.

use redoubt_abi::Status;

use super::{Vm, VmState};
use crate::addr::Pfn;

/// What the next call of VM_RECLAIM does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReclaimStep {
    /// Scrub and give back the state page, and unpin the run page.
    Vcpu {
        /// The state page.
        state: Pfn,
        /// The run page.
        run: Pfn,
    },
    /// Give memory and tables back, as far as one call may.
    Memory,
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
        if self.is_running() {
            return Err(Status::Busy);
        }
        self.condemn();
        Ok(())
    }

    /// Ends the VM before the machine goes down, even while virtual CPUs run: none enters any more,
    /// and those that are inside leave at their next exit. It does nothing to an empty slot or to a
    /// VM that is ending already.
    pub fn condemn(&mut self) {
        match self.state {
            VmState::Creating | VmState::Runnable => {
                self.state = VmState::Dying;
            }
            VmState::Free | VmState::Dying => {}
        }
    }

    /// Tells whether a virtual CPU runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.vcpus.iter().flatten().any(|vcpu| vcpu.running.is_some())
    }

    /// Tells what VM_RECLAIM has to do next.
    ///
    /// # Errors
    /// [`Status::WrongState`] when the VM has not been destroyed; [`Status::Busy`] while a virtual
    /// CPU runs, which is so only after [`Vm::condemn`].
    pub fn reclaim_step(&self) -> Result<ReclaimStep, Status> {
        if self.state != VmState::Dying {
            return Err(Status::WrongState);
        }
        if self.is_running() {
            return Err(Status::Busy);
        }
        Ok(match self.vcpus.iter().flatten().next() {
            Some(found) => ReclaimStep::Vcpu { state: found.state, run: found.run },
            None if self.memory_is_back => ReclaimStep::Done,
            None => ReclaimStep::Memory,
        })
    }

    /// Notes that the step that [`Vm::reclaim_step`] told is finished.
    pub fn reclaim_next(&mut self) {
        if self.state != VmState::Dying {
            return;
        }
        match self.vcpus.iter_mut().find(|vcpu| vcpu.is_some()) {
            Some(vcpu) => *vcpu = None,
            None => self.memory_is_back = true,
        }
    }

    /// Empties the slot, once [`Vm::reclaim_step`] has told that everything was given back; before
    /// that it does nothing.
    pub fn close(&mut self) {
        if self.reclaim_step() == Ok(ReclaimStep::Done) {
            *self = Self::EMPTY;
        }
    }
}

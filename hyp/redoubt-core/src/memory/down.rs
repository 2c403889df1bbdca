//! The machine goes down: no page of a VM may keep its contents, because RAM can outlive a reset.
//!
//! Decides what is done about it without giving anything back: guests that run at this moment lose
//! their whole address space, and when none runs any more every page that the frame table calls a
//! VM's is scrubbed in place. Records and tables stay as they are. So if the firmware comes back after
//! all, the VMs are dead but whole, and are torn down as ever; and nobody was handed a table that a
//! CPU still walks.

use super::{HostMemory, VmMemory};
use crate::hw::{MemoryHw, PageScrub};
use crate::transition::{MetaKind, State};

impl VmMemory {
    /// Takes the address space away from the guest: the next access or fetch of each vCPU faults.
    pub fn shut(&mut self, hw: &mut impl MemoryHw) {
        self.begin_teardown();
        if self.root.is_some() {
            self.shut = true;
            self.stage2.set_root_valid(hw, false);
        }
    }

    /// Undoes [`shut`](Self::shut) for the teardown, which walks the tables. No vCPU may run.
    pub fn reopen(&mut self, hw: &mut impl MemoryHw) {
        if self.root.is_some() {
            self.shut = false;
            self.stage2.set_root_valid(hw, true);
        }
    }
}

impl HostMemory<'_> {
    /// Scrubs every page that holds a secret of a VM. Pins do not matter, for nobody loses a page.
    pub fn scrub_vms(&self, hw: &mut impl PageScrub) {
        for region in self.frames.regions() {
            for page in region.iter() {
                let Ok(frame) = self.frames.frame(page) else { continue };
                if holds_vm_secret(frame.state) {
                    hw.scrub(page);
                }
            }
        }
        hw.settle();
    }
}

/// Tells whether a page in this state holds what a VM keeps from the host: its memory, but for what it
/// shares, and the registers of its vCPUs. Tables hold none, and have to stay.
pub const fn holds_vm_secret(state: State) -> bool {
    match state {
        State::Vm { .. } | State::VmMeta { kind: MetaKind::State, .. } => true,
        State::VmMeta { kind: MetaKind::Table, .. }
        | State::VmShared { .. }
        | State::Hyp
        | State::HypLoan
        | State::Host
        | State::HostShared { .. } => false,
    }
}

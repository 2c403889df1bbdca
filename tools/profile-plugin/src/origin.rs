//! On whose behalf privileged code runs: who made the last entry from a lower level.
//!
//! Decides who a virtual machine is. A host behind a stage 2 (pKVM, Redoubt, Xen's dom0) is told
//! from the others by its VMID: it runs before any of them, so that the first one that is seen is
//! its own.

use crate::arguments::Tenant;
use crate::arm::{Level, vmid};

/// Who made the last entry into the privileged level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody yet: code that runs by itself after the reset.
    Boot,
    /// The host: its kernel or its processes.
    Host,
    /// A tenant: a guest, or the processes of a container.
    Guest,
}

impl Origin {
    /// How many there are.
    pub const COUNT: usize = 3;

    /// Its name in the recording.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Boot => "boot",
            Origin::Host => "host",
            Origin::Guest => "guest",
        }
    }
}

/// The rule that tells who enters.
#[derive(Debug)]
pub struct Rule {
    tenant: Tenant,
    host_stage2: bool,
    host_vmid: Option<u16>,
}

impl Rule {
    /// Makes the rule for these tenants.
    pub fn new(tenant: Tenant, host_stage2: bool) -> Rule {
        Rule { tenant, host_stage2, host_vmid: None }
    }

    /// Tells who enters from a level, with these values in HCR_EL2 and VTTBR_EL2. Learns the host's
    /// VMID. It is nobody where a kernel that runs at EL2 enters it from EL1, where it started.
    pub fn who(&mut self, from: Level, hcr: u64, vttbr: u64) -> Option<Origin> {
        match (self.tenant, vmid(hcr, vttbr)) {
            (Tenant::El0, _) => Some(Origin::Guest),
            (Tenant::Vm, None) if !self.host_stage2 && from == Level::El1 => None,
            (Tenant::Vm, None) => Some(Origin::Host),
            (Tenant::Vm, Some(vmid)) => {
                let is_host = self.host_stage2 && *self.host_vmid.get_or_insert(vmid) == vmid;
                Some(if is_host { Origin::Host } else { Origin::Guest })
            }
        }
    }
}

#[cfg(test)]
mod tests;

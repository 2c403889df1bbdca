//! Guests as a person starts them: with the VMM, over the driver, on the stock kernel.
//!
//! One boot of a host that runs the driver's own test of `/dev/kvm`, and two guests side by side, of
//! which one is protected.

use std::time::Duration;

use redoubt_qemu::Cpu;

use crate::host::HostRun;
use crate::{Suite, Test};

/// The checks of the script, and what they are called.
const CHECKS: [(&str, &str); 8] = [
    ("kvm", "the driver's /dev/kvm keeps its promises"),
    ("ordinary-boots", "an unprotected guest boots to user space"),
    ("protected-boots", "a protected guest with 2 vCPUs boots beside it"),
    ("ordinary-proves", "the unprotected guest kept what it had in memory"),
    ("protected-proves", "the protected guest kept what it had in memory"),
    ("signal", "SIGTERM ends a guest cleanly"),
    ("power-off", "both guests power off, and the VMM ends with 0"),
    ("unload", "the driver can be unloaded: no VM is left"),
];

static RUN: HostRun = HostRun {
    name: "isolation-guests",
    cpu: Cpu::Max,
    cpus: 4,
    memory_mib: 2048,
    devices: false,
    guest: true,
    hostile: true,
    reboots: false,
    plain_kvm: false,
    script: include_str!("guests.sh"),
    limit: Duration::from_secs(600),
};

/// The tests of this module.
pub fn tests() -> Vec<Test> {
    let test = |(check, name): (&'static str, &str)| {
        Test::new(Suite::Isolation, name, move |context| context.report(&RUN)?.check(check))
    };
    CHECKS.into_iter().map(test).collect()
}

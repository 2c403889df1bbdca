//! Boot, and the host as it always was.
//!
//! Decides on which machines Redoubt is started (CPU models, CPUs, memory, loaders, broken device
//! trees) and what a stock host must still be able to do there.

pub mod disk;
mod el2_entries;
mod firmware;
mod memory_map;
mod plain_kvm;
mod reboot;
mod refusals;

use std::time::Duration;

use redoubt_qemu::Cpu;

use crate::host::HostRun;
use crate::{Suite, Test};

/// What is asked of the host on every machine.
const SCRIPT: &str = include_str!("boot/host.sh");

/// The checks of the script that need no devices.
const CHECKS: [&str; 6] = ["cpus", "started-at-el1", "memory", "clock", "interrupts", "hotplug"];

/// The checks of the script that need devices.
const DEVICE_CHECKS: [&str; 3] = ["disk", "network", "pcie"];

const fn run(name: &'static str, cpu: Cpu, cpus: u32, memory_mib: u32) -> HostRun {
    HostRun {
        name,
        cpu,
        cpus,
        memory_mib,
        devices: false,
        guest: false,
        hostile: false,
        reboots: false,
        plain_kvm: false,
        script: SCRIPT,
        limit: Duration::from_secs(240),
    }
}

/// The machines: every CPU model, 1 to 8 CPUs, 512 MiB to 8 GiB.
static RUNS: [HostRun; 5] = [
    HostRun { devices: true, ..run("boot-max", Cpu::Max, 4, 2048) },
    run("boot-neoverse-v1", Cpu::NeoverseV1, 8, 8192),
    run("boot-neoverse-n1", Cpu::NeoverseN1, 2, 1024),
    run("boot-cortex-a76", Cpu::CortexA76, 3, 5120),
    run("boot-cortex-a72", Cpu::CortexA72, 1, 512),
];

/// The tests of this suite.
pub fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for run in &RUNS {
        let machine = format!("{}, {} CPUs, {} MiB", run.cpu, run.cpus, run.memory_mib);
        let devices = DEVICE_CHECKS.iter().filter(|_| run.devices);
        for check in CHECKS.iter().chain(devices) {
            let body = move |context: &crate::Context| context.report(run)?.check(check);
            let name = format!("{check} ({machine})");
            let test = Test::new(Suite::Boot, name, body);
            // Without Redoubt the kernel is started at EL2, where it stays.
            let anywhere = *check != "started-at-el1";
            tests.push(if anywhere { test.also_without_redoubt() } else { test });
        }
        let body = move |context: &crate::Context| memory_map::test(context, run);
        tests.push(Test::new(Suite::Boot, format!("EL2 memory is hidden ({machine})"), body));
    }
    tests.extend(el2_entries::tests());
    tests.extend(reboot::tests());
    tests.extend(firmware::tests());
    tests.extend(plain_kvm::tests());
    tests.extend(refusals::tests());
    tests
}

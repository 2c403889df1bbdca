//! The VMM on an ordinary KVM host.
//!
//! `redoubt` speaks the KVM ABI only, so it must start guests where Redoubt is not there: here on
//! the stock kernel, started at EL2 itself. What is not offered there has to be refused clearly.

use std::time::Duration;

use redoubt_qemu::Cpu;

use crate::host::HostRun;
use crate::{Suite, Test};

/// One guest with two vCPUs, told to power off as soon as it listens; then one that KVM cannot
/// protect.
const SCRIPT: &str = r#"
plain() {
    echo poweroff | redoubt run --unprotected --cpus 2 --memory 256M \
        --kernel /guest/Image --initrd /guest/initrd \
        --cmdline "console=ttyS0 quiet redoubt.mode=agent" >/run/plain.out 2>&1
    same "exit status" $? 0 && grep -q "guest: ready" /run/plain.out && grep -q "2 CPUs" /run/plain.out
}
refused() {
    redoubt run --protected --kernel /guest/Image --memory 256M >/run/refused.out 2>&1
    same "exit status" $? 1 && grep -q -e "--unprotected" /run/refused.out
}
check plain plain
check refused refused
"#;

static RUN: HostRun = HostRun {
    name: "boot-plain-kvm",
    cpu: Cpu::Max,
    cpus: 2,
    memory_mib: 1024,
    devices: false,
    guest: true,
    hostile: false,
    reboots: false,
    plain_kvm: true,
    script: SCRIPT,
    limit: Duration::from_secs(300),
};

/// The tests of this module.
pub fn tests() -> Vec<Test> {
    let test = |name: &str, check: &'static str| {
        Test::new(Suite::Boot, name, move |context| context.report(&RUN)?.check(check))
    };
    vec![
        test("the VMM starts a guest on plain KVM", "plain"),
        test("the VMM says that plain KVM protects nothing", "refused"),
    ]
}

//! Reset and power off, asked for by the host.
//!
//! Power off ends every run of this suite; here the machine is reset on the way, and the same image
//! must boot again over what the first boot left in memory.

use std::time::Duration;

use redoubt_qemu::Cpu;

use crate::host::HostRun;
use crate::{Suite, Test};

/// The first boot marks the disk and reboots; the second finds the mark.
const SCRIPT: &str = r#"
if [ "$(head -c 6 /dev/vda)" != SECOND ]; then
    printf SECOND | dd of=/dev/vda conv=notrunc,fsync
    echo "HOST reboots"
    reboot -f
    sleep 60
    exit 1
fi
check reboot same "CPUs online" "$(grep -c ^processor /proc/cpuinfo)" "$CPUS"
"#;

static RUN: HostRun = HostRun {
    name: "boot-reboot",
    cpu: Cpu::Max,
    cpus: 2,
    memory_mib: 1024,
    devices: true,
    guest: false,
    hostile: false,
    reboots: true,
    plain_kvm: false,
    script: SCRIPT,
    limit: Duration::from_secs(240),
};

/// The tests of this module.
pub fn tests() -> Vec<Test> {
    let reboot = |context: &crate::Context| context.report(&RUN)?.check("reboot");
    vec![Test::new(Suite::Boot, "reboot", reboot).also_without_redoubt()]
}

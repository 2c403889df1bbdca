//! Started by U-Boot, at addresses of its choice.
//!
//! U-Boot's `booti` starts an arm64 Image wherever it is in memory, with the device tree and the
//! initrd moved to the top of RAM, where EL2 would like to be.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use redoubt_qemu::{Boot, Cpu, Load, Vm};

use crate::context::Context;
use crate::host::{COMMAND_LINE, HostRun};
use crate::{Suite, Test};

/// Where the initrd is put.
const INITRD: u64 = 0x6800_0000;

/// Where the image is put: multiples of 2 MiB, low and in the midst of RAM.
const ADDRESSES: [u64; 2] = [0x4420_0000, 0x7000_0000];

/// U-Boot's time, and the kernel's.
const LIMIT: Duration = Duration::from_secs(240);

static RUN: HostRun = HostRun {
    name: "boot-u-boot",
    cpu: Cpu::Max,
    cpus: 2,
    memory_mib: 2048,
    devices: false,
    guest: false,
    hostile: false,
    reboots: false,
    plain_kvm: false,
    script: "check cpus same 'CPUs online' \"$(cat /sys/devices/system/cpu/online)\" 0-1",
    limit: LIMIT,
};

/// The tests of this module.
pub fn tests() -> Vec<Test> {
    let test = |address: u64| {
        let name = format!("U-Boot booti at {address:#x}");
        Test::new(Suite::Boot, name, move |context| boot(context, address)).also_without_redoubt()
    };
    ADDRESSES.into_iter().map(test).collect()
}

fn boot(context: &Context, address: u64) -> Result<()> {
    let initrd = RUN.initrd(context)?;
    let size = std::fs::metadata(&initrd).context("cannot see the initrd")?.len();
    let loads = vec![
        Load { file: context.image()?.to_owned(), address },
        Load { file: initrd, address: INITRD },
    ];
    let firmware = Boot::Firmware { image: context.artifacts.u_boot.clone(), loads };
    let machine = RUN.machine(context, firmware)?;
    let mut vm = context.start(&machine, &format!("{}-{address:x}", RUN.name))?;
    vm.wait_for("stop autoboot", LIMIT)?;
    vm.send("\n")?;
    command(&mut vm, &format!("setenv bootargs '{COMMAND_LINE}'"))?;
    command(&mut vm, &format!("booti {address:#x} {INITRD:#x}:{size:x} ${{fdtcontroladdr}}"))?;
    RUN.finish(&mut vm)?.check("cpus")
}

/// Types a line at U-Boot's prompt.
fn command(vm: &mut Vm, line: &str) -> Result<()> {
    vm.wait_for("=> ", LIMIT)?;
    if line.len() > 500 {
        bail!("U-Boot takes no line of {} characters", line.len());
    }
    vm.send(&format!("{line}\n"))
}

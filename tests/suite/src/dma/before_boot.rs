//! Firmware that leaves devices writing (B6).
//!
//! The payload `predma` runs before Redoubt, as firmware would, and starts it with the engines of six
//! devices running, each of which is about to write into EL2's memory: the first within five million
//! instructions (the machine counts time in them, so that this is the same everywhere). None must
//! land, and no device may be bus master when the host starts.

use std::time::Duration;

use anyhow::{Result, bail};
use redoubt_qemu::{Boot, Device, Load, Machine, RAM_BASE};

use super::HOSTILE;
use crate::context::Context;
use crate::{Suite, Test};

const NAME: &str = "dma-before-boot";
/// Where the payload expects the image, and how much memory it expects.
const NEXT: u64 = 0x6000_0000;
const MEMORY_MIB: u32 = 2048;
const DEVICES: usize = 6;
const LIMIT: Duration = Duration::from_secs(180);

/// Whether devices were bus masters, before anything is enabled; then a VM, to see that EL2 works.
const SCRIPT: &str = r#"
./redoubt-hostile stray | data stray
./redoubt-hostile $RAM --payloads /hostile/payload --pause run smmu-registers
[ $? -le 1 ] || exit 1
"#;

/// The tests of this module.
pub fn tests() -> Vec<Test> {
    vec![Test::new(Suite::Dma, "firmware left devices writing (B6)", test)]
}

fn test(context: &Context) -> Result<()> {
    let size = u64::from(MEMORY_MIB) * 1024 * 1024;
    let ram = format!("RAM='--ram-base {RAM_BASE:#x} --ram-size {size:#x}'\n");
    let boot = super::boot(context, NAME, &format!("{HOSTILE}{ram}{SCRIPT}"))?;
    let Boot::Kernel { image: redoubt, initrd, append } = boot else {
        bail!("a host is booted as a kernel");
    };
    let image = context.artifacts.payload("predma")?.to_owned();
    let mut machine = Machine::new(Boot::Kernel { image, initrd, append })
        .load(Load { file: redoubt, address: NEXT })
        .cpus(2)
        .icount()
        .memory_mib(MEMORY_MIB);
    for _ in 0..DEVICES {
        machine = machine.device(Device::Edu);
    }
    let mut vm = context.start(&machine, NAME)?;
    super::watch_for_failure(&vm);
    vm.wait_for(&format!("predma: {DEVICES} devices, DMA lands: true"), LIMIT)?;
    vm.wait_for("predma: starts the next stage", LIMIT)?;
    let found = vm.console().wait_for_any(&["CANARY-END", "HOST done: "], LIMIT)?;
    if found.index != 0 {
        bail!("the host did not get to its end{}", vm.console().tail());
    }
    let text = vm.console().text();
    let outcome = super::search_el2(context, &text, &mut vm.qmp()?);
    vm.send("continue\n")?;
    let report = super::finish(&mut vm, LIMIT)?;
    outcome?;
    let stray = report.data("stray")?;
    let says = |line: &str| stray.iter().any(|said| said == line);
    if !says("MASTER false") {
        bail!("the host was started with a device that is bus master: {stray:?}");
    }
    // And once the host has made it one, it works.
    if !says("LANDED true") || stray.iter().any(|line| line.starts_with("EVENT")) {
        bail!("the host cannot use the device: {stray:?}");
    }
    Ok(())
}

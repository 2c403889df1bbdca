//! What a reset leaves of a protected VM: nothing.
//!
//! RAM keeps its contents over a reset. One that EL2 sees (the host asks for it by SMC) is scrubbed
//! for before; one that it does not see (a watchdog, QEMU's `system_reset`) is scrubbed for by the
//! next boot, before the host runs. Both are looked at from outside, on stopped CPUs.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use redoubt_qemu::{Boot, Device, Machine, Qmp, Vm, cpio};

use super::{PAGE, canary, fnv, hex};
use crate::context::Context;
use crate::host::{COMMAND_LINE, FATAL};
use crate::{Suite, Test};

const LIMIT: Duration = Duration::from_secs(300);

/// What the boot after a reset says when it found pages of VMs.
const SCRUBBED: &str = "pages that VMs of an earlier boot had left";

/// The tests of this module.
pub fn tests() -> Vec<Test> {
    vec![
        Test::new(Suite::Isolation, "a reset that EL2 does not see (Z1)", |context| {
            unseen(context, "isolation-reset-unseen", "hold", &[])
        }),
        Test::new(Suite::Isolation, "the host resets the machine under a VM (Z1)", |context| {
            asked_for(context, "isolation-reset-asked-for", "reset", &[])
        }),
    ]
}

/// A machine that runs one command of the attacks' program.
fn machine(context: &Context, name: &str, command: &str, devices: &[Device]) -> Result<Machine> {
    let artifacts = &context.artifacts;
    fs::create_dir_all(&artifacts.scratch)
        .with_context(|| format!("cannot make {}", artifacts.scratch.display()))?;
    let script = format!(
        "insmod /hostile/hostile.ko || exit 1\n\
         /hostile/redoubt-hostile --payloads /hostile/payload {command}\n"
    );
    let mut extra = cpio::Archive::new();
    extra.file("cmd", 0o755, script.as_bytes())?;
    let initrd = artifacts.scratch.join(format!("{name}.initrd"));
    let parts = [artifacts.host.clone(), artifacts.hostile.clone()];
    cpio::concatenate(&parts, &extra.finish()?, &initrd)?;
    let boot = Boot::Kernel {
        image: artifacts.redoubt()?.to_owned(),
        initrd: Some(initrd),
        // The loader of the next boot overwrites where the initrd was: no VM is to lie there.
        append: format!("{COMMAND_LINE} retain_initrd"),
    };
    let machine = Machine::new(boot).cpus(2).memory_mib(1024);
    Ok(devices.iter().cloned().fold(machine, Machine::device))
}

/// Memory that a VM had.
struct Remains {
    /// First address and number of pages.
    ranges: Vec<(u64, u64)>,
    scratch: PathBuf,
}

impl Remains {
    /// Waits for the VM, and makes sure that its secret is in memory.
    fn find(context: &Context, vm: &Vm, qmp: &mut Qmp) -> Result<Remains> {
        let found = vm.console().wait_for_any(&["CANARY-END", "HOST done: "], LIMIT)?;
        if found.index != 0 {
            bail!("the VM was not started{}", vm.console().tail());
        }
        let text = vm.console().text();
        let (page, hash) = canary(&text)?;
        let scratch = context.artifacts.scratch.join("remains");
        if fnv(&qmp.read_memory(page, PAGE, &scratch)?) != hash {
            bail!("the secret is not where it should be, at {page:#x}");
        }
        let lines = text.lines().filter_map(|line| line.strip_prefix("CANARY-PAGES "));
        let ranges = lines.map(range).collect::<Result<Vec<_>>>()?;
        if !ranges.iter().any(|(start, pages)| (*start..start + pages * PAGE).contains(&page)) {
            bail!("the secret at {page:#x} is in none of the VM's pages");
        }
        Ok(Remains { ranges, scratch })
    }

    /// Fails unless all of it is zero.
    fn require_zero(&self, qmp: &mut Qmp) -> Result<()> {
        for (start, pages) in &self.ranges {
            let memory = qmp.read_memory(*start, pages * PAGE, &self.scratch)?;
            if let Some(at) = memory.iter().position(|byte| *byte != 0) {
                bail!("{:#x} holds {:#x} of what the VM had", start + at as u64, memory[at]);
            }
        }
        Ok(())
    }
}

/// The first address and the number of pages in `PFN COUNT`.
fn range(line: &str) -> Result<(u64, u64)> {
    let (pfn, count) = line.trim().split_once(' ').with_context(|| format!("\"{line}\""))?;
    let start = hex(pfn)?.checked_mul(PAGE).with_context(|| format!("\"{line}\""))?;
    Ok((start, hex(count)?))
}

fn start(context: &Context, machine: &Machine, name: &str) -> Result<(Vm, Qmp)> {
    let vm = context.start(machine, name)?;
    for text in FATAL {
        vm.console().fail_on(text);
    }
    let qmp = vm.qmp()?;
    Ok((vm, qmp))
}

/// Resets a machine that runs `command`, which shows a VM, by its reset button.
pub fn unseen(context: &Context, name: &str, command: &str, devices: &[Device]) -> Result<()> {
    let machine = machine(context, name, command, devices)?.reboots();
    let (vm, mut qmp) = start(context, &machine, name)?;
    let remains = Remains::find(context, &vm, &mut qmp)?;
    qmp.reset()?;
    let found = vm.console().wait_for_any(&[SCRUBBED, "HOST ready: "], LIMIT)?;
    // The host has hardly begun to run, and has given out no memory yet.
    qmp.stop()?;
    if found.index != 0 {
        bail!("the next boot has not said that it scrubbed anything");
    }
    let least: u64 = remains.ranges.iter().map(|range| range.1).sum();
    let words: Vec<_> = found.line.split_whitespace().collect();
    let number = words.windows(2).find(|pair| pair[0] == "scrubbed").map(|pair| pair[1].parse());
    if !matches!(number, Some(Ok(scrubbed)) if least <= scrubbed) {
        bail!("\"{}\": the VM had {least} pages", found.line);
    }
    remains.require_zero(&mut qmp)?;
    qmp.resume()?;
    // And the machine is as good as new: it holds another VM.
    vm.wait_for("CANARY-END", LIMIT).map(drop)
}

/// Lets a machine that runs `command`, which shows a VM, reset itself.
pub fn asked_for(context: &Context, name: &str, command: &str, devices: &[Device]) -> Result<()> {
    let machine = machine(context, name, command, devices)?.halts();
    let (mut vm, mut qmp) = start(context, &machine, name)?;
    let remains = Remains::find(context, &vm, &mut qmp)?;
    vm.send("continue\n")?;
    let deadline = Instant::now() + LIMIT;
    while qmp.status()? != "shutdown" {
        if vm.console().text().contains("HOST done: ") || Instant::now() > deadline {
            bail!("the machine was not reset{}", vm.console().tail());
        }
        thread::sleep(Duration::from_millis(100));
    }
    remains.require_zero(&mut qmp)
}

#[cfg(test)]
mod tests {
    //! The program's lines.

    use super::range;

    #[test]
    fn reads_ranges() {
        assert_eq!(range("0x4a001 0x40\r").unwrap(), (0x4a00_1000, 0x40));
        assert!(range("0x4a001").is_err());
        assert!(range("x 1").is_err());
    }
}

//! What devices must not be able to do, whoever drives them.
//!
//! Five groups: attacks by a host that programs devices, by the program `redoubt-hostile`
//! ([`attacks`]); platforms on which devices cannot all be guarded ([`inventory`]); firmware that left
//! devices writing ([`before_boot`]); devices that write while the machine is reset ([`reset`]); and
//! devices that do their ordinary work while VMs come and go ([`soak`]).
//!
//! Invariants: a device's mark is looked for in EL2's memory from outside, so that a write counts that
//! neither host nor hypervisor has noticed.

mod attacks;
mod before_boot;
mod inventory;
mod reset;
mod soak;

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use redoubt_qemu::{Boot, Qmp, Vm, cpio};

use crate::Test;
use crate::boot::disk;
use crate::context::Context;
use crate::host::{COMMAND_LINE, FATAL, PRELUDE, Report};
use crate::isolation::hex;

/// What the attacks have `edu` write, as often as it goes into a page.
const MARK: u64 = 0x4b52_414d_2d41_4d44;

/// The serial number of the NVMe controller that attacks: in every page that it writes.
const SERIAL: &str = "REDOUBT-DMA-ATTACK";

/// How every script begins: with the raw power of the kernel, and with nobody else who takes events.
const HOSTILE: &str = "\
insmod /hostile/hostile.ko || exit 1
! grep -q '^redoubt ' /proc/modules || rmmod redoubt || exit 1
cd /hostile
";

/// The tests of this suite.
pub fn tests() -> Vec<Test> {
    let mut tests = attacks::tests();
    tests.extend(inventory::tests());
    tests.extend(before_boot::tests());
    tests.extend(reset::tests());
    tests.extend(soak::tests());
    tests
}

/// What a machine boots that runs `script` on a host with everything hostile.
fn boot(context: &Context, name: &str, script: &str) -> Result<Boot> {
    let artifacts = &context.artifacts;
    fs::create_dir_all(&artifacts.scratch)
        .with_context(|| format!("cannot make {}", artifacts.scratch.display()))?;
    let script = format!("DISK_HASH={}\n{PRELUDE}\n{script}", disk::hash());
    let mut extra = cpio::Archive::new();
    extra.file("cmd", 0o755, script.as_bytes())?;
    let initrd = artifacts.scratch.join(format!("{name}.initrd"));
    let parts = [artifacts.host.clone(), artifacts.hostile.clone()];
    cpio::concatenate(&parts, &extra.finish()?, &initrd)?;
    Ok(Boot::Kernel {
        image: artifacts.redoubt()?.to_owned(),
        initrd: Some(initrd),
        append: COMMAND_LINE.into(),
    })
}

/// Waits until the script is through and the machine has powered off.
fn finish(vm: &mut Vm, limit: Duration) -> Result<Report> {
    vm.wait_for("HOST done: ", limit)?;
    let status = vm.wait_exit(Duration::from_secs(60)).context("after power off")?;
    let text = vm.console().text();
    if !status.success() {
        bail!("QEMU ended with {status}");
    }
    if !text.lines().any(|line| line.trim_end() == "HOST done: 0") {
        bail!("the script failed{}", vm.console().tail());
    }
    Ok(Report::read(&text))
}

/// Makes the texts that mean failure end every wait.
fn watch_for_failure(vm: &Vm) {
    FATAL.iter().for_each(|text| vm.console().fail_on(text));
}

/// Looks for what devices wrote in the memory that the program says is hidden from the host: the
/// lines `HIDDEN START END`.
fn search_el2(context: &Context, text: &str, qmp: &mut Qmp) -> Result<()> {
    let lines = text.lines().filter_map(|line| line.trim_end().strip_prefix("HIDDEN "));
    let ranges = lines.map(range).collect::<Result<Vec<_>>>()?;
    if ranges.is_empty() {
        bail!("the host does not say which memory is hidden from it");
    }
    let mark: Vec<u8> = MARK.to_le_bytes().repeat(4);
    for (start, end) in ranges {
        let scratch = context.artifacts.scratch.join("el2-memory");
        let memory = qmp.read_memory(start, end - start, &scratch)?;
        for (what, needle) in [("edu", &mark[..]), ("the NVMe controller", SERIAL.as_bytes())] {
            if let Some(at) = memory.windows(needle.len()).position(|window| window == needle) {
                bail!("{what} wrote to EL2's memory, at {:#x}", start + at as u64);
            }
        }
    }
    Ok(())
}

fn range(words: &str) -> Result<(u64, u64)> {
    let (start, end) = words.split_once(' ').with_context(|| format!("\"{words}\""))?;
    let (start, end) = (hex(start)?, hex(end)?);
    match start < end {
        true => Ok((start, end)),
        false => bail!("\"{words}\" is no range"),
    }
}

#[cfg(test)]
mod tests {
    //! The program's lines.

    use super::range;

    #[test]
    fn reads_ranges() {
        assert_eq!(range("0xbe000000 0xc0000000").unwrap(), (0xbe00_0000, 0xc000_0000));
        assert!(range("0x2 0x1").is_err());
        assert!(range("0x2").is_err());
    }
}

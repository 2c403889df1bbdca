//! What the host and guests must not be able to do.
//!
//! The attacks are a table in the program `redoubt-hostile`, which runs on the host with the raw
//! power of its kernel, beside a protected VM whose secret it may not have. Here it is started, its
//! results are collected, and the secret is looked at once more where no host and no hypervisor can
//! lie: in the machine's memory, from outside.
//!
//! Invariants: every case that the program lists has a result; a case that was not reached has
//! failed, and so has one during which the machine died.

mod guests;
pub(crate) mod reset;

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use redoubt_qemu::{Boot, Cpu, Device, Machine, RAM_BASE, Vm, cpio};

use crate::boot::disk;
use crate::context::Context;
use crate::host::{COMMAND_LINE, FATAL};
use crate::{Case, Suite, Test};

/// A machine that is attacked.
#[derive(Clone, Copy, Debug)]
struct Target {
    name: &'static str,
    cpu: Cpu,
    cpus: u32,
    memory_mib: u32,
    /// Which attacks.
    group: &'static str,
    /// What is added to the host's command line.
    append: &'static str,
    /// Whether the GIC has what GICv4 adds.
    gic_v4: bool,
}

/// With everything a CPU can have.
const FULL: Target = Target {
    name: "isolation-max",
    cpu: Cpu::Max,
    cpus: 4,
    memory_mib: 2048,
    group: "all",
    append: "",
    gic_v4: false,
};
/// Without SVE, pointer authentication and fine-grained traps.
const PLAIN: Target =
    Target { name: "isolation-cortex-a72", cpu: Cpu::CortexA72, memory_mib: 1024, ..FULL };
/// With an ITS that Linux leaves alone, so that the attacks have it for themselves; and one that can do
/// more than EL2 offers.
const IDLE_ITS: Target = Target {
    name: "isolation-its",
    memory_mib: 1024,
    group: "gic",
    append: " irqchip.gicv3_nolpi=1",
    gic_v4: true,
    ..FULL
};

/// The longest that all attacks may take.
const LIMIT: Duration = Duration::from_secs(420);
/// The size of a page.
pub(crate) const PAGE: u64 = 4096;

/// The tests of this suite.
pub fn tests() -> Vec<Test> {
    let mut tests = vec![
        Test::many(Suite::Isolation, "attacks by the host (max)", |context| attack(context, FULL)),
        Test::many(Suite::Isolation, "attacks by the host (cortex-a72)", |context| {
            attack(context, PLAIN)
        }),
        Test::many(Suite::Isolation, "attacks through the interrupt controller", |context| {
            attack(context, IDLE_ITS)
        }),
    ];
    tests.extend(reset::tests());
    tests.extend(guests::tests());
    tests
}

fn attack(context: &Context, target: Target) -> Result<Vec<Case>> {
    let initrd = initrd(context, target)?;
    let image = context.artifacts.scratch.join(format!("{}.disk", target.name));
    disk::create(&image)?;
    let boot = Boot::Kernel {
        image: context.artifacts.redoubt()?.to_owned(),
        initrd: Some(initrd),
        append: format!("{COMMAND_LINE}{}", target.append),
    };
    let machine = Machine::new(boot);
    let machine = if target.gic_v4 { machine.gic_v4() } else { machine };
    let machine = machine
        .cpu(target.cpu)
        .cpus(target.cpus)
        .memory_mib(target.memory_mib)
        .device(Device::Disk(image))
        .device(Device::Edu);
    let mut vm = context.start(&machine, target.name)?;
    for text in FATAL {
        vm.console().fail_on(text);
    }
    let secret = watch(&mut vm, context);
    let text = vm.kill();
    let mut cases = results(&text)?;
    cases.push(Case { name: "the secret, seen from outside".into(), outcome: secret });
    Ok(cases)
}

/// The initrd, with a script that runs all attacks.
fn initrd(context: &Context, target: Target) -> Result<std::path::PathBuf> {
    let artifacts = &context.artifacts;
    fs::create_dir_all(&artifacts.scratch)
        .with_context(|| format!("cannot make {}", artifacts.scratch.display()))?;
    let size = u64::from(target.memory_mib) * 1024 * 1024;
    let group = target.group;
    let script = format!(
        "insmod /hostile/hostile.ko || exit 1\n\
         cd /hostile\n\
         ./redoubt-hostile list {group} | sed 's/^/LISTED /'\n\
         ./redoubt-hostile --ram-base {RAM_BASE:#x} --ram-size {size:#x} \
         --payloads /hostile/payload --pause run {group}\n\
         [ $? -le 1 ]\n"
    );
    let mut extra = cpio::Archive::new();
    extra.file("cmd", 0o755, script.as_bytes())?;
    let initrd = artifacts.scratch.join(format!("{}.initrd", target.name));
    let parts = [artifacts.host.clone(), artifacts.hostile.clone()];
    cpio::concatenate(&parts, &extra.finish()?, &initrd)?;
    Ok(initrd)
}

/// Lets the attacks run, looks at the secret from outside, and lets the host power off.
fn watch(vm: &mut Vm, context: &Context) -> Result<()> {
    let found = vm.console().wait_for_any(&["CANARY-END", "HOST done: "], LIMIT)?;
    if found.index != 0 {
        bail!("the attacks ended early{}", vm.console().tail());
    }
    let (page, hash) = canary(&vm.console().text())?;
    let scratch = context.artifacts.scratch.join("canary");
    let memory = vm.qmp()?.read_memory(page, PAGE, &scratch)?;
    if fnv(&memory) != hash {
        bail!("the page at {page:#x} does not hold what its owner wrote");
    }
    vm.send("continue\n")?;
    vm.wait_for("HOST done: ", LIMIT)?;
    let status = vm.wait_exit(Duration::from_secs(60)).context("after power off")?;
    if !status.success() {
        bail!("QEMU ended with {status}");
    }
    match vm.console().text().lines().any(|line| line.trim_end() == "HOST done: 0") {
        true => Ok(()),
        false => bail!("the attacks' program failed{}", vm.console().tail()),
    }
}

/// Where the secret is and what it hashes to: the line `CANARY PFN HASH`.
pub(crate) fn canary(text: &str) -> Result<(u64, u64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("CANARY ")).context("no canary")?;
    let numbers = line.split_whitespace().map(hex);
    let [pfn, hash] = numbers.collect::<Result<Vec<_>>>()?[..] else {
        bail!("\"{line}\" names no page and hash");
    };
    let page = pfn.checked_mul(PAGE).with_context(|| format!("{pfn:#x} is no page"))?;
    Ok((page, hash))
}

pub(crate) fn hex(word: &str) -> Result<u64> {
    u64::from_str_radix(word.trim_start_matches("0x"), 16)
        .with_context(|| format!("\"{word}\" is no number"))
}

/// The results of all cases that the program lists.
pub(crate) fn results(text: &str) -> Result<Vec<Case>> {
    let lines = || text.lines().map(|line| line.trim_end_matches('\r'));
    let mut cases = Vec::new();
    let mut reached_all = true;
    for line in lines().filter_map(|line| line.strip_prefix("LISTED ")) {
        let name = line.split_whitespace().next().unwrap_or_default();
        let prefix = format!("CASE {name} ... ");
        let result = lines().find_map(|line| line.strip_prefix(prefix.as_str()));
        let outcome = match result {
            Some("ok") => Ok(()),
            Some(why) => Err(anyhow!("{}", why.trim_start_matches("FAILED").trim())),
            None if reached_all => {
                reached_all = false;
                let rest: Vec<_> = lines().filter(|line| !line.is_empty()).collect();
                let last = rest[rest.len().saturating_sub(5)..].join("\n");
                Err(anyhow!("no result; the machine's last lines:\n{last}"))
            }
            None => Err(anyhow!("not reached")),
        };
        cases.push(Case { name: line.to_owned(), outcome });
    }
    if cases.is_empty() {
        let rest: Vec<_> = lines().collect();
        bail!("no attacks were listed:\n{}", rest[rest.len().saturating_sub(10)..].join("\n"));
    }
    Ok(cases)
}

/// The hash that the canary uses: FNV-1a, 64 bits.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    //! The program's lines.

    use super::{canary, fnv, results};

    const TEXT: &str = "\
LISTED read-el2   H1  the host cannot\r
LISTED write-el2  H1  nor this\r
LISTED never      H2  after that\r
LISTED late       H3  nor that\r
CASE read-el2 ... ok\r
CASE write-el2 ... FAILED it could\r
CANARY 0x4a001 0x00000000000000ff\r
";

    #[test]
    fn every_listed_case_has_a_result() {
        let cases = results(TEXT).unwrap();
        let good: Vec<_> = cases.iter().map(|case| case.outcome.is_ok()).collect();
        assert_eq!(good, [true, false, false, false]);
        let why = |index: usize| cases[index].outcome.as_ref().unwrap_err().to_string();
        assert_eq!(why(1), "it could");
        assert!(why(2).contains("last lines"));
        assert_eq!(why(3), "not reached");
    }

    #[test]
    fn nothing_listed_is_an_error() {
        assert!(results("CASE x ... ok\n").is_err());
    }

    #[test]
    fn reads_the_canary() {
        assert_eq!(canary(TEXT).unwrap(), (0x4a00_1000, 0xff));
        assert!(canary("CANARY 1\n").is_err());
        assert!(canary("CANARY x 1\n").is_err());
    }

    #[test]
    fn hashes_like_fnv() {
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"foobar"), 0x8594_4171_f739_67e8);
    }
}

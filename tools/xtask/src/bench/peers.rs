//! Compares what things cost on Redoubt and on its peers: `cargo xtask bench --peers`.
//!
//! Decides what is compared. All systems run on the same QEMU machine (but that of Xen, which has more
//! memory for dom0 to have as much, and no SMMU) with the same kernels, user space and guests, one boot
//! for each, in which the kernel unpacks all of them; a TCG plugin counts the instructions of all levels between
//! marks, so nothing is measured by a clock that a hypervisor could bend. Of what a guest repeats, the
//! cheapest run counts: the one in which the host was not interrupted.
//!
//! Two guests: one of a few instructions that measures itself (`bench-peer`), and Debian's kernel as
//! it is.

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use redoubt_profile::recording::{FROM_RESET, Phase, Recording};
use redoubt_qemu::Qemu;

use crate::build;
use crate::paths::{Paths, make_folder, remove_folder};
use crate::profile::plugin;
use crate::profile::systems::{Plan, System};
use crate::profile::workload::{Job, Lab, Peer};
use crate::profile::{systems, xen};
use crate::setup;
use crate::ui;

/// The systems that start virtual machines.
const SYSTEMS: [System; 4] = [System::Redoubt, System::Pkvm, System::Kvm, System::Xen];

/// How often the guest that measures repeats an operation between two marks.
const ROUNDS: u64 = 20;
/// How often it does that.
const RUNS: usize = 50;

/// Marks of that guest.
const EMPTY: u16 = 10;
const HYPERCALL: u16 = 11;
const KERNEL_MMIO: u16 = 12;
const VMM_MMIO: u16 = 13;
/// Mark before a VM starts.
const START: u16 = 2;
/// Mark around what a workload measures of itself.
const WORKLOAD: u16 = 1;

/// What is shown of each system: key and description.
const TABLE: [(&str, &str); 8] = [
    ("guest_hvc", "guest: hypercall"),
    ("guest_kernel_mmio_read", "guest: MMIO read answered by kernel or hypervisor"),
    ("guest_vmm_mmio_read", "guest: MMIO read answered by the VMM"),
    ("vm_start", "VM start, until Debian's user space speaks"),
    ("host_boot", "host boot, from the reset to user space"),
    ("host_boot_el2", "  of these at EL2"),
    ("host_work", "host: processes, pipes, 28 MiB of page faults"),
    ("host_work_el2", "  at EL2, of 1 s (10^9 instructions) of that work"),
];

/// What was measured on one system.
type Results = BTreeMap<&'static str, u64>;

/// `cargo xtask bench --peers`.
pub fn command() -> Result<ExitCode> {
    let paths = Paths::find()?;
    let qemu = Qemu::find()?;
    let built = build::for_profile(&paths)?;
    let plugin = plugin::build(&paths, &qemu)?;
    let out = paths.out.join("bench-peers");
    make_folder(&out)?;
    let lab = Lab { built: &built, qemu: &qemu, plugin: &plugin, out: &out };
    ui::heading("Bench of Redoubt and its peers");
    let mut results = BTreeMap::new();
    let mut missing = Vec::new();
    for system in SYSTEMS {
        let peer = setup::lock(&paths).and_then(|_lock| Peer::ensure(&paths, system));
        let measured = peer.and_then(|peer| {
            ui::step(system.title(), |_| {
                let found = measure(&lab, system, &peer)?;
                let count = found.len();
                Ok((found, format!("{count} values")))
            })
        });
        match measured {
            Ok(found) => drop(results.insert(system.name(), found)),
            Err(error) => missing.push((system, error)),
        }
    }
    remove_folder(&out)?;
    print!("{}", table(&results));
    for (system, error) in &missing {
        println!("Not measured: {}: {error:#}", system.title());
    }
    let file = paths.out.join("bench-peers.json");
    let json = serde_json::to_string_pretty(&results).context("the results are no JSON")?;
    fs::write(&file, json + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    println!("The same as JSON: {}", file.display());
    Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(lab: &Lab<'_>, system: System, peer: &Peer) -> Result<Results> {
    // The host's boot ends before anything is started in it.
    let mut scripts = vec![systems::PRELUDE, "mark 0"];
    if system == System::Xen {
        scripts.extend([xen::TOOLSTACK, include_str!("peers/xen.sh")]);
    } else {
        scripts.push(include_str!("peers/kvm.sh"));
    }
    scripts.push(include_str!("peers/peers.sh"));
    let plan = Plan {
        scripts,
        variables: vec![("VM", system.vm().to_owned())],
        guest: true,
        hostile: true,
        container: None,
        did: vec!["peers"],
        what: "",
    };
    let job = Job {
        name: format!("bench-{}", system.name()),
        plan: &plan,
        disks: false,
        network: false,
        segments: false,
    };
    let run = lab.run(system, peer, &job)?;
    evaluate(&Recording::read(&run.recording)?, system != System::Xen)
}

/// The instructions of all levels in a phase.
fn all(phase: &Phase) -> u64 {
    phase.instructions.iter().sum()
}

/// What a recording says, of a system with a VMM or without one.
fn evaluate(recording: &Recording, vmm: bool) -> Result<Results> {
    // A guest that did not come to its end has no last phase, or one that holds what came after it.
    let cheapest = |mark| -> Result<u64> {
        let costs: Vec<u64> = recording.phases_of(mark).map(all).collect();
        let runs = costs.len();
        ensure!(runs == RUNS, "the guest that measures ended early: {runs} runs of mark {mark}");
        costs.into_iter().min().context("nothing was measured")
    };
    let first = |mark: u16| {
        let found = recording.phases_of(mark).next();
        found.with_context(|| format!("nothing was recorded after mark {mark}"))
    };
    let mut results = Results::new();
    let empty = cheapest(EMPTY)?;
    for (name, mark) in [
        ("guest_hvc", HYPERCALL),
        ("guest_kernel_mmio_read", KERNEL_MMIO),
        ("guest_vmm_mmio_read", VMM_MMIO),
    ] {
        if mark == VMM_MMIO && !vmm {
            continue;
        }
        // In the empty loop stands one instruction, too.
        let cost = cheapest(mark)?;
        let cost = cost.checked_sub(empty).context("an operation costs less than none")?;
        results.insert(name, cost / ROUNDS + 1);
    }
    let boot = first(FROM_RESET)?;
    results.insert("host_boot", all(boot));
    results.insert("host_boot_el2", boot.instructions[2]);
    // The first that does work between these marks is the process that touches memory.
    let work = first(WORKLOAD)?;
    ensure!(all(work) != 0, "the process that touches memory did nothing");
    results.insert("host_work", all(work));
    let share = u128::from(work.instructions[2]) * 1_000_000_000 / u128::from(all(work));
    results.insert("host_work_el2", u64::try_from(share).context("more than all of the work")?);
    results.insert("vm_start", all(first(START)?));
    Ok(results)
}

/// The results beside each other, with those of peers as multiples of Redoubt's.
fn table(results: &BTreeMap<&'static str, Results>) -> String {
    let mut text = format!("{:<52}", "instructions");
    for system in SYSTEMS {
        text.push_str(&format!("{:>26}", system.title()));
    }
    text.push('\n');
    for (key, what) in TABLE {
        text.push_str(&format!("{what:<52}"));
        let value = |system: System| results.get(system.name())?.get(key).copied();
        let own = value(System::Redoubt);
        for system in SYSTEMS {
            let cell = match (value(system), own) {
                (Some(value), Some(own)) if system != System::Redoubt => {
                    format!("{value} {:>9}", ratio(value, own))
                }
                (Some(value), _) => value.to_string(),
                (None, _) => "-".into(),
            };
            text.push_str(&format!("{cell:>26}"));
        }
        text.push('\n');
    }
    text.push_str(
        "Behind each number of a peer: how many times Redoubt's it is. Xen has no VMM for this guest; \
         KVM's host runs at EL2 itself.\n",
    );
    text
}

/// How many times `own` a value is.
fn ratio(value: u64, own: u64) -> String {
    match own {
        0 => "-".into(),
        _ => {
            let ratio = value as f64 / own as f64;
            if ratio < 100.0 { format!("x{ratio:.2}") } else { format!("x{ratio:.0}") }
        }
    }
}

#[cfg(test)]
mod tests;

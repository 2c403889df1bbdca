//! Measures what things cost, in instructions.
//!
//! Decides the machine: one CPU on which an instruction is a nanosecond of machine time, so that a
//! difference of the counter is an exact and repeatable number of instructions. What is measured is
//! decided by the programs that measure; each result is a line `BENCH name value` on the console.

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use redoubt_qemu::{Boot, Launch, Machine, Qemu, cpio};
use redoubt_suite::Artifacts;

use crate::build;
use crate::paths::{Paths, make_folder};
use crate::ui;

/// The longest that all measurements may take.
const LIMIT: Duration = Duration::from_secs(1200);

/// What the host runs.
const SCRIPT: &str = include_str!("bench/host.sh");

/// `cargo xtask bench`.
pub fn command() -> Result<ExitCode> {
    let paths = Paths::find()?;
    let artifacts = build::everything(&paths)?;
    let qemu = Qemu::find()?;
    ui::heading("Bench");
    let results = ui::step("measuring", |_| {
        let text = measure(&artifacts, &qemu)?;
        let results = collected(&text)?;
        let count = results.len();
        Ok((results, format!("{count} values")))
    })?;
    if let Some((missing, ..)) = TABLE.iter().find(|row| !results.contains_key(row.0)) {
        let log = artifacts.logs.join("bench.log");
        bail!("`{missing}` was not measured: see {}", log.display());
    }
    show(&results);
    let file = paths.out.join("bench.json");
    let json = serde_json::to_string_pretty(&results).context("the results are no JSON")?;
    fs::write(&file, json + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    println!("The same as JSON: {}", file.display());
    Ok(ExitCode::SUCCESS)
}

/// What is shown: the name of a result, what it is, and what pKVM in Linux 6.12 needs for the like
/// on the same machine.
const TABLE: [(&str, &str, Option<u64>); 19] = [
    ("boot", "boot, from EL2's first instruction to the host's", None),
    ("host_hvc", "hypercall of the host, answered at EL2", None),
    ("donate_first_page", "VM_MAP of one page that splits a 2 MiB block", None),
    ("donate_per_page", "VM_MAP to a protected VM, scrubbed, per page", None),
    ("donate_kept_per_page", "VM_MAP to a protected VM, KEEP, per page", None),
    ("lend_per_page", "VM_MAP to an ordinary VM, per page", None),
    ("unmap_per_page", "VM_UNMAP, per page", None),
    ("destroy", "VM_DESTROY", None),
    ("reclaim_per_page", "VM_RECLAIM, scrubbed, per page", None),
    ("run_mmio_exit_protected", "VCPU_RUN from MMIO exit to MMIO exit, protected", None),
    ("run_mmio_exit", "VCPU_RUN from MMIO exit to MMIO exit", None),
    ("guest_hvc", "hypercall of a guest, answered at EL2", Some(9_071)),
    ("guest_counter", "counter read by a guest", None),
    ("protected_hvc", "hypercall of a guest of the VMM, answered at EL2", Some(9_071)),
    ("protected_kernel_mmio_read", "MMIO read answered by the driver", Some(7_590)),
    ("protected_vmm_mmio_read", "MMIO read answered by the VMM", Some(18_399)),
    ("unprotected_hvc", "the same of an unprotected guest: hypercall", None),
    ("unprotected_kernel_mmio_read", "MMIO read answered by the driver", None),
    ("unprotected_vmm_mmio_read", "MMIO read answered by the VMM", None),
];

/// Prints the table.
fn show(results: &BTreeMap<String, u64>) {
    println!("{:<52}{:>12}{:>12}", "instructions", "Redoubt", "pKVM 6.12");
    for (name, what, reference) in TABLE {
        let value = results.get(name).map_or("missing".into(), u64::to_string);
        let reference = reference.map_or(String::new(), |value| value.to_string());
        println!("{what:<52}{value:>12}{reference:>12}");
    }
}

/// Boots the machine and returns what it said.
fn measure(artifacts: &Artifacts, qemu: &Qemu) -> Result<String> {
    make_folder(&artifacts.scratch)?;
    let initrd = artifacts.scratch.join("bench.initrd");
    let mut script = cpio::Archive::new();
    script.file("cmd", 0o755, SCRIPT.as_bytes())?;
    let parts = [artifacts.host.clone(), artifacts.hostile.clone()];
    cpio::concatenate(&parts, &script.finish()?, &initrd)?;
    let boot = Boot::Kernel {
        image: artifacts.redoubt()?.to_owned(),
        initrd: Some(initrd),
        append: redoubt_suite::COMMAND_LINE.into(),
    };
    let machine = Machine::new(boot).cpus(1).memory_mib(1024).icount();
    let mut vm = Launch::new(qemu, &machine, &artifacts.logs.join("bench.log")).start()?;
    for text in redoubt_suite::FATAL {
        vm.console().fail_on(text);
    }
    vm.wait_for("HOST done: ", LIMIT)?;
    vm.wait_exit(Duration::from_secs(120))?;
    Ok(vm.kill())
}

/// The results in what the machine said.
fn collected(text: &str) -> Result<BTreeMap<String, u64>> {
    let mut results = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace().skip_while(|word| *word != "BENCH").skip(1);
        if let (Some(name), Some(value)) = (words.next(), words.next()) {
            let value =
                value.parse().with_context(|| format!("`BENCH {name} {value}` is no number"))?;
            if results.insert(name.to_owned(), value).is_some() {
                bail!("`{name}` was measured twice");
            }
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    //! Lines among others.

    use super::collected;

    #[test]
    fn picks_results_out_of_the_log() {
        let text = "noise\r\nBENCH hvc 2100\r\nGUEST BENCH mmio_exit 4000 x\r\nBENCHMARK no 1\r\n";
        let results = collected(text).unwrap();
        assert_eq!(results.len(), 2);
        assert_eq!(results["mmio_exit"], 4000);
    }

    #[test]
    fn refuses_nonsense() {
        assert!(collected("BENCH a b").is_err());
        assert!(collected("BENCH a 1\nBENCH a 2").is_err());
    }
}

//! Measures what things cost, in instructions.
//!
//! Decides the machines: one CPU on which an instruction is a nanosecond of machine time, so that a
//! difference of the counter is an exact and repeatable number of instructions. What is measured is
//! decided by the programs that measure; each result is a line `BENCH name value` on the console.

mod devices;
mod peers;

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use redoubt_qemu::Qemu;

use crate::build;
use crate::cli::BenchArgs;
use crate::paths::Paths;
use crate::ui;

/// `cargo xtask bench`.
pub fn command(args: &BenchArgs) -> Result<ExitCode> {
    if args.peers {
        return peers::command();
    }
    let paths = Paths::find()?;
    let artifacts = build::everything(&paths)?;
    let qemu = Qemu::find()?;
    ui::heading("Bench");
    let mut results = BTreeMap::new();
    for target in &devices::TARGETS {
        results.extend(ui::step(target.what, |_| {
            let found = devices::measure(target, &artifacts, &qemu)?;
            let count = found.len();
            Ok((found, format!("{count} values")))
        })?);
    }
    let mut names = TABLE.iter().map(|row| row.0.to_owned()).chain(devices::names());
    if let Some(missing) = names.find(|name| !results.contains_key(name)) {
        bail!("`{missing}` was not measured: see {}/bench*.log", artifacts.logs.display());
    }
    show(&results);
    devices::show(&results);
    let file = paths.out.join("bench.json");
    let json = serde_json::to_string_pretty(&results).context("the results are no JSON")?;
    fs::write(&file, json + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    println!("The same as JSON: {}", file.display());
    Ok(ExitCode::SUCCESS)
}

/// What is shown: the name of a result, and what it is.
const TABLE: [(&str, &str); 19] = [
    ("boot", "boot, from EL2's first instruction to the host's"),
    ("host_hvc", "hypercall of the host, answered at EL2"),
    ("donate_first_page", "VM_MAP of one page that splits a 2 MiB block"),
    ("donate_per_page", "VM_MAP to a protected VM, scrubbed, per page"),
    ("donate_kept_per_page", "VM_MAP to a protected VM, KEEP, per page"),
    ("lend_per_page", "VM_MAP to an ordinary VM, per page"),
    ("unmap_per_page", "VM_UNMAP, per page"),
    ("destroy", "VM_DESTROY"),
    ("reclaim_per_page", "VM_RECLAIM, scrubbed, per page"),
    ("run_mmio_exit_protected", "VCPU_RUN from MMIO exit to MMIO exit, protected"),
    ("run_mmio_exit", "VCPU_RUN from MMIO exit to MMIO exit"),
    ("guest_hvc", "hypercall of a guest, answered at EL2"),
    ("guest_counter", "counter read by a guest"),
    ("protected_hvc", "hypercall of a guest of the VMM, answered at EL2"),
    ("protected_kernel_mmio_read", "MMIO read answered by the driver"),
    ("protected_vmm_mmio_read", "MMIO read answered by the VMM"),
    ("unprotected_hvc", "the same of an unprotected guest: hypercall"),
    ("unprotected_kernel_mmio_read", "MMIO read answered by the driver"),
    ("unprotected_vmm_mmio_read", "MMIO read answered by the VMM"),
];

/// Prints the table.
fn show(results: &BTreeMap<String, u64>) {
    println!("{:<52}{:>12}", "instructions", "Redoubt");
    for (name, what) in TABLE {
        let value = results.get(name).map_or("missing".into(), u64::to_string);
        println!("{what:<52}{value:>12}");
    }
    println!("Beside pKVM, KVM and Xen: `cargo xtask bench --peers`");
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

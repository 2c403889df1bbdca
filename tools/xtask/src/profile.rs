//! Measures the attack profile: how much privileged code workloads traverse, on Redoubt and on peers.
//!
//! Decides where results go: `profile/` in cargo's target folder, and with `--record` the summary and
//! the record that are checked in. What is measured is decided in [`systems`], what it says in the
//! crate `redoubt-profile`.

pub mod container;
pub mod measure;
pub mod plugin;
pub mod systems;
pub mod workload;
pub mod xen;

use std::process::ExitCode;

use anyhow::{Result, bail};
use redoubt_profile::gate::{self, Record};
use redoubt_profile::model::Report;
use redoubt_profile::summary::Notes;
use redoubt_profile::{html, summary, text};
use redoubt_qemu::Qemu;

use crate::cli::ProfileArgs;
use crate::paths::{Paths, make_folder, remove_folder, write_if_changed};
use measure::{Measured, Request};
use systems::{System, Workload};

/// The record that [`gate`] compares with, and the summary, below the repository.
const RECORD: &str = "docs/attack-profile.json";
const SUMMARY: &str = "docs/attack-profile.md";

/// What may differ between two measurements.
const NOT_DETERMINISTIC: [&str; 3] = [
    "Two runs of the same images and workload on the same QEMU record the same, each instruction \
     equally often: one instruction is one nanosecond, the clock, the random numbers and the layout \
     of kernels and processes are fixed, and a virtio device finishes a request before the next \
     instruction. A disk has one request at a time (virtio_blk.queue_depth=1), as QEMU finishes \
     several in any order. The tests compare recordings of Redoubt (disk, net, vm-boot) each time; \
     those of the other systems were compared by hand.",
    "Another compiler, kernel, QEMU or Debian package gives other numbers; so does another file in an \
     initrd, by where the kernel puts things and when its timers come: at most a few lines of \
     Redoubt and pKVM, mostly below 1 % of Linux and Xen, and up to a fifth in short workloads.",
    "A machine so busy that QEMU's device threads do not come to rest for two minutes ends the run \
     with an error instead of a number.",
];

/// What a reader has to know to compare systems.
const REMARKS: [&str; 9] = [
    "All systems run on a Neoverse N1 with one CPU: on later models pKVM of Linux 6.12 shows an \
     ordinary VM features that it then denies it, and Debian's guest does not start.",
    "VMs of pKVM are unprotected: Linux 6.12 makes no protected ones, and keeps no device from memory. Those of Redoubt are protected; \
     its hostile workload has both kinds, and the catalogue of attacks by the host, but for those that \
     need several CPUs or a disk.",
    "Functions are counted without their generic arguments, and all closures of one Rust file as one.",
    "Unknown are instructions at the privileged level in no known image: QEMU's boot stub (6), and what \
     the kernel compiles while it runs (BPF, such as the VMM's and the container's filter of system \
     calls) or unpacks and frees (modules' code that runs once).",
    "pKVM's lines traversed hold what the kernel runs at EL2 before it drops to EL1, which is not part \
     of its 4,000 lines. Lines of headers count once in what was traversed, and once for each image in \
     what there is.",
    "The VMM's lines are overstated: the C library is linked into it and counts by instructions.",
    "The hostile workload of VMs holds the making and ending of the VM, which are the host's; that of the \
     container only what its processes do. What the attackers themselves reach is in the column guest.",
    "Code of Xen's dom0 counts as run for the host: its kernel is entered by its own processes, too, \
     which nobody at EL2 sees. What a guest's requests make it run is in the total alone.",
    "Workloads of the host (idle, disk, net, fork) run in the host, or in the container; those of a \
     tenant (vm-boot, vm-io, hostile) in a VM, or in the container.",
];

/// `cargo xtask profile`.
pub fn command(args: &ProfileArgs) -> Result<ExitCode> {
    let paths = Paths::find()?;
    if args.check {
        let (_, comparison) = check(&paths)?;
        println!("{comparison}");
        return Ok(if comparison.is_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let request = request(args);
    let measured = measure::measure(&paths, &Qemu::find()?, &request)?;
    print!("{}", text::report(&measured.report));
    write(&paths, &measured)?;
    if args.record {
        record(&paths, &measured)?;
    }
    if measured.report.systems.is_empty() {
        bail!("nothing could be measured: the reasons are above");
    }
    let complete = measured.report.missing.is_empty();
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the arguments ask for: everything that is not narrowed.
fn request(args: &ProfileArgs) -> Request {
    let narrowed = |flag: &str, names: Vec<&str>| {
        names.iter().map(|name| format!(" --{flag} {name}")).collect::<String>()
    };
    let command = format!(
        "cargo xtask profile{}{}{}",
        narrowed("system", args.system.iter().map(|system| system.name()).collect()),
        narrowed("workload", args.workload.iter().map(|workload| workload.name()).collect()),
        if args.record { " --record" } else { "" },
    );
    let or_all = |asked: Vec<System>| if asked.is_empty() { System::ALL.to_vec() } else { asked };
    let mut systems = or_all(args.system.clone());
    let mut workloads = match args.workload.is_empty() {
        true => Workload::ALL.to_vec(),
        false => args.workload.clone(),
    };
    systems.sort();
    systems.dedup();
    workloads.sort();
    workloads.dedup();
    Request { systems, workloads, vertical: true, command }
}

/// Measures Redoubt alone and compares it with the record.
pub fn check(paths: &Paths) -> Result<(Report, gate::Comparison)> {
    let recorded = Record::read(&paths.root.join(RECORD))?;
    let request = Request {
        systems: vec![System::Redoubt],
        workloads: Workload::ALL.to_vec(),
        vertical: false,
        command: "cargo xtask profile --check".into(),
    };
    let measured = measure::measure(paths, &Qemu::find()?, &request)?;
    if let Some(missing) = measured.report.missing.first() {
        let workload = missing.workload.as_deref().unwrap_or("Redoubt");
        bail!("{workload} could not be measured: {}", missing.reason);
    }
    let comparison = gate::compare(&recorded, &own(&measured)?);
    Ok((measured.report, comparison))
}

/// What is recorded of Redoubt.
fn own(measured: &Measured) -> Result<Record> {
    let redoubt = System::Redoubt.name();
    let Some(system) = measured.report.systems.iter().find(|system| system.name == redoubt) else {
        bail!("Redoubt was not measured");
    };
    Ok(Record::new(measured.environment.clone(), &system.privileged, &system.workloads))
}

/// Writes everything that is not checked in.
fn write(paths: &Paths, measured: &Measured) -> Result<()> {
    let folder = paths.profile();
    make_folder(&folder)?;
    let json = serde_json::to_string_pretty(&measured.report)? + "\n";
    let page = folder.join("index.html");
    write_if_changed(&folder.join("report.json"), json.as_bytes())?;
    write_if_changed(&page, html::page(&measured.report)?.as_bytes())?;
    let lines = folder.join("lines");
    remove_folder(&lines)?;
    for ((system, workload), traversed) in &measured.lines {
        let text: String = traversed.iter().map(|line| format!("{line}\n")).collect();
        write_if_changed(&measure::lines_file(&lines, *system, *workload), text.as_bytes())?;
    }
    println!("The page: {}", page.display());
    println!("The same as JSON: {}", folder.join("report.json").display());
    println!("The lines that were traversed: {}", lines.display());
    Ok(())
}

/// Writes what is checked in.
fn record(paths: &Paths, measured: &Measured) -> Result<()> {
    let whole = |names: usize, all: usize| names == all;
    let report = &measured.report;
    let complete = whole(report.systems.len(), System::ALL.len())
        && report.systems.iter().all(|system| whole(system.workloads.len(), Workload::ALL.len()));
    if !complete || !report.missing.is_empty() {
        bail!("only a whole report is recorded, and something is missing from this one");
    }
    let record = own(measured)?;
    write_if_changed(&paths.root.join(RECORD), record.to_text()?.as_bytes())?;
    let summary = summary::markdown(report, &notes());
    write_if_changed(&paths.root.join(SUMMARY), summary.as_bytes())?;
    println!("Recorded: {SUMMARY}, {RECORD}");
    Ok(())
}

/// What a reader of the numbers has to know.
fn notes() -> Notes {
    let text = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    Notes {
        not_deterministic: text(&NOT_DETERMINISTIC),
        remarks: REMARKS.into_iter().chain([xen::REMARK]).map(str::to_owned).collect(),
    }
}

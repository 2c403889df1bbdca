//! The tests of the attack profile that need QEMU or a browser.
//!
//! Decides what is tried in the time that there is: that machines load the same wherever it was built;
//! the plugin against a payload whose instructions were counted by hand; that recordings repeat, with
//! devices too; Redoubt's own profile against the record; the shortest runs of pKVM and Xen, mapped by
//! their debug information; the page of all that, in a browser. The rest is in the unit tests of the
//! crates.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use redoubt_profile::html;
use redoubt_profile::html::browser::check_in_browser;
use redoubt_profile::model::{Report, System as Measured};
use redoubt_profile::recording::{Phase, Recording};
use redoubt_qemu::{Boot, Iommu, Launch, Machine, Qemu};
use redoubt_suite::Artifacts;

use super::Count;
use crate::build::{self, Built};
use crate::paths::{Paths, make_folder, remove_folder};
use crate::profile::measure::{self, Request};
use crate::profile::systems::{self, System, Workload};
use crate::profile::workload::{Job, LIMIT, Lab, Peer};
use crate::profile::{self, plugin};
use crate::setup;
use crate::shell;
use crate::ui;

/// What the payload must be seen to run.
const COUNTED: &str = include_str!("profile/counted.txt");

/// Runs the tests and adds them to `count`.
pub fn run(paths: &Paths, count: &mut Count) -> Result<()> {
    let qemu = Qemu::find()?;
    let built = build::for_profile(paths)?;
    let plugin = plugin::build(paths, &qemu)?;
    ui::heading("Tests of the attack profile");
    let out = paths.out.join("test-profile");
    remove_folder(&out)?;
    make_folder(&out)?;
    let lab = Lab { built: &built, qemu: &qemu, plugin: &plugin, out: &out };
    test(count, "what machines load does not name where it was built", || nameless(&built, paths));
    test(count, "the plugin counts what was counted by hand", || counted(&lab));
    test(count, "a recording repeats itself, with disks, network and a VM, too", || repeats(&lab));
    let mut reports = Vec::new();
    test(count, "Redoubt's attack profile has not grown", || {
        let (report, comparison) = profile::check(paths)?;
        reports.push(report);
        ensure!(comparison.is_passed(), "{comparison}");
        Ok(())
    });
    test(count, "pKVM and Xen are measured, and mapped", || {
        reports.push(peers(paths, &qemu)?);
        Ok(())
    });
    test(count, "the page shows it all in a browser", || page(paths, reports, &out));
    test(count, "what is broken in a page, the browser shows", || broken_pages(paths));
    Ok(())
}

/// Runs a test that shows steps of its own.
fn test(count: &mut Count, name: &str, test: impl FnOnce() -> Result<()>) {
    println!("  .. {name}");
    count.run(name, test);
}

/// What a machine loads must not depend on where it was built: then it would run other code.
fn nameless(built: &Built, paths: &Paths) -> Result<()> {
    let Artifacts { image, host, guest, hostile, .. } = &built.artifacts;
    let folder = format!("{}/", paths.root.display());
    for file in image.iter().chain([host, guest, hostile, &built.workload]) {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        if let Some(at) = memchr::memmem::find(&bytes, folder.as_bytes()) {
            let end = bytes.len().min(at + 200);
            let text = String::from_utf8_lossy(&bytes[at..end]);
            bail!("{} names `{}`", file.display(), text.split('\0').next().unwrap_or_default());
        }
    }
    Ok(())
}

fn counted(lab: &Lab<'_>) -> Result<()> {
    let payload = lab.built.artifacts.payload("counted")?;
    let recording = record_payload(lab, payload, "first")?;
    let second = record_payload(lab, payload, "second")?;
    recording.same_as(&second).context("two recordings of the same payload differ")?;
    let seen: String = recording.phases.iter().map(|phase| told(phase, &recording)).collect();
    let wanted: String = COUNTED
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    for (seen, wanted) in seen.lines().zip(wanted.lines()) {
        ensure!(seen == wanted, "the plugin saw `{seen}`, and it was `{wanted}`");
    }
    ensure!(seen == wanted, "the plugin saw more or less than there was:\n{seen}");
    Ok(())
}

fn record_payload(lab: &Lab<'_>, payload: &Path, name: &str) -> Result<Recording> {
    let boot = Boot::Kernel { image: payload.to_owned(), initrd: None, append: String::new() };
    let machine = Machine::new(boot).iommu(Iommu::None).icount();
    let name = format!("counted-{name}");
    let (machine, recording) = lab.recorded(machine, System::Redoubt, &name, true);
    let log = lab.built.artifacts.logs.join("profile-counted.log");
    let mut vm = Launch::new(lab.qemu, &machine, &log).start()?;
    let status = vm.wait_exit(LIMIT)?;
    ensure!(status.success(), "QEMU ended with {status}{}", vm.console().tail());
    Recording::read(&recording)
}

/// A phase in the form of the expected one: instructions, entries, and addresses that ran equally often.
fn told(phase: &Phase, recording: &Recording) -> String {
    let levels = phase.instructions.iter().enumerate().filter(|(_, count)| **count != 0);
    let levels: String = levels.map(|(level, count)| format!(" EL{level} {count}")).collect();
    let mut text = format!("phase {}:{levels}\n", phase.mark);
    for entry in &phase.entries {
        let class = entry.class.map_or("-".into(), |class| class.to_string());
        let origin = format!("{:?}", entry.origin).to_lowercase();
        let (from, slot, count) = (entry.from, entry.slot, entry.count);
        text.push_str(&format!(
            "  entry from EL{from}, slot {slot}, class {class}, by {origin}: x{count}\n"
        ));
    }
    let mut addresses = std::collections::BTreeMap::new();
    for executed in &phase.executed {
        let segment = &recording.segments[executed.segment];
        for (address, _) in (segment.va..).step_by(4).zip(&segment.opcodes) {
            let count: u64 = executed.counts.iter().sum();
            *addresses.entry((segment.level, address)).or_insert(0) += count;
        }
    }
    let mut runs: Vec<(u8, u64, u64, u64)> = Vec::new();
    for ((level, address), count) in addresses {
        match runs.last_mut() {
            Some(run) if (run.0, run.2, run.3) == (level, address, count) => run.2 += 4,
            _ => runs.push((level, address, address + 4, count)),
        }
    }
    for (level, start, end, count) in runs {
        text.push_str(&format!("  EL{level} {start:#x}..{end:#x} x{count}\n"));
    }
    text
}

/// Two runs of a workload with disks, one with a network and one with a VM record the same.
fn repeats(lab: &Lab<'_>) -> Result<()> {
    for workload in [Workload::Disk, Workload::Net, Workload::VmBoot] {
        let plan = systems::plan(System::Redoubt, workload);
        let job = Job::of(System::Redoubt, workload, &plan);
        let record = || -> Result<Recording> {
            let run = lab.run(System::Redoubt, &Peer::Stock, &job)?;
            Recording::read(&run.recording)
        };
        let (first, second) = (record()?, record()?);
        let name = workload.name();
        first.same_as(&second).with_context(|| format!("two recordings of {name} differ"))?;
    }
    Ok(())
}

/// Boots pKVM and Xen, and maps what ran.
fn peers(paths: &Paths, qemu: &Qemu) -> Result<Report> {
    let request = Request {
        systems: vec![System::Pkvm, System::Xen],
        workloads: vec![Workload::Boot],
        vertical: true,
        command: "cargo xtask test profile".into(),
    };
    let report = measure::measure(paths, qemu, &request)?.report;
    if let Some(missing) = report.missing.first() {
        bail!("{}: {}", missing.system, missing.reason);
    }
    for system in &report.systems {
        plausible(system).with_context(|| format!("{} is not what it should be", system.title))?;
    }
    ensure!(report.systems.len() == request.systems.len(), "a system is missing");
    Ok(report)
}

/// Whether a boot was measured as it must have been.
fn plausible(system: &Measured) -> Result<()> {
    let [boot] = system.workloads.as_slice() else { bail!("it has not one workload") };
    let size = system.privileged.first().context("nothing is privileged")?;
    let traversed = boot.horizontal;
    ensure!(
        size.lines > 1000 && size.bytes > 10_000,
        "its privileged code has {} lines",
        size.lines
    );
    ensure!(traversed.lines > 500, "{} lines were traversed", traversed.lines);
    ensure!(!boot.entries.is_empty(), "nobody entered the privileged level");
    let unknown = boot.unknown;
    ensure!(unknown.saturating_mul(100) <= traversed.instructions, "{unknown} are unknown");
    // Linux is traversed in both: dom0's kernel by privileged lines, pKVM's host by vertical ones.
    let functions = boot.traversed.iter().filter(|function| function.image == "linux").count();
    let vertical = boot.vertical.iter().filter(|(name, _)| name == "linux");
    let lines: u64 = vertical.map(|(_, measure)| measure.lines).sum();
    ensure!(functions > 5_000 || lines > 30_000, "Linux was not found in what ran");
    Ok(())
}

/// The library's own tests of the page, which break it in many ways on purpose.
fn broken_pages(paths: &Paths) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&paths.root).args(["test", "--package", "redoubt-profile"]);
    cargo.args(["--test", "page_browser", "--color=never"]);
    let browser = setup::lock(paths).and_then(|_lock| setup::browser(paths))?;
    cargo.env(setup::BROWSER_ENV, browser);
    shell::logged(&mut cargo, &paths.logs().join("profile-browser.log"))
}

/// Puts the reports into one page and opens it.
fn page(paths: &Paths, reports: Vec<Report>, out: &Path) -> Result<()> {
    let mut reports = reports.into_iter();
    let mut whole = reports.next().context("nothing was measured that a page could show")?;
    whole.systems.extend(reports.flat_map(|report| report.systems));
    let file = out.join("index.html");
    fs::write(&file, html::page(&whole)?).context("cannot write the page")?;
    let browser = setup::lock(paths).and_then(|_lock| setup::browser(paths))?;
    let seen = check_in_browser(&file, &browser, &out.join("browser"))?;
    ensure!(seen.bars > 0 && seen.rectangles > 0, "the browser showed an empty page");
    Ok(())
}

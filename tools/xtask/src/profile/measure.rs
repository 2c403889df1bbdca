//! Measures systems: runs the workloads, maps what ran, puts the report together.
//!
//! Decides what happens when something is not to be had: a system that lacks a package, or a workload
//! that fails, is missing from the report with the reason, and the others are measured. Only what all
//! of them need (QEMU with plugins, the build) ends the command.
//!
//! Invariants: each workload has a machine of its own, so that none depends on which others were asked
//! for; machines run beside each other, since time in them is counted in instructions.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use redoubt_profile::analysis::{self, WorkloadSpec};
use redoubt_profile::density::density;
use redoubt_profile::gate::Environment;
use redoubt_profile::image::{Image, Library};
use redoubt_profile::model::{self, Missing, Origin, Report, VERSION};
use redoubt_profile::recording::Recording;
use redoubt_qemu::Qemu;

use super::plugin;
use super::systems::{self, System, Workload, images};
use super::workload::{Job, Lab, Peer, RunResult};
use crate::build::{self, Built};
use crate::paths::{Paths, make_folder, remove_folder};
use crate::setup;
use crate::setup::peers::{self, DebugInformation};
use crate::ui::{self, Step};

/// The most machines at once.
const MACHINES: usize = 4;
/// What a machine may take of this machine's memory, in KiB.
const MACHINE_KIB: usize = 3 << 20;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The systems, in the order of the report.
    pub systems: Vec<System>,
    /// The workloads, in the order of the report.
    pub workloads: Vec<Workload>,
    /// Whether code is mapped that is not privileged (it needs the kernel's debug information).
    pub vertical: bool,
    /// What the report says made it.
    pub command: String,
}

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    /// The report.
    pub report: Report,
    /// The privileged lines that each workload traversed, by system and workload.
    pub lines: BTreeMap<(System, Workload), Vec<String>>,
    /// What the numbers depend on beside the code.
    pub environment: Environment,
}

/// What a system needs beside the build, or why it cannot be had.
type Prepared = Result<Peer>;

/// Measures.
pub fn measure(paths: &Paths, qemu: &Qemu, request: &Request) -> Result<Measured> {
    let built = build::for_profile(paths)?;
    let plugin = plugin::build(paths, qemu)?;
    let out = paths.profile().join("recordings");
    remove_folder(&out)?;
    make_folder(&out)?;
    let mut missing = Vec::new();
    let lock = setup::lock(paths)?;
    let debug = if request.vertical || request.systems.iter().any(|one| one.needs_debug()) {
        ui::heading("Debug information and peers");
        let modules = build::modules(paths, &built.arm64)?;
        peers::debug_information(paths, &built.arm64, &modules).map_err(|error| {
            missing.extend(without_debug(&request.systems, &error));
        })
    } else {
        Err(())
    };
    let debug = debug.ok();
    let mut prepared = BTreeMap::new();
    for &system in &request.systems {
        if debug.is_none() && system.needs_debug() {
            continue;
        }
        let peer: Prepared = Peer::ensure(paths, system);
        match peer {
            Ok(peer) => drop(prepared.insert(system, peer)),
            Err(error) => missing.push(lacks(system, None, &error)),
        }
    }
    drop(lock);
    ui::heading("Workloads");
    let lab = Lab { built: &built, qemu, plugin: &plugin, out: &out };
    let runs = run_all(&lab, &prepared, &request.workloads);
    ui::heading("Profile");
    let mut library = Library::new();
    let mut systems = Vec::new();
    let mut lines = BTreeMap::new();
    for (&system, peer) in &prepared {
        let mut profile = empty(system, peer, &built);
        for &workload in &request.workloads {
            let traversal =
                runs[&(system, workload)].as_ref().map_err(|error| format!("{error:#}"));
            let name = format!("{} {}", system.name(), workload.name());
            let mapped = traversal.and_then(|run| {
                let map = |_: &Step| {
                    map(&mut library, system, workload, &built, peer, debug.as_ref(), run)
                };
                ui::step(&name, map).map_err(|error| format!("{error:#}"))
            });
            match mapped {
                Ok(mapped) => {
                    include(&mut profile.privileged, mapped.privileged);
                    include(&mut profile.vertical, mapped.vertical);
                    profile.workloads.push(mapped.workload);
                    lines.insert((system, workload), mapped.lines);
                }
                Err(reason) => missing.push(Missing {
                    system: system.name().into(),
                    workload: Some(workload.name().into()),
                    reason,
                }),
            }
        }
        if !profile.workloads.is_empty() {
            systems.push(profile);
        }
    }
    remove_folder(&out)?;
    let order = |name: &str| request.systems.iter().position(|system| system.name() == name);
    systems.sort_by_key(|system| order(&system.name));
    let environment = Environment {
        compiler: build::compilers()?,
        kernel: built.arm64.release.clone(),
        qemu: qemu.description().to_owned(),
    };
    let report = Report {
        version: VERSION,
        command: request.command.clone(),
        qemu: environment.qemu.clone(),
        density: density(),
        systems,
        missing,
    };
    Ok(Measured { report, lines, environment })
}

/// Says of each system what it misses without the kernel's debug information.
fn without_debug(systems: &[System], error: &anyhow::Error) -> Vec<Missing> {
    let lacking = systems.iter().map(|&system| {
        let mut missing = lacks(system, None, error);
        if !system.needs_debug() {
            missing.reason = format!("the host's kernel is not counted: {}", missing.reason);
        }
        missing
    });
    lacking.collect()
}

fn lacks(system: System, workload: Option<Workload>, error: &anyhow::Error) -> Missing {
    Missing {
        system: system.name().into(),
        workload: workload.map(|workload| workload.name().into()),
        reason: format!("{error:#}"),
    }
}

/// A system of which nothing was measured yet.
fn empty(system: System, peer: &Peer, built: &Built) -> model::System {
    model::System {
        name: system.name().into(),
        title: system.title().into(),
        version: peer.version(system, &built.arm64.release),
        boundary: system.boundary().into(),
        privileged: Vec::new(),
        vertical: Vec::new(),
        workloads: Vec::new(),
    }
}

/// Adds images that are not there yet: modules differ from workload to workload.
fn include(images: &mut Vec<model::Image>, more: Vec<model::Image>) {
    for image in more {
        if !images.iter().any(|present| present.name == image.name) {
            images.push(image);
        }
    }
}

/// Runs every workload on every system that is prepared, several at once.
fn run_all(
    lab: &Lab<'_>,
    prepared: &BTreeMap<System, Peer>,
    workloads: &[Workload],
) -> BTreeMap<(System, Workload), Result<RunResult>> {
    let jobs: VecDeque<_> = prepared
        .iter()
        .flat_map(|(&system, peer)| workloads.iter().map(move |&workload| (system, workload, peer)))
        .collect();
    let total = jobs.len();
    let step = Step::start(&format!("{total} machines"));
    let jobs = Mutex::new(jobs);
    let results = Mutex::new(BTreeMap::new());
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let machines = cpus.min(free_kib() / MACHINE_KIB).clamp(1, MACHINES);
    thread::scope(|scope| {
        for _ in 0..machines {
            scope.spawn(|| {
                loop {
                    let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((system, workload, peer)) = next else { break };
                    let start = Instant::now();
                    let plan = systems::plan(system, workload);
                    let result = lab.run(system, peer, &Job::of(system, workload, &plan));
                    let took = ui::seconds(start.elapsed());
                    let name = format!("{} {}", system.name(), workload.name());
                    let said = match &result {
                        Ok(result) => format!("     ok {name}: {} ({took})", result.did.join("; ")),
                        Err(error) => format!("     !! {name}: {error:#} ({took})"),
                    };
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    results.insert((system, workload), result);
                    step.line(&said);
                    step.detail(&format!("{} of {total}", results.len()));
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failed = results.values().filter(|result| result.is_err()).count();
    match failed {
        0 => step.done(""),
        _ => step.failed(&format!("{failed} failed")),
    }
    results
}

/// The memory that is free on this machine, in KiB; as much as anybody wants if it does not say.
fn free_kib() -> usize {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    number.unwrap_or(usize::MAX)
}

/// A workload with its code mapped.
struct Mapped {
    workload: model::Workload,
    lines: Vec<String>,
    privileged: Vec<model::Image>,
    vertical: Vec<model::Image>,
}

fn map(
    library: &mut Library,
    system: System,
    workload: Workload,
    built: &Built,
    peer: &Peer,
    debug: Option<&DebugInformation>,
    run: &RunResult,
) -> Result<(Mapped, String)> {
    let file = &run.recording;
    let recording = Recording::read(file)?;
    let (mut privileged, mut vertical) = (Vec::new(), Vec::new());
    for part in images(system, built, peer, debug, &run.modules)? {
        let image: Image = library.load(&part.spec)?;
        if part.privileged { &mut privileged } else { &mut vertical }.push(image);
    }
    let spec = WorkloadSpec {
        name: workload.name().into(),
        what: systems::plan(system, workload).what.into(),
        marks: vec![workload.phase()],
    };
    let mut traversal = analysis::workload(&spec, &privileged, &vertical, &recording)?;
    // Modules are loaded later than others run; all else that is privileged always runs.
    let lost = |name: &&String| {
        !name.contains(':') && privileged.iter().any(|image| image.spec.name == **name)
    };
    if let Some(name) = traversal.unseen.iter().find(lost) {
        bail!("nothing of the image `{name}` was seen to run: it is not the one that was started");
    }
    if system == System::LinuxContainer && workload == Workload::Boot {
        by_the_host(&mut traversal.workload);
    }
    fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    let lines = traversal.workload.horizontal.lines;
    let mapped = Mapped {
        workload: traversal.workload,
        lines: traversal.lines,
        privileged: privileged.iter().map(Image::describe).collect(),
        vertical: vertical.iter().map(Image::describe).collect(),
    };
    Ok((mapped, format!("{lines} lines")))
}

/// Says that it was the host: while it boots there is no container, and every process is its own.
fn by_the_host(workload: &mut model::Workload) {
    let origins = workload.by_origin.iter_mut().map(|(origin, _)| origin);
    for origin in origins.chain(workload.entries.iter_mut().map(|entry| &mut entry.origin)) {
        if *origin == Origin::Guest {
            *origin = Origin::Host;
        }
    }
}

/// Where the set of lines of a workload is written.
pub fn lines_file(folder: &Path, system: System, workload: Workload) -> PathBuf {
    folder.join(format!("{}-{}.txt", system.name(), workload.name()))
}

#[cfg(test)]
mod tests {
    //! What is said of what is missing, and images of several workloads.

    use super::{by_the_host, include, without_debug};
    use crate::profile::systems::System;
    use redoubt_profile::model::{Entry, Image, Measure, Origin, Workload};

    #[test]
    fn without_debug_information_redoubt_is_measured_and_says_what_lacks() {
        let error = anyhow::anyhow!("the mirror has no package `x-dbg`");
        let missing = without_debug(&[System::Redoubt, System::Kvm], &error);
        let reasons: Vec<_> = missing.iter().map(|one| (&*one.system, &*one.reason)).collect();
        let whole = "the mirror has no package `x-dbg`";
        let partly = "the host's kernel is not counted: the mirror has no package `x-dbg`";
        assert_eq!(reasons, [("redoubt", partly), ("kvm", whole)]);
        assert!(!System::Redoubt.needs_debug() && System::Kvm.needs_debug());
    }

    #[test]
    fn an_image_of_several_workloads_is_listed_once() {
        let image = |name: &str| Image {
            name: name.into(),
            what: String::new(),
            functions: 1,
            lines: 2,
            bytes: 3,
        };
        let mut images = vec![image("linux")];
        include(&mut images, vec![image("linux"), image("linux: ext4")]);
        assert_eq!(images, [image("linux"), image("linux: ext4")]);
    }

    #[test]
    fn what_runs_before_there_is_a_container_is_the_hosts() {
        let measure = Measure { functions: 1, lines: 1, instructions: 1 };
        let entry = |origin| Entry { origin, from: 0, cause: "SVC".into(), count: 1 };
        let mut workload = Workload {
            name: "boot".into(),
            what: String::new(),
            horizontal: measure,
            by_origin: vec![(Origin::Boot, measure), (Origin::Guest, measure)],
            vertical: Vec::new(),
            entries: vec![entry(Origin::Guest)],
            traversed: Vec::new(),
            unknown: 0,
        };
        by_the_host(&mut workload);
        assert_eq!(workload.by_origin, [(Origin::Boot, measure), (Origin::Host, measure)]);
        assert_eq!(workload.entries, [entry(Origin::Host)]);
    }
}

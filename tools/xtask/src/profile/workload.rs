//! Runs a workload on a system and records what is executed.
//!
//! Decides the machine, and when a run counts: the script came to its end, said what it did, the
//! machine powered off, and the recording is there. Whatever else happens is an error with the end
//! of what the machine said.
//!
//! Invariants: one CPU, one instruction a nanosecond; nothing outside the machine has a say in what
//! it does (no input, a clock and random numbers of its own, a network without anybody in it).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use redoubt_qemu::{Boot, Device, Iommu, Launch, Machine, Qemu, cpio};

use super::container;
use super::systems::{CPU, MEMORY_MIB, ModuleSection, Plan, System, Workload};
use crate::build::Built;
use crate::paths::Paths;
use crate::paths::make_folder;
use crate::setup::peers::{self, Runtime};
use crate::setup::xen::{self, Xen};

/// The longest that one run may take.
pub const LIMIT: Duration = Duration::from_secs(900);
/// Size of a disk.
const DISK_BYTES: u64 = 32 << 20;
/// What all kernels are told besides what tests tell them: code and processes lie where they always
/// lie, and a disk has one request at a time, as QEMU finishes several in any order.
const COMMAND_LINE: &str = "nokaslr norandmaps virtio_blk.queue_depth=1";
/// How a script says why it failed.
const FAILED: &str = "WORKLOAD failed: ";

/// What a system is made of besides what is built here.
#[derive(Clone, Debug)]
pub enum Peer {
    /// The stock kernel alone.
    Stock,
    /// A container runtime.
    Container(Runtime),
    /// Xen.
    Xen(Xen),
}

impl Peer {
    /// Makes sure that it is there.
    pub fn ensure(paths: &Paths, system: System) -> Result<Peer> {
        match system {
            System::Redoubt | System::Pkvm | System::Kvm => Ok(Peer::Stock),
            System::Xen => xen::ensure(paths, false).map(Peer::Xen),
            System::LinuxContainer => peers::runtime(paths, false).map(Peer::Container),
        }
    }

    /// The version of the system, on a kernel of this release.
    pub fn version(&self, system: System, release: &str) -> String {
        match (self, system) {
            (Peer::Xen(xen), _) => super::xen::version(xen, release),
            (Peer::Container(runtime), _) => format!("Linux {release}, crun {}", runtime.version),
            (Peer::Stock, System::Redoubt) => {
                format!("{}, host Linux {release}", env!("CARGO_PKG_VERSION"))
            }
            (Peer::Stock, _) => format!("Linux {release}"),
        }
    }
}

/// What all runs share.
#[derive(Clone, Copy, Debug)]
pub struct Lab<'a> {
    /// What machines are started with.
    pub built: &'a Built,
    /// What runs them.
    pub qemu: &'a Qemu,
    /// What records.
    pub plugin: &'a Path,
    /// The folder of the recordings.
    pub out: &'a Path,
}

/// A run that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunResult {
    /// The plugin's recording.
    pub recording: PathBuf,
    /// Where the modules' code was.
    pub modules: Vec<ModuleSection>,
    /// What the workload said of itself: `DID ...`.
    pub did: Vec<String>,
}

/// What is run in a machine.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// The name of the run.
    pub name: String,
    /// The host's script, and what it needs.
    pub plan: &'a Plan,
    /// Whether there are disks.
    pub disks: bool,
    /// Whether there is a network card.
    pub network: bool,
    /// Whether code is told apart; else there are totals only.
    pub segments: bool,
}

impl<'a> Job<'a> {
    /// The run of a workload.
    pub fn of(system: System, workload: Workload, plan: &'a Plan) -> Job<'a> {
        Job {
            name: format!("{}-{}", system.name(), workload.name()),
            plan,
            disks: workload.disks(),
            network: workload.network(),
            segments: true,
        }
    }
}

impl Lab<'_> {
    /// The same machine, recorded as one of `system`; and the recording. Without segments there are
    /// totals only.
    pub fn recorded(
        &self,
        machine: Machine,
        system: System,
        name: &str,
        segments: bool,
    ) -> (Machine, PathBuf) {
        let recording = self.out.join(format!("{name}.jsonl"));
        let mut arguments = system.plugin().map(str::to_owned).to_vec();
        arguments.push(format!("out={}", recording.display().to_string().replace(',', ",,")));
        if !segments {
            arguments.push("segments=off".into());
        }
        (machine.plugin(self.plugin, &arguments), recording)
    }

    /// Boots `system`, does the job and keeps the recording.
    pub fn run(&self, system: System, peer: &Peer, job: &Job<'_>) -> Result<RunResult> {
        let Job { name, plan, .. } = job;
        let built = self.built;
        let initrd = initrd(name, plan, built, peer)?;
        let mut machine = machine(system, built, peer, initrd)?;
        if job.disks {
            for number in 1..=2 {
                machine = machine.device(Device::Disk(disk(built, name, number)?));
            }
        }
        if job.network {
            machine = machine.device(Device::Network);
        }
        let (machine, recording) = self.recorded(machine, system, name, job.segments);
        let log = built.artifacts.logs.join(format!("profile-{name}.log"));
        let mut vm = Launch::new(self.qemu, &machine, &log).start()?;
        for text in redoubt_suite::FATAL {
            vm.console().fail_on(text);
        }
        vm.wait_for("HOST done: ", LIMIT)?;
        let status = vm.wait_exit(Duration::from_secs(120)).context("after power off")?;
        if !status.success() {
            bail!("QEMU ended with {status}{}", vm.console().tail());
        }
        let text = vm.kill();
        let (did, modules) =
            read(&text, &plan.did).with_context(|| format!("see {}", log.display()))?;
        if !recording.is_file() {
            bail!("the plugin left no recording: see {}", log.display());
        }
        Ok(RunResult { recording, modules, did })
    }
}

/// The machine of a system, without devices.
fn machine(system: System, built: &Built, peer: &Peer, initrd: PathBuf) -> Result<Machine> {
    let append = format!("{} {COMMAND_LINE}{}", redoubt_suite::COMMAND_LINE, system.append());
    let kernel = &built.artifacts.kernel;
    let one_cpu = |boot| Machine::new(boot).cpu(CPU).cpus(1).icount();
    if let Peer::Xen(found) = peer {
        let boot = super::xen::boot(found, kernel, initrd, &append);
        let machine = one_cpu(boot).memory_mib(super::xen::MEMORY_MIB);
        return Ok(machine.iommu(Iommu::None));
    }
    let image = if system == System::Redoubt { built.artifacts.redoubt()? } else { kernel };
    let boot = Boot::Kernel { image: image.to_owned(), initrd: Some(initrd), append };
    let machine = one_cpu(boot).memory_mib(MEMORY_MIB);
    Ok(if system == System::LinuxContainer { machine.without_el2() } else { machine })
}

/// Puts the initrd together: the host, the workloads, what the plan asks for, and the script.
fn initrd(name: &str, plan: &Plan, built: &Built, peer: &Peer) -> Result<PathBuf> {
    let artifacts = &built.artifacts;
    make_folder(&artifacts.scratch)?;
    let mut parts = vec![artifacts.host.clone(), built.workload.clone()];
    if plan.guest {
        parts.push(artifacts.guest.clone());
    }
    if plan.hostile {
        parts.push(artifacts.hostile.clone());
    }
    let mut extra = cpio::Archive::new();
    extra.file("cmd", 0o755, script(plan).as_bytes())?;
    if let Some(container) = &plan.container {
        let Peer::Container(runtime) = peer else { bail!("a container needs its runtime") };
        let part = artifacts.scratch.join(format!("profile-{name}-container.cpio"));
        fs::write(&part, container::archive(runtime)?)
            .with_context(|| format!("cannot write {}", part.display()))?;
        parts.push(part);
        extra.file("container/bundle/config.json", 0o644, &container::config(container)?)?;
    }
    if let Peer::Xen(found) = peer {
        let part = artifacts.scratch.join(format!("profile-{name}-tools.cpio"));
        fs::write(&part, super::xen::archive(found)?)
            .with_context(|| format!("cannot write {}", part.display()))?;
        parts.push(part);
    }
    let initrd = artifacts.scratch.join(format!("profile-{name}.initrd"));
    cpio::concatenate(&parts, &extra.finish()?, &initrd)?;
    Ok(initrd)
}

/// The host's script.
fn script(plan: &Plan) -> String {
    let mut script = String::new();
    for (name, value) in &plan.variables {
        script.push_str(&format!("{name}='{value}'\n"));
    }
    for part in &plan.scripts {
        script.push_str(part);
        script.push('\n');
    }
    script.push_str("modules\n");
    script
}

/// An empty disk.
fn disk(built: &Built, name: &str, number: u32) -> Result<PathBuf> {
    let image = built.artifacts.scratch.join(format!("profile-{name}-{number}.disk"));
    fs::File::create(&image)
        .and_then(|file| file.set_len(DISK_BYTES))
        .with_context(|| format!("cannot make {}", image.display()))?;
    Ok(image)
}

/// What the workload did, and where modules were, in what the machine said.
fn read(text: &str, words: &[&str]) -> Result<(Vec<String>, Vec<ModuleSection>)> {
    let lines = || text.lines().map(|line| line.trim_end_matches('\r').trim_end());
    if let Some(why) = lines().find_map(|line| line.strip_prefix(FAILED)) {
        bail!("{why}");
    }
    if !lines().any(|line| line == "HOST done: 0") {
        bail!("the workload's script failed");
    }
    let did: Vec<String> =
        lines().filter(|line| line.starts_with("DID ")).map(str::to_owned).collect();
    for word in words {
        if !did.iter().any(|line| line.split(' ').nth(1) == Some(word)) {
            bail!("the workload did not say what it did of `{word}`");
        }
    }
    let mut modules = Vec::new();
    for line in lines().filter_map(|line| line.strip_prefix("MODULE ")) {
        modules.push(section(line).with_context(|| format!("`MODULE {line}` says no address"))?);
    }
    modules.sort();
    Ok((did, modules))
}

/// Reads `NAME SECTION ADDRESS`.
fn section(line: &str) -> Option<ModuleSection> {
    let mut words = line.split(' ');
    let (module, section) = (words.next()?, words.next()?);
    let address = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    let whole = words.next().is_none() && section.starts_with('.') && address != 0;
    whole.then(|| ModuleSection { module: module.into(), section: section.into(), address })
}

#[cfg(test)]
mod tests {
    //! What machines say.

    use super::{read, script, section};
    use crate::profile::systems::{System, Workload, plan};

    #[test]
    fn a_run_must_say_what_it_did() {
        let good = "noise\r\nDID disk raw_written=1\r\nMODULE ext4 .text 0xffff800079a00000\r\n\
                    HOST done: 0\r\n";
        let (did, modules) = read(good, &["disk"]).unwrap();
        assert_eq!(did, ["DID disk raw_written=1"]);
        assert_eq!(
            (modules[0].module.as_str(), modules[0].address),
            ("ext4", 0xffff_8000_79a0_0000)
        );
        assert!(read(good, &["net"]).is_err());
        assert!(read(&good.replace("done: 0", "done: 1"), &["disk"]).is_err());
        let error = read(&format!("WORKLOAD failed: no disk\r\n{good}"), &["disk"]);
        assert_eq!(error.unwrap_err().to_string(), "no disk");
        assert!(read(&good.replace("0xffff", "gone"), &["disk"]).is_err());
    }

    #[test]
    fn an_address_that_is_hidden_is_none() {
        assert!(section("ext4 .text 0x0000000000000000").is_none());
        assert!(section("ext4 .text").is_none());
        assert!(section("ext4 text 0x1").is_none());
    }

    #[test]
    fn a_script_has_its_variables_first_and_the_modules_last() {
        let script = script(&plan(System::Redoubt, Workload::Hostile));
        assert!(script.starts_with("VM='--protected'\n"));
        assert!(script.contains("RAM_BASE='0x40000000'") && script.ends_with("modules\n"));
    }
}

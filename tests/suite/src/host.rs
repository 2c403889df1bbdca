//! One boot of a host that answers many questions.
//!
//! A run is a machine and a shell script. The script is put behind the host's initramfs as `/cmd`
//! (so it may be as long as it likes and no console garbles it), preceded by [`PRELUDE`], and its
//! answers are the lines
//!
//! ```text
//! CHECK name ok
//! CHECK name failed: why
//! DATA name text
//! ```
//!
//! Invariants: a check that is asked for and was not reported has failed; a run whose script did
//! not reach its end, or whose machine did not power off, has no report.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use redoubt_qemu::{Boot, Cpu, Device, Machine, Vm, cpio};

use crate::boot::disk;
use crate::context::Context;

/// What every script begins with.
pub const PRELUDE: &str = include_str!("host/prelude.sh");

/// Texts that end a run at once.
pub const FATAL: [&str; 3] = ["Kernel panic", "redoubt: fatal", "redoubt: cannot start"];

/// A machine, and what is asked of the host on it.
#[derive(Clone, Copy, Debug)]
pub struct HostRun {
    /// The name of the run and of its log.
    pub name: &'static str,
    /// CPU model.
    pub cpu: Cpu,
    /// Number of CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Whether there are a disk, a network card and the `edu` device.
    pub devices: bool,
    /// Whether `/guest` (a kernel and an initrd for guests) is there.
    pub guest: bool,
    /// Whether `/hostile` (the attacks) is there.
    pub hostile: bool,
    /// Whether a reset starts the machine again.
    pub reboots: bool,
    /// Whether the stock kernel itself is started at EL2, with KVM and without Redoubt.
    pub plain_kvm: bool,
    /// The script.
    pub script: &'static str,
    /// The longest it may take.
    pub limit: Duration,
}

/// What the host answered.
#[derive(Debug, Default)]
pub struct Report {
    checks: BTreeMap<String, Result<(), String>>,
    data: BTreeMap<String, Vec<String>>,
    /// Everything that was said on the serial port.
    pub text: String,
}

impl HostRun {
    /// The machine that `boot` is started on.
    pub fn machine(&self, context: &Context, boot: Boot) -> Result<Machine> {
        let mut machine =
            Machine::new(boot).cpu(self.cpu).cpus(self.cpus).memory_mib(self.memory_mib);
        if self.reboots {
            machine = machine.reboots();
        }
        if self.devices {
            let image = context.artifacts.scratch.join(format!("{}.disk", self.name));
            disk::create(&image)?;
            machine =
                machine.device(Device::Disk(image)).device(Device::Network).device(Device::Edu);
        }
        Ok(machine)
    }

    /// Puts the initrd together, with the script behind it.
    pub fn initrd(&self, context: &Context) -> Result<PathBuf> {
        let artifacts = &context.artifacts;
        fs::create_dir_all(&artifacts.scratch)
            .with_context(|| format!("cannot make {}", artifacts.scratch.display()))?;
        let mut parts = vec![artifacts.host.clone()];
        if self.guest {
            parts.push(artifacts.guest.clone());
        }
        if self.hostile {
            parts.push(artifacts.hostile.clone());
        }
        let script = format!(
            "CPUS={}\nMEMORY_MIB={}\nDISK_HASH={}\n{PRELUDE}\n{}\n",
            self.cpus,
            self.memory_mib,
            disk::hash(),
            self.script
        );
        let mut extra = cpio::Archive::new();
        extra.file("cmd", 0o755, script.as_bytes())?;
        let initrd = artifacts.scratch.join(format!("{}.initrd", self.name));
        cpio::concatenate(&parts, &extra.finish()?, &initrd)?;
        Ok(initrd)
    }

    /// Boots the machine, lets the script run and the machine power off.
    pub fn perform(&self, context: &Context) -> Result<Report> {
        let image = if self.plain_kvm { &context.artifacts.kernel } else { context.image()? };
        let boot = Boot::Kernel {
            image: image.to_owned(),
            initrd: Some(self.initrd(context)?),
            append: COMMAND_LINE.into(),
        };
        let machine = self.machine(context, boot)?;
        let mut vm = context.start(&machine, self.name)?;
        self.finish(&mut vm)
    }

    /// Waits until the script is through and the machine has powered off.
    pub fn finish(&self, vm: &mut Vm) -> Result<Report> {
        for text in FATAL {
            vm.console().fail_on(text);
        }
        vm.wait_for("HOST done: ", self.limit)?;
        let status = vm.wait_exit(Duration::from_secs(60)).context("after power off")?;
        let text = vm.console().text();
        if !text.lines().any(|line| line.trim_end() == "HOST done: 0") {
            bail!("the script failed{}", vm.console().tail());
        }
        if !status.success() {
            bail!("QEMU ended with {status}");
        }
        Ok(Report::read(&text))
    }
}

/// The host's command line: its own console, little talk, and the script.
pub const COMMAND_LINE: &str = "console=ttyAMA0 loglevel=4 panic=-1 redoubt.mode=test";

impl Report {
    /// Picks the answers out of what was said.
    pub fn read(text: &str) -> Report {
        let mut report = Report { text: text.to_owned(), ..Report::default() };
        for line in text.lines().map(|line| line.trim_end_matches('\r')) {
            if let Some((name, result)) = after(line, "CHECK ") {
                let result = match result {
                    "ok" => Ok(()),
                    why => Err(why.trim_start_matches("failed:").trim().to_owned()),
                };
                // A check that failed once has failed.
                let entry = report.checks.entry(name.to_owned()).or_insert(Ok(()));
                if result.is_err() {
                    *entry = result;
                }
            } else if let Some((name, value)) = after(line, "DATA ") {
                report.data.entry(name.to_owned()).or_default().push(value.to_owned());
            }
        }
        report
    }

    /// Fails unless the check was reported to be well.
    pub fn check(&self, name: &str) -> Result<()> {
        match self.checks.get(name) {
            Some(Ok(())) => Ok(()),
            Some(Err(why)) => bail!("{why}"),
            None => bail!("the host never came to the check `{name}`"),
        }
    }

    /// The lines of data under a name.
    pub fn data(&self, name: &str) -> Result<&[String]> {
        let data = self.data.get(name).map(Vec::as_slice);
        data.with_context(|| format!("the host sent no data `{name}`"))
    }

    /// The only line of data under a name, as a number.
    pub fn number(&self, name: &str) -> Result<u64> {
        let [line] = self.data(name)? else { bail!("the host sent `{name}` more than once") };
        line.trim().parse().with_context(|| format!("`{name}` is no number: {line}"))
    }
}

/// Splits `PREFIX name rest`.
fn after<'a>(line: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    line.strip_prefix(prefix)?.split_once(' ')
}

#[cfg(test)]
mod tests;

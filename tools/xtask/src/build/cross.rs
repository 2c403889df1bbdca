//! Programs for arm64, by cargo.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::paths::Paths;
use crate::road::{BARE, LINUX, Road};
use crate::shell;
use crate::ui;

/// Where the hypervisor finds a UART before it has a device tree to find one with: the PL011 of
/// QEMU's `virt`. Without it, a start with a broken device tree would be refused in silence.
const EARLY_CONSOLE: &str = "0x9000000";

/// What runs without an operating system: the hypervisor and the bare-metal payloads.
#[derive(Debug)]
pub struct BareMetal {
    /// The linked hypervisor.
    pub hypervisor: PathBuf,
    /// The payloads, each a flat image.
    pub payloads: Vec<PathBuf>,
}

/// What runs in the host's user space.
#[derive(Debug)]
pub struct HostPrograms {
    /// The virtual machine monitor.
    pub vmm: PathBuf,
    /// The attacks.
    pub hostile: PathBuf,
    /// The workloads of the attack profile.
    pub workload: PathBuf,
}

/// Builds what runs without an operating system.
pub fn bare_metal(paths: &Paths, road: Road) -> Result<BareMetal> {
    let programs = programs(paths, road, BARE, &["redoubt-el2", "redoubt-payload"])?;
    let (mut hypervisors, mut payloads): (Vec<_>, Vec<_>) =
        programs.into_iter().partition(|program| program.ends_with("redoubt-el2"));
    // Cargo's order is that in which they were ready; an initrd shall not depend on it.
    payloads.sort();
    let hypervisor = hypervisors.pop().context("cargo built no redoubt-el2")?;
    Ok(BareMetal { hypervisor, payloads })
}

/// Builds what runs in the host's user space.
pub fn host_programs(paths: &Paths, road: Road) -> Result<HostPrograms> {
    let programs =
        programs(paths, road, LINUX, &["redoubt", "redoubt-hostile", "redoubt-workload"])?;
    let named = |name: &str| {
        let found = programs.iter().find(|program| program.ends_with(name)).cloned();
        found.with_context(|| format!("cargo built no {name}"))
    };
    Ok(HostPrograms {
        vmm: named("redoubt")?,
        hostile: named("redoubt-hostile")?,
        workload: named("redoubt-workload")?,
    })
}

/// Builds the hypervisor and returns the linked program.
pub fn hypervisor_elf(paths: &Paths, road: Road) -> Result<PathBuf> {
    Ok(bare_metal(paths, road)?.hypervisor)
}

/// Builds the programs of packages, all at once: so the standard library is built once.
fn programs(paths: &Paths, road: Road, target: &str, packages: &[&str]) -> Result<Vec<PathBuf>> {
    ui::step(&packages.join(", "), |_| {
        let mut command = road.cargo(paths, "build", target);
        for package in packages {
            command.args(["--package", package]);
        }
        command.env("REDOUBT_EARLY_CONSOLE", EARLY_CONSOLE);
        command.args(["--bins", "--message-format=json-render-diagnostics"]);
        let text = shell::output(&mut command)?;
        Ok((executables(&text), format!("for {target}")))
    })
}

/// The programs that cargo's messages name.
fn executables(messages: &str) -> Vec<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect()
}

#[cfg(test)]
mod tests {
    //! Cargo's messages.

    use super::executables;
    use std::path::PathBuf;

    #[test]
    fn reads_executables_out_of_messages() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"executable\":null}\n",
            "no json\n",
            "{\"reason\":\"compiler-artifact\",\"executable\":\"/t/release/x\"}\n",
            "{\"reason\":\"build-finished\",\"success\":true}\n"
        );
        assert_eq!(executables(messages), [PathBuf::from("/t/release/x")]);
    }
}

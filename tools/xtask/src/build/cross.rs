//! Programs for arm64, by cargo.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::paths::Paths;
use crate::road::{BARE, LINUX, Road};
use crate::shell;
use crate::ui::{self, Step};

/// Where the hypervisor finds a UART before it has a device tree to find one with: the PL011 of
/// QEMU's `virt`. Without it, a start with a broken device tree would be refused in silence.
const EARLY_CONSOLE: &str = "0x9000000";

/// What runs without an operating system: the hypervisor and the bare-metal payloads.
#[derive(Debug, Default)]
pub struct BareMetal {
    /// The linked hypervisor, if it is written yet.
    pub hypervisor: Option<PathBuf>,
    /// The payloads, each a flat image.
    pub payloads: Vec<PathBuf>,
}

/// What runs in the host's user space.
#[derive(Debug, Default)]
pub struct HostPrograms {
    /// The virtual machine monitor, if it is written yet.
    pub vmm: Option<PathBuf>,
    /// The attacks, if they are written yet.
    pub hostile: Option<PathBuf>,
}

/// Builds what runs without an operating system.
pub fn bare_metal(paths: &Paths, road: Road) -> Result<BareMetal> {
    let crates = [("redoubt-el2", "hyp/redoubt-el2"), ("redoubt-payload", "tests/payload")];
    let programs = programs(paths, road, BARE, &crates)?;
    let (mut hypervisors, payloads): (Vec<_>, Vec<_>) =
        programs.into_iter().partition(|program| program.ends_with("redoubt-el2"));
    Ok(BareMetal { hypervisor: hypervisors.pop(), payloads })
}

/// Builds what runs in the host's user space.
pub fn host_programs(paths: &Paths, road: Road) -> Result<HostPrograms> {
    let crates = [("redoubt", "tools/redoubt"), ("redoubt-hostile", "tests/hostile")];
    let programs = programs(paths, road, LINUX, &crates)?;
    let named = |name: &str| programs.iter().find(|program| program.ends_with(name)).cloned();
    Ok(HostPrograms { vmm: named("redoubt"), hostile: named("redoubt-hostile") })
}

/// Builds the hypervisor and returns the linked program, or nothing if it is not written yet.
pub fn hypervisor_elf(paths: &Paths, road: Road) -> Result<Option<PathBuf>> {
    Ok(bare_metal(paths, road)?.hypervisor)
}

/// Builds the programs of `crates` (name and folder) that are written already, all at once: so the
/// standard library is built once.
fn programs(
    paths: &Paths,
    road: Road,
    target: &str,
    crates: &[(&str, &str)],
) -> Result<Vec<PathBuf>> {
    let mut packages = Vec::new();
    for (name, folder) in crates {
        if is_placeholder(&paths.root.join(folder))? {
            Step::quiet(name).skipped("not written yet");
        } else {
            packages.push(*name);
        }
    }
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    ui::step(&packages.join(", "), |_| {
        let mut command = road.cargo(paths, "build", target);
        for package in &packages {
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

/// Whether a crate holds nothing but an empty `main`.
fn is_placeholder(folder: &Path) -> Result<bool> {
    let main = folder.join("src/main.rs");
    if !main.is_file() {
        // Its programs are elsewhere (src/bin).
        return Ok(!folder.join("src/bin").is_dir());
    }
    let text =
        fs::read_to_string(&main).with_context(|| format!("cannot read {}", main.display()))?;
    Ok(is_empty_main(&text))
}

fn is_empty_main(text: &str) -> bool {
    let code: Vec<_> = text.lines().map(str::trim).collect();
    let code = code.iter().filter(|line| !line.is_empty() && !line.starts_with("//"));
    code.eq(&["fn main() {}"])
}

#[cfg(test)]
mod tests {
    //! Cargo's messages and empty programs.

    use super::{executables, is_empty_main};
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

    #[test]
    fn knows_an_empty_program() {
        assert!(is_empty_main("//! Placeholder.\nfn main() {}\n"));
        assert!(!is_empty_main("#![no_std]\nfn main() {}\n"));
        assert!(!is_empty_main("fn main() { run() }\n"));
    }
}

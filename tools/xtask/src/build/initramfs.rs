//! The first user space of host and guest.
//!
//! Decides what is in which archive. The host's is in parts that the launcher puts together for one
//! machine: the host itself, what a guest boots from, and what attacks (for tests alone).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use redoubt_qemu::cpio::Archive;

use super::kmod;
use crate::paths::{Paths, write_if_changed};
use crate::setup::Arm64;
use crate::shell;

/// What takes debug information out of a file; a part of the cross compiler.
const STRIP: &str = "aarch64-linux-gnu-strip";

/// Stock modules that only tests load: drivers of the devices that are attacked, or attack.
const TEST_MODULES: [&str; 4] = ["nvme", "e1000e", "igb", "igbvf"];

/// Stock modules that the workloads of the attack profile load, each group with a folder of its own
/// below `/profile/modules`: a file system, with the checksum that it does not say it needs, and what
/// a container's network is made of.
const WORKLOAD_MODULES: [(&str, &[&str]); 3] = [
    ("files", &["crc32c_generic", "ext4"]),
    ("network", &["bridge", "veth"]),
    ("xen", &["xenfs", "xen_privcmd", "xen_evtchn", "xen_gntdev", "xen_gntalloc"]),
];

/// What was built and goes in; a stock host without Redoubt gets nothing of it.
#[derive(Debug, Default)]
pub struct Parts {
    /// The virtual machine monitor.
    pub vmm: Option<PathBuf>,
    /// The program with the attacks.
    pub hostile: Option<PathBuf>,
    /// Bare-metal guests.
    pub payloads: Vec<PathBuf>,
    /// The driver.
    pub driver: Option<PathBuf>,
    /// The driver's test of `/dev/kvm`.
    pub kvm_test: Option<PathBuf>,
    /// The module with raw power for the attacks.
    pub module: Option<PathBuf>,
    /// The workloads of the attack profile.
    pub workload: Option<PathBuf>,
}

/// The archives.
#[derive(Debug)]
pub struct Initramfs {
    /// The host.
    pub host: PathBuf,
    /// What a guest boots from.
    pub guest: PathBuf,
    /// What attacks.
    pub hostile: PathBuf,
    /// What the attack profile's workloads need.
    pub workload: PathBuf,
}

impl Initramfs {
    /// How large all archives are together.
    pub fn size(&self) -> Result<u64> {
        let mut total = 0;
        for part in [&self.host, &self.guest, &self.hostile, &self.workload] {
            total +=
                fs::metadata(part).with_context(|| format!("cannot see {}", part.display()))?.len();
        }
        Ok(total)
    }
}

/// The stock modules that machines of the attack profile may load.
pub fn modules(paths: &Paths, arm64: &Arm64) -> Result<Vec<String>> {
    let list = host_list(&paths.root.join("guest-linux/host"))?;
    let wanted = names(&list).into_iter();
    let wanted = wanted.chain(WORKLOAD_MODULES.iter().flat_map(|(_, names)| names.iter().copied()));
    let modules = kmod::stock(arm64, &wanted.collect::<Vec<_>>())?;
    modules.iter().map(|module| kmod::debug_path(arm64, &module.name)).collect()
}

/// The list of the stock modules that every host loads.
fn host_list(recipe: &Path) -> Result<String> {
    let list = recipe.join("modules");
    fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))
}

/// Builds the archives.
pub fn build(paths: &Paths, arm64: &Arm64, parts: &Parts) -> Result<Initramfs> {
    let recipes = paths.root.join("guest-linux");
    let folder = paths.out.join("initramfs");
    let guest_initrd = guest(&recipes.join("guest"), arm64)?;
    let mut boots = Archive::new();
    boots.file_from("guest/Image", 0o644, &arm64.kernel())?;
    boots.file("guest/initrd", 0o644, &guest_initrd)?;
    let archives = [
        ("host.cpio", host(&recipes.join("host"), arm64, parts)?),
        ("guest.cpio", boots.finish()?),
        ("hostile.cpio", hostile(arm64, parts)?),
        ("workload.cpio", workload(arm64, parts)?),
    ];
    for (name, bytes) in &archives {
        write_if_changed(&folder.join(name), bytes)?;
    }
    Ok(Initramfs {
        host: folder.join("host.cpio"),
        guest: folder.join("guest.cpio"),
        hostile: folder.join("hostile.cpio"),
        workload: folder.join("workload.cpio"),
    })
}

/// What host and guest share: busybox and a console.
fn base(arm64: &Arm64) -> Result<Archive> {
    let mut archive = Archive::new();
    archive.file_from("bin/busybox", 0o755, &arm64.busybox())?;
    archive.symlink("bin/sh", "busybox")?;
    archive.character_device("dev/console", 5, 1)?;
    Ok(archive)
}

fn guest(recipe: &Path, arm64: &Arm64) -> Result<Vec<u8>> {
    let mut archive = base(arm64)?;
    archive.file_from("init", 0o755, &recipe.join("init"))?;
    archive.finish()
}

fn host(recipe: &Path, arm64: &Arm64, parts: &Parts) -> Result<Vec<u8>> {
    let mut archive = base(arm64)?;
    archive.file_from("init", 0o755, &recipe.join("init"))?;
    archive.file_from("lib/redoubt/agent", 0o755, &recipe.join("agent"))?;
    archive.file_from("root/.profile", 0o644, &recipe.join("profile"))?;
    archive.file_from("etc/motd", 0o644, &recipe.join("motd"))?;
    let wanted = host_list(recipe)?;
    let order = stock_modules(&mut archive, arm64, &names(&wanted), "lib/modules")?;
    archive.file("etc/modules", 0o644, order.as_bytes())?;
    if let Some(driver) = &parts.driver {
        archive.file("lib/redoubt/redoubt.ko", 0o644, &stripped(driver)?)?;
    }
    if let Some(vmm) = &parts.vmm {
        archive.file("bin/redoubt", 0o755, &stripped(vmm)?)?;
    }
    archive.finish()
}

/// Adds stock modules, and what they need, to a folder; the list in `FOLDER/order` (which is also
/// returned) has them in the order in which they load.
fn stock_modules(
    archive: &mut Archive,
    arm64: &Arm64,
    wanted: &[&str],
    folder: &str,
) -> Result<String> {
    let mut order = String::new();
    for module in kmod::stock(arm64, wanted)? {
        let path = format!("/{folder}/{}.ko", module.name);
        archive.file(&path, 0o644, &module.bytes)?;
        order.push_str(&path);
        order.push('\n');
    }
    archive.file(&format!("{folder}/order"), 0o644, order.as_bytes())?;
    Ok(order)
}

fn hostile(arm64: &Arm64, parts: &Parts) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    archive.folder("hostile/payload")?;
    stock_modules(&mut archive, arm64, &TEST_MODULES, "hostile/modules")?;
    if let Some(program) = &parts.hostile {
        archive.file("hostile/redoubt-hostile", 0o755, &stripped(program)?)?;
    }
    if let Some(module) = &parts.module {
        archive.file("hostile/hostile.ko", 0o644, &stripped(module)?)?;
    }
    if let Some(test) = &parts.kvm_test {
        archive.file("hostile/kvm_test", 0o755, &stripped(test)?)?;
    }
    for payload in &parts.payloads {
        let name = payload.file_name().context("a payload has no name")?.to_string_lossy();
        archive.file_from(&format!("hostile/payload/{name}"), 0o644, payload)?;
    }
    archive.finish()
}

fn workload(arm64: &Arm64, parts: &Parts) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    for (group, wanted) in WORKLOAD_MODULES {
        stock_modules(&mut archive, arm64, wanted, &format!("profile/modules/{group}"))?;
    }
    if let Some(program) = &parts.workload {
        archive.file("profile/redoubt-workload", 0o755, &stripped(program)?)?;
    }
    archive.finish()
}

/// A program or module without its debug information, which is large, of no use in the machine, and
/// names paths of this one; and without the hash over it. What is in an initrd shall not depend on where
/// it was built: kernels that load other bytes put things elsewhere, and then run other code.
fn stripped(file: &Path) -> Result<Vec<u8>> {
    let target = file.with_extension("stripped");
    let mut strip = Command::new(STRIP);
    strip.args(["--strip-debug", "--remove-section=.note.gnu.build-id", "-o"]);
    strip.arg(&target).arg(file);
    shell::output(&mut strip).with_context(|| format!("cannot strip {}", file.display()))?;
    fs::read(&target).with_context(|| format!("cannot read {}", target.display()))
}

/// The names in a list with comments.
fn names(list: &str) -> Vec<&str> {
    let lines = list.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    //! The list of modules.

    #[test]
    fn a_list_may_have_comments() {
        assert_eq!(
            super::names("# why\nvirtio_blk # disk\n\n virtio_net\n"),
            ["virtio_blk", "virtio_net"]
        );
    }
}

//! Builds everything that a machine is started with.
//!
//! Decides the order and names of the products; what they are made of is decided by the folders
//! they come from.

mod cross;
mod image;
mod initramfs;
mod kmod;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Result;
use redoubt_suite::Artifacts;

use crate::paths::Paths;
use crate::road::{LINUX_LINKER, Road};
use crate::setup::{self, Arm64, Ready};
use crate::shell;
use crate::ui;

pub use cross::hypervisor_elf;
use initramfs::Parts;
pub use initramfs::modules;
pub use kmod::debug_path;

/// `cargo xtask build`.
pub fn command() -> Result<ExitCode> {
    let paths = Paths::find()?;
    let artifacts = everything(&paths)?;
    println!("The image is {}", artifacts.redoubt()?.display());
    Ok(ExitCode::SUCCESS)
}

/// Sets up, builds all products and says where they are.
pub fn everything(paths: &Paths) -> Result<Artifacts> {
    Ok(for_profile(paths)?.artifacts)
}

/// All products, and what else the attack profile wants to know of them.
#[derive(Clone, Debug)]
pub struct Built {
    /// What machines are started with.
    pub artifacts: Artifacts,
    /// The part of the initrd with the workloads.
    pub workload: PathBuf,
    /// The programs that are part of the systems, with their debug information.
    pub programs: Programs,
    /// The stock kernel.
    pub arm64: Arm64,
    /// The folder that the source files' names in the programs begin with.
    pub root: PathBuf,
}

/// Programs with their debug information.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The hypervisor.
    pub hypervisor: PathBuf,
    /// The virtual machine monitor.
    pub vmm: PathBuf,
    /// The driver, a kernel module.
    pub driver: PathBuf,
}

/// The versions of the compilers that the hypervisor, and what is linked with C, are built with.
pub fn compilers() -> Result<String> {
    let gcc = shell::output(Command::new(LINUX_LINKER).arg("--version"))?;
    Ok(format!("{}; {}", Road::find().compiler()?, gcc.lines().next().unwrap_or_default()))
}

/// Sets up and builds all products, as [`everything`] does, and says more of them.
pub fn for_profile(paths: &Paths) -> Result<Built> {
    let ready = setup::ensure(paths)?;
    ui::heading("Build");
    println!("  .. arm64 toolchain: {}", ready.road.describe());
    products(paths, &ready)
}

/// Sets up and puts together what a stock host without Redoubt needs: nothing is compiled.
pub fn stock_host(paths: &Paths) -> Result<Artifacts> {
    let ready = setup::ensure(paths)?;
    ui::heading("Build");
    Ok(finish(paths, &ready, None, &Parts::default())?.0)
}

fn products(paths: &Paths, ready: &Ready) -> Result<Built> {
    let arm64 = &ready.arm64;
    let bare_metal = cross::bare_metal(paths, ready.road)?;
    let programs = cross::host_programs(paths, ready.road)?;
    let driver = kmod::build(paths, arm64, "driver", &paths.root.join("guest-linux/driver"))?;
    let kvm_test = kmod::driver_test(paths)?;
    let module = kmod::build(paths, arm64, "hostile", &paths.root.join("tests/hostile/kmod"))?;
    let parts = Parts {
        vmm: Some(programs.vmm.clone()),
        hostile: Some(programs.hostile),
        payloads: bare_metal.payloads,
        driver: Some(driver.clone()),
        kvm_test: Some(kvm_test),
        module: Some(module),
        workload: Some(programs.workload),
    };
    let image = image::build(paths, arm64, &bare_metal.hypervisor)?;
    let (artifacts, workload) = finish(paths, ready, Some(image), &parts)?;
    let hypervisor = bare_metal.hypervisor;
    let programs = Programs { hypervisor, vmm: programs.vmm, driver };
    Ok(Built { artifacts, workload, programs, arm64: arm64.clone(), root: paths.root.clone() })
}

/// Builds the initramfs and says where everything is, and where the workloads' part of it is.
fn finish(
    paths: &Paths,
    ready: &Ready,
    image: Option<PathBuf>,
    parts: &Parts,
) -> Result<(Artifacts, PathBuf)> {
    let arm64 = &ready.arm64;
    let initramfs = ui::step("initramfs of host and guest", |_| {
        let built = initramfs::build(paths, arm64, parts)?;
        let size = built.size()?;
        Ok((built, ui::bytes(size)))
    })?;
    let artifacts = Artifacts {
        image,
        kernel: arm64.kernel(),
        host: initramfs.host,
        guest: initramfs.guest,
        hostile: initramfs.hostile,
        payloads: parts.payloads.clone(),
        u_boot: arm64.u_boot(),
        logs: paths.logs(),
        scratch: paths.scratch(),
    };
    Ok((artifacts, initramfs.workload))
}

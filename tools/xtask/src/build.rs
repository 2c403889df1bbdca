//! Builds everything that a machine is started with.
//!
//! Decides the order and names of the products; what they are made of is decided by the folders
//! they come from.

mod cross;
mod image;
mod initramfs;
mod kmod;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use redoubt_suite::Artifacts;

use crate::paths::Paths;
use crate::setup::{self, Ready};
use crate::ui;

pub use cross::hypervisor_elf;
use initramfs::Parts;

/// `cargo xtask build`.
pub fn command() -> Result<ExitCode> {
    let paths = Paths::find()?;
    let artifacts = everything(&paths)?;
    println!("The image is {}", artifacts.redoubt()?.display());
    Ok(ExitCode::SUCCESS)
}

/// Sets up, builds all products and says where they are.
pub fn everything(paths: &Paths) -> Result<Artifacts> {
    let ready = setup::ensure(paths)?;
    ui::heading("Build");
    println!("  .. arm64 toolchain: {}", ready.road.describe());
    products(paths, &ready)
}

/// Sets up and puts together what a stock host without Redoubt needs: nothing is compiled.
pub fn stock_host(paths: &Paths) -> Result<Artifacts> {
    let ready = setup::ensure(paths)?;
    ui::heading("Build");
    finish(paths, &ready, None, &Parts::default())
}

fn products(paths: &Paths, ready: &Ready) -> Result<Artifacts> {
    let arm64 = &ready.arm64;
    let bare_metal = cross::bare_metal(paths, ready.road)?;
    let programs = cross::host_programs(paths, ready.road)?;
    let parts = Parts {
        vmm: Some(programs.vmm),
        hostile: Some(programs.hostile),
        payloads: bare_metal.payloads,
        driver: Some(kmod::build(paths, arm64, "driver", &paths.root.join("guest-linux/driver"))?),
        kvm_test: Some(kmod::driver_test(paths)?),
        module: Some(kmod::build(paths, arm64, "hostile", &paths.root.join("tests/hostile/kmod"))?),
    };
    let image = image::build(paths, arm64, &bare_metal.hypervisor)?;
    finish(paths, ready, Some(image), &parts)
}

/// Builds the initramfs and says where everything is.
fn finish(
    paths: &Paths,
    ready: &Ready,
    image: Option<PathBuf>,
    parts: &Parts,
) -> Result<Artifacts> {
    let arm64 = &ready.arm64;
    let initramfs = ui::step("initramfs of host and guest", |_| {
        let built = initramfs::build(paths, arm64, parts)?;
        let size = built.size()?;
        Ok((built, ui::bytes(size)))
    })?;
    Ok(Artifacts {
        image,
        kernel: arm64.kernel(),
        host: initramfs.host,
        guest: initramfs.guest,
        hostile: initramfs.hostile,
        payloads: parts.payloads.clone(),
        u_boot: arm64.u_boot(),
        logs: paths.logs(),
        scratch: paths.scratch(),
    })
}

//! Installs and downloads what the other commands need.
//!
//! Decides what is missing and gets only that: Debian packages (as root), QEMU that is new enough,
//! and the arm64 packages whose contents the machines run (kept in `.cache/`, never installed). A
//! second run finds everything and uses neither root nor the network.
//!
//! Trusted: the machine's own Debian mirror, through apt and its signatures. The system's own list
//! of sources is read, never changed.

mod apt;
mod debs;
mod libraries;
mod packages;
pub mod peers;
mod release;
pub mod xen;

use std::fs::File;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::paths::{Paths, make_folder};
use crate::road::Road;
use crate::ui;

pub use debs::Arm64;
pub use packages::{BROWSER_ENV, browser};

/// What the other commands may count on.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The toolchain for arm64.
    pub road: Road,
    /// The unpacked arm64 packages.
    pub arm64: Arm64,
}

/// `cargo xtask setup`.
pub fn command(refresh: bool) -> Result<ExitCode> {
    ui::heading("Set-up");
    let paths = Paths::find()?;
    let ready = prepare(&paths, refresh)?;
    println!("  ok arm64 toolchain: {}", ready.road.describe());
    println!("  ok host kernel: {}", ready.arm64.release);
    if refresh {
        refresh_peers(&paths)?;
    }
    println!("Everything is there.");
    Ok(ExitCode::SUCCESS)
}

/// Gets the newest of those peers that are there. One that cannot be had stays as it is.
fn refresh_peers(paths: &Paths) -> Result<()> {
    let _lock = lock(paths)?;
    let mut peers = Vec::new();
    if xen::is_there(paths) {
        peers.push(("Xen", xen::ensure(paths, true).map(|xen| xen.version)));
    }
    if peers::has_runtime(paths) {
        let runtime = peers::runtime(paths, true).map(|runtime| runtime.version);
        peers.push(("container runtime", runtime));
    }
    for (name, outcome) in peers {
        match outcome {
            Ok(version) => println!("  ok {name}: {version}"),
            Err(error) => println!("  !! {name} stays as it is: {error:#}"),
        }
    }
    Ok(())
}

/// Makes sure that everything is there, saying so only where there is something to do.
pub fn ensure(paths: &Paths) -> Result<Ready> {
    prepare(paths, false)
}

/// Waits until nobody else sets up, and keeps others from it until the file is dropped. Who holds it
/// must not ask for it again.
pub fn lock(paths: &Paths) -> Result<File> {
    make_folder(&paths.cache)?;
    let lock = File::create(paths.cache.join("lock")).context("cannot write to .cache")?;
    if lock.try_lock().is_err() {
        println!("  .. waiting for another set-up to end");
        lock.lock().context("cannot wait for another set-up to end")?;
    }
    Ok(lock)
}

fn prepare(paths: &Paths, refresh: bool) -> Result<Ready> {
    let _lock = lock(paths)?;
    let road = Road::find();
    packages::ensure(paths, road)?;
    let arm64 = debs::ensure(paths, refresh)?;
    Ok(Ready { road, arm64 })
}

//! Checks of format and lints, and of generated files.
//!
//! Decides what is checked how: all crates for format; those that run on this machine with its own
//! clippy; those that run on arm64 with the clippy of the road they are built on.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::generate;
use crate::paths::Paths;
use crate::road::{BARE, LINUX, Road};
use crate::setup;
use crate::shell;
use crate::test::unit::PACKAGES;
use crate::ui;

/// `cargo xtask lint`.
pub fn command() -> Result<ExitCode> {
    let paths = Paths::find()?;
    let ready = setup::ensure(&paths)?;
    ui::heading("Lint");
    ui::step("format", |_| {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&paths.root).args(["fmt", "--all", "--check"]);
        Ok((shell::output(&mut cargo)?, String::new()))
    })?;
    ui::step("generated files", |_| Ok((generate::check(&paths)?, String::new())))?;
    ui::step("clippy on the crates for this machine", |_| {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&paths.root).args(["clippy", "--quiet", "--all-targets"]);
        for package in PACKAGES {
            cargo.args(["--package", package]);
        }
        cargo.arg("--all-features").args(["--", "-D", "warnings"]);
        Ok((shell::output(&mut cargo)?, String::new()))
    })?;
    let bare = ["redoubt-el2", "redoubt-payload"];
    let linux = ["redoubt", "redoubt-hostile", "redoubt-workload"];
    for (target, packages) in [(BARE, bare.as_slice()), (LINUX, &linux)] {
        ui::step(&format!("clippy on {} for {target}", packages.join(", ")), |_| {
            Ok((clippy(&paths, ready.road, target, packages)?, String::new()))
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

fn clippy(paths: &Paths, road: Road, target: &str, packages: &[&str]) -> Result<String> {
    let mut cargo = road.cargo(paths, "check", target);
    road.clippy(&mut cargo)?;
    // A folder of its own, so that linting and building do not undo each other's work.
    cargo.env("CARGO_TARGET_DIR", paths.out.join("clippy"));
    cargo.arg("--quiet");
    for package in packages {
        cargo.args(["--package", package]);
    }
    shell::output(&mut cargo)
}

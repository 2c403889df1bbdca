//! Writes the files that are generated from the crate `redoubt-abi`.
//!
//! Decides where they go: the C header beside the driver that includes it, the documentation of the
//! hypercalls into `docs/`. What is in them is decided by the crate. Both are checked in, so that
//! they can be read and built without this program; [`check`] finds those that are out of date.

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::paths::{Paths, write_if_changed};
use crate::shell;
use crate::ui;

/// The files, and what the generator calls them.
const FILES: [(&str, &str); 2] =
    [("guest-linux/driver/redoubt_abi.h", "header"), ("docs/hypercalls.md", "markdown")];

/// `cargo xtask generate`.
pub fn command() -> Result<ExitCode> {
    let paths = Paths::find()?;
    for (file, kind) in FILES {
        ui::step(file, |_| {
            write_if_changed(&paths.root.join(file), generated(&paths, kind)?.as_bytes())?;
            Ok(((), String::new()))
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails if a generated file is not what would be generated now.
pub fn check(paths: &Paths) -> Result<()> {
    for (file, kind) in FILES {
        let path = paths.root.join(file);
        let present =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if present != generated(paths, kind)? {
            bail!("{file} is out of date: run `cargo xtask generate`");
        }
    }
    Ok(())
}

/// What the generator prints.
fn generated(paths: &Paths, kind: &str) -> Result<String> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&paths.root).args(["run", "--quiet", "--package", "redoubt-abi"]);
    cargo.args(["--features", "generate", "--bin", "redoubt-abi-generate", "--", kind]);
    shell::output(&mut cargo)
}

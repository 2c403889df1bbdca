//! Finds QEMU and checks that it is new enough.
//!
//! Decides which program is run: the one named by `REDOUBT_QEMU`, else `qemu-system-aarch64` on
//! the path. Older versions than [`MINIMUM`] lack stage 2 in their SMMUv3 and are refused by name
//! and number, with what to do about it.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The oldest QEMU whose machine `virt` has all that Redoubt's tests need.
pub const MINIMUM: Version = Version { major: 9, minor: 2 };

/// The environment variable that names another QEMU.
pub const ENV: &str = "REDOUBT_QEMU";

/// A QEMU version, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl Version {
    /// Reads the version out of what `qemu-system-aarch64 --version` prints.
    pub fn parse(text: &str) -> Option<Version> {
        let rest = text.split("version ").nth(1)?;
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Version { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A QEMU program that was run once and found new enough.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: OsString,
    version: Version,
    description: String,
}

impl Qemu {
    /// Finds QEMU and asks its version.
    pub fn find() -> Result<Qemu> {
        let program = env::var_os(ENV).unwrap_or_else(|| OsString::from("qemu-system-aarch64"));
        let shown = program.to_string_lossy().into_owned();
        let output = Command::new(&program).arg("--version").output().with_context(|| {
            format!(
                "`{shown}` cannot be run: `cargo xtask setup` installs it ({ENV} names another)"
            )
        })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let Some(version) = Version::parse(&text) else {
            bail!("`{shown} --version` does not print a QEMU version; is {ENV} set wrongly?");
        };
        if version < MINIMUM {
            bail!(
                "{shown} is version {version}, but {MINIMUM} or newer is needed: \
                 run `cargo xtask setup` as root"
            );
        }
        let description = text.lines().next().unwrap_or_default().trim().to_owned();
        Ok(Qemu { program, version, description })
    }

    /// The version that was found.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What it says of its version and its distributor.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Fails, with what to do, where this QEMU was built without TCG plugins.
    pub fn require_plugins(&self) -> Result<()> {
        let output = self.command().args(["-plugin", "help"]).output();
        let output = output.context("QEMU cannot be started: `cargo xtask setup` installs it")?;
        if !output.status.success() {
            bail!(
                "{} was built without TCG plugins (`--enable-plugins`), which record what runs: \
                 name one with them in {ENV}, such as Debian's qemu-system-arm",
                self.program.to_string_lossy()
            );
        }
        Ok(())
    }

    /// A command that runs this QEMU.
    pub fn command(&self) -> Command {
        Command::new(&self.program)
    }
}

#[cfg(test)]
mod tests;

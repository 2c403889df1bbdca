//! The Debian packages that must be installed.
//!
//! Decides which are missing, and whether QEMU is new enough; only then is root asked for and apt
//! called.

use std::collections::BTreeSet;
use std::env;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use redoubt_qemu::Qemu;

use super::apt::{Apt, Mirror};
use super::release::Release;
use crate::paths::Paths;
use crate::road::Road;
use crate::shell;
use crate::ui;

/// Linkers and compilers for arm64, what kernel modules are built with, and what unpacks them.
const ALWAYS: [&str; 9] = [
    "lld",
    "gcc-aarch64-linux-gnu",
    "libc6-dev-arm64-cross",
    "make",
    "bc",
    "cpio",
    "libelf-dev",
    "libssl-dev",
    "xz-utils",
];

/// The compiler that Debian 12's own arm64 kernel is built with.
const BOOKWORM: [&str; 1] = ["gcc-12-aarch64-linux-gnu"];

/// Rust for arm64, where rustup does not have it.
const RUST: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-clippy"];

/// QEMU for arm64.
const QEMU: [&str; 3] = ["qemu-system-arm", "qemu-system-common", "qemu-system-data"];

/// Installs what is missing.
pub fn ensure(paths: &Paths, road: Road) -> Result<()> {
    // Another distribution is fine as long as nothing is missing.
    let release = Release::find();
    let mut wanted = ALWAYS.to_vec();
    if matches!(release, Ok(Release::Bookworm)) {
        wanted.extend(BOOKWORM);
    }
    if road == Road::Debian {
        wanted.extend(RUST);
    }
    let missing = missing(&wanted);
    let qemu = Qemu::find();
    if missing.is_empty() && qemu.is_ok() {
        return Ok(());
    }
    let release = release?;
    let mut all = missing.clone();
    if let Err(reason) = &qemu {
        println!("  .. QEMU: {reason:#}");
        all.extend(QEMU);
    }
    if !is_root() {
        bail!(
            "these Debian packages are missing, and only root can install them: {}\n\
             run `cargo xtask setup` as root{}",
            all.join(" "),
            if qemu.is_err() { " (QEMU 9 or newer is needed)" } else { "" }
        );
    }
    install(paths, release, &missing, qemu.is_err())?;
    Qemu::find().map(drop)
}

/// The browser that looks at pages, and letters for it.
const BROWSER: [&str; 2] = ["chromium", "fonts-dejavu-core"];

/// The environment variable that names another Chromium.
pub const BROWSER_ENV: &str = "REDOUBT_CHROMIUM";

/// Makes sure that there is a browser, and says which.
pub fn browser(paths: &Paths) -> Result<PathBuf> {
    if let Some(named) = env::var_os(BROWSER_ENV) {
        return Ok(named.into());
    }
    let else_do = format!("name a Chromium in {BROWSER_ENV}");
    on_demand(paths, &BROWSER, "to look at the page", &else_do)?;
    Ok("/usr/bin/chromium".into())
}

/// Makes sure that packages are there that only some commands need.
pub fn on_demand(paths: &Paths, packages: &[&str], purpose: &str, else_do: &str) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() {
        bail!(
            "these Debian packages are missing {purpose}, and only root can install them: {}\n\
             run the command as root, or {else_do}",
            missing.join(" ")
        );
    }
    install(paths, Release::find()?, &missing, false)
}

fn install(paths: &Paths, release: Release, missing: &[&str], qemu: bool) -> Result<()> {
    let codename = release.codename();
    let mirror = Mirror::find(codename)?;
    let (updates, backports) = (format!("{codename}-updates"), format!("{codename}-backports"));
    let mut suites = vec![codename, updates.as_str()];
    // Debian 12's own QEMU is too old.
    let qemu_suite = (release == Release::Bookworm).then_some(backports.as_str());
    suites.extend(qemu_suite.filter(|_| qemu));
    let security = format!("{codename}-security");
    let apt = Apt::new(
        &paths.cache.join("apt-install"),
        &paths.logs().join("setup-install.log"),
        &mirror,
        &suites,
        &[&security],
    )?;
    ui::step("fetching the lists of packages", |_| Ok((apt.update()?, String::new())))?;
    if !missing.is_empty() {
        ui::step("installing packages", |_| Ok((apt.install(missing, None)?, missing.join(" "))))?;
    }
    if qemu {
        let from = qemu_suite.unwrap_or(codename);
        ui::step("installing QEMU", |_| {
            Ok((apt.install(&QEMU, qemu_suite)?, format!("from {from}")))
        })?;
    }
    apt.forget()
}

/// Those of `wanted` that are not installed.
fn missing<'a>(wanted: &[&'a str]) -> Vec<&'a str> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${Package} ${db:Status-Status}\n"]).args(wanted);
    // It fails where one is unknown, and still prints the others.
    let text = match shell::run(&mut query) {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(_) => String::new(),
    };
    let installed = installed(&text);
    wanted.iter().copied().filter(|package| !installed.contains(package)).collect()
}

fn installed(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.strip_suffix(" installed")).collect()
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// The Debian name of this machine's architecture.
pub fn native_architecture() -> Result<String> {
    let text = shell::output(Command::new("dpkg").arg("--print-architecture"))
        .context("only Debian and its kin have `dpkg`")?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    //! What `dpkg-query` prints.

    use super::installed;

    #[test]
    fn only_installed_packages_count() {
        let text = "lld installed\nmake config-files\nbc not-installed\n";
        assert_eq!(installed(text).into_iter().collect::<Vec<_>>(), ["lld"]);
    }
}

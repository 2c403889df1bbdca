//! The tests of the crates that run on this machine.
//!
//! Decides which crates those are: all but the ones that are nothing without arm64. Cargo's output
//! is read for the counts, and kept in a log. The part of the driver that is plain C is tested too.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Count;
use crate::paths::{Paths, make_folder};
use crate::shell;
use crate::ui::{self, Step};

/// The crates, in the order in which they build on one another.
pub const PACKAGES: [&str; 11] = [
    "redoubt-abi",
    "redoubt-core",
    "redoubt-boot",
    "redoubt",
    "redoubt-hostile",
    "redoubt-workload",
    "redoubt-profile",
    "redoubt-profile-plugin",
    "redoubt-qemu",
    "redoubt-suite",
    "xtask",
];

/// Runs the tests of every crate and adds them to `count`.
pub fn run(paths: &Paths, count: &mut Count) -> Result<()> {
    ui::heading("Tests on this machine");
    make_folder(&paths.logs())?;
    for package in PACKAGES {
        one(paths, package, count)?;
    }
    count.add(driver_model(paths));
    Ok(())
}

/// Builds and runs the driver's test of its interrupt controller model; says whether it passed.
fn driver_model(paths: &Paths) -> bool {
    let step = Step::quiet("interrupt controller model of the driver");
    let mut make = Command::new("make");
    make.arg("-C").arg(paths.root.join("guest-linux/driver/tests")).arg("check");
    make.arg(format!("OUT={}", paths.out.join("vgic_test").display()));
    make.env_remove("MAKEFLAGS");
    match shell::logged(&mut make, &paths.logs().join("unit-driver.log")) {
        Ok(()) => step.done(""),
        Err(error) => {
            step.failed("FAILED");
            println!("     {}", format!("{error:#}").replace('\n', "\n     "));
            return false;
        }
    }
    true
}

fn one(paths: &Paths, package: &str, count: &mut Count) -> Result<()> {
    let step = Step::quiet(package);
    let mut command = Command::new("cargo");
    command.current_dir(&paths.root);
    command.args(["test", "--package", package, "--no-fail-fast", "--color=never"]);
    command.arg("--all-features");
    let output = shell::run(&mut command)?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    let counted = counted(&text);
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let log = paths.logs().join(format!("unit-{package}.log"));
    fs::write(&log, &text).with_context(|| format!("cannot write {}", log.display()))?;
    count.passed += counted.passed;
    count.failed += counted.failed;
    let summary = format!("{} passed, {} failed", counted.passed, counted.failed);
    match (output.status.success(), counted.failed) {
        (true, 0) => step.done(&summary),
        (false, 1..) => {
            step.failed(&summary);
            failed(&text).iter().for_each(|name| println!("     FAILED {name}"));
            println!("     log: {}", log.display());
        }
        _ => {
            step.failed("cannot be built, or ended early");
            let lines: Vec<_> = text.lines().filter(|line| line.starts_with("error")).collect();
            bail!(
                "the tests of {package} did not run: {}\nlog: {}",
                lines.first().copied().unwrap_or("no reason given"),
                log.display()
            );
        }
    }
    Ok(())
}

/// Adds up the summaries in what `cargo test` prints.
fn counted(text: &str) -> Count {
    let mut count = Count::default();
    for line in text.lines().filter(|line| line.starts_with("test result: ")) {
        let number = |what: &str| -> u32 {
            let before = line.split(what).next().unwrap_or_default();
            before.rsplit(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_default()
        };
        count.passed += number("passed");
        count.failed += number("failed");
    }
    count
}

/// The names of the tests that failed.
fn failed(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .collect()
}

#[cfg(test)]
mod tests {
    //! Summaries as `cargo test` prints them.

    use super::{Count, counted, failed};

    const TEXT: &str = "\
running 3 tests
test a::b ... ok
test a::c ... FAILED
test result: FAILED. 31 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s
   Doc-tests x
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn adds_up_and_names_failures() {
        assert_eq!(counted(TEXT), Count { passed: 33, failed: 1 });
        assert_eq!(failed(TEXT), ["a::c"]);
        assert_eq!(counted(""), Count::default());
    }
}

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
    count.run("interrupt controller model of the driver", || driver_model(paths));
    Ok(())
}

/// Builds and runs the driver's test of its interrupt controller model.
fn driver_model(paths: &Paths) -> Result<()> {
    let mut make = Command::new("make");
    make.arg("-C").arg(paths.root.join("guest-linux/driver/tests")).arg("check");
    make.arg(format!("OUT={}", paths.out.join("vgic_test").display()));
    make.env_remove("MAKEFLAGS");
    shell::logged(&mut make, &paths.logs().join("unit-driver.log"))
}

fn one(paths: &Paths, package: &str, count: &mut Count) -> Result<()> {
    let step = Step::quiet(package);
    let mut command = Command::new("cargo");
    command.current_dir(&paths.root);
    command.args(["test", "--package", package, "--no-fail-fast", "--color=never"]);
    command.arg("--all-features");
    let output = shell::run(&mut command)?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (passed, failed) = counted(&text);
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let log = paths.logs().join(format!("unit-{package}.log"));
    fs::write(&log, &text).with_context(|| format!("cannot write {}", log.display()))?;
    let summary = format!("{passed} passed, {} failed", failed.len());
    match (output.status.success(), failed.as_slice()) {
        (true, []) => step.done(&summary),
        (false, [_, ..]) => {
            step.failed(&summary);
            failed.iter().for_each(|(name, _)| println!("     FAILED {name}"));
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
    count.passed += passed;
    count.failed.extend(failed.into_iter().map(|(name, why)| (format!("{package}: {name}"), why)));
    Ok(())
}

/// Reads what `cargo test` prints: how many passed, and which failed with what output.
fn counted(text: &str) -> (u32, Vec<(String, String)>) {
    let mut passed = 0;
    let mut failed = Vec::new();
    for line in text.lines() {
        if line.starts_with("test result: ") {
            let before = line.split("passed").next().unwrap_or_default();
            let number = before.rsplit(' ').nth(1).and_then(|word| word.parse().ok());
            passed += number.unwrap_or(0);
        } else if let Some(name) = failure(line) {
            failed.push((name.to_owned(), output(text, name)));
        }
    }
    (passed, failed)
}

/// The test that failed, as the line of its result says.
fn failure(line: &str) -> Option<&str> {
    let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
    Some(name.strip_suffix(" - should panic").unwrap_or(name))
}

/// What a test that failed printed.
fn output(text: &str, name: &str) -> String {
    let heading = format!("---- {name} stdout ----\n");
    let Some((_, rest)) = text.split_once(&heading) else { return "it printed nothing".into() };
    let ends = ["\n---- ", "\nfailures:\n"].map(|end| rest.find(end));
    let end = ends.into_iter().flatten().min().unwrap_or(rest.len());
    rest[..end].trim().to_owned()
}

#[cfg(test)]
mod tests {
    //! Output as `cargo test` prints it.

    use super::counted;

    const TEXT: &str = "\
running 3 tests
test a::b ... ok
test a::c ... FAILED
test a::d - should panic ... FAILED

failures:

---- a::c stdout ----

thread 'a::c' panicked at src/a.rs:1:2:
no
note: run with `RUST_BACKTRACE=1`

---- a::d stdout ----
quiet

failures:
    a::c
    a::d

test result: FAILED. 31 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s
---- another stdout ----
   Doc-tests x
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn adds_up_and_names_failures() {
        let (passed, failed) = counted(TEXT);
        assert_eq!(passed, 33);
        let failed: Vec<_> = failed.iter().map(|(name, why)| (&**name, &**why)).collect();
        let panicked =
            "thread 'a::c' panicked at src/a.rs:1:2:\nno\nnote: run with `RUST_BACKTRACE=1`";
        assert_eq!(failed, [("a::c", panicked), ("a::d", "quiet")]);
        assert_eq!(counted(""), (0, Vec::new()));
    }
}

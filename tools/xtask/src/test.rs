//! Runs the tests and counts them.
//!
//! Decides what is run and how it is shown; what is tested is in the crates and in
//! `redoubt-suite`. The last line is `N passed, N failed`, whatever happened before.

mod profile;
pub mod unit;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;
use redoubt_qemu::Qemu;
use redoubt_suite::{Context, Test};

use crate::build;
use crate::cli::TestArgs;
use crate::paths::Paths;
use crate::ui::{self, Step};

/// The suites that can be named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Tests of the crates, on this machine
    Unit,
    /// Boot, and the host as it always was, in QEMU
    Boot,
    /// What host and guests must not be able to do, in QEMU
    Isolation,
    /// What devices must not be able to do, in QEMU
    Dma,
    /// The attack profile: its plugin, its gate, its page, and peers
    Profile,
}

impl Suite {
    /// The suite of `redoubt-suite` behind it.
    fn in_qemu(self) -> Option<redoubt_suite::Suite> {
        match self {
            Suite::Unit | Suite::Profile => None,
            Suite::Boot => Some(redoubt_suite::Suite::Boot),
            Suite::Isolation => Some(redoubt_suite::Suite::Isolation),
            Suite::Dma => Some(redoubt_suite::Suite::Dma),
        }
    }
}

/// How many tests passed, and which failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that passed.
    pub passed: u32,
    /// Those that failed: the name and the reason of each.
    pub failed: Vec<(String, String)>,
}

impl Count {
    /// Counts one test.
    fn add(&mut self, name: &str, outcome: &Result<()>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(error) => self.failed.push((name.to_owned(), format!("{error:#}"))),
        }
    }

    /// Runs one test, says how it went and counts it.
    fn run(&mut self, name: &str, test: impl FnOnce() -> Result<()>) {
        let step = Step::quiet(name);
        let outcome = test();
        match &outcome {
            Ok(()) => step.done(""),
            Err(error) => {
                step.failed("FAILED");
                println!("     {}", indented(&format!("{error:#}")));
            }
        }
        self.add(name, &outcome);
    }

    /// What the user reads last: all failures once more, as a log may be cut short before its end, and
    /// the numbers.
    fn summary(&self) -> String {
        let mut text = String::new();
        for (name, reason) in &self.failed {
            text.push_str(&format!("  !! {name}\n     {}\n", indented(reason)));
        }
        if !text.is_empty() {
            text.insert_str(0, "Failed:\n");
        }
        text + &format!("{} passed, {} failed", self.passed, self.failed.len())
    }
}

/// A text of several lines, for where the first one is indented already.
fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n     ")
}

/// `cargo xtask test`.
pub fn command(args: &TestArgs) -> Result<ExitCode> {
    let tests = selected(args);
    if args.list {
        tests.iter().for_each(|test| println!("{}: {}", test.suite, test.name));
        return Ok(ExitCode::SUCCESS);
    }
    let mut count = Count::default();
    // An error here is a failure too: the count is printed all the same.
    let outcome = run(args, &tests, &mut count);
    if outcome.is_err() {
        count.add("the tests did not all run", &outcome);
    }
    println!("{}", count.summary());
    Ok(if count.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The QEMU tests that the arguments ask for.
fn selected(args: &TestArgs) -> Vec<Test> {
    let filter = args.filter.as_deref().unwrap_or_default();
    let mut tests = redoubt_suite::tests();
    tests.retain(|test| {
        args.suite.is_none_or(|suite| suite.in_qemu() == Some(test.suite))
            && test.name.contains(filter)
            && !(args.without_redoubt && test.needs_redoubt)
    });
    tests
}

fn run(args: &TestArgs, tests: &[Test], count: &mut Count) -> Result<()> {
    let paths = Paths::find()?;
    let filtered = args.filter.is_some() || args.without_redoubt;
    if matches!(args.suite, None | Some(Suite::Unit)) && !filtered {
        unit::run(&paths, count)?;
    }
    if matches!(args.suite, None | Some(Suite::Profile)) && !filtered {
        profile::run(&paths, count)?;
    }
    if matches!(args.suite, Some(Suite::Unit | Suite::Profile)) {
        return Ok(());
    }
    if tests.is_empty() {
        bail!("no QEMU test is called so: `cargo xtask test --list` prints their names");
    }
    let artifacts =
        if args.without_redoubt { build::stock_host(&paths)? } else { build::everything(&paths)? };
    let context = Context::new(artifacts, Qemu::find()?, !args.without_redoubt);
    let mut suite = None;
    for test in tests {
        if suite.replace(test.suite) != Some(test.suite) {
            ui::heading(&format!("Tests in QEMU: {}", test.suite));
        }
        one(test, &context, count);
    }
    Ok(())
}

/// Runs one test, says how it went and counts its results.
fn one(test: &Test, context: &Context, count: &mut Count) {
    let step = Step::quiet(&test.name);
    let cases = test.run(context);
    let log = context.take_last_log();
    let failed = cases.iter().filter(|case| case.outcome.is_err()).count();
    match (cases.len(), failed) {
        (1, 0) => step.done(""),
        (1, _) => step.failed("FAILED"),
        (all, 0) => step.done(&format!("{all} cases")),
        (all, _) => step.failed(&format!("{failed} of {all} cases FAILED")),
    }
    for case in &cases {
        count.add(&case.name, &case.outcome);
        if cases.len() > 1 {
            let mark = if case.outcome.is_ok() { "ok" } else { "!!" };
            println!("     {mark} {}", case.name);
        }
        if let Err(error) = &case.outcome {
            println!("        {}", format!("{error:#}").replace('\n', "\n        "));
        }
    }
    if let Some(log) = log.filter(|_| failed > 0) {
        println!("     log: {}", log.display());
    }
}

#[cfg(test)]
mod tests {
    //! The end of a run.

    use super::Count;
    use anyhow::anyhow;

    #[test]
    fn failures_are_told_again_with_their_reasons() {
        let mut count = Count::default();
        count.add("one", &Ok(()));
        assert_eq!(count.summary(), "1 passed, 0 failed");
        count.add("two", &Err(anyhow!("first line\nsecond line").context("why")));
        assert_eq!(
            count.summary(),
            "Failed:\n  !! two\n     why: first line\n     second line\n1 passed, 1 failed"
        );
    }
}

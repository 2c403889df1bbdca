//! The QEMU test suites of Redoubt.
//!
//! Decides which machines are started and what must hold on them. A [`Test`] is a name and a
//! function of a [`Context`]; what the functions share is a [`HostRun`]: one boot of one machine
//! that answers many questions, started by the first test that asks.
//!
//! To add a test of the host, add a check to a script of a [`HostRun`] and its name to the run's
//! list; for anything else write a function of the context and put it into [`tests`].
//!
//! Invariants: a test that does not find what it looks for fails, and so does one whose check was
//! never reached; no test depends on another having run.

mod artifacts;
mod boot;
mod context;
mod dma;
mod host;
mod isolation;

use std::fmt;

use anyhow::Result;

pub use artifacts::Artifacts;
pub use context::Context;
pub use host::{COMMAND_LINE, FATAL, HostRun, Report};

/// A group of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Boot, and the host as it always was.
    Boot,
    /// What the host and guests must not be able to do.
    Isolation,
    /// What devices must not be able to do, whoever drives them.
    Dma,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Suite::Boot => "boot",
            Suite::Isolation => "isolation",
            Suite::Dma => "dma",
        })
    }
}

/// A result with a name of its own, of a test that finds out while running what there is to test.
#[derive(Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// How it went.
    pub outcome: Result<()>,
}

/// What a test does that has one result.
type Single = Box<dyn Fn(&Context) -> Result<()>>;

/// What a test does.
enum Body {
    One(Single),
    Many(fn(&Context) -> Result<Vec<Case>>),
}

/// A test.
pub struct Test {
    /// The group it is in.
    pub suite: Suite,
    /// Its name, unique in its suite.
    pub name: String,
    /// Whether it makes sense on the stock kernel without Redoubt.
    pub needs_redoubt: bool,
    body: Body,
}

impl fmt::Debug for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.suite, self.name)
    }
}

impl Test {
    /// A test that needs Redoubt.
    pub fn new(
        suite: Suite,
        name: impl Into<String>,
        body: impl Fn(&Context) -> Result<()> + 'static,
    ) -> Test {
        let body = Body::One(Box::new(body));
        Test { suite, name: name.into(), needs_redoubt: true, body }
    }

    /// A test whose cases are known only once it has run.
    pub fn many(
        suite: Suite,
        name: impl Into<String>,
        body: fn(&Context) -> Result<Vec<Case>>,
    ) -> Test {
        Test { suite, name: name.into(), needs_redoubt: true, body: Body::Many(body) }
    }

    /// The same test, for the stock kernel alone as well: it shows that the test itself works.
    pub fn also_without_redoubt(mut self) -> Test {
        self.needs_redoubt = false;
        self
    }

    /// Runs the test and returns its results: at least one.
    pub fn run(&self, context: &Context) -> Vec<Case> {
        let alone = |outcome| vec![Case { name: self.name.clone(), outcome }];
        match &self.body {
            Body::One(body) => alone(body(context)),
            Body::Many(body) => match body(context) {
                Ok(cases) if !cases.is_empty() => cases,
                Ok(_) => alone(Err(anyhow::anyhow!("there was nothing to test"))),
                Err(error) => alone(Err(error)),
            },
        }
    }
}

/// All tests, in the order in which they are run.
pub fn tests() -> Vec<Test> {
    let mut tests = boot::tests();
    tests.extend(isolation::tests());
    tests.extend(dma::tests());
    tests
}

#[cfg(test)]
mod tests {
    //! The table itself.

    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let tests = super::tests();
        let names: BTreeSet<_> = tests.iter().map(|test| format!("{test:?}")).collect();
        assert_eq!(names.len(), tests.len());
        assert!(tests.iter().any(|test| !test.needs_redoubt));
    }
}

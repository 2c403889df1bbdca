//! What tests share: the products, QEMU, and the runs that were made already.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, bail};
use redoubt_qemu::{Launch, Machine, Qemu, Vm};

use crate::artifacts::Artifacts;
use crate::host::{HostRun, Report};

/// The report of a run that several tests look at; none if the run failed.
type Outcome = Option<Arc<Report>>;

/// What a test is given.
#[derive(Debug)]
pub struct Context {
    /// The products of the build.
    pub artifacts: Artifacts,
    qemu: Qemu,
    with_redoubt: bool,
    runs: Mutex<BTreeMap<&'static str, Outcome>>,
    last_log: Mutex<Option<PathBuf>>,
}

impl Context {
    /// Prepares to test the products; `with_redoubt` is false to start the stock kernel itself.
    pub fn new(artifacts: Artifacts, qemu: Qemu, with_redoubt: bool) -> Context {
        Context {
            artifacts,
            qemu,
            with_redoubt,
            runs: Mutex::default(),
            last_log: Mutex::default(),
        }
    }

    /// Whether Redoubt is under the host.
    pub fn with_redoubt(&self) -> bool {
        self.with_redoubt
    }

    /// What a machine is started from: Redoubt, or the stock kernel in its place.
    pub fn image(&self) -> Result<&Path> {
        if self.with_redoubt { self.artifacts.redoubt() } else { Ok(&self.artifacts.kernel) }
    }

    /// Starts a machine; its log bears `name`.
    pub fn start(&self, machine: &Machine, name: &str) -> Result<Vm> {
        let log = self.artifacts.logs.join(format!("{name}.log"));
        self.note_log(&log);
        Launch::new(&self.qemu, machine, &log).start()
    }

    /// The report of a run, which is made if no test has asked for it before.
    pub fn report(&self, run: &'static HostRun) -> Result<Arc<Report>> {
        self.report_of(run.name, |context| run.perform(context))
    }

    /// The report that `perform` makes under this name, if no test has asked for it before.
    pub fn report_of(
        &self,
        name: &'static str,
        perform: impl FnOnce(&Context) -> Result<Report>,
    ) -> Result<Arc<Report>> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        self.note_log(&self.artifacts.logs.join(format!("{name}.log")));
        match runs.get(name) {
            Some(Some(report)) => return Ok(report.clone()),
            // The test that made it has said why.
            Some(None) => bail!("the run `{name}` has failed, see above"),
            None => {}
        }
        let outcome = perform(self).map(Arc::new);
        runs.insert(name, outcome.as_ref().ok().cloned());
        outcome
    }

    /// The log of the machine that was last looked at, to be named where a test fails.
    pub fn take_last_log(&self) -> Option<PathBuf> {
        self.last_log.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note_log(&self, log: &Path) {
        *self.last_log.lock().unwrap_or_else(PoisonError::into_inner) = Some(log.to_owned());
    }
}

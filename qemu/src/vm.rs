//! A running machine.
//!
//! Decides how QEMU is started, watched and ended. Two threads copy what the machine says, and what
//! QEMU complains about, into its [`Console`] and its log file.
//!
//! Invariants: dropping a [`Vm`] kills and reaps QEMU and removes its socket; every wait has a time
//! limit; the log is complete up to the last byte that QEMU wrote.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::console::{Console, Found};
use crate::find::Qemu;
use crate::machine::{Machine, Serial};
use crate::qmp::Qmp;

/// Numbers the sockets of this process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// How long QEMU may take to open its QMP socket.
const QMP_START: Duration = Duration::from_secs(20);

/// How to start a machine.
#[derive(Debug)]
pub struct Launch<'a> {
    qemu: &'a Qemu,
    machine: &'a Machine,
    log: PathBuf,
}

impl<'a> Launch<'a> {
    /// Prepares to start `machine` with its console in the file `log`.
    pub fn new(qemu: &'a Qemu, machine: &'a Machine, log: &Path) -> Launch<'a> {
        Launch { qemu, machine, log: log.to_owned() }
    }

    /// Starts the machine with its serial port on a pipe.
    pub fn start(self) -> Result<Vm> {
        if self.machine.serial_port() != Serial::Pipe {
            bail!("a watched machine needs its serial port on a pipe");
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let socket =
            std::env::temp_dir().join(format!("redoubt-{}-{number}.qmp", std::process::id()));
        if let Some(folder) = self.log.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut log = File::create(&self.log)
            .with_context(|| format!("cannot write the log {}", self.log.display()))?;
        let mut command = self.qemu.command();
        command.args(self.machine.args());
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
        writeln!(log, "# {command:?}").context("cannot write the log")?;
        let mut errors_log = log.try_clone().context("cannot share the log")?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("QEMU cannot be started: `cargo xtask setup` installs it")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("QEMU has no output pipe")?;
        let stderr = child.stderr.take().context("QEMU has no error pipe")?;
        let console = Console::new();
        let (writer, errors) = (console.clone(), console.clone());
        let complaints = thread::spawn(move || copy(stderr, &errors, &mut errors_log));
        let reader = thread::spawn(move || {
            let result = copy(stdout, &writer, &mut log);
            // What QEMU itself complained about is part of what was said before the end.
            let complained = complaints.join().unwrap_or(Ok(()));
            writer.close();
            result.and(complained)
        });
        Ok(Vm { child, stdin, console, reader: Some(reader), socket, log: self.log, status: None })
    }

    /// Runs the machine on the user's terminal until it ends.
    pub fn run_on_terminal(self) -> Result<ExitStatus> {
        let mut command = self.qemu.command();
        command.args(self.machine.args());
        command.status().context("QEMU cannot be started: `cargo xtask setup` installs it")
    }
}

/// A running machine; it is killed when this is dropped.
#[derive(Debug)]
pub struct Vm {
    child: Child,
    stdin: Option<ChildStdin>,
    console: Console,
    reader: Option<JoinHandle<io::Result<()>>>,
    socket: PathBuf,
    log: PathBuf,
    status: Option<ExitStatus>,
}

impl Vm {
    /// The machine's console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// The log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until the machine says `pattern`.
    pub fn wait_for(&self, pattern: &str, timeout: Duration) -> Result<Found> {
        self.console.wait_for(pattern, timeout)
    }

    /// Types `text` on the machine's console.
    pub fn send(&mut self, text: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the machine's input is closed")?;
        stdin
            .write_all(text.as_bytes())
            .and_then(|()| stdin.flush())
            .context("cannot type on the machine's console: QEMU has ended")
    }

    /// Connects to QEMU's machine protocol. QEMU serves one connection at a time.
    pub fn qmp(&self) -> Result<Qmp> {
        Qmp::connect(&self.socket, QMP_START)
    }

    /// Waits until QEMU ends by itself.
    pub fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        if !self.console.wait_closed(timeout) {
            bail!("the machine did not end in {} s{}", timeout.as_secs(), self.console.tail());
        }
        // The output is closed, so QEMU is about to end: this wait is short.
        while self.status.is_none() {
            self.status = self.child.try_wait().context("cannot wait for QEMU")?;
            if self.status.is_none() && Instant::now() >= deadline + Duration::from_secs(5) {
                bail!("QEMU closed its output but does not end");
            }
            if self.status.is_none() {
                thread::sleep(Duration::from_millis(10));
            }
        }
        self.status.context("QEMU has no exit status")
    }

    /// Ends the machine at once and returns everything it said.
    pub fn kill(mut self) -> String {
        self.reap();
        self.console.text()
    }

    fn reap(&mut self) {
        if self.status.is_none() {
            // Both fail only where QEMU has ended already.
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let _ = fs::remove_file(&self.socket);
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.reap();
    }
}

/// Copies the machine's output to its console and its log until it ends.
fn copy(mut from: impl Read, console: &Console, log: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return log.flush(),
            Ok(length) => {
                console.push(&buffer[..length]);
                log.write_all(&buffer[..length])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;

//! A small client of QEMU's machine protocol (QMP).
//!
//! Decides nothing about the guest: it is how a test looks at memory from outside, where neither
//! the host nor the hypervisor can lie. Answers are matched to commands by their order; events that
//! come in between are kept for [`Qmp::wait_event`].
//!
//! Spec: QEMU docs/interop/qmp-spec.rst (one JSON object a line).

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// How long a command may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to a running QEMU.
#[derive(Debug)]
pub struct Qmp<S: Read + Write = UnixStream> {
    stream: BufReader<S>,
    events: Vec<Value>,
}

impl Qmp<UnixStream> {
    /// Connects to the socket at `path`, which QEMU may still be about to make.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Qmp> {
        let deadline = Instant::now() + timeout;
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() >= deadline => {
                    return Err(error).context("QEMU does not answer on its QMP socket");
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        stream.set_read_timeout(Some(TIMEOUT)).context("cannot set the QMP time limit")?;
        Qmp::greet(stream)
    }
}

impl<S: Read + Write> Qmp<S> {
    /// Takes QEMU's greeting from `stream` and enters command mode.
    pub fn greet(stream: S) -> Result<Qmp<S>> {
        let mut qmp = Qmp { stream: BufReader::new(stream), events: Vec::new() };
        let greeting = qmp.read()?;
        if greeting.get("QMP").is_none() {
            bail!("this is no QMP socket: it says {greeting}");
        }
        qmp.execute("qmp_capabilities", Value::Null)?;
        Ok(qmp)
    }

    /// Runs a command and returns what it returns.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let mut request = json!({ "execute": command });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let stream = self.stream.get_mut();
        writeln!(stream, "{request}")
            .and_then(|()| stream.flush())
            .with_context(|| format!("cannot send `{command}` to QEMU"))?;
        loop {
            let mut answer = self.read()?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                let why = error.get("desc").and_then(Value::as_str).unwrap_or("no reason given");
                bail!("QEMU refuses `{command}`: {why}");
            }
            if answer.get("event").is_some() {
                self.events.push(answer);
            }
        }
    }

    /// The state of the machine: "running", "shutdown", ...
    pub fn status(&mut self) -> Result<String> {
        let answer = self.execute("query-status", Value::Null)?;
        let status = answer.get("status").and_then(Value::as_str);
        Ok(status.context("QEMU's status has no name")?.to_owned())
    }

    /// Runs a command of the human monitor and returns its text.
    pub fn monitor(&mut self, command: &str) -> Result<String> {
        let arguments = json!({ "command-line": command });
        let answer = self.execute("human-monitor-command", arguments)?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    /// Reads `size` bytes of physical memory, through the file `scratch`.
    pub fn read_memory(&mut self, address: u64, size: u64, scratch: &Path) -> Result<Vec<u8>> {
        let arguments = json!({ "val": address, "size": size, "filename": scratch });
        self.execute("pmemsave", arguments)?;
        let bytes = fs::read(scratch)
            .with_context(|| format!("QEMU did not write {}", scratch.display()))?;
        fs::remove_file(scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
        if bytes.len() as u64 != size {
            bail!("QEMU saved {} bytes of memory, {size} were asked for", bytes.len());
        }
        Ok(bytes)
    }

    /// Stops all CPUs.
    pub fn stop(&mut self) -> Result<()> {
        self.execute("stop", Value::Null).map(drop)
    }

    /// Lets all CPUs run on.
    pub fn resume(&mut self) -> Result<()> {
        self.execute("cont", Value::Null).map(drop)
    }

    /// Resets the machine as its reset button would; memory keeps its contents.
    pub fn reset(&mut self) -> Result<()> {
        self.execute("system_reset", Value::Null).map(drop)
    }

    /// Ends QEMU.
    pub fn quit(&mut self) -> Result<()> {
        self.execute("quit", Value::Null).map(drop)
    }

    /// Waits for the event `name` and returns its data.
    pub fn wait_event(&mut self, name: &str) -> Result<Value> {
        let is = |event: &Value| event.get("event").and_then(Value::as_str) == Some(name);
        loop {
            if let Some(at) = self.events.iter().position(is) {
                return Ok(self.events.remove(at).get_mut("data").map_or(Value::Null, Value::take));
            }
            let event = self.read()?;
            self.events.push(event);
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        let length = self.stream.read_line(&mut line).context("QEMU does not answer on QMP")?;
        if length == 0 {
            bail!("QEMU closed its QMP socket");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU's answer is no JSON: {line}"))
    }
}

#[cfg(test)]
mod tests;

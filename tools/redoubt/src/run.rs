//! `redoubt run`: from the command line to the exit code.
//!
//! Decides the order of things: everything about the user's files is checked before anything is
//! asked of the kernel, and everything is open and in place before the sandbox closes and the guest
//! starts. The part that needs an arm64 machine is in [`crate::kvm`].

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::cli::RunArgs;
use crate::host::{self, MemoryVerdict};
use crate::image::{HEADER_BYTES, ImageHeader};
use crate::layout::Layout;

/// A file to load, and its length.
#[derive(Debug)]
pub struct Source {
    /// The open file, at its beginning.
    pub file: File,
    /// Its length.
    pub bytes: u64,
}

/// What a guest is made of, checked.
#[derive(Debug)]
pub struct Plan {
    /// The kernel.
    pub kernel: Source,
    /// The initrd.
    pub initrd: Option<Source>,
    /// Where they go.
    pub layout: Layout,
}

impl Plan {
    /// Opens and checks the files that the command line names.
    pub fn new(args: &RunArgs) -> Result<Self> {
        let mut kernel = Source::open("kernel", &args.kernel)?;
        let header = read_header(&mut kernel)
            .with_context(|| format!("cannot use kernel {}", args.kernel.display()))?;
        let initrd = args.initrd.as_deref().map(|path| Source::open("initrd", path)).transpose()?;
        let layout =
            Layout::place(args.memory, &header, initrd.as_ref().map(|source| source.bytes))?;
        Ok(Self { kernel, initrd, layout })
    }
}

impl Source {
    /// Opens a regular file that is not empty. (Anything else has no length to plan with, and a
    /// FIFO would not even open.)
    fn open(what: &str, path: &Path) -> Result<Self> {
        let describe = || format!("cannot open {what} {}", path.display());
        let metadata = std::fs::metadata(path).with_context(describe)?;
        if !metadata.is_file() {
            bail!("{}: it is not a regular file", describe());
        }
        let file = File::open(path).with_context(describe)?;
        let bytes = file.metadata().with_context(describe)?.len();
        if bytes == 0 {
            bail!("{}: it is empty", describe());
        }
        Ok(Self { file, bytes })
    }
}

/// Reads and validates the kernel's header, and goes back to the file's beginning.
fn read_header(kernel: &mut Source) -> Result<ImageHeader> {
    let mut start = Vec::with_capacity(HEADER_BYTES);
    (&kernel.file).take(HEADER_BYTES as u64).read_to_end(&mut start)?;
    kernel.file.rewind()?;
    Ok(ImageHeader::parse(&start, kernel.bytes)?)
}

/// Refuses a guest that this machine's memory cannot hold, warns of one that is tight.
fn check_host_memory(guest_bytes: u64) -> Result<()> {
    let memory = host::host_memory().context("cannot ask how much memory this machine has")?;
    match host::memory_verdict(guest_bytes, memory) {
        MemoryVerdict::Enough => {}
        MemoryVerdict::Tight(text) => eprintln!("redoubt: warning: {text}"),
        MemoryVerdict::Impossible(text) => bail!(text),
    }
    Ok(())
}

/// Runs `redoubt run`.
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let plan = Plan::new(args)?;
    check_host_memory(args.memory)?;
    boot(args, plan)
}

#[cfg(target_arch = "aarch64")]
fn boot(args: &RunArgs, plan: Plan) -> Result<ExitCode> {
    let outcome = crate::kvm::boot(args, plan)?;
    if let Some(message) = outcome.message() {
        eprintln!("redoubt: {message}");
    }
    Ok(ExitCode::from(outcome.exit_code()))
}

#[cfg(not(target_arch = "aarch64"))]
fn boot(_args: &RunArgs, _plan: Plan) -> Result<ExitCode> {
    bail!("virtual machines need an arm64 machine; this one is {}", std::env::consts::ARCH)
}

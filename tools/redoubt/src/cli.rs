//! The command line: what can be asked of `redoubt`, and the text of its help.
//!
//! Decides which arguments are acceptable by themselves (sizes, counts); whether a file or the host
//! fits them is decided where they are used. Invariant: a parsed [`RunArgs`] holds a memory size
//! that is a non-zero multiple of 2 MiB, and at least one CPU.

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::layout::{MAX_CPUS, SIZE_2_MIB};

/// What follows the list of options in `redoubt run --help`.
const RUN_AFTER_HELP: &str = "\
Console: the guest's serial port is this terminal. Ctrl-A x stops the guest, Ctrl-A h lists the \
other keys. Without a terminal, stdin is the guest's input as it is.

Exit codes: 0 the guest powered off; 1 redoubt failed, or the guest crashed; 2 wrong usage; 3 the \
guest asked for a reset; 4 stopped by Ctrl-A x; 128+N ended by signal N.

Examples:
  redoubt run --kernel Image --initrd initrd.img
  redoubt run --unprotected --kernel Image --initrd initrd.img --cpus 4 --memory 1G \\
      --cmdline 'console=ttyS0 quiet'";

/// Starts virtual machines on arm64, protected from their host where the hypervisor can do so.
///
/// redoubt is a small virtual machine monitor. It boots a Linux kernel in a virtual machine through
/// /dev/kvm and connects the guest's serial console to the terminal. One process runs one virtual
/// machine.
#[derive(Debug, Parser)]
#[command(name = "redoubt", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a virtual machine and stay with it until it ends
    Run(RunArgs),
    /// Report what this machine offers to virtual machines
    Check(CheckArgs),
}

/// The arguments of `redoubt run`.
#[derive(Debug, Args)]
#[command(after_help = RUN_AFTER_HELP)]
pub struct RunArgs {
    /// The guest's kernel: an uncompressed arm64 Linux Image
    #[arg(long, value_name = "FILE")]
    pub kernel: PathBuf,

    /// The guest's initial RAM file system
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,

    /// The guest kernel's command line
    #[arg(long, value_name = "TEXT", default_value = "console=ttyS0", value_parser = parse_cmdline)]
    pub cmdline: String,

    /// The number of virtual CPUs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_cpus)]
    pub cpus: u32,

    /// The guest's memory, a multiple of 2 MiB: a number of MiB, or with a suffix K, M or G
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = parse_memory)]
    pub memory: u64,

    /// Keep the guest's memory and registers from the host (the default); fails where the
    /// hypervisor cannot do that
    #[arg(long, conflicts_with = "unprotected")]
    pub protected: bool,

    /// Run an ordinary virtual machine, whose memory and registers the host can read
    #[arg(long)]
    pub unprotected: bool,

    /// Leave out the confinement of this process (seccomp, landlock, namespaces, capabilities)
    #[arg(long)]
    pub no_sandbox: bool,

    /// The KVM device to use
    #[arg(long, value_name = "PATH", default_value = "/dev/kvm")]
    pub device: PathBuf,

    /// Say on stderr what is done
    #[arg(long, short)]
    pub verbose: bool,
}

impl RunArgs {
    /// Tells whether the virtual machine is to be protected: it is, unless the user said otherwise.
    pub fn wants_protection(&self) -> bool {
        !self.unprotected
    }
}

/// The arguments of `redoubt check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The KVM device to look at
    #[arg(long, value_name = "PATH", default_value = "/dev/kvm")]
    pub device: PathBuf,
}

/// Parses a memory size: decimal digits, then nothing or `M` (MiB), `K` (KiB) or `G` (GiB).
pub fn parse_memory(text: &str) -> Result<u64, String> {
    let (digits, unit_bytes) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 1_u64 << 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1 << 20),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("expected a whole number, optionally followed by K, M or G".into());
    }
    let bytes = digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(unit_bytes))
        .ok_or("the size is too large")?;
    if bytes == 0 {
        return Err("a virtual machine needs some memory".into());
    }
    if bytes % SIZE_2_MIB != 0 {
        return Err("the size must be a multiple of 2 MiB".into());
    }
    Ok(bytes)
}

/// Parses a number of CPUs: at least one, at most what the memory map has room for.
pub fn parse_cpus(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(count) if (1..=MAX_CPUS).contains(&count) => Ok(count),
        _ => Err(format!("expected a number from 1 to {MAX_CPUS}")),
    }
}

/// The longest command line an arm64 kernel keeps, its terminator not counted (`COMMAND_LINE_SIZE`
/// is 2048 there). A longer one would be cut without a word.
pub const MAX_CMDLINE_BYTES: usize = 2047;

/// Parses a kernel command line: printable ASCII, no longer than the kernel accepts.
pub fn parse_cmdline(text: &str) -> Result<String, String> {
    if text.len() > MAX_CMDLINE_BYTES {
        return Err(format!("longer than the {MAX_CMDLINE_BYTES} bytes a kernel accepts"));
    }
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err("holds a character that is not printable ASCII".into());
    }
    Ok(text.to_owned())
}

//! The command line.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use redoubt_qemu::Cpu;

use crate::profile::systems::{System, Workload};
use crate::{bench, build, generate, lint, profile, run, setup, size, test};

/// Builds, runs and tests Redoubt, a hypervisor that keeps virtual machines safe from their host.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Installs and downloads all that the other commands need (they call it themselves)
    Setup {
        /// Look for newer versions of what was downloaded
        #[arg(long)]
        refresh: bool,
    },
    /// Builds the hypervisor image, the host's and the guest's user space and the test programs
    Build,
    /// Starts a machine with Redoubt and its host, and leaves you in the host's shell
    Run(RunArgs),
    /// Runs tests: all of them, or one suite
    Test(TestArgs),
    /// Checks format, lints, and that generated files are up to date
    Lint,
    /// Writes the driver's C header and docs/hypercalls.md from the crate redoubt-abi
    Generate,
    /// Measures the trusted base: lines, unsafe blocks, image size, panics, dependencies
    Size,
    /// Measures costs in instructions
    Bench(BenchArgs),
    /// Measures the attack profile: how much privileged code workloads traverse
    Profile(ProfileArgs),
}

/// What `run` takes.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Without a terminal: start a protected guest, attack it from the host, check that it is
    /// unharmed, power off
    #[arg(long)]
    pub headless: bool,
    /// Number of CPUs
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub cpus: u32,
    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(512..=65536))]
    pub memory: u32,
    /// CPU model: max, neoverse-v1, neoverse-n1, cortex-a76 or cortex-a72
    #[arg(long, value_name = "MODEL", default_value_t = Cpu::Max)]
    pub cpu: Cpu,
}

/// What `test` takes.
#[derive(Clone, Debug, Args)]
pub struct TestArgs {
    /// One suite instead of all
    #[arg(value_enum)]
    pub suite: Option<test::Suite>,
    /// Only QEMU tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Print the names of the QEMU tests instead of running them
    #[arg(long)]
    pub list: bool,
    /// Start the stock kernel itself instead of Redoubt: checks the tests, not the hypervisor
    #[arg(long)]
    pub without_redoubt: bool,
}

/// What `bench` takes.
#[derive(Clone, Copy, Debug, Args)]
pub struct BenchArgs {
    /// Compare with pKVM, KVM and Xen instead of measuring Redoubt in detail
    #[arg(long)]
    pub peers: bool,
}

/// What `profile` takes.
#[derive(Clone, Debug, Args)]
pub struct ProfileArgs {
    /// Only this system; can be given more than once
    #[arg(long, value_name = "SYSTEM", value_enum)]
    pub system: Vec<System>,
    /// Only this workload; can be given more than once
    #[arg(long, value_name = "WORKLOAD", value_enum)]
    pub workload: Vec<Workload>,
    /// Compare Redoubt's own profile with the recorded one, and fail where it has grown
    #[arg(long, conflicts_with_all = ["system", "workload", "record"])]
    pub check: bool,
    /// Write the summary and the record that are checked in (docs/attack-profile.*)
    #[arg(long, conflicts_with_all = ["system", "workload"])]
    pub record: bool,
}

impl Cli {
    /// Runs the command that was given.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Setup { refresh } => setup::command(refresh),
            Command::Build => build::command(),
            Command::Run(args) => run::command(&args),
            Command::Test(args) => test::command(&args),
            Command::Generate => generate::command(),
            Command::Lint => lint::command(),
            Command::Size => size::command(),
            Command::Bench(args) => bench::command(&args),
            Command::Profile(args) => profile::command(&args),
        }
    }
}

#[cfg(test)]
mod tests;

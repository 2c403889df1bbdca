//! The `redoubt` command: parses the command line, runs the command, turns its result into an
//! exit code.
//!
//! Decides nothing else; the library of this crate holds the logic. Invariant: every way out of
//! `main` has restored the terminal, because the guard that changed it lives inside the command.

use std::process::ExitCode;

use clap::Parser;
use redoubt::cli::{Cli, Command};
use redoubt::{check, run};

/// Prints an error as one line, causes appended, so that it can be found in a log.
fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("redoubt: error: {error:#}");
    ExitCode::from(redoubt::outcome::EXIT_FAILURE)
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args),
    };
    result.unwrap_or_else(|error| report(&error))
}

//! Set-up, build, run, test, lint, size and bench of Redoubt: `cargo xtask --help`.
//!
//! What this program decides: which tools are used and where results go. Every step says what it
//! does, does nothing when there is nothing to do, and ends with an error that says what to do.
//!
//! Invariants: nothing is written outside the target folder, `.cache/` and, by `setup` alone, the
//! system's packages; no step needs the network once `setup` has been through.

mod bench;
mod build;
mod cli;
mod demo;
mod elf;
mod generate;
mod lint;
mod paths;
mod profile;
mod road;
mod run;
mod setup;
mod shell;
mod size;
mod test;
mod ui;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! The command line is well formed, and refuses what no machine can be.

use clap::{CommandFactory, Parser};

use super::Cli;

#[test]
fn is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn takes_what_the_readme_shows() {
    for line in [
        "xtask setup",
        "xtask run --headless",
        "xtask run --cpus 8 --memory 8192 --cpu neoverse-n1",
        "xtask test boot --filter cpu",
        "xtask test",
    ] {
        Cli::try_parse_from(line.split(' ')).unwrap();
    }
}

#[test]
fn refuses_impossible_machines() {
    for line in [
        "xtask run --cpus 0",
        "xtask run --cpus 9",
        "xtask run --memory 511",
        "xtask run --cpu z80",
        "xtask test moon",
        "xtask",
    ] {
        assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
    }
}

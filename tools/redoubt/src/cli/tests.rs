//! Tests of the command line: what is accepted, what is refused, and the defaults.

use super::*;

fn parse(arguments: &[&str]) -> Result<RunArgs, clap::Error> {
    let line = ["redoubt", "run"].into_iter().chain(arguments.iter().copied());
    match Cli::try_parse_from(line)?.command {
        Command::Run(args) => Ok(args),
        Command::Check(_) => unreachable!("asked for run"),
    }
}

#[test]
fn definition_is_consistent() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}

#[test]
fn defaults_are_protected_one_cpu_512_mib() {
    let args = parse(&["--kernel", "Image"]).expect("valid");
    assert!(args.wants_protection());
    assert_eq!(args.cpus, 1);
    assert_eq!(args.memory, 512 << 20);
    assert_eq!(args.cmdline, "console=ttyS0");
    assert!(!args.no_sandbox);
}

#[test]
fn protection_can_be_stated_or_declined_but_not_both() {
    assert!(parse(&["--kernel", "I", "--protected"]).expect("valid").wants_protection());
    assert!(!parse(&["--kernel", "I", "--unprotected"]).expect("valid").wants_protection());
    let error = parse(&["--kernel", "I", "--protected", "--unprotected"]).expect_err("both");
    assert_eq!(error.kind(), clap::error::ErrorKind::ArgumentConflict);
    assert_eq!(error.exit_code(), i32::from(crate::outcome::EXIT_USAGE));
}

#[test]
fn kernel_is_required() {
    let error = parse(&[]).expect_err("no kernel");
    assert_eq!(error.kind(), clap::error::ErrorKind::MissingRequiredArgument);
}

#[test]
fn memory_sizes() {
    for (text, bytes) in [
        ("2", 2 << 20),
        ("512", 512 << 20),
        ("512M", 512 << 20),
        ("512m", 512 << 20),
        ("2048K", 2 << 20),
        ("1G", 1 << 30),
        ("3g", 3 << 30),
    ] {
        assert_eq!(parse_memory(text), Ok(bytes), "{text}");
    }
}

#[test]
fn memory_sizes_refused() {
    for (text, reason) in [
        ("", "whole number"),
        ("M", "whole number"),
        ("-2M", "whole number"),
        ("+2M", "whole number"),
        ("1.5G", "whole number"),
        ("2MiB", "whole number"),
        ("0x200M", "whole number"),
        ("0", "some memory"),
        ("0G", "some memory"),
        ("3", "multiple"),
        ("4K", "multiple"),
        ("18446744073709551616K", "too large"),
        ("99999999999999999G", "too large"),
    ] {
        let error = parse_memory(text).expect_err(text);
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn cpu_counts() {
    assert_eq!(parse_cpus("1"), Ok(1));
    assert_eq!(parse_cpus(&MAX_CPUS.to_string()), Ok(MAX_CPUS));
    for text in ["0", "", "-1", "two", &(MAX_CPUS + 1).to_string()] {
        assert!(parse_cpus(text).is_err(), "{text}");
    }
}

#[test]
fn command_lines() {
    assert_eq!(parse_cmdline("").as_deref(), Ok(""));
    let longest = "x".repeat(MAX_CMDLINE_BYTES);
    assert_eq!(parse_cmdline(&longest).as_deref(), Ok(longest.as_str()));
    assert!(parse_cmdline(&format!("{longest}x")).is_err());
    assert!(parse_cmdline("a\0b").is_err());
    assert!(parse_cmdline("a\nb").is_err());
    assert!(parse_cmdline("caf\u{e9}").is_err());
}

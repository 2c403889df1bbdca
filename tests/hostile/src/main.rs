//! The hostile host: attacks on EL2 by the kernel that it deprivileged, as a table of cases.
//!
//! Runs in the user space of the host Linux, on top of a test-only module that executes machine
//! code at EL1 (`kmod/`). The driver of Redoubt is not needed: VMs are made of raw hypercalls. After
//! every case the oracle checks that EL2, a canary VM and a second VM are whole.
//!
//! The numbers of cases are those of the attack catalogue in the threat model.

mod a64;
mod bench;
mod cases;
mod device;
mod hyper;
mod memory;
mod oracle;
mod vm;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use oracle::World;

/// A result whose error says, in a sentence, what does not hold.
type Check<T = ()> = Result<T, String>;

const USAGE: &str = "\
The hostile host: attack cases against Redoubt.

Usage: redoubt-hostile [OPTIONS] COMMAND

Commands:
  list             print the cases: name, catalogue number, what must hold
  run [CASE...]    run the cases named, or all; prints `CASE name ... ok|FAILED why` lines, a line
                   `N passed, N failed`, and exits with 1 if any failed
  bench            print `BENCH name value` lines: ticks of the counter for each operation
  sysregs          print every system register encoding that can be read here
  primitives       test the module alone, without Redoubt

Options:
  --ram-base ADDRESS   first physical address of the machine's RAM
  --ram-size BYTES     its size; both are needed to find the region of EL2
  --payloads FOLDER    where the payloads are (default: /payloads)
  --pause              print `CANARY PFN HASH` lines when done, and wait for `continue` on standard
                       input, so that the launcher can read these pages from outside
";

struct Arguments {
    ram_base: Option<u64>,
    ram_size: Option<u64>,
    payloads: PathBuf,
    pause: bool,
    words: Vec<String>,
}

fn number(text: &str) -> Check<u64> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| format!("{text}: {error}"))
}

fn arguments() -> Check<Arguments> {
    let mut arguments = Arguments {
        ram_base: None,
        ram_size: None,
        payloads: PathBuf::from("/payloads"),
        pause: false,
        words: Vec::new(),
    };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--ram-base" => arguments.ram_base = Some(number(&value()?)?),
            "--ram-size" => arguments.ram_size = Some(number(&value()?)?),
            "--payloads" => arguments.payloads = PathBuf::from(value()?),
            "--pause" => arguments.pause = true,
            "--help" | "-h" => arguments.words = vec!["help".into()],
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            _ => arguments.words.push(word),
        }
    }
    Ok(arguments)
}

/// Runs the cases and prints a line each; returns how many failed.
fn run(names: &[String], arguments: &Arguments) -> Check<usize> {
    let all = names.is_empty() || names.iter().any(|name| name == "all");
    for name in names.iter().filter(|name| *name != "all") {
        if !cases::all().any(|case| case.name == name) {
            return Err(format!("no case {name}; see `redoubt-hostile list`"));
        }
    }
    device::open()?;
    let ram = arguments.ram_base.zip(arguments.ram_size);
    let mut world = World::new(&arguments.payloads, ram)?;
    let (mut passed, mut failed) = (0_usize, 0_usize);
    for case in cases::all().filter(|case| all || names.iter().any(|name| name == case.name)) {
        let result = (case.run)(&mut world);
        let after = world.check().map_err(|why| format!("afterwards: {why}"));
        match result.and(after) {
            Ok(()) => {
                passed += 1;
                println!("CASE {} ... ok", case.name);
            }
            Err(why) => {
                failed += 1;
                println!("CASE {} ... FAILED {why}", case.name);
            }
        }
    }
    if arguments.pause {
        world.show_canaries()?;
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed)
}

fn execute() -> Check<bool> {
    let arguments = arguments()?;
    let (command, rest) = match arguments.words.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    match command {
        "list" => {
            for case in cases::all() {
                println!("{:<28} {:<10} {}", case.name, case.catalogue, case.holds);
            }
            Ok(true)
        }
        "run" => run(rest, &arguments).map(|failed| failed == 0),
        "bench" => device::open().and_then(|()| bench::run(&arguments.payloads)).map(|()| true),
        "sysregs" => device::open().and_then(|()| cases::registers::print()).map(|()| true),
        "primitives" => {
            device::open().and_then(|()| cases::primitives::run()).map(|failed| failed == 0)
        }
        "help" => {
            print!("{USAGE}");
            Ok(true)
        }
        unknown => Err(format!("unknown command {unknown}; see --help")),
    }
}

fn main() -> ExitCode {
    match execute() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("redoubt-hostile: {why}");
            ExitCode::from(2)
        }
    }
}

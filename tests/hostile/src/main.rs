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
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use oracle::{Canary, World};
use vm::Options;

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
  peek ADDRESS     print the 64-bit value at a physical address, read by the kernel; exits with 1 if
                   EL2 refuses the read
  hold             start a canary and show it
  reset            start a canary, show it, and reset the machine while it runs on another CPU
  sysregs          print every system register encoding that can be read here
  primitives       test the module alone, without Redoubt

To show a canary is to print `CANARY PFN HASH` (a page of its secret) and `CANARY-PAGES PFN COUNT`
lines, and to wait for `continue` on standard input: the launcher reads these pages from outside.

Options:
  --ram-base ADDRESS   first physical address of the machine's RAM
  --ram-size BYTES     its size; both are needed to find the region of EL2
  --payloads FOLDER    where the payloads are (default: /payloads)
  --pause              show the canary when done
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
        world.canary.show()?;
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed)
}

/// Reads physical memory as any code of the host's kernel could; says whether it was allowed to.
fn peek(words: &[String]) -> Check<bool> {
    let [address] = words else { return Err("peek takes one address; see --help".into()) };
    let address = number(address)?;
    if address % 8 != 0 {
        return Err(format!("{address:#x} is not a multiple of 8"));
    }
    device::open()?;
    let value = memory::read(address)?;
    match value {
        Some(value) => println!("{value:#018x}"),
        None => println!("EL2 answered the read with an external abort"),
    }
    Ok(value.is_some())
}

/// Keeps a canary, so that the machine can be reset under it.
fn hold(payloads: &Path) -> Check {
    let canary = Canary::start(payloads, Options { protected: true, vcpus: 1 })?;
    canary.show()?;
    canary.vm.finish()
}

/// Resets the machine while a canary runs on another CPU.
fn reset(payloads: &Path) -> Check {
    let canary = Canary::start(payloads, Options { protected: true, vcpus: 1 })?;
    canary.show()?;
    canary.vm.park(0);
    let reset = cases::firmware::system_reset();
    let running = [hyper::step(&canary.vm.run_call(0))];
    cases::firmware::go_down(reset, vec![running.to_vec()])?;
    Err("SYSTEM_RESET came back".into())
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
        "hold" => device::open().and_then(|()| hold(&arguments.payloads)).map(|()| true),
        "reset" => device::open().and_then(|()| reset(&arguments.payloads)).map(|()| true),
        "peek" => peek(rest),
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

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
mod its;
mod masters;
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
  list [GROUP]     print the cases that this machine can run: name, catalogue number, what must hold
  run [CASE...]    run the cases named, or all that this machine can run; prints `CASE name ... ok|FAILED why` lines,
                   a line `N passed, N failed`, and exits with 1 if any failed. Groups can be named, too: `gic`;
                   `dma`, which need an edu, an NVMe and an igb device and are not in `all`
  guard            print `GUARD reason culprit` (INFO of DMA_GUARD and DMA_CULPRIT), and how VM_CREATE
                   answers: `PROTECTED status` and `ORDINARY status`
  stray            have an edu device write where it may, and print whether that `LANDED`, the event
                   as `EVENT kind stream address`, and whether it was bus master
  bench            print `BENCH name value` lines: ticks of the counter for each operation
  bench-ordinary   the same, of what needs no protected VM
  throughput       the same for /dev/vda, /dev/nvme0n1 (whose contents are lost) and the network:
                   nanoseconds of the CPU for each request; needs no module and no Redoubt
  peek ADDRESS     print the 64-bit value at a physical address, read by the kernel; exits with 1 if
                   EL2 refuses the read
  hold [dma]       start a canary and show it; with `dma`, edu devices write to it all the time
  reset [dma]      start a canary, show it, and reset the machine while it runs on another CPU
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

/// Whether a word names a group of cases.
fn is_group(name: &&str) -> bool {
    matches!(*name, "dma" | "gic")
}

/// Runs the cases and prints a line each; returns how many failed.
fn run(names: &[String], arguments: &Arguments) -> Check<usize> {
    let all = names.is_empty() || names.iter().any(|name| name == "all");
    let groups: Vec<&str> = names.iter().map(String::as_str).filter(is_group).collect();
    for name in names.iter().filter(|name| *name != "all" && !is_group(&name.as_str())) {
        let mut known = cases::all().chain(cases::devices());
        let Some(case) = known.find(|case| case.name == name) else {
            return Err(format!("no case {name}; see `redoubt-hostile list`"));
        };
        if !case.needs.met() {
            return Err(format!("{name} needs {}", case.needs.text()));
        }
    }
    device::open()?;
    let ram = arguments.ram_base.zip(arguments.ram_size);
    let mut world = World::new(&arguments.payloads, ram)?;
    let (mut passed, mut failed) = (0_usize, 0_usize);
    let one = |name: &str| names.iter().any(|one| one == name);
    let chosen = |case: &cases::Case| one(case.name) || (all && !cases::is_device(case));
    let in_groups = |case: &cases::Case| groups.iter().any(|group| cases::is_in(case, group));
    let cases = cases::here().filter(|case| chosen(case) || in_groups(case));
    for case in cases {
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
        if let Ok(holes) = memory::hidden(world.ram) {
            holes.iter().for_each(|(start, end)| println!("HIDDEN {start:#x} {end:#x}"));
        }
        world.canary.show()?;
    }
    // Nobody else would: the kernel does not know of these VMs.
    for vm in [world.canary.vm, world.second.vm] {
        if let Err(why) = vm.finish() {
            eprintln!("a VM is left over: {why}");
        }
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
fn hold(payloads: &Path, under_fire: bool) -> Check {
    let canary = Canary::start(payloads, Options { protected: true, vcpus: 1 })?;
    if under_fire {
        cases::dma::fire_at(&canary)?;
    }
    canary.show()?;
    canary.vm.finish()
}

/// Resets the machine while a canary runs on another CPU.
fn reset(payloads: &Path, under_fire: bool) -> Check {
    let canary = Canary::start(payloads, Options { protected: true, vcpus: 1 })?;
    if under_fire {
        cases::dma::fire_at(&canary)?;
    }
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
    let under_fire = rest.iter().any(|word| word == "dma");
    match command {
        "list" => {
            let group = rest.first().map_or("all", String::as_str);
            for case in cases::here().filter(|case| cases::is_in(case, group)) {
                println!("{:<28} {:<10} {}", case.name, case.catalogue, case.holds);
            }
            Ok(true)
        }
        "run" => run(rest, &arguments).map(|failed| failed == 0),
        "bench" => device::open().and_then(|()| bench::run(&arguments.payloads)).map(|()| true),
        "bench-ordinary" => {
            device::open().and_then(|()| bench::ordinary(&arguments.payloads)).map(|()| true)
        }
        "throughput" => bench::throughput::run().map(|()| true),
        "guard" => device::open().and_then(|()| cases::dma::print_guard()).map(|()| true),
        "stray" => device::open().and_then(|()| cases::dma::print_stray()).map(|()| true),
        "hold" => {
            device::open().and_then(|()| hold(&arguments.payloads, under_fire)).map(|()| true)
        }
        "reset" => {
            device::open().and_then(|()| reset(&arguments.payloads, under_fire)).map(|()| true)
        }
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

//! Workloads of the attack profile: the parts of them that a shell cannot do.
//!
//! Runs in the user space of a host, or of a container on it. Decides what a workload does, down to
//! the byte: sizes, numbers and "random" choices are fixed, so that two runs are the same. What is
//! measured lies between two marks ([`mark`]), which the program makes itself where it prepares
//! something first.
//!
//! Every workload checks what it did and says so in one line, `DID name key=value ...`; a run without
//! that line, or with an exit status other than 0, did not do its job.

mod chaos;
mod converse;
mod disk;
mod fork;
mod hostcalls;
mod mark;
mod net;
mod random;

use std::env;
use std::fmt::Display;
use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// A result whose error says, in a sentence, what went wrong.
type Check<T = ()> = Result<T, String>;

const USAGE: &str = "\
Workloads of the attack profile.

Usage: redoubt-workload COMMAND

Commands:
  mark PHASE              begin phase 0 to 7 of the recording; 0 is what nobody wants to see
  idle SECONDS            sleep
  disk DEVICE FOLDER      raw I/O on a block device, whose contents are lost, and files in a folder
  net [GATEWAY]           TCP and UDP over loopback; UDP and ICMP to QEMU's user-mode gateway
  fork PROGRAM            processes that run PROGRAM, pipes, page faults
  chaos SEED CALLS        random system calls, made by processes that may die of them
  hostcalls SEED CALLS ADDRESS
                          random calls to pKVM by the host's kernel, through the module of the
                          hostile host; ADDRESS is where pKVM keeps its own memory
  converse READY LINES LAST COMMAND...
                          run a command on a terminal; once it has said READY, type LINES lines and
                          have each come back; then type LAST and wait for its end
";

/// Says that a system call failed.
fn failed(what: impl Display) -> impl FnOnce(io::Error) -> String {
    move |error| format!("{what}: {error}")
}

/// The error of the system call that was just made.
fn last_error(what: impl Display) -> String {
    failed(what)(io::Error::last_os_error())
}

fn number(text: &str) -> Check<u64> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

/// A number in hexadecimal, with or without `0x`.
fn address(text: &str) -> Check<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16)
        .map_err(|error| format!("{text}: {error}"))
}

/// Sleeps, and checks that it was neither too short nor much too long.
fn idle(seconds: u64) -> Check {
    let start = Instant::now();
    mark::phase(1)?;
    thread::sleep(Duration::from_secs(seconds));
    mark::phase(0)?;
    let slept = start.elapsed();
    if slept < Duration::from_secs(seconds) || slept > Duration::from_secs(seconds + 1) {
        return Err(format!("slept {slept:?} instead of {seconds} s"));
    }
    println!("DID idle milliseconds={}", slept.as_millis());
    Ok(())
}

fn execute(words: &[&str]) -> Check {
    match words {
        ["mark", phase] => mark::phase(number(phase)?),
        ["idle", seconds] => idle(number(seconds)?),
        ["disk", device, folder] => disk::run(device.as_ref(), folder.as_ref()),
        ["net"] => net::run(None),
        ["net", gateway] => {
            let gateway = gateway.parse().map_err(|error| format!("{gateway}: {error}"))?;
            net::run(Some(gateway))
        }
        ["fork", program] => fork::run(program),
        ["chaos", seed, calls] => chaos::run(number(seed)?, number(calls)?),
        ["hostcalls", seed, calls, hidden] => {
            hostcalls::run(number(seed)?, number(calls)?, address(hidden)?)
        }
        ["converse", ready, lines, last, command @ ..] if !command.is_empty() => {
            converse::run(ready, number(lines)?, last, command)
        }
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => Err(format!("`{}` is no command; see --help", words.join(" "))),
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match execute(&words.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("redoubt-workload: {why}");
            ExitCode::FAILURE
        }
    }
}

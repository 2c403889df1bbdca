//! Devices that work on QEMU's other threads, brought to the pace of the instructions.
//!
//! QEMU serves a disk or a network card on threads of its own, at the host's pace, so that the
//! instruction at which its interrupt comes differs from run to run. Here the vCPU waits, right
//! behind the store that tells a virtio device of new requests, until all other threads of QEMU
//! sleep again: then the requests are done, and their interrupt is pending before the next
//! instruction. The device takes no time at all, in every run.
//!
//! A thread that sleeps is woken before the one that wakes it goes to sleep, so while there is work
//! at least one of them is seen awake; several looks in a row make sure.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_micros(50);
/// Looks in a row that must find everything asleep.
const LOOKS: u32 = 4;
/// A host that is busy for longer than this is not waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whether an instruction is a store of 16 bits (STRH, immediate), which is how Linux notifies.
pub const fn notifies(opcode: u32) -> bool {
    opcode & 0xffc0_0000 == 0x7900_0000
}

/// Whether the region of memory of this name is where a virtio device is notified.
pub fn is_notification(region: &[u8]) -> bool {
    region.starts_with(b"virtio-pci-notify")
}

/// Whether every thread of this process but the calling one sleeps.
fn still(own: &str) -> std::io::Result<bool> {
    for entry in fs::read_dir("/proc/self/task")? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == own) {
            continue;
        }
        // A thread may end meanwhile.
        let Ok(stat) = fs::read_to_string(path.join("stat")) else { continue };
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.bytes().next());
        if state != Some(b'S') {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Waits until all other threads sleep.
pub fn settle() -> Result<(), String> {
    let own = fs::read_link("/proc/thread-self").map_err(|error| format!("/proc: {error}"))?;
    let own = own.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let start = Instant::now();
    let mut quiet = 0;
    while quiet < LOOKS {
        thread::sleep(PAUSE);
        let now = still(&own).map_err(|error| format!("/proc/self/task: {error}"))?;
        quiet = if now { quiet + 1 } else { 0 };
        if start.elapsed() > PATIENCE {
            return Err("QEMU's threads do not come to rest".into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

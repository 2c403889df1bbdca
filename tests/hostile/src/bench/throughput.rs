//! What requests to disks and to the network cost the host, whatever is underneath it.
//!
//! Counted is the time in which the CPU was not idle: under `-icount` that is an exact number of
//! instructions of Linux and of EL2 together, while the time that a request takes depends on the
//! machine that QEMU runs on. One request at a time, past the page cache.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::Instant;

use super::report;
use crate::Check;

/// Bytes in a request of a sequential and of a random pattern.
const LARGE: usize = 128 << 10;
const SMALL: usize = 4 << 10;
/// Requests of each pattern.
const REQUESTS: u64 = 300;
/// What of a disk is used.
const SPAN: u64 = 32 << 20;

#[repr(align(4096))]
struct Buffer([u8; LARGE]);

/// Nanoseconds that the CPU was idle so far.
fn idle() -> Check<u64> {
    let text = fs::read_to_string("/proc/timer_list")
        .map_err(|error| format!("/proc/timer_list: {error}"))?;
    let mut sum = None;
    for line in text.lines().filter(|line| line.trim_start().starts_with(".idle_sleeptime")) {
        let number = line.split(':').nth(1).and_then(|rest| rest.split_whitespace().next());
        let value: u64 = number.and_then(|text| text.parse().ok()).ok_or("idle_sleeptime")?;
        sum = Some(sum.unwrap_or(0) + value);
    }
    sum.ok_or_else(|| "/proc/timer_list has no idle_sleeptime".into())
}

/// Makes requests and reports the CPU's nanoseconds for the cheapest: a request during which the
/// kernel did something else as well does not count.
fn measure(name: &str, mut request: impl FnMut(u64) -> Check) -> Check {
    let mut best = u64::MAX;
    for number in 0..REQUESTS {
        let idle_before = idle()?;
        let start = Instant::now();
        request(number).map_err(|why| format!("{name}: {why}"))?;
        let elapsed = u64::try_from(start.elapsed().as_nanos()).map_err(|_| "too long")?;
        // The CPU is not idle while it is asked how long it was.
        best = best.min(elapsed.saturating_sub(idle()? - idle_before));
    }
    report(name, best);
    Ok(())
}

/// An offset for a random request, the same in every run.
const fn scattered(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (SPAN / SMALL as u64) * SMALL as u64
}

/// Measures a disk; its contents are lost.
fn disk(name: &str, path: &str) -> Check {
    let failed = |error: std::io::Error| format!("{path}: {error}");
    let file: File = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .map_err(failed)?;
    let mut buffer = Box::new(Buffer([0x5a; LARGE]));
    let sequential = |number: u64| number * LARGE as u64 % SPAN;
    measure(&format!("{name}_sequential_write"), |number| {
        file.write_all_at(&buffer.0, sequential(number)).map_err(failed)
    })?;
    measure(&format!("{name}_random_write"), |number| {
        file.write_all_at(&buffer.0[..SMALL], scattered(number)).map_err(failed)
    })?;
    measure(&format!("{name}_sequential_read"), |number| {
        file.read_exact_at(&mut buffer.0, sequential(number)).map_err(failed)
    })?;
    measure(&format!("{name}_random_read"), |number| {
        file.read_exact_at(&mut buffer.0[..SMALL], scattered(number)).map_err(failed)
    })?;
    match buffer.0[..SMALL].iter().all(|byte| *byte == 0x5a) {
        true => Ok(()),
        false => Err(format!("{path}: what was written is not what is read")),
    }
}

/// Measures echo requests to QEMU's own network and the answers: `SIZE` bytes there and back.
fn network() -> Check {
    const SIZE: usize = 1400;
    let failed = |what: &str| format!("ICMP: {what}: {}", std::io::Error::last_os_error());
    // SAFETY: a system call that takes three numbers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP) };
    if socket < 0 {
        return Err(failed("socket"));
    }
    // SAFETY: the descriptor was opened above and is nobody else's.
    let _owner = unsafe { OwnedFd::from_raw_fd(socket) };
    let patience = libc::timeval { tv_sec: 5, tv_usec: 0 };
    // SAFETY: the option takes a timeval, which is valid for its length.
    let result = unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const patience).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    };
    if result != 0 {
        return Err(failed("setsockopt"));
    }
    // SAFETY: all zeroes is a valid address structure.
    let mut to: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    to.sin_family = libc::AF_INET as libc::sa_family_t;
    to.sin_addr.s_addr = u32::from_ne_bytes([10, 0, 2, 2]);
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    measure("net_echo", |number| {
        let mut packet = [0_u8; SIZE];
        packet[0] = 8;
        packet[4..8].copy_from_slice(&(number as u32).to_be_bytes());
        let words =
            packet.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum: u32 = words.sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        // SAFETY: packet and address are valid for the lengths given.
        let sent = unsafe {
            libc::sendto(
                socket,
                packet.as_ptr().cast(),
                SIZE,
                0,
                (&raw const to).cast::<libc::sockaddr>(),
                length,
            )
        };
        if sent != SIZE as isize {
            return Err(failed("sendto"));
        }
        // The answer, behind an IP header; other messages are passed over.
        for _ in 0..16 {
            let mut answer = [0_u8; SIZE + 60];
            // SAFETY: the buffer is valid for its length.
            let got = unsafe { libc::recv(socket, answer.as_mut_ptr().cast(), answer.len(), 0) };
            if got < 0 {
                return Err(failed("recv"));
            }
            if got == SIZE as isize + 20 && answer[20] == 0 && answer[24..28] == packet[4..8] {
                return Ok(());
            }
        }
        Err("no answer".into())
    })
}

/// Prints all of it.
///
/// # Errors
/// When a device is missing or does not do its work.
pub fn run() -> Check {
    disk("virtio_blk", "/dev/vda")?;
    disk("nvme", "/dev/nvme0n1")?;
    network()
}

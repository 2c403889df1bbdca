//! Processes, pipes and page faults: what keeps a kernel's memory management busy.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::{Check, failed, last_error, mark};

/// Programs that are started.
const PROGRAMS: u64 = 24;
/// Processes that are forked without a program of their own.
const FORKS: u64 = 24;
/// Bytes that go through a pipe, and back.
const PIPE_BYTES: usize = 256 << 10;
/// Pages that are touched in one mapping, and how often one is made.
const PAGES: usize = 1024;
const MAPPINGS: u64 = 6;
const PAGE: usize = 4096;

/// Memory of this process alone, unmapped when dropped.
struct Mapping {
    address: *mut u8,
}

impl Mapping {
    fn new() -> Check<Mapping> {
        // SAFETY: a new anonymous mapping, wherever the kernel likes: it replaces nothing.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGES * PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(last_error("mmap"));
        }
        let mapping = Mapping { address: address.cast() };
        // Huge pages would take one fault instead of hundreds.
        // SAFETY: the range is the mapping just made.
        if unsafe { libc::madvise(address, PAGES * PAGE, libc::MADV_NOHUGEPAGE) } != 0 {
            return Err(last_error("madvise"));
        }
        Ok(mapping)
    }

    /// The first byte of a page.
    fn byte(&self, page: usize) -> *mut u8 {
        self.address.wrapping_add(page % PAGES * PAGE)
    }

    fn write(&self, page: usize, value: u8) {
        // SAFETY: `byte` stays inside the mapping, which is writable and nobody else's.
        unsafe { self.byte(page).write_volatile(value) }
    }

    fn read(&self, page: usize) -> u8 {
        // SAFETY: as in `write`.
        unsafe { self.byte(page).read_volatile() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's; no pointer to it is left.
        unsafe { libc::munmap(self.address.cast(), PAGES * PAGE) };
    }
}

/// Starts a program and waits for its end, again and again.
fn programs(program: &str) -> Check<u64> {
    for _ in 0..PROGRAMS {
        let status =
            Command::new(program).stdin(Stdio::null()).status().map_err(failed(program))?;
        if !status.success() {
            return Err(format!("{program} ended with {status}"));
        }
    }
    Ok(PROGRAMS)
}

/// Forks; the child writes to every page of the mapping, which parent and child share until then.
fn forks(mapping: &Mapping) -> Check<u64> {
    for round in 0..FORKS {
        // SAFETY: this process has one thread, so the child may do anything.
        let child = unsafe { libc::fork() };
        if child < 0 {
            return Err(last_error("fork"));
        }
        if child == 0 {
            (0..PAGES / 8).for_each(|page| mapping.write(page, 0xff));
            // SAFETY: ends the child without a destructor of the parent's.
            unsafe { libc::_exit(round as i32 + 1) };
        }
        let mut status = 0;
        // SAFETY: the pointer is to an integer of this function.
        if unsafe { libc::waitpid(child, &raw mut status, 0) } != child {
            return Err(last_error("waitpid"));
        }
        if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != round as i32 + 1 {
            return Err(format!("a child ended with status {status:#x}"));
        }
        if (0..PAGES / 8).any(|page| mapping.read(page) != 1) {
            return Err("a child wrote to its parent's memory".into());
        }
    }
    Ok(FORKS)
}

/// Sends bytes through a process that copies them.
fn pipes() -> Check<u64> {
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed("cat"))?;
    let mut to = child.stdin.take().ok_or("a pipe is missing")?;
    let mut from = child.stdout.take().ok_or("a pipe is missing")?;
    let sent = [0xa5; 4096];
    let mut copied = 0;
    let mut got = [0; 4096];
    while copied < PIPE_BYTES {
        to.write_all(&sent).map_err(failed("write to a pipe"))?;
        from.read_exact(&mut got).map_err(failed("read from a pipe"))?;
        if got != sent {
            return Err("a pipe changed what went through it".into());
        }
        copied += got.len();
    }
    drop(to);
    let status = child.wait().map_err(failed("wait"))?;
    if !status.success() {
        return Err(format!("cat ended with {status}"));
    }
    Ok(copied as u64)
}

/// Minor page faults of this process and of the children it waited for.
fn faults() -> Check<u64> {
    let stat = fs::read_to_string("/proc/self/stat").map_err(failed("/proc/self/stat"))?;
    // Behind the name, which may hold anything: state is field 3, minflt 10, cminflt 11.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let field = |number: usize| -> Check<u64> {
        let text = fields.get(number - 3).ok_or("/proc/self/stat is too short")?;
        text.parse().map_err(|error| format!("/proc/self/stat: {error}"))
    };
    Ok(field(10)? + field(11)?)
}

/// Runs the workload between two marks.
pub fn run(program: &str) -> Check {
    let before = faults()?;
    mark::phase(1)?;
    let programs = programs(program)?;
    let mut pages = 0;
    for _ in 0..MAPPINGS {
        let mapping = Mapping::new()?;
        (0..PAGES).for_each(|page| mapping.write(page, 1));
        pages += PAGES as u64;
    }
    let mapping = Mapping::new()?;
    (0..PAGES).for_each(|page| mapping.write(page, 1));
    pages += PAGES as u64;
    let forks = forks(&mapping)?;
    let piped = pipes()?;
    mark::phase(0)?;
    let faults = faults()? - before;
    if faults < pages {
        return Err(format!("{pages} pages were touched, but there were {faults} page faults"));
    }
    println!(
        "DID fork programs={programs} forks={forks} piped={piped} pages={pages} faults={faults}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    //! The whole of it, here.

    #[test]
    fn runs_on_any_linux() {
        super::run("true").unwrap();
        assert!(super::run("false").is_err());
    }
}

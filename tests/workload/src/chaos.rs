//! A hostile container: random system calls.
//!
//! A process of its own makes a few dozen calls and may die of them; then the next one goes on. Each
//! has little memory, small files and little time. The first process watches; it must be the first
//! of its PID namespace, where no process it started can signal it, and refuses to start anywhere
//! else: on an ordinary machine this would hit whatever is there.
//!
//! Arguments come from a pool of what a call might take: descriptors, addresses that are fine, wrong
//! or the kernel's, sizes, flags.

use std::time::{Duration, Instant};

use crate::random::Random;
use crate::{Check, failed, last_error, mark};

/// System calls have numbers below this in Linux 6.12 on arm64.
const NUMBERS: u64 = 463;
/// Calls of one process.
const CALLS: u64 = 40;
/// How long one process may take, in the machine's time.
const PATIENCE: Duration = Duration::from_millis(60);
/// Bytes of memory that calls may scribble over.
const SCRATCH: usize = 64 << 10;
/// Calls that do nothing but end a process early: exit, exit_group.
const ENDING: [u64; 2] = [93, 94];

/// What all processes count together, in memory that they share.
#[repr(C)]
struct Counters {
    made: u64,
    succeeded: u64,
    forbidden: u64,
}

/// Counters in a mapping of their own.
#[derive(Clone, Copy)]
struct Shared(*mut Counters);

impl Shared {
    fn new() -> Check<Shared> {
        // SAFETY: a new anonymous mapping, wherever the kernel likes: it replaces nothing.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Counters>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(last_error("mmap"));
        }
        Ok(Shared(address.cast()))
    }

    fn read(self) -> Counters {
        // SAFETY: the mapping is valid, zeroed and as large as the structure, which is plain data;
        // whoever else writes to it is another process, at worst making a number wrong.
        unsafe { self.0.read_volatile() }
    }

    fn write(self, counters: Counters) {
        // SAFETY: as in `read`.
        unsafe { self.0.write_volatile(counters) }
    }
}

/// Sets a limit of this process for good.
fn limit(resource: libc::__rlimit_resource_t, value: u64) {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the pointer is to a structure of this function.
    unsafe { libc::setrlimit(resource, &raw const limit) };
}

/// Descriptors for the calls: 0 to 2 are nothing, the next are one of each kind.
fn descriptors() {
    // SAFETY: the path is a string with its end; flags and mode are numbers.
    let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
    for descriptor in 0..3 {
        // SAFETY: takes numbers only; what this process says is not for the console.
        unsafe { libc::dup2(null, descriptor) };
    }
    let mut pair = [0; 2];
    // SAFETY: the pointer is to two integers of this function.
    unsafe { libc::pipe(pair.as_mut_ptr()) };
    // SAFETY: as above.
    unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr()) };
    // SAFETY: takes numbers only.
    unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0) };
    // SAFETY: takes a number only.
    unsafe { libc::epoll_create1(0) };
    // SAFETY: takes numbers only.
    unsafe { libc::eventfd(1, libc::EFD_NONBLOCK) };
    for path in [c"/tmp", c"/proc/self/status", c"/proc/self/fd", c"/dev/zero"] {
        // SAFETY: the path is a string with its end.
        unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) };
    }
    let flags = libc::O_RDWR | libc::O_CREAT;
    // SAFETY: the path is a string with its end; flags and mode are numbers.
    unsafe { libc::open(c"/tmp/chaos".as_ptr(), flags, 0o600) };
}

/// Makes up calls.
struct Calls {
    random: Random,
    scratch: u64,
}

impl Calls {
    /// An argument.
    fn argument(&mut self) -> u64 {
        let inside = self.scratch + self.random.below(SCRATCH as u64 / 2);
        match self.random.below(16) {
            0..=3 => self.random.below(16),
            4..=7 => inside & !15,
            8 => inside,
            9 => self.random.one_of(&[0, 1, 8, 64, 512, 4096, 65_536]),
            10 => 1 << self.random.below(64),
            11 => self.random.one_of(&[u64::MAX, 0x7fff_ffff, 0xffff_ff9c, 0x8000_0000]),
            12 => 0xffff_8000_8000_0000 + self.random.below(1 << 24),
            13 => self.random.next(),
            _ => 0,
        }
    }

    /// A number and its arguments.
    fn next(&mut self) -> [u64; 7] {
        let mut call = [0; 7];
        while call[0] == 0 || ENDING.contains(&call[0]) {
            call[0] = self.random.below(NUMBERS);
        }
        call[1..].fill_with(|| self.argument());
        call
    }
}

/// Fills the scratch memory with what structures might hold: numbers, pointers into it, a path.
fn prepare(scratch: &mut [u8], random: &mut Random) {
    let start = scratch.as_ptr() as u64;
    for (index, word) in scratch.chunks_exact_mut(8).enumerate() {
        let value = match random.below(4) {
            0 => start + random.below(SCRATCH as u64 / 8) * 8,
            1 => random.below(64),
            _ => 0,
        };
        word.copy_from_slice(&value.to_le_bytes());
        if index % 64 == 0 {
            word.copy_from_slice(b"/tmp/ab\0");
        }
    }
}

/// What a process does: calls, until it has made enough or one ends it.
fn attack(seed: u64, shared: Shared, scratch: &mut [u8]) -> ! {
    limit(libc::RLIMIT_AS, 256 << 20);
    limit(libc::RLIMIT_FSIZE, 1 << 20);
    limit(libc::RLIMIT_CPU, 1);
    limit(libc::RLIMIT_CORE, 0);
    descriptors();
    let mut random = Random::new(seed);
    prepare(scratch, &mut random);
    let mut calls = Calls { random, scratch: scratch.as_ptr() as u64 };
    for _ in 0..CALLS {
        let [number, a, b, c, d, e, f] = calls.next();
        let mut counters = shared.read();
        counters.made += 1;
        shared.write(counters);
        // SAFETY: it is not safe, and need not be: this process exists to see what comes of it, and
        // nobody relies on it.
        let result = unsafe { libc::syscall(number as libc::c_long, a, b, c, d, e, f) };
        let error = std::io::Error::last_os_error().raw_os_error();
        let cloned = [220, 435].contains(&number) && result == 0;
        if cloned {
            break;
        }
        let mut counters = shared.read();
        if result != -1 {
            counters.succeeded += 1;
        } else if error == Some(libc::EPERM) {
            counters.forbidden += 1;
        }
        shared.write(counters);
    }
    // SAFETY: ends this process without a destructor of the parent's.
    unsafe { libc::_exit(0) }
}

/// Waits for a process; one that takes too long is killed. Whatever it started goes with it.
fn reap(child: libc::pid_t) -> Check {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to an integer of this function.
        let ended = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
        if ended < 0 {
            return Err(last_error("waitpid"));
        }
        if ended == child {
            break;
        }
        if Instant::now() > deadline {
            // SAFETY: takes numbers only.
            unsafe { libc::kill(child, libc::SIGKILL) };
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // SAFETY: the first process of a namespace signals all others in it, and none outside.
    unsafe { libc::kill(-1, libc::SIGKILL) };
    // SAFETY: a null pointer asks for no status.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
    Ok(())
}

/// Makes `calls` system calls between two marks.
pub fn run(seed: u64, calls: u64) -> Check {
    if std::process::id() != 1 {
        return Err("this must be the first process of a container".into());
    }
    // No process in here may trace this one.
    // SAFETY: takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) } != 0 {
        return Err(last_error("prctl"));
    }
    std::fs::write("/tmp/ab", "").map_err(failed("/tmp/ab"))?;
    let shared = Shared::new()?;
    let mut scratch = vec![0; SCRATCH];
    let mut processes = 0;
    mark::phase(1)?;
    while shared.read().made < calls {
        // SAFETY: this process has one thread, so the child may do anything.
        let child = unsafe { libc::fork() };
        match child {
            ..0 => return Err(last_error("fork")),
            0 => attack(seed.wrapping_add(processes), shared, &mut scratch),
            _ => reap(child)?,
        }
        processes += 1;
        if processes > calls {
            return Err("the processes die before their first call".into());
        }
    }
    mark::phase(0)?;
    let Counters { made, succeeded, forbidden } = shared.read();
    if succeeded == 0 || forbidden == 0 {
        return Err(format!("of {made} calls {succeeded} succeeded, {forbidden} were forbidden"));
    }
    println!(
        "DID chaos calls={made} succeeded={succeeded} forbidden={forbidden} processes={processes}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    //! What is never called, and where this never runs.

    use super::{Calls, ENDING, NUMBERS, Random};

    #[test]
    fn calls_are_known_and_do_not_end_the_process() {
        let mut calls = Calls { random: Random::new(1), scratch: 0x1_0000 };
        for _ in 0..10_000 {
            let number = calls.next()[0];
            assert!(number < NUMBERS && !ENDING.contains(&number));
        }
    }

    #[test]
    fn refuses_to_run_outside_a_container() {
        assert!(super::run(1, 1).unwrap_err().contains("first process"));
    }
}

//! The main thread while a guest runs: it waits for whatever ends the run, and passes what the user
//! types to the guest.
//!
//! Decides which end is reported when several come together: the first that is seen. Trusts nothing
//! about stdin: it may be a terminal, a pipe, a file, or closed. Invariant: on a terminal the escape
//! keys work at all times, even if the guest takes no input; excess input is dropped then. From a
//! pipe or file nothing is dropped; it is read as fast as the guest takes it.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::console::{Console, Delivery};
use crate::escape::{self, EscapeFilter, Key};
use crate::outcome::Outcome;

/// Where threads report how the run ended; the first report counts.
#[derive(Debug)]
pub struct ExitSlot {
    outcome: Mutex<Option<Outcome>>,
    event: EventFd,
}

impl ExitSlot {
    /// Creates an empty slot.
    pub fn new() -> io::Result<Self> {
        Ok(Self { outcome: Mutex::new(None), event: EventFd::new(EFD_NONBLOCK)? })
    }

    /// Reports an end. Later reports are consequences of the first and are dropped.
    pub fn report(&self, outcome: Outcome) {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(outcome);
        // The counter cannot overflow before it is read; one write suffices anyway.
        let _ = self.event.write(1);
    }

    fn take(&self) -> Option<Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The signals that end a run, as events that can be waited for.
#[derive(Debug)]
pub struct EndSignals(OwnedFd);

impl EndSignals {
    /// Blocks SIGTERM, SIGINT, SIGHUP and SIGQUIT for this thread, and for those it will start, so
    /// that they can be waited for. A signal that was ignored at the start (as nohup does) remains
    /// ignored.
    pub fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the pointer is to writable memory of the structure's size.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: sigemptyset has initialised it.
        let mut set = unsafe { set.assume_init() };
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
            if !is_ignored(signal)? {
                // SAFETY: the pointer is to an initialised set, the number is a valid signal.
                unsafe { libc::sigaddset(&mut set, signal) };
            }
        }
        // SAFETY: the pointer is to an initialised set.
        let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
        if result != 0 {
            return Err(io::Error::from_raw_os_error(result));
        }
        // SAFETY: the pointer is to an initialised set.
        let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and has no other owner.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Returns the number of a signal that has arrived.
    fn take(&self) -> io::Result<Option<i32>> {
        let mut record = [0; size_of::<libc::signalfd_siginfo>()];
        match read_some(self.0.as_raw_fd(), &mut record)? {
            Read::Bytes(count) if count == record.len() => {
                let [a, b, c, d, ..] = record;
                Ok(Some(i32::from_ne_bytes([a, b, c, d])))
            }
            Read::Bytes(_) | Read::End | Read::NotNow => Ok(None),
        }
    }
}

/// What the user types, or what stdin is instead.
#[derive(Debug)]
pub struct Input {
    fd: RawFd,
    /// Present on a terminal only.
    escapes: Option<EscapeFilter>,
    open: bool,
    /// Read, but not taken by the guest yet.
    pending: VecDeque<u8>,
}

/// The most input kept for a guest that does not take it.
const PENDING_BYTES: usize = 4096;

impl Input {
    /// Takes input from `fd`, which stays open as long as the process. With `terminal`, escape keys
    /// are recognised.
    pub fn new(fd: RawFd, terminal: bool) -> Self {
        let escapes = terminal.then(EscapeFilter::default);
        Self { fd, escapes, open: true, pending: VecDeque::new() }
    }

    /// Tells whether more is to be read now. A terminal is always read, for the escape keys.
    fn wants_more(&self) -> bool {
        self.open && (self.escapes.is_some() || self.pending.is_empty())
    }

    /// Reads once; returns true if the user wants to quit.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 512];
        let count = match read_some(self.fd, &mut buffer) {
            Ok(Read::Bytes(count)) => count,
            Ok(Read::NotNow) => return false,
            // A terminal that hangs up gives an error: there will be no more input either.
            Ok(Read::End) | Err(_) => {
                self.open = false;
                return false;
            }
        };
        for &byte in &buffer[..count] {
            let key = self.escapes.as_mut().map_or(Key::Data(byte), |filter| filter.next(byte));
            match key {
                Key::Data(byte) if self.pending.len() < PENDING_BYTES => {
                    self.pending.push_back(byte);
                }
                Key::Data(_) | Key::Ignored => {}
                Key::Help => eprint!("{}", escape::HELP),
                Key::Quit => return true,
            }
        }
        false
    }

    fn offer(&mut self, console: &Console) -> io::Result<()> {
        let delivery =
            if self.escapes.is_some() { Delivery::AtOnce } else { Delivery::WhenListening };
        let count = console.push_input(self.pending.make_contiguous(), delivery)?;
        self.pending.drain(..count);
        Ok(())
    }
}

/// Waits for the end of the run.
pub fn supervise(
    signals: &EndSignals,
    slot: &ExitSlot,
    console: &Console,
    input: &mut Input,
) -> Outcome {
    match wait(signals, slot, console, input) {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Failed(format!("cannot watch over the guest: {error}")),
    }
}

fn wait(
    signals: &EndSignals,
    slot: &ExitSlot,
    console: &Console,
    input: &mut Input,
) -> io::Result<Outcome> {
    loop {
        let stdin = if input.wants_more() { input.fd } else { -1 };
        let room = console.input_room().as_raw_fd();
        let [ended, signal, readable, has_room] =
            poll([slot.event.as_raw_fd(), signals.0.as_raw_fd(), stdin, room])?;
        if ended && let Some(outcome) = slot.take() {
            return Ok(outcome);
        }
        if signal && let Some(number) = signals.take()? {
            return Ok(Outcome::Signal(number));
        }
        if has_room {
            // Only resets the event; that it may have been reset already is no error.
            let _ = console.input_room().read();
        }
        if readable && input.read() {
            return Ok(Outcome::UserQuit);
        }
        if !input.pending.is_empty() {
            input.offer(console)?;
        }
    }
}

/// Waits until at least one of the descriptors can be read (or is at its end); negative ones are
/// skipped.
fn poll<const N: usize>(fds: [RawFd; N]) -> io::Result<[bool; N]> {
    let mut entries = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    loop {
        // SAFETY: pointer and length are those of an array.
        let result = unsafe { libc::poll(entries.as_mut_ptr(), N as libc::nfds_t, -1) };
        if result >= 0 {
            return Ok(entries.map(|entry| entry.revents != 0));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// What a read gave.
enum Read {
    Bytes(usize),
    End,
    NotNow,
}

fn read_some(fd: RawFd, buffer: &mut [u8]) -> io::Result<Read> {
    // SAFETY: pointer and length are those of a writable slice.
    let count = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
    match usize::try_from(count) {
        Ok(0) => Ok(Read::End),
        Ok(count) => Ok(Read::Bytes(count)),
        Err(_) => {
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Ok(Read::NotNow),
                _ => Err(error),
            }
        }
    }
}

fn is_ignored(signal: i32) -> io::Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only asks; the other pointer is to writable memory.
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all-zero is valid, and the call has filled it.
    let action = unsafe { action.assume_init() };
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

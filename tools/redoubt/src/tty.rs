//! The user's terminal: raw while the guest has it, restored on every way out.
//!
//! The normal way is the drop of [`RawMode`]. For the abnormal ones, [`install_fatal_handlers`]
//! puts the terminal back from the handlers of the signals that kill the process, and
//! [`emergency_restore`] serves the panic hook. Only SIGKILL cannot be helped. Invariant: the saved
//! settings are written once, before the terminal is changed, and only read afterwards, so that a
//! signal handler may read them.

#[cfg(test)]
mod tests;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::OnceLock;

/// The terminal that was changed and its settings before that.
static SAVED: OnceLock<(RawFd, libc::termios)> = OnceLock::new();

/// A terminal in raw mode; dropping it restores the terminal.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Switches `fd` to raw mode. Returns `None` if it is no terminal, or one that belongs to
    /// another job at the moment; it is left alone then.
    ///
    /// Every key goes to the guest, signal keys included. Output processing stays off as well: the
    /// guest sends its own carriage returns.
    pub fn enter(fd: RawFd) -> io::Result<Option<Self>> {
        let Some(before) = settings(fd) else {
            return Ok(None);
        };
        if !is_foreground(fd) {
            return Ok(None);
        }
        let &(fd, before) = SAVED.get_or_init(|| (fd, before));
        let mut raw = before;
        // SAFETY: the pointer is to a valid structure.
        unsafe { libc::cfmakeraw(&mut raw) };
        apply(fd, &raw)?;
        Ok(Some(Self(())))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        emergency_restore();
    }
}

/// Puts the terminal back as it was, if it was changed. Safe to call from a signal handler, and
/// more than once.
pub fn emergency_restore() {
    if let Some((fd, before)) = SAVED.get() {
        // A terminal that is gone cannot be restored, and needs not.
        let _ = apply(*fd, before);
    }
}

/// Restores the terminal before the process dies of a fault, an abort or a system call that the
/// sandbox denies; and before a panic prints its message.
pub fn install_fatal_handlers() -> io::Result<()> {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        emergency_restore();
        previous(info);
    }));
    let faults = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];
    for signal in faults {
        handle(signal, on_fault)?;
    }
    handle(libc::SIGSYS, on_denied_syscall)
}

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// The default action follows: the handler is removed on entry, so the fault repeats without it.
extern "C" fn on_fault(signal: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    emergency_restore();
    match signal {
        libc::SIGBUS => write_stderr(
            b"redoubt: error: SIGBUS: memory of this process is no longer accessible\n",
        ),
        libc::SIGABRT => {}
        _ => write_stderr(b"redoubt: error: this process made a fault and dies\n"),
    }
}

extern "C" fn on_denied_syscall(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    emergency_restore();
    write_stderr(b"redoubt: error: the sandbox denied system call ");
    // SAFETY: the kernel passes a valid siginfo_t to a SA_SIGINFO handler.
    let number = unsafe { syscall_number(info) };
    write_stderr(decimal(number.unsigned_abs(), &mut [0; 10]));
    write_stderr(b"; run with --no-sandbox and report this\n");
    // SAFETY: _exit has no preconditions and may be called from a signal handler.
    unsafe { libc::_exit(i32::from(crate::outcome::EXIT_FAILURE)) };
}

/// Reads the system call number from a SIGSYS: after the common header of 16 bytes come the call's
/// address and then its number (Linux, asm-generic/siginfo.h).
///
/// # Safety
/// `info` must point to a siginfo_t that the kernel filled for a SIGSYS.
unsafe fn syscall_number(info: *const libc::siginfo_t) -> i32 {
    const OFFSET_BYTES: usize = 16 + size_of::<usize>();
    // SAFETY: siginfo_t is 128 bytes, so the offset stays inside it.
    let field = unsafe { info.cast::<u8>().add(OFFSET_BYTES) };
    // SAFETY: the field is an aligned i32 that the kernel filled.
    unsafe { field.cast::<i32>().read() }
}

/// Writes a number in decimal without allocating.
fn decimal(mut number: u32, buffer: &mut [u8; 10]) -> &[u8] {
    let mut start = buffer.len();
    loop {
        start -= 1;
        buffer[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &buffer[start..];
        }
    }
}

fn write_stderr(text: &[u8]) {
    // SAFETY: pointer and length are those of a slice; write may be called from a signal handler.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
}

fn handle(signal: libc::c_int, handler: Handler) -> io::Result<()> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all-zero is a valid sigaction: default action, no flags, empty mask.
    let action = unsafe { action.assume_init_mut() };
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_ONSTACK;
    // SAFETY: the pointer is to a valid structure; the handler only calls functions that may be
    // called from a signal handler.
    let result = unsafe { libc::sigaction(signal, action, std::ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The terminal's settings, if it is a terminal.
fn settings(fd: RawFd) -> Option<libc::termios> {
    let mut termios = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: the pointer is to writable memory of the structure's size.
    let result = unsafe { libc::tcgetattr(fd, termios.as_mut_ptr()) };
    // SAFETY: the call has filled the structure if it returned 0.
    (result == 0).then(|| unsafe { termios.assume_init() })
}

fn apply(fd: RawFd, settings: &libc::termios) -> io::Result<()> {
    // SAFETY: the pointer is to a valid structure.
    let result = unsafe { libc::tcsetattr(fd, libc::TCSANOW, settings) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A background job must not change its terminal, nor read from it. A terminal that does not
/// control this process (as an initramfs' console) has no jobs.
fn is_foreground(fd: RawFd) -> bool {
    // SAFETY: takes a number; a wrong one is an error.
    let group = unsafe { libc::tcgetpgrp(fd) };
    // SAFETY: has no preconditions.
    group < 0 || group == unsafe { libc::getpgrp() }
}

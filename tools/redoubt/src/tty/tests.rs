//! Tests of the terminal handling, on a pseudo-terminal of their own.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::*;

/// Opens a pseudo-terminal: its two ends.
fn pty() -> (OwnedFd, OwnedFd) {
    let (mut user, mut program) = (-1, -1);
    let (name, termios, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
    // SAFETY: the first two pointers are to writable integers, the others may be null.
    let result = unsafe { libc::openpty(&mut user, &mut program, name, termios, size) };
    assert_eq!(result, 0);
    // SAFETY: the descriptor was just made and has no other owner.
    let user = unsafe { OwnedFd::from_raw_fd(user) };
    // SAFETY: as above.
    (user, unsafe { OwnedFd::from_raw_fd(program) })
}

fn flags(fd: RawFd) -> (u32, u32, u32) {
    let termios = settings(fd).expect("a terminal");
    (termios.c_iflag, termios.c_oflag, termios.c_lflag)
}

#[test]
fn raw_mode_is_entered_and_undone() {
    let (_user, program) = pty();
    let fd = program.as_raw_fd();
    let before = flags(fd);
    assert_ne!(before.2 & (libc::ICANON | libc::ECHO | libc::ISIG), 0);
    let guard = RawMode::enter(fd).expect("works").expect("is a terminal");
    assert_eq!(flags(fd).2 & (libc::ICANON | libc::ECHO | libc::ISIG), 0);
    assert_eq!(flags(fd).1 & libc::OPOST, 0);
    drop(guard);
    assert_eq!(flags(fd), before);
    emergency_restore();
    assert_eq!(flags(fd), before);
}

#[test]
fn what_is_no_terminal_is_left_alone() {
    let file = std::fs::File::open("/dev/null").expect("open");
    assert!(RawMode::enter(file.as_raw_fd()).expect("no error").is_none());
    assert!(RawMode::enter(-1).expect("no error").is_none());
}

#[test]
fn numbers_without_allocation() {
    for number in [0, 9, 10, 56, 4_294_967_295] {
        assert_eq!(decimal(number, &mut [0; 10]), number.to_string().as_bytes());
    }
}

#[test]
fn syscall_number_is_where_the_kernel_puts_it() {
    let mut words = [0_u64; 16];
    words[3] = 0xdead_0000_0000_0038; // number 0x38 in the low half, architecture above it
    // SAFETY: 128 aligned bytes laid out as the kernel's structure on a 64-bit machine.
    let number = unsafe { syscall_number(words.as_ptr().cast()) };
    assert_eq!(number, 0x38);
}

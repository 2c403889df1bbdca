//! Tests of the main thread's loop, with pipes for stdin and signals sent to the test's own thread.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::*;
use crate::console::InterruptLine;
use crate::uart::RX_CAPACITY;

struct NoLine;

impl InterruptLine for NoLine {
    fn set(&self, _asserted: bool) -> io::Result<()> {
        Ok(())
    }
}

struct Bench {
    signals: EndSignals,
    slot: Arc<ExitSlot>,
    console: Arc<Console>,
    reader: PipeReader,
    writer: PipeWriter,
}

impl Bench {
    fn new() -> Self {
        let (reader, writer) = io::pipe().expect("pipe");
        Self {
            signals: EndSignals::block().expect("signals"),
            slot: Arc::new(ExitSlot::new().expect("slot")),
            console: Arc::new(Console::new(Box::new(NoLine)).expect("console")),
            reader,
            writer,
        }
    }

    fn supervise(&self, terminal: bool) -> Outcome {
        let mut input = Input::new(self.reader.as_raw_fd(), terminal);
        supervise(&self.signals, &self.slot, &self.console, &mut input)
    }
}

/// Takes `count` bytes as a guest would, waiting for them.
fn guest_takes(console: &Console, count: usize) -> Vec<u8> {
    let mut taken = Vec::new();
    console.guest_write(1, &[1]).expect("turns the receive interrupt on");
    while taken.len() < count {
        let (mut status, mut byte) = ([0], [0]);
        console.guest_read(5, &mut status).expect("status");
        if status[0] & 1 == 0 {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        console.guest_read(0, &mut byte).expect("data");
        taken.push(byte[0]);
    }
    taken
}

#[test]
fn the_first_report_counts() {
    let bench = Bench::new();
    bench.slot.report(Outcome::Reset);
    bench.slot.report(Outcome::PoweredOff);
    assert_eq!(bench.supervise(false), Outcome::Reset);
}

#[test]
fn signals_end_the_run() {
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // Whoever started the test may ignore it (nohup): then it would not end a run.
        // SAFETY: the default action needs no handler; the signal is blocked before it is sent.
        let before = unsafe { libc::signal(number, libc::SIG_DFL) };
        assert_ne!(before, libc::SIG_ERR);
        let bench = Bench::new();
        // SAFETY: has no preconditions.
        let thread = unsafe { libc::pthread_self() };
        // SAFETY: the thread exists, it is this one; it has blocked the signal.
        let result = unsafe { libc::pthread_kill(thread, number) };
        assert_eq!(result, 0);
        assert_eq!(bench.supervise(false), Outcome::Signal(number));
    }
}

#[test]
fn escape_quits_on_a_terminal_only() {
    let mut bench = Bench::new();
    bench.writer.write_all(b"abc\x01x").expect("write");
    assert_eq!(bench.supervise(true), Outcome::UserQuit);

    let mut bench = Bench::new();
    bench.writer.write_all(b"abc\x01x").expect("write");
    let guest = thread::spawn({
        let (console, slot) = (Arc::clone(&bench.console), Arc::clone(&bench.slot));
        move || {
            let taken = guest_takes(&console, 5);
            slot.report(Outcome::PoweredOff);
            taken
        }
    });
    assert_eq!(bench.supervise(false), Outcome::PoweredOff);
    assert_eq!(guest.join().expect("guest"), b"abc\x01x");
}

#[test]
fn escape_works_while_the_guest_takes_nothing() {
    let mut bench = Bench::new();
    bench.writer.write_all(&[b'y'; PENDING_BYTES + 2000]).expect("write");
    bench.writer.write_all(b"\x01x").expect("write");
    assert_eq!(bench.supervise(true), Outcome::UserQuit);
}

#[test]
fn input_from_a_pipe_is_complete_however_slow_the_guest() {
    let bench = Bench::new();
    let text: Vec<u8> = (0..RX_CAPACITY * 40).map(|index| index as u8).collect();
    let guest = thread::spawn({
        let (console, slot) = (Arc::clone(&bench.console), Arc::clone(&bench.slot));
        let count = text.len();
        move || {
            let taken = guest_takes(&console, count);
            slot.report(Outcome::PoweredOff);
            taken
        }
    });
    let mut writer = bench.writer.try_clone().expect("clone");
    let sent = text.clone();
    let user = thread::spawn(move || writer.write_all(&sent).expect("write"));
    assert_eq!(bench.supervise(false), Outcome::PoweredOff);
    user.join().expect("user");
    assert_eq!(guest.join().expect("guest"), text);
}

#[test]
fn the_end_of_input_is_not_the_end_of_the_run() {
    let bench = Bench::new();
    let null = File::open("/dev/null").expect("open");
    let slot = Arc::clone(&bench.slot);
    let guest = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        slot.report(Outcome::PoweredOff);
    });
    let mut input = Input::new(null.as_raw_fd(), false);
    let outcome = supervise(&bench.signals, &bench.slot, &bench.console, &mut input);
    assert_eq!(outcome, Outcome::PoweredOff);
    assert!(!input.open);
    guest.join().expect("guest");
}

#[test]
fn a_closed_stdin_is_like_an_empty_one() {
    let bench = Bench::new();
    bench.slot.report(Outcome::PoweredOff);
    // A number that no open descriptor has.
    let mut input = Input::new(1_000_000, false);
    assert!(!input.read());
    assert!(!input.open);
    let outcome = supervise(&bench.signals, &bench.slot, &bench.console, &mut input);
    assert_eq!(outcome, Outcome::PoweredOff);
}

//! Tests of the console with a recording interrupt line and real threads.

use std::sync::Arc;
use std::thread;

use super::*;
use crate::uart::{RX_CAPACITY, TX_CAPACITY};

const DATA: u64 = 0;
const IER: u64 = 1;
const FCR: u64 = 2;
const LSR: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<bool>>>);

impl Recorder {
    fn levels(&self) -> Vec<bool> {
        self.0.lock().expect("not poisoned").clone()
    }
}

impl InterruptLine for Recorder {
    fn set(&self, asserted: bool) -> io::Result<()> {
        self.0.lock().expect("not poisoned").push(asserted);
        Ok(())
    }
}

struct BrokenLine;

impl InterruptLine for BrokenLine {
    fn set(&self, _asserted: bool) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::EIO))
    }
}

fn console() -> (Arc<Console>, Recorder) {
    let recorder = Recorder::default();
    let console = Console::new(Box::new(recorder.clone())).expect("eventfd");
    (Arc::new(console), recorder)
}

#[test]
fn line_is_driven_on_changes_only() {
    let (console, line) = console();
    console.guest_write(IER, &[1]).expect("write");
    assert!(line.levels().is_empty());
    console.push_input(b"ab", Delivery::AtOnce).expect("input");
    console.push_input(b"c", Delivery::AtOnce).expect("input");
    assert_eq!(line.levels(), [true]);
    let mut byte = [0];
    for expected in b"abc" {
        console.guest_read(DATA, &mut byte).expect("read");
        assert_eq!(byte[0], *expected);
    }
    assert_eq!(line.levels(), [true, false]);
}

#[test]
fn a_line_that_fails_is_reported() {
    let console = Console::new(Box::new(BrokenLine)).expect("eventfd");
    console.push_input(b"x", Delivery::AtOnce).expect("not enabled, so the line stays as it is");
    assert!(console.guest_write(IER, &[1]).is_err());
}

#[test]
fn accesses_of_any_width_are_defined() {
    let (console, _line) = console();
    console.push_input(b"z", Delivery::AtOnce).expect("input");
    let mut wide = [0xff; 8];
    console.guest_read(DATA, &mut wide).expect("read");
    assert_eq!(wide, [b'z', 0, 0, 0, 0, 0, 0, 0]);
    console.guest_read(DATA, &mut []).expect("nothing");
    console.guest_write(DATA, &[]).expect("nothing");
    console.guest_write(DATA, b"abcd").expect("write");
    let mut chunk = Vec::new();
    assert!(console.next_output(&mut chunk).expect("output"));
    assert_eq!(chunk, b"a");
}

#[test]
fn refused_input_is_announced_once_there_is_room() {
    let (console, _line) = console();
    assert_eq!(
        console.push_input(&[1; RX_CAPACITY + 1], Delivery::AtOnce).expect("input"),
        RX_CAPACITY
    );
    assert!(console.input_room().read().is_err(), "no room yet");
    console.guest_read(DATA, &mut [0]).expect("read");
    assert_eq!(console.input_room().read().expect("announced"), 1);
    console.guest_read(DATA, &mut [0]).expect("read");
    assert!(console.input_room().read().is_err(), "announced once");
    assert_eq!(console.push_input(&[2], Delivery::AtOnce).expect("input"), 1);
}

#[test]
fn a_guest_that_outruns_stdout_waits_and_loses_nothing() {
    let (console, _line) = console();
    let total = TX_CAPACITY + 1000;
    let guest = thread::spawn({
        let console = Arc::clone(&console);
        move || {
            for index in 0..total {
                console.guest_write(DATA, &[index as u8]).expect("write");
            }
        }
    });
    let mut received = Vec::new();
    let mut chunk = Vec::new();
    while received.len() < total {
        assert!(console.next_output(&mut chunk).expect("output"));
        received.extend_from_slice(&chunk);
    }
    guest.join().expect("guest ends");
    assert!(received.iter().enumerate().all(|(index, &byte)| byte == index as u8));
}

#[test]
fn closing_releases_a_waiting_guest_and_the_writer() {
    let (console, _line) = console();
    let guest = thread::spawn({
        let console = Arc::clone(&console);
        move || {
            for _ in 0..=TX_CAPACITY {
                console.guest_write(DATA, b"x").expect("write");
            }
        }
    });
    let mut status = [0xff];
    while status[0] & 0x20 != 0 {
        thread::sleep(Duration::from_millis(1));
        console.guest_read(LSR, &mut status).expect("read");
    }
    assert!(!console.wait_drained(Duration::from_millis(20)), "nobody writes");
    console.close();
    guest.join().expect("the guest is released");
    let (mut chunk, mut count) = (Vec::new(), 0);
    while console.next_output(&mut chunk).expect("output") {
        count += chunk.len();
    }
    assert_eq!(count, TX_CAPACITY);
    assert!(console.wait_drained(Duration::ZERO));
}

#[test]
fn drained_means_written_not_taken() {
    let (console, _line) = console();
    console.guest_write(DATA, b"x").expect("write");
    let mut chunk = Vec::new();
    assert!(console.next_output(&mut chunk).expect("output"));
    assert!(!console.wait_drained(Duration::from_millis(20)), "the writer still holds it");
    let writer = thread::spawn({
        let console = Arc::clone(&console);
        move || console.next_output(&mut Vec::new()).expect("output")
    });
    assert!(console.wait_drained(PATIENCE));
    console.close();
    assert!(!writer.join().expect("writer ends"));
}

#[test]
fn prepared_input_waits_for_a_guest_that_listens() {
    let (console, line) = console();
    let offer = || console.push_input(b"hi", Delivery::WhenListening).expect("input");
    assert_eq!(offer(), 0);
    console.guest_write(FCR, &[0x07]).expect("a driver empties the receiver when it starts");
    console.guest_read(DATA, &mut [0]).expect("and reads once more");
    assert!(console.input_room().read().is_err(), "not yet");
    console.guest_write(IER, &[1]).expect("write");
    assert_eq!(console.input_room().read().expect("announced"), 1);
    assert_eq!(offer(), 2);
    assert_eq!(line.levels(), [true]);
    let mut byte = [0];
    console.guest_read(DATA, &mut byte).expect("read");
    assert_eq!(byte, *b"h");
}

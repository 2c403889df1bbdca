//! Waiting: order, failure texts, time limits, and text that comes in pieces.

use std::thread;
use std::time::Duration;

use super::Console;

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(20);

#[test]
fn finds_text_that_is_already_there_and_gives_its_line() {
    let console = Console::new();
    console.push(b"one\r\ntwo CPUs online\r\nthree\r\n");
    let found = console.wait_for("CPUs", SHORT).unwrap();
    assert_eq!(found.line, "two CPUs online");
}

#[test]
fn does_not_find_the_same_text_twice() {
    let console = Console::new();
    console.push(b"login: ");
    console.wait_for("login:", SHORT).unwrap();
    let error = console.wait_for("login:", SHORT).unwrap_err().to_string();
    assert!(error.contains("did not come"), "{error}");
    console.push(b"login: ");
    console.wait_for("login:", SHORT).unwrap();
}

#[test]
fn takes_the_earliest_of_several() {
    let console = Console::new();
    console.push(b"b then a");
    assert_eq!(console.wait_for_any(&["a", "b"], SHORT).unwrap().index, 1);
    assert_eq!(console.wait_for_any(&["a", "b"], SHORT).unwrap().index, 0);
}

#[test]
fn waits_for_text_that_comes_in_pieces() {
    let console = Console::new();
    let writer = console.clone();
    let thread = thread::spawn(move || {
        for piece in [&b"rea"[..], b"dy", b" 4\n"] {
            thread::sleep(SHORT);
            writer.push(piece);
        }
    });
    console.wait_for("ready 4", LONG).unwrap();
    thread.join().unwrap();
}

#[test]
fn a_failure_text_ends_the_wait_but_not_if_it_comes_later() {
    let console = Console::new();
    console.fail_on("Kernel panic");
    console.push(b"ok\nKernel panic - not syncing\n");
    console.wait_for("ok", SHORT).unwrap();
    let error = console.wait_for("never", LONG).unwrap_err().to_string();
    assert!(error.contains("the machine said \"Kernel panic\""), "{error}");
}

#[test]
fn the_end_of_the_machine_ends_the_wait() {
    let console = Console::new();
    console.push(b"last words\n");
    console.close();
    let error = console.wait_for("never", LONG).unwrap_err().to_string();
    assert!(error.contains("last words"), "{error}");
    assert!(console.wait_closed(SHORT));
    assert!(!Console::new().wait_closed(SHORT));
}

#[test]
fn follows_whole_lines_only() {
    let console = Console::new();
    console.push(b"1\r\n2\r\nend\npart");
    let mut seen = Vec::new();
    let end = console.follow(SHORT, |line| {
        seen.push(line.to_owned());
        (line == "end").then_some(seen.len())
    });
    assert_eq!(end.unwrap(), 3);
    assert!(console.follow(SHORT, |_| Some(())).is_err());
    console.push(b" two\n");
    assert_eq!(console.follow(SHORT, |line| Some(line.to_owned())).unwrap(), "part two");
}

#[test]
fn what_follows_the_last_line_stays_to_be_found() {
    let console = Console::new();
    console.push(b"one\ntwo\nthree\n");
    assert_eq!(console.follow(SHORT, |line| Some(line.to_owned())).unwrap(), "one");
    assert_eq!(console.wait_for("two", SHORT).unwrap().line, "two");
}

#[test]
fn bytes_that_are_no_text_are_replaced_and_split_characters_joined() {
    let console = Console::new();
    console.push(b"a\xffb");
    console.push(&"é".as_bytes()[..1]);
    assert_eq!(console.text(), "a\u{fffd}b");
    console.push(&"é".as_bytes()[1..]);
    assert_eq!(console.text(), "a\u{fffd}bé");
    console.push(b"\xc3");
    console.push(b"x");
    assert_eq!(console.text(), "a\u{fffd}bé\u{fffd}x");
}

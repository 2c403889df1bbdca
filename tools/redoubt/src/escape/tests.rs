//! Tests of the escape keys.

use super::*;

fn feed(bytes: &[u8]) -> Vec<Key> {
    let mut filter = EscapeFilter::default();
    bytes.iter().map(|&byte| filter.next(byte)).filter(|&key| key != Key::Ignored).collect()
}

#[test]
fn ordinary_bytes_pass() {
    let bytes: Vec<u8> = (0..=255).filter(|&byte| byte != ESCAPE).collect();
    assert_eq!(feed(&bytes), bytes.iter().map(|&byte| Key::Data(byte)).collect::<Vec<_>>());
}

#[test]
fn sequences() {
    assert_eq!(feed(b"\x01x"), [Key::Quit]);
    assert_eq!(feed(b"\x01X"), [Key::Quit]);
    assert_eq!(feed(b"\x01h"), [Key::Help]);
    assert_eq!(feed(b"\x01a"), [Key::Data(1)]);
    assert_eq!(feed(b"\x01\x01"), [Key::Data(1)]);
}

#[test]
fn x_alone_and_x_after_a_finished_sequence_are_data() {
    assert_eq!(feed(b"x"), [Key::Data(b'x')]);
    assert_eq!(feed(b"\x01\x01x"), [Key::Data(1), Key::Data(b'x')]);
    assert_eq!(feed(b"\x01zx"), [Key::Data(b'x')], "an unknown sequence is swallowed whole");
}

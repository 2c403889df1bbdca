//! The form of the file, byte by byte, and what happens when it cannot be written.

use std::io::{self, Write};

use super::{Entry, Phase, SEGMENTS_IN_A_LINE, Writer};
use crate::arm::{Level, Slot};
use crate::origin::Origin;
use crate::segment::Segment;

fn slot(number: u64) -> Slot {
    Slot::at(number * 0x80).expect("it is aligned")
}

fn segment(va: u64) -> Segment {
    Segment { level: Level::El2, va, pa: 0x4020_0000, opcodes: [0xd280_003f, 0x1].into() }
}

#[test]
fn a_recording_has_this_form() {
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, Level::El2, 4).expect("memory can be written");
    writer.phase(65535, &Phase::default()).expect("memory can be written");
    let entry = Entry { from: Level::El1, slot: slot(8), class: Some(22), origin: Origin::Host };
    let interrupt = Entry { from: Level::El0, slot: slot(9), class: None, origin: Origin::Guest };
    let phase = Phase {
        instructions: [1, 2, 3, 4],
        entries: vec![(entry, 5), (interrupt, 6)],
        executed: vec![(0, [1, 0, u64::MAX]), (7, [0, 2, 0])],
    };
    writer.phase(1, &phase).expect("memory can be written");
    let segments = [&segment(u64::MAX - 7), &segment(0)];
    writer.finish(&segments).expect("memory can be written");
    assert_eq!(
        String::from_utf8(file).expect("it is text"),
        concat!(
            "{\"recording\":1,\"privileged\":2,\"api\":4}\n",
            "{\"phase\":65535,\"instructions\":[0,0,0,0],\"entries\":[],\"executed\":[]}\n",
            "{\"phase\":1,\"instructions\":[1,2,3,4],\"entries\":[",
            "{\"from\":1,\"slot\":8,\"ec\":22,\"origin\":\"host\",\"count\":5},",
            "{\"from\":0,\"slot\":9,\"ec\":null,\"origin\":\"guest\",\"count\":6}",
            "],\"executed\":[[0,1,0,18446744073709551615],[7,0,2,0]]}\n",
            "{\"segments\":[[0,2,18446744073709551608,1075838976,\"d280003f00000001\"],",
            "[1,2,0,1075838976,\"d280003f00000001\"]]}\n",
            "{\"end\":true}\n",
        )
    );
}

#[test]
fn many_segments_take_several_lines_and_keep_their_numbers() {
    let mut file = Vec::new();
    let writer = Writer::new(&mut file, Level::El1, 4).expect("memory can be written");
    let segment = segment(0);
    writer.finish(&vec![&segment; SEGMENTS_IN_A_LINE + 1]).expect("memory can be written");
    let text = String::from_utf8(file).expect("it is text");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(lines[1].starts_with("{\"segments\":[[0,2,"));
    assert!(lines[1].contains(",[999,2,") && !lines[1].contains("[1000,"));
    assert_eq!(lines[2], "{\"segments\":[[1000,2,0,1075838976,\"d280003f00000001\"]]}");
}

/// A disk with little space left.
struct Small(usize);

impl Write for Small {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error_wherever_it_comes() {
    let write = |space| {
        let mut writer = Writer::new(Small(space), Level::El2, 4)?;
        writer.phase(1, &Phase::default())?;
        writer.finish(&[&segment(0)])
    };
    let enough = (0..1000).find(|space| write(*space).is_ok()).expect("it is a small recording");
    assert!(enough > 100);
    for space in 0..enough {
        let error = write(space).expect_err("it does not fit");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}

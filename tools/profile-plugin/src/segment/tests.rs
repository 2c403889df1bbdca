//! Where segments are cut, and what the table of them remembers.

use super::{Counts, Instruction, Segment, Table, is_cut};
use crate::arm::Level;
use crate::origin::Origin;

const ADD: u32 = 0x9100_0442;
const LDR: u32 = 0xb940_1823;
const MARK: u32 = 0xd280_003f;

fn at(va: u64, opcode: u32) -> Instruction {
    Instruction { va, pa: va, opcode }
}

fn segment(va: u64, opcodes: &[u32]) -> Segment {
    Segment { level: Level::El1, va, pa: va + 0x4000_0000, opcodes: opcodes.into() }
}

#[test]
fn segments_end_behind_what_may_stop() {
    assert!(!is_cut(&at(0x1000, ADD), &at(0x1004, ADD)));
    assert!(!is_cut(&at(0x1000, ADD), &at(0x1004, LDR)));
    assert!(is_cut(&at(0x1000, LDR), &at(0x1004, ADD)));
    assert!(is_cut(&at(0x1000, LDR), &at(0x1004, LDR)));
}

#[test]
fn segments_begin_with_marks() {
    assert!(is_cut(&at(0x1000, ADD), &at(0x1004, MARK)));
    assert!(is_cut(&at(0x1000, MARK), &at(0x1004, MARK)));
    assert!(!is_cut(&at(0x1000, MARK), &at(0x1004, ADD)));
}

#[test]
fn segments_lie_within_a_page() {
    assert!(is_cut(&at(0x1ffc, ADD), &at(0x2000, ADD)));
    assert!(!is_cut(&at(0x1ff8, ADD), &at(0x1ffc, ADD)));
    assert!(is_cut(&at(u64::MAX - 3, ADD), &at(0, ADD)));
}

#[test]
fn segments_have_no_gaps() {
    assert!(is_cut(&at(0x1000, ADD), &at(0x1008, ADD)));
}

#[test]
fn counts_are_by_origin_and_are_taken_once() {
    let counts = Counts::default();
    counts.count(Origin::Host as u8);
    counts.count(Origin::Host as u8);
    counts.count(Origin::Guest as u8);
    counts.count(Origin::Boot as u8);
    assert_eq!(counts.take(), [1, 2, 1]);
    assert_eq!(counts.take(), [0, 0, 0]);
}

#[test]
fn a_segment_is_the_same_when_it_is_translated_again() {
    let mut table = Table::default();
    let one = table.find(segment(0x1000, &[ADD, LDR]));
    let shorter = table.find(segment(0x1000, &[ADD]));
    let again = table.find(segment(0x1000, &[ADD, LDR]));
    assert!(std::ptr::eq(one, again));
    assert!(!std::ptr::eq(one, shorter));
    assert_eq!(table.segments(), [&segment(0x1000, &[ADD, LDR]), &segment(0x1000, &[ADD])]);
}

#[test]
fn segments_differ_in_level_place_and_instructions() {
    let mut table = Table::default();
    let first = segment(0x1000, &[ADD]);
    let others = [
        first.clone(),
        Segment { level: Level::El2, ..first.clone() },
        Segment { va: 0x2000, ..first.clone() },
        Segment { pa: 0x5000_0000, ..first.clone() },
        Segment { opcodes: [LDR].into(), ..first.clone() },
    ];
    others.iter().for_each(|other| table.find(other.clone()).count(Origin::Boot as u8));
    table.find(first).count(Origin::Guest as u8);
    let taken: Vec<_> =
        table.take().map(|(number, level, _, counts)| (number, level, counts)).collect();
    assert_eq!(
        taken,
        [
            (0, Level::El1, [1, 0, 1]),
            (1, Level::El2, [1, 0, 0]),
            (2, Level::El1, [1, 0, 0]),
            (3, Level::El1, [1, 0, 0]),
            (4, Level::El1, [1, 0, 0]),
        ]
    );
    assert_eq!(table.take().count(), 0);
}

#[test]
fn counters_of_many_segments_are_their_own() {
    let mut table = Table::default();
    let segments = 2 * Table::CHUNK + 3;
    let counts: Vec<_> =
        (0..segments).map(|number| table.find(segment(4 * number as u64, &[ADD]))).collect();
    for (number, counts) in counts.iter().enumerate().step_by(1000) {
        (0..=number).for_each(|_| counts.count(Origin::Host as u8));
    }
    let taken: Vec<_> = table.take().collect();
    let expected: Vec<_> = (0..segments)
        .step_by(1000)
        .map(|number| (number, Level::El1, 1, [0, number as u64 + 1, 0]))
        .collect();
    assert_eq!(taken, expected);
}

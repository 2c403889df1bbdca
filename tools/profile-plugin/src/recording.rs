//! The recording: JSON Lines, in the order in which things were learnt.
//!
//! Decides the form of the file. A first line with its version and the privileged level; a line for
//! each phase, which holds what ran from its mark on until the next one; lines with the segments
//! that the phases speak of; an `end`, without which the recording is not whole. Addresses are
//! numbers. Nothing in it depends on anything but what ran: no time, no host address, no order of a
//! hash table.

use std::io::{self, Write};

use crate::arm::{Level, Slot};
use crate::origin::Origin;
use crate::segment::Segment;

/// The version of the form.
const VERSION: u32 = 1;

/// Segments in a line: a reader can go line by line.
const SEGMENTS_IN_A_LINE: usize = 1000;

/// What an entry into the privileged level is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The level that was left.
    pub from: Level,
    /// The vector that was taken.
    pub slot: Slot,
    /// The exception class, for a synchronous exception.
    pub class: Option<u8>,
    /// Who entered.
    pub origin: Origin,
}

/// What ran in a phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phase {
    /// Instructions at each level.
    pub instructions: [u64; Level::COUNT],
    /// Entries, and how often.
    pub entries: Vec<(Entry, u64)>,
    /// Segments by number, with the counts of boot, host and guest.
    pub executed: Vec<(usize, [u64; Origin::COUNT])>,
}

/// Writes a recording.
#[derive(Debug)]
pub struct Writer<W>(W);

impl<W: Write> Writer<W> {
    /// Begins the recording.
    pub fn new(mut file: W, privileged: Level, api: u32) -> io::Result<Writer<W>> {
        let privileged = privileged.number();
        writeln!(file, r#"{{"recording":{VERSION},"privileged":{privileged},"api":{api}}}"#)?;
        Ok(Writer(file))
    }

    /// Writes a phase that is over.
    pub fn phase(&mut self, number: u16, phase: &Phase) -> io::Result<()> {
        let file = &mut self.0;
        let [el0, el1, el2, el3] = phase.instructions;
        write!(file, r#"{{"phase":{number},"instructions":[{el0},{el1},{el2},{el3}],"entries":["#)?;
        for (index, (entry, count)) in phase.entries.iter().enumerate() {
            let (from, slot) = (entry.from.number(), entry.slot.number());
            write!(file, r#"{}{{"from":{from},"slot":{slot},"ec":"#, comma(index))?;
            match entry.class {
                Some(class) => write!(file, "{class}")?,
                None => write!(file, "null")?,
            }
            write!(file, r#","origin":"{}","count":{count}}}"#, entry.origin.name())?;
        }
        write!(file, r#"],"executed":["#)?;
        for (index, (segment, [boot, host, guest])) in phase.executed.iter().enumerate() {
            write!(file, "{}[{segment},{boot},{host},{guest}]", comma(index))?;
        }
        writeln!(file, "]}}")
    }

    /// Writes the segments and ends the recording.
    pub fn finish(mut self, segments: &[&Segment]) -> io::Result<()> {
        let file = &mut self.0;
        let lines = segments.chunks(SEGMENTS_IN_A_LINE);
        for (first, line) in (0..).step_by(SEGMENTS_IN_A_LINE).zip(lines) {
            write!(file, r#"{{"segments":["#)?;
            for (index, segment) in line.iter().enumerate() {
                let Segment { level, va, pa, opcodes } = segment;
                let (number, level) = (first + index, level.number());
                write!(file, r#"{}[{number},{level},{va},{pa},""#, comma(index))?;
                opcodes.iter().try_for_each(|opcode| write!(file, "{opcode:08x}"))?;
                write!(file, r#""]"#)?;
            }
            writeln!(file, "]}}")?;
        }
        writeln!(file, r#"{{"end":true}}"#)?;
        file.flush()
    }
}

/// What stands before an element of a list.
fn comma(index: usize) -> &'static str {
    if index == 0 { "" } else { "," }
}

#[cfg(test)]
mod tests;

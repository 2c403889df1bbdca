//! Segments: runs of instructions that cannot stop in the middle.
//!
//! Decides where a translation block is cut, so that counting how often the first instruction of
//! each piece began counts every instruction exactly. An instruction that faults counts: it was
//! reached.
//!
//! Invariants: a segment is known by its level, its addresses and its opcodes, so that it is the
//! same one however often QEMU translates it; its number is the order of its first translation; it
//! lies within one page, so that its physical addresses follow each other as its virtual ones do;
//! its counters live as long as the process, because QEMU keeps pointers to them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::arm::{self, Level};
use crate::origin::Origin;

/// An instruction in a translation block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Its virtual address.
    pub va: u64,
    /// Its physical address.
    pub pa: u64,
    /// What it is.
    pub opcode: u32,
}

/// Whether a segment ends between two instructions that follow each other in a block.
///
/// A mark begins a segment, because it begins a phase.
pub fn is_cut(before: &Instruction, after: &Instruction) -> bool {
    const PAGE: u64 = 4096;
    arm::may_stop(before.opcode)
        || arm::mark(after.opcode).is_some()
        || after.va != before.va.wrapping_add(4)
        || after.va.is_multiple_of(PAGE)
}

/// How often a segment ran, by origin.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; Origin::COUNT]);

impl Counts {
    /// Counts one run on behalf of the origin of this number (`origin as u8`).
    ///
    /// Not one atomic addition, which would be several times slower: all vCPUs run on one thread.
    /// The minimum spares the hot path a panic that cannot be.
    #[inline(always)]
    pub fn count(&self, origin: u8) {
        let count = &self.0[usize::from(origin).min(Origin::COUNT - 1)];
        count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Takes the counts of boot, host and guest, and leaves zeros.
    fn take(&self) -> [u64; Origin::COUNT] {
        self.0.each_ref().map(|count| {
            let taken = count.load(Relaxed);
            if taken != 0 {
                count.store(0, Relaxed);
            }
            taken
        })
    }
}

/// What makes a segment the one it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// The level it runs at.
    pub level: Level,
    /// The virtual address of its first instruction.
    pub va: u64,
    /// The physical address of the same.
    pub pa: u64,
    /// Its instructions.
    pub opcodes: Box<[u32]>,
}

/// All segments that were ever translated.
#[derive(Debug, Default)]
pub struct Table {
    numbers: HashMap<Segment, usize>,
    /// The level and the length of each.
    shapes: Vec<(Level, u64)>,
    counts: Vec<&'static [Counts]>,
}

impl Table {
    /// Counters that are allocated at once, close together because they are used together.
    const CHUNK: usize = 4096;

    /// The counters of a segment, which is new or was seen before.
    pub fn find(&mut self, segment: Segment) -> &'static Counts {
        let next = self.shapes.len();
        let shape = (segment.level, segment.opcodes.len() as u64);
        let number = *self.numbers.entry(segment).or_insert(next);
        if number == next {
            self.shapes.push(shape);
            if number.is_multiple_of(Table::CHUNK) {
                let chunk = (0..Table::CHUNK).map(|_| Counts::default());
                self.counts.push(Box::leak(chunk.collect()));
            }
        }
        &self.counts[number / Table::CHUNK][number % Table::CHUNK]
    }

    /// Takes the counts of all segments that ran: number, level, length and counts.
    pub fn take(&self) -> impl Iterator<Item = (usize, Level, u64, [u64; Origin::COUNT])> {
        let counts = self.counts.iter().copied().flatten();
        self.shapes.iter().zip(counts).enumerate().filter_map(|(number, (shape, counts))| {
            let counts = counts.take();
            (counts != [0; Origin::COUNT]).then_some((number, shape.0, shape.1, counts))
        })
    }

    /// All segments, by number.
    pub fn segments(&self) -> Vec<&Segment> {
        let mut segments: Vec<_> = self.numbers.iter().collect();
        segments.sort_unstable_by_key(|(_, number)| **number);
        segments.into_iter().map(|(segment, _)| segment).collect()
    }
}

#[cfg(test)]
mod tests;

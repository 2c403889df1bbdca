//! What was seen, and when it is written: the plugin's state, without QEMU.
//!
//! Decides what a phase is: it begins with its mark, which is the first instruction that it counts,
//! and ends before the next mark or with the machine. Before the first mark the phase is
//! [`FROM_RESET`].

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::arguments::Arguments;
use crate::arm::{self, Level, Slot};
use crate::origin::{Origin, Rule};
use crate::recording::{Entry, Phase, Writer};
use crate::segment::{Counts, Instruction, Segment, Table, is_cut};

/// The phase before the first mark.
pub const FROM_RESET: u16 = 0xffff;

/// How a segment of a block is instrumented.
#[derive(Debug)]
pub struct Plan {
    /// The index of its first instruction in the block.
    pub first: usize,
    /// The phase that begins with it.
    pub mark: Option<u16>,
    /// What counts it.
    pub counts: &'static Counts,
}

/// Everything that was seen since the last mark, and the recording of what was before.
#[derive(Debug)]
pub struct Recorder<W> {
    writer: Writer<W>,
    whole: bool,
    rule: Rule,
    table: Table,
    phase: u16,
    entries: BTreeMap<Entry, u64>,
}

impl<W: Write> Recorder<W> {
    /// Begins a recording.
    pub fn new(arguments: &Arguments, file: W, api: u32) -> io::Result<Recorder<W>> {
        Ok(Recorder {
            writer: Writer::new(file, arguments.privileged, api)?,
            whole: arguments.segments,
            rule: Rule::new(arguments.tenant, arguments.host_stage2),
            table: Table::default(),
            phase: FROM_RESET,
            entries: BTreeMap::new(),
        })
    }

    /// Cuts a block into segments.
    pub fn block(&mut self, level: Level, block: &[Instruction]) -> Vec<Plan> {
        let mut first = 0;
        let segments = block.chunk_by(|before, after| !is_cut(before, after));
        segments
            .map(|segment| {
                let plan = Plan {
                    first,
                    mark: arm::mark(segment[0].opcode),
                    counts: self.table.find(self.segment(level, segment)),
                };
                first += segment.len();
                plan
            })
            .collect()
    }

    /// What a segment is known by. Without segments, those of a level and a length share a counter.
    fn segment(&self, level: Level, run: &[Instruction]) -> Segment {
        if self.whole {
            let opcodes = run.iter().map(|instruction| instruction.opcode).collect();
            Segment { level, va: run[0].va, pa: run[0].pa, opcodes }
        } else {
            Segment { level, va: 0, pa: 0, opcodes: vec![0; run.len()].into() }
        }
    }

    /// Counts an entry into the privileged level, with the registers' values; returns who made it,
    /// unless it was the privileged kernel itself.
    pub fn entry(
        &mut self,
        from: Level,
        slot: Slot,
        esr: u64,
        hcr: u64,
        vttbr: u64,
    ) -> Option<Origin> {
        let origin = self.rule.who(from, hcr, vttbr)?;
        let class = slot.is_synchronous().then(|| arm::exception_class(esr));
        *self.entries.entry(Entry { from, slot, class, origin }).or_default() += 1;
        Some(origin)
    }

    /// Ends the phase and begins another.
    pub fn mark(&mut self, next: u16) -> io::Result<()> {
        let mut phase = Phase {
            entries: std::mem::take(&mut self.entries).into_iter().collect(),
            ..Phase::default()
        };
        for (number, level, length, counts) in self.table.take() {
            let runs: u64 = counts.iter().sum();
            phase.instructions[usize::from(level.number())] += runs * length;
            if self.whole {
                phase.executed.push((number, counts));
            }
        }
        self.writer.phase(std::mem::replace(&mut self.phase, next), &phase)
    }

    /// Ends the recording.
    pub fn finish(mut self) -> io::Result<()> {
        self.mark(FROM_RESET)?;
        let segments = if self.whole { self.table.segments() } else { Vec::new() };
        self.writer.finish(&segments)
    }
}

#[cfg(test)]
mod tests;

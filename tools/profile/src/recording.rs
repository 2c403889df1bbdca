//! The recording: what the plugin in QEMU saw run, read back from its JSON Lines.
//!
//! Decides what is a whole recording. The first line states version, privileged level and plugin API;
//! then come phases and segments in any order of lines; the last line is `{"end":true}`. A file
//! without it was cut off (QEMU was killed, or the disk was full) and is refused, because its counts
//! would be too low without anybody noticing.
//!
//! Invariants of a [`Recording`]: every execution names a segment that exists, a segment's
//! instructions lie in one run of addresses, the executions of a phase add up to the phase's own
//! count of instructions at each level, and all counts together are in the range of a `u64`.
//!
//! Trusts nothing in the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::model::Origin;

#[cfg(test)]
mod tests;

/// The version of the file that is understood.
pub const VERSION: u32 = 1;

/// The phase before the first mark: what ran since the reset.
pub const FROM_RESET: u16 = 0xffff;

/// The phase in which nothing is measured.
pub const UNMEASURED: u16 = 0;

/// What one run of QEMU executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The exception level that was recorded as privileged.
    pub privileged: u8,
    /// The version of QEMU's plugin API that recorded.
    pub api: u32,
    /// What ran between marks, in the order in which it ran.
    pub phases: Vec<Phase>,
    /// The runs of instructions that were executed, in order of their first translation.
    pub segments: Vec<Segment>,
}

/// What ran from one mark to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// The mark that began it; a mark that comes again begins another phase of the same number.
    pub mark: u16,
    /// Instructions executed at EL0 to EL3.
    pub instructions: [u64; 4],
    /// Entries into the privileged level.
    pub entries: Vec<Entries>,
    /// Executions of segments; empty where the plugin was told to record totals alone.
    pub executed: Vec<Executed>,
}

/// Entries of one kind into the privileged level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entries {
    /// The level they came from.
    pub from: u8,
    /// The slot of the vector table, 0 to 15.
    pub slot: u8,
    /// ESR_ELx.EC, for synchronous exceptions.
    pub class: Option<u8>,
    /// On whose behalf.
    pub origin: Origin,
    /// How many.
    pub count: u64,
}

/// Executions of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Index in [`Recording::segments`].
    pub segment: usize,
    /// How often, on behalf of boot, host and guest.
    pub counts: [u64; 3],
}

/// A run of instructions that cannot stop in its middle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The exception level it ran at.
    pub level: u8,
    /// The virtual address of its first instruction.
    pub va: u64,
    /// The physical address of its first instruction.
    pub pa: u64,
    /// The instructions.
    pub opcodes: Box<[u32]>,
}

impl Recording {
    /// Reads a recording from a file.
    pub fn read(path: &Path) -> Result<Recording> {
        let file = File::open(path)
            .with_context(|| format!("cannot open the recording {}", path.display()))?;
        Recording::parse(BufReader::with_capacity(1 << 20, file))
            .with_context(|| format!("recording {}", path.display()))
    }

    /// Reads a recording from the lines of its file.
    pub fn parse(mut file: impl BufRead) -> Result<Recording> {
        let mut reader = Reader::default();
        let mut text = String::new();
        for number in 1.. {
            text.clear();
            let read = file.read_line(&mut text).with_context(|| format!("line {number}"))?;
            if read == 0 {
                break;
            }
            // A line that was cut off is no error of its form: say what happened.
            ensure!(text.ends_with('\n'), "{CUT_OFF} (line {number} is not whole)");
            ensure!(!reader.ended, "line {number}: there is more after the end");
            let line = serde_json::from_str(&text).with_context(|| format!("line {number}"))?;
            reader.line(line).with_context(|| format!("line {number}"))?;
        }
        reader.finish()
    }

    /// The phases that a mark began.
    pub fn phases_of(&self, mark: u16) -> impl Iterator<Item = &Phase> {
        self.phases.iter().filter(move |phase| phase.mark == mark)
    }
}

/// An instruction where it ran: level, virtual and physical address, opcode.
type Place = (u8, u64, u64, u32);

impl Recording {
    /// Fails unless the other recording saw the same: in each phase the same entries, and each
    /// instruction equally often on the same behalf.
    ///
    /// How the instructions are cut into segments and which ran first is QEMU's, whose blocks end where
    /// the host's clock interrupts them, too; it is not compared.
    ///
    /// # Errors
    /// The first difference: its phase, and the instruction.
    pub fn same_as(&self, other: &Recording) -> Result<()> {
        let marks = |recording: &Recording| -> Vec<u16> {
            recording.phases.iter().map(|phase| phase.mark).collect()
        };
        ensure!(marks(self) == marks(other), "the phases differ");
        for (index, (ours, theirs)) in self.phases.iter().zip(&other.phases).enumerate() {
            let mark = ours.mark;
            let phase = format!("phase {index} (mark {mark})");
            ensure!(
                ours.entries == theirs.entries,
                "{phase}: the entries differ: {:?}, then {:?}",
                ours.entries,
                theirs.entries
            );
            ensure!(
                ours.instructions == theirs.instructions,
                "{phase}: the instructions differ: {:?} at EL0 to EL3, then {:?}",
                ours.instructions,
                theirs.instructions
            );
            let (ours, theirs) = (self.counts(ours), other.counts(theirs));
            let mut pairs = ours.iter().zip(&theirs);
            if let Some((our, their)) = pairs.find(|(our, their)| our != their) {
                let (first, second) = (our.min(their), our.max(their));
                let ((level, va, _, opcode), counts) = first;
                bail!(
                    "{phase}: {opcode:08x} at {va:#x} ran {counts:?} times at EL{level} in one \
                     recording only; the next instruction that differs is at {:#x}",
                    second.0.1
                );
            }
            ensure!(ours.len() == theirs.len(), "{phase}: one recording saw more code");
        }
        Ok(())
    }

    /// How often each instruction ran in a phase, in the order of their places.
    fn counts(&self, phase: &Phase) -> Vec<(Place, [u64; 3])> {
        let mut counts: Vec<(Place, [u64; 3])> = Vec::new();
        for executed in &phase.executed {
            let Segment { level, va, pa, opcodes } = &self.segments[executed.segment];
            for (offset, &opcode) in (0_u64..).step_by(4).zip(opcodes) {
                counts.push(((*level, va + offset, pa + offset, opcode), executed.counts));
            }
        }
        counts.sort_unstable();
        // An instruction may be in several segments. The sums are at most the phase's own.
        counts.dedup_by(|(place, more), (kept, sum)| {
            let same = place == kept;
            if same {
                sum.iter_mut().zip(*more).for_each(|(sum, more)| *sum += more);
            }
            same
        });
        counts
    }
}

/// What is said of a file without an end.
const CUT_OFF: &str = "the recording was cut off before its end: QEMU did not exit by itself, or \
                       the disk was full; run the workload again";

/// Any line of the file: the fields that are there say which it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    recording: Option<u32>,
    privileged: Option<u8>,
    api: Option<u32>,
    phase: Option<u16>,
    instructions: Option<[u64; 4]>,
    entries: Option<Vec<RawEntries>>,
    executed: Option<Vec<RawExecuted>>,
    #[serde(borrow)]
    segments: Option<Vec<RawSegment<'a>>>,
    end: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntries {
    from: u8,
    slot: u8,
    ec: Option<u8>,
    origin: Origin,
    count: u64,
}

/// Number of the segment; counts of boot, host and guest.
type RawExecuted = (u64, u64, u64, u64);

/// Number, level, virtual and physical address, opcodes.
#[derive(Deserialize)]
struct RawSegment<'a>(u64, u8, u64, u64, &'a str);

/// What was read so far; the executions still by the segments' numbers.
#[derive(Default)]
struct Reader {
    head: Option<(u8, u32)>,
    phases: Vec<(Phase, Vec<RawExecuted>)>,
    segments: Vec<Segment>,
    numbers: HashMap<u64, usize>,
    ended: bool,
}

impl Reader {
    fn line(&mut self, line: Line) -> Result<()> {
        if self.head.is_none() {
            return self.head(line);
        }
        match line {
            Line {
                phase: Some(mark),
                instructions: Some(instructions),
                entries: Some(entries),
                executed: Some(executed),
                recording: None,
                privileged: None,
                api: None,
                segments: None,
                end: None,
            } => self.phase(mark, instructions, &entries, executed),
            Line {
                segments: Some(segments),
                recording: None,
                privileged: None,
                api: None,
                phase: None,
                instructions: None,
                entries: None,
                executed: None,
                end: None,
            } => segments.iter().try_for_each(|segment| self.segment(segment)),
            Line {
                end: Some(true),
                recording: None,
                privileged: None,
                api: None,
                phase: None,
                instructions: None,
                entries: None,
                executed: None,
                segments: None,
            } => {
                self.ended = true;
                Ok(())
            }
            _ => bail!("neither a phase, nor segments, nor the end"),
        }
    }

    fn head(&mut self, line: Line) -> Result<()> {
        let Some(version) = line.recording else {
            bail!("no recording: it does not begin with {{\"recording\":{VERSION},...}}");
        };
        ensure!(
            version == VERSION,
            "the recording has version {version}, and {VERSION} is understood: build plugin and \
             tool from the same commit"
        );
        let (Some(privileged), Some(api)) = (line.privileged, line.api) else {
            bail!("the privileged level or the plugin's API is missing");
        };
        ensure!(matches!(privileged, 1 | 2), "EL{privileged} cannot be the privileged level");
        self.head = Some((privileged, api));
        Ok(())
    }

    fn phase(
        &mut self,
        mark: u16,
        instructions: [u64; 4],
        entries: &[RawEntries],
        executed: Vec<RawExecuted>,
    ) -> Result<()> {
        let entries = entries
            .iter()
            .map(|raw| {
                let RawEntries { from, slot, ec, origin, count } = *raw;
                ensure!(from <= 3, "phase {mark}: an entry from EL{from}");
                ensure!(slot < 16, "phase {mark}: an entry by vector slot {slot} of 16");
                ensure!(
                    ec.is_some() == (slot % 4 == 0),
                    "phase {mark}: slot {slot} with exception class {ec:?}"
                );
                ensure!(ec.is_none_or(|ec| ec < 64), "phase {mark}: exception class {ec:?}");
                Ok(Entries { from, slot, class: ec, origin, count })
            })
            .collect::<Result<_>>()?;
        self.phases.push((Phase { mark, instructions, entries, executed: Vec::new() }, executed));
        Ok(())
    }

    fn segment(&mut self, raw: &RawSegment) -> Result<()> {
        let RawSegment(number, level, va, pa, text) = *raw;
        ensure!(level <= 3, "segment {number} ran at EL{level}");
        ensure!(va % 4 == 0 && pa % 4 == 0, "segment {number} is not aligned");
        ensure!(
            !text.is_empty() && text.len() % 8 == 0 && text.is_ascii(),
            "segment {number}: its opcodes are not a multiple of 8 digits"
        );
        let opcodes: Box<[u32]> = text
            .as_bytes()
            .chunks(8)
            .map(|digits| {
                digits.iter().try_fold(0, |word, &digit| {
                    let digit = char::from(digit).to_digit(16)?;
                    Some(word << 4 | digit)
                })
            })
            .collect::<Option<_>>()
            .with_context(|| format!("segment {number}: its opcodes are not hexadecimal"))?;
        let bytes = 4 * opcodes.len() as u64;
        ensure!(
            va.checked_add(bytes - 1).is_some() && pa.checked_add(bytes - 1).is_some(),
            "segment {number} goes beyond the last address"
        );
        let index = self.segments.len();
        ensure!(self.numbers.insert(number, index).is_none(), "segment {number} is there twice");
        self.segments.push(Segment { level, va, pa, opcodes });
        Ok(())
    }

    fn finish(self) -> Result<Recording> {
        let Some((privileged, api)) = self.head else {
            bail!("the recording is empty: QEMU ended before the plugin wrote anything");
        };
        ensure!(self.ended, CUT_OFF);
        let mut all = self.phases.iter().flat_map(|(phase, _)| {
            phase.instructions.into_iter().chain(phase.entries.iter().map(|entry| entry.count))
        });
        all.try_fold(0_u64, u64::checked_add).context("its counts together are out of range")?;
        let mut phases = Vec::with_capacity(self.phases.len());
        for (mut phase, raw) in self.phases {
            let mark = phase.mark;
            let mut sums = [0_u64; 4];
            phase.executed.reserve_exact(raw.len());
            for (number, boot, host, guest) in raw {
                let segment = *self.numbers.get(&number).with_context(|| {
                    format!("phase {mark} executed segment {number}, which is nowhere")
                })?;
                let Segment { level, ref opcodes, .. } = self.segments[segment];
                let counts = [boot, host, guest];
                let sum = &mut sums[usize::from(level)];
                *sum = counts
                    .iter()
                    .try_fold(0_u64, |all, &count| all.checked_add(count))
                    .and_then(|count| count.checked_mul(opcodes.len() as u64))
                    .and_then(|count| sum.checked_add(count))
                    .with_context(|| format!("phase {mark}: the counts of {number} overflow"))?;
                phase.executed.push(Executed { segment, counts });
            }
            // Without segments there are totals alone.
            ensure!(
                phase.executed.is_empty() || sums == phase.instructions,
                "phase {mark} counts {:?} instructions at EL0 to EL3, but its segments add up to \
                 {sums:?}",
                phase.instructions
            );
            phases.push(phase);
        }
        Ok(Recording { privileged, api, phases, segments: self.segments })
    }
}

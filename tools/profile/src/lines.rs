//! From addresses to source lines and functions, and how many of them an image has.
//!
//! Decides what a line and a function are. A *line* is a distinct pair of file and line number that
//! covers at least one instruction: the line of the instruction itself, and those of the calls that
//! the compiler inlined around it, which were executed as well. Without these, the more a compiler
//! inlines, the less source would seem to run. Where the file has no debug information (assembly, or an image
//! with nothing but a symbol table) every instruction is a line of its own, called by its symbol and
//! offset, except the padding between functions. A *function* is a distinct pair of file and name;
//! at an address it is the innermost inlined one and all those it is inlined into. Code that debug
//! information names no function for has that of the symbol table.
//!
//! What is traversed is part of what is counted as static size, because both come from the same
//! tables.
//!
//! Trusts nothing in the file; DWARF that cannot be read is an error.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, anyhow, bail};
use gimli::{Dwarf, EndianSlice, LittleEndian};
use serde::{Deserialize, Serialize};

use crate::elf::Elf;
use unit::{NONE, Node, Reader, UnitLines};

#[cfg(test)]
mod tests;
mod unit;

/// The file of functions that only the symbol table knows.
pub const SYMBOL_TABLE: &str = "(symbol table)";

/// The lines and functions of an ELF file.
#[derive(Debug)]
pub struct Lines {
    files: Vec<String>,
    /// File and line number, sorted.
    lines: Vec<(u32, u32)>,
    /// Addresses with an index of `lines`, or [`NONE`] for code of no line; sorted, apart.
    rows: Vec<(Range<u64>, u32)>,
    /// File and name.
    functions: Vec<(u32, String)>,
    /// Instances of functions.
    nodes: Vec<Instance>,
    /// Addresses with the innermost node there; sorted, apart.
    spans: Vec<(Range<u64>, u32)>,
}

/// What an instruction is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Line {
    /// A line of the source, by its number among the file's lines.
    Source(u32),
    /// The instruction itself, by its link address.
    Instruction(u64),
}

/// What an instruction is executed for: a function, and the line in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The function, if it has a name.
    pub function: Option<u32>,
    /// The line: the instruction's own, or that of the call that is inlined.
    pub line: Option<Line>,
}

/// An instance of a function.
#[derive(Clone, Copy, Debug)]
struct Instance {
    function: u32,
    /// The instance that it is inlined into, or [`NONE`].
    parent: u32,
    /// An index of lines: that of the call that it is inlined for, or [`NONE`].
    call: u32,
}

/// How much code there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Distinct functions.
    pub functions: u64,
    /// Distinct lines.
    pub lines: u64,
    /// Bytes of code.
    pub bytes: u64,
}

impl Lines {
    /// Reads the lines of a file. `root` is cut off the names of source files.
    pub fn read(elf: &Elf, root: Option<&str>) -> Result<Lines> {
        let mut lines = Lines::merge(read_units(elf, root)?);
        lines.add_symbols(elf);
        if lines.spans.is_empty() {
            bail!(
                "{} has neither debug information nor symbols: it was stripped",
                elf.path().display()
            );
        }
        Ok(lines)
    }

    /// Whether any code has source lines.
    pub fn has_source(&self) -> bool {
        !self.rows.is_empty()
    }

    /// What the instruction at an address is executed for, the innermost function first.
    pub fn frames_at(&self, elf: &Elf, address: u64) -> impl Iterator<Item = Frame> {
        let innermost = find(&self.spans, address).unwrap_or(NONE);
        let mut next = Some((innermost, self.line_at(elf, address)));
        let frames = std::iter::from_fn(move || {
            let (node, line) = next.take()?;
            let instance = self.nodes.get(node as usize);
            next = instance.filter(|instance| instance.parent != NONE).map(|instance| {
                (instance.parent, (instance.call != NONE).then_some(Line::Source(instance.call)))
            });
            Some(Frame { function: instance.map(|instance| instance.function), line })
        });
        // Outside of all code there is neither.
        frames.filter(|frame| frame.function.is_some() || frame.line.is_some())
    }

    /// The line of the instruction at an address; nothing for code that belongs to no line.
    pub fn line_at(&self, elf: &Elf, address: u64) -> Option<Line> {
        match find(&self.rows, address) {
            Some(NONE) => None,
            Some(line) => Some(Line::Source(line)),
            None => elf.is_instruction(address).then_some(Line::Instruction(address)),
        }
    }

    /// File and number of a source line.
    pub fn source(&self, line: u32) -> (&str, u32) {
        let (file, number) = self.lines[line as usize];
        (&self.files[file as usize], number)
    }

    /// File and name of a function.
    pub fn function(&self, function: u32) -> (&str, &str) {
        let (file, name) = &self.functions[function as usize];
        (&self.files[*file as usize], name)
    }

    /// How much code there is in some link addresses.
    pub fn size(&self, elf: &Elf, within: &[Range<u64>]) -> Size {
        let overlap = |range: &Range<u64>| {
            let Range { start, end } = *range;
            within.iter().map(move |part| part.start.max(start)..part.end.min(end))
        };
        let touches = |range: &Range<u64>| overlap(range).any(|part| !part.is_empty());
        let mut seen = vec![false; self.lines.len()];
        for (_, line) in self.rows.iter().filter(|(range, _)| touches(range)) {
            if *line != NONE {
                seen[*line as usize] = true;
            }
        }
        let mut nodes = vec![false; self.nodes.len()];
        let mut functions = vec![false; self.functions.len()];
        for (_, node) in self.spans.iter().filter(|(range, _)| touches(range)) {
            let mut node = *node;
            while node != NONE && !nodes[node as usize] {
                nodes[node as usize] = true;
                let Instance { function, parent, call } = self.nodes[node as usize];
                functions[function as usize] = true;
                if call != NONE {
                    seen[call as usize] = true;
                }
                node = parent;
            }
        }
        let mut lines = count(&seen);
        for gap in gaps(elf, self.rows.iter().map(|(range, _)| range)) {
            let words = overlap(&gap).flat_map(|part| part.step_by(4));
            lines += words.filter(|&address| elf.is_instruction(address)).count() as u64;
        }
        let bytes = elf.sections().iter().flat_map(|section| overlap(&section.range));
        let bytes = bytes.map(|part| part.end.saturating_sub(part.start)).sum();
        Size { functions: count(&functions), lines, bytes }
    }

    /// Brings units together.
    fn merge(units: Vec<UnitLines>) -> Lines {
        let mut files = Names::default();
        let mut functions: HashMap<(u32, String), u32> = HashMap::new();
        let (mut rows, mut spans, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
        for unit in units {
            let file_numbers: Vec<u32> =
                unit.files.into_iter().map(|name| files.number(name)).collect();
            let function_numbers: Vec<u32> = unit
                .functions
                .into_iter()
                .map(|(file, name)| {
                    let next = functions.len() as u32;
                    *functions.entry((file_numbers[file as usize], name)).or_insert(next)
                })
                .collect();
            let first = nodes.len() as u32;
            nodes.extend(unit.nodes.into_iter().map(|Node { function, parent, call }| {
                let parent = if parent == NONE { NONE } else { first + parent };
                let call = (call.1 != 0).then(|| (file_numbers[call.0 as usize], call.1));
                (function_numbers[function as usize], parent, call)
            }));
            spans.extend(unit.spans.into_iter().map(|(range, node)| (range, first + node)));
            rows.extend(unit.rows.into_iter().map(|(range, file, line)| {
                let file = file_numbers[file as usize];
                (range, if line == 0 { None } else { Some((file, line)) })
            }));
        }
        let rows = apart(rows);
        let calls = nodes.iter().filter_map(|(.., call)| *call);
        let mut lines: Vec<(u32, u32)> =
            rows.iter().filter_map(|(_, line)| *line).chain(calls).collect();
        lines.sort_unstable();
        lines.dedup();
        let mut numbers = HashMap::with_capacity(lines.len());
        numbers.extend(lines.iter().zip(0..).map(|(&line, number)| (line, number)));
        let number = |line: Option<(u32, u32)>| line.map_or(NONE, |line| numbers[&line]);
        let rows = rows.into_iter().map(|(range, line)| (range, number(line)));
        let nodes = nodes.into_iter();
        let nodes =
            nodes.map(|(function, parent, call)| Instance { function, parent, call: number(call) });
        let mut ordered = vec![(0, String::new()); functions.len()];
        for (function, number) in functions {
            ordered[number as usize] = function;
        }
        Lines {
            files: files.names,
            lines,
            rows: rows.collect(),
            functions: ordered,
            nodes: nodes.collect(),
            spans: apart(spans),
        }
    }

    /// Names the functions of code that debug information names none for.
    fn add_symbols(&mut self, elf: &Elf) {
        let mut files = Names::from(std::mem::take(&mut self.files));
        let mut numbers: HashMap<(u32, String), u32> = self.functions.drain(..).zip(0..).collect();
        let mut added = Vec::new();
        for gap in gaps(elf, self.spans.iter().map(|(range, _)| range)) {
            // The symbol that the gap begins in, and those that begin in it.
            let after = elf.symbols().partition_point(|symbol| symbol.address <= gap.start);
            let mut symbols =
                elf.symbol_at(gap.start).into_iter().chain(&elf.symbols()[after..]).peekable();
            while let Some(symbol) = symbols.next() {
                let start = symbol.address.max(gap.start);
                if start >= gap.end {
                    break;
                }
                let end = symbols.peek().map_or(gap.end, |next| next.address.min(gap.end));
                let mut code = (start..end).step_by(4).filter(|&address| {
                    find(&self.rows, address).is_some() || elf.is_instruction(address)
                });
                let Some(first) = code.next() else { continue };
                let file = match find(&self.rows, first) {
                    Some(line) if line != NONE => self.lines[line as usize].0,
                    _ => files.number(SYMBOL_TABLE.to_owned()),
                };
                let next = numbers.len() as u32;
                let function = *numbers.entry((file, symbol.name.clone())).or_insert(next);
                added.push((start..end, self.nodes.len() as u32));
                self.nodes.push(Instance { function, parent: NONE, call: NONE });
            }
        }
        self.files = files.names;
        self.functions = vec![(0, String::new()); numbers.len()];
        for (function, number) in numbers {
            self.functions[number as usize] = function;
        }
        self.spans.append(&mut added);
        self.spans.sort_by_key(|(range, _)| range.start);
    }
}

/// Names and their numbers.
#[derive(Default)]
struct Names {
    names: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Names {
    fn number(&mut self, name: String) -> u32 {
        let next = self.names.len() as u32;
        *self.numbers.entry(name).or_insert_with_key(|name| {
            self.names.push(name.clone());
            next
        })
    }
}

impl From<Vec<String>> for Names {
    fn from(names: Vec<String>) -> Names {
        let numbers = names.iter().cloned().zip(0..).collect();
        Names { names, numbers }
    }
}

/// Reads all units of a file, on all processors.
fn read_units(elf: &Elf, root: Option<&str>) -> Result<Vec<UnitLines>> {
    let data = gimli::DwarfSections::load(|id| elf.debug_section(id.name()))?;
    let dwarf: Dwarf<_> = data.borrow(|data| EndianSlice::new(data, LittleEndian));
    let broken = |error| anyhow!("{}: .debug_info: {error}", elf.path().display());
    let mut headers = Vec::new();
    let mut iterator = dwarf.units();
    while let Some(header) = iterator.next().map_err(broken)? {
        headers.push(header);
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut reader = Reader::new(elf, &dwarf, &headers, root);
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= headers.len() {
                return anyhow::Ok(done);
            }
            done.push((index, reader.read(index)?));
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, |count| count.get());
    let mut units = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut units = Vec::with_capacity(headers.len());
        for worker in workers {
            match worker.join() {
                Ok(done) => units.extend(done?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        anyhow::Ok(units)
    })?;
    // In the file's order, so that numbers do not depend on who was quicker.
    units.sort_unstable_by_key(|(index, _)| *index);
    Ok(units.into_iter().map(|(_, unit)| unit).collect())
}

/// Sorts ranges and cuts off what an earlier one covers already.
fn apart<T>(mut ranges: Vec<(Range<u64>, T)>) -> Vec<(Range<u64>, T)> {
    ranges.sort_by_key(|(range, _)| range.start);
    let mut done = 0;
    ranges.retain_mut(|(range, _)| {
        range.start = range.start.max(done);
        done = done.max(range.end);
        !range.is_empty()
    });
    ranges
}

/// What is said of the range that an address is in.
fn find(ranges: &[(Range<u64>, u32)], address: u64) -> Option<u32> {
    let after = ranges.partition_point(|(range, _)| range.start <= address);
    let (range, value) = &ranges[after.checked_sub(1)?];
    range.contains(&address).then_some(*value)
}

/// The parts of a file's code that sorted ranges do not cover.
fn gaps<'a>(elf: &Elf, covered: impl Iterator<Item = &'a Range<u64>>) -> Vec<Range<u64>> {
    let mut covered = covered.peekable();
    let mut gaps = Vec::new();
    for section in elf.sections() {
        let mut at = section.range.start;
        while let Some(range) = covered.next_if(|range| range.start < section.range.end) {
            if at < range.start {
                gaps.push(at..range.start);
            }
            at = at.max(range.end);
        }
        if at < section.range.end {
            gaps.push(at..section.range.end);
        }
    }
    gaps
}

fn count(seen: &[bool]) -> u64 {
    seen.iter().filter(|seen| **seen).count() as u64
}

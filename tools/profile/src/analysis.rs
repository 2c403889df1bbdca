//! From a recording and images to a workload's profile.
//!
//! Decides what counts as privileged: every instruction in a privileged image, at whatever level it
//! ran (a kernel with all rights has them at EL1, too), and every instruction at the privileged level
//! in another known image. What ran at the privileged level outside every image is reported as
//! unknown. The rest, at lower levels, is vertical where it is in a vertical image.
//!
//! Trusts a [`Recording`] for its sums: they are in range.
//!
//! Invariants: each recorded instruction is counted once, as horizontal, vertical, unknown or foreign
//! (code of tenants, which nobody asked for): the sum is what the plugin counted. A line that images
//! of one source tree share (a header of Linux in kernel and modules) is one line.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::causes;
use crate::image::{Image, Places};
use crate::lines::{Frame, Line};
use crate::model::{Entry, Function, Measure, Origin, Workload};
use crate::recording::Recording;

#[cfg(test)]
mod tests;

/// The origins, as the counts of a recording are ordered.
const ORIGINS: [Origin; 3] = [Origin::Boot, Origin::Host, Origin::Guest];

/// What to make a profile of.
#[derive(Clone, Debug)]
pub struct WorkloadSpec {
    /// The workload's name.
    pub name: String,
    /// What ran, in a sentence.
    pub what: String,
    /// The marks whose phases are counted together.
    pub marks: Vec<u16>,
}

/// What a workload traversed.
#[derive(Clone, Debug, PartialEq)]
pub struct Traversal {
    /// The profile.
    pub workload: Workload,
    /// The privileged lines that were traversed, sorted: source tree, then `file:line`, or
    /// `symbol+offset` where there is no line information.
    pub lines: Vec<String>,
    /// Images that were given and of which nothing was found anywhere in the recording: a module
    /// that was not loaded, or an image that is not the one that ran.
    pub unseen: Vec<String>,
    /// Instructions that are in no image and ran below the privileged level: tenants' code.
    pub foreign: u64,
}

/// A line, told apart from those of other source trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    /// Tree, file and number.
    Source(usize, usize, u32),
    /// Tree, the image whose file it is in, and link address.
    Instruction(usize, usize, u64),
}

/// A function: tree, file and name.
type FunctionKey = (usize, usize, usize);

/// What was traversed on someone's behalf.
#[derive(Default)]
struct Traversed {
    functions: HashSet<FunctionKey>,
    lines: HashSet<Key>,
    instructions: u64,
}

impl Traversed {
    fn measure(&self) -> Measure {
        Measure {
            functions: self.functions.len() as u64,
            lines: self.lines.len() as u64,
            instructions: self.instructions,
        }
    }
}

/// Makes a workload's profile of the phases of a recording that its marks began.
pub fn workload(
    spec: &WorkloadSpec,
    privileged: &[Image],
    vertical: &[Image],
    recording: &Recording,
) -> Result<Traversal> {
    let images: Vec<Image> = privileged.iter().chain(vertical).cloned().collect();
    let places = Places::find(&images, recording);
    let mut counts: BTreeMap<usize, [u64; 3]> = BTreeMap::new();
    let mut entries: BTreeMap<(Origin, u8, String), u64> = BTreeMap::new();
    for &mark in &spec.marks {
        let mut found = false;
        for phase in recording.phases_of(mark) {
            found = true;
            ensure!(
                !phase.executed.is_empty() || phase.instructions == [0; 4],
                "the recording has totals alone: it was made with segments=off"
            );
            for executed in &phase.executed {
                let sum = counts.entry(executed.segment).or_default();
                for (sum, count) in sum.iter_mut().zip(executed.counts) {
                    *sum += count;
                }
            }
            for entry in &phase.entries {
                let cause = causes::name(entry.slot, entry.class);
                *entries.entry((entry.origin, entry.from, cause)).or_default() += entry.count;
            }
        }
        ensure!(
            found,
            "{}: nothing was recorded after mark {mark}: the workload did not get there",
            spec.name
        );
    }
    let mut tally = Tally::new(&images, privileged.len(), recording.privileged);
    for (segment, counts) in counts {
        let level = recording.segments[segment].level;
        for index in 0..recording.segments[segment].opcodes.len() {
            let place = places.of(&images, segment, index);
            tally.add(level, place, counts);
        }
    }
    let mut entries: Vec<Entry> = entries
        .into_iter()
        .filter(|(_, count)| *count != 0)
        .map(|((origin, from, cause), count)| Entry { origin, from, cause, count })
        .collect();
    // The rest of the order is that of the map: origin, level, cause.
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.count));
    Ok(tally.finish(spec, entries, places.unseen))
}

/// Counts instructions.
struct Tally<'a> {
    images: &'a [Image],
    /// How many of them are privileged.
    privileged: usize,
    /// The privileged level.
    level: u8,
    names: Names,
    /// The source tree of each image.
    trees: Vec<usize>,
    /// The first image that is of the same file, for each.
    files: Vec<usize>,
    horizontal: Traversed,
    by_origin: [Traversed; 3],
    vertical: BTreeMap<usize, Traversed>,
    /// For each function the first image it was in, its lines and its instructions.
    functions: HashMap<FunctionKey, (usize, HashSet<Key>, u64)>,
    unknown: u64,
    foreign: u64,
}

impl<'a> Tally<'a> {
    fn new(images: &'a [Image], privileged: usize, level: u8) -> Tally<'a> {
        let mut names = Names::default();
        let trees = images.iter().map(|image| names.number(image.tree())).collect();
        let same = |image: &Image| {
            images.iter().position(|other| Arc::ptr_eq(&other.program, &image.program))
        };
        let files = images.iter().map(|image| same(image).unwrap_or_default()).collect();
        Tally {
            images,
            privileged,
            level,
            names,
            trees,
            files,
            horizontal: Traversed::default(),
            by_origin: Default::default(),
            vertical: BTreeMap::new(),
            functions: HashMap::new(),
            unknown: 0,
            foreign: 0,
        }
    }

    /// Counts executions of an instruction.
    fn add(&mut self, level: u8, place: Option<(usize, u64)>, counts: [u64; 3]) {
        let count: u64 = counts.iter().sum();
        if count == 0 {
            return;
        }
        let Some((index, address)) = place else {
            let outside = if level >= self.level { &mut self.unknown } else { &mut self.foreign };
            *outside += count;
            return;
        };
        let program = &self.images[index].program;
        let tree = self.trees[index];
        let mut functions: Vec<Option<FunctionKey>> = Vec::new();
        let mut lines: Vec<Option<Key>> = Vec::new();
        for Frame { function, line } in program.lines.frames_at(&program.elf, address) {
            functions.push(function.map(|function| {
                let (file, name) = program.lines.function(function);
                (tree, self.names.number(file), self.names.number(name))
            }));
            lines.push(line.map(|line| match line {
                Line::Source(line) => {
                    let (file, number) = program.lines.source(line);
                    Key::Source(tree, self.names.number(file), number)
                }
                Line::Instruction(address) => Key::Instruction(tree, self.files[index], address),
            }));
        }
        let mark = |traversed: &mut Traversed, count: u64| {
            traversed.functions.extend(functions.iter().flatten());
            traversed.lines.extend(lines.iter().flatten());
            traversed.instructions += count;
        };
        if index >= self.privileged && level < self.level {
            mark(self.vertical.entry(index).or_default(), count);
            return;
        }
        mark(&mut self.horizontal, count);
        // Privileged code below the privileged level (the kernel of Xen's dom0) is entered by its own
        // processes, too, which nobody sees: it is not known to run for a guest.
        let counts = match counts {
            [boot, host, guest] if level < self.level => [boot, host + guest, 0],
            counts => counts,
        };
        for (traversed, &count) in self.by_origin.iter_mut().zip(&counts) {
            if count != 0 {
                mark(traversed, count);
            }
        }
        for (depth, (function, line)) in functions.iter().zip(&lines).enumerate() {
            let Some(function) = function else { continue };
            let (_, own, instructions) =
                self.functions.entry(*function).or_insert_with(|| (index, HashSet::new(), 0));
            own.extend(line);
            // Instructions are those of the innermost function.
            if depth == 0 {
                *instructions += count;
            }
        }
    }

    fn finish(self, spec: &WorkloadSpec, entries: Vec<Entry>, unseen: Vec<String>) -> Traversal {
        let by_origin = ORIGINS.into_iter().zip(&self.by_origin);
        let by_origin = by_origin.filter(|(_, traversed)| traversed.instructions != 0);
        // What images of one source tree share (headers) counts for the first of them, so that the
        // images' numbers may be added.
        let (mut functions, mut lines) = (HashSet::new(), HashSet::new());
        let images = self.images.iter().enumerate().skip(self.privileged);
        let vertical = images.map(|(index, image)| {
            let Some(own) = self.vertical.get(&index) else {
                return (image.spec.name.clone(), Measure::default());
            };
            let measure = Measure {
                functions: own.functions.iter().filter(|key| functions.insert(**key)).count()
                    as u64,
                lines: own.lines.iter().filter(|key| lines.insert(**key)).count() as u64,
                instructions: own.instructions,
            };
            (image.spec.name.clone(), measure)
        });
        let vertical: Vec<(String, Measure)> = vertical.collect();
        let mut traversed: Vec<Function> = self
            .functions
            .iter()
            .map(|(&(_, file, name), (image, lines, instructions))| Function {
                image: self.images[*image].spec.name.clone(),
                file: self.names.name(file).to_owned(),
                name: self.names.name(name).to_owned(),
                lines: lines.len() as u64,
                instructions: *instructions,
            })
            .collect();
        traversed.sort_by(|a, b| (&a.image, &a.file, &a.name).cmp(&(&b.image, &b.file, &b.name)));
        let lines: BTreeSet<(&str, String, u64)> = self
            .horizontal
            .lines
            .iter()
            .map(|key| match *key {
                Key::Source(tree, file, line) => {
                    let file = self.names.name(file);
                    (self.names.name(tree), format!("{file}:"), u64::from(line))
                }
                Key::Instruction(tree, image, address) => {
                    let symbol = self.images[image].program.elf.symbol_at(address);
                    let (name, start) =
                        symbol.map_or(("", 0), |symbol| (symbol.name.as_str(), symbol.address));
                    (self.names.name(tree), format!("{name}+"), address - start)
                }
            })
            .collect();
        let lines = lines.iter().map(|(tree, place, number)| match place.ends_with('+') {
            true => format!("{tree} {place}{number:#x}"),
            false => format!("{tree} {place}{number}"),
        });
        let workload = Workload {
            name: spec.name.clone(),
            what: spec.what.clone(),
            horizontal: self.horizontal.measure(),
            by_origin: by_origin.map(|(origin, traversed)| (origin, traversed.measure())).collect(),
            vertical,
            entries,
            traversed,
            unknown: self.unknown,
        };
        Traversal { workload, lines: lines.collect(), unseen, foreign: self.foreign }
    }
}

/// Names and their numbers.
#[derive(Default)]
struct Names {
    names: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Names {
    fn number(&mut self, name: &str) -> usize {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }

    fn name(&self, number: usize) -> &str {
        &self.names[number]
    }
}

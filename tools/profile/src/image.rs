//! Images of code, and which recorded instruction belongs to which of them.
//!
//! Decides where an image lies in memory. A virtual address alone does not tell: before the MMU is on
//! code runs at physical addresses, pKVM's part of the kernel runs at addresses of its own, and a
//! guest runs the same kernel at the same addresses as the host. So an image that is linked to run in
//! one piece is found by *physical* address; the distance between physical and link addresses is
//! learnt from segments that run at link addresses and have the image's opcodes. At the privileged
//! level all such distances are the image's, which may have moved itself. Below it the first one is:
//! the host boots before its guests.
//!
//! Code is patched when it runs (alternatives, static keys, tracing), so opcodes decide nothing about
//! one instruction. They do about a mapping as a whole: memory of the image that was given back and
//! runs something else is told by opcodes most of which are not the image's.
//!
//! Invariants: a segment belongs to at most one file, at one address; images of one file that share
//! its code between them (see [`Part`]) do not overlap.
//!
//! Trusts the recording for what ran where, and the caller for where modules were loaded.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use crate::elf::Elf;
use crate::lines::Lines;
use crate::model;
use crate::recording::{Recording, Segment};

#[cfg(test)]
mod tests;

/// Segments at a distance that are enough to believe in it.
const ENOUGH: usize = 8;

/// The size of the pages by which memory is told apart.
const PAGE: u64 = 4096;

/// An image, as the caller describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSpec {
    /// Its name in the report. What comes before a colon names the source tree: `linux: virtio_blk`
    /// shares its headers with `linux`.
    pub name: String,
    /// What it is and why it is counted.
    pub what: String,
    /// The file, with its debug information.
    pub elf: PathBuf,
    /// Whether a symbol table is enough.
    pub symbols_only_ok: bool,
    /// Where it lies.
    pub placement: Placement,
    /// A directory that is cut off the names of source files.
    pub source_root: Option<String>,
    /// Which code of the file it is.
    pub part: Part,
}

/// Where an image lies in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Runs at its link addresses, and where physical memory has the same bytes.
    Linked {
        /// Physical addresses at which its first byte of code lies, too: where it was loaded before
        /// it moved.
        also_at: Vec<u64>,
    },
    /// A relocatable file, a kernel module: its sections by name at these virtual addresses.
    Sections(Vec<(String, u64)>),
    /// A user-space program: at EL0, at one distance from its link addresses that is learnt.
    Process,
}

/// Which code of a file an image is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// Only what lies between pairs of symbols.
    Between(Vec<(String, String)>),
    /// All but what lies between pairs of symbols.
    Except(Vec<(String, String)>),
}

/// The symbols in Linux that bound the code that pKVM runs at EL2.
pub fn pkvm_bounds() -> Vec<(String, String)> {
    ["__hyp_idmap_text", "__hyp_text"]
        .map(|name| (format!("{name}_start"), format!("{name}_end")))
        .to_vec()
}

/// An ELF file with its lines.
#[derive(Debug)]
pub struct Program {
    /// The file.
    pub elf: Elf,
    /// Its lines.
    pub lines: Lines,
}

/// An image that is ready to be looked up in.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its description.
    pub spec: ImageSpec,
    /// Its file.
    pub program: Arc<Program>,
    /// The link addresses of its code, sorted, apart.
    pub code: Vec<Range<u64>>,
}

/// Files that were read already: several images can be of one, and several workloads need the same.
#[derive(Debug, Default)]
pub struct Library(HashMap<(PathBuf, Option<String>), Arc<Program>>);

impl Library {
    /// A library with nothing in it yet.
    pub fn new() -> Library {
        Library::default()
    }

    /// Loads an image.
    pub fn load(&mut self, spec: &ImageSpec) -> Result<Image> {
        self.try_load(spec).with_context(|| format!("image {}", spec.name))
    }

    fn try_load(&mut self, spec: &ImageSpec) -> Result<Image> {
        let key = (spec.elf.clone(), spec.source_root.clone());
        let program = match self.0.get(&key) {
            Some(program) => program.clone(),
            None => {
                let elf = Elf::open(&spec.elf)?;
                let lines = Lines::read(&elf, spec.source_root.as_deref())?;
                let program = Arc::new(Program { elf, lines });
                self.0.insert(key, program.clone());
                program
            }
        };
        ensure!(
            spec.symbols_only_ok || program.lines.has_source(),
            "{} has no debug information (no .debug_line): install the package with its debug \
             symbols, or build it with them",
            spec.elf.display()
        );
        match &spec.placement {
            Placement::Sections(sections) => {
                ensure!(
                    program.elf.is_relocatable(),
                    "{} is linked already: it has no sections to place",
                    spec.elf.display()
                );
                ensure!(!sections.is_empty(), "no section of it was placed");
            }
            Placement::Linked { .. } | Placement::Process => ensure!(
                !program.elf.is_relocatable(),
                "{} is relocatable: where its sections lie has to be given",
                spec.elf.display()
            ),
        }
        let code = spec.part.code(&program.elf)?;
        Ok(Image { spec: spec.clone(), program, code })
    }
}

impl Part {
    /// The link addresses of a part, sorted and apart.
    fn code(&self, elf: &Elf) -> Result<Vec<Range<u64>>> {
        let sections = elf.sections().iter().map(|section| section.range.clone());
        let (pairs, inside) = match self {
            Part::Whole => return Ok(sections.collect()),
            Part::Between(pairs) => (pairs, true),
            Part::Except(pairs) => (pairs, false),
        };
        let mut bounds = Vec::new();
        for (first, end) in pairs {
            let range = elf.symbol_named(first)?..elf.symbol_named(end)?;
            ensure!(range.start < range.end, "{end} does not come after {first}");
            bounds.push(range);
        }
        bounds.sort_by_key(|range| range.start);
        if bounds.array_windows().any(|[a, b]| a.end > b.start) {
            bail!("the bounds {pairs:?} overlap");
        }
        let mut code = Vec::new();
        for section in sections {
            let within = bounds.iter().map(|bound| {
                bound.start.clamp(section.start, section.end)
                    ..bound.end.clamp(section.start, section.end)
            });
            if inside {
                code.extend(within.filter(|range| !range.is_empty()));
                continue;
            }
            let mut at = section.start;
            for range in within.filter(|range| !range.is_empty()) {
                code.push(at..range.start);
                at = range.end;
            }
            code.push(at..section.end);
        }
        code.retain(|range| !range.is_empty());
        ensure!(!code.is_empty(), "there is no code between {pairs:?}");
        Ok(code)
    }
}

impl Image {
    /// The name of the source tree it is made from.
    pub fn tree(&self) -> &str {
        self.spec.name.split(':').next().unwrap_or_default().trim()
    }

    /// What the report says of it as a whole.
    pub fn describe(&self) -> model::Image {
        let size = self.program.lines.size(&self.program.elf, &self.code);
        model::Image {
            name: self.spec.name.clone(),
            what: self.spec.what.clone(),
            functions: size.functions,
            lines: size.lines,
            bytes: size.bytes,
        }
    }

    /// Whether a link address is in it.
    fn contains(&self, address: u64) -> bool {
        let after = self.code.partition_point(|range| range.start <= address);
        after.checked_sub(1).is_some_and(|index| self.code[index].contains(&address))
    }
}

/// Where the segments of a recording are in images.
#[derive(Debug)]
pub struct Places {
    /// Files, each with the images of it.
    files: Vec<Vec<usize>>,
    /// For each segment: file and link address.
    segments: Vec<Option<(usize, u64)>>,
    /// Names of images no segment was found of.
    pub unseen: Vec<String>,
}

impl Places {
    /// Finds the segments of a recording in images; the first image that fits has it.
    pub fn find(images: &[Image], recording: &Recording) -> Places {
        let mut files: Vec<Vec<usize>> = Vec::new();
        for (index, image) in images.iter().enumerate() {
            let same = files.iter_mut().find(|others| {
                let other = &images[others[0]];
                Arc::ptr_eq(&other.program, &image.program)
                    && other.spec.placement == image.spec.placement
            });
            match same {
                Some(file) => file.push(index),
                None => files.push(vec![index]),
            }
        }
        let mut segments = vec![None; recording.segments.len()];
        let mut seen = vec![false; images.len()];
        for (file, members) in files.iter().enumerate() {
            let Image { spec, program, .. } = &images[members[0]];
            let mut finder = Finder { elf: &program.elf, recording, taken: &segments };
            let found = match &spec.placement {
                Placement::Linked { also_at } => finder.linked(also_at),
                Placement::Sections(sections) => finder.sections(sections),
                Placement::Process => finder.process(),
            };
            for (segment, address) in found {
                segments[segment] = Some((file, address));
                for &member in members {
                    seen[member] |= images[member].contains(address);
                }
            }
        }
        let unseen = images.iter().zip(seen).filter(|(_, seen)| !seen);
        let unseen = unseen.map(|(image, _)| image.spec.name.clone()).collect();
        Places { files, segments, unseen }
    }

    /// The image that an instruction of a segment is in, and its link address.
    pub fn of(&self, images: &[Image], segment: usize, index: usize) -> Option<(usize, u64)> {
        let (file, start) = self.segments[segment]?;
        let address = start.wrapping_add(4 * index as u64);
        let image = self.files[file].iter().find(|&&image| images[image].contains(address))?;
        Some((*image, address))
    }
}

/// Finds a file's segments among those that no other file has.
struct Finder<'a> {
    elf: &'a Elf,
    recording: &'a Recording,
    taken: &'a [Option<(usize, u64)>],
}

impl Finder<'_> {
    /// The segments that are free and that ran at some levels.
    fn free(&self, user: bool) -> impl Iterator<Item = (usize, &Segment)> {
        let segments = self.recording.segments.iter().enumerate();
        segments.filter(move |(index, segment)| {
            self.taken[*index].is_none() && (segment.level == 0) == user
        })
    }

    /// How many opcodes of a segment are those of the file at an address, and how many can be told.
    fn agreement(&self, segment: &Segment, address: u64) -> (u64, u64) {
        let mut counts = (0, 0);
        for (&opcode, index) in segment.opcodes.iter().zip(0..) {
            let at = address.wrapping_add(4 * index);
            if let Some(expected) = self.elf.opcode(at)
                && !self.elf.is_relocated(at)
            {
                counts.0 += u64::from(opcode == expected);
                counts.1 += 1;
            }
        }
        counts
    }

    /// Whether a segment lies in the code and has its opcodes, all of them.
    fn is_at(&self, segment: &Segment, address: u64) -> bool {
        let (equal, all) = self.agreement(segment, address);
        equal == all && all == segment.opcodes.len() as u64
    }

    /// Keeps candidates whose group has the file's opcodes for the most part.
    fn agreeing<K: Ord + Copy>(&self, candidates: Vec<(usize, u64, K)>) -> Vec<(usize, u64, K)> {
        let mut groups: BTreeMap<K, (u64, u64)> = BTreeMap::new();
        for &(index, address, key) in &candidates {
            let (equal, all) = self.agreement(&self.recording.segments[index], address);
            let group = groups.entry(key).or_default();
            *group = (group.0 + equal, group.1 + all);
        }
        let agreeing = candidates
            .into_iter()
            .filter(|(_, _, key)| groups.get(key).is_none_or(|(equal, all)| 2 * equal >= *all));
        agreeing.collect()
    }

    /// The segments of a linked image, with their link addresses.
    fn linked(&mut self, also_at: &[u64]) -> Vec<(usize, u64)> {
        let first = self.elf.sections()[0].range.start;
        let mut distances = self.distances();
        for address in also_at {
            distances.push(address.wrapping_sub(first));
        }
        let mut candidates = Vec::new();
        for (index, segment) in self.free(false) {
            let link = distances.iter().find_map(|distance| {
                let link = segment.pa.wrapping_sub(*distance);
                self.elf.section_at(link).map(|_| link)
            });
            if let Some(link) = link {
                // What runs through one mapping is right or wrong as a whole.
                candidates.push((index, link, segment.va.wrapping_sub(link)));
            }
        }
        let found = self.agreeing(candidates);
        found.into_iter().map(|(index, link, _)| (index, link)).collect()
    }

    /// The distances from link addresses to physical ones.
    fn distances(&self) -> Vec<u64> {
        // Distances and their votes, in order of the first: at the privileged level and below it.
        let mut votes: [Vec<(u64, usize)>; 2] = Default::default();
        let mut first_below = None;
        for (_, segment) in self.free(false) {
            if self.elf.section_at(segment.va).is_none() || !self.is_at(segment, segment.va) {
                continue;
            }
            let below = segment.level < self.recording.privileged;
            let distance = segment.pa.wrapping_sub(segment.va);
            let votes = &mut votes[usize::from(below)];
            let vote = match votes.iter().position(|(other, _)| *other == distance) {
                Some(vote) => vote,
                None => {
                    votes.push((distance, 0));
                    votes.len() - 1
                }
            };
            votes[vote].1 += 1;
            if below && votes[vote].1 == ENOUGH && first_below.is_none() {
                first_below = Some(distance);
            }
        }
        let [above, below] = votes;
        // Nobody else runs at the privileged level: who runs there in two places has moved.
        let enough = above.iter().filter(|(_, count)| *count >= ENOUGH);
        let moved: Vec<u64> = enough.map(|(distance, _)| *distance).collect();
        if !moved.is_empty() {
            return moved;
        }
        // Below it, guests may run the same image: the host was first.
        let most = |votes: &[(u64, usize)]| {
            votes.iter().rev().max_by_key(|(_, count)| *count).map(|(distance, _)| *distance)
        };
        first_below.or_else(|| most(&above)).or_else(|| most(&below)).into_iter().collect()
    }

    /// The segments of a module, with their link addresses.
    fn sections(&mut self, sections: &[(String, u64)]) -> Vec<(usize, u64)> {
        let mut places: Vec<(Range<u64>, u64)> = Vec::new();
        for (name, address) in sections {
            // What is loaded and is no code is of no interest.
            let named = self.elf.sections().iter().find(|section| section.name == *name);
            if let Some(Range { start, end }) = named.map(|section| section.range.clone()) {
                places.push((*address..address.saturating_add(end - start), start));
            }
        }
        let mut candidates = Vec::new();
        for (index, segment) in self.free(false) {
            let place = places.iter().find(|(range, _)| range.contains(&segment.va));
            if let Some((range, start)) = place {
                let pages = (segment.va / PAGE, segment.pa / PAGE);
                candidates.push((index, start + (segment.va - range.start), pages));
            }
        }
        // The pages of a module are where the host put them first: a guest has others.
        let mut first: HashMap<u64, u64> = HashMap::new();
        let found = self.agreeing(candidates).into_iter();
        let own = found.filter(|(_, _, (va, pa))| *first.entry(*va).or_insert(*pa) == *pa);
        own.map(|(index, link, _)| (index, link)).collect()
    }

    /// The segments of a program, with their link addresses.
    fn process(&mut self) -> Vec<(usize, u64)> {
        let Some(distance) = self.process_distance() else { return Vec::new() };
        let mut candidates = Vec::new();
        for (index, segment) in self.free(true) {
            let link = segment.va.wrapping_sub(distance);
            if self.elf.section_at(link).is_some() {
                candidates.push((index, link, (segment.va / PAGE, segment.pa / PAGE)));
            }
        }
        // Other programs run at the same addresses in other pages; user space is not patched.
        let found = self.agreeing(candidates).into_iter();
        let own =
            found.filter(|(index, link, _)| self.is_at(&self.recording.segments[*index], *link));
        own.map(|(index, link, _)| (index, link)).collect()
    }

    /// The distance from a program's link addresses to where it runs.
    fn process_distance(&self) -> Option<u64> {
        // Where each pair of opcodes is, by offset in the page.
        let mut pairs: HashMap<(u64, u32, u32), Vec<u64>> = HashMap::new();
        for section in self.elf.sections() {
            for address in section.range.clone().step_by(4) {
                let pair = (self.elf.opcode(address), self.elf.opcode(address + 4));
                if let (Some(first), Some(second)) = pair {
                    pairs.entry((address % PAGE, first, second)).or_default().push(address);
                }
            }
        }
        let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
        for (_, segment) in self.free(true) {
            let [first, second, ..] = *segment.opcodes else { continue };
            let places = pairs.get(&(segment.va % PAGE, first, second));
            for &link in places.into_iter().flatten() {
                if self.is_at(segment, link) {
                    *votes.entry(segment.va.wrapping_sub(link)).or_default() += 1;
                }
            }
        }
        let best = votes.into_iter().max_by_key(|&(distance, count)| (count, distance == 0))?;
        (best.1 >= ENOUGH).then_some(best.0)
    }
}

//! One compilation unit of DWARF: its rows of lines, and which function each address belongs to.
//!
//! Decides that of several rows for an address the last one counts (the others cover nothing), that a
//! row without a line is code that the compiler made for no line, and that an address belongs to the
//! innermost function inlined there. Functions are known by file and name: without the parameters of
//! generics, so that all instances of a generic function are one. Where the debug information does
//! not say which file a function is in (line tables only), it is the file most of its rows name.
//!
//! Trusts nothing: DWARF that cannot be read is an error. The format is that of DWARF 4 and 5,
//! sections 2.17 (ranges), 3.3 (functions) and 6.2 (lines).

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::rc::Rc;

use anyhow::{Context, Result};
use gimli::{
    AttributeValue, DebugInfoOffset, Dwarf, EndianSlice, LittleEndian, UnitHeader, UnitOffset,
};

use crate::elf::Elf;
use crate::source;

/// How DWARF is read.
pub(super) type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// No file, no node.
pub(super) const NONE: u32 = u32::MAX;

/// What is written where the debug information has no name.
const UNKNOWN: &str = "?";

/// How many times a function may refer to another for its name.
const MAX_REFERENCES: usize = 16;

/// What a unit says.
#[derive(Debug, Default)]
pub(super) struct UnitLines {
    /// Its files, by the numbers that are used in the rest.
    pub files: Vec<String>,
    /// Addresses, with file and line; the line is 0 where code belongs to none.
    pub rows: Vec<(Range<u64>, u32, u32)>,
    /// Files and names.
    pub functions: Vec<(u32, String)>,
    /// Instances of functions.
    pub nodes: Vec<Node>,
    /// Addresses with the innermost node there.
    pub spans: Vec<(Range<u64>, u32)>,
}

/// An instance of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// The function.
    pub function: u32,
    /// The instance that it is inlined into, or [`NONE`].
    pub parent: u32,
    /// File and line of the call that it is inlined for; the line is 0 if there is none.
    pub call: (u32, u32),
}

/// Reads units; keeps what is of use for the next one.
pub(super) struct Reader<'a> {
    elf: &'a Elf,
    dwarf: &'a Dwarf<Slice<'a>>,
    headers: &'a [UnitHeader<Slice<'a>>],
    root: Option<&'a str>,
    /// Units that others refer to.
    others: HashMap<usize, Rc<gimli::Unit<Slice<'a>>>>,
}

/// A function as the debug information has it, before its file is decided.
struct Named {
    name: String,
    file: Option<String>,
}

/// The functions of a unit.
#[derive(Default)]
struct Functions {
    named: Vec<Named>,
    /// Their numbers by the entries that name them.
    numbers: HashMap<DebugInfoOffset, u32>,
    /// The file that a call in a function's body is in, which is the function's own.
    files_of_calls: HashMap<u32, u32>,
}

/// An instance of a function, out of line or inlined, as its entry describes it.
#[derive(Default)]
struct Instance<'a> {
    low: Option<u64>,
    high: Option<AttributeValue<Slice<'a>>>,
    ranges: Option<AttributeValue<Slice<'a>>>,
    origin: Option<AttributeValue<Slice<'a>>>,
    call_file: Option<AttributeValue<Slice<'a>>>,
    call_line: u32,
}

/// The files of a unit.
#[derive(Default)]
struct Files {
    names: Vec<String>,
    numbers: HashMap<String, u32>,
    /// Their numbers by their indices in the unit's table, in which a file may be twice.
    by_index: HashMap<u64, u32>,
}

impl Files {
    fn number(&mut self, name: String) -> u32 {
        if let Some(&number) = self.numbers.get(&name) {
            return number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        number
    }
}

impl<'a> Reader<'a> {
    /// A reader of the units with these headers.
    pub fn new(
        elf: &'a Elf,
        dwarf: &'a Dwarf<Slice<'a>>,
        headers: &'a [UnitHeader<Slice<'a>>],
        root: Option<&'a str>,
    ) -> Reader<'a> {
        Reader { elf, dwarf, headers, root, others: HashMap::new() }
    }

    /// Reads a unit.
    pub fn read(&mut self, index: usize) -> Result<UnitLines> {
        let header = self.headers[index];
        let read = |reader: &mut Self| {
            let unit = reader.dwarf.unit(header)?;
            let mut out = UnitLines::default();
            let mut files = Files::default();
            reader.rows(&unit, &mut files, &mut out)?;
            reader.functions(&unit, &mut files, &mut out)?;
            out.files = files.names;
            Ok(out)
        };
        read(self).map_err(|error: gimli::Error| anyhow::anyhow!("{error}")).with_context(|| {
            let offset = header.debug_info_offset().map_or(0, |offset| offset.0);
            format!("{}: the unit at {offset:#x} of .debug_info", self.elf.path().display())
        })
    }

    /// Reads the unit's program of lines.
    fn rows(
        &self,
        unit: &gimli::Unit<Slice<'a>>,
        files: &mut Files,
        out: &mut UnitLines,
    ) -> gimli::Result<()> {
        let Some(program) = unit.line_program.clone() else { return Ok(()) };
        let mut rows = program.rows();
        let mut last: Option<(u64, u32, u32)> = None;
        while let Some((_, row)) = rows.next_row()? {
            let address = row.address();
            if let Some((start, file, line)) = last.take()
                && start < address
                && let Some(section) = self.elf.section_at(start)
            {
                let range = start..address.min(section.range.end);
                match out.rows.last_mut() {
                    Some((before, old_file, old_line))
                        if before.end == start && (*old_file, *old_line) == (file, line) =>
                    {
                        before.end = range.end;
                    }
                    _ => out.rows.push((range, file, line)),
                }
            }
            if !row.end_sequence() {
                let file = self.file(unit, files, row.file_index())?;
                last = Some((address, file, number(row.line().map_or(0, |line| line.get()))));
            }
        }
        Ok(())
    }

    /// The number of a file, by its index in the unit's table.
    fn file(
        &self,
        unit: &gimli::Unit<Slice<'a>>,
        files: &mut Files,
        index: u64,
    ) -> gimli::Result<u32> {
        if let Some(&number) = files.by_index.get(&index) {
            return Ok(number);
        }
        let name = self.file_of(unit, AttributeValue::FileIndex(index))?;
        let number = files.number(name.unwrap_or_else(|| UNKNOWN.to_owned()));
        files.by_index.insert(index, number);
        Ok(number)
    }

    /// The name of a file of a unit, relative to its tree.
    fn file_name(
        &self,
        unit: &gimli::Unit<Slice<'a>>,
        entry: &gimli::FileEntry<Slice<'a>>,
        header: &gimli::LineProgramHeader<Slice<'a>>,
    ) -> gimli::Result<String> {
        let name = self.dwarf.attr_string(unit, entry.path_name())?.to_string_lossy();
        // Directory 0 is that of the compilation, which is another argument.
        let directory = match entry.directory(header) {
            Some(directory) if entry.directory_index() != 0 => {
                self.dwarf.attr_string(unit, directory)?.to_string_lossy()
            }
            _ => Default::default(),
        };
        let compiled_in = unit.comp_dir.map(|name| name.to_string_lossy()).unwrap_or_default();
        Ok(source::relative(&name, &directory, &compiled_in, self.root))
    }

    /// The name of a file by its number in a unit.
    fn file_of(
        &self,
        unit: &gimli::Unit<Slice<'a>>,
        value: AttributeValue<Slice<'a>>,
    ) -> gimli::Result<Option<String>> {
        let AttributeValue::FileIndex(index) = value else { return Ok(None) };
        let Some(program) = &unit.line_program else { return Ok(None) };
        let header = program.header();
        // Before DWARF 5 the number 0 is no file.
        if index == 0 && header.version() < 5 {
            return Ok(None);
        }
        header.file(index).map(|entry| self.file_name(unit, entry, header)).transpose()
    }

    /// Reads the functions of a unit.
    fn functions(
        &mut self,
        unit: &gimli::Unit<Slice<'a>>,
        files: &mut Files,
        out: &mut UnitLines,
    ) -> gimli::Result<()> {
        // Ranges with depth and node.
        let mut ranges: Vec<(Range<u64>, usize, u32)> = Vec::new();
        let mut functions = Functions::default();
        // Functions that are open: depth in the tree of entries, and node.
        let mut open: Vec<(isize, u32)> = Vec::new();
        let mut entries = unit.entries_raw(None)?;
        while !entries.is_empty() {
            let depth = entries.next_depth();
            let offset = entries.next_offset();
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            while open.last().is_some_and(|&(other, _)| other >= depth) {
                open.pop();
            }
            let tag = abbreviation.tag();
            if tag != gimli::DW_TAG_subprogram && tag != gimli::DW_TAG_inlined_subroutine {
                entries.skip_attributes(abbreviation.attributes())?;
                continue;
            }
            let instance = self.instance(unit, &mut entries, abbreviation)?;
            let code = self.code(unit, &instance)?;
            if code.is_empty() {
                continue;
            }
            // An instance is named by the function that it is an instance of.
            let key = instance.origin.and_then(|origin| target(unit, origin));
            let Some(key) = key.or_else(|| offset.to_debug_info_offset(&unit.header)) else {
                continue;
            };
            let function = match functions.numbers.get(&key) {
                Some(&function) => function,
                None => {
                    let named = self.name(unit, key, MAX_REFERENCES)?;
                    functions.add(key, named)
                }
            };
            let parent = match open.last() {
                Some(&(_, parent)) if tag == gimli::DW_TAG_inlined_subroutine => parent,
                _ => NONE,
            };
            let mut call = (NONE, 0);
            if let Some(caller) = out.nodes.get(parent as usize)
                && let Some(AttributeValue::FileIndex(file)) = instance.call_file
            {
                call = (self.file(unit, files, file)?, instance.call_line);
                functions.files_of_calls.entry(caller.function).or_insert(call.0);
            }
            let node = out.nodes.len() as u32;
            out.nodes.push(Node { function, parent, call });
            ranges.extend(code.into_iter().map(|range| (range, open.len(), node)));
            open.push((depth, node));
        }
        out.spans = innermost(ranges);
        functions.finish(files, out, self.unit_name(unit));
        Ok(())
    }

    /// Reads what an entry says of an instance of a function.
    fn instance(
        &self,
        unit: &gimli::Unit<Slice<'a>>,
        entries: &mut gimli::EntriesRaw<Slice<'a>>,
        abbreviation: &gimli::Abbreviation,
    ) -> gimli::Result<Instance<'a>> {
        let mut instance = Instance::default();
        for &specification in abbreviation.attributes() {
            let attribute = entries.read_attribute(specification)?;
            match attribute.name() {
                gimli::DW_AT_low_pc => {
                    instance.low = self.dwarf.attr_address(unit, attribute.value())?;
                }
                gimli::DW_AT_high_pc => instance.high = Some(attribute.value()),
                gimli::DW_AT_ranges => instance.ranges = Some(attribute.value()),
                gimli::DW_AT_abstract_origin => instance.origin = Some(attribute.value()),
                gimli::DW_AT_call_file => instance.call_file = Some(attribute.value()),
                gimli::DW_AT_call_line => {
                    instance.call_line = number(attribute.udata_value().unwrap_or(0));
                }
                _ => {}
            }
        }
        Ok(instance)
    }

    /// The code of an instance. What the linker removed is in no section.
    fn code(
        &self,
        unit: &gimli::Unit<Slice<'a>>,
        instance: &Instance<'a>,
    ) -> gimli::Result<Vec<Range<u64>>> {
        let mut code = Vec::new();
        let mut add = |start: u64, end: u64| {
            if let Some(section) = self.elf.section_at(start)
                && start < end
            {
                code.push(start..end.min(section.range.end));
            }
        };
        if let Some(ranges) = instance.ranges {
            if let Some(mut ranges) = self.dwarf.attr_ranges(unit, ranges)? {
                while let Some(range) = ranges.next()? {
                    add(range.begin, range.end);
                }
            }
        } else if let (Some(low), Some(high)) = (instance.low, instance.high) {
            match self.dwarf.attr_address(unit, high)? {
                Some(end) => add(low, end),
                None => add(low, low.saturating_add(high.udata_value().unwrap_or(0))),
            }
        }
        Ok(code)
    }

    /// The name of a unit's main file.
    fn unit_name(&self, unit: &gimli::Unit<Slice<'a>>) -> Option<String> {
        let name = unit.name?.to_string_lossy();
        let compiled_in = unit.comp_dir.map(|name| name.to_string_lossy()).unwrap_or_default();
        // The compiler of Rust adds the name of the codegen unit.
        let name = name.split("/@/").next().unwrap_or(&name);
        Some(source::relative(name, "", &compiled_in, self.root))
    }

    /// Name and file of the function at an entry, in this unit or in another one.
    fn name(
        &mut self,
        unit: &gimli::Unit<Slice<'a>>,
        at: DebugInfoOffset,
        references: usize,
    ) -> gimli::Result<Named> {
        if let Some(offset) = at.to_unit_offset(&unit.header) {
            return self.name_in(unit, offset, references);
        }
        let after = self.headers.partition_point(|header| {
            header.debug_info_offset().is_some_and(|offset| offset.0 <= at.0)
        });
        let unknown = Named { name: UNKNOWN.to_owned(), file: None };
        let Some(index) = after.checked_sub(1) else { return Ok(unknown) };
        let other = match self.others.get(&index) {
            Some(other) => other.clone(),
            None => {
                let other = Rc::new(self.dwarf.unit(self.headers[index])?);
                self.others.insert(index, other.clone());
                other
            }
        };
        match at.to_unit_offset(&other.header) {
            Some(offset) => self.name_in(&other, offset, references),
            None => Ok(unknown),
        }
    }

    fn name_in(
        &mut self,
        unit: &gimli::Unit<Slice<'a>>,
        offset: UnitOffset,
        references: usize,
    ) -> gimli::Result<Named> {
        let entry = unit.entry(offset)?;
        let mut named = Named { name: UNKNOWN.to_owned(), file: None };
        let further = [gimli::DW_AT_abstract_origin, gimli::DW_AT_specification];
        let further = further.into_iter().find_map(|name| entry.attr_value(name));
        if let Some(at) = further.and_then(|value| target(unit, value))
            && references > 0
        {
            named = self.name(unit, at, references - 1)?;
        }
        if let Some(name) = entry.attr_value(gimli::DW_AT_name) {
            let name = self.dwarf.attr_string(unit, name)?.to_string_lossy();
            named.name = without_parameters(&name).to_owned();
        }
        if let Some(file) = entry.attr_value(gimli::DW_AT_decl_file)
            && let Some(file) = self.file_of(unit, file)?
        {
            named.file = Some(file);
        }
        Ok(named)
    }
}

impl Functions {
    /// Takes in a function that was not there yet.
    fn add(&mut self, key: DebugInfoOffset, named: Named) -> u32 {
        let number = self.named.len() as u32;
        self.named.push(named);
        self.numbers.insert(key, number);
        number
    }

    /// Decides which files the functions of a unit are in.
    fn finish(self, files: &mut Files, out: &mut UnitLines, main_file: Option<String>) {
        let votes = votes(out, self.named.len());
        for (function, (named, votes)) in (0..).zip(self.named.into_iter().zip(votes)) {
            let votes = votes.into_iter();
            let most =
                votes.map(|(file, bytes)| (bytes, Reverse(&files.names[file as usize]), file));
            let most = most.max().map(|(.., file)| file);
            let file = match (named.file, most.or(self.files_of_calls.get(&function).copied())) {
                (Some(file), _) => files.number(file),
                (None, Some(file)) => file,
                (None, None) => {
                    files.number(main_file.clone().unwrap_or_else(|| UNKNOWN.to_owned()))
                }
            };
            out.functions.push((file, named.name));
        }
    }
}

/// The number of a line; those that no source has are all the last one.
fn number(line: u64) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

/// The entry that an attribute refers to.
fn target<'a>(
    unit: &gimli::Unit<Slice<'a>>,
    value: AttributeValue<Slice<'a>>,
) -> Option<DebugInfoOffset> {
    match value {
        AttributeValue::UnitRef(offset) => offset.to_debug_info_offset(&unit.header),
        AttributeValue::DebugInfoRef(offset) => Some(offset),
        _ => None,
    }
}

/// The name of a generic function, without what it is an instance for.
fn without_parameters(name: &str) -> &str {
    match name.find('<') {
        Some(at) if at > 0 => &name[..at],
        _ => name,
    }
}

/// Cuts ranges with depth and node into spans that each belong to the deepest node there.
fn innermost(mut ranges: Vec<(Range<u64>, usize, u32)>) -> Vec<(Range<u64>, u32)> {
    ranges.sort_by_key(|(range, depth, node)| (range.start, *depth, *node));
    let mut spans: Vec<(Range<u64>, u32)> = Vec::with_capacity(ranges.len());
    // Where each open range ends; an inner one never after the outer one.
    let mut open: Vec<(u64, u32)> = Vec::new();
    let mut done = 0;
    let mut emit = |done: &mut u64, end: u64, node: u32| {
        if *done < end {
            match spans.last_mut() {
                Some((before, other)) if before.end == *done && *other == node => before.end = end,
                _ => spans.push((*done..end, node)),
            }
            *done = end;
        }
    };
    for (range, _, node) in ranges {
        while let Some(&(end, other)) = open.last() {
            if end > range.start {
                emit(&mut done, range.start, other);
                break;
            }
            emit(&mut done, end, other);
            open.pop();
        }
        done = done.max(range.start);
        let end = open.last().map_or(range.end, |&(outer, _)| range.end.min(outer));
        open.push((end, node));
    }
    while let Some((end, node)) = open.pop() {
        emit(&mut done, end, node);
    }
    spans
}

/// How many bytes of each function's own code come from which file.
fn votes(unit: &UnitLines, functions: usize) -> Vec<BTreeMap<u32, u64>> {
    let mut votes = vec![BTreeMap::new(); functions];
    let mut rows: Vec<&(Range<u64>, u32, u32)> = unit.rows.iter().collect();
    rows.sort_by_key(|(range, ..)| range.start);
    let mut first = 0;
    for (span, node) in &unit.spans {
        while rows.get(first).is_some_and(|(range, ..)| range.end <= span.start) {
            first += 1;
        }
        let within = rows[first..].iter().take_while(|(range, ..)| range.start < span.end);
        for (range, file, _) in within.filter(|(.., line)| *line != 0) {
            let bytes = range.end.min(span.end).saturating_sub(range.start.max(span.start));
            let function = unit.nodes[*node as usize].function;
            *votes[function as usize].entry(*file).or_default() += bytes;
        }
    }
    votes
}

#[cfg(test)]
mod tests;

//! ELF files: where their code is, what it is called, and their debug information.
//!
//! Decides which bytes are code: the sections that are allocated, executable and hold an instruction
//! (a module's `.plt` is one byte that the loader makes room with). Code is spoken of by *link
//! address*: the address in a linked file; in a relocatable one, where every section begins at 0, an
//! address that this module gives it (sections in order, far apart).
//!
//! Invariants: the sections of an [`Elf`] do not overlap and are sorted by address; its symbols are
//! sorted by address, one for each address, and lie in its sections.
//!
//! Trusts the file to stay as it is while it is open. Everything in it is checked before it is used.
//! The formats are those of the System V ABI and of ELF for the Arm 64-bit Architecture (AAELF64).

use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use memmap2::Mmap;
use object::elf::{EM_AARCH64, SHF_ALLOC, SHF_EXECINSTR, STT_FUNC, STT_NOTYPE};
use object::read::elf::{ElfFile64, FileHeader};
use object::{
    LittleEndian, Object, ObjectKind, ObjectSection, ObjectSymbol, RelocationKind,
    RelocationTarget, SectionFlags, SectionIndex,
};

#[cfg(test)]
mod tests;

/// Where sections of a relocatable file are put; never 0, which means "removed by the linker".
const FIRST_SECTION: u64 = 0x1000_0000;

/// The distance that sections of a relocatable file keep, and their alignment.
const SECTION_GAP: u64 = 0x1_0000;

/// `nop`, with which assembler and compiler align code.
const NOP: u32 = 0xd503_201f;

/// An ELF file for arm64.
#[derive(Debug)]
pub struct Elf {
    path: PathBuf,
    map: Mmap,
    sections: Vec<Section>,
    symbols: Vec<Symbol>,
    marks: Marks,
    /// Link addresses of instructions that the loader changes, sorted.
    relocated: Vec<u64>,
    relocatable: bool,
}

/// Starts of code (true) and of data (false) in the sections, sorted.
type Marks = Vec<(u64, bool)>;

/// A section of code.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Its link addresses.
    pub range: Range<u64>,
    /// Where its bytes are in the file, if they are.
    bytes: Option<Range<usize>>,
}

/// A name for code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Where it begins.
    pub address: u64,
    /// The name, demangled.
    pub name: String,
}

impl Elf {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Elf> {
        Elf::load(path).with_context(|| format!("ELF file {}", path.display()))
    }

    fn load(path: &Path) -> Result<Elf> {
        let file = File::open(path).context("it cannot be opened")?;
        // SAFETY: the mapping is private and read only. If another process cuts the file short this
        // one is ended by a signal: build products and unpacked packages are not written to here.
        let map = unsafe { Mmap::map(&file) }.context("it cannot be mapped")?;
        let object = parse(&map)?;
        let relocatable = object.kind() == ObjectKind::Relocatable;
        let mut sections = Vec::new();
        let mut next = FIRST_SECTION;
        for section in object.sections() {
            if !is_code(&section) {
                continue;
            }
            let (size, name) = (section.size(), section.name()?.to_owned());
            let start = if relocatable { next } else { section.address() };
            let end = start.checked_add(size).with_context(|| format!("{name} is too large"))?;
            if relocatable {
                next = end
                    .checked_next_multiple_of(SECTION_GAP)
                    .and_then(|end| end.checked_add(SECTION_GAP))
                    .with_context(|| format!("{name} is too large"))?;
            }
            let bytes = match section.file_range() {
                Some((offset, size)) => {
                    let range = to_usize(offset)?..to_usize(offset.saturating_add(size))?;
                    ensure!(map.get(range.clone()).is_some(), "{name} lies outside of the file");
                    ensure!(range.len() as u64 == end - start, "{name} is compressed");
                    Some(range)
                }
                None => None,
            };
            sections.push((section.index(), Section { name, range: start..end, bytes }));
        }
        ensure!(!sections.is_empty(), "there is no code in it");
        let base = |index: SectionIndex| {
            let (_, section) = sections.iter().find(|(other, _)| *other == index)?;
            Some((section.range.clone(), if relocatable { section.range.start } else { 0 }))
        };
        let (symbols, marks) = read_symbols(&object, base)?;
        let mut relocated = Vec::new();
        for (index, section) in sections.iter().filter(|_| relocatable) {
            let relocations = object.section_by_index(*index)?.relocations();
            relocated.extend(relocations.map(|(offset, _)| section.range.start + (offset & !3)));
        }
        relocated.sort_unstable();
        relocated.dedup();
        let mut sections: Vec<Section> = sections.into_iter().map(|(_, section)| section).collect();
        sections.sort_by_key(|section| section.range.start);
        if let Some([a, b]) = sections.array_windows().find(|[a, b]| a.range.end > b.range.start) {
            bail!("its sections {} and {} overlap", a.name, b.name);
        }
        Ok(Elf { path: path.to_owned(), map, sections, symbols, marks, relocated, relocatable })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sections of code, by address.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The symbols in code, by address.
    pub fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }

    /// Whether it is to be linked yet: a kernel module.
    pub fn is_relocatable(&self) -> bool {
        self.relocatable
    }

    /// The section that an address is in.
    pub fn section_at(&self, address: u64) -> Option<&Section> {
        let after = self.sections.partition_point(|section| section.range.start <= address);
        let section = &self.sections[after.checked_sub(1)?];
        section.range.contains(&address).then_some(section)
    }

    /// The last symbol at or before an address in its section.
    pub fn symbol_at(&self, address: u64) -> Option<&Symbol> {
        let section = self.section_at(address)?;
        let after = self.symbols.partition_point(|symbol| symbol.address <= address);
        let symbol = &self.symbols[after.checked_sub(1)?];
        section.range.contains(&symbol.address).then_some(symbol)
    }

    /// The address of a symbol, by name. A name for the end of code is no symbol in code: so this
    /// reads the file's whole symbol table.
    pub fn symbol_named(&self, name: &str) -> Result<u64> {
        let object = parse(&self.map)?;
        ensure!(!self.relocatable, "{} is not linked", self.path.display());
        let symbol = object.symbol_by_name(name).filter(|symbol| !symbol.is_undefined());
        Ok(symbol
            .with_context(|| format!("{} has no symbol {name}", self.path.display()))?
            .address())
    }

    /// The instruction at an address, if the file has it.
    pub fn opcode(&self, address: u64) -> Option<u32> {
        let section = self.section_at(address)?;
        let bytes = &self.map[section.bytes.clone()?];
        let offset = usize::try_from(address - section.range.start).ok()?;
        let word = bytes.get(offset..)?.first_chunk()?;
        Some(u32::from_le_bytes(*word))
    }

    /// Whether the loader changes the instruction at an address.
    pub fn is_relocated(&self, address: u64) -> bool {
        self.relocated.binary_search(&address).is_ok()
    }

    /// Whether there is an instruction at an address that does something: not data among code, and
    /// not the padding (zero and `nop`) that aligns the next function.
    pub fn is_instruction(&self, address: u64) -> bool {
        let after = self.marks.partition_point(|&(start, _)| start <= address);
        let code = after.checked_sub(1).is_none_or(|index| self.marks[index].1);
        code && !matches!(self.opcode(address), None | Some(0 | NOP))
    }

    /// A debug section by its name, decompressed and relocated; empty if there is none.
    pub fn debug_section(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let object = parse(&self.map)?;
        let Some(section) = object.section_by_name(name) else {
            return Ok(Cow::Borrowed(&[]));
        };
        let data = section.uncompressed_data()?;
        if !self.relocatable {
            return Ok(data);
        }
        let mut data = data.into_owned();
        for (offset, relocation) in section.relocations() {
            let error =
                || anyhow!("{}: a relocation at {offset:#x} of {name}", self.path.display());
            let target = match relocation.target() {
                RelocationTarget::Symbol(index) => {
                    let symbol = object.symbol_by_index(index)?;
                    let section =
                        symbol.section_index().map(|index| object.section_by_index(index));
                    let base = match section.transpose()? {
                        Some(section) if is_code(&section) => {
                            let name = section.name()?;
                            self.section_base(&object, section.index())
                                .with_context(|| format!("{name} has no address"))?
                        }
                        _ => 0,
                    };
                    base.wrapping_add(symbol.address())
                }
                RelocationTarget::Absolute => 0,
                _ => return Err(error().context("of an unknown target")),
            };
            let value = target.wrapping_add_signed(relocation.addend()).to_le_bytes();
            let place = to_usize(offset)?;
            match (relocation.kind(), relocation.size()) {
                (RelocationKind::None, _) => {}
                (RelocationKind::Absolute, size @ (32 | 64)) => data
                    .get_mut(place..)
                    .and_then(|rest| rest.get_mut(..usize::from(size / 8)))
                    .ok_or_else(|| error().context("outside of the section"))?
                    .copy_from_slice(&value[..usize::from(size / 8)]),
                _ => return Err(error().context("of an unknown kind")),
            }
        }
        Ok(Cow::Owned(data))
    }

    /// Where a section of code of a relocatable file was put.
    fn section_base(&self, object: &ElfFile64<LittleEndian>, index: SectionIndex) -> Option<u64> {
        // The sections of a relocatable file were put in their order in it.
        let place = object.sections().filter(is_code).position(|other| other.index() == index)?;
        Some(self.sections[place].range.start)
    }
}

fn parse(data: &[u8]) -> Result<ElfFile64<'_, LittleEndian>> {
    let object = ElfFile64::<LittleEndian>::parse(data)
        .context("it is no ELF file of 64 bits with the low byte first")?;
    let machine = object.elf_header().e_machine(LittleEndian);
    ensure!(machine == EM_AARCH64, "it is not for arm64: it has machine {machine:?}");
    Ok(object)
}

fn is_code<'data>(section: &impl ObjectSection<'data>) -> bool {
    let SectionFlags::Elf { sh_flags, .. } = section.flags() else { return false };
    sh_flags.contains(SHF_ALLOC | SHF_EXECINSTR) && section.size() >= 4
}

fn to_usize(value: u64) -> Result<usize> {
    usize::try_from(value).context("a size in the file is out of range")
}

/// Reads the names of code and the marks between code and data (AAELF64, mapping symbols).
fn read_symbols(
    object: &ElfFile64<LittleEndian>,
    section: impl Fn(SectionIndex) -> Option<(Range<u64>, u64)>,
) -> Result<(Vec<Symbol>, Marks)> {
    let mut found = Vec::new();
    let mut marks = Vec::new();
    for symbol in object.symbols() {
        let Some((range, base)) = symbol.section_index().and_then(&section) else { continue };
        let address = base.wrapping_add(symbol.address());
        let name = String::from_utf8_lossy(symbol.name_bytes()?);
        let kind = symbol.elf_symbol().st_type();
        if name.starts_with("$x") || name.starts_with("$d") {
            marks.push((address, name.starts_with("$x")));
        } else if range.contains(&address)
            && (kind == STT_FUNC || kind == STT_NOTYPE)
            && !name.is_empty()
            && !name.starts_with(".L")
        {
            let end = address.saturating_add(symbol.size()).min(range.end);
            let name = format!("{:#}", rustc_demangle::demangle(&name));
            found.push((address, kind != STT_FUNC, symbol.is_local(), name, end));
        }
    }
    // Of several names for an address a global function's is the best. A label within a function
    // whose size is known is no function.
    found.sort_unstable();
    found.dedup_by_key(|symbol| symbol.0);
    let mut symbols = Vec::with_capacity(found.len());
    let mut function_end = 0;
    for (address, is_label, _, name, end) in found {
        if is_label && address < function_end {
            continue;
        }
        if !is_label {
            function_end = end;
        }
        symbols.push(Symbol { address, name });
    }
    marks.sort_unstable();
    Ok((symbols, marks))
}

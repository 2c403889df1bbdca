use addr2line::Context;

use super::*;
use crate::fixtures::path;

fn read(name: &str) -> (Elf, Lines) {
    let elf = Elf::open(&path(name)).expect("the fixture opens");
    let lines = Lines::read(&elf, None).expect("the fixture has lines");
    (elf, lines)
}

/// What the instruction at an address is executed for, in words: functions and lines.
fn at(elf: &Elf, lines: &Lines, address: u64) -> Vec<String> {
    let words = |Frame { function, line }: Frame| {
        let line = match line {
            Some(Line::Source(line)) => {
                let (file, number) = lines.source(line);
                format!("{file}:{number}")
            }
            Some(Line::Instruction(address)) => format!("{address:#x}"),
            None => String::from("-"),
        };
        let (file, name) = function.map_or(("-", "-"), |function| lines.function(function));
        format!("{file} {name} {line}")
    };
    lines.frames_at(elf, address).map(words).collect()
}

/// What was read off the fixture by hand (see its README).
fn by_hand(address: u64) -> Vec<String> {
    let frames: &[&str] = match address {
        0x40000 | 0x4000c..=0x40018 => &["tiny.c add tiny.c:12", "tiny.c twice tiny.c:17"],
        0x40004 => &["tiny.c scale tiny.c:7", "tiny.c add tiny.c:12", "tiny.c twice tiny.c:17"],
        0x40008 | 0x4001c => &["tiny.c twice tiny.c:19"],
        0x40020 | 0x40028 => &["tiny.c start tiny.c:24"],
        0x40024 | 0x4002c..=0x40038 => &["tiny.c start tiny.c:25"],
        0x4003c => &["tiny.c start tiny.c:26"],
        0x40040 => &["(symbol table) vectors 0x40040"],
        0x40050 => &["(symbol table) vectors 0x40050"],
        0x40044..=0x4005c => &["(symbol table) vectors -"],
        0x40060 => &["(symbol table) bare 0x40060"],
        0x40064 => &["(symbol table) bare 0x40064"],
        _ => &[],
    };
    frames.iter().map(|frame| (*frame).to_owned()).collect()
}

#[test]
fn every_instruction_has_the_line_that_was_read_off_by_hand() {
    let (elf, lines) = read("tiny.elf");
    assert!(lines.has_source());
    for address in (0x3fff0..0x40080).step_by(4) {
        assert_eq!(at(&elf, &lines, address), by_hand(address), "{address:#x}");
    }
}

#[test]
fn another_reader_of_dwarf_agrees() {
    let (elf, lines) = read("tiny.elf");
    let data = gimli::DwarfSections::load(|id| elf.debug_section(id.name())).unwrap();
    let dwarf = data.borrow(|data| EndianSlice::new(data, LittleEndian));
    let context = Context::from_dwarf(dwarf).unwrap();
    for address in (0x40000..0x40040).step_by(4) {
        let mut frames = context.find_frames(address).skip_all_loads().unwrap();
        let mut theirs = Vec::new();
        while let Some(frame) = frames.next().unwrap() {
            let function = frame.function.unwrap();
            let line = frame.location.unwrap().line.unwrap();
            theirs.push(format!("tiny.c {} tiny.c:{line}", function.raw_name().unwrap()));
        }
        assert_eq!(at(&elf, &lines, address), theirs, "{address:#x}");
    }
}

#[test]
fn a_module_has_lines_in_each_section() {
    let (elf, lines) = read("module.ko");
    let [text, init] = elf.sections() else { panic!("it has two sections of code") };
    let (text, init) = (text.range.start, init.range.start);
    for (address, frames) in [
        (text, &["note 7", "work 12"][..]),
        (text + 4, &["work 11"]),
        (text + 8, &["work 14"]),
        (text + 0xc, &["note 7", "work 12"]),
        (text + 0x10, &["work 14"]),
        (init, &["note 7", "init 18"]),
        (init + 4, &["note 7", "init 18"]),
        (init + 8, &["init 20"]),
        (init + 0xc, &["note 7", "init 18"]),
        (init + 0x10, &["init 20"]),
    ] {
        let frames = frames.iter().map(|frame| frame.split_once(' ').unwrap());
        let expected: Vec<String> =
            frames.map(|(name, line)| format!("module.c {name} module.c:{line}")).collect();
        assert_eq!(at(&elf, &lines, address), expected, "{address:#x}");
    }
    let code: Vec<_> = elf.sections().iter().map(|section| section.range.clone()).collect();
    // note is one function, and line 7 one line, although it is inlined twice.
    assert_eq!(lines.size(&elf, &code), Size { functions: 3, lines: 6, bytes: 0x28 });
    assert_eq!(lines.size(&elf, &code[1..]), Size { functions: 2, lines: 3, bytes: 0x14 });
}

#[test]
fn static_size_is_what_can_be_traversed() {
    let (elf, lines) = read("tiny.elf");
    let all = std::slice::from_ref(&elf.sections()[0].range);
    assert_eq!(lines.size(&elf, all), Size { functions: 6, lines: 11, bytes: 0x68 });
    for (range, functions, count) in [
        // The instruction that is of three functions.
        (0x40004..0x40008, 3, 3),
        (0x40008..0x4000c, 1, 1),
        (0x40000..0x40020, 3, 4),
        (0x40038..0x40044, 2, 3),
        (0x40044..0x40050, 1, 0),
        (0x3f000..0x40000, 0, 0),
    ] {
        let bytes = (range.end - range.start) * u64::from(range.start >= 0x40000);
        let size = Size { functions, lines: count, bytes };
        assert_eq!(lines.size(&elf, std::slice::from_ref(&range)), size, "{range:x?}");
    }
    // Whatever is cut out, the whole is the sum where no line and no function is shared.
    let parts = [0x40000..0x40020, 0x40020..0x40040, 0x40040..0x40068];
    let size = |part| lines.size(&elf, std::slice::from_ref(part)).lines;
    let sum = parts.iter().map(size).sum::<u64>();
    assert_eq!(sum, 11);
    assert_eq!(lines.size(&elf, &parts), lines.size(&elf, all));
}

#[test]
fn with_symbols_alone_every_instruction_is_a_line() {
    let (elf, lines) = read("symbols.elf");
    assert!(!lines.has_source());
    let all = std::slice::from_ref(&elf.sections()[0].range);
    // 26 words without 5 of padding and one of data.
    assert_eq!(lines.size(&elf, all), Size { functions: 4, lines: 20, bytes: 0x68 });
    assert_eq!(at(&elf, &lines, 0x40004), ["(symbol table) twice 0x40004"]);
}

#[test]
fn a_stripped_file_says_so() {
    let elf = Elf::open(&path("stripped.elf")).expect("it is an ELF file");
    let error = format!("{:#}", Lines::read(&elf, None).expect_err("it has nothing"));
    assert!(error.contains("neither debug information nor symbols"), "{error}");
    assert!(error.contains("stripped.elf"), "{error}");
}

#[test]
fn a_root_is_cut_off() {
    let elf = Elf::open(&path("tiny.elf")).unwrap();
    let lines = Lines::read(&elf, Some("/build")).unwrap();
    assert_eq!(at(&elf, &lines, 0x40008), ["tiny/tiny.c twice tiny/tiny.c:19"]);
}

#[test]
fn ranges_are_kept_apart() {
    let ranges = apart(vec![(0..8, 'a'), (4..12, 'b'), (4..6, 'c'), (20..24, 'd')]);
    assert_eq!(ranges, [(0..8, 'a'), (8..12, 'b'), (20..24, 'd')]);
}

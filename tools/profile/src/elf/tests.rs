use super::*;
use crate::fixtures::path;

fn open(name: &str) -> Elf {
    Elf::open(&path(name)).expect("the fixture opens")
}

fn error(path: &Path) -> String {
    format!("{:#}", Elf::open(path).expect_err("it is refused"))
}

#[test]
fn a_linked_file_has_its_own_addresses() {
    let elf = open("tiny.elf");
    assert!(!elf.is_relocatable());
    assert_eq!(elf.sections().len(), 1);
    assert_eq!(elf.sections()[0].name, ".text");
    assert_eq!(elf.sections()[0].range, 0x40000..0x40068);
    assert_eq!(elf.opcode(0x40000), Some(0xf000_00e2));
    assert_eq!(elf.opcode(0x40064), Some(0xd65f_03c0));
    assert_eq!(elf.opcode(0x40066), None);
    assert_eq!(elf.opcode(0x40068), None);
    assert_eq!(elf.opcode(0x3fffc), None);
}

#[test]
fn labels_in_a_function_are_no_functions() {
    let elf = open("tiny.elf");
    let names: Vec<(u64, &str)> =
        elf.symbols().iter().map(|symbol| (symbol.address, symbol.name.as_str())).collect();
    let expected =
        [(0x40000, "twice"), (0x40020, "start"), (0x40040, "vectors"), (0x40060, "bare")];
    assert_eq!(names, expected);
    assert_eq!(elf.symbol_at(0x40064).map(|symbol| symbol.name.as_str()), Some("bare"));
    assert_eq!(elf.symbol_at(0x3fffc), None);
    assert_eq!(elf.symbol_at(0x40068), None);
    assert_eq!(elf.symbol_named("inner").unwrap(), 0x40064);
    // One that is not in code.
    assert_eq!(elf.symbol_named("total").unwrap(), 0x5ffe8);
    let error = format!("{:#}", elf.symbol_named("nothing").expect_err("there is none"));
    assert!(error.contains("has no symbol nothing"), "{error}");
}

#[test]
fn padding_and_data_are_no_instructions() {
    let elf = open("tiny.elf");
    let instructions: Vec<u64> =
        (0x40040..0x40070).step_by(4).filter(|&address| elf.is_instruction(address)).collect();
    assert_eq!(instructions, [0x40040, 0x40050, 0x40060, 0x40064]);
}

#[test]
fn a_module_has_sections_apart_and_knows_what_the_loader_changes() {
    let elf = open("module.ko");
    assert!(elf.is_relocatable());
    let [text, init] = elf.sections() else { panic!("it has two sections of code") };
    assert_eq!((text.name.as_str(), init.name.as_str()), (".text", ".init.text"));
    assert_eq!(text.range.end - text.range.start, 0x14);
    assert!(text.range.start != 0 && text.range.end + 4 < init.range.start);
    for section in [text, init] {
        let relocated: Vec<u64> = section
            .range
            .clone()
            .step_by(4)
            .filter(|&address| elf.is_relocated(address))
            .map(|address| address - section.range.start)
            .collect();
        assert_eq!(relocated, [0, 0xc]);
    }
    assert_eq!(elf.symbol_at(init.range.start).map(|symbol| symbol.name.as_str()), Some("init"));
    assert!(elf.symbol_named("init").is_err(), "where it is linked is not known yet");
}

#[test]
fn debug_sections_of_a_module_are_relocated() {
    let elf = open("module.ko");
    let line = elf.debug_section(".debug_line").unwrap();
    // The program of lines sets the address of .init.text by an extended opcode.
    let mut set = vec![0, 9, 2];
    set.extend(elf.sections()[1].range.start.to_le_bytes());
    assert!(line.windows(set.len()).any(|window| window == set));
    assert!(elf.debug_section(".debug_nothing").unwrap().is_empty());
}

#[test]
fn what_cannot_be_read_is_named() {
    assert!(error(Path::new("no/such/file")).contains("no/such/file: it cannot be opened"));
    assert!(error(&path("tiny.c")).contains("no ELF file of 64 bits"));
    let directory = std::env::temp_dir().join(format!("redoubt-elf-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let whole = std::fs::read(path("tiny.elf")).unwrap();
    let mut other = whole.clone();
    other[18] = 62;
    let mut empty = whole.clone();
    // A header alone: no section, so no code.
    empty.truncate(64);
    empty[40..48].fill(0);
    empty[54..64].fill(0);
    for (name, bytes, expected) in [
        ("other", &other[..], "not for arm64"),
        ("empty", &empty, "there is no code in it"),
        ("cut", &whole[..whole.len() / 2], "ELF file"),
        ("nothing", &[], "ELF file"),
    ] {
        let file = directory.join(name);
        std::fs::write(&file, bytes).unwrap();
        let error = error(&file);
        assert!(error.contains(expected), "{name}: {error}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn no_damage_to_a_file_is_worse_than_an_error() {
    let whole = std::fs::read(path("module.ko")).unwrap();
    let file = std::env::temp_dir().join(format!("redoubt-damaged-{}", std::process::id()));
    // All of the header, and a part of the rest, which is large.
    for at in (0..64).chain((64..whole.len()).step_by(7)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        std::fs::write(&file, &bytes).unwrap();
        // It may still be readable: then it is read to its end.
        if let Ok(elf) = Elf::open(&file)
            && let Ok(lines) = crate::lines::Lines::read(&elf, None)
        {
            let code: Vec<_> = elf.sections().iter().map(|section| section.range.clone()).collect();
            assert!(lines.size(&elf, &code).bytes >= 4, "byte {at}");
        }
    }
    std::fs::remove_file(&file).unwrap();
}

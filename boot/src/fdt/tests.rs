//! Well-formed trees are read, all others refused.

use super::*;
use crate::testing::{CPUS4_2G, GOOD, Tree, blob, cells, numbers, small_machine};

const BEGIN: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

fn error(blob: &[u8]) -> FdtError {
    Fdt::new(blob).expect_err("must be refused")
}

/// The tree with one word of the header changed.
fn with_header(offset: usize, value: u32) -> Vec<u8> {
    let mut blob = CPUS4_2G.to_vec();
    blob[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
    blob
}

/// The verdict on a structure block, with `a` at strings offset 0.
fn structure(words: &[u32]) -> Result<(), FdtError> {
    Fdt::new(&blob(&[], &cells(words), b"a\0")).map(|_| ())
}

#[test]
fn header_fields_are_held_against_the_slice() {
    let size = CPUS4_2G.len() as u32;
    let cases = [
        (0, 0xd00d_feee, FdtError::BadMagic),
        (4, 39, FdtError::Truncated),
        (4, size + 1, FdtError::Truncated),
        (4, (2 << 20) + 1, FdtError::TooLarge),
        (4, u32::MAX, FdtError::TooLarge),
        (8, !3, FdtError::BadBlock),
        (8, size & !3, FdtError::BadBlock),
        (8, 57, FdtError::BadBlock),
        (12, size, FdtError::BadBlock),
        (12, u32::MAX, FdtError::BadBlock),
        (16, 44, FdtError::BadBlock),
        (16, !7, FdtError::BadBlock),
        (20, 15, FdtError::BadVersion),
        (24, 18, FdtError::BadVersion),
        (32, u32::MAX, FdtError::BadBlock),
        (32, 1, FdtError::BadName),
        (36, u32::MAX, FdtError::BadBlock),
        (36, 0, FdtError::BadStructure),
        (36, 8, FdtError::BadStructure),
    ];
    for (offset, value, expected) in cases {
        assert_eq!(error(&with_header(offset, value)), expected, "word at {offset} = {value:#x}");
    }
}

#[test]
fn every_truncation_is_refused() {
    for len in 0..CPUS4_2G.len() {
        assert_eq!(error(&CPUS4_2G[..len]), FdtError::Truncated, "{len} bytes");
    }
    // Also where the header admits to it.
    for len in (40..CPUS4_2G.len()).step_by(4) {
        let mut cut = with_header(4, len as u32);
        cut.truncate(len);
        assert!(Fdt::new(&cut).is_err(), "{len} bytes");
    }
}

#[test]
fn version_16_needs_no_structure_size() {
    let mut blob = small_machine().write();
    blob[20..24].copy_from_slice(&16u32.to_be_bytes());
    blob[36..40].copy_from_slice(&0u32.to_be_bytes());
    assert!(Fdt::new(&blob).unwrap().find(b"/cpus/cpu@1").is_some());
}

#[test]
fn a_reservation_block_without_end_is_refused() {
    let mut blob = Vec::from(&with_header(16, CPUS4_2G.len() as u32 & !7)[..]);
    assert_eq!(error(&blob), FdtError::BadReserveMap);
    // The strings of a tree are never all zero, so nor do they end the block.
    blob = with_header(16, (CPUS4_2G.len() as u32 - 64) & !7);
    assert_eq!(error(&blob), FdtError::BadReserveMap);
}

#[test]
fn reservations_end_at_the_zero_entry_only() {
    let entries = [(0x4000_0000, 0x1000), (0, 0x2000), (0x5000_0000, 0)];
    let blob = Tree::new("").write_with(&entries);
    assert!(Fdt::new(&blob).unwrap().reservations().eq(entries));
}

#[test]
fn the_grammar_of_the_structure_block() {
    let cases: [(&[u32], Result<(), FdtError>); 17] = [
        (&[BEGIN, 0, END_NODE, END], Ok(())),
        (&[NOP, BEGIN, 0, NOP, END_NODE, NOP, END], Ok(())),
        (&[BEGIN, 0, PROPERTY, 4, 0, 7, END_NODE, END], Ok(())),
        (&[], Err(FdtError::BadStructure)),
        (&[END], Err(FdtError::BadToken)),
        (&[END_NODE, END], Err(FdtError::BadToken)),
        (&[BEGIN, 0, END], Err(FdtError::BadToken)),
        (&[BEGIN, 0, END_NODE], Err(FdtError::BadStructure)),
        (&[BEGIN, 0, END_NODE, END_NODE, END], Err(FdtError::BadToken)),
        (&[BEGIN, 0, END_NODE, BEGIN, 0, END_NODE, END], Err(FdtError::BadToken)),
        (&[PROPERTY, 0, 0, BEGIN, 0, END_NODE, END], Err(FdtError::BadToken)),
        (&[BEGIN, 0, BEGIN, 0, END_NODE, PROPERTY, 0, 0, END_NODE, END], Err(FdtError::BadToken)),
        (&[BEGIN, 0, PROPERTY, 0, 2, END_NODE, END], Err(FdtError::BadName)),
        (&[BEGIN, 0, PROPERTY, 0, u32::MAX, END_NODE, END], Err(FdtError::BadName)),
        (&[BEGIN, 0, PROPERTY, u32::MAX, 0, END_NODE, END], Err(FdtError::BadStructure)),
        (&[BEGIN, 0, 5, END_NODE, END], Err(FdtError::BadToken)),
        (&[BEGIN, 0x6161_6161], Err(FdtError::BadName)),
    ];
    for (words, expected) in cases {
        assert_eq!(structure(words), expected, "{words:?}");
    }
}

#[test]
fn names_have_a_longest_length() {
    let named = |len: usize| Tree::new("").with_child(Tree::new(&"n".repeat(len))).write();
    assert!(Fdt::new(&named(MAX_NAME_SIZE)).is_ok());
    assert_eq!(error(&named(MAX_NAME_SIZE + 1)), FdtError::BadName);
    let property = |len: usize| Tree::new("").with(&"p".repeat(len), b"").write();
    assert!(Fdt::new(&property(MAX_NAME_SIZE)).is_ok());
    assert_eq!(error(&property(MAX_NAME_SIZE + 1)), FdtError::BadName);
}

#[test]
fn depth_has_a_bound() {
    let nested = |depth: usize| {
        let mut words = Vec::new();
        for _ in 0..depth {
            words.extend([BEGIN, 0]);
        }
        words.extend(vec![END_NODE; depth]);
        words.push(END);
        structure(&words)
    };
    assert_eq!(nested(MAX_DEPTH), Ok(()));
    assert_eq!(nested(MAX_DEPTH + 1), Err(FdtError::TooDeep));
    assert_eq!(nested(50_000), Err(FdtError::TooDeep));
}

#[test]
fn ten_thousand_nodes_are_walked() {
    let mut tree = Tree::new("");
    for number in 0..10_000 {
        tree.children.push(Tree::new(&format!("n@{number}")).with("reg", &cells(&[number])));
    }
    let blob = tree.write();
    let fdt = Fdt::new(&blob).unwrap();
    let mut walk = fdt.walk();
    let mut seen = 0;
    while walk.next_node().is_some() {
        seen += 1;
    }
    assert_eq!(seen, 10_001);
    assert!(fdt.find(b"/n@9999").is_some());
}

#[test]
fn real_trees_are_read() {
    for blob in GOOD {
        let fdt = Fdt::new(blob).unwrap();
        assert_eq!(Tree::read(&fdt), Tree::read(&Fdt::new(&Tree::read(&fdt).write()).unwrap()));
        let uart = fdt.find(b"/pl011@9000000").unwrap();
        assert!(uart.node().is_compatible(b"arm,pl011"));
        assert!(!uart.node().is_compatible(b"arm,pl01"));
        assert_eq!(uart.reg().unwrap().next(), Some(Ok((0x900_0000, 0x1000))));
    }
}

#[test]
fn paths_match_whole_components() {
    let blob = small_machine().write();
    let fdt = Fdt::new(&blob).unwrap();
    for found in ["/", "/soc", "/soc/", "//soc", "/soc/serial@9000000", "/soc/serial", "/memory"] {
        assert!(fdt.find(found.as_bytes()).is_some(), "{found}");
    }
    for absent in
        ["", "soc", "/so", "/soc/serial@9", "/serial@9000000", "/soc/serial/x", "/memory@4"]
    {
        assert!(fdt.find(absent.as_bytes()).is_none(), "{absent}");
    }
}

#[test]
fn strings_and_numbers() {
    let property = |value| Property { name: b"p", value };
    let list = |value| property(value).strings().collect::<Vec<&[u8]>>();
    assert_eq!(list(b"a\0bc\0"), [b"a".as_slice(), b"bc"]);
    assert_eq!(list(b"a\0bc"), [b"a".as_slice(), b"bc"]);
    assert_eq!(property(b"path\0").as_string(), Some(b"path".as_slice()));
    assert_eq!(property(b"path").as_string(), None);
    assert_eq!(property(b"a\0b\0").as_string(), None);
    assert_eq!(property(b"").as_string(), None);
    assert_eq!(property(&[0, 0, 1, 0]).as_number(), Some(256));
    assert_eq!(property(&[0, 0, 0, 1, 0, 0, 0, 0]).as_number(), Some(1 << 32));
    assert_eq!(property(&[0, 0, 1]).as_number(), None);
    assert_eq!(property(&[0; 8]).as_u32(), None);
}

#[test]
fn disablement_is_inherited() {
    let mut tree = small_machine();
    for (status, enabled) in [
        ("okay\0", true),
        ("ok\0", true),
        ("disabled\0", false),
        ("reserved\0", false),
        ("okay", false),
    ] {
        tree.at("soc").set("status", status.as_bytes());
        let blob = tree.write();
        let path = Fdt::new(&blob).unwrap().find(b"/soc/serial").unwrap();
        assert_eq!(path.is_enabled(), enabled, "{status:?}");
        assert!(path.node().status_is_okay());
    }
}

/// Translates the UART of a machine changed by `edit`.
fn translate(edit: impl FnOnce(&mut Tree)) -> Result<Option<crate::PhysRange>, crate::BootError> {
    let mut tree = small_machine();
    edit(tree.at("soc"));
    let blob = tree.write();
    let path = Fdt::new(&blob).unwrap().find(b"/soc/serial").unwrap();
    let (address, size) = path.reg()?.next().unwrap()?;
    path.translate(address, size)
}

#[test]
fn buses_translate_addresses() {
    use crate::{BootError, PhysRange, error::NodeName};
    let at = |start| Ok(PhysRange::new(start, 0x1000));
    assert_eq!(translate(|_| {}), at(0x1900_0000));
    assert_eq!(translate(|soc| soc.set("ranges", b"")), at(0x900_0000));
    assert_eq!(translate(|soc| soc.unset("ranges")), Ok(None));
    let entry = |child: u32, parent: u64, size: u32| {
        [cells(&[child]), numbers(&[parent]), cells(&[size])].concat()
    };
    // The second entry matches; the first ends where the UART starts, or covers half of it.
    for size in [0x100_0000, 0x100_0800] {
        let two = [entry(0x800_0000, 0x5000_0000, size), entry(0x900_0000, 0x7000_0000, 0x1000)];
        assert_eq!(translate(|soc| soc.set("ranges", &two.concat())), at(0x7000_0000));
    }
    assert_eq!(translate(|soc| soc.set("ranges", &entry(0x900_0000, 0, 0xfff))), Ok(None));
    let wraps = BootError::DeviceWraps(NodeName::new(b"serial@9000000"));
    for parent in [(1 << 52) - 0xfff, u64::MAX - 0xffe] {
        assert_eq!(
            translate(|soc| soc.set("ranges", &entry(0x900_0000, parent, 0x1000))),
            Err(wraps)
        );
    }
    let bad = Err(BootError::BadProperty(NodeName::new(b"soc"), "ranges"));
    assert_eq!(translate(|soc| soc.set("ranges", &cells(&[1]))), bad);
    let many = vec![entry(0, 0, 1); 65].concat();
    assert_eq!(
        translate(|soc| soc.set("ranges", &many)),
        Err(BootError::TooManyBusRanges(NodeName::new(b"soc")))
    );
    let bad = Err(BootError::BadProperty(NodeName::new(b"serial@9000000"), "reg"));
    for count in [3, 5, u32::MAX] {
        assert_eq!(translate(|soc| soc.set("#address-cells", &cells(&[count]))), bad, "{count}");
    }
}

#[test]
fn nested_buses_translate_in_turn() {
    let mut tree = small_machine();
    tree.at("soc").children.push(
        Tree::new("inner")
            .with("#address-cells", &cells(&[1]))
            .with("#size-cells", &cells(&[1]))
            .with("ranges", &cells(&[0x10, 0x908_0000, 0x1000]))
            .with_child(Tree::new("device@20").with("reg", &cells(&[0x20, 0x10]))),
    );
    let blob = tree.write();
    let path = Fdt::new(&blob).unwrap().find(b"/soc/inner/device").unwrap();
    assert_eq!(path.translate(0x20, 0x10), Ok(crate::PhysRange::new(0x1908_0010, 0x10)));
}

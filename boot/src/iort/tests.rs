//! QEMU's tables, and each way in which they can say that nothing is guarded, or nothing at all.

use super::*;
use crate::fdt::Fdt;
use crate::fuzz_tests::Random;
use crate::testing;

// The table of QEMU 10.0.2 without its header: an ITS group, an SMMUv3 (if any), a root complex.
const ITS_GROUP: &str = "00000000001800010000000000000000000000000100000000000000";
const SMMU: &str = "04580004010000000100000044000000000005090000000001000000000000000000000000000000\
                    000000006a0000006b0000006d0000006c000000000000000000000000000000ffff00000000000\
                    03000000000000000";
/// The root bus to the SMMU, all other buses, which have no numbers yet, to the ITS.
const ROOT: &str = "024c0003020000000200000024000000010000000000000300000000000000004000000000000000\
                    ff0000000000000048000000000000000001 0000fffe0000000100003000000000000000";
/// With `default-bus-bypass-iommu=on`: everything to the ITS.
const BYPASS: &str = "02380003020000000100000024000000010000000000000300000000000000004000000000000000\
                      ffff0000000000003000000000000000";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

/// A table with its header.
fn table(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let length = 36 + body.len() as u32;
    [&name[..], &length.to_le_bytes(), &[3; 28], body].concat()
}

/// The IORT of three nodes that ends with this one.
fn iort(root_complex: &str) -> Vec<u8> {
    let counts = "0300000030000000";
    table(b"IORT", &hex(&[counts, ITS_GROUP, SMMU, root_complex].concat()))
}

/// A fw_cfg that has a file of these tables.
struct Files {
    items: Vec<(u16, Vec<u8>)>,
    item: Vec<u8>,
    at: usize,
    reads: usize,
}

impl FirmwareConfig for Files {
    fn select(&mut self, item: u16) {
        let found = self.items.iter().find(|(number, _)| *number == item);
        self.item = found.map(|(_, bytes)| bytes.clone()).unwrap_or_default();
        self.at = 0;
    }

    fn next_byte(&mut self) -> u8 {
        self.reads += 1;
        self.at += 1;
        self.item.get(self.at - 1).copied().unwrap_or(0)
    }
}

fn files(tables: &[u8]) -> Files {
    let entry = |size: usize, item: u16, name: &str| {
        let mut entry = [&(size as u32).to_be_bytes()[..], &item.to_be_bytes(), &[0, 0]].concat();
        entry.extend(name.bytes());
        entry.resize(64, 0);
        entry
    };
    let others = [entry(9, 0x20, "etc/acpi/rsdp"), entry(8, 0x21, "etc/acpi/tables2")];
    let directory = [
        &4u32.to_be_bytes()[..],
        &others.concat(),
        &entry(tables.len(), 0x22, "etc/acpi/tables"),
        &entry(5, 0x23, "bootorder"),
    ];
    let items = vec![
        (SIGNATURE, b"QEMU".to_vec()),
        (DIRECTORY, directory.concat()),
        (0x22, tables.to_vec()),
    ];
    Files { items, item: Vec::new(), at: 0, reads: 0 }
}

fn machine() -> MachineInfo {
    MachineInfo::from_fdt(&Fdt::new(testing::CPUS8_8G).unwrap()).unwrap()
}

/// What is found in these tables.
fn found(tables: &[u8]) -> Result<(), u64> {
    check(&mut files(tables), &machine()).map_err(|unguarded| {
        assert_eq!(unguarded.reason, Reason::PartialMap);
        unguarded.culprit
    })
}

#[test]
fn qemus_table_leads_the_root_bus_to_the_smmu() {
    let iort = iort(ROOT);
    assert_eq!(iort.len(), 0xec);
    assert_eq!(found(&iort), Ok(()));
    let others = [table(b"DSDT", &[7; 5000]), table(b"XSDT", &[]), iort, vec![0; 100]];
    assert_eq!(found(&others.concat()), Ok(()));
}

#[test]
fn a_bus_that_passes_by_is_found() {
    let bypass = iort(BYPASS);
    assert_eq!(bypass.len(), 0xd8);
    assert_eq!(found(&bypass), Err(0));
    let error = check(&mut files(&bypass), &machine()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "IORT leads PCI function 00:00.0 to no SMMU \
         (QEMU: no default-bus-bypass-iommu, and acpi=on)"
    );
    // A bridge without an SMMU of the tree's, or with another root bus.
    let mut other = machine();
    other.smmus = crate::ArrayVec::new();
    assert!(check(&mut files(&iort(ROOT)), &other).is_err());
    other = machine();
    other.host_bridges.iter_mut().for_each(|bridge| bridge.first_bus = 128);
    assert_eq!(check(&mut files(&iort(ROOT)), &other).map_err(|it| it.culprit), Err(0x8000));
    other.host_bridges = crate::ArrayVec::new();
    assert_eq!(check(&mut files(&[]), &other), Ok(()));
}

#[test]
fn tables_that_are_not_understood_guard_nothing() {
    for tables in [&[][..], &table(b"DSDT", &[0; 50]), &[0; 300], &iort(ROOT)[..0xeb]] {
        assert_eq!(found(tables), Err(0));
    }
    assert_eq!(found(&table(b"IORT", &[0; 4000])), Err(0));
    let mut config = files(&iort(ROOT));
    config.items.remove(0);
    assert!(check(&mut config, &machine()).is_err());
    config = files(&iort(ROOT));
    config.items[1].1[3] = 2;
    assert!(check(&mut config, &machine()).is_err());
    // One field at a time: (offset, bytes) of counts, offsets, types, ranges, references.
    let good = iort(ROOT);
    let node = 0xec - 0x4c;
    for (at, bytes) in [
        (36, [2, 0, 0, 0]),
        (40, [0xff; 4]),
        (node, [3, 0x4c, 0, 3]),
        (node, [2, 15, 0, 3]),
        (node + 8, [0, 0, 0, 0]),
        (node + 12, [0xff; 4]),
        (node + 36, [1, 0, 0, 0]),
        (node + 40, [0xfe, 0, 0, 0]),
        (node + 48, [0x30, 0, 0, 0]),
        (node + 48, [0xff; 4]),
        (0x48, [5, 0x58, 0, 4]),
        (0x58, [0, 0, 6, 9]),
        (0x5c, [1, 0, 0, 0]),
        (0x48, [4, 0, 0, 4]),
    ] {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&bytes);
        assert_ne!(bad, good);
        assert_eq!(found(&bad), Err(0), "{at:#x}");
    }
}

#[test]
fn mutated_tables_end() {
    let good = [table(b"DSDT", &[7; 64]), iort(ROOT), table(b"XSDT", &[0; 64])].concat();
    let machine = machine();
    let mut random = Random(0x1047);
    let mut guarded = 0;
    for _ in 0..20_000 {
        let mut tables = good.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(tables.len());
            tables[at] = [0, 1, 0x7f, 0xff, random.next() as u8][random.below(5)];
        }
        let mut config = files(&tables);
        guarded += usize::from(check(&mut config, &machine).is_ok());
        assert!(config.reads < 2000);
    }
    assert!((1_000..19_000).contains(&guarded), "{guarded}");
    // A file that says that it is large, and files without end.
    let mut config = files(&vec![b'A'; 3 << 20]);
    assert!(check(&mut config, &machine).is_err());
    assert!(config.reads < 2 << 20);
    config = files(&[]);
    config.items[1].1 = vec![0xff; 1 << 20];
    assert!(check(&mut config, &machine).is_err());
    assert!(config.reads < 2 << 20);
}

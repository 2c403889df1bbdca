//! Tests of EL2's own tables. They catch: a mapping that is writable and executable, a device
//! mapped as memory, a valid descriptor replaced without a break, a window that needs memory to
//! open, a refused mapping that leaves leaves behind, an address beyond the space that wraps.

use std::collections::HashMap;
use std::vec::Vec;

use super::*;
use crate::addr::Pfn;

const ROOT: u64 = 0x1000_0000;
const POOL: u64 = 0x2000_0000;
const POOL_PAGES: u64 = 32;
const MIB2: u64 = 1 << 21;
const ALL: [HypAttrs; 4] = [HypAttrs::Code, HypAttrs::Constants, HypAttrs::Data, HypAttrs::Device];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Write(u64, usize, u64),
    Break(u64),
}

/// Tables in a map, and a log. A valid leaf that is overwritten, or written again before its break,
/// fails the test.
#[derive(Default)]
struct Fake {
    words: HashMap<(u64, usize), u64>,
    unbroken: usize,
    log: Vec<Step>,
}

impl TableMemory for Fake {
    fn read(&mut self, table: Pa, index: usize) -> u64 {
        assert!(index < 512);
        self.words.get(&(table.raw(), index)).copied().unwrap_or(0)
    }

    fn write(&mut self, table: Pa, index: usize, descriptor: u64) {
        let old = self.read(table, index);
        assert!(old & VALID == 0 || descriptor == 0, "no break before make");
        assert_eq!(self.unbroken, 0, "a store before the break is complete");
        self.unbroken += usize::from(old & VALID != 0);
        self.words.insert((table.raw(), index), descriptor);
        self.log.push(Step::Write(table.raw(), index, descriptor));
    }

    fn zero(&mut self, table: Pa) {
        self.words.retain(|(page, _), _| *page != table.raw());
    }
}

impl HypTlb for Fake {
    fn break_va(&mut self, va: HypVa) {
        self.unbroken = 0;
        self.log.push(Step::Break(va.raw()));
    }
}

fn setup() -> (Fake, TablePool, Stage1) {
    let pool = PageRange::from_bytes(POOL, POOL_PAGES * PAGE_SIZE).unwrap();
    let stage1 = Stage1::new(Pa::new(ROOT).unwrap());
    (Fake::default(), TablePool::from_range(pool), stage1)
}

fn range(start: u64, pages: u64) -> PageRange {
    PageRange::new(Pfn::new(start >> 12).unwrap(), pages).unwrap()
}

fn at(stage1: &Stage1, fake: &mut Fake, va: u64) -> Option<u64> {
    stage1.get(fake, HypVa::new(va)).map(|(pa, _)| pa.raw())
}

#[test]
fn nothing_is_writable_and_executable() {
    for attrs in ALL {
        for level in [2, 3] {
            let raw = encode_leaf(level, Pa::new(MIB2).unwrap(), attrs);
            let writable = raw & AP_READ_ONLY == 0;
            let executable = raw & EXECUTE_NEVER == 0;
            assert!(!(writable && executable), "{attrs:?}");
            assert_eq!(executable, attrs == HypAttrs::Code);
            assert_eq!(writable, matches!(attrs, HypAttrs::Data | HypAttrs::Device));
        }
    }
}

#[test]
fn encodings_are_the_manuals() {
    let page = |attrs| Stage1::page_descriptor(Pa::new(0x4000_1000).unwrap(), attrs);
    // AF (0x400), SH inner (0x300), AP[2:1] = 11 or 01 (0xc0 or 0x40), XN (54), GP (50), page (3).
    assert_eq!(page(HypAttrs::Code), 0x0004_0000_4000_17c3);
    assert_eq!(page(HypAttrs::Constants), 0x0040_0000_4000_17c3);
    assert_eq!(page(HypAttrs::Data), 0x0040_0000_4000_1743);
    assert_eq!(page(HypAttrs::Device), 0x0040_0000_4000_1447);
    assert_eq!(MAIR_EL2 & 0xff, 0xff, "index 0: normal write-back");
    assert_eq!(MAIR_EL2 >> 8 & 0xff, 0x04, "index 1: device nGnRE");
    let block = encode_leaf(2, Pa::new(MIB2).unwrap(), HypAttrs::Data);
    assert_eq!(block, 0x0040_0000_0020_0741);
    assert_eq!(tcr(0b101), 0x8080_0000 | 0x5_0000 | 0x3500 | 16);
    assert_eq!(tcr(0b010), 0x8080_0000 | 0x2_0000 | 0x3500 | 16);
}

#[test]
fn mappings_translate() {
    let (mut fake, mut pool, stage1) = setup();
    let top = VA_LIMIT - 4 * PAGE_SIZE;
    let pages = 2 + MIB2 / PAGE_SIZE;
    let map = |fake: &mut Fake, pool: &mut TablePool, va, pa, pages, attrs| {
        stage1.map(fake, pool, HypVa::new(va), range(pa, pages), attrs)
    };
    map(&mut fake, &mut pool, MIB2 - 0x1000, 0x4000_0000 - 0x1000, pages, HypAttrs::Data).unwrap();
    map(&mut fake, &mut pool, top, 0x8000_1000, 4, HypAttrs::Constants).unwrap();
    assert_eq!(at(&stage1, &mut fake, MIB2 - 1), Some(0x3fff_ffff));
    assert_eq!(at(&stage1, &mut fake, MIB2 + 0x12_3456), Some(0x4012_3456));
    assert_eq!(at(&stage1, &mut fake, 2 * MIB2), Some(0x4020_0000));
    assert_eq!(at(&stage1, &mut fake, 2 * MIB2 + 0x1000), None);
    assert_eq!(at(&stage1, &mut fake, top + 0x3008), Some(0x8000_4008));
    assert_eq!(at(&stage1, &mut fake, VA_LIMIT), None);
    assert_eq!(stage1.ttbr(), ROOT);
    // One block for the aligned middle.
    let (_, level, _) = stage1.locate(&mut fake, HypVa::new(MIB2)).unwrap();
    assert_eq!(level, 2);
}

#[test]
fn bad_ranges_are_refused_and_leave_no_leaf() {
    let (mut fake, mut pool, stage1) = setup();
    let mut map = |fake: &mut Fake, va: u64, pages| {
        stage1.map(fake, &mut pool, HypVa::new(va), range(0x4000_0000, pages), HypAttrs::Data)
    };
    assert_eq!(map(&mut fake, 0x800, 1), Err(Refusal::Misaligned));
    assert_eq!(map(&mut fake, VA_LIMIT, 1), Err(Refusal::OutOfRange));
    assert_eq!(map(&mut fake, VA_LIMIT - 0x1000, 2), Err(Refusal::OutOfRange));
    assert_eq!(map(&mut fake, !0xfff, 1), Err(Refusal::OutOfRange));
    assert!(fake.log.is_empty());
    map(&mut fake, 0x5000, 1).unwrap();
    assert_eq!(map(&mut fake, 0x3000, 4), Err(Refusal::AlreadyMapped));
    assert_eq!(map(&mut fake, 0, 512), Err(Refusal::AlreadyMapped));
    for va in [0x3000, 0x4000, 0x6000] {
        assert_eq!(at(&stage1, &mut fake, va), None);
    }
    assert_eq!(at(&stage1, &mut fake, 0x5000), Some(0x4000_0000));
    map(&mut fake, MIB2, 512).unwrap();
    assert_eq!(map(&mut fake, MIB2 + 0x1000, 1), Err(Refusal::AlreadyMapped), "inside a block");
}

#[test]
fn a_pool_that_runs_out_leaves_no_leaf() {
    let (mut fake, _, stage1) = setup();
    let mut pool = TablePool::from_range(range(POOL, 2));
    // Two level-3 tables and one level-2 table would be needed.
    let va = HypVa::new(MIB2 - 0x1000);
    let refused = stage1.map(&mut fake, &mut pool, va, range(0x4000_0000, 2), HypAttrs::Code);
    assert_eq!(refused, Err(Refusal::NoTables));
    assert_eq!(at(&stage1, &mut fake, MIB2 - 0x1000), None);
}

#[test]
fn unmapping_breaks_each_leaf() {
    let (mut fake, mut pool, stage1) = setup();
    let va = HypVa::new(MIB2 - 0x1000);
    stage1.map(&mut fake, &mut pool, va, range(0x3fff_f000, 513), HypAttrs::Data).unwrap();
    for (va, pages, refusal) in [
        (MIB2 - 0x1000, 2, Refusal::NotMapped),
        (MIB2 + 0x1000, 1, Refusal::NotMapped),
        (2 * MIB2, 1, Refusal::NotMapped),
        (MIB2 - 0x1000, 0, Refusal::Empty),
        (MIB2 - 0x800, 1, Refusal::Misaligned),
        (MIB2, u64::MAX, Refusal::OutOfRange),
    ] {
        fake.log.clear();
        assert_eq!(stage1.unmap(&mut fake, HypVa::new(va), pages), Err(refusal), "{va:x}");
        assert!(fake.log.is_empty(), "a refusal changes nothing");
    }
    stage1.unmap(&mut fake, va, 513).unwrap();
    let breaks: Vec<_> = fake.log.iter().filter(|step| matches!(step, Step::Break(_))).collect();
    assert_eq!(breaks, [&Step::Break(MIB2 - 0x1000), &Step::Break(MIB2)]);
    assert_eq!(at(&stage1, &mut fake, MIB2), None);
}

#[test]
fn windows_have_their_table_before_they_are_used() {
    let (mut fake, mut pool, stage1) = setup();
    let base = 0x40_0000_0000 - 4 * PAGE_SIZE;
    assert_eq!(stage1.leaf_slot(&mut fake, HypVa::new(base)), None, "no table yet");
    stage1.reserve(&mut fake, &mut pool, HypVa::new(base), 4).unwrap();
    let va = HypVa::new(base + PAGE_SIZE);
    let slot = stage1.leaf_slot(&mut fake, va).unwrap();
    assert_eq!(slot.index, 509);
    let page = Pa::new(0x4567_8000).unwrap();
    fake.write(slot.table, slot.index, Stage1::page_descriptor(page, HypAttrs::Data));
    assert_eq!(stage1.get(&mut fake, va).map(|(pa, _)| pa), Some(page));
    assert_eq!(
        stage1.reserve(&mut fake, &mut pool, HypVa::new(base), 4),
        Err(Refusal::AlreadyMapped)
    );
}

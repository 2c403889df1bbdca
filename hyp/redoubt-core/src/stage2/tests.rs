//! Tests of the stage-2 tables, on the judging fake of [`crate::fake`], which fails a test at the
//! step that breaks the rules of break-before-make and TLB maintenance.
//!
//! They catch: a TLBI before its barrier, for the wrong address, level or VMID, or missing; a split
//! that maps its hole for a moment or loses a neighbour; a merge of pages that are not contiguous,
//! not aligned or not alike; a table leaked, freed twice or freed while a walker can hold it; a
//! check that counts fewer tables than the change takes; a cursor that skips or repeats a leaf.

use std::collections::{BTreeMap, HashMap};
use std::vec::Vec;

use proptest::prelude::*;

use super::geometry::Concatenation;
use super::*;
use crate::fake::{FakeHw, Step};

const ROOT: u64 = 0x1000_0000;
const POOL: u64 = 0x2000_0000;
const POOL_PAGES: u64 = 64;
const VMID: u16 = 7;
const GIB: u64 = 1 << 30;
const MIB2: u64 = 1 << 21;

struct Setup {
    hw: FakeHw,
    pool: TablePool,
    stage2: Stage2,
}

fn pa(raw: u64) -> Pa {
    Pa::new(raw).unwrap()
}

fn ipa(raw: u64) -> Ipa {
    Ipa::new(raw).unwrap()
}

fn pfn(raw: u64) -> Pfn {
    Pfn::new(raw).unwrap()
}

fn ipas(start: u64, pages: u64) -> IpaRange {
    IpaRange::new(ipa(start), pages).unwrap()
}

fn setup_with(bits: u8, pa_bits: u8, emptied: Emptied) -> Setup {
    let geometry = Geometry::new(bits, pa_bits, Concatenation::Avoid).unwrap();
    let context = Stage2Context { vmid: VMID, root: pa(ROOT) };
    let mut hw = FakeHw::default();
    hw.adopt_root(context, geometry.start_level(), geometry.root_pages());
    let range = PageRange::new(pa(POOL).pfn(), POOL_PAGES).unwrap();
    let stage2 = Stage2::new(context, geometry, emptied).unwrap();
    Setup { hw, pool: TablePool::from_range(range), stage2 }
}

fn setup(emptied: Emptied) -> Setup {
    setup_with(39, 48, emptied)
}

impl Setup {
    fn used(&self) -> u64 {
        POOL_PAGES - self.pool.free()
    }

    fn map(&mut self, at: u64, pages: u64, to: u64, largest: BlockSize) -> Result<(), Refusal> {
        let Self { hw, pool, stage2 } = self;
        let range = ipas(at, pages);
        let before = hw.snapshot();
        let tables = match stage2.check_map(hw, range, pa(to).pfn(), largest) {
            Ok(tables) => tables,
            Err(refusal) => {
                assert_eq!(before, hw.snapshot(), "a refusal changes nothing");
                return Err(refusal);
            }
        };
        let free = pool.free();
        stage2.map(hw, pool, range, pa(to).pfn(), Attrs::RAM, largest);
        assert_eq!(free - pool.free(), tables, "tables counted and tables taken");
        hw.assert_quiet();
        Ok(())
    }

    fn unmap(&mut self, at: u64, pages: u64) -> Result<(), Refusal> {
        let Self { hw, pool, stage2 } = self;
        let range = ipas(at, pages);
        let before = hw.snapshot();
        let tables = match stage2.check_unmap(hw, range) {
            Ok(tables) => tables,
            Err(refusal) => {
                assert_eq!(before, hw.snapshot(), "a refusal changes nothing");
                return Err(refusal);
            }
        };
        // Exactly what was counted is enough.
        let mut exact = TablePool::EMPTY;
        for _ in 0..tables {
            let table = pool.pop(hw).unwrap();
            exact.push(hw, table.pfn());
        }
        stage2.unmap(hw, &mut exact, range);
        while let Some(table) = exact.pop(hw) {
            pool.push(hw, table.pfn());
        }
        hw.assert_quiet();
        Ok(())
    }

    fn to(&mut self, at: u64) -> Option<(u64, u8)> {
        let mapping = self.stage2.get(&mut self.hw, ipa(at))?;
        let page = mapping.page_of(ipa(at).page_base()).unwrap();
        Some((page.base().raw(), mapping.level))
    }
}

#[test]
fn blocks_are_the_largest_that_fit() {
    let mut setup = setup(Emptied::Kept);
    // From 4 KiB below 1 GiB to 4 MiB + 8 KiB above 2 GiB.
    let pages = 1 + (GIB + 2 * MIB2) / 4096 + 2;
    setup.map(GIB - 4096, pages, GIB - 4096, BlockSize::Giga1).unwrap();
    let level = |setup: &mut Setup, at| setup.to(at);
    assert_eq!(level(&mut setup, GIB - 4096), Some((GIB - 4096, 3)));
    assert_eq!(level(&mut setup, GIB), Some((GIB, 1)));
    assert_eq!(level(&mut setup, 2 * GIB - 4096), Some((2 * GIB - 4096, 1)));
    assert_eq!(level(&mut setup, 2 * GIB), Some((2 * GIB, 2)));
    assert_eq!(level(&mut setup, 2 * GIB + MIB2), Some((2 * GIB + MIB2, 2)));
    assert_eq!(level(&mut setup, 2 * GIB + 2 * MIB2), Some((2 * GIB + 2 * MIB2, 3)));
    assert_eq!(level(&mut setup, 2 * GIB + 2 * MIB2 + 8192), None);
    assert_eq!(level(&mut setup, GIB - 8192), None);
    assert_eq!(setup.used(), 4, "level 2 and 3 at each end");
}

#[test]
fn block_size_and_alignment_limit_blocks() {
    let mut setup = setup(Emptied::Freed);
    setup.map(GIB, GIB / 4096, GIB, BlockSize::Mega2).unwrap();
    assert_eq!(setup.to(GIB + MIB2), Some((GIB + MIB2, 2)));
    setup.map(0, 512, MIB2, BlockSize::Page).unwrap();
    assert_eq!(setup.to(4096), Some((MIB2 + 4096, 3)));
    // Input aligned, output not.
    setup.map(8 * GIB, 512, 8 * GIB + 4096, BlockSize::Giga1).unwrap();
    assert_eq!(setup.to(8 * GIB), Some((8 * GIB + 4096, 3)));
    assert_eq!(setup.to(8 * GIB + 511 * 4096), Some((8 * GIB + 512 * 4096, 3)));
}

#[test]
fn mapping_makes_no_tlb_maintenance() {
    let mut setup = setup(Emptied::Freed);
    setup.map(0, 1, GIB, BlockSize::Page).unwrap();
    let log = setup.hw.take_log();
    let leaf = encode_leaf(3, pa(GIB), Attrs::RAM);
    assert_eq!(
        log,
        [
            Step::Zero(pa(POOL)),
            Step::DsbIshst,
            Step::Write(pa(ROOT), 0, encode_table(pa(POOL))),
            Step::Zero(pa(POOL + 4096)),
            Step::DsbIshst,
            Step::Write(pa(POOL), 0, encode_table(pa(POOL + 4096))),
            Step::Write(pa(POOL + 4096), 0, leaf),
            Step::DsbIshst,
        ]
    );
}

#[test]
fn unmapping_one_page_is_one_exact_sequence() {
    let mut setup = setup(Emptied::Kept);
    setup.map(GIB, 512, GIB, BlockSize::Page).unwrap();
    let table = setup.stage2.locate(&mut setup.hw, ipa(GIB)).unwrap().slot(3).unwrap().table;
    setup.hw.take_log();
    setup.stage2.unmap(&mut setup.hw, &mut setup.pool, ipas(GIB + 0x5000, 1));
    assert_eq!(
        setup.hw.take_log(),
        [
            Step::Write(table, 5, 0),
            Step::DsbIshst,
            Step::Enter(VMID),
            Step::TlbiIpa(GIB + 0x5000, Some(3)),
            Step::DsbIsh,
            Step::TlbiStage1,
            Step::DsbIsh,
            Step::Isb,
            Step::Leave,
        ]
    );
}

#[test]
fn splitting_a_block_is_one_break() {
    let mut setup = setup(Emptied::Kept);
    setup.map(GIB, GIB / 4096, GIB, BlockSize::Giga1).unwrap();
    setup.hw.take_log();
    setup.unmap(GIB + 7 * MIB2 + 0x3000, 2).unwrap();
    let log = setup.hw.take_log();
    let broken = log.iter().position(|step| *step == Step::Write(pa(ROOT), 1, 0)).unwrap();
    assert_eq!(
        log[broken + 1..broken + 9],
        [
            Step::DsbIshst,
            Step::Enter(VMID),
            Step::TlbiIpa(GIB, Some(1)),
            Step::DsbIsh,
            Step::TlbiStage1,
            Step::DsbIsh,
            Step::Isb,
            Step::Leave,
        ]
    );
    assert!(matches!(log[broken + 9], Step::Write(table, 1, new)
        if table == pa(ROOT) && matches!(decode(1, new), Entry::Table(_))));
    assert_eq!(log[broken + 10], Step::DsbIshst);
    assert_eq!(log.iter().filter(|step| matches!(step, Step::TlbiIpa(..))).count(), 1);
    // The hole is out, all neighbours are in, at the right place.
    let hole = GIB + 7 * MIB2 + 0x3000;
    assert_eq!((setup.to(hole), setup.to(hole + 0x1000)), (None, None));
    for at in [GIB, hole - 0x1000, hole + 0x2000, GIB + 6 * MIB2, GIB + 8 * MIB2, 2 * GIB - 0x1000]
    {
        assert_eq!(setup.to(at).map(|(to, _)| to), Some(at));
    }
}

#[test]
fn a_range_over_two_blocks_splits_both() {
    let mut setup = setup(Emptied::Kept);
    setup.map(GIB, 2 * GIB / 4096, GIB, BlockSize::Giga1).unwrap();
    setup.unmap(2 * GIB - 0x2000, 4).unwrap();
    assert_eq!(setup.used(), 4);
    assert_eq!(setup.to(2 * GIB - 0x3000), Some((2 * GIB - 0x3000, 3)));
    assert_eq!(setup.to(2 * GIB + 0x2000), Some((2 * GIB + 0x2000, 3)));
    assert_eq!(setup.to(2 * GIB - 0x2000), None);
    assert_eq!(setup.to(2 * GIB + 0x1000), None);
}

#[test]
fn merging_restores_the_block_and_the_pool() {
    let mut setup = setup(Emptied::Kept);
    setup.map(GIB, GIB / 4096, GIB, BlockSize::Giga1).unwrap();
    let root_before = setup.hw.read(pa(ROOT), 1);
    let hole = GIB + 3 * MIB2;
    setup.unmap(hole, 512).unwrap();
    assert_eq!(setup.used(), 2, "a hole of 2 MiB keeps its level-3 table");
    for page in 0..512 {
        let at = hole + page * 4096;
        setup.stage2.refill(&mut setup.hw, ipas(at, 1), pa(at).pfn(), Attrs::RAM);
        setup.stage2.merge(&mut setup.hw, &mut setup.pool, ipa(at));
        setup.hw.assert_quiet();
        assert_eq!(setup.used(), if page == 511 { 0 } else { 2 });
    }
    assert_eq!(setup.hw.read(pa(ROOT), 1), root_before);
}

#[test]
fn merging_is_one_break_of_everything() {
    let mut setup = setup(Emptied::Kept);
    setup.map(GIB, 1024, GIB, BlockSize::Giga1).unwrap();
    setup.unmap(GIB + 0x1000, 1).unwrap();
    setup.stage2.refill(&mut setup.hw, ipas(GIB + 0x1000, 1), pa(GIB + 0x1000).pfn(), Attrs::RAM);
    setup.hw.take_log();
    setup.stage2.merge(&mut setup.hw, &mut setup.pool, ipa(GIB + 0x1000));
    let log = setup.hw.take_log();
    let table = setup.stage2.locate(&mut setup.hw, ipa(GIB)).unwrap().slot(2).unwrap().table;
    let block = encode_leaf(2, pa(GIB), Attrs::RAM);
    assert_eq!(
        log[..9],
        [
            Step::Write(table, 0, 0),
            Step::DsbIshst,
            Step::Enter(VMID),
            Step::TlbiAll,
            Step::DsbIsh,
            Step::Isb,
            Step::Leave,
            Step::Write(table, 0, block),
            Step::DsbIshst,
        ]
    );
    assert_eq!(setup.to(GIB + MIB2), Some((GIB + MIB2, 2)), "the neighbour block is untouched");
}

#[test]
fn unlike_pages_do_not_merge() {
    let hole = GIB + 0x4000;
    // Other attributes; another page; and not aligned as a whole.
    let mut setup = setup(Emptied::Kept);
    setup.map(GIB, 512, GIB, BlockSize::Giga1).unwrap();
    setup.unmap(hole, 1).unwrap();
    setup.stage2.refill(&mut setup.hw, ipas(hole, 1), pa(hole).pfn(), Attrs::BORROWED);
    setup.stage2.merge(&mut setup.hw, &mut setup.pool, ipa(hole));
    assert_eq!(setup.to(hole), Some((hole, 3)));
    setup.unmap(hole, 1).unwrap();
    setup.stage2.refill(&mut setup.hw, ipas(hole, 1), pa(8 * GIB).pfn(), Attrs::RAM);
    setup.stage2.merge(&mut setup.hw, &mut setup.pool, ipa(hole));
    assert_eq!(setup.to(hole), Some((8 * GIB, 3)));
    assert_eq!(setup.to(GIB), Some((GIB, 3)));
    setup.map(4 * GIB, 512, 4 * GIB + 4096, BlockSize::Page).unwrap();
    setup.stage2.merge(&mut setup.hw, &mut setup.pool, ipa(4 * GIB));
    assert_eq!(setup.to(4 * GIB), Some((4 * GIB + 4096, 3)));
    // Nothing to merge: unmapped, a block already, out of range.
    for at in [16 * GIB, (1 << 39) + GIB] {
        setup.stage2.merge(&mut setup.hw, &mut setup.pool, ipa(at));
    }
    setup.hw.assert_quiet();
}

#[test]
fn what_is_mapped_is_not_mapped_over() {
    let mut setup = setup(Emptied::Freed);
    setup.map(GIB, 1, GIB, BlockSize::Mega2).unwrap();
    setup.map(4 * MIB2, 512, 4 * MIB2, BlockSize::Mega2).unwrap();
    for (at, pages) in [
        (GIB, 1),
        (GIB - 0x1000, 2),
        (GIB, 512),
        (4 * MIB2, 1),
        (4 * MIB2 + 0x5000, 1),
        (4 * MIB2 - 0x1000, 2),
        (4 * MIB2, 512),
    ] {
        assert_eq!(setup.map(at, pages, 16 * GIB, BlockSize::Mega2), Err(Refusal::AlreadyMapped));
    }
    assert_eq!(setup.map(0, GIB / 4096, 0, BlockSize::Giga1), Err(Refusal::AlreadyMapped));
}

#[test]
fn what_is_not_mapped_is_not_unmapped() {
    let mut setup = setup(Emptied::Freed);
    setup.map(GIB, 4, GIB, BlockSize::Mega2).unwrap();
    for (at, pages) in [(GIB - 0x1000, 1), (GIB - 0x1000, 2), (GIB + 0x3000, 2), (4 * GIB, 1)] {
        assert_eq!(setup.unmap(at, pages), Err(Refusal::NotMapped));
    }
}

#[test]
fn addresses_beyond_the_space_are_out_of_range() {
    let mut setup = setup_with(32, 48, Emptied::Freed);
    let end = 1 << 32;
    assert_eq!(setup.map(end, 1, GIB, BlockSize::Page), Err(Refusal::OutOfRange));
    assert_eq!(setup.map(end - 0x1000, 2, GIB, BlockSize::Page), Err(Refusal::OutOfRange));
    assert_eq!(setup.unmap(end, 1), Err(Refusal::OutOfRange));
    assert_eq!(setup.stage2.get(&mut setup.hw, ipa(end)), None);
    assert_eq!(setup.stage2.next_leaf(&mut setup.hw, ipa(end)), None);
    setup.map(end - 0x1000, 1, GIB, BlockSize::Page).unwrap();
    assert_eq!(setup.to(end - 0x1000), Some((GIB, 3)));
}

#[test]
fn a_misaligned_root_is_refused() {
    let geometry = Geometry::new(40, 40, Concatenation::Avoid).unwrap();
    let context = Stage2Context { vmid: 1, root: pa(0x1000) };
    assert_eq!(Stage2::new(context, geometry, Emptied::Freed), Err(Refusal::Misaligned));
}

#[test]
fn every_start_level_translates_its_first_and_last_page() {
    for (bits, pa_bits) in [(32, 48), (39, 40), (40, 40), (42, 42), (40, 48), (48, 48)] {
        let mut setup = setup_with(bits, pa_bits, Emptied::Freed);
        let last = (1u64 << bits) - 0x1000;
        let middle = 1u64 << (bits - 1);
        for at in [0, middle, last] {
            setup.map(at, 1, GIB + at % GIB, BlockSize::Mega2).unwrap();
            assert_eq!(setup.to(at), Some((GIB + at % GIB, 3)), "{bits} {at:x}");
        }
        let cursor = |setup: &mut Setup, from| {
            setup.stage2.next_leaf(&mut setup.hw, ipa(from)).map(|mapping| mapping.ipa.raw())
        };
        assert_eq!(cursor(&mut setup, 0), Some(0));
        assert_eq!(cursor(&mut setup, 0x1000), Some(middle));
        assert_eq!(cursor(&mut setup, middle + 0x1000), Some(last));
        for at in [0, middle, last] {
            setup.unmap(at, 1).unwrap();
        }
        assert_eq!(setup.used(), 0, "empty tables are freed up to the root");
        assert_eq!(cursor(&mut setup, 0), None);
    }
}

#[test]
fn large_ranges_invalidate_the_context_once() {
    let mut setup = setup(Emptied::Freed);
    setup.map(GIB, 512, 2 * GIB + 4096, BlockSize::Page).unwrap();
    setup.hw.take_log();
    setup.unmap(GIB, 65).unwrap();
    let log = setup.hw.take_log();
    assert_eq!(log.iter().filter(|step| **step == Step::TlbiAll).count(), 1);
    setup.unmap(GIB + 65 * 4096, 64).unwrap();
    let log = setup.hw.take_log();
    assert_eq!(log.iter().filter(|step| matches!(step, Step::TlbiIpa(..))).count(), 64);
}

#[test]
fn runs_end_where_contiguity_ends() {
    let mut setup = setup(Emptied::Freed);
    setup.map(0, 4, GIB, BlockSize::Page).unwrap();
    setup.map(0x4000, 2, 2 * GIB, BlockSize::Page).unwrap();
    setup.map(MIB2 - 0x2000, 4, 3 * GIB, BlockSize::Page).unwrap();
    setup.map(2 * MIB2, 512, 4 * GIB, BlockSize::Mega2).unwrap();
    let mut run = |at, limit| {
        let run = setup.stage2.run_at(&mut setup.hw, ipa(at), limit)?;
        assert_eq!((run.ipas.start().raw(), run.ipas.pages()), (at, run.pages.pages()));
        Some((run.pages.start_pa().raw(), run.pages.pages()))
    };
    assert_eq!(run(0, 512), Some((GIB, 4)));
    assert_eq!(run(0x1000, 2), Some((GIB + 0x1000, 2)));
    assert_eq!(run(0x4000, 512), Some((2 * GIB, 2)));
    assert_eq!(run(MIB2 - 0x2000, 512), Some((3 * GIB, 2)), "ends at the window");
    assert_eq!(run(2 * MIB2, 1000), Some((4 * GIB, 512)));
    assert_eq!(run(2 * MIB2 + 0x6000, 8), Some((4 * GIB + 0x6000, 8)));
    assert_eq!(run(0x6000, 8), None);
}

#[test]
#[should_panic(expected = "TableMissing")]
fn a_change_without_its_reserved_tables_stops_the_machine() {
    let mut setup = setup(Emptied::Freed);
    let mut empty = TablePool::EMPTY;
    let range = ipas(0, 1);
    setup.stage2.map(&mut setup.hw, &mut empty, range, pfn(1), Attrs::RAM, BlockSize::Page);
}

#[test]
#[should_panic(expected = "TablesDisagree")]
fn unmapping_what_is_not_mapped_stops_the_machine() {
    let mut setup = setup(Emptied::Freed);
    setup.stage2.unmap(&mut setup.hw, &mut setup.pool, ipas(0, 1));
}

#[test]
#[should_panic(expected = "TablesDisagree")]
fn refilling_without_a_table_stops_the_machine() {
    let mut setup = setup(Emptied::Kept);
    setup.stage2.refill(&mut setup.hw, ipas(0, 1), pfn(1), Attrs::RAM);
}

#[test]
#[should_panic(expected = "TablesDisagree")]
fn refilling_what_is_mapped_stops_the_machine() {
    let mut setup = setup(Emptied::Kept);
    setup.map(0, 1, GIB, BlockSize::Page).unwrap();
    setup.stage2.refill(&mut setup.hw, ipas(0, 1), pfn(1), Attrs::RAM);
}

/// One step of a random walk over a VM's address space.
#[derive(Clone, Debug)]
enum Action {
    Map { at: u64, pages: u64, to: u64, blocks: bool },
    Unmap { at: u64, pages: u64 },
}

/// Addresses that meet: around the borders of two 2 MiB windows of two 1 GiB blocks.
fn any_page() -> impl Strategy<Value = u64> {
    let near = (0u64..8, prop::sample::select(std::vec![0u64, 508, 512, 1020, 262_140, 262_144]));
    near.prop_map(|(offset, base)| base + offset)
}

fn any_action() -> impl Strategy<Value = Action> {
    let pages = prop_oneof![1u64..6, Just(512u64), 500u64..513];
    (any::<bool>(), any_page(), pages, any_page(), any::<bool>()).prop_map(
        |(map, at, pages, to, blocks)| {
            if map { Action::Map { at, pages, to, blocks } } else { Action::Unmap { at, pages } }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Against a map from page to page: the same refusals, the same translations, and no table is
    /// held when nothing is mapped.
    #[test]
    fn vm_tables_are_a_map(actions in prop::collection::vec(any_action(), 1..40)) {
        let mut setup = setup(Emptied::Freed);
        let mut model: BTreeMap<u64, u64> = BTreeMap::new();
        for action in actions {
            match action {
                Action::Map { at, pages, to, blocks } => {
                    let largest = if blocks { BlockSize::Mega2 } else { BlockSize::Page };
                    let got = setup.map(at << 12, pages, to << 12, largest);
                    if model.range(at..at + pages).next().is_some() {
                        prop_assert_eq!(got, Err(Refusal::AlreadyMapped));
                    } else {
                        prop_assert_eq!(got, Ok(()));
                        model.extend((0..pages).map(|page| (at + page, to + page)));
                    }
                }
                Action::Unmap { at, pages } => {
                    let got = setup.unmap(at << 12, pages);
                    if model.range(at..at + pages).count() as u64 == pages {
                        prop_assert_eq!(got, Ok(()));
                        model.retain(|page, _| *page < at || *page >= at + pages);
                    } else {
                        prop_assert_eq!(got, Err(Refusal::NotMapped));
                    }
                }
            }
            // The cursor lists every leaf once, and the leaves are the model.
            let mut listed = BTreeMap::new();
            let mut cursor = ipa(0);
            while let Some(leaf) = setup.stage2.next_leaf(&mut setup.hw, cursor) {
                let (at, to) = (leaf.ipa.page_number(), leaf.pa.pfn().raw());
                prop_assert!(at >= cursor.page_number());
                listed.extend((0..leaf.pages()).map(|page| (at + page, to + page)));
                cursor = Ipa::from_page_number(at + leaf.pages()).unwrap();
            }
            prop_assert_eq!(&listed, &model);
            prop_assert_eq!(setup.used() == 0, model.is_empty());
        }
    }

    /// The host's map: pages leave and come back in any order, merged or not; when all are back, it
    /// is one block again and every table is in the pool.
    #[test]
    fn host_tables_heal(holes in prop::collection::vec((any_page(), 1u64..513), 1..12)) {
        let mut setup = setup(Emptied::Kept);
        let total = 2 * GIB / 4096;
        setup.map(0, total, 0, BlockSize::Giga1).unwrap();
        let roots = [setup.hw.read(pa(ROOT), 0), setup.hw.read(pa(ROOT), 1)];
        let mut out: HashMap<u64, ()> = HashMap::new();
        let mut taken = Vec::new();
        for (at, pages) in holes {
            let free = (at..at + pages).all(|page| !out.contains_key(&page));
            let got = setup.unmap(at << 12, pages);
            prop_assert_eq!(got, if free { Ok(()) } else { Err(Refusal::NotMapped) });
            if free {
                taken.push((at, pages));
                out.extend((at..at + pages).map(|page| (page, ())));
            }
        }
        for page in (0..1600).chain(262_000..262_700) {
            let wanted = if out.contains_key(&page) { None } else { Some(page << 12) };
            prop_assert_eq!(setup.to(page << 12).map(|(to, _)| to), wanted);
        }
        for (at, pages) in taken.into_iter().rev() {
            let range = ipas(at << 12, pages);
            setup.stage2.refill(&mut setup.hw, range, pfn(at), Attrs::RAM);
            for window in windows(range) {
                setup.stage2.merge(&mut setup.hw, &mut setup.pool, window.ipa);
            }
            setup.hw.assert_quiet();
        }
        prop_assert_eq!(setup.used(), 0);
        prop_assert_eq!([setup.hw.read(pa(ROOT), 0), setup.hw.read(pa(ROOT), 1)], roots);
    }
}

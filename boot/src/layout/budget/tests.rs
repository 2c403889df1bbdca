//! The arithmetic against figures worked out by hand, and against a count of every page.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn range(start: u64, size: u64) -> PhysRange {
    PhysRange::new(start, size).unwrap()
}

fn demand<'a>(memory: &'a [PhysRange], devices: &'a [PhysRange]) -> Demand<'a> {
    Demand {
        memory,
        devices,
        cpus: 4,
        image_bytes: 0x6_1234,
        per_cpu_bytes: 0x8001,
        page_record_bytes: 16,
        spare_tables: 10,
        dma_doorbells: None,
        extra_bytes: 0,
    }
}

#[test]
fn two_gibibytes_by_hand() {
    let memory = [range(GIB, 2 * GIB)];
    // A page of UART in the first GiB; a 512 GiB PCI window, aligned; half a GiB of ECAM.
    let devices =
        [range(0x900_0000, 0x1000), range(256 * GIB, GIB / 2), range(512 * GIB, 512 * GIB)];
    let budget = budget(&demand(&memory, &devices)).unwrap();
    assert_eq!(budget.image_bytes, 0x6_2000);
    assert_eq!(budget.per_cpu_bytes, 4 * 0x9000);
    assert_eq!(budget.ownership_bytes, 524_288 * 16);
    // Root; level 1 for the first 1024 GiB; level 2 for GiB 0 (UART), 1, 2 (RAM), 256 (ECAM);
    // level 3 for the UART's 2 MiB and each 2 MiB of RAM; spare.
    assert_eq!(budget.stage2_tables, 1 + 2 + 4 + 1 + 1024 + 10);
    // 12.5 MiB and a bit in all: 7 level-3 tables for the region.
    assert_eq!(budget.stage1_tables, 9 + 4 + 4 + 7);
    assert_eq!(budget.total_bytes, 14 << 20);
}

#[test]
fn tables_of_devices_by_hand() {
    let memory = [range(GIB, 2 * GIB)];
    let devices = [range(0x900_0000, 0x1000)];
    let without = demand(&memory, &devices);
    let plain = budget(&without).unwrap();
    assert_eq!((plain.dma_tables, plain.extra_bytes), (0, 0));
    let with = budget(&Demand { dma_doorbells: Some(2), extra_bytes: 5001, ..without }).unwrap();
    // Root; level 1; level 2 and 2 MiB of level 3 for each GiB of RAM; three for each doorbell.
    // The UART is not theirs.
    assert_eq!(with.dma_tables, 1 + 1 + 2 + 1024 + 2 * 3);
    assert_eq!(with.extra_bytes, 0x2000);
    assert_eq!(with.stage2_tables, plain.stage2_tables);
    let added = (with.dma_tables + with.stage1_tables - plain.stage1_tables) * PAGE_SIZE + 0x2000;
    assert!(with.total_bytes - plain.total_bytes >= added - BLOCK_SIZE);
    assert!(with.stage1_tables - plain.stage1_tables >= 2);
}

#[test]
fn pieces_that_ranges_share_count_once() {
    let memory = [range(0x4000_0000, 0x1000), range(0x4000_2000, 0x1000)];
    let devices = [range(0x4000_1000, 0x1000), range(0x4000_3000, 0x1000)];
    let shared = budget(&demand(&memory, &devices)).unwrap();
    assert_eq!(shared.stage2_tables, 1 + 1 + 1 + 1 + 10);
    assert_eq!(shared.ownership_bytes, 0x2000);
}

#[test]
fn sums_that_do_not_fit_are_refused() {
    let memory = [range(0, 1 << 52)];
    let good = demand(&memory, &[]);
    assert!(budget(&good).is_ok());
    let no_room = Err(BootError::NoRoom(u64::MAX));
    assert_eq!(budget(&Demand { page_record_bytes: 1 << 24, ..good }), no_room);
    assert_eq!(budget(&Demand { image_bytes: u64::MAX, ..good }), no_room);
    assert_eq!(budget(&Demand { per_cpu_bytes: u64::MAX - 0xfff, ..good }), no_room);
    assert_eq!(budget(&Demand { spare_tables: u64::MAX / 4096, ..good }), no_room);
    assert_eq!(budget(&Demand { dma_doorbells: Some(u64::MAX / 4096), ..good }), no_room);
    assert_eq!(budget(&Demand { extra_bytes: u64::MAX, ..good }), no_room);
    assert_eq!(budget(&Demand { extra_bytes: u64::MAX - 0xfff, ..good }), no_room);
}

/// Counts the tables by going through the ranges' pages.
fn count_tables(memory: &[PhysRange], devices: &[PhysRange]) -> u64 {
    let mut tables = BTreeSet::from([(0, 0)]);
    for span in [LEVEL1_SPAN, GIB, BLOCK_SIZE] {
        for held in memory.iter().chain(devices) {
            for index in held.start() / span..=(held.end() - 1) / span {
                let whole = devices.iter().any(|d| d.contains(&range(index * span, span)));
                if !whole || span == LEVEL1_SPAN {
                    tables.insert((span, index));
                }
            }
        }
    }
    tables.len() as u64
}

proptest! {
    /// The walk over sorted ranges counts what a set counts, and the region holds its parts and
    /// enough level-3 tables for itself.
    #[test]
    fn tables_are_counted_exactly(
        steps in prop::collection::vec(
            (any::<bool>(), prop_oneof![1u64..5, 500u64..1100, 260_000u64..600_000, 100_000_000u64..200_000_000], 1u64..1500),
            1..16,
        ),
    ) {
        let mut memory = Vec::new();
        let mut devices = Vec::new();
        let mut at = 0;
        for (is_memory, gap, pages) in steps {
            // Gaps and sizes of pages, or rounded to whole 2 MiB.
            let unit = if gap % 2 == 0 { BLOCK_SIZE } else { PAGE_SIZE };
            let start = (at + gap * PAGE_SIZE).next_multiple_of(unit);
            let next = range(start, pages * unit);
            at = next.end();
            (if is_memory { &mut memory } else { &mut devices }).push(next);
        }
        let extra_bytes = memory.len() as u64 * 0x1_2345;
        let dma_doorbells = Some(devices.len() as u64);
        let demand = Demand { dma_doorbells, extra_bytes, ..demand(&memory, &devices) };
        let budget = budget(&demand).unwrap();
        let dma_tables = count_tables(&memory, &[]) + devices.len() as u64 * 3;
        prop_assert_eq!(budget.dma_tables, dma_tables);
        prop_assert_eq!(budget.stage2_tables - demand.spare_tables, count_tables(&memory, &devices));
        let parts = budget.image_bytes + budget.per_cpu_bytes + budget.ownership_bytes
            + budget.extra_bytes
            + (budget.stage2_tables + budget.dma_tables + budget.stage1_tables) * PAGE_SIZE;
        prop_assert!(parts <= budget.total_bytes && is_aligned(budget.total_bytes, BLOCK_SIZE));
        let fixed = STAGE1_FIXED_TABLES + STAGE1_REGION_UPPER_TABLES + demand.cpus;
        prop_assert!((budget.stage1_tables - fixed) * BLOCK_SIZE >= parts);
    }
}

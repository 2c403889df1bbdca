//! Tests of the ownership table. They catch: a record whose fields overlap or are cut off, zeroed or
//! nonsense records that give a page to someone, records of one region used for another, a range
//! that runs over the end of a region, a range applied in part, a device range lost or doubled when
//! a part of it is withdrawn.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn page(raw: u64) -> Pfn {
    Pfn::new(raw).unwrap()
}

fn range(first: u64, pages: u64) -> PageRange {
    PageRange::new(page(first), pages).unwrap()
}

fn any_state() -> impl Strategy<Value = State> {
    let place = (any::<u8>(), 0u64..1 << 36)
        .prop_map(|(vm, number)| (VmSlot::new(vm), Ipa::from_page_number(number).unwrap()));
    (0..8, place).prop_map(|(tag, (vm, ipa))| match tag {
        0 => State::Hyp,
        1 => State::HypLoan,
        2 => State::Host,
        3 => State::HostShared { vm, ipa },
        4 => State::Vm { vm, ipa },
        5 => State::VmShared { vm, ipa },
        6 => State::VmMeta { vm, kind: MetaKind::Table },
        _ => State::VmMeta { vm, kind: MetaKind::State },
    })
}

proptest! {
    #[test]
    fn records_keep_all_they_are_given(state in any_state(), pins in any::<u16>()) {
        let frame = Frame { state, pins };
        prop_assert_eq!(FrameEntry::encode(frame).decode(), frame);
    }

    #[test]
    fn nonsense_belongs_to_el2(bits in any::<u64>(), tag in 8u64..16) {
        let entry = FrameEntry::from_bits(bits & !0xf | tag);
        prop_assert_eq!(entry.decode().state, State::Hyp);
    }

    #[test]
    fn any_bits_decode(bits in any::<u64>()) {
        let frame = FrameEntry::from_bits(bits).decode();
        let again = FrameEntry::encode(frame).decode();
        prop_assert_eq!(frame, again);
    }
}

#[test]
fn zero_is_el2() {
    assert_eq!(FrameEntry::default(), FrameEntry::HYP);
    assert_eq!(FrameEntry::from_bits(0).decode(), Frame::new(State::Hyp));
    assert_eq!(FrameEntry::HYP.bits(), 0);
}

#[test]
fn a_new_table_gives_nothing_away() {
    let mut entries = std::vec![FrameEntry::from_bits(2); 8];
    let mut table = FrameTable::new(&mut entries);
    table.add_region(range(100, 8)).unwrap();
    for number in 100..108 {
        assert_eq!(table.frame(page(number)), Ok(Frame::new(State::Hyp)));
    }
    for number in [0, 99, 108, (1 << 36) - 1] {
        assert_eq!(table.frame(page(number)), Err(Refusal::NotRam));
        assert!(!table.is_ram(page(number)));
    }
}

#[test]
fn regions_do_not_share_records() {
    let mut entries = std::vec![FrameEntry::HYP; 12];
    let mut table = FrameTable::new(&mut entries);
    table.add_region(range(1000, 4)).unwrap();
    table.add_region(range(100, 8)).unwrap();
    table.give_host(range(1001, 2)).unwrap();
    table.give_host(range(104, 4)).unwrap();
    let host: Vec<u64> =
        (0..2000).filter(|raw| table.frame(page(*raw)) == Ok(Frame::new(State::Host))).collect();
    assert_eq!(host, [104, 105, 106, 107, 1001, 1002]);
}

#[test]
fn adjacent_regions_are_one() {
    let mut entries = std::vec![FrameEntry::HYP; 8];
    let mut table = FrameTable::new(&mut entries);
    table.add_region(range(100, 4)).unwrap();
    table.add_region(range(104, 4)).unwrap();
    assert_eq!(table.regions().collect::<Vec<_>>(), [range(100, 8)]);
    assert_eq!(table.give_host(range(102, 4)), Ok(()));
}

#[test]
fn a_range_over_the_edge_of_ram_is_refused_whole() {
    let mut entries = std::vec![FrameEntry::HYP; 8];
    let mut table = FrameTable::new(&mut entries);
    table.add_region(range(100, 4)).unwrap();
    table.add_region(range(200, 4)).unwrap();
    let before = table.entries().to_vec();
    for bad in [range(99, 2), range(103, 2), range(0, 1000), range(150, 1)] {
        assert_eq!(table.give_host(bad), Err(Refusal::NotRam));
        assert_eq!(table.check_range(bad, |_| Ok(Event::Pin)), Err(Refusal::NotRam));
    }
    assert_eq!(table.entries(), before);
}

#[test]
fn storage_and_regions_are_limited() {
    let mut entries = std::vec![FrameEntry::HYP; 80];
    let mut table = FrameTable::new(&mut entries);
    assert_eq!(table.add_region(range(0, 81)), Err(Refusal::ListFull));
    assert_eq!(table.add_region(range(0, 1 << 36)), Err(Refusal::ListFull));
    for region in 0..MAX_REGIONS as u64 {
        table.add_region(range(region * 10, 2)).unwrap();
    }
    assert_eq!(table.add_region(range(5000, 2)), Err(Refusal::ListFull));
    assert_eq!(table.add_region(range(1, 1)), Err(Refusal::Overlap));
    assert_eq!(table.regions().count(), MAX_REGIONS);
    // What was refused has taken no records.
    table.add_region(range((MAX_REGIONS as u64 - 1) * 10 + 2, 16)).unwrap();
    assert_eq!(table.add_region(range(318 + 10, 1)), Err(Refusal::ListFull));
}

#[test]
fn ram_and_devices_do_not_overlap() {
    let mut entries = std::vec![FrameEntry::HYP; 8];
    let mut table = FrameTable::new(&mut entries);
    table.devices.insert(range(50, 4), DeviceOwner::Host).unwrap();
    assert_eq!(table.add_region(range(53, 2)), Err(Refusal::Overlap));
    table.add_region(range(54, 2)).unwrap();
}

#[test]
fn give_host_is_all_or_nothing_and_only_once() {
    let mut entries = std::vec![FrameEntry::HYP; 8];
    let mut table = FrameTable::new(&mut entries);
    table.add_region(range(0, 8)).unwrap();
    table.give_host(range(4, 2)).unwrap();
    let before = table.entries().to_vec();
    assert_eq!(table.give_host(range(0, 5)), Err(Refusal::NotOwner));
    assert_eq!(table.entries(), before);
}

#[test]
fn events_change_one_record() {
    let mut entries = std::vec![FrameEntry::HYP; 4];
    let mut table = FrameTable::new(&mut entries);
    table.add_region(range(0, 4)).unwrap();
    table.give_host(range(0, 4)).unwrap();
    assert_eq!(table.check(page(1), Event::Pin), Ok(Frame { state: State::Host, pins: 1 }));
    assert_eq!(table.frame(page(1)), Ok(Frame::new(State::Host)), "a check changes nothing");
    table.apply(page(1), Event::Pin).unwrap();
    assert_eq!(table.apply(page(1), Event::HostDonateHyp), Err(Refusal::Pinned));
    assert_eq!(table.apply(page(4), Event::Pin), Err(Refusal::NotRam));
    let pins: Vec<u16> = (0..4).map(|raw| table.frame(page(raw)).unwrap().pins).collect();
    assert_eq!(pins, [0, 1, 0, 0]);
    assert_eq!(
        table.check_range(range(0, 3), |_| Ok(Event::HostDonateHyp)),
        Err(Refusal::Pinned),
        "the second page is pinned"
    );
}

#[test]
fn devices_are_sorted_and_disjoint() {
    let mut devices = DeviceMap::EMPTY;
    devices.insert(range(30, 10), DeviceOwner::Host).unwrap();
    devices.insert(range(10, 10), DeviceOwner::Hyp).unwrap();
    devices.insert(range(20, 5), DeviceOwner::Host).unwrap();
    assert_eq!(devices.insert(range(24, 2), DeviceOwner::Host), Err(Refusal::Overlap));
    assert_eq!(devices.insert(range(0, 100), DeviceOwner::Host), Err(Refusal::Overlap));
    let listed: Vec<_> = devices.iter().map(|(range, _)| range.start().raw()).collect();
    assert_eq!(listed, [10, 20, 30]);
    assert_eq!(devices.owner(page(12)), Some(DeviceOwner::Hyp));
    assert_eq!(devices.owner(page(24)), Some(DeviceOwner::Host));
    assert_eq!(devices.owner(page(25)), None);
}

#[test]
fn device_list_is_limited() {
    let mut devices = DeviceMap::EMPTY;
    for number in 0..MAX_DEVICES as u64 {
        devices.insert(range(number * 2, 1), DeviceOwner::Host).unwrap();
    }
    assert_eq!(devices.insert(range(1, 1), DeviceOwner::Host), Err(Refusal::ListFull));
    let before: Vec<_> = devices.iter().collect();
    assert_eq!(devices.withdraw(range(1, 1)), Err(Refusal::ListFull));
    assert_eq!(devices.iter().collect::<Vec<_>>(), before, "a refusal changes nothing");
}

proptest! {
    /// Withdrawing a range makes exactly its pages EL2's and leaves all others alone.
    #[test]
    fn withdrawal_is_exact(
        given in prop::collection::vec((0u64..60, 1u64..10, any::<bool>()), 0..8),
        first in 0u64..60,
        pages in 1u64..30,
    ) {
        let mut devices = DeviceMap::EMPTY;
        for (first, pages, host) in given {
            let owner = if host { DeviceOwner::Host } else { DeviceOwner::Hyp };
            let _ = devices.insert(range(first, pages), owner);
        }
        let before: Vec<_> = (0..100).map(|raw| devices.owner(page(raw))).collect();
        let hole = range(first, pages);
        devices.withdraw(hole).unwrap();
        for (raw, old) in (0..100).zip(before) {
            let wanted = if hole.contains(page(raw)) { Some(DeviceOwner::Hyp) } else { old };
            prop_assert_eq!(devices.owner(page(raw)), wanted);
        }
        let listed: Vec<_> = devices.iter().map(|(range, _)| range).collect();
        prop_assert!(listed.windows(2).all(|pair| pair[0].end() <= pair[1].start().raw()));
    }
}

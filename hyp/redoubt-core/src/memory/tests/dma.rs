//! Devices of the host, while pages come and go around them.
//!
//! They catch: a page that changes hands before devices have lost it; a page that devices should reach
//! and do not; a neighbour that is disturbed; an invalidation for the wrong pages, or too many of
//! them; a table missing. What must hold at every step, the fake judges; that it does, is shown too.

use std::vec::Vec;

use super::*;
use crate::fake::smmu::Trouble;
use crate::hw::{DeviceHw, PageScrub, TableMemory};
use crate::smmu::Event as DmaEvent;
use crate::stage2::geometry::Concatenation;

const STREAM: u32 = 0x42;

/// Lists the commands that the SMMU with this number carried out.
fn commands(log: &[Step], number: usize) -> Vec<[u64; 2]> {
    let command = |step: &Step| match step {
        Step::Command(smmu, command) if *smmu == number => Some(*command),
        _ => None,
    };
    log.iter().filter_map(command).collect()
}

/// Tells whether a device behind each SMMU reaches a page, and checks the events if not.
fn reaches(world: &mut World, page: u64) -> bool {
    let reached = [0, 1].map(|smmu| {
        let reached = world.hw.device_access(smmu, STREAM, address(page, 8), true);
        let event = world.host.smmus().unwrap().next_event(&mut world.hw);
        let (number, address) = (u8::try_from(smmu).unwrap(), address(page, 8));
        let wanted = DmaEvent { smmu: number, kind: 0x10, write: true, stream: STREAM, address };
        assert_eq!(event, reached.is_none().then_some(wanted));
        assert!(reached.is_none_or(|reached| reached == page));
        reached.is_some()
    });
    assert_eq!(reached[0], reached[1]);
    reached[0]
}

#[test]
fn devices_reach_the_hosts_ram_and_a_doorbell() {
    for guard in [Guard::Smmus, Guard::SnoopingSmmus] {
        let mut world = World::with_guard(guard);
        world.check(&[]);
        for (page, wanted) in [
            (RAM, true),
            (CARVE - 1, true),
            (CARVE, false),
            (DMA_ROOT, false),
            (RAM + RAM_PAGES, false),
            (HIGH - 1, false),
            (HIGH, true),
            (HIGH + HIGH_PAGES - 1, true),
            (HIGH + HIGH_PAGES, false),
            (DOORBELL, true),
            (DOORBELL + 1, false),
            (UART, false),
            (WITHDRAWN, false),
            (0x8000, false),
            (0, false),
            ((1 << 28) - 1, false),
            (1 << 28, false),
        ] {
            assert_eq!(reaches(&mut world, page), wanted, "{page:x}");
        }
        // Streams that nobody was given.
        for (stream, kind) in [(256, 2), (999, 4), (1003, 4), (1024, 2), (u32::MAX, 2)] {
            assert_eq!(world.hw.device_access(1, stream, address(RAM, 0), false), None);
            let event = world.host.smmus().unwrap().next_event(&mut world.hw).unwrap();
            assert_eq!((event.stream, event.kind), (stream, kind));
        }
        for stream in [0, 255, 1000, 1002] {
            assert_eq!(world.hw.device_access(0, stream, address(RAM, 0), false), Some(RAM));
        }
    }
}

#[test]
fn nothing_is_guarded_without_smmus() {
    let mut world = World::with_guard(Guard::None);
    assert!(world.host.smmus().is_none());
    world.host.donate_hyp(&mut world.hw, pages(RAM, 4), Contents::Zero).unwrap();
    world.check(&[]);
    assert!(!world.hw.log.iter().any(|step| matches!(step, Step::Register(..))));
}

#[test]
fn devices_follow_the_life_of_a_page() {
    for guard in [Guard::Smmus, Guard::SnoopingSmmus] {
        let mut world = World::with_guard(guard);
        let mut vm = world.vm(SLOT, RAM + 1300, 8);
        for page in RAM + 1300..RAM + 1309 {
            assert!(!reaches(&mut world, page), "a table");
        }
        let range = pages(RAM + 20, 2);
        world.host.donate_memory(&mut world.hw, &mut vm, range, ipa(5), Contents::Keep).unwrap();
        assert!(reaches(&mut world, RAM + 19) && reaches(&mut world, RAM + 22), "neighbours");
        assert!(!reaches(&mut world, RAM + 20) && !reaches(&mut world, RAM + 21));
        world.host.guest_share(&mut world.hw, &mut vm, ipas(6, 1), Contents::Zero).unwrap();
        assert!(!reaches(&mut world, RAM + 20) && reaches(&mut world, RAM + 21));
        world.check(&[&vm]);
        world.host.guest_unshare(&mut world.hw, &mut vm, ipas(6, 1), Contents::Keep).unwrap();
        assert!(!reaches(&mut world, RAM + 21));
        world.host.guest_relinquish(&mut world.hw, &mut vm, ipas(6, 1)).unwrap();
        assert!(reaches(&mut world, RAM + 21));
        let lent = pages(RAM + 30, 1);
        world.host.share_memory(&mut world.hw, &mut vm, lent, ipa(9), Lend::ReadWrite).unwrap();
        assert!(reaches(&mut world, RAM + 30), "the host lends and keeps");
        world.host.guest_share(&mut world.hw, &mut vm, ipas(5, 1), Contents::Keep).unwrap();
        world.host.donate_state(&mut world.hw, &mut vm, pages(RAM + 40, 1)).unwrap();
        assert!(!reaches(&mut world, RAM + 40));
        world.check(&[&vm]);
        vm.begin_teardown();
        while world.host.reclaim_step(&mut world.hw, &mut vm).unwrap() == Reclaim::More {}
        world.host.return_state(&mut world.hw, &vm, pages(RAM + 40, 1)).unwrap();
        for page in [20, 21, 30, 40, 1300, 1308] {
            assert!(reaches(&mut world, RAM + page));
        }
        world.check(&[&vm]);
    }
}

#[test]
fn devices_lose_a_page_after_cpus_and_before_its_contents_are_dealt_with() {
    let (mut world, mut vm) = with_vm();
    world.hw.take_log();
    let range = pages(RAM + 3, 2);
    world.host.donate_memory(&mut world.hw, &mut vm, range, ipa(0), Contents::Zero).unwrap();
    let log = world.hw.take_log();
    let at = |wanted: &dyn Fn(&Step) -> bool| log.iter().position(wanted).unwrap();
    let cpus = at(&|step| matches!(step, Step::TlbiIpa(..)));
    let told = at(&|step| matches!(step, Step::Command(0, [0x2a, _])));
    let done = at(&|step| matches!(step, Step::Command(1, [0x46, 0])));
    let scrub = at(&|step| matches!(step, Step::Scrub(_)));
    assert!(cpus < told && told < done && done < scrub);
    for number in [0, 1] {
        let page = |page: u64| [0x2a, address(RAM + page, 1)];
        assert_eq!(commands(&log, number), [page(3), page(4), [0x46, 0]]);
    }
}

#[test]
fn one_store_takes_a_page_from_devices() {
    let (mut world, _vm) = with_vm();
    let free = world.host.free_tables();
    world.host.donate_hyp(&mut world.hw, pages(RAM + 600, 1), Contents::Zero).unwrap();
    assert_eq!(world.host.free_tables(), free - 1, "the host's block was split");
    let tables = DMA_ROOT..DMA_ROOT + 40;
    let log = world.hw.take_log();
    let stores = log.iter().filter_map(|step| match step {
        Step::Write(table, index, raw) if tables.contains(&table.pfn().raw()) => {
            Some((*index, *raw))
        }
        _ => None,
    });
    assert_eq!(stores.collect::<Vec<_>>().last(), Some(&(88, 0)));
    world.host.return_host(&mut world.hw, pages(RAM + 600, 1)).unwrap();
    assert_eq!(world.host.free_tables(), free, "and has merged");
    let log = world.hw.take_log();
    assert!(commands(&log, 0).is_empty(), "what comes needs no invalidation");
}

#[test]
fn many_pages_are_forgotten_at_once() {
    let mut world = World::new();
    let before = world.host.smmus().unwrap().invalidations();
    world.host.donate_hyp(&mut world.hw, pages(RAM, 64), Contents::Zero).unwrap();
    assert_eq!(commands(&world.hw.take_log(), 1).len(), 65);
    assert_eq!(world.host.smmus().unwrap().invalidations() - before, 128);
    // Two windows, of which each is one flush.
    world.host.donate_hyp(&mut world.hw, pages(RAM + 300, 512), Contents::Zero).unwrap();
    let all = [[0x28, 0], [0x46, 0]];
    assert_eq!(commands(&world.hw.take_log(), 1), [all[0], all[1], all[0], all[1]]);
    assert_eq!(world.host.smmus().unwrap().invalidations() - before, 132);
    world.check(&[]);
}

#[test]
#[should_panic(expected = "DmaUnfinished")]
fn a_page_is_not_handed_over_when_devices_may_reach_it() {
    let mut world = World::new();
    world.hw.devices.smmus[1].trouble = Some(Trouble::Refuses(0x2a));
    let _ = world.host.donate_hyp(&mut world.hw, pages(RAM, 1), Contents::Zero);
}

#[test]
fn pools_too_small_for_devices_are_refused() {
    assert!(matches!(World::try_new(None, Some(1), Guard::Smmus), Err(Refusal::NoTables)));
    let geometry = vm_geometry();
    let doorbell = [pages(DOORBELL, 1)].into_iter();
    let needed = dma_tables_needed(geometry, host_ram().into_iter(), doorbell);
    // RAM: 3 + 1 + 1, HIGH: 3 (it touches two windows) + 1, doorbell 1, of which some are shared.
    assert!(matches!(World::try_new(None, Some(needed - 4), Guard::Smmus), Err(Refusal::NoTables)));
    let flat = Geometry::new(39, 48, Concatenation::Avoid).unwrap();
    let gib = |first: u64, count: u64| [pages(first << 18, count << 18)].into_iter();
    let none = std::iter::empty::<PageRange>;
    assert_eq!(dma_tables_needed(flat, gib(1, 4), none()), 4 * 513);
    assert_eq!(dma_tables_needed(flat, gib(1, 4), [pages(0x8090, 1)].into_iter()), 4 * 513 + 2);
}

#[test]
fn a_page_that_devices_keep_is_found() {
    let mut world = World::new();
    let World { hw, host } = &mut world;
    host.frames.apply(pfn(RAM + 8), Event::HostDonateHyp).unwrap();
    host.stage2.unmap(hw, &mut host.pool, ipas(RAM + 8, 1));
    let got = invariants::check(hw, host, &[]);
    let wanted = ipa(RAM + 8);
    assert!(matches!(got, Err(invariants::Violation::DevicesReach(at)) if at.ipa == wanted));
}

#[test]
fn a_page_that_devices_have_lost_is_found() {
    let mut world = World::new();
    let World { hw, host } = &mut world;
    host.devices.as_mut().unwrap().take(hw, pages(RAM + 8, 2));
    let got = invariants::check(hw, host, &[]);
    assert_eq!(got, Err(invariants::Violation::DevicesMiss(2)));
}

/// What devices walk, by hand: the leaf of a page.
fn leaf(world: &mut World, page: u64) -> (crate::addr::Pa, usize, u64) {
    let mut table = pfn(DMA_ROOT).base();
    for shift in [27, 18, 9] {
        let raw = world.hw.read(table, (page >> shift) as usize % 512);
        table = crate::addr::Pa::new(raw & 0xffff_ffff_f000).unwrap();
    }
    let index = page as usize % 512;
    (table, index, world.hw.read(table, index))
}

#[test]
#[should_panic(expected = "page scrubbed while devices reach it")]
fn the_fake_sees_a_page_that_devices_keep() {
    let mut world = World::new();
    let World { hw, host } = &mut world;
    host.stage2.unmap(hw, &mut host.pool, ipas(RAM + 8, 1));
    hw.scrub(pfn(RAM + 8));
}

#[test]
#[should_panic(expected = "page touched while a device may reach it")]
fn the_fake_sees_what_is_left_in_a_tlb() {
    let mut world = World::new();
    let (table, index, _) = leaf(&mut world, RAM + 8);
    world.hw.write(table, index, 0);
    world.hw.clean_entry(table, index);
    world.hw.dsb_sy();
    world.hw.clean(pfn(RAM + 8));
}

#[test]
#[should_panic(expected = "page scrubbed while devices reach it")]
fn the_fake_sees_a_store_that_was_not_cleaned() {
    let mut world = World::new();
    let (table, index, _) = leaf(&mut world, RAM + 8);
    let World { hw, host } = &mut world;
    host.stage2.unmap(hw, &mut host.pool, ipas(RAM + 8, 1));
    hw.write(table, index, 0);
    hw.dsb_sy();
    hw.scrub(pfn(RAM + 8));
}

#[test]
#[should_panic(expected = "for a moment")]
fn the_fake_sees_a_mapping_that_is_broken_for_a_moment() {
    let mut world = World::new();
    let World { hw, host } = &mut world;
    let devices = host.devices.as_mut().unwrap();
    devices.take(hw, pages(RAM + 8, 1));
    devices.give(hw, pages(RAM + 8, 1));
}

#[test]
#[should_panic(expected = "no change of a live table of devices")]
fn the_fake_sees_a_mapping_that_is_replaced() {
    let mut world = World::with_guard(Guard::SnoopingSmmus);
    let (table, index, raw) = leaf(&mut world, RAM + 8);
    world.hw.write(table, index, raw + 4096);
}

#[test]
#[should_panic(expected = "a store to an STE that is valid")]
fn the_fake_sees_a_store_to_a_valid_ste() {
    let mut world = World::new();
    let level1 = world.hw.devices.smmus[0].register(crate::fake::smmu::STRTAB_BASE);
    let entry = world.hw.device_reads(level1 & 0xffff_ffff_f000, 0);
    world.hw.write(crate::addr::Pa::new(entry & 0xffff_ffff_f000).unwrap(), 8 * 5 + 3, 0);
}

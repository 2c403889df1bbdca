//! Operations of the host with itself and with EL2: boot, faults, pins, pages for EL2.

use super::*;

#[test]
fn the_host_starts_with_its_own_in_the_largest_blocks() {
    let mut world = World::new();
    world.check(&[]);
    for (page, reaches) in [
        (RAM, true),
        (CARVE - 1, true),
        (CARVE, false),
        (RAM + RAM_PAGES, false),
        (HIGH - 1, false),
        (HIGH, true),
        (HIGH + HIGH_PAGES - 1, true),
        (HIGH + HIGH_PAGES, false),
        (UART, true),
        (WITHDRAWN - 1, true),
        (WITHDRAWN, false),
        (WITHDRAWN + 1, true),
        (0x8000, false),
        (0, false),
    ] {
        assert_eq!(world.host_reaches(page), reaches, "{page:x}");
    }
    let level = |world: &mut World, page: u64| {
        world.host.stage2().get(&mut world.hw, ipa(page)).unwrap().level
    };
    assert_eq!(level(&mut world, RAM), 2);
    assert_eq!(level(&mut world, HIGH), 3);
}

#[test]
fn a_pool_too_small_for_boot_is_refused() {
    assert!(matches!(World::try_new(Some(1), None, Guard::None), Err(Refusal::NoTables)));
    assert!(
        matches!(World::try_new(Some(6), None, Guard::None), Err(Refusal::NoTables)),
        "devices do not fit"
    );
}

#[test]
fn boot_gives_a_page_once() {
    let mut world = World::new();
    let HostMemory { frames, stage2, pool, .. } = world.host;
    let mut builder = HostMemoryBuilder::new(frames, stage2, pool);
    let again = builder.give_ram(&mut world.hw, pages(RAM + 5, 1));
    assert_eq!(again, Err(Refusal::AlreadyMapped));
    let hole = builder.give_ram(&mut world.hw, pages(HIGH + HIGH_PAGES, 1));
    assert_eq!(hole, Err(Refusal::NotRam));
}

#[test]
fn faults_are_retried_only_where_the_tables_allow() {
    use Access::{Execute, Read, Write};
    let (mut world, mut vm) = with_vm();
    let range = pages(RAM + 10, 2);
    world.host.donate_memory(&mut world.hw, &mut vm, range, ipa(0), Contents::Keep).unwrap();
    world.host.guest_share(&mut world.hw, &mut vm, ipas(1, 1), Contents::Keep).unwrap();
    for (page, access, wanted) in [
        (RAM, Read, HostFault::Retry),
        (RAM, Write, HostFault::Retry),
        (RAM, Execute, HostFault::Retry),
        (UART, Write, HostFault::Retry),
        // To retry this would be to fault for ever.
        (UART, Execute, HostFault::Inject),
        (RAM + 10, Read, HostFault::Inject),
        (RAM + 10, Write, HostFault::Inject),
        (RAM + 11, Write, HostFault::Retry),
        (RAM + 11, Execute, HostFault::Inject),
        (CARVE, Read, HostFault::Inject),
        (WITHDRAWN, Write, HostFault::Inject),
        (0, Read, HostFault::Inject),
        (1 << 28, Read, HostFault::Inject),
    ] {
        let got = world.host.fault(&mut world.hw, address(page, 0xffc), access);
        assert_eq!(got, wanted, "{page:x} {access:?}");
    }
    for raw in [1u64 << 40, 1 << 48, u64::MAX] {
        assert_eq!(world.host.fault(&mut world.hw, raw, Read), HostFault::Inject);
    }
}

#[test]
fn pages_given_to_el2_leave_the_host_and_come_back_scrubbed() {
    let mut world = World::new();
    let before = world.image(&[]);
    let free = world.host.free_tables();
    world.host.donate_hyp(&mut world.hw, pages(RAM + 510, 4), Contents::Zero).unwrap();
    for page in RAM + 510..RAM + 514 {
        assert!(!world.host_reaches(page));
        assert_eq!(world.hw.content(pfn(page)), Content::Zero);
    }
    world.spread_secrets();
    world.check(&[]);
    world.host.return_host(&mut world.hw, pages(RAM + 512, 2)).unwrap();
    world.check(&[]);
    refused!(world, [], Refusal::NotOwner, {
        world.host.return_host(&mut world.hw, pages(RAM + 510, 3))
    });
    refused!(world, [], Refusal::NotOwner, {
        world.host.return_host(&mut world.hw, pages(CARVE, 1))
    });
    world.host.return_host(&mut world.hw, pages(RAM + 510, 2)).unwrap();
    world.check(&[]);
    assert_eq!(before.0, world.image(&[]).0);
    assert_eq!(world.host.free_tables(), free, "blocks have merged again");
}

#[test]
fn what_the_host_does_not_have_it_cannot_give() {
    let mut world = World::new();
    let give = |world: &mut World, first, count| {
        world.host.donate_hyp(&mut world.hw, pages(first, count), Contents::Zero)
    };
    for (first, count, refusal) in [
        (CARVE, 1, Refusal::NotOwner),
        (CARVE - 1, 2, Refusal::NotOwner),
        (UART, 1, Refusal::NotRam),
        (0, 1, Refusal::NotRam),
        (HIGH - 1, 2, Refusal::NotRam),
        (HIGH + HIGH_PAGES - 1, 2, Refusal::NotRam),
        (RAM, 513, Refusal::TooMany),
        ((1 << 36) - 1, 1, Refusal::NotRam),
        (0, 1 << 36, Refusal::TooMany),
    ] {
        refused!(world, [], refusal, give(&mut world, first, count));
    }
    give(&mut world, RAM, 512).unwrap();
    refused!(world, [], Refusal::NotOwner, give(&mut world, RAM + 511, 1));
    world.check(&[]);
}

#[test]
fn pinned_pages_stay() {
    let (mut world, mut vm) = with_vm();
    world.host.pin(pages(RAM + 5, 2)).unwrap();
    world.host.pin(pages(RAM + 6, 1)).unwrap();
    let gift = pages(RAM + 4, 3);
    refused!(world, [vm], Refusal::Pinned, {
        world.host.donate_memory(&mut world.hw, &mut vm, gift, ipa(0), Contents::Zero)
    });
    refused!(world, [vm], Refusal::Pinned, {
        world.host.donate_hyp(&mut world.hw, gift, Contents::Zero)
    });
    refused!(world, [vm], Refusal::NotPinned, world.host.unpin(pages(RAM + 4, 2)));
    refused!(world, [vm], Refusal::NotOwner, world.host.pin(pages(RAM + 1300, 1)));
    refused!(world, [vm], Refusal::NotRam, world.host.pin(pages(UART, 1)));
    refused!(world, [vm], Refusal::TooMany, world.host.pin(pages(RAM, 513)));
    world.host.unpin(pages(RAM + 5, 2)).unwrap();
    refused!(world, [vm], Refusal::Pinned, {
        world.host.donate_hyp(&mut world.hw, gift, Contents::Zero)
    });
    world.host.unpin(pages(RAM + 6, 1)).unwrap();
    world.host.donate_hyp(&mut world.hw, gift, Contents::Zero).unwrap();
    for _ in 0..u16::MAX {
        world.host.pin(pages(RAM, 1)).unwrap();
    }
    refused!(world, [vm], Refusal::PinOverflow, world.host.pin(pages(RAM, 2)));
}

#[test]
fn host_runs_out_of_tables_cleanly() {
    // As many as boot takes, and one: a split of a second block fails before anything changes.
    let mut full = World::new();
    let used_at_boot = {
        let mut tables = 1;
        while World::try_new(Some(tables), None, Guard::Smmus).is_err() {
            tables += 1;
        }
        tables
    };
    full.check(&[]);
    let mut world = World::with_pool(Some(used_at_boot + 1));
    world.host.donate_hyp(&mut world.hw, pages(RAM, 1), Contents::Zero).unwrap();
    refused!(world, [], Refusal::NoTables, {
        world.host.donate_hyp(&mut world.hw, pages(RAM + 512, 1), Contents::Zero)
    });
    // With the pool that the estimate asks for, every page can be taken one by one.
    for range in host_ram() {
        for page in range.iter() {
            full.host.donate_hyp(&mut full.hw, PageRange::one(page), Contents::Zero).unwrap();
        }
    }
    full.check(&[]);
    for range in host_ram() {
        for page in range.iter() {
            full.host.return_host(&mut full.hw, PageRange::one(page)).unwrap();
        }
    }
    full.check(&[]);
    assert_eq!(full.image(&[]).0, World::new().image(&[]).0);
    assert_eq!(full.host.free_tables(), World::new().host.free_tables());
}

#[test]
fn table_estimates_grow_with_memory() {
    let geometry = vm_geometry();
    let gib = |count: u64| pages(0x4_0000, count << 18);
    let none = std::iter::empty::<PageRange>;
    let needed = |range| host_tables_needed(geometry, [range].into_iter(), none());
    assert_eq!(needed(gib(1)), 512 + 1 + 1);
    assert_eq!(needed(gib(8)), 8 * 512 + 8 + 1);
    assert_eq!(needed(pages(0x4_0000, 1)), 3);
    let window = pages(0x800_0000, 1 << 27);
    assert_eq!(host_tables_needed(geometry, none(), [window].into_iter()), 2 + 2 + 1);
    let flat = Geometry::new(39, 48, crate::stage2::geometry::Concatenation::Avoid).unwrap();
    assert_eq!(host_tables_needed(flat, [gib(1)].into_iter(), none()), 513);
}

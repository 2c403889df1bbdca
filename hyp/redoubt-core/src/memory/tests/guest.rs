//! Operations between the host and living VMs.

use super::*;

#[test]
fn creating_a_vm_takes_a_fitting_root() {
    let mut world = World::new();
    let create = |world: &mut World, first, count, geometry| {
        let root = pages(first, count);
        VmMemory::create(&mut world.host, &mut world.hw, VmSlot::new(1), 2, geometry, root)
            .map(|_| ())
    };
    use crate::stage2::geometry::Concatenation;
    let concatenated = Geometry::new(41, 42, Concatenation::Avoid).unwrap();
    let flat = vm_geometry();
    refused!(world, [], Refusal::TooMany, create(&mut world, RAM, 2, flat));
    refused!(world, [], Refusal::Empty, create(&mut world, RAM, 3, concatenated));
    refused!(world, [], Refusal::Misaligned, create(&mut world, RAM + 2, 4, concatenated));
    refused!(world, [], Refusal::NotOwner, create(&mut world, CARVE, 1, flat));
    refused!(world, [], Refusal::NotRam, create(&mut world, UART, 1, flat));
    create(&mut world, RAM + 4, 4, concatenated).unwrap();
    refused!(world, [], Refusal::NotOwner, create(&mut world, RAM + 5, 1, flat));
}

#[test]
fn a_new_vmid_is_flushed_and_its_root_zeroed() {
    let mut world = World::new();
    world.hw.take_log();
    let vm = world.create(SLOT, RAM).unwrap();
    let log = world.hw.take_log();
    let scrub = log.iter().position(|step| *step == Step::Scrub(pfn(RAM))).unwrap();
    let vmid = u16::from(SLOT) + 1;
    let enter = log.iter().position(|step| *step == Step::Enter(vmid)).unwrap();
    assert!(scrub < enter);
    assert_eq!(log[enter + 1..enter + 4], [Step::TlbiAll, Step::DsbIsh, Step::Isb]);
    assert_eq!(vm.context().unwrap().vttbr(), 4 << 48 | (RAM << 12));
    assert_eq!(vm.slot(), VmSlot::new(SLOT));
}

#[test]
fn donated_memory_moves_from_host_to_vm() {
    let (mut world, mut vm) = with_vm();
    world.hw.fill(pfn(RAM + 1), Content::Host);
    let range = pages(RAM + 1, 3);
    world.hw.take_log();
    world.host.donate_memory(&mut world.hw, &mut vm, range, ipa(0x80), Contents::Keep).unwrap();
    let log = world.hw.take_log();
    // Taken from the host, cleaned, and only then mapped in the VM.
    let broken = log.iter().position(|step| *step == Step::TlbiIpa(RAM << 12, Some(2))).unwrap();
    let cleaned = log.iter().position(|step| *step == Step::Clean(pfn(RAM + 1))).unwrap();
    let settled = log.iter().position(|step| *step == Step::Settle).unwrap();
    let leaf = crate::stage2::descriptor::encode_leaf(3, range.start_pa(), Attrs::RAM);
    let mapped = log
        .iter()
        .rposition(|step| matches!(step, Step::Write(_, 0x80, raw) if *raw == leaf))
        .unwrap();
    assert!(broken < cleaned && cleaned < settled && settled < mapped);
    assert!(!log.iter().any(|step| matches!(step, Step::Scrub(_))), "the image is kept");
    for page in 0..3 {
        assert!(!world.host_reaches(RAM + 1 + page));
        assert_eq!(world.vm_sees(&vm, 0x80 + page), Some(RAM + 1 + page));
        let (seen, frame) = world.host.vm_page(&mut world.hw, &vm, ipa(0x80 + page)).unwrap();
        assert_eq!(seen, pfn(RAM + 1 + page));
        assert_eq!(frame.state, State::Vm { vm: VmSlot::new(SLOT), ipa: ipa(0x80 + page) });
    }
    assert_eq!(world.counts(&vm).owned, 3);
    world
        .host
        .donate_memory(&mut world.hw, &mut vm, pages(HIGH, 1), ipa(0), Contents::Zero)
        .unwrap();
    assert_eq!(world.hw.content(pfn(HIGH)), Content::Zero);
    world.check(&[&vm]);
    let beyond = world.host.vm_page(&mut world.hw, &vm, ipa(1 << 28));
    assert_eq!(beyond.map(|_| ()), Err(Refusal::OutOfRange));
    let hole = world.host.vm_page(&mut world.hw, &vm, ipa(0x100));
    assert_eq!(hole.map(|_| ()), Err(Refusal::NotMapped));
}

#[test]
fn whole_blocks_are_donated_as_blocks() {
    let (mut world, mut vm) = with_vm();
    let range = pages(RAM + 512, 512);
    world
        .host
        .donate_memory(&mut world.hw, &mut vm, pages(RAM, 1), ipa(7), Contents::Zero)
        .unwrap();
    let free = vm.free_tables();
    world.host.donate_memory(&mut world.hw, &mut vm, range, ipa(512), Contents::Keep).unwrap();
    assert_eq!(vm.lookup(&mut world.hw, ipa(600)).unwrap().level, 2);
    assert_eq!(vm.free_tables(), free);
    // One page out of the middle splits it.
    world.host.guest_relinquish(&mut world.hw, &mut vm, ipas(600, 1)).unwrap();
    assert_eq!(vm.free_tables(), free - 1);
    assert_eq!(world.vm_sees(&vm, 600), None);
    assert_eq!(world.vm_sees(&vm, 601), Some(RAM + 601));
    world.check(&[&vm]);
}

#[test]
fn donations_that_do_not_fit_are_refused() {
    let (mut world, mut vm) = with_vm();
    let mut other = world.vm(SLOT + 1, RAM + 1400, 4);
    let give = |vm: &mut VmMemory, world: &mut World, first, count, at| {
        world.host.donate_memory(&mut world.hw, vm, pages(first, count), ipa(at), Contents::Zero)
    };
    give(&mut vm, &mut world, RAM, 2, 0x100).unwrap();
    // One page to two VMs, at two addresses; two pages to one address; metadata as memory.
    refused!(world, [vm, other], Refusal::NotOwner, give(&mut other, &mut world, RAM, 1, 0));
    refused!(world, [vm, other], Refusal::NotOwner, give(&mut vm, &mut world, RAM, 1, 0x200));
    refused!(world, [vm, other], Refusal::AlreadyMapped, {
        give(&mut vm, &mut world, RAM + 5, 2, 0xff)
    });
    refused!(world, [vm, other], Refusal::NotOwner, {
        give(&mut vm, &mut world, RAM + 1300, 1, 0x300)
    });
    refused!(world, [vm, other], Refusal::NotOwner, give(&mut vm, &mut world, CARVE - 1, 2, 0));
    refused!(world, [vm, other], Refusal::NotRam, give(&mut vm, &mut world, UART, 1, 0));
    refused!(world, [vm, other], Refusal::TooMany, give(&mut vm, &mut world, RAM + 1, 513, 0));
    refused!(world, [vm, other], Refusal::OutOfRange, {
        give(&mut vm, &mut world, RAM + 9, 2, (1 << 28) - 1)
    });
    refused!(world, [vm, other], Refusal::Overflow, {
        give(&mut vm, &mut world, RAM + 9, 2, (1 << 36) - 1)
    });
    let misaligned = crate::addr::Ipa::new(0x800).unwrap();
    let range = pages(RAM + 9, 1);
    refused!(world, [vm, other], Refusal::Misaligned, {
        world.host.donate_memory(&mut world.hw, &mut vm, range, misaligned, Contents::Zero)
    });
}

#[test]
fn a_vm_without_tables_gets_no_memory() {
    let mut world = World::new();
    for tables in 0..3 {
        let mut vm = world.create(SLOT + tables, RAM + 100 * u64::from(tables)).unwrap();
        if tables > 0 {
            let pool = pages(RAM + 100 * u64::from(tables) + 1, u64::from(tables));
            world.host.donate_tables(&mut world.hw, &mut vm, pool).unwrap();
        }
        let range = pages(RAM + 600, 1);
        refused!(world, [vm], Refusal::NoTables, {
            world.host.donate_memory(&mut world.hw, &mut vm, range, ipa(0), Contents::Zero)
        });
        refused!(world, [vm], Refusal::NoTables, {
            world.host.share_memory(&mut world.hw, &mut vm, range, ipa(0), Lend::ReadWrite)
        });
    }
}

#[test]
fn a_block_is_not_split_without_a_table() {
    let mut world = World::new();
    let mut vm = world.vm(SLOT, RAM + 1300, 2);
    let range = pages(RAM, 512);
    world.host.donate_memory(&mut world.hw, &mut vm, range, ipa(0), Contents::Keep).unwrap();
    assert_eq!(vm.free_tables(), 0);
    refused!(world, [vm], Refusal::NoTables, {
        world.host.guest_relinquish(&mut world.hw, &mut vm, ipas(3, 1))
    });
    world.host.guest_relinquish(&mut world.hw, &mut vm, ipas(0, 512)).unwrap();
    assert_eq!(vm.free_tables(), 2, "tables are free again");
    world.check(&[&vm]);
}

#[test]
fn shared_memory_is_seen_by_both_and_lent_once() {
    let (mut world, mut vm) = with_vm();
    let mut other = world.vm(SLOT + 1, RAM + 1400, 4);
    let range = pages(RAM + 3, 4);
    world.host.share_memory(&mut world.hw, &mut vm, range, ipa(0x40), Lend::ReadOnly).unwrap();
    assert_eq!(world.vm_sees(&vm, 0x43), Some(RAM + 6));
    assert!(world.host_reaches(RAM + 6));
    assert!(!vm.lookup(&mut world.hw, ipa(0x40)).unwrap().attrs.write);
    assert_eq!(world.counts(&vm).borrowed, 4);
    let lend = |world: &mut World, vm: &mut VmMemory, first, at| {
        world.host.share_memory(&mut world.hw, vm, pages(first, 1), ipa(at), Lend::ReadWrite)
    };
    refused!(world, [vm, other], Refusal::Shared, lend(&mut world, &mut other, RAM + 3, 0));
    refused!(world, [vm, other], Refusal::Shared, lend(&mut world, &mut vm, RAM + 3, 0));
    refused!(world, [vm, other], Refusal::AlreadyMapped, lend(&mut world, &mut vm, RAM, 0x40));
    refused!(world, [vm, other], Refusal::Shared, {
        world.host.donate_hyp(&mut world.hw, pages(RAM + 2, 2), Contents::Zero)
    });
    let unshare = |world: &mut World, vm: &mut VmMemory, at, count| {
        world.host.unshare_memory(&mut world.hw, vm, ipas(at, count))
    };
    refused!(world, [vm, other], Refusal::NotMapped, unshare(&mut world, &mut other, 0x40, 1));
    refused!(world, [vm, other], Refusal::NotMapped, unshare(&mut world, &mut vm, 0x42, 3));
    refused!(world, [vm, other], Refusal::TooMany, unshare(&mut world, &mut vm, 0x40, 513));
    refused!(world, [vm, other], Refusal::OutOfRange, unshare(&mut world, &mut vm, 1 << 28, 1));
    // A borrowed page is not the VM's to lend or to give away.
    refused!(world, [vm, other], Refusal::NotOwner, {
        world.host.guest_share(&mut world.hw, &mut vm, ipas(0x40, 1), Contents::Keep)
    });
    refused!(world, [vm, other], Refusal::NotOwner, {
        world.host.guest_relinquish(&mut world.hw, &mut vm, ipas(0x40, 1))
    });
    unshare(&mut world, &mut vm, 0x41, 2).unwrap();
    assert_eq!(world.vm_sees(&vm, 0x41), None);
    assert_eq!(world.vm_sees(&vm, 0x40), Some(RAM + 3));
    world.check(&[&vm, &other]);
    lend(&mut world, &mut other, RAM + 4, 9).unwrap();
    // What the VM owns is not a loan of the host's.
    let gift = pages(RAM + 20, 1);
    world.host.donate_memory(&mut world.hw, &mut vm, gift, ipa(0x99), Contents::Zero).unwrap();
    refused!(world, [vm, other], Refusal::NotOwner, unshare(&mut world, &mut vm, 0x99, 1));
    assert_eq!(world.vm_sees(&vm, 0x40), Some(RAM + 3));
}

#[test]
fn guests_share_and_unshare_scattered_pages() {
    let (mut world, mut vm) = with_vm();
    for (index, page) in [RAM + 7, RAM + 600, HIGH + 4, HIGH + 5, RAM + 8].into_iter().enumerate() {
        let range = pages(page, 1);
        let at = ipa(0x200 + index as u64);
        world.host.donate_memory(&mut world.hw, &mut vm, range, at, Contents::Keep).unwrap();
    }
    world.spread_secrets();
    world.host.guest_share(&mut world.hw, &mut vm, ipas(0x201, 3), Contents::Keep).unwrap();
    for page in [RAM + 600, HIGH + 4, HIGH + 5] {
        assert!(world.host_reaches(page));
        assert_eq!(
            world.hw.content(pfn(page)),
            Content::Secret(SLOT),
            "the guest chose to keep it"
        );
    }
    assert!(!world.host_reaches(RAM + 7) && !world.host_reaches(RAM + 8));
    assert_eq!(world.vm_sees(&vm, 0x202), Some(HIGH + 4), "the VM keeps its access");
    world.check(&[&vm]);
    let share = |world: &mut World, vm: &mut VmMemory, range: IpaRange| {
        world.host.guest_share(&mut world.hw, vm, range, Contents::Zero)
    };
    let unshare = |world: &mut World, vm: &mut VmMemory, range: IpaRange| {
        world.host.guest_unshare(&mut world.hw, vm, range, Contents::Zero)
    };
    refused!(world, [vm], Refusal::Shared, share(&mut world, &mut vm, ipas(0x200, 2)));
    refused!(world, [vm], Refusal::NotMapped, share(&mut world, &mut vm, ipas(0x204, 2)));
    refused!(world, [vm], Refusal::OutOfRange, share(&mut world, &mut vm, ipas(1 << 28, 1)));
    refused!(world, [vm], Refusal::TooMany, share(&mut world, &mut vm, ipas(0, 513)));
    refused!(world, [vm], Refusal::NotShared, unshare(&mut world, &mut vm, ipas(0x203, 2)));
    refused!(world, [vm], Refusal::Shared, {
        world.host.guest_relinquish(&mut world.hw, &mut vm, ipas(0x200, 2))
    });
    world.host.pin(pages(HIGH + 5, 1)).unwrap();
    refused!(world, [vm], Refusal::Pinned, unshare(&mut world, &mut vm, ipas(0x201, 3)));
    world.host.unpin(pages(HIGH + 5, 1)).unwrap();
    unshare(&mut world, &mut vm, ipas(0x201, 3)).unwrap();
    for page in [RAM + 600, HIGH + 4, HIGH + 5] {
        assert!(!world.host_reaches(page));
        assert_eq!(world.hw.content(pfn(page)), Content::Zero);
    }
    share(&mut world, &mut vm, ipas(0x200, 1)).unwrap();
    assert_eq!(world.hw.content(pfn(RAM + 7)), Content::Zero, "shared without its contents");
    world.check(&[&vm]);
    assert_eq!(world.counts(&vm).owned, 5);
}

#[test]
fn relinquished_pages_are_scrubbed_before_the_host_sees_them() {
    let (mut world, mut vm) = with_vm();
    let range = pages(RAM, 4);
    world.host.donate_memory(&mut world.hw, &mut vm, range, ipa(0), Contents::Keep).unwrap();
    world.spread_secrets();
    world.hw.take_log();
    world.host.guest_relinquish(&mut world.hw, &mut vm, ipas(1, 2)).unwrap();
    world.check(&[&vm]);
    let log = world.hw.take_log();
    let vmid = u16::from(SLOT) + 1;
    let flushed = log.iter().position(|step| *step == Step::Enter(vmid)).unwrap();
    let scrubbed = log.iter().position(|step| *step == Step::Scrub(pfn(RAM + 1))).unwrap();
    let settled = log.iter().position(|step| *step == Step::Settle).unwrap();
    let leaf = crate::stage2::descriptor::encode_leaf(3, pfn(RAM + 1).base(), Attrs::RAM);
    let given =
        log.iter().position(|step| matches!(step, Step::Write(_, _, raw) if *raw == leaf)).unwrap();
    assert!(flushed < scrubbed && scrubbed < settled && settled < given);
    assert!(world.host_reaches(RAM + 1) && world.host_reaches(RAM + 2));
    assert_eq!((world.vm_sees(&vm, 1), world.vm_sees(&vm, 3)), (None, Some(RAM + 3)));
    assert_eq!(world.counts(&vm).owned, 2);
}

#[test]
fn state_pages_are_zeroed_and_returned_scrubbed() {
    let (mut world, mut vm) = with_vm();
    let range = pages(RAM + 40, 3);
    world.host.donate_state(&mut world.hw, &mut vm, range).unwrap();
    for page in range.iter() {
        assert_eq!(world.hw.content(page), Content::Zero);
        let wanted = State::VmMeta { vm: VmSlot::new(SLOT), kind: MetaKind::State };
        assert_eq!(world.host.frame(page).unwrap().state, wanted);
    }
    world.spread_secrets();
    let back = |world: &mut World, vm: &mut VmMemory, first, count| {
        world.host.return_state(&mut world.hw, vm, pages(first, count))
    };
    refused!(world, [vm], Refusal::NotOwner, back(&mut world, &mut vm, RAM + 42, 2));
    refused!(world, [vm], Refusal::WrongKind, back(&mut world, &mut vm, RAM + 1301, 1));
    refused!(world, [vm], Refusal::TooMany, back(&mut world, &mut vm, RAM, 513));
    let gift = pages(RAM + 50, 1);
    world.host.donate_memory(&mut world.hw, &mut vm, gift, ipa(0), Contents::Zero).unwrap();
    refused!(world, [vm], Refusal::WrongKind, back(&mut world, &mut vm, RAM + 50, 1));
    let mut other = world.vm(SLOT + 1, RAM + 1400, 4);
    refused!(world, [vm, other], Refusal::NotOwner, back(&mut world, &mut other, RAM + 40, 1));
    back(&mut world, &mut vm, RAM + 40, 3).unwrap();
    world.check(&[&vm, &other]);
    assert_eq!(world.counts(&vm).state, 0);
}

#[test]
fn a_forged_pool_page_is_not_followed() {
    // The host writes what looks like a link into a page and donates it as a table.
    let mut world = World::new();
    let mut vm = world.create(SLOT, RAM).unwrap();
    for index in 0..512 {
        crate::hw::TableMemory::write(&mut world.hw, pfn(RAM + 1).base(), index, (CARVE << 12) | 3);
    }
    world.host.donate_tables(&mut world.hw, &mut vm, pages(RAM + 1, 1)).unwrap();
    world.host.donate_tables(&mut world.hw, &mut vm, pages(RAM + 10, 2)).unwrap();
    let range = pages(RAM + 20, 1);
    world.host.donate_memory(&mut world.hw, &mut vm, range, ipa(5), Contents::Zero).unwrap();
    assert_eq!(vm.free_tables(), 0);
    world.check(&[&vm]);
    assert_eq!(world.vm_sees(&vm, 4), None);
}

#[test]
fn what_a_guest_may_do_is_looked_up() {
    let (mut world, mut vm) = with_vm();
    let read_only = pages(RAM + 1, 1);
    let plain = pages(RAM, 1);
    world.host.share_memory(&mut world.hw, &mut vm, plain, ipa(0), Lend::ReadWrite).unwrap();
    world.host.share_memory(&mut world.hw, &mut vm, read_only, ipa(1), Lend::ReadOnly).unwrap();
    for access in [Access::Read, Access::Write, Access::Execute] {
        assert!(vm.allows(&mut world.hw, ipa(0), access));
        assert_eq!(vm.allows(&mut world.hw, ipa(1), access), access != Access::Write);
        assert!(!vm.allows(&mut world.hw, ipa(2), access));
    }
}

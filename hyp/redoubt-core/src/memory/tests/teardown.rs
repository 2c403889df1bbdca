//! The end of a VM.

use super::*;

/// Tears a VM down and returns the number of calls it took.
fn tear_down(world: &mut World, vm: &mut VmMemory) -> usize {
    vm.begin_teardown();
    let mut calls = 0;
    loop {
        calls += 1;
        world.hw.take_log();
        let progress = world.host.reclaim_step(&mut world.hw, vm).unwrap();
        let scrubs =
            world.hw.log.iter().filter(|step| matches!(step, Step::Scrub(_))).count() as u64;
        assert!(scrubs <= MAX_PAGES_PER_CALL + 1, "a call is bounded: {scrubs}");
        if progress == Reclaim::Done {
            return calls;
        }
        world.check(&[vm]);
    }
}

#[test]
fn teardown_returns_everything_scrubbed_and_bounded() {
    let mut world = World::new();
    let before = world.image(&[]);
    let free = world.host.free_tables();
    let mut vm = world.vm(SLOT, RAM + 1300, 8);
    let donate = |world: &mut World, vm: &mut VmMemory, first, count, at| {
        let range = pages(first, count);
        world.host.donate_memory(&mut world.hw, vm, range, ipa(at), Contents::Keep).unwrap();
    };
    donate(&mut world, &mut vm, RAM, 512, 512);
    donate(&mut world, &mut vm, RAM + 512, 400, 0x4_0000 + 300);
    donate(&mut world, &mut vm, HIGH + 1, 1, 3);
    donate(&mut world, &mut vm, HIGH + 4, 2, 4);
    world.host.guest_share(&mut world.hw, &mut vm, ipas(600, 1), Contents::Keep).unwrap();
    let lent = pages(HIGH + 7, 2);
    world.host.share_memory(&mut world.hw, &mut vm, lent, ipa(6), Lend::ReadWrite).unwrap();
    world.host.donate_state(&mut world.hw, &mut vm, pages(RAM + 1500, 2)).unwrap();
    world.spread_secrets();
    refused!(world, [vm], Refusal::WrongState, {
        world.host.reclaim_step(&mut world.hw, &mut vm).map(|_| ())
    });
    let calls = tear_down(&mut world, &mut vm);
    assert!(calls >= 2, "913 pages are more than one call may take");
    // The last thing before the root goes is that nothing of the VMID stays in a TLB.
    let log = world.hw.take_log();
    let flushed = log.iter().rposition(|step| *step == Step::TlbiAll);
    let root = log.iter().rposition(|step| *step == Step::Scrub(pfn(RAM + 1300)));
    assert!(flushed.is_some() && flushed < root);
    assert!(flushed > log.iter().position(|step| *step == Step::Scrub(pfn(RAM + 1308))));
    assert!(!world.is_gone(&vm), "state pages are still out");
    assert_eq!(vm.context(), None);
    world.host.return_state(&mut world.hw, &vm, pages(RAM + 1500, 2)).unwrap();
    assert!(world.is_gone(&vm));
    world.check(&[&vm]);
    assert_eq!(before.0, world.image(&[]).0, "every page is the host's again");
    assert_eq!(world.host.free_tables(), free, "and in the same blocks");
    assert_eq!(world.host.reclaim_step(&mut world.hw, &mut vm), Ok(Reclaim::Done));
    assert_eq!(vm.lookup(&mut world.hw, ipa(600)), None, "its old root is not walked");
}

#[test]
fn a_dying_vm_takes_and_gives_nothing() {
    let (mut world, mut vm) = with_vm();
    let range = pages(RAM + 9, 1);
    world.host.donate_memory(&mut world.hw, &mut vm, range, ipa(0), Contents::Zero).unwrap();
    vm.begin_teardown();
    assert!(vm.is_dying());
    let spare = pages(RAM + 30, 1);
    let World { hw, host } = &mut world;
    let at = ipa(9);
    let results = [
        host.donate_memory(hw, &mut vm, spare, at, Contents::Zero),
        host.share_memory(hw, &mut vm, spare, at, Lend::ReadWrite),
        host.donate_tables(hw, &mut vm, spare),
        host.donate_state(hw, &mut vm, spare),
        host.unshare_memory(hw, &mut vm, ipas(0, 1)),
        host.guest_share(hw, &mut vm, ipas(0, 1), Contents::Keep),
        host.guest_unshare(hw, &mut vm, ipas(0, 1), Contents::Keep),
        host.guest_relinquish(hw, &mut vm, ipas(0, 1)),
    ];
    assert!(results.iter().all(|result| *result == Err(Refusal::WrongState)));
    world.check(&[&vm]);
}

#[test]
fn teardown_waits_for_pins_and_goes_on() {
    let (mut world, mut vm) = with_vm();
    let range = pages(RAM, 8);
    world.host.donate_memory(&mut world.hw, &mut vm, range, ipa(0x10), Contents::Keep).unwrap();
    world
        .host
        .donate_memory(&mut world.hw, &mut vm, pages(HIGH, 1), ipa(2), Contents::Keep)
        .unwrap();
    world.host.guest_share(&mut world.hw, &mut vm, ipas(0x13, 1), Contents::Keep).unwrap();
    world.host.pin(pages(RAM + 3, 1)).unwrap();
    vm.begin_teardown();
    assert_eq!(world.host.reclaim_step(&mut world.hw, &mut vm), Ok(Reclaim::More));
    assert!(world.host_reaches(HIGH), "what is not pinned goes");
    refused!(world, [vm], Refusal::Pinned, {
        world.host.reclaim_step(&mut world.hw, &mut vm).map(|_| ())
    });
    world.host.unpin(pages(RAM + 3, 1)).unwrap();
    tear_down(&mut world, &mut vm);
    assert!(world.is_gone(&vm));
}

#[test]
fn a_loan_survives_with_its_pins_when_the_borrower_dies() {
    let (mut world, mut vm) = with_vm();
    let lent = pages(RAM, 2);
    world.host.pin(lent).unwrap();
    world.host.share_memory(&mut world.hw, &mut vm, lent, ipa(0), Lend::ReadWrite).unwrap();
    tear_down(&mut world, &mut vm);
    assert_eq!(world.host.frame(pfn(RAM)), Ok(Frame { state: State::Host, pins: 1 }));
    assert!(world.is_gone(&vm));
}

#[test]
#[should_panic(expected = "TablesDisagree")]
fn tables_that_contradict_the_records_stop_the_machine() {
    let (mut world, mut vm) = with_vm();
    let range = pages(RAM, 1);
    world.host.donate_memory(&mut world.hw, &mut vm, range, ipa(0), Contents::Zero).unwrap();
    // A bit flips in EL2's memory: the VM's page is the host's, says the record.
    world.host.frames.apply(pfn(RAM), Event::VmRelinquish { vm: VmSlot::new(SLOT) }).unwrap();
    vm.begin_teardown();
    let _ = world.host.reclaim_step(&mut world.hw, &mut vm);
}

#[test]
fn going_down_scrubs_in_place_whatever_is_pinned() {
    let (mut world, mut vm) = with_vm();
    for (first, count, at) in [(RAM, 512, 512), (RAM + 512, 88, 1024)] {
        let range = pages(first, count);
        world.host.donate_memory(&mut world.hw, &mut vm, range, ipa(at), Contents::Keep).unwrap();
    }
    world.host.guest_share(&mut world.hw, &mut vm, ipas(700, 1), Contents::Keep).unwrap();
    world.host.donate_state(&mut world.hw, &mut vm, pages(RAM + 1500, 1)).unwrap();
    world.host.pin(pages(RAM + 188, 1)).unwrap();
    world.spread_secrets();
    let frames = world.image(&[]).0;

    vm.shut(&mut world.hw);
    assert!(world.hw.take_log().contains(&Step::TlbiAll));
    for page in [512, 700, 1111] {
        assert_eq!(world.vm_sees(&vm, page), None, "a running guest faults");
    }
    world.host.scrub_vms(&mut world.hw);
    let shared = RAM + 188;
    for page in (RAM..RAM + 600).chain([RAM + 1500]).filter(|page| *page != shared) {
        assert_eq!(world.hw.content(pfn(page)), Content::Zero, "{page:#x}");
    }
    assert_eq!(frames, world.image(&[]).0, "nothing has changed hands");

    let refused = world.host.reclaim_step(&mut world.hw, &mut vm);
    assert_eq!(refused, Err(Refusal::WrongState), "the tables cannot be walked");

    // The firmware came back: the VM is torn down as ever.
    vm.reopen(&mut world.hw);
    assert_eq!(world.vm_sees(&vm, 512), Some(RAM));
    world.check(&[&vm]);
    world.host.unpin(pages(RAM + 188, 1)).unwrap();
    tear_down(&mut world, &mut vm);
    world.host.return_state(&mut world.hw, &vm, pages(RAM + 1500, 1)).unwrap();
    assert!(world.is_gone(&vm));
}

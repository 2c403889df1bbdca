//! The invariant check and the fail-stops themselves: each kind of damage, done by hand, is seen.

use super::invariants::{Violation, check};
use super::*;
use crate::hw::PageScrub;

/// A VM with the page `RAM` at address 5 and a loan to the host at address 6.
fn damaged() -> (World, VmMemory) {
    let (mut world, mut vm) = with_vm();
    let range = pages(RAM, 2);
    let World { hw, host } = &mut world;
    host.donate_memory(hw, &mut vm, range, ipa(5), Contents::Zero).unwrap();
    host.guest_share(hw, &mut vm, ipas(6, 1), Contents::Zero).unwrap();
    assert_eq!(check(hw, host, &[&vm]), Ok(()));
    (world, vm)
}

#[test]
fn a_page_that_the_host_should_not_reach_is_seen() {
    let (mut world, vm) = damaged();
    let frames = &mut world.host.frames;
    frames.apply(pfn(RAM + 8), Event::HostDonateHyp).unwrap();
    let got = check(&mut world.hw, &world.host, &[&vm]);
    assert!(matches!(got, Err(Violation::HostReaches(mapping)) if mapping.ipa == ipa(RAM + 8)));
}

#[test]
fn too_many_rights_of_the_host_are_seen() {
    let (mut world, vm) = damaged();
    let World { hw, host } = &mut world;
    host.take(hw, pages(RAM + 1, 1));
    hw.clean(pfn(RAM + 1));
    hw.settle();
    host.give(hw, pages(RAM + 1, 1));
    let got = check(hw, host, &[&vm]);
    assert!(matches!(got, Err(Violation::HostReaches(mapping)) if mapping.ipa == ipa(RAM + 1)));
}

#[test]
fn a_page_that_the_host_has_lost_is_seen() {
    let (mut world, vm) = damaged();
    let World { hw, host } = &mut world;
    host.take(hw, pages(RAM + 9, 3));
    assert_eq!(check(hw, host, &[&vm]), Err(Violation::HostMisses(3)));
}

#[test]
fn a_page_at_the_wrong_address_is_seen() {
    let (mut world, vm) = damaged();
    let slot = vm.slot();
    let frames = &mut world.host.frames;
    frames.apply(pfn(RAM), Event::VmRelinquish { vm: slot }).unwrap();
    let elsewhere = Event::HostDonateVm { vm: slot, ipa: ipa(9) };
    frames.apply(pfn(RAM), elsewhere).unwrap();
    let got = check(&mut world.hw, &world.host, &[&vm]);
    assert!(matches!(got, Err(Violation::VmReaches(mapping)) if mapping.ipa == ipa(5)));
}

#[test]
fn wrong_counts_are_seen() {
    let (mut world, vm) = damaged();
    let frames = &mut world.host.frames;
    let gift = Event::HostDonateVm { vm: vm.slot(), ipa: ipa(9) };
    for event in [Event::BootGiveHost, gift] {
        frames.apply(pfn(CARVE), event).unwrap();
    }
    let got = check(&mut world.hw, &world.host, &[&vm]);
    assert_eq!(got, Err(Violation::VmCounts));
}

#[test]
fn a_table_in_a_foreign_page_is_seen() {
    let (mut world, vm) = damaged();
    let slot = vm.slot();
    let root = vm.context().unwrap().root;
    let frames = &mut world.host.frames;
    for event in [
        Event::ReturnMeta { vm: slot, kind: MetaKind::Table },
        Event::HostDonateMeta { vm: slot, kind: MetaKind::State },
    ] {
        frames.apply(root.pfn(), event).unwrap();
    }
    let got = check(&mut world.hw, &world.host, &[&vm]);
    assert_eq!(got, Err(Violation::TableOutside(root)));
}

#[test]
#[should_panic(expected = "TransitionLost")]
fn a_checked_transition_that_is_refused_stops_the_machine() {
    let mut world = World::new();
    let World { hw, host } = &mut world;
    host.record(hw, pages(CARVE, 1), |_| Ok(Event::HypReturnHost));
}

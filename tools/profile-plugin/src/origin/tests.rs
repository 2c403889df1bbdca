//! Who enters, by tenant and stage 2.

use super::{Origin, Rule};
use crate::arguments::Tenant;
use crate::arm::Level;

const VM: u64 = 1;
const TGE: u64 = 1 << 27;

fn vttbr(vmid: u64) -> u64 {
    vmid << 48 | 0x4000_0000
}

#[test]
fn a_host_without_stage_2_is_what_has_none() {
    let mut rule = Rule::new(Tenant::Vm, false);
    assert_eq!(rule.who(Level::El0, TGE, 0), Some(Origin::Host));
    assert_eq!(rule.who(Level::El0, 0, vttbr(3)), Some(Origin::Host));
    assert_eq!(rule.who(Level::El0, VM, vttbr(3)), Some(Origin::Guest));
    assert_eq!(rule.who(Level::El0, VM, vttbr(1)), Some(Origin::Guest));
    assert_eq!(rule.who(Level::El0, VM | TGE, vttbr(1)), Some(Origin::Host));
}

#[test]
fn a_host_behind_stage_2_has_the_first_vmid() {
    let mut rule = Rule::new(Tenant::Vm, true);
    assert_eq!(rule.who(Level::El0, 0, vttbr(9)), Some(Origin::Host));
    assert_eq!(rule.who(Level::El0, VM, vttbr(7)), Some(Origin::Host));
    assert_eq!(rule.who(Level::El0, VM, vttbr(9)), Some(Origin::Guest));
    assert_eq!(rule.who(Level::El0, VM, vttbr(0)), Some(Origin::Guest));
    assert_eq!(rule.who(Level::El0, VM, vttbr(7)), Some(Origin::Host));
}

#[test]
fn a_vmid_of_zero_is_one_too() {
    let mut rule = Rule::new(Tenant::Vm, true);
    assert_eq!(rule.who(Level::El0, VM, vttbr(0)), Some(Origin::Host));
    assert_eq!(rule.who(Level::El0, VM, vttbr(1)), Some(Origin::Guest));
}

#[test]
fn all_of_el0_can_be_the_tenant() {
    let mut rule = Rule::new(Tenant::El0, false);
    assert_eq!(rule.who(Level::El0, 0, 0), Some(Origin::Guest));
    assert_eq!(rule.who(Level::El0, VM, vttbr(1)), Some(Origin::Guest));
}

#[test]
fn origins_have_names() {
    let origins = [Origin::Boot, Origin::Host, Origin::Guest];
    assert_eq!(origins.map(Origin::name), ["boot", "host", "guest"]);
    assert_eq!(origins.map(|origin| origin as usize), [0, 1, 2]);
    assert_eq!(origins.len(), Origin::COUNT);
}

#[test]
fn a_kernel_that_goes_from_el1_to_its_own_el2_is_nobody() {
    let mut vhe = Rule::new(Tenant::Vm, false);
    assert_eq!(vhe.who(Level::El1, 0, 0), None);
    assert_eq!(vhe.who(Level::El1, VM, vttbr(1)), Some(Origin::Guest));
    let mut apart = Rule::new(Tenant::Vm, true);
    assert_eq!(apart.who(Level::El1, 0, 0), Some(Origin::Host));
}

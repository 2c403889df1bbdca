//! Who enters, by tenant and stage 2.

use super::{Origin, Rule};
use crate::arguments::Tenant;

const VM: u64 = 1;
const TGE: u64 = 1 << 27;

fn vttbr(vmid: u64) -> u64 {
    vmid << 48 | 0x4000_0000
}

#[test]
fn a_host_without_stage_2_is_what_has_none() {
    let mut rule = Rule::new(Tenant::Vm, false);
    assert_eq!(rule.who(TGE, 0), Origin::Host);
    assert_eq!(rule.who(0, vttbr(3)), Origin::Host);
    assert_eq!(rule.who(VM, vttbr(3)), Origin::Guest);
    assert_eq!(rule.who(VM, vttbr(1)), Origin::Guest);
    assert_eq!(rule.who(VM | TGE, vttbr(1)), Origin::Host);
}

#[test]
fn a_host_behind_stage_2_has_the_first_vmid() {
    let mut rule = Rule::new(Tenant::Vm, true);
    assert_eq!(rule.who(0, vttbr(9)), Origin::Host);
    assert_eq!(rule.who(VM, vttbr(7)), Origin::Host);
    assert_eq!(rule.who(VM, vttbr(9)), Origin::Guest);
    assert_eq!(rule.who(VM, vttbr(0)), Origin::Guest);
    assert_eq!(rule.who(VM, vttbr(7)), Origin::Host);
}

#[test]
fn a_vmid_of_zero_is_one_too() {
    let mut rule = Rule::new(Tenant::Vm, true);
    assert_eq!(rule.who(VM, vttbr(0)), Origin::Host);
    assert_eq!(rule.who(VM, vttbr(1)), Origin::Guest);
}

#[test]
fn all_of_el0_can_be_the_tenant() {
    let mut rule = Rule::new(Tenant::El0, false);
    assert_eq!(rule.who(0, 0), Origin::Guest);
    assert_eq!(rule.who(VM, vttbr(1)), Origin::Guest);
}

#[test]
fn origins_have_names() {
    let origins = [Origin::Boot, Origin::Host, Origin::Guest];
    assert_eq!(origins.map(Origin::name), ["boot", "host", "guest"]);
    assert_eq!(origins.map(|origin| origin as usize), [0, 1, 2]);
    assert_eq!(origins.len(), Origin::COUNT);
}

//! Tests of the encodings against values written out in the KVM documentation and headers.

use super::*;

#[test]
fn register_identifiers() {
    assert_eq!(reg_x(0), 0x6030_0000_0010_0000);
    assert_eq!(reg_x(3), 0x6030_0000_0010_0006);
    assert_eq!(reg_x(30), 0x6030_0000_0010_003c);
    assert_eq!(REG_PC, 0x6030_0000_0010_0040);
    assert_eq!(REG_PSTATE, 0x6030_0000_0010_0042);
    assert_eq!(REG_MPIDR_EL1, 0x6030_0000_0013_c005);
}

#[test]
fn uart_interrupt_number() {
    assert_eq!(irq_line_spi(32), 0x0100_0020);
}

#[test]
fn ipa_bits_default_grow_and_are_limited() {
    let end = |mib: u64| 0x8000_0000 + (mib << 20);
    assert_eq!(choose_ipa_bits(0, end(512)), Some(40));
    assert_eq!(choose_ipa_bits(40, end(512)), Some(40));
    assert_eq!(choose_ipa_bits(48, end(512)), Some(40), "no more than needed");
    assert_eq!(choose_ipa_bits(36, end(512)), Some(36), "a smaller machine");
    assert_eq!(choose_ipa_bits(48, 1 << 40), Some(40), "exactly the default");
    assert_eq!(choose_ipa_bits(48, (1 << 40) + 1), Some(41));
    assert_eq!(choose_ipa_bits(36, 1 << 36), Some(36));
    assert_eq!(choose_ipa_bits(36, (1 << 36) + 1), None);
    assert_eq!(choose_ipa_bits(0, (1 << 40) + 1), None);
    assert_eq!(choose_ipa_bits(52, u64::MAX), None);
}

#[test]
fn vm_types() {
    assert_eq!(vm_type(0, 40, false), 0);
    assert_eq!(vm_type(40, 40, false), 40);
    assert_eq!(vm_type(40, 40, true), 0x8000_0028);
    assert_eq!(vm_type(0, 40, true), 0x8000_0000);
}

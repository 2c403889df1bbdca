//! Tests of the report and of the messages for a device that cannot be used.

use super::*;

#[test]
fn missing_means_zero_or_error_and_required() {
    assert!(missing_capabilities(|_| 1).is_empty());
    assert_eq!(missing_capabilities(|_| 0), ["IRQCHIP", "ONE_REG", "ARM_PSCI_0_2"]);
    assert_eq!(missing_capabilities(|_| -1).len(), 3);
    let without_psci =
        missing_capabilities(|number| i32::from(number != kvm_bindings::KVM_CAP_ARM_PSCI_0_2));
    assert_eq!(without_psci, ["ARM_PSCI_0_2"]);
}

#[test]
fn table_shows_values_and_what_is_missing() {
    let table = capability_table(|number| i32::from(number != kvm_bindings::KVM_CAP_ONE_REG) * 40);
    assert_eq!(table.lines().count(), CAPABILITIES.len());
    let line = |name: &str| table.lines().find(|line| line.contains(name)).expect("listed");
    assert!(line("ONE_REG").ends_with("missing, required"));
    assert!(line("IRQCHIP").ends_with("40  required"));
    assert!(line("IMMEDIATE_EXIT").ends_with("40"));
}

#[test]
fn devices_that_are_none_are_refused_with_advice() {
    let message = |path: &str| open_kvm(Path::new(path)).expect_err(path).to_string();
    assert!(message("/nonexistent/kvm").contains("redoubt.ko"));
    assert!(message("/dev/null").contains("not a KVM device"));
    assert!(message("/dev\0kvm").contains("not a path"));
}

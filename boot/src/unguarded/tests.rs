//! Messages, and the numbers of the hypercall interface.

use super::*;

/// Every reason in the order of its numbers.
const ALL: [Reason; 11] = [
    Reason::NoSmmu,
    Reason::PartialMap,
    Reason::BadMap,
    Reason::UnknownMaster,
    Reason::UnknownIommu,
    Reason::SecondRoot,
    Reason::VirtioBypass,
    Reason::BadHierarchy,
    Reason::SmmuUnusable,
    Reason::TooMany,
    Reason::GicUnusable,
];

#[test]
fn reasons_have_the_interfaces_numbers() {
    for (reason, number) in ALL.into_iter().zip(1u64..) {
        assert_eq!(reason as u64, number);
    }
}

#[test]
fn messages_name_the_culprit_and_what_to_do() {
    let name = NodeName::new(b"pcie@10000000");
    for (reason, message) in [
        (
            Reason::NoSmmu,
            "PCI host bridge pcie@10000000 has no iommu-map to an SMMU (QEMU: -M virt,iommu=smmuv3)",
        ),
        (
            Reason::PartialMap,
            "pcie@10000000 leads PCI function 80:1f.7 to no SMMU \
             (QEMU: no default-bus-bypass-iommu, and acpi=on)",
        ),
        (
            Reason::UnknownMaster,
            "pcie@10000000 may write to memory and has no SMMU, device at 0x80ff \
             (disable it in the device tree, or put it behind an SMMU)",
        ),
    ] {
        assert_eq!(Unguarded { reason, culprit: 0x80ff, name }.to_string(), message);
    }
    assert_eq!(
        Unguarded::function(Reason::VirtioBypass, 0x10).to_string(),
        "PCI function 00:02.0 is a virtio device that passes by the SMMU \
         (QEMU: iommu_platform=on)"
    );
}

#[test]
fn every_message_is_one_readable_line() {
    for reason in ALL {
        let name = NodeName::new(b"node@12345");
        let message = Unguarded { reason, culprit: 0x1234, name }.to_string();
        assert!(
            message.contains("0x1234") || message.contains("12:06.4") || message.contains("node")
        );
        assert!(message.ends_with(')') && message.contains(" ("), "{message}");
        assert!(message.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{message}");
        assert!(message.len() < 160, "{message}");
    }
}

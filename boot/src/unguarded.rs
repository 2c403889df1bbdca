//! Why devices are not kept from memory that is not the host's, in words.
//!
//! The numbers are those of the hypercall interface (`DmaGuard`). Such a machine boots all the
//! same, but offers no protected VMs, so each message says what to change.

use core::fmt;

use crate::error::{NodeName, Part, put_parts};

/// What is wrong, by the interface's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Reason {
    /// A PCI host bridge without an SMMU; the culprit is its configuration space.
    NoSmmu = 1,
    /// Requester IDs that no SMMU translates; the culprit is the first.
    PartialMap = 2,
    /// A malformed `iommu-map` or `iommus`; the culprit is the registers of the node's device.
    BadMap = 3,
    /// A device that may write to memory and has no SMMU; the culprit is its registers.
    UnknownMaster = 4,
    /// An IOMMU that is no SMMUv3 which can be driven; the culprit is its registers, or zero.
    UnknownIommu = 5,
    /// A PCI function on a bus that no bridge leads to; the culprit is its requester ID.
    SecondRoot = 6,
    /// A virtio function that passes by the SMMU; the culprit is its requester ID.
    VirtioBypass = 7,
    /// A PCI hierarchy that is not understood; the culprit is a requester ID.
    BadHierarchy = 8,
    /// An SMMU that cannot do what is needed; the culprit is its registers.
    SmmuUnusable = 9,
    /// More of something than there is room for; the culprit is the registers of one too many.
    TooMany = 10,
    /// A GIC whose memory accesses cannot be guarded; the culprit is its registers.
    GicUnusable = 11,
}

/// Something that can write to memory unwatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unguarded {
    /// What is wrong.
    pub reason: Reason,
    /// The address or requester ID that the reason is about.
    pub culprit: u64,
    /// The device tree node that the reason is about; `pci` where it is a function.
    pub name: NodeName,
}

impl Unguarded {
    /// About a PCI function.
    pub(crate) fn function(reason: Reason, requester: u16) -> Self {
        Self { reason, culprit: u64::from(requester), name: NodeName::new(b"pci") }
    }

    /// Hands the message to `put`, one ASCII byte at a time: what is wrong and what to do. It
    /// reads on from "no protected VMs: ".
    pub fn describe(&self, put: &mut dyn FnMut(u8)) {
        use Part::{Function, Name, Number, Text};
        let (name, address) = (Name(self.name), Number(self.culprit));
        let function = Function(self.culprit as u16);
        let none = Text("");
        put_parts(
            &match self.reason {
                Reason::NoSmmu => [
                    Text("PCI host bridge "),
                    name,
                    Text(" has no iommu-map to an SMMU (QEMU: -M virt,iommu=smmuv3)"),
                    none,
                ],
                Reason::PartialMap => [
                    name,
                    Text(" leads PCI function "),
                    function,
                    Text(" to no SMMU (QEMU: no default-bus-bypass-iommu, and acpi=on)"),
                ],
                Reason::BadMap => [
                    name,
                    Text(": malformed iommu-map or iommus, device at "),
                    address,
                    Text(" (correct the device tree)"),
                ],
                Reason::UnknownMaster => [
                    name,
                    Text(" may write to memory and has no SMMU, device at "),
                    address,
                    Text(" (disable it in the device tree, or put it behind an SMMU)"),
                ],
                Reason::UnknownIommu => [
                    name,
                    Text(": its IOMMU is no SMMUv3 that can be driven, at "),
                    address,
                    Text(" (QEMU: -M virt,iommu=smmuv3 and no virtio-iommu)"),
                ],
                Reason::SecondRoot => [
                    Text("PCI function "),
                    function,
                    Text(" is on a bus that no bridge leads to (QEMU: leave out pxb-pcie)"),
                    none,
                ],
                Reason::VirtioBypass => [
                    Text("PCI function "),
                    function,
                    Text(" is a virtio device that passes by the SMMU"),
                    Text(" (QEMU: iommu_platform=on)"),
                ],
                Reason::BadHierarchy => [
                    Text("PCI function "),
                    function,
                    Text(" is no endpoint or bridge that can be followed"),
                    Text(" (leave it out, or nest fewer bridges)"),
                ],
                Reason::SmmuUnusable => [
                    Text("the SMMU at "),
                    address,
                    Text(" cannot do stage 2 as needed"),
                    Text(" (QEMU: -M virt-9.2 or later)"),
                ],
                Reason::TooMany => [
                    name,
                    Text(": too many SMMUs, streams, PCI host bridges or ITSs, the one at "),
                    address,
                    Text(" has no room (disable some in the device tree)"),
                ],
                Reason::GicUnusable => [
                    Text("the accesses to memory of the GIC at "),
                    address,
                    Text(" cannot be guarded"),
                    Text(" (QEMU: -M virt,gic-version=3)"),
                ],
            },
            put,
        );
    }
}

impl fmt::Display for Unguarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut result = Ok(());
        self.describe(&mut |byte| {
            if result.is_ok() {
                result = fmt::Write::write_char(f, char::from(byte));
            }
        });
        result
    }
}

#[cfg(test)]
mod tests;

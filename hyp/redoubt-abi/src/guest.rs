//! Function identifiers that guests call, and what they are answered.
//!
//! All but the last are defined elsewhere: SMCCC (Arm DEN0028), PSCI (DEN0022), TRNG (DEN0098) and
//! the vendor calls of KVM (Linux Documentation/virt/kvm/arm/hypercalls.rst).

/// SMCCC_VERSION.
pub const SMCCC_VERSION: u32 = 0x8000_0000;
/// SMCCC_ARCH_FEATURES.
pub const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
/// SMCCC_ARCH_SOC_ID.
pub const SMCCC_ARCH_SOC_ID: u32 = 0x8000_0002;

/// PSCI_VERSION.
pub const PSCI_VERSION: u32 = 0x8400_0000;
/// CPU_SUSPEND, 32 bit.
pub const PSCI_CPU_SUSPEND_32: u32 = 0x8400_0001;
/// CPU_SUSPEND, 64 bit.
pub const PSCI_CPU_SUSPEND_64: u32 = 0xc400_0001;
/// CPU_OFF.
pub const PSCI_CPU_OFF: u32 = 0x8400_0002;
/// CPU_ON, 32 bit.
pub const PSCI_CPU_ON_32: u32 = 0x8400_0003;
/// CPU_ON, 64 bit.
pub const PSCI_CPU_ON_64: u32 = 0xc400_0003;
/// AFFINITY_INFO, 32 bit.
pub const PSCI_AFFINITY_INFO_32: u32 = 0x8400_0004;
/// AFFINITY_INFO, 64 bit.
pub const PSCI_AFFINITY_INFO_64: u32 = 0xc400_0004;
/// MIGRATE_INFO_TYPE.
pub const PSCI_MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
/// SYSTEM_OFF.
pub const PSCI_SYSTEM_OFF: u32 = 0x8400_0008;
/// SYSTEM_RESET.
pub const PSCI_SYSTEM_RESET: u32 = 0x8400_0009;
/// PSCI_FEATURES.
pub const PSCI_FEATURES: u32 = 0x8400_000a;
/// CPU_FREEZE.
pub const PSCI_CPU_FREEZE: u32 = 0x8400_000b;
/// CPU_DEFAULT_SUSPEND, 32 bit.
pub const PSCI_CPU_DEFAULT_SUSPEND_32: u32 = 0x8400_000c;
/// CPU_DEFAULT_SUSPEND, 64 bit.
pub const PSCI_CPU_DEFAULT_SUSPEND_64: u32 = 0xc400_000c;
/// SYSTEM_RESET2, 32 bit.
pub const PSCI_SYSTEM_RESET2_32: u32 = 0x8400_0012;
/// SYSTEM_RESET2, 64 bit.
pub const PSCI_SYSTEM_RESET2_64: u32 = 0xc400_0012;

/// TRNG_VERSION.
pub const TRNG_VERSION: u32 = 0x8400_0050;
/// TRNG_FEATURES.
pub const TRNG_FEATURES: u32 = 0x8400_0051;
/// TRNG_GET_UUID.
pub const TRNG_GET_UUID: u32 = 0x8400_0052;
/// TRNG_RND, 32 bit.
pub const TRNG_RND_32: u32 = 0x8400_0053;
/// TRNG_RND, 64 bit.
pub const TRNG_RND_64: u32 = 0xc400_0053;

/// Call UID query of the vendor-specific hypervisor service.
pub const VENDOR_UID: u32 = 0x8600_ff01;
/// KVM vendor call: bitmap of the vendor calls.
pub const KVM_FEATURES: u32 = 0x8600_0000;
/// KVM vendor call: granule of MEM_SHARE and MEM_UNSHARE in bytes.
pub const KVM_HYP_MEMINFO: u32 = 0xc600_0002;
/// KVM vendor call: gives the host access to a page of the guest; X1 address.
pub const KVM_MEM_SHARE: u32 = 0xc600_0003;
/// KVM vendor call: takes that access back; X1 address.
pub const KVM_MEM_UNSHARE: u32 = 0xc600_0004;
/// Vendor call: gives a page, scrubbed, back to the host; X1 address.
pub const MEM_RELINQUISH: u32 = 0xc600_0009;

/// UUID of KVM's vendor calls as the call UID query returns it to a guest, X0 to X3.
pub const KVM_UID: [u32; 4] = [0xb66f_b428, 0xe911_c52e, 0x564b_caa9, 0x743a_004d];

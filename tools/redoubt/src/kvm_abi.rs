//! The numbers of the KVM ABI for arm64 that are computed rather than named: virtual machine types,
//! register identifiers, interrupt numbers.
//!
//! Pure, so that the encodings are tested on any machine. Spec: Linux,
//! Documentation/virt/kvm/api.rst (KVM_CREATE_VM, KVM_SET_ONE_REG, KVM_IRQ_LINE), and the uapi
//! headers linux/kvm.h and asm/kvm.h.

#[cfg(test)]
mod tests;

/// The one version of the KVM API there is.
pub const API_VERSION: i32 = 12;

/// The bit of KVM_CREATE_VM's type that asks for a protected virtual machine
/// (`KVM_VM_TYPE_ARM_PROTECTED`).
pub const VM_TYPE_PROTECTED: u64 = 1 << 31;

/// The number of guest physical address bits that KVM uses when nothing else is asked for.
pub const DEFAULT_IPA_BITS: u32 = 40;

/// The bits of a register identifier that say arm64, 64 bits wide.
const REG_ARM64_U64: u64 = 0x6030_0000_0000_0000;
/// The register group of general-purpose registers, PC and PSTATE.
const REG_GROUP_CORE: u64 = 0x0010_0000;
/// The register group of system registers.
const REG_GROUP_SYSREG: u64 = 0x0013_0000;

/// The identifier of general-purpose register `x<n>`.
pub const fn reg_x(n: u8) -> u64 {
    assert!(n < 31);
    reg_core(n as u64 * 8)
}

/// The identifier of the program counter.
pub const REG_PC: u64 = reg_core(32 * 8);
/// The identifier of PSTATE.
pub const REG_PSTATE: u64 = reg_core(33 * 8);
/// The identifier of MPIDR_EL1.
pub const REG_MPIDR_EL1: u64 = reg_sys(3, 0, 0, 0, 5);

/// PSTATE at the kernel's entry: EL1 with its own stack pointer, debug exceptions, SErrors,
/// interrupts and fast interrupts masked, as the boot protocol asks.
pub const PSTATE_EL1H_MASKED: u64 = 0x3c5;

/// Core registers are named by their offset in `struct kvm_regs`, in words of 32 bits.
const fn reg_core(offset_bytes: u64) -> u64 {
    REG_ARM64_U64 | REG_GROUP_CORE | (offset_bytes / 4)
}

/// System registers are named by their encoding.
const fn reg_sys(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
    REG_ARM64_U64 | REG_GROUP_SYSREG | op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}

/// The interrupt number that KVM_IRQ_LINE takes for a shared peripheral interrupt, given its INTID.
pub const fn irq_line_spi(intid: u32) -> u32 {
    const IRQ_TYPE_SPI: u32 = 1;
    const IRQ_TYPE_SHIFT: u32 = 24;
    IRQ_TYPE_SPI << IRQ_TYPE_SHIFT | intid
}

/// Chooses the number of guest physical address bits for RAM that ends at `ram_end`.
///
/// `limit` is the answer to KVM_CAP_ARM_VM_IPA_SIZE, 0 where the kernel does not know it (it then
/// has the default only). Returns `None` if RAM does not fit below the limit.
pub fn choose_ipa_bits(limit: u32, ram_end: u64) -> Option<u32> {
    let limit = if limit == 0 { DEFAULT_IPA_BITS } else { limit };
    let needed = u64::BITS - ram_end.saturating_sub(1).leading_zeros();
    let wanted = needed.max(DEFAULT_IPA_BITS.min(limit));
    (wanted <= limit).then_some(wanted)
}

/// Builds the type argument of KVM_CREATE_VM.
///
/// `limit` is as for [`choose_ipa_bits`]: a kernel that does not know the capability does not know
/// the size field either, and wants it zero.
pub fn vm_type(limit: u32, ipa_bits: u32, protected: bool) -> u64 {
    let size = if limit == 0 { 0 } else { u64::from(ipa_bits) };
    size | if protected { VM_TYPE_PROTECTED } else { 0 }
}

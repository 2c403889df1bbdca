//! Properties of the CPUs that the rest derives sizes from.

use crate::arch::sysreg;

/// Largest PARange this build uses: 48 bits, what 4 KiB granules reach without LPA2.
const PA_RANGE_MAX: u64 = 5;

/// ID_AA64MMFR0_EL1.PARange, capped.
#[allow(clippy::cast_possible_truncation)]
pub fn pa_range() -> u8 {
    (sysreg::read_id_aa64mmfr0_el1() & 0xf).min(PA_RANGE_MAX) as u8
}

/// Physical address size in bits (Arm ARM, ID_AA64MMFR0_EL1.PARange).
pub fn pa_bits() -> u8 {
    match pa_range() {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        _ => 48,
    }
}

/// Largest intermediate physical address size of a guest: up to 40 bits, so that at most two
/// concatenated tables start a walk.
pub fn guest_ipa_bits() -> u8 {
    pa_bits().min(40)
}

//! Power State Coordination Interface (Arm DEN0022, 1.1).
//!
//! Two halves: [`guest`] answers the calls of guests from the VM's own records, [`host`] decides
//! what of the host's calls reaches the firmware and keeps the power states of physical CPUs, so that
//! each of them starts at EL2. This file holds the numbers that both share.

pub mod guest;
pub mod host;

pub use guest::{GuestPsci, guest_psci};
pub use host::{Claim, HostPower, HostPsci, host_psci};

/// Version 1.1.
pub const VERSION_1_1: u64 = 0x0001_0001;

/// SUCCESS.
pub const SUCCESS: u64 = 0;
/// NOT_SUPPORTED.
pub const NOT_SUPPORTED: u64 = code(-1);
/// INVALID_PARAMETERS.
pub const INVALID_PARAMETERS: u64 = code(-2);
/// ALREADY_ON.
pub const ALREADY_ON: u64 = code(-4);
/// ON_PENDING.
pub const ON_PENDING: u64 = code(-5);
/// INVALID_ADDRESS.
pub const INVALID_ADDRESS: u64 = code(-9);

/// AFFINITY_INFO: on.
pub const AFFINITY_ON: u64 = 0;
/// AFFINITY_INFO: off.
pub const AFFINITY_OFF: u64 = 1;
/// AFFINITY_INFO: switched on, and not there yet.
pub const AFFINITY_ON_PENDING: u64 = 2;

/// A return code as it goes into X0.
const fn code(value: i64) -> u64 {
    value.cast_unsigned()
}

/// Bit 30 of a function identifier: arguments have 64 bits.
const SMC64: u32 = 1 << 30;

/// Cuts the arguments of a 32-bit call to their width.
fn arguments(function: u32, raw: [u64; 3]) -> [u64; 3] {
    if function & SMC64 != 0 { raw } else { raw.map(|value| value & 0xffff_ffff) }
}

/// Tells whether a function identifier is in PSCI's range: 0x84000000 to 0x8400001F, and the same
/// for 64 bits.
#[must_use]
pub const fn is_psci(function: u32) -> bool {
    function & !(SMC64 | 0x1f) == 0x8400_0000
}

#[cfg(test)]
mod tests;

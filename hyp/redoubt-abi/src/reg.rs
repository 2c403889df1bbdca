//! Register numbers of VCPU_GET_REG and VCPU_SET_REG.
//!
//! 0 to 30 are X0 to X30, the next ones are listed here, and [`SYSTEM`] plus the 16-bit encoding
//! op0:op1:CRn:CRm:op2 (2, 3, 4, 4 and 3 bits, Arm ARM C5.1) is an EL1 or EL0 system register.

/// SP_EL0.
pub const SP_EL0: u64 = 31;
/// Program counter.
pub const PC: u64 = 32;
/// PSTATE, in the format of SPSR_EL2.
pub const PSTATE: u64 = 33;
/// SP_EL1.
pub const SP_EL1: u64 = 34;
/// ELR_EL1.
pub const ELR_EL1: u64 = 35;
/// SPSR_EL1.
pub const SPSR_EL1: u64 = 36;
/// FPSR.
pub const FPSR: u64 = 37;
/// FPCR.
pub const FPCR: u64 = 38;
/// Low half of V0; the halves of Vn are at `V0 + 2 * n` and `V0 + 2 * n + 1`.
pub const V0: u64 = 64;
/// Added to the encoding of a system register.
pub const SYSTEM: u64 = 1 << 16;

/// Composes the number of a system register.
#[must_use]
pub const fn system(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
    SYSTEM
        | ((op0 & 3) << 14)
        | ((op1 & 7) << 11)
        | ((crn & 15) << 7)
        | ((crm & 15) << 3)
        | (op2 & 7)
}

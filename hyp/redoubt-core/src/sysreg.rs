//! System registers that trap: one table of what becomes of each.
//!
//! Decides, for every one of the 2^16 encodings of MRS, MSR, SYS and SYSL, what a guest or the host
//! gets when it traps to EL2. It is an allow-list: an encoding that is not listed is UNDEFINED. Which
//! encodings trap in the first place is decided in [`traps`], from the same [`HardwareIds`], so that
//! what the identification registers hide is not there when a guest tries it nevertheless.
//!
//! Guests see fields of the identification registers only where [`ids`] lists them; all other
//! fields, known or not yet invented, read as zero. There is one guest model for protected and other
//! VMs. Not emulated: the physical timer (a stock Linux guest uses the virtual one) and
//! the PMU are UNDEFINED; breakpoint and watchpoint registers read as zero and ignore writes.
//!
//! Set/way cache maintenance is ignored. That is safe: it cannot make a cache line of another owner
//! visible, nothing of EL2 relies on it, and pages are cleaned to the point of coherency by EL2
//! before they change hands. It cannot be used for what the architecture means it for (power-down of
//! a CPU) by a guest that has no physical CPU.
//!
//! Encodings: Arm ARM C5.3 and D19; the trap's syndrome: D19.2.37 (ESR_EL2, EC 0x18).

pub mod ids;
pub mod traps;

pub use ids::{HardwareIds, IdRegisters};

use crate::exit::HostAccess;
use crate::vcpu::VcpuContext;

/// MDSCR_EL1 bits that a guest may set: SS, TDCC, KDE, MDE.
pub const MDSCR_ALLOWED: u64 = 1 << 0 | 1 << 12 | 1 << 13 | 1 << 15;
/// OSLSR_EL1: OSLM says that the OS lock is implemented (0b10 in bits 3 and 0).
const OSLSR_IMPLEMENTED: u64 = 1 << 3;
/// OSLSR_EL1.OSLK: the OS lock is locked.
const OSLSR_LOCKED: u64 = 1 << 1;
/// ICC_SRE_EL1: DIB, DFB and SRE. There is no other interface than system registers.
const ICC_SRE: u64 = 7;
/// PMBIDR_EL1.P and TRBIDR_EL1.P: the buffer belongs to a higher exception level.
const BUFFER_NOT_YOURS: u64 = 1 << 4;

/// Encoding of a system register or instruction: op0:op1:CRn:CRm:op2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SysregId(u16);

impl SysregId {
    /// Composes an encoding; each number is cut to its width.
    #[must_use]
    pub const fn new(op0: u16, op1: u16, crn: u16, crm: u16, op2: u16) -> Self {
        Self(
            ((op0 & 3) << 14)
                | ((op1 & 7) << 11)
                | ((crn & 15) << 7)
                | ((crm & 15) << 3)
                | (op2 & 7),
        )
    }

    /// Takes the 16 bits as they are; each value is an encoding.
    #[must_use]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// Returns the 16 bits.
    #[must_use]
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// Takes the encoding apart: op0, op1, CRn, CRm, op2.
    #[must_use]
    pub const fn parts(self) -> (u16, u16, u16, u16, u16) {
        (self.0 >> 14, (self.0 >> 11) & 7, (self.0 >> 7) & 15, (self.0 >> 3) & 15, self.0 & 7)
    }
}

/// A trapped access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SysregAccess {
    /// What is accessed.
    pub register: SysregId,
    /// General-purpose register; 31 is XZR.
    pub rt: u8,
    /// MSR or SYS; otherwise MRS or SYSL.
    pub write: bool,
}

impl SysregAccess {
    /// Decodes the syndrome of exception class 0x18.
    #[must_use]
    pub const fn from_iss(iss: u64) -> Self {
        let [op0, op1, crn, crm, op2] = [iss >> 20, iss >> 14, iss >> 10, iss >> 1, iss >> 17];
        Self {
            register: SysregId::new(op0 as u16, op1 as u16, crn as u16, crm as u16, op2 as u16),
            rt: ((iss >> 5) & 31) as u8,
            write: iss & 1 == 0,
        }
    }
}

/// What an encoding is to a guest. Every encoding is exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestRegister {
    /// Not there: UNDEFINED.
    Undefined,
    /// Identification register: its filtered value, read-only.
    Identification,
    /// Reads as zero; a write is UNDEFINED.
    ReadZero,
    /// Reads as zero, ignores writes.
    ZeroIgnored,
    /// Ignores writes; a read is UNDEFINED.
    WriteIgnored,
    /// MDSCR_EL1.
    DebugControl,
    /// OSLAR_EL1, write-only.
    OsLock,
    /// OSLSR_EL1, read-only.
    OsLockStatus,
    /// ICC_SRE_EL1: reads as 7, ignores writes.
    InterruptEnable,
    /// ICC_SGI1R_EL1, write-only.
    SoftwareInterrupt,
}

/// Tells what an encoding is to a guest.
#[must_use]
pub const fn guest_register(register: SysregId) -> GuestRegister {
    use GuestRegister as R;
    match register.parts() {
        // DC ISW, CSW, CISW.
        (1, 0, 7, 6 | 10 | 14, 2) => R::WriteIgnored,
        // OSDTRRX_EL1, MDCCINT_EL1, OSDTRTX_EL1, OSECCR_EL1.
        (2, 0, 0, 0 | 3 | 6, 2) | (2, 0, 0, 2, 0) => R::ZeroIgnored,
        (2, 0, 0, 2, 2) => R::DebugControl,
        // DBGBVR<n>_EL1, DBGBCR<n>_EL1, DBGWVR<n>_EL1, DBGWCR<n>_EL1: two of each.
        (2, 0, 0, 0 | 1, 4..=7) => R::ZeroIgnored,
        // MDRAR_EL1.
        (2, 0, 1, 0, 0) => R::ReadZero,
        (2, 0, 1, 0, 4) => R::OsLock,
        (2, 0, 1, 1, 4) => R::OsLockStatus,
        // OSDLR_EL1 (there is no double lock), DBGPRCR_EL1, DBGCLAIMSET_EL1, DBGCLAIMCLR_EL1.
        (2, 0, 1, 3 | 4, 4) | (2, 0, 7, 8 | 9, 6) => R::ZeroIgnored,
        // DBGAUTHSTATUS_EL1, MDCCSR_EL0.
        (2, 0, 7, 14, 6) | (2, 3, 0, 1, 0) => R::ReadZero,
        // DBGDTR_EL0, DBGDTRRX_EL0 and DBGDTRTX_EL0.
        (2, 3, 0, 4 | 5, 0) => R::ZeroIgnored,
        // REVIDR_EL1 and AIDR_EL1, which only name errata and what is implementation-defined.
        (3, 0, 0, 0, 6) | (3, 1, 0, 0, 7) => R::ReadZero,
        // AArch32 identification registers, the value of which is UNKNOWN without AArch32, and
        // what is not allocated between them.
        (3, 0, 0, 1..=3, _) => R::ReadZero,
        // AArch64 identification registers, allocated or not.
        (3, 0, 0, 4..=7, _) => R::Identification,
        // ACTLR_EL1.
        (3, 0, 1, 0, 1) => R::ZeroIgnored,
        (3, 0, 12, 11, 5) => R::SoftwareInterrupt,
        // ICC_ASGI1R_EL1 and ICC_SGI0R_EL1: there is nobody in group 0 to be interrupted.
        (3, 0, 12, 11, 6 | 7) => R::WriteIgnored,
        (3, 0, 12, 12, 5) => R::InterruptEnable,
        _ => R::Undefined,
    }
}

/// What a guest's trapped access came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestAccess {
    /// Carried out: the instruction is to be skipped.
    Done,
    /// The guest takes an undefined instruction exception.
    Undefined,
    /// The host raises a software generated interrupt; the instruction is to be skipped.
    SoftwareInterrupt(u64),
}

/// Carries out a guest's trapped access.
pub fn guest_access(
    access: &SysregAccess,
    context: &mut VcpuContext,
    ids: &IdRegisters,
) -> GuestAccess {
    use GuestRegister as R;
    let written = context.read_x(access.rt);
    let read = match (guest_register(access.register), access.write) {
        (R::SoftwareInterrupt, true) => return GuestAccess::SoftwareInterrupt(written),
        (R::ZeroIgnored | R::WriteIgnored | R::InterruptEnable, true) => return GuestAccess::Done,
        (R::DebugControl, true) => {
            context.mdscr_el1 = written & MDSCR_ALLOWED;
            return GuestAccess::Done;
        }
        (R::OsLock, true) => {
            context.os_lock = written & 1;
            return GuestAccess::Done;
        }
        (R::ReadZero | R::ZeroIgnored, false) => 0,
        (R::Identification, false) => ids.get(access.register).unwrap_or(0),
        (R::DebugControl, false) => context.mdscr_el1,
        (R::OsLockStatus, false) => {
            OSLSR_IMPLEMENTED | if context.os_lock != 0 { OSLSR_LOCKED } else { 0 }
        }
        (R::InterruptEnable, false) => ICC_SRE,
        (R::Undefined, _)
        | (R::Identification | R::ReadZero | R::OsLockStatus, true)
        | (R::WriteIgnored | R::OsLock | R::SoftwareInterrupt, false) => {
            return GuestAccess::Undefined;
        }
    };
    context.write_x(access.rt, read);
    GuestAccess::Done
}

/// Decides a trapped access of the host; `None` is an undefined instruction exception.
///
/// The host is expected to trap nowhere but on what EL2 keeps for itself or switches off. The
/// statistical profiling and trace buffers are EL2's, so that no DMA of theirs passes the
/// ownership table: their identification registers say so, and a stock driver then leaves them
/// alone. ICC_SRE_EL1 says what it says on every CPU that runs Redoubt.
#[must_use]
pub const fn host_access(access: &SysregAccess) -> Option<HostAccess> {
    let value = match (access.register.parts(), access.write) {
        ((3, 0, 12, 12, 5), false) => Some(ICC_SRE),
        ((3, 0, 12, 12, 5), true) => None,
        // PMBIDR_EL1 and TRBIDR_EL1.
        ((3, 0, 9, 10 | 11, 7), false) => Some(BUFFER_NOT_YOURS),
        _ => return None,
    };
    Some(HostAccess { rt: access.rt, value })
}

#[cfg(test)]
mod tests;

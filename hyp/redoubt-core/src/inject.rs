//! Exception entry to EL1 that EL2 makes up.
//!
//! Decides what a guest or the host finds in its registers when EL2 makes it take an exception:
//! the rules of AArch64.TakeException (Arm ARM J1.1.2, D1.3) for a synchronous exception to EL1.
//! EL1 is AArch64 always (HCR_EL2.RW), EL0 may be AArch32. The functions are pure: values in,
//! values out; they trust that PC and PSTATE are what the hardware saved in ELR_EL2 and SPSR_EL2.
//!
//! The host gets an *alignment fault* where it touches memory that is not its own, because a stock
//! Linux turns that into SIGBUS for user mode and into -EFAULT for its own user-access routines;
//! see [`El1Exception::refused_data`].

use crate::vcpu::VcpuContext;

/// PSTATE bits in the format of SPSR_EL2 for AArch64 state.
pub mod pstate {
    /// Condition flags N, Z, C and V.
    pub const NZCV: u64 = 0xf << 28;
    /// Tag check override.
    pub const TCO: u64 = 1 << 25;
    /// Data independent timing.
    pub const DIT: u64 = 1 << 24;
    /// User access override.
    pub const UAO: u64 = 1 << 23;
    /// Privileged access never.
    pub const PAN: u64 = 1 << 22;
    /// Software step.
    pub const SS: u64 = 1 << 21;
    /// Illegal execution state.
    pub const IL: u64 = 1 << 20;
    /// All interrupts masked, superpriority too.
    pub const ALLINT: u64 = 1 << 13;
    /// Speculative store bypass safe.
    pub const SSBS: u64 = 1 << 12;
    /// Branch target type.
    pub const BTYPE: u64 = 3 << 10;
    /// Debug, SError, IRQ and FIQ masks.
    pub const DAIF: u64 = 0xf << 6;
    /// AArch32 state.
    pub const AARCH32: u64 = 1 << 4;
    /// Mode of AArch64, or with [`AARCH32`] of AArch32.
    pub const MODE: u64 = 0x1f;
    /// EL0.
    pub const EL0T: u64 = 0;
    /// EL1 on SP_EL0.
    pub const EL1T: u64 = 4;
    /// EL1 on SP_EL1.
    pub const EL1H: u64 = 5;
}

/// SCTLR_EL1.SPAN: PSTATE.PAN stays as it is.
const SCTLR_SPAN: u64 = 1 << 23;
/// SCTLR_EL1.DSSBS: PSTATE.SSBS at exception entry.
const SCTLR_DSSBS: u64 = 1 << 44;
/// SCTLR_EL1.SPINTMASK: PSTATE.ALLINT stays clear.
const SCTLR_SPINTMASK: u64 = 1 << 62;

/// ESR_EL1.IL: the instruction was 32 bits long, or the class says so.
const ESR_IL: u64 = 1 << 25;
/// ISS of aborts: FAR is not valid.
const ISS_FNV: u64 = 1 << 10;
/// ISS of data aborts: the access was a write.
const ISS_WNR: u64 = 1 << 6;
/// Fault status: synchronous external abort, not on a table walk.
pub const FSC_EXTERNAL: u64 = 0x10;
/// Fault status: alignment fault.
pub const FSC_ALIGNMENT: u64 = 0x21;

/// Makes a value safe for SPSR_EL2: an ERET with it goes to EL1 or EL0, never to EL2 or to a mode that
/// does not exist. Nothing passes another value; this is the last line of defence.
#[must_use]
pub const fn lower_pstate(value: u64) -> u64 {
    const AARCH32_EL0: u64 = pstate::AARCH32;
    match value & pstate::MODE {
        pstate::EL0T | pstate::EL1T | pstate::EL1H | AARCH32_EL0 => value,
        _ => (value & !pstate::MODE) | pstate::EL1H | pstate::IL,
    }
}

/// What the CPU implements that shows in PSTATE at exception entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryFeatures {
    /// FEAT_MTE2: PSTATE.TCO is set.
    pub mte: bool,
    /// FEAT_NMI: PSTATE.ALLINT is set unless SCTLR_EL1.SPINTMASK.
    pub nmi: bool,
}

/// State from which the exception is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExceptionSource {
    /// Preferred return address: ELR_EL2.
    pub pc: u64,
    /// PSTATE: SPSR_EL2.
    pub pstate: u64,
    /// VBAR_EL1.
    pub vbar_el1: u64,
    /// SCTLR_EL1.
    pub sctlr_el1: u64,
}

/// State after the exception was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExceptionEntry {
    /// ELR_EL2: the vector.
    pub pc: u64,
    /// SPSR_EL2.
    pub pstate: u64,
    /// ELR_EL1.
    pub elr_el1: u64,
    /// SPSR_EL1.
    pub spsr_el1: u64,
    /// ESR_EL1.
    pub esr_el1: u64,
    /// FAR_EL1; left alone when `None`.
    pub far_el1: Option<u64>,
}

/// A synchronous exception that EL2 injects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum El1Exception {
    /// The instruction is undefined. EC 0, as for every unallocated instruction.
    Undefined,
    /// A data access failed.
    DataAbort {
        /// Fault status code.
        status: u64,
        /// It was a write.
        write: bool,
        /// The instruction was 32 bits long (always, but for Thumb).
        long: bool,
        /// Virtual address, when it is known.
        far: Option<u64>,
    },
    /// An instruction fetch failed.
    InstructionAbort {
        /// Fault status code.
        status: u64,
        /// Virtual address, when it is known.
        far: Option<u64>,
    },
}

impl El1Exception {
    /// What the host takes when it reads or writes memory that is not its own: an alignment
    /// fault. A synchronous external abort would end in an oops of a kernel that copies from user
    /// memory, and a translation fault would be retried for ever.
    #[must_use]
    pub const fn refused_data(far: u64, write: bool, long: bool) -> Self {
        Self::DataAbort { status: FSC_ALIGNMENT, write, long, far: Some(far) }
    }

    /// What the host takes when it executes memory that is not its own: a synchronous external
    /// abort, since an alignment fault of a fetch has an exception class of its own (0x22). It
    /// ends as SIGBUS for user mode; kernel text that is not the kernel's has no better end.
    #[must_use]
    pub const fn refused_fetch(far: u64) -> Self {
        Self::InstructionAbort { status: FSC_EXTERNAL, far: Some(far) }
    }

    /// ESR_EL1 for an exception taken from `pstate`.
    const fn syndrome(&self, from_el0: bool) -> u64 {
        let (class, status, write, long) = match *self {
            Self::Undefined => return ESR_IL,
            Self::DataAbort { status, write, long, .. } => (0x24, status, write, long),
            Self::InstructionAbort { status, .. } => (0x20, status, false, true),
        };
        ((class | if from_el0 { 0 } else { 1 }) << 26)
            | if long { ESR_IL } else { 0 }
            | if write { ISS_WNR } else { 0 }
            | if self.far().is_none() { ISS_FNV } else { 0 }
            | (status & 0x3f)
    }

    /// FAR_EL1, where the exception sets it.
    const fn far(&self) -> Option<u64> {
        match *self {
            Self::Undefined => None,
            Self::DataAbort { far, .. } | Self::InstructionAbort { far, .. } => far,
        }
    }
}

/// Offset of the synchronous vector for an exception to EL1 on SP_EL1, by source mode.
const fn vector(source_pstate: u64) -> u64 {
    let mode = source_pstate & pstate::MODE;
    if mode & pstate::AARCH32 != 0 {
        0x600
    } else if mode == pstate::EL1H {
        0x200
    } else if mode == pstate::EL1T {
        0x000
    } else {
        0x400
    }
}

/// Tells whether an exception from this PSTATE comes from a lower level than EL1.
const fn is_el0(source_pstate: u64) -> bool {
    source_pstate & pstate::AARCH32 != 0 || source_pstate & pstate::MODE == pstate::EL0T
}

/// Computes the entry to EL1.
#[must_use]
pub const fn enter_el1(
    source: &ExceptionSource,
    exception: &El1Exception,
    features: EntryFeatures,
) -> ExceptionEntry {
    let old = source.pstate;
    // The bits that stay are at the same place in the AArch32 and AArch64 formats but for DIT,
    // which AArch32 has in bit 21 (and in bit 24 of SPSR_EL2: D19.2, SPSR_EL2 from AArch32).
    let mut new = (old & (pstate::NZCV | pstate::DIT | pstate::PAN)) | pstate::DAIF | pstate::EL1H;
    if source.sctlr_el1 & SCTLR_SPAN == 0 {
        new |= pstate::PAN;
    }
    if source.sctlr_el1 & SCTLR_DSSBS != 0 {
        new |= pstate::SSBS;
    }
    if features.mte {
        new |= pstate::TCO;
    }
    if features.nmi && source.sctlr_el1 & SCTLR_SPINTMASK == 0 {
        new |= pstate::ALLINT;
    }
    ExceptionEntry {
        // VBAR_EL1 bits 10:0 are RES0; the sum wraps as the hardware's adder does.
        pc: (source.vbar_el1 & !0x7ff).wrapping_add(vector(old)),
        pstate: new,
        elr_el1: source.pc,
        spsr_el1: old,
        esr_el1: exception.syndrome(is_el0(old)),
        far_el1: exception.far(),
    }
}

/// Makes a guest take the exception. Guests see neither MTE nor NMI.
pub fn inject_guest(context: &mut VcpuContext, exception: &El1Exception) {
    let source = ExceptionSource {
        pc: context.pc,
        pstate: context.pstate,
        vbar_el1: context.vbar_el1,
        sctlr_el1: context.sctlr_el1,
    };
    let entry = enter_el1(&source, exception, EntryFeatures { mte: false, nmi: false });
    context.pc = entry.pc;
    context.pstate = entry.pstate;
    context.elr_el1 = entry.elr_el1;
    context.spsr_el1 = entry.spsr_el1;
    context.esr_el1 = entry.esr_el1;
    if let Some(far) = entry.far_el1 {
        context.far_el1 = far;
    }
}

#[cfg(test)]
mod tests;

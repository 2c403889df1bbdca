//! Exits from a guest or the host to EL2: what they mean, and what is done about them.
//!
//! Decides, for every value of ESR_EL2, what happens: the decoders are total functions into closed
//! enums over all 64 exception classes, so nothing that a guest or the host does reaches a case
//! that was not thought of. The rules:
//!
//! - What the identification registers hide is UNDEFINED ([`GuestExit::Undefined`]).
//! - What EL2 never routes to itself (debug exceptions, SVC) is reported as an internal error.
//! - An access to memory that the VM declared is reported by page address alone, never with data.
//!   Elsewhere is a device: the host learns address, size and, for a write, the value of the one
//!   register that the instruction names.
//! - AArch32 at EL0 is not offered. What it traps on is answered with an exception to EL1.
//!
//! Trusted are the syndrome registers, as far as the architecture says they are valid (Arm ARM D1.4,
//! D19.2.37 ESR_EL2, D19.2.52 HPFAR_EL2).

pub mod host;

use redoubt_abi::run::ExitReason;

use crate::inject::{self, El1Exception, pstate};
use crate::smccc;
use crate::sysreg::{self, GuestAccess, IdRegisters, SysregAccess};
use crate::vcpu::{PendingExit, VcpuContext};
use crate::vm::MemoryRanges;

pub use host::{HostAccess, HostDecision, decide_host};

/// Which vector of EL2 was taken from the lower level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// A synchronous exception, described by ESR_EL2.
    Synchronous,
    /// An IRQ.
    Irq,
    /// An FIQ.
    Fiq,
    /// An SError.
    SError,
}

/// The syndrome registers at the exit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Syndrome {
    /// ESR_EL2.
    pub esr: u64,
    /// FAR_EL2.
    pub far: u64,
    /// HPFAR_EL2.
    pub hpfar: u64,
}

/// Exception classes, ESR_EL2.EC.
mod class {
    pub(super) const WAIT: u64 = 0x01;
    pub(super) const FLOATING_POINT: u64 = 0x07;
    pub(super) const SVE: u64 = 0x19;
    pub(super) const SME: u64 = 0x1d;
    pub(super) const HVC64: u64 = 0x16;
    pub(super) const SMC64: u64 = 0x17;
    pub(super) const SYSTEM: u64 = 0x18;
    pub(super) const FETCH_LOWER: u64 = 0x20;
    pub(super) const DATA_LOWER: u64 = 0x24;
}

/// Returns the exception class.
#[must_use]
pub const fn exception_class(esr: u64) -> u64 {
    (esr >> 26) & 0x3f
}

/// Tests one bit of a syndrome.
const fn bit(esr: u64, number: u32) -> bool {
    (esr >> (number & 63)) & 1 != 0
}

/// Kinds of aborts, from the fault status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultStatus {
    /// No stage-2 descriptor.
    Translation,
    /// A stage-2 descriptor without the permission.
    Permission,
    /// A stage-2 descriptor without the access flag.
    AccessFlag,
    /// An address that is too wide.
    AddressSize,
    /// The memory system failed, on the access or on a table walk; parity and ECC errors, too.
    External,
    /// Alignment, as the combined memory type asks for.
    Alignment,
    /// Conflicting TLB entries.
    TlbConflict,
    /// Exclusive or atomic access to memory that does not support it; hardware update of a table
    /// there. The code is passed on.
    Unsupported(u64),
    /// Anything else, which cannot be a fault of stage 2.
    Other,
}

impl FaultStatus {
    /// Decodes bits 5:0 of the syndrome of an abort.
    #[must_use]
    pub const fn decode(esr: u64) -> Self {
        match esr & 0x3f {
            0x00..=0x03 | 0x29 | 0x2c => Self::AddressSize,
            0x04..=0x07 | 0x2a | 0x2b => Self::Translation,
            0x08..=0x0b => Self::AccessFlag,
            0x0c..=0x0f => Self::Permission,
            0x10 | 0x12..=0x18 | 0x1a..=0x1f => Self::External,
            0x21 => Self::Alignment,
            0x30 => Self::TlbConflict,
            code @ (0x31 | 0x35) => Self::Unsupported(code),
            _ => Self::Other,
        }
    }
}

/// An abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// What kind.
    pub status: FaultStatus,
    /// An instruction fetch.
    pub fetch: bool,
    /// A write. Cache maintenance and a table walk that updates nothing are none.
    pub write: bool,
    /// On a walk of the stage-1 tables.
    pub walk: bool,
    /// By a cache maintenance or address translation instruction.
    pub maintenance: bool,
    /// The instruction is 32 bits long.
    pub long: bool,
    /// FAR_EL2 holds the virtual address.
    pub far_valid: bool,
    /// The access, when the syndrome describes it.
    pub access: Option<Access>,
}

/// A load or store of one general-purpose register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Size in bytes: 1, 2, 4 or 8.
    pub bytes: u64,
    /// A load sign-extends.
    pub signed: bool,
    /// The register is 64 bits wide.
    pub wide: bool,
    /// The register; 31 is XZR.
    pub register: u8,
}

impl Access {
    /// What a load of `data` leaves in the register.
    #[must_use]
    pub const fn loaded(&self, data: u64) -> u64 {
        let value = data & value_mask(self.bytes);
        let sign = value_mask(self.bytes) ^ (value_mask(self.bytes) >> 1);
        let value = if self.signed { (value ^ sign).wrapping_sub(sign) } else { value };
        if self.wide { value } else { value & 0xffff_ffff }
    }

    /// What a store of the register's value moves.
    #[must_use]
    pub const fn stored(&self, value: u64) -> u64 {
        value & value_mask(self.bytes)
    }
}

impl Abort {
    /// Decodes the syndrome of exception classes 0x20 and 0x24.
    const fn decode(esr: u64, fetch: bool) -> Self {
        let status = FaultStatus::decode(esr);
        let walk = bit(esr, 7);
        let maintenance = !fetch && bit(esr, 8);
        // A walk that fails for lack of permission wanted to update the access flag or the dirty
        // state; WnR then says what the instruction is.
        let write = if walk {
            matches!(status, FaultStatus::Permission)
        } else {
            !fetch && !maintenance && bit(esr, 6)
        };
        let described = !fetch && !walk && !maintenance && bit(esr, 24);
        Self {
            status,
            fetch,
            write,
            walk,
            maintenance,
            long: bit(esr, 25),
            far_valid: !bit(esr, 10),
            access: if described {
                Some(Access {
                    bytes: 1 << ((esr >> 22) & 3),
                    signed: bit(esr, 21),
                    wide: bit(esr, 15),
                    register: ((esr >> 16) & 31) as u8,
                })
            } else {
                None
            },
        }
    }

    /// What the host takes when it may not do this; `far` is FAR_EL2.
    #[must_use]
    pub const fn refusal(&self, far: u64) -> El1Exception {
        if self.fetch {
            El1Exception::refused_fetch(far)
        } else {
            El1Exception::refused_data(far, self.write, self.long)
        }
    }

    /// The abort as the guest takes it.
    const fn exception(&self, status: u64, far: u64) -> El1Exception {
        let far = if self.far_valid { Some(far) } else { None };
        if self.fetch {
            El1Exception::InstructionAbort { status, far }
        } else {
            El1Exception::DataAbort { status, write: self.write, long: self.long, far }
        }
    }
}

/// Where the intermediate physical address of an abort comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// HPFAR_EL2 is valid: [`ipa_from_hpfar`].
    Hpfar,
    /// HPFAR_EL2 is UNKNOWN: FAR_EL2 is to be translated by stage 1, then [`ipa_from_par`]. The
    /// translation may fail when another virtual CPU has changed the tables: the guest tries again.
    TranslateFar,
    /// There is none.
    None,
}

impl AddressSource {
    /// Decides for an abort.
    const fn of(abort: &Abort) -> Self {
        match abort.status {
            FaultStatus::Permission if !abort.walk && abort.far_valid => Self::TranslateFar,
            FaultStatus::Permission if !abort.walk => Self::None,
            FaultStatus::Translation | FaultStatus::Permission | FaultStatus::AccessFlag => {
                Self::Hpfar
            }
            FaultStatus::AddressSize
            | FaultStatus::External
            | FaultStatus::Alignment
            | FaultStatus::TlbConflict
            | FaultStatus::Unsupported(_)
            | FaultStatus::Other => Self::None,
        }
    }
}

/// Decides where the intermediate physical address comes from, by ESR_EL2.
#[must_use]
pub const fn address_source(esr: u64) -> AddressSource {
    match exception_class(esr) {
        class::FETCH_LOWER => AddressSource::of(&Abort::decode(esr, true)),
        class::DATA_LOWER => AddressSource::of(&Abort::decode(esr, false)),
        _ => AddressSource::None,
    }
}

/// Composes the intermediate physical address from HPFAR_EL2 (FIPA, bits 43:4 are address bits
/// 51:12) and the offset in FAR_EL2. On a table walk the offset is that of another page: zero.
#[must_use]
pub const fn ipa_from_hpfar(syndrome: &Syndrome) -> u64 {
    let page = ((syndrome.hpfar >> 4) & 0xff_ffff_ffff) << 12;
    if bit(syndrome.esr, 7) { page } else { page | (syndrome.far & 0xfff) }
}

/// Composes the intermediate physical address from PAR_EL1 after AT S1E1R of FAR_EL2; `None` when
/// the translation failed.
#[must_use]
pub const fn ipa_from_par(par: u64, far: u64) -> Option<u64> {
    if par & 1 != 0 { None } else { Some((par & 0x000f_ffff_ffff_f000) | (far & 0xfff)) }
}

/// How a call reached EL2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// HVC: PC is behind the instruction.
    Hvc,
    /// SMC, trapped: PC is at the instruction.
    Smc,
}

/// What a guest did to exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestExit {
    /// A physical interrupt, for the host.
    Interrupt,
    /// An SError.
    SystemError,
    /// WFI without a time limit.
    WaitForInterrupt,
    /// WFE, or a wait with a time limit.
    WaitForEvent,
    /// HVC or SMC of AArch64 with this immediate value.
    Call(Conduit, u16),
    /// An MRS, MSR, SYS or SYSL.
    System(SysregAccess),
    /// A data abort or instruction abort.
    Abort(Abort),
    /// An instruction that the guest's identification registers say is not there.
    Undefined,
    /// What EL2 does not route to itself.
    Unexpected,
}

/// Decodes an exit of a guest. Total.
#[must_use]
pub const fn decode_guest(trap: Trap, syndrome: &Syndrome) -> GuestExit {
    let esr = syndrome.esr;
    match trap {
        Trap::Irq | Trap::Fiq => return GuestExit::Interrupt,
        Trap::SError => return GuestExit::SystemError,
        Trap::Synchronous => {}
    }
    match exception_class(esr) {
        // TI: WFI, WFE, WFIT, WFET.
        class::WAIT if esr & 3 == 0 => GuestExit::WaitForInterrupt,
        class::WAIT => GuestExit::WaitForEvent,
        class::HVC64 => GuestExit::Call(Conduit::Hvc, (esr & 0xffff) as u16),
        class::SMC64 => GuestExit::Call(Conduit::Smc, (esr & 0xffff) as u16),
        class::SYSTEM => GuestExit::System(SysregAccess::from_iss(esr)),
        class::FETCH_LOWER => GuestExit::Abort(Abort::decode(esr, true)),
        class::DATA_LOWER => GuestExit::Abort(Abort::decode(esr, false)),
        // Unknown; AArch32 coprocessor accesses, VMRS, HVC and SMC; pointer authentication; LS64;
        // 128-bit system registers; SVE; ERET; transactions; SME; GCS; memory copy and set.
        0x00
        | 0x03..=0x06
        | 0x08..=0x0a
        | 0x0c
        | 0x12..=0x14
        | class::FLOATING_POINT
        | class::SVE
        | 0x1a
        | 0x1b
        | class::SME
        | 0x2d
        | 0x27 => GuestExit::Undefined,
        // Branch target, illegal state, SVC, pointer authentication failure, granule protection,
        // aborts of EL2 itself, PC and SP alignment, floating-point exceptions, SError, debug and
        // profiling, and what is not allocated.
        _ => GuestExit::Unexpected,
    }
}

/// What [`decide_guest`] knows of the VM.
#[derive(Clone, Copy, Debug)]
pub struct GuestView<'a> {
    /// Memory that the VM declared.
    pub memory: &'a MemoryRanges,
    /// Identification registers.
    pub ids: &'a IdRegisters,
    /// The VM is protected.
    pub protected: bool,
    /// Intermediate physical address of an abort; `None` when there is none, or the translation
    /// that [`AddressSource::TranslateFar`] asks for failed.
    pub ipa: Option<u64>,
}

/// What the host is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitReport {
    /// Reason.
    pub reason: ExitReason,
    /// Its arguments; those it has no use for are zero.
    pub args: [u64; 6],
}

impl ExitReport {
    /// A reason without arguments.
    #[must_use]
    pub const fn new(reason: ExitReason) -> Self {
        Self { reason, args: [0; 6] }
    }

    /// A reason with up to four arguments.
    #[must_use]
    pub const fn with(reason: ExitReason, [a, b, c, d]: [u64; 4]) -> Self {
        Self { reason, args: [a, b, c, d, 0, 0] }
    }
}

/// What is to be done about a guest's exit. The context has been brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestDecision {
    /// Enter the guest again.
    Resume,
    /// Return to the host.
    Report(ExitReport),
    /// Carry out the call in X0: [`crate::smccc::guest_call`].
    Call(Conduit),
}

/// Decides about a guest's exit.
#[must_use]
pub fn decide_guest(
    exit: &GuestExit,
    syndrome: &Syndrome,
    context: &mut VcpuContext,
    view: &GuestView<'_>,
) -> GuestDecision {
    let aarch32 = context.pstate & pstate::AARCH32 != 0;
    match *exit {
        GuestExit::Interrupt => report(ExitReason::Interrupt, [0; 4]),
        GuestExit::SystemError => report(ExitReason::SystemError, [0; 4]),
        GuestExit::Abort(abort) => decide_abort(&abort, syndrome, context, view),
        GuestExit::Unexpected => internal_error(syndrome.esr, view),
        GuestExit::Undefined => undefined(context),
        // The rest skips an instruction, which is done for A64 only.
        _ if aarch32 => undefined(context),
        GuestExit::WaitForInterrupt => {
            context.skip();
            report(ExitReason::WaitForInterrupt, [0; 4])
        }
        GuestExit::WaitForEvent => {
            context.skip();
            report(ExitReason::WaitForEvent, [0; 4])
        }
        GuestExit::Call(conduit, immediate) => {
            if conduit == Conduit::Smc {
                context.skip();
            }
            if immediate == 0 {
                return GuestDecision::Call(conduit);
            }
            // SMCCC has no other immediate value than zero.
            smccc::answer(context, [smccc::NOT_SUPPORTED, 0, 0, 0]);
            GuestDecision::Resume
        }
        GuestExit::System(access) => match sysreg::guest_access(&access, context, view.ids) {
            GuestAccess::Done => {
                context.skip();
                GuestDecision::Resume
            }
            GuestAccess::Undefined => undefined(context),
            GuestAccess::SoftwareInterrupt(value) => {
                context.skip();
                report(ExitReason::SoftwareInterrupt, [value, 0, 0, 0])
            }
        },
    }
}

/// The guest takes an exception.
fn inject(context: &mut VcpuContext, exception: El1Exception) -> GuestDecision {
    inject::inject_guest(context, &exception);
    GuestDecision::Resume
}

/// The guest takes an undefined instruction exception.
fn undefined(context: &mut VcpuContext) -> GuestDecision {
    inject(context, El1Exception::Undefined)
}

/// The host is told, with arguments.
fn report(reason: ExitReason, args: [u64; 4]) -> GuestDecision {
    GuestDecision::Report(ExitReport::with(reason, args))
}

/// Reports what cannot be carried on from. Of a protected VM, only the exception class, the
/// instruction's length and, of an abort, the fault status: the syndrome of a class that is not
/// known could hold anything.
fn internal_error(esr: u64, view: &GuestView<'_>) -> GuestDecision {
    let is_abort = matches!(exception_class(esr), class::FETCH_LOWER | class::DATA_LOWER);
    let mask = match (view.protected, is_abort) {
        (false, _) => 0xffff_ffff,
        (true, true) => 0xfe00_003f,
        (true, false) => 0xfe00_0000,
    };
    report(ExitReason::InternalError, [esr & mask, 0, 0, 0])
}

/// Decides about an abort of a guest.
fn decide_abort(
    abort: &Abort,
    syndrome: &Syndrome,
    context: &mut VcpuContext,
    view: &GuestView<'_>,
) -> GuestDecision {
    let far = syndrome.far;
    match abort.status {
        FaultStatus::Translation | FaultStatus::Permission => match view.ipa {
            Some(ipa) => decide_access(abort, far, ipa, context, view),
            // Another virtual CPU has changed the stage-1 tables meanwhile: try again.
            None => GuestDecision::Resume,
        },
        // The guest's own access failed: it takes the abort, as on hardware without EL2.
        FaultStatus::External | FaultStatus::AddressSize => {
            inject(context, abort.exception(inject::FSC_EXTERNAL, far))
        }
        FaultStatus::Alignment => {
            let status = if abort.fetch { inject::FSC_EXTERNAL } else { inject::FSC_ALIGNMENT };
            inject(context, abort.exception(status, far))
        }
        FaultStatus::Unsupported(status) => inject(context, abort.exception(status, far)),
        // EL2 sets the access flag in every descriptor and follows break-before-make.
        FaultStatus::AccessFlag | FaultStatus::TlbConflict | FaultStatus::Other => {
            internal_error(syndrome.esr, view)
        }
    }
}

/// Decides about an access that stage 2 refused.
fn decide_access(
    abort: &Abort,
    far: u64,
    ipa: u64,
    context: &mut VcpuContext,
    view: &GuestView<'_>,
) -> GuestDecision {
    if view.memory.contains_address(ipa) {
        return memory_fault(abort, far, ipa & !0xfff, true, context);
    }
    let aarch32 = context.pstate & pstate::AARCH32 != 0;
    // Stage-1 tables in a device: no walk can be emulated. And AArch32 talks to no device.
    if abort.walk || aarch32 {
        return inject(context, abort.exception(inject::FSC_EXTERNAL, far));
    }
    if abort.maintenance {
        // Nothing is cached of what is not there.
        context.skip();
        return GuestDecision::Resume;
    }
    let Some(access) = abort.access else {
        return memory_fault(abort, far, ipa, false, context);
    };
    if abort.write {
        let value = access.stored(context.read_x(access.register));
        context.pending = PendingExit::write(abort, far);
        report(ExitReason::MmioWrite, [ipa, access.bytes, value, 0])
    } else {
        context.pending = PendingExit::read(&access, abort, far);
        report(ExitReason::MmioRead, [ipa, access.bytes, 0, 0])
    }
}

/// Tells the host of an access that it may have to make possible.
fn memory_fault(
    abort: &Abort,
    far: u64,
    address: u64,
    in_range: bool,
    context: &mut VcpuContext,
) -> GuestDecision {
    context.pending = PendingExit::fault(abort, far);
    let args = [address, abort.write.into(), abort.fetch.into(), in_range.into()];
    report(ExitReason::MemoryFault, args)
}

/// The bits of a register that an access of this size moves.
const fn value_mask(bytes: u64) -> u64 {
    match bytes {
        1 => 0xff,
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests;

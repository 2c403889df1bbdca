//! Exits of the host to EL2.
//!
//! Decides what is done about each: hypercalls and firmware calls go to their dispatchers, a
//! stage-2 fault to the ownership table, and everything else ends in an exception that the host
//! takes at EL1. No exit of the host is an error of EL2, and none is left without an answer.

use super::{Abort, Access, FaultStatus, Syndrome, Trap, class, exception_class};
use crate::inject::{self, El1Exception};
use crate::smccc;
use crate::sysreg::{self, SysregAccess};

/// What the host did to enter EL2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostExit {
    /// HVC with this immediate value; PC is behind the instruction.
    Hvc(u16),
    /// A trapped SMC with this immediate value; PC is at the instruction.
    Smc(u16),
    /// A trapped system register or instruction.
    System(SysregAccess),
    /// A stage-2 abort.
    Abort(Abort, u64),
    /// WFI or WFE.
    Wait,
    /// An interrupt that became pending on the way; EL1 takes it.
    Interrupt,
    /// An SError.
    SystemError,
    /// Everything else.
    Other,
}

/// Decodes an entry from the host. Total.
#[must_use]
pub const fn decode_host(trap: Trap, syndrome: &Syndrome) -> HostExit {
    let esr = syndrome.esr;
    match trap {
        Trap::Irq | Trap::Fiq => return HostExit::Interrupt,
        Trap::SError => return HostExit::SystemError,
        Trap::Synchronous => {}
    }
    match exception_class(esr) {
        class::WAIT => HostExit::Wait,
        class::HVC64 => HostExit::Hvc((esr & 0xffff) as u16),
        class::SMC64 => HostExit::Smc((esr & 0xffff) as u16),
        class::SYSTEM => HostExit::System(SysregAccess::from_iss(esr)),
        class::FETCH_LOWER => HostExit::Abort(Abort::decode(esr, true), syndrome.far),
        class::DATA_LOWER => HostExit::Abort(Abort::decode(esr, false), syndrome.far),
        _ => HostExit::Other,
    }
}

/// A stage-2 fault of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostAbort {
    /// A write.
    pub write: bool,
    /// An instruction fetch.
    pub fetch: bool,
    /// The instruction is 32 bits long.
    pub long: bool,
    /// The access, when the syndrome describes it: what is needed to emulate it.
    pub mmio: Option<Access>,
}

impl HostAbort {
    /// What the host takes when it may not; `far` is FAR_EL2.
    #[must_use]
    pub const fn refusal(&self, far: u64) -> El1Exception {
        if self.fetch {
            El1Exception::refused_fetch(far)
        } else {
            El1Exception::refused_data(far, self.write, self.long)
        }
    }
}

/// A trapped access of the host that is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostAccess {
    /// General-purpose register; 31 is XZR.
    pub rt: u8,
    /// Value for it; `None` for a write, which is ignored.
    pub value: Option<u64>,
}

/// What is to be done about an entry from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostDecision {
    /// Carry out the hypercall in X0 to X6.
    Hypercall,
    /// Answer NOT_SUPPORTED in X0, zero in X1 to X3: HVC with an immediate value that is no call.
    BadHypercall,
    /// Advance PC by 4, then carry out the firmware call in X0.
    Firmware,
    /// Advance PC by 4; write the value, if there is one.
    Emulate(HostAccess),
    /// A stage-2 fault at the address in HPFAR_EL2: look up whether the host may by now, or inject
    /// [`HostAbort::refusal`].
    Resolve(HostAbort),
    /// The host takes this exception.
    Inject(El1Exception),
    /// Return to the host as it is.
    Resume,
    /// Invalidate the TLB entries of the host, then return.
    FlushTlb,
    /// An error of the memory system that may be EL2's own: stop.
    SystemError,
}

/// Decides about an entry from the host.
#[must_use]
pub const fn decide_host(exit: &HostExit) -> HostDecision {
    match *exit {
        HostExit::Hvc(0) => HostDecision::Hypercall,
        HostExit::Hvc(_) => HostDecision::BadHypercall,
        HostExit::Smc(0) => HostDecision::Firmware,
        HostExit::Smc(_) => {
            HostDecision::Emulate(HostAccess { rt: 0, value: Some(smccc::NOT_SUPPORTED) })
        }
        HostExit::System(access) => match sysreg::host_access(&access) {
            Some(access) => HostDecision::Emulate(access),
            None => HostDecision::Inject(El1Exception::Undefined),
        },
        HostExit::Abort(abort, far) => decide_abort(&abort, far),
        HostExit::Wait => HostDecision::Emulate(HostAccess { rt: 31, value: None }),
        HostExit::Interrupt => HostDecision::Resume,
        HostExit::SystemError => HostDecision::SystemError,
        HostExit::Other => HostDecision::Inject(El1Exception::Undefined),
    }
}

/// Decides about an abort of the host.
const fn decide_abort(abort: &Abort, far: u64) -> HostDecision {
    let Abort { write, fetch, long, access: mmio, .. } = *abort;
    let host_abort = HostAbort { write, fetch, long, mmio };
    match abort.status {
        FaultStatus::Translation => HostDecision::Resolve(host_abort),
        FaultStatus::Permission if abort.walk => HostDecision::Resolve(host_abort),
        // Whatever the host can reach it can read and write, so it has tried to execute a device or
        // what a guest lends it. No table that changes meanwhile makes that right, and the address,
        // which HPFAR_EL2 does not give, need not be looked up. The access flag is always set.
        FaultStatus::Permission
        | FaultStatus::AccessFlag
        | FaultStatus::AddressSize
        | FaultStatus::Alignment => HostDecision::Inject(host_abort.refusal(far)),
        FaultStatus::External | FaultStatus::Other => {
            HostDecision::Inject(abort.exception(inject::FSC_EXTERNAL, far))
        }
        FaultStatus::Unsupported(status) => HostDecision::Inject(abort.exception(status, far)),
        FaultStatus::TlbConflict => HostDecision::FlushTlb,
    }
}

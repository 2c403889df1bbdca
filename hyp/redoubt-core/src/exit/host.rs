//! Exits of the host to EL2.
//!
//! Decides what is done about each: hypercalls and firmware calls go to their dispatchers, a
//! stage-2 fault to the ownership table, and everything else ends in an exception that the host
//! takes at EL1. No exit of the host is an error of EL2, and none is left without an answer.

use super::{Abort, FaultStatus, Syndrome, class, exception_class};
use crate::inject::{self, El1Exception};
use crate::smccc;
use crate::sysreg::{self, SysregAccess};

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
    /// [`Abort::refusal`].
    Resolve(Abort),
    /// The host takes this exception.
    Inject(El1Exception),
    /// Invalidate the TLB entries of the host, then return.
    FlushTlb,
}

/// Decides about a synchronous exception of the host. Total.
#[must_use]
pub const fn decide_host(syndrome: &Syndrome) -> HostDecision {
    let Syndrome { esr, far, .. } = *syndrome;
    let is_call = esr & 0xffff == 0;
    match exception_class(esr) {
        // PC is behind the instruction.
        class::HVC64 if is_call => HostDecision::Hypercall,
        class::HVC64 => HostDecision::BadHypercall,
        // PC is at the instruction.
        class::SMC64 if is_call => HostDecision::Firmware,
        class::SMC64 => {
            HostDecision::Emulate(HostAccess { rt: 0, value: Some(smccc::NOT_SUPPORTED) })
        }
        class::SYSTEM => match sysreg::host_access(&SysregAccess::from_iss(esr)) {
            Some(access) => HostDecision::Emulate(access),
            None => HostDecision::Inject(El1Exception::Undefined),
        },
        class::FETCH_LOWER => decide_abort(Abort::decode(esr, true), far),
        class::DATA_LOWER => decide_abort(Abort::decode(esr, false), far),
        class::WAIT => HostDecision::Emulate(HostAccess { rt: 31, value: None }),
        _ => HostDecision::Inject(El1Exception::Undefined),
    }
}

/// Decides about an abort of the host.
const fn decide_abort(abort: Abort, far: u64) -> HostDecision {
    match abort.status {
        FaultStatus::Translation => HostDecision::Resolve(abort),
        FaultStatus::Permission if abort.walk => HostDecision::Resolve(abort),
        // Whatever the host can reach it can read and write, so it has tried to execute a device or
        // what a guest lends it. No table that changes meanwhile makes that right, and the address,
        // which HPFAR_EL2 does not give, need not be looked up. The access flag is always set.
        FaultStatus::Permission
        | FaultStatus::AccessFlag
        | FaultStatus::AddressSize
        | FaultStatus::Alignment => HostDecision::Inject(abort.refusal(far)),
        FaultStatus::External | FaultStatus::Other => {
            HostDecision::Inject(abort.exception(inject::FSC_EXTERNAL, far))
        }
        FaultStatus::Unsupported(status) => HostDecision::Inject(abort.exception(status, far)),
        FaultStatus::TlbConflict => HostDecision::FlushTlb,
    }
}

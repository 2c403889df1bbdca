//! Hypercalls with raw registers, and the rules that every answer must obey.
//!
//! Whatever the answer, X2 and X3 are zero (but for `DMA_EVENT`, which has something to say there), X4
//! to X29 are as they were, and the status is one that the call documents. A breach of any of these fails the case that made the call.

use redoubt_abi::{HostCall, Status};

use crate::Check;
use crate::a64;
use crate::device::{self, Outcome, Step};

/// X0 and X1 of an answer that obeyed the rules.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// Status.
    pub status: Status,
    /// Value.
    pub value: u64,
}

const CODE: [u32; 2] = [a64::hvc(0), a64::RET];

/// What a register that the call must not touch holds.
const fn filler(register: usize) -> u64 {
    0xf111_0000_dead_0000 | register as u64
}

/// The step that makes a call, with fillers in the registers that the call does not use.
#[must_use]
pub fn step(call: &HostCall) -> Step {
    let mut step = Step::new(CODE);
    for (index, x) in step.x.iter_mut().enumerate() {
        *x = filler(index);
    }
    for (x, value) in step.x.iter_mut().zip(call.encode()) {
        *x = value;
    }
    step
}

/// Checks an answer against the rules.
///
/// # Errors
/// Names the rule that it breaks.
pub fn judge(call: &HostCall, step: &Step) -> Check<Reply> {
    if step.outcome != Outcome::Returned {
        return Err(format!("{call:x?}: {:x?}", step.outcome));
    }
    let given = self::step(call).x;
    let status = Status::from_register(step.x[0])
        .ok_or_else(|| format!("{call:x?}: unknown status {:#x}", step.x[0]))?;
    let says_more = matches!(call, HostCall::DmaEvent {}) && status == Status::Success;
    if !says_more && (step.x[2] != 0 || step.x[3] != 0) {
        return Err(format!("{call:x?}: X2 {:#x}, X3 {:#x}, not zero", step.x[2], step.x[3]));
    }
    for (index, (now, before)) in step.x.iter().zip(&given).enumerate().skip(4) {
        if now != before {
            return Err(format!("{call:x?}: X{index} became {now:#x}"));
        }
    }
    let function = given[0];
    let documented = HostCall::DOCS
        .iter()
        .find(|doc| u64::from(doc.function) == function)
        .is_some_and(|doc| status == Status::Success || doc.refusals.contains(&status));
    if !documented {
        return Err(format!("{call:x?}: {} is not documented for it", status.name()));
    }
    Ok(Reply { status, value: step.x[1] })
}

/// Makes a call on the CPU of the calling thread.
///
/// # Errors
/// When the answer breaks a rule; not when the call is refused.
pub fn call(call: HostCall) -> Check<Reply> {
    let step = device::run_one(step(&call))?;
    judge(&call, &step)
}

/// Makes a call that must succeed, and returns its value.
///
/// # Errors
/// When it is refused.
pub fn succeed(request: HostCall) -> Check<u64> {
    let reply = call(request)?;
    if reply.status == Status::Success {
        Ok(reply.value)
    } else {
        Err(format!("{request:x?}: {}", reply.status.name()))
    }
}

/// Makes a call that must be refused with one of the given statuses.
///
/// # Errors
/// When it is carried out, or refused for another reason.
pub fn refuse(request: HostCall, reasons: &[Status]) -> Check<Status> {
    let reply = call(request)?;
    if reasons.contains(&reply.status) {
        Ok(reply.status)
    } else {
        let wanted: Vec<_> = reasons.iter().map(|status| status.name()).collect();
        Err(format!("{request:x?}: {} instead of {}", reply.status.name(), wanted.join(" or ")))
    }
}

/// Calls with any X0 to X17 by HVC or SMC; returns the step.
///
/// # Errors
/// When the module refuses.
pub fn raw(conduit: u32, x: &[u64]) -> Check<Step> {
    device::run_one(Step::new([conduit, a64::RET]).registers(x))
}

/// A property of EL2.
///
/// # Errors
/// When EL2 does not answer.
pub fn info(selector: redoubt_abi::call::Info) -> Check<u64> {
    succeed(HostCall::Info { selector: selector as u64 })
}

/// What an SMMU recorded of a device that it kept from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaEvent {
    /// Number of the event (IHI 0070, 7.3).
    pub kind: u8,
    /// Whether the device wanted to write.
    pub write: bool,
    /// Which device.
    pub stream: u32,
    /// Where to.
    pub address: u64,
}

/// Takes the oldest event of the SMMUs, and tells how many were lost so far.
///
/// # Errors
/// When EL2 does not answer.
pub fn dma_event() -> Check<(Option<DmaEvent>, u64)> {
    let request = HostCall::DmaEvent {};
    let step = device::run_one(step(&request))?;
    let reply = judge(&request, &step)?;
    if reply.status != Status::Success {
        return Err(format!("DMA_EVENT: {}", reply.status.name()));
    }
    let [kind, ..] = reply.value.to_le_bytes();
    let event = DmaEvent {
        kind,
        write: reply.value & 0x100 != 0,
        stream: (reply.value >> 32) as u32,
        address: step.x[2],
    };
    Ok(((kind != 0).then_some(event), step.x[3]))
}

//! A vCPU's thread: runs the guest, answers its accesses to devices, reports how it ends.
//!
//! Decides what each exit from KVM_RUN means; anything that was not asked for ends the run with a
//! message. Addresses without a device read as zero and ignore writes, as an unprivileged bus would
//! have it: a guest that probes must not kill itself. Spec: Linux, Documentation/virt/kvm/api.rst,
//! section 5.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use kvm_ioctls::{VcpuExit, VcpuFd};

use super::{Shared, confine};
use crate::layout::UART;
use crate::outcome::{Outcome, explain_run_error};
use crate::sandbox::seccomp::Task;

/// Runs the vCPU until it is told to stop or the run ends. Returns the vCPU, so that its descriptor
/// is closed where every vCPU has stopped.
pub fn run(mut vcpu: VcpuFd, index: usize, shared: &Shared) -> VcpuFd {
    confine(shared, Task::Vcpu);
    shared.gate.wait();
    while !shared.stop.load(Ordering::Acquire) {
        match step(&mut vcpu, index, shared) {
            Ok(None) => {}
            Ok(Some(outcome)) => {
                shared.exit.report(outcome);
                break;
            }
            Err(error) => {
                shared.exit.report(Outcome::Failed(format!("vCPU {index}: {error}")));
                break;
            }
        }
    }
    vcpu
}

/// Runs the vCPU once, up to its next exit.
fn step(vcpu: &mut VcpuFd, index: usize, shared: &Shared) -> io::Result<Option<Outcome>> {
    let exit = match vcpu.run() {
        Ok(exit) => exit,
        Err(error) if error.errno() == libc::EINTR => return Ok(None),
        Err(error) => {
            let reason = explain_run_error(index, error.errno(), shared.protected);
            return Ok(Some(Outcome::Failed(reason)));
        }
    };
    let outcome = match exit {
        VcpuExit::MmioRead(address, data) => {
            if UART.contains(address, data.len() as u64) {
                shared.console.guest_read(address - UART.base, data)?;
            } else {
                note_stray_access(shared, "read", address);
                data.fill(0);
            }
            return Ok(None);
        }
        VcpuExit::MmioWrite(address, data) => {
            if UART.contains(address, data.len() as u64) {
                shared.console.guest_write(address - UART.base, data)?;
            } else {
                note_stray_access(shared, "write", address);
            }
            return Ok(None);
        }
        VcpuExit::Intr => return Ok(None),
        VcpuExit::SystemEvent(kind, data) => Outcome::from_system_event(kind, data),
        VcpuExit::MemoryFault { flags, gpa, size } => Outcome::Failed(format!(
            "vCPU {index}: the host cannot provide the guest's memory at {gpa:#x} ({size:#x} \
             bytes, flags {flags:#x})"
        )),
        VcpuExit::InternalError => internal_error(vcpu, index),
        VcpuExit::FailEntry(reason, cpu) => Outcome::Failed(format!(
            "vCPU {index}: the hardware refused to run it on CPU {cpu} (reason {reason:#x})"
        )),
        VcpuExit::Unsupported(reason) => Outcome::Failed(format!(
            "vCPU {index}: KVM_RUN ended with reason {reason}, which redoubt does not know"
        )),
        other => Outcome::Failed(format!(
            "vCPU {index}: KVM_RUN ended with {other:?}, which was not asked for"
        )),
    };
    Ok(Some(outcome))
}

/// Reads the details of an internal error.
fn internal_error(vcpu: &mut VcpuFd, index: usize) -> Outcome {
    let run = vcpu.get_kvm_run();
    // SAFETY: for this exit reason the kernel has filled this member of the union, and all of its
    // fields are plain integers.
    let internal = unsafe { run.__bindgen_anon_1.internal };
    let count = (internal.ndata as usize).min(internal.data.len());
    Outcome::Failed(format!(
        "vCPU {index}: KVM reported an internal error, suberror {}, data {:#x?}",
        internal.suberror,
        &internal.data[..count]
    ))
}

/// Mentions the first access to an address where there is nothing. The guest decides how many there
/// are, so only the first is printed.
fn note_stray_access(shared: &Shared, kind: &str, address: u64) {
    static SEEN: AtomicBool = AtomicBool::new(false);
    if shared.verbose && !SEEN.swap(true, Ordering::Relaxed) {
        eprintln!("redoubt: guest {kind} at {address:#x}, where nothing is; later ones not shown");
    }
}

//! The system calls that each thread may make.
//!
//! One allow-list per task, as small as the task: a vCPU thread may run its vCPU, drive an
//! interrupt line and wake others; only the writer and the main thread touch the terminal. Anything
//! else raises SIGSYS, whose handler restores the terminal, names the call and ends the process.
//! Arguments are checked where a number alone would allow too much: ioctl by request, signals by
//! target process, memory mappings never executable. Spec: Linux, Documentation/userspace-api/
//! seccomp_filter.rst.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// A thread's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Runs a vCPU.
    Vcpu,
    /// Writes the guest's output to stdout.
    Writer,
    /// Waits for the end and reads stdin; tears everything down.
    Main,
}

/// KVM_RUN: `_IO(0xae, 0x80)`.
const KVM_RUN: u64 = 0xae80;
/// KVM_IRQ_LINE: `_IOW(0xae, 0x61, struct kvm_irq_level)`, which has 8 bytes.
const KVM_IRQ_LINE: u64 = 0x4008_ae61;

/// Needed by every thread: locks, memory (checked below), time, the end of the thread or process,
/// the return from a signal handler, the death by a panic.
const COMMON: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_write,
];

impl Task {
    /// System calls beyond [`COMMON`].
    const fn calls(self) -> &'static [libc::c_long] {
        match self {
            Self::Vcpu | Self::Writer => &[],
            #[cfg(target_arch = "x86_64")]
            Self::Main => &[libc::SYS_poll, libc::SYS_ppoll, libc::SYS_read, libc::SYS_close],
            #[cfg(not(target_arch = "x86_64"))]
            Self::Main => &[libc::SYS_ppoll, libc::SYS_read, libc::SYS_close],
        }
    }

    /// The ioctl requests that may be made.
    const fn requests(self) -> &'static [u64] {
        match self {
            Self::Vcpu => &[KVM_RUN, KVM_IRQ_LINE, libc::TCSETS],
            Self::Writer => &[KVM_IRQ_LINE, libc::TCSETS],
            Self::Main => &[KVM_IRQ_LINE, libc::TCGETS, libc::TCSETS],
        }
    }

    /// Builds the filter of this task.
    pub fn filter(self) -> Result<BpfProgram, seccompiler::BackendError> {
        let mut rules: Vec<(libc::c_long, Vec<SeccompRule>)> =
            COMMON.iter().chain(self.calls()).map(|&call| (call, Vec::new())).collect();
        let requests = self.requests().iter().map(|&request| rule(1, SeccompCmpOp::Eq, request));
        rules.push((libc::SYS_ioctl, requests.collect::<Result<_, _>>()?));
        let executable = libc::PROT_EXEC as u64;
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            rules.push((call, vec![rule(2, SeccompCmpOp::MaskedEq(executable), 0)?]));
        }
        let own_process = u64::from(std::process::id());
        rules.push((libc::SYS_tgkill, vec![rule(0, SeccompCmpOp::Eq, own_process)?]));
        SeccompFilter::new(
            rules.into_iter().collect(),
            SeccompAction::Trap,
            SeccompAction::Allow,
            std::env::consts::ARCH.try_into()?,
        )?
        .try_into()
    }

    /// Confines the calling thread to this task, for good.
    pub fn confine_thread(self) -> Result<(), seccompiler::Error> {
        let filter = self.filter().map_err(seccompiler::Error::Backend)?;
        seccompiler::apply_filter(&filter)
    }
}

/// A rule about one argument. Every argument compared here is 32 bits wide in the kernel.
fn rule(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
    SeccompRule::new(vec![condition])
}

//! How the run of a virtual machine may end, what is said about it, and the exit code.
//!
//! Invariant: every end has exactly one exit code, and every end that the user did not ask for has
//! a message. Spec: Linux, Documentation/virt/kvm/api.rst, KVM_EXIT_SYSTEM_EVENT and KVM_RUN.

#[cfg(test)]
mod tests;

/// Exit code: the guest powered off.
pub const EXIT_POWERED_OFF: u8 = 0;
/// Exit code: `redoubt` failed, or the guest crashed.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code: the command line is wrong.
pub const EXIT_USAGE: u8 = 2;
/// Exit code: the guest asked for a reset.
pub const EXIT_RESET: u8 = 3;
/// Exit code: the user stopped the guest with the escape key.
pub const EXIT_USER_QUIT: u8 = 4;
/// Exit code: this, plus the number of the signal that ended `redoubt`.
pub const EXIT_SIGNAL_BASE: u8 = 128;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest powered itself off.
    PoweredOff,
    /// The guest asked for a reset.
    Reset,
    /// The guest, or the hypervisor for it, reported that it cannot go on.
    Crashed(String),
    /// The user pressed the escape key.
    UserQuit,
    /// A signal asked this process to end.
    Signal(i32),
    /// `redoubt` or the kernel failed.
    Failed(String),
}

impl Outcome {
    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::PoweredOff => EXIT_POWERED_OFF,
            Self::Reset => EXIT_RESET,
            Self::Crashed(_) | Self::Failed(_) => EXIT_FAILURE,
            Self::UserQuit => EXIT_USER_QUIT,
            Self::Signal(number) => {
                let number = u8::try_from(*number).unwrap_or(0) & 0x7f;
                EXIT_SIGNAL_BASE | number
            }
        }
    }

    /// What to tell the user; nothing for an end that the guest or the user chose.
    pub fn message(&self) -> Option<String> {
        match self {
            Self::PoweredOff | Self::UserQuit => None,
            Self::Reset => Some("the guest asked for a reset; start it again if you like".into()),
            Self::Crashed(reason) => Some(format!("the guest crashed: {reason}")),
            Self::Signal(number) => Some(format!("stopped by signal {number}")),
            Self::Failed(reason) => Some(format!("error: {reason}")),
        }
    }

    /// Decodes a system event: its type and the data words the kernel gave with it.
    pub fn from_system_event(kind: u32, data: &[u64]) -> Self {
        use kvm_bindings::{
            KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN,
        };
        match kind {
            KVM_SYSTEM_EVENT_SHUTDOWN => Self::PoweredOff,
            KVM_SYSTEM_EVENT_RESET => Self::Reset,
            KVM_SYSTEM_EVENT_CRASH if data.is_empty() => {
                Self::Crashed("the hypervisor stopped it without naming a reason".into())
            }
            KVM_SYSTEM_EVENT_CRASH => {
                Self::Crashed(format!("the hypervisor stopped it, with data {data:#x?}"))
            }
            other => Self::Failed(format!(
                "KVM reported system event {other}, which was not asked for (data {data:#x?})"
            )),
        }
    }
}

/// Explains why KVM_RUN failed.
pub fn explain_run_error(vcpu: usize, errno: i32, protected: bool) -> String {
    let system = std::io::Error::from_raw_os_error(errno);
    let meaning = match errno {
        libc::EFAULT if protected => {
            "the host could not provide the memory that the guest touched, or it is memory that \
             the host no longer has access to"
        }
        libc::EFAULT => "the host could not provide the memory that the guest touched",
        libc::EHWPOISON => "the memory that the guest touched has a hardware error",
        libc::ENOMEM => {
            "the host is out of memory, or the process may not pin as much as the guest needs \
             (see ulimit -l); give the guest less with --memory"
        }
        libc::ENOSYS => {
            "the guest accessed an address without memory or device with an instruction that \
             cannot be emulated"
        }
        libc::ENOEXEC => "the vCPU was not initialised",
        libc::EPERM => "the hypervisor refused to run it; the kernel's log may say why",
        libc::EIO => "the virtual machine is dead; the kernel's log may say why",
        _ => "the kernel's log may say why",
    };
    format!("vCPU {vcpu} cannot run: {system}: {meaning}")
}

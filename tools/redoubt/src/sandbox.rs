//! The confinement of this process: what a guest that breaks out of the device emulation still
//! cannot do.
//!
//! Applied once everything is open and before the guest's first instruction, in two steps.
//! [`confine_process`] acts on the process while it has one thread: new namespaces, no
//! capabilities, no new privileges, landlock without any right. [`seccomp`] then limits each thread
//! to the system calls of its task. Decides what is essential: no new privileges and seccomp must
//! work, or the guest does not start; the rest is as far as the kernel and the user's rights allow
//! (an initramfs, a container), and is reported.

pub mod seccomp;

#[cfg(test)]
mod tests;

use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr, RulesetStatus, Scope,
};

/// What the confinement achieved, for the user to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One line per layer.
    pub lines: Vec<String>,
}

/// Confines the calling process, which must have one thread.
pub fn confine_process() -> io::Result<Report> {
    let mut report = Report::default();
    let mut note = |layer: &str, result: Result<String, String>| {
        report.lines.push(match result {
            Ok(detail) => format!("{layer}: {detail}"),
            Err(reason) => format!("{layer}: not applied ({reason})"),
        });
    };
    note("namespaces", enter_namespaces().map_err(|error| error.to_string()));
    note("capabilities", drop_capabilities().map_err(|error| error.to_string()));
    set_no_new_privileges()?;
    note("no new privileges", Ok("set".into()));
    note("landlock", restrict_files());
    note("core dumps and tracing", forbid_tracing().map_err(|error| error.to_string()));
    Ok(report)
}

/// Moves the process away from the host's network, mounts, IPC objects and host name. Without
/// privilege that takes a user namespace as well, which some systems forbid.
fn enter_namespaces() -> io::Result<String> {
    const PRIVATE: libc::c_int =
        libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    match unshare(PRIVATE) {
        Ok(()) => Ok("network, mounts, IPC and host name are private".into()),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            unshare(PRIVATE | libc::CLONE_NEWUSER)?;
            Ok("user, network, mounts, IPC and host name are private".into())
        }
        Err(error) => Err(error),
    }
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: takes flags only; the process has one thread, so none is surprised.
    check(unsafe { libc::unshare(flags) })
}

/// The highest capability number that the two words of a capability set have room for.
const CAPABILITY_COUNT: libc::c_ulong = 64;

/// Gives up all capabilities for good.
fn drop_capabilities() -> io::Result<String> {
    // The bounding set needs CAP_SETPCAP; without it there is nothing to gain from the set either,
    // since no new privileges can come through exec.
    for capability in 0..CAPABILITY_COUNT {
        if prctl(libc::PR_CAPBSET_DROP, capability).is_err() {
            break;
        }
    }
    /// `struct __user_cap_header_struct` (linux/capability.h).
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    // Effective, permitted and inheritable sets, two words each: all empty.
    let empty = [0_u32; 6];
    // SAFETY: the kernel reads the header and 24 bytes of sets, which is what the pointers are to.
    check(unsafe { libc::syscall(libc::SYS_capset, &header, empty.as_ptr()) } as libc::c_int)?;
    Ok("none left".into())
}

fn set_no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Keeps other processes of the same user from reading this one's memory, and the memory out of
/// core files: an unprotected guest's console and keys are in it.
fn forbid_tracing() -> io::Result<String> {
    prctl(libc::PR_SET_DUMPABLE, 0)?;
    Ok("off".into())
}

/// Takes away every right to files, to TCP and to other processes' sockets and signals. Files that
/// are open stay usable.
fn restrict_files() -> Result<String, String> {
    let restrict = || -> Result<landlock::RestrictionStatus, landlock::RulesetError> {
        Ruleset::default()
            .handle_access(AccessFs::from_all(ABI::V6))?
            .handle_access(AccessNet::from_all(ABI::V6))?
            .scope(Scope::from_all(ABI::V6))?
            .create()?
            .restrict_self()
    };
    let status = restrict().map_err(|error| error.to_string())?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, _) => Ok("no files, no network".into()),
        (RulesetStatus::PartiallyEnforced, _) => Ok("no files (the kernel lacks the rest)".into()),
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => {
            Err("the kernel has it, but not enabled".into())
        }
        (RulesetStatus::NotEnforced, _) => Err("the kernel lacks it".into()),
    }
}

fn prctl(option: libc::c_int, argument: libc::c_ulong) -> io::Result<()> {
    const NONE: libc::c_ulong = 0;
    // SAFETY: the options used here take numbers only.
    check(unsafe { libc::prctl(option, argument, NONE, NONE, NONE) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

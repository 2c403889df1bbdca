//! What `redoubt` asks the host kernel about the machine it runs on, and for: memory sizes, random
//! bits, permission to pin memory.
//!
//! Each function wraps one system call and decides nothing, except [`memory_verdict`], which is
//! pure.

#[cfg(test)]
mod tests;

use std::io;

/// The machine's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostMemory {
    /// All that the host kernel has.
    pub total: u64,
    /// What the host kernel estimates to be available without swapping, if it says so.
    pub available: Option<u64>,
}

/// What the host's memory means for a guest of a given size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryVerdict {
    /// There is enough.
    Enough,
    /// It may become tight; the text says why.
    Tight(String),
    /// It cannot work; the text says why.
    Impossible(String),
}

/// Compares a guest's size with the host's memory.
///
/// More than is available is not refused: a guest's memory is taken when it is touched, and a guest
/// need not touch all of it. More than the machine has is.
pub fn memory_verdict(guest_bytes: u64, host: HostMemory) -> MemoryVerdict {
    let guest_mib = guest_bytes >> 20;
    if guest_bytes >= host.total {
        return MemoryVerdict::Impossible(format!(
            "the guest is to have {guest_mib} MiB of memory, but this machine has only {} MiB; \
             use a smaller --memory",
            host.total >> 20
        ));
    }
    match host.available {
        Some(available) if guest_bytes > available => MemoryVerdict::Tight(format!(
            "the guest may use up to {guest_mib} MiB of memory, but only {} MiB are available; \
             the kernel may stop it when memory runs out",
            available >> 20
        )),
        _ => MemoryVerdict::Enough,
    }
}

/// Asks how much memory the machine has.
pub fn host_memory() -> io::Result<HostMemory> {
    let mut info = std::mem::MaybeUninit::<libc::sysinfo>::zeroed();
    // SAFETY: the pointer is to writable memory of the structure's size.
    let result = unsafe { libc::sysinfo(info.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all-zero is a valid value of this plain structure, and the call has filled it.
    let info = unsafe { info.assume_init() };
    let unit = u64::from(info.mem_unit.max(1));
    let available = std::fs::read_to_string("/proc/meminfo").ok();
    Ok(HostMemory {
        total: info.totalram.saturating_mul(unit),
        available: available.and_then(|text| parse_mem_available(&text)),
    })
}

/// Finds `MemAvailable` in the text of /proc/meminfo, in bytes.
fn parse_mem_available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib = line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?;
    kib.checked_mul(1024)
}

/// Fills a buffer from the kernel's random number generator.
pub fn random_bytes(buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let rest = &mut buffer[filled..];
        // SAFETY: the pointer and length are those of a writable slice.
        let count = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(count) {
            Ok(count) => filled += count,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// Raises the limit on pinned memory to at least `bytes`, as far as the process may.
///
/// A hypervisor driver that hands pages over to the guest pins them and counts them against this
/// limit. Returns whether the limit is high enough now.
pub fn allow_pinning(bytes: u64) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a writable structure.
    if unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) } != 0 {
        return false;
    }
    if limit.rlim_cur >= bytes {
        return true;
    }
    let raised = libc::rlimit { rlim_cur: bytes, rlim_max: limit.rlim_max.max(bytes) };
    // SAFETY: the pointer is to a valid structure.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raised) == 0 }
}

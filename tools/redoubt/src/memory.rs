//! The guest's RAM as this process sees it, up to the moment the guest starts.
//!
//! Two types for two times. [`GuestRam`] can be written: that is how kernel, initrd and device tree
//! get in. [`GuestRam::seal`] turns it into [`SealedRam`], which keeps the mapping for KVM and has
//! no way to reach the contents: once a protected guest runs, its memory is its own, and an access
//! from here would end in SIGBUS. That is a rule of the types, not of the callers.

#[cfg(test)]
mod tests;

use std::fs::File;

use thiserror::Error;
use vm_memory::mmap::MmapRegion;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, GuestRegionMmap};

use crate::layout::Region;

/// Why the guest's RAM could not be set up.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// The kernel gave no address space.
    #[error("cannot reserve {0} MiB of address space for the guest: {1}")]
    Reserve(u64, String),
    /// A file or blob does not fit, or the file could not be read.
    #[error("cannot load {what} at {address:#x}: {reason}")]
    Load {
        /// What was to be loaded.
        what: &'static str,
        /// Where to.
        address: u64,
        /// What went wrong.
        reason: String,
    },
}

/// A mapping as KVM_SET_USER_MEMORY_REGION wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostMapping {
    /// Where the guest sees it.
    pub guest: Region,
    /// Where it is in this process.
    pub host_address: u64,
}

/// Guest RAM that can be filled.
#[derive(Debug)]
pub struct GuestRam {
    memory: GuestMemoryMmap<()>,
    mapping: HostMapping,
}

impl GuestRam {
    /// Reserves the RAM. Pages are taken from the host when they are first touched.
    pub fn new(ram: Region) -> Result<Self, MemoryError> {
        let refuse = |reason: String| MemoryError::Reserve(ram.size >> 20, reason);
        let size = usize::try_from(ram.size).map_err(|error| refuse(error.to_string()))?;
        let region = MmapRegion::build(
            None,
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        )
        .map_err(|error| refuse(error.to_string()))?;
        for advice in [libc::MADV_HUGEPAGE, libc::MADV_DONTDUMP, libc::MADV_DONTFORK] {
            advise(&region, advice);
        }
        let region = GuestRegionMmap::new(region, GuestAddress(ram.base))
            .ok_or_else(|| refuse("it does not fit the guest's address space".into()))?;
        let host_address = region.as_ptr() as u64;
        let memory = GuestMemoryMmap::from_regions(vec![region])
            .map_err(|error| refuse(error.to_string()))?;
        Ok(Self { memory, mapping: HostMapping { guest: ram, host_address } })
    }

    /// Where the RAM is, for KVM.
    pub fn mapping(&self) -> HostMapping {
        self.mapping
    }

    /// Reads the first `len` bytes of a file into guest memory at `address`.
    pub fn load_file(
        &self,
        what: &'static str,
        file: &mut File,
        address: u64,
        len: u64,
    ) -> Result<(), MemoryError> {
        let refuse = |reason: String| MemoryError::Load { what, address, reason };
        let len = usize::try_from(len).map_err(|error| refuse(error.to_string()))?;
        self.memory
            .read_exact_volatile_from(GuestAddress(address), file, len)
            .map_err(|error| refuse(error.to_string()))
    }

    /// Copies bytes into guest memory at `address`.
    pub fn load_bytes(
        &self,
        what: &'static str,
        bytes: &[u8],
        address: u64,
    ) -> Result<(), MemoryError> {
        self.memory.write_slice(bytes, GuestAddress(address)).map_err(|error| MemoryError::Load {
            what,
            address,
            reason: error.to_string(),
        })
    }

    /// Gives up all access; from here on the memory belongs to the guest.
    pub fn seal(self) -> SealedRam {
        SealedRam { _memory: self.memory }
    }
}

/// Guest RAM that only the guest uses. Dropping it unmaps it.
#[derive(Debug)]
pub struct SealedRam {
    _memory: GuestMemoryMmap<()>,
}

/// Tells the kernel how the memory will be used. Not following the advice costs speed at most (or
/// an unreadable part of a core file), so a refusal is no error.
fn advise(region: &MmapRegion<()>, advice: i32) {
    // SAFETY: the range is the mapping just made, which nothing else refers to; the three kinds of
    // advice that are given change neither its contents nor its protection.
    unsafe { libc::madvise(region.as_ptr().cast(), region.size(), advice) };
}

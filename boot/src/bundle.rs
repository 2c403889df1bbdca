//! The bundle: hypervisor and host kernel in one file that loads like a Linux kernel.
//!
//! ```text
//! offset 0      arm64 Image header (64 bytes); code1 branches to 0x80
//!        0x40   BundleHeader (64 bytes, little endian)
//!        0x80   the hypervisor's entry and the rest of its flat image: hyp_file_size bytes
//!               zero padding; the hypervisor's bss lies in it: hyp_mem_size bytes from 0
//!        kernel_offset (2 MiB aligned, >= hyp_mem_size)
//!               the host's kernel Image: kernel_file_size bytes in the file,
//!               kernel_mem_size bytes in memory
//! ```
//!
//! The Image header's `image_size` covers all of it, the kernel's bss included, so a loader
//! keeps the initrd and the device tree away from every part. The kernel runs where it was
//! loaded: load base + `kernel_offset` is 2 MiB aligned whenever the load base is, and a kernel
//! with a `text_offset` is refused.
//!
//! Trusts nothing: [`BundleHeader::parse`] is what the hypervisor applies to its own first 128
//! bytes, because the file may have been cut or edited after packing.

use core::fmt;

use crate::bytes;
use crate::image::{IMAGE_HEADER_SIZE, ImageError, ImageHeader};
use crate::range::{BLOCK_SIZE, MAX_ADDRESS, is_aligned};

#[cfg(feature = "pack")]
mod pack;

#[cfg(feature = "pack")]
pub use pack::{PackError, pack};

/// Where the [`BundleHeader`] lies.
pub const BUNDLE_HEADER_OFFSET: usize = IMAGE_HEADER_SIZE;

/// The size of the Image header and the bundle header together: the entry code starts here.
pub const ENTRY_OFFSET: usize = 128;

/// `REDOUBT1`, read as a little-endian u64.
pub const BUNDLE_MAGIC: u64 = u64::from_le_bytes(*b"REDOUBT1");

/// Where the parts of a bundle lie. All fields are what [`BundleHeader::parse`] has checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleHeader {
    hyp_file_size: u64,
    hyp_mem_size: u64,
    kernel_offset: u64,
    kernel_file_size: u64,
    kernel_mem_size: u64,
}

/// Why the first bytes of an image are not a bundle's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleError {
    /// The Image header is not one.
    Image(ImageError),
    /// Fewer than 128 bytes.
    Truncated,
    /// No `REDOUBT1` at offset 64: a hypervisor that was not packed with a kernel.
    BadMagic,
    /// A reserved word is not zero.
    ReservedBits,
    /// The hypervisor's file part does not hold the headers, or is larger than its memory.
    HypervisorSize,
    /// `kernel_offset` is not a multiple of 2 MiB.
    KernelMisaligned,
    /// The kernel would lie on the hypervisor.
    KernelOverlapsHypervisor,
    /// The kernel is empty, or larger in the file than in memory.
    KernelSize,
    /// The sum of the parts leaves the address space or the Image header's `image_size`.
    TotalSize,
}

impl BundleError {
    /// Says it in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image(error) => error.as_str(),
            Self::Truncated => "bundle header is cut short",
            Self::BadMagic => "no bundle header: the image holds no host kernel",
            Self::ReservedBits => "bundle header has reserved words that are not zero",
            Self::HypervisorSize => "bundle header: hypervisor sizes contradict one another",
            Self::KernelMisaligned => "bundle header: the host kernel is not 2 MiB aligned",
            Self::KernelOverlapsHypervisor => "bundle header: host kernel overlaps hypervisor",
            Self::KernelSize => "bundle header: host kernel sizes contradict one another",
            Self::TotalSize => "bundle header: parts do not fit the image size",
        }
    }
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for BundleError {}

impl BundleHeader {
    /// Reads and checks both headers at the start of a loaded bundle.
    pub fn parse(image: &[u8]) -> Result<Self, BundleError> {
        let headers = image.get(..ENTRY_OFFSET).ok_or(BundleError::Truncated)?;
        let image_header = ImageHeader::parse(headers).map_err(BundleError::Image)?;
        let bundle = headers.get(BUNDLE_HEADER_OFFSET..).ok_or(BundleError::Truncated)?;
        let word = |offset| bytes::le64(bundle, offset).ok_or(BundleError::Truncated);
        if word(0)? != BUNDLE_MAGIC {
            return Err(BundleError::BadMagic);
        }
        if word(48)? != 0 || word(56)? != 0 {
            return Err(BundleError::ReservedBits);
        }
        let header = Self {
            hyp_file_size: word(8)?,
            hyp_mem_size: word(16)?,
            kernel_offset: word(24)?,
            kernel_file_size: word(32)?,
            kernel_mem_size: word(40)?,
        };
        header.check()?;
        if header.total_size() > image_header.image_size || image_header.text_offset != 0 {
            return Err(BundleError::TotalSize);
        }
        Ok(header)
    }

    /// Checks what the accessors promise.
    fn check(&self) -> Result<(), BundleError> {
        let headers = ENTRY_OFFSET as u64;
        if self.hyp_file_size <= headers || self.hyp_file_size > self.hyp_mem_size {
            return Err(BundleError::HypervisorSize);
        }
        if !is_aligned(self.kernel_offset, BLOCK_SIZE) {
            return Err(BundleError::KernelMisaligned);
        }
        if self.kernel_offset < self.hyp_mem_size {
            return Err(BundleError::KernelOverlapsHypervisor);
        }
        if self.kernel_file_size == 0 || self.kernel_file_size > self.kernel_mem_size {
            return Err(BundleError::KernelSize);
        }
        match self.kernel_offset.checked_add(self.kernel_mem_size) {
            Some(total) if total <= MAX_ADDRESS => Ok(()),
            _ => Err(BundleError::TotalSize),
        }
    }

    /// Bytes of the hypervisor in the file, from offset 0.
    pub const fn hyp_file_size(&self) -> u64 {
        self.hyp_file_size
    }

    /// Bytes of the hypervisor in memory, bss included, from offset 0.
    pub const fn hyp_mem_size(&self) -> u64 {
        self.hyp_mem_size
    }

    /// Where the host kernel starts: a multiple of 2 MiB, not below [`Self::hyp_mem_size`].
    pub const fn kernel_offset(&self) -> u64 {
        self.kernel_offset
    }

    /// Bytes of the host kernel in the file.
    pub const fn kernel_file_size(&self) -> u64 {
        self.kernel_file_size
    }

    /// Bytes that the host kernel uses in memory, not fewer than in the file.
    pub const fn kernel_mem_size(&self) -> u64 {
        self.kernel_mem_size
    }

    /// Bytes from the load base to the end of the host kernel's memory.
    pub const fn total_size(&self) -> u64 {
        // `check` has seen that this does not wrap.
        self.kernel_offset.wrapping_add(self.kernel_mem_size)
    }
}

#[cfg(test)]
mod tests;

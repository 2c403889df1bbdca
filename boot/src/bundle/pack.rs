//! Puts hypervisor and host kernel together. Runs where the image is built, never at EL2.

use alloc::vec::Vec;
use core::fmt;

use super::{BUNDLE_HEADER_OFFSET, BUNDLE_MAGIC, BundleError, BundleHeader, ENTRY_OFFSET};
use crate::bytes;
use crate::image::{ImageError, ImageFlags, ImageHeader};
use crate::range::{BLOCK_SIZE, align_up};

/// Why two files cannot be packed into a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackError {
    /// The kernel is not an Image that can be used.
    Kernel(ImageError),
    /// The kernel must not lie at a 2 MiB boundary (`text_offset` is not zero).
    KernelTextOffset(u64),
    /// The kernel's file is larger than the memory that its header asks for.
    KernelSize,
    /// The hypervisor is no larger than the headers, or larger in the file than in memory.
    HypervisorSize,
    /// The hypervisor has code or data where the bundle header goes.
    HeaderInUse,
    /// The hypervisor needs more than 1 GiB, or the sizes do not fit an address space.
    TooLarge,
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(error) => write!(f, "host kernel: {error}"),
            Self::KernelTextOffset(offset) => write!(
                f,
                "host kernel: text_offset is {offset:#x}; only kernels that start at a 2 MiB \
                 boundary (Linux 5.10 or later) can be packed"
            ),
            Self::KernelSize => {
                f.write_str("host kernel: the file is larger than its header's image_size")
            }
            Self::HypervisorSize => f.write_str(
                "hypervisor: the flat image must be larger than its 128 bytes of headers and \
                 not larger than its size in memory",
            ),
            Self::HeaderInUse => f.write_str(
                "hypervisor: bytes 64 to 128 must be zero: the bundle header goes there",
            ),
            Self::TooLarge => {
                f.write_str("the hypervisor or the host kernel asks for too much memory")
            }
        }
    }
}

impl core::error::Error for PackError {}

/// The largest hypervisor that is believed: what lies before the kernel is padding in the file.
const MAX_KERNEL_OFFSET: u64 = 1 << 30;

/// `b 0x80` at offset 4.
const BRANCH_TO_ENTRY: u32 = 0x1400_001f;

/// `nop`.
const NOP: u32 = 0xd503_201f;

/// Packs a flat hypervisor image and a host kernel Image into one bundle.
///
/// `hyp_mem_size` is what the hypervisor uses in memory from its first byte on, bss included.
/// The hypervisor's first two instructions stay as its linker wrote them; where they are zero
/// they become `nop` and `b 0x80`.
pub fn pack(hyp_flat: &[u8], hyp_mem_size: u64, kernel: &[u8]) -> Result<Vec<u8>, PackError> {
    let kernel_header = ImageHeader::parse(kernel).map_err(PackError::Kernel)?;
    if kernel_header.text_offset != 0 {
        return Err(PackError::KernelTextOffset(kernel_header.text_offset));
    }
    let taken =
        hyp_flat.get(BUNDLE_HEADER_OFFSET..ENTRY_OFFSET).ok_or(PackError::HypervisorSize)?;
    if taken.iter().any(|byte| *byte != 0) {
        return Err(PackError::HeaderInUse);
    }
    let header = BundleHeader {
        hyp_file_size: u64::try_from(hyp_flat.len()).map_err(|_| PackError::TooLarge)?,
        hyp_mem_size,
        kernel_offset: align_up(hyp_mem_size, BLOCK_SIZE).ok_or(PackError::TooLarge)?,
        kernel_file_size: u64::try_from(kernel.len()).map_err(|_| PackError::TooLarge)?,
        kernel_mem_size: kernel_header.image_size,
    };
    header.check().map_err(|error| match error {
        BundleError::HypervisorSize => PackError::HypervisorSize,
        BundleError::KernelSize => PackError::KernelSize,
        _ => PackError::TooLarge,
    })?;
    let or_default = |word: Option<u32>, default: u32| match word {
        None | Some(0) => default,
        Some(code) => code,
    };
    let image_header = ImageHeader {
        code0: or_default(bytes::le32(hyp_flat, 0), NOP),
        code1: or_default(bytes::le32(hyp_flat, 4), BRANCH_TO_ENTRY),
        text_offset: 0,
        image_size: align_up(header.total_size(), BLOCK_SIZE).ok_or(PackError::TooLarge)?,
        flags: ImageFlags::REDOUBT,
        pe_offset: 0,
    };
    if header.kernel_offset > MAX_KERNEL_OFFSET {
        return Err(PackError::TooLarge);
    }
    let kernel_offset = usize::try_from(header.kernel_offset).map_err(|_| PackError::TooLarge)?;
    let mut bundle = Vec::new();
    bundle.extend_from_slice(&image_header.emit());
    bundle.extend_from_slice(&header.emit());
    bundle.extend_from_slice(hyp_flat.get(ENTRY_OFFSET..).unwrap_or_default());
    bundle.resize(kernel_offset, 0);
    bundle.extend_from_slice(kernel);
    Ok(bundle)
}

impl BundleHeader {
    /// Writes the header.
    fn emit(&self) -> [u8; 64] {
        let mut header = [0; 64];
        let words = [
            BUNDLE_MAGIC,
            self.hyp_file_size,
            self.hyp_mem_size,
            self.kernel_offset,
            self.kernel_file_size,
            self.kernel_mem_size,
        ];
        for (target, word) in header.chunks_exact_mut(8).zip(words) {
            for (byte, source) in target.iter_mut().zip(word.to_le_bytes()) {
                *byte = source;
            }
        }
        header
    }
}

//! The arm64 Linux Image format: recognises a kernel that can be booted, and says what is wrong
//! with any other file.
//!
//! Decides from the first bytes and the length of a file, before any memory is taken. Invariant: an
//! accepted header's `text_offset` is below 2 MiB and its memory size covers the whole file.
//! Spec: Linux, Documentation/arch/arm64/booting.rst, section 4.

#[cfg(test)]
mod tests;

use thiserror::Error;

use crate::layout::SIZE_2_MIB;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;

/// What a file may hold instead of an Image, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherFormat {
    /// gzip, as in `Image.gz` and many distributions' `vmlinuz`.
    Gzip,
    /// zstd.
    Zstd,
    /// xz.
    Xz,
    /// lz4, legacy frame as the kernel uses it, or modern.
    Lz4,
    /// bzip2.
    Bzip2,
    /// An EFI application that unpacks the kernel inside it.
    EfiZboot,
    /// An ELF file such as `vmlinux`.
    Elf,
    /// A Flattened Image Tree or a device tree.
    DeviceTree,
    /// A U-Boot legacy image.
    UBoot,
}

impl OtherFormat {
    /// Recognises a format by its magic number.
    fn recognise(start: &[u8]) -> Option<Self> {
        const MAGICS: [(&[u8], OtherFormat); 9] = [
            (&[0x1f, 0x8b], OtherFormat::Gzip),
            (&[0x28, 0xb5, 0x2f, 0xfd], OtherFormat::Zstd),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], OtherFormat::Xz),
            (&[0x02, 0x21, 0x4c, 0x18], OtherFormat::Lz4),
            (&[0x04, 0x22, 0x4d, 0x18], OtherFormat::Lz4),
            (b"BZh", OtherFormat::Bzip2),
            (b"\x7fELF", OtherFormat::Elf),
            (&[0xd0, 0x0d, 0xfe, 0xed], OtherFormat::DeviceTree),
            (&[0x27, 0x05, 0x19, 0x56], OtherFormat::UBoot),
        ];
        if start.starts_with(b"MZ") && start.get(4..8) == Some(b"zimg") {
            return Some(Self::EfiZboot);
        }
        MAGICS.iter().find(|(magic, _)| start.starts_with(magic)).map(|&(_, format)| format)
    }

    /// Says what the file is and what to do with it.
    const fn advice(self) -> &'static str {
        match self {
            Self::Gzip => "it is packed with gzip; unpack it first (gunzip < FILE > Image)",
            Self::Zstd => "it is packed with zstd; unpack it first (zstd -d < FILE > Image)",
            Self::Xz => "it is packed with xz; unpack it first (xz -d < FILE > Image)",
            Self::Lz4 => "it is packed with lz4; unpack it first (lz4 -d < FILE > Image)",
            Self::Bzip2 => "it is packed with bzip2; unpack it first (bunzip2 < FILE > Image)",
            Self::EfiZboot => {
                "it is an EFI application with a packed kernel inside; use the plain Image \
                 (arch/arm64/boot/Image in a kernel's build tree)"
            }
            Self::Elf => {
                "it is an ELF file; use the Image instead (objcopy -O binary vmlinux Image, or \
                 arch/arm64/boot/Image in a kernel's build tree)"
            }
            Self::DeviceTree => "it is a device tree or FIT image; use the plain Image",
            Self::UBoot => "it is a U-Boot image; use the plain Image that was wrapped in it",
        }
    }
}

/// Why a file is not a kernel that can be booted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ImageError {
    /// The file cannot even hold the header.
    #[error("not an arm64 Linux Image: {0} bytes are too few")]
    TooShort(u64),
    /// Some other format, which is known.
    #[error("not an arm64 Linux Image: {}", .0.advice())]
    Other(OtherFormat),
    /// No known format.
    #[error("not an arm64 Linux Image: the magic number is {0:#010x} where 0x644d5241 is expected")]
    BadMagic(u32),
    /// A kernel before 3.17, which does not say how much memory it needs.
    #[error("the Image does not say how much memory it needs (kernel older than 3.17)")]
    NoSize,
    /// The header contradicts itself or the boot protocol.
    #[error("broken Image header: text_offset {0:#x} is not a multiple of 4 KiB below 2 MiB")]
    BadTextOffset(u64),
    /// A big-endian kernel.
    #[error("the kernel is big-endian, which is not supported")]
    BigEndian,
}

/// What matters of a valid header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// Where the Image goes, counted from a 2 MiB boundary.
    pub text_offset: u64,
    /// Bytes of memory the kernel needs from there on, BSS included.
    pub memory_bytes: u64,
}

impl ImageHeader {
    /// Validates the first bytes of a file that is `file_bytes` long.
    ///
    /// `start` is as much of the file's beginning as there is, at most [`HEADER_BYTES`].
    pub fn parse(start: &[u8], file_bytes: u64) -> Result<Self, ImageError> {
        const MAGIC: u32 = 0x644d_5241; // "ARM\x64"
        const FLAG_BIG_ENDIAN: u64 = 1;

        // A packed file is told first: it may be of any length, and may hold any bytes at the place
        // where the magic number would be.
        if let Some(other) = OtherFormat::recognise(start) {
            return Err(ImageError::Other(other));
        }
        let header: &[u8; HEADER_BYTES] =
            start.first_chunk().ok_or(ImageError::TooShort(file_bytes))?;
        let magic = u32::from_le_bytes(field(header, 56));
        if magic != MAGIC {
            return Err(ImageError::BadMagic(magic));
        }
        let text_offset = u64::from_le_bytes(field(header, 8));
        let image_size = u64::from_le_bytes(field(header, 16));
        let flags = u64::from_le_bytes(field(header, 24));
        if image_size == 0 {
            return Err(ImageError::NoSize);
        }
        if flags & FLAG_BIG_ENDIAN != 0 {
            return Err(ImageError::BigEndian);
        }
        if text_offset >= SIZE_2_MIB || !text_offset.is_multiple_of(4096) {
            return Err(ImageError::BadTextOffset(text_offset));
        }
        // A signature appended to the Image may reach past what the header says.
        Ok(Self { text_offset, memory_bytes: image_size.max(file_bytes) })
    }
}

/// Copies `N` bytes of the header; `offset` is one of the constants above.
fn field<const N: usize>(header: &[u8; HEADER_BYTES], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[offset..offset + N]);
    bytes
}

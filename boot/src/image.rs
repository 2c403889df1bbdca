//! The arm64 Linux Image header: what every loader of Linux reads first.
//!
//! Decides whether 64 bytes are such a header and what it asks of the loader. Trusts nothing:
//! the header comes from a file. Layout and meaning: Linux `Documentation/arch/arm64/booting.rst`,
//! section 4 ("Call the kernel image").

use core::fmt;

use crate::bytes;

/// The size of the header.
pub const IMAGE_HEADER_SIZE: usize = 64;

/// `ARM\x64`, little endian, at offset 56.
const MAGIC: u32 = 0x644d_5241;

/// The page size that the kernel in an Image was built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSize {
    /// The header does not say.
    Unspecified,
    /// 4 KiB.
    Size4K,
    /// 16 KiB.
    Size16K,
    /// 64 KiB.
    Size64K,
}

/// The `flags` word of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageFlags(u64);

impl ImageFlags {
    /// Little endian, 4 KiB pages, loadable at any 2 MiB aligned address: what our image says.
    pub const REDOUBT: Self = Self(0b1010);

    /// Wraps the word as read.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The word as written.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Tells whether the kernel is big endian.
    pub const fn is_big_endian(self) -> bool {
        self.0 & 1 != 0
    }

    /// The kernel's page size.
    pub const fn page_size(self) -> PageSize {
        match (self.0 & 2 != 0, self.0 & 4 != 0) {
            (false, false) => PageSize::Unspecified,
            (true, false) => PageSize::Size4K,
            (false, true) => PageSize::Size16K,
            (true, true) => PageSize::Size64K,
        }
    }

    /// Tells whether the 2 MiB aligned base may be anywhere in memory rather than near its start.
    pub const fn may_load_anywhere(self) -> bool {
        self.0 & 8 != 0
    }
}

/// Why bytes are not an Image that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// Fewer than 64 bytes.
    Truncated,
    /// No `ARM\x64` at offset 56.
    BadMagic,
    /// `image_size` is zero (Linux before 3.17): how much memory the kernel needs is unknown.
    NoImageSize,
    /// `text_offset` is not below 2 MiB.
    BadTextOffset,
    /// The kernel is big endian.
    BigEndian,
}

impl ImageError {
    /// Says it in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "file is too short for an arm64 Image header",
            Self::BadMagic => "not an arm64 Linux Image (a compressed kernel must be unpacked)",
            Self::NoImageSize => "the Image header does not say how much memory it needs",
            Self::BadTextOffset => "the Image header has a text_offset of 2 MiB or more",
            Self::BigEndian => "the kernel is big endian",
        }
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for ImageError {}

/// An arm64 Linux Image header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// The first instruction.
    pub code0: u32,
    /// The second instruction.
    pub code1: u32,
    /// Where, from a 2 MiB aligned base, the image wants to lie.
    pub text_offset: u64,
    /// How much memory from there on it uses, more than the file's size.
    pub image_size: u64,
    /// Endianness, page size, placement.
    pub flags: ImageFlags,
    /// The offset of a PE header, or zero.
    pub pe_offset: u32,
}

impl ImageHeader {
    /// Reads the header at the start of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let header = bytes.get(..IMAGE_HEADER_SIZE).ok_or(ImageError::Truncated)?;
        let word = |offset| bytes::le32(header, offset).ok_or(ImageError::Truncated);
        let double = |offset| bytes::le64(header, offset).ok_or(ImageError::Truncated);
        if word(56)? != MAGIC {
            return Err(ImageError::BadMagic);
        }
        let parsed = Self {
            code0: word(0)?,
            code1: word(4)?,
            text_offset: double(8)?,
            image_size: double(16)?,
            flags: ImageFlags::from_bits(double(24)?),
            pe_offset: word(60)?,
        };
        if parsed.image_size == 0 {
            return Err(ImageError::NoImageSize);
        }
        if parsed.text_offset >= crate::BLOCK_SIZE {
            return Err(ImageError::BadTextOffset);
        }
        if parsed.flags.is_big_endian() {
            return Err(ImageError::BigEndian);
        }
        Ok(parsed)
    }

    /// Writes the header; reserved words are zero.
    pub fn emit(&self) -> [u8; IMAGE_HEADER_SIZE] {
        let mut header = [0; IMAGE_HEADER_SIZE];
        let words = [(0, self.code0), (4, self.code1), (56, MAGIC), (60, self.pe_offset)];
        let doubles = [(8, self.text_offset), (16, self.image_size), (24, self.flags.bits())];
        // Every offset is a constant inside the header: no put can fail.
        for (offset, value) in words {
            let _ = bytes::put(&mut header, offset, &value.to_le_bytes());
        }
        for (offset, value) in doubles {
            let _ = bytes::put(&mut header, offset, &value.to_le_bytes());
        }
        header
    }
}

#[cfg(test)]
mod tests;

//! Tests of the Image format: one valid header, one broken header for each refusal.

use super::*;

/// Builds a header with the fields that matter.
fn header(text_offset: u64, image_size: u64, flags: u64, magic: &[u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[0..2].copy_from_slice(b"MZ");
    bytes[8..16].copy_from_slice(&text_offset.to_le_bytes());
    bytes[16..24].copy_from_slice(&image_size.to_le_bytes());
    bytes[24..32].copy_from_slice(&flags.to_le_bytes());
    bytes[56..60].copy_from_slice(magic);
    bytes
}

const MAGIC: &[u8; 4] = b"ARM\x64";

#[test]
fn accepts_a_modern_kernel() {
    let parsed = ImageHeader::parse(&header(0, 0x2e0_0000, 0xa, MAGIC), 0x2c0_0000);
    assert_eq!(parsed, Ok(ImageHeader { text_offset: 0, memory_bytes: 0x2e0_0000 }));
}

#[test]
fn accepts_an_old_text_offset_and_an_exact_size() {
    let parsed = ImageHeader::parse(&header(0x8_0000, 0x100_0000, 2, MAGIC), 0x100_0000);
    assert_eq!(parsed, Ok(ImageHeader { text_offset: 0x8_0000, memory_bytes: 0x100_0000 }));
}

#[test]
fn counts_what_is_appended_to_the_image() {
    let parsed = ImageHeader::parse(&header(0, 4096, 0, MAGIC), 4097);
    assert_eq!(parsed, Ok(ImageHeader { text_offset: 0, memory_bytes: 4097 }));
}

#[test]
fn refuses_short_files() {
    assert_eq!(ImageHeader::parse(&[], 0), Err(ImageError::TooShort(0)));
    let almost = &header(0, 4096, 0, MAGIC)[..HEADER_BYTES - 1];
    assert_eq!(ImageHeader::parse(almost, 63), Err(ImageError::TooShort(63)));
}

#[test]
fn refuses_other_formats_with_advice() {
    let cases: [(&[u8], OtherFormat, &str); 10] = [
        (b"\x1f\x8b\x08\0", OtherFormat::Gzip, "gunzip"),
        (b"\x28\xb5\x2f\xfd", OtherFormat::Zstd, "zstd -d"),
        (b"\xfd7zXZ\0", OtherFormat::Xz, "xz -d"),
        (b"\x02\x21\x4c\x18", OtherFormat::Lz4, "lz4 -d"),
        (b"\x04\x22\x4d\x18", OtherFormat::Lz4, "lz4 -d"),
        (b"BZh9", OtherFormat::Bzip2, "bunzip2"),
        (b"MZ\0\0zimg", OtherFormat::EfiZboot, "plain Image"),
        (b"\x7fELF\x02", OtherFormat::Elf, "objcopy"),
        (b"\xd0\x0d\xfe\xed", OtherFormat::DeviceTree, "plain Image"),
        (b"\x27\x05\x19\x56", OtherFormat::UBoot, "plain Image"),
    ];
    for (start, format, advice) in cases {
        let error = ImageHeader::parse(start, 1 << 20).expect_err("other format");
        assert_eq!(error, ImageError::Other(format));
        assert!(error.to_string().contains(advice), "{error}");
        // The same with a whole header's worth of bytes, magic number included by chance.
        let mut long = header(0, 1 << 20, 0, MAGIC);
        long[..start.len()].copy_from_slice(start);
        assert_eq!(ImageHeader::parse(&long, 1 << 20), Err(ImageError::Other(format)));
    }
}

#[test]
fn refuses_a_wrong_magic() {
    let error = ImageHeader::parse(&header(0, 4096, 0, b"RISC"), 64);
    assert_eq!(error, Err(ImageError::BadMagic(0x4353_4952)));
}

#[test]
fn refuses_contradictions() {
    assert_eq!(ImageHeader::parse(&header(0, 0, 0, MAGIC), 64), Err(ImageError::NoSize));
    assert_eq!(ImageHeader::parse(&header(0, 4096, 1, MAGIC), 64), Err(ImageError::BigEndian));
    for offset in [SIZE_2_MIB, u64::MAX, 0x800, 1] {
        assert_eq!(
            ImageHeader::parse(&header(offset, 4096, 0, MAGIC), 64),
            Err(ImageError::BadTextOffset(offset))
        );
    }
}

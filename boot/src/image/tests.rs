//! Headers of kernels, good and bad.

use super::*;
use proptest::prelude::*;

fn header() -> ImageHeader {
    ImageHeader {
        code0: 0x5a4d_40fa,
        code1: 0x1400_001f,
        text_offset: 0,
        image_size: 0x2c0_0000,
        flags: ImageFlags::REDOUBT,
        pe_offset: 64,
    }
}

#[test]
fn fields_lie_where_linux_says() {
    let bytes = header().emit();
    assert_eq!(&bytes[56..60], b"ARM\x64");
    assert_eq!(bytes[0..8], [0xfa, 0x40, 0x4d, 0x5a, 0x1f, 0, 0, 0x14]);
    assert_eq!(bytes[16..24], 0x2c0_0000u64.to_le_bytes());
    assert_eq!(bytes[24..32], 10u64.to_le_bytes());
    assert_eq!(bytes[32..56], [0; 24]);
    assert_eq!(bytes[60..64], 64u32.to_le_bytes());
    assert_eq!(ImageHeader::parse(&bytes), Ok(header()));
}

#[test]
fn flags_have_four_fields() {
    let flags = ImageFlags::REDOUBT;
    assert!(!flags.is_big_endian() && flags.may_load_anywhere());
    assert_eq!(flags.page_size(), PageSize::Size4K);
    assert_eq!(ImageFlags::from_bits(0).page_size(), PageSize::Unspecified);
    assert_eq!(ImageFlags::from_bits(4).page_size(), PageSize::Size16K);
    assert_eq!(ImageFlags::from_bits(6).page_size(), PageSize::Size64K);
    assert!(!ImageFlags::from_bits(6).may_load_anywhere());
    assert!(ImageFlags::from_bits(1).is_big_endian());
}

#[test]
fn bad_headers_are_refused() {
    let good = header();
    let cases = [
        (ImageHeader { image_size: 0, ..good }, ImageError::NoImageSize),
        (ImageHeader { text_offset: 2 << 20, ..good }, ImageError::BadTextOffset),
        (ImageHeader { text_offset: u64::MAX, ..good }, ImageError::BadTextOffset),
        (ImageHeader { flags: ImageFlags::from_bits(1), ..good }, ImageError::BigEndian),
    ];
    for (bad, expected) in cases {
        assert_eq!(ImageHeader::parse(&bad.emit()), Err(expected));
    }
    let bytes = good.emit();
    for len in 0..64 {
        assert_eq!(ImageHeader::parse(&bytes[..len]), Err(ImageError::Truncated));
    }
    let mut gzip = bytes;
    gzip[56] = 0;
    assert_eq!(ImageHeader::parse(&gzip), Err(ImageError::BadMagic));
    assert!(ImageError::BadMagic.to_string().contains("compressed"));
}

proptest! {
    /// What parses is what was written, whatever the bytes are.
    #[test]
    fn parse_and_emit_agree(mut bytes: [u8; 64]) {
        bytes[56..60].copy_from_slice(b"ARM\x64");
        bytes[32..56].fill(0);
        if let Ok(parsed) = ImageHeader::parse(&bytes) {
            prop_assert_eq!(parsed.emit(), bytes);
        }
    }
}

//! Headers of bundles, good and bad, and what the packer makes.

use super::*;
use crate::image::ImageFlags;
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

/// The first 128 bytes of a bundle with these words behind the magic number.
fn headers(words: [u64; 7]) -> [u8; 128] {
    let image = ImageHeader {
        code0: 0,
        code1: 0,
        text_offset: 0,
        image_size: 64 * MIB,
        flags: ImageFlags::REDOUBT,
        pe_offset: 0,
    };
    let mut bytes = [0; 128];
    bytes[..64].copy_from_slice(&image.emit());
    bytes[64..72].copy_from_slice(b"REDOUBT1");
    for (index, word) in words.into_iter().enumerate() {
        bytes[72 + 8 * index..80 + 8 * index].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Hypervisor of 1 MiB in the file and 3 in memory, kernel of 30 and 40.
const GOOD: [u64; 7] = [MIB, 3 * MIB, 4 * MIB, 30 * MIB, 40 * MIB, 0, 0];

#[test]
fn a_good_header_is_read() {
    let header = BundleHeader::parse(&headers(GOOD)).unwrap();
    assert_eq!(header.hyp_file_size(), MIB);
    assert_eq!(header.hyp_mem_size(), 3 * MIB);
    assert_eq!(header.kernel_offset(), 4 * MIB);
    assert_eq!(header.kernel_file_size(), 30 * MIB);
    assert_eq!(header.kernel_mem_size(), 40 * MIB);
    assert_eq!(header.total_size(), 44 * MIB);
}

#[test]
fn one_wrong_word_is_refused() {
    let cases = [
        (0, 128, BundleError::HypervisorSize),
        (0, 3 * MIB + 1, BundleError::HypervisorSize),
        (0, u64::MAX, BundleError::HypervisorSize),
        (1, MIB - 1, BundleError::HypervisorSize),
        (1, 4 * MIB + 1, BundleError::KernelOverlapsHypervisor),
        (1, u64::MAX, BundleError::KernelOverlapsHypervisor),
        (2, 2 * MIB, BundleError::KernelOverlapsHypervisor),
        (2, 5 * MIB, BundleError::KernelMisaligned),
        (2, 4 * MIB + 4096, BundleError::KernelMisaligned),
        (2, 0u64.wrapping_sub(2 * MIB), BundleError::TotalSize),
        (2, 26 * MIB, BundleError::TotalSize),
        (3, 0, BundleError::KernelSize),
        (3, 40 * MIB + 1, BundleError::KernelSize),
        (4, 30 * MIB - 1, BundleError::KernelSize),
        (4, u64::MAX, BundleError::TotalSize),
        (4, 60 * MIB + 1, BundleError::TotalSize),
        (5, 1, BundleError::ReservedBits),
        (6, 1 << 63, BundleError::ReservedBits),
    ];
    for (index, value, expected) in cases {
        let mut words = GOOD;
        words[index] = value;
        assert_eq!(
            BundleHeader::parse(&headers(words)),
            Err(expected),
            "word {index} = {value:#x}"
        );
    }
}

#[test]
fn a_header_that_is_not_one_is_refused() {
    let good = headers(GOOD);
    for len in 0..128 {
        assert_eq!(BundleHeader::parse(&good[..len]), Err(BundleError::Truncated));
    }
    let mut bad = good;
    bad[64] = b'r';
    assert_eq!(BundleHeader::parse(&bad), Err(BundleError::BadMagic));
    let mut bad = good;
    bad[56] = 0;
    assert_eq!(BundleHeader::parse(&bad), Err(BundleError::Image(ImageError::BadMagic)));
    // A text_offset would move the kernel off its 2 MiB boundary.
    let mut bad = good;
    bad[10] = 8;
    assert_eq!(BundleHeader::parse(&bad), Err(BundleError::TotalSize));
}

proptest! {
    /// Whatever is accepted keeps what the accessors promise.
    #[test]
    fn accepted_headers_are_consistent(
        words in prop::array::uniform5(prop_oneof![any::<u64>(), (0u64..32).prop_map(|n| n * MIB)])
    ) {
        let [a, b, c, d, e] = words;
        if let Ok(header) = BundleHeader::parse(&headers([a, b, c, d, e, 0, 0])) {
            prop_assert!(header.hyp_file_size() <= header.hyp_mem_size());
            prop_assert!(header.hyp_mem_size() <= header.kernel_offset());
            prop_assert!(header.kernel_offset() % (2 * MIB) == 0);
            prop_assert!(header.kernel_file_size() <= header.kernel_mem_size());
            prop_assert!(header.total_size() <= 64 * MIB);
        }
    }
}

#[cfg(feature = "pack")]
mod packing {
    use super::*;

    /// A kernel whose file is `size` bytes.
    fn kernel(size: usize, change: impl FnOnce(&mut ImageHeader)) -> Vec<u8> {
        let mut header = ImageHeader {
            code0: 1,
            code1: 2,
            text_offset: 0,
            image_size: 3 * MIB,
            flags: ImageFlags::REDOUBT,
            pe_offset: 0,
        };
        change(&mut header);
        let mut kernel = header.emit().to_vec();
        kernel.resize(size, 0xaa);
        kernel
    }

    /// A hypervisor with code from 0x80 on.
    fn hypervisor(code: [u32; 2]) -> Vec<u8> {
        let mut flat = [code[0].to_le_bytes(), code[1].to_le_bytes()].concat();
        flat.resize(128, 0);
        flat.resize(1000, 0xbb);
        flat
    }

    #[test]
    fn what_is_packed_is_parsed() {
        let hyp = hypervisor([0x1234, 0x5678]);
        let kernel = kernel(2000, |_| {});
        let bundle = pack(&hyp, 2 * MIB + 1, &kernel).unwrap();
        let image = ImageHeader::parse(&bundle).unwrap();
        assert_eq!((image.code0, image.code1), (0x1234, 0x5678));
        assert_eq!((image.text_offset, image.flags.bits()), (0, 0xa));
        assert_eq!(image.image_size, 8 * MIB);
        let header = BundleHeader::parse(&bundle).unwrap();
        assert_eq!(header.hyp_file_size(), 1000);
        assert_eq!(header.hyp_mem_size(), 2 * MIB + 1);
        assert_eq!(header.kernel_offset(), 4 * MIB);
        assert_eq!(header.kernel_file_size(), 2000);
        assert_eq!(header.kernel_mem_size(), 3 * MIB);
        let offset = header.kernel_offset() as usize;
        assert_eq!(bundle[128..1000], hyp[128..]);
        assert!(bundle[1000..offset].iter().all(|byte| *byte == 0));
        assert_eq!(bundle[offset..], kernel);
    }

    #[test]
    fn missing_entry_code_is_filled_in() {
        let bundle = pack(&hypervisor([0, 0]), MIB, &kernel(2000, |_| {})).unwrap();
        // nop; b .+0x7c, from offset 4 to 0x80.
        assert_eq!(bundle[..8], [0x1f, 0x20, 0x03, 0xd5, 0x1f, 0x00, 0x00, 0x14]);
    }

    #[test]
    fn what_cannot_be_packed_is_refused() {
        let hyp = hypervisor([1, 2]);
        let good = kernel(2000, |_| {});
        let shifted = kernel(2000, |header| header.text_offset = 0x8_0000);
        assert_eq!(pack(&hyp, MIB, &shifted), Err(PackError::KernelTextOffset(0x8_0000)));
        let gzip = [0x1f, 0x8b].repeat(100);
        assert_eq!(pack(&hyp, MIB, &gzip), Err(PackError::Kernel(ImageError::BadMagic)));
        let small = kernel(2000, |header| header.image_size = 1999);
        assert_eq!(pack(&hyp, MIB, &small), Err(PackError::KernelSize));
        let huge = kernel(2000, |header| header.image_size = u64::MAX);
        assert_eq!(pack(&hyp, MIB, &huge), Err(PackError::TooLarge));
        assert_eq!(pack(&hyp, 999, &good), Err(PackError::HypervisorSize));
        assert_eq!(pack(&hyp[..127], MIB, &good), Err(PackError::HypervisorSize));
        assert_eq!(pack(&hyp[..128], MIB, &good), Err(PackError::HypervisorSize));
        for size in [2 << 30, 1 << 51, u64::MAX] {
            assert_eq!(pack(&hyp, size, &good), Err(PackError::TooLarge));
        }
        let mut used = hyp;
        used[127] = 1;
        assert_eq!(pack(&used, MIB, &good), Err(PackError::HeaderInUse));
        assert!(PackError::KernelTextOffset(0x8_0000).to_string().contains("0x80000"));
    }
}

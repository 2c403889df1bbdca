//! Segments in every order, and programs that are no images.

use super::flatten;

/// A segment: physical address, data, memory size.
type Segment<'a> = (u64, &'a [u8], u64);

/// Builds an ELF file that holds nothing but `segments`.
fn elf(machine: u16, segments: &[Segment]) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    for half in [2, machine] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(1_u32.to_le_bytes());
    for word in [0_u64, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(0_u32.to_le_bytes());
    for half in [64, 56, segments.len() as u16, 0, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    let mut offset = 64 + 56 * segments.len() as u64;
    for (address, data, size) in segments {
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(5_u32.to_le_bytes());
        for word in [offset, !0, *address, data.len() as u64, *size, 8] {
            bytes.extend(word.to_le_bytes());
        }
        offset += data.len() as u64;
    }
    for (_, data, _) in segments {
        bytes.extend_from_slice(data);
    }
    bytes
}

const ARM64: u16 = 183;

#[test]
fn lays_segments_out_by_physical_address() {
    let file = elf(ARM64, &[(0x1010, b"late", 0x20), (0x1000, b"early", 5)]);
    let flat = flatten(&file).unwrap();
    assert_eq!(flat.base, 0x1000);
    assert_eq!(&flat.bytes, b"early\0\0\0\0\0\0\0\0\0\0\0late");
    assert_eq!(flat.memory_size, 0x30);
}

#[test]
fn memory_without_data_is_not_in_the_file() {
    let file = elf(ARM64, &[(0, b"x", 1), (0x1000, b"", 0x2000)]);
    let flat = flatten(&file).unwrap();
    assert_eq!((flat.bytes.len(), flat.memory_size), (1, 0x3000));
}

#[test]
fn refuses_what_is_no_image() {
    let cases: [(&str, Vec<u8>); 7] = [
        ("no ELF", b"MZ".to_vec()),
        ("another machine", elf(62, &[(0, b"x", 1)])),
        ("nothing to load", elf(ARM64, &[])),
        ("overlap", elf(ARM64, &[(0, b"xxxx", 4), (3, b"y", 1)])),
        ("far apart", elf(ARM64, &[(0, b"x", 1), (1 << 40, b"y", 1)])),
        ("more data than memory", elf(ARM64, &[(0, b"xxxx", 1)])),
        ("wraps", elf(ARM64, &[(u64::MAX, b"", 2)])),
    ];
    for (what, file) in cases {
        assert!(flatten(&file).is_err(), "{what} was taken");
    }
    let mut cut = elf(ARM64, &[(0, b"xxxx", 4)]);
    cut.truncate(cut.len() - 2);
    assert!(flatten(&cut).is_err());
}

//! Tests of the encoding, against constants worked out by hand from the Arm ARM's tables. They
//! catch: a wrong bit in a field, a device mapped as memory, an executable device, a block at level
//! 0 or a reserved encoding taken for a mapping.

use super::*;

fn pa(raw: u64) -> Pa {
    Pa::new(raw).unwrap()
}

#[test]
fn encodings_are_the_manuals() {
    // Normal WB (0xf << 2), S2AP RW (0xc0), SH inner (0x300), AF (0x400), page (3) or block (1).
    assert_eq!(encode_leaf(3, pa(0x4000_1000), Attrs::RAM), 0x4000_17ff);
    assert_eq!(encode_leaf(2, pa(0x4020_0000), Attrs::RAM), 0x4020_07fd);
    assert_eq!(encode_leaf(1, pa(0x4000_0000), Attrs::RAM), 0x4000_07fd);
    // Read only: S2AP = 01.
    assert_eq!(encode_leaf(3, pa(0x1000), Attrs::RAM_READ_ONLY), 0x177f);
    // XN is bit 54.
    assert_eq!(encode_leaf(3, pa(0x1000), Attrs::BORROWED), 0x0040_0000_0000_17ff);
    // Device nGnRE is 0b0001; no shareability.
    assert_eq!(encode_leaf(3, pa(0x0900_0000), Attrs::DEVICE), 0x0040_0000_0900_04c7);
    assert_eq!(encode_table(pa(0x8000_2000)), 0x8000_2003);
    assert_eq!(encode_leaf(3, pa(0xffff_ffff_f000), Attrs::RAM), 0xffff_ffff_f7ff);
}

#[test]
fn what_is_encoded_decodes() {
    for attrs in [Attrs::RAM, Attrs::RAM_READ_ONLY, Attrs::BORROWED, Attrs::DEVICE] {
        for level in 1..=3 {
            let pa = pa(0x1234_4000_0000);
            assert_eq!(decode(level, encode_leaf(level, pa, attrs)), Entry::Leaf { pa, attrs });
        }
    }
    for level in 0..3 {
        let table = pa(0xffff_ffff_f000);
        assert_eq!(decode(level, encode_table(table)), Entry::Table(table));
    }
}

#[test]
fn reserved_encodings_fault() {
    let block = 0x4000_07fd;
    assert_eq!(decode(0, block), Entry::Invalid, "no block at level 0");
    assert_eq!(decode(3, block), Entry::Invalid, "no block at level 3");
    for level in 0..=3 {
        assert_eq!(decode(level, 0), Entry::Invalid);
        assert_eq!(decode(level, 0xffff_ffff_ffff_fffe), Entry::Invalid);
    }
}

#[test]
fn levels_fit_together() {
    for level in 0..3u8 {
        assert_eq!(level_pages(level), 512 * level_pages(level + 1));
        assert_eq!(level_shift(level), 9 + level_shift(level + 1));
    }
    assert_eq!((level_pages(3), level_shift(3)), (1, 12));
}

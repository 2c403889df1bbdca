//! Tests of the walk's shape, against a table made from the Arm ARM's. They catch: a level-0 start
//! on a CPU that has none, a wrong number of concatenated tables, T0SZ or SL0 that do not fit the
//! start level, an address beyond the space that still finds a descriptor.

use super::*;
use Concatenation::{Avoid, Prefer};

#[test]
fn start_levels_and_tables() {
    // (ipa bits, pa bits, concatenation) -> (start level, tables)
    let cases = [
        ((32, 48, Avoid), (1, 1)),
        ((36, 36, Prefer), (1, 1)),
        ((39, 40, Avoid), (1, 1)),
        ((40, 40, Avoid), (1, 2)),
        ((40, 48, Avoid), (0, 1)),
        ((40, 48, Prefer), (1, 2)),
        ((41, 42, Avoid), (1, 4)),
        ((42, 42, Prefer), (1, 8)),
        ((42, 44, Avoid), (0, 1)),
        ((43, 44, Prefer), (1, 16)),
        ((44, 44, Prefer), (0, 1)),
        ((48, 48, Avoid), (0, 1)),
        ((48, 52, Prefer), (0, 1)),
    ];
    for ((ipa, pa, way), (level, tables)) in cases {
        let geometry = Geometry::new(ipa, pa, way).unwrap();
        assert_eq!((geometry.start_level(), geometry.root_pages()), (level, tables), "{ipa} {pa}");
        assert_eq!(geometry.ipa_bits(), ipa);
        assert_eq!(geometry.end_page(), 1 << (ipa - 12));
    }
}

#[test]
fn impossible_shapes_are_refused() {
    for (ipa, pa) in [(31, 48), (0, 48), (49, 52), (40, 36), (48, 44), (255, 255)] {
        for way in [Avoid, Prefer] {
            assert_eq!(Geometry::new(ipa, pa, way), Err(Refusal::BadGeometry), "{ipa} {pa}");
        }
    }
}

#[test]
fn vtcr_fields() {
    let geometry = Geometry::new(40, 48, Avoid).unwrap();
    // RES1 (31), VS (19), PS = 0b101 (16), SH0 = 3 (12), ORGN0 = IRGN0 = 1, SL0 = 2, T0SZ = 24.
    assert_eq!(geometry.vtcr(0b101, true), 0x8000_0000 | 0xd_0000 | 0x3000 | 0x500 | 0x80 | 24);
    let geometry = Geometry::new(40, 40, Avoid).unwrap();
    assert_eq!(geometry.vtcr(0b010, false), 0x8000_0000 | 0x2_0000 | 0x3000 | 0x500 | 0x40 | 24);
    let geometry = Geometry::new(32, 48, Avoid).unwrap();
    assert_eq!(geometry.vtcr(0, false) & 0xff, 0x40 | 32);
}

#[test]
fn roots_are_aligned_to_all_their_tables() {
    let geometry = Geometry::new(42, 42, Avoid).unwrap();
    assert!(geometry.root_aligned(Pa::new(0x8000).unwrap()));
    assert!(!geometry.root_aligned(Pa::new(0x4000).unwrap()));
    let geometry = Geometry::new(39, 40, Avoid).unwrap();
    assert!(geometry.root_aligned(Pa::new(0x1000).unwrap()));
    assert!(!geometry.root_aligned(Pa::new(0x1800).unwrap()));
}

#[test]
fn root_index_stays_in_the_root() {
    let geometry = Geometry::new(41, 42, Avoid).unwrap();
    let index = |raw| geometry.root_index(Ipa::new(raw).unwrap());
    assert_eq!(index(0), Some((0, 0)));
    assert_eq!(index((1 << 39) - 1), Some((0, 511)));
    assert_eq!(index(1 << 39), Some((1, 0)));
    assert_eq!(index((1 << 41) - 1), Some((3, 511)));
    assert_eq!(index(1 << 41), None);
    let narrow = Geometry::new(32, 48, Avoid).unwrap();
    assert_eq!(narrow.root_index(Ipa::new((1 << 32) - 1).unwrap()), Some((0, 3)));
    assert_eq!(narrow.root_index(Ipa::new(1 << 32).unwrap()), None);
}

#[test]
fn a_walk_that_may_start_at_level_0_has_one_root() {
    for ipa_bits in 32..=48 {
        let geometry = Geometry::new(ipa_bits, 48, Avoid).unwrap();
        assert_eq!(geometry.root_pages(), 1, "{ipa_bits}");
    }
}

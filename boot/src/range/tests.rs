//! Ranges against a bitmap model.

use super::*;
use proptest::prelude::*;

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::from_bounds(start, end).unwrap()
}

#[test]
fn constructors_refuse_empty_reversed_and_wrapping() {
    assert_eq!(PhysRange::new(4096, 0), None);
    assert_eq!(PhysRange::new(u64::MAX, 2), None);
    assert_eq!(PhysRange::new(MAX_ADDRESS, 1), None);
    assert_eq!(PhysRange::from_bounds(2, 1), None);
    assert_eq!(PhysRange::new(MAX_ADDRESS - 1, 1).unwrap().end(), MAX_ADDRESS);
}

#[test]
fn rounding_inward_may_leave_nothing() {
    assert_eq!(range(1, 4096).page_inward(), None);
    assert_eq!(range(1, 8192).page_inward(), Some(range(4096, 8192)));
    assert_eq!(range(4097, 4098).page_outward(), range(4096, 8192));
    assert_eq!(range(MAX_ADDRESS - 1, MAX_ADDRESS).page_outward().end(), MAX_ADDRESS);
}

#[test]
fn without_leaves_both_sides() {
    let all = range(0x1000, 0x5000);
    assert_eq!(
        all.without(&range(0x2000, 0x3000)),
        (Some(range(0x1000, 0x2000)), Some(range(0x3000, 0x5000)))
    );
    assert_eq!(all.without(&range(0x0, 0x5000)), (None, None));
    assert_eq!(all.without(&range(0x5000, 0x6000)), (Some(all), None));
}

#[test]
fn a_full_set_keeps_what_it_had_and_still_joins() {
    let mut set = RangeSet::<2>::default();
    set.insert(range(0, 1)).unwrap();
    set.insert(range(4, 5)).unwrap();
    let before = set;
    assert_eq!(set.insert(range(2, 3)), Err(Full));
    assert_eq!(set, before);
    set.insert(range(1, 4)).unwrap();
    assert_eq!(set.as_slice(), &[range(0, 5)]);
}

proptest! {
    /// Whatever is inserted in whatever order, the set is the union, and canonical.
    #[test]
    fn a_set_is_the_union_of_what_went_in(input in prop::collection::vec((0u64..64, 1u64..16), 0..24)) {
        let mut set = RangeSet::<64>::default();
        let mut model = [false; 96];
        for (start, size) in input {
            set.insert(PhysRange::new(start, size).unwrap()).unwrap();
            for cell in &mut model[start as usize..(start + size) as usize] {
                *cell = true;
            }
        }
        for (at, expected) in model.iter().enumerate() {
            let at = at as u64;
            prop_assert_eq!(set.overlaps(&range(at, at + 1)), *expected);
        }
        prop_assert_eq!(set.total(), model.iter().filter(|held| **held).count() as u64);
        for pair in set.as_slice().windows(2) {
            prop_assert!(pair[0].end() < pair[1].start());
        }
    }
}

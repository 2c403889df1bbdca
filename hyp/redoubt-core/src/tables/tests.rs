//! Tests of the table pool. They catch: a table handed out twice or with its old contents, a count
//! that drifts, a link followed out of a page that was given again.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::fake::FakeHw;
use crate::stage2::descriptor::ENTRIES;

fn page(raw: u64) -> Pfn {
    Pfn::new(raw).unwrap()
}

#[test]
fn an_empty_pool_has_nothing() {
    let mut hw = FakeHw::default();
    let mut pool = TablePool::EMPTY;
    assert_eq!((pool.free(), pool.pop(&mut hw)), (0, None));
}

#[test]
fn page_zero_is_a_page() {
    let mut hw = FakeHw::default();
    let mut pool = TablePool::EMPTY;
    pool.push(&mut hw, page(0));
    pool.push(&mut hw, page(7));
    assert_eq!(pool.pop(&mut hw), Some(page(7).base()));
    assert_eq!(pool.pop(&mut hw), Some(page(0).base()));
    assert_eq!(pool.pop(&mut hw), None);
}

#[test]
fn fresh_pages_are_handed_out_once_and_zeroed() {
    let mut hw = FakeHw::default();
    let mut pool = TablePool::from_range(PageRange::new(page(3), 2).unwrap());
    assert_eq!(pool.free(), 2);
    for wanted in [3, 4] {
        let table = pool.pop(&mut hw).unwrap();
        assert_eq!(table, page(wanted).base());
        assert!((0..ENTRIES).all(|index| hw.read(table, index) == 0));
    }
    assert_eq!(pool.pop(&mut hw), None);
}

proptest! {
    /// Against a set: what comes out was put in, is zeroed, and is out only once.
    #[test]
    fn pool_is_a_set(steps in prop::collection::vec((any::<bool>(), 0u64..16), 0..100)) {
        let mut hw = FakeHw::default();
        let mut pool = TablePool::from_range(PageRange::new(page(100), 3).unwrap());
        let mut inside: BTreeSet<u64> = (100..103).collect();
        for (push, number) in steps {
            if push {
                if inside.insert(number) {
                    pool.push(&mut hw, page(number));
                }
            } else if let Some(table) = pool.pop(&mut hw) {
                prop_assert!(inside.remove(&table.pfn().raw()));
                prop_assert!((0..ENTRIES).all(|index| hw.read(table, index) == 0));
                // What its user leaves in it does no harm.
                hw.write(table, 0, 0x4141_4141_4141_4141);
            } else {
                prop_assert!(inside.is_empty());
            }
            prop_assert_eq!(pool.free(), inside.len() as u64);
        }
    }
}

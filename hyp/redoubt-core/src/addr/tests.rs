//! Tests of addresses and ranges. They catch: wrap-around in a range built from untrusted numbers,
//! an unaligned byte range rounded silently, an address wider than a descriptor's field, an
//! off-by-one at either end of a range.

use std::vec::Vec;

use super::*;

const LAST_PFN: u64 = (1 << 36) - 1;

#[test]
fn addresses_have_48_bits() {
    assert_eq!(Pa::new(ADDRESS_LIMIT - 1).map(Pa::raw), Some(ADDRESS_LIMIT - 1));
    assert_eq!(Pa::new(ADDRESS_LIMIT), None);
    assert_eq!(Ipa::new(ADDRESS_LIMIT - 1).map(Ipa::raw), Some(ADDRESS_LIMIT - 1));
    assert_eq!(Ipa::new(ADDRESS_LIMIT), None);
    assert_eq!(Ipa::new(u64::MAX), None);
    assert_eq!(Pfn::new(LAST_PFN).map(|page| page.base().raw()), Some(ADDRESS_LIMIT - PAGE_SIZE));
    assert_eq!(Pfn::new(LAST_PFN + 1), None);
    assert_eq!(Ipa::from_page_number(LAST_PFN + 1), None);
}

#[test]
fn additions_are_checked() {
    let last = Pa::new(ADDRESS_LIMIT - 1).unwrap();
    assert_eq!(last.checked_add(0), Some(last));
    assert_eq!(last.checked_add(1), None);
    assert_eq!(last.checked_add(u64::MAX), None);
    assert_eq!(HypVa::new(u64::MAX).checked_add(1), None);
    assert_eq!(HypVa::new(1).checked_add(2), Some(HypVa::new(3)));
}

#[test]
fn pages_and_offsets() {
    let pa = Pa::new(0x4000_1234).unwrap();
    assert!(!pa.is_page_aligned());
    assert_eq!(pa.pfn().raw(), 0x4_0001);
    assert_eq!(pa.pfn().base().raw(), 0x4000_1000);
    assert_eq!(pa.pfn().identity_ipa().raw(), 0x4000_1000);
    let ipa = Ipa::new(0x1fff).unwrap();
    assert_eq!((ipa.page_number(), ipa.page_base().raw()), (1, 0x1000));
    assert!(ipa.page_base().is_page_aligned() && !ipa.is_page_aligned());
    assert!(HypVa::new(0x2000).is_page_aligned() && !HypVa::new(0x2001).is_page_aligned());
}

#[test]
fn hostile_ranges_are_refused() {
    let first = Pfn::new(5).unwrap();
    for (pages, wanted) in [
        (0, Refusal::Empty),
        (u64::MAX, Refusal::Overflow),
        (u64::MAX - 4, Refusal::Overflow),
        (1 << 52, Refusal::Overflow),
        (LAST_PFN - 3, Refusal::Overflow),
    ] {
        assert_eq!(PageRange::new(first, pages), Err(wanted));
        assert_eq!(IpaRange::new(Ipa::new(0x5000).unwrap(), pages), Err(wanted));
    }
    assert!(PageRange::new(first, LAST_PFN - 4).is_ok());
    assert_eq!(IpaRange::new(Ipa::new(0x5001).unwrap(), 1), Err(Refusal::Misaligned));
}

#[test]
fn byte_ranges_are_whole_pages() {
    let range = PageRange::from_bytes(0x4000_0000, 0x20_0000).unwrap();
    assert_eq!((range.start().raw(), range.pages(), range.bytes()), (0x4_0000, 512, 0x20_0000));
    assert_eq!(PageRange::from_bytes(0x4000_0800, 0x1000), Err(Refusal::Misaligned));
    assert_eq!(PageRange::from_bytes(0x4000_0000, 0x1001), Err(Refusal::Misaligned));
    assert_eq!(PageRange::from_bytes(0x4000_0000, 0), Err(Refusal::Empty));
    assert_eq!(PageRange::from_bytes(!0xfff, 0x1000), Err(Refusal::Overflow));
    assert_eq!(
        PageRange::from_bytes(ADDRESS_LIMIT - PAGE_SIZE, 2 * PAGE_SIZE),
        Err(Refusal::Overflow)
    );
}

#[test]
fn ends_of_ranges() {
    let range = PageRange::new(Pfn::new(10).unwrap(), 3).unwrap();
    let page = |raw| Pfn::new(raw).unwrap();
    let contained: Vec<u64> = (8..16).filter(|raw| range.contains(page(*raw))).collect();
    assert_eq!(contained, [10, 11, 12]);
    assert_eq!(range.iter().map(Pfn::raw).collect::<Vec<_>>(), [10, 11, 12]);
    assert_eq!(range.page(2), Some(page(12)));
    assert_eq!(range.page(3), None);
    assert_eq!(range.end(), 13);
    assert_eq!(range.start_pa().raw(), 10 << 12);
    let other = |first, pages| PageRange::new(page(first), pages).unwrap();
    assert!(range.overlaps(other(12, 1)) && range.overlaps(other(0, 11)));
    assert!(!range.overlaps(other(13, 1)) && !range.overlaps(other(0, 10)));
    assert!(range.covers(other(10, 3)) && range.covers(PageRange::one(page(11))));
    assert!(!range.covers(other(10, 4)) && !range.covers(other(9, 2)));
    let ipas = range.identity_ipas();
    assert_eq!((ipas.start().raw(), ipas.pages(), ipas.end()), (10 << 12, 3, 13));
    assert_eq!(ipas.iter().map(Ipa::page_number).collect::<Vec<_>>(), [10, 11, 12]);
}

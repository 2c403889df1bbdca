//! Addresses and page ranges.
//!
//! Decides what a well-formed address is, once, in the constructor: physical and
//! intermediate-physical addresses have at most 48 bits (the output address field of a VMSAv8-64
//! descriptor with the 4 KiB granule, without FEAT_LPA2; Arm ARM D8.3). The types cannot be mixed
//! up, hold private fields, and offer checked arithmetic only, so no later code has to think of
//! wrap-around. Trusts nothing.

use crate::refusal::Refusal;

/// Holds the binary logarithm of the page size.
pub const PAGE_SHIFT: u32 = 12;
/// Holds the size of a page, in bytes.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;
/// Holds the number of bits of the widest physical or intermediate-physical address.
pub const ADDRESS_BITS: u32 = 48;
/// Holds the first address that is too wide.
pub const ADDRESS_LIMIT: u64 = 1 << ADDRESS_BITS;
/// Holds the first page number that is too wide.
const PFN_LIMIT: u64 = ADDRESS_LIMIT >> PAGE_SHIFT;
const OFFSET_MASK: u64 = PAGE_SIZE - 1;

/// A physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pa(u64);

/// An intermediate-physical address: what a stage-2 translation takes as input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipa(u64);

/// A virtual address of EL2's own translation regime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HypVa(u64);

/// A physical page, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pfn(u64);

impl Pa {
    /// Checks a raw physical address.
    pub const fn new(raw: u64) -> Option<Self> {
        if raw < ADDRESS_LIMIT { Some(Self(raw)) } else { None }
    }

    /// Returns the raw address.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Returns the page that holds the address.
    pub const fn pfn(self) -> Pfn {
        Pfn(self.0 >> PAGE_SHIFT)
    }

    /// Tells whether the address starts a page.
    #[cfg(test)]
    pub const fn is_page_aligned(self) -> bool {
        self.0 & OFFSET_MASK == 0
    }

    /// Adds a number of bytes.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(raw) => Self::new(raw),
            None => None,
        }
    }
}

impl Ipa {
    /// Checks a raw intermediate-physical address.
    pub const fn new(raw: u64) -> Option<Self> {
        if raw < ADDRESS_LIMIT { Some(Self(raw)) } else { None }
    }

    /// Makes the address of an IPA page number.
    pub const fn from_page_number(number: u64) -> Option<Self> {
        if number < PFN_LIMIT { Some(Self(number << PAGE_SHIFT)) } else { None }
    }

    /// Returns the raw address.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Returns the number of the page that holds the address.
    pub const fn page_number(self) -> u64 {
        self.0 >> PAGE_SHIFT
    }

    /// Returns the start of the page that holds the address.
    pub const fn page_base(self) -> Self {
        Self(self.0 & !OFFSET_MASK)
    }

    /// Tells whether the address starts a page.
    pub const fn is_page_aligned(self) -> bool {
        self.0 & OFFSET_MASK == 0
    }
}

impl HypVa {
    /// Takes a raw EL2 virtual address. Every value is an address; what is mapped there is the
    /// table's business.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// Returns the raw address.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Tells whether the address starts a page.
    pub const fn is_page_aligned(self) -> bool {
        self.0 & OFFSET_MASK == 0
    }

    /// Adds a number of bytes.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }
}

impl Pfn {
    /// Checks a raw page number.
    pub const fn new(raw: u64) -> Option<Self> {
        if raw < PFN_LIMIT { Some(Self(raw)) } else { None }
    }

    /// Returns the raw page number.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Returns the physical address of the page's first byte.
    pub const fn base(self) -> Pa {
        Pa(self.0 << PAGE_SHIFT)
    }

    /// Returns the address at which an identity stage-2 map shows the page.
    #[cfg(test)]
    pub const fn identity_ipa(self) -> Ipa {
        Ipa(self.0 << PAGE_SHIFT)
    }
}

/// A non-empty run of physical pages that ends within the widest address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageRange {
    first: u64,
    pages: u64,
}

impl PageRange {
    /// Checks a run of `pages` pages that starts at `first`.
    pub const fn new(first: Pfn, pages: u64) -> Result<Self, Refusal> {
        match check_run(first.0, pages) {
            Ok(()) => Ok(Self { first: first.0, pages }),
            Err(refusal) => Err(refusal),
        }
    }

    /// Makes the range of one page.
    pub const fn one(page: Pfn) -> Self {
        Self { first: page.0, pages: 1 }
    }

    /// Checks a run given in raw bytes, as an untrusted caller or a device tree states it.
    pub const fn from_bytes(base: u64, bytes: u64) -> Result<Self, Refusal> {
        if base & OFFSET_MASK != 0 || bytes & OFFSET_MASK != 0 {
            return Err(Refusal::Misaligned);
        }
        match Pfn::new(base >> PAGE_SHIFT) {
            Some(first) => Self::new(first, bytes >> PAGE_SHIFT),
            None => Err(Refusal::Overflow),
        }
    }

    /// Returns the first page.
    pub const fn start(self) -> Pfn {
        Pfn(self.first)
    }

    /// Returns the address of the first byte.
    pub const fn start_pa(self) -> Pa {
        Pa(self.first << PAGE_SHIFT)
    }

    /// Returns the number of the page behind the last one.
    pub const fn end(self) -> u64 {
        self.first.saturating_add(self.pages)
    }

    /// Returns the number of pages, at least 1.
    pub const fn pages(self) -> u64 {
        self.pages
    }

    /// Returns the size in bytes.
    pub const fn bytes(self) -> u64 {
        self.pages << PAGE_SHIFT
    }

    /// Tells whether `page` is one of the pages.
    #[cfg(any(test, feature = "invariants"))]
    pub const fn contains(self, page: Pfn) -> bool {
        page.0 >= self.first && page.0 < self.end()
    }

    /// Tells whether all of `other` lies in this range.
    pub const fn covers(self, other: Self) -> bool {
        other.first >= self.first && other.end() <= self.end()
    }

    /// Tells whether the two ranges have a page in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.first < other.end() && other.first < self.end()
    }

    /// Returns the page at position `index`.
    pub const fn page(self, index: u64) -> Option<Pfn> {
        if index < self.pages { Some(Pfn(self.first.saturating_add(index))) } else { None }
    }

    /// Lists the pages in rising order.
    pub fn iter(self) -> impl Iterator<Item = Pfn> {
        (self.first..self.end()).map(Pfn)
    }

    /// Returns the addresses at which an identity stage-2 map shows the range.
    pub const fn identity_ipas(self) -> IpaRange {
        IpaRange { first: self.first, pages: self.pages }
    }
}

/// A non-empty run of pages of an intermediate-physical address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpaRange {
    first: u64,
    pages: u64,
}

impl IpaRange {
    /// Checks a run of `pages` pages that starts at `start`.
    pub const fn new(start: Ipa, pages: u64) -> Result<Self, Refusal> {
        if !start.is_page_aligned() {
            return Err(Refusal::Misaligned);
        }
        match check_run(start.page_number(), pages) {
            Ok(()) => Ok(Self { first: start.page_number(), pages }),
            Err(refusal) => Err(refusal),
        }
    }

    /// Makes the range of the page that holds an address.
    pub const fn one(ipa: Ipa) -> Self {
        Self { first: ipa.page_number(), pages: 1 }
    }

    /// Returns the address of the first byte.
    pub const fn start(self) -> Ipa {
        Ipa(self.first << PAGE_SHIFT)
    }

    /// Returns the number of the page behind the last one.
    pub const fn end(self) -> u64 {
        self.first.saturating_add(self.pages)
    }

    /// Returns the number of pages, at least 1.
    pub const fn pages(self) -> u64 {
        self.pages
    }

    /// Lists the addresses of the pages in rising order.
    pub fn iter(self) -> impl Iterator<Item = Ipa> {
        (self.first..self.end()).map(|number| Ipa(number << PAGE_SHIFT))
    }
}

/// Checks that `pages` pages from page number `first` on exist and are at least one.
const fn check_run(first: u64, pages: u64) -> Result<(), Refusal> {
    if pages == 0 {
        return Err(Refusal::Empty);
    }
    match first.checked_add(pages) {
        Some(end) if end <= PFN_LIMIT => Ok(()),
        Some(_) | None => Err(Refusal::Overflow),
    }
}

#[cfg(test)]
mod tests;

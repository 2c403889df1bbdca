//! Cuts ranges at the boundaries that translation tables have.
//!
//! Decides which blocks a mapping may use: the largest that both addresses are aligned to, that the
//! caller allows, and that the rest of the range fills.

use crate::addr::{Ipa, IpaRange, Pfn};
use crate::stage2::descriptor::{BLOCK_PAGES, LEAF_LEVEL, level_pages};

/// Says how large the blocks of a mapping may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockSize {
    /// 4 KiB pages only.
    Page,
    /// Up to 2 MiB.
    Mega2,
    /// Up to 1 GiB.
    Giga1,
}

/// A piece of a mapping: one block, or pages of one level-3 table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub ipa: Ipa,
    pub first: Pfn,
    pub pages: u64,
    pub level: u8,
}

/// A piece of a range within one 2 MiB window of input addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) ipa: Ipa,
    pub(crate) pages: u64,
}

/// Cuts a mapping into segments, in rising order.
pub(super) fn block_segments(
    ipas: IpaRange,
    first: Pfn,
    largest: BlockSize,
) -> impl Iterator<Item = Segment> {
    let mut ipa = ipas.start().page_number();
    let mut page = first.raw();
    core::iter::from_fn(move || {
        let rest = ipas.end().checked_sub(ipa).filter(|rest| *rest > 0)?;
        let fits = |level: u8| {
            let size = level_pages(level);
            rest >= size && (ipa | page) & size.wrapping_sub(1) == 0
        };
        let (level, pages) = match largest {
            BlockSize::Giga1 if fits(1) => (1, level_pages(1)),
            BlockSize::Giga1 | BlockSize::Mega2 if fits(2) => (2, level_pages(2)),
            BlockSize::Giga1 | BlockSize::Mega2 | BlockSize::Page => {
                (LEAF_LEVEL, in_window(ipa).min(rest))
            }
        };
        let segment =
            Segment { ipa: Ipa::from_page_number(ipa)?, first: Pfn::new(page)?, pages, level };
        ipa = ipa.checked_add(pages)?;
        page = page.checked_add(pages)?;
        Some(segment)
    })
}

/// Cuts a range into windows, in rising order.
pub(crate) fn windows(ipas: IpaRange) -> impl Iterator<Item = Window> {
    let mut ipa = ipas.start().page_number();
    core::iter::from_fn(move || {
        let rest = ipas.end().checked_sub(ipa).filter(|rest| *rest > 0)?;
        let pages = in_window(ipa).min(rest);
        let window = Window { ipa: Ipa::from_page_number(ipa)?, pages };
        ipa = ipa.checked_add(pages)?;
        Some(window)
    })
}

/// Returns the number of pages from page number `ipa` to the end of its window.
const fn in_window(ipa: u64) -> u64 {
    BLOCK_PAGES.saturating_sub(ipa % BLOCK_PAGES)
}

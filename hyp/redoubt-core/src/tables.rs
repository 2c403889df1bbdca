//! Pools of pages for translation tables.
//!
//! Decides where a new table comes from: a free list threaded through the pages themselves, which
//! EL2 owns and nobody else can reach, so a hostile host cannot forge a link, an order or a count.
//! There is one pool for the host's stage 2, filled at boot for the worst case, and one for each
//! VM, filled with donated pages.
//!
//! Invariant: a page is handed out zeroed, whatever it held before, and at most once.
//! Trusts [`TableMemory`] and that every page pushed is EL2's and in no other use.

use crate::addr::{Pa, PageRange, Pfn};
use crate::hw::TableMemory;

/// Marks a link as present: page 0 is a page too.
const LINK_PRESENT: u64 = 1;

/// Free translation-table pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TablePool {
    head: Option<Pa>,
    linked: u64,
    fresh: Option<PageRange>,
}

impl TablePool {
    /// Holds no table.
    pub const EMPTY: Self = Self { head: None, linked: 0, fresh: None };

    /// Makes a pool of a whole range of EL2's pages, none of which needs to be zeroed or touched
    /// before it is used.
    pub const fn from_range(range: PageRange) -> Self {
        Self { fresh: Some(range), ..Self::EMPTY }
    }

    /// Returns how many tables the pool can still hand out.
    pub const fn free(&self) -> u64 {
        let fresh = match self.fresh {
            Some(range) => range.pages(),
            None => 0,
        };
        self.linked.saturating_add(fresh)
    }

    /// Adds one page of EL2's.
    pub fn push(&mut self, hw: &mut impl TableMemory, table: Pfn) {
        let link = self.head.map_or(0, |next| next.raw() | LINK_PRESENT);
        hw.write(table.base(), 0, link);
        self.head = Some(table.base());
        self.linked = self.linked.saturating_add(1);
    }

    /// Hands out a zeroed table.
    pub fn pop(&mut self, hw: &mut impl TableMemory) -> Option<Pa> {
        let table = match self.head {
            Some(table) => {
                let link = hw.read(table, 0);
                self.head =
                    if link & LINK_PRESENT == 0 { None } else { Pa::new(link & !LINK_PRESENT) };
                self.linked = self.linked.saturating_sub(1);
                table
            }
            None => {
                let range = self.fresh?;
                let rest = range.pages().checked_sub(1)?;
                self.fresh = range.page(1).and_then(|next| PageRange::new(next, rest).ok());
                range.start_pa()
            }
        };
        hw.zero(table);
        Some(table)
    }
}

#[cfg(test)]
mod tests;

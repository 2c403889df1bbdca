//! A recording fake of the hardware that also judges: the test double behind all memory tests.
//!
//! Keeps tables as they would lie in RAM (pages that nobody zeroed read as garbage that looks
//! valid), logs every step, and holds a model of what TLBs may still contain. It panics, so fails
//! the test, at the step that is wrong:
//! - a valid descriptor of a live table is replaced by another valid one (no break);
//! - a new descriptor is stored, a page is scrubbed or cleaned, or a table is reused, while a TLB
//!   may still hold what was there before (missing, early or misdirected TLBI, missing barrier);
//! - a page is zeroed while the host can still write to it;
//! - a page is mapped before the cache maintenance of its contents is complete;
//! - a table is linked before its contents are visible to walkers;
//! - an invalidation outside `enter`/`leave`, or `enter` without `leave`.
//!
//! [`smmu`] does the same for devices.

pub mod smmu;

use std::collections::{HashMap, HashSet};
use std::vec::Vec;

use crate::addr::{Ipa, Pa, Pfn};
use crate::hw::{Breach, FailStop, PageScrub, RegisterFrame, Stage2Context, TableMemory, TlbOps};
use crate::stage2::descriptor::{ENTRIES, Entry, decode, level_pages};

/// One step, as the hardware would see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A store of a descriptor.
    Write(Pa, usize, u64),
    /// A table was zeroed.
    Zero(Pa),
    /// `DSB ISHST`.
    DsbIshst,
    /// `DSB ISH`.
    DsbIsh,
    /// `ISB`.
    Isb,
    /// The context with this VMID was entered.
    Enter(u16),
    /// The context was left.
    Leave,
    /// `TLBI IPAS2E1IS`.
    TlbiIpa(u64, Option<u8>),
    /// `TLBI VMALLE1IS`.
    TlbiStage1,
    /// `TLBI VMALLS12E1IS`.
    TlbiAll,
    /// A page was scrubbed.
    Scrub(Pfn),
    /// A page was cleaned.
    Clean(Pfn),
    /// Cache maintenance was completed.
    Settle,
    /// A register of a device was written.
    Register(RegisterFrame, u32, u64),
    /// A word of a table was cleaned.
    CleanEntry(Pa, usize),
    /// `DSB SY`.
    DsbSy,
    /// An SMMU carried out a command.
    Command(usize, [u64; 2]),
}

/// How far a removed descriptor has come on its way out of the TLBs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Written,
    Published,
    IpaIssued,
    IpaDone,
    AllIssued,
    AllDone,
}

/// A descriptor that a TLB may still hold.
#[derive(Clone, Copy, Debug)]
struct Stale {
    vmid: u16,
    ipa_page: u64,
    pages: u64,
    level: u8,
    entry: Entry,
    phase: Phase,
}

/// A table that walkers can reach.
#[derive(Clone, Copy, Debug)]
struct Live {
    vmid: u16,
    level: u8,
    ipa_page: u64,
    /// A start-level table, which a register points to and not a descriptor.
    root: bool,
}

/// What a page holds, as far as secrets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Whatever the host left there.
    Host,
    /// Zeroes, visible to every observer.
    Zero,
    /// A secret of the VM in this slot.
    Secret(u8),
}

/// The fake.
#[derive(Clone, Default)]
pub struct FakeHw {
    tables: HashMap<u64, Vec<u64>>,
    live: HashMap<u64, Live>,
    stale: Vec<Stale>,
    unpublished: HashSet<u64>,
    current: Option<u16>,
    contents: HashMap<u64, Content>,
    /// Pages scrubbed or cleaned since the last `settle`.
    unsettled: bool,
    /// Devices, and the SMMUs in front of them.
    pub devices: smmu::Devices,
    /// Devices see what CPUs have stored at once, and need no cleaning.
    pub snoops: bool,
    /// Every step since the last [`take_log`](Self::take_log).
    pub log: Vec<Step>,
}

/// What a page that nobody zeroed reads as: valid descriptors that lead astray.
const GARBAGE: u64 = 0x00de_adbe_e000_0fff & 0x0000_ffff_ffff_ffff;

impl FakeHw {
    /// Says that the tables from `root` on are the start level of a context. They are zeroed.
    pub fn adopt_root(&mut self, context: Stage2Context, start_level: u8, tables: u64) {
        for table in 0..tables {
            let page = context.root.raw() + table * 4096;
            self.tables.insert(page, std::vec![0; ENTRIES]);
            let span = level_pages(start_level) * ENTRIES as u64;
            let live =
                Live { vmid: context.vmid, level: start_level, ipa_page: table * span, root: true };
            self.live.insert(page, live);
        }
    }

    /// Takes the log of steps.
    pub fn take_log(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.log)
    }

    /// Returns what a page holds.
    pub fn content(&self, page: Pfn) -> Content {
        self.contents.get(&page.raw()).copied().unwrap_or(Content::Host)
    }

    /// Puts something in a page.
    pub fn fill(&mut self, page: Pfn, content: Content) {
        self.contents.insert(page.raw(), content);
    }

    /// Returns all tables, for a comparison.
    pub fn snapshot(&self) -> HashMap<u64, Vec<u64>> {
        self.tables.clone()
    }

    /// Checks that nothing is left half done.
    pub fn assert_quiet(&self) {
        assert!(self.stale.is_empty(), "left in a TLB: {:?}", self.stale);
        assert!(
            !self.unpublished.iter().any(|table| self.live.contains_key(table)),
            "descriptors not visible to walkers"
        );
        assert_eq!(self.current, None, "context not left");
        assert!(!self.unsettled, "cache maintenance not completed");
        self.assert_devices_quiet();
    }

    fn page(&mut self, table: Pa) -> &mut Vec<u64> {
        assert!(table.is_page_aligned());
        self.tables.entry(table.raw()).or_insert_with(|| std::vec![GARBAGE; ENTRIES])
    }

    /// Makes a table, and what hangs below it, reachable.
    fn link(&mut self, table: Pa, live: Live) {
        let mut todo = std::vec![(table, Live { root: false, ..live })];
        while let Some((table, live)) = todo.pop() {
            let published = !self.unpublished.contains(&table.raw());
            assert!(published, "table {table:x?} linked before it is visible");
            assert!(self.live.insert(table.raw(), live).is_none(), "table {table:x?} linked twice");
            for (index, raw) in self.page(table).clone().into_iter().enumerate() {
                if let Entry::Table(next) = decode(live.level, raw) {
                    let ipa_page = live.ipa_page + index as u64 * level_pages(live.level);
                    todo.push((next, Live { level: live.level + 1, ipa_page, ..live }));
                }
            }
        }
    }

    /// Makes what was reachable through a descriptor stale.
    fn unlink(&mut self, entry: Entry, place: Live) {
        let mut todo = std::vec![(entry, place)];
        while let Some((entry, place)) = todo.pop() {
            if entry == Entry::Invalid {
                continue;
            }
            self.stale.push(Stale {
                vmid: place.vmid,
                ipa_page: place.ipa_page,
                pages: level_pages(place.level),
                level: place.level,
                entry,
                phase: Phase::Written,
            });
            if let Entry::Table(table) = entry {
                self.live.remove(&table.raw());
                for (index, raw) in self.page(table).clone().into_iter().enumerate() {
                    let level = place.level + 1;
                    let ipa_page = place.ipa_page + index as u64 * level_pages(level);
                    todo.push((decode(level, raw), Live { level, ipa_page, ..place }));
                }
            }
        }
    }

    fn assert_not_stale_table(&self, table: Pa) {
        let stale = self.stale.iter().find(|stale| stale.entry == Entry::Table(table));
        assert!(stale.is_none(), "table reused while a walker may hold it: {stale:?}");
    }

    fn assert_not_stale_page(&mut self, page: Pfn) {
        let stale = self.stale.iter().find(|stale| match stale.entry {
            Entry::Leaf { pa, .. } => {
                let first = pa.pfn().raw();
                page.raw() >= first && page.raw() < first + stale.pages
            }
            Entry::Table(table) => table.pfn() == page,
            Entry::Invalid => false,
        });
        assert!(stale.is_none(), "page touched while a TLB may reach it: {stale:?}");
        if let Some(live) = self.live.get(&page.base().raw()).copied() {
            // A start level goes when nothing hangs from it and nothing of its context is cached.
            let empty = self.page(page.base()).iter().all(|raw| *raw == 0);
            let flushed = !self.stale.iter().any(|stale| stale.vmid == live.vmid);
            assert!(live.root && empty && flushed, "live table touched: {live:?}");
            self.live.remove(&page.base().raw());
        }
    }

    /// Checks that the host (VMID 0, identity map) cannot write to a page that is being zeroed: it
    /// could put back what it wants the next owner to see.
    fn assert_not_the_hosts(&self, page: Pfn) {
        for (table, live) in self.live.iter().filter(|(_, live)| live.vmid == 0) {
            let Some(offset) = page.raw().checked_sub(live.ipa_page) else {
                continue;
            };
            let index = offset / level_pages(live.level);
            let raw = self.tables[table].get(index as usize).copied().unwrap_or(0);
            let mapped = matches!(decode(live.level, raw), Entry::Leaf { .. });
            assert!(!mapped, "page {page:x?} zeroed while the host reaches it");
        }
    }

    fn advance(&mut self, from: Phase, to: Phase, which: impl Fn(&Stale) -> bool) {
        let vmid = self.current.expect("invalidation outside a context");
        for stale in &mut self.stale {
            if stale.vmid == vmid && stale.phase == from && which(stale) {
                stale.phase = to;
            }
        }
    }
}

impl TableMemory for FakeHw {
    fn read(&mut self, table: Pa, index: usize) -> u64 {
        assert!(index < ENTRIES);
        self.page(table)[index]
    }

    fn write(&mut self, table: Pa, index: usize, descriptor: u64) {
        assert!(index < ENTRIES);
        self.log.push(Step::Write(table, index, descriptor));
        self.assert_not_stale_table(table);
        let old = std::mem::replace(&mut self.page(table)[index], descriptor);
        self.device_snoops(table, index, old, descriptor);
        self.unpublished.insert(table.raw());
        let Some(live) = self.live.get(&table.raw()).copied() else {
            return;
        };
        let ipa_page = live.ipa_page + index as u64 * level_pages(live.level);
        let place = Live { ipa_page, ..live };
        let (old, new) = (decode(live.level, old), decode(live.level, descriptor));
        if old == new {
            return;
        }
        if new == Entry::Invalid {
            self.unlink(old, place);
            if let (0, Entry::Leaf { pa, .. }) = (live.vmid, old) {
                self.host_loses(pa.pfn().raw(), level_pages(live.level));
            }
            return;
        }
        if let Entry::Leaf { pa, .. } = new {
            self.assert_no_device_tlb(pa.pfn().raw(), level_pages(live.level));
        }
        assert_eq!(old, Entry::Invalid, "no break before make at {place:x?}");
        let settled = !self.unsettled || matches!(new, Entry::Table(_));
        assert!(settled, "page mapped before cache maintenance is complete");
        let pages = level_pages(live.level);
        let stale = self.stale.iter().find(|stale| {
            stale.vmid == live.vmid
                && stale.ipa_page < ipa_page + pages
                && ipa_page < stale.ipa_page + stale.pages
        });
        assert!(stale.is_none(), "made before the break is complete: {stale:x?}");
        if let Entry::Table(next) = new {
            self.link(next, Live { level: live.level + 1, ipa_page, ..live });
        }
    }

    fn zero(&mut self, table: Pa) {
        self.log.push(Step::Zero(table));
        self.assert_not_stale_table(table);
        assert!(!self.live.contains_key(&table.raw()), "live table zeroed");
        for index in 0..ENTRIES {
            let old = std::mem::replace(&mut self.page(table)[index], 0);
            self.device_snoops(table, index, old, 0);
        }
        self.unpublished.insert(table.raw());
    }
}

impl TlbOps for FakeHw {
    fn dsb_ishst(&mut self) {
        self.log.push(Step::DsbIshst);
        self.unpublished.clear();
        for stale in &mut self.stale {
            stale.phase = stale.phase.max(Phase::Published);
        }
    }

    fn dsb_ish(&mut self) {
        self.log.push(Step::DsbIsh);
        for stale in &mut self.stale {
            stale.phase = match stale.phase {
                Phase::IpaIssued => Phase::IpaDone,
                Phase::AllIssued => Phase::AllDone,
                other => other,
            };
        }
    }

    fn isb(&mut self) {
        self.log.push(Step::Isb);
        self.stale.retain(|stale| stale.phase != Phase::AllDone);
    }

    fn enter(&mut self, context: Stage2Context) {
        self.log.push(Step::Enter(context.vmid));
        assert_eq!(self.current.replace(context.vmid), None, "a context is entered already");
    }

    fn leave(&mut self) {
        self.log.push(Step::Leave);
        assert!(self.current.take().is_some(), "no context is entered");
    }

    fn invalidate_ipa(&mut self, ipa: Ipa, level: Option<u8>) {
        self.log.push(Step::TlbiIpa(ipa.raw(), level));
        let page = ipa.page_number();
        // A level hint removes leaves of that level only, and no cached table descriptor.
        self.advance(Phase::Published, Phase::IpaIssued, |stale| {
            let covered = page >= stale.ipa_page && page < stale.ipa_page + stale.pages;
            let hinted = match level {
                None => true,
                Some(level) => level == stale.level && matches!(stale.entry, Entry::Leaf { .. }),
            };
            covered && hinted
        });
    }

    fn invalidate_stage1(&mut self) {
        self.log.push(Step::TlbiStage1);
        self.advance(Phase::IpaDone, Phase::AllIssued, |_| true);
    }

    fn invalidate_all(&mut self) {
        self.log.push(Step::TlbiAll);
        self.advance(Phase::Published, Phase::AllIssued, |_| true);
    }
}

impl PageScrub for FakeHw {
    fn scrub(&mut self, page: Pfn) {
        self.log.push(Step::Scrub(page));
        self.assert_not_stale_page(page);
        self.assert_not_the_hosts(page);
        self.device_treats(page, true);
        self.contents.insert(page.raw(), Content::Zero);
        // A scrub zeroes what was a table, too.
        self.tables.insert(page.base().raw(), std::vec![0; ENTRIES]);
        self.unsettled = true;
    }

    fn clean(&mut self, page: Pfn) {
        self.log.push(Step::Clean(page));
        self.assert_not_stale_page(page);
        self.device_treats(page, false);
        self.unsettled = true;
    }

    fn settle(&mut self) {
        self.log.push(Step::Settle);
        self.unsettled = false;
    }
}

impl FailStop for FakeHw {
    fn fail_stop(&mut self, breach: Breach) -> ! {
        panic!("fail stop: {breach:?}");
    }
}

//! The hardware: ITSs and redistributors that follow what they find in registers and memory.
//!
//! It checks, at the moment when it happens, that a table given to it was zeroed, and that no page is
//! zeroed while it may use it: so the order of "donate, tell" and "stop, return" is tested, too. An ITS
//! keeps a copy of each device for as long as no command tells it otherwise, even while it is off; its
//! translation tables are EL2's, zeroed when it learns of them, and nobody else's.
//!
//! It is as careless as hardware has been seen to be: it takes any interrupt that a command maps, trusts
//! its entries, and lets MOVI go eight times beyond the table of pending interrupts. Whatever it does to
//! tables of LPIs must fall into them all the same. A redistributor without power reads as zero.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::addr::{Ipa, Pfn};
use crate::fake::{Content, FakeHw};
use crate::hw::{FailStop, PageScrub, Stage2Context, TableMemory, TlbOps};

/// A valid GITS_BASER, GITS_CBASER, or command.
pub const VALID: u64 = 1 << 63;
/// PTA in GITS_TYPER.
pub const PTA: u64 = 1 << 19;

/// An ITS.
#[derive(Clone)]
pub struct ItsModel {
    pub ctlr: u32,
    pub typer: u64,
    pub cbaser: u64,
    pub cwriter: u64,
    pub creadr: u64,
    pub baser: [u64; 8],
    /// The page sizes that stick; any other reads back as the first.
    pub page_bits: Vec<u64>,
    /// How many commands it carries out before it hangs.
    pub commands_left: u64,
    /// It does not say so.
    pub slow: bool,
    /// How many reads of GITS_CTLR it takes to stop.
    pub stops_after: u32,
    stopping: u32,
    /// Devices that it knows a translation table of.
    pub devices: HashMap<u32, (u64, u64)>,
    /// All commands that it has carried out.
    pub log: Vec<[u64; 4]>,
}

impl ItsModel {
    pub fn new() -> Self {
        // Eight bytes an entry, 16 bits of events and devices; all of GICv4.
        let typer = 0x7fe0_0000_0000 | (15 << 13) | (15 << 8) | (7 << 4) | 3;
        let baser = |kind: u64| (kind << 56) | (7 << 48);
        Self {
            ctlr: 1 << 31,
            typer,
            cbaser: 0,
            cwriter: 0,
            creadr: 0,
            baser: [baser(1), baser(4), baser(2), 0, 0, 0, 0, 0],
            page_bits: std::vec![0, 1 << 8, 2 << 8],
            commands_left: u64::MAX,
            slow: false,
            stops_after: 0,
            stopping: 0,
            devices: HashMap::new(),
            log: Vec::new(),
        }
    }

    /// Returns the pages of a valid table.
    pub fn table(&self, index: usize) -> Option<PageRange> {
        let value = self.baser[index];
        let page = 4096u64 << (((value >> 8) & 3) * 2);
        let bytes = page * ((value & 0xff) + 1);
        (value & VALID != 0)
            .then(|| PageRange::from_bytes(value & 0xffff_ffff_f000 & !(page - 1), bytes).unwrap())
    }

    /// Returns the size of an entry of a translation table.
    fn entry(&self) -> u64 {
        ((self.typer >> 4) & 0xf) + 1
    }

    /// Returns the pages of a device's translation table.
    pub fn translations(&self, device: u32) -> Option<PageRange> {
        let (table, bits) = *self.devices.get(&device)?;
        let last = table + (self.entry() << bits) - 1;
        let pages = (last >> 12) - (table >> 12) + 1;
        Some(PageRange::new(Pfn::new(table >> 12).unwrap(), pages).unwrap())
    }
}

/// A redistributor.
#[derive(Clone)]
pub struct RedistributorModel {
    pub ctlr: u32,
    pub typer: u64,
    pub waker: u32,
    pub propbaser: u64,
    pub pendbaser: u64,
    /// It does not snoop.
    pub incoherent: bool,
    /// EnableLPIs cannot be cleared.
    pub sticky: bool,
    /// How many reads of GICR_CTLR it takes to turn LPIs off.
    pub stops_after: u32,
    stopping: u32,
    /// After how many accesses it has no power, if ever: it reads as zero and ignores writes, and keeps its
    /// state.
    pub power_fails_after: Option<u32>,
}

impl RedistributorModel {
    pub fn new(cpu: u64) -> Self {
        Self {
            ctlr: 6,
            typer: (cpu << 32) | 0x0f00_00ff | ((cpu + 5) << 8),
            waker: 6,
            propbaser: 0,
            pendbaser: 0,
            incoherent: false,
            sticky: false,
            stops_after: 0,
            stopping: 0,
            power_fails_after: None,
        }
    }

    /// Returns how many interrupts there are.
    fn interrupts(&self) -> u64 {
        2 << (self.propbaser & 0x1f)
    }

    /// Tells whether it has power for one more access.
    fn has_power(&mut self) -> bool {
        let left = self.power_fails_after;
        self.power_fails_after = left.map(|left| left.saturating_sub(1));
        left != Some(0)
    }

    /// Returns where the configuration table is, and how large.
    fn properties(&self) -> u64 {
        self.propbaser & 0xf_ffff_ffff_f01f
    }

    /// Returns whatever address it still knows.
    pub fn addresses(&self) -> u64 {
        (self.propbaser | self.pendbaser) & 0xf_ffff_ffff_f000
    }

    /// Returns the tables, if it uses them.
    pub fn tables(&self) -> Option<[PageRange; 2]> {
        let range = |base: u64, bytes: u64| {
            PageRange::from_bytes(base, bytes.next_multiple_of(4096).max(4096)).unwrap()
        };
        (self.ctlr & 9 != 0).then(|| {
            [
                range(self.propbaser & 0xf_ffff_ffff_f000, self.interrupts().saturating_sub(8192)),
                range(self.pendbaser & 0xf_ffff_ffff_0000, self.interrupts() / 8),
            ]
        })
    }
}

/// The hardware.
pub struct GicHw {
    pub fake: FakeHw,
    pub its: Vec<ItsModel>,
    pub redistributors: Vec<RedistributorModel>,
    /// Where the redistributors are.
    pub bases: Vec<u64>,
    /// Words cleaned since the last write of GITS_CWRITER, and whether a `DSB SY` followed.
    cleaned: Vec<(u64, usize)>,
    ordered: bool,
    /// Pages reached by hardware.
    pub reached: Vec<Pfn>,
    /// What each ITS was given of EL2's memory: its queue, and translation tables.
    pub memory: Vec<PageRange>,
    /// Pages that translation tables were written to since they were zeroed.
    used: HashSet<Pfn>,
}

impl GicHw {
    pub fn new(fake: FakeHw) -> Self {
        Self {
            fake,
            its: std::vec![ItsModel::new(), ItsModel::new()],
            redistributors: (0..4).map(RedistributorModel::new).collect(),
            bases: (0..4).map(|cpu| 0x80a_0000 + cpu * 0x2_0000).collect(),
            cleaned: Vec::new(),
            ordered: false,
            reached: Vec::new(),
            memory: (0..2).map(its_memory).collect(),
            used: HashSet::new(),
        }
    }

    /// Calls `visit` for all memory that hardware may write to or read.
    pub fn reach(&self, mut visit: impl FnMut(&str, PageRange)) {
        for its in &self.its {
            (0..8).filter_map(|index| its.table(index)).for_each(|range| visit("table", range));
            let all = its.devices.keys().filter_map(|device| its.translations(*device));
            all.for_each(|range| visit("translations", range));
        }
        for tables in self.redistributors.iter().filter_map(RedistributorModel::tables) {
            tables.into_iter().for_each(|range| visit("interrupts", range));
        }
    }

    /// Writes a word of memory as a device does.
    fn store(&mut self, address: u64, value: u64) {
        let page = Pfn::new(address >> 12).unwrap();
        self.reached.push(page);
        self.fake.write(page.base(), (address as usize & 0xfff) / 8, value);
    }

    fn load(&mut self, address: u64) -> u64 {
        let page = Pa::new(address & !0xfff).unwrap();
        self.fake.read(page, (address as usize & 0xfff) / 8)
    }

    /// Checks that a translation table may be used for a device, which is new.
    fn check_new(&self, number: usize, device: u32) {
        let its = &self.its[number];
        let table = its.translations(device).unwrap();
        let memory = self.memory[number];
        assert!(memory.covers(table), "{table:?} is not EL2's");
        let queue = Pfn::new((its.cbaser & 0xf_ffff_ffff_f000) >> 12).unwrap();
        assert!(!table.contains(queue) && memory.contains(queue), "{table:?} has the queue");
        for (index, other) in self.its.iter().enumerate() {
            for id in other.devices.keys().filter(|id| index != number || **id != device) {
                let used = other.translations(*id).unwrap();
                assert!(!used.overlaps(table), "{table:?} of {device} is still that of {id}");
            }
        }
        for page in table.iter() {
            let zero = self.fake.content(page) == Content::Zero && !self.used.contains(&page);
            assert!(zero, "{page:?} not zeroed");
        }
    }

    /// Finds the entry of an event: where it is, the interrupt, and the collection.
    fn translation(&mut self, number: usize, device: u32, event: u64) -> Option<[u64; 3]> {
        let its = &self.its[number];
        let (table, bits) = *its.devices.get(&device)?;
        let at = table + event.checked_mul(its.entry())?;
        let entry = if event < 1 << bits { self.load(at) } else { 0 };
        (entry & VALID != 0).then_some([at, (entry >> 16) & 0xffff_ffff, entry & 0xffff])
    }

    /// Writes an entry.
    fn translate(&mut self, at: u64, entry: u64) {
        self.used.insert(Pfn::new(at >> 12).unwrap());
        self.store(at, entry);
    }

    /// Finds a redistributor by its name in a command.
    fn target(&self, number: usize, word: u64) -> usize {
        let (name, physical) = (word & 0xf_ffff_ffff_0000, self.its[number].typer & PTA != 0);
        let found = self.redistributors.iter().zip(&self.bases).position(|(model, base)| {
            name == if physical { *base } else { ((model.typer >> 8) & 0xffff) << 16 }
        });
        found.expect("no such redistributor")
    }

    /// Finds the redistributor that a collection is for, if its LPIs are on.
    fn collection(&mut self, number: usize, collection: u64) -> Option<usize> {
        let table = self.its[number].table(1).unwrap().start_pa().raw();
        let entry = self.load(table + (collection & 0xff) * 8);
        let cpu = (entry & VALID != 0).then(|| self.target(number, entry))?;
        self.redistributors[cpu].tables().map(|_| cpu)
    }

    /// Returns whether an interrupt is pending, and changes it.
    fn pend(&mut self, cpu: usize, interrupt: u64, is: Option<bool>) -> bool {
        let [_, pending] = self.redistributors[cpu].tables().unwrap();
        let at = pending.start_pa().raw() + interrupt / 64 * 8;
        let inside = pending.contains(Pfn::new(at >> 12).unwrap());
        assert!(inside, "{interrupt} is beyond the pending table");
        let (old, bit) = (self.load(at), 1 << (interrupt % 64));
        let was = old & bit != 0;
        self.store(at, if is.unwrap_or(was) { old | bit } else { old & !bit });
        was
    }

    /// Reads how an interrupt is configured.
    fn configuration(&mut self, cpu: usize, interrupt: u64) {
        let [properties, _] = self.redistributors[cpu].tables().unwrap();
        let index = interrupt.checked_sub(8192).expect("not an LPI");
        let page = Pfn::new((properties.start_pa().raw() + index) >> 12).unwrap();
        assert!(properties.contains(page), "{interrupt} is beyond the configuration table");
        self.reached.push(page);
    }

    /// Moves an interrupt. The bound, in bytes, is that in bits.
    fn move_interrupt(&mut self, from: usize, to: usize, interrupt: u64) {
        if interrupt / 8 < self.redistributors[from].interrupts() {
            let was = self.pend(from, interrupt, Some(false));
            self.pend(to, interrupt, was.then_some(true));
            self.configuration(to, interrupt);
        }
    }

    /// Carries out commands.
    fn consume(&mut self, number: usize) {
        while self.its[number].creadr != self.its[number].cwriter {
            let its = &mut self.its[number];
            if its.ctlr & 1 == 0 || its.commands_left == 0 {
                return;
            }
            its.commands_left -= 1;
            assert_eq!(its.cbaser & 0xff, 0, "EL2's queue is one page");
            let at = (its.cbaser & 0xf_ffff_ffff_f000) + its.creadr;
            let words = [0, 8, 16, 24].map(|offset| self.load(at + offset));
            let its = &mut self.its[number];
            its.creadr = (its.creadr + 32) % 4096;
            its.log.push(words);
            self.carry_out(number, words);
        }
    }

    fn carry_out(&mut self, number: usize, [first, second, third, fourth]: [u64; 4]) {
        let its = &self.its[number];
        let (device, event) = ((first >> 32) as u32, second & 0xffff_ffff);
        let devices = its.table(0).expect("on without a table").start_pa().raw();
        let collections = its.table(1).expect("on without a table").start_pa().raw();
        let entry = devices + u64::from(device) * 8;
        if u64::from(device) * 8 >= its.table(0).unwrap().bytes() {
            return;
        }
        match first & 0xff {
            0x08 if third & VALID != 0 => {
                let table = third & 0xf_ffff_ffff_ff00;
                assert!(!its.devices.contains_key(&device), "mapped without being unmapped");
                self.its[number].devices.insert(device, (table, second + 1));
                self.check_new(number, device);
                self.store(entry, table | second | VALID);
            }
            0x08 => {
                self.its[number].devices.remove(&device);
                self.store(entry, 0);
            }
            0x0a | 0x0b => {
                // What it has a copy of, it does not look up.
                if let Some((table, bits)) = its.devices.get(&device).copied()
                    && event < 1 << bits
                {
                    let interrupt = if first & 1 == 0 { second >> 32 } else { event };
                    let entry = VALID | (interrupt << 16) | (third & 0xffff);
                    self.translate(table + event * self.its[number].entry(), entry);
                }
            }
            0x01 | 0x03 | 0x04 | 0x0c | 0x0f => {
                let Some([at, interrupt, old]) = self.translation(number, device, event) else {
                    return;
                };
                let from = self.collection(number, old);
                match (first & 0xff, from) {
                    (0x01, _) => {
                        if let (Some(from), Some(to)) = (from, self.collection(number, third)) {
                            self.move_interrupt(from, to, interrupt);
                        }
                        self.translate(at, VALID | (interrupt << 16) | (third & 0xffff));
                    }
                    (0x0f, _) => self.translate(at, 0),
                    // Here, it looks before it leaps.
                    (_, Some(cpu)) if interrupt < self.redistributors[cpu].interrupts() => {
                        if first & 0xff != 0x0c {
                            self.pend(cpu, interrupt, Some(first & 0xff == 0x03));
                        }
                        self.configuration(cpu, interrupt);
                    }
                    _ => {}
                }
            }
            0x09 => {
                if third & VALID != 0 {
                    self.target(number, third);
                }
                self.store(collections + (third & 0xff) * 8, third);
            }
            0x05 => {
                self.target(number, third);
            }
            0x0e => {
                let [from, to] = [third, fourth].map(|word| self.target(number, word));
                let all = self.redistributors[from].interrupts();
                let on = |cpu: usize| self.redistributors[cpu].tables().is_some();
                if on(from) && on(to) {
                    // The first and the last stand for all.
                    let ends = [8192, all - 1].into_iter().filter(|one| (8192..all).contains(one));
                    ends.for_each(|interrupt| self.move_interrupt(from, to, interrupt));
                }
            }
            _ => {}
        }
    }

    fn read_its(&mut self, number: u8, offset: u32) -> u64 {
        self.consume(number.into());
        let its = &mut self.its[usize::from(number)];
        match offset {
            0x0 => {
                if its.ctlr & 1 == 0 && its.stopping > 0 {
                    its.stopping -= 1;
                    if its.stopping == 0 {
                        its.ctlr |= 1 << 31;
                    }
                }
                its.ctlr.into()
            }
            0x4 => 0x43b,
            0x8 => its.typer,
            0x80 => its.cbaser,
            0x88 => its.cwriter,
            0x90 => {
                let hangs = its.commands_left == 0 && its.creadr != its.cwriter;
                its.creadr | u64::from(hangs && !its.slow)
            }
            0x100..0x140 => its.baser[(offset as usize - 0x100) / 8],
            _ => panic!("read of ITS {offset:#x}"),
        }
    }

    fn write_its(&mut self, number: u8, offset: u32, value: u64) {
        let its = &mut self.its[usize::from(number)];
        let idle = its.ctlr & (1 | (1 << 31)) == 1 << 31;
        match offset {
            0x0 => {
                assert_eq!(value & !1, 0, "not a field that is used");
                let (was, is) = (its.ctlr & 1, value as u32 & 1);
                if is > was {
                    assert!(idle, "turned on before it has stopped");
                    assert!(its.table(0).is_some() && its.table(1).is_some(), "no tables");
                    its.ctlr = 1;
                } else if is < was {
                    its.stopping = its.stops_after;
                    its.ctlr = if its.stopping == 0 { 1 << 31 } else { 0 };
                }
                self.consume(number.into());
            }
            0x80 => {
                assert!(idle, "GITS_CBASER written while on");
                // The architecture wants it to be aligned to 64 KiB.
                assert_eq!(value, VALID | (1 << 59) | (value & 0xf_ffff_ffff_0000));
                (its.cbaser, its.creadr) = (value, 0);
            }
            0x88 => {
                assert!(value < 4096 && value.is_multiple_of(32));
                let mut at = if its.ctlr & 1 == 0 { value } else { its.cwriter };
                while at != value {
                    assert!(self.ordered, "command not ordered before GITS_CWRITER");
                    let page = its.cbaser & 0xf_ffff_ffff_f000;
                    for word in at as usize / 8..at as usize / 8 + 4 {
                        assert!(self.cleaned.contains(&(page, word)), "command not cleaned");
                    }
                    at = (at + 32) % 4096;
                }
                self.cleaned.clear();
                its.cwriter = value;
                self.consume(number.into());
            }
            0x100..0x140 => {
                assert!(idle, "GITS_BASER written while on");
                let index = (offset as usize - 0x100) / 8;
                let old = its.baser[index];
                let fixed = old & 0x071f_0000_0000_0000;
                assert_eq!(value & (1 << 62), 0, "not flat");
                let bits = value & 0x300;
                let bits = if its.page_bits.contains(&bits) { bits } else { its.page_bits[0] };
                let writable = 0xb8e0_ffff_ffff_fcff;
                its.baser[index] = if fixed == 0 { 0 } else { fixed | (value & writable) | bits };
                // A table that is written again as it is holds what it held.
                if let Some(range) = its.table(index).filter(|_| its.baser[index] != old) {
                    for page in range.iter() {
                        let content = self.fake.content(page);
                        assert_eq!(content, Content::Zero, "{page:?} not zeroed");
                    }
                }
            }
            _ => panic!("write of ITS {offset:#x}"),
        }
    }

    fn read_redistributor(&mut self, cpu: u8, offset: u32) -> u64 {
        let model = &mut self.redistributors[usize::from(cpu)];
        if !model.has_power() {
            return 0;
        }
        match offset {
            0x0 => {
                if model.stopping > 0 {
                    model.stopping -= 1;
                    if model.stopping == 0 {
                        model.ctlr &= !8;
                    }
                }
                model.ctlr.into()
            }
            0x4 => 0x43b,
            0x8 => model.typer,
            0x14 => model.waker.into(),
            0x70 => model.propbaser,
            0x78 => model.pendbaser,
            _ => panic!("read of redistributor {offset:#x}"),
        }
    }

    fn write_redistributor(&mut self, cpu: u8, offset: u32, value: u64) {
        let in_use = self.redistributors.iter().filter(|model| model.ctlr & 9 != 0);
        let in_use: Vec<_> = in_use.map(RedistributorModel::properties).collect();
        let model = &mut self.redistributors[usize::from(cpu)];
        if !model.has_power() {
            return;
        }
        let kept = if model.incoherent { !0xc00 } else { u64::MAX };
        match offset {
            0x0 => {
                assert_eq!(value & !0x0700_0001, 0, "not a field that is used");
                let was = model.ctlr & 1;
                let is = value as u32 & 1 | if model.sticky { was } else { 0 };
                // Some share one register, and it is open which.
                let same = in_use.iter().all(|properties| *properties == model.properties());
                assert!(is <= was || same, "not the properties that the others have");
                model.ctlr = (model.ctlr & 0x8000_000e) | (value as u32 & 0x0700_0000) | is;
                if is < was && model.stops_after > 0 {
                    model.stopping = model.stops_after;
                    model.ctlr |= 8;
                }
            }
            0x14 => {
                assert_eq!(value & !2, 0);
                model.waker = value as u32 * 3;
            }
            0x70 => {
                assert_eq!(model.ctlr & 9, 0, "GICR_PROPBASER written while in use");
                assert_eq!(value & !0x070f_ffff_ffff_ff9f, 0);
                model.propbaser = value & kept;
            }
            0x78 => {
                assert_eq!(model.ctlr & 9, 0, "GICR_PENDBASER written while in use");
                assert_eq!(value & !0x470f_ffff_ffff_0f80, 0);
                model.pendbaser = value & kept;
            }
            _ => panic!("write of redistributor {offset:#x}"),
        }
    }
}

impl DeviceHw for GicHw {
    fn read32(&mut self, frame: RegisterFrame, offset: u32) -> u32 {
        self.read64(frame, offset) as u32
    }

    fn read64(&mut self, frame: RegisterFrame, offset: u32) -> u64 {
        match frame {
            RegisterFrame::Its(number) => self.read_its(number, offset),
            RegisterFrame::Redistributor(cpu) => self.read_redistributor(cpu, offset),
            RegisterFrame::Smmu(_) => panic!("no SMMU"),
        }
    }

    fn write32(&mut self, frame: RegisterFrame, offset: u32, value: u32) {
        assert!(matches!(offset, 0x0 | 0x14), "{offset:#x} has 64 bits");
        match frame {
            RegisterFrame::Its(number) => self.write_its(number, offset, value.into()),
            RegisterFrame::Redistributor(cpu) => {
                self.write_redistributor(cpu, offset, value.into());
            }
            RegisterFrame::Smmu(_) => panic!("no SMMU"),
        }
    }

    fn write64(&mut self, frame: RegisterFrame, offset: u32, value: u64) {
        assert!(!matches!(offset, 0x0 | 0x14), "{offset:#x} has 32 bits");
        match frame {
            RegisterFrame::Its(number) => self.write_its(number, offset, value),
            RegisterFrame::Redistributor(cpu) => self.write_redistributor(cpu, offset, value),
            RegisterFrame::Smmu(_) => panic!("no SMMU"),
        }
    }

    fn clean_entry(&mut self, table: Pa, index: usize) {
        self.cleaned.push((table.raw(), index));
        self.ordered = false;
    }

    fn dsb_sy(&mut self) {
        self.ordered = true;
    }
}

impl TableMemory for GicHw {
    fn read(&mut self, table: Pa, index: usize) -> u64 {
        self.fake.read(table, index)
    }

    fn write(&mut self, table: Pa, index: usize, descriptor: u64) {
        self.cleaned.retain(|line| *line != (table.raw(), index));
        self.ordered = false;
        self.fake.write(table, index, descriptor);
    }

    fn zero(&mut self, table: Pa) {
        self.fake.zero(table);
    }
}

impl PageScrub for GicHw {
    fn scrub(&mut self, page: Pfn) {
        self.reach(|what, range| {
            assert!(!range.contains(page), "{page:x?} zeroed while hardware has it as {what}");
        });
        if self.memory.iter().any(|memory| memory.contains(page)) {
            // It stays EL2's, where nobody executes it: a `DSB SY` is all that it takes.
            self.used.remove(&page);
            self.ordered = false;
            self.fake.zero(page.base());
            self.fake.fill(page, Content::Zero);
        } else {
            self.fake.scrub(page);
        }
    }

    fn clean(&mut self, page: Pfn) {
        self.fake.clean(page);
    }

    fn settle(&mut self) {
        self.fake.settle();
    }
}

impl TlbOps for GicHw {
    fn dsb_ishst(&mut self) {
        self.fake.dsb_ishst();
    }

    fn dsb_ish(&mut self) {
        self.fake.dsb_ish();
    }

    fn isb(&mut self) {
        self.fake.isb();
    }

    fn enter(&mut self, context: Stage2Context) {
        self.fake.enter(context);
    }

    fn leave(&mut self) {
        self.fake.leave();
    }

    fn invalidate_ipa(&mut self, ipa: Ipa, level: Option<u8>) {
        self.fake.invalidate_ipa(ipa, level);
    }

    fn invalidate_stage1(&mut self) {
        self.fake.invalidate_stage1();
    }

    fn invalidate_all(&mut self) {
        self.fake.invalidate_all();
    }
}

impl FailStop for GicHw {
    fn fail_stop(&mut self, breach: Breach) -> ! {
        self.fake.fail_stop(breach)
    }
}

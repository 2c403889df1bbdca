//! Devices and SMMUs for the judging fake.
//!
//! Each fake SMMU reads its stream table, its commands and the translation tables from memory *as a
//! device sees it*: with [`snoops`](FakeHw::snoops) off, only what was cleaned, a line of 16 bytes at
//! a time, and then waited for. Commands are carried out late, when somebody asks what was consumed.
//! It panics at the step that is wrong:
//! - a page is scrubbed while a device's table or TLB may reach it, or mapped for a VM, or dealt with,
//!   while a TLB may (missing or misdirected TLBI, missing CMD_SYNC, not waited for);
//! - a live mapping of devices is broken though its page does not change hands, or replaced, or
//!   anything but a page comes or goes;
//! - an STE becomes valid before the rest of it is visible, or is written to while it is valid;
//! - a register is changed that may not be at that time; the SMMU is enabled without GBPA.ABORT, with
//!   anything left from before, or with an address for message-signalled interrupts.

use std::collections::{BTreeSet, HashMap};
use std::vec::Vec;

use super::{ENTRIES, Entry, FakeHw, GARBAGE, Step, decode, level_pages};
use crate::addr::{Pa, Pfn};
use crate::hw::{DeviceHw, RegisterFrame};
use crate::stage2::descriptor::LEAF_LEVEL;

pub const IDR0: u32 = 0x00;
pub const IDR1: u32 = 0x04;
pub const IDR5: u32 = 0x14;
pub const CR0: u32 = 0x20;
pub const GBPA: u32 = 0x44;
pub const IRQ_CTRL: u32 = 0x50;
pub const GERROR: u32 = 0x60;
pub const GERRORN: u32 = 0x64;
pub const STRTAB_BASE: u32 = 0x80;
pub const STRTAB_BASE_CFG: u32 = 0x88;
pub const CMDQ_BASE: u32 = 0x90;
pub const CMDQ_PROD: u32 = 0x98;
pub const CMDQ_CONS: u32 = 0x9c;
pub const EVENTQ_BASE: u32 = 0xa0;
pub const EVENTQ_PROD: u32 = 0x1_00a8;
pub const EVENTQ_CONS: u32 = 0x1_00ac;
/// The addresses of message-signalled interrupts: of errors, events and page requests.
pub const IRQ_CFG0: [u32; 3] = [0x68, 0xb0, 0xd0];

const SMMUEN: u64 = 1 << 0;
const EVENTQEN: u64 = 1 << 2;
const CMDQEN: u64 = 1 << 3;
const ATSCHK: u64 = 1 << 4;
const UPDATE: u64 = 1 << 31;
const ABORT: u64 = 1 << 20;
const OVERFLOW: u64 = 1 << 31;
/// How often a register shows what was before a write to it.
const LAG: u32 = 2;
/// Words of a cache line: as short as the architecture allows.
const LINE: usize = 2;
/// The first word of a valid STE that translates at stage 2 alone.
const STE: u64 = 0b1101;

/// What is wrong with an SMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// This register is never acknowledged, updated or consumed.
    Stuck(u32),
    /// It refuses commands with this opcode.
    Refuses(u64),
    /// It fails as a whole when a command with this opcode comes.
    Fails(u64),
}

/// A descriptor of a page that an SMMU's TLB may still hold.
#[derive(Clone, Copy, Debug)]
struct Stale {
    smmu: usize,
    vmid: u16,
    ipa_page: u64,
    page: u64,
    /// A command for it was carried out, but no CMD_SYNC after it.
    told: bool,
}

/// A table that SMMUs walk.
#[derive(Clone, Copy, Debug)]
struct Walked {
    vmid: u16,
    level: u8,
    ipa_page: u64,
}

/// One SMMU.
#[derive(Clone, Debug, Default)]
pub struct FakeSmmu {
    registers: HashMap<u32, u64>,
    lag: u32,
    /// CFGI_ALL and TLBI_NSNH_ALL were carried out, and then CMD_SYNC.
    forgot: [bool; 3],
    pub trouble: Option<Trouble>,
}

impl FakeSmmu {
    /// What QEMU's has, as the firmware may have left it: enabled, and letting everything pass.
    pub fn new() -> Self {
        let registers = [
            (IDR0, 0x0d44_101b),
            (IDR1, 19 << 21 | 19 << 16 | 16),
            (IDR5, 0x74),
            (CR0, SMMUEN | CMDQEN),
            (IRQ_CTRL, 0b101),
            (GBPA, 0x1000),
            (GERROR, 0b1_0000),
            (IRQ_CFG0[0], 0x4000_0000),
            (IRQ_CFG0[1], 0x4000_0000),
        ];
        Self { registers: registers.into(), ..Self::default() }
    }

    pub fn register(&self, at: u32) -> u64 {
        self.registers.get(&at).copied().unwrap_or(0)
    }

    pub fn set(&mut self, at: u32, value: u64) {
        self.registers.insert(at, value);
    }

    fn is_on(&self, what: u64) -> bool {
        self.register(CR0) & what != 0
    }

    /// The size of a queue, and the mask of a place in it with its turn.
    fn queue(&self, base: u32) -> (u64, u64) {
        let entries = 1 << (self.register(base) & 0x1f);
        (entries, entries * 2 - 1)
    }

    fn late(&mut self, at: u32) -> bool {
        let late = self.lag > 0 || self.trouble == Some(Trouble::Stuck(at));
        self.lag = self.lag.saturating_sub(1);
        late
    }
}

/// What devices see of the machine.
#[derive(Clone, Default)]
pub struct Devices {
    pub smmus: Vec<FakeSmmu>,
    /// Memory as devices see it, where they do not snoop.
    memory: HashMap<u64, Vec<u64>>,
    /// Lines that were cleaned, but not waited for.
    cleaned: Vec<(u64, usize)>,
    walked: HashMap<u64, Walked>,
    stale: Vec<Stale>,
    /// Pages that devices have lost, and whose contents nobody has dealt with since.
    broken: BTreeSet<u64>,
    /// Pages whose contents were dealt with since the host's CPUs lost them.
    treated: BTreeSet<u64>,
    /// Valid STEs: table and index of the first word.
    stes: BTreeSet<(u64, usize)>,
}

impl FakeHw {
    /// Adds an SMMU.
    pub fn add_smmu(&mut self, smmu: FakeSmmu) -> RegisterFrame {
        self.devices.smmus.push(smmu);
        RegisterFrame::Smmu(u8::try_from(self.devices.smmus.len() - 1).unwrap())
    }

    /// Reads memory as a device sees it.
    pub fn device_reads(&self, page: u64, index: usize) -> u64 {
        let memory = if self.snoops { &self.tables } else { &self.devices.memory };
        memory.get(&page).map_or(GARBAGE, |page| page[index])
    }

    /// Lists the pages that devices reach, from the tables alone.
    pub fn device_pages(&self) -> BTreeSet<u64> {
        let leaf_tables = self.devices.walked.iter().filter(|(_, at)| at.level == LEAF_LEVEL);
        let mut pages = BTreeSet::new();
        for (table, at) in leaf_tables {
            let memory = if self.snoops { &self.tables } else { &self.devices.memory };
            for (raw, ipa_page) in memory[table].iter().zip(at.ipa_page..) {
                if let Entry::Leaf { pa, .. } = decode(LEAF_LEVEL, *raw) {
                    assert_eq!(pa.pfn().raw(), ipa_page, "not at IPA = PA");
                    assert!(pages.insert(ipa_page));
                }
            }
        }
        pages
    }

    /// A device accesses memory: the page that it reaches, or an event.
    pub fn device_access(
        &mut self,
        smmu: usize,
        stream: u32,
        address: u64,
        write: bool,
    ) -> Option<u64> {
        assert!(self.devices.smmus[smmu].is_on(SMMUEN), "GBPA says what happens");
        let fault = |fake: &mut Self, kind: u64| {
            let how = if write { 0 } else { 1 << 35 };
            fake.raise(smmu, [kind | u64::from(stream) << 32, how, address, 0]);
            None
        };
        let ste = match self.find_ste(smmu, stream) {
            Ok(ste) => ste,
            Err(kind) => return fault(self, kind),
        };
        let walk = ste[2] >> 32;
        let mut level = match walk >> 6 & 0b11 {
            1 => 1,
            2 => 0,
            other => panic!("start level {other}"),
        };
        if address >> (64 - (walk & 0x3f)) != 0 {
            return fault(self, 0x10);
        }
        let mut table = ste[3];
        loop {
            assert!(self.devices.walked.contains_key(&table), "a table that nobody watches");
            let index = (address >> 12) / level_pages(level) % ENTRIES as u64;
            match decode(level, self.device_reads(table, index as usize)) {
                Entry::Invalid => return fault(self, 0x10),
                Entry::Leaf { pa, attrs } if attrs.write || !write => return Some(pa.pfn().raw()),
                Entry::Leaf { .. } => return fault(self, 0x13),
                Entry::Table(next) => (table, level) = (next.raw(), level + 1),
            }
        }
    }

    /// Finds the STE of a stream, or says which event there is for want of one.
    pub fn find_ste(&self, smmu: usize, stream: u32) -> Result<[u64; 8], u64> {
        let smmu = &self.devices.smmus[smmu];
        let format = smmu.register(STRTAB_BASE_CFG);
        assert_eq!(format >> 16, 1, "two levels");
        let split = format >> 6 & 0x1f;
        let stream = u64::from(stream);
        let bits = (format & 0x3f).min(smmu.register(IDR1) & 0x3f);
        if stream >> bits != 0 {
            return Err(0x02);
        }
        let level1 = smmu.register(STRTAB_BASE) & 0x000f_ffff_ffff_ffc0;
        let number = stream >> split;
        assert_eq!(level1 % (8 << bits.saturating_sub(split)), 0, "level 1 is aligned to its size");
        let entry = self.device_reads(level1 + number / 512 * 4096, number as usize % ENTRIES);
        let span = entry & 0x1f;
        let index = stream & ((1 << split) - 1);
        if span == 0 || index >> (span - 1) != 0 {
            return Err(0x02);
        }
        let level2 = entry & 0x000f_ffff_ffff_ffc0;
        assert_eq!(level2 % (64 << (span - 1)), 0, "level 2 is aligned to its size");
        let at = level2 + index * 64;
        let ste: [u64; 8] = std::array::from_fn(|word| {
            self.device_reads(at & !0xfff, (at as usize % 4096) / 8 + word)
        });
        if ste[0] & 1 == 0 { Err(0x04) } else { Ok(ste) }
    }

    /// An SMMU records an event.
    pub fn raise(&mut self, number: usize, event: [u64; 4]) {
        let smmu = &mut self.devices.smmus[number];
        assert!(smmu.is_on(EVENTQEN));
        let (entries, mask) = smmu.queue(EVENTQ_BASE);
        let (prod, cons) = (smmu.register(EVENTQ_PROD), smmu.register(EVENTQ_CONS));
        if (prod ^ cons) & mask == entries {
            // Full: said once, until it is acknowledged.
            if (prod ^ cons) & OVERFLOW == 0 {
                smmu.set(EVENTQ_PROD, prod ^ OVERFLOW);
            }
            return;
        }
        let page = smmu.register(EVENTQ_BASE) & 0x000f_ffff_ffff_ffe0;
        let first = (prod % entries * 4) as usize;
        smmu.set(EVENTQ_PROD, prod & OVERFLOW | (prod + 1) & mask);
        let memory = if self.snoops { &mut self.tables } else { &mut self.devices.memory };
        let words = &mut memory.get_mut(&page).expect("an event queue that was made")[first..];
        words[..4].copy_from_slice(&event);
    }

    /// Makes an SMMU report errors.
    pub fn fail(&mut self, smmu: usize, errors: u64) {
        let smmu = &mut self.devices.smmus[smmu];
        smmu.set(GERROR, smmu.register(GERROR) ^ errors);
    }

    /// Checks that nothing is left half done, as far as devices go.
    pub(super) fn assert_devices_quiet(&self) {
        let Devices { stale, cleaned, broken, .. } = &self.devices;
        assert!(stale.is_empty(), "left in a TLB of a device: {stale:?}");
        assert!(cleaned.is_empty(), "not waited for: {cleaned:?}");
        assert!(broken.is_empty(), "lost by devices and by nobody else: {broken:x?}");
    }

    /// The contents of a page are dealt with.
    pub(super) fn device_treats(&mut self, page: Pfn, scrubbed: bool) {
        let number = page.raw();
        assert!(
            !self.devices.walked.contains_key(&page.base().raw()),
            "a table of devices: {page:?}"
        );
        let stale = self.devices.stale.iter().find(|stale| stale.page == number);
        assert!(stale.is_none(), "page touched while a device may reach it: {stale:x?}");
        let at = Walked { vmid: 0, level: LEAF_LEVEL, ipa_page: number & !0x1ff };
        let mapped = self.devices.walked.iter().any(|(table, walked)| {
            (walked.level, walked.ipa_page) == (at.level, at.ipa_page)
                && self.device_reads(*table, number as usize % ENTRIES) & 1 != 0
        });
        assert!(!(mapped && scrubbed), "page scrubbed while devices reach it: {page:?}");
        self.devices.broken.remove(&number);
        self.devices.treated.insert(number);
        let words = if scrubbed { Some(std::vec![0; ENTRIES]) } else { None };
        let words = words.or_else(|| self.tables.get(&page.base().raw()).cloned());
        if let Some(words) = words {
            self.devices.memory.insert(page.base().raw(), words);
        }
    }

    /// The host's CPUs lose pages.
    pub(super) fn host_loses(&mut self, first: u64, pages: u64) {
        (first..first + pages).for_each(|page| {
            self.devices.treated.remove(&page);
        });
    }

    /// Somebody gets to map pages.
    pub(super) fn assert_no_device_tlb(&self, first: u64, pages: u64) {
        let reached = |stale: &&Stale| (first..first + pages).contains(&stale.page);
        let stale = self.devices.stale.iter().find(reached);
        assert!(stale.is_none(), "page mapped while a device may reach it: {stale:x?}");
    }

    /// A CPU stores a word.
    pub(super) fn device_snoops(&mut self, table: Pa, index: usize, old: u64, new: u64) {
        let ste = (table.raw(), index & !7);
        if self.devices.stes.contains(&ste) {
            assert!(index.is_multiple_of(8) && new & 1 == 0, "a store to an STE that is valid");
            self.devices.stes.remove(&ste);
        }
        if self.snoops {
            self.device_sees(table.raw(), index, old, new);
        }
    }

    /// A word changes for devices.
    fn device_sees(&mut self, table: u64, index: usize, old: u64, new: u64) {
        if new == STE && index.is_multiple_of(8) {
            let rest = [1, 2, 3].map(|word| self.device_reads(table, index + word));
            assert!(rest.iter().all(|word| ![0, GARBAGE].contains(word)), "half an STE: {rest:x?}");
            self.devices.stes.insert((table, index));
        }
        let Some(walked) = self.devices.walked.get(&table).copied() else { return };
        let ipa_page = walked.ipa_page + index as u64 * level_pages(walked.level);
        match (decode(walked.level, old), decode(walked.level, new)) {
            (old, new) if old == new => {}
            (Entry::Invalid, Entry::Table(next)) => {
                self.walk(next, Walked { level: walked.level + 1, ipa_page, ..walked });
            }
            (Entry::Invalid, Entry::Leaf { pa, .. }) if walked.level == LEAF_LEVEL => {
                let page = pa.pfn().raw();
                assert!(!self.unsettled, "mapped for devices before maintenance is complete");
                assert!(!self.devices.broken.contains(&page), "devices lose {page:x} for a moment");
                let stale = self.devices.stale.iter().find(|stale| stale.ipa_page == ipa_page);
                assert!(stale.is_none(), "made before the break is complete: {stale:x?}");
                self.devices.treated.remove(&page);
            }
            (Entry::Leaf { pa, .. }, Entry::Invalid) => {
                let page = pa.pfn().raw();
                let late = self.devices.treated.contains(&page);
                assert!(!late, "devices keep {page:x} until its contents are dealt with");
                self.devices.broken.insert(page);
                let vmid = walked.vmid;
                for smmu in 0..self.devices.smmus.len() {
                    let stale = Stale { smmu, vmid, ipa_page, page, told: false };
                    self.devices.stale.push(stale);
                }
            }
            (old, new) => panic!("no change of a live table of devices: {old:x?} to {new:x?}"),
        }
    }

    /// Devices walk a table from now on, and what hangs from it.
    fn walk(&mut self, table: Pa, at: Walked) {
        let mut todo = std::vec![(table, at)];
        while let Some((table, at)) = todo.pop() {
            self.devices.walked.insert(table.raw(), at);
            for index in 0..ENTRIES {
                let ipa_page = at.ipa_page + index as u64 * level_pages(at.level);
                match decode(at.level, self.device_reads(table.raw(), index)) {
                    Entry::Invalid => {}
                    Entry::Table(next) => {
                        todo.push((next, Walked { level: at.level + 1, ipa_page, ..at }));
                    }
                    Entry::Leaf { .. } => panic!("a table that is not empty: {table:x?} {index}"),
                }
            }
        }
    }

    /// An SMMU carries out its commands.
    fn consume(&mut self, number: usize) {
        let smmu = &self.devices.smmus[number];
        let (entries, mask) = smmu.queue(CMDQ_BASE);
        let page = smmu.register(CMDQ_BASE) & 0x000f_ffff_ffff_ffe0;
        loop {
            let smmu = &self.devices.smmus[number];
            let cons = smmu.register(CMDQ_CONS) & mask;
            if cons == smmu.register(CMDQ_PROD) & mask {
                return;
            }
            let first = (cons % entries * 2) as usize;
            let command = [0, 1].map(|word| self.device_reads(page, first + word));
            self.log.push(Step::Command(number, command));
            let opcode = command[0] & 0xff;
            let smmu = &mut self.devices.smmus[number];
            let unknown = ![0x04, 0x28, 0x2a, 0x30, 0x46].contains(&opcode);
            if unknown || smmu.trouble == Some(Trouble::Refuses(opcode)) {
                smmu.set(CMDQ_CONS, cons | 1 << 24);
                smmu.set(GERROR, (smmu.register(GERRORN) & 1) ^ 1 | smmu.register(GERROR) & !1);
                return;
            }
            if smmu.trouble == Some(Trouble::Fails(opcode)) {
                smmu.set(GERROR, smmu.register(GERROR) ^ 1 << 8);
                return;
            }
            let vmid = (command[0] >> 32) as u16;
            for stale in self.devices.stale.iter_mut().filter(|stale| stale.smmu == number) {
                stale.told |= match opcode {
                    0x28 => stale.vmid == vmid,
                    0x2a => stale.vmid == vmid && stale.ipa_page == command[1] >> 12,
                    0x30 => true,
                    _ => false,
                };
            }
            match opcode {
                0x04 => smmu.forgot[0] = command[1] & 0x1f == 31,
                0x30 => smmu.forgot[1] = true,
                0x46 => {
                    assert_eq!(command, [0x46, 0], "signals by nothing but being consumed");
                    smmu.forgot[2] = smmu.forgot[0] && smmu.forgot[1];
                    self.devices.stale.retain(|stale| stale.smmu != number || !stale.told);
                }
                _ => {}
            }
            self.devices.smmus[number].set(CMDQ_CONS, (cons + 1) & mask);
        }
    }

    /// Judges and carries out a write to a register.
    fn write_register(&mut self, frame: RegisterFrame, at: u32, value: u64) {
        let RegisterFrame::Smmu(number) = frame else { panic!("no device: {frame:?} {at:#x}") };
        self.log.push(Step::Register(frame, at, value));
        let visible = self.devices.cleaned.is_empty();
        let smmu = &mut self.devices.smmus[usize::from(number)];
        smmu.lag = LAG;
        let forbidden = match at {
            STRTAB_BASE | STRTAB_BASE_CFG | 0x28 | 0x2c | GBPA => SMMUEN * u64::from(at != GBPA),
            CMDQ_BASE | CMDQ_CONS => CMDQEN,
            EVENTQ_BASE | EVENTQ_PROD => EVENTQEN,
            CMDQ_PROD | EVENTQ_CONS | CR0 | IRQ_CTRL | GERRORN => 0,
            _ if IRQ_CFG0.contains(&at) => {
                assert_eq!(smmu.register(IRQ_CTRL), 0, "interrupts are on");
                0
            }
            _ => panic!("a write to {at:#x}"),
        };
        assert!(!smmu.is_on(forbidden), "a write to {at:#x} while it is in use");
        match at {
            GBPA => {
                assert!(value & UPDATE != 0, "GBPA is written with Update set");
                smmu.set(GBPA, value & !UPDATE);
            }
            CR0 => {
                assert!(smmu.register(GBPA) & ABORT != 0, "GBPA.ABORT comes first");
                assert!(visible, "enabled before everything is visible");
                let turns_on = value & SMMUEN != 0 && !smmu.is_on(SMMUEN);
                let ats = (smmu.register(IDR0) >> 10 & 1) * ATSCHK;
                assert_eq!(value & ATSCHK & !ats, 0, "ATSCHK without ATS");
                assert!(!turns_on || smmu.register(CR0) & ats == ats, "ATSCHK comes first");
                smmu.set(CR0, value);
                if turns_on {
                    assert!(value & CMDQEN != 0 && value & EVENTQEN != 0);
                    assert!(smmu.forgot[2], "what was cached before is not forgotten");
                    assert!(IRQ_CFG0.iter().all(|address| smmu.register(*address) == 0));
                    assert_eq!(smmu.register(IRQ_CTRL), 0b101);
                    assert_eq!(smmu.register(0x2c), 0b110, "RECINVSID and PTM");
                    self.discover(usize::from(number));
                }
            }
            CMDQ_PROD => {
                assert!(visible || !smmu.is_on(CMDQEN), "handed over before it is visible");
                smmu.set(at, value);
            }
            _ => smmu.set(at, value),
        }
    }

    /// Finds the tables that the STEs lead to.
    fn discover(&mut self, number: usize) {
        let smmu = &self.devices.smmus[number];
        let blocks = (1 << (smmu.register(STRTAB_BASE_CFG) & 0x3f).max(8)) / 256;
        let level1 = smmu.register(STRTAB_BASE) & 0x000f_ffff_ffff_f000;
        let mut seen = BTreeSet::new();
        let is_new = |block: &u32| seen.insert(self.device_reads(level1, *block as usize));
        let blocks: Vec<u32> = (0..blocks).filter(is_new).collect();
        for stream in blocks.iter().flat_map(|block| block * 256..(block + 1) * 256) {
            let Ok(ste) = self.find_ste(number, stream) else { continue };
            let level = if ste[2] >> 38 & 0b11 == 1 { 1 } else { 0 };
            if !self.devices.walked.contains_key(&ste[3]) {
                let root = Pa::new(ste[3]).unwrap();
                self.walk(root, Walked { vmid: ste[2] as u16, level, ipa_page: 0 });
            }
        }
    }
}

impl DeviceHw for FakeHw {
    fn read32(&mut self, frame: RegisterFrame, at: u32) -> u32 {
        u32::try_from(self.read64(frame, at)).expect("a register of 32 bits")
    }

    fn read64(&mut self, frame: RegisterFrame, at: u32) -> u64 {
        let RegisterFrame::Smmu(number) = frame else { panic!("no device: {frame:?} {at:#x}") };
        let number = usize::from(number);
        let smmu = &mut self.devices.smmus[number];
        match at {
            GBPA => smmu.register(at) | if smmu.late(at) { UPDATE } else { 0 },
            0x24 | 0x54 => {
                let late = smmu.late(at - 4);
                smmu.register(at - 4) ^ if late { 1 << 6 } else { 0 }
            }
            CMDQ_CONS => {
                if !smmu.late(at) {
                    self.consume(number);
                }
                self.devices.smmus[number].register(at)
            }
            IDR0 | IDR1 | IDR5 | GERROR | EVENTQ_PROD => smmu.register(at),
            _ => panic!("a read of {at:#x}"),
        }
    }

    fn write32(&mut self, frame: RegisterFrame, at: u32, value: u32) {
        let wide = [STRTAB_BASE, CMDQ_BASE, EVENTQ_BASE].contains(&at) || IRQ_CFG0.contains(&at);
        assert!(!wide, "{at:#x} has 64 bits");
        self.write_register(frame, at, value.into());
    }

    fn write64(&mut self, frame: RegisterFrame, at: u32, value: u64) {
        let wide = [STRTAB_BASE, CMDQ_BASE, EVENTQ_BASE].contains(&at) || IRQ_CFG0.contains(&at);
        assert!(wide, "{at:#x} has 32 bits");
        self.write_register(frame, at, value);
    }

    fn clean_entry(&mut self, table: Pa, index: usize) {
        self.log.push(Step::CleanEntry(table, index));
        let Devices { smmus, memory, cleaned, .. } = &mut self.devices;
        let events = |smmu: &FakeSmmu| smmu.register(EVENTQ_BASE) & !0xfff & !(1 << 62);
        let line = index / LINE * LINE;
        let is_events =
            smmus.iter().any(|smmu| smmu.is_on(EVENTQEN) && events(smmu) == table.raw());
        if !is_events {
            cleaned.push((table.raw(), line));
        } else if !self.snoops {
            // Written by the device alone: the CPU's copy, which is not dirty, is dropped.
            let words = memory[&table.raw()][line..line + LINE].to_vec();
            self.page(table)[line..line + LINE].copy_from_slice(&words);
        }
    }

    fn dsb_sy(&mut self) {
        self.log.push(Step::DsbSy);
        for (table, line) in std::mem::take(&mut self.devices.cleaned) {
            if self.snoops {
                continue;
            }
            for index in line..line + LINE {
                let new = self.page(Pa::new(table).unwrap())[index];
                let memory = &mut self.devices.memory;
                let words = memory.entry(table).or_insert_with(|| std::vec![GARBAGE; ENTRIES]);
                let old = std::mem::replace(&mut words[index], new);
                self.device_sees(table, index, old, new);
            }
        }
    }
}

//! A host in front of the guarded GIC, with what a stock driver does.

use std::collections::HashMap;

use super::*;
use crate::addr::Pfn;
use crate::fake::FakeHw;
use crate::frames::{FrameEntry, FrameTable};
use crate::hw::{Stage2Context, TableMemory};
use crate::memory::{HostMemoryBuilder, host_tables_needed, invariants};
use crate::stage2::geometry::{Concatenation, Geometry};
use crate::stage2::{Emptied, Stage2};
use crate::tables::TablePool;
use crate::transition::{Frame, HostAccess, State};

/// The first page of RAM, 2 MiB aligned, and how many the host has.
pub const RAM: u64 = 0x4_0000;
pub const HOST_PAGES: u64 = 2048;
/// EL2's pages: the host's tables; then, for each ITS, a command queue and translation tables.
pub const CARVE: u64 = RAM + HOST_PAGES;
pub const CARVE_PAGES: u64 = 1024;
pub const QUEUE: u64 = CARVE + 256;
const ITS_MEMORY: u64 = QUEUE - 6;
/// The first page for translation tables of ITS 0.
pub const TABLES: u64 = QUEUE + 1;

/// Where the host has its things.
pub const COMMANDS: u64 = RAM + 16;
pub const DEVICES: u64 = RAM + 128;
pub const COLLECTIONS: u64 = RAM + 256;
pub const PROPERTIES: u64 = RAM + 288;
pub const PENDING: u64 = RAM + 320;
/// It thinks that it has translation tables here.
pub const ITT: u64 = RAM + 1024;

pub const ITS: RegisterFrame = RegisterFrame::Its(0);
pub const RD: RegisterFrame = RegisterFrame::Redistributor(0);

/// Inner shareable, read- and write-allocate write-back: for tables of the ITS, and for those of a
/// redistributor.
pub const COHERENT: u64 = (7 << 59) | (1 << 10);
pub const RD_COHERENT: u64 = (7 << 7) | (1 << 10);

pub struct Machine {
    pub hw: GicHw,
    pub host: HostMemory<'static>,
    pub guard: GicGuard,
    /// Pages that the host has given to EL2 for something else.
    pub donated: Vec<u64>,
}

pub fn pages(first: u64, count: u64) -> PageRange {
    PageRange::new(Pfn::new(first).unwrap(), count).unwrap()
}

/// What EL2 gives an ITS.
pub fn its_memory(number: u8) -> PageRange {
    pages(ITS_MEMORY + u64::from(number) * ITS_PAGES, ITS_PAGES)
}

impl Machine {
    /// Makes a machine whose hardware is as `change` leaves it, and takes the GIC over.
    pub fn with(change: impl FnOnce(&mut GicHw)) -> Self {
        let mut machine = Self::untaken();
        change(&mut machine.hw);
        let Self { hw, guard, .. } = &mut machine;
        for cpu in 0..hw.bases.len() {
            let base = Pa::new(hw.bases[cpu]).unwrap();
            guard.add_redistributor(hw, cpu as u8, base).unwrap();
        }
        for number in 0..hw.its.len() as u8 {
            guard.add_its(hw, number, its_memory(number)).unwrap();
        }
        machine.check();
        machine
    }

    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// Makes a machine whose GIC nobody has taken over.
    pub fn untaken() -> Self {
        let entries = Vec::leak(std::vec![FrameEntry::HYP; (HOST_PAGES + CARVE_PAGES) as usize]);
        let mut frames = FrameTable::new(entries);
        frames.add_region(pages(RAM, HOST_PAGES + CARVE_PAGES)).unwrap();
        let geometry = Geometry::new(40, 48, Concatenation::Avoid).unwrap();
        let ram = pages(RAM, HOST_PAGES);
        let needed = host_tables_needed(geometry, [ram].into_iter(), [].into_iter());
        assert!(CARVE + 1 + needed <= ITS_MEMORY);
        let context = Stage2Context { vmid: 0, root: Pfn::new(CARVE).unwrap().base() };
        let mut fake = FakeHw::default();
        fake.adopt_root(context, geometry.start_level(), geometry.root_pages());
        let mut hw = GicHw::new(fake);
        let stage2 = Stage2::new(context, geometry, Emptied::Kept).unwrap();
        let pool = TablePool::from_range(pages(CARVE + 1, needed));
        let mut builder = HostMemoryBuilder::new(frames, stage2, pool);
        builder.give_ram(&mut hw, ram).unwrap();
        let host = builder.finish(&mut hw).unwrap();
        Self { hw, host, guard: GicGuard::new(), donated: Vec::new() }
    }

    pub fn access(&mut self, frame: RegisterFrame, mmio: Mmio) -> u64 {
        let carried_out = |hw: &GicHw| hw.its.iter().map(|its| its.log.len()).sum::<usize>();
        let (records, count) = (self.host.frames().entries().to_vec(), carried_out(&self.hw));
        let value = self.guard.access(&mut self.host, &mut self.hw, frame, &mmio);
        let one = carried_out(&self.hw) <= count + 1;
        // Hardware has reached what it had before or has now. If it has carried out several
        // commands, a page may have been pinned in between: then it was the host's all the time.
        for page in std::mem::take(&mut self.hw.reached) {
            let before = records[(page.raw() - RAM) as usize].decode();
            let now = self.host.frame(page).unwrap();
            let given = self.hw.memory.iter().any(|memory| memory.contains(page));
            let mine = |frame: Frame| given || frame.state == State::HypLoan || frame.pins > 0;
            let hosts = |frame: Frame| frame.host_access() != HostAccess::None;
            let good = mine(before) || mine(now) || (!one && hosts(before) && hosts(now));
            assert!(good, "hardware reached {page:x?}: {before:?} {now:?}");
        }
        self.check();
        value
    }

    /// Tells whether a frame is guarded, whatever its hardware does.
    pub fn is_guarded(&mut self, frame: RegisterFrame) -> bool {
        let typer = Mmio { offset: 0x8, bytes: 8, write: None };
        self.guard.access(&mut self.host, &mut self.hw, frame, &typer) != 0
    }

    pub fn read(&mut self, frame: RegisterFrame, offset: u32) -> u64 {
        self.access(frame, Mmio { offset, bytes: 8, write: None })
    }

    pub fn read32(&mut self, frame: RegisterFrame, offset: u32) -> u64 {
        self.access(frame, Mmio { offset, bytes: 4, write: None })
    }

    pub fn write(&mut self, frame: RegisterFrame, offset: u32, value: u64) {
        assert_eq!(self.access(frame, Mmio { offset, bytes: 8, write: Some(value) }), 0);
    }

    pub fn write32(&mut self, frame: RegisterFrame, offset: u32, value: u64) {
        assert_eq!(self.access(frame, Mmio { offset, bytes: 4, write: Some(value) }), 0);
    }

    /// Makes a write that must be refused: it is counted, reads back as before, and no record has
    /// changed.
    pub fn refused(&mut self, frame: RegisterFrame, offset: u32, value: u64) {
        let bytes = if matches!(offset, 0x0 | 0x14) { 4 } else { 8 };
        let read = Mmio { offset, bytes, write: None };
        let (count, old) = (self.guard.refusals(), self.access(frame, read));
        let records = self.host.frames().entries().to_vec();
        self.access(frame, Mmio { write: Some(value), ..read });
        assert_eq!(self.guard.refusals(), count + 1, "{offset:#x} = {value:#x} not refused");
        assert!(records == self.host.frames().entries(), "a refused write changed something");
        let ignored = if (0x100..0x140).contains(&offset) { !VALID } else { 0 };
        assert_eq!(self.access(frame, read) & !ignored, old & !ignored);
    }

    pub fn pins(&self, page: u64) -> u16 {
        self.host.frame(Pfn::new(page).unwrap()).unwrap().pins
    }

    /// Checks that whatever hardware reaches is as it must be, and that there is not a pin more than
    /// that, but for what it has not been seen to have let go.
    pub fn check(&mut self) {
        self.hw.fake.assert_quiet();
        let host = &self.host;
        self.hw.reach(|what, range| {
            for page in range.iter() {
                let frame = host.frame(page).unwrap();
                let good = match what {
                    "table" => frame.state == State::HypLoan,
                    "translations" => frame.state == State::Hyp,
                    _ => frame.pins > 0 && frame.host_access() != HostAccess::None,
                };
                assert!(good, "hardware has {page:x?} as {what}: {frame:?}");
            }
        });
        for its in &self.hw.its {
            let queue = its.cbaser & 0xf_ffff_ffff_f000;
            assert!(its.cbaser == 0 || queue >> 12 >= QUEUE, "queue of hardware is not EL2's");
        }
        // What an ITS knows is listed, so it is not used for another one.
        for (number, its) in (0..).zip(&self.hw.its) {
            for id in its.devices.keys() {
                let devices = self.guard.shared.devices.iter().flatten();
                let mut same = devices
                    .filter(|listed| listed.its == RegisterFrame::Its(number) && listed.id == *id);
                let listed = same.next().expect("not listed").table;
                assert!(same.next().is_none() && Some(listed) == its.translations(*id), "{id}");
            }
        }
    }

    /// Checks that each page of the host has exactly the pins, or is EL2's, as hardware and the
    /// registers of the ITSs say.
    pub fn check_exact(&mut self) {
        invariants::check(&mut self.hw, &self.host, &[]).unwrap();
        let mut pins = HashMap::<u64, u16>::new();
        let mut loans = self.donated.clone();
        self.hw.reach(|what, range| {
            for page in range.iter() {
                match what {
                    "table" => loans.push(page.raw()),
                    "translations" => {}
                    _ => *pins.entry(page.raw()).or_default() += 1,
                }
            }
        });
        for number in 0..self.hw.its.len() as u8 {
            let value = self.read(RegisterFrame::Its(number), 0x80);
            if value & VALID != 0 {
                let first = (value & 0xf_ffff_ffff_f000) >> 12;
                (first..=first + (value & 0xff))
                    .for_each(|page| *pins.entry(page).or_default() += 1);
            }
        }
        for page in RAM..RAM + HOST_PAGES {
            let frame = self.host.frame(Pfn::new(page).unwrap()).unwrap();
            assert_eq!(frame.pins, pins.get(&page).copied().unwrap_or(0), "pins of {page:#x}");
            assert_eq!(frame.state == State::HypLoan, loans.contains(&page), "loan {page:#x}");
        }
    }

    /// Puts commands into the host's queue, from `offset` on, and rings. Returns where they end.
    pub fn post_at(&mut self, offset: u64, commands: &[[u64; 4]]) -> u64 {
        let queue = self.read(ITS, 0x80);
        let bytes = ((queue & 0xff) + 1) * 4096;
        let mut at = offset;
        for command in commands {
            let address = (queue & 0xf_ffff_ffff_f000) + at;
            let page = Pfn::new(address >> 12).unwrap().base();
            for (index, word) in command.iter().enumerate() {
                self.hw.write(page, (address as usize & 0xfff) / 8 + index, *word);
            }
            at = (at + 32) % bytes;
        }
        self.write32(ITS, 0x88, at);
        at
    }

    /// Puts commands behind the last ones, rings, and checks that all are consumed.
    pub fn post(&mut self, commands: &[[u64; 4]]) {
        let at = self.read32(ITS, 0x88);
        let end = self.post_at(at, commands);
        assert_eq!(self.read32(ITS, 0x90), end);
    }

    /// Posts a command that must be refused: skipped and counted; no record has changed.
    pub fn refused_command(&mut self, command: [u64; 4]) {
        let (count, log) = (self.guard.refusals(), self.hw.its[0].log.len());
        let records = self.host.frames().entries().to_vec();
        self.post(&[command]);
        assert_eq!(self.guard.refusals(), count + 1, "{command:x?} not refused");
        assert_eq!(self.hw.its[0].log.len(), log, "{command:x?} reached hardware");
        assert!(records == self.host.frames().entries(), "a refused command changed something");
    }

    /// Sets a table up as a stock driver does, having tried the page size and indirection.
    pub fn set_table(&mut self, index: u32, page: u64, size: u64) {
        let offset = 0x100 + index * 8;
        let mut size_bits = 0;
        for bits in [2u64, 1, 0] {
            size_bits = bits << 8;
            let old = self.read(ITS, offset) & !0x300;
            self.write(ITS, offset, old | size_bits);
            if self.read(ITS, offset) & 0x300 == size_bits {
                break;
            }
        }
        self.write(ITS, offset, COHERENT | (1 << 62));
        assert_eq!(self.read(ITS, offset) & (1 << 62), 0, "not flat");
        let fixed = self.read(ITS, offset) & 0x071f_0000_0000_0000;
        let units = size.div_ceil(1 << (size_bits >> 7));
        let value = VALID | COHERENT | fixed | size_bits | (page << 12) | (units - 1);
        self.write(ITS, offset, value);
        assert_eq!(self.read(ITS, offset), value, "does not stick");
    }

    /// Does what a stock driver does to take ITS 0 into service.
    pub fn probe(&mut self) {
        // Quiescent, all tables reset.
        let ctlr = self.read32(ITS, 0x0);
        if ctlr != 1 << 31 {
            self.write32(ITS, 0x0, ctlr & !1);
            assert_eq!(self.read32(ITS, 0x0), 1 << 31);
        }
        (0..8).for_each(|index| self.write(ITS, 0x100 + index * 8, 0));
        for index in 0..8 {
            match (self.read(ITS, 0x100 + index * 8) >> 56) & 7 {
                0 => {}
                1 => self.set_table(index, DEVICES, 128),
                4 => self.set_table(index, COLLECTIONS, 16),
                kind => panic!("table of kind {kind}"),
            }
        }
        let queue = VALID | COHERENT | (COMMANDS << 12) | 15;
        self.write(ITS, 0x80, queue);
        assert_eq!(self.read(ITS, 0x80), queue);
        self.write(ITS, 0x88, 0);
        let ctlr = self.read32(ITS, 0x0);
        self.write32(ITS, 0x0, ctlr | 1);
        assert_eq!(self.read32(ITS, 0x0) & 1, 1);
        self.check_exact();
    }

    /// Does what a stock driver does to turn on the LPIs of a CPU.
    pub fn enable_lpis(&mut self, cpu: u8) {
        let frame = RegisterFrame::Redistributor(cpu);
        let properties = RD_COHERENT | (PROPERTIES << 12) | 15;
        self.write(frame, 0x70, properties);
        assert_eq!(self.read(frame, 0x70), properties);
        let pending = RD_COHERENT | ((PENDING + u64::from(cpu) * 16) << 12);
        self.write(frame, 0x78, pending);
        assert_eq!(self.read(frame, 0x78), pending);
        let ctlr = self.read32(frame, 0x0);
        self.write32(frame, 0x0, ctlr | 1);
        assert_eq!(self.read32(frame, 0x0) & 1, 1);
    }

    /// Makes the host let go of everything: nothing may be left.
    pub fn tear_down(&mut self) {
        for number in 0..self.hw.its.len() as u8 {
            let frame = RegisterFrame::Its(number);
            self.write32(frame, 0x0, 0);
            while self.read32(frame, 0x0) & (1 << 31) == 0 {}
            // A queue that is written anew makes hardware that hung start again.
            self.write(frame, 0x80, 0);
            (0..8).for_each(|index| self.write(frame, 0x100 + index * 8, 0));
        }
        for cpu in 0..self.hw.redistributors.len() as u8 {
            self.write32(RegisterFrame::Redistributor(cpu), 0x0, 0);
            while self.read32(RegisterFrame::Redistributor(cpu), 0x0) & 9 != 0 {}
        }
        self.check_exact();
        let shared = &self.guard.shared;
        assert!(shared.devices.iter().all(Option::is_none) && shared.users == 0);
        for model in &self.hw.redistributors {
            assert_eq!(model.addresses(), 0, "hardware still knows a table");
        }
        for page in pages(RAM, HOST_PAGES).iter() {
            let frame = self.host.frame(page).unwrap();
            assert_eq!((frame.state, frame.pins), (State::Host, 0), "{page:x?} leaked");
        }
    }
}

/// Encodes MAPD with a table of the host's, of which nobody takes notice.
pub fn mapd(device: u32, table: u64, event_bits: u64) -> [u64; 4] {
    [8 | (u64::from(device) << 32), event_bits - 1, VALID | table, 0]
}

/// Encodes MAPD without a table.
pub fn unmapd(device: u32) -> [u64; 4] {
    [8 | (u64::from(device) << 32), 0, 0, 0]
}

/// Encodes MAPC: a collection for a CPU, in a machine without PTA.
pub fn mapc(collection: u64, cpu: u64) -> [u64; 4] {
    [9, 0, VALID | ((cpu + 5) << 16) | collection, 0]
}

/// Encodes MOVI.
pub fn movi(device: u32, event: u64, collection: u64) -> [u64; 4] {
    [1 | (u64::from(device) << 32), event, collection, 0]
}

/// Encodes MAPTI, to collection 1.
pub fn mapti(device: u32, event: u64, interrupt: u64) -> [u64; 4] {
    [0xa | (u64::from(device) << 32), event | (interrupt << 32), 1, 0]
}

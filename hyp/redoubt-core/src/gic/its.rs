//! The control frame of an ITS: its tables, and its command queue.
//!
//! Decides where the tables of devices and collections may lie. They hold addresses that hardware
//! follows, so they are EL2's from the write that makes a GITS_BASER valid to the one that takes it
//! back; both are carried out only while the ITS is off and quiescent, as the architecture demands of
//! the host. Tables are flat: what a second level would be, the host could write. Tables of virtual
//! CPUs do not exist. Before a table goes back, the devices are unmapped by command, because an ITS
//! may keep copies of entries while it is off. The memory attributes that the host asks for read back
//! as written, so that it does no maintenance of pages that it cannot reach; hardware uses EL2's pages
//! non-cacheable, which is right whether it snoops or not: they were cleaned, and no CPU touches them.
//!
//! Decides, too, which commands hardware gets, and when what they make superfluous may be let go.
//! Hardware's queue is a page of EL2's, for ever. Commands of the host go there one at a time, and
//! GITS_CREADR moves on when hardware is done with one; only then is a translation table used again.
//! Hardware that is not done after many polls is looked at again at each access; the host can start it
//! anew by turning it off and writing GITS_CBASER. A device that is mapped anew is unmapped first.
//!
//! Translation tables are EL2's: what is in them can be made by commands alone, and so every interrupt in
//! them is an LPI that the tables of the redistributors have room for. (There are ITSs that look only at
//! the commands, and move an interrupt beyond the tables when an entry says so.)
//!
//! Invariants: a device that hardware may know is listed, with its translation table; while there is
//! one, or the ITS is on, every table is valid. Spec: IHI 0069H 5.2, 5.3, 12.19.

use super::command::{self, DEVICE, MAPD, MAPI, MAPTI, VALID, sanitise};
use super::redistributor::{FIRST_LPI, interrupts};
use super::{Bus, Device, Done, GicUnusable, POLLS, Registers, Taken, pages_of, wait};
use crate::addr::{PAGE_SIZE, PageRange, Pfn};
use crate::hw::{DeviceHw, MemoryHw, RegisterFrame};
use crate::refusal::Refusal;

const CTLR: u32 = 0x00;
const IIDR: u32 = 0x04;
const TYPER: u32 = 0x08;
const CBASER: u32 = 0x80;
const CWRITER: u32 = 0x88;
const CREADR: u32 = 0x90;
const BASER: u32 = 0x100;

/// GITS_CTLR: Enabled; that and Quiescent, and how they are when the ITS uses no memory.
const ENABLED: u64 = 1;
const CTLR_FIELDS: u64 = 1 | (1 << 31);
const IDLE: [u32; 2] = [1 | (1 << 31), 1 << 31];

/// GITS_CBASER and GITS_BASER, which have a bit `VALID` as commands have. The last are Type and
/// Entry_Size, which hardware decides.
const ATTRIBUTES: u64 = 0x38e0_0000_0000_0c00;
const NON_CACHEABLE: u64 = 1 << 59;
const SIZE: u64 = 0xff;
const QUEUE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const TABLE_ADDRESS: u64 = 0x0000_ffff_ffff_f000;
const PAGE_BITS: u64 = 3 << 8;
const FIXED: u64 = 0x071f_0000_0000_0000;

/// The offset in GITS_CWRITER and GITS_CREADR. The lowest bit of the latter is Stalled.
const OFFSET: u64 = 0xf_ffe0;

/// How many commands are carried out in one access.
const COMMANDS_PER_ACCESS: u32 = 64;

/// A guarded ITS.
#[derive(Clone, Copy, Debug)]
pub(super) struct Its {
    queue: Queue,
    cbaser: u64,
    tables: [Table; 8],
}

/// One GITS_BASER.
#[derive(Clone, Copy, Debug)]
struct Table {
    /// What hardware decides; zero when there is no such table.
    fixed: u64,
    /// What the host reads back, but for that.
    value: u64,
    /// The pages, while they are EL2's.
    pages: Option<PageRange>,
}

/// Refuses what may be done only while the ITS is off and quiescent.
fn check_idle(bus: &mut Bus<'_, '_, impl MemoryHw>) -> Done {
    if wait(bus.hw, bus.frame, CTLR, IDLE, 1) { Ok(()) } else { Err(Refusal::WrongState) }
}

/// Computes the pages that a GITS_BASER names.
fn table_pages(value: u64) -> Result<PageRange, Refusal> {
    // 4, 16 or 64 KiB.
    let page = PAGE_SIZE.wrapping_shl(((value & PAGE_BITS) >> 7) as u32);
    let address = value & TABLE_ADDRESS;
    // With 64 KiB, the lowest bits are bits 51 to 48 of an address that is too wide.
    if address & page.wrapping_sub(1) != 0 {
        return Err(Refusal::Misaligned);
    }
    pages_of(address, page.saturating_mul((value & SIZE).saturating_add(1)))
}

/// Finds the table at an offset.
fn table(tables: &mut [Table], at: u32) -> Option<&mut Table> {
    tables.get_mut((at.wrapping_sub(BASER) >> 3) as usize).filter(|table| table.fixed != 0)
}

impl Its {
    /// Takes an ITS over.
    pub(super) fn start(
        hw: &mut impl DeviceHw,
        frame: RegisterFrame,
        memory: PageRange,
    ) -> Taken<Self> {
        hw.write32(frame, CTLR, 0);
        if !wait(hw, frame, CTLR, IDLE, POLLS) {
            return Err(GicUnusable::DoesNotStop);
        }
        let tables = [0, 1, 2, 3, 4, 5, 6, 7].map(|index| {
            let at = BASER | (index << 3);
            hw.write64(frame, at, 0);
            let fixed = hw.read64(frame, at) & FIXED;
            // Devices and collections.
            let fixed = if matches!(fixed >> 56, 1 | 4) { fixed } else { 0 };
            Table { fixed, value: 0, pages: None }
        });
        let (typer, reader, writer) = (hw.read64(frame, TYPER), 0, 0);
        let (sent, stalled, commands) = (None, false, None);
        let mut queue = Queue { typer, memory, head: 0, sent, stalled, commands, reader, writer };
        queue.restart(hw, frame);
        Ok(Self { queue, cbaser: 0, tables })
    }

    fn write_ctlr(&mut self, bus: &mut Bus<'_, '_, impl MemoryHw>, value: u64) -> Done {
        let ready = |table: &Table| table.fixed == 0 || table.pages.is_some();
        let ready = self.queue.commands.is_some() && self.tables.iter().all(ready);
        // It may not be turned on again before it has stopped.
        if value & ENABLED != 0 && (!ready || bus.read32(CTLR) & CTLR_FIELDS == 0) {
            return Err(Refusal::WrongState);
        }
        bus.write32(CTLR, value & ENABLED);
        self.queue.pump(bus);
        Ok(())
    }

    fn write_cbaser(&mut self, bus: &mut Bus<'_, '_, impl MemoryHw>, value: u64) -> Done {
        check_idle(bus)?;
        let mut commands = None;
        if value & VALID != 0 {
            let bytes = PAGE_SIZE.saturating_mul((value & SIZE).saturating_add(1));
            let pages = pages_of(value & QUEUE_ADDRESS, bytes)?;
            bus.host.pin(pages)?;
            commands = Some(pages);
        }
        if let Some(old) = self.queue.commands {
            bus.unpin(old);
        }
        self.cbaser = value & (VALID | ATTRIBUTES | QUEUE_ADDRESS | SIZE);
        self.queue = Queue { commands, reader: 0, writer: 0, ..self.queue };
        // Hardware may have lost its own in a suspend.
        self.queue.restart(bus.hw, bus.frame);
        Ok(())
    }

    fn write_baser(&mut self, bus: &mut Bus<'_, '_, impl MemoryHw>, at: u32, value: u64) -> Done {
        let Some(table) = table(&mut self.tables, at) else { return Ok(()) };
        check_idle(bus)?;
        let value = value & (VALID | ATTRIBUTES | TABLE_ADDRESS | PAGE_BITS | SIZE);
        // The same value is written again after a suspend, because hardware may have lost it.
        if table.pages.is_none() || table.value != value {
            if table.pages.is_some() {
                self.queue.unmap_devices(bus)?;
            }
            // Which page sizes there are is seen by trying.
            bus.hw.write64(bus.frame, at, value & PAGE_BITS);
            let page_bits = bus.hw.read64(bus.frame, at) & PAGE_BITS;
            if let Some(pages) = table.pages.take() {
                bus.give_back(pages);
            }
            table.value = (value & !(VALID | PAGE_BITS)) | page_bits;
            if value & VALID == 0 {
                return Ok(());
            }
            let pages = table_pages(table.value)?;
            bus.donate(pages)?;
            table.pages = Some(pages);
            table.value |= VALID;
        }
        bus.hw.dsb_sy();
        bus.hw.write64(bus.frame, at, (table.value & !ATTRIBUTES) | table.fixed | NON_CACHEABLE);
        Ok(())
    }
}

impl Registers for Its {
    fn read(&mut self, bus: &mut Bus<'_, '_, impl MemoryHw>, at: u32) -> u64 {
        match at {
            CTLR => bus.read32(at) & CTLR_FIELDS,
            IIDR => bus.read32(at),
            // Nothing of GICv4.
            TYPER => self.queue.typer & 0x1f_ff0f_fff5,
            CBASER => self.cbaser,
            CWRITER => self.queue.writer,
            CREADR => self.queue.read(bus),
            _ => table(&mut self.tables, at).map_or(0, |table| table.fixed | table.value),
        }
    }

    fn write(&mut self, bus: &mut Bus<'_, '_, impl MemoryHw>, at: u32, value: u64) -> Done {
        match at {
            CTLR => self.write_ctlr(bus, value),
            CBASER => self.write_cbaser(bus, value),
            CWRITER => self.queue.write(bus, value),
            _ => self.write_baser(bus, at, value),
        }
    }
}

/// Both queues.
#[derive(Clone, Copy, Debug)]
struct Queue {
    /// GITS_TYPER, which says how commands are to be read.
    typer: u64,
    /// A page for hardware's queue, and translation tables behind it.
    memory: PageRange,
    /// Where hardware's next command goes: all before that is hardware's.
    head: u64,
    /// The command that hardware has not been seen to be done with.
    sent: Option<Sent>,
    stalled: bool,
    /// The host's queue, which is pinned, and where the host's ITS and the host are in it.
    commands: Option<PageRange>,
    reader: u64,
    writer: u64,
}

/// A command for hardware.
#[derive(Clone, Copy, Debug)]
struct Sent {
    words: [u64; 4],
    /// The device that hardware does not know when it is done.
    unmaps: Option<u32>,
    /// Where the host's GITS_CREADR is then.
    reader: u64,
}

impl Queue {
    /// Makes hardware, which is off, start at the beginning of its queue. A command that it may have
    /// is lost: what that would have made superfluous stays.
    fn restart(&mut self, hw: &mut impl DeviceHw, frame: RegisterFrame) {
        hw.write64(frame, CBASER, VALID | NON_CACHEABLE | self.memory.start_pa().raw());
        hw.write64(frame, CWRITER, 0);
        (self.head, self.sent, self.stalled) = (0, None, false);
    }

    /// Reads GITS_CREADR.
    fn read(&mut self, bus: &mut Bus<'_, '_, impl MemoryHw>) -> u64 {
        self.pump(bus);
        let stalled = self.stalled && bus.read32(CREADR) & 1 != 0;
        self.reader | u64::from(stalled)
    }

    /// Writes GITS_CWRITER.
    fn write(&mut self, bus: &mut Bus<'_, '_, impl MemoryHw>, value: u64) -> Done {
        let writer = value & OFFSET;
        if self.commands.is_none_or(|commands| writer >= commands.bytes()) {
            return Err(Refusal::OutOfRange);
        }
        self.writer = writer;
        self.pump(bus);
        Ok(())
    }

    /// Carries out commands of the host as far as hardware keeps up, if it is on.
    fn pump(&mut self, bus: &mut Bus<'_, '_, impl MemoryHw>) {
        let bytes = self.commands.map_or(0, PageRange::bytes);
        if bus.read32(CTLR) & ENABLED == 0 {
            return;
        }
        for _ in 0..COMMANDS_PER_ACCESS {
            if !self.finish(bus) || self.reader == self.writer {
                return;
            }
            let next = self.reader.saturating_add(command::BYTES);
            let next = if next < bytes { next } else { 0 };
            match self.admit(bus, next) {
                Ok(sent) => self.send(bus, sent),
                Err(_) => {
                    bus.refuse();
                    self.reader = next;
                }
            }
        }
        self.finish(bus);
    }

    /// Copies the host's next command, behind which is `next`, and decides what becomes of it.
    fn admit(&self, bus: &mut Bus<'_, '_, impl MemoryHw>, next: u64) -> Result<Sent, Refusal> {
        let page = self.commands.and_then(|commands| commands.page(self.reader >> 12));
        let page = page.ok_or(Refusal::OutOfRange)?.base();
        let first = ((self.reader & 0xfff) >> 3) as usize;
        let words = [0, 1, 2, 3].map(|word| bus.hw.read(page, first.saturating_add(word)));
        // PTA tells whether a redistributor is named by its address.
        let named =
            |[number, base]: &[u64; 2]| if self.typer & (1 << 19) != 0 { *base } else { *number };
        let targets = &bus.shared.targets;
        let is_target = |target| targets.iter().flatten().any(|names| named(names) == target);
        let words = sanitise(words, is_target).ok_or(Refusal::NotOwner)?;
        let sent = Sent { words, unmaps: None, reader: next };
        let [opcode, event_bits, table, _] = words;
        let interrupt = match opcode & !DEVICE {
            MAPD => None,
            MAPTI => Some(event_bits >> 32),
            MAPI => Some(event_bits),
            _ => return Ok(sent),
        };
        if let Some(interrupt) = interrupt {
            let known = (FIRST_LPI..interrupts(bus.shared.properties)).contains(&interrupt);
            return if known { Ok(sent) } else { Err(Refusal::OutOfRange) };
        }
        let id = (opcode >> 32) as u32;
        if table & VALID == 0 {
            return Ok(Sent { unmaps: Some(id), ..sent });
        }
        if bus.device(Some(id)).is_some() {
            // The host's command is next again.
            return Ok(Sent { words: [opcode, 0, 0, 0], unmaps: Some(id), reader: self.reader });
        }
        if event_bits > (self.typer >> 8) & 0x1f {
            return Err(Refusal::OutOfRange);
        }
        let entry = ((self.typer >> 4) & 0xf).saturating_add(1);
        let bytes = entry.wrapping_shl(event_bits as u32).wrapping_shl(1);
        let devices = &mut bus.shared.devices;
        let table = self.free_table(devices, bytes.div_ceil(PAGE_SIZE)).ok_or(Refusal::ListFull)?;
        let slot = devices.iter_mut().find(|slot| slot.is_none()).ok_or(Refusal::ListFull)?;
        *slot = Some(Device { its: bus.frame, id, table });
        table.iter().for_each(|page| bus.hw.scrub(page));
        Ok(Sent { words: [opcode, event_bits, VALID | table.start_pa().raw(), 0], ..sent })
    }

    /// Finds room for a translation table.
    fn free_table(&self, devices: &[Option<Device>], pages: u64) -> Option<PageRange> {
        let mut start = self.memory.page(1)?;
        loop {
            let table = PageRange::new(start, pages).ok().filter(|it| self.memory.covers(*it))?;
            match devices.iter().flatten().find(|device| device.table.overlaps(table)) {
                Some(device) => start = Pfn::new(device.table.end())?,
                None => return Some(table),
            }
        }
    }

    /// Gives hardware a command. It is done with the last one.
    fn send(&mut self, bus: &mut Bus<'_, '_, impl MemoryHw>, sent: Sent) {
        let (page, first) = (self.memory.start_pa(), (self.head >> 3) as usize);
        for (index, word) in (first..first.saturating_add(4)).zip(sent.words) {
            bus.hw.write(page, index, word);
            bus.hw.clean_entry(page, index);
        }
        bus.hw.dsb_sy();
        self.sent = Some(sent);
        self.head = self.head.saturating_add(command::BYTES) % PAGE_SIZE;
        bus.hw.write64(bus.frame, CWRITER, self.head);
    }

    /// Waits until hardware is done with the command that it has. Tells whether it has none.
    fn finish(&mut self, bus: &mut Bus<'_, '_, impl MemoryHw>) -> bool {
        let Some(sent) = self.sent else { return true };
        let done = [OFFSET as u32 | 1, self.head as u32];
        let polls = if self.stalled { 1 } else { POLLS };
        self.stalled = !wait(bus.hw, bus.frame, CREADR, done, polls);
        if self.stalled {
            return false;
        }
        if let Some(device) = sent.unmaps.and_then(|id| bus.device(Some(id))) {
            *device = None;
        }
        (self.reader, self.sent) = (sent.reader, None);
        true
    }

    /// Makes hardware, which is off, forget every device.
    fn unmap_devices(&mut self, bus: &mut Bus<'_, '_, impl MemoryHw>) -> Done {
        if bus.device(None).is_none() {
            return Ok(());
        }
        bus.write32(CTLR, ENABLED);
        while self.finish(bus)
            && let Some(Some(device)) = bus.device(None).copied()
        {
            let words = [MAPD | (u64::from(device.id) << 32), 0, 0, 0];
            self.send(bus, Sent { words, unmaps: Some(device.id), reader: self.reader });
        }
        bus.write32(CTLR, 0);
        let stopped = wait(bus.hw, bus.frame, CTLR, IDLE, POLLS);
        if stopped && bus.device(None).is_none() { Ok(()) } else { Err(Refusal::WrongState) }
    }
}

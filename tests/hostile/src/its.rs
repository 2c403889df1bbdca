//! The GIC's agents that read and write memory, programmed from the host: the interrupt translation
//! service (ITS) with its tables and command queue, and the redistributors with those of the LPIs.
//!
//! Registers are reached as Linux reaches them, by aligned accesses of 32 and 64 bits to a Device
//! window. Numbers are those of the GIC architecture, IHI 0069, chapters 5 and 12.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Check;
use crate::a64;
use crate::device::{self, Attribute, Mapping, Outcome, Step, WINDOW};
use crate::memory::{self, PAGE};
use crate::vm::Pages;

/// Registers of an ITS.
pub mod gits {
    /// Control: bit 0 enables, bit 31 says that all is at rest.
    pub const CTLR: u64 = 0;
    /// What it can do.
    pub const TYPER: u64 = 8;
    /// Command queue.
    pub const CBASER: u64 = 0x80;
    /// Where software writes next.
    pub const CWRITER: u64 = 0x88;
    /// Where the ITS reads next.
    pub const CREADR: u64 = 0x90;
    /// The first of eight table registers.
    pub const BASER: u64 = 0x100;
}

/// Registers of a redistributor.
pub mod gicr {
    /// Control: bit 0 enables LPIs.
    pub const CTLR: u64 = 0;
    /// What it is; bit 1 LPIs of VMs, bit 4 the last one.
    pub const TYPER: u64 = 8;
    /// Configuration of LPIs.
    pub const PROPBASER: u64 = 0x70;
    /// Pending LPIs.
    pub const PENDBASER: u64 = 0x78;
}

/// Bit 63 of a table or queue register, and of commands that map.
pub const VALID: u64 = 1 << 63;
/// Bit 62 of a table register: two levels.
pub const INDIRECT: u64 = 1 << 62;
/// The address in a table or queue register, as far as all have it: bits 47:12.
pub const ADDRESS: u64 = 0xffff_ffff_f000;
/// Bytes of a command.
pub const COMMAND_BYTES: u64 = 32;

/// A command: four words.
pub type Command = [u64; 4];

/// MAPD: gives a device the table of its events; `size` is the number of event bits less one.
#[must_use]
pub const fn mapd(device: u64, table: u64, size: u64, valid: bool) -> Command {
    [0x08 | device << 32, size, table | if valid { VALID } else { 0 }, 0]
}

/// MAPC: binds a collection to a redistributor, by the field that TYPER.PTA decides on.
#[must_use]
pub const fn mapc(collection: u64, target: u64, valid: bool) -> Command {
    [0x09, 0, collection | target << 16 | if valid { VALID } else { 0 }, 0]
}

/// MAPTI: makes an event an LPI.
#[must_use]
pub const fn mapti(device: u64, event: u64, lpi: u64, collection: u64) -> Command {
    [0x0a | device << 32, event | lpi << 32, collection, 0]
}

/// MAPI: makes an event the LPI of its own number.
#[must_use]
pub const fn mapi(device: u64, event: u64, collection: u64) -> Command {
    [0x0b | device << 32, event, collection, 0]
}

/// MOVI: moves an event to another collection.
#[must_use]
pub const fn movi(device: u64, event: u64, collection: u64) -> Command {
    [0x01 | device << 32, event, collection, 0]
}

/// A command about an event: INT 3, CLEAR 4, INV 0xc, DISCARD 0xf.
#[must_use]
pub const fn about_event(opcode: u64, device: u64, event: u64) -> Command {
    [opcode | device << 32, event, 0, 0]
}

/// SYNC with a redistributor.
#[must_use]
pub const fn sync(target: u64) -> Command {
    [0x05, 0, target << 16, 0]
}

/// A step that reads 1 << `size` bytes of a register into X0.
#[must_use]
pub fn read_step(register: u64, size: u32) -> Step {
    Step::new([a64::load(size, 0, 1), a64::DSB, a64::RET])
        .window(register, Attribute::DeviceStrong)
        .registers(&[0, WINDOW + register % PAGE])
}

/// A step that writes X0 to a register.
#[must_use]
pub fn write_step(register: u64, value: u64, size: u32) -> Step {
    Step::new([a64::store(size, 0, 1), a64::DSB, a64::RET])
        .window(register, Attribute::DeviceStrong)
        .registers(&[value, WINDOW + register % PAGE])
}

fn returned(step: &Step, what: &str, register: u64) -> Check {
    match step.outcome {
        Outcome::Returned => Ok(()),
        outcome => Err(format!("{what} of the register at {register:#x}: {outcome:x?}")),
    }
}

/// Reads a 64-bit register.
///
/// # Errors
/// When the access takes an exception.
pub fn read(register: u64) -> Check<u64> {
    let step = device::run_one(read_step(register, 3))?;
    returned(&step, "read", register).map(|()| step.x[0])
}

/// Writes a 64-bit register.
///
/// # Errors
/// When the access takes an exception.
pub fn write(register: u64, value: u64) -> Check {
    returned(&device::run_one(write_step(register, value, 3))?, "write", register)
}

/// Reads a 32-bit register.
///
/// # Errors
/// When the access takes an exception.
pub fn read32(register: u64) -> Check<u64> {
    let step = device::run_one(read_step(register, 2))?;
    returned(&step, "read", register).map(|()| step.x[0] & 0xffff_ffff)
}

/// Writes a 32-bit register.
///
/// # Errors
/// When the access takes an exception.
pub fn write32(register: u64, value: u64) -> Check {
    returned(&device::run_one(write_step(register, value, 2))?, "write", register)
}

/// Where the GIC is, as the device tree says.
#[derive(Clone, Copy, Debug)]
pub struct Gic {
    /// The first ITS.
    pub its: u64,
    /// The first redistributor.
    redistributors: u64,
}

/// The first address in the `reg` of a node, the `index`-th range; addresses and sizes of 64 bits.
fn range(node: &Path, index: usize) -> Option<u64> {
    let reg = fs::read(node.join("reg")).ok()?;
    let bytes = reg.get(index * 16..index * 16 + 8)?;
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// The child of a node that is compatible with something.
fn compatible(parent: &Path, what: &str) -> Option<PathBuf> {
    let children = fs::read_dir(parent).ok()?.flatten().map(|entry| entry.path());
    children.into_iter().find(|node| {
        let list = fs::read(node.join("compatible")).unwrap_or_default();
        list.split(|byte| *byte == 0).any(|name| name == what.as_bytes())
    })
}

impl Gic {
    /// Looks for a GICv3 with an ITS.
    #[must_use]
    pub fn find() -> Option<Self> {
        let gic = compatible(Path::new("/proc/device-tree"), "arm,gic-v3")?;
        let its = compatible(&gic, "arm,gic-v3-its")?;
        Some(Self { its: range(&its, 0)?, redistributors: range(&gic, 1)? })
    }

    /// Finds it.
    ///
    /// # Errors
    /// When there is none.
    pub fn get() -> Check<Self> {
        Self::find().ok_or_else(|| "this machine has no GICv3 with an ITS".into())
    }

    /// All redistributors.
    ///
    /// # Errors
    /// When a register cannot be read, or there is no end of them.
    pub fn redistributors(self) -> Check<Vec<u64>> {
        let mut frames = Vec::new();
        let mut at = self.redistributors;
        while frames.len() < 512 {
            frames.push(at);
            let kind = read(at + gicr::TYPER)?;
            if kind >> 4 & 1 == 1 {
                return Ok(frames);
            }
            at += if kind >> 1 & 1 == 1 { 0x4_0000 } else { 0x2_0000 };
        }
        Err("there is no last redistributor".into())
    }
}

/// Number of table registers.
pub const TABLES: u64 = 8;
/// Type of a table register: devices.
pub const DEVICES: u64 = 1;
/// Type of a table register: collections.
pub const COLLECTIONS: u64 = 4;

/// The type that a table register says it has.
#[must_use]
pub const fn table_type(register: u64) -> u64 {
    register >> 56 & 7
}

/// An ITS that Linux leaves alone, set up by this program: tables, queue, enabled.
#[derive(Debug)]
pub struct Its {
    /// Its registers.
    pub base: u64,
    /// Its command queue of one page.
    pub queue: Pages,
    /// The queue, mapped.
    pub words: Mapping,
    /// Tables by their register.
    pub tables: Vec<(u64, Pages)>,
}

/// Orders of a table: 4 pages.
const TABLE_ORDER: u32 = 2;

impl Its {
    /// Sets up tables and queue and enables the ITS.
    ///
    /// # Errors
    /// When it is in use, or does not take what is the host's to give.
    pub fn start(gic: Gic) -> Check<Self> {
        let base = gic.its;
        if read32(base + gits::CTLR)? & 1 == 1 {
            return Err("the ITS is in use".into());
        }
        let mut tables = Vec::new();
        for index in 0..TABLES {
            let register = base + gits::BASER + 8 * index;
            if matches!(table_type(read(register)?), DEVICES | COLLECTIONS) {
                let pages = Pages::new(TABLE_ORDER)?;
                write(register, VALID | pages.address() | (pages.count() - 1))?;
                let now = read(register)?;
                if now & VALID == 0 || now & ADDRESS != pages.address() {
                    return Err(format!("GITS_BASER{index} became {now:#x}, not {pages:x?}"));
                }
                tables.push((register, pages));
            }
        }
        let queue = Pages::new(0)?;
        let its = Self { base, queue, words: Mapping::new(queue.pfn, 1)?, tables };
        its.enable()?;
        Ok(its)
    }

    /// Gives the ITS its queue, empty, and enables it.
    ///
    /// # Errors
    /// When it does not take the queue.
    pub fn enable(&self) -> Check {
        write(self.base + gits::CBASER, VALID | self.queue.address())?;
        let now = read(self.base + gits::CBASER)?;
        if now & VALID == 0 || now & ADDRESS != self.queue.address() {
            return Err(format!("GITS_CBASER became {now:#x}, not {:x?}", self.queue));
        }
        write(self.base + gits::CWRITER, 0)?;
        write32(self.base + gits::CTLR, 1)?;
        match read32(self.base + gits::CTLR)? & 1 {
            1 => Ok(()),
            _ => Err("the ITS cannot be enabled".into()),
        }
    }

    /// Disables the ITS and waits until it rests.
    ///
    /// # Errors
    /// When it does not.
    pub fn disable(&self) -> Check {
        write32(self.base + gits::CTLR, 0)?;
        for _ in 0..10_000 {
            let control = read32(self.base + gits::CTLR)?;
            if control & 1 == 0 && control >> 31 & 1 == 1 {
                return Ok(());
            }
        }
        Err("the ITS does not come to rest".into())
    }

    /// Writes a command to a slot of the queue.
    pub fn put(&self, slot: u64, command: Command) {
        for (word, value) in command.into_iter().enumerate() {
            #[allow(clippy::cast_possible_truncation)]
            self.words.set((slot * COMMAND_BYTES) as usize + 8 * word, value);
        }
    }

    /// Waits until the ITS has read all that was written.
    ///
    /// # Errors
    /// When it stalls or does not get there.
    pub fn wait(&self) -> Check {
        for _ in 0..10_000 {
            let reader = read(self.base + gits::CREADR)?;
            if reader & 1 == 1 {
                return Err(format!("the queue is stalled: CREADR {reader:#x}"));
            }
            if reader == read(self.base + gits::CWRITER)? & !1 {
                return Ok(());
            }
        }
        Err("the ITS does not finish its queue".into())
    }

    /// Has commands carried out, and waits until they are.
    ///
    /// # Errors
    /// When the ITS does not get there.
    pub fn send(&self, commands: &[Command]) -> Check {
        let slots = PAGE / COMMAND_BYTES;
        let mut slot = read(self.base + gits::CWRITER)? / COMMAND_BYTES % slots;
        for batch in commands.chunks(64) {
            for command in batch {
                self.put(slot, *command);
                slot = (slot + 1) % slots;
            }
            write(self.base + gits::CWRITER, slot * COMMAND_BYTES)?;
            self.wait()?;
        }
        Ok(())
    }

    /// Switches the ITS off and takes all pages back.
    ///
    /// # Errors
    /// When a page does not come back, or tables come back with something in them.
    pub fn stop(self) -> Check {
        self.disable()?;
        write(self.base + gits::CBASER, 0)?;
        for (register, _) in &self.tables {
            write(*register, 0)?;
            let now = read(*register)?;
            if now & VALID != 0 {
                return Err(format!("the table register at {register:#x} stays {now:#x}"));
            }
        }
        for (_, pages) in self.tables {
            memory::require_zero(pages.pfn, pages.count())?;
            pages.free()?;
        }
        drop(self.words);
        self.queue.free()
    }
}

//! An NVMe controller with nothing but its admin queue: a DMA engine that is done at once.
//!
//! Three commands are enough. IDENTIFY writes a page whose contents are known (the serial number is
//! in it), SET FEATURES of the time stamp reads 8 bytes, and GET FEATURES tells what they were.
//!
//! Spec: NVM Express base specification 1.4, chapters 3, 4 and 5.

use std::time::{Duration, Instant};

use crate::Check;
use crate::device::Mapping;
use crate::masters::pci::{self, Function, Registers};
use crate::memory::PAGE;
use crate::vm::Pages;

const CONFIGURATION: usize = 0x14;
const STATUS: usize = 0x1c;
const QUEUE_SIZES: usize = 0x24;
const SUBMISSION_BASE: usize = 0x28;
const COMPLETION_BASE: usize = 0x30;
const SUBMISSION_TAIL: usize = 0x1000;
const COMPLETION_HEAD: usize = 0x1004;

/// Enabled, with entries of 64 and 16 bytes.
const ENABLE: u32 = 1 | 6 << 16 | 4 << 20;
const READY: u32 = 1;
const FATAL: u32 = 2;

const SET_FEATURES: u32 = 0x09;
const GET_FEATURES: u32 = 0x0a;
const IDENTIFY: u32 = 0x06;
const CONTROLLER: u32 = 1;
const TIME_STAMP: u32 = 0x0e;

/// Entries of the queues.
const ENTRIES: u32 = 64;
/// The longest that the controller may take for anything.
const LIMIT: Duration = Duration::from_secs(10);

/// A controller that was taken from its driver.
#[derive(Debug)]
pub struct Nvme {
    registers: Registers,
    /// Its stream.
    pub stream: u32,
    submission: Mapping,
    completion: Mapping,
    queues: Pages,
    own: Pages,
    tail: u32,
    head: u32,
    phase: bool,
}

/// The functions that are NVMe controllers.
fn functions() -> Check<Vec<Function>> {
    pci::all(0x1b36, 0x0010)
}

impl Nvme {
    /// Takes the last controller of the machine from its driver and starts it.
    ///
    /// # Errors
    /// When there is none, or it does not start.
    pub fn last() -> Check<Self> {
        let function = functions()?.pop().ok_or("the machine has no NVMe controller")?;
        function.unbind()?;
        function.enable()?;
        let queues = Pages::new(1)?;
        let mut nvme = Self {
            registers: function.registers(0)?,
            stream: function.requester,
            submission: Mapping::new(queues.pfn, 1)?,
            completion: Mapping::new(queues.pfn + 1, 1)?,
            queues,
            own: Pages::new(0)?,
            tail: 0,
            head: 0,
            phase: true,
        };
        nvme.restart(queues.pfn * PAGE, (queues.pfn + 1) * PAGE)?;
        Ok(nvme)
    }

    fn wait(&self, what: &str, done: impl Fn(&Self) -> bool) -> Check {
        let start = Instant::now();
        while !done(self) {
            if start.elapsed() > LIMIT {
                return Err(format!("the NVMe controller does not {what}"));
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Stops the controller and starts it with its admin queues at these addresses.
    ///
    /// # Errors
    /// When it does not.
    pub fn restart(&mut self, submission: u64, completion: u64) -> Check {
        self.registers.write32(CONFIGURATION, 0);
        self.wait("stop", |nvme| nvme.registers.read32(STATUS) & READY == 0)?;
        let entries = ENTRIES - 1;
        self.registers.write32(QUEUE_SIZES, entries << 16 | entries);
        self.registers.write64(SUBMISSION_BASE, submission);
        self.registers.write64(COMPLETION_BASE, completion);
        (self.tail, self.head, self.phase) = (0, 0, true);
        self.completion.load(&[]);
        self.registers.write32(CONFIGURATION, ENABLE);
        self.wait("start", |nvme| nvme.registers.read32(STATUS) & (READY | FATAL) != 0)
    }

    /// Starts it with its own queues.
    ///
    /// # Errors
    /// When it does not.
    pub fn restart_whole(&mut self) -> Check {
        self.restart(self.queues.pfn * PAGE, (self.queues.pfn + 1) * PAGE)
    }

    /// Starts it with its own commands, and answers elsewhere.
    ///
    /// # Errors
    /// When it does not.
    pub fn restart_with_own_commands(&mut self, completion: u64) -> Check {
        self.restart(self.queues.pfn * PAGE, completion)
    }

    /// Puts a command into the queue and tells the controller.
    pub fn submit(&mut self, opcode: u32, dword10: u32, data: u64) {
        let entry = self.tail as usize * 64;
        let words = [u64::from(opcode) | u64::from(self.tail) << 16, 0, 0, data, 0, 0];
        for (index, word) in words.into_iter().chain([0, 0]).enumerate() {
            let word = if index == 5 { u64::from(dword10) } else { word };
            self.submission.set(entry + index * 8, word);
        }
        self.tail = (self.tail + 1) % ENTRIES;
        self.registers.write32(SUBMISSION_TAIL, self.tail);
    }

    /// Waits for the end of a command; returns its status, zero for success.
    ///
    /// # Errors
    /// When it does not end.
    pub fn complete(&mut self) -> Check<u32> {
        let at = self.head as usize * 16 + 8;
        let phase = u64::from(self.phase);
        self.wait("answer", |nvme| nvme.completion.get(at) >> 48 & 1 == phase)?;
        let status = self.completion.get(at) >> 49;
        self.head = (self.head + 1) % ENTRIES;
        self.phase ^= self.head == 0;
        self.registers.write32(COMPLETION_HEAD, self.head);
        u32::try_from(status).map_err(|error| error.to_string())
    }

    /// Has the controller's description written to a page; whether it was is another question.
    ///
    /// # Errors
    /// When the command does not end.
    pub fn write(&mut self, physical: u64) -> Check {
        self.identify(physical);
        self.complete().map(drop)
    }

    /// The same, without waiting.
    pub fn identify(&mut self, physical: u64) {
        self.submit(IDENTIFY, CONTROLLER, physical);
    }

    /// Has the controller read 8 bytes, whatever they are.
    ///
    /// # Errors
    /// When the command does not end.
    pub fn fetch(&mut self, physical: u64) -> Check {
        self.submit(SET_FEATURES, TIME_STAMP, physical);
        self.complete().map(drop)
    }

    /// What the controller finds at an address: 48 bits, zero if it finds nothing there.
    ///
    /// # Errors
    /// When a command does not end.
    pub fn read(&mut self, physical: u64) -> Check<u64> {
        let own = Mapping::new(self.own.pfn, 1)?;
        // A time stamp of zero, so that one that cannot be read does not show the last.
        for source in [self.own.pfn * PAGE, physical] {
            own.set(0, 0);
            self.fetch(source)?;
        }
        self.submit(GET_FEATURES, TIME_STAMP, self.own.pfn * PAGE);
        self.complete()?;
        // It counts milliseconds on from there: a small number is the zero.
        let stamp = own.get(0) & 0xffff_ffff_ffff;
        Ok(if stamp < 60_000 { 0 } else { stamp })
    }
}

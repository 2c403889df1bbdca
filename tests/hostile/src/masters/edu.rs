//! QEMU's teaching device: one page of buffer and a DMA engine without any limit.
//!
//! The engine takes a tenth of a second of the machine's time for each transfer, and says when it has
//! ended, but not how. What its buffer holds is seen by having it written to a page of one's own.
//!
//! Spec: QEMU docs/specs/edu.rst.

use std::thread;
use std::time::{Duration, Instant};

use crate::Check;
use crate::masters::MARK;
use crate::masters::pci::{self, Registers};
use crate::memory::{self, PAGE};
use crate::vm::Pages;

const IDENTITY: u32 = 0x0100_00ed;
const SOURCE: usize = 0x80;
const DESTINATION: usize = 0x88;
const COUNT: usize = 0x90;
const COMMAND: usize = 0x98;
/// The buffer, in the device's own address space.
const BUFFER: u64 = 0x4_0000;
const START: u64 = 1 << 0;
const TO_MEMORY: u64 = 1 << 1;

/// What the buffer holds before something is read into it.
const UNTOUCHED: u64 = 0x0420_5241_4554_5321;

/// The longest that a transfer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The device.
#[derive(Debug)]
pub struct Edu {
    registers: Registers,
    /// Its stream.
    pub stream: u32,
    /// A page of the host's to fill the buffer from and to look at it with.
    own: Pages,
}

impl Edu {
    /// All of them, in the order of their streams.
    ///
    /// # Errors
    /// When one does not say who it is.
    pub fn all() -> Check<Vec<Self>> {
        let functions = pci::all(0x1234, 0x11e8)?;
        functions
            .into_iter()
            .map(|function| {
                function.enable()?;
                let registers = function.registers(0)?;
                let identity = registers.read32(0);
                if identity != IDENTITY {
                    return Err(format!("edu says that it is {identity:#x}"));
                }
                Ok(Self { registers, stream: function.requester, own: Pages::new(0)? })
            })
            .collect()
    }

    /// The first.
    ///
    /// # Errors
    /// When there is none.
    pub fn first() -> Check<Self> {
        Self::all()?.into_iter().next().ok_or_else(|| "the machine has no edu device".to_owned())
    }

    /// Starts a transfer of a page between the buffer and memory.
    pub fn start(&self, physical: u64, to_memory: bool) {
        let (source, destination) = if to_memory { (BUFFER, physical) } else { (physical, BUFFER) };
        self.registers.write64(SOURCE, source);
        self.registers.write64(DESTINATION, destination);
        self.registers.write64(COUNT, PAGE);
        self.registers.write64(COMMAND, START | if to_memory { TO_MEMORY } else { 0 });
    }

    /// Whether a transfer is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.registers.read64(COMMAND) & START != 0
    }

    /// Transfers a page and waits for the end.
    ///
    /// # Errors
    /// When the engine does not end.
    pub fn transfer(&self, physical: u64, to_memory: bool) -> Check {
        self.start(physical, to_memory);
        let start = Instant::now();
        while self.is_busy() {
            if start.elapsed() > LIMIT {
                return Err("the engine of edu does not end".into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Fills the buffer with the mark.
    ///
    /// # Errors
    /// When the engine does not end.
    pub fn load_mark(&self) -> Check {
        memory::fill(self.own.pfn, MARK)?;
        self.transfer(self.own.pfn * PAGE, false)
    }

    /// Has the mark written to a page.
    ///
    /// # Errors
    /// When the engine does not end.
    pub fn write_mark(&self, physical: u64) -> Check {
        self.load_mark()?;
        self.transfer(physical, true)
    }

    /// What the device finds in a page: the first word that did not stay as the buffer had it, or
    /// became zero, which is what an access that was refused may leave.
    ///
    /// # Errors
    /// When the engine does not end.
    pub fn read(&self, physical: u64) -> Check<Option<u64>> {
        memory::fill(self.own.pfn, UNTOUCHED)?;
        self.transfer(self.own.pfn * PAGE, false)?;
        self.transfer(physical, false)?;
        memory::fill(self.own.pfn, 0)?;
        self.transfer(self.own.pfn * PAGE, true)?;
        for offset in (0..PAGE).step_by(8) {
            let word = memory::read(self.own.pfn * PAGE + offset)?.ok_or("a page is lost")?;
            if word != UNTOUCHED && word != 0 {
                return Ok(Some(word));
            }
        }
        Ok(None)
    }
}

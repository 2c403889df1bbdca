//! The virtual functions of an Intel 82576: their transmit queues, pointed by hand.
//!
//! The stock driver has made the functions. Queue n belongs to virtual function n, whose requester ID
//! is on all of its accesses; its registers are written through those of the physical function, which
//! has them all. Descriptors are of the legacy kind, 16 bytes.
//!
//! Spec: Intel 82576 datasheet, 7.2.2 (legacy descriptors) and 8.12 (transmit registers).

use std::time::{Duration, Instant};

use crate::Check;
use crate::device::Mapping;
use crate::masters::pci::{self, Registers};
use crate::memory::PAGE;
use crate::vm::Pages;

/// Registers of queue 0; those of the next are `QUEUE` further on.
const BASE_LOW: usize = 0xe000;
const BASE_HIGH: usize = 0xe004;
const LENGTH: usize = 0xe008;
const HEAD: usize = 0xe010;
const TAIL: usize = 0xe018;
const CONTROL: usize = 0xe028;
const QUEUE: usize = 0x40;
const QUEUE_ENABLE: u32 = 1 << 25;

/// End of packet, insert checksum, report status.
const COMMAND: u64 = (1 | 2 | 8) << 24;
/// Bytes of a frame.
const FRAME: u64 = 64;
const DONE: u64 = 1 << 32;

/// Transmit control, and which virtual functions may transmit.
const TRANSMIT_CONTROL: usize = 0x400;
const TRANSMIT_ENABLE: u32 = 1 << 1;
const VIRTUAL_TRANSMIT: usize = 0xc90;

/// A virtual function.
#[derive(Debug)]
pub struct Virtual {
    /// Of the physical function.
    registers: Registers,
    queue: usize,
    /// Its stream.
    pub stream: u32,
    own: Pages,
}

impl Virtual {
    /// All that the physical function has.
    ///
    /// # Errors
    /// When one cannot be reached.
    pub fn all() -> Check<Vec<Self>> {
        let card = pci::all(0x8086, 0x10c9)?.pop().ok_or("the machine has no igb card")?;
        let registers = card.registers(0)?;
        let set = |register, bits| registers.write32(register, registers.read32(register) | bits);
        set(TRANSMIT_CONTROL, TRANSMIT_ENABLE);
        set(VIRTUAL_TRANSMIT, 0xff);
        let functions = pci::all(0x8086, 0x10ca)?.into_iter().zip((0..).step_by(QUEUE));
        functions
            .map(|(function, queue)| {
                function.enable()?;
                let (registers, own) = (card.registers(0)?, Pages::new(0)?);
                Ok(Self { registers, queue, stream: function.requester, own })
            })
            .collect()
    }

    /// Points the queue at a page and lets the device take the first descriptor in it.
    fn send_from(&self, ring: u64) {
        let write = |register, value| self.registers.write32(register + self.queue, value);
        write(CONTROL, 0);
        write(BASE_LOW, (ring & 0xffff_ffff) as u32);
        write(BASE_HIGH, (ring >> 32) as u32);
        write(LENGTH, PAGE as u32);
        write(HEAD, 0);
        write(TAIL, 0);
        write(CONTROL, QUEUE_ENABLE);
        write(TAIL, 1);
    }

    /// Has the device fetch a descriptor from an address.
    pub fn fetch(&self, ring: u64) {
        self.send_from(ring);
    }

    /// Has the device send what is at an address; fails if it does not report to have done so, or
    /// to have tried.
    ///
    /// # Errors
    /// When the device does not answer.
    pub fn send(&self, data: u64) -> Check {
        let ring = Mapping::new(self.own.pfn, 1)?;
        ring.load(&[]);
        ring.set(0, data);
        ring.set(8, FRAME | COMMAND);
        self.send_from(self.own.pfn * PAGE);
        let start = Instant::now();
        while ring.get(8) & DONE == 0 {
            if start.elapsed() > Duration::from_secs(5) {
                return Err(format!("the virtual function {:#x} does not send", self.stream));
            }
            std::thread::yield_now();
        }
        Ok(())
    }
}

//! Which PCI functions there are behind a host bridge, and whether each is behind its SMMU.
//!
//! [`take_inventory`] runs before the host, when most loaders have not numbered a bus, and the
//! functions that the host will find later have to be found now:
//!
//! 1. The root bus is scanned and its bridges are silenced: with bus numbers of zero they lead
//!    nowhere.
//! 2. What answers on another bus now is on a second root, which no `iommu-map` knows.
//! 3. The bridges are numbered one path at a time, each bus is scanned, and the bridges on it
//!    treated in the same way. Every bridge gets back the numbers that it had.
//!
//! The loader's numbers are not used at all: one way through the hierarchy works for numbers
//! that are whole, missing or nonsense. Nothing notices: bus mastering is turned off on every
//! function when it is first seen, and a host that turns it on again does so by a write to
//! configuration space, from which the function learns its own bus number anew.
//!
//! All 256 functions of a bus are looked at, whatever the multi-function bit says: a device
//! number without function 0, or one that answers for all of its functions, is then no special
//! case. Virtual functions do not show (their vendor ID reads as all ones); their requester IDs
//! are the `iommu-map`'s.
//!
//! A virtio function accesses memory through its SMMU only if it offers
//! `VIRTIO_F_ACCESS_PLATFORM`; otherwise it uses physical addresses (Virtual I/O Device v1.2,
//! section 6). Its features are read through the window in configuration space (section
//! 4.1.4.9), which needs no BAR.
//!
//! Trusts nothing that is read: with any contents the walk ends, after at most
//! [`MAX_BUS_SCANS`] scans of a bus.

use crate::array_vec::ArrayVec;
use crate::machine::HostBridge;
use crate::unguarded::{Reason, Unguarded};

/// How many bridges are followed one behind the other.
const MAX_DEPTH: usize = 16;
/// How many bridges there may be on the buses of one path.
const MAX_BRIDGES: usize = 256;
/// How many buses are scanned behind bridges.
pub const MAX_BUS_SCANS: u32 = 256;
/// How many capabilities fit configuration space, and how many of its extension are looked at.
const MAX_CAPABILITIES: u32 = 48;
const MAX_EXTENDED: u32 = 64;

// Registers (PCI Local Bus Specification 3.0, 6.1; PCI-to-PCI Bridge Architecture 1.2, 3.2).
const ID: u16 = 0x00;
const COMMAND: u16 = 0x04;
const HEADER: u16 = 0x0c;
const BUS_NUMBERS: u16 = 0x18;
const CAPABILITIES: u16 = 0x34;
const BRIDGE_CONTROL: u16 = 0x3c;

const EXTENDED: u16 = 0x100;

const COMMAND_BUS_MASTER: u32 = 1 << 2;
const STATUS_CAPABILITIES: u32 = 1 << 20;
const HEADER_ENDPOINT: u32 = 0;
const HEADER_BRIDGE: u32 = 1;
/// Functions behind the bridge are held in reset, and so cannot be seen.
const BRIDGE_RESET: u32 = 1 << 22;
/// The secondary latency timer, which shares a register with the bus numbers.
const NOT_BUS_NUMBERS: u32 = 0xff00_0000;

const VIRTIO_VENDOR: u32 = 0x1af4;
const VENDOR_CAPABILITY: u32 = 0x09;
const SRIOV_CAPABILITY: u32 = 0x10;
// Offsets in a virtio capability, and its types (Virtual I/O Device v1.2, 4.1.4).
const VIRTIO_BAR: u16 = 4;
const VIRTIO_OFFSET: u16 = 8;
const VIRTIO_LENGTH: u16 = 12;
const VIRTIO_WINDOW: u16 = 16;
const COMMON_CONFIGURATION: u32 = 1;
const WINDOW: u32 = 5;
// Offsets in the common configuration, and VIRTIO_F_ACCESS_PLATFORM in the upper features.
const FEATURE_SELECT: u32 = 0;
const FEATURES: u32 = 4;
const ACCESS_PLATFORM: u32 = 1 << (33 - 32);

/// Configuration space behind a host bridge.
pub trait ConfigSpace {
    /// Reads a 32-bit register; all ones if there is no such function.
    fn read(&mut self, requester: u16, offset: u16) -> u32;
    /// Writes a 32-bit register.
    fn write(&mut self, requester: u16, offset: u16, value: u32);
}

/// Looks at every function and stops its DMA. The first function that is not behind its SMMU is
/// the error, or the first that is not understood; the others are stopped all the same.
#[inline(never)]
pub fn take_inventory(space: &mut impl ConfigSpace, bridge: &HostBridge) -> Result<(), Unguarded> {
    let mut walk = Walk {
        space,
        last_bus: bridge.last_bus,
        highest: bridge.first_bus,
        taken: [0; 8],
        bridges: ArrayVec::new(),
        path: ArrayVec::new(),
        scans: MAX_BUS_SCANS,
        found: Ok(()),
    };
    walk.enter(bridge.first_bus);
    walk.find_other_roots(bridge.first_bus);
    walk.follow_bridges();
    walk.found
}

/// A silenced bridge, and what its bus number register held.
#[derive(Clone, Copy, Default)]
struct Bridge {
    requester: u16,
    numbers: u32,
}

/// A bus on the path from the root, whose bridges are the list's from `first` on.
#[derive(Clone, Copy, Default)]
struct Bus {
    number: u8,
    first: usize,
    next: usize,
}

struct Walk<'s, S> {
    space: &'s mut S,
    last_bus: u8,
    /// The highest number that a bus was given.
    highest: u8,
    /// Bit set of the buses that belong to other roots.
    taken: [u32; 8],
    bridges: ArrayVec<Bridge, MAX_BRIDGES>,
    path: ArrayVec<Bus, { MAX_DEPTH + 1 }>,
    scans: u32,
    found: Result<(), Unguarded>,
}

impl<S: ConfigSpace> Walk<'_, S> {
    /// Keeps the first reason.
    fn blame(&mut self, reason: Reason, requester: u16) {
        if self.found.is_ok() {
            self.found = Err(Unguarded::function(reason, requester));
        }
    }

    /// Scans a bus and adds it to the path.
    fn enter(&mut self, bus: u8) {
        let first = self.bridges.len();
        for devfn in 0..=u8::MAX {
            let requester = u16::from_be_bytes([bus, devfn]);
            match self.look_at(requester) {
                Some(HEADER_BRIDGE) => self.silence(requester),
                Some(HEADER_ENDPOINT) | None => {}
                Some(_) => self.blame(Reason::BadHierarchy, requester),
            }
        }
        // There is room: whoever calls has looked.
        let _ = self.path.push(Bus { number: bus, first, next: first });
    }

    /// Stops a function's DMA, looks at how it does DMA, and returns its type of header; `None`
    /// if there is none.
    fn look_at(&mut self, requester: u16) -> Option<u32> {
        let id = self.space.read(requester, ID);
        if id & 0xffff == 0xffff {
            return None;
        }
        let command = self.space.read(requester, COMMAND);
        if command & COMMAND_BUS_MASTER != 0 {
            // The upper half is status bits that a one clears.
            self.space.write(requester, COMMAND, command & 0xffff & !COMMAND_BUS_MASTER);
        }
        if id & 0xffff == VIRTIO_VENDOR
            && match id >> 16 {
                // Transitional functions may be used without any feature.
                0x1000..=0x103f => true,
                0x1040..=0x107f => {
                    !self.is_virtio_behind_smmu(requester) || self.has_virtual_functions(requester)
                }
                _ => false,
            }
        {
            self.blame(Reason::VirtioBypass, requester);
        }
        Some(self.space.read(requester, HEADER) >> 16 & 0x7f)
    }

    /// Keeps a bridge's numbers and makes it lead nowhere.
    fn silence(&mut self, requester: u16) {
        let numbers = self.space.read(requester, BUS_NUMBERS);
        if self.bridges.push(Bridge { requester, numbers }).is_err() {
            return self.blame(Reason::BadHierarchy, requester);
        }
        self.space.write(requester, BUS_NUMBERS, numbers & NOT_BUS_NUMBERS);
    }

    /// Looks for functions that answer although no bridge leads anywhere.
    fn find_other_roots(&mut self, root: u8) {
        for bus in (root..=self.last_bus).skip(1) {
            for devfn in 0..=u8::MAX {
                let requester = u16::from_be_bytes([bus, devfn]);
                if self.space.read(requester, ID) & 0xffff != 0xffff {
                    self.blame(Reason::SecondRoot, requester);
                    self.look_at(requester);
                    if let Some(word) = self.taken.get_mut(usize::from(bus >> 5)) {
                        *word |= 1u32.wrapping_shl(u32::from(bus));
                    }
                }
            }
        }
    }

    /// Goes down behind every bridge.
    fn follow_bridges(&mut self) {
        while let Some(bus) = self.path.last_mut() {
            let number = bus.number;
            if let Some(bridge) = self.bridges.get(bus.next).copied() {
                bus.next = bus.next.saturating_add(1);
                if !self.descend(number, bridge) {
                    self.blame(Reason::BadHierarchy, bridge.requester);
                }
                continue;
            }
            // All behind this bus is done: its bridges get their numbers back, then the bridge
            // to it is silenced. From the last on, so that of several names of one bridge the
            // first, which saw its numbers, is the last to write.
            let first = bus.first;
            while self.bridges.len() > first
                && let Some(bridge) = self.bridges.pop()
            {
                self.space.write(bridge.requester, BUS_NUMBERS, bridge.numbers);
            }
            self.path.pop();
            let parent = self.path.last().and_then(|bus| bus.next.checked_sub(1));
            if let Some(bridge) = parent.and_then(|index| self.bridges.get(index)) {
                let silent = bridge.numbers & NOT_BUS_NUMBERS;
                self.space.write(bridge.requester, BUS_NUMBERS, silent);
            }
        }
    }

    /// Numbers the bus behind a bridge on `bus` and scans it.
    fn descend(&mut self, bus: u8, bridge: Bridge) -> bool {
        // Ascending, as hosts do it, so that a message has their number; if those run out, again
        // from the lowest that leads downwards.
        let ascending = (self.highest.max(bus)..=self.last_bus).skip(1);
        let free = ascending.chain((bus..=self.last_bus).skip(1)).find(|bus| {
            let word = self.taken.get(usize::from(bus >> 5)).copied().unwrap_or(0);
            word.wrapping_shr(u32::from(*bus)) & 1 == 0
        });
        let (Some(secondary), Some(scans)) = (free, self.scans.checked_sub(1)) else {
            return false;
        };
        let control = self.space.read(bridge.requester, BRIDGE_CONTROL);
        if self.path.len() > MAX_DEPTH || control & BRIDGE_RESET != 0 {
            return false;
        }
        self.scans = scans;
        self.highest = self.highest.max(secondary);
        let kept = bridge.numbers & NOT_BUS_NUMBERS;
        let numbers = u32::from_be_bytes([0, self.last_bus, secondary, bus]);
        self.space.write(bridge.requester, BUS_NUMBERS, kept | numbers);
        if self.space.read(bridge.requester, BUS_NUMBERS) & !NOT_BUS_NUMBERS != numbers {
            self.space.write(bridge.requester, BUS_NUMBERS, kept);
            return false;
        }
        self.enter(secondary);
        true
    }

    /// Tells whether a function can have virtual functions, which show only when they are made:
    /// of those of a virtio function nothing is known.
    fn has_virtual_functions(&mut self, requester: u16) -> bool {
        let mut at = EXTENDED;
        for _ in 0..MAX_EXTENDED {
            let header = self.space.read(requester, at);
            if header & 0xffff == SRIOV_CAPABILITY {
                return true;
            }
            at = (header >> 20) as u16 & 0xffc;
            if header == u32::MAX || at < EXTENDED {
                return false;
            }
        }
        true
    }

    /// Tells whether a virtio function offers `VIRTIO_F_ACCESS_PLATFORM`. Not to find out is no.
    fn is_virtio_behind_smmu(&mut self, requester: u16) -> bool {
        let space = &mut *self.space;
        if space.read(requester, COMMAND) & STATUS_CAPABILITIES == 0 {
            return false;
        }
        let (mut common, mut window) = (None, None);
        let mut at = space.read(requester, CAPABILITIES) as u16 & 0xfc;
        for _ in 0..MAX_CAPABILITIES {
            if at < 0x40 {
                break;
            }
            let header = space.read(requester, at);
            // Both kinds end within the 256 bytes.
            if header & 0xff == VENDOR_CAPABILITY && at <= 0xfc - VIRTIO_WINDOW {
                match header >> 24 {
                    COMMON_CONFIGURATION => common = common.or(Some(at)),
                    WINDOW => window = window.or(Some(at)),
                    _ => {}
                }
            }
            at = (header >> 8) as u16 & 0xfc;
        }
        let (Some(common), Some(window)) = (common, window) else {
            return false;
        };
        let bar = space.read(requester, common.wrapping_add(VIRTIO_BAR)) & 0xff;
        let base = space.read(requester, common.wrapping_add(VIRTIO_OFFSET));
        let select = base.wrapping_add(FEATURE_SELECT);
        let mut set = |values: [(u16, u32); 5]| {
            for (register, value) in values {
                space.write(requester, window.wrapping_add(register), value);
            }
            space.read(requester, window.wrapping_add(VIRTIO_WINDOW))
        };
        // Points the window at the features' upper half, and then leaves all as a reset does.
        let features = set([
            (VIRTIO_BAR, bar),
            (VIRTIO_LENGTH, 4),
            (VIRTIO_OFFSET, select),
            (VIRTIO_WINDOW, 1),
            (VIRTIO_OFFSET, base.wrapping_add(FEATURES)),
        ]);
        set([
            (VIRTIO_OFFSET, select),
            (VIRTIO_WINDOW, 0),
            (VIRTIO_OFFSET, 0),
            (VIRTIO_LENGTH, 0),
            (VIRTIO_BAR, 0),
        ]);
        features != u32::MAX && features & ACCESS_PLATFORM != 0
    }
}

#[cfg(test)]
mod tests;

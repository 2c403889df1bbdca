//! Every reason to refuse a boot, in words.
//!
//! The message is made of ASCII bytes handed to a sink one by one ([`BootError::describe`]), so
//! that the console of the image needs none of `core::fmt`; `Display` is the same text. Names
//! from the device tree are copied, cut and made printable: the tree may be hostile.

use core::fmt;

use crate::bundle::BundleError;
use crate::fdt::FdtError;

/// How much of a node's name is kept.
const NODE_NAME_BYTES: usize = 31;

/// The name of a device tree node, for a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NodeName {
    bytes: [u8; NODE_NAME_BYTES],
    len: u8,
}

impl NodeName {
    /// Keeps the first bytes of `name`; what is not printable becomes `?`. The root is `/`.
    pub fn new(name: &[u8]) -> Self {
        let name = if name.is_empty() { b"/".as_slice() } else { name };
        let mut kept = Self { bytes: [0; NODE_NAME_BYTES], len: 0 };
        for (target, byte) in kept.bytes.iter_mut().zip(name) {
            *target = if byte.is_ascii_graphic() { *byte } else { b'?' };
            kept.len = kept.len.wrapping_add(1);
        }
        kept
    }

    /// The bytes, all printable ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| fmt::Write::write_char(f, char::from(*byte)))
    }
}

/// Something that lies in memory when the hypervisor is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// The hypervisor as it was loaded.
    Image,
    /// The host kernel with its bss.
    Kernel,
    /// The device tree.
    Fdt,
    /// The initial RAM disk.
    Initrd,
    /// A reserved range.
    Reserved,
}

impl Item {
    /// Says it in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "hypervisor image",
            Self::Kernel => "host kernel",
            Self::Fdt => "device tree",
            Self::Initrd => "initrd",
            Self::Reserved => "reserved memory",
        }
    }
}

/// Why a boot is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootError {
    /// The device tree is not well-formed.
    Fdt(FdtError),
    /// The image is not a bundle.
    Bundle(BundleError),
    /// A node lacks a property that it must have.
    MissingProperty(NodeName, &'static str),
    /// A property has the wrong length or a value outside its meaning.
    BadProperty(NodeName, &'static str),
    /// A bus has more `ranges` entries than are looked at.
    TooManyBusRanges(NodeName),
    /// There is no memory node.
    NoMemory,
    /// A memory node has a range of size zero.
    MemoryZeroSize(NodeName),
    /// A memory node's range leaves the physical address space.
    MemoryWraps(NodeName),
    /// A memory node's range overlaps an earlier one.
    MemoryOverlap(NodeName),
    /// A range of memory holds not one whole page.
    MemoryTooSmall(u64),
    /// More memory ranges than there is room for.
    TooManyMemoryRanges(NodeName),
    /// An entry of the memory reservation block leaves the physical address space.
    ReservationWraps(u64),
    /// A node of /reserved-memory leaves the physical address space.
    ReservedWraps(NodeName),
    /// More reserved ranges than there is room for.
    TooManyReserved,
    /// There is no CPU node.
    NoCpus,
    /// More CPUs than there is room for.
    TooManyCpus(NodeName),
    /// Two CPU nodes have the same MPIDR.
    DuplicateCpu(NodeName),
    /// There is more than one CPU, and this one does not start through PSCI.
    CpuEnableMethod(NodeName),
    /// There is more than one CPU and no PSCI node.
    NoPsci,
    /// The PSCI node is older than 0.2: its function numbers are not the standard ones.
    PsciTooOld(NodeName),
    /// There is no GICv3 node.
    NoGic,
    /// The interrupt controller is older than GICv3.
    GicTooOld(NodeName),
    /// More redistributor regions than there is room for.
    TooManyRedistributors(NodeName),
    /// A register frame that the hypervisor needs is not visible to the CPU.
    NotAddressable(NodeName),
    /// There is no architected timer node.
    NoTimer,
    /// An interrupt that must be a private peripheral one is not.
    NotPrivateInterrupt(NodeName),
    /// A device's range leaves the physical address space.
    DeviceWraps(NodeName),
    /// A device's range has a page in common with memory.
    DeviceOverlapsMemory(NodeName),
    /// More device ranges than there is room for.
    TooManyDeviceRanges(NodeName),
    /// `/chosen` names one end of the initrd only, or ends that enclose nothing.
    BadInitrd,
    /// Something does not lie at the alignment that it must have.
    Misaligned(Item, u64),
    /// Something lies (in part) where there is no memory, or leaves the address space.
    OutsideMemory(Item, u64),
    /// Two things lie on one another.
    Overlap(Item, Item),
    /// No memory is free in one piece of this size.
    NoRoom(u64),
    /// The buffer of this size is too small for the host's device tree.
    HostFdtTooSmall(u64),
}

/// One piece of a message.
pub(crate) enum Part {
    Text(&'static str),
    Name(NodeName),
    Number(u64),
    /// A PCI function, by its requester ID.
    Function(u16),
}

/// Hands the pieces to `put`, one ASCII byte at a time.
pub(crate) fn put_parts(parts: &[Part], put: &mut dyn FnMut(u8)) {
    for part in parts {
        match part {
            Part::Text(text) => text.bytes().for_each(&mut *put),
            Part::Name(name) => name.as_bytes().iter().copied().for_each(&mut *put),
            Part::Number(value) => put_hex(*value, put),
            Part::Function(requester) => {
                put_digits(u64::from(*requester >> 8), 2, put);
                put(b':');
                put_digits(u64::from(*requester >> 3 & 0x1f), 2, put);
                put(b'.');
                put_digits(u64::from(*requester & 7), 1, put);
            }
        }
    }
}

impl BootError {
    /// Hands the message to `put`, one ASCII byte at a time.
    pub fn describe(&self, put: &mut dyn FnMut(u8)) {
        put_parts(&self.parts(), put);
    }

    /// The message: up to three pieces.
    fn parts(&self) -> [Part; 3] {
        use Part::{Name, Number, Text};
        let text = |text| [Text(text), Text(""), Text("")];
        let node = |name: &NodeName, what| [Text("device tree node "), Name(*name), Text(what)];
        let at = |what, value: &u64, rest| [Text(what), Number(*value), Text(rest)];
        match self {
            Self::Fdt(error) => [Text("device tree: "), Text(error.as_str()), Text("")],
            Self::Bundle(error) => text(error.as_str()),
            Self::MissingProperty(name, property) => {
                [Name(*name), Text(": missing device tree property "), Text(property)]
            }
            Self::BadProperty(name, property) => {
                [Name(*name), Text(": bad device tree property "), Text(property)]
            }
            Self::TooManyBusRanges(name) => node(name, ": too many entries in ranges"),
            Self::NoMemory => text("device tree: no memory node"),
            Self::MemoryZeroSize(name) => node(name, ": memory of size zero"),
            Self::MemoryWraps(name) => node(name, ": memory leaves the address space"),
            Self::MemoryOverlap(name) => node(name, ": memory overlaps other memory"),
            Self::MemoryTooSmall(start) => {
                at("memory at ", start, " does not hold one whole 4 KiB page")
            }
            Self::TooManyMemoryRanges(name) => node(name, ": more than 32 ranges of memory"),
            Self::ReservationWraps(start) => {
                at("memory reservation at ", start, " leaves the address space")
            }
            Self::ReservedWraps(name) => node(name, ": reservation leaves the address space"),
            Self::TooManyReserved => text("device tree: more than 64 reserved ranges"),
            Self::NoCpus => text("device tree: no CPU node"),
            Self::TooManyCpus(name) => node(name, ": more than 32 CPUs"),
            Self::DuplicateCpu(name) => node(name, ": same reg as an earlier CPU"),
            Self::CpuEnableMethod(name) => node(name, ": enable-method is not psci"),
            Self::NoPsci => text("device tree: several CPUs but no PSCI node"),
            Self::PsciTooOld(name) => node(name, ": PSCI 0.2 or later is needed"),
            Self::NoGic => text("device tree: no GICv3 interrupt controller"),
            Self::GicTooOld(name) => node(name, ": GICv3 is needed, this is older"),
            Self::TooManyRedistributors(name) => node(name, ": more than 8 GICR regions"),
            Self::NotAddressable(name) => node(name, ": registers not visible to the CPU"),
            Self::NoTimer => text("device tree: no arm,armv8-timer node"),
            Self::NotPrivateInterrupt(name) => node(name, ": interrupt is not a PPI"),
            Self::DeviceWraps(name) => node(name, ": registers leave the address space"),
            Self::DeviceOverlapsMemory(name) => node(name, ": registers overlap memory"),
            Self::TooManyDeviceRanges(name) => node(name, ": more than 64 device ranges"),
            Self::BadInitrd => text("device tree: /chosen does not give a whole initrd"),
            Self::Misaligned(item, address) => {
                [Text(item.as_str()), Text(" is misaligned, at "), Number(*address)]
            }
            Self::OutsideMemory(item, address) => {
                [Text(item.as_str()), Text(" is not all in memory, at "), Number(*address)]
            }
            Self::Overlap(one, other) => {
                [Text(one.as_str()), Text(" overlaps "), Text(other.as_str())]
            }
            Self::HostFdtTooSmall(size) => {
                at("the host's device tree does not fit ", size, " bytes")
            }
            Self::NoRoom(size) => at("no room in memory for ", size, " bytes in one piece"),
        }
    }
}

/// Writes `value` as `0x...`, without leading zeros.
fn put_hex(value: u64, put: &mut dyn FnMut(u8)) {
    put(b'0');
    put(b'x');
    put_digits(value, 1, put);
}

/// Writes `value` in hexadecimal, with at least `least` digits.
fn put_digits(value: u64, least: u32, put: &mut dyn FnMut(u8)) {
    let mut started = false;
    for place in (0..16u32).rev() {
        let digit = (value.wrapping_shr(place.wrapping_mul(4)) & 0xf) as u8;
        started |= digit != 0 || place < least;
        if started {
            put(if digit < 10 { b'0'.wrapping_add(digit) } else { b'W'.wrapping_add(digit) });
        }
    }
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut result = Ok(());
        self.describe(&mut |byte| {
            if result.is_ok() {
                result = fmt::Write::write_char(f, char::from(byte));
            }
        });
        result
    }
}

impl core::error::Error for BootError {}

impl From<FdtError> for BootError {
    fn from(error: FdtError) -> Self {
        Self::Fdt(error)
    }
}

impl From<BundleError> for BootError {
    fn from(error: BundleError) -> Self {
        Self::Bundle(error)
    }
}

#[cfg(test)]
mod tests;

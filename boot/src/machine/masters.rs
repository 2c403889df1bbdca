//! What can write to memory besides CPUs, and which SMMU is in its way.
//!
//! Every enabled node with registers that a CPU can address is one of: an SMMU, a GIC or its
//! ITSs, a PCI host bridge or a device whose streams are all an SMMU's, one of the few devices
//! known to have no DMA, one that is withdrawn from the host; or else the tree is
//! [`Unguarded`], as it is where something about streams does not make sense. The first reason is
//! kept. That is no error of the boot: the rest of the inventory is as good as it gets.
//!
//! Bindings: `arm,smmu-v3`, `pci-host-ecam-generic`, `iommu-map` (of PCI), `iommus`,
//! `arm,gic-v3-its`.

use crate::array_vec::{ArrayVec, Full};
use crate::bytes;
use crate::error::BootError;
use crate::fdt::{Fdt, Node, Path};
use crate::range::{PAGE_SIZE, PhysRange, is_aligned};
use crate::unguarded::{Reason, Unguarded};

use super::devices::has_registers;
use super::interrupts::is_gic_node;

/// How many SMMUs there is room for.
pub const MAX_SMMUS: usize = 8;
/// How many ranges of streams of one SMMU, after adjacent ones are joined, there is room for.
pub const MAX_STREAM_RANGES: usize = 16;
/// How many interrupt translation services there is room for.
pub const MAX_ITS: usize = 8;
/// How many PCI host bridges there is room for.
pub const MAX_HOST_BRIDGES: usize = 8;

/// How many entries of an `iommu-map` are looked at. Bounds the work of a check for overlaps.
const MAX_MAP_ENTRIES: usize = 64;
/// Two pages of 64 KiB: those of an SMMU (IHI 0070, 6.1), and control and translation of an ITS
/// (IHI 0069, 12.10).
const TWO_FRAMES: u64 = 0x2_0000;
/// The configuration space of one bus.
const BUS_BYTES: u64 = 1 << 20;

/// Devices that have no DMA, by the first name in `compatible`.
const HARMLESS: [&[u8]; 12] = [
    b"arm,pl011",
    b"arm,sbsa-uart",
    b"arm,pl031",
    b"arm,pl061",
    b"arm,sp804",
    b"arm,sp805",
    b"arm,sbsa-gwdt",
    b"arm,armv7-timer-mem",
    b"cfi-flash",
    b"ns16550a",
    b"pmem-region",
    b"tcg,tpm-tis-mmio",
];

/// Streams of an SMMU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamRange {
    /// The first.
    pub first: u32,
    /// How many; `first + count` is at most 2^32.
    pub count: u64,
}

impl StreamRange {
    fn end(&self) -> u64 {
        u64::from(self.first).saturating_add(self.count)
    }
}

/// An SMMUv3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SmmuNode {
    /// Its registers: at least its two pages.
    pub registers: PhysRange,
    /// The streams of the host's devices: ascending, with a gap between any two.
    pub streams: ArrayVec<StreamRange, MAX_STREAM_RANGES>,
    phandle: u32,
}

impl SmmuNode {
    /// Adds streams, joined with those that they overlap or touch.
    fn give(&mut self, first: u32, count: u64) -> Result<(), Full> {
        let mut given = StreamRange { first, count };
        let mut joined = ArrayVec::new();
        let mut above = ArrayVec::<StreamRange, MAX_STREAM_RANGES>::new();
        for old in self.streams.iter() {
            if old.end() < u64::from(given.first) {
                joined.push(*old)?;
            } else if given.end() < u64::from(old.first) {
                above.push(*old)?;
            } else {
                let (first, end) = (given.first.min(old.first), given.end().max(old.end()));
                given = StreamRange { first, count: end.saturating_sub(u64::from(first)) };
            }
        }
        joined.push(given)?;
        for old in above.iter() {
            joined.push(*old)?;
        }
        self.streams = joined;
        Ok(())
    }
}

/// A PCI host bridge with an enhanced configuration space (ECAM).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostBridge {
    /// Configuration space: 1 MiB for each bus, from the first bus on.
    pub config: PhysRange,
    /// The root bus.
    pub first_bus: u8,
    /// The last bus that has configuration space.
    pub last_bus: u8,
}

/// What can write to memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Masters {
    pub(crate) smmus: ArrayVec<SmmuNode, MAX_SMMUS>,
    pub(crate) its: ArrayVec<PhysRange, MAX_ITS>,
    pub(crate) host_bridges: ArrayVec<HostBridge, MAX_HOST_BRIDGES>,
    pub(crate) fw_cfg: Option<PhysRange>,
    pub(crate) unguarded: Option<Unguarded>,
}

/// Tells whether the node is an SMMUv3.
pub(crate) fn is_smmu_node(node: &Node<'_>) -> bool {
    node.is_compatible(b"arm,smmu-v3")
}

/// Tells whether the node has DMA that nothing can guard and that the host can do without: it is
/// hidden, and its registers are out of reach.
pub(crate) fn is_withdrawn_node(node: &Node<'_>) -> bool {
    is_fw_cfg_node(node) || node.is_compatible(b"virtio,mmio")
}

fn is_fw_cfg_node(node: &Node<'_>) -> bool {
    node.is_compatible(b"qemu,fw-cfg-mmio")
}

/// The first name in `compatible`, the one that says what the device is.
fn model<'a>(node: &Node<'a>) -> &'a [u8] {
    node.property(b"compatible").and_then(|names| names.strings().next()).unwrap_or_default()
}

/// The first registers that a CPU can address.
fn first_registers(path: &Path<'_>) -> Result<Option<PhysRange>, BootError> {
    for entry in path.reg()? {
        let (start, size) = entry?;
        if size != 0
            && let Some(registers) = path.translate(start, size)?
        {
            return Ok(Some(registers));
        }
    }
    Ok(None)
}

/// Tells whether these are all of the node's registers, and what has to be among them.
fn are_two_frames(path: &Path<'_>, registers: &PhysRange) -> bool {
    let one = path.reg().is_ok_and(|mut reg| reg.next().is_some() && reg.next().is_none());
    one && registers.size() >= TWO_FRAMES && is_aligned(registers.start(), PAGE_SIZE)
}

/// Collects all that can write to memory.
#[inline(never)]
pub(crate) fn collect_masters(fdt: &Fdt<'_>, masters: &mut Masters) -> Result<(), BootError> {
    // SMMUs first: others refer to them, from before and behind.
    for smmus in [true, false] {
        let mut walk = fdt.walk();
        while let Some(path) = walk.next_node() {
            if !has_registers(path) || is_smmu_node(&path.node()) != smmus {
                continue;
            }
            let registers = first_registers(path)?;
            let found = if smmus {
                masters.add_smmu(path, registers)
            } else {
                masters.add_other(path, registers)
            };
            if let Err((reason, culprit)) = found {
                let name = path.node().display_name();
                let unguarded = Unguarded { reason, culprit, name };
                masters.unguarded = masters.unguarded.or(Some(unguarded));
            }
        }
    }
    Ok(())
}

impl Masters {
    /// Adds an SMMU that can be referred to and driven.
    fn add_smmu(
        &mut self,
        path: &Path<'_>,
        registers: Option<PhysRange>,
    ) -> Result<(), (Reason, u64)> {
        let node = path.node();
        let cell = |name| node.property(name).and_then(|value| value.as_u32());
        let registers = registers.ok_or((Reason::UnknownIommu, 0))?;
        let phandle = cell(b"phandle").unwrap_or(0);
        let same = |other: &SmmuNode| {
            other.registers.overlaps(&registers) || (phandle != 0 && other.phandle == phandle)
        };
        if !are_two_frames(path, &registers)
            || cell(b"#iommu-cells") != Some(1)
            || self.smmus.iter().any(same)
        {
            return Err((Reason::UnknownIommu, registers.start()));
        }
        let smmu = SmmuNode { registers, streams: ArrayVec::new(), phandle };
        self.smmus.push(smmu).map_err(|_| (Reason::TooMany, registers.start()))
    }

    /// Adds whatever else a node is.
    #[inline(never)]
    fn add_other(
        &mut self,
        path: &Path<'_>,
        registers: Option<PhysRange>,
    ) -> Result<(), (Reason, u64)> {
        let node = path.node();
        let at = registers.map_or(0, |registers| registers.start());
        if node.property(b"#iommu-cells").is_some() {
            return Err((Reason::UnknownIommu, at));
        }
        if path.is_pci() {
            return self.add_host_bridge(&node, registers);
        }
        if let Some(streams) = node.property(b"iommus") {
            return self.give_device(streams.value, at);
        }
        let Some(registers) = registers else {
            return Ok(());
        };
        if model(&node) == b"arm,gic-v3-its" && path.parent().is_some_and(|it| is_gic_node(&it)) {
            if !are_two_frames(path, &registers) {
                return Err((Reason::UnknownMaster, at));
            }
            return self.its.push(registers).map_err(|_| (Reason::TooMany, at));
        }
        if is_fw_cfg_node(&node) && is_aligned(at, 16) && registers.size() >= 16 {
            self.fw_cfg = self.fw_cfg.or(Some(registers));
            return Ok(());
        }
        let known = HARMLESS.iter().any(|harmless| *harmless == model(&node));
        if known || is_gic_node(&node) || node.is_compatible(b"virtio,mmio") {
            return Ok(());
        }
        Err((Reason::UnknownMaster, at))
    }

    /// Gives streams of the SMMU with this phandle to the host.
    fn give(&mut self, phandle: u32, first: u32, count: u64, at: u64) -> Result<(), (Reason, u64)> {
        let smmu = self.smmus.iter_mut().find(|smmu| phandle != 0 && smmu.phandle == phandle);
        let smmu = smmu.ok_or((Reason::UnknownIommu, 0))?;
        smmu.give(first, count).map_err(|_| (Reason::TooMany, at))
    }

    /// Gives the streams of a platform device: (phandle, stream) pairs.
    fn give_device(&mut self, streams: &[u8], at: u64) -> Result<(), (Reason, u64)> {
        if streams.is_empty() || streams.len() & 7 != 0 {
            return Err((Reason::BadMap, at));
        }
        for entry in streams.chunks_exact(8) {
            if let (Some(phandle), Some(stream)) = (bytes::be32(entry, 0), bytes::be32(entry, 4)) {
                self.give(phandle, stream, 1, at)?;
            }
        }
        Ok(())
    }

    /// Adds a PCI host bridge, and gives its streams.
    #[inline(never)]
    fn add_host_bridge(
        &mut self,
        node: &Node<'_>,
        config: Option<PhysRange>,
    ) -> Result<(), (Reason, u64)> {
        let config = config.ok_or((Reason::UnknownMaster, 0))?;
        let at = config.start();
        let (first, last) = bus_range(node).ok_or((Reason::UnknownMaster, at))?;
        let buses = config.size().wrapping_shr(BUS_BYTES.trailing_zeros());
        if model(node) != b"pci-host-ecam-generic" || buses == 0 || !is_aligned(at, PAGE_SIZE) {
            return Err((Reason::UnknownMaster, at));
        }
        // All that configuration space holds counts, whatever `bus-range` says: the host reaches it.
        let held = u64::from(first).saturating_add(buses).saturating_sub(1);
        let last_bus = u8::try_from(held).unwrap_or(u8::MAX);
        let last = last.max(last_bus);
        let bridge = HostBridge { config, first_bus: first, last_bus };
        self.host_bridges.push(bridge).map_err(|_| (Reason::TooMany, at))?;
        let map = node.property(b"iommu-map").ok_or((Reason::NoSmmu, at))?;
        let mask = match node.property(b"iommu-map-mask") {
            Some(mask) => mask.as_u32().ok_or((Reason::BadMap, at))?,
            None => u32::MAX,
        };
        self.give_map(map.value, mask, at)?;
        check_covered(map.value, mask, u32::from(first) << 8, u32::from(last) << 8 | 0xff)
    }

    /// Gives all streams of an `iommu-map` that makes sense.
    fn give_map(&mut self, map: &[u8], mask: u32, at: u64) -> Result<(), (Reason, u64)> {
        if map.is_empty() || map.len() & 15 != 0 {
            return Err((Reason::BadMap, at));
        }
        if map.len() > MAX_MAP_ENTRIES.saturating_mul(16) {
            return Err((Reason::TooMany, at));
        }
        let mut entries = map_entries(map);
        while let Some(entry) = entries.next() {
            let streams_end = u64::from(entry.stream).saturating_add(entry.count());
            if entry.count() == 0
                || entry.end > 0x1_0000
                || streams_end > 1 << 32
                || entry.requester & !u64::from(mask) != 0
                || entries.clone().any(|o| o.requester < entry.end && entry.requester < o.end)
            {
                return Err((Reason::BadMap, at));
            }
            self.give(entry.phandle, entry.stream, entry.count(), at)?;
        }
        Ok(())
    }
}

/// The buses of a PCI host bridge: 0 to 255 where it does not say.
fn bus_range(node: &Node<'_>) -> Option<(u8, u8)> {
    let Some(range) = node.property(b"bus-range") else {
        return Some((0, u8::MAX));
    };
    let first = u8::try_from(bytes::be32(range.value, 0)?).ok()?;
    let last = u8::try_from(bytes::be32(range.value, 4)?).ok()?;
    if range.value.len() == 8 && first <= last { Some((first, last)) } else { None }
}

/// One entry of an `iommu-map`: requester IDs from `requester` to below `end`.
#[derive(Clone, Copy)]
struct MapEntry {
    requester: u64,
    end: u64,
    phandle: u32,
    stream: u32,
}

impl MapEntry {
    fn count(&self) -> u64 {
        self.end.saturating_sub(self.requester)
    }
}

fn map_entries(map: &[u8]) -> impl Iterator<Item = MapEntry> + Clone {
    map.chunks_exact(16).filter_map(|entry| {
        let requester = u64::from(bytes::be32(entry, 0)?);
        Some(MapEntry {
            requester,
            end: requester.saturating_add(u64::from(bytes::be32(entry, 12)?)),
            phandle: bytes::be32(entry, 4)?,
            stream: bytes::be32(entry, 8)?,
        })
    })
}

/// Checks that every requester ID has an entry; ends because each step is at least one.
fn check_covered(map: &[u8], mask: u32, first: u32, last: u32) -> Result<(), (Reason, u64)> {
    let mut requester = u64::from(first);
    while requester <= u64::from(last) {
        let masked = requester & u64::from(mask);
        let entry = map_entries(map).find(|it| it.requester <= masked && masked < it.end);
        let entry = entry.ok_or((Reason::PartialMap, requester))?;
        // Without a mask, all up to the entry's end is covered.
        let whole = mask & 0xffff == 0xffff;
        let step = if whole { entry.end.saturating_sub(masked) } else { 1 };
        requester = requester.saturating_add(step);
    }
    Ok(())
}

#[cfg(test)]
mod tests;

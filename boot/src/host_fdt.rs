//! The device tree that the host gets to see.
//!
//! The loader's tree is copied token by token. What differs is decided by `NodeEdit`, one per
//! node:
//!
//! - memory nodes keep the whole pages of RAM that are not the hypervisor's, and go if none is
//!   left;
//! - the architected timer gets `interrupt-names` in which no interrupt is called `virt`, so that
//!   the host's clock events come from CNTP and CNTV is free for guests;
//! - devices that no SMMU guards, fw_cfg and virtio-mmio, are not shown;
//! - where devices are guarded, neither are the SMMUs and what refers to them;
//! - a node /hypervisor that the loader has left is replaced by ours, which gives the driver the
//!   version of the hypercall interface and the interrupts by which SMMUs report events;
//! - entries of the memory reservation block lose what is the hypervisor's.
//!
//! Everything else stays as it was: PSCI, /chosen with the initrd, the command line and the seeds
//! (they are for the host, not for us). The output is a tree of version 17 without padding.

mod writer;

use crate::error::BootError;
use crate::fdt::{Fdt, Node, Path, Property, Step, Walk};
use crate::machine::{
    MAX_SMMUS, MachineInfo, is_gic_node, is_memory_node, is_smmu_node, is_timer_node,
    is_withdrawn_node,
};
use crate::range::PhysRange;
use writer::Writer;

/// What every edit together can add to a tree, and room to spare: the node and its names (about
/// 210 bytes), its interrupts (2 of up to 16 bytes for each SMMU), the timer's names (60), one
/// more piece of memory (32), padding.
const MAX_GROWTH: u64 = 512 + 32 * MAX_SMMUS as u64;

/// The interrupts of an SMMU that tell of events and errors.
const EVENT_NAMES: [&[u8]; 2] = [b"eventq", b"gerror"];

/// What refers to an SMMU.
const SMMU_REFERENCES: [&[u8]; 3] = [b"iommu-map", b"iommu-map-mask", b"iommus"];

/// The properties of a memory node that hold ranges of memory. Linux prefers the second.
const MEMORY_RANGES: [&str; 2] = ["reg", "linux,usable-memory"];

/// The names of the timer's interrupts in the order of the binding, without `virt`.
const TIMER_NAMES: [&[u8]; 5] = [b"sec-phys", b"phys", b"unused", b"hyp-phys", b"hyp-virt"];

/// What is shown to the host.
#[derive(Clone, Copy, Debug)]
pub struct HostView<'m> {
    /// The machine that the tree describes.
    pub machine: &'m MachineInfo,
    /// The hypervisor's region.
    pub hyp: PhysRange,
    /// The version of the hypercall interface.
    pub abi_version: u32,
    /// Whether the SMMUs are the hypervisor's.
    pub guarded: bool,
}

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeEdit {
    /// It stays as it is.
    Keep,
    /// It goes, with all below it.
    Remove,
    /// Its ranges lose what is not the host's.
    Memory,
    /// Its interrupts get names.
    Timer,
}

/// The size of a buffer in which the host's tree fits.
pub fn max_size(fdt: &Fdt<'_>) -> u64 {
    (fdt.total_size() as u64).saturating_add(MAX_GROWTH)
}

/// Writes the host's tree to `out` and returns its size.
///
/// `fdt` is the tree that `view.machine` was read from. On error `out` holds nothing of use:
/// what is there does not start with a tree's magic number.
#[inline(never)]
pub fn write(fdt: &Fdt<'_>, view: &HostView<'_>, out: &mut [u8]) -> Result<usize, BootError> {
    let too_small = BootError::HostFdtTooSmall(out.len() as u64);
    let mut writer = Writer::new(out, fdt.strings()).ok_or(too_small)?;
    for (start, size) in fdt.reservations() {
        write_reservation(&mut writer, view, start, size).ok_or(too_small)?;
    }
    writer.end_reservations().ok_or(too_small)?;
    let mut walk = fdt.walk();
    let mut edit = NodeEdit::Keep;
    // Inside a removed node: how many levels were open around it.
    let mut removed: Option<usize> = None;
    loop {
        let step = walk.next_step();
        let open = walk.path().levels().len();
        match (step, removed) {
            (Step::Enter, None) => {
                edit = view.edit(walk.path())?;
                if edit == NodeEdit::Remove {
                    removed = Some(walk.path().depth());
                } else {
                    writer.begin_node(walk.path().node().name()).ok_or(too_small)?;
                }
                if edit == NodeEdit::Timer {
                    view.write_timer_names(&mut writer, walk.path()).ok_or(too_small)?;
                }
            }
            (Step::Property(property, name_offset), None) => {
                let kept = Kept { property, name_offset };
                view.write_property(&mut writer, &walk, edit, kept, too_small)?;
            }
            (Step::Leave, None) => {
                if open == 0 {
                    view.write_own_node(&mut writer, fdt).ok_or(too_small)?;
                }
                writer.end_node().ok_or(too_small)?;
            }
            (Step::Leave, Some(around)) if open == around => removed = None,
            (Step::Enter | Step::Property(..) | Step::Leave, Some(_)) => {}
            (Step::End, _) => return writer.finish(fdt.boot_cpu()).ok_or(too_small),
        }
    }
}

/// Copies an entry of the memory reservation block, less what is the hypervisor's.
fn write_reservation(
    writer: &mut Writer<'_, '_>,
    view: &HostView<'_>,
    start: u64,
    size: u64,
) -> Option<()> {
    let Some(range) = PhysRange::new(start, size) else {
        // Of no size: nothing to take away. (`MachineInfo` has refused ranges that wrap.)
        return writer.reservation(start, size);
    };
    let (below, above) = range.without(&view.hyp);
    for piece in [below, above].into_iter().flatten() {
        writer.reservation(piece.start(), piece.size())?;
    }
    Some(())
}

/// A property as it stands in the loader's tree.
#[derive(Clone, Copy)]
struct Kept<'a> {
    property: Property<'a>,
    name_offset: u32,
}

impl HostView<'_> {
    /// Decides what happens to a node.
    fn edit(&self, path: &Path<'_>) -> Result<NodeEdit, BootError> {
        if path.depth() == 1 && path.node().base_name() == b"hypervisor" {
            return Ok(NodeEdit::Remove);
        }
        let node = path.node();
        if is_withdrawn_node(&node) || (self.guarded && is_smmu_node(&node)) {
            return Ok(NodeEdit::Remove);
        }
        if is_memory_node(path) {
            for entry in path.reg()? {
                let (start, size) = entry?;
                if self.pieces(start, size).next().is_some() {
                    return Ok(NodeEdit::Memory);
                }
            }
            return Ok(NodeEdit::Remove);
        }
        Ok(if is_timer_node(&path.node()) { NodeEdit::Timer } else { NodeEdit::Keep })
    }

    /// The parts of a range that are RAM and the host's.
    fn pieces(&self, start: u64, size: u64) -> impl Iterator<Item = PhysRange> {
        let range = PhysRange::new(start, size);
        let hyp = self.hyp;
        self.machine
            .memory
            .as_slice()
            .iter()
            .filter_map(move |memory| memory.intersection(&range?))
            .flat_map(move |part| {
                let (below, above) = part.without(&hyp);
                [below, above].into_iter().flatten()
            })
    }

    /// Copies a property, edited as its node asks.
    fn write_property(
        &self,
        writer: &mut Writer<'_, '_>,
        walk: &Walk<'_>,
        edit: NodeEdit,
        kept: Kept<'_>,
        too_small: BootError,
    ) -> Result<(), BootError> {
        let name = kept.property.name;
        if self.guarded && SMMU_REFERENCES.contains(&name) {
            return Ok(());
        }
        match edit {
            NodeEdit::Timer if name == b"interrupt-names" => return Ok(()),
            NodeEdit::Memory => {
                let ranges = MEMORY_RANGES.into_iter().find(|ranges| ranges.as_bytes() == name);
                if let Some(ranges) = ranges {
                    return self.write_memory(writer, walk.path(), kept, ranges, too_small);
                }
            }
            NodeEdit::Keep | NodeEdit::Timer | NodeEdit::Remove => {}
        }
        writer.property(kept.name_offset, kept.property.value).ok_or(too_small)
    }

    /// Writes a property of memory ranges with what is left for the host.
    fn write_memory(
        &self,
        writer: &mut Writer<'_, '_>,
        path: &Path<'_>,
        kept: Kept<'_>,
        name: &'static str,
        too_small: BootError,
    ) -> Result<(), BootError> {
        let (address_cells, size_cells) = path.reg_cells();
        let value = writer.begin_property(kept.name_offset).ok_or(too_small)?;
        for entry in path.decode_reg(kept.property.value, name)? {
            let (start, size) = entry?;
            for piece in self.pieces(start, size) {
                writer.number(piece.start(), address_cells).ok_or(too_small)?;
                writer.number(piece.size(), size_cells).ok_or(too_small)?;
            }
        }
        writer.end_property(value).ok_or(too_small)
    }

    /// Names the timer's interrupts, as many as it has, none of them `virt`.
    fn write_timer_names(&self, writer: &mut Writer<'_, '_>, path: &Path<'_>) -> Option<()> {
        let node = path.node();
        let value = writer.begin_property(writer.own_names().interrupt_names)?;
        match node.property(b"interrupt-names") {
            Some(names) => {
                for name in names.strings() {
                    writer.string(if name == b"virt" { b"unused" } else { name })?;
                }
            }
            None => {
                let bytes = node.property(b"interrupts").map_or(0, |list| list.value.len());
                let count = bytes
                    .checked_div(self.machine.gic.interrupt_cells.saturating_mul(4))
                    .unwrap_or(0);
                for name in TIMER_NAMES.into_iter().take(count) {
                    writer.string(name)?;
                }
            }
        }
        writer.end_property(value)
    }

    /// Writes the node by which the host's driver finds the hypervisor.
    fn write_own_node(&self, writer: &mut Writer<'_, '_>, fdt: &Fdt<'_>) -> Option<()> {
        let names = writer.own_names();
        writer.begin_node(b"hypervisor")?;
        writer.property(names.compatible, b"redoubt,hypervisor\0")?;
        writer.property(names.abi_version, &self.abi_version.to_be_bytes())?;
        if self.guarded
            && let Some(gic) = gic_phandle(fdt)
        {
            writer.property(names.interrupt_parent, &gic.to_be_bytes())?;
            let value = writer.begin_property(names.interrupts)?;
            self.write_event_interrupts(writer, fdt, gic)?;
            writer.end_property(value)?;
        }
        writer.end_node()
    }

    /// Copies the specifiers of each SMMU's interrupts for events and errors. An SMMU whose
    /// interrupts have no names, or do not go to the GIC, has none: its events can be polled.
    #[inline(never)]
    fn write_event_interrupts(
        &self,
        writer: &mut Writer<'_, '_>,
        fdt: &Fdt<'_>,
        gic: u32,
    ) -> Option<()> {
        let size = self.machine.gic.interrupt_cells.saturating_mul(4);
        let mut walk = fdt.walk();
        while let Some(path) = walk.next_node() {
            let node = path.node();
            if !is_smmu_node(&node) || !path.is_enabled() || interrupt_parent(path) != Some(gic) {
                continue;
            }
            for name in EVENT_NAMES {
                if let Some(specifier) = interrupt(&node, name, size) {
                    writer.bytes(specifier)?;
                }
            }
        }
        Some(())
    }
}

/// The number by which interrupts refer to the GIC.
#[inline(never)]
fn gic_phandle(fdt: &Fdt<'_>) -> Option<u32> {
    let mut walk = fdt.walk();
    while let Some(path) = walk.next_node() {
        if path.is_enabled() && is_gic_node(&path.node()) {
            return path.node().property(b"phandle")?.as_u32();
        }
    }
    None
}

/// The interrupt controller that a node's interrupts go to: its own or an ancestor's word.
fn interrupt_parent(path: &Path<'_>) -> Option<u32> {
    let named = |node: Node<'_>| node.property(b"interrupt-parent")?.as_u32();
    path.levels().iter().rev().find_map(|level| named(level.node()))
}

/// The specifier of the interrupt that a node calls `name`.
fn interrupt<'a>(node: &Node<'a>, name: &[u8], size: usize) -> Option<&'a [u8]> {
    let names = node.property(b"interrupt-names")?;
    let (index, _) = (0..usize::MAX).zip(names.strings()).find(|(_, it)| *it == name)?;
    let start = size.checked_mul(index)?;
    node.property(b"interrupts")?.value.get(start..start.checked_add(size)?)
}

#[cfg(test)]
mod tests;

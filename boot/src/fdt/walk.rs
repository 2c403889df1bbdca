//! Going through the nodes, with what each inherits from its ancestors.
//!
//! What a node means depends on its parents: how many cells an address has, how a bus maps to
//! CPU addresses, whether an ancestor is disabled. [`Walk`] keeps the path from the root to the
//! current node, and reads those facts once per node when it enters it, so that a node with many
//! properties and many children costs no more than its length.

use super::{Cursor, MAX_DEPTH, Node, Property, Strings, Token, node::status_is_okay};
use crate::array_vec::ArrayVec;
use crate::bytes;
use crate::error::BootError;
use crate::range::PhysRange;

/// How many `ranges` entries of a bus are looked at. Bounds the work of a translation.
const MAX_BUS_RANGES: usize = 64;

/// The defaults where a node does not say (Devicetree Specification, section 2.3.5).
const DEFAULT_ADDRESS_CELLS: u32 = 2;
const DEFAULT_SIZE_CELLS: u32 = 1;

/// The most cells that any known bus uses for an address (PCI: 3) or a size, and one to spare.
const MAX_CELLS: u32 = 4;

/// A node on the path, and what it says to its children.
#[derive(Clone, Copy, Debug, Default)]
pub struct Level<'a> {
    node: Node<'a>,
    address_cells: u32,
    size_cells: u32,
    ranges: Option<&'a [u8]>,
    enabled: bool,
    pci: bool,
}

impl<'a> Level<'a> {
    /// Reads what the node says to its children.
    fn enter(node: Node<'a>, parent_enabled: bool) -> Self {
        let mut level = Self {
            node,
            address_cells: DEFAULT_ADDRESS_CELLS,
            size_cells: DEFAULT_SIZE_CELLS,
            ranges: None,
            enabled: parent_enabled,
            pci: false,
        };
        for property in node.properties() {
            match property.name {
                b"#address-cells" => level.address_cells = property.as_u32().unwrap_or(u32::MAX),
                b"#size-cells" => level.size_cells = property.as_u32().unwrap_or(u32::MAX),
                b"ranges" => level.ranges = level.ranges.or(Some(property.value)),
                b"status" => level.enabled &= status_is_okay(property.value),
                b"device_type" => level.pci = property.value == b"pci\0",
                _ => {}
            }
        }
        level
    }

    /// The node.
    pub fn node(&self) -> Node<'a> {
        self.node
    }
}

/// A node and its ancestors. Never empty when a [`Walk`] hands it out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path<'a> {
    levels: ArrayVec<Level<'a>, MAX_DEPTH>,
}

impl<'a> Path<'a> {
    /// The node.
    pub fn node(&self) -> Node<'a> {
        self.levels.last().map(Level::node).unwrap_or_default()
    }

    /// The node that this one is a child of.
    pub fn parent(&self) -> Option<Node<'a>> {
        self.ancestors().last().map(Level::node)
    }

    /// The levels from the root to the node.
    pub fn levels(&self) -> &[Level<'a>] {
        &self.levels
    }

    /// How many ancestors the node has: 0 is the root.
    pub fn depth(&self) -> usize {
        self.levels.len().saturating_sub(1)
    }

    /// Tells whether neither the node nor an ancestor is disabled.
    pub fn is_enabled(&self) -> bool {
        self.levels.last().is_some_and(|level| level.enabled)
    }

    /// Tells whether the node is a PCI host bridge.
    pub fn is_pci(&self) -> bool {
        self.levels.last().is_some_and(|level| level.pci)
    }

    /// Tells whether the node lies below a PCI host bridge: its `reg` is no CPU address.
    pub fn is_below_pci(&self) -> bool {
        self.ancestors().iter().any(|level| level.pci)
    }

    /// Tells whether the node is the root's child `name` or lies below it.
    pub fn is_in(&self, name: &[u8]) -> bool {
        self.levels.get(1).is_some_and(|level| level.node.name() == name)
    }

    /// Tells whether this is the node at an absolute path. See [`super::Fdt::find`].
    pub fn matches(&self, path: &[u8]) -> bool {
        let Some((b'/', rest)) = path.split_first() else {
            return false;
        };
        let mut levels = self.levels.iter().skip(1);
        for component in rest.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            let Some(level) = levels.next() else {
                return false;
            };
            let exact = level.node.name() == component;
            if !exact && (bytes::contains(component, b'@') || level.node.base_name() != component) {
                return false;
            }
        }
        levels.next().is_none()
    }

    /// The entries of the node's `reg`: none if it has no such property.
    pub fn reg(&self) -> Result<Reg<'a>, BootError> {
        match self.node().property(b"reg") {
            Some(reg) => self.decode_reg(reg.value, "reg"),
            None => self.decode_reg(&[], "reg"),
        }
    }

    /// Reads `value` as (address, size) pairs in the cells of the node's parent.
    pub fn decode_reg(&self, value: &'a [u8], name: &'static str) -> Result<Reg<'a>, BootError> {
        let bad = BootError::BadProperty(self.node().display_name(), name);
        let (address_cells, size_cells) = self.reg_cells();
        if value.is_empty() {
            return Ok(Reg { rest: value, address_bytes: 0, size_bytes: 0, bad });
        }
        if address_cells > MAX_CELLS || size_cells > MAX_CELLS {
            return Err(bad);
        }
        let address_bytes = cell_bytes(address_cells);
        let size_bytes = cell_bytes(size_cells);
        match value.len().checked_rem(address_bytes.saturating_add(size_bytes)) {
            Some(0) => Ok(Reg { rest: value, address_bytes, size_bytes, bad }),
            _ => Err(bad),
        }
    }

    /// How many cells the address and the size in the node's `reg` have.
    pub fn reg_cells(&self) -> (u32, u32) {
        match self.ancestors().last() {
            Some(parent) => (parent.address_cells, parent.size_cells),
            None => (DEFAULT_ADDRESS_CELLS, DEFAULT_SIZE_CELLS),
        }
    }

    /// Maps a range in the node's parent's address space to CPU addresses.
    ///
    /// `None` if some bus on the way does not map it: then no CPU can reach it. An error if the
    /// result leaves the physical address space, or if a bus cannot be understood.
    pub fn translate(&self, address: u64, size: u64) -> Result<Option<PhysRange>, BootError> {
        let mut address = address;
        // The parent's address space is what its `ranges` maps, and so on up to the root.
        let mut buses = self.ancestors().iter().rev();
        let mut parents = self.ancestors().iter().rev().skip(1);
        while let (Some(bus), Some(parent)) = (buses.next(), parents.next()) {
            match bus_to_parent(bus, parent, address, size)? {
                Some(mapped) => address = mapped,
                None => return Ok(None),
            }
        }
        PhysRange::new(address, size)
            .map(Some)
            .ok_or(BootError::DeviceWraps(self.node().display_name()))
    }

    /// The windows of a PCI host bridge, as CPU addresses.
    pub fn pci_windows(&self) -> Result<PciWindows<'a, '_>, BootError> {
        let (Some(bridge), Some(parent)) = (self.levels.last(), self.ancestors().last()) else {
            return Ok(PciWindows { path: self, entries: BusRanges::default() });
        };
        Ok(PciWindows { path: self, entries: BusRanges::new(bridge, parent)? })
    }

    /// The levels above the node.
    fn ancestors(&self) -> &[Level<'a>] {
        self.levels.get(..self.depth()).unwrap_or_default()
    }
}

/// The bytes of that many cells.
fn cell_bytes(cells: u32) -> usize {
    (cells as usize).saturating_mul(4)
}

/// Reads a number of any count of cells; `None` if it does not fit a u64.
fn number(cells: &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for cell in cells.chunks_exact(4) {
        if value > u64::from(u32::MAX) {
            return None;
        }
        value = value.wrapping_shl(32) | u64::from(bytes::be32(cell, 0)?);
    }
    Some(value)
}

/// Takes `count` bytes off the front of `rest`.
fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

/// (address, size) pairs of a `reg`-like property, in the address space of the node's parent.
#[derive(Clone, Copy, Debug)]
pub struct Reg<'a> {
    rest: &'a [u8],
    address_bytes: usize,
    size_bytes: usize,
    bad: BootError,
}

impl Iterator for Reg<'_> {
    type Item = Result<(u64, u64), BootError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let address = take(&mut self.rest, self.address_bytes)?;
        let size = take(&mut self.rest, self.size_bytes)?;
        Some(number(address).zip(number(size)).ok_or(self.bad))
    }
}

/// One entry of `ranges`.
struct BusRange {
    child: Option<u64>,
    parent: u64,
    size: u64,
}

/// The entries of a bus's `ranges`.
#[derive(Clone, Copy, Debug, Default)]
struct BusRanges<'a> {
    rest: &'a [u8],
    child_bytes: usize,
    parent_bytes: usize,
    size_bytes: usize,
}

impl<'a> BusRanges<'a> {
    fn new(bus: &Level<'a>, parent: &Level<'a>) -> Result<Self, BootError> {
        let name = bus.node.display_name();
        let bad = BootError::BadProperty(name, "ranges");
        let cells = [bus.address_cells, parent.address_cells, bus.size_cells];
        if cells.iter().any(|count| *count > MAX_CELLS) {
            return Err(bad);
        }
        let rest = bus.ranges.unwrap_or_default();
        let [child_bytes, parent_bytes, size_bytes] = cells.map(cell_bytes);
        let entry = child_bytes.saturating_add(parent_bytes).saturating_add(size_bytes);
        if rest.len() > entry.saturating_mul(MAX_BUS_RANGES) {
            return Err(BootError::TooManyBusRanges(name));
        }
        match rest.len().checked_rem(entry) {
            None if rest.is_empty() => {}
            Some(0) => {}
            _ => return Err(bad),
        }
        Ok(Self { rest, child_bytes, parent_bytes, size_bytes })
    }
}

impl Iterator for BusRanges<'_> {
    type Item = BusRange;

    /// An entry whose CPU side does not fit 64 bits ends the list: nothing can be mapped there.
    fn next(&mut self) -> Option<BusRange> {
        if self.rest.is_empty() {
            return None;
        }
        let child = take(&mut self.rest, self.child_bytes)?;
        let parent = take(&mut self.rest, self.parent_bytes)?;
        let size = take(&mut self.rest, self.size_bytes)?;
        Some(BusRange { child: number(child), parent: number(parent)?, size: number(size)? })
    }
}

/// Maps a range of `bus`'s children to the address space that `bus` itself lies in.
fn bus_to_parent(
    bus: &Level<'_>,
    parent: &Level<'_>,
    address: u64,
    size: u64,
) -> Result<Option<u64>, BootError> {
    match bus.ranges {
        None => return Ok(None),
        Some([]) => return Ok(Some(address)),
        Some(_) => {}
    }
    for range in BusRanges::new(bus, parent)? {
        let Some(offset) = range.child.and_then(|child| address.checked_sub(child)) else {
            continue;
        };
        if offset.checked_add(size).is_some_and(|end| end <= range.size) {
            return Ok(range.parent.checked_add(offset));
        }
    }
    Ok(None)
}

/// The windows of a PCI host bridge.
pub struct PciWindows<'a, 'p> {
    path: &'p Path<'a>,
    entries: BusRanges<'a>,
}

impl Iterator for PciWindows<'_, '_> {
    type Item = Result<PhysRange, BootError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = self.entries.next()?;
            if entry.size == 0 {
                continue;
            }
            match self.path.translate(entry.parent, entry.size) {
                Ok(Some(window)) => return Some(Ok(window)),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// What a [`Walk`] comes across.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    /// A node begins: it is now the path's last.
    Enter,
    /// A property of the path's last node, and its name's offset in the strings block.
    Property(Property<'a>, u32),
    /// The path's last node has ended and is off the path.
    Leave,
    /// The tree has ended.
    End,
}

/// Goes through all nodes of a tree, parents before children.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    cursor: Cursor<'a>,
    strings: Strings<'a>,
    path: Path<'a>,
}

impl<'a> Walk<'a> {
    /// Starts before the root.
    pub(crate) fn new(cursor: Cursor<'a>, strings: Strings<'a>) -> Self {
        Self { cursor, strings, path: Path::default() }
    }

    /// Moves to the next node, or says that there is none.
    pub fn next_node(&mut self) -> Option<&Path<'a>> {
        loop {
            match self.next_step() {
                Step::Enter => return Some(&self.path),
                Step::Property(..) | Step::Leave => {}
                Step::End => return None,
            }
        }
    }

    /// The current node, or after [`Step::Leave`] its parent.
    pub(crate) fn path(&self) -> &Path<'a> {
        &self.path
    }

    /// Moves by one token. What cannot be, since [`super::Fdt::new`] has seen the whole tree,
    /// counts as the end.
    pub(crate) fn next_step(&mut self) -> Step<'a> {
        let step = match self.cursor.next_token() {
            Ok(Token::BeginNode(name)) => self.enter(name).map(|()| Step::Enter),
            Ok(Token::Property { name_offset, value }) => self
                .strings
                .get(name_offset)
                .map(|name| Step::Property(Property { name, value }, name_offset)),
            Ok(Token::EndNode) => self.path.levels.pop().map(|_| Step::Leave),
            Ok(Token::End) | Err(_) => None,
        };
        step.unwrap_or(Step::End)
    }

    /// Adds the node that the cursor has just entered.
    fn enter(&mut self, name: &'a [u8]) -> Option<()> {
        let enabled = self.path.levels.is_empty() || self.path.is_enabled();
        let node = Node::new(name, self.cursor, self.strings);
        // `Fdt::new` has seen that no node is too deep.
        self.path.levels.push(Level::enter(node, enabled)).ok()
    }
}

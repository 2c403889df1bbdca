//! The machine's device tree: written by QEMU, changed by a test.
//!
//! Decides how a tree is changed: a property gets other cells in its place, never more than it had,
//! so that no offset in the tree moves; what is left over becomes NOP tokens. A test gives the
//! machine the changed tree ([`Machine::device_tree`]) and sees a platform that QEMU would not build.
//!
//! Spec: Devicetree Specification 0.4, chapter 5 (big-endian words; tokens of the structure block).

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::find::Qemu;
use crate::machine::Machine;

const MAGIC: u32 = 0xd00d_feed;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;

/// A flattened device tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceTree(Vec<u8>);

/// Where a property's length word and its value are.
struct Place {
    length_at: usize,
    value_at: usize,
    length: usize,
}

impl DeviceTree {
    /// Takes the bytes of a tree.
    pub fn new(bytes: Vec<u8>) -> Result<DeviceTree> {
        let tree = DeviceTree(bytes);
        if tree.word(0).ok() != Some(MAGIC) {
            bail!("this is no device tree");
        }
        Ok(tree)
    }

    /// Asks QEMU for the tree that it would give `machine`, by way of the file `scratch`.
    pub fn of(qemu: &Qemu, machine: &Machine, scratch: &Path) -> Result<DeviceTree> {
        let mut command = qemu.command();
        command.args(machine.args()).arg("-machine");
        command.arg(format!("dumpdtb={}", scratch.display()));
        let output = command.stdin(Stdio::null()).output().context("QEMU cannot be started")?;
        if !output.status.success() {
            bail!("QEMU writes no device tree: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let bytes = fs::read(scratch)
            .with_context(|| format!("QEMU did not write {}", scratch.display()))?;
        let mut tree = DeviceTree::new(bytes)?;
        tree.shrink()?;
        Ok(tree)
    }

    /// Leaves the room behind the last block out: QEMU would give the machine as much again.
    fn shrink(&mut self) -> Result<()> {
        let ends = [(8, 36), (12, 32)].map(|(start, size)| -> Result<u32> {
            let (start, size) = (self.word(start)?, self.word(size)?);
            start.checked_add(size).context("a block of the device tree wraps around")
        });
        let [structure, strings] = ends;
        let end = structure?.max(strings?);
        if end as usize > self.0.len() {
            bail!("the device tree is cut short");
        }
        self.put(4, end)?;
        self.0.truncate(end as usize);
        Ok(())
    }

    /// The bytes, for a file.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The cells of the property `name` of the only child of the root whose name begins with `node`.
    pub fn cells(&self, node: &str, name: &str) -> Result<Vec<u32>> {
        let place = self.find(node, name)?;
        let cells = (place.value_at..place.value_at + place.length).step_by(4);
        cells.map(|at| self.word(at)).collect()
    }

    /// Gives that property other cells, at most as many as it has.
    pub fn set(&mut self, node: &str, name: &str, cells: &[u32]) -> Result<()> {
        let place = self.find(node, name)?;
        if cells.len() * 4 > place.length {
            bail!("`{name}` of `{node}` has room for {} bytes only", place.length);
        }
        let words = place.length.div_ceil(4);
        for index in 0..words {
            let value = cells.get(index).copied().unwrap_or(NOP);
            self.put(place.value_at + index * 4, value)?;
        }
        self.put(place.length_at, u32::try_from(cells.len() * 4).context("too many cells")?)
    }

    /// Finds a property by walking the structure block.
    fn find(&self, node: &str, name: &str) -> Result<Place> {
        let (mut at, strings) = (self.word(8)? as usize, self.word(12)? as usize);
        let (mut depth, mut inside) = (0_u32, false);
        loop {
            let token = self.word(at)?;
            at += 4;
            match token {
                BEGIN_NODE => {
                    let found = self.text(at)?;
                    depth += 1;
                    inside |= depth == 2 && found.starts_with(node);
                    at = (at + found.len() + 1).next_multiple_of(4);
                }
                END_NODE => {
                    depth = depth.checked_sub(1).context("the device tree ends twice")?;
                    inside &= depth >= 2;
                }
                PROPERTY => {
                    let (length, offset) = (self.word(at)? as usize, self.word(at + 4)? as usize);
                    if inside && depth == 2 && self.text(strings + offset)? == name {
                        return Ok(Place { length_at: at, value_at: at + 8, length });
                    }
                    at = (at + 8 + length).next_multiple_of(4);
                }
                NOP => {}
                _ => bail!("the device tree has no `{name}` in a node `{node}`"),
            }
        }
    }

    fn word(&self, at: usize) -> Result<u32> {
        let bytes = self.0.get(at..at + 4).context("the device tree is cut short")?;
        Ok(u32::from_be_bytes(bytes.try_into()?))
    }

    fn put(&mut self, at: usize, value: u32) -> Result<()> {
        let bytes = self.0.get_mut(at..at + 4).context("the device tree is cut short")?;
        bytes.copy_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn text(&self, at: usize) -> Result<&str> {
        let rest = self.0.get(at..).context("the device tree is cut short")?;
        let length = rest.iter().position(|byte| *byte == 0).context("a name has no end")?;
        std::str::from_utf8(&rest[..length]).context("a name is no text")
    }
}

#[cfg(test)]
mod tests;

//! What QEMU says about its root complex in ACPI, because it does not say it in the device tree.
//!
//! With `default-bus-bypass-iommu=on` the functions of a host bridge pass by the SMMU, and the
//! device tree's `iommu-map` is the same as without. Only the table IORT (Arm DEN 0049) tells,
//! which QEMU offers through fw_cfg for the firmware to install. So where there is a fw_cfg, the
//! table has to be there, and has to lead the requester IDs of each root bus to an SMMU that the
//! device tree has. (What is behind the root bus goes the same way, and is numbered later.)
//!
//! Trusts fw_cfg, a part of the machine, to tell the truth, but not to be well-formed: reading
//! ends, and what is not understood is not guarded.

use crate::bytes;
use crate::error::NodeName;
use crate::machine::MachineInfo;
use crate::unguarded::{Reason, Unguarded};

/// The largest IORT that is read; QEMU's has some 250 bytes.
const MAX_IORT: usize = 2048;
/// How many files of fw_cfg, bytes of tables, and nodes and mappings of the IORT are looked at.
const MAX_FILES: u32 = 256;
const MAX_TABLES_SIZE: u32 = 1 << 20;
const MAX_ENTRIES: u32 = 64;

// Items of fw_cfg.
const SIGNATURE: u16 = 0;
const DIRECTORY: u16 = 0x19;
const TABLES: &[u8] = b"etc/acpi/tables";

// Offsets in tables and nodes, and types of nodes.
const TABLE_HEADER: u32 = 36;
const NODE_COUNT: u32 = 36;
const NODES: u32 = 40;
const NODE_HEADER: u32 = 16;
const MAPPING_COUNT: u32 = 8;
const MAPPINGS: u32 = 12;
const MAPPING_SIZE: u32 = 20;
const SMMU_BASE: u32 = 16;
const ROOT_COMPLEX: u32 = 2;
const SMMU_V3: u32 = 4;

/// A fw_cfg device.
pub trait FirmwareConfig {
    /// Selects an item (a big-endian 16-bit write at offset 8).
    fn select(&mut self, item: u16);
    /// Reads the item's next byte, zero behind its end (an 8-bit read at offset 0).
    fn next_byte(&mut self) -> u8;
}

/// Checks that every host bridge's root bus is led to an SMMU.
#[inline(never)]
pub fn check(config: &mut impl FirmwareConfig, machine: &MachineInfo) -> Result<(), Unguarded> {
    let mut buffer = [0; MAX_IORT];
    let iort = read_iort(config, &mut buffer).unwrap_or_default();
    for bridge in machine.host_bridges.iter() {
        let root = u32::from(bridge.first_bus) << 8;
        if is_translated(iort, root, machine) != Some(true) {
            let (culprit, name) = (u64::from(root), NodeName::new(b"IORT"));
            return Err(Unguarded { reason: Reason::PartialMap, culprit, name });
        }
    }
    Ok(())
}

/// Reads the next bytes of the item.
fn read<const N: usize>(config: &mut impl FirmwareConfig) -> [u8; N] {
    [(); N].map(|()| config.next_byte())
}

/// Reads the table out of the file of tables, which lie one behind the other.
fn read_iort<'b>(config: &mut impl FirmwareConfig, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    config.select(SIGNATURE);
    if read(config) != *b"QEMU" {
        return None;
    }
    let (item, size) = find_tables(config)?;
    config.select(item);
    let mut left = size.min(MAX_TABLES_SIZE);
    loop {
        let header: [u8; 8] = read(config);
        let length = bytes::le32(&header, 4)?;
        left = left.checked_sub(length)?;
        if length < TABLE_HEADER {
            return None;
        }
        if header.starts_with(b"IORT") {
            let table = buffer.get_mut(..length as usize)?;
            bytes::put(table, 0, &header)?;
            table.get_mut(8..)?.iter_mut().for_each(|byte| *byte = config.next_byte());
            return Some(table);
        }
        for _ in 8..length {
            config.next_byte();
        }
    }
}

/// Finds the file of tables: its item and its size.
fn find_tables(config: &mut impl FirmwareConfig) -> Option<(u16, u32)> {
    config.select(DIRECTORY);
    let count = u32::from_be_bytes(read(config)).min(MAX_FILES);
    for _ in 0..count {
        let entry: [u8; 64] = read(config);
        if bytes::before(entry.get(8..)?, 0) == TABLES {
            return Some(((bytes::be32(&entry, 4)? >> 16) as u16, bytes::be32(&entry, 0)?));
        }
    }
    None
}

/// Reads the word at `offset` from `base`.
fn word(iort: &[u8], base: u32, offset: u32) -> Option<u32> {
    bytes::le32(iort, base.checked_add(offset)? as usize)
}

/// Tells whether each root complex, and there is one, leads a root bus to an SMMU.
fn is_translated(iort: &[u8], root: u32, machine: &MachineInfo) -> Option<bool> {
    let mut found = false;
    let mut node = word(iort, 0, NODES)?;
    for _ in 0..word(iort, 0, NODE_COUNT)?.min(MAX_ENTRIES) {
        let head = word(iort, node, 0)?;
        if head & 0xff == ROOT_COMPLEX {
            if !leads_to_smmu(iort, node, root, machine)? {
                return Some(false);
            }
            found = true;
        }
        let length = head >> 8 & 0xffff;
        if length < NODE_HEADER {
            return None;
        }
        node = node.checked_add(length)?;
    }
    Some(found)
}

/// Tells whether the first mapping of a root bus is to an SMMU that the device tree has.
fn leads_to_smmu(iort: &[u8], node: u32, root: u32, machine: &MachineInfo) -> Option<bool> {
    let mut mapping = node.checked_add(word(iort, node, MAPPINGS)?)?;
    for _ in 0..word(iort, node, MAPPING_COUNT)?.min(MAX_ENTRIES) {
        let first = word(iort, mapping, 0)?;
        let last = first.saturating_add(word(iort, mapping, 4)?);
        if first <= root | 0xff && root <= last {
            let smmu = word(iort, mapping, 12)?;
            let base = bytes::le64(iort, smmu.checked_add(SMMU_BASE)? as usize)?;
            let known = machine.smmus.iter().any(|known| known.registers.start() == base);
            let whole = first <= root && root | 0xff <= last;
            return Some(whole && known && word(iort, smmu, 0)? & 0xff == SMMU_V3);
        }
        mapping = mapping.checked_add(MAPPING_SIZE)?;
    }
    Some(false)
}

#[cfg(test)]
mod tests;

//! The check that all tables say the same: property PR1 (one owner, nobody reaches more).
//!
//! Decides nothing at run time. Walks the host's stage 2, its devices' and every VM's against the frame
//! table, in both directions, for tests and debug builds; its cost is the size of memory. Trusts
//! nothing but that no change is under way.

use super::{HostMemory, VmMemory};
use crate::addr::{Ipa, Pa, PageRange};
use crate::frames::DeviceOwner;
use crate::hw::TableMemory;
use crate::stage2::descriptor::{Attrs, ENTRIES, Entry, LEAF_LEVEL, decode};
use crate::stage2::{Mapping, Stage2};
use crate::transition::{HostAccess, MetaKind, State, VmSlot};

/// Says where two tables contradict one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The host reaches a page that it may not, or with rights or at an address that it may not.
    HostReaches(Mapping),
    /// The host does not reach this many RAM pages that it may.
    HostMisses(u64),
    /// The host's devices reach a page that they may not, or at an address that they may not.
    DevicesReach(Mapping),
    /// The host's devices do not reach this many RAM pages that they may.
    DevicesMiss(u64),
    /// A VM reaches a page that it may not, or at an address that it may not.
    VmReaches(Mapping),
    /// A VM's tables and the frame table disagree about how many pages it has.
    VmCounts,
    /// A VM's table lies in a page that is not recorded as such.
    TableOutside(Pa),
}

/// How many pages the frame table records for a VM, by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageCounts {
    /// Memory that the VM owns.
    pub owned: u64,
    /// Pages of the host that the VM borrows.
    pub borrowed: u64,
    /// State of the VM and its vCPUs.
    pub state: u64,
    /// Stage-2 tables, used or not.
    pub tables: u64,
}

/// Checks that the tables agree. `vms` lists every VM that has pages.
pub fn check(
    hw: &mut impl TableMemory,
    host: &HostMemory<'_>,
    vms: &[&VmMemory],
) -> Result<(), Violation> {
    check_host(hw, host, &host.stage2, Attrs::BORROWED).map_err(|(wrong, misses)| {
        wrong.map_or(Violation::HostMisses(misses), Violation::HostReaches)
    })?;
    if let Some(devices) = &host.devices {
        check_host(hw, host, &devices.stage2, Attrs::RAM).map_err(|(wrong, misses)| {
            wrong.map_or(Violation::DevicesMiss(misses), Violation::DevicesReach)
        })?;
    }
    vms.iter().try_for_each(|vm| check_vm(hw, host, vm))
}

/// Calls `visit` for each leaf of `stage2`.
fn for_each_leaf<H: TableMemory, E>(
    hw: &mut H,
    stage2: &Stage2,
    mut visit: impl FnMut(&mut H, Mapping) -> Result<(), E>,
) -> Result<(), E> {
    let mut cursor = Ipa::new(0);
    while let Some(mapping) = cursor.and_then(|ipa| stage2.next_leaf(hw, ipa)) {
        visit(hw, mapping)?;
        cursor = Ipa::from_page_number(mapping.ipa.page_number().saturating_add(mapping.pages()));
    }
    Ok(())
}

/// Checks tables of the host, or of its devices, in which pages that it borrows have the attributes
/// `borrowed`. Returns what is reached and may not be, or how many pages are missed.
fn check_host(
    hw: &mut impl TableMemory,
    host: &HostMemory<'_>,
    stage2: &Stage2,
    borrowed: Attrs,
) -> Result<(), (Option<Mapping>, u64)> {
    let mut mapped = 0u64;
    for_each_leaf(hw, stage2, |_, mapping| {
        let wrong = Err((Some(mapping), 0));
        let Ok(range) = PageRange::new(mapping.pa.pfn(), mapping.pages()) else {
            return wrong;
        };
        if mapping.pa.raw() != mapping.ipa.raw() {
            return wrong;
        }
        for page in range.iter() {
            let allowed = match host.frames.frame(page).map(|frame| frame.host_access()) {
                Ok(HostAccess::Owned) => Some(Attrs::RAM),
                Ok(HostAccess::Borrowed) => Some(borrowed),
                Ok(HostAccess::None) => None,
                Err(_) => match host.frames.devices.owner(page) {
                    Some(DeviceOwner::Host) => Some(Attrs::DEVICE),
                    Some(DeviceOwner::Hyp) | None => None,
                },
            };
            if allowed != Some(mapping.attrs) {
                return wrong;
            }
            mapped = mapped.saturating_add(u64::from(host.frames.is_ram(page)));
        }
        Ok(())
    })?;
    let mut may = 0u64;
    for entry in host.frames.entries() {
        let reached = entry.decode().host_access() != HostAccess::None;
        may = may.saturating_add(u64::from(reached));
    }
    if may == mapped { Ok(()) } else { Err((None, may.saturating_sub(mapped))) }
}

fn check_vm(
    hw: &mut impl TableMemory,
    host: &HostMemory<'_>,
    vm: &VmMemory,
) -> Result<(), Violation> {
    let slot = vm.slot;
    let mut mapped = 0u64;
    let mut tables = 0u64;
    if let Some(root) = vm.root {
        for_each_leaf(hw, &vm.stage2, |_, mapping| {
            let wrong = Err(Violation::VmReaches(mapping));
            for offset in 0..mapping.pages() {
                let number = mapping.ipa.page_number().saturating_add(offset);
                let Some(ipa) = Ipa::from_page_number(number) else {
                    return wrong;
                };
                let Some(page) = mapping.page_of(ipa) else {
                    return wrong;
                };
                let Ok(frame) = host.frames.frame(page) else {
                    return wrong;
                };
                if frame.vm_access() != Some((slot, ipa)) {
                    return wrong;
                }
            }
            mapped = mapped.saturating_add(mapping.pages());
            Ok(())
        })?;
        for page in root.iter() {
            tables =
                tables.saturating_add(check_tables(hw, host, vm, page.base())?).saturating_add(1);
        }
        tables = tables.saturating_add(vm.pool.free());
    }
    let recorded = tally(host, slot);
    let agree =
        recorded.owned.saturating_add(recorded.borrowed) == mapped && recorded.tables == tables;
    if agree { Ok(()) } else { Err(Violation::VmCounts) }
}

/// Counts the pages that the frame table records for a VM.
pub fn tally(host: &HostMemory<'_>, slot: VmSlot) -> PageCounts {
    let mut counts = PageCounts::default();
    for entry in host.frames.entries() {
        let (vm, count) = match entry.decode().state {
            State::Vm { vm, .. } | State::VmShared { vm, .. } => (vm, &mut counts.owned),
            State::HostShared { vm, .. } => (vm, &mut counts.borrowed),
            State::VmMeta { vm, kind: MetaKind::Table } => (vm, &mut counts.tables),
            State::VmMeta { vm, kind: MetaKind::State } => (vm, &mut counts.state),
            State::Hyp | State::HypLoan | State::Host => continue,
        };
        if vm == slot {
            *count = count.saturating_add(1);
        }
    }
    counts
}

/// Counts the tables below a start-level table of a VM, each of which must be recorded as such.
fn check_tables(
    hw: &mut impl TableMemory,
    host: &HostMemory<'_>,
    vm: &VmMemory,
    root: Pa,
) -> Result<u64, Violation> {
    let start = vm.geometry().start_level();
    let mut count = 0u64;
    // The tables and the positions in them, from the root down: a walk without recursion.
    let mut path = [(root, 0usize); 4];
    let mut level = start;
    loop {
        let Some((table, index)) = path.get_mut(usize::from(level)) else {
            return Ok(count);
        };
        if *index == 0 {
            let record = host.frames.frame(table.pfn()).map(|frame| frame.state);
            if record != Ok(State::VmMeta { vm: vm.slot, kind: MetaKind::Table }) {
                return Err(Violation::TableOutside(*table));
            }
        }
        if *index >= ENTRIES {
            if level == start {
                return Ok(count);
            }
            level = level.saturating_sub(1);
            continue;
        }
        let entry = decode(level, hw.read(*table, *index));
        *index = index.saturating_add(1);
        if let Entry::Table(next) = entry {
            count = count.saturating_add(1);
            level = level.saturating_add(1).min(LEAF_LEVEL);
            if let Some(step) = path.get_mut(usize::from(level)) {
                *step = (next, 0);
            }
        }
    }
}

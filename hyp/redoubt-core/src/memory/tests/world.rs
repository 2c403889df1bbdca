//! A small machine for the tests: two RAM regions, a carve-out for EL2, devices, a host and VMs.

use std::string::String;
use std::vec::Vec;

use crate::addr::{Ipa, IpaRange, PAGE_SIZE, PageRange, Pfn};
use crate::fake::{Content, FakeHw};
use crate::frames::{DeviceOwner, FrameEntry, FrameTable};
use crate::hw::Stage2Context;
use crate::memory::{HostMemory, HostMemoryBuilder, VmMemory, host_tables_needed, invariants};
use crate::stage2::geometry::{Concatenation, Geometry};
use crate::stage2::{Emptied, Stage2};
use crate::tables::TablePool;
use crate::transition::{HostAccess, State, VmSlot};

/// The first page of the first region: 8 MiB at 1 GiB, so all of it merges into 2 MiB blocks.
pub const RAM: u64 = 0x4_0000;
/// The number of pages of the first region.
pub const RAM_PAGES: u64 = 2048;
/// The carve-out: the last 2 MiB of the first region.
pub const CARVE: u64 = RAM + RAM_PAGES - 512;
/// The first page of the second region, whose ends are aligned to nothing.
pub const HIGH: u64 = 0x40_0003;
/// The number of pages of the second region.
pub const HIGH_PAGES: u64 = 517;
/// A device page that the host has.
pub const UART: u64 = 0x9000;
/// A device page that was withdrawn from the host, in the middle of a range.
pub const WITHDRAWN: u64 = 0x9007;

/// What a refused operation must leave as it is: records, tables, and the rest in words.
pub type Image = (Vec<FrameEntry>, Vec<(u64, Vec<u64>)>, String);

/// The machine.
pub struct World {
    pub hw: FakeHw,
    pub host: HostMemory<'static>,
}

pub fn pfn(raw: u64) -> Pfn {
    Pfn::new(raw).unwrap()
}

pub fn pages(first: u64, count: u64) -> PageRange {
    PageRange::new(pfn(first), count).unwrap()
}

pub fn ipa(page: u64) -> Ipa {
    Ipa::from_page_number(page).unwrap()
}

pub fn ipas(first: u64, count: u64) -> IpaRange {
    IpaRange::new(ipa(first), count).unwrap()
}

/// Returns a VM's geometry: 40 bits, from level 0.
pub fn vm_geometry() -> Geometry {
    Geometry::new(40, 48, Concatenation::Avoid).unwrap()
}

/// Lists the RAM that the host gets.
pub fn host_ram() -> [PageRange; 2] {
    [pages(RAM, RAM_PAGES - 512), pages(HIGH, HIGH_PAGES)]
}

impl World {
    pub fn new() -> Self {
        Self::with_pool(None)
    }

    /// Makes a machine whose host pool has `tables` tables: as many as it may ever need if `None`.
    pub fn with_pool(tables: Option<u64>) -> Self {
        let (host, hw) = Self::try_new(tables).unwrap();
        let mut world = Self { hw, host };
        world.hw.take_log();
        world
    }

    /// Builds the machine's memory as boot code does.
    pub fn try_new(
        tables: Option<u64>,
    ) -> Result<(HostMemory<'static>, FakeHw), crate::refusal::Refusal> {
        let entries = Vec::leak(std::vec![FrameEntry::HYP; (RAM_PAGES + HIGH_PAGES) as usize]);
        let mut frames = FrameTable::new(entries);
        frames.add_region(pages(RAM, RAM_PAGES))?;
        frames.add_region(pages(HIGH, HIGH_PAGES))?;
        frames.devices.insert(pages(UART, 16), DeviceOwner::Host)?;
        frames.devices.insert(pages(0x8000, 256), DeviceOwner::Hyp)?;
        frames.devices.withdraw(pages(WITHDRAWN, 1))?;
        let geometry = Geometry::new(40, 48, Concatenation::Avoid)?;
        let devices: Vec<_> = frames
            .devices
            .iter()
            .filter(|(_, owner)| *owner == DeviceOwner::Host)
            .map(|(range, _)| range)
            .collect();
        let needed = host_tables_needed(geometry, host_ram().into_iter(), devices.into_iter());
        let context = Stage2Context { vmid: 0, root: pfn(CARVE).base() };
        let mut hw = FakeHw::default();
        hw.adopt_root(context, geometry.start_level(), geometry.root_pages());
        let stage2 = Stage2::new(context, geometry, Emptied::Kept)?;
        let pool = TablePool::from_range(pages(CARVE + 1, tables.unwrap_or(needed)));
        let mut builder = HostMemoryBuilder::new(frames, stage2, pool);
        for range in host_ram() {
            builder.give_ram(&mut hw, range)?;
        }
        Ok((builder.finish(&mut hw)?, hw))
    }

    /// Makes a VM whose start-level table is the page `root`, with `tables` pages from
    /// `root + 1` on in its pool.
    pub fn vm(&mut self, slot: u8, root: u64, tables: u64) -> VmMemory {
        let mut vm = self.create(slot, root).unwrap();
        self.host.donate_tables(&mut self.hw, &mut vm, pages(root + 1, tables)).unwrap();
        self.check(&[&vm]);
        vm
    }

    /// Makes a VM without tables.
    pub fn create(&mut self, slot: u8, root: u64) -> Result<VmMemory, crate::refusal::Refusal> {
        let geometry = vm_geometry();
        let vmid = u16::from(slot) + 1;
        let made = VmMemory::create(
            &mut self.host,
            &mut self.hw,
            VmSlot::new(slot),
            vmid,
            geometry,
            pages(root, 1),
        );
        if let Ok(vm) = &made {
            let context = vm.context().unwrap();
            self.hw.adopt_root(context, geometry.start_level(), geometry.root_pages());
        }
        made
    }

    /// Returns everything that a refused operation must leave as it is.
    pub fn image(&self, vms: &[&VmMemory]) -> Image {
        let mut tables: Vec<_> = self.hw.snapshot().into_iter().collect();
        tables.sort();
        let states = std::format!("{vms:?} {:?} {}", self.host.stage2(), self.host.free_tables());
        (self.host.frames().entries().to_vec(), tables, states)
    }

    /// Puts secrets where only their owner may see them.
    pub fn spread_secrets(&mut self) {
        for range in host_ram() {
            for page in range.iter() {
                match self.host.frame(page).unwrap().state {
                    State::Vm { vm, .. } | State::VmMeta { vm, .. } => {
                        self.hw.fill(page, Content::Secret(vm.index()));
                    }
                    State::HypLoan => self.hw.fill(page, Content::Secret(255)),
                    State::Hyp
                    | State::Host
                    | State::HostShared { .. }
                    | State::VmShared { .. } => {}
                }
            }
        }
    }

    /// Checks what must hold between any two operations: the tables agree (PR1), nothing is left in
    /// a TLB, and no page that the host owns holds somebody's secret (PR4).
    pub fn check(&mut self, vms: &[&VmMemory]) {
        self.hw.assert_quiet();
        invariants::check(&mut self.hw, &self.host, vms).unwrap();
        for range in host_ram() {
            for page in range.iter() {
                if self.host.frame(page).unwrap().host_access() == HostAccess::Owned {
                    let content = self.hw.content(page);
                    assert!(!matches!(content, Content::Secret(_)), "{page:x?} {content:?}");
                }
            }
        }
    }

    /// Tells how the host reaches a page, from the tables alone.
    pub fn host_reaches(&mut self, page: u64) -> bool {
        let at = pfn(page).identity_ipa();
        let mapping = self.host.stage2().get(&mut self.hw, at);
        mapping.and_then(|mapping| mapping.page_of(at)) == Pfn::new(page)
    }

    /// Tells which page a VM sees at an IPA page, from the tables alone.
    pub fn vm_sees(&mut self, vm: &VmMemory, page: u64) -> Option<u64> {
        let mapping = vm.lookup(&mut self.hw, ipa(page))?;
        mapping.page_of(ipa(page)).map(Pfn::raw)
    }
}

/// Returns the bytes of an address of a page: what a fault reports.
pub fn address(page: u64, offset: u64) -> u64 {
    page * PAGE_SIZE + offset
}

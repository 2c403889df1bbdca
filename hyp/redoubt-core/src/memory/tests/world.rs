//! A small machine for the tests: two RAM regions, a carve-out for EL2, devices behind two SMMUs of
//! which one does not snoop, a host and VMs.

use std::collections::BTreeSet;

use std::string::String;
use std::vec::Vec;

use crate::addr::{Ipa, IpaRange, PAGE_SIZE, PageRange, Pfn};
use crate::fake::smmu::FakeSmmu;
use crate::fake::{Content, FakeHw};
use crate::frames::{DeviceOwner, FrameEntry, FrameTable};
use crate::hw::{Stage2Context, TableMemory};
use crate::memory::invariants::PageCounts;
use crate::memory::{
    HostMemory, HostMemoryBuilder, VmMemory, dma_tables_needed, host_tables_needed, invariants,
};
use crate::refusal::Refusal;
use crate::smmu::{Smmu, Smmus, StreamRange, probe};
use crate::stage2::geometry::{Concatenation, Geometry};
use crate::stage2::{Emptied, Stage2};
use crate::tables::TablePool;
use crate::transition::{Frame, HostAccess, State, VmSlot};

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

/// A device page that the host has and that its devices reach.
pub const DOORBELL: u64 = UART + 3;
/// The streams of each SMMU.
pub const STREAMS: [StreamRange; 2] =
    [StreamRange { first: 0, count: 256 }, StreamRange { first: 1000, count: 3 }];
/// In the carve-out: the root of the tables of devices, and their pool.
pub const DMA_ROOT: u64 = CARVE + 200;
/// In the carve-out: queues and stream tables, and how far they are apart.
const SMMU_MEMORY: [u64; 2] = [CARVE + 301, CARVE + 401];

/// How devices are kept from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Not at all.
    None,
    /// By SMMUs that do not snoop.
    Smmus,
    /// By SMMUs that snoop.
    SnoopingSmmus,
}

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

impl HostMemory<'_> {
    /// Returns the page that a VM sees at `ipa`, and its record.
    pub fn vm_page(
        &self,
        hw: &mut impl TableMemory,
        vm: &VmMemory,
        ipa: Ipa,
    ) -> Result<(Pfn, Frame), Refusal> {
        if !vm.geometry().contains(ipa) {
            return Err(Refusal::OutOfRange);
        }
        let mapping = vm.lookup(hw, ipa).ok_or(Refusal::NotMapped)?;
        let page = mapping.page_of(ipa).ok_or(Refusal::NotMapped)?;
        Ok((page, self.frame(page)?))
    }
}

impl World {
    /// Counts the pages that are recorded for a VM.
    pub fn counts(&self, vm: &VmMemory) -> PageCounts {
        invariants::tally(&self.host, vm.slot())
    }

    /// Tells whether no page belongs to the VM any more, so that slot and VMID can be used again.
    pub fn is_gone(&self, vm: &VmMemory) -> bool {
        vm.context().is_none() && self.counts(vm) == PageCounts::default()
    }

    pub fn new() -> Self {
        Self::with_pool(None)
    }

    /// Makes a machine whose host pool has `tables` tables: as many as it may ever need if `None`.
    pub fn with_pool(tables: Option<u64>) -> Self {
        let (host, hw) = Self::try_new(tables, None, Guard::Smmus).unwrap();
        let mut world = Self { hw, host };
        world.hw.take_log();
        world
    }

    /// Makes a machine with another guard.
    pub fn with_guard(guard: Guard) -> Self {
        let (host, hw) = Self::try_new(None, None, guard).unwrap();
        Self { hw, host }
    }

    /// Builds the machine's memory as boot code does, with pools of so many tables for the host and
    /// for its devices.
    pub fn try_new(
        tables: Option<u64>,
        dma_tables: Option<u64>,
        guard: Guard,
    ) -> Result<(HostMemory<'static>, FakeHw), Refusal> {
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
        if guard != Guard::None {
            hw.snoops = guard == Guard::SnoopingSmmus;
            let context = Stage2Context { vmid: 0, root: pfn(DMA_ROOT).base() };
            let stage2 = Stage2::new(context, geometry, Emptied::Kept)?;
            hw.zero(context.root);
            let smmus = start_smmus(&mut hw, &stage2);
            let doorbell = [pages(DOORBELL, 1)].into_iter();
            let needed = dma_tables_needed(geometry, host_ram().into_iter(), doorbell);
            let pool = pages(DMA_ROOT + 1, dma_tables.unwrap_or(needed));
            builder.guard_dma(stage2, TablePool::from_range(pool), smmus);
        }
        for range in host_ram() {
            builder.give_ram(&mut hw, range)?;
        }
        builder.allow_doorbell(&mut hw, pfn(DOORBELL))?;
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
    pub fn create(&mut self, slot: u8, root: u64) -> Result<VmMemory, Refusal> {
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
        self.check_devices();
        for range in host_ram() {
            for page in range.iter() {
                if self.host.frame(page).unwrap().host_access() == HostAccess::Owned {
                    let content = self.hw.content(page);
                    assert!(!matches!(content, Content::Secret(_)), "{page:x?} {content:?}");
                }
            }
        }
    }

    /// Checks that devices reach what the host reaches, in memory as they see it, and a doorbell.
    fn check_devices(&mut self) {
        if self.host.smmus().is_none() {
            return;
        }
        let reached =
            |page: &Pfn| self.host.frame(*page).unwrap().host_access() != HostAccess::None;
        let host = host_ram().into_iter().flat_map(PageRange::iter).filter(reached);
        let may: BTreeSet<u64> = host.map(Pfn::raw).chain([DOORBELL]).collect();
        assert_eq!(self.hw.device_pages(), may);
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

/// Starts two SMMUs.
fn start_smmus(hw: &mut FakeHw, stage2: &Stage2) -> Smmus {
    let mut smmus = Smmus::default();
    for memory in SMMU_MEMORY {
        let frame = hw.add_smmu(FakeSmmu::new());
        let features = probe(hw, frame).unwrap();
        let memory = pages(memory, crate::smmu::memory_needed(STREAMS.len()));
        smmus.push(Smmu::start(hw, frame, &features, &STREAMS, memory, stage2).unwrap()).unwrap();
    }
    smmus
}

/// Returns the bytes of an address of a page: what a fault reports.
pub fn address(page: u64, offset: u64) -> u64 {
    page * PAGE_SIZE + offset
}

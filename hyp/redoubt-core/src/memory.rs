//! Operations on memory: the frame table, the host's stage 2 and a VM's stage 2, changed together.
//!
//! Decides what a hypercall on memory does and in which order: the party that loses a page loses it
//! first (unmap, TLB invalidation complete), then the contents are dealt with, then the record
//! changes, and only then does the next party see the page.
//!
//! Every operation has two halves: the first checks each page and each table and changes nothing; the
//! second cannot fail. An error says that no page, no record and no table has changed.
//! One call takes at most [`MAX_PAGES_PER_CALL`] pages, so that none runs long with interrupts off.
//!
//! Invariants: the host's stage 2 maps exactly the pages that the frame table says the host can
//! reach, at IPA = PA; so do the tables of its devices, as far as it is RAM; a VM's stage 2 maps exactly
//! the pages that the table says it owns or borrows, each at the recorded IPA. A page that leaves a VM or EL2 is scrubbed before the host sees it.
//!
//! Trusts: the caller holds the VM's lock and then the host memory lock; slots and VMIDs passed in
//! are not in use by another live VM. Spec: Arm ARM D8.16; design chapter "Memory".

mod change;
mod dma;
mod down;
#[cfg(any(test, feature = "invariants"))]
pub mod invariants;
#[cfg(test)]
mod sizing;
mod vm;

use crate::addr::{Ipa, PageRange, Pfn};
use crate::frames::{DeviceOwner, FrameTable};
use crate::hw::{MemoryHw, TableMemory};
use crate::refusal::Refusal;
use crate::smmu::Smmus;
use crate::stage2::descriptor::Attrs;
use crate::stage2::{BlockSize, Stage2};
use crate::tables::TablePool;
use crate::transition::{Event, Frame};
use dma::DeviceTables;
pub use down::holds_vm_secret;
#[cfg(test)]
pub(crate) use sizing::{dma_tables_needed, host_tables_needed};
pub use vm::{Reclaim, VmMemory};

/// Holds the number of pages that one call may take.
pub const MAX_PAGES_PER_CALL: u64 = 512;

/// Says what becomes of a page's contents when it changes hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// The next party sees what the last one wrote.
    Keep,
    /// The next party sees zeroes.
    Zero,
}

/// Says what a VM may do with a page that the host lends to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lend {
    /// Read, write and execute.
    ReadWrite,
    /// Read and execute.
    ReadOnly,
}

impl Lend {
    const fn attrs(self) -> Attrs {
        match self {
            Self::ReadWrite => Attrs::RAM,
            Self::ReadOnly => Attrs::RAM_READ_ONLY,
        }
    }
}

/// The kind of access that faulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store, or a read-modify-write.
    Write,
    /// An instruction fetch.
    Execute,
}

impl Access {
    /// Makes the kind of a fault.
    pub const fn of(fetch: bool, write: bool) -> Self {
        match (fetch, write) {
            (true, _) => Self::Execute,
            (false, true) => Self::Write,
            (false, false) => Self::Read,
        }
    }

    /// Tells whether a mapping with these attributes allows the access.
    pub const fn is_allowed(self, attrs: Attrs) -> bool {
        match self {
            Self::Read => true,
            Self::Write => attrs.write,
            Self::Execute => attrs.execute,
        }
    }
}

/// Says what to do about a stage-2 fault of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostFault {
    /// The tables allow the access by now (another CPU was in the middle of a change): return and
    /// let the instruction run again.
    Retry,
    /// The host may not do this: give it an abort.
    Inject,
}

/// The frame table and the host's stage 2, which change together: what the host memory lock guards.
#[derive(Debug)]
pub struct HostMemory<'a> {
    frames: FrameTable<'a>,
    stage2: Stage2,
    pool: TablePool,
    /// What the host's devices reach, if their accesses are translated.
    devices: Option<DeviceTables>,
}

/// Host memory while it is being set up at boot: nothing runs on its tables yet.
#[derive(Debug)]
pub struct HostMemoryBuilder<'a> {
    memory: HostMemory<'a>,
}

impl<'a> HostMemoryBuilder<'a> {
    /// Takes a frame table in which every page is EL2's, empty stage-2 tables made with
    /// [`Emptied::Kept`](crate::stage2::Emptied::Kept), and a pool that is
    /// large enough for all RAM in 4 KiB pages, and devices in the blocks that they are mapped with here.
    pub const fn new(frames: FrameTable<'a>, stage2: Stage2, pool: TablePool) -> Self {
        Self { memory: HostMemory { frames, stage2, pool, devices: None } }
    }

    /// Lets the host's devices reach the host's RAM, that which is given from now on. The tables are
    /// empty ones made with [`Emptied::Kept`](crate::stage2::Emptied::Kept), which all `smmus` walk,
    /// and the pool is large enough for all RAM, and the doorbells, in 4 KiB pages.
    pub const fn guard_dma(&mut self, stage2: Stage2, pool: TablePool, smmus: Smmus) {
        self.memory.devices = Some(DeviceTables { stage2, pool, smmus });
    }

    /// Lets the host's devices reach a page of a device: the one that takes their interrupts.
    pub fn allow_doorbell(&mut self, hw: &mut impl MemoryHw, page: Pfn) -> Result<(), Refusal> {
        let Some(devices) = &mut self.memory.devices else { return Ok(()) };
        devices.check_map(hw, PageRange::one(page))?;
        devices.map(hw, PageRange::one(page), Attrs::DEVICE);
        Ok(())
    }

    /// Gives a run of RAM, so far EL2's, to the host and maps it with the largest blocks.
    pub fn give_ram(&mut self, hw: &mut impl MemoryHw, range: PageRange) -> Result<(), Refusal> {
        let HostMemory { frames, stage2, pool, devices } = &mut self.memory;
        let ipas = range.identity_ipas();
        let tables = stage2.check_map(hw, ipas, range.start(), BlockSize::Giga1)?;
        check_free(pool, tables)?;
        devices.as_ref().map_or(Ok(()), |devices| devices.check_map(hw, range))?;
        frames.give_host(range)?;
        stage2.map(hw, pool, ipas, range.start(), Attrs::RAM, BlockSize::Giga1);
        if let Some(devices) = devices {
            devices.map(hw, range, Attrs::RAM);
        }
        Ok(())
    }

    /// Maps the host's device ranges and puts the tables into service.
    pub fn finish(mut self, hw: &mut impl MemoryHw) -> Result<HostMemory<'a>, Refusal> {
        let HostMemory { frames, stage2, pool, .. } = &mut self.memory;
        for (range, owner) in frames.devices.iter() {
            match owner {
                DeviceOwner::Hyp => {}
                DeviceOwner::Host => {
                    let ipas = range.identity_ipas();
                    let tables = stage2.check_map(hw, ipas, range.start(), BlockSize::Giga1)?;
                    check_free(pool, tables)?;
                    stage2.map(hw, pool, ipas, range.start(), Attrs::DEVICE, BlockSize::Giga1);
                }
            }
        }
        stage2.flush_all(hw);
        Ok(self.memory)
    }
}

impl<'a> HostMemory<'a> {
    /// Returns the frame table, to look.
    pub const fn frames(&self) -> &FrameTable<'a> {
        &self.frames
    }

    /// Returns the host's stage 2, to look and to load its context.
    #[cfg(test)]
    pub const fn stage2(&self) -> &Stage2 {
        &self.stage2
    }

    /// Returns how many tables the host's pool still has.
    #[cfg(test)]
    pub const fn free_tables(&self) -> u64 {
        self.pool.free()
    }

    /// Returns the SMMUs, if devices are guarded: for their events and counts, and to quiesce them.
    pub fn smmus(&mut self) -> Option<&mut Smmus> {
        self.devices.as_mut().map(|devices| &mut devices.smmus)
    }

    /// Decides about a stage-2 fault of the host at `ipa`. Never changes anything: what the host
    /// may reach is mapped at all times, but for the moments of a break-before-make.
    pub fn fault(&self, hw: &mut impl TableMemory, ipa: u64, access: Access) -> HostFault {
        let mapping = Ipa::new(ipa).and_then(|ipa| self.stage2.get(hw, ipa));
        let allowed = mapping.is_some_and(|mapping| access.is_allowed(mapping.attrs));
        if allowed { HostFault::Retry } else { HostFault::Inject }
    }

    /// Pins every page of `range`, or none: the host keeps its access, and the owner stays, until
    /// they are unpinned. EL2 reads and writes no host page that is not pinned.
    pub fn pin(&mut self, range: PageRange) -> Result<(), Refusal> {
        self.apply_all(range, Event::Pin)
    }

    /// Takes one pin from every page of `range`, or from none.
    pub fn unpin(&mut self, range: PageRange) -> Result<(), Refusal> {
        self.apply_all(range, Event::Unpin)
    }

    /// Returns the record of a page.
    pub fn frame(&self, page: Pfn) -> Result<Frame, Refusal> {
        self.frames.frame(page)
    }

    /// Applies `event` to every page of `range`, or to none.
    fn apply_all(&mut self, range: PageRange, event: Event) -> Result<(), Refusal> {
        self.check_records(range, |_| Ok(event))?;
        range.iter().try_for_each(|page| self.frames.apply(page, event).map(|_| ()))
    }
}

/// Refuses a call that takes more pages than it may.
const fn check_count(pages: u64) -> Result<(), Refusal> {
    if pages > MAX_PAGES_PER_CALL { Err(Refusal::TooMany) } else { Ok(()) }
}

/// Refuses a change that takes more tables than there are.
const fn check_free(pool: &TablePool, tables: u64) -> Result<(), Refusal> {
    if tables > pool.free() { Err(Refusal::NoTables) } else { Ok(()) }
}

#[cfg(test)]
mod tests;

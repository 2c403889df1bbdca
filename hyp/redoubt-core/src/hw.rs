//! What the memory modules need from the hardware, as traits.
//!
//! Decides the *granularity* of effects: one method is one architectural step (a descriptor store,
//! a barrier, a TLBI, a scrub), so that the sequences built from them are policy, written once in
//! this crate and asserted in order by the recording fake of the tests. The arch crate implements
//! the traits with a few instructions each; it is trusted to do exactly what each method says.
//! Spec: Arm ARM D8.16 (break-before-make, TLB maintenance), D8.13 (caching of descriptors).

use crate::addr::{Ipa, Pa, Pfn};

/// Names one stage-2 translation context: the address space that TLB maintenance is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage2Context {
    /// The VMID that tags the TLB entries.
    pub vmid: u16,
    /// The first start-level table, aligned to the whole start level.
    pub root: Pa,
}

impl Stage2Context {
    /// Encodes VTTBR_EL2 (VMID in [63:48], BADDR, CnP = 0).
    pub const fn vttbr(self) -> u64 {
        ((self.vmid as u64) << 48) | self.root.raw()
    }
}

/// Reads and writes descriptors in translation tables that EL2 owns.
pub trait TableMemory {
    /// Reads the descriptor at `index` (0..512) of the table page at `table`; or of a page of the host
    /// that is pinned, and may change at any time.
    fn read(&mut self, table: Pa, index: usize) -> u64;

    /// Stores the descriptor at `index` (0..512) of the table page at `table`, in one
    /// single-copy-atomic 64-bit store. No barrier is implied.
    fn write(&mut self, table: Pa, index: usize, descriptor: u64);

    /// Zeroes the table page at `table`. No barrier is implied.
    fn zero(&mut self, table: Pa);
}

/// Emits the barriers and stage-2 TLB maintenance instructions.
///
/// A sequence is: stores through [`TableMemory`], [`dsb_ishst`](Self::dsb_ishst),
/// [`enter`](Self::enter), invalidations, [`dsb_ish`](Self::dsb_ish), [`isb`](Self::isb),
/// [`leave`](Self::leave). An implementation may make each invalidation stronger (repeat it, use a
/// wider one, add barriers) where an erratum of the CPU asks for it; it must not make it weaker.
pub trait TlbOps {
    /// `DSB ISHST`: the descriptor stores so far are seen by every table walker before what
    /// follows.
    fn dsb_ishst(&mut self);

    /// `DSB ISH`: the invalidations so far are complete on every CPU.
    fn dsb_ish(&mut self);

    /// `ISB`.
    fn isb(&mut self);

    /// Makes `context` the one that the invalidations below act on (VTTBR_EL2, then `ISB`), without
    /// letting anything run or be fetched under a mix of two contexts.
    fn enter(&mut self, context: Stage2Context);

    /// Restores the context that was current before [`enter`](Self::enter).
    fn leave(&mut self);

    /// `TLBI IPAS2E1IS`: removes stage-2 entries of every level for `ipa`, cached table
    /// descriptors included. `level` (1..=3) is the level of the leaf if it is known (a TTL hint).
    fn invalidate_ipa(&mut self, ipa: Ipa, level: Option<u8>);

    /// `TLBI VMALLE1IS`: removes combined stage 1 and 2 entries of the context.
    fn invalidate_stage1(&mut self);

    /// `TLBI VMALLS12E1IS`: removes every entry of the context.
    fn invalidate_all(&mut self);
}

/// Changes the contents of pages, through a window mapped for the one operation.
pub trait PageScrub {
    /// Overwrites the page (and its MTE tags, where there are any) with zeroes and cleans it to the
    /// point of coherency, even where the CPU claims that this is not needed: a non-cacheable
    /// observer must not find the old contents.
    fn scrub(&mut self, page: Pfn);

    /// Cleans and invalidates the page's data cache lines to the point of coherency, so that the
    /// next owner sees what the last one wrote, whatever memory type either uses. Contents stay.
    fn clean(&mut self, page: Pfn);

    /// Invalidates the instruction caches and waits for the maintenance of all pages since the last
    /// call (`DSB ISH; IC IALLUIS; DSB ISH`), once per operation.
    fn settle(&mut self);
}

/// The registers of a device that EL2 drives, or guards, by its number in the order of the FDT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterFrame {
    /// An SMMUv3: page 0 from offset 0, page 1 from offset 0x10000.
    Smmu(u8),
    /// The control frame of an ITS: its first page.
    Its(u8),
    /// The RD_base frame of the redistributor of this physical CPU: its first page.
    Redistributor(u8),
}

/// Reaches devices that read and write memory themselves.
pub trait DeviceHw {
    /// Reads the 32-bit register at `offset`.
    fn read32(&mut self, frame: RegisterFrame, offset: u32) -> u32;

    /// Reads the 64-bit register at `offset`.
    fn read64(&mut self, frame: RegisterFrame, offset: u32) -> u64;

    /// Writes the 32-bit register at `offset`. No barrier is implied.
    fn write32(&mut self, frame: RegisterFrame, offset: u32, value: u32);

    /// Writes the 64-bit register at `offset`. No barrier is implied.
    fn write64(&mut self, frame: RegisterFrame, offset: u32, value: u64);

    /// Cleans and invalidates the cache line of the 64-bit word at `index` of a page of EL2's to the
    /// point of coherency (`DC CIVAC`), for a device that does not snoop: what was stored becomes
    /// visible to it, and what it stored to us.
    fn clean_entry(&mut self, table: Pa, index: usize);

    /// `DSB SY`: stores and cache maintenance so far are done before a device sees what follows.
    fn dsb_sy(&mut self);
}

/// Names an invariant of EL2 that did not hold. No input can cause one: it is a bug or a memory
/// error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// An SMMU reports an error of its own, or does not finish an invalidation: devices may still
    /// reach a page that is about to change hands.
    DmaUnfinished,
    /// A table reserved by a plan was gone when it was committed.
    TableMissing,
    /// A stage-2 table does not say what the frame table says.
    TablesDisagree,
    /// A transition checked by a plan was refused when it was committed.
    TransitionLost,
}

/// Stops the machine.
pub trait FailStop {
    /// Stops every CPU with secrets unreadable and says what broke. Never returns: to go on with
    /// isolation unknown is worse.
    fn fail_stop(&mut self, breach: Breach) -> !;
}

/// Everything that a change of translation tables needs from the hardware.
pub trait TableHw: TableMemory + TlbOps + FailStop {}

impl<T: TableMemory + TlbOps + FailStop + ?Sized> TableHw for T {}

/// Everything that an operation on memory needs from the hardware.
pub trait MemoryHw: TableHw + PageScrub + DeviceHw {}

impl<T: TableHw + PageScrub + DeviceHw + ?Sized> MemoryHw for T {}

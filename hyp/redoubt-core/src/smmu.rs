//! The SMMUv3: what stands between devices and memory.
//!
//! Decides how an SMMU is brought from whatever the firmware left to a state in which the streams
//! given translate through one set of stage-2 tables and everything else aborts; in which order it is
//! told to forget translations; and what its errors mean. While it is set up every transaction aborts
//! ([`block`]), and nothing is enabled before what it relies on is in place.
//!
//! Invariants:
//! - an invalidation is over when the `CMD_SYNC` behind it has been consumed, and not before; one that
//!   does not come to its end, or an SMMU that fails, stops the machine;
//! - an SMMU writes to its event queue alone: no message-signalled interrupts, no PRI, no stage 1;
//! - what it reads or writes is EL2's, and is cleaned for SMMUs that do not snoop.
//!
//! Trusts the caller that the memory given is EL2's, and holds the host memory lock. Spec: IHI 0070.

mod registers;
mod table;

use crate::addr::{PAGE_SIZE, Pa, PageRange, Pfn};
use crate::hw::{Breach, DeviceHw, MemoryHw, RegisterFrame};
use crate::stage2::Stage2;
use crate::stage2::descriptor::ENTRIES;
use registers as r;
pub(crate) use registers::{tlbi_all, tlbi_ipa};
pub(crate) use table::{clean, store};

/// Most SMMUs of a machine.
pub const MAX_SMMUS: usize = 8;
/// How often a register is read until the SMMU has done what it was asked for: far beyond what any
/// takes, some tenths of a second.
const POLLS: u32 = if cfg!(test) { 1 << 12 } else { 1 << 20 };
/// Entries of each queue: as many events fill a page. A flush of pages needs about half as many
/// commands.
const QUEUE_BITS: u32 = 7;
const QUEUE_LEN: u32 = 1 << QUEUE_BITS;
/// The number of an entry, and above it the bit that changes with each turn.
const PLACE: u32 = 2 * QUEUE_LEN - 1;
/// Pages that are taken at a time: a level-2 stream table, which is aligned to its size.
const GROUP: u64 = 4;

/// Streams, which is what an SMMU calls the devices in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRange {
    /// The first stream.
    pub first: u32,
    /// How many there are.
    pub count: u64,
}

impl StreamRange {
    const fn end(&self) -> u64 {
        (self.first as u64).saturating_add(self.count)
    }

    const fn contains(&self, stream: u64) -> bool {
        self.first as u64 <= stream && stream < self.end()
    }
}

/// Says why an SMMU cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It does not walk stage-2 tables of the AArch64 format with pages of 4 KiB, little-endian.
    NoStage2,
    /// Its stream table cannot have two levels.
    FlatStreamTable,
    /// It stalls on every fault, so a device could hold it up.
    ForcedStall,
    /// Its tables or queues are where the hardware has put them, or its queues are tiny.
    Preset,
    /// It does not reach all addresses that the tables translate.
    AddressSize,
    /// The memory set aside for it is too small, or not where it can be reached.
    Memory,
    /// It does not take a setting, or a command, in any reasonable time.
    Silent,
    /// It reports an error of its own.
    Failing,
    /// There are more than [`MAX_SMMUS`].
    TooMany,
}

/// What an SMMU can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// How many bits a physical address has, at most 48.
    pub oas_bits: u8,
    /// The same as IDR5.OAS encodes it.
    oas: u8,
    stream_bits: u32,
    /// What of CR0 is set as long as the SMMU is in use.
    queues: u32,
}

/// An access of a device that an SMMU did not let through, or an error in its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The number of the SMMU.
    pub smmu: u8,
    /// What happened: the event's number in IHI 0070, 7.3.
    pub kind: u8,
    /// Whether the device wanted to write.
    pub write: bool,
    /// The device.
    pub stream: u32,
    /// The address that it asked for; zero for events that have none.
    pub address: u64,
}

/// Returns how many pages EL2 sets aside for the queues and the stream table of one SMMU: level 1 and
/// queues, a full level-2 table, one for each end of each range, and what
/// alignment may waste.
pub const fn memory_needed(ranges: usize) -> u64 {
    (ranges as u64).saturating_mul(2).saturating_add(3).saturating_mul(GROUP)
}

/// Makes an SMMU abort all transactions of all devices, and disables it with its queues and
/// interrupts.
pub fn block(hw: &mut impl DeviceHw, frame: RegisterFrame) -> Result<(), Unusable> {
    poll(|| hw.read32(frame, r::GBPA) & r::GBPA_UPDATE == 0)?;
    let attributes = hw.read32(frame, r::GBPA);
    hw.write32(frame, r::GBPA, attributes | r::GBPA_ABORT | r::GBPA_UPDATE);
    poll(|| hw.read32(frame, r::GBPA) & (r::GBPA_UPDATE | r::GBPA_ABORT) == r::GBPA_ABORT)?;
    set(hw, frame, r::CR0, 0)?;
    set(hw, frame, r::IRQ_CTRL, 0)
}

/// Finds out what an SMMU can do, without touching it.
pub fn probe(hw: &mut impl DeviceHw, frame: RegisterFrame) -> Result<Features, Unusable> {
    let [idr0, idr1, idr5] = [r::IDR0, r::IDR1, r::IDR5].map(|id| hw.read32(frame, id));
    for (found, mask, wanted, reason) in [
        // S2P; TTF: AArch64; TTENDIAN: not big-endian alone.
        (idr0, 1 << 0 | 1 << 3 | 1 << 21, 1 << 0 | 1 << 3, Unusable::NoStage2),
        // GRAN4K.
        (idr5, 1 << 4, 1 << 4, Unusable::NoStage2),
        // ST_LEVEL.
        (idr0, 1 << 27, 1 << 27, Unusable::FlatStreamTable),
        // STALL_MODEL.
        (idr0, 1 << 25, 0, Unusable::ForcedStall),
        // TABLES_PRESET, QUEUES_PRESET.
        (idr1, 0b11 << 29, 0, Unusable::Preset),
    ] {
        if found & mask != wanted {
            return Err(reason);
        }
    }
    // CMDQS, EVENTQS.
    if (idr1 >> 21 & 0x1f).min(idr1 >> 16 & 0x1f) < QUEUE_BITS {
        return Err(Unusable::Preset);
    }
    let oas = (idr5 & 0b111).min(5) as u8;
    let oas_bits = [32, 36, 40, 42, 44].get(usize::from(oas)).copied().unwrap_or(48);
    // With ATS, devices could say that they have translated an address themselves: ATSCHK makes the
    // SMMU look at the STE, which says that none may.
    let queues = r::CR0_QUEUES | (idr0 >> 6 & r::CR0_ATSCHK);
    Ok(Features { oas_bits, oas, stream_bits: idr1 & 0x3f, queues })
}

/// Waits until something is done.
fn poll(mut is_done: impl FnMut() -> bool) -> Result<(), Unusable> {
    if (0..POLLS).any(|_| is_done()) { Ok(()) } else { Err(Unusable::Silent) }
}

/// Writes a control register, and waits until the SMMU works accordingly.
fn set(hw: &mut impl DeviceHw, frame: RegisterFrame, at: u32, value: u32) -> Result<(), Unusable> {
    hw.dsb_sy();
    hw.write32(frame, at, value);
    poll(|| hw.read32(frame, at.saturating_add(r::TO_ACK)) == value)
}

/// Goes to the next entry of a queue; what is beside its place stays.
const fn advance(register: u32) -> u32 {
    register & !PLACE | register.wrapping_add(1) & PLACE
}

/// An SMMU that translates.
#[derive(Debug)]
pub struct Smmu {
    frame: RegisterFrame,
    /// CR0 without SMMUEN.
    queues: u32,
    commands: Pa,
    events: Pa,
    /// CMDQ_PROD, but for what `pending` commands the SMMU does not know of or has not consumed.
    produced: u32,
    pending: u32,
    /// EVENTQ_CONS.
    consumed: u32,
    /// GERRORN: the errors that are dealt with.
    gerrorn: u32,
}

impl Smmu {
    /// Makes an SMMU translate `streams` with `stage2`, which the caller fills afterwards. `memory`
    /// is what [`memory_needed`] asks for. If this fails, nothing translates.
    pub fn start(
        hw: &mut impl MemoryHw,
        frame: RegisterFrame,
        features: &Features,
        streams: &[StreamRange],
        memory: PageRange,
        stage2: &Stage2,
    ) -> Result<Self, Unusable> {
        block(hw, frame)?;
        let geometry = stage2.geometry();
        // A walk may start at level 0 from 44 bits on.
        let least = if geometry.start_level() == 0 { 44 } else { geometry.ipa_bits() };
        if features.oas_bits < least.max(geometry.ipa_bits()) {
            return Err(Unusable::AddressSize);
        }
        let root = PageRange::new(stage2.context().root.pfn(), geometry.root_pages());
        root.iter().flat_map(|root| root.iter()).for_each(|page| clean(hw, page.base()));
        for page in memory.iter() {
            hw.zero(page.base());
            clean(hw, page.base());
        }
        let is_group = |page: &Pfn| {
            let end = page.raw().saturating_add(GROUP);
            page.raw().is_multiple_of(GROUP) && end <= memory.end().min(geometry.end_page())
        };
        let mut groups = memory.iter().filter(is_group).map(Pfn::base);
        let level1 = groups.next().ok_or(Unusable::Memory)?;
        let commands = level1.checked_add(PAGE_SIZE).ok_or(Unusable::Memory)?;
        let events = commands.checked_add(PAGE_SIZE).ok_or(Unusable::Memory)?;
        let bits = table::stream_bits(streams).min(features.stream_bits);
        table::build(hw, level1, groups, streams, bits, table::ste(stage2, features.oas))?;

        let queue = |page: Pa| page.raw() | r::BASE_ALLOCATE | u64::from(QUEUE_BITS);
        hw.write64(frame, r::STRTAB_BASE, level1.raw() | r::BASE_ALLOCATE);
        hw.write64(frame, r::CMDQ_BASE, queue(commands));
        hw.write64(frame, r::EVENTQ_BASE, queue(events));
        r::IRQ_CFG0.iter().for_each(|address| hw.write64(frame, *address, 0));
        let ends = [r::CMDQ_PROD, r::CMDQ_CONS, r::EVENTQ_PROD, r::EVENTQ_CONS];
        ends.iter().for_each(|end| hw.write32(frame, *end, 0));
        hw.write32(frame, r::CR1, r::CR1_CACHED);
        hw.write32(frame, r::CR2, r::CR2_PTM_RECINVSID);
        let format = r::STRTAB_TWO_LEVEL | table::SPLIT << r::STRTAB_SPLIT_SHIFT;
        hw.write32(frame, r::STRTAB_BASE_CFG, format | bits);
        let (gerrorn, queues) = (hw.read32(frame, r::GERROR), features.queues);
        hw.write32(frame, r::GERRORN, gerrorn);

        let mut smmu =
            Self { frame, queues, commands, events, produced: 0, pending: 0, consumed: 0, gerrorn };
        set(hw, frame, r::CR0, r::CR0_CMDQEN)?;
        smmu.push(hw, r::CFGI_ALL)?;
        smmu.push(hw, r::TLBI_NSNH_ALL)?;
        smmu.sync(hw)?;
        set(hw, frame, r::CR0, queues)?;
        set(hw, frame, r::IRQ_CTRL, r::IRQ_CTRL_EVENTQ_GERROR)?;
        set(hw, frame, r::CR0, queues | r::CR0_SMMUEN)?;
        smmu.new_errors(hw)?;
        Ok(smmu)
    }

    /// Returns the errors that are not dealt with, unless the SMMU works no more.
    fn new_errors(&self, hw: &mut impl DeviceHw) -> Result<u32, Unusable> {
        let errors = hw.read32(self.frame, r::GERROR) ^ self.gerrorn;
        if errors & r::GERROR_FATAL != 0 { Err(Unusable::Failing) } else { Ok(errors) }
    }

    /// Puts a command into the queue.
    fn push(&mut self, hw: &mut impl MemoryHw, command: [u64; 2]) -> Result<(), Unusable> {
        if self.pending >= QUEUE_LEN {
            self.drain(hw)?;
        }
        let first = (self.produced % QUEUE_LEN).wrapping_mul(2) as usize;
        for (index, word) in (first..ENTRIES).zip(command) {
            store(hw, self.commands, index, word);
        }
        self.produced = advance(self.produced);
        self.pending = self.pending.saturating_add(1);
        Ok(())
    }

    /// Hands the commands over, and waits until all are consumed.
    fn drain(&mut self, hw: &mut impl DeviceHw) -> Result<(), Unusable> {
        hw.dsb_sy();
        hw.write32(self.frame, r::CMDQ_PROD, self.produced);
        for _ in 0..POLLS {
            let consumed = hw.read32(self.frame, r::CMDQ_CONS) & PLACE;
            self.new_errors(hw)?;
            if consumed == self.produced {
                self.pending = 0;
                hw.dsb_sy();
                return Ok(());
            }
        }
        Err(Unusable::Silent)
    }

    /// Waits until the commands so far have had their effect.
    fn sync(&mut self, hw: &mut impl MemoryHw) -> Result<(), Unusable> {
        self.push(hw, r::SYNC)?;
        self.drain(hw)
    }

    /// Takes the first three words of the oldest event, and counts in `lost` when some were lost.
    fn take(
        &mut self,
        hw: &mut impl MemoryHw,
        lost: &mut u64,
    ) -> Result<Option<[u64; 3]>, Unusable> {
        let errors = self.new_errors(hw)?;
        if errors != 0 {
            self.gerrorn ^= errors;
            hw.write32(self.frame, r::GERRORN, self.gerrorn);
        }
        let news = hw.read32(self.frame, r::EVENTQ_PROD) ^ self.consumed;
        if errors & r::GERROR_EVENTQ_ABT != 0 || news & r::OVERFLOW != 0 {
            *lost = lost.saturating_add(1);
        }
        let mut event = None;
        if news & PLACE != 0 {
            let first = (self.consumed % QUEUE_LEN).wrapping_mul(4) as usize;
            let words = [first, first.wrapping_add(1), first.wrapping_add(2)];
            words.iter().for_each(|index| hw.clean_entry(self.events, *index));
            hw.dsb_sy();
            event = Some(words.map(|index| hw.read(self.events, index)));
            self.consumed = advance(self.consumed);
        }
        if news != 0 {
            // From here on the SMMU may write over the entry.
            self.consumed ^= news & r::OVERFLOW;
            hw.dsb_sy();
            hw.write32(self.frame, r::EVENTQ_CONS, self.consumed);
        }
        Ok(event)
    }
}

/// The SMMUs of the machine, which translate with the same tables.
#[derive(Debug, Default)]
pub struct Smmus {
    list: [Option<Smmu>; MAX_SMMUS],
    lost: u64,
    invalidations: u64,
}

impl Smmus {
    /// Adds an SMMU.
    pub fn push(&mut self, smmu: Smmu) -> Result<(), Unusable> {
        let free = self.list.iter_mut().find(|slot| slot.is_none()).ok_or(Unusable::TooMany)?;
        *free = Some(smmu);
        Ok(())
    }

    /// Returns how often events were lost so far.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Returns how many invalidations the SMMUs were told so far.
    pub const fn invalidations(&self) -> u64 {
        self.invalidations
    }

    /// Takes the oldest event of the first SMMU that has one, and deals with errors. An SMMU that
    /// works no more stops the machine.
    pub fn next_event(&mut self, hw: &mut impl MemoryHw) -> Option<Event> {
        for (number, smmu) in (0..u8::MAX).zip(self.list.iter_mut().flatten()) {
            let taken = finished(hw, |hw| smmu.take(hw, &mut self.lost));
            let Some([what, how, address]) = taken else { continue };
            let (kind, stream) = (what as u8, (what >> 32) as u32);
            // Translation, address size, access flag, permission: they say where and, in RnW, how.
            let is_fault = matches!(kind, 0x10..=0x13);
            let write = is_fault && how >> 35 & 1 == 0;
            let address = if is_fault { address } else { 0 };
            return Some(Event { smmu: number, kind, write, stream, address });
        }
        None
    }

    /// Stops the machine if an SMMU has lost its settings, as in a suspend of more than a CPU: devices
    /// may have passed by it.
    pub fn check(&self, hw: &mut impl MemoryHw) {
        for smmu in self.list.iter().flatten() {
            let enabled = hw.read32(smmu.frame, r::CR0.saturating_add(r::TO_ACK));
            if enabled & smmu.queues != smmu.queues {
                hw.fail_stop(Breach::DmaUnfinished);
            }
        }
    }

    /// Makes all transactions of all devices abort, until [`resume`](Self::resume).
    pub fn quiesce(&mut self, hw: &mut impl MemoryHw) {
        self.enable(hw, 0);
    }

    /// Undoes [`quiesce`](Self::quiesce).
    pub fn resume(&mut self, hw: &mut impl MemoryHw) {
        self.enable(hw, r::CR0_SMMUEN);
    }

    fn enable(&mut self, hw: &mut impl MemoryHw, smmuen: u32) {
        for smmu in self.list.iter().flatten() {
            finished(hw, |hw| set(hw, smmu.frame, r::CR0, smmu.queues | smmuen));
        }
    }

    /// Tells all SMMUs to forget something.
    pub(crate) fn invalidate(&mut self, hw: &mut impl MemoryHw, command: [u64; 2]) {
        for smmu in self.list.iter_mut().flatten() {
            finished(hw, |hw| smmu.push(hw, command));
            self.invalidations = self.invalidations.saturating_add(1);
        }
    }

    /// Waits until no SMMU has anything any more that it was told to forget.
    pub(crate) fn sync(&mut self, hw: &mut impl MemoryHw) {
        for smmu in self.list.iter_mut().flatten().filter(|smmu| smmu.pending > 0) {
            finished(hw, |hw| smmu.sync(hw));
        }
    }
}

/// Stops the machine if an SMMU does not do what must be done before memory changes hands.
fn finished<H: MemoryHw, T>(hw: &mut H, step: impl FnOnce(&mut H) -> Result<T, Unusable>) -> T {
    step(hw).unwrap_or_else(|_| hw.fail_stop(Breach::DmaUnfinished))
}

#[cfg(test)]
mod tests;

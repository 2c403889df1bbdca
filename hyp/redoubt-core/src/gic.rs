//! The GIC guard: stands between the host and the memory that the interrupt controller uses.
//!
//! The ITS and the redistributors read and write memory that is named by physical address in their
//! registers and commands, with no SMMU in front. So EL2 owns the two register pages in which such an
//! address can be written (an ITS's control frame, a redistributor's RD_base), and carries out the
//! host's accesses to them here. Decides, for each register and command, what hardware is told:
//! - what hardware *follows* (device and collection tables, which hold physical addresses) is
//!   donated to EL2 while it is in use: the host cannot write there ([`its`]);
//! - interrupt translation tables, whose format nobody but the hardware knows, are EL2's from the start:
//!   the addresses that the host gives for them do not reach hardware;
//! - what hardware only reads as data, or keeps single bits in (LPI configuration and pending tables),
//!   stays the host's, and is pinned while hardware knows it;
//! - commands are copied once from the host's queue, which is pinned, checked, and passed on in a
//!   queue of EL2's, one at a time ([`command`]).
//!
//! Invariants: a page is pinned or donated before hardware is told of it; hardware is told to stop,
//! and has stopped, before a pin is taken or a page returned. Hardware that does not answer keeps what
//! it has. All waits are bounded. A refused write changes nothing, but for a table that it was to
//! replace, is counted, and can be seen by reading back. Nothing that is not a defined field reaches
//! hardware. GICv4 is not offered.
//!
//! Trusts that hardware does what the architecture says, and that the caller holds the locks of the
//! guard and of host memory, in this order. Spec: IHI 0069H, chapters 5 and 12.

mod command;
mod its;
mod redistributor;

use crate::addr::{PAGE_SIZE, Pa, PageRange};
use crate::cpu::MAX_CPUS;
use crate::hw::{Breach, DeviceHw, MemoryHw, RegisterFrame};
use crate::memory::{Contents, HostMemory};
use crate::refusal::Refusal;
use crate::stage2::windows;
use crate::transition::Event;
use its::Its;
use redistributor::Redistributor;

/// Most ITSs that are guarded.
pub const MAX_ITS: usize = 8;
/// Most devices whose interrupts can be mapped at a time, on all ITSs.
pub const MAX_DEVICES: usize = 256;

/// Pages of EL2's that an ITS needs: its command queue, and one for the translation table of each of its
/// devices, or several for one with many events; and what it takes to align the queue to 64 KiB, which
/// the architecture demands.
pub const ITS_PAGES: u64 = TABLE_PAGES + 16;
const TABLE_PAGES: u64 = MAX_DEVICES as u64;

/// How often a register is read before hardware is taken not to answer.
const POLLS: u32 = if cfg!(test) { 1_000 } else { 100_000 };

/// Why an ITS or a redistributor cannot be guarded. It must not be left to the host either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GicUnusable {
    /// It is in use, and does not stop when told to.
    DoesNotStop,
    /// There are more than the guard can keep.
    TooMany,
}

/// An access of the host to a guarded frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mmio {
    /// Where in the frame.
    pub offset: u32,
    /// How many bytes: 1, 2, 4 or 8.
    pub bytes: u8,
    /// What is written; `None` for a read.
    pub write: Option<u64>,
}

/// The guard of all ITSs and redistributors.
#[derive(Debug)]
pub struct GicGuard {
    its: [Option<Its>; MAX_ITS],
    redistributors: [Option<Redistributor>; MAX_CPUS],
    shared: Shared,
}

/// What the guards of all frames have in common.
#[derive(Debug)]
struct Shared {
    /// How commands may name a redistributor: by processor number, or by address.
    targets: [Option<[u64; 2]>; MAX_CPUS],
    devices: [Option<Device>; MAX_DEVICES],
    /// The configuration table of LPIs and the number of interrupt bits, as GICR_PROPBASER has them, that all
    /// redistributors have in common, and how many of them use it.
    properties: u64,
    users: u32,
    refusals: u64,
}

/// A device that an ITS may know, and its interrupt translation table, which is EL2's.
#[derive(Clone, Copy, Debug)]
struct Device {
    its: RegisterFrame,
    id: u32,
    table: PageRange,
}

/// What comes of taking hardware over.
pub type Taken<T> = Result<T, GicUnusable>;

/// What comes of a write.
type Done = Result<(), Refusal>;

/// A set of registers: what an access is carried out on.
trait Registers {
    /// Reads the register at an offset: 0 where there is none.
    fn read(&mut self, bus: &mut Bus<'_, '_, impl MemoryHw>, at: u32) -> u64;

    /// Writes the register at an offset, if there is one.
    fn write(&mut self, bus: &mut Bus<'_, '_, impl MemoryHw>, at: u32, value: u64) -> Done;
}

/// What an access is carried out with.
struct Bus<'b, 'm, H> {
    host: &'b mut HostMemory<'m>,
    hw: &'b mut H,
    frame: RegisterFrame,
    shared: &'b mut Shared,
}

impl GicGuard {
    /// Makes a guard of nothing.
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        let (targets, devices) = ([None; MAX_CPUS], [None; MAX_DEVICES]);
        let shared = Shared { targets, devices, properties: 0, users: 0, refusals: 0 };
        Self { its: [None; MAX_ITS], redistributors: [None; MAX_CPUS], shared }
    }

    /// Takes an ITS over at boot, stops it, and gives it [`ITS_PAGES`] pages of EL2's at `memory`: its
    /// command queue, and room for interrupt translation tables.
    pub fn add_its(&mut self, hw: &mut impl MemoryHw, number: u8, memory: PageRange) -> Taken<()> {
        let slot = self.its.get_mut(usize::from(number)).ok_or(GicUnusable::TooMany)?;
        let queue = memory.iter().find(|page| page.raw() & 0xf == 0).ok_or(GicUnusable::TooMany)?;
        let memory = PageRange::new(queue, TABLE_PAGES + 1).map_err(|_| GicUnusable::TooMany)?;
        *slot = Some(Its::start(hw, RegisterFrame::Its(number), memory)?);
        Ok(())
    }

    /// Takes the redistributor of a CPU over at boot, whose RD_base frame is at `base`. Its LPIs are
    /// turned off.
    pub fn add_redistributor(&mut self, hw: &mut impl MemoryHw, cpu: u8, base: Pa) -> Taken<()> {
        let (frame, at) = (RegisterFrame::Redistributor(cpu), usize::from(cpu));
        let slot = self.redistributors.get_mut(at).ok_or(GicUnusable::TooMany)?;
        let target = self.shared.targets.get_mut(at).ok_or(GicUnusable::TooMany)?;
        let (state, number) = Redistributor::start(hw, frame)?;
        (*slot, *target) = (Some(state), Some([number << 16, base.raw()]));
        Ok(())
    }

    /// Carries out an access of the host, and returns the value read; 0 for a write. What is no
    /// register, or not of its size, reads as zero and ignores writes.
    pub fn access(
        &mut self,
        host: &mut HostMemory<'_>,
        hw: &mut impl MemoryHw,
        frame: RegisterFrame,
        mmio: &Mmio,
    ) -> u64 {
        let Self { its, redistributors: all, shared } = self;
        let mut bus = Bus { host, hw, frame, shared };
        match frame {
            RegisterFrame::Its(number) => bus.transfer(its.get_mut(usize::from(number)), mmio),
            RegisterFrame::Redistributor(cpu) => bus.transfer(all.get_mut(usize::from(cpu)), mmio),
            RegisterFrame::Smmu(_) => 0,
        }
    }

    /// Returns how many writes and commands were refused.
    #[must_use]
    pub const fn refusals(&self) -> u64 {
        self.shared.refusals
    }
}

impl<H: MemoryHw> Bus<'_, '_, H> {
    /// Carries out an access of 32 bits, or of 64 bits to a register of this size. Writing half of
    /// such a register leaves the other half as it reads.
    fn transfer(&mut self, frame: Option<&mut Option<impl Registers>>, mmio: &Mmio) -> u64 {
        let Some(Some(registers)) = frame else { return 0 };
        // In both frames, these hold pairs of 32-bit registers.
        let narrow = matches!(mmio.offset & !7, 0x00 | 0x10);
        let half = if narrow { 0 } else { mmio.offset & 4 };
        let (at, shift) = (mmio.offset ^ half, half << 3);
        let mask = match (mmio.bytes, mmio.offset & 7) {
            (4, 0 | 4) => 0xffff_ffffu64.wrapping_shl(shift),
            (8, 0) if !narrow => u64::MAX,
            _ => return 0,
        };
        let old = registers.read(self, at);
        let Some(value) = mmio.write else { return (old & mask).wrapping_shr(shift) };
        let value = (old & !mask) | (value.wrapping_shl(shift) & mask);
        registers.write(self, at, value).unwrap_or_else(|_| self.refuse());
        0
    }

    fn refuse(&mut self) {
        self.shared.refusals = self.shared.refusals.saturating_add(1);
    }

    fn read32(&mut self, at: u32) -> u64 {
        self.hw.read32(self.frame, at).into()
    }

    fn write32(&mut self, at: u32, value: u64) {
        self.hw.write32(self.frame, at, value as u32);
    }

    /// Takes a pin that was made here from pages that hardware has no use for any more.
    fn unpin(&mut self, range: PageRange) {
        let done = self.host.unpin(range);
        done.unwrap_or_else(|_| self.hw.fail_stop(Breach::TransitionLost));
    }

    /// Takes pages from the host, zeroed, or none. The host's tables never run out, so it is the
    /// records alone that can refuse.
    fn donate(&mut self, range: PageRange) -> Done {
        self.host.frames().check_range(range, |_| Ok(Event::HostDonateHyp))?;
        for part in parts(range) {
            let done = self.host.donate_hyp(self.hw, part, Contents::Zero);
            done.unwrap_or_else(|_| self.hw.fail_stop(Breach::TransitionLost));
        }
        Ok(())
    }

    /// Gives donated pages back to the host, zeroed.
    fn give_back(&mut self, range: PageRange) {
        for part in parts(range) {
            let done = self.host.return_host(self.hw, part);
            done.unwrap_or_else(|_| self.hw.fail_stop(Breach::TransitionLost));
        }
    }

    /// Finds a device that this ITS may know: the one with this number, or any.
    fn device(&mut self, id: Option<u32>) -> Option<&mut Option<Device>> {
        let frame = self.frame;
        let wanted = |device: &Device| device.its == frame && id.is_none_or(|id| device.id == id);
        self.shared.devices.iter_mut().find(|slot| slot.as_ref().is_some_and(wanted))
    }
}

/// Cuts a range into parts that one call may take.
fn parts(range: PageRange) -> impl Iterator<Item = PageRange> {
    let windows = windows(range.identity_ipas());
    windows.filter_map(|part| PageRange::from_bytes(part.ipa.raw(), part.pages << 12).ok())
}

/// Makes the range of the pages that `bytes` bytes at `address` touch, at least one.
fn pages_of(address: u64, bytes: u64) -> Result<PageRange, Refusal> {
    let start = address & !(PAGE_SIZE - 1);
    let bytes = (address ^ start).saturating_add(bytes.max(1)).saturating_add(PAGE_SIZE - 1);
    PageRange::from_bytes(start, bytes & !(PAGE_SIZE - 1))
}

/// Reads a 32-bit register until its bits under a mask have a value, but at most `polls` times.
fn wait(
    hw: &mut impl DeviceHw,
    frame: RegisterFrame,
    at: u32,
    until: [u32; 2],
    polls: u32,
) -> bool {
    let [mask, value] = until;
    (0..polls).any(|_| hw.read32(frame, at) & mask == value)
}

#[cfg(test)]
mod tests;

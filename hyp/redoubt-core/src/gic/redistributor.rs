//! The RD_base frame of a redistributor: the tables of its physical LPIs.
//!
//! Decides where the tables may lie. What the host writes to GICR_PROPBASER and GICR_PENDBASER is
//! kept here, and reaches hardware when the host enables LPIs: both tables are pinned then, in the
//! sizes that follow from the number of interrupt bits. They stay so until the host turns LPIs off and
//! hardware is seen to go from on to off (on some it never does; one that is powered down reads as off
//! and is not). All redistributors have one configuration table and one number of bits, as the
//! architecture wants it where they share it, and that number does not fall while a device is mapped,
//! whose interrupts may need it.
//!
//! GICR_TYPER keeps VLPIS, from which the host knows the size of the frames, but says nothing else of
//! GICv4. Registers that change LPIs directly are not offered: commands do. Spec: IHI 0069H 12.11.

use super::{Bus, Done, GicUnusable, POLLS, Registers, Taken, pages_of, wait};
use crate::addr::PageRange;
use crate::hw::{DeviceHw, MemoryHw, RegisterFrame};
use crate::refusal::Refusal;

const CTLR: u32 = 0x00;
const IIDR: u32 = 0x04;
const TYPER: u32 = 0x08;
const WAKER: u32 = 0x14;
const PROPBASER: u32 = 0x70;
const PENDBASER: u32 = 0x78;

/// GICR_CTLR: EnableLPIs; that and RWP, as they are when no table is in use.
const ENABLE_LPIS: u64 = 1;
const OFF: [u32; 2] = [1 | (1 << 3), 0];

/// GICR_PROPBASER and GICR_PENDBASER: memory attributes, addresses, PTZ.
const ATTRIBUTES: u64 = 0x0700_0000_0000_0f80;
const SHAREABILITY: u64 = 3 << 10;
const INNER_SHAREABLE: u64 = 1 << 10;
const PROPERTIES: u64 = 0x000f_ffff_ffff_f000;
const PENDING: u64 = 0x000f_ffff_ffff_0000;
const PENDING_ZERO: u64 = 1 << 62;
const ID_BITS: u64 = 0x1f;
/// The largest IDbits that is taken, so that a table can be pinned in one call. A larger one reads
/// back as this.
const ID_BITS_LIMIT: u64 = 20;
/// The first interrupt that is an LPI.
pub(super) const FIRST_LPI: u64 = 8192;

/// Returns the number of the first interrupt that is beyond the tables.
pub(super) const fn interrupts(properties: u64) -> u64 {
    2u64.wrapping_shl((properties & ID_BITS) as u32)
}

/// A guarded redistributor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Redistributor {
    /// The memory attributes that stick.
    attributes: u64,
    properties: u64,
    pending: u64,
    /// The tables, while hardware may use them.
    pinned: Option<[PageRange; 2]>,
}

impl Redistributor {
    /// Takes a redistributor over, and says which number the GIC gives the CPU.
    pub(super) fn start(hw: &mut impl DeviceHw, frame: RegisterFrame) -> Taken<(Self, u64)> {
        hw.write32(frame, CTLR, 0);
        if !wait(hw, frame, CTLR, OFF, POLLS) {
            return Err(GicUnusable::DoesNotStop);
        }
        hw.write64(frame, PENDBASER, 0);
        hw.write64(frame, PROPBASER, INNER_SHAREABLE);
        let snoops = hw.read64(frame, PROPBASER) & SHAREABILITY != 0;
        let attributes = if snoops { ATTRIBUTES } else { ATTRIBUTES & !SHAREABILITY };
        let number = (hw.read64(frame, TYPER) >> 8) & 0xffff;
        Ok((Self { attributes, properties: 0, pending: 0, pinned: None }, number))
    }

    /// Ends the pins: hardware has stopped.
    fn release(&mut self, bus: &mut Bus<'_, '_, impl MemoryHw>) {
        bus.hw.write64(bus.frame, PROPBASER, 0);
        bus.hw.write64(bus.frame, PENDBASER, 0);
        if let Some(tables) = self.pinned.take() {
            tables.into_iter().for_each(|table| bus.unpin(table));
            bus.shared.users = bus.shared.users.saturating_sub(1);
        }
    }

    /// Pins the tables and tells hardware of them.
    fn prepare(&mut self, bus: &mut Bus<'_, '_, impl MemoryHw>) -> Done {
        let common = self.properties & (PROPERTIES | ID_BITS);
        let differs = bus.shared.users > 0 && common != bus.shared.properties;
        let falls = common & ID_BITS < bus.shared.properties & ID_BITS
            && bus.shared.devices.iter().any(Option::is_some);
        if self.pinned.is_some() || differs || falls {
            return Err(Refusal::WrongState);
        }
        let interrupts = interrupts(common);
        let bytes = interrupts.saturating_sub(FIRST_LPI);
        let properties = pages_of(self.properties & PROPERTIES, bytes)?;
        let pending = pages_of(self.pending & PENDING, interrupts >> 3)?;
        bus.host.pin(properties)?;
        bus.host.pin(pending).inspect_err(|_| bus.unpin(properties))?;
        self.pinned = Some([properties, pending]);
        bus.shared.properties = common;
        bus.shared.users = bus.shared.users.saturating_add(1);
        bus.hw.write64(bus.frame, PROPBASER, self.properties);
        bus.hw.write64(bus.frame, PENDBASER, self.pending);
        Ok(())
    }
}

impl Registers for Redistributor {
    fn read(&mut self, bus: &mut Bus<'_, '_, impl MemoryHw>, at: u32) -> u64 {
        match at {
            // Without IR.
            CTLR => bus.read32(at) & 0x8700_000b,
            IIDR => bus.read32(at),
            // Without VSGI, RVPEID, MPAM, DirectLPI and Dirty.
            TYPER => bus.hw.read64(bus.frame, at) & 0xffff_ffff_fbff_ff33,
            // ChildrenAsleep, ProcessorSleep.
            WAKER => bus.read32(at) & 6,
            PROPBASER => self.properties,
            PENDBASER => self.pending & !PENDING_ZERO,
            _ => 0,
        }
    }

    fn write(&mut self, bus: &mut Bus<'_, '_, impl MemoryHw>, at: u32, value: u64) -> Done {
        match at {
            CTLR => {
                let (enabled, enable) = (bus.read32(CTLR) & ENABLE_LPIS, value & ENABLE_LPIS);
                if enable > enabled {
                    self.prepare(bus)?;
                }
                // Beside it, which interrupts may choose this CPU.
                bus.write32(CTLR, (value & 0x0700_0000) | enable);
                // It cannot have lost its power in between if it shows the address that it was given.
                if enable < enabled
                    && wait(bus.hw, bus.frame, CTLR, OFF, POLLS)
                    && bus.hw.read64(bus.frame, PENDBASER) & PENDING != 0
                {
                    self.release(bus);
                }
            }
            WAKER => bus.write32(at, value & 2),
            PROPBASER | PENDBASER if self.pinned.is_some() => return Err(Refusal::WrongState),
            PROPBASER => {
                let id_bits = (value & ID_BITS).min(ID_BITS_LIMIT);
                self.properties = (value & (self.attributes | PROPERTIES)) | id_bits;
            }
            PENDBASER => self.pending = value & (self.attributes | PENDING | PENDING_ZERO),
            _ => {}
        }
        Ok(())
    }
}

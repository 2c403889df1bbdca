//! Tables of LPIs that are not what they should be, and interrupts beyond their end.

use super::{Cliff, DEVICE, LPI_ORDER, PROPERTY_BITS, must_refuse, target, victims, write_halves};
use crate::Check;
use crate::device::Mapping;
use crate::its::{self, Gic, Its, gicr};
use crate::memory::{self, PAGE};
use crate::oracle::World;
use crate::vm::Pages;

/// LPI tables of the host's own, for some redistributors.
pub struct Lpis {
    frames: Vec<u64>,
    property: Pages,
    pending: Vec<Pages>,
}

impl Lpis {
    /// Enables LPIs of the first redistributors, with so many bits less one of interrupt numbers.
    pub fn enable(gic: Gic, count: usize, bits: u64) -> Check<Self> {
        let frames = gic.redistributors()?.into_iter().take(count).collect::<Vec<_>>();
        let property = Pages::new(LPI_ORDER)?;
        let mut pending = Vec::new();
        for frame in &frames {
            let table = Pages::new(LPI_ORDER)?;
            its::write(frame + gicr::PROPBASER, property.address() | bits)?;
            its::write(frame + gicr::PENDBASER, table.address())?;
            its::write32(frame + gicr::CTLR, 1)?;
            if its::read32(frame + gicr::CTLR)? & 1 == 0 {
                return Err(format!("the redistributor at {frame:#x} does not take good tables"));
            }
            pending.push(table);
        }
        Ok(Self { frames, property, pending })
    }

    pub fn disable(self) -> Check {
        for frame in &self.frames {
            its::write32(frame + gicr::CTLR, 0)?;
            its::write(frame + gicr::PROPBASER, 0)?;
            its::write(frame + gicr::PENDBASER, 0)?;
        }
        self.property.free()?;
        self.pending.into_iter().try_for_each(Pages::free)
    }
}

/// There is an ITS that looks up an interrupt's pending bit eight times as far as the table goes.
pub fn moved_events(world: &mut World) -> Check {
    const MARK: u64 = 0x6d61_726b_6d61_726b;
    let gic = Gic::get()?;
    let its = Its::start(gic)?;
    // 14 bits of interrupts need 2 KiB of the 64 KiB; what lies behind is marked, in both tables.
    let lpis = Lpis::enable(gic, 2, PROPERTY_BITS)?;
    let marked = || lpis.pending.iter().flat_map(|table| table.pfn + 1..table.pfn + table.count());
    marked().try_for_each(|pfn| memory::fill(pfn, MARK))?;
    let [from, to] = [target(gic, lpis.frames[0])?, target(gic, lpis.frames[1])?];
    its.send(&[its::mapd(DEVICE, 0, 7, true), its::mapc(0, from, true), its::mapc(1, to, true)])?;
    for lpi in [0, 8191, 1 << 14, 1 << 15, (1 << 15) + 7, 1 << 16, 1 << 18, 0xff_ffff] {
        must_refuse(world, &format!("interrupt {lpi:#x} for MAPTI"), || {
            its.send(&[
                its::mapti(DEVICE, 1, lpi, 0),
                its::movi(DEVICE, 1, 1),
                its::movi(DEVICE, 1, 0),
            ])
        })?;
    }
    must_refuse(world, "MAPI of an event that is no LPI", || its.send(&[its::mapi(DEVICE, 1, 0)]))?;
    // The last that there is room for moves.
    its.send(&[
        its::mapti(DEVICE, 2, (1 << 14) - 1, 0),
        its::about_event(3, DEVICE, 2),
        its::movi(DEVICE, 2, 1),
        its::sync(to),
    ])?;
    let [here, there] = [0, 1]
        .map(|at: usize| Mapping::new(lpis.pending[at].pfn, 1).map(|page| page.get(0x7f8) >> 63));
    if (here?, there?) != (0, 1) {
        return Err("MOVI did not move the last interrupt: the case proves nothing".into());
    }
    for pfn in marked() {
        let words = Mapping::new(pfn, 1)?;
        if (0..PAGE as usize).step_by(8).any(|offset| words.get(offset) != MARK) {
            return Err(format!("page {pfn:#x} behind a pending table was written"));
        }
    }
    its.send(&[
        its::about_event(0xf, DEVICE, 2),
        its::mapd(DEVICE, 0, 0, false),
        its::mapc(0, from, false),
        its::mapc(1, to, false),
    ])?;
    world.canary.check()?;
    its.stop()?;
    lpis.disable()
}

pub fn unlike_tables(world: &mut World) -> Check {
    let gic = Gic::get()?;
    let its = Its::start(gic)?;
    let lpis = Lpis::enable(gic, 1, PROPERTY_BITS + 1)?;
    let second = gic.redistributors()?[1];
    let (other, pending) = (Pages::new(LPI_ORDER)?, Pages::new(LPI_ORDER)?);
    its::write(second + gicr::PENDBASER, pending.address())?;
    let address = lpis.property.address();
    for (what, value) in [
        ("another table", other.address() | (PROPERTY_BITS + 1)),
        ("fewer bits", address | PROPERTY_BITS),
        ("more bits", address | (PROPERTY_BITS + 2)),
    ] {
        its::write(second + gicr::PROPBASER, value)?;
        must_refuse(world, what, || refuses_to_enable(second))?;
    }
    // Nor does the number of bits fall while a device may have interrupts that need them.
    its.send(&[its::mapd(DEVICE, 0, 3, true)])?;
    let first = lpis.frames[0];
    its::write32(first + gicr::CTLR, 0)?;
    its::write(first + gicr::PROPBASER, address | PROPERTY_BITS)?;
    must_refuse(world, "fewer bits with a device", || refuses_to_enable(first))?;
    its.send(&[its::mapd(DEVICE, 0, 0, false)])?;
    its::write32(first + gicr::CTLR, 1)?;
    if its::read32(first + gicr::CTLR)? & 1 == 0 {
        return Err("fewer bits are refused without a device, too".into());
    }
    its::write(second + gicr::PROPBASER, 0)?;
    its::write(second + gicr::PENDBASER, 0)?;
    other.free()?;
    pending.free()?;
    its.stop()?;
    lpis.disable()
}

/// Enables LPIs of a redistributor, and says whether that was refused.
pub fn refuses_to_enable(frame: u64) -> Check {
    its::write32(frame + gicr::CTLR, 1)?;
    if its::read32(frame + gicr::CTLR)? & 1 == 0 {
        return Ok(());
    }
    its::write32(frame + gicr::CTLR, 0)?;
    Err("LPIs were enabled".into())
}

pub fn lpi_tables(world: &mut World) -> Check {
    let gic = Gic::get()?;
    let cliff = Cliff::new()?;
    let victims = victims(world)?;
    let (property, pending) = (Pages::new(LPI_ORDER)?, Pages::new(LPI_ORDER)?);
    for (number, frame) in gic.redistributors()?.into_iter().enumerate() {
        if its::read32(frame + gicr::CTLR)? & 1 == 1 {
            return Err(format!("redistributor {number} has its LPIs enabled"));
        }
        let mut tries = Vec::new();
        for (name, address) in &victims {
            // The pending table is aligned to 64 KiB.
            if address % 0x1_0000 == 0 {
                tries.push((*name, gicr::PENDBASER, *address));
            }
            for bits in [PROPERTY_BITS, 15, 31] {
                tries.push((*name, gicr::PROPBASER, *address | bits));
            }
        }
        for bits in [PROPERTY_BITS, 15, 31] {
            tries.push(("over the end of an own page", gicr::PROPBASER, cliff.address() | bits));
        }
        for (name, register, value) in tries {
            for halves in [None, Some(true), Some(false)] {
                its::write(frame + gicr::PROPBASER, property.address() | PROPERTY_BITS)?;
                its::write(frame + gicr::PENDBASER, pending.address())?;
                let what = format!("redistributor {number}, {register:#x}, {name}");
                must_refuse(world, &what, || {
                    match halves {
                        Some(low_first) => write_halves(frame + register, value, low_first)?,
                        None => its::write(frame + register, value)?,
                    }
                    refuses_to_enable(frame)
                })?;
            }
        }
        its::write(frame + gicr::PROPBASER, 0)?;
        its::write(frame + gicr::PENDBASER, 0)?;
    }
    cliff.free()?;
    property.free()?;
    pending.free()
}

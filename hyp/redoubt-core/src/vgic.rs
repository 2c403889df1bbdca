//! Sanitising of the virtual interrupt state that the host hands in.
//!
//! The distributor model lives in the untrusted host; what it wants a virtual CPU to see arrives as
//! list registers in the run page. This module decides which values reach ICH_LR<n>_EL2 and
//! ICH_HCR_EL2 (Arm IHI 0069, 12.4). Invariants of what it lets through: no reserved bit is set, no
//! two list registers hold the same interrupt (UNPREDICTABLE, 4.7), the only physical interrupt that
//! a guest can deactivate is the virtual timer's, and no trap or enable bit of ICH_HCR_EL2 comes
//! from the host. It trusts nothing of the run page; the caller has copied it before.

use redoubt_abi::Status;
use redoubt_abi::run::{MAINTENANCE_NO_PENDING, MAINTENANCE_UNDERFLOW, MAX_LIST_REGISTERS};

/// ICH_HCR_EL2.En: the virtual CPU interface works.
const HCR_EN: u64 = 1 << 0;
/// ICH_HCR_EL2.UIE: maintenance interrupt on underflow.
const HCR_UIE: u64 = 1 << 1;
/// ICH_HCR_EL2.NPIE: maintenance interrupt when nothing is pending.
const HCR_NPIE: u64 = 1 << 3;

/// ICH_LR state field: pending, bit 0; active, bit 1.
const STATE_SHIFT: u32 = 62;
const STATE_ACTIVE: u64 = 2;
const STATE_BOTH: u64 = 3;
/// ICH_LR.HW: deactivation of the virtual interrupt deactivates a physical one.
const LR_HW: u64 = 1 << 61;
/// ICH_LR.Group.
const LR_GROUP: u64 = 1 << 60;
/// ICH_LR.Priority.
const LR_PRIORITY: u64 = 0xff << 48;
/// ICH_LR.pINTID, with HW set.
const LR_PHYSICAL_SHIFT: u32 = 32;
const LR_PHYSICAL: u64 = 0x1fff << LR_PHYSICAL_SHIFT;
/// ICH_LR.EOI, with HW clear: maintenance interrupt on deactivation.
const LR_EOI: u64 = 1 << 41;
/// ICH_LR.vINTID.
const LR_VIRTUAL: u64 = 0xffff_ffff;

/// First interrupt number that is neither SGI, PPI nor SPI.
const SPECIAL_INTID: u32 = 1020;
/// First interrupt number of an LPI.
const LPI_INTID: u32 = 8192;

/// What the GIC of this machine implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VgicHardware {
    /// Number of list registers, at most 16.
    pub list_registers: usize,
    /// Width of an interrupt number in bits: 16 or 24.
    pub id_bits: u32,
    /// Interrupt number of the virtual timer.
    pub timer_intid: u32,
}

impl VgicHardware {
    /// Reads ICH_VTR_EL2: ListRegs in bits 4:0 (less one), IDbits in bits 25:23.
    #[must_use]
    pub fn from_vtr(vtr: u64, timer_intid: u32) -> Self {
        let list_registers = ((vtr & 0x1f) as usize).saturating_add(1);
        Self {
            list_registers: list_registers.min(MAX_LIST_REGISTERS),
            id_bits: if (vtr >> 23) & 7 == 0 { 16 } else { 24 },
            timer_intid,
        }
    }
}

/// List registers that may be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRegisters {
    /// How many are used.
    pub count: usize,
    /// The values; those from `count` on are zero.
    pub values: [u64; MAX_LIST_REGISTERS],
    /// ICH_HCR_EL2.
    pub hcr: u64,
}

impl ListRegisters {
    /// No virtual interrupt, and the interface switched off.
    pub const EMPTY: Self = Self { count: 0, values: [0; MAX_LIST_REGISTERS], hcr: 0 };

    /// Takes over what the host asks for.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] when there are more list registers than the hardware has, one
    /// of them is not allowed, or an unknown maintenance bit is set. What was loaded before stays.
    pub fn load(
        &mut self,
        count: u64,
        raw: &[u64; MAX_LIST_REGISTERS],
        maintenance: u64,
        hardware: &VgicHardware,
    ) -> Result<(), Status> {
        let count = usize::try_from(count).map_err(|_| Status::InvalidArgument)?;
        if count > hardware.list_registers || count > MAX_LIST_REGISTERS {
            return Err(Status::InvalidArgument);
        }
        if maintenance & !(MAINTENANCE_UNDERFLOW | MAINTENANCE_NO_PENDING) != 0 {
            return Err(Status::InvalidArgument);
        }
        let used = raw.get(..count).unwrap_or_default();
        let mut rest = used;
        while let [value, later @ ..] = rest {
            check(*value, hardware)?;
            if !is_empty(*value) && later.iter().any(|other| is_same(*other, *value)) {
                return Err(Status::InvalidArgument);
            }
            rest = later;
        }
        self.count = count;
        self.values = [0; MAX_LIST_REGISTERS];
        for (slot, value) in self.values.iter_mut().zip(used) {
            *slot = if is_empty(*value) { 0 } else { *value };
        }
        self.hcr = HCR_EN
            | if maintenance & MAINTENANCE_UNDERFLOW != 0 { HCR_UIE } else { 0 }
            | if maintenance & MAINTENANCE_NO_PENDING != 0 { HCR_NPIE } else { 0 };
        Ok(())
    }
}

/// Tells whether a list register holds no interrupt. The other fields then mean nothing, as the
/// hardware leaves them behind when a guest has dealt with the interrupt.
const fn is_empty(value: u64) -> bool {
    value >> STATE_SHIFT == 0
}

/// Tells whether two list registers, the second not empty, hold the same virtual interrupt.
const fn is_same(left: u64, right: u64) -> bool {
    !is_empty(left) && left & LR_VIRTUAL == right & LR_VIRTUAL
}

/// Checks one list register.
fn check(value: u64, hardware: &VgicHardware) -> Result<(), Status> {
    if is_empty(value) {
        return Ok(());
    }
    let refused = Err(Status::InvalidArgument);
    #[allow(clippy::cast_possible_truncation)]
    let intid = (value & LR_VIRTUAL) as u32;
    let state = value >> STATE_SHIFT;
    let is_lpi = intid >= LPI_INTID;
    let id_limit = 1u64.checked_shl(hardware.id_bits).unwrap_or(0);
    if intid >= SPECIAL_INTID && (!is_lpi || u64::from(intid) >= id_limit) {
        return refused;
    }
    // LPIs have no active state (IHI 0069, 5.1).
    if is_lpi && state & STATE_ACTIVE != 0 {
        return refused;
    }
    let common = STATE_BOTH << STATE_SHIFT | LR_HW | LR_GROUP | LR_PRIORITY | LR_VIRTUAL;
    if value & LR_HW == 0 {
        return if value & !(common | LR_EOI) == 0 { Ok(()) } else { refused };
    }
    // A guest that ends an interrupt with HW set deactivates a physical one: only the timer's,
    // which is EL2's while the guest runs. Pending and active with HW set is UNPREDICTABLE.
    let physical = (value & LR_PHYSICAL) >> LR_PHYSICAL_SHIFT;
    let is_timer = intid == hardware.timer_intid && physical == u64::from(hardware.timer_intid);
    let allowed = is_timer && state != STATE_BOTH && value & !(common | LR_PHYSICAL) == 0;
    if allowed { Ok(()) } else { refused }
}

#[cfg(test)]
mod tests;

//! What the plugin knows of the Arm architecture (Arm ARM, DDI 0487).
//!
//! Decides which instruction is a mark, which can stop a run of instructions, and how to read the
//! registers that tell a level, an exception and a virtual machine. Pure functions of their
//! arguments.

use std::fmt;

/// An exception level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Processes.
    El0,
    /// Kernels.
    El1,
    /// Hypervisors.
    El2,
    /// Firmware.
    El3,
}

impl Level {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// PSTATE.M, of the code that runs or as it is saved in SPSR_ELx: the level.
    pub fn of_pstate(pstate: u32) -> Level {
        const AARCH32: u32 = 1 << 4;
        match (pstate & AARCH32 != 0, pstate & 0xf) {
            (false, mode) => Level::of_number(mode >> 2),
            // Seen from AArch64, all of its modes but User are EL1's; EL2 and EL3 are in AArch64.
            (true, 0) => Level::El0,
            (true, _) => Level::El1,
        }
    }

    /// The level of this number, of which the two lower bits count.
    fn of_number(number: u32) -> Level {
        match number & 3 {
            0 => Level::El0,
            1 => Level::El1,
            2 => Level::El2,
            _ => Level::El3,
        }
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EL{}", self.number())
    }
}

/// `movz xzr, #N`: the number of the phase that begins with it. It does nothing, and no compiler
/// writes it.
pub fn mark(opcode: u32) -> Option<u16> {
    const IMMEDIATE: u32 = 0xffff << 5;
    // The mask leaves 16 bits.
    (opcode & !IMMEDIATE == 0xd280_001f).then_some(((opcode & IMMEDIATE) >> 5) as u16)
}

/// Whether the instruction may end a run of instructions, by an exception or a jump.
///
/// Data processing on general registers cannot (C4.1: bits 28:25 are `100x` for immediates, `x101`
/// for registers), but for pointer authentication, which HCR_EL2.API traps and FEAT_FPAC lets fail.
/// What is not allocated there is undefined, which QEMU knows when it translates: the block ends.
pub fn may_stop(opcode: u32) -> bool {
    let immediate = opcode & (0b1110 << 25) == 0b1000 << 25;
    let register = opcode & (0b0111 << 25) == 0b0101 << 25;
    !(immediate || register) || authenticates(opcode)
}

/// Pointer authentication outside the hints: PACIA to XPACD (data processing, one source), PACGA.
fn authenticates(opcode: u32) -> bool {
    opcode & 0xffff_0000 == 0xdac1_0000 || opcode & 0xffe0_fc00 == 0x9ac0_3000
}

/// A place in an exception vector table (D1.3.1.5): 16 slots of 128 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u8);

impl Slot {
    /// The bytes of a vector table; it is aligned to them.
    pub const TABLE: u64 = 0x800;

    /// The slot that begins at an address of a vector table, if one does.
    pub fn at(va: u64) -> Option<Slot> {
        // Four bits remain.
        (va & 0x7f == 0).then_some(Slot(((va % Slot::TABLE) >> 7) as u8))
    }

    /// Whether it takes exceptions from lower levels.
    pub fn is_from_lower(self) -> bool {
        self.0 >= 8
    }

    /// Whether it takes synchronous exceptions, the only ones with a syndrome that tells the cause.
    pub fn is_synchronous(self) -> bool {
        self.0.is_multiple_of(4)
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }
}

/// ESR_ELx.EC, the class of a synchronous exception.
pub fn exception_class(esr: u64) -> u8 {
    // Six bits remain.
    ((esr >> 26) & 0x3f) as u8
}

/// The VMID in VTTBR_EL2, if HCR_EL2 says that what runs below EL2 is behind a stage 2 (VM) and is
/// not a host under VHE (TGE).
pub fn vmid(hcr: u64, vttbr: u64) -> Option<u16> {
    const VM: u64 = 1;
    const TGE: u64 = 1 << 27;
    // The upper 16 bits.
    (hcr & (VM | TGE) == VM).then_some((vttbr >> 48) as u16)
}

#[cfg(test)]
mod tests;

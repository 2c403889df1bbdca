//! A64 instructions as numbers: what the steps of `/dev/redoubt-hostile` consist of.
//!
//! Encodings are those of the Arm ARM, chapter C6. Registers are given by number.

/// RET.
pub const RET: u32 = 0xd65f_03c0;
/// ISB.
pub const ISB: u32 = 0xd503_3fdf;
/// DSB SY.
pub const DSB: u32 = 0xd503_3f9f;

/// HVC #immediate.
#[must_use]
pub const fn hvc(immediate: u32) -> u32 {
    0xd400_0002 | (immediate & 0xffff) << 5
}

/// SMC #immediate.
#[must_use]
pub const fn smc(immediate: u32) -> u32 {
    0xd400_0003 | (immediate & 0xffff) << 5
}

/// LDR of 1 << `size` bytes: Rt from [Xn].
#[must_use]
pub const fn load(size: u32, rt: u32, rn: u32) -> u32 {
    0x3940_0000 | size << 30 | rn << 5 | rt
}

/// STR of 1 << `size` bytes: Rt to [Xn].
#[must_use]
pub const fn store(size: u32, rt: u32, rn: u32) -> u32 {
    0x3900_0000 | size << 30 | rn << 5 | rt
}

/// ADD Xd, Xn, #immediate.
#[must_use]
pub const fn add(rd: u32, rn: u32, immediate: u32) -> u32 {
    0x9100_0000 | (immediate & 0xfff) << 10 | rn << 5 | rd
}

/// SUB Xd, Xn, #immediate.
#[must_use]
pub const fn sub(rd: u32, rn: u32, immediate: u32) -> u32 {
    0xd100_0000 | (immediate & 0xfff) << 10 | rn << 5 | rd
}

/// EOR Xd, Xn, Xm.
#[must_use]
pub const fn eor(rd: u32, rn: u32, rm: u32) -> u32 {
    0xca00_0000 | rm << 16 | rn << 5 | rd
}

/// MOV Xd, Xm.
#[must_use]
pub const fn mov(rd: u32, rm: u32) -> u32 {
    0xaa00_03e0 | rm << 16 | rd
}

/// MOVZ Xd, #immediate.
#[must_use]
pub const fn movz(rd: u32, immediate: u32) -> u32 {
    0xd280_0000 | (immediate & 0xffff) << 5 | rd
}

/// MOVK Xd, #immediate, LSL #16.
#[must_use]
pub const fn movk16(rd: u32, immediate: u32) -> u32 {
    0xf2a0_0000 | (immediate & 0xffff) << 5 | rd
}

/// CBNZ Xt, to the instruction `offset` words on.
#[must_use]
pub const fn cbnz(rt: u32, offset: i32) -> u32 {
    0xb500_0000 | (offset.cast_unsigned() & 0x7_ffff) << 5 | rt
}

/// BLR Xn.
#[must_use]
pub const fn blr(rn: u32) -> u32 {
    0xd63f_0000 | rn << 5
}

/// Encoding of a system register or system instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct System {
    /// op0, 0 to 3.
    pub op0: u32,
    /// op1, 0 to 7.
    pub op1: u32,
    /// CRn, 0 to 15.
    pub crn: u32,
    /// CRm, 0 to 15.
    pub crm: u32,
    /// op2, 0 to 7.
    pub op2: u32,
}

impl System {
    /// Names a register by its five numbers.
    #[must_use]
    pub const fn new(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> Self {
        Self { op0, op1, crn, crm, op2 }
    }

    /// The encoding of an index from 0 to 0x3fff, with the given op0.
    #[must_use]
    pub const fn from_index(op0: u32, index: u32) -> Self {
        Self::new(op0, index >> 11 & 7, index >> 7 & 15, index >> 3 & 15, index & 7)
    }

    const fn bits(self) -> u32 {
        self.op0 << 19 | self.op1 << 16 | self.crn << 12 | self.crm << 8 | self.op2 << 5
    }

    /// MRS Xt (SYSL for op0 1).
    #[must_use]
    pub const fn read(self, rt: u32) -> u32 {
        0xd520_0000 | self.bits() | rt
    }

    /// MSR from Xt (SYS for op0 1).
    #[must_use]
    pub const fn write(self, rt: u32) -> u32 {
        0xd500_0000 | self.bits() | rt
    }
}

impl std::fmt::Display for System {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "S{}_{}_C{}_C{}_{}", self.op0, self.op1, self.crn, self.crm, self.op2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the output of GNU as.
    #[test]
    fn encodings() {
        assert_eq!(hvc(0), 0xd400_0002);
        assert_eq!(smc(0), 0xd400_0003);
        assert_eq!(load(3, 0, 1), 0xf940_0020);
        assert_eq!(load(0, 2, 3), 0x3940_0062);
        assert_eq!(store(2, 0, 1), 0xb900_0020);
        assert_eq!(add(3, 3, 1), 0x9100_0463);
        assert_eq!(sub(3, 3, 1), 0xd100_0463);
        assert_eq!(eor(4, 0, 2), 0xca02_0004);
        assert_eq!(mov(19, 30), 0xaa1e_03f3);
        assert_eq!(movz(0, 0x1234), 0xd282_4680);
        assert_eq!(movk16(0, 0x8400), 0xf2b0_8000);
        assert_eq!(cbnz(3, -4), 0xb5ff_ff83);
        assert_eq!(blr(1), 0xd63f_0020);
        assert_eq!(System::new(3, 0, 13, 0, 4).read(0), 0xd538_d080);
        assert_eq!(System::new(3, 0, 13, 0, 4).write(1), 0xd518_d081);
    }
}

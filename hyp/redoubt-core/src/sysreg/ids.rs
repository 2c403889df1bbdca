//! Identification registers as a guest sees them.
//!
//! Decides, field by field, which features of the hardware a guest learns of. The rows below are the
//! only fields that can be other than zero. A feature is listed when it needs no state that EL2 does
//! not switch and no trap that EL2 does not handle: floating point and Advanced SIMD, the crypto and
//! atomics instructions, pointer authentication, BTI, SSBS and the like. Hidden are SVE, SME, MTE,
//! RAS, PMU, SPE, trace, BRBE, AMU, MPAM, EL2, EL3, AArch32, LO regions, fine-grained traps, ECV, the
//! second translation control register and all that hangs on it (permission indirection and
//! overlays), LS64, MOPS, TME, GCS, NMI, WFxT and 52-bit addresses. Layout: Arm ARM D19.2,
//! `ID_AA64*_EL1`.

use super::SysregId;

/// What a guest sees of a field.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// The hardware's value.
    Allow,
    /// The hardware's value, at most this (unsigned).
    AtMost(u64),
    /// The hardware's value, at most this (signed: 0xf is "not implemented").
    SignedAtMost(u64),
    /// This value, whatever the hardware.
    Fixed(u64),
    /// The physical address size, at most the VM's.
    AddressSize,
}

/// A field, by its lowest bit, and what a guest sees of it.
type Row = (u32, Rule);

const PFR0: &[Row] = &[
    (0, Rule::Fixed(1)),   // EL0: AArch64 only
    (4, Rule::Fixed(1)),   // EL1: AArch64 only
    (16, Rule::Allow),     // FP
    (20, Rule::Allow),     // AdvSIMD
    (24, Rule::Fixed(1)),  // GIC: system registers
    (48, Rule::Allow),     // DIT
    (56, Rule::AtMost(1)), // CSV2, without SCXTNUM_ELx
    (60, Rule::Allow),     // CSV3
];

const PFR1: &[Row] = &[
    (0, Rule::Allow),      // BT
    (4, Rule::Allow),      // SSBS
    (32, Rule::AtMost(1)), // CSV2_frac, without SCXTNUM_ELx
];

const DFR0: &[Row] = &[
    (0, Rule::Fixed(6)),    // DebugVer: Armv8.0, the least there can be
    (12, Rule::Fixed(1)),   // BRPs: two breakpoints
    (20, Rule::Fixed(1)),   // WRPs: two watchpoints
    (36, Rule::Fixed(0xf)), // DoubleLock: not implemented
];

const ISAR0: &[Row] = &[
    (4, Rule::Allow),  // AES
    (8, Rule::Allow),  // SHA1
    (12, Rule::Allow), // SHA2
    (16, Rule::Allow), // CRC32
    (20, Rule::Allow), // Atomic
    (28, Rule::Allow), // RDM
    (32, Rule::Allow), // SHA3
    (36, Rule::Allow), // SM3
    (40, Rule::Allow), // SM4
    (44, Rule::Allow), // DP
    (48, Rule::Allow), // FHM
    (52, Rule::Allow), // TS
    (56, Rule::Allow), // TLB
    (60, Rule::Allow), // RNDR
];

const ISAR1: &[Row] = &[
    (0, Rule::Allow),  // DPB
    (4, Rule::Allow),  // APA
    (8, Rule::Allow),  // API
    (12, Rule::Allow), // JSCVT
    (16, Rule::Allow), // FCMA
    (20, Rule::Allow), // LRCPC
    (24, Rule::Allow), // GPA
    (28, Rule::Allow), // GPI
    (32, Rule::Allow), // FRINTTS
    (36, Rule::Allow), // SB
    (40, Rule::Allow), // SPECRES
    (44, Rule::Allow), // BF16
    (48, Rule::Allow), // DGH
    (52, Rule::Allow), // I8MM
];

const ISAR2: &[Row] = &[
    (8, Rule::Allow),  // GPA3
    (12, Rule::Allow), // APA3
    (20, Rule::Allow), // BC
    (24, Rule::Allow), // PAC_frac
    (28, Rule::Allow), // CLRBHB
    (48, Rule::Allow), // RPRFM
    (52, Rule::Allow), // CSSC
];

const MMFR0: &[Row] = &[
    (0, Rule::AddressSize),      // PARange
    (4, Rule::Allow),            // ASIDBits
    (8, Rule::Allow),            // BigEnd
    (16, Rule::Allow),           // BigEndEL0
    (20, Rule::AtMost(1)),       // TGran16, without 52-bit addresses
    (24, Rule::Allow),           // TGran64
    (28, Rule::SignedAtMost(0)), // TGran4, without 52-bit addresses
];

const MMFR1: &[Row] = &[
    (0, Rule::AtMost(2)), // HAFDBS
    (4, Rule::Allow),     // VMIDBits
    (12, Rule::Allow),    // HPDS
    (20, Rule::Allow),    // PAN
    (24, Rule::Allow),    // SpecSEI
    (36, Rule::Allow),    // ETS
    (60, Rule::Allow),    // ECBHB
];

const MMFR2: &[Row] = &[
    (0, Rule::Allow),  // CnP
    (4, Rule::Allow),  // UAO
    (16, Rule::Allow), // VARange
    (20, Rule::Allow), // CCIDX
    (32, Rule::Allow), // AT
    (36, Rule::Allow), // IDS
    (48, Rule::Allow), // TTL
    (52, Rule::Allow), // BBM
    (60, Rule::Allow), // E0PD
];

/// PARange of 48 bits, the most that is shown.
const PA_RANGE_48: u64 = 5;

/// The registers that are shown: CRm and op2 of S3_0_C0_Cm_op2, and their fields.
const SHOWN: [(u16, u16, &[Row]); 9] = [
    (4, 0, PFR0),
    (4, 1, PFR1),
    (5, 0, DFR0),
    (6, 0, ISAR0),
    (6, 1, ISAR1),
    (6, 2, ISAR2),
    (7, 0, MMFR0),
    (7, 1, MMFR1),
    (7, 2, MMFR2),
];

/// Identification registers of the hardware, the same on every CPU: one that differs is not started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardwareIds {
    /// ID_AA64PFR0_EL1.
    pub pfr0: u64,
    /// ID_AA64PFR1_EL1.
    pub pfr1: u64,
    /// ID_AA64DFR0_EL1.
    pub dfr0: u64,
    /// ID_AA64ISAR0_EL1.
    pub isar0: u64,
    /// ID_AA64ISAR1_EL1.
    pub isar1: u64,
    /// ID_AA64ISAR2_EL1.
    pub isar2: u64,
    /// ID_AA64MMFR0_EL1.
    pub mmfr0: u64,
    /// ID_AA64MMFR1_EL1.
    pub mmfr1: u64,
    /// ID_AA64MMFR2_EL1.
    pub mmfr2: u64,
    /// ID_AA64MMFR3_EL1.
    pub mmfr3: u64,
}

impl HardwareIds {
    /// Fine-grained traps: 1 the first set of registers, 2 the second set too.
    #[must_use]
    pub const fn fine_grained_traps(&self) -> u64 {
        field(self.mmfr0, 56)
    }

    /// A PMU with the Arm architecture's registers: its version, or zero.
    #[must_use]
    pub const fn pmu(&self) -> u64 {
        match field(self.dfr0, 8) {
            0xf => 0,
            version => version,
        }
    }

    /// Tells whether there is pointer authentication in any form: APA, API, GPA and GPI in ISAR1; GPA3
    /// and APA3 in ISAR2.
    #[must_use]
    pub const fn has_pauth(&self) -> bool {
        self.isar1 & 0xff00_0ff0 != 0 || self.isar2 & 0xff00 != 0
    }

    /// Tells whether there is the RAS extension.
    #[must_use]
    pub const fn has_ras(&self) -> bool {
        has(self.pfr0, 28)
    }

    /// Tells whether there is SME.
    #[must_use]
    pub const fn has_sme(&self) -> bool {
        has(self.pfr1, 24)
    }

    /// Tells whether there is self-hosted trace.
    #[must_use]
    pub const fn has_trace_filter(&self) -> bool {
        has(self.dfr0, 40)
    }
}

/// A field of an identification register.
pub(super) const fn field(register: u64, lsb: u32) -> u64 {
    (register >> (lsb & 63)) & 0xf
}

/// Tells whether a field says that a feature is there.
#[must_use]
pub const fn has(register: u64, lsb: u32) -> bool {
    field(register, lsb) != 0
}

/// Identification registers of a VM: the values of the registers in [`SHOWN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRegisters([u64; SHOWN.len()]);

impl IdRegisters {
    /// All zero: the VM that is not there.
    pub const ZERO: Self = Self([0; SHOWN.len()]);

    /// Filters what the hardware has, for a VM with this size of intermediate physical addresses.
    #[must_use]
    pub fn new(ids: &HardwareIds, ipa_bits: u32) -> Self {
        let mut values = [
            ids.pfr0, ids.pfr1, ids.dfr0, ids.isar0, ids.isar1, ids.isar2, ids.mmfr0, ids.mmfr1,
            ids.mmfr2,
        ];
        for (value, (_, _, rows)) in values.iter_mut().zip(SHOWN) {
            *value = filter(*value, rows, ipa_bits);
        }
        Self(values)
    }

    /// Returns the value of an identification register (S3_0_C0_C1_0 to S3_0_C0_C7_7); `None` for any
    /// other register. Those that are not shown read as zero, the AArch32 ones too, and may be asked for
    /// by a VMM.
    #[must_use]
    pub fn get(&self, register: SysregId) -> Option<u64> {
        let (3, 0, 0, crm @ 1..=7, op2) = register.parts() else { return None };
        let mut shown = SHOWN.iter().zip(self.0);
        let found = shown.find(|((row_crm, row_op2, _), _)| (*row_crm, *row_op2) == (crm, op2));
        Some(found.map_or(0, |(_, value)| value))
    }

    /// Tells whether branches to a mispredicted target cannot be steered by another context
    /// (CSV2): what the firmware call SMCCC_ARCH_WORKAROUND_1 is asked about.
    #[must_use]
    pub const fn has_csv2(&self) -> bool {
        let [pfr0, ..] = self.0;
        has(pfr0, 56)
    }
}

/// Builds a register from the fields that are listed.
fn filter(hardware: u64, rows: &[Row], ipa_bits: u32) -> u64 {
    rows.iter().fold(0, |value, (lsb, rule)| {
        let lsb = *lsb & 63;
        let field = field(hardware, lsb);
        let shown = match *rule {
            Rule::Allow => field,
            Rule::AtMost(limit) => field.min(limit),
            Rule::SignedAtMost(limit) if (field ^ 8) > (limit ^ 8) => limit,
            Rule::SignedAtMost(_) => field,
            Rule::Fixed(fixed) => fixed,
            Rule::AddressSize => field.min(pa_range(ipa_bits)).min(PA_RANGE_48),
        };
        value | ((shown & 0xf) << lsb)
    })
}

/// PARange that covers an address space of this size.
const fn pa_range(bits: u32) -> u64 {
    match bits {
        0..=32 => 0,
        33..=36 => 1,
        37..=40 => 2,
        41..=42 => 3,
        43..=44 => 4,
        _ => PA_RANGE_48,
    }
}

//! What traps while a guest runs: the values of EL2's control registers.
//!
//! Decides that everything the identification registers hide is trapped or disabled: SVE, SME, MTE,
//! PMU, trace, profiling, activity monitors, RAS records, LO regions, the second set of translation
//! controls with permission indirection and overlays, guarded control stacks, LS64, TPIDR2_EL0,
//! implementation-defined registers, AArch32 coprocessors, and the physical timer. What traps is
//! then UNDEFINED in [`super::guest_register`]. Bits of a feature that the CPU does not have are left
//! at zero, where they are RES0 (Arm ARM D19.2: HCR_EL2, HCRX_EL2, MDCR_EL2, CPTR_EL2,
//! CNTHCTL_EL2, HFG*_EL2, HDFG*_EL2). The negative-polarity bits of fine-grained traps are zero
//! (trapped) for all that is hidden. The counterpart for the host is in the shell, since almost
//! nothing traps there.

use super::{HardwareIds, IdPolicy};

/// Trap registers for the time that a guest runs. HFG* and HDFG* exist with FEAT_FGT, `hcrx` with
/// FEAT_HCX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestTraps {
    /// HCR_EL2.
    pub hcr: u64,
    /// HCRX_EL2.
    pub hcrx: u64,
    /// MDCR_EL2, without HPMN: the shell fills in PMCR_EL0.N, as for the host.
    pub mdcr: u64,
    /// CPTR_EL2, in its format with HCR_EL2.E2H clear.
    pub cptr: u64,
    /// HSTR_EL2.
    pub hstr: u64,
    /// CNTHCTL_EL2, in its format with HCR_EL2.E2H clear.
    pub cnthctl: u64,
    /// HFGRTR_EL2.
    pub hfgrtr: u64,
    /// HFGWTR_EL2.
    pub hfgwtr: u64,
    /// HFGITR_EL2.
    pub hfgitr: u64,
    /// HDFGRTR_EL2.
    pub hdfgrtr: u64,
    /// HDFGWTR_EL2.
    pub hdfgwtr: u64,
    /// MPAM2_EL2, which exists with FEAT_MPAM.
    pub mpam2: u64,
}

/// VM: stage 2 on. SWIO: set/way invalidation cleans, too. PTW: no stage-1 tables in devices.
const HCR_STAGE2: u64 = 1 << 0 | 1 << 1 | 1 << 2;
/// FMO, IMO, AMO: physical interrupts and SErrors go to EL2, virtual ones to the guest.
const HCR_INTERRUPTS: u64 = 1 << 3 | 1 << 4 | 1 << 5;
/// FB and BSU (inner shareable): maintenance by a virtual CPU reaches the physical CPU it moves to.
const HCR_BROADCAST: u64 = 1 << 9 | 1 << 10;
/// TWI and TWE: WFI and WFE.
const HCR_WAIT: u64 = 1 << 13 | 1 << 14;
/// TID3: identification registers of group 3.
const HCR_IDENTIFICATION: u64 = 1 << 18;
/// TSC: SMC. TIDCP: implementation-defined registers. TACR: ACTLR_EL1. TSW: set/way maintenance.
const HCR_SYSTEM: u64 = 1 << 19 | 1 << 20 | 1 << 21 | 1 << 22;
/// RW: EL1 is AArch64.
const HCR_RW: u64 = 1 << 31;
/// TLOR: LO regions.
const HCR_TLOR: u64 = 1 << 35;
/// TERR and TEA: error records; external aborts go to EL2.
const HCR_RAS: u64 = 1 << 36 | 1 << 37;
/// APK and API: pointer authentication does not trap.
const HCR_PAUTH: u64 = 1 << 40 | 1 << 41;
/// TID5: GMID_EL1. ATA stays clear: tags are not accessible.
const HCR_TID5: u64 = 1 << 58;

/// HCRX: FnXS and FGTnXS stay clear, and with them EnALS, EnAS0, EnASR (LS64), TCR2En, SCTLR2En,
/// GCSEn, PTTWI, D128En, EnFPM: everything that is hidden is off. MSCEn is the one that may be on.
const HCRX_MSCEN: u64 = 1 << 11;

/// MDCR: TDRA, TDOSA and TDA trap all debug registers; TPM and TPMCR the PMU. TDE is clear.
const MDCR_DEBUG: u64 = 1 << 9 | 1 << 10 | 1 << 11;
const MDCR_PMU: u64 = 1 << 5 | 1 << 6;
/// HPMD: what counts does not count at EL2.
const MDCR_HPMD: u64 = 1 << 17;
/// TPMS: profiling controls. E2PB, clear, keeps the buffer from EL1.
const MDCR_TPMS: u64 = 1 << 14;
/// TTRF: trace filter controls. E2TB, clear, keeps the trace buffer from EL1.
const MDCR_TTRF: u64 = 1 << 19;
/// TDCC: debug communication channel.
const MDCR_TDCC: u64 = 1 << 27;

/// CPTR: RES1 bits 13, 12 (TSM), 9, 8 (TZ) and 7:0: SVE and SME trap where they exist.
const CPTR_RES1: u64 = 0x33ff;
/// TTA: trace registers.
const CPTR_TTA: u64 = 1 << 20;
/// TAM: activity monitors. TCPAC stays clear: CPACR_EL1 is the guest's.
const CPTR_TAM: u64 = 1 << 30;

/// CNTHCTL: EL1PCTEN: CNTPCT_EL0 does not trap. EL1PCEN, clear: the physical timer does.
const CNTHCTL_EL1PCTEN: u64 = 1 << 0;

/// HFGRTR and HFGWTR: ERXADDR to ERRIDR.
const HFG_RAS: u64 = 0x3ff << 40;
/// HFGRTR and HFGWTR: SCXTNUM_EL0 and SCXTNUM_EL1.
const HFG_SCXTNUM: u64 = 3 << 30;
/// HFGRTR and HFGWTR: LORSA to LORC.
const HFG_LOR: u64 = 0x1f << 19;
/// Bits that only HFGRTR has, their registers being read-only: ERXPFGF, ERXFR, ERRIDR, LORID.
const HFG_READ_ONLY: u64 = 1 << 46 | 1 << 42 | 1 << 40 | 1 << 21;

/// MPAM2: TRAPMPAM1EL1 and TRAPMPAM0EL1.
const MPAM2_TRAPS: u64 = 1 << 48 | 1 << 49;

/// A field of an identification register.
const fn field(register: u64, lsb: u32) -> u64 {
    (register >> (lsb & 63)) & 0xf
}

/// Tells whether a feature is there.
const fn has(register: u64, lsb: u32) -> bool {
    field(register, lsb) != 0
}

/// Gives `bits` when a feature is there.
const fn when(present: bool, bits: u64) -> u64 {
    if present { bits } else { 0 }
}

/// Computes the trap registers for guests on this hardware, to go with the identification registers
/// of the same policy.
#[must_use]
pub const fn guest(ids: &HardwareIds, policy: &IdPolicy) -> GuestTraps {
    let ras = has(ids.pfr0, 28);
    let lor = has(ids.mmfr1, 16);
    let mpam = has(ids.pfr0, 40) || has(ids.pfr1, 16);
    let pmu = has(ids.dfr0, 8) && field(ids.dfr0, 8) != 0xf;
    let pauth = ids.isar1 & 0xff00_0ff0 != 0 || ids.isar2 & 0xff00 != 0;
    let fgt = has(ids.mmfr0, 56);
    let scxtnum = field(ids.pfr0, 56) >= 2 || field(ids.pfr1, 32) >= 2;
    let fine = when(ras, HFG_RAS) | when(lor, HFG_LOR) | when(scxtnum, HFG_SCXTNUM);
    GuestTraps {
        hcr: HCR_STAGE2
            | HCR_INTERRUPTS
            | HCR_BROADCAST
            | HCR_WAIT
            | HCR_IDENTIFICATION
            | HCR_SYSTEM
            | HCR_RW
            | when(lor, HCR_TLOR)
            | when(ras, HCR_RAS)
            | when(pauth, HCR_PAUTH)
            | when(field(ids.pfr1, 8) >= 2, HCR_TID5),
        hcrx: when(policy.mops && has(ids.isar2, 16), HCRX_MSCEN),
        mdcr: MDCR_DEBUG
            | when(pmu, MDCR_PMU)
            | when(pmu && field(ids.dfr0, 8) >= 4, MDCR_HPMD)
            | when(has(ids.dfr0, 32), MDCR_TPMS)
            | when(has(ids.dfr0, 40), MDCR_TTRF)
            | when(fgt, MDCR_TDCC),
        cptr: CPTR_RES1 | when(has(ids.dfr0, 4), CPTR_TTA) | when(has(ids.pfr0, 44), CPTR_TAM),
        hstr: 0,
        cnthctl: CNTHCTL_EL1PCTEN,
        hfgrtr: when(fgt, fine),
        hfgwtr: when(fgt, fine & !HFG_READ_ONLY),
        hfgitr: 0,
        hdfgrtr: 0,
        hdfgwtr: 0,
        mpam2: when(mpam, MPAM2_TRAPS),
    }
}

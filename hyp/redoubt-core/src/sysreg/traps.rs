//! What traps while a guest or the host runs: the values of EL2's control registers.
//!
//! Decides that everything the identification registers hide is trapped or disabled for a guest:
//! SVE, SME, MTE, PMU, trace, profiling, activity monitors, RAS records, LO regions, the second set
//! of translation controls with permission indirection and overlays, guarded control stacks, LS64,
//! TPIDR2_EL0, memory copy and set, implementation-defined registers, AArch32 coprocessors, and the
//! physical timer. What traps is then UNDEFINED in [`super::guest_register`]. Bits of a feature that
//! the CPU does not have are left at zero, where they are RES0 (Arm ARM D19.2: HCR_EL2, HCRX_EL2,
//! MDCR_EL2, CPTR_EL2, CNTHCTL_EL2, HFG*_EL2, HDFG*_EL2). The negative-polarity bits of fine-grained
//! traps are zero (trapped) for all that is hidden.
//!
//! The host runs at native speed: interrupts, timers, FP, SVE, PAuth and its own debug and PMU
//! registers are its own. What is trapped: SMC (the relay in `psci.rs` of the shell), statistical
//! profiling, trace buffers and branch records (they write memory or record across worlds), and
//! everything behind a fine-grained trap whose feature Redoubt does not know.
//!
//! What is zero for both is not here: the shell writes it when a CPU comes up.

use super::HardwareIds;
use super::ids::{field, has};

/// Trap registers for the time that a guest or the host runs; `None` where the CPU has no such register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traps {
    /// HCR_EL2.
    pub hcr: u64,
    /// HCRX_EL2.
    pub hcrx: Option<u64>,
    /// MDCR_EL2, without HPMN: the shell fills in PMCR_EL0.N.
    pub mdcr: u64,
    /// CPTR_EL2, in its format with HCR_EL2.E2H clear.
    pub cptr: u64,
    /// CNTHCTL_EL2, in its format with HCR_EL2.E2H clear.
    pub cnthctl: u64,
    /// Fine-grained traps.
    pub fine: Option<FineTraps>,
    /// MPAM2_EL2.
    pub mpam2: Option<u64>,
}

/// Fine-grained trap registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FineTraps {
    /// HFGRTR_EL2.
    pub hfgrtr: u64,
    /// HFGWTR_EL2.
    pub hfgwtr: u64,
    /// HFGITR_EL2.
    pub hfgitr: u64,
}

/// VM: stage 2 on. SWIO: set/way invalidation cleans, too.
const HCR_STAGE2: u64 = 1 << 0 | 1 << 1;
/// PTW: no stage-1 tables in devices.
const HCR_PTW: u64 = 1 << 2;
/// FMO, IMO, AMO: physical interrupts and SErrors go to EL2, virtual ones to the guest.
const HCR_INTERRUPTS: u64 = 1 << 3 | 1 << 4 | 1 << 5;
/// FB and BSU (inner shareable): maintenance by a virtual CPU reaches the physical CPU it moves to.
const HCR_BROADCAST: u64 = 1 << 9 | 1 << 10;
/// TWI and TWE: WFI and WFE.
const HCR_WAIT: u64 = 1 << 13 | 1 << 14;
/// TID3: identification registers of group 3.
const HCR_IDENTIFICATION: u64 = 1 << 18;
/// TSC: SMC.
const HCR_TSC: u64 = 1 << 19;
/// TIDCP: implementation-defined registers. TACR: ACTLR_EL1. TSW: set/way maintenance.
const HCR_SYSTEM: u64 = 1 << 20 | 1 << 21 | 1 << 22;
/// RW: EL1 is AArch64.
const HCR_RW: u64 = 1 << 31;
/// TLOR: LO regions.
const HCR_TLOR: u64 = 1 << 35;
/// TERR and TEA: error records; external aborts go to EL2.
const HCR_RAS: u64 = 1 << 36 | 1 << 37;
/// APK and API: pointer authentication does not trap.
const HCR_PAUTH: u64 = 1 << 40 | 1 << 41;
/// EnSCXT: SCXTNUM registers do not trap. ATA: allocation tags may be used.
const HCR_HOST: u64 = 1 << 53 | 1 << 56;
/// TID5: GMID_EL1.
const HCR_TID5: u64 = 1 << 58;

/// HCRX for guests: FnXS and FGTnXS stay clear, and with them EnALS, EnAS0, EnASR (LS64), MSCEn, TCR2En,
/// SCTLR2En, GCSEn, PTTWI, D128En, EnFPM: everything that is hidden is off.
const HCRX_GUEST: u64 = 0;
/// HCRX for the host: FEAT_MOPS, TCR2, SCTLR2, GCS and FPMR are left to EL1.
const HCRX_HOST: u64 = 1 << 11 | 1 << 14 | 1 << 15 | 1 << 22 | 1 << 23;

/// MDCR: TDRA, TDOSA and TDA trap all debug registers; TPM and TPMCR the PMU. TDE is clear.
const MDCR_DEBUG: u64 = 1 << 9 | 1 << 10 | 1 << 11;
const MDCR_PMU: u64 = 1 << 5 | 1 << 6;
/// HPMD: what counts does not count at EL2.
const MDCR_HPMD: u64 = 1 << 17;
/// HCCD: nor does the cycle counter.
const MDCR_HCCD: u64 = 1 << 23;
/// TPMS: profiling controls. E2PB, clear, keeps the buffer from EL1.
const MDCR_TPMS: u64 = 1 << 14;
/// TTRF: trace filter controls. E2TB, clear, keeps the trace buffer from EL1.
const MDCR_TTRF: u64 = 1 << 19;
/// TDCC: debug communication channel.
const MDCR_TDCC: u64 = 1 << 27;

/// CPTR: RES1 bits 13, 12 (TSM), 9, 8 (TZ) and 7:0: SVE and SME trap where they exist.
const CPTR_RES1: u64 = 0x33ff;
/// CPTR for the host: TZ, TFP and TSM are clear: FP, SVE and SME do not trap.
const CPTR_HOST: u64 = 0x22ff;
/// TTA: trace registers.
const CPTR_TTA: u64 = 1 << 20;
/// TAM: activity monitors. TCPAC stays clear: CPACR_EL1 is the guest's.
const CPTR_TAM: u64 = 1 << 30;

/// CNTHCTL: EL1PCTEN: CNTPCT_EL0 does not trap. EL1PCEN, clear: the physical timer does.
const CNTHCTL_EL1PCTEN: u64 = 1 << 0;
/// EL1PCEN: the host uses the physical timer.
const CNTHCTL_EL1PCEN: u64 = 1 << 1;

/// HFGRTR and HFGWTR: ERXADDR to ERRIDR.
const HFG_RAS: u64 = 0x3ff << 40;
/// HFGRTR and HFGWTR: SCXTNUM_EL0 and SCXTNUM_EL1.
const HFG_SCXTNUM: u64 = 3 << 30;
/// HFGRTR and HFGWTR: LORSA to LORC.
const HFG_LOR: u64 = 0x1f << 19;
/// Bits that only HFGRTR has, their registers being read-only: ERXPFGF, ERXFR, ERRIDR, LORID.
const HFG_READ_ONLY: u64 = 1 << 46 | 1 << 42 | 1 << 40 | 1 << 21;

/// The fine-grained read and write traps of negative polarity that the host may pass: every
/// register in bits 63 to 50 (guarded control stacks, permission overlays, SME, TPIDR2, ...).
const HFGXTR_HOST: u64 = !0 << 50;
/// As above for instructions: guarded control stacks (bits 59 to 57).
const HFGITR_HOST: u64 = 7 << 57;

/// MPAM2: TRAPMPAM1EL1 and TRAPMPAM0EL1.
const MPAM2_TRAPS: u64 = 1 << 48 | 1 << 49;

/// Gives `bits` when a feature is there.
const fn when(present: bool, bits: u64) -> u64 {
    if present { bits } else { 0 }
}

/// Computes the trap registers for guests on this hardware, to go with their identification registers.
#[must_use]
pub fn guest(ids: &HardwareIds) -> Traps {
    let ras = ids.has_ras();
    let lor = has(ids.mmfr1, 16);
    let pmu = ids.pmu();
    let scxtnum = field(ids.pfr0, 56) >= 2 || field(ids.pfr1, 32) >= 2;
    let hfgrtr = when(ras, HFG_RAS) | when(lor, HFG_LOR) | when(scxtnum, HFG_SCXTNUM);
    let fine = FineTraps { hfgrtr, hfgwtr: hfgrtr & !HFG_READ_ONLY, hfgitr: 0 };
    let traps = Traps {
        hcr: HCR_STAGE2
            | HCR_PTW
            | HCR_INTERRUPTS
            | HCR_BROADCAST
            | HCR_WAIT
            | HCR_IDENTIFICATION
            | HCR_TSC
            | HCR_SYSTEM
            | HCR_RW
            | when(lor, HCR_TLOR)
            | when(ras, HCR_RAS)
            | when(ids.has_pauth(), HCR_PAUTH)
            | when(field(ids.pfr1, 8) >= 2, HCR_TID5),
        hcrx: Some(HCRX_GUEST),
        mdcr: MDCR_DEBUG
            | when(pmu != 0, MDCR_PMU)
            | when(pmu >= 4, MDCR_HPMD)
            | when(has(ids.dfr0, 32), MDCR_TPMS)
            | when(ids.has_trace_filter(), MDCR_TTRF)
            | when(ids.fine_grained_traps() != 0, MDCR_TDCC),
        cptr: CPTR_RES1 | when(has(ids.dfr0, 4), CPTR_TTA) | when(has(ids.pfr0, 44), CPTR_TAM),
        cnthctl: CNTHCTL_EL1PCTEN,
        fine: Some(fine),
        mpam2: Some(MPAM2_TRAPS),
    };
    implemented(traps, ids)
}

/// Computes the trap registers for the host.
#[must_use]
pub fn host(ids: &HardwareIds) -> Traps {
    let fine = FineTraps { hfgrtr: HFGXTR_HOST, hfgwtr: HFGXTR_HOST, hfgitr: HFGITR_HOST };
    let traps = Traps {
        hcr: HCR_STAGE2 | HCR_TSC | HCR_RW | HCR_PAUTH | HCR_HOST,
        hcrx: Some(HCRX_HOST),
        // E2PB and E2TB are zero: profiling and trace buffers are EL2's, so EL1's accesses trap.
        mdcr: when(ids.pmu() != 0, MDCR_HPMD | MDCR_HCCD),
        cptr: CPTR_HOST,
        cnthctl: CNTHCTL_EL1PCTEN | CNTHCTL_EL1PCEN,
        fine: Some(fine),
        mpam2: Some(0),
    };
    implemented(traps, ids)
}

/// Leaves out the registers that the CPU does not have.
fn implemented(traps: Traps, ids: &HardwareIds) -> Traps {
    let mpam = has(ids.pfr0, 40) || has(ids.pfr1, 16);
    Traps {
        hcrx: traps.hcrx.filter(|_| has(ids.mmfr1, 40)),
        fine: traps.fine.filter(|_| ids.fine_grained_traps() != 0),
        mpam2: traps.mpam2.filter(|_| mpam),
        ..traps
    }
}

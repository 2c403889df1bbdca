//! What the host may do at EL1: the trap configuration under which it runs.
//!
//! The host runs at native speed: interrupts, timers, FP, SVE, PAuth and its own debug and PMU
//! registers are its own. What is trapped: SMC (the relay in `psci.rs`), statistical profiling,
//! trace buffers and branch records (they write memory or record across worlds), and everything
//! behind a fine-grained trap whose feature Redoubt does not know.

use redoubt_core::hw::Stage2Context;

use crate::arch::{self, sysreg};
use crate::sync::BootCell;

/// HCR_EL2: virtualization on.
const HCR_VM: u64 = 1 << 0;
/// HCR_EL2: set/way invalidation cleans too.
const HCR_SWIO: u64 = 1 << 1;
/// HCR_EL2: SMC traps.
const HCR_TSC: u64 = 1 << 19;
/// HCR_EL2: EL1 is AArch64.
const HCR_RW: u64 = 1 << 31;
/// HCR_EL2: PAuth keys do not trap.
const HCR_APK: u64 = 1 << 40;
/// HCR_EL2: PAuth instructions do not trap.
const HCR_API: u64 = 1 << 41;
/// HCR_EL2: SCXTNUM registers do not trap.
const HCR_ENSCXT: u64 = 1 << 53;
/// HCR_EL2: allocation tags may be used.
const HCR_ATA: u64 = 1 << 56;

/// HCRX_EL2 for the host: FEAT_MOPS, TCR2, SCTLR2, GCS and FPMR are left to EL1.
const HCRX_HOST: u64 = 1 << 11 | 1 << 14 | 1 << 15 | 1 << 22 | 1 << 23;

/// CPTR_EL2 (E2H clear): RES1 bits with TZ, TFP and TSM clear: FP, SVE and SME do not trap.
const CPTR_HOST: u64 = 0x22ff;

/// Vector length field that stands for the longest the CPU has.
const LONGEST: u64 = 0xf;
/// SMCR_EL2: full A64 in streaming mode, where implemented.
const SMCR_FA64: u64 = 1 << 31;
/// SMCR_EL2: ZT0, where implemented.
const SMCR_EZT0: u64 = 1 << 30;

/// The fine-grained read and write traps of negative polarity that the host may pass: every
/// register in bits 63 to 50 (guarded control stacks, permission overlays, SME, TPIDR2, ...).
const HFGXTR_HOST: u64 = !0 << 50;
/// As above for instructions: guarded control stacks (bits 59 to 57).
const HFGITR_HOST: u64 = 7 << 57;

/// MDCR_EL2.HPMD: counters do not count at EL2.
const MDCR_HPMD: u64 = 1 << 17;
/// MDCR_EL2.HCCD: nor does the cycle counter.
const MDCR_HCCD: u64 = 1 << 23;

/// What all CPUs load when the host is entered.
#[derive(Clone, Copy, Debug)]
pub struct HostStage2 {
    /// VTTBR_EL2.
    pub context: Stage2Context,
    /// VTCR_EL2.
    pub vtcr: u64,
}

/// The host's stage 2.
pub static HOST_STAGE2: BootCell<HostStage2> = BootCell::new();

/// Whether an ID register field is at least one.
const fn has(register: u64, shift: u32) -> bool {
    (register >> shift) & 0xf != 0
}

/// Whether the CPU has SME.
pub fn has_sme() -> bool {
    has(sysreg::read_id_aa64pfr1_el1(), 24)
}

/// Whether the CPU has fine-grained traps.
pub fn has_fgt() -> bool {
    has(sysreg::read_id_aa64mmfr0_el1(), 56)
}

/// Whether the CPU has HCRX_EL2.
pub fn has_hcx() -> bool {
    has(sysreg::read_id_aa64mmfr1_el1(), 40)
}

/// Whether the CPU has a PMU with the Arm architecture's registers.
pub fn has_pmu() -> bool {
    let version = (sysreg::read_id_aa64dfr0_el1() >> 8) & 0xf;
    version != 0 && version != 0xf
}

/// Whether the CPU has PAuth in any form.
pub fn has_pauth() -> bool {
    // APA, API, GPA and GPI in ISAR1; GPA3 and APA3 in ISAR2.
    (sysreg::read_id_aa64isar1_el1() & 0xff00_0ff0) | (sysreg::read_id_aa64isar2_el1() & 0xff00)
        != 0
}

/// Whether the CPU has the second set of fine-grained traps.
fn has_fgt2() -> bool {
    (sysreg::read_id_aa64mmfr0_el1() >> 56) & 0xf >= 2
}

/// Whether the CPU has the RAS extension.
pub fn has_ras() -> bool {
    has(sysreg::read_id_aa64pfr0_el1(), 28)
}

/// Whether the CPU has self-hosted trace.
fn has_trace_filter() -> bool {
    has(sysreg::read_id_aa64dfr0_el1(), 40)
}

/// Keeps the host's self-hosted trace from following a guest. Returns TRFCR_EL1.
pub fn stop_trace() -> u64 {
    if !has_trace_filter() {
        return 0;
    }
    let trfcr = sysreg::read_trfcr_el1();
    sysreg::write_trfcr_el1(0);
    arch::isb();
    trfcr
}

/// Undoes [`stop_trace`].
pub fn restart_trace(trfcr: u64) {
    if has_trace_filter() {
        sysreg::write_trfcr_el1(trfcr);
    }
}

/// Whether the CPU has MPAM.
pub fn has_mpam() -> bool {
    has(sysreg::read_id_aa64pfr0_el1(), 40) || has(sysreg::read_id_aa64pfr1_el1(), 16)
}

/// MDCR_EL2.HPMN: all event counters belong to EL1 (PMCR_EL0.N).
pub fn event_counters() -> u64 {
    if has_pmu() { (sysreg::read_pmcr_el0() >> 11) & 0x1f } else { 0 }
}

/// MDCR_EL2 for the host. E2PB and E2TB are zero: profiling and trace buffers are EL2's, so EL1's
/// accesses trap.
fn mdcr_host() -> u64 {
    if has_pmu() { event_counters() | MDCR_HPMD | MDCR_HCCD } else { 0 }
}

/// Loads what differs between host and guest.
pub fn activate_host() {
    let stage2 = HOST_STAGE2.get();
    sysreg::write_hcr_el2(
        HCR_VM | HCR_SWIO | HCR_TSC | HCR_RW | HCR_APK | HCR_API | HCR_ENSCXT | HCR_ATA,
    );
    if has_hcx() {
        sysreg::write_hcrx_el2(HCRX_HOST);
    }
    if has_fgt() {
        sysreg::write_hfgrtr_el2(HFGXTR_HOST);
        sysreg::write_hfgwtr_el2(HFGXTR_HOST);
        sysreg::write_hfgitr_el2(HFGITR_HOST);
        sysreg::write_hdfgrtr_el2(0);
        sysreg::write_hdfgwtr_el2(0);
    }
    if has_fgt2() {
        // Nothing that is behind these is known to Redoubt: the host does without.
        sysreg::write_hfgrtr2_el2(0);
        sysreg::write_hfgwtr2_el2(0);
        sysreg::write_hfgitr2_el2(0);
        sysreg::write_hdfgrtr2_el2(0);
        sysreg::write_hdfgwtr2_el2(0);
    }
    sysreg::write_cptr_el2(CPTR_HOST);
    sysreg::write_mdcr_el2(mdcr_host());
    if has_mpam() {
        sysreg::write_mpam2_el2(0);
    }
    sysreg::write_hstr_el2(0);
    sysreg::write_cnthctl_el2(3); // EL1PCTEN, EL1PCEN: the host uses the physical timer
    sysreg::write_cntvoff_el2(0);
    sysreg::write_vmpidr_el2(sysreg::read_mpidr_el1());
    sysreg::write_vtcr_el2(stage2.vtcr);
    sysreg::write_vttbr_el2(stage2.context.vttbr());
    arch::isb();
}

/// Brings a CPU that comes from the firmware into the state in which the host starts: traps on,
/// EL1 registers as after reset.
pub fn reset_cpu() {
    sysreg::write_vpidr_el2(sysreg::read_midr_el1());
    sysreg::write_hacr_el2(0);
    sysreg::write_actlr_el2(0);
    if has_trace_filter() {
        sysreg::write_trfcr_el2(0);
        sysreg::write_trfcr_el1(0);
    }
    if has(sysreg::read_id_aa64dfr0_el1(), 32) {
        sysreg::write_pmblimitr_el1(0);
    }
    if has(sysreg::read_id_aa64dfr0_el1(), 44) {
        sysreg::write_trblimitr_el1(0);
    }
    if has_fgt() && has(sysreg::read_id_aa64pfr0_el1(), 44) {
        sysreg::write_hafgrtr_el2(0);
    }
    sysreg::write_icc_sre_el2(crate::vgic::SRE_HOST);
    arch::isb();
    sysreg::write_ich_hcr_el2(0);
    activate_host();
    if has(sysreg::read_id_aa64pfr0_el1(), 32) {
        sysreg::write_zcr_el2(LONGEST);
    }
    if has_sme() {
        sysreg::write_smcr_el2(LONGEST | SMCR_FA64 | SMCR_EZT0);
    }
    sysreg::write_cntv_ctl_el0(0);
    // RES1 bits; MMU and caches off.
    sysreg::write_sctlr_el1(0x30d0_0800);
    sysreg::write_cpacr_el1(0);
    sysreg::write_mdscr_el1(0);
    sysreg::write_cntkctl_el1(0);
    sysreg::write_tcr_el1(0);
    sysreg::write_ttbr0_el1(0);
    sysreg::write_ttbr1_el1(0);
    sysreg::write_contextidr_el1(0);
    arch::clear_fp();
    arch::tlbi_alle1();
    arch::dsb_sy();
    arch::isb();
}

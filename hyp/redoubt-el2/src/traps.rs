//! Switching what EL1 and EL0 can reach: stage 2 and traps, of the host or of a guest.
//!
//! What traps is decided in `redoubt_core::sysreg::traps`.

use redoubt_core::hw::Stage2Context;
use redoubt_core::sysreg::ids::has;
use redoubt_core::sysreg::traps::{self, Traps};

use crate::arch::{self, sysreg};
use crate::sync::BootCell;
use crate::vm::HARDWARE_IDS;

/// Vector length field that stands for the longest the CPU has.
const LONGEST: u64 = 0xf;
/// SMCR_EL2: full A64 in streaming mode, where implemented.
const SMCR_FA64: u64 = 1 << 31;
/// SMCR_EL2: ZT0, where implemented.
const SMCR_EZT0: u64 = 1 << 30;

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

/// Keeps the host's self-hosted trace from following a guest. Returns TRFCR_EL1.
pub fn stop_trace() -> u64 {
    if !HARDWARE_IDS.get().has_trace_filter() {
        return 0;
    }
    let trfcr = sysreg::read_trfcr_el1();
    sysreg::write_trfcr_el1(0);
    arch::isb();
    trfcr
}

/// Undoes [`stop_trace`].
pub fn restart_trace(trfcr: u64) {
    if HARDWARE_IDS.get().has_trace_filter() {
        sysreg::write_trfcr_el1(trfcr);
    }
}

/// MDCR_EL2.HPMN: all event counters belong to EL1 (PMCR_EL0.N).
fn event_counters() -> u64 {
    if HARDWARE_IDS.get().pmu() != 0 { (sysreg::read_pmcr_el0() >> 11) & 0x1f } else { 0 }
}

/// What differs between the host and each VM, and stays the same while a vCPU runs.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// VTTBR_EL2.
    pub stage2: Stage2Context,
    /// VTCR_EL2.
    pub vtcr: u64,
    /// CNTVOFF_EL2.
    pub counter_offset: u64,
    /// VMPIDR_EL2.
    pub mpidr: u64,
    /// Trap registers.
    pub traps: Traps,
}

/// Loads stage 2 and traps.
pub fn activate(world: &World) {
    let traps = &world.traps;
    // Walks of the world that ends are over before the tables of the other one are loaded.
    arch::dsb_nsh();
    sysreg::write_hcr_el2(traps.hcr);
    if let Some(hcrx) = traps.hcrx {
        sysreg::write_hcrx_el2(hcrx);
    }
    if let Some(fine) = &traps.fine {
        sysreg::write_hfgrtr_el2(fine.hfgrtr);
        sysreg::write_hfgwtr_el2(fine.hfgwtr);
        sysreg::write_hfgitr_el2(fine.hfgitr);
    }
    sysreg::write_cptr_el2(traps.cptr);
    sysreg::write_mdcr_el2(traps.mdcr | event_counters());
    if let Some(mpam2) = traps.mpam2 {
        sysreg::write_mpam2_el2(mpam2);
    }
    sysreg::write_cnthctl_el2(traps.cnthctl);
    sysreg::write_cntvoff_el2(world.counter_offset);
    sysreg::write_vmpidr_el2(world.mpidr);
    sysreg::write_vtcr_el2(world.vtcr);
    sysreg::write_vttbr_el2(world.stage2.vttbr());
    arch::isb();
}

/// Loads stage 2 and traps of the host.
pub fn activate_host() {
    let stage2 = HOST_STAGE2.get();
    activate(&World {
        stage2: stage2.context,
        vtcr: stage2.vtcr,
        counter_offset: 0,
        mpidr: sysreg::read_mpidr_el1(),
        traps: traps::host(HARDWARE_IDS.get()),
    });
}

/// Brings a CPU that comes from the firmware into the state in which the host starts: traps on,
/// EL1 registers as after reset.
pub fn reset_cpu() {
    let ids = HARDWARE_IDS.get();
    sysreg::write_vpidr_el2(sysreg::read_midr_el1());
    sysreg::write_hacr_el2(0);
    sysreg::write_hstr_el2(0);
    sysreg::write_actlr_el2(0);
    if ids.has_trace_filter() {
        sysreg::write_trfcr_el2(0);
        sysreg::write_trfcr_el1(0);
    }
    if has(ids.dfr0, 32) {
        sysreg::write_pmblimitr_el1(0);
    }
    if has(ids.dfr0, 44) {
        sysreg::write_trblimitr_el1(0);
    }
    if ids.fine_grained_traps() >= 1 {
        sysreg::write_hdfgrtr_el2(0);
        sysreg::write_hdfgwtr_el2(0);
        if has(ids.pfr0, 44) {
            sysreg::write_hafgrtr_el2(0);
        }
    }
    if ids.fine_grained_traps() >= 2 {
        // Nothing that is behind these is known to Redoubt: host and guests do without.
        sysreg::write_hfgrtr2_el2(0);
        sysreg::write_hfgwtr2_el2(0);
        sysreg::write_hfgitr2_el2(0);
        sysreg::write_hdfgrtr2_el2(0);
        sysreg::write_hdfgwtr2_el2(0);
    }
    sysreg::write_icc_sre_el2(crate::vgic::SRE_HOST);
    arch::isb();
    sysreg::write_ich_hcr_el2(0);
    activate_host();
    if has(ids.pfr0, 32) {
        sysreg::write_zcr_el2(LONGEST);
    }
    if ids.has_sme() {
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

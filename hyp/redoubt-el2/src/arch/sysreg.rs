//! System registers, one function an access.
//!
//! Reads have no side effect but on the value returned. Writes are safe functions where the
//! register cannot change what EL2 itself executes or can reach: EL2 runs with E2H clear, so EL1
//! registers, stage-2 registers and trap controls only govern lower exception levels. The registers
//! for which that does not hold (TTBR0_EL2, TCR_EL2, SCTLR_EL2, MAIR_EL2, TPIDR_EL2) are written
//! in entry.S alone (TPIDR_EL2 also when the first CPU learns which it is); VBAR_EL2 has its own two
//! functions in [`crate::arch`], HCR_EL2 and SPSR_EL2 have functions that mask what would concern EL2.

use core::arch::asm;

/// Declares a read function and, where a second name is given, a write function of a register.
macro_rules! registers {
    ($($(#[doc = $doc:literal])* $read:ident $(, $write:ident)? = $name:literal;)+) => {
        $(
            #[doc = concat!("Reads ", $name, ".")]
            #[allow(dead_code)]
            #[inline(always)]
            pub fn $read() -> u64 {
                let value: u64;
                // SAFETY: an MRS of this register has no effect on memory or on other state.
                unsafe {
                    asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags));
                }
                value
            }
            $(
                #[doc = concat!("Writes ", $name, ".")]
                #[allow(dead_code)]
                #[inline(always)]
                pub fn $write(value: u64) {
                    // SAFETY: the register governs lower exception levels only (see the module
                    // text), so no reference that EL2 holds is affected.
                    unsafe {
                        asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags));
                    }
                }
            )?
        )+
    };
}

registers! {
    read_midr_el1 = "midr_el1";
    read_mpidr_el1 = "mpidr_el1";
    read_id_aa64pfr0_el1 = "id_aa64pfr0_el1";
    read_id_aa64pfr1_el1 = "id_aa64pfr1_el1";
    read_id_aa64dfr0_el1 = "id_aa64dfr0_el1";
    read_id_aa64isar0_el1 = "id_aa64isar0_el1";
    read_id_aa64isar1_el1 = "id_aa64isar1_el1";
    read_id_aa64isar2_el1 = "S3_0_C0_C6_2";
    read_id_aa64mmfr0_el1 = "id_aa64mmfr0_el1";
    read_id_aa64mmfr1_el1 = "id_aa64mmfr1_el1";
    read_id_aa64mmfr2_el1 = "id_aa64mmfr2_el1";
    read_id_aa64mmfr3_el1 = "S3_0_C0_C7_3";
    read_ctr_el0 = "ctr_el0";
    read_dczid_el0 = "dczid_el0";
    read_cntpct_el0 = "cntpct_el0";

    read_esr_el2 = "esr_el2";
    read_far_el2 = "far_el2";
    read_hpfar_el2 = "hpfar_el2";
    read_elr_el2, write_elr_el2 = "elr_el2";
    read_spsr_el2, write_spsr_el2_raw = "spsr_el2";
    read_tpidr_el2 = "tpidr_el2";
    read_hcr_el2, write_hcr_el2_raw = "hcr_el2";
    read_hcrx_el2, write_hcrx_el2 = "S3_4_C1_C2_2";
    read_vttbr_el2, write_vttbr_el2 = "vttbr_el2";
    read_vtcr_el2, write_vtcr_el2 = "vtcr_el2";
    read_vpidr_el2, write_vpidr_el2 = "vpidr_el2";
    read_vmpidr_el2, write_vmpidr_el2 = "vmpidr_el2";
    read_cptr_el2, write_cptr_el2 = "cptr_el2";
    read_mdcr_el2, write_mdcr_el2 = "mdcr_el2";
    read_hstr_el2, write_hstr_el2 = "hstr_el2";
    read_hacr_el2, write_hacr_el2 = "hacr_el2";
    read_cnthctl_el2, write_cnthctl_el2 = "cnthctl_el2";
    read_cntvoff_el2, write_cntvoff_el2 = "cntvoff_el2";
    read_hfgrtr_el2, write_hfgrtr_el2 = "S3_4_C1_C1_4";
    read_hfgwtr_el2, write_hfgwtr_el2 = "S3_4_C1_C1_5";
    read_hfgitr_el2, write_hfgitr_el2 = "S3_4_C1_C1_6";
    read_hdfgrtr_el2, write_hdfgrtr_el2 = "S3_4_C3_C1_4";
    read_hdfgwtr_el2, write_hdfgwtr_el2 = "S3_4_C3_C1_5";
    read_hafgrtr_el2, write_hafgrtr_el2 = "S3_4_C3_C1_6";
    read_mpam2_el2, write_mpam2_el2 = "S3_4_C10_C5_0";
    read_zcr_el2, write_zcr_el2 = "S3_4_C1_C2_0";
    read_smcr_el2, write_smcr_el2 = "S3_4_C1_C2_6";
    read_svcr, write_svcr = "S3_3_C4_C2_2";

    read_hfgrtr2_el2, write_hfgrtr2_el2 = "S3_4_C3_C1_2";
    read_hfgwtr2_el2, write_hfgwtr2_el2 = "S3_4_C3_C1_3";
    read_hfgitr2_el2, write_hfgitr2_el2 = "S3_4_C3_C1_7";
    read_hdfgrtr2_el2, write_hdfgrtr2_el2 = "S3_4_C3_C1_0";
    read_hdfgwtr2_el2, write_hdfgwtr2_el2 = "S3_4_C3_C1_1";
    read_disr_el1, write_disr_el1 = "S3_0_C12_C1_1";
    read_vdisr_el2, write_vdisr_el2 = "S3_4_C12_C1_1";
    read_actlr_el2, write_actlr_el2 = "actlr_el2";
    read_trfcr_el2, write_trfcr_el2 = "S3_4_C1_C2_1";
    read_trfcr_el1, write_trfcr_el1 = "S3_0_C1_C2_1";
    read_pmblimitr_el1, write_pmblimitr_el1 = "S3_0_C9_C10_0";
    read_trblimitr_el1, write_trblimitr_el1 = "S3_0_C9_C11_0";

    read_icc_sre_el2, write_icc_sre_el2 = "icc_sre_el2";
    read_ich_hcr_el2, write_ich_hcr_el2 = "ich_hcr_el2";
    read_ich_vtr_el2 = "ich_vtr_el2";
    read_ich_misr_el2 = "ich_misr_el2";
    read_ich_vmcr_el2, write_ich_vmcr_el2 = "ich_vmcr_el2";

    read_sctlr_el1, write_sctlr_el1 = "sctlr_el1";
    read_cpacr_el1, write_cpacr_el1 = "cpacr_el1";
    read_ttbr0_el1, write_ttbr0_el1 = "ttbr0_el1";
    read_ttbr1_el1, write_ttbr1_el1 = "ttbr1_el1";
    read_tcr_el1, write_tcr_el1 = "tcr_el1";
    read_esr_el1, write_esr_el1 = "esr_el1";
    read_far_el1, write_far_el1 = "far_el1";
    read_afsr0_el1, write_afsr0_el1 = "afsr0_el1";
    read_afsr1_el1, write_afsr1_el1 = "afsr1_el1";
    read_mair_el1, write_mair_el1 = "mair_el1";
    read_amair_el1, write_amair_el1 = "amair_el1";
    read_vbar_el1, write_vbar_el1 = "vbar_el1";
    read_contextidr_el1, write_contextidr_el1 = "contextidr_el1";
    read_tpidr_el0, write_tpidr_el0 = "tpidr_el0";
    read_tpidrro_el0, write_tpidrro_el0 = "tpidrro_el0";
    read_tpidr_el1, write_tpidr_el1 = "tpidr_el1";
    read_cntkctl_el1, write_cntkctl_el1 = "cntkctl_el1";
    read_par_el1, write_par_el1 = "par_el1";
    read_csselr_el1, write_csselr_el1 = "csselr_el1";
    read_mdscr_el1, write_mdscr_el1 = "mdscr_el1";
    read_sp_el0, write_sp_el0 = "sp_el0";
    read_sp_el1, write_sp_el1 = "sp_el1";
    read_elr_el1, write_elr_el1 = "elr_el1";
    read_spsr_el1, write_spsr_el1 = "spsr_el1";
    read_fpsr, write_fpsr = "S3_3_C4_C4_1";
    read_fpcr, write_fpcr = "S3_3_C4_C4_0";
    read_cntv_ctl_el0, write_cntv_ctl_el0 = "cntv_ctl_el0";
    read_cntv_cval_el0, write_cntv_cval_el0 = "cntv_cval_el0";
    read_pmcr_el0, write_pmcr_el0 = "pmcr_el0";

    read_apiakeylo_el1, write_apiakeylo_el1 = "S3_0_C2_C1_0";
    read_apiakeyhi_el1, write_apiakeyhi_el1 = "S3_0_C2_C1_1";
    read_apibkeylo_el1, write_apibkeylo_el1 = "S3_0_C2_C1_2";
    read_apibkeyhi_el1, write_apibkeyhi_el1 = "S3_0_C2_C1_3";
    read_apdakeylo_el1, write_apdakeylo_el1 = "S3_0_C2_C2_0";
    read_apdakeyhi_el1, write_apdakeyhi_el1 = "S3_0_C2_C2_1";
    read_apdbkeylo_el1, write_apdbkeylo_el1 = "S3_0_C2_C2_2";
    read_apdbkeyhi_el1, write_apdbkeyhi_el1 = "S3_0_C2_C2_3";
    read_apgakeylo_el1, write_apgakeylo_el1 = "S3_0_C2_C3_0";
    read_apgakeyhi_el1, write_apgakeyhi_el1 = "S3_0_C2_C3_1";
}

/// Declares a read and a write function of registers that have a number. What the list does not have reads
/// as zero and ignores writes.
macro_rules! numbered_registers {
    ($($read:ident, $write:ident = $prefix:literal [$($number:literal)+];)+) => {
        $(
            #[doc = concat!("Reads ", $prefix, "<number>_el2.")]
            pub fn $read(number: usize) -> u64 {
                let value: u64;
                match number {
                    // SAFETY: an MRS of this register has no effect on memory or on other state.
                    $($number => unsafe {
                        asm!(concat!("mrs {}, ", $prefix, $number, "_el2"), out(reg) value, options(nomem, nostack, preserves_flags));
                    })+
                    _ => value = 0,
                }
                value
            }

            #[doc = concat!("Writes ", $prefix, "<number>_el2.")]
            pub fn $write(number: usize, value: u64) {
                match number {
                    // SAFETY: the register holds virtual interrupts of EL1, and governs nothing else.
                    $($number => unsafe {
                        asm!(concat!("msr ", $prefix, $number, "_el2, {}"), in(reg) value, options(nostack, preserves_flags));
                    })+
                    _ => {}
                }
            }
        )+
    };
}

numbered_registers! {
    read_ich_lr, write_ich_lr = "ich_lr" [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15];
    read_ich_ap0r, write_ich_ap0r = "ich_ap0r" [0 1 2 3];
    read_ich_ap1r, write_ich_ap1r = "ich_ap1r" [0 1 2 3];
}

/// Writes SPSR_EL2; whatever the value, an ERET leads to EL1 or EL0.
pub fn write_spsr_el2(value: u64) {
    write_spsr_el2_raw(redoubt_core::inject::lower_pstate(value));
}

/// HCR_EL2.E2H and TGE, which would change EL2's own translation regime.
const HCR_OWN_REGIME: u64 = 1 << 34 | 1 << 27;

/// Writes HCR_EL2 without the bits that change what EL2 itself is.
pub fn write_hcr_el2(value: u64) {
    write_hcr_el2_raw(value & !HCR_OWN_REGIME);
}

//! The EL1 and EL0 state of a world: saved from the CPU, loaded into it.
//!
//! One pair of functions serves host and guests, so neither can leave out a register that the
//! other keeps. What is not here a guest cannot reach: it is trapped or disabled while a guest
//! runs (`redoubt_core::sysreg::traps`). MDSCR_EL1 is loaded for a guest and never saved, because a
//! guest's accesses to it are emulated.

use redoubt_core::vcpu::VcpuContext;

use crate::arch::sysreg::*;
use crate::vm::HARDWARE_IDS;

/// Expands to both directions of a list of registers.
macro_rules! switched_registers {
    ($save:ident, $load:ident: $($field:ident $([$index:literal])?: $read:ident, $write:ident;)+) => {
        fn $save(context: &mut VcpuContext) {
            $(context.$field $([$index])? = $read();)+
        }

        fn $load(context: &VcpuContext) {
            $($write(context.$field $([$index])?);)+
        }
    };
}

// The registers that every CPU has.
switched_registers! { save_plain, load_plain:
    sp_el0: read_sp_el0, write_sp_el0;
    sp_el1: read_sp_el1, write_sp_el1;
    elr_el1: read_elr_el1, write_elr_el1;
    spsr_el1: read_spsr_el1, write_spsr_el1;
    sctlr_el1: read_sctlr_el1, write_sctlr_el1;
    cpacr_el1: read_cpacr_el1, write_cpacr_el1;
    ttbr0_el1: read_ttbr0_el1, write_ttbr0_el1;
    ttbr1_el1: read_ttbr1_el1, write_ttbr1_el1;
    tcr_el1: read_tcr_el1, write_tcr_el1;
    mair_el1: read_mair_el1, write_mair_el1;
    amair_el1: read_amair_el1, write_amair_el1;
    esr_el1: read_esr_el1, write_esr_el1;
    far_el1: read_far_el1, write_far_el1;
    afsr0_el1: read_afsr0_el1, write_afsr0_el1;
    afsr1_el1: read_afsr1_el1, write_afsr1_el1;
    vbar_el1: read_vbar_el1, write_vbar_el1;
    contextidr_el1: read_contextidr_el1, write_contextidr_el1;
    tpidr_el0: read_tpidr_el0, write_tpidr_el0;
    tpidrro_el0: read_tpidrro_el0, write_tpidrro_el0;
    tpidr_el1: read_tpidr_el1, write_tpidr_el1;
    cntkctl_el1: read_cntkctl_el1, write_cntkctl_el1;
    par_el1: read_par_el1, write_par_el1;
    csselr_el1: read_csselr_el1, write_csselr_el1;
    pc: read_elr_el2, write_elr_el2;
    pstate: read_spsr_el2, write_spsr_el2;
}

// The keys of pointer authentication.
switched_registers! { save_keys, load_keys:
    keys[0]: read_apiakeylo_el1, write_apiakeylo_el1;
    keys[1]: read_apiakeyhi_el1, write_apiakeyhi_el1;
    keys[2]: read_apibkeylo_el1, write_apibkeylo_el1;
    keys[3]: read_apibkeyhi_el1, write_apibkeyhi_el1;
    keys[4]: read_apdakeylo_el1, write_apdakeylo_el1;
    keys[5]: read_apdakeyhi_el1, write_apdakeyhi_el1;
    keys[6]: read_apdbkeylo_el1, write_apdbkeylo_el1;
    keys[7]: read_apdbkeyhi_el1, write_apdbkeyhi_el1;
    keys[8]: read_apgakeylo_el1, write_apgakeylo_el1;
    keys[9]: read_apgakeyhi_el1, write_apgakeyhi_el1;
}

/// MDSCR_EL1.MDE: breakpoints and watchpoints are on.
const MDSCR_MDE: u64 = 1 << 15;

/// Loads a guest's registers. The breakpoint and watchpoint registers stay the host's, so they are off
/// whatever the guest's debug control says: they must not fire on what a guest does. Single step works.
pub fn load_guest(context: &VcpuContext) {
    load(context);
    write_mdscr_el1(context.mdscr_el1 & !MDSCR_MDE);
}

/// TCR_EL1.EPD0 and EPD1: no walks with either table.
const TCR_NO_WALKS: u64 = 1 << 7 | 1 << 23;
/// SCTLR_EL1.M: without it there are no walks to switch off, and addresses would go through as they
/// are.
const SCTLR_M: u64 = 1;

/// What [`block_walks`] found: TCR_EL1 and SCTLR_EL1.
#[derive(Clone, Copy, Debug)]
pub struct Walks(u64, u64);

/// Keeps the CPU from walking EL1's tables on speculation while one world's registers are loaded with
/// another world's stage 2 (Cortex-A72 erratum 1319367, Cortex-A76 1165522).
pub fn block_walks() -> Walks {
    let walks = Walks(read_tcr_el1(), read_sctlr_el1());
    write_tcr_el1(walks.0 | TCR_NO_WALKS);
    crate::arch::isb();
    write_sctlr_el1(walks.1 | SCTLR_M);
    crate::arch::isb();
    walks
}

/// Undoes [`block_walks`].
pub fn allow_walks(walks: Walks) {
    write_sctlr_el1(walks.1);
    crate::arch::isb();
    write_tcr_el1(walks.0);
}

/// Saves everything but general-purpose, FP, timer and debug registers.
pub fn save(context: &mut VcpuContext) {
    save_plain(context);
    if HARDWARE_IDS.get().has_pauth() {
        save_keys(context);
    }
}

/// Loads what [`save`] saves.
pub fn load(context: &VcpuContext) {
    load_plain(context);
    if HARDWARE_IDS.get().has_pauth() {
        load_keys(context);
    }
}

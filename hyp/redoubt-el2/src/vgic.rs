//! The virtual CPU interface of the GIC (GICv3, Arm IHI 0069, chapter 8: ICH_*_EL2).
//!
//! Loaded when a vCPU enters, saved and switched off when it leaves: the maintenance interrupt is
//! quiet while the host runs.

use redoubt_core::vcpu::VcpuContext;
use redoubt_core::vgic::ListRegisters;

use crate::arch::{self, sysreg::*};

/// ICC_SRE_EL2: system registers, no bypass; EL1 does not see ICC_SRE_EL1.
const SRE_GUEST: u64 = 0x7;
/// ICC_SRE_EL2: as above, and EL1 sees ICC_SRE_EL1.
pub const SRE_HOST: u64 = 0xf;

/// Expands to an access of each list register by number.
macro_rules! list_registers {
    ($($number:literal: $read:ident, $write:ident;)+) => {
        /// Reads one list register.
        fn read_list_register(number: usize) -> u64 {
            match number {
                $($number => $read(),)+
                _ => 0,
            }
        }

        /// Writes one list register.
        fn write_list_register(number: usize, value: u64) {
            match number {
                $($number => $write(value),)+
                _ => {}
            }
        }
    };
}

list_registers! {
    0: read_ich_lr0_el2, write_ich_lr0_el2;
    1: read_ich_lr1_el2, write_ich_lr1_el2;
    2: read_ich_lr2_el2, write_ich_lr2_el2;
    3: read_ich_lr3_el2, write_ich_lr3_el2;
    4: read_ich_lr4_el2, write_ich_lr4_el2;
    5: read_ich_lr5_el2, write_ich_lr5_el2;
    6: read_ich_lr6_el2, write_ich_lr6_el2;
    7: read_ich_lr7_el2, write_ich_lr7_el2;
    8: read_ich_lr8_el2, write_ich_lr8_el2;
    9: read_ich_lr9_el2, write_ich_lr9_el2;
    10: read_ich_lr10_el2, write_ich_lr10_el2;
    11: read_ich_lr11_el2, write_ich_lr11_el2;
    12: read_ich_lr12_el2, write_ich_lr12_el2;
    13: read_ich_lr13_el2, write_ich_lr13_el2;
    14: read_ich_lr14_el2, write_ich_lr14_el2;
    15: read_ich_lr15_el2, write_ich_lr15_el2;
}

/// Number of preemption bits (ICH_VTR_EL2.PREbits): 5, 6 or 7.
fn preemption_bits() -> u64 {
    ((read_ich_vtr_el2() >> 26) & 7).saturating_add(1)
}

/// Number of list registers the CPU has.
fn implemented() -> usize {
    ((read_ich_vtr_el2() & 0x1f) as usize).saturating_add(1)
}

/// Loads the interface of a vCPU and switches it on. Unused list registers are cleared: another
/// vCPU's interrupts must not appear.
pub fn load(context: &VcpuContext, lists: &ListRegisters) {
    // ICC_SRE_EL1 traps: a guest must not switch off the host's access to its GIC.
    write_icc_sre_el2(SRE_GUEST);
    arch::isb();
    write_ich_vmcr_el2(context.ich_vmcr);
    let bits = preemption_bits();
    let [ap0r0, ap0r1, ap0r2, ap0r3] = context.ich_ap0r;
    let [ap1r0, ap1r1, ap1r2, ap1r3] = context.ich_ap1r;
    write_ich_ap0r0_el2(ap0r0);
    write_ich_ap1r0_el2(ap1r0);
    if bits >= 6 {
        write_ich_ap0r1_el2(ap0r1);
        write_ich_ap1r1_el2(ap1r1);
    }
    if bits >= 7 {
        write_ich_ap0r2_el2(ap0r2);
        write_ich_ap1r2_el2(ap1r2);
        write_ich_ap0r3_el2(ap0r3);
        write_ich_ap1r3_el2(ap1r3);
    }
    let used = lists.values.iter().take(lists.count);
    for (number, value) in used.chain(core::iter::repeat(&0)).take(implemented()).enumerate() {
        write_list_register(number, *value);
    }
    write_ich_hcr_el2(lists.hcr);
    arch::isb();
}

/// Saves the interface and switches it off. Returns ICH_MISR_EL2 as it was.
pub fn save(context: &mut VcpuContext, lists: &mut ListRegisters) -> u64 {
    let misr = read_ich_misr_el2();
    context.ich_vmcr = read_ich_vmcr_el2();
    let bits = preemption_bits();
    context.ich_ap0r = [read_ich_ap0r0_el2(), 0, 0, 0];
    context.ich_ap1r = [read_ich_ap1r0_el2(), 0, 0, 0];
    if bits >= 6 {
        context.ich_ap0r[1] = read_ich_ap0r1_el2();
        context.ich_ap1r[1] = read_ich_ap1r1_el2();
    }
    if bits >= 7 {
        context.ich_ap0r[2] = read_ich_ap0r2_el2();
        context.ich_ap1r[2] = read_ich_ap1r2_el2();
        context.ich_ap0r[3] = read_ich_ap0r3_el2();
        context.ich_ap1r[3] = read_ich_ap1r3_el2();
    }
    for (number, value) in lists.values.iter_mut().take(lists.count).enumerate() {
        *value = read_list_register(number);
    }
    write_ich_hcr_el2(0);
    write_icc_sre_el2(SRE_HOST);
    arch::isb();
    misr
}

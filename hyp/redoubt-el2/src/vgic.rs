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

/// Number of active priorities registers the CPU has of each group: one, two or four, for 5, 6 or 7
/// preemption bits (ICH_VTR_EL2.PREbits, less one).
fn active_priorities() -> usize {
    match (read_ich_vtr_el2() >> 26) & 7 {
        0..=4 => 1,
        5 => 2,
        _ => 4,
    }
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
    let groups = context.ich_ap0r.iter().zip(&context.ich_ap1r);
    for (number, (group0, group1)) in groups.take(active_priorities()).enumerate() {
        write_ich_ap0r(number, *group0);
        write_ich_ap1r(number, *group1);
    }
    let used = lists.values.iter().take(lists.count);
    for (number, value) in used.chain(core::iter::repeat(&0)).take(implemented()).enumerate() {
        write_ich_lr(number, *value);
    }
    write_ich_hcr_el2(lists.hcr);
    arch::isb();
}

/// Saves the interface and switches it off. Returns ICH_MISR_EL2 as it was.
pub fn save(context: &mut VcpuContext, lists: &mut ListRegisters) -> u64 {
    let misr = read_ich_misr_el2();
    context.ich_vmcr = read_ich_vmcr_el2();
    let groups = context.ich_ap0r.iter_mut().zip(&mut context.ich_ap1r);
    for (number, (group0, group1)) in groups.take(active_priorities()).enumerate() {
        *group0 = read_ich_ap0r(number);
        *group1 = read_ich_ap1r(number);
    }
    for (number, value) in lists.values.iter_mut().take(lists.count).enumerate() {
        *value = read_ich_lr(number);
    }
    write_ich_hcr_el2(0);
    write_icc_sre_el2(SRE_HOST);
    arch::isb();
    misr
}

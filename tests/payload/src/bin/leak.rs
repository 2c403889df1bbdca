//! Looks for what leaks into a VM, and carries a mark that must not leak out of it.
//!
//! First reports every register as found at the first instruction: general, FP, system, PAuth keys,
//! and the feature registers. Then fills all of them with [`MARK`] and exits again and again,
//! counting registers that came back changed.
#![cfg_attr(target_os = "none", no_std, no_main)]

use redoubt_payload::payload;

payload!(leak);

#[cfg(target_os = "none")]
mod leak {
    use redoubt_payload::{
        Capture, Exposed, Outcome, cpu_off, device, execute, expose_registers, mrs, msr, report,
    };

    /// Upper half of every register of this guest; the host looks for it in its own.
    const MARK: u64 = 0x6e57_5ec2_0000_0000;

    /// Report keys: first of a block.
    const KEY_GENERAL: u64 = 0x100;
    const KEY_FP_CONTROL: u64 = 0x180;
    const KEY_VECTOR: u64 = 0x200;
    const KEY_SYSTEM: u64 = 0x300;
    const KEY_FEATURE: u64 = 0x400;
    const KEY_CHANGED: u64 = 0x500;
    const KEY_DONE: u64 = 0x501;
    const KEY_SVE_CLASS: u64 = 0x502;
    const KEY_ROUND: u64 = 0x503;

    /// MRS X0 of an encoding op0:op1:CRn:CRm:op2.
    const fn mrs_x0(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
        0xd520_0000 | op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5
    }

    const RET: u32 = 0xd65f_03c0;

    /// System registers that a host keeps values of its own in. Those that the CPU has not answer
    /// with an exception and are passed over.
    const SYSTEM: [u32; 44] = [
        mrs_x0(3, 3, 13, 0, 2), // TPIDR_EL0
        mrs_x0(3, 3, 13, 0, 3), // TPIDRRO_EL0
        mrs_x0(3, 0, 13, 0, 4), // TPIDR_EL1
        mrs_x0(3, 0, 13, 0, 1), // CONTEXTIDR_EL1
        mrs_x0(3, 3, 13, 0, 5), // TPIDR2_EL0
        mrs_x0(3, 0, 4, 1, 0),  // SP_EL0
        mrs_x0(3, 0, 6, 0, 0),  // FAR_EL1
        mrs_x0(3, 0, 5, 2, 0),  // ESR_EL1
        mrs_x0(3, 0, 5, 1, 0),  // AFSR0_EL1
        mrs_x0(3, 0, 5, 1, 1),  // AFSR1_EL1
        mrs_x0(3, 0, 7, 4, 0),  // PAR_EL1
        mrs_x0(3, 0, 2, 0, 1),  // TTBR1_EL1
        mrs_x0(3, 0, 10, 3, 0), // AMAIR_EL1
        mrs_x0(3, 0, 14, 1, 0), // CNTKCTL_EL1
        mrs_x0(3, 2, 0, 0, 0),  // CSSELR_EL1
        mrs_x0(2, 0, 0, 2, 2),  // MDSCR_EL1
        mrs_x0(2, 0, 0, 0, 4),  // DBGBVR0_EL1
        mrs_x0(2, 0, 0, 0, 5),  // DBGBCR0_EL1
        mrs_x0(2, 0, 0, 1, 4),  // DBGBVR1_EL1
        mrs_x0(2, 0, 0, 0, 6),  // DBGWVR0_EL1
        mrs_x0(2, 0, 0, 0, 7),  // DBGWCR0_EL1
        mrs_x0(3, 0, 2, 1, 0),  // APIAKeyLo_EL1
        mrs_x0(3, 0, 2, 1, 1),  // APIAKeyHi_EL1
        mrs_x0(3, 0, 2, 1, 2),  // APIBKeyLo_EL1
        mrs_x0(3, 0, 2, 1, 3),  // APIBKeyHi_EL1
        mrs_x0(3, 0, 2, 2, 0),  // APDAKeyLo_EL1
        mrs_x0(3, 0, 2, 2, 1),  // APDAKeyHi_EL1
        mrs_x0(3, 0, 2, 2, 2),  // APDBKeyLo_EL1
        mrs_x0(3, 0, 2, 2, 3),  // APDBKeyHi_EL1
        mrs_x0(3, 0, 2, 3, 0),  // APGAKeyLo_EL1
        mrs_x0(3, 0, 2, 3, 1),  // APGAKeyHi_EL1
        mrs_x0(3, 3, 14, 3, 2), // CNTV_CVAL_EL0
        mrs_x0(3, 3, 14, 2, 2), // CNTP_CVAL_EL0
        mrs_x0(3, 0, 13, 0, 7), // SCXTNUM_EL1
        mrs_x0(3, 3, 13, 0, 7), // SCXTNUM_EL0
        mrs_x0(3, 0, 1, 0, 5),  // RGSR_EL1
        mrs_x0(3, 0, 1, 0, 6),  // GCR_EL1
        mrs_x0(3, 0, 5, 6, 0),  // TFSR_EL1
        mrs_x0(3, 0, 5, 6, 1),  // TFSRE0_EL1
        mrs_x0(3, 3, 9, 13, 0), // PMCCNTR_EL0
        mrs_x0(3, 3, 9, 14, 0), // PMUSERENR_EL0
        mrs_x0(3, 0, 1, 2, 0),  // ZCR_EL1
        mrs_x0(3, 0, 10, 2, 2), // PIRE0_EL1
        mrs_x0(3, 0, 10, 2, 3), // PIR_EL1
    ];

    /// Feature registers.
    const FEATURES: [u32; 12] = [
        mrs_x0(3, 0, 0, 4, 0), // ID_AA64PFR0_EL1
        mrs_x0(3, 0, 0, 4, 1), // ID_AA64PFR1_EL1
        mrs_x0(3, 0, 0, 4, 4), // ID_AA64ZFR0_EL1
        mrs_x0(3, 0, 0, 4, 5), // ID_AA64SMFR0_EL1
        mrs_x0(3, 0, 0, 5, 0), // ID_AA64DFR0_EL1
        mrs_x0(3, 0, 0, 5, 1), // ID_AA64DFR1_EL1
        mrs_x0(3, 0, 0, 6, 0), // ID_AA64ISAR0_EL1
        mrs_x0(3, 0, 0, 6, 1), // ID_AA64ISAR1_EL1
        mrs_x0(3, 0, 0, 6, 2), // ID_AA64ISAR2_EL1
        mrs_x0(3, 0, 0, 7, 0), // ID_AA64MMFR0_EL1
        mrs_x0(3, 0, 0, 7, 1), // ID_AA64MMFR1_EL1
        mrs_x0(3, 0, 0, 7, 2), // ID_AA64MMFR2_EL1
    ];

    fn report_registers(first_key: u64, instructions: &[u32]) {
        for (key, instruction) in (first_key..).zip(instructions) {
            if let Outcome::Returned(x) = execute(&[*instruction, RET], [0; 18]) {
                report(key, x[0]);
            }
        }
    }

    fn report_found(capture: &Capture) {
        for (key, value) in (KEY_GENERAL..).zip(capture.x) {
            report(key, value);
        }
        report(KEY_FP_CONTROL, capture.fpsr);
        report(KEY_FP_CONTROL + 1, capture.fpcr);
        report(KEY_FP_CONTROL + 2, capture.cpacr);
        for (key, value) in (KEY_VECTOR..).zip(capture.v) {
            report(key, value);
        }
        report_registers(KEY_SYSTEM, &SYSTEM);
        report_registers(KEY_FEATURE, &FEATURES);
        // RDVL X0, #1: with SVE hidden this must be UNDEFINED or trapped, whatever CPACR says.
        let cpacr = mrs!("cpacr_el1");
        msr!("cpacr_el1", cpacr | 3 << 16);
        let sve = execute(&[0x04bf_5020, RET], [0; 18]);
        msr!("cpacr_el1", cpacr);
        report(KEY_SVE_CLASS, sve.class().unwrap_or(u64::MAX));
    }

    /// Puts the mark into every register that can hold it.
    fn mark_system() {
        msr!("tpidr_el0", MARK | 0x1000);
        msr!("tpidrro_el0", MARK | 0x1001);
        msr!("tpidr_el1", MARK | 0x1002);
        msr!("contextidr_el1", MARK >> 32);
        msr!("sp_el0", MARK | 0x1003);
        msr!("far_el1", MARK | 0x1004);
        msr!("dbgbvr0_el1", MARK & 0x0000_ffff_ffff_fffc);
        msr!("S3_3_C4_C4_1", 0x0800_001f);
        msr!("S3_3_C4_C4_0", 0x0340_0000);
        // PAuth keys where there are any: MSR X1 of APIAKeyLo and APGAKeyHi.
        let _ = execute(&[0xd518_2101, 0xd518_2321, RET], {
            let mut x = [0; 18];
            x[1] = MARK | 0x1005;
            x
        });
    }

    pub fn main(capture: &'static Capture) {
        report_found(capture);
        mark_system();
        let mut changed = 0_u64;
        for round in 0..64_u64 {
            let mut registers = Exposed { x: [0; 31], write: round & 1, v: [0; 64] };
            for (index, x) in (0..).zip(registers.x.iter_mut()) {
                *x = MARK | index;
            }
            for (index, v) in (0x100..).zip(registers.v.iter_mut()) {
                *v = MARK | index;
            }
            registers.x[0] = round;
            registers.x[1] = device::NOTHING;
            let given = registers;
            expose_registers(&mut registers);
            // X0 is the answer of a read; X30 is TPIDR_EL0.
            let same = registers.x[2..30] == given.x[2..30]
                && registers.x[30] == MARK | 0x1000
                && registers.x[1] == given.x[1]
                && (given.write == 0 || registers.x[0] == given.x[0])
                && registers.v == given.v;
            let system_same = mrs!("tpidr_el0") == MARK | 0x1000
                && mrs!("tpidrro_el0") == MARK | 0x1001
                && mrs!("tpidr_el1") == MARK | 0x1002
                && mrs!("far_el1") == MARK | 0x1004
                && mrs!("S3_3_C4_C4_1") & 0x0800_001f == 0x0800_001f
                && mrs!("S3_3_C4_C4_0") & 0x0340_0000 == 0x0340_0000;
            changed += u64::from(!same) + u64::from(!system_same);
            // The exposed access put TPIDR_EL0 into SP_EL0.
            msr!("sp_el0", MARK | 0x1003);
            report(KEY_ROUND, round);
        }
        report(KEY_CHANGED, changed);
        report(KEY_DONE, 1);
    }

    pub fn secondary(_: u64) {
        cpu_off();
    }
}

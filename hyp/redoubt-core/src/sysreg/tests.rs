//! Every encoding against a golden table, and the identification registers field by field.

use std::boxed::Box;
use std::vec::Vec;

use super::*;

fn ids() -> IdRegisters {
    IdRegisters::new(&everything(), 40)
}

/// A CPU with every unsigned field at its highest, and no signed field "not implemented".
fn everything() -> HardwareIds {
    HardwareIds {
        pfr0: 0xffff_ffff_ff11_ffff,
        pfr1: !0,
        dfr0: !0,
        isar0: !0,
        isar1: !0,
        isar2: !0,
        mmfr0: 0xffff_ffff_11ff_ffff,
        mmfr1: !0,
        mmfr2: !0,
        mmfr3: !0,
    }
}

fn access(register: SysregId, write: bool, context: &mut VcpuContext) -> GuestAccess {
    guest_access(&SysregAccess { register, rt: 5, write }, context, &ids())
}

fn all() -> impl Iterator<Item = SysregId> {
    (0..=u16::MAX).map(SysregId::from_raw)
}

#[test]
fn encodings_round_trip() {
    for id in all() {
        let (op0, op1, crn, crm, op2) = id.parts();
        assert_eq!(SysregId::new(op0, op1, crn, crm, op2), id);
        let wide = u64::from(op0) << 20 | u64::from(op2) << 17 | u64::from(op1) << 14;
        let iss = wide | u64::from(crn) << 10 | 9 << 5 | u64::from(crm) << 1;
        let write = SysregAccess { register: id, rt: 9, write: true };
        assert_eq!(SysregAccess::from_iss(iss), write);
        assert_eq!(SysregAccess::from_iss(iss | 1), SysregAccess { write: false, ..write });
        // Neither the class nor reserved bits are part of it.
        assert_eq!(SysregAccess::from_iss(iss | 0xffff_ffff_fec0_0000), write);
    }
    assert_eq!(SysregId::new(3, 0, 1, 0, 0).raw(), 0xc080);
}

/// R1: how many encodings are what, so that nobody adds one unnoticed.
#[test]
fn golden_counts() {
    let count = |kind| all().filter(|id| guest_register(*id) == kind).count();
    assert_eq!(count(GuestRegister::Identification), 4 * 8);
    assert_eq!(count(GuestRegister::ReadZero), 3 + 2 + 3 * 8);
    assert_eq!(count(GuestRegister::ZeroIgnored), 4 + 8 + 4 + 2 + 1);
    assert_eq!(count(GuestRegister::WriteIgnored), 3 + 2);
    assert_eq!(count(GuestRegister::DebugControl), 1);
    assert_eq!(count(GuestRegister::OsLock), 1);
    assert_eq!(count(GuestRegister::OsLockStatus), 1);
    assert_eq!(count(GuestRegister::InterruptEnable), 1);
    assert_eq!(count(GuestRegister::SoftwareInterrupt), 1);
    assert_eq!(count(GuestRegister::Undefined), 0x1_0000 - 90);
}

/// R1: what an access may change, for every encoding in both directions.
#[test]
fn every_encoding_in_both_directions() {
    let mut context = Box::new(VcpuContext::default());
    let mut done = (0, 0);
    for id in all() {
        for write in [false, true] {
            context.x = [0x1111_2222_3333_4444; 31];
            (context.mdscr_el1, context.os_lock, context.pc) = (0, 0, 0x1000);
            let result = access(id, write, &mut context);
            assert_eq!(context.pc, 0x1000, "the caller skips");
            let others = context
                .x
                .iter()
                .enumerate()
                .all(|(number, value)| number == 5 || *value == 0x1111_2222_3333_4444);
            assert!(others, "{id:?}");
            let unchanged = context.x[5] == 0x1111_2222_3333_4444;
            match (result, write) {
                (GuestAccess::Done, false) => done.0 += 1,
                (GuestAccess::Done, true) => {
                    done.1 += 1;
                    assert!(unchanged);
                }
                (GuestAccess::Undefined, _) => {
                    assert!(unchanged);
                    assert_eq!((context.mdscr_el1, context.os_lock), (0, 0));
                }
                (GuestAccess::SoftwareInterrupt(value), write) => {
                    assert!(write && id == SysregId::new(3, 0, 12, 11, 5));
                    assert_eq!(value, 0x1111_2222_3333_4444);
                }
            }
        }
    }
    assert_eq!(done, (32 + 29 + 19 + 3, 19 + 5 + 3));
}

#[test]
fn hidden_features_are_undefined() {
    let hidden = [
        (3, 3, 9, 12, 0), // PMCR_EL0
        (3, 3, 9, 13, 0), // PMCCNTR_EL0
        (3, 3, 14, 8, 0), // PMEVCNTR0_EL0
        (3, 0, 9, 9, 0),  // PMSCR_EL1
        (3, 0, 9, 10, 0), // PMBLIMITR_EL1
        (3, 0, 9, 11, 0), // TRBLIMITR_EL1
        (3, 0, 1, 2, 0),  // ZCR_EL1
        (3, 0, 1, 2, 6),  // SMCR_EL1
        (3, 0, 2, 0, 3),  // TCR2_EL1
        (3, 0, 10, 2, 3), // PIR_EL1
        (3, 0, 10, 4, 3), // LORC_EL1
        (3, 0, 5, 3, 0),  // ERRIDR_EL1
        (3, 0, 1, 0, 5),  // RGSR_EL1
        (3, 1, 0, 0, 4),  // GMID_EL1
        (3, 3, 13, 0, 5), // TPIDR2_EL0
        (3, 3, 13, 0, 7), // SCXTNUM_EL0
        (3, 3, 14, 2, 1), // CNTP_CTL_EL0
        (2, 1, 0, 1, 0),  // TRCPRGCTLR
        (3, 4, 1, 1, 0),  // HCR_EL2
        (3, 6, 1, 1, 0),  // SCR_EL3
        (3, 0, 11, 0, 0), // implementation defined
        (1, 0, 7, 6, 4),  // DC IGSW, of MTE
    ];
    for (op0, op1, crn, crm, op2) in hidden {
        let id = SysregId::new(op0, op1, crn, crm, op2);
        assert_eq!(guest_register(id), GuestRegister::Undefined, "{:?}", id.parts());
    }
}

#[test]
fn debug_state_lives_in_the_context() {
    let mut context = Box::new(VcpuContext::default());
    let mdscr = SysregId::new(2, 0, 0, 2, 2);
    let (oslar, oslsr) = (SysregId::new(2, 0, 1, 0, 4), SysregId::new(2, 0, 1, 1, 4));
    context.x[5] = !0;
    assert_eq!(access(mdscr, true, &mut context), GuestAccess::Done);
    assert_eq!(access(mdscr, false, &mut context), GuestAccess::Done);
    assert_eq!(context.x[5], 0xb001);
    assert_eq!(access(oslsr, false, &mut context), GuestAccess::Done);
    assert_eq!(context.x[5], 0b1000, "implemented, unlocked");
    context.x[5] = 1;
    assert_eq!(access(oslar, true, &mut context), GuestAccess::Done);
    assert_eq!(access(oslsr, false, &mut context), GuestAccess::Done);
    assert_eq!(context.x[5], 0b1010, "locked");
    assert_eq!(access(oslsr, true, &mut context), GuestAccess::Undefined);
    assert_eq!(access(oslar, false, &mut context), GuestAccess::Undefined);
}

#[test]
fn gic_registers() {
    let mut context = Box::new(VcpuContext::default());
    let sre = SysregId::new(3, 0, 12, 12, 5);
    context.x[5] = 0;
    assert_eq!(access(sre, true, &mut context), GuestAccess::Done);
    assert_eq!(access(sre, false, &mut context), GuestAccess::Done);
    assert_eq!(context.x[5], 7);
    let sgi1 = SysregId::new(3, 0, 12, 11, 5);
    assert_eq!(access(sgi1, true, &mut context), GuestAccess::SoftwareInterrupt(7));
    assert_eq!(access(sgi1, false, &mut context), GuestAccess::Undefined);
    for op2 in [6, 7] {
        let sgi0 = SysregId::new(3, 0, 12, 11, op2);
        assert_eq!(access(sgi0, true, &mut context), GuestAccess::Done);
        assert_eq!(access(sgi0, false, &mut context), GuestAccess::Undefined);
    }
}

/// R2: each register of a CPU that has everything, worked out by hand from the policy.
#[test]
fn identification_registers_of_a_cpu_with_everything() {
    let value = |crm, op2| ids().get(SysregId::new(3, 0, 0, crm, op2)).expect("ID register");
    assert_eq!(value(4, 0), 0xf1_0f_00_00_01_11_00_11);
    assert_eq!(value(4, 1), 0x0000_0001_0000_00ff);
    assert_eq!(value(5, 0), 0x0000_00f0_0010_1006);
    assert_eq!(value(6, 0), 0xffff_ffff_f0ff_fff0);
    assert_eq!(value(6, 1), 0x00ff_ffff_ffff_ffff);
    assert_eq!(value(6, 2), 0x00ff_0000_fff0_ff00);
    assert_eq!(value(7, 0), 0x0000_0000_011f_0ff2);
    assert_eq!(value(7, 1), 0xf000_00f0_0ff0_f0f2);
    assert_eq!(value(7, 2), 0xf0ff_00ff_00ff_00ff);
    let listed = [(4, 0), (4, 1), (5, 0), (6, 0), (6, 1), (6, 2), (7, 0), (7, 1), (7, 2)];
    for crm in 1..=7 {
        for op2 in 0..8 {
            if !listed.contains(&(crm, op2)) {
                assert_eq!(value(crm, op2), 0, "CRm {crm} op2 {op2}");
            }
        }
    }
}

/// A CPU with nothing: only what is fixed is shown.
#[test]
fn identification_registers_of_a_cpu_with_nothing() {
    let ids = IdRegisters::new(&HardwareIds::default(), 48);
    let shown: Vec<u64> = all().filter_map(|id| ids.get(id)).filter(|value| *value != 0).collect();
    assert_eq!(shown, [0x0100_0011, 0x0000_00f0_0010_1006]);
    assert!(!ids.has_csv2());
}

#[test]
fn signed_fields_keep_their_sense() {
    // No floating point, and no 4 KiB granule: 0xf is less than 0.
    let hardware = HardwareIds { pfr0: 0x00ff_0000, mmfr0: 0xf << 28, ..HardwareIds::default() };
    let ids = IdRegisters::new(&hardware, 40);
    assert_eq!(ids.get(SysregId::new(3, 0, 0, 4, 0)), Some(0x01ff_0011));
    assert_eq!(ids.get(SysregId::new(3, 0, 0, 7, 0)), Some(0xf000_0000));
}

#[test]
fn the_address_size_is_the_vms() {
    let value = |ipa_bits, crm, op2| {
        let ids = IdRegisters::new(&everything(), ipa_bits);
        ids.get(SysregId::new(3, 0, 0, crm, op2)).expect("ID register")
    };
    assert_eq!(value(40, 6, 2) & 0xf_0000, 0, "no MOPS");
    for (bits, range) in
        [(32, 0), (33, 1), (36, 1), (37, 2), (40, 2), (41, 3), (43, 4), (44, 4), (45, 5), (52, 5)]
    {
        assert_eq!(value(bits, 7, 0) & 0xf, range, "{bits}");
    }
    // Not more than the hardware has.
    let small = HardwareIds { mmfr0: 1, ..HardwareIds::default() };
    let ids = IdRegisters::new(&small, 48);
    assert_eq!(ids.get(SysregId::new(3, 0, 0, 7, 0)), Some(1));
}

/// The host traps on what EL2 keeps; everything else is undefined.
#[test]
fn golden_table_of_the_host() {
    let mut allowed = Vec::new();
    for id in all() {
        for write in [false, true] {
            if let Some(answer) = host_access(&SysregAccess { register: id, rt: 3, write }) {
                assert_eq!(answer.rt, 3);
                assert_eq!(answer.value.is_none(), write);
                allowed.push((id.parts(), answer.value));
            }
        }
    }
    let expected = [
        ((3, 0, 9, 10, 7), Some(0x10)),
        ((3, 0, 9, 11, 7), Some(0x10)),
        ((3, 0, 12, 12, 5), Some(7)),
        ((3, 0, 12, 12, 5), None),
    ];
    assert_eq!(allowed, expected);
}

/// X6: whatever the hardware has, a guest has no way to a buffer, counter or record.
#[test]
fn guests_are_trapped_from_all_that_is_hidden() {
    let all = traps::guest(&everything());
    for bit in [0, 3, 4, 5, 13, 14, 18, 19, 20, 21, 22, 31, 35, 36, 37, 40, 41, 58] {
        assert_ne!(all.hcr & 1 << bit, 0, "HCR_EL2 bit {bit}");
    }
    // NV, NV1, E2H, TGE, ATA, EnSCXT, FWB, AMVOFFEN, TTLB.
    for bit in [25, 27, 34, 42, 43, 45, 46, 51, 53, 56] {
        assert_eq!(all.hcr & 1 << bit, 0, "HCR_EL2 bit {bit}");
    }
    for bit in [9, 10, 11, 14, 19, 27] {
        assert_ne!(all.mdcr & 1 << bit, 0, "MDCR_EL2 bit {bit}");
    }
    // TDE, E2PB, E2TB.
    assert_eq!(all.mdcr & (1 << 8 | 3 << 12 | 3 << 24), 0);
    assert_eq!(
        all.cptr & (1 << 30 | 1 << 20 | 1 << 12 | 1 << 8),
        1 << 30 | 1 << 20 | 1 << 12 | 1 << 8
    );
    assert_eq!(all.cptr & (1 << 10 | 1 << 31), 0, "FP and CPACR_EL1 are the guest's");
    assert_eq!(all.hcrx, Some(0));
    assert_eq!(all.cnthctl, 1);
    // The negative-polarity traps are all on, and what is hidden behind the others traps.
    let traps::FineTraps { hfgrtr, hfgwtr, hfgitr } = all.fine.expect("FEAT_FGT");
    assert_eq!((hfgrtr >> 50, hfgwtr >> 50, hfgitr), (0, 0, 0));
    assert_eq!(hfgrtr, 0x3ff << 40 | 3 << 30 | 0x1f << 19);
    assert_eq!(hfgwtr, hfgrtr & !(1 << 46 | 1 << 42 | 1 << 40 | 1 << 21));
    assert_eq!(all.mpam2, Some(3 << 48));

    let none = traps::guest(&HardwareIds::default());
    assert_eq!((none.fine, none.hcrx, none.mpam2), (None, None, None));
    assert_eq!(none.mdcr, 7 << 9);
    assert_eq!(none.cptr, 0x33ff);
    // With a PMU: its registers trap.
    let pmu = HardwareIds { dfr0: 1 << 8, ..HardwareIds::default() };
    let pmu = traps::guest(&pmu);
    assert_eq!(pmu.mdcr, 7 << 9 | 3 << 5);
}

/// The host keeps what is its own; SMC, profiling and trace buffers are EL2's.
#[test]
fn the_host_is_trapped_from_little() {
    let all = traps::host(&everything());
    assert_eq!(all.hcr, 1 << 56 | 1 << 53 | 3 << 40 | 1 << 31 | 1 << 19 | 3);
    assert_eq!(all.hcrx, Some(3 << 22 | 3 << 14 | 1 << 11));
    assert_eq!((all.cptr, all.cnthctl, all.mpam2), (0x22ff, 3, Some(0)));
    let traps::FineTraps { hfgrtr, hfgwtr, hfgitr } = all.fine.expect("FEAT_FGT");
    assert_eq!((hfgrtr, hfgwtr, hfgitr), (!0 << 50, !0 << 50, 7 << 57));
    // PMUVer 0xf is a PMU that is not Arm's.
    assert_eq!(all.mdcr, 0);
    let pmu = traps::host(&HardwareIds { dfr0: 1 << 8, ..HardwareIds::default() });
    assert_eq!(pmu.mdcr, 1 << 23 | 1 << 17);
    assert_eq!((pmu.fine, pmu.hcrx, pmu.mpam2), (None, None, None));
}

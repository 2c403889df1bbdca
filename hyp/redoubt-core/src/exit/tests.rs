//! Every exception class with sampled syndromes, and each decision.

use std::boxed::Box;

use proptest::prelude::*;
use redoubt_abi::Status;
use redoubt_abi::run::{ENTRY_ABORT, ENTRY_MMIO_DONE, ExitReason};

use super::*;
use crate::sysreg::SysregId;
use crate::vcpu::EntryRequest;

const RAM: u64 = 0x8000_0000;
const DEVICE: u64 = 0x0900_0000;
const VBAR: u64 = 0x8001_0000;
const PC: u64 = 0x8000_4000;
const SECRET: u64 = 0x5ec2_e75e_c2e7_5ec2;
const IDS: IdRegisters = IdRegisters::ZERO;
const TRAPS: [Trap; 4] = [Trap::Synchronous, Trap::Irq, Trap::Fiq, Trap::SError];

fn memory() -> MemoryRanges {
    let mut memory = MemoryRanges::EMPTY;
    memory.add(RAM, 0x100, 40).expect("valid");
    memory
}

fn context() -> Box<VcpuContext> {
    let mut context = Box::new(VcpuContext::default());
    context.reset(PC, 0);
    context.vbar_el1 = VBAR;
    context.x = [SECRET; 31];
    context
}

fn run(esr: u64, ipa: Option<u64>, protected: bool) -> (GuestDecision, Box<VcpuContext>) {
    let mut context = context();
    let decision = run_on(&mut context, esr, ipa, protected);
    (decision, context)
}

fn run_on(context: &mut VcpuContext, esr: u64, ipa: Option<u64>, protected: bool) -> GuestDecision {
    let syndrome = Syndrome { esr, far: 0xffff_0000_0000_0468, hpfar: 0 };
    let exit = decode_guest(Trap::Synchronous, &syndrome);
    let view = GuestView { memory: &memory(), ids: &IDS, protected, ipa };
    decide_guest(&exit, &syndrome, context, &view)
}

fn esr(class: u64, iss: u64) -> u64 {
    class << 26 | 1 << 25 | iss
}

fn report(reason: ExitReason, args: [u64; 4]) -> GuestDecision {
    GuestDecision::Report(ExitReport::with(reason, args))
}

fn took_undefined(context: &VcpuContext) -> bool {
    context.pc == VBAR + 0x200 && context.esr_el1 == 0x0200_0000 && context.elr_el1 == PC
}

/// R7: total over classes and vectors; a protected guest's registers do not get out but for a
/// device write and a software interrupt.
#[test]
fn every_class_is_decided() {
    let samples = (0..25).map(|bit| 1u64 << bit).chain([0, 0x1ff_ffff, 0x92_0007, 0x155_5555]);
    for iss in samples {
        for class in 0..64 {
            for trap in TRAPS {
                for ipa in [None, Some(RAM + 8), Some(DEVICE)] {
                    for pstate in [0x3c5, 0x0, 0x1d0] {
                        check(trap, esr(class, iss), ipa, pstate);
                    }
                }
            }
        }
    }
}

fn check(trap: Trap, esr: u64, ipa: Option<u64>, pstate: u64) {
    let mut context = context();
    context.pstate = pstate;
    let syndrome = Syndrome { esr, far: 0x10, hpfar: 0x20 };
    let exit = decode_guest(trap, &syndrome);
    let view = GuestView { memory: &memory(), ids: &IDS, protected: true, ipa };
    let decision = decide_guest(&exit, &syndrome, &mut context, &view);
    if let GuestDecision::Report(report) = decision {
        let disclosed = report.args.iter().any(|value| {
            [0xff, 0xffff, 0xffff_ffff, !0].iter().any(|mask| *value == SECRET & mask)
        });
        let may = matches!(report.reason, ExitReason::MmioWrite | ExitReason::SoftwareInterrupt);
        assert!(!disclosed || may, "{exit:?} {report:?}");
        if report.reason == ExitReason::MemoryFault && ipa == Some(RAM + 8) {
            assert_eq!(report.args[0], RAM, "the page only");
        }
    }
    // The host is total as well, and never reported to anyone.
    let _ = decide_host(&syndrome);
}

proptest! {
    #[test]
    fn any_syndrome_is_decided(esr: u64, ipa: Option<u64>, pstate: u64, trap in 0usize..4) {
        check(TRAPS[trap], esr & !(1 << 24), ipa.map(|ipa| ipa | 1 << 40), pstate);
        check(TRAPS[trap], esr, ipa, pstate);
        let _ = address_source(esr);
    }
}

#[test]
fn classes_of_a_guest() {
    let decode = |class| {
        decode_guest(Trap::Synchronous, &Syndrome { esr: esr(class, 0), ..Syndrome::default() })
    };
    let undefined =
        [0, 3, 4, 5, 6, 7, 8, 9, 0xa, 0xc, 0x12, 0x13, 0x14, 0x19, 0x1a, 0x1b, 0x1d, 0x27, 0x2d];
    let known = [1, 0x16, 0x17, 0x18, 0x20, 0x24];
    for class in 0..64 {
        let exit = decode(class);
        assert_eq!(exit == GuestExit::Undefined, undefined.contains(&class), "{class:#x}");
        let unexpected = !undefined.contains(&class) && !known.contains(&class);
        assert_eq!(exit == GuestExit::Unexpected, unexpected, "{class:#x}");
    }
    for (trap, exit) in [
        (Trap::Irq, GuestExit::Interrupt),
        (Trap::Fiq, GuestExit::Interrupt),
        (Trap::SError, GuestExit::SystemError),
    ] {
        let syndrome = Syndrome { esr: esr(0x24, 0x7), ..Syndrome::default() };
        assert_eq!(decode_guest(trap, &syndrome), exit);
    }
}

#[test]
fn waits() {
    for (ti, reason) in [
        (0, ExitReason::WaitForInterrupt),
        (1, ExitReason::WaitForEvent),
        (2, ExitReason::WaitForEvent),
        (3, ExitReason::WaitForEvent),
    ] {
        let (decision, context) = run(esr(1, ti), None, true);
        assert_eq!(decision, report(reason, [0; 4]));
        assert_eq!(context.pc, PC + 4);
    }
}

#[test]
fn calls() {
    let (decision, context) = run(esr(0x16, 0), None, true);
    assert_eq!((decision, context.pc), (GuestDecision::Call(Conduit::Hvc), PC));
    let (decision, context) = run(esr(0x17, 0), None, true);
    assert_eq!((decision, context.pc), (GuestDecision::Call(Conduit::Smc), PC + 4));
    for (class, pc) in [(0x16, PC), (0x17, PC + 4)] {
        let (decision, context) = run(esr(class, 1), None, true);
        assert_eq!((decision, context.pc), (GuestDecision::Resume, pc));
        assert_eq!(context.x[..5], [!0, 0, 0, 0, SECRET]);
    }
}

#[test]
fn system_registers() {
    // MRS X3, ICC_SRE_EL1: op0 3, op2 5, op1 0, CRn 12, CRm 12.
    let sre = 3 << 20 | 5 << 17 | 12 << 10 | 3 << 5 | 12 << 1 | 1;
    let (decision, context) = run(esr(0x18, sre), None, true);
    assert_eq!((decision, context.pc, context.x[3]), (GuestDecision::Resume, PC + 4, 7));
    // MSR ICC_SGI1R_EL1, X3.
    let sgi = 3 << 20 | 5 << 17 | 12 << 10 | 3 << 5 | 11 << 1;
    let (decision, context) = run(esr(0x18, sgi), None, true);
    assert_eq!(decision, report(ExitReason::SoftwareInterrupt, [SECRET, 0, 0, 0]));
    assert_eq!(context.pc, PC + 4);
    // MRS X3, PMCR_EL0.
    let pmcr = 3 << 20 | 3 << 14 | 9 << 10 | 3 << 5 | 12 << 1 | 1;
    let (decision, context) = run(esr(0x18, pmcr), None, true);
    assert_eq!(decision, GuestDecision::Resume);
    assert!(took_undefined(&context));
    let exit =
        decode_guest(Trap::Synchronous, &Syndrome { esr: esr(0x18, pmcr), ..Syndrome::default() });
    let GuestExit::System(access) = exit else { panic!("{exit:?}") };
    assert_eq!(access.register, SysregId::new(3, 3, 9, 12, 0));
}

/// Data abort of a described access: SAS, SSE, SRT, SF, WnR and a translation fault of level 3.
fn described(size: u64, signed: u64, register: u64, wide: u64, write: u64) -> u64 {
    let access = 1 << 24 | size << 22 | signed << 21 | register << 16 | wide << 15;
    esr(0x24, access | write << 6 | 0x07)
}

#[test]
fn devices_are_written_with_one_value() {
    for (size, mask) in [(0, 0xff), (1, 0xffff), (2, 0xffff_ffff), (3, !0)] {
        let (decision, mut context) = run(described(size, 0, 4, 1, 1), Some(DEVICE + 0x18), true);
        let args = [DEVICE + 0x18, 1 << size, SECRET & mask, 0];
        assert_eq!(decision, report(ExitReason::MmioWrite, args));
        assert_eq!(context.pc, PC);
        context
            .complete_entry(&EntryRequest { flags: ENTRY_MMIO_DONE, mmio_data: 1 })
            .expect("asked for");
        assert_eq!((context.pc, context.x[4]), (PC + 4, SECRET));
    }
    let (decision, _) = run(described(2, 0, 31, 0, 1), Some(DEVICE), true);
    assert_eq!(decision, report(ExitReason::MmioWrite, [DEVICE, 4, 0, 0]), "XZR");
}

#[test]
fn devices_are_read_without_disclosing_the_register() {
    let (decision, mut context) = run(described(1, 1, 4, 0, 0), Some(DEVICE), true);
    assert_eq!(decision, report(ExitReason::MmioRead, [DEVICE, 2, 0, 0]));
    context
        .complete_entry(&EntryRequest { flags: ENTRY_MMIO_DONE, mmio_data: 0x8000 })
        .expect("asked for");
    assert_eq!((context.pc, context.x[4]), (PC + 4, 0xffff_8000));
}

#[test]
fn memory_is_never_a_device() {
    for protected in [true, false] {
        for write in [0, 1] {
            for status in [0x07, 0x0f] {
                let fault = described(3, 0, 4, 1, write) & !0x3f | status;
                let (decision, mut context) = run(fault, Some(RAM + 0x468), protected);
                assert_eq!(decision, report(ExitReason::MemoryFault, [RAM, write, 0, 1]));
                assert_eq!(context.pc, PC);
                let done = EntryRequest { flags: ENTRY_MMIO_DONE, mmio_data: 1 };
                assert_eq!(context.complete_entry(&done), Err(Status::InvalidArgument));
                context
                    .complete_entry(&EntryRequest { flags: ENTRY_ABORT, mmio_data: 0 })
                    .expect("may abort");
                assert_eq!(context.esr_el1, 0x9600_0010 | write << 6);
                assert_eq!(context.far_el1, 0xffff_0000_0000_0468);
            }
        }
    }
}

#[test]
fn fetches() {
    let (decision, _) = run(esr(0x20, 0x07), Some(RAM + 4), true);
    assert_eq!(decision, report(ExitReason::MemoryFault, [RAM, 0, 1, 1]));
    let (decision, mut context) = run(esr(0x20, 0x07), Some(DEVICE + 4), true);
    assert_eq!(decision, report(ExitReason::MemoryFault, [DEVICE + 4, 0, 1, 0]));
    context.complete_entry(&EntryRequest { flags: ENTRY_ABORT, mmio_data: 0 }).expect("may abort");
    assert_eq!(context.esr_el1, 0x8600_0010);
}

#[test]
fn accesses_that_no_syndrome_describes() {
    let (decision, _) = run(esr(0x24, 1 << 6 | 0x07), Some(DEVICE), true);
    assert_eq!(decision, report(ExitReason::MemoryFault, [DEVICE, 1, 0, 0]));
}

#[test]
fn cache_maintenance() {
    // CM and WnR set, as the hardware does.
    let (decision, context) = run(esr(0x24, 1 << 8 | 1 << 6 | 0x07), Some(DEVICE), true);
    assert_eq!((decision, context.pc), (GuestDecision::Resume, PC + 4));
    let (decision, _) = run(esr(0x24, 1 << 8 | 1 << 6 | 0x07), Some(RAM), true);
    assert_eq!(decision, report(ExitReason::MemoryFault, [RAM, 0, 0, 1]));
}

#[test]
fn table_walks() {
    // S1PTW. A translation fault is a read, whatever WnR says; a permission fault is an update.
    let walk = 1 << 7;
    let (decision, _) = run(esr(0x24, walk | 1 << 6 | 0x07), Some(RAM), true);
    assert_eq!(decision, report(ExitReason::MemoryFault, [RAM, 0, 0, 1]));
    let (decision, _) = run(esr(0x24, walk | 0x0f), Some(RAM), true);
    assert_eq!(decision, report(ExitReason::MemoryFault, [RAM, 1, 0, 1]));
    let (decision, context) = run(esr(0x24, walk | 1 << 24 | 0x07), Some(DEVICE), true);
    assert_eq!(decision, GuestDecision::Resume);
    assert_eq!((context.pc, context.esr_el1), (VBAR + 0x200, 0x9600_0010));
    let (_, context) = run(esr(0x20, walk | 0x07), Some(DEVICE), true);
    assert_eq!(context.esr_el1, 0x8600_0010);
}

#[test]
fn other_aborts() {
    // External, on a walk, parity, address size: the guest takes it; FnV is handed on.
    for status in [0x10, 0x14, 0x17, 0x18, 0x1f, 0x00, 0x03] {
        let (decision, context) = run(esr(0x24, status), None, true);
        assert_eq!(decision, GuestDecision::Resume);
        assert_eq!((context.pc, context.esr_el1), (VBAR + 0x200, 0x9600_0010), "{status:#x}");
    }
    let (_, context) = run(esr(0x24, 1 << 10 | 0x10), None, true);
    assert_eq!((context.esr_el1, context.far_el1), (0x9600_0410, 0));
    for status in [0x31, 0x35, 0x21] {
        let (_, context) = run(esr(0x24, status), None, true);
        assert_eq!(context.esr_el1, 0x9600_0000 | status);
    }
    // What EL2 cannot have caused. Of a protected guest, the class and the status alone.
    for status in [0x08, 0x30, 0x3f, 0x11, 0x22] {
        let (decision, context) = run(esr(0x24, 1 << 24 | 0x7f << 15 | status), None, true);
        assert_eq!(decision, report(ExitReason::InternalError, [0x9200_0000 | status, 0, 0, 0]));
        assert_eq!(context.pc, PC);
    }
    let (decision, _) = run(esr(0x3c, 0xbeef), None, true);
    assert_eq!(decision, report(ExitReason::InternalError, [0xf200_0000, 0, 0, 0]));
    let (decision, _) = run(esr(0x3c, 0xbeef) | 0xff << 32, None, false);
    assert_eq!(decision, report(ExitReason::InternalError, [0xf200_beef, 0, 0, 0]));
}

#[test]
fn a_fault_that_is_gone_is_tried_again() {
    let (decision, context) = run(described(3, 0, 4, 1, 1) & !0x3f | 0x0f, None, true);
    assert_eq!((decision, context.pc), (GuestDecision::Resume, PC));
    assert_eq!(context.pending, PendingExit::default());
}

#[test]
fn aarch32_user_mode_is_not_offered() {
    for class in [0x01, 0x03, 0x05, 0x18] {
        let mut context = context();
        context.pstate = 0x30;
        let decision = run_on(&mut context, esr(class, 0), None, true);
        assert_eq!(decision, GuestDecision::Resume);
        assert_eq!((context.pc, context.esr_el1), (VBAR + 0x600, 0x0200_0000));
    }
    // A device access: an abort. Memory: as ever.
    let mut context = context();
    context.pstate = 0x30;
    let decision = run_on(&mut context, described(2, 0, 1, 0, 0), Some(DEVICE), true);
    assert_eq!((decision, context.esr_el1), (GuestDecision::Resume, 0x9200_0010));
    context.pstate = 0x30;
    let decision = run_on(&mut context, described(2, 0, 1, 0, 0), Some(RAM), true);
    assert_eq!(decision, report(ExitReason::MemoryFault, [RAM, 0, 0, 1]));
}

#[test]
fn where_the_address_comes_from() {
    use AddressSource as A;
    for (esr, source) in [
        (esr(0x24, 0x07), A::Hpfar),
        (esr(0x24, 0x0f), A::TranslateFar),
        (esr(0x24, 1 << 10 | 0x0f), A::None),
        (esr(0x24, 1 << 7 | 0x0f), A::Hpfar),
        (esr(0x20, 0x0f), A::TranslateFar),
        (esr(0x20, 0x04), A::Hpfar),
        (esr(0x24, 0x10), A::None),
        (esr(0x24, 0x35), A::None),
        (esr(0x18, 0x07), A::None),
        (esr(0x25, 0x07), A::None),
    ] {
        assert_eq!(address_source(esr), source, "{esr:#x}");
    }
    let syndrome = Syndrome { esr: esr(0x24, 7), far: 0x1234_5678, hpfar: 0x0000_0080_0010_0ab0 };
    assert_eq!(ipa_from_hpfar(&syndrome), 0x8000_100a_b678);
    let walk = Syndrome { esr: esr(0x24, 1 << 7 | 7), ..syndrome };
    assert_eq!(ipa_from_hpfar(&walk) & 0xfff, 0);
    // The top bits (NS and RES0) are no part of the address.
    let high = Syndrome { hpfar: !0, far: 0, ..syndrome };
    assert_eq!(ipa_from_hpfar(&high), 0x000f_ffff_ffff_f000);
    assert_eq!(ipa_from_par(1, 0x1234), None);
    assert_eq!(ipa_from_par(0xff00_0000_8000_5b80, 0x1_0234), Some(0x8000_5234));
}

#[test]
fn decisions_about_the_host() {
    let decide = |esr| {
        let syndrome = Syndrome { esr, far: 0xf00, hpfar: 0 };
        decide_host(&syndrome)
    };
    let undefined = HostDecision::Inject(El1Exception::Undefined);
    assert_eq!(decide(esr(0x16, 0)), HostDecision::Hypercall);
    assert_eq!(decide(esr(0x16, 1)), HostDecision::BadHypercall);
    assert_eq!(decide(esr(0x17, 0)), HostDecision::Firmware);
    let refused = HostAccess { rt: 0, value: Some(!0) };
    assert_eq!(decide(esr(0x17, 7)), HostDecision::Emulate(refused));
    let handled = [0x01, 0x16, 0x17, 0x18, 0x20, 0x24];
    for class in (0..64).filter(|class| !handled.contains(class)) {
        assert_eq!(decide(esr(class, 0)), undefined, "{class:#x}");
    }
    assert_eq!(decide(esr(0x18, 0)), undefined);
    let HostDecision::Resolve(abort) = decide(esr(0x24, 1 << 6 | 0x07)) else { panic!() };
    assert!(abort.write && !abort.fetch);
    assert_eq!(abort.refusal(0xf00), El1Exception::refused_data(0xf00, true, true));
    let refused = HostDecision::Inject(El1Exception::refused_fetch(0xf00));
    assert_eq!(decide(esr(0x20, 0x0f)), refused, "no address is looked up for a permission fault");
    let HostDecision::Resolve(abort) = decide(esr(0x20, 1 << 7 | 0x0f)) else { panic!() };
    assert!(abort.fetch, "a walk's address is in HPFAR_EL2");
    assert_eq!(abort.refusal(0xf00), El1Exception::refused_fetch(0xf00));
    assert_eq!(decide(esr(0x24, 0x30)), HostDecision::FlushTlb);
    let alignment = HostDecision::Inject(El1Exception::refused_data(0xf00, false, true));
    assert_eq!(decide(esr(0x24, 0x00)), alignment);
}

#[test]
fn an_access_of_the_host_can_be_carried_out_when_the_syndrome_describes_it() {
    let access = |class: u64, iss: u64| {
        let syndrome = Syndrome { esr: (class << 26) | iss, ..Syndrome::default() };
        match decide_host(&syndrome) {
            HostDecision::Resolve(abort) => abort.access,
            other => panic!("{other:?}"),
        }
    };
    let valid = 1 << 24;
    let access_of = |bytes, signed, wide, register| Some(Access { bytes, signed, wide, register });
    for (iss, expected) in [
        (valid | 2 << 22 | 19 << 16 | 7, access_of(4, false, false, 19)),
        (valid | 3 << 22 | 31 << 16 | 1 << 15 | 1 << 6 | 7, access_of(8, false, true, 31)),
        (valid | 1 << 21 | 3 << 16 | 1 << 15 | 7, access_of(1, true, true, 3)),
        (valid | 1 << 22 | 1 << 21 | 7, access_of(2, true, false, 0)),
        // Not described; by cache maintenance; on a table walk.
        (2 << 22 | 19 << 16 | 7, None),
        (valid | 1 << 8 | 7, None),
        (valid | 1 << 7 | 7, None),
    ] {
        assert_eq!(access(0x24, iss), expected, "{iss:#x}");
    }
    // A fetch.
    assert_eq!(access(0x20, valid | 7), None);
}

#[test]
fn registers_take_and_give_what_the_instruction_says() {
    let (data, access) = (0xfedc_ba98_8765_43f1u64, |bytes, signed, wide| Access {
        bytes,
        signed,
        wide,
        register: 0,
    });
    for (bytes, stored) in [(1, 0xf1), (2, 0x43f1), (4, 0x8765_43f1), (8, data)] {
        assert_eq!(access(bytes, false, true).stored(data), stored);
        assert_eq!(access(bytes, false, true).loaded(data), stored);
    }
    assert_eq!(access(1, true, false).loaded(data), 0xffff_fff1);
    assert_eq!(access(1, true, true).loaded(data), 0xffff_ffff_ffff_fff1);
    assert_eq!(access(2, true, true).loaded(data), 0x43f1);
    assert_eq!(access(4, true, true).loaded(data), 0xffff_ffff_8765_43f1);
    assert_eq!(access(8, true, true).loaded(data), data);
}

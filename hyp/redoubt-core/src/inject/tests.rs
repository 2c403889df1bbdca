//! Exception entry, against values worked out by hand from the architecture.

use super::*;
use crate::vcpu::VcpuContext;

const VBAR: u64 = 0xffff_8000_0801_0800;
const SPAN: u64 = 1 << 23;

fn source(pstate: u64, sctlr_el1: u64) -> ExceptionSource {
    ExceptionSource { pc: 0xffff_8000_0800_1234, pstate, vbar_el1: VBAR, sctlr_el1 }
}

fn undefined(pstate: u64, sctlr: u64) -> ExceptionEntry {
    enter_el1(&source(pstate, sctlr), &El1Exception::Undefined, EntryFeatures::default())
}

#[test]
fn the_vector_follows_from_the_source_mode() {
    for (mode, offset) in [(0x5, 0x200), (0x4, 0x000), (0x0, 0x400), (0x10, 0x600), (0x13, 0x600)] {
        assert_eq!(undefined(mode, SPAN).pc, VBAR + offset, "mode {mode:#x}");
    }
    // The low bits of VBAR_EL1 are not part of the address.
    let odd = ExceptionSource { vbar_el1: VBAR | 0x7ff, ..source(5, SPAN) };
    assert_eq!(
        enter_el1(&odd, &El1Exception::Undefined, EntryFeatures::default()).pc,
        VBAR + 0x200
    );
    // The sum wraps like an address.
    let top = ExceptionSource { vbar_el1: !0x7ff, ..source(0, SPAN) };
    let entry = enter_el1(&top, &El1Exception::Undefined, EntryFeatures::default());
    assert_eq!(entry.pc, 0xffff_ffff_ffff_fc00);
}

#[test]
fn state_of_a_user_process_of_linux() {
    // EL0t with C, Z, PAN clear, SSBS; SCTLR as Linux sets it: SPAN clear, DSSBS clear.
    let entry = undefined(0x6000_1000, 0x0200_0000_34f4_d91d & !SPAN);
    assert_eq!(entry.pstate, 0x6040_03c5, "N Z C V kept, PAN set, SSBS from SCTLR, DAIF, EL1h");
    assert_eq!(entry.spsr_el1, 0x6000_1000);
    assert_eq!(entry.elr_el1, 0xffff_8000_0800_1234);
    assert_eq!(entry.esr_el1, 0x0200_0000);
    assert_eq!(entry.far_el1, None);
}

#[test]
fn every_bit_of_pstate() {
    let kept = [31, 30, 29, 28, 24, 22];
    let cleared = [25, 23, 21, 20, 13, 12, 11, 10];
    for bit in kept {
        assert_ne!(undefined(5 | 1 << bit, SPAN).pstate & 1 << bit, 0, "bit {bit} stays");
    }
    for bit in cleared {
        assert_eq!(undefined(5 | 1 << bit, SPAN).pstate & 1 << bit, 0, "bit {bit} is cleared");
    }
    assert_eq!(undefined(5, SPAN).pstate, 0x3c5);
    assert_eq!(undefined(5, 0).pstate, 0x3c5 | 1 << 22, "SPAN clear sets PAN");
    assert_eq!(undefined(5, SPAN | 1 << 44).pstate, 0x3c5 | 1 << 12, "DSSBS sets SSBS");
    // Nothing but what is kept gets through, whatever is set.
    assert_eq!(undefined(!0x1f | 5, SPAN).pstate, 0xf140_03c5);
}

#[test]
fn features_of_the_cpu_show() {
    let entry = |sctlr, mte, nmi| {
        enter_el1(&source(5, SPAN | sctlr), &El1Exception::Undefined, EntryFeatures { mte, nmi })
            .pstate
    };
    assert_eq!(entry(0, true, false), 0x3c5 | 1 << 25);
    assert_eq!(entry(0, false, true), 0x3c5 | 1 << 13);
    assert_eq!(entry(1 << 62, false, true), 0x3c5, "SPINTMASK");
}

#[test]
fn refused_accesses_of_the_host() {
    let far = 0xffff_0000_dead_beef;
    let esr = |exception: &El1Exception, pstate| {
        enter_el1(&source(pstate, SPAN), exception, EntryFeatures::default()).esr_el1
    };
    // Data abort, IL, alignment fault; from EL0: 0x24, from EL1: 0x25. WnR is bit 6.
    let read = El1Exception::refused_data(far, false, true);
    let write = El1Exception::refused_data(far, true, true);
    assert_eq!(esr(&read, 0), 0x9200_0021);
    assert_eq!(esr(&write, 0), 0x9200_0061);
    assert_eq!(esr(&read, 5), 0x9600_0021);
    assert_eq!(esr(&write, 4), 0x9600_0061);
    // A Thumb user process.
    assert_eq!(esr(&El1Exception::refused_data(far, false, false), 0x30), 0x9000_0021);
    // Instruction abort, external: 0x20 and 0x21.
    let fetch = El1Exception::refused_fetch(far);
    assert_eq!(esr(&fetch, 0), 0x8200_0010);
    assert_eq!(esr(&fetch, 5), 0x8600_0010);
    for exception in [read, write, fetch] {
        let entry = enter_el1(&source(0, SPAN), &exception, EntryFeatures::default());
        assert_eq!(entry.far_el1, Some(far));
    }
}

#[test]
fn an_unknown_address_is_said_to_be_unknown() {
    let abort =
        El1Exception::DataAbort { status: FSC_EXTERNAL, write: false, long: true, far: None };
    let entry = enter_el1(&source(5, SPAN), &abort, EntryFeatures::default());
    assert_eq!(entry.esr_el1, 0x9600_0410);
    assert_eq!(entry.far_el1, None);
    let fetch = El1Exception::InstructionAbort { status: FSC_EXTERNAL, far: None };
    let entry = enter_el1(&source(0, SPAN), &fetch, EntryFeatures::default());
    assert_eq!(entry.esr_el1, 0x8200_0410);
}

#[test]
fn a_status_cannot_spill_into_other_fields() {
    let abort = El1Exception::DataAbort { status: !0, write: false, long: true, far: Some(0) };
    let entry = enter_el1(&source(5, SPAN), &abort, EntryFeatures::default());
    assert_eq!(entry.esr_el1, 0x9600_003f);
}

#[test]
fn a_guest_gets_it_into_its_context() {
    let mut context = VcpuContext {
        pc: 0x4000_0000,
        pstate: 0x3c5,
        vbar_el1: 0x4001_0000,
        sctlr_el1: SPAN,
        far_el1: 77,
        ..VcpuContext::default()
    };
    context.x[3] = 33;
    inject_guest(&mut context, &El1Exception::Undefined);
    assert_eq!((context.pc, context.pstate), (0x4001_0200, 0x3c5));
    assert_eq!((context.elr_el1, context.spsr_el1), (0x4000_0000, 0x3c5));
    assert_eq!((context.esr_el1, context.far_el1), (0x0200_0000, 77));
    let abort =
        El1Exception::DataAbort { status: FSC_EXTERNAL, write: true, long: true, far: Some(0x99) };
    inject_guest(&mut context, &abort);
    assert_eq!((context.esr_el1, context.far_el1), (0x9600_0050, 0x99));
    assert_eq!(context.x[3], 33);
}

#[test]
fn no_pstate_leads_to_el2() {
    for mode in 0..32u64 {
        let value = lower_pstate(pstate::DAIF | mode);
        if [0, 4, 5, 16].contains(&mode) {
            assert_eq!(value, pstate::DAIF | mode);
        } else {
            assert_eq!(value, pstate::DAIF | pstate::EL1H | pstate::IL, "{mode:#x}");
        }
    }
}

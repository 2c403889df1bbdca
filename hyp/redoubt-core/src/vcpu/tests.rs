//! Reset state, the register matrix of VCPU_GET_REG and VCPU_SET_REG, and the completion of exits.

use redoubt_abi::Status;
use redoubt_abi::reg::{self, system};
use redoubt_abi::run::{ENTRY_ABORT, ENTRY_MMIO_DONE};
use std::boxed::Box;

use super::*;
use crate::exit::FaultStatus;

const IDS: IdRegisters = IdRegisters::ZERO;
const FAR: u64 = 0xffff_0000_1234;
const ABORT: Abort = Abort {
    status: FaultStatus::Translation,
    fetch: false,
    write: false,
    walk: false,
    maintenance: false,
    long: true,
    far_valid: true,
    access: None,
};

fn context() -> Box<VcpuContext> {
    let mut context = Box::new(VcpuContext::default());
    context.reset(0x4020_0000, 0x4800_0000);
    context
}

/// Everything that SET_REG can name but pointer authentication keys, and the pending exit.
fn words(context: &mut VcpuContext) -> std::vec::Vec<u64> {
    let kernel = (0..8).flat_map(|op2| {
        (0..4).flat_map(move |crm| {
            (0..15).filter(|crn| *crn != 0).map(move |crn| system(3, 0, crn, crm, op2))
        })
    });
    let others = [system(3, 3, 13, 0, 2), system(3, 3, 13, 0, 3), MDSCR_EL1];
    let numbers = (0..39).chain(64..128).chain(kernel).chain(others);
    let mut words: std::vec::Vec<u64> =
        numbers.filter_map(|number| context.get_reg(number, 0, &IDS).ok()).collect();
    words.push(context.pending.kind);
    words
}

#[test]
fn the_context_fits_its_page() {
    assert!(size_of::<VcpuContext>() <= 4096);
    assert_eq!(align_of::<VcpuContext>(), 16);
    assert_eq!(core::mem::offset_of!(VcpuContext, x), 0);
    assert_eq!(core::mem::offset_of!(VcpuContext, v) % 16, 0);
}

#[test]
fn reset_leaves_nothing_behind() {
    let mut dirty = context();
    for number in (0..39).chain(64..128) {
        if number != reg::PSTATE {
            dirty.set_reg(number, 0xaaaa_5555, 0, &IDS, RegisterAccess::Full).expect("register");
        }
    }
    dirty.ich_ap1r = [9; 4];
    dirty.keys = [9; 10];
    dirty.os_lock = 1;
    dirty.pending = PendingExit::write(&ABORT, FAR);
    dirty.reset(0x4020_0000, 0x4800_0000);
    let mut fresh = context();
    assert_eq!(words(&mut dirty), words(&mut fresh));
    assert_eq!((dirty.ich_ap1r, dirty.keys, dirty.os_lock), ([0; 4], [0; 10], 0));
    assert_eq!(dirty.pending, PendingExit::default());
    assert_eq!((fresh.pc, fresh.pstate, fresh.sctlr_el1), (0x4020_0000, 0x3c5, 0x30d5_0878));
    assert_eq!(fresh.x[0], 0x4800_0000);
    assert!(fresh.x[1..].iter().all(|value| *value == 0));
}

#[test]
fn mpidr_is_numbered_as_in_kvm() {
    assert_eq!(VcpuContext::mpidr(0), 0x8000_0000);
    assert_eq!(VcpuContext::mpidr(15), 0x8000_000f);
    assert_eq!(VcpuContext::mpidr(16), 0x8000_0100);
    assert_eq!(context().get_reg(system(3, 0, 0, 0, 5), 7, &IDS), Ok(0x8000_0007));
}

#[test]
fn register_31_is_zero() {
    let mut context = context();
    context.write_x(31, 5);
    context.write_x(200, 5);
    assert_eq!((context.read_x(31), context.read_x(200)), (0, 0));
    context.write_x(30, 6);
    assert_eq!(context.read_x(30), 6);
}

#[test]
fn skipping_clears_what_belongs_to_the_instruction() {
    let mut context = context();
    context.pc = u64::MAX - 1;
    context.pstate = 0x3c5 | pstate::BTYPE | pstate::SS | pstate::NZCV;
    context.skip();
    assert_eq!((context.pc, context.pstate), (2, 0x3c5 | pstate::NZCV));
}

#[test]
fn pstate_is_aarch64_at_el0_or_el1() {
    for mode in 0..32 {
        let valid = [0, 4, 5].contains(&mode);
        assert_eq!(is_valid_pstate(0x3c0 | mode), valid, "mode {mode:#x}");
    }
    let settable = [6, 7, 8, 9, 10, 11, 12, 20, 21, 22, 23, 24, 28, 29, 30, 31];
    for bit in 5..64 {
        assert_eq!(is_valid_pstate(5 | 1 << bit), settable.contains(&bit), "bit {bit}");
    }
}

/// Every number below 2^17 and some beyond, with what each access may do.
#[test]
fn register_matrix() {
    let mut count = (0, 0, 0);
    for number in (0..0x2_0000).chain([1 << 32, u64::MAX, u64::MAX - 31]) {
        let mut full = context();
        let mut boot = context();
        let readable = full.get_reg(number, 3, &IDS);
        let value = if number == reg::PSTATE { 0x3c4 } else { 0x1000 };
        let wrote = full.set_reg(number, value, 3, &IDS, RegisterAccess::Full);
        let before = if readable.is_ok() { words(&mut boot) } else { std::vec::Vec::new() };
        let boot_wrote = boot.set_reg(number, value, 3, &IDS, RegisterAccess::Boot);
        let is_boot = number <= 30 || number == reg::PC || number == reg::PSTATE;
        match readable {
            Err(status) => {
                assert_eq!(status, Status::InvalidArgument);
                assert_eq!(wrote, Err(Status::InvalidArgument), "{number:#x}");
                assert_eq!(boot_wrote, Err(Status::InvalidArgument), "{number:#x}");
            }
            Ok(old) => {
                count.0 += 1;
                assert_eq!(boot_wrote.is_ok(), is_boot, "{number:#x}");
                if wrote.is_ok() {
                    count.1 += 1;
                    let expected = if number == MDSCR_EL1 {
                        0x1000 & crate::sysreg::MDSCR_ALLOWED
                    } else {
                        value
                    };
                    assert_eq!(full.get_reg(number, 3, &IDS), Ok(expected), "{number:#x}");
                } else {
                    // Read-only: the value it has is accepted, any other refused.
                    assert_eq!(full.set_reg(number, old, 3, &IDS, RegisterAccess::Full), Ok(()));
                    assert_eq!(full.get_reg(number, 3, &IDS), Ok(old));
                }
                if is_boot {
                    count.2 += 1;
                } else {
                    assert_eq!(boot_wrote, Err(Status::Protected), "{number:#x}");
                    assert_eq!(words(&mut boot), before, "{number:#x}");
                }
            }
        }
    }
    // 31 + 8 single ones, 64 halves of vectors, 22 system registers, 10 key words; read-only ones:
    // MPIDR_EL1 and the 56 of the identification space.
    assert_eq!(count, (39 + 64 + 22 + 10 + 57, 39 + 64 + 22 + 10, 33));
}

#[test]
fn halves_of_vectors_are_independent() {
    let mut context = context();
    let full = RegisterAccess::Full;
    context.set_reg(reg::V0 + 2 * 31, 0x1111, 0, &IDS, full).expect("V31 low");
    context.set_reg(reg::V0 + 2 * 31 + 1, 0x2222, 0, &IDS, full).expect("V31 high");
    assert_eq!(context.v[31], [0x1111, 0x2222]);
    context.set_reg(reg::V0 + 2 * 31, 0x3333, 0, &IDS, full).expect("V31 low");
    assert_eq!(context.v[31], [0x3333, 0x2222]);
    assert_eq!(context.get_reg(reg::V0 + 2 * 31 + 1, 0, &IDS), Ok(0x2222));
}

#[test]
fn a_wrong_pstate_changes_nothing() {
    for access in [RegisterAccess::Full, RegisterAccess::Boot] {
        for value in [0x3c9, 0x3cd, 0x1d3, 0x10, 5 | 1 << 25, 5 | 1 << 32, u64::MAX] {
            let mut context = context();
            let refused = context.set_reg(reg::PSTATE, value, 0, &IDS, access);
            assert_eq!(refused, Err(Status::InvalidArgument), "{value:#x}");
            assert_eq!(context.pstate, 0x3c5);
        }
    }
}

fn load(bytes: u64, signed: bool, wide: bool) -> Access {
    Access { register: 7, bytes, signed, wide }
}

#[test]
fn a_read_is_extended_as_the_instruction_says() {
    let data = 0xfedc_ba98_8765_43f1;
    for (bytes, signed, wide, expected) in [
        (1, false, false, 0xf1),
        (1, true, false, 0xffff_fff1),
        (1, true, true, 0xffff_ffff_ffff_fff1),
        (2, false, true, 0x43f1),
        (2, true, false, 0x43f1),
        (4, false, false, 0x8765_43f1),
        (4, true, true, 0xffff_ffff_8765_43f1),
        (4, true, false, 0x8765_43f1),
        (8, false, true, 0xfedc_ba98_8765_43f1),
    ] {
        let mut context = context();
        context.x[7] = !0;
        context.pending = PendingExit::read(&load(bytes, signed, wide), &ABORT, FAR);
        let request = EntryRequest { flags: ENTRY_MMIO_DONE, mmio_data: data };
        context.complete_entry(&request).expect("asked for");
        assert_eq!(context.x[7], expected, "{bytes} {signed} {wide}");
        assert_eq!(context.pc, 0x4020_0004);
        assert_eq!(context.pending, PendingExit::default());
        // Once only.
        assert_eq!(context.complete_entry(&request), Err(Status::InvalidArgument));
    }
}

#[test]
fn a_read_into_xzr_is_dropped() {
    let mut context = context();
    let before = context.x;
    context.pending =
        PendingExit::read(&Access { register: 31, ..load(8, false, true) }, &ABORT, FAR);
    context
        .complete_entry(&EntryRequest { flags: ENTRY_MMIO_DONE, mmio_data: 5 })
        .expect("asked for");
    assert_eq!(context.x, before);
    assert_eq!(context.pc, 0x4020_0004);
}

#[test]
fn a_write_takes_no_data() {
    let mut context = context();
    let before = context.x;
    context.pending = PendingExit::write(&ABORT, FAR);
    context
        .complete_entry(&EntryRequest { flags: ENTRY_MMIO_DONE, mmio_data: !0 })
        .expect("asked for");
    assert_eq!((context.x, context.pc), (before, 0x4020_0004));
}

#[test]
fn without_a_flag_the_instruction_is_tried_again() {
    let mut context = context();
    context.pending = PendingExit::read(&load(4, false, false), &ABORT, FAR);
    context.complete_entry(&EntryRequest { flags: 0, mmio_data: 5 }).expect("always");
    assert_eq!((context.pc, context.x[7]), (0x4020_0000, 0));
    assert_eq!(context.pending, PendingExit::default());
}

#[test]
fn an_abort_is_what_the_access_was() {
    let flags = ENTRY_ABORT;
    let write = Abort { write: true, ..ABORT };
    let fetch = Abort { fetch: true, ..ABORT };
    for (pending, esr) in [
        (PendingExit::read(&load(4, false, false), &ABORT, FAR), 0x9600_0010),
        (PendingExit::write(&write, FAR), 0x9600_0050),
        (PendingExit::fault(&ABORT, FAR), 0x9600_0010),
        (PendingExit::fault(&fetch, FAR), 0x8600_0010),
    ] {
        let mut context = context();
        context.vbar_el1 = 0x8000;
        context.pending = pending;
        context.complete_entry(&EntryRequest { flags, mmio_data: 0 }).expect("asked for");
        assert_eq!((context.pc, context.esr_el1, context.far_el1), (0x8200, esr, FAR));
        assert_eq!(context.elr_el1, 0x4020_0000);
    }
}

/// V1: the host writes back only what the exit asked for.
#[test]
fn what_was_not_asked_for_is_refused_and_changes_nothing() {
    let pending = [
        PendingExit::default(),
        PendingExit::read(&load(4, false, false), &ABORT, FAR),
        PendingExit::write(&ABORT, FAR),
        PendingExit::fault(&ABORT, FAR),
    ];
    for (kind, pending) in pending.into_iter().enumerate() {
        for flags in (0..8).chain([1 << 63, u64::MAX]) {
            let mut context = context();
            context.pending = pending;
            let before = words(&mut context);
            let result = context.complete_entry(&EntryRequest { flags, mmio_data: 0x5a });
            let allowed = match flags {
                0 => true,
                ENTRY_MMIO_DONE => kind == 1 || kind == 2,
                ENTRY_ABORT => kind != 0,
                _ => false,
            };
            assert_eq!(result.is_ok(), allowed, "{kind} {flags:#x}");
            if !allowed {
                assert_eq!(result, Err(Status::InvalidArgument));
                assert_eq!(words(&mut context), before);
            }
        }
    }
}

//! R1: every encoding of a system register or system instruction, from the host's EL1.

use crate::Check;
use crate::a64::{self, System};
use crate::cases::cases;
use crate::device::{self, Log, MAX_STEPS, Repeat, Step};
use crate::oracle::World;

/// A test by name that needs no VM.
pub type Walk = (&'static str, fn() -> Check);

/// The walks by themselves: they hold on any arm64 Linux at EL1.
pub const WALKS: [Walk; 3] =
    [("read-walk", walk_reads), ("write-walk", walk_writes), ("system-walk", walk_system)];

cases! {
    read_walk, "sysreg-read-walk", "R1", "every MRS and SYSL ends; what is EL2's or EL3's is UNDEFINED";
    write_walk, "sysreg-write-walk", "R1", "writing back every readable register harms nobody";
    system_walk, "sysreg-system-walk", "R1 H3", "every SYS instruction ends, set/way maintenance too";
    hidden_units, "sysreg-hidden-units", "R1 X6", "units that could write memory or observe EL2 are out of reach";
}

/// Encodings that a test must not touch, for its own kernel's sake: reading them has an effect
/// that no hypervisor prevents.
fn harmful_read(register: System) -> bool {
    // ICC_IAR0_EL1 and ICC_IAR1_EL1 acknowledge an interrupt; NMIAR1 likewise.
    register.op0 == 3
        && register.op1 == 0
        && register.crn == 12
        && matches!((register.crm, register.op2), (8 | 12, 0) | (9, 5))
}

/// Registers whose writing, even of their own value, breaks the kernel under this program or the
/// step itself: each with its reason.
fn harmful_write(register: System) -> bool {
    let System { op0, op1, crn, crm, op2 } = register;
    match (op0, op1, crn, crm, op2) {
        // ICC_EOIR, ICC_DIR, ICC_SGI*: act on an interrupt.
        (3, 0, 12, 8 | 12, 1) | (3, 0, 12, 11, _) => true,
        // SPSel, DAIF, PAN, UAO, ALLINT, PM: the state of the step; RMR: a reset.
        (3, 0, 4, 2 | 3, _) | (3, 0, 12, 0, 2) => true,
        // OSDLR: the OS double lock. DBGDTR: the debugger's channel, and its lock.
        (2, 0, 1, 3, 4) | (2, 3, 0, 4 | 5, 0) => true,
        // GCS: turns the next RET into a fault of the kernel.
        (3, 0, 2, 5, _) | (3, 3, 2, 5, _) => true,
        _ => false,
    }
}

/// Executes one instruction for each encoding, and calls `each` with its log.
fn walk(
    op0s: std::ops::RangeInclusive<u32>,
    word: impl Fn(System) -> Option<Vec<u32>>,
    mut each: impl FnMut(System, &Log) -> Check,
) -> Check {
    let mut batch: Vec<(System, Step)> = Vec::new();
    let mut flush = |batch: &mut Vec<(System, Step)>| -> Check {
        let (registers, mut steps): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        if steps.is_empty() {
            return Ok(());
        }
        let log = device::run(&mut steps, Repeat { log: true, ..Repeat::ONCE })?;
        registers.iter().zip(&log).try_for_each(|(register, entry)| each(*register, entry))
    };
    for op0 in op0s {
        for index in 0..0x4000 {
            let register = System::from_index(op0, index);
            if let Some(code) = word(register) {
                batch.push((register, Step::new(code)));
            }
            if batch.len() == MAX_STEPS {
                flush(&mut batch)?;
            }
        }
    }
    flush(&mut batch)
}

/// Whether the architecture gives the encoding to EL2 or EL3, so that EL1 finds it UNDEFINED.
const fn of_higher_level(register: System) -> bool {
    (register.op0 == 2 || register.op0 == 3) && matches!(register.op1, 4..=7)
        // Encodings with op1 7 include none of EL1; IMPLEMENTATION DEFINED ones are CRn 11 and 15.
        && register.crn != 11
        && register.crn != 15
}

fn readable() -> Check<Vec<System>> {
    let mut readable = Vec::new();
    walk(
        1..=3,
        |register| (!harmful_read(register)).then(|| vec![register.read(0), a64::RET]),
        |register, log| {
            if log.returned() {
                readable.push(register);
            } else if !matches!(log.esr >> 26 & 0x3f, 0 | 0x18 | 0x19 | 0x1d | 0x25) {
                return Err(format!("{register}: exception with ESR {:#x}", log.esr));
            }
            Ok(())
        },
    )?;
    Ok(readable)
}

fn read_walk(_: &mut World) -> Check {
    walk_reads()
}

fn walk_reads() -> Check {
    let readable = readable()?;
    if readable.len() < 100 {
        return Err(format!("only {} registers are readable: a broken walk", readable.len()));
    }
    match readable.iter().find(|register| of_higher_level(**register)) {
        Some(register) => Err(format!("{register} belongs to a higher level and is readable")),
        None => Ok(()),
    }
}

fn write_walk(_: &mut World) -> Check {
    walk_writes()
}

fn walk_writes() -> Check {
    let mut written = 0;
    walk(
        2..=3,
        |register| {
            let safe = !harmful_read(register) && !harmful_write(register);
            // MRS X0; MSR X0; ISB
            safe.then(|| vec![register.read(0), register.write(0), a64::ISB, a64::RET])
        },
        |register, log| {
            if !log.returned() {
                return Ok(());
            }
            written += 1;
            if of_higher_level(register) {
                return Err(format!("{register} belongs to a higher level and is writable"));
            }
            Ok(())
        },
    )?;
    // Blind writes of zero to what cannot be read, in the space of EL2 and EL3 only.
    walk(
        2..=3,
        |register| of_higher_level(register).then(|| vec![register.write(31), a64::ISB, a64::RET]),
        |register, log| {
            if log.returned() {
                return Err(format!("{register} belongs to a higher level and is writable"));
            }
            Ok(())
        },
    )?;
    if written < 50 {
        Err(format!("only {written} registers written: a broken walk"))
    } else {
        Ok(())
    }
}

fn system_walk(_: &mut World) -> Check {
    walk_system()
}

fn walk_system() -> Check {
    let mut carried_out = 0;
    walk(
        1..=1,
        // GCS instructions (op1 3 or 0, CRn 7, CRm 7) push and pop where there is no stack.
        |register| {
            let guarded_stack = register.crn == 7 && register.crm == 7;
            (!guarded_stack).then(|| vec![register.write(0), a64::DSB, a64::ISB, a64::RET])
        },
        |register, log| {
            carried_out += u32::from(log.returned());
            // TLBI and AT of EL2 and EL3.
            if log.returned() && matches!(register.op1, 4 | 6) && matches!(register.crn, 7 | 8) {
                return Err(format!("{register} belongs to a higher level and was carried out"));
            }
            Ok(())
        },
    )?;
    if carried_out < 20 {
        Err(format!("only {carried_out} carried out: a broken walk"))
    } else {
        Ok(())
    }
}

fn hidden_units(_: &mut World) -> Check {
    let units: [(&str, System); 9] = [
        ("SPE: PMBPTR_EL1", System::new(3, 0, 9, 10, 1)),
        ("SPE: PMBLIMITR_EL1", System::new(3, 0, 9, 10, 0)),
        ("SPE: PMSCR_EL1", System::new(3, 0, 9, 9, 0)),
        ("TRBE: TRBLIMITR_EL1", System::new(3, 0, 9, 11, 0)),
        ("TRBE: TRBPTR_EL1", System::new(3, 0, 9, 11, 1)),
        ("BRBE: BRBCR_EL1", System::new(2, 1, 9, 0, 0)),
        ("LORegions: LORC_EL1", System::new(3, 0, 10, 4, 3)),
        ("GIC: ICH_LR0_EL2", System::new(3, 4, 12, 12, 0)),
        ("GIC: ICH_HCR_EL2", System::new(3, 4, 12, 11, 0)),
    ];
    for (name, register) in units {
        // An access is refused, or reads as zero and ignores what is written.
        let code = [a64::movz(0, 1), register.write(0), a64::ISB, register.read(1), a64::RET];
        let step = device::run_one(Step::new(code))?;
        if step.outcome == device::Outcome::Returned && step.x[1] != 0 {
            return Err(format!("{name} can be written and reads {:#x}", step.x[1]));
        }
    }
    Ok(())
}

/// Prints every readable encoding with its value.
///
/// # Errors
/// When the module refuses.
pub fn print() -> Check {
    for register in readable()? {
        let step = device::run_one(Step::new([register.read(0), a64::RET]))?;
        println!("{register} {:#018x}", step.x[0]);
    }
    Ok(())
}

//! Tests of the module itself, on any arm64 Linux: that a step reads and writes memory, and that
//! every kind of exception ends the step and nothing else.

use crate::Check;
use crate::a64::{self, System};
use crate::cases::registers;
use crate::device::{self, Attribute, Fp, Log, Mapping, Outcome, Repeat, Runner, Step, WINDOW};
use crate::memory;
use crate::vm::Pages;

fn class(step: &Step) -> Option<u64> {
    match step.outcome {
        Outcome::Exception { esr, .. } => Some(esr >> 26 & 0x3f),
        Outcome::Returned | Outcome::SystemError => None,
    }
}

fn require(condition: bool, otherwise: impl Fn() -> String) -> Check {
    if condition { Ok(()) } else { Err(otherwise()) }
}

/// Memory: cacheable and not, through the window and through a mapping of the process.
fn memory_access() -> Check {
    let page = Pages::new(0)?;
    let mapping = Mapping::new(page.pfn, 1)?;
    mapping.set(8, 0x1122_3344_5566_7788);
    for attribute in [Attribute::Normal, Attribute::NonCacheable, Attribute::Device] {
        let step = device::run_one(memory::load_step(page.pfn * 4096 + 8, attribute))?;
        require(step.x[0] == 0x1122_3344_5566_7788, || format!("{attribute:?}: {step:x?}"))?;
    }
    memory::fill(page.pfn, 7)?;
    require(mapping.get(4088) == 7, || "fill does not reach the end".into())?;
    memory::fill(page.pfn, 0)?;
    memory::require_zero(page.pfn, 1)?;
    mapping.set(4088, 1);
    require(memory::require_zero(page.pfn, 1).is_err(), || "does not see the last word".into())?;
    page.free()
}

/// Faults: no window, a misaligned device access, no instruction, no code.
fn faults() -> Check {
    let step = device::run_one(Step::new([a64::load(3, 0, 1), a64::RET]).registers(&[0, WINDOW]))?;
    require(class(&step) == Some(0x25), || format!("unmapped: {step:x?}"))?;
    let page = Pages::new(0)?;
    let load = memory::load_step(page.pfn * 4096 + 1, Attribute::Device);
    let step = device::run_one(load)?;
    let Outcome::Exception { esr, .. } = step.outcome else {
        return Err(format!("an unaligned access to device memory: {step:x?}"));
    };
    require(memory::is_injected(esr), || format!("not an alignment fault: {esr:#x}"))?;
    let step = device::run_one(Step::new([0]))?;
    require(class(&step) == Some(0), || format!("UNDEFINED: {step:x?}"))?;
    let code = [a64::mov(19, 30), a64::blr(1), a64::mov(30, 19), a64::RET];
    let step = device::run_one(Step::new(code).registers(&[0, WINDOW]))?;
    require(class(&step) == Some(0x21), || format!("jump to nowhere: {step:x?}"))?;
    // And where there is code, it is executed.
    let mapping = Mapping::new(page.pfn, 1)?;
    mapping.set(0, u64::from(a64::RET) << 32 | u64::from(a64::movz(0, 42)));
    let step = Step::new(code).registers(&[0, WINDOW]).window(page.pfn * 4096, Attribute::Normal);
    let step = device::run_one(step)?;
    require(step.outcome == Outcome::Returned && step.x[0] == 42, || format!("jump: {step:x?}"))?;
    page.free()
}

/// Registers: all thirty go in and come out; an exception keeps them; SVC and BRK end a step.
fn general() -> Check {
    let given: Vec<u64> = (0..30).map(|index| 0x1000 + index).collect();
    let step = device::run_one(Step::new([a64::add(5, 5, 1), a64::RET]).registers(&given))?;
    for (index, value) in step.x.iter().enumerate() {
        let wanted = given[index] + u64::from(index == 5);
        require(*value == wanted, || format!("X{index} is {value:#x}"))?;
    }
    for word in [0xd400_0001_u32, 0xd420_0000] {
        let step = device::run_one(Step::new([a64::add(29, 29, 1), word]).registers(&given))?;
        require(step.outcome != Outcome::Returned, || format!("{word:#x} returned"))?;
        require(step.x[29] == given[29] + 1 && step.x[0] == given[0], || format!("{step:x?}"))?;
    }
    let step = device::run_one(Step::new([System::new(3, 0, 4, 2, 2).read(0), a64::RET]))?;
    require(step.x[0] == 4, || format!("CurrentEL is {:#x}", step.x[0]))
}

/// FP registers go in and come out.
fn vectors() -> Check {
    let mut step = Step::new([0x4e22_8420, a64::RET]); // ADD V0.16B, V1.16B, V2.16B
    step.fp = Some(Fp::filled(0x21));
    let step = device::run_one(step)?;
    let fp = step.fp.as_ref().ok_or("FP registers are lost")?;
    require(fp.z[0][..16] == [0x42; 16] && fp.z[31][..16] == [0x21; 16], || "V0, V31".into())?;
    let features = device::run_one(Step::new([System::new(3, 0, 0, 4, 0).read(0), a64::RET]))?;
    if features.x[0] >> 32 & 0xf == 0 {
        return Ok(());
    }
    let mut step = Step::new([0x0422_0020, a64::RET]); // ADD Z0.B, Z1.B, Z2.B
    step.fp = Some(Fp::filled(0x21));
    step.sve = true;
    let step = device::run_one(step)?;
    let fp = step.fp.as_ref().ok_or("SVE registers are lost")?;
    let length = usize::try_from(fp.vl).unwrap_or(0);
    require((16..=256).contains(&length), || format!("vector length {length}"))?;
    require(fp.z[0][..length].iter().all(|byte| *byte == 0x42), || "Z0".into())?;
    require(fp.p[15][..length / 8].iter().all(|byte| *byte == 0x21), || "P15".into())
}

/// A hypercall or SMC where there is nobody to take it is an exception or an answer.
fn conduits() -> Check {
    for conduit in [a64::hvc(0), a64::smc(0)] {
        let step = device::run_one(Step::new([conduit, a64::RET]).registers(&[0x8000_0000]))?;
        require(step.outcome != Outcome::SystemError, || format!("{step:x?}"))?;
        println!("conduit {conduit:#x}: {:x?}, X0 {:#x}", step.outcome, step.x[0]);
    }
    Ok(())
}

/// Two CPUs in a race both run, and see each other's stores.
fn races() -> Check {
    if device::cpus() < 2 {
        println!("races: one CPU, passed over");
        return Ok(());
    }
    let page = Pages::new(0)?;
    // LDXR X2, [X1]; ADD X2, X2, #1; STXR W3, X2, [X1]; CBNZ X3, start; RET
    let code = [0xc85f_7c22, a64::add(2, 2, 1), 0xc803_7c22, a64::cbnz(3, -3), a64::RET];
    let step = Step::new(code).window(page.pfn * 4096, Attribute::Normal).registers(&[0, WINDOW]);
    let runner = |cpu| Runner { cpu, steps: vec![step.clone()], times: 20_000, until_peer: false };
    let logs = device::race(vec![runner(0), runner(1)])?;
    require(logs.iter().flatten().all(Log::returned), || "a step did not return".into())?;
    let total = memory::read(page.pfn * 4096)?;
    require(total == Some(40_000), || format!("{total:?} increments"))?;
    page.free()
}

/// With interrupts unmasked, a long step is interrupted and goes on.
fn interruptions() -> Check {
    let code = [a64::sub(0, 0, 1), a64::cbnz(0, -1), a64::RET];
    let mut step = Step::new(code).registers(&[50_000_000]);
    step.interrupts = true;
    let step = device::run_one(step)?;
    require(step.outcome == Outcome::Returned && step.x[0] == 0, || format!("{step:x?}"))?;
    let repeat = Repeat { times: 1000, log: true, ..Repeat::ONCE };
    let log = device::run(&mut [Step::new([a64::RET])], repeat)?;
    require(log.len() == 1000, || "log".into())
}

/// Runs them all; returns how many failed.
///
/// # Errors
/// Never; the outcome of each is printed.
pub fn run() -> Check<usize> {
    let tests: [registers::Walk; 7] = [
        ("memory", memory_access),
        ("faults", faults),
        ("general", general),
        ("vectors", vectors),
        ("conduits", conduits),
        ("races", races),
        ("interruptions", interruptions),
    ];
    let mut failed = 0;
    let tests: Vec<_> = tests.into_iter().chain(registers::WALKS).collect();
    let count = tests.len();
    for (name, test) in tests {
        match test() {
            Ok(()) => println!("CASE {name} ... ok"),
            Err(why) => {
                failed += 1;
                println!("CASE {name} ... FAILED {why}");
            }
        }
    }
    println!("{} passed, {failed} failed", count - failed);
    Ok(failed)
}

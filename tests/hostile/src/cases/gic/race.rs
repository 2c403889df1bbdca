//! Attacks on the ITS from several CPUs at a time.

use redoubt_abi::{HostCall, Status};

use super::lpi::Lpis;
use super::{DEVICE, LPI, PROPERTY_BITS, PROTECTED, refusals};
use crate::Check;
use crate::a64;
use crate::device::{self, Attribute, Log, Runner, Step, WINDOW};
use crate::its::{self, Gic, Its, VALID, gits};
use crate::memory::PAGE;
use crate::oracle::World;
use crate::vm::{Pages, Vm};

/// How often the shorter side of a race repeats.
const TIMES: u32 = 300;
/// How often the race against the queue's writer repeats.
const REWRITES: u32 = 6;
/// How often a step rewrites the queue.
const PASSES: u64 = 500;
/// Slots of the queue, which is a page.
const SLOTS: u64 = PAGE / its::COMMAND_BYTES;

fn need(world: &World, cpus: usize) -> Check {
    if world.cpus < cpus { Err(format!("needs {cpus} CPUs")) } else { Ok(()) }
}

/// Steps that move CWRITER round the queue in `hops` hops.
fn round(base: u64, hops: u64) -> Vec<Step> {
    let to = |hop: u64| (hop + 1) * SLOTS / hops % SLOTS * its::COMMAND_BYTES;
    (0..hops).map(|hop| its::write_step(base + gits::CWRITER, to(hop), 3)).collect()
}

fn all_returned(logs: &[Vec<Log>]) -> Check {
    match logs.iter().flatten().find(|log| !log.returned()) {
        Some(log) => Err(format!("step {} took an exception, ESR {:#x}", log.step, log.esr)),
        None => Ok(()),
    }
}

pub fn writers(world: &mut World) -> Check {
    need(world, 3)?;
    let gic = Gic::get()?;
    let its = Its::start(gic)?;
    let table = Pages::new(0)?;
    for slot in 0..SLOTS {
        let valid = slot % 2 == 0;
        its.put(slot, its::mapd(DEVICE, table.address(), 3, valid));
    }
    // Beyond the queue, with all low bits, and back: whatever it becomes, it is inside the queue.
    let mut odd: Vec<u64> = vec![PAGE, PAGE + 32, 0xf_ffe0, 0xf_ffff, u64::MAX, 1, 2, 0x1f, 0xff1];
    odd.extend((0..64).map(|bit| 1_u64 << bit));
    for value in odd {
        its::write(gic.its + gits::CWRITER, value)?;
        let reader = its::read(gic.its + gits::CREADR)?;
        if reader & !1 >= PAGE {
            return Err(format!("CWRITER {value:#x} leads CREADR to {reader:#x}"));
        }
        world.canary.check()?;
    }
    its.disable()?;
    its.enable()?;
    let switch = vec![
        its::write_step(gic.its + gits::CTLR, 0, 2),
        its::read_step(gic.its + gits::CTLR, 2),
        its::write_step(gic.its + gits::CBASER, VALID | its.queue.address(), 3),
        its::write_step(gic.its + gits::CWRITER, 0, 3),
        its::write_step(gic.its + gits::CTLR, 1, 2),
    ];
    let mut backwards = round(gic.its, 29);
    backwards.reverse();
    backwards.push(its::read_step(gic.its + gits::CREADR, 3));
    let runner = |cpu, steps, times, until_peer| Runner { cpu, steps, times, until_peer };
    let logs = device::race(vec![
        runner(0, round(gic.its, 31), TIMES, false),
        runner(1, backwards, 100 * TIMES, true),
        runner(2, switch, 100 * TIMES, true),
    ])?;
    all_returned(&logs)?;
    world.canary.check()?;
    its.disable()?;
    its.enable()?;
    its.send(&[its::mapd(DEVICE, 0, 0, false)])?;
    table.free()?;
    its.stop()
}

pub fn rewriting(world: &mut World) -> Check {
    /// An event, and an interrupt for it: one that there is, one beyond all tables.
    const GOOD: u64 = 1 | LPI << 32;
    const BAD: u64 = 1 | 1 << 52;
    need(world, 2)?;
    let gic = Gic::get()?;
    let its = Its::start(gic)?;
    let lpis = Lpis::enable(gic, 1, PROPERTY_BITS)?;
    // MAPD and MAPTI take turns; the interrupt of every MAPTI changes all the time.
    for slot in 0..SLOTS {
        its.put(
            slot,
            match slot % 2 {
                0 => its::mapd(DEVICE, 0, 3, true),
                _ => its::mapti(DEVICE, 1, LPI, 0),
            },
        );
    }
    // All interrupts become the bad one, then all the good one, and so on.
    // again: MOV X2, X8; MOV X5, X9; next: STR X0, [X2]; ADD X2, X2, #64; SUB X5, X5, #1;
    // CBNZ X5, next; exchange X0 and X1 by X7; SUB X6, X6, #1; CBNZ X6, again; RET
    let rewrite = Step::new([
        a64::mov(2, 8),
        a64::mov(5, 9),
        a64::store(3, 0, 2),
        a64::add(2, 2, 64),
        a64::sub(5, 5, 1),
        a64::cbnz(5, -3),
        a64::mov(7, 0),
        a64::mov(0, 1),
        a64::mov(1, 7),
        a64::sub(6, 6, 1),
        a64::cbnz(6, -10),
        a64::RET,
    ])
    .window(its.queue.address(), Attribute::Normal)
    .registers(&[BAD, GOOD, 0, 0, 0, 0, PASSES, 0, WINDOW + 40, SLOTS / 2]);
    let before = refusals()?;
    for _ in 0..REWRITES {
        let logs = device::race(vec![
            Runner { cpu: 0, steps: round(gic.its, 16), times: TIMES, until_peer: false },
            Runner { cpu: 1, steps: vec![rewrite.clone()], times: 1_000_000, until_peer: true },
        ])?;
        all_returned(&logs)?;
        world.canary.check()?;
        its.wait()?;
    }
    let caught = refusals()? - before;
    its.send(&[its::mapd(DEVICE, 0, 0, false)])?;
    lpis.disable()?;
    its.stop()?;
    match caught {
        0 => Err("no command was read while it was bad: the case proves nothing".into()),
        _ => Ok(()),
    }
}

/// The step that makes a VM whose root is a page, and ends it. X20 is the status of VM_CREATE.
fn root(pfn: u64) -> Step {
    let call = |number: u64| {
        let (low, high) = ((number & 0xffff) as u32, (number >> 16 & 0xffff) as u32);
        [a64::movz(0, low), a64::movk16(0, high), a64::mov(1, 19), a64::hvc(0)]
    };
    let create = HostCall::VmCreate { flags: 1, ipa_bits: 36, vcpus: 1, root_pfn: pfn };
    let mut step = crate::hyper::step(&create);
    step.code = vec![a64::hvc(0), a64::mov(19, 1), a64::mov(20, 0)];
    step.code.extend(call(HostCall::VmDestroy { handle: 0 }.encode()[0]));
    step.code.extend(call(HostCall::VmReclaim { handle: 0 }.encode()[0]));
    step.code.extend(call(HostCall::VmReclaim { handle: 0 }.encode()[0]));
    // The log shows X0 to X3.
    step.code.extend([a64::mov(1, 20), a64::RET]);
    step
}

pub fn donation_race(world: &mut World) -> Check {
    need(world, 2)?;
    let gic = Gic::get()?;
    let its = Its::start(gic)?;
    let page = Pages::new(0)?;
    let address = page.address();
    its.disable()?;
    let toggle = |register, value| {
        vec![its::write_step(register, value, 3), its::write_step(register, 0, 3)]
    };
    for (register, table) in &its.tables {
        its::write(*register, 0)?;
        race(world, "a table", toggle(*register, address | VALID), page)?;
        its::write(*register, VALID | table.address() | (table.count() - 1))?;
    }
    race(world, "the queue", toggle(gic.its + gits::CBASER, address | VALID), page)?;
    page.free()?;
    its.enable()?;
    its.stop()?;
    Vm::empty(PROTECTED)?.finish()
}

/// Runs a side of the GIC against donations of the page: each is carried out or refused for a good
/// reason.
fn race(world: &mut World, what: &str, steps: Vec<Step>, page: Pages) -> Check {
    let before = refusals()?;
    let logs = device::race(vec![
        Runner { cpu: 0, steps: vec![root(page.pfn)], times: 20 * TIMES, until_peer: false },
        Runner { cpu: 1, steps, times: 100 * TIMES, until_peer: true },
    ])?;
    all_returned(&logs)?;
    let mut given = 0;
    for log in &logs[0] {
        match Status::from_register(log.x[1]) {
            Some(Status::Success) => given += 1,
            Some(Status::Pinned | Status::NotOwner) => {}
            status => return Err(format!("{what}: VM_CREATE answers {status:?}")),
        }
    }
    let refused = refusals()? - before;
    println!("{what}: {given} of {} donations, {refused} refusals of the GIC's", logs[0].len());
    if given == 0 {
        return Err(format!("{what}: no donation was accepted: the case proves nothing"));
    }
    world.canary.check()
}

//! Attacks on a GIC that Linux uses, beside Linux: its registers, its queue, its tables.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use super::{PROTECTED, Random, never_right, random_commands, registers, require_in_use, victims};
use crate::Check;
use crate::a64;
use crate::device::{self, Attribute, Mapping, Outcome, Step, WINDOW};
use crate::its::{self, Command, Gic, VALID, gicr, gits};
use crate::memory::PAGE;
use crate::oracle::World;
use crate::vm::Vm;

/// How many interrupts came through the ITS so far.
fn delivered() -> Check<u64> {
    let text = fs::read_to_string("/proc/interrupts").map_err(|error| error.to_string())?;
    let lines = text.lines().filter(|line| line.contains("ITS"));
    let numbers = lines.flat_map(|line| {
        let words = line.split_whitespace().skip(1);
        words.map_while(|word| word.parse::<u64>().ok()).collect::<Vec<_>>()
    });
    Ok(numbers.sum())
}

/// Requires the disk to work, and its interrupts to come through the ITS.
fn disk_works() -> Check {
    #[repr(align(4096))]
    struct Block([u8; 4096]);
    let before = delivered()?;
    let disk = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open("/dev/vda")
        .map_err(|error| format!("/dev/vda: {error}"))?;
    let mut block = Block([0; 4096]);
    for index in 0..16 {
        disk.read_exact_at(&mut block.0, index * PAGE)
            .map_err(|error| format!("/dev/vda: {error}"))?;
    }
    match delivered()? {
        after if after >= before + 16 => Ok(()),
        after => Err(format!("16 reads of the disk made {} interrupts", after - before)),
    }
}

pub fn live_registers(world: &mut World) -> Check {
    let gic = Gic::get()?;
    disk_works()?;
    let before = registers(gic)?;
    let mut values: Vec<u64> = victims(world)?.iter().map(|(_, address)| *address).collect();
    values.push(0);
    for value in values {
        for (register, _) in &before {
            for bits in [0, VALID, VALID | 0xff, VALID | its::INDIRECT, 15] {
                its::write(*register, value | bits)?;
            }
            its::write32(*register, value & 0xffff_ffff)?;
            its::write32(*register + 4, (value | VALID) >> 32)?;
        }
        for ((register, before), (_, now)) in before.iter().zip(registers(gic)?) {
            if *before != now {
                return Err(format!("{register:#x} was {before:#x}, became {now:#x}"));
            }
        }
        world.canary.check()?;
    }
    disk_works()
}

/// Commands that harm nobody but their victims: none is about a device or collection of Linux.
fn harmless(world: &World) -> Check<Vec<Command>> {
    // Linux numbers devices by their requester, collections by their CPU.
    const UNUSED: u64 = 0xf000;
    let addresses: Vec<u64> = victims(world)?.iter().map(|(_, address)| *address).collect();
    let mut commands = Vec::new();
    for address in &addresses {
        let table = address & 0x000f_ffff_ffff_ff00;
        commands.extend([
            its::mapd(UNUSED, table, 3, true),
            its::mapti(UNUSED, 2, 8192, 0),
            its::movi(UNUSED, 2, 1),
            its::mapc(UNUSED, address >> 16, true),
            its::sync(address >> 16),
            its::about_event(0xf, UNUSED, 2),
        ]);
        commands.extend(never_right(*address).into_iter().step_by(7));
    }
    let mut random = Random(0x5eed_0000_0000_0002);
    // Of the random ones, those that name no device or collection, or MAPD of a victim.
    let random = random_commands(&addresses, &mut random, 512).into_iter().filter_map(|command| {
        let [first, second, third, fourth] = command;
        match first & 0xff {
            0x08 => Some([first | UNUSED << 32, second, third | VALID, fourth]),
            0x01..=0x0f => None,
            _ => Some(command),
        }
    });
    commands.extend(random);
    Ok(commands)
}

/// The step that moves CWRITER to X0 and waits until CREADR follows, with interrupts off so that
/// Linux does not send a command on this CPU between; X2 is how many reads it waits.
fn hop(its: u64, to: u64) -> Step {
    // STR X0, [X1, #8]; again: LDR X3, [X1, #16]; EOR X4, X3, X0; CBNZ X4, more; RET
    // more: SUB X2, X2, #1; CBNZ X2, again; RET
    Step::new([
        a64::add(5, 1, 8),
        a64::store(3, 0, 5),
        a64::add(5, 1, 16),
        a64::load(3, 3, 5),
        a64::eor(4, 3, 0),
        a64::cbnz(4, 2),
        a64::RET,
        a64::sub(2, 2, 1),
        a64::cbnz(2, -5),
        a64::RET,
    ])
    .window(its, Attribute::DeviceStrong)
    .registers(&[to, WINDOW + gits::CBASER, 100_000])
}

pub fn live_queue(world: &mut World) -> Check {
    let gic = Gic::get()?;
    disk_works()?;
    let queue = its::read(gic.its + gits::CBASER)?;
    let pages = (queue & 0xff) + 1;
    let slots = pages * PAGE / its::COMMAND_BYTES;
    let start = its::read(gic.its + gits::CWRITER)?;
    let words = Mapping::new((queue & its::ADDRESS) / PAGE, pages)?;
    let commands = harmless(world)?;
    let mut next = commands.iter().cycle();
    let laps = commands.len() as u64 / slots + 1;
    // Whole laps of the queue in two hops each: Linux finds it as it left it.
    for _ in 0..laps {
        for slot in 0..slots {
            for (word, value) in next.next().ok_or("no command")?.iter().enumerate() {
                let offset = usize::try_from(slot * its::COMMAND_BYTES).map_err(|_| "too large")?;
                words.set(offset + 8 * word, *value);
            }
        }
        let bytes = slots * its::COMMAND_BYTES;
        for to in [(start + bytes / 2) % bytes, start] {
            let step = device::run_one(hop(gic.its, to))?;
            if step.outcome != Outcome::Returned || step.x[4] != 0 {
                return Err(format!("the queue stops at {:#x}: {:x?}", step.x[3], step.outcome));
            }
        }
        world.canary.check()?;
    }
    disk_works()
}

pub fn live_donation(_: &mut World) -> Check {
    let gic = Gic::get()?;
    disk_works()?;
    let vm = Vm::empty(PROTECTED)?;
    let mut used: Vec<(String, u64, u64)> = Vec::new();
    let queue = its::read(gic.its + gits::CBASER)?;
    used.push(("the queue".into(), queue & its::ADDRESS, (queue & 0xff) + 1));
    for index in 0..its::TABLES {
        let table = its::read(gic.its + gits::BASER + 8 * index)?;
        if table & VALID != 0 {
            let unit = [1, 4, 16, 16][usize::try_from(table >> 8 & 3).unwrap_or(0)];
            used.push((
                format!("table {index}"),
                table & its::ADDRESS,
                ((table & 0xff) + 1) * unit,
            ));
        }
    }
    for (number, frame) in gic.redistributors()?.into_iter().enumerate() {
        let property = its::read(frame + gicr::PROPBASER)?;
        let bytes = (2_u64 << (property & 0x1f)).saturating_sub(8192);
        used.push((
            format!("configuration of CPU {number}"),
            property & its::ADDRESS,
            bytes / PAGE,
        ));
        let pending = its::read(frame + gicr::PENDBASER)? & its::ADDRESS;
        used.push((format!("pending LPIs of CPU {number}"), pending, 1));
    }
    for (what, address, pages) in used {
        if address == 0 || pages == 0 {
            return Err(format!("{what} is not in use"));
        }
        for page in [0, pages / 2, pages - 1] {
            require_in_use(&vm, &what, address / PAGE + page)?;
        }
    }
    vm.finish()?;
    disk_works()
}

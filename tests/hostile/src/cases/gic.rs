//! The GIC as an agent that writes memory: tables, queues and commands of the ITS and of the
//! redistributors, aimed at what is not the host's, and donations of what they are using.
//!
//! Most cases need the ITS for themselves: Linux is told to leave it alone. The others work beside
//! Linux and its own tables and queue, and require the disk's interrupts to arrive afterwards. Every
//! attack by address is aimed at a page of the host's own as well, where it must work: what cannot
//! succeed anywhere would prove nothing.

mod live;
mod lpi;
mod race;

use redoubt_abi::call::Info;
use redoubt_abi::{HostCall, Status};

use crate::Check;
use crate::cases::{access, cases};
use crate::device::{self, Attribute, Mapping, Outcome, Step, WINDOW};
use crate::hyper;
use crate::its::{self, Command, Gic, Its, VALID, gicr, gits};
use crate::memory::{self, PAGE};
use crate::oracle::World;
use crate::vm::{GUEST_BASE, Options, Pages, Vm};

use live::{live_donation, live_queue, live_registers};
use lpi::{Lpis, lpi_tables, moved_events, refuses_to_enable, unlike_tables};
use race::{donation_race, rewriting, writers};

cases! {
    own_tables, "its-own-tables", "G1 +", "with pages of the host's own the ITS works; then they come back" [IdleIts];
    table_addresses, "its-table-address", "G1", "no table register takes a page that is not the host's" [IdleIts];
    half_writes, "its-half-writes", "G1 G6", "nor in halves, in either order" [IdleIts];
    queue_addresses, "its-queue-address", "G1", "nor does the command queue's" [IdleIts];
    event_tables, "its-event-table", "G1", "MAPD of whatever page writes to no page of anybody's" [IdleIts];
    moved_events, "its-moved-events", "G1 +", "MOVI of interrupts beyond the pending tables reaches no page behind them" [IdleIts];
    unlike_tables, "lpi-tables-unlike", "G1 +", "redistributors with unlike tables, or fewer bits than devices need" [IdleIts];
    events, "its-events", "G1", "events beyond a device's table write nowhere" [IdleIts];
    commands, "its-commands", "G1 +", "GICv4, unknown and malformed commands are skipped" [IdleIts];
    devices, "its-devices-exhausted", "G1 E1", "more devices than EL2 keeps track of: refused, then usable again" [IdleIts];
    lpi_tables, "lpi-table-address", "G1", "no redistributor takes a page that is not the host's" [IdleIts];
    tables_first, "its-tables-first", "G3", "what the GIC uses cannot be donated, until it is given up" [IdleIts];
    writers, "its-writers", "G1 D8", "CWRITER beyond the queue, and from two CPUs while a third switches" [IdleIts];
    rewriting, "its-queue-rewritten", "G1 D8", "a command that changes while it is read" [IdleIts];
    donation_race, "its-donation-race", "G3 G9", "tables are set while the page is donated" [IdleIts];
    access_forms, "its-access-forms", "G6", "every form of access to the guarded frames decodes or aborts" [Its];
    live_registers, "its-live-registers", "G1", "registers of an ITS in use do not move" [BusyIts];
    live_queue, "its-live-queue", "G1 G3", "hostile commands in Linux's own queue; its interrupts go on" [BusyIts];
    live_donation, "its-live-donation", "G3", "what the GIC uses for Linux cannot be donated" [BusyIts];
}

/// Why a page that the GIC uses cannot change hands.
const IN_USE: &[Status] = &[Status::Pinned, Status::NotOwner];

/// The device whose events the cases map.
const DEVICE: u64 = 5;
/// The first LPI.
const LPI: u64 = 8192;

/// How often the GIC was kept from something.
fn refusals() -> Check<u64> {
    hyper::info(Info::GicRefusals)
}

/// Runs an attack that must leave the canary whole, and that EL2 must have refused.
fn must_refuse(world: &mut World, what: &str, attack: impl FnOnce() -> Check) -> Check {
    let before = refusals()?;
    attack().map_err(|why| format!("{what}: {why}"))?;
    world.canary.check().map_err(|why| format!("{what}: {why}"))?;
    match refusals()? {
        after if after > before => Ok(()),
        _ => Err(format!("{what}: EL2 did not refuse it")),
    }
}

/// A page of the host before one that is not, and the VM that has that one.
struct Cliff {
    pages: Pages,
    vm: Vm,
}

impl Cliff {
    fn new() -> Check<Self> {
        let (pages, vm) = (Pages::new(1)?, Vm::empty(PROTECTED)?);
        let handle = vm.handle;
        hyper::succeed(HostCall::VmAddTables { handle, pfn: pages.pfn + 1, pages: 1 })?;
        Ok(Self { pages, vm })
    }

    /// Address of the host's page.
    const fn address(&self) -> u64 {
        self.pages.address()
    }

    fn free(self) -> Check {
        self.vm.finish()?;
        self.pages.free()
    }
}

const PROTECTED: Options = Options { protected: true, vcpus: 1 };

/// Addresses at which nothing of the GIC's may be: pages of EL2 and of the canary, registers, and
/// what is no memory at all.
fn victims(world: &World) -> Check<Vec<(&'static str, u64)>> {
    let gic = Gic::get()?;
    let mut victims: Vec<_> = access::foreign(world)?;
    for (_, pfn) in &mut victims {
        *pfn *= PAGE;
    }
    victims.extend([
        ("registers of the ITS", gic.its),
        ("registers of a redistributor", gic.redistributors()?[0]),
        ("no memory", 0x000f_ffff_ffff_0000),
    ]);
    Ok(victims)
}

/// Requires a table or queue register to hold no address that was attacked.
fn require_clear(register: u64, address: u64) -> Check {
    let now = its::read(register)?;
    if now & VALID != 0 && now & its::ADDRESS == address & its::ADDRESS {
        return Err(format!("the register at {register:#x} took it: {now:#x}"));
    }
    Ok(())
}

/// What MAPC and SYNC call a redistributor.
fn target(gic: Gic, redistributor: u64) -> Check<u64> {
    Ok(match its::read(gic.its + gits::TYPER)? >> 19 & 1 {
        0 => its::read(redistributor + gicr::TYPER)? >> 8 & 0xffff,
        _ => redistributor >> 16,
    })
}

/// The LPI tables of a redistributor: 14 bits of interrupt numbers.
const PROPERTY_BITS: u64 = 13;
/// Order of both tables: 64 KiB, which is what the pending table is aligned to.
const LPI_ORDER: u32 = 4;

fn own_tables(world: &mut World) -> Check {
    let gic = Gic::get()?;
    let its = Its::start(gic)?;
    let kind = its::read(gic.its + gits::TYPER)?;
    if kind >> 1 & 1 == 1 || kind >> 37 & 1 == 1 {
        return Err(format!("GITS_TYPER {kind:#x} offers LPIs of VMs"));
    }
    let redistributor = *gic.redistributors()?.last().ok_or("no redistributor")?;
    let (property, pending) = (Pages::new(LPI_ORDER)?, Pages::new(LPI_ORDER)?);
    its::write(redistributor + gicr::PROPBASER, property.address() | PROPERTY_BITS)?;
    its::write(redistributor + gicr::PENDBASER, pending.address())?;
    for (register, pages) in [(gicr::PROPBASER, property), (gicr::PENDBASER, pending)] {
        let now = its::read(redistributor + register)? & its::ADDRESS;
        if now != pages.address() {
            return Err(format!("redistributor register {register:#x} became {now:#x}"));
        }
    }
    its::write32(redistributor + gicr::CTLR, 1)?;
    let to = target(gic, redistributor)?;
    let table = Pages::new(0)?;
    its.send(&[
        its::mapd(DEVICE, table.address(), 3, true),
        its::mapc(0, to, true),
        its::mapti(DEVICE, 2, LPI + 1, 0),
        its::sync(to),
        its::about_event(3, DEVICE, 2),
        its::sync(to),
    ])?;
    // The LPI is not enabled, so that Linux is not disturbed by it: it stays pending.
    let bits = Mapping::new(pending.pfn, 1)?.get(usize::try_from(LPI / 8).unwrap_or(0));
    if bits != 2 {
        return Err(format!("LPI {} is not pending: {bits:#x}", LPI + 1));
    }
    world.canary.check()?;
    its.send(&[
        its::about_event(0xf, DEVICE, 2),
        its::mapd(DEVICE, 0, 0, false),
        its::mapc(0, to, false),
        its::sync(to),
    ])?;
    table.free()?;
    its.stop()?;
    its::write32(redistributor + gicr::CTLR, 0)?;
    its::write(redistributor + gicr::PROPBASER, 0)?;
    its::write(redistributor + gicr::PENDBASER, 0)?;
    property.free()?;
    pending.free()
}

/// Bits of a table register besides the address: flat and two-level, one and many pages, of 4 and of
/// 64 KiB.
const SHAPES: [u64; 5] =
    [VALID, VALID | its::INDIRECT, VALID | 0xff, VALID | its::INDIRECT | 0xff, VALID | 2 << 8];

/// Has the ITS use its tables, if it can be enabled: on a machine without a guard this writes to them.
fn use_tables(its: &Its, table: Pages) -> Check {
    its::write(its.base + gits::CBASER, VALID | its.queue.address())?;
    its::write(its.base + gits::CWRITER, 0)?;
    its::write32(its.base + gits::CTLR, 1)?;
    if its::read32(its.base + gits::CTLR)? & 1 == 0 {
        return Ok(());
    }
    its.send(&[
        its::mapd(0, table.address(), 3, true),
        its::mapc(0, 0, true),
        its::mapti(0, 0, LPI, 0),
        its::mapd(0, 0, 0, false),
        its::mapc(0, 0, false),
    ])?;
    its.disable()
}

fn table_addresses(world: &mut World) -> Check {
    let gic = Gic::get()?;
    let its = Its::start(gic)?;
    its.disable()?;
    let table = Pages::new(0)?;
    let cliff = Cliff::new()?;
    for index in 0..its::TABLES {
        let register = gic.its + gits::BASER + 8 * index;
        let kind = its::table_type(its::read(register)?);
        let ours = matches!(kind, its::DEVICES | its::COLLECTIONS);
        let mut tries: Vec<(&str, u64, u64)> = Vec::new();
        for (name, address) in victims(world)? {
            tries.extend(SHAPES.map(|shape| (name, address, shape)));
        }
        tries.push(("over the end of an own page", cliff.address(), VALID | 1));
        tries.push(("over the end of an own page", cliff.address(), VALID | 1 | its::INDIRECT));
        for (name, address, shape) in tries {
            // What the register had is given up first: else it could be the reason of a refusal.
            its::write(register, 0)?;
            let attack = || {
                its::write(register, shape | address & its::ADDRESS)?;
                require_clear(register, address)?;
                use_tables(&its, table)
            };
            let what = format!("GITS_BASER{index} {shape:#x}, {name}");
            if ours {
                must_refuse(world, &what, attack)?;
            } else {
                attack().map_err(|why| format!("{what}: {why}"))?;
                world.canary.check().map_err(|why| format!("{what}: {why}"))?;
            }
        }
        if !ours && its::read(register)? & VALID != 0 {
            return Err(format!("GITS_BASER{index} of type {kind} can be made valid"));
        }
    }
    for (register, pages) in &its.tables {
        its::write(*register, VALID | its::INDIRECT | pages.address() | (pages.count() - 1))?;
        if its::read(*register)? & its::INDIRECT != 0 {
            return Err(format!("the table register at {register:#x} takes two levels"));
        }
    }
    use_tables(&its, table)?;
    table.free()?;
    cliff.free()?;
    its.stop()
}

/// Writes a 64-bit register in halves.
fn write_halves(register: u64, value: u64, low_first: bool) -> Check {
    let low = || its::write32(register, value & 0xffff_ffff);
    let high = || its::write32(register + 4, value >> 32);
    if low_first { low().and_then(|()| high()) } else { high().and_then(|()| low()) }
}

fn half_writes(world: &mut World) -> Check {
    let gic = Gic::get()?;
    let its = Its::start(gic)?;
    its.disable()?;
    let table = Pages::new(0)?;
    let mut registers: Vec<u64> = its.tables.iter().map(|(register, _)| *register).collect();
    registers.push(gic.its + gits::CBASER);
    for register in registers {
        for (name, address) in victims(world)? {
            for low_first in [true, false] {
                its::write(register, 0)?;
                let what = format!("{register:#x} in halves, {name}");
                must_refuse(world, &what, || {
                    write_halves(register, VALID | address, low_first)?;
                    require_clear(register, address)?;
                    use_tables(&its, table)
                })?;
            }
        }
        its::write(register, 0)?;
        // The same is right for a page of the host's.
        let own = its.tables.iter().find(|table| table.0 == register).map_or(its.queue, |t| t.1);
        write_halves(register, VALID | own.address() | (own.count() - 1), true)?;
        let now = its::read(register)?;
        if now & VALID == 0 || now & its::ADDRESS != own.address() {
            return Err(format!("{register:#x} in halves became {now:#x}, not {own:x?}"));
        }
    }
    table.free()?;
    its.stop()
}

fn queue_addresses(world: &mut World) -> Check {
    let gic = Gic::get()?;
    let its = Its::start(gic)?;
    let cliff = Cliff::new()?;
    let mut tries: Vec<(&str, u64, u64)> = Vec::new();
    for (name, address) in victims(world)? {
        tries.extend([0, 1, 0xff].map(|size| (name, address, size)));
    }
    tries.push(("over the end of an own page", cliff.address(), 1));
    tries.push(("over the end of an own page", cliff.address(), 0xff));
    for (name, address, size) in tries {
        its.disable()?;
        let what = format!("GITS_CBASER {size:#x}, {name}");
        must_refuse(world, &what, || {
            its::write(gic.its + gits::CBASER, VALID | address & its::ADDRESS | size)?;
            require_clear(gic.its + gits::CBASER, address)?;
            its::write32(gic.its + gits::CTLR, 1)?;
            its::write(gic.its + gits::CWRITER, 4 * its::COMMAND_BYTES)?;
            its::read(gic.its + gits::CREADR).map(|_| ())
        })?;
    }
    its.disable()?;
    its.enable()?;
    its.send(&[its::sync(0)])?;
    cliff.free()?;
    its.stop()
}

fn event_tables(world: &mut World) -> Check {
    let gic = Gic::get()?;
    let its = Its::start(gic)?;
    let lpis = Lpis::enable(gic, 1, PROPERTY_BITS)?;
    let own = Pages::new(0)?;
    let cliff = Cliff::new()?;
    let mut tries: Vec<(&str, u64)> =
        vec![("an own page", own.address()), ("the end of own pages", cliff.address() + 0xf00)];
    tries.extend(victims(world)?);
    tries.push(("round the end of memory", 0x000f_ffff_ffff_ff00));
    for (name, address) in tries {
        for size in [0, 3, 8, 15] {
            let table = address & 0x000f_ffff_ffff_ff00;
            let mut attack = vec![its::mapd(DEVICE, table, size, true)];
            attack.extend((0..8).map(|event| its::mapti(DEVICE, event, LPI + event, 0)));
            attack.push(its::mapti(DEVICE, (2 << size) - 1, LPI, 0));
            attack.push(its::movi(DEVICE, 0, 1));
            attack.push(its::mapd(DEVICE, 0, 0, false));
            its.send(&attack)?;
            world.canary.check().map_err(|why| format!("MAPD of {size} bits, {name}: {why}"))?;
        }
        must_refuse(world, &format!("MAPD of too many bits, {name}"), || {
            its.send(&[its::mapd(DEVICE, address & 0x000f_ffff_ffff_ff00, 31, true)])
        })?;
    }
    memory::require_zero(own.pfn, 1)?;
    lpis.disable()?;
    own.free()?;
    cliff.free()?;
    its.stop()
}

fn events(world: &mut World) -> Check {
    const MARK: u64 = 0x6d61_726b_6d61_726b;
    let gic = Gic::get()?;
    let its = Its::start(gic)?;
    let lpis = Lpis::enable(gic, 1, PROPERTY_BITS)?;
    // 16 events at the end of a page, as the host has it; nothing comes there.
    let pages = Pages::new(1)?;
    memory::fill(pages.pfn, MARK)?;
    memory::fill(pages.pfn + 1, MARK)?;
    let start = PAGE - 0x100;
    its.send(&[its::mapd(DEVICE, pages.address() + start, 3, true)])?;
    let mut attack = Vec::new();
    for event in (16..64).chain([0xff, 0x155, 0xffff, 0x1_0000, 0xffff_ffff]) {
        attack.push(its::mapti(DEVICE, event, LPI, 0));
        attack.push(its::mapi(DEVICE, event, 0));
        attack.push(its::movi(DEVICE, event, 1));
        attack.extend([3, 4, 0xc, 0xf].map(|opcode| its::about_event(opcode, DEVICE, event)));
    }
    // Devices beyond the table, collections beyond theirs, interrupts that are none.
    for device in [0x800, 0xffff, 0x1_0000, 0xffff_ffff] {
        attack.push(its::mapti(device, 0, LPI, 0));
        attack.push(its::mapd(device, pages.address() + start, 3, true));
        attack.push(its::mapd(device, 0, 0, false));
    }
    for lpi in [0, 15, 31, 1023, 0x10_0000, 0xffff_ffff] {
        attack.push(its::mapti(DEVICE, 1, lpi, 0));
    }
    for collection in [0x3ff, 0x7fff, 0xffff] {
        attack.push(its::mapc(collection, 0, true));
        attack.push(its::mapti(DEVICE, 1, LPI, collection));
    }
    its.send(&attack)?;
    world.canary.check()?;
    let words = Mapping::new(pages.pfn, 2)?;
    for offset in (0..2 * PAGE as usize).step_by(8) {
        if words.get(offset) != MARK {
            return Err(format!("{:#x} was written at {offset:#x}", words.get(offset)));
        }
    }
    lpis.disable()?;
    its.send(&[its::mapd(DEVICE, 0, 0, false)])?;
    pages.free()?;
    its.stop()
}

/// Opcodes of GICv4 and GICv4.1.
const FOR_VMS: [u64; 10] = [0x21, 0x22, 0x23, 0x25, 0x29, 0x2a, 0x2b, 0x2d, 0x2e, 0x2f];
/// Opcodes of GICv3.
const KNOWN: [u64; 12] = [0x01, 0x03, 0x04, 0x05, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f];

/// A generator of numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let count = from.len() as u64;
        from[usize::try_from(self.next() % count).unwrap_or(0)]
    }
}

/// Commands that are never right: for VMs, and unknown ones, with an address in every field.
fn never_right(victim: u64) -> Vec<Command> {
    let unknown = (0..0x100).filter(|opcode| !KNOWN.contains(opcode) && !FOR_VMS.contains(opcode));
    let words = [victim, victim >> 8, victim | VALID, u64::MAX];
    let fill = |opcode| words.map(|word| [opcode | DEVICE << 32, word, word | VALID, word]);
    FOR_VMS.into_iter().chain(unknown).flat_map(fill).collect()
}

/// Commands of any kind with random words; addresses are those of victims or those given.
fn random_commands(victims: &[u64], random: &mut Random, count: usize) -> Vec<Command> {
    let opcodes: Vec<u64> = KNOWN.into_iter().chain(FOR_VMS).collect();
    let mut one = || {
        let opcode = match random.next() % 8 {
            0 => random.next() & 0xff,
            _ => random.pick(&opcodes),
        };
        // Reserved bits are set: MAPD has its device in bits 63:32, all else is random.
        let first = opcode | (random.next() << 8 & 0xffff_ff00) | (random.next() & 15) << 32;
        let flags = random.pick(&[0, VALID, VALID | 0xff, 0x7ff0_0000_0000_0000]);
        let second = random.pick(&[0, 3, 31, u64::MAX, random.0 & 0xffff, LPI << 32]);
        [first, second, random.pick(victims) | flags, random.pick(victims)]
    };
    (0..count).map(|_| one()).collect()
}

fn commands(world: &mut World) -> Check {
    let gic = Gic::get()?;
    let its = Its::start(gic)?;
    let targets = victims(world)?;
    for (name, address) in &targets {
        for batch in never_right(*address).chunks(64) {
            let before = refusals()?;
            must_refuse(world, &format!("{:#x} and on, {name}", batch[0][0]), || its.send(batch))?;
            let refused = refusals()? - before;
            if refused < batch.len() as u64 {
                return Err(format!("{refused} of {} commands were refused", batch.len()));
            }
        }
    }
    // Redistributors that are not there, in every command that names one.
    let nowhere = [0x1_0000, 0xffff, 0x7_ffff_ffff, targets[0].1 >> 16];
    for to in nowhere {
        must_refuse(world, &format!("redistributor {to:#x}"), || {
            its.send(&[
                its::mapc(0, to, true),
                its::sync(to),
                [0x0e, 0, to << 16, to << 16],
                its::mapc(0, 0, false),
            ])
        })?;
    }
    let addresses: Vec<u64> = targets.iter().map(|(_, address)| *address).collect();
    let mut random = Random(0x5eed_0000_0000_0001);
    for _ in 0..40 {
        let batch = random_commands(&addresses, &mut random, 64);
        its.send(&batch)?;
        world.canary.check().map_err(|why| format!("after {batch:x?}: {why}"))?;
    }
    its.stop()
}

fn devices(world: &mut World) -> Check {
    let gic = Gic::get()?;
    let its = Its::start(gic)?;
    let table = Pages::new(0)?;
    // As many as the table of devices has room for.
    let most = 4 * PAGE / 8;
    let before = refusals()?;
    let numbers: Vec<u64> = (0..most).collect();
    for batch in numbers.chunks(64) {
        let at = |device: &u64| table.address() + device % 16 * 0x100;
        let maps: Vec<_> =
            batch.iter().map(|device| its::mapd(*device, at(device), 3, true)).collect();
        its.send(&maps)?;
    }
    let refused = refusals()? - before;
    if refused == 0 || refused >= most {
        return Err(format!("of {most} devices {refused} were refused"));
    }
    for batch in numbers.chunks(64) {
        let maps: Vec<_> = batch.iter().map(|device| its::mapd(*device, 0, 0, false)).collect();
        its.send(&maps)?;
    }
    memory::require_zero(table.pfn, 1)?;
    let before = refusals()?;
    its.send(&[its::mapd(1, table.address(), 3, true), its::mapd(1, 0, 0, false)])?;
    if refusals()? != before {
        return Err("no device can be mapped any more".into());
    }
    world.canary.check()?;
    table.free()?;
    its.stop()
}

/// Requires every way to donate a page to be refused.
fn require_in_use(vm: &Vm, what: &str, pfn: u64) -> Check {
    let handle = vm.handle;
    let calls = [
        HostCall::VmAddTables { handle, pfn, pages: 1 },
        HostCall::VmMap { handle, pfn, ipa: GUEST_BASE, pages: 1, flags: 0 },
        HostCall::VcpuCreate { handle, vcpu: 0, state_pfn: pfn, run_pfn: vm.memory.pfn, flags: 0 },
        HostCall::VmCreate { flags: 1, ipa_bits: 36, vcpus: 1, root_pfn: pfn },
    ];
    for call in calls {
        hyper::refuse(call, IN_USE).map_err(|why| format!("{what}: {why}"))?;
    }
    Ok(())
}

fn tables_first(world: &mut World) -> Check {
    let gic = Gic::get()?;
    let its = Its::start(gic)?;
    let vm = Vm::empty(PROTECTED)?;
    let frame = gic.redistributors()?[0];
    let (property, pending) = (Pages::new(LPI_ORDER)?, Pages::new(LPI_ORDER)?);
    let table = Pages::new(2)?;
    its::write(frame + gicr::PROPBASER, property.address() | PROPERTY_BITS)?;
    its::write(frame + gicr::PENDBASER, pending.address())?;
    its::write32(frame + gicr::CTLR, 1)?;
    // The ITS does not use what the host gives for events: it can be donated at once.
    its.send(&[its::mapd(DEVICE, table.address(), 9, true)])?;
    let handle = vm.handle;
    hyper::succeed(HostCall::VmAddTables { handle, pfn: table.pfn, pages: 4 })?;
    its.send(&[its::mapti(DEVICE, 2, LPI, 0), its::mapti(DEVICE, 1023, LPI, 0)])?;
    let mut used = vec![
        ("the queue", its.queue.pfn),
        ("the configuration of LPIs", property.pfn),
        ("the pending LPIs", pending.pfn),
    ];
    for (_, pages) in &its.tables {
        used.extend([
            ("a table", pages.pfn),
            ("the end of a table", pages.pfn + pages.count() - 1),
        ]);
    }
    for (what, pfn) in &used {
        require_in_use(&vm, what, *pfn)?;
    }
    world.canary.check()?;
    let queue = its.queue;
    its.send(&[its::mapd(DEVICE, 0, 0, false)])?;
    its::write32(frame + gicr::CTLR, 0)?;
    // What was given up can be donated, while the queue still cannot.
    for (_, pfn) in &used[1..3] {
        hyper::succeed(HostCall::VmAddTables { handle, pfn: *pfn, pages: 1 })?;
    }
    require_in_use(&vm, "the queue", queue.pfn)?;
    // And the GIC takes nothing of that back.
    must_refuse(world, "LPIs with tables that were donated", || refuses_to_enable(frame))?;
    its::write(frame + gicr::PROPBASER, 0)?;
    its::write(frame + gicr::PENDBASER, 0)?;
    its.stop()?;
    vm.finish()?;
    for pages in [property, pending, table] {
        pages.free()?;
    }
    Ok(())
}

/// What the registers that hold addresses have; of tables and queues, only what is valid.
fn registers(gic: Gic) -> Check<Vec<(u64, u64)>> {
    let mut all = vec![gic.its + gits::CBASER];
    all.extend((0..its::TABLES).map(|index| gic.its + gits::BASER + 8 * index));
    for frame in gic.redistributors()? {
        all.extend([frame + gicr::PROPBASER, frame + gicr::PENDBASER]);
    }
    let mut values = Vec::new();
    for register in all {
        let value = its::read(register)?;
        let in_its = register < gic.its + 0x1000 && register >= gic.its;
        values.push((register, if in_its && value & VALID == 0 { 0 } else { value }));
    }
    Ok(values)
}

/// Whether a syndrome is that of a data abort which the bus answered: the host's own frames are not
/// trapped, and take no byte.
const fn is_bus_error(esr: u64) -> bool {
    esr >> 26 & 0x3f == 0x25 && esr & 0x3f == 0x10
}

fn access_forms(world: &mut World) -> Check {
    let gic = Gic::get()?;
    let frame = gic.redistributors()?[0];
    let before = registers(gic)?;
    let victim = world.canary.secret_page()?.0 * PAGE;
    // Identification, reserved, a table register, the frame's last page and those between.
    let mut places: Vec<u64> =
        [0x8, 0x98, 0x100, 0x140, 0xff8, 0x1000, 0xf000, 0xffe8].map(|at| gic.its + at).into();
    places.extend([0x8, 0x80, 0x100, 0xff8, 0x1000, 0xffe8].map(|at| frame + at));
    for place in places {
        for (name, word) in access::FORMS {
            for attribute in [Attribute::DeviceStrong, Attribute::Device, Attribute::Normal] {
                let mut step = Step::new([word, crate::a64::RET])
                    .window(place, attribute)
                    .registers(&[victim | VALID, WINDOW + place % PAGE, victim | VALID, 0]);
                // DC ZVA and what is wider than a register would cross into the next window.
                step.maps.push((place / PAGE * PAGE, attribute));
                let step = device::run_one(step)?;
                match step.outcome {
                    Outcome::Returned => {}
                    Outcome::Exception { esr, .. }
                        if memory::is_injected(esr)
                            || is_bus_error(esr)
                            || esr >> 26 & 0x3f == 0 => {}
                    outcome => return Err(format!("{name} at {place:#x}: {outcome:x?}")),
                }
            }
        }
        world.canary.check().map_err(|why| format!("at {place:#x}: {why}"))?;
    }
    for ((register, before), (_, now)) in before.into_iter().zip(registers(gic)?) {
        if before != now {
            return Err(format!("the register at {register:#x} was {before:#x}, is {now:#x}"));
        }
    }
    Ok(())
}

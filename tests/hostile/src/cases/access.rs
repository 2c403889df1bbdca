//! Memory that is not the host's: reached by every kind of access, through every attribute, from
//! EL1 and EL0, while it changes hands.

use redoubt_abi::{HostCall, Status};

use crate::Check;
use crate::a64;
use crate::cases::cases;
use crate::device::{self, Attribute, Log, Mapping, Outcome, Runner, Step, WINDOW};
use crate::hyper;
use crate::memory::{self, PAGE};
use crate::oracle::{Canary, World};
use crate::vm::{Options, Pages, Vm};

cases! {
    sweep_region, "el2-region-sweep", "B8", "every page of EL2's region refuses reads, writes, jumps";
    every_access, "access-matrix", "H1", "no form of access reaches a page of EL2 or of a protected VM";
    crossing, "access-crossing", "H1 H6", "an access that crosses into a foreign page is refused whole";
    from_user, "access-from-el0", "H1", "a process gets SIGBUS, a system call EFAULT; Linux lives";
    fault_race, "fault-race", "H5", "CPUs that fault on a page while it is donated and reclaimed";
    outside_ram, "access-outside-ram", "H6", "addresses beyond RAM, in holes, near the end of PA space";
    stale_tlb, "stale-tlb", "H8", "a CPU that reads in a loop never sees a page after it was donated";
    sparse, "table-exhaustion", "H9", "touching and splitting far apart ends in errors, not in a panic";
    run_page_pinned, "run-page-pinned", "M2", "a run page cannot change hands while EL2 may read it";
    forged_metadata, "forged-metadata", "M4", "what donated pages contain does not matter";
    maintenance, "maintenance-by-set-way", "H3", "DC ISW does not bring back what a protected VM had";
}

fn sweep_region(world: &mut World) -> Check {
    let holes = memory::hidden(world.ram)?;
    let pages: Vec<u64> = holes
        .iter()
        .flat_map(|(start, end)| (start.div_ceil(PAGE)..end / PAGE).map(|pfn| pfn * PAGE))
        .collect();
    if pages.len() < 16 {
        return Err(format!("EL2 in {} pages: not believable", pages.len()));
    }
    let refused = |what: &'static str| {
        move |address: u64, log: &Log| {
            if log.returned() {
                Err(format!("{what} {address:#x}: carried out, X0 {:#x}", log.x[0]))
            } else if memory::is_injected(log.esr) {
                Ok(())
            } else {
                Err(format!("{what} {address:#x}: ESR {:#x}", log.esr))
            }
        }
    };
    memory::sweep(&pages, |at| memory::load_step(at, Attribute::Normal), refused("read of"))?;
    memory::sweep(
        &pages,
        |at| memory::store_step(at + 8, 0, Attribute::Normal),
        refused("write to"),
    )?;
    memory::sweep(&pages, jump_step, refused("jump to"))
}

/// A step that calls the first instruction of a page.
fn jump_step(physical: u64) -> Step {
    Step::new([a64::mov(19, 30), a64::blr(1), a64::mov(30, 19), a64::RET])
        .window(physical, Attribute::Normal)
        .registers(&[0, WINDOW])
}

/// Forms of access with X1 the address: instruction and name.
pub const FORMS: [(&str, u32); 22] = [
    ("LDRB", 0x3940_0020),
    ("LDRH", 0x7940_0020),
    ("LDR W", 0xb940_0020),
    ("LDR X", 0xf940_0020),
    ("LDP", 0xa940_0820),
    ("LDR post-index", 0xf840_8420),
    ("LDR Q", 0x3dc0_0020),
    ("LD1 4 registers", 0x4c40_2c20),
    ("LDXR", 0xc85f_7c20),
    ("LDAXP", 0xc87f_8820),
    ("LDAR", 0xc8df_fc20),
    ("STRB", 0x3900_0020),
    ("STR X", 0xf900_0020),
    ("STP", 0xa900_0820),
    ("STR Q", 0x3d80_0020),
    ("ST1 4 registers", 0x4c00_2c20),
    ("STLR", 0xc89f_fc20),
    ("DC ZVA", 0xd50b_7421),
    ("LDADD", 0xf820_0022),
    ("SWPAL", 0xf8e0_8022),
    ("CAS", 0xc8a0_7c22),
    ("LDR unaligned", 0xf840_3020),
];

/// Pages that are not the host's: of EL2, of the canary, its tables, its state.
///
/// # Errors
/// When the region of EL2 cannot be found.
pub fn foreign(world: &World) -> Check<Vec<(&'static str, u64)>> {
    let vm = &world.canary.vm;
    let mut pages = vec![
        ("secret of the canary", world.canary.secret_page()?.0),
        ("first page of the canary", vm.memory.pfn),
        ("root of the canary", vm.root.pfn),
        ("table pool of the canary", vm.tables.pfn),
        ("state page of the canary", vm.vcpus[0].state.pfn),
    ];
    if world.ram.is_some() {
        let holes = memory::hidden(world.ram)?;
        let (start, end) = holes[0];
        pages.push(("start of EL2", start.div_ceil(PAGE)));
        pages.push(("middle of EL2", (start / 2 + end / 2) / PAGE));
        pages.push(("end of EL2", end / PAGE - 1));
    }
    Ok(pages)
}

/// Whether an exception is one of those by which an access may be refused: a data or instruction
/// abort at EL1, or UNDEFINED where the CPU has not the instruction.
fn require_exception(name: &str, place: &str, step: &Step) -> Check {
    match step.outcome {
        Outcome::Exception { esr, .. } if memory::is_injected(esr) || esr >> 26 & 0x3f == 0 => {
            Ok(())
        }
        outcome => Err(format!("{name} at {place}: {outcome:x?}, X0 {:#x}", step.x[0])),
    }
}

fn every_access(world: &mut World) -> Check {
    for (place, pfn) in foreign(world)? {
        for (name, word) in FORMS {
            for attribute in [Attribute::Normal, Attribute::NonCacheable] {
                let step = Step::new([word, a64::RET]).window(pfn * PAGE, attribute).registers(&[
                    0,
                    WINDOW + 0x100,
                    0,
                    0,
                ]);
                require_exception(name, place, &device::run_one(step)?)?;
            }
            // Device memory: the same, for forms that are aligned (an unaligned one faults anyway).
            let step = Step::new([word, a64::RET])
                .window(pfn * PAGE, Attribute::DeviceStrong)
                .registers(&[0, WINDOW + 0x100, 0, 0]);
            require_exception(name, place, &device::run_one(step)?)?;
        }
        require_exception("jump", place, &device::run_one(jump_step(pfn * PAGE))?)?;
        // A load that also faults must leave its destination alone.
        let step = Step::new([a64::load(3, 0, 1), a64::RET])
            .window(pfn * PAGE, Attribute::Normal)
            .registers(&[0x1357, WINDOW]);
        let step = device::run_one(step)?;
        if step.x[0] != 0x1357 {
            return Err(format!("a refused load at {place} put {:#x} into X0", step.x[0]));
        }
    }
    Ok(())
}

fn crossing(world: &mut World) -> Check {
    let own = Pages::new(0)?;
    memory::fill(own.pfn, 0x5555_5555_5555_5555)?;
    for (place, pfn) in foreign(world)? {
        // LDR X0 and LDR Q0 from the last bytes of the own page, STR X0, LDP across.
        for word in [0xf940_0020_u32, 0x3dc0_0020, 0xf900_0020, 0xa940_0820, 0xa900_0820] {
            for back in [1_u64, 4, 7] {
                let step = Step::new([word, a64::RET])
                    .window(own.pfn * PAGE, Attribute::Normal)
                    .window(pfn * PAGE, Attribute::Normal)
                    .registers(&[0x1357, WINDOW + PAGE - back, 0]);
                let step = device::run_one(step)?;
                require_exception("crossing access", place, &step)?;
                if word != 0xf900_0020 && word != 0xa900_0820 && step.x[0] != 0x1357 {
                    return Err(format!("a load across into {place} gave {:#x}", step.x[0]));
                }
            }
        }
    }
    own.free()
}

/// What became of a child process.
fn in_child(attack: impl FnOnce() -> i32) -> Check<i32> {
    // SAFETY: the child only makes system calls and one access, and leaves by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code = attack();
        // SAFETY: ends the child.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    if child < 0 || waited != child { Err("fork or waitpid failed".into()) } else { Ok(status) }
}

fn from_user(world: &mut World) -> Check {
    for (place, pfn) in foreign(world)? {
        let mapping = Mapping::new(pfn, 1)?;
        for write in [false, true] {
            let status = in_child(|| {
                if write {
                    mapping.set(0, 0);
                    0
                } else {
                    i32::from(mapping.get(0) == 1)
                }
            })?;
            if !libc::WIFSIGNALED(status) || libc::WTERMSIG(status) != libc::SIGBUS {
                return Err(format!("{place}: a process ends with status {status:#x}, not SIGBUS"));
            }
        }
        // A system call that reads from there, or writes to there.
        let mut pipe = [0; 2];
        // SAFETY: two descriptors.
        if unsafe { libc::pipe(pipe.as_mut_ptr()) } != 0 {
            return Err("pipe".into());
        }
        // SAFETY: the kernel checks the buffer; a page that faults is the point.
        let written = unsafe { libc::write(pipe[1], mapping.address().cast(), 8) };
        let error = std::io::Error::last_os_error();
        for descriptor in pipe {
            // SAFETY: opened above.
            unsafe { libc::close(descriptor) };
        }
        if written != -1 || error.raw_os_error() != Some(libc::EFAULT) {
            return Err(format!("{place}: write() returned {written}, {error}"));
        }
    }
    Ok(())
}

fn fault_race(world: &mut World) -> Check {
    if world.cpus < 3 {
        return Err("needs 3 CPUs".into());
    }
    let page = Pages::new(0)?;
    let root = Pages::new(0)?;
    for _ in 0..20 {
        let handle = hyper::succeed(HostCall::VmCreate {
            flags: 1,
            ipa_bits: 36,
            vcpus: 1,
            root_pfn: root.pfn,
        })?;
        let donate = HostCall::VmAddTables { handle, pfn: page.pfn, pages: 1 };
        let destroy = HostCall::VmDestroy { handle };
        let reclaim = HostCall::VmReclaim { handle };
        let give = Runner {
            cpu: 0,
            steps: [donate, destroy, reclaim, reclaim].iter().map(hyper::step).collect(),
            times: 1,
            until_peer: false,
        };
        let reader = |cpu, step| Runner { cpu, steps: vec![step], times: 2000, until_peer: true };
        let load = memory::load_step(page.pfn * PAGE, Attribute::Normal);
        let store = memory::store_step(page.pfn * PAGE, 0, Attribute::Normal);
        let logs = device::race(vec![give, reader(1, load), reader(2, store)])?;
        for log in logs.iter().skip(1).flatten() {
            if !log.returned() && !memory::is_injected(log.esr) {
                return Err(format!("a racing access: ESR {:#x}", log.esr));
            }
        }
        if logs[0].iter().take(2).any(|log| log.x[0] != 0) {
            return Err("donating or destroying was refused".into());
        }
        while hyper::call(reclaim)?.status == Status::Success {}
        memory::require_owned(page.pfns())?;
    }
    page.free()?;
    root.free()
}

fn outside_ram(_: &mut World) -> Check {
    let mut addresses: Vec<u64> = (30..48).map(|bit| 1_u64 << bit).collect();
    addresses.extend((32..48).map(|bit| (1_u64 << bit) - PAGE));
    addresses.extend([0, 0x2000_0000, 0x3fff_f000, 0x0fff_ffff_f000]);
    for (start, end) in memory::linux_ram()? {
        addresses.extend([start.saturating_sub(PAGE), end]);
    }
    for address in addresses {
        for attribute in [Attribute::Normal, Attribute::Device] {
            // Whatever is there: it ends, as an answer, an abort or nothing.
            let step = device::run_one(memory::load_step(address, attribute))?;
            if let Outcome::Exception { esr, .. } = step.outcome
                && esr >> 26 & 0x3f != 0x25
            {
                return Err(format!("{address:#x}: ESR {esr:#x}"));
            }
            device::run_one(jump_step(address)).map(drop)?;
        }
    }
    Ok(())
}

fn stale_tlb(world: &mut World) -> Check {
    if world.cpus < 2 {
        return Err("needs 2 CPUs".into());
    }
    const MARK: u64 = 0x7e11_7a1e_0bad_cafe;
    let vm = Vm::empty(Options { protected: true, vcpus: 1 })?;
    // loop: LDR X0, [X1]; EOR X4, X0, X2; CBNZ X4, out; SUB X3, X3, #1; CBNZ X3, loop; out: RET
    let code = [
        a64::load(3, 0, 1),
        a64::eor(4, 0, 2),
        a64::cbnz(4, 3),
        a64::sub(3, 3, 1),
        a64::cbnz(3, -4),
        a64::RET,
    ];
    let mut refused = 0;
    for (index, pfn) in vm.memory.pfns().enumerate() {
        memory::fill(pfn, MARK)?;
        let read = Step::new(code).window(pfn * PAGE, Attribute::Normal);
        let reader = Runner {
            cpu: 1,
            steps: vec![read.registers(&[MARK, WINDOW, MARK, 5_000_000])],
            times: 1,
            until_peer: false,
        };
        let map = HostCall::VmMap {
            handle: vm.handle,
            pfn,
            ipa: crate::vm::GUEST_BASE + index as u64 * PAGE,
            pages: 1,
            flags: 0,
        };
        let donor = Runner { cpu: 0, steps: vec![hyper::step(&map)], times: 1, until_peer: false };
        let logs = device::race(vec![donor, reader])?;
        if logs[0][0].x[0] != 0 {
            return Err(format!("VM_MAP: {:#x}", logs[0][0].x[0]));
        }
        if logs[1][0].x[0] != MARK {
            return Err(format!("page {pfn:#x} read as {:#x} after it was given", logs[1][0].x[0]));
        }
        refused += u32::from(!logs[1][0].returned());
    }
    vm.finish()?;
    if refused == 0 { Err("no race was close: the case proves nothing".into()) } else { Ok(()) }
}

fn sparse(world: &mut World) -> Check {
    // Far apart, in all of the address space, and in every 2 MiB of RAM.
    let mut addresses: Vec<u64> = (0..512).map(|index| index << 30).collect();
    for (start, end) in memory::linux_ram()? {
        addresses.extend((start..end).step_by(2 << 20));
    }
    memory::sweep(&addresses, |at| memory::load_step(at, Attribute::Normal), |_, _| Ok(()))?;
    // Every donated page that lies alone splits a block: as many as there are, spread out.
    let vm = Vm::empty(Options { protected: true, vcpus: 1 })?;
    let mut chunks = Vec::new();
    for _ in 0..200 {
        let Ok(chunk) = Pages::new(9) else { break };
        chunks.push(chunk);
    }
    let mut given = 0;
    for chunk in &chunks {
        let donate = HostCall::VmAddTables { handle: vm.handle, pfn: chunk.pfn + 77, pages: 1 };
        match hyper::call(donate)?.status {
            Status::Success => given += 1,
            Status::NoTables => break,
            other => return Err(format!("VM_ADD_TABLES: {}", other.name())),
        }
    }
    world.canary.check()?;
    vm.finish()?;
    for chunk in chunks {
        chunk.free()?;
    }
    if given == 0 { Err("not one page could be given".into()) } else { Ok(()) }
}

fn run_page_pinned(world: &mut World) -> Check {
    let run = world.canary.vm.vcpus[0].run.pfn;
    let vm = Vm::empty(Options { protected: true, vcpus: 1 })?;
    let spare = Pages::new(0)?;
    let handle = vm.handle;
    let create = |root_pfn| HostCall::VmCreate { flags: 1, ipa_bits: 36, vcpus: 1, root_pfn };
    let vcpu =
        |state_pfn, run_pfn| HostCall::VcpuCreate { handle, vcpu: 0, state_pfn, run_pfn, flags: 0 };
    let attacks = [
        create(run),
        HostCall::VmAddTables { handle, pfn: run, pages: 1 },
        HostCall::VmMap { handle, pfn: run, ipa: crate::vm::GUEST_BASE, pages: 1, flags: 0 },
        HostCall::VmMap { handle, pfn: run, ipa: crate::vm::GUEST_BASE, pages: 1, flags: 1 },
        vcpu(run, spare.pfn),
    ];
    for attack in attacks {
        hyper::refuse(attack, &[Status::Pinned, Status::Shared])?;
        memory::require_owned([run, spare.pfn])?;
    }
    // The same while another CPU runs that vCPU.
    if world.cpus > 1 {
        world.canary.vm.park(0);
        let steps = vec![hyper::step(&world.canary.vm.run_call(0))];
        let runner = Runner { cpu: 1, steps, times: 500, until_peer: true };
        let donor = Runner {
            cpu: 0,
            steps: attacks.iter().map(hyper::step).collect(),
            times: 50,
            until_peer: false,
        };
        let logs = device::race(vec![donor, runner])?;
        if let Some(log) = logs[0].iter().find(|log| log.x[0] == 0) {
            return Err(format!("attack {} succeeded while the vCPU ran", log.step));
        }
    }
    vm.finish()?;
    spare.free()
}

fn forged_metadata(world: &mut World) -> Check {
    // Contents that look like page-table entries to EL2's memory, list links, counters, orders.
    let start = memory::hidden(world.ram).map_or(0x4000_0000, |holes| holes[0].0);
    for pattern in [u64::MAX, start | 3, start | 0x7ff, 1, start, 0x8000_0000_0000_0000] {
        let mut dirty = Vec::new();
        for order in [0, 0, 0, 3, 6] {
            let pages = Pages::new(order)?;
            pages.pfns().try_for_each(|pfn| memory::fill(pfn, pattern))?;
            dirty.push(pages);
        }
        // Freed at once, they are what the next allocations of those orders get.
        for pages in dirty.into_iter().rev() {
            device::free(pages.pfn, pages.order)?;
        }
        let vm = Vm::empty(Options { protected: true, vcpus: 1 })?;
        let (root, tables) = (vm.root, vm.tables);
        memory::require_refused([root.pfn, tables.pfn])?;
        vm.finish()?;
        let mut canary = Canary::start(&world.payloads, Options { protected: true, vcpus: 1 })?;
        canary.check()?;
        canary.vm.finish()?;
    }
    // Directly: a root and a pool full of forged entries.
    let (root, pool) = (Pages::new(0)?, Pages::new(0)?);
    for pages in [root, pool] {
        memory::fill(pages.pfn, start | 0x7ff)?;
    }
    let handle = hyper::succeed(HostCall::VmCreate {
        flags: 1,
        ipa_bits: 36,
        vcpus: 1,
        root_pfn: root.pfn,
    })?;
    hyper::succeed(HostCall::VmAddTables { handle, pfn: pool.pfn, pages: 1 })?;
    hyper::succeed(HostCall::VmDestroy { handle })?;
    crate::vm::reclaim(handle)?;
    for pages in [root, pool] {
        memory::require_zero(pages.pfn, 1)?;
        pages.free()?;
    }
    Ok(())
}

fn maintenance(world: &mut World) -> Check {
    let mut canary = Canary::start(&world.payloads, Options { protected: true, vcpus: 1 })?;
    canary.command(crate::oracle::command::WRITE, 3)?;
    let pfn = canary.arena_pfn(3)?;
    let invalidate = |word: u32| -> Check {
        for set in 0..64_u64 {
            let step = Step::new([word, a64::RET]).registers(&[set << 6]);
            device::run_one(step).map(drop)?;
        }
        Ok(())
    };
    // DC ISW, DC CSW, DC CISW, before and after the page comes back.
    for word in [0xd508_7640, 0xd508_7a40, 0xd508_7e40] {
        invalidate(word)?;
    }
    if canary.command(crate::oracle::command::INSPECT, 3)? != 1 {
        return Err("maintenance by the host changed the memory of a protected VM".into());
    }
    canary.vm.destroy()?;
    for word in [0xd508_7640, 0xd508_7a40] {
        invalidate(word)?;
    }
    memory::require_zero(pfn, 1)?;
    for pages in canary.vm.pages() {
        pages.free()?;
    }
    Ok(())
}

//! The state of vCPUs: what the host can change, what it can see, and what the guest sees of it.

use redoubt_abi::call::Info;
use redoubt_abi::run::{self, ExitReason};
use redoubt_abi::{HostCall, Status, reg};

use crate::Check;
use crate::a64::{self, System};
use crate::cases::cases;
use crate::device::{self, Fp, Outcome, Step};
use crate::hyper;
use crate::oracle::{Canary, World, command};
use crate::vm::{Event, Options, Vm};

cases! {
    registers_closed, "registers-closed", "V1", "no register of a protected vCPU that ran can be read or written";
    creating_registers, "creating-registers", "V1 V10", "before it runs, only X0-X30, PC and PSTATE; no mode above EL1";
    exit_tells_no_more, "exit-discloses", "V2", "an exit shows its own arguments, and no register else changes";
    vectors_do_not_leak, "leak-vectors", "V5 V6", "V, Z, P, FFR, FPSR, FPCR: nothing of the guest in the host's, nor back";
    registers_do_not_leak, "leak-registers", "V8", "system registers, keys, debug: nothing leaks either way";
    host_keeps_its_own, "host-state-kept", "V8", "what the host has in its system registers is there after a run";
    entry_words, "entry-words", "V10 V11", "no bit pattern in the run page makes more than an entry or a refusal";
    list_registers, "list-registers", "V14", "list registers: hardware interrupts, special numbers, too many";
    injection, "injection", "V14 +", "an honest interrupt arrives once, and its list register says so";
    forged_mmio, "forged-mmio", "V1 +", "a completion that no exit asked for changes nothing";
}

const PROTECTED: Options = Options { protected: true, vcpus: 1 };

/// Pattern of the host in every vector byte, and in registers.
const HOST_BYTE: u8 = 0xa7;
const HOST_MARK: u64 = 0x4057_5ec2_0000_0000;
/// Upper half of every register of the leak payload.
const GUEST_MARK: u64 = 0x6e57_5ec2;

fn registers_closed(world: &mut World) -> Check {
    let handle = world.canary.vm.handle;
    let mut numbers: Vec<u64> = (0..=38).chain(64..128).collect();
    numbers.extend((0..0x1_0000).step_by(17).map(|encoding| reg::SYSTEM | encoding));
    let wrong = &[Status::Protected, Status::WrongState, Status::InvalidArgument];
    for register in numbers {
        hyper::refuse(HostCall::VcpuGetReg { handle, vcpu: 0, register }, wrong)?;
        hyper::refuse(HostCall::VcpuSetReg { handle, vcpu: 0, register, value: !0 }, wrong)?;
    }
    world.canary.check()
}

fn creating_registers(world: &mut World) -> Check {
    let vm = Vm::build(&world.payload("canary")?, PROTECTED)?;
    let handle = vm.handle;
    let set = |register, value| HostCall::VcpuSetReg { handle, vcpu: 0, register, value };
    // Modes above EL1, AArch32 modes, reserved modes: refused, or not what comes back.
    for mode in [8, 9, 12, 13, 0x10, 0x13, 0x1a, 0x1f, 6, 7] {
        let reply = hyper::call(set(reg::PSTATE, 0x3c0 | mode))?;
        if reply.status == Status::Success {
            let get = HostCall::VcpuGetReg { handle, vcpu: 0, register: reg::PSTATE };
            let now = hyper::succeed(get)?;
            if matches!(now & 0x1f, 0 | 4 | 5) {
                continue;
            }
            return Err(format!("PSTATE {now:#x} was accepted"));
        }
    }
    // Anything that is no general register: system registers with their traps and translation.
    for system in [
        reg::system(3, 0, 1, 0, 0),
        reg::system(3, 0, 2, 0, 0),
        reg::system(3, 4, 1, 1, 0),
        reg::system(3, 0, 12, 0, 0),
        reg::SP_EL1,
        reg::V0,
    ] {
        hyper::refuse(set(system, !0), &[Status::Protected, Status::InvalidArgument])?;
    }
    hyper::succeed(set(0, 0x1234))?;
    vm.finish()
}

fn exit_tells_no_more(world: &mut World) -> Check {
    let mut canary = Canary::start(&world.payloads, PROTECTED)?;
    for round in 0..200_u64 {
        // The whole run page holds a filler; what EL2 does not write stays.
        let page = &canary.vm.vcpus[0].page;
        for offset in (run::EXIT_REASON..4096).step_by(8) {
            page.set(offset, HOST_MARK | offset as u64);
        }
        // `judge` inside checks X2 to X29.
        let (exit, _) = canary.vm.enter_with(0, |step| step)?;
        let used = match exit.reason {
            ExitReason::MmioRead => 2,
            ExitReason::MmioWrite => 3,
            ExitReason::Interrupt | ExitReason::WaitForInterrupt | ExitReason::WaitForEvent => 0,
            other => return Err(format!("the canary exits with {other:?}")),
        };
        for (index, argument) in exit.args.iter().enumerate().skip(used) {
            let filler = HOST_MARK | (run::EXIT_ARGS + 8 * index) as u64;
            if *argument != 0 && *argument != filler {
                return Err(format!("{:?} has {argument:#x} in argument {index}", exit.reason));
            }
        }
        let page = &canary.vm.vcpus[0].page;
        for offset in (run::EXIT_VMCR + 8..4096).step_by(8) {
            if page.get(offset) != HOST_MARK | offset as u64 {
                return Err(format!("the run page has {:#x} at {offset:#x}", page.get(offset)));
            }
        }
        match canary.vm.handle(0, exit)? {
            Some(Event::Challenge) => canary.vm.vcpus[0].complete = Some(round),
            None | Some(Event::Answer(_) | Event::Interrupt | Event::Wait) => {}
            Some(other) => return Err(format!("the canary sends {other:?}")),
        }
    }
    canary.vm.finish()
}

/// Whether this host sees SVE.
fn has_sve() -> Check<bool> {
    let step = device::run_one(Step::new([System::new(3, 0, 0, 4, 0).read(0), a64::RET]))?;
    Ok(step.x[0] >> 32 & 0xf != 0)
}

/// Whether bytes hold the guest's mark, in any word.
fn has_mark(bytes: &[u8]) -> bool {
    let mark = u32::try_from(GUEST_MARK).unwrap_or(0).to_le_bytes();
    bytes.windows(4).any(|window| window == mark)
}

/// Runs the leak payload to its end, with the host's pattern in every vector register at each entry,
/// and looks for the guest's in what the host finds afterwards.
fn run_leak(world: &World) -> Check<Vm> {
    let sve = has_sve()?;
    let mut vm = Vm::build(&world.payload("leak")?, PROTECTED)?;
    for _ in 0..200_000 {
        let (exit, step) = vm.enter_with(0, |mut step| {
            let mut fp = Fp::filled(HOST_BYTE);
            fp.fpsr = 0x0800_0015;
            fp.fpcr = 0x0100_0000;
            step.fp = Some(fp);
            step.sve = sve;
            step
        })?;
        let fp = step.fp.as_ref().ok_or("no FP registers")?;
        let length = if sve { usize::try_from(fp.vl).unwrap_or(256).min(256) } else { 16 };
        for (index, z) in fp.z.iter().enumerate() {
            if has_mark(&z[..length]) {
                return Err(format!("V{index} or Z{index} of the host holds the guest's mark"));
            }
        }
        if fp.p.iter().any(|p| has_mark(p)) || has_mark(&fp.ffr) {
            return Err("P or FFR of the host holds the guest's mark".into());
        }
        // The guest's FPSR is 0x0800_001f, its FPCR 0x0340_0000.
        if fp.fpsr == 0x0800_001f || fp.fpcr == 0x0340_0000 {
            return Err(format!("FPSR {:#x}, FPCR {:#x} are the guest's", fp.fpsr, fp.fpcr));
        }
        match vm.handle(0, exit)? {
            Some(Event::Off) => return Ok(vm),
            Some(Event::Nothing) => vm.vcpus[0].complete = Some(0),
            _ => {}
        }
    }
    Err("the leak payload does not end".into())
}

fn vectors_do_not_leak(world: &mut World) -> Check {
    let vm = run_leak(world)?;
    let report = |key: u64| vm.reports.get(&key).copied();
    let host = u64::from_le_bytes([HOST_BYTE; 8]);
    for key in 0x200..0x240 {
        match report(key) {
            Some(value) if value == host => {
                return Err(format!(
                    "V{} of the guest held the host's at entry",
                    (key - 0x200) / 2
                ));
            }
            Some(_) => {}
            None => return Err("the leak payload did not report its V registers".into()),
        }
    }
    if report(0x180) == Some(0x0800_0015) || report(0x181) == Some(0x0100_0000) {
        return Err("FPSR or FPCR of the guest held the host's at entry".into());
    }
    if report(0x500) != Some(0) {
        return Err(format!("{:?} rounds changed a register of the guest", report(0x500)));
    }
    // SVE is not shown to protected guests, and does not work.
    let shown = report(0x400).map(|features| features >> 32 & 0xf);
    if shown == Some(0) && report(0x502) == Some(u64::MAX) {
        return Err("SVE is hidden, but works".into());
    }
    vm.finish()
}

fn registers_do_not_leak(world: &mut World) -> Check {
    let mut vm = Vm::build(&world.payload("leak")?, PROTECTED)?;
    // What the host has in the registers that the payload reports, in the order of its list.
    let list = [
        (3, 3, 13, 0, 2),
        (3, 3, 13, 0, 3),
        (3, 0, 13, 0, 4),
        (3, 0, 13, 0, 1),
        (3, 3, 13, 0, 5),
        (3, 0, 4, 1, 0),
        (3, 0, 6, 0, 0),
        (3, 0, 5, 2, 0),
        (3, 0, 5, 1, 0),
        (3, 0, 5, 1, 1),
        (3, 0, 7, 4, 0),
        (3, 0, 2, 0, 1),
        (3, 0, 10, 3, 0),
        (3, 0, 14, 1, 0),
        (3, 2, 0, 0, 0),
        (2, 0, 0, 2, 2),
        (2, 0, 0, 0, 4),
        (2, 0, 0, 0, 5),
        (2, 0, 0, 1, 4),
        (2, 0, 0, 0, 6),
        (2, 0, 0, 0, 7),
        (3, 0, 2, 1, 0),
        (3, 0, 2, 1, 1),
        (3, 0, 2, 1, 2),
        (3, 0, 2, 1, 3),
        (3, 0, 2, 2, 0),
        (3, 0, 2, 2, 1),
        (3, 0, 2, 2, 2),
        (3, 0, 2, 2, 3),
        (3, 0, 2, 3, 0),
        (3, 0, 2, 3, 1),
    ];
    // Around each run, in one step: the host's mark goes into registers that nobody needs meanwhile.
    let marked = [
        System::new(3, 3, 13, 0, 2),
        System::new(3, 3, 13, 0, 3),
        System::new(3, 0, 6, 0, 0),
        System::new(2, 0, 0, 0, 4),
        System::new(2, 0, 0, 0, 6),
    ];
    let mut code = Vec::new();
    for (index, register) in (20..).zip(marked) {
        code.extend([register.read(index), register.write(19)]);
    }
    code.extend([a64::ISB, a64::hvc(0)]);
    for (index, register) in (20..).zip(marked) {
        code.extend([register.read(index - 10), register.write(index)]);
    }
    code.extend([a64::ISB, a64::RET]);
    let mark = HOST_MARK & 0x0000_ffff_ffff_fffc;
    let mut ended = false;
    for _ in 0..200_000 {
        let (exit, step) = vm.enter_code(0, &code, &[(19, mark)])?;
        // Debug registers keep what the CPU implements of an address; the others keep it all.
        for (index, register) in (10..13).zip(marked) {
            if step.x[index] != mark {
                return Err(format!("{register} of the host became {:#x}", step.x[index]));
            }
        }
        match vm.handle(0, exit)? {
            Some(Event::Off) => {
                ended = true;
                break;
            }
            Some(Event::Nothing) => vm.vcpus[0].complete = Some(0),
            _ => {}
        }
    }
    if !ended {
        return Err("the leak payload does not end".into());
    }
    let mut before = Vec::new();
    for (op0, op1, crn, crm, op2) in list {
        let register = System::new(op0, op1, crn, crm, op2);
        let step = device::run_one(Step::new([register.read(0), a64::RET]))?;
        let present = step.outcome == Outcome::Returned;
        before.push(present.then_some(step.x[0]));
    }
    for (key, host) in (0x300_u64..).zip(&before) {
        let Some(guest) = vm.reports.get(&key) else { continue };
        if *guest == mark {
            return Err(format!("system register {} of the guest: {guest:#x}", key - 0x300));
        }
        // A key or a debug register that equals the host's, and is not a value of reset.
        if Some(*guest) == *host && *guest > 0xffff_ffff && *guest != u64::MAX {
            return Err(format!("system register {}: {guest:#x} as the host's", key - 0x300));
        }
        if let Some(host) = host
            && host >> 32 == GUEST_MARK
        {
            return Err(format!("system register {} of the host: {host:#x}", key - 0x300));
        }
    }
    for key in 0x100..0x11f {
        let value = vm.reports.get(&key).copied().unwrap_or(0);
        // X0 to X30 at the first instruction are those that were set: zero. One of them (the
        // payload's own scratch) is not reported as found.
        if value != 0 {
            return Err(format!("X{} of the guest is {value:#x} at entry", key - 0x100));
        }
    }
    vm.finish()
}

fn host_keeps_its_own(world: &mut World) -> Check {
    let registers = [
        (3, 0, 1, 0, 0),   // SCTLR_EL1
        (3, 0, 1, 0, 2),   // CPACR_EL1
        (3, 0, 2, 0, 0),   // TTBR0_EL1
        (3, 0, 2, 0, 1),   // TTBR1_EL1
        (3, 0, 2, 0, 2),   // TCR_EL1
        (3, 0, 4, 1, 0),   // SP_EL0
        (3, 0, 10, 2, 0),  // MAIR_EL1
        (3, 0, 12, 0, 0),  // VBAR_EL1
        (3, 0, 13, 0, 1),  // CONTEXTIDR_EL1
        (3, 0, 13, 0, 4),  // TPIDR_EL1
        (3, 3, 13, 0, 2),  // TPIDR_EL0
        (3, 3, 13, 0, 3),  // TPIDRRO_EL0
        (3, 0, 14, 1, 0),  // CNTKCTL_EL1
        (2, 0, 0, 2, 2),   // MDSCR_EL1
        (3, 0, 4, 6, 0),   // ICC_PMR_EL1
        (3, 0, 12, 12, 7), // ICC_IGRPEN1_EL1
        (3, 0, 12, 12, 3), // ICC_BPR1_EL1
        (3, 0, 12, 12, 4), // ICC_CTLR_EL1
        (3, 0, 5, 1, 0),   // AFSR0_EL1
        (3, 2, 0, 0, 0),   // CSSELR_EL1
        (3, 3, 14, 2, 1),  // CNTP_CTL_EL0
        (3, 3, 14, 2, 2),  // CNTP_CVAL_EL0
        (3, 0, 2, 1, 0),   // APIAKeyLo_EL1
        (3, 0, 2, 3, 1),   // APGAKeyHi_EL1
        (3, 3, 4, 2, 1),   // DAIF
    ];
    let mut vm = Vm::build(&world.payload("leak")?, PROTECTED)?;
    for (op0, op1, crn, crm, op2) in registers {
        // In one step: read, run, read again.
        let register = System::new(op0, op1, crn, crm, op2);
        let probe = device::run_one(Step::new([register.read(0), a64::RET]))?;
        if probe.outcome != Outcome::Returned {
            continue;
        }
        for _ in 0..4 {
            let code = [register.read(20), a64::hvc(0), register.read(21), a64::RET];
            let (exit, step) = vm.enter_code(0, &code, &[])?;
            // ISTATUS of the host's timer: time passes.
            let ignored = if register == System::new(3, 3, 14, 2, 1) { 4 } else { 0 };
            if (step.x[20] ^ step.x[21]) & !ignored != 0 {
                return Err(format!("{register}: {:#x} became {:#x}", step.x[20], step.x[21]));
            }
            match vm.handle(0, exit)? {
                Some(Event::Nothing) => vm.vcpus[0].complete = Some(0),
                Some(Event::Off) => return Err("the payload ended too early".into()),
                _ => {}
            }
        }
    }
    vm.finish()
}

fn entry_words(world: &mut World) -> Check {
    let mut canary = Canary::start(&world.payloads, PROTECTED)?;
    canary.check()?;
    let request = canary.vm.run_call(0);
    // Every word of the page in turn, and all of them: pointers into EL2, all ones, single bits.
    for value in [u64::MAX, 0x4000_0000, 0xffff_0000_0000_0000, 0x8000_0000_0000_0001] {
        for offset in (8..4096).step_by(8) {
            canary.vm.park(0);
            let page = &canary.vm.vcpus[0].page;
            let old = page.get(offset);
            page.set(offset, value);
            let reply = hyper::call(request)?;
            if !matches!(reply.status, Status::Success | Status::InvalidArgument) {
                return Err(format!("word {offset:#x} = {value:#x}: {}", reply.status.name()));
            }
            if !(run::EXIT_REASON..=run::EXIT_VMCR).contains(&offset) {
                page.set(offset, if offset < run::EXIT_REASON { 0 } else { old });
            }
        }
    }
    canary.check()?;
    canary.vm.finish()
}

fn list_registers(world: &mut World) -> Check {
    let available = hyper::info(Info::ListRegisters)?;
    let timer = hyper::info(Info::VirtualTimerIntid)?;
    let mut canary = Canary::start(&world.payloads, PROTECTED)?;
    canary.check()?;
    let request = canary.vm.run_call(0);
    canary.vm.park(0);
    let page = &canary.vm.vcpus[0].page;
    for count in [available + 1, 16, 17, 255, 1 << 31, u64::MAX] {
        if count > available {
            page.set(run::ENTRY_LR_COUNT, count);
            hyper::refuse(request, &[Status::InvalidArgument])?;
        }
    }
    page.set(run::ENTRY_LR_COUNT, 1);
    let pending = 1 << 62;
    let hardware = 1 << 61;
    let group = 1 << 60;
    let bad = [
        // A physical interrupt of the host or of EL2 behind the virtual one.
        pending | hardware | group | 30 << 32 | 30,
        pending | hardware | group | 25 << 32 | 25,
        pending | hardware | group | 26 << 32 | timer,
        pending | hardware | group | 33 << 32 | 33,
        pending | hardware | group | timer << 32 | 30,
        pending | hardware | group | 1023 << 32 | timer,
        // Numbers with a meaning of their own.
        pending | group | 1020,
        pending | group | 1023,
        pending | group | 0x2000_0000,
        pending | group | 0xffff_ffff,
    ];
    for value in bad {
        page.set(run::ENTRY_LR, value);
        hyper::refuse(request, &[Status::InvalidArgument])
            .map_err(|why| format!("list register {value:#x}: {why}"))?;
    }
    // Every single bit: an entry or a refusal.
    for bit in 0..64 {
        page.set(run::ENTRY_LR, 1 << bit);
        let reply = hyper::call(request)?;
        if !matches!(reply.status, Status::Success | Status::InvalidArgument) {
            return Err(format!("list register bit {bit}: {}", reply.status.name()));
        }
    }
    page.set(run::ENTRY_LR, 0);
    page.set(run::ENTRY_LR_COUNT, 0);
    canary.check()?;
    canary.vm.finish()
}

fn injection(world: &mut World) -> Check {
    let mut canary = Canary::start(&world.payloads, PROTECTED)?;
    canary.check()?;
    let before = canary.command(command::INTERRUPTS, 0)?;
    // A software interrupt, number 40, pending, group 1, priority 0x80.
    let page = &canary.vm.vcpus[0].page;
    page.set(run::ENTRY_LR_COUNT, 1);
    page.set(run::ENTRY_LR, 1 << 62 | 1 << 60 | 0x80 << 48 | 40);
    page.set(run::ENTRY_FLAGS, 0);
    // The entry repeats the answer's store; the interrupt waits, masked, in the list register.
    let exit = canary.vm.enter(0)?;
    let page = &canary.vm.vcpus[0].page;
    let state = page.get(run::EXIT_LR) >> 62;
    if state != 1 {
        return Err(format!("the list register is {:#x} after {exit:?}", page.get(run::EXIT_LR)));
    }
    // From here the register goes back in as it came out.
    let mut arrived = None;
    for _ in 0..10_000 {
        let event = {
            let exit = canary.vm.enter(0)?;
            let page = &canary.vm.vcpus[0].page;
            page.set(run::ENTRY_LR, page.get(run::EXIT_LR));
            canary.vm.handle(0, exit)?
        };
        match event {
            Some(Event::Challenge) => {
                canary.vm.vcpus[0].complete = Some((0xc0de_0000 | command::INTERRUPTS) << 32);
            }
            Some(Event::Answer(count)) if count != 0 && count < 1 << 32 => {
                arrived = Some(count);
                break;
            }
            _ => {}
        }
    }
    let page = &canary.vm.vcpus[0].page;
    let left = page.get(run::EXIT_LR);
    page.set(run::ENTRY_LR_COUNT, 0);
    page.set(run::ENTRY_LR, 0);
    if arrived != Some(before + 1) {
        return Err(format!("{arrived:?} interrupts arrived, {before} before"));
    }
    if left >> 62 != 0 {
        return Err(format!("the list register is {left:#x} when the interrupt is done"));
    }
    let last = canary.command(command::LAST_INTERRUPT, 0)?;
    if last != 40 {
        return Err(format!("interrupt {last} arrived instead of 40"));
    }
    canary.check()?;
    canary.vm.finish()
}

fn forged_mmio(world: &mut World) -> Check {
    let mut vm = Vm::build(&world.payload("leak")?, PROTECTED)?;
    // The first entry is no continuation of anything: a forged value must not reach X0.
    vm.vcpus[0].complete = Some(HOST_MARK);
    let request = vm.run_call(0);
    let page = &vm.vcpus[0].page;
    page.set(run::ENTRY_FLAGS, run::ENTRY_MMIO_DONE);
    page.set(run::ENTRY_MMIO_DATA, HOST_MARK);
    let reply = hyper::call(request)?;
    if !matches!(reply.status, Status::Success | Status::InvalidArgument) {
        return Err(format!("VCPU_RUN: {}", reply.status.name()));
    }
    vm.vcpus[0].complete = None;
    // With the flag at every entry from now on, after exits that asked for nothing too.
    for _ in 0..200_000 {
        if vm.vcpus[0].complete.is_none() {
            vm.vcpus[0].page.set(run::ENTRY_MMIO_DATA, HOST_MARK);
        }
        let exit = vm.enter(0)?;
        match vm.handle(0, exit)? {
            Some(Event::Off) => break,
            Some(Event::Nothing) => vm.vcpus[0].complete = Some(0),
            _ => {}
        }
    }
    for (key, value) in &vm.reports {
        if value >> 32 == HOST_MARK >> 32 {
            return Err(format!("report {key:#x} of the guest is the host's {value:#x}"));
        }
    }
    if vm.reports.get(&0x500) != Some(&0) {
        return Err(format!("registers changed: {:?}", vm.reports.get(&0x500)));
    }
    vm.finish()
}

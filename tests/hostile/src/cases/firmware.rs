//! The firmware behind EL2: PSCI and the SMC space, as the host reaches them.

use std::fs;

use redoubt_abi::{HostCall, Status, guest};

use crate::Check;
use crate::a64;
use crate::cases::calls;
use crate::cases::cases;
use crate::device::{self, Log, Mapping, Outcome, Runner, Step};
use crate::hyper;
use crate::memory::{self, PAGE};
use crate::oracle::{self, Canary, World};
use crate::vm::{self, Options, Pages};

cases! {
    cpu_on_bad, "cpu-on-bad", "P1", "CPU_ON of what is on, is not there, or with an entry that is not the host's";
    cpu_on_race, "cpu-on-race", "P1", "CPU_ON of one CPU from all others at once: started once, at EL1, under stage 2";
    hotplug, "hotplug", "P2", "a CPU that went off and came back through Linux is as confined as before";
    psci_table, "psci-table", "P4", "PSCI functions that are not on the list are denied";
    smc_space, "smc-space", "P6", "SMCs of all owners and both conventions are denied";
    refused_reset, "refused-reset", "P4 Z1", "a reset that the firmware refuses: VMs that ran are dead and zero, all else goes on";
}

const DENIED: u64 = u64::MAX;

fn smc(x: [u64; 4]) -> Check<u64> {
    let step = hyper::raw(a64::smc(0), &x)?;
    match step.outcome {
        Outcome::Returned => Ok(step.x[0]),
        outcome => Err(format!("SMC {:#x}: {outcome:x?}", x[0])),
    }
}

const fn signed(value: i64) -> u64 {
    value.cast_unsigned()
}

fn set_online(cpu: usize, online: bool) -> Check {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/online");
    fs::write(&path, if online { "1" } else { "0" }).map_err(|error| format!("{path}: {error}"))
}

/// Waits until PSCI says that a CPU is off.
fn wait_off(mpidr: u64) -> Check {
    for _ in 0..200 {
        if smc([u64::from(guest::PSCI_AFFINITY_INFO_64), mpidr, 0, 0])? == 1 {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Err(format!("CPU {mpidr:#x} does not go off"))
}

fn cpu_on(mpidr: u64, entry: u64, context: u64) -> [u64; 4] {
    [u64::from(guest::PSCI_CPU_ON_64), mpidr, entry, context]
}

fn cpu_on_bad(world: &mut World) -> Check {
    let entry = Pages::new(0)?;
    let address = entry.pfn * PAGE;
    memory::fill(entry.pfn, 0x1400_0000_1400_0000)?; // B .
    // CPU 0 is on; these are not there.
    for (mpidr, wanted) in [
        (0, &[signed(-4)][..]),
        (world.cpus as u64 - 1, &[signed(-4)]),
        (0xff, &[signed(-2)]),
        (0x1_0000, &[signed(-2)]),
        (0x0100_0000, &[signed(-2)]),
        (1 << 31, &[signed(-2)]),
        (1 << 40, &[signed(-2)]),
        (1 << 63, &[signed(-2)]),
        (u64::MAX, &[signed(-2)]),
    ] {
        let status = smc(cpu_on(mpidr, address, 0))?;
        if !wanted.contains(&status) {
            return Err(format!("CPU_ON of {mpidr:#x}: {status:#x}"));
        }
    }
    if world.cpus < 2 {
        return Err("needs 2 CPUs".into());
    }
    let cpu = world.cpus - 1;
    set_online(cpu, false)?;
    let result = (|| {
        wait_off(cpu as u64)?;
        let mut entries = vec![
            world.canary.secret_page()?.0 * PAGE,
            world.canary.vm.root.pfn * PAGE,
            0x0900_0000,
            1 << 40,
            (1 << 52) - PAGE,
            !3,
        ];
        if let Ok(holes) = memory::hidden(world.ram) {
            entries.extend([holes[0].0, holes[0].1 - PAGE]);
        }
        for at in entries {
            let status = smc(cpu_on(cpu as u64, at, 0))?;
            // INVALID_ADDRESS or INVALID_PARAMETERS.
            if status != signed(-9) && status != signed(-2) {
                return Err(format!("CPU_ON at {at:#x}: {status:#x}"));
            }
        }
        Ok(())
    })();
    set_online(cpu, true)?;
    result?;
    oracle::alive(world.cpus)?;
    entry.free()
}

/// What a CPU started behind Linux's back does, with X0 the page where it reports: it stores
/// `CurrentEL`, tries to read the address it finds there, stores that it is still here, and goes off.
fn stray_code() -> Vec<u32> {
    const CURRENT_EL: a64::System = a64::System::new(3, 0, 4, 2, 2);
    const VBAR: a64::System = a64::System::new(3, 0, 12, 0, 0);
    // Offsets in the page: code 0, vectors 0x800, report from 0xf00.
    vec![
        a64::mov(20, 0),
        CURRENT_EL.read(1),
        a64::add(2, 20, 0xf00),
        a64::store(3, 1, 2),
        a64::add(3, 20, 0x800),
        VBAR.write(3),
        a64::ISB,
        // LDR X4, [X2, #8]; LDR X5, [X4]
        0xf940_0444,
        a64::load(3, 5, 4),
        // STR X5, [X2, #16]: only when the load was carried out.
        0xf900_0845,
        // Here the vectors rejoin: STR X2, [X2, #24]; DSB; CPU_OFF.
        0xf900_0c42,
        a64::DSB,
        a64::movz(0, 2),
        a64::movk16(0, 0x8400),
        a64::smc(0),
        0x1400_0000,
    ]
}

fn cpu_on_race(world: &mut World) -> Check {
    if world.cpus < 3 {
        return Err("needs 3 CPUs".into());
    }
    let page = Pages::new(0)?;
    let mapping = Mapping::new(page.pfn, 1)?;
    let mut code = stray_code();
    code.resize(PAGE as usize / 4, 0);
    // The vector of a synchronous exception at EL1h: branch to the eleventh instruction.
    let back = (10 * 4 - 0x0a00_i32) / 4;
    code[0x0a00 / 4] = 0x1400_0000 | (back.cast_unsigned() & 0x03ff_ffff);
    let bytes: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    let cpu = world.cpus - 1;
    let forbidden = world.canary.secret_page()?.0 * PAGE;
    set_online(cpu, false)?;
    let result = (|| {
        for _ in 0..10 {
            wait_off(cpu as u64)?;
            mapping.load(&bytes);
            mapping.set(0xf08, forbidden);
            // The stray CPU has its caches off.
            let clean = (0..PAGE).step_by(64).map(|offset| {
                let step = Step::new([0xd50b_7e21, a64::DSB, a64::RET]); // DC CIVAC, X1
                let step = step.window(page.pfn * PAGE, device::Attribute::Normal);
                step.registers(&[0, device::WINDOW + offset])
            });
            for step in clean {
                device::run_one(step)?;
            }
            let x = cpu_on(cpu as u64, page.pfn * PAGE, page.pfn * PAGE);
            let step = Step::new([a64::smc(0), a64::RET]).registers(&x);
            let runner =
                |cpu| Runner { cpu, steps: vec![step.clone()], times: 1, until_peer: false };
            let logs = device::race((0..cpu).map(runner).collect())?;
            let started = logs.iter().flatten().filter(|log: &&Log| log.x[0] == 0).count();
            let refused = logs
                .iter()
                .flatten()
                .filter(|log| [signed(-4), signed(-5)].contains(&log.x[0]))
                .count();
            // The stray CPU may be off again before the slowest call: then that starts it anew.
            if started == 0 || started + refused != cpu {
                return Err(format!("{started} started, {refused} refused, of {cpu}"));
            }
            let seen = |offset: u64| -> Check<u64> {
                let at = page.pfn * PAGE + offset;
                let step = memory::load_step(at, device::Attribute::NonCacheable);
                Ok(device::run_one(step)?.x[0])
            };
            // The firmware may still call a CPU off that it has promised to start.
            for _ in 0..1_000_000 {
                if seen(0xf00)? != 0 {
                    break;
                }
            }
            wait_off(cpu as u64)?;
            if seen(0xf00)? != 4 {
                return Err(format!("the CPU started with CurrentEL {:#x}", seen(0xf00)?));
            }
            if seen(0xf10)? != 0 {
                return Err(format!("it read {:#x} from the canary", seen(0xf10)?));
            }
            if seen(0xf18)? == 0 {
                return Err("it did not come through the refused access".into());
            }
        }
        Ok(())
    })();
    set_online(cpu, true)?;
    result?;
    page.free()
}

fn hotplug(world: &mut World) -> Check {
    if world.cpus < 2 {
        return Err("needs 2 CPUs".into());
    }
    let cpu = world.cpus - 1;
    let forbidden = world.canary.secret_page()?.0;
    for _ in 0..3 {
        set_online(cpu, false)?;
        wait_off(cpu as u64)?;
        set_online(cpu, true)?;
        device::bind(cpu)?;
        memory::require_refused([forbidden])?;
        let step = device::run_one(Step::new([a64::System::new(3, 4, 1, 1, 0).read(0), a64::RET]))?;
        if step.outcome == Outcome::Returned {
            return Err(format!("HCR_EL2 is readable: {:#x}", step.x[0]));
        }
        world.canary.check()?;
    }
    device::bind(0)
}

/// The step that resets the machine.
#[must_use]
pub fn system_reset() -> Step {
    down([u64::from(guest::PSCI_SYSTEM_RESET), 0, 0, 0])
}

/// An SMC after a while: long enough for other CPUs to be in the midst of theirs.
fn down(x: [u64; 4]) -> Step {
    let code = [a64::sub(20, 20, 1), a64::cbnz(20, -1), a64::smc(0), a64::RET];
    let mut step = Step::new(code).registers(&x);
    step.x[20] = 50_000_000;
    step
}

/// Takes a step on CPU 0 that may end the machine, while the other CPUs repeat theirs until then.
///
/// # Errors
/// When there are too few CPUs, or the module refuses.
pub fn go_down(last: Step, running: Vec<Vec<Step>>) -> Check<Vec<Vec<Log>>> {
    if device::cpus() <= running.len() {
        return Err(format!("needs {} CPUs", running.len() + 1));
    }
    let first = Runner { cpu: 0, steps: vec![last], times: 1, until_peer: false };
    let others = running.into_iter().enumerate().map(|(index, steps)| Runner {
        cpu: index + 1,
        steps,
        times: 100_000,
        until_peer: true,
    });
    device::race(std::iter::once(first).chain(others).collect())
}

fn refused_reset(world: &mut World) -> Check {
    // An architectural reset type that does not exist.
    let step = down([u64::from(guest::PSCI_SYSTEM_RESET2_64), 0x7fff_ffff, 0, 0]);
    let vms = [&world.canary.vm, &world.second.vm];
    let running = vms.map(|vm| {
        vm.park(0);
        vec![hyper::step(&vm.run_call(0))]
    });
    let logs = go_down(step, running.to_vec())?;
    let [first, runs @ ..] = &logs[..] else { return Err("no log".into()) };
    let answer = first.first().map_or(0, |log| log.x[0]);
    if answer & 0x8000_0000 == 0 {
        return Err(format!("SYSTEM_RESET2 of no known type answers {answer:#x}"));
    }
    for log in runs {
        let statuses = || log.iter().map(|entry| Status::from_register(entry.x[0]));
        if !statuses().any(|status| status == Some(Status::Success)) {
            return Err("a VM did not run meanwhile".into());
        }
        let fine = |status| matches!(status, Some(Status::Success | Status::WrongState));
        if let Some(other) = statuses().find(|status| !fine(*status)) {
            return Err(format!("VCPU_RUN: {other:?}"));
        }
    }
    oracle::alive(world.cpus)?;
    for vm in vms {
        let handle = vm.handle;
        hyper::refuse(vm.run_call(0), &[Status::WrongState])?;
        hyper::refuse(HostCall::VmDestroy { handle }, &[Status::WrongState])?;
        if vm.protected {
            memory::require_refused(vm.memory.pfns())?;
        }
        vm::reclaim(handle)?;
        let state = vm.vcpus[0].state;
        let scrubbed = [vm.root, vm.tables, state, vm.memory];
        for pages in &scrubbed[..if vm.protected { 4 } else { 3 }] {
            memory::require_zero(pages.pfn, pages.count())?;
        }
        memory::require_owned(vm.memory.pfns())?;
        vm.pages().into_iter().try_for_each(Pages::free)?;
    }
    let start = |protected| Canary::start(&world.payloads, Options { protected, vcpus: 1 });
    let (canary, second) = (start(true)?, start(false)?);
    world.canary = canary;
    world.second = second;
    Ok(())
}

fn psci_table(_: &mut World) -> Check {
    // Not tried here, because they end the machine: SYSTEM_OFF, SYSTEM_RESET, SYSTEM_RESET2, CPU_OFF, CPU_SUSPEND, CPU_DEFAULT_SUSPEND and their 64-bit forms.
    let denied = [
        0x8400_0005_u64, // MIGRATE
        0xc400_0005,
        0x8400_0007, // MIGRATE_INFO_UP_CPU
        0xc400_0007,
        0x8400_000b, // CPU_FREEZE
        0x8400_000d, // NODE_HW_STATE
        0xc400_000d,
        0x8400_000e, // SYSTEM_SUSPEND
        0xc400_000e,
        0x8400_000f, // PSCI_SET_SUSPEND_MODE
        0x8400_0010, // PSCI_STAT_RESIDENCY
        0x8400_0011, // PSCI_STAT_COUNT
        0x8400_0013, // MEM_PROTECT
        0x8400_0014, // MEM_PROTECT_CHECK_RANGE
        0xc400_0014,
        0x8400_0015, // SYSTEM_OFF2
        0xc400_0015,
        0x8400_0016,
        0x8400_001a,
        0x8400_001f,
        0xc400_0002, // 64-bit forms that do not exist
        0xc400_0008,
        0xc400_0009,
        0xc400_000a,
        0xc400_001f,
    ];
    for function in denied {
        let answer = smc([function, 0, 0, 0])?;
        if answer & 0xffff_ffff != 0xffff_ffff {
            return Err(format!("{function:#x} answers {answer:#x}"));
        }
        // And by HVC.
        let step = hyper::raw(a64::hvc(0), &[function, 0, 0, 0])?;
        if step.outcome == Outcome::Returned && step.x[0] & 0xffff_ffff != 0xffff_ffff {
            return Err(format!("HVC {function:#x} answers {:#x}", step.x[0]));
        }
    }
    // MIGRATE_INFO_TYPE: there is nothing to migrate; VERSION: PSCI 1.x.
    let kind = smc([u64::from(guest::PSCI_MIGRATE_INFO_TYPE), 0, 0, 0])?;
    let version = smc([u64::from(guest::PSCI_VERSION), 0, 0, 0])?;
    if ![2, DENIED].contains(&kind) || version >> 16 != 1 {
        return Err(format!("MIGRATE_INFO_TYPE {kind:#x}, VERSION {version:#x}"));
    }
    // A query about a function that is denied says so.
    for function in denied.into_iter().chain([0x8400_7fff, 0xffff_ffff]) {
        let answer = smc([u64::from(guest::PSCI_FEATURES), function, 0, 0])?;
        if answer & 0xffff_ffff != 0xffff_ffff {
            return Err(format!("PSCI_FEATURES of {function:#x}: {answer:#x}"));
        }
    }
    Ok(())
}

fn smc_space(_: &mut World) -> Check {
    // Owner 4 below 0x120 is PSCI and TRNG; owner 0 has the architecture's own calls.
    let known = |number: u64| {
        let (owner, function) = (number >> 24 & 0x3f, number & 0xffff);
        (owner == 4 && function < 0x120) || (owner == 0 && !(3..0x3ffe).contains(&function))
    };
    for owner in 0..64_u64 {
        for convention in [0x8000_0000_u64, 0xc000_0000, 0, 0x4000_0000] {
            for start in [0_u64, 0x20, 0x60, 0x120, 0x3f00, 0x7ff0, 0xff00] {
                calls::scan(a64::smc(0), convention | owner << 24 | start, 16, known)?;
            }
        }
    }
    // What was denied can be asked for, each function once.
    let mut denied = Vec::new();
    while let Ok(function) = hyper::succeed(HostCall::Denied { index: denied.len() as u64 }) {
        if denied.contains(&function) {
            return Err(format!("DENIED lists {function:#x}, after {denied:x?}"));
        }
        denied.push(function);
    }
    if denied.is_empty() {
        return Err("DENIED lists nothing".into());
    }
    Ok(())
}

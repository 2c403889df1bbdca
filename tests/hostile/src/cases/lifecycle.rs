//! The life of a VM, with its steps out of order, twice, half done, and from several CPUs at once.

use redoubt_abi::run::{self, ExitReason};
use redoubt_abi::{HostCall, Status};

use crate::Check;
use crate::cases::cases;
use crate::device::{self, Log, Runner, Step};
use crate::hyper;
use crate::memory;
use crate::oracle::{Canary, World};
use crate::vm::{self, GUEST_BASE, Options, Pages, Vm};

cases! {
    same_pages, "same-page-every-role", "L1", "a page given once cannot be given again, in any role";
    vcpu_twice, "vcpu-twice", "L1", "a vCPU exists once; a state page serves one; so does a run page";
    half_created, "half-created", "L3", "what a refused creation was offered stays the host's";
    run_misuse, "run-misuse", "L4", "runs of what cannot run";
    run_everywhere, "run-on-all-cpus", "L4", "one vCPU on all CPUs at once: one runs, the others are Busy";
    destroy_running, "destroy-while-running", "L5", "a VM that runs cannot be destroyed, and is not harmed";
    teardown_races, "teardown-races", "L5", "destroy and reclaim from several CPUs: each page back once";
    one_page_two_vms, "one-page-two-vms", "SH3 +", "two CPUs give one page to two VMs: one gets it";
    create_race, "create-race", "L1 +", "two CPUs create VMs from one root page: one succeeds";
    late_changes, "late-changes", "L10", "memory, vCPUs and registers of a protected VM are fixed once it ran";
    one_start, "one-starting-vcpu", "L10 V1", "a protected VM starts on vCPU 0 alone, wherever the host would start another";
    many_vms, "many-vms", "E1", "as many VMs as there are slots, then NoSlot, and all come back";
    rewritten_run_page, "rewritten-run-page", "M2 V10", "a run page rewritten by another CPU while its vCPU runs";
}

const PROTECTED: Options = Options { protected: true, vcpus: 1 };

fn create(root_pfn: u64) -> HostCall {
    HostCall::VmCreate { flags: 1, ipa_bits: 36, vcpus: 2, root_pfn }
}

fn same_pages(_: &mut World) -> Check {
    let vm = Vm::empty(Options { protected: true, vcpus: 2 })?;
    let lent = Vm::empty(Options { protected: false, vcpus: 2 })?;
    let pages = Pages::new(2)?;
    let [page, other] = [pages.pfn, pages.pfn + 1];
    let handle = vm.handle;
    // Given to the VM in each role first, then in each role again.
    hyper::succeed(HostCall::VmAddTables { handle, pfn: page, pages: 1 })?;
    hyper::succeed(HostCall::VmMap { handle, pfn: other, ipa: GUEST_BASE, pages: 1, flags: 0 })?;
    for pfn in [page, other, vm.root.pfn, vm.tables.pfn] {
        for target in [handle, lent.handle] {
            let spare = pages.pfn + 2;
            let ipa = GUEST_BASE + 0x2000;
            let vcpu = |state_pfn, run_pfn| HostCall::VcpuCreate {
                handle: target,
                vcpu: 0,
                state_pfn,
                run_pfn,
                flags: 0,
            };
            for call in [
                create(pfn),
                HostCall::VmAddTables { handle: target, pfn, pages: 1 },
                HostCall::VmMap { handle: target, pfn, ipa, pages: 1, flags: 0 },
                HostCall::VmMap { handle: target, pfn, ipa, pages: 1, flags: 1 },
                vcpu(pfn, spare),
                vcpu(spare, pfn),
            ] {
                hyper::refuse(call, &[Status::NotOwner])?;
            }
            memory::require_owned([spare])?;
        }
    }
    vm.finish()?;
    lent.finish()?;
    pages.free()
}

fn vcpu_twice(_: &mut World) -> Check {
    let vm = Vm::empty(Options { protected: true, vcpus: 2 })?;
    let other = Vm::empty(PROTECTED)?;
    let pages = Pages::new(2)?;
    let vcpu = |handle, vcpu, state, run| HostCall::VcpuCreate {
        handle,
        vcpu,
        state_pfn: pages.pfn + state,
        run_pfn: pages.pfn + run,
        flags: 0,
    };
    // One page in both roles.
    let reply = hyper::call(vcpu(vm.handle, 0, 0, 0))?;
    if reply.status == Status::Success {
        return Err("one page as state page and run page".into());
    }
    memory::require_owned(pages.pfns())?;
    // Out of order is allowed, twice is not.
    hyper::succeed(vcpu(vm.handle, 1, 0, 1))?;
    hyper::refuse(vcpu(vm.handle, 1, 2, 3), &[Status::VcpuExists])?;
    hyper::refuse(vcpu(other.handle, 0, 0, 3), &[Status::NotOwner])?;
    memory::require_owned(pages.pfn + 1..pages.pfn + 4)?;
    memory::require_refused([pages.pfn])?;
    // A run page serves one vCPU, and is pinned until its VM is gone.
    for (handle, index) in [(vm.handle, 0), (other.handle, 0)] {
        hyper::refuse(vcpu(handle, index, 2, 1), &[Status::Pinned, Status::Shared])?;
    }
    memory::require_owned([pages.pfn + 2])?;
    vm.finish()?;
    hyper::succeed(vcpu(other.handle, 0, 2, 1))?;
    other.finish()?;
    pages.free()
}

fn half_created(world: &mut World) -> Check {
    let foreign = world.canary.vm.memory.pfn;
    let pages = Pages::new(2)?;
    for pfn in pages.pfns() {
        memory::fill(pfn, 0x4a1f)?;
    }
    // A root of two pages (41 bits or more of address space) of which the second is foreign.
    for ipa_bits in [40, 41, 44, 48] {
        let call = HostCall::VmCreate { flags: 1, ipa_bits, vcpus: 1, root_pfn: foreign - 1 };
        let reply = hyper::call(call)?;
        if reply.status == Status::Success {
            return Err(format!("a VM with a root in foreign memory, {ipa_bits} bits"));
        }
    }
    let vm = Vm::empty(PROTECTED)?;
    let vcpu = |state_pfn, run_pfn| HostCall::VcpuCreate {
        handle: vm.handle,
        vcpu: 0,
        state_pfn,
        run_pfn,
        flags: 0,
    };
    hyper::refuse(vcpu(pages.pfn, foreign), &[Status::NotOwner])?;
    hyper::refuse(vcpu(foreign, pages.pfn), &[Status::NotOwner])?;
    hyper::refuse(vcpu(pages.pfn, 1 << 20), &[Status::NotRam, Status::NotOwner])?;
    for pfn in pages.pfns() {
        if memory::read(pfn * memory::PAGE)? != Some(0x4a1f) {
            return Err(format!("a refused creation changed page {pfn:#x}"));
        }
    }
    // And the same pages are good for a call that is right, pinned once: all come back.
    hyper::succeed(vcpu(pages.pfn, pages.pfn + 1))?;
    vm.finish()?;
    pages.free()?;
    // No pool for tables: mapping says so and changes nothing.
    let root = Pages::new(0)?;
    let page = Pages::new(0)?;
    let handle = hyper::succeed(HostCall::VmCreate {
        flags: 1,
        ipa_bits: 36,
        vcpus: 1,
        root_pfn: root.pfn,
    })?;
    hyper::succeed(HostCall::VmSetMemory { handle, ipa: GUEST_BASE, pages: 16 })?;
    let map = HostCall::VmMap { handle, pfn: page.pfn, ipa: GUEST_BASE, pages: 1, flags: 0 };
    hyper::refuse(map, &[Status::NoTables])?;
    memory::require_owned(page.pfns())?;
    hyper::succeed(HostCall::VmDestroy { handle })?;
    vm::reclaim(handle)?;
    root.free()?;
    page.free()
}

fn run_misuse(world: &mut World) -> Check {
    let vm = Vm::build(&world.payload("canary")?, Options { protected: true, vcpus: 2 })?;
    // vCPU 1 is off.
    hyper::refuse(vm.run_call(1), &[Status::PoweredOff])?;
    // Reserved entry bits, too many list registers.
    let page = &vm.vcpus[0].page;
    for bit in 2..64 {
        page.set(run::ENTRY_FLAGS, 1 << bit);
        hyper::refuse(vm.run_call(0), &[Status::InvalidArgument])?;
    }
    page.set(run::ENTRY_FLAGS, 0);
    for bit in (0..64).filter(|bit| ![1, 3].contains(bit)) {
        page.set(run::ENTRY_MAINTENANCE, 1 << bit);
        hyper::refuse(vm.run_call(0), &[Status::InvalidArgument])?;
    }
    page.set(run::ENTRY_MAINTENANCE, 0);
    for count in [17, 64, 1 << 32, u64::MAX] {
        page.set(run::ENTRY_LR_COUNT, count);
        hyper::refuse(vm.run_call(0), &[Status::InvalidArgument])?;
    }
    page.set(run::ENTRY_LR_COUNT, 0);
    // Completion of an access that never was: refused or without effect, never a value written.
    page.set(run::ENTRY_FLAGS, run::ENTRY_MMIO_DONE | run::ENTRY_ABORT);
    let _ = hyper::call(vm.run_call(0))?;
    page.set(run::ENTRY_FLAGS, 0);
    vm.finish()
}

fn run_everywhere(world: &mut World) -> Check {
    if world.cpus < 2 {
        return Err("needs 2 CPUs".into());
    }
    world.canary.vm.park(0);
    let request = world.canary.vm.run_call(0);
    let runners = (0..world.cpus)
        .map(|cpu| Runner {
            cpu,
            steps: vec![hyper::step(&request)],
            times: 10_000,
            until_peer: false,
        })
        .collect();
    let logs = device::race(runners)?;
    let (mut ran, mut busy) = (0, 0);
    for log in logs.iter().flatten() {
        match Status::from_register(log.x[0]) {
            Some(Status::Success) => {
                ran += 1;
                if ExitReason::from_register(log.x[1]).is_none() {
                    return Err(format!("exit {:#x}", log.x[1]));
                }
            }
            Some(Status::Busy) => busy += 1,
            other => return Err(format!("VCPU_RUN: {other:?}")),
        }
    }
    if ran == 0 || busy == 0 {
        return Err(format!("{ran} ran, {busy} were Busy: no race was close"));
    }
    Ok(())
}

fn destroy_running(world: &mut World) -> Check {
    if world.cpus < 2 {
        return Err("needs 2 CPUs".into());
    }
    for _ in 0..10 {
        let mut canary = Canary::start(&world.payloads, PROTECTED)?;
        canary.check()?;
        canary.vm.park(0);
        let handle = canary.vm.handle;
        let runner = Runner {
            cpu: 1,
            steps: vec![hyper::step(&canary.vm.run_call(0))],
            times: 3000,
            until_peer: false,
        };
        let destroyer = Runner {
            cpu: 0,
            steps: vec![
                hyper::step(&HostCall::VmDestroy { handle }),
                hyper::step(&HostCall::VmReclaim { handle }),
            ],
            times: 400,
            until_peer: false,
        };
        let logs = device::race(vec![destroyer, runner])?;
        let mut destroyed = false;
        for log in logs[0].iter().filter(|log| log.step == 0) {
            let status = Status::from_register(log.x[0]);
            destroyed |= status == Some(Status::Success);
            let fine = matches!(
                status,
                Some(Status::Success | Status::Busy | Status::WrongState | Status::NoSuchVm)
            );
            if !fine {
                return Err(format!("VM_DESTROY: {status:?}"));
            }
        }
        for log in &logs[1] {
            let status = Status::from_register(log.x[0]);
            let fine =
                matches!(status, Some(Status::Success | Status::WrongState | Status::NoSuchVm));
            if !fine {
                return Err(format!("VCPU_RUN: {status:?}"));
            }
        }
        if destroyed {
            while hyper::call(HostCall::VmReclaim { handle })?.status == Status::Success {}
        } else {
            canary.check()?;
            canary.vm.destroy()?;
        }
        memory::require_zero(canary.vm.memory.pfn, canary.vm.memory.count())?;
        canary.vm.pages().into_iter().try_for_each(Pages::free)?;
    }
    Ok(())
}

/// Counts the successes of a step in a log.
fn successes(log: &[Log], step: u32) -> usize {
    log.iter().filter(|entry| entry.step == step && entry.x[0] == 0).count()
}

fn teardown_races(world: &mut World) -> Check {
    if world.cpus < 2 {
        return Err("needs 2 CPUs".into());
    }
    for _ in 0..10 {
        let vm = Vm::build(&world.payload("canary")?, PROTECTED)?;
        let handle = vm.handle;
        let steps: Vec<Step> = [HostCall::VmDestroy { handle }, HostCall::VmReclaim { handle }]
            .iter()
            .map(hyper::step)
            .collect();
        let runners = (0..world.cpus)
            .map(|cpu| Runner { cpu, steps: steps.clone(), times: 200, until_peer: false })
            .collect();
        let logs = device::race(runners)?;
        let destroyed: usize = logs.iter().map(|log| successes(log, 0)).sum();
        if destroyed != 1 {
            return Err(format!("destroyed {destroyed} times"));
        }
        while hyper::call(HostCall::VmReclaim { handle })?.status == Status::Success {}
        hyper::refuse(HostCall::VmReclaim { handle }, &[Status::NoSuchVm])?;
        memory::require_zero(vm.memory.pfn, vm.memory.count())?;
        vm.pages().into_iter().try_for_each(Pages::free)?;
    }
    Ok(())
}

fn one_page_two_vms(world: &mut World) -> Check {
    if world.cpus < 2 {
        return Err("needs 2 CPUs".into());
    }
    let vms = [Vm::empty(PROTECTED)?, Vm::empty(PROTECTED)?];
    let pages = Pages::new(vm::MEMORY_ORDER)?;
    for (index, pfn) in pages.pfns().enumerate() {
        let ipa = GUEST_BASE + index as u64 * memory::PAGE;
        let runner = |cpu: usize| {
            let handle = vms[cpu].handle;
            let map = HostCall::VmMap { handle, pfn, ipa, pages: 1, flags: 0 };
            Runner { cpu, steps: vec![hyper::step(&map)], times: 1, until_peer: false }
        };
        let logs = device::race(vec![runner(0), runner(1)])?;
        let got: usize = logs.iter().map(|log| successes(log, 0)).sum();
        if got != 1 {
            return Err(format!("page {pfn:#x} was given to {got} VMs"));
        }
    }
    memory::require_refused(pages.pfns())?;
    for vm in vms {
        vm.finish()?;
    }
    memory::require_zero(pages.pfn, pages.count())?;
    pages.free()
}

fn create_race(world: &mut World) -> Check {
    if world.cpus < 2 {
        return Err("needs 2 CPUs".into());
    }
    let root = Pages::new(0)?;
    for _ in 0..50 {
        let runner = |cpu| Runner {
            cpu,
            steps: vec![hyper::step(&create(root.pfn))],
            times: 1,
            until_peer: false,
        };
        let logs = device::race((0..world.cpus).map(runner).collect())?;
        let made: Vec<u64> =
            logs.iter().flatten().filter(|log| log.x[0] == 0).map(|log| log.x[1]).collect();
        let [handle] = made[..] else {
            return Err(format!("{} VMs from one root page", made.len()));
        };
        hyper::succeed(HostCall::VmDestroy { handle })?;
        vm::reclaim(handle)?;
    }
    root.free()
}

fn late_changes(world: &mut World) -> Check {
    let handle = world.canary.vm.handle;
    let pages = Pages::new(1)?;
    let free_ipa = GUEST_BASE + vm::MEMORY_PAGES * memory::PAGE;
    let wrong = &[Status::WrongState, Status::Protected];
    hyper::refuse(HostCall::VmSetMemory { handle, ipa: free_ipa, pages: 1 }, wrong)?;
    let map = |ipa, flags| HostCall::VmMap { handle, pfn: pages.pfn, ipa, pages: 1, flags };
    // Contents chosen by the host; outside declared memory; where there is a page.
    for call in [map(free_ipa, 1), map(free_ipa, 0), map(GUEST_BASE, 0), map(GUEST_BASE, 1)] {
        if hyper::call(call)?.status == Status::Success {
            return Err(format!("{call:x?} was carried out"));
        }
    }
    hyper::refuse(HostCall::VmUnmap { handle, ipa: GUEST_BASE, pages: 1 }, &[Status::Protected])?;
    let (state_pfn, run_pfn) = (pages.pfn, pages.pfn + 1);
    let vcpu = HostCall::VcpuCreate { handle, vcpu: 0, state_pfn, run_pfn, flags: 0 };
    hyper::refuse(vcpu, &[Status::WrongState, Status::VcpuExists])?;
    memory::require_owned(pages.pfns())?;
    pages.free()
}

fn one_start(_: &mut World) -> Check {
    let protected = Vm::empty(Options { protected: true, vcpus: 2 })?;
    let open = Vm::empty(Options { protected: false, vcpus: 2 })?;
    let pages = Pages::new(1)?;
    let vcpu = |handle| HostCall::VcpuCreate {
        handle,
        vcpu: 1,
        state_pfn: pages.pfn,
        run_pfn: pages.pfn + 1,
        flags: redoubt_abi::call::VCPU_POWERED_ON,
    };
    hyper::refuse(vcpu(protected.handle), &[Status::Protected])?;
    memory::require_owned(pages.pfns())?;
    hyper::succeed(vcpu(open.handle))?;
    protected.finish()?;
    open.finish()?;
    memory::require_owned(pages.pfns())?;
    pages.free()
}

fn many_vms(_: &mut World) -> Check {
    let most = hyper::info(redoubt_abi::call::Info::MaxVms)?;
    let mut made = Vec::new();
    let mut full = false;
    for _ in 0..=most {
        let root = Pages::new(0)?;
        let reply = hyper::call(create(root.pfn))?;
        match reply.status {
            Status::Success => made.push((reply.value, root)),
            Status::NoSlot => {
                memory::require_owned(root.pfns())?;
                root.free()?;
                full = true;
                break;
            }
            other => return Err(format!("VM_CREATE: {}", other.name())),
        }
    }
    let handles: std::collections::BTreeSet<u64> = made.iter().map(|(handle, _)| *handle).collect();
    let distinct = handles.len() == made.len();
    for (handle, root) in made {
        hyper::succeed(HostCall::VmDestroy { handle })?;
        vm::reclaim(handle)?;
        root.free()?;
    }
    if !full {
        return Err(format!("more than INFO(MAX_VMS) = {most} VMs"));
    }
    if distinct { Ok(()) } else { Err("two live VMs have one handle".into()) }
}

fn rewritten_run_page(world: &mut World) -> Check {
    if world.cpus < 2 {
        return Err("needs 2 CPUs".into());
    }
    let mut canary = Canary::start(&world.payloads, PROTECTED)?;
    canary.check()?;
    canary.vm.park(0);
    let run_pfn = canary.vm.vcpus[0].run.pfn;
    // Another CPU writes noise over the entry part and the exit part, over and over.
    let noise: Vec<Step> = (0..30_u64)
        .map(|index| {
            let offset = if index < 20 { index * 8 } else { 0x100 + (index - 20) * 8 };
            let value = [u64::MAX, 1, 16, 0xd000_0000_0000_001b, 0][index as usize % 5];
            // Not the flags: a forged completion would be an honest answer to the canary.
            let value = if offset == 0 { 0 } else { value };
            memory::store_step(run_pfn * memory::PAGE + offset, value, device::Attribute::Normal)
        })
        .collect();
    let writer = Runner { cpu: 1, steps: noise, times: 3000, until_peer: true };
    let steps = vec![hyper::step(&canary.vm.run_call(0))];
    let runner = Runner { cpu: 0, steps, times: 2000, until_peer: false };
    let logs = device::race(vec![runner, writer])?;
    for log in &logs[0] {
        let status = Status::from_register(log.x[0]);
        if !matches!(status, Some(Status::Success | Status::InvalidArgument)) {
            return Err(format!("VCPU_RUN: {status:?}"));
        }
    }
    let page = &canary.vm.vcpus[0].page;
    for offset in (0..0x200).step_by(8) {
        page.set(offset, 0);
    }
    canary.check()?;
    canary.vm.finish()
}

//! Handles, life cycle, the run protocol and teardown.

use redoubt_abi::Status;
use std::boxed::Box;
use std::vec::Vec;

use super::*;
use crate::cpu::CpuTable;
use crate::sysreg::IdRegisters;

fn cpus() -> (CpuIndex, CpuIndex) {
    let mut table = CpuTable::EMPTY;
    (table.add(0).expect("room"), table.add(1).expect("room"))
}

fn pfn(number: u64) -> Pfn {
    Pfn::new(number).expect("in range")
}

fn vm(flags: u64, vcpus: u64) -> Box<Vm> {
    let config = VmConfig::new(flags, 40, vcpus, 40).expect("valid");
    let mut table = VmTable::EMPTY;
    let handle = table.allocate().expect("room");
    let mut vm = Box::new(Vm::EMPTY);
    vm.open(handle, &config, 7, IdRegisters::ZERO);
    for vcpu in 0..vcpus {
        let plan = vm.check_vcpu(vcpu, 0).expect("valid");
        vm.commit_vcpu(plan, pfn(0x100 + vcpu), pfn(0x200 + vcpu));
    }
    vm
}

#[test]
fn only_exact_handles_name_a_vm() {
    let mut table = VmTable::EMPTY;
    let handle = table.allocate().expect("room");
    let value = handle.to_register();
    assert_eq!(VmHandle::from_register(value), Ok(handle));
    let vm = {
        let mut vm = Box::new(Vm::EMPTY);
        let config = VmConfig::new(0, 40, 1, 40).expect("valid");
        vm.open(handle, &config, 0, IdRegisters::ZERO);
        vm
    };
    let lookup = |value| VmHandle::from_register(value).and_then(|handle| vm.check(handle));
    assert_eq!(lookup(value), Ok(()));
    for bit in 0..64 {
        assert_eq!(lookup(value ^ 1 << bit), Err(Status::NoSuchVm), "bit {bit}");
    }
    for value in [0, 1, value - 1, value + 1, MAX_VMS as u64, u64::MAX, 1 << 63] {
        assert_eq!(lookup(value), Err(Status::NoSuchVm), "{value:#x}");
    }
}

#[test]
fn slots_are_given_out_once() {
    let mut table = VmTable::EMPTY;
    let handles: Vec<VmHandle> = (0..MAX_VMS).map(|_| table.allocate().expect("room")).collect();
    let mut slots: Vec<usize> = handles.iter().map(|handle| handle.slot()).collect();
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), MAX_VMS);
    assert!(handles.iter().all(|handle| usize::from(handle.vmid()) == handle.slot() + 1));
    assert_eq!(table.allocate(), Err(Status::NoSlot));
    let old = handles[5];
    table.release(old);
    let new = table.allocate().expect("room");
    assert_eq!(new.slot(), old.slot());
    assert_ne!(new.to_register(), old.to_register());
    // A stale handle releases nothing.
    table.release(old);
    assert_eq!(table.allocate(), Err(Status::NoSlot));
}

#[test]
fn a_slot_retires_when_its_generations_are_used_up() {
    let mut table = VmTable::EMPTY;
    table.set_generation(0, (1 << 40) - 2);
    let last = table.allocate().expect("one generation is left");
    assert_eq!(last.slot(), 0);
    assert_eq!(VmHandle::from_register(last.to_register()), Ok(last));
    table.release(last);
    assert_eq!(table.allocate().map(VmHandle::slot), Ok(1));
}

#[test]
fn arguments_of_creation() {
    for (flags, bits, vcpus, valid) in [
        (0, 32, 1, true),
        (1, 40, 16, true),
        (2, 40, 1, false),
        (1 << 63, 40, 1, false),
        (0, 31, 1, false),
        (0, 41, 1, false),
        (0, 256 + 40, 1, false),
        (0, u64::MAX, 1, false),
        (0, 40, 0, false),
        (0, 40, 17, false),
        (0, 40, 99_999, false),
        (0, 40, -10i64 as u64, false),
    ] {
        let result = VmConfig::new(flags, bits, vcpus, 40);
        assert_eq!(result.is_ok(), valid, "{flags} {bits} {vcpus}");
        assert_eq!(result.err(), (!valid).then_some(Status::InvalidArgument));
    }
}

#[test]
fn a_slot_in_use_is_not_opened_again() {
    let mut vm = vm(1, 1);
    let handle = vm.handle().expect("open");
    let mut table = VmTable::EMPTY;
    let other = (0..2).map(|_| table.allocate().expect("room")).last().expect("two");
    let config = VmConfig::new(0, 32, 1, 40).expect("valid");
    vm.open(other, &config, 0, IdRegisters::ZERO);
    assert_eq!((vm.check(handle), vm.check(other)), (Ok(()), Err(Status::NoSuchVm)));
    assert!(vm.protected());
}

#[test]
fn memory_ranges() {
    let mut vm = vm(1, 1);
    let top = 1 << 40;
    for (ipa, pages, refusal) in [
        (0x8000_0001, 1, Status::Misaligned),
        (0x8000_0000, 0, Status::InvalidArgument),
        (0x8000_0000, u64::MAX, Status::Overflow),
        (0x8000_0000, 1 << 52, Status::Overflow),
        (!0xfff, 1, Status::Overflow),
        (top - 0x1000, 2, Status::Overflow),
        (top, 1, Status::Overflow),
    ] {
        assert_eq!(vm.set_memory(ipa, pages), Err(refusal), "{ipa:#x} {pages:#x}");
    }
    vm.set_memory(top - 0x1000, 1).expect("the last page");
    vm.set_memory(0x8000_0000, 0x10).expect("valid");
    for (ipa, pages) in [(0x8000_0000, 1), (0x8000_f000, 1), (0x7fff_f000, 2), (0, 1 << 20)] {
        assert_eq!(vm.set_memory(ipa, pages), Err(Status::AlreadyMapped), "{ipa:#x}");
    }
    vm.set_memory(0x8001_0000, 1).expect("adjacent");
    let memory = vm.memory();
    for (ipa, inside) in [
        (0x7fff_ffff, false),
        (0x8000_0000, true),
        (0x8001_0fff, true),
        (0x8001_1000, false),
        (top - 1, true),
        (top, false),
    ] {
        assert_eq!(memory.contains_address(ipa), inside, "{ipa:#x}");
    }
    assert!(memory.contains(0x8000_0000, 0x10));
    assert!(!memory.contains(0x8000_0000, 0x11), "not across ranges");
    assert!(!memory.contains(0x8000_0000, u64::MAX));
    for index in 3..MAX_MEMORY_RANGES as u64 {
        vm.set_memory(0x1_0000_0000 + index * 0x2000, 1).expect("room");
    }
    assert_eq!(vm.set_memory(0, 1), Err(Status::NoSlot));
}

#[test]
fn vcpus_are_added_once_and_only_while_creating() {
    let mut vm = vm(1, 2);
    assert_eq!(vm.check_vcpu(0, 0).err(), Some(Status::VcpuExists));
    for index in [2, 16, 1 << 32, u64::MAX] {
        assert_eq!(vm.check_vcpu(index, 0).err(), Some(Status::NoSuchVcpu), "{index}");
    }
    assert_eq!(vm.check_vcpu(1, 2).err(), Some(Status::InvalidArgument));
    let (cpu, _) = cpus();
    let start = vm.begin_run(0, cpu).expect("on");
    vm.end_run(start.vcpu);
    assert_eq!(vm.check_vcpu(1, 0).err(), Some(Status::WrongState), "L10");
    assert_eq!(vm.set_memory(0, 1), Err(Status::WrongState));
}

/// L4: one physical CPU at a time, and only what is on.
#[test]
fn the_run_protocol() {
    let (here, there) = cpus();
    let mut vm = vm(1, 2);
    assert_eq!(vm.begin_run(2, here).err(), Some(Status::NoSuchVcpu));
    assert_eq!(vm.begin_run(u64::MAX, here).err(), Some(Status::NoSuchVcpu));
    assert_eq!(vm.begin_run(1, here).err(), Some(Status::PoweredOff));
    assert_eq!(vm.state(), VmState::Creating, "a refusal changes nothing");
    let start = vm.begin_run(0, here).expect("on");
    assert_eq!((start.state, start.run, start.reset), (pfn(0x100), pfn(0x200), None));
    assert_eq!(vm.state(), VmState::Runnable);
    assert_eq!(vm.running_on(0), Some(here));
    assert_eq!(vm.begin_run(0, there).err(), Some(Status::Busy));
    assert_eq!(vm.begin_run(0, here).err(), Some(Status::Busy));
    assert_eq!(vm.destroy(), Err(Status::Busy), "L5");
    vm.end_run(0);
    assert_eq!(vm.running_on(0), None);
    vm.destroy().expect("nothing runs");
    assert_eq!(vm.begin_run(0, there).err(), Some(Status::WrongState));
    assert_eq!(vm.destroy(), Err(Status::WrongState));
}

#[test]
fn a_refused_entry_leaves_the_vm_creating() {
    let (here, there) = cpus();
    let mut vm = vm(1, 2);
    let start = vm.begin_run(0, here).expect("on");
    vm.cancel_run(&start);
    assert_eq!((vm.state(), vm.running_on(0)), (VmState::Creating, None));
    // Not when another virtual CPU was started meanwhile, even if it has stopped again.
    vm.set_power(1, Power::On);
    let start = vm.begin_run(0, here).expect("on");
    let other = vm.begin_run(1, there).expect("on");
    vm.end_run(other.vcpu);
    vm.cancel_run(&start);
    assert_eq!(vm.state(), VmState::Runnable);
    assert_eq!(vm.register_access(0).err(), Some(Status::Protected));
}

#[test]
fn a_pending_start_is_handed_out_once() {
    let (here, _) = cpus();
    let mut vm = vm(1, 2);
    let boot = BootArguments { entry: 0x8000_0000, context: 5 };
    vm.set_power(1, Power::OnPending(boot));
    let start = vm.begin_run(1, here).expect("pending");
    assert_eq!(start.reset, Some(boot));
    vm.cancel_run(&start);
    assert_eq!(vm.power(1), Some(Power::OnPending(boot)));
    let start = vm.begin_run(1, here).expect("pending");
    assert_eq!(start.reset, Some(boot));
    vm.end_run(1);
    assert_eq!(vm.begin_run(1, here).expect("on").reset, None);
    // A power off meanwhile is not undone by a refused entry.
    vm.end_run(1);
    vm.set_power(1, Power::OnPending(boot));
    let start = vm.begin_run(1, here).expect("pending");
    vm.power_off_all();
    vm.cancel_run(&start);
    assert_eq!(vm.power(1), Some(Power::Off));
}

/// V1: who may reach registers, by state and kind.
#[test]
fn register_access_matrix() {
    let (here, _) = cpus();
    for (flags, before, after) in [
        (0, Ok(RegisterAccess::Full), Ok(RegisterAccess::Full)),
        (1, Ok(RegisterAccess::Boot), Err(Status::Protected)),
    ] {
        let mut vm = vm(flags, 1);
        let access = |vm: &Vm| vm.register_access(0).map(|(_, access)| access);
        assert_eq!(access(&vm), before);
        assert_eq!(vm.register_access(1).err(), Some(Status::NoSuchVcpu));
        let _ = vm.begin_run(0, here).expect("on");
        assert_eq!(access(&vm), Err(Status::Busy));
        vm.end_run(0);
        assert_eq!(access(&vm), after);
        vm.destroy().expect("nothing runs");
        assert_eq!(access(&vm), Err(Status::WrongState));
    }
}

#[test]
fn teardown_gives_vcpus_back_first_and_closes_last() {
    let mut vm = vm(1, 2);
    let handle = vm.handle().expect("open");
    assert_eq!(vm.reclaim_step(), Err(Status::WrongState));
    vm.reclaim_next();
    vm.close();
    assert_eq!(vm.state(), VmState::Creating, "nothing happens before VM_DESTROY");
    vm.destroy().expect("nothing runs");
    for index in 0..2 {
        let number = index as u64;
        let step = ReclaimStep::Vcpu { state: pfn(0x100 + number), run: pfn(0x200 + number) };
        assert_eq!(vm.reclaim_step(), Ok(step));
        assert_eq!(vm.reclaim_step(), Ok(step), "asking changes nothing");
        vm.reclaim_next();
    }
    assert_eq!(vm.reclaim_step(), Ok(ReclaimStep::Memory));
    vm.close();
    assert_eq!(vm.check(handle), Ok(()), "not before the end");
    vm.reclaim_next();
    assert_eq!(vm.reclaim_step(), Ok(ReclaimStep::Done));
    vm.close();
    assert_eq!((vm.state(), vm.check(handle)), (VmState::Free, Err(Status::NoSuchVm)));
    assert_eq!(vm.reclaim_step(), Err(Status::WrongState));
}

#[test]
fn a_condemned_vm_gives_nothing_back_while_a_vcpu_runs() {
    let (here, there) = cpus();
    let mut vm = vm(1, 2);
    let start = vm.begin_run(0, here).expect("it is on");
    vm.condemn();
    assert_eq!(vm.state(), VmState::Dying);
    assert!(vm.is_running());
    assert_eq!(vm.reclaim_step(), Err(Status::Busy), "the root is still walked");
    assert!(vm.begin_run(0, there).is_err(), "nobody enters any more");
    assert_eq!(vm.destroy(), Err(Status::WrongState), "it is ending already");
    vm.end_run(start.vcpu);
    assert!(!vm.is_running());
    assert!(
        matches!(vm.reclaim_step(), Ok(ReclaimStep::Vcpu { state, .. }) if state == pfn(0x100))
    );
}

#[test]
fn condemning_an_empty_slot_does_nothing() {
    let mut vm = Vm::EMPTY;
    vm.condemn();
    assert_eq!(vm.state(), VmState::Free);
}

#[test]
fn a_protected_vm_starts_on_its_first_vcpu_alone() {
    for (flags, protected) in [(VM_PROTECTED, true), (0, false)] {
        let config = VmConfig::new(flags, 40, 2, 40).expect("valid");
        let mut vm = Box::new(Vm::EMPTY);
        let mut table = VmTable::EMPTY;
        vm.open(table.allocate().expect("room"), &config, 7, IdRegisters::ZERO);
        for vcpu in 0..2 {
            let plan = vm.check_vcpu(vcpu, VCPU_POWERED_ON);
            match (protected, vcpu) {
                (true, 1) => assert_eq!(plan.err(), Some(Status::Protected)),
                _ => vm.commit_vcpu(plan.expect("free"), pfn(0x100 + vcpu), pfn(0x200 + vcpu)),
            }
        }
    }
}

#[test]
fn a_stopped_vm_is_not_revived_by_a_vcpu_that_still_runs() {
    let (here, there) = cpus();
    let mut vm = vm(VM_PROTECTED, 2);
    let start = vm.begin_run(0, here).expect("it is on");
    vm.power_off_all();
    vm.set_power(1, Power::On);
    assert_eq!(vm.begin_run(1, there).err(), Some(Status::PoweredOff));
    vm.end_run(start.vcpu);
}

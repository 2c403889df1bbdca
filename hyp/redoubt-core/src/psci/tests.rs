//! Guests' PSCI by table, and the states of physical CPUs under every interleaving.

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use redoubt_abi::guest as id;
use redoubt_abi::run::ExitReason;

use super::*;
use crate::addr::Pfn;
use crate::cpu::{CpuIndex, CpuTable};
use crate::exit::ExitReport;
use crate::sysreg::IdRegisters;
use crate::vm::BootArguments;
use crate::vm::{Power, Vm, VmConfig, VmTable};

const ENTRY: u64 = 0x8000_1000;

fn vm(flags: u64) -> Box<Vm> {
    let config = VmConfig::new(flags, 40, 4, 40).expect("valid");
    let mut table = VmTable::EMPTY;
    let handle = table.allocate().expect("room");
    let mut vm = Box::new(Vm::EMPTY);
    vm.open(handle, &config, 0, IdRegisters::ZERO);
    vm.set_memory(0x8000_0000, 0x100).expect("valid");
    for vcpu in 0..3 {
        let plan = vm.check_vcpu(vcpu, 0).expect("valid");
        let page = Pfn::new(vcpu).expect("in range");
        vm.commit_vcpu(plan, page, page);
    }
    vm
}

fn call(vm: &mut Vm, function: u32, args: [u64; 3]) -> GuestPsci {
    guest_psci(vm, 0, function, args)
}

fn value(vm: &mut Vm, function: u32, args: [u64; 3]) -> u64 {
    match call(vm, function, args) {
        GuestPsci::Return(value) => value,
        GuestPsci::Report(..) => panic!("{function:#x} went to the host"),
    }
}

#[test]
fn cpu_on() {
    let mut vm = vm(1);
    let on = id::PSCI_CPU_ON_64;
    for (args, code) in [
        ([3, ENTRY, 0], INVALID_PARAMETERS), // no such virtual CPU yet
        ([4, ENTRY, 0], INVALID_PARAMETERS), // beyond the VM
        ([1 << 8, ENTRY, 0], INVALID_PARAMETERS), // Aff1
        ([1 | 1 << 31, ENTRY, 0], INVALID_PARAMETERS), // a bit that is no affinity
        ([1 | 1 << 24, ENTRY, 0], INVALID_PARAMETERS), // MT
        ([1 | 1 << 40, ENTRY, 0], INVALID_PARAMETERS), // beyond Aff3
        ([1, ENTRY | 1, 0], INVALID_ADDRESS), // T32
        ([1, ENTRY | 2, 0], INVALID_ADDRESS),
        ([1, 0x0900_0000, 0], INVALID_ADDRESS), // a device
        ([1, 0x8010_0000, 0], INVALID_ADDRESS), // the first byte behind the memory
        ([1, ENTRY | 1 << 40, 0], INVALID_ADDRESS),
        ([0, ENTRY, 0], ALREADY_ON), // oneself
    ] {
        assert_eq!(value(&mut vm, on, args), code, "{args:x?}");
        assert_eq!(vm.power(1), Some(Power::Off));
    }
    let report = ExitReport::with(ExitReason::CpuOn, [1, 0, 0, 0]);
    assert_eq!(call(&mut vm, on, [1, ENTRY, 77]), GuestPsci::Report(SUCCESS, report));
    assert_eq!(value(&mut vm, on, [1, ENTRY, 78]), ON_PENDING);
    let boot = BootArguments { entry: ENTRY, context: 77 };
    assert_eq!(vm.power(1), Some(Power::OnPending(boot)), "the second call changes nothing");
    let mut table = CpuTable::EMPTY;
    let cpu = table.add(0).expect("room");
    assert_eq!(vm.begin_run(1, cpu).expect("pending").reset, Some(boot));
    assert_eq!(value(&mut vm, on, [1, ENTRY, 0]), ALREADY_ON);
}

/// A CPU that switches itself off may be switched on again before the host has taken it back.
#[test]
fn cpu_on_races_with_cpu_off() {
    let mut vm = vm(1);
    let mut table = CpuTable::EMPTY;
    let (here, there) = (table.add(0).expect("room"), table.add(1).expect("room"));
    vm.set_power(1, Power::On);
    let running = vm.begin_run(1, here).expect("on");
    let off = guest_psci(&mut vm, 1, id::PSCI_CPU_OFF, [0; 3]);
    assert_eq!(off, GuestPsci::Report(SUCCESS, ExitReport::new(ExitReason::CpuOff)));
    assert_eq!(vm.power(1), Some(Power::Off));
    let on = call(&mut vm, id::PSCI_CPU_ON_64, [1, ENTRY, 1]);
    assert!(matches!(on, GuestPsci::Report(SUCCESS, _)));
    // Its context is still being saved there: not to be used here.
    assert_eq!(vm.begin_run(1, there).err(), Some(redoubt_abi::Status::Busy));
    vm.end_run(running.vcpu);
    let start = vm.begin_run(1, there).expect("pending");
    assert_eq!(start.reset, Some(BootArguments { entry: ENTRY, context: 1 }));
}

#[test]
fn calls_of_32_bits_cut_their_arguments() {
    let mut vm = vm(1);
    let high = 0xffff_ffff_0000_0000;
    let on = call(&mut vm, id::PSCI_CPU_ON_32, [high | 2, high | ENTRY, high | 9]);
    assert!(matches!(on, GuestPsci::Report(SUCCESS, _)));
    assert_eq!(vm.power(2), Some(Power::OnPending(BootArguments { entry: ENTRY, context: 9 })));
    let info = id::PSCI_AFFINITY_INFO_32;
    assert_eq!(value(&mut vm, info, [high | 2, high, 0]), AFFINITY_ON_PENDING);
    assert_eq!(value(&mut vm, id::PSCI_AFFINITY_INFO_64, [high | 2, 0, 0]), INVALID_PARAMETERS);
}

#[test]
fn affinity_info() {
    let mut vm = vm(1);
    let mut info =
        |affinity, level| value(&mut vm, id::PSCI_AFFINITY_INFO_64, [affinity, level, 0]);
    assert_eq!(info(0, 0), AFFINITY_ON);
    assert_eq!(info(1, 0), AFFINITY_OFF);
    assert_eq!(info(3, 0), INVALID_PARAMETERS);
    // The whole cluster: one is on. Aff0 is passed over.
    for level in 1..=3 {
        assert_eq!(info(0, level), AFFINITY_ON);
        assert_eq!(info(0xff, level), AFFINITY_ON);
    }
    assert_eq!(info(1 << 8, 1), INVALID_PARAMETERS);
    assert_eq!(info(1 << 8, 2), AFFINITY_ON);
    assert_eq!(info(1 << 32, 3), INVALID_PARAMETERS);
    for level in [4, 1 << 32, u64::MAX] {
        assert_eq!(info(0, level), INVALID_PARAMETERS);
    }
    // Nobody is on: pending counts more than off.
    (0..3).for_each(|vcpu| vm.set_power(vcpu, Power::Off));
    let boot = BootArguments { entry: ENTRY, context: 0 };
    let cluster = |vm: &mut Vm| value(vm, id::PSCI_AFFINITY_INFO_64, [0, 1, 0]);
    assert_eq!(cluster(&mut vm), AFFINITY_OFF);
    vm.set_power(1, Power::OnPending(boot));
    assert_eq!(cluster(&mut vm), AFFINITY_ON_PENDING);
    vm.set_power(2, Power::On);
    assert_eq!(cluster(&mut vm), AFFINITY_ON);
}

#[test]
fn the_end_of_a_vm() {
    for (function, arg, reason) in [
        (id::PSCI_SYSTEM_OFF, 0, ExitReason::SystemOff),
        (id::PSCI_SYSTEM_RESET, 0, ExitReason::SystemReset),
        (id::PSCI_SYSTEM_RESET2_32, 1 << 32, ExitReason::SystemReset),
        (id::PSCI_SYSTEM_RESET2_64, 0, ExitReason::SystemReset),
    ] {
        for protected in [0, 1] {
            let mut vm = vm(protected);
            let answer = call(&mut vm, function, [arg, 0, 0]);
            assert_eq!(answer, GuestPsci::Report(SUCCESS, ExitReport::new(reason)));
            let expected = if protected == 1 { Power::Off } else { Power::On };
            assert_eq!(vm.power(0), Some(expected), "{function:#x}");
        }
    }
    let mut vm = vm(1);
    for reset_type in [1, 0x8000_0000] {
        let code = value(&mut vm, id::PSCI_SYSTEM_RESET2_64, [reset_type, 0, 0]);
        assert_eq!(code, INVALID_PARAMETERS);
    }
    assert_eq!(vm.power(0), Some(Power::On));
}

/// Every function of PSCI's range, of both widths: what is there says so, and the other way round.
#[test]
fn features_are_what_is_implemented() {
    let range = (0..32).flat_map(|number| [0x8400_0000 + number, 0xc400_0000 + number]);
    let mut offered = 0;
    for function in range.clone() {
        assert!(is_psci(function));
        let mut vm = vm(1);
        let queried = value(&mut vm, id::PSCI_FEATURES, [function.into(), 0, 0]);
        // Arguments that no function answers with NOT_SUPPORTED if it is there.
        let answer = call(&mut vm, function, [id::PSCI_VERSION.into(), 5, 5]);
        let there = answer != GuestPsci::Return(NOT_SUPPORTED);
        assert_eq!(queried == SUCCESS, there, "{function:#x}");
        offered += u32::from(there);
    }
    assert_eq!(offered, 14);
    let mut vm = vm(1);
    assert_eq!(value(&mut vm, id::PSCI_VERSION, [0; 3]), 0x1_0001);
    assert_eq!(value(&mut vm, id::PSCI_MIGRATE_INFO_TYPE, [0; 3]), 2);
    assert_eq!(value(&mut vm, id::PSCI_FEATURES, [id::SMCCC_VERSION.into(), 0, 0]), SUCCESS);
    for function in [0x8400_0020, 0x8000_0000, 0x0400_0000, 0x8500_0000, 0x8600_0000] {
        assert!(!is_psci(function), "{function:#x}");
    }
}

fn cpus(count: u64) -> (CpuTable, Vec<CpuIndex>) {
    let mut table = CpuTable::EMPTY;
    let indices = (0..count).map(|mpidr| table.add(mpidr).expect("room")).collect();
    (table, indices)
}

/// P4: the whole range for the host, against the list.
#[test]
fn functions_of_the_host() {
    let (table, indices) = cpus(2);
    let ram = |address| (0x4000_0000..0x8000_0000).contains(&address);
    let decide = |function, args| host_psci(function, args, &table, ram);
    let boot = BootArguments { entry: 0x4000_0000, context: 9 };
    let args = [1, 0x4000_0000, 9];
    for function in (0..32).flat_map(|number| [0x8400_0000 + number, 0xc400_0000 + number]) {
        let expected = match function {
            0x8400_0000 | 0x8400_0004 | 0xc400_0004 | 0x8400_0006 => HostPsci::Forward,
            0x8400_0001 | 0xc400_0001 => HostPsci::CpuSuspend { power_state: Some(1), boot },
            0x8400_0002 => HostPsci::CpuOff,
            0x8400_0003 | 0xc400_0003 => HostPsci::CpuOn { target: indices[1], boot },
            0x8400_0008 | 0x8400_0009 | 0x8400_0012 | 0xc400_0012 => HostPsci::SystemDown,
            0x8400_000c | 0xc400_000c => HostPsci::CpuSuspend {
                power_state: None,
                boot: BootArguments { entry: 1, context: 0x4000_0000 },
            },
            // MIGRATE, UP_CPU, FREEZE, NODE_HW_STATE, STAT, MEM_PROTECT, OFF2, SYSTEM_SUSPEND; and FEATURES
            // of 1.
            _ => HostPsci::Return(NOT_SUPPORTED),
        };
        assert_eq!(decide(function, args), expected, "{function:#x}");
        let queried = decide(id::PSCI_FEATURES, [function.into(), 0, 0]);
        let allowed = expected != HostPsci::Return(NOT_SUPPORTED) || function == id::PSCI_FEATURES;
        assert_eq!(queried == HostPsci::Forward, allowed, "{function:#x}");
    }
    assert_eq!(decide(0x8400_0020, args), HostPsci::NotPsci);
    for (args, code) in [
        ([2, 0x4000_0000, 0], INVALID_PARAMETERS),
        ([1 | 1 << 24, 0x4000_0000, 0], INVALID_PARAMETERS),
        ([1 | 1 << 63, 0x4000_0000, 0], INVALID_PARAMETERS),
        ([1, 0x4000_0002, 0], INVALID_ADDRESS),
        ([1, 0x8000_0000, 0], INVALID_ADDRESS),
    ] {
        assert_eq!(decide(id::PSCI_CPU_ON_64, args), HostPsci::Return(code), "{args:x?}");
    }
}

#[test]
fn physical_cpus_one_step_at_a_time() {
    let (_, cpu) = cpus(2);
    let boot = |context| BootArguments { entry: 0x4000_0000, context };
    let mut power = HostPower::ALL_OFF;
    power.set_on(cpu[0]);
    assert_eq!(power.claim_on(cpu[0], boot(0)).err(), Some(ALREADY_ON));
    assert_eq!(power.arrive(cpu[0]), None, "nobody sent for a CPU that is on");
    assert_eq!(power.arrive(cpu[1]), None, "nor for this one");
    let claim = power.claim_on(cpu[1], boot(1)).expect("off");
    assert_eq!(power.claim_on(cpu[1], boot(2)).err(), Some(ON_PENDING));
    assert!(!power.is_on(cpu[1]));
    power.abort_on(claim);
    let claim = power.claim_on(cpu[1], boot(3)).expect("off again");
    assert_eq!(power.arrive(cpu[1]), Some(boot(3)));
    power.abort_on(claim);
    assert!(power.is_on(cpu[1]), "it has come up: the firmware's code is too late");
    power.begin_suspend(cpu[1], boot(4));
    assert_eq!(power.claim_on(cpu[1], boot(5)).err(), Some(ALREADY_ON));
    power.set_on(cpu[1]);
    assert_eq!(power.arrive(cpu[1]), None);
    power.begin_suspend(cpu[1], boot(6));
    assert_eq!(power.arrive(cpu[1]), Some(boot(6)));
    power.begin_off(cpu[1]);
    let claim = power.claim_on(cpu[1], boot(7)).expect("off");
    power.set_on(cpu[1]);
    power.abort_on(claim);
    assert!(power.is_on(cpu[1]), "CPU_OFF was denied, and nobody took its place");
}

/// What the two callers and the target of the model do next.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Claim,
    Firmware,
    Answer,
    Finished,
}

#[derive(Clone, Copy)]
struct Caller {
    step: Step,
    granted: bool,
    code: u64,
    claim: Option<u64>,
}

/// P1: two CPUs switch on a third while it switches itself off (and the firmware may refuse that),
/// in every order. The firmware is modelled: it starts a CPU that is off, once.
#[test]
fn two_cpu_on_and_a_cpu_off_in_every_order() {
    let mut outcomes = 0;
    // A schedule is a number in base 3: who does the next step.
    for deny_off in [false, true] {
        for schedule in 0..3u32.pow(9) {
            outcomes += u32::from(interleave(schedule, deny_off));
        }
    }
    assert!(outcomes > 1000, "the schedules must reach the end");
}

/// Runs one schedule; returns whether everybody finished.
fn interleave(mut schedule: u32, deny_off: bool) -> bool {
    let (_, cpu) = cpus(3);
    let target = cpu[2];
    let boot = |context| BootArguments { entry: 0x4000_0000, context };
    let mut power = HostPower::ALL_OFF;
    cpu.iter().for_each(|cpu| power.set_on(*cpu));
    let mut claims: Vec<Option<Claim>> = vec![None, None];
    let start = Caller { step: Step::Claim, granted: false, code: SUCCESS, claim: None };
    let mut callers = [start; 2];
    let mut off_step = 0;
    let mut firmware_on = true;
    let mut arrivals = Vec::new();
    for _ in 0..9 {
        let who = (schedule % 3) as usize;
        schedule /= 3;
        if who == 2 {
            match off_step {
                0 => power.begin_off(target),
                1 if deny_off => power.set_on(target),
                1 => firmware_on = false,
                _ => {}
            }
            off_step += 1;
            continue;
        }
        let caller = &mut callers[who];
        match caller.step {
            Step::Claim => match power.claim_on(target, boot(who as u64)) {
                Ok(claim) => {
                    claims[who] = Some(claim);
                    caller.claim = Some(who as u64);
                    caller.step = Step::Firmware;
                }
                Err(code) => {
                    assert!(code == ALREADY_ON || code == ON_PENDING);
                    caller.code = code;
                    caller.step = Step::Finished;
                }
            },
            Step::Firmware => {
                if firmware_on {
                    caller.code = ALREADY_ON;
                } else {
                    firmware_on = true;
                    caller.granted = true;
                    // The target arrives at once: the earliest it can.
                    let arguments = power.arrive(target).expect("claimed before the firmware call");
                    arrivals.push(arguments.context);
                }
                caller.step = Step::Answer;
            }
            Step::Answer => {
                let claim = claims[who].take().expect("claimed");
                if caller.code != SUCCESS {
                    power.abort_on(claim);
                }
                caller.step = Step::Finished;
            }
            Step::Finished => {}
        }
    }
    // Whoever was granted the start is whose arguments the target took; nobody else.
    let granted: Vec<u64> = (0..2).filter(|who| callers[*who as usize].granted).collect();
    assert_eq!(granted, arrivals);
    assert!(granted.len() <= 1);
    let finished = callers.iter().all(|caller| caller.step == Step::Finished) && off_step >= 2;
    if finished {
        assert_eq!(power.is_on(target), firmware_on, "the records agree with the firmware");
    }
    finished
}

//! The dispatcher of guests, and the host's allow-list over all owners.

use std::boxed::Box;
use std::vec::Vec;

use redoubt_abi::guest as id;
use redoubt_abi::run::ExitReason;

use super::*;
use crate::addr::Pfn;
use crate::sysreg::{HardwareIds, IdRegisters};
use crate::vm::{VmConfig, VmTable};

/// Counts up; runs dry after some numbers.
struct Counter {
    available: bool,
    left: u64,
}

impl Entropy for Counter {
    fn is_available(&self) -> bool {
        self.available
    }

    fn next(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        Some(!0)
    }
}

const MINUS_ONE: u64 = u64::MAX;

fn vm(flags: u64) -> Box<Vm> {
    let config = VmConfig::new(flags, 40, 1, 40).expect("valid");
    let mut table = VmTable::EMPTY;
    let handle = table.allocate().expect("room");
    let mut vm = Box::new(Vm::EMPTY);
    let hardware = HardwareIds { pfr0: 1 << 56, ..HardwareIds::default() };
    let ids = IdRegisters::new(&hardware, 40);
    vm.open(handle, &config, 0, ids);
    vm.set_memory(0x8000_0000, 0x10).expect("valid");
    let plan = vm.check_vcpu(0, 0).expect("valid");
    vm.commit_vcpu(plan, Pfn::new(1).expect("in range"), Pfn::new(2).expect("in range"));
    vm
}

fn call_with(
    flags: u64,
    entropy: &mut Counter,
    registers: [u64; 4],
) -> (GuestCall, Box<VcpuContext>) {
    let mut context = Box::new(VcpuContext::default());
    context.x = [0x77; 31];
    context.x[..4].copy_from_slice(&registers);
    let result = guest_call(&mut vm(flags), 0, &mut context, entropy);
    assert!(context.x[4..].iter().all(|value| *value == 0x77), "X4 and up are preserved");
    assert_eq!(context.pc, 0);
    (result, context)
}

fn call(flags: u64, function: u32, args: [u64; 3]) -> [u64; 4] {
    let mut entropy = Counter { available: true, left: 9 };
    let [a, b, c] = args;
    let (result, context) = call_with(flags, &mut entropy, [function.into(), a, b, c]);
    assert_eq!(result, GuestCall::Resume, "{function:#x}");
    let [x0, x1, x2, x3, ..] = context.x;
    [x0, x1, x2, x3]
}

/// Every function of every owner whose number is small: what is answered at all.
#[test]
fn only_listed_functions_are_served() {
    let mut served = Vec::new();
    for top in 0..=0xffu32 {
        let numbers = (0..0x60).chain(0xff00..0xff04).chain([0x3fff, 0x7fff, 0x8000]);
        for function in numbers.map(|number| top << 24 | number) {
            let mut entropy = Counter { available: true, left: 9 };
            let registers = [function.into(), 0x8000_0001, 0, 0];
            let (result, context) = call_with(1, &mut entropy, registers);
            if result != GuestCall::Resume || context.x[0] != MINUS_ONE {
                served.push(function);
            } else {
                assert_eq!(context.x[1..4], [0; 3]);
            }
        }
    }
    // PSCI_FEATURES and TRNG_FEATURES answer NOT_SUPPORTED to this argument.
    let expected = [
        id::SMCCC_VERSION,
        id::SMCCC_ARCH_FEATURES,
        id::PSCI_VERSION,
        id::PSCI_CPU_SUSPEND_32,
        id::PSCI_CPU_OFF,
        id::PSCI_CPU_ON_32,
        id::PSCI_AFFINITY_INFO_32,
        id::PSCI_MIGRATE_INFO_TYPE,
        id::PSCI_SYSTEM_OFF,
        id::PSCI_SYSTEM_RESET,
        id::PSCI_SYSTEM_RESET2_32,
        id::TRNG_VERSION,
        id::TRNG_GET_UUID,
        id::TRNG_RND_32,
        id::KVM_FEATURES,
        id::VENDOR_UID,
        id::PSCI_CPU_SUSPEND_64,
        id::PSCI_CPU_ON_64,
        id::PSCI_AFFINITY_INFO_64,
        id::PSCI_SYSTEM_RESET2_64,
        id::TRNG_RND_64,
        id::KVM_HYP_MEMINFO,
        id::KVM_MEM_SHARE,
        id::KVM_MEM_UNSHARE,
        id::MEM_RELINQUISH,
    ];
    assert_eq!(served, expected);
}

#[test]
fn discovery() {
    assert_eq!(call(1, id::SMCCC_VERSION, [0; 3]), [0x1_0001, 0, 0, 0]);
    let feature = |queried: u32| call(1, id::SMCCC_ARCH_FEATURES, [queried.into(), 0, 0])[0];
    assert_eq!(feature(id::SMCCC_VERSION), 0);
    assert_eq!(feature(id::SMCCC_ARCH_FEATURES), 0);
    assert_eq!(feature(0x8000_8000), 1, "CSV2: not affected");
    for unknown in [0x8000_7fff, 0x8000_3fff, id::SMCCC_ARCH_SOC_ID, 0xc500_0020] {
        assert_eq!(feature(unknown), MINUS_ONE, "{unknown:#x}");
    }
    assert_eq!(call(1, id::PSCI_FEATURES, [id::SMCCC_VERSION.into(), 0, 0])[0], 0);
    assert_eq!(
        call(0, id::VENDOR_UID, [0; 3]),
        [0xb66f_b428, 0xe911_c52e, 0x564b_caa9, 0x743a_004d]
    );
    assert_eq!(call(0, id::KVM_FEATURES, [0; 3]), [1, 0, 0, 0]);
    assert_eq!(call(1, id::KVM_FEATURES, [0; 3]), [0b10_0001_1101, 0, 0, 0]);
    // The upper half of X0 is no part of the function.
    let mut entropy = Counter { available: true, left: 0 };
    let (_, context) = call_with(1, &mut entropy, [0xdead_beef_8000_0000, 0, 0, 0]);
    assert_eq!(context.x[0], 0x1_0001);
}

#[test]
fn psci_reports_go_to_the_host_with_the_answer_set() {
    let mut entropy = Counter { available: true, left: 0 };
    let registers = [id::PSCI_SYSTEM_OFF.into(), 5, 6, 7];
    let (result, context) = call_with(1, &mut entropy, registers);
    assert_eq!(result, GuestCall::Report(ExitReport::new(ExitReason::SystemOff)));
    assert_eq!(context.x[..4], [0; 4]);
}

#[test]
fn sharing_is_for_protected_guests_and_their_memory() {
    let page = 0x8000_3000;
    let share = |flags, function: u32, args: [u64; 3]| {
        let mut entropy = Counter { available: true, left: 0 };
        let [a, b, c] = args;
        let (result, context) = call_with(flags, &mut entropy, [function.into(), a, b, c]);
        (result, context.x[0])
    };
    for (function, expected) in [
        (id::KVM_MEM_SHARE, GuestCall::Memory(MemoryCall::Share, page)),
        (id::KVM_MEM_UNSHARE, GuestCall::Memory(MemoryCall::Unshare, page)),
        (id::MEM_RELINQUISH, GuestCall::Memory(MemoryCall::Relinquish, page)),
    ] {
        assert_eq!(share(1, function, [page, 0, 0]).0, expected);
        assert_eq!(share(0, function, [page, 0, 0]), (GuestCall::Resume, MINUS_ONE));
        // SH2: unaligned, a device, behind the end, reserved arguments.
        for args in [
            [page | 8, 0, 0],
            [0x0900_0000, 0, 0],
            [0x8001_0000, 0, 0],
            [page | 1 << 63, 0, 0],
            [page, 1, 0],
            [page, 0, 1],
        ] {
            let refused = (GuestCall::Resume, -3i64 as u64);
            assert_eq!(share(1, function, args), refused, "{args:x?}");
        }
    }
    assert_eq!(call(1, id::KVM_HYP_MEMINFO, [0; 3])[0], 4096);
    assert_eq!(call(1, id::KVM_HYP_MEMINFO, [0, 1, 0])[0], -3i64 as u64);
    assert_eq!(call(0, id::KVM_HYP_MEMINFO, [0; 3])[0], MINUS_ONE);
    let mut context = Box::new(VcpuContext::default());
    finish_memory_call(&mut context, false);
    assert_eq!(context.x[0], -3i64 as u64);
    finish_memory_call(&mut context, true);
    assert_eq!(context.x[..4], [0; 4]);
}

#[test]
fn random_numbers() {
    let ones = |bits: u32| if bits == 64 { !0u64 } else { (1 << bits) - 1 };
    for (bits, words) in [
        (1, [0, 0, 1]),
        (64, [0, 0, 64]),
        (65, [0, 1, 64]),
        (128, [0, 64, 64]),
        (191, [63, 64, 64]),
        (192, [64, 64, 64]),
    ] {
        let [x0, x1, x2, x3] = call(1, id::TRNG_RND_64, [bits, 0, 0]);
        assert_eq!(x0, 0, "{bits}");
        let [w1, w2, w3] = words;
        assert_eq!([x1, x2, x3], [ones(w1), ones(w2), ones(w3)], "{bits}");
    }
    let [x0, x1, x2, x3] = call(1, id::TRNG_RND_32, [1 << 32 | 33, 0, 0]);
    assert_eq!([x0, x1, x2, x3], [0, 0, 1, 0xffff_ffff]);
    for (function, bits) in [
        (id::TRNG_RND_64, 0),
        (id::TRNG_RND_64, 193),
        (id::TRNG_RND_64, u64::MAX),
        (id::TRNG_RND_32, 0),
        (id::TRNG_RND_32, 97),
    ] {
        assert_eq!(call(1, function, [bits, 0, 0]), [-2i64 as u64, 0, 0, 0], "{bits}");
    }
    // What was drawn before the source ran dry is not handed out.
    let mut dry = Counter { available: true, left: 2 };
    let (_, context) = call_with(1, &mut dry, [id::TRNG_RND_64.into(), 192, 0, 0]);
    assert_eq!(context.x[..4], [-3i64 as u64, 0, 0, 0]);
    assert_eq!(call(1, id::TRNG_VERSION, [0; 3])[0], 0x1_0000);
    assert_eq!(call(1, id::TRNG_FEATURES, [id::TRNG_RND_64.into(), 0, 0])[0], 0);
    assert_eq!(call(1, id::TRNG_FEATURES, [0x8400_0054, 0, 0])[0], MINUS_ONE);
    let mut none = Counter { available: false, left: 9 };
    for function in
        [id::TRNG_VERSION, id::TRNG_FEATURES, id::TRNG_GET_UUID, id::TRNG_RND_32, id::TRNG_RND_64]
    {
        let (_, context) = call_with(1, &mut none, [function.into(), 32, 0, 0]);
        assert_eq!(context.x[0], MINUS_ONE, "{function:#x}");
    }
}

/// P6: the whole function space of the host, thinned: everything but the list is denied.
#[test]
fn smcs_of_the_host_are_denied_but_for_the_list() {
    let mut cpus = CpuTable::EMPTY;
    cpus.add(0).expect("room");
    let mut forwarded = Vec::new();
    let mut psci = 0;
    for top in 0..=0xffu32 {
        for bits in [0u32, 0x1_0000, 0x80_0000] {
            let numbers = (0..0x100).chain([0x3fff, 0x7fff, 0x8000, 0xff00, 0xff01, 0xff03]);
            for function in numbers.map(|number| top << 24 | bits | number) {
                let registers = [0x5a5a_0000_0000_0000 | u64::from(function), 0, 0, 0];
                match host_smc(&registers, &cpus, |_| true) {
                    HostSmc::Forward => forwarded.push(function),
                    HostSmc::Psci(_) => psci += 1,
                    HostSmc::Deny => {}
                }
            }
        }
    }
    let list = [
        0x8000_0000,
        0x8000_0001,
        0x8000_0002,
        0x8000_3fff,
        0x8000_7fff,
        0x8000_8000,
        0x8400_0050,
        0x8400_0051,
        0x8400_0052,
        0x8400_0053,
        0xc400_0053,
    ];
    assert_eq!(forwarded, list);
    assert_eq!(psci, 16);
}

#[test]
fn denied_functions_are_printed_once() {
    let mut log = DeniedLog::EMPTY;
    assert_eq!(log.get(0), None);
    for function in [0, 0x8400_0013, 0, 0x8400_0013] {
        log.note(function);
    }
    assert_eq!([log.get(0), log.get(1), log.get(2)], [Some(0), Some(0x8400_0013), None]);
    (0..100_000u32).for_each(|number| log.note(0xc200_0000 + number));
    assert_eq!(log.get(31), Some(0xc200_001d));
    assert_eq!(log.get(32), None, "the rest is not remembered");
}

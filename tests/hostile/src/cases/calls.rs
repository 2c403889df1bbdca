//! Arguments that no honest caller passes.

use redoubt_abi::call::{Counter, Info};
use redoubt_abi::{HostCall, Status, guest};

use crate::Check;
use crate::a64;
use crate::cases::cases;
use crate::device::{self, Outcome, Step};
use crate::hyper;
use crate::memory::{self, PAGE};
use crate::oracle::World;
use crate::vm::{GUEST_BASE, Options, Pages, Vm};

cases! {
    unknown_numbers, "unknown-numbers", "C1", "every undefined number of owner 6 is NOT_SUPPORTED, by both conventions";
    upper_bits, "upper-register-bits", "C1", "bits above W0 and the HVC immediate do not make another call";
    not_from_smc, "host-calls-by-smc", "C1", "no host call can be made by SMC";
    wrapped_ranges, "wrapped-ranges", "C2", "page numbers, lengths and addresses that wrap or are absurd";
    ends_elsewhere, "range-ends-elsewhere", "C3", "a range that ends in foreign memory changes nothing of it";
    wrong_handles, "wrong-handles", "C4", "handles that are not, not yet or no more";
    wrong_vcpus, "wrong-vcpus", "C5", "vCPU numbers and counts outside the range";
    reserved_bits, "reserved-bits", "C2 +", "a reserved flag, selector or register is refused";
    misaligned, "misaligned", "C2 +", "addresses that are not page aligned";
}

/// C1: X20 is the first number, X21 how many. Stops at the first that is not answered with -1 in
/// X0 and zero in X2 and X3: then X21 is not zero.
fn scan_code(conduit: u32) -> Vec<u32> {
    vec![
        a64::mov(0, 20),
        conduit,
        a64::add(4, 0, 1),
        a64::cbnz(4, 5),
        a64::cbnz(2, 4),
        a64::cbnz(3, 3),
        a64::add(20, 20, 1),
        // Falls through to the count; the three branches above leave.
        a64::sub(21, 21, 1),
        a64::cbnz(21, -8),
        a64::RET,
    ]
}

/// Calls every number from `first` on, and requires NOT_SUPPORTED of all but those that `known`
/// passes over.
pub fn scan(conduit: u32, first: u64, count: u64, known: impl Fn(u64) -> bool) -> Check {
    let mut at = first;
    let end = first + count;
    while at < end {
        if known(at) {
            at += 1;
            continue;
        }
        // Up to the next known number, a thousand at a time: interrupts are masked meanwhile.
        let next = (at..end.min(at + 1000)).find(|number| known(*number));
        let next = next.unwrap_or(end.min(at + 1000));
        let mut step = Step::new(scan_code(conduit));
        // What an unknown call must ignore.
        for (index, x) in step.x.iter_mut().enumerate() {
            *x = 0x4000_0000 + index as u64;
        }
        step.x[20] = at;
        step.x[21] = next - at;
        let step = device::run_one(step)?;
        if step.outcome != Outcome::Returned || step.x[21] != 0 {
            let x: Vec<_> = step.x[..4].iter().map(|x| format!("{x:#x}")).collect();
            return Err(format!("{:#x}: {:x?}, X0-X3 {}", step.x[20], step.outcome, x.join(" ")));
        }
        at = next;
    }
    Ok(())
}

fn unknown_numbers(_: &mut World) -> Check {
    let known = |number: u64| {
        HostCall::DOCS.iter().any(|doc| u64::from(doc.function) == number)
            || number == u64::from(guest::VENDOR_UID)
    };
    for base in [0xc600_0000_u64, 0x8600_0000, 0x4600_0000, 0x0600_0000] {
        scan(a64::hvc(0), base, 1 << 16, known)?;
    }
    // The hint bits of SMCCC: SVE state not live, and its neighbours.
    for hint in [1_u64 << 16, 1 << 17, 1 << 23] {
        scan(a64::hvc(0), 0xc600_0100 | hint, 0x40, known)?;
    }
    Ok(())
}

fn upper_bits(_: &mut World) -> Check {
    let version = hyper::succeed(HostCall::Version {})?;
    for upper in [1_u64 << 32, 0xffff_ffff_0000_0000, 1 << 63] {
        let step = hyper::raw(a64::hvc(0), &[u64::from(HostCall::DOCS[0].function) | upper])?;
        if step.x[0] != 0 || step.x[1] != version {
            return Err(format!("upper half {upper:#x}: X0 {:#x}, X1 {:#x}", step.x[0], step.x[1]));
        }
    }
    for immediate in [1, 0x100, 0xffff] {
        let step = hyper::raw(a64::hvc(immediate), &[u64::from(HostCall::DOCS[0].function)])?;
        // Answered like any other, refused or UNDEFINED; never something else.
        let answer = step.x[0];
        let fine = match step.outcome {
            Outcome::Returned => (answer == 0 && step.x[1] == version) || answer == u64::MAX,
            Outcome::Exception { esr, .. } => esr >> 26 & 0x3f == 0,
            Outcome::SystemError => false,
        };
        if !fine {
            return Err(format!("HVC #{immediate}: {:x?}, X0 {answer:#x}", step.outcome));
        }
    }
    Ok(())
}

fn not_from_smc(_: &mut World) -> Check {
    for doc in HostCall::DOCS {
        let step = hyper::raw(a64::smc(0), &[u64::from(doc.function), 0, 0, 0])?;
        if step.outcome != Outcome::Returned || step.x[0] != u64::MAX {
            return Err(format!("{}: {:x?}, X0 {:#x}", doc.name, step.outcome, step.x[0]));
        }
    }
    Ok(())
}

/// Numbers that are absurd as a page frame number, a count or an address.
const ABSURD: [u64; 16] = [
    u64::MAX,
    u64::MAX - 1,
    u64::MAX >> 1,
    1 << 63,
    1 << 62,
    1 << 53,
    1 << 52,
    (1 << 52) - 1,
    1 << 51,
    1 << 48,
    1 << 44,
    1 << 40,
    1 << 36,
    0xffff_ffff_ffff_f000,
    0x000f_ffff_ffff_ffff,
    0x8000_0000_0000_0001,
];

/// Makes a call that must be refused, for whatever documented reason.
fn refused(call: HostCall) -> Check {
    let reply = hyper::call(call)?;
    if reply.status == Status::Success { Err(format!("{call:x?} was carried out")) } else { Ok(()) }
}

fn wrapped_ranges(_: &mut World) -> Check {
    let vm = Vm::empty(Options { protected: true, vcpus: 1 })?;
    let lent = Vm::empty(Options { protected: false, vcpus: 1 })?;
    let page = Pages::new(0)?;
    for vm in [&vm, &lent] {
        let handle = vm.handle;
        let pfn = page.pfn;
        for absurd in ABSURD {
            let calls = [
                HostCall::VmCreate { flags: 1, ipa_bits: 36, vcpus: 1, root_pfn: absurd },
                HostCall::VmCreate { flags: 1, ipa_bits: absurd, vcpus: 1, root_pfn: pfn },
                HostCall::VmSetMemory { handle, ipa: absurd & !0xfff, pages: 1 },
                HostCall::VmSetMemory { handle, ipa: 0, pages: absurd },
                HostCall::VmSetMemory { handle, ipa: 0xf_ffff_f000, pages: 2 },
                HostCall::VmAddTables { handle, pfn: absurd, pages: 1 },
                HostCall::VmAddTables { handle, pfn, pages: absurd },
                HostCall::VmAddTables { handle, pfn: absurd, pages: absurd },
                HostCall::VmMap { handle, pfn: absurd, ipa: GUEST_BASE, pages: 1, flags: 0 },
                HostCall::VmMap { handle, pfn, ipa: absurd & !0xfff, pages: 1, flags: 0 },
                HostCall::VmMap { handle, pfn, ipa: GUEST_BASE, pages: absurd, flags: 0 },
                HostCall::VmMap { handle, pfn, ipa: absurd & !0xfff, pages: absurd, flags: 0 },
                HostCall::VmUnmap { handle, ipa: absurd & !0xfff, pages: 1 << 60 },
                HostCall::VmUnmap { handle, ipa: GUEST_BASE, pages: absurd },
                HostCall::VcpuCreate { handle, vcpu: 0, state_pfn: absurd, run_pfn: pfn, flags: 0 },
                HostCall::VcpuCreate { handle, vcpu: 0, state_pfn: pfn, run_pfn: absurd, flags: 0 },
            ];
            calls.into_iter().try_for_each(refused)?;
        }
        // No pages at all is no request.
        for call in [
            HostCall::VmSetMemory { handle, ipa: 0, pages: 0 },
            HostCall::VmAddTables { handle, pfn, pages: 0 },
            HostCall::VmMap { handle, pfn, ipa: GUEST_BASE, pages: 0, flags: 0 },
        ] {
            refused(call)?;
        }
        memory::require_owned([pfn])?;
    }
    vm.finish()?;
    lent.finish()?;
    page.free()
}

fn ends_elsewhere(world: &mut World) -> Check {
    let most = hyper::info(Info::MaxPages)?;
    let ram_end = memory::linux_ram()?.last().map_or(0, |range| range.1 / PAGE);
    let vm = Vm::empty(Options { protected: true, vcpus: 1 })?;
    let handle = vm.handle;
    // A block of the host's whose last page belongs to a VM: given away first.
    let block = Pages::new(3)?;
    let last = block.pfn + block.count() - 1;
    hyper::succeed(HostCall::VmAddTables { handle, pfn: last, pages: 1 })?;
    let pages = block.count().min(most);
    let first = last + 1 - pages;
    let free = first..last;
    free.clone().try_for_each(|pfn| memory::fill(pfn, 0x0123_0123_0123_0123))?;
    let calls = [
        HostCall::VmAddTables { handle, pfn: first, pages },
        HostCall::VmMap { handle, pfn: first, ipa: GUEST_BASE, pages, flags: 0 },
        HostCall::VmMap { handle, pfn: first, ipa: GUEST_BASE, pages, flags: 1 },
    ];
    for call in calls {
        hyper::refuse(call, &[Status::NotOwner])?;
        memory::require_owned(free.clone())?;
        for pfn in free.clone() {
            let word = memory::read(pfn * PAGE)?;
            if word != Some(0x0123_0123_0123_0123) {
                return Err(format!("a refused call changed page {pfn:#x} to {word:x?}"));
            }
        }
    }
    // Nothing of it was mapped: a good call at the same place works.
    hyper::succeed(HostCall::VmMap { handle, pfn: first, ipa: GUEST_BASE, pages: 1, flags: 0 })?;
    // The end of the host's RAM, devices, the canary, holes.
    let foreign = world.canary.vm.memory.pfn;
    for (pfn, pages) in [
        (ram_end - 1, 2),
        (ram_end, 1),
        (0x0900_0000 / PAGE, 1),
        (foreign, 1),
        (foreign - 1, 2),
        (0, 1),
    ] {
        refused(HostCall::VmAddTables { handle, pfn, pages })?;
        refused(HostCall::VmMap { handle, pfn, ipa: GUEST_BASE + 0x1000, pages, flags: 0 })?;
    }
    for device in [0x0800_0000_u64, 0x0900_0000, 0x0a00_0000, 0x1000_0000, 0x4010_0000_0000] {
        let root_pfn = device / PAGE;
        refused(HostCall::VmCreate { flags: 1, ipa_bits: 36, vcpus: 1, root_pfn })?;
        refused(HostCall::VcpuCreate {
            handle,
            vcpu: 0,
            state_pfn: root_pfn,
            run_pfn: first + 1,
            flags: 0,
        })?;
        refused(HostCall::VcpuCreate {
            handle,
            vcpu: 0,
            state_pfn: first + 1,
            run_pfn: root_pfn,
            flags: 0,
        })?;
    }
    memory::require_owned([first + 1])?;
    vm.finish()?;
    block.free()
}

/// Every call that takes a handle.
fn with_handle(handle: u64, pfn: u64) -> [HostCall; 10] {
    [
        HostCall::VmSetMemory { handle, ipa: 0x1000_0000, pages: 1 },
        HostCall::VmAddTables { handle, pfn, pages: 1 },
        HostCall::VmMap { handle, pfn, ipa: GUEST_BASE, pages: 1, flags: 0 },
        HostCall::VmUnmap { handle, ipa: GUEST_BASE, pages: 1 },
        HostCall::VcpuCreate { handle, vcpu: 0, state_pfn: pfn, run_pfn: pfn + 1, flags: 0 },
        HostCall::VcpuRun { handle, vcpu: 0 },
        HostCall::VcpuGetReg { handle, vcpu: 0, register: 0 },
        HostCall::VcpuSetReg { handle, vcpu: 0, register: 0, value: 0 },
        HostCall::VmDestroy { handle },
        HostCall::VmReclaim { handle },
    ]
}

fn wrong_handles(world: &mut World) -> Check {
    let pages = Pages::new(1)?;
    let vm = Vm::empty(Options { protected: true, vcpus: 1 })?;
    let stale = vm.handle;
    vm.finish()?;
    let live = [world.canary.vm.handle, world.second.vm.handle];
    let mut handles = vec![0, 1, 0xff, 0xffff, 0xffff_ffff, 1 << 32, 1 << 63, u64::MAX, stale];
    for handle in live.into_iter().chain([stale]) {
        for bit in 0..64 {
            handles.push(handle ^ 1 << bit);
        }
        handles.extend([handle.wrapping_sub(1), handle.wrapping_add(1), !handle]);
    }
    for handle in handles.into_iter().filter(|handle| !live.contains(handle)) {
        for call in with_handle(handle, pages.pfn) {
            hyper::refuse(call, &[Status::NoSuchVm])?;
        }
    }
    memory::require_owned(pages.pfns())?;
    // A VM that is dying takes nothing but RECLAIM.
    let dying = Vm::empty(Options { protected: true, vcpus: 1 })?;
    hyper::succeed(HostCall::VmDestroy { handle: dying.handle })?;
    for call in with_handle(dying.handle, pages.pfn) {
        if !matches!(call, HostCall::VmReclaim { .. }) {
            refused(call)?;
        }
    }
    memory::require_owned(pages.pfns())?;
    crate::vm::reclaim(dying.handle)?;
    dying.pages().into_iter().try_for_each(Pages::free)?;
    pages.free()
}

fn wrong_vcpus(world: &mut World) -> Check {
    let most = hyper::info(Info::MaxVcpus)?;
    let pages = Pages::new(1)?;
    for vcpus in [0, most + 1, 512, 99_999, 1 << 32, u64::MAX, (-10_i64).cast_unsigned()] {
        let call = HostCall::VmCreate { flags: 1, ipa_bits: 36, vcpus, root_pfn: pages.pfn };
        hyper::refuse(call, &[Status::InvalidArgument])?;
    }
    let vm = Vm::empty(Options { protected: true, vcpus: 1 })?;
    let handle = vm.handle;
    for vcpu in [1, 2, most, 255, 256, 0xffff, 0xffff_ffff, 1 << 32, u64::MAX, 1 << 63] {
        for handle in [handle, world.canary.vm.handle] {
            let (state_pfn, run_pfn) = (pages.pfn, pages.pfn + 1);
            for call in [
                HostCall::VcpuCreate { handle, vcpu, state_pfn, run_pfn, flags: 0 },
                HostCall::VcpuRun { handle, vcpu },
                HostCall::VcpuGetReg { handle, vcpu, register: 0 },
                HostCall::VcpuSetReg { handle, vcpu, register: 0, value: 0 },
            ] {
                refused(call)?;
            }
        }
    }
    // Below the count, but not created.
    hyper::refuse(HostCall::VcpuRun { handle, vcpu: 0 }, &[Status::NoSuchVcpu])?;
    memory::require_owned(pages.pfns())?;
    vm.finish()?;
    pages.free()
}

fn reserved_bits(world: &mut World) -> Check {
    let vm = Vm::empty(Options { protected: true, vcpus: 2 })?;
    let pages = Pages::new(1)?;
    let handle = vm.handle;
    for bit in 1..64 {
        let flags = 1 << bit;
        let create = HostCall::VmCreate { flags, ipa_bits: 36, vcpus: 1, root_pfn: pages.pfn };
        hyper::refuse(create, &[Status::InvalidArgument])?;
        let (state_pfn, run_pfn) = (pages.pfn, pages.pfn + 1);
        let vcpu = HostCall::VcpuCreate { handle, vcpu: 0, state_pfn, run_pfn, flags };
        hyper::refuse(vcpu, &[Status::InvalidArgument])?;
        if bit > 1 {
            let map = HostCall::VmMap { handle, pfn: pages.pfn, ipa: GUEST_BASE, pages: 1, flags };
            hyper::refuse(map, &[Status::InvalidArgument])?;
        }
    }
    // READ_ONLY is not for protected VMs.
    let map = HostCall::VmMap { handle, pfn: pages.pfn, ipa: GUEST_BASE, pages: 1, flags: 2 };
    hyper::refuse(map, &[Status::Protected, Status::InvalidArgument])?;
    // The first numbers that this version does not define.
    let (selectors, counters) = (Info::ALL.len() as u64, Counter::ALL.len() as u64);
    for selector in [selectors, selectors + 1, 0xff, 1 << 32, u64::MAX] {
        hyper::refuse(HostCall::Info { selector }, &[Status::InvalidArgument])?;
    }
    let cpus = hyper::info(Info::Cpus)?;
    for (cpu, counter) in [
        (cpus, 0),
        (u64::MAX, 0),
        (1 << 32, 0),
        (0, counters),
        (0, 1 << 32),
        (0, u64::MAX),
        (u64::MAX, u64::MAX),
    ] {
        hyper::refuse(HostCall::Stats { cpu, counter }, &[Status::InvalidArgument])?;
    }
    for register in [39, 63, 128, 1 << 17, 1 << 32, u64::MAX, 1 << 63] {
        let handle = world.second.vm.handle;
        refused(HostCall::VcpuGetReg { handle, vcpu: 0, register })?;
        refused(HostCall::VcpuSetReg { handle, vcpu: 0, register, value: 0 })?;
    }
    memory::require_owned(pages.pfns())?;
    vm.finish()?;
    pages.free()
}

fn misaligned(_: &mut World) -> Check {
    let vm = Vm::empty(Options { protected: true, vcpus: 1 })?;
    let page = Pages::new(0)?;
    let handle = vm.handle;
    for low in [1, 8, 0x800, 0xfff] {
        let ipa = GUEST_BASE | low;
        for call in [
            HostCall::VmSetMemory { handle, ipa, pages: 1 },
            HostCall::VmMap { handle, pfn: page.pfn, ipa, pages: 1, flags: 0 },
        ] {
            hyper::refuse(call, &[Status::Misaligned])?;
        }
    }
    memory::require_owned(page.pfns())?;
    vm.finish()?;
    page.free()
}

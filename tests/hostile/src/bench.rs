//! What calls of the host cost, in ticks of the counter; under `-icount shift=0` with a counter of
//! 1 GHz one tick is one instruction.
//!
//! The counter is read inside the step, on both sides of the HVC, so that neither this program nor
//! the module is measured.

mod devices;
pub mod throughput;

use std::path::Path;

use redoubt_abi::call::{self, Info};
use redoubt_abi::{HostCall, run};

use crate::Check;
use crate::a64::{self, System};
use crate::device::{self, Outcome};
use crate::hyper;
use crate::memory::PAGE;
use crate::vm::{self, Event, GUEST_BASE, MEMORY_PAGES, Options, Vm};

const CNTVCT: System = System::new(3, 3, 14, 0, 2);
const CNTFRQ: System = System::new(3, 3, 14, 0, 0);

/// Makes a call that must succeed; returns its value and its ticks.
fn timed(call: HostCall) -> Check<(u64, u64)> {
    let mut step = hyper::step(&call);
    step.code = vec![a64::ISB, CNTVCT.read(20), a64::hvc(0), a64::ISB, CNTVCT.read(21), a64::RET];
    let step = device::run_one(step)?;
    if step.outcome != Outcome::Returned || step.x[0] != 0 {
        return Err(format!("{call:x?}: {:x?}, X0 {:#x}", step.outcome, step.x[0]));
    }
    Ok((step.x[1], step.x[21].wrapping_sub(step.x[20])))
}

fn report(name: &str, ticks: u64) {
    println!("BENCH {name} {ticks}");
}

/// Measures the calls that handle pages: donate, lend, reclaim.
fn pages() -> Check {
    let most = hyper::info(Info::MaxPages)?.clamp(4, MEMORY_PAGES);
    let vm = Vm::empty(Options { protected: true, vcpus: 1 })?;
    let map = |first, pages, flags| HostCall::VmMap {
        handle: vm.handle,
        pfn: vm.memory.pfn + first,
        ipa: GUEST_BASE + first * PAGE,
        pages,
        flags,
    };
    // The first one splits a block of the host's tables.
    report("donate_first_page", timed(map(0, 1, 0))?.1);
    let half = most / 2;
    report("donate_per_page", timed(map(1, half - 1, 0))?.1 / (half - 1));
    report(
        "donate_kept_per_page",
        timed(map(half, most - half, call::MAP_KEEP))?.1 / (most - half),
    );
    report("destroy", timed(HostCall::VmDestroy { handle: vm.handle })?.1);
    let mut ticks = 0;
    loop {
        let (more, cost) = timed(HostCall::VmReclaim { handle: vm.handle })?;
        ticks += cost;
        if more == 0 {
            break;
        }
    }
    // Memory, tables and root came back.
    report("reclaim_per_page", ticks / (most + vm.tables.count() + 1));
    vm.pages().into_iter().try_for_each(vm::Pages::free)?;
    let lent = Vm::empty(Options { protected: false, vcpus: 1 })?;
    let lend = HostCall::VmMap {
        handle: lent.handle,
        pfn: lent.memory.pfn,
        ipa: GUEST_BASE,
        pages: most,
        flags: 0,
    };
    report("lend_per_page", timed(lend)?.1 / most);
    let unmap = HostCall::VmUnmap { handle: lent.handle, ipa: GUEST_BASE, pages: most };
    report("unmap_per_page", timed(unmap)?.1 / most);
    lent.finish()
}

/// Measures the run of a vCPU up to its next exit: the payload's loop does nothing but exit.
fn round_trip(image: &[u8], protected: bool) -> Check {
    let mut vm = Vm::build(image, Options { protected, vcpus: 1 })?;
    // Up to the payload's own measurement of exits to a device.
    while vm.next_event(0)? != Event::Nothing {}
    let mut costs = Vec::new();
    while costs.len() < 100 {
        vm.vcpus[0].page.set(run::ENTRY_FLAGS, run::ENTRY_MMIO_DONE);
        let (reason, ticks) = timed(vm.run_call(0))?;
        if reason == run::ExitReason::MmioWrite as u64 || reason == run::ExitReason::MmioRead as u64
        {
            costs.push(ticks);
        }
    }
    costs.sort_unstable();
    let name = if protected { "run_mmio_exit_protected" } else { "run_mmio_exit" };
    report(name, costs[costs.len() / 2]);
    vm.finish()
}

/// The guest's own lines: it is run to its end.
fn guest_side(image: &[u8]) -> Check {
    let mut vm = Vm::build(image, Options { protected: true, vcpus: 1 })?;
    for _ in 0..10_000_000 {
        let exit = vm.enter(0)?;
        match vm.handle(0, exit)? {
            Some(Event::Off) => {
                for line in vm.console.lines().filter(|line| line.starts_with("BENCH ")) {
                    println!("{line}");
                }
                return vm.finish();
            }
            Some(Event::Nothing) => vm.vcpus[0].complete = Some(0),
            _ => {}
        }
    }
    Err("the bench payload does not end".into())
}

/// Prints all measurements.
///
/// # Errors
/// When a call fails.
pub fn run(payloads: &Path) -> Check {
    let step = device::run_one(device::Step::new([CNTFRQ.read(0), a64::RET]))?;
    println!("BENCH-FREQUENCY {}", step.x[0]);
    let (_, version) = timed(HostCall::Version {})?;
    let (_, version_again) = timed(HostCall::Version {})?;
    report("host_hvc", version.min(version_again));
    report("boot", hyper::info(Info::BootTicks)?);
    pages()?;
    let image = vm::payload(payloads, "bench")?;
    round_trip(&image, true)?;
    round_trip(&image, false)?;
    guest_side(&image)?;
    devices::run(&image)
}

/// Prints the measurements that need no protected VM.
///
/// # Errors
/// When a call fails.
pub fn ordinary(payloads: &Path) -> Check {
    devices::run(&vm::payload(payloads, "bench")?)
}

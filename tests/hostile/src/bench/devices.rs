//! What it costs to keep devices out: pages that change hands where EL2 has tables for devices and
//! where it has none, invalidations in the life of a VM, memory.
//!
//! Pages are donated for an ordinary VM: every machine has those, with an SMMU or without.

use redoubt_abi::HostCall;
use redoubt_abi::call::{FEATURE_PROTECTED, Info};

use super::{report, timed};
use crate::Check;
use crate::hyper;
use crate::vm::{Event, Options, Pages, Vm};

/// Order of what is donated.
const ORDER: u32 = 6;
/// Exits of a VM in the life that is measured.
const EXITS: u32 = 100;

/// Measures pages that EL2 takes for the tables of a VM, and gives back.
fn donation() -> Check {
    let vm = Vm::empty(Options { protected: false, vcpus: 1 })?;
    let handle = vm.handle;
    let pages = Pages::new(ORDER)?;
    let most = hyper::info(Info::MaxPages)?.min(pages.count() - 1);
    // The first one may split a block of the host's tables.
    let add = |first: u64, pages| HostCall::VmAddTables { handle, pfn: first, pages };
    timed(add(pages.pfn, 1))?;
    report("table_donate_per_page", timed(add(pages.pfn + 1, most))?.1 / most);
    timed(HostCall::VmDestroy { handle })?;
    let mut ticks = 0;
    loop {
        let (more, cost) = timed(HostCall::VmReclaim { handle })?;
        ticks += cost;
        if more == 0 {
            break;
        }
    }
    // With those of `Vm::empty` and its root.
    report("table_reclaim_per_page", ticks / (most + 1 + vm.tables.count() + 1));
    pages.free()?;
    vm.pages().into_iter().try_for_each(Pages::free)
}

/// Counts what SMMUs are told from before a protected VM is created until after its last page is
/// back, and how many pages changed hands in between.
fn life(image: &[u8]) -> Check {
    let before = hyper::info(Info::DmaInvalidations)?;
    let mut vm = Vm::build(image, Options { protected: true, vcpus: 1 })?;
    let mut exits = 0;
    while exits < EXITS {
        exits += u32::from(vm.next_event(0)? == Event::Nothing);
        vm.vcpus[0].complete = Some(0);
    }
    let pages: u64 = vm.pages().iter().map(|pages| pages.count()).sum();
    vm.finish()?;
    report("vm_invalidations", hyper::info(Info::DmaInvalidations)? - before);
    // All but the run page, which stays the host's.
    report("vm_pages", pages - 1);
    Ok(())
}

/// Prints all of it.
///
/// # Errors
/// When a call fails.
pub fn run(image: &[u8]) -> Check {
    donation()?;
    if hyper::info(Info::Features)? & FEATURE_PROTECTED != 0 {
        life(image)?;
    }
    report("region_bytes", hyper::info(Info::RegionBytes)?);
    report("dma_table_bytes", hyper::info(Info::DmaTableBytes)?);
    Ok(())
}

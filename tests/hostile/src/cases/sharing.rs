//! Who may do what with a page in which state; and what a page holds when it comes back.

use redoubt_abi::{HostCall, Status};

use crate::Check;
use crate::a64;
use crate::cases::cases;
use crate::device::{self, Attribute, Mapping, Step, WINDOW};
use crate::hyper;
use crate::memory::{self, PAGE};
use crate::oracle::{Canary, World, command};
use crate::vm::{self, Event, GUEST_BASE, Options, Pages, Vm};

cases! {
    matrix, "transition-matrix", "SH1", "every host call on a page in every state: only the legal ones succeed";
    shared_page, "shared-page", "SH2", "a page the guest shares: readable by both, and goes nowhere else";
    aliases, "aliases", "SH3", "one page at two addresses, two pages at one address, one page in two VMs";
    relinquished, "relinquished-page", "SH2 T1", "a page the guest gives back is zero, and faults in the guest";
    scrub_paths, "scrub-on-every-end", "T1", "all pages of a protected VM are zero, however it ended";
    kept_contents, "kept-contents", "T1 +", "KEEP keeps, its absence scrubs before the guest sees the page";
    lent_pages, "lent-pages", "SH1 +", "pages lent to an ordinary VM cannot be given away, and come back whole";
}

const PROTECTED: Options = Options { protected: true, vcpus: 1 };
const ORDINARY: Options = Options { protected: false, vcpus: 1 };

fn require(condition: bool, otherwise: impl Fn() -> String) -> Check {
    if condition { Ok(()) } else { Err(otherwise()) }
}

/// Tries every way in which the host could give `pfn` away or lend it. `spare` is a page of the
/// host's. Returns the names of those that succeeded; each is undone by destroying the target VM.
fn attempts(pfn: u64, spare: u64) -> Check<Vec<&'static str>> {
    let mut succeeded = Vec::new();
    let roles = ["root", "tables", "map", "map-keep", "lend", "state", "run"];
    for role in roles {
        let vm = Vm::empty(if role == "lend" { ORDINARY } else { PROTECTED })?;
        let handle = vm.handle;
        let map = |flags| HostCall::VmMap { handle, pfn, ipa: GUEST_BASE, pages: 1, flags };
        let vcpu = |state_pfn, run_pfn| HostCall::VcpuCreate {
            handle,
            vcpu: 0,
            state_pfn,
            run_pfn,
            flags: 0,
        };
        let call = match role {
            "root" => HostCall::VmCreate { flags: 1, ipa_bits: 36, vcpus: 1, root_pfn: pfn },
            "tables" => HostCall::VmAddTables { handle, pfn, pages: 1 },
            "map" | "lend" => map(0),
            "map-keep" => map(1),
            "state" => vcpu(pfn, spare),
            _ => vcpu(spare, pfn),
        };
        let reply = hyper::call(call)?;
        if reply.status == Status::Success {
            succeeded.push(role);
            if role == "root" {
                hyper::succeed(HostCall::VmDestroy { handle: reply.value })?;
                vm::reclaim(reply.value)?;
            }
        }
        vm.finish()?;
    }
    Ok(succeeded)
}

fn matrix(world: &mut World) -> Check {
    let spare = Pages::new(0)?;
    let all = ["root", "tables", "map", "map-keep", "lend", "state", "run"];
    let page = Pages::new(0)?;
    let own = attempts(page.pfn, spare.pfn)?;
    require(own == all, || format!("of a page of the host only {own:?} work"))?;
    let mut canary = Canary::start(&world.payloads, PROTECTED)?;
    require(canary.command(command::SHARE, 1)? == 0, || "the guest cannot share".into())?;
    let lent = Vm::empty(ORDINARY)?;
    let handle = lent.handle;
    let map = HostCall::VmMap { handle, pfn: page.pfn, ipa: GUEST_BASE, pages: 1, flags: 0 };
    hyper::succeed(map)?;
    let mut states = vec![
        ("a page of a protected VM", canary.vm.memory.pfn, &[][..]),
        ("a root", canary.vm.root.pfn, &[]),
        ("a table page", canary.vm.tables.pfn, &[]),
        ("a state page", canary.vm.vcpus[0].state.pfn, &[]),
        ("a page that the guest shares", canary.arena_pfn(1)?, &[]),
        // Not to be owned by anybody else; whether it may be lent is policy of the loan.
        ("a run page", canary.vm.vcpus[0].run.pfn, &["lend"]),
        ("a page that is lent", page.pfn, &["lend", "run"]),
    ];
    if let Ok(holes) = memory::hidden(world.ram) {
        states.push(("a page of EL2", holes[0].0 / PAGE, &[]));
    }
    for (state, pfn, legal) in states {
        let succeeded = attempts(pfn, spare.pfn)?;
        let illegal: Vec<_> = succeeded.iter().filter(|role| !legal.contains(role)).collect();
        require(illegal.is_empty(), || format!("{state}: {illegal:?} succeeded"))?;
    }
    canary.check()?;
    canary.vm.finish()?;
    lent.finish()?;
    page.free()?;
    spare.free()
}

fn shared_page(world: &mut World) -> Check {
    let mut canary = Canary::start(&world.payloads, PROTECTED)?;
    let pfn = canary.arena_pfn(0)?;
    memory::require_refused([pfn])?;
    require(canary.command(command::POKE, 0x1234)? == 0, || "poke".into())?;
    require(canary.command(command::SHARE, 0)? == 0, || "the guest cannot share".into())?;
    require(memory::read(pfn * PAGE)? == Some(0x1234), || "the host does not see it".into())?;
    device::run_one(memory::store_step(pfn * PAGE, 0x77, Attribute::Normal))?;
    require(canary.command(command::PEEK, 0)? == 0x77, || "the guest does not see it".into())?;
    // The neighbours are still the guest's.
    memory::require_refused([pfn - 1, pfn + 1])?;
    for (number, what) in
        [(command::SHARE, "shared twice"), (command::RELINQUISH, "relinquished while shared")]
    {
        require(canary.command(number, 0)? != 0, || what.into())?;
        memory::require_owned([pfn])?;
    }
    require(canary.command(command::UNSHARE, 0)? == 0, || "the guest cannot unshare".into())?;
    memory::require_refused([pfn])?;
    require(canary.command(command::UNSHARE, 0)? != 0, || "unshared twice".into())?;
    require(canary.command(command::PEEK, 0)? == 0x77, || "the guest lost its page".into())?;
    // EL2 would write to a run page: a page that is only borrowed cannot be one.
    require(canary.command(command::SHARE, 0)? == 0, || "the guest cannot share again".into())?;
    let vm = Vm::empty(PROTECTED)?;
    let state = Pages::new(0)?;
    let vcpu = HostCall::VcpuCreate {
        handle: vm.handle,
        vcpu: 0,
        state_pfn: state.pfn,
        run_pfn: pfn,
        flags: 0,
    };
    hyper::refuse(vcpu, &[Status::NotOwner])?;
    vm.finish()?;
    state.free()?;
    require(canary.command(command::PEEK, 0)? == 0x77, || "the page was changed".into())?;
    require(canary.command(command::UNSHARE, 0)? == 0, || "a pin was left behind".into())?;
    memory::require_refused([pfn])?;
    canary.vm.finish()
}

fn aliases(_: &mut World) -> Check {
    for options in [PROTECTED, ORDINARY] {
        let vm = Vm::empty(options)?;
        let pages = Pages::new(1)?;
        let handle = vm.handle;
        let map = |pfn, page: u64, pages| HostCall::VmMap {
            handle,
            pfn,
            ipa: GUEST_BASE + page * PAGE,
            pages,
            flags: 0,
        };
        hyper::succeed(map(pages.pfn, 5, 1))?;
        hyper::refuse(map(pages.pfn + 1, 5, 1), &[Status::AlreadyMapped])?;
        memory::require_owned([pages.pfn + 1])?;
        // A range of which only the second page is taken.
        let more = Pages::new(1)?;
        hyper::refuse(map(more.pfn, 4, 2), &[Status::AlreadyMapped])?;
        memory::require_owned(more.pfns())?;
        let twice = hyper::call(map(pages.pfn, 7, 1))?.status;
        require(twice != Status::Success, || {
            format!("one page at two addresses, protected: {}", options.protected)
        })?;
        let other = Vm::empty(PROTECTED)?;
        let elsewhere = HostCall::VmMap {
            handle: other.handle,
            pfn: pages.pfn,
            ipa: GUEST_BASE,
            pages: 1,
            flags: 0,
        };
        hyper::refuse(elsewhere, &[Status::NotOwner, Status::Shared])?;
        other.finish()?;
        // The address that was refused is free.
        hyper::succeed(map(more.pfn, 4, 1))?;
        vm.finish()?;
        pages.free()?;
        more.free()?;
    }
    Ok(())
}

fn relinquished(world: &mut World) -> Check {
    let mut canary = Canary::start(&world.payloads, PROTECTED)?;
    require(canary.command(command::WRITE, 2)? == 0, || "write".into())?;
    let pfn = canary.arena_pfn(2)?;
    let ipa = canary.arena(2);
    memory::require_refused([pfn])?;
    require(canary.command(command::RELINQUISH, 2)? == 0, || "the guest cannot give".into())?;
    memory::require_zero(pfn, 1)?;
    memory::require_owned([pfn])?;
    // The guest must not find a fresh page in its place without the host's doing.
    let map = HostCall::VmMap { handle: canary.vm.handle, pfn, ipa, pages: 1, flags: 0 };
    memory::fill(pfn, 0x0bad_0bad)?;
    let keep = HostCall::VmMap { handle: canary.vm.handle, pfn, ipa, pages: 1, flags: 1 };
    require(hyper::call(keep)?.status != Status::Success, || "KEEP into a running VM".into())?;
    if hyper::call(map)?.status == Status::Success {
        // A page of zeroes, never the host's contents.
        require(canary.command(command::INSPECT, 2)? == 2, || "not scrubbed".into())?;
        memory::require_refused([pfn])?;
    }
    canary.check()?;
    canary.vm.finish()
}

fn scrub_paths(world: &mut World) -> Check {
    for path in ["destroyed", "powered off", "never ran", "broken"] {
        let mut canary = if path == "never ran" {
            let vm = Vm::build(&world.payload("canary")?, PROTECTED)?;
            vm.finish()?;
            continue;
        } else {
            Canary::start(&world.payloads, PROTECTED)?
        };
        for page in 0..16 {
            canary.command(command::WRITE, page)?;
        }
        match path {
            "powered off" => {
                let mut off = false;
                for _ in 0..10_000 {
                    match canary.vm.next_event(0)? {
                        Event::Challenge => {
                            canary.vm.vcpus[0].complete = Some((0xc0de_0000 | command::OFF) << 32);
                        }
                        Event::Off => {
                            off = true;
                            break;
                        }
                        _ => {}
                    }
                }
                require(off, || "the guest does not switch off".into())?;
                // Off, but not destroyed: still nobody's but the guest's.
                memory::require_refused([canary.vm.memory.pfn, canary.arena_pfn(3)?])?;
                let again = hyper::call(canary.vm.run_call(0))?.status;
                require(again != Status::Success, || "ran after SYSTEM_OFF".into())?;
            }
            "broken" => {
                // An abort where the guest waits for a device: it dies of it.
                let page = &canary.vm.vcpus[0].page;
                page.set(redoubt_abi::run::ENTRY_FLAGS, redoubt_abi::run::ENTRY_ABORT);
                for _ in 0..50 {
                    hyper::call(canary.vm.run_call(0))?;
                    canary.vm.park(0);
                }
            }
            _ => {}
        }
        // Destroyed, but not reclaimed: refused to the host, page by page until it is scrubbed.
        hyper::succeed(HostCall::VmDestroy { handle: canary.vm.handle })?;
        for pfn in canary.vm.memory.pfns() {
            if memory::read(pfn * PAGE)?.is_some() {
                memory::require_zero(pfn, 1)?;
            }
        }
        while hyper::succeed(HostCall::VmReclaim { handle: canary.vm.handle })? != 0 {
            for pfn in canary.vm.memory.pfns() {
                if memory::read(pfn * PAGE)?.is_some() {
                    memory::require_zero(pfn, 1)?;
                }
            }
        }
        let vm = &canary.vm;
        for pages in [vm.memory, vm.root, vm.tables, vm.vcpus[0].state] {
            memory::require_zero(pages.pfn, pages.count())
                .map_err(|why| format!("{path}: {why}"))?;
        }
        vm.pages().into_iter().try_for_each(Pages::free)?;
    }
    Ok(())
}

fn kept_contents(world: &mut World) -> Check {
    // Without KEEP the image is scrubbed: the guest finds zeroes where its code was and cannot run.
    let image = world.payload("canary")?;
    let mut vm = Vm::empty(PROTECTED)?;
    Mapping::new(vm.memory.pfn, vm.memory.count())?.load(&image);
    vm.map_memory(0)?;
    vm.add_vcpu(0)?;
    vm.start_at(GUEST_BASE)?;
    for _ in 0..100 {
        let exit = vm.enter(0)?;
        require(exit.reason != redoubt_abi::run::ExitReason::MmioWrite, || {
            "the image survived a donation without KEEP".into()
        })?;
        if exit.reason != redoubt_abi::run::ExitReason::Interrupt {
            break;
        }
    }
    vm.finish()
}

fn lent_pages(world: &mut World) -> Check {
    let canary = &mut world.second;
    let pfn = canary.vm.memory.pfn;
    // The host still reads and writes what it lent.
    memory::require_owned([pfn])?;
    let spare = Pages::new(0)?;
    let succeeded = attempts(pfn, spare.pfn)?;
    let given: Vec<_> = succeeded.iter().filter(|role| !["lend", "run"].contains(role)).collect();
    require(given.is_empty(), || format!("a lent page was given away: {given:?}"))?;
    canary.check()?;
    // Taken back one page at a time, in the middle of a range; the rest stays mapped.
    let vm = Vm::empty(ORDINARY)?;
    vm.map_memory(0)?;
    for page in [3, 3, 0, vm::MEMORY_PAGES - 1] {
        let ipa = GUEST_BASE + page * PAGE;
        hyper::succeed(HostCall::VmUnmap { handle: vm.handle, ipa, pages: 1 })?;
    }
    let own = attempts(vm.memory.pfn + 3, spare.pfn)?;
    require(own.len() == 7, || format!("of a page that came back only {own:?} work"))?;
    vm.finish()?;
    // A step of the host straddling a lent and an own page works: nothing was lost.
    let step = Step::new([a64::load(3, 0, 1), a64::RET])
        .window(pfn * PAGE, Attribute::Normal)
        .registers(&[0, WINDOW]);
    require(device::run_one(step)?.outcome == device::Outcome::Returned, || "lost".into())?;
    spare.free()
}

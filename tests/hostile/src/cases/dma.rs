//! Devices that obey a hostile host, pointed at what is not the host's.
//!
//! Each case first has the device do what it may, so that a refusal means something. A refusal is: the
//! data are where they were, the SMMU has recorded an event with the device's stream and the address,
//! and the next transfer to a page of the host's works. The launcher looks at EL2's memory for the
//! devices' marks from outside, where no refusal can be feigned.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redoubt_abi::call::{self, Info};
use redoubt_abi::{HostCall, Status};

use crate::Check;
use crate::cases::cases;
use crate::device::{self, Attribute, Outcome};
use crate::hyper::{self, DmaEvent};
use crate::masters::MARK;
use crate::masters::edu::Edu;
use crate::masters::igb::Virtual;
use crate::masters::nvme::Nvme;
use crate::memory::{self, PAGE};
use crate::oracle::{Canary, World, command};
use crate::vm::{GUEST_BASE, Options, Pages, Vm, reclaim};

cases! {
    engines, "dma-engines", "D1", "every device here reads and writes the host's pages, and no event comes of it";
    region, "dma-el2-region", "D1", "no page of EL2 is read or written by a device: text, data, tables, queues";
    guest, "dma-protected-vm", "D1", "memory, root, tables and state page of a protected VM are out of reach";
    donation, "dma-across-donation", "D1 D9", "a page in reach is out of reach once donated, and comes back zero";
    shared, "dma-shared-page", "D1 SH2", "a page that a guest shares is in reach until it is shared no more";
    share_race, "dma-share-race", "D9", "DMA without pause at a page that a guest shares and unshares";
    donate_race, "dma-donate-race", "D9", "DMA without pause at a page that is donated and reclaimed";
    registers, "dma-registers", "D1", "the registers of SMMU, GIC and UART are out of reach of devices";
    its_tables, "dma-its-tables", "D1 G1", "the tables that the ITS follows are out of reach of devices";
    queues, "dma-nvme-queues", "D1", "an NVMe controller whose queues lie in protected pages";
    virtual_functions, "dma-igb-vf", "D2", "virtual functions of a network card obey as the card does";
    flood, "dma-event-flood", "D1 E1", "more refusals than the event queue holds are counted, and EL2 lives";
    smmu_registers, "smmu-registers", "D3 D4", "the host reaches no register of the SMMU, on either page";
    fw_cfg, "fw-cfg-withdrawn", "D15", "fw_cfg and its DMA register are not the host's";
    virtio_mmio, "virtio-mmio-withdrawn", "D16", "virtio-mmio transports are not the host's";
}

const PROTECTED: Options = Options { protected: true, vcpus: 1 };
const ORDINARY: Options = Options { protected: false, vcpus: 1 };

/// Where QEMU's machine `virt` has what is looked at here: first address and size.
mod platform {
    pub const DISTRIBUTOR: u64 = 0x0800_0000;
    pub const ITS: u64 = 0x0808_0000;
    pub const REDISTRIBUTOR: u64 = 0x080a_0000;
    pub const UART: u64 = 0x0900_0000;
    pub const FW_CFG: u64 = 0x0902_0000;
    pub const SMMU: (u64, u64) = (0x0905_0000, 0x2_0000);
    pub const VIRTIO_MMIO: (u64, u64) = (0x0a00_0000, 0x4000);
}

/// Events by which an SMMU refuses an address (IHI 0070, 7.3.12 to 7.3.15).
const REFUSALS: std::ops::RangeInclusive<u8> = 0x10..=0x13;

fn require(condition: bool, otherwise: impl Fn() -> String) -> Check {
    if condition { Ok(()) } else { Err(otherwise()) }
}

/// Takes all events; they end where nothing is under way.
fn events() -> Check<Vec<DmaEvent>> {
    let events = take_events(100_000)?;
    require(events.len() < 100_000, || "events without end".into())?;
    Ok(events)
}

/// Takes at most so many events.
fn take_events(most: usize) -> Check<Vec<DmaEvent>> {
    let mut events = Vec::new();
    while events.len() < most {
        let (Some(event), _) = hyper::dma_event()? else { break };
        events.push(event);
    }
    Ok(events)
}

/// Requires an event of the stream at the page.
fn require_event(stream: u32, physical: u64, write: bool) -> Check {
    find_event(&events()?, stream, physical, write)
}

fn find_event(events: &[DmaEvent], stream: u32, physical: u64, write: bool) -> Check {
    let fits = |event: &DmaEvent| {
        event.stream == stream
            && event.address / PAGE == physical / PAGE
            && event.write == write
            && REFUSALS.contains(&event.kind)
    };
    require(events.iter().any(fits), || {
        let what = if write { "write" } else { "read" };
        format!("no event of stream {stream:#x} and its {what} at {physical:#x}, but {events:x?}")
    })
}

/// Requires that there was no event.
fn require_quiet() -> Check {
    let events = events()?;
    require(events.is_empty(), || format!("events where nothing was refused: {events:x?}"))
}

/// Requires a page to be out of reach of `edu`, in both directions. Where it is not, the page has
/// been written.
fn edu_refused(edu: &Edu, place: &str, physical: u64) -> Check {
    events()?;
    if let Some(word) = edu.read(physical)? {
        return Err(format!("{place}: edu reads {word:#x} at {physical:#x}"));
    }
    let reads = events()?;
    edu.write_mark(physical)?;
    let writes = events()?;
    if edu.read(physical)? == Some(MARK) {
        return Err(format!("{place}: edu wrote at {physical:#x}"));
    }
    find_event(&reads, edu.stream, physical, false).map_err(|why| format!("{place}: {why}"))?;
    find_event(&writes, edu.stream, physical, true).map_err(|why| format!("{place}: {why}"))
}

/// Requires a page to be out of reach of an NVMe controller, in both directions. Where it is not, the
/// page has been written.
fn nvme_refused(nvme: &mut Nvme, place: &str, physical: u64) -> Check {
    events()?;
    let word = nvme.read(physical)?;
    require(word == 0, || format!("{place}: NVMe reads {word:#x} at {physical:#x}"))?;
    let reads = events()?;
    nvme.write(physical)?;
    let writes = events()?;
    let word = nvme.read(physical)?;
    require(word == 0, || format!("{place}: NVMe wrote at {physical:#x}"))?;
    find_event(&reads, nvme.stream, physical, false).map_err(|why| format!("{place}: {why}"))?;
    find_event(&writes, nvme.stream, physical, true).map_err(|why| format!("{place}: {why}"))
}

/// Requires the host's page to be in reach of both devices, without an event. It is the mark's after.
fn in_reach(edu: &Edu, nvme: &mut Nvme, pfn: u64) -> Check {
    memory::fill(pfn, 0)?;
    events()?;
    edu.write_mark(pfn * PAGE)?;
    let word = memory::read(pfn * PAGE + PAGE - 8)?;
    require(word == Some(MARK), || format!("edu did not write to page {pfn:#x}: {word:x?}"))?;
    let read = edu.read(pfn * PAGE)?;
    require(read == Some(MARK), || format!("edu did not read page {pfn:#x}: {read:x?}"))?;
    let stamp = nvme.read(pfn * PAGE)?;
    let low = MARK & 0xffff_ffff_ffff;
    require(stamp.wrapping_sub(low) < 60_000, || format!("NVMe read {stamp:#x}, not the mark"))?;
    nvme.write(pfn * PAGE)?;
    let identity = memory::read(pfn * PAGE)?.unwrap_or(0) & 0xffff;
    require(identity == 0x1b36, || format!("NVMe did not write to page {pfn:#x}: {identity:#x}"))?;
    memory::fill(pfn, MARK)?;
    require_quiet()
}

/// What else must go on: the disk, read past every cache, holds what it held before.
struct Disk {
    hash: u64,
}

impl Disk {
    fn new() -> Check<Self> {
        Ok(Self { hash: Self::read()? })
    }

    fn check(&self) -> Check {
        let hash = Self::read()?;
        require(hash == self.hash, || "the disk does not read as it did before".into())
    }

    /// FNV-1a of the first 256 KiB of the disk.
    fn read() -> Check<u64> {
        const SIZE: usize = 256 * 1024;
        let failed = |error| format!("/dev/vda: {error}");
        let mut file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECT)
            .open("/dev/vda")
            .map_err(failed)?;
        let mut space = vec![0_u8; SIZE + 4096];
        let start = space.as_ptr().align_offset(4096);
        let buffer = &mut space[start..start + SIZE];
        file.read_exact(buffer).map_err(failed)?;
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Ok(buffer.iter().fold(0xcbf2_9ce4_8422_2325, step))
    }
}

/// Runs an attack with the devices, and checks that the disk works before and after it.
fn with_devices(attack: impl FnOnce(&Edu, &mut Nvme) -> Check) -> Check {
    let disk = Disk::new()?;
    let (edu, mut nvme) = (Edu::first()?, Nvme::last()?);
    attack(&edu, &mut nvme)?;
    events()?;
    let page = Pages::new(0)?;
    in_reach(&edu, &mut nvme, page.pfn).map_err(|why| format!("afterwards: {why}"))?;
    page.free()?;
    disk.check()
}

fn engines(_: &mut World) -> Check {
    require(hyper::info(Info::DmaGuard)? == 0, || "DMA is not guarded".into())?;
    with_devices(|_, _| Ok(()))
}

fn region(world: &mut World) -> Check {
    let holes = memory::hidden(world.ram)?;
    with_devices(|edu, nvme| {
        // Every page, by the device that is quick; what it finds is looked at in some.
        for page in holes.iter().flat_map(|(start, end)| start / PAGE..end / PAGE) {
            if page % 32 == 0 {
                nvme_refused(nvme, "EL2", page * PAGE)?;
                continue;
            }
            nvme.fetch(page * PAGE)?;
            require_event(nvme.stream, page * PAGE, false)?;
            nvme.write(page * PAGE)?;
            require_event(nvme.stream, page * PAGE, true)?;
        }
        // Some of them, by the one whose data the launcher looks for.
        for (start, end) in &holes {
            for part in 0..8 {
                let page = start + (end - start) / 8 * part;
                edu_refused(edu, "EL2", page & !(PAGE - 1))?;
            }
            edu_refused(edu, "the last page of EL2", end - PAGE)?;
        }
        Ok(())
    })?;
    let bytes: u64 = holes.iter().map(|(start, end)| end - start).sum();
    let taken = hyper::info(Info::RegionBytes)?;
    require(bytes == taken, || format!("{bytes:#x} bytes are hidden, EL2 has {taken:#x}"))
}

fn guest(world: &mut World) -> Check {
    let canary = Canary::start(&world.payloads, PROTECTED)?;
    let vm = &canary.vm;
    let places = [
        ("the secret of a protected VM", canary.secret_page()?.0),
        ("the code of a protected VM", vm.memory.pfn),
        ("the root of a protected VM", vm.root.pfn),
        ("a table of a protected VM", vm.tables.pfn),
        ("a spare table of a protected VM", vm.tables.pfn + vm.tables.count() - 1),
        ("a state page", vm.vcpus[0].state.pfn),
    ];
    with_devices(|edu, nvme| {
        for (place, pfn) in places {
            edu_refused(edu, place, pfn * PAGE)?;
            nvme_refused(nvme, place, pfn * PAGE)?;
        }
        Ok(())
    })?;
    // Memory of a VM that is not protected stays the host's, and its devices'.
    with_devices(|edu, _| {
        let lent = Vm::empty(ORDINARY)?;
        lent.map_memory(0)?;
        events()?;
        edu.write_mark(lent.memory.pfn * PAGE)?;
        let word = memory::read(lent.memory.pfn * PAGE)?;
        require(word == Some(MARK), || format!("lent memory is out of reach: {word:x?}"))?;
        require_quiet()?;
        lent.finish()
    })?;
    let mut canary = canary;
    canary.check()?;
    canary.vm.finish()
}

fn donation(_: &mut World) -> Check {
    with_devices(|edu, nvme| {
        let vm = Vm::empty(PROTECTED)?;
        let (state, run) = (Pages::new(0)?, Pages::new(0)?);
        let handle = vm.handle;
        let memory_pfn = vm.memory.pfn + 7;
        let table = Pages::new(0)?;
        let ipa = GUEST_BASE + 7 * PAGE;
        let gifts = [
            (
                "memory",
                memory_pfn,
                HostCall::VmMap { handle, pfn: memory_pfn, ipa, pages: 1, flags: 0 },
            ),
            ("a table", table.pfn, HostCall::VmAddTables { handle, pfn: table.pfn, pages: 1 }),
            (
                "a state page",
                state.pfn,
                HostCall::VcpuCreate {
                    handle,
                    vcpu: 0,
                    state_pfn: state.pfn,
                    run_pfn: run.pfn,
                    flags: 0,
                },
            ),
        ];
        for (place, pfn, give) in gifts {
            // The device has used the page: whatever it keeps of the way there must be forgotten.
            in_reach(edu, nvme, pfn)?;
            hyper::succeed(give)?;
            nvme_refused(nvme, place, pfn * PAGE)?;
            edu_refused(edu, place, pfn * PAGE)?;
        }
        // A run page stays the host's.
        in_reach(edu, nvme, run.pfn)?;
        vm.destroy()?;
        for (_, pfn, _) in gifts {
            memory::require_zero(pfn, 1)?;
            in_reach(edu, nvme, pfn)?;
        }
        for pages in [state, run, table] {
            pages.free()?;
        }
        vm.pages().into_iter().try_for_each(Pages::free)
    })
}

fn shared(world: &mut World) -> Check {
    let mut canary = Canary::start(&world.payloads, PROTECTED)?;
    let pfn = canary.arena_pfn(4)?;
    with_devices(|edu, nvme| {
        for round in 0..3 {
            edu_refused(edu, "a page before it is shared", pfn * PAGE)?;
            require(canary.command(command::SHARE, 4)? == 0, || "the guest cannot share".into())?;
            in_reach(edu, nvme, pfn).map_err(|why| format!("shared, round {round}: {why}"))?;
            require(canary.command(command::INSPECT, 4)? == 3, || "not the mark".into())?;
            let unshared = canary.command(command::UNSHARE, 4)?;
            // At once: before the guest writes to it again.
            nvme_refused(nvme, "a page just unshared", pfn * PAGE)?;
            require(unshared == 0, || "the guest cannot unshare".into())?;
            require(canary.command(command::WRITE, 4)? == 0, || "write".into())?;
            edu_refused(edu, "a page unshared", pfn * PAGE)?;
            let holds = canary.command(command::INSPECT, 4)?;
            require(holds == 1, || format!("an unshared page was written to: {holds}"))?;
        }
        // Given back for good: the host's, and zero.
        require(canary.command(command::RELINQUISH, 4)? == 0, || "cannot give back".into())?;
        memory::require_zero(pfn, 1)?;
        in_reach(edu, nvme, pfn)?;
        memory::fill(pfn, 0)
    })?;
    canary.check()?;
    canary.vm.finish()
}

/// Has an NVMe controller write to a page without pause while `rounds` is called; returns how many
/// transfers that were.
fn under_fire(
    nvme: &mut Nvme,
    cpu: usize,
    physical: u64,
    rounds: impl FnOnce() -> Check,
) -> Check<u64> {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let shooter = scope.spawn(|| -> Check {
            device::bind(cpu)?;
            while !stop.load(Ordering::Relaxed) {
                nvme.write(physical)?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let result = rounds();
        stop.store(true, Ordering::Relaxed);
        let shot = shooter.join().map_err(|_| "the thread that shoots panicked".to_owned())?;
        result.and(shot)
    })?;
    Ok(count.load(Ordering::Relaxed))
}

/// Rounds of a race, and the longest that they may take together.
const ROUNDS: u32 = 1000;
const RACE: Duration = Duration::from_secs(60);
/// Events taken at a time while the device goes on making more.
const RACING_EVENTS: usize = 64;

fn share_race(world: &mut World) -> Check {
    require(world.cpus > 1, || "needs 2 CPUs".into())?;
    let mut canary = Canary::start(&world.payloads, PROTECTED)?;
    let (pfn, cpu) = (canary.arena_pfn(5)?, world.cpus - 1);
    with_devices(|_, nvme| {
        let start = Instant::now();
        let shots = under_fire(nvme, cpu, pfn * PAGE, || {
            for round in 0..ROUNDS {
                for number in [command::SHARE, command::UNSHARE, command::WRITE] {
                    let answer = canary.command(number, 5)?;
                    require(answer == 0, || format!("command {number}: {answer:#x}"))?;
                }
                let holds = canary.command(command::INSPECT, 5)?;
                require(holds == 1, || format!("round {round}: written to after it was unshared"))?;
                require(start.elapsed() < RACE, || format!("{round} rounds took {RACE:?}"))?;
                if round % 64 == 0 {
                    take_events(RACING_EVENTS)?;
                }
            }
            Ok(())
        })?;
        require(shots > u64::from(ROUNDS) / 2, || format!("{shots} transfers are no race"))
    })?;
    canary.check()?;
    canary.vm.finish()
}

fn donate_race(world: &mut World) -> Check {
    require(world.cpus > 1, || "needs 2 CPUs".into())?;
    let (page, cpu) = (Pages::new(0)?, world.cpus - 1);
    let invalidations = hyper::info(Info::DmaInvalidations)?;
    with_devices(|_, nvme| {
        let mut refused = 0_usize;
        let start = Instant::now();
        let create = HostCall::VmCreate {
            flags: call::VM_PROTECTED,
            ipa_bits: 36,
            vcpus: 1,
            root_pfn: page.pfn,
        };
        for burst in 0..ROUNDS / 50 {
            under_fire(nvme, cpu, page.pfn * PAGE, || {
                for round in 0..50 {
                    // A root that a device wrote to would lead EL2 astray here.
                    let handle = hyper::succeed(create)?;
                    hyper::succeed(HostCall::VmDestroy { handle })?;
                    reclaim(handle)?;
                    require(start.elapsed() < RACE, || format!("{burst} bursts took {RACE:?}"))?;
                    if round % 16 == 0 {
                        refused += take_events(RACING_EVENTS)?.len();
                    }
                }
                Ok(())
            })?;
            // With the device at rest: zero when it comes back, whatever was tried meanwhile.
            let handle = hyper::succeed(create)?;
            nvme.write(page.pfn * PAGE)?;
            refused += events()?.len();
            hyper::succeed(HostCall::VmDestroy { handle })?;
            nvme.write(page.pfn * PAGE)?;
            reclaim(handle)?;
            memory::require_zero(page.pfn, 1)?;
        }
        require(refused > 0, || "no transfer was ever refused: no race".into())
    })?;
    let told = hyper::info(Info::DmaInvalidations)?.wrapping_sub(invalidations);
    require(told >= u64::from(ROUNDS), || format!("{told} invalidations for {ROUNDS} donations"))?;
    page.free()
}

fn registers(_: &mut World) -> Check {
    let places = [
        ("the SMMU", platform::SMMU.0),
        ("the SMMU, page 1", platform::SMMU.0 + 0x1_0000),
        ("the distributor", platform::DISTRIBUTOR),
        ("a redistributor", platform::REDISTRIBUTOR),
        ("the ITS", platform::ITS),
        ("the UART", platform::UART),
        ("fw_cfg", platform::FW_CFG),
    ];
    with_devices(|edu, nvme| {
        for (place, address) in places {
            nvme_refused(nvme, place, address)?;
            // Not read after it was written: 4 KiB of registers are no buffer.
            events()?;
            edu.write_mark(address)?;
            require_event(edu.stream, address, true).map_err(|why| format!("{place}: {why}"))?;
        }
        Ok(())
    })
}

fn its_tables(_: &mut World) -> Check {
    const BASER: u64 = 0x100;
    const VALID: u64 = 1 << 63;
    let mut tables = Vec::new();
    for index in 0..8 {
        let address = platform::ITS + BASER + index * 8;
        let step = device::run_one(memory::load_step(address, Attribute::Device))?;
        require(step.outcome == Outcome::Returned, || {
            format!("GITS_BASER{index} cannot be read: {:x?}", step.outcome)
        })?;
        if step.x[0] & VALID != 0 {
            tables.push((index, step.x[0] & 0xffff_ffff_f000));
        }
    }
    require(!tables.is_empty(), || "Linux uses no ITS here: nothing was tested".into())?;
    with_devices(|edu, nvme| {
        for (index, address) in tables {
            let place = format!("the table of GITS_BASER{index}");
            memory::require_refused([address / PAGE]).map_err(|why| format!("{place}: {why}"))?;
            edu_refused(edu, &place, address)?;
            nvme_refused(nvme, &place, address)?;
        }
        Ok(())
    })
}

fn queues(world: &mut World) -> Check {
    let mut canary = Canary::start(&world.payloads, PROTECTED)?;
    let pfn = canary.arena_pfn(6)?;
    require(canary.command(command::WRITE, 6)? == 0, || "write".into())?;
    let own = Pages::new(1)?;
    with_devices(|_, nvme| {
        events()?;
        let (here, there) = (own.pfn * PAGE, pfn * PAGE);
        // Commands are fetched from a protected page; the secret there is none.
        nvme.restart(there, here)?;
        nvme.identify(here);
        thread::sleep(Duration::from_millis(100));
        require_event(nvme.stream, there, false)?;
        // Answers are put into one.
        nvme.restart_with_own_commands(there)?;
        nvme.identify(here);
        thread::sleep(Duration::from_millis(100));
        require_event(nvme.stream, there, true)?;
        nvme.restart_whole()
    })?;
    let holds = canary.command(command::INSPECT, 6)?;
    require(holds == 1, || format!("a controller wrote its answers to a protected page: {holds}"))?;
    canary.check()?;
    canary.vm.finish()?;
    own.free()
}

fn virtual_functions(world: &mut World) -> Check {
    let canary = Canary::start(&world.payloads, PROTECTED)?;
    let protected = canary.secret_page()?.0 * PAGE;
    let functions = Virtual::all()?;
    require(functions.len() == 2, || format!("{} virtual functions, not 2", functions.len()))?;
    let disk = Disk::new()?;
    let own = Pages::new(0)?;
    for function in &functions {
        let name = format!("the virtual function {:#x}", function.stream);
        events()?;
        function.send(own.pfn * PAGE).map_err(|why| format!("before the attack: {why}"))?;
        require_quiet().map_err(|why| format!("{name}: {why}"))?;
        // The frame is fetched from a protected page, then the descriptor itself.
        function.send(protected)?;
        require_event(function.stream, protected, false).map_err(|why| format!("{name}: {why}"))?;
        function.fetch(protected);
        thread::sleep(Duration::from_millis(100));
        require_event(function.stream, protected, false).map_err(|why| format!("{name}: {why}"))?;
        function.send(own.pfn * PAGE).map_err(|why| format!("after the attack: {why}"))?;
    }
    own.free()?;
    disk.check()?;
    let mut canary = canary;
    canary.check()?;
    canary.vm.finish()
}

fn flood(world: &mut World) -> Check {
    const REFUSED: u32 = 3000;
    let protected = world.canary.secret_page()?.0 * PAGE;
    with_devices(|edu, nvme| {
        events()?;
        let (_, before) = hyper::dma_event()?;
        for _ in 0..REFUSED {
            nvme.write(protected)?;
        }
        let seen = events()?.len() as u64;
        // What was lost is known once the queue has been emptied.
        edu_refused(edu, "a protected page after the flood", protected)?;
        let (_, after) = hyper::dma_event()?;
        let lost = after.wrapping_sub(before);
        require(seen > 0 && seen < u64::from(REFUSED) && lost > 0, || {
            format!("of {REFUSED} events {seen} were seen and {lost} counted as lost")
        })
    })
}

/// Requires every page of a range of registers to be refused to the host.
fn withdrawn(what: &str, (start, bytes): (u64, u64)) -> Check {
    for address in (start..start + bytes).step_by(PAGE as usize) {
        for attribute in [Attribute::Device, Attribute::DeviceStrong, Attribute::Normal] {
            for step in [
                memory::load_step(address, attribute),
                memory::load_step(address + PAGE - 8, attribute),
                memory::store_step(address + 0x20, 0, attribute),
            ] {
                let step = device::run_one(step)?;
                memory::check_injected(step.outcome)
                    .map_err(|why| format!("{what} at {address:#x}: {why}"))?;
            }
        }
    }
    Ok(())
}

/// Requires Linux not to see a node of the device tree, at the root, by the beginning of its name.
fn unseen(node: &str) -> Check {
    let folder = Path::new("/sys/firmware/devicetree/base");
    let nodes = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let names: Vec<_> =
        nodes.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    require(names.iter().any(|name| name.starts_with("memory@")), || "no device tree".into())?;
    match names.iter().find(|name| name.starts_with(node)) {
        Some(name) => Err(format!("Linux sees the node {name}")),
        None => Ok(()),
    }
}

fn smmu_registers(_: &mut World) -> Check {
    withdrawn("the SMMU", platform::SMMU)?;
    unseen("smmu")
}

fn fw_cfg(world: &mut World) -> Check {
    // The DMA register, big-endian: where a command is that would write to the canary.
    for (offset, value) in [(0x10, 0), (0x14, 0)] {
        let step = memory::store_step(platform::FW_CFG + offset, value, Attribute::Device);
        memory::check_injected(device::run_one(step)?.outcome)
            .map_err(|why| format!("fw_cfg's register {offset:#x}: {why}"))?;
    }
    withdrawn("fw_cfg", (platform::FW_CFG, PAGE))?;
    unseen("fw-cfg")?;
    require(!Path::new("/sys/firmware/qemu_fw_cfg/by_name").exists(), || {
        "Linux has a driver on fw_cfg".into()
    })?;
    world.canary.check()
}

fn virtio_mmio(_: &mut World) -> Check {
    withdrawn("virtio-mmio", platform::VIRTIO_MMIO)?;
    unseen("virtio_mmio")
}

/// Has every `edu` of the machine write its mark to pages of the canary from now on.
///
/// # Errors
/// When there is none.
pub fn fire_at(canary: &Canary) -> Check {
    let devices = Edu::all()?;
    require(!devices.is_empty(), || "the machine has no edu device".into())?;
    devices.iter().try_for_each(Edu::load_mark)?;
    let mut pages: Vec<u64> = canary.vm.memory.pfns().collect();
    pages.push(canary.vm.vcpus[0].state.pfn);
    thread::spawn(move || {
        // At different times, so that there is always one about to write.
        for turn in (0..devices.len()).cycle().zip(pages.iter().cycle()) {
            let (device, pfn) = (&devices[turn.0], turn.1);
            if !device.is_busy() {
                device.start(pfn * PAGE, true);
            }
            thread::sleep(Duration::from_millis(7));
        }
    });
    Ok(())
}

/// Prints what EL2 says of DMA, and whether it makes VMs.
///
/// # Errors
/// When EL2 does not answer.
pub fn print_guard() -> Check {
    let (guard, culprit) = (hyper::info(Info::DmaGuard)?, hyper::info(Info::DmaCulprit)?);
    println!("GUARD {guard} {culprit:#x}");
    println!("FEATURES {:#x}", hyper::info(Info::Features)?);
    for (name, flags) in [("PROTECTED", call::VM_PROTECTED), ("ORDINARY", 0)] {
        let root = Pages::new(0)?;
        let create = HostCall::VmCreate { flags, ipa_bits: 36, vcpus: 1, root_pfn: root.pfn };
        let reply = hyper::call(create)?;
        println!("{name} {}", reply.status.name());
        if reply.status == Status::Success {
            hyper::succeed(HostCall::VmDestroy { handle: reply.value })?;
            reclaim(reply.value)?;
        }
        root.free()?;
    }
    Ok(())
}

/// Has an `edu` write to a page of the host's, and prints what came of it.
///
/// # Errors
/// When there is none, or EL2 does not answer.
pub fn print_stray() -> Check {
    let masters = crate::masters::pci::all(0x1234, 0x11e8)?;
    let master = masters.first().ok_or("the machine has no edu device")?.is_master()?;
    println!("MASTER {master}");
    let edu = Edu::first()?;
    let page = Pages::new(0)?;
    events()?;
    // The buffer cannot be filled where DMA is aborted, but it is zero then, and the page is not.
    edu.load_mark()?;
    memory::fill(page.pfn, 1)?;
    edu.transfer(page.pfn * PAGE, true)?;
    println!("LANDED {}", memory::read(page.pfn * PAGE)? != Some(1));
    for event in events()? {
        println!("EVENT {:#x} {:#x} {:#x}", event.kind, event.stream, event.address);
    }
    page.free()
}

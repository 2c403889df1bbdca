//! Devices that reach memory by themselves: SMMUs, the GIC, and what is behind neither.
//!
//! While EL2 boots: the SMMUs are closed before anything else, the inventory says whether every
//! device that can write to memory is known and behind one of them, and if so the SMMUs are started
//! on tables of their own (`redoubt_core::smmu`). If not, the host boots all the same, but protected VMs
//! are refused. Afterwards: what the host does to those registers of the GIC that lead to memory traps,
//! comes here, and is decided in `redoubt_core::gic`.

use redoubt_abi::Status;
use redoubt_boot::PhysRange;
use redoubt_boot::error::NodeName;
use redoubt_boot::iort::{self, FirmwareConfig};
use redoubt_boot::machine::{HostBridge, MachineInfo, SmmuNode};
use redoubt_boot::pci::{self, ConfigSpace};
use redoubt_boot::unguarded::{Reason, Unguarded};
use redoubt_core::addr::{PAGE_SIZE, Pa, PageRange, Pfn};
use redoubt_core::cpu::MAX_CPUS;
use redoubt_core::exit::Access;
use redoubt_core::frames::DeviceMap;
use redoubt_core::gic::{GicGuard, ITS_PAGES, MAX_ITS, Mmio};
use redoubt_core::hw::{DeviceHw, RegisterFrame};
use redoubt_core::refusal::Refusal;
use redoubt_core::smmu::{self, Smmu, Smmus, StreamRange};
use redoubt_core::stage2::Stage2;
use redoubt_core::stage2::geometry::{Concatenation, Geometry};

use crate::memory::{self, Hw};
use crate::mmio;
use crate::sync::{BootCell, Lock, rank};
use crate::window::{Use, Window};

/// Pages of the GIC's registers that trap.
const MAX_TRAPPED: usize = MAX_ITS + 2 * MAX_CPUS;
/// Bytes of a frame of the GIC's registers.
const GIC_FRAME: u64 = 0x1_0000;
/// Where the identification registers of a frame begin: the host reads them itself.
const GIC_ID_PAGE: u64 = 0xf000;
/// Where the page that takes interrupts (GITS_TRANSLATER) lies in the frames of an ITS.
pub const DOORBELL: u64 = GIC_FRAME;
/// GICR_TYPER.
const GICR_TYPER: u32 = 8;
/// GICR_TYPER: frames for virtual LPIs follow.
const TYPER_VLPIS: u64 = 1 << 1;
/// GICR_TYPER: the last redistributor of the region.
const TYPER_LAST: u64 = 1 << 4;
/// Stream ranges of one SMMU.
const MAX_STREAMS: usize = 16;

/// Why devices are not kept from what is not the host's; `None` if they are.
pub static UNGUARDED: BootCell<Option<Unguarded>> = BootCell::new();

/// Bytes of the tables that SMMUs walk.
pub static TABLE_BYTES: BootCell<u64> = BootCell::new();

/// What the GIC was told.
static GIC: Lock<{ rank::GIC }, GicGuard> = Lock::new(GicGuard::new());

/// A page of the GIC's registers that traps.
#[derive(Clone, Copy, Debug)]
struct Trapped {
    page: Pfn,
    /// What answers; nothing does for virtual LPIs: reads are zero, writes are ignored.
    frame: Option<RegisterFrame>,
}

/// The pages that trap.
static TRAPPED: BootCell<[Option<Trapped>; MAX_TRAPPED]> = BootCell::new();

/// Refuses a protected VM on a machine where devices reach everything.
pub fn check_guarded() -> Result<(), Status> {
    if UNGUARDED.get().is_none() { Ok(()) } else { Err(Status::DmaUnguarded) }
}

/// How often the GIC was kept from something.
pub fn gic_refusals() -> u64 {
    GIC.lock().refusals()
}

/// An access of the host to a page of its address space that is not mapped. `None` if it is not to be
/// emulated, else what a load reads.
pub fn emulate(address: u64, access: &Access, write: Option<u64>) -> Option<u64> {
    let page = Pfn::new(address / PAGE_SIZE)?;
    let trapped = TRAPPED.get().iter().flatten().find(|trapped| trapped.page == page)?;
    let Some(frame) = trapped.frame else { return Some(0) };
    let offset = (address % PAGE_SIZE) as u32;
    let mmio = Mmio { offset, bytes: access.bytes as u8, write };
    let mut gic = GIC.lock();
    let mut host = memory::host();
    Some(gic.access(&mut host, &mut Hw::new(), frame, &mmio))
}

/// Closes all SMMUs: devices reach nothing. `map` maps a page of registers on the early tables.
pub fn close(machine: &MachineInfo, mut map: impl FnMut(u64, u64)) {
    for (number, smmu) in (0..u8::MAX).zip(machine.smmus.iter()) {
        let frame = RegisterFrame::Smmu(number);
        map(mmio::address(frame, 0), smmu.registers.start());
        // One that does not answer is found out when it is started.
        let _ = smmu::block(&mut Hw::new(), frame);
    }
}

/// The streams of an SMMU, for the core.
fn streams(node: &SmmuNode, room: &mut [StreamRange; MAX_STREAMS]) -> usize {
    let mut used = 0usize;
    for (to, from) in room.iter_mut().zip(node.streams.iter()) {
        *to = StreamRange { first: from.first, count: from.count };
        used = used.saturating_add(1);
    }
    used
}

/// Pages that SMMUs and the GIC's guard need besides tables.
pub fn pages_needed(machine: &MachineInfo) -> u64 {
    let its = (machine.its.len() as u64).saturating_mul(ITS_PAGES);
    machine
        .smmus
        .iter()
        .fold(its, |sum, node| sum.saturating_add(smmu::memory_needed(node.streams.len())))
}

/// Configuration space of a host bridge.
struct Ecam<'m>(&'m HostBridge);

impl Ecam<'_> {
    /// Maps the space of one function and finds a register in it; requester IDs count from the
    /// bridge's first bus.
    fn register(&self, requester: u16, offset: u16) -> Option<(Window, *mut u32)> {
        let first = u64::from(self.0.first_bus) << 8;
        let function = u64::from(requester).checked_sub(first)?.checked_mul(PAGE_SIZE)?;
        let inside = function.checked_add(PAGE_SIZE)? <= self.0.config.size();
        let page = Pa::new(self.0.config.start().checked_add(function)?)?;
        let window = inside.then(|| Window::map(Use::Config, page))?;
        let register = window.pointer::<u32>().wrapping_add(usize::from(offset & 0xfff) / 4);
        Some((window, register))
    }
}

impl ConfigSpace for Ecam<'_> {
    fn read(&mut self, requester: u16, offset: u16) -> u32 {
        let Some((_window, register)) = self.register(requester, offset) else { return u32::MAX };
        // SAFETY: the register lies in the mapped page, which the FDT calls configuration space.
        unsafe { register.read_volatile() }
    }

    fn write(&mut self, requester: u16, offset: u16, value: u32) {
        let Some((_window, register)) = self.register(requester, offset) else { return };
        // SAFETY: as in `read`; bus mastering and bus numbers are what is written.
        unsafe { register.write_volatile(value) }
    }
}

/// The registers of QEMU's fw_cfg, which has the tables that describe its machine.
struct FwCfg(PhysRange);

impl FwCfg {
    /// Maps the registers.
    fn window(&self) -> Option<Window> {
        let start = self.0.start();
        Some(Window::map(Use::Config, Pa::new(start.saturating_sub(start % PAGE_SIZE))?))
    }

    /// Where a register is in the window.
    fn offset(&self, register: u64) -> usize {
        (self.0.start().wrapping_add(register) % PAGE_SIZE) as usize
    }
}

impl FirmwareConfig for FwCfg {
    fn select(&mut self, item: u16) {
        let Some(window) = self.window() else { return };
        let selector = window.pointer::<u16>().wrapping_byte_add(self.offset(8) & !1);
        // SAFETY: the register lies in the mapped page; it says what is read next.
        unsafe { selector.write_volatile(item.swap_bytes()) }
    }

    fn next_byte(&mut self) -> u8 {
        let Some(window) = self.window() else { return 0 };
        let data = window.pointer::<u8>().wrapping_byte_add(self.offset(0));
        // SAFETY: the register lies in the mapped page.
        unsafe { data.read_volatile() }
    }
}

/// Looks for devices that can write to memory past the SMMUs, and switches off bus mastering.
pub fn take_inventory(machine: &MachineInfo) -> Option<Unguarded> {
    let mut unguarded = machine.unguarded;
    for bridge in machine.host_bridges.iter() {
        let found = pci::take_inventory(&mut Ecam(bridge), bridge).err();
        unguarded = unguarded.or(found);
    }
    match (unguarded, machine.fw_cfg) {
        (None, Some(registers)) => iort::check(&mut FwCfg(registers), machine).err(),
        _ => unguarded,
    }
}

/// The shape of the tables of devices: RAM and the pages that take interrupts, which every SMMU
/// reaches.
pub fn geometry(machine: &MachineInfo) -> Result<Geometry, Refusal> {
    let doorbells = machine.its.iter().map(|its| its.end());
    let end = machine.memory.as_slice().iter().map(|range| range.end()).chain(doorbells);
    let last = end.fold(1, u64::max).saturating_sub(1);
    let bits = 64u32.saturating_sub(last.leading_zeros()).max(32) as u8;
    // An SMMU that cannot start a walk at level 0 is found unusable when it is started.
    Geometry::new(bits, 48, Concatenation::Avoid)
}

/// Says that a device cannot be guarded.
fn unusable(reason: Reason, registers: &PhysRange) -> Unguarded {
    Unguarded { reason, culprit: registers.start(), name: NodeName::new(b"") }
}

/// Pages for the queues and stream tables, handed out one after another.
pub struct Pages(pub u64);

impl Pages {
    /// Hands out `count` pages.
    fn take(&mut self, count: u64) -> Option<PageRange> {
        let range = PageRange::new(Pfn::new(self.0 / PAGE_SIZE)?, count).ok()?;
        self.0 = self.0.saturating_add(range.bytes());
        Some(range)
    }
}

/// Maps a page of registers for EL2.
fn map(frame: RegisterFrame, offset: u32, frame_start: u64) -> Option<()> {
    let page = Pa::new(frame_start.checked_add(offset.into())?)?;
    mmio::map(frame, offset, page);
    Some(())
}

/// Starts the SMMUs with tables that are filled later, and takes their registers from the host. If one
/// cannot be started, all are closed again and left to the host.
pub fn start_smmus(
    machine: &MachineInfo,
    stage2: &Stage2,
    devices: &mut DeviceMap,
    memory: &mut Pages,
) -> Result<Smmus, Unguarded> {
    let mut smmus = Smmus::default();
    let all = || (0..u8::MAX).zip(machine.smmus.iter());
    let before = devices.clone();
    for (number, node) in all() {
        let started = start_smmu(number, node, stage2, memory)
            .and_then(|smmu| smmus.push(smmu).ok())
            .and_then(|()| withdraw(devices, &node.registers.page_outward()));
        if started.is_none() {
            *devices = before;
            for (number, _) in all().take_while(|(other, _)| *other <= number) {
                let _ = smmu::block(&mut Hw::new(), RegisterFrame::Smmu(number));
            }
            return Err(unusable(Reason::SmmuUnusable, &node.registers));
        }
    }
    Ok(smmus)
}

/// Takes registers from the host.
fn withdraw(devices: &mut DeviceMap, registers: &PhysRange) -> Option<()> {
    let range = PageRange::from_bytes(registers.start(), registers.size()).ok()?;
    devices.withdraw(range).ok()
}

/// Starts one SMMU.
fn start_smmu(number: u8, node: &SmmuNode, stage2: &Stage2, memory: &mut Pages) -> Option<Smmu> {
    let frame = RegisterFrame::Smmu(number);
    for offset in [0, mmio::SMMU_PAGE1] {
        map(frame, offset, node.registers.start())?;
    }
    let mut room = [StreamRange { first: 0, count: 0 }; MAX_STREAMS];
    let used = streams(node, &mut room);
    let streams = room.get(..used)?;
    let own = memory.take(smmu::memory_needed(used))?;
    let mut hw = Hw::new();
    let features = smmu::probe(&mut hw, frame).ok()?;
    Smmu::start(&mut hw, frame, &features, streams, own, stage2).ok()
}

/// Takes from the host those registers of the GIC that lead to memory: all of them, or none.
pub fn guard_gic(
    machine: &MachineInfo,
    devices: &mut DeviceMap,
    memory: &mut Pages,
) -> Result<(), Unguarded> {
    let before = devices.clone();
    let mut trapped = [None; MAX_TRAPPED];
    let result = guard_frames(machine, devices, memory, &mut trapped.iter_mut());
    if result.is_err() {
        *devices = before;
        trapped = [None; MAX_TRAPPED];
    }
    TRAPPED.set(trapped);
    result
}

/// Takes a frame from the host, but for its identification registers; its first page is answered for.
fn trap<'t>(
    devices: &mut DeviceMap,
    trapped: &mut impl Iterator<Item = &'t mut Option<Trapped>>,
    start: u64,
    frame: Option<RegisterFrame>,
) -> Option<()> {
    withdraw(devices, &PhysRange::new(start, GIC_ID_PAGE)?)?;
    *trapped.next()? = Some(Trapped { page: Pfn::new(start / PAGE_SIZE)?, frame });
    Some(())
}

/// Guards each ITS and each redistributor.
fn guard_frames<'t>(
    machine: &MachineInfo,
    devices: &mut DeviceMap,
    memory: &mut Pages,
    trapped: &mut impl Iterator<Item = &'t mut Option<Trapped>>,
) -> Result<(), Unguarded> {
    let mut hw = Hw::new();
    let mut gic = GIC.lock();
    for (number, registers) in (0..u8::MAX).zip(machine.its.iter()) {
        let frame = RegisterFrame::Its(number);
        let mut guard = || {
            map(frame, 0, registers.start())?;
            gic.add_its(&mut hw, number, memory.take(ITS_PAGES)?).ok()?;
            trap(devices, trapped, registers.start(), Some(frame))
        };
        guard().ok_or(unusable(Reason::GicUnusable, registers))?;
    }
    let mut number = 0u8;
    for region in machine.gic.redistributors.iter() {
        let mut start = region.start();
        loop {
            let frame = RegisterFrame::Redistributor(number);
            let mut guard = || {
                (usize::from(number) < MAX_CPUS).then_some(())?;
                map(frame, 0, start)?;
                let typer = hw.read64(frame, GICR_TYPER);
                gic.add_redistributor(&mut hw, number, Pa::new(start)?).ok()?;
                trap(devices, trapped, start, Some(frame))?;
                if typer & TYPER_VLPIS != 0 {
                    trap(devices, trapped, start.checked_add(2 * GIC_FRAME)?, None)?;
                }
                Some(typer)
            };
            let typer = guard().ok_or(unusable(Reason::GicUnusable, region))?;
            number = number.saturating_add(1);
            let frames = if typer & TYPER_VLPIS != 0 { 4 * GIC_FRAME } else { 2 * GIC_FRAME };
            start = start.saturating_add(machine.gic.redistributor_stride.unwrap_or(frames));
            if typer & TYPER_LAST != 0 || start >= region.end() {
                break;
            }
        }
    }
    Ok(())
}

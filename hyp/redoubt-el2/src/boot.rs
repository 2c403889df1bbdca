//! From the boot loader to the host's first instruction.
//!
//! Two stages on the first CPU:
//!
//! 1. [`early_main`] runs where the loader put the image, on early tables. It reads the FDT, decides
//!    on the layout, copies the image to EL2's region at the top of RAM, builds the final tables
//!    there and leaves through `leave_early`.
//! 2. [`boot_main`] runs in the region, on the final tables. It sets up per-CPU data, the ownership
//!    table and the host's stage 2, writes the host's FDT and enters the host.
//!
//! Until the host is entered nothing untrusted has run. Input that is not understood stops the
//! machine with a message.

mod early;
mod remanence;

use redoubt_abi::ABI_VERSION;
use redoubt_boot::bundle::BundleHeader;
use redoubt_boot::fdt::Fdt;
use redoubt_boot::host_fdt::{self, HostView};
use redoubt_boot::layout::{self as plan, Budget, Demand, Layout};
use redoubt_boot::machine::{MPIDR_AFFINITY_MASK, MachineInfo};
use redoubt_boot::unguarded::Unguarded;
use redoubt_boot::{BootError, PAGE_SIZE, PhysRange};
use redoubt_core::addr::{HypVa, Pa, PageRange};
use redoubt_core::cpu::{CpuIndex, CpuTable};
use redoubt_core::frames::{DeviceMap, DeviceOwner, FrameEntry, FrameTable};
use redoubt_core::hw::{Stage2Context, TableMemory};
use redoubt_core::memory::HostMemoryBuilder;
use redoubt_core::refusal::Refusal;
use redoubt_core::smmu::Smmus;
use redoubt_core::stage1::{self, HypAttrs, MAIR_EL2, Stage1};
use redoubt_core::stage2::geometry::{Concatenation, Geometry};
use redoubt_core::stage2::{Emptied, Stage2};
use redoubt_core::sysreg::{HardwareIds, IdRegisters};
use redoubt_core::tables::TablePool;
use redoubt_core::vgic::VgicHardware;

use crate::arch::{self, sysreg};
use crate::layout::{
    BOOT_VA, CONSOLE_VA, FIXMAP_PAGES, FIXMAP_VA, IMAGE_VA, LINEAR_VA, PERCPU_BYTES,
    PERCPU_PHYSICAL_BYTES, STACK_BYTES,
};
use crate::memory::{HOST, Hw, LINEAR, Linear};
use crate::percpu::{self, CpuBoot, PerCpu};
use crate::psci::{self, CPUS, IMAGE_PA};
use crate::sync::{BootCell, Lock};
use crate::traps::{HOST_STAGE2, HostStage2};
use crate::vm::{GUEST_IDS, HARDWARE_IDS};
use crate::{console, cpu, dma, fatal, guest, layout, window};

/// Tables for EL2's own map beyond what the budget knows of: windows, stacks, boot mappings.
const SPARE_STAGE1_TABLES: u64 = 48;
/// Tables for the start level of the host's stage 2, which may be concatenated and aligned.
const SPARE_STAGE2_TABLES: u64 = 32;
/// The page that tells the next boot of the ownership table.
const RECORD_TABLES: u64 = 1;
/// All of these.
const SPARE_TABLES: u64 = SPARE_STAGE1_TABLES + SPARE_STAGE2_TABLES + RECORD_TABLES;

/// Where the loader's FDT is mapped while booting.
const FDT_VA: u64 = BOOT_VA;
/// Where the host's FDT is mapped while booting.
const HOST_FDT_VA: u64 = BOOT_VA + 0x4000_0000;
/// Where EL2's region is mapped by the early tables.
const REGION_VA: u64 = BOOT_VA + 0x8000_0000;

/// SCTLR_EL2: RES1 bits, MMU, caches, stack alignment, writable means not executable.
const SCTLR_EL2: u64 = 0x30c5_0830 | 1 | 1 << 2 | 1 << 3 | 1 << 12 | 1 << 19;

/// What the first stage found out.
struct Facts {
    machine: MachineInfo,
    layout: Layout,
    budget: Budget,
    tables: Stage1,
    started: u64,
}

/// Ticks of the physical counter from the first instruction to the host's.
pub static BOOT_TICKS: BootCell<u64> = BootCell::new();

/// Written by the first stage, before the image is copied.
static FACTS: BootCell<Facts> = BootCell::new();

/// Where the parts of EL2's region are.
#[derive(Clone, Copy, Debug)]
struct Region {
    /// The image.
    image: u64,
    /// Stacks and per-CPU data.
    per_cpu: u64,
    /// EL2's translation tables; the start of the linear map.
    stage1: u64,
    /// The page that tells the next boot of the ownership table.
    record: u64,
    /// The ownership table.
    ownership: u64,
    /// Tables that SMMUs walk, then their queues and stream tables.
    dma: u64,
    /// The host's translation tables, up to the end.
    stage2: u64,
    /// The end.
    end: u64,
}

impl Region {
    /// Divides the region.
    fn new(hyp: &PhysRange, budget: &Budget) -> Self {
        let image = hyp.start();
        let per_cpu = image.saturating_add(budget.image_bytes);
        let stage1 = per_cpu.saturating_add(budget.per_cpu_bytes);
        let tables = budget.stage1_tables.saturating_add(SPARE_STAGE1_TABLES);
        let record = stage1.saturating_add(tables.saturating_mul(PAGE_SIZE));
        let ownership = record.saturating_add(PAGE_SIZE);
        let dma = ownership.saturating_add(budget.ownership_bytes);
        let stage2 = dma.saturating_add(dma_table_bytes(budget)).saturating_add(budget.extra_bytes);
        Self { image, per_cpu, stage1, record, ownership, dma, stage2, end: hyp.end() }
    }

    /// Stack and data of a CPU.
    fn cpu(&self, cpu: u64) -> u64 {
        self.per_cpu.saturating_add(cpu.saturating_mul(PERCPU_PHYSICAL_BYTES))
    }
}

/// Bytes between two addresses.
const fn distance(from: u64, to: u64) -> u64 {
    to.saturating_sub(from)
}

/// Rounds up to a power of two.
const fn align_up(value: u64, alignment: u64) -> u64 {
    let mask = alignment.saturating_sub(1);
    value.saturating_add(mask) & !mask
}

/// Stops with the reason.
fn refuse(error: &BootError) -> ! {
    fatal::refuse(|line| line.described(|put| error.describe(put)))
}

/// Returns what a step has made, or stops: the boot's own sums were wrong.
fn require<T>(what: &str, result: Result<T, Refusal>) -> T {
    result.unwrap_or_else(|refusal| {
        fatal::refuse(|line| line.text(what).text(", refusal ").decimal(refusal as u64))
    })
}

/// A physical address from a sum that cannot leave the address space.
fn pa(address: u64) -> Pa {
    Pa::new(address).unwrap_or_else(|| fatal::refuse(|line| line.text("bad address ").hex(address)))
}

/// A range of pages.
fn pages(start: u64, bytes: u64) -> PageRange {
    match PageRange::from_bytes(start, bytes) {
        Ok(range) => range,
        Err(_) => fatal::refuse(|line| line.text("bad range ").hex(start).text(" + ").hex(bytes)),
    }
}

/// Bytes of the tables that SMMUs walk.
fn dma_table_bytes(budget: &Budget) -> u64 {
    budget.dma_tables.saturating_mul(PAGE_SIZE)
}

/// Bytes of EL2's region.
pub fn region_bytes() -> u64 {
    FACTS.get().layout.hyp.size()
}

/// Physical address of a CPU's data.
pub fn percpu_physical(cpu: usize) -> u64 {
    let facts = FACTS.get();
    let region = Region::new(&facts.layout.hyp, &facts.budget);
    region.cpu(cpu as u64).saturating_add(STACK_BYTES)
}

/// Entry from entry.S on the early tables.
#[unsafe(no_mangle)]
extern "C" fn early_main(fdt: u64, image: u64, level: u64, started: u64) -> ! {
    let mut map = early::EarlyMap::new(image);
    map.early_console();
    if level != 2 {
        fatal::refuse(|line| {
            line.text("started at EL")
                .decimal(level)
                .text(", but Redoubt has to be started at EL2 (QEMU: -M virt,virtualization=on)")
        });
    }
    arch::use_host_vectors();
    if sysreg::read_hcr_el2() & 1 << 34 != 0 {
        fatal::refuse(|line| line.text("this CPU cannot leave HCR_EL2.E2H clear"));
    }
    let bundle =
        BundleHeader::parse(&layout::headers()).unwrap_or_else(|error| refuse(&error.into()));
    let tree = map.fdt(fdt);
    let machine = MachineInfo::from_fdt(&tree).unwrap_or_else(|error| refuse(&error));
    if machine.psci.is_some() {
        arch::set_firmware();
    }
    if let Some(device) = &machine.console {
        map.console(device.registers.start());
    }
    let line = console::line();
    drop(line.text("starting at EL2, loaded at ").hex(image).text(", FDT at ").hex(fdt));

    dma::close(&machine, |va, registers| map.device(va, registers));
    // Registers that are withdrawn cut blocks at both ends: of a redistributor, in two places.
    let withdrawn = machine.its.len().saturating_add(machine.smmus.len());
    let withdrawn = withdrawn.saturating_add(machine.cpus.len().saturating_mul(2)) as u64;
    let budget = plan::budget(&Demand {
        memory: machine.memory.as_slice(),
        devices: machine.devices.as_slice(),
        cpus: machine.cpus.len() as u64,
        image_bytes: layout::image_size(),
        per_cpu_bytes: PERCPU_PHYSICAL_BYTES,
        page_record_bytes: size_of::<FrameEntry>() as u64,
        dma_doorbells: (!machine.smmus.is_empty()).then_some(machine.its.len() as u64),
        extra_bytes: dma::pages_needed(&machine).saturating_mul(PAGE_SIZE),
        spare_tables: SPARE_TABLES.saturating_add(withdrawn.saturating_mul(2)),
    })
    .unwrap_or_else(|error| refuse(&error));
    let inputs = plan::Inputs {
        load_base: image,
        bundle,
        fdt_base: fdt,
        fdt_size: tree.total_size() as u64,
        hyp_region_size: budget.total_bytes,
        host_fdt_size: host_fdt::max_size(&tree),
    };
    let layout = plan::plan(&machine, &inputs).unwrap_or_else(|error| refuse(&error));
    let region = Region::new(&layout.hyp, &budget);
    map.region(&layout.hyp);
    let tables = build_tables(&machine, &layout, &region);
    // Booting takes more stack than anything later: the early one goes on being used, in its new place.
    let stack = IMAGE_VA.saturating_add(layout::boot_stack_offset());
    let boot = CpuBoot { stack, ..boot_block(&tables, 0, boot_main as *const () as u64) };
    // The boot CPU uses the data of CPU 0 until it knows which CPU it is.
    let offset = STACK_BYTES.saturating_add(core::mem::offset_of!(PerCpu, boot) as u64);
    let block = region.per_cpu.saturating_add(offset);
    let block_va = REGION_VA.saturating_add(distance(region.image, block));
    FACTS.set(Facts { machine, layout, budget, tables, started });
    // SAFETY: the early tables map the whole region at REGION_VA, writable; the block lies in it.
    unsafe { (block_va as *mut CpuBoot).write(boot) };
    early::copy_image(REGION_VA);
    // SAFETY: the early tables map this part of the region.
    unsafe { arch::clean_invalidate(REGION_VA, distance(region.image, region.record)) };
    let entry = region.image.saturating_add(layout::cpu_entry_offset());
    arch::leave_early(image.saturating_add(layout::leave_early_offset()), entry, block)
}

/// Builds EL2's final tables.
fn build_tables(machine: &MachineInfo, layout: &Layout, region: &Region) -> Stage1 {
    let mut hw = early::MappedTables { physical: region.image, va: REGION_VA };
    let stage1 = pages(region.stage1, distance(region.stage1, region.record));
    let mut pool = TablePool::from_range(stage1);
    let Some(root) = pool.pop(&mut hw) else {
        fatal::refuse(|line| line.text("no page for EL2's tables"))
    };
    let tables = Stage1::new(root);
    let mut map = |va: u64, physical: u64, bytes: u64, attrs| {
        require(
            "EL2's tables",
            tables.map(&mut hw, &mut pool, HypVa::new(va), pages(physical, bytes), attrs),
        );
    };
    let (text, constants) = (layout::text_end(), layout::rodata_end());
    let idmap = region.image.saturating_add(layout::idmap_offset());
    map(idmap, idmap, PAGE_SIZE, HypAttrs::Code);
    let mut map_image = |from: u64, to: u64, attrs| {
        let va = IMAGE_VA.saturating_add(from);
        map(va, region.image.saturating_add(from), distance(from, to), attrs);
    };
    map_image(0, text, HypAttrs::Code);
    map_image(text, constants, HypAttrs::Constants);
    map_image(constants, layout::image_size(), HypAttrs::Data);
    map(LINEAR_VA, region.stage1, distance(region.stage1, region.end), HypAttrs::Data);
    for cpu in 0..machine.cpus.len() as u64 {
        let physical = region.cpu(cpu);
        map(layout::stack(cpu), physical, STACK_BYTES, HypAttrs::Data);
        let data = physical.saturating_add(STACK_BYTES);
        map(percpu::address(cpu), data, PERCPU_BYTES, HypAttrs::Data);
    }
    if let Some(device) = &machine.console {
        map(CONSOLE_VA, device.registers.page_outward().start(), PAGE_SIZE, HypAttrs::Device);
    }
    let fdt = layout.fdt.page_outward();
    map(FDT_VA, fdt.start(), fdt.size(), HypAttrs::Constants);
    map(HOST_FDT_VA, layout.host_fdt.start(), layout.host_fdt.size(), HypAttrs::Data);
    require(
        "EL2's windows",
        tables.reserve(&mut hw, &mut pool, HypVa::new(FIXMAP_VA), FIXMAP_PAGES),
    );
    tables
}

/// Entry from cpu_entry on the first CPU, on the final tables.
extern "C" fn boot_main() -> ! {
    let facts = FACTS.get();
    // The early tables may have had the console elsewhere, or have had another one.
    console::set_base(
        facts
            .machine
            .console
            .as_ref()
            .map_or(0, |console| CONSOLE_VA.saturating_add(console.registers.start() % PAGE_SIZE)),
    );
    let region = Region::new(&facts.layout.hyp, &facts.budget);
    LINEAR.set(Linear { start: region.stage1, size: distance(region.stage1, region.end) });
    IMAGE_PA.set(region.image);
    let this = start_cpus(&facts.machine, &facts.tables);
    set_windows(&facts.tables);
    read_features(&facts.machine);
    let size = distance(region.image, region.end);
    own_memory(facts, &region);
    let fdt = write_host_fdt(facts);
    unmap_boot(facts);
    let kernel = facts.layout.kernel.start();
    drop(
        console::line()
            .decimal(facts.machine.cpus.len() as u64)
            .text(" CPUs, ")
            .decimal(facts.machine.memory.total() >> 20)
            .text(" MiB of RAM, ")
            .decimal(size >> 10)
            .text(" KiB at ")
            .hex(region.image)
            .text(" for EL2; entering the host at ")
            .hex(kernel),
    );
    BOOT_TICKS.set(distance(facts.started, sysreg::read_cntpct_el0()));
    psci::start_host(this, kernel, fdt)
}

/// What a CPU loads on its way to `entry`.
fn boot_block(tables: &Stage1, cpu: u64, entry: u64) -> CpuBoot {
    CpuBoot {
        ttbr: tables.ttbr(),
        tcr: stage1::tcr(cpu::pa_range()),
        mair: MAIR_EL2,
        sctlr: SCTLR_EL2,
        stack: layout::stack_top(cpu),
        percpu: percpu::address(cpu),
        vectors: arch::host_vectors_address(),
        entry,
    }
}

/// Prepares the data of all CPUs. Returns which one runs this.
fn start_cpus(machine: &MachineInfo, tables: &Stage1) -> CpuIndex {
    let mut cpus = CpuTable::EMPTY;
    let affinity = sysreg::read_mpidr_el1() & MPIDR_AFFINITY_MASK;
    for (number, description) in machine.cpus.iter().enumerate() {
        let Ok(index) = cpus.add(description.mpidr) else {
            fatal::refuse(|line| line.text("bad MPIDR ").hex(description.mpidr))
        };
        let entry = psci::cpu_main as *const () as u64;
        let boot = boot_block(tables, number as u64, entry);
        // SAFETY: build_tables mapped the data of each CPU of the machine, and all but this one
        // are off; this one reads nothing of it yet.
        unsafe { percpu::initialise(index, boot) };
        // The CPU reads its boot block with the MMU off.
        // SAFETY: as above, the data is mapped.
        unsafe { arch::clean_invalidate(percpu::address(number as u64), PERCPU_BYTES) };
    }
    let Some(this) = cpus.index_of(affinity) else {
        fatal::refuse(|line| line.text("the FDT does not list this CPU, MPIDR ").hex(affinity))
    };
    arch::set_percpu(percpu::address(this.get() as u64));
    CPUS.set(cpus);
    this
}

/// Finds the table of the windows.
fn set_windows(tables: &Stage1) {
    let slot = tables.leaf_slot(&mut Hw::new(), HypVa::new(FIXMAP_VA));
    match slot.and_then(|slot| LINEAR.get().address(slot.table)) {
        Some(address) => window::set_descriptors(address),
        None => fatal::refuse(|line| line.text("no table for the windows")),
    }
}

/// The ID registers of this CPU.
pub fn hardware_ids() -> HardwareIds {
    HardwareIds {
        pfr0: sysreg::read_id_aa64pfr0_el1(),
        pfr1: sysreg::read_id_aa64pfr1_el1(),
        dfr0: sysreg::read_id_aa64dfr0_el1(),
        isar0: sysreg::read_id_aa64isar0_el1(),
        isar1: sysreg::read_id_aa64isar1_el1(),
        isar2: sysreg::read_id_aa64isar2_el1(),
        mmfr0: sysreg::read_id_aa64mmfr0_el1(),
        mmfr1: sysreg::read_id_aa64mmfr1_el1(),
        mmfr2: sysreg::read_id_aa64mmfr2_el1(),
        mmfr3: sysreg::read_id_aa64mmfr3_el1(),
    }
}

/// Reads what the CPU and the GIC can do.
fn read_features(machine: &MachineInfo) {
    let ids = hardware_ids();
    GUEST_IDS.set(IdRegisters::new(&ids, cpu::guest_ipa_bits().into()));
    HARDWARE_IDS.set(ids);
    sysreg::write_icc_sre_el2(crate::vgic::SRE_HOST);
    arch::isb();
    guest::VGIC.set(VgicHardware::from_vtr(sysreg::read_ich_vtr_el2(), machine.timer.virtual_));
}

/// Fills in the ownership table and the host's stage 2.
fn own_memory(facts: &Facts, region: &Region) {
    let address = LINEAR_VA.saturating_add(distance(region.stage1, region.ownership));
    let records = (facts.machine.memory.total() / PAGE_SIZE) as usize;
    // SAFETY: the budget reserved this part of the region for one record a page of RAM; the linear
    // map covers it, and nothing else refers to it. Any bytes are a valid record.
    let entries = unsafe { core::slice::from_raw_parts_mut(address as *mut FrameEntry, records) };
    let scrubbed = remanence::scrub(facts, region, entries);
    if scrubbed != 0 {
        let line = console::line().text("scrubbed ").decimal(scrubbed);
        drop(line.text(" pages that VMs of an earlier boot had left"));
    }
    remanence::leave_record(facts, region, records);
    let mut frames = FrameTable::new(entries);
    for range in facts.machine.memory.as_slice() {
        require("RAM", frames.add_region(pages(range.start(), range.size())));
    }
    for range in facts.machine.devices.as_slice() {
        let range = pages(range.start(), range.size());
        require("devices", frames.devices.insert(range, DeviceOwner::Host));
    }
    let guard = guard_devices(facts, region, &mut frames.devices);
    if let Err(unguarded) = &guard {
        let line = console::line().text("no protected VMs: ");
        drop(line.described(|put| unguarded.describe(put)));
    }
    dma::UNGUARDED.set(guard.as_ref().err().copied());
    dma::TABLE_BYTES.set(if let Ok(Some(_)) = guard { dma_table_bytes(&facts.budget) } else { 0 });
    let geometry = require(
        "the host's address space",
        Geometry::new(cpu::pa_bits(), cpu::pa_bits(), Concatenation::Avoid),
    );
    let mut hw = Hw::new();
    let root_bytes = geometry.root_pages().saturating_mul(PAGE_SIZE);
    let root = align_up(region.stage2, root_bytes);
    for page in pages(root, root_bytes).iter() {
        hw.zero(page.base());
    }
    let context = Stage2Context { vmid: 0, root: pa(root) };
    let stage2 = require("the host's stage 2", Stage2::new(context, geometry, Emptied::Kept));
    HOST_STAGE2.set(HostStage2 { context, vtcr: geometry.vtcr(cpu::pa_range(), false) });
    let first = root.saturating_add(root_bytes);
    let pool = TablePool::from_range(pages(first, distance(first, region.end)));
    let mut builder = HostMemoryBuilder::new(frames, stage2, pool);
    if let Ok(Some((stage2, pool, smmus))) = guard {
        builder.guard_dma(stage2, pool, smmus);
        for its in facts.machine.its.iter() {
            let page = pa(its.start().saturating_add(dma::DOORBELL)).pfn();
            require("the tables of devices", builder.allow_doorbell(&mut hw, page));
        }
    }
    for range in facts.machine.memory.as_slice() {
        for_each_part(facts, range, |part| {
            require(
                "the host's memory",
                builder.give_ram(&mut hw, pages(part.start(), part.size())),
            );
        });
    }
    HOST.set(Lock::new(require("the host's devices", builder.finish(&mut hw))));
}

/// Closes every way on which a device could reach memory that is not the host's. Returns the SMMUs and the
/// tables that they walk, still empty; none on a machine without devices that reach memory.
fn guard_devices(
    facts: &Facts,
    region: &Region,
    devices: &mut DeviceMap,
) -> Result<Option<(Stage2, TablePool, Smmus)>, Unguarded> {
    let machine = &facts.machine;
    let table_bytes = dma_table_bytes(&facts.budget);
    let mut memory = dma::Pages(region.dma.saturating_add(table_bytes));
    let inventory = dma::take_inventory(machine);
    let gic = dma::guard_gic(machine, devices, &mut memory);
    if let Some(unguarded) = inventory.or(gic.err()) {
        return Err(unguarded);
    }
    if machine.smmus.is_empty() {
        return Ok(None);
    }
    let mut hw = Hw::new();
    let mut pool = TablePool::from_range(pages(region.dma, table_bytes));
    let context = pool.pop(&mut hw).map(|root| Stage2Context { vmid: 0, root });
    let stage2 = context
        .ok_or(Refusal::NoTables)
        .and_then(|context| Stage2::new(context, dma::geometry(machine)?, Emptied::Kept));
    let stage2 = require("the tables of devices", stage2);
    let smmus = dma::start_smmus(machine, &stage2, devices, &mut memory)?;
    Ok(Some((stage2, pool, smmus)))
}

/// Calls `give` for each part of a range of RAM that is the host's: neither EL2's, nor such that nobody
/// may map it because the firmware keeps it to itself.
fn for_each_part(facts: &Facts, range: &PhysRange, mut give: impl FnMut(&PhysRange)) {
    let kept = facts.machine.reserved.iter().filter(|reserved| reserved.no_map);
    let holes = || kept.clone().map(|reserved| reserved.range).chain([facts.layout.hyp]);
    let mut start = range.start();
    while start < range.end() {
        let rest = PhysRange::from_bounds(start, range.end());
        let next = holes()
            .filter(|hole| rest.is_some_and(|rest| rest.overlaps(hole)))
            .min_by_key(PhysRange::start);
        let (end, behind) = next.map_or((range.end(), range.end()), |hole| {
            let hole = hole.page_outward();
            (hole.start(), hole.end())
        });
        if let Some(part) = PhysRange::from_bounds(start, end) {
            give(&part);
        }
        start = behind.max(start);
    }
}

/// Writes the FDT for the host. Returns its physical address.
fn write_host_fdt(facts: &Facts) -> u64 {
    let start = facts.layout.fdt.start();
    let source = FDT_VA.saturating_add(start % PAGE_SIZE) as *const u8;
    // SAFETY: build_tables mapped the loader's FDT here, read-only; nothing writes to it.
    let source = unsafe { core::slice::from_raw_parts(source, facts.layout.fdt.size() as usize) };
    let out = HOST_FDT_VA as *mut u8;
    let size = facts.layout.host_fdt.size() as usize;
    // SAFETY: build_tables mapped the buffer here; the layout keeps it apart from everything else.
    let out = unsafe { core::slice::from_raw_parts_mut(out, size) };
    let view = HostView {
        machine: &facts.machine,
        hyp: facts.layout.hyp,
        abi_version: ABI_VERSION,
        guarded: dma::UNGUARDED.get().is_none(),
    };
    let written = Fdt::new(source)
        .map_err(BootError::from)
        .and_then(|tree| host_fdt::write(&tree, &view, out));
    if let Err(error) = written {
        refuse(&error);
    }
    // The host reads it with its MMU off.
    // SAFETY: the buffer is mapped.
    unsafe { arch::clean_invalidate(HOST_FDT_VA, size as u64) };
    facts.layout.host_fdt.start()
}

/// Unmaps what only the boot needed.
fn unmap_boot(facts: &Facts) {
    let fdt = facts.layout.fdt.page_outward();
    let mut hw = Hw::new();
    for (va, bytes) in [(FDT_VA, fdt.size()), (HOST_FDT_VA, facts.layout.host_fdt.size())] {
        require(
            "unmapping the FDT",
            facts.tables.unmap(&mut hw, HypVa::new(va), bytes / PAGE_SIZE),
        );
    }
}

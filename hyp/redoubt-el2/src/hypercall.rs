//! The calls of the host: from registers to the core and back.
//!
//! Every value in a register is what the host alleges. A call locks what it needs in the order of
//! `sync.rs`, lets the core check everything, and only then changes anything.

use redoubt_abi::call::{self, Counter, HostCall, Info};
use redoubt_abi::guest::VENDOR_UID;
use redoubt_abi::{ABI_VERSION, HOST_UID, Status};
use redoubt_core::addr::{IpaRange, PageRange, Pfn};
use redoubt_core::memory::{Contents, HostMemory, Lend, MAX_PAGES_PER_CALL, Reclaim, VmMemory};
use redoubt_core::refusal::Refusal;
use redoubt_core::stage2::geometry::{Concatenation, Geometry};
use redoubt_core::transition::{Event, VmSlot, transition};
use redoubt_core::vcpu::VcpuContext;
use redoubt_core::vm::{
    MAX_MEMORY_RANGES, MAX_VCPUS, MAX_VMS, ReclaimStep, VmConfig, VmHandle, VmState,
};

use crate::arch::sysreg;
use crate::host::HostRegisters;
use crate::memory::{self, Hw};
use crate::psci::{self, CPUS};
use crate::vm::{self, GUEST_IDS, SlotGuard};
use crate::window::{Use, Window};
use crate::{cpu, dma, guest, percpu};

/// Handles an HVC of the host.
pub fn handle(registers: &mut HostRegisters) {
    let [x0, x1, x2, x3, x4, x5, x6, ..] = registers.x;
    #[allow(clippy::cast_possible_truncation)]
    if x0 as u32 == VENDOR_UID {
        registers.set_first_four(HOST_UID.map(u64::from));
        return;
    }
    let call = HostCall::decode(&[x0, x1, x2, x3, x4, x5, x6]);
    if call == Ok(HostCall::DmaEvent {}) {
        let [event, address, lost] = dma_event();
        registers.set_first_four([Status::Success.to_register(), event, address, lost]);
        return;
    }
    let (status, value) = match call.and_then(dispatch) {
        Ok(value) => (Status::Success, value),
        Err(status) => (status, 0),
    };
    registers.set_first_four([status.to_register(), value, 0, 0]);
}

/// DMA_EVENT: X1 to X3.
fn dma_event() -> [u64; 3] {
    let mut host = memory::host();
    let Some(smmus) = host.smmus() else { return [0; 3] };
    let event = smmus.next_event(&mut Hw::new());
    let lost = smmus.lost();
    event.map_or([0, 0, lost], |event| {
        let write = if event.write { call::DMA_EVENT_WRITE } else { 0 };
        let what = u64::from(event.kind) | write | u64::from(event.stream) << 32;
        [what, event.address, lost]
    })
}

/// Carries out a decoded call; the value is for X1.
fn dispatch(call: HostCall) -> Result<u64, Status> {
    match call {
        HostCall::Version {} => Ok(ABI_VERSION.into()),
        HostCall::Info { selector } => info(selector),
        HostCall::Stats { cpu, counter } => stats(cpu, counter),
        HostCall::Denied { index } => {
            let function = usize::try_from(index).ok().and_then(psci::denied);
            function.map(u64::from).ok_or(Status::InvalidArgument)
        }
        HostCall::DmaEvent {} => Ok(0),
        HostCall::VmCreate { flags, ipa_bits, vcpus, root_pfn } => {
            create(flags, ipa_bits, vcpus, root_pfn)
        }
        HostCall::VmSetMemory { handle, ipa, pages } => {
            vm::find(handle)?.vm.set_memory(ipa, pages).map(|()| 0)
        }
        HostCall::VmAddTables { handle, pfn, pages } => add_tables(handle, pfn, pages),
        HostCall::VmMap { handle, pfn, ipa, pages, flags } => map(handle, pfn, ipa, pages, flags),
        HostCall::VmUnmap { handle, ipa, pages } => unmap(handle, ipa, pages),
        HostCall::VcpuCreate { handle, vcpu, state_pfn, run_pfn, flags } => {
            create_vcpu(handle, vcpu, state_pfn, run_pfn, flags)
        }
        HostCall::VcpuRun { handle, vcpu } => guest::run(handle, vcpu),
        HostCall::VcpuGetReg { handle, vcpu, register } => get_register(handle, vcpu, register),
        HostCall::VcpuSetReg { handle, vcpu, register, value } => {
            set_register(handle, vcpu, register, value)
        }
        HostCall::VmDestroy { handle } => destroy(handle),
        HostCall::VmReclaim { handle } => reclaim(handle),
    }
}

/// INFO.
fn info(selector: u64) -> Result<u64, Status> {
    let unguarded = dma::UNGUARDED.get();
    let guarded = call::FEATURE_PROTECTED | call::FEATURE_DMA_GUARDED;
    let features = if unguarded.is_none() { guarded } else { 0 }
        | if cfg!(feature = "counters") { call::FEATURE_STATS } else { 0 };
    let value = match Info::from_register(selector).ok_or(Status::InvalidArgument)? {
        Info::MaxVms => MAX_VMS as u64,
        Info::MaxVcpus => MAX_VCPUS as u64,
        Info::IpaBits => cpu::guest_ipa_bits().into(),
        Info::MaxPages => MAX_PAGES_PER_CALL,
        Info::ListRegisters => guest::VGIC.get().list_registers as u64,
        Info::VirtualTimerIntid => guest::VGIC.get().timer_intid.into(),
        Info::MaxMemoryRanges => MAX_MEMORY_RANGES as u64,
        Info::Features => features,
        Info::Cpus => CPUS.get().len() as u64,
        Info::BootTicks => *crate::boot::BOOT_TICKS.get(),
        Info::DmaGuard => unguarded.map_or(0, |unguarded| unguarded.reason as u64),
        Info::DmaCulprit => unguarded.map_or(0, |unguarded| unguarded.culprit),
        Info::DmaInvalidations => memory::host().smmus().map_or(0, |smmus| smmus.invalidations()),
        Info::GicRefusals => dma::gic_refusals(),
        Info::RegionBytes => crate::boot::region_bytes(),
        Info::DmaTableBytes => *dma::TABLE_BYTES.get(),
    };
    Ok(value)
}

/// STATS.
fn stats(cpu: u64, counter: u64) -> Result<u64, Status> {
    let cpu = usize::try_from(cpu).ok().and_then(|cpu| CPUS.get().index(cpu));
    let cpu = cpu.ok_or(Status::InvalidArgument)?;
    let counter = Counter::from_register(counter).ok_or(Status::InvalidArgument)?;
    Ok(percpu::counter(cpu, counter))
}

/// VM_CREATE.
fn create(flags: u64, ipa_bits: u64, vcpus: u64, root_pfn: u64) -> Result<u64, Status> {
    let config = VmConfig::new(flags, ipa_bits, vcpus, cpu::guest_ipa_bits())?;
    if config.is_protected() {
        dma::check_guarded()?;
    }
    let geometry = Geometry::new(config.ipa_bits(), cpu::pa_bits(), Concatenation::Prefer)?;
    let root = vm::page_range(root_pfn, geometry.root_pages())?;
    let handle = vm::TABLE.lock().allocate()?;
    open(handle, &config, geometry, root).inspect_err(|_| vm::TABLE.lock().release(handle))?;
    Ok(handle.to_register())
}

/// Fills a slot that was allocated for a new VM.
fn open(
    handle: VmHandle,
    config: &VmConfig,
    geometry: Geometry,
    root: PageRange,
) -> Result<(), Status> {
    let mut slot = vm::lock(handle.slot());
    if vm::is_going_down() {
        return Err(Status::Busy);
    }
    let vtcr = geometry.vtcr(cpu::pa_range(), false);
    let number = VmSlot::new(u8::try_from(handle.slot()).map_err(|_| Status::NoSlot)?);
    let memory = VmMemory::create(
        &mut memory::host(),
        &mut Hw::for_vm(vtcr),
        number,
        handle.vmid(),
        geometry,
        root,
    )?;
    // Guest time starts at zero.
    let counter_offset = sysreg::read_cntpct_el0();
    slot.vm.open(handle, config, counter_offset, *GUEST_IDS.get());
    slot.vtcr = vtcr;
    slot.memory = Some(memory);
    Ok(())
}

/// VM_ADD_TABLES.
fn add_tables(handle: u64, pfn: u64, pages: u64) -> Result<u64, Status> {
    let range = vm::page_range(pfn, pages)?;
    let mut slot = vm::find(handle)?;
    slot.vm.require_alive()?;
    let mut hw = Hw::for_vm(slot.vtcr);
    memory::host().donate_tables(&mut hw, slot.memory_mut()?, range)?;
    Ok(0)
}

/// VM_MAP.
fn map(handle: u64, pfn: u64, ipa: u64, pages: u64, flags: u64) -> Result<u64, Status> {
    if flags & !(call::MAP_KEEP | call::MAP_READ_ONLY) != 0 {
        return Err(Status::InvalidArgument);
    }
    let keep = flags & call::MAP_KEEP != 0;
    let read_only = flags & call::MAP_READ_ONLY != 0;
    let range = vm::page_range(pfn, pages)?;
    let ipa = vm::page_ipa(ipa)?;
    let mut slot = vm::find(handle)?;
    slot.vm.require_alive()?;
    let mut hw = Hw::for_vm(slot.vtcr);
    if !slot.vm.protected() {
        let lend = if read_only { Lend::ReadOnly } else { Lend::ReadWrite };
        let guest = slot.memory_mut()?;
        memory::host().share_memory(&mut hw, guest, range, ipa, lend)?;
        return Ok(0);
    }
    if read_only || (keep && slot.vm.state() != VmState::Creating) {
        return Err(Status::Protected);
    }
    if !slot.vm.memory().contains(ipa.raw(), pages) {
        return Err(Status::InvalidArgument);
    }
    let contents = if keep { Contents::Keep } else { Contents::Zero };
    let guest = slot.memory_mut()?;
    memory::host().donate_memory(&mut hw, guest, range, ipa, contents)?;
    Ok(0)
}

/// VM_UNMAP.
fn unmap(handle: u64, ipa: u64, pages: u64) -> Result<u64, Status> {
    let start = vm::page_ipa(ipa)?;
    if pages > MAX_PAGES_PER_CALL {
        return Err(Status::TooMany);
    }
    let range = IpaRange::new(start, pages)?;
    let mut slot = vm::find(handle)?;
    slot.vm.require_alive()?;
    if slot.vm.protected() {
        return Err(Status::Protected);
    }
    let mut hw = Hw::for_vm(slot.vtcr);
    let guest = slot.memory_mut()?;
    let mut host = memory::host();
    if host.unshare_memory(&mut hw, guest, range).is_ok() {
        return Ok(pages);
    }
    // Not all are mapped, or a block has to be split: page by page.
    for (done, ipa) in (0..pages).zip(range.iter()) {
        let page = IpaRange::one(ipa);
        match host.unshare_memory(&mut hw, guest, page) {
            Ok(()) | Err(Refusal::NotMapped) => {}
            Err(refusal) if done == 0 => return Err(refusal.into()),
            Err(_) => return Ok(done),
        }
    }
    Ok(pages)
}

/// VCPU_CREATE.
fn create_vcpu(
    handle: u64,
    vcpu: u64,
    state_pfn: u64,
    run_pfn: u64,
    flags: u64,
) -> Result<u64, Status> {
    let state = vm::page_range(state_pfn, 1)?;
    let run = vm::page_range(run_pfn, 1)?;
    let mut slot = vm::find(handle)?;
    let plan = slot.vm.check_vcpu(vcpu, flags)?;
    let mut hw = Hw::for_vm(slot.vtcr);
    let guest = slot.memory_mut()?;
    let mut host = memory::host();
    // A run page is the host's own, not one that a VM lends, and serves one vCPU: one that the host
    // could give away.
    transition(host.frame(run.start())?, Event::HostDonateHyp)?;
    host.pin(run)?;
    // The pin comes first: it makes a state page that is the run page too a refusal.
    if let Err(refusal) = host.donate_state(&mut hw, guest, state) {
        unpin(&mut host, run);
        return Err(refusal.into());
    }
    drop(host);
    slot.vm.commit_vcpu(plan, state.start(), run.start());
    with_registers(&slot, state.start(), |context| {
        context.reset(0, 0);
        Ok(0)
    })
}

/// Ends the use of a run page.
fn unpin(host: &mut HostMemory<'_>, run: PageRange) {
    if host.unpin(run).is_err() {
        crate::fatal::stop("a pin was lost");
    }
}

/// Calls `access` with the registers of a vCPU that does not run.
fn with_registers<T>(
    slot: &SlotGuard,
    state: Pfn,
    access: impl FnOnce(&mut VcpuContext) -> Result<T, Status>,
) -> Result<T, Status> {
    let _ = slot;
    let window = Window::map(Use::State, state.base());
    // SAFETY: the page is the state page of a vCPU that does not run; the VM's lock, which the
    // guard stands for, keeps every other CPU from it.
    let context = unsafe { &mut *window.pointer::<VcpuContext>() };
    access(context)
}

/// VCPU_GET_REG.
fn get_register(handle: u64, vcpu: u64, register: u64) -> Result<u64, Status> {
    let slot = vm::find(handle)?;
    let (pages, _) = slot.vm.register_access(vcpu)?;
    with_registers(&slot, pages.state, |context| {
        context.get_reg(register, pages.vcpu, slot.vm.ids())
    })
}

/// VCPU_SET_REG.
fn set_register(handle: u64, vcpu: u64, register: u64, value: u64) -> Result<u64, Status> {
    let slot = vm::find(handle)?;
    let (pages, access) = slot.vm.register_access(vcpu)?;
    with_registers(&slot, pages.state, |context| {
        context.set_reg(register, value, pages.vcpu, slot.vm.ids(), access)
    })?;
    Ok(0)
}

/// VM_DESTROY.
fn destroy(handle: u64) -> Result<u64, Status> {
    let mut slot = vm::find(handle)?;
    slot.vm.destroy()?;
    slot.memory_mut()?.begin_teardown();
    Ok(0)
}

/// VM_RECLAIM.
fn reclaim(handle: u64) -> Result<u64, Status> {
    let parsed = VmHandle::from_register(handle)?;
    let mut slot = vm::find(handle)?;
    if vm::is_going_down() {
        return Err(Status::Busy);
    }
    let mut hw = Hw::for_vm(slot.vtcr);
    match slot.vm.reclaim_step()? {
        ReclaimStep::Vcpu { state, run } => {
            let guest = slot.memory_mut()?;
            let mut host = memory::host();
            host.return_state(&mut hw, guest, PageRange::one(state))?;
            unpin(&mut host, PageRange::one(run));
            drop(host);
            slot.vm.reclaim_next();
        }
        ReclaimStep::Memory => {
            let guest = slot.memory_mut()?;
            match memory::host().reclaim_step(&mut hw, guest)? {
                Reclaim::More => {}
                Reclaim::Done => slot.vm.reclaim_next(),
            }
        }
        ReclaimStep::Done => {
            slot.memory = None;
            slot.vm.close();
            drop(slot);
            vm::TABLE.lock().release(parsed);
            return Ok(0);
        }
    }
    Ok(1)
}

//! Running a vCPU: the switch between host and guest, and the loop that handles what EL2 answers
//! itself.
//!
//! The vCPU's registers live in its state page, which is EL2's; the page is mapped here while the
//! vCPU runs and nowhere else. Of the run page EL2 takes one copy before it looks at anything. No
//! lock is held while the guest runs.

use redoubt_abi::Status;
use redoubt_abi::call::Counter;
use redoubt_abi::run::{self, ExitReason, MAX_LIST_REGISTERS};
use redoubt_core::addr::Ipa;
use redoubt_core::exit::{
    self, AddressSource, ExitReport, FaultStatus, GuestDecision, GuestExit, GuestView, Syndrome,
    Trap,
};
use redoubt_core::memory::Access;
use redoubt_core::smccc::{self, Entropy, GuestCall, MemoryCall};
use redoubt_core::vcpu::{EntryRequest, VcpuContext};
use redoubt_core::vgic::{ListRegisters, VgicHardware};
use redoubt_core::vm::{RunStart, VmHandle};

use crate::arch::{self, sysreg};
use crate::memory::{self, Hw};
use crate::sync::BootCell;
use crate::traps::World;
use crate::vm::{self, HARDWARE_IDS, SlotGuard};
use crate::window::{Use, Window};
use crate::{percpu, traps, vgic, world};

/// What the CPU's GIC offers to guests.
pub static VGIC: BootCell<VgicHardware> = BootCell::new();

/// PMCR_EL0.E: counters count.
const PMCR_E: u64 = 1;

/// Offset of a word in an array of the run page.
const fn word(array: usize, number: usize) -> usize {
    array.saturating_add(number.saturating_mul(8))
}

/// The host's side of a run page: the words that it writes, copied once.
struct RunPage {
    window: Window,
}

impl RunPage {
    /// Reads the word at an offset.
    fn read(&self, offset: usize) -> u64 {
        let word = self.window.pointer::<u64>().wrapping_byte_add(offset & 0xff8);
        // SAFETY: the window maps the whole page, and the offset is aligned and below 4096. The
        // host may write at the same time, hence the volatile access.
        unsafe { word.read_volatile() }
    }

    /// Writes the word at an offset.
    fn write(&self, offset: usize, value: u64) {
        let word = self.window.pointer::<u64>().wrapping_byte_add(offset & 0xff8);
        // SAFETY: as in `read`.
        unsafe { word.write_volatile(value) }
    }

    /// Takes the entry part over: checked list registers, and what completes the last exit.
    fn read_entry(&self, lists: &mut ListRegisters) -> Result<EntryRequest, Status> {
        let request = EntryRequest {
            flags: self.read(run::ENTRY_FLAGS),
            mmio_data: self.read(run::ENTRY_MMIO_DATA),
        };
        let count = self.read(run::ENTRY_LR_COUNT);
        let maintenance = self.read(run::ENTRY_MAINTENANCE);
        let mut raw = [0; MAX_LIST_REGISTERS];
        for (number, value) in raw.iter_mut().enumerate() {
            *value = self.read(word(run::ENTRY_LR, number));
        }
        lists.load(count, &raw, maintenance, VGIC.get())?;
        Ok(request)
    }

    /// Writes the exit part.
    fn write_exit(
        &self,
        report: &ExitReport,
        context: &VcpuContext,
        lists: &ListRegisters,
        misr: u64,
        offset: u64,
    ) {
        for (number, value) in report.args.iter().enumerate() {
            self.write(word(run::EXIT_ARGS, number), *value);
        }
        self.write(run::EXIT_TIMER_CTL, context.cntv_ctl_el0);
        self.write(run::EXIT_TIMER_DEADLINE, context.cntv_cval_el0.saturating_add(offset));
        self.write(run::EXIT_LR_COUNT, lists.count as u64);
        for (number, value) in lists.values.iter().enumerate() {
            self.write(word(run::EXIT_LR, number), *value);
        }
        self.write(run::EXIT_MISR, misr);
        self.write(run::EXIT_VMCR, context.ich_vmcr);
        self.write(run::EXIT_REASON, report.reason as u64);
    }
}

/// Random numbers of the CPU.
struct CpuEntropy;

impl Entropy for CpuEntropy {
    fn is_available(&self) -> bool {
        arch::has_random()
    }

    fn next(&mut self) -> Option<u64> {
        arch::random()
    }
}

/// Runs a vCPU until it exits to the host. Returns the exit reason.
pub fn run(handle: u64, vcpu: u64) -> Result<u64, Status> {
    let number = VmHandle::from_register(handle)?.slot();
    let (start, vm_world) = {
        let mut slot = vm::find(handle)?;
        let stage2 = slot.context()?;
        let start = slot.vm.begin_run(vcpu, percpu::this().index)?;
        let vm_world = World {
            stage2,
            vtcr: slot.vtcr,
            counter_offset: slot.vm.counter_offset(),
            mpidr: VcpuContext::mpidr(start.vcpu),
            traps: redoubt_core::sysreg::traps::guest(HARDWARE_IDS.get()),
        };
        (start, vm_world)
    };
    let state = Window::map(Use::State, start.state.base());
    let run_page = RunPage { window: Window::map(Use::Run, start.run.base()) };
    let context = state.pointer::<VcpuContext>();
    // SAFETY: the state page is EL2's, was zeroed when it was donated (a valid context), and
    // `begin_run` made this CPU the only one that uses it.
    let context = unsafe { &mut *context };
    let lists = percpu::this().list_registers.get();
    // SAFETY: the cell is this CPU's, and used by this function alone, which does not nest.
    let lists = unsafe { &mut *lists };

    let result = enter(number, &start, context, lists, &run_page, &vm_world);
    // Nothing of the vCPU is mapped here any more when another CPU may run or end it.
    drop(run_page);
    drop(state);
    let mut guard = vm::lock(number);
    match &result {
        Ok(_) => guard.vm.end_run(start.vcpu),
        Err(_) => guard.vm.cancel_run(&start),
    }
    result
}

/// Checks the entry, switches worlds around [`run_guest`], and reports.
fn enter(
    slot: usize,
    start: &RunStart,
    context: &mut VcpuContext,
    lists: &mut ListRegisters,
    page: &RunPage,
    vm_world: &World,
) -> Result<u64, Status> {
    let request = page.read_entry(lists)?;
    if let Some(boot) = &start.reset {
        context.reset(boot.entry, boot.context);
    }
    context.complete_entry(&request)?;

    let host = percpu::this().host.get();
    // SAFETY: the cell is this CPU's, and used by this function alone, which does not nest.
    let host = unsafe { &mut *host };
    world::save(host);
    world::block_walks();
    let mdscr = sysreg::read_mdscr_el1();
    let pmcr = stop_counters();
    let trace = traps::stop_trace();
    let ids = HARDWARE_IDS.get();
    if ids.has_sme() {
        sysreg::write_svcr(0);
    }
    if ids.has_ras() {
        sysreg::write_vdisr_el2(0);
    }
    traps::activate(vm_world);
    percpu::separate_vcpus(slot, start.vcpu);
    arch::load_fp(&context.v);
    sysreg::write_fpcr(context.fpcr);
    sysreg::write_fpsr(context.fpsr);
    sysreg::write_cntv_cval_el0(context.cntv_cval_el0);
    sysreg::write_cntv_ctl_el0(context.cntv_ctl_el0);
    vgic::load(context, lists);

    let report = run_guest(slot, start.vcpu, context);

    let misr = vgic::save(context, lists);
    context.cntv_ctl_el0 = sysreg::read_cntv_ctl_el0();
    context.cntv_cval_el0 = sysreg::read_cntv_cval_el0();
    sysreg::write_cntv_ctl_el0(0);
    context.fpcr = sysreg::read_fpcr();
    context.fpsr = sysreg::read_fpsr();
    arch::save_fp(&mut context.v);
    arch::clear_fp();
    sysreg::write_fpcr(0);
    sysreg::write_fpsr(0);
    world::block_walks();
    traps::activate_host();
    world::load(host);
    sysreg::write_mdscr_el1(mdscr);
    restart_counters(pmcr);
    traps::restart_trace(trace);
    page.write_exit(&report, context, lists, misr, vm_world.counter_offset);
    Ok(report.reason as u64)
}

/// Stops the host's event counters: they must not count what a guest does.
fn stop_counters() -> u64 {
    if HARDWARE_IDS.get().pmu() == 0 {
        return 0;
    }
    let pmcr = sysreg::read_pmcr_el0();
    sysreg::write_pmcr_el0(pmcr & !PMCR_E);
    pmcr
}

/// Undoes [`stop_counters`].
fn restart_counters(pmcr: u64) {
    if pmcr & PMCR_E != 0 {
        sysreg::write_pmcr_el0(pmcr);
    }
}

/// Enters the guest again and again, until something concerns the host.
fn run_guest(slot: usize, vcpu: usize, context: &mut VcpuContext) -> ExitReport {
    loop {
        world::load_guest(context);
        arch::use_guest_vectors();
        let kind = arch::enter_guest(&mut context.x);
        arch::use_host_vectors();
        percpu::count(Counter::GuestExits);
        let syndrome = Syndrome {
            esr: sysreg::read_esr_el2(),
            far: sysreg::read_far_el2(),
            hpfar: sysreg::read_hpfar_el2(),
        };
        world::save(context);
        let trap = match kind {
            _ if take_serror() => Trap::SError,
            0 => Trap::Synchronous,
            1 => Trap::Irq,
            _ => Trap::SError,
        };
        if let Some(report) = handle_exit(slot, vcpu, trap, &syndrome, context) {
            return report;
        }
    }
}

/// Takes an SError that the guest's accesses caused and that is still pending: the host must not get
/// it. Where the CPU cannot say (no RAS extension), it is the host's.
fn take_serror() -> bool {
    /// DISR_EL1.A: an SError was deferred.
    const DISR_A: u64 = 1 << 31;
    if !HARDWARE_IDS.get().has_ras() {
        return false;
    }
    arch::esb();
    let deferred = sysreg::read_disr_el1() & DISR_A != 0;
    if deferred {
        sysreg::write_disr_el1(0);
    }
    deferred
}

/// The intermediate physical address of an abort, if the syndrome or a walk gives it.
fn abort_address(syndrome: &Syndrome) -> Option<u64> {
    match exit::address_source(syndrome.esr) {
        AddressSource::Hpfar => Some(exit::ipa_from_hpfar(syndrome)),
        AddressSource::TranslateFar => {
            let result = arch::translate_stage1_read(syndrome.far)?;
            exit::ipa_from_par(result, syndrome.far)
        }
        AddressSource::None => None,
    }
}

/// Handles one exit; `None` when the guest goes on.
fn handle_exit(
    slot: usize,
    vcpu: usize,
    trap: Trap,
    syndrome: &Syndrome,
    context: &mut VcpuContext,
) -> Option<ExitReport> {
    let ipa = match trap {
        Trap::Synchronous => abort_address(syndrome),
        Trap::Irq | Trap::Fiq | Trap::SError => None,
    };
    let guest_exit = exit::decode_guest(trap, syndrome);
    let mut guard = vm::lock(slot);
    if guard.vm.require_alive().is_err() {
        return Some(ExitReport::new(ExitReason::InternalError));
    }
    if is_over(&guard, &guest_exit, ipa) {
        return None;
    }
    let view = GuestView {
        memory: guard.vm.memory(),
        ids: guard.vm.ids(),
        protected: guard.vm.protected(),
        ipa,
    };
    match exit::decide_guest(&guest_exit, syndrome, context, &view) {
        GuestDecision::Resume => None,
        GuestDecision::Report(report) => Some(report),
        GuestDecision::Call(_) => {
            match smccc::guest_call(&mut guard.vm, vcpu, context, &mut CpuEntropy) {
                GuestCall::Resume => {}
                GuestCall::Report(report) => return Some(report),
                GuestCall::Memory(call, ipa) => memory_call(&mut guard, context, call, ipa),
            }
            None
        }
    }
}

/// Whether an abort was taken while another CPU changed the VM's tables, and the access is allowed now.
/// The VM's lock is held, so no change is under way. Outside its memory nothing can be mapped in a
/// protected VM, so devices need no walk.
fn is_over(guard: &SlotGuard, guest_exit: &GuestExit, ipa: Option<u64>) -> bool {
    let (GuestExit::Abort(abort), Some(address)) = (guest_exit, ipa) else { return false };
    let walked = matches!(abort.status, FaultStatus::Translation | FaultStatus::Permission);
    if !walked || guard.vm.protected() && !guard.vm.memory().contains_address(address) {
        return false;
    }
    let (Some(memory), Some(ipa)) = (&guard.memory, Ipa::new(address)) else { return false };
    memory.allows(&mut Hw::for_vm(guard.vtcr), ipa, Access::of(abort.fetch, abort.write))
}

/// Carries out a call of the guest on one of its pages and answers it.
fn memory_call(guard: &mut SlotGuard, context: &mut VcpuContext, call: MemoryCall, ipa: u64) {
    let done = match vm::one_page(ipa) {
        Some(range) => {
            let mut hw = Hw::for_vm(guard.vtcr);
            let Some(guest) = guard.memory.as_mut() else {
                return;
            };
            let mut host = memory::host();
            use redoubt_core::memory::Contents::Keep;
            match call {
                MemoryCall::Share => host.guest_share(&mut hw, guest, range, Keep),
                MemoryCall::Unshare => host.guest_unshare(&mut hw, guest, range, Keep),
                MemoryCall::Relinquish => host.guest_relinquish(&mut hw, guest, range),
            }
            .is_ok()
        }
        None => false,
    };
    smccc::finish_memory_call(context, done);
}

/// A state page must be able to hold a context.
const _: () = assert!(size_of::<VcpuContext>() <= 4096);

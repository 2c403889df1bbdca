//! Entries from the host: hypercalls, SMCs, trapped registers, stage-2 aborts.
//!
//! What an exception means is decided in `redoubt_core::exit`; here it is carried out.

use redoubt_abi::Status;
use redoubt_abi::call::Counter;
use redoubt_core::addr::PAGE_SIZE;
use redoubt_core::exit::{self, Abort, HostAccess, HostDecision, Syndrome};
use redoubt_core::inject::{self, El1Exception, EntryFeatures, ExceptionSource};
use redoubt_core::memory::{Access, HostFault};

use crate::arch::{self, sysreg};
use crate::memory::{self, Hw};
use crate::{dma, hypercall, percpu, psci};

/// General-purpose registers of the host, as vectors.S stores them.
#[derive(Debug)]
#[repr(C)]
pub struct HostRegisters {
    /// X0 to X30.
    pub x: [u64; 31],
    padding: u64,
}

impl HostRegisters {
    /// X0 to X3.
    pub fn first_four(&self) -> [u64; 4] {
        let [x0, x1, x2, x3, ..] = self.x;
        [x0, x1, x2, x3]
    }

    /// Sets X0 to X3.
    pub fn set_first_four(&mut self, values: [u64; 4]) {
        let [x0, x1, x2, x3, ..] = &mut self.x;
        [*x0, *x1, *x2, *x3] = values;
    }
}

/// Moves the host past a trapped instruction.
fn skip_instruction() {
    sysreg::write_elr_el2(sysreg::read_elr_el2().wrapping_add(4));
    // BTYPE and SS describe the instruction that was skipped.
    sysreg::write_spsr_el2(sysreg::read_spsr_el2() & !(3 << 10 | 1 << 21));
}

/// Features of the CPU that decide PSTATE on exception entry.
pub fn entry_features() -> EntryFeatures {
    let pfr1 = sysreg::read_id_aa64pfr1_el1();
    EntryFeatures { mte: (pfr1 >> 8) & 0xf >= 2, nmi: (pfr1 >> 36) & 0xf != 0 }
}

/// Makes the host take an exception at EL1.
fn inject(exception: &El1Exception) {
    let source = ExceptionSource {
        pc: sysreg::read_elr_el2(),
        pstate: sysreg::read_spsr_el2(),
        vbar_el1: sysreg::read_vbar_el1(),
        sctlr_el1: sysreg::read_sctlr_el1(),
    };
    let entry = inject::enter_el1(&source, exception, entry_features());
    sysreg::write_elr_el1(entry.elr_el1);
    sysreg::write_spsr_el1(entry.spsr_el1);
    sysreg::write_esr_el1(entry.esr_el1);
    if let Some(far) = entry.far_el1 {
        sysreg::write_far_el1(far);
    }
    sysreg::write_elr_el2(entry.pc);
    sysreg::write_spsr_el2(entry.pstate);
}

/// A stage-2 abort of the host: another CPU may have changed the table between the fault and now;
/// if the access is still refused, the host gets an exception.
fn resolve(abort: &Abort, syndrome: &Syndrome, registers: &mut HostRegisters) {
    percpu::count(Counter::HostAbort);
    let access = Access::of(abort.fetch, abort.write);
    let address = exit::ipa_from_hpfar(syndrome);
    if let (Some(mmio), true) = (abort.access, abort.long) {
        let register = registers.x.get_mut(usize::from(mmio.register));
        let stored = abort.write.then(|| mmio.stored(register.as_deref().copied().unwrap_or(0)));
        if let Some(data) = dma::emulate(address | (syndrome.far % PAGE_SIZE), &mmio, stored) {
            skip_instruction();
            if let (Some(register), false) = (register, abort.write) {
                *register = mmio.loaded(data);
            }
            return;
        }
    }
    match memory::host().fault(&mut Hw::new(), address, access) {
        HostFault::Retry => return,
        HostFault::Inject => {}
    }
    percpu::count(Counter::HostRefusedAborts);
    inject(&abort.refusal(syndrome.far));
}

/// A trapped register access.
fn emulate(access: &HostAccess, registers: &mut HostRegisters) {
    percpu::count(Counter::HostSysreg);
    skip_instruction();
    if let (Some(value), Some(register)) =
        (access.value, registers.x.get_mut(usize::from(access.rt)))
    {
        *register = value;
    }
}

/// A synchronous exception of the host, from vectors.S.
#[unsafe(no_mangle)]
extern "C" fn handle_host_sync(registers: &mut HostRegisters) {
    percpu::count(Counter::HostEntries);
    let syndrome = Syndrome {
        esr: sysreg::read_esr_el2(),
        far: sysreg::read_far_el2(),
        hpfar: sysreg::read_hpfar_el2(),
    };
    match exit::decide_host(&syndrome) {
        HostDecision::Hypercall => {
            percpu::count(Counter::HostHvc);
            hypercall::handle(registers);
        }
        HostDecision::BadHypercall => {
            percpu::count(Counter::HostHvc);
            registers.set_first_four([Status::NotSupported.to_register(), 0, 0, 0]);
        }
        HostDecision::Firmware => {
            percpu::count(Counter::HostSmc);
            skip_instruction();
            psci::handle_smc(registers);
        }
        HostDecision::Emulate(access) => emulate(&access, registers),
        HostDecision::Resolve(abort) => resolve(&abort, &syndrome, registers),
        HostDecision::Inject(exception) => {
            percpu::count(Counter::HostOther);
            inject(&exception);
        }
        HostDecision::FlushTlb => {
            // A TLB conflict of the host: it may have made the conflicting entries itself.
            percpu::count(Counter::HostOther);
            arch::tlbi_vmalls12e1is();
            arch::dsb_ish();
            arch::isb();
        }
    }
}

/// A physical interrupt while the host ran: HCR_EL2 routes none here. Counted, so that a test sees
/// it; the interrupt stays pending for the host.
#[unsafe(no_mangle)]
extern "C" fn handle_host_interrupt(_: &mut HostRegisters) {
    percpu::count(Counter::HostEntries);
    percpu::count(Counter::HostIrq);
}

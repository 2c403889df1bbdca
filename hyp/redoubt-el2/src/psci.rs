//! Power control: the host's SMCs, and CPUs that come up.
//!
//! The policy is `redoubt_core::psci`. A CPU that the firmware starts enters EL2 first (cpu_entry),
//! and the host's entry point only with stage 2 and all traps in place.

use redoubt_core::addr::{PAGE_SIZE, Pfn};
use redoubt_core::cpu::{CpuIndex, CpuTable};
use redoubt_core::psci::{HostPower, HostPsci, NOT_SUPPORTED};
use redoubt_core::smccc::{self, DeniedLog, HostSmc};
use redoubt_core::transition::HostAccess;
use redoubt_core::vm::BootArguments;

use crate::arch::{self, sysreg};
use crate::host::HostRegisters;
use crate::layout;
use crate::percpu::{self, PerCpu};
use crate::sync::{BootCell, Lock, rank};
use crate::{memory, traps};

/// The CPUs of the machine.
pub static CPUS: BootCell<CpuTable> = BootCell::new();

/// Their power states.
static POWER: Lock<{ rank::CPUS }, HostPower> = Lock::new(HostPower::ALL_OFF);

/// Which functions were denied.
static DENIED: Lock<{ rank::CPUS }, DeniedLog> = Lock::new(DeniedLog::EMPTY);

/// Physical address of the image, for the firmware.
pub static IMAGE_PA: BootCell<u64> = BootCell::new();

/// PSTATE at the host's entry: EL1h, all exceptions masked.
const HOST_ENTRY_PSTATE: u64 = 0x3c5;

/// PSCI CPU_ON, 64 bit.
const CPU_ON: u64 = 0xc400_0003;
/// PSCI CPU_OFF.
const CPU_OFF: u64 = 0x8400_0002;
/// PSCI CPU_SUSPEND, 64 bit.
const CPU_SUSPEND: u64 = 0xc400_0001;
/// PSCI CPU_DEFAULT_SUSPEND, 64 bit.
const CPU_DEFAULT_SUSPEND: u64 = 0xc400_000c;

/// Physical address at which the firmware starts a CPU.
fn entry_address() -> u64 {
    IMAGE_PA.get().wrapping_add(layout::cpu_entry_offset())
}

/// Physical address of a CPU's boot block.
fn boot_block(cpu: CpuIndex) -> u64 {
    crate::boot::percpu_physical(cpu.get()).wrapping_add(core::mem::offset_of!(PerCpu, boot) as u64)
}

/// Marks the boot CPU as on and enters the host's kernel on it.
pub fn start_host(cpu: CpuIndex, kernel: u64, fdt: u64) -> ! {
    POWER.lock().set_on(cpu);
    traps::reset_cpu();
    enter_host(&BootArguments { entry: kernel, context: fdt })
}

/// Enters the host at an address of its own.
fn enter_host(arguments: &BootArguments) -> ! {
    sysreg::write_elr_el2(arguments.entry);
    sysreg::write_spsr_el2(HOST_ENTRY_PSTATE);
    arch::start_host(arguments.context, percpu::this().boot.stack)
}

/// Where cpu_entry goes on a CPU that the firmware started for the host.
#[unsafe(no_mangle)]
pub extern "C" fn cpu_main() -> ! {
    check_cpu();
    let arguments = POWER.lock().arrive(percpu::this().index);
    match arguments {
        Some(arguments) => {
            traps::reset_cpu();
            if let Some(smmus) = memory::host().smmus() {
                smmus.check(&mut memory::Hw::new());
            }
            enter_host(&arguments)
        }
        None => loop {
            // Nobody asked for this CPU: it must not run the host.
            arch::smc([CPU_OFF, 0, 0, 0]);
            arch::wfe();
        },
    }
}

/// Refuses a CPU that is not what its boot block says, or that differs from the first one in a
/// feature that decides what guests see and what is trapped.
fn check_cpu() {
    let expected = CPUS.get().index_of_register(sysreg::read_mpidr_el1());
    let alike = *crate::vm::HARDWARE_IDS.get() == crate::boot::hardware_ids();
    if expected != Some(percpu::this().index) || !alike {
        POWER.lock().begin_off(percpu::this().index);
        loop {
            arch::smc([CPU_OFF, 0, 0, 0]);
            arch::wfe();
        }
    }
}

/// An SMC of the host. The answer is in X0 to X3; the other registers are preserved.
pub fn handle_smc(registers: &mut HostRegisters) {
    let arguments = registers.first_four();
    let answer = match smccc::host_smc(&arguments, CPUS.get(), is_host_ram) {
        HostSmc::Forward => arch::smc(narrow(arguments)),
        HostSmc::Psci(request) => [handle_psci(&request, arguments), 0, 0, 0],
        HostSmc::Deny => {
            #[allow(clippy::cast_possible_truncation)]
            DENIED.lock().note(first(arguments) as u32);
            [NOT_SUPPORTED, 0, 0, 0]
        }
    };
    registers.set_first_four(answer);
}

/// The function identifier of a denied SMC, for the call DENIED. The console is the host's while the
/// host runs: EL2 does not touch it.
pub fn denied(index: usize) -> Option<u32> {
    DENIED.lock().get(index)
}

/// A PSCI call of the host; the answer is in X0.
fn handle_psci(request: &HostPsci, registers: [u64; 4]) -> u64 {
    let this = percpu::this().index;
    match *request {
        HostPsci::Return(value) => value,
        HostPsci::Forward => first(arch::smc(narrow(registers))),
        HostPsci::CpuOn { target, boot } => cpu_on(target, boot),
        HostPsci::CpuOff => {
            POWER.lock().begin_off(this);
            let code = first(arch::smc([CPU_OFF, 0, 0, 0]));
            POWER.lock().set_on(this);
            code
        }
        HostPsci::NotPsci => NOT_SUPPORTED,
        HostPsci::CpuSuspend { power_state, boot } => {
            let (entry, block) = (entry_address(), boot_block(this));
            // When the firmware powers the CPU down it comes back through cpu_main, otherwise here.
            // Always in the 64-bit form: EL2's entry point may lie above 4 GiB, whatever the host used.
            POWER.lock().begin_suspend(this, boot);
            let code = first(arch::smc(match power_state {
                Some(power_state) => [CPU_SUSPEND, power_state, entry, block],
                None => [CPU_DEFAULT_SUSPEND, entry, block, 0],
            }));
            POWER.lock().set_on(this);
            code
        }
        HostPsci::SystemDown => {
            crate::vm::scrub_all();
            let code = first(arch::smc(narrow(registers)));
            // Only a firmware that does not have the call comes back.
            crate::vm::carry_on();
            code
        }
    }
}

/// What the firmware sees of a call: the function identifier is W0, and a 32-bit call has 32-bit
/// arguments (SMCCC, 2.7). What was decided about is what is executed.
fn narrow([function, arguments @ ..]: [u64; 4]) -> [u64; 4] {
    const WORD: u64 = 0xffff_ffff;
    /// SMC64.
    const WIDE: u64 = 1 << 30;
    let mask = if function & WIDE != 0 { u64::MAX } else { WORD };
    let [first, second, third] = arguments.map(|argument| argument & mask);
    [function & WORD, first, second, third]
}

/// X0 of a result.
fn first([x0, ..]: [u64; 4]) -> u64 {
    x0
}

/// CPU_ON: claims the target, then asks the firmware, without a lock.
fn cpu_on(target: CpuIndex, boot: BootArguments) -> u64 {
    let claim = match POWER.lock().claim_on(target, boot) {
        Ok(claim) => claim,
        Err(code) => return code,
    };
    let mpidr = CPUS.get().mpidr(target);
    let code = first(arch::smc([CPU_ON, mpidr, entry_address(), boot_block(target)]));
    if code != 0 {
        POWER.lock().abort_on(claim);
    }
    code
}

/// Whether the host may execute at an address.
fn is_host_ram(address: u64) -> bool {
    let page = Pfn::new(address / PAGE_SIZE);
    let frame = page.and_then(|page| memory::host().frame(page).ok());
    frame.is_some_and(|frame| frame.host_access() == HostAccess::Owned)
}

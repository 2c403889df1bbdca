//! The run page: what the host tells EL2 when a vCPU enters, and what EL2 tells the host when it
//! exits.
//!
//! The page belongs to the host, which may write to it at any time. EL2 reads every field of the
//! entry part once, in one go, before it looks at any; and writes the exit part. All fields are
//! little-endian 64-bit words; offsets are in bytes. Words not listed are reserved: EL2 neither
//! reads nor writes them.

use crate::call::numbers;

/// Most list registers the page has room for (GICv3 implements at most 16).
pub const MAX_LIST_REGISTERS: usize = 16;

/// Entry: flags, see `ENTRY_*`. Other bits must be zero.
pub const ENTRY_FLAGS: usize = 0x000;
/// Entry: value read from the device, for an exit `MmioRead`.
pub const ENTRY_MMIO_DATA: usize = 0x008;
/// Entry: how many of the list registers below are used.
pub const ENTRY_LR_COUNT: usize = 0x010;
/// Entry: list registers in the format of ICH_LR<n>_EL2. HW may be set only for the virtual timer,
/// with vINTID and pINTID equal to INFO(VIRTUAL_TIMER_INTID).
pub const ENTRY_LR: usize = 0x018;
/// Entry: maintenance interrupt requests, see `MAINTENANCE_*`. Other bits must be zero.
pub const ENTRY_MAINTENANCE: usize = 0x098;

/// Exit: number of [`ExitReason`].
pub const EXIT_REASON: usize = 0x100;
/// Exit: up to six values, their meaning follows from the reason.
pub const EXIT_ARGS: usize = 0x108;
/// Exit: CNTV_CTL_EL0 of the guest, with ISTATUS.
pub const EXIT_TIMER_CTL: usize = 0x138;
/// Exit: value of the physical counter at which the guest's virtual timer fires.
pub const EXIT_TIMER_DEADLINE: usize = 0x140;
/// Exit: number of list registers that follow, the same as on entry.
pub const EXIT_LR_COUNT: usize = 0x148;
/// Exit: list registers.
pub const EXIT_LR: usize = 0x150;
/// Exit: ICH_MISR_EL2.
pub const EXIT_MISR: usize = 0x1d0;
/// Exit: ICH_VMCR_EL2, so that the driver can tell whether an interrupt would wake the vCPU.
pub const EXIT_VMCR: usize = 0x1d8;

/// `ENTRY_FLAGS` bit: the last exit was `MmioRead` or `MmioWrite` and is complete; the value of a
/// read is in `ENTRY_MMIO_DATA`. Without it the instruction is executed again.
pub const ENTRY_MMIO_DONE: u64 = 1 << 0;
/// `ENTRY_FLAGS` bit: the last exit was `MmioRead`, `MmioWrite` or `MemoryFault` and nothing is at
/// that address: the guest takes a synchronous external abort.
pub const ENTRY_ABORT: u64 = 1 << 1;

/// `ENTRY_MAINTENANCE` bit: exit when none or one list register is still used (ICH_HCR_EL2.UIE).
pub const MAINTENANCE_UNDERFLOW: u64 = 1 << 1;
/// `ENTRY_MAINTENANCE` bit: exit when no list register is pending (ICH_HCR_EL2.NPIE).
pub const MAINTENANCE_NO_PENDING: u64 = 1 << 3;

numbers! {
    /// Why VCPU_RUN came back.
    ExitReason {
        /// A physical interrupt is pending for the host.
        Interrupt = 1, "INTERRUPT";
        /// The guest waits for an interrupt (WFI, or PSCI CPU_SUSPEND). Its timer state is in the exit part.
        WaitForInterrupt = 2, "WAIT_FOR_INTERRUPT";
        /// The guest waits for an event (WFE): the host may schedule something else.
        WaitForEvent = 3, "WAIT_FOR_EVENT";
        /// Read from a device; args: address, size in bytes.
        MmioRead = 4, "MMIO_READ";
        /// Write to a device; args: address, size in bytes, value.
        MmioWrite = 5, "MMIO_WRITE";
        /// Access to memory that is not mapped, or an access to a device that no instruction syndrome describes; args: address, 1 if a write, 1 if an instruction fetch, 1 if in a range of VM_SET_MEMORY.
        MemoryFault = 6, "MEMORY_FAULT";
        /// The guest wrote ICC_SGI1R_EL1; args: value.
        SoftwareInterrupt = 7, "SOFTWARE_INTERRUPT";
        /// The guest switched on another vCPU, which may be run now; args: index of that vCPU.
        CpuOn = 8, "CPU_ON";
        /// The guest switched this vCPU off.
        CpuOff = 9, "CPU_OFF";
        /// The guest asked for power off.
        SystemOff = 10, "SYSTEM_OFF";
        /// The guest asked for a reset; args: reset type of PSCI SYSTEM_RESET2, or zero.
        SystemReset = 11, "SYSTEM_RESET";
        /// The vCPU cannot go on: it executed what Redoubt cannot carry out; args: ESR_EL2 without the value of any register.
        InternalError = 12, "INTERNAL_ERROR";
        /// An SError was taken while the guest ran.
        SystemError = 13, "SYSTEM_ERROR";
    }
}

//! What each CPU has for itself at EL2.
//!
//! TPIDR_EL2 holds the address of the CPU's [`PerCpu`]. EL2 runs with all exceptions masked and is
//! never preempted, and a `PerCpu` is used by its own CPU only (but for the counters, which are
//! atomic, and the boot block, which is written before the CPU is on); so plain cells are enough.

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicU64, Ordering};

use redoubt_abi::call::Counter;
use redoubt_core::cpu::CpuIndex;
use redoubt_core::vcpu::VcpuContext;
use redoubt_core::vgic::ListRegisters;
use redoubt_core::vm::MAX_VMS;

use crate::arch::sysreg;
use crate::layout::{PERCPU_BYTES, PERCPU_OFFSET, PERCPU_STRIDE, PERCPU_VA};

/// Number of counters.
pub const COUNTERS: usize = Counter::ALL.len();

/// What `cpu_entry` loads before it has a stack. The order is known to entry.S.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CpuBoot {
    /// TTBR0_EL2.
    pub ttbr: u64,
    /// TCR_EL2.
    pub tcr: u64,
    /// MAIR_EL2.
    pub mair: u64,
    /// SCTLR_EL2.
    pub sctlr: u64,
    /// SP_EL2.
    pub stack: u64,
    /// TPIDR_EL2.
    pub percpu: u64,
    /// VBAR_EL2.
    pub vectors: u64,
    /// Where to go.
    pub entry: u64,
}

/// Data of one CPU.
#[repr(C)]
pub struct PerCpu {
    /// Register array of the running guest; known to vectors.S.
    guest_registers: Cell<u64>,
    /// For `cpu_entry`.
    pub boot: CpuBoot,
    /// Which CPU this is.
    pub index: CpuIndex,
    /// Ranks of the locks held, in debug builds.
    ranks: Cell<u32>,
    /// Event counts.
    counters: [AtomicU64; COUNTERS],
    /// EL1 state of the host while a guest runs.
    pub host: UnsafeCell<VcpuContext>,
    /// Which vCPU of each VM slot ran here last.
    last_vcpus: [Cell<usize>; MAX_VMS],
    /// List registers of the vCPU that is entered.
    pub list_registers: UnsafeCell<ListRegisters>,
}

const _: () = assert!(core::mem::offset_of!(PerCpu, guest_registers) == 0);
const _: () = assert!(size_of::<PerCpu>() <= PERCPU_BYTES as usize);
const _: () = assert!(COUNTERS <= 16);

/// Address of a CPU's data.
pub const fn address(cpu: u64) -> u64 {
    PERCPU_VA.saturating_add(cpu.saturating_mul(PERCPU_STRIDE)).saturating_add(PERCPU_OFFSET)
}

/// Writes the initial data of a CPU.
///
/// # Safety
/// The pages at [`address`] are mapped, and the CPU is off.
pub unsafe fn initialise(index: CpuIndex, boot: CpuBoot) {
    let place = address(index.get() as u64) as *mut PerCpu;
    let value = PerCpu {
        guest_registers: Cell::new(0),
        boot,
        index,
        ranks: Cell::new(0),
        counters: [const { AtomicU64::new(0) }; COUNTERS],
        host: UnsafeCell::new(VcpuContext::default()),
        last_vcpus: [const { Cell::new(usize::MAX) }; MAX_VMS],
        list_registers: UnsafeCell::new(ListRegisters::EMPTY),
    };
    // SAFETY: the caller guarantees the mapping, and that nobody uses it yet.
    unsafe { place.write(value) };
}

/// This CPU's data.
#[inline(always)]
pub fn this() -> &'static PerCpu {
    let address = sysreg::read_tpidr_el2() as *const PerCpu;
    // SAFETY: cpu_entry loads TPIDR_EL2 with the address of this CPU's initialised PerCpu, and
    // nothing else writes that register.
    unsafe { &*address }
}

/// Counts an event on this CPU.
#[inline(always)]
pub fn count(counter: Counter) {
    if cfg!(feature = "counters")
        && let Some(value) = this().counters.get(counter as usize)
    {
        value.store(value.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

/// Reads a counter of any CPU.
pub fn counter(cpu: CpuIndex, counter: Counter) -> u64 {
    let place = address(cpu.get() as u64) as *const PerCpu;
    // SAFETY: a CpuIndex exists only for CPUs of the FDT, whose data was initialised at boot; the
    // counters are atomic.
    let counters = unsafe { &(*place).counters };
    counters.get(counter as usize).map_or(0, |value| value.load(Ordering::Relaxed))
}

/// Keeps what one vCPU left in this CPU's TLB from another vCPU of the same VM: to the guest they are
/// different CPUs, which need not agree on what an ASID stands for. Called with the VM's VMID
/// loaded. A new VM's VMID was removed from all TLBs when the VM was created.
pub fn separate_vcpus(slot: usize, vcpu: usize) {
    if let Some(last) = this().last_vcpus.get(slot)
        && last.replace(vcpu) != vcpu
    {
        crate::arch::tlbi_vmalle1_local();
    }
}

/// Notes that a lock is taken.
#[cfg(debug_assertions)]
pub fn take_rank(rank: u8) {
    if sysreg::read_tpidr_el2() == 0 {
        return;
    }
    let ranks = &this().ranks;
    if ranks.get() >> rank != 0 {
        crate::fatal::stop("lock order violated");
    }
    ranks.set(ranks.get() | 1 << rank);
}

/// Notes that a lock is released.
#[cfg(debug_assertions)]
pub fn release_rank(rank: u8) {
    if sysreg::read_tpidr_el2() != 0 {
        let ranks = &this().ranks;
        ranks.set(ranks.get() & !(1 << rank));
    }
}

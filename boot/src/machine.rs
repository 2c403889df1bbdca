//! What the device tree says about the machine, checked and in fixed-size form.
//!
//! Everything that the hypervisor needs to know before it owns the machine: which pages are RAM,
//! which are devices' registers, which CPUs exist and how they start, and where its own three
//! devices (interrupt controller, timer, console) are; and what else can write to memory. One pass over the tree per question; the
//! answers hold no reference to the tree.
//!
//! Invariants of a [`MachineInfo`]: memory is whole pages, sorted, disjoint, not empty; device
//! ranges are whole pages, sorted, disjoint, and share no page with anything the tree calls
//! memory, not even a page that is memory only in part; CPU ids are distinct; with more than one
//! CPU there is PSCI.
//!
//! Each question is a function that is not inlined: they run one after another on the boot CPU's
//! small stack, and inlined into one frame their paths and lists would all lie there at once.
//!
//! Trusts the tree for which addresses are RAM: nothing at EL2 can check that.

mod console;
mod cpus;
mod devices;
mod interrupts;
mod masters;
mod memory;

pub use console::Console;
pub use cpus::{Conduit, Cpu, MAX_CPUS, MPIDR_AFFINITY_MASK, Psci};
pub use devices::MAX_DEVICE_RANGES;
pub use interrupts::{GicV3, MAX_REDISTRIBUTOR_REGIONS, PPI_BASE, TimerInterrupts};
pub(crate) use interrupts::{is_gic_node, is_timer_node};
pub use masters::{
    HostBridge, MAX_HOST_BRIDGES, MAX_ITS, MAX_SMMUS, MAX_STREAM_RANGES, SmmuNode, StreamRange,
};
pub(crate) use masters::{is_smmu_node, is_withdrawn_node};
pub(crate) use memory::is_memory_node;
pub use memory::{MAX_MEMORY_RANGES, MAX_RESERVED_RANGES, ReservedRange};

use crate::array_vec::ArrayVec;
use crate::error::BootError;
use crate::fdt::Fdt;
use crate::range::{PhysRange, RangeSet};
use crate::unguarded::Unguarded;
use masters::Masters;

/// What the device tree says about the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineInfo {
    /// RAM: whole pages, in ascending order. Adjacent memory nodes are joined.
    pub memory: RangeSet<MAX_MEMORY_RANGES>,
    /// RAM that someone else uses, or that must not be mapped: whole pages, in stored order.
    pub reserved: ArrayVec<ReservedRange, MAX_RESERVED_RANGES>,
    /// The CPUs, in stored order.
    pub cpus: ArrayVec<Cpu, MAX_CPUS>,
    /// How CPUs are started; always there when there is more than one CPU.
    pub psci: Option<Psci>,
    /// The interrupt controller.
    pub gic: GicV3,
    /// The architected timer's interrupts.
    pub timer: TimerInterrupts,
    /// The UART to speak through, if there is one that can be driven.
    pub console: Option<Console>,
    /// The initial RAM disk that the loader put into memory, to the byte.
    pub initrd: Option<PhysRange>,
    /// Registers and PCI windows that the host may reach: whole pages, in ascending order. Those
    /// of SMMUs and ITSs are among them; those of devices that are withdrawn are not.
    pub devices: RangeSet<MAX_DEVICE_RANGES>,
    /// The SMMUs, and which of their streams are the host's.
    pub smmus: ArrayVec<SmmuNode, MAX_SMMUS>,
    /// The interrupt translation services: their control and translation frames.
    pub its: ArrayVec<PhysRange, MAX_ITS>,
    /// The PCI host bridges, also those without an SMMU.
    pub host_bridges: ArrayVec<HostBridge, MAX_HOST_BRIDGES>,
    /// QEMU's fw_cfg, which is withdrawn from the host, for [`crate::iort`]: it lies in one page.
    pub fw_cfg: Option<PhysRange>,
    /// Why something could write to memory unwatched, if the tree shows that it could.
    pub unguarded: Option<Unguarded>,
}

impl MachineInfo {
    /// Reads the machine out of its device tree.
    #[inline(never)]
    pub fn from_fdt(fdt: &Fdt<'_>) -> Result<Self, BootError> {
        let (memory, exact_memory) = memory::collect_memory(fdt)?;
        let cpus = cpus::collect_cpus(fdt)?;
        let gic = interrupts::find_gic(fdt)?;
        let mut masters = Masters::default();
        masters::collect_masters(fdt, &mut masters)?;
        Ok(Self {
            memory,
            reserved: memory::collect_reserved(fdt)?,
            psci: cpus::find_psci(fdt, cpus.len())?,
            timer: interrupts::find_timer(fdt, gic.interrupt_cells)?,
            console: console::find_console(fdt)?,
            initrd: memory::find_initrd(fdt)?,
            devices: devices::collect_devices(fdt, &gic, &exact_memory)?,
            smmus: masters.smmus,
            its: masters.its,
            host_bridges: masters.host_bridges,
            fw_cfg: masters.fw_cfg,
            unguarded: masters.unguarded,
            cpus,
            gic,
        })
    }
}

#[cfg(test)]
mod tests;

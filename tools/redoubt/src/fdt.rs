//! The device tree that tells the guest what machine it is on.
//!
//! Decides the guest's view of CPUs, memory, interrupt controller, timer, UART and firmware; all
//! addresses come from [`crate::layout`]. Invariant: the tree names only what the virtual machine
//! has. Specs: Devicetree Specification 0.4; the Linux bindings arm/cpus, arm/psci,
//! interrupt-controller/arm,gic-v3, timer/arm,arch_timer, serial/8250.

#[cfg(test)]
mod tests;

use thiserror::Error;
use vm_fdt::FdtWriter;

use crate::layout::{self, GIC_DISTRIBUTOR, Layout, MAX_FDT_BYTES, Region, UART, UART_SPI};
use crate::uart::CLOCK_HZ;

/// The GIC's phandle; the only one in the tree.
const PHANDLE_GIC: u32 = 1;

/// First cell of a GIC interrupt specifier: shared peripheral interrupt.
const GIC_SPI: u32 = 0;
/// First cell of a GIC interrupt specifier: private peripheral interrupt.
const GIC_PPI: u32 = 1;
/// Third cell: level-triggered, active high.
const IRQ_LEVEL_HIGH: u32 = 4;
/// Third cell: level-triggered, active low.
const IRQ_LEVEL_LOW: u32 = 8;

/// The architected timer's PPIs, in the binding's order: secure physical, non-secure physical,
/// virtual, hypervisor physical. Counted from INTID 16.
const TIMER_PPIS: [u32; 4] = [13, 14, 11, 10];

/// The part of MPIDR_EL1 that identifies a CPU: Aff3 and Aff2..Aff0.
pub const MPIDR_AFFINITY_MASK: u64 = 0xff_00ff_ffff;

/// Bytes of entropy handed to the guest's random number generator.
pub const RNG_SEED_BYTES: usize = 64;

/// Random bits that the guest starts with.
///
/// A protected guest must not rely on them alone: they come from the untrusted host.
#[derive(Clone, Debug)]
pub struct Seeds {
    /// Picks the kernel's virtual address.
    pub kaslr: u64,
    /// Feeds the random number generator.
    pub rng: [u8; RNG_SEED_BYTES],
}

/// What a device tree is built from.
#[derive(Clone, Debug)]
pub struct Machine<'a> {
    /// Where everything is in RAM.
    pub layout: &'a Layout,
    /// MPIDR_EL1 of each vCPU, in order.
    pub mpidrs: &'a [u64],
    /// The kernel's command line.
    pub cmdline: &'a str,
    /// Random bits for the guest.
    pub seeds: &'a Seeds,
}

/// Why no device tree could be built.
#[derive(Debug, Error)]
pub enum FdtError {
    /// The writer refused a node or property.
    #[error("cannot build the device tree: {0}")]
    Writer(#[from] vm_fdt::Error),
    /// The tree outgrew the room that the boot protocol gives it.
    #[error("the device tree of {0} bytes exceeds the 2 MiB that a kernel accepts")]
    TooLarge(usize),
}

/// Builds the device tree blob.
pub fn build(machine: &Machine<'_>) -> Result<Vec<u8>, FdtError> {
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_string("compatible", "linux,dummy-virt")?;
    fdt.property_string("model", "Redoubt virtual machine")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_u32("interrupt-parent", PHANDLE_GIC)?;
    chosen(&mut fdt, machine)?;
    memory(&mut fdt, machine.layout.ram)?;
    cpus(&mut fdt, machine.mpidrs)?;
    psci(&mut fdt)?;
    gic(&mut fdt, machine.mpidrs.len())?;
    timer(&mut fdt)?;
    serial(&mut fdt)?;
    fdt.end_node(root)?;
    let blob = fdt.finish()?;
    if blob.len() as u64 > MAX_FDT_BYTES {
        return Err(FdtError::TooLarge(blob.len()));
    }
    Ok(blob)
}

/// The path of the UART's node.
fn serial_path() -> String {
    format!("/{}", node_name("serial", UART.base))
}

/// Names a node after its address.
fn node_name(kind: &str, address: u64) -> String {
    format!("{kind}@{address:x}")
}

fn chosen(fdt: &mut FdtWriter, machine: &Machine<'_>) -> Result<(), vm_fdt::Error> {
    let node = fdt.begin_node("chosen")?;
    fdt.property_string("bootargs", machine.cmdline)?;
    fdt.property_string("stdout-path", &serial_path())?;
    if let Some(initrd) = machine.layout.initrd {
        fdt.property_u64("linux,initrd-start", initrd.base)?;
        fdt.property_u64("linux,initrd-end", initrd.end())?;
    }
    fdt.property_u64("kaslr-seed", machine.seeds.kaslr)?;
    fdt.property("rng-seed", &machine.seeds.rng)?;
    fdt.end_node(node)
}

fn memory(fdt: &mut FdtWriter, ram: Region) -> Result<(), vm_fdt::Error> {
    let node = fdt.begin_node(&node_name("memory", ram.base))?;
    fdt.property_string("device_type", "memory")?;
    fdt.property_array_u64("reg", &[ram.base, ram.size])?;
    fdt.end_node(node)
}

fn cpus(fdt: &mut FdtWriter, mpidrs: &[u64]) -> Result<(), vm_fdt::Error> {
    let node = fdt.begin_node("cpus")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 0)?;
    for mpidr in mpidrs {
        let affinity = mpidr & MPIDR_AFFINITY_MASK;
        let cpu = fdt.begin_node(&node_name("cpu", affinity))?;
        fdt.property_string("device_type", "cpu")?;
        fdt.property_string("compatible", "arm,armv8")?;
        fdt.property_string("enable-method", "psci")?;
        fdt.property_u64("reg", affinity)?;
        fdt.end_node(cpu)?;
    }
    fdt.end_node(node)
}

fn psci(fdt: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
    let node = fdt.begin_node("psci")?;
    let compatible = ["arm,psci-1.0", "arm,psci-0.2"].map(String::from).to_vec();
    fdt.property_string_list("compatible", compatible)?;
    fdt.property_string("method", "hvc")?;
    fdt.end_node(node)
}

fn gic(fdt: &mut FdtWriter, cpus: usize) -> Result<(), vm_fdt::Error> {
    let redistributors = layout::gic_redistributors(cpus as u32);
    let node = fdt.begin_node(&node_name("interrupt-controller", GIC_DISTRIBUTOR.base))?;
    fdt.property_string("compatible", "arm,gic-v3")?;
    fdt.property_null("interrupt-controller")?;
    fdt.property_u32("#interrupt-cells", 3)?;
    fdt.property_array_u64(
        "reg",
        &[GIC_DISTRIBUTOR.base, GIC_DISTRIBUTOR.size, redistributors.base, redistributors.size],
    )?;
    fdt.property_phandle(PHANDLE_GIC)?;
    fdt.end_node(node)
}

fn timer(fdt: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
    let node = fdt.begin_node("timer")?;
    fdt.property_string("compatible", "arm,armv8-timer")?;
    let cells = TIMER_PPIS.map(|ppi| [GIC_PPI, ppi, IRQ_LEVEL_LOW]).concat();
    fdt.property_array_u32("interrupts", &cells)?;
    fdt.property_null("always-on")?;
    fdt.end_node(node)
}

fn serial(fdt: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
    let node = fdt.begin_node(&node_name("serial", UART.base))?;
    fdt.property_string("compatible", "ns16550a")?;
    fdt.property_array_u64("reg", &[UART.base, UART.size])?;
    fdt.property_array_u32("interrupts", &[GIC_SPI, UART_SPI, IRQ_LEVEL_HIGH])?;
    fdt.property_u32("clock-frequency", CLOCK_HZ)?;
    fdt.property_u32("current-speed", 115_200)?;
    fdt.end_node(node)
}

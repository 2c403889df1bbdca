//! The CPUs and how they are started.
//!
//! A CPU that the tree calls `disabled` counts: it may be started later, and the hypervisor must
//! then have a place for it. Only one that it calls failed does not.

use crate::array_vec::ArrayVec;
use crate::error::BootError;
use crate::fdt::{Fdt, Path};

/// How many CPUs there is room for.
pub const MAX_CPUS: usize = 32;

/// The affinity fields of MPIDR_EL1 (Arm ARM D24.2): what `reg` of a CPU node holds.
pub const MPIDR_AFFINITY_MASK: u64 = 0xff_00ff_ffff;

/// A CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// The affinity fields of its MPIDR_EL1.
    pub mpidr: u64,
}

/// The instruction that calls the firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// SMC.
    Smc,
    /// HVC: the firmware is a hypervisor below us.
    Hvc,
}

/// A firmware that speaks PSCI 0.2 or later, with the standard function numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Psci {
    /// How it is called.
    pub conduit: Conduit,
}

/// Tells whether the node is a CPU that works.
fn is_cpu_node(path: &Path<'_>) -> bool {
    let node = path.node();
    path.depth() == 2
        && path.is_in(b"cpus")
        && node.property(b"device_type").is_some_and(|kind| kind.value == b"cpu\0")
        && !node.property(b"status").is_some_and(|status| status.value.starts_with(b"fail"))
}

/// Collects the CPUs.
#[inline(never)]
pub(crate) fn collect_cpus(fdt: &Fdt<'_>) -> Result<ArrayVec<Cpu, MAX_CPUS>, BootError> {
    let mut cpus = ArrayVec::<Cpu, MAX_CPUS>::new();
    // The first CPU that does not start through PSCI matters only if there is another CPU.
    let mut not_psci = None;
    let mut walk = fdt.walk();
    while let Some(path) = walk.next_node() {
        if !is_cpu_node(path) {
            continue;
        }
        let name = path.node().display_name();
        let mut reg = path.reg()?;
        let (mpidr, _) = reg.next().ok_or(BootError::MissingProperty(name, "reg"))??;
        if reg.next().is_some() || mpidr & !MPIDR_AFFINITY_MASK != 0 {
            return Err(BootError::BadProperty(name, "reg"));
        }
        if cpus.iter().any(|cpu| cpu.mpidr == mpidr) {
            return Err(BootError::DuplicateCpu(name));
        }
        cpus.push(Cpu { mpidr }).map_err(|_| BootError::TooManyCpus(name))?;
        let method = path.node().property(b"enable-method");
        if method.is_none_or(|method| method.value != b"psci\0") {
            not_psci = not_psci.or(Some(name));
        }
    }
    match (cpus.len(), not_psci) {
        (0, _) => Err(BootError::NoCpus),
        (1, _) | (_, None) => Ok(cpus),
        (_, Some(name)) => Err(BootError::CpuEnableMethod(name)),
    }
}

/// Finds the PSCI node, which must be there if there is more than one CPU.
#[inline(never)]
pub(crate) fn find_psci(fdt: &Fdt<'_>, cpu_count: usize) -> Result<Option<Psci>, BootError> {
    let mut walk = fdt.walk();
    while let Some(path) = walk.next_node() {
        let node = path.node();
        let standard = node.is_compatible(b"arm,psci-1.0") || node.is_compatible(b"arm,psci-0.2");
        if !path.is_enabled() || !(standard || node.is_compatible(b"arm,psci")) {
            continue;
        }
        let name = node.display_name();
        if !standard {
            return Err(BootError::PsciTooOld(name));
        }
        let method = node.property(b"method").ok_or(BootError::MissingProperty(name, "method"))?;
        let conduit = match method.value {
            b"smc\0" => Conduit::Smc,
            b"hvc\0" => Conduit::Hvc,
            _ => return Err(BootError::BadProperty(name, "method")),
        };
        return Ok(Some(Psci { conduit }));
    }
    if cpu_count > 1 { Err(BootError::NoPsci) } else { Ok(None) }
}

//! Physical CPUs.
//!
//! Decides which affinity value names which CPU. The table is filled once at boot, in the order of
//! the device tree's `/cpus`, and only read afterwards; a [`CpuIndex`] exists only for a CPU that
//! is in the table. The affinity values come from the device tree and are checked here; that they
//! are those of the hardware is checked by every CPU when it arrives at EL2 (Arm ARM D19.2,
//! MPIDR_EL1).

/// Most physical CPUs that are known.
pub const MAX_CPUS: usize = 32;

/// The affinity fields of MPIDR_EL1: Aff3, Aff2, Aff1 and Aff0.
pub const AFFINITY_MASK: u64 = 0xff_00ff_ffff;

/// A physical CPU of the [`CpuTable`], by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuIndex(u8);

impl CpuIndex {
    /// Returns the position, below [`MAX_CPUS`].
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// Why a CPU was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuTableError {
    /// Bits outside the affinity fields are set.
    ReservedBits,
    /// A CPU of that affinity is in the table.
    Duplicate,
    /// There are [`MAX_CPUS`] CPUs already.
    Full,
}

/// The physical CPUs of the machine.
#[derive(Debug)]
pub struct CpuTable {
    affinities: [u64; MAX_CPUS],
    count: u8,
}

impl CpuTable {
    /// A table without CPUs.
    pub const EMPTY: Self = Self { affinities: [0; MAX_CPUS], count: 0 };

    /// Adds the CPU with affinity `mpidr`, as the device tree's `reg` states it.
    ///
    /// # Errors
    /// When the value is no affinity, is known, or the table is full; the table is unchanged.
    pub fn add(&mut self, mpidr: u64) -> Result<CpuIndex, CpuTableError> {
        if mpidr & !AFFINITY_MASK != 0 {
            return Err(CpuTableError::ReservedBits);
        }
        if self.index_of(mpidr).is_some() {
            return Err(CpuTableError::Duplicate);
        }
        let slot = self.affinities.get_mut(usize::from(self.count)).ok_or(CpuTableError::Full)?;
        *slot = mpidr;
        let index = CpuIndex(self.count);
        self.count = self.count.saturating_add(1);
        Ok(index)
    }

    /// Finds the CPU of a value read from MPIDR_EL1, whose MT, U and RES1 bits are passed over.
    #[must_use]
    pub fn index_of_register(&self, mpidr: u64) -> Option<CpuIndex> {
        self.index_of(mpidr & AFFINITY_MASK)
    }

    /// Finds the CPU of an exact affinity; a value with any other bit set names no CPU.
    #[must_use]
    pub fn index_of(&self, affinity: u64) -> Option<CpuIndex> {
        let known = self.affinities.iter().zip(0..self.count);
        known.filter(|(known, _)| **known == affinity).map(|(_, index)| CpuIndex(index)).next()
    }

    /// Returns the affinity of a CPU.
    #[must_use]
    pub fn mpidr(&self, cpu: CpuIndex) -> u64 {
        self.affinities.get(cpu.get()).copied().unwrap_or(0)
    }

    /// Makes an index from a number.
    #[must_use]
    pub fn index(&self, number: usize) -> Option<CpuIndex> {
        let index = u8::try_from(number).ok()?;
        (index < self.count).then_some(CpuIndex(index))
    }

    /// Returns the number of CPUs.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(&self) -> usize {
        self.count as usize
    }
}

/// Implementer field of MIDR_EL1 of the CPUs that Arm designed.
const IMPLEMENTER_ARM: u64 = 0x41;

/// Tells whether each TLB invalidation is to be done twice on a CPU with this MIDR_EL1. Several cores of
/// Arm's can keep an entry that was used while the first one ran (Cortex-A76 erratum 1286807,
/// Cortex-A55 2441007, Cortex-A510 2441009, and what is not known yet): it is on for all of Arm's, and
/// costs one DSB and one TLBI.
#[must_use]
pub const fn repeats_tlbi(midr: u64) -> bool {
    (midr >> 24) & 0xff == IMPLEMENTER_ARM
}

#[cfg(test)]
mod tests;

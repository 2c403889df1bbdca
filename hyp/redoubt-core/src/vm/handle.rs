//! Handles of VMs and the slots they name.
//!
//! Decides which slot a new VM gets. A handle is a slot, the generation of its use and a tag, so that
//! zero, small numbers, and handles of VMs that are gone name nothing. The VMID follows from the slot;
//! slots are unique among live VMs, and the TLB entries of a VMID are invalidated on all CPUs when a VM is
//! created and again when it is destroyed, so no entry of the last VM in a slot is left for the next.

use redoubt_abi::Status;

/// Most VMs at a time.
pub const MAX_VMS: usize = 32;

/// Bits 63:48 of every handle.
const TAG: u64 = 0x5664;
const TAG_SHIFT: u32 = 48;
/// Bits 47:8: generation, at least 1.
const GENERATION_SHIFT: u32 = 8;
const GENERATION_LIMIT: u64 = 1 << 40;
/// Bits 7:0: slot.
const SLOT_MASK: u64 = 0xff;

const _: () = assert!(MAX_VMS <= 0xff && MAX_VMS <= 32);

/// Names a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VmHandle {
    slot: u8,
    generation: u64,
}

impl VmHandle {
    /// Decodes a handle that the host states. Whether that VM lives is for
    /// [`super::Vm::check`] to say.
    ///
    /// # Errors
    /// [`Status::NoSuchVm`] for what can be no handle.
    pub fn from_register(value: u64) -> Result<Self, Status> {
        let slot = u8::try_from(value & SLOT_MASK).map_err(|_| Status::NoSuchVm)?;
        let generation = (value >> GENERATION_SHIFT) & (GENERATION_LIMIT - 1);
        if value >> TAG_SHIFT == TAG && usize::from(slot) < MAX_VMS && generation != 0 {
            Ok(Self { slot, generation })
        } else {
            Err(Status::NoSuchVm)
        }
    }

    /// Encodes the handle, never zero.
    #[must_use]
    pub const fn to_register(self) -> u64 {
        (TAG << TAG_SHIFT) | (self.generation << GENERATION_SHIFT) | self.slot as u64
    }

    /// Returns the slot, below [`MAX_VMS`].
    #[must_use]
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    /// Returns the VMID: never 0, which is the host's.
    #[must_use]
    pub const fn vmid(self) -> u16 {
        (self.slot as u16).saturating_add(1)
    }
}

/// Which slots are taken.
#[derive(Debug)]
pub struct VmTable {
    /// Generation of the last use of each slot.
    generations: [u64; MAX_VMS],
    taken: u32,
}

impl VmTable {
    /// Every slot is free.
    pub const EMPTY: Self = Self { generations: [0; MAX_VMS], taken: 0 };

    /// Takes a slot.
    ///
    /// # Errors
    /// [`Status::NoSlot`] when every slot is taken. A slot the generations of which are used up is
    /// never given out again.
    pub fn allocate(&mut self) -> Result<VmHandle, Status> {
        for (slot, last) in (0..u8::MAX).zip(&mut self.generations) {
            let bit = 1u32.checked_shl(slot.into()).unwrap_or(0);
            let generation = last.saturating_add(1);
            if self.taken & bit == 0 && generation < GENERATION_LIMIT {
                self.taken |= bit;
                *last = generation;
                return Ok(VmHandle { slot, generation });
            }
        }
        Err(Status::NoSlot)
    }

    /// Gives a slot back, after [`super::Vm::close`] or when the VM could not be created. A handle
    /// that is not the slot's current one is passed over.
    pub fn release(&mut self, handle: VmHandle) {
        let bit = 1u32.checked_shl(handle.slot.into()).unwrap_or(0);
        if self.generations.get(handle.slot()).is_some_and(|last| *last == handle.generation) {
            self.taken &= !bit;
        }
    }

    /// Lets a test use up the generations of a slot.
    #[cfg(test)]
    pub(crate) fn set_generation(&mut self, slot: usize, generation: u64) {
        self.generations[slot] = generation;
    }
}

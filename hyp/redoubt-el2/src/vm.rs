//! The VMs: one slot each, behind its own lock.

use core::sync::atomic::{AtomicUsize, Ordering};

use redoubt_abi::Status;
use redoubt_core::addr::{Ipa, IpaRange, PageRange, Pfn};
use redoubt_core::hw::Stage2Context;
use redoubt_core::memory::VmMemory;
use redoubt_core::sysreg::{HardwareIds, IdRegisters};
use redoubt_core::vm::{MAX_VMS, Vm, VmHandle, VmTable};

use crate::memory::{self, Hw};
use crate::sync::{BootCell, Guard, Lock, rank};

/// Everything EL2 keeps of a VM.
pub struct Slot {
    /// Life cycle and vCPUs.
    pub vm: Vm,
    /// Stage-2 table and pages; present from creation until everything is given back.
    pub memory: Option<VmMemory>,
    /// VTCR_EL2.
    pub vtcr: u64,
}

/// A locked slot.
pub type SlotGuard = Guard<'static, { rank::VM }, Slot>;

impl Slot {
    /// A free slot.
    const EMPTY: Self = Self { vm: Vm::EMPTY, memory: None, vtcr: 0 };

    /// VMID and root of the stage-2 table.
    pub fn context(&self) -> Result<Stage2Context, Status> {
        self.memory.as_ref().and_then(VmMemory::context).ok_or(Status::NoSuchVm)
    }

    /// The stage-2 table and pages.
    pub fn memory_mut(&mut self) -> Result<&mut VmMemory, Status> {
        self.memory.as_mut().ok_or(Status::NoSuchVm)
    }
}

/// Which slots are in use, and their generations.
pub static TABLE: Lock<{ rank::TABLE }, VmTable> = Lock::new(VmTable::EMPTY);

/// The slots.
static SLOTS: [Lock<{ rank::VM }, Slot>; MAX_VMS] = [const { Lock::new(Slot::EMPTY) }; MAX_VMS];

/// Locks a slot by number, which is below [`MAX_VMS`] wherever it comes from.
pub fn lock(slot: usize) -> SlotGuard {
    match SLOTS.get(slot) {
        Some(slot) => slot.lock(),
        None => crate::fatal::stop("a VM slot is out of range"),
    }
}

/// Locks the slot of a handle that names a VM.
pub fn find(handle: u64) -> Result<SlotGuard, Status> {
    let handle = VmHandle::from_register(handle)?;
    let guard = lock(handle.slot());
    guard.vm.check(handle)?;
    Ok(guard)
}

/// ID registers of the hardware, common to all CPUs.
pub static HARDWARE_IDS: BootCell<HardwareIds> = BootCell::new();

/// The ID registers that guests see.
pub static GUEST_IDS: BootCell<IdRegisters> = BootCell::new();

/// A range of pages from registers.
pub fn page_range(pfn: u64, pages: u64) -> Result<PageRange, Status> {
    let pfn = Pfn::new(pfn).ok_or(Status::Overflow)?;
    PageRange::new(pfn, pages).map_err(Status::from)
}

/// An address from a register.
pub fn page_ipa(ipa: u64) -> Result<Ipa, Status> {
    let ipa = Ipa::new(ipa).ok_or(Status::Overflow)?;
    if ipa.is_page_aligned() { Ok(ipa) } else { Err(Status::Misaligned) }
}

/// The page at an address of a guest, if it is a page's first.
pub fn one_page(ipa: u64) -> Option<IpaRange> {
    page_ipa(ipa).ok().map(IpaRange::one)
}

/// How many CPUs are taking the machine down.
static GOING_DOWN: AtomicUsize = AtomicUsize::new(0);

/// Whether the machine is being taken down: meanwhile no VM is made and none is taken apart. Read under
/// a slot's lock; whoever is told "no" there is done before [`scrub_all`] comes to that slot.
pub fn is_going_down() -> bool {
    GOING_DOWN.load(Ordering::SeqCst) != 0
}

/// Ends every VM and scrubs its memory and registers in place, before the firmware resets or switches
/// off the machine: RAM may keep its contents. Guests that run on other CPUs lose their address
/// space first, so they leave within one instruction, devices reach nothing any more, and nothing is given
/// back to anybody.
pub fn scrub_all() {
    GOING_DOWN.fetch_add(1, Ordering::SeqCst);
    for number in 0..MAX_VMS {
        let mut slot = lock(number);
        slot.vm.condemn();
        let mut hw = Hw::for_vm(slot.vtcr);
        if let Some(memory) = slot.memory.as_mut() {
            memory.shut(&mut hw);
        }
    }
    for number in 0..MAX_VMS {
        while lock(number).vm.is_running() {
            core::hint::spin_loop();
        }
    }
    let mut host = memory::host();
    if let Some(smmus) = host.smmus() {
        smmus.quiesce(&mut Hw::new());
    }
    host.scrub_vms(&mut Hw::new());
}

/// The firmware came back: dead VMs can be torn down, new ones made.
pub fn carry_on() {
    if let Some(smmus) = memory::host().smmus() {
        smmus.resume(&mut Hw::new());
    }
    for number in 0..MAX_VMS {
        let mut slot = lock(number);
        let mut hw = Hw::for_vm(slot.vtcr);
        if let Some(memory) = slot.memory.as_mut() {
            memory.reopen(&mut hw);
        }
    }
    GOING_DOWN.fetch_sub(1, Ordering::SeqCst);
}

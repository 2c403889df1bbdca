//! Virtual machines: handles, life cycle, virtual CPUs, teardown.
//!
//! Decides which VM a handle names, what may be done in which state, and which physical CPU runs a
//! virtual CPU. The caller holds two kinds of locks, in this order: one for the [`VmTable`], which
//! gives out slots, and one for each [`Vm`]. Nothing here reaches memory: donating, pinning and
//! giving back pages is done by the caller between a check and its commit.
//!
//! Invariants: a handle names at most one VM for ever (a slot is not given out again once its
//! generation is used up); a virtual CPU runs on at most one physical CPU; no virtual CPU runs in the
//! state `Dying`; what a VM declared or who its virtual CPUs are changes in the state `Creating`
//! alone. Arguments come from the host and are believed nothing.
//!
//! Life cycle: `Free` - [`Vm::open`] -> `Creating` - first [`Vm::begin_run`] -> `Runnable` -
//! [`Vm::destroy`] (from both) -> `Dying` - [`Vm::close`] -> `Free`.

pub mod handle;
pub mod memory;
mod teardown;

use redoubt_abi::Status;
use redoubt_abi::call::{VCPU_POWERED_ON, VM_PROTECTED};

use crate::addr::Pfn;
use crate::cpu::CpuIndex;
use crate::sysreg::IdRegisters;
use crate::vcpu::RegisterAccess;

pub use handle::{MAX_VMS, VmHandle, VmTable};
pub use memory::{MAX_MEMORY_RANGES, MemoryRanges};
pub use teardown::ReclaimStep;

/// Most virtual CPUs of a VM.
pub const MAX_VCPUS: usize = 16;
/// Smallest intermediate physical address size, in bits.
pub const MIN_IPA_BITS: u8 = 32;

/// Where a VM is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmState {
    /// The slot holds no VM.
    Free,
    /// Being put together; nothing has run.
    Creating,
    /// A virtual CPU has run.
    Runnable,
    /// Destroyed; its pages go back.
    Dying,
}

/// What VM_CREATE asks for, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmConfig {
    protected: bool,
    ipa_bits: u8,
    vcpus: usize,
}

impl VmConfig {
    /// Tells whether the VM is to be protected.
    #[must_use]
    pub const fn is_protected(&self) -> bool {
        self.protected
    }

    /// Checks the arguments of VM_CREATE.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for an unknown flag, or a number outside its limits.
    pub fn new(flags: u64, ipa_bits: u64, vcpus: u64, max_ipa_bits: u8) -> Result<Self, Status> {
        let refused = Status::InvalidArgument;
        let ipa_bits = u8::try_from(ipa_bits).map_err(|_| refused)?;
        let vcpus = usize::try_from(vcpus).map_err(|_| refused)?;
        let valid = flags & !VM_PROTECTED == 0
            && (MIN_IPA_BITS..=max_ipa_bits).contains(&ipa_bits)
            && (1..=MAX_VCPUS).contains(&vcpus);
        if valid {
            Ok(Self { protected: flags & VM_PROTECTED != 0, ipa_bits, vcpus })
        } else {
            Err(refused)
        }
    }

    /// Size of the intermediate physical address space in bits.
    #[must_use]
    pub const fn ipa_bits(&self) -> u8 {
        self.ipa_bits
    }
}

/// Where a virtual CPU that is switched on starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootArguments {
    /// Entry point.
    pub entry: u64,
    /// Value for X0.
    pub context: u64,
}

/// Power state of a virtual CPU, as PSCI has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Off.
    Off,
    /// Switched on by the guest, and not run since.
    OnPending(BootArguments),
    /// On.
    On,
}

/// A virtual CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Vcpu {
    state: Pfn,
    run: Pfn,
    power: Power,
    running: Option<CpuIndex>,
}

/// Pages of a virtual CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcpuPages {
    /// Index of the virtual CPU.
    pub vcpu: usize,
    /// The state page: EL2's.
    pub state: Pfn,
}

/// A virtual CPU that may be added, once its pages are taken.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct VcpuPlan {
    index: usize,
    powered_on: bool,
}

/// A virtual CPU that was given to a physical one.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunStart {
    /// Index of the virtual CPU.
    pub vcpu: usize,
    /// The state page.
    pub state: Pfn,
    /// The run page.
    pub run: Pfn,
    /// The context is to be reset with these first: the guest has switched the CPU on.
    pub reset: Option<BootArguments>,
    /// The VM had not run before.
    first: bool,
    /// Number of this start among all of the VM.
    serial: u64,
}

/// A VM, or an empty slot.
#[derive(Debug)]
pub struct Vm {
    handle: Option<VmHandle>,
    state: VmState,
    config: VmConfig,
    counter_offset: u64,
    ids: IdRegisters,
    memory: MemoryRanges,
    vcpus: [Option<Vcpu>; MAX_VCPUS],
    /// How often a virtual CPU was given to a physical one. Never wraps in a machine's life.
    starts: u64,
    /// Of a dying VM: memory and tables are back.
    memory_is_back: bool,
    /// The guest has asked for power off or reset.
    stopped: bool,
}

impl Vm {
    /// A slot without a VM.
    pub const EMPTY: Self = Self {
        handle: None,
        state: VmState::Free,
        config: VmConfig { protected: false, ipa_bits: 0, vcpus: 0 },
        counter_offset: 0,
        ids: IdRegisters::ZERO,
        memory: MemoryRanges::EMPTY,
        vcpus: [None; MAX_VCPUS],
        starts: 0,
        memory_is_back: false,
        stopped: false,
    };

    /// Fills the slot with a new VM. `handle` was given out by [`VmTable::allocate`] for this slot,
    /// so the slot is free; if it were not, it would stay what it is, and `handle` name nothing.
    pub fn open(
        &mut self,
        handle: VmHandle,
        config: &VmConfig,
        counter_offset: u64,
        ids: IdRegisters,
    ) {
        if self.state != VmState::Free {
            return;
        }
        *self = Self {
            handle: Some(handle),
            state: VmState::Creating,
            config: *config,
            counter_offset,
            ids,
            ..Self::EMPTY
        };
    }

    /// Checks that this is the VM that `handle` names.
    ///
    /// # Errors
    /// [`Status::NoSuchVm`].
    pub fn check(&self, handle: VmHandle) -> Result<(), Status> {
        if self.state != VmState::Free && self.handle == Some(handle) {
            Ok(())
        } else {
            Err(Status::NoSuchVm)
        }
    }

    /// Returns the handle; `None` of an empty slot.
    #[cfg(test)]
    const fn handle(&self) -> Option<VmHandle> {
        self.handle
    }

    /// Returns the state.
    #[must_use]
    pub const fn state(&self) -> VmState {
        self.state
    }

    /// Tells whether the VM is protected.
    #[must_use]
    pub const fn protected(&self) -> bool {
        self.config.protected
    }

    /// Returns what is subtracted from the counter for the guest: CNTVOFF_EL2.
    #[must_use]
    pub const fn counter_offset(&self) -> u64 {
        self.counter_offset
    }

    /// Returns the identification registers.
    #[must_use]
    pub const fn ids(&self) -> &IdRegisters {
        &self.ids
    }

    /// Returns the declared memory.
    #[must_use]
    pub const fn memory(&self) -> &MemoryRanges {
        &self.memory
    }

    /// Declares a range of memory, for VM_SET_MEMORY.
    ///
    /// # Errors
    /// [`Status::WrongState`] when not in `Creating`, or what is wrong with the range.
    pub fn set_memory(&mut self, ipa: u64, pages: u64) -> Result<(), Status> {
        self.require_creating()?;
        self.memory.add(ipa, pages, self.config.ipa_bits)
    }

    /// Checks that the VM has not been destroyed.
    ///
    /// # Errors
    /// [`Status::WrongState`].
    pub fn require_alive(&self) -> Result<(), Status> {
        match self.state {
            VmState::Creating | VmState::Runnable => Ok(()),
            VmState::Free | VmState::Dying => Err(Status::WrongState),
        }
    }

    /// Checks that nothing has run.
    ///
    /// # Errors
    /// [`Status::WrongState`].
    pub fn require_creating(&self) -> Result<(), Status> {
        match self.state {
            VmState::Creating => Ok(()),
            VmState::Free | VmState::Runnable | VmState::Dying => Err(Status::WrongState),
        }
    }

    /// Checks the arguments of VCPU_CREATE. The caller then takes the pages and commits.
    ///
    /// # Errors
    /// [`Status::WrongState`], [`Status::NoSuchVcpu`] for an index out of range,
    /// [`Status::VcpuExists`] or [`Status::InvalidArgument`] for an unknown flag.
    pub fn check_vcpu(&self, vcpu: u64, flags: u64) -> Result<VcpuPlan, Status> {
        self.require_creating()?;
        if flags & !VCPU_POWERED_ON != 0 {
            return Err(Status::InvalidArgument);
        }
        let index = usize::try_from(vcpu).map_err(|_| Status::NoSuchVcpu)?;
        if index >= self.config.vcpus {
            return Err(Status::NoSuchVcpu);
        }
        // A protected VM starts on its first vCPU alone: where the others start is the guest's to
        // say. A host that could start one later, with registers of its choice, had the guest's own
        // code copy its memory out.
        if self.config.protected && index != 0 && flags & VCPU_POWERED_ON != 0 {
            return Err(Status::Protected);
        }
        match self.vcpus.get(index) {
            Some(None) => {
                Ok(VcpuPlan { index, powered_on: index == 0 || flags & VCPU_POWERED_ON != 0 })
            }
            Some(Some(_)) => Err(Status::VcpuExists),
            None => Err(Status::NoSuchVcpu),
        }
    }

    /// Adds the virtual CPU of a plan made under the same hold of the lock. `state` is EL2's now,
    /// and holds a context after [`crate::vcpu::VcpuContext::reset`]; `run` is pinned.
    pub fn commit_vcpu(&mut self, plan: VcpuPlan, state: Pfn, run: Pfn) {
        let power = if plan.powered_on { Power::On } else { Power::Off };
        if let Some(slot) = self.vcpus.get_mut(plan.index) {
            *slot = Some(Vcpu { state, run, power, running: None });
        }
    }

    /// Finds a virtual CPU by a number of the host.
    fn find(&self, vcpu: u64) -> Result<(usize, &Vcpu), Status> {
        let index = usize::try_from(vcpu).map_err(|_| Status::NoSuchVcpu)?;
        match self.vcpus.get(index) {
            Some(Some(found)) => Ok((index, found)),
            Some(None) | None => Err(Status::NoSuchVcpu),
        }
    }

    /// Gives a virtual CPU to a physical one, for VCPU_RUN. To be followed by [`Vm::end_run`], or
    /// by [`Vm::cancel_run`] when the guest was not entered.
    ///
    /// # Errors
    /// [`Status::WrongState`], [`Status::NoSuchVcpu`], [`Status::Busy`] when it runs elsewhere,
    /// [`Status::PoweredOff`].
    pub fn begin_run(&mut self, vcpu: u64, cpu: CpuIndex) -> Result<RunStart, Status> {
        self.require_alive()?;
        let (index, found) = self.find(vcpu)?;
        if found.running.is_some() {
            return Err(Status::Busy);
        }
        let reset = match found.power {
            Power::Off => return Err(Status::PoweredOff),
            Power::OnPending(arguments) => Some(arguments),
            Power::On => None,
        };
        let (state, run) = (found.state, found.run);
        let first = self.state == VmState::Creating;
        if let Some(Some(found)) = self.vcpus.get_mut(index) {
            found.running = Some(cpu);
            found.power = Power::On;
        }
        self.state = VmState::Runnable;
        self.starts = self.starts.wrapping_add(1);
        Ok(RunStart { vcpu: index, state, run, reset, first, serial: self.starts })
    }

    /// Undoes [`Vm::begin_run`] when the entry was refused before the context was touched. The VM
    /// goes back to `Creating` only if nothing was started since: once any virtual CPU may have
    /// run, it stays `Runnable`.
    pub fn cancel_run(&mut self, start: &RunStart) {
        if let Some(Some(found)) = self.vcpus.get_mut(start.vcpu) {
            found.running = None;
            // Another virtual CPU may have powered the VM off meanwhile.
            if let (Some(arguments), Power::On) = (start.reset, found.power) {
                found.power = Power::OnPending(arguments);
            }
        }
        if start.first && start.serial == self.starts && self.state == VmState::Runnable {
            self.state = VmState::Creating;
        }
    }

    /// Takes a virtual CPU back from its physical one, after its context was saved.
    pub fn end_run(&mut self, vcpu: usize) {
        if let Some(Some(found)) = self.vcpus.get_mut(vcpu) {
            found.running = None;
        }
    }

    /// Tells on which physical CPU a virtual one runs.
    #[cfg(test)]
    fn running_on(&self, vcpu: usize) -> Option<CpuIndex> {
        self.vcpus.get(vcpu).and_then(Option::as_ref).and_then(|found| found.running)
    }

    /// Decides whether the host may read or write registers of a virtual CPU, for VCPU_GET_REG and
    /// VCPU_SET_REG. The caller holds the lock while it does.
    ///
    /// # Errors
    /// [`Status::WrongState`], [`Status::NoSuchVcpu`], [`Status::Busy`] while it runs,
    /// [`Status::Protected`] once a protected VM has run.
    pub fn register_access(&self, vcpu: u64) -> Result<(VcpuPages, RegisterAccess), Status> {
        self.require_alive()?;
        let (index, found) = self.find(vcpu)?;
        if found.running.is_some() {
            return Err(Status::Busy);
        }
        let access = match (self.config.protected, self.state) {
            (false, _) => RegisterAccess::Full,
            (true, VmState::Creating) => RegisterAccess::Boot,
            (true, VmState::Free | VmState::Runnable | VmState::Dying) => {
                return Err(Status::Protected);
            }
        };
        Ok((VcpuPages { vcpu: index, state: found.state }, access))
    }

    /// Returns the power state of a virtual CPU; `None` when there is no such virtual CPU.
    #[must_use]
    pub fn power(&self, vcpu: usize) -> Option<Power> {
        self.vcpus.get(vcpu).and_then(Option::as_ref).map(|found| found.power)
    }

    /// Sets the power state of a virtual CPU that exists.
    pub(crate) fn set_power(&mut self, vcpu: usize, power: Power) {
        if !self.stopped
            && let Some(Some(found)) = self.vcpus.get_mut(vcpu)
        {
            found.power = power;
        }
    }

    /// Switches every virtual CPU off, so that none runs again, even if one that is running now tries to
    /// switch another on.
    pub(crate) fn power_off_all(&mut self) {
        self.stopped = true;
        for vcpu in self.vcpus.iter_mut().flatten() {
            vcpu.power = Power::Off;
        }
    }
}

#[cfg(test)]
mod tests;

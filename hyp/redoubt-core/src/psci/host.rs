//! PSCI for the host: what is relayed to the firmware, and how.
//!
//! Decides two things. [`host_psci`] is the allow-list of functions: those that make a CPU start
//! somewhere are intercepted, so that the CPU starts at EL2 and goes on to the host's entry point
//! under EL2's stage 2 and traps; the ones that end the machine wait for the scrub of guest memory;
//! what can change memory or power behind EL2's back is denied; the rest cannot be called.
//! [`HostPower`] keeps one record per physical CPU of where it is to go on: a slot that is claimed
//! before the firmware is asked, so that of two CPU_ON for one CPU one is refused and the arguments of
//! the other are not overwritten. It trusts the firmware to start a CPU at the address it was given.

use redoubt_abi::guest as id;

use super::{
    ALREADY_ON, INVALID_ADDRESS, INVALID_PARAMETERS, NOT_SUPPORTED, ON_PENDING, arguments,
};
use crate::cpu::{CpuIndex, CpuTable, MAX_CPUS};
use crate::vm::BootArguments;

/// What becomes of a PSCI call of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPsci {
    /// Not a PSCI function.
    NotPsci,
    /// The registers go to the firmware as they are, its answer comes back.
    Forward,
    /// The value of X0; the firmware is not asked.
    Return(u64),
    /// Claim the target's slot ([`HostPower::claim_on`]), then call the firmware with EL2's entry
    /// point in place of the host's; [`HostPower::abort_on`] when it refuses.
    CpuOn {
        /// Target.
        target: CpuIndex,
        /// Where it goes on at EL1.
        boot: BootArguments,
    },
    /// [`HostPower::begin_off`], forward, and [`HostPower::set_on`] should it return.
    CpuOff,
    /// [`HostPower::begin_suspend`], call the firmware with EL2's entry point in place of the
    /// host's, and [`HostPower::set_on`] should it return.
    CpuSuspend {
        /// Power state, for the firmware; `None` for CPU_DEFAULT_SUSPEND.
        power_state: Option<u64>,
        /// Where this CPU goes on at EL1 if it loses its state.
        boot: BootArguments,
    },
    /// Scrub the memory of protected VMs, then forward.
    SystemDown,
}

/// Decides about a PSCI call of the host. `host_ram` tells whether an address is RAM that the host
/// may access. A wrong entry point would harm the host alone; it is refused for the host's sake.
pub fn host_psci(
    function: u32,
    raw: [u64; 3],
    cpus: &CpuTable,
    host_ram: impl Fn(u64) -> bool,
) -> HostPsci {
    let [first, second, third] = arguments(function, raw);
    match function {
        id::PSCI_VERSION
        | id::PSCI_AFFINITY_INFO_32
        | id::PSCI_AFFINITY_INFO_64
        | id::PSCI_MIGRATE_INFO_TYPE => HostPsci::Forward,
        #[allow(clippy::cast_possible_truncation)]
        id::PSCI_FEATURES if is_offered(first as u32, cpus) => HostPsci::Forward,
        id::PSCI_CPU_ON_32 | id::PSCI_CPU_ON_64 => match cpus.index_of(first) {
            None => HostPsci::Return(INVALID_PARAMETERS),
            Some(_) if second & 3 != 0 || !host_ram(second) => HostPsci::Return(INVALID_ADDRESS),
            Some(target) => {
                HostPsci::CpuOn { target, boot: BootArguments { entry: second, context: third } }
            }
        },
        id::PSCI_CPU_OFF => HostPsci::CpuOff,
        // Whether the state loses the CPU's context depends on the format of the power state and
        // on the firmware; both kinds are prepared for.
        id::PSCI_CPU_SUSPEND_32 | id::PSCI_CPU_SUSPEND_64 => HostPsci::CpuSuspend {
            power_state: Some(first),
            boot: BootArguments { entry: second, context: third },
        },
        id::PSCI_CPU_DEFAULT_SUSPEND_32 | id::PSCI_CPU_DEFAULT_SUSPEND_64 => {
            let boot = BootArguments { entry: first, context: second };
            HostPsci::CpuSuspend { power_state: None, boot }
        }
        id::PSCI_SYSTEM_OFF
        | id::PSCI_SYSTEM_RESET
        | id::PSCI_SYSTEM_RESET2_32
        | id::PSCI_SYSTEM_RESET2_64 => HostPsci::SystemDown,
        _ if !super::is_psci(function) => HostPsci::NotPsci,
        // SET_SUSPEND_MODE, MIGRATE, MIGRATE_INFO_UP_CPU, CPU_FREEZE, NODE_HW_STATE, STAT_*, MEM_PROTECT,
        // MEM_PROTECT_CHECK_RANGE, SYSTEM_OFF2, SYSTEM_SUSPEND (SMMUs lose their state, and devices would
        // run past them until EL2 is back) and what is not allocated.
        _ => HostPsci::Return(NOT_SUPPORTED),
    }
}

/// Tells whether the host may ask the firmware about a function: about what it may call.
fn is_offered(function: u32, cpus: &CpuTable) -> bool {
    let called = |function| host_psci(function, [0; 3], cpus, |_| false);
    match function {
        id::PSCI_FEATURES | id::SMCCC_VERSION => true,
        _ => !matches!(called(function), HostPsci::NotPsci | HostPsci::Return(NOT_SUPPORTED)),
    }
}

/// Where a physical CPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PhysicalState {
    /// In the firmware's hands.
    Off,
    /// Switched on; the firmware was or is being asked.
    OnPending { boot: BootArguments, claim: u64 },
    /// In the host's or EL2's hands.
    On,
    /// Suspending; it may come back through the entry point, or not have left.
    Suspending(BootArguments),
}

/// A claimed slot: what [`HostPower::abort_on`] gives back.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    target: CpuIndex,
    number: u64,
}

/// Power states of the physical CPUs. Behind one lock, which is not held while the firmware is
/// called.
#[derive(Debug)]
pub struct HostPower {
    states: [PhysicalState; MAX_CPUS],
    claims: u64,
}

impl HostPower {
    /// Every CPU is off.
    pub const ALL_OFF: Self = Self { states: [PhysicalState::Off; MAX_CPUS], claims: 0 };

    fn state(&self, cpu: CpuIndex) -> PhysicalState {
        self.states.get(cpu.get()).copied().unwrap_or(PhysicalState::Off)
    }

    fn set(&mut self, cpu: CpuIndex, state: PhysicalState) {
        if let Some(slot) = self.states.get_mut(cpu.get()) {
            *slot = state;
        }
    }

    /// Notes that a CPU is on: the one that boots the machine, or one that the firmware has neither
    /// switched off nor suspended. A claim made meanwhile is void: the firmware refuses to switch on
    /// what is on, and [`HostPower::abort_on`] then finds it gone.
    pub fn set_on(&mut self, cpu: CpuIndex) {
        self.set(cpu, PhysicalState::On);
    }

    /// Tells whether a CPU is on, or has not left.
    #[cfg(test)]
    pub(super) fn is_on(&self, cpu: CpuIndex) -> bool {
        match self.state(cpu) {
            PhysicalState::On | PhysicalState::Suspending(_) => true,
            PhysicalState::Off | PhysicalState::OnPending { .. } => false,
        }
    }

    /// Claims a CPU that is off, before the firmware is asked to switch it on.
    ///
    /// # Errors
    /// The code that CPU_ON returns: ALREADY_ON or ON_PENDING.
    pub fn claim_on(&mut self, target: CpuIndex, boot: BootArguments) -> Result<Claim, u64> {
        match self.state(target) {
            PhysicalState::On | PhysicalState::Suspending(_) => Err(ALREADY_ON),
            PhysicalState::OnPending { .. } => Err(ON_PENDING),
            PhysicalState::Off => {
                self.claims = self.claims.wrapping_add(1);
                let number = self.claims;
                self.set(target, PhysicalState::OnPending { boot, claim: number });
                Ok(Claim { target, number })
            }
        }
    }

    /// Gives a claim back: the firmware has refused. If the target came up or was claimed anew
    /// meanwhile, nothing changes.
    #[allow(clippy::needless_pass_by_value)]
    pub fn abort_on(&mut self, claim: Claim) {
        match self.state(claim.target) {
            PhysicalState::OnPending { claim: number, .. } if number == claim.number => {
                self.set(claim.target, PhysicalState::Off);
            }
            PhysicalState::OnPending { .. }
            | PhysicalState::Off
            | PhysicalState::On
            | PhysicalState::Suspending(_) => {}
        }
    }

    /// A CPU has come to EL2 from the firmware: returns where it goes on at EL1. `None` when nobody
    /// sent for it; such a CPU stays at EL2 for good.
    pub fn arrive(&mut self, cpu: CpuIndex) -> Option<BootArguments> {
        match self.state(cpu) {
            PhysicalState::OnPending { boot, .. } | PhysicalState::Suspending(boot) => {
                self.set(cpu, PhysicalState::On);
                Some(boot)
            }
            PhysicalState::Off | PhysicalState::On => None,
        }
    }

    /// The calling CPU is about to be switched off.
    pub fn begin_off(&mut self, cpu: CpuIndex) {
        self.set(cpu, PhysicalState::Off);
    }

    /// The calling CPU is about to be suspended.
    pub fn begin_suspend(&mut self, cpu: CpuIndex, boot: BootArguments) {
        self.set(cpu, PhysicalState::Suspending(boot));
    }
}

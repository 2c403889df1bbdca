//! PSCI for guests.
//!
//! Decides who is on: the power states of a VM's virtual CPUs are in the [`Vm`], under its lock, and
//! change here and in [`Vm::begin_run`] alone, so the host cannot claim that a CPU is on or off, nor
//! start one where the guest did not say. CPU_ON leaves the entry point in the VM; the target resets
//! itself when it next runs, so nobody writes the context of a CPU that may just be leaving.

use redoubt_abi::guest as id;
use redoubt_abi::run::ExitReason;

use super::{
    AFFINITY_OFF, AFFINITY_ON, AFFINITY_ON_PENDING, ALREADY_ON, INVALID_ADDRESS,
    INVALID_PARAMETERS, NOT_SUPPORTED, ON_PENDING, SUCCESS, VERSION_1_1,
};
use crate::cpu::AFFINITY_MASK;
use crate::exit::ExitReport;
use crate::vcpu::VcpuContext;
use crate::vm::{BootArguments, MAX_VCPUS, Power, Vm};

/// MIGRATE_INFO_TYPE: there is no Trusted OS that would have to be migrated.
const NO_MIGRATION: u64 = 2;

/// What a PSCI call of a guest comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestPsci {
    /// The value of X0; the guest goes on.
    Return(u64),
    /// The host is told; X0 holds this when the guest goes on, if it does.
    Report(u64, ExitReport),
}

/// Carries out a PSCI call that virtual CPU `vcpu` makes, under the VM's lock. A function that is
/// not implemented is answered with NOT_SUPPORTED.
pub fn guest_psci(vm: &mut Vm, vcpu: usize, function: u32, raw: [u64; 3]) -> GuestPsci {
    let [first, second, third] = super::arguments(function, raw);
    GuestPsci::Return(match function {
        id::PSCI_VERSION => VERSION_1_1,
        id::PSCI_FEATURES => features(first),
        id::PSCI_MIGRATE_INFO_TYPE => NO_MIGRATION,
        id::PSCI_AFFINITY_INFO_32 | id::PSCI_AFFINITY_INFO_64 => affinity_info(vm, first, second),
        id::PSCI_CPU_ON_32 | id::PSCI_CPU_ON_64 => {
            let boot = BootArguments { entry: second, context: third };
            return match cpu_on(vm, first, boot) {
                Ok(target) => {
                    let args = [target as u64, 0, 0, 0];
                    GuestPsci::Report(SUCCESS, ExitReport::with(ExitReason::CpuOn, args))
                }
                Err(code) => GuestPsci::Return(code),
            };
        }
        // A standby state of any depth is a WFI, which may end at any time.
        id::PSCI_CPU_SUSPEND_32 | id::PSCI_CPU_SUSPEND_64 => {
            return report(ExitReason::WaitForInterrupt);
        }
        id::PSCI_CPU_OFF => {
            vm.set_power(vcpu, Power::Off);
            return report(ExitReason::CpuOff);
        }
        id::PSCI_SYSTEM_OFF => return stop(vm, ExitReason::SystemOff),
        // Only SYSTEM_WARM_RESET, 0, is defined; bit 31 marks a vendor's types.
        id::PSCI_SYSTEM_RESET2_32 | id::PSCI_SYSTEM_RESET2_64 if first & 0xffff_ffff != 0 => {
            INVALID_PARAMETERS
        }
        id::PSCI_SYSTEM_RESET | id::PSCI_SYSTEM_RESET2_32 | id::PSCI_SYSTEM_RESET2_64 => {
            return stop(vm, ExitReason::SystemReset);
        }
        _ => NOT_SUPPORTED,
    })
}

/// The host is told.
fn report(reason: ExitReason) -> GuestPsci {
    GuestPsci::Report(SUCCESS, ExitReport::new(reason))
}

/// A protected VM that powers off or resets never runs again: its memory is not what it was
/// started from. What another VM does next is between the host and it.
fn stop(vm: &mut Vm, reason: ExitReason) -> GuestPsci {
    if vm.protected() {
        vm.power_off_all();
    }
    report(reason)
}

/// PSCI_FEATURES: 0 for what is there.
fn features(queried: u64) -> u64 {
    #[allow(clippy::cast_possible_truncation)]
    match queried as u32 {
        id::PSCI_VERSION
        | id::PSCI_FEATURES
        | id::PSCI_MIGRATE_INFO_TYPE
        | id::PSCI_AFFINITY_INFO_32
        | id::PSCI_AFFINITY_INFO_64
        | id::PSCI_CPU_ON_32
        | id::PSCI_CPU_ON_64
        | id::PSCI_CPU_SUSPEND_32
        | id::PSCI_CPU_SUSPEND_64
        | id::PSCI_CPU_OFF
        | id::PSCI_SYSTEM_OFF
        | id::PSCI_SYSTEM_RESET
        | id::PSCI_SYSTEM_RESET2_32
        | id::PSCI_SYSTEM_RESET2_64
        | id::SMCCC_VERSION => SUCCESS,
        _ => NOT_SUPPORTED,
    }
}

/// Finds the virtual CPU that an exact affinity names.
fn target_of(vm: &Vm, affinity: u64) -> Option<(usize, Power)> {
    (0..MAX_VCPUS)
        .filter(|index| VcpuContext::mpidr(*index) & AFFINITY_MASK == affinity)
        .find_map(|index| vm.power(index).map(|power| (index, power)))
}

/// CPU_ON. Returns the target's index, or the code of the refusal.
fn cpu_on(vm: &mut Vm, affinity: u64, boot: BootArguments) -> Result<usize, u64> {
    let (target, power) = target_of(vm, affinity).ok_or(INVALID_PARAMETERS)?;
    if boot.entry & 3 != 0 || !vm.memory().contains_address(boot.entry) {
        return Err(INVALID_ADDRESS);
    }
    match power {
        Power::On => Err(ALREADY_ON),
        Power::OnPending(_) => Err(ON_PENDING),
        Power::Off => {
            vm.set_power(target, Power::OnPending(boot));
            Ok(target)
        }
    }
}

/// AFFINITY_INFO: of all virtual CPUs that match down to the given level, on if one is on.
fn affinity_info(vm: &Vm, affinity: u64, lowest_level: u64) -> u64 {
    // Aff0 is passed over from level 1 on, Aff1 from level 2 on, and so forth.
    let mask = match lowest_level {
        0 => AFFINITY_MASK,
        1 => AFFINITY_MASK & !0xff,
        2 => AFFINITY_MASK & !0xffff,
        3 => AFFINITY_MASK & !0xff_ffff,
        _ => return INVALID_PARAMETERS,
    };
    if affinity & !AFFINITY_MASK != 0 {
        return INVALID_PARAMETERS;
    }
    let matching =
        (0..MAX_VCPUS).filter(|index| (VcpuContext::mpidr(*index) ^ affinity) & mask == 0);
    let mut answer = INVALID_PARAMETERS;
    for power in matching.filter_map(|index| vm.power(index)) {
        answer = match (power, answer) {
            (Power::On, _) => return AFFINITY_ON,
            (Power::OnPending(_), _) | (Power::Off, AFFINITY_ON_PENDING) => AFFINITY_ON_PENDING,
            (Power::Off, _) => AFFINITY_OFF,
        };
    }
    answer
}

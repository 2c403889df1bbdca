//! SMC Calling Convention: calls of guests, and SMCs of the host.
//!
//! Decides who is served what (Arm DEN0028, 1.1). A guest's call, by HVC or SMC, is answered by EL2
//! and never reaches the firmware or, unless PSCI says so, the host. The host's SMCs are denied but
//! for a list: PSCI (see [`crate::psci::host`]), the discovery calls, the firmware's mitigations of
//! CPU vulnerabilities, and TRNG. Calls that run long (not fast), of other owners, and not allocated
//! ones are answered with NOT_SUPPORTED.

use redoubt_abi::guest as id;

use crate::cpu::CpuTable;
use crate::exit::ExitReport;
use crate::psci::{self, GuestPsci, HostPsci};
use crate::vcpu::VcpuContext;
use crate::vm::Vm;

/// NOT_SUPPORTED, of SMCCC as of PSCI.
pub const NOT_SUPPORTED: u64 = psci::NOT_SUPPORTED;
/// Version 1.1 of the calling convention.
const VERSION_1_1: u64 = 0x0001_0001;
/// SMCCC: INVALID_PARAMETER.
const INVALID_PARAMETER: u64 = (-3i64).cast_unsigned();
/// SMCCC_ARCH_WORKAROUND_*: the CPU is not affected.
const NOT_REQUIRED: u64 = 1;

/// SMCCC_ARCH_WORKAROUND_1, 2 and 3.
const WORKAROUND_1: u32 = 0x8000_8000;
const WORKAROUND_2: u32 = 0x8000_7fff;
const WORKAROUND_3: u32 = 0x8000_3fff;

/// TRNG version 1.0.
const TRNG_1_0: u64 = 0x0001_0000;
/// TRNG: INVALID_PARAMETERS.
const TRNG_INVALID: u64 = (-2i64).cast_unsigned();
/// TRNG: NO_ENTROPY, for now.
const TRNG_NO_ENTROPY: u64 = (-3i64).cast_unsigned();
/// UUID of this source of entropy, X0 to X3.
const TRNG_UUID: [u64; 4] = [0x7265_646f, 0x7562_7474, 0x4e21_9d0a, 0x5c83_be17];

/// Bits of KVM's FEATURES.
const FEATURES_QUERY: u64 = 1 << 0;
const FEATURES_MEMINFO: u64 = 1 << 2;
const FEATURES_SHARE: u64 = 1 << 3;
const FEATURES_UNSHARE: u64 = 1 << 4;
const FEATURES_RELINQUISH: u64 = 1 << 9;

/// A source of random numbers.
pub trait Entropy {
    /// Tells whether there is a source at all.
    fn is_available(&self) -> bool {
        true
    }
    /// Returns 64 random bits; `None` when there are none for now.
    fn next(&mut self) -> Option<u64>;
}

/// What a guest's call comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestCall {
    /// Answered: enter the guest again.
    Resume,
    /// Return to the host.
    Report(ExitReport),
    /// Do this with the page at this address, then [`finish_memory_call`].
    Memory(MemoryCall, u64),
}

/// What a guest asks for a page of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryCall {
    /// Give the host access.
    Share,
    /// Take that access back.
    Unshare,
    /// Give the page back to the host, scrubbed.
    Relinquish,
}

/// Writes the answer to a call: X0 to X3.
pub fn answer(context: &mut VcpuContext, values: [u64; 4]) {
    for (register, value) in context.x.iter_mut().zip(values) {
        *register = value;
    }
}

/// Answers [`GuestCall::Memory`].
pub fn finish_memory_call(context: &mut VcpuContext, done: bool) {
    answer(context, [if done { psci::SUCCESS } else { INVALID_PARAMETER }, 0, 0, 0]);
}

/// Carries out the call in a guest's X0, under the VM's lock. PC is behind the instruction.
pub fn guest_call(
    vm: &mut Vm,
    vcpu: usize,
    context: &mut VcpuContext,
    entropy: &mut impl Entropy,
) -> GuestCall {
    let [x0, first, second, third, ..] = context.x;
    // The function identifier is W0.
    #[allow(clippy::cast_possible_truncation)]
    let function = x0 as u32;
    if psci::is_psci(function) {
        let (value, call) = match psci::guest_psci(vm, vcpu, function, [first, second, third]) {
            GuestPsci::Return(value) => (value, GuestCall::Resume),
            GuestPsci::Report(value, report) => (value, GuestCall::Report(report)),
        };
        answer(context, [value, 0, 0, 0]);
        return call;
    }
    let one = |value| [value, 0, 0, 0];
    let values = match function {
        id::SMCCC_VERSION => one(VERSION_1_1),
        id::SMCCC_ARCH_FEATURES => one(arch_features(first, vm)),
        _ if is_trng(function) && !entropy.is_available() => one(NOT_SUPPORTED),
        id::TRNG_VERSION => one(TRNG_1_0),
        #[allow(clippy::cast_possible_truncation)]
        id::TRNG_FEATURES if is_trng(first as u32) => one(psci::SUCCESS),
        id::TRNG_FEATURES => one(NOT_SUPPORTED),
        id::TRNG_GET_UUID => TRNG_UUID,
        id::TRNG_RND_32 => random(first & 0xffff_ffff, 32, entropy),
        id::TRNG_RND_64 => random(first, 64, entropy),
        id::VENDOR_UID => id::KVM_UID.map(u64::from),
        id::KVM_FEATURES => one(vendor_features(vm)),
        id::KVM_HYP_MEMINFO | id::KVM_MEM_SHARE | id::KVM_MEM_UNSHARE | id::MEM_RELINQUISH
            if !vm.protected() =>
        {
            one(NOT_SUPPORTED)
        }
        id::KVM_HYP_MEMINFO if (first, second, third) == (0, 0, 0) => one(redoubt_abi::PAGE_SIZE),
        id::KVM_HYP_MEMINFO => one(INVALID_PARAMETER),
        id::KVM_MEM_SHARE | id::KVM_MEM_UNSHARE | id::MEM_RELINQUISH
            if !is_page_of(vm, first, second, third) =>
        {
            one(INVALID_PARAMETER)
        }
        id::KVM_MEM_SHARE => return GuestCall::Memory(MemoryCall::Share, first),
        id::KVM_MEM_UNSHARE => return GuestCall::Memory(MemoryCall::Unshare, first),
        id::MEM_RELINQUISH => return GuestCall::Memory(MemoryCall::Relinquish, first),
        _ => one(NOT_SUPPORTED),
    };
    answer(context, values);
    GuestCall::Resume
}

/// Checks the arguments of a call about one page of the guest's memory.
fn is_page_of(vm: &Vm, ipa: u64, second: u64, third: u64) -> bool {
    ipa.is_multiple_of(redoubt_abi::PAGE_SIZE)
        && (second, third) == (0, 0)
        && vm.memory().contains_address(ipa)
}

/// SMCCC_ARCH_FEATURES. There is no mitigation that EL2 carries out for guests; of the first
/// workaround a guest is told when the CPU needs none.
fn arch_features(queried: u64, vm: &Vm) -> u64 {
    #[allow(clippy::cast_possible_truncation)]
    match queried as u32 {
        id::SMCCC_VERSION | id::SMCCC_ARCH_FEATURES => psci::SUCCESS,
        WORKAROUND_1 if vm.ids().has_csv2() => NOT_REQUIRED,
        _ => NOT_SUPPORTED,
    }
}

/// KVM's FEATURES. Sharing has a meaning for protected VMs alone.
fn vendor_features(vm: &Vm) -> u64 {
    if vm.protected() {
        FEATURES_QUERY | FEATURES_MEMINFO | FEATURES_SHARE | FEATURES_UNSHARE | FEATURES_RELINQUISH
    } else {
        FEATURES_QUERY
    }
}

/// Tells whether a function is one of TRNG 1.0.
const fn is_trng(function: u32) -> bool {
    matches!(
        function,
        id::TRNG_VERSION
            | id::TRNG_FEATURES
            | id::TRNG_GET_UUID
            | id::TRNG_RND_32
            | id::TRNG_RND_64
    )
}

/// TRNG_RND: up to three words of `word` bits, the least significant in X3.
fn random(bits: u64, word: u32, entropy: &mut impl Entropy) -> [u64; 4] {
    let word = u64::from(word);
    if bits == 0 || bits > word.saturating_mul(3) {
        return [TRNG_INVALID, 0, 0, 0];
    }
    let mut values = [psci::SUCCESS, 0, 0, 0];
    let mut left = bits;
    for value in values.iter_mut().skip(1).rev() {
        let take = left.min(word);
        let Some(mask) = u32::try_from(64u64.saturating_sub(take))
            .ok()
            .and_then(|shift| u64::MAX.checked_shr(shift))
        else {
            break;
        };
        match entropy.next() {
            Some(random) => *value = random & mask,
            None => return [TRNG_NO_ENTROPY, 0, 0, 0],
        }
        left = left.saturating_sub(take);
    }
    values
}

/// What becomes of an SMC of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostSmc {
    /// The registers go to the firmware as they are, its answer comes back.
    Forward,
    /// A PSCI call.
    Psci(HostPsci),
    /// NOT_SUPPORTED in X0, zero in X1 to X3; to be noted in the [`DeniedLog`].
    Deny,
}

/// Decides about an SMC of the host, X0 to X3.
pub fn host_smc(registers: &[u64; 4], cpus: &CpuTable, host_ram: impl Fn(u64) -> bool) -> HostSmc {
    let [x0, arguments @ ..] = *registers;
    #[allow(clippy::cast_possible_truncation)]
    let function = x0 as u32;
    match function {
        id::SMCCC_VERSION | id::SMCCC_ARCH_FEATURES | id::SMCCC_ARCH_SOC_ID => HostSmc::Forward,
        WORKAROUND_1 | WORKAROUND_2 | WORKAROUND_3 => HostSmc::Forward,
        _ if is_trng(function) => HostSmc::Forward,
        _ if psci::is_psci(function) => {
            match psci::host_psci(function, arguments, cpus, host_ram) {
                // Only a function that is not on the list is not supported here; a query about one
                // is an ordinary answer.
                HostPsci::Return(NOT_SUPPORTED) if function != id::PSCI_FEATURES => HostSmc::Deny,
                other => HostSmc::Psci(other),
            }
        }
        _ => HostSmc::Deny,
    }
}

/// Most functions that the log remembers.
const DENIED_FUNCTIONS: usize = 32;

/// Remembers which functions were denied, each once, up to a bound: the host cannot flood it.
#[derive(Debug)]
pub struct DeniedLog {
    functions: [u32; DENIED_FUNCTIONS],
    count: usize,
}

impl DeniedLog {
    /// Nothing was denied.
    pub const EMPTY: Self = Self { functions: [0; DENIED_FUNCTIONS], count: 0 };

    /// Notes a denied function.
    pub fn note(&mut self, function: u32) {
        if self.functions.iter().take(self.count).any(|known| *known == function) {
            return;
        }
        if let Some(slot) = self.functions.get_mut(self.count) {
            *slot = function;
            self.count = self.count.saturating_add(1);
        }
    }

    /// Returns a denied function, in the order in which they were first denied.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<u32> {
        self.functions.get(..self.count).and_then(|known| known.get(index)).copied()
    }
}

#[cfg(test)]
mod tests;

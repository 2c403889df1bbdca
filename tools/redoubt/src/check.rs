//! `redoubt check`: what this machine offers to virtual machines, and what to do where it does not.
//!
//! Asks the kernel and changes nothing; the virtual machine it creates to find out about protection
//! is empty and gone at once. Exit code 0 means that `redoubt run` can work, with or without
//! protection.

#[cfg(test)]
mod tests;

use std::ffi::CString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use kvm_ioctls::Kvm;

use crate::cli::CheckArgs;
use crate::kvm_abi::{API_VERSION, DEFAULT_IPA_BITS, vm_type};
use crate::outcome::{EXIT_FAILURE, EXIT_POWERED_OFF};

/// A capability of KVM.
#[derive(Clone, Copy, Debug)]
pub struct Capability {
    /// Its number in KVM_CHECK_EXTENSION.
    pub number: u32,
    /// Its name without `KVM_CAP_`.
    pub name: &'static str,
    /// Whether `redoubt run` cannot do without.
    pub required: bool,
}

const fn capability(number: u32, name: &'static str, required: bool) -> Capability {
    Capability { number, name, required }
}

/// The capabilities that are reported.
pub const CAPABILITIES: [Capability; 12] = [
    capability(kvm_bindings::KVM_CAP_IRQCHIP, "IRQCHIP", true),
    capability(kvm_bindings::KVM_CAP_ONE_REG, "ONE_REG", true),
    capability(kvm_bindings::KVM_CAP_ARM_PSCI_0_2, "ARM_PSCI_0_2", true),
    capability(kvm_bindings::KVM_CAP_ARM_VM_IPA_SIZE, "ARM_VM_IPA_SIZE", false),
    capability(kvm_bindings::KVM_CAP_NR_VCPUS, "NR_VCPUS", false),
    capability(kvm_bindings::KVM_CAP_MAX_VCPUS, "MAX_VCPUS", false),
    capability(kvm_bindings::KVM_CAP_NR_MEMSLOTS, "NR_MEMSLOTS", false),
    capability(kvm_bindings::KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT", false),
    capability(kvm_bindings::KVM_CAP_ARM_SVE, "ARM_SVE", false),
    capability(kvm_bindings::KVM_CAP_ARM_PTRAUTH_ADDRESS, "ARM_PTRAUTH_ADDRESS", false),
    capability(kvm_bindings::KVM_CAP_IRQFD, "IRQFD", false),
    capability(kvm_bindings::KVM_CAP_IOEVENTFD, "IOEVENTFD", false),
];

/// Opens the KVM device; an error says what is missing and what to do.
pub fn open_kvm(device: &Path) -> Result<Kvm> {
    let path = CString::new(device.as_os_str().as_bytes())
        .with_context(|| format!("{} is not a path", device.display()))?;
    let kvm = Kvm::new_with_path(&path).map_err(|error| {
        let advice = match error.errno() {
            libc::ENOENT => {
                "the kernel offers no virtual machines. Where Redoubt is the hypervisor, load its \
                 driver (redoubt.ko); elsewhere the kernel must be started at EL2 with KVM"
            }
            libc::EACCES | libc::EPERM => "be root, or in the group that owns the device",
            libc::ENODEV | libc::ENXIO => "the driver behind the device is not there",
            _ => "the kernel's log may say why",
        };
        anyhow::anyhow!("cannot open {}: {error}: {advice}", device.display())
    })?;
    let version = kvm.get_api_version();
    if version < 0 {
        bail!("{} is not a KVM device", device.display());
    }
    if version != API_VERSION {
        bail!("{} speaks KVM API version {version}; {API_VERSION} is needed", device.display());
    }
    Ok(kvm)
}

/// Finds the required capabilities that `query` answers with 0 or an error.
pub fn missing_capabilities(query: impl Fn(u32) -> i32) -> Vec<&'static str> {
    let required = CAPABILITIES.iter().filter(|capability| capability.required);
    required.filter(|capability| query(capability.number) <= 0).map(|c| c.name).collect()
}

/// Formats the answers as a table.
fn capability_table(query: impl Fn(u32) -> i32) -> String {
    let mut table = String::new();
    for capability in CAPABILITIES {
        let value = query(capability.number);
        let note = match (capability.required, value > 0) {
            (true, false) => "  missing, required",
            (true, true) => "  required",
            (false, _) => "",
        };
        // Writing to a string does not fail.
        let _ = writeln!(table, "  {:<20} {value:>6}{note}", capability.name);
    }
    table
}

/// Runs `redoubt check`.
pub fn check(args: &CheckArgs) -> Result<ExitCode> {
    let kvm = open_kvm(&args.device)?;
    let query = |number: u32| kvm.check_extension_raw(number.into());
    println!("{}: present, API version {API_VERSION}", args.device.display());
    println!("capabilities:\n{}", capability_table(query).trim_end());

    let mut usable = true;
    if !cfg!(target_arch = "aarch64") {
        println!("this machine: not arm64, so redoubt cannot run virtual machines here");
        usable = false;
    }
    let missing = missing_capabilities(query);
    if !missing.is_empty() {
        println!("required capabilities are missing: {}", missing.join(", "));
        usable = false;
    }
    if usable {
        let limit = u32::try_from(query(kvm_bindings::KVM_CAP_ARM_VM_IPA_SIZE)).unwrap_or(0);
        let bits = if limit == 0 { DEFAULT_IPA_BITS } else { limit.min(DEFAULT_IPA_BITS) };
        for (name, protected) in [("unprotected", false), ("protected", true)] {
            match kvm.create_vm_with_type(vm_type(limit, bits, protected)) {
                Ok(_) => println!("{name} virtual machines: offered"),
                Err(error) => println!("{name} virtual machines: not offered ({error})"),
            }
        }
    }
    Ok(ExitCode::from(if usable { EXIT_POWERED_OFF } else { EXIT_FAILURE }))
}

//! Redoubt's virtual machine monitor: starts one virtual machine per process through the KVM ioctl
//! ABI and is its console.
//!
//! It runs in user space and is trusted by nobody: a protected guest's memory and registers are
//! kept from it by the hypervisor, and the sandbox keeps it from the rest of the host. It uses only
//! the KVM calls listed in its README, so it runs on the Linux kernel's own KVM and on Redoubt's
//! driver alike.
//!
//! # Key parts
//!
//! - What the guest is given: [`layout`] (guest physical addresses), [`image`] (the kernel's file
//!   format), [`fdt`] (the device tree), [`memory`] (guest RAM up to the start of the guest).
//! - What the guest talks to: [`uart`] (a 16550), [`console`] (the UART joined to stdin, stdout and
//!   an interrupt line), [`escape`] and [`tty`] (the user's side of it).
//! - What runs it: `kvm` (arm64 only: the virtual machine and its vCPU threads), [`supervisor`]
//!   (the main thread), [`outcome`] (how a run may end, and the exit codes), [`sandbox`].
//! - What the user sees: [`cli`], [`mod@check`], [`run`].
//!
//! Everything but `kvm` builds and is tested on any Linux machine.

pub mod check;
pub mod cli;
pub mod console;
pub mod escape;
pub mod fdt;
pub mod host;
pub mod image;
#[cfg(target_arch = "aarch64")]
pub mod kvm;
pub mod kvm_abi;
pub mod layout;
pub mod memory;
pub mod outcome;
pub mod run;
pub mod sandbox;
pub mod supervisor;
pub mod tty;
pub mod uart;

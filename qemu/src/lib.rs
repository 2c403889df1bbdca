//! Machine definitions and the QEMU launcher.
//!
//! What this crate decides: how a machine that Redoubt runs on looks to QEMU ([`Machine`]), how it
//! is started and watched ([`Vm`], [`Console`]), how its memory is looked at from outside ([`Qmp`])
//! and how an initramfs is put together ([`cpio`]). It is used by `xtask` and by the QEMU tests, so
//! that a test and a user's `cargo xtask run` start the same machine.
//!
//! Invariants: a [`Vm`] never outlives its handle (the process is killed on drop); a wait always
//! has a time limit; everything the machine prints is in its log file, whatever was waited for.
//!
//! Trusted: QEMU and the developer's machine. What the guest prints is not: it is text to match,
//! never a path or a command.

pub mod console;
pub mod cpio;
pub mod fdt;
pub mod find;
pub mod machine;
pub mod qmp;
pub mod raw;
pub mod vm;

pub use console::{Console, Found};
pub use find::{Qemu, Version};
pub use machine::{Boot, Cpu, Device, Iommu, Load, Machine, RAM_BASE, SECOND_ROOT_BUS, Serial};
pub use qmp::Qmp;
pub use vm::{Launch, Vm};

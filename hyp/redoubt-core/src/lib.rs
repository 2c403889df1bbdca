//! Every decision of the Redoubt hypervisor, without any hardware.
//!
//! Effects enter through small traits ([`hw`]); the arch crate implements them, tests use recording
//! fakes that assert order as well as results. Nothing here allocates, panics or is unsafe.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

#[cfg(test)]
extern crate std;

pub mod addr;
pub mod cpu;
pub mod exit;
#[cfg(test)]
pub(crate) mod fake;
pub mod frames;
pub mod gic;
pub mod hw;
pub mod inject;
pub mod memory;
pub mod psci;
pub mod refusal;
pub mod smccc;
pub mod smmu;
pub mod stage1;
pub mod stage2;
pub mod sysreg;
pub mod tables;
pub mod transition;
pub mod vcpu;
pub mod vgic;
pub mod vm;

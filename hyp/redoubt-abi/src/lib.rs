//! The binary interface of Redoubt: hypercall numbers, register codecs, status codes and the
//! layout of the run page.
//!
//! This crate is shared by EL2, the hostile-host tests and (through a generated C header) the
//! Linux driver, so that there is one definition of every number. It decides nothing: policy is in
//! `redoubt-core`.
//!
//! # Calling convention
//!
//! Host calls follow SMCCC 1.1 or later (Arm DEN0028): fast HVC64 calls of the vendor-specific
//! hypervisor range (owner 6). The function identifier is in W0, arguments are in X1 to X6; X0
//! returns a [`Status`], X1 one value. X2 and X3 are returned as zero. Registers from X4 up are
//! preserved. A function identifier that is not listed in [`HostCall`] is answered with
//! [`Status::NotSupported`], whatever the other registers hold.
//!
//! Everything that does not fit into registers goes through the run page of a virtual CPU
//! ([`run`]), a page that stays the host's, and that EL2 reads once on entry.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(any(test, feature = "generate")),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

#[cfg(any(test, feature = "generate"))]
extern crate std;

pub mod call;
pub mod guest;
pub mod reg;
pub mod run;
pub mod status;

#[cfg(any(test, feature = "generate"))]
pub mod generate;

#[cfg(test)]
mod tests;

pub use call::HostCall;
pub use status::Status;

/// Version of the interface: major in bits 31:16, minor in bits 15:0. The major number changes
/// when an older driver cannot work any more.
pub const ABI_VERSION: u32 = 0x0001_0001;

/// Size in bytes of the pages that every call counts in.
pub const PAGE_SIZE: u64 = 4096;

/// Bytes 0 to 3 of each UUID word that the SMCCC call UID query (0x8600_FF01) returns to the host.
pub const HOST_UID: [u32; 4] = [0x5244_4254, 0x7f3a_4c11, 0x9be2_0d6c, 0x31a5_88f0];

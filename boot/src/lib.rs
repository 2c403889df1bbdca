//! How the Redoubt image is packed, found and handed over.
//!
//! Everything between "a bootloader jumped to us with an FDT in x0" and "the host kernel is
//! entered at EL1" that is a decision on bytes rather than an access to hardware:
//!
//! | module | decides |
//! |---|---|
//! | [`image`] | what an arm64 Linux Image header says, and how ours reads |
//! | [`bundle`] | how hypervisor and host kernel travel in one file, and where each lies |
//! | [`fdt`] | what a flattened device tree says, if it is one |
//! | [`machine`] | which RAM, CPUs, interrupts, console and devices that tree describes |
//! | [`iort`] | whether QEMU's PCI functions pass by the SMMU that the tree shows |
//! | [`pci`] | which PCI functions there are, and whether each is behind its SMMU |
//! | [`unguarded`] | every reason not to trust that devices are kept from memory, in words |
//! | [`layout`] | where the hypervisor's own memory goes and how much of it there is |
//! | [`host_fdt`] | the device tree that the host gets to see |
//! | [`error`] | every reason to refuse a boot, in words |
//!
//! # Trust
//!
//! The bytes come from the bootloader. They are believed where nothing can check them (which
//! addresses are RAM), but they are never trusted to be well-formed: every function here is
//! total. There is no panic path, no recursion, no allocation, and each loop is bounded by the
//! length of the input or by a constant. The one exception to the allocation rule is
//! [`bundle`]'s packer, which is behind the feature `pack` and never part of the image.
//!
//! # Safety
//!
//! The crate holds no unsafe code and never looks at an address: callers hand it slices.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

#[cfg(feature = "pack")]
extern crate alloc;

mod array_vec;
mod bytes;
mod range;

pub mod bundle;
pub mod error;
pub mod fdt;
pub mod host_fdt;
pub mod image;
pub mod iort;
pub mod layout;
pub mod machine;
pub mod pci;
pub mod unguarded;

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod testing;

pub use array_vec::{ArrayVec, Full};
pub use error::BootError;
pub use range::{BLOCK_SIZE, MAX_ADDRESS, PAGE_SIZE, PhysRange, RangeSet};

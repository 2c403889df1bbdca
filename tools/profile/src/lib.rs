//! The attack profile: how much privileged code a workload really traverses.
//!
//! A TCG plugin in QEMU records which instructions ran at which exception level. This crate maps
//! them to functions and source lines, and reports them for Redoubt and its peers.

pub mod analysis;
pub mod causes;
pub mod density;
pub mod elf;
#[cfg(test)]
mod fixtures;
pub mod gate;
pub mod html;
pub mod image;
pub mod lines;
pub mod model;
pub mod recording;
mod source;
pub mod summary;
pub mod text;

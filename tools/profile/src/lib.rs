//! The attack profile: how much privileged code a workload really traverses.
//!
//! A TCG plugin in QEMU records which instructions ran at which exception level. This crate maps
//! them to functions and source lines, and reports them for Redoubt and its peers.

pub mod model;

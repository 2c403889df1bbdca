//! Devices that write to memory, and programs that point them wherever they like.
//!
//! Here they obey the test alone: each is taken from its driver, and its registers are written from
//! user space, as the host's kernel could. Addresses given to them are physical ones; that is what
//! they mean behind an SMMU that only the hypervisor knows.

pub mod edu;
pub mod igb;
pub mod nvme;
pub mod pci;

/// What a device writes in an attack, repeated: to be found in memory from outside, or not.
pub const MARK: u64 = 0x4b52_414d_2d41_4d44;

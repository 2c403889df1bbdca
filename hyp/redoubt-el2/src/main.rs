//! Redoubt: the image that runs at EL2.
//!
//! Entered by the boot loader in place of Linux, it takes a region of RAM for itself, puts stage-2
//! translation under the host and starts it at EL1. From then on it runs only when an exception
//! brings it in. All decisions are in `redoubt-core` and `redoubt-boot`; this crate holds the
//! assembly, the registers, the windows through which EL2 reaches memory that is not its own, and
//! the wiring. It is the only crate of the trusted base with `unsafe`.
//!
//! | module | what |
//! |---|---|
//! | `arch` | instructions, system registers, entry and vectors in assembly |
//! | `boot` | from the loader to the host's first instruction |
//! | `host` | entries from the host |
//! | `hypercall` | the calls of the host |
//! | `psci` | power control, CPUs coming up |
//! | `guest`, `world`, `vgic` | running a vCPU |
//! | `vm` | VM slots and their locks |
//! | `dma` | SMMUs, the inventory, the GIC's registers that lead to memory |
//! | `memory`, `window`, `mmio` | tables, TLB, scrubbing; mapping of foreign pages; device registers |
//! | `percpu`, `sync`, `layout`, `traps`, `cpu`, `console`, `fatal` | what the others stand on |
#![no_std]
#![no_main]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod arch;
mod boot;
mod console;
mod cpu;
mod dma;
mod fatal;
mod guest;
mod host;
mod hypercall;
mod layout;
mod memory;
mod mmio;
mod percpu;
mod psci;
mod sync;
mod traps;
mod vgic;
mod vm;
mod window;
mod world;

//! Measures what a guest pays under whatever hypervisor started it, by marks alone: a plugin of QEMU
//! counts the instructions of all levels between two of them.
//!
//! A VMM places its guest where it likes, so this is position-independent assembly with the MMU off.
//! It knows two address maps: that of the VMM `redoubt`, and that of Xen, which it tells by its device
//! tree. It says nothing, since Xen gives it no console.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
core::arch::global_asm!(include_str!("bench-peer.S"));

/// Nothing here can panic: there is no Rust code to run.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

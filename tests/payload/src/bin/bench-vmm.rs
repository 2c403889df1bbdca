//! Measures what a guest pays under a real VMM, in ticks of the counter: under `-icount shift=0` with
//! a counter of 1 GHz, one tick is one instruction.
//!
//! A VMM places its guest where it likes, so this is position-independent assembly with the MMU off.
//! It knows the address map of the VMM `redoubt`: the interrupt controller, which the host's kernel
//! emulates, and the UART, which the VMM does. Prints lines `BENCH name value`, each of the fastest
//! of many runs, with the loop's own cost taken off.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
core::arch::global_asm!(include_str!("bench-vmm.S"));

/// Nothing here can panic: there is no Rust code to run.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

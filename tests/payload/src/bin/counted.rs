//! Runs a known number of instructions at each exception level: what the profile's plugin must count.
//!
//! QEMU starts it at EL2, alone in the machine (`virt`, GICv3, one CPU). It marks its phases, and every
//! phase says beside its code how many instructions it runs at which level, and which entries into EL2
//! it causes. The file is placed so that the code of phase N is at 0x40201000 + N * 0x100, and the test
//! needs no symbols. It ends by PSCI SYSTEM_OFF.
//!
//! Trusts nothing but QEMU; nothing here is meant for a guest.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
core::arch::global_asm!(include_str!("counted.S"));

/// Nothing here can panic: there is no Rust code to run.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

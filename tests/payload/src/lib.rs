//! Runtime of the bare-metal guest payloads.
//!
//! A payload is a flat arm64 Image that runs at EL1 from 0x40200000, alone in its machine: as a VM
//! of the hostile host, as a guest of a VMM, or started by QEMU itself. The entry code
//! (`entry.S`) records every register it finds, sets up an identity map and a stack, and calls
//! the function given to [`payload!`].
//!
//! The world outside is reached through devices that are not there, so that every access exits to
//! whoever runs the VM (see [`device`]), and through HVC.
//!
//! Trusts nothing; decides nothing. Compiled empty for any target that is not bare metal.
#![cfg_attr(target_os = "none", no_std)]

#[cfg(target_os = "none")]
mod runtime;
#[cfg(target_os = "none")]
pub use runtime::*;

/// Declares the functions that the entry code calls, from the module named: `main`, which gets the
/// registers found at entry, and `secondary` for every other CPU, which gets the top of its stack.
#[macro_export]
macro_rules! payload {
    ($module:ident) => {
        #[cfg(target_os = "none")]
        mod payload_entry {
            /// Called by the entry code on the first CPU.
            // SAFETY: only entry.S names this symbol.
            #[unsafe(no_mangle)]
            extern "C" fn payload_main(capture: &'static $crate::Capture) -> ! {
                super::$module::main(capture);
                $crate::power_off()
            }

            /// Called by the entry code on the other CPUs.
            // SAFETY: only entry.S names this symbol.
            #[unsafe(no_mangle)]
            extern "C" fn payload_secondary(stack_top: u64) -> ! {
                super::$module::secondary(stack_top);
                $crate::cpu_off()
            }

            /// Nothing here is worth unwinding: says so and switches off.
            #[panic_handler]
            fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
                $crate::println!("PANIC {info}");
                $crate::power_off()
            }
        }

        #[cfg(not(target_os = "none"))]
        fn main() {}
    };
}

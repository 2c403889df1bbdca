//! The end: an invariant of EL2 does not hold, so nothing may run any more.
//!
//! The CPU that finds it says what broke, and asks the firmware to reset the machine. Guests'
//! memory stays out of the host's reach: the stage-2 tables are not touched and nothing returns to
//! EL1 on this CPU. The firmware's reset stops the others.

use crate::arch::{self, sysreg};
use crate::console;

/// PSCI SYSTEM_RESET.
const SYSTEM_RESET: u64 = 0x8400_0009;

/// Says what broke and resets the machine.
pub fn stop(what: &str) -> ! {
    console::line().text("fatal: ").text(what).text("; resetting the machine");
    halt(true)
}

/// Says why the machine cannot be started, and stops.
pub fn refuse(message: impl FnOnce(console::Line) -> console::Line) -> ! {
    drop(message(console::line().text("cannot start: ")));
    halt(false)
}

/// Never returns.
fn halt(reset: bool) -> ! {
    if reset {
        arch::smc([SYSTEM_RESET, 0, 0, 0]);
    }
    loop {
        arch::wfe();
    }
}

/// An exception of EL2 itself, from vectors.S.
#[unsafe(no_mangle)]
extern "C" fn exception_fatal(kind: u64, esr: u64, elr: u64, far: u64) -> ! {
    drop(
        console::line()
            .text("fatal: exception at EL2, vector ")
            .decimal(kind)
            .text(", ESR ")
            .hex(esr)
            .text(", ELR ")
            .hex(elr)
            .text(", FAR ")
            .hex(far)
            .text(", SPSR ")
            .hex(sysreg::read_spsr_el2()),
    );
    halt(true)
}

/// Required by the language; a build whose image links it does not pass the size gate.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    stop("panic")
}

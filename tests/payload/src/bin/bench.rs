//! Measures what a guest pays, in ticks of the counter: under `-icount shift=0` with a counter of
//! 1 GHz, one tick is one instruction.
//!
//! Prints lines `BENCH name value`: the mean of a run of calls, with the loop's own cost taken off.
#![cfg_attr(target_os = "none", no_std, no_main)]

use redoubt_payload::payload;

payload!(bench);

#[cfg(target_os = "none")]
mod bench {
    use redoubt_abi::guest;
    use redoubt_payload::{Capture, counter, cpu_off, device, hvc, mrs, println, read, write};

    /// Repetitions of each measurement, after as many to warm up.
    const ROUNDS: u64 = 1000;

    /// Mean ticks of one call.
    fn measure(mut call: impl FnMut()) -> u64 {
        for _ in 0..ROUNDS {
            call();
        }
        let start = counter();
        for _ in 0..ROUNDS {
            call();
        }
        counter().wrapping_sub(start) / ROUNDS
    }

    pub fn main(_: &'static Capture) {
        println!("BENCH-FREQUENCY {}", mrs!("cntfrq_el0"));
        let empty = measure(|| core::hint::black_box(()));
        let report = |name: &str, value: u64| {
            println!("BENCH {name} {}", value.saturating_sub(empty));
        };
        report(
            "guest_hvc",
            measure(|| {
                let _ = hvc([u64::from(guest::SMCCC_VERSION), 0, 0, 0]);
            }),
        );
        report("guest_mmio_write", measure(|| write(device::NOTHING, 1)));
        report(
            "guest_mmio_read",
            measure(|| {
                let _ = read(device::NOTHING);
            }),
        );
        report(
            "guest_counter",
            measure(|| {
                let _ = mrs!("cntvct_el0");
            }),
        );
        report("guest_suspend", measure(suspend));
        println!("BENCH-END");
    }

    /// Standby through PSCI: an exit that waits for an interrupt, woken at once by whoever runs us.
    fn suspend() {
        let _ = hvc([u64::from(guest::PSCI_CPU_SUSPEND_64), 0, 0, 0]);
    }

    pub fn secondary(_: u64) {
        cpu_off();
    }
}

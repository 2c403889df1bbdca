//! The UART, for the messages of the boot and of a fatal stop.
//!
//! PL011 (Arm DDI 0183). The device stays the host's: EL2 writes to it before the host starts, and
//! afterwards only when it stops the machine. It never waits for it without a bound, because the
//! host decides whether the device sends at all.
//!
//! Formatting is done here: `core::fmt` would bring panicking code into the image.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Virtual address of the registers; zero while there is no console.
static BASE: AtomicU64 = AtomicU64::new(0);

/// Offset of the data register.
const UARTDR: u64 = 0x00;
/// Offset of the flag register.
const UARTFR: u64 = 0x18;
/// Flag: transmit FIFO full.
const UARTFR_TXFF: u32 = 1 << 5;
/// How often the flag register is read for one message before the rest of it is dropped.
const PATIENCE: u32 = 200_000;

/// What is left of the patience for the current message.
static PATIENCE_LEFT: AtomicU32 = AtomicU32::new(0);

/// Says where the registers are mapped.
pub fn set_base(address: u64) {
    BASE.store(address, Ordering::Relaxed);
}

/// Sends one byte.
fn put(byte: u8) {
    let base = BASE.load(Ordering::Relaxed);
    if base == 0 {
        return;
    }
    let flags = base.wrapping_add(UARTFR) as *const u32;
    let data = base.wrapping_add(UARTDR) as *mut u32;
    for left in (0..PATIENCE_LEFT.load(Ordering::Relaxed)).rev() {
        PATIENCE_LEFT.store(left, Ordering::Relaxed);
        // SAFETY: `set_base` got the address of a mapped PL011.
        if unsafe { flags.read_volatile() } & UARTFR_TXFF == 0 {
            // SAFETY: as above.
            unsafe { data.write_volatile(byte.into()) };
            return;
        }
    }
}

/// A message under construction; the line ends when it is dropped.
#[derive(Debug)]
pub struct Line(());

/// Starts a line with the prefix that all messages carry.
pub fn line() -> Line {
    PATIENCE_LEFT.store(PATIENCE, Ordering::Relaxed);
    Line(()).text("redoubt: ")
}

impl Line {
    /// Appends text.
    pub fn text(self, text: &str) -> Self {
        text.bytes().for_each(put);
        self
    }

    /// Appends a hexadecimal number.
    pub fn hex(self, value: u64) -> Self {
        self.text("0x").digits(value, 16)
    }

    /// Appends a decimal number.
    pub fn decimal(self, value: u64) -> Self {
        self.digits(value, 10)
    }

    /// Appends a number.
    fn digits(self, value: u64, base: u64) -> Self {
        let mut unit = 1u64;
        while value.checked_div(unit).is_some_and(|left| left >= base) {
            unit = unit.saturating_mul(base);
        }
        while let Some(left) = value.checked_div(unit) {
            let digit = left.checked_rem(base).unwrap_or(0);
            put(b"0123456789abcdef".get(digit as usize).copied().unwrap_or(b'?'));
            unit = unit.checked_div(base).unwrap_or(0);
        }
        self
    }

    /// Appends what a describing function puts out.
    pub fn described(self, describe: impl FnOnce(&mut dyn FnMut(u8))) -> Self {
        describe(&mut put);
        self
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        put(b'\r');
        put(b'\n');
    }
}

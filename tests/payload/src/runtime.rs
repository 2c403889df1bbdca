//! What every payload uses: console, devices, calls, guarded execution, interrupts.

use core::arch::{asm, global_asm};
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use redoubt_abi::guest;

global_asm!(include_str!("entry.S"));

/// Addresses at which the world outside stands ready; none is memory of the payload.
pub mod device {
    /// A byte stored here is printed.
    pub const UART: u64 = 0x0900_0000;
    /// An 8-byte read gives the canary its next challenge.
    pub const CHALLENGE: u64 = 0x0a00_0000;
    /// The canary's answer to the challenge.
    pub const ANSWER: u64 = 0x0a00_0008;
    /// Key of a report.
    pub const REPORT_KEY: u64 = 0x0a00_0010;
    /// Value of the report; completes it.
    pub const REPORT_VALUE: u64 = 0x0a00_0018;
    /// A read that only causes an exit.
    pub const NOTHING: u64 = 0x0a00_0020;
}

/// Registers as they were at the first instruction.
#[repr(C)]
#[derive(Debug)]
pub struct Capture {
    /// X0 to X30.
    pub x: [u64; 31],
    /// CPACR_EL1.
    pub cpacr: u64,
    /// FPSR.
    pub fpsr: u64,
    /// FPCR.
    pub fpcr: u64,
    /// V0 to V31, low half first.
    pub v: [u64; 64],
}

/// Frame of the guarded call in `entry.S`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct GuardFrame {
    x: [u64; 18],
    esr: u64,
    far: u64,
    caught: u64,
    reserved: [u64; 10],
    entry: u64,
}

/// General and FP registers around one device access; see `expose` in `entry.S`.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug)]
pub struct Exposed {
    /// X0 to X30; X0 is the value, X1 the address of the access.
    pub x: [u64; 31],
    /// Not zero: the access is a write.
    pub write: u64,
    /// V0 to V31.
    pub v: [u64; 64],
}

unsafe extern "C" {
    fn guarded(frame: *mut GuardFrame);
    fn expose(registers: *mut Exposed);
    fn secondary_start();
    static mut code_page: [u32; 1024];
}

/// How a piece of code ended.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// It returned; X0 to X17.
    Returned([u64; 18]),
    /// It took an exception to EL1.
    Exception {
        /// ESR_EL1.
        esr: u64,
        /// FAR_EL1.
        far: u64,
    },
}

impl Outcome {
    /// Exception class, or `None` if the code returned.
    #[must_use]
    pub const fn class(&self) -> Option<u64> {
        match *self {
            Self::Returned(_) => None,
            Self::Exception { esr, .. } => Some((esr >> 26) & 0x3f),
        }
    }
}

/// Executes A64 instructions, of which the last must be RET, with X0 to X17 given. The code may
/// change no other register than those, X30 excepted. One CPU at a time.
#[must_use]
pub fn execute(code: &[u32], x: [u64; 18]) -> Outcome {
    let page = &raw mut code_page;
    for (index, word) in code.iter().enumerate().take(1024) {
        let slot = page.cast::<u32>().wrapping_add(index);
        // SAFETY: `slot` is inside `code_page`, which only this function writes.
        unsafe { slot.write_volatile(*word) };
    }
    let start = page as u64;
    for offset in (0..code.len() * 4 + 4).step_by(16) {
        // SAFETY: cleans a line of `code_page`.
        unsafe { asm!("dc cvau, {}", in(reg) start + offset as u64) };
    }
    // SAFETY: makes the instructions just written visible to instruction fetch.
    unsafe { asm!("dsb ish", "ic iallu", "dsb ish", "isb") };
    let mut frame = GuardFrame { x, entry: start, ..GuardFrame::default() };
    // SAFETY: `guarded` saves what the code may change, and ends it on an exception.
    unsafe { guarded(&raw mut frame) };
    if frame.caught != 0 {
        Outcome::Exception { esr: frame.esr, far: frame.far }
    } else {
        Outcome::Returned(frame.x)
    }
}

/// Makes one device access with all registers chosen, and returns them as they are after it.
pub fn expose_registers(registers: &mut Exposed) {
    // SAFETY: `expose` preserves the callee-saved registers; this target uses no FP registers.
    unsafe { expose(registers) };
}

/// Writes to a device.
pub fn write(address: u64, value: u64) {
    // SAFETY: the addresses of `device` are no memory, so the store changes nothing here.
    unsafe { asm!("str {1}, [{0}]", in(reg) address, in(reg) value, options(nostack)) };
}

/// Reads from a device.
#[must_use]
pub fn read(address: u64) -> u64 {
    let value;
    // SAFETY: the addresses of `device` are no memory.
    unsafe { asm!("ldr {1}, [{0}]", in(reg) address, out(reg) value, options(nostack)) };
    value
}

/// Hands a number to whoever runs the VM.
pub fn report(key: u64, value: u64) {
    write(device::REPORT_KEY, key);
    write(device::REPORT_VALUE, value);
}

/// Calls through HVC; returns X0 to X3.
pub fn hvc(x: [u64; 4]) -> [u64; 4] {
    let [mut x0, mut x1, mut x2, mut x3] = x;
    // SAFETY: SMCCC 1.1: no other register changes.
    unsafe {
        asm!("hvc #0", inout("x0") x0, inout("x1") x1, inout("x2") x2, inout("x3") x3,
             options(nostack));
    };
    [x0, x1, x2, x3]
}

/// Calls through SMC; returns X0 to X3.
pub fn smc(x: [u64; 4]) -> [u64; 4] {
    let [mut x0, mut x1, mut x2, mut x3] = x;
    // SAFETY: SMCCC 1.1: no other register changes.
    unsafe {
        asm!("smc #0", inout("x0") x0, inout("x1") x1, inout("x2") x2, inout("x3") x3,
             options(nostack));
    };
    [x0, x1, x2, x3]
}

/// The virtual counter, read in order.
#[must_use]
pub fn counter() -> u64 {
    let value;
    // SAFETY: reads a counter.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", out(reg) value, options(nostack)) };
    value
}

/// A number the host cannot foresee where the CPU has FEAT_RNG, else one derived from the counter.
#[must_use]
pub fn random(salt: u64) -> u64 {
    let [status, _, high, low] = hvc([u64::from(guest::TRNG_RND_64), 64, 0, 0]);
    let seed = if status == 0 { high ^ low.rotate_left(1) } else { counter() };
    mix(seed ^ mix(salt))
}

/// The finaliser of splitmix64: a bijection that spreads every bit.
#[must_use]
pub const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Ends the machine.
pub fn power_off() -> ! {
    let _ = hvc([u64::from(guest::PSCI_SYSTEM_OFF), 0, 0, 0]);
    loop {
        wait_for_interrupt();
    }
}

/// Switches this CPU off.
pub fn cpu_off() -> ! {
    let _ = hvc([u64::from(guest::PSCI_CPU_OFF), 0, 0, 0]);
    loop {
        wait_for_interrupt();
    }
}

/// Switches a CPU on with a stack; returns the status of PSCI.
#[must_use]
pub fn cpu_on(mpidr: u64, stack_top: u64) -> u64 {
    let entry = secondary_start as *const () as u64;
    hvc([u64::from(guest::PSCI_CPU_ON_64), mpidr, entry, stack_top])[0]
}

/// WFI.
pub fn wait_for_interrupt() {
    // SAFETY: a hint.
    unsafe { asm!("dsb sy", "wfi", options(nostack)) };
}

/// Interrupts taken, and the number of the last one.
pub static INTERRUPTS: AtomicU64 = AtomicU64::new(0);
/// INTID of the last interrupt taken.
pub static LAST_INTERRUPT: AtomicU64 = AtomicU64::new(u64::MAX);

/// Turns the GIC's CPU interface on: group 1, all priorities.
pub fn gic_on() {
    // SAFETY: the interface of this CPU; interrupts are still masked.
    unsafe {
        asm!("msr S3_0_C12_C12_5, {0}", "isb", "msr S3_0_C4_C6_0, {1}", "msr S3_0_C12_C12_7, {2}",
             "isb", in(reg) 1u64, in(reg) 0xffu64, in(reg) 1u64);
    };
}

/// Takes interrupts, or masks them.
pub fn interrupts(on: bool) {
    if on {
        // SAFETY: the vectors and the handler are in place.
        unsafe { asm!("msr daifclr, #2") };
    } else {
        // SAFETY: masking is always safe.
        unsafe { asm!("msr daifset, #2") };
    }
}

/// Called by the vectors: acknowledges, counts, completes.
// SAFETY: only entry.S names this symbol.
#[unsafe(no_mangle)]
extern "C" fn payload_irq() {
    let intid: u64;
    // SAFETY: ICC_IAR1_EL1: acknowledges the interrupt being taken.
    unsafe { asm!("mrs {}, S3_0_C12_C12_0", "dsb sy", out(reg) intid) };
    if intid < 1020 {
        LAST_INTERRUPT.store(intid, Ordering::Relaxed);
        let count = INTERRUPTS.load(Ordering::Relaxed);
        INTERRUPTS.store(count.wrapping_add(1), Ordering::Relaxed);
        // SAFETY: ICC_EOIR1_EL1: completes the interrupt acknowledged above.
        unsafe { asm!("msr S3_0_C12_C12_1, {}", "isb", in(reg) intid) };
    }
}

/// Called by the vectors for an exception that nobody expects.
// SAFETY: only entry.S names this symbol.
#[unsafe(no_mangle)]
extern "C" fn payload_fatal(elr: u64, far: u64, esr: u64) -> ! {
    crate::println!("FATAL exception: ESR {esr:#x} ELR {elr:#x} FAR {far:#x}");
    power_off()
}

/// The console.
#[derive(Debug)]
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: the UART is no memory. A word store of one byte's width: what PL011 takes.
            unsafe {
                asm!("strb {1:w}, [{0}]", in(reg) device::UART, in(reg) u32::from(byte),
                     options(nostack));
            };
        }
        Ok(())
    }
}

/// Prints a line.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {{
        use ::core::fmt::Write as _;
        let _ = ::core::writeln!($crate::Console, $($argument)*);
    }};
}

/// Reads a system register by name.
#[macro_export]
macro_rules! mrs {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading these registers has no side effect.
        unsafe { ::core::arch::asm!(::core::concat!("mrs {}, ", $name), out(reg) value) };
        value
    }};
}

/// Writes a system register by name.
#[macro_export]
macro_rules! msr {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: the payloads only write registers that do not affect running Rust code.
        unsafe { ::core::arch::asm!(::core::concat!("msr ", $name, ", {}"), "isb", in(reg) value) };
    }};
}

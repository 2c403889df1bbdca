//! A hostile guest for any hypervisor: random calls, system registers, system instructions, device
//! and memory accesses, instructions that are not there.
//!
//! Runs wherever it is loaded, with the MMU off, at EL1; needs no console, no device tree and no
//! particular address map. The attempts follow from a fixed seed, are a fixed number, and an
//! exception ends none but the one that took it. Decides what is attempted: anything but what would
//! end or stop the machine before the last attempt (to switch off, reset, suspend or wait for an
//! interrupt), or this program itself (its vectors, and turning its MMU on). A register that was
//! written is put back at once.
//!
//! Ends by PSCI SYSTEM_OFF, having said `FUZZ done: N attempts, M refused` on the UARTs where the
//! VMM `redoubt` and Xen have theirs.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
core::arch::global_asm!(include_str!("fuzz-guest.S"));

#[cfg(target_os = "none")]
mod fuzz {
    use core::arch::asm;

    /// Attempts.
    const ATTEMPTS: u64 = 4000;

    const RET: u32 = 0xd65f_03c0;
    const ISB: u32 = 0xd503_3fdf;
    const HVC: u32 = 0xd400_0002;
    const SMC: u32 = 0xd400_0003;
    /// The immediate of Xen's hypercalls.
    const XEN: u32 = 0xea1;

    /// PSCI calls that end, reset, stop or suspend: CPU_SUSPEND, CPU_OFF, SYSTEM_OFF, SYSTEM_RESET,
    /// CPU_FREEZE, CPU_DEFAULT_SUSPEND, SYSTEM_SUSPEND, SYSTEM_RESET2.
    const FATAL_PSCI: [u64; 8] = [1, 2, 8, 9, 0xb, 0xc, 0xe, 0x12];
    const PSCI_CPU_ON: u64 = 3;
    /// Xen's `sched_op`, by which a domain stops itself.
    const XEN_SCHED_OP: u64 = 29;

    /// Where devices are, in the machines of `redoubt` and of Xen, with the bytes that each has: the
    /// distributor, redistributors and a UART of both; and places where nothing is.
    const DEVICES: [(u64, u64); 12] = [
        (0x0800_0000, 0x1_0000),
        (0x1000_0000, 0x4_0000),
        (0x0900_0000, 0x1000),
        (0x0300_1000, 0x1_0000),
        (0x0302_0000, 0x4_0000),
        (0x2200_0000, 0x1000),
        (0x0a00_0000, 0x1000),
        (0, 0x1000),
        (0x3fff_0000, 0x1_0000),
        (0x7fff_f000, 0x1000),
        (0x20_0000_0000, 0x1000_0000),
        (0x80_0000_0000, 0x1000),
    ];
    /// Memory behind the image that is touched.
    const MEMORY: u64 = 32 << 20;

    /// Instructions that are no ordinary ones: undefined, for a debugger, hints, the scalable
    /// extensions.
    const ODD: [u32; 23] = [
        0x0000_0000, // udf #0
        0x0000_ffff, // udf #0xffff
        0xd420_0000, // brk #0
        0xd440_0000, // hlt #0
        0xd440_1e00, // hlt #0xf0
        0xd4a0_0001, // dcps1
        0xd4a0_0002, // dcps2
        0xd4a0_0003, // dcps3
        0xd6bf_03e0, // drps
        0xd400_0001, // svc #0
        0xd503_203f, // yield
        0xd503_205f, // wfe
        0xd503_209f, // sev
        0xd503_221f, // esb
        0xd503_223f, // psb csync
        0xd503_225f, // tsb csync
        0x1e27_0000, // fmov s0, w0
        0x04bf_5020, // rdvl x0, #1
        0x04bf_5820, // rdsvl x0, #1
        0xd503_477f, // smstart
        0xd503_467f, // smstop
        0xc0e0_0000, // of no extension yet
        0xdac1_43e0, // xpaci x0
    ];

    unsafe extern "C" {
        fn fuzz_attempt(registers: *const u64) -> u64;
        fn fuzz_secondary();
        static mut fuzz_code: [u32; 1024];
    }

    /// The numbers of the attempts: splitmix64.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        fn below(&mut self, limit: u64) -> u64 {
            self.next() % limit
        }
    }

    /// Writes the code of an attempt, of at most seven instructions, and runs it with X0 to X7 and
    /// X16. True if it took an exception.
    fn attempt(code: &[u32], x: &[u64; 9]) -> bool {
        let page = &raw mut fuzz_code;
        for (index, word) in code.iter().chain(&[RET]).enumerate() {
            let slot = page.cast::<u32>().wrapping_add(index);
            // SAFETY: the first words of the page, which only this function writes.
            unsafe { slot.write_volatile(*word) };
        }
        let start = page as u64;
        // SAFETY: cleans the line or two that were written.
        unsafe { asm!("dc cvau, {0}", "dc cvau, {1}", in(reg) start, in(reg) start + 31) };
        // SAFETY: makes the instructions visible to the fetch.
        unsafe { asm!("dsb ish", "ic iallu", "dsb ish", "isb") };
        // SAFETY: saves what the code may change, and ends it on an exception.
        unsafe { fuzz_attempt(x.as_ptr()) != 0 }
    }

    /// A guest that knows no limits.
    struct Fuzz {
        random: Random,
        /// Behind the image.
        end: u64,
    }

    impl Fuzz {
        /// A number for a register.
        fn number(&mut self) -> u64 {
            let random = self.random.next();
            match random >> 60 {
                0..=2 => 0,
                3 => u64::MAX,
                4 | 5 => random & 0xff,
                6 | 7 => 1 << (random & 63),
                8 | 9 => self.page(),
                10 => random & 0xffff_ffff,
                11 => self.page() | 1 << 39,
                _ => random,
            }
        }

        /// A page of memory that nobody needs.
        fn page(&mut self) -> u64 {
            (self.end + self.random.below(MEMORY)) & !0xfff
        }

        fn numbers(&mut self) -> [u64; 9] {
            let mut x = [0; 9];
            for value in &mut x {
                *value = self.number();
            }
            x
        }

        /// A call of any owner, by HVC or SMC.
        fn call(&mut self) -> bool {
            let mut x = self.numbers();
            let random = self.random.next();
            // Fast calls of 32 or 64 bits mostly.
            let kind = if random & 15 == 0 { random >> 8 & 0xc000_0000 } else { 1 << 31 };
            let wide = (random >> 4 & 1) << 30;
            let owner = match random >> 5 & 7 {
                0 | 1 => 4, // standard secure services: PSCI, FF-A, TRNG
                2 | 3 => 6, // the hypervisor's vendor
                4 => 5,     // standard hypervisor services
                5 => 0,     // architecture
                _ => random >> 40 & 63,
            };
            let mut number = match random >> 12 & 3 {
                0 => random >> 16 & 0xffff,
                1 => random >> 16 & 0xff,
                _ => random >> 16 & 0x1f,
            };
            if owner == 4 && FATAL_PSCI.contains(&(number & 0xff)) {
                number = 0;
            }
            if owner == 4 && number == PSCI_CPU_ON {
                // A CPU that is not there: the one that is shall not run wild.
                x[1] |= 0xff00_0000;
            }
            x[0] = kind | wide | owner << 24 | number;
            attempt(&[if random >> 8 & 1 == 0 { HVC } else { SMC }], &x)
        }

        /// HVC and SMC with an immediate, which Xen's own calls have.
        fn other_call(&mut self) -> bool {
            let mut x = self.numbers();
            let random = self.random.next();
            let immediate = if random & 3 == 0 { (random >> 8) as u32 & 0xffff } else { XEN };
            let base = if random & 63 == 4 { SMC } else { HVC };
            x[8] = random >> 32 & 63;
            if x[8] == XEN_SCHED_OP {
                x[8] = 0;
            }
            // No function that means anything where the immediate means nothing.
            x[0] &= 0x7fff_ffff;
            attempt(&[base | immediate << 5], &x)
        }

        /// PSCI for the second CPU: it comes, and switches itself off.
        fn switch_on(&mut self) -> bool {
            let mut x = [0; 9];
            x[0] = 0xc400_0000 | PSCI_CPU_ON;
            x[1] = self.random.below(3);
            x[2] = fuzz_secondary as *const () as u64;
            x[3] = self.random.next();
            attempt(&[HVC], &x)
        }

        /// A register by its encoding: read, or written and put back.
        fn register(&mut self) -> bool {
            let random = self.random.next();
            let op0 = if random & 3 == 0 { 2 } else { 3 };
            let op1 = [0, 0, 0, 3, 4, 7, 1, 5][(random >> 2 & 7) as usize];
            let (crn, crm) = ((random >> 8) as u32 & 15, (random >> 12) as u32 & 15);
            let op2 = (random >> 16) as u32 & 7;
            let place = op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5;
            // X1 takes the old value, X0 is the new one.
            let (read, write, restore) =
                (0xd520_0001 | place, 0xd500_0000 | place, 0xd500_0001 | place);
            // SCTLR and its extensions would turn the MMU on, VBAR moves the vectors, RMR resets.
            let own = matches!((op0, op1, crn), (3, 0, 1 | 12)) && crm == 0;
            // DAIF would let interrupts in.
            let masks = (op0, op1, crn, crm) == (3, 3, 4, 2);
            let x = self.numbers();
            if random >> 20 & 1 == 0 || own || masks {
                attempt(&[read], &x)
            } else {
                attempt(&[read, write, ISB, restore, ISB], &x)
            }
        }

        /// Caches, TLBs, address translation: the instructions of `op0` 1.
        fn system_instruction(&mut self) -> bool {
            let random = self.random.next();
            let op1 = (random & 7) as u32;
            let crn = [7, 8, 8, 9, 7, 11, 15, 7][(random >> 3 & 7) as usize];
            let place = op1 << 16 | crn << 12 | (random >> 8) as u32 & 0xfe0;
            let mut x = self.numbers();
            // Zeroing must not hit this program, nor a place without memory: no hypervisor can
            // emulate it there, and some would rather end the machine.
            let zeroes = crn == 7 && place >> 8 & 15 == 4;
            if zeroes || x[0] < self.end + MEMORY {
                x[0] = self.page();
            }
            attempt(&[0xd508_0000 | place], &x)
        }

        /// A load or store of a device, or of nothing: forms that a hypervisor can emulate.
        fn device(&mut self) -> bool {
            let random = self.random.next();
            let (base, size) = DEVICES[(random & 0xff) as usize % DEVICES.len()];
            let width = (random >> 8 & 3) as u32;
            let align = (1 << width) - 1;
            let mut x = self.numbers();
            x[1] = base + (self.random.below(size) & !align);
            if random >> 10 & 3 == 0 {
                // The first registers, where most of the work is done.
                x[1] = base + (x[1] & 0xff & !align);
            }
            let store = 0x3900_0000 | width << 30 | 1 << 5;
            let load = store | 1 << 22;
            attempt(&[if random >> 12 & 1 == 0 { load } else { store }], &x)
        }

        /// Memory that was never touched, or a jump to where nothing is.
        fn memory(&mut self) -> bool {
            let mut x = self.numbers();
            let random = self.random.next();
            if random & 7 == 0 {
                x[1] = DEVICES[(random >> 8 & 0xff) as usize % DEVICES.len()].0;
                // br x1
                return attempt(&[0xd61f_0020], &x);
            }
            x[1] = self.page() | random >> 8 & 0xff8;
            // ldr x2, [x1]; str x0, [x1]
            attempt(&[0xf940_0022, 0xf900_0020], &x)
        }

        /// An instruction of the table.
        fn odd(&mut self) -> bool {
            let word = ODD[self.random.below(ODD.len() as u64) as usize];
            attempt(&[word], &[0; 9])
        }

        fn next(&mut self) -> bool {
            match self.random.below(16) {
                0..=3 => self.call(),
                4 => self.other_call(),
                5..=7 => self.register(),
                8 | 9 => self.system_instruction(),
                10..=12 => self.device(),
                13 => self.memory(),
                14 => self.odd(),
                _ => self.switch_on(),
            }
        }
    }

    /// Stores a byte at `address`, if that does anything.
    fn poke(address: u64, byte: u8) {
        let mut x = [0; 9];
        (x[0], x[1]) = (u64::from(byte), address);
        // strb w0, [x1]
        let _ = attempt(&[0x3900_0020], &x);
    }

    fn say(text: &[u8]) {
        for byte in text {
            poke(0x0900_0000, *byte);
            // The UART of Xen takes words only.
            let mut x = [0; 9];
            (x[0], x[1]) = (u64::from(*byte), 0x2200_0000);
            // str w0, [x1]
            let _ = attempt(&[0xb900_0020], &x);
        }
    }

    fn say_number(number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut left = number;
        while at == digits.len() || left > 0 {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
        }
        say(&digits[at..]);
    }

    /// Called by the entry code, with the first address behind the image.
    // SAFETY: only fuzz-guest.S names this symbol.
    #[unsafe(no_mangle)]
    extern "C" fn fuzz_main(end: u64) -> ! {
        let mut fuzz = Fuzz { random: Random(0x5eed), end };
        let mut refused = 0_u64;
        for _ in 0..ATTEMPTS {
            refused += u64::from(fuzz.next());
        }
        // The 16550 as after its reset: no divisor latch, no loopback, no interrupts.
        for (register, value) in [(3, 3), (1, 0), (4, 0)] {
            poke(0x0900_0000 + register, value);
        }
        say(b"\nFUZZ done: ");
        say_number(ATTEMPTS);
        say(b" attempts, ");
        say_number(refused);
        say(b" refused\n");
        let mut x = [0; 9];
        x[0] = 0x8400_0008;
        loop {
            let _ = attempt(&[HVC], &x);
        }
    }

    /// Nothing here can go wrong but this program; a hang is seen outside.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {
            core::hint::spin_loop();
        }
    }
}

//! The canary: holds a random secret in its memory and in its registers, and proves on demand that
//! nothing has touched it.
//!
//! The secret is drawn inside the VM. Whoever runs the VM never learns it, only answers to
//! challenges that follow from it: the same challenge has the same answer for as long as the secret
//! is whole, and a canary that finds any register or byte changed answers [`BROKEN`] instead.
//!
//! A challenge whose upper half is [`COMMAND`] plus a number asks for a service, see `serve`.
#![cfg_attr(target_os = "none", no_std, no_main)]

use redoubt_payload::payload;

payload!(canary);

#[cfg(target_os = "none")]
mod canary {
    use core::cell::UnsafeCell;
    use core::sync::atomic::Ordering;

    use redoubt_abi::guest;
    use redoubt_payload::{
        Capture, Exposed, INTERRUPTS, LAST_INTERRUPT, counter, cpu_off, device, expose_registers,
        gic_on, hvc, interrupts, mix, mrs, msr, power_off, random, report, wait_for_interrupt,
    };

    /// Answer of a canary that is not whole; the low half says what is broken.
    const BROKEN: u64 = 0xdead_0000_0000_0000;
    /// Upper half of a challenge that is a command.
    const COMMAND: u64 = 0xc0de_0000;

    /// Report keys.
    const KEY_PAGE: u64 = 1;
    const KEY_HASH: u64 = 2;
    const KEY_ARENA: u64 = 3;
    const KEY_READY: u64 = 4;

    const PAGES: usize = 4;
    const ARENA_PAGES: u64 = 16;
    const WORDS: usize = 512;

    /// Page-aligned memory that only CPU 0 of the payload touches, through volatile accesses.
    #[repr(C, align(4096))]
    struct Memory<const N: usize>(UnsafeCell<[u64; N]>);
    // SAFETY: a single CPU uses it.
    unsafe impl<const N: usize> Sync for Memory<N> {}

    static SECRET_PAGES: Memory<{ PAGES * WORDS }> = Memory(UnsafeCell::new([0; PAGES * WORDS]));
    static ARENA: Memory<{ 16 * WORDS }> = Memory(UnsafeCell::new([0; 16 * WORDS]));

    impl<const N: usize> Memory<N> {
        fn address(&self) -> u64 {
            self.0.get() as u64
        }

        fn get(&self, index: usize) -> u64 {
            let word = self.0.get().cast::<u64>().wrapping_add(index % N);
            // SAFETY: inside the array; volatile, since others may have changed it.
            unsafe { word.read_volatile() }
        }

        fn set(&self, index: usize, value: u64) {
            let word = self.0.get().cast::<u64>().wrapping_add(index % N);
            // SAFETY: inside the array.
            unsafe { word.write_volatile(value) };
        }
    }

    /// FNV-1a over a page, as the launcher computes it from what QEMU shows it.
    fn hash_page(page: usize) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for index in 0..WORDS {
            for byte in SECRET_PAGES.get(page * WORDS + index).to_le_bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        hash
    }

    fn word(secret: u64, index: usize) -> u64 {
        mix(secret.wrapping_add(index as u64))
    }

    /// Fills memory and system registers with what follows from the secret.
    fn plant(secret: u64) {
        for index in 0..PAGES * WORDS {
            SECRET_PAGES.set(index, word(secret, index));
        }
        msr!("tpidr_el0", mix(secret ^ 1));
        msr!("tpidrro_el0", mix(secret ^ 2));
        msr!("tpidr_el1", mix(secret ^ 3));
        msr!("contextidr_el1", mix(secret ^ 4) & 0xffff_ffff);
        msr!("far_el1", mix(secret ^ 5));
    }

    /// Bits of what is not as planted.
    fn inspect(secret: u64) -> u64 {
        let mut broken = 0;
        for index in 0..PAGES * WORDS {
            broken |= u64::from(SECRET_PAGES.get(index) != word(secret, index));
        }
        broken |= u64::from(mrs!("tpidr_el0") != mix(secret ^ 1)) << 1;
        broken |= u64::from(mrs!("tpidrro_el0") != mix(secret ^ 2)) << 2;
        broken |= u64::from(mrs!("tpidr_el1") != mix(secret ^ 3)) << 3;
        broken |= u64::from(mrs!("contextidr_el1") != mix(secret ^ 4) & 0xffff_ffff) << 4;
        broken |= u64::from(mrs!("far_el1") != mix(secret ^ 5)) << 5;
        broken
    }

    /// Makes a device access with the secret in every register it leaves free. Returns the value
    /// read, and bits of what did not survive.
    fn exchange(secret: u64, address: u64, write: Option<u64>) -> (u64, u64) {
        let mut registers = Exposed { x: [0; 31], write: 0, v: [0; 64] };
        for (index, x) in registers.x.iter_mut().enumerate() {
            *x = word(!secret, index);
        }
        for (index, v) in registers.v.iter_mut().enumerate() {
            *v = word(!secret, 100 + index);
        }
        registers.x[0] = write.unwrap_or(0);
        registers.x[1] = address;
        registers.write = u64::from(write.is_some());
        expose_registers(&mut registers);
        let mut broken = u64::from(registers.x[1] != address) << 8;
        for (index, x) in registers.x.iter().enumerate().skip(2).take(28) {
            broken |= u64::from(*x != word(!secret, index)) << 8;
        }
        broken |= u64::from(registers.x[30] != mix(secret ^ 1)) << 9;
        for (index, v) in registers.v.iter().enumerate() {
            broken |= u64::from(*v != word(!secret, 100 + index)) << 10;
        }
        if let Some(value) = write {
            broken |= u64::from(registers.x[0] != value) << 11;
        }
        (registers.x[0], broken)
    }

    /// Services: 1 power off, 2 share, 3 unshare, 4 relinquish arena page N, 5 write the secret to
    /// it, 6 say whether it holds the secret (1), zero (2) or else (3), 7 wait for an interrupt,
    /// 8 number of interrupts, 9 spin for N ticks, 10 INTID of the last interrupt, 11 write N to
    /// the first word of arena page 0, 12 read that word.
    fn serve(secret: u64, number: u64, argument: u64) -> u64 {
        let page = argument % ARENA_PAGES;
        let base = usize::try_from(page).unwrap_or(0) * WORDS;
        let address = ARENA.address() + page * 4096;
        let call = |function: u32| hvc([u64::from(function), address, 0, 0])[0];
        match number {
            1 => power_off(),
            2 => call(guest::KVM_MEM_SHARE),
            3 => call(guest::KVM_MEM_UNSHARE),
            4 => call(guest::MEM_RELINQUISH),
            5 => {
                (0..WORDS).for_each(|index| ARENA.set(base + index, word(secret, index)));
                0
            }
            6 => {
                if (0..WORDS).all(|index| ARENA.get(base + index) == word(secret, index)) {
                    1
                } else if (0..WORDS).all(|index| ARENA.get(base + index) == 0) {
                    2
                } else {
                    3
                }
            }
            7 => {
                interrupts(true);
                wait_for_interrupt();
                interrupts(false);
                INTERRUPTS.load(Ordering::Relaxed)
            }
            8 => {
                interrupts(true);
                interrupts(false);
                INTERRUPTS.load(Ordering::Relaxed)
            }
            9 => {
                let start = counter();
                while counter().wrapping_sub(start) < argument {}
                0
            }
            10 => LAST_INTERRUPT.load(Ordering::Relaxed),
            11 => {
                ARENA.set(0, argument);
                0
            }
            12 => ARENA.get(0),
            _ => u64::MAX,
        }
    }

    pub fn main(_: &'static Capture) {
        let secret = random(0x0c0a_7a17);
        plant(secret);
        gic_on();
        report(KEY_PAGE, SECRET_PAGES.address());
        report(KEY_HASH, hash_page(0));
        report(KEY_ARENA, ARENA.address());
        report(KEY_READY, 1);
        let mut broken = 0;
        loop {
            let (challenge, lost) = exchange(secret, device::CHALLENGE, None);
            broken |= lost | inspect(secret);
            let answer = if challenge >> 36 == COMMAND >> 4 {
                serve(secret, (challenge >> 32) & 0xf, challenge & 0xffff_ffff)
            } else if broken != 0 {
                BROKEN | broken
            } else {
                mix(secret ^ mix(challenge))
            };
            broken |= exchange(secret, device::ANSWER, Some(answer)).1;
        }
    }

    pub fn secondary(_: u64) {
        cpu_off();
    }
}

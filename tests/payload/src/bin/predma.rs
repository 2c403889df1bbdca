//! Firmware that leaves devices writing: it points every `edu` device at where EL2 will be, and starts
//! the next stage with their engines running and bus mastering on.
//!
//! Started by QEMU as a kernel would be, at EL2; the image that it starts in turn lies at [`NEXT`]. An
//! engine writes a tenth of a second after it was told. They are told at intervals, so that one is
//! about to write at any time during the start of that image. Before that the first engine shows that
//! it works.
#![cfg_attr(target_os = "none", no_std, no_main)]

use redoubt_payload::payload;

payload!(predma);

#[cfg(target_os = "none")]
mod predma {
    use core::arch::asm;
    use core::cell::UnsafeCell;

    use redoubt_payload::{Capture, counter, mrs, println, read, write};

    /// Where the launcher has put the image that is started.
    const NEXT: u64 = 0x6000_0000;
    /// Behind the last byte of RAM, below which EL2 takes its memory, and how far apart the pages are
    /// that are written to.
    const RAM_END: u64 = 0xc000_0000;
    const SPREAD: u64 = 0x10_0000;
    /// Time between one device and the next. With six, the first writes 5 ms after the next stage has
    /// started, the last 100 ms after.
    const STEP_MS: u64 = 19;

    /// PCI configuration space and memory window of QEMU's machine `virt`.
    const CONFIG: u64 = 0x40_1000_0000;
    const WINDOW: u64 = 0x1000_0000;
    const REGION: u64 = 0x10_0000;
    const IDENTITY: u32 = 0x11e8_1234;

    /// Registers of `edu`, and its buffer in its own address space.
    const SOURCE: u64 = 0x80;
    const DESTINATION: u64 = 0x88;
    const COUNT: u64 = 0x90;
    const COMMAND: u64 = 0x98;
    const BUFFER: u64 = 0x4_0000;

    /// What the engines write: as the attacks of the host do.
    const MARK: u64 = 0x4b52_414d_2d41_4d44;
    const WORDS: usize = 512;

    /// A page that devices read or write.
    #[repr(C, align(4096))]
    struct Page(UnsafeCell<[u64; WORDS]>);
    // SAFETY: a single CPU uses it, through volatile accesses.
    unsafe impl Sync for Page {}

    static FILLED: Page = Page(UnsafeCell::new([0; WORDS]));
    static PROOF: Page = Page(UnsafeCell::new([0; WORDS]));

    impl Page {
        fn address(&self) -> u64 {
            self.0.get() as u64
        }
    }

    fn config_read(slot: u64, offset: u64) -> u32 {
        let value: u32;
        let address = CONFIG + (slot << 15) + offset;
        // SAFETY: configuration space is no memory.
        unsafe { asm!("ldr {1:w}, [{0}]", in(reg) address, out(reg) value, options(nostack)) };
        value
    }

    fn config_write(slot: u64, offset: u64, value: u32) {
        let address = CONFIG + (slot << 15) + offset;
        // SAFETY: configuration space is no memory.
        unsafe { asm!("str {1:w}, [{0}]", in(reg) address, in(reg) value, options(nostack)) };
    }

    fn start(device: u64, source: u64, destination: u64, to_memory: bool) {
        write(device + SOURCE, source);
        write(device + DESTINATION, destination);
        write(device + COUNT, 4096);
        write(device + COMMAND, 1 | u64::from(to_memory) << 1);
    }

    fn finish(device: u64) {
        while read(device + COMMAND) & 1 != 0 {}
    }

    /// Finds the devices and gives them their registers; returns how many there are.
    fn find() -> u64 {
        let mut devices = 0;
        for slot in 0..32 {
            if config_read(slot, 0) == IDENTITY {
                config_write(slot, 0x10, (WINDOW + devices * REGION) as u32);
                // Memory space and bus master.
                config_write(slot, 4, 6);
                devices += 1;
            }
        }
        devices
    }

    pub fn main(capture: &'static Capture) {
        let devices = find();
        for index in 0..WORDS {
            write(FILLED.address() + index as u64 * 8, MARK);
        }
        let device = |index: u64| WINDOW + index * REGION;
        for index in 0..devices {
            start(device(index), FILLED.address(), BUFFER, false);
        }
        for index in 0..devices {
            finish(device(index));
        }
        if devices > 0 {
            start(device(0), BUFFER, PROOF.address(), true);
            finish(device(0));
        }
        let proof = read(PROOF.address() + 4088);
        println!("predma: {devices} devices, DMA lands: {}", proof == MARK);
        // The last one is told just before the next stage starts, so the first one writes soon after.
        println!("predma: starts the next stage");
        let step = mrs!("cntfrq_el0") / 1000 * STEP_MS;
        for index in 0..devices {
            let told = counter();
            while index > 0 && counter().wrapping_sub(told) < step {}
            start(device(index), BUFFER, RAM_END - SPREAD * (index + 1), true);
        }
        // SAFETY: the image at NEXT is entered as by a boot loader, with the FDT in X0; nothing of
        // this program is needed any more.
        unsafe {
            asm!("dsb sy", "ic iallu", "dsb sy", "isb", "mov x1, xzr", "mov x2, xzr", "mov x3, xzr",
                 "br {next}", next = in(reg) NEXT, in("x0") capture.x[0], options(noreturn));
        }
    }

    pub fn secondary(_: u64) {}
}

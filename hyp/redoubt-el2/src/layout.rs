//! EL2's virtual address space and the symbols of the linker script.
//!
//! ```text
//! 0x0000_0000_0000   one page of code, mapped one to one, for CPUs that switch the MMU on
//! 0x8000_0000_0000   IMAGE     text RX, rodata RO, data and bss RW
//! 0x8080_0000_0000   LINEAR    ownership table and translation tables, RW
//! 0x8100_0000_0000   PERCPU    64 KiB a CPU: guard, 32 KiB stack, guard, PerCpu, guard
//! 0x8180_0000_0000   FIXMAP    8 pages a CPU, mapped for one operation each; then device registers
//! 0x8200_0000_0000   CONSOLE   UART registers
//! 0x8280_0000_0000   BOOT      what the first CPU maps before the host starts, then empty
//! ```

use redoubt_boot::machine::MAX_CPUS;

/// Where the image is linked.
pub const IMAGE_VA: u64 = 0x8000_0000_0000;
/// First page behind the image in EL2's memory.
pub const LINEAR_VA: u64 = 0x8080_0000_0000;
/// Stacks and per-CPU data.
pub const PERCPU_VA: u64 = 0x8100_0000_0000;
/// Windows.
pub const FIXMAP_VA: u64 = 0x8180_0000_0000;
/// UART.
pub const CONSOLE_VA: u64 = 0x8200_0000_0000;
/// Boot-time mappings.
pub const BOOT_VA: u64 = 0x8280_0000_0000;

/// Bytes from one CPU's stack to the next one's.
pub const PERCPU_STRIDE: u64 = 0x1_0000;
/// Offset of the stack: the page below is a guard.
pub const STACK_OFFSET: u64 = 0x1000;
/// Size of the stack.
pub const STACK_BYTES: u64 = 0x8000;
/// Offset of the [`crate::percpu::PerCpu`]: the page below is a guard.
pub const PERCPU_OFFSET: u64 = 0xa000;
/// Size reserved for the [`crate::percpu::PerCpu`].
pub const PERCPU_BYTES: u64 = 0x2000;
/// Physical memory a CPU needs for both.
pub const PERCPU_PHYSICAL_BYTES: u64 = STACK_BYTES + PERCPU_BYTES;

/// Windows a CPU has.
pub const WINDOWS: u64 = 8;
/// First of the pages behind the windows, in which device registers are mapped.
pub const FIRST_DEVICE: u64 = MAX_CPUS as u64 * WINDOWS;
/// Pages of windows and device registers: what one table describes.
pub const FIXMAP_PAGES: u64 = 512;

const _: () = assert!(PERCPU_OFFSET > STACK_OFFSET + STACK_BYTES);
const _: () = assert!(PERCPU_OFFSET + PERCPU_BYTES < PERCPU_STRIDE);
const _: () = assert!(MAX_CPUS == redoubt_core::cpu::MAX_CPUS);
const _: () = assert!(FIRST_DEVICE + crate::mmio::PAGES <= FIXMAP_PAGES);

/// Lowest address of a CPU's stack.
pub const fn stack(cpu: u64) -> u64 {
    PERCPU_VA.saturating_add(cpu.saturating_mul(PERCPU_STRIDE)).saturating_add(STACK_OFFSET)
}

/// Where a CPU's stack starts to grow down.
pub const fn stack_top(cpu: u64) -> u64 {
    stack(cpu).saturating_add(STACK_BYTES)
}

unsafe extern "C" {
    static __image_start: u8;
    static __idmap_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __image_end: u8;
    static __bundle_header: [u8; 64];
    static cpu_entry: u8;
    static leave_early: u8;
    static early_l0: u8;
    static early_stack_end: u8;
}

/// Offset of a linker symbol from the start of the image.
macro_rules! offsets {
    ($($(#[doc = $doc:literal])+ $name:ident = $symbol:ident;)+) => {
        $(
            $(#[doc = $doc])+
            pub fn $name() -> u64 {
                ((&raw const $symbol) as u64).wrapping_sub(IMAGE_VA)
            }
        )+
    };
}

offsets! {
    /// The page that is mapped one to one.
    idmap_offset = __idmap_start;
    /// End of what is executable.
    text_end = __text_end;
    /// End of what is constant.
    rodata_end = __rodata_end;
    /// End of the image in memory.
    image_size = __image_end;
    /// Entry of a CPU into the final tables.
    cpu_entry_offset = cpu_entry;
    /// The way out of the early tables.
    leave_early_offset = leave_early;
    /// Root of the early tables.
    early_root_offset = early_l0;
    /// Top of the stack on which the first CPU boots.
    boot_stack_offset = early_stack_end;
}

/// The first 128 bytes of the image: Image header and bundle header.
pub fn headers() -> [u8; 128] {
    debug_assert!((&raw const __bundle_header) as u64 == IMAGE_VA + 64);
    let start = (&raw const __image_start).cast::<[u8; 128]>();
    // SAFETY: the linker script places at least 128 bytes of .head at this address, and nobody
    // writes to them after the image was packed.
    unsafe { start.read() }
}

//! The instructions that Rust cannot express: barriers, TLB and cache maintenance, SMC, vectors,
//! random numbers. One function an instruction or an inseparable sequence.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, Ordering};

pub mod sysreg;

global_asm!(include_str!("entry.S"), options(raw));
global_asm!(include_str!("vectors.S"), options(raw));
global_asm!(include_str!("fp.S"), options(raw));

unsafe extern "C" {
    fn translate_address(address: u64) -> u64;
    fn fp_save(registers: *mut [[u64; 2]; 32]);
    fn fp_load(registers: *const [[u64; 2]; 32]);
    fn fp_clear();
    static host_vectors: u8;
    static guest_vectors: u8;
}

/// Declares functions for instructions without operands.
macro_rules! instructions {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)+) => {
        $(
            $(#[doc = $doc])+
            #[inline(always)]
            pub fn $name() {
                // SAFETY: the instruction orders or discards cached state; it accesses no memory
                // that Rust knows of.
                unsafe { asm!($text, options(nostack, preserves_flags)) }
            }
        )+
    };
}

instructions! {
    /// Context synchronisation.
    isb = "isb";
    /// Completes everything before, full system.
    dsb_sy = "dsb sy";
    /// Completes everything before, inner shareable.
    dsb_ish = "dsb ish";
    /// Completes everything of this CPU before, table walks included.
    dsb_nsh = "dsb nsh";
    /// Completes stores before, inner shareable: table writes before a TLBI or before a walk.
    dsb_ishst = "dsb ishst";
    /// Error synchronisation barrier: an SError that is pending becomes visible in DISR_EL1. A NOP
    /// without the RAS extension.
    esb = "hint #16";
    /// Waits for an event.
    wfe = "wfe";
    /// Removes stage-1 and stage-2 entries of the current VMID, inner shareable.
    tlbi_vmalls12e1is = "tlbi vmalls12e1is";
    /// Removes stage-1 entries of the current VMID, inner shareable: combined entries hold stage-2
    /// results too.
    tlbi_vmalle1is = "tlbi vmalle1is";
    /// Removes stage-1 entries of the current VMID on this CPU, and waits for it.
    tlbi_vmalle1_local = "tlbi vmalle1\ndsb nsh\nisb";
    /// Removes all entries of EL1 and EL0 of this CPU, any VMID.
    tlbi_alle1 = "tlbi alle1";
    /// Removes all instruction cache lines, inner shareable.
    ic_ialluis = "ic ialluis";
}

/// Removes the entry of a page of EL2's own tables that only this CPU uses from its TLB, and waits.
#[inline(always)]
pub fn tlbi_vae2_local(address: u64) {
    // SAFETY: TLB maintenance only discards cached translations.
    unsafe {
        asm!("tlbi vae2, {}", "dsb nsh", "isb", in(reg) (address >> 12) & 0xfff_ffff_ffff, options(nostack, preserves_flags));
    }
}

/// Removes the entry of one page of EL2's own tables from all TLBs.
#[inline(always)]
pub fn tlbi_vae2is(address: u64) {
    // SAFETY: TLB maintenance only discards cached translations.
    unsafe {
        asm!("tlbi vae2is, {}", in(reg) (address >> 12) & 0xfff_ffff_ffff, options(nostack, preserves_flags));
    }
}

/// Removes stage-2 entries of an intermediate physical address under the current VMID.
#[inline(always)]
pub fn tlbi_ipas2e1is(address: u64) {
    // SAFETY: TLB maintenance only discards cached translations.
    unsafe {
        asm!("tlbi ipas2e1is, {}", in(reg) (address >> 12) & 0xf_ffff_ffff, options(nostack, preserves_flags));
    }
}

/// Size in bytes of the smallest data cache line (CTR_EL0.DminLine).
fn dcache_line() -> u64 {
    4u64 << ((sysreg::read_ctr_el0() >> 16) & 0xf)
}

/// Cleans and invalidates a range of EL2's address space to the point of coherency.
///
/// # Safety
/// The range must be mapped and readable.
pub unsafe fn clean_invalidate(address: u64, length: u64) {
    let line = dcache_line();
    let mut at = address & !line.wrapping_sub(1);
    while at < address.wrapping_add(length) {
        // SAFETY: the caller guarantees that the address is mapped.
        unsafe { clean_line(at) }
        at = at.wrapping_add(line);
    }
    dsb_sy();
}

/// Cleans and invalidates one data cache line to the point of coherency; no barrier.
///
/// # Safety
/// The address must be mapped and readable.
pub unsafe fn clean_line(address: u64) {
    // SAFETY: the caller guarantees that the address is mapped.
    unsafe { asm!("dc civac, {}", in(reg) address, options(nostack, preserves_flags)) }
}

/// Whether there is a firmware to call: the FDT names PSCI. Without EL3, an SMC of EL2's is UNDEFINED.
static HAS_FIRMWARE: AtomicBool = AtomicBool::new(false);

/// Says that there is a firmware.
pub fn set_firmware() {
    HAS_FIRMWARE.store(true, Ordering::Relaxed);
}

/// Zeroes a page.
///
/// # Safety
/// The page is mapped, writable, and nobody else uses it.
pub unsafe fn zero_page(page: *mut u64) {
    let dczid = sysreg::read_dczid_el0();
    // DZP: DC ZVA is not to be used; BS: log2 of the block in words.
    let block = 4u64 << (dczid & 0xf);
    if dczid & 0x10 != 0 || block > 4096 {
        // SAFETY: the caller guarantees a page of 512 words.
        unsafe { page.write_bytes(0, 512) };
        return;
    }
    let mut at = page as u64;
    let end = at.wrapping_add(4096);
    while at < end {
        // SAFETY: the block lies in the page, which is aligned to a multiple of its size.
        unsafe { asm!("dc zva, {}", in(reg) at, options(nostack, preserves_flags)) }
        at = at.wrapping_add(block);
    }
}

/// Calls the firmware and returns X0 to X3; NOT_SUPPORTED if there is none.
pub fn smc([mut x0, mut x1, mut x2, mut x3]: [u64; 4]) -> [u64; 4] {
    if !HAS_FIRMWARE.load(Ordering::Relaxed) {
        return [!0, 0, 0, 0];
    }
    // SAFETY: the firmware at EL3 is trusted not to touch EL2's memory, and to keep the registers that
    // SMCCC names, which are no fewer than those that a function call keeps.
    unsafe {
        asm!("smc #0", inout("x0") x0, inout("x1") x1, inout("x2") x2, inout("x3") x3, clobber_abi("C"));
    }
    [x0, x1, x2, x3]
}

/// Saves V0 to V31.
pub fn save_fp(registers: &mut [[u64; 2]; 32]) {
    // SAFETY: the reference covers the 512 bytes that are written.
    unsafe { fp_save(registers) }
}

/// Loads V0 to V31.
pub fn load_fp(registers: &[[u64; 2]; 32]) {
    // SAFETY: the reference covers the 512 bytes that are read; EL2 is built without FP registers,
    // so no value of its own is lost.
    unsafe { fp_load(registers) }
}

/// Clears V0 to V31 and what extends them.
pub fn clear_fp() {
    // SAFETY: EL2 is built without FP registers, so no value of its own is lost.
    unsafe { fp_clear() }
}

/// Address of the vectors for the time a host runs.
pub fn host_vectors_address() -> u64 {
    (&raw const host_vectors) as u64
}

/// Makes exceptions go to the vectors for the host.
pub fn use_host_vectors() {
    use_vectors(&raw const host_vectors);
}

/// Makes exceptions go to the vectors for guests.
pub fn use_guest_vectors() {
    use_vectors(&raw const guest_vectors);
}

/// Makes exceptions go to one of the two tables of vectors.S.
fn use_vectors(table: *const u8) {
    // SAFETY: the callers pass a complete vector table in EL2's text.
    unsafe {
        asm!("msr vbar_el2, {}", "isb", in(reg) table, options(nostack, preserves_flags));
    }
}

/// Whether the CPU makes random numbers (FEAT_RNG).
pub fn has_random() -> bool {
    (sysreg::read_id_aa64isar0_el1() >> 60) != 0
}

/// A random number of the CPU, if it makes any and has one now.
pub fn random() -> Option<u64> {
    if !has_random() {
        return None;
    }
    let value: u64;
    let failed: u64;
    // SAFETY: reads RNDR, which sets the flags.
    unsafe {
        asm!("mrs {}, S3_3_C2_C4_0", "cset {}, eq", out(reg) value, out(reg) failed, options(nomem, nostack));
    }
    (failed == 0).then_some(value)
}

/// Translates an address with the current stage 1 of EL1 for reading; the value is as in PAR_EL1.
/// `None` when the walk itself ended in an abort.
pub fn translate_stage1_read(address: u64) -> Option<u64> {
    // SAFETY: the function changes no register that the calling convention preserves, and no
    // memory; an abort of the walk is caught by the vectors.
    let par = unsafe { translate_address(address) };
    (par & 1 == 0).then_some(par)
}

unsafe extern "C" {
    fn host_start(argument: u64, stack: u64) -> !;
    fn guest_enter(registers: *mut [u64; 31]) -> u64;
}

/// Enters the host at ELR_EL2 with cleared registers but X0. The stack is emptied.
pub fn start_host(argument: u64, stack: u64) -> ! {
    // SAFETY: the stack pointer is the top of this CPU's stack; nothing on it is used again,
    // because this function never returns.
    unsafe { host_start(argument, stack) }
}

/// Runs the guest whose other registers are loaded, until it exits. Returns the kind of exit.
pub fn enter_guest(registers: &mut [u64; 31]) -> u64 {
    // SAFETY: the array stays borrowed while the guest runs; the exit path restores everything
    // that the calling convention preserves.
    unsafe { guest_enter(registers) }
}

/// Leaves the early tables: jumps to `leave` (identity-mapped), which switches the MMU off and goes
/// to `entry` with the boot block.
pub fn leave_early(leave: u64, entry: u64, block: u64) -> ! {
    // SAFETY: `leave` is the physical address of leave_early, mapped one to one by the early
    // tables; it takes over in assembly and never comes back.
    unsafe {
        asm!("br x16", in("x16") leave, in("x0") entry, in("x1") block, options(noreturn));
    }
}

/// Makes another CPU's data this CPU's: the boot CPU need not be the first of the FDT.
pub fn set_percpu(address: u64) {
    // SAFETY: called once, by the boot CPU, with the address of its initialised PerCpu, before
    // anything reads TPIDR_EL2.
    unsafe { asm!("msr tpidr_el2, {}", in(reg) address, options(nostack, preserves_flags)) }
}

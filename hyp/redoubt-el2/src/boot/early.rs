//! The early tables: what the first stage of the boot maps beyond the image.

use core::cell::UnsafeCell;

use redoubt_boot::fdt::Fdt;
use redoubt_boot::{BootError, PAGE_SIZE, PhysRange};
use redoubt_core::addr::{HypVa, Pa};
use redoubt_core::hw::TableMemory;
use redoubt_core::stage1::{HypAttrs, Stage1};
use redoubt_core::tables::TablePool;

use super::{FDT_VA, REGION_VA, align_up, distance, pa, pages, refuse, require};
use crate::arch;
use crate::layout::{CONSOLE_VA, IMAGE_VA};
use crate::{console, fatal, layout};

/// Tables for the early maps.
const EARLY_TABLES: usize = 24;

/// Bytes of an FDT's header.
const FDT_HEADER_BYTES: usize = 40;

/// Pages for early tables, in the image's bss.
#[repr(C, align(4096))]
struct Tables(UnsafeCell<[[u64; 512]; EARLY_TABLES]>);

// SAFETY: used by the first CPU alone, before any other is started.
unsafe impl Sync for Tables {}

static TABLES: Tables = Tables(UnsafeCell::new([[0; 512]; EARLY_TABLES]));

/// The PL011 to use for what goes wrong before the FDT is understood; set when the image is built.
const EARLY_CONSOLE: Option<&str> = option_env!("REDOUBT_EARLY_CONSOLE");

/// Tables that lie in one mapped range.
pub struct MappedTables {
    /// Where the range starts.
    pub physical: u64,
    /// Where it is mapped.
    pub va: u64,
}

impl MappedTables {
    fn entry(&self, table: Pa, index: usize) -> *mut u64 {
        let table = self.va.wrapping_add(distance(self.physical, table.raw())) as *mut u64;
        table.wrapping_add(index & 511)
    }
}

impl TableMemory for MappedTables {
    fn read(&mut self, table: Pa, index: usize) -> u64 {
        // SAFETY: the tables come from a pool in the range (the image's bss, or EL2's region), which
        // the early tables map, writable.
        unsafe { self.entry(table, index).read_volatile() }
    }

    fn write(&mut self, table: Pa, index: usize, descriptor: u64) {
        // SAFETY: as in `read`.
        unsafe { self.entry(table, index).write_volatile(descriptor) }
    }

    fn zero(&mut self, table: Pa) {
        // SAFETY: as in `read`; a table is one page.
        unsafe { self.entry(table, 0).write_bytes(0, 512) }
    }
}

/// The early tables.
pub struct EarlyMap {
    hw: MappedTables,
    tables: Stage1,
    pool: TablePool,
    console: Option<u64>,
}

impl EarlyMap {
    /// The tables that entry.S made.
    pub fn new(image: u64) -> Self {
        let storage = distance(IMAGE_VA, TABLES.0.get() as u64).saturating_add(image);
        let root = pa(image.wrapping_add(layout::early_root_offset()));
        Self {
            hw: MappedTables { physical: image, va: IMAGE_VA },
            tables: Stage1::new(root),
            pool: TablePool::from_range(pages(storage, size_of::<Tables>() as u64)),
            console: None,
        }
    }

    /// Maps whole pages.
    fn map(&mut self, va: u64, physical: u64, bytes: u64, attrs: HypAttrs) {
        let range = pages(physical, bytes);
        require(
            "the early tables",
            self.tables.map(&mut self.hw, &mut self.pool, HypVa::new(va), range, attrs),
        );
        arch::dsb_ishst();
        arch::isb();
    }

    /// Maps the UART at an address and uses it, unless it is in use already.
    pub fn console(&mut self, registers: u64) {
        let page = distance(registers % PAGE_SIZE, registers);
        if self.console == Some(registers) {
            return;
        }
        // A second one gets the next page; the first is not used any more.
        let va = if self.console.is_some() { CONSOLE_VA + PAGE_SIZE } else { CONSOLE_VA };
        self.map(va, page, PAGE_SIZE, HypAttrs::Device);
        self.console = Some(registers);
        console::set_base(va.saturating_add(registers % PAGE_SIZE));
    }

    /// Uses the UART that was set when the image was built.
    pub fn early_console(&mut self) {
        if let Some(address) = EARLY_CONSOLE.and_then(parse_hex) {
            self.console(address);
        }
    }

    /// Maps a page of device registers.
    pub fn device(&mut self, va: u64, registers: u64) {
        self.map(va, registers, PAGE_SIZE, HypAttrs::Device);
    }

    /// Maps and checks the FDT.
    pub fn fdt(&mut self, physical: u64) -> Fdt<'static> {
        if physical == 0 || !physical.is_multiple_of(8) {
            fatal::refuse(|line| line.text("no FDT: X0 is ").hex(physical));
        }
        let offset = physical % PAGE_SIZE;
        let first = distance(offset, physical);
        // Nothing behind the header is mapped before its size is known: RAM may end there.
        let header_end = offset.saturating_add(FDT_HEADER_BYTES as u64);
        let header_bytes = align_up(header_end, PAGE_SIZE);
        self.map(FDT_VA, first, header_bytes, HypAttrs::Constants);
        let start = FDT_VA.saturating_add(offset) as *const u8;
        // SAFETY: the pages that the header lies in are mapped.
        let header = unsafe { core::slice::from_raw_parts(start, FDT_HEADER_BYTES) };
        let size =
            Fdt::total_size_of(header).unwrap_or_else(|error| refuse(&BootError::from(error)));
        let end = align_up(offset.saturating_add(size as u64), PAGE_SIZE);
        if end > header_bytes {
            let rest = distance(header_bytes, end);
            let next = first.saturating_add(header_bytes);
            self.map(FDT_VA.saturating_add(header_bytes), next, rest, HypAttrs::Constants);
        }
        // SAFETY: all pages that the size covers are mapped, read-only.
        let blob = unsafe { core::slice::from_raw_parts(start, size) };
        Fdt::new(blob).unwrap_or_else(|error| refuse(&BootError::from(error)))
    }

    /// Maps EL2's region, which is aligned to blocks.
    pub fn region(&mut self, hyp: &PhysRange) {
        self.map(REGION_VA, hyp.start(), hyp.size(), HypAttrs::Data);
    }
}

/// Parses `0x...`.
fn parse_hex(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    let mut value = 0u64;
    for byte in digits.bytes() {
        let digit = match byte {
            b'0'..=b'9' => byte & 0xf,
            b'a'..=b'f' => (byte & 0xf).saturating_add(9),
            _ => return None,
        };
        value = (value << 4) | u64::from(digit);
    }
    Some(value)
}

/// Copies the image, with everything written so far, to its place.
pub fn copy_image(destination: u64) {
    let source = IMAGE_VA as *const u8;
    let bytes = layout::image_size() as usize;
    // SAFETY: the image is mapped at its link address and the destination in the region, which the
    // layout keeps apart. Statics are not written while this runs: there is one CPU, and this is
    // the last step of the first stage.
    unsafe { core::ptr::copy_nonoverlapping(source, destination as *mut u8, bytes) };
}

//! The guest's physical address map, and where in its RAM the kernel, initrd and device tree go.
//!
//! Invariants: devices lie below 2 GiB and never overlap RAM; what is placed in RAM does not
//! overlap; the placement follows the arm64 boot protocol (kernel at `text_offset` from a 2 MiB
//! boundary, device tree of at most 2 MiB that does not cross a 2 MiB boundary, initrd within one
//! aligned 32 GiB window that holds the kernel). Spec: Linux, Documentation/arch/arm64/booting.rst.
//!
//! ```text
//! 0x0800_0000  GIC distributor, 64 KiB
//! 0x0900_0000  16550 UART, 4 KiB
//! 0x1000_0000  GIC redistributors, 128 KiB per vCPU
//! 0x8000_0000  RAM: kernel at the bottom ... initrd, device tree at the top
//! ```

#[cfg(test)]
mod tests;

use thiserror::Error;

use crate::image::ImageHeader;

/// The alignment that the boot protocol and block mappings ask for.
pub const SIZE_2_MIB: u64 = 2 << 20;

/// A region of the guest's physical address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The first address.
    pub base: u64,
    /// The number of bytes.
    pub size: u64,
}

impl Region {
    /// The first address after the region.
    pub const fn end(&self) -> u64 {
        self.base + self.size
    }

    /// Tells whether an access of `len` bytes at `address` lies within the region.
    pub fn contains(&self, address: u64, len: u64) -> bool {
        address >= self.base && address.checked_add(len).is_some_and(|end| end <= self.end())
    }
}

/// The GICv3 distributor's registers.
pub const GIC_DISTRIBUTOR: Region = Region { base: 0x0800_0000, size: 0x1_0000 };
/// The UART's registers; a page of their own.
pub const UART: Region = Region { base: 0x0900_0000, size: 0x1000 };
/// Where the GICv3 redistributors begin.
pub const GIC_REDISTRIBUTOR_BASE: u64 = 0x1000_0000;
/// Bytes of registers per redistributor: two frames of 64 KiB.
pub const GIC_REDISTRIBUTOR_STRIDE: u64 = 0x2_0000;
/// Where RAM begins.
pub const RAM_BASE: u64 = 0x8000_0000;

/// The most vCPUs a guest may have; KVM's own limit on arm64 is no higher.
pub const MAX_CPUS: u32 = 512;

/// The UART's interrupt: the first shared peripheral interrupt.
pub const UART_SPI: u32 = 0;
/// The GIC's INTID of the first shared peripheral interrupt.
pub const GIC_SPI_BASE: u32 = 32;
/// The number of INTIDs the virtual GIC is given: private ones, and the smallest block of SPIs.
pub const GIC_INTID_COUNT: u32 = 64;

/// The most bytes a device tree may have.
pub const MAX_FDT_BYTES: u64 = SIZE_2_MIB;
/// The kernel and the initrd must lie within one window of this size, aligned to 1 GiB.
const INITRD_WINDOW_BYTES: u64 = 32 << 30;
/// The initrd starts at a page boundary, for any page size.
const INITRD_ALIGN: u64 = 0x1_0000;

const _: () = assert!(GIC_DISTRIBUTOR.end() <= UART.base);
const _: () = assert!(UART.end() <= GIC_REDISTRIBUTOR_BASE);
const _: () =
    assert!(GIC_REDISTRIBUTOR_BASE + GIC_REDISTRIBUTOR_STRIDE * MAX_CPUS as u64 <= RAM_BASE);
const _: () = assert!(RAM_BASE.is_multiple_of(1 << 30));

/// Returns the registers of the redistributors of `cpus` vCPUs.
pub const fn gic_redistributors(cpus: u32) -> Region {
    Region { base: GIC_REDISTRIBUTOR_BASE, size: GIC_REDISTRIBUTOR_STRIDE * cpus as u64 }
}

/// Why a guest's memory cannot hold what it must.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LayoutError {
    /// The guest physical address space ends before the RAM does.
    #[error("{0} bytes of memory reach beyond the 64-bit address space")]
    MemoryTooLarge(u64),
    /// Kernel, initrd and device tree do not fit.
    #[error(
        "the guest's memory of {} MiB is too small: the kernel needs {} MiB, the initrd {} MiB, \
         the device tree 2 MiB; give it more with --memory",
        .ram_bytes >> 20, .kernel_bytes.div_ceil(1 << 20), .initrd_bytes.div_ceil(1 << 20)
    )]
    DoesNotFit {
        /// Bytes of RAM.
        ram_bytes: u64,
        /// Bytes the kernel takes, offset included.
        kernel_bytes: u64,
        /// Bytes of the initrd.
        initrd_bytes: u64,
    },
}

/// Where everything is in a guest's RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// All of the RAM.
    pub ram: Region,
    /// The kernel with its BSS; its first address is the entry point.
    pub kernel: Region,
    /// The initrd, if there is one.
    pub initrd: Option<Region>,
    /// Room for the device tree.
    pub fdt: Region,
}

impl Layout {
    /// Places a kernel and an initrd in `ram_bytes` of RAM.
    pub fn place(
        ram_bytes: u64,
        header: &ImageHeader,
        initrd_bytes: Option<u64>,
    ) -> Result<Self, LayoutError> {
        RAM_BASE.checked_add(ram_bytes).ok_or(LayoutError::MemoryTooLarge(ram_bytes))?;
        let ram = Region { base: RAM_BASE, size: ram_bytes };
        let refusal = LayoutError::DoesNotFit {
            ram_bytes,
            kernel_bytes: header.text_offset.saturating_add(header.memory_bytes),
            initrd_bytes: initrd_bytes.unwrap_or(0),
        };

        let kernel_base = ram.base.checked_add(header.text_offset).ok_or(refusal)?;
        let kernel_end = kernel_base.checked_add(header.memory_bytes).ok_or(refusal)?;
        let kernel = Region { base: kernel_base, size: header.memory_bytes };

        let top = ram.end().min(ram.base.saturating_add(INITRD_WINDOW_BYTES));
        let fdt_base = align_down(top, SIZE_2_MIB).checked_sub(MAX_FDT_BYTES).ok_or(refusal)?;
        let fdt = Region { base: fdt_base, size: MAX_FDT_BYTES };

        let initrd = match initrd_bytes {
            None => None,
            Some(size) => {
                let base = fdt.base.checked_sub(size).ok_or(refusal)?;
                Some(Region { base: align_down(base, INITRD_ALIGN), size })
            }
        };
        let lowest = initrd.map_or(fdt.base, |initrd| initrd.base);
        if lowest < kernel_end {
            return Err(refusal);
        }
        Ok(Self { ram, kernel, initrd, fdt })
    }
}

/// Rounds `value` down to a multiple of `align`, a power of two.
const fn align_down(value: u64, align: u64) -> u64 {
    value & !(align - 1)
}

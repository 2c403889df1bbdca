//! Where the hypervisor's own memory goes.
//!
//! [`plan`] takes what the loader has put into memory, refuses what lies on one another (or
//! where there is no memory), and chooses two places: the hypervisor's region, at the highest
//! 2 MiB boundary where it fits, and below it a buffer for the device tree that the host gets.
//!
//! Invariants of a [`Layout`]: the region and the buffer lie wholly in RAM, and are disjoint from
//! each other and from the image, the kernel with its bss, the loader's device tree, the initrd
//! and every reserved range. Two-megabyte alignment keeps the region from sharing a stage-2 block
//! with anything else.

mod budget;

pub use budget::{Budget, Demand, budget};

use crate::array_vec::ArrayVec;
use crate::bundle::BundleHeader;
use crate::error::{BootError, Item};
use crate::machine::{MAX_RESERVED_RANGES, MachineInfo};
use crate::range::{BLOCK_SIZE, PAGE_SIZE, PhysRange, align_down, align_up, is_aligned};

/// The alignment of the buffer for the host's device tree. Linux asks for 8 bytes; whole pages
/// keep it from sharing one.
const HOST_FDT_ALIGNMENT: u64 = PAGE_SIZE;

/// What the loader has put where, and what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// The address of the bundle's first byte.
    pub load_base: u64,
    /// The bundle's header.
    pub bundle: BundleHeader,
    /// The address of the loader's device tree.
    pub fdt_base: u64,
    /// Its `totalsize`.
    pub fdt_size: u64,
    /// How large the hypervisor's region must be; rounded up to 2 MiB.
    pub hyp_region_size: u64,
    /// How large the buffer for the host's device tree must be; rounded up to pages.
    /// [`crate::host_fdt::max_size`] knows.
    pub host_fdt_size: u64,
}

/// What lies where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The hypervisor as loaded: free for the host once the hypervisor has moved.
    pub image: PhysRange,
    /// The host kernel with its bss; it is entered at the start.
    pub kernel: PhysRange,
    /// The loader's device tree.
    pub fdt: PhysRange,
    /// The initrd.
    pub initrd: Option<PhysRange>,
    /// The hypervisor's region, 2 MiB aligned: never the host's.
    pub hyp: PhysRange,
    /// The buffer for the host's device tree: the host's memory.
    pub host_fdt: PhysRange,
}

/// Everything that the chosen places must stay clear of: image, kernel, tree, initrd, region.
type Obstacles = ArrayVec<PhysRange, { MAX_RESERVED_RANGES + 5 }>;

/// Checks what the loader has done and chooses the places. See the module's text.
#[inline(never)]
pub fn plan(machine: &MachineInfo, inputs: &Inputs) -> Result<Layout, BootError> {
    let loaded = Loaded::locate(machine, inputs)?;
    loaded.check_disjoint(machine)?;
    let no_room = |size: u64| BootError::NoRoom(size);
    let mut obstacles = loaded.obstacles(machine).map_err(|_| no_room(inputs.hyp_region_size))?;
    let hyp = highest_free(machine, &obstacles, inputs.hyp_region_size, BLOCK_SIZE)?;
    obstacles.push(hyp).map_err(|_| no_room(inputs.host_fdt_size))?;
    let host_fdt = highest_free(machine, &obstacles, inputs.host_fdt_size, HOST_FDT_ALIGNMENT)?;
    let Loaded { image, kernel, fdt, initrd } = loaded;
    Ok(Layout { image, kernel, fdt, initrd, hyp, host_fdt })
}

/// What the loader has put into memory.
struct Loaded {
    image: PhysRange,
    kernel: PhysRange,
    fdt: PhysRange,
    initrd: Option<PhysRange>,
}

impl Loaded {
    /// Works out the ranges and checks that they are aligned and in RAM.
    fn locate(machine: &MachineInfo, inputs: &Inputs) -> Result<Self, BootError> {
        let base = inputs.load_base;
        if !is_aligned(base, BLOCK_SIZE) {
            return Err(BootError::Misaligned(Item::Image, base));
        }
        if !is_aligned(inputs.fdt_base, 8) {
            return Err(BootError::Misaligned(Item::Fdt, inputs.fdt_base));
        }
        let in_memory = |item, start: Option<u64>, size| {
            let at = start.unwrap_or(base);
            start
                .and_then(|start| PhysRange::new(start, size))
                .filter(|range| machine.memory.contains(range))
                .ok_or(BootError::OutsideMemory(item, at))
        };
        let kernel_base = base.checked_add(inputs.bundle.kernel_offset());
        if let Some(initrd) = &machine.initrd {
            in_memory(Item::Initrd, Some(initrd.start()), initrd.size())?;
        }
        Ok(Self {
            image: in_memory(Item::Image, Some(base), inputs.bundle.hyp_mem_size())?,
            kernel: in_memory(Item::Kernel, kernel_base, inputs.bundle.kernel_mem_size())?,
            // The tree may lie outside RAM (in flash): it is copied, not handed on.
            fdt: PhysRange::new(inputs.fdt_base, inputs.fdt_size)
                .ok_or(BootError::OutsideMemory(Item::Fdt, inputs.fdt_base))?,
            initrd: machine.initrd,
        })
    }

    /// Each thing with its name.
    fn items(&self) -> [(Item, Option<PhysRange>); 4] {
        [
            (Item::Image, Some(self.image)),
            (Item::Kernel, Some(self.kernel)),
            (Item::Fdt, Some(self.fdt)),
            (Item::Initrd, self.initrd),
        ]
    }

    /// Refuses things that lie on one another, and an image or kernel on reserved memory.
    ///
    /// Loaders do reserve the tree and the initrd: those may lie in a reserved range, unless it
    /// must not be mapped.
    fn check_disjoint(&self, machine: &MachineInfo) -> Result<(), BootError> {
        let items = self.items();
        let mut others = items.iter();
        while let Some((item, Some(range))) = others.next() {
            for (other, held) in others.clone() {
                if held.is_some_and(|held| held.overlaps(range)) {
                    return Err(BootError::Overlap(*item, *other));
                }
            }
            let may_be_reserved = matches!(item, Item::Fdt | Item::Initrd);
            for reserved in machine.reserved.iter() {
                if reserved.range.overlaps(range) && (reserved.no_map || !may_be_reserved) {
                    return Err(BootError::Overlap(*item, Item::Reserved));
                }
            }
        }
        Ok(())
    }

    /// What the chosen places must stay clear of.
    fn obstacles(&self, machine: &MachineInfo) -> Result<Obstacles, crate::Full> {
        let mut obstacles = Obstacles::new();
        for range in self.items().iter().filter_map(|(_, range)| *range) {
            obstacles.push(range)?;
        }
        for reserved in machine.reserved.iter() {
            obstacles.push(reserved.range)?;
        }
        Ok(obstacles)
    }
}

/// Finds the highest free place for `size` bytes, both rounded to `alignment`.
fn highest_free(
    machine: &MachineInfo,
    obstacles: &[PhysRange],
    size: u64,
    alignment: u64,
) -> Result<PhysRange, BootError> {
    let no_room = BootError::NoRoom(size);
    let size = align_up(size, alignment).ok_or(no_room)?;
    for region in machine.memory.as_slice().iter().rev() {
        let mut end = region.end();
        // Each turn but the last moves below an obstacle that it then stays clear of, so there
        // are at most as many turns as obstacles, and one.
        for _ in 0..=obstacles.len() {
            let candidate = align_down(end, alignment)
                .checked_sub(size)
                .and_then(|start| PhysRange::new(start, size))
                .filter(|candidate| region.contains(candidate));
            let Some(candidate) = candidate else {
                break;
            };
            match obstacles.iter().find(|obstacle| obstacle.overlaps(&candidate)) {
                Some(obstacle) => end = obstacle.start(),
                None => return Ok(candidate),
            }
        }
    }
    Err(no_room)
}

#[cfg(test)]
mod tests;

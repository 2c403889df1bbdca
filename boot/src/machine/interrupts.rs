//! The GICv3 and the interrupts of the architected timer.
//!
//! Bindings: `arm,gic-v3` and `arm,arch_timer`. Interrupt numbers are INTIDs as the GIC counts
//! them (a PPI is 16 to 31), not the binding's numbers.

use crate::array_vec::ArrayVec;
use crate::bytes;
use crate::error::{BootError, NodeName};
use crate::fdt::{Fdt, Node, Path};
use crate::range::PhysRange;

/// How many redistributor regions there is room for.
pub const MAX_REDISTRIBUTOR_REGIONS: usize = 8;

/// The INTID of PPI 0 (GICv3 architecture, table 2-1).
pub const PPI_BASE: u32 = 16;

/// How many PPIs there are.
const PPI_COUNT: u32 = 16;

/// The interrupt type of a PPI in a GIC's interrupt specifier.
const SPECIFIER_PPI: u32 = 1;

/// The interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GicV3 {
    /// The distributor's registers.
    pub distributor: PhysRange,
    /// The redistributors' registers, in stored order. Never empty.
    pub redistributors: ArrayVec<PhysRange, MAX_REDISTRIBUTOR_REGIONS>,
    /// The distance between redistributors, where it is not the architecture's.
    pub redistributor_stride: Option<u64>,
    /// The INTID of the virtualisation maintenance interrupt, if the node names one.
    pub maintenance: Option<u32>,
    /// How many cells an interrupt specifier has.
    pub(crate) interrupt_cells: usize,
}

/// The INTIDs of the architected timer. Those of the secure world and of EL2 may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerInterrupts {
    /// Secure physical timer.
    pub secure_physical: Option<u32>,
    /// EL1 physical timer, CNTP: the host's.
    pub physical: u32,
    /// EL1 virtual timer, CNTV: the guests'.
    pub virtual_: u32,
    /// EL2 physical timer, CNTHP.
    pub hyp_physical: Option<u32>,
    /// EL2 virtual timer, CNTHV.
    pub hyp_virtual: Option<u32>,
}

impl GicV3 {
    /// Tells whether a frame is the distributor or holds redistributors.
    pub(crate) fn is_host_frame(&self, frame: &PhysRange) -> bool {
        self.distributor == *frame || self.redistributors.iter().any(|held| held == frame)
    }
}

/// Tells whether the node is a GICv3.
pub(crate) fn is_gic_node(node: &Node<'_>) -> bool {
    node.is_compatible(b"arm,gic-v3")
}

/// Finds the interrupt controller.
#[inline(never)]
pub(crate) fn find_gic(fdt: &Fdt<'_>) -> Result<GicV3, BootError> {
    let mut older = None;
    let mut walk = fdt.walk();
    while let Some(path) = walk.next_node() {
        let node = path.node();
        if !path.is_enabled() {
            continue;
        }
        if is_gic_node(&node) {
            return read_gic(path);
        }
        if node.is_compatible(b"arm,cortex-a15-gic") || node.is_compatible(b"arm,gic-400") {
            older = older.or(Some(node.display_name()));
        }
    }
    Err(older.map_or(BootError::NoGic, BootError::GicTooOld))
}

fn read_gic(path: &Path<'_>) -> Result<GicV3, BootError> {
    let node = path.node();
    let name = node.display_name();
    let number = |property: &[u8], text| match node.property(property) {
        Some(value) => value.as_number().map(Some).ok_or(BootError::BadProperty(name, text)),
        None => Ok(None),
    };
    let interrupt_cells = match number(b"#interrupt-cells", "#interrupt-cells")? {
        Some(3) => 3,
        Some(4) => 4,
        Some(_) => return Err(BootError::BadProperty(name, "#interrupt-cells")),
        None => return Err(BootError::MissingProperty(name, "#interrupt-cells")),
    };
    let regions = number(b"#redistributor-regions", "#redistributor-regions")?.unwrap_or(1);
    let mut reg = path.reg()?;
    let mut next_frame = || {
        let (start, size) = reg.next().ok_or(BootError::BadProperty(name, "reg"))??;
        path.translate(start, size)?.ok_or(BootError::NotAddressable(name))
    };
    let distributor = next_frame()?;
    let mut redistributors = ArrayVec::new();
    if regions == 0 {
        return Err(BootError::BadProperty(name, "#redistributor-regions"));
    }
    // Ends with the frames of `reg` or the room in the list, whatever `regions` says.
    for _ in 0..regions {
        redistributors.push(next_frame()?).map_err(|_| BootError::TooManyRedistributors(name))?;
    }
    let maintenance = match node.property(b"interrupts") {
        Some(interrupts) => Some(private_interrupt(interrupts.value, 0, interrupt_cells, name)?),
        None => None,
    };
    Ok(GicV3 {
        distributor,
        redistributors,
        redistributor_stride: number(b"redistributor-stride", "redistributor-stride")?,
        maintenance,
        interrupt_cells,
    })
}

/// Reads the `index`-th interrupt specifier and checks that it is a PPI.
fn private_interrupt(
    interrupts: &[u8],
    index: usize,
    cells: usize,
    name: NodeName,
) -> Result<u32, BootError> {
    let bad = BootError::BadProperty(name, "interrupts");
    let offset = index.saturating_mul(cells).saturating_mul(4);
    let kind = bytes::be32(interrupts, offset).ok_or(bad)?;
    let number = bytes::be32(interrupts, offset.saturating_add(4)).ok_or(bad)?;
    if kind != SPECIFIER_PPI || number >= PPI_COUNT {
        return Err(BootError::NotPrivateInterrupt(name));
    }
    Ok(PPI_BASE.saturating_add(number))
}

/// The timer's interrupts in the order of the binding, by the name that each may have.
const TIMER_NAMES: [&[u8]; 5] = [b"sec-phys", b"phys", b"virt", b"hyp-phys", b"hyp-virt"];

/// Tells whether the node is the architected timer.
pub(crate) fn is_timer_node(node: &Node<'_>) -> bool {
    node.is_compatible(b"arm,armv8-timer")
}

/// Finds the architected timer.
#[inline(never)]
pub(crate) fn find_timer(fdt: &Fdt<'_>, cells: usize) -> Result<TimerInterrupts, BootError> {
    let mut walk = fdt.walk();
    while let Some(path) = walk.next_node() {
        let node = path.node();
        if !path.is_enabled() || !is_timer_node(&node) {
            continue;
        }
        let name = node.display_name();
        let interrupts = node
            .property(b"interrupts")
            .ok_or(BootError::MissingProperty(name, "interrupts"))?
            .value;
        let mut found = [None; TIMER_NAMES.len()];
        for (place, (index, wanted)) in
            found.iter_mut().zip((0..TIMER_NAMES.len()).zip(TIMER_NAMES))
        {
            let index = match node.property(b"interrupt-names") {
                Some(names) => {
                    (0..usize::MAX).zip(names.strings()).find(|(_, n)| *n == wanted).map(|(i, _)| i)
                }
                None => Some(index),
            };
            let present =
                |index: &usize| index.saturating_mul(cells).saturating_mul(4) < interrupts.len();
            if let Some(index) = index.filter(present) {
                *place = Some(private_interrupt(interrupts, index, cells, name)?);
            }
        }
        let [secure_physical, physical, virtual_, hyp_physical, hyp_virtual] = found;
        let bad = BootError::BadProperty(name, "interrupts");
        return Ok(TimerInterrupts {
            secure_physical,
            physical: physical.ok_or(bad)?,
            virtual_: virtual_.ok_or(bad)?,
            hyp_physical,
            hyp_virtual,
        });
    }
    Err(BootError::NoTimer)
}

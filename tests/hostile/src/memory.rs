//! Physical memory as the host sees it: probes that tell whose a page is, and the machine's map.

use std::fs;

use crate::Check;
use crate::a64;
use crate::device::{self, Attribute, Log, MAX_STEPS, Outcome, Repeat, Step, WINDOW};

/// Bytes in a page.
pub const PAGE: u64 = 4096;

/// Fault status of the data abort that EL2 injects: an alignment fault, which stock Linux turns into
/// SIGBUS or -EFAULT.
pub const INJECTED_DATA: u64 = 0x21;
/// Fault status of the instruction abort that EL2 injects: an external abort.
pub const INJECTED_FETCH: u64 = 0x10;

/// The step that loads 8 bytes into X0 from a physical address.
#[must_use]
pub fn load_step(physical: u64, attribute: Attribute) -> Step {
    Step::new([a64::load(3, 0, 1), a64::RET])
        .window(physical, attribute)
        .registers(&[0, WINDOW + physical % PAGE])
}

/// The step that stores 8 bytes.
#[must_use]
pub fn store_step(physical: u64, value: u64, attribute: Attribute) -> Step {
    Step::new([a64::store(3, 0, 1), a64::RET])
        .window(physical, attribute)
        .registers(&[value, WINDOW + physical % PAGE])
}

/// Reads 8 bytes; `None` if the access is refused.
///
/// # Errors
/// When the refusal is not the one that EL2 promises.
pub fn read(physical: u64) -> Check<Option<u64>> {
    let step = device::run_one(load_step(physical, Attribute::Normal))?;
    match step.outcome {
        Outcome::Returned => Ok(Some(step.x[0])),
        refused => check_injected(refused).map(|()| None),
    }
}

/// Requires the abort that EL2 injects for a page that is not the host's.
///
/// # Errors
/// When it is another exception, or none.
pub fn check_injected(outcome: Outcome) -> Check {
    match outcome {
        Outcome::Exception { esr, .. } if is_injected(esr) => Ok(()),
        Outcome::Exception { esr, far } => {
            Err(format!("exception with ESR {esr:#x}, FAR {far:#x} instead of the injected abort"))
        }
        Outcome::Returned => Err("the access was carried out".into()),
        Outcome::SystemError => Err("the access caused an SError".into()),
    }
}

/// Whether a syndrome is that of an injected abort, of data or of an instruction.
#[must_use]
pub const fn is_injected(esr: u64) -> bool {
    matches!((esr >> 26 & 0x3f, esr & 0x3f), (0x25, INJECTED_DATA) | (0x21, INJECTED_FETCH))
}

/// Requires every page to be the host's: readable and writable.
///
/// # Errors
/// Names the first that is not.
pub fn require_owned(pfns: impl IntoIterator<Item = u64>) -> Check {
    for pfn in pfns {
        let value = read(pfn * PAGE)?.ok_or_else(|| format!("page {pfn:#x} is lost"))?;
        let step = device::run_one(store_step(pfn * PAGE, value, Attribute::Normal))?;
        if step.outcome != Outcome::Returned {
            return Err(format!("page {pfn:#x} cannot be written"));
        }
    }
    Ok(())
}

/// Requires every page to be refused to the host, to reads and to writes.
///
/// # Errors
/// Names the first that is not.
pub fn require_refused(pfns: impl IntoIterator<Item = u64>) -> Check {
    for pfn in pfns {
        if let Some(value) = read(pfn * PAGE)? {
            return Err(format!("page {pfn:#x} can be read: {value:#x}"));
        }
        let step = device::run_one(store_step(pfn * PAGE, 0, Attribute::Normal))?;
        check_injected(step.outcome).map_err(|why| format!("write to page {pfn:#x}: {why}"))?;
    }
    Ok(())
}

/// Requires pages to be the host's and zero, seen through cacheable and uncacheable windows.
///
/// # Errors
/// Names the first word that is not zero.
pub fn require_zero(pfn: u64, pages: u64) -> Check {
    // LDR X0, [X1]; CBNZ X0, out; ADD X1, X1, #8; SUB X2, X2, #1; CBNZ X2, start; out: RET
    let code = [
        a64::load(3, 0, 1),
        a64::cbnz(0, 4),
        a64::add(1, 1, 8),
        a64::sub(2, 2, 1),
        a64::cbnz(2, -4),
        a64::RET,
    ];
    for page in pfn..pfn + pages {
        for attribute in [Attribute::NonCacheable, Attribute::Normal] {
            let step = Step::new(code).window(page * PAGE, attribute);
            let step = device::run_one(step.registers(&[0, WINDOW, PAGE / 8]))?;
            if step.outcome != Outcome::Returned {
                return Err(format!("page {page:#x} is lost: {:x?}", step.outcome));
            }
            if step.x[0] != 0 {
                let offset = step.x[1] - WINDOW;
                return Err(format!("page {page:#x} has {:#x} at {offset:#x}", step.x[0]));
            }
        }
    }
    Ok(())
}

/// Fills a page that is the host's.
///
/// # Errors
/// When it is not.
pub fn fill(pfn: u64, value: u64) -> Check {
    // STR X0, [X1]; ADD X1, X1, #8; SUB X2, X2, #1; CBNZ X2, start; RET
    let code =
        [a64::store(3, 0, 1), a64::add(1, 1, 8), a64::sub(2, 2, 1), a64::cbnz(2, -3), a64::RET];
    let step = Step::new(code).window(pfn * PAGE, Attribute::Normal);
    let step = device::run_one(step.registers(&[value, WINDOW, PAGE / 8]))?;
    match step.outcome {
        Outcome::Returned => Ok(()),
        outcome => Err(format!("page {pfn:#x} cannot be filled: {outcome:x?}")),
    }
}

/// Runs many single steps in batches, and calls `each` with the address and log of every one.
///
/// # Errors
/// When the module refuses, or `each` does.
pub fn sweep(
    addresses: &[u64],
    make: impl Fn(u64) -> Step,
    mut each: impl FnMut(u64, &Log) -> Check,
) -> Check {
    for batch in addresses.chunks(MAX_STEPS) {
        let mut steps: Vec<Step> = batch.iter().map(|address| make(*address)).collect();
        let log = device::run(&mut steps, Repeat { log: true, ..Repeat::ONCE })?;
        for (address, entry) in batch.iter().zip(&log) {
            each(*address, entry)?;
        }
    }
    Ok(())
}

/// Ranges of System RAM that Linux knows, as start and end addresses.
///
/// # Errors
/// When /proc/iomem cannot be read.
pub fn linux_ram() -> Check<Vec<(u64, u64)>> {
    let text =
        fs::read_to_string("/proc/iomem").map_err(|error| format!("/proc/iomem: {error}"))?;
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with(' ')) {
        let Some((range, name)) = line.split_once(" : ") else { continue };
        if name != "System RAM" && name != "reserved" {
            continue;
        }
        let Some((start, end)) = range.split_once('-') else { continue };
        let parse = |text: &str| u64::from_str_radix(text, 16).map_err(|error| error.to_string());
        let (start, end) = (parse(start)?, parse(end)? + 1);
        match ranges.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => ranges.push((start, end)),
        }
    }
    if ranges.iter().all(|range| range.0 == 0) {
        return Err("/proc/iomem hides addresses: run as root".into());
    }
    Ok(ranges)
}

/// What of the machine's RAM Linux does not know: the region of EL2.
///
/// # Errors
/// When there is none, or the size of RAM was not given.
pub fn hidden(ram: Option<(u64, u64)>) -> Check<Vec<(u64, u64)>> {
    let (base, size) = ram.ok_or("needs --ram-base and --ram-size")?;
    let mut holes = Vec::new();
    let mut at = base;
    for (start, end) in linux_ram()? {
        if start > at {
            holes.push((at, start.min(base + size)));
        }
        at = at.max(end);
    }
    if at < base + size {
        holes.push((at, base + size));
    }
    holes.retain(|hole| hole.0 < hole.1);
    if holes.is_empty() {
        return Err("all RAM is Linux's: there is no region of EL2".into());
    }
    Ok(holes)
}

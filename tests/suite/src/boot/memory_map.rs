//! The host's memory map has a hole where EL2 is.

use anyhow::{Context as _, Result, bail};
use redoubt_qemu::RAM_BASE;

use crate::context::Context;
use crate::host::HostRun;

/// A range of physical addresses, end exclusive.
type Range = (u64, u64);

/// Compares what EL2 says it took with what the host says it has.
pub fn test(context: &Context, run: &'static HostRun) -> Result<()> {
    let report = context.report(run)?;
    let taken = announced(&report.text)?;
    let ram_end = RAM_BASE + u64::from(run.memory_mib) * 1024 * 1024;
    if taken.0 >= taken.1 || taken.0 < RAM_BASE || taken.1 > ram_end {
        bail!("EL2 says that it took {taken:x?}, which is no part of RAM");
    }
    let host = report.data("iomem")?.iter().map(|line| range(line)).collect::<Result<Vec<_>>>()?;
    disjoint(&host, taken)
}

fn disjoint(host: &[Range], taken: Range) -> Result<()> {
    match host.iter().find(|part| part.0 < taken.1 && taken.0 < part.1) {
        Some(part) => bail!("the host's memory {part:x?} overlaps EL2's {taken:x?}"),
        None if host.is_empty() => bail!("the host says that it has no memory"),
        None => Ok(()),
    }
}

/// The range in EL2's announcement: `redoubt: ..., N KiB at ADDRESS for EL2; ...`.
fn announced(text: &str) -> Result<Range> {
    let line = text.lines().find(|line| line.starts_with("redoubt: ") && line.contains(" for EL2"));
    let line = line.context("EL2 does not say which memory it took")?;
    let words: Vec<_> = line.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
    let range = words.windows(4).find_map(|words| match words {
        [kib, "KiB", "at", start] => Some((*kib, *start)),
        _ => None,
    });
    let (kib, start) = range.with_context(|| format!("no range in \"{line}\""))?;
    let (start, kib) = (hex(start)?, kib.parse::<u64>().context("no size")?);
    Ok((start, start + kib * 1024))
}

/// The range in a line of `/proc/iomem`, whose end is inclusive.
fn range(line: &str) -> Result<Range> {
    let words = line.trim().split(" : ").next().and_then(|word| word.split_once('-'));
    let (start, end) = words.with_context(|| format!("no range in \"{line}\""))?;
    Ok((hex(start)?, hex(end)? + 1))
}

fn hex(text: &str) -> Result<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16)
        .with_context(|| format!("\"{text}\" is no address"))
}

#[cfg(test)]
mod tests {
    //! Ranges as EL2 and Linux write them.

    use super::{announced, disjoint, range};

    #[test]
    fn reads_both_notations() {
        let line =
            "x\r\nredoubt: 4 CPUs, 2048 MiB of RAM, 32768 KiB at 0xbe000000 for EL2; then\r\n";
        let taken = announced(line).unwrap();
        assert_eq!(taken, (0xbe00_0000, 0xc000_0000));
        let host = range("40000000-bdffffff : System RAM").unwrap();
        assert_eq!(host, (0x4000_0000, 0xbe00_0000));
        disjoint(&[host], taken).unwrap();
    }

    #[test]
    fn finds_an_overlap_and_a_lie() {
        let taken = (0xbe00_0000, 0xc000_0000);
        assert!(disjoint(&[(0x4000_0000, 0xbe00_1000)], taken).is_err());
        assert!(disjoint(&[], taken).is_err());
        assert!(announced("redoubt: nothing").is_err());
    }
}

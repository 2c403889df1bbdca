//! The report in the terminal.
//!
//! Decides what a person sees first: for each system how much privileged code there is, and a line for
//! each workload with what it traversed. Columns are as wide as what is in them; nothing is coloured,
//! so that the text can be kept.

use std::fmt::Write;

use crate::density;
use crate::model::{Entry, Image, Origin, Report, System, Workload};

#[cfg(test)]
mod tests;

/// How many causes of entries a line names.
const CAUSES: usize = 4;

/// The report as text.
pub fn report(report: &Report) -> String {
    let mut out = String::new();
    for system in &report.systems {
        out.push_str(&self::system(system, report));
        out.push('\n');
    }
    let density = &report.density;
    let _ = writeln!(
        out,
        "HAP: lines traversed x {} to {} defects in 1,000 lines.",
        density.low, density.high
    );
    out.push_str(
        "VAP: lines of host kernel and VMM that were traversed without being privileged.\n",
    );
    for missing in &report.missing {
        let workload = missing.workload.as_ref().map(|name| format!(", {name}"));
        let _ = writeln!(
            out,
            "Not measured: {}{}: {}",
            missing.system,
            workload.unwrap_or_default(),
            missing.reason
        );
    }
    out
}

/// A system and its workloads.
fn system(system: &System, report: &Report) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{} ({}, {})", system.title, system.name, system.version);
    let _ = writeln!(out, "  privileged: {}", size(&system.privileged));
    if !system.vertical.is_empty() {
        let _ = writeln!(out, "  vertical:   {}", size(&system.vertical));
    }
    let head = [
        "workload",
        "functions",
        "lines",
        "of all",
        "instructions",
        "entries",
        "HAP",
        "boot",
        "host",
        "guest",
        "VAP",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let all: u64 = system.privileged.iter().map(|image| image.lines).sum();
    for workload in &system.workloads {
        rows.push(vec![
            workload.name.clone(),
            thousands(workload.horizontal.functions),
            thousands(workload.horizontal.lines),
            percent(workload.horizontal.lines, all),
            thousands(workload.horizontal.instructions),
            thousands(entries(workload)),
            density::range(workload.horizontal.lines, &report.density),
            lines_of(workload, Origin::Boot),
            lines_of(workload, Origin::Host),
            lines_of(workload, Origin::Guest),
            vertical(workload),
        ]);
    }
    out.push_str(&table(&rows));
    for workload in &system.workloads {
        if workload.entries.is_empty() {
            continue;
        }
        let _ = writeln!(out, "  {} was entered by {}", workload.name, causes(&workload.entries));
    }
    for workload in system.workloads.iter().filter(|workload| workload.unknown != 0) {
        let _ = writeln!(
            out,
            "  {}: in no known image, instructions at the privileged level: {}",
            workload.name,
            thousands(workload.unknown)
        );
    }
    out
}

/// The size of images together.
fn size(images: &[Image]) -> String {
    let sum = |field: fn(&Image) -> u64| thousands(images.iter().map(field).sum());
    let names: Vec<&str> = images.iter().map(|image| image.name.as_str()).take(3).collect();
    let more = images.len() - names.len();
    format!(
        "{} lines, {} functions, {} bytes of code: {}{}",
        sum(|image| image.lines),
        sum(|image| image.functions),
        sum(|image| image.bytes),
        names.join(", "),
        if more == 0 { String::new() } else { format!(" and {more} more") }
    )
}

/// The most frequent causes of entries.
fn causes(entries: &[Entry]) -> String {
    let causes = by_cause(entries);
    let mut parts: Vec<String> = causes
        .iter()
        .take(CAUSES)
        .map(|(who, cause, count)| format!("{} {cause} of the {who}", thousands(*count)))
        .collect();
    let rest: u64 = causes.iter().skip(CAUSES).map(|(_, _, count)| count).sum();
    if rest != 0 {
        parts.push(format!("{} more", thousands(rest)));
    }
    parts.join(", ")
}

/// Entries by who entered and why, from whichever level; the most frequent first.
pub(crate) fn by_cause(entries: &[Entry]) -> Vec<(&'static str, &str, u64)> {
    let mut causes: Vec<(&'static str, &str, u64)> = Vec::new();
    for entry in entries {
        let (who, cause) = (origin(entry.origin), entry.cause.as_str());
        match causes.iter_mut().find(|known| (known.0, known.1) == (who, cause)) {
            Some(known) => known.2 += entry.count,
            None => causes.push((who, cause, entry.count)),
        }
    }
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.2));
    causes
}

/// All entries of a workload.
pub(crate) fn entries(workload: &Workload) -> u64 {
    workload.entries.iter().map(|entry| entry.count).sum()
}

/// The lines that were traversed on someone's behalf; `-` for none.
pub(crate) fn lines_of(workload: &Workload, origin: Origin) -> String {
    let measure = workload.by_origin.iter().find(|(other, _)| *other == origin);
    measure.map_or_else(|| "-".to_owned(), |(_, measure)| thousands(measure.lines))
}

/// The vertical lines that were traversed; `-` where nothing is vertical.
pub(crate) fn vertical(workload: &Workload) -> String {
    if workload.vertical.is_empty() {
        return "-".to_owned();
    }
    thousands(workload.vertical.iter().map(|(_, measure)| measure.lines).sum())
}

/// The name of an origin.
fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Boot => "boot",
        Origin::Host => "host",
        Origin::Guest => "guest",
    }
}

/// A part of a whole, in hundredths.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1} %", part as f64 / whole as f64 * 100.0) }
}

/// A number with commas between thousands.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Rows in columns; the first row is the head, the first column is to the left.
fn table(rows: &[Vec<String>]) -> String {
    let mut widths = vec![0; rows.iter().map(Vec::len).max().unwrap_or_default()];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in rows {
        out.push_str("  ");
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(out, "{cell:<width$}"),
                _ => write!(out, "  {cell:>width$}"),
            };
        }
        out.push('\n');
    }
    out
}

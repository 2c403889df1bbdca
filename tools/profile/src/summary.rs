//! The summary that is checked in: `docs/attack-profile.md`.
//!
//! Decides what a reader of the repository is told: the command that measured, the systems and what is
//! counted of each, a table for each workload that compares systems, what a line is worth, and what
//! of it is not the same the next time. It is made from the report alone, so it is never edited.

use std::fmt::Write;

use crate::density;
use crate::model::{Density, Image, Origin, Report, System, Workload};
use crate::text::{by_cause, entries, lines_of, percent, thousands, vertical};

#[cfg(test)]
mod tests;

/// What is said beside the numbers.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// What is not the same in the next run, a sentence each.
    pub not_deterministic: Vec<String>,
    /// What else a reader has to know to compare the numbers, a sentence each.
    pub remarks: Vec<String>,
}

/// The summary as Markdown.
pub fn markdown(report: &Report, notes: &Notes) -> String {
    let mut out = String::from("# The attack profile\n\n");
    let _ = write!(
        out,
        "How much privileged code a workload really traverses, on Redoubt and on its peers, under \
         {}. The horizontal attack profile (HAP) is the number of distinct source lines of \
         privileged code that ran, times the density of defects: how many defects are to be \
         expected in the code that tenants share. The vertical attack profile (VAP) counts the \
         lines of host kernel and VMM that served the workload without being privileged.\n\n\
         Made by\n\n```\n{}\n```\n\nwhich writes this file; the page with all functions is \
         `target/profile/index.html`.\n",
        report.qemu, report.command
    );
    out.push_str("\n## What is counted\n");
    for system in &report.systems {
        let _ = write!(
            out,
            "\n### {}\n\n`{}`, {}. {}\n\n",
            system.title, system.name, system.version, system.boundary
        );
        images(&mut out, system);
    }
    out.push_str("\n## What was traversed\n");
    for name in workloads(report) {
        workload(&mut out, report, name);
    }
    entered(&mut out, report);
    let Density { low, high, sources } = &report.density;
    let _ = write!(
        out,
        "\n## What a line is worth\n\nHAP = lines traversed x {low} to {high} defects in 1,000 \
         lines.\n\n"
    );
    list(&mut out, sources);
    out.push_str(
        "\n## How it is counted\n\n\
         - A line is a distinct pair of source file and line number that DWARF names for an \
         executed instruction: its own, and those of the calls that were inlined around it. Code \
         that the compiler made for no line counts none. An instruction without line information \
         (assembly, or an image with a symbol table alone) is a line of its own.\n\
         - A function is a distinct pair of file and name; inlined functions count.\n\
         - Entries are exceptions that were taken to the privileged level from a lower one. Boot, \
         host and guest are those on whose behalf privileged code ran: who entered last; a line \
         that several of them traverse counts for each.\n",
    );
    density_of_code(&mut out, report);
    list(&mut out, &notes.remarks);
    out.push_str("\n## What is not the same the next time\n\n");
    if notes.not_deterministic.is_empty() {
        out.push_str("Nothing that is known.\n");
    }
    list(&mut out, &notes.not_deterministic);
    if !report.missing.is_empty() {
        out.push_str("\n## What was not measured\n\n");
        for missing in &report.missing {
            let workload = missing.workload.as_ref().map(|name| format!(", `{name}`"));
            let workload = workload.unwrap_or_default();
            let _ = writeln!(out, "- `{}`{workload}: {}", missing.system, missing.reason);
        }
    }
    out
}

/// How much code a line stands for: what the comparison of lines leaves out.
fn density_of_code(out: &mut String, report: &Report) {
    let ratios = report.systems.iter().filter_map(|system| {
        let sum = |field: fn(&Image) -> u64| system.privileged.iter().map(field).sum::<u64>();
        let (bytes, lines) = (sum(|image| image.bytes), sum(|image| image.lines));
        (lines != 0).then(|| format!("{} {:.0}", system.title, bytes as f64 / lines as f64))
    });
    let ratios: Vec<String> = ratios.collect();
    if !ratios.is_empty() {
        let _ = writeln!(
            out,
            "- A line does not stand for the same amount of code everywhere: compilers differ in \
             what they inline, duplicate and attribute to a line. Bytes of privileged code for \
             each line: {}.",
            ratios.join(", ")
        );
    }
}

/// The images of a system, and their size.
fn images(out: &mut String, system: &System) {
    out.push_str("| image | | lines | functions | bytes |\n| --- | --- | ---: | ---: | ---: |\n");
    for (kind, images) in [("privileged", &system.privileged), ("vertical", &system.vertical)] {
        // Modules would fill the page: those of a tree are one row.
        let mut groups: Vec<(&str, Vec<&Image>)> = Vec::new();
        for image in images {
            let tree = image.name.split(':').next().unwrap_or_default();
            let is_part = tree.len() != image.name.len();
            match groups
                .iter_mut()
                .find(|(name, members)| *name == tree && is_part == members[0].name.contains(':'))
            {
                Some((_, members)) => members.push(image),
                None => groups.push((tree, vec![image])),
            }
        }
        for (tree, members) in groups {
            let sum = |field: fn(&Image) -> u64| {
                thousands(members.iter().map(|image| field(image)).sum())
            };
            let name = match members.as_slice() {
                [image] => format!("{}: {}", image.name, image.what),
                _ => format!("{tree}: {} modules: {}", members.len(), members[0].what),
            };
            let _ = writeln!(
                out,
                "| {} | {kind} | {} | {} | {} |",
                cell(&name),
                sum(|image| image.lines),
                sum(|image| image.functions),
                sum(|image| image.bytes)
            );
        }
    }
}

/// The names of all workloads, in the order in which systems have them.
fn workloads(report: &Report) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for workload in report.systems.iter().flat_map(|system| &system.workloads) {
        if !names.contains(&workload.name.as_str()) {
            names.push(&workload.name);
        }
    }
    names
}

/// The systems that ran a workload.
fn runs<'a>(report: &'a Report, name: &str) -> Vec<(&'a System, &'a Workload)> {
    let pairs = report.systems.iter().filter_map(|system| {
        let workload = system.workloads.iter().find(|workload| workload.name == name)?;
        Some((system, workload))
    });
    pairs.collect()
}

/// A table that compares systems on a workload.
fn workload(out: &mut String, report: &Report, name: &str) {
    let runs = runs(report, name);
    let _ = write!(out, "\n### {name}\n\n");
    // Systems may run it in different words.
    let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
    for (system, workload) in &runs {
        match said.iter_mut().find(|(what, _)| *what == workload.what) {
            Some((_, systems)) => systems.push(&system.name),
            None => said.push((&workload.what, vec![&system.name])),
        }
    }
    match said.as_slice() {
        [(what, _)] => {
            let _ = write!(out, "{what}\n\n");
        }
        _ => {
            for (what, systems) in &said {
                let _ = writeln!(out, "- {}: {what}", systems.join(", "));
            }
            out.push('\n');
        }
    }
    out.push_str(
        "| system | lines | of all | HAP | functions | instructions | entries | boot | host | \
         guest | VAP | unknown |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for (system, workload) in runs {
        let all = system.privileged.iter().map(|image| image.lines).sum();
        let horizontal = workload.horizontal;
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(&system.title),
            thousands(horizontal.lines),
            percent(horizontal.lines, all),
            density::range(horizontal.lines, &report.density),
            thousands(horizontal.functions),
            thousands(horizontal.instructions),
            thousands(entries(workload)),
            lines_of(workload, Origin::Boot),
            lines_of(workload, Origin::Host),
            lines_of(workload, Origin::Guest),
            vertical(workload),
            thousands(workload.unknown)
        );
    }
}

/// Why the privileged level was entered.
fn entered(out: &mut String, report: &Report) {
    out.push_str("\n## Why privileged code was entered\n\n");
    out.push_str("| workload | system | entries, the most frequent first |\n| --- | --- | --- |\n");
    for name in workloads(report) {
        for (system, workload) in runs(report, name) {
            let causes = by_cause(&workload.entries).into_iter().take(5);
            let causes: Vec<String> = causes
                .map(|(who, cause, count)| format!("{} {cause} ({who})", thousands(count)))
                .collect();
            let causes = if causes.is_empty() { "none".to_owned() } else { causes.join(", ") };
            let _ = writeln!(out, "| {name} | {} | {} |", cell(&system.title), cell(&causes));
        }
    }
}

fn list(out: &mut String, sentences: &[String]) {
    for sentence in sentences {
        let _ = writeln!(out, "- {sentence}");
    }
}

/// Text in a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

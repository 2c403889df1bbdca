//! The gate: Redoubt's own attack profile may not grow without a commit that says so.
//!
//! Decides what growth is. A record of static size and of the lines that each workload traverses is
//! checked in. In the environment of the record (compiler, host kernel, QEMU) the numbers repeat
//! exactly, so one line more fails. In another environment a compiler may attribute instructions to
//! other lines and a kernel may behave differently: 5 % are tolerated there, and the difference is
//! named. Less is never a failure; it is reported, so that it is recorded and becomes the bound.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::model::{Image, Workload};

#[cfg(test)]
mod tests;

/// The version of the record's form.
pub const VERSION: u32 = 1;

/// What of a number may be added in another environment, in hundredths.
const TOLERANCE: u64 = 5;

/// How many functions a message names.
const NAMED: usize = 12;

/// What is done about a difference.
const REMEDY: &str = "cargo xtask profile --record";

/// What Redoubt's attack profile is, in numbers that can be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// Where it was measured.
    pub environment: Environment,
    /// All lines of the privileged image.
    pub lines: u64,
    /// All functions of the privileged image.
    pub functions: u64,
    /// Bytes of code of the privileged image.
    pub bytes: u64,
    /// What each workload traversed, in the order of the counts in `traversed`.
    pub workloads: Vec<Traversed>,
    /// Lines traversed in each function (by file and name), by each workload.
    pub traversed: BTreeMap<String, Vec<u64>>,
}

/// What a measurement depends on beside the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// The compiler's version.
    pub compiler: String,
    /// The release of the host's kernel.
    pub kernel: String,
    /// QEMU's version.
    pub qemu: String,
}

/// What a workload traversed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traversed {
    /// The workload's name.
    pub name: String,
    /// Distinct lines.
    pub lines: u64,
    /// Distinct functions.
    pub functions: u64,
    /// Instructions at the privileged level in no known image.
    pub unknown: u64,
}

impl Record {
    /// What was measured.
    pub fn new(environment: Environment, images: &[Image], workloads: &[Workload]) -> Record {
        let mut traversed: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (index, workload) in workloads.iter().enumerate() {
            for function in workload.traversed.iter().filter(|function| function.lines != 0) {
                let key = format!("{} {}", function.file, function.name);
                traversed.entry(key).or_insert_with(|| vec![0; workloads.len()])[index] +=
                    function.lines;
            }
        }
        Record {
            version: VERSION,
            environment,
            lines: images.iter().map(|image| image.lines).sum(),
            functions: images.iter().map(|image| image.functions).sum(),
            bytes: images.iter().map(|image| image.bytes).sum(),
            workloads: workloads
                .iter()
                .map(|workload| Traversed {
                    name: workload.name.clone(),
                    lines: workload.horizontal.lines,
                    functions: workload.horizontal.functions,
                    unknown: workload.unknown,
                })
                .collect(),
            traversed,
        }
    }

    /// Reads a record.
    pub fn read(path: &Path) -> Result<Record> {
        let context = || format!("the recorded attack profile {}", path.display());
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("it has to be recorded first by `{REMEDY}`"))
            .with_context(context)?;
        Record::parse(&text).with_context(context)
    }

    /// Reads a record from its text.
    pub fn parse(text: &str) -> Result<Record> {
        let record: Record = serde_json::from_str(text)?;
        ensure!(
            record.version == VERSION,
            "it has version {}, and {VERSION} is understood: record it again by `{REMEDY}`",
            record.version
        );
        let wrong =
            record.traversed.iter().find(|(_, counts)| counts.len() != record.workloads.len());
        if let Some((function, counts)) = wrong {
            let (counts, workloads) = (counts.len(), record.workloads.len());
            ensure!(false, "{function} has {counts} counts for {workloads} workloads");
        }
        Ok(record)
    }

    /// The text of a record: a line for each workload and each function, to be compared by eye.
    pub fn to_text(&self) -> Result<String> {
        let Record { version, environment, lines, functions, bytes, workloads, traversed } = self;
        let workloads: Vec<String> =
            workloads.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        let mut rows = Vec::with_capacity(traversed.len());
        for (function, counts) in traversed {
            let (function, counts) =
                (serde_json::to_string(function)?, serde_json::to_string(counts)?);
            rows.push(format!("{function}: {counts}"));
        }
        let block = |rows: Vec<String>| match rows.is_empty() {
            true => String::new(),
            false => format!("\n    {}\n  ", rows.join(",\n    ")),
        };
        Ok(format!(
            "{{\n  \"version\": {version},\n  \"environment\": {},\n  \"lines\": {lines},\n  \
             \"functions\": {functions},\n  \"bytes\": {bytes},\n  \"workloads\": [{}],\n  \
             \"traversed\": {{{}}}\n}}\n",
            serde_json::to_string(environment)?,
            block(workloads),
            block(rows)
        ))
    }
}

/// How a measurement differs from the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What the environment differs in; the tolerance holds if this is not empty.
    pub environment: Vec<String>,
    /// What grew and may not: the gate is closed if this is not empty.
    pub growth: Vec<Change>,
    /// What grew within the tolerance.
    pub tolerated: Vec<Change>,
    /// What shrank.
    pub shrinkage: Vec<Change>,
}

/// A number that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it is the number of.
    pub what: String,
    /// What it was; nothing for what was never recorded.
    pub recorded: Option<u64>,
    /// What it is.
    pub measured: u64,
    /// Functions whose lines changed in the same direction, the largest change first.
    pub functions: Vec<String>,
}

/// Compares a measurement with the record. What was recorded and is gone (a workload, or all that one
/// traversed) fails: it is the measurement that shrank.
pub fn compare(recorded: &Record, measured: &Record) -> Comparison {
    let mut comparison =
        Comparison { environment: differences(recorded, measured), ..Comparison::default() };
    comparison.add("lines in the privileged image", recorded.lines, measured.lines, Vec::new);
    comparison.add("bytes of privileged code", recorded.bytes, measured.bytes, Vec::new);
    for (index, workload) in measured.workloads.iter().enumerate() {
        let what = format!("lines traversed by {}", workload.name);
        let old = recorded.workloads.iter().position(|other| other.name == workload.name);
        let Some(old) = old else {
            comparison.growth.push(Change {
                what,
                recorded: None,
                measured: workload.lines,
                functions: Vec::new(),
            });
            continue;
        };
        let Traversed { lines: before, unknown, .. } = recorded.workloads[old];
        let outside = format!("instructions in no known image, of {}", workload.name);
        comparison.add(&outside, unknown, workload.unknown, Vec::new);
        if before != 0 && workload.lines == 0 {
            comparison.gone(what, before);
            continue;
        }
        comparison.add(&what, before, workload.lines, || {
            functions(recorded, old, measured, index, workload.lines > before)
        });
    }
    for old in &recorded.workloads {
        if !measured.workloads.iter().any(|workload| workload.name == old.name) {
            comparison.gone(format!("lines traversed by {}", old.name), old.lines);
        }
    }
    comparison
}

impl Comparison {
    /// What was recorded was not measured.
    fn gone(&mut self, what: String, recorded: u64) {
        let recorded = Some(recorded);
        self.growth.push(Change { what, recorded, measured: 0, functions: Vec::new() });
    }

    /// Whether nothing grew that may not.
    pub fn is_passed(&self) -> bool {
        self.growth.is_empty()
    }

    fn add(
        &mut self,
        what: &str,
        recorded: u64,
        measured: u64,
        functions: impl FnOnce() -> Vec<String>,
    ) {
        let list = if measured < recorded {
            &mut self.shrinkage
        } else if measured == recorded {
            return;
        } else if !self.environment.is_empty()
            && (measured - recorded).saturating_mul(100) <= recorded.saturating_mul(TOLERANCE)
        {
            &mut self.tolerated
        } else {
            &mut self.growth
        };
        list.push(Change {
            what: what.to_owned(),
            recorded: Some(recorded),
            measured,
            functions: functions(),
        });
    }
}

/// What the environments differ in.
fn differences(recorded: &Record, measured: &Record) -> Vec<String> {
    let (old, new) = (&recorded.environment, &measured.environment);
    let pairs = [
        ("compiler", &old.compiler, &new.compiler),
        ("host kernel", &old.kernel, &new.kernel),
        ("QEMU", &old.qemu, &new.qemu),
    ];
    let different = pairs.into_iter().filter(|(_, old, new)| old != new);
    different.map(|(what, old, new)| format!("{what}: {old} was recorded, this is {new}")).collect()
}

/// The functions whose lines grew, or shrank, from a workload of a record to one of another.
fn functions(
    old: &Record,
    old_index: usize,
    new: &Record,
    new_index: usize,
    grew: bool,
) -> Vec<String> {
    let count = |record: &Record, name: &str, index: usize| {
        record.traversed.get(name).map_or(0, |counts| counts[index])
    };
    let mut names: Vec<&String> = old.traversed.keys().chain(new.traversed.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let mut changes: Vec<(u64, &str, u64, u64)> = names
        .into_iter()
        .map(|name| {
            let (before, after) = (count(old, name, old_index), count(new, name, new_index));
            (before.abs_diff(after), name.as_str(), before, after)
        })
        .filter(|(_, _, before, after)| if grew { after > before } else { after < before })
        .collect();
    changes.sort_by_key(|(change, name, ..)| (std::cmp::Reverse(*change), *name));
    changes.iter().map(|(_, name, before, after)| format!("{name}: {before} -> {after}")).collect()
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Change { what, recorded, measured, functions } = self;
        match recorded {
            Some(recorded) => write!(f, "{what}: {recorded} -> {measured}")?,
            None => write!(f, "{what}: {measured}, and nothing is recorded")?,
        }
        for function in functions.iter().take(NAMED) {
            write!(f, "\n    {function}")?;
        }
        match functions.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "\n    and {more} more functions"),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if !self.environment.is_empty() {
            let environment = self.environment.join("; ");
            writeln!(
                f,
                "not the environment of the record ({environment}): {TOLERANCE} % more are tolerated"
            )?;
        }
        let parts = [
            ("grew", &self.growth),
            ("grew within what is tolerated", &self.tolerated),
            ("shrank", &self.shrinkage),
        ];
        for (verb, changes) in parts {
            for change in changes {
                writeln!(f, "{verb}: {change}")?;
            }
        }
        if !self.growth.is_empty() {
            write!(
                f,
                "The attack profile grew. If that is meant, record it with the commit: `{REMEDY}`"
            )
        } else if !self.shrinkage.is_empty() {
            write!(f, "The attack profile shrank: record it, so that it stays so: `{REMEDY}`")
        } else if !self.tolerated.is_empty() {
            write!(f, "The attack profile is within what is tolerated.")
        } else {
            write!(f, "The attack profile is what is recorded.")
        }
    }
}

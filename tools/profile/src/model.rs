//! What a profile says: the report, as it is written to JSON and shown in the terminal and the page.
//!
//! Decides what is reported, and in which units. A *line* is a distinct pair of source file and line
//! number that DWARF names for an instruction: the one in the line table, and those of the calls that
//! were inlined around it; an instruction without line information counts as a line of its own
//! (hand-written assembly is one instruction a line). A *function* is a distinct pair of
//! file and function name, inlined functions included. *Instructions* are executions, not addresses.
//!
//! Invariants: everything here is a function of the recordings and the images: no time, no path of
//! the machine that made it; vectors are sorted, so that equal measurements give equal files.

use serde::{Deserialize, Serialize};

/// The version of the JSON form.
pub const VERSION: u32 = 1;

/// The profiles of all systems that were measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// The command that made the report.
    pub command: String,
    /// QEMU's version.
    pub qemu: String,
    /// What a line is worth.
    pub density: Density,
    /// The systems that were measured, Redoubt first.
    pub systems: Vec<System>,
    /// Those that were asked for and could not be measured.
    pub missing: Vec<Missing>,
}

/// Defects that are expected in a thousand lines: a range, with where each end comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Density {
    /// The lower end, defects for each 1,000 lines.
    pub low: f64,
    /// The upper end, defects for each 1,000 lines.
    pub high: f64,
    /// Where the numbers come from, one sentence each.
    pub sources: Vec<String>,
}

/// A system that could not be measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Its name on the command line.
    pub system: String,
    /// Which workload, if only that is missing.
    pub workload: Option<String>,
    /// Why, and what to do about it.
    pub reason: String,
}

/// One system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct System {
    /// Its name on the command line.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// The version that was measured.
    pub version: String,
    /// What is privileged in it, and why: whose compromise breaks the isolation of its tenants.
    pub boundary: String,
    /// The images of privileged code, and their size as a whole.
    pub privileged: Vec<Image>,
    /// The images that serve a tenant without being privileged: host kernel and VMM.
    pub vertical: Vec<Image>,
    /// What was run.
    pub workloads: Vec<Workload>,
}

/// Code that can be traversed, and how much of it there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its name: `redoubt`, `linux`, `linux: virtio_blk`, `xen`, `vmm`.
    pub name: String,
    /// What it is and why it is counted.
    pub what: String,
    /// All functions in it.
    pub functions: u64,
    /// All lines in it.
    pub lines: u64,
    /// Bytes of its executable sections.
    pub bytes: u64,
}

/// Functions, lines and instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// Distinct functions.
    pub functions: u64,
    /// Distinct lines.
    pub lines: u64,
    /// Instructions executed.
    pub instructions: u64,
}

/// On whose behalf privileged code ran: who made the last entry from a lower level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Nobody entered yet: code that runs by itself after the reset.
    Boot,
    /// The host: its kernel or its processes.
    Host,
    /// A tenant: a guest, or the processes of a container.
    Guest,
}

/// One workload on one system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Its name on the command line.
    pub name: String,
    /// What ran, in a sentence.
    pub what: String,
    /// Privileged code that was traversed: the horizontal attack profile is its lines times
    /// [`Density`].
    pub horizontal: Measure,
    /// The same by origin; a line that several traverse counts for each. Sorted by origin.
    pub by_origin: Vec<(Origin, Measure)>,
    /// Code of [`System::vertical`] that was traversed (VAP), by the image's name.
    pub vertical: Vec<(String, Measure)>,
    /// Entries into the privileged level from lower ones, most frequent first.
    pub entries: Vec<Entry>,
    /// Privileged functions that were traversed, by image, file and name.
    pub traversed: Vec<Function>,
    /// Instructions executed at the privileged level outside every known image.
    pub unknown: u64,
}

/// Entries of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Who entered.
    pub origin: Origin,
    /// The level it came from.
    pub from: u8,
    /// Why, in words of the Arm ARM: `HVC`, `IRQ`, `data abort`, `MSR, MRS or system instruction`.
    pub cause: String,
    /// How often.
    pub count: u64,
}

/// A function that was traversed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// The image it is in.
    pub image: String,
    /// The source file, relative to the source tree.
    pub file: String,
    /// The name, demangled.
    pub name: String,
    /// Its lines that were traversed.
    pub lines: u64,
    /// Instructions executed in it.
    pub instructions: u64,
}

//! What the page says of itself, against what its report asks for.
//!
//! Decides how many bars, ranges and rectangles each state of the page must have drawn.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::model::{Report, System, Workload};

/// Entries that a panel shows before they are folded, as in `html/bars.js`.
const SHOWN_ENTRIES: usize = 8;
/// The part of a map that cells cover at least: the rest are frames and headings.
const LEAST_COVERED: f64 = 0.25;

/// What `html/selfcheck.js` leaves in the page.
#[derive(Debug, Deserialize)]
pub(super) struct Selfcheck {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) dark: bool,
    pub(super) states: usize,
    pub(super) labels: usize,
    pub(super) samples: Vec<Sample>,
    pub(super) boxes: std::collections::BTreeMap<String, [i64; 4]>,
    images: usize,
    glance: Vec<Glance>,
    every: Vec<Every>,
    entries: Vec<Entries>,
    maps: Vec<Map>,
    problems: Vec<String>,
    errors: Vec<String>,
}

/// A point of the page, and the colour of what is drawn there.
#[derive(Debug, Deserialize)]
pub(super) struct Sample {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) colour: [u8; 3],
}

#[derive(Debug, Deserialize)]
struct Glance {
    scale: String,
    workload: String,
    totals: usize,
    origins: usize,
    ranges: usize,
    vertical: usize,
}

#[derive(Debug, Deserialize)]
struct Every {
    scale: String,
    grouping: String,
    bars: usize,
    sum: u64,
}

#[derive(Debug, Deserialize)]
struct Entries {
    scale: String,
    workload: String,
    bars: usize,
}

#[derive(Debug, Deserialize)]
struct Map {
    system: String,
    workload: String,
    zoomed: bool,
    rectangles: usize,
    wanted: u64,
    lines: u64,
    covered: f64,
}

impl Selfcheck {
    /// Finds it in the page as the browser wrote it.
    pub(super) fn find(dump: &str) -> Result<Self> {
        const BEGIN: &str = "<pre id=\"selfcheck\"";
        let (_, after) = dump.rsplit_once(BEGIN).context(
            "the page did not check itself: its script did not run to its end (a syntax error, or refused \
             by the page's policy)",
        )?;
        let (_, after) = after.split_once('>').context("the page's check is cut")?;
        let (text, _) = after.split_once("</pre>").context("the page's check is cut")?;
        let text = text
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&nbsp;", "\u{a0}")
            .replace("&amp;", "&");
        serde_json::from_str(&text).context("cannot read what the page says of itself")
    }

    pub(super) fn bars(&self) -> usize {
        let glance =
            self.glance.iter().map(|one| one.totals + one.origins + one.ranges + one.vertical);
        let every = self.every.iter().map(|one| one.bars);
        glance.chain(every).chain(self.entries.iter().map(|one| one.bars)).sum()
    }

    pub(super) fn rectangles(&self) -> usize {
        self.maps.iter().map(|map| map.rectangles).sum()
    }
}

fn workload<'a>(system: &'a System, name: &str) -> Option<&'a Workload> {
    system.workloads.iter().find(|workload| workload.name == name)
}

/// Fails unless the page drew what the report asks for, and all of it well.
pub(super) fn verify(check: &Selfcheck, report: &Report, width: u32, dark: bool) -> Result<()> {
    if !check.errors.is_empty() {
        bail!("the page's script failed: {}", check.errors.join("; "));
    }
    if !check.problems.is_empty() {
        bail!("the page is not well laid out:\n  {}", check.problems.join("\n  "));
    }
    ensure!(check.width == width, "the page was {} wide and should be {width}", check.width);
    ensure!(check.dark == dark, "the browser did not use the colours that were asked for");
    ensure!(check.images == 0, "text of the report became {} images", check.images);
    ensure!(check.states > 0, "the page looked at none of its states");
    if dark {
        return visible(check, report);
    }

    let names: BTreeSet<&str> =
        report.systems.iter().flat_map(|system| &system.workloads).map(|one| &*one.name).collect();
    ensure!(check.every.len() == 4, "{} of 4 states of all workloads were seen", check.every.len());
    let measured: Vec<&Workload> = report
        .systems
        .iter()
        .flat_map(|system| names.iter().filter_map(|name| workload(system, name)))
        .collect();
    let lines: u64 = measured.iter().map(|workload| workload.horizontal.lines).sum();
    for every in &check.every {
        let state = format!("all workloads, {}, by {}", every.scale, every.grouping);
        expect(&state, "bars", every.bars, measured.len())?;
        expect(&state, "lines", every.sum, lines)?;
    }
    ensure!(
        check.glance.len() == 2 * names.len() && check.entries.len() == 2 * names.len(),
        "the page went through {} of {} states",
        check.glance.len(),
        2 * names.len()
    );
    for glance in &check.glance {
        let state = format!("one workload, {}, {}", glance.workload, glance.scale);
        let systems = of(report, &glance.workload).count();
        expect(&state, "bars of lines", glance.totals, systems)?;
        expect(&state, "bars of origins", glance.origins, 3 * systems)?;
        expect(&state, "ranges of defects", glance.ranges, systems)?;
        expect(&state, "bars of vertical lines", glance.vertical, systems)?;
    }
    for entries in &check.entries {
        let state = format!("entries, {}, {}", entries.workload, entries.scale);
        let kinds = of(report, &entries.workload).map(|one| one.entries.len().min(SHOWN_ENTRIES));
        expect(&state, "bars", entries.bars, kinds.sum())?;
    }
    visible(check, report)?;
    maps(check, report)
}

/// Something can be seen if there is something to see.
fn visible(check: &Selfcheck, report: &Report) -> Result<()> {
    let mut workloads = report.systems.iter().flat_map(|system| &system.workloads).peekable();
    ensure!(check.labels > 0 || workloads.peek().is_none(), "the page has no labels");
    let lines = workloads.any(|workload| workload.horizontal.lines > 0);
    ensure!(!check.samples.is_empty() || !lines, "no bar and no rectangle is visible");
    Ok(())
}

/// The workloads of this name, on all systems.
fn of<'a>(report: &'a Report, name: &'a str) -> impl Iterator<Item = &'a Workload> {
    report.systems.iter().filter_map(move |system| workload(system, name))
}

/// Every map shows all lines of its functions, as a whole and in its first part.
fn maps(check: &Selfcheck, report: &Report) -> Result<()> {
    for system in &report.systems {
        for workload in &system.workloads {
            let state = format!("map of {}, {}", system.name, workload.name);
            let found = |zoomed: bool| {
                check.maps.iter().find(|map| {
                    map.system == system.name
                        && map.workload == workload.name
                        && map.zoomed == zoomed
                })
            };
            let lines: u64 = workload.traversed.iter().map(|function| function.lines).sum();
            let whole = found(false).with_context(|| format!("{state}: was not drawn"))?;
            expect(&state, "lines", whole.lines, lines)?;
            if lines == 0 {
                continue;
            }
            let zoomed = found(true).with_context(|| format!("{state}: cannot be zoomed"))?;
            for map in [whole, zoomed] {
                expect(&state, "lines", map.lines, map.wanted)?;
                ensure!(map.rectangles > 0, "{state}: no rectangle");
                ensure!(
                    map.covered > LEAST_COVERED && map.covered < 1.01,
                    "{state}: rectangles cover {:.0} % of it",
                    map.covered * 100.0
                );
            }
        }
    }
    Ok(())
}

fn expect<T: PartialEq + std::fmt::Display>(
    state: &str,
    what: &str,
    is: T,
    wanted: T,
) -> Result<()> {
    ensure!(is == wanted, "{state}: {is} {what} are drawn, and it should be {wanted}");
    Ok(())
}

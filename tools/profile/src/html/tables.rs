//! The parts of the page that stand there without a script: tables, explanations, what is missing.
//!
//! Decides which numbers are shown and in which order. Everything that comes from the report is escaped.

use std::fmt::Write as _;

use super::{defects, escape, row, whole};
use crate::model::{Image, Origin, Report, System, Workload};

const ORIGINS: [(Origin, &str); 3] =
    [(Origin::Boot, "boot"), (Origin::Host, "host"), (Origin::Guest, "guest")];

/// A name of the report; it cannot change the direction of the text around it.
fn name(text: &str) -> String {
    format!("<bdi>{}</bdi>", escape(text))
}

fn head(titles: &[(&str, &str)]) -> String {
    let mut html = "<thead><tr>".to_owned();
    for (class, title) in titles {
        let class = super::attribute("class", class);
        let _ = write!(html, "<th scope=\"col\"{class}>{title}</th>");
    }
    html + "</tr></thead>\n"
}

/// A table that scrolls in its own box if the window is narrow.
fn table(label: &str, caption: &str, head: &str, body: &str) -> String {
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{label}\">\
         <table class=\"data\"><caption>{caption}</caption>\n{head}<tbody>\n{body}</tbody></table></div>\n"
    )
}

/// What the reader must know before all else: that something is missing.
pub(super) fn notice(report: &Report) -> String {
    if report.missing.is_empty() {
        return String::new();
    }
    let mut html = "<div class=\"notice\"><b>Not everything was measured.</b><ul>\n".to_owned();
    for missing in &report.missing {
        let what = match &missing.workload {
            None => name(&missing.system),
            Some(workload) => format!("{}, {}", name(&missing.system), name(workload)),
        };
        let _ = writeln!(html, "<li>{what}: {}</li>", name(&missing.reason));
    }
    html + "</ul></div>"
}

fn lines(images: &[Image]) -> u64 {
    images.iter().map(|image| image.lines).fold(0, u64::saturating_add)
}

fn origin(workload: &Workload, origin: Origin) -> u64 {
    workload
        .by_origin
        .iter()
        .filter(|(of, _)| *of == origin)
        .map(|(_, measure)| measure.lines)
        .sum()
}

fn range(report: &Report, lines: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "an estimate of two digits")]
    let thousands = lines as f64 / 1000.0;
    let density = &report.density;
    format!("{} – {}", defects(thousands * density.low), defects(thousands * density.high))
}

fn share(part: u64, all: u64) -> String {
    if all == 0 {
        return "–".to_owned();
    }
    #[expect(clippy::cast_precision_loss, reason = "a share of two digits")]
    let percent = part as f64 * 100.0 / all as f64;
    if percent > 0.0 && percent < 1.0 { "&lt; 1 %".to_owned() } else { format!("{percent:.0} %") }
}

/// The main table: every system and workload.
pub(super) fn numbers(report: &Report) -> String {
    let head = head(&[
        ("", "System"),
        ("", "Workload"),
        ("n", "Lines traversed (HAP)"),
        ("n", "of all privileged"),
        ("n", "boot"),
        ("n", "host"),
        ("n", "guest"),
        ("n", "Defects to expect"),
        ("n", "Vertical lines (VAP)"),
        ("n", "Functions"),
        ("n", "Privileged instructions"),
        ("n", "Entries"),
        ("n", "Instructions outside images"),
    ]);
    let mut body = String::new();
    for system in &report.systems {
        let all = lines(&system.privileged);
        for (index, workload) in system.workloads.iter().enumerate() {
            let total = workload.horizontal;
            let mut cells = vec![
                ("", name(&system.title)),
                ("", name(&workload.name)),
                ("n", format!("<b>{}</b>", whole(total.lines))),
                ("n", share(total.lines, all)),
            ];
            cells.extend(ORIGINS.map(|(of, _)| ("n", whole(origin(workload, of)))));
            let vertical = workload.vertical.iter().map(|(_, measure)| measure.lines);
            let entries = workload.entries.iter().map(|entry| entry.count);
            cells.extend([
                ("n", range(report, total.lines)),
                ("n", whole(vertical.fold(0, u64::saturating_add))),
                ("n", whole(total.functions)),
                ("n", whole(total.instructions)),
                ("n", whole(entries.fold(0, u64::saturating_add))),
                ("n", whole(workload.unknown)),
            ]);
            row(&mut body, if index == 0 { "first" } else { "" }, 2, &cells);
        }
    }
    if body.is_empty() {
        return "<p class=\"none\">Nothing was measured.</p>".to_owned();
    }
    let caption = "Privileged lines that each workload traversed, by system";
    table("All numbers", caption, &head, &body)
}

/// Entries by cause: long, so it is folded.
pub(super) fn entries(report: &Report) -> String {
    let head = head(&[
        ("", "System"),
        ("", "Workload"),
        ("wrap", "Cause"),
        ("", "From"),
        ("", "On behalf of"),
        ("n", "Entries"),
    ]);
    let mut body = String::new();
    for system in &report.systems {
        for workload in &system.workloads {
            for (index, entry) in workload.entries.iter().enumerate() {
                let of = ORIGINS.iter().find(|(of, _)| *of == entry.origin);
                let cells = [
                    ("", name(&system.title)),
                    ("", name(&workload.name)),
                    ("wrap", name(&entry.cause)),
                    ("", format!("EL{}", entry.from)),
                    ("", of.map_or("", |(_, text)| text).to_owned()),
                    ("n", whole(entry.count)),
                ];
                row(&mut body, if index == 0 { "first" } else { "" }, 2, &cells);
            }
        }
    }
    if body.is_empty() {
        return String::new();
    }
    let table = table("Entries by cause", "Entries into the privileged level", &head, &body);
    format!("<details><summary>Entries by cause, as a table</summary>\n{table}</details>")
}

/// For each system: what is counted, why, and how much of it there is.
pub(super) fn counted(report: &Report) -> String {
    let mut html = String::new();
    for system in &report.systems {
        let _ = write!(
            html,
            "<article class=\"boundary\"><h3>{} <span class=\"small\">{}</span></h3>\n<p>{}</p>\n",
            name(&system.title),
            name(&system.version),
            name(&system.boundary)
        );
        html.push_str(&images(system));
        html.push_str("</article>\n");
    }
    html
}

fn images(system: &System) -> String {
    let head = head(&[
        ("", "Image"),
        ("", "Counts as"),
        ("wrap", "What it is"),
        ("n", "Functions"),
        ("n", "Lines"),
        ("n", "Bytes of code"),
    ]);
    let mut body = String::new();
    for (kind, images) in [("privileged", &system.privileged), ("vertical", &system.vertical)] {
        for (index, image) in images.iter().enumerate() {
            let cells = [
                ("", name(&image.name)),
                ("", kind.to_owned()),
                ("wrap", name(&image.what)),
                ("n", whole(image.functions)),
                ("n", whole(image.lines)),
                ("n", whole(image.bytes)),
            ];
            row(&mut body, if index == 0 { "first" } else { "" }, 1, &cells);
        }
    }
    if body.is_empty() {
        return "<p class=\"none\">No image is counted.</p>".to_owned();
    }
    let label = format!("Images of {}", escape(&system.title));
    let total = whole(lines(&system.privileged));
    table(&label, &format!("{total} privileged lines as a whole"), &head, &body)
}

/// The density, and where it comes from.
pub(super) fn density(report: &Report) -> String {
    let density = &report.density;
    let mut html = format!(
        "<p>Expected are <b>{} to {} defects in 1,000 lines</b>. The range is wide because nobody knows the number \
         for one body of code: it says how much is at stake, not how many defects there are.</p>\n\
         <ul class=\"sources\">\n",
        density.low, density.high
    );
    for source in &density.sources {
        let _ = writeln!(html, "<li>{}</li>", name(source));
    }
    html + "</ul>\n"
}

/// What could not be measured, and what to do about it.
pub(super) fn missing(report: &Report) -> String {
    if report.missing.is_empty() {
        return String::new();
    }
    let head = head(&[("", "System"), ("", "Workload"), ("wrap", "Why, and what to do")]);
    let mut body = String::new();
    for missing in &report.missing {
        let workload = missing.workload.as_deref().map_or_else(|| "all".to_owned(), name);
        let cells = [("", name(&missing.system)), ("", workload), ("wrap", name(&missing.reason))];
        row(&mut body, "", 1, &cells);
    }
    format!(
        "<section id=\"missing\" aria-labelledby=\"missing-title\">\
         <h2 id=\"missing-title\">Not measured</h2>\n{}</section>",
        table("Not measured", "What was asked for and could not be measured", &head, &body)
    )
}

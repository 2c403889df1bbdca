//! The report as a page: one file that needs neither a network nor a server.
//!
//! Decides what stands in the page without its script (the tables, what is counted, where the density comes
//! from, what is missing), and how the report gets into it. The charts are drawn by the script in `html/`.
//!
//! Invariants: all text of the report is escaped here ([`escape`]) or becomes a text node there; the page's
//! policy lets only the page's own script and style run, each by its digest, and lets nothing be loaded. The
//! page is a function of the report.
//!
//! Trusts nothing in the report: names of functions come from debug information of images of others.

pub mod browser;
mod data;
mod tables;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::model::{Report, VERSION};

const TEMPLATE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = concat!(
    "\"use strict\";\n(() => {\n",
    include_str!("html/base.js"),
    include_str!("html/data.js"),
    include_str!("html/bars.js"),
    include_str!("html/treemap.js"),
    include_str!("html/selfcheck.js"),
    include_str!("html/main.js"),
    "})();\n"
);

/// The element of the page that holds the report as JSON.
const DATA_BEGIN: &str = "<script type=\"application/json\" id=\"report\">";
/// What ends it. The JSON itself has no `<` (see [`data::embed`]).
const DATA_END: &str = "</script>";

/// Makes the page.
///
/// # Errors
/// If the report is of another version, or its density is not a range of numbers.
pub fn page(report: &Report) -> Result<String> {
    check(report)?;
    let digest = |text: &str| format!("'sha256-{}'", base64(&Sha256::digest(text)));
    let policy = format!(
        "default-src 'none'; base-uri 'none'; form-action 'none'; script-src {}; style-src {}",
        digest(SCRIPT),
        digest(STYLE)
    );
    fill(
        TEMPLATE,
        &[
            ("policy", policy),
            ("style", STYLE.to_owned()),
            ("notice", tables::notice(report)),
            ("numbers", tables::numbers(report)),
            ("entries", tables::entries(report)),
            ("counted", tables::counted(report)),
            ("density", tables::density(report)),
            ("missing", tables::missing(report)),
            ("command", escape(&report.command)),
            ("qemu", escape(&report.qemu)),
            ("report", data::embed(report)?),
            ("script", SCRIPT.to_owned()),
        ],
    )
}

/// Refuses what the page could only show wrongly.
fn check(report: &Report) -> Result<()> {
    ensure!(
        report.version == VERSION,
        "the report is of version {}, the page shows version {VERSION}: make the report anew",
        report.version
    );
    let density = &report.density;
    ensure!(
        density.low.is_finite() && density.high.is_finite() && density.low >= 0.0,
        "the density of {} to {} defects is not a range of numbers from 0 on",
        density.low,
        density.high
    );
    ensure!(
        density.low <= density.high,
        "the density's lower end, {}, is above its upper end, {}",
        density.low,
        density.high
    );
    Ok(())
}

/// Puts values in place of `{{name}}`, each exactly once, and looks at no value again.
fn fill(template: &str, values: &[(&str, String)]) -> Result<String> {
    let size = template.len() + values.iter().map(|(_, value)| value.len()).sum::<usize>();
    let mut page = String::with_capacity(size);
    let mut used = vec![false; values.len()];
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").context("a placeholder does not end")?;
        let Some(index) = values.iter().position(|(known, _)| *known == name) else {
            bail!("the page's template has an unknown placeholder {name:?}");
        };
        ensure!(!used[index], "the page's template has {name:?} twice");
        used[index] = true;
        page.push_str(before);
        page.push_str(&values[index].1);
        rest = after;
    }
    page.push_str(rest);
    if let Some(index) = used.iter().position(|used| !used) {
        bail!("the page's template has no {:?}", values[index].0);
    }
    Ok(page)
}

/// Text as it may stand in an element or in a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            // HTML has no way to write them.
            _ if character.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// A whole number with a comma at each thousand.
fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Defects: an estimate, so two digits are enough. As the script writes them.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked by `check`")]
fn defects(number: f64) -> String {
    if number == 0.0 {
        "0".to_owned()
    } else if number < 0.01 {
        "&lt; 0.01".to_owned()
    } else if number < 1.0 {
        format!("{number:.2}")
    } else if number < 10.0 {
        format!("{number:.1}")
    } else {
        whole(number.round() as u64)
    }
}

/// The base64 form of bytes (RFC 4648), as the page's policy wants digests.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for index in 0..4 {
            if index <= group.len() {
                text.push(char::from(LETTERS[(bits >> (18 - 6 * index) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// Adds a table's row to `html`: cells that are already escaped, the first `heads` of them row headers.
fn row(html: &mut String, class: &str, heads: usize, cells: &[(&str, String)]) {
    let _ = write!(html, "<tr{}>", attribute("class", class));
    for (index, (class, text)) in cells.iter().enumerate() {
        let class = attribute("class", class);
        let _ = if index < heads {
            write!(html, "<th scope=\"row\"{class}>{text}</th>")
        } else {
            write!(html, "<td{class}>{text}</td>")
        };
    }
    html.push_str("</tr>\n");
}

fn attribute(name: &str, value: &str) -> String {
    if value.is_empty() { String::new() } else { format!(" {name}=\"{value}\"") }
}

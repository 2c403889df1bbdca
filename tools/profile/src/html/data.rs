//! The report as JSON inside the page.
//!
//! Decides its form: the report as it is, but functions' names, files and images are indices into one list of
//! strings, because a kernel's names would otherwise stand there once for each workload.
//!
//! Invariant: the text has no `<`, `>` or `&`, so nothing in it can end the element, begin a comment or look
//! like markup, and neither U+2028 nor U+2029, which older scripts take for the end of a line.

use std::collections::HashMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::model::{Function, Report};

/// The strings that were seen, each once, in the order in which they were.
#[derive(Default)]
struct Strings<'a> {
    list: Vec<&'a str>,
    index: HashMap<&'a str, usize>,
}

impl<'a> Strings<'a> {
    fn index(&mut self, text: &'a str) -> usize {
        *self.index.entry(text).or_insert_with(|| {
            self.list.push(text);
            self.list.len() - 1
        })
    }

    /// Five numbers for each function: image, file, name, lines, instructions.
    fn flatten(&mut self, functions: &'a [Function]) -> Value {
        let mut flat: Vec<Value> = Vec::with_capacity(functions.len() * 5);
        for function in functions {
            for text in [&function.image, &function.file, &function.name] {
                flat.push(self.index(text).into());
            }
            flat.push(function.lines.into());
            flat.push(function.instructions.into());
        }
        Value::Array(flat)
    }
}

/// The report as text that may stand in a `script` element.
pub(super) fn embed(report: &Report) -> Result<String> {
    let mut value = serde_json::to_value(report)?;
    let mut strings = Strings::default();
    for (number, system) in report.systems.iter().enumerate() {
        for (index, workload) in system.workloads.iter().enumerate() {
            let place = format!("/systems/{number}/workloads/{index}/traversed");
            *value.pointer_mut(&place).context("the report's JSON has another form")? =
                strings.flatten(&workload.traversed);
        }
    }
    let text = serde_json::to_string(&json!({ "report": value, "strings": strings.list }))?;
    Ok(guard(&text))
}

/// Writes the characters that could mean something outside JSON as JSON's escapes. They occur in strings only.
fn guard(json: &str) -> String {
    let mut text = String::with_capacity(json.len() + json.len() / 16);
    for character in json.chars() {
        match character {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            _ => text.push(character),
        }
    }
    text
}

/// Takes the report out of a page again.
///
/// # Errors
/// If the page has none, or it is not in the form that [`embed`] writes.
pub(super) fn extract(page: &str) -> Result<Report> {
    let (_, after) = page.split_once(super::DATA_BEGIN).context("the page holds no report")?;
    let (text, _) = after.split_once(super::DATA_END).context("the page's report does not end")?;
    let mut whole: Value = serde_json::from_str(text).context("the page's report is not JSON")?;
    let strings: Vec<String> = serde_json::from_value(whole["strings"].take())?;
    let mut report = whole["report"].take();
    for system in report["systems"].as_array_mut().context("the page's report has no systems")? {
        for workload in system["workloads"].as_array_mut().context("a system has no workloads")? {
            let flat: Vec<u64> = serde_json::from_value(workload["traversed"].take())?;
            let functions = flat.chunks(5).map(|five| {
                let [image, file, name, lines, instructions] = *five else {
                    anyhow::bail!("a function is not five numbers");
                };
                let text = |index: u64| {
                    let index = usize::try_from(index)?;
                    strings.get(index).cloned().context("a function's name is not in the list")
                };
                let (image, file, name) = (text(image)?, text(file)?, text(name)?);
                Ok(Function { image, file, name, lines, instructions })
            });
            workload["traversed"] = serde_json::to_value(functions.collect::<Result<Vec<_>>>()?)?;
        }
    }
    serde_json::from_value(report).context("the page's report has another form")
}

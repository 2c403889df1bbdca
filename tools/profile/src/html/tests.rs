//! Tests of the page's small parts; the whole page's are in `tests/page.rs` and `tests/page_browser.rs`.

use super::*;
use crate::model::{Density, Function, Measure, System, Workload};

fn report(names: &[&str]) -> Report {
    let function = |name: &&str| Function {
        image: "image <&>".to_owned(),
        file: "a/b.rs".to_owned(),
        name: (*name).to_owned(),
        lines: 3,
        instructions: 1 << 40,
    };
    let workload = Workload {
        name: "boot".to_owned(),
        what: "\u{2028}".to_owned(),
        horizontal: Measure::default(),
        by_origin: Vec::new(),
        vertical: Vec::new(),
        entries: Vec::new(),
        traversed: names.iter().map(function).collect(),
        unknown: 0,
    };
    let system = System {
        name: "redoubt".to_owned(),
        title: "</script>".to_owned(),
        version: String::new(),
        boundary: String::new(),
        privileged: Vec::new(),
        vertical: Vec::new(),
        workloads: vec![workload.clone(), workload],
    };
    Report {
        version: VERSION,
        command: String::new(),
        qemu: String::new(),
        density: Density { low: 0.5, high: 5.0, sources: Vec::new() },
        systems: vec![system],
        missing: Vec::new(),
    }
}

#[test]
fn the_report_comes_out_as_it_went_in() {
    for names in
        [&[][..], &["one", "two", "one"], &["</script>", "<!--", "\u{2028}\u{2029}\0\"\\", ""]]
    {
        let report = report(names);
        let page = page(&report).unwrap();
        assert_eq!(data::extract(&page).unwrap(), report);
    }
}

#[test]
fn a_name_is_in_the_page_once() {
    let page = page(&report(&["needle_in_the_haystack", "needle_in_the_haystack"])).unwrap();
    assert_eq!(page.matches("needle_in_the_haystack").count(), 1);
}

#[test]
fn embedded_json_has_no_markup() {
    let text = data::embed(&report(&["</script><!--&\u{2028}\u{2029}"])).unwrap();
    assert!(!text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']));
}

#[test]
fn damaged_pages_hold_no_report() {
    let good = page(&report(&["name"])).unwrap();
    assert!(data::extract("").unwrap_err().to_string().contains("holds no report"));
    let cut = &good[..good.find(DATA_BEGIN).unwrap() + 60];
    assert!(data::extract(cut).unwrap_err().to_string().contains("does not end"));
    assert!(data::extract(&good.replace("\"strings\":[", "\"strings\":{")).is_err());
    assert!(
        data::extract(&good.replace("\"strings\":[\"image", "\"strings\":[],\"x\":[\"image"))
            .is_err()
    );
}

#[test]
fn placeholders_are_filled_once_and_not_again() {
    let value = |text: &str| text.to_owned();
    let page = fill("a{{x}}b{{y}}c", &[("x", value("{{y}}")), ("y", value("2"))]).unwrap();
    assert_eq!(page, "a{{y}}b2c");
    for (template, values, says) in [
        ("{{x}}{{x}}", &["x"][..], "twice"),
        ("{{x}}", &[], "unknown"),
        ("", &["x"], "has no"),
        ("{{x", &["x"], "does not end"),
    ] {
        let values: Vec<_> = values.iter().map(|name| (*name, value(""))).collect();
        let error = fill(template, &values).unwrap_err().to_string();
        assert!(error.contains(says), "{template}: {error}");
    }
}

#[test]
fn escaped_text() {
    assert_eq!(
        escape("<a href=\"x\">'&'\0\u{7f}ü\n"),
        "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;\u{fffd}\u{fffd}ü\n"
    );
}

#[test]
fn numbers_in_words() {
    let numbers = [(0, "0"), (999, "999"), (1_000, "1,000"), (30_000_000, "30,000,000")];
    for (number, text) in numbers {
        assert_eq!(whole(number), text);
    }
    assert_eq!(whole(u64::MAX), "18,446,744,073,709,551,615");
    let estimates =
        [(0.0, "0"), (0.001, "&lt; 0.01"), (0.123, "0.12"), (1.26, "1.3"), (1234.5, "1,235")];
    for (number, text) in estimates {
        assert_eq!(defects(number), text);
    }
}

#[test]
fn base64_of_the_specification() {
    let vectors = [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("foobar", "Zm9vYmFy"),
    ];
    for (plain, encoded) in vectors {
        assert_eq!(base64(plain.as_bytes()), encoded);
    }
}

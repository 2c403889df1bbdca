use super::*;
use crate::model::{Function, Measure};

fn environment() -> Environment {
    let [compiler, kernel, qemu] = ["rustc 1", "6.12", "10.0.2"].map(str::to_owned);
    Environment { compiler, kernel, qemu }
}

fn function(name: &str, lines: u64) -> Function {
    Function {
        image: "redoubt".to_owned(),
        file: "a.rs".to_owned(),
        name: name.to_owned(),
        lines,
        instructions: 9,
    }
}

fn workload(name: &str, functions: &[(&str, u64)]) -> Workload {
    Workload {
        name: name.to_owned(),
        what: String::new(),
        horizontal: Measure {
            functions: functions.len() as u64,
            lines: functions.iter().map(|(_, lines)| lines).sum(),
            instructions: 5,
        },
        by_origin: Vec::new(),
        vertical: Vec::new(),
        entries: Vec::new(),
        traversed: functions.iter().map(|(name, lines)| function(name, *lines)).collect(),
        unknown: 0,
    }
}

fn record(lines: u64, bytes: u64, workloads: &[Workload]) -> Record {
    let image = Image { name: String::new(), what: String::new(), functions: 3, lines, bytes };
    Record::new(environment(), &[image], workloads)
}

fn base() -> Record {
    let boot = workload("boot", &[("map", 60), ("start", 40), ("none", 0)]);
    record(1000, 4000, &[boot, workload("disk", &[("map", 20)])])
}

#[test]
fn a_record_is_read_back() {
    let record = base();
    let text = record.to_text().unwrap();
    assert_eq!(Record::parse(&text).unwrap(), record);
    // A line for each function; those of no line are left out.
    let expected = "\
{
  \"version\": 1,
  \"environment\": {\"compiler\":\"rustc 1\",\"kernel\":\"6.12\",\"qemu\":\"10.0.2\"},
  \"lines\": 1000,
  \"functions\": 3,
  \"bytes\": 4000,
  \"workloads\": [
    {\"name\":\"boot\",\"lines\":100,\"functions\":3,\"unknown\":0},
    {\"name\":\"disk\",\"lines\":20,\"functions\":1,\"unknown\":0}
  ],
  \"traversed\": {
    \"a.rs map\": [60,20],
    \"a.rs start\": [40,0]
  }
}
";
    assert_eq!(text, expected);
    let empty = self::record(0, 0, &[]);
    assert_eq!(Record::parse(&empty.to_text().unwrap()).unwrap(), empty);
}

#[test]
fn a_bad_record_is_refused() {
    let text = base().to_text().unwrap();
    for (from, to, expected) in [
        ("\"version\": 1", "\"version\": 2", "version 2, and 1 is understood"),
        ("[60,20]", "[60]", "a.rs map has 1 counts for 2 workloads"),
        ("\"lines\": 1000", "\"line\": 1000", "unknown field"),
    ] {
        let error = Record::parse(&text.replace(from, to)).expect_err(expected);
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
    let error = Record::read(Path::new("no/such.json")).expect_err("it is not there");
    let error = format!("{error:#}");
    assert!(error.contains("no/such.json"), "{error}");
    assert!(error.contains("cargo xtask profile --record"), "{error}");
}

#[test]
fn the_same_passes() {
    let comparison = compare(&base(), &base());
    assert!(comparison.is_passed());
    assert_eq!(comparison, Comparison::default());
    assert_eq!(comparison.to_string(), "The attack profile is what is recorded.");
}

#[test]
fn one_more_line_fails_and_is_named() {
    let boot = workload("boot", &[("map", 61), ("start", 39), ("stop", 1)]);
    let measured = record(1001, 4000, &[boot, workload("disk", &[("map", 20)])]);
    let comparison = compare(&base(), &measured);
    assert!(!comparison.is_passed());
    let text = comparison.to_string();
    let expected = "\
grew: lines in the privileged image: 1000 -> 1001
grew: lines traversed by boot: 100 -> 101
    a.rs map: 60 -> 61
    a.rs stop: 0 -> 1
The attack profile grew. If that is meant, record it with the commit: `cargo xtask profile --record`";
    assert_eq!(text, expected);
    // More code of the same lines.
    assert!(!compare(&base(), &Record { bytes: 4004, ..base() }).is_passed());
}

#[test]
fn long_lists_are_cut() {
    let names: Vec<String> = (0..20).map(|number| format!("f{number:02}")).collect();
    let functions: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let measured =
        record(1000, 4000, &[workload("disk", &functions), workload("boot", &[("map", 120)])]);
    let text = compare(&base(), &measured).to_string();
    // Disk shrank by name of the old function, boot grew.
    assert!(
        text.contains("lines traversed by boot: 100 -> 120\n    a.rs map: 60 -> 120\n"),
        "{text}"
    );
    assert!(!text.contains("traversed by disk"), "20 lines are 20 lines: {text}");
    let measured =
        record(1000, 4000, &[workload("boot", &[]), workload("disk", &[("map", 20), ("f", 1)])]);
    assert!(!compare(&base(), &measured).is_passed());
    let mut many = functions.clone();
    many.push(("more", 1));
    let text = compare(&base(), &record(1000, 4000, &[workload("disk", &many)])).to_string();
    assert!(text.contains("\n    a.rs f11: 0 -> 1\n    and 9 more functions\n"), "{text}");
}

#[test]
fn less_passes_and_asks_to_be_recorded() {
    let boot = workload("boot", &[("map", 60), ("start", 30)]);
    let measured = record(990, 4000, &[boot, workload("disk", &[("map", 20)])]);
    let comparison = compare(&base(), &measured);
    assert!(comparison.is_passed());
    let text = comparison.to_string();
    assert!(text.contains("shrank: lines in the privileged image: 1000 -> 990\n"), "{text}");
    assert!(
        text.contains("lines traversed by boot: 100 -> 90\n    a.rs start: 40 -> 30\n"),
        "{text}"
    );
    assert!(
        text.ends_with("record it, so that it stays so: `cargo xtask profile --record`"),
        "{text}"
    );
}

#[test]
fn what_is_not_measured_any_more_fails() {
    let boot = || workload("boot", &[("map", 60), ("start", 40)]);
    let without = record(1000, 4000, &[boot()]);
    assert!(compare(&base(), &without).to_string().contains("lines traversed by disk: 20 -> 0"));
    assert!(!compare(&base(), &without).is_passed());
    let empty = record(1000, 4000, &[boot(), workload("disk", &[])]);
    assert!(!compare(&base(), &empty).is_passed());
    let mut lost = workload("disk", &[("map", 20)]);
    lost.unknown = 1;
    let lost = record(1000, 4000, &[boot(), lost]);
    assert!(!compare(&base(), &lost).is_passed());
}

#[test]
fn another_environment_has_a_tolerance() {
    let elsewhere = |boot, lines| {
        let boot = workload("boot", &[("map", boot), ("start", 40)]);
        let mut record = record(lines, 4000, &[boot, workload("disk", &[("map", 20)])]);
        record.environment.qemu = "10.1".to_owned();
        record
    };
    let comparison = compare(&base(), &elsewhere(65, 1050));
    assert!(comparison.is_passed());
    assert_eq!(comparison.tolerated.len(), 2);
    let text = comparison.to_string();
    assert!(text.contains("QEMU: 10.0.2 was recorded, this is 10.1"), "{text}");
    assert!(
        text.contains("grew within what is tolerated: lines traversed by boot: 100 -> 105\n"),
        "{text}"
    );
    assert!(text.ends_with("within what is tolerated."), "{text}");
    for beyond in [elsewhere(66, 1000), elsewhere(60, 1051)] {
        let comparison = compare(&base(), &beyond);
        assert_eq!(comparison.growth.len(), 1);
    }
}

#[test]
fn a_workload_that_was_never_recorded_fails() {
    let comparison = compare(&base(), &record(1000, 4000, &[workload("net", &[("map", 1)])]));
    assert!(!comparison.is_passed());
    let text = comparison.to_string();
    assert!(text.contains("lines traversed by net: 1, and nothing is recorded"), "{text}");
}

//! Reading what the host answered.

use super::Report;

const TEXT: &str = "\
[    0.1] noise\r
CHECK cpus ok\r
DATA iomem 40000000-bfffffff : System RAM\r
DATA iomem c0000000-c0ffffff : System RAM\r
DATA total 2048\r
CHECK net failed: no answer\r
CHECK net ok\r
 CHECK late ok\r
";

#[test]
fn finds_checks_and_data() {
    let report = Report::read(TEXT);
    report.check("cpus").unwrap();
    assert_eq!(report.data("iomem").unwrap().len(), 2);
    assert_eq!(report.number("total").unwrap(), 2048);
}

#[test]
fn a_failure_stays_one() {
    assert_eq!(Report::read(TEXT).check("net").unwrap_err().to_string(), "no answer");
}

#[test]
fn what_was_not_reported_fails() {
    let report = Report::read(TEXT);
    assert!(report.check("late").is_err());
    assert!(report.check("absent").is_err());
    assert!(report.data("absent").is_err());
    assert!(report.number("iomem").is_err());
}

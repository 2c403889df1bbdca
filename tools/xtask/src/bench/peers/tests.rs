//! A recording that was written by hand, and numbers for people.

use super::{Results, SYSTEMS, TABLE, evaluate, ratio, table};
use redoubt_profile::recording::Recording;
use std::collections::BTreeMap;

fn phase(mark: u16, instructions: [u64; 4]) -> String {
    format!(r#"{{"phase":{mark},"instructions":{instructions:?},"entries":[],"executed":[]}}"#)
}

fn recording(phases: &[(u16, [u64; 4])]) -> Recording {
    let mut text = String::from("{\"recording\":1,\"privileged\":2,\"api\":4}\n");
    for &(mark, instructions) in phases {
        text.push_str(&phase(mark, instructions));
        text.push('\n');
    }
    text.push_str("{\"end\":true}\n");
    Recording::parse(text.as_bytes()).unwrap()
}

const WHOLE: [(u16, [u64; 4]); 9] = [
    (0xffff, [10, 100, 1000, 0]),
    (1, [250, 500, 250, 0]),
    (10, [0, 61, 0, 0]),
    (11, [0, 121, 8260, 0]),
    (11, [0, 121, 9999, 0]),
    (12, [0, 61, 100, 0]),
    (2, [1, 2, 3, 0]),
    (1, [7, 7, 7, 0]),
    (0, [9, 9, 9, 9]),
];

#[test]
fn the_cheapest_and_the_first_count() {
    let results = evaluate(&recording(&WHOLE)).unwrap();
    assert_eq!(results["guest_hvc"], (8260 + 121 - 61) / 20 + 1);
    assert_eq!(results["guest_kernel_mmio_read"], 100 / 20 + 1);
    assert!(!results.contains_key("guest_vmm_mmio_read"));
    assert_eq!((results["host_boot"], results["host_boot_el2"]), (1110, 1000));
    assert_eq!((results["host_work"], results["host_work_el2"]), (1000, 250_000_000));
    assert_eq!(results["vm_start"], 6);
}

#[test]
fn what_did_not_run_is_an_error() {
    for mark in [0xffff, 1, 2, 10] {
        let phases: Vec<_> = WHOLE.into_iter().filter(|phase| phase.0 != mark).collect();
        assert!(evaluate(&recording(&phases)).is_err(), "{mark}");
    }
    let mut cheaper = WHOLE;
    cheaper[2].1[1] = 100_000;
    assert!(evaluate(&recording(&cheaper)).is_err());
}

#[test]
fn the_table_has_multiples_and_gaps() {
    let own: Results = [("guest_hvc", 400)].into();
    let peer: Results = [("guest_hvc", 9000), ("host_boot", 5)].into();
    let text = table(&BTreeMap::from([("redoubt", own), ("pkvm", peer)]));
    let row = |what: &str| text.lines().find(|line| line.starts_with(what)).unwrap().to_owned();
    assert!(row(TABLE[0].1).contains("400") && row(TABLE[0].1).contains("9000    x22.50"));
    assert!(
        row(TABLE[1].1).split_whitespace().filter(|word| *word == "-").count() == SYSTEMS.len()
    );
    assert_eq!(ratio(1, 0), "-");
    assert_eq!(ratio(12_345, 10), "x1234");
}

//! A recording that was written by hand, and numbers for people.

use super::{RUNS, Results, SYSTEMS, TABLE, evaluate, ratio, table};
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

/// A whole run: what a guest repeats costs the same each time but once.
fn whole(vmm: bool) -> Vec<(u16, [u64; 4])> {
    let mut phases = vec![(0xffff, [10, 100, 1000, 0]), (1, [250, 500, 250, 0])];
    let mut repeat = |mark, instructions| {
        phases.extend(std::iter::repeat_n((mark, instructions), RUNS - 1));
        phases.push((mark, instructions.map(|count| count * 7)));
    };
    repeat(10, [0, 61, 0, 0]);
    repeat(11, [0, 121, 8260, 0]);
    repeat(12, [0, 61, 100, 0]);
    if vmm {
        repeat(13, [20, 61, 180, 0]);
    }
    phases.extend([(2, [1, 2, 3, 0]), (1, [7, 7, 7, 0]), (0, [9, 9, 9, 9])]);
    phases
}

#[test]
fn the_cheapest_and_the_first_count() {
    let results = evaluate(&recording(&whole(true)), true).unwrap();
    assert_eq!(results["guest_hvc"], (8260 + 121 - 61) / 20 + 1);
    assert_eq!(results["guest_kernel_mmio_read"], 100 / 20 + 1);
    assert_eq!(results["guest_vmm_mmio_read"], (20 + 180) / 20 + 1);
    assert_eq!((results["host_boot"], results["host_boot_el2"]), (1110, 1000));
    assert_eq!((results["host_work"], results["host_work_el2"]), (1000, 250_000_000));
    assert_eq!(results["vm_start"], 6);
    let without = evaluate(&recording(&whole(false)), false).unwrap();
    assert!(!without.contains_key("guest_vmm_mmio_read"));
    assert!(evaluate(&recording(&whole(false)), true).is_err());
}

#[test]
fn what_did_not_run_is_an_error() {
    for mark in [0xffff, 1, 2, 10, 11, 12, 13] {
        let mut phases = whole(true);
        phases.retain(|phase| phase.0 != mark);
        assert!(evaluate(&recording(&phases), true).is_err(), "{mark}");
    }
    let mut cut = whole(true);
    let last = cut.iter().rposition(|phase| phase.0 == 12).unwrap();
    cut.remove(last);
    assert!(evaluate(&recording(&cut), true).is_err());
    let mut cheaper = whole(true);
    cheaper.iter_mut().filter(|phase| phase.0 == 10).for_each(|phase| phase.1[1] = 100_000);
    assert!(evaluate(&recording(&cheaper), true).is_err());
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

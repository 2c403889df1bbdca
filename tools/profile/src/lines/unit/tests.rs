use super::*;

#[test]
fn the_innermost_range_has_the_address() {
    let spans = innermost(vec![
        (0..100, 0, 0),
        (10..30, 1, 1),
        (10..20, 2, 2),
        (50..60, 1, 1),
        (200..210, 0, 3),
    ]);
    let expected = [
        (0..10, 0),
        (10..20, 2),
        (20..30, 1),
        (30..50, 0),
        (50..60, 1),
        (60..100, 0),
        (200..210, 3),
    ];
    assert_eq!(spans, expected);
}

#[test]
fn an_inner_range_never_leaves_the_outer_one() {
    assert_eq!(innermost(vec![(0..10, 0, 0), (5..20, 1, 1)]), [(0..5, 0), (5..10, 1)]);
    // Siblings that overlap: the later one has what they share.
    let spans = innermost(vec![(0..10, 0, 0), (4..20, 0, 1)]);
    assert_eq!(spans, [(0..4, 0), (4..10, 1)]);
}

#[test]
fn equal_ranges_are_told_apart_by_depth() {
    assert_eq!(innermost(vec![(0..4, 1, 7), (0..4, 0, 8), (0..4, 2, 9)]), [(0..4, 9)]);
    assert_eq!(innermost(Vec::new()), []);
}

#[test]
fn parameters_of_generics_are_not_part_of_a_name() {
    assert_eq!(without_parameters("map<core::Thing<u8>, u32>"), "map");
    assert_eq!(without_parameters("{closure#0}"), "{closure#0}");
    assert_eq!(without_parameters("<impl Odd>"), "<impl Odd>");
    assert_eq!(without_parameters("plain"), "plain");
}

#[test]
fn a_functions_file_is_the_one_most_of_its_own_code_is_from() {
    let node = |function, parent| Node { function, parent, call: (NONE, 0) };
    let unit = UnitLines {
        rows: vec![(0..8, 0, 5), (8..32, 1, 6), (32..36, 0, 0), (36..40, 1, 9)],
        nodes: vec![node(0, NONE), node(1, 0)],
        spans: vec![(0..12, 0), (12..28, 1), (28..40, 0)],
        ..UnitLines::default()
    };
    let votes = votes(&unit, 2);
    // The outer function: 8 bytes of a, 4 + 4 + 4 of b; code of no line has no vote.
    assert_eq!(votes[0], [(0, 8), (1, 12)].into());
    assert_eq!(votes[1], [(1, 16)].into());
}

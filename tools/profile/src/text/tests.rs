use super::*;

#[test]
fn numbers_have_commas_between_thousands() {
    for (number, expected) in [
        (0, "0"),
        (999, "999"),
        (1000, "1,000"),
        (123_456, "123,456"),
        (1_234_567, "1,234,567"),
        (u64::MAX, "18,446,744,073,709,551,615"),
    ] {
        assert_eq!(thousands(number), expected);
    }
}

#[test]
fn a_part_of_nothing_is_no_number() {
    assert_eq!(percent(1, 0), "-");
    assert_eq!(percent(1, 8), "12.5 %");
    assert_eq!(percent(8, 8), "100.0 %");
}

#[test]
fn columns_are_as_wide_as_what_is_in_them() {
    let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
    let text = table(&[row(["a", "number"]), row(["longer", "1"])]);
    assert_eq!(text, "  a       number\n  longer       1\n");
    assert_eq!(table(&[]), "");
}

#[test]
fn the_rarer_causes_are_added_up() {
    let entry = |cause: &str, count| Entry {
        origin: Origin::Guest,
        from: 1,
        cause: cause.to_owned(),
        count,
    };
    let all = [
        entry("HVC", 2000),
        entry("IRQ", 50),
        entry("SMC", 4),
        entry("ERET", 3),
        entry("FIQ", 2),
        entry("SVC", 1),
    ];
    let expected = "2,000 HVC of the guest, 50 IRQ of the guest";
    assert_eq!(causes(&all[..2]), expected);
    assert!(causes(&all).starts_with(expected));
    assert!(causes(&all).ends_with("3 ERET of the guest, 3 more"));
}

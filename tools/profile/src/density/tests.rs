use super::*;

#[test]
fn the_range_has_a_source_for_each_end() {
    let density = density();
    assert!(0.0 < density.low && density.low < density.high);
    for end in ["Low: ", "High: "] {
        assert!(density.sources.iter().any(|source| source.starts_with(end)), "{end}");
    }
    for value in [density.low, density.high] {
        let value = value.to_string();
        assert!(density.sources.iter().any(|source| source.contains(&value)), "{value}");
    }
    // One sentence each.
    for source in &density.sources {
        assert!(source.ends_with('.'), "{source}");
    }
}

#[test]
fn lines_become_expected_defects() {
    let density = Density { low: 0.5, high: 25.0, sources: Vec::new() };
    assert_eq!(expected(0, &density), (0.0, 0.0));
    assert_eq!(expected(2000, &density), (1.0, 50.0));
    assert_eq!(range(0, &density), "0.0 to 0.0");
    assert_eq!(range(1613, &density), "0.8 to 40");
    assert_eq!(range(79_693, &density), "40 to 1,992");
}

use super::*;

#[test]
fn cells_do_not_end_the_table() {
    assert_eq!(cell("a | b\nc"), "a \\| b c");
}

fn report(systems: Vec<System>) -> Report {
    Report {
        version: crate::model::VERSION,
        command: "cargo xtask profile".to_owned(),
        qemu: "QEMU 10".to_owned(),
        density: Density { low: 0.5, high: 25.0, sources: Vec::new() },
        systems,
        missing: Vec::new(),
    }
}

fn system(name: &str, workload: &str, what: &str) -> System {
    System {
        name: name.to_owned(),
        title: name.to_uppercase(),
        version: "1".to_owned(),
        boundary: "All of it.".to_owned(),
        privileged: Vec::new(),
        vertical: Vec::new(),
        workloads: vec![Workload {
            name: workload.to_owned(),
            what: what.to_owned(),
            horizontal: Default::default(),
            by_origin: Vec::new(),
            vertical: Vec::new(),
            entries: Vec::new(),
            traversed: Vec::new(),
            unknown: 0,
        }],
    }
}

#[test]
fn workloads_that_systems_run_differently_say_so() {
    let text = markdown(
        &report(vec![
            system("a", "net", "One."),
            system("b", "net", "One."),
            system("c", "net", "Two."),
        ]),
        &Notes::default(),
    );
    assert!(text.contains("### net\n\n- a, b: One.\n- c: Two.\n\n| system |"), "{text}");
    let text = markdown(&report(vec![system("a", "net", "One.")]), &Notes::default());
    assert!(text.contains("### net\n\nOne.\n\n| system |"), "{text}");
}

#[test]
fn modules_of_a_tree_are_one_row() {
    let image = |name: &str, lines| Image {
        name: name.to_owned(),
        what: "a kernel".to_owned(),
        functions: 1,
        lines,
        bytes: 4,
    };
    let mut kernel = system("kvm", "net", "One.");
    kernel.privileged = vec![image("linux", 1000), image("linux: a", 20), image("linux: b", 3)];
    let text = markdown(&report(vec![kernel]), &Notes::default());
    assert!(text.contains("| linux: a kernel | privileged | 1,000 | 1 | 4 |"), "{text}");
    assert!(text.contains("| linux: 2 modules: a kernel | privileged | 23 | 2 | 8 |"), "{text}");
}

#[test]
fn what_was_not_measured_is_said() {
    let mut report = report(Vec::new());
    for workload in [None, Some("net".to_owned())] {
        let (system, reason) = ("xen".to_owned(), "install it".to_owned());
        report.missing.push(crate::model::Missing { system, workload, reason });
    }
    let text = markdown(&report, &Notes::default());
    assert!(text.ends_with("- `xen`: install it\n- `xen`, `net`: install it\n"), "{text}");
}

//! What is read, and every way to be refused.

use std::path::PathBuf;

use super::{Arguments, Refusal, Tenant};
use crate::arm::Level;

fn parse(list: &[&str]) -> Result<Arguments, Refusal> {
    Arguments::parse(list.iter().copied())
}

fn message(list: &[&str]) -> String {
    parse(list).expect_err("these arguments are wrong").to_string()
}

#[test]
fn few_arguments_are_enough() {
    let arguments = parse(&["out=/tmp/a=b", "privileged=2"]).expect("these are enough");
    assert_eq!(
        arguments,
        Arguments {
            out: PathBuf::from("/tmp/a=b"),
            privileged: Level::El2,
            host_stage2: false,
            tenant: Tenant::Vm,
            segments: true,
        }
    );
}

#[test]
fn every_argument_is_read() {
    let list = ["segments=off", "tenant=vm", "host_stage2=on", "privileged=2", "out=x"];
    let arguments = parse(&list).expect("these are all");
    assert!(arguments.host_stage2 && !arguments.segments);
    let list = ["tenant=el0", "privileged=1", "out=x", "host_stage2=off", "segments=on"];
    let arguments = parse(&list).expect("a container has no stage 2");
    assert_eq!((arguments.tenant, arguments.privileged), (Tenant::El0, Level::El1));
    assert!(!arguments.host_stage2 && arguments.segments);
}

#[test]
fn refusals_name_the_argument() {
    assert_eq!(message(&["privileged=2"]), "argument `out` is missing");
    assert_eq!(message(&["out=x"]), "argument `privileged` is missing");
    assert_eq!(message(&[]), "argument `out` is missing");
    assert_eq!(
        message(&["out=x", "privileged=2", "level=2"]),
        "no argument `level`; there are out, privileged, host_stage2, tenant, segments"
    );
    assert_eq!(message(&["out=x", "out=y", "privileged=2"]), "argument `out` is there twice");
    assert_eq!(message(&["out=", "privileged=2"]), "argument `out` takes a file, not ``");
    assert_eq!(message(&["out", "privileged=2"]), "argument `out` takes a file, not ``");
    assert_eq!(
        message(&["out=\u{fffd}", "privileged=2"]),
        "argument `out` takes a file whose name is UTF-8, not `\u{fffd}`"
    );
    for level in ["0", "3", "el2", "", "02"] {
        assert_eq!(
            message(&["out=x", &format!("privileged={level}")]),
            format!("argument `privileged` takes 1 or 2, not `{level}`")
        );
    }
    assert_eq!(
        message(&["out=x", "privileged=2", "tenant=host"]),
        "argument `tenant` takes vm or el0, not `host`"
    );
    for name in ["host_stage2", "segments"] {
        assert_eq!(
            message(&["out=x", "privileged=2", &format!("{name}=yes")]),
            format!("argument `{name}` takes on or off, not `yes`")
        );
    }
}

#[test]
fn arguments_that_exclude_each_other_are_refused() {
    let conflicts = [
        ["out=x", "privileged=1", "tenant=el0", "host_stage2=on"].as_slice(),
        &["out=x", "privileged=2", "tenant=el0"],
        &["out=x", "privileged=1", "tenant=vm"],
        &["out=x", "privileged=1"],
    ];
    for list in conflicts {
        assert!(matches!(parse(list), Err(Refusal::Conflict(_))), "{list:?}");
    }
}

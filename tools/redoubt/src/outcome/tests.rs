//! Tests of exit codes, messages and the decoding of what KVM reports.

use super::*;

#[test]
fn exit_codes_are_the_documented_ones() {
    let cases = [
        (Outcome::PoweredOff, 0),
        (Outcome::Failed("x".into()), 1),
        (Outcome::Crashed("x".into()), 1),
        (Outcome::Reset, 3),
        (Outcome::UserQuit, 4),
        (Outcome::Signal(libc::SIGHUP), 129),
        (Outcome::Signal(libc::SIGINT), 130),
        (Outcome::Signal(libc::SIGTERM), 143),
    ];
    for (outcome, code) in cases {
        assert_eq!(outcome.exit_code(), code, "{outcome:?}");
    }
}

#[test]
fn an_absurd_signal_number_still_ends_with_failure() {
    for number in [-1, 0, 300, i32::MAX] {
        assert!(Outcome::Signal(number).exit_code() >= EXIT_SIGNAL_BASE, "{number}");
    }
}

#[test]
fn only_chosen_ends_are_silent() {
    assert_eq!(Outcome::PoweredOff.message(), None);
    assert_eq!(Outcome::UserQuit.message(), None);
    for outcome in [
        Outcome::Reset,
        Outcome::Crashed("because".into()),
        Outcome::Signal(15),
        Outcome::Failed("because".into()),
    ] {
        assert!(outcome.message().is_some_and(|text| !text.is_empty()), "{outcome:?}");
    }
    assert!(Outcome::Crashed("because".into()).message().expect("text").contains("because"));
}

#[test]
fn system_events() {
    assert_eq!(Outcome::from_system_event(1, &[]), Outcome::PoweredOff);
    assert_eq!(Outcome::from_system_event(1, &[1]), Outcome::PoweredOff);
    assert_eq!(Outcome::from_system_event(2, &[0]), Outcome::Reset);
    assert!(matches!(Outcome::from_system_event(3, &[]), Outcome::Crashed(_)));
    let Outcome::Crashed(text) = Outcome::from_system_event(3, &[0xdead]) else {
        panic!("a crash is a crash")
    };
    assert!(text.contains("0xdead"), "{text}");
    for unasked in [0, 4, 5, 6, 99, u32::MAX] {
        assert!(matches!(Outcome::from_system_event(unasked, &[]), Outcome::Failed(_)));
    }
}

#[test]
fn run_errors_are_explained() {
    let fault = explain_run_error(3, libc::EFAULT, true);
    assert!(fault.contains("vCPU 3") && fault.contains("no longer has access"), "{fault}");
    assert!(!explain_run_error(0, libc::EFAULT, false).contains("no longer"));
    assert!(explain_run_error(0, libc::ENOMEM, true).contains("ulimit -l"));
    assert!(explain_run_error(0, libc::ENOSYS, false).contains("instruction"));
    assert!(explain_run_error(0, libc::EXFULL, false).contains("log"));
}

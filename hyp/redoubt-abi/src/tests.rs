//! Round trips of every codec, and the generated files against what is checked in.

use std::format;
use std::path::Path;
use std::string::String;
use std::vec::Vec;

use crate::call::{CallDoc, HostCall};
use crate::{Status, reg, run};

/// First function identifier of the host calls: fast, 64 bit, owner 6.
const HOST_CALL_BASE: u32 = 0xc600_0100;

/// Every call with distinct argument values.
fn samples() -> Vec<(HostCall, &'static CallDoc)> {
    HostCall::DOCS
        .iter()
        .map(|doc| {
            let registers = [doc.function.into(), 11, 12, 13, 14, 15, 16];
            (HostCall::decode(&registers).expect("listed call"), doc)
        })
        .collect()
}

#[test]
fn calls_round_trip() {
    for (call, doc) in samples() {
        let registers = call.encode();
        assert_eq!(registers[0], u64::from(doc.function));
        for (index, register) in registers.iter().enumerate().skip(1) {
            let expected = if index <= doc.arguments.len() { 10 + index as u64 } else { 0 };
            assert_eq!(*register, expected, "{} X{index}", doc.name);
        }
        assert_eq!(HostCall::decode(&registers), Ok(call));
    }
}

#[test]
fn only_listed_functions_decode() {
    let listed: Vec<u32> = HostCall::DOCS.iter().map(|doc| doc.function).collect();
    for function in HOST_CALL_BASE - 0x200..HOST_CALL_BASE + 0x1_0000 {
        let decoded = HostCall::decode(&[function.into(), 0, 0, 0, 0, 0, 0]);
        assert_eq!(decoded.is_ok(), listed.contains(&function), "{function:#x}");
    }
    // The same numbers as 32-bit calls, yielding calls and other owners are unknown.
    for function in listed {
        for bit in [31, 30, 24] {
            let decoded = HostCall::decode(&[(function ^ (1 << bit)).into(), 0, 0, 0, 0, 0, 0]);
            assert_eq!(decoded, Err(Status::NotSupported));
        }
    }
}

#[test]
fn upper_half_of_function_register_is_ignored() {
    let call = HostCall::decode(&[0xffff_ffff_c600_0100, 0, 0, 0, 0, 0, 0]);
    assert_eq!(call, Ok(HostCall::Version {}));
}

#[test]
fn statuses_round_trip() {
    for status in Status::ALL {
        assert_eq!(Status::from_register(status.to_register()), Some(*status));
        assert!(!status.text().is_empty());
    }
    assert_eq!(Status::from_register(1), None);
    assert_eq!(Status::from_register(i64::MIN as u64), None);
}

#[test]
fn register_numbers_do_not_collide() {
    // FPCR is the last single number; V31's upper half must stay below the system registers.
    const { assert!(reg::FPCR < reg::V0) };
    const { assert!(reg::V0 + 2 * 31 + 1 < reg::SYSTEM) };
    // SCTLR_EL1 is S3_0_C1_C0_0.
    assert_eq!(reg::system(3, 0, 1, 0, 0), reg::SYSTEM | 0xc080);
}

#[test]
fn run_page_members_do_not_overlap() {
    const { assert!(run::ENTRY_LR + run::MAX_LIST_REGISTERS * 8 <= run::ENTRY_MAINTENANCE) };
    const { assert!(run::EXIT_ARGS + 6 * 8 <= run::EXIT_TIMER_CTL) };
    const { assert!(run::EXIT_LR + run::MAX_LIST_REGISTERS * 8 <= run::EXIT_MISR) };
}

/// Compares a generated text with the file that is checked in.
fn assert_checked_in(path: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    let found = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask generate`", path.display()));
    let differing = found.lines().zip(expected.lines()).find(|(left, right)| left != right);
    let hint: String = format!("{} is stale; run `cargo xtask generate`", path.display());
    assert_eq!(differing, None, "{hint}");
    assert_eq!(found.len(), expected.len(), "{hint}");
}

#[test]
fn generated_files_are_current() {
    assert_checked_in("guest-linux/driver/redoubt_abi.h", &crate::generate::c_header());
    assert_checked_in("docs/hypercalls.md", &crate::generate::markdown());
}

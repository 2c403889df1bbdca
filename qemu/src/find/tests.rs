//! Versions as QEMU and its distributors write them.

use super::{ENV, MINIMUM, Qemu, Version};

#[test]
fn reads_a_distribution_version() {
    let text = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright";
    assert_eq!(Version::parse(text), Some(Version { major: 10, minor: 0 }));
}

#[test]
fn reads_a_release_candidate() {
    assert_eq!(
        Version::parse("QEMU emulator version 9.2.0-rc1"),
        Some(Version { major: 9, minor: 2 })
    );
}

#[test]
fn refuses_other_text() {
    assert_eq!(Version::parse("zsh: command not found"), None);
    assert_eq!(Version::parse("version ten"), None);
    assert_eq!(Version::parse("version 10"), None);
}

#[test]
fn orders_by_number_not_by_text() {
    assert!(Version { major: 10, minor: 0 } > MINIMUM);
    assert!(Version { major: 7, minor: 2 } < MINIMUM);
    assert!(Version { major: 9, minor: 10 } > Version { major: 9, minor: 2 });
}

#[test]
fn a_qemu_without_plugins_is_named() {
    let qemu = |program: &str| Qemu {
        program: program.into(),
        version: MINIMUM,
        description: String::new(),
    };
    assert!(qemu("true").require_plugins().is_ok());
    let error = qemu("false").require_plugins().unwrap_err().to_string();
    assert!(
        error.contains("false was built without TCG plugins") && error.contains(ENV),
        "{error}"
    );
}

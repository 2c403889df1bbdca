//! Sources in both their forms, and the lists that are made of them.

use super::{Mirror, installed, parse_lines, parse_paragraphs};

const PARAGRAPHS: &str = "\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://off.example/debian
Suites: trixie
Enabled: no
";

#[test]
fn paragraphs_give_a_mirror_and_its_lines() {
    let mirror = Mirror::choose(&parse_paragraphs(PARAGRAPHS), "bookworm").unwrap();
    let lines = mirror.lines(&["bookworm", "bookworm-backports"], &["bookworm-security"]);
    let key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ";
    let expected = format!(
        "deb {key}http://mirror.example/debian bookworm main\n\
         deb {key}http://mirror.example/debian bookworm-backports main\n\
         deb http://mirror.example/debian-security bookworm-security main\n"
    );
    assert_eq!(lines, expected);
}

#[test]
fn lines_are_read_with_and_without_options() {
    let text = "# deb http://no.example x main\n\
                deb-src http://no.example bookworm main\n\
                deb [arch=amd64 signed-by=/k.gpg] http://a.example bookworm main contrib\n\
                deb   http://b.example bookworm-security main\n";
    let sources = parse_lines(text);
    assert_eq!(sources.len(), 2);
    assert_eq!(sources[0].signed_by.as_deref(), Some("/k.gpg"));
    let mirror = Mirror::choose(&sources, "bookworm").unwrap();
    assert_eq!(mirror.security.unwrap().uri, "http://b.example");
}

#[test]
fn a_disabled_or_missing_suite_is_named() {
    let error = Mirror::choose(&parse_paragraphs(PARAGRAPHS), "trixie").unwrap_err().to_string();
    assert!(error.contains("`trixie`"), "{error}");
}

#[test]
fn reads_what_a_simulation_would_install() {
    let text = "Reading package lists...\nInst libc6 (2.36-9 Debian:12 [arm64])\n\
                Inst crun (1.8.1-1 Debian:12 [arm64]) []\nConf libc6 (2.36-9)\n";
    assert_eq!(installed(text), ["libc6", "crun"]);
    assert!(installed("").is_empty());
}

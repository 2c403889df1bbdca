//! The whole way from a recording to what is reported, against reports that were checked by hand.
//!
//! `tests/golden` holds what is expected. After a change that is meant, `REDOUBT_BLESS=1` with
//! `cargo test -p redoubt-profile --test golden` writes the files anew; look at the difference.

use std::path::PathBuf;

use redoubt_profile::analysis::{self, Traversal, WorkloadSpec};
use redoubt_profile::gate::{Environment, Record, compare};
use redoubt_profile::image::{ImageSpec, Library, Part, Placement};
use redoubt_profile::model::{Missing, Report, System, VERSION};
use redoubt_profile::recording::{FROM_RESET, Recording};
use redoubt_profile::{density, summary, text};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// Compares with a file of `tests/golden`.
fn check(name: &str, text: &str) {
    let path = path("golden").join(name);
    if std::env::var_os("REDOUBT_BLESS").is_some() {
        std::fs::write(&path, text).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("the golden file is there");
    assert!(text == expected, "{name} is not what is expected; it is\n{text}");
}

fn image(name: &str, what: &str, file: &str, placement: Placement) -> ImageSpec {
    ImageSpec {
        name: name.to_owned(),
        what: what.to_owned(),
        elf: path("fixtures").join(file),
        symbols_only_ok: true,
        placement,
        source_root: None,
        part: Part::Whole,
    }
}

/// Measures two workloads on a system with an image, with a module as vertical code.
fn measure(recording: &Recording, file: &str, module: bool) -> (System, Vec<Traversal>) {
    let name = if module { "redoubt" } else { "xen" };
    let linked = Placement::Linked { also_at: Vec::new() };
    let mut library = Library::new();
    let privileged = [image(name, "all that runs at EL2", file, linked)];
    let placed = Placement::Sections(vec![(".text".to_owned(), 0x50_0000)]);
    let module =
        module.then(|| image("linux: module", "a module of the host", "module.ko", placed));
    let mut load = |spec: &ImageSpec| library.load(spec).expect("the fixture loads");
    let privileged: Vec<_> = privileged.iter().map(&mut load).collect();
    let vertical: Vec<_> = module.iter().map(&mut load).collect();
    let workloads = [
        ("boot", "The host boots.", FROM_RESET),
        ("net", "Processes of the host use the network.", 1),
    ];
    let traversals: Vec<Traversal> = workloads
        .into_iter()
        .map(|(name, what, mark)| {
            let (name, what) = (name.to_owned(), what.to_owned());
            let spec = WorkloadSpec { name, what, marks: vec![mark] };
            analysis::workload(&spec, &privileged, &vertical, recording).expect("it was recorded")
        })
        .collect();
    let system = System {
        name: name.to_owned(),
        title: format!("{}{}", name[..1].to_uppercase(), &name[1..]),
        version: "1.0".to_owned(),
        boundary: "What runs at EL2 keeps tenants apart; nothing else does.".to_owned(),
        privileged: privileged.iter().map(|image| image.describe()).collect(),
        vertical: vertical.iter().map(|image| image.describe()).collect(),
        workloads: traversals.iter().map(|traversal| traversal.workload.clone()).collect(),
    };
    (system, traversals)
}

#[test]
fn a_recording_becomes_the_reports_that_are_expected() {
    let recording = Recording::read(&path("fixtures/recording.jsonl")).expect("it is whole");
    let (redoubt, traversals) = measure(&recording, "tiny.elf", true);
    let (xen, _) = measure(&recording, "symbols.elf", false);
    let record = Record::new(
        Environment {
            compiler: "rustc 1.96.0".to_owned(),
            kernel: "6.12".to_owned(),
            qemu: "10.0.2".to_owned(),
        },
        &redoubt.privileged,
        &redoubt.workloads,
    );
    let report = Report {
        version: VERSION,
        command: "cargo xtask profile".to_owned(),
        qemu: "QEMU 10.0.2".to_owned(),
        density: density::density(),
        systems: vec![redoubt, xen],
        missing: vec![Missing {
            system: "pkvm".to_owned(),
            workload: Some("vm-io".to_owned()),
            reason: "the guest did not start".to_owned(),
        }],
    };
    let notes = summary::Notes {
        not_deterministic: vec!["The time of day.".to_owned()],
        remarks: vec!["Xen has symbols alone.".to_owned()],
    };
    let json = serde_json::to_string_pretty(&report).expect("a report can be written") + "\n";
    check("report.json", &json);
    assert_eq!(serde_json::from_str::<Report>(&json).expect("and read"), report);
    check("report.txt", &text::report(&report));
    check("report.md", &summary::markdown(&report, &notes));
    for traversal in &traversals {
        assert!(traversal.unseen.is_empty(), "{:?}", traversal.unseen);
        let lines: String = traversal.lines.iter().map(|line| format!("{line}\n")).collect();
        check(&format!("{}.lines", traversal.workload.name), &lines);
    }
    let text = record.to_text().expect("a record can be written");
    check("record.json", &text);
    let recorded = Record::parse(&text).expect("and read");
    assert!(compare(&recorded, &record).is_passed());
}

#[test]
fn nothing_of_the_recording_is_lost() {
    let recording = Recording::read(&path("fixtures/recording.jsonl")).expect("it is whole");
    for (file, module) in [("tiny.elf", true), ("symbols.elf", false)] {
        let (system, traversals) = measure(&recording, file, module);
        for (traversal, mark) in traversals.iter().zip([FROM_RESET, 1]) {
            let recorded: u64 =
                recording.phases_of(mark).flat_map(|phase| phase.instructions).sum();
            let workload = &traversal.workload;
            let vertical: u64 =
                workload.vertical.iter().map(|(_, measure)| measure.instructions).sum();
            let horizontal = workload.horizontal.instructions;
            assert_eq!(horizontal + vertical + workload.unknown + traversal.foreign, recorded);
            // What is traversed is a part of what there is.
            assert!(workload.horizontal.lines <= system.privileged[0].lines);
            assert!(workload.horizontal.functions <= system.privileged[0].functions);
        }
    }
}

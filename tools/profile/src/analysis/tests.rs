use proptest::prelude::*;

use super::*;
use crate::fixtures::{linked, load, recording, segment, spec};
use crate::image::{ImageSpec, Part, Placement};
use crate::recording::{Entries, Phase, Segment};

/// A part of `tiny.elf`, at its place: link address, instructions, and executions by origin.
fn part(image: &Image, level: u8, link: u64, count: u64, counts: [u64; 3]) -> (Segment, [u64; 3]) {
    (segment(image, level, link, link, link + 0x100_0000, count), counts)
}

/// Executions by nobody that are enough to find the image by.
fn known(image: &Image, level: u8) -> Vec<(Segment, [u64; 3])> {
    (0x40000..0x40040).step_by(4).map(|link| part(image, level, link, 1, [0; 3])).collect()
}

fn ask() -> WorkloadSpec {
    WorkloadSpec { name: "try".to_owned(), what: "It is tried.".to_owned(), marks: vec![1] }
}

fn measure(functions: u64, lines: u64, instructions: u64) -> Measure {
    Measure { functions, lines, instructions }
}

#[test]
fn privileged_code_of_a_lower_level_is_the_hosts() {
    let image = load(&linked("tiny", "tiny.elf"));
    let mut segments = known(&image, 1);
    segments.push(part(&image, 1, 0x40000, 2, [1, 10, 100]));
    let traversal = workload(&ask(), &[image], &[], &recording(2, segments)).unwrap();
    let Workload { horizontal, by_origin, .. } = &traversal.workload;
    assert_eq!(horizontal.instructions, 222);
    let instructions: Vec<_> =
        by_origin.iter().map(|(origin, measure)| (*origin, measure.instructions)).collect();
    assert_eq!(instructions, [(Origin::Boot, 2), (Origin::Host, 220)]);
}

#[test]
fn privileged_code_is_counted_by_origin() {
    let image = load(&linked("tiny", "tiny.elf"));
    let mut segments = known(&image, 2);
    // Lines 12 and 7, for line 17; line 12 again, of which two instructions are; the assembly.
    segments.push(part(&image, 2, 0x40000, 2, [1, 10, 0]));
    segments.push(part(&image, 2, 0x4000c, 2, [0, 0, 100]));
    segments.push(part(&image, 2, 0x40060, 2, [0, 7, 0]));
    let traversal = workload(&ask(), &[image], &[], &recording(2, segments)).unwrap();
    let Workload { horizontal, by_origin, traversed, unknown, .. } = &traversal.workload;
    assert_eq!(*horizontal, measure(4, 5, 22 + 200 + 14));
    let expected = [
        (Origin::Boot, measure(3, 3, 2)),
        (Origin::Host, measure(4, 5, 34)),
        (Origin::Guest, measure(2, 2, 200)),
    ];
    assert_eq!(*by_origin, expected);
    assert_eq!((*unknown, traversal.foreign), (0, 0));
    let functions: Vec<(&str, &str, u64, u64)> = traversed
        .iter()
        .map(|function| {
            (function.file.as_str(), function.name.as_str(), function.lines, function.instructions)
        })
        .collect();
    let expected = [
        ("(symbol table)", "bare", 2, 14),
        ("tiny.c", "add", 1, 11 + 200),
        ("tiny.c", "scale", 1, 11),
        // Only calls that were inlined: the instructions are those of the function called.
        ("tiny.c", "twice", 1, 0),
    ];
    assert_eq!(functions, expected);
    let lines = ["bare+0x0", "bare+0x4", "tiny.c:7", "tiny.c:12", "tiny.c:17"];
    assert_eq!(traversal.lines, lines.map(|line| format!("tiny {line}")));
}

#[test]
fn what_is_privileged_and_what_is_vertical() {
    let bounds = vec![("start".to_owned(), "vectors".to_owned())];
    let inner = ImageSpec { part: Part::Between(bounds.clone()), ..linked("pkvm", "tiny.elf") };
    let outer = ImageSpec { part: Part::Except(bounds), ..linked("linux", "tiny.elf") };
    let mut library = crate::image::Library::new();
    let [inner, outer] = [inner, outer].map(|spec| library.load(&spec).unwrap());
    let mut segments = known(&inner, 1);
    // The privileged image at its level and below; the other one likewise.
    segments.push(part(&inner, 2, 0x40020, 1, [0, 2, 0]));
    segments.push(part(&inner, 1, 0x40024, 1, [0, 3, 0]));
    segments.push(part(&outer, 2, 0x40000, 1, [5, 0, 0]));
    segments.push(part(&outer, 1, 0x40004, 1, [0, 0, 7]));
    // No image at all: at the privileged level, and below.
    let outside = |level, va| Segment { level, va, pa: va, opcodes: [0xd503_201f; 3].into() };
    segments.push((outside(2, 0x99_0000), [1, 2, 0]));
    segments.push((outside(1, 0x99_0000), [0, 0, 11]));
    let traversal = workload(&ask(), &[inner], &[outer], &recording(2, segments)).unwrap();
    let Workload { horizontal, vertical, traversed, unknown, .. } = &traversal.workload;
    assert_eq!(horizontal.instructions, 2 + 3 + 5);
    assert_eq!(*vertical, [("linux".to_owned(), measure(3, 3, 7))]);
    assert_eq!((*unknown, traversal.foreign), (9, 33));
    let images: BTreeSet<&str> = traversed.iter().map(|function| function.image.as_str()).collect();
    assert_eq!(images, ["linux", "pkvm"].into());
}

#[test]
fn images_of_one_tree_share_their_lines() {
    let first = load(&linked("linux", "tiny.elf"));
    let [second, third] = ["linux: other", "xen"]
        .map(|name| load(&spec(name, "tiny.elf", Placement::Linked { also_at: vec![0x900_0000] })));
    let mut segments = known(&first, 2);
    segments.push(part(&first, 2, 0x40000, 1, [1, 0, 0]));
    let other = segment(&first, 2, 0x40000, 0x900_0000, 0x900_0000, 1);
    segments.push((other, [1, 0, 0]));
    let recording = recording(2, segments);
    let shared = workload(&ask(), &[first.clone(), second], &[], &recording).unwrap();
    assert_eq!(shared.workload.horizontal, measure(2, 2, 2));
    assert_eq!(shared.workload.traversed.len(), 2);
    let apart = workload(&ask(), &[first, third], &[], &recording).unwrap();
    assert_eq!(apart.workload.horizontal, measure(4, 4, 2));
    let lines = ["linux tiny.c:12", "linux tiny.c:17", "xen tiny.c:12", "xen tiny.c:17"];
    assert_eq!(apart.lines, lines);
}

#[test]
fn entries_are_added_up_and_the_most_frequent_is_first() {
    let image = load(&linked("tiny", "tiny.elf"));
    let mut recording = recording(2, known(&image, 2));
    let entries = |slot, class, origin, count| Entries { from: 1, slot, class, origin, count };
    recording.phases[0].entries = vec![
        entries(8, Some(0x16), Origin::Host, 3),
        entries(9, None, Origin::Guest, 5),
        entries(8, Some(0x24), Origin::Host, 0),
    ];
    let again = Phase {
        entries: vec![
            entries(8, Some(0x16), Origin::Host, 4),
            entries(8, Some(0x12), Origin::Host, 1),
            entries(8, Some(0x16), Origin::Guest, 5),
        ],
        ..recording.phases[0].clone()
    };
    recording.phases.push(again);
    recording.phases.push(Phase { mark: 9, ..recording.phases[1].clone() });
    let Workload { entries, .. } = workload(&ask(), &[image], &[], &recording).unwrap().workload;
    let entry =
        |origin, cause: &str, count| Entry { origin, from: 1, cause: cause.to_owned(), count };
    let expected = [
        // Both ways to encode HVC are one cause.
        entry(Origin::Host, "HVC", 8),
        entry(Origin::Guest, "HVC", 5),
        entry(Origin::Guest, "IRQ", 5),
    ];
    assert_eq!(entries, expected);
}

#[test]
fn phases_are_chosen_by_their_marks() {
    let image = load(&linked("tiny", "tiny.elf"));
    let mut segments = known(&image, 2);
    segments.push(part(&image, 2, 0x40000, 1, [1, 0, 0]));
    let mut recording = recording(2, segments);
    recording.phases.push(Phase { mark: 2, ..recording.phases[0].clone() });
    let images = [image];
    let run = |marks: &[u16]| {
        let spec = WorkloadSpec { marks: marks.to_vec(), ..ask() };
        workload(&spec, &images, &[], &recording)
    };
    assert_eq!(run(&[1]).unwrap().workload.horizontal.instructions, 1);
    assert_eq!(run(&[1, 2]).unwrap().workload.horizontal, measure(2, 2, 2));
    let error = format!("{:#}", run(&[1, 3]).expect_err("there is no phase 3"));
    assert!(error.contains("try: nothing was recorded after mark 3"), "{error}");
}

#[test]
fn totals_alone_cannot_be_mapped() {
    let image = load(&linked("tiny", "tiny.elf"));
    let mut recording = recording(2, vec![part(&image, 2, 0x40000, 1, [1, 0, 0])]);
    recording.phases[0].executed.clear();
    let error = workload(&ask(), &[image], &[], &recording).expect_err("there are no segments");
    assert!(format!("{error:#}").contains("made with segments=off"));
}

#[test]
fn an_image_that_did_not_run_is_reported() {
    let image = load(&linked("tiny", "tiny.elf"));
    let module = Placement::Sections(vec![(".text".to_owned(), 0x50_0000)]);
    let module = load(&spec("linux: module", "module.ko", module));
    let recording = recording(2, known(&image, 2));
    let traversal = workload(&ask(), &[image], &[module], &recording).unwrap();
    assert_eq!(traversal.unseen, ["linux: module"]);
    let none = Measure::default();
    assert_eq!(traversal.workload.vertical, [("linux: module".to_owned(), none)]);
}

/// A segment of `tiny.elf` or of no image: whether, level, first instruction, count, executions.
fn any_segment() -> impl Strategy<Value = (bool, u8, u64, u64, [u64; 3])> {
    (any::<bool>(), 0_u8..=2, 0_u64..26, 1_u64..6, [0_u64..1000, 0_u64..3, 0_u64..1000])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_instruction_is_lost_or_counted_twice(
        parts in proptest::collection::vec(any_segment(), 0..40),
        split in proptest::bool::ANY,
    ) {
        let bounds = vec![("start".to_owned(), "bare".to_owned())];
        let mut library = crate::image::Library::new();
        let inner = match split {
            true => Part::Between(bounds.clone()),
            false => Part::Whole,
        };
        let inner = library.load(&ImageSpec { part: inner, ..linked("tiny", "tiny.elf") }).unwrap();
        let outer = ImageSpec { part: Part::Except(bounds), ..linked("rest", "tiny.elf") };
        let vertical: Vec<Image> =
            split.then(|| library.load(&outer).unwrap()).into_iter().collect();
        let mut segments = known(&inner, 2);
        let mut expected = [0_u64; 2];
        let mut lines = BTreeSet::new();
        for (inside, level, first, count, counts) in parts {
            let link = 0x40000 + 4 * first;
            // Some run over the end of the image.
            let opcodes = (0..count).map(|index| {
                inner.program.elf.opcode(link + 4 * index).unwrap_or(0xd503_201f)
            });
            let (va, pa) = if inside { (0, 0x100_0000) } else { (0x70_0000, 0x500_0000) };
            let opcodes: Box<[u32]> = opcodes.collect();
            let executed = counts.iter().sum::<u64>();
            expected[usize::from(level == 2)] += executed * count;
            for index in (0..count).filter(|_| inside && level != 0 && executed != 0) {
                let address = link + 4 * index;
                let privileged = !split || (0x40020..0x40060).contains(&address) || level == 2;
                if address < 0x40068 && privileged {
                    let frames = inner.program.lines.frames_at(&inner.program.elf, address);
                    lines.extend(frames.filter_map(|frame| frame.line));
                }
            }
            segments.push((Segment { level, va: va + link, pa: pa + link, opcodes }, counts));
        }
        let recording = recording(2, segments);
        let traversal = workload(&ask(), &[inner], &vertical, &recording).unwrap();
        let Workload { horizontal, by_origin, vertical, traversed, unknown, .. } =
            &traversal.workload;
        let vertical: u64 = vertical.iter().map(|(_, measure)| measure.instructions).sum();
        let all = horizontal.instructions + vertical + unknown + traversal.foreign;
        prop_assert_eq!(all, expected[0] + expected[1]);
        prop_assert_eq!(all, recording.phases[0].instructions.iter().sum::<u64>());
        let origins: u64 = by_origin.iter().map(|(_, measure)| measure.instructions).sum();
        prop_assert_eq!(origins, horizontal.instructions);
        prop_assert_eq!(traversed.len() as u64, horizontal.functions);
        let functions: u64 = traversed.iter().map(|function| function.instructions).sum();
        prop_assert!(functions <= horizontal.instructions);
        prop_assert_eq!(traversal.lines.len() as u64, horizontal.lines);
        prop_assert_eq!(lines.len() as u64, horizontal.lines);
    }
}

//! What the tests of several modules need: the files of `tests/fixtures`, and recordings of them.

use std::path::PathBuf;

use crate::image::{Image, ImageSpec, Library, Part, Placement};
use crate::recording::{Executed, Phase, Recording, Segment};

/// A file of `tests/fixtures`.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// An image of a file of `tests/fixtures`.
pub fn spec(name: &str, file: &str, placement: Placement) -> ImageSpec {
    ImageSpec {
        name: name.to_owned(),
        what: format!("the image {name}"),
        elf: path(file),
        symbols_only_ok: true,
        placement,
        source_root: None,
        part: Part::Whole,
    }
}

/// An image that runs where it is linked.
pub fn linked(name: &str, file: &str) -> ImageSpec {
    spec(name, file, Placement::Linked { also_at: Vec::new() })
}

/// Loads an image that loads.
pub fn load(spec: &ImageSpec) -> Image {
    Library::new().load(spec).expect("the fixture loads")
}

/// A segment of a file's own instructions.
pub fn segment(image: &Image, level: u8, link: u64, va: u64, pa: u64, count: u64) -> Segment {
    let opcodes = (0..count).map(|index| {
        image.program.elf.opcode(link + 4 * index).expect("the fixture has this address")
    });
    Segment { level, va, pa, opcodes: opcodes.collect() }
}

/// A recording of one phase, with mark 1, in which every segment was executed as often as is said.
pub fn recording(privileged: u8, segments: Vec<(Segment, [u64; 3])>) -> Recording {
    let mut instructions = [0; 4];
    for (segment, counts) in &segments {
        let executed = counts.iter().sum::<u64>() * segment.opcodes.len() as u64;
        instructions[usize::from(segment.level)] += executed;
    }
    let executed = segments.iter().enumerate();
    let executed = executed.map(|(segment, (_, counts))| Executed { segment, counts: *counts });
    let phase = Phase { mark: 1, instructions, entries: Vec::new(), executed: executed.collect() };
    let segments = segments.into_iter().map(|(segment, _)| segment).collect();
    Recording { privileged, api: 4, phases: vec![phase], segments }
}

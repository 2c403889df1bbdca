use super::*;
use crate::fixtures::{linked, load, path, recording, segment, spec};

/// Link addresses of instructions of `tiny.elf`, more than are needed to believe in a distance.
const WORDS: Range<u64> = 0x40000..0x40040;

/// Segments of one instruction each, from all of `WORDS`, at a distance.
fn words(image: &Image, level: u8, va: u64, pa: u64) -> Vec<(Segment, [u64; 3])> {
    let one = |link| (segment(image, level, link, link + va, link + pa, 1), [1, 0, 0]);
    WORDS.step_by(4).map(one).collect()
}

/// Where the segments from an index on are.
fn places(images: &[Image], recording: &Recording, from: usize) -> Vec<Option<(usize, u64)>> {
    let places = Places::find(images, recording);
    (from..recording.segments.len()).map(|segment| places.of(images, segment, 0)).collect()
}

#[test]
fn a_linked_image_is_found_by_its_physical_addresses() {
    let image = load(&linked("tiny", "tiny.elf"));
    let mut segments = words(&image, 2, 0, 0x100_0000);
    let first = segments.len();
    // Before the MMU was on, and through another mapping.
    segments.push((segment(&image, 2, 0x40000, 0x104_0000, 0x104_0000, 4), [1, 0, 0]));
    segments.push((segment(&image, 2, 0x40020, 0x7_0020, 0x104_0020, 2), [1, 0, 0]));
    // Elsewhere in physical memory, at the first address behind it, and in user space.
    segments.push((segment(&image, 2, 0x40000, 0x204_0000, 0x204_0000, 4), [1, 0, 0]));
    segments.push((segment(&image, 2, 0x40064, 0x104_0068, 0x104_0068, 1), [1, 0, 0]));
    segments.push((segment(&image, 0, 0x40000, 0x4_0000, 0x104_0000, 4), [1, 0, 0]));
    let recording = recording(2, segments);
    let images = [image];
    let expected = [Some((0, 0x40000)), Some((0, 0x40020)), None, None, None];
    assert_eq!(places(&images, &recording, first), expected);
    let found = Places::find(&images, &recording);
    assert!(found.unseen.is_empty());
    assert_eq!(found.of(&images, 0, 0), Some((0, 0x40000)));
    // The third instruction of a segment.
    assert_eq!(found.of(&images, first, 2), Some((0, 0x40008)));
}

#[test]
fn a_guest_with_the_same_kernel_is_not_the_host() {
    let image = load(&linked("linux", "tiny.elf"));
    let mut segments = words(&image, 1, 0, 0x100_0000);
    let first = segments.len();
    // The guest runs more of it than the host did.
    segments.extend(words(&image, 1, 0, 0x200_0000));
    segments.push((segment(&image, 1, 0x40060, 0x40060, 0x204_0060, 1), [0, 0, 1]));
    let recording = recording(2, segments);
    let images = [image];
    let places = places(&images, &recording, 0);
    assert!(places[..first].iter().all(Option::is_some));
    assert!(places[first..].iter().all(Option::is_none));
}

#[test]
fn privileged_code_that_moves_itself_is_one_image() {
    let image = load(&linked("redoubt", "tiny.elf"));
    let mut segments = words(&image, 2, 0, 0x100_0000);
    segments.extend(words(&image, 2, 0, 0x200_0000));
    // Fewer than are believed in.
    let first = segments.len();
    segments.push((segment(&image, 2, 0x40000, 0x40000, 0x304_0000, 1), [1, 0, 0]));
    let recording = recording(2, segments);
    let images = [image];
    let places = places(&images, &recording, 0);
    assert!(places[..first].iter().all(Option::is_some));
    assert_eq!(places[first..], [None]);
}

#[test]
fn a_host_kernel_that_is_privileged_is_not_looked_for_below() {
    let image = load(&linked("linux", "tiny.elf"));
    // A guest with the same kernel, and few instructions of the host at its level before them.
    let mut segments = vec![(segment(&image, 1, 0x40000, 0x40000, 0x104_0000, 1), [1, 0, 0])];
    segments.extend(words(&image, 1, 0, 0x200_0000));
    let first = segments.len();
    segments.extend(words(&image, 2, 0, 0x100_0000));
    let recording = recording(2, segments);
    let images = [image];
    let places = places(&images, &recording, 0);
    assert_eq!(places[0], Some((0, 0x40000)));
    assert!(places[1..first].iter().all(Option::is_none));
    assert!(places[first..].iter().all(Option::is_some));
}

#[test]
fn an_image_lies_where_the_caller_says_too() {
    let spec = spec("tiny", "tiny.elf", Placement::Linked { also_at: vec![0x30_0000] });
    let image = load(&spec);
    let moved = segment(&image, 2, 0x40010, 0x30_0010, 0x30_0010, 2);
    let recording = recording(2, vec![(moved, [1, 0, 0])]);
    assert_eq!(places(&[image], &recording, 0), [Some((0, 0x40010))]);
}

#[test]
fn patched_code_is_the_images_and_memory_that_was_given_back_is_not() {
    let image = load(&linked("linux", "tiny.elf"));
    let mut segments = words(&image, 1, 0, 0x100_0000);
    let first = segments.len();
    let other = |va, pa| Segment { level: 1, va, pa, opcodes: [0xaaaa_aaaa].into() };
    segments.push((other(0x40040, 0x104_0040), [1, 0, 0]));
    // A guest's page where the host's code was.
    segments.push((other(0x9_0000, 0x104_0000), [1, 0, 0]));
    segments.push((other(0x9_0004, 0x104_0004), [1, 0, 0]));
    let recording = recording(2, segments);
    let expected = [Some((0, 0x40040)), None, None];
    assert_eq!(places(&[image], &recording, first), expected);
}

#[test]
fn a_module_lies_where_its_sections_were_put() {
    let sections = [(".text", 0x50_0000), (".init.text", 0x60_0100), (".data", 0x70_0000)];
    let sections = sections.map(|(name, address)| (name.to_owned(), address)).to_vec();
    let image = load(&spec("linux: module", "module.ko", Placement::Sections(sections)));
    let [text, init] = [0, 1].map(|index| image.program.elf.sections()[index].range.start);
    let mut loaded = segment(&image, 1, text, 0x50_0000, 0x104_5000, 5);
    // The loader has written addresses into two of them.
    loaded.opcodes[0] ^= 0x60;
    loaded.opcodes[3] ^= 0x400;
    let segments = vec![
        (loaded.clone(), [1, 0, 0]),
        (segment(&image, 1, init + 4, 0x60_0104, 0x208_1104, 2), [1, 0, 0]),
        // Past its end, in a guest's page at the same address, and after it was unloaded.
        (segment(&image, 1, text, 0x50_0014, 0x104_5014, 1), [1, 0, 0]),
        (Segment { pa: 0x904_5000, ..loaded }, [0, 0, 1]),
        (
            Segment { level: 1, va: 0x60_0104, pa: 0x309_1104, opcodes: [0xaaaa_aaaa; 2].into() },
            [1, 0, 0],
        ),
    ];
    let recording = recording(2, segments);
    let expected = [Some((0, text)), Some((0, init + 4)), None, None, None];
    assert_eq!(places(&[image], &recording, 0), expected);
}

#[test]
fn a_process_lies_at_a_distance_that_is_learnt_from_its_opcodes() {
    let image = load(&spec("vmm", "tiny.elf", Placement::Process));
    let distance = 0x5555_5550_0000;
    let part = |link: u64, count, pa| {
        (segment(&image, 0, link, link + distance, pa + link % PAGE, count), [1, 0, 0])
    };
    let mut segments: Vec<_> =
        (0x40000..0x40038).step_by(4).map(|at| part(at, 2, 0x800_0000)).collect();
    let first = segments.len();
    segments.push(part(0x40038, 1, 0x800_0000));
    // Another program at the same address, of which one instruction is the same; the kernel.
    let mut other = part(0x40000, 4, 0x900_0000);
    other.0.opcodes[1..].fill(0xaaaa_aaaa);
    segments.push(other);
    let mut kernel = part(0x40000, 4, 0x800_0000);
    kernel.0.level = 1;
    segments.push(kernel);
    // The page was given to another program later.
    let mut later = part(0x40060, 1, 0x800_0000);
    later.0.opcodes[0] = 0xaaaa_aaaa;
    segments.push(later);
    let recording = recording(1, segments);
    let images = [image];
    let places = places(&images, &recording, 0);
    assert!(places[..first].iter().all(Option::is_some));
    assert_eq!(places[first..], [Some((0, 0x40038)), None, None, None]);
}

#[test]
fn an_image_that_did_not_run_is_named() {
    let images =
        [load(&linked("tiny", "tiny.elf")), load(&spec("vmm", "tiny.elf", Placement::Process))];
    let other = Segment { level: 2, va: 0, pa: 0, opcodes: [0xd503_201f].into() };
    let found = Places::find(&images, &recording(2, vec![(other, [1, 0, 0])]));
    assert_eq!(found.unseen, ["tiny", "vmm"]);
    assert_eq!(found.of(&images, 0, 0), None);
}

/// Symbols, as a part is bounded by them.
fn bounds(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(first, end)| ((*first).to_owned(), (*end).to_owned())).collect()
}

#[test]
fn a_file_can_be_two_images() {
    let pairs = bounds(&[("start", "vectors"), ("bare", "inner")]);
    let mut library = Library::new();
    let inner = ImageSpec { part: Part::Between(pairs.clone()), ..linked("pkvm", "tiny.elf") };
    let outer = ImageSpec { part: Part::Except(pairs), ..linked("linux", "tiny.elf") };
    let images = [library.load(&inner).unwrap(), library.load(&outer).unwrap()];
    assert!(Arc::ptr_eq(&images[0].program, &images[1].program));
    assert_eq!(images[0].code, [0x40020..0x40040, 0x40060..0x40064]);
    assert_eq!(images[1].code, [0x40000..0x40020, 0x40040..0x40060, 0x40064..0x40068]);
    let [inner, outer] = images.each_ref().map(Image::describe);
    assert_eq!((inner.functions, inner.lines, inner.bytes), (2, 4, 0x24));
    // The function that is cut in two is in both.
    assert_eq!((outer.functions, outer.lines, outer.bytes), (5, 7, 0x44));
    let mut segments = words(&images[0], 1, 0, 0x100_0000);
    let first = segments.len();
    // One segment across the border.
    segments.push((segment(&images[0], 2, 0x4001c, 0x9_001c, 0x104_001c, 2), [1, 0, 0]));
    let recording = recording(2, segments);
    let found = Places::find(&images, &recording);
    assert_eq!(found.of(&images, first, 0), Some((1, 0x4001c)));
    assert_eq!(found.of(&images, first, 1), Some((0, 0x40020)));
}

#[test]
fn what_is_wrong_with_an_image_is_said() {
    let sections = |sections: &[(&str, u64)]| {
        let sections = sections.iter().map(|(name, address)| ((*name).to_owned(), *address));
        Placement::Sections(sections.collect())
    };
    let part = |part| ImageSpec { part, ..linked("x", "tiny.elf") };
    for (spec, expected) in [
        (linked("x", "nothing.elf"), "image x: ELF file"),
        (linked("x", "nothing.elf"), "it cannot be opened"),
        (linked("x", "stripped.elf"), "neither debug information nor symbols"),
        (
            ImageSpec { symbols_only_ok: false, ..linked("x", "symbols.elf") },
            "has no debug information (no .debug_line): install the package",
        ),
        (linked("x", "module.ko"), "where its sections lie has to be given"),
        (spec("x", "module.ko", sections(&[])), "no section of it was placed"),
        (spec("x", "tiny.elf", sections(&[(".text", 0)])), "is linked already"),
        (part(Part::Between(bounds(&[("start", "nothing")]))), "has no symbol nothing"),
        (part(Part::Except(bounds(&[("bare", "start")]))), "start does not come after bare"),
        (part(Part::Except(bounds(&[("twice", "bare"), ("start", "vectors")]))), "overlap"),
        (part(Part::Between(bounds(&[("__bss_start", "_end")]))), "there is no code between"),
    ] {
        let error = format!("{:#}", Library::new().load(&spec).expect_err(expected));
        assert!(error.contains(expected), "{error}");
    }
    assert!(Library::new().load(&linked("x", "symbols.elf")).is_ok());
}

#[test]
fn a_library_reads_a_file_once() {
    let mut library = Library::new();
    let [first, second] = [0, 1].map(|_| library.load(&linked("x", "tiny.elf")).unwrap());
    assert!(Arc::ptr_eq(&first.program, &second.program));
    let spec = ImageSpec { source_root: Some("/build".to_owned()), ..linked("x", "tiny.elf") };
    assert!(!Arc::ptr_eq(&first.program, &library.load(&spec).unwrap().program));
    assert_eq!(path("tiny.elf"), first.program.elf.path());
}

//! Archives are read back by a small reader of their own.

use super::Archive;

/// One entry as the reader sees it: name, mode, data.
type Entry = (String, u32, Vec<u8>);

fn read(bytes: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut at = 0;
    loop {
        assert_eq!(&bytes[at..at + 6], b"070701");
        let field = |index: usize| {
            let start = at + 6 + index * 8;
            let text = std::str::from_utf8(&bytes[start..start + 8]).unwrap();
            u32::from_str_radix(text, 16).unwrap()
        };
        let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
        let name_at = at + 110;
        let name = String::from_utf8(bytes[name_at..name_at + name_size - 1].to_vec()).unwrap();
        assert_eq!(bytes[name_at + name_size - 1], 0);
        let data_at = (name_at + name_size).next_multiple_of(4);
        if name == "TRAILER!!!" {
            return entries;
        }
        entries.push((name, mode, bytes[data_at..data_at + size].to_vec()));
        at = (data_at + size).next_multiple_of(4);
    }
}

#[test]
fn a_file_brings_its_folders_once_and_first() {
    let mut archive = Archive::new();
    archive.file("/a/b/one", 0o644, b"1").unwrap();
    archive.file("a/b/two", 0o755, b"22").unwrap();
    let entries = read(&archive.finish().unwrap());
    let names: Vec<_> = entries.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["a", "a/b", "a/b/one", "a/b/two"]);
    assert_eq!(entries[0].1, 0o040_755);
    assert_eq!(entries[3].1, 0o100_755);
    assert_eq!(entries[3].2, b"22");
}

#[test]
fn links_and_devices_keep_their_kind() {
    let mut archive = Archive::new();
    archive.symlink("bin/sh", "busybox").unwrap();
    archive.character_device("dev/console", 5, 1).unwrap();
    let entries = read(&archive.finish().unwrap());
    assert_eq!(entries[1], ("bin/sh".into(), 0o120_777, b"busybox".to_vec()));
    assert_eq!(entries[3].1, 0o020_600);
}

#[test]
fn is_padded_and_repeatable() {
    let build = || {
        let mut archive = Archive::new();
        archive.file("x", 0o600, b"odd").unwrap();
        archive.finish().unwrap()
    };
    assert_eq!(build(), build());
    assert_eq!(build().len() % 512, 0);
}

#[test]
fn refuses_paths_that_leave_the_archive() {
    for path in ["", "/", "../x", "a//b", "a/./b", "a/.."] {
        assert!(Archive::new().file(path, 0o644, b"").is_err(), "{path:?} was taken");
    }
}

#[test]
fn concatenation_starts_every_part_on_a_word() {
    let folder = std::env::temp_dir().join(format!("redoubt-cpio-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (one, all) = (folder.join("one"), folder.join("all"));
    std::fs::write(&one, b"odd").unwrap();
    super::concatenate(&[one.clone(), one], b"end", &all).unwrap();
    assert_eq!(std::fs::read(&all).unwrap(), b"odd\0odd\0end");
    assert!(super::concatenate(&[folder.join("absent")], b"", &all).is_err());
    std::fs::remove_dir_all(&folder).unwrap();
}

//! Tests of what is checked before the kernel is asked for anything.

use std::io::Write;
use std::path::PathBuf;

use super::*;
use crate::cli::{Cli, Command};

/// A folder of its own for a test's files, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("redoubt-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("create");
        Self(path)
    }

    fn file(&self, name: &str, contents: &[u8]) -> String {
        let path = self.0.join(name);
        File::create(&path).and_then(|mut file| file.write_all(contents)).expect("write");
        path.into_os_string().into_string().expect("UTF-8")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("remove");
    }
}

fn arguments(line: &[&str]) -> RunArgs {
    use clap::Parser;
    let line = ["redoubt", "run"].into_iter().chain(line.iter().copied());
    let Command::Run(args) = Cli::try_parse_from(line).expect("valid").command else {
        unreachable!("asked for run")
    };
    args
}

fn image(memory_bytes: u64) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[16..24].copy_from_slice(&memory_bytes.to_le_bytes());
    bytes[56..60].copy_from_slice(b"ARM\x64");
    bytes
}

fn refusal(line: &[&str]) -> String {
    format!("{:#}", Plan::new(&arguments(line)).expect_err("refused"))
}

#[test]
fn plans_a_kernel_with_initrd() {
    let folder = Folder::new("plan");
    let kernel = folder.file("Image", &image(1 << 20));
    let initrd = folder.file("initrd", &[1; 5000]);
    let plan = Plan::new(&arguments(&["--kernel", &kernel, "--initrd", &initrd])).expect("good");
    assert_eq!(plan.kernel.bytes, 4096);
    assert_eq!(plan.layout.kernel.size, 1 << 20);
    assert_eq!(plan.layout.initrd.expect("given").size, 5000);
    let mut contents = Vec::new();
    (&plan.kernel.file).read_to_end(&mut contents).expect("read");
    assert_eq!(contents.len(), 4096, "the file is at its beginning");
}

#[test]
fn bad_files_are_refused_with_their_name() {
    let folder = Folder::new("refuse");
    let kernel = folder.file("Image", &image(1 << 20));
    let packed = folder.file("Image.gz", b"\x1f\x8b\x08");
    let empty = folder.file("empty", b"");
    let text = folder.file("text", &[b'x'; 200]);
    let directory = folder.0.to_str().expect("UTF-8");
    for (line, expected) in [
        (vec!["--kernel", "/nonexistent"], "cannot open kernel /nonexistent"),
        (vec!["--kernel", directory], "not a regular file"),
        (vec!["--kernel", &empty], "it is empty"),
        (vec!["--kernel", &packed], "gunzip"),
        (vec!["--kernel", &text], "magic number"),
        (vec!["--kernel", &kernel, "--initrd", "/nonexistent"], "cannot open initrd"),
        (vec!["--kernel", &kernel, "--initrd", &empty], "it is empty"),
        (vec!["--kernel", &kernel, "--initrd", "/dev/null"], "not a regular file"),
        (vec!["--kernel", &kernel, "--memory", "2M"], "--memory"),
    ] {
        let message = refusal(&line);
        assert!(message.contains(expected), "{line:?}: {message}");
    }
}

#[test]
fn a_guest_larger_than_the_machine_is_refused() {
    let error = check_host_memory(1 << 60).expect_err("an exbibyte");
    assert!(error.to_string().contains("this machine has only"), "{error}");
    check_host_memory(2 << 20).expect("2 MiB are there");
}

#[cfg(not(target_arch = "aarch64"))]
#[test]
fn other_machines_are_told_what_is_needed() {
    let folder = Folder::new("other");
    let kernel = folder.file("Image", &image(1 << 20));
    let error = run(&arguments(&["--kernel", &kernel, "--memory", "8M"])).expect_err("not arm64");
    assert!(error.to_string().contains("arm64"), "{error}");
}

//! Tests of guest RAM: what is loaded arrives where it should, and nothing reaches outside.

use std::io::{Seek, Write};

use super::*;
use crate::layout::RAM_BASE;

const SIZE: u64 = 4 << 20;

fn ram() -> GuestRam {
    GuestRam::new(Region { base: RAM_BASE, size: SIZE }).expect("4 MiB")
}

fn read(ram: &GuestRam, address: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ram.memory.read_slice(&mut bytes, GuestAddress(address)).expect("inside");
    bytes
}

/// A file in memory, so that tests leave nothing behind.
fn file(contents: &[u8]) -> File {
    use std::os::fd::FromRawFd;
    // SAFETY: the name is a valid C string; the result is checked below.
    let fd = unsafe { libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: the descriptor was just made and has no other owner.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(contents).expect("write");
    file.rewind().expect("rewind");
    file
}

#[test]
fn loads_files_and_bytes_where_told() {
    let ram = ram();
    ram.load_file("kernel", &mut file(b"kernel!"), RAM_BASE, 6).expect("fits");
    ram.load_bytes("tree", b"tree", RAM_BASE + SIZE - 4).expect("fits exactly");
    assert_eq!(read(&ram, RAM_BASE, 7), b"kernel\0");
    assert_eq!(read(&ram, RAM_BASE + SIZE - 4, 4), b"tree");
}

#[test]
fn reports_the_mapping_for_kvm() {
    let ram = ram();
    let mapping = ram.mapping();
    assert_eq!(mapping.guest, Region { base: RAM_BASE, size: SIZE });
    assert_eq!(mapping.host_address % 4096, 0);
    assert_ne!(mapping.host_address, 0);
}

#[test]
fn refuses_what_reaches_outside() {
    let ram = ram();
    for address in [0, RAM_BASE - 1, RAM_BASE + SIZE - 3, RAM_BASE + SIZE, u64::MAX] {
        let error = ram.load_bytes("tree", b"tree", address).expect_err("outside");
        assert!(error.to_string().contains("tree"), "{error}");
        assert!(ram.load_file("kernel", &mut file(b"1234"), address, 4).is_err(), "{address:x}");
    }
}

#[test]
fn refuses_a_file_that_got_shorter() {
    let error = ram().load_file("initrd", &mut file(b"123"), RAM_BASE, 4).expect_err("short");
    assert!(error.to_string().contains("initrd"), "{error}");
}

#[test]
fn refuses_more_than_the_address_space() {
    let huge = Region { base: RAM_BASE, size: 1 << 60 };
    assert!(matches!(GuestRam::new(huge), Err(MemoryError::Reserve(..))));
}

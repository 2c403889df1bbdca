//! The disk of a test machine: 8 MiB that are different everywhere and the same every time.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The size of the disk.
const SIZE: usize = 8 * 1024 * 1024;

/// Writes the disk's image.
pub fn create(image: &Path) -> Result<()> {
    fs::write(image, contents()).with_context(|| format!("cannot write {}", image.display()))
}

/// The hash of the disk's contents, as `sha256sum` prints it.
pub fn hash() -> String {
    Sha256::digest(contents()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A xorshift sequence: no two sectors are alike.
fn contents() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(SIZE);
    while bytes.len() < SIZE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

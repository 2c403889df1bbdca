//! A disk: requests past the page cache on the raw device, and files on a file system.
//!
//! One request at a time, so that none is merged with another. What was written is read back and
//! compared.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::random::Random;
use crate::{Check, failed, mark};

/// Bytes in a request of the sequential and of the random pattern.
const LARGE: usize = 128 << 10;
const SMALL: usize = 4 << 10;
/// Requests of each pattern and direction.
const REQUESTS: u64 = 48;
/// What of the device is used.
const SPAN: u64 = 16 << 20;
/// Files, and the bytes in each.
const FILES: u64 = 24;
const FILE_BYTES: usize = 96 << 10;

#[repr(align(4096))]
struct Buffer([u8; LARGE]);

/// What a run did, in bytes.
#[derive(Debug, Default)]
struct Done {
    raw_written: u64,
    raw_read: u64,
    files_written: u64,
    files_read: u64,
}

/// Fills `bytes` with a pattern of its own for each `tag`.
fn fill(bytes: &mut [u8], tag: u64) {
    let mut random = Random::new(tag);
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes());
    }
}

/// Writes requests at `offset(n)` and reads them back.
fn requests(
    file: &File,
    buffer: &mut Buffer,
    size: usize,
    offset: impl Fn(u64) -> u64,
    done: &mut Done,
) -> Check {
    let mut expected = vec![0; size];
    for number in 0..REQUESTS {
        fill(&mut buffer.0[..size], offset(number));
        file.write_all_at(&buffer.0[..size], offset(number)).map_err(failed("write"))?;
        done.raw_written += size as u64;
    }
    file.sync_data().map_err(failed("flush"))?;
    for number in 0..REQUESTS {
        file.read_exact_at(&mut buffer.0[..size], offset(number)).map_err(failed("read"))?;
        done.raw_read += size as u64;
        fill(&mut expected, offset(number));
        if buffer.0[..size] != expected {
            return Err("what was written is not what is read".into());
        }
    }
    Ok(())
}

fn raw(device: &Path, done: &mut Done) -> Check {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(device)
        .map_err(failed(device.display()))?;
    let mut buffer = Box::new(Buffer([0; LARGE]));
    requests(&file, &mut buffer, LARGE, |number| number * LARGE as u64 % SPAN, done)?;
    // An odd multiplier: no block twice.
    let blocks = SPAN / SMALL as u64;
    requests(&file, &mut buffer, SMALL, |number| number * 1_237 % blocks * SMALL as u64, done)
}

/// Makes the kernel forget what it holds of a file.
fn forget(file: &File) -> Check {
    // SAFETY: takes numbers only; the descriptor is open.
    let result = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    if result == 0 { Ok(()) } else { Err(format!("posix_fadvise: error {result}")) }
}

fn files(folder: &Path, done: &mut Done) -> Check {
    let below = folder.join("workload");
    fs::create_dir(&below).map_err(failed(below.display()))?;
    let path = |number: u64| below.join(format!("file-{number}"));
    let mut bytes = vec![0; FILE_BYTES];
    for number in 0..FILES {
        let path = path(number);
        fill(&mut bytes, number);
        let file = File::create(&path).map_err(failed(path.display()))?;
        // An odd size, so that one page is filled only in part.
        file.write_all_at(&bytes[..FILE_BYTES - 100], 0).map_err(failed(path.display()))?;
        file.sync_all().map_err(failed(path.display()))?;
        forget(&file)?;
        done.files_written += FILE_BYTES as u64 - 100;
    }
    for number in 0..FILES {
        let path = path(number);
        fill(&mut bytes, number);
        let read = fs::read(&path).map_err(failed(path.display()))?;
        if read != bytes[..FILE_BYTES - 100] {
            return Err(format!("{}: what was written is not what is read", path.display()));
        }
        done.files_read += read.len() as u64;
    }
    let found = fs::read_dir(&below).map_err(failed(below.display()))?.count() as u64;
    if found != FILES {
        return Err(format!("{}: {found} files instead of {FILES}", below.display()));
    }
    for number in 0..FILES / 2 {
        let renamed = below.join(format!("renamed-{number}"));
        fs::rename(path(number), &renamed).map_err(failed(renamed.display()))?;
    }
    fs::remove_dir_all(&below).map_err(failed(below.display()))
}

/// Runs the workload between two marks.
pub fn run(device: &Path, folder: &Path) -> Check {
    let mut done = Done::default();
    mark::phase(1)?;
    raw(device, &mut done)?;
    files(folder, &mut done)?;
    mark::phase(0)?;
    println!(
        "DID disk raw_written={} raw_read={} files_written={} files_read={}",
        done.raw_written, done.raw_read, done.files_written, done.files_read
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    //! The requests, on an ordinary file.

    use std::fs::OpenOptions;

    use super::{Buffer, Done, LARGE, REQUESTS, SMALL, files, requests};

    #[test]
    fn writes_and_reads_back() {
        let folder = std::env::temp_dir().join(format!("redoubt-disk-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let image = folder.join("image");
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(&image).unwrap();
        let mut buffer = Box::new(Buffer([0; LARGE]));
        let mut done = Done::default();
        let offset = |number: u64| number * 1_237 % 4096 * SMALL as u64;
        requests(&file, &mut buffer, SMALL, offset, &mut done).unwrap();
        assert_eq!(done.raw_written, REQUESTS * SMALL as u64);
        assert_eq!(done.raw_read, done.raw_written);
        files(&folder, &mut done).unwrap();
        assert_eq!(done.files_read, done.files_written);
        // Two requests at one place: the first is not what is read.
        let error = requests(&file, &mut buffer, LARGE, |number| number % 2 * 512, &mut done);
        assert!(error.is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}

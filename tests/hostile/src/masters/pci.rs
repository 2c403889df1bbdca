//! PCI functions as sysfs shows them: configuration space, drivers, registers.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::Check;
use crate::device::Mapping;
use crate::memory::PAGE;

const FUNCTIONS: &str = "/sys/bus/pci/devices";
const COMMAND: u64 = 4;
const MEMORY_SPACE: u16 = 1 << 1;
const BUS_MASTER: u16 = 1 << 2;

/// A PCI function.
#[derive(Clone, Debug)]
pub struct Function {
    folder: PathBuf,
    /// Requester ID: bus, device, function. On this machine the stream ID, too.
    pub requester: u32,
}

/// Registers of a function, mapped into this process.
#[derive(Debug)]
pub struct Registers {
    mapping: Mapping,
    bytes: usize,
}

fn failed(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// All functions with this vendor and device, in the order of their requester IDs.
///
/// # Errors
/// When sysfs cannot be read.
pub fn all(vendor: u16, device: u16) -> Check<Vec<Function>> {
    let root = Path::new(FUNCTIONS);
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(|error| failed(root, &error))?.flatten() {
        let folder = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(requester) = requester(&name) else { continue };
        // As Linux has it: the configuration space of a virtual function says nothing.
        let is = |file: &str, number: u16| {
            let path = folder.join(file);
            let text = fs::read_to_string(&path).map_err(|error| failed(&path, &error))?;
            Ok::<_, String>(text.trim() == format!("{number:#06x}"))
        };
        if is("vendor", vendor)? && is("device", device)? {
            found.push(Function { folder, requester });
        }
    }
    found.sort_by_key(|function| function.requester);
    Ok(found)
}

/// The requester ID in a name like `0000:01:10.2`.
fn requester(name: &str) -> Option<u32> {
    let (bus, rest) = name.strip_prefix("0000:")?.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let number = |text| u32::from_str_radix(text, 16).ok();
    Some(number(bus)? << 8 | number(device)? << 3 | number(function)?)
}

impl Function {
    fn config<const N: usize>(&self, offset: u64) -> Check<[u8; N]> {
        let path = self.folder.join("config");
        let mut bytes = [0; N];
        File::open(&path)
            .and_then(|file| file.read_exact_at(&mut bytes, offset))
            .map_err(|error| failed(&path, &error))?;
        Ok(bytes)
    }

    /// Whether the function may write to memory.
    ///
    /// # Errors
    /// When sysfs refuses.
    pub fn is_master(&self) -> Check<bool> {
        Ok(u16::from_le_bytes(self.config(COMMAND)?) & BUS_MASTER != 0)
    }

    /// Takes the function from its driver, if it has one.
    ///
    /// # Errors
    /// When the driver does not let go.
    pub fn unbind(&self) -> Check {
        let path = self.folder.join("driver/unbind");
        if !path.exists() {
            return Ok(());
        }
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        fs::write(&path, name).map_err(|error| failed(&path, &error))
    }

    /// Lets it answer to accesses and make its own.
    ///
    /// # Errors
    /// When sysfs refuses.
    pub fn enable(&self) -> Check {
        let path = self.folder.join("config");
        let command = u16::from_le_bytes(self.config(COMMAND)?) | MEMORY_SPACE | BUS_MASTER;
        OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|file| file.write_all_at(&command.to_le_bytes(), COMMAND))
            .map_err(|error| failed(&path, &error))
    }

    /// Maps a region of its registers. Not by sysfs, which would spare those that a driver uses.
    ///
    /// # Errors
    /// When there is none, or the module refuses.
    pub fn registers(&self, bar: usize) -> Check<Registers> {
        let path = self.folder.join("resource");
        let text = fs::read_to_string(&path).map_err(|error| failed(&path, &error))?;
        let line = text.lines().nth(bar).ok_or("a function has no such region")?;
        let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
        let words: Vec<_> = line.split(' ').map(hex).collect();
        let [Some(start), Some(last), _] = words[..] else {
            return Err(format!("{}: {line}", path.display()));
        };
        if start == 0 || start % PAGE != 0 || last <= start {
            return Err(format!("{}: region {bar} is nowhere", path.display()));
        }
        let pages = (last - start + 1) / PAGE;
        let bytes = usize::try_from(pages * PAGE).map_err(|_| "a region is too large")?;
        Ok(Registers { mapping: Mapping::new(start / PAGE, pages)?, bytes })
    }
}

impl Registers {
    fn at<T>(&self, offset: usize) -> *mut T {
        assert!(
            offset.is_multiple_of(size_of::<T>()) && offset + size_of::<T>() <= self.bytes,
            "register outside the region"
        );
        self.mapping.address().wrapping_byte_add(offset).cast()
    }

    /// Reads 4 bytes.
    #[must_use]
    pub fn read32(&self, offset: usize) -> u32 {
        // SAFETY: inside the mapping.
        unsafe { self.at::<u32>(offset).read_volatile() }
    }

    /// Writes 4 bytes.
    pub fn write32(&self, offset: usize, value: u32) {
        // SAFETY: inside the mapping.
        unsafe { self.at::<u32>(offset).write_volatile(value) };
    }

    /// Reads 8 bytes.
    #[must_use]
    pub fn read64(&self, offset: usize) -> u64 {
        // SAFETY: inside the mapping.
        unsafe { self.at::<u64>(offset).read_volatile() }
    }

    /// Writes 8 bytes.
    pub fn write64(&self, offset: usize, value: u64) {
        // SAFETY: inside the mapping.
        unsafe { self.at::<u64>(offset).write_volatile(value) };
    }
}

#[cfg(test)]
mod tests {
    //! Names of functions.

    use super::requester;

    #[test]
    fn names_are_requester_ids() {
        assert_eq!(requester("0000:00:03.0"), Some(0x18));
        assert_eq!(requester("0000:01:10.2"), Some(0x182));
        assert_eq!(requester("0001:00:03.0"), None);
        assert_eq!(requester("0000:00"), None);
    }
}

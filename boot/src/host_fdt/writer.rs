//! Writes a flattened device tree front to back into a buffer.
//!
//! Order in the buffer: header, memory reservation block, structure block, strings block (the
//! loader's, unchanged, so that its offsets stay valid, and behind it our names). The header is
//! written last: a tree that was not finished has no magic number.
//!
//! Every method returns `None` once the buffer is full.

use crate::bytes;
use crate::fdt::{HEADER_SIZE, MAGIC, Strings};

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const END: u32 = 9;

/// The version of the format that is written, and the oldest whose readers can read it.
const VERSION: u32 = 17;
const LAST_COMPATIBLE: u32 = 16;

/// The names that we add to the strings block.
const COMPATIBLE: &[u8] = b"compatible\0";
const ABI_VERSION: &[u8] = b"redoubt,abi-version\0";
const INTERRUPT_NAMES: &[u8] = b"interrupt-names\0";
const INTERRUPT_PARENT: &[u8] = b"interrupt-parent\0";
const INTERRUPTS: &[u8] = b"interrupts\0";

/// Where the names that we add lie in the strings block.
#[derive(Clone, Copy)]
pub(super) struct OwnNames {
    pub(super) compatible: u32,
    pub(super) abi_version: u32,
    pub(super) interrupt_names: u32,
    pub(super) interrupt_parent: u32,
    pub(super) interrupts: u32,
}

impl OwnNames {
    /// Behind `strings`.
    fn behind(strings: Strings<'_>) -> Option<Self> {
        let compatible = u32::try_from(strings.as_bytes().len()).ok()?;
        let abi_version = compatible.checked_add(COMPATIBLE.len() as u32)?;
        let interrupt_names = abi_version.checked_add(ABI_VERSION.len() as u32)?;
        let interrupt_parent = interrupt_names.checked_add(INTERRUPT_NAMES.len() as u32)?;
        let interrupts = interrupt_parent.checked_add(INTERRUPT_PARENT.len() as u32)?;
        Some(Self { compatible, abi_version, interrupt_names, interrupt_parent, interrupts })
    }
}

/// A property whose value is being written: where its length goes, and where it starts.
pub(super) struct OpenProperty {
    length_at: usize,
    value_at: usize,
}

/// A tree being written.
pub(super) struct Writer<'o, 's> {
    out: &'o mut [u8],
    at: usize,
    structure_at: usize,
    strings: Strings<'s>,
    own_names: OwnNames,
}

impl<'o, 's> Writer<'o, 's> {
    /// Starts behind the header.
    pub(super) fn new(out: &'o mut [u8], strings: Strings<'s>) -> Option<Self> {
        out.get_mut(..HEADER_SIZE)?.fill(0);
        let own_names = OwnNames::behind(strings)?;
        Some(Self { out, at: HEADER_SIZE, structure_at: 0, strings, own_names })
    }

    /// Where the names that we add lie.
    pub(super) fn own_names(&self) -> OwnNames {
        self.own_names
    }

    /// Adds an entry to the memory reservation block.
    pub(super) fn reservation(&mut self, start: u64, size: u64) -> Option<()> {
        self.bytes(&start.to_be_bytes())?;
        self.bytes(&size.to_be_bytes())
    }

    /// Ends the memory reservation block and starts the structure block.
    pub(super) fn end_reservations(&mut self) -> Option<()> {
        self.reservation(0, 0)?;
        self.structure_at = self.at;
        Some(())
    }

    /// Opens a node.
    pub(super) fn begin_node(&mut self, name: &[u8]) -> Option<()> {
        self.word(BEGIN_NODE)?;
        self.string(name)?;
        self.pad()
    }

    /// Closes the innermost open node.
    pub(super) fn end_node(&mut self) -> Option<()> {
        self.word(END_NODE)
    }

    /// Adds a whole property.
    pub(super) fn property(&mut self, name_offset: u32, value: &[u8]) -> Option<()> {
        let open = self.begin_property(name_offset)?;
        self.bytes(value)?;
        self.end_property(open)
    }

    /// Starts a property whose value follows.
    pub(super) fn begin_property(&mut self, name_offset: u32) -> Option<OpenProperty> {
        self.word(PROPERTY)?;
        let length_at = self.at;
        self.word(0)?;
        self.word(name_offset)?;
        Some(OpenProperty { length_at, value_at: self.at })
    }

    /// Ends a property's value.
    pub(super) fn end_property(&mut self, open: OpenProperty) -> Option<()> {
        let length = u32::try_from(self.at.checked_sub(open.value_at)?).ok()?;
        bytes::put(self.out, open.length_at, &length.to_be_bytes())?;
        self.pad()
    }

    /// Adds a NUL-terminated string to the value.
    pub(super) fn string(&mut self, text: &[u8]) -> Option<()> {
        self.bytes(text)?;
        self.bytes(&[0])
    }

    /// Adds a number of that many cells to the value. It fits: it is a part of one that did.
    pub(super) fn number(&mut self, value: u64, cells: u32) -> Option<()> {
        for cell in (0..cells).rev() {
            let shift = cell.saturating_mul(32);
            self.word(value.checked_shr(shift).unwrap_or(0) as u32)?;
        }
        Some(())
    }

    /// Ends the structure block, adds the strings block and the header; returns the size.
    pub(super) fn finish(mut self, boot_cpu: u32) -> Option<usize> {
        self.word(END)?;
        let strings_at = self.at;
        self.bytes(self.strings.as_bytes())?;
        for name in [COMPATIBLE, ABI_VERSION, INTERRUPT_NAMES, INTERRUPT_PARENT, INTERRUPTS] {
            self.bytes(name)?;
        }
        let strings_size = self.at.checked_sub(strings_at)?;
        self.pad()?;
        let total = self.at;
        let as_word = |value: usize| u32::try_from(value).ok();
        let header = [
            MAGIC,
            as_word(total)?,
            as_word(self.structure_at)?,
            as_word(strings_at)?,
            as_word(HEADER_SIZE)?,
            VERSION,
            LAST_COMPATIBLE,
            boot_cpu,
            as_word(strings_size)?,
            as_word(strings_at.checked_sub(self.structure_at)?)?,
        ];
        self.at = 0;
        for word in header {
            self.word(word)?;
        }
        Some(total)
    }

    fn word(&mut self, word: u32) -> Option<()> {
        self.bytes(&word.to_be_bytes())
    }

    /// Adds zeros up to a multiple of 4.
    fn pad(&mut self) -> Option<()> {
        let padded = self.at.checked_next_multiple_of(4)?;
        let count = padded.checked_sub(self.at)?;
        self.bytes([0u8; 4].get(..count)?)
    }

    /// Adds bytes to the value.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        bytes::put(self.out, self.at, bytes)?;
        self.at = self.at.checked_add(bytes.len())?;
        Some(())
    }
}

//! The structure block as a stream of tokens.
//!
//! Invariant: `offset` grows by at least 4 with every token, so reading ends.

use super::{FdtError, MAX_NAME_SIZE};
use crate::bytes;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// One token. `NOP`s are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A node begins; its name without the NUL.
    BeginNode(&'a [u8]),
    /// The innermost open node ends.
    EndNode,
    /// A property of the innermost open node; its name is an offset into the strings block.
    Property { name_offset: u32, value: &'a [u8] },
    /// The tree ends.
    End,
}

/// A place in the structure block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor<'a> {
    structure: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the beginning of `structure`.
    pub(crate) fn new(structure: &'a [u8]) -> Self {
        Self { structure, offset: 0 }
    }

    /// Reads the next token and moves behind it.
    pub(crate) fn next_token(&mut self) -> Result<Token<'a>, FdtError> {
        loop {
            match self.word()? {
                BEGIN_NODE => return Ok(Token::BeginNode(self.name()?)),
                END_NODE => return Ok(Token::EndNode),
                PROPERTY => {
                    let size = self.word()? as usize;
                    let name_offset = self.word()?;
                    return Ok(Token::Property { name_offset, value: self.padded(size, size)? });
                }
                NOP => {}
                END => return Ok(Token::End),
                _ => return Err(FdtError::BadToken),
            }
        }
    }

    fn word(&mut self) -> Result<u32, FdtError> {
        let word = bytes::be32(self.structure, self.offset).ok_or(FdtError::BadStructure)?;
        self.offset = self.offset.saturating_add(4);
        Ok(word)
    }

    /// Reads a NUL-terminated name.
    fn name(&mut self) -> Result<&'a [u8], FdtError> {
        let rest = self.structure.get(self.offset..).ok_or(FdtError::BadStructure)?;
        let len = bytes::find(rest, 0, MAX_NAME_SIZE.saturating_add(1)).ok_or(FdtError::BadName)?;
        self.padded(len, len.saturating_add(1))
    }

    /// Reads the first `shown` of `stored` bytes and moves to the next multiple of 4 behind them.
    fn padded(&mut self, shown: usize, stored: usize) -> Result<&'a [u8], FdtError> {
        let rest = self.structure.get(self.offset..).ok_or(FdtError::BadStructure)?;
        let padded = stored.checked_next_multiple_of(4).ok_or(FdtError::BadStructure)?;
        let taken = rest.get(..padded).ok_or(FdtError::BadStructure)?;
        self.offset = self.offset.saturating_add(padded);
        taken.get(..shown).ok_or(FdtError::BadStructure)
    }
}

//! Nodes and properties of a well-formed tree.

use super::{Cursor, MAX_NAME_SIZE, Token};
use crate::bytes;
use crate::error::NodeName;

/// The strings block: the names of properties.
#[derive(Clone, Copy, Debug, Default)]
pub struct Strings<'a> {
    block: &'a [u8],
}

impl<'a> Strings<'a> {
    /// Wraps the block.
    pub(crate) fn new(block: &'a [u8]) -> Self {
        Self { block }
    }

    /// The name at `offset`, without its NUL.
    pub fn get(&self, offset: u32) -> Option<&'a [u8]> {
        let rest = self.block.get(offset as usize..)?;
        rest.get(..bytes::find(rest, 0, MAX_NAME_SIZE.saturating_add(1))?)
    }

    /// All of the block.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.block
    }
}

/// A property of a node.
#[derive(Clone, Copy, Debug)]
pub struct Property<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The value, as stored.
    pub value: &'a [u8],
}

impl<'a> Property<'a> {
    /// The value as one u32.
    pub fn as_u32(&self) -> Option<u32> {
        if self.value.len() == 4 { bytes::be32(self.value, 0) } else { None }
    }

    /// The value as one number of one or two cells.
    pub fn as_number(&self) -> Option<u64> {
        match self.value.len() {
            4 => bytes::be32(self.value, 0).map(u64::from),
            8 => bytes::be64(self.value, 0),
            _ => None,
        }
    }

    /// The value as one NUL-terminated string, without the NUL.
    pub fn as_string(&self) -> Option<&'a [u8]> {
        let (last, text) = self.value.split_last()?;
        if *last == 0 && !bytes::contains(text, 0) { Some(text) } else { None }
    }

    /// The value as a list of strings. An unterminated last string counts.
    pub fn strings(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let text = match self.value.split_last() {
            Some((0, text)) => text,
            _ => self.value,
        };
        text.split(|byte| *byte == 0)
    }
}

/// A node of the tree.
#[derive(Clone, Copy, Debug, Default)]
pub struct Node<'a> {
    name: &'a [u8],
    properties: Cursor<'a>,
    strings: Strings<'a>,
}

impl<'a> Node<'a> {
    /// Wraps the node whose begin token `properties` has just passed.
    pub(crate) fn new(name: &'a [u8], properties: Cursor<'a>, strings: Strings<'a>) -> Self {
        Self { name, properties, strings }
    }

    /// The name with its unit address, as stored. The root's is empty.
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// The name without its unit address.
    pub fn base_name(&self) -> &'a [u8] {
        bytes::before(self.name, b'@')
    }

    /// The name, for a message.
    pub fn display_name(&self) -> NodeName {
        NodeName::new(self.name)
    }

    /// The properties, in stored order.
    pub fn properties(&self) -> Properties<'a> {
        Properties { cursor: self.properties, strings: self.strings }
    }

    /// The first property of that name.
    pub fn property(&self, name: &[u8]) -> Option<Property<'a>> {
        self.properties().find(|property| property.name == name)
    }

    /// Tells whether `compatible` lists `name`.
    pub fn is_compatible(&self, name: &[u8]) -> bool {
        self.property(b"compatible")
            .is_some_and(|compatible| compatible.strings().any(|listed| listed == name))
    }

    /// Tells whether `status` is absent or says that the node is in order. (Inherited
    /// disablement is [`super::Path::is_enabled`].)
    pub fn status_is_okay(&self) -> bool {
        self.property(b"status").is_none_or(|status| status_is_okay(status.value))
    }
}

/// Tells whether the value of `status` is `okay` (or `ok`, which old trees have).
pub(crate) fn status_is_okay(value: &[u8]) -> bool {
    matches!(value, b"okay\0" | b"ok\0")
}

/// The properties of a node.
#[derive(Clone, Copy, Debug)]
pub struct Properties<'a> {
    cursor: Cursor<'a>,
    strings: Strings<'a>,
}

impl<'a> Iterator for Properties<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        match self.cursor.next_token() {
            Ok(Token::Property { name_offset, value }) => {
                Some(Property { name: self.strings.get(name_offset)?, value })
            }
            _ => None,
        }
    }
}

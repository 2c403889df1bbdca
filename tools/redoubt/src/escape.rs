//! The keys that are for `redoubt` and not for the guest: Ctrl-A followed by one more.
//!
//! Decides byte by byte, so that a sequence may be cut anywhere by reads. Used on terminals only;
//! input from a pipe or file reaches the guest as it is.

#[cfg(test)]
mod tests;

/// The byte that starts a sequence: Ctrl-A.
const ESCAPE: u8 = 0x01;

/// What is printed for Ctrl-A h.
pub const HELP: &str = "\r\n\
    Ctrl-A x   stop the guest and leave\r\n\
    Ctrl-A h   this help\r\n\
    Ctrl-A a   send Ctrl-A to the guest\r\n";

/// What one byte from the terminal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Goes to the guest.
    Data(u8),
    /// The user wants to stop.
    Quit,
    /// The user asks which keys there are.
    Help,
    /// Part of a sequence, or an unknown sequence: nothing is to be done.
    Ignored,
}

/// Recognises the sequences in a stream of bytes.
#[derive(Debug, Default)]
pub struct EscapeFilter {
    escaped: bool,
}

impl EscapeFilter {
    /// Takes the next byte from the terminal.
    pub fn next(&mut self, byte: u8) -> Key {
        if !std::mem::take(&mut self.escaped) {
            if byte == ESCAPE {
                self.escaped = true;
                return Key::Ignored;
            }
            return Key::Data(byte);
        }
        match byte {
            b'x' | b'X' => Key::Quit,
            b'h' | b'H' | b'?' => Key::Help,
            b'a' | b'A' | ESCAPE => Key::Data(ESCAPE),
            _ => Key::Ignored,
        }
    }
}

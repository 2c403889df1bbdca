//! A loader of a few instructions, for starts that no real bootloader would make.
//!
//! [`trampoline`] puts an address of the test's choice into x0 and jumps to an image, which is how
//! an FDT that QEMU would never write (or none at all) reaches the image under test.

/// `ldr x0, 0x10` (the word that holds the FDT's address).
const LOAD_X0: u32 = 0x5800_0080;
/// `ldr x16, 0x18`, at offset 4 (the word that holds the entry).
const LOAD_X16: u32 = 0x5800_00b0;
/// `br x16`.
const JUMP: u32 = 0xd61f_0200;
/// `nop`.
const NOP: u32 = 0xd503_201f;

/// Code that enters `entry` with `fdt` in x0 and all other argument registers as they were.
pub fn trampoline(entry: u64, fdt: u64) -> Vec<u8> {
    let code = [LOAD_X0, LOAD_X16, JUMP, NOP];
    let mut bytes: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend_from_slice(&fdt.to_le_bytes());
    bytes.extend_from_slice(&entry.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    //! The layout that the two literal loads count on.

    use super::{LOAD_X0, LOAD_X16, trampoline};

    /// The address that a literal load at `at` reads (imm19, in words).
    fn literal(instruction: u32, at: usize) -> usize {
        at + (((instruction >> 5) & 0x7_ffff) as usize) * 4
    }

    #[test]
    fn loads_find_their_words() {
        let bytes = trampoline(0x1122_3344_5566_7788, 0x99aa_bbcc_ddee_ff00);
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!(word(literal(LOAD_X0, 0)), 0x99aa_bbcc_ddee_ff00);
        assert_eq!(word(literal(LOAD_X16, 4)), 0x1122_3344_5566_7788);
    }
}

//! Commands of an ITS: which there are, and what of them is passed on.
//!
//! Decides command by command which fields exist; every other bit is cleared. A redistributor must be
//! one that there is; GICv4's commands, and what is not allocated, do not exist. What MAPD says is
//! decided by the caller. Trusts nothing. Spec: IHI 0069H 5.3.

/// The size of a command, in bytes.
pub(super) const BYTES: u64 = 32;
/// The command that tells of a device, and, in the first and third word, which, and that it is there.
pub(super) const MAPD: u64 = 0x08;
pub(super) const DEVICE: u64 = 0xffff_ffff_0000_0000;
pub(super) const VALID: u64 = 1 << 63;
/// The commands that map an event to an interrupt.
pub(super) const MAPTI: u64 = 0x0a;
pub(super) const MAPI: u64 = 0x0b;
/// The second word of MAPD has the number of bits of an event, less one. Where the translation table is,
/// in the third, is for EL2 to say.
const EVENT_BITS: u64 = 0x1f;

const EVENT: u64 = 0xffff_ffff;
const COLLECTION: u64 = 0xffff;
const TARGET: u64 = 0x000f_ffff_ffff_0000;

/// Reduces a command to what is defined, or refuses it. `is_target` tells whether the field RDbase
/// names a redistributor.
pub(super) fn sanitise(words: [u64; 4], is_target: impl Fn(u64) -> bool) -> Option<[u64; 4]> {
    let [first, second, third, fourth] = words;
    let named = |word: u64| is_target(word & TARGET);
    let valid = third & VALID != 0;
    let masks = match first & 0xff {
        MAPD if valid => [DEVICE, EVENT_BITS, VALID, 0],
        MAPD => [DEVICE, 0, 0, 0],
        // MOVI, MAPI.
        0x01 | MAPI => [DEVICE, EVENT, COLLECTION, 0],
        // INT, CLEAR, INV, DISCARD.
        0x03 | 0x04 | 0x0c | 0x0f => [DEVICE, EVENT, 0, 0],
        // SYNC.
        0x05 if named(third) => [0, 0, TARGET, 0],
        // MAPC, which has no target when it is not valid; INVALL.
        0x09 if valid && named(third) => [0, 0, VALID | TARGET | COLLECTION, 0],
        0x09 if !valid => [0, 0, COLLECTION, 0],
        0x0d => [0, 0, COLLECTION, 0],
        // MAPTI, with an interrupt beside the event.
        MAPTI => [DEVICE, u64::MAX, COLLECTION, 0],
        // MOVALL.
        0x0e if named(third) && named(fourth) => [0, 0, TARGET, TARGET],
        _ => return None,
    };
    let [mask1, mask2, mask3, mask4] = masks;
    Some([first & (mask1 | 0xff), second & mask2, third & mask3, fourth & mask4])
}

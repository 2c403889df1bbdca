//! Reads and copies bytes without a panic path.
//!
//! `core`'s slice operations that panic on a length mismatch, and iterator adapters that count
//! with overflow checks, would each leave a panic symbol in the image: these helpers do not.

/// Reads the big-endian u32 at `offset`.
pub(crate) fn be32(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// Reads the big-endian u64 at `offset`.
pub(crate) fn be64(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// Reads the little-endian u32 at `offset`.
pub(crate) fn le32(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// Reads the little-endian u64 at `offset`.
pub(crate) fn le64(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// Copies `from` to `to[offset..]`; `None`, with nothing written, where it does not fit.
pub(crate) fn put(to: &mut [u8], offset: usize, from: &[u8]) -> Option<()> {
    let end = offset.checked_add(from.len())?;
    for (target, source) in to.get_mut(offset..end)?.iter_mut().zip(from) {
        *target = *source;
    }
    Some(())
}

/// Finds the first `needle` among the first `limit` bytes.
pub(crate) fn find(bytes: &[u8], needle: u8, limit: usize) -> Option<usize> {
    bytes.iter().zip(0..limit).find(|(byte, _)| **byte == needle).map(|(_, index)| index)
}

/// Tells whether `needle` is among `bytes`.
#[allow(clippy::manual_contains, reason = "it searches by words, with arithmetic that can panic")]
pub(crate) fn contains(bytes: &[u8], needle: u8) -> bool {
    bytes.iter().any(|byte| *byte == needle)
}

/// Cuts `bytes` before its first `needle`, if it has one.
pub(crate) fn before(bytes: &[u8], needle: u8) -> &[u8] {
    find(bytes, needle, bytes.len()).and_then(|end| bytes.get(..end)).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_end_with_the_slice() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(be32(&bytes, 4), Some(0x0506_0708));
        assert_eq!(be32(&bytes, 5), None);
        assert_eq!(be32(&bytes, usize::MAX), None);
        assert_eq!(be64(&bytes, 0), Some(0x0102_0304_0506_0708));
        assert_eq!(be64(&bytes, 1), None);
        assert_eq!(le32(&bytes, 0), Some(0x0403_0201));
        assert_eq!(le64(&bytes, 0), Some(0x0807_0605_0403_0201));
    }

    #[test]
    fn put_writes_all_or_nothing() {
        let mut bytes = [0; 4];
        assert_eq!(put(&mut bytes, 2, &[1, 2]), Some(()));
        assert_eq!(put(&mut bytes, 3, &[9, 9]), None);
        assert_eq!(put(&mut bytes, usize::MAX, &[9]), None);
        assert_eq!(bytes, [0, 0, 1, 2]);
    }

    #[test]
    fn find_respects_its_limit() {
        assert_eq!(find(b"abc", b'c', 3), Some(2));
        assert_eq!(find(b"abc", b'c', 2), None);
        assert!(contains(b"abc", b'b') && !contains(b"abc", b'd'));
        assert_eq!(before(b"uart:115200", b':'), b"uart");
        assert_eq!(before(b"uart", b':'), b"uart");
    }
}

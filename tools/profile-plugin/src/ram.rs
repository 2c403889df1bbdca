//! Where the machine's RAM is in QEMU's own memory, and so what physical address an instruction
//! has.
//!
//! QEMU's interface tells where an instruction is in QEMU's memory, not where it is in the
//! machine's. RAM is one piece in both. After a reset the MMU is off, so that the first block that
//! ever runs has a physical address that is known, the virtual one, and tells the distance.

/// The physical address of the first byte of RAM on the machine `virt`.
const BASE: u64 = 0x4000_0000;

/// No machine has RAM from here on.
const LIMIT: u64 = 1 << 40;

/// The machine's RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ram {
    /// Where its first byte is in QEMU's memory.
    host: u64,
}

impl Ram {
    /// Learns where RAM is from the first instruction that runs, unless that is outside of RAM.
    pub fn learn(va: u64, host: u64) -> Option<Ram> {
        let offset = va.checked_sub(BASE).filter(|_| va < LIMIT)?;
        Some(Ram { host: host.checked_sub(offset)? })
    }

    /// The physical address of what is at `host` in QEMU's memory, unless that is not RAM.
    pub fn physical(self, host: u64) -> Option<u64> {
        let pa = host.checked_sub(self.host)?.checked_add(BASE)?;
        (pa < LIMIT).then_some(pa)
    }
}

#[cfg(test)]
mod tests {
    //! Addresses inside and outside of RAM.

    use super::Ram;

    #[test]
    fn addresses_follow_from_the_first_one() {
        let ram = Ram::learn(0x4020_0000, 0x7f00_0020_0000).expect("it is in RAM");
        assert_eq!(ram.physical(0x7f00_0020_0000), Some(0x4020_0000));
        assert_eq!(ram.physical(0x7f00_0000_0000), Some(0x4000_0000));
        assert_eq!(ram.physical(0x7f00_4000_0004), Some(0x8000_0004));
        assert_eq!(Ram::learn(0x4000_0000, 0x7f00_0000_0000), Some(ram));
    }

    #[test]
    fn what_is_not_ram_has_no_address() {
        let ram = Ram::learn(0x4000_0000, 0x7f00_0000_0000).expect("it is in RAM");
        assert_eq!(ram.physical(0x7eff_ffff_fffc), None);
        assert_eq!(ram.physical(0x7fff_c000_0000), None);
        assert_eq!(ram.physical(u64::MAX), None);
    }

    #[test]
    fn a_machine_that_starts_elsewhere_teaches_nothing() {
        assert_eq!(Ram::learn(0, 0x7f00_0000_0000), None);
        assert_eq!(Ram::learn(0x3fff_fffc, 0x7f00_0000_0000), None);
        assert_eq!(Ram::learn(0x100_0000_0000, 0x7f00_0000_0000), None);
        assert_eq!(Ram::learn(u64::MAX - 3, 0x7f00_0000_0000), None);
        assert_eq!(Ram::learn(0x4000_1000, 0xfff), None);
    }
}

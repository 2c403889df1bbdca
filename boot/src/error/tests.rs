//! Messages.

use super::*;

#[test]
fn messages_name_the_node_and_the_address() {
    let node = NodeName::new(b"memory@40000000");
    let cases = [
        (BootError::Fdt(FdtError::TooDeep), "device tree: nodes are nested deeper than 16 levels"),
        (
            BootError::MemoryOverlap(node),
            "device tree node memory@40000000: memory overlaps other memory",
        ),
        (BootError::BadProperty(node, "reg"), "memory@40000000: bad device tree property reg"),
        (BootError::Overlap(Item::Kernel, Item::Initrd), "host kernel overlaps initrd"),
        (BootError::NoRoom(0), "no room in memory for 0x0 bytes in one piece"),
        (
            BootError::Misaligned(Item::Image, 0x4008_0000),
            "hypervisor image is misaligned, at 0x40080000",
        ),
        (
            BootError::MemoryTooSmall(u64::MAX),
            "memory at 0xffffffffffffffff does not hold one whole 4 KiB page",
        ),
    ];
    for (error, message) in cases {
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn names_are_cut_and_made_printable() {
    assert_eq!(NodeName::new(b"").as_bytes(), b"/");
    assert_eq!(NodeName::new(b"a\x1b[2J \xff").as_bytes(), b"a?[2J??");
    assert_eq!(NodeName::new(&[b'n'; 200]).as_bytes(), [b'n'; NODE_NAME_BYTES]);
}

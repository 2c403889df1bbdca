//! Tests of the address map and of the placement in RAM, with the boot protocol's rules checked on
//! every placement.

use super::*;

const MIB: u64 = 1 << 20;

fn header(text_offset: u64, memory_bytes: u64) -> ImageHeader {
    ImageHeader { text_offset, memory_bytes }
}

/// Checks what the boot protocol asks of any placement.
fn assert_protocol(layout: &Layout) {
    assert_eq!(layout.fdt.base % 8, 0);
    assert!(layout.fdt.size <= 2 * MIB);
    assert_eq!(layout.fdt.base / SIZE_2_MIB, (layout.fdt.end() - 1) / SIZE_2_MIB);
    let mut parts = vec![layout.kernel, layout.fdt];
    if let Some(initrd) = layout.initrd {
        assert_eq!(initrd.base % 4096, 0);
        let window = layout.kernel.base & !((1 << 30) - 1);
        assert!(initrd.end() - window <= 32 << 30);
        parts.push(initrd);
    }
    parts.sort_by_key(|part| (part.base, part.size));
    for part in &parts {
        assert!(layout.ram.contains(part.base, part.size), "{part:x?} outside RAM");
    }
    for pair in parts.windows(2) {
        assert!(pair[0].end() <= pair[1].base, "{pair:x?} overlap");
    }
}

#[test]
fn places_a_typical_guest() {
    let layout = Layout::place(512 * MIB, &header(0, 46 * MIB), Some(20 * MIB + 3)).expect("fits");
    assert_protocol(&layout);
    assert_eq!(layout.kernel.base, RAM_BASE);
    assert_eq!(layout.fdt.end(), RAM_BASE + 512 * MIB);
    assert_eq!(layout.initrd.expect("given").size, 20 * MIB + 3);
}

#[test]
fn honours_text_offset() {
    let layout = Layout::place(64 * MIB, &header(0x8_0000, 16 * MIB), None).expect("fits");
    assert_protocol(&layout);
    assert_eq!(layout.kernel.base, RAM_BASE + 0x8_0000);
    assert_eq!(layout.initrd, None);
}

#[test]
fn many_sizes_follow_the_protocol() {
    for ram_mib in [32, 34, 64, 1024, 4096, 65536, 1 << 20] {
        for initrd in [None, Some(0), Some(1), Some(65536), Some(8 * MIB - 1)] {
            let layout = Layout::place(ram_mib * MIB, &header(0, 20 * MIB), initrd).expect("fits");
            assert_protocol(&layout);
        }
    }
}

#[test]
fn exact_fit_and_one_page_less() {
    let kernel = header(0, 28 * MIB);
    assert_protocol(&Layout::place(32 * MIB, &kernel, Some(2 * MIB)).expect("exactly fits"));
    let error = Layout::place(32 * MIB, &kernel, Some(2 * MIB + 1)).expect_err("one byte over");
    assert!(matches!(error, LayoutError::DoesNotFit { .. }));
    assert!(error.to_string().contains("--memory"));
}

#[test]
fn refuses_what_does_not_fit() {
    for (ram, kernel, initrd) in [
        (2 * MIB, header(0, MIB), None),
        (2 * MIB, header(0, 1), None),
        (64 * MIB, header(0, 64 * MIB), None),
        (64 * MIB, header(0, u64::MAX), None),
        (64 * MIB, header(u64::MAX, 1), None),
        (64 * MIB, header(0, MIB), Some(u64::MAX)),
        (64 * MIB, header(0, MIB), Some(63 * MIB)),
    ] {
        assert!(
            matches!(Layout::place(ram, &kernel, initrd), Err(LayoutError::DoesNotFit { .. })),
            "{ram:x} {kernel:?} {initrd:?}"
        );
    }
}

#[test]
fn refuses_memory_beyond_the_address_space() {
    let error = Layout::place(!(SIZE_2_MIB - 1), &header(0, MIB), None);
    assert!(matches!(error, Err(LayoutError::MemoryTooLarge(_))));
}

#[test]
fn region_contains_is_exact() {
    assert!(UART.contains(UART.base, 1));
    assert!(UART.contains(UART.end() - 8, 8));
    assert!(!UART.contains(UART.end() - 8, 9));
    assert!(!UART.contains(UART.end(), 1));
    assert!(!UART.contains(UART.base - 1, 1));
    assert!(!UART.contains(u64::MAX, 8));
}

//! Tests of the device tree, read back with an independent parser.

use fdt::Fdt;
use fdt::node::FdtNode;

use super::*;
use crate::image::ImageHeader;

const SEEDS: Seeds = Seeds { kaslr: 0x0123_4567_89ab_cdef, rng: [0x5a; RNG_SEED_BYTES] };

fn layout(initrd: Option<u64>) -> Layout {
    let header = ImageHeader { text_offset: 0, memory_bytes: 32 << 20 };
    Layout::place(256 << 20, &header, initrd).expect("fits")
}

fn blob(layout: &Layout, mpidrs: &[u64]) -> Vec<u8> {
    build(&Machine { layout, mpidrs, cmdline: "console=ttyS0 x=\"y z\"", seeds: &SEEDS })
        .expect("valid machine")
}

fn cells(node: &FdtNode<'_, '_>, name: &str) -> Vec<u32> {
    let value = node.property(name).unwrap_or_else(|| panic!("no {name} in {}", node.name)).value;
    value.chunks(4).map(|cell| u32::from_be_bytes(cell.try_into().expect("4 bytes"))).collect()
}

fn wide(node: &FdtNode<'_, '_>, name: &str) -> Vec<u64> {
    let value = node.property(name).unwrap_or_else(|| panic!("no {name} in {}", node.name)).value;
    value.chunks(8).map(|cell| u64::from_be_bytes(cell.try_into().expect("8 bytes"))).collect()
}

fn text<'a>(node: &FdtNode<'_, 'a>, name: &str) -> &'a str {
    node.property(name).and_then(|property| property.as_str()).expect("a string")
}

#[test]
fn chosen_carries_what_the_kernel_needs() {
    let layout = layout(Some(5_000_000));
    let blob = blob(&layout, &[0x8000_0000]);
    let tree = Fdt::new(&blob).expect("parses");
    let chosen = tree.find_node("/chosen").expect("chosen");
    assert_eq!(text(&chosen, "bootargs"), "console=ttyS0 x=\"y z\"");
    assert_eq!(text(&chosen, "stdout-path"), "/serial@9000000");
    assert!(tree.find_node(text(&chosen, "stdout-path")).is_some());
    let initrd = layout.initrd.expect("given");
    assert_eq!(wide(&chosen, "linux,initrd-start"), [initrd.base]);
    assert_eq!(wide(&chosen, "linux,initrd-end"), [initrd.base + 5_000_000]);
    assert_eq!(wide(&chosen, "kaslr-seed"), [SEEDS.kaslr]);
    assert_eq!(chosen.property("rng-seed").expect("seed").value, SEEDS.rng);
}

#[test]
fn no_initrd_means_no_initrd_properties() {
    let blob = blob(&layout(None), &[0]);
    let tree = Fdt::new(&blob).expect("parses");
    let chosen = tree.find_node("/chosen").expect("chosen");
    assert!(chosen.property("linux,initrd-start").is_none());
    assert!(chosen.property("linux,initrd-end").is_none());
}

#[test]
fn memory_is_all_of_ram() {
    let blob = blob(&layout(None), &[0]);
    let tree = Fdt::new(&blob).expect("parses");
    let memory = tree.find_node("/memory@80000000").expect("memory");
    assert_eq!(text(&memory, "device_type"), "memory");
    assert_eq!(wide(&memory, "reg"), [0x8000_0000, 256 << 20]);
}

#[test]
fn cpus_are_named_by_affinity_without_the_other_mpidr_bits() {
    let blob = blob(&layout(None), &[0x8000_0000, 0x8000_0001, 0x81_8000_0100]);
    let tree = Fdt::new(&blob).expect("parses");
    let cpus = tree.find_node("/cpus").expect("cpus");
    let found: Vec<(String, u64)> = cpus
        .children()
        .map(|cpu| {
            assert_eq!(text(&cpu, "device_type"), "cpu");
            assert_eq!(text(&cpu, "enable-method"), "psci");
            (cpu.name.to_owned(), wide(&cpu, "reg")[0])
        })
        .collect();
    assert_eq!(
        found,
        [
            ("cpu@0".to_owned(), 0),
            ("cpu@1".to_owned(), 1),
            ("cpu@8100000100".to_owned(), 0x81_0000_0100)
        ]
    );
}

#[test]
fn firmware_interrupts_and_timer() {
    let blob = blob(&layout(None), &[0, 1, 2]);
    let tree = Fdt::new(&blob).expect("parses");

    let psci = tree.find_node("/psci").expect("psci");
    assert_eq!(
        psci.property("compatible").expect("compatible").value,
        b"arm,psci-1.0\0arm,psci-0.2\0"
    );
    assert_eq!(text(&psci, "method"), "hvc");

    let gic = tree.find_node("/interrupt-controller@8000000").expect("gic");
    assert_eq!(text(&gic, "compatible"), "arm,gic-v3");
    assert_eq!(wide(&gic, "reg"), [0x0800_0000, 0x1_0000, 0x1000_0000, 3 * 0x2_0000]);
    assert_eq!(cells(&gic, "#interrupt-cells"), [3]);
    assert!(gic.property("interrupt-controller").is_some());
    let root = tree.find_node("/").expect("root");
    assert_eq!(cells(&root, "interrupt-parent"), cells(&gic, "phandle"));

    let timer = tree.find_node("/timer").expect("timer");
    assert_eq!(cells(&timer, "interrupts"), [1, 13, 8, 1, 14, 8, 1, 11, 8, 1, 10, 8]);
}

#[test]
fn uart_is_a_level_triggered_16550() {
    let blob = blob(&layout(None), &[0]);
    let tree = Fdt::new(&blob).expect("parses");
    let uart = tree.find_node("/serial@9000000").expect("uart");
    assert_eq!(text(&uart, "compatible"), "ns16550a");
    assert_eq!(wide(&uart, "reg"), [0x0900_0000, 0x1000]);
    assert_eq!(cells(&uart, "interrupts"), [0, 0, 4]);
    assert_eq!(cells(&uart, "clock-frequency"), [1_843_200]);
}

#[test]
fn the_largest_machine_fits() {
    let mpidrs: Vec<u64> = (0..u64::from(layout::MAX_CPUS)).collect();
    let blob = blob(&layout(None), &mpidrs);
    assert!((blob.len() as u64) < MAX_FDT_BYTES);
    let tree = Fdt::new(&blob).expect("parses");
    assert_eq!(tree.find_node("/cpus").expect("cpus").children().count(), 512);
}

#[test]
fn a_tree_that_outgrows_its_room_is_refused() {
    let layout = layout(None);
    let cmdline = "x".repeat(MAX_FDT_BYTES as usize);
    let machine = Machine { layout: &layout, mpidrs: &[0], cmdline: &cmdline, seeds: &SEEDS };
    assert!(matches!(build(&machine), Err(FdtError::TooLarge(_))));
}

#[test]
fn text_that_cannot_be_a_property_is_refused() {
    let layout = layout(None);
    let machine = Machine { layout: &layout, mpidrs: &[0], cmdline: "a\0b", seeds: &SEEDS };
    assert!(matches!(build(&machine), Err(FdtError::Writer(_))));
}

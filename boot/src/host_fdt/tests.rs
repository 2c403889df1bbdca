//! The host's tree: what differs from the loader's, and that nothing else does.

use super::*;
use crate::testing::{self, GOOD, Tree, cells, guarded_machine, numbers, small_machine};
use std::io::Write as _;
use std::process::{Command, Stdio};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn range(start: u64, size: u64) -> PhysRange {
    PhysRange::new(start, size).unwrap()
}

/// The host's tree as bytes.
fn written(blob: &[u8], hyp: PhysRange) -> Vec<u8> {
    written_for(blob, hyp, false)
}

/// The host's tree as bytes, with SMMUs that are the hypervisor's or not.
fn written_for(blob: &[u8], hyp: PhysRange, guarded: bool) -> Vec<u8> {
    let fdt = Fdt::new(blob).unwrap();
    let machine = MachineInfo::from_fdt(&fdt).unwrap();
    let view = HostView { machine: &machine, hyp, abi_version: 0x1_0002, guarded };
    let mut out = vec![0xee; max_size(&fdt) as usize];
    let size = write(&fdt, &view, &mut out).unwrap();
    out.truncate(size);
    out
}

/// The host's tree, read again.
fn shown(blob: &[u8], hyp: PhysRange) -> Tree {
    Tree::read(&Fdt::new(&written(blob, hyp)).unwrap())
}

/// What our node looks like.
fn own_node() -> Tree {
    Tree::new("hypervisor")
        .with("compatible", b"redoubt,hypervisor\0")
        .with("redoubt,abi-version", &cells(&[0x1_0002]))
}

const NAMES: &[u8] = b"sec-phys\0phys\0unused\0hyp-phys\0hyp-virt\0";

#[test]
fn real_trees_change_in_four_places_only() {
    for blob in GOOD {
        let fdt = Fdt::new(blob).unwrap();
        let machine = MachineInfo::from_fdt(&fdt).unwrap();
        let end = machine.memory.as_slice()[0].end();
        let hyp = range(end - 32 * MIB, 32 * MIB);
        let mut expected = Tree::read(&fdt);
        expected.children.retain(|node| {
            let withdrawn = [&b"qemu,fw-cfg-mmio\0"[..], b"virtio,mmio\0"];
            !withdrawn.contains(&node.get("compatible").unwrap_or_default())
        });
        for node in &mut expected.children {
            if node.get("device_type") == Some(b"memory\0") {
                let reg = node.get("reg").unwrap();
                let start = u64::from_be_bytes(reg[..8].try_into().unwrap());
                let size = u64::from_be_bytes(reg[8..].try_into().unwrap());
                let left = if start + size == end { size - 32 * MIB } else { size };
                node.set("reg", &numbers(&[start, left]));
            }
            if node.name == "timer" {
                let count = node.get("interrupts").unwrap().len() / 12;
                let len = if count == 5 { NAMES.len() } else { NAMES.len() - 9 };
                node.properties.insert(0, ("interrupt-names".into(), NAMES[..len].to_vec()));
            }
        }
        expected.children.push(own_node());
        assert_eq!(shown(blob, hyp), expected);
    }
}

/// The guarded machine's tree, changed, as the host sees it.
fn guarded(change: impl FnOnce(&mut Tree)) -> Tree {
    let mut tree = guarded_machine();
    change(&mut tree);
    let hyp = range(2 * GIB - 2 * MIB, 2 * MIB);
    Tree::read(&Fdt::new(&written_for(&tree.write(), hyp, true)).unwrap())
}

#[test]
fn guarded_devices_are_shown_without_their_guards() {
    let mut shown = guarded(|tree| {
        tree.at("pcie@10000000").set("iommu-map-mask", &cells(&[0xffff]));
    });
    let mut expected = guarded_machine();
    for gone in ["smmu@b000000", "fw-cfg@b200000", "virtio_mmio@b201000", "virtio_mmio@b201200"] {
        expected.remove(gone);
    }
    expected.at("pcie@10000000").unset("iommu-map");
    expected.at("dma@b100000").unset("iommus");
    let memory = numbers(&[GIB, GIB - 2 * MIB]);
    expected.at("memory@40000000").set("reg", &memory);
    let names = b"sec-phys\0phys\0unused\0hyp-phys\0".to_vec();
    expected.at("timer").properties.insert(0, ("interrupt-names".into(), names));
    let events = cells(&[0, 74, 1, 0, 77, 1]);
    let own = own_node().with("interrupt-parent", &cells(&[1])).with("interrupts", &events);
    expected.children.push(own);
    assert_eq!(shown, expected);
    // SMMUs that are the host's stay, with all that refers to them.
    let blob = guarded_machine().write();
    shown = self::shown(&blob, range(2 * GIB - 2 * MIB, 2 * MIB));
    assert_eq!(shown.at("smmu@b000000"), guarded_machine().at("smmu@b000000"));
    assert_eq!(shown.at("pcie@10000000"), guarded_machine().at("pcie@10000000"));
    assert_eq!(shown.at("dma@b100000"), guarded_machine().at("dma@b100000"));
    assert_eq!(shown.at("hypervisor"), &own_node());
    assert!(shown.children.iter().all(|node| !node.name.starts_with("virtio_mmio")));
}

#[test]
fn qemus_smmu_gives_its_event_interrupts() {
    for blob in [testing::CPUS8_8G, testing::SMMU_SECURE, testing::SMMU_LOWMEM] {
        let tree = written_for(blob, range(GIB + 256 * MIB, 32 * MIB), true);
        let fdt = Fdt::new(&tree).unwrap();
        let mut shown = Tree::read(&fdt);
        let gic = shown.at("intc@8000000").get("phandle").unwrap().to_vec();
        let own = shown.at("hypervisor");
        assert_eq!(own.get("interrupt-parent"), Some(&gic[..]));
        assert_eq!(own.get("interrupts"), Some(&cells(&[0, 74, 1, 0, 77, 1])[..]));
        assert!(shown.at("pcie@10000000").get("iommu-map").is_none());
        assert!(shown.at("pcie@10000000").get("msi-map").is_some());
        assert!(!tree.windows(11).any(|text| text == b"arm,smmu-v3"));
    }
}

#[test]
fn event_interrupts_are_copied_where_they_are_understood() {
    let events = |change: fn(&mut Tree)| {
        guarded(change).at("hypervisor").get("interrupts").map(<[u8]>::to_vec)
    };
    let is = |words: &[u32]| Some(cells(words));
    const SMMU: &str = "smmu@b000000";
    // By name, whatever the order; one of the two; cut short; without names.
    let swap = events(|tree| tree.at(SMMU).set("interrupt-names", b"gerror\0eventq\0"));
    assert_eq!(swap, is(&[0, 75, 1, 0, 74, 1]));
    let one = events(|tree| tree.at(SMMU).set("interrupt-names", b"combined\0gerror\0"));
    assert_eq!(one, is(&[0, 75, 1]));
    let cut = events(|tree| tree.at(SMMU).set("interrupts", &cells(&[0, 74, 1, 0])));
    assert_eq!(cut, is(&[0, 74, 1]));
    assert_eq!(events(|tree| tree.at(SMMU).unset("interrupt-names")), is(&[]));
    assert_eq!(events(|tree| tree.at(SMMU).unset("interrupts")), is(&[]));
    // Interrupts of another controller are no use; a nearer word counts more than a farther.
    let other = events(|tree| tree.at(SMMU).set("interrupt-parent", &cells(&[9])));
    assert_eq!(other, is(&[]));
    let nearer = events(|tree| {
        tree.set("interrupt-parent", &cells(&[9]));
        tree.at(SMMU).set("interrupt-parent", &cells(&[1]));
    });
    assert_eq!(nearer, is(&[0, 74, 1, 0, 77, 1]));
    // A GIC that nothing can refer to.
    assert_eq!(events(|tree| tree.at("intc@8000000").unset("phandle")), None);
    // The most SMMUs there can be still fit.
    let many = events(|tree| {
        tree.at("intc@8000000").set("#interrupt-cells", &cells(&[4]));
        tree.at("intc@8000000").set("interrupts", &cells(&[1, 9, 4, 0]));
        tree.at("timer").set("interrupts", &cells(&[1, 13, 4, 0, 1, 14, 4, 0, 1, 11, 4, 0]));
        for number in 0..8u32 {
            let mut smmu = tree.at(SMMU).clone();
            smmu.name = format!("smmu@{number}");
            smmu.set("reg", &numbers(&[0xc00_0000 + u64::from(number) * 0x2_0000, 0x2_0000]));
            smmu.set("phandle", &cells(&[10 + number]));
            smmu.set("interrupt-names", b"gerror\0eventq\0");
            smmu.set("interrupts", &cells(&[0, number, 4, 0, 0, 100 + number, 4, 0]));
            tree.children.push(smmu);
        }
        tree.remove(SMMU);
    });
    let expected: Vec<u32> = (0..8).flat_map(|n| [0, 100 + n, 4, 0, 0, n, 4, 0]).collect();
    assert_eq!(many, is(&expected));
}

#[test]
fn dtc_reads_what_is_written() {
    for blob in GOOD {
        let tree = written_for(blob, range(GIB + 256 * MIB, 32 * MIB), blob.len() % 2 == 0);
        let dtc = Command::new("dtc")
            .args(["-I", "dtb", "-O", "dts", "-q", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut dtc) = dtc else {
            eprintln!("dtc is not installed: the tree was read by our own reader only");
            Fdt::new(&tree).unwrap();
            continue;
        };
        dtc.stdin.take().unwrap().write_all(&tree).unwrap();
        let output = dtc.wait_with_output().unwrap();
        assert!(output.status.success());
        let source = String::from_utf8(output.stdout).unwrap();
        assert!(source.contains("compatible = \"redoubt,hypervisor\";"));
        assert!(source.contains("redoubt,abi-version = <0x10002>;"));
        assert!(source.contains("interrupt-names = \"sec-phys\\0phys\\0unused\\0hyp-phys"));
    }
}

/// What is left of the small machine's memory with this `reg`.
fn memory_left(reg: &[u64], hyp: PhysRange) -> Option<Vec<u8>> {
    let mut tree = small_machine();
    tree.at("memory@40000000").set("reg", &numbers(reg));
    let mut shown = shown(&tree.write(), hyp);
    if shown.children.iter().all(|node| node.name != "memory@40000000") {
        return None;
    }
    shown.at("memory@40000000").get("reg").map(<[u8]>::to_vec)
}

#[test]
fn memory_is_split_around_the_hypervisor() {
    let hyp = range(GIB + 16 * MIB, 2 * MIB);
    let left = |reg: &[u64]| memory_left(reg, hyp);
    let is = |reg: &[u64]| Some(numbers(reg));
    assert_eq!(left(&[GIB, GIB]), is(&[GIB, 16 * MIB, GIB + 18 * MIB, GIB - 18 * MIB]));
    assert_eq!(left(&[GIB, 18 * MIB]), is(&[GIB, 16 * MIB]));
    assert_eq!(left(&[GIB + 16 * MIB, GIB / 2]), is(&[GIB + 18 * MIB, GIB / 2 - 2 * MIB]));
    assert_eq!(left(&[GIB + 16 * MIB, 2 * MIB]), None);
    // The region over the seam of two banks, and a bank that is all the hypervisor's.
    assert_eq!(
        left(&[GIB, 17 * MIB, GIB + 17 * MIB, GIB / 2]),
        is(&[GIB, 16 * MIB, GIB + 18 * MIB, GIB / 2 - MIB])
    );
    assert_eq!(left(&[GIB + 16 * MIB, 2 * MIB, 2 * GIB, MIB]), is(&[2 * GIB, MIB]));
    // Parts of pages are nobody's.
    assert_eq!(left(&[GIB + 1, 16 * MIB]), is(&[GIB + 4096, 16 * MIB - 4096]));
}

#[test]
fn memory_of_one_cell_stays_of_one_cell() {
    let mut tree = small_machine();
    tree.set("#address-cells", &cells(&[1]));
    tree.set("#size-cells", &cells(&[1]));
    tree.at("memory@40000000").set("reg", &cells(&[0x4000_0000, 0x4000_0000]));
    tree.at("intc@8000000").set("reg", &cells(&[0x800_0000, 0x1_0000, 0x80a_0000, 0x4_0000]));
    tree.at("soc").set("ranges", b"");
    tree.remove("pcie@10000000");
    let mut shown = shown(&tree.write(), range(0x5000_0000, 0x20_0000));
    assert_eq!(
        shown.at("memory@40000000").get("reg"),
        Some(&cells(&[0x4000_0000, 0x1000_0000, 0x5020_0000, 0x2fe0_0000])[..])
    );
}

#[test]
fn usable_memory_is_edited_too() {
    // Linux takes this property for the memory if it is there.
    let mut tree = small_machine();
    tree.at("memory@40000000").set("linux,usable-memory", &numbers(&[GIB, 32 * MIB]));
    let mut shown = shown(&tree.write(), range(GIB + 30 * MIB, 4 * MIB));
    let memory = shown.at("memory@40000000");
    assert_eq!(memory.get("linux,usable-memory"), Some(&numbers(&[GIB, 30 * MIB])[..]));
    tree.at("memory@40000000").set("linux,usable-memory", b"odd");
    let blob = tree.write();
    let fdt = Fdt::new(&blob).unwrap();
    let machine = MachineInfo::from_fdt(&fdt).unwrap();
    let view = HostView {
        machine: &machine,
        hyp: range(2 * GIB - MIB, MIB),
        abi_version: 1,
        guarded: false,
    };
    let error = write(&fdt, &view, &mut vec![0; max_size(&fdt) as usize]);
    assert!(matches!(error, Err(BootError::BadProperty(_, "linux,usable-memory"))));
}

#[test]
fn reservations_lose_what_is_the_hypervisors() {
    let hyp = range(GIB + 16 * MIB, 2 * MIB);
    let blob = small_machine().write_with(&[
        (GIB, 4096),
        (hyp.start(), hyp.size()),
        (hyp.start() + 4096, 4096),
        (hyp.start() - 4096, 8192),
        (hyp.end() - 1, 2),
        (hyp.start() - 1, hyp.size() + 2),
    ]);
    let out = written(&blob, hyp);
    let left = Fdt::new(&out).unwrap().reservations().collect::<Vec<_>>();
    let (start, end) = (hyp.start(), hyp.end());
    assert_eq!(left, [(GIB, 4096), (start - 4096, 4096), (end, 1), (start - 1, 1), (end, 1)]);
}

#[test]
fn another_hypervisor_node_is_replaced_with_all_below_it() {
    let mut tree = small_machine();
    let other = Tree::new("hypervisor")
        .with("compatible", b"xen,xen\0")
        .with_child(Tree::new("uefi").with_child(Tree::new("deeper").with("a", b"")));
    tree.children.insert(3, other);
    // One that is no child of the root stays.
    tree.at("soc").children.push(Tree::new("hypervisor"));
    let mut shown = shown(&tree.write(), range(2 * GIB - 2 * MIB, 2 * MIB));
    let ours: Vec<_> = shown.children.iter().filter(|node| node.name == "hypervisor").collect();
    assert_eq!(ours, [&own_node()]);
    assert_eq!(shown.children.len(), small_machine().children.len() + 1);
    assert_eq!(shown.at("soc").at("hypervisor"), &Tree::new("hypervisor"));
}

#[test]
fn names_of_timer_interrupts_lose_virt_only() {
    let mut tree = small_machine();
    tree.at("timer").set("interrupt-names", b"phys\0virt\0hyp-virt\0");
    let mut shown = shown(&tree.write(), range(2 * GIB - 2 * MIB, 2 * MIB));
    let timer = shown.at("timer");
    assert_eq!(timer.get("interrupt-names"), Some(b"phys\0unused\0hyp-virt\0".as_slice()));
    assert_eq!(timer.properties.len(), 3);
}

#[test]
fn every_buffer_that_is_too_small_is_refused() {
    let blob = guarded_machine().write_with(&[(GIB, 4096)]);
    let fdt = Fdt::new(&blob).unwrap();
    let machine = MachineInfo::from_fdt(&fdt).unwrap();
    let hyp = range(GIB + 256 * MIB, 2 * MIB);
    let view = HostView { machine: &machine, hyp, abi_version: 1, guarded: true };
    let size = written_for(&blob, hyp, true).len();
    let mut out = vec![0xee; size];
    for len in 0..size {
        let error = Err(BootError::HostFdtTooSmall(len as u64));
        assert_eq!(write(&fdt, &view, &mut out[..len]), error);
        assert!(len < 4 || Fdt::new(&out).is_err(), "{len}: looks like a tree");
    }
    assert_eq!(write(&fdt, &view, &mut out), Ok(size));
}

//! Who can write to memory in real trees, and every way in which a tree can fail to say who
//! guards it.

use super::*;
use crate::machine::MachineInfo;
use crate::testing::{self, Tree, cells, guarded_machine, numbers, small_machine};

const BRIDGE: &str = "pcie@10000000";
const CONFIG: u64 = 0x1_0000_0000;
const SMMU: &str = "smmu@b000000";

fn machine(blob: &[u8]) -> MachineInfo {
    MachineInfo::from_fdt(&Fdt::new(blob).unwrap()).unwrap()
}

/// The guarded machine, changed.
fn changed(change: impl FnOnce(&mut Tree)) -> MachineInfo {
    let mut tree = guarded_machine();
    change(&mut tree);
    machine(&tree.write())
}

fn range(start: u64, size: u64) -> PhysRange {
    PhysRange::new(start, size).unwrap()
}

fn unguarded(reason: Reason, culprit: u64, name: &str) -> Option<Unguarded> {
    let name = crate::error::NodeName::new(name.as_bytes());
    Some(Unguarded { reason, culprit, name })
}

/// What is wrong with the guarded machine, changed.
#[track_caller]
fn expect(reason: Reason, culprit: u64, name: &str, change: impl FnOnce(&mut Tree)) {
    assert_eq!(changed(change).unguarded, unguarded(reason, culprit, name));
}

/// What is wrong with this `iommu-map`.
#[track_caller]
fn expect_map(reason: Reason, culprit: u64, map: &[u32]) {
    expect(reason, culprit, BRIDGE, |tree| tree.at(BRIDGE).set("iommu-map", &cells(map)));
}

fn streams(info: &MachineInfo, smmu: usize) -> Vec<(u32, u64)> {
    info.smmus[smmu].streams.iter().map(|range| (range.first, range.count)).collect()
}

/// A node at the root.
fn device(name: &str, compatible: &str, start: u64, size: u64) -> Tree {
    Tree::new(name)
        .with("compatible", format!("{compatible}\0").as_bytes())
        .with("reg", &numbers(&[start, size]))
}

/// A second SMMU, to be referred to by this number.
fn smmu(name: &str, start: u64, phandle: u32) -> Tree {
    device(name, "arm,smmu-v3", start, 0x2_0000)
        .with("#iommu-cells", &cells(&[1]))
        .with("phandle", &cells(&[phandle]))
}

#[test]
fn real_machines_are_guarded_by_their_smmu() {
    for (blob, last_bus, config) in [
        (testing::CPUS8_8G, 255, range(0x40_1000_0000, 0x1000_0000)),
        (testing::SMMU_SECURE, 255, range(0x40_1000_0000, 0x1000_0000)),
        (testing::SMMU_LOWMEM, 15, range(0x3f00_0000, 0x100_0000)),
    ] {
        let info = machine(blob);
        assert_eq!(info.unguarded, None);
        assert_eq!(info.smmus.len(), 1);
        assert_eq!(info.smmus[0].registers, range(0x905_0000, 0x2_0000));
        assert_eq!(streams(&info, 0), [(0, 0x1_0000)]);
        assert_eq!(&*info.its, &[range(0x808_0000, 0x2_0000)]);
        assert_eq!(&*info.host_bridges, &[HostBridge { config, first_bus: 0, last_bus }]);
        assert_eq!(info.fw_cfg, Some(range(0x902_0000, 0x18)));
        // SMMU and ITS are withdrawn later; fw_cfg and virtio-mmio are gone.
        assert!(info.devices.contains(&info.smmus[0].registers));
        assert!(info.devices.contains(&info.its[0]));
        assert!(!info.devices.overlaps(&range(0x902_0000, 0x1000)));
        assert!(!info.devices.overlaps(&range(0xa00_0000, 0x4000)));
    }
}

#[test]
fn real_machines_without_an_smmu_are_not() {
    for blob in [testing::CPUS1_512M, testing::CPUS4_2G, testing::NUMA, testing::U_BOOT] {
        let info = machine(blob);
        assert_eq!(info.unguarded, unguarded(Reason::NoSmmu, 0x40_1000_0000, BRIDGE));
        // Bus mastering is turned off there too.
        assert_eq!((info.smmus.len(), info.host_bridges.len()), (0, 1));
    }
    let info = machine(testing::VIRTIO_IOMMU);
    assert_eq!(info.unguarded, unguarded(Reason::UnknownIommu, 0, BRIDGE));
}

#[test]
fn the_guarded_machine_is_guarded() {
    let info = changed(|_| {});
    assert_eq!(info.unguarded, None);
    assert_eq!(info.smmus[0].registers, range(0xb00_0000, 0x2_0000));
    // The platform device's two streams touch one another.
    assert_eq!(streams(&info, 0), [(0, 0x1_0000), (0x2_0000, 2)]);
    assert_eq!(&*info.its, &[range(0x808_0000, 0x2_0000)]);
    assert_eq!(info.host_bridges[0].config, range(CONFIG, 0x1000_0000));
    // There is nothing to guard where nothing has DMA.
    let mut tree = small_machine();
    tree.remove(BRIDGE);
    assert_eq!(machine(&tree.write()).unguarded, None);
}

#[test]
fn iommu_maps_that_make_no_sense_are_refused() {
    use Reason::{BadMap, TooMany, UnknownIommu};
    let bad = |map: &[u32]| expect_map(BadMap, CONFIG, map);
    // Length.
    bad(&[]);
    bad(&[0, 2, 0]);
    bad(&[0, 2, 0, 0x1_0000, 0]);
    let odd = cells(&[0, 2, 0, 0x1_0000]);
    expect(BadMap, CONFIG, BRIDGE, |tree| tree.at(BRIDGE).set("iommu-map", &odd[..15]));
    // Entries of no requester ID, beyond the last, and of streams beyond the last.
    bad(&[0, 2, 0, 0]);
    bad(&[0, 2, 0, 0x1_0001]);
    bad(&[1, 2, 0, 0x1_0000]);
    bad(&[u32::MAX, 2, 0, u32::MAX]);
    bad(&[0, 2, 0xffff_0001, 0x1_0000]);
    bad(&[0, 2, u32::MAX, 0x1_0000]);
    // Overlaps, in either order and within.
    bad(&[0, 2, 0, 0x8001, 0x8000, 2, 0x8000, 0x8000]);
    bad(&[0x8000, 2, 0x8000, 0x8000, 0, 2, 0, 0x8001]);
    bad(&[0, 2, 0, 0x1_0000, 0x10, 2, 0x10, 1]);
    // Who it names.
    expect_map(UnknownIommu, 0, &[0, 3, 0, 0x1_0000]);
    expect_map(UnknownIommu, 0, &[0, 0, 0, 0x1_0000]);
    expect_map(UnknownIommu, 0, &[0, u32::MAX, 0, 0x1_0000]);
    expect_map(UnknownIommu, 0, &[0, 1, 0, 0x1_0000]);
    expect_map(UnknownIommu, 0, &[0, 2, 0, 0x8000, 0x8000, 3, 0, 0x8000]);
    expect(Reason::NoSmmu, CONFIG, BRIDGE, |tree| tree.at(BRIDGE).unset("iommu-map"));
    // More than is looked at.
    let long: Vec<u32> = (0..65).flat_map(|n| [n, 2, n, 1]).collect();
    expect_map(TooMany, CONFIG, &long);
    // More ranges of streams than there is room for; touching ones count once.
    let apart = |count: u32| {
        let last = 0x1_0000 - count;
        let entries = (0..count).flat_map(|n| [n, 2, 0x10_0000 + 2 * n, 1]);
        entries.chain([count, 2, 0, last]).collect::<Vec<_>>()
    };
    let one_too_many = MAX_STREAM_RANGES as u32;
    expect_map(TooMany, CONFIG, &apart(one_too_many));
    let info = changed(|tree| {
        tree.at(BRIDGE).set("iommu-map", &cells(&apart(one_too_many - 2)));
    });
    assert_eq!((info.unguarded, info.smmus[0].streams.len()), (None, MAX_STREAM_RANGES));
    let touching: Vec<u32> = (0..64).flat_map(|n| [n << 10, 2, (63 - n) << 10, 1 << 10]).collect();
    let info = changed(|tree| tree.at(BRIDGE).set("iommu-map", &cells(&touching)));
    assert_eq!((info.unguarded, streams(&info, 0)[0]), (None, (0, 0x1_0000)));
}

#[test]
fn iommu_maps_have_to_cover_all_buses() {
    use Reason::PartialMap;
    expect_map(PartialMap, 0xffff, &[0, 2, 0, 0xffff]);
    expect_map(PartialMap, 0, &[1, 2, 1, 0xffff]);
    expect_map(PartialMap, 0x8000, &[0, 2, 0, 0x8000, 0x8001, 2, 0x8001, 0x7fff]);
    expect_map(PartialMap, 8, &[9, 2, 9, 0xfff7, 0, 2, 0, 8]);
    // Buses that the bridge does not have need no streams.
    let of_buses = |first: u32, last: u32, map: &[u32]| {
        changed(|tree| {
            tree.at(BRIDGE).set("bus-range", &cells(&[first, last]));
            tree.at(BRIDGE).set("reg", &numbers(&[CONFIG, 0x20_0000]));
            tree.at(BRIDGE).set("iommu-map", &cells(map));
        })
    };
    let info = of_buses(1, 2, &[0x100, 2, 0x500, 0x200]);
    assert_eq!((info.unguarded, streams(&info, 0)[0]), (None, (0x500, 0x200)));
    let short = of_buses(1, 3, &[0x100, 2, 0x500, 0x200]).unguarded;
    assert_eq!(short, unguarded(PartialMap, 0x300, BRIDGE));
    // Those that have configuration space do, though the tree does not give them to the bridge; and also
    // those that have none, and the tree does.
    let short = changed(|tree| {
        tree.at(BRIDGE).set("bus-range", &cells(&[0, 0]));
        tree.at(BRIDGE).set("reg", &numbers(&[CONFIG, 0x20_0000]));
        tree.at(BRIDGE).set("iommu-map", &cells(&[0, 2, 0, 0x100]));
    });
    assert_eq!(short.unguarded, unguarded(PartialMap, 0x100, BRIDGE));
    let short = changed(|tree| {
        tree.at(BRIDGE).set("reg", &numbers(&[CONFIG, 0x10_0000]));
        tree.at(BRIDGE).set("iommu-map", &cells(&[0, 2, 0, 0x100]));
    });
    assert_eq!(short.unguarded, unguarded(PartialMap, 0x100, BRIDGE));
    assert_eq!((short.host_bridges[0].first_bus, short.host_bridges[0].last_bus), (0, 0));
}

#[test]
fn masks_fold_requester_ids() {
    let masked = |mask: &[u8], map: &[u32]| {
        changed(|tree| {
            tree.at(BRIDGE).set("iommu-map-mask", mask);
            tree.at(BRIDGE).set("iommu-map", &cells(map));
        })
    };
    let per_device = masked(&cells(&[0xfff8]), &[0, 2, 0, 0x1_0000]);
    assert_eq!(per_device.unguarded, None);
    let one = masked(&cells(&[0]), &[0, 2, 0x700, 1]);
    assert_eq!((one.unguarded, streams(&one, 0)[0]), (None, (0x700, 1)));
    let partial = masked(&cells(&[0xff]), &[0, 2, 0, 0x80]).unguarded;
    assert_eq!(partial, unguarded(Reason::PartialMap, 0x80, BRIDGE));
    // An entry that no requester ID can hit, and masks that are none.
    let bad = unguarded(Reason::BadMap, CONFIG, BRIDGE);
    assert_eq!(masked(&cells(&[0xff]), &[0x100, 2, 0, 0x100]).unguarded, bad);
    for mask in [&b""[..], &[0xff; 3], &[0xff; 8]] {
        assert_eq!(masked(mask, &[0, 2, 0, 0x1_0000]).unguarded, bad);
    }
}

#[test]
fn host_bridges_that_are_not_understood_are_unknown_masters() {
    let unknown = |culprit, change: &dyn Fn(&mut Tree)| {
        expect(Reason::UnknownMaster, culprit, BRIDGE, |tree| change(tree.at(BRIDGE)));
    };
    for compatible in ["pci-host-cam-generic\0", "vendor,pcie\0pci-host-ecam-generic\0", ""] {
        unknown(CONFIG, &|bridge| bridge.set("compatible", compatible.as_bytes()));
    }
    for buses in [&[0][..], &[1, 0], &[0, 256], &[0, 255, 0], &[256, 256], &[]] {
        unknown(CONFIG, &|bridge| bridge.set("bus-range", &cells(buses)));
    }
    unknown(CONFIG, &|bridge| bridge.set("reg", &numbers(&[CONFIG, 0xf_ffff])));
    unknown(CONFIG + 1, &|bridge| bridge.set("reg", &numbers(&[CONFIG + 1, 0x1000_0000])));
    unknown(0, &|bridge| bridge.unset("reg"));
    // Without its device type it is a device like others.
    unknown(CONFIG, &|bridge| bridge.unset("device_type"));
    let default = changed(|tree| tree.at(BRIDGE).unset("bus-range"));
    assert_eq!((default.unguarded, default.host_bridges[0].last_bus), (None, 255));
    // A bridge that is off is none; one more than there is room for.
    let off = changed(|tree| tree.at(BRIDGE).set("status", b"disabled\0"));
    assert_eq!((off.unguarded, off.host_bridges.len()), (None, 0));
    let many = changed(|tree| {
        for number in 1..=8u64 {
            let mut bridge = tree.at(BRIDGE).clone();
            bridge.name = format!("pcie@{number}");
            let start = CONFIG + number * 0x1000_0000;
            bridge.set("reg", &numbers(&[start, 0x1000_0000]));
            tree.children.push(bridge);
        }
    });
    assert_eq!(many.unguarded, unguarded(Reason::TooMany, CONFIG + 0x8000_0000, "pcie@8"));
    assert_eq!(many.host_bridges.len(), MAX_HOST_BRIDGES);
}

#[test]
fn smmus_that_cannot_be_driven_are_unknown() {
    let at = 0xb00_0000;
    let unknown = |culprit, change: &dyn Fn(&mut Tree)| {
        expect(Reason::UnknownIommu, culprit, SMMU, |tree| change(tree.at(SMMU)));
    };
    unknown(at, &|smmu| smmu.set("reg", &numbers(&[at, 0x1_0000])));
    unknown(at + 8, &|smmu| smmu.set("reg", &numbers(&[at + 8, 0x2_0000])));
    // Registers that nobody would keep from the host.
    unknown(at, &|smmu| smmu.set("reg", &numbers(&[at, 0x2_0000, at + 0x2_0000, 0x1000])));
    unknown(at, &|smmu| smmu.unset("#iommu-cells"));
    unknown(at, &|smmu| smmu.set("#iommu-cells", &cells(&[2])));
    unknown(0, &|smmu| smmu.unset("reg"));
    // Nobody can refer to one without a number, or to one that is off.
    for change in [
        &(|smmu: &mut Tree| smmu.unset("phandle")) as &dyn Fn(&mut Tree),
        &|smmu| smmu.set("phandle", b"\0"),
        &|smmu| smmu.set("status", b"disabled\0"),
    ] {
        expect(Reason::UnknownIommu, 0, BRIDGE, |tree| change(tree.at(SMMU)));
    }
    // The older kind is another IOMMU.
    expect(Reason::UnknownIommu, 0, BRIDGE, |tree| {
        tree.at(SMMU).set("compatible", b"arm,mmu-500\0arm,smmu-v2\0");
    });
    let second = |start, phandle| {
        changed(|tree| tree.children.push(smmu("smmu@b300000", start, phandle))).unguarded
    };
    assert_eq!(second(0xb30_0000, 3), None);
    let same = |start| unguarded(Reason::UnknownIommu, start, "smmu@b300000");
    assert_eq!(second(0xb30_0000, 2), same(0xb30_0000));
    assert_eq!(second(at + 0x1_0000, 3), same(at + 0x1_0000));
}

#[test]
fn each_smmu_has_its_own_streams() {
    let info = changed(|tree| {
        // In front of who refers to it, and behind.
        tree.children.insert(0, smmu("smmu@b300000", 0xb30_0000, 3));
        let map = [0, 2, 0, 0x8000, 0x8000, 3, 0x100, 0x8000];
        tree.at(BRIDGE).set("iommu-map", &cells(&map));
        tree.at("dma@b100000").set("iommus", &cells(&[3, 0xff, 2, u32::MAX]));
    });
    assert_eq!(info.unguarded, None);
    assert_eq!(info.smmus.len(), 2);
    assert_eq!(streams(&info, 0), [(0xff, 0x8001)]);
    assert_eq!(streams(&info, 1), [(0, 0x8000), (u32::MAX, 1)]);
    let many = changed(|tree| {
        for number in 1..=8u64 {
            let start = 0xc00_0000 + number * 0x10_0000;
            tree.children.push(smmu(&format!("smmu@{number}"), start, 10 + number as u32));
        }
    });
    assert_eq!(many.unguarded, unguarded(Reason::TooMany, 0xc80_0000, "smmu@8"));
    assert_eq!(many.smmus.len(), MAX_SMMUS);
}

#[test]
fn streams_join_whatever_their_order() {
    let mut smmu = SmmuNode::default();
    for (first, count) in [(8, 2), (0, 1), (4, 2), (6, 2), (1, 1), (u32::MAX, 1), (9, 3)] {
        smmu.give(first, count).unwrap();
    }
    let held: Vec<_> = smmu.streams.iter().map(|range| (range.first, range.count)).collect();
    assert_eq!(held, [(0, 2), (4, 8), (u32::MAX, 1)]);
    smmu.give(0, 1 << 32).unwrap();
    assert_eq!(&*smmu.streams, &[StreamRange { first: 0, count: 1 << 32 }]);
}

#[test]
fn platform_devices_are_guarded_harmless_or_unknown() {
    const DMA: &str = "dma@b100000";
    let at = 0xb10_0000;
    let dma = |reason, culprit, change: &dyn Fn(&mut Tree)| {
        expect(reason, culprit, DMA, |tree| change(tree.at(DMA)));
    };
    dma(Reason::UnknownMaster, at, &|dma| dma.unset("iommus"));
    for bad in [&[][..], &[2], &[2, 0, 2]] {
        dma(Reason::BadMap, at, &|dma| dma.set("iommus", &cells(bad)));
    }
    for other in [&[1, 0][..], &[0, 0], &[2, 0, 3, 0]] {
        dma(Reason::UnknownIommu, 0, &|dma| dma.set("iommus", &cells(other)));
    }
    let scattered: Vec<u32> = (0..16).flat_map(|n| [2, 0x3_0000 + 2 * n]).collect();
    dma(Reason::TooMany, at, &|dma| dma.set("iommus", &cells(&scattered)));
    let with = |node: Tree| changed(|tree| tree.children.push(node)).unguarded;
    let new = |compatible: &str| device("new@d000000", compatible, 0xd00_0000, 0x1000);
    let unknown = unguarded(Reason::UnknownMaster, 0xd00_0000, "new@d000000");
    for compatible in ["vendor,nic", "simple-bus", "", "arm,pl011-dma", "vendor,it\0arm,pl011"] {
        assert_eq!(with(new(compatible)), unknown, "{compatible}");
    }
    assert_eq!(with(Tree::new("new@d000000").with("reg", &numbers(&[0xd00_0000, 8]))), unknown);
    for compatible in HARMLESS {
        assert_eq!(with(new(std::str::from_utf8(compatible).unwrap())), None);
    }
    // What is off, has no registers, or none that a CPU can address.
    assert_eq!(with(new("vendor,nic").with("status", b"disabled\0")), None);
    let mut bare = new("vendor,nic");
    bare.unset("reg");
    assert_eq!(with(bare), None);
    let bus = Tree::new("i2c").with("#size-cells", &cells(&[2]));
    assert_eq!(with(bus.with_child(new("vendor,nic"))), None);
    // Not only the first registers count.
    let second = new("vendor,nic").with("reg", &numbers(&[0, 0, 0xd00_0000, 0x1000]));
    assert_eq!(with(second), unknown);
    // An IOMMU of another kind is a master itself, even if nobody refers to it.
    let iommu = new("vendor,iommu").with("#iommu-cells", &cells(&[1]));
    assert_eq!(with(iommu), unguarded(Reason::UnknownIommu, 0xd00_0000, "new@d000000"));
    // The first is named.
    let two = changed(|tree| {
        tree.children.push(new("vendor,first"));
        tree.children.push(device("other@d100000", "vendor,second", 0xd10_0000, 0x1000));
    });
    assert_eq!(two.unguarded, unknown);
}

#[test]
fn translation_services_belong_to_the_gic() {
    let its = |name: &str, start, size| device(name, "arm,gic-v3-its", start, size);
    let outside = changed(|tree| tree.children.push(its("its@d000000", 0xd00_0000, 0x2_0000)));
    let unknown = unguarded(Reason::UnknownMaster, 0xd00_0000, "its@d000000");
    assert_eq!((outside.unguarded, outside.its.len()), (unknown, 1));
    let small = changed(|tree| {
        tree.at("intc@8000000").children.push(its("its@d000000", 0xd00_0000, 0x1_0000));
    });
    assert_eq!(small.unguarded, unknown);
    let many = changed(|tree| {
        for number in 1..=8 {
            let its = its(&format!("its@{number}"), 0xd00_0000 + number * 0x2_0000, 0x2_0000);
            tree.at("intc@8000000").children.push(its);
        }
    });
    assert_eq!(many.unguarded, unguarded(Reason::TooMany, 0xd10_0000, "its@8"));
    assert_eq!(many.its.len(), MAX_ITS);
    let frame = changed(|tree| {
        let v2m = device("v2m@d000000", "arm,gic-v2m-frame", 0xd00_0000, 0x1000);
        tree.at("intc@8000000").children.push(v2m);
    });
    assert_eq!(frame.unguarded, unguarded(Reason::UnknownMaster, 0xd00_0000, "v2m@d000000"));
}

#[test]
fn withdrawn_devices_take_their_pages_along() {
    let plain = changed(|_| {}).devices;
    assert!(!plain.overlaps(&range(0xb20_0000, 0x2000)));
    assert!(plain.contains(&range(0xb10_0000, 0x1000)));
    // A UART on fw_cfg's page, before and behind it, and one over more pages.
    let uart = |start, size| device("uart@b200000", "arm,pl011", start, size);
    for place in [0, 20] {
        let shared = changed(|tree| {
            let place = place.min(tree.children.len());
            tree.children.insert(place, uart(0xb20_0800, 0x100));
        });
        assert_eq!((shared.devices, shared.unguarded), (plain, None));
        let long = changed(|tree| {
            let place = place.min(tree.children.len());
            tree.children.insert(place, uart(0xb1f_f000, 0x4000));
        });
        assert!(!long.devices.overlaps(&range(0xb20_0000, 0x2000)));
        assert!(long.devices.contains(&range(0xb1f_f000, 0x1000)));
        assert!(long.devices.contains(&range(0xb20_2000, 0x1000)));
    }
    // One that is said to be off may be there.
    let off = changed(|tree| {
        tree.at("virtio_mmio@b201200").set("status", b"disabled\0");
        tree.remove("virtio_mmio@b201000");
        tree.children.push(uart(0xb20_1000, 0x100));
    });
    assert_eq!(off.devices, plain);
    // One that cannot be asked for the IORT.
    for reg in [[0xb20_0008, 0x18], [0xb20_0000, 8]] {
        let odd = changed(|tree| tree.at("fw-cfg@b200000").set("reg", &numbers(&reg)));
        assert_eq!(odd.unguarded, unguarded(Reason::UnknownMaster, reg[0], "fw-cfg@b200000"));
        assert_eq!((odd.fw_cfg, odd.devices), (None, plain));
    }
    assert_eq!(changed(|tree| tree.remove("fw-cfg@b200000")).fw_cfg, None);
    // Its registers on RAM would be reached as RAM.
    let mut tree = guarded_machine();
    tree.at("fw-cfg@b200000").set("reg", &numbers(&[0x4000_0000, 0x18]));
    let error = MachineInfo::from_fdt(&Fdt::new(&tree.write()).unwrap());
    assert!(matches!(error, Err(BootError::DeviceOverlapsMemory(_))));
}

#[test]
fn the_answer_is_modest() {
    // It is built and handed on by value on a stack of 32 KiB.
    assert!(size_of::<Masters>() <= 3 << 10, "{}", size_of::<Masters>());
    assert!(size_of::<MachineInfo>() <= 8 << 10, "{}", size_of::<MachineInfo>());
}

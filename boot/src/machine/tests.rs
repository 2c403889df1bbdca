//! What is read out of real trees, and each thing that is refused, from a good tree with one
//! thing wrong.

use super::*;
use crate::error::NodeName;
use crate::testing::{self, Tree, cells, numbers, small_machine};

fn machine(blob: &[u8]) -> Result<MachineInfo, BootError> {
    MachineInfo::from_fdt(&Fdt::new(blob).unwrap())
}

/// The small machine, changed.
fn changed(change: impl FnOnce(&mut Tree)) -> Result<MachineInfo, BootError> {
    let mut tree = small_machine();
    change(&mut tree);
    machine(&tree.write())
}

/// The error for the small machine, changed.
fn refused(change: impl FnOnce(&mut Tree)) -> BootError {
    changed(change).expect_err("must be refused")
}

fn node(name: &str) -> NodeName {
    NodeName::new(name.as_bytes())
}

fn range(start: u64, size: u64) -> PhysRange {
    PhysRange::new(start, size).unwrap()
}

const MEMORY: &str = "memory@40000000";
const GIB: u64 = 1 << 30;

/// The small machine with this `reg` in its memory node.
fn memory(reg: &[u64]) -> Result<MachineInfo, BootError> {
    changed(|tree| tree.at(MEMORY).set("reg", &numbers(reg)))
}

#[test]
fn the_small_machine_is_understood() {
    let info = changed(|_| {}).unwrap();
    assert_eq!(info.memory.as_slice(), &[range(GIB, GIB)]);
    assert!(info.reserved.is_empty());
    assert_eq!(&*info.cpus, &[Cpu { mpidr: 0 }, Cpu { mpidr: 1 }]);
    assert_eq!(info.psci, Some(Psci { conduit: Conduit::Smc }));
    assert_eq!(info.gic.distributor, range(0x800_0000, 0x1_0000));
    assert_eq!(&*info.gic.redistributors, &[range(0x80a_0000, 0x4_0000)]);
    assert_eq!((info.gic.maintenance, info.gic.redistributor_stride), (Some(25), None));
    assert_eq!((info.timer.secure_physical, info.timer.physical), (Some(29), 30));
    assert_eq!((info.timer.virtual_, info.timer.hyp_physical), (27, Some(26)));
    assert_eq!(info.timer.hyp_virtual, None);
    assert_eq!(info.console, Some(Console { registers: range(0x1900_0000, 0x1000) }));
    assert_eq!(info.initrd, None);
    assert_eq!(
        info.devices.as_slice(),
        &[
            range(0x800_0000, 0x1_0000),
            range(0x80a_0000, 0x4_0000),
            range(0x1900_0000, 0x1000),
            range(0x2000_0000, 0x100_0000),
            range(0x1_0000_0000, 0x1000_0000),
        ]
    );
}

#[test]
fn real_machines_are_understood() {
    let cases = [
        (testing::CPUS1_512M, 1, GIB / 2, Conduit::Smc),
        (testing::CPUS4_2G, 4, 2 * GIB, Conduit::Smc),
        (testing::CPUS8_8G, 8, 8 * GIB, Conduit::Smc),
        (testing::NUMA, 4, 2 * GIB, Conduit::Smc),
        (testing::PSCI_HVC, 2, GIB, Conduit::Hvc),
        (testing::U_BOOT, 4, GIB, Conduit::Smc),
    ];
    for (blob, cpus, size, conduit) in cases {
        let info = machine(blob).unwrap();
        assert_eq!(info.memory.as_slice(), &[range(GIB, size)]);
        assert_eq!(info.cpus.len(), cpus);
        assert_eq!(info.psci, Some(Psci { conduit }));
        assert_eq!(info.gic.distributor, range(0x800_0000, 0x1_0000));
        assert_eq!(&*info.gic.redistributors, &[range(0x80a_0000, 0xf6_0000)]);
        // Without EL2 there is no maintenance interrupt.
        let maintenance = if conduit == Conduit::Smc { Some(25) } else { None };
        assert_eq!(info.gic.maintenance, maintenance);
        assert_eq!((info.timer.physical, info.timer.virtual_), (30, 27));
        assert_eq!(info.console, Some(Console { registers: range(0x900_0000, 0x1000) }));
        // Flash, GIC, UART, PCI windows and ECAM are the host's.
        for device in [
            range(0, 0x800_0000),
            range(0x900_0000, 0x1000),
            range(0x808_0000, 0x2_0000),
            range(0x1000_0000, 0x2eff_0000),
            range(0x3eff_0000, 0x1_0000),
            range(0x80_0000_0000, 0x80_0000_0000),
            range(0x40_1000_0000, 0x1000_0000),
        ] {
            assert!(info.devices.contains(&device), "{device:x?}");
        }
        assert!(!info.devices.overlaps(&info.memory.as_slice()[0]));
        // The platform bus has a window but no device in it.
        assert!(!info.devices.overlaps(&range(0xc00_0000, 0x200_0000)));
    }
}

#[test]
fn what_u_boot_adds_is_understood() {
    let info = machine(testing::U_BOOT).unwrap();
    let initrd = range(0x7dad_5000, 0x2d_c6c0);
    assert_eq!(info.initrd, Some(initrd));
    let reserved = ReservedRange { range: range(0x7dad_5000, 0x2d_d000), no_map: false };
    assert_eq!(&*info.reserved, &[reserved]);
}

#[test]
fn memory_is_sorted_joined_and_trimmed() {
    let info = memory(&[0x9000_0800, GIB, GIB + 1, 0x1000_0000 - 1, 0x5000_0000, GIB - 1]).unwrap();
    assert_eq!(
        info.memory.as_slice(),
        &[
            PhysRange::from_bounds(GIB + 0x1000, 0x8fff_f000).unwrap(),
            PhysRange::from_bounds(0x9000_1000, 0xd000_0000).unwrap(),
        ]
    );
    // Two halves of a page make a page.
    let info = memory(&[GIB, 0x1800, GIB + 0x1800, 0x800]).unwrap();
    assert_eq!(info.memory.as_slice(), &[range(GIB, 0x2000)]);
}

#[test]
fn memory_that_makes_no_sense_is_refused() {
    let name = node(MEMORY);
    let cases: [(&[u64], BootError); 10] = [
        (&[GIB, 0], BootError::MemoryZeroSize(name)),
        (&[GIB, GIB, 2 * GIB - 1, GIB], BootError::MemoryOverlap(name)),
        (&[GIB, GIB, GIB, GIB], BootError::MemoryOverlap(name)),
        (&[GIB, u64::MAX], BootError::MemoryWraps(name)),
        (&[!0xfff, 0x1000], BootError::MemoryWraps(name)),
        (&[0, 1 << 53], BootError::MemoryWraps(name)),
        (&[GIB + 1, 0x1000], BootError::MemoryTooSmall(GIB + 1)),
        (&[GIB, 0xfff], BootError::MemoryTooSmall(GIB)),
        (&[GIB], BootError::BadProperty(name, "reg")),
        (&[], BootError::NoMemory),
    ];
    for (reg, expected) in cases {
        assert_eq!(memory(reg), Err(expected), "{reg:x?}");
    }
    assert_eq!(refused(|tree| tree.remove(MEMORY)), BootError::NoMemory);
    assert_eq!(
        refused(|tree| tree.at(MEMORY).unset("reg")),
        BootError::MissingProperty(name, "reg")
    );
    assert_eq!(refused(|tree| tree.at(MEMORY).set("status", b"disabled\0")), BootError::NoMemory);
    let scattered =
        |count: u64| (0..count).flat_map(|n| [GIB + n * 0x4000, 0x1000]).collect::<Vec<_>>();
    assert_eq!(memory(&scattered(32)).unwrap().memory.total(), 32 * 0x1000);
    assert_eq!(memory(&scattered(33)), Err(BootError::TooManyMemoryRanges(name)));
}

#[test]
fn an_overlap_names_the_second_node() {
    let error = refused(|tree| {
        let second = Tree::new("memory@7ffff000")
            .with("device_type", b"memory\0")
            .with("reg", &numbers(&[0x7fff_f000, 0x2000]));
        tree.children.push(second);
    });
    assert_eq!(error, BootError::MemoryOverlap(node("memory@7ffff000")));
}

#[test]
fn reserved_memory_is_collected() {
    let mut tree = small_machine();
    let child = |name: &str, reg: &[u64]| Tree::new(name).with("reg", &numbers(reg));
    tree.children.push(
        Tree::new("reserved-memory")
            .with("#address-cells", &cells(&[2]))
            .with("#size-cells", &cells(&[2]))
            .with("ranges", b"")
            .with_child(child("firmware@50000000", &[0x5000_0000, 0x1800]).with("no-map", b""))
            .with_child(child("off@51000000", &[0x5100_0000, 0x1000]).with("status", b"disabled\0"))
            .with_child(Tree::new("pool").with("size", &numbers(&[0x10_0000]))),
    );
    let info = machine(&tree.write_with(&[(0x4800_0800, 0x1000)])).unwrap();
    assert_eq!(
        &*info.reserved,
        &[
            ReservedRange { range: range(0x4800_0000, 0x2000), no_map: false },
            ReservedRange { range: range(0x5000_0000, 0x2000), no_map: true },
        ]
    );
    tree.at("reserved-memory").children[0].set("reg", &numbers(&[0x5000_0000, u64::MAX]));
    assert_eq!(machine(&tree.write()), Err(BootError::ReservedWraps(node("firmware@50000000"))));
    let wraps = small_machine().write_with(&[(u64::MAX, 2)]);
    assert_eq!(machine(&wraps), Err(BootError::ReservationWraps(u64::MAX)));
    let many: Vec<_> = (0..65).map(|n| (0x4800_0000 + n * 0x2000, 0x1000)).collect();
    assert!(machine(&small_machine().write_with(&many[1..])).is_ok());
    assert_eq!(machine(&small_machine().write_with(&many)), Err(BootError::TooManyReserved));
}

#[test]
fn the_initrd_has_two_ends() {
    let with_initrd = |start: &[u8], end: &[u8]| {
        changed(|tree| {
            tree.at("chosen").set("linux,initrd-start", start);
            tree.at("chosen").set("linux,initrd-end", end);
        })
        .map(|info| info.initrd)
    };
    let initrd = Ok(Some(range(0x4800_0000, 0x123)));
    assert_eq!(with_initrd(&cells(&[0x4800_0000]), &cells(&[0x4800_0123])), initrd);
    assert_eq!(with_initrd(&numbers(&[0x4800_0000]), &cells(&[0x4800_0123])), initrd);
    assert_eq!(with_initrd(&cells(&[0]), &cells(&[0])), Ok(None));
    for (start, end) in [(1, 0), (0x4800_0123, 0x4800_0000), (u64::MAX - 1, u64::MAX)] {
        assert_eq!(with_initrd(&numbers(&[start]), &numbers(&[end])), Err(BootError::BadInitrd));
    }
    assert_eq!(with_initrd(b"text", &cells(&[1, 2, 3])), Err(BootError::BadInitrd));
    for name in ["linux,initrd-start", "linux,initrd-end"] {
        assert_eq!(refused(|tree| tree.at("chosen").set(name, &cells(&[1]))), BootError::BadInitrd);
    }
}

#[test]
fn cpus_that_make_no_sense_are_refused() {
    let cpu = |change: fn(&mut Tree)| changed(|tree| change(tree.at("cpus").at("cpu@1")));
    let name = node("cpu@1");
    assert_eq!(cpu(|cpu| cpu.set("reg", &cells(&[0]))), Err(BootError::DuplicateCpu(name)));
    let bad = Err(BootError::BadProperty(name, "reg"));
    assert_eq!(cpu(|cpu| cpu.set("reg", &cells(&[0x8000_0000]))), bad);
    assert_eq!(cpu(|cpu| cpu.set("reg", &cells(&[1, 2]))), bad);
    assert_eq!(cpu(|cpu| cpu.unset("reg")), Err(BootError::MissingProperty(name, "reg")));
    let method = Err(BootError::CpuEnableMethod(name));
    assert_eq!(cpu(|cpu| cpu.set("enable-method", b"spin-table\0")), method);
    assert_eq!(cpu(|cpu| cpu.unset("enable-method")), method);
    // A failed CPU is none, a disabled one may come up later.
    assert_eq!(cpu(|cpu| cpu.set("status", b"fail\0")).unwrap().cpus.len(), 1);
    assert_eq!(cpu(|cpu| cpu.set("status", b"disabled\0")).unwrap().cpus.len(), 2);
    assert_eq!(refused(|tree| tree.at("cpus").children.clear()), BootError::NoCpus);
    let crowd = |count: u32| {
        changed(|tree| {
            let model = tree.at("cpus").children[0].clone();
            let numbered = |n: u32| model.clone().with("reg", &cells(&[n]));
            tree.at("cpus").children = (0..count).map(numbered).collect();
        })
    };
    assert_eq!(crowd(32).unwrap().cpus.len(), MAX_CPUS);
    assert_eq!(crowd(33), Err(BootError::TooManyCpus(node("cpu@0"))));
}

#[test]
fn cpu_numbers_of_two_cells_are_read() {
    let info = changed(|tree| {
        let cpus = tree.at("cpus");
        cpus.set("#address-cells", &cells(&[2]));
        cpus.at("cpu@0").set("reg", &numbers(&[0]));
        cpus.at("cpu@1").set("reg", &numbers(&[0x12_0003_0201]));
    });
    assert_eq!(info.unwrap().cpus[1].mpidr, 0x12_0003_0201);
}

#[test]
fn psci_is_needed_with_two_cpus_only() {
    let name = node("psci");
    assert_eq!(refused(|tree| tree.remove("psci")), BootError::NoPsci);
    assert_eq!(
        refused(|tree| tree.at("psci").set("compatible", b"arm,psci\0")),
        BootError::PsciTooOld(name)
    );
    assert_eq!(
        refused(|tree| tree.at("psci").unset("method")),
        BootError::MissingProperty(name, "method")
    );
    assert_eq!(
        refused(|tree| tree.at("psci").set("method", b"smc")),
        BootError::BadProperty(name, "method")
    );
    let alone = changed(|tree| {
        tree.remove("psci");
        tree.at("cpus").remove("cpu@1");
        tree.at("cpus").at("cpu@0").unset("enable-method");
    });
    assert_eq!(alone.unwrap().psci, None);
}

#[test]
fn an_interrupt_controller_that_makes_no_sense_is_refused() {
    let name = node("intc@8000000");
    let gic = |change: fn(&mut Tree)| changed(|tree| change(tree.at("intc@8000000")));
    assert_eq!(machine(testing::GICV2), Err(BootError::GicTooOld(node("intc@8000000"))));
    assert_eq!(refused(|tree| tree.remove("intc@8000000")), BootError::NoGic);
    assert_eq!(gic(|gic| gic.set("status", b"disabled\0")), Err(BootError::NoGic));
    let bad = |property| Err(BootError::BadProperty(name, property));
    assert_eq!(gic(|gic| gic.unset("reg")), bad("reg"));
    assert_eq!(gic(|gic| gic.set("reg", &numbers(&[0x800_0000, 0x1_0000]))), bad("reg"));
    let regions = "#redistributor-regions";
    assert_eq!(gic(|gic| gic.set("#redistributor-regions", &cells(&[2]))), bad("reg"));
    assert_eq!(gic(|gic| gic.set("#redistributor-regions", &cells(&[0]))), bad(regions));
    assert_eq!(gic(|gic| gic.set("#redistributor-regions", &cells(&[u32::MAX]))), bad("reg"));
    assert_eq!(gic(|gic| gic.set("#interrupt-cells", &cells(&[2]))), bad("#interrupt-cells"));
    assert_eq!(
        gic(|gic| gic.unset("#interrupt-cells")),
        Err(BootError::MissingProperty(name, "#interrupt-cells"))
    );
    assert_eq!(gic(|gic| gic.set("interrupts", &cells(&[1]))), bad("interrupts"));
    let not_ppi = Err(BootError::NotPrivateInterrupt(name));
    assert_eq!(gic(|gic| gic.set("interrupts", &cells(&[0, 9, 4]))), not_ppi);
    assert_eq!(gic(|gic| gic.set("interrupts", &cells(&[1, 16, 4]))), not_ppi);
    assert_eq!(gic(|gic| gic.unset("interrupts")).unwrap().gic.maintenance, None);
    let many = |count: u32| {
        changed(|tree| {
            let frames = (0..=u64::from(count)).flat_map(|n| [0x800_0000 + n * 0x4_0000, 0x4_0000]);
            let gic = tree.at("intc@8000000");
            gic.set("reg", &numbers(&frames.collect::<Vec<_>>()));
            gic.set("#redistributor-regions", &cells(&[count]));
        })
    };
    assert_eq!(many(8).unwrap().gic.redistributors.len(), 8);
    assert_eq!(many(9), Err(BootError::TooManyRedistributors(name)));
    assert_eq!(
        refused(|tree| {
            // On a bus that maps nothing.
            let gic = tree.at("intc@8000000").clone();
            tree.remove("intc@8000000");
            let bus = Tree::new("bus").with("#size-cells", &cells(&[2])).with_child(gic);
            tree.children.push(bus);
        }),
        BootError::NotAddressable(name)
    );
}

#[test]
fn timer_interrupts_go_by_name_or_place() {
    let timer = |change: fn(&mut Tree)| changed(|tree| change(tree.at("timer")));
    let named = timer(|timer| {
        timer.set("interrupt-names", b"virt\0hyp-virt\0phys\0");
        timer.set("interrupts", &cells(&[1, 1, 4, 1, 2, 4, 1, 3, 4]));
    });
    let named = named.unwrap().timer;
    assert_eq!((named.virtual_, named.hyp_virtual, named.physical), (17, Some(18), 19));
    assert_eq!((named.secure_physical, named.hyp_physical), (None, None));
    let bad = Err(BootError::BadProperty(node("timer"), "interrupts"));
    assert_eq!(timer(|timer| timer.set("interrupts", &cells(&[1, 13, 4, 1, 14, 4]))), bad);
    assert_eq!(timer(|timer| timer.set("interrupts", &cells(&[1]))), bad);
    assert_eq!(timer(|timer| timer.set("interrupt-names", b"phys\0")), bad);
    assert_eq!(
        timer(|timer| timer.set("interrupts", &cells(&[0, 13, 4]))),
        Err(BootError::NotPrivateInterrupt(node("timer")))
    );
    assert_eq!(
        timer(|timer| timer.unset("interrupts")),
        Err(BootError::MissingProperty(node("timer"), "interrupts"))
    );
    assert_eq!(refused(|tree| tree.remove("timer")), BootError::NoTimer);
}

#[test]
fn the_console_is_what_chosen_says_or_the_first_one() {
    let second = Tree::new("serial@a000000")
        .with("compatible", b"arm,pl011\0")
        .with("reg", &numbers(&[0xa00_0000, 0x1000]));
    let console = |stdout: Option<&str>, change: fn(&mut Tree)| {
        let info = changed(|tree| {
            tree.children.insert(0, second.clone());
            match stdout {
                Some(path) => tree.at("chosen").set("stdout-path", path.as_bytes()),
                None => tree.at("chosen").unset("stdout-path"),
            }
            change(tree);
        });
        info.unwrap().console.map(|console| console.registers.start())
    };
    let (first, chosen) = (Some(0xa00_0000), Some(0x1900_0000));
    assert_eq!(console(Some("uart0:115200n8\0"), |_| {}), chosen);
    assert_eq!(console(Some("uart0\0"), |_| {}), chosen);
    assert_eq!(console(Some("/soc/serial@9000000:9600\0"), |_| {}), chosen);
    for unknown in ["uart9\0", "/nowhere\0", "/psci\0", "", "uart0", ":\0"] {
        assert_eq!(console(Some(unknown), |_| {}), first, "{unknown}");
    }
    assert_eq!(console(None, |_| {}), first);
    assert_eq!(console(None, |tree| tree.remove("chosen")), first);
    assert_eq!(console(Some("uart0\0"), |tree| tree.remove("aliases")), first);
    assert_eq!(console(Some("uart0\0"), |tree| tree.at("soc").unset("ranges")), None);
    assert_eq!(changed(|tree| tree.remove("soc")).unwrap().console, None);
}

/// The small machine with one more device at the root.
fn device(reg: &[u64]) -> Result<MachineInfo, BootError> {
    changed(|tree| tree.children.push(Tree::new("device@0").with("reg", &numbers(reg))))
}

#[test]
fn devices_never_share_a_page_with_memory() {
    let overlap = Err(BootError::DeviceOverlapsMemory(node("device@0")));
    for start in [GIB - 0x1000 + 1, GIB, GIB + 0x1234, 2 * GIB - 1] {
        assert_eq!(device(&[start, 0x1000]), overlap, "{start:#x}");
    }
    assert!(device(&[GIB - 0x1000, 0x1000, 2 * GIB, 1]).is_ok());
    assert_eq!(device(&[0, 1 << 50]), overlap);
    // Not even a page that is memory only in part.
    let partly = changed(|tree| {
        tree.at(MEMORY).set("reg", &numbers(&[GIB, GIB - 0x800]));
        let device = Tree::new("device@7ffffc00").with("reg", &numbers(&[2 * GIB - 0x400, 0x400]));
        tree.children.push(device);
    });
    assert_eq!(partly, Err(BootError::DeviceOverlapsMemory(node("device@7ffffc00"))));
    let window = refused(|tree| {
        let ranges = cells(&[0x200_0000, 0, 0, 0, 0x7fff_f000, 0, 0x1000]);
        tree.at("pcie@10000000").set("ranges", &ranges);
    });
    assert_eq!(window, BootError::DeviceOverlapsMemory(node("pcie@10000000")));
}

#[test]
fn devices_that_cannot_be_are_refused_or_left_out() {
    let wraps = Err(BootError::DeviceWraps(node("device@0")));
    assert_eq!(device(&[u64::MAX, 2]), wraps);
    assert_eq!(device(&[1 << 52, 0x1000]), wraps);
    let plain = changed(|_| {}).unwrap().devices;
    assert_eq!(device(&[0x3000_0000, 0]).unwrap().devices, plain);
    let scattered: Vec<u64> = (0..60).flat_map(|n| [0x3000_0000 + n * 0x4000, 8]).collect();
    assert_eq!(device(&scattered[2..]).unwrap().devices.as_slice().len(), MAX_DEVICE_RANGES);
    assert_eq!(device(&scattered), Err(BootError::TooManyDeviceRanges(node("device@0"))));
    let plain = changed(|tree| tree.at("pcie@10000000").set("ranges", b"")).unwrap().devices;
    // Disabled devices, those below PCI, and those behind a bus that maps nothing.
    let left_out = changed(|tree| {
        let device = |name: &str| Tree::new(name).with("reg", &numbers(&[0x3000_0000, 0x1000]));
        tree.children.push(device("off@30000000").with("status", b"disabled\0"));
        let function = Tree::new("device@1").with("reg", &cells(&[0, 0, 0x3000_0000, 0, 0x1000]));
        tree.at("pcie@10000000").children.push(function);
        tree.at("pcie@10000000").set("ranges", b"");
        let bus = Tree::new("i2c").with("#size-cells", &cells(&[2]));
        tree.children.push(bus.with_child(device("eeprom@30000000")));
    });
    assert_eq!(left_out.unwrap().devices, plain);
}

#[test]
fn frames_of_the_old_cpu_interface_are_nobodys() {
    let plain = changed(|_| {}).unwrap();
    let with_old = changed(|tree| {
        let old = [0x801_0000, 0x1_0000, 0x802_0000, 0x1_0000, 0x803_0000, 0x1_0000];
        let gic = tree.at("intc@8000000");
        let reg = [gic.get("reg").unwrap(), &numbers(&old)].concat();
        gic.set("reg", &reg);
    });
    assert_eq!(with_old.unwrap(), plain);
}

#[test]
fn ten_thousand_devices_end_in_a_message() {
    let error = refused(|tree| {
        for number in 0..10_000u64 {
            let reg = numbers(&[0x1_2000_0000 + number * 0x2000, 0x1000]);
            tree.children.push(Tree::new(&format!("device@{number}")).with("reg", &reg));
        }
    });
    assert_eq!(error, BootError::TooManyDeviceRanges(node("device@59")));
}

//! Places that are chosen, and loads that are refused.

use super::*;
use crate::fdt::Fdt;
use crate::machine::ReservedRange;
use crate::range::RangeSet;
use crate::testing::{self, small_machine};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn range(start: u64, size: u64) -> PhysRange {
    PhysRange::new(start, size).unwrap()
}

/// The small machine: 1 GiB at 1 GiB.
fn machine() -> MachineInfo {
    MachineInfo::from_fdt(&Fdt::new(&small_machine().write()).unwrap()).unwrap()
}

/// A hypervisor of 1 MiB and a kernel of 46 MiB behind it.
fn bundle() -> BundleHeader {
    let mut image = crate::image::ImageHeader {
        code0: 0,
        code1: 0,
        text_offset: 0,
        image_size: 48 * MIB,
        flags: crate::image::ImageFlags::REDOUBT,
        pe_offset: 0,
    }
    .emit()
    .to_vec();
    image.extend(b"REDOUBT1");
    for word in [MIB / 2, MIB, 2 * MIB, 44 * MIB, 46 * MIB, 0, 0] {
        image.extend(word.to_le_bytes());
    }
    BundleHeader::parse(&image).unwrap()
}

/// What QEMU does: image near the start of RAM, tree behind it.
fn inputs() -> Inputs {
    Inputs {
        load_base: GIB + 2 * MIB,
        bundle: bundle(),
        fdt_base: GIB + 64 * MIB,
        fdt_size: MIB,
        hyp_region_size: 17 * MIB,
        host_fdt_size: MIB + 1,
    }
}

#[test]
fn the_region_goes_to_the_top_and_the_tree_below_it() {
    let layout = plan(&machine(), &inputs()).unwrap();
    assert_eq!(layout.image, range(GIB + 2 * MIB, MIB));
    assert_eq!(layout.kernel, range(GIB + 4 * MIB, 46 * MIB));
    assert_eq!(layout.fdt, range(GIB + 64 * MIB, MIB));
    assert_eq!(layout.initrd, None);
    assert_eq!(layout.hyp, range(2 * GIB - 18 * MIB, 18 * MIB));
    assert_eq!(layout.host_fdt, range(layout.hyp.start() - MIB - 4096, MIB + 4096));
}

#[test]
fn eight_gibibytes_put_the_region_above_four() {
    let machine = MachineInfo::from_fdt(&Fdt::new(testing::CPUS8_8G).unwrap()).unwrap();
    let layout = plan(&machine, &inputs()).unwrap();
    assert_eq!(layout.hyp.end(), 9 * GIB);
}

#[test]
fn a_load_by_u_boot_is_planned() {
    let machine = MachineInfo::from_fdt(&Fdt::new(testing::U_BOOT).unwrap()).unwrap();
    let loaded = Inputs {
        load_base: 0x5000_0000,
        fdt_base: 0x7d9d_2000,
        fdt_size: 0x10_3000,
        hyp_region_size: 36 * MIB,
        host_fdt_size: 0x10_4000,
        ..inputs()
    };
    // 34 MiB are free above the initrd, which is reserved too; the tree lies below it.
    let layout = plan(&machine, &loaded).unwrap();
    assert_eq!(layout.hyp, range(0x7d80_0000 - 36 * MIB, 36 * MIB));
    assert_eq!(layout.host_fdt.end(), 2 * GIB);
}

#[test]
fn obstacles_at_the_top_are_stepped_over() {
    let mut machine = machine();
    machine.initrd = Some(range(2 * GIB - 20 * MIB - 5, 3 * MIB));
    let reserved = ReservedRange { range: range(2 * GIB - 60 * MIB, 4096), no_map: true };
    machine.reserved.push(reserved).unwrap();
    let layout = plan(&machine, &inputs()).unwrap();
    assert_eq!(layout.hyp, range(2 * GIB - 40 * MIB, 18 * MIB));
    // The gap above the initrd is large enough for the tree.
    assert_eq!(layout.host_fdt.end(), 2 * GIB);
}

#[test]
fn no_room_is_an_error() {
    let machine = machine();
    let with = |hyp_region_size, host_fdt_size| {
        plan(&machine, &Inputs { hyp_region_size, host_fdt_size, ..inputs() })
    };
    // What is free lies above the tree.
    let most = GIB - 65 * MIB - MIB;
    assert_eq!(with(most, MIB).unwrap().hyp.start(), GIB + 66 * MIB);
    assert_eq!(with(most + 1, MIB), Err(BootError::NoRoom(most + 1)));
    assert_eq!(with(u64::MAX, MIB), Err(BootError::NoRoom(u64::MAX)));
    assert_eq!(with(MIB, GIB), Err(BootError::NoRoom(GIB)));
    assert_eq!(with(0, MIB), Err(BootError::NoRoom(0)));
}

#[test]
fn a_region_is_never_made_of_two_ranges_of_memory() {
    let mut machine = machine();
    machine.memory = RangeSet::default();
    for range in [range(GIB, 512 * MIB), range(2 * GIB, 10 * MIB), range(3 * GIB - MIB, 17 * MIB)] {
        machine.memory.insert(range).unwrap();
    }
    let layout = plan(&machine, &inputs()).unwrap();
    assert_eq!(layout.hyp.end(), GIB + 512 * MIB);
    assert_eq!(layout.host_fdt.end(), 3 * GIB + 16 * MIB);
}

#[test]
fn loads_that_make_no_sense_are_refused() {
    use BootError::{Misaligned, OutsideMemory, Overlap};
    use Item::{Fdt, Image, Initrd, Kernel, Reserved};
    let base = inputs().load_base;
    let with = |change: &dyn Fn(&mut Inputs)| {
        let mut changed = inputs();
        change(&mut changed);
        plan(&machine(), &changed).expect_err("must be refused")
    };
    assert_eq!(with(&|i| i.load_base = base + 4096), Misaligned(Image, base + 4096));
    assert_eq!(with(&|i| i.fdt_base = base + 4), Misaligned(Fdt, base + 4));
    assert_eq!(with(&|i| i.load_base = 0), OutsideMemory(Image, 0));
    let last = 0u64.wrapping_sub(2 * MIB);
    assert_eq!(with(&|i| i.load_base = last), OutsideMemory(Image, last));
    let cut = 2 * GIB - 46 * MIB;
    assert_eq!(with(&|i| i.load_base = cut), OutsideMemory(Kernel, cut + 2 * MIB));
    for size in [0, u64::MAX] {
        assert_eq!(with(&|i| i.fdt_size = size), OutsideMemory(Fdt, inputs().fdt_base));
    }
    assert_eq!(with(&|i| i.fdt_base = base), Overlap(Image, Fdt));
    assert_eq!(with(&|i| i.fdt_base = base + 47 * MIB), Overlap(Kernel, Fdt));

    let machine_with = |change: &dyn Fn(&mut MachineInfo)| {
        let mut changed = machine();
        change(&mut changed);
        plan(&changed, &inputs())
    };
    let initrd = |start, size| machine_with(&|m| m.initrd = Some(range(start, size)));
    assert_eq!(initrd(base, 1), Err(Overlap(Image, Initrd)));
    assert_eq!(initrd(base + 48 * MIB - 1, 1), Err(Overlap(Kernel, Initrd)));
    assert_eq!(initrd(GIB + 65 * MIB - 1, MIB), Err(Overlap(Fdt, Initrd)));
    assert_eq!(initrd(2 * GIB - 1, 2), Err(OutsideMemory(Initrd, 2 * GIB - 1)));
    assert!(initrd(base + 48 * MIB, MIB).is_ok());

    let reserve = |start, no_map| {
        machine_with(&|m| {
            m.reserved.push(ReservedRange { range: range(start, 4096), no_map }).unwrap();
        })
    };
    for no_map in [false, true] {
        assert_eq!(reserve(base, no_map), Err(Overlap(Image, Reserved)));
        assert_eq!(reserve(base + 47 * MIB, no_map), Err(Overlap(Kernel, Reserved)));
    }
    assert_eq!(reserve(GIB + 64 * MIB, true), Err(Overlap(Fdt, Reserved)));
    // Loaders reserve the tree that they pass.
    assert!(reserve(GIB + 64 * MIB, false).is_ok());
}

#[test]
fn a_tree_in_flash_is_good_enough() {
    let flash = Inputs { fdt_base: 0x1000, ..inputs() };
    assert_eq!(plan(&machine(), &flash).unwrap().fdt, range(0x1000, MIB));
}

proptest! {
    /// Whatever lies where: if there is a plan, nothing in it lies on anything else.
    #[test]
    fn plans_keep_everything_apart(
        memory in prop::collection::vec((0u64..4096, 1u64..1024), 1..8),
        load in 0u64..2048,
        fdt in 0u64..4096,
        initrd in prop::option::of((0u64..0x1_0000_0000, 1u64..0x800_0000)),
        reserved in prop::collection::vec((0u64..0x10_0000, 1u64..0x4000), 0..8),
        sizes in (1u64..0x400_0000, 1u64..0x20_0000),
    ) {
        let mut machine = machine();
        machine.memory = RangeSet::default();
        for (start, size) in memory {
            machine.memory.insert(range(start * MIB, size * MIB)).unwrap();
        }
        machine.initrd = initrd.map(|(start, size)| range(start, size));
        for (page, pages) in reserved {
            let range = range(page * 4096, pages * 4096);
            machine.reserved.push(ReservedRange { range, no_map: false }).unwrap();
        }
        let inputs = Inputs {
            load_base: load * 2 * MIB,
            fdt_base: fdt * MIB,
            hyp_region_size: sizes.0,
            host_fdt_size: sizes.1,
            ..inputs()
        };
        if let Ok(layout) = plan(&machine, &inputs) {
            prop_assert!(layout.hyp.start() % BLOCK_SIZE == 0 && layout.hyp.size() % BLOCK_SIZE == 0);
            prop_assert!(layout.hyp.size() >= sizes.0 && layout.host_fdt.size() >= sizes.1);
            let parts: Vec<PhysRange> =
                [layout.image, layout.kernel, layout.fdt, layout.hyp, layout.host_fdt]
                    .into_iter()
                    .chain(layout.initrd)
                    .collect();
            for (index, part) in parts.iter().enumerate() {
                prop_assert!(index == 2 || machine.memory.contains(part));
                prop_assert!(parts[..index].iter().all(|other| !other.overlaps(part)));
            }
            for reserved in machine.reserved.iter() {
                for part in [layout.hyp, layout.host_fdt, layout.image, layout.kernel] {
                    prop_assert!(!reserved.range.overlaps(&part));
                }
            }
            // Highest: every 2 MiB step up leaves RAM or hits something.
            let mut above = layout.hyp.start() + BLOCK_SIZE;
            while above < 6 * GIB {
                let higher = range(above, layout.hyp.size());
                let hit = parts.iter().enumerate()
                    .filter(|(index, _)| !matches!(*index, 3 | 4))
                    .any(|(_, part)| part.overlaps(&higher));
                let hit = hit || machine.reserved.iter().any(|r| r.range.overlaps(&higher));
                prop_assert!(hit || !machine.memory.contains(&higher));
                above += BLOCK_SIZE;
            }
        }
    }
}

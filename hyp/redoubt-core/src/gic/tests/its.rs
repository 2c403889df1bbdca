//! The ITS: registers, tables, commands, both queues.

use super::*;
use crate::addr::Pfn;
use crate::hw::TableMemory;
use crate::refusal::Refusal;
use crate::transition::State;

const ITT_ADDRESS: u64 = ITT << 12;

fn probed() -> Machine {
    let mut machine = Machine::new();
    machine.probe();
    machine.enable_lpis(0);
    machine
}

impl Machine {
    /// Returns the translation table that ITS 0 knows for a device.
    fn table(&self, device: u32) -> Option<PageRange> {
        self.hw.its[0].translations(device)
    }

    /// Returns the devices that it may know, and the first page of their tables.
    fn listed(&self) -> Vec<(u32, u64)> {
        let devices = self.guard.shared.devices.iter().flatten();
        let mut listed: Vec<_> =
            devices.map(|device| (device.id, device.table.start().raw())).collect();
        listed.sort_unstable();
        listed
    }
}

#[test]
fn a_stock_driver_works_and_a_second_one_after_it() {
    let mut machine = probed();
    machine.post(&[[9, 0, VALID | (5 << 16) | 3, 0], [5, 0, 5 << 16, 0]]);
    machine.post(&[[0xd, 0, 3, 0], [5, 0, 5 << 16, 0]]);
    machine.post(&[mapd(8, ITT_ADDRESS + 0x100, 5)]);
    machine.post(&[mapti(8, 0, 8192), [5, 0, 5 << 16, 0]]);
    machine.post(&[[0xc | (8 << 32), 0, 0, 0], [5, 0, 5 << 16, 0]]);
    assert_eq!(machine.guard.refusals(), 0);
    assert_eq!((machine.table(8), machine.pins(ITT)), (Some(pages(TABLES, 1)), 0));
    machine.check_exact();
    // Nobody else gets what hardware uses.
    for page in [COMMANDS + 15, PROPERTIES + 13, PENDING + 1] {
        let given = machine.host.donate_hyp(&mut machine.hw, pages(page, 1), Contents::Zero);
        assert_eq!(given, Err(Refusal::Pinned), "{page:#x}");
    }
    // A new kernel finds it on, with a device mapped.
    machine.probe();
    assert_eq!(machine.table(8), None);
    machine.post(&[mapd(8, ITT_ADDRESS, 5)]);
    assert_eq!(machine.guard.refusals(), 0);
    machine.post(&[unmapd(8)]);
    machine.check_exact();
    machine.tear_down();
}

#[test]
fn a_suspend_keeps_tables_and_devices() {
    let mut machine = probed();
    machine.post(&[mapd(8, ITT_ADDRESS, 5), mapti(8, 0, 8192)]);
    let tables = [0x100, 0x108].map(|offset| machine.read(ITS, offset));
    let queue = machine.read(ITS, 0x80);
    machine.write32(ITS, 0x0, 0);
    let entry = machine.hw.read(Pfn::new(DEVICES).unwrap().base(), 8);
    // Power goes.
    let its = &mut machine.hw.its[0];
    let fresh = ItsModel::new();
    (its.baser, its.cbaser, its.creadr, its.cwriter) = (fresh.baser, 0, 0, 0);
    machine.hw.fake.take_log();
    machine.write(ITS, 0x80, queue);
    machine.write(ITS, 0x88, 0);
    let states = machine.host.frames().entries().to_vec();
    // Hardware takes tables that are zeroed, as far as the model knows, or that it had.
    for (offset, value) in [(0x100, tables[0]), (0x108, tables[1])] {
        machine.write(ITS, offset, value);
        assert_eq!(machine.read(ITS, offset), value);
    }
    assert!(states == machine.host.frames().entries());
    let kept = machine.hw.read(Pfn::new(DEVICES).unwrap().base(), 8);
    assert_eq!((entry, kept), (VALID | (TABLES << 12) | 4, entry));
    machine.write32(ITS, 0x0, 1);
    machine.post(&[mapti(8, 1, 8193), unmapd(8)]);
    assert_eq!(machine.guard.refusals(), 0);
    machine.tear_down();
}

#[test]
fn what_is_no_register_reads_as_zero() {
    let mut machine = probed();
    let known = |offset: u32| matches!(offset, 0..0x10 | 0x80..0x98 | 0x100..0x140);
    for offset in (0..0x1000).step_by(4).chain([0xff8, 0xfffc, u32::MAX - 3]) {
        for bytes in [4, 8].into_iter().filter(|_| !known(offset)) {
            let mmio = Mmio { offset, bytes, write: None };
            assert_eq!(machine.access(ITS, mmio), 0);
            assert_eq!(machine.access(ITS, Mmio { write: Some(u64::MAX), ..mmio }), 0);
        }
    }
    // Wrong sizes, or not aligned.
    for offset in 0..0x140 {
        for bytes in [0, 1, 2, 3, 16, 255] {
            assert_eq!(machine.access(ITS, Mmio { offset, bytes, write: None }), 0);
            assert_eq!(machine.access(ITS, Mmio { offset, bytes, write: Some(0) }), 0);
        }
        if !offset.is_multiple_of(4) {
            assert_eq!(machine.access(ITS, Mmio { offset, bytes: 4, write: None }), 0);
        }
        if !offset.is_multiple_of(8) || offset < 8 {
            assert_eq!(machine.access(ITS, Mmio { offset, bytes: 8, write: Some(0) }), 0);
        }
    }
    // No such frame.
    for frame in [RegisterFrame::Its(7), RegisterFrame::Its(255), RegisterFrame::Smmu(0)] {
        assert_eq!(machine.read(frame, 8), 0);
        machine.write(frame, 0x80, VALID);
    }
    assert_eq!(machine.guard.refusals(), 0);
    machine.check_exact();
    machine.tear_down();
}

#[test]
fn registers_show_nothing_of_gicv4_and_can_be_read_in_halves() {
    let mut machine = probed();
    assert_eq!(machine.hw.its[0].typer & 2, 2);
    let typer = machine.read(ITS, 0x8);
    assert_eq!(typer, (15 << 13) | (15 << 8) | (7 << 4) | 1);
    assert_eq!(machine.read32(ITS, 0x8), typer & 0xffff_ffff);
    assert_eq!(machine.read32(ITS, 0xc), typer >> 32);
    assert_eq!(machine.read32(ITS, 0x4), 0x43b);
    // Tables of virtual CPUs, and those that are not there.
    for offset in [0x110, 0x118, 0x138] {
        machine.write32(ITS, 0x0, 0);
        machine.write(ITS, offset, VALID | (ITT << 12));
        assert_eq!(machine.read(ITS, offset), 0);
    }
    // Read-only ones.
    machine.write(ITS, 0x8, u64::MAX);
    machine.write(ITS, 0x90, 0x40);
    machine.write32(ITS, 0x4, 0);
    assert_eq!((machine.read(ITS, 0x8), machine.read(ITS, 0x90)), (typer, 0));
    // A queue, half by half.
    machine.write(ITS, 0x80, 0);
    machine.write32(ITS, 0x80, (COMMANDS << 12) | 3);
    assert_eq!(machine.pins(COMMANDS), 0);
    machine.write32(ITS, 0x84, VALID >> 32);
    assert_eq!(machine.read(ITS, 0x80), VALID | (COMMANDS << 12) | 3);
    assert_eq!((machine.pins(COMMANDS + 3), machine.pins(COMMANDS + 4)), (1, 0));
    // A table, too.
    machine.write(ITS, 0x100, 0);
    machine.write32(ITS, 0x100, DEVICES << 12);
    machine.write32(ITS, 0x104, VALID >> 32);
    assert_eq!(machine.read(ITS, 0x100), VALID | (1 << 56) | (7 << 48) | (DEVICES << 12));
    assert_eq!(machine.guard.refusals(), 0);
    machine.check_exact();
    machine.tear_down();
}

#[test]
fn it_is_turned_on_with_tables_and_a_queue_only() {
    let mut machine = Machine::new();
    machine.refused(ITS, 0x0, 1);
    machine.write(ITS, 0x80, VALID | (COMMANDS << 12));
    machine.refused(ITS, 0x0, 1);
    machine.set_table(0, DEVICES, 128);
    machine.refused(ITS, 0x0, 1);
    machine.set_table(1, COLLECTIONS, 16);
    machine.write32(ITS, 0x0, u64::from(u32::MAX));
    assert_eq!(machine.read32(ITS, 0x0), 1);
    // While it is on, nothing that it uses changes.
    machine.refused(ITS, 0x100, 0);
    machine.refused(ITS, 0x80, 0);
    machine.refused(ITS, 0x80, VALID | (ITT << 12));
    // Nor while it stops; nor may it be turned on then.
    machine.hw.its[0].stops_after = 20;
    machine.write32(ITS, 0x0, 0);
    machine.refused(ITS, 0x108, 0);
    machine.refused(ITS, 0x80, 0);
    machine.refused(ITS, 0x0, 1);
    machine.tear_down();
}

#[test]
fn a_table_is_the_hosts_to_give_or_it_is_refused() {
    let mut machine = Machine::new();
    machine.host.pin(pages(ITT + 700, 1)).unwrap();
    let table = |page: u64, units: u64, size: u64| VALID | (page << 12) | (size << 8) | (units - 1);
    let host_end = RAM + HOST_PAGES;
    for value in [
        // EL2's; the last page is EL2's; no RAM; beyond the widest address, and wrapping.
        table(CARVE, 1, 0),
        table(host_end - 1, 2, 0),
        table(host_end - 16, 2, 2),
        table(0x9000, 1, 0),
        table(RAM - 1, 2, 0),
        table(0xf_ffff_fff0, 256, 2),
        // Pinned, in the second part that would be taken.
        table(ITT, 176, 1),
        // Not aligned; with 64 KiB pages, an address of 52 bits.
        table(ITT + 1, 1, 1),
        table(ITT + 1, 1, 2),
    ] {
        machine.refused(ITS, 0x100, value);
        assert_eq!(machine.read(ITS, 0x100) & VALID, 0, "{value:#x}");
        machine.refused(ITS, 0x108, value);
    }
    // A page that is used already.
    machine.set_table(1, COLLECTIONS, 16);
    machine.refused(ITS, 0x100, table(COLLECTIONS + 15, 1, 0));
    machine.host.unpin(pages(ITT + 700, 1)).unwrap();
    machine.check_exact();
    machine.tear_down();
}

#[test]
fn a_large_table_is_taken_in_parts_and_comes_back() {
    let mut machine = Machine::new();
    let size = 2 * MAX_PAGES_PER_CALL + 16;
    let value = VALID | COHERENT | (1 << 56) | (7 << 48) | (2 << 8) | ((RAM + 512) << 12);
    machine.write(ITS, 0x100, value | (size / 16 - 1));
    assert_eq!(machine.read(ITS, 0x100), value | (size / 16 - 1));
    machine.check_exact();
    // Another one in its place: the old one comes back.
    machine.write(ITS, 0x100, value);
    assert_eq!(machine.host.frame(Pfn::new(RAM + 528).unwrap()).unwrap().state, State::Host);
    machine.check_exact();
    // A refused one leaves none.
    machine.write(ITS, 0x100, VALID | (CARVE << 12));
    assert_eq!((machine.read(ITS, 0x100) & VALID, machine.guard.refusals()), (0, 1));
    machine.check_exact();
    machine.tear_down();
}

#[test]
fn the_page_size_is_what_hardware_has() {
    for (sticks, size) in [(0u64, 4096u64), (1 << 8, 16384), (2 << 8, 65536)] {
        let mut machine = Machine::with(|hw| hw.its[0].page_bits = std::vec![sticks]);
        machine.probe();
        assert_eq!(machine.hw.its[0].table(0).unwrap().pages(), 128);
        machine.write32(ITS, 0x0, 0);
        machine.write(ITS, 0x100, 0);
        // Whatever the host asks for.
        for asked in 0..4 {
            machine.write(ITS, 0x100, VALID | (asked << 8) | (DEVICES << 12));
            assert_eq!(machine.read(ITS, 0x100) & (VALID | 0x300), VALID | sticks);
            assert_eq!(machine.hw.its[0].table(0).unwrap().bytes(), size);
            machine.check_exact();
        }
        machine.tear_down();
    }
}

#[test]
fn a_command_queue_is_the_hosts_or_it_is_refused() {
    let mut machine = Machine::new();
    for value in [
        VALID | (CARVE << 12),
        VALID | ((RAM + HOST_PAGES - 1) << 12) | 1,
        VALID | (0x9000 << 12),
        VALID | 0xf_ffff_ffff_f000,
        VALID | (1 << 48),
    ] {
        machine.refused(ITS, 0x80, value);
    }
    machine.refused(ITS, 0x88, 0);
    machine.write(ITS, 0x80, !0xf_ffff_ffff_f0ff | VALID | (RAM << 12) | 255);
    assert_eq!(machine.read(ITS, 0x80), 0xb8e0_0000_0000_0c00 | (RAM << 12) | 255);
    assert_eq!((machine.pins(RAM), machine.pins(RAM + 255), machine.pins(RAM + 256)), (1, 1, 0));
    // Another one that overlaps, then a refused one.
    machine.write(ITS, 0x80, VALID | ((RAM + 255) << 12) | 1);
    machine.check_exact();
    machine.refused(ITS, 0x80, VALID | (CARVE << 12));
    machine.check_exact();
    // GITS_CWRITER stays in the queue.
    machine.refused(ITS, 0x88, 0x2000);
    machine.refused(ITS, 0x88, 0xf_ffe0);
    machine.write(ITS, 0x88, 0xffff_ffff_fff0_1fff);
    assert_eq!(machine.read(ITS, 0x88), 0x1fe0);
    machine.tear_down();
}

#[test]
fn commands_are_reduced_to_their_fields() {
    let target = 5 << 16;
    let all = |opcode: u64| [!0xff | opcode, u64::MAX, u64::MAX, u64::MAX];
    let (device, event, icid) = (0xffff_ffff_0000_0000, 0xffff_ffff, 0xffff);
    let junk = !0xf_ffff_ffff_0000;
    // DeviceID is beyond the table, so hardware ignores it: what matters is what it gets.
    for (given, passed) in [
        (all(0x1), [device | 0x1, event, icid, 0]),
        (all(0x3), [device | 0x3, event, 0, 0]),
        (all(0x4), [device | 0x4, event, 0, 0]),
        ([!0xff | 5, u64::MAX, junk | target, u64::MAX], [5, 0, target, 0]),
        ([!0xff | 9, u64::MAX, junk | target, u64::MAX], [9, 0, VALID | target | icid, 0]),
        ([!0xff | 9, u64::MAX, !VALID, u64::MAX], [9, 0, icid, 0]),
        (
            [!0xff | 0xa, (0xffff << 32) | event, u64::MAX, u64::MAX],
            [device | 0xa, (0xffff << 32) | event, icid, 0],
        ),
        ([!0xff | 0xb, !event | 8192, u64::MAX, u64::MAX], [device | 0xb, 8192, icid, 0]),
        (all(0xc), [device | 0xc, event, 0, 0]),
        (all(0xd), [0xd, 0, icid, 0]),
        ([!0xff | 0xe, u64::MAX, junk | target, junk | (6 << 16)], [0xe, 0, target, 6 << 16]),
        (all(0xf), [device | 0xf, event, 0, 0]),
        ([!0xff | 8, u64::MAX, !VALID, u64::MAX], [device | 8, 0, 0, 0]),
        (
            [!0xff | 8, !0x1f | 4, VALID | (0x7ff << 52) | ITT_ADDRESS | 0x1ff, u64::MAX],
            [device | 8, 4, VALID | (TABLES << 12), 0],
        ),
    ] {
        let mut machine = probed();
        machine.enable_lpis(1);
        machine.post(&[given]);
        assert_eq!(machine.hw.its[0].log, [passed]);
        assert_eq!(machine.guard.refusals(), 0);
        machine.tear_down();
    }
}

#[test]
fn there_are_no_other_commands() {
    let mut machine = probed();
    let known = [1, 3, 4, 5, 8, 9, 0xa, 0xb, 0xc, 0xd, 0xe, 0xf];
    for opcode in (0..256).filter(|opcode| !known.contains(opcode)) {
        machine.refused_command([opcode, 0, 5 << 16, 5 << 16]);
        machine.refused_command([opcode, 0, VALID | ITT_ADDRESS, 5 << 16]);
    }
    machine.tear_down();
}

#[test]
fn commands_name_redistributors_that_there_are() {
    for physical in [false, true] {
        let mut machine = Machine::with(|hw| {
            hw.its[0].typer |= if physical { PTA } else { 0 };
        });
        machine.probe();
        assert_eq!(machine.read(ITS, 0x8) & PTA != 0, physical);
        let (numbers, addresses) = ([5 << 16, 8 << 16], [0x80a_0000, 0x810_0000]);
        let (good, bad) = if physical { (addresses, numbers) } else { (numbers, addresses) };
        for one in good {
            machine.post(&[[5, 0, one, 0], [9, 0, VALID | one, 0]]);
            good.iter().for_each(|two| machine.post(&[[0xe, 0, one, *two]]));
        }
        assert_eq!(machine.guard.refusals(), 0);
        let foreign = [ITT_ADDRESS, CARVE << 12, 0, 9 << 16, 0x80b_0000, 0xf_ffff_ffff_0000];
        for one in bad.into_iter().chain(foreign) {
            machine.refused_command([5, 0, one, 0]);
            machine.refused_command([9, 0, VALID | one, 0]);
            machine.refused_command([0xe, 0, one, good[0]]);
            machine.refused_command([0xe, 0, good[0], one]);
            // Nobody is told of a target that is not valid.
            machine.post(&[[9, 0, one, 0]]);
            assert_eq!(machine.hw.its[0].log.last(), Some(&[9, 0, one & 0xffff, 0]));
        }
        machine.tear_down();
    }
}

#[test]
fn translation_tables_are_el2s_wherever_the_host_wants_them() {
    let mut machine = probed();
    let end = (RAM + HOST_PAGES) << 12;
    let wanted = [CARVE << 12, QUEUE << 12, end - 0x100, 0x9000 << 12, 0, DEVICES << 12, 1 << 48];
    let states = machine.host.frames().entries().to_vec();
    for (device, table) in (0..).zip(wanted) {
        machine.post(&[mapd(device, table, 5)]);
        assert_eq!(machine.table(device), Some(pages(TABLES + u64::from(device), 1)));
    }
    assert!(states == machine.host.frames().entries(), "of the host's, nothing is pinned");
    // More events than GITS_TYPER says.
    machine.refused_command(mapd(9, ITT_ADDRESS, 17));
    machine.refused_command(mapd(9, ITT_ADDRESS, 32));
    assert_eq!(machine.hw.its[0].devices.len(), wanted.len());
    machine.tear_down();
    let mut machine = Machine::with(|hw| hw.its[0].typer ^= 8 << 8);
    machine.probe();
    machine.refused_command(mapd(9, ITT_ADDRESS, 9));
    machine.post(&[mapd(9, ITT_ADDRESS, 8)]);
    machine.tear_down();
}

#[test]
fn a_device_has_the_pages_that_its_events_need() {
    for (entry, bits, count) in [
        (8, 1, 1),
        (8, 9, 1),
        (8, 10, 2),
        (8, 12, 8),
        (8, 15, 64),
        (12, 8, 1),
        (12, 9, 2),
        (1, 13, 2),
        (16, 8, 1),
        (16, 9, 2),
    ] {
        let mut machine = Machine::with(|hw| {
            hw.its[0].typer = (hw.its[0].typer & !0xf0) | ((entry - 1) << 4);
        });
        machine.probe();
        machine.enable_lpis(0);
        machine.post(&[mapd(1, 0, bits), mapd(2, 0, 1)]);
        assert_eq!(machine.table(1), Some(pages(TABLES, count)), "{entry} {bits}");
        assert_eq!(machine.table(2), Some(pages(TABLES + count, 1)));
        // The last event, and the one behind it, which there is not.
        let last = (1 << bits) - 1;
        let at = (TABLES << 12) + last * entry;
        machine.post(&[mapti(1, last, 9000), mapti(1, last + 1, 9001), mapti(2, 0, 9002)]);
        let page = Pfn::new(at >> 12).unwrap().base();
        assert_eq!(machine.hw.read(page, (at & 0xfff) as usize / 8) & VALID, VALID);
        assert_eq!(machine.guard.refusals(), 0);
        machine.tear_down();
    }
}

#[test]
fn tables_that_are_free_again_are_used_again_zeroed() {
    let mut machine = probed();
    // 2, 1, 3 and 1 pages.
    machine.post(&[mapd(1, 0, 10), mapd(2, 0, 5), mapd(3, 0, 10), mapd(4, 0, 11), mapd(5, 0, 5)]);
    assert_eq!(machine.table(4), Some(pages(TABLES + 5, 4)));
    assert_eq!(machine.table(5), Some(pages(TABLES + 9, 1)));
    // The model checks that what is used again is zeroed.
    for device in 1..=5 {
        machine.post(&[mapti(device, 31, 8200), mapti(device, 1023, 8201)]);
    }
    // A hole of one page, which two pages do not fit into.
    machine.post(&[unmapd(2), mapd(6, 0, 10)]);
    assert_eq!(machine.table(6), Some(pages(TABLES + 10, 2)));
    machine.post(&[mapd(7, 0, 9)]);
    assert_eq!(machine.table(7), Some(pages(TABLES + 2, 1)));
    // Two holes side by side become one; the first that is large enough is taken.
    machine.post(&[unmapd(3), unmapd(4), mapd(8, 0, 12)]);
    assert_eq!(machine.table(8), Some(pages(TABLES + 12, 8)));
    machine.post(&[unmapd(1), mapd(9, 0, 11), mapd(10, 0, 10), mapd(11, 0, 10)]);
    assert_eq!(machine.table(9), Some(pages(TABLES + 3, 4)));
    assert_eq!(machine.table(10), Some(pages(TABLES, 2)));
    assert_eq!(machine.table(11), Some(pages(TABLES + 7, 2)));
    assert_eq!(machine.guard.refusals(), 0);
    machine.tear_down();
}

#[test]
fn a_device_for_which_there_is_no_room_is_refused_until_there_is() {
    let mut machine = Machine::with(|hw| hw.its[0].typer |= 0x1f << 8);
    machine.probe();
    machine.enable_lpis(0);
    // All pages but the queue's, and what is more than that; what is too much to count.
    for bits in [18, 25, 32] {
        machine.refused_command(mapd(3, ITT_ADDRESS, bits));
    }
    machine.post(&[mapd(3, ITT_ADDRESS, 17)]);
    assert_eq!(machine.table(3), Some(pages(TABLES, TABLE_PAGES)));
    machine.refused_command(mapd(4, ITT_ADDRESS, 1));
    machine.post(&[mapti(3, 0x1_ffff, 8192), unmapd(3), mapd(5, 0, 1), mapd(6, 0, 16)]);
    assert_eq!(machine.table(6), Some(pages(TABLES + 1, 128)));
    // Half of it is free, but for one page.
    machine.refused_command(mapd(7, 0, 16));
    machine.post(&[mapd(7, 0, 15), unmapd(5), unmapd(6), mapd(8, 0, 16)]);
    assert_eq!(machine.table(8), Some(pages(TABLES, 128)));
    assert_eq!(machine.guard.refusals(), 5);
    machine.check_exact();
    machine.tear_down();
}

#[test]
fn an_interrupt_is_an_lpi_that_the_tables_have_room_for() {
    let mut machine = Machine::new();
    machine.probe();
    let mapi = |event: u64| [0xb | (3 << 32), event, 1, 0];
    machine.post(&[mapd(3, ITT_ADDRESS, 16)]);
    // Nobody has LPIs yet.
    for interrupt in [0, 1, 2, 8191, 8192, 65535, 0xffff_ffff] {
        machine.refused_command(mapti(3, 0, interrupt));
        machine.refused_command(mapi(interrupt));
    }
    machine.enable_lpis(2);
    for interrupt in [0, 1, 8191, 0x1_0000, 0x1_0001, 0x8_0000, 0x8000_2000, 0xffff_ffff] {
        machine.refused_command(mapti(3, 8192, interrupt));
        machine.refused_command(mapi(interrupt));
    }
    let (count, good) = (machine.guard.refusals(), [8192, 8193, 0xffff]);
    for interrupt in good {
        machine.post(&[mapti(3, 0, interrupt), mapti(3, 0xffff, interrupt), mapi(interrupt)]);
    }
    // It stays so when LPIs are off, as it may be in a suspend.
    machine.write32(RegisterFrame::Redistributor(2), 0x0, 0);
    good.iter().for_each(|interrupt| machine.post(&[mapti(3, 5, *interrupt)]));
    assert_eq!(machine.guard.refusals(), count);
    machine.refused_command(mapti(3, 5, 0x1_0000));
    // More of them.
    machine.write(RD, 0x70, ((RAM + 512) << 12) | 16);
    machine.write(RD, 0x78, PENDING << 12);
    machine.write32(RD, 0x0, 1);
    machine.post(&[mapti(3, 5, 0x1_ffff)]);
    machine.refused_command(mapti(3, 5, 0x2_0000));
    machine.tear_down();
}

#[test]
fn interrupts_that_are_moved_stay_in_the_tables() {
    // With 14 bits, MOVI of a careless ITS goes up to 131071 instead of 16383.
    for id_bits in [13, 14, 15, 20] {
        let mut machine = Machine::new();
        machine.probe();
        let places = [(0u8, RAM + 1088), (1, RAM + 1184)];
        for (cpu, pending) in places {
            pages(pending, 64).iter().for_each(|page| machine.hw.zero(page.base()));
            let frame = RegisterFrame::Redistributor(cpu);
            machine.write(frame, 0x70, ((RAM + 512) << 12) | id_bits);
            machine.write(frame, 0x78, pending << 12);
            machine.write32(frame, 0x0, 1);
        }
        machine.post(&[mapc(0, 1), mapc(1, 0), mapc(2, 2), mapd(3, ITT_ADDRESS, 6)]);
        let end = 2u64 << id_bits;
        for interrupt in [end, 4 * end, 16 * end - 1] {
            machine.refused_command(mapti(3, 0, interrupt));
            // There is no such event, so nothing happens.
            machine.post(&[[3 | (3 << 32), 0, 0, 0], movi(3, 0, 0), movi(3, 0, 1)]);
        }
        let bit = |machine: &mut Machine, page: u64, interrupt: u64| {
            let page = Pfn::new(page + interrupt / 32768).unwrap().base();
            let word = machine.hw.read(page, (interrupt % 32768 / 64) as usize);
            word & (1 << (interrupt % 64)) != 0
        };
        // The first and the last are made pending, and moved, there and back.
        for (event, interrupt) in [(0, 8192), (1, end - 1)] {
            let pending = |machine: &mut Machine| places.map(|at| bit(machine, at.1, interrupt));
            machine.post(&[mapti(3, event, interrupt), [3 | (3 << 32), event, 0, 0]]);
            assert_eq!(pending(&mut machine), [true, false]);
            machine.post(&[movi(3, event, 0)]);
            assert_eq!(pending(&mut machine), [false, true]);
            machine.post(&[[0xe, 0, 6 << 16, 5 << 16]]);
            assert_eq!(pending(&mut machine), [true, false]);
            // To where LPIs are off, and with nothing pending.
            machine.post(&[movi(3, event, 2), movi(3, event, 0), [4 | (3 << 32), event, 0, 0]]);
            assert_eq!(pending(&mut machine), [true, false]);
            machine.post(&[movi(3, event, 1), [4 | (3 << 32), event, 0, 0], movi(3, event, 0)]);
            assert_eq!(pending(&mut machine), [false, false]);
            machine.post(&[[0xf | (3 << 32), event, 0, 0], movi(3, event, 0)]);
        }
        machine.tear_down();
    }
}

#[test]
fn a_device_that_is_mapped_again_is_unmapped_first() {
    let mut machine = probed();
    let (old, new) = (mapd(3, ITT_ADDRESS, 5), mapd(3, ITT_ADDRESS + 0x1000, 5));
    let mapped = mapd(3, TABLES << 12, 5);
    machine.post(&[old, mapti(3, 0, 8192), new, new, mapti(3, 0, 8192)]);
    let log = [mapped, mapti(3, 0, 8192), unmapd(3), mapped, unmapd(3), mapped, mapti(3, 0, 8192)];
    assert_eq!(machine.hw.its[0].log, log);
    // Its own pages are free for it.
    machine.post(&[mapd(4, 0, 15), mapd(5, 0, 16), mapd(4, 0, 15)]);
    assert_eq!((machine.table(4), machine.guard.refusals()), (Some(pages(TABLES + 1, 64)), 0));
    machine.check_exact();
    // A refused one leaves none.
    machine.post(&[mapd(3, ITT_ADDRESS, 17)]);
    assert_eq!((machine.guard.refusals(), machine.table(3)), (1, None));
    machine.check_exact();
    machine.tear_down();
}

#[test]
fn only_so_many_devices_are_mapped() {
    let mut machine = probed();
    for device in 0..MAX_DEVICES as u32 {
        machine.post(&[mapd(device, ITT_ADDRESS + u64::from(device) * 256, 5)]);
    }
    assert_eq!(machine.guard.refusals(), 0);
    machine.refused_command(mapd(MAX_DEVICES as u32, ITT_ADDRESS, 5));
    machine.post(&[unmapd(7), mapd(MAX_DEVICES as u32, ITT_ADDRESS, 5)]);
    machine.check_exact();
    machine.tear_down();
}

#[test]
fn devices_of_two_itss_do_not_mix() {
    let mut machine = probed();
    let other = RegisterFrame::Its(1);
    machine.write(other, 0x80, VALID | ((COMMANDS + 64) << 12));
    machine.write(other, 0x100, VALID | ((RAM + 600) << 12));
    machine.write(other, 0x108, VALID | ((RAM + 601) << 12));
    machine.write32(other, 0x0, 1);
    machine.post(&[mapd(3, ITT_ADDRESS, 5)]);
    let queue = Pfn::new(COMMANDS + 64).unwrap().base();
    let commands = [mapd(3, ITT_ADDRESS, 5), unmapd(4)];
    for (index, word) in commands.iter().flatten().enumerate() {
        machine.hw.write(queue, index, *word);
    }
    machine.write32(other, 0x88, 64);
    assert_eq!((machine.read(other, 0x90), machine.hw.its[1].log.len()), (64, 2));
    assert_eq!(machine.hw.its[1].translations(3), Some(pages(TABLES + ITS_PAGES, 1)));
    machine.post(&[unmapd(3)]);
    assert_eq!((machine.table(3), machine.hw.its[1].devices.len()), (None, 1));
    machine.check_exact();
    machine.tear_down();
}

#[test]
fn both_queues_wrap_and_one_access_takes_a_bounded_number() {
    let mut machine = probed();
    machine.write32(ITS, 0x0, 0);
    machine.write(ITS, 0x80, VALID | (COMMANDS << 12) | 1);
    machine.write32(ITS, 0x0, 1);
    let mut at = 0;
    let mut expected = Vec::new();
    for round in 0..5u64 {
        let commands: Vec<_> = (0..200).map(|event| mapti(9, round * 1000 + event, 8192)).collect();
        let end = machine.post_at(at, &commands);
        expected.extend(commands);
        // 64 with the write of GITS_CWRITER, and 64 with each read.
        let done = 64 * (1 + round as usize * 4) - round as usize * 56;
        assert_eq!(machine.hw.its[0].log.len(), done);
        let step = |count: u64| (at + count * 32) % 0x2000;
        assert_eq!(machine.read32(ITS, 0x90), step(128));
        assert_eq!(machine.read(ITS, 0x90), step(192));
        assert_eq!(machine.read32(ITS, 0x90), end);
        at = end;
    }
    assert_eq!(machine.hw.its[0].log, expected);
    machine.tear_down();
}

#[test]
fn commands_wait_until_it_is_on() {
    let mut machine = probed();
    machine.write32(ITS, 0x0, 0);
    let end = machine.post_at(0, &[mapd(3, ITT_ADDRESS, 5)]);
    assert_eq!((machine.read(ITS, 0x90), machine.table(3)), (0, None));
    machine.write32(ITS, 0x0, 1);
    assert_eq!((machine.read(ITS, 0x90), machine.table(3)), (end, Some(pages(TABLES, 1))));
    machine.tear_down();
}

#[test]
fn hardware_that_does_not_answer_keeps_what_it_has() {
    let mut machine = probed();
    machine.post(&[mapd(3, ITT_ADDRESS, 5), mapti(3, 0, 8192)]);
    machine.hw.its[0].commands_left = 0;
    machine.post_at(64, &[unmapd(3), mapd(4, ITT_ADDRESS + 0x1000, 5)]);
    for _ in 0..3 {
        assert_eq!(machine.read32(ITS, 0x90), 64 | 1, "stalled");
        assert_eq!(machine.listed(), [(3, TABLES)]);
    }
    // It answers after all, but hangs at the next command, which it may know of.
    machine.hw.its[0].commands_left = 1;
    assert_eq!(machine.read32(ITS, 0x90), 96 | 1);
    assert_eq!((machine.listed(), machine.table(4)), (std::vec![(4, TABLES)], None));
    machine.hw.its[0].commands_left = u64::MAX;
    assert_eq!(machine.read32(ITS, 0x90), 128);
    assert_eq!(machine.table(4), Some(pages(TABLES, 1)));
    machine.check_exact();
    machine.hw.its[0].commands_left = 0;
    machine.post_at(128, &[mapd(5, ITT_ADDRESS + 0x2000, 5)]);
    assert_eq!(machine.read32(ITS, 0x90), 128 | 1);
    assert_eq!(machine.listed(), [(4, TABLES), (5, TABLES + 1)]);
    // The tables stay, because it cannot be told to forget.
    machine.write32(ITS, 0x0, 0);
    machine.refused(ITS, 0x100, 0);
    assert_eq!(machine.read(ITS, 0x100) & VALID, VALID);
    assert_eq!(machine.listed(), [(4, TABLES), (5, TABLES + 1)]);
    // Started anew, it works.
    machine.hw.its[0].commands_left = u64::MAX;
    machine.write(ITS, 0x80, VALID | (COMMANDS << 12) | 15);
    assert_eq!(machine.read(ITS, 0x90), 0);
    machine.write32(ITS, 0x0, 1);
    machine.post(&[mapd(6, 0, 5), unmapd(5), unmapd(4)]);
    assert_eq!(machine.listed(), [(6, TABLES + 2)]);
    machine.check_exact();
    machine.tear_down();
}

#[test]
fn hardware_that_is_slow_is_not_said_to_be_stalled() {
    let mut machine = probed();
    machine.hw.its[0].slow = true;
    machine.hw.its[0].commands_left = 0;
    let end = machine.post_at(0, &[mapd(3, 0, 5), mapd(3, 0, 6), [0xd, 0, 1, 0]]);
    for done in [0, 32, 32, 64] {
        assert_eq!(machine.read32(ITS, 0x90), done);
        assert_eq!(machine.read32(ITS, 0x90), done);
        machine.hw.its[0].commands_left = 1;
    }
    assert_eq!(machine.read32(ITS, 0x90), end);
    machine.hw.its[0].commands_left = u64::MAX;
    machine.tear_down();
}

#[test]
fn a_command_lost_in_a_restart_takes_no_table_with_it() {
    let mut machine = probed();
    machine.post(&[mapd(3, ITT_ADDRESS, 5)]);
    machine.hw.its[0].commands_left = 0;
    machine.post_at(32, &[unmapd(3)]);
    machine.write32(ITS, 0x0, 0);
    machine.write(ITS, 0x80, VALID | (COMMANDS << 12) | 15);
    machine.hw.its[0].commands_left = u64::MAX;
    machine.write32(ITS, 0x0, 1);
    machine.post(&[mapti(3, 0, 8192), unmapd(99), mapd(4, 0, 5)]);
    assert_eq!(machine.table(3), Some(pages(TABLES, 1)), "it still knows the device");
    assert_eq!(machine.listed(), [(3, TABLES), (4, TABLES + 1)]);
    // Mapped again, it is unmapped first.
    machine.post(&[mapd(3, 0, 5)]);
    assert_eq!(machine.hw.its[0].log[4..], [unmapd(3), mapd(3, TABLES << 12, 5)]);
    machine.check_exact();
    machine.tear_down();
}

#[test]
fn tables_stay_while_it_does_not_stop_after_the_devices_are_unmapped() {
    let mut machine = probed();
    machine.post(&[mapd(3, ITT_ADDRESS, 5)]);
    machine.write32(ITS, 0x0, 0);
    machine.hw.its[0].stops_after = POLLS + 20;
    machine.refused_after_unmapping();
    machine.hw.its[0].stops_after = 0;
    while machine.read32(ITS, 0x0) & (1 << 31) == 0 {}
    machine.write(ITS, 0x100, 0);
    assert_eq!(machine.guard.refusals(), 1);
    machine.tear_down();
}

impl Machine {
    /// Takes the table of devices back from an ITS that forgets them but does not stop.
    fn refused_after_unmapping(&mut self) {
        self.write(ITS, 0x100, 0);
        assert_eq!(self.guard.refusals(), 1);
        assert_eq!(self.read(ITS, 0x100) & VALID, VALID);
        assert_eq!((self.listed().len(), self.hw.its[0].devices.len()), (0, 0));
    }
}

#[test]
fn a_queue_is_aligned_wherever_the_memory_is() {
    for skipped in 0..16 {
        let mut machine = Machine::untaken();
        let memory = pages(QUEUE + skipped, ITS_PAGES);
        machine.hw.memory[0] = memory;
        machine.guard.add_its(&mut machine.hw, 0, memory).unwrap();
        // The model checks that it is aligned.
        let queue = (machine.hw.its[0].cbaser & 0xf_ffff_ffff_f000) >> 12;
        let used = pages(queue, TABLE_PAGES + 1);
        assert!(memory.covers(used), "{skipped}: {used:?}");
    }
}

#[test]
fn an_its_that_is_on_is_stopped_at_boot_or_not_used() {
    let stops = |after: u32| {
        let mut machine = Machine::untaken();
        let its = &mut machine.hw.its[0];
        (its.ctlr, its.stops_after) = (1, after);
        // Firmware left tables behind, even for virtual CPUs.
        its.baser.iter_mut().for_each(|baser| *baser |= VALID);
        let added = machine.guard.add_its(&mut machine.hw, 0, its_memory(0));
        (added, machine)
    };
    for after in [0, 10] {
        let (added, mut machine) = stops(after);
        assert_eq!(added, Ok(()));
        assert!(machine.is_guarded(ITS));
        let its = &machine.hw.its[0];
        assert_eq!((its.ctlr, its.table(0), its.table(2)), (1 << 31, None, None));
        assert_eq!(its.cbaser, VALID | (1 << 59) | (QUEUE << 12));
    }
    let (added, mut machine) = stops(u32::MAX);
    assert_eq!(added, Err(GicUnusable::DoesNotStop));
    assert!(!machine.is_guarded(ITS));
    let (guard, hw) = (&mut machine.guard, &mut machine.hw);
    let added = guard.add_its(hw, MAX_ITS as u8, its_memory(0));
    assert_eq!(added, Err(GicUnusable::TooMany));
}

//! Redistributors: the tables of LPIs.

use super::*;
use crate::addr::Pfn;
use crate::refusal::Refusal;

#[test]
fn tables_are_pinned_in_their_sizes_while_lpis_are_on() {
    for (id_bits, properties, pending) in
        [(0u64, 1, 1), (12, 1, 1), (13, 2, 1), (15, 14, 2), (19, 254, 32), (20, 510, 64)]
    {
        let mut machine = Machine::new();
        machine.write(RD, 0x70, ((RAM + 512) << 12) | id_bits);
        machine.write(RD, 0x78, (RAM + 1024) << 12);
        assert_eq!(machine.pins(RAM + 512), 0);
        machine.write32(RD, 0x0, 1);
        assert_eq!(machine.read32(RD, 0x0) & 1, 1);
        for (first, count) in [(RAM + 512, properties), (RAM + 1024, pending)] {
            assert_eq!((machine.pins(first), machine.pins(first + count - 1)), (1, 1));
            assert_eq!((machine.pins(first + count), machine.pins(first - 1)), (0, 0));
        }
        machine.check_exact();
        machine.write32(RD, 0x0, 0);
        machine.check_exact();
        machine.tear_down();
    }
}

#[test]
fn more_interrupts_than_can_be_pinned_read_back_as_fewer() {
    let mut machine = Machine::new();
    machine.write(RD, 0x70, ((RAM + 512) << 12) | 31);
    assert_eq!(machine.read(RD, 0x70), ((RAM + 512) << 12) | 20);
    machine.write(RD, 0x78, (RAM + 1024) << 12);
    machine.write32(RD, 0x0, 1);
    assert_eq!(machine.hw.redistributors[0].propbaser & 0x1f, 20);
    machine.tear_down();
}

#[test]
fn all_cpus_can_have_one_table_of_properties() {
    let mut machine = Machine::new();
    (0..4).for_each(|cpu| machine.enable_lpis(cpu));
    assert_eq!((machine.pins(PROPERTIES), machine.pins(PENDING)), (4, 1));
    machine.check_exact();
    machine.write32(RD, 0x0, 0);
    assert_eq!((machine.pins(PROPERTIES), machine.pins(PENDING)), (3, 0));
    machine.check_exact();
    machine.enable_lpis(0);
    assert_eq!(machine.guard.refusals(), 0);
    machine.tear_down();
}

#[test]
fn tables_that_are_not_the_hosts_are_refused() {
    let end = RAM + HOST_PAGES;
    for bad in [CARVE, end - 1, RAM - 1, 0x9000, (1 << 36) | RAM, 0xff_ffff_fff0] {
        let mut machine = Machine::new();
        machine.write(RD, 0x70, (bad << 12) | 15);
        machine.write(RD, 0x78, PENDING << 12);
        machine.refused(RD, 0x0, 1);
        let aligned = bad & !0xf;
        machine.write(RD, 0x70, (PROPERTIES << 12) | 19);
        machine.write(RD, 0x78, aligned << 12);
        if machine.host.frame(Pfn::new(aligned).unwrap_or(Pfn::new(0).unwrap())).is_err()
            || aligned + 32 > end
        {
            machine.refused(RD, 0x0, 1);
            assert_eq!(machine.pins(PROPERTIES), 0, "half done");
        }
        machine.check_exact();
        machine.tear_down();
    }
}

#[test]
fn tables_do_not_change_while_they_are_in_use() {
    let mut machine = Machine::new();
    machine.enable_lpis(0);
    machine.refused(RD, 0x70, 0);
    machine.refused(RD, 0x78, (RAM + 1024) << 12);
    // Writing it again changes nothing, but for which interrupts may choose the CPU.
    machine.write32(RD, 0x0, 0x0500_0001);
    assert_eq!(machine.read32(RD, 0x0), 0x0500_0003);
    machine.check_exact();
    // It is slow: the write waits.
    machine.hw.redistributors[0].stops_after = 20;
    machine.write32(RD, 0x0, 0);
    assert_eq!(machine.read32(RD, 0x0) & 9, 0);
    assert_eq!((machine.pins(PROPERTIES), machine.pins(PENDING)), (0, 0));
    assert_eq!(machine.hw.redistributors[0].addresses(), 0);
    machine.check_exact();
    machine.enable_lpis(0);
    assert_eq!(machine.guard.refusals(), 2);
    machine.tear_down();
}

#[test]
fn lpis_that_are_not_off_when_the_write_has_waited_keep_their_tables() {
    let mut machine = Machine::new();
    machine.enable_lpis(0);
    machine.enable_lpis(1);
    machine.hw.redistributors[0].stops_after = POLLS + 20;
    machine.write32(RD, 0x0, 0);
    assert_eq!(machine.read32(RD, 0x0) & 9, 8);
    let kept = |machine: &mut Machine| {
        assert_eq!((machine.pins(PROPERTIES), machine.pins(PENDING)), (2, 1));
        machine.refused(RD, 0x70, 0);
        machine.refused(RD, 0x78, 0);
        machine.refused(RD, 0x0, 1);
    };
    kept(&mut machine);
    while machine.read32(RD, 0x0) & 8 != 0 {}
    // Nobody saw it go from on to off.
    machine.write32(RD, 0x0, 0);
    kept(&mut machine);
    // The others are not held up.
    let other = RegisterFrame::Redistributor(1);
    machine.write32(other, 0x0, 0);
    assert_eq!((machine.pins(PROPERTIES), machine.pins(PENDING + 16)), (1, 0));
    machine.enable_lpis(1);
}

#[test]
fn a_redistributor_without_power_keeps_its_tables() {
    let mut machine = Machine::new();
    (0..2).for_each(|cpu| machine.enable_lpis(cpu));
    machine.hw.redistributors[0].power_fails_after = Some(0);
    for _ in 0..3 {
        assert_eq!(machine.read32(RD, 0x0), 0);
        machine.write32(RD, 0x0, 0);
        machine.write32(RD, 0x14, 2);
        machine.refused(RD, 0x70, 0);
        machine.refused(RD, 0x78, 0);
        // It looks as if it could be turned on.
        machine.refused(RD, 0x0, 1);
        assert_eq!((machine.pins(PROPERTIES), machine.pins(PENDING)), (2, 1));
    }
    let given = machine.host.donate_hyp(&mut machine.hw, pages(PENDING, 1), Contents::Zero);
    assert_eq!(given, Err(Refusal::Pinned));
    // Other properties are still refused.
    let other = RegisterFrame::Redistributor(1);
    machine.write32(other, 0x0, 0);
    machine.write(other, 0x70, RD_COHERENT | ((RAM + 512) << 12) | 15);
    machine.refused(other, 0x0, 1);
    // With power again, it is as it was.
    machine.hw.redistributors[0].power_fails_after = None;
    assert_eq!(machine.read32(RD, 0x0) & 1, 1);
    machine.write32(RD, 0x0, 0);
    assert_eq!((machine.pins(PROPERTIES), machine.pins(PENDING)), (0, 0));
    machine.write32(other, 0x0, 1);
    machine.check_exact();
    machine.tear_down();
}

#[test]
fn power_that_fails_at_any_time_takes_no_pin_that_is_needed() {
    for stops_after in [0, 3] {
        let mut kept = 0;
        for after in 0..12 {
            let mut machine = Machine::new();
            machine.enable_lpis(0);
            let model = &mut machine.hw.redistributors[0];
            (model.power_fails_after, model.stops_after) = (Some(after), stops_after);
            // Each access checks that what hardware uses is pinned.
            machine.write32(RD, 0x0, 0);
            machine.hw.redistributors[0].power_fails_after = None;
            machine.check();
            kept += machine.pins(PENDING);
            let on = machine.hw.redistributors[0].ctlr & 1;
            assert!(on == 0 || machine.pins(PENDING) == 1, "{after}");
        }
        assert!((3..12).contains(&kept), "{kept}");
    }
    // Turning it on.
    for after in 0..8 {
        let mut machine = Machine::new();
        machine.write(RD, 0x70, RD_COHERENT | (PROPERTIES << 12) | 15);
        machine.write(RD, 0x78, RD_COHERENT | (PENDING << 12));
        machine.hw.redistributors[0].power_fails_after = Some(after);
        machine.write32(RD, 0x0, 1);
        machine.hw.redistributors[0].power_fails_after = None;
        machine.check();
        assert_eq!(machine.pins(PENDING), 1, "nobody knows whether it has heard of it");
    }
}

#[test]
fn all_redistributors_have_the_same_properties() {
    let mut machine = Machine::new();
    machine.enable_lpis(0);
    let other = RegisterFrame::Redistributor(1);
    machine.write(other, 0x78, RD_COHERENT | ((PENDING + 16) << 12));
    for differs in [((RAM + 512) << 12) | 15, (PROPERTIES << 12) | 14, (PROPERTIES << 12) | 16] {
        machine.write(other, 0x70, RD_COHERENT | differs);
        machine.refused(other, 0x0, 1);
        assert_eq!((machine.pins(PROPERTIES), machine.pins(PENDING + 16)), (1, 0));
        assert_eq!(machine.hw.redistributors[1].addresses(), 0);
    }
    // Memory attributes may differ.
    machine.write(other, 0x70, (PROPERTIES << 12) | 15);
    machine.write32(other, 0x0, 1);
    assert_eq!(machine.pins(PROPERTIES), 2);
    // One that is left is enough to say no.
    machine.write32(RD, 0x0, 0);
    machine.write(RD, 0x70, ((RAM + 512) << 12) | 15);
    machine.refused(RD, 0x0, 1);
    machine.write32(other, 0x0, 0);
    machine.write32(RD, 0x0, 1);
    assert_eq!((machine.pins(PROPERTIES), machine.pins(RAM + 512)), (0, 1));
    machine.check_exact();
    machine.tear_down();
}

#[test]
fn the_number_of_interrupts_does_not_fall_while_a_device_is_mapped() {
    let mut machine = Machine::new();
    machine.probe();
    machine.enable_lpis(0);
    machine.post(&[mapd(3, 0, 5), mapti(3, 0, 0xffff)]);
    machine.write32(RD, 0x0, 0);
    let properties = |id_bits: u64| RD_COHERENT | (PROPERTIES << 12) | id_bits;
    for id_bits in [0, 13, 14] {
        machine.write(RD, 0x70, properties(id_bits));
        machine.refused(RD, 0x0, 1);
    }
    // As many, elsewhere, or more: then it does not fall to what it was.
    machine.write(RD, 0x70, ((RAM + 512) << 12) | 15);
    machine.write32(RD, 0x0, 1);
    machine.write32(RD, 0x0, 0);
    machine.write(RD, 0x70, properties(16));
    machine.write32(RD, 0x0, 1);
    machine.write32(RD, 0x0, 0);
    machine.write(RD, 0x70, properties(15));
    machine.refused(RD, 0x0, 1);
    // Hardware may know a device until it is seen to have consumed the command.
    machine.hw.its[0].commands_left = 0;
    let at = machine.read32(ITS, 0x88);
    machine.post_at(at, &[unmapd(3)]);
    machine.refused(RD, 0x0, 1);
    machine.hw.its[0].commands_left = u64::MAX;
    machine.refused(RD, 0x0, 1);
    assert_eq!(machine.read32(ITS, 0x90), at + 32);
    machine.write(RD, 0x70, properties(13));
    machine.write32(RD, 0x0, 1);
    assert_eq!(machine.pins(PROPERTIES + 2), 0);
    // What was good is not any more.
    machine.post(&[mapd(3, 0, 5), mapti(3, 0, 0x3fff)]);
    machine.refused_command(mapti(3, 0, 0x4000));
    machine.check_exact();
    machine.tear_down();
}

#[test]
fn lpis_that_cannot_be_turned_off_keep_their_tables() {
    let mut machine = Machine::with(|hw| hw.redistributors[0].sticky = true);
    machine.enable_lpis(0);
    machine.write32(RD, 0x0, 0);
    assert_eq!(machine.read32(RD, 0x0) & 1, 1);
    assert_eq!((machine.pins(PROPERTIES), machine.pins(PENDING)), (1, 1));
    machine.refused(RD, 0x78, 0);
    machine.check_exact();
}

#[test]
fn the_host_learns_whether_the_redistributor_snoops() {
    let mut machine = Machine::with(|hw| hw.redistributors[1].incoherent = true);
    let other = RegisterFrame::Redistributor(1);
    machine.enable_lpis(0);
    for (offset, table) in [(0x70, PROPERTIES), (0x78, PENDING + 16)] {
        machine.write(other, offset, RD_COHERENT | (table << 12) | 15);
        assert_eq!(machine.read(other, offset) & 0xc00, 0);
        machine.write(other, offset, (1 << 7) | (table << 12) | 15);
        assert_eq!(machine.read(other, offset) & !0x1f, (1 << 7) | (table << 12));
    }
    machine.write32(other, 0x0, 1);
    machine.check_exact();
    machine.tear_down();
}

#[test]
fn registers_are_reduced_to_their_fields() {
    let mut machine = Machine::with(|hw| {
        hw.redistributors[0].typer |= 0xfff_ffff;
        hw.redistributors[0].ctlr |= 0x8000_0004;
    });
    assert_eq!(machine.read(RD, 0x8), 0x0bff_ff33);
    assert_eq!(machine.read32(RD, 0xc), 0);
    assert_eq!(machine.read32(RD, 0x0), 0x8000_0002);
    assert_eq!(machine.read32(RD, 0x4), 0x43b);
    machine.write32(RD, 0x14, u64::from(u32::MAX));
    assert_eq!(machine.read32(RD, 0x14), 6);
    machine.write32(RD, 0x14, 0);
    assert_eq!(machine.read32(RD, 0x14), 0);
    machine.write32(RD, 0x4, 0);
    machine.write(RD, 0x8, 0);
    machine.write(RD, 0x70, u64::MAX);
    assert_eq!(machine.read(RD, 0x70), 0x070f_ffff_ffff_ff94);
    machine.write(RD, 0x78, u64::MAX);
    assert_eq!(machine.read(RD, 0x78), 0x070f_ffff_ffff_0f80, "PTZ cannot be read");
    // Half by half.
    machine.write32(RD, 0x70, (RAM << 12) & 0xffff_ffff | 13);
    machine.write32(RD, 0x74, RAM >> 20);
    assert_eq!(machine.read(RD, 0x70), (RAM << 12) | 13);
    assert_eq!(machine.read32(RD, 0x74), RAM >> 20);
    // PTZ reaches hardware.
    machine.write(RD, 0x78, (1 << 62) | (PENDING << 12));
    machine.write32(RD, 0x0, u64::from(u32::MAX));
    assert_eq!(machine.hw.redistributors[0].pendbaser, (1 << 62) | (PENDING << 12));
    assert_eq!(machine.guard.refusals(), 0);
    machine.tear_down();
}

#[test]
fn what_is_no_register_reads_as_zero() {
    let mut machine = Machine::new();
    for offset in 0..0x1000u32 {
        for bytes in [1u8, 2, 4, 8] {
            let known = matches!(offset, 0x0 | 0x4 | 0x8 | 0xc | 0x14 | 0x70..0x80);
            if !known || bytes < 4 || !offset.is_multiple_of(bytes.into()) {
                let mmio = Mmio { offset, bytes, write: None };
                assert_eq!(machine.access(RD, mmio), 0, "{offset:#x}");
                machine.access(RD, Mmio { write: Some(u64::MAX), ..mmio });
            }
        }
    }
    assert_eq!(machine.read(RegisterFrame::Redistributor(31), 8), 0);
    assert_eq!(machine.read(RegisterFrame::Redistributor(255), 8), 0);
    assert_eq!((machine.guard.refusals(), machine.read(RD, 0x70)), (0, 0));
    machine.tear_down();
}

#[test]
fn lpis_that_are_on_at_boot_are_turned_off_or_it_is_not_used() {
    let add = |change: fn(&mut RedistributorModel)| {
        let mut machine = Machine::untaken();
        let model = &mut machine.hw.redistributors[0];
        (model.propbaser, model.pendbaser) = ((PROPERTIES << 12) | 15, PENDING << 12);
        model.ctlr |= 1;
        change(&mut machine.hw.redistributors[0]);
        let (guard, hw) = (&mut machine.guard, &mut machine.hw);
        let added = guard.add_redistributor(hw, 0, Pa::new(0x80a_0000).unwrap());
        (added, machine)
    };
    let (added, machine) = add(|model| model.stops_after = 5);
    assert_eq!((added, machine.hw.redistributors[0].ctlr & 9), (Ok(()), 0));
    assert_eq!(machine.hw.redistributors[0].addresses(), 0);
    let changes: [fn(&mut RedistributorModel); 2] =
        [|model| model.sticky = true, |model| model.stops_after = u32::MAX];
    for change in changes {
        let (added, mut machine) = add(change);
        assert_eq!(added, Err(GicUnusable::DoesNotStop));
        assert!(!machine.is_guarded(RD));
    }
    let mut machine = Machine::untaken();
    let (guard, hw) = (&mut machine.guard, &mut machine.hw);
    let base = Pa::new(0x80a_0000).unwrap();
    assert_eq!(guard.add_redistributor(hw, MAX_CPUS as u8, base), Err(GicUnusable::TooMany));
}

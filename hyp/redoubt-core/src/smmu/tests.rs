//! Tests of the SMMU driver on the SMMUs of [`crate::fake`], which read memory as a device does and
//! fail a test at the step that is wrong.
//!
//! They catch: an SMMU that is used though it cannot do what is needed; a moment at boot in which a
//! device gets through; a stream that translates though nobody was given it, or the other way round;
//! an STE that is torn or wrong; a queue that loses its place when it wraps; a command that is not
//! waited for; an event lost, invented, or read from the CPU's cache; an error that is ignored.

use std::vec::Vec;

use super::*;
use crate::addr::Ipa;
use crate::fake::smmu::{self as fake, FakeSmmu, Trouble};
use crate::fake::{FakeHw, Step};
use crate::hw::{Stage2Context, TableMemory};
use crate::stage2::Emptied;
use crate::stage2::geometry::{Concatenation, Geometry};

const ROOT: u64 = 0x1000_0000;
const VMID: u16 = 0x1234;
/// Where memory for SMMUs starts, aligned to nothing.
const MEMORY: u64 = 0x2_0001;
/// As a PCI host bridge is given them.
const ALL: [StreamRange; 1] = [StreamRange { first: 0, count: 1 << 16 }];
const FRAME: RegisterFrame = RegisterFrame::Smmu(0);

fn range(first: u64, pages: u64) -> PageRange {
    PageRange::new(Pfn::new(first).unwrap(), pages).unwrap()
}

fn memory_for(streams: &[StreamRange]) -> PageRange {
    range(MEMORY, memory_needed(streams.len()))
}

fn tables(bits: u8) -> Stage2 {
    let geometry = Geometry::new(bits, 48, Concatenation::Avoid).unwrap();
    let context = Stage2Context { vmid: VMID, root: Pa::new(ROOT).unwrap() };
    Stage2::new(context, geometry, Emptied::Kept).unwrap()
}

/// A machine with one SMMU as the firmware left it, and an empty root.
fn machine(snoops: bool) -> FakeHw {
    let mut hw = FakeHw::default();
    hw.snoops = snoops;
    hw.add_smmu(FakeSmmu::new());
    hw.zero(Pa::new(ROOT).unwrap());
    hw
}

fn start_with(hw: &mut FakeHw, streams: &[StreamRange], bits: u8) -> Result<Smmu, Unusable> {
    let features = probe(hw, FRAME)?;
    Smmu::start(hw, FRAME, &features, streams, memory_for(streams), &tables(bits))
}

fn started(snoops: bool) -> (FakeHw, Smmus) {
    let mut hw = machine(snoops);
    let mut smmus = Smmus::default();
    smmus.push(start_with(&mut hw, &ALL, 40).unwrap()).unwrap();
    hw.take_log();
    (hw, smmus)
}

/// Lists the registers written, with their values.
fn writes(log: &[Step]) -> Vec<(u32, u64)> {
    let write = |step: &Step| match step {
        Step::Register(_, at, value) => Some((*at, *value)),
        _ => None,
    };
    log.iter().filter_map(write).collect()
}

/// Lists the commands carried out.
fn commands(log: &[Step]) -> Vec<[u64; 2]> {
    let command = |step: &Step| match step {
        Step::Command(_, command) => Some(*command),
        _ => None,
    };
    log.iter().filter_map(command).collect()
}

#[test]
fn everything_aborts_before_anything_else_happens() {
    let mut hw = machine(false);
    block(&mut hw, FRAME).unwrap();
    let log = writes(&hw.take_log());
    assert_eq!(log, [(fake::GBPA, 0x8010_1000), (fake::CR0, 0), (fake::IRQ_CTRL, 0)]);
}

#[test]
fn what_an_smmu_can_do_is_found_without_touching_it() {
    let mut hw = machine(false);
    let features = probe(&mut hw, FRAME).unwrap();
    assert_eq!(features, Features { oas_bits: 44, oas: 4, stream_bits: 16, queues: 0b1100 });
    let found = |idr0: u64, idr1: u64, idr5: u64| {
        let mut hw = FakeHw::default();
        let mut smmu = FakeSmmu::new();
        for (at, flip) in [(fake::IDR0, idr0), (fake::IDR1, idr1), (fake::IDR5, idr5)] {
            smmu.set(at, smmu.register(at) ^ flip);
        }
        hw.add_smmu(smmu);
        let found = probe(&mut hw, FRAME);
        assert_eq!(writes(&hw.log), []);
        found.map(|features| features.oas_bits)
    };
    // What QEMU's says is 0x0d44101b: TTENDIAN 0b10, STALL_MODEL 0b01, ST_LEVEL 0b01.
    for (idr0, idr1, idr5, wanted) in [
        (1 << 0, 0, 0, Err(Unusable::NoStage2)),
        (1 << 3, 0, 0, Err(Unusable::NoStage2)),
        (1 << 2, 0, 0, Ok(44)),
        (1 << 22, 0, 0, Ok(44)),
        (1 << 21, 0, 0, Err(Unusable::NoStage2)),
        (1 << 4, 0, 0, Ok(44)),
        (1 << 27, 0, 0, Err(Unusable::FlatStreamTable)),
        (1 << 24, 0, 0, Ok(44)),
        (0b11 << 24, 0, 0, Err(Unusable::ForcedStall)),
        (0, 1 << 30, 0, Err(Unusable::Preset)),
        (0, 1 << 29, 0, Err(Unusable::Preset)),
        (0, (19 ^ 7) << 21 | (19 ^ 7) << 16, 0, Ok(44)),
        (0, (19 ^ 6) << 21, 0, Err(Unusable::Preset)),
        (0, (19 ^ 6) << 16, 0, Err(Unusable::Preset)),
        (0, 0, 1 << 4, Err(Unusable::NoStage2)),
        (0, 0, 4, Ok(32)),
        (0, 0, 4 ^ 1, Ok(36)),
        (0, 0, 4 ^ 2, Ok(40)),
        (0, 0, 4 ^ 3, Ok(42)),
        (0, 0, 4 ^ 5, Ok(48)),
        (0, 0, 4 ^ 6, Ok(48)),
    ] {
        assert_eq!(found(idr0, idr1, idr5), wanted, "{idr0:#x} {idr1:#x} {idr5:#x}");
    }
}

#[test]
fn an_smmu_starts_in_order() {
    let mut hw = machine(false);
    start_with(&mut hw, &ALL, 40).unwrap();
    let log = hw.take_log();
    let base = 0x2_0004 << 12 | 1 << 62;
    let wanted = [
        (fake::GBPA, 0x8010_1000),
        (fake::CR0, 0),
        (fake::IRQ_CTRL, 0),
        (fake::STRTAB_BASE, base),
        (fake::CMDQ_BASE, base + 0x1000 + 7),
        (fake::EVENTQ_BASE, base + 0x2000 + 7),
        (fake::IRQ_CFG0[0], 0),
        (fake::IRQ_CFG0[1], 0),
        (fake::IRQ_CFG0[2], 0),
        (fake::CMDQ_PROD, 0),
        (fake::CMDQ_CONS, 0),
        (fake::EVENTQ_PROD, 0),
        (fake::EVENTQ_CONS, 0),
        (0x28, 0xd75),
        (0x2c, 0b110),
        (fake::STRTAB_BASE_CFG, 1 << 16 | 8 << 6 | 16),
        // The error that the firmware left is dealt with.
        (fake::GERRORN, 0b1_0000),
        (fake::CR0, 0b1000),
        (fake::CMDQ_PROD, 3),
        (fake::CR0, 0b1100),
        (fake::IRQ_CTRL, 0b101),
        (fake::CR0, 0b1101),
    ];
    assert_eq!(writes(&log), wanted);
    assert_eq!(commands(&log), [[0x04, 31], [0x30, 0], [0x46, 0]]);
}

#[test]
fn devices_with_translations_of_their_own_are_checked() {
    let mut hw = machine(false);
    let idr0 = hw.devices.smmus[0].register(fake::IDR0);
    hw.devices.smmus[0].set(fake::IDR0, idr0 | 1 << 10);
    let mut smmus = Smmus::default();
    smmus.push(start_with(&mut hw, &ALL, 40).unwrap()).unwrap();
    smmus.quiesce(&mut hw);
    smmus.resume(&mut hw);
    let log = writes(&hw.take_log());
    let cr0: Vec<u64> =
        log.iter().filter(|(at, _)| *at == fake::CR0).map(|write| write.1).collect();
    assert_eq!(cr0, [0, 0b0_1000, 0b1_1100, 0b1_1101, 0b1_1100, 0b1_1101]);
}

#[test]
fn every_ste_translates_at_stage_2_alone() {
    for (bits, walk) in [(40, 0x4_3598), (36, 0x4_355c)] {
        for snoops in [false, true] {
            let mut hw = machine(snoops);
            start_with(&mut hw, &ALL, bits).unwrap();
            let format = 1 << 51 | 1 << 53 | 1 << 58;
            let words = [0b1101, 1 << 44, format | walk << 32 | u64::from(VMID), ROOT, 0, 0, 0, 0];
            for stream in [0, 1, 255, 256, 0x7fff, 0xffff] {
                assert_eq!(hw.find_ste(0, stream), Ok(words), "{stream:#x}");
            }
            assert_eq!(hw.find_ste(0, 0x1_0000), Err(0x02));
        }
    }
}

#[test]
fn an_ste_becomes_valid_last() {
    let mut hw = machine(false);
    start_with(&mut hw, &ALL, 40).unwrap();
    let log = hw.take_log();
    let mut valid = 0;
    for (position, step) in log.iter().enumerate() {
        if let Step::Write(table, first, 0b1101) = *step {
            valid += 1;
            let before = &log[position - 7..position];
            let rest = |word| matches!(before[word], Step::Write(at, index, _) if at == table && index == first + 1 + word / 2);
            assert!(rest(0) && rest(2) && rest(4));
            assert_eq!(before[1], Step::CleanEntry(table, first + 1));
            assert_eq!(before[5], Step::CleanEntry(table, first + 3));
            assert_eq!(before[6], Step::DsbSy);
            assert_eq!(log[position + 1], Step::CleanEntry(table, first));
        }
    }
    assert_eq!(valid, 256, "one level-2 table serves all streams");
}

#[test]
fn only_streams_that_were_given_translate() {
    let streams = [
        StreamRange { first: 0x100, count: 0x100 },
        StreamRange { first: 0x2fe, count: 0x104 },
        StreamRange { first: 0x480, count: 0x80 },
        StreamRange { first: 0x400, count: 0x80 },
        StreamRange { first: 0x7c0, count: 1 },
        StreamRange { first: 0x10, count: 0 },
    ];
    let given = |stream: u32| streams.iter().any(|range| range.contains(stream.into()));
    let mut hw = machine(false);
    start_with(&mut hw, &streams, 40).unwrap();
    for stream in 0..0x900 {
        let found = hw.find_ste(0, stream).map(|_| ());
        let in_part = matches!(stream >> 8, 2 | 3 | 7);
        let wanted = match (given(stream), in_part) {
            (true, _) => Ok(()),
            (false, true) => Err(0x04),
            (false, false) => Err(0x02),
        };
        assert_eq!(found, wanted, "{stream:#x}");
    }
    assert_eq!(hw.devices.smmus[0].register(fake::STRTAB_BASE_CFG) & 0x3f, 11);
}

#[test]
fn the_stream_table_is_as_small_as_the_streams_allow() {
    let size = |first, count, sid_bits: u64| {
        let mut hw = FakeHw::default();
        let mut smmu = FakeSmmu::new();
        smmu.set(fake::IDR1, 19 << 21 | 19 << 16 | sid_bits);
        hw.add_smmu(smmu);
        hw.zero(Pa::new(ROOT).unwrap());
        start_with(&mut hw, &[StreamRange { first, count }], 40).unwrap();
        let served = hw.find_ste(0, first).is_ok();
        (hw.devices.smmus[0].register(fake::STRTAB_BASE_CFG) & 0x3f, served)
    };
    assert_eq!(size(0, 1, 16), (8, true));
    assert_eq!(size(0xff, 1, 16), (8, true));
    assert_eq!(size(0x100, 1, 16), (9, true));
    assert_eq!(size(3, 2, 6), (6, true));
    assert_eq!(size(0, 0, 16), (8, false));
    assert_eq!(size(0x1_ffff, 1, 32), (17, true));
    // What the SMMU, or one page of level 1, does not reach aborts.
    assert_eq!(size(0x8000, 1, 15), (15, false));
    assert_eq!(size(0x2_0000, 1, 32), (17, false));
    assert_eq!(size(u32::MAX, u64::MAX, 32), (17, false));
}

#[test]
fn the_memory_asked_for_is_enough_wherever_it_lies() {
    let streams = [(0x105, 0x300), (0x505, 0x300), (0x905, 0x300)];
    let streams = streams.map(|(first, count)| StreamRange { first, count });
    for streams in [&streams[..], &ALL, &[]] {
        for first in MEMORY..MEMORY + 4 {
            let start = |pages| {
                let mut hw = machine(false);
                let features = probe(&mut hw, FRAME).unwrap();
                let memory = range(first, pages);
                Smmu::start(&mut hw, FRAME, &features, streams, memory, &tables(40)).map(|_| ())
            };
            assert_eq!(start(memory_needed(streams.len())), Ok(()), "{first:#x}");
            assert_eq!(start(7), Err(Unusable::Memory));
        }
    }
    assert_eq!(memory_needed(ALL.len()), 20);
    let mut hw = machine(false);
    let features = probe(&mut hw, FRAME).unwrap();
    let beyond = range(1 << 28, 64);
    let got = Smmu::start(&mut hw, FRAME, &features, &ALL, beyond, &tables(40));
    assert!(matches!(got, Err(Unusable::Memory)));
}

#[test]
fn tables_that_an_smmu_cannot_walk_are_refused() {
    let start = |oas: u64, bits| {
        let mut hw = machine(false);
        hw.devices.smmus[0].set(fake::IDR5, 0x70 | oas);
        let got = start_with(&mut hw, &ALL, bits).map(|_| ());
        assert_eq!(hw.devices.smmus[0].register(fake::GBPA) >> 20 & 1, 1);
        got
    };
    assert_eq!(start(4, 44), Ok(()));
    assert_eq!(start(4, 45), Err(Unusable::AddressSize));
    assert_eq!(start(5, 48), Ok(()));
    assert_eq!(start(2, 39), Ok(()));
    assert_eq!(start(1, 39), Err(Unusable::AddressSize));
    assert_eq!(start(3, 40), Err(Unusable::AddressSize), "level 0 needs 44 bits");
}

#[test]
fn an_smmu_that_fails_at_the_start_lets_nothing_through() {
    for (trouble, wanted) in [
        (Trouble::Stuck(fake::CR0), Unusable::Silent),
        (Trouble::Stuck(fake::IRQ_CTRL), Unusable::Silent),
        (Trouble::Stuck(fake::CMDQ_CONS), Unusable::Silent),
        (Trouble::Refuses(0x04), Unusable::Failing),
        (Trouble::Refuses(0x30), Unusable::Failing),
        (Trouble::Fails(0x46), Unusable::Failing),
    ] {
        let mut hw = machine(false);
        hw.devices.smmus[0].set(fake::CR0, 0);
        hw.devices.smmus[0].trouble = Some(trouble);
        let got = start_with(&mut hw, &ALL, 40).map(|_| ());
        assert_eq!(got, Err(wanted), "{trouble:?}");
        let smmu = &hw.devices.smmus[0];
        assert_eq!((smmu.register(fake::CR0) & 1, smmu.register(fake::GBPA) >> 20 & 1), (0, 1));
    }
}

#[test]
fn an_smmu_that_does_not_abort_is_not_disabled() {
    let mut hw = machine(false);
    hw.devices.smmus[0].trouble = Some(Trouble::Stuck(fake::GBPA));
    assert_eq!(block(&mut hw, FRAME), Err(Unusable::Silent));
    assert_eq!(writes(&hw.log), [], "what the firmware had set up stays");
}

#[test]
fn commands_follow_one_another_around_the_queue() {
    for snoops in [false, true] {
        let (mut hw, mut smmus) = started(snoops);
        let mut wanted = Vec::new();
        for page in 0..500 {
            let ipa = Ipa::from_page_number(page).unwrap();
            let command = tlbi_ipa(VMID, ipa, page % 2 == 0);
            assert_eq!(command, [0x1234_0000_002a, page << 12 | u64::from(page % 2 == 0)]);
            smmus.invalidate(&mut hw, command);
            wanted.push(command);
            if page % 7 == 0 {
                smmus.sync(&mut hw);
                wanted.push([0x46, 0]);
                assert_eq!(commands(&hw.log), wanted, "nothing is outstanding");
            }
        }
        assert_eq!(smmus.invalidations(), 500);
    }
}

#[test]
fn more_commands_than_the_queue_holds_are_handed_over_in_parts() {
    let (mut hw, mut smmus) = started(false);
    for _ in 0..300 {
        smmus.invalidate(&mut hw, tlbi_all(9));
    }
    let handed_over = commands(&hw.log).len();
    assert!((128..300).contains(&handed_over), "{handed_over}");
    smmus.sync(&mut hw);
    let log = commands(&hw.take_log());
    assert_eq!(log.len(), 301);
    assert_eq!((log[299], log[300]), ([9 << 32 | 0x28, 0], [0x46, 0]));
    // Nothing to wait for.
    smmus.sync(&mut hw);
    assert_eq!(hw.take_log(), []);
}

#[test]
fn each_smmu_is_told_and_waited_for() {
    let mut hw = machine(false);
    hw.add_smmu(FakeSmmu::new());
    let mut smmus = Smmus::default();
    for (number, first) in [(0, MEMORY), (1, MEMORY + 0x100)] {
        let frame = RegisterFrame::Smmu(number);
        let features = probe(&mut hw, frame).unwrap();
        let memory = range(first, memory_needed(ALL.len()));
        let smmu = Smmu::start(&mut hw, frame, &features, &ALL, memory, &tables(40)).unwrap();
        smmus.push(smmu).unwrap();
    }
    hw.take_log();
    smmus.invalidate(&mut hw, tlbi_all(1));
    smmus.sync(&mut hw);
    let log = hw.take_log();
    for number in [0, 1] {
        let told = |step: &&Step| matches!(step, Step::Command(smmu, _) if *smmu == number);
        assert_eq!(log.iter().filter(told).count(), 2);
    }
    assert_eq!(smmus.invalidations(), 2);
    // Events are taken from both, and say from where.
    hw.device_access(1, 0x77, 0x5000, true);
    hw.device_access(0, 0x66, 0x6000, false);
    let numbers = [smmus.next_event(&mut hw), smmus.next_event(&mut hw), smmus.next_event(&mut hw)];
    assert_eq!(numbers.map(|event| event.map(|event| event.smmu)), [Some(0), Some(1), None]);
}

#[test]
#[should_panic(expected = "DmaUnfinished")]
fn a_command_that_is_refused_stops_the_machine() {
    let (mut hw, mut smmus) = started(false);
    hw.devices.smmus[0].trouble = Some(Trouble::Refuses(0x28));
    smmus.invalidate(&mut hw, tlbi_all(1));
    smmus.sync(&mut hw);
}

#[test]
#[should_panic(expected = "DmaUnfinished")]
fn an_invalidation_that_does_not_end_stops_the_machine() {
    let (mut hw, mut smmus) = started(false);
    hw.devices.smmus[0].trouble = Some(Trouble::Stuck(fake::CMDQ_CONS));
    smmus.invalidate(&mut hw, tlbi_all(1));
    smmus.sync(&mut hw);
}

#[test]
#[should_panic(expected = "DmaUnfinished")]
fn an_smmu_that_fails_stops_the_machine() {
    let (mut hw, mut smmus) = started(false);
    hw.devices.smmus[0].trouble = Some(Trouble::Fails(0x46));
    smmus.invalidate(&mut hw, tlbi_all(1));
    smmus.sync(&mut hw);
}

#[test]
#[should_panic(expected = "DmaUnfinished")]
fn a_failure_is_found_when_events_are_taken() {
    let (mut hw, mut smmus) = started(false);
    hw.fail(0, 1 << 8);
    smmus.next_event(&mut hw);
}

#[test]
#[should_panic(expected = "DmaUnfinished")]
fn an_smmu_that_cannot_be_quiesced_stops_the_machine() {
    let (mut hw, mut smmus) = started(false);
    hw.devices.smmus[0].trouble = Some(Trouble::Stuck(fake::CR0));
    smmus.quiesce(&mut hw);
}

#[test]
fn events_say_who_wanted_what() {
    for snoops in [false, true] {
        let (mut hw, mut smmus) = started(snoops);
        assert_eq!(smmus.next_event(&mut hw), None);
        let event =
            |kind, write, stream, address| Some(Event { smmu: 0, kind, write, stream, address });
        assert_eq!(hw.device_access(0, 0x108, 0x4000_0123, true), None);
        assert_eq!(hw.device_access(0, 0xffff, 0x4000_1000, false), None);
        assert_eq!(hw.device_access(0, 0x1_0000, 0x4000_2000, true), None);
        assert_eq!(hw.device_access(0, 7, 1 << 40, true), None);
        hw.raise(0, [0x13 | 9 << 32, 0, 0x8000, 0]);
        hw.raise(0, [0x20 | 9 << 32, 0, 0x8000, 0]);
        assert_eq!(smmus.next_event(&mut hw), event(0x10, true, 0x108, 0x4000_0123));
        assert_eq!(smmus.next_event(&mut hw), event(0x10, false, 0xffff, 0x4000_1000));
        assert_eq!(smmus.next_event(&mut hw), event(0x02, false, 0x1_0000, 0));
        assert_eq!(smmus.next_event(&mut hw), event(0x10, true, 7, 1 << 40));
        assert_eq!(smmus.next_event(&mut hw), event(0x13, true, 9, 0x8000));
        assert_eq!(smmus.next_event(&mut hw), event(0x20, false, 9, 0));
        hw.take_log();
        assert_eq!(smmus.next_event(&mut hw), None);
        assert_eq!(hw.take_log(), [], "nothing new is only looked at");
        assert_eq!(smmus.lost(), 0);
    }
}

#[test]
fn events_follow_one_another_around_the_queue() {
    for snoops in [false, true] {
        let (mut hw, mut smmus) = started(snoops);
        let (mut raised, mut taken) = (0u32, 0);
        for burst in [1, 100, 27, 128, 3, 128, 60, 68] {
            for _ in 0..burst {
                hw.device_access(0, raised % 0x1_0000, u64::from(raised) << 12, true);
                raised += 1;
            }
            for _ in 0..burst {
                let event = smmus.next_event(&mut hw).unwrap();
                assert_eq!((event.stream, event.address), (taken, u64::from(taken) << 12));
                taken += 1;
            }
            assert_eq!(smmus.next_event(&mut hw), None);
        }
        assert_eq!(smmus.lost(), 0);
    }
}

#[test]
fn lost_events_are_counted_and_do_not_stop_the_others() {
    let (mut hw, mut smmus) = started(false);
    for round in 1..=3 {
        for number in 0..140 {
            hw.device_access(0, number, 0, true);
        }
        for number in 0..128 {
            assert_eq!(smmus.next_event(&mut hw).map(|event| event.stream), Some(number));
            assert_eq!(smmus.lost(), round, "known with the first event, and once");
        }
        assert_eq!(smmus.next_event(&mut hw), None);
    }
    // The queue could not be written to: GERROR.EVENTQ_ABT_ERR.
    hw.take_log();
    hw.fail(0, 1 << 2);
    assert_eq!(smmus.next_event(&mut hw), None);
    assert_eq!(writes(&hw.take_log()), [(fake::GERRORN, 0b1_0100)]);
    assert_eq!(smmus.lost(), 4);
    // Something that loses no event is acknowledged all the same.
    hw.fail(0, 1 << 3);
    assert_eq!(smmus.next_event(&mut hw), None);
    assert_eq!(writes(&hw.take_log()), [(fake::GERRORN, 0b1_1100)]);
    assert_eq!(smmus.next_event(&mut hw), None);
    assert_eq!((smmus.lost(), writes(&hw.log)), (4, Vec::new()));
}

#[test]
fn quiet_smmus_abort_and_come_back() {
    let (mut hw, mut smmus) = started(false);
    smmus.quiesce(&mut hw);
    assert_eq!(writes(&hw.take_log()), [(fake::CR0, 0b1100)]);
    // Translations can still be taken away.
    smmus.invalidate(&mut hw, tlbi_all(0));
    smmus.sync(&mut hw);
    hw.take_log();
    smmus.resume(&mut hw);
    assert_eq!(writes(&hw.take_log()), [(fake::CR0, 0b1101)]);
}

#[test]
fn there_is_room_for_so_many() {
    let mut hw = machine(false);
    let mut smmus = Smmus::default();
    for number in 0..=MAX_SMMUS {
        let smmu = start_with(&mut hw, &ALL, 40).unwrap();
        let wanted = if number < MAX_SMMUS { Ok(()) } else { Err(Unusable::TooMany) };
        assert_eq!(smmus.push(smmu), wanted);
        // The next start is another boot on the same memory.
        hw = machine(false);
    }
}

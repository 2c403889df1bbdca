//! Blocks, entries and marks as QEMU would tell of them, and the recording that comes of it.

use std::path::PathBuf;

use super::{Plan, Recorder};
use crate::arguments::{Arguments, Tenant};
use crate::arm::{Level, Slot};
use crate::origin::Origin;
use crate::segment::Instruction;

const ADD: u32 = 0x9100_0442;
const LDR: u32 = 0xb940_1823;
const RET: u32 = 0xd65f_03c0;
const MARK_1: u32 = 0xd280_003f;
const HVC: u64 = 0x16 << 26;
const VM: u64 = 1;

fn arguments(segments: bool) -> Arguments {
    Arguments {
        out: PathBuf::new(),
        privileged: Level::El2,
        host_stage2: true,
        tenant: Tenant::Vm,
        segments,
    }
}

fn block(va: u64, opcodes: &[u32]) -> Vec<Instruction> {
    let instruction = |(va, opcode)| Instruction { va, pa: va + 0x1000, opcode };
    (va..).step_by(4).zip(opcodes.iter().copied()).map(instruction).collect()
}

fn run(plans: &[Plan], origin: Origin) {
    plans.iter().for_each(|plan| plan.counts.count(origin as u8));
}

fn slot(number: u64) -> Slot {
    Slot::at(number * 0x80).expect("it is aligned")
}

#[test]
fn a_block_is_cut_into_segments() {
    let mut file = Vec::new();
    let mut recorder = Recorder::new(&arguments(true), &mut file, 4).expect("it is memory");
    let plans = recorder.block(Level::El2, &block(0x1ff0, &[ADD, LDR, ADD, MARK_1, ADD, RET]));
    let seen: Vec<_> = plans.iter().map(|plan| (plan.first, plan.mark)).collect();
    // Behind the load, before the mark and at the page.
    assert_eq!(seen, [(0, None), (2, None), (3, Some(1)), (4, None)]);
    assert!(recorder.block(Level::El2, &[]).is_empty());
}

#[test]
fn phases_hold_what_ran_in_them() {
    let mut file = Vec::new();
    let mut recorder = Recorder::new(&arguments(true), &mut file, 4).expect("it is memory");
    let el2 = recorder.block(Level::El2, &block(0x1000, &[ADD, ADD, LDR, RET]));
    let el1 = recorder.block(Level::El1, &block(0x8000, &[ADD]));
    run(&el2, Origin::Boot);
    // A load that faults: what is behind it does not run.
    run(&el2[..1], Origin::Boot);
    recorder.mark(1).expect("it is memory");

    run(&el1, Origin::Boot);
    assert_eq!(recorder.entry(Level::El1, slot(8), HVC, VM, 7 << 48), Some(Origin::Host));
    assert_eq!(recorder.entry(Level::El1, slot(8), HVC, VM, 7 << 48), Some(Origin::Host));
    run(&el2, Origin::Host);
    // The syndrome is an old one: an interrupt leaves it alone.
    assert_eq!(recorder.entry(Level::El0, slot(9), HVC, VM, 8 << 48), Some(Origin::Guest));
    run(&el2, Origin::Guest);
    recorder.mark(0).expect("it is memory");
    recorder.finish().expect("it is memory");
    assert_eq!(
        String::from_utf8(file).expect("it is text"),
        concat!(
            "{\"recording\":1,\"privileged\":2,\"api\":4}\n",
            "{\"phase\":65535,\"instructions\":[0,0,7,0],\"entries\":[],",
            "\"executed\":[[0,2,0,0],[1,1,0,0]]}\n",
            "{\"phase\":1,\"instructions\":[0,1,8,0],\"entries\":[",
            "{\"from\":0,\"slot\":9,\"ec\":null,\"origin\":\"guest\",\"count\":1},",
            "{\"from\":1,\"slot\":8,\"ec\":22,\"origin\":\"host\",\"count\":2}",
            "],\"executed\":[[0,0,1,1],[1,0,1,1],[2,1,0,0]]}\n",
            "{\"phase\":0,\"instructions\":[0,0,0,0],\"entries\":[],\"executed\":[]}\n",
            "{\"segments\":[[0,2,4096,8192,\"9100044291000442b9401823\"],",
            "[1,2,4108,8204,\"d65f03c0\"],[2,1,32768,36864,\"91000442\"]]}\n",
            "{\"end\":true}\n",
        )
    );
}

#[test]
fn without_segments_there_are_totals_and_entries() {
    let mut file = Vec::new();
    let mut recorder = Recorder::new(&arguments(false), &mut file, 4).expect("it is memory");
    let one = recorder.block(Level::El2, &block(0x1000, &[ADD, LDR, ADD, RET]));
    let other = recorder.block(Level::El2, &block(0x5000, &[ADD, RET, RET]));
    assert!(std::ptr::eq(one[0].counts, other[0].counts));
    assert!(!std::ptr::eq(one[0].counts, other[1].counts));
    run(&one, Origin::Boot);
    run(&other, Origin::Host);
    recorder.entry(Level::El1, slot(8), HVC, VM, 0);
    recorder.finish().expect("it is memory");
    assert_eq!(
        String::from_utf8(file).expect("it is text"),
        concat!(
            "{\"recording\":1,\"privileged\":2,\"api\":4}\n",
            "{\"phase\":65535,\"instructions\":[0,0,7,0],\"entries\":[",
            "{\"from\":1,\"slot\":8,\"ec\":22,\"origin\":\"host\",\"count\":1}",
            "],\"executed\":[]}\n",
            "{\"end\":true}\n",
        )
    );
}

//! Random accesses by a hostile host. After each, hardware reaches nothing that it may not
//! ([`Machine::check`]); when hardware is not stuck, the pins are exact; at the end nothing is left.

use std::vec;

use proptest::prelude::*;

use super::*;
use crate::addr::Pfn;
use crate::hw::TableMemory;

#[derive(Clone, Debug)]
enum Op {
    /// A write of any size to any register.
    Write {
        its: bool,
        index: u8,
        offset: u32,
        bytes: u8,
        value: u64,
    },
    /// A read.
    Read {
        its: bool,
        index: u8,
        offset: u32,
        bytes: u8,
    },
    /// A table or queue in a place that may be good.
    Place {
        index: u8,
        offset: u32,
        page: u64,
        size: u64,
    },
    /// Tables of LPIs, and turning them on or off.
    Lpis {
        cpu: u8,
        properties: u64,
        pending: u64,
        id_bits: u64,
        enable: bool,
    },
    /// Turn an ITS on or off.
    Enable {
        index: u8,
        enable: bool,
    },
    /// A command, and the doorbell.
    Command {
        index: u8,
        words: [u64; 4],
    },
    /// Map a device, or not.
    Map {
        index: u8,
        device: u32,
        page: u64,
        offset: u64,
        bits: u64,
        valid: bool,
    },
    /// Translate.
    Translate {
        index: u8,
        device: u32,
        event: u64,
        interrupt: u64,
    },
    /// Map a collection.
    Collect {
        index: u8,
        collection: u64,
        cpu: u64,
    },
    /// Move, make pending, configure an interrupt.
    Event {
        index: u8,
        opcode: u64,
        device: u32,
        event: u64,
        collection: u64,
    },
    /// A redistributor loses its power, or gets it back.
    Power {
        cpu: u8,
        on: bool,
    },
    /// Memory changes hands.
    Donate {
        page: u64,
    },
    Return {
        page: u64,
    },
    /// Hardware hangs, or not any more.
    Hang {
        index: u8,
        commands: u64,
    },
    /// What the driver does, as a whole.
    Probe,
}

/// Pages from all over, so that things collide: the host's, EL2's, none.
fn page() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => RAM..RAM + 64,
        2 => RAM..CARVE + 512,
        1 => any::<u64>().prop_map(|page| page >> 28),
    ]
}

fn event() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0u64..2, 1 => 0u64..300]
}

/// Interrupts around the bounds of tables, and others.
fn interrupt() -> impl Strategy<Value = u64> {
    let bound = (13u32..20, 0u64..3).prop_map(|(bits, more)| (1 << bits) + more - 2);
    prop_oneof![2 => 8192u64..8300, 2 => bound, 1 => any::<u32>().prop_map(u64::from)]
}

fn register() -> impl Strategy<Value = u32> {
    const KNOWN: [u32; 15] =
        [0, 4, 8, 0xc, 0x14, 0x70, 0x78, 0x80, 0x84, 0x88, 0x90, 0x100, 0x104, 0x108, 0x110];
    prop_oneof![4 => proptest::sample::select(&KNOWN[..]), 1 => 0u32..0x200]
}

fn op() -> impl Strategy<Value = Op> {
    let index = 0u8..2;
    let bytes = || proptest::sample::select(&[1u8, 2, 4, 8, 4, 8][..]);
    let opcode = prop_oneof![3 => 0u64..16, 1 => 0u64..256];
    let word =
        || prop_oneof![any::<u64>(), (0u64..12).prop_map(|cpu| VALID | (cpu << 16)), 0u64..99];
    prop_oneof![
        2 => (any::<bool>(), 0u8..5, register(), bytes(), any::<u64>())
            .prop_map(|(its, index, offset, bytes, value)| Op::Write { its, index, offset, bytes, value }),
        1 => (any::<bool>(), 0u8..5, register(), bytes())
            .prop_map(|(its, index, offset, bytes)| Op::Read { its, index, offset, bytes }),
        4 => (index.clone(), proptest::sample::select(&[0x80u32, 0x100, 0x108, 0x110][..]), page(), 0u64..0x304)
            .prop_map(|(index, offset, page, size)| Op::Place { index, offset, page, size: size & 0x303 }),
        3 => (0u8..4, page(), page(), 0u64..18, any::<bool>())
            .prop_map(|(cpu, properties, pending, id_bits, enable)| Op::Lpis { cpu, properties, pending, id_bits, enable }),
        3 => (0u8..4, 13u64..16, any::<bool>()).prop_map(|(cpu, id_bits, enable)| Op::Lpis {
            cpu, properties: PROPERTIES, pending: PENDING + u64::from(cpu) * 16, id_bits, enable }),
        4 => (index.clone(), any::<bool>()).prop_map(|(index, enable)| Op::Enable { index, enable }),
        4 => (index.clone(), opcode, any::<u32>(), word(), word(), word())
            .prop_map(|(index, opcode, high, a, b, c)| Op::Command {
                index, words: [opcode | (u64::from(high & 0x800f_fff0) << 32) , a, b, c] }),
        10 => (index.clone(), 0u32..6, page(), 0u64..16, prop_oneof![4 => 1u64..12, 1 => 12u64..18], any::<bool>())
            .prop_map(|(index, device, page, offset, bits, valid)| Op::Map { index, device, page, offset, bits, valid }),
        4 => (index.clone(), 0u32..6, event(), interrupt())
            .prop_map(|(index, device, event, interrupt)| Op::Translate { index, device, event, interrupt }),
        3 => (index.clone(), 0u64..4, 0u64..4)
            .prop_map(|(index, collection, cpu)| Op::Collect { index, collection, cpu }),
        6 => (index.clone(), proptest::sample::select(&[1u64, 1, 1, 3, 4, 0xc, 0xf][..]), 0u32..6, event(), 0u64..4)
            .prop_map(|(index, opcode, device, event, collection)| Op::Event { index, opcode, device, event, collection }),
        2 => (0u8..4, any::<bool>()).prop_map(|(cpu, on)| Op::Power { cpu, on }),
        3 => page().prop_map(|page| Op::Donate { page }),
        3 => page().prop_map(|page| Op::Return { page }),
        1 => (index, prop_oneof![0u64..3, Just(u64::MAX)])
            .prop_map(|(index, commands)| Op::Hang { index, commands }),
        1 => Just(Op::Probe),
    ]
}

impl Machine {
    fn ring(&mut self, index: u8, words: [u64; 4]) {
        let frame = RegisterFrame::Its(index);
        let queue = self.read(frame, 0x80);
        if queue & VALID == 0 {
            return;
        }
        let at = self.read32(frame, 0x88);
        let address = (queue & 0xf_ffff_ffff_f000) + at;
        let page = Pfn::new(address >> 12).unwrap().base();
        for (word, value) in words.into_iter().enumerate() {
            self.hw.write(page, (address as usize & 0xfff) / 8 + word, value);
        }
        self.write32(frame, 0x88, (at + 32) % (((queue & 0xff) + 1) * 4096));
    }

    fn apply(&mut self, op: &Op) {
        let its = RegisterFrame::Its;
        let frame = |is_its, index| {
            if is_its { its(index) } else { RegisterFrame::Redistributor(index) }
        };
        // Turning on what cannot hear it takes pins for ever, which would not be a leak.
        let models = self.hw.redistributors.clone();
        let no_power = |cpu: u8| {
            models.get(usize::from(cpu)).is_some_and(|model| model.power_fails_after.is_some())
        };
        match *op {
            Op::Write { its, index, offset, bytes, value } => {
                let value = if !its && no_power(index) { value & !1 } else { value };
                self.access(frame(its, index), Mmio { offset, bytes, write: Some(value) });
            }
            Op::Read { its, index, offset, bytes } => {
                self.access(frame(its, index), Mmio { offset, bytes, write: None });
            }
            Op::Place { index, offset, page, size } => {
                self.write(its(index), offset, VALID | (page << 12) & !0xfff | size);
            }
            Op::Lpis { cpu, properties, pending, id_bits, enable } => {
                let frame = RegisterFrame::Redistributor(cpu);
                self.write(frame, 0x70, (properties << 12) | id_bits);
                self.write(frame, 0x78, pending << 12);
                self.write32(frame, 0x0, (enable && !no_power(cpu)).into());
            }
            Op::Enable { index, enable } => self.write32(its(index), 0x0, enable.into()),
            Op::Command { index, words } => self.ring(index, words),
            Op::Map { index, device, page, offset, bits, valid } => {
                let command = mapd(device, (page << 12) + offset * 256, bits);
                self.ring(index, if valid { command } else { unmapd(device) });
            }
            Op::Translate { index, device, event, interrupt } => {
                self.ring(index, mapti(device, event, interrupt));
            }
            Op::Collect { index, collection, cpu } => self.ring(index, mapc(collection, cpu)),
            Op::Event { index, opcode, device, event, collection } => {
                self.ring(index, [opcode | (u64::from(device) << 32), event, collection, 0]);
            }
            Op::Power { cpu, on } => {
                self.hw.redistributors[usize::from(cpu)].power_fails_after = (!on).then_some(0);
            }
            Op::Donate { page } => {
                let Some(pfn) = Pfn::new(page) else { return };
                let range = PageRange::one(pfn);
                if self.host.donate_hyp(&mut self.hw, range, Contents::Zero).is_ok() {
                    self.donated.push(page);
                }
            }
            Op::Return { page } => {
                if let Some(index) = self.donated.iter().position(|given| *given == page) {
                    self.donated.swap_remove(index);
                    self.host.return_host(&mut self.hw, pages(page, 1)).unwrap();
                }
            }
            Op::Hang { index, commands } => {
                self.hw.its[usize::from(index)].commands_left = commands;
            }
            Op::Probe => {
                let range = pages(RAM, 400);
                let free = range.iter().all(|page| {
                    let frame = self.host.frame(page).unwrap();
                    frame.pins == 0 && frame.state == crate::transition::State::Host
                });
                if free && self.hw.its[0].commands_left == u64::MAX {
                    self.probe();
                }
            }
        }
        self.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn hardware_reaches_what_it_may_and_nothing_leaks(
        ops in proptest::collection::vec(op(), 1..200)
    ) {
        let mut machine = Machine::new();
        // Half of the runs start with a driver that works, half of these with devices, too.
        if ops.len() % 2 == 0 {
            machine.probe();
        }
        if ops.len() % 4 == 0 {
            (0..3).for_each(|cpu| machine.enable_lpis(cpu));
            (0..4).for_each(|device| machine.post(&[mapd(device, 0, 5)]));
            (0..4).for_each(|cpu| machine.post(&[mapc(cpu, cpu)]));
        }
        for op in &ops {
            machine.apply(op);
            machine.hw.fake.take_log();
        }
        for its in &mut machine.hw.its {
            its.commands_left = u64::MAX;
        }
        for model in &mut machine.hw.redistributors {
            model.power_fails_after = None;
        }
        for page in std::mem::take(&mut machine.donated) {
            machine.host.return_host(&mut machine.hw, pages(page, 1)).unwrap();
        }
        machine.tear_down();
    }
}

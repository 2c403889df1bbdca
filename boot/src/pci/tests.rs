//! Hierarchies of every shape, with functions that tell whether they were treated well, and
//! configuration space that lies.

use super::*;
use crate::fuzz_tests::Random;
use crate::range::PhysRange;
use std::collections::BTreeMap;

/// How a virtio function presents itself.
#[derive(Clone, Copy, PartialEq)]
enum Virtio {
    /// With the upper half of these features.
    Offers(u32),
    /// Without the window, the common configuration, or any capability.
    NoWindow,
    NoCommon,
    NoCapabilities,
    /// With a list of capabilities that leads to itself.
    Loop,
}

/// A function.
#[derive(Clone)]
struct Function {
    id: u32,
    command: u32,
    header: u32,
    numbers: u32,
    control: u32,
    virtio: Option<Virtio>,
    sriov: bool,
    /// What bus number registers can hold.
    writable: u32,
    window: [u32; 3],
    select: u32,
    behind: Bus,
}

/// A bus: its functions by device and function number.
type Bus = BTreeMap<u8, Function>;

/// Memory, I/O, bus master and interrupt disable on; status bits that a one would clear.
const COMMAND_AT_BOOT: u32 = 0xf910_0407;
const COMMAND_AFTER: u32 = COMMAND_AT_BOOT & !COMMAND_BUS_MASTER;
const PLATFORM: u32 = 0b11;

fn endpoint() -> Function {
    Function {
        id: 0x11e8_1234,
        command: COMMAND_AT_BOOT,
        header: 0,
        numbers: 0,
        control: 0,
        virtio: None,
        sriov: false,
        writable: u32::MAX,
        window: [0; 3],
        select: 0,
        behind: Bus::new(),
    }
}

fn virtio(kind: Virtio) -> Function {
    Function { id: 0x1041_1af4, virtio: Some(kind), ..endpoint() }
}

/// A bridge with these functions behind it, and a latency timer that must stay.
fn bridge<const N: usize>(behind: [(u8, Function); N]) -> Function {
    let behind = Bus::from(behind);
    Function { header: 1, numbers: 0xab00_0000, behind, ..endpoint() }
}

fn numbered(primary: u32, secondary: u32, subordinate: u32, bridge: Function) -> Function {
    let numbers = 0xab00_0000 | subordinate << 16 | secondary << 8 | primary;
    Function { numbers, ..bridge }
}

impl Function {
    fn secondary(&self) -> u8 {
        (self.numbers >> 8) as u8
    }

    fn leads_to(&self, bus: u8) -> bool {
        let held = (self.secondary()..=(self.numbers >> 16) as u8).contains(&bus);
        self.header & 0x7f == 1 && self.control & BRIDGE_RESET == 0 && held
    }

    fn read(&self, offset: u16) -> u32 {
        if let Some(kind) = self.virtio {
            let found = match offset {
                // An MSI-X capability first, then common configuration, window, and a second
                // common configuration that does not count.
                CAPABILITIES => 0x40,
                0x40 if kind == Virtio::Loop => 0x0000_4011,
                0x40 => 0x0000_5011,
                0x50 if kind == Virtio::NoCommon => 0x0210_6009,
                0x50 => 0x0110_6009,
                0x54 => 0xffff_ff04,
                0x58 => 0x3000,
                0x60 if kind == Virtio::NoWindow => 0x0214_8009,
                0x60 => 0x0514_8009,
                0x64..=0x6c => self.window[usize::from(offset - 0x64) / 4],
                0x70 if self.window == [4, 0x3004, 4] => match (kind, self.select) {
                    (Virtio::Offers(features), 1) => features,
                    _ => 0x1234_5678,
                },
                0x80 if kind != Virtio::NoCommon => 0x0110_0009,
                0x100 if self.sriov => 0x1401_0001,
                0x140 if self.sriov => 0x0001_0010,
                _ => 0,
            };
            if found != 0 {
                return found;
            }
        }
        match offset {
            ID => self.id,
            COMMAND if matches!(self.virtio, Some(Virtio::NoCapabilities)) => {
                self.command & !STATUS_CAPABILITIES
            }
            COMMAND => self.command,
            HEADER => self.header << 16,
            BUS_NUMBERS if self.header & 0x7f == 1 => self.numbers,
            BRIDGE_CONTROL => self.control,
            // A conventional function has no extended space.
            EXTENDED.. if self.virtio.is_none() => u32::MAX,
            _ => 0,
        }
    }

    fn write(&mut self, offset: u16, value: u32) {
        match (offset, self.virtio) {
            (COMMAND, _) => {
                assert_eq!(value, COMMAND_AFTER & 0xffff, "status bits are cleared by ones");
                self.command = self.command & 0xffff_0000 | value;
            }
            (BUS_NUMBERS, _) if self.header & 0x7f == 1 => {
                self.numbers = value & self.writable | self.numbers & !self.writable;
            }
            (0x64..=0x6c, Some(_)) => self.window[usize::from(offset - 0x64) / 4] = value,
            (0x70, Some(_)) => {
                assert_eq!(self.window, [4, 0x3000, 4]);
                self.select = value;
            }
            _ => panic!("wrote {value:#x} to {offset:#x}"),
        }
    }
}

/// What is behind a host bridge: root buses by their numbers.
#[derive(Clone)]
struct Hierarchy {
    roots: BTreeMap<u8, Bus>,
    reads: u64,
}

fn find_in(buses: &mut Bus, bus: u8, devfn: u8) -> Option<&mut Function> {
    let bridge = buses.values_mut().find(|function| function.leads_to(bus))?;
    if bridge.secondary() == bus {
        return bridge.behind.get_mut(&devfn);
    }
    find_in(&mut bridge.behind, bus, devfn)
}

impl Hierarchy {
    fn new<const N: usize>(root: [(u8, Function); N]) -> Self {
        Self { roots: BTreeMap::from([(0, Bus::from(root))]), reads: 0 }
    }

    fn with_root<const N: usize>(mut self, number: u8, root: [(u8, Function); N]) -> Self {
        self.roots.insert(number, Bus::from(root));
        self
    }

    fn find(&mut self, requester: u16) -> Option<&mut Function> {
        let [bus, devfn] = requester.to_be_bytes();
        if self.roots.contains_key(&bus) {
            return self.roots.get_mut(&bus)?.get_mut(&devfn);
        }
        self.roots.values_mut().find_map(|root| find_in(root, bus, devfn))
    }

    /// Takes the inventory of buses 0 to 255.
    fn inventory(&mut self) -> Result<(), (Reason, u64)> {
        self.inventory_of(0, 255)
    }

    fn inventory_of(&mut self, first_bus: u8, last_bus: u8) -> Result<(), (Reason, u64)> {
        let config = PhysRange::new(0x1_0000_0000, 0x1000_0000).unwrap();
        let bridge = HostBridge { config, first_bus, last_bus };
        let before = self.clone();
        let found = take_inventory(self, &bridge).map_err(|it| (it.reason, it.culprit));
        // Whatever was found: nothing is left but bus mastering that is off.
        for (root, buses) in &before.roots {
            check_left(buses, &self.roots[root]);
        }
        found
    }
}

impl ConfigSpace for Hierarchy {
    fn read(&mut self, requester: u16, offset: u16) -> u32 {
        assert!(offset & 3 == 0 && offset < 0x1000);
        self.reads += 1;
        self.find(requester).map_or(u32::MAX, |function| function.read(offset))
    }

    fn write(&mut self, requester: u16, offset: u16, value: u32) {
        self.find(requester).expect("writes go to functions that are there").write(offset, value);
    }
}

/// Checks that the registers are as they were.
fn check_left(before: &Bus, after: &Bus) {
    for (devfn, old) in before {
        let new = &after[devfn];
        assert_eq!((new.numbers, new.window, new.select), (old.numbers, [0; 3], 0), "{devfn:#x}");
        check_left(&old.behind, &new.behind);
    }
}

/// Counts the functions that can still write to memory.
fn masters(bus: &Bus) -> usize {
    let on = |function: &Function| usize::from(function.command & COMMAND_BUS_MASTER != 0);
    bus.values().map(|function| on(function) + masters(&function.behind)).sum()
}

#[track_caller]
fn check(mut hierarchy: Hierarchy, expected: Result<(), (Reason, u64)>) {
    assert_eq!(hierarchy.inventory(), expected);
    let left: usize = hierarchy.roots.values().map(masters).sum();
    assert_eq!(left, 0, "functions that were not stopped");
}

#[test]
fn one_bus_of_endpoints() {
    let multi = Function { header: 0x80, ..endpoint() };
    check(Hierarchy::new([]), Ok(()));
    // Functions without a function 0, and the last of all.
    let functions = [(0, endpoint()), (8, multi), (9, endpoint()), (0x13, endpoint())];
    let mut all = Hierarchy::new(functions);
    all.roots.get_mut(&0).unwrap().insert(255, endpoint());
    check(all, Ok(()));
}

#[test]
fn virtio_functions_have_to_offer_access_platform() {
    let offers = |features| virtio(Virtio::Offers(features));
    let alone = |function| Hierarchy::new([(0, endpoint()), (0x10, function), (0x18, endpoint())]);
    check(alone(offers(PLATFORM)), Ok(()));
    check(alone(offers(0xffff_fffe)), Ok(()));
    let bypass = Err((Reason::VirtioBypass, 0x10));
    for features in [0, 1, 0xffff_fffd, u32::MAX] {
        check(alone(offers(features)), bypass);
    }
    for kind in [Virtio::NoWindow, Virtio::NoCommon, Virtio::NoCapabilities, Virtio::Loop] {
        check(alone(virtio(kind)), bypass);
    }
    // By the IDs: transitional ones can be used without features.
    for (id, expected) in [
        (0x1000_1af4, bypass),
        (0x103f_1af4, bypass),
        (0x1040_1af4, Ok(())),
        (0x107f_1af4, Ok(())),
        (0x1080_1af4, Ok(())),
        (0x0fff_1af4, Ok(())),
        (0x1110_1af4, Ok(())),
        (0x1041_1af5, Ok(())),
    ] {
        check(alone(Function { id, ..offers(PLATFORM) }), expected);
        let harmless = id >> 16 < 0x1000 || id >> 16 > 0x107f || id & 1 == 1;
        let expected = if harmless { Ok(()) } else { bypass };
        check(alone(Function { id, ..offers(0) }), expected);
    }
    check(alone(Function { sriov: true, ..offers(PLATFORM) }), bypass);
    check(alone(Function { sriov: true, id: 0x10c9_8086, ..offers(0) }), Ok(()));
    // The first is named.
    let two = Hierarchy::new([(0x20, offers(1)), (0x11, virtio(Virtio::NoCommon))]);
    check(two, Err((Reason::VirtioBypass, 0x11)));
}

#[test]
fn bridges_without_numbers_are_followed() {
    let leaf = || bridge([(0, virtio(Virtio::Offers(PLATFORM)))]);
    let switch = bridge([(0, bridge([(0, leaf()), (8, leaf()), (0x10, leaf())]))]);
    let multi = Function { header: 0x81, ..leaf() };
    check(Hierarchy::new([(8, leaf()), (0x10, switch), (0x18, multi), (0x19, leaf())]), Ok(()));
    // The numbers of the message are those that a host gives, counting up.
    let bad = bridge([(0, bridge([])), (0x18, virtio(Virtio::Offers(1)))]);
    let third = Hierarchy::new([(8, leaf()), (0x10, bridge([(0, leaf())])), (0x18, bad)]);
    check(third, Err((Reason::VirtioBypass, 0x0418)));
}

#[test]
fn numbers_of_any_kind_are_put_back() {
    let leaf = || bridge([(0, endpoint())]);
    // Whole; without room for the bridge behind; overlapping; backwards; everything.
    let whole = numbered(0, 1, 2, bridge([(0, numbered(1, 2, 2, leaf()))]));
    let tight = numbered(0, 3, 3, bridge([(0, leaf()), (8, numbered(3, 9, 9, leaf()))]));
    for (second, third) in
        [(whole.clone(), tight.clone()), (tight.clone(), whole.clone()), (whole, tight)]
    {
        for odd in [(0, 1, 3), (0, 0, 255), (9, 255, 0), (0, 3, 3), (255, 255, 255)] {
            let odd = numbered(odd.0, odd.1, odd.2, leaf());
            let root = [(8, second.clone()), (0x10, third.clone()), (0x18, odd), (0x20, leaf())];
            check(Hierarchy::new(root), Ok(()));
        }
    }
}

#[test]
fn functions_on_another_root_are_found() {
    let leaf = || bridge([(0, endpoint())]);
    let base = || Hierarchy::new([(0, endpoint()), (8, leaf()), (0x10, leaf())]);
    check(base().with_root(128, []), Ok(()));
    check(base().with_root(128, [(0, endpoint())]), Err((Reason::SecondRoot, 0x8000)));
    // In the way of the numbers that the bridges get, and the very last.
    let ports = || [(0, numbered(1, 0, 0, bridge([]))), (255, virtio(Virtio::Offers(0)))];
    check(base().with_root(1, ports()), Err((Reason::SecondRoot, 0x0100)));
    check(base().with_root(255, ports()), Err((Reason::SecondRoot, 0xff00)));
    // With numbers of its own, what is behind is found too.
    let behind = numbered(128, 129, 129, leaf());
    check(base().with_root(128, [(8, behind)]), Err((Reason::SecondRoot, 0x8008)));
    // All others are a root's: no number is left.
    let mut full = base();
    for number in 1..=255 {
        full = full.with_root(number, [(0, endpoint())]);
    }
    assert_eq!(full.inventory(), Err((Reason::SecondRoot, 0x0100)));
    assert_eq!(masters(&full.roots[&255]), 0);
    // What lies outside of the buses of the bridge is another's.
    assert_eq!(base().with_root(128, [(0, endpoint())]).inventory_of(0, 127), Ok(()));
}

#[test]
fn buses_at_either_end_are_scanned() {
    let mut hierarchy = Hierarchy { roots: BTreeMap::new(), reads: 0 };
    hierarchy = hierarchy.with_root(255, [(0, endpoint()), (8, bridge([]))]);
    assert_eq!(hierarchy.inventory_of(255, 255), Err((Reason::BadHierarchy, 0xff08)));
    hierarchy.roots.get_mut(&255).unwrap().remove(&8);
    assert_eq!(hierarchy.inventory_of(255, 255), Ok(()));
    // Numbers are used again when they run out.
    let leaf = || bridge([(0, endpoint())]);
    let ports = [(8, bridge([(0, leaf())])), (16, leaf()), (24, leaf()), (32, leaf())];
    assert_eq!(Hierarchy::new(ports.clone()).inventory_of(0, 2), Ok(()));
    let short = Hierarchy::new(ports.clone()).inventory_of(0, 1);
    assert_eq!(short, Err((Reason::BadHierarchy, 0x0100)));
    let shorter = Hierarchy::new(ports).inventory_of(0, 0);
    assert_eq!(shorter, Err((Reason::BadHierarchy, 8)));
}

/// That many bridges, one behind the other.
fn chain(length: usize) -> Function {
    (1..length).fold(bridge([(0, endpoint())]), |behind, _| bridge([(0, behind)]))
}

#[test]
fn hierarchies_that_are_too_large_are_refused() {
    check(Hierarchy::new([(8, chain(MAX_DEPTH)), (16, endpoint())]), Ok(()));
    let mut deep = Hierarchy::new([(8, chain(MAX_DEPTH + 1)), (16, chain(2))]);
    assert_eq!(deep.inventory(), Err((Reason::BadHierarchy, 0x1000)));
    // The bridge that is not followed lets nothing through either: only what is behind is on.
    assert_eq!(masters(&deep.roots[&0]), 1);
    // As many bridges as a bus has functions, and one more elsewhere.
    let mut wide = Hierarchy::new([]);
    for devfn in 0..=255 {
        wide.roots.get_mut(&0).unwrap().insert(devfn, bridge([(0, endpoint())]));
    }
    check(wide.clone(), Ok(()));
    wide.roots.get_mut(&0).unwrap().insert(3, bridge([(0, bridge([]))]));
    assert!(matches!(wide.inventory(), Err((Reason::BadHierarchy, _))));
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let with = |odd| Hierarchy::new([(8, odd), (16, bridge([(0, endpoint())]))]);
    let bad = Err((Reason::BadHierarchy, 8));
    // CardBus bridges and what has no name.
    for header in [2, 3, 0x82, 0x7f] {
        check(with(Function { header, ..endpoint() }), bad);
    }
    let fixed = Function { writable: 0xff00_0000, ..bridge([]) };
    check(with(fixed), bad);
    let held = Function { control: BRIDGE_RESET | 0x3, ..bridge([]) };
    check(with(held), bad);
}

/// One bridge that answers for every function of its device.
struct Aliases(Hierarchy);

impl ConfigSpace for Aliases {
    fn read(&mut self, requester: u16, offset: u16) -> u32 {
        self.0.read(requester & !7, offset)
    }

    fn write(&mut self, requester: u16, offset: u16, value: u32) {
        self.0.write(requester & !7, offset, value);
    }
}

#[test]
fn a_bridge_of_several_names_keeps_its_numbers() {
    let device = numbered(0, 7, 9, bridge([(0, endpoint())]));
    let mut aliases = Aliases(Hierarchy::new([(8, device)]));
    let config = PhysRange::new(0x1_0000_0000, 0x1000_0000).unwrap();
    let host = HostBridge { config, first_bus: 0, last_bus: 255 };
    assert_eq!(take_inventory(&mut aliases, &host), Ok(()));
    let bus = &aliases.0.roots[&0];
    assert_eq!((bus[&8].numbers, masters(bus)), (0xab09_0700, 0));
}

/// Configuration space that makes something up at each read, or remembers what was written.
struct Hostile {
    random: Random,
    /// How often, of 8, a function is there; a bridge; a register is remembered.
    odds: [usize; 3],
    written: BTreeMap<(u16, u16), u32>,
    accesses: u64,
}

impl ConfigSpace for Hostile {
    fn read(&mut self, requester: u16, offset: u16) -> u32 {
        assert!(offset & 3 == 0 && offset < 0x1000);
        self.accesses += 1;
        let random = self.random.next() as u32;
        let [present, bridge, remembered] = self.odds.map(|odds| self.random.below(8) < odds);
        match offset {
            ID if !present => u32::MAX,
            ID if random & 3 == 0 => 0x1041_1af4,
            HEADER if bridge => 0x0001_0000,
            _ if remembered => *self.written.get(&(requester, offset)).unwrap_or(&random),
            0x40..=0xff if random & 1 == 0 => random & 0x0700_ff00 | VENDOR_CAPABILITY,
            _ => random,
        }
    }

    fn write(&mut self, requester: u16, offset: u16, value: u32) {
        assert!(offset & 3 == 0 && offset < 0x1000);
        self.accesses += 1;
        self.written.insert((requester, offset), value);
    }
}

#[test]
fn lies_end() {
    let config = PhysRange::new(0x1_0000_0000, 0x1000_0000).unwrap();
    for round in 0..48 {
        let mut random = Random(0x5eed_0000 + round);
        let odds = [random.below(9), random.below(9), random.below(9)];
        let (one, other) = (random.next() as u8, random.next() as u8);
        let mut space = Hostile { random, odds, written: BTreeMap::new(), accesses: 0 };
        let host = HostBridge { config, first_bus: one.min(other), last_bus: one.max(other) };
        let found = take_inventory(&mut space, &host);
        assert!(odds[0] < 2 || found.is_err());
        // Every function of every bus twice, with the longest lists of capabilities.
        assert!(space.accesses < 2 * 65_536 * 256, "{}", space.accesses);
    }
    // A bridge at every place, with numbers that stick: the scans run out.
    let space = |odds| Hostile { random: Random(1), odds, written: BTreeMap::new(), accesses: 0 };
    let host = HostBridge { config, first_bus: 0, last_bus: 255 };
    for odds in [[8, 8, 8], [8, 8, 0], [8, 0, 8], [0, 8, 8]] {
        assert_eq!(take_inventory(&mut space(odds), &host).is_ok(), odds[0] == 0);
    }
}

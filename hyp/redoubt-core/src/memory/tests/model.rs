//! Random sequences of operations by the host and two VMs, against a naive model.
//!
//! The model keeps, for each page, who owns it, who borrows it and what it is used for, and for each
//! VM a map from address to page; it knows nothing of tables or records. After each operation: the
//! verdict is the model's; a refusal has changed no byte; the tables agree with the records; no
//! secret lies open. At the end each page is reached by exactly those the model says, and after all
//! VMs are torn down the machine is as it was at boot, to the last table.

use std::collections::{BTreeMap, HashMap};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::addr::PageRange;

const SLOTS: [u8; 2] = [3, 200];
const IPA_PAGES: u64 = 1 << 28;
/// Where the VMs' start-level tables and first pools lie.
const ROOTS: [u64; 2] = [RAM + 1300, RAM + 1400];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Hyp,
    Host,
    Vm(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Memory,
    Tables,
    State,
}

#[derive(Clone, Copy, Debug)]
struct Page {
    owner: Who,
    borrower: Option<Who>,
    used_as: Use,
    pins: u16,
}

impl Page {
    fn is_free(&self) -> bool {
        self.owner == Who::Host && self.borrower.is_none() && self.pins == 0
    }

    fn host_reaches(&self) -> bool {
        self.owner == Who::Host || self.borrower == Some(Who::Host)
    }

    fn is_memory_of(&self, vm: usize) -> bool {
        self.owner == Who::Vm(vm) && self.used_as == Use::Memory
    }
}

/// One operation. `at` and `first` are page numbers.
#[derive(Clone, Copy, Debug)]
enum Op {
    DonateHyp { first: u64, count: u64 },
    ReturnHost { first: u64, count: u64 },
    DonateTables { vm: usize, first: u64, count: u64 },
    DonateState { vm: usize, first: u64, count: u64 },
    ReturnState { vm: usize, first: u64, count: u64 },
    DonateMemory { vm: usize, first: u64, count: u64, at: u64, contents: Contents },
    Share { vm: usize, first: u64, count: u64, at: u64 },
    Unshare { vm: usize, at: u64, count: u64 },
    GuestShare { vm: usize, at: u64, count: u64, contents: Contents },
    GuestUnshare { vm: usize, at: u64, count: u64, contents: Contents },
    Relinquish { vm: usize, at: u64, count: u64 },
    Pin { first: u64, count: u64 },
    Unpin { first: u64, count: u64 },
    Die { vm: usize },
}

struct Model {
    pages: HashMap<u64, Page>,
    maps: [BTreeMap<u64, u64>; 2],
    dying: [bool; 2],
}

impl Model {
    fn new() -> Self {
        let page = |owner| Page { owner, borrower: None, used_as: Use::Memory, pins: 0 };
        let mut pages = HashMap::new();
        for range in host_ram() {
            pages.extend(range.iter().map(|number| (number.raw(), page(Who::Host))));
        }
        // EL2's own pages are not in the list: nobody may touch them.
        Self { pages, maps: [BTreeMap::new(), BTreeMap::new()], dying: [false; 2] }
    }

    /// Tells whether all pages exist, are not too many, and are as they should be.
    fn all(&self, first: u64, count: u64, is: impl Fn(&Page) -> bool) -> bool {
        let exist = (first..first + count).all(|page| self.pages.get(&page).is_some_and(&is));
        (1..=512).contains(&count) && exist
    }

    /// The same for the pages that a VM sees.
    fn all_seen(&self, vm: usize, at: u64, count: u64, is: impl Fn(&Page) -> bool) -> bool {
        let seen = |address| self.maps[vm].get(&address).map(|page| self.pages[page]);
        let fine = (at..at + count).all(|address| seen(address).is_some_and(|page| is(&page)));
        !self.dying[vm] && (1..=512).contains(&count) && fine
    }

    fn free_at(&self, vm: usize, at: u64, count: u64) -> bool {
        self.maps[vm].range(at..at + count).next().is_none() && at + count <= IPA_PAGES
    }

    /// Says whether the rules allow an operation.
    fn allows(&self, op: Op) -> bool {
        let alive = |vm: usize| !self.dying[vm];
        let lendable = |page: &Page| page.owner == Who::Host && page.borrower.is_none();
        match op {
            Op::DonateHyp { first, count } => self.all(first, count, Page::is_free),
            Op::ReturnHost { first, count } => {
                self.all(first, count, |page| page.owner == Who::Hyp)
            }
            Op::DonateTables { vm, first, count } | Op::DonateState { vm, first, count } => {
                alive(vm) && self.all(first, count, Page::is_free)
            }
            Op::ReturnState { vm, first, count } => self
                .all(first, count, |page| page.owner == Who::Vm(vm) && page.used_as == Use::State),
            Op::DonateMemory { vm, first, count, at, .. } => {
                alive(vm) && self.all(first, count, Page::is_free) && self.free_at(vm, at, count)
            }
            Op::Share { vm, first, count, at } => {
                alive(vm) && self.all(first, count, lendable) && self.free_at(vm, at, count)
            }
            Op::Unshare { vm, at, count } => {
                self.all_seen(vm, at, count, |page| page.owner == Who::Host)
            }
            Op::GuestShare { vm, at, count, .. } | Op::Relinquish { vm, at, count } => self
                .all_seen(vm, at, count, |page| page.is_memory_of(vm) && page.borrower.is_none()),
            Op::GuestUnshare { vm, at, count, .. } => self.all_seen(vm, at, count, |page| {
                page.is_memory_of(vm) && page.borrower.is_some() && page.pins == 0
            }),
            Op::Pin { first, count } => self.all(first, count, Page::host_reaches),
            Op::Unpin { first, count } => {
                self.all(first, count, |page| page.host_reaches() && page.pins > 0)
            }
            Op::Die { .. } => true,
        }
    }

    fn change(&mut self, first: u64, count: u64, how: impl Fn(&mut Page)) {
        for number in first..first + count {
            how(self.pages.get_mut(&number).unwrap());
        }
    }

    fn change_seen(&mut self, vm: usize, at: u64, count: u64, how: impl Fn(&mut Page)) {
        for address in at..at + count {
            how(self.pages.get_mut(&self.maps[vm][&address]).unwrap());
        }
    }

    /// Carries an allowed operation out.
    fn apply(&mut self, op: Op) {
        match op {
            Op::DonateHyp { first, count } => {
                self.change(first, count, |page| page.owner = Who::Hyp);
            }
            Op::ReturnHost { first, count } => {
                self.change(first, count, |page| page.owner = Who::Host);
            }
            Op::DonateTables { vm, first, count } => self.change(first, count, |page| {
                (page.owner, page.used_as) = (Who::Vm(vm), Use::Tables);
            }),
            Op::DonateState { vm, first, count } => self.change(first, count, |page| {
                (page.owner, page.used_as) = (Who::Vm(vm), Use::State);
            }),
            Op::ReturnState { first, count, .. } => self.change(first, count, |page| {
                (page.owner, page.used_as) = (Who::Host, Use::Memory);
            }),
            Op::DonateMemory { vm, first, count, at, .. } => {
                self.change(first, count, |page| page.owner = Who::Vm(vm));
                self.maps[vm].extend((0..count).map(|offset| (at + offset, first + offset)));
            }
            Op::Share { vm, first, count, at } => {
                self.change(first, count, |page| page.borrower = Some(Who::Vm(vm)));
                self.maps[vm].extend((0..count).map(|offset| (at + offset, first + offset)));
            }
            Op::Unshare { vm, at, count } => {
                self.change_seen(vm, at, count, |page| page.borrower = None);
                self.maps[vm].retain(|address, _| *address < at || *address >= at + count);
            }
            Op::GuestShare { vm, at, count, .. } => {
                self.change_seen(vm, at, count, |page| page.borrower = Some(Who::Host));
            }
            Op::GuestUnshare { vm, at, count, .. } => {
                self.change_seen(vm, at, count, |page| page.borrower = None);
            }
            Op::Relinquish { vm, at, count } => {
                self.change_seen(vm, at, count, |page| page.owner = Who::Host);
                self.maps[vm].retain(|address, _| *address < at || *address >= at + count);
            }
            Op::Pin { first, count } => self.change(first, count, |page| page.pins += 1),
            Op::Unpin { first, count } => self.change(first, count, |page| page.pins -= 1),
            Op::Die { vm } => self.dying[vm] = true,
        }
    }
}

/// Carries an operation out on the real thing.
fn run(world: &mut World, vms: &mut [VmMemory; 2], op: Op) -> Result<(), Refusal> {
    let World { hw, host } = world;
    let address = |at: u64, count: u64| {
        let first = crate::addr::Ipa::from_page_number(at).ok_or(Refusal::OutOfRange)?;
        IpaRange::new(first, count)
    };
    let range = |first: u64, count: u64| {
        PageRange::new(crate::addr::Pfn::new(first).ok_or(Refusal::NotRam)?, count)
    };
    match op {
        Op::DonateHyp { first, count } => host.donate_hyp(hw, range(first, count)?, Contents::Zero),
        Op::ReturnHost { first, count } => host.return_host(hw, range(first, count)?),
        Op::DonateTables { vm, first, count } => {
            host.donate_tables(hw, &mut vms[vm], range(first, count)?)
        }
        Op::DonateState { vm, first, count } => {
            host.donate_state(hw, &mut vms[vm], range(first, count)?)
        }
        Op::ReturnState { vm, first, count } => {
            host.return_state(hw, &vms[vm], range(first, count)?)
        }
        Op::DonateMemory { vm, first, count, at, contents } => {
            host.donate_memory(hw, &mut vms[vm], range(first, count)?, ipa(at), contents)
        }
        Op::Share { vm, first, count, at } => {
            host.share_memory(hw, &mut vms[vm], range(first, count)?, ipa(at), Lend::ReadWrite)
        }
        Op::Unshare { vm, at, count } => host.unshare_memory(hw, &mut vms[vm], address(at, count)?),
        Op::GuestShare { vm, at, count, contents } => {
            host.guest_share(hw, &mut vms[vm], address(at, count)?, contents)
        }
        Op::GuestUnshare { vm, at, count, contents } => {
            host.guest_unshare(hw, &mut vms[vm], address(at, count)?, contents)
        }
        Op::Relinquish { vm, at, count } => {
            host.guest_relinquish(hw, &mut vms[vm], address(at, count)?)
        }
        Op::Pin { first, count } => host.pin(range(first, count)?),
        Op::Unpin { first, count } => host.unpin(range(first, count)?),
        Op::Die { vm } => {
            vms[vm].begin_teardown();
            Ok(())
        }
    }
}

/// Pages that meet: few, around the borders of blocks and regions, and some that nobody may have.
fn any_page() -> impl Strategy<Value = u64> {
    let bases = [RAM, RAM, RAM + 508, RAM + 512, RAM + 1020, HIGH, HIGH + 509, ROOTS[0], ROOTS[1]];
    let near = (prop::sample::select(bases.to_vec()), 0u64..6).prop_map(|(base, at)| base + at);
    let odd = [CARVE - 1, CARVE, UART, 0, HIGH - 1, HIGH + HIGH_PAGES - 1, (1 << 36) - 1];
    prop_oneof![12 => near, 1 => prop::sample::select(odd.to_vec())]
}

fn any_address() -> impl Strategy<Value = u64> {
    let bases = [0, 0, 510, 512, 1 << 18, IPA_PAGES - 3];
    (prop::sample::select(bases.to_vec()), 0u64..6).prop_map(|(base, at)| base + at)
}

fn any_count() -> impl Strategy<Value = u64> {
    prop_oneof![16 => 1u64..5, 3 => Just(512u64), 1 => Just(500u64), 1 => Just(513u64), 1 => Just(0)]
}

fn any_op() -> impl Strategy<Value = Op> {
    let contents = prop::sample::select(std::vec![Contents::Keep, Contents::Zero]);
    (0u8..42, 0usize..2, any_page(), any_count(), any_address(), contents).prop_map(
        |(kind, vm, first, count, at, contents)| match kind {
            0..=1 => Op::DonateHyp { first, count },
            2..=3 => Op::ReturnHost { first, count },
            4 => Op::DonateTables { vm, first, count: count.min(4) },
            5 => Op::DonateState { vm, first, count },
            6 => Op::ReturnState { vm, first, count },
            7..=15 => Op::DonateMemory { vm, first, count, at, contents },
            16..=19 => Op::Share { vm, first, count, at },
            20..=22 => Op::Unshare { vm, at, count },
            23..=28 => Op::GuestShare { vm, at, count, contents },
            29..=33 => Op::GuestUnshare { vm, at, count, contents },
            34..=36 => Op::Relinquish { vm, at, count },
            37..=38 => Op::Pin { first, count },
            39..=40 => Op::Unpin { first, count },
            _ => Op::Die { vm },
        },
    )
}

/// Checks that each page is reached by those that the model says and by nobody else.
fn check_reach(world: &mut World, vms: &[VmMemory; 2], model: &Model) {
    for (number, page) in &model.pages {
        assert_eq!(world.host_reaches(*number), page.host_reaches(), "{number:x} {page:?}");
    }
    for number in [CARVE, CARVE + 511, HIGH - 1, HIGH + HIGH_PAGES] {
        assert!(!world.host_reaches(number));
    }
    let mut seen_by: HashMap<u64, usize> = HashMap::new();
    for (vm, map) in vms.iter().zip(&model.maps) {
        for address in
            (0..1100).chain((1 << 18) - 2..(1 << 18) + 520).chain(IPA_PAGES - 520..IPA_PAGES)
        {
            let seen = world.vm_sees(vm, address);
            assert_eq!(seen, map.get(&address).copied(), "{address:x}");
            if let Some(page) = seen {
                *seen_by.entry(page).or_default() += 1;
            }
        }
    }
    assert!(seen_by.values().all(|count| *count == 1), "one page at two addresses");
}

/// Ends all loans, pins and VMs, and checks that nothing is left of them.
fn clean_up(world: &mut World, vms: &mut [VmMemory; 2], model: &mut Model) {
    let mut numbers: Vec<u64> = model.pages.keys().copied().collect();
    numbers.sort_unstable();
    for number in numbers {
        let page = model.pages[&number];
        for _ in 0..page.pins {
            world.host.unpin(pages(number, 1)).unwrap();
        }
        match (page.owner, page.used_as) {
            (Who::Hyp, _) => world.host.return_host(&mut world.hw, pages(number, 1)).unwrap(),
            (Who::Vm(vm), Use::State) => {
                world.host.return_state(&mut world.hw, &vms[vm], pages(number, 1)).unwrap();
            }
            (Who::Vm(_) | Who::Host, _) => {}
        }
    }
    for vm in vms.iter_mut() {
        vm.begin_teardown();
        let mut calls = 0;
        while world.host.reclaim_step(&mut world.hw, vm).unwrap() == Reclaim::More {
            calls += 1;
            assert!(calls < 50, "the teardown makes no progress");
        }
        assert!(world.is_gone(vm), "{:?}", world.counts(vm));
    }
    let [one, two] = &*vms;
    world.check(&[one, two]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn operations_follow_the_model(
        ops in prop::collection::vec(any_op(), 1..60),
        tables in prop::sample::select(std::vec![0u64, 3, 12]),
        guard in prop::sample::select(std::vec![Guard::None, Guard::Smmus, Guard::SnoopingSmmus]),
    ) {
        let mut world = World::with_guard(guard);
        let at_boot = world.host.frames().entries().to_vec();
        let free_at_boot = world.host.free_tables();
        let mut model = Model::new();
        let mut make = |slot: usize| {
            let vm = world.create(SLOTS[slot], ROOTS[slot]).unwrap();
            model.change(ROOTS[slot], 1, |page| {
                (page.owner, page.used_as) = (Who::Vm(slot), Use::Tables);
            });
            vm
        };
        let mut vms = [make(0), make(1)];
        for (vm, root) in ROOTS.into_iter().enumerate() {
            if tables > 0 {
                let op = Op::DonateTables { vm, first: root + 1, count: tables };
                run(&mut world, &mut vms, op).unwrap();
                model.apply(op);
            }
        }
        for op in ops {
            let before = world.image(&[&vms[0], &vms[1]]);
            let got = run(&mut world, &mut vms, op);
            match got {
                Ok(()) => {
                    prop_assert!(model.allows(op), "granted against the rules: {op:?}");
                    model.apply(op);
                }
                Err(refusal) => {
                    // The model knows no tables: a pool that is nearly empty may refuse.
                    let starved = refusal == Refusal::NoTables
                        && vms.iter().any(|vm| vm.free_tables() < 7);
                    prop_assert!(starved || !model.allows(op), "{op:?} refused: {refusal:?}");
                    prop_assert!(before == world.image(&[&vms[0], &vms[1]]), "{op:?} changed something");
                }
            }
            world.check(&[&vms[0], &vms[1]]);
            world.spread_secrets();
        }
        check_reach(&mut world, &vms, &model);
        clean_up(&mut world, &mut vms, &mut model);
        prop_assert_eq!(world.host.frames().entries(), at_boot);
        prop_assert_eq!(world.host.free_tables(), free_at_boot);
    }
}

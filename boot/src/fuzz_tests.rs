//! Mutated trees through everything: nothing panics, nothing runs for ever, and what is accepted
//! keeps every invariant.

use crate::bytes;
use crate::fdt::Fdt;
use crate::host_fdt::{self, HostView};
use crate::layout::{self, Demand};
use crate::machine::{MachineInfo, StreamRange};
use crate::range::{PAGE_SIZE, PhysRange, is_aligned};
use crate::testing::{self, guarded_machine, small_machine};
use crate::unguarded::Unguarded;
use crate::{BLOCK_SIZE, BootError};
use proptest::prelude::*;

/// A generator of numbers that repeats: xorshift64*.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Values that are at the edge of something.
const EDGES: [u32; 12] =
    [0, 1, 2, 3, 4, 9, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x4000_0000, 0xfff, 0x10_0000];

/// Changes one place in a tree.
fn mutate(blob: &mut [u8], random: &mut Random) {
    let at = random.below(blob.len());
    match random.below(6) {
        0 => blob[at] = random.next() as u8,
        1 => blob[at] ^= 1 << random.below(8),
        2 => {
            let edge = EDGES[random.below(EDGES.len())];
            let _ = bytes::put(blob, at & !3, &edge.to_be_bytes());
        }
        3 => {
            // Header words are rare among all bytes and decide the most.
            let edge = EDGES[random.below(EDGES.len())];
            let _ = bytes::put(blob, 4 * random.below(10), &edge.to_be_bytes());
        }
        4 => {
            let from = random.below(blob.len()) & !3;
            let len = (4 * random.below(8)).min(blob.len() - from).min(blob.len() - (at & !3));
            blob.copy_within(from..from + len, at & !3);
        }
        _ => {
            let len = random.below(64).min(blob.len() - at);
            blob[at..at + len].fill(0);
        }
    }
}

/// Takes a tree through everything; if it was accepted, why devices are not guarded.
fn run(blob: &[u8], out: &mut [u8]) -> Result<Option<Unguarded>, BootError> {
    let fdt = Fdt::new(blob)?;
    let info = MachineInfo::from_fdt(&fdt).inspect_err(|error| {
        assert!(!error.to_string().is_empty());
    })?;
    check(&info);
    let memory = info.memory.as_slice();
    let budget = layout::budget(&Demand {
        memory,
        devices: info.devices.as_slice(),
        cpus: info.cpus.len() as u64,
        image_bytes: 1 << 20,
        per_cpu_bytes: 1 << 16,
        page_record_bytes: 16,
        spare_tables: 16,
        dma_doorbells: Some(info.its.len() as u64),
        extra_bytes: 1 << 20,
    })?;
    let last = memory[memory.len() - 1];
    let size = budget.total_bytes.min((last.size() / 2) & !(BLOCK_SIZE - 1));
    let hyp = PhysRange::new((last.end() - size) & !(BLOCK_SIZE - 1), size).unwrap_or_default();
    let guarded = info.unguarded.is_none();
    let view = HostView { machine: &info, hyp, abi_version: 1, guarded };
    let size = host_fdt::write(&fdt, &view, out)?;
    assert!(size as u64 <= host_fdt::max_size(&fdt));
    // The host's tree is one, and shows none of the hypervisor's memory.
    let out = &mut out[..size];
    Fdt::new(out).expect("the host's tree is well-formed");
    give_back_virt(out);
    let host = Fdt::new(out).expect("renaming keeps it so");
    let host = MachineInfo::from_fdt(&host).expect("the host's tree describes a machine");
    assert!(!host.memory.overlaps(&hyp));
    assert!(host.memory.as_slice().iter().all(|range| info.memory.contains(range)));
    assert_eq!(host.memory.total(), info.memory.total() - hyp.size());
    assert_eq!((&host.cpus, &host.gic), (&info.cpus, &info.gic));
    // What the host may reach it is shown, but for the SMMUs if they are not its own.
    let mut shown = info.devices;
    for smmu in info.smmus.iter().filter(|_| guarded) {
        shown.remove(smmu.registers.page_outward()).unwrap();
    }
    assert!(shown.as_slice().iter().all(|range| host.devices.contains(range)));
    assert_eq!(&host.host_bridges, &info.host_bridges);
    assert_eq!(host.smmus.len(), if guarded { 0 } else { info.smmus.len() });
    Ok(info.unguarded)
}

/// Calls the interrupt that the host's tree calls `unused` `virt` again, without which
/// `MachineInfo` finds no timer.
fn give_back_virt(tree: &mut [u8]) {
    let places = tree.windows(7).enumerate().filter(|(_, text)| *text == b"unused\0");
    for at in places.map(|(at, _)| at).collect::<Vec<_>>() {
        tree[at..at + 7].copy_from_slice(b"virt\0-\0");
    }
}

/// Checks what the documentation of `MachineInfo` promises.
fn check(info: &MachineInfo) {
    let memory = info.memory.as_slice();
    assert!(!memory.is_empty() && !info.cpus.is_empty());
    for set in [memory, info.devices.as_slice()] {
        for range in set {
            assert!(range.size() > 0);
            assert!(is_aligned(range.start() | range.end(), PAGE_SIZE));
        }
        assert!(set.windows(2).all(|pair| pair[0].end() < pair[1].start()));
    }
    assert!(memory.iter().all(|range| !info.devices.overlaps(range)));
    for smmu in info.smmus.iter() {
        assert!(smmu.registers.size() >= 0x2_0000 && is_aligned(smmu.registers.start(), PAGE_SIZE));
        let end = |range: &StreamRange| u64::from(range.first) + range.count;
        assert!(smmu.streams.iter().all(|range| range.count > 0 && end(range) <= 1 << 32));
        let mut pairs = smmu.streams.windows(2);
        assert!(pairs.all(|pair| end(&pair[0]) < u64::from(pair[1].first)));
    }
    for bridge in info.host_bridges.iter() {
        let buses = u64::from(bridge.last_bus) - u64::from(bridge.first_bus) + 1;
        assert!(bridge.config.size() >= buses << 20);
    }
    if info.unguarded.is_none() {
        let guarded: u64 = info.smmus.iter().flat_map(|it| &*it.streams).map(|it| it.count).sum();
        assert!(info.host_bridges.is_empty() || guarded > 0);
    }
    assert!(info.cpus.len() == 1 || info.psci.is_some());
    for (index, cpu) in info.cpus.iter().enumerate() {
        assert!(info.cpus[..index].iter().all(|other| other != cpu));
    }
}

#[test]
fn a_hundred_thousand_mutated_trees() {
    let small = guarded_machine().write_with(&[(0x4800_0000, 0x1000)]);
    let seeds =
        [&small[..], testing::CPUS8_8G, testing::CPUS1_512M, testing::CPUS4_2G, testing::NUMA];
    let mut random = Random(0x5eed_7e57);
    let mut out = vec![0; 0x2_0000];
    let (mut accepted, mut guarded) = (0, 0);
    for round in 0..120_000 {
        // The small tree is denser, so most rounds go there.
        let seed = if round % 8 < 6 { seeds[0] } else { seeds[random.below(seeds.len())] };
        let mut blob = seed.to_vec();
        for _ in 0..=random.below(4) {
            mutate(&mut blob, &mut random);
        }
        let Ok(found) = run(&blob, &mut out) else { continue };
        accepted += 1;
        guarded += usize::from(found.is_none());
    }
    // The mutations are neither harmless nor so coarse that nothing gets past the header.
    assert!((10_000..110_000).contains(&accepted), "{accepted} accepted");
    assert!((5_000..accepted - 1_000).contains(&guarded), "{guarded} of {accepted} guarded");
}

#[test]
fn the_seeds_are_accepted() {
    let mut out = vec![0; 0x2_0000];
    for blob in testing::GOOD {
        run(blob, &mut out).unwrap();
    }
    run(&small_machine().write(), &mut out).unwrap();
    assert_eq!(run(&guarded_machine().write(), &mut out), Ok(None));
}

proptest! {
    /// Any bytes behind a good header.
    #[test]
    fn arbitrary_structure_blocks(
        words in prop::collection::vec(prop_oneof![0u32..10, any::<u32>()], 0..200),
    ) {
        let structure: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let _ = run(&testing::blob(&[], &structure, b"reg\0"), &mut [0; 4096]);
    }

    /// Any bytes at all.
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = run(&bytes, &mut [0; 4096]);
    }
}

//! The table of physical CPUs.

use super::*;

#[test]
fn affinities_name_cpus_in_order() {
    let mut table = CpuTable::EMPTY;
    assert_eq!(table.len(), 0);
    for (position, mpidr) in [0, 1, 0x100, 0x1_0000, 0x12_0034_5678].into_iter().enumerate() {
        let index = table.add(mpidr).expect("room");
        assert_eq!(index.get(), position);
        assert_eq!(table.index_of(mpidr), Some(index));
        assert_eq!(table.mpidr(index), mpidr);
        assert_eq!(table.index(position), Some(index));
    }
    assert_eq!(table.len(), 5);
    assert_eq!(table.index(5), None);
    assert_eq!(table.index(usize::MAX), None);
    assert_eq!(table.index_of(2), None);
}

#[test]
fn wrong_affinities_are_refused() {
    let mut table = CpuTable::EMPTY;
    table.add(3).expect("room");
    assert_eq!(table.add(3), Err(CpuTableError::Duplicate));
    for bit in (24..32).chain(40..64) {
        assert_eq!(table.add(1 << bit), Err(CpuTableError::ReservedBits), "bit {bit}");
        assert_eq!(table.index_of(3 | 1 << bit), None, "an argument must be exact");
        assert!(table.index_of_register(3 | 1 << bit).is_some(), "the register has other bits");
    }
    assert_eq!(table.len(), 1);
}

#[test]
fn the_table_does_not_overflow() {
    let mut table = CpuTable::EMPTY;
    for mpidr in 0..MAX_CPUS as u64 {
        table.add(mpidr).expect("room");
    }
    assert_eq!(table.add(0xff00), Err(CpuTableError::Full));
    assert_eq!(table.len(), MAX_CPUS);
}

#[test]
fn cores_of_arm_repeat_invalidations() {
    // Cortex-A76 r0p0, Neoverse-N1 r4p1; QEMU's "max" has implementer 0.
    assert!(repeats_tlbi(0x410f_d0b0) && repeats_tlbi(0x414f_d0c1));
    assert!(!repeats_tlbi(0x000f_0510));
}

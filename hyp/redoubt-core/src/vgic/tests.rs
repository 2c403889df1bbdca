//! The sanitiser of list registers, against a model that decides field by field.

use proptest::prelude::*;
use redoubt_abi::Status;

use super::*;

const HARDWARE: VgicHardware = VgicHardware { list_registers: 4, id_bits: 16, timer_intid: 27 };
const PENDING: u64 = 1 << 62;
const ACTIVE: u64 = 2 << 62;

fn load(count: u64, used: &[u64], maintenance: u64) -> Result<ListRegisters, Status> {
    let mut raw = [0; MAX_LIST_REGISTERS];
    raw[..used.len()].copy_from_slice(used);
    let mut lists = ListRegisters::EMPTY;
    lists.load(count, &raw, maintenance, &HARDWARE).map(|()| lists)
}

fn one(value: u64) -> Result<ListRegisters, Status> {
    load(1, &[value], 0)
}

#[test]
fn vtr_is_decoded() {
    let decoded = VgicHardware::from_vtr(0b1_0000_0000 << 18 | 3, 27);
    assert_eq!(decoded.list_registers, 4);
    assert_eq!(VgicHardware::from_vtr(0x1f, 27).list_registers, 16, "never more than 16");
    assert_eq!(VgicHardware::from_vtr(0, 27).id_bits, 16);
    assert_eq!(VgicHardware::from_vtr(1 << 23, 27).id_bits, 24);
}

#[test]
fn count_is_bounded_by_the_hardware() {
    assert!(load(4, &[], 0).is_ok());
    for count in [5, 16, 17, 1 << 32, u64::MAX] {
        assert_eq!(load(count, &[], 0), Err(Status::InvalidArgument), "{count}");
    }
}

#[test]
fn registers_behind_the_count_are_neither_checked_nor_loaded() {
    let lists = load(1, &[PENDING | 40, u64::MAX], 0).expect("only the first counts");
    assert_eq!(lists.count, 1);
    assert_eq!(lists.values[..3], [PENDING | 40, 0, 0]);
}

#[test]
fn maintenance_bits_become_enables_and_nothing_else() {
    assert_eq!(load(0, &[], 0).expect("valid").hcr, 1);
    assert_eq!(load(0, &[], MAINTENANCE_UNDERFLOW).expect("valid").hcr, 0b0011);
    assert_eq!(load(0, &[], MAINTENANCE_NO_PENDING).expect("valid").hcr, 0b1001);
    assert_eq!(load(0, &[], 0b1010).expect("valid").hcr, 0b1011);
    for bit in (0..64).filter(|bit| *bit != 1 && *bit != 3) {
        assert_eq!(load(0, &[], 1 << bit), Err(Status::InvalidArgument), "bit {bit}");
    }
}

#[test]
fn interrupt_numbers() {
    for intid in [0, 15, 16, 27, 31, 32, 1019, 8192, 0xffff] {
        assert!(one(PENDING | intid).is_ok(), "{intid}");
    }
    for intid in [1020, 1023, 1024, 1056, 4096, 8191, 0x1_0000, 0xffff_ffff] {
        assert_eq!(one(PENDING | intid), Err(Status::InvalidArgument), "{intid}");
    }
    assert!(one(ACTIVE | 40).is_ok());
    assert_eq!(one(ACTIVE | 8192), Err(Status::InvalidArgument), "LPIs are never active");
}

#[test]
fn only_the_timer_is_tied_to_hardware() {
    let hw = LR_HW;
    assert!(one(PENDING | hw | 27 << 32 | 27).is_ok());
    assert!(one(ACTIVE | hw | 27 << 32 | 27).is_ok());
    for value in [
        PENDING | ACTIVE | hw | 27 << 32 | 27,
        PENDING | hw | 27 << 32 | 28,
        PENDING | hw | 28 << 32 | 27,
        PENDING | hw | 33 << 32 | 33,
        PENDING | hw | 25 << 32 | 25,
        PENDING | hw | (27 | 1 << 12) << 32 | 27,
        PENDING | hw | 27 << 32 | 27 | 1 << 45,
    ] {
        assert_eq!(one(value), Err(Status::InvalidArgument), "{value:#x}");
    }
}

#[test]
fn an_interrupt_is_in_one_list_register() {
    let refused = Err(Status::InvalidArgument);
    assert_eq!(load(2, &[PENDING | 40, PENDING | 40], 0), refused);
    assert_eq!(load(3, &[PENDING | 40, PENDING | 41, ACTIVE | 0xa0 << 48 | 40], 0), refused);
    // An empty one is no second, whatever number the hardware left in it.
    let lists = load(2, &[PENDING | 40, 40 | LR_GROUP], 0).expect("valid");
    assert_eq!(lists.values[1], 0);
    assert!(load(2, &[40, PENDING | 40], 0).is_ok());
}

#[test]
fn a_refusal_changes_nothing() {
    let mut lists = load(2, &[PENDING | 40, PENDING | 41], MAINTENANCE_UNDERFLOW).expect("valid");
    let before = lists.clone();
    let raw = [u64::MAX; MAX_LIST_REGISTERS];
    assert!(lists.load(3, &raw, 0, &HARDWARE).is_err());
    assert_eq!(lists, before);
}

/// Decides one list register from a table of its fields: (lowest bit, width).
fn model(value: u64) -> bool {
    let field = |lsb: u32, width: u32| (value >> lsb) & ((1 << width) - 1);
    let (state, hw, intid) = (field(62, 2), field(61, 1), field(0, 32));
    if state == 0 {
        return true;
    }
    let number = intid < 1020 || ((8192..65536).contains(&intid) && state == 1);
    let reserved = if hw == 1 {
        field(56, 4) == 0 && field(45, 3) == 0
    } else {
        field(56, 4) == 0 && field(42, 6) == 0 && field(32, 9) == 0
    };
    let tied = hw == 0 || (intid == 27 && field(32, 13) == 27 && state != 3);
    number && reserved && tied
}

/// Values that are near the edge of what is allowed.
fn near_valid() -> impl Strategy<Value = u64> {
    let intid = prop_oneof![Just(27u64), 0u64..1100, 8000u64..8300, Just(65535), Just(65536)];
    let physical = prop_oneof![4 => Just(0u64), 2 => Just(27u64), 1 => 0u64..8192];
    let flips = prop_oneof![3 => Just(0u64), 1 => (0u32..64).prop_map(|bit| 1 << bit)];
    (0u64..4, 0u64..2, 0u64..2, 0u64..256, physical, intid, flips).prop_map(
        |(state, hw, group, priority, physical, intid, flip)| {
            (state << 62 | hw << 61 | group << 60 | priority << 48 | physical << 32 | intid) ^ flip
        },
    )
}

proptest! {
    #[test]
    fn each_register_is_decided_as_the_model_says(value in prop_oneof![near_valid(), any::<u64>()]) {
        prop_assert_eq!(one(value).is_ok(), model(value), "{:#x}", value);
    }

    #[test]
    fn what_is_loaded_is_sane(
        values in proptest::collection::vec(near_valid(), 0..4),
        maintenance in prop_oneof![Just(0u64), Just(2), Just(8), Just(10)],
    ) {
        let loaded = load(values.len() as u64, &values, maintenance);
        let mut numbers: std::vec::Vec<u64> =
            values.iter().filter(|value| *value >> 62 != 0).map(|value| value & 0xffff_ffff).collect();
        numbers.sort_unstable();
        let unique = numbers.windows(2).all(|pair| pair[0] != pair[1]);
        let valid = values.iter().all(|value| model(*value)) && unique;
        prop_assert_eq!(loaded.is_ok(), valid);
        if let Ok(lists) = loaded {
            prop_assert_eq!(lists.hcr & !0b1011, 0);
            for (kept, asked) in lists.values.iter().zip(&values) {
                prop_assert!(*kept == *asked || *asked >> 62 == 0 && *kept == 0);
            }
        }
    }
}

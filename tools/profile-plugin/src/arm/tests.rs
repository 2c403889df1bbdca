//! Instructions and registers, with encodings from the Arm ARM as an assembler writes them.

use super::{Level, Slot, exception_class, mark, may_stop, vmid};

#[test]
fn a_level_is_read_from_pstate() {
    assert_eq!(Level::of_pstate(0x3c0), Level::El0);
    assert_eq!(Level::of_pstate(0x3c4), Level::El1);
    assert_eq!(Level::of_pstate(0x3c5), Level::El1);
    assert_eq!(Level::of_pstate(0x6000_03c9), Level::El2);
    assert_eq!(Level::of_pstate(0x3cd), Level::El3);
    // AArch32: User, Supervisor, System.
    assert_eq!(Level::of_pstate(0x1d0), Level::El0);
    assert_eq!(Level::of_pstate(0x1d3), Level::El1);
    assert_eq!(Level::of_pstate(0x1df), Level::El1);
}

#[test]
fn levels_have_numbers() {
    let levels = [Level::El0, Level::El1, Level::El2, Level::El3];
    assert_eq!(levels.map(Level::number), [0, 1, 2, 3]);
    assert_eq!(levels.len(), Level::COUNT);
}

#[test]
fn marks_are_told_from_other_moves() {
    assert_eq!(mark(0xd280_001f), Some(0));
    assert_eq!(mark(0xd280_003f), Some(1));
    assert_eq!(mark(0xd29f_ffff), Some(0xffff));
    for other in [
        0xd280_0000, // mov x0, #0
        0xd2a0_001f, // movz xzr, #0, lsl #16
        0x5280_001f, // movz wzr, #0
        0xf280_001f, // movk xzr, #0
        0x9280_001f, // movn xzr, #0
        0xd503_201f, // nop
    ] {
        assert_eq!(mark(other), None, "{other:08x}");
    }
}

#[test]
fn data_processing_does_not_stop() {
    for opcode in [
        0x9100_0442, // add x2, x2, #1
        0xd280_0c80, // mov x0, #100
        0x1000_0000, // adr x0, .
        0xb000_0000, // adrp x0, . + 4096
        0x9240_7c66, // and x6, x3, #0xffffffff
        0xd342_fed6, // lsr x22, x22, #2
        0x93cc_9d8c, // ror x12, x12, #39
        0xaa00_03f4, // mov x20, x0
        0xeb01_005f, // cmp x2, x1
        0x9a00_0300, // adc x0, x24, x0
        0xfa40_1880, // ccmp x4, #0, #0, ne
        0x9a83_24c6, // csinc
        0x9ac3_0c20, // sdiv x0, x1, x3
        0x9b09_7c88, // mul x8, x4, x9
        0x9bc9_7c84, // umulh x4, x4, x9
        0xdac0_1041, // clz x1, x2
        0x9ac3_4c20, // crc32x w0, w1, x3
        0xd280_003f, // a mark
    ] {
        assert!(!may_stop(opcode), "{opcode:08x}");
    }
}

#[test]
fn all_else_may_stop() {
    for opcode in [
        0xf940_0020, // ldr x0, [x1]
        0xb900_0020, // str w0, [x1]
        0xa9bf_7bfd, // stp x29, x30, [sp, #-16]!
        0x5800_00c0, // ldr x0, . + 24
        0xf820_0041, // ldadd x0, x1, [x2]
        0x1901_0440, // cpyfp [x0]!, [x1]!, x2!
        0x1e62_2820, // fadd d0, d1, d2
        0x4ea2_1c41, // mov v1.16b, v2.16b
        0x0420_0000, // an instruction of SVE
        0x1400_0000, // b .
        0x5400_0001, // b.ne .
        0xd65f_03c0, // ret
        0xd400_0001, // svc #0
        0xd400_0002, // hvc #0
        0xd503_201f, // nop
        0xd503_207f, // wfi
        0xd538_d080, // mrs x0, tpidr_el1
        0xd503_233f, // paciasp
        0x0000_0000, // udf #0
        0xdac1_0020, // pacia x0, x1
        0xdac1_1020, // autia x0, x1
        0xdac1_43e0, // xpaci x0
        0x9ac2_3020, // pacga x0, x1, x2
    ] {
        assert!(may_stop(opcode), "{opcode:08x}");
    }
}

#[test]
fn vector_slots_are_told_by_address() {
    assert_eq!(Slot::at(0xffff_8000_0001_0800).map(Slot::number), Some(0));
    assert_eq!(Slot::at(0xffff_8000_0001_0c00).map(Slot::number), Some(8));
    assert_eq!(Slot::at(0x780).map(Slot::number), Some(15));
    assert_eq!(Slot::at(0x404), None);
    let lower: Vec<bool> = slots().map(Slot::is_from_lower).collect();
    assert_eq!(lower, [[false; 8], [true; 8]].concat());
    let synchronous: Vec<u8> =
        slots().filter(|slot| slot.is_synchronous()).map(Slot::number).collect();
    assert_eq!(synchronous, [0, 4, 8, 12]);
}

fn slots() -> impl Iterator<Item = Slot> {
    (0..0x800).step_by(0x80).filter_map(Slot::at)
}

#[test]
fn an_exception_class_is_six_bits() {
    assert_eq!(exception_class(0x5a00_0000), 0x16);
    assert_eq!(exception_class(0x9200_0046), 0x24);
    assert_eq!(exception_class(0x1f_ffff_ffff), 0x3f);
}

#[test]
fn a_vmid_is_there_behind_a_stage_2() {
    const RW: u64 = 1 << 31;
    const TGE: u64 = 1 << 27;
    let vttbr = 0x1234_0000_4080_0000;
    assert_eq!(vmid(RW | 1, vttbr), Some(0x1234));
    assert_eq!(vmid(RW, vttbr), None);
    assert_eq!(vmid(RW | TGE | 1, vttbr), None);
    assert_eq!(vmid(RW | TGE, vttbr), None);
}

use super::name;

#[test]
fn slots_that_are_not_synchronous_need_no_class() {
    for group in 0..4 {
        assert_eq!(name(4 * group + 1, None), "IRQ");
        assert_eq!(name(4 * group + 2, None), "FIQ");
        assert_eq!(name(4 * group + 3, None), "SError");
    }
}

#[test]
fn classes_have_the_names_of_the_manual() {
    for (class, expected) in [
        (0x01, "WFI or WFE"),
        (0x07, "SVE, SIMD or FP access"),
        (0x15, "SVC"),
        (0x16, "HVC"),
        (0x17, "SMC"),
        (0x18, "MSR, MRS or system instruction"),
        (0x19, "SVE access"),
        (0x1a, "ERET"),
        (0x20, "instruction abort"),
        (0x24, "data abort"),
        (0x2f, "SError"),
        (0x3f, "exception class 0x3f"),
    ] {
        assert_eq!(name(8, Some(class)), expected);
    }
}

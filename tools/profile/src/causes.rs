//! Why the privileged level was entered, in the words of the Arm ARM.
//!
//! Decides which exception classes a report tells apart. Which vector was taken says whether an entry
//! was synchronous; what was synchronous is named by ESR_ELx.EC (DDI 0487, "ESR_EL2, Exception
//! Syndrome Register", the table of the EC field).

#[cfg(test)]
mod tests;

/// The cause of an entry by a slot of the vector table (0 to 15: four groups of synchronous, IRQ,
/// FIQ and SError) with the exception class of a synchronous one.
pub fn name(slot: u8, class: Option<u8>) -> String {
    match (slot % 4, class) {
        (1, _) => "IRQ".to_owned(),
        (2, _) => "FIQ".to_owned(),
        (3, _) => "SError".to_owned(),
        (_, Some(class)) => match synchronous(class) {
            Some(name) => name.to_owned(),
            None => format!("exception class {class:#04x}"),
        },
        (_, None) => "synchronous exception".to_owned(),
    }
}

/// The name of an exception class.
fn synchronous(class: u8) -> Option<&'static str> {
    Some(match class {
        0x00 => "unknown reason",
        0x01 => "WFI or WFE",
        0x03 | 0x05 => "MCR or MRC",
        0x04 | 0x0c => "MCRR or MRRC",
        0x06 => "LDC or STC",
        0x07 => "SVE, SIMD or FP access",
        0x08 => "VMRS",
        0x09 => "PAuth access",
        0x0a => "LD64B or ST64B",
        0x0d => "branch target",
        0x0e => "illegal execution state",
        0x11 | 0x15 => "SVC",
        0x12 | 0x16 => "HVC",
        0x13 | 0x17 => "SMC",
        0x14 | 0x18 => "MSR, MRS or system instruction",
        0x19 => "SVE access",
        0x1a => "ERET",
        0x1b => "TSTART",
        0x1c => "PAuth failure",
        0x1d => "SME access",
        0x1e => "granule protection check",
        0x20 => "instruction abort",
        0x21 => "instruction abort at the same level",
        0x22 => "PC alignment",
        0x24 => "data abort",
        0x25 => "data abort at the same level",
        0x26 => "SP alignment",
        0x27 => "memory copy or set",
        0x28 | 0x2c => "floating point",
        0x2d => "guarded control stack",
        0x2f => "SError",
        0x30 | 0x31 => "breakpoint",
        0x32 | 0x33 => "software step",
        0x34 | 0x35 => "watchpoint",
        0x38 | 0x3c => "BKPT or BRK",
        0x3a => "vector catch",
        0x3d => "PMU exception",
        _ => return None,
    })
}

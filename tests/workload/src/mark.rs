//! Marks: instructions that do nothing and that the recorder sees.
//!
//! `movz xzr, #N` begins phase N of a recording. Compilers have no reason to emit it, and every CPU
//! executes it, at every level.

use crate::Check;

/// One instruction, `movz xzr, #N`.
#[cfg(target_arch = "aarch64")]
macro_rules! movz_xzr {
    ($number:literal) => {
        // SAFETY: writes the zero register, which changes nothing.
        unsafe { std::arch::asm!(".inst 0xd280001f | ({} << 5)", const $number) }
    };
}

/// Begins a phase of the recording.
#[cfg(target_arch = "aarch64")]
pub fn phase(number: u64) -> Check {
    match number {
        0 => movz_xzr!(0),
        1 => movz_xzr!(1),
        2 => movz_xzr!(2),
        3 => movz_xzr!(3),
        4 => movz_xzr!(4),
        5 => movz_xzr!(5),
        6 => movz_xzr!(6),
        7 => movz_xzr!(7),
        _ => return Err(format!("there is no phase {number}: 0 to 7")),
    }
    Ok(())
}

/// Elsewhere nobody records; the number is checked all the same.
#[cfg(not(target_arch = "aarch64"))]
pub fn phase(number: u64) -> Check {
    if number > 7 {
        return Err(format!("there is no phase {number}: 0 to 7"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! The limits of a phase.

    #[test]
    fn phases_are_few() {
        assert!(super::phase(0).is_ok() && super::phase(7).is_ok());
        assert!(super::phase(8).is_err());
    }
}

//! The table of cases.

mod access;
mod calls;
pub mod dma;
pub mod firmware;
mod gic;
mod guest;
mod lifecycle;
pub mod primitives;
pub mod registers;
mod sharing;
mod state;

use crate::Check;
use crate::its;
use crate::oracle::World;

/// What a case needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A GICv3 with an ITS.
    Its,
    /// An ITS that Linux leaves alone: booted with `irqchip.gicv3_nolpi=1`.
    IdleIts,
    /// An ITS that Linux uses.
    BusyIts,
}

impl Needs {
    /// In words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Its => "a GICv3 with an ITS",
            Self::IdleIts => "an ITS that Linux leaves alone (irqchip.gicv3_nolpi=1)",
            Self::BusyIts => "an ITS that Linux uses (without irqchip.gicv3_nolpi=1)",
        }
    }

    /// Whether this machine has it.
    pub fn met(self) -> bool {
        let idle = || {
            let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
            line.split_whitespace().any(|word| word == "irqchip.gicv3_nolpi=1")
        };
        match self {
            Self::Nothing => true,
            _ if its::Gic::find().is_none() => false,
            Self::Its => true,
            Self::IdleIts => idle(),
            Self::BusyIts => !idle(),
        }
    }
}

/// An attack.
#[derive(Clone, Copy)]
pub struct Case {
    /// Name on the command line.
    pub name: &'static str,
    /// Numbers in the attack catalogue; `+` for what it does not list.
    pub catalogue: &'static str,
    /// What must hold.
    pub holds: &'static str,
    /// What it needs of the machine.
    pub needs: Needs,
    /// The attack; an error says what did not hold.
    pub run: fn(&mut World) -> Check,
}

/// Declares a table of cases; what a case needs of the machine stands in brackets at its end.
macro_rules! cases {
    (@needs) => { crate::cases::Needs::Nothing };
    (@needs $needs:ident) => { crate::cases::Needs::$needs };
    ($($function:ident, $name:literal, $catalogue:literal, $holds:literal $([$needs:ident])?;)+) => {
        /// The cases of this module.
        pub const CASES: &[crate::cases::Case] = &[$(crate::cases::Case {
            name: $name,
            catalogue: $catalogue,
            holds: $holds,
            needs: crate::cases::cases!(@needs $($needs)?),
            run: $function,
        },)+];
    };
}
use cases;

/// The cases that need the devices of the suite `dma`.
pub fn devices() -> impl Iterator<Item = Case> {
    dma::CASES.iter().copied()
}

/// All cases that every machine can run, in the order in which they run.
pub fn all() -> impl Iterator<Item = Case> {
    [
        access::CASES,
        calls::CASES,
        lifecycle::CASES,
        state::CASES,
        sharing::CASES,
        guest::CASES,
        registers::CASES,
        gic::CASES,
        firmware::CASES,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Those that this machine can run, devices' cases included.
pub fn here() -> impl Iterator<Item = Case> {
    all().chain(devices()).filter(|case| case.needs.met())
}

/// Whether a case needs the devices of the suite `dma`.
pub fn is_device(case: &Case) -> bool {
    dma::CASES.iter().any(|one| one.name == case.name)
}

/// Whether a case is of a group: `dma`, `gic`, or `all`, which are those that need no devices.
pub fn is_in(case: &Case, group: &str) -> bool {
    match group {
        "dma" => is_device(case),
        "gic" => gic::CASES.iter().any(|one| one.name == case.name),
        "all" => !is_device(case),
        _ => false,
    }
}

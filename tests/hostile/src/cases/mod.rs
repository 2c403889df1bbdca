//! The table of cases.

mod access;
mod calls;
pub mod firmware;
mod guest;
mod lifecycle;
pub mod primitives;
pub mod registers;
mod sharing;
mod state;

use crate::Check;
use crate::oracle::World;

/// An attack.
#[derive(Clone, Copy)]
pub struct Case {
    /// Name on the command line.
    pub name: &'static str,
    /// Numbers in the attack catalogue; `+` for what it does not list.
    pub catalogue: &'static str,
    /// What must hold.
    pub holds: &'static str,
    /// The attack; an error says what did not hold.
    pub run: fn(&mut World) -> Check,
}

/// Declares a table of cases.
macro_rules! cases {
    ($($function:ident, $name:literal, $catalogue:literal, $holds:literal;)+) => {
        /// The cases of this module.
        pub const CASES: &[crate::cases::Case] = &[$(crate::cases::Case {
            name: $name,
            catalogue: $catalogue,
            holds: $holds,
            run: $function,
        },)+];
    };
}
use cases;

/// All cases in the order in which they run.
pub fn all() -> impl Iterator<Item = Case> {
    [
        access::CASES,
        calls::CASES,
        lifecycle::CASES,
        state::CASES,
        sharing::CASES,
        guest::CASES,
        registers::CASES,
        firmware::CASES,
    ]
    .into_iter()
    .flatten()
    .copied()
}

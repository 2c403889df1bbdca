//! Tests of the GIC guard against a model of the hardware. [`model`] is an ITS and redistributors that
//! do what they are told, to memory; [`machine`] is a host in front of it; [`random`] runs random
//! sequences.
//!
//! They catch: hardware told of a page that is not pinned or EL2's, or not stopped before one goes
//! back; an interrupt beyond the tables of LPIs; a translation table that is not zeroed, or another
//! one's; a pin or a page that leaks; a command or field that should not reach hardware; a stock driver
//! that would not work.

mod its;
mod machine;
mod model;
mod random;
mod redistributor;

use std::vec::Vec;

use self::machine::*;
use self::model::*;
use super::*;
use crate::memory::MAX_PAGES_PER_CALL;

//! Tests of the memory operations. [`world`] builds a small machine on the judging fake;
//! [`model`] runs random sequences against a naive model.
//!
//! They catch: a page reachable by two without a loan, at two addresses, or by nobody; contents
//! that the host may not see (missing scrub) or that the guest should have seen (lost image); a
//! refused call that has changed something; a call that takes too many pages; a pinned page that
//! moves; tables or pages that leak over the life of a VM; a teardown that stops for ever, that is
//! not bounded, or that a live VM can be put through; a fault that is retried for ever.

/// Runs an operation that must be refused and checks that nothing has changed.
macro_rules! refused {
    ($world:expr, [$($vm:expr),*], $refusal:expr, $call:expr) => {{
        let before = $world.image(&[$(&$vm),*]);
        assert_eq!($call, Err($refusal));
        assert!(before == $world.image(&[$(&$vm),*]), "a refused call changed something");
        $world.check(&[$(&$vm),*]);
    }};
}

mod dma;
mod guest;
mod host;
mod model;
mod oracle;
mod teardown;
mod world;

use self::world::*;
use super::*;
use crate::addr::IpaRange;
use crate::fake::{Content, Step};
use crate::stage2::geometry::Geometry;
use crate::transition::{MetaKind, State, VmSlot};

const SLOT: u8 = 3;

/// A machine with one VM that has a pool of 8 tables.
fn with_vm() -> (World, VmMemory) {
    let mut world = World::new();
    let vm = world.vm(SLOT, RAM + 1300, 8);
    (world, vm)
}

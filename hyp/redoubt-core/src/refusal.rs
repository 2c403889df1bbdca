//! The one error type of the memory modules.
//!
//! Decides nothing; names every reason for which a memory operation is refused, so that the edge
//! (hypercall codec, driver log) can say which party asked for what it may not have. Every variant
//! is reached by a test. A breach of EL2's own invariants is not a refusal: see
//! [`Breach`](crate::hw::Breach).

use redoubt_abi::Status;

/// States why a memory operation was refused. The operation has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// An address is not aligned to the page (or to the table) it must start.
    Misaligned,
    /// A range wraps or ends beyond the widest address the tables can hold.
    Overflow,
    /// A range has no pages.
    Empty,
    /// A range has more pages than one call may take.
    TooMany,
    /// An intermediate-physical address lies beyond the VM's address space.
    OutOfRange,
    /// A page is not tracked RAM: a device, a hole, or beyond the end of memory.
    NotRam,
    /// The acting party does not own the page (nor borrow it, where borrowing would do).
    NotOwner,
    /// The page is lent to someone: the loan must end first.
    Shared,
    /// The page is not lent, so there is no loan to end.
    NotShared,
    /// The page is pinned (used by EL2, by DMA or by the GIC): its owner may not change.
    Pinned,
    /// The page has no pin to take away.
    NotPinned,
    /// The page has as many pins as the record can count.
    PinOverflow,
    /// The page belongs to the VM, but as metadata and not as memory, or the other way round.
    WrongKind,
    /// The pool of translation tables cannot serve the operation.
    NoTables,
    /// The intermediate-physical address is mapped already.
    AlreadyMapped,
    /// The intermediate-physical address is not mapped.
    NotMapped,
    /// The VM is being torn down (or is not, where the call needs it to be).
    WrongState,
    /// The range overlaps another one given before.
    Overlap,
    /// A fixed-capacity list (RAM regions, device ranges, frame records) is full.
    ListFull,
    /// The CPU cannot translate with the requested address-space size.
    BadGeometry,
}

impl From<Refusal> for Status {
    /// Tells the host why. Where several reasons have one status, the host can tell them apart by
    /// what it asked for.
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Misaligned => Self::Misaligned,
            Refusal::Overflow | Refusal::OutOfRange => Self::Overflow,
            Refusal::Empty | Refusal::BadGeometry | Refusal::Overlap => Self::InvalidArgument,
            Refusal::TooMany => Self::TooMany,
            Refusal::NotRam => Self::NotRam,
            Refusal::NotOwner | Refusal::WrongKind => Self::NotOwner,
            Refusal::Shared | Refusal::NotShared => Self::Shared,
            Refusal::Pinned | Refusal::NotPinned | Refusal::PinOverflow => Self::Pinned,
            Refusal::NoTables => Self::NoTables,
            Refusal::AlreadyMapped => Self::AlreadyMapped,
            Refusal::NotMapped => Self::NotMapped,
            Refusal::WrongState => Self::WrongState,
            Refusal::ListFull => Self::NoSlot,
        }
    }
}

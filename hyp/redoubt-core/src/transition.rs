//! The life of a page: one total function from a state and an event to the next state.
//!
//! Decides every change of ownership. Both parties are checked: the one that acts (named by the
//! event) and the one that the record says owns or borrows the page. Closed enums and no wildcard
//! arm, so a new state or event does not compile until every pair has been thought about.
//!
//! Invariants of a [`Frame`]:
//! - exactly one owner; at most one borrower, always the host on one side and one VM on the other;
//! - a pin says "the host keeps access and the owner stays": only pages that the host can reach
//!   have pins, and no event takes the host's access or changes the owner while there is one;
//! - a page mapped into a VM has exactly one IPA.
//!
//! | from | event | to |
//! |---|---|---|
//! | `Hyp` | `BootGiveHost` | `Host` |
//! | `Host`, no pins | `HostDonateHyp` | `HypLoan` |
//! | `HypLoan` | `HypReturnHost` | `Host` |
//! | `Host`, no pins | `HostDonateVm` | `Vm` |
//! | `Vm` | `VmShareHost` | `VmShared` |
//! | `VmShared`, no pins | `VmUnshareHost` | `Vm` |
//! | `Vm` | `VmRelinquish` | `Host` |
//! | `Host` | `HostShareVm` | `HostShared` |
//! | `HostShared` | `HostUnshareVm` | `Host` |
//! | `Host`, no pins | `HostDonateMeta` | `VmMeta` |
//! | `VmMeta` | `ReturnMeta` | `Host` |
//! | `Vm`; `VmShared`, no pins; `HostShared` | `ReclaimMemory` | `Host` |
//! | `Host`, `HostShared`, `VmShared` | `Pin`, `Unpin` | the same |
//!
//! Every other pair is refused. Spec: design chapter "Memory: one ownership table".

use crate::addr::Ipa;
use crate::refusal::Refusal;

/// Indexes the VM table. A slot is not given to a new VM before the old one has no page left, so
/// the slot alone tells VMs apart in a page's record; handles with generations live above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmSlot(u8);

impl VmSlot {
    /// Makes the slot with this index.
    pub const fn new(index: u8) -> Self {
        Self(index)
    }

    /// Returns the index.
    pub const fn index(self) -> u8 {
        self.0
    }
}

/// Says what EL2 keeps in a VM's metadata page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetaKind {
    /// A stage-2 table of the VM, or a page in the pool of such tables.
    Table,
    /// State of the VM or of one of its vCPUs.
    State,
}

/// Says who owns a page and who borrows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// EL2's own, for ever. What a zeroed record says: nobody else may have the page.
    Hyp,
    /// EL2's, lent by the host, which may get it back.
    HypLoan,
    /// The host's alone.
    Host,
    /// The host's, borrowed by a VM that is not protected from it.
    HostShared {
        /// The borrower.
        vm: VmSlot,
        /// Where the borrower sees the page.
        ipa: Ipa,
    },
    /// A VM's memory; nobody else can reach it.
    Vm {
        /// The owner.
        vm: VmSlot,
        /// Where the owner sees the page.
        ipa: Ipa,
    },
    /// A VM's memory, borrowed by the host because the VM asked for it.
    VmShared {
        /// The owner.
        vm: VmSlot,
        /// Where the owner sees the page.
        ipa: Ipa,
    },
    /// EL2 keeps metadata of a VM in it; neither the VM nor the host can reach it.
    VmMeta {
        /// The VM that the metadata is about.
        vm: VmSlot,
        /// What is kept there.
        kind: MetaKind,
    },
}

/// A page's record: state and pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Owner and borrower.
    pub state: State,
    /// How many uses rely on the host's access to the page and on its owner to stay.
    pub pins: u16,
}

impl Frame {
    /// Makes the record of a page without pins.
    pub const fn new(state: State) -> Self {
        Self { state, pins: 0 }
    }

    /// Tells whether the host's stage-2 maps the page in this state.
    pub const fn host_access(self) -> HostAccess {
        match self.state {
            State::Host | State::HostShared { .. } => HostAccess::Owned,
            State::VmShared { .. } => HostAccess::Borrowed,
            State::Hyp | State::HypLoan | State::Vm { .. } | State::VmMeta { .. } => {
                HostAccess::None
            }
        }
    }

    /// Tells which VM sees the page, and where.
    #[cfg(any(test, feature = "invariants"))]
    pub const fn vm_access(self) -> Option<(VmSlot, Ipa)> {
        match self.state {
            State::HostShared { vm, ipa } | State::Vm { vm, ipa } | State::VmShared { vm, ipa } => {
                Some((vm, ipa))
            }
            State::Hyp | State::HypLoan | State::Host | State::VmMeta { .. } => None,
        }
    }
}

/// Says how the host reaches a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostAccess {
    /// Not at all.
    None,
    /// As its own: read, write, execute.
    Owned,
    /// As a borrower: read and write.
    Borrowed,
}

/// Names a change that somebody asks for. The acting party is part of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Boot code gives a page that EL2 does not need to the host.
    BootGiveHost,
    /// The host gives a page to EL2.
    HostDonateHyp,
    /// EL2 gives a page back that the host had given.
    HypReturnHost,
    /// The host gives a page to a VM as memory.
    HostDonateVm {
        /// The new owner.
        vm: VmSlot,
        /// Where the VM will see it.
        ipa: Ipa,
    },
    /// The host gives a page for EL2's metadata about a VM.
    HostDonateMeta {
        /// The VM.
        vm: VmSlot,
        /// What the page is for.
        kind: MetaKind,
    },
    /// The host lends a page to a VM and keeps its own access.
    HostShareVm {
        /// The borrower.
        vm: VmSlot,
        /// Where the VM will see it.
        ipa: Ipa,
    },
    /// The host ends the loan to a VM.
    HostUnshareVm {
        /// The borrower.
        vm: VmSlot,
    },
    /// A VM lends its page to the host.
    VmShareHost {
        /// The VM that acts.
        vm: VmSlot,
    },
    /// A VM ends the loan to the host.
    VmUnshareHost {
        /// The VM that acts.
        vm: VmSlot,
    },
    /// A VM gives its page back to the host for good.
    VmRelinquish {
        /// The VM that acts.
        vm: VmSlot,
    },
    /// EL2 takes memory of a dying VM for the host, or ends a loan to it.
    ReclaimMemory {
        /// The VM that dies.
        vm: VmSlot,
    },
    /// EL2 gives a page back to the host that it no longer needs for a VM's metadata.
    ReturnMeta {
        /// The VM.
        vm: VmSlot,
        /// What the page was for.
        kind: MetaKind,
    },
    /// A use begins that relies on the host's access.
    Pin,
    /// A use ends that relied on the host's access.
    Unpin,
}

/// Decides what `event` makes of a page in `frame`.
pub const fn transition(frame: Frame, event: Event) -> Result<Frame, Refusal> {
    match event {
        Event::BootGiveHost => hyp_gives(frame, false),
        Event::HostDonateHyp => host_gives(frame, State::HypLoan),
        Event::HypReturnHost => hyp_gives(frame, true),
        Event::HostDonateVm { vm, ipa } => host_gives(frame, State::Vm { vm, ipa }),
        Event::HostDonateMeta { vm, kind } => host_gives(frame, State::VmMeta { vm, kind }),
        Event::HostShareVm { vm, ipa } => host_lends(frame, vm, ipa),
        Event::HostUnshareVm { vm } => host_ends_loan(frame, vm),
        Event::VmShareHost { vm } => vm_lends(frame, vm),
        Event::VmUnshareHost { vm } => vm_ends_loan(frame, vm),
        Event::VmRelinquish { vm } => vm_relinquishes(frame, vm),
        Event::ReclaimMemory { vm } => reclaim_memory(frame, vm),
        Event::ReturnMeta { vm, kind } => return_meta(frame, vm, kind),
        Event::Pin => set_pins(frame, frame.pins.checked_add(1), Refusal::PinOverflow),
        Event::Unpin => set_pins(frame, frame.pins.checked_sub(1), Refusal::NotPinned),
    }
}

/// EL2 gives away its own pages at boot, and later only those that the host had lent to it.
const fn hyp_gives(frame: Frame, lent: bool) -> Result<Frame, Refusal> {
    match (frame.state, lent) {
        (State::Hyp, false) | (State::HypLoan, true) => Ok(Frame::new(State::Host)),
        (State::Hyp, true) | (State::HypLoan, false) => Err(Refusal::NotOwner),
        (
            State::Host
            | State::HostShared { .. }
            | State::Vm { .. }
            | State::VmShared { .. }
            | State::VmMeta { .. },
            _,
        ) => Err(Refusal::NotOwner),
    }
}

/// Refuses what is not the host's alone.
const fn check_host(frame: Frame) -> Result<(), Refusal> {
    match frame.state {
        State::Host => Ok(()),
        State::HostShared { .. } => Err(Refusal::Shared),
        State::Hyp
        | State::HypLoan
        | State::Vm { .. }
        | State::VmShared { .. }
        | State::VmMeta { .. } => Err(Refusal::NotOwner),
    }
}

/// The host may give away only what is its own alone and not in use.
const fn host_gives(frame: Frame, next: State) -> Result<Frame, Refusal> {
    match check_host(frame) {
        Ok(()) if frame.pins == 0 => Ok(Frame::new(next)),
        Ok(()) => Err(Refusal::Pinned),
        Err(refusal) => Err(refusal),
    }
}

/// A loan leaves the host's access and ownership as they are, so pins do not stand in its way; a
/// second borrower does.
const fn host_lends(frame: Frame, vm: VmSlot, ipa: Ipa) -> Result<Frame, Refusal> {
    match check_host(frame) {
        Ok(()) => Ok(Frame { state: State::HostShared { vm, ipa }, pins: frame.pins }),
        Err(refusal) => Err(refusal),
    }
}

const fn host_ends_loan(frame: Frame, vm: VmSlot) -> Result<Frame, Refusal> {
    match Standing::of(frame.state, vm) {
        Standing::Borrowed => Ok(Frame { state: State::Host, pins: frame.pins }),
        // Lent, but to another VM than the caller says: it is not this VM's loan.
        Standing::Foreign if matches!(frame.host_access(), HostAccess::Owned) => {
            Err(Refusal::NotShared)
        }
        Standing::Owned(_) | Standing::Lent(_) | Standing::Meta(_) | Standing::Foreign => {
            Err(Refusal::NotOwner)
        }
    }
}

/// What a page is to one VM.
enum Standing {
    /// Its memory, which nobody else can reach.
    Owned(Ipa),
    /// Its memory, lent to the host.
    Lent(Ipa),
    /// The host's, lent to it.
    Borrowed,
    /// Metadata about it.
    Meta(MetaKind),
    /// Nothing.
    Foreign,
}

impl Standing {
    const fn of(state: State, vm: VmSlot) -> Self {
        match state {
            State::Vm { vm: owner, ipa } if same(owner, vm) => Self::Owned(ipa),
            State::VmShared { vm: owner, ipa } if same(owner, vm) => Self::Lent(ipa),
            State::HostShared { vm: borrower, .. } if same(borrower, vm) => Self::Borrowed,
            State::VmMeta { vm: subject, kind } if same(subject, vm) => Self::Meta(kind),
            State::Hyp
            | State::HypLoan
            | State::Host
            | State::HostShared { .. }
            | State::Vm { .. }
            | State::VmShared { .. }
            | State::VmMeta { .. } => Self::Foreign,
        }
    }
}

const fn vm_lends(frame: Frame, vm: VmSlot) -> Result<Frame, Refusal> {
    match Standing::of(frame.state, vm) {
        Standing::Owned(ipa) => Ok(Frame::new(State::VmShared { vm, ipa })),
        Standing::Lent(_) => Err(Refusal::Shared),
        Standing::Meta(_) => Err(Refusal::WrongKind),
        Standing::Borrowed | Standing::Foreign => Err(Refusal::NotOwner),
    }
}

const fn vm_ends_loan(frame: Frame, vm: VmSlot) -> Result<Frame, Refusal> {
    match Standing::of(frame.state, vm) {
        Standing::Lent(ipa) if frame.pins == 0 => Ok(Frame::new(State::Vm { vm, ipa })),
        Standing::Lent(_) => Err(Refusal::Pinned),
        Standing::Owned(_) => Err(Refusal::NotShared),
        Standing::Meta(_) => Err(Refusal::WrongKind),
        Standing::Borrowed | Standing::Foreign => Err(Refusal::NotOwner),
    }
}

const fn vm_relinquishes(frame: Frame, vm: VmSlot) -> Result<Frame, Refusal> {
    match Standing::of(frame.state, vm) {
        Standing::Owned(_) => Ok(Frame::new(State::Host)),
        Standing::Lent(_) => Err(Refusal::Shared),
        Standing::Meta(_) => Err(Refusal::WrongKind),
        Standing::Borrowed | Standing::Foreign => Err(Refusal::NotOwner),
    }
}

/// What the dying VM owned becomes the host's; what it borrowed stays the host's, with its pins.
const fn reclaim_memory(frame: Frame, vm: VmSlot) -> Result<Frame, Refusal> {
    match Standing::of(frame.state, vm) {
        Standing::Lent(_) if frame.pins != 0 => Err(Refusal::Pinned),
        Standing::Owned(_) | Standing::Lent(_) => Ok(Frame::new(State::Host)),
        Standing::Borrowed => Ok(Frame { state: State::Host, pins: frame.pins }),
        Standing::Meta(_) => Err(Refusal::WrongKind),
        Standing::Foreign => Err(Refusal::NotOwner),
    }
}

const fn return_meta(frame: Frame, vm: VmSlot, kind: MetaKind) -> Result<Frame, Refusal> {
    match (Standing::of(frame.state, vm), kind) {
        (Standing::Meta(MetaKind::Table), MetaKind::Table)
        | (Standing::Meta(MetaKind::State), MetaKind::State) => Ok(Frame::new(State::Host)),
        (Standing::Meta(_) | Standing::Owned(_) | Standing::Lent(_), _) => Err(Refusal::WrongKind),
        (Standing::Borrowed | Standing::Foreign, _) => Err(Refusal::NotOwner),
    }
}

/// Sets the number of pins of a page that the host can reach; `refusal` when there is no such number.
const fn set_pins(frame: Frame, pins: Option<u16>, refusal: Refusal) -> Result<Frame, Refusal> {
    match (frame.host_access(), pins) {
        (HostAccess::Owned | HostAccess::Borrowed, Some(pins)) => {
            Ok(Frame { state: frame.state, pins })
        }
        (HostAccess::Owned | HostAccess::Borrowed, None) => Err(refusal),
        (HostAccess::None, _) => Err(Refusal::NotOwner),
    }
}

const fn same(one: VmSlot, other: VmSlot) -> bool {
    one.0 == other.0
}

#[cfg(test)]
mod tests;

//! Tests of the transition function: every state with every event, against a model written from the
//! rules in words (who owns, who may reach, what is pinned) and not from the code's table.
//!
//! They catch: a donation of a lent, pinned or foreign page; a second borrower; a loan ended by
//! somebody else; a page taken back as memory that is metadata (or the reverse); a pin that is lost
//! or that outlives the host's access; a VM acting on another VM's page.

use std::collections::BTreeSet;
use std::vec::Vec;

use super::*;

const VMS: [u8; 2] = [0, 255];

fn ipa(raw: u64) -> Ipa {
    Ipa::new(raw).unwrap()
}

/// A party of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Party {
    Hyp,
    Host,
    Vm(u8),
}

/// A page in the model: owner, borrower, use. Deliberately another shape than [`State`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    owner: Party,
    borrower: Option<Party>,
    at: Option<Ipa>,
    /// EL2's for ever.
    fixed: bool,
    meta: Option<MetaKind>,
    pins: u16,
}

impl Page {
    fn of(frame: Frame) -> Self {
        let page = |owner| Self {
            owner,
            borrower: None,
            at: None,
            fixed: false,
            meta: None,
            pins: frame.pins,
        };
        match frame.state {
            State::Hyp => Self { fixed: true, ..page(Party::Hyp) },
            State::HypLoan => page(Party::Hyp),
            State::Host => page(Party::Host),
            State::HostShared { vm, ipa } => {
                Self { borrower: Some(Party::Vm(vm.index())), at: Some(ipa), ..page(Party::Host) }
            }
            State::Vm { vm, ipa } => Self { at: Some(ipa), ..page(Party::Vm(vm.index())) },
            State::VmShared { vm, ipa } => {
                Self { borrower: Some(Party::Host), at: Some(ipa), ..page(Party::Vm(vm.index())) }
            }
            State::VmMeta { vm, kind } => Self { meta: Some(kind), ..page(Party::Vm(vm.index())) },
        }
    }

    fn host_reaches(&self) -> bool {
        self.owner == Party::Host || self.borrower == Some(Party::Host)
    }

    /// Says what the rules make of an event; `None` is a refusal.
    fn after(self, event: Event) -> Option<Self> {
        let free_host_page = self.owner == Party::Host && self.borrower.is_none() && self.pins == 0;
        let bare = |owner| Self {
            owner,
            borrower: None,
            at: None,
            fixed: false,
            meta: None,
            pins: self.pins,
        };
        let vm_memory = |vm: VmSlot| self.owner == Party::Vm(vm.index()) && self.meta.is_none();
        match event {
            Event::BootGiveHost => self.fixed.then(|| bare(Party::Host)),
            Event::HostDonateHyp => free_host_page.then(|| bare(Party::Hyp)),
            Event::HypReturnHost => {
                (self.owner == Party::Hyp && !self.fixed).then(|| bare(Party::Host))
            }
            Event::HostDonateVm { vm, ipa } => {
                free_host_page.then(|| Self { at: Some(ipa), ..bare(Party::Vm(vm.index())) })
            }
            Event::HostDonateMeta { vm, kind } => {
                free_host_page.then(|| Self { meta: Some(kind), ..bare(Party::Vm(vm.index())) })
            }
            Event::HostShareVm { vm, ipa } => {
                (self.owner == Party::Host && self.borrower.is_none()).then(|| Self {
                    borrower: Some(Party::Vm(vm.index())),
                    at: Some(ipa),
                    ..bare(Party::Host)
                })
            }
            Event::HostUnshareVm { vm } => (self.owner == Party::Host
                && self.borrower == Some(Party::Vm(vm.index())))
            .then(|| bare(Party::Host)),
            Event::VmShareHost { vm } => {
                let lent = Self { borrower: Some(Party::Host), ..self };
                (vm_memory(vm) && self.borrower.is_none()).then_some(lent)
            }
            Event::VmUnshareHost { vm } => {
                let lent = self.borrower == Some(Party::Host);
                let private = Self { borrower: None, ..self };
                (vm_memory(vm) && lent && self.pins == 0).then_some(private)
            }
            Event::VmRelinquish { vm } => {
                (vm_memory(vm) && self.borrower.is_none()).then(|| bare(Party::Host))
            }
            Event::ReclaimMemory { vm } => {
                let borrowed = self.borrower == Some(Party::Vm(vm.index()));
                let owned = vm_memory(vm) && self.pins == 0;
                (borrowed || owned).then(|| bare(Party::Host))
            }
            Event::ReturnMeta { vm, kind } => (self.owner == Party::Vm(vm.index())
                && self.meta == Some(kind))
            .then(|| bare(Party::Host)),
            Event::Pin => (self.host_reaches() && self.pins < u16::MAX)
                .then(|| Self { pins: self.pins + 1, ..self }),
            Event::Unpin => {
                (self.host_reaches() && self.pins > 0).then(|| Self { pins: self.pins - 1, ..self })
            }
        }
    }
}

fn all_states() -> Vec<State> {
    let mut states = std::vec![State::Hyp, State::HypLoan, State::Host];
    for vm in VMS.map(VmSlot::new) {
        for ipa in [ipa(0), ipa(0xffff_ffff_f000)] {
            states.push(State::HostShared { vm, ipa });
            states.push(State::Vm { vm, ipa });
            states.push(State::VmShared { vm, ipa });
        }
        states.push(State::VmMeta { vm, kind: MetaKind::Table });
        states.push(State::VmMeta { vm, kind: MetaKind::State });
    }
    states
}

fn all_events() -> Vec<Event> {
    let mut events = std::vec![
        Event::BootGiveHost,
        Event::HostDonateHyp,
        Event::HypReturnHost,
        Event::Pin,
        Event::Unpin,
    ];
    for vm in VMS.map(VmSlot::new) {
        events.push(Event::HostDonateVm { vm, ipa: ipa(0x7000) });
        events.push(Event::HostShareVm { vm, ipa: ipa(0x7000) });
        events.push(Event::HostUnshareVm { vm });
        events.push(Event::VmShareHost { vm });
        events.push(Event::VmUnshareHost { vm });
        events.push(Event::VmRelinquish { vm });
        events.push(Event::ReclaimMemory { vm });
        for kind in [MetaKind::Table, MetaKind::State] {
            events.push(Event::HostDonateMeta { vm, kind });
            events.push(Event::ReturnMeta { vm, kind });
        }
    }
    events
}

/// Lists every frame that can exist: only pages that the host reaches have pins.
fn all_frames() -> Vec<Frame> {
    let mut frames = Vec::new();
    for state in all_states() {
        for pins in [0, 1, 2, u16::MAX] {
            let frame = Frame { state, pins };
            if pins == 0 || Page::of(frame).host_reaches() {
                frames.push(frame);
            }
        }
    }
    frames
}

#[test]
fn every_pair_is_as_the_rules_say() {
    let mut granted = 0;
    for frame in all_frames() {
        for event in all_events() {
            let got = transition(frame, event).ok().map(Page::of);
            let wanted = Page::of(frame).after(event);
            assert_eq!(got, wanted, "{frame:?} {event:?}");
            granted += usize::from(got.is_some());
        }
    }
    // 3 Host frames with pins and many refusals: the matrix is mostly refusals, not all.
    assert!(granted > 60, "{granted}");
}

#[test]
fn pins_follow_the_host_access() {
    for frame in all_frames() {
        for event in all_events() {
            let Ok(next) = transition(frame, event) else {
                continue;
            };
            if next.pins > 0 {
                assert_ne!(next.host_access(), HostAccess::None, "{frame:?} {event:?}");
            }
            if frame.pins > 0 {
                let owner = |frame| Page::of(frame).owner;
                assert_eq!(owner(frame), owner(next), "pinned page changed hands: {event:?}");
            }
        }
    }
}

#[test]
fn access_of_each_state() {
    for frame in all_frames() {
        let page = Page::of(frame);
        assert_eq!(frame.host_access() != HostAccess::None, page.host_reaches());
        assert_eq!(frame.host_access() == HostAccess::Owned, page.owner == Party::Host);
        let vm = match (page.owner, page.borrower) {
            (Party::Vm(vm), _) | (_, Some(Party::Vm(vm))) if page.meta.is_none() => Some(vm),
            _ => None,
        };
        assert_eq!(frame.vm_access().map(|(vm, _)| vm.index()), vm);
        assert_eq!(frame.vm_access().map(|(_, ipa)| ipa), page.at);
    }
}

#[test]
fn refusals_name_the_reason() {
    let (vm, other) = (VmSlot::new(1), VmSlot::new(2));
    let at = ipa(0x1000);
    let frame = |state| Frame { state, pins: 0 };
    let pinned = |state| Frame { state, pins: 1 };
    let owned = State::Vm { vm, ipa: at };
    let lent = State::VmShared { vm, ipa: at };
    let borrowed = State::HostShared { vm, ipa: at };
    let table = State::VmMeta { vm, kind: MetaKind::Table };
    let donate = Event::HostDonateVm { vm, ipa: at };
    let cases = [
        (pinned(State::Host), donate, Refusal::Pinned),
        (pinned(State::Host), Event::HostDonateHyp, Refusal::Pinned),
        (frame(borrowed), donate, Refusal::Shared),
        (frame(owned), donate, Refusal::NotOwner),
        (frame(State::Hyp), donate, Refusal::NotOwner),
        (frame(State::Hyp), Event::HypReturnHost, Refusal::NotOwner),
        (frame(borrowed), Event::HostShareVm { vm: other, ipa: at }, Refusal::Shared),
        (frame(borrowed), Event::HostShareVm { vm, ipa: at }, Refusal::Shared),
        (frame(lent), Event::HostShareVm { vm: other, ipa: at }, Refusal::NotOwner),
        (frame(State::Host), Event::HostUnshareVm { vm }, Refusal::NotShared),
        (frame(borrowed), Event::HostUnshareVm { vm: other }, Refusal::NotShared),
        (frame(owned), Event::VmShareHost { vm: other }, Refusal::NotOwner),
        (frame(lent), Event::VmShareHost { vm }, Refusal::Shared),
        (frame(table), Event::VmShareHost { vm }, Refusal::WrongKind),
        (frame(owned), Event::VmUnshareHost { vm }, Refusal::NotShared),
        (pinned(lent), Event::VmUnshareHost { vm }, Refusal::Pinned),
        (frame(lent), Event::VmRelinquish { vm }, Refusal::Shared),
        (frame(borrowed), Event::VmRelinquish { vm }, Refusal::NotOwner),
        (frame(table), Event::ReclaimMemory { vm }, Refusal::WrongKind),
        (pinned(lent), Event::ReclaimMemory { vm }, Refusal::Pinned),
        (frame(owned), Event::ReturnMeta { vm, kind: MetaKind::Table }, Refusal::WrongKind),
        (frame(table), Event::ReturnMeta { vm, kind: MetaKind::State }, Refusal::WrongKind),
        (frame(State::Host), Event::Unpin, Refusal::NotPinned),
        (Frame { state: State::Host, pins: u16::MAX }, Event::Pin, Refusal::PinOverflow),
        (frame(owned), Event::Pin, Refusal::NotOwner),
    ];
    for (frame, event, refusal) in cases {
        assert_eq!(transition(frame, event), Err(refusal), "{frame:?} {event:?}");
    }
    let reasons: BTreeSet<_> =
        cases.iter().map(|(_, _, refusal)| std::format!("{refusal:?}")).collect();
    assert_eq!(reasons.len(), 7);
}

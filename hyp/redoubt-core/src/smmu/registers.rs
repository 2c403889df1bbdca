//! What an SMMUv3 calls its registers and commands (IHI 0070, chapters 4 and 6).
//!
//! Decides nothing. Only what EL2 uses is here.

// Offsets of registers; those of the event queue's ends are in page 1.
pub(super) const IDR0: u32 = 0x00;
pub(super) const IDR1: u32 = 0x04;
pub(super) const IDR5: u32 = 0x14;
pub(super) const CR0: u32 = 0x20;
pub(super) const CR1: u32 = 0x28;
pub(super) const CR2: u32 = 0x2c;
pub(super) const GBPA: u32 = 0x44;
pub(super) const IRQ_CTRL: u32 = 0x50;
pub(super) const GERROR: u32 = 0x60;
pub(super) const GERRORN: u32 = 0x64;
pub(super) const STRTAB_BASE: u32 = 0x80;
pub(super) const STRTAB_BASE_CFG: u32 = 0x88;
pub(super) const CMDQ_BASE: u32 = 0x90;
pub(super) const CMDQ_PROD: u32 = 0x98;
pub(super) const CMDQ_CONS: u32 = 0x9c;
pub(super) const EVENTQ_BASE: u32 = 0xa0;
pub(super) const EVENTQ_PROD: u32 = 0x1_00a8;
pub(super) const EVENTQ_CONS: u32 = 0x1_00ac;
/// The addresses of message-signalled interrupts: of errors, events and page requests.
pub(super) const IRQ_CFG0: [u32; 3] = [0x68, 0xb0, 0xd0];
/// From CR0 to CR0ACK, and from IRQ_CTRL to IRQ_CTRLACK.
pub(super) const TO_ACK: u32 = 4;

pub(super) const CR0_SMMUEN: u32 = 1 << 0;
/// EVENTQEN and CMDQEN.
pub(super) const CR0_QUEUES: u32 = 1 << 2 | CR0_CMDQEN;
pub(super) const CR0_CMDQEN: u32 = 1 << 3;
pub(super) const CR0_ATSCHK: u32 = 1 << 4;
/// Tables and queues are write-back cacheable and inner shareable.
pub(super) const CR1_CACHED: u32 = 0b11 << 10 | 1 << 8 | 1 << 6 | 0b11 << 4 | 1 << 2 | 1;
/// TLBI instructions of CPUs change nothing (PTM); streams without an STE are recorded (RECINVSID).
pub(super) const CR2_PTM_RECINVSID: u32 = 1 << 2 | 1 << 1;
pub(super) const GBPA_ABORT: u32 = 1 << 20;
pub(super) const GBPA_UPDATE: u32 = 1 << 31;
pub(super) const IRQ_CTRL_EVENTQ_GERROR: u32 = 1 << 2 | 1 << 0;
/// The SMMU works no more: CMDQ_ERR, a command that it refuses, or SFM_ERR, a failure of its own.
pub(super) const GERROR_FATAL: u32 = 1 << 0 | 1 << 8;
pub(super) const GERROR_EVENTQ_ABT: u32 = 1 << 2;
/// Read-allocate, or write-allocate, hint in a base register.
pub(super) const BASE_ALLOCATE: u64 = 1 << 62;
/// FMT: two levels.
pub(super) const STRTAB_TWO_LEVEL: u32 = 1 << 16;
pub(super) const STRTAB_SPLIT_SHIFT: u32 = 6;
/// In EVENTQ_PROD: events were lost. In EVENTQ_CONS: that is known.
pub(super) const OVERFLOW: u32 = 1 << 31;

/// CMD_CFGI_ALL: forget everything read from the stream table.
pub(super) const CFGI_ALL: [u64; 2] = [0x04, 31];
/// CMD_TLBI_NSNH_ALL: forget every translation of every VMID.
pub(super) const TLBI_NSNH_ALL: [u64; 2] = [0x30, 0];
/// CMD_SYNC that signals by being consumed alone.
pub(super) const SYNC: [u64; 2] = [0x46, 0];

/// CMD_TLBI_S12_VMALL: forget every translation of a VMID.
pub(crate) const fn tlbi_all(vmid: u16) -> [u64; 2] {
    [0x28 | (vmid as u64) << 32, 0]
}

/// CMD_TLBI_S2_IPA: forget the translation of a page; with `leaf`, but not the tables above it.
pub(crate) const fn tlbi_ipa(vmid: u16, page: crate::addr::Ipa, leaf: bool) -> [u64; 2] {
    [0x2a | (vmid as u64) << 32, page.page_base().raw() | leaf as u64]
}

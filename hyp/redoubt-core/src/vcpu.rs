//! State of a virtual CPU.
//!
//! Decides what a virtual CPU starts with, which of its registers the host may read or write, and
//! what a completed exit changes. [`VcpuContext`] lies in a page that the host donated, so the host
//! cannot reach it; all of the world switch goes through it. An all-zero page is a valid context.
//! The offsets are known to the assembly of the world switch through `offset_of!`.
//!
//! Of a protected VM, the host reads nothing once the VM has run, and before that writes only the
//! boot protocol's registers (X0 to X30, PC, PSTATE). PSTATE is checked whoever sets it: EL2
//! returns to it, so a wrong mode there would be an escape (Arm ARM C5.2.19, SPSR_EL2).

use redoubt_abi::Status;
use redoubt_abi::reg;
use redoubt_abi::run::{ENTRY_ABORT, ENTRY_MMIO_DONE};

use crate::exit::{Abort, Access};
use crate::inject::{self, El1Exception, pstate};
use crate::sysreg::{IdRegisters, SysregId};

/// SCTLR_EL1 at reset: MMU, caches and alignment checks off, RES1 bits set, and EL0 may execute
/// WFI and WFE.
pub const SCTLR_RESET: u64 = 0x30d5_0878;
/// PSTATE at reset: EL1 on SP_EL1, everything masked.
pub const PSTATE_RESET: u64 = pstate::DAIF | pstate::EL1H;

/// PSTATE bits that may be set through VCPU_SET_REG.
const PSTATE_SETTABLE: u64 = pstate::NZCV
    | pstate::DIT
    | pstate::UAO
    | pstate::PAN
    | pstate::SS
    | pstate::IL
    | pstate::SSBS
    | pstate::BTYPE
    | pstate::DAIF
    | pstate::MODE;

/// The host reads from a device for the guest.
const PENDING_READ: u64 = 1;
/// The host writes to a device for the guest.
const PENDING_WRITE: u64 = 2;
/// The host may abort the access.
const PENDING_FAULT: u64 = 3;

/// What the last exit left to be completed. Plain words, as it lies in the state page; zero is
/// none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingExit {
    kind: u64,
    /// Register that a read fills in; 31 is none.
    register: u64,
    /// Size of the access in bytes.
    bytes: u64,
    /// Bit 0: sign extension; bit 1: the register is 64 bits wide.
    extension: u64,
    /// What the guest takes if nothing is at the address: bit 0 fetch, bit 1 write, bit 2 long.
    abort: u64,
    /// Virtual address of the access.
    far: u64,
}

impl PendingExit {
    fn new(kind: u64, abort: &Abort, far: u64) -> Self {
        Self {
            kind,
            register: 31,
            abort: u64::from(abort.fetch)
                | (u64::from(abort.write) << 1)
                | (u64::from(abort.long) << 2),
            far,
            ..Self::default()
        }
    }

    /// A load that waits for its value.
    #[must_use]
    pub fn read(load: &Access, abort: &Abort, far: u64) -> Self {
        Self {
            register: load.register.into(),
            bytes: load.bytes,
            extension: u64::from(load.signed) | (u64::from(load.wide) << 1),
            ..Self::new(PENDING_READ, abort, far)
        }
    }

    /// A store that waits to be carried out.
    #[must_use]
    pub fn write(abort: &Abort, far: u64) -> Self {
        Self::new(PENDING_WRITE, abort, far)
    }

    /// A fault that the host mends, or turns into an abort.
    #[must_use]
    pub fn fault(abort: &Abort, far: u64) -> Self {
        Self::new(PENDING_FAULT, abort, far)
    }

    /// The exception that the guest takes when nothing is at the address.
    fn exception(&self) -> El1Exception {
        let far = Some(self.far);
        if self.abort & 1 != 0 {
            El1Exception::InstructionAbort { status: inject::FSC_EXTERNAL, far }
        } else {
            El1Exception::DataAbort {
                status: inject::FSC_EXTERNAL,
                write: self.abort & 2 != 0,
                long: self.abort & 4 != 0,
                far,
            }
        }
    }

    /// The value that a load leaves in its register.
    fn extend(&self, data: u64) -> u64 {
        let (signed, wide) = (self.extension & 1 != 0, self.extension & 2 != 0);
        Access { bytes: self.bytes, signed, wide, register: 31 }.loaded(data)
    }
}

/// The part of the run page that completes an exit, copied once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryRequest {
    /// `ENTRY_FLAGS`.
    pub flags: u64,
    /// `ENTRY_MMIO_DATA`.
    pub mmio_data: u64,
}

/// What the host may do with registers of a virtual CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterAccess {
    /// Everything: the VM is not protected.
    Full,
    /// Read all, write the boot protocol's registers: the VM is protected and has not run.
    Boot,
}

/// All state of a virtual CPU, in its state page. The default is a context of zeros: what a scrubbed
/// state page holds.
#[repr(C, align(16))]
#[derive(Debug, Default)]
pub struct VcpuContext {
    /// X0 to X30.
    pub x: [u64; 31],
    /// Program counter.
    pub pc: u64,
    /// V0 to V31, low half first, at a multiple of 16 bytes.
    pub v: [[u64; 2]; 32],
    /// PSTATE, in the format of SPSR_EL2.
    pub pstate: u64,
    /// SP_EL0.
    pub sp_el0: u64,
    /// SP_EL1.
    pub sp_el1: u64,
    /// ELR_EL1.
    pub elr_el1: u64,
    /// SPSR_EL1.
    pub spsr_el1: u64,
    /// SCTLR_EL1.
    pub sctlr_el1: u64,
    /// CPACR_EL1.
    pub cpacr_el1: u64,
    /// TTBR0_EL1.
    pub ttbr0_el1: u64,
    /// TTBR1_EL1.
    pub ttbr1_el1: u64,
    /// TCR_EL1.
    pub tcr_el1: u64,
    /// MAIR_EL1.
    pub mair_el1: u64,
    /// AMAIR_EL1.
    pub amair_el1: u64,
    /// ESR_EL1.
    pub esr_el1: u64,
    /// FAR_EL1.
    pub far_el1: u64,
    /// AFSR0_EL1.
    pub afsr0_el1: u64,
    /// AFSR1_EL1.
    pub afsr1_el1: u64,
    /// VBAR_EL1.
    pub vbar_el1: u64,
    /// CONTEXTIDR_EL1.
    pub contextidr_el1: u64,
    /// TPIDR_EL0.
    pub tpidr_el0: u64,
    /// TPIDRRO_EL0.
    pub tpidrro_el0: u64,
    /// TPIDR_EL1.
    pub tpidr_el1: u64,
    /// CNTKCTL_EL1.
    pub cntkctl_el1: u64,
    /// PAR_EL1.
    pub par_el1: u64,
    /// CSSELR_EL1.
    pub csselr_el1: u64,
    /// MDSCR_EL1. Trapped, and only what [`crate::sysreg::MDSCR_ALLOWED`] lists is ever set.
    pub mdscr_el1: u64,
    /// Pointer authentication keys: APIAKeyLo_EL1, APIAKeyHi_EL1, then APIB, APDA, APDB, APGA.
    pub keys: [u64; 10],
    /// CNTV_CTL_EL0.
    pub cntv_ctl_el0: u64,
    /// CNTV_CVAL_EL0.
    pub cntv_cval_el0: u64,
    /// FPSR.
    pub fpsr: u64,
    /// FPCR.
    pub fpcr: u64,
    /// ICH_VMCR_EL2.
    pub ich_vmcr: u64,
    /// ICH_AP0R<n>_EL2.
    pub ich_ap0r: [u64; 4],
    /// ICH_AP1R<n>_EL2.
    pub ich_ap1r: [u64; 4],
    /// OS lock as OSLAR_EL1 bit 0 was last written.
    pub os_lock: u64,
    /// What the last exit left to be completed.
    pub pending: PendingExit,
}

const _: () = assert!(size_of::<VcpuContext>() <= redoubt_abi::PAGE_SIZE as usize);
const _: () = assert!(core::mem::offset_of!(VcpuContext, x) == 0);

impl VcpuContext {
    /// MPIDR_EL1 of a virtual CPU, for VMPIDR_EL2: numbered as KVM does, 16 in a cluster.
    #[must_use]
    pub const fn mpidr(vcpu: usize) -> u64 {
        let index = vcpu as u64;
        (1 << 31) | (index & 0xf) | (((index >> 4) & 0xff) << 8)
    }

    /// Puts the virtual CPU into its reset state, at an entry point and with a value in X0.
    pub fn reset(&mut self, pc: u64, x0: u64) {
        *self = Self::default();
        self.pc = pc;
        self.pstate = PSTATE_RESET;
        self.sctlr_el1 = SCTLR_RESET;
        self.write_x(0, x0);
    }

    /// Reads a general-purpose register; 31 is XZR.
    #[must_use]
    pub fn read_x(&self, number: u8) -> u64 {
        self.x.get(usize::from(number)).copied().unwrap_or(0)
    }

    /// Writes a general-purpose register; 31 is XZR.
    pub fn write_x(&mut self, number: u8, value: u64) {
        if let Some(register) = self.x.get_mut(usize::from(number)) {
            *register = value;
        }
    }

    /// Goes on behind the A64 instruction at PC, as if it had been executed. Instructions of
    /// AArch32 are never skipped: they get an exception instead.
    pub fn skip(&mut self) {
        self.pc = self.pc.wrapping_add(4);
        self.pstate &= !(pstate::BTYPE | pstate::SS);
    }

    /// Completes the last exit as the host asks on entry. Without a flag, the instruction that
    /// exited is executed again.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for an unknown flag, or one that the last exit did not ask for;
    /// nothing has changed.
    pub fn complete_entry(&mut self, entry: &EntryRequest) -> Result<(), Status> {
        let pending = self.pending;
        match (entry.flags, pending.kind) {
            (0, _) => {}
            (ENTRY_MMIO_DONE, PENDING_READ) => {
                let value = pending.extend(entry.mmio_data);
                // The number was decoded from five bits of the syndrome.
                self.write_x(u8::try_from(pending.register).unwrap_or(31), value);
                self.skip();
            }
            (ENTRY_MMIO_DONE, PENDING_WRITE) => self.skip(),
            (ENTRY_ABORT, PENDING_READ | PENDING_WRITE | PENDING_FAULT) => {
                inject::inject_guest(self, &pending.exception());
            }
            _ => return Err(Status::InvalidArgument),
        }
        self.pending = PendingExit::default();
        Ok(())
    }

    /// Reads a register for VCPU_GET_REG. Whether the host may is decided by
    /// [`crate::vm::Vm::register_access`].
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] when there is no such register.
    pub fn get_reg(
        &mut self,
        register: u64,
        vcpu: usize,
        ids: &IdRegisters,
    ) -> Result<u64, Status> {
        let value = self.field(register).map(|field| *field);
        value.or_else(|| read_only(register, vcpu, ids)).ok_or(Status::InvalidArgument)
    }

    /// Writes a register for VCPU_SET_REG.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] when there is no such register, or it cannot take the value;
    /// [`Status::Protected`] when the access does not cover the register.
    pub fn set_reg(
        &mut self,
        register: u64,
        value: u64,
        vcpu: usize,
        ids: &IdRegisters,
        access: RegisterAccess,
    ) -> Result<(), Status> {
        let boot = register < 31 || register == reg::PC || register == reg::PSTATE;
        if !boot && access == RegisterAccess::Boot {
            // A register that does not exist is refused as such, whatever the VM.
            self.get_reg(register, vcpu, ids)?;
            return Err(Status::Protected);
        }
        if register == reg::PSTATE && !is_valid_pstate(value) {
            return Err(Status::InvalidArgument);
        }
        let value =
            if register == MDSCR_EL1 { value & crate::sysreg::MDSCR_ALLOWED } else { value };
        if let Some(field) = self.field(register) {
            *field = value;
            return Ok(());
        }
        // A VMM writes identification registers back as it read them.
        match read_only(register, vcpu, ids) {
            Some(current) if current == value => Ok(()),
            Some(_) | None => Err(Status::InvalidArgument),
        }
    }
}

/// Tells whether EL2 may return to a guest with this PSTATE: AArch64, EL0 or EL1, no reserved bit.
#[must_use]
pub const fn is_valid_pstate(value: u64) -> bool {
    let mode = value & pstate::MODE;
    value & !PSTATE_SETTABLE == 0
        && (mode == pstate::EL0T || mode == pstate::EL1T || mode == pstate::EL1H)
}

/// Position in `keys` of a pointer authentication key register: S3_0_C2_C1_0 and following, the
/// low and high words of two keys in each value of CRm.
fn key_word(register: u64) -> Option<usize> {
    let offset = register.checked_sub(reg::system(3, 0, 2, 1, 0))?;
    let (crm, op2) = (offset / 8, offset % 8);
    let word = crm.checked_mul(4)?.checked_add(op2)?;
    (op2 < 4 && word < 10).then_some(usize::try_from(word).ok()?)
}

/// Registers that the host reads but cannot change.
fn read_only(register: u64, vcpu: usize, ids: &IdRegisters) -> Option<u64> {
    if register == reg::system(3, 0, 0, 0, 5) {
        return Some(VcpuContext::mpidr(vcpu));
    }
    let encoding = u16::try_from(register.checked_sub(reg::SYSTEM)?).ok()?;
    ids.get(SysregId::from_raw(encoding))
}

const MDSCR_EL1: u64 = reg::system(2, 0, 0, 2, 2);

/// Declares which register number is which field of the context.
macro_rules! fields {
    ($($number:expr => $field:ident;)+) => {
        impl VcpuContext {
            fn field(&mut self, register: u64) -> Option<&mut u64> {
                $(if register == $number { return Some(&mut self.$field); })+
                if let Some(key) = key_word(register) { return self.keys.get_mut(key); }
                let half = register.checked_sub(reg::V0).and_then(|half| usize::try_from(half).ok());
                match half.and_then(|half| self.v.as_flattened_mut().get_mut(half)) {
                    None => self.x.get_mut(usize::try_from(register).ok()?),
                    vector => vector,
                }
            }
        }
    };
}

fields! {
    reg::SP_EL0 => sp_el0;
    reg::PC => pc;
    reg::PSTATE => pstate;
    reg::SP_EL1 => sp_el1;
    reg::ELR_EL1 => elr_el1;
    reg::SPSR_EL1 => spsr_el1;
    reg::FPSR => fpsr;
    reg::FPCR => fpcr;
    reg::system(3, 0, 1, 0, 0) => sctlr_el1;
    reg::system(3, 0, 1, 0, 2) => cpacr_el1;
    reg::system(3, 0, 2, 0, 0) => ttbr0_el1;
    reg::system(3, 0, 2, 0, 1) => ttbr1_el1;
    reg::system(3, 0, 2, 0, 2) => tcr_el1;
    reg::system(3, 0, 10, 2, 0) => mair_el1;
    reg::system(3, 0, 10, 3, 0) => amair_el1;
    reg::system(3, 0, 5, 2, 0) => esr_el1;
    reg::system(3, 0, 6, 0, 0) => far_el1;
    reg::system(3, 0, 5, 1, 0) => afsr0_el1;
    reg::system(3, 0, 5, 1, 1) => afsr1_el1;
    reg::system(3, 0, 12, 0, 0) => vbar_el1;
    reg::system(3, 0, 13, 0, 1) => contextidr_el1;
    reg::system(3, 3, 13, 0, 2) => tpidr_el0;
    reg::system(3, 3, 13, 0, 3) => tpidrro_el0;
    reg::system(3, 0, 13, 0, 4) => tpidr_el1;
    reg::system(3, 0, 14, 1, 0) => cntkctl_el1;
    reg::system(3, 0, 7, 4, 0) => par_el1;
    reg::system(3, 2, 0, 0, 0) => csselr_el1;
    MDSCR_EL1 => mdscr_el1;
    reg::system(3, 3, 14, 3, 1) => cntv_ctl_el0;
    reg::system(3, 3, 14, 3, 2) => cntv_cval_el0;
}

#[cfg(test)]
mod tests;

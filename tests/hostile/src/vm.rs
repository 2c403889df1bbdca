//! VMs made of raw hypercalls, and a VMM just big enough for the payloads.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use redoubt_abi::call::{self, Info};
use redoubt_abi::run::{self, ExitReason};
use redoubt_abi::{HostCall, Status, reg};

use crate::Check;
use crate::device::{self, Mapping, Step};
use crate::hyper;
use crate::memory::{self, PAGE};

/// Where payloads are linked, and where guest memory starts.
pub const GUEST_BASE: u64 = 0x4020_0000;
/// Order of guest memory: 64 pages.
pub const MEMORY_ORDER: u32 = 6;
/// Pages of guest memory.
pub const MEMORY_PAGES: u64 = 1 << MEMORY_ORDER;
/// Order of the pool for translation tables.
pub const TABLE_ORDER: u32 = 3;
const IPA_BITS: u64 = 36;

/// Devices of the payloads, see the payload crate.
mod bus {
    pub const UART: u64 = 0x0900_0000;
    pub const CHALLENGE: u64 = 0x0a00_0000;
    pub const ANSWER: u64 = 0x0a00_0008;
    pub const REPORT_KEY: u64 = 0x0a00_0010;
    pub const REPORT_VALUE: u64 = 0x0a00_0018;
    pub const NOTHING: u64 = 0x0a00_0020;
}

/// Pages of the host: allocated from Linux, freed by hand when they are certain to be back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    /// First page frame number.
    pub pfn: u64,
    /// Logarithm of their number.
    pub order: u32,
}

impl Pages {
    /// Allocates zeroed pages.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(order: u32) -> Check<Self> {
        Ok(Self { pfn: device::allocate(order)?, order })
    }

    /// How many.
    #[must_use]
    pub const fn count(self) -> u64 {
        1 << self.order
    }

    /// Physical address of the first.
    #[must_use]
    pub const fn address(self) -> u64 {
        self.pfn * PAGE
    }

    /// All page frame numbers.
    #[must_use]
    pub const fn pfns(self) -> std::ops::Range<u64> {
        self.pfn..self.pfn + self.count()
    }

    /// Gives them back to Linux.
    ///
    /// # Errors
    /// When one of them is not the host's: then none is freed.
    pub fn free(self) -> Check {
        memory::require_owned(self.pfns())?;
        device::free(self.pfn, self.order)
    }
}

/// One exit of a vCPU.
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    /// Reason.
    pub reason: ExitReason,
    /// Arguments.
    pub args: [u64; 6],
}

/// A vCPU as its runner knows it.
#[derive(Debug)]
pub struct Vcpu {
    /// Its state page.
    pub state: Pages,
    /// Its run page.
    pub run: Pages,
    /// The run page, mapped.
    pub page: Mapping,
    /// Whether the next entry completes an MMIO access, and the value of a read.
    pub complete: Option<u64>,
    /// Raw entries may have come between, see [`Vm::park`].
    parked: Cell<bool>,
    /// Whether it may be run.
    pub powered: bool,
}

/// How to build a VM.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Protected from the host.
    pub protected: bool,
    /// Number of vCPUs.
    pub vcpus: u64,
}

/// What the device model does with an exit that is not its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The payload wants a challenge.
    Challenge,
    /// The payload answers.
    Answer(u64),
    /// The payload has completed a report: key and value.
    Report(u64, u64),
    /// A read or write that only exits.
    Nothing,
    /// It waits for an interrupt.
    Wait,
    /// It has switched off.
    Off,
    /// A physical interrupt of the host.
    Interrupt,
    /// The vCPU is off.
    CpuOff,
}

/// A VM.
#[derive(Debug)]
pub struct Vm {
    /// Handle.
    pub handle: u64,
    /// Whether it is protected.
    pub protected: bool,
    /// Root of its stage 2.
    pub root: Pages,
    /// Pool of its tables.
    pub tables: Pages,
    /// Guest memory from `GUEST_BASE`.
    pub memory: Pages,
    /// Its vCPUs.
    pub vcpus: Vec<Vcpu>,
    /// What it printed.
    pub console: String,
    /// What it reported.
    pub reports: BTreeMap<u64, u64>,
    report_key: u64,
}

/// Loads a payload file.
///
/// # Errors
/// When it is missing or too large.
pub fn payload(folder: &Path, name: &str) -> Check<Vec<u8>> {
    let path = folder.join(name);
    let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let size = bytes.get(16..24).and_then(|field| field.try_into().ok()).map(u64::from_le_bytes);
    match size {
        Some(size) if size <= MEMORY_PAGES * PAGE && bytes.get(56..60) == Some(b"ARM\x64") => {
            Ok(bytes)
        }
        Some(_) | None => Err(format!("{}: not a payload, or too large", path.display())),
    }
}

impl Vm {
    /// A VM with root and tables, memory declared, nothing mapped, no vCPU.
    ///
    /// # Errors
    /// When a call is refused.
    pub fn empty(options: Options) -> Check<Self> {
        // One page is the whole root of so small an address space.
        let root = Pages::new(0)?;
        let handle = hyper::succeed(HostCall::VmCreate {
            flags: if options.protected { call::VM_PROTECTED } else { 0 },
            ipa_bits: IPA_BITS.min(hyper::info(Info::IpaBits)?),
            vcpus: options.vcpus,
            root_pfn: root.pfn,
        })?;
        let tables = Pages::new(TABLE_ORDER)?;
        hyper::succeed(HostCall::VmAddTables { handle, pfn: tables.pfn, pages: tables.count() })?;
        hyper::succeed(HostCall::VmSetMemory { handle, ipa: GUEST_BASE, pages: MEMORY_PAGES })?;
        Ok(Self {
            handle,
            protected: options.protected,
            root,
            tables,
            memory: Pages::new(MEMORY_ORDER)?,
            vcpus: Vec::new(),
            console: String::new(),
            reports: BTreeMap::new(),
            report_key: 0,
        })
    }

    /// A VM with a payload in its memory, ready to run.
    ///
    /// # Errors
    /// When a call is refused.
    pub fn build(image: &[u8], options: Options) -> Check<Self> {
        let mut vm = Self::empty(options)?;
        Mapping::new(vm.memory.pfn, vm.memory.count())?.load(image);
        vm.map_memory(call::MAP_KEEP)?;
        for vcpu in 0..options.vcpus {
            vm.add_vcpu(vcpu)?;
        }
        vm.start_at(GUEST_BASE)?;
        Ok(vm)
    }

    /// Maps all guest memory.
    ///
    /// # Errors
    /// When a call is refused.
    pub fn map_memory(&self, flags: u64) -> Check {
        let most = hyper::info(Info::MaxPages)?.clamp(1, MEMORY_PAGES);
        let mut done = 0;
        while done < MEMORY_PAGES {
            let pages = most.min(MEMORY_PAGES - done);
            hyper::succeed(HostCall::VmMap {
                handle: self.handle,
                pfn: self.memory.pfn + done,
                ipa: GUEST_BASE + done * PAGE,
                pages,
                flags,
            })?;
            done += pages;
        }
        Ok(())
    }

    /// Adds a vCPU; only number 0 is on.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn add_vcpu(&mut self, vcpu: u64) -> Check {
        let (state, run) = (Pages::new(0)?, Pages::new(0)?);
        hyper::succeed(HostCall::VcpuCreate {
            handle: self.handle,
            vcpu,
            state_pfn: state.pfn,
            run_pfn: run.pfn,
            flags: 0,
        })?;
        let page = Mapping::new(run.pfn, 1)?;
        self.vcpus.push(Vcpu {
            state,
            run,
            page,
            complete: None,
            parked: Cell::new(false),
            powered: vcpu == 0,
        });
        Ok(())
    }

    /// Sets where vCPU 0 starts: EL1h, everything masked.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn start_at(&self, pc: u64) -> Check {
        for (register, value) in [(reg::PC, pc), (reg::PSTATE, 0x3c5)] {
            let handle = self.handle;
            hyper::succeed(HostCall::VcpuSetReg { handle, vcpu: 0, register, value })?;
        }
        Ok(())
    }

    /// The call that runs a vCPU.
    #[must_use]
    pub const fn run_call(&self, vcpu: u64) -> HostCall {
        HostCall::VcpuRun { handle: self.handle, vcpu }
    }

    /// Page frame of a guest page.
    ///
    /// # Errors
    /// When the address is not in guest memory.
    pub fn pfn_of(&self, ipa: u64) -> Check<u64> {
        ipa.checked_sub(GUEST_BASE)
            .map(|offset| offset / PAGE)
            .filter(|page| *page < MEMORY_PAGES)
            .map(|page| self.memory.pfn + page)
            .ok_or_else(|| format!("{ipa:#x} is not guest memory"))
    }

    /// Enters a vCPU once, with the run page prepared for the access that is to be completed; gives
    /// the step for those who look at registers.
    ///
    /// # Errors
    /// When the call is refused or its answer and the run page disagree.
    pub fn enter_with(
        &mut self,
        vcpu: usize,
        dress: impl FnOnce(Step) -> Step,
    ) -> Check<(Exit, Step)> {
        self.unpark(vcpu)?;
        let request = self.run_call(vcpu as u64);
        let cpu = self.vcpus.get_mut(vcpu).ok_or("no such vCPU")?;
        let flags = if cpu.complete.is_some() { run::ENTRY_MMIO_DONE } else { 0 };
        cpu.page.set(run::ENTRY_FLAGS, flags);
        cpu.page.set(run::ENTRY_MMIO_DATA, cpu.complete.unwrap_or(0));
        let step = device::run_one(dress(hyper::step(&request)))?;
        let reply = hyper::judge(&request, &step)?;
        if reply.status != Status::Success {
            return Err(format!("VCPU_RUN: {}", reply.status.name()));
        }
        cpu.complete = None;
        let number = cpu.page.get(run::EXIT_REASON);
        if number != reply.value {
            return Err(format!("X1 says exit {}, the run page {number}", reply.value));
        }
        let reason =
            ExitReason::from_register(number).ok_or_else(|| format!("unknown exit {number}"))?;
        let mut args = [0; 6];
        for (index, argument) in args.iter_mut().enumerate() {
            *argument = cpu.page.get(run::EXIT_ARGS + 8 * index);
        }
        Ok((Exit { reason, args }, step))
    }

    /// Enters a vCPU once, from code that does something before and after its one HVC; X4 and up are
    /// `registers`. What the code leaves in them is not judged.
    ///
    /// # Errors
    /// When the run is refused.
    pub fn enter_code(
        &mut self,
        vcpu: usize,
        code: &[u32],
        registers: &[(usize, u64)],
    ) -> Check<(Exit, Step)> {
        let request = self.run_call(vcpu as u64);
        let cpu = self.vcpus.get_mut(vcpu).ok_or("no such vCPU")?;
        let flags = if cpu.complete.is_some() { run::ENTRY_MMIO_DONE } else { 0 };
        cpu.page.set(run::ENTRY_FLAGS, flags);
        cpu.page.set(run::ENTRY_MMIO_DATA, cpu.complete.unwrap_or(0));
        let mut step = hyper::step(&request);
        step.code = code.to_vec();
        for (index, value) in registers {
            step.x[*index] = *value;
        }
        let step = device::run_one(step)?;
        if step.outcome != device::Outcome::Returned || step.x[0] != 0 {
            return Err(format!("VCPU_RUN: {:x?}, X0 {:#x}", step.outcome, step.x[0]));
        }
        cpu.complete = None;
        let reason = ExitReason::from_register(step.x[1]).ok_or("unknown exit")?;
        let args = std::array::from_fn(|index| cpu.page.get(run::EXIT_ARGS + 8 * index));
        Ok((Exit { reason, args }, step))
    }

    /// Enters a vCPU once.
    ///
    /// # Errors
    /// As [`Self::enter_with`].
    pub fn enter(&mut self, vcpu: usize) -> Check<Exit> {
        self.enter_with(vcpu, |step| step).map(|(exit, _)| exit)
    }

    /// Makes repeated raw entries harmless: without `ENTRY_MMIO_DONE` the guest repeats the access
    /// it is waiting for, and [`Self::enter`] can complete it later.
    pub fn park(&self, vcpu: usize) {
        self.vcpus[vcpu].page.set(run::ENTRY_FLAGS, 0);
        self.vcpus[vcpu].parked.set(true);
    }

    /// Undoes [`Self::park`]: the last raw entry may have ended in an interrupt before the guest
    /// repeated its access, and then there is nothing to complete yet.
    fn unpark(&self, vcpu: usize) -> Check {
        let cpu = &self.vcpus[vcpu];
        if !cpu.parked.replace(false) || cpu.complete.is_none() {
            return Ok(());
        }
        cpu.page.set(run::ENTRY_FLAGS, 0);
        for _ in 0..1_000_000 {
            match hyper::succeed(self.run_call(vcpu as u64))? {
                reason if reason == ExitReason::Interrupt as u64 => {}
                _ => return Ok(()),
            }
        }
        Err("the guest does not repeat its access".into())
    }

    /// What an exit means to the device model; completes what it can.
    ///
    /// # Errors
    /// When the exit is one that no payload causes.
    pub fn handle(&mut self, vcpu: usize, exit: Exit) -> Check<Option<Event>> {
        let [address, size, value, ..] = exit.args;
        let cpu = self.vcpus.get_mut(vcpu).ok_or("no such vCPU")?;
        match (exit.reason, address) {
            (ExitReason::Interrupt, _) => return Ok(Some(Event::Interrupt)),
            (ExitReason::WaitForInterrupt, _) => return Ok(Some(Event::Wait)),
            (ExitReason::WaitForEvent | ExitReason::SoftwareInterrupt, _) => {}
            (ExitReason::MmioRead, bus::CHALLENGE) => return Ok(Some(Event::Challenge)),
            (ExitReason::MmioWrite, bus::ANSWER) => {
                cpu.complete = Some(0);
                return Ok(Some(Event::Answer(value)));
            }
            (ExitReason::MmioRead | ExitReason::MmioWrite, bus::NOTHING) => {
                cpu.complete = Some(0);
                return Ok(Some(Event::Nothing));
            }
            (ExitReason::MmioWrite, bus::UART) if size == 1 => {
                cpu.complete = Some(0);
                self.console.push(char::from(value.to_le_bytes()[0]));
            }
            (ExitReason::MmioWrite, bus::REPORT_KEY) => {
                cpu.complete = Some(0);
                self.report_key = value;
            }
            (ExitReason::MmioWrite, bus::REPORT_VALUE) => {
                cpu.complete = Some(0);
                self.reports.insert(self.report_key, value);
                return Ok(Some(Event::Report(self.report_key, value)));
            }
            (ExitReason::MmioRead | ExitReason::MmioWrite | ExitReason::MemoryFault, _) => {
                cpu.page.set(run::ENTRY_FLAGS, run::ENTRY_ABORT);
                return self.enter_abort(vcpu);
            }
            (ExitReason::CpuOn, index) => {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                self.vcpus.get_mut(index).ok_or("CPU_ON names no vCPU")?.powered = true;
            }
            (ExitReason::CpuOff, _) => {
                cpu.powered = false;
                return Ok(Some(Event::CpuOff));
            }
            (ExitReason::SystemOff, _) => return Ok(Some(Event::Off)),
            (ExitReason::SystemReset | ExitReason::InternalError | ExitReason::SystemError, _) => {
                return Err(format!("{exit:x?}; it printed: {}", self.console));
            }
        }
        Ok(None)
    }

    /// Enters with the request for an external abort, and handles what follows.
    fn enter_abort(&mut self, vcpu: usize) -> Check<Option<Event>> {
        let request = self.run_call(vcpu as u64);
        let step = device::run_one(hyper::step(&request))?;
        let reply = hyper::judge(&request, &step)?;
        if reply.status != Status::Success {
            return Err(format!("VCPU_RUN with ENTRY_ABORT: {}", reply.status.name()));
        }
        let page = &self.vcpus[vcpu].page;
        let reason = ExitReason::from_register(reply.value).ok_or("unknown exit")?;
        let args = std::array::from_fn(|index| page.get(run::EXIT_ARGS + 8 * index));
        self.handle(vcpu, Exit { reason, args })
    }

    /// Runs a vCPU until something happens that is not the host's own interrupt.
    ///
    /// # Errors
    /// When nothing happens for very long, or the VM breaks.
    pub fn next_event(&mut self, vcpu: usize) -> Check<Event> {
        for _ in 0..1_000_000 {
            let exit = self.enter(vcpu)?;
            match self.handle(vcpu, exit)? {
                None | Some(Event::Interrupt | Event::Wait) => {}
                Some(event) => return Ok(event),
            }
        }
        Err("the guest makes no progress".into())
    }

    /// Destroys and reclaims; the pages stay allocated.
    ///
    /// # Errors
    /// When a call is refused or reclaiming does not end.
    pub fn destroy(&self) -> Check {
        hyper::succeed(HostCall::VmDestroy { handle: self.handle })?;
        reclaim(self.handle)
    }

    /// Every page that was donated or lent to it.
    #[must_use]
    pub fn pages(&self) -> Vec<Pages> {
        let mut pages = vec![self.root, self.tables, self.memory];
        for vcpu in &self.vcpus {
            pages.extend([vcpu.state, vcpu.run]);
        }
        pages
    }

    /// Destroys, checks that what EL2 or a protected guest had reads zero, and frees all.
    ///
    /// # Errors
    /// When a page is not back or not scrubbed.
    pub fn finish(self) -> Check {
        self.destroy()?;
        let mut scrubbed = vec![self.root, self.tables];
        scrubbed.extend(self.vcpus.iter().map(|vcpu| vcpu.state));
        if self.protected {
            scrubbed.push(self.memory);
        }
        for pages in scrubbed {
            memory::require_zero(pages.pfn, pages.count())?;
        }
        for pages in self.pages() {
            pages.free()?;
        }
        Ok(())
    }
}

/// Reclaims until nothing is left.
///
/// # Errors
/// When it does not end.
pub fn reclaim(handle: u64) -> Check {
    for _ in 0..1_000_000 {
        if hyper::succeed(HostCall::VmReclaim { handle })? == 0 {
            return Ok(());
        }
    }
    Err("VM_RECLAIM does not end".into())
}

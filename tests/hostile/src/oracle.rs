//! What must hold after every case, whatever the case did.
//!
//! EL2 answers on every CPU; the canary, a protected VM with a secret of its own, gives the answer
//! it gave at the start, so that its memory and registers are whole; a second VM, not protected, does
//! so too; the canary's pages are still refused to the host.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use redoubt_abi::{ABI_VERSION, HostCall};

use crate::Check;
use crate::device;
use crate::hyper;
use crate::memory::{self, PAGE};
use crate::vm::{self, Event, GUEST_BASE, Options, Vm};

/// Commands of the canary payload.
pub mod command {
    /// Power off.
    pub const OFF: u64 = 1;
    /// Share an arena page with the host.
    pub const SHARE: u64 = 2;
    /// Take it back.
    pub const UNSHARE: u64 = 3;
    /// Give it to the host for good.
    pub const RELINQUISH: u64 = 4;
    /// Write the secret to it.
    pub const WRITE: u64 = 5;
    /// Tell what it holds: 1 the secret, 2 zeroes, 3 else.
    pub const INSPECT: u64 = 6;
    /// Take pending interrupts; answers with their number.
    pub const INTERRUPTS: u64 = 8;
    /// Number of the last interrupt.
    pub const LAST_INTERRUPT: u64 = 10;
    /// Write a number to arena page 0.
    pub const POKE: u64 = 11;
    /// Read it.
    pub const PEEK: u64 = 12;
}

const KEY_PAGE: u64 = 1;
const KEY_HASH: u64 = 2;
const KEY_ARENA: u64 = 3;
const KEY_READY: u64 = 4;

/// The challenge whose answer is kept.
const BASELINE: u64 = 0x0123_4567_89ab_cdef;

/// A VM that runs the canary payload.
#[derive(Debug)]
pub struct Canary {
    /// Its VM.
    pub vm: Vm,
    /// Answer to the baseline challenge at the start.
    baseline: u64,
}

impl Canary {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(payloads: &Path, options: Options) -> Check<Self> {
        let image = vm::payload(payloads, "canary")?;
        let mut vm = Vm::build(&image, options)?;
        while !vm.reports.contains_key(&KEY_READY) {
            vm.next_event(0)?;
        }
        let mut canary = Self { vm, baseline: 0 };
        canary.baseline = canary.challenge(BASELINE)?;
        if canary.baseline >> 48 == 0xdead {
            return Err(format!("the canary is broken from the start: {:#x}", canary.baseline));
        }
        Ok(canary)
    }

    /// Sends a challenge and returns the answer.
    ///
    /// # Errors
    /// When the canary does not answer.
    pub fn challenge(&mut self, challenge: u64) -> Check<u64> {
        loop {
            match self.vm.next_event(0)? {
                Event::Challenge => self.vm.vcpus[0].complete = Some(challenge),
                Event::Answer(answer) => return Ok(answer),
                event => return Err(format!("the canary sends {event:?}")),
            }
        }
    }

    /// Sends a command.
    ///
    /// # Errors
    /// When the canary does not answer.
    pub fn command(&mut self, number: u64, argument: u64) -> Check<u64> {
        self.challenge((0xc0de_0000 | number) << 32 | argument & 0xffff_ffff)
    }

    /// Requires the answer of the start.
    ///
    /// # Errors
    /// When the canary is broken, or another.
    pub fn check(&mut self) -> Check {
        let answer = self.challenge(BASELINE)?;
        if answer == self.baseline {
            Ok(())
        } else {
            Err(format!("the canary answers {answer:#x} instead of {:#x}", self.baseline))
        }
    }

    /// Guest address of arena page `index`.
    #[must_use]
    pub fn arena(&self, index: u64) -> u64 {
        self.vm.reports.get(&KEY_ARENA).copied().unwrap_or(GUEST_BASE) + index * PAGE
    }

    /// Page frame of arena page `index`.
    ///
    /// # Errors
    /// When the canary lied.
    pub fn arena_pfn(&self, index: u64) -> Check<u64> {
        self.vm.pfn_of(self.arena(index))
    }

    /// Prints where the secret is and what it hashes to, and which pages hold anything of the VM, and
    /// waits for the launcher, which reads them without the CPU.
    ///
    /// # Errors
    /// When standard input ends or says something else than `continue`.
    pub fn show(&self) -> Check {
        let (pfn, hash) = self.secret_page()?;
        println!("CANARY {pfn:#x} {hash:#018x}");
        for pages in [self.vm.memory, self.vm.vcpus[0].state] {
            println!("CANARY-PAGES {:#x} {:#x}", pages.pfn, pages.count());
        }
        println!("CANARY-END");
        io::stdout().flush().map_err(|error| error.to_string())?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map_err(|error| error.to_string())?;
        if line.trim() == "continue" {
            Ok(())
        } else {
            Err(format!("expected `continue`: {line:?}"))
        }
    }

    /// Page frame and hash of its first secret page.
    ///
    /// # Errors
    /// When it has not reported them.
    pub fn secret_page(&self) -> Check<(u64, u64)> {
        let report = |key| self.vm.reports.get(&key).copied().ok_or("the canary has not reported");
        Ok((self.vm.pfn_of(report(KEY_PAGE)?)?, report(KEY_HASH)?))
    }
}

/// The state of the world that the cases share.
#[derive(Debug)]
pub struct World {
    /// The protected canary.
    pub canary: Canary,
    /// The second VM, not protected.
    pub second: Canary,
    /// Folder of the payloads.
    pub payloads: PathBuf,
    /// Base and size of the machine's RAM.
    pub ram: Option<(u64, u64)>,
    /// CPUs online.
    pub cpus: usize,
}

impl World {
    /// Finds EL2 and starts both VMs.
    ///
    /// # Errors
    /// When EL2 does not answer or a VM does not start.
    pub fn new(payloads: &Path, ram: Option<(u64, u64)>) -> Check<Self> {
        let cpus = device::cpus();
        alive(cpus)?;
        let start = |protected| Canary::start(payloads, Options { protected, vcpus: 1 });
        Ok(Self {
            canary: start(true).map_err(|why| format!("canary: {why}"))?,
            second: start(false).map_err(|why| format!("second VM: {why}"))?,
            payloads: payloads.to_owned(),
            ram,
            cpus,
        })
    }

    /// A payload by name.
    ///
    /// # Errors
    /// When it is missing.
    pub fn payload(&self, name: &str) -> Check<Vec<u8>> {
        vm::payload(&self.payloads, name)
    }

    /// Checks everything that must always hold.
    ///
    /// # Errors
    /// Names what does not.
    pub fn check(&mut self) -> Check {
        alive(self.cpus)?;
        self.canary.check()?;
        self.second.check().map_err(|why| format!("second VM: {why}"))?;
        let (pfn, _) = self.canary.secret_page()?;
        memory::require_refused([pfn]).map_err(|why| format!("canary: {why}"))?;
        let vm = &self.canary.vm;
        let kept = [vm.root.pfn, vm.tables.pfn, vm.vcpus[0].state.pfn];
        memory::require_refused(kept).map_err(|why| format!("tables of the canary: {why}"))
    }
}

/// Requires EL2 to answer on every CPU.
///
/// # Errors
/// Names the CPU.
pub fn alive(cpus: usize) -> Check {
    for cpu in 0..cpus {
        device::bind(cpu)?;
        let version =
            hyper::succeed(HostCall::Version {}).map_err(|why| format!("CPU {cpu}: {why}"))?;
        if version >> 16 != u64::from(ABI_VERSION >> 16) {
            return Err(format!("CPU {cpu}: version {version:#x}"));
        }
    }
    device::bind(0)
}

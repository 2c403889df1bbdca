//! `/dev/redoubt-hostile`: machine code at EL1, physical pages, barriers between CPUs.
//!
//! Mirrors `kmod/redoubt_hostile.h`. A step that takes an exception ends there; nothing it does can
//! harm the kernel below this program except what it succeeds in doing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

use crate::Check;

/// Windows onto physical memory that a step has.
pub const MAPS: usize = 8;
/// Address of the first window; the next follow.
pub const WINDOW: u64 = 0x10_0000;
/// Steps that one run takes.
pub const MAX_STEPS: usize = 32;
const PAGE: u64 = 4096;

/// Memory attributes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Attribute {
    /// Write-back cacheable.
    Normal = 1,
    /// Normal, not cacheable.
    NonCacheable = 2,
    /// Device-nGnRE.
    Device = 3,
    /// Device-nGnRnE.
    DeviceStrong = 4,
}

/// Scalable and FP registers.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct Fp {
    /// Z0 to Z31; without SVE the first 16 bytes of each are V0 to V31.
    pub z: [[u8; 256]; 32],
    /// P0 to P15.
    pub p: [[u8; 32]; 16],
    /// FFR.
    pub ffr: [u8; 32],
    /// FPSR.
    pub fpsr: u64,
    /// FPCR.
    pub fpcr: u64,
    /// Vector length in bytes, of a step with SVE.
    pub vl: u64,
}

impl Fp {
    /// Every vector byte set to one value, control registers zero.
    #[must_use]
    pub fn filled(byte: u8) -> Box<Self> {
        Box::new(Self {
            z: [[byte; 256]; 32],
            p: [[byte; 32]; 16],
            ffr: [0xff; 32],
            fpsr: 0,
            fpcr: 0,
            vl: 0,
        })
    }
}

const FLAG_FP: u32 = 1;
const FLAG_SVE: u32 = 2;
const FLAG_IRQS: u32 = 4;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned.
    Returned,
    /// A synchronous exception.
    Exception {
        /// ESR_EL1.
        esr: u64,
        /// FAR_EL1.
        far: u64,
    },
    /// An SError.
    SystemError,
}

impl Outcome {
    const fn new(outcome: u32, esr: u64, far: u64) -> Self {
        match outcome {
            0 => Self::Returned,
            1 => Self::Exception { esr, far },
            _ => Self::SystemError,
        }
    }
}

/// A piece of machine code with its registers and windows.
#[derive(Clone, Debug)]
pub struct Step {
    /// X0 to X29, in and out.
    pub x: [u64; 30],
    /// Instructions; the last one executed is RET.
    pub code: Vec<u32>,
    /// Physical pages at `WINDOW`, `WINDOW + 4096` and so on.
    pub maps: Vec<(u64, Attribute)>,
    /// FP registers, in and out.
    pub fp: Option<Box<Fp>>,
    /// Whether `fp` means the scalable registers too.
    pub sve: bool,
    /// Whether IRQs are unmasked at the start.
    pub interrupts: bool,
    /// Out: how it ended.
    pub outcome: Outcome,
}

impl Step {
    /// Code alone, registers zero.
    #[must_use]
    pub fn new(code: impl Into<Vec<u32>>) -> Self {
        Self {
            x: [0; 30],
            code: code.into(),
            maps: Vec::new(),
            fp: None,
            sve: false,
            interrupts: false,
            outcome: Outcome::Returned,
        }
    }

    /// Sets X0 and up.
    #[must_use]
    pub fn registers(mut self, x: &[u64]) -> Self {
        for (to, from) in self.x.iter_mut().zip(x) {
            *to = *from;
        }
        self
    }

    /// Adds a window onto the page of a physical address.
    #[must_use]
    pub fn window(mut self, physical: u64, attribute: Attribute) -> Self {
        self.maps.push((physical & !(PAGE - 1), attribute));
        self
    }
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawMap {
    pa: u64,
    attribute: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawStep {
    x: [u64; 30],
    esr: u64,
    far: u64,
    elr: u64,
    outcome: u32,
    flags: u32,
    code: u64,
    words: u64,
    fp: u64,
    map: [RawMap; MAPS],
}

/// What one execution of a step left, of a run that keeps a log.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Log {
    /// X0 to X3.
    pub x: [u64; 4],
    /// ESR_EL1 of an exception.
    pub esr: u64,
    /// Index of the step.
    pub step: u32,
    outcome: u32,
}

impl Log {
    /// Whether the step returned.
    #[must_use]
    pub const fn returned(&self) -> bool {
        self.outcome == 0
    }
}

#[repr(C)]
#[derive(Default)]
struct RawRun {
    steps: u64,
    log: u64,
    count: u32,
    repeat: u32,
    flags: u32,
    cpu: u32,
    done: u64,
}

#[repr(C)]
struct RawPages {
    pfn: u64,
    order: u32,
    pad: u32,
}

const RUN_BARRIER: u32 = 1;
const RUN_UNTIL_PEER: u32 = 2;

const fn request(direction: u64, number: u64, size: usize) -> u64 {
    direction << 30 | (size as u64) << 16 | 0x52 << 8 | number
}
const IOC_ALLOC: u64 = request(3, 0x60, size_of::<RawPages>());
const IOC_FREE: u64 = request(1, 0x61, size_of::<RawPages>());
const IOC_RUN: u64 = request(3, 0x62, size_of::<RawRun>());
const IOC_GROUP: u64 = request(1, 0x63, size_of::<u32>());

static DEVICE: OnceLock<File> = OnceLock::new();

/// Opens the device. The first thing to do.
///
/// # Errors
/// Says what is missing.
pub fn open() -> Check {
    let path = "/dev/redoubt-hostile";
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(|error| {
        format!("{path}: {error}; load redoubt_hostile.ko and run this program as root")
    })?;
    let _ = DEVICE.set(file);
    Ok(())
}

fn control<T>(number: u64, argument: &mut T) -> Check {
    let file = DEVICE.get().ok_or("the device is not open")?;
    // SAFETY: the argument is the structure that this request takes (see the header).
    let result =
        unsafe { libc::ioctl(file.as_raw_fd(), number as _, std::ptr::from_mut(argument)) };
    if result < 0 {
        return Err(format!("ioctl {number:#x}: {}", io::Error::last_os_error()));
    }
    Ok(())
}

/// How often and with whom a run repeats.
#[derive(Clone, Copy, Debug)]
pub struct Repeat {
    /// Repetitions.
    pub times: u32,
    /// Whether to wait for the others of the group first.
    pub barrier: bool,
    /// Whether to stop once another of the group has finished.
    pub until_peer: bool,
    /// Whether to keep a log.
    pub log: bool,
}

impl Repeat {
    /// Once, alone, without a log.
    pub const ONCE: Self = Self { times: 1, barrier: false, until_peer: false, log: false };
}

/// Runs steps on the CPU of the calling thread, and returns the log.
///
/// # Errors
/// When the module refuses, never because a step took an exception.
pub fn run(steps: &mut [Step], repeat: Repeat) -> Check<Vec<Log>> {
    let mut raw: Vec<RawStep> = Vec::with_capacity(steps.len());
    for step in steps.iter_mut() {
        let mut map = [RawMap::default(); MAPS];
        for (to, (pa, attribute)) in map.iter_mut().zip(&step.maps) {
            *to = RawMap { pa: *pa, attribute: *attribute as u64 };
        }
        let fp = step.fp.as_mut().map_or(0, |fp| std::ptr::from_mut(&mut **fp) as u64);
        let mut flags = if fp == 0 { 0 } else { FLAG_FP };
        flags |= if step.sve { FLAG_SVE } else { 0 };
        flags |= if step.interrupts { FLAG_IRQS } else { 0 };
        raw.push(RawStep {
            x: step.x,
            flags,
            code: step.code.as_ptr() as u64,
            words: step.code.len() as u64,
            fp,
            map,
            ..RawStep::default()
        });
    }
    let entries = if repeat.log { steps.len() * repeat.times as usize } else { 0 };
    let mut log = vec![Log::default(); entries];
    let mut argument = RawRun {
        steps: raw.as_mut_ptr() as u64,
        log: if repeat.log { log.as_mut_ptr() as u64 } else { 0 },
        count: u32::try_from(steps.len()).map_err(|_| "too many steps")?,
        repeat: repeat.times,
        flags: if repeat.barrier { RUN_BARRIER } else { 0 }
            | if repeat.until_peer { RUN_UNTIL_PEER } else { 0 },
        ..RawRun::default()
    };
    control(IOC_RUN, &mut argument)?;
    for (step, raw) in steps.iter_mut().zip(&raw) {
        step.x = raw.x;
        step.outcome = Outcome::new(raw.outcome, raw.esr, raw.far);
    }
    let done = usize::try_from(argument.done).unwrap_or(0);
    log.truncate(done * steps.len());
    Ok(log)
}

/// Runs one step once.
///
/// # Errors
/// As [`run`].
pub fn run_one(mut step: Step) -> Check<Step> {
    run(std::slice::from_mut(&mut step), Repeat::ONCE)?;
    Ok(step)
}

/// Binds the calling thread to a CPU.
///
/// # Errors
/// When the CPU is not there.
pub fn bind(cpu: usize) -> Check {
    // SAFETY: all zeroes is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes one bit of the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is valid for its size.
    let result =
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result == 0 { Ok(()) } else { Err(format!("CPU {cpu}: {}", io::Error::last_os_error())) }
}

/// Number of CPUs that are online.
#[must_use]
pub fn cpus() -> usize {
    // SAFETY: asks for a number.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(count).unwrap_or(1).max(1)
}

/// One participant of a race.
#[derive(Debug)]
pub struct Runner {
    /// Its CPU.
    pub cpu: usize,
    /// What it repeats.
    pub steps: Vec<Step>,
    /// How often.
    pub times: u32,
    /// Whether it goes on only until another has finished.
    pub until_peer: bool,
}

/// Runs all at the same time and returns their logs, in order.
///
/// # Errors
/// When the module refuses one of them.
pub fn race(runners: Vec<Runner>) -> Check<Vec<Vec<Log>>> {
    let mut participants = u32::try_from(runners.len()).map_err(|_| "too many runners")?;
    control(IOC_GROUP, &mut participants)?;
    let threads: Vec<_> = runners
        .into_iter()
        .map(|mut runner| {
            std::thread::spawn(move || {
                bind(runner.cpu)?;
                run(
                    &mut runner.steps,
                    Repeat {
                        times: runner.times,
                        barrier: true,
                        until_peer: runner.until_peer,
                        log: true,
                    },
                )
            })
        })
        .collect();
    threads
        .into_iter()
        .map(|thread| thread.join().map_err(|_| "a runner panicked".to_owned())?)
        .collect()
}

/// Allocates 1 << `order` zeroed pages that are contiguous; returns the first page frame number.
///
/// # Errors
/// When memory is short.
pub fn allocate(order: u32) -> Check<u64> {
    let mut pages = RawPages { pfn: 0, order, pad: 0 };
    control(IOC_ALLOC, &mut pages)?;
    Ok(pages.pfn)
}

/// Gives pages back to Linux; they must be the host's.
///
/// # Errors
/// When the module refuses.
pub fn free(pfn: u64, order: u32) -> Check {
    control(IOC_FREE, &mut RawPages { pfn, order, pad: 0 })
}

/// Physical memory mapped into this process, cacheable.
#[derive(Debug)]
pub struct Mapping {
    base: *mut u64,
    bytes: usize,
}

// SAFETY: only volatile accesses are made, and whose they are is for the tests to arrange.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps pages from a page frame number on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new(pfn: u64, pages: u64) -> Check<Self> {
        let file = DEVICE.get().ok_or("the device is not open")?;
        let bytes = usize::try_from(pages * PAGE).map_err(|_| "too large")?;
        let offset = i64::try_from(pfn * PAGE).map_err(|_| "too high")?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                offset,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(format!("mmap of page {pfn:#x}: {}", io::Error::last_os_error()));
        }
        Ok(Self { base: base.cast(), bytes })
    }

    fn word(&self, offset: usize) -> *mut u64 {
        assert!(offset.is_multiple_of(8) && offset < self.bytes, "offset outside the mapping");
        self.base.wrapping_byte_add(offset)
    }

    /// Address in this process.
    #[must_use]
    pub fn address(&self) -> *mut u8 {
        self.base.cast()
    }

    /// Reads the word at a byte offset. The page must be the host's, or SIGBUS ends the program.
    #[must_use]
    pub fn get(&self, offset: usize) -> u64 {
        // SAFETY: inside the mapping.
        unsafe { self.word(offset).read_volatile() }
    }

    /// Writes the word at a byte offset.
    pub fn set(&self, offset: usize, value: u64) {
        // SAFETY: inside the mapping.
        unsafe { self.word(offset).write_volatile(value) };
    }

    /// Copies bytes to the start, and zeroes the rest.
    pub fn load(&self, bytes: &[u8]) {
        for offset in (0..self.bytes).step_by(8) {
            let mut word = [0; 8];
            if let Some(tail) = bytes.get(offset..) {
                let length = tail.len().min(8);
                word[..length].copy_from_slice(&tail[..length]);
            }
            self.set(offset, u64::from_le_bytes(word));
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this object's.
        unsafe { libc::munmap(self.base.cast(), self.bytes) };
    }
}

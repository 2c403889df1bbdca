//! A hostile host's kernel: calls to pKVM that it must refuse or answer without harm to the machine.
//!
//! Made by the test module of the hostile host, which runs pieces of machine code at EL1 and catches
//! their exceptions. Decides which calls are made. What a host may break of itself is left out, as
//! the machine must survive: no address is passed where 6.12 follows the host's pointer unchecked,
//! and EL2's memory is not touched (either ends in a panic of EL2, which denies service and does no
//! more); no page is given away that Linux uses, and nothing switches the machine off.
//!
//! Mirrors `tests/hostile/kmod/redoubt_hostile.h`. Spec: Linux 6.12, arch/arm64/kvm/hyp/nvhe.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;

use crate::random::Random;
use crate::{Check, failed, last_error};

const DEVICE: &str = "/dev/redoubt-hostile";
/// Steps in one request to the module.
const BATCH: usize = 32;

const HVC: u32 = 0xd400_0002;
const SMC: u32 = 0xd400_0003;
const RET: u32 = 0xd65f_03c0;

/// The first number of the host's calls, and how many there are in Linux 6.12.
const HOST_CALLS: u64 = 0xc600_0000;
const HOST_CALL_COUNT: u64 = 26;
/// Of these, the ones that take no pointer that is followed unchecked, or none at all.
const SHARE: u64 = 9;
const UNSHARE: u64 = 10;
const CHECKED: [u64; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 13, 23, 25];

/// PSCI calls that answer a question, or act on a CPU that is not there.
const PSCI: [u64; 8] = [
    0x8400_0000,
    0x8400_0003,
    0x8400_0004,
    0x8400_0006,
    0x8400_000a,
    0xc400_0003,
    0xc400_0004,
    0xc400_0007,
];
/// FF-A calls, from the first to the last number.
const FFA: (u64, u64) = (0x8400_0060, 0x8400_008c);

#[repr(C)]
#[derive(Clone, Copy)]
struct Map {
    physical: u64,
    attribute: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Step {
    x: [u64; 30],
    esr: u64,
    far: u64,
    elr: u64,
    outcome: u32,
    flags: u32,
    code: u64,
    words: u64,
    fp: u64,
    map: [Map; 8],
}

#[repr(C)]
struct Run {
    steps: u64,
    log: u64,
    count: u32,
    repeat: u32,
    flags: u32,
    cpu: u32,
    done: u64,
}

#[repr(C)]
struct Pages {
    pfn: u64,
    order: u32,
    pad: u32,
}

const fn request(direction: u64, number: u64, size: usize) -> u64 {
    direction << 30 | (size as u64) << 16 | 0x52 << 8 | number
}
const ALLOC: u64 = request(3, 0x60, size_of::<Pages>());
const FREE: u64 = request(1, 0x61, size_of::<Pages>());
const RUN: u64 = request(3, 0x62, size_of::<Run>());

fn control<T>(device: &File, number: u64, argument: &mut T) -> Check {
    // SAFETY: the argument is the structure that this request takes.
    let result =
        unsafe { libc::ioctl(device.as_raw_fd(), number as _, std::ptr::from_mut(argument)) };
    if result < 0 { Err(last_error(format!("{DEVICE}: request {number:#x}"))) } else { Ok(()) }
}

/// What one step does.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    instruction: u32,
    x: [u64; 5],
}

/// Makes up attempts.
struct Attempts {
    random: Random,
    /// A page that Linux gave to the module.
    own: u64,
    /// The first byte of the memory that EL2 keeps for itself.
    hidden: u64,
}

impl Attempts {
    /// A page frame that EL2 has no reason to hand over, or the module's own.
    fn frame(&mut self) -> u64 {
        let wild = [0, 0x8000, self.hidden >> 12, (self.hidden >> 12) + 5, 1 << 36, u64::MAX >> 12];
        if self.random.below(3) == 0 { self.own } else { self.random.one_of(&wild) }
    }

    /// A number that is no address of anything: none is the multiple of a page.
    fn number(&mut self) -> u64 {
        match self.random.below(4) {
            0 => 1,
            1 => self.random.below(4096) | 1,
            2 => u64::MAX,
            _ => self.random.next() | 1,
        }
    }

    fn next(&mut self) -> Attempt {
        let numbers = [(); 4].map(|()| self.number());
        let with = |function: u64, arguments: [u64; 4]| {
            [function, arguments[0], arguments[1], arguments[2], arguments[3]]
        };
        let call = |instruction, x| Attempt { instruction, x };
        match self.random.below(7) {
            0 | 1 => {
                let function = HOST_CALLS + self.random.one_of(&[SHARE, UNSHARE]);
                call(HVC, with(function, [self.frame(), numbers[1], 0, 0]))
            }
            2 => call(HVC, with(HOST_CALLS + self.random.one_of(&CHECKED), numbers)),
            // Behind the last call, and of owners that the host's calls do not have.
            3 => {
                let behind = HOST_CALLS + HOST_CALL_COUNT + self.random.below(0xff00);
                let foreign = 0x8000_0000 | self.random.below(1 << 30) & 0x31ff_ffff;
                call(HVC, with(self.random.one_of(&[behind, foreign]), numbers))
            }
            4 => call(SMC, with(self.random.one_of(&PSCI), [0xff00_0001, numbers[1], 0, 0])),
            5 => {
                let bit = self.random.below(2) << 30;
                let function = FFA.0 + self.random.below(FFA.1 - FFA.0 + 1);
                call(SMC, with(function | bit, numbers))
            }
            // Owners without a service: standard hypervisor, OEM, trusted applications.
            _ => {
                let owner = self.random.one_of(&[0x05_u64, 0x03, 0x30, 0x3f]) << 24;
                call(SMC, with(0xc000_0000 | owner | self.random.below(0xffff), numbers))
            }
        }
    }
}

/// Hands a batch of attempts to the module; returns how many came back without an exception.
fn perform(device: &File, attempts: &[Attempt]) -> Check<u64> {
    let code: Vec<[u32; 2]> = attempts.iter().map(|one| [one.instruction, RET]).collect();
    let mut steps = Vec::with_capacity(attempts.len());
    for (attempt, code) in attempts.iter().zip(&code) {
        let mut x = [0; 30];
        x[..5].copy_from_slice(&attempt.x);
        let map = [Map { physical: 0, attribute: 0 }; 8];
        let code = code.as_ptr() as u64;
        let none = (0, 0, 0);
        let (esr, far, elr) = none;
        steps.push(Step { x, esr, far, elr, outcome: 0, flags: 0, code, words: 2, fp: 0, map });
    }
    let mut run = Run {
        steps: steps.as_mut_ptr() as u64,
        log: 0,
        count: steps.len() as u32,
        repeat: 1,
        flags: 0,
        cpu: 0,
        done: 0,
    };
    control(device, RUN, &mut run)?;
    Ok(steps.iter().filter(|step| step.outcome == 0).count() as u64)
}

/// Makes `calls` attempts against a hypervisor whose own memory begins at `hidden`.
pub fn run(seed: u64, calls: u64, hidden: u64) -> Check {
    let device = OpenOptions::new().read(true).write(true).open(DEVICE).map_err(failed(DEVICE))?;
    let mut pages = Pages { pfn: 0, order: 0, pad: 0 };
    control(&device, ALLOC, &mut pages)?;
    let mut attempts = Attempts { random: Random::new(seed), own: pages.pfn, hidden };
    let (mut left, mut answered) = (calls, 0);
    while left > 0 {
        let count = left.min(BATCH as u64);
        let batch: Vec<Attempt> = (0..count).map(|_| attempts.next()).collect();
        answered += perform(&device, &batch)?;
        left -= count;
    }
    // Whatever the attempts left of it, the page is the host's again.
    let x = [HOST_CALLS + UNSHARE, pages.pfn, 0, 0, 0];
    perform(&device, &[Attempt { instruction: HVC, x }])?;
    control(&device, FREE, &mut pages)?;
    if answered != calls {
        return Err(format!("of {calls} calls only {answered} were answered"));
    }
    println!("DID hostcalls calls={answered}");
    Ok(())
}

#[cfg(test)]
mod tests {
    //! What is never attempted.

    use super::{Attempts, CHECKED, HOST_CALLS, HVC, Random, SHARE, UNSHARE};

    #[test]
    fn the_machine_survives_every_attempt() {
        let mut attempts = Attempts { random: Random::new(3), own: 0x5_0000, hidden: 0x7000_0000 };
        for _ in 0..20_000 {
            let attempt = attempts.next();
            let function = attempt.x[0];
            if attempt.instruction == HVC {
                let number = function.wrapping_sub(HOST_CALLS);
                let known = CHECKED.contains(&number) || number == SHARE || number == UNSHARE;
                assert!(known || number >= 26, "{function:#x}");
                // Calls of the stub vectors, which are not SMCCC's.
                assert!(function > 0xff);
            }
            // CPU_SUSPEND, CPU_OFF, SYSTEM_OFF, SYSTEM_RESET, SYSTEM_SUSPEND, SYSTEM_RESET2.
            for call in [1, 2, 8, 9, 0x0e, 0x12] {
                assert_ne!(function & 0xbfff_ffff, 0x8400_0000 | call, "{function:#x}");
            }
            if (HOST_CALLS..=HOST_CALLS + 26).contains(&function) {
                let number = function - HOST_CALLS;
                // Only these take page frames.
                assert!(number == SHARE || number == UNSHARE || attempt.x[1] % 2 == 1);
            }
        }
    }
}

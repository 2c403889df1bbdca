//! QEMU TCG plugin of the attack profile: records which instructions ran how often at which
//! exception level, who entered the privileged level and why, in phases that the software under
//! test marks.
//!
//! # How it counts
//!
//! QEMU translates code in blocks and keeps a block for each exception level. When it translates
//! one, the plugin cuts it into *segments*: runs of instructions that cannot stop in the middle
//! (`segment`). Each segment has one counter for each origin (`origin`), and one call before its
//! first instruction counts it; so counts are exact, whatever faults. A block that is an exception
//! vector of the privileged level begins with one more call, which reads why it was entered: only
//! there registers are read.
//!
//! What QEMU does twice counts once: an access to a device in the middle of a block, which under
//! `-icount` ends the block and is run again, is run again without instrumentation.
//!
//! # What repeats
//!
//! Under `-icount`, with the clock and the random numbers fixed, equal software makes equal
//! recordings as long as nothing happens at the host's own pace. Disks and networks complete when the
//! host does; `settle` waits for them, so that a request is done before the next instruction. Of
//! several requests to a disk at once QEMU finishes now one, now another first: whoever wants
//! recordings that repeat gives a disk one at a time. In what order QEMU translates, and so the order
//! of the segments, is QEMU's.
//!
//! # Key types
//!
//! - `arguments::Arguments`: what the command line asks for.
//! - `recorder::Recorder`: everything that was seen; knows nothing of QEMU.
//! - `recording::Writer`: the file.
//! - `qemu`: the only module that calls QEMU's interface; `plugin`: the callbacks. The test build,
//!   which has no QEMU to be loaded into, has neither.
//!
//! # Limits
//!
//! AArch64 only: QEMU does not tell the level of AArch32 code. One thread for all vCPUs, as under
//! `-icount`: counters are plain additions. With segments, the machine starts in RAM, not in flash.
//!
//! # Trust
//!
//! The software under test is not trusted: it can fill the recording with marks and segments of its
//! own, and make the file large, but not make the plugin do anything else. QEMU is trusted.

mod arguments;
mod arm;
mod origin;
mod ram;
mod recorder;
mod recording;
mod segment;
mod settle;

#[cfg(not(test))]
mod plugin;
#[cfg(not(test))]
mod qemu;

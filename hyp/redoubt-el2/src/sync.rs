//! Locks and write-once cells.
//!
//! Lock order, lowest rank first: a CPU takes a lock only if its rank is above that of every lock
//! it holds. Debug builds check it.
//!
//! | rank | lock | protects |
//! |---|---|---|
//! | `CPUS` | power states of the physical CPUs; denied SMCs (never both) | `psci.rs` |
//! | `TABLE` | allocation of VM slots | `vm.rs` |
//! | `VM` | one per VM slot | life cycle, vCPUs and stage-2 table of a VM |
//! | `GIC` | what the GIC was told of tables and commands | `dma.rs` |
//! | `HOST` | host memory | the ownership table, the host's stage-2 table and its pool |
//!
//! No lock is held while a guest or the host runs.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU8, Ordering};

use spin::mutex::{TicketMutex, TicketMutexGuard};

/// The ranks.
pub mod rank {
    /// Physical CPUs.
    pub const CPUS: u8 = 0;
    /// The allocation of VM slots.
    pub const TABLE: u8 = 1;
    /// A VM.
    pub const VM: u8 = 2;
    /// The guard of the GIC.
    pub const GIC: u8 = 3;
    /// Host memory.
    pub const HOST: u8 = 4;
}

/// A lock with a rank.
pub struct Lock<const RANK: u8, T> {
    inner: TicketMutex<T>,
}

/// Proof that a lock is held.
pub struct Guard<'a, const RANK: u8, T> {
    inner: TicketMutexGuard<'a, T>,
}

impl<const RANK: u8, T> Lock<RANK, T> {
    /// An unlocked lock.
    pub const fn new(value: T) -> Self {
        Self { inner: TicketMutex::new(value) }
    }

    /// Waits until no other CPU holds the lock.
    pub fn lock(&self) -> Guard<'_, RANK, T> {
        #[cfg(debug_assertions)]
        crate::percpu::take_rank(RANK);
        Guard { inner: self.inner.lock() }
    }
}

impl<const RANK: u8, T> Deref for Guard<'_, RANK, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<const RANK: u8, T> DerefMut for Guard<'_, RANK, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[cfg(debug_assertions)]
impl<const RANK: u8, T> Drop for Guard<'_, RANK, T> {
    fn drop(&mut self) {
        crate::percpu::release_rank(RANK);
    }
}

/// Not written yet.
const EMPTY: u8 = 0;
/// Being written.
const WRITING: u8 = 1;
/// Written, constant from now on.
const FULL: u8 = 2;

/// A value that the first CPU writes once while booting.
pub struct BootCell<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is written by the one CPU that moves the state from EMPTY to WRITING, and is
// shared only after the state is FULL, from when on it is never written.
unsafe impl<T: Send + Sync> Sync for BootCell<T> {}

impl<T> BootCell<T> {
    /// An empty cell.
    pub const fn new() -> Self {
        Self { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Writes the value; a second call changes nothing and returns `false`.
    pub fn set(&self, value: T) -> bool {
        let claimed =
            self.state.compare_exchange(EMPTY, WRITING, Ordering::Acquire, Ordering::Relaxed);
        if claimed.is_err() {
            return false;
        }
        let place = self.value.get();
        // SAFETY: the state says that this call alone may write, and nobody reads before FULL.
        unsafe { (*place).write(value) };
        self.state.store(FULL, Ordering::Release);
        true
    }

    /// The value; a fatal stop if it was never written, which would be a bug of the boot.
    pub fn get(&self) -> &T {
        if self.state.load(Ordering::Acquire) != FULL {
            crate::fatal::stop("a boot-time value is missing");
        }
        // SAFETY: the state is FULL, so nobody writes any more.
        let value = unsafe { &*self.value.get() };
        // SAFETY: the state is FULL, so the value is initialised.
        unsafe { value.assume_init_ref() }
    }
}

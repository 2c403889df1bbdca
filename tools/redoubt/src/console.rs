//! The guest's console: the UART joined to an interrupt line, to the thread that writes stdout and
//! to the thread that reads stdin.
//!
//! Three parties meet here. vCPU threads bring the guest's register accesses, the writer thread
//! takes what the guest sent, the main thread brings what the user typed. One lock guards the UART;
//! the interrupt line is driven under that lock, so its level always follows the state. No I/O is
//! done under the lock: a stdout that blocks stops the writer thread only, and a guest that sends
//! more than the queue holds waits for it (until the console is closed, when output is dropped).

#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::uart::Uart;

/// The most bytes given to stdout at once.
const OUTPUT_CHUNK_BYTES: usize = 4096;

/// An interrupt line into the guest.
pub trait InterruptLine: Send + Sync {
    /// Sets the level of the line.
    fn set(&self, asserted: bool) -> io::Result<()>;
}

/// When the guest is to get input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As soon as there is room, as a terminal's keys. A guest that is only starting up loses them.
    AtOnce,
    /// Not before the guest has turned the receive interrupt on, as prepared input wants it.
    WhenListening,
}

/// The console.
pub struct Console {
    state: Mutex<State>,
    /// Signalled when there is output to write, and on closing.
    output: Condvar,
    /// Signalled when output was written, and on closing.
    progress: Condvar,
    /// Written when the guest would take input after some had been refused.
    input_room: EventFd,
    line: Box<dyn InterruptLine>,
}

#[derive(Default)]
struct State {
    uart: Uart,
    /// The level last given to the line.
    asserted: bool,
    closed: bool,
    /// The writer holds bytes that it has not written yet.
    writing: bool,
    /// Input was refused, and is to be announced when the guest can take it.
    input_refused: Option<Delivery>,
}

impl Console {
    /// Creates a console whose UART drives `line`, which is low.
    pub fn new(line: Box<dyn InterruptLine>) -> io::Result<Self> {
        Ok(Self {
            state: Mutex::default(),
            output: Condvar::new(),
            progress: Condvar::new(),
            input_room: EventFd::new(EFD_NONBLOCK)?,
            line,
        })
    }

    /// Performs a guest's read. The UART's registers are one byte wide; the rest of a wider access
    /// reads as zero.
    pub fn guest_read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        data.fill(0);
        let Some(first) = data.first_mut() else {
            return Ok(());
        };
        let mut state = self.lock();
        *first = state.uart.read(offset);
        self.announce_room(&mut state)?;
        self.drive_line(&mut state)
    }

    /// Performs a guest's write. Of a wider access the first byte counts.
    pub fn guest_write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let Some(&value) = data.first() else {
            return Ok(());
        };
        let mut state = self.lock();
        while offset == 0 && !state.uart.can_send() && !state.closed {
            state = self.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.uart.write(offset, value);
        if state.uart.has_output() {
            self.output.notify_one();
        }
        self.announce_room(&mut state)?;
        self.drive_line(&mut state)
    }

    /// Hands input to the guest; returns how many bytes it took. If not all, the event of
    /// [`Console::input_room`] fires when it is worth trying again.
    pub fn push_input(&self, bytes: &[u8], delivery: Delivery) -> io::Result<usize> {
        let mut state = self.lock();
        let ready = delivery == Delivery::AtOnce || state.uart.is_listening();
        let count = if ready { state.uart.receive(bytes) } else { 0 };
        state.input_refused = (count < bytes.len()).then_some(delivery);
        self.drive_line(&mut state)?;
        Ok(count)
    }

    /// The event that says that refused input may be offered again.
    pub fn input_room(&self) -> &EventFd {
        &self.input_room
    }

    /// Waits for output and moves some into `chunk`, which is cleared first. Returns false when the
    /// console is closed and everything has been taken. Calling it again says that the last chunk
    /// was written.
    pub fn next_output(&self, chunk: &mut Vec<u8>) -> io::Result<bool> {
        chunk.clear();
        let mut state = self.lock();
        state.writing = false;
        self.progress.notify_all();
        while !state.uart.has_output() {
            if state.closed {
                return Ok(false);
            }
            state = self.output.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.uart.take_output(chunk, OUTPUT_CHUNK_BYTES);
        state.writing = true;
        self.progress.notify_all();
        self.drive_line(&mut state)?;
        Ok(true)
    }

    /// Closes the console: guests that wait for room go on, the writer ends after the rest.
    pub fn close(&self) {
        self.lock().closed = true;
        self.output.notify_all();
        self.progress.notify_all();
    }

    /// Waits until all output is written, at most for `limit`. Returns whether it is.
    pub fn wait_drained(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.lock();
        while state.uart.has_output() || state.writing {
            let Some(rest) = end.checked_duration_since(Instant::now()) else {
                return false;
            };
            let (next, _) =
                self.progress.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner);
            state = next;
        }
        true
    }

    /// Fires the event if refused input would now be taken.
    fn announce_room(&self, state: &mut State) -> io::Result<()> {
        let Some(delivery) = state.input_refused else {
            return Ok(());
        };
        let ready = delivery == Delivery::AtOnce || state.uart.is_listening();
        if ready && state.uart.receive_room() > 0 {
            state.input_refused = None;
            self.input_room.write(1)?;
        }
        Ok(())
    }

    /// Drives the line if its level is to change. After closing the guest is going away, and its
    /// interrupt lines with it.
    fn drive_line(&self, state: &mut State) -> io::Result<()> {
        let wanted = state.uart.interrupt_asserted();
        if wanted != state.asserted && !state.closed {
            self.line.set(wanted)?;
            state.asserted = wanted;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What a machine says on its serial port, and waiting for it.
//!
//! Decides when a wait ends: the text was found, a text that means failure was found first, the
//! machine stopped talking for good, or the time was up. Text is searched from behind the last
//! match, so two waits in a row never take the same line twice.
//!
//! Invariants: every byte that was read is kept and is searched exactly as it came, bytes that are
//! no UTF-8 replaced; a wait for text that is already there returns at once.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How many of the last lines an error shows.
const TAIL: usize = 15;

/// What a wait found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which of the patterns it was.
    pub index: usize,
    /// The line the text is in, as far as it had come.
    pub line: String,
}

/// A console that is filled by one thread and watched by others.
#[derive(Clone, Debug, Default)]
pub struct Console(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    text: String,
    /// The beginning of a character whose end has not come yet.
    partial: Vec<u8>,
    /// Behind the last match.
    cursor: usize,
    closed: bool,
    fatal: Vec<String>,
}

impl Console {
    /// Starts with nothing said.
    pub fn new() -> Console {
        Console::default()
    }

    /// Takes note that the machine said `bytes`.
    pub fn push(&self, bytes: &[u8]) {
        let mut state = self.state();
        state.partial.extend_from_slice(bytes);
        let pending = std::mem::take(&mut state.partial);
        for chunk in pending.utf8_chunks() {
            state.text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            // An unfinished character at the very end may be completed by the next bytes.
            let at_end = invalid.as_ptr_range().end == pending.as_ptr_range().end;
            if at_end && !invalid.is_empty() && invalid.len() < 4 && may_continue(invalid) {
                state.partial = invalid.to_vec();
            } else if !invalid.is_empty() {
                state.text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.0.changed.notify_all();
    }

    /// Takes note that nothing more will come.
    pub fn close(&self) {
        self.state().closed = true;
        self.0.changed.notify_all();
    }

    /// Adds a text that makes every later wait fail when it is seen.
    pub fn fail_on(&self, text: &str) {
        self.state().fatal.push(text.into());
    }

    /// Waits for `pattern`.
    pub fn wait_for(&self, pattern: &str, timeout: Duration) -> Result<Found> {
        self.wait_for_any(&[pattern], timeout)
    }

    /// Waits for the first of `patterns` that comes.
    pub fn wait_for_any(&self, patterns: &[&str], timeout: Duration) -> Result<Found> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        loop {
            if let Some(found) = state.take(patterns)? {
                return Ok(found);
            }
            if state.closed {
                bail!("the machine ended without saying {}{}", quoted(patterns), state.tail());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seconds = timeout.as_secs();
                bail!("{} did not come in {seconds} s{}", quoted(patterns), state.tail());
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until nothing more will come; false if the time was up first.
    pub fn wait_closed(&self, timeout: Duration) -> bool {
        let state = self.state();
        let waited = self.0.changed.wait_timeout_while(state, timeout, |state| !state.closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// Everything that was said.
    pub fn text(&self) -> String {
        self.state().text.clone()
    }

    /// Calls `each` for every complete line, as it comes, until one makes it return `Some`.
    ///
    /// Starts behind the last match; what comes after the line that ended it is still to be found.
    pub fn follow<T>(
        &self,
        timeout: Duration,
        mut each: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + timeout;
        loop {
            let line = {
                let mut state = self.state();
                state.check_fatal()?;
                let line = state.take_line();
                if line.is_none() {
                    if state.closed {
                        bail!("the machine ended too early{}", state.tail());
                    }
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        bail!("nothing more came in {} s{}", timeout.as_secs(), state.tail());
                    }
                    drop(self.0.changed.wait_timeout(state, left));
                }
                line
            };
            if let Some(value) = line.and_then(|line| each(&line)) {
                return Ok(value);
            }
        }
    }

    /// The last lines, for an error message.
    pub fn tail(&self) -> String {
        self.state().tail()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A watcher that panicked leaves whole text behind: every change is made under one lock.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Finds the earliest of `patterns` behind the cursor and moves the cursor behind it.
    fn take(&mut self, patterns: &[&str]) -> Result<Option<Found>> {
        let rest = &self.text[self.cursor..];
        let earliest = patterns
            .iter()
            .enumerate()
            .filter_map(|(index, pattern)| rest.find(pattern).map(|at| (at, index)))
            .min();
        // What failed before the text came is what counts, so that is looked for up to there.
        let limit = earliest.map_or(rest.len(), |(at, _)| at);
        if let Some(text) = self.fatal.iter().find(|text| rest[..limit].contains(text.as_str())) {
            bail!("the machine said \"{text}\"{}", self.tail());
        }
        let Some((at, index)) = earliest else {
            return Ok(None);
        };
        let (start, end) = (self.cursor + at, self.cursor + at + patterns[index].len());
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = self.text[end..].find('\n').map_or(self.text.len(), |newline| end + newline);
        self.cursor = end;
        let line = self.text[line_start..line_end].trim_end_matches('\r').to_owned();
        Ok(Some(Found { index, line }))
    }

    /// Takes the first complete line behind the cursor.
    fn take_line(&mut self) -> Option<String> {
        let rest = &self.text[self.cursor..];
        let end = rest.find('\n')?;
        let line = rest[..end].trim_end_matches('\r').to_owned();
        self.cursor += end + 1;
        Some(line)
    }

    fn check_fatal(&self) -> Result<()> {
        let rest = &self.text[self.cursor..];
        match self.fatal.iter().find(|text| rest.contains(text.as_str())) {
            Some(text) => bail!("the machine said \"{text}\"{}", self.tail()),
            None => Ok(()),
        }
    }

    fn tail(&self) -> String {
        let mut last = VecDeque::with_capacity(TAIL);
        for line in self.text.lines().filter(|line| !line.trim().is_empty()) {
            if last.len() == TAIL {
                last.pop_front();
            }
            last.push_back(line);
        }
        if last.is_empty() {
            return "; it said nothing at all".into();
        }
        let lines: Vec<_> = last.into_iter().collect();
        format!("; its last lines:\n    | {}", lines.join("\n    | "))
    }
}

/// Whether `bytes` may be the beginning of a longer character.
fn may_continue(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.error_len().is_none())
}

fn quoted(patterns: &[&str]) -> String {
    let quoted: Vec<_> = patterns.iter().map(|pattern| format!("\"{pattern}\"")).collect();
    quoted.join(" or ")
}

#[cfg(test)]
mod tests;

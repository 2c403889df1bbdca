//! A conversation over a console: a terminal, lines typed on it, and lines that come back.
//!
//! The other end is a virtual machine's console behind its VMM, or a container behind its runtime;
//! both get a terminal of their own and are driven in the same way. Each line is typed when the one
//! before has come back, so both directions take turns.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Check, failed, last_error, mark};

/// The longest that anything may take, in the machine's time.
const PATIENCE: Duration = Duration::from_secs(600);

/// A terminal: the end that a program sees, and the one that a person would.
struct Terminal {
    near: File,
    far: OwnedFd,
}

impl Terminal {
    fn open() -> Check<Terminal> {
        let (mut near, mut far) = (-1, -1);
        // SAFETY: the first two pointers are to integers of this function, the others may be null.
        let result = unsafe {
            libc::openpty(
                &raw mut near,
                &raw mut far,
                std::ptr::null_mut(),
                std::ptr::null(),
                std::ptr::null(),
            )
        };
        if result != 0 {
            return Err(last_error("openpty"));
        }
        // SAFETY: the descriptor was opened above and is nobody else's.
        let far = unsafe { OwnedFd::from_raw_fd(far) };
        // SAFETY: as above.
        let near = unsafe { File::from_raw_fd(near) };
        Ok(Terminal { near, far })
    }
}

/// A program on a terminal, and what it has said that was not looked at.
struct Partner {
    child: Child,
    terminal: File,
    unread: Vec<u8>,
    deadline: Instant,
}

impl Partner {
    fn start(command: &[&str]) -> Check<Partner> {
        let Terminal { near, far } = Terminal::open()?;
        let copy = || far.try_clone().map(Stdio::from).map_err(failed("dup"));
        let mut starter = Command::new(command[0]);
        starter.args(&command[1..]).stdin(copy()?).stdout(copy()?).stderr(copy()?);
        let child = starter.spawn().map_err(failed(command[0]))?;
        Ok(Partner {
            child,
            terminal: near,
            unread: Vec::new(),
            deadline: Instant::now() + PATIENCE,
        })
    }

    /// Reads on; false at the end of what is said.
    fn read(&mut self) -> Check<bool> {
        if Instant::now() > self.deadline {
            return Err("the other end takes too long".into());
        }
        let mut piece = [0; 4096];
        match self.terminal.read(&mut piece) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.unread.extend_from_slice(&piece[..count]);
                Ok(true)
            }
            // The terminal's other end was closed for the last time.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(false),
            Err(error) => Err(failed("terminal")(error)),
        }
    }

    /// Waits until `text` was said, and forgets everything up to its end.
    fn wait_for(&mut self, text: &str) -> Check {
        loop {
            let found =
                self.unread.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = found {
                self.unread.drain(..at + text.len());
                return Ok(());
            }
            if !self.read()? {
                let said = String::from_utf8_lossy(&self.unread);
                let start = said.char_indices().rev().nth(400).map_or(0, |(at, _)| at);
                return Err(format!("the other end ended without `{text}`: {}", &said[start..]));
            }
        }
    }

    fn say(&mut self, line: &str) -> Check {
        self.terminal.write_all(format!("{line}\n").as_bytes()).map_err(failed("terminal"))
    }

    fn finish(mut self) -> Check {
        while self.read()? {
            self.unread.clear();
        }
        let status = self.child.wait().map_err(failed("wait"))?;
        if status.success() { Ok(()) } else { Err(format!("the other end ended with {status}")) }
    }
}

/// Runs the workload; the conversation is between two marks. Every line holds a word of its own,
/// which must come back inside quotes: so it is an answer, and not the terminal's echo.
pub fn run(ready: &str, lines: u64, last: &str, command: &[&str]) -> Check {
    let mut partner = Partner::start(command)?;
    partner.wait_for(ready)?;
    let (mut typed, mut answered) = (0, 0);
    mark::phase(1)?;
    for number in 0..lines {
        let word = format!("line-{number:04}-of-a-conversation-with-the-console");
        partner.say(&word)?;
        typed += word.len() + 1;
        partner.wait_for(&format!("\"{word}\""))?;
        answered += word.len() + 2;
    }
    mark::phase(0)?;
    partner.say(last)?;
    partner.finish()?;
    println!("DID converse lines={lines} typed={typed} answered={answered}");
    Ok(())
}

#[cfg(test)]
mod tests {
    //! A shell that answers as a guest does.

    use super::run;

    const SHELL: &str = "stty -echo; echo is ready; \
        while read -r word; do [ \"$word\" != stop ] || exit $1; echo \"what is \\\"$word\\\"\"; done";

    #[test]
    fn talks_and_ends() {
        run("is ready", 5, "stop", &["sh", "-c", SHELL, "sh", "0"]).unwrap();
        let error = run("is ready", 1, "stop", &["sh", "-c", SHELL, "sh", "3"]).unwrap_err();
        assert!(error.contains("exit status: 3"), "{error}");
    }

    #[test]
    fn tells_the_end_of_a_partner_that_is_never_ready() {
        let error = run("is ready", 1, "stop", &["sh", "-c", "echo no such thing"]).unwrap_err();
        assert!(error.contains("no such thing"), "{error}");
        assert!(run("is ready", 1, "stop", &["/no/such/program"]).is_err());
    }
}

//! What the user sees: one line a step, with a spinner while it runs.
//!
//! On a terminal the spinner is replaced by the result; in a log there is one line for each step,
//! so that the output of a CI run can be read.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// A step that is under way.
#[derive(Debug)]
pub struct Step {
    name: String,
    bar: ProgressBar,
    start: Instant,
}

impl Step {
    /// Starts a step and shows it, in a log too.
    pub fn start(name: &str) -> Step {
        let step = Step::quiet(name);
        if step.bar.is_hidden() {
            println!("  .. {name}");
        }
        step
    }

    /// Starts a step that a log shows only when it ends.
    pub fn quiet(name: &str) -> Step {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_message(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Step { name: name.to_owned(), bar, start: Instant::now() }
    }

    /// Changes what the spinner says.
    pub fn detail(&self, detail: &str) {
        self.bar.set_message(format!("{}: {detail}", self.name));
    }

    /// Prints a line while the step goes on.
    pub fn line(&self, text: &str) {
        if self.bar.is_hidden() {
            println!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    /// Ends a step that went well; `what` came out of it.
    pub fn done(self, what: &str) {
        self.finish("ok", what);
    }

    /// Ends a step that failed.
    pub fn failed(self, why: &str) {
        self.finish("!!", why);
    }

    fn finish(self, mark: &str, what: &str) {
        let took = seconds(self.start.elapsed());
        let colon = if what.is_empty() { "" } else { ": " };
        self.bar.finish_and_clear();
        println!("  {mark} {}{colon}{what} ({took})", self.name);
    }
}

/// Runs `work` as a step; its text is what came out of it.
pub fn step<T>(name: &str, work: impl FnOnce(&Step) -> Result<(T, String)>) -> Result<T> {
    let step = Step::start(name);
    match work(&step) {
        Ok((value, what)) => {
            step.done(&what);
            Ok(value)
        }
        Err(error) => {
            step.failed("failed");
            Err(error)
        }
    }
}

/// Prints a heading.
pub fn heading(text: &str) {
    println!("{text}");
}

/// A duration for people.
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {:02} s", duration.as_secs() / 60, duration.as_secs() % 60)
    }
}

/// A number of bytes for people.
pub fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    //! Rounding and units.

    use super::{bytes, seconds};
    use std::time::Duration;

    #[test]
    fn units_fit_the_amount() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(1_572_864), "1.5 MiB");
        assert_eq!(seconds(Duration::from_millis(1540)), "1.5 s");
        assert_eq!(seconds(Duration::from_secs(61)), "1 min 01 s");
    }
}

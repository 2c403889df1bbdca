//! Runs other programs.
//!
//! Output is kept from the user unless the program fails; then the end of it is in the error, and
//! all of it in a log file. A program that is not there is an error that names its package.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// How many lines of a failed program's output an error shows.
const TAIL: usize = 40;

/// Runs `command`, which must succeed, and returns what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = run(command)?;
    if !output.status.success() {
        bail!("{}", failure(command, &output));
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` prints no text", name(command.get_program())))
}

/// Runs `command`, which must succeed, with everything it prints in the file `log`.
pub fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let output = run(command)?;
    let mut text = format!("# {command:?}\n").into_bytes();
    text.extend_from_slice(&output.stdout);
    text.extend_from_slice(&output.stderr);
    if let Some(folder) = log.parent() {
        crate::paths::make_folder(folder)?;
    }
    fs::write(log, text).with_context(|| format!("cannot write {}", log.display()))?;
    if !output.status.success() {
        bail!("{}\nall of it is in {}", failure(command, &output), log.display());
    }
    Ok(())
}

/// Runs `command` and says whether it succeeded; its output is dropped.
pub fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Runs `command` and returns its output, whether it succeeded or not.
pub fn run(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| {
        let program = name(command.get_program());
        format!("`{program}` cannot be run: `cargo xtask setup` installs what is needed")
    })
}

fn failure(command: &Command, output: &Output) -> String {
    let program = name(command.get_program());
    // What a program has to say of its failure is on its error output, where it uses that at all.
    let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    let text = String::from_utf8_lossy(said);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = &lines[lines.len().saturating_sub(TAIL)..];
    format!("`{program}` failed ({}):\n    {}", output.status, tail.join("\n    "))
}

fn name(program: &OsStr) -> String {
    program.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    //! Success, failure and absence.

    use super::{logged, output, succeeds};
    use std::process::Command;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn returns_output_or_tells_the_end_of_it() {
        assert_eq!(output(&mut sh("echo hello")).unwrap(), "hello\n");
        let error = output(&mut sh("echo why; exit 3")).unwrap_err().to_string();
        assert!(error.contains("why") && error.contains("exit status: 3"), "{error}");
        assert!(succeeds(&mut sh("true")) && !succeeds(&mut sh("false")));
    }

    #[test]
    fn keeps_everything_in_the_log() {
        let log = std::env::temp_dir().join(format!("redoubt-shell-{}", std::process::id()));
        assert!(logged(&mut sh("seq 100; echo err >&2; exit 1"), &log).is_err());
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(text.contains("\n1\n") && text.contains("\n100\nerr\n"));
        std::fs::remove_file(log).unwrap();
    }

    #[test]
    fn names_a_program_that_is_not_there() {
        let error = output(&mut Command::new("no-such-program")).unwrap_err().to_string();
        assert!(error.contains("no-such-program"), "{error}");
    }
}

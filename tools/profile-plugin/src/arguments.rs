//! The plugin's arguments, as QEMU passes them: a list of `name=value`.
//!
//! Decides what may be asked for. Nothing is guessed: an unknown name, a missing one, one that
//! comes twice and a value that is not understood are errors that name the argument.

use std::fmt;
use std::path::PathBuf;

use crate::arm::Level;

/// Who the tenants are, on whose behalf privileged code can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenant {
    /// Virtual machines: told from the host by the stage-2 registers.
    Vm,
    /// Everything at EL0: the processes of a container.
    El0,
}

/// What to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The recording.
    pub out: PathBuf,
    /// The privileged exception level.
    pub privileged: Level,
    /// Whether the host, too, runs behind a stage 2.
    pub host_stage2: bool,
    /// Who the tenants are.
    pub tenant: Tenant,
    /// Whether segments are told apart; if not, there are totals and entries only.
    pub segments: bool,
}

/// Why arguments were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such argument.
    Unknown(String),
    /// It must be there.
    Missing(&'static str),
    /// It is there more than once.
    Repeated(&'static str),
    /// Its value is not one of those that are possible.
    Value {
        /// The argument.
        name: &'static str,
        /// What it was given.
        value: String,
        /// What it takes.
        takes: &'static str,
    },
    /// Two arguments exclude each other.
    Conflict(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Unknown(name) => {
                write!(f, "no argument `{name}`; there are {}", NAMES.join(", "))
            }
            Refusal::Missing(name) => write!(f, "argument `{name}` is missing"),
            Refusal::Repeated(name) => write!(f, "argument `{name}` is there twice"),
            Refusal::Value { name, value, takes } => {
                write!(f, "argument `{name}` takes {takes}, not `{value}`")
            }
            Refusal::Conflict(what) => f.write_str(what),
        }
    }
}

/// The names of all arguments.
const NAMES: [&str; 5] = ["out", "privileged", "host_stage2", "tenant", "segments"];

impl Arguments {
    /// Reads arguments of the form `name=value`.
    pub fn parse<'a>(list: impl IntoIterator<Item = &'a str>) -> Result<Arguments, Refusal> {
        let mut values: [Option<&str>; NAMES.len()] = [None; NAMES.len()];
        for argument in list {
            let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
            let known = NAMES.iter().zip(&mut values).find(|(known, _)| **known == name);
            let (name, slot) = known.ok_or_else(|| Refusal::Unknown(name.into()))?;
            if slot.replace(value).is_some() {
                return Err(Refusal::Repeated(name));
            }
        }
        let [out, privileged, host_stage2, tenant, segments] = values;
        let out = match out.ok_or(Refusal::Missing("out"))? {
            "" => return Err(refused("out", "", "a file")),
            // What QEMU's bindings put in the place of bytes that are not UTF-8.
            value if value.contains(char::REPLACEMENT_CHARACTER) => {
                return Err(refused("out", value, "a file whose name is UTF-8"));
            }
            value => PathBuf::from(value),
        };
        let privileged = match privileged.ok_or(Refusal::Missing("privileged"))? {
            "1" => Level::El1,
            "2" => Level::El2,
            value => return Err(refused("privileged", value, "1 or 2")),
        };
        let tenant = match tenant {
            None | Some("vm") => Tenant::Vm,
            Some("el0") => Tenant::El0,
            Some(value) => return Err(refused("tenant", value, "vm or el0")),
        };
        let host_stage2 = switch("host_stage2", host_stage2, false)?;
        let segments = switch("segments", segments, true)?;
        match (tenant, privileged) {
            (Tenant::El0, _) if host_stage2 => Err(Refusal::Conflict(
                "with `tenant=el0` there is no stage 2: leave out `host_stage2`",
            )),
            (Tenant::Vm, Level::El1) => {
                Err(Refusal::Conflict("with `privileged=1` the tenant is `tenant=el0`"))
            }
            (Tenant::El0, Level::El2) => {
                Err(Refusal::Conflict("with `tenant=el0` the kernel is privileged: `privileged=1`"))
            }
            _ => Ok(Arguments { out, privileged, host_stage2, tenant, segments }),
        }
    }
}

fn switch(name: &'static str, value: Option<&str>, default: bool) -> Result<bool, Refusal> {
    match value {
        None => Ok(default),
        Some("on") => Ok(true),
        Some("off") => Ok(false),
        Some(value) => Err(refused(name, value, "on or off")),
    }
}

fn refused(name: &'static str, value: &str, takes: &'static str) -> Refusal {
    Refusal::Value { name, value: value.into(), takes }
}

#[cfg(test)]
mod tests;

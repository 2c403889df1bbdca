//! Starts a machine for a person, or the demonstration that needs none.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use redoubt_qemu::{Boot, Device, Launch, Machine, Qemu, Serial, cpio};
use redoubt_suite::Artifacts;

use crate::build;
use crate::cli::RunArgs;
use crate::demo;
use crate::paths::{Paths, make_folder};

/// What the host's kernel is told in every run: its console, and not to talk much.
const COMMAND_LINE: &str = "console=ttyAMA0 loglevel=4 panic=-1";

/// `cargo xtask run`.
pub fn command(args: &RunArgs) -> Result<ExitCode> {
    if !args.headless && !io::stdin().is_terminal() {
        bail!("there is no terminal to put you into: use `cargo xtask run --headless`");
    }
    let paths = Paths::find()?;
    let artifacts = build::everything(&paths)?;
    let qemu = Qemu::find()?;
    if args.headless {
        return demo::run(args, &artifacts, &qemu);
    }
    let machine = machine(args, &artifacts, "shell", &[])?.device(Device::Network);
    println!("Starting QEMU {}; Ctrl-A X ends it.", qemu.version());
    let machine = machine.serial(Serial::Terminal);
    let log = paths.logs().join("run.log");
    let status = Launch::new(&qemu, &machine, &log).run_on_terminal()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The machine of a run: Redoubt, the host in the given mode, what a guest boots from, and `extra`
/// parts of the initrd.
pub fn machine(
    args: &RunArgs,
    artifacts: &Artifacts,
    mode: &str,
    extra: &[PathBuf],
) -> Result<Machine> {
    make_folder(&artifacts.scratch)?;
    let initrd = artifacts.scratch.join(format!("run-{mode}.initrd"));
    let mut parts = vec![artifacts.host.clone(), artifacts.guest.clone()];
    parts.extend_from_slice(extra);
    cpio::concatenate(&parts, &[], &initrd)?;
    let boot = Boot::Kernel {
        image: artifacts.redoubt()?.to_owned(),
        initrd: Some(initrd),
        append: format!("{COMMAND_LINE} redoubt.mode={mode}"),
    };
    Ok(Machine::new(boot).cpu(args.cpu).cpus(args.cpus).memory_mib(args.memory))
}

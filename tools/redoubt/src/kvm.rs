//! The virtual machine on arm64: creation through KVM, the threads that run it, and the teardown.
//!
//! Decides the order of KVM calls, which is the one that KVM and Redoubt's driver expect: interrupt
//! controller, memory, vCPUs, initialisation of the interrupt controller, registers, run. Only the
//! calls listed in the README are made. Invariants: guest memory is sealed (see [`crate::memory`])
//! before the first vCPU runs; no thread runs a vCPU before every thread is confined.

mod machine;
mod vcpu;

use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use kvm_ioctls::{VcpuFd, VmFd};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

use crate::cli::RunArgs;
use crate::console::{Console, InterruptLine};
use crate::fdt::{self, Seeds};
use crate::host;
use crate::kvm_abi::irq_line_spi;
use crate::layout::{GIC_SPI_BASE, UART_SPI};
use crate::memory::{GuestRam, SealedRam};
use crate::outcome::Outcome;
use crate::run::Plan;
use crate::sandbox::{self, seccomp::Task};
use crate::supervisor::{EndSignals, ExitSlot, Input, supervise};
use crate::tty::{self, RawMode};

use machine::Machine;

/// How long the threads of vCPUs may take to notice that they are to stop.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How often a vCPU that still runs is interrupted again.
const KICK_PERIOD: Duration = Duration::from_millis(10);
/// How long stdout may take for the rest of the guest's output.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// The interrupt line of the UART.
struct UartLine(Arc<VmFd>);

impl InterruptLine for UartLine {
    fn set(&self, asserted: bool) -> io::Result<()> {
        let line = irq_line_spi(GIC_SPI_BASE + UART_SPI);
        self.0.set_irq_line(line, asserted).map_err(|error| {
            io::Error::other(format!("KVM refuses to drive the UART's interrupt: {error}"))
        })
    }
}

/// What the threads of a virtual machine share.
struct Shared {
    console: Console,
    exit: ExitSlot,
    /// Set when the vCPUs are to stop.
    stop: AtomicBool,
    /// Opens when every thread is confined.
    gate: Barrier,
    protected: bool,
    sandbox: bool,
    verbose: bool,
}

/// Starts a guest and stays with it until it ends.
pub fn boot(args: &RunArgs, plan: Plan) -> Result<Outcome> {
    let (machine, ram) = prepare(args, plan)?;
    let Machine { vm, vcpus, gic: _gic } = machine;

    let signals = EndSignals::block().context("cannot take over signals")?;
    register_signal_handler(SIGRTMIN(), on_kick).context("cannot install a signal handler")?;
    tty::install_fatal_handlers().context("cannot install signal handlers")?;
    if !args.no_sandbox {
        let report = sandbox::confine_process().context("cannot confine this process")?;
        if args.verbose {
            report.lines.iter().for_each(|line| eprintln!("redoubt: sandbox: {line}"));
        }
    }
    let shared = Arc::new(Shared {
        console: Console::new(Box::new(UartLine(vm))).context("cannot create the console")?,
        exit: ExitSlot::new().context("cannot create an event")?,
        stop: AtomicBool::new(false),
        gate: Barrier::new(vcpus.len() + 1),
        protected: args.wants_protection(),
        sandbox: !args.no_sandbox,
        verbose: args.verbose,
    });

    let writer = spawn("console".into(), &shared, write_console)?;
    let mut running = Vec::with_capacity(vcpus.len());
    for (index, fd) in vcpus.into_iter().enumerate() {
        let run = move |shared: &Shared| vcpu::run(fd, index, shared);
        running.push(spawn(format!("vcpu{index}"), &shared, run)?);
    }
    let stdin = io::stdin().as_raw_fd();
    let raw = RawMode::enter(stdin).context("cannot set up the terminal")?;
    let mut input = Input::new(stdin, raw.is_some());
    confine(&shared, Task::Main);
    shared.gate.wait();

    let outcome = supervise(&signals, &shared.exit, &shared.console, &mut input);
    stop(&shared, running, writer, ram);
    drop(raw);
    Ok(outcome)
}

/// Creates the virtual machine and fills its memory.
fn prepare(args: &RunArgs, mut plan: Plan) -> Result<(Machine, SealedRam)> {
    let kvm = crate::check::open_kvm(&args.device)?;
    let ram = GuestRam::new(plan.layout.ram)?;
    let (machine, mpidrs) = Machine::create(&kvm, args, ram.mapping())?;

    let mut random = [0; 8 + fdt::RNG_SEED_BYTES];
    host::random_bytes(&mut random).context("cannot get random bits")?;
    let (kaslr, rng) = random.split_at(8);
    let seeds = Seeds { kaslr: u64::from_ne_bytes(kaslr.try_into()?), rng: rng.try_into()? };
    let tree = fdt::build(&fdt::Machine {
        layout: &plan.layout,
        mpidrs: &mpidrs,
        cmdline: &args.cmdline,
        seeds: &seeds,
    })?;
    let layout = &plan.layout;
    let kernel = &mut plan.kernel;
    ram.load_file("the kernel", &mut kernel.file, layout.kernel.base, kernel.bytes)?;
    if let (Some(source), Some(region)) = (&mut plan.initrd, layout.initrd) {
        ram.load_file("the initrd", &mut source.file, region.base, region.size)?;
    }
    ram.load_bytes("the device tree", &tree, layout.fdt.base)?;
    machine.set_boot_registers(layout)?;
    if args.verbose {
        eprintln!("redoubt: kernel at {:#x}", layout.kernel.base);
        if let Some(initrd) = layout.initrd {
            eprintln!("redoubt: initrd at {:#x}, {} bytes", initrd.base, initrd.size);
        }
        eprintln!("redoubt: device tree at {:#x}, {} bytes", layout.fdt.base, tree.len());
    }
    if args.wants_protection() && !host::allow_pinning(args.memory.saturating_add(64 << 20)) {
        eprintln!(
            "redoubt: warning: this process may not pin all of the guest's memory (ulimit -l); \
             if the guest stops for lack of memory, that is why"
        );
    }
    Ok((machine, ram.seal()))
}

fn spawn<T: Send + 'static>(
    name: String,
    shared: &Arc<Shared>,
    body: impl FnOnce(&Shared) -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    let shared = Arc::clone(shared);
    thread::Builder::new()
        .name(name.clone())
        .spawn(move || body(&shared))
        .map_err(|error| anyhow!("cannot start thread {name}: {error}"))
}

/// Confines the calling thread; if that fails the guest does not start.
fn confine(shared: &Shared, task: Task) {
    if !shared.sandbox {
        return;
    }
    if let Err(error) = task.confine_thread() {
        shared.stop.store(true, Ordering::Release);
        shared.exit.report(Outcome::Failed(format!(
            "cannot confine the {task:?} thread with seccomp: {error}; a kernel without it needs \
             --no-sandbox"
        )));
    }
}

/// The writer thread: takes the guest's output to stdout. If stdout is gone, output is dropped; the
/// guest need not care.
fn write_console(shared: &Shared) {
    confine(shared, Task::Writer);
    let mut chunk = Vec::new();
    let mut stdout = Some(UnbufferedStdout);
    loop {
        match shared.console.next_output(&mut chunk) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                shared.exit.report(Outcome::Failed(error.to_string()));
                return;
            }
        }
        if let Some(output) = &mut stdout
            && let Err(error) = output.write_all(&chunk)
        {
            eprintln!("redoubt: warning: stdout fails, the guest's output is dropped: {error}");
            stdout = None;
        }
    }
}

/// Stdout without the standard library's line buffer: a prompt has no line end.
struct UnbufferedStdout;

impl io::Write for UnbufferedStdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: pointer and length are those of a slice.
        let count = unsafe { libc::write(libc::STDOUT_FILENO, bytes.as_ptr().cast(), bytes.len()) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stops the vCPUs, lets the rest of the output out, and gives the memory back.
///
/// A signal takes a vCPU out of KVM_RUN, or does nothing if it comes just before; so it is sent
/// until the thread has ended. That needs neither KVM_CAP_IMMEDIATE_EXIT nor a signal mask.
fn stop(
    shared: &Shared,
    mut running: Vec<JoinHandle<VcpuFd>>,
    writer: JoinHandle<()>,
    ram: SealedRam,
) {
    shared.stop.store(true, Ordering::Release);
    shared.console.close();
    let end = Instant::now() + STOP_LIMIT;
    loop {
        let (done, rest): (Vec<_>, Vec<_>) = running.into_iter().partition(JoinHandle::is_finished);
        done.into_iter().for_each(|thread| drop(thread.join()));
        running = rest;
        if running.is_empty() {
            break;
        }
        if Instant::now() >= end {
            eprintln!("redoubt: warning: {} vCPUs do not stop; leaving anyway", running.len());
            // The kernel still uses the memory for these vCPUs; the process' end frees it.
            std::mem::forget(ram);
            return;
        }
        for thread in &running {
            // A thread that has just ended needs no signal.
            let _ = thread.kill(SIGRTMIN());
        }
        thread::sleep(KICK_PERIOD);
    }
    if shared.console.wait_drained(DRAIN_LIMIT) {
        // The writer has nothing left to do but to see that the console is closed.
        drop(writer.join());
    }
    drop(ram);
}

/// Only interrupts KVM_RUN.
extern "C" fn on_kick(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

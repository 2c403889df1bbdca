//! The callbacks: what happens when QEMU installs the plugin, starts a vCPU, translates a block,
//! runs an instrumented place of it and exits.
//!
//! Decides where a block is instrumented and how physical addresses are learnt. Every fact that
//! this rests on is checked when it is used; if one does not hold, QEMU ends with a message.

use std::fs::File;
use std::io::BufWriter;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

use qemu_plugin::{Args, HasCallbacks, Info, PluginId, Register as Plugin, sys};

use crate::arguments::{Arguments, Tenant};
use crate::arm::{Level, Slot};
use crate::origin::Origin;
use crate::qemu::{Block, Handler, NumberHandler, Register, fail};
use crate::ram::Ram;
use crate::recorder::Recorder;
use crate::segment::{Counts, Instruction};

/// The version of QEMU's plugin interface that is used.
const API: u32 = sys::QEMU_PLUGIN_VERSION;

/// The most vCPUs that the machine `virt` can have.
const VCPUS: usize = 512;

/// On whose behalf each vCPU runs, as [`Origin`] in a byte.
static ORIGINS: [AtomicU8; VCPUS] = [const { AtomicU8::new(Origin::Boot as u8) }; VCPUS];

/// The one instance; set when QEMU installs the plugin.
static PROFILE: OnceLock<Profile> = OnceLock::new();

struct Profile {
    arguments: Arguments,
    registers: OnceLock<Registers>,
    thread: OnceLock<ThreadId>,
    ram: OnceLock<Ram>,
    recorder: Mutex<Option<Recorder<BufWriter<File>>>>,
}

/// The registers that the plugin reads.
struct Registers {
    pstate: Register,
    /// SPSR, ESR and VBAR of the privileged level.
    saved: Register,
    syndrome: Register,
    vectors: Register,
    /// HCR_EL2 and VTTBR_EL2, where tenants are told by them.
    stage2: Option<[Register; 2]>,
}

impl Registers {
    fn find(arguments: &Arguments) -> Result<Registers, String> {
        let mut all = Register::all()?;
        let mut find = |name: &str| match all.iter().position(|register| register.name() == name) {
            Some(index) => Ok(all.swap_remove(index)),
            None => {
                let level = arguments.privileged;
                Err(format!("no register `{name}`: it takes a CPU with {level}, and QEMU 10.0"))
            }
        };
        let [saved, syndrome, vectors] = match arguments.privileged {
            // QEMU calls VBAR_EL1 by its name in AArch32, as it is the same register.
            Level::El1 => ["SPSR_EL1", "ESR_EL1", "VBAR"],
            _ => ["SPSR_EL2", "ESR_EL2", "VBAR_EL2"],
        };
        Ok(Registers {
            pstate: find("cpsr")?,
            saved: find(saved)?,
            syndrome: find(syndrome)?,
            vectors: find(vectors)?,
            stage2: match arguments.tenant {
                Tenant::Vm => Some([find("HCR_EL2")?, find("VTTBR_EL2")?]),
                Tenant::El0 => None,
            },
        })
    }
}

impl Profile {
    /// The instance that QEMU's callbacks belong to.
    fn get() -> &'static Profile {
        PROFILE.get().unwrap_or_else(|| fail("a callback came before the plugin was installed"))
    }

    fn registers(&self) -> &Registers {
        self.registers.get().unwrap_or_else(|| fail("code runs before the first vCPU began"))
    }

    fn recorder(&self) -> MutexGuard<'_, Option<Recorder<BufWriter<File>>>> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the recorder, unless the recording is over.
    fn record<T>(&self, action: impl FnOnce(&mut Recorder<BufWriter<File>>) -> T) -> Option<T> {
        self.recorder().as_mut().map(action)
    }

    fn cannot_write(&self, error: std::io::Error) -> ! {
        fail(format_args!("cannot write `{}`: {error}", self.arguments.out.display()))
    }

    /// Makes known the thread and the registers of a vCPU.
    fn vcpu(&self, vcpu: u32) {
        if vcpu as usize >= VCPUS {
            fail(format_args!("there are more than {VCPUS} vCPUs"));
        }
        let thread = thread::current().id();
        if *self.thread.get_or_init(|| thread) != thread {
            fail("vCPUs run on several threads, so that counts are not exact; use -icount");
        }
        self.registers.get_or_init(|| match Registers::find(&self.arguments) {
            Ok(registers) => registers,
            Err(message) => fail(message),
        });
    }

    /// The physical address of an instruction.
    fn physical(&self, va: u64, host: Option<u64>) -> u64 {
        let host = host.unwrap_or_else(|| fail(format_args!("code at {va:#x} is in no memory")));
        let ram = self.ram.get_or_init(|| {
            Ram::learn(va, host)
                .unwrap_or_else(|| fail(format_args!("the machine starts at {va:#x}, not in RAM")))
        });
        ram.physical(host)
            .unwrap_or_else(|| fail(format_args!("code at {va:#x} is in memory that is not RAM")))
    }

    /// Instruments a block.
    fn translate(&self, block: Block<'_>) {
        // PSTATE is the one of the code to come: QEMU translates when it is about to run, and keeps
        // a block for each level, so that the level stays true of the block.
        // The register has 32 bits.
        let level = Level::of_pstate(self.registers().pstate.read() as u32);
        if level == self.arguments.privileged && self.vector(block.va()).is_some() {
            block.on_execution::<Entered>(block.va());
        }

        // What is not four bytes is no instruction of AArch64: a misaligned PC, which faults.
        let (handles, instructions): (Vec<_>, Vec<_>) = block
            .instructions()
            .filter_map(|handle| {
                let (va, opcode) = (handle.va(), handle.opcode()?);
                let segments = self.arguments.segments;
                let pa = if segments { self.physical(va, handle.host()) } else { 0 };
                Some((handle, Instruction { va, pa, opcode }))
            })
            .unzip();
        for (handle, instruction) in handles.iter().zip(&instructions) {
            if crate::settle::notifies(instruction.opcode) {
                handle.on_store::<Stored>();
            }
        }
        let plans = self.record(|recorder| recorder.block(level, &instructions));
        for plan in plans.into_iter().flatten() {
            let first = &handles[plan.first];
            if let Some(number) = plan.mark {
                first.on_execution_number::<Marked>(number.into());
            }
            first.on_execution(plan.counts);
        }
    }

    /// The slot of the privileged level's vector table that takes exceptions from lower levels and
    /// begins at `va`, if one does.
    fn vector(&self, va: u64) -> Option<Slot> {
        let slot = Slot::at(va).filter(|slot| slot.is_from_lower())?;
        let table = self.registers().vectors.read();
        (va.wrapping_sub(table) < Slot::TABLE).then_some(slot)
    }

    /// Counts an entry, if the code at `va` is still an exception vector.
    fn enter(&self, vcpu: u32, va: u64) {
        let Some(slot) = self.vector(va) else {
            return;
        };
        let registers = self.registers();
        // The register has 32 bits that say something.
        let from = Level::of_pstate(registers.saved.read() as u32);
        let esr = registers.syndrome.read();
        let [hcr, vttbr] = match &registers.stage2 {
            Some(stage2) => stage2.each_ref().map(Register::read),
            None => [0, 0],
        };
        let entry = self.record(|recorder| recorder.entry(from, slot, esr, hcr, vttbr));
        if let Some(origin) = entry.flatten() {
            origin_of(vcpu).store(origin as u8, Relaxed);
        }
    }

    /// Ends the recording.
    fn exit(&self) {
        let recorder = self.recorder().take();
        if let Some(Err(error)) = recorder.map(Recorder::finish) {
            self.cannot_write(error);
        }
    }
}

/// The origin of a vCPU. The remainder spares the hot path a panic that cannot be.
#[inline(always)]
fn origin_of(vcpu: u32) -> &'static AtomicU8 {
    &ORIGINS[vcpu as usize % VCPUS]
}

impl Handler for Counts {
    #[inline(always)]
    fn run(&self, vcpu: u32) {
        self.count(origin_of(vcpu).load(Relaxed));
    }
}

/// The privileged level was entered; the number is the address.
struct Entered;

impl NumberHandler for Entered {
    fn run(vcpu: u32, va: u64) {
        Profile::get().enter(vcpu, va);
    }
}

/// A mark was reached; the number is the phase.
struct Marked;

impl NumberHandler for Marked {
    fn run(_: u32, number: u64) {
        let profile = Profile::get();
        // A mark has 16 bits.
        if let Some(Err(error)) = profile.record(|recorder| recorder.mark(number as u16)) {
            profile.cannot_write(error);
        }
    }
}

/// A store may have notified a device.
struct Stored;

impl crate::qemu::StoreHandler for Stored {
    fn run(region: &[u8]) {
        if crate::settle::is_notification(region)
            && let Err(message) = crate::settle::settle()
        {
            fail(message);
        }
    }
}

extern "C" fn vcpu_began(_: PluginId, vcpu: u32) {
    Profile::get().vcpu(vcpu);
}

extern "C" fn block_translated(_: PluginId, block: *mut sys::qemu_plugin_tb) {
    // SAFETY: this is the translation callback that the handle was given to.
    let block = unsafe { Block::new(block) };
    Profile::get().translate(block);
}

/// What QEMU installs.
struct Installer;

impl HasCallbacks for Installer {}

impl Plugin for Installer {
    fn register_default(
        &mut self,
        id: PluginId,
        args: &Args,
        info: &Info,
    ) -> qemu_plugin::Result<()> {
        if let Err(message) = install(args, info) {
            fail(message);
        }
        qemu_plugin::qemu_plugin_register_vcpu_init_cb(id, Some(vcpu_began))?;
        qemu_plugin::qemu_plugin_register_vcpu_tb_trans_cb(id, Some(block_translated))?;
        qemu_plugin::qemu_plugin_register_atexit_cb(id, |_| Profile::get().exit())
    }
}

fn install(args: &Args, info: &Info) -> Result<(), String> {
    let arguments = args.raw.iter().map(String::as_str);
    let arguments = Arguments::parse(arguments).map_err(|refusal| refusal.to_string())?;
    if info.target_name != "aarch64" || info.system.is_none() {
        return Err(format!("it is for qemu-system-aarch64, not for {}", info.target_name));
    }
    let out = arguments.out.display();
    let recorder = File::create(&arguments.out)
        .and_then(|file| Recorder::new(&arguments, BufWriter::new(file), API))
        .map_err(|error| format!("cannot write `{out}`: {error}"))?;
    let profile = Profile {
        registers: OnceLock::new(),
        thread: OnceLock::new(),
        ram: OnceLock::new(),
        recorder: Mutex::new(Some(recorder)),
        arguments,
    };
    PROFILE.set(profile).map_err(|_| "QEMU has loaded it twice".into())
}

qemu_plugin::register!(Installer);

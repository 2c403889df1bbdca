//! QEMU's plugin interface, as far as the plugin needs it, in safe words.
//!
//! The bindings offer closures behind a lock; what runs before every segment must be cheaper. So
//! the callbacks here are functions that get one word: a reference to something that lives forever,
//! or a number. Registers and the like, which are rare, go through the bindings.
//!
//! Trusts QEMU: the handles of a block are valid during its translation callback, which their
//! lifetime says, and a callback gets the word that it was registered with.

use std::ffi::{c_int, c_uint, c_void};
use std::fmt::Display;
use std::marker::PhantomData;
use std::mem::size_of;

use qemu_plugin::sys;
use qemu_plugin::{CallbackFlags, RegisterDescriptor};

unsafe extern "C" {
    /// Ends the process at once, without handlers: those of QEMU expect to run on its main thread.
    safe fn _exit(status: c_int) -> !;
}

/// Ends QEMU, with a message.
pub fn fail(message: impl Display) -> ! {
    eprintln!("redoubt-profile-plugin: {message}");
    _exit(1)
}

/// Something that lives forever and is told whenever an instruction begins.
pub trait Handler: Sync + 'static {
    /// Called on the thread of a vCPU.
    fn run(&self, vcpu: u32);
}

/// What is told a number whenever an instruction or a block begins.
pub trait NumberHandler: 'static {
    /// Called on the thread of a vCPU.
    fn run(vcpu: u32, number: u64);
}

unsafe extern "C" fn run_handler<H: Handler>(vcpu: c_uint, word: *mut c_void) {
    // SAFETY: the word is the `&'static H` that `Instruction::on_execution` registered this with.
    let handler = unsafe { &*word.cast::<H>() };
    handler.run(vcpu);
}

extern "C" fn run_number<H: NumberHandler>(vcpu: c_uint, word: *mut c_void) {
    H::run(vcpu, word.addr() as u64);
}

/// What is told of stores to devices.
pub trait StoreHandler: 'static {
    /// Called on the thread of a vCPU behind the store, with the name of the device's region.
    fn run(region: &[u8]);
}

unsafe extern "C" fn run_store<H: StoreHandler>(
    _: c_uint,
    info: sys::qemu_plugin_meminfo_t,
    va: u64,
    _: *mut c_void,
) {
    // SAFETY: these are the arguments of the callback of an access to memory.
    let place = unsafe { sys::qemu_plugin_get_hwaddr(info, va) };
    // SAFETY: a handle of this callback, or null.
    if place.is_null() || !unsafe { sys::qemu_plugin_hwaddr_is_io(place) } {
        return;
    }
    // SAFETY: a handle of this callback, of a device.
    let name = unsafe { sys::qemu_plugin_hwaddr_device_name(place) };
    if !name.is_null() {
        // SAFETY: a string with its end that QEMU keeps forever.
        let name = unsafe { std::ffi::CStr::from_ptr(name) };
        H::run(name.to_bytes());
    }
}

/// A word that is a number.
fn number_word(number: u64) -> *mut c_void {
    const { assert!(size_of::<usize>() == size_of::<u64>(), "a number does not fit a word") };
    std::ptr::without_provenance_mut(number as usize)
}

/// A translation block, while it is translated.
#[derive(Clone, Copy)]
pub struct Block<'a>(*mut sys::qemu_plugin_tb, PhantomData<&'a ()>);

impl Block<'_> {
    /// The block that QEMU translates.
    ///
    /// # Safety
    ///
    /// The handle is the one of a translation callback that does not return in this lifetime.
    pub unsafe fn new(handle: *mut sys::qemu_plugin_tb) -> Self {
        Block(handle, PhantomData)
    }

    /// The virtual address of its first instruction.
    pub fn va(&self) -> u64 {
        // SAFETY: the handle is valid.
        unsafe { sys::qemu_plugin_tb_vaddr(self.0) }
    }

    /// Its instructions.
    pub fn instructions(&self) -> impl Iterator<Item = Instruction<'_>> {
        // SAFETY: the handle is valid.
        let count = unsafe { sys::qemu_plugin_tb_n_insns(self.0) };
        (0..count).map(|index| {
            // SAFETY: the handle is valid, and there is an instruction of this index.
            let handle = unsafe { sys::qemu_plugin_tb_get_insn(self.0, index) };
            Instruction(handle, PhantomData)
        })
    }

    /// Calls a handler with a number whenever the block begins; it may read registers.
    pub fn on_execution<H: NumberHandler>(&self, number: u64) {
        let registers = CallbackFlags::QEMU_PLUGIN_CB_R_REGS;
        let word = number_word(number);
        // SAFETY: the handle is valid; the word is a number.
        unsafe {
            sys::qemu_plugin_register_vcpu_tb_exec_cb(
                self.0,
                Some(run_number::<H>),
                registers,
                word,
            )
        }
    }
}

/// An instruction of a block.
#[derive(Clone, Copy)]
pub struct Instruction<'a>(*mut sys::qemu_plugin_insn, PhantomData<&'a ()>);

impl Instruction<'_> {
    /// Its virtual address.
    pub fn va(&self) -> u64 {
        // SAFETY: the handle is valid.
        unsafe { sys::qemu_plugin_insn_vaddr(self.0) }
    }

    /// Where it is in QEMU's own memory, unless it comes from a device.
    pub fn host(&self) -> Option<u64> {
        // SAFETY: the handle is valid.
        let host = unsafe { sys::qemu_plugin_insn_haddr(self.0) };
        (!host.is_null()).then(|| host.addr() as u64)
    }

    /// What it is, if it is an instruction of four bytes.
    pub fn opcode(&self) -> Option<u32> {
        let mut bytes = [0; size_of::<u32>()];
        // SAFETY: the handle is valid.
        let size = unsafe { sys::qemu_plugin_insn_size(self.0) };
        // SAFETY: the handle is valid, and at most these bytes are written.
        let read =
            unsafe { sys::qemu_plugin_insn_data(self.0, bytes.as_mut_ptr().cast(), bytes.len()) };
        (size == bytes.len() && read == bytes.len()).then(|| u32::from_le_bytes(bytes))
    }

    /// Calls a handler behind every store of this instruction to a device.
    pub fn on_store<H: StoreHandler>(&self) {
        let registers = CallbackFlags::QEMU_PLUGIN_CB_NO_REGS;
        // SAFETY: the handle is valid; there is no word.
        unsafe {
            sys::qemu_plugin_register_vcpu_mem_cb(
                self.0,
                Some(run_store::<H>),
                registers,
                sys::qemu_plugin_mem_rw::QEMU_PLUGIN_MEM_W,
                std::ptr::null_mut(),
            )
        }
    }

    /// Calls a handler whenever the instruction begins.
    pub fn on_execution<H: Handler>(&self, handler: &'static H) {
        let registers = CallbackFlags::QEMU_PLUGIN_CB_NO_REGS;
        let word = std::ptr::from_ref(handler).cast_mut().cast();
        // SAFETY: the handle is valid; the word is what `run_handler::<H>` expects.
        unsafe {
            sys::qemu_plugin_register_vcpu_insn_exec_cb(
                self.0,
                Some(run_handler::<H>),
                registers,
                word,
            )
        }
    }

    /// Calls a handler with a number whenever the instruction begins.
    pub fn on_execution_number<H: NumberHandler>(&self, number: u64) {
        let registers = CallbackFlags::QEMU_PLUGIN_CB_NO_REGS;
        let word = number_word(number);
        // SAFETY: the handle is valid; the word is a number.
        unsafe {
            sys::qemu_plugin_register_vcpu_insn_exec_cb(
                self.0,
                Some(run_number::<H>),
                registers,
                word,
            )
        }
    }
}

/// A register of the vCPU on whose thread it is read.
pub struct Register(RegisterDescriptor<'static>);

impl Register {
    /// All registers of the vCPU on whose thread this is called.
    pub fn all() -> Result<Vec<Register>, String> {
        let all = qemu_plugin::qemu_plugin_get_registers().map_err(|error| error.to_string())?;
        Ok(all.into_iter().map(Register).collect())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Reads it.
    pub fn read(&self) -> u64 {
        let name = &self.0.name;
        let bytes = match self.0.read() {
            Ok(bytes) => bytes,
            Err(error) => {
                fail(format_args!("QEMU does not let register `{name}` be read: {error}"))
            }
        };
        match (<[u8; 4]>::try_from(&*bytes), <[u8; 8]>::try_from(&*bytes)) {
            (Ok(bytes), _) => u32::from_le_bytes(bytes).into(),
            (_, Ok(bytes)) => u64::from_le_bytes(bytes),
            _ => fail(format_args!("register `{name}` has {} bytes", bytes.len())),
        }
    }
}

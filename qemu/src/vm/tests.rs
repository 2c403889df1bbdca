//! Copying, and a whole run where QEMU is installed.

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use super::{Launch, copy};
use crate::{Boot, Console, Load, Machine, Qemu, Serial};

#[test]
fn copies_to_console_and_log() {
    let console = Console::new();
    let mut log = Vec::new();
    copy(Cursor::new(b"hello".repeat(3000)), &console, &mut log).unwrap();
    assert_eq!(log.len(), 15000);
    assert_eq!(console.text().len(), 15000);
}

/// Where the idle machine's only instruction lies.
const CODE: u64 = crate::RAM_BASE + 0x20_0000;

/// A machine that does nothing: CPU 0 jumps to itself, in the first word of `program`.
fn idle(program: &Path) -> Machine {
    let load = Load { file: program.to_owned(), address: CODE };
    Machine::new(Boot::Raw { loads: vec![load], entry: CODE }).memory_mib(64)
}

#[test]
fn a_machine_answers_stops_and_leaves_nothing_behind() {
    let Ok(qemu) = Qemu::find() else {
        eprintln!("QEMU is not installed: this test needs it");
        return;
    };
    let scratch = std::env::temp_dir().join(format!("redoubt-vm-{}", std::process::id()));
    let (program, log) = (scratch.with_extension("bin"), scratch.with_extension("log"));
    std::fs::write(&program, 0x1400_0000_u32.to_le_bytes()).unwrap();
    let machine = idle(&program);
    let mut vm = Launch::new(&qemu, &machine, &log).start().unwrap();
    let socket = vm.socket.clone();
    let mut qmp = vm.qmp().unwrap();
    assert_eq!(qmp.status().unwrap(), "running");
    let version = qmp.monitor("info version").unwrap();
    assert!(version.starts_with(&qemu.version().to_string()), "{version}");
    let memory = qmp.read_memory(CODE, 4, &scratch.with_extension("mem")).unwrap();
    assert_eq!(memory, 0x1400_0000_u32.to_le_bytes());
    assert!(vm.wait_exit(Duration::from_millis(50)).is_err());
    qmp.quit().unwrap();
    assert!(vm.wait_exit(Duration::from_secs(20)).unwrap().success());
    drop(vm);
    assert!(!socket.exists());
    assert!(std::fs::read_to_string(&log).unwrap().starts_with("# "));
    std::fs::remove_file(&log).unwrap();
    std::fs::remove_file(&program).unwrap();
}

#[test]
fn what_qemu_complains_about_is_said() {
    let Ok(qemu) = Qemu::find() else {
        eprintln!("QEMU is not installed: this test needs it");
        return;
    };
    let scratch = std::env::temp_dir().join(format!("redoubt-vm-bad-{}", std::process::id()));
    let machine = idle(&scratch.with_extension("absent"));
    let log = scratch.with_extension("log");
    let vm = Launch::new(&qemu, &machine, &log).start().unwrap();
    let error = vm.wait_for("never", Duration::from_secs(20)).unwrap_err().to_string();
    assert!(error.contains("absent"), "{error}");
    std::fs::remove_file(&log).unwrap();
}

#[test]
fn a_terminal_machine_cannot_be_watched() {
    let Ok(qemu) = Qemu::find() else {
        eprintln!("QEMU is not installed: this test needs it");
        return;
    };
    let machine = idle(Path::new("x")).serial(Serial::Terminal);
    assert!(Launch::new(&qemu, &machine, &std::env::temp_dir().join("x")).start().is_err());
}

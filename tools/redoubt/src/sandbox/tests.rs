//! Tests of the confinement. Each runs in a process of its own, forked from the test, because there
//! is no way back; the child makes system calls only and reports by its exit status.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;

use super::seccomp::Task;
use super::*;

/// What a child's death tells.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Exit(i32),
    Signal(i32),
}

/// Runs `body` in a forked child and waits for it.
fn in_child(body: impl FnOnce() -> i32) -> End {
    // SAFETY: the child only runs `body` and then leaves with _exit; the bodies below do not use
    // locks that another thread of the test could hold, other than the allocator's, which fork
    // handles.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let code = body();
        // SAFETY: has no preconditions.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: the pointer is to a writable integer, the process is this one's child.
    let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
    assert_eq!(waited, pid);
    if libc::WIFSIGNALED(status) {
        End::Signal(libc::WTERMSIG(status))
    } else {
        End::Exit(libc::WEXITSTATUS(status))
    }
}

/// Confines a child to `task`, then runs `body` in it.
fn confined(task: Task, body: impl FnOnce() -> i32) -> End {
    in_child(|| {
        if prctl(libc::PR_SET_NO_NEW_PRIVS, 1).is_err() || task.confine_thread().is_err() {
            return 99;
        }
        body()
    })
}

fn open_dev_null() -> i32 {
    // SAFETY: the path is a C string.
    let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY) };
    i32::from(fd < 0)
}

fn ioctl(request: libc::c_ulong) -> i32 {
    // SAFETY: the descriptor is invalid, so the call fails before it looks at the argument.
    unsafe { libc::ioctl(-1, request, 0) };
    0
}

fn map(protection: libc::c_int) -> i32 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping disturbs nothing.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    i32::from(address == libc::MAP_FAILED)
}

const TASKS: [Task; 3] = [Task::Vcpu, Task::Writer, Task::Main];

#[test]
fn every_task_may_do_its_work() {
    for task in TASKS {
        assert_eq!(confined(task, || 7), End::Exit(7), "{task:?}");
        assert_eq!(confined(task, || map(libc::PROT_READ | libc::PROT_WRITE)), End::Exit(0));
        // KVM_IRQ_LINE
        assert_eq!(confined(task, || ioctl(0x4008_ae61)), End::Exit(0), "{task:?}");
    }
    // KVM_RUN
    assert_eq!(confined(Task::Vcpu, || ioctl(0xae80)), End::Exit(0));
}

#[test]
fn no_task_opens_files_executes_or_connects() {
    let denied = End::Signal(libc::SIGSYS);
    for task in TASKS {
        assert_eq!(confined(task, open_dev_null), denied, "{task:?}");
        let socket = || {
            // SAFETY: takes numbers only.
            unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
            0
        };
        assert_eq!(confined(task, socket), denied, "{task:?}");
        let execute = || {
            let arguments = [std::ptr::null()];
            // SAFETY: path and arguments are C strings and a null-terminated list.
            unsafe { libc::execv(c"/bin/true".as_ptr(), arguments.as_ptr()) };
            0
        };
        assert_eq!(confined(task, execute), denied, "{task:?}");
        let fork = || {
            // SAFETY: denied before it does anything.
            unsafe { libc::fork() };
            0
        };
        assert_eq!(confined(task, fork), denied, "{task:?}");
        let everything = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        assert_eq!(confined(task, || map(everything)), denied, "{task:?}");
        // KVM_CREATE_VM
        assert_eq!(confined(task, || ioctl(0xae01)), denied, "{task:?}");
        // TIOCSTI would type into the user's shell.
        assert_eq!(confined(task, || ioctl(libc::TIOCSTI)), denied, "{task:?}");
    }
}

#[test]
fn only_a_vcpu_thread_runs_vcpus_and_only_main_reads() {
    let denied = End::Signal(libc::SIGSYS);
    assert_eq!(confined(Task::Writer, || ioctl(0xae80)), denied);
    assert_eq!(confined(Task::Main, || ioctl(0xae80)), denied);
    let read = || {
        // SAFETY: reading nothing from nowhere.
        unsafe { libc::read(-1, std::ptr::null_mut(), 0) };
        0
    };
    assert_eq!(confined(Task::Main, read), End::Exit(0));
    assert_eq!(confined(Task::Vcpu, read), denied);
    assert_eq!(confined(Task::Writer, read), denied);
}

#[test]
fn a_denied_call_is_named_and_ends_with_failure() {
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    let end = in_child(|| {
        // SAFETY: both descriptors are open; the child's stderr is its own.
        unsafe { libc::dup2(writer.as_raw_fd(), libc::STDERR_FILENO) };
        if crate::tty::install_fatal_handlers().is_err()
            || prctl(libc::PR_SET_NO_NEW_PRIVS, 1).is_err()
            || Task::Vcpu.confine_thread().is_err()
        {
            return 99;
        }
        // SAFETY: takes numbers only.
        unsafe { libc::syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0) };
        98
    });
    drop(writer);
    assert_eq!(end, End::Exit(i32::from(crate::outcome::EXIT_FAILURE)));
    let mut message = String::new();
    reader.read_to_string(&mut message).expect("UTF-8");
    let expected = format!("denied system call {};", libc::SYS_socket);
    assert!(message.contains(&expected), "{message}");
}

#[test]
fn signals_reach_this_process_only() {
    let signal = |pid: libc::pid_t| {
        // SAFETY: signal 0 only asks whether the target exists.
        unsafe { libc::syscall(libc::SYS_tgkill, pid, pid, 0) };
        0
    };
    // SAFETY: has no preconditions.
    let parent = unsafe { libc::getpid() };
    for task in TASKS {
        assert_eq!(confined(task, || signal(parent)), End::Signal(libc::SIGSYS), "{task:?}");
        let own = || {
            // SAFETY: has no preconditions.
            signal(unsafe { libc::getpid() })
        };
        assert_eq!(confined(task, own), End::Exit(0), "{task:?}");
    }
}

#[test]
fn a_confined_process_has_no_capabilities_and_keeps_open_files() {
    let file = File::open("/proc/self/status").expect("open");
    let body = || {
        if confine_process().is_err() {
            return 90;
        }
        // SAFETY: the option takes no arguments.
        if unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) } != 1 {
            return 91;
        }
        let mut buffer = [0_u8; 4096];
        // SAFETY: pointer and length are those of a writable array.
        let count = unsafe { libc::read(file.as_raw_fd(), buffer.as_mut_ptr().cast(), 4096) };
        let Ok(count) = usize::try_from(count) else {
            return 92;
        };
        if count == 0 {
            return 93;
        }
        // The file describes the parent, which opened it; the child's own sets are asked for here.
        let header = [0x2008_0522_u32, 0];
        let mut sets = [u32::MAX; 6];
        // SAFETY: the kernel reads 8 bytes of header and writes 24 bytes of sets.
        let got = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
        if got != 0 || sets != [0; 6] {
            return 94;
        }
        0
    };
    assert_eq!(in_child(body), End::Exit(0));
}

#[test]
fn landlock_takes_files_away_where_the_kernel_has_it() {
    let body = || {
        if prctl(libc::PR_SET_NO_NEW_PRIVS, 1).is_err() {
            return 90;
        }
        match restrict_files() {
            Ok(_) => i32::from(open_dev_null() == 0) * 91,
            Err(reason) if reason.contains("kernel") => 0,
            Err(_) => 92,
        }
    };
    assert_eq!(in_child(body), End::Exit(0));
}

#[test]
fn the_report_names_every_layer() {
    let body = || match confine_process() {
        Ok(report) => {
            let layers = ["namespaces", "capabilities", "no new", "landlock", "core dumps"];
            let complete = layers.iter().zip(&report.lines).all(|(l, line)| line.starts_with(l));
            i32::from(!complete || report.lines.len() != layers.len())
        }
        Err(_) => 90,
    };
    assert_eq!(in_child(body), End::Exit(0));
}

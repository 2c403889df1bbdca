//! The container: how the runtime is told, and what is in its archive.
//!
//! Decides the confinement: what container engines give to an ordinary container. Namespaces for
//! processes, mounts, IPC, host name, cgroup and network; a root file system of its own; 14
//! capabilities; `/dev` with harmless devices only, which a cgroup enforces; parts of `/proc` hidden
//! or read-only; system calls by a list of those that are allowed (EPERM for all others, so that a
//! program goes on).
//!
//! The list leaves out what acts on the machine as a whole or has no use in a container: modules,
//! mounts, namespaces, swap, clocks, tracing of the kernel, BPF, keys, io_uring, userfaultfd.
//!
//! Spec: OCI runtime specification 1.0.2, config.md and config-linux.md.

use anyhow::{Context, Result};
use redoubt_qemu::cpio::Archive;
use serde_json::{Value, json};

use crate::setup::peers::Runtime;

/// What one container is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The program and its arguments.
    pub arguments: &'static [&'static str],
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether it gets the first disk as a device, and a folder of the second one at `/data`.
    pub disks: bool,
    /// Whether its network namespace is made before it, at `/run/network` of the runtime's root.
    pub network: bool,
}

/// The capabilities that engines leave to a container.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The system calls that are allowed, whatever their arguments.
const ALLOWED: &str = include_str!("container/calls");

/// The flags of `clone` that make namespaces.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// The archive of the runtime: its files at Debian's paths, and a bundle without configuration, all
/// below `/container`.
pub fn archive(runtime: &Runtime) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    for needed in runtime.files()? {
        archive.file_from(&format!("container/{}", needed.path), 0o755, &needed.file)?;
    }
    for folder in ["bin", "proc", "sys", "dev", "tmp", "etc", "data"] {
        archive.folder(&format!("container/bundle/rootfs/{folder}"))?;
    }
    archive.folder("container/bin")?;
    archive.finish()
}

/// The bundle's configuration.
pub fn config(container: &Container) -> Result<Vec<u8>> {
    let capabilities = json!({
        "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
    });
    let mut mounts = mounts();
    let mut devices = Vec::new();
    let mut allowed = vec![json!({ "allow": false, "access": "rwm" })];
    if container.disks {
        mounts.push(json!({
            "destination": "/data", "type": "bind", "source": "/data",
            "options": ["rbind", "rprivate"],
        }));
        // The first virtio disk has the first dynamic major number; the script says which.
        devices.push(json!({
            "path": "/dev/vda", "type": "b", "major": DISK_MAJOR, "minor": 0, "fileMode": 0o660,
        }));
        allowed.push(json!({
            "allow": true, "type": "b", "major": DISK_MAJOR, "minor": 0, "access": "rwm",
        }));
    }
    let mut network = json!({ "type": "network" });
    if container.network {
        network["path"] = "/run/network".into();
    }
    let namespaces = ["pid", "mount", "ipc", "uts", "cgroup"].map(|kind| json!({ "type": kind }));
    let namespaces: Vec<Value> = namespaces.into_iter().chain([network]).collect();
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": container.terminal,
            "user": { "uid": 0, "gid": 0 },
            "args": container.arguments,
            "env": ["PATH=/bin", "TERM=vt100"],
            "cwd": "/",
            "capabilities": capabilities,
        },
        "root": { "path": "rootfs" },
        "hostname": "container",
        "mounts": mounts,
        "linux": {
            "namespaces": namespaces,
            "cgroupsPath": "/box",
            "devices": devices,
            "resources": { "devices": allowed },
            "seccomp": seccomp(),
            "maskedPaths": [
                "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug",
                "/sys/firmware",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        },
    });
    serde_json::to_vec_pretty(&config).context("the container's configuration is no JSON")
}

/// The major number of virtio disks, on a machine that loads their module first: the kernel hands
/// such numbers out from the top.
const DISK_MAJOR: u64 = 254;

fn mounts() -> Vec<Value> {
    let mount = |to: &str, kind: &str, options: &[&str]| json!({ "destination": to, "type": kind, "source": kind, "options": options });
    vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        ),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777", "size=65536k"]),
    ]
}

fn seccomp() -> Value {
    let masked = |names: &[&str], index: u64, mask: u64, value: u64| {
        json!({
            "names": names, "action": "SCMP_ACT_ALLOW",
            "args": [{
                "index": index, "op": "SCMP_CMP_MASKED_EQ", "value": mask, "valueTwo": value,
            }],
        })
    };
    let exactly = |name: &str, index: u64, value: u64| {
        json!({
            "names": [name], "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": index, "op": "SCMP_CMP_EQ", "value": value }],
        })
    };
    let mut rules = vec![
        json!({ "names": calls(), "action": "SCMP_ACT_ALLOW" }),
        // Without a new namespace.
        masked(&["clone"], 0, NAMESPACE_FLAGS, 0),
        // Its flags are in memory, where a filter cannot see them: programs fall back to `clone`.
        json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS }),
        // Every family but VSOCK (40), which reaches the host.
        json!({
            "names": ["socket"], "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": 0, "op": "SCMP_CMP_NE", "value": 40 }],
        }),
    ];
    // Linux as it is, with 32-bit names, and what is asked for to read the current one.
    for value in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        rules.push(exactly("personality", 0, value));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": ["SCMP_ARCH_AARCH64"],
        "syscalls": rules,
    })
}

const EPERM: u64 = 1;
const ENOSYS: u64 = 38;

/// The names in the list.
fn calls() -> Vec<&'static str> {
    let lines = ALLOWED.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.flat_map(str::split_whitespace).collect()
}

#[cfg(test)]
mod tests {
    //! The list, and what a container must not be allowed.

    use super::{Container, calls, config};
    use std::collections::BTreeSet;

    #[test]
    fn nothing_that_acts_on_the_machine_is_allowed() {
        let names: BTreeSet<_> = calls().into_iter().collect();
        assert_eq!(names.len(), calls().len(), "a name is there twice");
        for name in [
            "bpf",
            "clone",
            "clone3",
            "delete_module",
            "finit_module",
            "init_module",
            "io_uring_setup",
            "kexec_load",
            "keyctl",
            "mount",
            "open_by_handle_at",
            "perf_event_open",
            "personality",
            "pivot_root",
            "reboot",
            "setns",
            "settimeofday",
            "socket",
            "swapon",
            "syslog",
            "umount2",
            "unshare",
            "userfaultfd",
        ] {
            assert!(!names.contains(name), "{name}");
        }
        for name in ["read", "write", "execve", "mmap", "futex", "exit_group", "ppoll"] {
            assert!(names.contains(name), "{name}");
        }
    }

    #[test]
    fn disks_and_network_are_only_there_where_asked_for() {
        let text = |container: &Container| String::from_utf8(config(container).unwrap()).unwrap();
        let plain = text(&Container::default());
        assert!(!plain.contains("/dev/vda") && !plain.contains("/run/network"));
        let more = text(&Container { disks: true, network: true, ..Container::default() });
        assert!(more.contains("/dev/vda") && more.contains("/run/network"));
    }
}

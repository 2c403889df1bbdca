//! The systems whose attack profile is measured: what each is started with, what runs
//! in it for each workload, which of its code is privileged and why.
//!
//! Decides what is counted. Privileged is whatever a tenant's isolation rests on: whose compromise
//! gives a tenant what belongs to another, or to the host. Vertical is what serves a tenant without
//! that power.
//!
//! Invariants: everything is a constant but for the paths of images; one CPU; the same memory,
//! devices and command line for all systems, but for what makes the system.

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use redoubt_profile::image::{self, ImageSpec, Placement};

use redoubt_qemu::Cpu;

use super::container::Container;
use super::workload::Peer;
use super::xen;
use crate::build::{Built, Programs};
use crate::setup::peers::DebugInformation;

/// A measured system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum System {
    /// Redoubt, with a stock host.
    Redoubt,
    /// Linux with KVM in protected mode.
    Pkvm,
    /// Linux with KVM at EL2 (VHE).
    Kvm,
    /// Xen, with Linux in dom0.
    Xen,
    /// A container on Linux at EL1.
    LinuxContainer,
}

/// What is run on a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Workload {
    /// From the reset to the first user space.
    Boot,
    /// Two seconds of nothing.
    Idle,
    /// Disks and files.
    Disk,
    /// Loopback and a network card.
    Net,
    /// Processes and page faults.
    Fork,
    /// A tenant's life, from its creation to its end.
    VmBoot,
    /// A tenant's console.
    VmIo,
    /// A tenant that attacks, and a host where that is something else than the privileged code.
    Hostile,
}

impl System {
    /// All of them.
    pub const ALL: [System; 5] =
        [System::Redoubt, System::Pkvm, System::Kvm, System::Xen, System::LinuxContainer];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            System::Redoubt => "redoubt",
            System::Pkvm => "pkvm",
            System::Kvm => "kvm",
            System::Xen => "xen",
            System::LinuxContainer => "linux-container",
        }
    }

    /// The name for people.
    pub const fn title(self) -> &'static str {
        match self {
            System::Redoubt => "Redoubt",
            System::Pkvm => "pKVM in Linux",
            System::Kvm => "KVM in Linux (VHE)",
            System::Xen => xen::TITLE,
            System::LinuxContainer => "Linux container",
        }
    }

    /// What is privileged, and why.
    pub const fn boundary(self) -> &'static str {
        match self {
            System::Redoubt => {
                "Redoubt's image at EL2: it alone decides which memory, registers and devices a VM \
                 or the host can reach. The host's kernel and the VMM have no right to a protected \
                 VM's memory, so they are vertical."
            }
            System::Pkvm => {
                "The EL2 object inside the kernel's image (from __hyp_text_start on): in protected mode it drops \
                 the kernel to EL1 at the start and keeps stage 2 of host and VMs. The rest of the \
                 kernel and the VMM are vertical. Linux 6.12 cannot make protected VMs (that came \
                 with later versions), so its VMs are unprotected ones: the host's kernel can read \
                 them, and counting it as vertical is to pKVM's favour."
            }
            System::Kvm => {
                "The whole kernel with its modules: with VHE it runs at EL2 as a whole, and any of \
                 its code can change stage 2 or read a VM's memory. Vertical is the VMM."
            }
            System::Xen => xen::BOUNDARY,
            System::LinuxContainer => {
                "The whole kernel with its modules: containers share it, and any of its code can \
                 reach every container's memory. The runtime, which starts the container and relays its \
                 terminal, would be vertical; it is not counted, to the container's favour. But for \
                 boot, every process counts as a tenant, as the kernel's entry does not tell one of \
                 the container from one of the host: in vm-boot most of it is the runtime."
            }
        }
    }

    /// Whether it cannot be measured without the debug information of Linux: a kernel is privileged.
    pub const fn needs_debug(self) -> bool {
        !matches!(self, System::Redoubt)
    }

    /// What is added to the kernel's command line.
    pub const fn append(self) -> &'static str {
        match self {
            System::Pkvm => " kvm-arm.mode=protected",
            _ => "",
        }
    }

    /// The plugin's arguments about levels and origins.
    pub const fn plugin(self) -> [&'static str; 3] {
        match self {
            System::Redoubt | System::Pkvm => ["privileged=2", "host_stage2=on", "tenant=vm"],
            System::Kvm => ["privileged=2", "host_stage2=off", "tenant=vm"],
            System::Xen => xen::PLUGIN,
            System::LinuxContainer => ["privileged=1", "host_stage2=off", "tenant=el0"],
        }
    }

    /// How the VMM is asked for a VM.
    pub const fn vm(self) -> &'static str {
        match self {
            System::Redoubt => "--protected",
            _ => "--unprotected",
        }
    }

    /// All kinds of VM that a hostile guest is started in.
    pub const fn vms(self) -> &'static str {
        match self {
            System::Redoubt => "--protected --unprotected",
            _ => "--unprotected",
        }
    }
}

impl Workload {
    /// All of them.
    pub const ALL: [Workload; 8] = [
        Workload::Boot,
        Workload::Idle,
        Workload::Disk,
        Workload::Net,
        Workload::Fork,
        Workload::VmBoot,
        Workload::VmIo,
        Workload::Hostile,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Workload::Boot => "boot",
            Workload::Idle => "idle",
            Workload::Disk => "disk",
            Workload::Net => "net",
            Workload::Fork => "fork",
            Workload::VmBoot => "vm-boot",
            Workload::VmIo => "vm-io",
            Workload::Hostile => "hostile",
        }
    }

    /// The phase of the recording that is measured: that from the reset, or the one between marks.
    pub const fn phase(self) -> u16 {
        match self {
            Workload::Boot => 0xffff,
            _ => 1,
        }
    }

    /// Whether there are disks.
    pub const fn disks(self) -> bool {
        matches!(self, Workload::Disk)
    }

    /// Whether there is a network card.
    pub const fn network(self) -> bool {
        matches!(self, Workload::Net)
    }
}

/// What is run on a system for a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The scripts that make up the host's script, in order.
    pub scripts: Vec<&'static str>,
    /// Variables that the scripts take.
    pub variables: Vec<(&'static str, String)>,
    /// Whether what a guest boots from is there.
    pub guest: bool,
    /// Whether the attacks are there.
    pub hostile: bool,
    /// The container, if there is one.
    pub container: Option<Container>,
    /// What a run says of itself, once for each part of its job: `DID` and this word.
    pub did: Vec<&'static str>,
    /// What runs, in a sentence or two.
    pub what: &'static str,
}

/// What the scripts of all workloads share.
pub const PRELUDE: &str = include_str!("workload/prelude.sh");
const CONTAINER: &str = include_str!("workload/container.sh");
const CONTAINER_RUN: &str = include_str!("workload/container-run.sh");
const HOSTILE_GUEST: &str = include_str!("workload/hostile-guest.sh");

/// The attacks of a hostile host that are not run: they need more than one CPU, or a disk; and one
/// that takes a minute.
const SKIPPED_CASES: [&str; 16] = [
    "table-exhaustion",
    "fault-race",
    "stale-tlb",
    "run-on-all-cpus",
    "destroy-while-running",
    "teardown-races",
    "one-page-two-vms",
    "create-race",
    "rewritten-run-page",
    "cpu-on-bad",
    "cpu-on-race",
    "hotplug",
    "refused-reset",
    "its-live-registers",
    "its-live-queue",
    "its-live-donation",
];

/// Where the machine's RAM is, for the attacks.
const RAM_BASE: u64 = redoubt_qemu::RAM_BASE;
/// The machine's RAM.
pub const MEMORY_MIB: u32 = 1024;
/// The machine's CPU, the same for all: the newest model on which all of them work. On later ones
/// pKVM of Linux 6.12 shows an ordinary VM features that it then denies it.
pub const CPU: Cpu = Cpu::NeoverseN1;

/// Plans a run.
pub fn plan(system: System, workload: Workload) -> Plan {
    let in_container = system == System::LinuxContainer && workload != Workload::Boot;
    if in_container { container_plan(workload) } else { host_plan(system, workload) }
}

fn host_plan(system: System, workload: Workload) -> Plan {
    let (script, what) = match workload {
        Workload::Boot => (
            include_str!("workload/boot.sh"),
            "From the reset to the first script of the host's user space, loading of modules included.",
        ),
        Workload::Idle => {
            (include_str!("workload/idle.sh"), "A process of the host sleeps for two seconds.")
        }
        Workload::Disk => (
            include_str!("workload/disk.sh"),
            "A process of the host writes 6 MiB past the page cache on a virtio disk, in requests of \
             128 KiB and 4 KiB, and 24 files on a second one (ext4 without a journal), and reads \
             them back.",
        ),
        Workload::Net => (
            include_str!("workload/net.sh"),
            "A process of the host sends 0.5 MiB of TCP and 75 KiB of UDP over loopback, and 48 \
             UDP datagrams and 48 echo requests to a gateway over virtio-net.",
        ),
        Workload::Fork => (
            include_str!("workload/fork.sh"),
            "A process of the host starts 24 programs, forks 24 times, sends 256 KiB through pipes \
             and touches 28 MiB of new memory page by page.",
        ),
        Workload::VmBoot if system == System::Redoubt => (
            include_str!("workload/vm-boot.sh"),
            "A protected VM with 256 MiB boots a Debian kernel to its user space and powers off.",
        ),
        Workload::VmBoot => (
            include_str!("workload/vm-boot.sh"),
            "A VM with 256 MiB boots a Debian kernel to its user space and powers off.",
        ),
        Workload::VmIo if system == System::Redoubt => (
            include_str!("workload/vm-io.sh"),
            "100 lines are typed on the console of a protected VM, which answers each.",
        ),
        Workload::VmIo => (
            include_str!("workload/vm-io.sh"),
            "100 lines are typed on the console of a VM, which answers each.",
        ),
        Workload::Hostile => match system {
            System::Redoubt => (
                include_str!("workload/hostile-redoubt.sh"),
                "A guest makes 4000 random attempts (hypercalls, PSCI, system registers and \
                 instructions, device and memory accesses) in a protected and in an ordinary VM; \
                 the host's kernel runs the catalogue of attacks of the test suite.",
            ),
            System::Pkvm => (
                include_str!("workload/hostile-pkvm.sh"),
                "A guest makes 4000 random attempts (hypercalls, PSCI, system registers and \
                 instructions, device and memory accesses); the host's kernel makes 1500 random \
                 calls, without those whose pointers Linux 6.12 follows unchecked, and does not \
                 touch EL2's memory: either would stop the machine.",
            ),
            _ => (
                include_str!("workload/hostile-kvm.sh"),
                "A guest makes 4000 random attempts: hypercalls, PSCI, system registers and \
                 instructions, device and memory accesses. The host's kernel is privileged itself.",
            ),
        },
    };
    let hostile = workload == Workload::Hostile;
    let mut scripts = if hostile { vec![PRELUDE, HOSTILE_GUEST] } else { vec![PRELUDE] };
    let domains = if system == System::Xen { xen::scripts(workload) } else { None };
    let (own, what) = domains.unwrap_or((vec![script], what));
    scripts.extend(own);
    let mut variables = vec![("VM", system.vm().to_owned()), ("VMS", system.vms().to_owned())];
    if hostile {
        variables.push(("SKIPPED", SKIPPED_CASES.join(" ")));
        variables.push(("RAM_BASE", format!("{RAM_BASE:#x}")));
        variables.push(("RAM_SIZE", (u64::from(MEMORY_MIB) << 20).to_string()));
    }
    let guest = matches!(workload, Workload::VmBoot | Workload::VmIo);
    let did = match (workload, system) {
        (Workload::VmIo, _) => vec!["converse"],
        (Workload::Hostile, System::Redoubt) => vec!["hostile", "hostcases"],
        (Workload::Hostile, System::Pkvm) => vec!["hostile", "hostcalls"],
        (other, _) => vec![other.name()],
    };
    Plan { scripts, variables, guest, hostile, container: None, did, what }
}

/// Answers lines as a guest does.
const ANSWERING: &str = "stty -echo; echo 'container: ready'; while read -r word; do \
                         [ \"$word\" = poweroff ] && exit 0; \
                         echo \"container: does not know \\\"$word\\\"\"; done";

fn container_plan(workload: Workload) -> Plan {
    let own = |arguments| Container { arguments, ..Container::default() };
    let (script, container, what) = match workload {
        Workload::Boot | Workload::Idle => (
            CONTAINER_RUN,
            own(&["redoubt-workload", "idle", "2"]),
            "A process in a container sleeps for two seconds.",
        ),
        Workload::Disk => (
            include_str!("workload/container-disk.sh"),
            Container { disks: true, ..own(&["redoubt-workload", "disk", "/dev/vda", "/data"]) },
            "A process in a container writes 6 MiB past the page cache on a virtio disk that it was \
             given, in requests of 128 KiB and 4 KiB, and 24 files in a volume on a second one \
             (ext4 without a journal), and reads them back.",
        ),
        Workload::Net => (
            include_str!("workload/container-net.sh"),
            Container { network: true, ..own(&["redoubt-workload", "net", "10.0.2.2"]) },
            "A process in a container sends 0.5 MiB of TCP and 75 KiB of UDP over loopback, and 48 \
             UDP datagrams and 48 echo requests to a gateway, over a veth pair, a bridge and \
             virtio-net.",
        ),
        Workload::Fork => (
            CONTAINER_RUN,
            own(&["redoubt-workload", "fork", "/bin/true"]),
            "A process in a container starts 24 programs, forks 24 times, sends 256 KiB through \
             pipes and touches 28 MiB of new memory page by page.",
        ),
        Workload::VmBoot => (
            include_str!("workload/container-vm-boot.sh"),
            own(&["sh", "-c", "echo \"container: up: $(uname -r)\""]),
            "A container is created, runs a shell that prints a line, and is removed.",
        ),
        Workload::VmIo => (
            include_str!("workload/container-vm-io.sh"),
            Container { terminal: true, ..own(&["sh", "-c", ANSWERING]) },
            "100 lines are typed on the terminal of a container, which answers each.",
        ),
        Workload::Hostile => (
            CONTAINER_RUN,
            own(&["redoubt-workload", "chaos", "1", "4000"]),
            "Processes in a container make 4000 random system calls, confined by a list like that \
             of container engines.",
        ),
    };
    Plan {
        scripts: vec![PRELUDE, CONTAINER, script],
        variables: Vec::new(),
        guest: false,
        hostile: false,
        container: Some(container),
        did: vec![match workload {
            Workload::VmIo => "converse",
            Workload::Hostile => "chaos",
            other => other.name(),
        }],
        what,
    }
}

/// Where a module's code was: a section of it and its address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModuleSection {
    /// The module, as the kernel names it.
    pub module: String,
    /// The section.
    pub section: String,
    /// Its virtual address.
    pub address: u64,
}

/// An image that ran, and its part in the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is and where it lies.
    pub spec: ImageSpec,
    /// Whether it is privileged; else it is vertical.
    pub privileged: bool,
}

/// Redoubt's driver.
const DRIVER: &str = "redoubt";
/// The modules of this repository: they have their own debug information. That of the attacks is part
/// of no system.
const OWN_MODULES: [&str; 2] = [DRIVER, "redoubt_hostile"];

/// Which of the modules that were loaded are the stock kernel's.
pub fn stock_modules(sections: &[ModuleSection]) -> Vec<String> {
    let mut names: Vec<String> = sections
        .iter()
        .map(|section| section.module.clone())
        .filter(|name| !OWN_MODULES.contains(&name.as_str()))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The images that ran in a system. Without the kernel's debug information those of the kernel and
/// its modules are not among them.
pub fn images(
    system: System,
    built: &Built,
    peer: &Peer,
    debug: Option<&DebugInformation>,
    modules: &[ModuleSection],
) -> Result<Vec<Part>> {
    let Programs { hypervisor, vmm, driver, .. } = &built.programs;
    let root = Some(built.root.display().to_string());
    let own = |name: &str, what: &str, elf: &Path, placement| ImageSpec {
        source_root: root.clone(),
        ..image(name, what, elf, placement)
    };
    let whole_kernel = matches!(system, System::Kvm | System::Xen | System::LinuxContainer);
    let mut images = Vec::new();
    if system == System::Redoubt {
        let what = "The hypervisor: all code that runs at EL2.";
        images.push(Part { spec: own("redoubt", what, hypervisor, LINKED), privileged: true });
    }
    if let Peer::Xen(found) = peer {
        let what = "The hypervisor: all code that runs at EL2.";
        let spec = image("xen", what, &found.symbols(), LINKED);
        images.push(Part { spec, privileged: true });
    }
    if let Some(debug) = debug {
        images.extend(kernel(system, debug));
        for name in stock_modules(modules) {
            let elf = debug.modules.join(crate::build::debug_path(&built.arm64, &name)?);
            let what = "A module of the stock kernel, with all of the kernel's rights.";
            let placement = Placement::Sections(placed(modules, &name));
            let spec = image(&format!("linux: {name}"), what, &elf, placement);
            images.push(Part { spec, privileged: whole_kernel });
        }
    }
    let sections = placed(modules, DRIVER);
    if !sections.is_empty() {
        let what = "Redoubt's driver in the host's kernel.";
        let placement = Placement::Sections(sections);
        let spec = own("linux: redoubt", what, driver, placement);
        images.push(Part { spec, privileged: false });
    }
    if !matches!(system, System::Xen | System::LinuxContainer) {
        let what = "The virtual machine monitor, a process of the host.";
        images.push(Part { spec: own("vmm", what, vmm, Placement::Process), privileged: false });
    }
    Ok(images)
}

/// The kernel's own image, in one or two parts.
fn kernel(system: System, debug: &DebugInformation) -> Vec<Part> {
    let linux = |what: &str, privileged| Part {
        spec: image("linux", what, &debug.vmlinux, LINKED),
        privileged,
    };
    match system {
        System::Pkvm => {
            let what = "pKVM's EL2 object inside the kernel: all of it that runs at EL2 after the \
                        start.";
            let bounds = image::pkvm_bounds();
            let mut host = linux("The rest of the host's kernel, at EL1: it serves VMs.", false);
            host.spec.part = image::Part::Except(bounds.clone());
            let mut pkvm = image("pkvm", what, &debug.vmlinux, LINKED);
            pkvm.part = image::Part::Between(bounds);
            vec![Part { spec: pkvm, privileged: true }, host]
        }
        System::Redoubt => vec![linux("The host's kernel, at EL1: it serves VMs.", false)],
        System::Kvm => vec![linux("The kernel, at EL2, KVM being part of it.", true)],
        System::Xen => vec![linux(xen::DOM0, true)],
        System::LinuxContainer => vec![linux("The kernel, which all containers share.", true)],
    }
}

/// Where what moves itself lies: its distances are learnt.
const LINKED: Placement = Placement::Linked { also_at: Vec::new() };

/// An image as a whole, whose files have their names as they are.
fn image(name: &str, what: &str, elf: &Path, placement: Placement) -> ImageSpec {
    ImageSpec {
        name: name.into(),
        what: what.into(),
        elf: elf.into(),
        symbols_only_ok: false,
        placement,
        source_root: None,
        part: image::Part::Whole,
    }
}

/// The sections of a module.
fn placed(modules: &[ModuleSection], name: &str) -> Vec<(String, u64)> {
    let own = modules.iter().filter(|section| section.module == name);
    own.map(|section| (section.section.clone(), section.address)).collect()
}

#[cfg(test)]
mod tests {
    //! The table is complete and consistent.

    use super::{ModuleSection, System, Workload, plan, stock_modules};
    use std::collections::BTreeSet;

    #[test]
    fn every_run_is_planned() {
        for system in System::ALL {
            for workload in Workload::ALL {
                let plan = plan(system, workload);
                let script = plan.scripts.concat();
                assert!(script.contains("WORKLOAD="), "{system:?} {workload:?}");
                let text = format!("{script}{:?}", plan.container);
                assert!(plan.what.ends_with('.') && !plan.did.is_empty(), "{workload:?}");
                assert!(plan.did.iter().all(|word| text.contains(word)), "{system:?} {workload:?}");
                let expected = system == System::LinuxContainer && workload != Workload::Boot;
                assert_eq!(plan.container.is_some(), expected);
            }
        }
        let names: BTreeSet<_> = System::ALL.iter().map(|system| system.name()).collect();
        assert_eq!(names.len(), System::ALL.len());
    }

    #[test]
    fn own_modules_are_not_the_kernels() {
        let section = |module: &str| ModuleSection {
            module: module.into(),
            section: ".text".into(),
            address: 1,
        };
        let sections = [section("virtio_net"), section("redoubt"), section("failover")];
        assert_eq!(stock_modules(&sections), ["failover", "virtio_net"]);
    }
}

//! Xen with a Linux in dom0, as a system that is measured.
//!
//! Decides the machine, what is started in it, which scripts make domains, and what is privileged:
//! Xen, and the kernel of dom0, which Xen lets map the memory of every other domain.
//!
//! Invariants: dom0 has as much memory as the hosts of the other systems have, on top of that its
//! guests and Xen have their own; the command lines are Debian's own but for dom0's memory. Dom0 is
//! the first domain to run, so its VMID is the first one that is seen.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use redoubt_qemu::{Boot, Load, RAM_BASE, cpio};

use super::systems::Workload;
use crate::setup::xen::Xen;

/// The machine's RAM.
pub const MEMORY_MIB: u32 = 2048;
/// What Xen is told: without it, dom0 has half of what the other hosts have.
const APPEND: &str = "dom0_mem=1024M";
/// Where dom0's kernel and initrd wait in memory: above what Xen itself takes, far enough from each
/// other for a kernel and its bss.
const KERNEL_AT: u64 = 0x6000_0000;
const INITRD_AT: u64 = 0x6800_0000;
const _: () = assert!(RAM_BASE < KERNEL_AT && KERNEL_AT.is_multiple_of(2 << 20));
const _: () = assert!(INITRD_AT - KERNEL_AT >= 128 << 20);
const _: () = assert!(INITRD_AT < RAM_BASE + ((MEMORY_MIB as u64) << 20));

/// The name for people.
pub const TITLE: &str = "Xen with dom0";

/// What is privileged, and why.
pub const BOUNDARY: &str = "Xen at EL2, and the whole kernel of dom0 with its modules at EL1: Xen \
    lets dom0 map the memory of every other domain, and dom0 makes, runs and ends them. The toolstack \
    in dom0's user space (xl, xenstored, xenconsoled) has the same rights by way of that kernel; its \
    debug information is not among Debian's packages, so it is not counted, which is to Xen's favour. \
    Nothing is vertical.";

/// What is different from the machines of the other systems.
pub const REMARK: &str = "Xen's machine has 2 GiB of RAM, of which 1 GiB is dom0's, as much as the \
    hosts of the other systems have, and no SMMU: Debian's Xen has no driver for an SMMUv3, and leaves \
    the one that is there to dom0, whose kernel then says that its devices' DMA cannot be set up.";

/// What dom0's kernel is.
pub const DOM0: &str = "The kernel of dom0, at EL1: it can map the memory of every domain.";

/// The plugin's arguments about levels and origins.
pub const PLUGIN: [&str; 3] = ["privileged=2", "host_stage2=on", "tenant=vm"];

/// The versions of what is measured.
pub fn version(xen: &Xen, release: &str) -> String {
    let build = match &xen.difference {
        None => String::new(),
        Some(difference) => {
            format!(", built from Debian's source, unlike Debian's binary in {difference}")
        }
    };
    format!("Xen {}{build}, dom0 Linux {release}", xen.version)
}

/// What the machine starts: Xen, with `kernel` and `initrd` for dom0. `append` is what the kernels of
/// other hosts are told; dom0's console is Xen's, as the UART belongs to Xen.
pub fn boot(xen: &Xen, kernel: &Path, initrd: PathBuf, append: &str) -> Boot {
    Boot::Hypervisor {
        image: xen.image(),
        append: APPEND.into(),
        kernel: Load { file: kernel.to_owned(), address: KERNEL_AT },
        kernel_append: append.replace("console=ttyAMA0", "console=hvc0"),
        initrd: Load { file: initrd, address: INITRD_AT },
    }
}

/// The part of dom0's initrd with the toolstack.
pub fn archive(xen: &Xen) -> Result<Vec<u8>> {
    let mut archive = cpio::Archive::new();
    for (path, file) in xen.dom0()? {
        archive.file_from(&path, 0o755, &file).context("Xen's tools for dom0")?;
    }
    archive.finish()
}

/// What starts the toolstack in dom0, and domains.
pub const TOOLSTACK: &str = include_str!("workload/xen.sh");

/// The scripts of a workload in which there are domains, behind those that all systems share, and
/// what runs, in a sentence; none for the workloads of dom0 alone, which are those of every host.
pub fn scripts(workload: Workload) -> Option<(Vec<&'static str>, &'static str)> {
    let (script, what) = match workload {
        Workload::VmBoot => (
            include_str!("workload/xen-vm-boot.sh"),
            "A domain with 256 MiB boots a Debian kernel to its user space and powers off.",
        ),
        Workload::VmIo => (
            include_str!("workload/xen-vm-io.sh"),
            "100 lines are typed on the console of a domain, which answers each.",
        ),
        Workload::Hostile => (
            include_str!("workload/xen-hostile.sh"),
            "A domain makes 4000 random attempts: hypercalls, PSCI, system registers and \
             instructions, device and memory accesses. Dom0 is privileged itself.",
        ),
        Workload::Boot | Workload::Idle | Workload::Disk | Workload::Net | Workload::Fork => {
            return None;
        }
    };
    Some((vec![TOOLSTACK, script], what))
}

#[cfg(test)]
mod tests {
    //! There is a script where there is a domain.

    use super::scripts;
    use crate::profile::systems::Workload;

    #[test]
    fn domains_have_scripts_of_their_own() {
        for workload in Workload::ALL {
            let domains = matches!(workload, Workload::VmBoot | Workload::VmIo | Workload::Hostile);
            let scripts = scripts(workload);
            assert_eq!(scripts.is_some(), domains, "{workload:?}");
            if let Some((scripts, what)) = scripts {
                let text = scripts.concat();
                assert!(text.contains("DID ") || text.contains("converse"), "{workload:?}");
                assert!(what.ends_with('.'));
            }
        }
    }
}

//! What it costs to keep devices out, on machines beside the one of the other measurements: without
//! an SMMU, with more RAM, and on plain Linux.
//!
//! Decides what is compared. Pages: those that EL2 takes for the tables of an ordinary VM, which
//! every machine has, where devices have tables of their own and where they have none. Throughput:
//! bytes for each nanosecond of the CPU that is not idle, which is an instruction of Linux or EL2;
//! the same kernel, user space, CPU and devices do the same requests on plain Linux at EL1, once with
//! an SMMU that Linux drives itself and once without any.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use redoubt_qemu::{Boot, Device, Iommu, Launch, Machine, Qemu, cpio};
use redoubt_suite::Artifacts;

use super::collected;
use crate::paths::make_folder;

/// Results by name.
pub type Results = BTreeMap<String, u64>;

/// The longest that one machine may take.
const LIMIT: Duration = Duration::from_secs(1200);
/// Size of a disk.
const DISK_BYTES: u64 = 64 << 20;
const GIB: u64 = 1 << 30;

/// What a machine has besides its CPU.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Stands before the name of every result.
    pub prefix: &'static str,
    /// What is shown while it runs.
    pub what: &'static str,
    script: &'static str,
    redoubt: bool,
    iommu: Iommu,
    memory_mib: u32,
    devices: bool,
}

const BASE: Target = Target {
    prefix: "",
    what: "hypervisor and VMs",
    script: include_str!("host.sh"),
    redoubt: true,
    iommu: Iommu::Smmu,
    memory_mib: 1024,
    devices: false,
};
const ORDINARY: Target = Target { script: include_str!("ordinary.sh"), ..BASE };
const THROUGHPUT: Target = Target { script: include_str!("throughput.sh"), devices: true, ..BASE };

/// The machines, in the order in which they run.
pub const TARGETS: [Target; 7] = [
    BASE,
    Target { prefix: "no_smmu_", what: "without an SMMU", iommu: Iommu::None, ..ORDINARY },
    Target { prefix: "ram2_", what: "2 GiB of RAM", memory_mib: 2048, ..ORDINARY },
    Target { prefix: "ram4_", what: "4 GiB of RAM", memory_mib: 4096, ..ORDINARY },
    Target { prefix: "redoubt_", what: "disks and network", ..THROUGHPUT },
    Target {
        prefix: "linux_smmu_",
        what: "the same on plain Linux, which drives the SMMU",
        redoubt: false,
        ..THROUGHPUT
    },
    Target {
        prefix: "linux_",
        what: "the same on plain Linux without an SMMU",
        redoubt: false,
        iommu: Iommu::None,
        ..THROUGHPUT
    },
];

/// Boots a machine and returns its results.
pub fn measure(target: &Target, artifacts: &Artifacts, qemu: &Qemu) -> Result<Results> {
    make_folder(&artifacts.scratch)?;
    let name = format!("bench-{}", target.prefix.trim_end_matches('_'));
    let name = name.trim_end_matches('-');
    let initrd = artifacts.scratch.join(format!("{name}.initrd"));
    let mut script = cpio::Archive::new();
    script.file("cmd", 0o755, target.script.as_bytes())?;
    let parts = [artifacts.host.clone(), artifacts.hostile.clone()];
    cpio::concatenate(&parts, &script.finish()?, &initrd)?;
    let image = if target.redoubt { artifacts.redoubt()? } else { &artifacts.kernel };
    let boot = Boot::Kernel {
        image: image.to_owned(),
        initrd: Some(initrd),
        append: redoubt_suite::COMMAND_LINE.into(),
    };
    let mut machine =
        Machine::new(boot).cpus(1).memory_mib(target.memory_mib).iommu(target.iommu).icount();
    if !target.redoubt {
        machine = machine.without_el2();
    }
    if target.devices {
        let disk = |kind: &str| {
            let image = artifacts.scratch.join(format!("bench-{kind}.disk"));
            std::fs::File::create(&image)
                .and_then(|file| file.set_len(DISK_BYTES))
                .with_context(|| format!("cannot make {}", image.display()))?;
            anyhow::Ok(image)
        };
        machine = machine
            .device(Device::Disk(disk("virtio")?))
            .device(Device::Nvme { image: disk("nvme")?, serial: "redoubt-bench".into() })
            .device(Device::Network);
    }
    let mut vm =
        Launch::new(qemu, &machine, &artifacts.logs.join(format!("{name}.log"))).start()?;
    for text in redoubt_suite::FATAL {
        vm.console().fail_on(text);
    }
    vm.wait_for("HOST done: ", LIMIT)?;
    vm.wait_exit(Duration::from_secs(120))?;
    let results = collected(&vm.kill())?;
    Ok(results
        .into_iter()
        .map(|(name, value)| (format!("{}{name}", target.prefix), value))
        .collect())
}

/// Requests whose throughput is compared: name and description.
const REQUESTS: [(&str, &str); 9] = [
    ("virtio_blk_sequential_read", "virtio-blk, 128 KiB reads in sequence"),
    ("virtio_blk_sequential_write", "virtio-blk, 128 KiB writes in sequence"),
    ("virtio_blk_random_read", "virtio-blk, 4 KiB reads at random"),
    ("virtio_blk_random_write", "virtio-blk, 4 KiB writes at random"),
    ("nvme_sequential_read", "nvme, 128 KiB reads in sequence"),
    ("nvme_sequential_write", "nvme, 128 KiB writes in sequence"),
    ("nvme_random_read", "nvme, 4 KiB reads at random"),
    ("nvme_random_write", "nvme, 4 KiB writes at random"),
    ("net_echo", "virtio-net, 1400 bytes there and back"),
];

/// Names of all results that must be there.
pub fn names() -> Vec<String> {
    let pages = ["table_donate_per_page", "table_reclaim_per_page"];
    let memory = ["region_bytes", "dma_table_bytes"];
    let mut names = vec!["vm_invalidations".to_owned(), "vm_pages".to_owned()];
    for prefix in ["", "no_smmu_", "ram2_", "ram4_"] {
        names.extend(pages.iter().chain(&memory).map(|name| format!("{prefix}{name}")));
    }
    for prefix in ["redoubt_", "linux_smmu_", "linux_"] {
        names.extend(REQUESTS.map(|(name, _)| format!("{prefix}{name}")));
    }
    names
}

/// A ratio as a percentage with one digit behind the point.
fn percent(part: u64, whole: u64) -> String {
    match (part * 1000).checked_div(whole) {
        Some(thousandths) => format!("{}.{} %", thousandths / 10, thousandths % 10),
        None => "-".into(),
    }
}

/// Bytes as MiB with two digits behind the point.
fn mib(bytes: u64) -> String {
    let hundredths = bytes * 100 / (1 << 20);
    format!("{}.{:02} MiB", hundredths / 100, hundredths % 100)
}

/// Prints the tables. Every result in [`names`] must be there.
pub fn show(results: &Results) {
    let value = |name: String| results.get(&name).copied().unwrap_or_default();
    println!("\n{:<52}{:>12}{:>12}{:>12}", "instructions a page", "SMMU", "no SMMU", "more");
    for (name, what) in [
        ("table_donate_per_page", "VM_ADD_TABLES for an ordinary VM, scrubbed"),
        ("table_reclaim_per_page", "VM_RECLAIM of these, found in RAM, scrubbed"),
    ] {
        let (with, without) = (value(name.into()), value(format!("no_smmu_{name}")));
        let more = with.saturating_sub(without);
        println!("{what:<52}{with:>12}{without:>12}{more:>12}");
    }
    println!("\n{:<52}{:>12}", "SMMU invalidations", "");
    let (invalidations, pages) = (value("vm_invalidations".into()), value("vm_pages".into()));
    println!("{:<52}{invalidations:>12}", "protected VM created, run, destroyed");
    println!("{:<52}{pages:>12}", "pages that it was given in this time");
    println!("\n{:<28}{:>12}{:>12}{:>12}", "memory of EL2", "1 GiB", "2 GiB", "4 GiB");
    for (name, what) in [("region_bytes", "in all"), ("dma_table_bytes", "tables that SMMUs walk")]
    {
        let sizes = ["", "ram2_", "ram4_"].map(|prefix| mib(value(format!("{prefix}{name}"))));
        println!("{what:<28}{:>12}{:>12}{:>12}", sizes[0], sizes[1], sizes[2]);
    }
    let growth = |name: &str| {
        let (more, less) = (value(format!("ram4_{name}")), value(name.into()));
        mib(more.saturating_sub(less) * GIB / (3 * GIB))
    };
    println!(
        "for each further GiB of RAM: {}, of these {} of tables that SMMUs walk",
        growth("region_bytes"),
        growth("dma_table_bytes")
    );
    println!(
        "\nThroughput of the host: bytes for each instruction that is not idle, against plain Linux"
    );
    println!(
        "{:<42}{:>10}{:>12}{:>12}{:>12}{:>10}",
        "instructions a request", "Redoubt", "Linux+SMMU", "Linux", "of +SMMU", "of Linux"
    );
    for (name, what) in REQUESTS {
        let [ours, smmu, plain] =
            ["redoubt_", "linux_smmu_", "linux_"].map(|prefix| value(format!("{prefix}{name}")));
        let ratios = (percent(smmu, ours), percent(plain, ours));
        println!("{what:<42}{ours:>10}{smmu:>12}{plain:>12}{:>12}{:>10}", ratios.0, ratios.1);
    }
}

#[cfg(test)]
mod tests {
    //! Numbers for people.

    use super::{TARGETS, mib, names, percent};

    #[test]
    fn ratios_and_sizes() {
        assert_eq!(percent(999, 1000), "99.9 %");
        assert_eq!(percent(3, 2), "150.0 %");
        assert_eq!(percent(1, 0), "-");
        assert_eq!(mib(2 * 1024 * 1024 + 8192), "2.00 MiB");
        assert_eq!(mib(3 << 19), "1.50 MiB");
    }

    #[test]
    fn every_name_is_of_a_machine_and_only_once() {
        let mut names = names();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        for target in TARGETS {
            assert!(names.iter().any(|name| name.starts_with(target.prefix)));
        }
    }
}

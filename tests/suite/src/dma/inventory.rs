//! Platforms on which not every device can be kept from memory: the host boots, protected VMs are
//! refused, and everybody is told why. And one where the SMMU is right, but no device's stream is
//! given to the host: its devices reach nothing at all.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use redoubt_qemu::fdt::DeviceTree;
use redoubt_qemu::{Device, Iommu, Machine, Qemu, SECOND_ROOT_BUS};

use super::HOSTILE;
use crate::boot::disk;
use crate::context::Context;
use crate::{Report, Suite, Test};

const LIMIT: Duration = Duration::from_secs(180);

/// Configuration space of the first PCI root, and registers of the SMMU.
const CONFIG_SPACE: u64 = 0x40_1000_0000;
const SMMU: u64 = 0x905_0000;

/// A platform that cannot be guarded.
struct Gap {
    name: &'static str,
    /// INFO(DMA_GUARD) and INFO(DMA_CULPRIT).
    guard: u64,
    culprit: u64,
    /// What the console calls the culprit.
    called: &'static str,
    /// Whether there is a disk. Under a device tree that Linux does not take, or that leads Linux
    /// astray, the disk's driver waits for ever, with Redoubt or without.
    disk: bool,
    /// What departs from the machine that can be guarded; a disk's image is there to be used.
    machine: fn(Machine, PathBuf) -> Machine,
    /// What departs from the device tree that QEMU writes.
    tree: Option<fn(&mut DeviceTree) -> Result<()>>,
}

const AS_USUAL: fn(Machine, PathBuf) -> Machine = |machine, _| machine;

const GAPS: [Gap; 7] = [
    Gap {
        name: "no SMMU",
        guard: 1,
        culprit: CONFIG_SPACE,
        called: "pcie@10000000",
        disk: true,
        machine: |machine, _| machine.iommu(Iommu::None),
        tree: None,
    },
    Gap {
        name: "an SMMU that the first PCI root passes by",
        guard: 2,
        culprit: 0,
        called: "00:00.0",
        disk: false,
        machine: |machine, _| machine.bus_bypass(),
        tree: None,
    },
    Gap {
        name: "an iommu-map with a gap",
        guard: 2,
        culprit: 0x100,
        called: "pcie@10000000",
        disk: true,
        machine: AS_USUAL,
        tree: Some(|tree| map(tree, |smmu| vec![0, smmu, 0, 0x100])),
    },
    Gap {
        name: "an iommu-map that is cut short",
        guard: 3,
        culprit: CONFIG_SPACE,
        called: "pcie@10000000",
        disk: false,
        machine: AS_USUAL,
        tree: Some(|tree| map(tree, |smmu| vec![0, smmu, 0])),
    },
    Gap {
        name: "a second PCI root that passes by the SMMU",
        guard: 6,
        culprit: (SECOND_ROOT_BUS as u64) << 8,
        called: "40:00.0",
        disk: true,
        machine: |machine, _| machine.device(Device::SecondRoot),
        tree: None,
    },
    Gap {
        name: "a virtio disk that passes by the SMMU",
        guard: 7,
        culprit: 2 << 3,
        called: "00:02.0",
        disk: true,
        machine: |machine, image| machine.device(Device::BypassingDisk(image)),
        tree: None,
    },
    Gap {
        name: "an SMMU without stage 2",
        guard: 9,
        culprit: SMMU,
        called: "0x9050000",
        disk: true,
        machine: |machine, _| machine.iommu(Iommu::SmmuStage1),
        tree: None,
    },
];

/// The host boots and works, and says what it was told.
const SCRIPT: &str = r#"
dmesg | grep -i redoubt | data log
./redoubt-hostile guard | data guard
if [ -b /dev/vda ]; then
    check disk same "the disk's hash" "$(sha256sum </dev/vda | cut -d ' ' -f 1)" "$DISK_HASH"
fi
"#;

/// Devices whose streams nobody was given; there is no disk to work with.
const STRAY: &str = r#"
./redoubt-hostile guard | data guard
./redoubt-hostile stray | data stray
"#;

/// The tests of this module.
pub fn tests() -> Vec<Test> {
    let test = |gap: &'static Gap| {
        Test::new(Suite::Dma, format!("no protected VMs: {}", gap.name), move |context| {
            closed(context, gap)
        })
    };
    let mut tests: Vec<_> = GAPS.iter().map(test).collect();
    tests.push(Test::new(Suite::Dma, "streams that nobody was given (D2)", not_given));
    tests
}

/// Sets the `iommu-map` of the PCI root to what `cells` makes of the SMMU's handle.
fn map(tree: &mut DeviceTree, cells: impl Fn(u32) -> Vec<u32>) -> Result<()> {
    let present = tree.cells("pcie@", "iommu-map")?;
    let [_, smmu, ..] = present[..] else { bail!("`iommu-map` is {present:x?}") };
    tree.set("pcie@", "iommu-map", &cells(smmu))
}

/// Gives the machine the device tree that QEMU would, changed.
fn with_tree(
    context: &Context,
    machine: Machine,
    name: &str,
    change: impl Fn(&mut DeviceTree) -> Result<()>,
) -> Result<Machine> {
    let file = context.artifacts.scratch.join(format!("{name}.dtb"));
    let mut tree = DeviceTree::of(&Qemu::find()?, &machine, &file)?;
    change(&mut tree)?;
    fs::write(&file, tree.bytes()).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(machine.device_tree(file))
}

fn closed(context: &Context, gap: &Gap) -> Result<()> {
    let name = format!("dma-{}", gap.name.replace(' ', "-"));
    let boot = super::boot(context, &name, &format!("{HOSTILE}{SCRIPT}"))?;
    let image = |suffix: &str| context.artifacts.scratch.join(format!("{name}.{suffix}"));
    disk::create(&image("disk"))?;
    disk::create(&image("bypassing"))?;
    let first = if gap.disk { Device::Disk(image("disk")) } else { Device::Edu };
    let machine = Machine::new(boot).cpus(2).device(first);
    let mut machine = (gap.machine)(machine, image("bypassing"));
    if let Some(change) = gap.tree {
        machine = with_tree(context, machine, &name, change)?;
    }
    let mut vm = context.start(&machine, &name)?;
    super::watch_for_failure(&vm);
    let report = super::finish(&mut vm, LIMIT)?;
    if gap.disk {
        report.check("disk").context("the host's disk")?;
    }
    let guard = report.data("guard")?;
    let says = |line: String| match guard.contains(&line) {
        true => Ok(()),
        false => bail!("the host was not told \"{line}\" but {guard:?}"),
    };
    says(format!("GUARD {} {:#x}", gap.guard, gap.culprit))?;
    says("PROTECTED DmaUnguarded".into())?;
    says("ORDINARY Success".into())?;
    if features(&report)? & 0b101 != 0 {
        bail!("INFO(FEATURES) offers protected VMs: {guard:?}");
    }
    let reason = report.text.lines().find(|line| line.contains("no protected VMs: "));
    let reason = reason.context("EL2 does not say on the console that there are none, and why")?;
    if !reason.contains(gap.called) {
        bail!("\"{reason}\" does not name \"{}\"", gap.called);
    }
    let log = report.data("log")?;
    if !log.iter().any(|line| line.contains("protected VMs")) {
        bail!("the driver does not say that there are no protected VMs: {log:?}");
    }
    Ok(())
}

fn features(report: &Report) -> Result<u64> {
    let line = report.data("guard")?.iter().find_map(|line| line.strip_prefix("FEATURES "));
    crate::isolation::hex(line.context("the host was not told of features")?)
}

fn not_given(context: &Context) -> Result<()> {
    let name = "dma-streams-not-given";
    let boot = super::boot(context, name, &format!("{HOSTILE}{STRAY}"))?;
    let machine = Machine::new(boot).cpus(2).device(Device::Edu);
    // The bridge claims half of its buses and of its configuration space, and that their streams are
    // the upper half: all that is mapped is complete, but the device's real stream is none of them.
    let machine = with_tree(context, machine, name, |tree| {
        map(tree, |smmu| vec![0, smmu, 0x8000, 0x8000])?;
        tree.set("pcie@", "bus-range", &[0, 0x7f])?;
        let [high, low, ..] = tree.cells("pcie@", "reg")?[..] else { bail!("`reg` is short") };
        tree.set("pcie@", "reg", &[high, low, 0, 0x80 << 20])
    })?;
    let mut vm = context.start(&machine, name)?;
    super::watch_for_failure(&vm);
    let report = super::finish(&mut vm, LIMIT)?;
    if !report.data("guard")?.iter().any(|line| line == "GUARD 0 0x0") {
        bail!("the machine is not guarded: {:?}", report.data("guard")?);
    }
    let stray = report.data("stray")?;
    if !stray.iter().any(|line| line == "LANDED false") {
        bail!("DMA of a stream that nobody was given landed: {stray:?}");
    }
    // C_BAD_STREAMID or C_BAD_STE, of the device in slot 1.
    let is_event =
        |line: &String| line.starts_with("EVENT 0x2 0x8 ") || line.starts_with("EVENT 0x4 0x8 ");
    if !stray.iter().any(is_event) {
        bail!("no event of stream 8 was recorded: {stray:?}");
    }
    Ok(())
}

//! Devices that do their ordinary work while VMs are created, run and destroyed around them.
//!
//! Disks and network cards of five kinds, with the stock drivers. Taking a page from the host must not
//! disturb a transfer to its neighbour: no error, no wrong byte, no event.

use std::time::Duration;

use anyhow::Result;
use redoubt_qemu::{Boot, Device, Machine};

use crate::boot::disk;
use crate::context::Context;
use crate::host::{COMMAND_LINE, FATAL, HostRun, Report};
use crate::{Suite, Test};
use redoubt_qemu::Cpu;

static RUN: HostRun = HostRun {
    name: "dma-soak",
    cpu: Cpu::Max,
    cpus: 4,
    memory_mib: 2048,
    devices: false,
    guest: true,
    hostile: true,
    reboots: false,
    plain_kvm: false,
    script: include_str!("soak.sh"),
    limit: Duration::from_secs(240),
};

/// The checks of the script, and what they are called.
const CHECKS: [(&str, &str); 8] = [
    ("virtio-blk", "virtio-blk reads and writes what it should"),
    ("nvme", "NVMe reads and writes what it should"),
    ("virtio-net", "virtio-net loses nothing"),
    ("e1000e", "e1000e loses nothing"),
    ("igb", "igb loses nothing, with 2 virtual functions"),
    ("guests", "protected guests boot and end meanwhile"),
    ("churn", "VMs are created and destroyed meanwhile, and whole"),
    ("kernel-log", "no I/O error, no event"),
];

/// The tests of this module.
pub fn tests() -> Vec<Test> {
    let test = |(check, name): (&'static str, &str)| {
        let name = format!("soak: {name}");
        Test::new(Suite::Dma, name, move |context| report(context)?.check(check))
    };
    CHECKS.into_iter().map(test).collect()
}

fn report(context: &Context) -> Result<std::sync::Arc<Report>> {
    context.report_of(RUN.name, perform)
}

fn perform(context: &Context) -> Result<Report> {
    let boot = Boot::Kernel {
        image: context.artifacts.redoubt()?.to_owned(),
        initrd: Some(RUN.initrd(context)?),
        append: COMMAND_LINE.into(),
    };
    let image = |suffix: &str| context.artifacts.scratch.join(format!("{}.{suffix}", RUN.name));
    disk::create(&image("disk"))?;
    disk::create(&image("nvme"))?;
    let nvme = Device::Nvme { image: image("nvme"), serial: "SOAK".into() };
    let devices = [Device::Disk(image("disk")), nvme, Device::Network, Device::E1000e, Device::Igb];
    let machine = RUN.machine(context, boot)?;
    let machine = devices.into_iter().fold(machine, Machine::device);
    let mut vm = context.start(&machine, RUN.name)?;
    FATAL.iter().for_each(|text| vm.console().fail_on(text));
    RUN.finish(&mut vm)
}

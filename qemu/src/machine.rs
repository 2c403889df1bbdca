//! What a machine looks like, and how QEMU is told.
//!
//! Decides the machine model: QEMU `virt` with EL2, GICv3 and ITS, one PL011, no default devices,
//! every virtio-pci device behind the platform's IOMMU (`iommu_platform=on`, so that DMA obeys the
//! SMMU where there is one). [`Machine::args`] is a pure function of the definition.
//!
//! Invariants: no device is there that was not asked for; paths with commas, which QEMU would read
//! as option separators, are escaped.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, bail};

/// The physical address of the first byte of RAM on `virt`.
pub const RAM_BASE: u64 = 0x4000_0000;

/// What every virtio-pci device gets: DMA through the platform's IOMMU, which only the modern form of
/// the device offers.
const VIRTIO: &str = "disable-legacy=on,iommu_platform=on";

/// The CPU models that Redoubt is tested on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cpu {
    /// Everything that QEMU can emulate (SVE, PAuth, BTI, MTE, fine-grained traps).
    #[default]
    Max,
    /// Arm Neoverse V1: SVE, 48-bit addresses.
    NeoverseV1,
    /// Arm Neoverse N1: no SVE.
    NeoverseN1,
    /// Arm Cortex-A76.
    CortexA76,
    /// Arm Cortex-A72: ARMv8.0, no VHE.
    CortexA72,
}

impl Cpu {
    /// All models.
    pub const ALL: [Cpu; 5] =
        [Cpu::Max, Cpu::NeoverseV1, Cpu::NeoverseN1, Cpu::CortexA76, Cpu::CortexA72];

    /// The name QEMU gives the model.
    pub fn name(self) -> &'static str {
        match self {
            Cpu::Max => "max",
            Cpu::NeoverseV1 => "neoverse-v1",
            Cpu::NeoverseN1 => "neoverse-n1",
            Cpu::CortexA76 => "cortex-a76",
            Cpu::CortexA72 => "cortex-a72",
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Cpu {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Cpu> {
        match Cpu::ALL.into_iter().find(|cpu| cpu.name() == text) {
            Some(cpu) => Ok(cpu),
            None => {
                bail!("no CPU model `{text}`; there are {}", Cpu::ALL.map(Cpu::name).join(", "))
            }
        }
    }
}

/// A file that is in memory when the machine starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The file, taken byte by byte.
    pub file: PathBuf,
    /// Its physical address.
    pub address: u64,
}

/// What the machine starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// An arm64 Linux Image, entered as a bootloader would.
    Kernel {
        /// The Image.
        image: PathBuf,
        /// The initrd, named in `/chosen`.
        initrd: Option<PathBuf>,
        /// The kernel command line.
        append: String,
    },
    /// Firmware in flash (U-Boot), with files already in memory for it to start.
    Firmware {
        /// The firmware image.
        image: PathBuf,
        /// Files in memory.
        loads: Vec<Load>,
    },
    /// Nothing but files in memory; CPU 0 starts at `entry` with all registers zero.
    Raw {
        /// Files in memory.
        loads: Vec<Load>,
        /// Where CPU 0 starts.
        entry: u64,
    },
}

/// A device on the PCIe bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A disk with a raw image.
    Disk(PathBuf),
    /// A network card on QEMU's own user-mode network, cut off from the real one.
    Network,
    /// QEMU's teaching device: a DMA engine that can be pointed anywhere.
    Edu,
}

/// Where the serial port goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serial {
    /// To a pipe that the launcher reads.
    #[default]
    Pipe,
    /// To the user's terminal, with QEMU's monitor behind Ctrl-A C.
    Terminal,
}

/// A machine definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    cpu: Cpu,
    cpus: u32,
    memory_mib: u32,
    el2: bool,
    smmu: bool,
    icount: bool,
    reboot: bool,
    halt: bool,
    serial: Serial,
    devices: Vec<Device>,
    boot: Boot,
}

impl Machine {
    /// Defines a machine with one CPU `max`, 1 GiB and EL2, that starts `boot`.
    pub fn new(boot: Boot) -> Machine {
        Machine {
            cpu: Cpu::Max,
            cpus: 1,
            memory_mib: 1024,
            el2: true,
            smmu: false,
            icount: false,
            reboot: false,
            halt: false,
            serial: Serial::Pipe,
            devices: Vec::new(),
            boot,
        }
    }

    /// Sets the CPU model.
    pub fn cpu(mut self, cpu: Cpu) -> Machine {
        self.cpu = cpu;
        self
    }

    /// Sets the number of CPUs.
    pub fn cpus(mut self, cpus: u32) -> Machine {
        self.cpus = cpus;
        self
    }

    /// Sets the amount of RAM, in MiB.
    pub fn memory_mib(mut self, memory_mib: u32) -> Machine {
        self.memory_mib = memory_mib;
        self
    }

    /// Leaves EL2 out: software starts at EL1.
    pub fn without_el2(mut self) -> Machine {
        self.el2 = false;
        self
    }

    /// Puts an SMMUv3 with both stages before the PCIe bus.
    pub fn smmu(mut self) -> Machine {
        self.smmu = true;
        self
    }

    /// Makes one instruction one nanosecond of machine time, for repeatable measurements.
    pub fn icount(mut self) -> Machine {
        self.icount = true;
        self
    }

    /// Lets a reset restart the machine; else QEMU ends there.
    pub fn reboots(mut self) -> Machine {
        self.reboot = true;
        self
    }

    /// Lets power off and reset stop the CPUs instead of ending QEMU: memory can still be read.
    pub fn halts(mut self) -> Machine {
        self.halt = true;
        self
    }

    /// Says where the serial port goes.
    pub fn serial(mut self, serial: Serial) -> Machine {
        self.serial = serial;
        self
    }

    /// Adds a device.
    pub fn device(mut self, device: Device) -> Machine {
        self.devices.push(device);
        self
    }

    /// The physical address just behind the last byte of RAM.
    pub fn ram_end(&self) -> u64 {
        RAM_BASE + u64::from(self.memory_mib) * 1024 * 1024
    }

    /// Where the serial port goes.
    pub fn serial_port(&self) -> Serial {
        self.serial
    }

    /// QEMU's arguments, but for those that belong to one run (the QMP socket).
    pub fn args(&self) -> Vec<String> {
        let mut args = Args::default();
        let el2 = if self.el2 { "on" } else { "off" };
        let iommu = if self.smmu { ",iommu=smmuv3" } else { "" };
        args.pair("-machine", format!("virt,virtualization={el2},gic-version=3{iommu}"));
        if self.smmu {
            args.pair("-global", "arm-smmuv3.stage=nested".into());
        }
        args.pair("-cpu", self.cpu.name().into());
        args.pair("-smp", self.cpus.to_string());
        args.pair("-m", format!("{}M", self.memory_mib));
        if self.icount {
            args.pair("-icount", "shift=0,sleep=off".into());
        }
        args.one("-nodefaults");
        args.pair("-display", "none".into());
        if !self.reboot {
            args.one("-no-reboot");
        }
        if self.halt {
            args.one("-no-shutdown");
        }
        match self.serial {
            Serial::Pipe => {
                args.pair("-chardev", "stdio,id=console,signal=off".into());
                args.pair("-serial", "chardev:console".into());
            }
            Serial::Terminal => args.pair("-serial", "mon:stdio".into()),
        }
        for (index, device) in self.devices.iter().enumerate() {
            args.device(index, device);
        }
        args.boot(&self.boot);
        args.0
    }
}

/// Arguments in the making.
#[derive(Default)]
struct Args(Vec<String>);

impl Args {
    fn one(&mut self, option: &str) {
        self.0.push(option.into());
    }

    fn pair(&mut self, option: &str, value: String) {
        self.0.push(option.into());
        self.0.push(value);
    }

    fn device(&mut self, index: usize, device: &Device) {
        match device {
            Device::Disk(image) => {
                let file = escaped(image);
                self.pair("-drive", format!("if=none,id=disk{index},format=raw,file={file}"));
                let on = format!("virtio-blk-pci,drive=disk{index},{VIRTIO}");
                self.pair("-device", on);
            }
            Device::Network => {
                self.pair("-netdev", format!("user,id=net{index},restrict=on"));
                // No boot ROM: it is another package, and nothing boots from the network.
                let on = format!("virtio-net-pci,netdev=net{index},romfile=,{VIRTIO}");
                self.pair("-device", on);
            }
            Device::Edu => self.pair("-device", "edu,dma_mask=0xffffffffffffffff".into()),
        }
    }

    fn boot(&mut self, boot: &Boot) {
        match boot {
            Boot::Kernel { image, initrd, append } => {
                self.pair("-kernel", image.display().to_string());
                if let Some(initrd) = initrd {
                    self.pair("-initrd", initrd.display().to_string());
                }
                if !append.is_empty() {
                    self.pair("-append", append.clone());
                }
            }
            Boot::Firmware { image, loads } => {
                self.pair("-bios", image.display().to_string());
                loads.iter().for_each(|load| self.load(load));
            }
            Boot::Raw { loads, entry } => {
                loads.iter().for_each(|load| self.load(load));
                self.pair("-device", format!("loader,addr={entry:#x},cpu-num=0"));
            }
        }
    }

    fn load(&mut self, load: &Load) {
        let file = escaped(&load.file);
        self.pair("-device", format!("loader,file={file},addr={:#x},force-raw=on", load.address));
    }
}

/// A path inside a comma-separated option list: a comma is written twice.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests;

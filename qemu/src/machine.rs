//! What a machine looks like, and how QEMU is told.
//!
//! Decides the machine model: QEMU `virt` with EL2, GICv3 and ITS, an SMMUv3 with both stages before
//! the PCIe bus, one PL011, no default devices, every virtio-pci device behind the platform's IOMMU
//! (`iommu_platform=on`, so that DMA obeys the SMMU). What departs from that is for tests that must
//! see it refused. [`Machine::args`] is a pure function of the definition.
//!
//! Invariants: no device is there that was not asked for; the n-th device, counted from one, has slot
//! n of PCI bus 0 (or its root port has), so that a test can tell its stream; paths with commas, which
//! QEMU would read as option separators, are escaped.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, bail};

/// The physical address of the first byte of RAM on `virt`.
pub const RAM_BASE: u64 = 0x4000_0000;

/// What every virtio-pci device gets: DMA through the platform's IOMMU, which only the modern form of
/// the device offers.
const VIRTIO: &str = "disable-legacy=on,iommu_platform=on";

/// The teaching device, with a DMA engine that reaches every address.
const EDU: &str = "edu,dma_mask=0xffffffffffffffff";

/// The first bus number of a second root; all below it are the first one's.
pub const SECOND_ROOT_BUS: u8 = 0x40;

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
    /// A hypervisor that is told by the device tree where the kernel and the initrd of its first
    /// guest lie in memory (modules below `/chosen`, as Xen wants them).
    Hypervisor {
        /// The hypervisor, in the form of an arm64 Linux Image.
        image: PathBuf,
        /// The hypervisor's command line.
        append: String,
        /// The guest's kernel.
        kernel: Load,
        /// The guest's kernel command line.
        kernel_append: String,
        /// The guest's initrd.
        initrd: Load,
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

/// What stands between the PCIe bus and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Iommu {
    /// Nothing.
    None,
    /// An SMMUv3 with both stages.
    #[default]
    Smmu,
    /// An SMMUv3 without stage 2.
    SmmuStage1,
}

/// A device on the PCIe bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A disk with a raw image.
    Disk(PathBuf),
    /// The same, but with DMA that passes by the platform's IOMMU.
    BypassingDisk(PathBuf),
    /// A network card on QEMU's own user-mode network, cut off from the real one.
    Network,
    /// QEMU's teaching device: a DMA engine that can be pointed anywhere.
    Edu,
    /// An NVMe disk with a raw image; its serial number can be searched for in memory.
    Nvme {
        /// The image.
        image: PathBuf,
        /// The serial number, at most 20 characters.
        serial: String,
    },
    /// An Intel 82574 network card, on a network like that of [`Device::Network`].
    E1000e,
    /// An Intel 82576 network card with virtual functions, behind a root port of its own.
    Igb,
    /// Another PCI root (see [`SECOND_ROOT_BUS`]) whose devices pass by the IOMMU, with an `edu` on it.
    SecondRoot,
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
    gic: u32,
    iommu: Iommu,
    bus_bypass: bool,
    device_tree: Option<PathBuf>,
    icount: bool,
    plugin: Option<String>,
    reboot: bool,
    halt: bool,
    serial: Serial,
    devices: Vec<Device>,
    loads: Vec<Load>,
    boot: Boot,
}

impl Machine {
    /// Defines a machine with one CPU `max`, 1 GiB, EL2 and an SMMU, that starts `boot`.
    pub fn new(boot: Boot) -> Machine {
        Machine {
            cpu: Cpu::Max,
            cpus: 1,
            memory_mib: 1024,
            el2: true,
            gic: 3,
            iommu: Iommu::Smmu,
            bus_bypass: false,
            device_tree: None,
            icount: false,
            plugin: None,
            reboot: false,
            halt: false,
            serial: Serial::Pipe,
            devices: Vec::new(),
            loads: Vec::new(),
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

    /// Says what is before the PCIe bus.
    pub fn iommu(mut self, iommu: Iommu) -> Machine {
        self.iommu = iommu;
        self
    }

    /// Lets every device of the first PCI root pass by the SMMU (`default-bus-bypass-iommu`).
    pub fn bus_bypass(mut self) -> Machine {
        self.bus_bypass = true;
        self
    }

    /// Makes the interrupt controller a GICv4, with virtual LPIs.
    pub fn gic_v4(mut self) -> Machine {
        self.gic = 4;
        self
    }

    /// Gives the machine another device tree than the one that QEMU writes (see [`crate::fdt`]).
    pub fn device_tree(mut self, file: PathBuf) -> Machine {
        self.device_tree = Some(file);
        self
    }

    /// Makes one instruction one nanosecond of machine time, for repeatable measurements.
    pub fn icount(mut self) -> Machine {
        self.icount = true;
        self
    }

    /// Loads a TCG plugin with these arguments (`name=value`), and takes from the machine what differs
    /// from run to run: its clock starts at a fixed date and follows the instructions, and its random
    /// numbers are always the same. Meant for machines with [`Machine::icount`].
    pub fn plugin(mut self, file: &Path, arguments: &[String]) -> Machine {
        let arguments: String = arguments.iter().map(|argument| format!(",{argument}")).collect();
        self.plugin = Some(format!("file={}{arguments}", escaped(file)));
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

    /// Puts a file into memory, besides what is started.
    pub fn load(mut self, load: Load) -> Machine {
        self.loads.push(load);
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
        // Machines before 9.2 have stage 1 only; in later ones the property says nothing.
        let (virt, iommu) = match self.iommu {
            Iommu::None => ("virt", ""),
            Iommu::Smmu => ("virt", ",iommu=smmuv3"),
            Iommu::SmmuStage1 => ("virt-9.1", ",iommu=smmuv3"),
        };
        let bypass = if self.bus_bypass { ",default-bus-bypass-iommu=on" } else { "" };
        let gic = self.gic;
        let machine = format!("{virt},virtualization={el2},gic-version={gic}{iommu}{bypass}");
        args.pair("-machine", machine);
        if self.iommu == Iommu::Smmu {
            args.pair("-global", "arm-smmuv3.stage=nested".into());
        }
        if let Some(file) = &self.device_tree {
            args.pair("-dtb", file.display().to_string());
        }
        args.pair("-cpu", self.cpu.name().into());
        args.pair("-smp", self.cpus.to_string());
        args.pair("-m", format!("{}M", self.memory_mib));
        if self.icount {
            args.pair("-icount", "shift=0,sleep=off".into());
        }
        if let Some(plugin) = &self.plugin {
            args.pair("-plugin", plugin.clone());
            args.pair("-rtc", "base=2026-01-01,clock=vm".into());
            args.pair("-seed", "1".into());
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
        for (slot, device) in (1..).zip(&self.devices) {
            args.device(slot, device);
        }
        self.loads.iter().for_each(|load| args.load(load));
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

    fn device(&mut self, slot: u32, device: &Device) {
        let addr = format!("addr={slot:#x}");
        match device {
            Device::Disk(image) => {
                self.drive(slot, image);
                self.pair("-device", format!("virtio-blk-pci,drive=disk{slot},{addr},{VIRTIO}"));
            }
            Device::BypassingDisk(image) => {
                self.drive(slot, image);
                let on = format!("virtio-blk-pci,drive=disk{slot},{addr},disable-legacy=on");
                self.pair("-device", format!("{on},iommu_platform=off"));
            }
            Device::Network => {
                let net = self.network(slot);
                self.pair("-device", format!("virtio-net-pci,{net},{addr},{VIRTIO}"));
            }
            Device::Edu => self.pair("-device", format!("{EDU},{addr}")),
            Device::Nvme { image, serial } => {
                self.drive(slot, image);
                self.pair("-device", format!("nvme,drive=disk{slot},serial={serial},{addr}"));
            }
            Device::E1000e => {
                let net = self.network(slot);
                self.pair("-device", format!("e1000e,{net},{addr}"));
            }
            Device::Igb => {
                let net = self.network(slot);
                let port = format!("pcie-root-port,id=port{slot},chassis={slot},{addr}");
                self.pair("-device", port);
                self.pair("-device", format!("igb,{net},bus=port{slot}"));
            }
            Device::SecondRoot => {
                let root = format!("pxb-pcie,id=root{slot},bus_nr={SECOND_ROOT_BUS},{addr}");
                self.pair("-device", format!("{root},bypass_iommu=on"));
                // On that root there may be bridges only.
                let port = format!("pcie-root-port,id=port{slot},chassis={slot},bus=root{slot}");
                self.pair("-device", port);
                self.pair("-device", format!("{EDU},bus=port{slot}"));
            }
        }
    }

    /// The image behind the disk in `slot`.
    fn drive(&mut self, slot: u32, image: &Path) {
        let file = escaped(image);
        self.pair("-drive", format!("if=none,id=disk{slot},format=raw,file={file}"));
    }

    /// The network behind the card in `slot`; returns what the card is told. No boot ROM: it is
    /// another package, and nothing boots from the network.
    fn network(&mut self, slot: u32) -> String {
        self.pair("-netdev", format!("user,id=net{slot},restrict=on"));
        format!("netdev=net{slot},romfile=")
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
            Boot::Hypervisor { image, append, kernel, kernel_append, initrd } => {
                self.pair("-kernel", image.display().to_string());
                self.pair("-append", append.clone());
                let bootargs = kernel_append.replace(',', ",,");
                let (address, file) = (kernel.address, escaped(&kernel.file));
                let kernel = format!("addr={address:#x},kernel={file},bootargs={bootargs}");
                self.pair("-device", format!("guest-loader,{kernel}"));
                let (address, file) = (initrd.address, escaped(&initrd.file));
                self.pair("-device", format!("guest-loader,addr={address:#x},initrd={file}"));
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

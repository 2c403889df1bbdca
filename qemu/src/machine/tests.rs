//! Definitions and the arguments they become.

use std::path::{Path, PathBuf};

use super::{Boot, Cpu, Device, Iommu, Load, Machine, Serial};

fn kernel() -> Machine {
    Machine::new(Boot::Kernel {
        image: PathBuf::from("k"),
        initrd: Some(PathBuf::from("i")),
        append: "quiet a=b".into(),
    })
}

/// The value that follows the option `name`, for options that occur once.
fn value<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    let at = args.iter().position(|arg| arg == name)?;
    assert_eq!(args.iter().filter(|arg| *arg == name).count(), 1, "{name} occurs twice");
    args.get(at + 1).map(String::as_str)
}

#[test]
fn a_plain_machine() {
    let args = kernel().cpu(Cpu::NeoverseN1).cpus(3).memory_mib(2048).args();
    assert_eq!(value(&args, "-machine"), Some("virt,virtualization=on,gic-version=3,iommu=smmuv3"));
    assert_eq!(value(&args, "-global"), Some("arm-smmuv3.stage=nested"));
    assert_eq!(value(&args, "-dtb"), None);
    assert_eq!(value(&args, "-cpu"), Some("neoverse-n1"));
    assert_eq!(value(&args, "-smp"), Some("3"));
    assert_eq!(value(&args, "-m"), Some("2048M"));
    assert_eq!(value(&args, "-kernel"), Some("k"));
    assert_eq!(value(&args, "-initrd"), Some("i"));
    assert_eq!(value(&args, "-append"), Some("quiet a=b"));
    assert!(args.iter().any(|arg| arg == "-no-reboot"));
    assert_eq!(value(&args, "-icount"), None);
    assert_eq!(value(&args, "-device"), None);
}

#[test]
fn a_hypervisor_finds_its_first_guest_in_memory() {
    let load = |file: &str, address| Load { file: PathBuf::from(file), address };
    let machine = Machine::new(Boot::Hypervisor {
        image: PathBuf::from("x"),
        append: "console=dtuart".into(),
        kernel: load("k,1", 0x6000_0000),
        kernel_append: "console=hvc0,9600 a=b".into(),
        initrd: load("i", 0x6800_0000),
    });
    let args = machine.args();
    assert_eq!(value(&args, "-kernel"), Some("x"));
    assert_eq!(value(&args, "-append"), Some("console=dtuart"));
    assert_eq!(value(&args, "-initrd"), None);
    let has = |text: &str| args.iter().any(|arg| arg == text);
    assert!(has("guest-loader,addr=0x60000000,kernel=k,,1,bootargs=console=hvc0,,9600 a=b"));
    assert!(has("guest-loader,addr=0x68000000,initrd=i"));
}

#[test]
fn switches_show_and_hide() {
    let args = kernel().without_el2().iommu(Iommu::None).icount().reboots().args();
    assert_eq!(value(&args, "-machine"), Some("virt,virtualization=off,gic-version=3"));
    assert_eq!(value(&args, "-global"), None);
    assert_eq!(value(&args, "-icount"), Some("shift=0,sleep=off"));
    assert!(!args.iter().any(|arg| arg == "-no-reboot" || arg == "-no-shutdown"));
    let halts = kernel().halts().args();
    assert!(["-no-reboot", "-no-shutdown"].iter().all(|name| halts.iter().any(|arg| arg == name)));
}

#[test]
fn a_machine_with_a_plugin_repeats_itself() {
    let arguments = ["out=r", "privileged=2"].map(String::from);
    let args = kernel().icount().plugin(Path::new("a,b.so"), &arguments).args();
    assert_eq!(value(&args, "-plugin"), Some("file=a,,b.so,out=r,privileged=2"));
    assert_eq!(value(&args, "-rtc"), Some("base=2026-01-01,clock=vm"));
    assert_eq!(value(&args, "-seed"), Some("1"));
    assert_eq!(value(&kernel().args(), "-plugin"), None);
    assert_eq!(value(&kernel().args(), "-seed"), None);
}

#[test]
fn machines_with_gaps_in_their_guard() {
    let args = kernel().iommu(Iommu::SmmuStage1).gic_v4().args();
    let machine = "virt-9.1,virtualization=on,gic-version=4,iommu=smmuv3";
    assert_eq!(value(&args, "-machine"), Some(machine));
    assert_eq!(value(&args, "-global"), None);
    let args = kernel().bus_bypass().device_tree(PathBuf::from("t.dtb")).args();
    assert!(
        value(&args, "-machine").is_some_and(|text| text.ends_with(",default-bus-bypass-iommu=on"))
    );
    assert_eq!(value(&args, "-dtb"), Some("t.dtb"));
    let bypassing = Device::BypassingDisk(PathBuf::from("d"));
    let args = kernel().device(bypassing).device(Device::SecondRoot).args();
    let has = |text: &str| args.iter().any(|arg| arg == text);
    assert!(has("virtio-blk-pci,drive=disk1,addr=0x1,disable-legacy=on,iommu_platform=off"));
    assert!(has("pxb-pcie,id=root2,bus_nr=64,addr=0x2,bypass_iommu=on"));
    assert!(has("edu,dma_mask=0xffffffffffffffff,bus=port2"));
}

#[test]
fn every_device_has_the_slot_of_its_turn() {
    let nvme = Device::Nvme { image: PathBuf::from("n"), serial: "S1".into() };
    let machine = kernel().device(Device::Edu).device(nvme).device(Device::E1000e);
    let args = machine.device(Device::Igb).args();
    let has = |text: &str| args.iter().any(|arg| arg == text);
    assert!(has("edu,dma_mask=0xffffffffffffffff,addr=0x1"));
    assert!(has("if=none,id=disk2,format=raw,file=n"));
    assert!(has("nvme,drive=disk2,serial=S1,addr=0x2"));
    assert!(has("user,id=net3,restrict=on"));
    assert!(has("e1000e,netdev=net3,romfile=,addr=0x3"));
    assert!(has("pcie-root-port,id=port4,chassis=4,addr=0x4"));
    assert!(has("igb,netdev=net4,romfile=,bus=port4"));
}

#[test]
fn the_terminal_takes_the_place_of_the_pipe() {
    assert_eq!(value(&kernel().args(), "-serial"), Some("chardev:console"));
    let args = kernel().serial(Serial::Terminal).args();
    assert_eq!(value(&args, "-serial"), Some("mon:stdio"));
    assert_eq!(value(&args, "-chardev"), None);
}

#[test]
fn devices_obey_the_platforms_iommu() {
    let disk = Device::Disk(PathBuf::from("a,b"));
    let args = kernel().device(disk).device(Device::Network).device(Device::Edu).args();
    assert_eq!(value(&args, "-drive"), Some("if=none,id=disk1,format=raw,file=a,,b"));
    let virtio: Vec<_> = args.iter().filter(|arg| arg.starts_with("virtio-")).collect();
    assert_eq!(virtio.len(), 2);
    assert!(virtio.iter().all(|arg| arg.ends_with("iommu_platform=on")));
    assert_eq!(value(&args, "-netdev"), Some("user,id=net2,restrict=on"));
    assert!(args.iter().any(|arg| arg == "edu,dma_mask=0xffffffffffffffff,addr=0x3"));
}

#[test]
fn raw_and_firmware_boots_load_files() {
    let load = Load { file: PathBuf::from("f"), address: 0x4020_0000 };
    let raw = Machine::new(Boot::Raw { loads: vec![load.clone()], entry: 0x4020_0000 }).args();
    assert!(raw.iter().any(|arg| arg == "loader,file=f,addr=0x40200000,force-raw=on"));
    assert!(raw.iter().any(|arg| arg == "loader,addr=0x40200000,cpu-num=0"));
    let beside = kernel().load(load.clone()).args();
    assert!(beside.iter().any(|arg| arg == "loader,file=f,addr=0x40200000,force-raw=on"));
    assert_eq!(value(&beside, "-kernel"), Some("k"));
    let firmware = Boot::Firmware { image: PathBuf::from("u-boot.bin"), loads: vec![load] };
    assert_eq!(value(&Machine::new(firmware).args(), "-bios"), Some("u-boot.bin"));
}

#[test]
fn memory_ends_where_it_should() {
    assert_eq!(kernel().memory_mib(512).ram_end(), 0x6000_0000);
    assert_eq!(kernel().memory_mib(8192).ram_end(), 0x2_4000_0000);
}

#[test]
fn cpu_names_are_read_back() {
    for cpu in Cpu::ALL {
        assert_eq!(cpu.to_string().parse::<Cpu>().unwrap(), cpu);
    }
    let refusal = "z80".parse::<Cpu>().unwrap_err().to_string();
    assert!(refusal.contains("neoverse-v1"), "{refusal}");
}

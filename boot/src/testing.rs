//! What the tests share: trees that can be changed and written, and the trees of real machines.

use crate::fdt::{Fdt, Step};

/// One CPU, 512 MiB, Cortex-A72.
pub const CPUS1_512M: &[u8] = include_bytes!("../tests/fixtures/virt-cpus1-512m.dtb");
/// Four CPUs, 2 GiB.
pub const CPUS4_2G: &[u8] = include_bytes!("../tests/fixtures/virt-cpus4-2g.dtb");
/// Eight CPUs, 8 GiB, an SMMU.
pub const CPUS8_8G: &[u8] = include_bytes!("../tests/fixtures/virt-cpus8-8g-smmu.dtb");
/// Two NUMA nodes: two memory nodes that touch.
pub const NUMA: &[u8] = include_bytes!("../tests/fixtures/virt-numa2-2g.dtb");
/// A GICv2.
pub const GICV2: &[u8] = include_bytes!("../tests/fixtures/virt-gicv2.dtb");
/// PSCI by HVC.
pub const PSCI_HVC: &[u8] = include_bytes!("../tests/fixtures/virt-psci-hvc.dtb");
/// As U-Boot hands it over: an initrd, and a memory reservation for it.
pub const U_BOOT: &[u8] = include_bytes!("../tests/fixtures/u-boot-cpus4-1g.dtb");

/// An SMMU, and devices of the secure world.
pub const SMMU_SECURE: &[u8] = include_bytes!("../tests/fixtures/virt-smmu-secure.dtb");
/// An SMMU, a GICv4, and 16 PCI buses only.
pub const SMMU_LOWMEM: &[u8] = include_bytes!("../tests/fixtures/virt-smmu-lowmem.dtb");
/// An IOMMU that is a virtio device.
pub const VIRTIO_IOMMU: &[u8] = include_bytes!("../tests/fixtures/virt-virtio-iommu.dtb");

/// Every tree that describes a machine we can run on.
pub const GOOD: [&[u8]; 9] = [
    CPUS1_512M,
    CPUS4_2G,
    CPUS8_8G,
    NUMA,
    PSCI_HVC,
    U_BOOT,
    SMMU_SECURE,
    SMMU_LOWMEM,
    VIRTIO_IOMMU,
];

/// The value of a property made of cells.
pub fn cells(cells: &[u32]) -> Vec<u8> {
    cells.iter().flat_map(|cell| cell.to_be_bytes()).collect()
}

/// The value of a property made of two-cell numbers.
pub fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// A node that can be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Name with unit address.
    pub name: String,
    /// Properties in order.
    pub properties: Vec<(String, Vec<u8>)>,
    /// Children in order.
    pub children: Vec<Tree>,
}

impl Tree {
    /// A node without properties.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Reads a written tree.
    pub fn read(fdt: &Fdt<'_>) -> Self {
        let mut open = vec![Self::default()];
        let mut walk = fdt.walk();
        loop {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            match walk.next_step() {
                Step::Enter => open.push(Self::new(&text(walk.path().node().name()))),
                Step::Property(property, _) => open
                    .last_mut()
                    .unwrap()
                    .properties
                    .push((text(property.name), property.value.to_vec())),
                Step::Leave => {
                    let done = open.pop().unwrap();
                    open.last_mut().unwrap().children.push(done);
                }
                Step::End => return open.remove(0).children.remove(0),
            }
        }
    }

    /// Sets a property, and returns the node.
    pub fn with(mut self, name: &str, value: &[u8]) -> Self {
        self.set(name, value);
        self
    }

    /// Adds a child, and returns the node.
    pub fn with_child(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    /// Sets a property.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        match self.properties.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value.to_vec(),
            None => self.properties.push((name.into(), value.to_vec())),
        }
    }

    /// Removes a property, which must be there.
    pub fn unset(&mut self, name: &str) {
        let at = self.properties.iter().position(|(known, _)| known == name).unwrap();
        self.properties.remove(at);
    }

    /// The value of a property.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, value)| &value[..])
    }

    /// The child of that name, which must be there.
    pub fn at(&mut self, name: &str) -> &mut Self {
        self.children.iter_mut().find(|child| child.name == name).unwrap()
    }

    /// Removes the child of that name, which must be there.
    pub fn remove(&mut self, name: &str) {
        let at = self.children.iter().position(|child| child.name == name).unwrap();
        self.children.remove(at);
    }

    /// Writes the tree.
    pub fn write(&self) -> Vec<u8> {
        self.write_with(&[])
    }

    /// Writes the tree with a memory reservation block.
    pub fn write_with(&self, reservations: &[(u64, u64)]) -> Vec<u8> {
        let mut structure = Vec::new();
        let mut strings = Vec::new();
        self.emit(&mut structure, &mut strings);
        structure.extend(9u32.to_be_bytes());
        blob(reservations, &structure, &strings)
    }

    fn emit(&self, structure: &mut Vec<u8>, strings: &mut Vec<u8>) {
        structure.extend(1u32.to_be_bytes());
        structure.extend(self.name.bytes());
        structure.push(0);
        pad(structure);
        for (name, value) in &self.properties {
            structure.extend(3u32.to_be_bytes());
            structure.extend((value.len() as u32).to_be_bytes());
            structure.extend((strings.len() as u32).to_be_bytes());
            structure.extend(value);
            pad(structure);
            strings.extend(name.bytes());
            strings.push(0);
        }
        for child in &self.children {
            child.emit(structure, strings);
        }
        structure.extend(2u32.to_be_bytes());
    }
}

/// Puts header and blocks together, whatever the blocks hold.
pub fn blob(reservations: &[(u64, u64)], structure: &[u8], strings: &[u8]) -> Vec<u8> {
    let structure_at = 40 + 16 * (reservations.len() + 1);
    let strings_at = structure_at + structure.len();
    let total = strings_at + strings.len();
    let header = [
        0xd00d_feed,
        total,
        structure_at,
        strings_at,
        40,
        17,
        16,
        0,
        strings.len(),
        structure.len(),
    ];
    let mut blob: Vec<u8> = header.iter().flat_map(|word| (*word as u32).to_be_bytes()).collect();
    for (start, size) in reservations.iter().chain(&[(0, 0)]) {
        blob.extend(start.to_be_bytes());
        blob.extend(size.to_be_bytes());
    }
    blob.extend(structure);
    blob.extend(strings);
    blob
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A small machine: two CPUs, 1 GiB at 1 GiB, GICv3, a PL011 on a bus that moves addresses, and
/// a PCI host bridge. Each test breaks one thing in it.
pub fn small_machine() -> Tree {
    let cpu = |number: u32| {
        Tree::new(&format!("cpu@{number}"))
            .with("device_type", b"cpu\0")
            .with("reg", &cells(&[number]))
            .with("enable-method", b"psci\0")
    };
    Tree::new("")
        .with("#address-cells", &cells(&[2]))
        .with("#size-cells", &cells(&[2]))
        .with_child(Tree::new("chosen").with("stdout-path", b"uart0:115200n8\0"))
        .with_child(Tree::new("aliases").with("uart0", b"/soc/serial@9000000\0"))
        .with_child(
            Tree::new("memory@40000000")
                .with("device_type", b"memory\0")
                .with("reg", &numbers(&[0x4000_0000, 0x4000_0000])),
        )
        .with_child(
            Tree::new("cpus")
                .with("#address-cells", &cells(&[1]))
                .with("#size-cells", &cells(&[0]))
                .with_child(cpu(0))
                .with_child(cpu(1)),
        )
        .with_child(
            Tree::new("psci")
                .with("compatible", b"arm,psci-1.0\0arm,psci-0.2\0")
                .with("method", b"smc\0"),
        )
        .with_child(
            Tree::new("timer")
                .with("compatible", b"arm,armv8-timer\0")
                .with("interrupts", &cells(&[1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4])),
        )
        .with_child(
            Tree::new("intc@8000000")
                .with("compatible", b"arm,gic-v3\0")
                .with("#interrupt-cells", &cells(&[3]))
                .with("interrupts", &cells(&[1, 9, 4]))
                .with("reg", &numbers(&[0x800_0000, 0x1_0000, 0x80a_0000, 0x4_0000])),
        )
        .with_child(
            Tree::new("soc")
                .with("compatible", b"simple-bus\0")
                .with("#address-cells", &cells(&[1]))
                .with("#size-cells", &cells(&[1]))
                .with("ranges", &cells(&[0x900_0000, 0, 0x1900_0000, 0x10_0000]))
                .with_child(
                    Tree::new("serial@9000000")
                        .with("compatible", b"arm,pl011\0arm,primecell\0")
                        .with("reg", &cells(&[0x900_0000, 0x1000])),
                ),
        )
        .with_child(
            Tree::new("pcie@10000000")
                .with("device_type", b"pci\0")
                .with("#address-cells", &cells(&[3]))
                .with("#size-cells", &cells(&[2]))
                .with("reg", &numbers(&[0x1_0000_0000, 0x1000_0000]))
                .with(
                    "ranges",
                    &cells(&[0x200_0000, 0, 0x1000_0000, 0, 0x2000_0000, 0, 0x100_0000]),
                )
                .with_child(Tree::new("device@0").with("reg", &cells(&[0; 5]))),
        )
}

/// The small machine with an SMMU in front of its PCI host bridge and of a platform device, an
/// ITS, and devices that are to be withdrawn.
pub fn guarded_machine() -> Tree {
    let mut tree = small_machine().with("interrupt-parent", &cells(&[1]));
    let gic = tree.at("intc@8000000");
    gic.set("phandle", &cells(&[1]));
    gic.set("ranges", b"");
    gic.set("#address-cells", &cells(&[2]));
    gic.set("#size-cells", &cells(&[2]));
    gic.children.push(
        Tree::new("its@8080000")
            .with("compatible", b"arm,gic-v3-its\0")
            .with("reg", &numbers(&[0x808_0000, 0x2_0000])),
    );
    let bridge = tree.at("pcie@10000000");
    bridge.set("compatible", b"pci-host-ecam-generic\0");
    bridge.set("bus-range", &cells(&[0, 255]));
    bridge.set("iommu-map", &cells(&[0, 2, 0, 0x1_0000]));
    let device = |name: &str, compatible: &[u8], reg: &[u64]| {
        Tree::new(name).with("compatible", compatible).with("reg", &numbers(reg))
    };
    tree.children.extend([
        device("smmu@b000000", b"arm,smmu-v3\0", &[0xb00_0000, 0x2_0000])
            .with("phandle", &cells(&[2]))
            .with("#iommu-cells", &cells(&[1]))
            .with("interrupt-names", b"eventq\0priq\0cmdq-sync\0gerror\0")
            .with("interrupts", &cells(&[0, 74, 1, 0, 75, 1, 0, 76, 1, 0, 77, 1])),
        device("dma@b100000", b"vendor,dma\0", &[0xb10_0000, 0x1000])
            .with("iommus", &cells(&[2, 0x2_0001, 2, 0x2_0000])),
        device("fw-cfg@b200000", b"qemu,fw-cfg-mmio\0", &[0xb20_0000, 0x18]),
        device("virtio_mmio@b201000", b"virtio,mmio\0", &[0xb20_1000, 0x200]),
        device("virtio_mmio@b201200", b"virtio,mmio\0", &[0xb20_1200, 0x200]),
    ]);
    tree
}

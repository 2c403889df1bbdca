//! Creation of the virtual machine: each KVM call in order, each failure with its meaning.
//!
//! Decides what is asked of KVM: the type of the virtual machine, a GICv3, PSCI 0.2 and pointer
//! authentication where KVM has it; nothing else. Spec: Linux, Documentation/virt/kvm/api.rst and
//! Documentation/virt/kvm/devices/arm-vgic-v3.rst.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use kvm_bindings::{
    KVM_ARM_VCPU_POWER_OFF, KVM_ARM_VCPU_PSCI_0_2, KVM_ARM_VCPU_PTRAUTH_ADDRESS,
    KVM_ARM_VCPU_PTRAUTH_GENERIC, KVM_CAP_ARM_PTRAUTH_ADDRESS, KVM_CAP_ARM_PTRAUTH_GENERIC,
    KVM_CAP_ARM_VM_IPA_SIZE, KVM_CAP_MAX_VCPUS, KVM_CAP_NR_VCPUS, KVM_DEV_ARM_VGIC_CTRL_INIT,
    KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_GRP_NR_IRQS,
    KVM_VGIC_V3_ADDR_TYPE_DIST, KVM_VGIC_V3_ADDR_TYPE_REDIST, kvm_create_device, kvm_device_attr,
    kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3, kvm_userspace_memory_region, kvm_vcpu_init,
};
use kvm_ioctls::{DeviceFd, Kvm, VcpuFd, VmFd};

use crate::check::missing_capabilities;
use crate::cli::RunArgs;
use crate::kvm_abi::{self, choose_ipa_bits, vm_type};
use crate::layout::{GIC_DISTRIBUTOR, GIC_INTID_COUNT, GIC_REDISTRIBUTOR_BASE, Layout};
use crate::memory::HostMapping;

/// A virtual machine that is ready for its memory to be filled and its registers to be set.
pub struct Machine {
    /// The virtual machine.
    pub vm: Arc<VmFd>,
    /// Its vCPUs; all but the first are off.
    pub vcpus: Vec<VcpuFd>,
    /// Its interrupt controller, which lives as long as this descriptor.
    pub gic: DeviceFd,
}

impl Machine {
    /// Creates a virtual machine over the memory at `ram`. Returns MPIDR_EL1 of each vCPU with it.
    pub fn create(kvm: &Kvm, args: &RunArgs, ram: HostMapping) -> Result<(Self, Vec<u64>)> {
        let query = |number: u32| kvm.check_extension_raw(number.into());
        let missing = missing_capabilities(query);
        ensure!(missing.is_empty(), "KVM lacks what is needed: {}", missing.join(", "));
        check_cpu_count(args.cpus, query)?;

        let vm = Arc::new(create_vm(kvm, args, ram, query)?);
        let gic = create_gic(&vm)?;
        add_memory(&vm, ram)?;
        let features = vcpu_features(query);
        let mut vcpus = Vec::with_capacity(args.cpus as usize);
        let mut mpidrs = Vec::with_capacity(args.cpus as usize);
        for index in 0..args.cpus {
            let vcpu = create_vcpu(&vm, index, features)?;
            mpidrs.push(read_mpidr(&vcpu).with_context(|| format!("vCPU {index}"))?);
            vcpus.push(vcpu);
        }
        init_gic(&gic)?;
        Ok((Self { vm, vcpus, gic }, mpidrs))
    }

    /// Sets the first vCPU's registers as the boot protocol has it: at the kernel's entry, with the
    /// device tree's address in x0, at EL1 with interrupts masked.
    pub fn set_boot_registers(&self, layout: &Layout) -> Result<()> {
        let vcpu = self.vcpus.first().context("a virtual machine has a vCPU")?;
        let registers = [
            (kvm_abi::REG_PSTATE, kvm_abi::PSTATE_EL1H_MASKED),
            (kvm_abi::reg_x(0), layout.fdt.base),
            (kvm_abi::reg_x(1), 0),
            (kvm_abi::reg_x(2), 0),
            (kvm_abi::reg_x(3), 0),
            (kvm_abi::REG_PC, layout.kernel.base),
        ];
        for (register, value) in registers {
            vcpu.set_one_reg(register, &value.to_le_bytes())
                .with_context(|| format!("KVM refuses to set register {register:#x}"))?;
        }
        Ok(())
    }
}

/// Refuses more vCPUs than KVM can have. (More than it recommends work, slowly.)
fn check_cpu_count(cpus: u32, query: impl Fn(u32) -> i32) -> Result<()> {
    let answer = |number| u32::try_from(query(number)).unwrap_or(0);
    // As the KVM documentation has it: no answer to the second means the first, no answer to that
    // means 4.
    let limit = match (answer(KVM_CAP_MAX_VCPUS), answer(KVM_CAP_NR_VCPUS)) {
        (0, 0) => 4,
        (0, recommended) => recommended,
        (most, _) => most,
    };
    ensure!(cpus <= limit, "{cpus} vCPUs are more than the {limit} that KVM can have here");
    Ok(())
}

fn create_vm(
    kvm: &Kvm,
    args: &RunArgs,
    ram: HostMapping,
    query: impl Fn(u32) -> i32,
) -> Result<VmFd> {
    let limit = u32::try_from(query(KVM_CAP_ARM_VM_IPA_SIZE)).unwrap_or(0);
    let bits = choose_ipa_bits(limit, ram.guest.end()).with_context(|| {
        format!(
            "{} MiB of memory do not fit in the {limit} bits of guest physical address that this \
             machine has; use a smaller --memory",
            ram.guest.size >> 20
        )
    })?;
    let protected = args.wants_protection();
    kvm.create_vm_with_type(vm_type(limit, bits, protected)).map_err(|error| {
        if protected && error.errno() == libc::EINVAL {
            anyhow!(
                "this machine's KVM offers no protected virtual machines ({error}). They need \
                 Redoubt as the hypervisor; for an ordinary one, which the host can look into, \
                 use --unprotected"
            )
        } else {
            anyhow!("KVM cannot create a virtual machine: {error}")
        }
    })
}

fn create_gic(vm: &VmFd) -> Result<DeviceFd> {
    let mut request =
        kvm_create_device { type_: kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3, fd: 0, flags: 0 };
    let gic = vm.create_device(&mut request).map_err(|error| match error.errno() {
        libc::ENODEV => anyhow!("KVM has no virtual GICv3 here; this machine's GIC is too old"),
        _ => anyhow!("KVM cannot create a virtual GICv3: {error}"),
    })?;
    for (kind, base) in [
        (KVM_VGIC_V3_ADDR_TYPE_DIST, GIC_DISTRIBUTOR.base),
        (KVM_VGIC_V3_ADDR_TYPE_REDIST, GIC_REDISTRIBUTOR_BASE),
    ] {
        set_attribute(&gic, KVM_DEV_ARM_VGIC_GRP_ADDR, kind, &base)
            .with_context(|| format!("KVM refuses to place the GIC at {base:#x}"))?;
    }
    Ok(gic)
}

fn add_memory(vm: &VmFd, ram: HostMapping) -> Result<()> {
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: ram.guest.base,
        memory_size: ram.guest.size,
        userspace_addr: ram.host_address,
    };
    // SAFETY: the mapping is as long as the region says, and lives until every vCPU has stopped or
    // the process ends: whoever runs the vCPUs owns the RAM.
    unsafe { vm.set_user_memory_region(region) }
        .with_context(|| format!("KVM refuses {} MiB of memory", ram.guest.size >> 20))
}

/// The optional vCPU features that are turned on: pointer authentication, if KVM has both kinds.
fn vcpu_features(query: impl Fn(u32) -> i32) -> u32 {
    let pointer_authentication = [KVM_CAP_ARM_PTRAUTH_ADDRESS, KVM_CAP_ARM_PTRAUTH_GENERIC];
    if pointer_authentication.into_iter().all(|number| query(number) > 0) {
        1 << KVM_ARM_VCPU_PTRAUTH_ADDRESS | 1 << KVM_ARM_VCPU_PTRAUTH_GENERIC
    } else {
        0
    }
}

fn create_vcpu(vm: &VmFd, index: u32, features: u32) -> Result<VcpuFd> {
    let vcpu =
        vm.create_vcpu(index.into()).with_context(|| format!("KVM cannot create vCPU {index}"))?;
    let mut init = kvm_vcpu_init::default();
    vm.get_preferred_target(&mut init).context("KVM names no CPU type for vCPUs")?;
    init.features[0] |= features | 1 << KVM_ARM_VCPU_PSCI_0_2;
    if index > 0 {
        init.features[0] |= 1 << KVM_ARM_VCPU_POWER_OFF;
    }
    vcpu.vcpu_init(&init).with_context(|| format!("KVM cannot initialise vCPU {index}"))?;
    Ok(vcpu)
}

fn read_mpidr(vcpu: &VcpuFd) -> Result<u64> {
    let mut value = [0; 8];
    let size = vcpu
        .get_one_reg(kvm_abi::REG_MPIDR_EL1, &mut value)
        .context("KVM does not tell MPIDR_EL1")?;
    if size != value.len() {
        bail!("KVM gives {size} bytes for MPIDR_EL1");
    }
    Ok(u64::from_le_bytes(value))
}

/// Completes the interrupt controller; after this no vCPU can be added.
fn init_gic(gic: &DeviceFd) -> Result<()> {
    // A model with a fixed number of interrupts need not have the attribute.
    if has_attribute(gic, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0) {
        set_attribute(gic, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &GIC_INTID_COUNT)
            .with_context(|| format!("KVM refuses a GIC with {GIC_INTID_COUNT} interrupts"))?;
    }
    let request = attribute(KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, 0);
    gic.set_device_attr(&request).context("KVM cannot initialise the GIC")
}

fn has_attribute(device: &DeviceFd, group: u32, kind: u32) -> bool {
    device.has_device_attr(&attribute(group, kind, 0)).is_ok()
}

fn set_attribute<T>(device: &DeviceFd, group: u32, kind: u32, value: &T) -> Result<()> {
    let address = std::ptr::from_ref(value) as u64;
    Ok(device.set_device_attr(&attribute(group, kind, address))?)
}

fn attribute(group: u32, kind: u32, address: u64) -> kvm_device_attr {
    kvm_device_attr { flags: 0, group, attr: kind.into(), addr: address }
}

// SPDX-License-Identifier: GPL-2.0
/*
 * The interrupt controller as a KVM device, and its place in the run loop.
 *
 * Registers are written, and pending and active states read, while no vCPU is in
 * the guest: then no list register holds a newer state than the model, and a
 * write takes effect before the instruction that made it has completed, as the
 * architecture has it for GICD_CTLR.RWP. Interrupts are injected without that;
 * a vCPU in the guest is kicked, and loads them when it enters again.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/irqchip/arm-gic-v3.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "redoubt.h"

/* Makes vCPUs, by index, look at their interrupts. */
static void kick_mask(struct rdt_vm *vm, u64 cpus)
{
	for (; cpus; cpus &= cpus - 1)
		rdt_vcpu_kick(vm->vcpus[__ffs64(cpus)]);
}

/* The vCPUs that have something to load. The lock is held. */
static u64 deliverable_mask(struct rdt_vgic *vgic)
{
	u64 cpus = 0;
	unsigned int i;

	for (i = 0; i < vgic->model.nr_cpus; i++)
		if (vgic_deliverable(&vgic->model, vgic->model.cpu[i]))
			cpus |= BIT_ULL(i);
	return cpus;
}

/**
 * rdt_vgic_inject - drives the input of an interrupt
 * @vm: the VM
 * @vcpu: the vCPU of a PPI; not used for an SPI
 * @intid: a PPI, or an SPI
 * @level: the level
 *
 * Return: zero, -EBUSY before the VMM has initialised the controller, -EINVAL if
 * the interrupt does not exist or is not the VMM's.
 */
int rdt_vgic_inject(struct rdt_vm *vm, struct rdt_vcpu *vcpu, u32 intid, bool level)
{
	struct rdt_vgic *vgic = vm->vgic;
	unsigned long flags;
	bool kick = false;
	u64 cpus = 0;

	/* Pairs with the release in vgic_init(). */
	if (!smp_load_acquire(&vgic->ready))
		return -EBUSY;
	if (intid >= vgic->model.nr_irqs || intid > VGIC_LAST_SPI ||
	    intid == vgic->model.hw_intid)
		return -EINVAL;

	raw_spin_lock_irqsave(&vgic->lock, flags);
	if (intid < VGIC_PRIVATE_IRQS) {
		vgic_set_ppi(&vcpu->gic, intid, level);
		kick = level;
	} else {
		cpus = vgic_set_spi(&vgic->model, intid, level);
	}
	raw_spin_unlock_irqrestore(&vgic->lock, flags);

	if (kick)
		rdt_vcpu_kick(vcpu);
	kick_mask(vm, cpus);
	return 0;
}

/**
 * rdt_vgic_sgi - carries out a write to ICC_SGI1R_EL1
 * @vcpu: the vCPU that wrote
 * @sgi1r: the value
 */
void rdt_vgic_sgi(struct rdt_vcpu *vcpu, u64 sgi1r)
{
	struct rdt_vgic *vgic = vcpu->vm->vgic;
	unsigned long flags;
	u64 cpus;

	if (!vgic)
		return;
	raw_spin_lock_irqsave(&vgic->lock, flags);
	cpus = vgic_send_sgi(&vgic->model, &vcpu->gic, sgi1r);
	raw_spin_unlock_irqrestore(&vgic->lock, flags);
	kick_mask(vcpu->vm, cpus);
}

/* Samples the timer of a vCPU that is not in the guest. The lock is held. */
static void sample_timer(struct rdt_vcpu *vcpu)
{
	vgic_set_ppi(&vcpu->gic, rdt_limits.timer_intid, rdt_timer_line(vcpu));
}

/**
 * rdt_vgic_would_wake - tells whether an interrupt would end a WFI
 * @vcpu: the vCPU, not in the guest
 *
 * Return: true if so.
 */
bool rdt_vgic_would_wake(struct rdt_vcpu *vcpu)
{
	struct rdt_vgic *vgic = vcpu->vm->vgic;
	unsigned long flags;
	bool wake;

	if (!vgic)
		return false;
	raw_spin_lock_irqsave(&vgic->lock, flags);
	sample_timer(vcpu);
	wake = vgic_would_wake(&vgic->model, &vcpu->gic);
	raw_spin_unlock_irqrestore(&vgic->lock, flags);
	return wake;
}

/**
 * rdt_vgic_enter - loads the list registers into the page for EL2
 * @vcpu: the vCPU that enters the guest; interrupts are off
 */
void rdt_vgic_enter(struct rdt_vcpu *vcpu)
{
	struct rdt_vgic *vgic = vcpu->vm->vgic;
	struct redoubt_run *entry = vcpu->entry;
	struct vgic_cpu *gic = &vcpu->gic;
	u32 timer = BIT(rdt_limits.timer_intid);
	unsigned int i;
	bool active;

	entry->entry_maintenance = 0;
	entry->entry_lr_count = 0;
	if (!vgic) {
		rdt_timer_set_active(rdt_timer_line(vcpu));
		return;
	}

	raw_spin_lock(&vgic->lock);
	sample_timer(vcpu);
	vgic_load(&vgic->model, gic);
	active = (gic->bank.line | gic->bank.active) & timer;
	raw_spin_unlock(&vgic->lock);

	for (i = 0; i < gic->nr_lrs; i++)
		entry->entry_lr[i] = gic->lr[i];
	entry->entry_lr_count = gic->nr_lrs;
	if (gic->overflow)
		entry->entry_maintenance = REDOUBT_MAINTENANCE_UNDERFLOW;
	rdt_timer_set_active(active);
}

/**
 * rdt_vgic_exit - takes the list registers back
 * @vcpu: the vCPU; interrupts are off
 * @ran: it was in the guest, else EL2 refused
 */
void rdt_vgic_exit(struct rdt_vcpu *vcpu, bool ran)
{
	struct rdt_vgic *vgic = vcpu->vm->vgic;
	struct vgic_cpu *gic = &vcpu->gic;
	unsigned int i;

	if (!vgic)
		return;

	/* The guest deactivated the timer's interrupt, and so the physical one. */
	for (i = 0; ran && i < gic->nr_lrs; i++)
		if ((gic->lr[i] & VGIC_LR_HW) &&
		    !(vcpu->entry->exit_lr[i] & (VGIC_LR_PENDING | VGIC_LR_ACTIVE)))
			rdt_timer_deactivated();

	raw_spin_lock(&vgic->lock);
	vgic_fold(&vgic->model, gic, ran ? vcpu->entry->exit_lr : gic->lr);
	if (ran)
		gic->vmcr = vcpu->entry->exit_vmcr;
	raw_spin_unlock(&vgic->lock);
}

/* Reads of these must see what is in list registers. */
static bool is_live(u32 offset)
{
	return offset >= GICD_ISPENDR && offset < GICD_IPRIORITYR;
}

/**
 * rdt_vgic_mmio - carries out an access to the controller's registers
 * @vcpu: the vCPU that made it
 * @gpa: the address
 * @len: size in bytes
 * @write: a write, else a read
 * @data: what is written, or receives what is read
 *
 * Return: false if there is no such register frame there.
 */
bool rdt_vgic_mmio(struct rdt_vcpu *vcpu, u64 gpa, unsigned int len, bool write,
		   u64 *data)
{
	struct rdt_vm *vm = vcpu->vm;
	struct rdt_vgic *vgic = vm->vgic;
	bool dist, pause;
	unsigned long flags;
	unsigned int index;
	u64 cpus = 0;
	u32 offset;

	if (!vgic)
		return false;
	dist = gpa - vgic->dist_base < VGIC_DIST_SIZE;
	index = (gpa - vgic->redist_base) / VGIC_REDIST_SIZE;
	if (dist)
		offset = gpa - vgic->dist_base;
	else if (gpa >= vgic->redist_base && index < vgic->model.nr_cpus)
		offset = (gpa - vgic->redist_base) % VGIC_REDIST_SIZE;
	else
		return false;

	/* The registers of the redistributor's second frame are laid out alike. */
	pause = write || is_live(offset % SZ_64K);
	if (pause)
		rdt_vm_pause(vm);
	raw_spin_lock_irqsave(&vgic->lock, flags);
	if (!dist && pause)
		sample_timer(vm->vcpus[index]);
	if (dist && write)
		vgic_dist_write(&vgic->model, offset, len, *data);
	else if (dist)
		*data = vgic_dist_read(&vgic->model, offset, len);
	else if (write)
		vgic_redist_write(&vgic->model, index, offset, len, *data);
	else
		*data = vgic_redist_read(&vgic->model, index, offset, len);
	if (write)
		cpus = deliverable_mask(vgic);
	raw_spin_unlock_irqrestore(&vgic->lock, flags);
	if (pause)
		rdt_vm_resume(vm);

	kick_mask(vm, cpus);
	return true;
}

/**
 * rdt_vgic_check - checks that the controller is complete before the VM starts
 * @vm: the VM, its lock held
 *
 * Return: zero, also if there is none; else what KVM would return.
 */
int rdt_vgic_check(struct rdt_vm *vm)
{
	struct rdt_vgic *vgic = vm->vgic;
	u64 redist_size;

	if (!vgic)
		return 0;
	if (vgic->dist_base == RDT_NO_ADDRESS || vgic->redist_base == RDT_NO_ADDRESS)
		return -ENXIO;
	if (!vgic->ready)
		return -EBUSY;

	redist_size = (u64)vgic->model.nr_cpus * VGIC_REDIST_SIZE;
	if (vgic->redist_base + redist_size > BIT_ULL(vm->ipa_bits))
		return -E2BIG;
	if (vgic->dist_base < vgic->redist_base + redist_size &&
	    vgic->redist_base < vgic->dist_base + VGIC_DIST_SIZE)
		return -EINVAL;
	return 0;
}

/* KVM_DEV_ARM_VGIC_CTRL_INIT: from here on, interrupts can be injected. */
static int vgic_init(struct rdt_vm *vm)
{
	struct rdt_vgic *vgic = vm->vgic;
	unsigned int i;

	if (vgic->ready)
		return 0;
	if (!vgic->model.nr_irqs)
		vgic->model.nr_irqs = VGIC_DEFAULT_IRQS;
	for (i = 0; i < vm->nr_vcpus; i++)
		vgic->model.cpu[i] = &vm->vcpus[i]->gic;
	vgic->model.nr_cpus = vm->nr_vcpus;
	vgic_route_all(&vgic->model);
	/* Pairs with the acquire in rdt_vgic_inject(). */
	smp_store_release(&vgic->ready, true);
	return 0;
}

static int set_address(struct rdt_vm *vm, u64 *base, u64 size, u64 address)
{
	if (*base != RDT_NO_ADDRESS)
		return -EEXIST;
	if (!IS_ALIGNED(address, SZ_64K) || address + size < address)
		return -EINVAL;
	if (address + size > BIT_ULL(vm->ipa_bits))
		return -E2BIG;
	*base = address;
	return 0;
}

static u64 *address_of(struct rdt_vgic *vgic, u64 attr, u64 *size)
{
	switch (attr) {
	case KVM_VGIC_V3_ADDR_TYPE_DIST:
		*size = VGIC_DIST_SIZE;
		return &vgic->dist_base;
	case KVM_VGIC_V3_ADDR_TYPE_REDIST:
		*size = VGIC_REDIST_SIZE;
		return &vgic->redist_base;
	default:
		return NULL;
	}
}

static int set_nr_irqs(struct rdt_vgic *vgic, u32 nr_irqs)
{
	if (nr_irqs < VGIC_PRIVATE_IRQS + 32 || nr_irqs > VGIC_MAX_IRQS ||
	    nr_irqs % VGIC_BANK_IRQS)
		return -EINVAL;
	if (vgic->model.nr_irqs)
		return -EBUSY;
	vgic->model.nr_irqs = nr_irqs;
	return 0;
}

static int set_attr(struct rdt_vm *vm, const struct kvm_device_attr *attr)
{
	void __user *user = (void __user *)(unsigned long)attr->addr;
	struct rdt_vgic *vgic = vm->vgic;
	u64 address, size, *base;
	u32 nr_irqs;
	int ret = -ENXIO;

	switch (attr->group) {
	case KVM_DEV_ARM_VGIC_GRP_ADDR:
		base = address_of(vgic, attr->attr, &size);
		if (!base)
			return -ENXIO;
		if (copy_from_user(&address, user, sizeof(address)))
			return -EFAULT;
		mutex_lock(&vm->lock);
		ret = set_address(vm, base, size, address);
		mutex_unlock(&vm->lock);
		return ret;
	case KVM_DEV_ARM_VGIC_GRP_NR_IRQS:
		if (copy_from_user(&nr_irqs, user, sizeof(nr_irqs)))
			return -EFAULT;
		mutex_lock(&vm->lock);
		ret = set_nr_irqs(vgic, nr_irqs);
		mutex_unlock(&vm->lock);
		return ret;
	case KVM_DEV_ARM_VGIC_GRP_CTRL:
		if (attr->attr != KVM_DEV_ARM_VGIC_CTRL_INIT)
			return -ENXIO;
		mutex_lock(&vm->lock);
		ret = vgic_init(vm);
		mutex_unlock(&vm->lock);
		return ret;
	default:
		return -ENXIO;
	}
}

static int get_attr(struct rdt_vm *vm, const struct kvm_device_attr *attr)
{
	void __user *user = (void __user *)(unsigned long)attr->addr;
	struct rdt_vgic *vgic = vm->vgic;
	u64 address, size, *base;
	u32 nr_irqs;

	switch (attr->group) {
	case KVM_DEV_ARM_VGIC_GRP_ADDR:
		base = address_of(vgic, attr->attr, &size);
		if (!base)
			return -ENXIO;
		address = READ_ONCE(*base);
		return copy_to_user(user, &address, sizeof(address)) ? -EFAULT : 0;
	case KVM_DEV_ARM_VGIC_GRP_NR_IRQS:
		nr_irqs = READ_ONCE(vgic->model.nr_irqs) ?: VGIC_PRIVATE_IRQS;
		return copy_to_user(user, &nr_irqs, sizeof(nr_irqs)) ? -EFAULT : 0;
	default:
		return -ENXIO;
	}
}

static int has_attr(struct rdt_vm *vm, const struct kvm_device_attr *attr)
{
	u64 size;

	switch (attr->group) {
	case KVM_DEV_ARM_VGIC_GRP_ADDR:
		return address_of(vm->vgic, attr->attr, &size) ? 0 : -ENXIO;
	case KVM_DEV_ARM_VGIC_GRP_NR_IRQS:
		return 0;
	case KVM_DEV_ARM_VGIC_GRP_CTRL:
		return attr->attr == KVM_DEV_ARM_VGIC_CTRL_INIT ? 0 : -ENXIO;
	default:
		return -ENXIO;
	}
}

static long device_ioctl(struct file *file, unsigned int ioctl, unsigned long arg)
{
	struct rdt_vm *vm = file->private_data;
	struct kvm_device_attr attr;
	int (*handle)(struct rdt_vm *vm, const struct kvm_device_attr *attr);

	if (vm->mm != current->mm)
		return -EIO;

	switch (ioctl) {
	case KVM_SET_DEVICE_ATTR:
		handle = set_attr;
		break;
	case KVM_GET_DEVICE_ATTR:
		handle = get_attr;
		break;
	case KVM_HAS_DEVICE_ATTR:
		handle = has_attr;
		break;
	default:
		return -ENOTTY;
	}
	if (copy_from_user(&attr, (void __user *)arg, sizeof(attr)))
		return -EFAULT;
	/* KVM defines no flag, and ignores them for the GIC. */
	return handle(vm, &attr);
}

static int device_release(struct inode *inode, struct file *file)
{
	rdt_vm_put(file->private_data);
	return 0;
}

static const struct file_operations device_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = device_ioctl,
	.release = device_release,
	.llseek = noop_llseek,
};

static struct rdt_vgic *vgic_alloc(void)
{
	struct rdt_vgic *vgic = kvzalloc(sizeof(*vgic), GFP_KERNEL_ACCOUNT);

	if (!vgic)
		return NULL;
	raw_spin_lock_init(&vgic->lock);
	vgic->dist_base = RDT_NO_ADDRESS;
	vgic->redist_base = RDT_NO_ADDRESS;
	vgic_reset(&vgic->model, rdt_limits.list_registers, rdt_limits.timer_intid);
	return vgic;
}

/**
 * rdt_vgic_create_device - KVM_CREATE_DEVICE
 * @vm: the VM
 * @device: what to create; receives the file descriptor
 *
 * Return: zero or a negative errno.
 */
int rdt_vgic_create_device(struct rdt_vm *vm, struct kvm_create_device *device)
{
	struct rdt_vgic *vgic;
	struct file *file;
	int fd, ret;

	if (device->type != KVM_DEV_TYPE_ARM_VGIC_V3)
		return -ENODEV;
	if (device->flags & KVM_CREATE_DEVICE_TEST)
		return 0;

	vgic = vgic_alloc();
	if (!vgic)
		return -ENOMEM;
	fd = get_unused_fd_flags(O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		ret = fd;
		goto free_vgic;
	}
	file = anon_inode_getfile("kvm-arm-vgic-v3", &device_fops, vm, O_RDWR);
	if (IS_ERR(file)) {
		ret = PTR_ERR(file);
		goto put_fd;
	}
	kref_get(&vm->users);

	mutex_lock(&vm->lock);
	ret = vm->vgic ? -EEXIST : vm->started ? -EBUSY : 0;
	if (!ret)
		WRITE_ONCE(vm->vgic, vgic);
	mutex_unlock(&vm->lock);
	if (ret)
		goto put_file;

	fd_install(fd, file);
	device->fd = fd;
	return 0;

put_file:
	/* Drops the reference to the VM, too. */
	fput(file);
put_fd:
	put_unused_fd(fd);
free_vgic:
	kvfree(vgic);
	return ret;
}

/**
 * rdt_vgic_free - frees the controller
 * @vm: the VM
 */
void rdt_vgic_free(struct rdt_vm *vm)
{
	kvfree(vm->vgic);
	vm->vgic = NULL;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * VM file descriptor: creation, start and teardown.
 *
 * What EL2 has is given back to Linux only after EL2 has confirmed it. Should it
 * refuse, the pages are lost until the next reboot: Linux must not touch them.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "hyp.h"
#include "redoubt.h"

/* KVM_VM_TYPE_ARM_PROTECTED, which is newer than these headers. */
#define VM_TYPE_PROTECTED	BIT(31)
/* IPA size of type 0. */
#define DEFAULT_IPA_BITS	40
#define MIN_IPA_BITS		32
/* With more address bits the stage-2 table starts with two pages. */
#define ONE_ROOT_PAGE_BITS	39

/* VM_DESTROY is tried this often, a millisecond apart, while EL2 is busy. */
#define DESTROY_TRIES		100

static bool protected_only;
module_param(protected_only, bool, 0644);
MODULE_PARM_DESC(protected_only, "Make every VM a protected one, whatever the VMM asks for");

/**
 * rdt_donate_alloc - allocates pages that are going to be EL2's
 * @vm: the VM they are for
 * @order: how many
 *
 * They are freed when EL2 has given up the VM, or by rdt_donate_abort() if the
 * call that should have donated them was refused.
 *
 * Return: the first page, or NULL.
 */
struct page *rdt_donate_alloc(struct rdt_vm *vm, unsigned int order)
{
	struct page *page = alloc_pages(GFP_KERNEL_ACCOUNT | __GFP_ZERO, order);

	if (!page)
		return NULL;
	set_page_private(page, order);
	list_add(&page->lru, &vm->donated);
	return page;
}

/**
 * rdt_donate_abort - frees pages that EL2 did not take
 * @page: as rdt_donate_alloc() returned it
 */
void rdt_donate_abort(struct page *page)
{
	unsigned int order = page_private(page);

	list_del(&page->lru);
	set_page_private(page, 0);
	__free_pages(page, order);
}

/**
 * rdt_vm_pause - waits until no vCPU is in the guest, and keeps it so
 * @vm: the VM
 *
 * A vCPU is in the guest only with interrupts off, so this takes no longer than
 * an interrupt to the CPU it is on.
 */
void rdt_vm_pause(struct rdt_vm *vm)
{
	unsigned int i;

	atomic_inc(&vm->pauses);
	smp_mb__after_atomic();	/* pairs with the one in vcpu_enter() */

	for (i = 0; i < rdt_nr_vcpus(vm); i++) {
		struct rdt_vcpu *vcpu = vm->vcpus[i];

		if (READ_ONCE(vcpu->in_guest))
			rdt_vcpu_kick(vcpu);
		/* Acquire: see what the vCPU wrote to its list registers. */
		smp_cond_load_acquire(&vcpu->in_guest, !VAL);
	}
}

/**
 * rdt_vm_resume - lets the vCPUs run again
 * @vm: the VM
 */
void rdt_vm_resume(struct rdt_vm *vm)
{
	if (atomic_dec_and_test(&vm->pauses))
		wake_up_all(&vm->resumed);
}

/**
 * rdt_vcpu_by_id - finds a vCPU
 * @vm: the VM
 * @id: its number
 *
 * Return: the vCPU, or NULL.
 */
struct rdt_vcpu *rdt_vcpu_by_id(struct rdt_vm *vm, unsigned int id)
{
	unsigned int i;

	for (i = 0; i < rdt_nr_vcpus(vm); i++)
		if (vm->vcpus[i]->id == id)
			return vm->vcpus[i];
	return NULL;
}

/**
 * rdt_vm_start - prepares for the first run of a vCPU
 * @vm: the VM
 *
 * Return: zero if vCPUs may run.
 */
int rdt_vm_start(struct rdt_vm *vm)
{
	int ret = 0;

	if (mutex_lock_killable(&vm->lock))
		return -EINTR;
	if (vm->broken) {
		ret = -EIO;
	} else if (!vm->started) {
		ret = rdt_vgic_check(vm);
		if (!ret)
			ret = rdt_mem_check(vm);
		if (!ret) {
			ret = rdt_mem_start(vm);
			vm->broken = ret;
			/* Other vCPUs that are on may enter from here on. */
			WRITE_ONCE(vm->started, true);
		}
	}
	mutex_unlock(&vm->lock);
	return ret;
}

/* Takes the VM away from EL2. Returns zero when EL2 has given back every page. */
static int destroy_at_el2(struct rdt_vm *vm)
{
	long status;
	u64 more = 1;
	int tries;

	for (tries = 0; tries < DESTROY_TRIES; tries++) {
		status = hyp_vm_destroy(vm->handle);
		if (status != REDOUBT_STATUS_BUSY)
			break;
		msleep(1);
	}
	if (status)
		return hyp_errno(REDOUBT_VM_DESTROY, vm->handle, 0, status);

	for (tries = 0; more; cond_resched()) {
		status = hyp_vm_reclaim(vm->handle, &more);
		if (status == REDOUBT_STATUS_BUSY && tries++ < DESTROY_TRIES) {
			more = 1;
			msleep(1);
		} else if (status) {
			return hyp_errno(REDOUBT_VM_RECLAIM, vm->handle, 0, status);
		}
	}
	return 0;
}

static void vm_free(struct kref *users)
{
	struct rdt_vm *vm = container_of(users, struct rdt_vm, users);
	struct page *page, *next;
	unsigned int i;

	if (destroy_at_el2(vm)) {
		/* EL2 may still own or use every one of these pages. */
		pr_crit("EL2 did not give up VM %#llx: %lu pages are lost until reboot\n",
			vm->handle, vm->pinned);
		return;
	}

	rdt_mem_release(vm);
	for (i = 0; i < vm->nr_vcpus; i++)
		rdt_vcpu_free(vm->vcpus[i]);
	list_for_each_entry_safe(page, next, &vm->donated, lru)
		rdt_donate_abort(page);
	rdt_vgic_free(vm);
	mmdrop(vm->mm);
	kvfree(vm);
}

/**
 * rdt_vm_put - drops a reference, and tears down the VM with the last one
 * @vm: the VM
 */
void rdt_vm_put(struct rdt_vm *vm)
{
	kref_put(&vm->users, vm_free);
}

static int vm_ioctl_irq_line(struct rdt_vm *vm, void __user *arg)
{
	struct kvm_irq_level level;

	if (copy_from_user(&level, arg, sizeof(level)))
		return -EFAULT;
	return rdt_irq_line(vm, &level);
}

static int vm_ioctl_set_memory(struct rdt_vm *vm, void __user *arg)
{
	struct kvm_userspace_memory_region region;

	if (copy_from_user(&region, arg, sizeof(region)))
		return -EFAULT;
	return rdt_mem_set_region(vm, &region);
}

static int vm_ioctl_create_device(struct rdt_vm *vm, void __user *arg)
{
	struct kvm_create_device device;
	int ret;

	if (copy_from_user(&device, arg, sizeof(device)))
		return -EFAULT;
	ret = rdt_vgic_create_device(vm, &device);
	if (ret)
		return ret;
	return copy_to_user(arg, &device, sizeof(device)) ? -EFAULT : 0;
}

static int vm_ioctl_preferred_target(void __user *arg)
{
	struct kvm_vcpu_init init = { .target = KVM_ARM_TARGET_GENERIC_V8 };

	return copy_to_user(arg, &init, sizeof(init)) ? -EFAULT : 0;
}

static long vm_ioctl(struct file *file, unsigned int ioctl, unsigned long arg)
{
	struct rdt_vm *vm = file->private_data;
	void __user *argp = (void __user *)arg;

	if (vm->mm != current->mm)
		return -EIO;

	switch (ioctl) {
	case KVM_CHECK_EXTENSION:
		return rdt_check_extension(arg);
	case KVM_CREATE_VCPU:
		return rdt_vcpu_create(vm, arg);
	case KVM_SET_USER_MEMORY_REGION:
		return vm_ioctl_set_memory(vm, argp);
	case KVM_CREATE_DEVICE:
		return vm_ioctl_create_device(vm, argp);
	case KVM_IRQ_LINE:
		return vm_ioctl_irq_line(vm, argp);
	case KVM_ARM_PREFERRED_TARGET:
		return vm_ioctl_preferred_target(argp);
	default:
		return -ENOTTY;
	}
}

static int vm_release(struct inode *inode, struct file *file)
{
	rdt_vm_put(file->private_data);
	return 0;
}

static const struct file_operations vm_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = vm_ioctl,
	.release = vm_release,
	.llseek = noop_llseek,
};

/* Makes the VM known to EL2. */
static int create_at_el2(struct rdt_vm *vm)
{
	struct page *root = rdt_donate_alloc(vm, vm->ipa_bits > ONE_ROOT_PAGE_BITS);
	int ret;

	if (!root)
		return -ENOMEM;
	ret = hyp_vm_create(vm->protected ? REDOUBT_VM_PROTECTED : 0, vm->ipa_bits,
			    rdt_limits.vcpus, page_to_pfn(root), &vm->handle);
	if (ret)
		rdt_donate_abort(root);
	return ret;
}

/**
 * rdt_vm_create - KVM_CREATE_VM
 * @type: type of the VM
 *
 * Return: a file descriptor or a negative errno.
 */
int rdt_vm_create(unsigned long type)
{
	unsigned int ipa_bits = type & KVM_VM_TYPE_ARM_IPA_SIZE_MASK;
	struct rdt_vm *vm;
	int ret;

	if (type & ~(KVM_VM_TYPE_ARM_IPA_SIZE_MASK | VM_TYPE_PROTECTED))
		return -EINVAL;
	if (!ipa_bits)
		ipa_bits = min_t(unsigned int, DEFAULT_IPA_BITS, rdt_limits.ipa_bits);
	if (ipa_bits < MIN_IPA_BITS || ipa_bits > rdt_limits.ipa_bits)
		return -EINVAL;

	vm = kvzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	if (!vm)
		return -ENOMEM;
	kref_init(&vm->users);
	mutex_init(&vm->lock);
	INIT_LIST_HEAD(&vm->donated);
	init_waitqueue_head(&vm->resumed);
	vm->ipa_bits = ipa_bits;
	vm->protected = (type & VM_TYPE_PROTECTED) || protected_only;
	vm->unlimited = capable(CAP_IPC_LOCK);

	if (vm->protected && !rdt_limits.protected) {
		pr_warn_ratelimited("this machine does not offer protected VMs\n");
		rdt_dma_explain();
		ret = -ENODEV;
		goto free;
	}

	ret = create_at_el2(vm);
	if (ret)
		goto free;

	vm->mm = current->mm;
	mmgrab(vm->mm);
	ret = anon_inode_getfd("kvm-vm", &vm_fops, vm, O_RDWR | O_CLOEXEC);
	if (ret < 0)
		rdt_vm_put(vm);
	return ret;

free:
	kvfree(vm);
	return ret;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * vCPU file descriptor: the run loop and what follows from each exit.
 *
 * How a vCPU is brought out of the guest: whoever wants something of it first
 * stores that (an interrupt in the vGIC, a count in rdt_vm.pauses), then kicks.
 * The vCPU first sets in_guest, then, with interrupts off, looks for reasons not
 * to enter; EL2 returns as soon as a physical interrupt is pending, be it that
 * of the kick. So either the vCPU sees the reason, or the kicker sees in_guest.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/anon_inodes.h>
#include <linux/context_tracking.h>
#include <linux/entry-kvm.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/unaligned.h>
#include <linux/vtime.h>
#include <asm/barrier.h>
#include <asm/neon.h>

#include "hyp.h"
#include "redoubt.h"
#include "xfer.h"

/* Features that a VMM may ask for; PSCI is always at least version 1.0. */
#define FEATURES	(BIT(KVM_ARM_VCPU_POWER_OFF) | BIT(KVM_ARM_VCPU_PSCI_0_2))

/* What the run loop does after an exit: go on, or return this to the VMM. */
#define STAY		1
#define TO_VMM		0

/**
 * rdt_vcpu_kick - makes a vCPU look at what it is to do
 * @vcpu: the vCPU, in the guest or asleep; else it will look anyway
 */
void rdt_vcpu_kick(struct rdt_vcpu *vcpu)
{
	struct task_struct *task;

	rcuwait_wake_up(&vcpu->wait);

	rcu_read_lock();
	task = READ_ONCE(vcpu->task);
	if (task && READ_ONCE(vcpu->in_guest))
		kick_process(task);
	rcu_read_unlock();
}

static bool must_not_enter(struct rdt_vcpu *vcpu)
{
	return xfer_to_guest_mode_work_pending() || atomic_read(&vcpu->vm->pauses);
}

/*
 * Leaves the host's context for the guest's and comes back. Between the two RCU
 * does not watch this CPU, so nothing here may be traced or probed.
 */
static noinstr long run_in_guest(u64 handle, unsigned int id, u64 *reason)
{
	long status;

	instrumentation_begin();
	vtime_account_guest_enter();
	trace_hardirqs_on_prepare();
	lockdep_hardirqs_on_prepare();
	instrumentation_end();
	if (!context_tracking_guest_enter()) {
		instrumentation_begin();
		rcu_virt_note_context_switch();
		instrumentation_end();
	}
	lockdep_hardirqs_on(CALLER_ADDR0);

	status = hyp_vcpu_run(handle, id, reason);

	lockdep_hardirqs_off(CALLER_ADDR0);
	if (!context_tracking_guest_exit()) {
		instrumentation_begin();
		rcu_virt_note_context_switch();
		instrumentation_end();
	}
	instrumentation_begin();
	trace_hardirqs_off_finish();
	instrumentation_end();
	return status;
}

/*
 * Enters the guest once. Returns true if it ran, or EL2 refused, with the status;
 * false if something is to be done first.
 */
static bool vcpu_enter(struct rdt_vcpu *vcpu, long *status, u64 *reason)
{
	struct redoubt_run *entry = vcpu->entry;
	bool ran;

	/* Saves what this thread has in the FP, SVE and SME registers. */
	kernel_neon_begin();
	local_irq_disable();
	xfer_to_guest_mode_prepare();

	WRITE_ONCE(vcpu->in_guest, true);
	smp_mb();	/* pairs with that in rdt_vm_pause() and rcuwait_wake_up() */
	if (must_not_enter(vcpu)) {
		/* Pairs with the acquire in rdt_vm_pause(). */
		smp_store_release(&vcpu->in_guest, false);
		local_irq_enable();
		kernel_neon_end();
		return false;
	}

	entry->entry_flags = vcpu->entry_flags;
	entry->entry_mmio_data = vcpu->mmio_data;
	rdt_vgic_enter(vcpu);

	*status = run_in_guest(vcpu->vm->handle, vcpu->id, reason);

	ran = !*status;
	if (ran) {
		vcpu->entry_flags = 0;
		vcpu->has_run = true;
		vcpu->timer_ctl = entry->exit_timer_ctl;
		vcpu->timer_deadline = entry->exit_timer_deadline;
	}
	rdt_vgic_exit(vcpu, ran);
	/* Pairs with the acquire in rdt_vm_pause(): the list registers are folded. */
	smp_store_release(&vcpu->in_guest, false);

	/* A tick that made the guest exit is charged to the guest. */
	local_irq_enable();
	isb();
	local_irq_disable();
	vtime_account_guest_exit();
	local_irq_enable();
	kernel_neon_end();
	return true;
}

/* Sleeps until @condition, a signal, or the time that @deadline points to. */
#define vcpu_sleep(vcpu, condition, deadline)					\
do {										\
	ktime_t *__deadline = (deadline);					\
										\
	prepare_to_rcuwait(&(vcpu)->wait);					\
	for (;;) {								\
		set_current_state(TASK_INTERRUPTIBLE);				\
		if ((condition) || signal_pending(current))				\
			break;							\
		if (!__deadline)						\
			schedule();						\
		else if (!schedule_hrtimeout(__deadline, HRTIMER_MODE_ABS))	\
			break;							\
	}									\
	finish_rcuwait(&(vcpu)->wait);						\
} while (0)

/* Waits for an interrupt, be it that of the guest's timer. */
static void wait_for_interrupt(struct rdt_vcpu *vcpu)
{
	ktime_t expiry;
	bool timer = rdt_timer_expiry(vcpu, &expiry);

	vcpu_sleep(vcpu, rdt_vgic_would_wake(vcpu), timer ? &expiry : NULL);
}

/* Waits until another vCPU has switched this one on since @power_ons was read. */
static void wait_for_power(struct rdt_vcpu *vcpu, int power_ons)
{
	vcpu_sleep(vcpu, atomic_read(&vcpu->power_ons) != power_ons, NULL);
}

static int exit_system_event(struct rdt_vcpu *vcpu, u32 type, u64 flags)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
	memset(&run->system_event, 0, sizeof(run->system_event));
	run->system_event.type = type;
	run->system_event.ndata = 1;
	run->system_event.data[0] = flags;
	return TO_VMM;
}

static int exit_internal_error(struct rdt_vcpu *vcpu, u32 suberror, u64 data)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = suberror;
	run->internal.ndata = 1;
	run->internal.data[0] = data;
	return TO_VMM;
}

static int exit_memory_fault(struct rdt_vcpu *vcpu, u64 gpa, int error)
{
	struct kvm_run *run = vcpu->run;

	pr_warn_ratelimited("VM %#llx: no memory for %#llx: error %d\n",
			    vcpu->vm->handle, gpa, error);
	run->exit_reason = KVM_EXIT_MEMORY_FAULT;
	run->memory_fault.flags = 0;
	run->memory_fault.gpa = round_down(gpa, PAGE_SIZE);
	run->memory_fault.size = PAGE_SIZE;
	return error;
}

static int handle_memory(struct rdt_vcpu *vcpu, u64 gpa)
{
	int ret = rdt_mem_fault(vcpu->vm, gpa);

	switch (ret) {
	case 0:
		return STAY;
	case -ENOENT:
		/* Nothing there: the guest takes an external abort. */
		vcpu->entry_flags = REDOUBT_ENTRY_ABORT;
		return STAY;
	case -EINTR:
		/* The guest tries again; the run loop sees the signal. */
		return STAY;
	default:
		return exit_memory_fault(vcpu, gpa, ret);
	}
}

static u64 load_le(const u8 *data, unsigned int len)
{
	switch (len) {
	case 1:
		return *data;
	case 2:
		return get_unaligned_le16(data);
	case 4:
		return get_unaligned_le32(data);
	default:
		return get_unaligned_le64(data);
	}
}

static int handle_mmio(struct rdt_vcpu *vcpu, bool write)
{
	struct kvm_run *run = vcpu->run;
	u64 gpa = vcpu->entry->exit_args[0];
	u64 len = vcpu->entry->exit_args[1];
	u64 data = write ? vcpu->entry->exit_args[2] : 0;

	if (len != 1 && len != 2 && len != 4 && len != 8) {
		pr_err_ratelimited("EL2 reported an MMIO access of %llu bytes\n", len);
		return exit_internal_error(vcpu, KVM_INTERNAL_ERROR_EMULATION, len);
	}

	if (rdt_vgic_mmio(vcpu, gpa, len, write, &data)) {
		vcpu->entry_flags = REDOUBT_ENTRY_MMIO_DONE;
		vcpu->mmio_data = data;
		return STAY;
	}

	/* EL2 does not know slots that came after the VM was started. */
	if (!vcpu->vm->protected && rdt_mem_has(vcpu->vm, gpa))
		return handle_memory(vcpu, gpa);

	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = gpa;
	run->mmio.len = len;
	run->mmio.is_write = write;
	memset(run->mmio.data, 0, sizeof(run->mmio.data));
	if (write)
		put_unaligned_le64(data, run->mmio.data);
	vcpu->mmio_pending = true;
	return TO_VMM;
}

/* The VMM has done what the last KVM_EXIT_MMIO asked for. */
static void complete_mmio(struct rdt_vcpu *vcpu)
{
	if (!vcpu->mmio_pending)
		return;
	vcpu->mmio_pending = false;
	vcpu->entry_flags = REDOUBT_ENTRY_MMIO_DONE;
	vcpu->mmio_data = 0;
	/* The length is EL2's, as the VMM may have changed its own. */
	if (vcpu->entry->exit_reason == REDOUBT_EXIT_MMIO_READ)
		vcpu->mmio_data = load_le(vcpu->run->mmio.data,
					  vcpu->entry->exit_args[1]);
}

static int handle_cpu_on(struct rdt_vcpu *vcpu)
{
	struct rdt_vcpu *target = rdt_vcpu_by_id(vcpu->vm, vcpu->entry->exit_args[0]);

	if (target) {
		atomic_inc(&target->power_ons);
		rdt_vcpu_kick(target);
	}
	return STAY;
}

static int handle_exit(struct rdt_vcpu *vcpu, u64 reason)
{
	const u64 *args = vcpu->entry->exit_args;

	switch (reason) {
	case REDOUBT_EXIT_INTERRUPT:
	case REDOUBT_EXIT_CPU_OFF:
		return STAY;
	case REDOUBT_EXIT_WAIT_FOR_INTERRUPT:
		wait_for_interrupt(vcpu);
		return STAY;
	case REDOUBT_EXIT_WAIT_FOR_EVENT:
		/* Most likely it spins on a lock whose holder wants to run. */
		yield();
		return STAY;
	case REDOUBT_EXIT_MMIO_READ:
		return handle_mmio(vcpu, false);
	case REDOUBT_EXIT_MMIO_WRITE:
		return handle_mmio(vcpu, true);
	case REDOUBT_EXIT_MEMORY_FAULT:
		return handle_memory(vcpu, args[0]);
	case REDOUBT_EXIT_SOFTWARE_INTERRUPT:
		rdt_vgic_sgi(vcpu, args[0]);
		return STAY;
	case REDOUBT_EXIT_CPU_ON:
		return handle_cpu_on(vcpu);
	case REDOUBT_EXIT_SYSTEM_OFF:
		return exit_system_event(vcpu, KVM_SYSTEM_EVENT_SHUTDOWN, 0);
	case REDOUBT_EXIT_SYSTEM_RESET:
		return exit_system_event(vcpu, KVM_SYSTEM_EVENT_RESET, args[0] ?
					 KVM_SYSTEM_EVENT_RESET_FLAG_PSCI_RESET2 : 0);
	case REDOUBT_EXIT_INTERNAL_ERROR:
		pr_err_ratelimited("VM %#llx vCPU %u cannot go on, ESR %#llx\n",
				   vcpu->vm->handle, vcpu->id, args[0]);
		return exit_internal_error(vcpu, KVM_INTERNAL_ERROR_EMULATION, args[0]);
	case REDOUBT_EXIT_SYSTEM_ERROR:
		pr_err_ratelimited("VM %#llx vCPU %u took an SError\n",
				   vcpu->vm->handle, vcpu->id);
		return exit_internal_error(vcpu, KVM_INTERNAL_ERROR_DELIVERY_EV, reason);
	default:
		pr_err_ratelimited("EL2 returned the unknown exit %llu\n", reason);
		return exit_internal_error(vcpu,
					   KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
					   reason);
	}
}

/* Runs until the VMM has something to do. */
static int run_loop(struct rdt_vcpu *vcpu)
{
	struct rdt_vm *vm = vcpu->vm;
	int ret = STAY;

	while (ret == STAY) {
		int power_ons = atomic_read(&vcpu->power_ons);
		u64 reason;
		long status;

		if (__xfer_to_guest_mode_work_pending()) {
			ret = rdt_xfer_work(vcpu->xfer);
			if (ret)
				return ret;
			ret = STAY;
		}
		wait_event(vm->resumed, !atomic_read(&vm->pauses));

		/* Not before another vCPU runs: the VM does not start with this. */
		if (vcpu->starts_off && !power_ons) {
			wait_for_power(vcpu, power_ons);
			continue;
		}

		if (!READ_ONCE(vm->started) || READ_ONCE(vm->broken)) {
			ret = rdt_vm_start(vm);
			if (ret)
				return ret;
			ret = STAY;
		}

		if (!vcpu_enter(vcpu, &status, &reason))
			continue;
		if (status == REDOUBT_STATUS_POWERED_OFF)
			wait_for_power(vcpu, power_ons);
		else if (status)
			ret = hyp_errno(REDOUBT_VCPU_RUN, vm->handle, vcpu->id, status);
		else
			ret = handle_exit(vcpu, reason);
	}
	return ret;
}

static int vcpu_ioctl_run(struct rdt_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	int ret;

	if (!vcpu->initialised)
		return -ENOEXEC;

	complete_mmio(vcpu);
	if (READ_ONCE(run->immediate_exit__unsafe)) {
		run->exit_reason = KVM_EXIT_INTR;
		return -EINTR;
	}

	run->exit_reason = KVM_EXIT_UNKNOWN;
	run->flags = 0;
	WRITE_ONCE(vcpu->task, current);
	ret = run_loop(vcpu);
	WRITE_ONCE(vcpu->task, NULL);
	return ret;
}

static int check_features(const struct kvm_vcpu_init *init)
{
	size_t i;

	if (init->target != KVM_ARM_TARGET_GENERIC_V8)
		return -EINVAL;
	/* As KVM: not a feature at all, or one that is not to be had here. */
	for (i = 1; i < ARRAY_SIZE(init->features); i++)
		if (init->features[i])
			return -ENOENT;
	if (init->features[0] >> (KVM_ARM_VCPU_HAS_EL2 + 1))
		return -ENOENT;
	return init->features[0] & ~FEATURES ? -EINVAL : 0;
}

/* Makes the vCPU known to EL2. */
static int vcpu_create_at_el2(struct rdt_vcpu *vcpu)
{
	struct rdt_vm *vm = vcpu->vm;
	struct page *state, *entry;
	int ret = -ENOMEM;

	mutex_lock(&vm->lock);
	state = rdt_donate_alloc(vm, 0);
	entry = rdt_donate_alloc(vm, 0);
	if (state && entry)
		ret = hyp_vcpu_create(vm->handle, vcpu->id, page_to_pfn(state),
				      page_to_pfn(entry),
				      vcpu->starts_off || vcpu->vm->protected ?
				      0 : REDOUBT_VCPU_POWERED_ON);
	if (!ret) {
		vcpu->entry = page_address(entry);
	} else {
		if (state)
			rdt_donate_abort(state);
		if (entry)
			rdt_donate_abort(entry);
	}
	mutex_unlock(&vm->lock);
	return ret;
}

static int vcpu_ioctl_init(struct rdt_vcpu *vcpu, void __user *arg)
{
	struct kvm_vcpu_init init;
	bool off;
	u32 features;
	int ret;

	if (copy_from_user(&init, arg, sizeof(init)))
		return -EFAULT;
	ret = check_features(&init);
	if (ret)
		return ret;

	off = init.features[0] & BIT(KVM_ARM_VCPU_POWER_OFF);
	features = init.features[0] & ~BIT(KVM_ARM_VCPU_POWER_OFF);

	if (vcpu->initialised) {
		/* EL2 has no reset of a vCPU but that by PSCI. */
		if (features != vcpu->features || off != vcpu->starts_off)
			return -EINVAL;
		return rdt_reg_reset(vcpu);
	}

	/* EL2 always powers on vCPU 0. */
	if (off && vcpu->id == 0)
		return -EINVAL;
	vcpu->starts_off = off;
	vcpu->features = features;
	ret = vcpu_create_at_el2(vcpu);
	vcpu->initialised = !ret;
	return ret;
}

static int vcpu_ioctl_one_reg(struct rdt_vcpu *vcpu, void __user *arg, bool set)
{
	struct kvm_one_reg reg;

	if (!vcpu->initialised)
		return -ENOEXEC;
	if (copy_from_user(&reg, arg, sizeof(reg)))
		return -EFAULT;
	return set ? rdt_reg_set(vcpu, &reg) : rdt_reg_get(vcpu, &reg);
}

static long vcpu_ioctl(struct file *file, unsigned int ioctl, unsigned long arg)
{
	struct rdt_vcpu *vcpu = file->private_data;
	void __user *argp = (void __user *)arg;
	long ret;

	if (vcpu->vm->mm != current->mm)
		return -EIO;
	if (mutex_lock_killable(&vcpu->mutex))
		return -EINTR;

	switch (ioctl) {
	case KVM_RUN:
		ret = arg ? -EINVAL : vcpu_ioctl_run(vcpu);
		break;
	case KVM_ARM_VCPU_INIT:
		ret = vcpu_ioctl_init(vcpu, argp);
		break;
	case KVM_GET_ONE_REG:
		ret = vcpu_ioctl_one_reg(vcpu, argp, false);
		break;
	case KVM_SET_ONE_REG:
		ret = vcpu_ioctl_one_reg(vcpu, argp, true);
		break;
	case KVM_GET_REG_LIST:
		ret = vcpu->initialised ? rdt_reg_list(vcpu, argp) : -ENOEXEC;
		break;
	default:
		ret = -ENOTTY;
	}
	mutex_unlock(&vcpu->mutex);
	return ret;
}

static int vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct rdt_vcpu *vcpu = file->private_data;

	if (vma->vm_pgoff || vma_pages(vma) != 1)
		return -EINVAL;
	return vm_insert_page(vma, vma->vm_start, virt_to_page(vcpu->run));
}

static int vcpu_release(struct inode *inode, struct file *file)
{
	struct rdt_vcpu *vcpu = file->private_data;

	rdt_vm_put(vcpu->vm);
	return 0;
}

static const struct file_operations vcpu_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = vcpu_ioctl,
	.mmap = vcpu_mmap,
	.release = vcpu_release,
	.llseek = noop_llseek,
};

/**
 * rdt_vcpu_free - frees a vCPU
 * @vcpu: the vCPU, known to nobody any more; its entry page is not its own
 */
void rdt_vcpu_free(struct rdt_vcpu *vcpu)
{
	rdt_xfer_free(vcpu->xfer);
	free_page((unsigned long)vcpu->run);
	kfree(vcpu);
}

static struct rdt_vcpu *vcpu_alloc(struct rdt_vm *vm, unsigned int id)
{
	struct rdt_vcpu *vcpu = kzalloc(sizeof(*vcpu), GFP_KERNEL_ACCOUNT);

	if (!vcpu)
		return NULL;
	vcpu->run = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	vcpu->xfer = rdt_xfer_alloc(vcpu->run);
	if (!vcpu->run || !vcpu->xfer) {
		rdt_vcpu_free(vcpu);
		return NULL;
	}
	vcpu->vm = vm;
	vcpu->id = id;
	mutex_init(&vcpu->mutex);
	rcuwait_init(&vcpu->wait);
	vgic_cpu_reset(&vcpu->gic, rdt_affinity(id), id);
	return vcpu;
}

/**
 * rdt_vcpu_create - KVM_CREATE_VCPU
 * @vm: the VM
 * @id: number of the vCPU
 *
 * Return: a file descriptor or a negative errno.
 */
int rdt_vcpu_create(struct rdt_vm *vm, unsigned int id)
{
	struct rdt_vcpu *vcpu;
	int ret;

	if (id >= rdt_limits.vcpus)
		return -EINVAL;

	mutex_lock(&vm->lock);
	if (rdt_vcpu_by_id(vm, id))
		ret = -EEXIST;
	else if (vm->started || (vm->vgic && vm->vgic->ready))
		ret = -EBUSY;
	else
		ret = 0;
	if (ret)
		goto unlock;

	vcpu = vcpu_alloc(vm, id);
	if (!vcpu) {
		ret = -ENOMEM;
		goto unlock;
	}

	kref_get(&vm->users);
	ret = anon_inode_getfd("kvm-vcpu", &vcpu_fops, vcpu, O_RDWR | O_CLOEXEC);
	if (ret < 0) {
		/* Not the last reference: this is an ioctl of the VM's file. */
		rdt_vm_put(vm);
		rdt_vcpu_free(vcpu);
		goto unlock;
	}
	/* Nothing can be done with the new descriptor before this lock is free. */
	vm->vcpus[vm->nr_vcpus] = vcpu;
	/* Pairs with the acquire in rdt_nr_vcpus(). */
	smp_store_release(&vm->nr_vcpus, vm->nr_vcpus + 1);
unlock:
	mutex_unlock(&vm->lock);
	return ret;
}

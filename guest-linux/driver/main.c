// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/kvm over Redoubt.
 *
 * Linux that Redoubt has deprivileged finds no virtualisation of its own, so
 * KVM leaves /dev/kvm alone, and this module provides it: KVM's ioctls on
 * Redoubt's hypercalls, for VMMs as they are. It is not trusted with anything
 * that a protected VM keeps from the host.
 *
 * This file: loading, what KVM_CHECK_EXTENSION answers, and EL2's counters in
 * debugfs.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/array_size.h>
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "hyp.h"
#include "redoubt.h"

struct rdt_limits rdt_limits __ro_after_init;

static struct dentry *debugfs_dir;

static const struct {
	unsigned int number;
	const char *name;
} counters[] = {
	{ REDOUBT_COUNTER_HOST_ENTRIES, "host_entries" },
	{ REDOUBT_COUNTER_HOST_HVC, "host_hvc" },
	{ REDOUBT_COUNTER_HOST_SMC, "host_smc" },
	{ REDOUBT_COUNTER_HOST_SYSREG, "host_sysreg" },
	{ REDOUBT_COUNTER_HOST_ABORT, "host_abort" },
	{ REDOUBT_COUNTER_HOST_IRQ, "host_irq" },
	{ REDOUBT_COUNTER_HOST_OTHER, "host_other" },
	{ REDOUBT_COUNTER_GUEST_EXITS, "guest_exits" },
	{ REDOUBT_COUNTER_HOST_REFUSED_ABORTS, "host_refused_aborts" },
};

/* One line a counter: its name, then its value on each physical CPU. */
static int counters_show(struct seq_file *m, void *unused)
{
	unsigned int i, cpu;
	u64 value;
	int ret;

	for (i = 0; i < ARRAY_SIZE(counters); i++) {
		seq_puts(m, counters[i].name);
		for (cpu = 0; cpu < rdt_limits.cpus; cpu++) {
			ret = hyp_stats(cpu, counters[i].number, &value);
			if (ret)
				return ret;
			seq_printf(m, " %llu", value);
		}
		seq_putc(m, '\n');
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counters);

/* Firmware calls of this kernel that EL2 has denied, a function identifier a line. */
static int denied_show(struct seq_file *m, void *unused)
{
	unsigned int i;
	u32 function;

	for (i = 0; hyp_denied(i, &function); i++)
		seq_printf(m, "0x%08x\n", function);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(denied);

/**
 * rdt_check_extension - KVM_CHECK_EXTENSION, the same for /dev/kvm and a VM
 * @extension: KVM_CAP_*
 *
 * Return: zero if it is not there, else its value.
 */
int rdt_check_extension(unsigned long extension)
{
	switch (extension) {
	case KVM_CAP_IRQCHIP:
	case KVM_CAP_USER_MEMORY:
	case KVM_CAP_DESTROY_MEMORY_REGION_WORKS:
	case KVM_CAP_JOIN_MEMORY_REGIONS_WORKS:
	case KVM_CAP_INTERNAL_ERROR_DATA:
	case KVM_CAP_ONE_REG:
	case KVM_CAP_ARM_PSCI:
	case KVM_CAP_ARM_PSCI_0_2:
	case KVM_CAP_DEVICE_CTRL:
	case KVM_CAP_CHECK_EXTENSION_VM:
	case KVM_CAP_IMMEDIATE_EXIT:
	case KVM_CAP_MEMORY_FAULT_INFO:
		return 1;
	case KVM_CAP_NR_VCPUS:
		return min(num_online_cpus(), rdt_limits.vcpus);
	case KVM_CAP_MAX_VCPUS:
	case KVM_CAP_MAX_VCPU_ID:
		return rdt_limits.vcpus;
	case KVM_CAP_NR_MEMSLOTS:
		return RDT_MAX_SLOTS;
	case KVM_CAP_ARM_VM_IPA_SIZE:
		return rdt_limits.ipa_bits;
	default:
		/* Memory is pinned, so KVM_CAP_SYNC_MMU in particular is not. */
		return 0;
	}
}

static long dev_ioctl(struct file *file, unsigned int ioctl, unsigned long arg)
{
	switch (ioctl) {
	case KVM_GET_API_VERSION:
		return arg ? -EINVAL : KVM_API_VERSION;
	case KVM_CREATE_VM:
		return rdt_vm_create(arg);
	case KVM_CHECK_EXTENSION:
		return rdt_check_extension(arg);
	case KVM_GET_VCPU_MMAP_SIZE:
		return arg ? -EINVAL : PAGE_SIZE;
	default:
		return -ENOTTY;
	}
}

static const struct file_operations dev_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = dev_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice dev = {
	.minor = KVM_MINOR,
	.name = "kvm",
	.fops = &dev_fops,
};

static int __init read_limits(void)
{
	u64 vcpus, ipa_bits, pages, list_registers, intid, features, cpus, guard, culprit;

	if (hyp_info(REDOUBT_INFO_MAX_VCPUS, &vcpus) ||
	    hyp_info(REDOUBT_INFO_IPA_BITS, &ipa_bits) ||
	    hyp_info(REDOUBT_INFO_MAX_PAGES, &pages) ||
	    hyp_info(REDOUBT_INFO_LIST_REGISTERS, &list_registers) ||
	    hyp_info(REDOUBT_INFO_VIRTUAL_TIMER_INTID, &intid) ||
	    hyp_info(REDOUBT_INFO_FEATURES, &features) ||
	    hyp_info(REDOUBT_INFO_CPUS, &cpus) ||
	    hyp_info(REDOUBT_INFO_DMA_GUARD, &guard) ||
	    hyp_info(REDOUBT_INFO_DMA_CULPRIT, &culprit))
		return -ENODEV;

	if (!vcpus || !pages || !list_registers || ipa_bits < 32 || ipa_bits > 52 ||
	    intid < VGIC_SGIS || intid >= VGIC_PRIVATE_IRQS) {
		pr_err("EL2 reports limits that make no sense\n");
		return -ENODEV;
	}
	rdt_limits = (struct rdt_limits) {
		.vcpus = min_t(u64, vcpus, RDT_MAX_VCPUS),
		.ipa_bits = ipa_bits,
		.pages = min_t(u64, pages, U32_MAX),
		.list_registers = min_t(u64, list_registers, VGIC_MAX_LRS),
		.timer_intid = intid,
		.cpus = cpus,
		.dma_guard = guard,
		.dma_culprit = culprit,
		.protected = features & REDOUBT_FEATURE_PROTECTED,
		.stats = features & REDOUBT_FEATURE_STATS,
	};
	return 0;
}

static int __init redoubt_init(void)
{
	int ret;

	BUILD_BUG_ON(PAGE_SIZE != REDOUBT_PAGE_SIZE);
	BUILD_BUG_ON(sizeof(struct redoubt_run) > PAGE_SIZE);
	BUILD_BUG_ON(VGIC_MAX_LRS != REDOUBT_MAX_LIST_REGISTERS);

	ret = hyp_detect();
	if (ret)
		return ret;
	ret = read_limits();
	if (ret)
		return ret;
	ret = rdt_timer_init();
	if (ret)
		return ret;
	ret = misc_register(&dev);
	if (ret) {
		pr_err("cannot register /dev/kvm: error %d\n", ret);
		rdt_timer_fini();
		return ret;
	}

	/* Without debugfs the counters are missed by nobody. */
	debugfs_dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	if (rdt_limits.stats)
		debugfs_create_file("counters", 0400, debugfs_dir, NULL, &counters_fops);
	debugfs_create_file("denied", 0400, debugfs_dir, NULL, &denied_fops);
	rdt_dma_init(debugfs_dir);

	pr_info("VMs with up to %u vCPUs and %u address bits, protected VMs %s\n",
		rdt_limits.vcpus, rdt_limits.ipa_bits,
		rdt_limits.protected ? "offered" : "not offered");
	return 0;
}

static void __exit redoubt_exit(void)
{
	debugfs_remove(debugfs_dir);
	rdt_dma_fini();
	misc_deregister(&dev);
	rdt_timer_fini();
}

module_init(redoubt_init);
module_exit(redoubt_exit);

MODULE_DESCRIPTION("KVM ioctls over the Redoubt hypervisor");
MODULE_AUTHOR("The Redoubt authors");
MODULE_LICENSE("GPL");
MODULE_ALIAS("devname:kvm");
MODULE_ALIAS_MISCDEV(KVM_MINOR);

// SPDX-License-Identifier: GPL-2.0
/*
 * Finding EL2, calling it, and turning its answers into errnos.
 *
 * HVC is executed only after the device tree has said that Redoubt is there: on
 * a machine without it the instruction may be undefined.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/arm-smccc.h>
#include <linux/array_size.h>
#include <linux/errno.h>
#include <linux/of.h>
#include <linux/printk.h>

#include "hyp.h"

#define VENDOR_UID	0x8600ff01U

static const struct {
	long status;
	int error;
	const char *text;
} refusals[] = {
#define REFUSAL(name, text, error) { REDOUBT_STATUS_##name, error, text },
	REDOUBT_STATUSES(REFUSAL)
#undef REFUSAL
};

static const struct {
	u32 function;
	const char *name;
} calls[] = {
#define CALL(name) { REDOUBT_##name, #name }
	CALL(VERSION), CALL(INFO), CALL(STATS), CALL(DMA_EVENT),
	CALL(VM_CREATE), CALL(VM_SET_MEMORY), CALL(VM_ADD_TABLES),
	CALL(VM_MAP), CALL(VM_UNMAP),
	CALL(VCPU_CREATE), CALL(VCPU_RUN), CALL(VCPU_GET_REG), CALL(VCPU_SET_REG),
	CALL(VM_DESTROY), CALL(VM_RECLAIM),
#undef CALL
};

static const char *call_name(u32 function)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(calls); i++)
		if (calls[i].function == function)
			return calls[i].name;
	return "?";
}

/**
 * hyp_errno - turns a status into an errno, and logs a refusal
 * @function: the call that was refused
 * @handle: the VM it was about, or its first argument
 * @what: the argument that says most about it
 * @status: the status
 *
 * Return: zero for success, else a negative errno.
 */
int hyp_errno(u32 function, u64 handle, u64 what, long status)
{
	size_t i;

	if (status == REDOUBT_STATUS_SUCCESS)
		return 0;

	for (i = 0; i < ARRAY_SIZE(refusals); i++) {
		if (refusals[i].status == status) {
			pr_warn_ratelimited("%s(%#llx, %#llx) refused: %s\n",
					    call_name(function), handle, what,
					    refusals[i].text);
			return -refusals[i].error;
		}
	}
	pr_warn_ratelimited("%s(%#llx, %#llx) returned the unknown status %ld\n",
			    call_name(function), handle, what, status);
	return -EIO;
}

/**
 * hyp_detect - looks for an EL2 that this driver can talk to
 *
 * Return: zero, or -ENODEV if there is none.
 */
int hyp_detect(void)
{
	struct device_node *node;
	struct arm_smccc_res res;

	node = of_find_compatible_node(NULL, NULL, "redoubt,hypervisor");
	if (!node) {
		pr_info("no Redoubt hypervisor in the device tree\n");
		return -ENODEV;
	}
	of_node_put(node);

	arm_smccc_1_1_hvc(VENDOR_UID, &res);
	if ((u32)res.a0 != REDOUBT_UID_0 || (u32)res.a1 != REDOUBT_UID_1 ||
	    (u32)res.a2 != REDOUBT_UID_2 || (u32)res.a3 != REDOUBT_UID_3) {
		pr_err("the hypervisor at EL2 is not Redoubt\n");
		return -ENODEV;
	}

	arm_smccc_1_1_hvc(REDOUBT_VERSION, &res);
	if (res.a0 || res.a1 >> 16 != REDOUBT_ABI_VERSION >> 16) {
		pr_err("the hypervisor speaks version %lu.%lu, this driver %llu.x\n",
		       res.a1 >> 16, res.a1 & 0xffff, REDOUBT_ABI_VERSION >> 16);
		return -ENODEV;
	}
	return 0;
}

int hyp_info(unsigned int selector, u64 *value)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(REDOUBT_INFO, selector, &res);
	*value = res.a1;
	return hyp_errno(REDOUBT_INFO, selector, 0, res.a0);
}

int hyp_stats(unsigned int cpu, unsigned int counter, u64 *value)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(REDOUBT_STATS, cpu, counter, &res);
	*value = res.a1;
	return hyp_errno(REDOUBT_STATS, cpu, counter, res.a0);
}

/* The index-th function whose SMC was denied; false when there are no more. */
bool hyp_denied(unsigned int index, u32 *function)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(REDOUBT_DENIED, index, &res);
	*function = res.a1;
	return !res.a0;
}

/* The oldest event of an SMMU: *what is zero if there is none. */
int hyp_dma_event(u64 *what, u64 *address, u64 *lost)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(REDOUBT_DMA_EVENT, &res);
	*what = res.a1;
	*address = res.a2;
	*lost = res.a3;
	return hyp_errno(REDOUBT_DMA_EVENT, 0, 0, res.a0);
}

int hyp_vm_create(u64 flags, unsigned int ipa_bits, unsigned int vcpus,
		  unsigned long root_pfn, u64 *handle)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(REDOUBT_VM_CREATE, flags, ipa_bits, vcpus, root_pfn, &res);
	*handle = res.a1;
	return hyp_errno(REDOUBT_VM_CREATE, flags, ipa_bits, res.a0);
}

int hyp_vm_set_memory(u64 handle, u64 ipa, u64 pages)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(REDOUBT_VM_SET_MEMORY, handle, ipa, pages, &res);
	return hyp_errno(REDOUBT_VM_SET_MEMORY, handle, ipa, res.a0);
}

int hyp_vm_add_tables(u64 handle, unsigned long pfn, u64 pages)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(REDOUBT_VM_ADD_TABLES, handle, pfn, pages, &res);
	return hyp_errno(REDOUBT_VM_ADD_TABLES, handle, pfn, res.a0);
}

/* Returns the status: NO_TABLES and ALREADY_MAPPED are part of normal work. */
long hyp_vm_map(u64 handle, unsigned long pfn, u64 ipa, u64 pages, u64 flags)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(REDOUBT_VM_MAP, handle, pfn, ipa, pages, flags, &res);
	return res.a0;
}

/*
 * Returns the status, and how many pages it has dealt with: a block may have to be
 * split, hence NO_TABLES, or fewer pages than asked for.
 */
long hyp_vm_unmap(u64 handle, u64 ipa, u64 pages, u64 *done)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(REDOUBT_VM_UNMAP, handle, ipa, pages, &res);
	*done = res.a0 ? 0 : res.a1;
	return res.a0;
}

int hyp_vcpu_create(u64 handle, unsigned int vcpu, unsigned long state_pfn,
		    unsigned long run_pfn, u64 flags)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(REDOUBT_VCPU_CREATE, handle, vcpu, state_pfn, run_pfn, flags,
			  &res);
	return hyp_errno(REDOUBT_VCPU_CREATE, handle, vcpu, res.a0);
}

/* Returns the status: a register that does not exist, or is secret, is no news. */
long hyp_vcpu_get_reg(u64 handle, unsigned int vcpu, u64 reg, u64 *value)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(REDOUBT_VCPU_GET_REG, handle, vcpu, reg, &res);
	*value = res.a1;
	return res.a0;
}

/* Returns the status, as hyp_vcpu_get_reg() does. */
long hyp_vcpu_set_reg(u64 handle, unsigned int vcpu, u64 reg, u64 value)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(REDOUBT_VCPU_SET_REG, handle, vcpu, reg, value, &res);
	return res.a0;
}

/* Returns the status: the caller has to know whether pages are still EL2's. */
long hyp_vm_destroy(u64 handle)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(REDOUBT_VM_DESTROY, handle, &res);
	return res.a0;
}

/* Returns the status, as hyp_vm_destroy() does. */
long hyp_vm_reclaim(u64 handle, u64 *more)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(REDOUBT_VM_RECLAIM, handle, &res);
	*more = res.a1;
	return res.a0;
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The hypercalls, one function each: docs/hypercalls.md has what they do.
 *
 * Functions named hyp_* return zero or a negative errno and log a refusal with
 * the reason that EL2 gave. Where a refusal is part of normal work the function
 * returns the status instead, and hyp_errno() turns it into an errno.
 */
#ifndef REDOUBT_HYP_H
#define REDOUBT_HYP_H

#include <linux/arm-smccc.h>
#include <linux/types.h>

#include "redoubt_abi.h"

int hyp_detect(void);
int hyp_errno(u32 function, u64 handle, u64 what, long status);

int hyp_info(unsigned int selector, u64 *value);
int hyp_stats(unsigned int cpu, unsigned int counter, u64 *value);
bool hyp_denied(unsigned int index, u32 *function);
int hyp_dma_event(u64 *what, u64 *address, u64 *lost);
int hyp_vm_create(u64 flags, unsigned int ipa_bits, unsigned int vcpus,
		  unsigned long root_pfn, u64 *handle);
int hyp_vm_set_memory(u64 handle, u64 ipa, u64 pages);
int hyp_vm_add_tables(u64 handle, unsigned long pfn, u64 pages);
long hyp_vm_map(u64 handle, unsigned long pfn, u64 ipa, u64 pages, u64 flags);
long hyp_vm_unmap(u64 handle, u64 ipa, u64 pages, u64 *done);
int hyp_vcpu_create(u64 handle, unsigned int vcpu, unsigned long state_pfn,
		    unsigned long run_pfn, u64 flags);
long hyp_vcpu_get_reg(u64 handle, unsigned int vcpu, u64 reg, u64 *value);
long hyp_vcpu_set_reg(u64 handle, unsigned int vcpu, u64 reg, u64 value);
long hyp_vm_destroy(u64 handle);
long hyp_vm_reclaim(u64 handle, u64 *more);

/*
 * Runs a vCPU. Returns the status; on success *reason says why it came back.
 * Inlined, since its caller must not be instrumented.
 */
static __always_inline long hyp_vcpu_run(u64 handle, unsigned int vcpu, u64 *reason)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(REDOUBT_VCPU_RUN, handle, vcpu, &res);
	*reason = res.a1;
	return res.a0;
}

#endif

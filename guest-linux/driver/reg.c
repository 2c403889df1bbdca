// SPDX-License-Identifier: GPL-2.0
/*
 * KVM_GET_ONE_REG, KVM_SET_ONE_REG and KVM_GET_REG_LIST.
 *
 * EL2 has the registers. Those of a protected VM are out of reach once it runs;
 * then this file answers what a VMM cannot do without, with values that tell
 * nothing of the guest: that it is little-endian and at EL1.
 */
#include <linux/array_size.h>
#include <linux/errno.h>
#include <linux/uaccess.h>
#include <asm/ptrace.h>
#include <asm/sysreg.h>

#include "hyp.h"
#include "redoubt.h"

#define MPIDR_RES1	BIT_ULL(31)
#define PSCI_1_1	(1U << 16 | 1)
#define PSTATE_RESET	(PSR_D_BIT | PSR_A_BIT | PSR_I_BIT | PSR_F_BIT | PSR_MODE_EL1h)

#define CORE(name)	KVM_REG_ARM_CORE_REG(name)
#define SYSREG(op0, op1, crn, crm, op2)	ARM64_SYS_REG(op0, op1, crn, crm, op2)

#define REG_MPIDR	SYSREG(3, 0, 0, 0, 5)
#define REG_SCTLR	SYSREG(3, 0, 1, 0, 0)

#define CORE_U64	(KVM_REG_ARM64 | KVM_REG_ARM_CORE | KVM_REG_SIZE_U64)
#define CORE_U128	(KVM_REG_ARM64 | KVM_REG_ARM_CORE | KVM_REG_SIZE_U128)
#define CORE_U32	(KVM_REG_ARM64 | KVM_REG_ARM_CORE | KVM_REG_SIZE_U32)

/* Registers that are listed besides the core ones, where EL2 has them. */
static const u64 listed_sysregs[] = {
	REG_MPIDR,
	SYSREG(3, 0, 0, 4, 0),	/* ID_AA64PFR0_EL1 */
	SYSREG(3, 0, 0, 4, 1),	/* ID_AA64PFR1_EL1 */
	SYSREG(3, 0, 0, 5, 0),	/* ID_AA64DFR0_EL1 */
	SYSREG(3, 0, 0, 6, 0),	/* ID_AA64ISAR0_EL1 */
	SYSREG(3, 0, 0, 6, 1),	/* ID_AA64ISAR1_EL1 */
	SYSREG(3, 0, 0, 6, 2),	/* ID_AA64ISAR2_EL1 */
	SYSREG(3, 0, 0, 7, 0),	/* ID_AA64MMFR0_EL1 */
	SYSREG(3, 0, 0, 7, 1),	/* ID_AA64MMFR1_EL1 */
	SYSREG(3, 0, 0, 7, 2),	/* ID_AA64MMFR2_EL1 */
	REG_SCTLR,
	SYSREG(3, 0, 1, 0, 2),	/* CPACR_EL1 */
	SYSREG(3, 0, 2, 0, 0),	/* TTBR0_EL1 */
	SYSREG(3, 0, 2, 0, 1),	/* TTBR1_EL1 */
	SYSREG(3, 0, 2, 0, 2),	/* TCR_EL1 */
	SYSREG(3, 0, 5, 1, 0),	/* AFSR0_EL1 */
	SYSREG(3, 0, 5, 1, 1),	/* AFSR1_EL1 */
	SYSREG(3, 0, 5, 2, 0),	/* ESR_EL1 */
	SYSREG(3, 0, 6, 0, 0),	/* FAR_EL1 */
	SYSREG(3, 0, 7, 4, 0),	/* PAR_EL1 */
	SYSREG(3, 0, 10, 2, 0),	/* MAIR_EL1 */
	SYSREG(3, 0, 10, 3, 0),	/* AMAIR_EL1 */
	SYSREG(3, 0, 12, 0, 0),	/* VBAR_EL1 */
	SYSREG(3, 0, 13, 0, 1),	/* CONTEXTIDR_EL1 */
	SYSREG(3, 0, 13, 0, 4),	/* TPIDR_EL1 */
	SYSREG(3, 0, 14, 1, 0),	/* CNTKCTL_EL1 */
	SYSREG(3, 3, 13, 0, 2),	/* TPIDR_EL0 */
	SYSREG(3, 3, 13, 0, 3),	/* TPIDRRO_EL0 */
	KVM_REG_ARM_TIMER_CTL,
	KVM_REG_ARM_TIMER_CVAL,
};

/*
 * Number at EL2 of a core register, or -1. A vector register has two, of which
 * this is the first. *zero is set for the SPSRs of AArch32, which read as zero.
 */
static s64 core_number(u64 id, bool *zero)
{
	u64 offset = id & ~(KVM_REG_ARCH_MASK | KVM_REG_SIZE_MASK | KVM_REG_ARM_CORE);
	u64 size = KVM_REG_SIZE(id);

	*zero = false;
	if (offset < CORE(spsr[0])) {
		/* x0 to x30, sp, pc, pstate, sp_el1, elr_el1: numbered alike */
		return size == 8 && offset % 2 == 0 ? (s64)offset / 2 : -1;
	}
	if (offset < CORE(spsr[0]) + 2 * KVM_NR_SPSR) {
		*zero = offset != CORE(spsr[KVM_SPSR_EL1]);
		return size == 8 && offset % 2 == 0 ? (s64)REDOUBT_REG_SPSR_EL1 : -1;
	}
	if (offset >= CORE(fp_regs.vregs[0]) && offset < CORE(fp_regs.fpsr)) {
		offset -= CORE(fp_regs.vregs[0]);
		return size == 16 && offset % 4 == 0 ?
		       (s64)(REDOUBT_REG_V0 + offset / 2) : -1;
	}
	if (offset == CORE(fp_regs.fpsr) && size == 4)
		return REDOUBT_REG_FPSR;
	if (offset == CORE(fp_regs.fpcr) && size == 4)
		return REDOUBT_REG_FPCR;
	return -1;
}

/* Number at EL2 of a system register. */
static u64 sysreg_number(u64 id)
{
	/* KVM has these two the wrong way round, for ever. */
	if (id == KVM_REG_ARM_TIMER_CVAL)
		id = KVM_REG_ARM_TIMER_CNT;
	else if (id == KVM_REG_ARM_TIMER_CNT)
		id = KVM_REG_ARM_TIMER_CVAL;
	return REDOUBT_REG_SYSTEM | (id & 0xffff);
}

/* What a VMM is told of a protected vCPU that it must not know anything of. */
static int sealed_value(u64 id, u64 *value)
{
	if (id == (CORE_U64 | CORE(regs.pstate)))
		*value = PSTATE_RESET;
	else if (id == REG_SCTLR)
		*value = INIT_SCTLR_EL1_MMU_OFF;
	else
		return -EPERM;
	return 0;
}

static bool is_refused_as_protected(const struct rdt_vcpu *vcpu, long status)
{
	return vcpu->vm->protected && (status == REDOUBT_STATUS_PROTECTED ||
				       status == REDOUBT_STATUS_WRONG_STATE);
}

static int get_number(struct rdt_vcpu *vcpu, u64 id, u64 number, u64 *value)
{
	long status = hyp_vcpu_get_reg(vcpu->vm->handle, vcpu->id, number, value);

	if (is_refused_as_protected(vcpu, status))
		return sealed_value(id, value);
	if (status == REDOUBT_STATUS_INVALID_ARGUMENT)
		return -ENOENT;
	return hyp_errno(REDOUBT_VCPU_GET_REG, vcpu->vm->handle, number, status);
}

static int set_number(struct rdt_vcpu *vcpu, u64 number, u64 value)
{
	long status = hyp_vcpu_set_reg(vcpu->vm->handle, vcpu->id, number, value);

	/*
	 * A vCPU that is still off gets its registers from PSCI CPU_ON, so what
	 * the VMM wants to give it does not matter; VMMs do it from the vCPU's
	 * thread, when the VM may run already.
	 */
	if (is_refused_as_protected(vcpu, status) && vcpu->starts_off && !vcpu->has_run)
		return 0;
	if (status == REDOUBT_STATUS_INVALID_ARGUMENT)
		return -ENOENT;
	return hyp_errno(REDOUBT_VCPU_SET_REG, vcpu->vm->handle, number, status);
}

static bool is_valid_id(u64 id)
{
	u64 size = KVM_REG_SIZE(id);

	return (id & KVM_REG_ARCH_MASK) == KVM_REG_ARM64 &&
	       (size == 4 || size == 8 || size == 16);
}

/* Registers that are a property of this driver: MPIDR and the PSCI version. */
static bool driver_value(const struct rdt_vcpu *vcpu, u64 id, u64 *value)
{
	switch (id) {
	case REG_MPIDR:
		*value = MPIDR_RES1 | rdt_affinity(vcpu->id);
		return true;
	case KVM_REG_ARM_PSCI_VERSION:
		*value = PSCI_1_1;
		return true;
	default:
		return false;
	}
}

static int get_values(struct rdt_vcpu *vcpu, u64 id, u64 value[2])
{
	s64 number;
	bool zero;
	int ret;

	value[1] = 0;
	if (!is_valid_id(id))
		return -EINVAL;
	if (driver_value(vcpu, id, &value[0]))
		return 0;

	switch (id & KVM_REG_ARM_COPROC_MASK) {
	case KVM_REG_ARM_CORE:
		number = core_number(id, &zero);
		if (number < 0)
			return -EINVAL;
		value[0] = 0;
		ret = zero ? 0 : get_number(vcpu, id, number, &value[0]);
		if (!ret && KVM_REG_SIZE(id) == 16)
			ret = get_number(vcpu, id, number + 1, &value[1]);
		return ret;
	case KVM_REG_ARM64_SYSREG:
		if (KVM_REG_SIZE(id) != 8)
			return -ENOENT;
		return get_number(vcpu, id, sysreg_number(id), &value[0]);
	default:
		return -ENOENT;
	}
}

/**
 * rdt_reg_get - KVM_GET_ONE_REG
 * @vcpu: the vCPU, initialised
 * @reg: which register, and where its value goes
 *
 * Return: zero or a negative errno.
 */
int rdt_reg_get(struct rdt_vcpu *vcpu, const struct kvm_one_reg *reg)
{
	u64 value[2];
	int ret = get_values(vcpu, reg->id, value);

	if (ret)
		return ret;
	return copy_to_user((void __user *)(unsigned long)reg->addr, value,
			    KVM_REG_SIZE(reg->id)) ? -EFAULT : 0;
}

/**
 * rdt_reg_set - KVM_SET_ONE_REG
 * @vcpu: the vCPU, initialised
 * @reg: which register, and where its value is
 *
 * Return: zero or a negative errno.
 */
int rdt_reg_set(struct rdt_vcpu *vcpu, const struct kvm_one_reg *reg)
{
	u64 value[2] = {}, fixed;
	u64 id = reg->id;
	s64 number;
	bool zero;
	int ret;

	if (!is_valid_id(id))
		return -EINVAL;
	if (copy_from_user(value, (void __user *)(unsigned long)reg->addr,
			   KVM_REG_SIZE(id)))
		return -EFAULT;
	if (driver_value(vcpu, id, &fixed))
		return value[0] == fixed ? 0 : -EINVAL;

	switch (id & KVM_REG_ARM_COPROC_MASK) {
	case KVM_REG_ARM_CORE:
		number = core_number(id, &zero);
		if (number < 0)
			return -EINVAL;
		ret = zero ? 0 : set_number(vcpu, number, value[0]);
		if (!ret && KVM_REG_SIZE(id) == 16)
			ret = set_number(vcpu, number + 1, value[1]);
		return ret;
	case KVM_REG_ARM64_SYSREG:
		if (KVM_REG_SIZE(id) != 8)
			return -ENOENT;
		return set_number(vcpu, sysreg_number(id), value[0]);
	default:
		return -ENOENT;
	}
}

/**
 * rdt_reg_reset - brings back the registers a vCPU starts with
 * @vcpu: the vCPU, initialised
 *
 * Return: zero, or -EBUSY if it has run: EL2 resets a vCPU only by PSCI.
 */
int rdt_reg_reset(struct rdt_vcpu *vcpu)
{
	unsigned int x;
	int ret = 0;

	if (vcpu->has_run)
		return -EBUSY;
	for (x = 0; x < 31 && !ret; x++)
		ret = set_number(vcpu, x, 0);
	if (!ret)
		ret = set_number(vcpu, REDOUBT_REG_PC, 0);
	if (!ret)
		ret = set_number(vcpu, REDOUBT_REG_PSTATE, PSTATE_RESET);
	return ret;
}

/* Puts a register into the list, if it exists and there is room. */
static int list_add_reg(struct rdt_vcpu *vcpu, struct kvm_reg_list __user *list,
			u64 room, u64 *count, u64 id)
{
	u64 value[2];

	if (get_values(vcpu, id, value))
		return 0;
	if (*count < room && put_user(id, &list->reg[*count]))
		return -EFAULT;
	(*count)++;
	return 0;
}

/**
 * rdt_reg_list - KVM_GET_REG_LIST
 * @vcpu: the vCPU, initialised
 * @list: how many fit; receives the registers that can be read
 *
 * Return: zero, or -E2BIG with the number that there are.
 */
int rdt_reg_list(struct rdt_vcpu *vcpu, struct kvm_reg_list __user *list)
{
	u64 room, count = 0;
	unsigned int i;
	int ret = 0;

	if (get_user(room, &list->n))
		return -EFAULT;

	for (i = 0; i < CORE(spsr[0]) + 2 * KVM_NR_SPSR && !ret; i += 2)
		ret = list_add_reg(vcpu, list, room, &count, CORE_U64 | i);
	for (i = 0; i < 32 && !ret; i++)
		ret = list_add_reg(vcpu, list, room, &count,
				   CORE_U128 | CORE(fp_regs.vregs[i]));
	if (!ret)
		ret = list_add_reg(vcpu, list, room, &count,
				   CORE_U32 | CORE(fp_regs.fpsr));
	if (!ret)
		ret = list_add_reg(vcpu, list, room, &count,
				   CORE_U32 | CORE(fp_regs.fpcr));
	for (i = 0; i < ARRAY_SIZE(listed_sysregs) && !ret; i++)
		ret = list_add_reg(vcpu, list, room, &count, listed_sysregs[i]);
	if (!ret)
		ret = list_add_reg(vcpu, list, room, &count, KVM_REG_ARM_PSCI_VERSION);

	if (!ret && put_user(count, &list->n))
		ret = -EFAULT;
	return ret ?: count > room ? -E2BIG : 0;
}

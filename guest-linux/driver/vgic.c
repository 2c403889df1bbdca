// SPDX-License-Identifier: GPL-2.0
/*
 * GICv3 model: which interrupt is pending where, and what goes into the list
 * registers.
 *
 * Rules, for each interrupt (Arm IHI 0069, chapters 4 and 11):
 *  - pending is the latch, or, if level-sensitive, the latch or the line;
 *  - it is delivered when pending, enabled, not active and its group enabled,
 *    to the vCPU it is private to or routed to;
 *  - while active it occupies a list register of the vCPU that acknowledged it,
 *    since that is where the guest will deactivate it;
 *  - a level-sensitive interrupt never sits in a list register both pending and
 *    active: the line is looked at again when the guest deactivates it, which
 *    the EOI bit makes it tell us, or, with the HW bit, the physical interrupt.
 *
 * Private interrupts are in the vCPU's own bank, which is bank 0; the SPIs are in
 * the banks from 1 on.
 */
#include <linux/bitops.h>
#include <linux/bits.h>
#include <linux/kernel.h>
#include <linux/string.h>

#include "vgic.h"

#define SGI1R_TARGETS(v)	((u32)((v) & 0xffff))
#define SGI1R_AFF1(v)		((u32)(((v) >> 16) & 0xff))
#define SGI1R_INTID(v)		((u32)(((v) >> 24) & 0xf))
#define SGI1R_AFF2(v)		((u32)(((v) >> 32) & 0xff))
#define SGI1R_IRM(v)		(((v) >> 40) & 1)
#define SGI1R_RANGE(v)		((u32)(((v) >> 44) & 0xf))
#define SGI1R_AFF3(v)		((u32)(((v) >> 48) & 0xff))

#define VMCR_PMR(v)		((u8)((v) >> 24))

static unsigned int nr_banks(const struct vgic *vgic)
{
	return vgic->nr_irqs / VGIC_BANK_IRQS;
}

static struct vgic_bank *bank_of(struct vgic *vgic, struct vgic_cpu *cpu,
				 unsigned int bank)
{
	return bank ? &vgic->spi[bank - 1] : &cpu->bank;
}

/**
 * vgic_reset - brings a distributor into its reset state
 * @vgic: the distributor; its number of interrupts and its vCPUs are kept
 * @max_lrs: list registers of the machine
 * @hw_intid: interrupt to be loaded with the HW bit, or VGIC_NO_INTID
 *
 * Interrupts start in group 1, as with KVM, and are routed to affinity 0.
 */
void vgic_reset(struct vgic *vgic, unsigned int max_lrs, u32 hw_intid)
{
	unsigned int i;

	vgic->max_lrs = min_t(unsigned int, max_lrs, VGIC_MAX_LRS);
	vgic->hw_intid = hw_intid;
	vgic->ctlr = 0;
	memset(vgic->spi, 0, sizeof(vgic->spi));
	memset(vgic->router, 0, sizeof(vgic->router));
	for (i = 0; i < VGIC_SPI_BANKS; i++)
		vgic->spi[i].group = ~0U;
}

/**
 * vgic_cpu_reset - brings a redistributor into its reset state
 * @cpu: the redistributor
 * @affinity: Aff2, Aff1 and Aff0 of the vCPU
 * @id: processor number
 *
 * SGIs are edge-triggered, PPIs level-sensitive; neither can be changed.
 */
void vgic_cpu_reset(struct vgic_cpu *cpu, u32 affinity, u16 id)
{
	memset(cpu, 0, sizeof(*cpu));
	cpu->affinity = affinity;
	cpu->id = id;
	cpu->bank.group = ~0U;
	cpu->bank.edge = GENMASK(VGIC_SGIS - 1, 0);
}

/**
 * vgic_route - routes an SPI
 * @vgic: the distributor
 * @intid: the SPI
 * @affinity: Aff2, Aff1 and Aff0; if no vCPU has it, the SPI stays pending
 */
void vgic_route(struct vgic *vgic, u32 intid, u32 affinity)
{
	unsigned int bank = intid / VGIC_BANK_IRQS - 1;
	u32 bit = BIT(intid % VGIC_BANK_IRQS);
	unsigned int i;

	vgic->router[intid - VGIC_PRIVATE_IRQS] = affinity;
	for (i = 0; i < vgic->nr_cpus; i++) {
		if (vgic->cpu[i]->affinity == affinity)
			vgic->cpu[i]->routed[bank] |= bit;
		else
			vgic->cpu[i]->routed[bank] &= ~bit;
	}
}

/**
 * vgic_route_all - routes every SPI again, after the vCPUs have become known
 * @vgic: the distributor
 */
void vgic_route_all(struct vgic *vgic)
{
	u32 intid;

	for (intid = VGIC_PRIVATE_IRQS; intid < vgic->nr_irqs; intid++)
		vgic_route(vgic, intid, vgic->router[intid - VGIC_PRIVATE_IRQS]);
}

/**
 * vgic_bank_pending - pending state, as ISPENDR and ICPENDR show it
 * @bank: the interrupts
 *
 * Return: one bit an interrupt.
 */
u32 vgic_bank_pending(const struct vgic_bank *bank)
{
	return bank->latch | (bank->line & ~bank->edge);
}

/* Pending interrupts that the distributor forwards. */
static u32 bank_forwarded(const struct vgic *vgic, const struct vgic_bank *bank)
{
	u32 groups = 0;

	if (vgic->ctlr & VGIC_CTLR_GRP0)
		groups |= ~bank->group;
	if (vgic->ctlr & VGIC_CTLR_GRP1)
		groups |= bank->group;
	return vgic_bank_pending(bank) & bank->enabled & groups;
}

static u32 cpu_deliverable(struct vgic *vgic, struct vgic_cpu *cpu, unsigned int bank)
{
	const struct vgic_bank *b = bank_of(vgic, cpu, bank);
	u32 bits = bank_forwarded(vgic, b) & ~b->active;

	return bank ? bits & cpu->routed[bank - 1] : bits;
}

static u32 cpu_active(struct vgic *vgic, struct vgic_cpu *cpu, unsigned int bank)
{
	u32 bits = bank_of(vgic, cpu, bank)->active;

	return bank ? bits & cpu->held[bank - 1] : bits;
}

/**
 * vgic_set_active - makes SPIs active by a write to ISACTIVER
 * @vgic: the distributor
 * @bank: bank, from 1
 * @bits: the SPIs
 *
 * One that was not active before is held by the vCPU it is routed to, or by the
 * first if it is routed nowhere.
 */
void vgic_set_active(struct vgic *vgic, unsigned int bank, u32 bits)
{
	struct vgic_bank *b = &vgic->spi[bank - 1];
	u32 left = bits & ~b->active;
	unsigned int i;

	b->active |= bits;
	for (i = 0; i < vgic->nr_cpus; i++) {
		u32 here = left & vgic->cpu[i]->routed[bank - 1];

		vgic->cpu[i]->held[bank - 1] |= here;
		left &= ~here;
	}
	if (vgic->nr_cpus)
		vgic->cpu[0]->held[bank - 1] |= left;
}

/**
 * vgic_clear_active - makes SPIs inactive by a write to ICACTIVER
 * @vgic: the distributor
 * @bank: bank, from 1
 * @bits: the SPIs
 */
void vgic_clear_active(struct vgic *vgic, unsigned int bank, u32 bits)
{
	unsigned int i;

	vgic->spi[bank - 1].active &= ~bits;
	for (i = 0; i < vgic->nr_cpus; i++)
		vgic->cpu[i]->held[bank - 1] &= ~bits;
}

static void bank_set_line(struct vgic_bank *bank, u32 bit, bool level)
{
	if (level)
		bank->line |= bit;
	else
		bank->line &= ~bit;

	if (level && (bank->edge & bit))
		bank->latch |= bit;
}

/**
 * vgic_set_spi - drives the input of an SPI
 * @vgic: the distributor
 * @intid: the SPI, below the number of interrupts
 * @level: the level; every call that sets it is an edge
 *
 * Return: the vCPUs that now have it to be delivered, by index.
 */
u64 vgic_set_spi(struct vgic *vgic, u32 intid, bool level)
{
	unsigned int bank = intid / VGIC_BANK_IRQS;
	u32 bit = BIT(intid % VGIC_BANK_IRQS);
	u64 cpus = 0;
	unsigned int i;

	bank_set_line(&vgic->spi[bank - 1], bit, level);
	for (i = 0; i < vgic->nr_cpus; i++)
		if (cpu_deliverable(vgic, vgic->cpu[i], bank) & bit)
			cpus |= BIT_ULL(i);
	return cpus;
}

/**
 * vgic_set_ppi - drives the input of a PPI
 * @cpu: the vCPU
 * @intid: the PPI, 16 to 31
 * @level: the level
 */
void vgic_set_ppi(struct vgic_cpu *cpu, u32 intid, bool level)
{
	bank_set_line(&cpu->bank, BIT(intid), level);
}

static bool sgi_targets(const struct vgic_cpu *cpu, u64 sgi1r)
{
	u32 aff0 = cpu->affinity & 0xff;

	return SGI1R_AFF3(sgi1r) == 0 &&
	       SGI1R_AFF2(sgi1r) == ((cpu->affinity >> 16) & 0xff) &&
	       SGI1R_AFF1(sgi1r) == ((cpu->affinity >> 8) & 0xff) &&
	       SGI1R_RANGE(sgi1r) == aff0 / 16 &&
	       (SGI1R_TARGETS(sgi1r) & BIT(aff0 % 16));
}

/**
 * vgic_send_sgi - carries out a write to ICC_SGI1R_EL1
 * @vgic: the distributor
 * @from: the vCPU that wrote
 * @sgi1r: the value
 *
 * Only SGIs that the target has in group 1 can be sent with this register.
 *
 * Return: the vCPUs that now have it to be delivered, by index.
 */
u64 vgic_send_sgi(struct vgic *vgic, struct vgic_cpu *from, u64 sgi1r)
{
	u32 bit = BIT(SGI1R_INTID(sgi1r));
	u64 cpus = 0;
	unsigned int i;

	for (i = 0; i < vgic->nr_cpus; i++) {
		struct vgic_cpu *cpu = vgic->cpu[i];

		if (SGI1R_IRM(sgi1r) ? cpu == from : !sgi_targets(cpu, sgi1r))
			continue;
		cpu->bank.latch |= bit & cpu->bank.group;
		if (cpu_deliverable(vgic, cpu, 0) & bit)
			cpus |= BIT_ULL(i);
	}
	return cpus;
}

/* A candidate for a list register; sorted by key, then by INTID. */
struct vgic_candidate {
	u16 key;
	u16 intid;
};

/* Active ones first: the guest deactivates them, and must find them. */
#define VGIC_KEY_ACTIVE		0
#define VGIC_KEY_PENDING(p)	(1 + (p))

/* Keeps the best @max candidates, in order. Returns false if one was dropped. */
static bool candidate_insert(struct vgic_candidate *list, unsigned int *count,
			     unsigned int max, struct vgic_candidate candidate)
{
	bool room = *count < max;
	unsigned int i;

	/* INTIDs come in ascending order, so equal keys stay in order. */
	for (i = *count; i > 0 && list[i - 1].key > candidate.key; i--)
		if (i < max)
			list[i] = list[i - 1];
	if (i < max)
		list[i] = candidate;
	if (room)
		(*count)++;
	return room;
}

static u64 lr_value(struct vgic *vgic, struct vgic_cpu *cpu, u32 intid)
{
	struct vgic_bank *bank = bank_of(vgic, cpu, intid / VGIC_BANK_IRQS);
	u32 bit = BIT(intid % VGIC_BANK_IRQS);
	bool active = bank->active & bit;
	bool pending = bank_forwarded(vgic, bank) & bit;
	u64 lr = intid;

	lr |= (u64)bank->priority[intid % VGIC_BANK_IRQS] << VGIC_LR_PRIORITY_SHIFT;
	if (bank->group & bit)
		lr |= VGIC_LR_GROUP1;
	if (active)
		lr |= VGIC_LR_ACTIVE;

	if (intid == vgic->hw_intid)
		lr |= VGIC_LR_HW | (u64)intid << VGIC_LR_PINTID_SHIFT;
	else if (!(bank->edge & bit))
		lr |= VGIC_LR_EOI;

	if (bank->edge & bit) {
		if (pending) {
			lr |= VGIC_LR_PENDING;
			bank->latch &= ~bit;
		}
	} else if (pending && !active) {
		lr |= VGIC_LR_PENDING;
	}
	return lr;
}

/**
 * vgic_load - fills the list registers for a vCPU that is about to run
 * @vgic: the distributor
 * @cpu: the vCPU; its list registers must have been folded back
 *
 * With more interrupts than list registers the active ones and then those of
 * the highest priority are taken, and the vCPU must exit when it has used up
 * all but one (underflow).
 */
void vgic_load(struct vgic *vgic, struct vgic_cpu *cpu)
{
	struct vgic_candidate list[VGIC_MAX_LRS];
	unsigned int count = 0, b, i;

	cpu->overflow = false;
	for (b = 0; b < max(nr_banks(vgic), 1U); b++) {
		const struct vgic_bank *bank = bank_of(vgic, cpu, b);
		u32 active = cpu_active(vgic, cpu, b);
		u32 bits = active | cpu_deliverable(vgic, cpu, b);

		while (bits) {
			u32 n = __builtin_ctz(bits);
			struct vgic_candidate candidate = {
				.key = active & BIT(n) ? VGIC_KEY_ACTIVE :
				       VGIC_KEY_PENDING(bank->priority[n]),
				.intid = b * VGIC_BANK_IRQS + n,
			};

			bits &= bits - 1;
			if (!candidate_insert(list, &count, vgic->max_lrs, candidate))
				cpu->overflow = true;
		}
	}

	for (i = 0; i < count; i++)
		cpu->lr[i] = lr_value(vgic, cpu, list[i].intid);
	cpu->nr_lrs = count;
}

static void fold_one(struct vgic *vgic, struct vgic_cpu *cpu, u64 before, u64 after)
{
	u32 intid = before & VGIC_LR_VINTID;
	unsigned int b = intid / VGIC_BANK_IRQS;
	struct vgic_bank *bank = bank_of(vgic, cpu, b);
	u32 bit = BIT(intid % VGIC_BANK_IRQS);

	if (after & VGIC_LR_ACTIVE)
		bank->active |= bit;
	else
		bank->active &= ~bit;

	if (b) {
		if (after & VGIC_LR_ACTIVE)
			cpu->held[b - 1] |= bit;
		else
			cpu->held[b - 1] &= ~bit;
	}

	if (bank->edge & bit) {
		if (after & VGIC_LR_PENDING)
			bank->latch |= bit;
	} else if ((before & VGIC_LR_PENDING) && !(after & VGIC_LR_PENDING)) {
		/* Acknowledged: that clears what ISPENDR had set, not the line. */
		bank->latch &= ~bit;
	}
}

/**
 * vgic_fold - takes the list registers back after the vCPU ran
 * @vgic: the distributor
 * @cpu: the vCPU
 * @lr: the list registers as EL2 returned them; for a vCPU that did not run
 *	after all, those of vgic_load()
 */
void vgic_fold(struct vgic *vgic, struct vgic_cpu *cpu, const u64 *lr)
{
	unsigned int i;

	for (i = 0; i < cpu->nr_lrs; i++)
		fold_one(vgic, cpu, cpu->lr[i], lr[i]);
	cpu->nr_lrs = 0;
}

/**
 * vgic_deliverable - tells whether a vCPU has something to load
 * @vgic: the distributor
 * @cpu: the vCPU
 *
 * Unlike vgic_would_wake() this leaves the priority mask aside, which the guest
 * may have changed since its last exit.
 *
 * Return: true if an interrupt is to be delivered.
 */
bool vgic_deliverable(struct vgic *vgic, struct vgic_cpu *cpu)
{
	unsigned int b;

	for (b = 0; b < max(nr_banks(vgic), 1U); b++)
		if (cpu_deliverable(vgic, cpu, b))
			return true;
	return false;
}

/**
 * vgic_would_wake - tells whether an interrupt would end a WFI
 * @vgic: the distributor
 * @cpu: the vCPU, which is not in the guest
 *
 * Return: true if one is deliverable and not held back by the priority mask.
 */
bool vgic_would_wake(struct vgic *vgic, struct vgic_cpu *cpu)
{
	unsigned int b;

	for (b = 0; b < max(nr_banks(vgic), 1U); b++) {
		const struct vgic_bank *bank = bank_of(vgic, cpu, b);
		u32 bits = cpu_deliverable(vgic, cpu, b);

		for (; bits; bits &= bits - 1)
			if (bank->priority[__builtin_ctz(bits)] < VMCR_PMR(cpu->vmcr))
				return true;
	}
	return false;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * GICv3 model: the registers of the distributor and of the redistributors.
 *
 * Arm IHI 0069, chapter 12, for one security state (GICD_CTLR.DS) and affinity
 * routing always on; no LPIs. Every access has a result: a register read with a
 * size or at an offset that it does not allow reads as zero, and such a write is
 * ignored, as are writes to read-only and reserved registers.
 *
 * The registers that hold interrupts have the same offsets in the distributor,
 * where their first words stand for the SGIs and PPIs and are reserved, and in
 * the second frame of a redistributor, where only those exist.
 */
#include <linux/bitops.h>
#include <linux/bits.h>
#include <linux/irqchip/arm-gic-v3.h>
#include <linux/kernel.h>

#include "vgic.h"

/* Bits of a priority that are implemented */
#define PRIORITY_MASK		0xf8

#define INTID_BITS		10
/* GICD_TYPER: an SPI cannot be routed to whichever vCPU is free */
#define TYPER_NO_1N		BIT(25)
/* Product 'R', implementer Arm's JEP106 code, as KVM names itself */
#define IIDR			(0x52U << 24 | 0x43b)
/* Architecture revision GICv3, JEDEC code assigned */
#define PIDR2			0x3b

#define RD_FRAME		SZ_64K

static u64 extract(u64 value, u32 offset, unsigned int len)
{
	value >>= 8 * (offset & 7);
	return len == 8 ? value : value & (BIT_ULL(8 * len) - 1);
}

/* Bits of a bank that are interrupts: all but INTIDs 1020 to 1023. */
static u32 valid_bits(unsigned int bank)
{
	unsigned int last = VGIC_LAST_SPI / VGIC_BANK_IRQS;

	return bank < last ? ~0U : GENMASK(VGIC_LAST_SPI % VGIC_BANK_IRQS, 0);
}

/* Offset and size of the per-interrupt registers with one bit an interrupt. */
static bool is_bit_register(u32 offset)
{
	return offset >= GICD_IGROUPR && offset < GICD_IPRIORITYR;
}

static bool is_priority_register(u32 offset)
{
	return offset >= GICD_IPRIORITYR && offset < GICD_IPRIORITYR + VGIC_MAX_IRQS;
}

static bool is_config_register(u32 offset)
{
	return offset >= GICD_ICFGR && offset < GICD_ICFGR + VGIC_MAX_IRQS / 4;
}

/* Bank that a per-interrupt register is about. */
static unsigned int register_bank(u32 offset)
{
	if (is_bit_register(offset))
		return (offset & 0x7f) / 4;
	if (is_priority_register(offset))
		return (offset - GICD_IPRIORITYR) / VGIC_BANK_IRQS;
	return (offset - GICD_ICFGR) / (VGIC_BANK_IRQS / 4);
}

static u32 read_bits(const struct vgic_bank *bank, u32 offset)
{
	switch (offset & ~0x7fU) {
	case GICD_IGROUPR:
		return bank->group;
	case GICD_ISENABLER:
	case GICD_ICENABLER:
		return bank->enabled;
	case GICD_ISPENDR:
	case GICD_ICPENDR:
		return vgic_bank_pending(bank);
	case GICD_ISACTIVER:
	case GICD_ICACTIVER:
		return bank->active;
	default:
		return 0;
	}
}

static void write_bits(struct vgic *vgic, struct vgic_bank *bank,
		       unsigned int index, u32 offset, u32 bits)
{
	switch (offset & ~0x7fU) {
	case GICD_IGROUPR:
		bank->group = bits;
		break;
	case GICD_ISENABLER:
		bank->enabled |= bits;
		break;
	case GICD_ICENABLER:
		bank->enabled &= ~bits;
		break;
	case GICD_ISPENDR:
		bank->latch |= bits;
		break;
	case GICD_ICPENDR:
		bank->latch &= ~bits;
		break;
	case GICD_ISACTIVER:
		if (index)
			vgic_set_active(vgic, index, bits);
		else
			bank->active |= bits;
		break;
	case GICD_ICACTIVER:
		if (index)
			vgic_clear_active(vgic, index, bits);
		else
			bank->active &= ~bits;
		break;
	}
}

/* ICFGR has two bits an interrupt; the upper one is set for an edge. */
static u32 read_config(const struct vgic_bank *bank, u32 offset)
{
	u32 half = bank->edge >> (offset & 4 ? 16 : 0);
	u32 value = 0;
	int i;

	for (i = 0; i < 16; i++)
		if (half & BIT(i))
			value |= BIT(2 * i + 1);
	return value;
}

static void write_config(struct vgic_bank *bank, u32 offset, u32 value)
{
	int shift = offset & 4 ? 16 : 0;
	u32 half = 0;
	int i;

	for (i = 0; i < 16; i++)
		if (value & BIT(2 * i + 1))
			half |= BIT(i);
	bank->edge = (bank->edge & ~(0xffffU << shift)) | half << shift;
}

static u64 bank_read(const struct vgic_bank *bank, unsigned int index, u32 offset,
		     unsigned int len)
{
	if (is_priority_register(offset)) {
		const u8 *priority = &bank->priority[offset % VGIC_BANK_IRQS];
		u32 value = 0;
		unsigned int i;

		if (len != 1 && len != 4)
			return 0;
		for (i = 0; i < len; i++)
			value |= (u32)priority[i] << 8 * i;
		return value;
	}
	if (len != 4)
		return 0;
	if (is_bit_register(offset))
		return read_bits(bank, offset) & valid_bits(index);
	return read_config(bank, offset);
}

static void bank_write(struct vgic *vgic, struct vgic_bank *bank, unsigned int index,
		       u32 offset, unsigned int len, u64 value)
{
	if (is_priority_register(offset)) {
		u8 *priority = &bank->priority[offset % VGIC_BANK_IRQS];
		unsigned int i;

		if (len != 1 && len != 4)
			return;
		for (i = 0; i < len; i++)
			priority[i] = (value >> 8 * i) & PRIORITY_MASK;
		return;
	}
	if (len != 4)
		return;
	if (is_bit_register(offset))
		write_bits(vgic, bank, index, offset, value & valid_bits(index));
	else if (index)
		write_config(bank, offset, value);
}

static bool is_bank_register(u32 offset)
{
	return is_bit_register(offset) || is_priority_register(offset) ||
	       is_config_register(offset);
}

/* The bank of the distributor that a register is about, NULL if reserved. */
static struct vgic_bank *dist_bank(struct vgic *vgic, u32 offset, unsigned int *index)
{
	*index = register_bank(offset);
	if (!*index || *index >= vgic->nr_irqs / VGIC_BANK_IRQS)
		return NULL;
	return &vgic->spi[*index - 1];
}

/* The SPI that a part of GICD_IROUTER is about, or VGIC_NO_INTID. */
static u32 router_intid(const struct vgic *vgic, u32 offset)
{
	u32 intid;

	if (offset < GICD_IROUTER || offset >= GICD_IROUTER + 8 * VGIC_MAX_IRQS)
		return VGIC_NO_INTID;
	intid = (offset - GICD_IROUTER) / 8;
	if (intid < VGIC_PRIVATE_IRQS || intid >= vgic->nr_irqs || intid > VGIC_LAST_SPI)
		return VGIC_NO_INTID;
	return intid;
}

static bool is_aligned(u32 offset, unsigned int len)
{
	return (len == 1 || len == 2 || len == 4 || len == 8) && offset % len == 0;
}

/**
 * vgic_dist_read - reads a register of the distributor
 * @vgic: the distributor
 * @offset: offset in its 64 KiB
 * @len: size of the access in bytes
 *
 * Return: the value, zero for what does not exist.
 */
u64 vgic_dist_read(struct vgic *vgic, u32 offset, unsigned int len)
{
	const struct vgic_bank *bank;
	unsigned int index;
	u32 intid;

	if (!is_aligned(offset, len))
		return 0;

	if (is_bank_register(offset)) {
		bank = dist_bank(vgic, offset, &index);
		return bank ? bank_read(bank, index, offset, len) : 0;
	}

	intid = router_intid(vgic, offset);
	if (intid != VGIC_NO_INTID) {
		u64 router = vgic->router[intid - VGIC_PRIVATE_IRQS];

		return len >= 4 ? extract(router, offset, len) : 0;
	}

	if (len != 4)
		return 0;
	switch (offset) {
	case GICD_CTLR:
		return vgic->ctlr | GICD_CTLR_ARE_NS | GICD_CTLR_DS;
	case GICD_TYPER:
		return (vgic->nr_irqs / VGIC_BANK_IRQS - 1) |
		       (INTID_BITS - 1) << 19 | TYPER_NO_1N;
	case GICD_IIDR:
		return IIDR;
	case GICD_PIDR2:
		return PIDR2;
	default:
		return 0;
	}
}

/**
 * vgic_dist_write - writes a register of the distributor
 * @vgic: the distributor
 * @offset: offset in its 64 KiB
 * @len: size of the access in bytes
 * @value: the value
 */
void vgic_dist_write(struct vgic *vgic, u32 offset, unsigned int len, u64 value)
{
	struct vgic_bank *bank;
	unsigned int index;
	u32 intid;

	if (!is_aligned(offset, len))
		return;

	if (is_bank_register(offset)) {
		bank = dist_bank(vgic, offset, &index);
		if (bank)
			bank_write(vgic, bank, index, offset, len, value);
		return;
	}

	intid = router_intid(vgic, offset);
	if (intid != VGIC_NO_INTID) {
		/* The upper word would be Aff3, which no vCPU has. */
		if (len >= 4 && !(offset & 4))
			vgic_route(vgic, intid, value & GENMASK(23, 0));
		return;
	}

	if (offset == GICD_CTLR && len == 4)
		vgic->ctlr = value & (VGIC_CTLR_GRP0 | VGIC_CTLR_GRP1);
}

static u64 redist_typer(const struct vgic *vgic, unsigned int index)
{
	const struct vgic_cpu *cpu = vgic->cpu[index];
	u64 typer = (u64)cpu->affinity << 32 | (u64)cpu->id << 8;

	if (index == vgic->nr_cpus - 1)
		typer |= GICR_TYPER_LAST;
	return typer;
}

/* In the second frame only the registers of bank 0 exist. */
static bool is_private_register(u32 offset)
{
	return is_bank_register(offset) && register_bank(offset) == 0;
}

/**
 * vgic_redist_read - reads a register of a redistributor
 * @vgic: the distributor
 * @index: whose redistributor, below the number of vCPUs
 * @offset: offset in its 128 KiB
 * @len: size of the access in bytes
 *
 * Return: the value, zero for what does not exist.
 */
u64 vgic_redist_read(struct vgic *vgic, unsigned int index, u32 offset,
		     unsigned int len)
{
	if (!is_aligned(offset, len))
		return 0;

	if (offset >= RD_FRAME) {
		offset -= RD_FRAME;
		if (!is_private_register(offset))
			return 0;
		return bank_read(&vgic->cpu[index]->bank, 0, offset, len);
	}

	if (offset - GICR_TYPER < 8)
		return len >= 4 ? extract(redist_typer(vgic, index), offset, len) : 0;
	if (len != 4)
		return 0;
	switch (offset) {
	case GICR_IIDR:
		return IIDR;
	case GICR_PIDR2:
		return PIDR2;
	default:
		/* GICR_CTLR: no LPIs; GICR_WAKER: always awake */
		return 0;
	}
}

/**
 * vgic_redist_write - writes a register of a redistributor
 * @vgic: the distributor
 * @index: whose redistributor, below the number of vCPUs
 * @offset: offset in its 128 KiB
 * @len: size of the access in bytes
 * @value: the value
 */
void vgic_redist_write(struct vgic *vgic, unsigned int index, u32 offset,
		       unsigned int len, u64 value)
{
	if (!is_aligned(offset, len) || offset < RD_FRAME)
		return;

	offset -= RD_FRAME;
	if (is_private_register(offset))
		bank_write(vgic, &vgic->cpu[index]->bank, 0, offset, len, value);
}

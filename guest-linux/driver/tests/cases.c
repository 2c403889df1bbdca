// SPDX-License-Identifier: GPL-2.0
/*
 * Cases computed by hand from Arm IHI 0069.
 */
#include "vgic_test.h"

#define LR(state, hw, group, priority, pintid, eoi, vintid)			\
	((u64)(state) << 62 | (u64)(hw) << 61 | (u64)(group) << 60 |		\
	 (u64)(priority) << 48 | (u64)(pintid) << 32 | (u64)(eoi) << 41 | (vintid))
#define PENDING		1
#define ACTIVE		2
#define BOTH		3

/* A distributor with group 1 on and everything enabled, priority 0xa0. */
static void bench_on(struct bench *b, unsigned int cpus, unsigned int lrs)
{
	unsigned int i, n;

	bench_init(b, cpus, lrs, 96);
	d_write(b, 0x0, 0x2);
	for (i = 1; i < 3; i++)
		d_write(b, 0x100 + 4 * i, ~0U);
	for (i = 32; i < 96; i += 4)
		d_write(b, 0x400 + i, 0xa0a0a0a0);
	for (n = 0; n < cpus; n++) {
		r_write(b, n, SGI_FRAME + 0x100, ~0U);
		for (i = 0; i < 32; i += 4)
			r_write(b, n, SGI_FRAME + 0x400 + i, 0xa0a0a0a0);
	}
}

static void identification(void)
{
	struct bench b;

	bench_init(&b, 3, 4, 256);
	check_equal(d_read(&b, 0x0), 0x50);		/* DS, ARE */
	check_equal(d_read(&b, 0x4) & 0x1f, 7);		/* 32 * (7 + 1) interrupts */
	check_equal(d_read(&b, 0x4) >> 19 & 0x1f, 9);	/* 10 bits of INTID */
	check_equal(d_read(&b, 0x4) & 0x30000, 0);	/* no LPIs, no MBIs */
	check_equal(d_read(&b, 0xffe8) & 0xf0, 0x30);	/* GICv3 */
	check_equal(r_read(&b, 0, 0xffe8) & 0xf0, 0x30);
	check_equal(r_read(&b, 0, 0x0), 0);		/* GICR_CTLR */
	check_equal(r_read(&b, 0, 0x14), 0);		/* GICR_WAKER: awake */
	check_equal(vgic_redist_read(&b.vgic, 1, 0x8, 8), 0x0000000100000100ULL);
	check_equal(vgic_redist_read(&b.vgic, 2, 0x8, 8), 0x0000000200000210ULL);
	check_equal(r_read(&b, 2, 0x8), 0x210);		/* and in halves */
	check_equal(r_read(&b, 2, 0xc), 2);
}

static void access_sizes(void)
{
	struct bench b;

	bench_init(&b, 1, 4, 64);
	/* Priorities by byte and by word, upper five bits; not otherwise. */
	vgic_dist_write(&b.vgic, 0x421, 1, 0xff);
	check_equal(d_read(&b, 0x420), 0x0000f800);
	check_equal(vgic_dist_read(&b.vgic, 0x421, 1), 0xf8);
	vgic_dist_write(&b.vgic, 0x420, 2, 0x0101);
	vgic_dist_write(&b.vgic, 0x420, 8, 0);
	check_equal(d_read(&b, 0x420), 0x0000f800);
	check_equal(vgic_dist_read(&b.vgic, 0x420, 2), 0);
	check_equal(vgic_dist_read(&b.vgic, 0x420, 8), 0);
	/* Enables by word only, aligned only. */
	vgic_dist_write(&b.vgic, 0x104, 1, 0xff);
	vgic_dist_write(&b.vgic, 0x104, 8, ~0ULL);
	vgic_dist_write(&b.vgic, 0x105, 4, ~0U);
	check_equal(d_read(&b, 0x104), 0);
	/* Routing by double word and by its lower word; the upper one is Aff3. */
	vgic_dist_write(&b.vgic, 0x6100, 8, 0xffffffff80123456ULL);
	check_equal(vgic_dist_read(&b.vgic, 0x6100, 8), 0x123456);
	vgic_dist_write(&b.vgic, 0x6104, 4, ~0U);
	vgic_dist_write(&b.vgic, 0x6100, 2, 0);
	check_equal(vgic_dist_read(&b.vgic, 0x6100, 8), 0x123456);
	check_equal(vgic_dist_read(&b.vgic, 0x6104, 4), 0);
	vgic_dist_write(&b.vgic, 0x6100, 4, 7);
	check_equal(vgic_dist_read(&b.vgic, 0x6100, 4), 7);
	/* A size that no load has. */
	check_equal(vgic_dist_read(&b.vgic, 0x0, 3), 0);
}

static void reserved(void)
{
	struct bench b;
	u32 offset;

	bench_init(&b, 1, 4, 64);
	/* What the redistributor has is reserved in the distributor... */
	d_write(&b, 0x100, ~0U);
	d_write(&b, 0x400, ~0U);
	vgic_dist_write(&b.vgic, 0x6000, 8, 5);
	check_equal(d_read(&b, 0x100) | d_read(&b, 0x400) | d_read(&b, 0x80), 0);
	check_equal(vgic_dist_read(&b.vgic, 0x6000, 8), 0);
	check_equal(b.cpu[0].bank.enabled, 0);
	/* ... and the other way round, as is what the VM has too few for. */
	r_write(&b, 0, SGI_FRAME + 0x104, ~0U);
	r_write(&b, 0, 0x100, ~0U);
	d_write(&b, 0x108, ~0U);
	check_equal(d_read(&b, 0x104) | d_read(&b, 0x108), 0);
	check_equal(b.cpu[0].bank.enabled, 0);
	/* No access anywhere does harm. */
	for (offset = 0; offset < VGIC_REDIST_SIZE; offset++) {
		unsigned int len;

		for (len = 1; len <= 8; len *= 2) {
			if (offset < VGIC_DIST_SIZE) {
				vgic_dist_write(&b.vgic, offset, len, ~0ULL);
				vgic_dist_read(&b.vgic, offset, len);
			}
			vgic_redist_write(&b.vgic, 0, offset, len, ~0ULL);
			vgic_redist_read(&b.vgic, 0, offset, len);
		}
	}
	check_equal(d_read(&b, 0x0), 0x53);
}

static void last_interrupts(void)
{
	struct bench b;

	bench_init(&b, 1, 4, 1024);
	check_equal(d_read(&b, 0x4) & 0x1f, 31);
	d_write(&b, 0x17c, ~0U);
	check_equal(d_read(&b, 0x17c), 0x0fffffff);	/* 992 to 1019 */
	vgic_dist_write(&b.vgic, 0x6000 + 8 * 1019, 8, 3);
	vgic_dist_write(&b.vgic, 0x6000 + 8 * 1020, 8, 3);
	check_equal(vgic_dist_read(&b.vgic, 0x6000 + 8 * 1019, 8), 3);
	check_equal(vgic_dist_read(&b.vgic, 0x6000 + 8 * 1020, 8), 0);
	check_equal(d_read(&b, 0xcfc), 0);
	d_write(&b, 0xcfc, 0xaaaaaaaa);
	check_equal(d_read(&b, 0xcfc), 0xaaaaaaaa);
}

static void configuration(void)
{
	struct bench b;

	bench_init(&b, 1, 4, 96);
	check_equal(r_read(&b, 0, SGI_FRAME + 0xc00), 0xaaaaaaaa);
	check_equal(r_read(&b, 0, SGI_FRAME + 0xc04), 0);
	r_write(&b, 0, SGI_FRAME + 0xc00, 0);
	r_write(&b, 0, SGI_FRAME + 0xc04, ~0U);
	check_equal(r_read(&b, 0, SGI_FRAME + 0xc00), 0xaaaaaaaa);
	check_equal(r_read(&b, 0, SGI_FRAME + 0xc04), 0);
	d_write(&b, 0xc08, 0x00000002);			/* 32: edge */
	d_write(&b, 0xc0c, 0x80000001);			/* 63: edge, bit 0 reserved */
	check_equal(b.vgic.spi[0].edge, 0x80000001);
	check_equal(d_read(&b, 0xc08), 0x00000002);
	check_equal(d_read(&b, 0xc0c), 0x80000000);
}

static void level(void)
{
	struct bench b;

	bench_on(&b, 1, 4);
	check_equal(vgic_set_spi(&b.vgic, 40, true), 1);
	check_equal(d_read(&b, 0x204), 0x100);
	enter(&b, 0);
	check_equal(b.cpu[0].nr_lrs, 1);
	check_equal(b.lr[0][0], LR(PENDING, 0, 1, 0xa0, 0, 1, 40));
	check_equal(guest_ack(&b, 0), 40);
	leave(&b, 0);
	check_equal(d_read(&b, 0x304), 0x100);
	/* The line is still high: active, not pending, in the list register. */
	enter(&b, 0);
	check_equal(b.lr[0][0], LR(ACTIVE, 0, 1, 0xa0, 0, 1, 40));
	check(guest_deactivate(&b, 0, 40));
	leave(&b, 0);
	/* Deactivated with the line high: pending again. */
	enter(&b, 0);
	check_equal(b.lr[0][0], LR(PENDING, 0, 1, 0xa0, 0, 1, 40));
	leave(&b, 0);
	/* The line drops before it was acknowledged: gone. */
	check_equal(vgic_set_spi(&b.vgic, 40, false), 0);
	enter(&b, 0);
	check_equal(b.cpu[0].nr_lrs, 0);
	leave(&b, 0);
	check_equal(d_read(&b, 0x204), 0);
}

static void level_by_software(void)
{
	struct bench b;

	bench_on(&b, 1, 4);
	d_write(&b, 0x204, 0x100);			/* ISPENDR */
	enter(&b, 0);
	check_equal(guest_ack(&b, 0), 40);
	leave(&b, 0);
	check_equal(d_read(&b, 0x204), 0);		/* acknowledging cleared it */
	/* Set again while active: pending and active, but not in one register. */
	d_write(&b, 0x204, 0x100);
	check_equal(d_read(&b, 0x204), 0x100);
	enter(&b, 0);
	check_equal(b.lr[0][0], LR(ACTIVE, 0, 1, 0xa0, 0, 1, 40));
	leave(&b, 0);
	check_equal(d_read(&b, 0x204), 0x100);
	enter(&b, 0);
	check(guest_deactivate(&b, 0, 40));
	leave(&b, 0);
	enter(&b, 0);
	check_equal(guest_ack(&b, 0), 40);
	leave(&b, 0);
	check_equal(d_read(&b, 0x204), 0);
	/* ICPENDR clears what software set, not the line. */
	vgic_set_spi(&b.vgic, 41, true);
	d_write(&b, 0x204, 0x400);
	d_write(&b, 0x284, 0x600);
	check_equal(d_read(&b, 0x204), 0x200);
}

static void edge(void)
{
	struct bench b;

	bench_on(&b, 1, 4);
	d_write(&b, 0xc08, 0xaaaaaaaa);
	check_equal(vgic_set_spi(&b.vgic, 33, true), 1);
	check_equal(vgic_set_spi(&b.vgic, 33, false), 0 + 1);	/* still to be delivered */
	check_equal(d_read(&b, 0x204), 2);
	enter(&b, 0);
	check_equal(b.lr[0][0], LR(PENDING, 0, 1, 0xa0, 0, 0, 33));
	check_equal(guest_ack(&b, 0), 33);
	/* A second edge while the handler runs. */
	vgic_set_spi(&b.vgic, 33, true);
	leave(&b, 0);
	enter(&b, 0);
	check_equal(b.lr[0][0], LR(BOTH, 0, 1, 0xa0, 0, 0, 33));
	check(guest_deactivate(&b, 0, 33));
	check_equal(guest_ack(&b, 0), 33);
	check(guest_deactivate(&b, 0, 33));
	leave(&b, 0);
	enter(&b, 0);
	check_equal(b.cpu[0].nr_lrs, 0);
	leave(&b, 0);
	/* Not acknowledged: the latch comes back, and can be cleared. */
	vgic_set_spi(&b.vgic, 34, true);
	enter(&b, 0);
	leave(&b, 0);
	check_equal(d_read(&b, 0x204), 4);
	d_write(&b, 0x284, 4);
	check_equal(d_read(&b, 0x204), 0);
}

static void timer(void)
{
	struct bench b;

	bench_on(&b, 1, 4);
	vgic_set_ppi(&b.cpu[0], TIMER, true);
	enter(&b, 0);
	check_equal(b.lr[0][0], LR(PENDING, 1, 1, 0xa0, TIMER, 0, TIMER));
	check_equal(guest_ack(&b, 0), TIMER);
	leave(&b, 0);
	enter(&b, 0);
	/* HW and both states is UNPREDICTABLE: the line is high, yet active only. */
	check_equal(b.lr[0][0], LR(ACTIVE, 1, 1, 0xa0, TIMER, 0, TIMER));
	vgic_set_ppi(&b.cpu[0], TIMER, false);
	check(guest_deactivate(&b, 0, TIMER));
	leave(&b, 0);
	enter(&b, 0);
	check_equal(b.cpu[0].nr_lrs, 0);
	leave(&b, 0);
	/* Disabled, it is pending but not loaded. */
	r_write(&b, 0, SGI_FRAME + 0x180, BIT(TIMER));
	vgic_set_ppi(&b.cpu[0], TIMER, true);
	check_equal(r_read(&b, 0, SGI_FRAME + 0x200), BIT(TIMER));
	enter(&b, 0);
	check_equal(b.cpu[0].nr_lrs, 0);
	check(!vgic_would_wake(&b.vgic, &b.cpu[0]));
}

static void sgi_targets(void)
{
	struct bench b;

	bench_on(&b, 4, 4);
	b.cpu[3].affinity = 0x010203;
	/* Aff0 0 and 2 of cluster 0: SGI 5. */
	check_equal(vgic_send_sgi(&b.vgic, &b.cpu[0], 5ULL << 24 | 0x5), 0x5);
	check_equal(r_read(&b, 0, SGI_FRAME + 0x200), 0x20);
	check_equal(r_read(&b, 1, SGI_FRAME + 0x200), 0);
	check_equal(r_read(&b, 2, SGI_FRAME + 0x200), 0x20);
	/* Aff2 1, Aff1 2, Aff0 3. */
	check_equal(vgic_send_sgi(&b.vgic, &b.cpu[0],
				  1ULL << 32 | 0 << 24 | 2 << 16 | 0x8), 0x8);
	check_equal(r_read(&b, 3, SGI_FRAME + 0x200), 1);
	/* Wrong Aff3, Aff2, Aff1, range selector: nobody. */
	check_equal(vgic_send_sgi(&b.vgic, &b.cpu[0], 1ULL << 48 | 0xf), 0);
	check_equal(vgic_send_sgi(&b.vgic, &b.cpu[0], 1ULL << 32 | 0xf7), 0);
	check_equal(vgic_send_sgi(&b.vgic, &b.cpu[0], 1ULL << 16 | 0xf), 0);
	check_equal(vgic_send_sgi(&b.vgic, &b.cpu[0], 1ULL << 44 | 0xf), 0);
	/* IRM: all but the sender, whatever the other fields say. */
	check_equal(vgic_send_sgi(&b.vgic, &b.cpu[1], 1ULL << 40 | 15ULL << 24 | 0x2), 0xd);
	check_equal(r_read(&b, 1, SGI_FRAME + 0x200), 0);
	/* Group 0 SGIs cannot be sent with ICC_SGI1R_EL1. */
	r_write(&b, 2, SGI_FRAME + 0x80, ~BIT(9));
	check_equal(vgic_send_sgi(&b.vgic, &b.cpu[0], 9ULL << 24 | 0x4), 0);
	check_equal(r_read(&b, 2, SGI_FRAME + 0x200) & BIT(9), 0);
}

static void sgi_range(void)
{
	struct bench b;

	bench_on(&b, 2, 4);
	b.cpu[1].affinity = 0x23;			/* Aff0 35: range 2, bit 3 */
	check_equal(vgic_send_sgi(&b.vgic, &b.cpu[0], 2ULL << 44 | 0x8), 0x2);
}

static void gates(void)
{
	struct bench b;

	bench_on(&b, 1, 4);
	check_equal(vgic_set_spi(&b.vgic, 50, true), 1);
	/* Not enabled. */
	d_write(&b, 0x184, BIT(50 - 32));
	check(!vgic_deliverable(&b.vgic, &b.cpu[0]));
	d_write(&b, 0x104, BIT(50 - 32));
	check(vgic_deliverable(&b.vgic, &b.cpu[0]));
	/* Group 1 off. */
	d_write(&b, 0x0, 0x1);
	check(!vgic_deliverable(&b.vgic, &b.cpu[0]));
	/* In group 0 now, which is on: no group bit in the list register. */
	d_write(&b, 0x84, ~BIT(50 - 32));
	enter(&b, 0);
	check_equal(b.lr[0][0], LR(PENDING, 0, 0, 0xa0, 0, 1, 50));
	leave(&b, 0);
	/* Routed to nobody: pending, not delivered. */
	vgic_dist_write(&b.vgic, 0x6000 + 8 * 50, 8, 0x77);
	check(!vgic_deliverable(&b.vgic, &b.cpu[0]));
	check_equal(d_read(&b, 0x204), BIT(50 - 32));
	vgic_dist_write(&b.vgic, 0x6000 + 8 * 50, 8, 0);
	check(vgic_deliverable(&b.vgic, &b.cpu[0]));
}

static void priority_mask(void)
{
	struct bench b;

	bench_on(&b, 1, 4);
	vgic_set_spi(&b.vgic, 50, true);
	b.cpu[0].vmcr = 0xa0ULL << 24;			/* 0xa0 is not below 0xa0 */
	check(!vgic_would_wake(&b.vgic, &b.cpu[0]));
	check(vgic_deliverable(&b.vgic, &b.cpu[0]));
	b.cpu[0].vmcr = 0xa8ULL << 24;
	check(vgic_would_wake(&b.vgic, &b.cpu[0]));
}

static void overflow(void)
{
	struct bench b;
	u32 i;

	bench_on(&b, 1, 4);
	/* Six pending; the priorities of 34 and 37 are higher than the others'. */
	vgic_dist_write(&b.vgic, 0x400 + 34, 1, 0x10);
	vgic_dist_write(&b.vgic, 0x400 + 37, 1, 0x08);
	for (i = 32; i < 38; i++)
		vgic_set_spi(&b.vgic, i, true);
	enter(&b, 0);
	check(b.cpu[0].overflow);
	check_equal(b.cpu[0].nr_lrs, 4);
	check_equal(b.lr[0][0] & VGIC_LR_VINTID, 37);
	check_equal(b.lr[0][1] & VGIC_LR_VINTID, 34);
	check_equal(b.lr[0][2] & VGIC_LR_VINTID, 32);
	check_equal(b.lr[0][3] & VGIC_LR_VINTID, 33);
	check_equal(guest_ack(&b, 0), 37);
	check_equal(guest_ack(&b, 0), 34);
	check_equal(guest_ack(&b, 0), 32);
	leave(&b, 0);
	/* The active ones keep their list registers, one pending gets the last. */
	enter(&b, 0);
	check(b.cpu[0].overflow);
	check_equal(b.lr[0][3], LR(PENDING, 0, 1, 0xa0, 0, 1, 33));
	check(guest_deactivate(&b, 0, 32));
	check(guest_deactivate(&b, 0, 34));
	check(guest_deactivate(&b, 0, 37));
	vgic_set_spi(&b.vgic, 32, false);
	vgic_set_spi(&b.vgic, 34, false);
	vgic_set_spi(&b.vgic, 37, false);
	leave(&b, 0);
	enter(&b, 0);
	check(!b.cpu[0].overflow);
	check_equal(b.cpu[0].nr_lrs, 3);
}

static void migration(void)
{
	struct bench b;

	bench_on(&b, 2, 4);
	vgic_set_spi(&b.vgic, 60, true);
	enter(&b, 0);
	check_equal(guest_ack(&b, 0), 60);
	leave(&b, 0);
	/* Routed elsewhere while active: the vCPU that has it keeps it. */
	vgic_dist_write(&b.vgic, 0x6000 + 8 * 60, 8, 1);
	enter(&b, 1);
	check_equal(b.cpu[1].nr_lrs, 0);
	leave(&b, 1);
	enter(&b, 0);
	check_equal(b.lr[0][0], LR(ACTIVE, 0, 1, 0xa0, 0, 1, 60));
	check(guest_deactivate(&b, 0, 60));
	leave(&b, 0);
	/* Then it is the new one's. */
	enter(&b, 0);
	check_equal(b.cpu[0].nr_lrs, 0);
	leave(&b, 0);
	enter(&b, 1);
	check_equal(guest_ack(&b, 1), 60);
	leave(&b, 1);
}

static void active_by_software(void)
{
	struct bench b;

	bench_on(&b, 2, 4);
	vgic_dist_write(&b.vgic, 0x6000 + 8 * 61, 8, 1);
	d_write(&b, 0x304, BIT(61 - 32));		/* ISACTIVER */
	check_equal(d_read(&b, 0x304), BIT(61 - 32));
	vgic_set_spi(&b.vgic, 61, true);
	check(!vgic_deliverable(&b.vgic, &b.cpu[1]));	/* active: not delivered */
	enter(&b, 1);
	check_equal(b.lr[1][0], LR(ACTIVE, 0, 1, 0xa0, 0, 1, 61));
	leave(&b, 1);
	d_write(&b, 0x384, BIT(61 - 32));		/* ICACTIVER */
	check_equal(d_read(&b, 0x304), 0);
	enter(&b, 1);
	check_equal(b.lr[1][0], LR(PENDING, 0, 1, 0xa0, 0, 1, 61));
	leave(&b, 1);
	/* Private ones, too. */
	r_write(&b, 0, SGI_FRAME + 0x300, BIT(3));
	check_equal(r_read(&b, 0, SGI_FRAME + 0x380), BIT(3));
	check_equal(r_read(&b, 1, SGI_FRAME + 0x300), 0);
	enter(&b, 0);
	check_equal(b.lr[0][0], LR(ACTIVE, 0, 1, 0xa0, 0, 0, 3));
	leave(&b, 0);
	r_write(&b, 0, SGI_FRAME + 0x380, BIT(3));
	check_equal(r_read(&b, 0, SGI_FRAME + 0x300), 0);
}

static void refused_entry(void)
{
	struct bench b;

	bench_on(&b, 1, 4);
	d_write(&b, 0xc08, 0xaaaaaaaa);
	vgic_set_spi(&b.vgic, 32, true);
	vgic_send_sgi(&b.vgic, NULL, 1);
	vgic_load(&b.vgic, &b.cpu[0]);
	vgic_fold(&b.vgic, &b.cpu[0], b.cpu[0].lr);
	check_equal(d_read(&b, 0x204), 1);
	check_equal(r_read(&b, 0, SGI_FRAME + 0x200), 1);
}

const struct test case_tests[] = {
	{ "identification", identification },
	{ "access sizes", access_sizes },
	{ "reserved registers", reserved },
	{ "last interrupts", last_interrupts },
	{ "configuration", configuration },
	{ "level-sensitive", level },
	{ "level-sensitive, by software", level_by_software },
	{ "edge-triggered", edge },
	{ "timer", timer },
	{ "SGI targets", sgi_targets },
	{ "SGI range selector", sgi_range },
	{ "gates", gates },
	{ "priority mask", priority_mask },
	{ "overflow", overflow },
	{ "migration", migration },
	{ "active by software", active_by_software },
	{ "refused entry", refused_entry },
	{ }
};

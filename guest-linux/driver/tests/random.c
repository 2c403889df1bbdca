// SPDX-License-Identifier: GPL-2.0
/*
 * Random sequences against a naive model: one structure an interrupt, no list
 * registers, no words of 32.
 *
 * The guests are stopped for every access to registers, as vgic_dev.c does it.
 * After each step all that registers show is compared, and the list registers of
 * every vCPU that is in the guest are checked against what they must hold.
 */
#include "vgic_test.h"

#define CPUS	3
#define IRQS	96
#define STEPS	200000

struct naive {
	bool enabled, group1, edge, line, latch, active;
	u8 priority;
	int target;	/* vCPU, or -1 */
	int holder;	/* vCPU that has it active */
};

static struct naive model[CPUS][IRQS];	/* SPIs in [0] */
static u64 state;

static u32 pick(u32 n)
{
	/* xorshift64* */
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * 0x2545f4914f6cdd1dULL >> 33) % n;
}

static struct naive *naive(unsigned int cpu, u32 intid)
{
	return &model[intid < 32 ? cpu : 0][intid];
}

static bool naive_pending(const struct naive *n)
{
	return n->latch || (n->line && !n->edge);
}

static void naive_reset(void)
{
	u32 cpu, i;

	memset(model, 0, sizeof(model));
	for (cpu = 0; cpu < CPUS; cpu++) {
		for (i = 0; i < IRQS; i++) {
			model[cpu][i].group1 = true;
			model[cpu][i].edge = i < 16;
		}
	}
}

static void leave_all(struct bench *b)
{
	u32 cpu;

	for (cpu = 0; cpu < CPUS; cpu++)
		if (b->inside[cpu])
			leave(b, cpu);
}

/* A write to one of the registers with a bit an interrupt. */
static void write_bit(struct bench *b, u32 cpu, u32 intid, u32 base)
{
	struct naive *n = naive(cpu, intid);
	u32 bit = BIT(intid % 32);

	if (intid < 32)
		r_write(b, cpu, SGI_FRAME + base, bit);
	else
		d_write(b, base + intid / 32 * 4, bit);

	switch (base) {
	case 0x100:
		n->enabled = true;
		break;
	case 0x180:
		n->enabled = false;
		break;
	case 0x200:
		n->latch = true;
		break;
	case 0x280:
		n->latch = false;
		break;
	case 0x300:
		if (!n->active)
			n->holder = intid < 32 ? (int)cpu : n->target < 0 ? 0 : n->target;
		n->active = true;
		break;
	case 0x380:
		n->active = false;
		break;
	}
}

static void step_register(struct bench *b, u32 cpu, u32 intid)
{
	static const u32 bases[] = { 0x100, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380, 0x380 };
	struct naive *n = naive(cpu, intid);
	u32 value;

	leave_all(b);
	switch (pick(12)) {
	case 0:
		n->priority = pick(256) & 0xf8;
		if (intid < 32)
			vgic_redist_write(&b->vgic, cpu, SGI_FRAME + 0x400 + intid, 1,
					  n->priority | 5);
		else
			vgic_dist_write(&b->vgic, 0x400 + intid, 1, n->priority | 5);
		break;
	case 1:
		if (intid < 32)
			break;
		value = pick(CPUS + 1);
		vgic_dist_write(&b->vgic, 0x6000 + 8 * intid, 8, value);
		n->target = value < CPUS ? (int)value : -1;
		break;
	case 2:
		if (intid < 32)
			break;
		n->edge = pick(2);
		value = d_read(b, 0xc00 + intid / 16 * 4) & ~(3U << intid % 16 * 2);
		if (n->edge)
			value |= 2U << intid % 16 * 2;
		d_write(b, 0xc00 + intid / 16 * 4, value);
		break;
	case 3:
		if (pick(4))
			break;
		n->group1 = !n->group1;
		if (intid < 32)
			r_write(b, cpu, SGI_FRAME + 0x80,
				r_read(b, cpu, SGI_FRAME + 0x80) ^ BIT(intid));
		else
			d_write(b, 0x80 + intid / 32 * 4,
				d_read(b, 0x80 + intid / 32 * 4) ^ BIT(intid % 32));
		break;
	default:
		write_bit(b, cpu, intid, bases[pick(8)]);
	}
}

static void step_line(struct bench *b, u32 cpu, u32 intid)
{
	struct naive *n = naive(cpu, intid);
	bool level = pick(2);

	if (intid < 16) {
		vgic_send_sgi(&b->vgic, NULL, (u64)intid << 24 | BIT(cpu));
		n->latch |= n->group1;
		return;
	}
	n->line = level;
	n->latch |= level && n->edge;
	if (intid < 32)
		vgic_set_ppi(&b->cpu[cpu], intid, level);
	else
		vgic_set_spi(&b->vgic, intid, level);
}

static bool all_active(struct bench *b, u32 cpu)
{
	u32 i;

	for (i = 0; i < b->cpu[cpu].nr_lrs; i++)
		if (!(b->cpu[cpu].lr[i] & VGIC_LR_ACTIVE))
			return false;
	return b->cpu[cpu].nr_lrs == b->vgic.max_lrs;
}

/* The guest acknowledges or deactivates. */
static void step_guest(struct bench *b, u32 cpu)
{
	u32 intid, i;

	if (!b->inside[cpu]) {
		enter(b, cpu);
		return;
	}
	if (pick(2)) {
		struct naive *n;

		intid = guest_ack(b, cpu);
		if (intid == SPURIOUS)
			return;
		n = naive(cpu, intid);
		/* A level may have dropped since it was loaded; an edge cannot. */
		if (n->edge)
			check(n->latch);
		check(!n->active);
		n->latch = false;
		n->active = true;
		n->holder = cpu;
		return;
	}
	/*
	 * Deactivate one of those that this vCPU has active: it must be found, unless
	 * others that are active as well have taken every list register.
	 */
	for (i = 0; i < IRQS; i++) {
		struct naive *n;

		intid = (i + state) % IRQS;
		n = naive(cpu, intid);
		if (!n->active || n->holder != (int)cpu)
			continue;
		if (guest_deactivate(b, cpu, intid))
			n->active = false;
		else
			check(all_active(b, cpu));
		return;
	}
}

/* What a vCPU that is in the guest must have in its list registers. */
static void check_loaded(struct bench *b, u32 cpu)
{
	u32 i, j;

	check(b->cpu[cpu].nr_lrs <= b->vgic.max_lrs);
	for (i = 0; i < b->cpu[cpu].nr_lrs; i++) {
		u64 lr = b->cpu[cpu].lr[i];
		u32 intid = lr & VGIC_LR_VINTID;
		struct naive *n = naive(cpu, intid);

		for (j = 0; j < i; j++)
			check((b->cpu[cpu].lr[j] & VGIC_LR_VINTID) != intid);
		check(lr >> 62);
		check(!!(lr & VGIC_LR_HW) == (intid == TIMER));
		if (!n->edge)
			check(lr >> 62 != 3);
	}
}

/* Everything, with all guests stopped. */
static void check_registers(struct bench *b)
{
	u32 cpu, intid;

	for (cpu = 0; cpu < CPUS; cpu++) {
		for (intid = 0; intid < (cpu ? 32 : IRQS); intid++) {
			struct naive *n = naive(cpu, intid);
			u32 bit = BIT(intid % 32), o = intid / 32 * 4;
			bool r = intid < 32;

#define SHOWN(base) !!((r ? r_read(b, cpu, SGI_FRAME + (base)) :		\
			    d_read(b, (base) + o)) & bit)
			check_equal(SHOWN(0x80), n->group1);
			check_equal(SHOWN(0x100), n->enabled);
			check_equal(SHOWN(0x180), n->enabled);
			check_equal(SHOWN(0x200), naive_pending(n));
			check_equal(SHOWN(0x280), naive_pending(n));
			check_equal(SHOWN(0x300), n->active);
			check_equal(SHOWN(0x380), n->active);
#undef SHOWN
		}
	}
}

/* With list registers for all, a vCPU gets exactly what it should. */
static void check_complete(struct bench *b, u32 cpu)
{
	u32 intid, i, expected = 0;

	for (intid = 0; intid < IRQS; intid++) {
		struct naive *n = naive(cpu, intid);
		bool mine = intid < 32 || n->target == (int)cpu;
		bool active = n->active && n->holder == (int)cpu;
		bool deliver = mine && naive_pending(n) && n->enabled && n->group1 &&
			       !n->active;
		bool found = false;

		if (active || deliver)
			expected++;
		for (i = 0; i < b->cpu[cpu].nr_lrs; i++) {
			u64 lr = b->cpu[cpu].lr[i];

			if ((lr & VGIC_LR_VINTID) != intid)
				continue;
			found = true;
			check_equal(!!(lr & VGIC_LR_ACTIVE), active);
			check_equal(lr >> 48 & 0xff, n->priority);
			if (deliver)
				check(lr & VGIC_LR_PENDING);
		}
		if (!b->cpu[cpu].overflow)
			check_equal(found, active || deliver);
	}
	if (!b->cpu[cpu].overflow)
		check_equal(b->cpu[cpu].nr_lrs, expected);
	else
		check(expected > b->vgic.max_lrs);
}

static void run_random(u64 seed, unsigned int lrs, bool sparse)
{
	struct bench b;
	u32 step, cpu, intid;

	state = seed;
	naive_reset();
	bench_init(&b, CPUS, lrs, IRQS);
	d_write(&b, 0x0, 0x2);

	for (step = 0; step < STEPS; step++) {
		cpu = pick(CPUS);
		intid = pick(sparse ? 6 : IRQS);
		if (sparse)
			intid = (const u32 []){ 0, 3, TIMER, 40, 41, 95 }[intid];

		switch (pick(6)) {
		case 0:
			step_register(&b, cpu, intid);
			break;
		case 1:
			/* A line changes beside the guest, who is then kicked out. */
			step_line(&b, cpu, intid);
			leave_all(&b);
			break;
		default:
			step_guest(&b, cpu);
		}

		if (b.inside[cpu])
			check_loaded(&b, cpu);
		if (step % 16 == 0) {
			leave_all(&b);
			check_registers(&b);
			for (cpu = 0; cpu < CPUS; cpu++) {
				enter(&b, cpu);
				check_complete(&b, cpu);
			}
		}
	}
}

static void few_interrupts(void)
{
	u64 seed;

	for (seed = 1; seed <= 4; seed++)
		run_random(seed * 0x9e3779b97f4a7c15ULL, 16, true);
}

static void many_interrupts(void)
{
	u64 seed;

	for (seed = 1; seed <= 4; seed++)
		run_random(seed * 0xc2b2ae3d27d4eb4fULL, 4, false);
}

const struct test random_tests[] = {
	{ "random, few interrupts", few_interrupts },
	{ "random, many interrupts", many_interrupts },
	{ }
};

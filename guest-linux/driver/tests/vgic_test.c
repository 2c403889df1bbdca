// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the tests, and plays the guests' CPU interfaces.
 */
#include "vgic_test.h"

const char *test_name;
unsigned long checks;

void bench_init(struct bench *b, unsigned int cpus, unsigned int lrs, unsigned int irqs)
{
	unsigned int i;

	memset(b, 0, sizeof(*b));
	vgic_reset(&b->vgic, lrs, TIMER);
	b->vgic.nr_irqs = irqs;
	for (i = 0; i < cpus; i++) {
		vgic_cpu_reset(&b->cpu[i], i, i);
		b->cpu[i].vmcr = 0xf0ULL << 24;
		b->vgic.cpu[i] = &b->cpu[i];
	}
	b->vgic.nr_cpus = cpus;
	vgic_route_all(&b->vgic);
}

void enter(struct bench *b, unsigned int cpu)
{
	vgic_load(&b->vgic, &b->cpu[cpu]);
	memcpy(b->lr[cpu], b->cpu[cpu].lr, sizeof(b->lr[cpu]));
	b->inside[cpu] = true;
}

void leave(struct bench *b, unsigned int cpu)
{
	vgic_fold(&b->vgic, &b->cpu[cpu], b->lr[cpu]);
	b->inside[cpu] = false;
}

/* ICV_IAR: the pending interrupt of the highest priority becomes active. */
u32 guest_ack(struct bench *b, unsigned int cpu)
{
	u64 *best = NULL, *lr = b->lr[cpu];
	unsigned int i;

	for (i = 0; i < b->cpu[cpu].nr_lrs; i++)
		if ((lr[i] & VGIC_LR_PENDING) && !(lr[i] & VGIC_LR_ACTIVE) &&
		    (!best || (lr[i] >> 48 & 0xff) < (*best >> 48 & 0xff)))
			best = &lr[i];
	if (!best)
		return SPURIOUS;
	*best = (*best & ~VGIC_LR_PENDING) | VGIC_LR_ACTIVE;
	return *best & VGIC_LR_VINTID;
}

/* ICV_DIR: false if no list register has it active. */
bool guest_deactivate(struct bench *b, unsigned int cpu, u32 intid)
{
	unsigned int i;

	for (i = 0; i < b->cpu[cpu].nr_lrs; i++) {
		u64 *lr = &b->lr[cpu][i];

		if ((*lr & VGIC_LR_VINTID) == intid && (*lr & VGIC_LR_ACTIVE)) {
			*lr &= ~VGIC_LR_ACTIVE;
			return true;
		}
	}
	return false;
}

u32 d_read(struct bench *b, u32 offset)
{
	return vgic_dist_read(&b->vgic, offset, 4);
}

void d_write(struct bench *b, u32 offset, u32 value)
{
	vgic_dist_write(&b->vgic, offset, 4, value);
}

u32 r_read(struct bench *b, unsigned int cpu, u32 offset)
{
	return vgic_redist_read(&b->vgic, cpu, offset, 4);
}

void r_write(struct bench *b, unsigned int cpu, u32 offset, u32 value)
{
	vgic_redist_write(&b->vgic, cpu, offset, 4, value);
}

static unsigned int run(const struct test *test)
{
	unsigned int count = 0;

	for (; test->name; test++, count++) {
		test_name = test->name;
		test->run();
	}
	return count;
}

int main(void)
{
	unsigned int count = run(case_tests) + run(random_tests) + run(dma_tests);

	printf("driver: %u tests, %lu checks, passed\n", count, checks);
	return 0;
}

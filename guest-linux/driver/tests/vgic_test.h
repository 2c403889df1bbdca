/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Test bench: a model with vCPUs, and guests that acknowledge and deactivate
 * interrupts in their list registers as the hardware does.
 */
#ifndef VGIC_TEST_H
#define VGIC_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vgic.h"

#define TIMER		27
#define SPURIOUS	1023

/* Register offsets as numbers, so that they check those of the model. */
#define GICD(offset)	(offset)
#define SGI_FRAME	0x10000

struct bench {
	struct vgic vgic;
	struct vgic_cpu cpu[4];
	u64 lr[4][VGIC_MAX_LRS];	/* the hardware's */
	bool inside[4];			/* in the guest */
};

void bench_init(struct bench *b, unsigned int cpus, unsigned int lrs, unsigned int irqs);
void enter(struct bench *b, unsigned int cpu);
void leave(struct bench *b, unsigned int cpu);
u32 guest_ack(struct bench *b, unsigned int cpu);
bool guest_deactivate(struct bench *b, unsigned int cpu, u32 intid);
u32 d_read(struct bench *b, u32 offset);
void d_write(struct bench *b, u32 offset, u32 value);
u32 r_read(struct bench *b, unsigned int cpu, u32 offset);
void r_write(struct bench *b, unsigned int cpu, u32 offset, u32 value);

extern const char *test_name;
extern unsigned long checks;

#define check(condition)							\
do {										\
	checks++;								\
	if (!(condition)) {							\
		fprintf(stderr, "%s:%d: %s: failed: %s\n", __FILE__, __LINE__,	\
			test_name, #condition);					\
		exit(1);							\
	}									\
} while (0)

#define check_equal(left, right)						\
do {										\
	unsigned long long l_ = (left), r_ = (right);				\
										\
	checks++;								\
	if (l_ != r_) {								\
		fprintf(stderr, "%s:%d: %s: %s is %#llx, not %#llx\n", __FILE__,	\
			__LINE__, test_name, #left, l_, r_);			\
		exit(1);							\
	}									\
} while (0)

struct test {
	const char *name;
	void (*run)(void);
};

extern const struct test case_tests[];
extern const struct test random_tests[];
extern const struct test dma_tests[];

#endif

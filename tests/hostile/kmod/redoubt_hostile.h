/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interface of /dev/redoubt-hostile, the test-only device that hands raw EL1 power to a program.
 *
 * One primitive does everything: RUN executes short pieces of machine code ("steps") at EL1, with
 * every exception masked or caught, in an address space of their own in which up to eight pages of
 * physical memory are visible with chosen attributes. Reading a physical address, a hypercall, an
 * SMC, a system register access, an atomic, a jump into a foreign page: each is a step, written in
 * the test program. The module trusts its caller completely; it is not a security boundary.
 *
 * tests/hostile/src/device.rs mirrors these structures.
 */
#ifndef REDOUBT_HOSTILE_H
#define REDOUBT_HOSTILE_H

#ifdef __ASSEMBLY__
/* Offsets in struct rh_frame that guarded.S uses; main.c checks them. */
#define RH_FRAME_ESR		240
#define RH_FRAME_FAR		248
#define RH_FRAME_ELR		256
#define RH_FRAME_OUTCOME	264
#define RH_FRAME_FLAGS		268
#define RH_FRAME_ENTRY		272
#define RH_FRAME_FP		280
#define RH_FP_P			8192
#define RH_FP_FFR		8704
#define RH_FP_FPSR		8736
#define RH_FP_FPCR		8744
#define RH_FP_VL		8752
#else
#include <linux/types.h>
#include <linux/ioctl.h>

#define RH_MAPS		8
#define RH_MAX_WORDS	960
#define RH_MAX_STEPS	32
#define RH_MAX_ORDER	10

/* Where a step finds its windows and its code. Each has an unmapped page on both sides. */
#define RH_WINDOW_VA	0x100000UL
#define RH_CODE_VA	0x010000UL

enum rh_attribute {
	RH_NONE = 0,		/* window not mapped */
	RH_NORMAL = 1,		/* write-back cacheable */
	RH_NONCACHEABLE = 2,
	RH_DEVICE_NGNRE = 3,
	RH_DEVICE_NGNRNE = 4,
};

struct rh_map {
	__u64 pa;
	__u64 attribute;
};

/* Z, P and FFR when RH_SVE is set, with the vector length of EL1; otherwise V0-V31 in z[n][0..16]. */
struct rh_fp {
	__u8 z[32][256];
	__u8 p[16][32];
	__u8 ffr[32];
	__u64 fpsr;
	__u64 fpcr;
	__u64 vl;		/* out: bytes, zero without RH_SVE */
};

#define RH_FP		(1 << 0)	/* load and store the FP registers of step.fp */
#define RH_SVE		(1 << 1)	/* with RH_FP: the scalable registers too */
#define RH_IRQS		(1 << 2)	/* run with IRQs unmasked until the first one */

enum rh_outcome {
	RH_RETURNED = 0,
	RH_SYNC = 1,		/* a synchronous exception was taken to EL1 */
	RH_SERROR = 2,
};

struct rh_step {
	__u64 x[30];		/* in and out */
	__u64 esr, far, elr;	/* out, of an exception; elr counts from the start of the code */
	__u32 outcome;		/* out */
	__u32 flags;
	__u64 code;		/* user pointer to A64 instructions that end in RET */
	__u64 words;
	__u64 fp;		/* user pointer to struct rh_fp, or zero */
	struct rh_map map[RH_MAPS];
};

struct rh_log {
	__u64 x[4];
	__u64 esr;
	__u32 step;
	__u32 outcome;
};

#define RH_BARRIER	(1 << 0)	/* start together with the others of the group */
#define RH_UNTIL_PEER	(1 << 1)	/* stop repeating once another of the group has finished */

struct rh_run {
	__u64 steps;		/* user pointer to struct rh_step[count] */
	__u64 log;		/* user pointer to struct rh_log[count * repeat], or zero */
	__u32 count;
	__u32 repeat;
	__u32 flags;
	__u32 cpu;		/* out: CPU of the last step */
	__u64 done;		/* out: complete repetitions */
};

struct rh_pages {
	__u64 pfn;
	__u32 order;
	__u32 pad;
};

#define RH_IOC_ALLOC	_IOWR('R', 0x60, struct rh_pages)
/* The caller vouches that the pages are the host's again. */
#define RH_IOC_FREE	_IOW('R', 0x61, struct rh_pages)
#define RH_IOC_RUN	_IOWR('R', 0x62, struct rh_run)
/* Sets the number of participants that RH_BARRIER waits for. */
#define RH_IOC_GROUP	_IOW('R', 0x63, __u32)
#endif
#endif

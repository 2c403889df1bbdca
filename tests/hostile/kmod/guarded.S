/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs a step with every register its own, and catches any exception it takes to EL1.
 *
 * rh_guarded(x0 = struct rh_frame *): called with DAIF masked and VBAR_EL1 = rh_vectors. The stack
 * pointer is the only register the step may not change: [SP] holds the frame, and both the return
 * and the exception vector find it there.
 */
#include <linux/linkage.h>
#include <asm/assembler.h>
#define __ASSEMBLY__ 1
#include "redoubt_hostile.h"

	.arch_extension sve

	.macro	fp_transfer, operation
	ldr	x2, [x0, #RH_FRAME_FP]
	cbz	x2, 9f
	ldr	w3, [x0, #RH_FRAME_FLAGS]
	tbnz	w3, #1, 8f
	.irp	n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	\operation\()r	q\n, [x2, #(\n * 256)]
	.endr
	b	7f
8:	mov	x4, x2
	.irp	n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	\operation\()r	z\n, [x4]
	add	x4, x4, #256
	.endr
	.endm

SYM_FUNC_START(rh_guarded)
	stp	x29, x30, [sp, #-128]!
	stp	x19, x20, [sp, #16]
	stp	x21, x22, [sp, #32]
	stp	x23, x24, [sp, #48]
	stp	x25, x26, [sp, #64]
	stp	x27, x28, [sp, #80]
	str	x18, [sp, #96]
	stp	x0, xzr, [sp, #-16]!

	fp_transfer ld
	mov	x4, #RH_FP_FFR
	add	x4, x4, x2
	ldr	p0, [x4]
	wrffr	p0.b
	mov	x4, #RH_FP_P
	add	x4, x4, x2
	.irp	n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	ldr	p\n, [x4]
	add	x4, x4, #32
	.endr
7:	ldr	x4, [x2, #RH_FP_FPSR]
	msr	fpsr, x4
	ldr	x4, [x2, #RH_FP_FPCR]
	msr	fpcr, x4
9:
	mov	x30, x0
	ldr	w1, [x30, #RH_FRAME_FLAGS]
	tbz	w1, #2, 1f
	msr	daifclr, #2
1:	ldp	x0, x1, [x30]
	ldp	x2, x3, [x30, #16]
	ldp	x4, x5, [x30, #32]
	ldp	x6, x7, [x30, #48]
	ldp	x8, x9, [x30, #64]
	ldp	x10, x11, [x30, #80]
	ldp	x12, x13, [x30, #96]
	ldp	x14, x15, [x30, #112]
	ldp	x16, x17, [x30, #128]
	ldp	x18, x19, [x30, #144]
	ldp	x20, x21, [x30, #160]
	ldp	x22, x23, [x30, #176]
	ldp	x24, x25, [x30, #192]
	ldp	x26, x27, [x30, #208]
	ldp	x28, x29, [x30, #224]
	ldr	x30, [x30, #RH_FRAME_ENTRY]
	blr	x30
	bti	j
	msr	daifset, #15
	ldr	x30, [sp]
	stp	x0, x1, [x30]
	str	wzr, [x30, #RH_FRAME_OUTCOME]
SYM_INNER_LABEL(rh_landing, SYM_L_LOCAL)
	/* X30 is the frame, X0 and X1 are saved. */
	stp	x2, x3, [x30, #16]
	stp	x4, x5, [x30, #32]
	stp	x6, x7, [x30, #48]
	stp	x8, x9, [x30, #64]
	stp	x10, x11, [x30, #80]
	stp	x12, x13, [x30, #96]
	stp	x14, x15, [x30, #112]
	stp	x16, x17, [x30, #128]
	stp	x18, x19, [x30, #144]
	stp	x20, x21, [x30, #160]
	stp	x22, x23, [x30, #176]
	stp	x24, x25, [x30, #192]
	stp	x26, x27, [x30, #208]
	stp	x28, x29, [x30, #224]
	mov	x0, x30

	fp_transfer st
	mov	x4, #RH_FP_P
	add	x4, x4, x2
	.irp	n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	str	p\n, [x4]
	add	x4, x4, #32
	.endr
	rdffr	p0.b
	mov	x4, #RH_FP_FFR
	add	x4, x4, x2
	str	p0, [x4]
	rdvl	x4, #1
	str	x4, [x2, #RH_FP_VL]
7:	mrs	x4, fpsr
	str	x4, [x2, #RH_FP_FPSR]
	mrs	x4, fpcr
	str	x4, [x2, #RH_FP_FPCR]
9:
	add	sp, sp, #16
	ldr	x18, [sp, #96]
	ldp	x19, x20, [sp, #16]
	ldp	x21, x22, [sp, #32]
	ldp	x23, x24, [sp, #48]
	ldp	x25, x26, [sp, #64]
	ldp	x27, x28, [sp, #80]
	ldp	x29, x30, [sp], #128
	ret
SYM_FUNC_END(rh_guarded)

	/* A synchronous exception or SError: record it and leave through rh_landing. */
	.macro	caught, outcome
	.align	7
	mov	x30, #\outcome
	b	rh_caught
	.endm

	/* An interrupt: mask it and go on; the kernel takes it after the step. */
	.macro	interrupted
	.align	7
	stp	x0, x1, [sp, #-16]!
	mrs	x0, spsr_el1
	orr	x0, x0, #(1 << 6)
	orr	x0, x0, #(1 << 7)
	msr	spsr_el1, x0
	ldp	x0, x1, [sp], #16
	eret
	.endm

SYM_CODE_START_LOCAL(rh_caught)
	str	x30, [sp, #8]
	ldr	x30, [sp]
	stp	x0, x1, [x30]
	ldr	x0, [sp, #8]
	str	w0, [x30, #RH_FRAME_OUTCOME]
	mrs	x0, esr_el1
	mrs	x1, far_el1
	stp	x0, x1, [x30, #RH_FRAME_ESR]
	mrs	x0, elr_el1
	str	x0, [x30, #RH_FRAME_ELR]
	/* Resume in EL1h with DAIF masked, without IL, SS and BTYPE, all else as it was. */
	mrs	x0, spsr_el1
	and	x0, x0, #~0x1f
	and	x0, x0, #~(3 << 10)
	and	x0, x0, #~(3 << 20)
	orr	x0, x0, #(0xf << 6)
	orr	x0, x0, #1
	orr	x0, x0, #4
	msr	spsr_el1, x0
	adr	x0, rh_landing
	msr	elr_el1, x0
	isb
	eret
SYM_CODE_END(rh_caught)

	.align	11
SYM_CODE_START(rh_vectors)
	.rept	4
	caught	1
	interrupted
	interrupted
	caught	2
	.endr
SYM_CODE_END(rh_vectors)

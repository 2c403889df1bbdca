// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test-only: raw EL1 power for the hostile-host tests. See redoubt_hostile.h.
 *
 * A step runs with DAIF masked, with VBAR_EL1 at the module's own vectors, so that no exception it
 * provokes reaches the kernel, and with TTBR0_EL1 at tables of this CPU that map the step's code and
 * its windows and nothing else. Everything is put back before interrupts are unmasked.
 */
#include <linux/cpu.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <asm/cputype.h>
#include <asm/memory.h>
#include <asm/neon.h>
#include <asm/sysreg.h>

#include "redoubt_hostile.h"

/* What guarded.S sees of a step. */
struct rh_frame {
	u64 x[30];
	u64 esr, far, elr;
	u32 outcome, flags;
	u64 entry;
	struct rh_fp *fp;
};

static_assert(offsetof(struct rh_frame, esr) == 240);
static_assert(offsetof(struct rh_frame, far) == 248);
static_assert(offsetof(struct rh_frame, elr) == 256);
static_assert(offsetof(struct rh_frame, outcome) == 264);
static_assert(offsetof(struct rh_frame, flags) == 268);
static_assert(offsetof(struct rh_frame, entry) == 272);
static_assert(offsetof(struct rh_frame, fp) == 280);
static_assert(offsetof(struct rh_fp, p) == 8192);
static_assert(offsetof(struct rh_fp, ffr) == 8704);
static_assert(offsetof(struct rh_fp, fpsr) == 8736);
static_assert(offsetof(struct rh_fp, fpcr) == 8744);
static_assert(offsetof(struct rh_fp, vl) == 8752);

asmlinkage void rh_guarded(struct rh_frame *frame);
extern char rh_vectors[];

/* Translation tables of one CPU: 39-bit space, one table a level, and the page of code. */
struct rh_cpu {
	u64 *level1, *level2, *level3;
	u32 *code;
};

static DEFINE_PER_CPU(struct rh_cpu, rh_cpus);

/* The group of RH_BARRIER: one test runs at a time. */
static atomic_t rh_participants = ATOMIC_INIT(1);
static atomic_t rh_arrived;
static atomic_t rh_finished;

#define DESC_PAGE	3UL
#define DESC_AF		BIT(10)
#define DESC_NG		BIT(11)
#define DESC_SH_INNER	(3UL << 8)
#define DESC_WRITE	BIT(51)
#define DESC_UXN	BIT(54)
#define TCR_T0SZ_39	25UL

/* Readable, writable and executable at EL1 only, also with permission indirection. */
static u64 rh_descriptor(u64 pa, u64 attribute, u64 tcr)
{
	static const u8 index[] = {
		[RH_NORMAL] = MT_NORMAL,
		[RH_NONCACHEABLE] = MT_NORMAL_NC,
		[RH_DEVICE_NGNRE] = MT_DEVICE_nGnRE,
		[RH_DEVICE_NGNRNE] = MT_DEVICE_nGnRnE,
	};
	u64 descriptor;

	if (attribute == RH_NONE || attribute >= ARRAY_SIZE(index))
		return 0;
	descriptor = (pa & GENMASK_ULL(47, 12)) | DESC_PAGE | DESC_AF | DESC_NG | DESC_UXN |
		     DESC_WRITE | ((u64)index[attribute] << 2);
	/* With TCR_EL1.DS those two bits are address bits. */
	if (!(tcr & TCR_DS))
		descriptor |= DESC_SH_INNER;
	return descriptor;
}

static void rh_flush_va(u64 va)
{
	u64 operand = va >> 12;

	asm volatile("dsb nshst; tlbi vaae1, %0; dsb nsh; isb" : : "r"(operand) : "memory");
}

static void rh_set_code(struct rh_cpu *cpu, const u32 *code, u32 words)
{
	unsigned long at, start = (unsigned long)cpu->code, end = start + words * 4;

	memcpy(cpu->code, code, words * 4);
	for (at = start; at < end; at += 16)
		asm volatile("dc cvau, %0" : : "r"(at) : "memory");
	asm volatile("dsb ish; ic iallu; dsb nsh; isb" : : : "memory");
}

/* Runs one step on this CPU. Interrupts are masked for its length. */
static void rh_step(struct rh_step *step, struct rh_frame *frame, const u32 *code, u32 *cpu_out)
{
	u64 daif, vbar, ttbr0, tcr, cpacr, step_tcr;
	struct rh_cpu *cpu;
	int i;

	memcpy(frame->x, step->x, sizeof(frame->x));
	frame->esr = 0;
	frame->far = 0;
	frame->elr = 0;
	frame->flags = step->flags;
	frame->entry = RH_CODE_VA;

	kernel_neon_begin();
	asm volatile("mrs %0, daif; msr daifset, #15" : "=r"(daif) : : "memory");
	cpu = this_cpu_ptr(&rh_cpus);
	*cpu_out = smp_processor_id();
	vbar = read_sysreg(vbar_el1);
	ttbr0 = read_sysreg(ttbr0_el1);
	tcr = read_sysreg(tcr_el1);
	cpacr = read_sysreg(cpacr_el1);
	step_tcr = (tcr & ~(TCR_T0SZ_MASK | TCR_TG0_MASK | BIT(7))) | TCR_T0SZ_39;

	rh_set_code(cpu, code, step->words);
	for (i = 0; i < RH_MAPS; i++) {
		u64 *entry = &cpu->level3[(RH_WINDOW_VA >> 12) + i];
		u64 descriptor = rh_descriptor(step->map[i].pa, step->map[i].attribute, step_tcr);

		if (*entry != descriptor) {
			WRITE_ONCE(*entry, 0);
			rh_flush_va(RH_WINDOW_VA + i * PAGE_SIZE);
			WRITE_ONCE(*entry, descriptor);
		}
	}
	WRITE_ONCE(cpu->level3[RH_CODE_VA >> 12],
		   rh_descriptor(virt_to_phys(cpu->code), RH_NORMAL, step_tcr));
	asm volatile("dsb ishst" : : : "memory");

	write_sysreg(cpacr | GENMASK(21, 20) | (step->flags & RH_SVE ? GENMASK(17, 16) : 0),
		     cpacr_el1);
	write_sysreg((unsigned long)rh_vectors, vbar_el1);
	write_sysreg(virt_to_phys(cpu->level1), ttbr0_el1);
	write_sysreg(step_tcr, tcr_el1);
	asm volatile("isb; tlbi vmalle1; dsb nsh; isb" : : : "memory");

	rh_guarded(frame);

	write_sysreg(tcr, tcr_el1);
	write_sysreg(ttbr0, ttbr0_el1);
	write_sysreg(vbar, vbar_el1);
	write_sysreg(cpacr, cpacr_el1);
	asm volatile("isb; tlbi vmalle1; dsb nsh; isb" : : : "memory");
	asm volatile("msr daif, %0" : : "r"(daif) : "memory");
	kernel_neon_end();

	memcpy(step->x, frame->x, sizeof(step->x));
	step->esr = frame->esr;
	step->far = frame->far;
	step->elr = frame->outcome == RH_RETURNED ? 0 : frame->elr - RH_CODE_VA;
	step->outcome = frame->outcome;
}

static int rh_barrier(void)
{
	atomic_inc(&rh_arrived);
	while (atomic_read(&rh_arrived) < atomic_read(&rh_participants)) {
		if (signal_pending(current))
			return -EINTR;
		cond_resched();
		cpu_relax();
	}
	return 0;
}

/* A step as the kernel keeps it between its copy in and its copy out. */
struct rh_prepared {
	struct rh_step in, out;
	u32 code[RH_MAX_WORDS];
	struct rh_fp *fp;	/* as given */
	struct rh_fp *fp_live;	/* what the registers are loaded from and stored to */
};

static int rh_prepare(struct rh_prepared *prepared)
{
	struct rh_step *step = &prepared->in;

	if (!step->words || step->words > RH_MAX_WORDS || (step->flags & ~(RH_FP | RH_SVE | RH_IRQS)))
		return -EINVAL;
	if (!(step->flags & RH_FP) != !step->fp || (step->flags & (RH_FP | RH_SVE)) == RH_SVE)
		return -EINVAL;
	if ((step->flags & RH_SVE) &&
	    !cpuid_feature_extract_unsigned_field(read_sysreg(id_aa64pfr0_el1),
						  ID_AA64PFR0_EL1_SVE_SHIFT))
		return -EOPNOTSUPP;
	if (copy_from_user(prepared->code, u64_to_user_ptr(step->code), step->words * 4))
		return -EFAULT;
	if (step->fp) {
		prepared->fp = kmalloc(sizeof(*prepared->fp), GFP_KERNEL);
		prepared->fp_live = kmalloc(sizeof(*prepared->fp), GFP_KERNEL);
		if (!prepared->fp || !prepared->fp_live)
			return -ENOMEM;
		if (copy_from_user(prepared->fp, u64_to_user_ptr(step->fp), sizeof(*prepared->fp)))
			return -EFAULT;
	}
	return 0;
}

static int rh_repeat(struct rh_run *run, struct rh_prepared *prepared, struct rh_frame *frame,
		     struct rh_log *log)
{
	u32 repetition, i;

	for (repetition = 0; repetition < run->repeat; repetition++) {
		for (i = 0; i < run->count; i++) {
			struct rh_prepared *step = &prepared[i];

			step->out = step->in;
			frame->fp = step->fp_live;
			if (step->fp)
				memcpy(step->fp_live, step->fp, sizeof(*step->fp));
			rh_step(&step->out, frame, step->code, &run->cpu);
			if (log) {
				memcpy(log->x, step->out.x, sizeof(log->x));
				log->esr = step->out.esr;
				log->step = i;
				log->outcome = step->out.outcome;
				log++;
			}
		}
		run->done++;
		if ((run->flags & RH_UNTIL_PEER) && atomic_read(&rh_finished))
			break;
		if (signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

static int rh_copy_out(struct rh_run *run, struct rh_prepared *prepared)
{
	struct rh_step __user *steps = u64_to_user_ptr(run->steps);
	u32 i;

	for (i = 0; i < run->count; i++) {
		if (copy_to_user(&steps[i], &prepared[i].out, sizeof(steps[i])))
			return -EFAULT;
		if (prepared[i].fp && copy_to_user(u64_to_user_ptr(prepared[i].in.fp),
						   prepared[i].fp_live, sizeof(struct rh_fp)))
			return -EFAULT;
	}
	return 0;
}

static long rh_run(void __user *argument)
{
	struct rh_prepared *prepared = NULL;
	struct rh_log *log = NULL;
	struct rh_frame *frame;
	size_t log_size = 0;
	struct rh_run run;
	int result;
	u32 i;

	if (copy_from_user(&run, argument, sizeof(run)))
		return -EFAULT;
	if (!run.count || run.count > RH_MAX_STEPS || !run.repeat || run.repeat > 10000000 ||
	    (run.flags & ~(RH_BARRIER | RH_UNTIL_PEER)))
		return -EINVAL;
	if (run.log) {
		log_size = array3_size(run.count, run.repeat, sizeof(*log));
		if (log_size > SZ_128M)
			return -E2BIG;
		log = vzalloc(log_size);
	}
	run.done = 0;
	frame = kzalloc(sizeof(*frame), GFP_KERNEL);
	prepared = kvcalloc(run.count, sizeof(*prepared), GFP_KERNEL);
	result = -ENOMEM;
	if (!frame || !prepared || (log_size && !log))
		goto out;
	for (i = 0; i < run.count; i++) {
		struct rh_step __user *steps = u64_to_user_ptr(run.steps);

		result = -EFAULT;
		if (copy_from_user(&prepared[i].in, &steps[i], sizeof(prepared[i].in)))
			goto out;
		result = rh_prepare(&prepared[i]);
		if (result)
			goto out;
	}
	result = run.flags & RH_BARRIER ? rh_barrier() : 0;
	if (!result)
		result = rh_repeat(&run, prepared, frame, log);
	if (run.flags & RH_BARRIER)
		atomic_inc(&rh_finished);
	if (result)
		goto out;
	result = rh_copy_out(&run, prepared);
	if (!result && log && copy_to_user(u64_to_user_ptr(run.log), log, log_size))
		result = -EFAULT;
	if (!result && copy_to_user(argument, &run, sizeof(run)))
		result = -EFAULT;
out:
	for (i = 0; prepared && i < run.count; i++) {
		kfree(prepared[i].fp);
		kfree(prepared[i].fp_live);
	}
	kvfree(prepared);
	kfree(frame);
	vfree(log);
	return result;
}

static long rh_pages(unsigned int command, void __user *argument)
{
	struct rh_pages pages;
	struct page *page;

	if (copy_from_user(&pages, argument, sizeof(pages)))
		return -EFAULT;
	if (pages.order > RH_MAX_ORDER || pages.pad)
		return -EINVAL;
	if (command == RH_IOC_FREE) {
		if (!pfn_valid(pages.pfn))
			return -EINVAL;
		__free_pages(pfn_to_page(pages.pfn), pages.order);
		return 0;
	}
	page = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN, pages.order);
	if (!page)
		return -ENOMEM;
	pages.pfn = page_to_pfn(page);
	if (!copy_to_user(argument, &pages, sizeof(pages)))
		return 0;
	__free_pages(page, pages.order);
	return -EFAULT;
}

static long rh_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	void __user *pointer = (void __user *)argument;
	u32 participants;

	switch (command) {
	case RH_IOC_ALLOC:
	case RH_IOC_FREE:
		return rh_pages(command, pointer);
	case RH_IOC_RUN:
		return rh_run(pointer);
	case RH_IOC_GROUP:
		if (get_user(participants, (u32 __user *)pointer))
			return -EFAULT;
		if (!participants || participants > nr_cpu_ids)
			return -EINVAL;
		atomic_set(&rh_participants, participants);
		atomic_set(&rh_arrived, 0);
		atomic_set(&rh_finished, 0);
		return 0;
	default:
		return -ENOTTY;
	}
}

/* Maps any physical range; the offset is the physical address. */
static int rh_mmap(struct file *file, struct vm_area_struct *vma)
{
	return remap_pfn_range(vma, vma->vm_start, vma->vm_pgoff, vma->vm_end - vma->vm_start,
			       vma->vm_page_prot);
}

static const struct file_operations rh_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = rh_ioctl,
	.mmap = rh_mmap,
};

static struct miscdevice rh_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "redoubt-hostile",
	.fops = &rh_operations,
	.mode = 0600,
};

static void rh_free_cpus(void)
{
	int number;

	for_each_possible_cpu(number) {
		struct rh_cpu *cpu = per_cpu_ptr(&rh_cpus, number);

		free_page((unsigned long)cpu->level1);
		free_page((unsigned long)cpu->level2);
		free_page((unsigned long)cpu->level3);
		free_page((unsigned long)cpu->code);
		memset(cpu, 0, sizeof(*cpu));
	}
}

static int __init rh_init(void)
{
	int number, result;

	for_each_possible_cpu(number) {
		struct rh_cpu *cpu = per_cpu_ptr(&rh_cpus, number);

		cpu->level1 = (u64 *)get_zeroed_page(GFP_KERNEL);
		cpu->level2 = (u64 *)get_zeroed_page(GFP_KERNEL);
		cpu->level3 = (u64 *)get_zeroed_page(GFP_KERNEL);
		cpu->code = (u32 *)get_zeroed_page(GFP_KERNEL);
		if (!cpu->level1 || !cpu->level2 || !cpu->level3 || !cpu->code) {
			rh_free_cpus();
			return -ENOMEM;
		}
		cpu->level1[0] = virt_to_phys(cpu->level2) | DESC_PAGE;
		cpu->level2[0] = virt_to_phys(cpu->level3) | DESC_PAGE;
	}
	result = misc_register(&rh_device);
	if (result)
		rh_free_cpus();
	return result;
}
module_init(rh_init);

static void __exit rh_exit(void)
{
	misc_deregister(&rh_device);
	rh_free_cpus();
}
module_exit(rh_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Raw EL1 power for the hostile-host tests; never ship");

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Structures of the driver and how they hang together.
 *
 * A VM lives until its file descriptor, those of its vCPUs and that of its
 * interrupt controller are all closed; only then is it torn down. vCPUs are
 * never freed before their VM.
 *
 * Lock order: rdt_vcpu.mutex, rdt_vm.lock, mmap_lock, rdt_vgic.lock.
 */
#ifndef REDOUBT_H
#define REDOUBT_H

#include <linux/atomic.h>
#include <linux/irq.h>
#include <linux/kref.h>
#include <linux/kvm.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/rcuwait.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

#include "redoubt_abi.h"
#include "vgic.h"

#define RDT_MAX_SLOTS	64
#define RDT_MAX_VCPUS	VGIC_MAX_CPUS
#define RDT_NO_ADDRESS	(~0ULL)

/**
 * struct rdt_limits - what EL2 said of itself when the module was loaded
 * @vcpus: most vCPUs of a VM
 * @ipa_bits: largest intermediate physical address size
 * @pages: most pages of one hypercall
 * @list_registers: GIC list registers
 * @timer_intid: INTID of the virtual timer
 * @cpus: physical CPUs
 * @dma_guard: why devices are not kept from memory, REDOUBT_DMA_*
 * @dma_culprit: which device that is about
 * @protected: protected VMs are offered
 * @stats: counters count
 */
struct rdt_limits {
	unsigned int vcpus;
	unsigned int ipa_bits;
	unsigned int pages;
	unsigned int list_registers;
	unsigned int timer_intid;
	unsigned int cpus;
	u64 dma_guard;
	u64 dma_culprit;
	bool protected;
	bool stats;
};

extern struct rdt_limits rdt_limits;

/**
 * struct rdt_slot - a KVM memory slot
 * @pages: number of pages, zero if the slot is free
 * @gfn: first guest frame
 * @hva: address in the VMM
 * @page: the pinned page of each frame, NULL where the guest has none. A page
 *	  is in here exactly as long as this driver holds a pin on it.
 */
struct rdt_slot {
	unsigned long pages;
	u64 gfn;
	unsigned long hva;
	struct page **page;
};

/**
 * struct rdt_vgic - interrupt controller of a VM
 * @model: its state
 * @lock: guards @model and the vgic_cpu of every vCPU
 * @dist_base: guest physical address of the distributor, or RDT_NO_ADDRESS
 * @redist_base: that of the redistributors, or RDT_NO_ADDRESS
 * @ready: initialised by the VMM; nothing else may change after
 */
struct rdt_vgic {
	struct vgic model;
	raw_spinlock_t lock;
	u64 dist_base;
	u64 redist_base;
	bool ready;
};

struct dentry;
struct kvm_vcpu;
struct rdt_vcpu;

/**
 * struct rdt_vm - a virtual machine
 * @users: file descriptors
 * @mm: address space of the VMM
 * @handle: name of the VM at EL2
 * @ipa_bits: size of the guest's physical address space
 * @protected: EL2 keeps the VM's memory and registers from the host
 * @unlimited: its creator could lock memory without limit; that counts, as a VMM
 *	       has good reason to drop its privileges before the VM runs
 * @lock: guards all below except where it says otherwise
 * @slots: memory
 * @donated: pages that are EL2's until the VM is gone, linked by page.lru, their
 *	     order in page.private
 * @pinned: pages in the slots that are pinned, for RLIMIT_MEMLOCK
 * @nr_vcpus: vCPUs, for readers without the lock stored with release
 * @vcpus: in the order of their creation
 * @vgic: interrupt controller, NULL if there is none; set once
 * @started: a vCPU was run; memory of a protected VM is fixed from then on
 * @broken: the VM could not be started completely and will never run
 * @pauses: how many threads want all vCPUs out of the guest; no lock
 * @resumed: vCPUs that wait for @pauses to become zero
 */
struct rdt_vm {
	struct kref users;
	struct mm_struct *mm;
	u64 handle;
	u8 ipa_bits;
	bool protected;
	bool unlimited;
	struct mutex lock;
	struct rdt_slot slots[RDT_MAX_SLOTS];
	struct list_head donated;
	unsigned long pinned;
	unsigned int nr_vcpus;
	struct rdt_vcpu *vcpus[RDT_MAX_VCPUS];
	struct rdt_vgic *vgic;
	bool started;
	bool broken;
	atomic_t pauses;
	wait_queue_head_t resumed;
};

/**
 * struct rdt_vcpu - a virtual CPU
 * @vm: its VM
 * @id: index at EL2, and what MPIDR is made from
 * @mutex: one ioctl at a time
 * @run: page that is shared with the VMM
 * @entry: page that is shared with EL2
 * @xfer: for xfer.c
 * @initialised: KVM_ARM_VCPU_INIT was done, so EL2 knows the vCPU
 * @features: features of KVM_ARM_VCPU_INIT, without POWER_OFF
 * @starts_off: it starts powered off
 * @has_run: it was in the guest
 * @mmio_pending: the VMM has to complete an MMIO access
 * @entry_flags: REDOUBT_ENTRY_* for the next entry
 * @mmio_data: data for it
 * @power_ons: how often the guest switched this vCPU on; no lock
 * @in_guest: it runs, or is about to, with interrupts off; no lock
 * @task: thread in KVM_RUN; no lock, read under RCU
 * @wait: that thread, when it sleeps
 * @timer_ctl: CNTV_CTL_EL0 at the last exit
 * @timer_deadline: counter value at which the timer fires
 * @gic: redistributor and list registers, guarded by rdt_vgic.lock
 */
struct rdt_vcpu {
	struct rdt_vm *vm;
	unsigned int id;
	struct mutex mutex;
	struct kvm_run *run;
	struct redoubt_run *entry;
	struct kvm_vcpu *xfer;
	bool initialised;
	u32 features;
	bool starts_off;
	bool has_run;
	bool mmio_pending;
	u64 entry_flags;
	u64 mmio_data;
	atomic_t power_ons;
	bool in_guest;
	struct task_struct *task;
	struct rcuwait wait;
	u64 timer_ctl;
	u64 timer_deadline;
	struct vgic_cpu gic;
};

/* Aff2, Aff1 and Aff0, as KVM makes them from a vCPU's number. */
static inline u32 rdt_affinity(unsigned int id)
{
	return (id & 0xf) | ((id >> 4) & 0xff) << 8 | ((id >> 12) & 0xff) << 16;
}

/* Number of vCPUs, for readers without the lock. */
static inline unsigned int rdt_nr_vcpus(struct rdt_vm *vm)
{
	/* Pairs with the release in rdt_vcpu_create(). */
	return smp_load_acquire(&vm->nr_vcpus);
}

/* main.c */
int rdt_check_extension(unsigned long extension);

/* vm.c */
int rdt_vm_create(unsigned long type);
void rdt_vm_put(struct rdt_vm *vm);
int rdt_vm_start(struct rdt_vm *vm);
struct page *rdt_donate_alloc(struct rdt_vm *vm, unsigned int order);
void rdt_donate_abort(struct page *page);
void rdt_vm_pause(struct rdt_vm *vm);
void rdt_vm_resume(struct rdt_vm *vm);
struct rdt_vcpu *rdt_vcpu_by_id(struct rdt_vm *vm, unsigned int id);

/* mem.c */
int rdt_mem_set_region(struct rdt_vm *vm, const struct kvm_userspace_memory_region *r);
int rdt_mem_check(struct rdt_vm *vm);
int rdt_mem_start(struct rdt_vm *vm);
int rdt_mem_fault(struct rdt_vm *vm, u64 gpa);
bool rdt_mem_has(struct rdt_vm *vm, u64 gpa);
void rdt_mem_release(struct rdt_vm *vm);

/* vcpu.c */
int rdt_vcpu_create(struct rdt_vm *vm, unsigned int id);
void rdt_vcpu_free(struct rdt_vcpu *vcpu);
void rdt_vcpu_kick(struct rdt_vcpu *vcpu);

/* reg.c */
int rdt_reg_get(struct rdt_vcpu *vcpu, const struct kvm_one_reg *reg);
int rdt_reg_set(struct rdt_vcpu *vcpu, const struct kvm_one_reg *reg);
int rdt_reg_list(struct rdt_vcpu *vcpu, struct kvm_reg_list __user *list);
int rdt_reg_reset(struct rdt_vcpu *vcpu);

/* vgic_dev.c */
int rdt_vgic_create_device(struct rdt_vm *vm, struct kvm_create_device *device);
int rdt_vgic_check(struct rdt_vm *vm);
void rdt_vgic_free(struct rdt_vm *vm);
int rdt_vgic_inject(struct rdt_vm *vm, struct rdt_vcpu *vcpu, u32 intid, bool level);
void rdt_vgic_sgi(struct rdt_vcpu *vcpu, u64 sgi1r);
bool rdt_vgic_mmio(struct rdt_vcpu *vcpu, u64 gpa, unsigned int len, bool write,
		   u64 *data);
bool rdt_vgic_would_wake(struct rdt_vcpu *vcpu);
void rdt_vgic_enter(struct rdt_vcpu *vcpu);
void rdt_vgic_exit(struct rdt_vcpu *vcpu, bool ran);

/* timer.c */
int rdt_timer_init(void);
void rdt_timer_fini(void);
bool rdt_timer_line(const struct rdt_vcpu *vcpu);
bool rdt_timer_expiry(const struct rdt_vcpu *vcpu, ktime_t *expiry);
void rdt_timer_set_active(bool active);
void rdt_timer_deactivated(void);

/* dma.c */
void rdt_dma_init(struct dentry *dir);
void rdt_dma_fini(void);
void rdt_dma_explain(void);

/* irq.c */
int rdt_irq_line(struct rdt_vm *vm, const struct kvm_irq_level *level);

#endif

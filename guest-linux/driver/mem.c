// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of VMs: slots, and which of the VMM's pages the guest has.
 *
 * A page that the guest has is pinned, from before EL2 maps it until EL2 has
 * given it up; the pin is what keeps Linux from moving or reusing it.
 *
 * Protected VMs: the pages are donated and the host cannot read or write them
 * until the VM is gone. When the VM starts, every page that has contents is
 * donated and keeps them; the others follow when the guest touches them, and are
 * scrubbed by EL2. Since a kernel access to such a page would be an oops, the
 * VMM's mapping is guarded: it is not dumped, not copied by fork(), not merged,
 * collapsed or migrated, and no other process can reach into it.
 *
 * Other VMs: the pages are lent, the host keeps its access, and all of them
 * follow when the guest touches them.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/pgtable.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "hyp.h"
#include "redoubt.h"

/*
 * VM_IO keeps away get_user_pages() for everyone else, and with it ptrace,
 * process_vm_readv() and core dumps; VM_DONTEXPAND keeps away KSM, khugepaged and
 * a later MADV_DODUMP.
 */
#define GUARD_FLAGS	(VM_IO | VM_DONTEXPAND | VM_DONTCOPY | VM_DONTDUMP)

/* What a VMM may map beyond its slots, to align them. */
#define SLACK		SZ_2M

/* Pages that a fault brings in where the memory is not in huge pages. */
#define FAULT_AROUND	16UL

/* Table pages are donated in blocks of this order. */
#define TABLES_ORDER	3
/* Blocks that one call can need at most: far above the real need. */
#define TABLES_TRIES	16

static u64 slot_end(const struct rdt_slot *slot)
{
	return slot->gfn + slot->pages;
}

static struct rdt_slot *find_slot(struct rdt_vm *vm, u64 gfn)
{
	struct rdt_slot *slot;

	for (slot = vm->slots; slot < vm->slots + RDT_MAX_SLOTS; slot++)
		if (slot->pages && gfn >= slot->gfn && gfn < slot_end(slot))
			return slot;
	return NULL;
}

/* Guards a mapping that donated pages are in. */
static int guard_vma(struct vm_area_struct *vma)
{
	unsigned long flags = vma->vm_flags;
	int ret;

	if (flags & VM_MERGEABLE) {
		ret = ksm_madvise(vma, vma->vm_start, vma->vm_end, MADV_UNMERGEABLE,
				  &flags);
		if (ret)
			return ret;
		vm_flags_clear(vma, VM_MERGEABLE);
	}
	vm_flags_set(vma, GUARD_FLAGS);
	return 0;
}

/* A mapping that guard_vma() has seen, be it with VM_IO or without at the moment. */
static bool is_guarded(const struct vm_area_struct *vma)
{
	const unsigned long kept = GUARD_FLAGS & ~VM_IO;

	/* Nobody but drivers sets VM_DONTEXPAND; theirs are not of plain memory. */
	return (vma->vm_flags & (kept | VM_PFNMAP | VM_MIXEDMAP)) == kept;
}

/*
 * Whether a mapping is for guest memory alone, so that it can be guarded: what
 * else is in it would be lost to fork() and to get_user_pages(). A VMM that has
 * taken it out of fork() itself knows.
 */
static bool is_separate(const struct rdt_vm *vm, const struct vm_area_struct *vma)
{
	unsigned long outside = vma->vm_end - vma->vm_start;
	const struct rdt_slot *slot;

	if (vma->vm_flags & VM_DONTCOPY)
		return true;
	for (slot = vm->slots; slot < vm->slots + RDT_MAX_SLOTS; slot++) {
		unsigned long start = max(slot->hva, vma->vm_start);
		unsigned long end = min(slot->hva + slot->pages * PAGE_SIZE, vma->vm_end);

		if (slot->pages && start < end)
			outside -= min(end - start, outside);
	}
	return outside <= SLACK;
}

/*
 * Pins a range of addresses, all of it or nothing. Called with mmap_lock held for
 * writing, so that nobody sees a guarded mapping without VM_IO.
 */
static int pin_locked(struct rdt_vm *vm, unsigned long start, unsigned long pages,
		      struct page **page)
{
	unsigned long end = start + pages * PAGE_SIZE;
	struct vm_area_struct *vma;
	long got;
	int ret;
	VMA_ITERATOR(before, vm->mm, start);
	VMA_ITERATOR(after, vm->mm, start);

	for_each_vma_range(before, vma, end)
		if (is_guarded(vma))
			vm_flags_clear(vma, VM_IO);

	got = pin_user_pages(start, pages, FOLL_WRITE | FOLL_LONGTERM, page);
	ret = got == pages ? 0 : got < 0 ? got : -EFAULT;

	for_each_vma_range(after, vma, end) {
		int err = 0;

		/* Another VM of this VMM may have guarded it. */
		if (is_guarded(vma))
			vm_flags_set(vma, VM_IO);
		else if (vm->protected)
			err = is_separate(vm, vma) ? guard_vma(vma) : -EINVAL;
		if (!ret)
			ret = err;
	}

	if (ret && got > 0)
		unpin_user_pages(page, got);
	return ret;
}

/*
 * Pins pages of a slot, none of which is pinned, and charges them to
 * RLIMIT_MEMLOCK. All or nothing.
 */
static int pin_pages(struct rdt_vm *vm, struct rdt_slot *slot, unsigned long first,
		     unsigned long pages)
{
	struct mm_struct *mm = vm->mm;
	int ret;

	if (mmap_write_lock_killable(mm))
		return -EINTR;

	ret = __account_locked_vm(mm, pages, true, current, vm->unlimited);
	if (!ret) {
		ret = pin_locked(vm, slot->hva + first * PAGE_SIZE, pages,
				 slot->page + first);
		if (ret) {
			__account_locked_vm(mm, pages, false, current, true);
			memset(slot->page + first, 0, pages * sizeof(*slot->page));
		} else {
			vm->pinned += pages;
		}
	}
	mmap_write_unlock(mm);
	return ret;
}

/* Lets go of pages that EL2 does not have, or has no longer. */
static void unpin_pages(struct rdt_vm *vm, struct rdt_slot *slot, unsigned long first,
			unsigned long pages)
{
	unpin_user_pages_dirty_lock(slot->page + first, pages, true);
	memset(slot->page + first, 0, pages * sizeof(*slot->page));
	account_locked_vm(vm->mm, pages, false);
	vm->pinned -= pages;
}

static int add_tables(struct rdt_vm *vm)
{
	struct page *page = rdt_donate_alloc(vm, TABLES_ORDER);
	int ret;

	if (!page)
		return -ENOMEM;
	ret = hyp_vm_add_tables(vm->handle, page_to_pfn(page), 1 << TABLES_ORDER);
	if (ret)
		rdt_donate_abort(page);
	return ret;
}

/* Maps a run, giving EL2 pages for tables as it asks for them. */
static long map_run(struct rdt_vm *vm, unsigned long pfn, u64 gfn, unsigned long pages,
		    u64 flags)
{
	int tries;
	long status;

	for (tries = 0; tries < TABLES_TRIES; tries++) {
		status = hyp_vm_map(vm->handle, pfn, gfn << PAGE_SHIFT, pages, flags);
		if (status != REDOUBT_STATUS_NO_TABLES || add_tables(vm))
			break;
	}
	return status;
}

/* Takes a run back, which may need tables too, where it is part of a block. */
static int unmap_run(struct rdt_vm *vm, u64 gfn, unsigned long pages)
{
	int tries = 0;
	long status;
	u64 done;

	while (pages) {
		status = hyp_vm_unmap(vm->handle, gfn << PAGE_SHIFT, pages, &done);
		if (status == REDOUBT_STATUS_NO_TABLES && tries++ < TABLES_TRIES &&
		    !add_tables(vm))
			continue;
		if (status)
			return hyp_errno(REDOUBT_VM_UNMAP, vm->handle,
					 gfn << PAGE_SHIFT, status);
		done = min_t(u64, done, pages);
		gfn += done;
		pages -= done;
	}
	return 0;
}

/* Length of the run, contiguous in physical memory, that one call can map. */
static unsigned long run_length(const struct rdt_slot *slot, unsigned long first,
				unsigned long end)
{
	/* Runs end at multiples of the limit, so that blocks stay whole. */
	unsigned long limit = rdt_limits.pages - (slot->gfn + first) % rdt_limits.pages;
	unsigned long pfn = page_to_pfn(slot->page[first]);
	unsigned long n;

	end = min(end, first + limit);
	for (n = 1; first + n < end; n++)
		if (page_to_pfn(slot->page[first + n]) != pfn + n)
			break;
	return n;
}

/* Maps pinned pages; those that EL2 does not take are unpinned. */
static int map_pages(struct rdt_vm *vm, struct rdt_slot *slot, unsigned long first,
		     unsigned long end, u64 flags)
{
	while (first < end) {
		unsigned long pfn = page_to_pfn(slot->page[first]);
		unsigned long n = run_length(slot, first, end);
		u64 gfn = slot->gfn + first;
		long status = map_run(vm, pfn, gfn, n, flags);

		if (status) {
			pr_warn_ratelimited("VM %#llx: pages %#lx to %#lx were not mapped\n",
					    vm->handle, pfn, pfn + n - 1);
			unpin_pages(vm, slot, first, end - first);
			return hyp_errno(REDOUBT_VM_MAP, vm->handle, gfn << PAGE_SHIFT,
					 status);
		}
		first += n;
		cond_resched();
	}
	return 0;
}

static u64 fault_flags(const struct rdt_vm *vm)
{
	return vm->protected ? 0 : REDOUBT_MAP_KEEP;
}

/*
 * The pages around @index, within the aligned block of @span frames it is in and
 * within the slot, that are not pinned: [*first, *end).
 */
static void free_window(const struct rdt_slot *slot, unsigned long index,
			unsigned long span, unsigned long *first, unsigned long *end)
{
	u64 gfn = slot->gfn + index;
	u64 low = max(round_down(gfn, span), slot->gfn);
	u64 high = min(round_down(gfn, span) + span, slot_end(slot));
	unsigned long lo = index, hi = index + 1;

	while (lo > low - slot->gfn && !slot->page[lo - 1])
		lo--;
	while (hi < high - slot->gfn && !slot->page[hi])
		hi++;
	*first = lo;
	*end = hi;
}

/* Whether the huge page around a pinned page can be mapped as one block. */
static bool is_block(const struct rdt_slot *slot, unsigned long index)
{
	struct page *page = slot->page[index];

	return folio_nr_pages(page_folio(page)) >= HPAGE_PMD_NR &&
	       page_to_pfn(page) % HPAGE_PMD_NR ==
	       (slot->gfn + index) % HPAGE_PMD_NR;
}

/* Gives the guest a page it has not had yet, and some of those around it. */
static int fault_new(struct rdt_vm *vm, struct rdt_slot *slot, unsigned long index)
{
	unsigned long span = min_t(unsigned long, HPAGE_PMD_NR, rdt_limits.pages);
	unsigned long first, end, block_first, block_end;
	int ret;

	free_window(slot, index, span, &block_first, &block_end);
	free_window(slot, index, FAULT_AROUND, &first, &end);

	ret = pin_pages(vm, slot, first, end - first);
	if (ret && ret != -EINTR && end - first > 1) {
		first = index;
		end = index + 1;
		ret = pin_pages(vm, slot, first, 1);
	}
	if (ret)
		return ret;

	if (is_block(slot, index)) {
		if (block_first < first &&
		    !pin_pages(vm, slot, block_first, first - block_first))
			first = block_first;
		if (end < block_end && !pin_pages(vm, slot, end, block_end - end))
			end = block_end;
	}
	return map_pages(vm, slot, first, end, fault_flags(vm));
}

/*
 * Gives the guest a page again that it has had: either another vCPU was faster,
 * or the guest has relinquished it to the host.
 */
static int fault_again(struct rdt_vm *vm, struct rdt_slot *slot, unsigned long index)
{
	u64 gfn = slot->gfn + index;
	long status = map_run(vm, page_to_pfn(slot->page[index]), gfn, 1,
			      fault_flags(vm));

	switch (status) {
	case REDOUBT_STATUS_ALREADY_MAPPED:
	/*
	 * EL2 may look at the page's owner first. This VM took the page once, so a
	 * page that is donated or lent is this VM's still.
	 */
	case REDOUBT_STATUS_NOT_OWNER:
	case REDOUBT_STATUS_SHARED:
		return 0;
	default:
		return hyp_errno(REDOUBT_VM_MAP, vm->handle, gfn << PAGE_SHIFT,
				 status);
	}
}

/**
 * rdt_mem_fault - gives the guest memory where it touched a slot
 * @vm: the VM, started
 * @gpa: the address
 *
 * Return: zero if the guest can try again, -ENOENT if there is no slot, or
 * another negative errno if there is no memory to be had.
 */
int rdt_mem_fault(struct rdt_vm *vm, u64 gpa)
{
	u64 gfn = gpa >> PAGE_SHIFT;
	struct rdt_slot *slot;
	int ret = -ENOENT;

	if (mutex_lock_killable(&vm->lock))
		return -EINTR;
	slot = find_slot(vm, gfn);
	if (slot && slot->page[gfn - slot->gfn])
		ret = fault_again(vm, slot, gfn - slot->gfn);
	else if (slot)
		ret = fault_new(vm, slot, gfn - slot->gfn);
	mutex_unlock(&vm->lock);
	return ret;
}

/**
 * rdt_mem_has - tells whether an address is in a slot
 * @vm: the VM
 * @gpa: the address
 *
 * Return: true if it is.
 */
bool rdt_mem_has(struct rdt_vm *vm, u64 gpa)
{
	bool has;

	mutex_lock(&vm->lock);
	has = find_slot(vm, gpa >> PAGE_SHIFT);
	mutex_unlock(&vm->lock);
	return has;
}

/* Marks the pages of a slot that the addresses from @start to @end are of. */
static void mark(const struct rdt_slot *slot, unsigned long *contents,
		 unsigned long start, unsigned long end)
{
	bitmap_set(contents, (start - slot->hva) >> PAGE_SHIFT,
		   (end - start) >> PAGE_SHIFT);
}

/*
 * Marks what an anonymous mapping has contents for: wherever there is an entry in
 * the page table, be it a page, one that was swapped out or one that migrates.
 * mmap_lock keeps the tables of anonymous mappings in place.
 */
static void mark_anonymous(const struct rdt_slot *slot, unsigned long *contents,
			   struct mm_struct *mm, unsigned long addr, unsigned long end)
{
	unsigned long next;

	for (; addr < end; addr = next) {
		pgd_t *pgd = pgd_offset(mm, addr);
		p4d_t *p4d;
		pud_t *pud, pud_value;
		pmd_t *pmd, pmd_value;

		next = pgd_addr_end(addr, end);
		if (pgd_none(READ_ONCE(*pgd)))
			continue;
		p4d = p4d_offset(pgd, addr);
		next = p4d_addr_end(addr, end);
		if (p4d_none(READ_ONCE(*p4d)))
			continue;
		pud = pud_offset(p4d, addr);
		pud_value = READ_ONCE(*pud);
		next = pud_addr_end(addr, end);
		if (pud_none(pud_value))
			continue;
		if (!pud_present(pud_value) || pud_leaf(pud_value)) {
			mark(slot, contents, addr, next);
			continue;
		}
		pmd = pmd_offset(pud, addr);
		pmd_value = pmdp_get_lockless(pmd);
		next = pmd_addr_end(addr, end);
		if (pmd_none(pmd_value))
			continue;
		if (!pmd_present(pmd_value) || pmd_leaf(pmd_value)) {
			mark(slot, contents, addr, next);
			continue;
		}
		next = addr + PAGE_SIZE;
		if (!pte_none(ptep_get_lockless(pte_offset_kernel(pmd, addr))))
			mark(slot, contents, addr, next);
	}
}

/* Marks what a shared mapping of a file has contents for: all but the holes. */
static void mark_file(const struct rdt_slot *slot, unsigned long *contents,
		      struct file *mapped, loff_t offset, unsigned long addr,
		      unsigned long end)
{
	loff_t last = offset + (end - addr);
	loff_t pos = offset;
	/* A file of our own, for lseek() changes the position. */
	struct file *file = dentry_open(&mapped->f_path, O_RDONLY | O_LARGEFILE,
					current_cred());

	if (IS_ERR(file)) {
		mark(slot, contents, addr, end);
		return;
	}
	while (pos < last) {
		loff_t data = vfs_llseek(file, pos, SEEK_DATA);
		loff_t hole = data < 0 ? data : vfs_llseek(file, data, SEEK_HOLE);

		if (data == -ENXIO || data >= last)
			break;
		if (hole <= pos) {
			/* The file cannot tell: then it is all contents. */
			data = pos;
			hole = last;
		}
		data = max_t(loff_t, round_down(data, PAGE_SIZE), offset);
		hole = min_t(loff_t, round_up(hole, PAGE_SIZE), last);
		mark(slot, contents, addr + (data - offset), addr + (hole - offset));
		pos = hole;
	}
	fput(file);
}

/* Marks the pages of a slot that have contents, without making any. */
static int mark_contents(struct rdt_vm *vm, const struct rdt_slot *slot,
			 unsigned long *contents)
{
	unsigned long end = slot->hva + slot->pages * PAGE_SIZE;
	unsigned long addr, next;

	for (addr = slot->hva; addr < end; addr = next) {
		struct vm_area_struct *vma;
		struct file *file = NULL;
		loff_t offset = 0;

		if (mmap_read_lock_killable(vm->mm))
			return -EINTR;
		vma = find_vma(vm->mm, addr);
		if (!vma || vma->vm_start >= end) {
			mmap_read_unlock(vm->mm);
			break;
		}
		addr = max(addr, vma->vm_start);
		next = min(end, vma->vm_end);
		if (vma_is_anonymous(vma)) {
			mark_anonymous(slot, contents, vm->mm, addr, next);
		} else if (vma->vm_file && (vma->vm_flags & VM_SHARED)) {
			file = get_file(vma->vm_file);
			offset = ((loff_t)vma->vm_pgoff << PAGE_SHIFT) +
				 (addr - vma->vm_start);
		} else {
			mark(slot, contents, addr, next);
		}
		mmap_read_unlock(vm->mm);

		/* Outside mmap_lock, as file systems take their locks first. */
		if (file) {
			mark_file(slot, contents, file, offset, addr, next);
			fput(file);
		}
		cond_resched();
	}
	return 0;
}

/* Donates the pages of a slot that have contents. */
static int donate_contents(struct rdt_vm *vm, struct rdt_slot *slot)
{
	unsigned long *contents = bitmap_zalloc(slot->pages, GFP_KERNEL_ACCOUNT);
	unsigned long first, end;
	int ret;

	if (!contents)
		return -ENOMEM;

	ret = mark_contents(vm, slot, contents);
	for_each_set_bitrange(first, end, contents, slot->pages) {
		while (first < end && !ret) {
			/* Bounded, so that mmap_lock is not held for long. */
			u64 gfn = slot->gfn + first;
			unsigned long n = min_t(unsigned long, end - first,
						HPAGE_PMD_NR - gfn % HPAGE_PMD_NR);

			if (fatal_signal_pending(current))
				ret = -EINTR;
			if (!ret)
				ret = pin_pages(vm, slot, first, n);
			if (!ret)
				ret = map_pages(vm, slot, first, first + n,
						REDOUBT_MAP_KEEP);
			first += n;
			cond_resched();
		}
		if (ret)
			break;
	}
	bitmap_free(contents);
	return ret;
}

/**
 * rdt_mem_check - checks that the memory of a protected VM can be guarded
 * @vm: the VM, its lock held
 *
 * Return: zero, or -EINVAL if it shares a mapping with other memory of the VMM.
 */
int rdt_mem_check(struct rdt_vm *vm)
{
	struct vm_area_struct *vma;
	struct rdt_slot *slot;
	int ret = 0;

	if (!vm->protected)
		return 0;
	mmap_read_lock(vm->mm);
	for (slot = vm->slots; slot < vm->slots + RDT_MAX_SLOTS; slot++) {
		VMA_ITERATOR(vmi, vm->mm, slot->hva);

		if (!slot->pages)
			continue;
		for_each_vma_range(vmi, vma, slot->hva + slot->pages * PAGE_SIZE)
			if (!is_separate(vm, vma))
				ret = -EINVAL;
	}
	mmap_read_unlock(vm->mm);
	if (ret)
		pr_warn_ratelimited("guest memory shares a mapping with other memory of the VMM: set it apart with madvise(MADV_DONTFORK)\n");
	return ret;
}

/**
 * rdt_mem_start - tells EL2 about the slots before the first vCPU runs
 * @vm: the VM, its lock held
 *
 * The slots of a protected VM do not change from here on, and what the VMM put
 * there becomes the guest's.
 *
 * Return: zero or a negative errno, after which the VM cannot be started.
 */
int rdt_mem_start(struct rdt_vm *vm)
{
	struct rdt_slot *slot;
	int ret;

	for (slot = vm->slots; slot < vm->slots + RDT_MAX_SLOTS; slot++) {
		if (!slot->pages)
			continue;
		ret = hyp_vm_set_memory(vm->handle, slot->gfn << PAGE_SHIFT, slot->pages);
		if (ret)
			return ret;
	}

	if (!vm->protected)
		return 0;
	for (slot = vm->slots; slot < vm->slots + RDT_MAX_SLOTS; slot++) {
		ret = slot->pages ? donate_contents(vm, slot) : 0;
		if (ret)
			return ret;
	}
	return 0;
}

static void free_slot(struct rdt_slot *slot)
{
	kvfree(slot->page);
	memset(slot, 0, sizeof(*slot));
}

/* Takes the pages of a slot back from a VM that is not protected. */
static int unmap_slot(struct rdt_vm *vm, struct rdt_slot *slot)
{
	unsigned long first = 0, n;
	int ret;

	while (first < slot->pages) {
		if (!slot->page[first]) {
			first++;
			continue;
		}
		for (n = 1; n < rdt_limits.pages && first + n < slot->pages; n++)
			if (!slot->page[first + n])
				break;
		ret = unmap_run(vm, slot->gfn + first, n);
		if (ret)
			return ret;
		unpin_pages(vm, slot, first, n);
		first += n;
		cond_resched();
	}
	return 0;
}

static int check_region(const struct rdt_vm *vm,
			const struct kvm_userspace_memory_region *r)
{
	/* No dirty log, no read-only memory: neither is offered. */
	if (r->flags)
		return -EINVAL;
	if (r->slot >= RDT_MAX_SLOTS)
		return -EINVAL;
	if (!PAGE_ALIGNED(r->memory_size) || !PAGE_ALIGNED(r->guest_phys_addr) ||
	    !PAGE_ALIGNED(r->userspace_addr) ||
	    r->userspace_addr != untagged_addr(r->userspace_addr))
		return -EINVAL;
	if (!access_ok((void __user *)(unsigned long)r->userspace_addr, r->memory_size))
		return -EINVAL;
	if (r->guest_phys_addr + r->memory_size < r->guest_phys_addr)
		return -EINVAL;
	if (r->guest_phys_addr + r->memory_size > BIT_ULL(vm->ipa_bits))
		return -EFAULT;
	return 0;
}

static int add_slot(struct rdt_vm *vm, struct rdt_slot *slot,
		    const struct kvm_userspace_memory_region *r)
{
	u64 gfn = r->guest_phys_addr >> PAGE_SHIFT;
	u64 end = gfn + (r->memory_size >> PAGE_SHIFT);
	const struct rdt_slot *other;

	for (other = vm->slots; other < vm->slots + RDT_MAX_SLOTS; other++)
		if (other != slot && other->pages && gfn < slot_end(other) &&
		    other->gfn < end)
			return -EEXIST;

	slot->page = kvcalloc(end - gfn, sizeof(*slot->page), GFP_KERNEL_ACCOUNT);
	if (!slot->page)
		return -ENOMEM;
	slot->pages = end - gfn;
	slot->gfn = gfn;
	slot->hva = r->userspace_addr;
	return 0;
}

/* A slot that stays may only move in the guest's address space. */
static int move_slot(struct rdt_vm *vm, struct rdt_slot *slot,
		     const struct kvm_userspace_memory_region *r)
{
	struct rdt_slot moved = {};
	int ret;

	if (r->memory_size >> PAGE_SHIFT != slot->pages || r->userspace_addr != slot->hva)
		return -EINVAL;
	if (r->guest_phys_addr >> PAGE_SHIFT == slot->gfn)
		return 0;

	swap(moved, *slot);
	ret = add_slot(vm, slot, r);
	if (!ret)
		ret = unmap_slot(vm, &moved);
	if (ret) {
		free_slot(slot);
		swap(moved, *slot);
		return ret;
	}
	free_slot(&moved);
	return 0;
}

/**
 * rdt_mem_set_region - KVM_SET_USER_MEMORY_REGION
 * @vm: the VM
 * @r: the slot; of size zero to delete it
 *
 * Return: zero or a negative errno.
 */
int rdt_mem_set_region(struct rdt_vm *vm, const struct kvm_userspace_memory_region *r)
{
	struct rdt_slot *slot;
	int ret = check_region(vm, r);

	if (ret)
		return ret;

	mutex_lock(&vm->lock);
	slot = &vm->slots[r->slot];
	if (vm->protected && vm->started) {
		pr_warn_ratelimited("the memory of a protected VM that runs cannot change\n");
		ret = -EPERM;
	} else if (!r->memory_size) {
		ret = slot->pages ? unmap_slot(vm, slot) : -EINVAL;
		if (!ret)
			free_slot(slot);
	} else if (slot->pages) {
		ret = move_slot(vm, slot, r);
	} else {
		ret = add_slot(vm, slot, r);
	}
	mutex_unlock(&vm->lock);
	return ret;
}

/**
 * rdt_mem_release - lets go of all memory, which EL2 has given up
 * @vm: the VM
 */
void rdt_mem_release(struct rdt_vm *vm)
{
	struct rdt_slot *slot;
	unsigned long first, n;

	for (slot = vm->slots; slot < vm->slots + RDT_MAX_SLOTS; slot++) {
		for (first = 0; first < slot->pages; first += n) {
			n = 1;
			if (!slot->page[first])
				continue;
			while (n < HPAGE_PMD_NR && first + n < slot->pages &&
			       slot->page[first + n])
				n++;
			unpin_pages(vm, slot, first, n);
			cond_resched();
		}
		free_slot(slot);
	}
}

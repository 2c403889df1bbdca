// SPDX-License-Identifier: GPL-2.0
/*
 * Work of the thread that is due before it enters a guest: rescheduling, signals,
 * task work.
 *
 * The kernel exports a function for that, which is made for KVM: it takes a
 * struct kvm_vcpu, of which it sets the exit reason in the page that is shared
 * with the VMM and counts signals. So each vCPU has one, for this alone.
 */
#include <linux/entry-kvm.h>
#include <linux/kvm_host.h>
#include <linux/slab.h>

#include "xfer.h"

/**
 * rdt_xfer_alloc - makes what rdt_xfer_work() needs
 * @run: page that the vCPU shares with the VMM
 *
 * Return: NULL if there is no memory.
 */
struct kvm_vcpu *rdt_xfer_alloc(struct kvm_run *run)
{
	struct kvm_vcpu *xfer = kvzalloc(sizeof(*xfer), GFP_KERNEL_ACCOUNT);

	if (xfer)
		xfer->run = run;
	return xfer;
}

/**
 * rdt_xfer_free - frees it
 * @xfer: what rdt_xfer_alloc() returned
 */
void rdt_xfer_free(struct kvm_vcpu *xfer)
{
	kvfree(xfer);
}

/**
 * rdt_xfer_work - does what is due
 * @xfer: of the vCPU
 *
 * Return: zero, or -EINTR with KVM_EXIT_INTR as the exit reason.
 */
int rdt_xfer_work(struct kvm_vcpu *xfer)
{
	return xfer_to_guest_mode_handle_work(xfer);
}

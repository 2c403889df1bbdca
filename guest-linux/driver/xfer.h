/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Work of a thread that is due before it enters a guest. A header of its own, as
 * xfer.c needs KVM's structures, whose names clash with those of the driver.
 */
#ifndef REDOUBT_XFER_H
#define REDOUBT_XFER_H

struct kvm_run;
struct kvm_vcpu;

struct kvm_vcpu *rdt_xfer_alloc(struct kvm_run *run);
void rdt_xfer_free(struct kvm_vcpu *xfer);
int rdt_xfer_work(struct kvm_vcpu *xfer);

#endif

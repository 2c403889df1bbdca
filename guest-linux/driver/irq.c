// SPDX-License-Identifier: GPL-2.0
/*
 * Interrupt lines that the VMM drives.
 *
 * KVM_IRQ_LINE for PPIs and SPIs of the interrupt controller in this driver.
 */
#include "redoubt.h"

/**
 * rdt_irq_line - KVM_IRQ_LINE
 * @vm: the VM
 * @level: which interrupt, and its level
 *
 * Return: zero or a negative errno.
 */
int rdt_irq_line(struct rdt_vm *vm, const struct kvm_irq_level *level)
{
	u32 irq = level->irq;
	u32 type = (irq >> KVM_ARM_IRQ_TYPE_SHIFT) & KVM_ARM_IRQ_TYPE_MASK;
	u32 id = (irq >> KVM_ARM_IRQ_VCPU_SHIFT) & KVM_ARM_IRQ_VCPU_MASK;
	u32 num = (irq >> KVM_ARM_IRQ_NUM_SHIFT) & KVM_ARM_IRQ_NUM_MASK;
	struct rdt_vcpu *vcpu = NULL;

	id += ((irq >> KVM_ARM_IRQ_VCPU2_SHIFT) & KVM_ARM_IRQ_VCPU2_MASK) *
	      (KVM_ARM_IRQ_VCPU_MASK + 1);

	/* KVM_ARM_IRQ_TYPE_CPU is for interrupt controllers in the VMM. */
	if (type == KVM_ARM_IRQ_TYPE_CPU || !READ_ONCE(vm->vgic))
		return -ENXIO;

	switch (type) {
	case KVM_ARM_IRQ_TYPE_PPI:
		vcpu = rdt_vcpu_by_id(vm, id);
		if (!vcpu || num < VGIC_SGIS || num >= VGIC_PRIVATE_IRQS)
			return -EINVAL;
		break;
	case KVM_ARM_IRQ_TYPE_SPI:
		if (num < VGIC_PRIVATE_IRQS)
			return -EINVAL;
		break;
	default:
		return -EINVAL;
	}
	return rdt_vgic_inject(vm, vcpu, num, level->level);
}

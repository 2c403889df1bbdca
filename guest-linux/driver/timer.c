// SPDX-License-Identifier: GPL-2.0
/*
 * The guests' virtual timer, and the physical interrupts that go with guests.
 *
 * EL2 switches CNTV. While a guest runs with its timer expired, the physical
 * interrupt of the timer brings it out; EL2 stops the timer on the way, so the
 * handler here has nothing to do. The interrupt is then injected with the HW bit
 * of the list register, and the physical one is kept active for as long as the
 * virtual one is pending or active, so that the line, which stays high, does not
 * bring the guest out over and over. The guest's deactivation of the virtual
 * interrupt deactivates the physical one.
 *
 * The maintenance interrupt, too, only has to be enabled: it is the guest's exit
 * that counts.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cpuhotplug.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/of.h>
#include <linux/of_irq.h>
#include <linux/percpu.h>
#include <asm/arch_timer.h>
#include <clocksource/arm_arch_timer.h>

#include "redoubt.h"

/* Index of the virtual timer in the `interrupts` of the timer's node. */
#define TIMER_VIRTUAL_INDEX	2
#define MAINTENANCE_INDEX	0

/* A vCPU that waits for longer than this looks again. */
#define MAX_SLEEP_SECONDS	86400

struct percpu_interrupt {
	const char *name;
	unsigned int irq;
};

static struct percpu_interrupt timer_irq = { .name = "redoubt-vtimer" };
static struct percpu_interrupt maintenance_irq = { .name = "redoubt-maintenance" };
static enum cpuhp_state hotplug_state;

/* The physical interrupt of the timer is active on this CPU. */
static DEFINE_PER_CPU(bool, timer_active);
/* Identity that percpu interrupts are requested with. */
static DEFINE_PER_CPU(int, irq_cookie);

/* EL2 has silenced what raised this; its being taken was the point. */
static irqreturn_t quiet_handler(int irq, void *cookie)
{
	return IRQ_HANDLED;
}

/**
 * rdt_timer_line - the output of a vCPU's virtual timer
 * @vcpu: the vCPU, not in the guest
 *
 * Return: whether it is asserted by now.
 */
bool rdt_timer_line(const struct rdt_vcpu *vcpu)
{
	return (vcpu->timer_ctl & ARCH_TIMER_CTRL_ENABLE) &&
	       !(vcpu->timer_ctl & ARCH_TIMER_CTRL_IT_MASK) &&
	       __arch_counter_get_cntvct() >= vcpu->timer_deadline;
}

/**
 * rdt_timer_expiry - when a vCPU's virtual timer asserts its output
 * @vcpu: the vCPU, not in the guest
 * @expiry: receives the time, of the monotonic clock
 *
 * Return: false if it will not.
 */
bool rdt_timer_expiry(const struct rdt_vcpu *vcpu, ktime_t *expiry)
{
	u64 now = __arch_counter_get_cntvct();
	u32 rate = arch_timer_get_cntfrq();
	u64 ticks;

	if (!(vcpu->timer_ctl & ARCH_TIMER_CTRL_ENABLE) ||
	    (vcpu->timer_ctl & ARCH_TIMER_CTRL_IT_MASK))
		return false;

	ticks = vcpu->timer_deadline > now ? vcpu->timer_deadline - now : 0;
	ticks = min(ticks, (u64)rate * MAX_SLEEP_SECONDS);
	/* Rounded up: to wake early would be to sleep twice. */
	*expiry = ktime_add_ns(ktime_get(), mul_u64_u32_div(ticks, NSEC_PER_SEC, rate) + 1);
	return true;
}

/**
 * rdt_timer_set_active - sets the active state of the physical interrupt
 * @active: the state
 *
 * On the CPU that is about to enter the guest, interrupts off.
 */
void rdt_timer_set_active(bool active)
{
	if (__this_cpu_read(timer_active) == active)
		return;
	if (!WARN_ON_ONCE(irq_set_irqchip_state(timer_irq.irq, IRQCHIP_STATE_ACTIVE,
						active)))
		__this_cpu_write(timer_active, active);
}

/**
 * rdt_timer_deactivated - notes that the guest deactivated the interrupt
 *
 * On the CPU where it did, interrupts off.
 */
void rdt_timer_deactivated(void)
{
	__this_cpu_write(timer_active, false);
}

static int cpu_comes(unsigned int cpu)
{
	/* An earlier life of this CPU or of this module may have left it active. */
	irq_set_irqchip_state(timer_irq.irq, IRQCHIP_STATE_ACTIVE, false);
	__this_cpu_write(timer_active, false);
	enable_percpu_irq(timer_irq.irq, IRQ_TYPE_NONE);
	enable_percpu_irq(maintenance_irq.irq, IRQ_TYPE_NONE);
	return 0;
}

static int cpu_goes(unsigned int cpu)
{
	disable_percpu_irq(maintenance_irq.irq);
	disable_percpu_irq(timer_irq.irq);
	irq_set_irqchip_state(timer_irq.irq, IRQCHIP_STATE_ACTIVE, false);
	__this_cpu_write(timer_active, false);
	return 0;
}

/* Requests the interrupt at an index of a device tree node. */
static int request(struct percpu_interrupt *interrupt, const char *compatible, int index)
{
	struct device_node *node = of_find_compatible_node(NULL, NULL, compatible);
	int ret;

	if (!node) {
		pr_err("no %s in the device tree\n", compatible);
		return -ENODEV;
	}
	interrupt->irq = irq_of_parse_and_map(node, index);
	of_node_put(node);
	if (!interrupt->irq) {
		pr_err("%s has no interrupt %d in the device tree\n", compatible, index);
		return -ENODEV;
	}
	ret = request_percpu_irq(interrupt->irq, quiet_handler, interrupt->name,
				 &irq_cookie);
	if (ret)
		pr_err("the interrupt %s is not free: error %d\n", interrupt->name, ret);
	return ret;
}

static int check_timer_intid(void)
{
	struct irq_data *data = irq_get_irq_data(timer_irq.irq);

	if (data && irqd_to_hwirq(data) == rdt_limits.timer_intid)
		return 0;
	pr_err("the device tree and EL2 disagree about the virtual timer's interrupt\n");
	return -ENODEV;
}

/**
 * rdt_timer_init - requests and enables the interrupts on all CPUs
 *
 * Return: zero or a negative errno.
 */
int rdt_timer_init(void)
{
	int ret;

	ret = request(&timer_irq, "arm,armv8-timer", TIMER_VIRTUAL_INDEX);
	if (ret)
		return ret;
	ret = check_timer_intid();
	if (ret)
		goto free_timer;
	ret = request(&maintenance_irq, "arm,gic-v3", MAINTENANCE_INDEX);
	if (ret)
		goto free_timer;

	ret = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "redoubt:online", cpu_comes,
				cpu_goes);
	if (ret < 0)
		goto free_maintenance;
	hotplug_state = ret;
	return 0;

free_maintenance:
	free_percpu_irq(maintenance_irq.irq, &irq_cookie);
free_timer:
	free_percpu_irq(timer_irq.irq, &irq_cookie);
	return ret;
}

/**
 * rdt_timer_fini - gives the interrupts back
 */
void rdt_timer_fini(void)
{
	cpuhp_remove_state(hotplug_state);
	free_percpu_irq(maintenance_irq.irq, &irq_cookie);
	free_percpu_irq(timer_irq.irq, &irq_cookie);
}

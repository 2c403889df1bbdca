// SPDX-License-Identifier: GPL-2.0
/*
 * Devices that reached for memory which is not the host's.
 *
 * EL2 drives the SMMUs but takes no interrupts: theirs come here, and the events
 * are asked for, written to the log and kept for debugfs. Nothing depends on it:
 * what EL2 has no room for it counts as lost.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/interrupt.h>
#include <linux/minmax.h>
#include <linux/mutex.h>
#include <linux/of.h>
#include <linux/of_irq.h>
#include <linux/seq_file.h>
#include <linux/workqueue.h>

#include "dma_text.h"
#include "hyp.h"
#include "redoubt.h"

/* Events that are kept. */
#define RECENT		32
/* Events that are taken in one go; the rest waits for PAUSE. */
#define BATCH		64
#define PAUSE		(HZ / 10)
/* How often is asked where no interrupt says when. */
#define POLL		HZ
/* Two interrupts an SMMU, for events and errors. */
#define MAX_LINES	16

/* An event as DMA_EVENT has it. */
struct dma_event {
	u64 what;
	u64 address;
};

/* Guards what follows, and asking. */
static DEFINE_MUTEX(lock);
static struct dma_event recent[RECENT];
static u64 taken;
static u64 lost;

/* Interrupts that are had. */
static int lines[MAX_LINES];
static unsigned int nr_lines;

static void drain_work(struct work_struct *work);
static DECLARE_DELAYED_WORK(rest, drain_work);

static void note(const struct dma_event *event)
{
	char device[DMA_DEVICE_LEN];

	recent[taken++ % RECENT] = *event;
	pr_warn_ratelimited("device %s was kept from %s at %#llx (%s)\n",
			    dma_device_text(device, DMA_EVENT_STREAM(event->what)),
			    DMA_EVENT_WRITE(event->what) ? "write" : "read",
			    event->address, dma_event_name(DMA_EVENT_NUMBER(event->what)));
}

/* Takes what there is, a bounded number at a time. */
static void drain(void)
{
	struct dma_event event;
	unsigned int i;

	mutex_lock(&lock);
	for (i = 0; i < BATCH; i++) {
		if (hyp_dma_event(&event.what, &event.address, &lost) ||
		    !DMA_EVENT_NUMBER(event.what))
			break;
		note(&event);
	}
	mutex_unlock(&lock);
	if (i == BATCH)
		schedule_delayed_work(&rest, PAUSE);
	else if (!nr_lines)
		schedule_delayed_work(&rest, POLL);
}

static void drain_work(struct work_struct *work)
{
	drain();
}

static irqreturn_t dma_interrupt(int irq, void *unused)
{
	drain();
	return IRQ_HANDLED;
}

/* The culprit as text: a PCI requester, or the address of registers. */
static void culprit_text(char *text, size_t size)
{
	if (dma_culprit_is_pci(rdt_limits.dma_guard) && size >= DMA_DEVICE_LEN)
		dma_device_text(text, rdt_limits.dma_culprit);
	else
		snprintf(text, size, "%#llx", rdt_limits.dma_culprit);
}

/**
 * rdt_dma_explain - says why there are no protected VMs, if devices are why
 */
void rdt_dma_explain(void)
{
	char culprit[24];

	if (!rdt_limits.dma_guard)
		return;
	culprit_text(culprit, sizeof(culprit));
	pr_warn_ratelimited("no protected VMs, as devices are not kept from memory (%s): %s\n",
			    culprit, dma_guard_text(rdt_limits.dma_guard));
}

static const struct {
	unsigned int selector;
	const char *name;
} values[] = {
	{ REDOUBT_INFO_DMA_GUARD, "guard" },
	{ REDOUBT_INFO_DMA_CULPRIT, "culprit" },
	{ REDOUBT_INFO_DMA_INVALIDATIONS, "invalidations" },
	{ REDOUBT_INFO_GIC_REFUSALS, "gic_refusals" },
	{ REDOUBT_INFO_REGION_BYTES, "region_bytes" },
	{ REDOUBT_INFO_DMA_TABLE_BYTES, "table_bytes" },
};

/* A line for each value of EL2's, for the number of events, and for each of the last. */
static int dma_show(struct seq_file *m, void *unused)
{
	char device[DMA_DEVICE_LEN];
	unsigned int i;
	u64 at, value;
	int ret;

	for (i = 0; i < ARRAY_SIZE(values); i++) {
		ret = hyp_info(values[i].selector, &value);
		if (ret)
			return ret;
		seq_printf(m, "%s %#llx\n", values[i].name, value);
	}
	mutex_lock(&lock);
	seq_printf(m, "events %llu\nlost %llu\n", taken, lost);
	for (at = taken - min_t(u64, taken, RECENT); at < taken; at++) {
		const struct dma_event *event = &recent[at % RECENT];

		seq_printf(m, "event %s %s %#llx %s\n",
			   dma_device_text(device, DMA_EVENT_STREAM(event->what)),
			   DMA_EVENT_WRITE(event->what) ? "write" : "read", event->address,
			   dma_event_name(DMA_EVENT_NUMBER(event->what)));
	}
	mutex_unlock(&lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(dma);

static void take_interrupts(void)
{
	struct device_node *node = of_find_compatible_node(NULL, NULL, "redoubt,hypervisor");
	int line, ret, i;

	for (i = 0; i < MAX_LINES; i++) {
		line = of_irq_get(node, i);
		if (line <= 0)
			break;
		ret = request_threaded_irq(line, NULL, dma_interrupt, IRQF_ONESHOT,
					   "redoubt-dma", lines);
		if (ret)
			pr_warn("interrupt %d of the SMMUs cannot be had: error %d\n", i, ret);
		else
			lines[nr_lines++] = line;
	}
	of_node_put(node);
}

/**
 * rdt_dma_init - takes the events of devices, those from before too
 * @dir: the driver's directory in debugfs
 */
void rdt_dma_init(struct dentry *dir)
{
	debugfs_create_file("dma", 0400, dir, NULL, &dma_fops);
	if (rdt_limits.dma_guard) {
		rdt_dma_explain();
		return;
	}
	take_interrupts();
	drain();
}

/**
 * rdt_dma_fini - takes no more events
 *
 * The directory in debugfs must be gone.
 */
void rdt_dma_fini(void)
{
	while (nr_lines)
		free_irq(lines[--nr_lines], lines);
	cancel_delayed_work_sync(&rest);
}

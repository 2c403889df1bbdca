/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What EL2 says of devices, in words. Pure, so that it is tested without a kernel.
 *
 * Numbers of events are those of the SMMU architecture, IHI 0070, 7.3.
 */
#ifndef REDOUBT_DMA_TEXT_H
#define REDOUBT_DMA_TEXT_H

#include <linux/array_size.h>
#include <linux/kernel.h>

#include "redoubt_abi.h"

/* Room for dma_device_text(). */
#define DMA_DEVICE_LEN		12

/* X1 of DMA_EVENT. */
#define DMA_EVENT_NUMBER(x1)	((u8)(x1))
#define DMA_EVENT_WRITE(x1)	(!!((x1) & 0x100))
#define DMA_EVENT_STREAM(x1)	((u32)((x1) >> 32))

static inline const char *dma_event_name(u8 number)
{
	static const char *const names[] = {
		[0x01] = "F_UUT",
		[0x02] = "C_BAD_STREAMID",
		[0x03] = "F_STE_FETCH",
		[0x04] = "C_BAD_STE",
		[0x05] = "F_BAD_ATS_TREQ",
		[0x06] = "F_STREAM_DISABLED",
		[0x07] = "F_TRANSL_FORBIDDEN",
		[0x08] = "C_BAD_SUBSTREAMID",
		[0x09] = "F_CD_FETCH",
		[0x0a] = "C_BAD_CD",
		[0x0b] = "F_WALK_EABT",
		[0x10] = "F_TRANSLATION",
		[0x11] = "F_ADDR_SIZE",
		[0x12] = "F_ACCESS",
		[0x13] = "F_PERMISSION",
		[0x20] = "F_TLB_CONFLICT",
		[0x21] = "F_CFG_CONFLICT",
		[0x24] = "E_PAGE_REQUEST",
		[0x25] = "F_VMS_FETCH",
	};

	return number < ARRAY_SIZE(names) && names[number] ? names[number] : "unknown event";
}

/* A stream: bus, device and function where it may be a PCI requester. */
static inline const char *dma_device_text(char text[DMA_DEVICE_LEN], u64 stream)
{
	if (stream >> 16)
		snprintf(text, DMA_DEVICE_LEN, "%#x", (u32)stream);
	else
		snprintf(text, DMA_DEVICE_LEN, "%02x:%02x.%x", (u32)stream >> 8,
			 (u32)stream >> 3 & 0x1f, (u32)stream & 7);
	return text;
}

/* Why devices are not kept from memory: an answer of INFO(DMA_GUARD). */
static inline const char *dma_guard_text(u64 guard)
{
	switch (guard) {
#define GUARD(name, text) case REDOUBT_DMA_##name: return text;
	REDOUBT_DMA_GUARDS(GUARD)
#undef GUARD
	default:
		return "for a reason that this driver does not know";
	}
}

/* Whether INFO(DMA_CULPRIT) is a PCI requester then; else it is an address. */
static inline bool dma_culprit_is_pci(u64 guard)
{
	return guard == REDOUBT_DMA_PARTIAL_MAP || guard == REDOUBT_DMA_SECOND_ROOT ||
	       guard == REDOUBT_DMA_VIRTIO_BYPASS || guard == REDOUBT_DMA_BAD_HIERARCHY;
}

#endif

// SPDX-License-Identifier: GPL-2.0
/*
 * Words for what devices did.
 */
#include "dma_text.h"
#include "vgic_test.h"

static void test_devices(void)
{
	char text[DMA_DEVICE_LEN];

	check(!strcmp(dma_device_text(text, 0), "00:00.0"));
	check(!strcmp(dma_device_text(text, 0x0010), "00:02.0"));
	check(!strcmp(dma_device_text(text, 0xffff), "ff:1f.7"));
	check(!strcmp(dma_device_text(text, 0x10000), "0x10000"));
	check(!strcmp(dma_device_text(text, ~0U), "0xffffffff"));
	/* A culprit has 64 bits, and what does not fit is cut off. */
	check(strlen(dma_device_text(text, ~0ULL)) < DMA_DEVICE_LEN);
}

static void test_events(void)
{
	unsigned int number, named = 0;

	for (number = 0; number < 256; number++) {
		check(dma_event_name(number));
		named += strcmp(dma_event_name(number), "unknown event") != 0;
	}
	check_equal(named, 19);
	check(!strcmp(dma_event_name(0x10), "F_TRANSLATION"));
	check(!strcmp(dma_event_name(0x02), "C_BAD_STREAMID"));
	check(!strcmp(dma_event_name(0), "unknown event"));
	check(!strcmp(dma_event_name(255), "unknown event"));
	check_equal(DMA_EVENT_NUMBER(0xfedcba9800000110ULL), 0x10);
	check_equal(DMA_EVENT_WRITE(0xfedcba9800000110ULL), 1);
	check_equal(DMA_EVENT_WRITE(0xfedcba9800000010ULL), 0);
	check_equal(DMA_EVENT_STREAM(0xfedcba9800000110ULL), 0xfedcba98);
}

static void test_reasons(void)
{
	u64 guard;

	for (guard = 0; guard <= REDOUBT_DMA_GIC_UNUSABLE; guard++)
		check(!strstr(dma_guard_text(guard), "does not know"));
	check(strstr(dma_guard_text(guard), "does not know"));
	check(strstr(dma_guard_text(~0ULL), "does not know"));
	/* What the text calls a requester is printed as one. */
	for (guard = 1; guard <= REDOUBT_DMA_GIC_UNUSABLE; guard++) {
		bool requester = strstr(dma_guard_text(guard), "requester ID") ||
				 guard == REDOUBT_DMA_PARTIAL_MAP;

		check_equal(dma_culprit_is_pci(guard), requester);
	}
}

const struct test dma_tests[] = {
	{ "devices", test_devices },
	{ "events", test_events },
	{ "reasons", test_reasons },
	{ }
};

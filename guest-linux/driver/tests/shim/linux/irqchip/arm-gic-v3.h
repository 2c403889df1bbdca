/* SPDX-License-Identifier: GPL-2.0 */
/* Register offsets and bits, Arm IHI 0069, 12.8 and 12.10. */
#define GICD_CTLR		0x0000
#define GICD_TYPER		0x0004
#define GICD_IIDR		0x0008
#define GICD_IGROUPR		0x0080
#define GICD_ISENABLER		0x0100
#define GICD_ICENABLER		0x0180
#define GICD_ISPENDR		0x0200
#define GICD_ICPENDR		0x0280
#define GICD_ISACTIVER		0x0300
#define GICD_ICACTIVER		0x0380
#define GICD_IPRIORITYR		0x0400
#define GICD_ICFGR		0x0c00
#define GICD_IROUTER		0x6000
#define GICD_PIDR2		0xffe8

#define GICD_CTLR_ARE_NS	(1U << 4)
#define GICD_CTLR_DS		(1U << 6)

#define GICR_IIDR		0x0004
#define GICR_TYPER		0x0008
#define GICR_PIDR2		0xffe8
#define GICR_TYPER_LAST		(1U << 4)

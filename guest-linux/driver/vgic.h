/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The GICv3 model of a VM: distributor, redistributors, list registers.
 *
 * vgic.c and vgic_mmio.c are a pure state machine (Arm IHI 0069): no locks, no
 * sleeping, no knowledge of KVM or of EL2, so that they can be tested in user
 * space (tests/). vgic_dev.c wraps them: it holds the lock, keeps vCPUs out of
 * the guest while registers change, and wakes those that got an interrupt.
 *
 * State is kept in words of 32 interrupts, laid out as the registers are. The
 * state of an interrupt that sits in a list register of a vCPU that is in the
 * guest is stale until vgic_fold() has brought it back; vgic_dev.c makes sure
 * that no vCPU is in the guest when that would matter.
 */
#ifndef REDOUBT_VGIC_H
#define REDOUBT_VGIC_H

#include <linux/types.h>
#include <linux/sizes.h>

#define VGIC_SGIS		16
#define VGIC_BANK_IRQS		32	/* interrupts in a bank */
#define VGIC_PRIVATE_IRQS	32	/* SGIs and PPIs, bank 0 */
#define VGIC_MAX_IRQS		1024	/* INTIDs 1020 to 1023 are reserved */
#define VGIC_LAST_SPI		1019
#define VGIC_DEFAULT_IRQS	256
#define VGIC_SPI_BANKS		(VGIC_MAX_IRQS / VGIC_BANK_IRQS - 1)
#define VGIC_MAX_CPUS		64	/* sets of vCPUs are 64-bit masks */
#define VGIC_MAX_LRS		16
#define VGIC_NO_INTID		(~0U)

#define VGIC_DIST_SIZE		SZ_64K
#define VGIC_REDIST_SIZE	SZ_128K

/* ICH_LR<n>_EL2 */
#define VGIC_LR_VINTID		0x00000000ffffffffULL
#define VGIC_LR_PINTID_SHIFT	32
#define VGIC_LR_EOI		(1ULL << 41)
#define VGIC_LR_PRIORITY_SHIFT	48
#define VGIC_LR_GROUP1		(1ULL << 60)
#define VGIC_LR_HW		(1ULL << 61)
#define VGIC_LR_PENDING		(1ULL << 62)
#define VGIC_LR_ACTIVE		(1ULL << 63)

/* GICD_CTLR as a guest with a single security state sees it */
#define VGIC_CTLR_GRP0		0x1U
#define VGIC_CTLR_GRP1		0x2U

/**
 * struct vgic_bank - 32 interrupts of consecutive INTIDs, one bit each
 * @group: 1: group 1
 * @enabled: forwarding is enabled
 * @edge: 1: edge-triggered, 0: level-sensitive
 * @line: input of the interrupt
 * @latch: pending by an edge, an SGI or a write to ISPENDR; moves into the list
 *	   register when an edge-triggered interrupt is loaded
 * @active: acknowledged and not yet deactivated
 * @priority: priority, the upper five bits implemented
 */
struct vgic_bank {
	u32 group;
	u32 enabled;
	u32 edge;
	u32 line;
	u32 latch;
	u32 active;
	u8 priority[VGIC_BANK_IRQS];
};

/**
 * struct vgic_cpu - a vCPU's redistributor and CPU interface
 * @affinity: Aff2, Aff1, Aff0 of its MPIDR
 * @id: processor number in GICR_TYPER
 * @bank: its SGIs and PPIs
 * @routed: SPIs that are routed here
 * @held: SPIs that this vCPU acknowledged: as long as they are active they stay
 *	  in its list registers, wherever they are routed by now
 * @nr_lrs: list registers in use
 * @lr: the list registers as loaded by vgic_load()
 * @overflow: more interrupts than list registers at the last vgic_load()
 * @vmcr: ICH_VMCR_EL2 at the last exit
 */
struct vgic_cpu {
	u32 affinity;
	u16 id;
	struct vgic_bank bank;
	u32 routed[VGIC_SPI_BANKS];
	u32 held[VGIC_SPI_BANKS];
	unsigned int nr_lrs;
	u64 lr[VGIC_MAX_LRS];
	bool overflow;
	u64 vmcr;
};

/**
 * struct vgic - the interrupt controller of a VM
 * @nr_irqs: INTIDs, a multiple of 32; zero until it is chosen
 * @max_lrs: list registers of the machine
 * @hw_intid: private interrupt that is loaded with the HW bit, its physical
 *	      INTID being the same; VGIC_NO_INTID if there is none
 * @ctlr: GICD_CTLR, VGIC_CTLR_*
 * @spi: banks of the SPIs, from INTID 32
 * @router: affinity each SPI is routed to
 * @nr_cpus: vCPUs
 * @cpu: vCPUs in the order of their redistributors
 */
struct vgic {
	unsigned int nr_irqs;
	unsigned int max_lrs;
	u32 hw_intid;
	u32 ctlr;
	struct vgic_bank spi[VGIC_SPI_BANKS];
	u32 router[VGIC_MAX_IRQS - VGIC_PRIVATE_IRQS];
	unsigned int nr_cpus;
	struct vgic_cpu *cpu[VGIC_MAX_CPUS];
};

/* vgic.c */
void vgic_reset(struct vgic *vgic, unsigned int max_lrs, u32 hw_intid);
void vgic_cpu_reset(struct vgic_cpu *cpu, u32 affinity, u16 id);
void vgic_route(struct vgic *vgic, u32 intid, u32 affinity);
void vgic_route_all(struct vgic *vgic);
u32 vgic_bank_pending(const struct vgic_bank *bank);
void vgic_set_active(struct vgic *vgic, unsigned int bank, u32 bits);
void vgic_clear_active(struct vgic *vgic, unsigned int bank, u32 bits);
u64 vgic_set_spi(struct vgic *vgic, u32 intid, bool level);
void vgic_set_ppi(struct vgic_cpu *cpu, u32 intid, bool level);
u64 vgic_send_sgi(struct vgic *vgic, struct vgic_cpu *from, u64 sgi1r);
void vgic_load(struct vgic *vgic, struct vgic_cpu *cpu);
void vgic_fold(struct vgic *vgic, struct vgic_cpu *cpu, const u64 *lr);
bool vgic_deliverable(struct vgic *vgic, struct vgic_cpu *cpu);
bool vgic_would_wake(struct vgic *vgic, struct vgic_cpu *cpu);

/* vgic_mmio.c */
u64 vgic_dist_read(struct vgic *vgic, u32 offset, unsigned int len);
void vgic_dist_write(struct vgic *vgic, u32 offset, unsigned int len, u64 value);
u64 vgic_redist_read(struct vgic *vgic, unsigned int index, u32 offset,
		     unsigned int len);
void vgic_redist_write(struct vgic *vgic, unsigned int index, u32 offset,
		       unsigned int len, u64 value);

#endif

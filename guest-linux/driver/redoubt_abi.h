/* SPDX-License-Identifier: GPL-2.0 */
/* Generated from the crate redoubt-abi by `cargo xtask generate`. Do not edit. */
#ifndef REDOUBT_ABI_H
#define REDOUBT_ABI_H

#include <linux/types.h>

#define REDOUBT_VERSION                      0xc6000100U
#define REDOUBT_INFO                         0xc6000101U
#define REDOUBT_STATS                        0xc6000102U
#define REDOUBT_DENIED                       0xc6000103U
#define REDOUBT_DMA_EVENT                    0xc6000104U
#define REDOUBT_VM_CREATE                    0xc6000110U
#define REDOUBT_VM_SET_MEMORY                0xc6000111U
#define REDOUBT_VM_ADD_TABLES                0xc6000112U
#define REDOUBT_VM_MAP                       0xc6000113U
#define REDOUBT_VM_UNMAP                     0xc6000114U
#define REDOUBT_VCPU_CREATE                  0xc6000120U
#define REDOUBT_VCPU_RUN                     0xc6000121U
#define REDOUBT_VCPU_GET_REG                 0xc6000122U
#define REDOUBT_VCPU_SET_REG                 0xc6000123U
#define REDOUBT_VM_DESTROY                   0xc6000130U
#define REDOUBT_VM_RECLAIM                   0xc6000131U

#define REDOUBT_VM_PROTECTED                 0x1ULL
#define REDOUBT_MAP_KEEP                     0x1ULL
#define REDOUBT_MAP_READ_ONLY                0x2ULL
#define REDOUBT_VCPU_POWERED_ON              0x1ULL
#define REDOUBT_FEATURE_PROTECTED            0x1ULL
#define REDOUBT_FEATURE_STATS                0x2ULL
#define REDOUBT_FEATURE_DMA_GUARDED          0x4ULL
#define REDOUBT_DMA_EVENT_WRITE              0x100ULL
#define REDOUBT_REG_SP_EL0                   0x1fULL
#define REDOUBT_REG_PC                       0x20ULL
#define REDOUBT_REG_PSTATE                   0x21ULL
#define REDOUBT_REG_SP_EL1                   0x22ULL
#define REDOUBT_REG_ELR_EL1                  0x23ULL
#define REDOUBT_REG_SPSR_EL1                 0x24ULL
#define REDOUBT_REG_FPSR                     0x25ULL
#define REDOUBT_REG_FPCR                     0x26ULL
#define REDOUBT_REG_V0                       0x40ULL
#define REDOUBT_REG_SYSTEM                   0x10000ULL
#define REDOUBT_ENTRY_MMIO_DONE              0x1ULL
#define REDOUBT_ENTRY_ABORT                  0x2ULL
#define REDOUBT_MAINTENANCE_UNDERFLOW        0x2ULL
#define REDOUBT_MAINTENANCE_NO_PENDING       0x8ULL
#define REDOUBT_MAX_LIST_REGISTERS           0x10ULL
#define REDOUBT_UID_0                        0x52444254ULL
#define REDOUBT_UID_1                        0x7f3a4c11ULL
#define REDOUBT_UID_2                        0x9be20d6cULL
#define REDOUBT_UID_3                        0x31a588f0ULL
#define REDOUBT_ABI_VERSION                  0x10001ULL
#define REDOUBT_PAGE_SIZE                    0x1000ULL

enum redoubt_status {
	REDOUBT_STATUS_SUCCESS = 0,
	REDOUBT_STATUS_NOT_SUPPORTED = -1,
	REDOUBT_STATUS_INVALID_ARGUMENT = -2,
	REDOUBT_STATUS_MISALIGNED = -3,
	REDOUBT_STATUS_OVERFLOW = -4,
	REDOUBT_STATUS_NOT_RAM = -5,
	REDOUBT_STATUS_NOT_OWNER = -6,
	REDOUBT_STATUS_SHARED = -7,
	REDOUBT_STATUS_PINNED = -8,
	REDOUBT_STATUS_TOO_MANY = -9,
	REDOUBT_STATUS_NO_TABLES = -10,
	REDOUBT_STATUS_ALREADY_MAPPED = -11,
	REDOUBT_STATUS_NOT_MAPPED = -12,
	REDOUBT_STATUS_NO_SUCH_VM = -13,
	REDOUBT_STATUS_NO_SUCH_VCPU = -14,
	REDOUBT_STATUS_VCPU_EXISTS = -15,
	REDOUBT_STATUS_BUSY = -16,
	REDOUBT_STATUS_WRONG_STATE = -17,
	REDOUBT_STATUS_PROTECTED = -18,
	REDOUBT_STATUS_NO_SLOT = -19,
	REDOUBT_STATUS_POWERED_OFF = -20,
	REDOUBT_STATUS_DMA_UNGUARDED = -21,
};

/* X(name, text, errno) for every refusal */
#define REDOUBT_STATUSES(X) \
	X(NOT_SUPPORTED, "No such function, or not in this build or on this CPU", EOPNOTSUPP) \
	X(INVALID_ARGUMENT, "An argument is outside its range, or a reserved bit is set", EINVAL) \
	X(MISALIGNED, "An address is not aligned as the call wants it", EINVAL) \
	X(OVERFLOW, "A range wraps around or leaves the address space", EINVAL) \
	X(NOT_RAM, "A page is not RAM that the ownership table knows", EFAULT) \
	X(NOT_OWNER, "A page does not belong to the caller", EPERM) \
	X(SHARED, "A page is shared or borrowed, so it cannot change hands", EBUSY) \
	X(PINNED, "A page is pinned by EL2, so it cannot change hands", EBUSY) \
	X(TOO_MANY, "The call handles more pages than one call may", E2BIG) \
	X(NO_TABLES, "The VM's pool has too few pages for the translation tables the call needs", ENOMEM) \
	X(ALREADY_MAPPED, "The intermediate physical address is mapped already", EEXIST) \
	X(NOT_MAPPED, "The intermediate physical address is not mapped", ENOENT) \
	X(NO_SUCH_VM, "The handle names no live VM", ENOENT) \
	X(NO_SUCH_VCPU, "The VM has no vCPU of that index", ENOENT) \
	X(VCPU_EXISTS, "The vCPU exists already", EEXIST) \
	X(BUSY, "The VM or vCPU is in use by another CPU", EBUSY) \
	X(WRONG_STATE, "The VM is not in a state in which the call is allowed", EPERM) \
	X(PROTECTED, "The call would reveal or change what a protected VM keeps from the host", EPERM) \
	X(NO_SLOT, "All slots of that kind are in use", ENOSPC) \
	X(POWERED_OFF, "The vCPU is powered off", EAGAIN) \
	X(DMA_UNGUARDED, "No protected VMs: a device can reach memory past the SMMUs; INFO(DMA_GUARD) says which", ENODEV)

#define REDOUBT_INFO_MAX_VMS                      0
#define REDOUBT_INFO_MAX_VCPUS                    1
#define REDOUBT_INFO_IPA_BITS                     2
#define REDOUBT_INFO_MAX_PAGES                    3
#define REDOUBT_INFO_LIST_REGISTERS               4
#define REDOUBT_INFO_VIRTUAL_TIMER_INTID          5
#define REDOUBT_INFO_MAX_MEMORY_RANGES            6
#define REDOUBT_INFO_FEATURES                     7
#define REDOUBT_INFO_CPUS                         8
#define REDOUBT_INFO_BOOT_TICKS                   9
#define REDOUBT_INFO_DMA_GUARD                    10
#define REDOUBT_INFO_DMA_CULPRIT                  11
#define REDOUBT_INFO_DMA_INVALIDATIONS            12
#define REDOUBT_INFO_GIC_REFUSALS                 13
#define REDOUBT_INFO_REGION_BYTES                 14
#define REDOUBT_INFO_DMA_TABLE_BYTES              15
#define REDOUBT_COUNTER_HOST_ENTRIES              0
#define REDOUBT_COUNTER_HOST_HVC                  1
#define REDOUBT_COUNTER_HOST_SMC                  2
#define REDOUBT_COUNTER_HOST_SYSREG               3
#define REDOUBT_COUNTER_HOST_ABORT                4
#define REDOUBT_COUNTER_HOST_IRQ                  5
#define REDOUBT_COUNTER_HOST_OTHER                6
#define REDOUBT_COUNTER_GUEST_EXITS               7
#define REDOUBT_COUNTER_HOST_REFUSED_ABORTS       8
#define REDOUBT_DMA_GUARDED                       0
#define REDOUBT_DMA_NO_SMMU                       1
#define REDOUBT_DMA_PARTIAL_MAP                   2
#define REDOUBT_DMA_BAD_MAP                       3
#define REDOUBT_DMA_UNKNOWN_MASTER                4
#define REDOUBT_DMA_UNKNOWN_IOMMU                 5
#define REDOUBT_DMA_SECOND_ROOT                   6
#define REDOUBT_DMA_VIRTIO_BYPASS                 7
#define REDOUBT_DMA_BAD_HIERARCHY                 8
#define REDOUBT_DMA_SMMU_UNUSABLE                 9
#define REDOUBT_DMA_TOO_MANY                      10
#define REDOUBT_DMA_GIC_UNUSABLE                  11
/* X(name, text) for every answer of INFO(DMA_GUARD) */
#define REDOUBT_DMA_GUARDS(X) \
	X(GUARDED, "All are") \
	X(NO_SMMU, "A PCI host bridge without an SMMU; the culprit is its configuration space") \
	X(PARTIAL_MAP, "Requester IDs of a PCI host bridge that no SMMU translates; the culprit is the first") \
	X(BAD_MAP, "An `iommu-map` that is malformed; the culprit is the bridge's configuration space") \
	X(UNKNOWN_MASTER, "A device that may write to memory and has no SMMU; the culprit is its registers") \
	X(UNKNOWN_IOMMU, "An IOMMU that is no SMMUv3; the culprit is its registers, or zero") \
	X(SECOND_ROOT, "A PCI function on a bus that no bridge leads to: another root; the culprit is its requester ID") \
	X(VIRTIO_BYPASS, "A virtio function that passes by the SMMU (VIRTIO_F_ACCESS_PLATFORM is not offered); the culprit is its requester ID") \
	X(BAD_HIERARCHY, "A PCI hierarchy that is not understood; the culprit is a requester ID") \
	X(SMMU_UNUSABLE, "An SMMU that cannot do what is needed; the culprit is its registers") \
	X(TOO_MANY, "More SMMUs, bridges or interrupt translation services than there is room for") \
	X(GIC_UNUSABLE, "A GIC whose memory accesses cannot be guarded; the culprit is its registers")

#define REDOUBT_EXIT_INTERRUPT                    1
#define REDOUBT_EXIT_WAIT_FOR_INTERRUPT           2
#define REDOUBT_EXIT_WAIT_FOR_EVENT               3
#define REDOUBT_EXIT_MMIO_READ                    4
#define REDOUBT_EXIT_MMIO_WRITE                   5
#define REDOUBT_EXIT_MEMORY_FAULT                 6
#define REDOUBT_EXIT_SOFTWARE_INTERRUPT           7
#define REDOUBT_EXIT_CPU_ON                       8
#define REDOUBT_EXIT_CPU_OFF                      9
#define REDOUBT_EXIT_SYSTEM_OFF                   10
#define REDOUBT_EXIT_SYSTEM_RESET                 11
#define REDOUBT_EXIT_INTERNAL_ERROR               12
#define REDOUBT_EXIT_SYSTEM_ERROR                 13

struct redoubt_run {
	__u64 entry_flags;
	__u64 entry_mmio_data;
	__u64 entry_lr_count;
	__u64 entry_lr[16];
	__u64 entry_maintenance;
	__u64 reserved5[12];
	__u64 exit_reason;
	__u64 exit_args[6];
	__u64 exit_timer_ctl;
	__u64 exit_timer_deadline;
	__u64 exit_lr_count;
	__u64 exit_lr[16];
	__u64 exit_misr;
	__u64 exit_vmcr;
};

#endif

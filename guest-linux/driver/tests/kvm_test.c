// SPDX-License-Identifier: GPL-2.0
/*
 * Test of /dev/kvm on a machine that Redoubt runs: what the ioctls answer, what
 * becomes of a VM's memory, and what the host can see of it.
 *
 * Static, to be run as root in the host. The guest is a few instructions that do
 * what the test tells them through a device at an address of its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/kvm.h>

/* Newer than the headers of Debian 12. */
#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT	39
#endif

#define PROTECTED	(1UL << 31)
#define RAM		0x80000000UL
#define RAM_SIZE	(8UL << 20)
#define DEVICE		0x1000UL
#define PAGE		4096UL

#define CMD_OFF		0
#define CMD_READ	1
#define CMD_WRITE	2
#define CMD_WFI		3
#define CMD_HVC		4
#define CMD_SPIN	5

extern const char guest_start[], guest_end[];
/*
 * Reads a command, an address and a value from the device and writes the result
 * to it. Position-independent, MMU off.
 */
asm(".pushsection .rodata\n"
    ".balign 8\n"
    ".globl guest_start, guest_end\n"
    "guest_start:\n"
    "	mov	x19, #0x1000\n"
    "1:	ldr	x20, [x19]\n"
    "	ldr	x21, [x19, #8]\n"
    "	ldr	x22, [x19, #16]\n"
    "	mov	x23, #0\n"
    "	cbz	x20, 7f\n"
    "	cmp	x20, #1\n"
    "	b.ne	2f\n"
    "	ldr	x23, [x21]\n"
    "2:	cmp	x20, #2\n"
    "	b.ne	3f\n"
    "	str	x22, [x21]\n"
    "3:	cmp	x20, #3\n"
    "	b.ne	4f\n"
    "	wfi\n"
    "4:	cmp	x20, #4\n"
    "	b.ne	5f\n"
    "	mov	x0, x21\n"
    "	mov	x1, x22\n"
    "	mov	x2, #0\n"
    "	mov	x3, #0\n"
    "	hvc	#0\n"
    "	mov	x23, x0\n"
    "5:	cmp	x20, #5\n"
    "	b.ne	6f\n"
    "	b	.\n"
    "6:	str	x23, [x19, #24]\n"
    "	b	1b\n"
    "7:	movz	x0, #0x8400, lsl #16\n"
    "	movk	x0, #0x0008\n"
    "	hvc	#0\n"
    "	b	.\n"
    "guest_end:\n"
    ".popsection\n");

static int sys_fd;
static unsigned int checks;

#define check(condition)							\
do {										\
	checks++;								\
	if (!(condition)) {							\
		printf("kvm_test: line %d: failed: %s (errno %d)\n", __LINE__,	\
		       #condition, errno);					\
		exit(1);							\
	}									\
} while (0)

#define check_error(call, error)						\
do {										\
	errno = 0;								\
	check((call) == -1 && errno == (error));				\
} while (0)

struct vm {
	int fd, vcpu, gic;
	struct kvm_run *run;
	uint8_t *ram;
};

static int set_slot(int fd, uint32_t slot, uint64_t gpa, uint64_t size, void *hva)
{
	struct kvm_userspace_memory_region r = {
		.slot = slot, .guest_phys_addr = gpa, .memory_size = size,
		.userspace_addr = (uint64_t)hva,
	};

	return ioctl(fd, KVM_SET_USER_MEMORY_REGION, &r);
}

static int one_reg(int vcpu, int request, uint64_t id, uint64_t *value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uint64_t)value };

	return ioctl(vcpu, request, &reg);
}

static uint64_t core_reg(size_t offset)
{
	return KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | offset / 4;
}

#define PC	core_reg(offsetof(struct kvm_regs, regs.pc))
#define PSTATE	core_reg(offsetof(struct kvm_regs, regs.pstate))
#define X(n)	core_reg(offsetof(struct kvm_regs, regs.regs[n]))
#define MPIDR	ARM64_SYS_REG(3, 0, 0, 0, 5)
#define SCTLR	ARM64_SYS_REG(3, 0, 1, 0, 0)

static int init_vcpu(int vcpu, uint32_t features)
{
	struct kvm_vcpu_init init = {
		.target = KVM_ARM_TARGET_GENERIC_V8, .features = { features },
	};

	return ioctl(vcpu, KVM_ARM_VCPU_INIT, &init);
}

static void *map_ram(size_t size)
{
	/* Aligned, so that it may be in huge pages; in a mapping of its own. */
	uint8_t *p = mmap(NULL, size + (4UL << 20), PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(p != MAP_FAILED);
	p = (void *)(((uintptr_t)p + (2UL << 20)) & -(2UL << 20));
	check(!mprotect(p, size, PROT_READ | PROT_WRITE));
	return p;
}

/* A VM with one vCPU and the guest in the first page of its memory. */
static struct vm make_vm(unsigned long type)
{
	struct vm vm = { .gic = -1 };
	uint64_t pc = RAM;

	vm.fd = ioctl(sys_fd, KVM_CREATE_VM, type);
	check(vm.fd >= 0);
	vm.ram = map_ram(RAM_SIZE);
	memcpy(vm.ram, guest_start, guest_end - guest_start);
	check(!set_slot(vm.fd, 0, RAM, RAM_SIZE, vm.ram));
	vm.vcpu = ioctl(vm.fd, KVM_CREATE_VCPU, 0);
	check(vm.vcpu >= 0);
	vm.run = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, vm.vcpu, 0);
	check(vm.run != MAP_FAILED);
	check(!init_vcpu(vm.vcpu, 1 << KVM_ARM_VCPU_PSCI_0_2));
	check(!one_reg(vm.vcpu, KVM_SET_ONE_REG, PC, &pc));
	return vm;
}

static void close_vm(struct vm *vm)
{
	munmap(vm->run, PAGE);
	close(vm->vcpu);
	close(vm->fd);
	munmap(vm->ram, RAM_SIZE);
}

/* Runs to the next exit of the guest that is not ours to handle. */
static int run_command(struct vm *vm, uint64_t cmd, uint64_t address, uint64_t value,
		       uint64_t *result)
{
	uint64_t registers[] = { cmd, address, value };

	for (;;) {
		struct kvm_run *run = vm->run;

		if (ioctl(vm->vcpu, KVM_RUN, 0))
			return -1;
		if (run->exit_reason != KVM_EXIT_MMIO || run->mmio.phys_addr < DEVICE ||
		    run->mmio.phys_addr > DEVICE + 24)
			return run->exit_reason;
		check(run->mmio.len == 8);
		if (run->mmio.is_write) {
			memcpy(result, run->mmio.data, 8);
			return 0;
		}
		memcpy(run->mmio.data, &registers[(run->mmio.phys_addr - DEVICE) / 8], 8);
	}
}

static uint64_t command(struct vm *vm, uint64_t cmd, uint64_t address, uint64_t value)
{
	uint64_t result = 0;

	check(run_command(vm, cmd, address, value, &result) == 0);
	return result;
}

static sigjmp_buf jump;

static void on_fault(int signal)
{
	siglongjmp(jump, signal);
}

/* Reads a byte; returns the signal that came of it, or zero. */
static int touch(volatile uint8_t *p, bool write)
{
	int signal;
	struct sigaction old_bus, old_segv, sa = { .sa_handler = on_fault };

	sigaction(SIGBUS, &sa, &old_bus);
	sigaction(SIGSEGV, &sa, &old_segv);
	signal = sigsetjmp(jump, 1);
	if (!signal) {
		if (write)
			*p = 1;
		else
			(void)*p;
	}
	sigaction(SIGBUS, &old_bus, NULL);
	sigaction(SIGSEGV, &old_segv, NULL);
	return signal;
}

static bool is_zero(const uint8_t *p, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++)
		if (p[i])
			return false;
	return true;
}

static int extension(int fd, long number)
{
	return ioctl(fd, KVM_CHECK_EXTENSION, number);
}

static void test_system(void)
{
	int ipa = extension(sys_fd, KVM_CAP_ARM_VM_IPA_SIZE);

	check(ioctl(sys_fd, KVM_GET_API_VERSION, 0) == 12);
	check(ioctl(sys_fd, KVM_GET_VCPU_MMAP_SIZE, 0) == PAGE);
	check(extension(sys_fd, KVM_CAP_IRQCHIP) == 1);
	check(extension(sys_fd, KVM_CAP_ONE_REG) == 1);
	check(extension(sys_fd, KVM_CAP_ARM_PSCI_0_2) == 1);
	check(extension(sys_fd, KVM_CAP_SYNC_MMU) == 0);
	check(extension(sys_fd, KVM_CAP_ARM_SVE) == 0);
	check(extension(sys_fd, 1000000) == 0);
	check(ipa >= 32 && ipa <= 52);
	check_error(ioctl(sys_fd, KVM_CREATE_VM, 31), EINVAL);
	check_error(ioctl(sys_fd, KVM_CREATE_VM, ipa + 1), EINVAL);
	check_error(ioctl(sys_fd, KVM_CREATE_VM, 0x100), EINVAL);
	check_error(ioctl(sys_fd, KVM_CREATE_VM, 1UL << 32), EINVAL);
	check_error(ioctl(sys_fd, KVM_RUN, 0), ENOTTY);
}

static void test_slots(void)
{
	int fd = ioctl(sys_fd, KVM_CREATE_VM, 36);
	uint8_t *ram = map_ram(1 << 20);
	struct kvm_userspace_memory_region r = {
		.slot = 1, .flags = KVM_MEM_READONLY, .memory_size = PAGE,
		.userspace_addr = (uint64_t)ram,
	};

	check(fd >= 0 && extension(fd, KVM_CAP_IRQCHIP) == 1);
	check_error(ioctl(fd, KVM_SET_USER_MEMORY_REGION, &r), EINVAL);
	check_error(ioctl(fd, KVM_SET_USER_MEMORY_REGION, NULL), EFAULT);
	check_error(set_slot(fd, 0, RAM + 1, PAGE, ram), EINVAL);
	check_error(set_slot(fd, 0, RAM, PAGE + 1, ram), EINVAL);
	check_error(set_slot(fd, 0, RAM, PAGE, ram + 1), EINVAL);
	check_error(set_slot(fd, 0, RAM, 0, ram), EINVAL);
	check_error(set_slot(fd, 100000, RAM, PAGE, ram), EINVAL);
	check_error(set_slot(fd, 0, -PAGE, 2 * PAGE, ram), EINVAL);
	check_error(set_slot(fd, 0, 1UL << 36, PAGE, ram), EFAULT);
	check_error(set_slot(fd, 0, RAM, PAGE, (void *)(1UL << 60)), EINVAL);
	check(!set_slot(fd, 0, RAM, 4 * PAGE, ram));
	check(!set_slot(fd, 0, RAM, 4 * PAGE, ram));
	check_error(set_slot(fd, 1, RAM + 3 * PAGE, PAGE, ram), EEXIST);
	check_error(set_slot(fd, 0, RAM, 5 * PAGE, ram), EINVAL);
	check_error(set_slot(fd, 0, RAM, 4 * PAGE, ram + PAGE), EINVAL);
	check(!set_slot(fd, 1, RAM + 4 * PAGE, PAGE, ram));
	check_error(set_slot(fd, 0, RAM + PAGE, 4 * PAGE, ram), EEXIST);
	check(!set_slot(fd, 0, RAM + 8 * PAGE, 4 * PAGE, ram));
	check(!set_slot(fd, 2, RAM, PAGE, ram));
	check(!set_slot(fd, 2, RAM, 0, ram));
	close(fd);
}

static int attr(int fd, int request, uint32_t group, uint64_t number, uint64_t *value)
{
	struct kvm_device_attr a = {
		.group = group, .attr = number, .addr = (uint64_t)value,
	};

	return ioctl(fd, request, &a);
}

#define ADDR	KVM_DEV_ARM_VGIC_GRP_ADDR
#define DIST	KVM_VGIC_V3_ADDR_TYPE_DIST
#define REDIST	KVM_VGIC_V3_ADDR_TYPE_REDIST
#define SET	KVM_SET_DEVICE_ATTR
#define HAS	KVM_HAS_DEVICE_ATTR

static int irq_line(int fd, uint32_t irq)
{
	struct kvm_irq_level level = { .irq = irq, .level = 0 };

	return ioctl(fd, KVM_IRQ_LINE, &level);
}

static void test_vgic(void)
{
	struct kvm_create_device device = { .type = KVM_DEV_TYPE_ARM_VGIC_V2 };
	struct vm vm = make_vm(36);
	uint64_t value, result;
	int gic;

	check_error(irq_line(vm.fd, 1 << 24 | 32), ENXIO);
	check_error(ioctl(vm.fd, KVM_CREATE_DEVICE, &device), ENODEV);
	device.type = KVM_DEV_TYPE_ARM_VGIC_V3;
	device.flags = KVM_CREATE_DEVICE_TEST;
	check(!ioctl(vm.fd, KVM_CREATE_DEVICE, &device));
	device.flags = 0;
	check(!ioctl(vm.fd, KVM_CREATE_DEVICE, &device));
	gic = device.fd;
	check_error(ioctl(vm.fd, KVM_CREATE_DEVICE, &device), EEXIST);

	check_error(irq_line(vm.fd, 1 << 24 | 32), EBUSY);
	check_error(run_command(&vm, CMD_WFI, 0, 0, &result), ENXIO);
	check(!attr(gic, HAS, ADDR, DIST, NULL));
	check_error(attr(gic, HAS, ADDR, KVM_VGIC_V2_ADDR_TYPE_DIST, NULL), ENXIO);
	check_error(attr(gic, HAS, 99, 0, NULL), ENXIO);
	check_error(attr(gic, SET, ADDR, DIST, NULL), EFAULT);
	value = 0x8001000;
	check_error(attr(gic, SET, ADDR, DIST, &value), EINVAL);
	value = 1UL << 36;
	check_error(attr(gic, SET, ADDR, DIST, &value), E2BIG);
	value = 0x8000000;
	check(!attr(gic, SET, ADDR, DIST, &value));
	check_error(attr(gic, SET, ADDR, DIST, &value), EEXIST);
	value = 0x80a0000;
	check(!attr(gic, SET, ADDR, REDIST, &value));
	check_error(run_command(&vm, CMD_WFI, 0, 0, &result), EBUSY);
	value = 33;
	check_error(attr(gic, SET, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &value), EINVAL);
	value = 128;
	check(!attr(gic, SET, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &value));
	check_error(attr(gic, SET, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &value), EBUSY);
	check(!attr(gic, SET, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL));
	check_error(ioctl(vm.fd, KVM_CREATE_VCPU, 1), EBUSY);

	check(!irq_line(vm.fd, 1 << 24 | 32));
	check_error(irq_line(vm.fd, 1 << 24 | 128), EINVAL);
	check_error(irq_line(vm.fd, 1 << 24 | 31), EINVAL);
	check_error(irq_line(vm.fd, 2 << 24 | 15), EINVAL);
	check_error(irq_line(vm.fd, 2 << 24 | 27), EINVAL);	/* the timer's */
	check_error(irq_line(vm.fd, 2 << 24 | 1 << 16 | 20), EINVAL);
	check_error(irq_line(vm.fd, 0), ENXIO);
	check_error(irq_line(vm.fd, 3 << 24), EINVAL);

	/* The guest sees the distributor: GICD_CTLR, and GICD_TYPER beside it. */
	check(command(&vm, CMD_READ, 0x80a0008, 0) == 0x10);
	close(gic);
	close_vm(&vm);
}

static void test_registers(void)
{
	struct vm vm = make_vm(0);
	struct kvm_reg_list list = { .n = 0 }, *all;
	uint64_t value, i;
	int vcpu1;

	check_error(init_vcpu(vm.vcpu, 1U << 31), ENOENT);
	check_error(init_vcpu(vm.vcpu, 1 << KVM_ARM_VCPU_SVE), EINVAL);
	check_error(ioctl(vm.fd, KVM_CREATE_VCPU, 0), EEXIST);
	check_error(ioctl(vm.fd, KVM_CREATE_VCPU, 100000), EINVAL);
	vcpu1 = ioctl(vm.fd, KVM_CREATE_VCPU, 1);
	check(vcpu1 >= 0);
	check_error(one_reg(vcpu1, KVM_GET_ONE_REG, PC, &value), ENOEXEC);
	check_error(ioctl(vcpu1, KVM_RUN, 0), ENOEXEC);
	check(!init_vcpu(vcpu1, 1 << KVM_ARM_VCPU_POWER_OFF));
	check(!one_reg(vcpu1, KVM_GET_ONE_REG, MPIDR, &value) && value == 0x80000001);

	value = 0x1122334455667788;
	check(!one_reg(vm.vcpu, KVM_SET_ONE_REG, X(7), &value));
	value = 0;
	check(!one_reg(vm.vcpu, KVM_GET_ONE_REG, X(7), &value));
	check(value == 0x1122334455667788);
	check(!one_reg(vm.vcpu, KVM_GET_ONE_REG, SCTLR, &value));
	check(!(value & (1 << 25 | 1)));
	check_error(one_reg(vm.vcpu, KVM_GET_ONE_REG, PC | KVM_REG_SIZE_U128, &value), EINVAL);
	check_error(one_reg(vm.vcpu, KVM_GET_ONE_REG, X(7) + 1, &value), EINVAL);
	check_error(one_reg(vm.vcpu, KVM_GET_ONE_REG, X(7), NULL), EFAULT);
	check_error(one_reg(vm.vcpu, KVM_GET_ONE_REG, ARM64_SYS_REG(3, 7, 15, 15, 7), &value),
		    ENOENT);

	check_error(ioctl(vm.vcpu, KVM_GET_REG_LIST, &list), E2BIG);
	check(list.n > 60);
	all = calloc(1, sizeof(*all) + list.n * 8);
	all->n = list.n;
	check(!ioctl(vm.vcpu, KVM_GET_REG_LIST, all) && all->n == list.n);
	for (i = 0; i < all->n; i++) {
		uint64_t two[2];

		check(!one_reg(vm.vcpu, KVM_GET_ONE_REG, all->reg[i], two));
	}
	free(all);
	close(vcpu1);
	close_vm(&vm);
}

static void test_unprotected(void)
{
	struct vm vm = make_vm(0);
	uint64_t value = 0;
	uint8_t *more;

	/* Memory that the VMM has not touched, and that it has. */
	vm.ram[5 * PAGE] = 0x5a;
	check(command(&vm, CMD_READ, RAM + 5 * PAGE, 0) == 0x5a);
	check(command(&vm, CMD_READ, RAM + RAM_SIZE - 8, 0) == 0);
	command(&vm, CMD_WRITE, RAM + (3UL << 20), 0xfeed);
	check(*(uint64_t *)(vm.ram + (3UL << 20)) == 0xfeed);
	vm.ram[3UL << 20] = 0xee;
	check(command(&vm, CMD_READ, RAM + (3UL << 20), 0) == 0xfeee);
	check(!one_reg(vm.vcpu, KVM_GET_ONE_REG, X(19), &value) && value == DEVICE);

	/* A slot that comes, moves and goes while the VM runs. */
	more = map_ram(1 << 20);
	more[0] = 0x77;
	check(run_command(&vm, CMD_READ, 0x40000000, 0, &value) == KVM_EXIT_MMIO);
	check(vm.run->mmio.phys_addr == 0x40000000 && !vm.run->mmio.is_write);
	memset(vm.run->mmio.data, 0, 8);
	check(run_command(&vm, CMD_WFI + 100, 0, 0, &value) == 0);
	check(!set_slot(vm.fd, 1, 0x40000000, 1 << 20, more));
	check(command(&vm, CMD_READ, 0x40000000, 0) == 0x77);
	check(!set_slot(vm.fd, 1, 0x48000000, 1 << 20, more));
	check(command(&vm, CMD_READ, 0x48000000, 0) == 0x77);
	check(run_command(&vm, CMD_READ, 0x40000000, 0, &value) == KVM_EXIT_MMIO);
	check(!set_slot(vm.fd, 1, 0x48000000, 0, more));
	check(run_command(&vm, CMD_OFF, 0, 0, &value) == 0);
	check(run_command(&vm, CMD_OFF, 0, 0, &value) == KVM_EXIT_SYSTEM_EVENT);
	check(vm.run->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN);
	close_vm(&vm);
}

static void on_alarm(int signal)
{
	(void)signal;
}

static void test_signals(void)
{
	struct vm vm = make_vm(0);
	struct sigaction sa = { .sa_handler = on_alarm };
	struct itimerval soon = { .it_value.tv_usec = 200000 };
	uint64_t result;

	vm.run->immediate_exit = 1;
	check_error(ioctl(vm.vcpu, KVM_RUN, 0), EINTR);
	vm.run->immediate_exit = 0;
	sigaction(SIGALRM, &sa, NULL);
	/* Asleep in WFI, then spinning. */
	setitimer(ITIMER_REAL, &soon, NULL);
	check_error(run_command(&vm, CMD_WFI, 0, 0, &result), EINTR);
	check(vm.run->exit_reason == KVM_EXIT_INTR);
	close_vm(&vm);

	vm = make_vm(0);
	setitimer(ITIMER_REAL, &soon, NULL);
	check_error(run_command(&vm, CMD_SPIN, 0, 0, &result), EINTR);
	check(vm.run->exit_reason == KVM_EXIT_INTR);
	close_vm(&vm);
}

static void test_protected(void)
{
	struct vm vm = make_vm(PROTECTED);
	uint8_t buffer[8] = { 1 };
	struct iovec local = { buffer, 8 }, remote = { vm.ram, 8 };
	uint64_t value;
	int status, mem;
	pid_t pid;

	vm.ram[PAGE] = 0x42;
	vm.ram[(4UL << 20) + PAGE] = 0x43;
	check(command(&vm, CMD_READ, RAM + PAGE, 0) == 0x42);
	check(command(&vm, CMD_READ, RAM + (4UL << 20) + PAGE, 0) == 0x43);
	check(command(&vm, CMD_READ, RAM + (6UL << 20), 0) == 0);
	command(&vm, CMD_WRITE, RAM + (6UL << 20), 0x5ec2e7);

	/* What the guest has, the host has not. */
	check(touch(vm.ram, false) == SIGBUS);
	check(touch(vm.ram + PAGE, true) == SIGBUS);
	check(touch(vm.ram + (6UL << 20), false) == SIGBUS);
	/* Nor through the kernel. */
	check_error(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), EFAULT);
	mem = open("/proc/self/mem", O_RDWR);
	check(mem >= 0);
	check(pread(mem, buffer, 8, (off_t)(uintptr_t)vm.ram) == -1);
	check(pwrite(mem, buffer, 8, (off_t)(uintptr_t)vm.ram) == -1);
	close(mem);
	mem = memfd_create("copy", 0);
	check_error(write(mem, vm.ram, 8), EFAULT);
	check(write(mem, buffer, 8) == 8 && !lseek(mem, 0, SEEK_SET));
	check_error(read(mem, vm.ram, 8), EFAULT);
	close(mem);

	/* fork() does not copy it; a crash does not dump it. */
	pid = fork();
	if (!pid)
		_exit(touch(vm.ram, false) == SIGSEGV ? 0 : 1);
	check(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status));

	/* Registers: those that VMMs cannot do without tell nothing. */
	check_error(one_reg(vm.vcpu, KVM_GET_ONE_REG, X(19), &value), EPERM);
	check_error(one_reg(vm.vcpu, KVM_SET_ONE_REG, PC, &value), EPERM);
	check(!one_reg(vm.vcpu, KVM_GET_ONE_REG, PSTATE, &value) && value == 0x3c5);
	check(!one_reg(vm.vcpu, KVM_GET_ONE_REG, SCTLR, &value) && !(value & (1 << 25)));
	check(!one_reg(vm.vcpu, KVM_GET_ONE_REG, MPIDR, &value) && value == 0x80000000);
	check_error(set_slot(vm.fd, 0, RAM, 0, vm.ram), EPERM);
	check_error(set_slot(vm.fd, 1, 0x40000000, PAGE, vm.ram), EPERM);

	/* The guest shares a page, and takes it back. */
	check(command(&vm, CMD_HVC, 0xc6000003, RAM + (6UL << 20)) == 0);
	check(*(volatile uint64_t *)(vm.ram + (6UL << 20)) == 0x5ec2e7);
	vm.ram[6UL << 20] = 0x11;
	check(command(&vm, CMD_READ, RAM + (6UL << 20), 0) == 0x5ec211);
	check(command(&vm, CMD_HVC, 0xc6000004, RAM + (6UL << 20)) == 0);
	check(touch(vm.ram + (6UL << 20), false) == SIGBUS);
	/* It gives up a page, and touches it again. */
	check(command(&vm, CMD_HVC, 0xc6000009, RAM + (6UL << 20)) == 0);
	check(touch(vm.ram + (6UL << 20), false) == 0);
	check(command(&vm, CMD_READ, RAM + (6UL << 20), 0) == 0);
	check(touch(vm.ram + (6UL << 20), false) == SIGBUS);

	command(&vm, CMD_WRITE, RAM + (6UL << 20), 0x5ec2e7);
	munmap(vm.run, PAGE);
	close(vm.vcpu);
	close(vm.fd);
	/* All of it is back, and zero. */
	check(is_zero(vm.ram, RAM_SIZE));
	munmap(vm.ram, RAM_SIZE);
}

/* Memory that the VMM has not set apart from its own. */
static void test_not_apart(void)
{
	struct vm vm = make_vm(PROTECTED);
	uint8_t *ram = map_ram(RAM_SIZE);
	uint64_t result;

	check(!set_slot(vm.fd, 1, 0x40000000, 1UL << 20, ram));
	check_error(run_command(&vm, CMD_READ, 0x40000000, 0, &result), EINVAL);
	/* Nothing has happened: set apart, it runs. */
	check(!madvise(ram, RAM_SIZE, MADV_DONTFORK));
	check(command(&vm, CMD_READ, 0x40000000, 0) == 0);
	check(touch(ram, false) == SIGBUS);
	munmap(ram, RAM_SIZE);
	close_vm(&vm);
}

/* Memory of a VMM that is shared, a file's, with holes. */
static void test_protected_file(void)
{
	struct vm vm = make_vm(PROTECTED);
	int fd = memfd_create("ram", 0);
	uint8_t *ram;

	check(fd >= 0 && !ftruncate(fd, RAM_SIZE));
	check(pwrite(fd, "file", 5, 3 * PAGE) == 5);	/* never mapped in */
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(ram != MAP_FAILED);
	ram[9 * PAGE] = 0x99;
	check(!set_slot(vm.fd, 1, 0x40000000, RAM_SIZE, ram));
	check(command(&vm, CMD_READ, 0x40000000 + 3 * PAGE, 0) == 0x656c6966);
	check(command(&vm, CMD_READ, 0x40000000 + 9 * PAGE, 0) == 0x99);
	check(command(&vm, CMD_READ, 0x40000000 + 100 * PAGE, 0) == 0);
	check(touch(ram + 3 * PAGE, false) == SIGBUS);
	check(touch(ram + 1000 * PAGE, false) == 0);	/* a hole still */
	munmap(ram, RAM_SIZE);
	close(fd);
	close_vm(&vm);
}

/* A VMM that may not lock enough memory. */
static void test_limit(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		struct rlimit limit = { 16 * PAGE, 16 * PAGE };
		struct vm vm;
		uint64_t result;

		setrlimit(RLIMIT_MEMLOCK, &limit);
		check(!setuid(65534));
		vm = make_vm(0);
		check(run_command(&vm, CMD_READ, RAM + (2UL << 20), 0, &result) == -1 &&
		      errno == ENOMEM);
		check(vm.run->exit_reason == KVM_EXIT_MEMORY_FAULT);
		_exit(0);
	}
	check(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status));
}

/* A VMM that is killed, with its descriptors open and its guest running. */
static void test_killed(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct vm vm = make_vm(PROTECTED);
		uint64_t result;

		run_command(&vm, CMD_SPIN, 0, 0, &result);
		_exit(1);
	}
	usleep(300000);
	kill(pid, SIGKILL);
	check(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
}

/* A VMM that crashes on its guest's memory, core dump and all. */
static void test_crash(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
		struct vm vm = make_vm(PROTECTED);

		setrlimit(RLIMIT_CORE, &limit);
		check(!chdir("/tmp"));
		command(&vm, CMD_READ, RAM, 0);
		*(volatile uint8_t *)vm.ram = 1;
		_exit(1);
	}
	check(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	check(WTERMSIG(status) == SIGBUS && WCOREDUMP(status));
	unlink("/tmp/core");
}

static long available_kib(void)
{
	char line[128];
	long kib = -1;
	FILE *f = fopen("/proc/meminfo", "r");

	check(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %ld", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

/* Nothing stays behind. */
static void test_many(void)
{
	long before = available_kib();
	int i;

	for (i = 0; i < 30; i++) {
		struct vm one = make_vm(PROTECTED), two = make_vm(i % 2 ? PROTECTED : 0);

		command(&one, CMD_WRITE, RAM + (2UL << 20), 1);
		command(&two, CMD_WRITE, RAM + (2UL << 20), 2);
		check(command(&one, CMD_READ, RAM + (2UL << 20), 0) == 1);
		check(command(&two, CMD_READ, RAM + (2UL << 20), 0) == 2);
		close_vm(&one);
		close_vm(&two);
	}
	/* 30 times 2 VMs of 8 MiB: a leak would be hundreds of MiB. */
	check(before - available_kib() < 64 << 10);
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "system ioctls", test_system },
	{ "memory slots", test_slots },
	{ "interrupt controller", test_vgic },
	{ "registers", test_registers },
	{ "VM, not protected", test_unprotected },
	{ "signals", test_signals },
	{ "protected VM", test_protected },
	{ "memory not set apart", test_not_apart },
	{ "protected VM on a file", test_protected_file },
	{ "memory limit", test_limit },
	{ "killed VMM", test_killed },
	{ "crashed VMM", test_crash },
	{ "many VMs", test_many },
};

int main(void)
{
	size_t i;

	setbuf(stdout, NULL);
	sys_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (sys_fd < 0) {
		perror("/dev/kvm");
		return 1;
	}
	for (i = 0; i < sizeof(tests) / sizeof(*tests); i++) {
		printf("kvm_test: %s\n", tests[i].name);
		tests[i].run();
	}
	printf("kvm_test: %zu tests, %u checks, passed\n", i, checks);
	return 0;
}

/*
 * Exception vectors of EL2 and the switch into a guest.
 *
 * While the host runs, VBAR_EL2 is host_vectors and SP_EL2 is the top of this CPU's stack; while a
 * guest runs, VBAR_EL2 is guest_vectors and the stack holds what guest_enter saved. TPIDR_EL2 is
 * the address of this CPU's PerCpu, whose first word is the register array of the running guest.
 */

    .macro vector target
    .balign 128
    b       \target
    .endm

    .macro fatal_vector kind
    .balign 128
    mov     x0, #\kind
    b       enter_fatal
    .endm

    .section .vectors, "ax"
    .balign 2048
    .global host_vectors
host_vectors:
    fatal_vector 0
    fatal_vector 1
    fatal_vector 2
    fatal_vector 3
    vector  current_sync
    fatal_vector 5
    fatal_vector 6
    fatal_vector 7
    vector  host_sync
    vector  host_irq
    vector  host_irq
    fatal_vector 11
    fatal_vector 12                     /* AArch32 hosts are never started */
    fatal_vector 13
    fatal_vector 14
    fatal_vector 15

    .balign 2048
    .global guest_vectors
guest_vectors:
    fatal_vector 16
    fatal_vector 17
    fatal_vector 18
    fatal_vector 19
    fatal_vector 20
    fatal_vector 21
    fatal_vector 22
    fatal_vector 23
    vector  guest_sync
    vector  guest_irq
    vector  guest_irq
    vector  guest_serror
    vector  guest_sync                  /* AArch32: HCR_EL2.RW is set, so this is never taken */
    vector  guest_irq
    vector  guest_irq
    vector  guest_serror

    .section .bss.emergency, "aw", %nobits
    .balign 16
emergency_stack:
    .zero   4096
emergency_stack_end:

    .text

/*
 * A synchronous exception of EL2 itself. One is expected: the walk of an AT instruction can end in an
 * external abort, because EL1 says where its tables are. Then X0 = 1 (PAR_EL1.F) is the result.
 */
current_sync:
    mrs     x0, elr_el2                 /* nothing needs saving: only the AT goes on */
    adr     x1, translate_at
    sub     x0, x0, x1
    cmp     x0, #4                      /* the AT, or the ISB behind it */
    b.hi    1f
    adr     x0, translate_failed
    msr     elr_el2, x0
    eret
    dsb     nsh
    isb
1:  mov     x0, #4
    b       enter_fatal

/*
 * Translates an address for reading at EL1. X0 = address; returns PAR_EL1. ELR_EL2 and SPSR_EL2 are
 * kept, they are the guest's.
 */
    .global translate_address
translate_address:
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    mrs     x4, par_el1
translate_at:
    at      s1e1r, x0
    isb
    mrs     x0, par_el1
    msr     par_el1, x4
    ret
translate_failed:
    msr     elr_el2, x2
    msr     spsr_el2, x3
    msr     par_el1, x4
    mov     x0, #1
    ret

/* X0 = kind of vector. The stack may be what is broken: another one is used. */
enter_fatal:
    adrp    x1, emergency_stack_end
    add     x1, x1, :lo12:emergency_stack_end
    mov     sp, x1
    mrs     x1, esr_el2
    mrs     x2, elr_el2
    mrs     x3, far_el2
    mov     x29, xzr
    bl      exception_fatal
1:  wfe
    b       1b

    .macro host_entry handler
    sub     sp, sp, #256
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    str     x30, [sp, #240]
    mov     x0, sp
    mov     x29, xzr
    bl      \handler
    b       host_return
    .endm

host_sync:
    host_entry handle_host_sync
host_irq:
    host_entry handle_host_interrupt

host_return:
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldr     x30, [sp, #240]
    ldp     x0, x1, [sp], #256
    eret
    dsb     nsh                         /* no straight-line speculation past ERET */
    isb

/*
 * First entry into the host on this CPU. X0 = argument for the host; the stack is emptied, since
 * nothing returns to the caller. ELR_EL2 and SPSR_EL2 are set. X1 = top of this CPU's stack.
 */
    .global host_start
host_start:
    mov     sp, x1
    mov     x1, xzr
    mov     x2, xzr
    mov     x3, xzr
    mov     x4, xzr
    mov     x5, xzr
    mov     x6, xzr
    mov     x7, xzr
    mov     x8, xzr
    mov     x9, xzr
    mov     x10, xzr
    mov     x11, xzr
    mov     x12, xzr
    mov     x13, xzr
    mov     x14, xzr
    mov     x15, xzr
    mov     x16, xzr
    mov     x17, xzr
    mov     x18, xzr
    mov     x19, xzr
    mov     x20, xzr
    mov     x21, xzr
    mov     x22, xzr
    mov     x23, xzr
    mov     x24, xzr
    mov     x25, xzr
    mov     x26, xzr
    mov     x27, xzr
    mov     x28, xzr
    mov     x29, xzr
    mov     x30, xzr
    eret
    dsb     nsh
    isb

/*
 * Enters the guest and returns when it exits.
 * X0 = address of its X0 to X30 (31 words); everything else is loaded already.
 * Returns the kind of exit: 0 synchronous, 1 interrupt, 2 SError.
 */
    .global guest_enter
guest_enter:
    stp     x29, x30, [sp, #-96]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    mrs     x1, tpidr_el2
    str     x0, [x1]
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x16, x17, [x0, #128]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    eret
    dsb     nsh
    isb

    .macro guest_exit kind
    stp     x0, x1, [sp, #-16]!
    mrs     x0, tpidr_el2
    ldr     x0, [x0]
    stp     x2, x3, [x0, #16]
    ldp     x2, x3, [sp], #16
    stp     x2, x3, [x0]
    mov     x1, #\kind
    b       guest_exit_common
    .endm

guest_sync:
    guest_exit 0
guest_irq:
    guest_exit 1
guest_serror:
    guest_exit 2

guest_exit_common:
    stp     x4, x5, [x0, #32]
    stp     x6, x7, [x0, #48]
    stp     x8, x9, [x0, #64]
    stp     x10, x11, [x0, #80]
    stp     x12, x13, [x0, #96]
    stp     x14, x15, [x0, #112]
    stp     x16, x17, [x0, #128]
    stp     x18, x19, [x0, #144]
    stp     x20, x21, [x0, #160]
    stp     x22, x23, [x0, #176]
    stp     x24, x25, [x0, #192]
    stp     x26, x27, [x0, #208]
    stp     x28, x29, [x0, #224]
    str     x30, [x0, #240]
    mov     x0, x1
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret

/*
 * One SMC to the firmware. X0 = address of X0 to X3 (in and out). SMCCC: X4 to X17 may be lost.
 */
    .global smc_call
smc_call:
    stp     x29, x30, [sp, #-32]!
    str     x19, [sp, #16]
    mov     x19, x0
    ldp     x2, x3, [x19, #16]
    ldp     x0, x1, [x19]
    smc     #0
    stp     x0, x1, [x19]
    stp     x2, x3, [x19, #16]
    ldr     x19, [sp, #16]
    ldp     x29, x30, [sp], #32
    ret

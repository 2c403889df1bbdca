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
    .irp    kind, 0,1,2,3
    fatal_vector \kind
    .endr
    vector  current_sync
    .irp    kind, 5,6,7
    fatal_vector \kind
    .endr
    vector  host_sync
    vector  host_irq
    vector  host_irq
    .irp    kind, 11,12,13,14,15        /* from 12 on AArch32: such a host is never started */
    fatal_vector \kind
    .endr

    .balign 2048
    .global guest_vectors
guest_vectors:
    .irp    kind, 16,17,18,19,20,21,22,23
    fatal_vector \kind
    .endr
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

/*
 * Moves X2 to X30 to or from an array of X0 to X30: "transfer stp, str, base" stores them,
 * "transfer ldp, ldr, base" loads them.
 */
    .macro transfer pair, single, base
    \pair   x2, x3, [\base, #16]
    \pair   x4, x5, [\base, #32]
    \pair   x6, x7, [\base, #48]
    \pair   x8, x9, [\base, #64]
    \pair   x10, x11, [\base, #80]
    \pair   x12, x13, [\base, #96]
    \pair   x14, x15, [\base, #112]
    \pair   x16, x17, [\base, #128]
    \pair   x18, x19, [\base, #144]
    \pair   x20, x21, [\base, #160]
    \pair   x22, x23, [\base, #176]
    \pair   x24, x25, [\base, #192]
    \pair   x26, x27, [\base, #208]
    \pair   x28, x29, [\base, #224]
    \single x30, [\base, #240]
    .endm

    .macro host_entry handler
    sub     sp, sp, #256
    stp     x0, x1, [sp]
    transfer stp, str, sp
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
    transfer ldp, ldr, sp
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
    .irp    n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    mov     x\n, xzr
    .endr
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
    transfer ldp, ldr, x0
    ldp     x0, x1, [x0]
    eret
    dsb     nsh
    isb

    .macro guest_exit kind
    stp     x0, x1, [sp, #-16]!
    mrs     x0, tpidr_el2
    ldr     x0, [x0]
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
    transfer stp, str, x0
    ldp     x2, x3, [sp], #16           /* its X0 and X1 */
    stp     x2, x3, [x0]
    mov     x0, x1
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret

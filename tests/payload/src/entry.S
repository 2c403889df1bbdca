// Entry of a payload, exception vectors and guarded execution. EL1 throughout.
//
// At entry nothing is assumed of any register: all are first written to `entry_capture`, so that a
// payload can tell what the world before it left behind.

    .arch armv8.5-a+fp+simd

    .section .text.entry, "ax"
    .global _start
_start:
    b       start
    .long   0
    .quad   0                       // text_offset
    .quad   _image_size
    .quad   0xa                     // little endian, 4 KiB pages, anywhere
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

// SP is free as a scratch register before it is used as a stack.
start:
    mov     sp, x0
    adr     x0, entry_capture
    stp     x1, x2, [x0, #8]
    stp     x3, x4, [x0, #24]
    stp     x5, x6, [x0, #40]
    stp     x7, x8, [x0, #56]
    stp     x9, x10, [x0, #72]
    stp     x11, x12, [x0, #88]
    stp     x13, x14, [x0, #104]
    stp     x15, x16, [x0, #120]
    stp     x17, x18, [x0, #136]
    stp     x19, x20, [x0, #152]
    stp     x21, x22, [x0, #168]
    stp     x23, x24, [x0, #184]
    stp     x25, x26, [x0, #200]
    stp     x27, x28, [x0, #216]
    stp     x29, x30, [x0, #232]
    mov     x1, sp
    str     x1, [x0]
    mrs     x1, cpacr_el1
    str     x1, [x0, #248]
    orr     x1, x1, #(3 << 20)
    msr     cpacr_el1, x1
    isb
    mrs     x1, fpsr
    mrs     x2, fpcr
    stp     x1, x2, [x0, #256]
    add     x1, x0, #272
    stp     q0, q1, [x1], #32
    stp     q2, q3, [x1], #32
    stp     q4, q5, [x1], #32
    stp     q6, q7, [x1], #32
    stp     q8, q9, [x1], #32
    stp     q10, q11, [x1], #32
    stp     q12, q13, [x1], #32
    stp     q14, q15, [x1], #32
    stp     q16, q17, [x1], #32
    stp     q18, q19, [x1], #32
    stp     q20, q21, [x1], #32
    stp     q22, q23, [x1], #32
    stp     q24, q25, [x1], #32
    stp     q26, q27, [x1], #32
    stp     q28, q29, [x1], #32
    stp     q30, q31, [x1], #32

    adrp    x1, _bss_start
    add     x1, x1, :lo12:_bss_start
    adrp    x2, _bss_end
    add     x2, x2, :lo12:_bss_end
1:  cmp     x1, x2
    b.hs    2f
    stp     xzr, xzr, [x1], #16
    b       1b
2:  adrp    x1, _stack_end
    add     x1, x1, :lo12:_stack_end
    mov     sp, x1
    bl      machine_on
    adr     x0, entry_capture
    bl      payload_main
3:  wfi
    b       3b

// A CPU switched on by PSCI: X0 is the top of its stack.
    .global secondary_start
secondary_start:
    mov     sp, x0
    bl      machine_on
    mov     x0, sp
    bl      payload_secondary
    b       3b

// Vectors, FP on, an identity map of the first 512 GiB in blocks of 1 GiB: RAM (0x40000000 to
// 0x7fffffff) cacheable, all else device memory. Clobbers X1 to X3.
machine_on:
    adr     x1, vectors
    msr     vbar_el1, x1
    mrs     x1, cpacr_el1
    orr     x1, x1, #(3 << 20)
    msr     cpacr_el1, x1
    ldr     x1, =0x00000000000004ff     // index 0: write-back, index 1: nGnRE
    msr     mair_el1, x1
    ldr     x1, =0x200803519            // T0SZ 25, 4 KiB, inner shareable WB, EPD1, 40-bit PA
    msr     tcr_el1, x1
    adrp    x1, identity
    add     x1, x1, :lo12:identity
    msr     ttbr0_el1, x1
    dsb     ish
    isb
    tlbi    vmalle1
    dsb     nsh
    isb
    ldr     x1, =0x30d0198d             // RES1 bits, I, C, M
    bic     x1, x1, #8                  // no stack alignment check
    msr     sctlr_el1, x1
    isb
    ret

// guarded(x0 = frame): loads X0 to X17 from the frame, calls the word at frame[31] and stores them
// back. An exception in the code page ends it: ESR in frame[18], FAR in frame[19], 1 in frame[20].
    .global guarded
guarded:
    stp     x29, x30, [sp, #-112]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    stp     x0, x18, [sp, #96]
    mov     x30, x0
    str     xzr, [x30, #160]
    ldp     x0, x1, [x30]
    ldp     x2, x3, [x30, #16]
    ldp     x4, x5, [x30, #32]
    ldp     x6, x7, [x30, #48]
    ldp     x8, x9, [x30, #64]
    ldp     x10, x11, [x30, #80]
    ldp     x12, x13, [x30, #96]
    ldp     x14, x15, [x30, #112]
    ldp     x16, x17, [x30, #128]
    ldr     x30, [x30, #248]
    blr     x30
guarded_landing:
    ldr     x30, [sp, #96]
    stp     x0, x1, [x30]
    stp     x2, x3, [x30, #16]
    stp     x4, x5, [x30, #32]
    stp     x6, x7, [x30, #48]
    stp     x8, x9, [x30, #64]
    stp     x10, x11, [x30, #80]
    stp     x12, x13, [x30, #96]
    stp     x14, x15, [x30, #112]
    stp     x16, x17, [x30, #128]
    ldr     x18, [sp, #104]
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #112
    ret

// A synchronous exception while the code page runs belongs to `guarded`; any other is fatal.
sync:
    stp     x0, x1, [sp, #-32]!
    stp     x2, x3, [sp, #16]
    mrs     x0, elr_el1
    mrs     x3, esr_el1
    adrp    x1, code_page
    add     x1, x1, :lo12:code_page
    sub     x1, x0, x1
    lsr     x1, x1, #12
    cbz     x1, 1f
    // A jump into a foreign page: the address is in X16 by convention, and equal to ELR.
    cmp     x0, x16
    b.ne    fatal
1:  ldr     x2, [sp, #(32 + 96)]
    mrs     x1, far_el1
    stp     x3, x1, [x2, #144]
    mov     x1, #1
    str     x1, [x2, #160]
    adr     x0, guarded_landing
    msr     elr_el1, x0
    mrs     x0, spsr_el1
    bic     x0, x0, #(3 << 20)
    msr     spsr_el1, x0
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp], #32
    eret

fatal:
    mov     x2, x3
    mrs     x1, far_el1
    bl      payload_fatal

irq:
    sub     sp, sp, #192
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x30, [sp, #144]
    mrs     x0, elr_el1
    mrs     x1, spsr_el1
    stp     x0, x1, [sp, #160]
    bl      payload_irq
    ldp     x0, x1, [sp, #160]
    msr     elr_el1, x0
    msr     spsr_el1, x1
    ldp     x18, x30, [sp, #144]
    ldp     x16, x17, [sp, #128]
    ldp     x14, x15, [sp, #112]
    ldp     x12, x13, [sp, #96]
    ldp     x10, x11, [sp, #80]
    ldp     x8, x9, [sp, #64]
    ldp     x6, x7, [sp, #48]
    ldp     x4, x5, [sp, #32]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp]
    add     sp, sp, #192
    eret

serror:
    mrs     x0, elr_el1
    mrs     x3, esr_el1
    b       fatal

    .align  11
vectors:
    .rept   4
    .align  7
    b       sync
    .align  7
    b       irq
    .align  7
    b       irq
    .align  7
    b       serror
    .endr

// expose(x0 = struct Exposed): loads every general and FP register from the structure, makes one
// access to the device at `address` (a read if `value` bit 0 of `write` is clear), and stores all of
// them as they are afterwards. X0 is the value, X1 the address.
    .global expose
expose:
    stp     x29, x30, [sp, #-112]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    stp     x0, x18, [sp, #96]
    add     x1, x0, #256
    ldp     q0, q1, [x1], #32
    ldp     q2, q3, [x1], #32
    ldp     q4, q5, [x1], #32
    ldp     q6, q7, [x1], #32
    ldp     q8, q9, [x1], #32
    ldp     q10, q11, [x1], #32
    ldp     q12, q13, [x1], #32
    ldp     q14, q15, [x1], #32
    ldp     q16, q17, [x1], #32
    ldp     q18, q19, [x1], #32
    ldp     q20, q21, [x1], #32
    ldp     q22, q23, [x1], #32
    ldp     q24, q25, [x1], #32
    ldp     q26, q27, [x1], #32
    ldp     q28, q29, [x1], #32
    ldp     q30, q31, [x1], #32
    ldr     x1, [x0, #248]
    msr     elr_el1, x1             // whether to write: kept where no exit may change it
    mov     x30, x0
    ldp     x0, x1, [x30]
    ldp     x2, x3, [x30, #16]
    ldp     x4, x5, [x30, #32]
    ldp     x6, x7, [x30, #48]
    ldp     x8, x9, [x30, #64]
    ldp     x10, x11, [x30, #80]
    ldp     x12, x13, [x30, #96]
    ldp     x14, x15, [x30, #112]
    ldp     x16, x17, [x30, #128]
    ldp     x18, x19, [x30, #144]
    ldp     x20, x21, [x30, #160]
    ldp     x22, x23, [x30, #176]
    ldp     x24, x25, [x30, #192]
    ldp     x26, x27, [x30, #208]
    ldp     x28, x29, [x30, #224]
    mrs     x30, elr_el1
    cbnz    x30, 1f
    mrs     x30, tpidr_el0
    ldr     x0, [x1]
    b       2f
1:  mrs     x30, tpidr_el0
    str     x0, [x1]
2:  msr     sp_el0, x30
    ldr     x30, [sp, #96]
    stp     x0, x1, [x30]
    stp     x2, x3, [x30, #16]
    stp     x4, x5, [x30, #32]
    stp     x6, x7, [x30, #48]
    stp     x8, x9, [x30, #64]
    stp     x10, x11, [x30, #80]
    stp     x12, x13, [x30, #96]
    stp     x14, x15, [x30, #112]
    stp     x16, x17, [x30, #128]
    stp     x18, x19, [x30, #144]
    stp     x20, x21, [x30, #160]
    stp     x22, x23, [x30, #176]
    stp     x24, x25, [x30, #192]
    stp     x26, x27, [x30, #208]
    stp     x28, x29, [x30, #224]
    mrs     x0, sp_el0
    str     x0, [x30, #240]
    add     x1, x30, #256
    stp     q0, q1, [x1], #32
    stp     q2, q3, [x1], #32
    stp     q4, q5, [x1], #32
    stp     q6, q7, [x1], #32
    stp     q8, q9, [x1], #32
    stp     q10, q11, [x1], #32
    stp     q12, q13, [x1], #32
    stp     q14, q15, [x1], #32
    stp     q16, q17, [x1], #32
    stp     q18, q19, [x1], #32
    stp     q20, q21, [x1], #32
    stp     q22, q23, [x1], #32
    stp     q24, q25, [x1], #32
    stp     q26, q27, [x1], #32
    stp     q28, q29, [x1], #32
    stp     q30, q31, [x1], #32
    ldr     x18, [sp, #104]
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #112
    ret

    .section .capture, "aw"
    .align  4
    .global entry_capture
entry_capture:
    .skip   784

    .data
    .align  12
identity:
    .quad   0x0060000000000405, 0x0040000040000701
    .set    block, 2
    .rept   510
    .quad   0x0060000000000405 + (block << 30)
    .set    block, block + 1
    .endr

    .align  12
    .global code_page
code_page:
    .skip   4096

// See fuzz-guest.rs. The MMU stays off and every interrupt masked: nothing here needs either.

    .arch armv8.5-a

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

start:
    adrp    x1, _stack_end
    add     x1, x1, :lo12:_stack_end
    mov     sp, x1
    bl      cpu_on
    adrp    x0, _image_end
    add     x0, x0, :lo12:_image_end
    bl      fuzz_main
1:  wfi
    b       1b

// Masks, vectors, FP, SVE and SME on as far as they are this level's to give.
cpu_on:
    msr     daifset, #0xf
    msr     spsel, #1
    adr     x1, vectors
    msr     vbar_el1, x1
    mov     x1, #(0x33 << 20)
    orr     x1, x1, #(3 << 16)
    msr     cpacr_el1, x1
    isb
    ret

// A CPU that was switched on: switches itself off again.
    .global fuzz_secondary
fuzz_secondary:
    movz    x0, #0x8400, lsl #16
    movk    x0, #2
    hvc     #0
1:  wfi
    b       1b

// fuzz_attempt(x0 = twelve numbers): loads X0 to X7 and X16 from the first nine and runs the code
// page. Returns 0, or 1 if an exception ended it. The code may change no other register but X8 to
// X17.
    .global fuzz_attempt
fuzz_attempt:
    stp     x29, x30, [sp, #-112]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    str     x18, [sp, #96]
    adrp    x17, fuzz_code
    add     x17, x17, :lo12:fuzz_code
    mov     x8, x0
    ldp     x0, x1, [x8]
    ldp     x2, x3, [x8, #16]
    ldp     x4, x5, [x8, #32]
    ldp     x6, x7, [x8, #48]
    ldr     x16, [x8, #64]
    blr     x17
    mov     x0, #0
1:  ldr     x18, [sp, #96]
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #112
    ret
fuzz_caught:
    mov     x0, #1
    b       1b

// Whatever happened, and whatever it left behind, the attempt ends here.
recover:
    adr     x0, fuzz_caught
    msr     elr_el1, x0
    mov     x0, #0x3c5              // EL1 with its own stack, everything masked
    msr     spsr_el1, x0
    isb
    eret

    .align  11
vectors:
    .rept   16
    .align  7
    b       recover
    .endr

// A page for the code of one attempt.
    .data
    .align  12
    .global fuzz_code
fuzz_code:
    .skip   4096

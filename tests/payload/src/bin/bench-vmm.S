// See bench-vmm.rs.
//
// x19 UART, x20 distributor, x21 value of the empty loop, x22 rounds and x28 runs to go.

    .equ    RUNS, 200
    .equ    ROUNDS, 10
    .equ    SYSTEM_OFF, 0x0008
    .equ    LINE_STATUS, 5
    .equ    TYPER, 4

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

// Leaves in x0 the ticks of \operation, of the fastest of all runs, so that no interrupt of the host
// and no other thread is in it. x1 to x7 are \operation's own.
.macro measure operation:vararg
    mov     x0, #-1
    mov     x28, #RUNS
1:  mov     x22, #ROUNDS
    isb
    mrs     x25, cntvct_el0
2:  \operation
    subs    x22, x22, #1
    b.ne    2b
    isb
    mrs     x26, cntvct_el0
    sub     x1, x26, x25
    cmp     x1, x0
    csel    x0, x1, x0, lo
    subs    x28, x28, #1
    b.ne    1b
    mov     x1, #ROUNDS
    udiv    x0, x0, x1
.endm

.macro report name
    sub     x0, x0, x21
    mov     x24, x0
    adr     x0, 8f
    bl      print
    bl      print_number
    b       9f
8:  .asciz  "BENCH \name "
    .balign 4
9:
.endm

start:
    mov     x19, #0x09000000
    mov     x20, #0x08000000
    mov     x21, #0
    measure nop
    sub     x21, x0, #1

    measure bl version
    report  hvc
    measure ldr w1, [x20, #TYPER]
    report  kernel_mmio_read
    measure ldrb w1, [x19, #LINE_STATUS]
    report  vmm_mmio_read

    movz    x0, #0x8400, lsl #16
    movk    x0, #SYSTEM_OFF
    hvc     #0
3:  wfi
    b       3b

// SMCCC_VERSION, which EL2 answers by itself.
version:
    mov     x7, x0
    mov     w0, #0x80000000
    hvc     #0
    mov     x0, x7
    ret

// Prints the text at x0.
print:
    ldrb    w1, [x0], #1
    cbz     w1, 5f
    strb    w1, [x19]
    b       print
5:  ret

// Prints the number in x24 and a newline.
print_number:
    mov     x2, #10
    mov     x3, #0                  // digits, the last one on top
    mov     x4, #0                  // how many, in bits
6:  udiv    x5, x24, x2
    msub    x6, x5, x2, x24
    lsl     x3, x3, #4
    orr     x3, x3, x6
    add     x4, x4, #4
    mov     x24, x5
    cbnz    x24, 6b
7:  and     x6, x3, #0xf
    add     x6, x6, #'0'
    strb    w6, [x19]
    lsr     x3, x3, #4
    subs    x4, x4, #4
    b.ne    7b
    mov     w6, #'\n'
    strb    w6, [x19]
    ret

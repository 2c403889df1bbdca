// See bench-peer.rs.
//
// Marks: 10 around the empty loop, 11 around hypercalls, 12 around reads of the distributor, 13 around
// reads of the UART (not under Xen: there is no VMM to answer). Each is followed by mark 0, and there
// are RUNS of each, so that the one without an interrupt of the host can be taken.
//
// x19 UART, zero for none; x20 distributor; x22 rounds, x28 runs to go.

    .equ    RUNS, 50
    .equ    ROUNDS, 20              // as redoubt's bench counts them, too
    .equ    SYSTEM_OFF, 0x0008
    .equ    LINE_STATUS, 5
    .equ    TYPER, 4
    .equ    FDT_SIZE, 4

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

.macro measure number, operation:vararg
    mov     x28, #RUNS
1:  mov     x22, #ROUNDS
    movz    xzr, #\number
2:  \operation
    subs    x22, x22, #1
    b.ne    2b
    movz    xzr, #0
    subs    x28, x28, #1
    b.ne    1b
.endm

start:
    mov     x19, #0x09000000
    mov     x20, #0x08000000
    bl      find_xen
    cbz     x0, 3f
    mov     x19, #0
    movz    x20, #0x0300, lsl #16
    movk    x20, #0x1000
3:
    measure 10, nop
    measure 11, bl version
    measure 12, ldr w1, [x20, #TYPER]
    cbz     x19, 4f
    measure 13, ldrb w1, [x19, #LINE_STATUS]

4:  movz    x0, #0x8400, lsl #16
    movk    x0, #SYSTEM_OFF
    hvc     #0
5:  wfi
    b       5b

// SMCCC_VERSION, which every hypervisor answers by itself.
version:
    mov     w0, #0x80000000
    hvc     #0
    ret

// Whether the device tree at x0 has the text "xen,xen": 1 or 0.
find_xen:
    ldr     w1, [x0, #FDT_SIZE]
    rev     w1, w1
    add     x1, x0, x1
    adr     x2, 8f
6:  mov     x3, #0
7:  ldrb    w4, [x2, x3]
    cbz     w4, 9f
    add     x5, x0, x3
    cmp     x5, x1
    b.hs    10f
    ldrb    w5, [x5]
    add     x3, x3, #1
    cmp     w4, w5
    b.eq    7b
    add     x0, x0, #1
    b       6b
9:  mov     x0, #1
    ret
10: mov     x0, #0
    ret
8:  .asciz  "xen,xen"
    .balign 4

// See counted.rs. The MMU of every level is off.
//
// A comment beside an instruction says how often it is reached in its phase; an instruction that
// traps or faults was reached. "EL2: 5 + handler 6 * 20" sums them up.
//
// x0 rounds to go, x1 an address, x2 sums, x3 what was read, x9 where an exception goes instead of
// back (if not zero), x10 the handlers' own.

    .arch   armv8-a

    .equ    EL1H, 0x3c5             // SPSR: EL1 with its own stack, all masked
    .equ    EL0T, 0x3c0             // SPSR: EL0, all masked
    .equ    UART, 0x09000000
    .equ    UART_FLAGS, 0x18
    .equ    NOTHING, 0x0f000000     // no device and no RAM
    .equ    DISTRIBUTOR, 0x08000000
    .equ    REDISTRIBUTOR, 0x080a0000
    .equ    SYSTEM_OFF, 0x0008

    .equ    HCR_VM, 1 << 0
    .equ    HCR_IMO, 1 << 4
    .equ    HCR_TID3, 1 << 18       // traps reads of ID registers

// Begins a phase. It is the phase's first instruction.
.macro mark number
    movz    xzr, #\number
.endm

// Goes on at \at at a lower level, with x9 = 0: 6 instructions.
.macro drop at, level, state
    adr     x0, \at
    msr     elr_\level, x0
    mov     x0, #\state
    msr     spsr_\level, x0
    mov     x9, #0
    eret
.endm

// The code of a phase.
.macro phase number
    .org    0x1000 + \number * 0x100
phase_\number:
    mark    \number
.endm

// Phase 65535, from reset.
//   EL2: 6 of QEMU's own, that start a kernel, + 14 = 20
    .section .text.entry, "ax"
    .global _start
_start:
    b       start                   // 1
    .long   0
    .quad   0                       // text_offset
    .quad   _image_size
    .quad   0xa                     // little endian, 4 KiB pages, anywhere
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

start:
    adr     x0, el2_vectors         // 1
    msr     vbar_el2, x0            // 1
    adr     x0, el1_vectors         // 1
    msr     vbar_el1, x0            // 1
    mov     x0, #0x80000000         // 1: RW
    orr     x0, x0, #HCR_TID3       // 1
    msr     hcr_el2, x0             // 1
    mov     x0, #0x80020000         // 1: RES1, 40 bits of PA,
    movk    x0, #0x0059             // 1: 39 bits of IPA from level 1
    msr     vtcr_el2, x0            // 1
    mov     x2, #0                  // 1
    isb                             // 1
    b       phase_1                 // 1

// A loop.
//   EL2: 3 + 2 * 100 = 203
    phase   1                       // 1
    mov     x0, #100                // 1
1:  subs    x0, x0, #1              // 100
    b.ne    1b                      // 100
    b       phase_2                 // 1

// A device access in the middle of a block, which QEMU under -icount runs a second time.
//   EL2: 4 + 6 * 10 = 64
    phase   2                       // 1
    mov     x0, #10                 // 1
    mov     x1, #UART               // 1
1:  add     x2, x2, #1              // 10
    ldr     w3, [x1, #UART_FLAGS]   // 10
    add     x2, x2, #1              // 10
    add     x2, x2, #1              // 10
    subs    x0, x0, #1              // 10
    b.ne    1b                      // 10
    b       phase_3                 // 1

// A data abort from EL2 to itself in the middle of a run; no entry.
//   EL2: 4 + 5 * 5 + handler 4 * 5 = 49
    phase   3                       // 1
    mov     x0, #5                  // 1
    mov     x1, #NOTHING            // 1
1:  add     x2, x2, #1              // 5
    ldr     w3, [x1]                // 5
    add     x2, x2, #1              // 5
    subs    x0, x0, #1              // 5
    b.ne    1b                      // 5
    b       phase_4                 // 1

// A host without stage 2: HVC and a trapped register.
//   EL1: 5 + 4 * 20 = 85
//   EL2: 7 + HVC 6 * 20 + trap 9 + HVC that stays 2 = 138
//   Entries from EL1, slot 8: class 22 (HVC) 21 times, class 24 (MRS) once
    phase   4                       // 1
    drop    host, el2, EL1H         // 6
host:
    mov     x0, #20                 // 1
1:  add     x2, x2, #1              // 20
    hvc     #0                      // 20
    subs    x0, x0, #1              // 20
    b.ne    1b                      // 20
    mrs     x3, id_aa64pfr0_el1     // 1
    add     x2, x2, #1              // 1
    adr     x9, phase_5             // 1
    hvc     #0                      // 1

// Behind a stage 2, as VMID 3: data aborts in the middle of a run.
//   EL1: 3 + 6 * 7 = 45
//   EL2: 16 + trap 9 * 7 = 79
//   Entries from EL1, slot 8: class 36 (data abort) 7 times
    phase   5                       // 1
    adr     x0, stage2              // 1
    movk    x0, #3, lsl #48         // 1
    msr     vttbr_el2, x0           // 1
    mrs     x0, hcr_el2             // 1
    orr     x0, x0, #HCR_VM         // 1
    msr     hcr_el2, x0             // 1
    tlbi    vmalls12e1              // 1
    dsb     nsh                     // 1
    isb                             // 1
    drop    first, el2, EL1H        // 6
first:
    mov     x0, #7                  // 1
    mov     x1, #UART               // 1
1:  add     x2, x2, #1              // 7
    ldr     w3, [x1, #UART_FLAGS]   // 7
    add     x2, x2, #1              // 7
    add     x2, x2, #1              // 7
    subs    x0, x0, #1              // 7
    b.ne    1b                      // 7
    b       phase_6                 // 1

// Marked at EL1.
//   EL1: 5
//   EL2: HVC that stays 2
//   Entries from EL1, slot 8: class 22 once
    phase   6                       // 1
    add     x2, x2, #1              // 1
    add     x2, x2, #1              // 1
    adr     x9, phase_7             // 1
    hvc     #0                      // 1

// As VMID 4, with a process.
//   EL0: 4 + 4 * 30 = 124
//   EL1: 6 + SVC 2 * 31 + 3 = 71
//   EL2: 11 + trap 9 + HVC that stays 2 = 22
//   Entries from EL0, slot 8: class 36 once; from EL1, slot 8: class 22 once
    phase   7                       // 1
    adr     x0, stage2              // 1
    movk    x0, #4, lsl #48         // 1
    msr     vttbr_el2, x0           // 1
    isb                             // 1
    drop    second, el2, EL1H       // 6
second:
    drop    process, el1, EL0T      // 6
process:
    mov     x0, #30                 // 1
1:  add     x2, x2, #1              // 30
    svc     #0                      // 30
    subs    x0, x0, #1              // 30
    b.ne    1b                      // 30
    ldr     w3, [x1, #UART_FLAGS]   // 1
    adr     x9, over                // 1
    svc     #0                      // 1
over:
    add     x2, x2, #1              // 1
    adr     x9, prepare             // 1
    hvc     #0                      // 1

// An interrupt that waits when EL2 is left: it comes before EL1 ran an instruction.
//   EL1: 3 + 2 * 50 = 103
//   EL2: 10 + IRQ 3 + HVC that stays 2 = 15
//   Entries from EL1, slot 9 once; slot 8: class 22 once
    phase   8                       // 1
    mov     x0, #1                  // 1: SGI 0 to this CPU
    msr     s3_0_c12_c11_5, x0      // 1: ICC_SGI1R_EL1
    isb                             // 1
    drop    interrupted, el2, EL1H  // 6
interrupted:
    mov     x0, #50                 // 1
1:  subs    x0, x0, #1              // 50
    b.ne    1b                      // 50
    adr     x9, phase_9             // 1
    hvc     #0                      // 1

// Code that changes: two segments at one address, each run twice.
//   EL2: 4 + 10 * 4 + 2 * 4 = 52
    phase   9                       // 1
    mov     x0, #4                  // 1
    adr     x1, changed             // 1
1:  bl      changed                 // 4
    ldr     w3, [x1]                // 4
    eor     w3, w3, #0xc00          // 4: from 1 to 2 and back
    str     w3, [x1]                // 4
    dsb     nsh                     // 4
    ic      iallu                   // 4
    dsb     nsh                     // 4
    isb                             // 4
    subs    x0, x0, #1              // 4
    b.ne    1b                      // 4
    b       finish                  // 1

    .org    0x1a00
changed:
    add     x2, x2, #1              // 4
    ret                             // 4

// Phase 0, the first time: the interrupt controller.
//   EL2: 23
    .org    0x1b00
prepare:
    mark    0                       // 1
    mov     x0, #DISTRIBUTOR        // 1
    mov     w1, #0x12               // 1: affinity routing, group 1
    str     w1, [x0]                // 1
    mov     x0, #REDISTRIBUTOR      // 1
    str     wzr, [x0, #0x14]        // 1: awake
    add     x0, x0, #0x10000        // 1: the frame of its SGIs
    mov     w1, #-1                 // 1
    str     w1, [x0, #0x80]         // 1: all in group 1
    mov     w1, #1                  // 1
    str     w1, [x0, #0x100]        // 1: SGI 0 is enabled
    mov     x1, #0xf                // 1
    msr     s3_4_c12_c9_5, x1       // 1: ICC_SRE_EL2
    isb                             // 1
    mov     x1, #0xff               // 1
    msr     s3_0_c4_c6_0, x1        // 1: ICC_PMR_EL1
    mov     x1, #1                  // 1
    msr     s3_0_c12_c12_7, x1      // 1: ICC_IGRPEN1_EL1
    mrs     x0, hcr_el2             // 1
    orr     x0, x0, #HCR_IMO        // 1
    msr     hcr_el2, x0             // 1
    isb                             // 1
    b       phase_8                 // 1

// Phase 0, the second time.
//   EL2: 4
    .org    0x1c00
finish:
    mark    0                       // 1
    mov     x0, #0x84000000         // 1
    movk    x0, #SYSTEM_OFF         // 1
    smc     #0                      // 1

// EL2's vectors: a synchronous exception from itself, one from a lower level, an IRQ from there.
    .org    0x2000
el2_vectors:
    .org    0x2200
    mrs     x10, elr_el2
    add     x10, x10, #4
    msr     elr_el2, x10
    eret

    .org    0x2400
    cbnz    x9, 2f
    mrs     x10, esr_el2
    lsr     x10, x10, #26
    cmp     x10, #0x16
    b.eq    1f                      // HVC: 6 in all. It returns behind itself
    mrs     x10, elr_el2
    add     x10, x10, #4            // else 9, and behind what trapped
    msr     elr_el2, x10
1:  eret
2:  br      x9                      // to stay: 2

    .org    0x2480
    mrs     x10, s3_0_c12_c12_0     // 1: ICC_IAR1_EL1
    msr     s3_0_c12_c12_1, x10     // 1: ICC_EOIR1_EL1
    eret                            // 1

// EL1's vectors: SVC from EL0.
    .org    0x2800
el1_vectors:
    .org    0x2c00
    cbnz    x9, 1f
    eret                            // 2
1:  br      x9                      // 2
    .org    0x3000

// 1 GiB of RAM where it is; no devices.
    .section .data, "aw"
    .balign 4096
stage2:
    .quad   0
    .quad   0x400007fd
    .fill   510, 8, 0

/*
 * Entry from the boot loader and from PSCI CPU_ON.
 *
 * Register contract of __image_start: as the arm64 Linux boot protocol has it (MMU off, data cache
 * off, image clean to the point of coherency, X0 = physical address of the FDT). Exception level:
 * EL2; at EL1 the same code runs far enough to say so on the console.
 *
 * Everything here is position independent and lies in the first 2 MiB of the image, which the
 * early tables map one to one.
 */

    .equ IMAGE_VA_L0_INDEX, 256         /* 0x8000_0000_0000 >> 39 */

/* Normal write-back at index 0, Device-nGnRE at index 1: redoubt_core::stage1::MAIR_EL2. */
    .equ MAIR_VALUE, 0x04ff

    .section .head, "ax"
    .global __head
__head:
    nop                                 /* code0 */
    b       primary_entry               /* code1 */
    .quad   0                           /* text_offset */
    .quad   0                           /* image_size: set when the bundle is packed */
    .quad   0xa                         /* little-endian, 4 KiB pages, anywhere in RAM */
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0
    .global __bundle_header
__bundle_header:
    .zero   64                          /* set when the bundle is packed */
    b       primary_entry               /* 0x80 */

    .section .idmap, "ax"
    .global primary_entry
primary_entry:
    msr     daifset, #0xf
    mov     x20, x0                     /* FDT */
    mrs     x23, cntpct_el0             /* when we started */
    adrp    x21, __image_start          /* where we were loaded */
    mrs     x22, CurrentEL
    lsr     x22, x22, #2

    adrp    x0, __bss_start
    adrp    x1, __bss_end
    mov     x2, x0
1:  stp     xzr, xzr, [x2], #16
    cmp     x2, x1
    b.lo    1b

    /*
     * Early tables: the 2 MiB that hold this code one to one, and 16 MiB of image at its link
     * address. Writable and executable: they are replaced before anything untrusted runs.
     */
    mov     x3, #0x701                  /* block, attribute index 0, inner shareable, accessed */
    cmp     x22, #2
    b.ne    2f
    orr     x3, x3, #0x40               /* AP[1] is RES1 at EL2 */
2:  adrp    x4, early_l0
    adrp    x5, early_l1_identity
    adrp    x6, early_l2_identity
    adrp    x7, early_l1_image
    adrp    x8, early_l2_image

    ubfx    x9, x21, #39, #9
    orr     x10, x5, #3
    str     x10, [x4, x9, lsl #3]
    ubfx    x9, x21, #30, #9
    orr     x10, x6, #3
    str     x10, [x5, x9, lsl #3]
    ubfx    x9, x21, #21, #9
    orr     x10, x21, x3
    str     x10, [x6, x9, lsl #3]

    orr     x10, x7, #3
    str     x10, [x4, #(IMAGE_VA_L0_INDEX * 8)]
    orr     x10, x8, #3
    str     x10, [x7]
    orr     x10, x21, x3
    mov     x9, #8
3:  str     x10, [x8], #8
    add     x10, x10, #0x200000
    subs    x9, x9, #1
    b.ne    3b

    /* What was written with the MMU off must not be hidden by stale cache lines. */
    mrs     x9, ctr_el0
    ubfx    x9, x9, #16, #4
    mov     x10, #4
    lsl     x10, x10, x9
4:  dc      ivac, x0
    add     x0, x0, x10
    cmp     x0, x1
    b.lo    4b
    dsb     sy

    mrs     x9, id_aa64mmfr0_el1
    and     x9, x9, #0xf
    mov     x10, #5                     /* 48 bits are what 4 KiB granules without LPA2 reach */
    cmp     x9, x10
    csel    x9, x9, x10, lo
    ldr     x11, =MAIR_VALUE
    cmp     x22, #2
    b.eq    5f

    /* EL1: only to print why we stop. */
    ldr     x12, =0x00803510            /* EPD1, TTBR0 for 48 bits, inner shareable write-back */
    orr     x12, x12, x9, lsl #32
    msr     mair_el1, x11
    msr     tcr_el1, x12
    msr     ttbr0_el1, x4
    isb
    tlbi    vmalle1
    dsb     nsh
    isb
    ldr     x12, =0x30d01805
    msr     sctlr_el1, x12
    b       6f

5:  mov     x12, #0x80000000            /* RW: EL1 is AArch64; E2H clear */
    msr     hcr_el2, x12
    isb
    ldr     x12, =0x80803510
    orr     x12, x12, x9, lsl #16
    msr     mair_el2, x11
    msr     tcr_el2, x12
    msr     ttbr0_el2, x4
    isb
    tlbi    alle2
    dsb     nsh
    isb
    ldr     x12, =0x30c51835
    msr     sctlr_el2, x12
6:  isb
    ic      iallu
    dsb     nsh
    isb

    ldr     x9, =early_stack_end
    mov     sp, x9
    mov     x0, x20
    mov     x1, x21
    mov     x2, x22
    mov     x3, x23
    mov     x29, xzr
    mov     x30, xzr
    ldr     x16, =early_main
    br      x16

/*
 * Leaves the early tables. Called through its identity-mapped address.
 * X0 = physical address of cpu_entry in the final copy, X1 = physical address of a CpuBoot.
 */
    .global leave_early
leave_early:
    mrs     x2, sctlr_el2
    mov     x3, #0x1005                 /* M, C, I */
    bic     x2, x2, x3
    msr     sctlr_el2, x2
    isb
    mov     x16, x0
    mov     x0, x1
    br      x16

/*
 * A CPU that enters the final tables: the first one after leave_early, any other from PSCI.
 * EL2, MMU off. X0 = physical address of a CpuBoot (layout in percpu.rs).
 */
    .global cpu_entry
cpu_entry:
    msr     daifset, #0xf
    msr     spsel, #1
    mov     x1, #0x80000000
    msr     hcr_el2, x1
    isb
    ldp     x1, x2, [x0]
    ldp     x3, x4, [x0, #16]
    ldp     x5, x6, [x0, #32]
    ldp     x7, x16, [x0, #48]
    msr     ttbr0_el2, x1
    msr     tcr_el2, x2
    msr     mair_el2, x3
    msr     vbar_el2, x7
    msr     tpidr_el2, x6
    isb
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el2, x4
    isb
    mov     sp, x5
    mov     x29, xzr
    mov     x30, xzr
    br      x16
    .ltorg
    .balign 4096

    .section .bss.early, "aw", %nobits
    .balign 4096
early_l0:           .zero 4096
early_l1_identity:  .zero 4096
early_l2_identity:  .zero 4096
early_l1_image:     .zero 4096
early_l2_image:     .zero 4096
early_stack:        .zero 65536
early_stack_end:
    .global early_l0
    .global early_stack_end

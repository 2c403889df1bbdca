/*
 * FP and SIMD registers. X0 = address of V0 to V31 (512 bytes), 16-byte aligned.
 */
    .arch_extension fp
    .arch_extension simd

    .macro fp_transfer pair
    \pair   q0, q1, [x0]
    \pair   q2, q3, [x0, #32]
    \pair   q4, q5, [x0, #64]
    \pair   q6, q7, [x0, #96]
    \pair   q8, q9, [x0, #128]
    \pair   q10, q11, [x0, #160]
    \pair   q12, q13, [x0, #192]
    \pair   q14, q15, [x0, #224]
    \pair   q16, q17, [x0, #256]
    \pair   q18, q19, [x0, #288]
    \pair   q20, q21, [x0, #320]
    \pair   q22, q23, [x0, #352]
    \pair   q24, q25, [x0, #384]
    \pair   q26, q27, [x0, #416]
    \pair   q28, q29, [x0, #448]
    \pair   q30, q31, [x0, #480]
    .endm

    .text
    .global fp_save
fp_save:
    fp_transfer stp
    ret

    .global fp_load
fp_load:
    fp_transfer ldp
    ret

    /* Writing a V register clears the rest of the Z register behind it. */
    .global fp_clear
fp_clear:
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    movi    v\n\().2d, #0
    .endr
    ret

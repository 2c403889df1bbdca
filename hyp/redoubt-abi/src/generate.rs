//! Writes the C header of the Linux driver and `docs/hypercalls.md` from the declarations of this
//! crate. Runs on the developer's machine only.

use std::fmt::Write;
use std::string::String;

use crate::call::{self, CallDoc, Counter, DmaGuard, HostCall, Info};
use crate::{ABI_VERSION, HOST_UID, Status, reg, run};

/// Turns `CamelCase` into `UPPER_CASE`.
fn upper(name: &str) -> String {
    let mut out = String::new();
    for (index, character) in name.chars().enumerate() {
        if index > 0 && character.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(character.to_ascii_uppercase());
    }
    out
}

/// Constants with a name, a value and the prefix they share in C.
fn constants() -> [(&'static str, u64); 29] {
    [
        ("VM_PROTECTED", call::VM_PROTECTED),
        ("MAP_KEEP", call::MAP_KEEP),
        ("MAP_READ_ONLY", call::MAP_READ_ONLY),
        ("VCPU_POWERED_ON", call::VCPU_POWERED_ON),
        ("FEATURE_PROTECTED", call::FEATURE_PROTECTED),
        ("FEATURE_STATS", call::FEATURE_STATS),
        ("FEATURE_DMA_GUARDED", call::FEATURE_DMA_GUARDED),
        ("DMA_EVENT_WRITE", call::DMA_EVENT_WRITE),
        ("REG_SP_EL0", reg::SP_EL0),
        ("REG_PC", reg::PC),
        ("REG_PSTATE", reg::PSTATE),
        ("REG_SP_EL1", reg::SP_EL1),
        ("REG_ELR_EL1", reg::ELR_EL1),
        ("REG_SPSR_EL1", reg::SPSR_EL1),
        ("REG_FPSR", reg::FPSR),
        ("REG_FPCR", reg::FPCR),
        ("REG_V0", reg::V0),
        ("REG_SYSTEM", reg::SYSTEM),
        ("ENTRY_MMIO_DONE", run::ENTRY_MMIO_DONE),
        ("ENTRY_ABORT", run::ENTRY_ABORT),
        ("MAINTENANCE_UNDERFLOW", run::MAINTENANCE_UNDERFLOW),
        ("MAINTENANCE_NO_PENDING", run::MAINTENANCE_NO_PENDING),
        ("MAX_LIST_REGISTERS", run::MAX_LIST_REGISTERS as u64),
        ("UID_0", HOST_UID[0].into()),
        ("UID_1", HOST_UID[1].into()),
        ("UID_2", HOST_UID[2].into()),
        ("UID_3", HOST_UID[3].into()),
        ("ABI_VERSION", ABI_VERSION.into()),
        ("PAGE_SIZE", crate::PAGE_SIZE),
    ]
}

/// The run page as C members: name, offset, words.
const RUN_MEMBERS: &[(&str, usize, usize)] = &[
    ("entry_flags", run::ENTRY_FLAGS, 1),
    ("entry_mmio_data", run::ENTRY_MMIO_DATA, 1),
    ("entry_lr_count", run::ENTRY_LR_COUNT, 1),
    ("entry_lr", run::ENTRY_LR, run::MAX_LIST_REGISTERS),
    ("entry_maintenance", run::ENTRY_MAINTENANCE, 1),
    ("exit_reason", run::EXIT_REASON, 1),
    ("exit_args", run::EXIT_ARGS, 6),
    ("exit_timer_ctl", run::EXIT_TIMER_CTL, 1),
    ("exit_timer_deadline", run::EXIT_TIMER_DEADLINE, 1),
    ("exit_lr_count", run::EXIT_LR_COUNT, 1),
    ("exit_lr", run::EXIT_LR, run::MAX_LIST_REGISTERS),
    ("exit_misr", run::EXIT_MISR, 1),
    ("exit_vmcr", run::EXIT_VMCR, 1),
];

/// The C header for the driver.
#[must_use]
pub fn c_header() -> String {
    let mut out = String::from(
        "/* SPDX-License-Identifier: GPL-2.0 */\n\
         /* Generated from the crate redoubt-abi by `cargo xtask generate`. Do not edit. */\n\
         #ifndef REDOUBT_ABI_H\n#define REDOUBT_ABI_H\n\n#include <linux/types.h>\n\n",
    );
    for doc in HostCall::DOCS {
        let _ = writeln!(out, "#define REDOUBT_{:<28} 0x{:x}", doc.name, C32(doc.function));
    }
    out.push('\n');
    for (name, value) in constants() {
        let _ = writeln!(out, "#define REDOUBT_{name:<28} 0x{value:x}ULL");
    }
    out.push_str("\nenum redoubt_status {\n");
    for status in Status::ALL {
        let _ = writeln!(out, "\tREDOUBT_STATUS_{} = {},", upper(status.name()), *status as i64);
    }
    out.push_str("};\n\n/* X(name, text, errno) for every refusal */\n#define REDOUBT_STATUSES(X)");
    for status in Status::ALL.iter().filter(|status| **status != Status::Success) {
        let name = upper(status.name());
        let text = status.text().trim().trim_end_matches('.');
        let _ = write!(out, " \\\n\tX({name}, \"{text}\", {})", status.errno());
    }
    out.push_str("\n\n");
    for (name, value) in Info::ALL.iter().map(|(value, name, _)| (name, *value as u64)) {
        let _ = writeln!(out, "#define REDOUBT_INFO_{name:<28} {value}");
    }
    for (name, value) in Counter::ALL.iter().map(|(value, name, _)| (name, *value as u64)) {
        let _ = writeln!(out, "#define REDOUBT_COUNTER_{name:<25} {value}");
    }
    for (value, name, _) in DmaGuard::ALL {
        let _ = writeln!(out, "#define REDOUBT_DMA_{name:<29} {}", *value as u64);
    }
    out.push_str(
        "/* X(name, text) for every answer of INFO(DMA_GUARD) */\n#define REDOUBT_DMA_GUARDS(X)",
    );
    for (_, name, text) in DmaGuard::ALL {
        let _ = write!(out, " \\\n\tX({name}, \"{}\")", text.trim().trim_end_matches('.'));
    }
    out.push_str("\n\n");
    for (value, name, _) in run::ExitReason::ALL {
        let _ = writeln!(out, "#define REDOUBT_EXIT_{name:<28} {}", *value as u64);
    }
    out.push_str("\nstruct redoubt_run {\n");
    let mut offset = 0;
    for (index, (name, at, words)) in RUN_MEMBERS.iter().enumerate() {
        if *at > offset {
            let _ = writeln!(out, "\t__u64 reserved{index}[{}];", (at - offset) / 8);
        }
        match words {
            1 => writeln!(out, "\t__u64 {name};"),
            _ => writeln!(out, "\t__u64 {name}[{words}];"),
        }
        .unwrap_or_default();
        offset = at + words * 8;
    }
    out.push_str("};\n\n#endif\n");
    out
}

/// Formats a function identifier as a C constant.
struct C32(u32);

impl core::fmt::LowerHex for C32 {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "{:08x}U", self.0)
    }
}

/// One call as Markdown.
fn call_markdown(out: &mut String, doc: &CallDoc) {
    let _ = writeln!(out, "### {} (0x{:08x})\n", doc.name, doc.function);
    let text: String = doc.text.concat();
    let _ = writeln!(out, "{}\n", text.trim());
    for (index, argument) in doc.arguments.iter().enumerate() {
        let _ = writeln!(out, "- X{}: {argument}", index + 1);
    }
    if !doc.result.is_empty() {
        let _ = writeln!(out, "- returns in X1: {}", doc.result);
    }
    if !doc.refusals.is_empty() {
        let names: std::vec::Vec<_> = doc.refusals.iter().map(|status| status.name()).collect();
        let _ = writeln!(out, "- refusals: {}", names.join(", "));
    }
    out.push('\n');
}

/// The text of `docs/hypercalls.md`.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(
        "# Hypercalls\n\n\
         Generated from the crate `redoubt-abi` by `cargo xtask generate`; do not edit.\n\n\
         ## Convention\n\n\
         Calls of the host are fast HVC64 calls of the vendor-specific hypervisor range (owner 6) of \
         SMCCC (Arm DEN0028): the function identifier in W0, arguments from X1, the status in X0, one \
         value in X1, X2 and X3 zero unless the call says otherwise, X4 and up preserved. An unknown \
         function answers `NotSupported`. A refused call changes nothing.\n\n\
         Only EL1 of the host may call; an EL0 process cannot execute HVC.\n\n\
         ## Calls of the host\n\n",
    );
    for doc in HostCall::DOCS {
        call_markdown(&mut out, doc);
    }
    out.push_str(
        "## Status (X0)\n\n| value | name | meaning | errno from the driver |\n|---|---|---|---|\n",
    );
    for status in Status::ALL {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            *status as i64,
            status.name(),
            status.text().trim(),
            status.errno()
        );
    }
    out.push_str("\n## Selectors of INFO\n\n| value | name | meaning |\n|---|---|---|\n");
    for (value, name, text) in Info::ALL {
        let _ = writeln!(out, "| {} | {name} | {} |", *value as u64, text.trim());
    }
    out.push_str("\n## Answers of INFO(DMA_GUARD)\n\n| value | name | meaning |\n|---|---|---|\n");
    for (value, name, text) in DmaGuard::ALL {
        let _ = writeln!(out, "| {} | {name} | {} |", *value as u64, text.trim());
    }
    out.push_str("\n## Counters of STATS\n\n| value | name | meaning |\n|---|---|---|\n");
    for (value, name, text) in Counter::ALL {
        let _ = writeln!(out, "| {} | {name} | {} |", *value as u64, text.trim());
    }
    out.push_str("\n## Exit reasons of VCPU_RUN\n\n| value | name | meaning |\n|---|---|---|\n");
    for (value, name, text) in run::ExitReason::ALL {
        let _ = writeln!(out, "| {} | {name} | {} |", *value as u64, text.trim());
    }
    out.push_str("\n## The run page\n\n| offset | member | 64-bit words |\n|---|---|---|\n");
    for (name, offset, words) in RUN_MEMBERS {
        let _ = writeln!(out, "| 0x{offset:03x} | {name} | {words} |");
    }
    out.push_str(
        "\n## Calls of guests\n\n\
         EL2 answers these itself, through HVC and SMC, and no other; an unknown function answers \
         `NOT_SUPPORTED` (-1).\n\n\
         - SMCCC 1.1: SMCCC_VERSION, SMCCC_ARCH_FEATURES.\n\
         - PSCI 1.1: PSCI_VERSION, CPU_SUSPEND (standby), CPU_OFF, CPU_ON, AFFINITY_INFO, \
         MIGRATE_INFO_TYPE, SYSTEM_OFF, SYSTEM_RESET, SYSTEM_RESET2, PSCI_FEATURES.\n\
         - TRNG 1.0: TRNG_VERSION, TRNG_FEATURES, TRNG_GET_UUID, TRNG_RND, where the CPU has FEAT_RNG.\n\
         - Vendor calls of KVM: call UID, FEATURES, HYP_MEMINFO, MEM_SHARE, MEM_UNSHARE; and \
         MEM_RELINQUISH (0xc6000009), which scrubs a page and gives it back to the host.\n",
    );
    out
}

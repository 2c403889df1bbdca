//! Reports to try the page with.
//!
//! Decides nothing: made-up systems in the size of real ones, names that try to become markup, and the odd
//! cases a page must survive. Always the same, by a fixed pseudo-random sequence.

use super::model::{
    Density, Entry, Function, Image, Measure, Missing, Origin, Report, System, VERSION, Workload,
};

/// Names that would do harm if they were ever taken for markup, or that are hard to lay out.
pub const HOSTILE: [&str; 9] = [
    "<img src=x onerror=document.title='broken'>",
    "</script><script>document.title='broken'</script>",
    "<!-- <script>",
    "core::ops::function::FnOnce::call_once{{vtable.shim}}::<dyn Fn(&'a str) -> Result<(), \"E\">>",
    "\"quoted\" & 'single' &lt;not an entity&gt;",
    "line\u{2028}separator\u{2029}and\u{0}nul",
    "\u{202e}reversed_name\u{202c}",
    "{{report}}",
    "__a_very_long_name_without_any_place_to_break_it_that_goes_on_and_on_and_on_and_on_and_on_for_ever",
];

const WORKLOADS: [(&str, &str); 8] = [
    ("boot", "From the reset to the host’s first process."),
    ("idle", "Two seconds of machine time in which nothing is asked for."),
    ("disk", "Processes of the host write, read back and sync files on a virtio disk."),
    ("net", "Processes of the host talk over loopback and a virtio network card."),
    ("fork", "A tree of processes that fork, touch pages and end."),
    ("vm-boot", "A tenant boots Debian to its user space and powers off."),
    ("vm-io", "A tenant’s console in both directions, a mebibyte each way."),
    (
        "hostile",
        "A tenant makes random calls, touches random registers and devices, and starts itself anew.",
    ),
];

/// A fixed sequence of numbers (Numerical Recipes' constants).
pub struct Sequence(pub u32);

impl Sequence {
    /// A number below `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % end
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(u32::try_from(from.len()).unwrap()) as usize]
    }
}

/// What one of the made-up systems looks like.
struct Plan {
    name: &'static str,
    title: &'static str,
    version: &'static str,
    boundary: &'static str,
    images: &'static [(&'static str, &'static str, u64)],
    vertical: &'static [(&'static str, &'static str, u64)],
    files: &'static [(&'static str, &'static str)],
    /// Functions of the largest workload.
    functions: u32,
}

const PLANS: [Plan; 5] = [
    Plan {
        name: "redoubt",
        title: "Redoubt",
        version: "0.1.0",
        boundary: "The image at EL2. The host’s kernel runs at EL1 behind stage 2 and can read no protected guest, \
                   so a fault in it breaks no isolation and it is counted as vertical.",
        images: &[("redoubt", "Everything that runs at EL2.", 5_412)],
        vertical: &[
            ("linux", "The host’s kernel, deprivileged.", 1_734_201),
            ("vmm", "The VMM process, one for each guest.", 2_877),
        ],
        files: &[
            ("redoubt", "hyp/redoubt-core/src/stage2/walk.rs"),
            ("redoubt", "hyp/redoubt-core/src/stage2/pte.rs"),
            ("redoubt", "hyp/redoubt-core/src/page/table.rs"),
            ("redoubt", "hyp/redoubt-core/src/vm/lifecycle.rs"),
            ("redoubt", "hyp/redoubt-core/src/hvc/dispatch.rs"),
            ("redoubt", "hyp/redoubt-el2/src/exception.rs"),
            ("redoubt", "hyp/redoubt-el2/src/gic/distributor.rs"),
            ("redoubt", "hyp/redoubt-el2/src/smmu.rs"),
            ("redoubt", "hyp/redoubt-abi/src/call.rs"),
            ("redoubt", "library/core/src/slice/mod.rs"),
            ("redoubt", "library/core/src/num/mod.rs"),
        ],
        functions: 240,
    },
    Plan {
        name: "pkvm",
        title: "pKVM",
        version: "Linux 6.12.117-1",
        boundary: "The EL2 object inside vmlinux (.hyp.text). The rest of the kernel is the deprivileged host.",
        images: &[("linux: nvhe", "The EL2 object of KVM in protected mode.", 9_820)],
        vertical: &[("linux", "The host’s kernel.", 1_724_381), ("vmm", "The VMM process.", 3_011)],
        files: &[
            ("linux: nvhe", "arch/arm64/kvm/hyp/nvhe/mem_protect.c"),
            ("linux: nvhe", "arch/arm64/kvm/hyp/nvhe/pkvm.c"),
            ("linux: nvhe", "arch/arm64/kvm/hyp/nvhe/switch.c"),
            ("linux: nvhe", "arch/arm64/kvm/hyp/pgtable.c"),
            ("linux: nvhe", "arch/arm64/kvm/hyp/vgic-v3-sr.c"),
            ("linux: nvhe", "lib/list_debug.c"),
        ],
        functions: 310,
    },
    Plan {
        name: "kvm",
        title: "KVM (VHE)",
        version: "Linux 6.12.117-1",
        boundary: "The whole kernel and its modules run at EL2 and can read every guest.",
        images: &[
            ("linux", "The kernel.", 1_734_201),
            ("linux: virtio_blk", "The disk’s driver.", 1_150),
            ("linux: virtio_net", "The network card’s driver.", 3_940),
        ],
        vertical: &[("vmm", "The VMM process.", 3_011)],
        files: &LINUX_FILES,
        functions: 2_300,
    },
    Plan {
        name: "xen",
        title: "Xen with dom0",
        version: "4.17.5, dom0 Linux 6.12.117-1",
        boundary: "Xen at EL2; and the kernel of dom0, which may map any domain’s memory.",
        images: &[("xen", "The hypervisor.", 41_877), ("linux", "Dom0’s kernel.", 1_734_201)],
        vertical: &[("tools", "The tool stack’s processes.", 18_032)],
        files: &XEN_FILES,
        functions: 1_900,
    },
    Plan {
        name: "linux-container",
        title: "Linux container on a shared kernel",
        version: "Linux 6.12.117-1, crun 1.8.1",
        boundary: "The whole kernel and its modules: a container has system calls to all of it.",
        images: &[
            ("linux", "The kernel.", 1_734_201),
            ("linux: virtio_blk", "The disk’s driver.", 1_150),
        ],
        vertical: &[],
        files: &LINUX_FILES,
        functions: 2_700,
    },
];

const LINUX_FILES: [(&str, &str); 22] = [
    ("linux", "kernel/sched/fair.c"),
    ("linux", "kernel/sched/core.c"),
    ("linux", "kernel/fork.c"),
    ("linux", "kernel/locking/rwsem.c"),
    ("linux", "kernel/time/hrtimer.c"),
    ("linux", "mm/memory.c"),
    ("linux", "mm/page_alloc.c"),
    ("linux", "mm/slub.c"),
    ("linux", "mm/mmap.c"),
    ("linux", "fs/ext4/inode.c"),
    ("linux", "fs/ext4/extents.c"),
    ("linux", "fs/namei.c"),
    ("linux", "fs/read_write.c"),
    ("linux", "net/core/dev.c"),
    ("linux", "net/ipv4/tcp_input.c"),
    ("linux", "net/ipv4/tcp_output.c"),
    ("linux", "arch/arm64/kvm/arm.c"),
    ("linux", "arch/arm64/mm/fault.c"),
    ("linux: virtio_blk", "drivers/block/virtio_blk.c"),
    ("linux: virtio_net", "drivers/net/virtio_net.c"),
    ("linux", "block/blk-mq.c"),
    ("linux", "include/linux/spinlock.h"),
];

const XEN_FILES: [(&str, &str); 12] = [
    ("xen", "xen/arch/arm/p2m.c"),
    ("xen", "xen/arch/arm/vgic.c"),
    ("xen", "xen/arch/arm/traps.c"),
    ("xen", "xen/common/grant_table.c"),
    ("xen", "xen/common/event_channel.c"),
    ("xen", "xen/common/sched/credit2.c"),
    ("linux", "drivers/xen/grant-table.c"),
    ("linux", "drivers/block/xen-blkback/blkback.c"),
    ("linux", "kernel/sched/fair.c"),
    ("linux", "mm/memory.c"),
    ("linux", "fs/ext4/inode.c"),
    ("linux", "net/core/dev.c"),
];

const VERBS: [&str; 12] =
    ["map", "walk", "get", "put", "lock", "find", "init", "do", "try", "update", "handle", "check"];
const NOUNS: [&str; 12] = [
    "page", "entry", "table", "vcpu", "range", "queue", "timer", "inode", "fault", "state",
    "owner", "request",
];

const CAUSES: [&str; 10] = [
    "HVC",
    "IRQ",
    "data abort",
    "MSR, MRS or system instruction",
    "SVC",
    "instruction abort",
    "SMC",
    "WFI or WFE",
    "access to SVE, SIMD or floating point",
    "FIQ",
];

fn functions(plan: &Plan, share: u32, numbers: &mut Sequence) -> Vec<Function> {
    let count = plan.functions * share / 100;
    let mut functions = Vec::new();
    for index in 0..count {
        // Some files are much larger than others, and so are some functions.
        let squared = numbers.below(1000) * numbers.below(1000) / 1000;
        let (image, file) = plan.files[squared as usize * plan.files.len() / 1000];
        let name = match HOSTILE.get(index as usize) {
            Some(hostile) if plan.name != "pkvm" => (*hostile).to_owned(),
            _ => format!("{}_{}_{index}", numbers.pick(&VERBS), numbers.pick(&NOUNS)),
        };
        let lines = 1 + u64::from(numbers.below(12) * numbers.below(12) / (1 + numbers.below(6)));
        let instructions = lines * 4 * u64::from(1 + numbers.below(90_000));
        functions.push(Function {
            image: image.into(),
            file: file.into(),
            name,
            lines,
            instructions,
        });
    }
    functions.sort_by(|a, b| (&a.image, &a.file, &a.name).cmp(&(&b.image, &b.file, &b.name)));
    functions
}

fn measure(functions: &[Function], percent: u64) -> Measure {
    let sum = |of: fn(&Function) -> u64| functions.iter().map(of).sum::<u64>() * percent / 100;
    Measure {
        functions: functions.len() as u64 * percent / 100,
        lines: sum(|function| function.lines),
        instructions: sum(|function| function.instructions),
    }
}

fn workload(plan: &Plan, index: usize, numbers: &mut Sequence) -> Workload {
    let (name, what) = WORKLOADS[index];
    let share = [100, 22, 47, 58, 39, 81, 63, 55][index];
    let traversed = functions(plan, share, numbers);
    let tenants = name.starts_with("vm-") || name == "hostile";
    let contained = plan.name == "linux-container" && name != "boot";
    let mut by_origin = Vec::new();
    if name == "boot" {
        by_origin.push((Origin::Boot, measure(&traversed, 71)));
    }
    by_origin.push((Origin::Host, measure(&traversed, if tenants { 64 } else { 83 })));
    if tenants || contained {
        by_origin.push((Origin::Guest, measure(&traversed, 37)));
    }
    let mut entries: Vec<Entry> = Vec::new();
    for (number, cause) in CAUSES.iter().enumerate() {
        let origins: &[Origin] =
            if tenants || contained { &[Origin::Host, Origin::Guest] } else { &[Origin::Host] };
        for origin in origins {
            let count = u64::from(numbers.below(900_000)) >> (2 * number);
            if count > 0 {
                let from = if plan.name == "linux-container" { 0 } else { 1 };
                entries.push(Entry { origin: *origin, from, cause: (*cause).into(), count });
            }
        }
    }
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.count));
    let vertical = plan.vertical.iter().enumerate().map(|(order, (image, _, lines))| {
        let lines = (lines / (24 >> order)).min(64_000) * u64::from(share) / 100;
        let instructions = lines * 40_000;
        ((*image).to_owned(), Measure { functions: lines / 9, lines, instructions })
    });
    Workload {
        name: name.into(),
        what: if contained && tenants {
            format!("{what} For a container: created, run and removed.")
        } else {
            what.into()
        },
        horizontal: measure(&traversed, 100),
        by_origin,
        vertical: vertical.collect(),
        entries,
        traversed,
        unknown: u64::from(numbers.below(3)) * 112,
    }
}

fn images(plan: &[(&str, &str, u64)]) -> Vec<Image> {
    let image = |(name, what, lines): &(&str, &str, u64)| Image {
        name: (*name).into(),
        what: (*what).into(),
        functions: lines / 11,
        lines: *lines,
        bytes: lines * 14,
    };
    plan.iter().map(image).collect()
}

/// Five systems, eight workloads, thousands of functions; one workload is missing.
pub fn whole() -> Report {
    let mut numbers = Sequence(7);
    let system = |plan: &Plan| {
        let workloads = (0..WORKLOADS.len())
            .filter(|index| plan.name != "xen" || WORKLOADS[*index].0 != "vm-io");
        System {
            name: plan.name.into(),
            title: plan.title.into(),
            version: plan.version.into(),
            boundary: plan.boundary.into(),
            privileged: images(plan.images),
            vertical: images(plan.vertical),
            workloads: workloads.map(|index| workload(plan, index, &mut numbers)).collect(),
        }
    };
    Report {
        version: VERSION,
        command: "cargo xtask profile".into(),
        qemu: "QEMU 10.0.2".into(),
        density: density(),
        systems: PLANS.iter().map(system).collect(),
        missing: vec![Missing {
            system: "xen".into(),
            workload: Some("vm-io".into()),
            reason: "the domain’s console did not answer within 600 s: run it again with --verbose"
                .into(),
        }],
    }
}

/// A range with its sources.
pub fn density() -> Density {
    Density {
        low: 0.1,
        high: 5.0,
        sources: vec![
            "The lower end: what the best processes with proofs and inspections reached.".into(),
            "The upper end: static analysis of industrial code with ordinary reviews.".into(),
        ],
    }
}

/// One system is missing as a whole.
pub fn without_a_system() -> Report {
    let mut report = whole();
    report.systems.retain(|system| system.name != "xen");
    report.missing = vec![Missing {
        system: "xen".into(),
        workload: None,
        reason: "no package xen-hypervisor-4.17-arm64 <in any archive>: add Debian’s main to the sources".into(),
    }];
    report
}

/// Redoubt alone, with one workload.
pub fn one_system() -> Report {
    let mut report = whole();
    report.systems.truncate(1);
    report.systems[0].workloads.truncate(1);
    report.missing.clear();
    report
}

/// Systems whose workloads traversed nothing at all, one of them without any image.
pub fn nothing_traversed() -> Report {
    let mut report = whole();
    report.systems.truncate(2);
    report.systems[1].privileged.clear();
    report.systems[1].vertical.clear();
    for workload in report.systems.iter_mut().flat_map(|system| &mut system.workloads) {
        workload.horizontal = Measure::default();
        workload.by_origin.clear();
        workload.vertical.clear();
        workload.entries.clear();
        workload.traversed.clear();
        workload.unknown = 0;
    }
    report
}

/// Nothing was measured.
pub fn no_system() -> Report {
    let mut report = without_a_system();
    report.systems.clear();
    report
}

/// From ten lines to thirty million side by side, names that cannot be broken, and nothing in between.
pub fn extremes() -> Report {
    let mut report = whole();
    report.missing.clear();
    let sizes = [10, 0, 1, 4_321, 30_000_000];
    for (system, lines) in report.systems.iter_mut().zip(sizes) {
        system.privileged.truncate(1);
        system.privileged[0].lines = lines;
        for (index, workload) in system.workloads.iter_mut().enumerate() {
            let lines = if index % 2 == 0 { lines } else { lines / 7 };
            workload.horizontal =
                Measure { functions: lines / 9, lines, instructions: lines * 1_000_000_007 };
            workload.by_origin = vec![(Origin::Host, workload.horizontal)];
            for (order, entry) in workload.entries.iter_mut().enumerate() {
                entry.count = 10_u64.pow(12_u32.saturating_sub(u32::try_from(order).unwrap()));
            }
            workload.traversed.truncate(40);
            for (order, function) in workload.traversed.iter_mut().enumerate() {
                function.lines = if order == 0 { lines } else { order as u64 % 3 };
            }
            workload.vertical =
                vec![("vmm".into(), Measure { functions: 1, lines: 123_456_789, instructions: 1 })];
        }
    }
    report.systems[4].title = HOSTILE[8].into();
    report.systems[3].title = HOSTILE[0].into();
    report
}

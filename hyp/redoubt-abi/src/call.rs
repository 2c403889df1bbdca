//! The calls of the host.
//!
//! One variant a call, declared once: number, arguments, result, documentation and refusals. The
//! decoder, the encoder, the C header and `docs/hypercalls.md` follow from this list.

use crate::status::Status;

/// What `docs/hypercalls.md` says of a call.
#[derive(Clone, Copy, Debug)]
pub struct CallDoc {
    /// Name in upper case.
    pub name: &'static str,
    /// Function identifier, the value of W0.
    pub function: u32,
    /// Argument names, X1 upwards.
    pub arguments: &'static [&'static str],
    /// What X1 holds after success; empty when zero.
    pub result: &'static str,
    /// Description, one line an element.
    pub text: &'static [&'static str],
    /// Statuses, other than success, that the call itself may answer.
    pub refusals: &'static [Status],
}

/// Declares [`HostCall`].
macro_rules! host_calls {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident = $function:literal, $upper:literal ($($(#[doc = $arg_doc:literal])+ $arg:ident),*)
            -> $result:literal refuses [$($refusal:ident),*];
    )+) => {
        /// A call of the host to EL2, decoded from registers but not yet validated: every field is
        /// what the host alleges.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum HostCall {
            $(
                $(#[doc = $doc])+
                $name {
                    $($(#[doc = $arg_doc])+ $arg: u64,)*
                },
            )+
        }

        impl HostCall {
            /// Documentation of every call, in the order of its number.
            pub const DOCS: &'static [CallDoc] = &[
                $(CallDoc {
                    name: $upper,
                    function: $function,
                    arguments: &[$(concat!(stringify!($arg), ":" $(, $arg_doc)+),)*],
                    result: $result,
                    text: &[$($doc,)+],
                    refusals: &[$(Status::$refusal,)*],
                },)+
            ];

            /// Decodes X0 to X6. The upper half of X0 is ignored, as SMCCC demands of a callee.
            ///
            /// # Errors
            /// [`Status::NotSupported`] for an unknown function identifier.
            #[allow(unused_assignments, unused_mut, unused_variables)]
            pub fn decode(registers: &[u64; 7]) -> Result<Self, Status> {
                let [x0, arguments @ ..] = *registers;
                let mut next = arguments.into_iter();
                #[allow(clippy::cast_possible_truncation)]
                match x0 as u32 {
                    $($function => Ok(Self::$name {
                        $($arg: next.next().unwrap_or(0),)*
                    }),)+
                    _ => Err(Status::NotSupported),
                }
            }

            /// Encodes X0 to X6; unused registers are zero.
            #[must_use]
            #[allow(unused_assignments, unused_mut, unused_variables)]
            pub fn encode(&self) -> [u64; 7] {
                let mut registers = [0u64; 7];
                match *self {
                    $(Self::$name { $($arg),* } => {
                        let values = [$function, $($arg),*];
                        for (register, value) in registers.iter_mut().zip(values) {
                            *register = value;
                        }
                    })+
                }
                registers
            }
        }
    };
}

host_calls! {
    /// Returns the version of the interface, major in bits 31:16. The first call a driver makes.
    Version = 0xc600_0100, "VERSION" () -> "version" refuses [];

    /// Returns a limit or property of this hypervisor, see `Info`.
    Info = 0xc600_0101, "INFO" (
        /// which property, a number of `Info`
        selector
    ) -> "value" refuses [InvalidArgument];

    /// Returns an event counter of a physical CPU, see `Counter`. Counters wrap and start at zero
    /// when the CPU is first switched on.
    Stats = 0xc600_0102, "STATS" (
        /// index of the physical CPU in the order of the FDT's /cpus
        cpu,
        /// which counter, a number of `Counter`
        counter
    ) -> "count" refuses [InvalidArgument];

    /// Returns the function identifier of an SMC of the host that was denied, each once, in the order
    /// in which they were first denied; the first 32 are remembered.
    Denied = 0xc600_0103, "DENIED" (
        /// which, from zero
        index
    ) -> "function identifier" refuses [InvalidArgument];

    /// Takes the oldest event that an SMMU has recorded: a device was kept from an address. Bits 7:0
    /// of X1 are the event's number (IHI 0070, 7.3) or zero when there is none, bit 8 is set for a
    /// write, bits 63:32 are the stream. The host asks when an interrupt of /hypervisor comes.
    DmaEvent = 0xc600_0104, "DMA_EVENT" () -> "event; in X2 its address, in X3 how many were lost so far" refuses [];

    /// Creates a VM without vCPUs or memory. The root is donated to EL2 for the start of the stage-2
    /// table, and scrubbed: one page, or with more than 39 bits two contiguous pages aligned to
    /// 8 KiB. The VM is in the state `Creating` until a vCPU first runs.
    VmCreate = 0xc600_0110, "VM_CREATE" (
        /// bit 0: protected; other bits zero
        flags,
        /// size of the guest's intermediate physical address space in bits, 32 to INFO(IPA_BITS)
        ipa_bits,
        /// number of vCPUs the VM may have, 1 to INFO(MAX_VCPUS)
        vcpus,
        /// page frame number of the root
        root_pfn
    ) -> "handle" refuses [InvalidArgument, Misaligned, Overflow, NotRam, NotOwner, Shared, Pinned, NoSlot, Busy, DmaUnguarded];

    /// Declares guest physical memory. For a protected VM, an access in these ranges never
    /// discloses data to the host, and memory can be mapped nowhere else. Only in the state
    /// `Creating`; ranges must not overlap.
    VmSetMemory = 0xc600_0111, "VM_SET_MEMORY" (
        /// VM
        handle,
        /// first intermediate physical address, page aligned
        ipa,
        /// length in pages
        pages
    ) -> "" refuses [NoSuchVm, InvalidArgument, Misaligned, Overflow, AlreadyMapped, WrongState, NoSlot];

    /// Donates pages for the VM's translation tables. They are scrubbed.
    VmAddTables = 0xc600_0112, "VM_ADD_TABLES" (
        /// VM
        handle,
        /// first page frame number
        pfn,
        /// number of pages, at most INFO(MAX_PAGES)
        pages
    ) -> "" refuses [NoSuchVm, InvalidArgument, Overflow, TooMany, NotRam, NotOwner, Shared, Pinned, WrongState];

    /// Maps contiguous pages into the VM at contiguous addresses. To a protected VM they are
    /// donated: the host loses them until the VM is destroyed, and they are scrubbed unless `KEEP`
    /// is set, which is allowed only in the state `Creating`. To any other VM they are lent: the
    /// host keeps its access.
    VmMap = 0xc600_0113, "VM_MAP" (
        /// VM
        handle,
        /// first page frame number
        pfn,
        /// first intermediate physical address, page aligned
        ipa,
        /// number of pages, at most INFO(MAX_PAGES)
        pages,
        /// bit 0 KEEP: contents stay; bit 1 READ_ONLY: no write by the guest, not for protected VMs; other bits zero
        flags
    ) -> "" refuses [NoSuchVm, InvalidArgument, Misaligned, Overflow, TooMany, NotRam, NotOwner, Shared, Pinned, NoTables, AlreadyMapped, WrongState, Protected];

    /// Takes lent pages back from a VM that is not protected. Pages in the range that are not
    /// mapped are passed over. To split a block takes a table of the VM's pool: when the pool runs
    /// out, X1 tells how many pages were dealt with before; the caller goes on behind them, and is
    /// refused with `NoTables` if that is none.
    VmUnmap = 0xc600_0114, "VM_UNMAP" (
        /// VM
        handle,
        /// first intermediate physical address, page aligned
        ipa,
        /// number of pages, at most INFO(MAX_PAGES)
        pages
    ) -> "pages dealt with" refuses [NoSuchVm, InvalidArgument, Misaligned, Overflow, TooMany, NoTables, WrongState, Protected];

    /// Adds a vCPU. The state page is donated to EL2 and scrubbed; the run page stays the host's
    /// and is pinned until the VM is destroyed. vCPU 0 is powered on, the others are off until the
    /// guest switches them on through PSCI, unless flag bit 0 is given, which a protected VM does not
    /// allow.
    VcpuCreate = 0xc600_0120, "VCPU_CREATE" (
        /// VM
        handle,
        /// index of the vCPU, below the number given to VM_CREATE; MPIDR follows from it as in KVM
        vcpu,
        /// page frame number of the state page
        state_pfn,
        /// page frame number of the run page
        run_pfn,
        /// bit 0 POWERED_ON: the vCPU starts powered on; other bits zero
        flags
    ) -> "" refuses [NoSuchVm, NoSuchVcpu, VcpuExists, InvalidArgument, Overflow, NotRam, NotOwner, Shared, Pinned, WrongState, Protected];

    /// Runs a vCPU on the calling physical CPU until it exits. Reads the entry part of the run
    /// page, fills in its exit part. FP, SIMD, SVE and SME registers are UNKNOWN to the host after
    /// the call; interrupts must be masked by the caller.
    VcpuRun = 0xc600_0121, "VCPU_RUN" (
        /// VM
        handle,
        /// index of the vCPU
        vcpu
    ) -> "exit reason, a number of `ExitReason`" refuses [NoSuchVm, NoSuchVcpu, Busy, WrongState, PoweredOff, InvalidArgument];

    /// Reads a register of a vCPU, see `reg`. Of a protected VM, only in the state `Creating`.
    VcpuGetReg = 0xc600_0122, "VCPU_GET_REG" (
        /// VM
        handle,
        /// index of the vCPU
        vcpu,
        /// register
        register
    ) -> "value" refuses [NoSuchVm, NoSuchVcpu, Busy, InvalidArgument, WrongState, Protected];

    /// Writes a register of a vCPU, see `reg`. Of a protected VM, only in the state `Creating`,
    /// and only X0 to X30, PC and PSTATE.
    VcpuSetReg = 0xc600_0123, "VCPU_SET_REG" (
        /// VM
        handle,
        /// index of the vCPU
        vcpu,
        /// register
        register,
        /// value
        value
    ) -> "" refuses [NoSuchVm, NoSuchVcpu, Busy, InvalidArgument, WrongState, Protected];

    /// Ends a VM: no vCPU runs again. Refused while a vCPU runs. Its memory comes back through
    /// VM_RECLAIM.
    VmDestroy = 0xc600_0130, "VM_DESTROY" (
        /// VM
        handle
    ) -> "" refuses [NoSuchVm, Busy, WrongState];

    /// Gives pages of a destroyed VM back to the host, scrubbed where the VM was protected. Does a
    /// bounded amount of work: to be repeated until it returns zero; then the handle is gone.
    VmReclaim = 0xc600_0131, "VM_RECLAIM" (
        /// VM
        handle
    ) -> "1 while there is more, 0 when all is back" refuses [NoSuchVm, WrongState, Busy];
}

/// Declares an enum of numbers with documentation that the generator can list.
macro_rules! numbers {
    ($(#[doc = $enum_doc:literal])+ $enum_name:ident { $($(#[doc = $doc:literal])+ $name:ident = $value:literal, $upper:literal;)+ }) => {
        $(#[doc = $enum_doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u64)]
        pub enum $enum_name {
            $($(#[doc = $doc])+ $name = $value,)+
        }

        impl $enum_name {
            /// Every value with its name in upper case and its description.
            pub const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$name, $upper, concat!($($doc),+)),)+];

            /// Decodes the number; `None` when it is not defined.
            #[must_use]
            pub const fn from_register(value: u64) -> Option<Self> {
                match value {
                    $($value => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use numbers;

numbers! {
    /// Selectors of the call INFO.
    Info {
        /// Number of VMs that can exist at a time.
        MaxVms = 0, "MAX_VMS";
        /// Number of vCPUs that a VM can have.
        MaxVcpus = 1, "MAX_VCPUS";
        /// Largest intermediate physical address size of a VM, in bits.
        IpaBits = 2, "IPA_BITS";
        /// Most pages that one call handles.
        MaxPages = 3, "MAX_PAGES";
        /// Number of GIC list registers.
        ListRegisters = 4, "LIST_REGISTERS";
        /// Interrupt number (INTID) of the virtual timer's private peripheral interrupt.
        VirtualTimerIntid = 5, "VIRTUAL_TIMER_INTID";
        /// Number of memory ranges that VM_SET_MEMORY can declare for a VM.
        MaxMemoryRanges = 6, "MAX_MEMORY_RANGES";
        /// Features: bit 0 protected VMs are offered; bit 1 counters of STATS count; bit 2 devices and
        /// the GIC are kept from memory that is not the host's. Without bit 2 there is no bit 0, and
        /// DMA_GUARD says why.
        Features = 7, "FEATURES";
        /// Number of physical CPUs.
        Cpus = 8, "CPUS";
        /// Ticks of the physical counter from EL2's first instruction to the host's.
        BootTicks = 9, "BOOT_TICKS";
        /// Why devices are not kept from memory that is not the host's, a number of `DmaGuard`.
        DmaGuard = 10, "DMA_GUARD";
        /// Which device that is about, see `DmaGuard`.
        DmaCulprit = 11, "DMA_CULPRIT";
        /// TLB invalidations that SMMUs were told since boot.
        DmaInvalidations = 12, "DMA_INVALIDATIONS";
        /// Changes of its tables and commands that the GIC was kept from since boot.
        GicRefusals = 13, "GIC_REFUSALS";
        /// Bytes of RAM that EL2 has taken in all.
        RegionBytes = 14, "REGION_BYTES";
        /// Bytes of these for tables that SMMUs walk.
        DmaTableBytes = 15, "DMA_TABLE_BYTES";
    }
}

numbers! {
    /// Whether every device that can write to memory is kept from what is not the host's, and if not,
    /// why: the answer of INFO(DMA_GUARD). INFO(DMA_CULPRIT) is the physical address of a device's
    /// registers or a PCI requester ID (bus in bits 15:8, device in 7:3, function in 2:0), as stated.
    DmaGuard {
        /// All are.
        Guarded = 0, "GUARDED";
        /// A PCI host bridge without an SMMU; the culprit is its configuration space.
        NoSmmu = 1, "NO_SMMU";
        /// Requester IDs of a PCI host bridge that no SMMU translates; the culprit is the first.
        PartialMap = 2, "PARTIAL_MAP";
        /// An `iommu-map` that is malformed; the culprit is the bridge's configuration space.
        BadMap = 3, "BAD_MAP";
        /// A device that may write to memory and has no SMMU; the culprit is its registers.
        UnknownMaster = 4, "UNKNOWN_MASTER";
        /// An IOMMU that is no SMMUv3; the culprit is its registers, or zero.
        UnknownIommu = 5, "UNKNOWN_IOMMU";
        /// A PCI function on a bus that no bridge leads to: another root; the culprit is its requester ID.
        SecondRoot = 6, "SECOND_ROOT";
        /// A virtio function that passes by the SMMU (VIRTIO_F_ACCESS_PLATFORM is not offered); the
        /// culprit is its requester ID.
        VirtioBypass = 7, "VIRTIO_BYPASS";
        /// A PCI hierarchy that is not understood; the culprit is a requester ID.
        BadHierarchy = 8, "BAD_HIERARCHY";
        /// An SMMU that cannot do what is needed; the culprit is its registers.
        SmmuUnusable = 9, "SMMU_UNUSABLE";
        /// More SMMUs, bridges or interrupt translation services than there is room for.
        TooMany = 10, "TOO_MANY";
        /// A GIC whose memory accesses cannot be guarded; the culprit is its registers.
        GicUnusable = 11, "GIC_UNUSABLE";
    }
}

numbers! {
    /// Counters of the call STATS. All but `GuestExit` count entries to EL2 from the host.
    Counter {
        /// Entries for whatever reason.
        HostEntries = 0, "HOST_ENTRIES";
        /// Hypercalls (HVC).
        HostHvc = 1, "HOST_HVC";
        /// Trapped SMCs.
        HostSmc = 2, "HOST_SMC";
        /// Trapped system register accesses.
        HostSysreg = 3, "HOST_SYSREG";
        /// Stage-2 aborts.
        HostAbort = 4, "HOST_ABORT";
        /// Physical interrupts taken at EL2 while the host ran; always zero.
        HostIrq = 5, "HOST_IRQ";
        /// Any other exception.
        HostOther = 6, "HOST_OTHER";
        /// Exits of a guest to EL2.
        GuestExits = 7, "GUEST_EXITS";
        /// Stage-2 aborts of the host that were refused.
        HostRefusedAborts = 8, "HOST_REFUSED_ABORTS";
    }
}

/// VM_CREATE flag: the VM is protected from the host.
pub const VM_PROTECTED: u64 = 1 << 0;
/// VM_MAP flag: the pages keep their contents.
pub const MAP_KEEP: u64 = 1 << 0;
/// VM_MAP flag: the guest may not write.
pub const MAP_READ_ONLY: u64 = 1 << 1;
/// VCPU_CREATE flag: the vCPU starts powered on.
pub const VCPU_POWERED_ON: u64 = 1 << 0;
/// INFO(FEATURES) bit: protected VMs are offered.
pub const FEATURE_PROTECTED: u64 = 1 << 0;
/// INFO(FEATURES) bit: STATS counts.
pub const FEATURE_STATS: u64 = 1 << 1;
/// INFO(FEATURES) bit: DMA is guarded.
pub const FEATURE_DMA_GUARDED: u64 = 1 << 2;
/// DMA_EVENT: the device wanted to write.
pub const DMA_EVENT_WRITE: u64 = 1 << 8;

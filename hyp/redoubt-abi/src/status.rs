//! What a call answers in X0.
//!
//! Zero is success, a negative number is a refusal that names its reason. A refused call has
//! changed nothing.

/// Declares [`Status`] with its number, errno and text in one place.
macro_rules! statuses {
    ($($(#[doc = $doc:literal])+ $name:ident = $value:literal, $errno:ident;)+) => {
        /// Result of a hypercall, returned in X0.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i64)]
        pub enum Status {
            $($(#[doc = $doc])+ $name = $value,)+
        }

        impl Status {
            /// Every status, in the order of its number.
            #[cfg(any(test, feature = "generate"))]
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Decodes X0; `None` for a number that no version of this interface defines.
            #[must_use]
            pub const fn from_register(x0: u64) -> Option<Self> {
                match x0.cast_signed() {
                    $($value => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// Name of the Linux errno that the driver hands on.
            #[cfg(any(test, feature = "generate"))]
            #[must_use]
            pub const fn errno(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($errno),)+
                }
            }

            /// Identifier of this status, as in this file.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// What the status means, in one sentence.
            #[cfg(any(test, feature = "generate"))]
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+),)+
                }
            }
        }
    };
}

statuses! {
    /// The call was carried out.
    Success = 0, OK;
    /// No such function, or not in this build or on this CPU.
    NotSupported = -1, EOPNOTSUPP;
    /// An argument is outside its range, or a reserved bit is set.
    InvalidArgument = -2, EINVAL;
    /// An address is not aligned as the call wants it.
    Misaligned = -3, EINVAL;
    /// A range wraps around or leaves the address space.
    Overflow = -4, EINVAL;
    /// A page is not RAM that the ownership table knows.
    NotRam = -5, EFAULT;
    /// A page does not belong to the caller.
    NotOwner = -6, EPERM;
    /// A page is shared or borrowed, so it cannot change hands.
    Shared = -7, EBUSY;
    /// A page is pinned by EL2, so it cannot change hands.
    Pinned = -8, EBUSY;
    /// The call handles more pages than one call may.
    TooMany = -9, E2BIG;
    /// The VM's pool has too few pages for the translation tables the call needs.
    NoTables = -10, ENOMEM;
    /// The intermediate physical address is mapped already.
    AlreadyMapped = -11, EEXIST;
    /// The intermediate physical address is not mapped.
    NotMapped = -12, ENOENT;
    /// The handle names no live VM.
    NoSuchVm = -13, ENOENT;
    /// The VM has no vCPU of that index.
    NoSuchVcpu = -14, ENOENT;
    /// The vCPU exists already.
    VcpuExists = -15, EEXIST;
    /// The VM or vCPU is in use by another CPU.
    Busy = -16, EBUSY;
    /// The VM is not in a state in which the call is allowed.
    WrongState = -17, EPERM;
    /// The call would reveal or change what a protected VM keeps from the host.
    Protected = -18, EPERM;
    /// All slots of that kind are in use.
    NoSlot = -19, ENOSPC;
    /// The vCPU is powered off.
    PoweredOff = -20, EAGAIN;
    /// No protected VMs: a device can reach memory past the SMMUs; INFO(DMA_GUARD) says which.
    DmaUnguarded = -21, ENODEV;
}

impl Status {
    /// Value for X0.
    #[must_use]
    pub const fn to_register(self) -> u64 {
        (self as i64).cast_unsigned()
    }
}

//! A guest that attacks: the sharing calls, the SMC and HVC space, system registers, PSCI, SGIs,
//! memory that is not its own, and set/way maintenance.
//!
//! Prints `CASE name ... ok|FAILED why` lines and a last line `N passed, N failed`, and reports both
//! numbers. Whoever runs the VM answers a fault outside memory with an external abort
//! (`ENTRY_ABORT`) and runs every CPU that is switched on.
#![cfg_attr(target_os = "none", no_std, no_main)]

use redoubt_payload::payload;

payload!(attack);

#[cfg(target_os = "none")]
mod attack {
    use core::sync::atomic::{AtomicU64, Ordering};

    use redoubt_abi::guest;
    use redoubt_payload::{Capture, Outcome, cpu_off, cpu_on, execute, hvc, println, report, smc};

    const KEY_PASSED: u64 = 0x600;
    const KEY_FAILED: u64 = 0x601;

    const NOT_SUPPORTED: u64 = u64::MAX;
    const SUCCESS: u64 = 0;
    const RET: u32 = 0xd65f_03c0;
    const PAGE: u64 = 4096;

    /// A page that is shared and taken back.
    #[repr(C, align(4096))]
    struct Shared(core::cell::UnsafeCell<[u64; 512]>);
    // SAFETY: only its address is used, and volatile accesses of CPU 0.
    unsafe impl Sync for Shared {}
    static SHARED: Shared = Shared(core::cell::UnsafeCell::new([0; 512]));
    static STACK: Shared = Shared(core::cell::UnsafeCell::new([0; 512]));
    static AWAKE: AtomicU64 = AtomicU64::new(0);

    type Verdict = Result<(), &'static str>;

    fn require(condition: bool, otherwise: &'static str) -> Verdict {
        if condition { Ok(()) } else { Err(otherwise) }
    }

    fn call(function: u32, address: u64) -> u64 {
        hvc([u64::from(function), address, 0, 0])[0]
    }

    fn share(address: u64) -> u64 {
        call(guest::KVM_MEM_SHARE, address)
    }

    fn unshare(address: u64) -> u64 {
        call(guest::KVM_MEM_UNSHARE, address)
    }

    fn page() -> u64 {
        SHARED.0.get() as u64
    }

    /// SH2: shares and unshares what it may not.
    fn sharing_misuse() -> Verdict {
        let bad = [
            0,                // not memory
            0x0900_0000,      // a device
            page() + 8,       // not aligned
            page() + 1,       //
            0x8000_0000,      // behind memory
            1 << 39,          // outside the address space
            1 << 52,          //
            u64::MAX,         //
            u64::MAX - 4095,  // wraps
            page() | 1 << 63, //
        ];
        for address in bad {
            for function in [guest::KVM_MEM_SHARE, guest::KVM_MEM_UNSHARE, guest::MEM_RELINQUISH] {
                require(call(function, address) != SUCCESS, "accepted a bad address")?;
            }
        }
        // Reserved arguments.
        let x = hvc([u64::from(guest::KVM_MEM_SHARE), page(), 1, 0])[0];
        require(x != SUCCESS, "accepted a reserved argument")?;
        Ok(())
    }

    /// SH2: twice share, twice unshare, relinquish while shared.
    fn sharing_order() -> Verdict {
        require(unshare(page()) != SUCCESS, "unshared a page that is not shared")?;
        require(share(page()) == SUCCESS, "could not share")?;
        require(share(page()) != SUCCESS, "shared twice")?;
        require(call(guest::MEM_RELINQUISH, page()) != SUCCESS, "relinquished a shared page")?;
        require(unshare(page()) == SUCCESS, "could not unshare")?;
        require(unshare(page()) != SUCCESS, "unshared twice")
    }

    /// E2: shares and unshares a thousand times; the contents stay.
    fn sharing_storm() -> Verdict {
        let word = SHARED.0.get().cast::<u64>();
        // SAFETY: the page is this function's.
        unsafe { word.write_volatile(0x1234_5678_9abc_def0) };
        for _ in 0..1000 {
            require(share(page()) == SUCCESS && unshare(page()) == SUCCESS, "refused")?;
        }
        // SAFETY: as above.
        let value = unsafe { word.read_volatile() };
        require(value == 0x1234_5678_9abc_def0, "the page changed")
    }

    /// P6: calls of every owner, by SMC and HVC, that nobody defines; and the calls of the host.
    fn function_space() -> Verdict {
        for owner in 0..64_u64 {
            for convention in [0x8000_0000_u64, 0xc000_0000, 0, 0x4000_0000] {
                for number in [0x0300_u64, 0x7fff, 0xfeed] {
                    let function = convention | owner << 24 | number;
                    let answers = [hvc([function, 1, 2, 3]), smc([function, 1, 2, 3])];
                    for x in answers {
                        let low = x[0] & 0xffff_ffff;
                        require(low == 0xffff_ffff, "an unknown function did something")?;
                    }
                }
            }
        }
        Ok(())
    }

    /// C1 from the guest: the calls of the host do not exist here.
    fn host_calls() -> Verdict {
        for call in redoubt_abi::HostCall::DOCS {
            let x = hvc([u64::from(call.function), 1, 2, 3]);
            require(x[0] == NOT_SUPPORTED, "a call of the host was answered")?;
            let x = smc([u64::from(call.function), 1, 2, 3]);
            require(x[0] == NOT_SUPPORTED, "a call of the host was answered by SMC")?;
        }
        Ok(())
    }

    /// P1 from the guest: CPU_ON with a CPU that is not there, that is on, and an entry that is no
    /// memory.
    fn psci_abuse() -> Verdict {
        let entry = 0x4020_0000;
        let on =
            |mpidr: u64, entry: u64| hvc([u64::from(guest::PSCI_CPU_ON_64), mpidr, entry, 0])[0];
        let on_already = (-4_i64).cast_unsigned();
        require(on(0, entry) == on_already, "CPU 0 is on")?;
        for mpidr in [0xff, 0x0100_0000_0000, 1 << 24, 1 << 63, u64::MAX, 0xffff_ffff] {
            require(on(mpidr, entry) != SUCCESS, "switched on a CPU that is not there")?;
        }
        let affinity =
            hvc([u64::from(guest::PSCI_AFFINITY_INFO_64), 0xffff_ffff, 0, 0])[0].cast_signed();
        require(affinity < 0, "AFFINITY_INFO knows a CPU that is not there")?;
        for function in
            [0x8400_0007_u64, 0x8400_0010, 0x8400_0011, 0x8400_0013, 0x8400_0014, 0x8400_001f]
        {
            require(hvc([function, 0, 0, 0])[0] & 0xffff_ffff == 0xffff_ffff, "unknown PSCI call")?;
        }
        let frozen = hvc([u64::from(guest::PSCI_CPU_FREEZE), 0, 0, 0])[0] & 0xffff_ffff;
        require(frozen == 0xffff_ffff, "CPU_FREEZE was answered")
    }

    /// CPU 1, where there is one: comes up, says so, goes; comes up again.
    fn psci_cycle() -> Verdict {
        for round in 1..=3 {
            let mut status = cpu_on(1, STACK.0.get() as u64 + PAGE);
            for _ in 0..1_000_000 {
                if status != (-4_i64).cast_unsigned() {
                    break;
                }
                status = cpu_on(1, STACK.0.get() as u64 + PAGE);
            }
            if status == (-2_i64).cast_unsigned() {
                return Ok(());
            }
            require(status == SUCCESS, "CPU 1 does not come on")?;
            for _ in 0..100_000_000_u64 {
                if AWAKE.load(Ordering::Acquire) == round {
                    break;
                }
                core::hint::spin_loop();
            }
            require(AWAKE.load(Ordering::Acquire) == round, "CPU 1 did not arrive")?;
        }
        Ok(())
    }

    /// R1 from the guest: reads every encoding of op0 2 and 3. Nothing hangs, what belongs to EL2
    /// and EL3 is UNDEFINED.
    fn register_walk() -> Verdict {
        let mut readable = 0_u64;
        for encoding in 0..0x8000_u32 {
            let (op0, op1) = (2 + (encoding >> 14), encoding >> 11 & 7);
            let (crn, crm, op2) = (encoding >> 7 & 15, encoding >> 3 & 15, encoding & 7);
            // Reading these acknowledges an interrupt, or takes a debugger's word.
            if (op0, op1, crn, op2) == (3, 0, 12, 0) && (crm == 8 || crm == 12) {
                continue;
            }
            let word = 0xd520_0000 | op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5;
            let outcome = execute(&[word, RET], [0; 18]);
            readable += u64::from(outcome.class().is_none());
            if op0 == 3 && (op1 == 4 || op1 == 6 || op1 == 7) {
                require(outcome.class().is_some(), "a register of a higher level is readable")?;
            }
        }
        println!("registers readable by the guest: {readable}");
        require(readable > 50, "hardly any register is readable")
    }

    /// R1: writes the registers that a hypervisor keeps for itself.
    fn register_writes() -> Verdict {
        let higher: [(u32, u32, u32, u32, u32); 10] = [
            (3, 4, 1, 1, 0),   // HCR_EL2
            (3, 4, 2, 1, 0),   // VTTBR_EL2
            (3, 4, 2, 1, 2),   // VTCR_EL2
            (3, 4, 12, 0, 0),  // VBAR_EL2
            (3, 4, 1, 0, 0),   // SCTLR_EL2
            (3, 4, 12, 12, 0), // ICH_LR0_EL2
            (3, 4, 12, 11, 0), // ICH_HCR_EL2
            (3, 4, 14, 0, 3),  // CNTVOFF_EL2
            (3, 6, 1, 1, 0),   // SCR_EL3
            (3, 4, 1, 1, 1),   // MDCR_EL2
        ];
        for (op0, op1, crn, crm, op2) in higher {
            let word = 0xd500_0000 | op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5;
            let outcome = execute(&[word, RET], [0; 18]);
            require(outcome.class().is_some(), "wrote a register of a higher level")?;
        }
        Ok(())
    }

    /// H3 from the guest: maintenance by set and way, of every level and some ways.
    fn set_way() -> Verdict {
        for level in 0..3_u64 {
            for way in 0..4_u64 {
                let mut x = [0; 18];
                x[0] = level << 1 | way << 28;
                // DC CISW, DC CSW, DC ISW X0: whatever happens, it happens to the guest alone.
                for word in [0xd508_7e40, 0xd508_7a40, 0xd508_7640] {
                    let _ = execute(&[word, RET], x);
                }
            }
        }
        Ok(())
    }

    /// G7: SGIs to CPUs that do not exist, with range selector and routing mode.
    fn sgi_to_nowhere() -> Verdict {
        for value in
            [0xfffe, 0xff00_ffff_00ff_fffe, 1 << 40, 0xf << 44 | 0xffff, 0x00ff_0000_00ff_0001]
        {
            let mut x = [0; 18];
            x[0] = value;
            // MSR ICC_SGI1R_EL1, ICC_SGI0R_EL1, ICC_ASGI1R_EL1 from X0.
            for word in [0xd518_cba0, 0xd518_cbe0, 0xd518_cbc0] {
                let _ = execute(&[word, RET], x);
            }
        }
        Ok(())
    }

    fn touch(word: u32, address: u64) -> Outcome {
        let mut x = [0; 18];
        x[1] = address;
        x[16] = address;
        execute(&[word, RET], x)
    }

    /// Loads, stores, atomics, tables walks and jumps outside memory, of forms that carry a syndrome
    /// and of forms that do not.
    fn outside_memory() -> Verdict {
        let forms = [
            0xf940_0020, // LDR X0, [X1]
            0xf900_0020, // STR X0, [X1]
            0xa940_0820, // LDP X0, X2, [X1]
            0xa900_0820, // STP X0, X2, [X1]
            0x3dc0_0020, // LDR Q0, [X1]
            0xf840_8420, // LDR X0, [X1], #8
            0xc85f_7c20, // LDXR X0, [X1]
            0xf820_0020, // LDADD X0, X0, [X1]
            0xd50b_7421, // DC ZVA, X1
            0xd50b_7e21, // DC CIVAC, X1
            0xd508_7621, // DC IVAC, X1
        ];
        for address in
            [0x2000_0000_u64, 0x6000_0000, 0x7fff_fff8, 0x40_0000_0000 - 8, 0x41_0000_0ff8]
        {
            for word in forms {
                let _ = touch(word, address);
            }
        }
        let jump = touch(0xd61f_0200, 0x6000_0000); // BR X16
        require(jump.class().is_some(), "executed from outside memory")
    }

    /// Translation tables outside memory: a walk that faults at stage 2.
    fn address_translation() -> Verdict {
        for address in [0x2000_0000_u64, 0x6000_0000, 0x4020_0000] {
            // AT S1E1R, X1; AT S12E1R, X1 belongs to EL2.
            let _ = touch(0xd508_7821, address);
            let higher = touch(0xd50c_7881, address);
            require(higher.class().is_some(), "AT S12E1R was carried out")?;
        }
        Ok(())
    }

    /// R5: a storm of hints; the host must stay alive, which it checks itself.
    fn hint_storm() -> Verdict {
        for _ in 0..2000 {
            // WFE and YIELD return; SEV first, so that WFE does.
            let _ = execute(&[0xd503_209f, 0xd503_205f, 0xd503_203f, RET], [0; 18]);
        }
        Ok(())
    }

    /// Instructions that nobody implements, a breakpoint and a supervisor call come back as
    /// exceptions of the guest.
    fn odd_instructions() -> Verdict {
        for (word, class) in [(0x0000_0000_u32, 0x00), (0xd420_0020, 0x3c), (0xd400_0021, 0x15)] {
            let outcome = execute(&[word, RET], [0; 18]);
            require(outcome.class() == Some(class), "not the exception it should be")?;
        }
        Ok(())
    }

    type Case = (&'static str, fn() -> Verdict);

    const CASES: [Case; 16] = [
        ("guest-share-misuse", sharing_misuse),
        ("guest-share-order", sharing_order),
        ("guest-share-storm", sharing_storm),
        ("guest-function-space", function_space),
        ("guest-host-calls", host_calls),
        ("guest-psci-abuse", psci_abuse),
        ("guest-psci-cycle", psci_cycle),
        ("guest-register-walk", register_walk),
        ("guest-register-writes", register_writes),
        ("guest-set-way", set_way),
        ("guest-sgi-nowhere", sgi_to_nowhere),
        ("guest-outside-memory", outside_memory),
        ("guest-address-translation", address_translation),
        ("guest-hint-storm", hint_storm),
        ("guest-odd-instructions", odd_instructions),
        ("guest-sharing-again", sharing_order),
    ];

    pub fn main(_: &'static Capture) {
        let (mut passed, mut failed) = (0, 0);
        for (name, case) in CASES {
            match case() {
                Ok(()) => {
                    passed += 1;
                    println!("CASE {name} ... ok");
                }
                Err(why) => {
                    failed += 1;
                    println!("CASE {name} ... FAILED {why}");
                }
            }
        }
        println!("{passed} passed, {failed} failed");
        report(KEY_PASSED, passed);
        report(KEY_FAILED, failed);
    }

    pub fn secondary(_: u64) {
        AWAKE.fetch_add(1, Ordering::Release);
        cpu_off();
    }
}

//! Tests of what is asked of the host.

use super::*;

const MIB: u64 = 1 << 20;

#[test]
fn memory_verdicts() {
    let host = HostMemory { total: 1024 * MIB, available: Some(512 * MIB) };
    assert_eq!(memory_verdict(512 * MIB, host), MemoryVerdict::Enough);
    assert!(matches!(memory_verdict(514 * MIB, host), MemoryVerdict::Tight(_)));
    let MemoryVerdict::Impossible(text) = memory_verdict(1024 * MIB, host) else {
        panic!("all of the machine's memory cannot go to a guest")
    };
    assert!(text.contains("1024 MiB") && text.contains("--memory"), "{text}");
    let silent = HostMemory { available: None, ..host };
    assert_eq!(memory_verdict(514 * MIB, silent), MemoryVerdict::Enough);
}

#[test]
fn meminfo_is_parsed_or_ignored() {
    let text = "MemTotal:       16384 kB\nMemFree: 1 kB\nMemAvailable:    8192 kB\nX: 1 kB\n";
    assert_eq!(parse_mem_available(text), Some(8192 * 1024));
    for broken in ["", "MemAvailable:", "MemAvailable: x kB", "MemAvailable: 5 MB", "MemFree: 1 kB"]
    {
        assert_eq!(parse_mem_available(broken), None, "{broken}");
    }
    assert_eq!(parse_mem_available(&format!("MemAvailable: {} kB", u64::MAX)), None);
}

#[test]
fn this_machine_answers() {
    let host = host_memory().expect("sysinfo");
    assert!(host.total > MIB);
    assert!(host.available.is_none_or(|available| available <= host.total));
    let (mut first, mut second) = ([0; 300], [0; 300]);
    random_bytes(&mut first).expect("random");
    random_bytes(&mut second).expect("random");
    assert_ne!(first, second);
    assert!(allow_pinning(0), "nothing can always be pinned");
}

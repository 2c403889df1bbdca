//! What the host does by itself does not enter EL2.
//!
//! EL2 counts its entries by reason and by CPU; the driver shows the counts. They are read before
//! and after a workload of interrupts, timers, system calls, page faults and calls between CPUs.
//! Reading them is hypercalls, so those are left out; all other reasons must stay where they were.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use redoubt_qemu::Cpu;

use crate::context::Context;
use crate::host::{HostRun, Report};
use crate::{Suite, Test};

/// The workload, between two readings of all counters; it runs once before, to warm up.
const SCRIPT: &str = r#"
counters() {
    cat /sys/kernel/debug/redoubt/counters
}
interrupts() {
    awk '/arch_timer|Rescheduling/ { for (i = 2; i <= 5; i++) sum += $i } END { print sum }' \
        /proc/interrupts
}
workload() {
    for round in $(seq 10); do
        sleep 0.05
        ls -R /sys/class
        # Forks, page faults, and work on every CPU.
        for cpu in $(seq 0 $((CPUS - 1))); do
            taskset -c "$cpu" sha256sum /bin/busybox &
        done
        wait
    done
    dd if=/dev/vda of=/dev/null bs=64k
}
workload >/dev/null 2>&1
interrupts | data interrupts-before
counters | data before
workload >/dev/null 2>&1
counters | data after
interrupts | data interrupts-after
"#;

static RUN: HostRun = HostRun {
    name: "boot-el2-entries",
    cpu: Cpu::Max,
    cpus: 4,
    memory_mib: 2048,
    devices: true,
    guest: false,
    hostile: false,
    reboots: false,
    plain_kvm: false,
    script: SCRIPT,
    limit: Duration::from_secs(300),
};

/// A workload without this many interrupts shows nothing.
const INTERRUPTS: u64 = 200;

/// The tests of this module.
pub fn tests() -> Vec<Test> {
    vec![Test::new(Suite::Boot, "the host's workload does not enter EL2", test)]
}

fn test(context: &Context) -> Result<()> {
    let report = context.report(&RUN)?;
    let (first, last) = (report.number("interrupts-before")?, report.number("interrupts-after")?);
    let interrupts = last.saturating_sub(first);
    if interrupts < INTERRUPTS {
        bail!("the workload took {interrupts} interrupts only: it shows nothing");
    }
    unchanged(&counters(&report, "before")?, &counters(&report, "after")?)
}

/// A counter with its value on each CPU, as the driver shows it: `NAME VALUE VALUE...`.
type Counter = (String, Vec<u64>);

fn unchanged(before: &[Counter], after: &[Counter]) -> Result<()> {
    let entries = before.iter().find(|counter| counter.0 == "host_entries");
    if entries.is_none_or(|counter| counter.1.iter().all(|value| *value == 0)) {
        bail!("no entry was ever counted: the counters do not count");
    }
    if before.len() != after.len() {
        bail!("{} counters before the workload, {} after", before.len(), after.len());
    }
    for (old, new) in before.iter().zip(after) {
        let asking = matches!(new.0.as_str(), "host_entries" | "host_hvc");
        if old != new && !asking {
            bail!("{} rose during the workload: {:?}, before {:?}", new.0, new.1, old.1);
        }
    }
    Ok(())
}

fn counters(report: &Report, name: &str) -> Result<Vec<Counter>> {
    report.data(name)?.iter().map(|line| counter(line)).collect()
}

fn counter(line: &str) -> Result<Counter> {
    let mut words = line.split_whitespace();
    let name = words.next().with_context(|| format!("\"{line}\" is no counter"))?.to_owned();
    let values = words.map(|word| {
        word.parse().with_context(|| format!("\"{line}\" has a value that is no number"))
    });
    Ok((name, values.collect::<Result<_>>()?))
}

#[cfg(test)]
mod tests {
    //! Counters that stay, rise, and do not count.

    use super::{counter, unchanged};

    fn counters(lines: &[&str]) -> Vec<super::Counter> {
        lines.iter().map(|line| counter(line).unwrap()).collect()
    }

    #[test]
    fn only_the_asking_may_rise() {
        let before = counters(&["host_entries 10 2", "host_hvc 5 0", "host_irq 0 0"]);
        let asked = counters(&["host_entries 14 2", "host_hvc 9 0", "host_irq 0 0"]);
        let taken = counters(&["host_entries 14 2", "host_hvc 9 0", "host_irq 0 1"]);
        unchanged(&before, &asked).unwrap();
        assert!(unchanged(&before, &taken).is_err());
    }

    #[test]
    fn counters_that_do_not_count_show_nothing() {
        let zero = counters(&["host_entries 0 0", "host_irq 0 0"]);
        assert!(unchanged(&zero, &zero).is_err());
        assert!(unchanged(&[], &[]).is_err());
        assert!(counter("host_irq x").is_err());
    }
}

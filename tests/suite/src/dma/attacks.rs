//! Attacks by a host that programs devices: the cases `dma` of `redoubt-hostile`, a machine that does
//! not give any device's stream to the host, and a look at EL2's memory from outside.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use redoubt_qemu::{Device, Machine, RAM_BASE, Vm};

use super::{HOSTILE, SERIAL};
use crate::boot::disk;
use crate::context::Context;
use crate::isolation::{PAGE, canary, fnv, results};
use crate::{Case, Suite, Test};

const NAME: &str = "dma-attacks";
const MEMORY_MIB: u32 = 2048;
/// The longest that all attacks may take.
const LIMIT: Duration = Duration::from_secs(420);

/// Brings up the network card with two virtual functions (which keep their drivers, or Linux would
/// send them to sleep, but are not up), and runs the attacks.
const SCRIPT: &str = r#"
for module in $(grep -v nvme modules/order); do
    insmod "$module" || exit 1
done
card=$(dirname "$(grep -l 0x10c9 /sys/bus/pci/devices/*/device)")
echo 2 >"$card/sriov_numvfs" || exit 1
ip link set "$(ls "$card/net")" up
sleep 3
check disk-before same "the disk's hash" "$(sha256sum </dev/vda | cut -d ' ' -f 1)" "$DISK_HASH"
./redoubt-hostile list dma | sed 's/^/LISTED /'
./redoubt-hostile $RAM --payloads /hostile/payload --pause run dma
[ $? -le 1 ] || exit 1
echo 3 >/proc/sys/vm/drop_caches
check disk-after same "the disk's hash" "$(sha256sum </dev/vda | cut -d ' ' -f 1)" "$DISK_HASH"
check kernel-log sh -c '! dmesg | grep -iE "i/o error|BUG:|Oops|Call trace"'
"#;

/// The tests of this module.
pub fn tests() -> Vec<Test> {
    vec![Test::many(Suite::Dma, "attacks with devices", attack)]
}

fn attack(context: &Context) -> Result<Vec<Case>> {
    let size = u64::from(MEMORY_MIB) * 1024 * 1024;
    let ram = format!("RAM='--ram-base {RAM_BASE:#x} --ram-size {size:#x}'\n");
    let boot = super::boot(context, NAME, &format!("{HOSTILE}{ram}{SCRIPT}"))?;
    let image = |suffix: &str| context.artifacts.scratch.join(format!("{NAME}.{suffix}"));
    disk::create(&image("disk"))?;
    disk::create(&image("nvme"))?;
    let nvme = Device::Nvme { image: image("nvme"), serial: SERIAL.into() };
    let machine = Machine::new(boot).cpus(4).memory_mib(MEMORY_MIB);
    let machine = machine.device(Device::Disk(image("disk"))).device(Device::Edu).device(nvme);
    let mut vm = context.start(&machine.device(Device::Igb), NAME)?;
    super::watch_for_failure(&vm);
    let outside = watch(context, &mut vm);
    let text = vm.kill();
    let mut cases = results(&text)?;
    cases.push(Case {
        name: "EL2's memory and the secret, seen from outside".into(),
        outcome: outside,
    });
    let report = crate::Report::read(&text);
    for check in ["disk-before", "disk-after", "kernel-log"] {
        cases.push(Case { name: check.into(), outcome: report.check(check) });
    }
    Ok(cases)
}

/// Lets the attacks run, looks at memory from outside, and lets the host power off.
fn watch(context: &Context, vm: &mut Vm) -> Result<()> {
    let found = vm.console().wait_for_any(&["CANARY-END", "HOST done: "], LIMIT)?;
    if found.index != 0 {
        bail!("the attacks ended early{}", vm.console().tail());
    }
    let text = vm.console().text();
    let outcome = look(context, &text, vm);
    vm.send("continue\n")?;
    super::finish(vm, LIMIT).map(drop).and(outcome)
}

fn look(context: &Context, text: &str, vm: &Vm) -> Result<()> {
    let mut qmp = vm.qmp()?;
    let (page, hash) = canary(text)?;
    let scratch = context.artifacts.scratch.join("canary");
    if fnv(&qmp.read_memory(page, PAGE, &scratch)?) != hash {
        bail!("the page at {page:#x} does not hold what its owner wrote");
    }
    super::search_el2(context, text, &mut qmp).context("seen from outside")
}

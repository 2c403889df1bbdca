//! Starts that must be refused, in words, without starting the host.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use redoubt_qemu::{Boot, Load, Machine, RAM_BASE, raw};
use vm_fdt::FdtWriter;

use crate::context::Context;
use crate::{Suite, Test};

/// What every refusal begins with.
const REFUSAL: &str = "redoubt: cannot start: ";
/// How long a refusal may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How long the machine is watched after it, for a host that runs all the same.
const AFTER: Duration = Duration::from_secs(3);
/// What a starting host would say.
const HOST: &str = "Booting Linux";

/// Where a machine without loader has its parts.
const IMAGE: u64 = RAM_BASE + 0x20_0000;
const FDT: u64 = RAM_BASE + 0x1000_0000;
const LOADER: u64 = RAM_BASE + 0x1100_0000;

/// A device tree that must be refused: its name, what is said of it, and how it is made.
type Broken = (&'static str, &'static str, fn() -> Result<Option<Vec<u8>>>);

const BROKEN: [Broken; 7] = [
    ("no device tree", "no FDT", || Ok(None)),
    ("bytes that are no device tree", "magic number", || Ok(Some(vec![0xa5; 4096]))),
    ("a truncated device tree", "device tree", || {
        let mut tree = with_memory(&[(RAM_BASE, 0x2000_0000)])?;
        // It still claims its whole size.
        tree.truncate(64);
        Ok(Some(tree))
    }),
    ("no memory", "no memory node", || Ok(Some(with_memory(&[])?))),
    ("memory of no size", "memory of size zero", || Ok(Some(with_memory(&[(RAM_BASE, 0)])?))),
    ("memory that wraps around", "leaves the address space", || {
        Ok(Some(with_memory(&[(RAM_BASE, u64::MAX - 0x1000)])?))
    }),
    ("memory twice", "overlaps other memory", || {
        Ok(Some(with_memory(&[(RAM_BASE, 0x2000_0000), (RAM_BASE + 0x1000, 0x1000)])?))
    }),
];

/// The tests of this module.
pub fn tests() -> Vec<Test> {
    let mut tests = vec![Test::new(Suite::Boot, "refuses to start at EL1", started_at_el1)];
    for (name, said, make) in BROKEN {
        let body = move |context: &Context| broken_tree(context, name, said, make()?);
        tests.push(Test::new(Suite::Boot, format!("refuses {name}"), body));
    }
    tests
}

fn started_at_el1(context: &Context) -> Result<()> {
    let image = context.artifacts.redoubt()?.to_owned();
    let machine =
        Machine::new(Boot::Kernel { image, initrd: None, append: String::new() }).without_el2();
    refused(context, &machine, "boot-el1", "EL1")
}

fn broken_tree(context: &Context, name: &str, said: &str, tree: Option<Vec<u8>>) -> Result<()> {
    let stem = format!("boot-{}", name.replace(' ', "-"));
    let scratch = &context.artifacts.scratch;
    fs::create_dir_all(scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let mut loads = vec![Load { file: context.artifacts.redoubt()?.to_owned(), address: IMAGE }];
    let mut load = |suffix: &str, address: u64, bytes: &[u8]| -> Result<()> {
        let file = scratch.join(format!("{stem}.{suffix}"));
        fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
        loads.push(Load { file, address });
        Ok(())
    };
    load("loader", LOADER, &raw::trampoline(IMAGE, if tree.is_some() { FDT } else { 0 }))?;
    if let Some(tree) = &tree {
        load("fdt", FDT, tree)?;
    }
    let machine = Machine::new(Boot::Raw { loads, entry: LOADER }).memory_mib(512);
    refused(context, &machine, &stem, said)
}

/// Starts the machine, and expects a refusal that says `said`, and then nothing.
fn refused(context: &Context, machine: &Machine, name: &str, said: &str) -> Result<()> {
    let vm = context.start(machine, name)?;
    vm.console().fail_on(HOST);
    vm.wait_for(REFUSAL, LIMIT)?;
    // The rest of the line, which a fast reader may see before it is whole.
    let rest = vm.console().follow(LIMIT, |line| Some(line.to_owned()))?;
    if !rest.contains(said) {
        bail!("the refusal does not say \"{said}\" but \"{rest}\"");
    }
    if vm.console().wait_closed(AFTER) {
        bail!("the machine did not stop, it ended");
    }
    if vm.console().text().contains(HOST) {
        bail!("the host was started all the same");
    }
    Ok(())
}

/// A device tree with these ranges of memory, one node each, and nothing wrong but those.
fn with_memory(ranges: &[(u64, u64)]) -> Result<Vec<u8>> {
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_string("compatible", "linux,dummy-virt")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    for (start, size) in ranges {
        let memory = fdt.begin_node(&format!("memory@{start:x}"))?;
        fdt.property_string("device_type", "memory")?;
        fdt.property_array_u64("reg", &[*start, *size])?;
        fdt.end_node(memory)?;
    }
    let uart = fdt.begin_node("pl011@9000000")?;
    fdt.property_string_list("compatible", vec!["arm,pl011".into(), "arm,primecell".into()])?;
    fdt.property_array_u64("reg", &[0x900_0000, 0x1000])?;
    fdt.end_node(uart)?;
    let chosen = fdt.begin_node("chosen")?;
    fdt.property_string("stdout-path", "/pl011@9000000")?;
    fdt.end_node(chosen)?;
    fdt.end_node(root)?;
    Ok(fdt.finish()?)
}

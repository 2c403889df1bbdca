//! Kernel modules: those that are built here (and the driver's test), and those of the stock kernel
//! that the host loads.
//!
//! Decides how modules are built (in a copy, so that a source folder stays clean) and in which order
//! the stock ones are loaded (each after what it depends on, as it says itself).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection};

use crate::paths::{Paths, mirror_folder};
use crate::setup::Arm64;
use crate::shell;
use crate::ui;

/// The compiler of Debian's kernel, used where it is there.
const KERNEL_COMPILER: &str = "aarch64-linux-gnu-gcc-12";
/// What stands in for it.
const OTHER_COMPILER: &str = "aarch64-linux-gnu-gcc";

/// Builds the module in `source`.
pub fn build(paths: &Paths, arm64: &Arm64, name: &str, source: &Path) -> Result<PathBuf> {
    ui::step(&format!("kernel module of {name}"), |_| {
        let folder = paths.out.join("kmod").join(name);
        mirror_folder(source, &folder)?;
        let compiler = if shell::succeeds(Command::new(KERNEL_COMPILER).arg("--version")) {
            KERNEL_COMPILER
        } else {
            OTHER_COMPILER
        };
        let headers = paths.root.join("guest-linux/driver");
        let mut make = Command::new("make");
        make.arg("-C").arg(arm64.headers()).arg(format!("M={}", folder.display()));
        make.args(["ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-"]);
        make.arg(format!("CC={compiler}"));
        // Type information would need the whole kernel with its debug information.
        make.arg("CONFIG_DEBUG_INFO_BTF_MODULES=");
        // The test module shares the driver's header of hypercall numbers. What warnings call a file
        // is part of a module: its name alone, wherever it is.
        make.arg(format!(
            "KCPPFLAGS=-I{} -fmacro-prefix-map={}/=",
            headers.display(),
            folder.display()
        ));
        make.arg("modules");
        make.env_remove("MAKEFLAGS");
        shell::logged(&mut make, &paths.logs().join(format!("build-kmod-{name}.log")))?;
        let built = fs::read_dir(&folder).context("cannot read what make built")?.flatten();
        let mut modules = built
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "ko"));
        let module = modules.next().context("make built no module")?;
        let size = fs::metadata(&module).context("cannot see what make built")?.len();
        Ok((module, ui::bytes(size)))
    })
}

/// Builds the driver's test of `/dev/kvm`, a program for the host.
pub fn driver_test(paths: &Paths) -> Result<PathBuf> {
    ui::step("test of the driver", |_| {
        let program = paths.out.join("kmod/kvm_test");
        let mut make = Command::new("make");
        make.arg("-C").arg(paths.root.join("guest-linux/driver/tests")).arg("kvm");
        make.arg(format!("KVM_OUT={}", program.display())).env_remove("MAKEFLAGS");
        shell::logged(&mut make, &paths.logs().join("build-kvm-test.log"))?;
        let size = fs::metadata(&program).context("make built no test")?.len();
        Ok((program, ui::bytes(size)))
    })
}

/// A module of the stock kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Its contents, unpacked.
    pub bytes: Vec<u8>,
}

/// Where, below the folder of all modules of a kernel, the module `name` is before it is compressed:
/// `kernel/fs/ext4/ext4.ko`. The package with debug information has it at the same place.
pub fn debug_path(arm64: &Arm64, name: &str) -> Result<String> {
    let mut files = BTreeMap::new();
    index(&arm64.modules(), &mut files)?;
    let file = files
        .get(&plain(name))
        .with_context(|| format!("the stock kernel has no module `{name}` (is it built in?)"))?;
    let below = file.strip_prefix(arm64.modules()).context("a module is outside its folder")?;
    let text = below.to_string_lossy();
    Ok(format!("kernel/{}", text.strip_suffix(".xz").unwrap_or(&text)))
}

/// Unpacks the modules `wanted` and those they need, each behind what it needs.
pub fn stock(arm64: &Arm64, wanted: &[&str]) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    index(&arm64.modules(), &mut files)?;
    let mut ordered = Vec::new();
    for name in wanted {
        add(name, &files, &mut ordered, &mut Vec::new())?;
    }
    Ok(ordered)
}

fn add(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    ordered: &mut Vec<Module>,
    above: &mut Vec<String>,
) -> Result<()> {
    let name = plain(name);
    if ordered.iter().any(|module| module.name == name) {
        return Ok(());
    }
    if above.contains(&name) {
        bail!("kernel modules depend on each other in a circle: {}", above.join(", "));
    }
    let Some(file) = files.get(&name) else {
        bail!("the stock kernel has no module `{name}` (is it built in?)");
    };
    let bytes = unpack(file)?;
    above.push(name.clone());
    for dependency in dependencies(&bytes).with_context(|| format!("in {}", file.display()))? {
        add(&dependency, files, ordered, above)?;
    }
    above.pop();
    ordered.push(Module { name, bytes });
    Ok(())
}

/// Notes every module below `folder` by its name.
fn index(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.is_dir() {
            index(&path, files)?;
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str())
            && let Some((stem, _)) = name.split_once(".ko")
        {
            files.insert(plain(stem), path);
        }
    }
    Ok(())
}

fn unpack(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_some_and(|extension| extension == "xz") {
        let output = shell::run(Command::new("xz").arg("-dc").arg(file))?;
        if !output.status.success() {
            bail!("{} is damaged: run `cargo xtask setup --refresh`", file.display());
        }
        return Ok(output.stdout);
    }
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// What a module says it depends on.
fn dependencies(module: &[u8]) -> Result<Vec<String>> {
    let file = ElfFile64::<object::Endianness>::parse(module).context("this is no module")?;
    let section = file.section_by_name(".modinfo").context("this module says nothing of itself")?;
    let info = section.data().context("this module is cut short")?;
    Ok(listed(info))
}

/// The names in the field `depends` of a module's information.
fn listed(info: &[u8]) -> Vec<String> {
    let field = info.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"depends="));
    let names = String::from_utf8_lossy(field.unwrap_or_default()).into_owned();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A module's name as the kernel writes it.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    //! What modules say of themselves.

    use super::{listed, plain};

    #[test]
    fn reads_dependencies() {
        assert_eq!(
            listed(b"license=GPL\0depends=failover,net_failover\0x=y\0"),
            ["failover", "net_failover"]
        );
        assert!(listed(b"license=GPL\0depends=\0").is_empty());
        assert!(listed(b"").is_empty());
        assert_eq!(plain("virtio-rng"), "virtio_rng");
    }
}

//! The arm64 packages whose contents the machines run: Debian's kernel with its headers, busybox,
//! U-Boot.
//!
//! Decides which version: the newest that Debian's meta package names when set-up first runs, or
//! when a refresh is asked for. They are unpacked below `.cache/arm64`, not installed.
//!
//! Invariants: the folder is complete or absent (it is renamed into place), and holds no absolute
//! path to itself, so that the repository may move.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt::Apt;
use super::packages::native_architecture;
use crate::paths::{Paths, make_folder, remove_folder};
use crate::shell;
use crate::ui;

/// Names the newest kernel of the series.
const META: &str = "linux-image-6.12-arm64";
const PREFIX: &str = "linux-image-";
const SUFFIX: &str = "-arm64";

/// The file, in the unpacked folder, that names the kernel's release.
const STAMP: &str = "release";

/// The unpacked arm64 packages.
#[derive(Clone, Debug)]
pub struct Arm64 {
    /// Where they are.
    pub root: PathBuf,
    /// The kernel's release, as `uname -r` prints it.
    pub release: String,
}

impl Arm64 {
    /// The kernel's Image.
    pub fn kernel(&self) -> PathBuf {
        self.root.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// The kernel's modules.
    pub fn modules(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.release).join("kernel")
    }

    /// What modules are built against.
    pub fn headers(&self) -> PathBuf {
        self.root.join("usr/src").join(format!("linux-headers-{}", self.release))
    }

    /// Busybox.
    pub fn busybox(&self) -> PathBuf {
        self.root.join("bin/busybox")
    }

    /// U-Boot for QEMU's `virt`.
    pub fn u_boot(&self) -> PathBuf {
        self.root.join("usr/lib/u-boot/qemu_arm64/u-boot.bin")
    }

    /// What was unpacked below `root`, if all of it is there.
    fn open(root: &Path) -> Option<Arm64> {
        let release = fs::read_to_string(root.join(STAMP)).ok()?.trim().to_owned();
        let arm64 = Arm64 { root: root.to_owned(), release };
        let files = [arm64.kernel(), arm64.busybox(), arm64.u_boot()];
        let folders = [arm64.modules(), arm64.headers()];
        let whole =
            files.iter().all(|file| file.is_file()) && folders.iter().all(|folder| folder.is_dir());
        whole.then_some(arm64)
    }
}

/// Downloads and unpacks the packages, unless they are there.
pub fn ensure(paths: &Paths, refresh: bool) -> Result<Arm64> {
    let root = paths.arm64();
    let present = Arm64::open(&root);
    if let Some(present) = &present
        && !refresh
    {
        return Ok(present.clone());
    }
    let native = native_architecture()?;
    let architectures = if native == "arm64" { vec!["arm64"] } else { vec!["arm64", &native] };
    let apt = Apt::of_machines(paths, "arm64")?.foreign(&architectures);
    ui::step("fetching the lists of arm64 packages", |_| Ok((apt.update()?, String::new())))?;
    let version = newest(&apt.depends(META)?)?;
    let release = format!("{version}{SUFFIX}");
    if present.is_some_and(|present| present.release == release) {
        println!("  ok the kernel is the newest: {release}");
        apt.forget()?;
        return Ok(Arm64 { root, release });
    }
    let packages = [
        format!("{PREFIX}{release}"),
        format!("linux-headers-{release}"),
        format!("linux-headers-{version}-common"),
        // These programs run here.
        format!("linux-kbuild-{version}:{native}"),
        "busybox-static".into(),
        "u-boot-qemu".into(),
    ];
    let downloads = paths.cache.join("debs");
    remove_folder(&downloads)?;
    make_folder(&downloads)?;
    ui::step("downloading arm64 packages", |_| {
        Ok((apt.download(&packages, &downloads)?, packages.join(" ")))
    })?;
    ui::step("unpacking arm64 packages", |_| {
        let fresh = paths.cache.join("arm64.new");
        remove_folder(&fresh)?;
        unpack(&downloads, &fresh, &release)?;
        remove_folder(&root)?;
        fs::rename(&fresh, &root).context("cannot move the unpacked packages into place")?;
        Ok(((), "to .cache/arm64".into()))
    })?;
    remove_folder(&downloads)?;
    apt.forget()?;
    Arm64::open(&root).context("a Debian package does not hold what it should")
}

/// The version in what the meta package depends on.
fn newest(depends: &str) -> Result<String> {
    let version = depends.split([',', ' ', '|']).find_map(|word| {
        let version = word.trim().strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
    });
    version.with_context(|| format!("`{META}` names no kernel: it depends on {depends}"))
}

fn unpack(downloads: &Path, root: &Path, release: &str) -> Result<()> {
    make_folder(root)?;
    for entry in fs::read_dir(downloads).context("cannot read the downloads")? {
        let package = entry.context("cannot read the downloads")?.path();
        shell::output(Command::new("dpkg").arg("-x").arg(&package).arg(root))
            .with_context(|| format!("cannot unpack {}", package.display()))?;
    }
    let makefile = root.join("usr/src").join(format!("linux-headers-{release}")).join("Makefile");
    let text = fs::read_to_string(&makefile)
        .with_context(|| format!("cannot read {}", makefile.display()))?;
    fs::write(&makefile, relocatable(&text)?)
        .with_context(|| format!("cannot write {}", makefile.display()))?;
    fs::write(root.join(STAMP), format!("{release}\n")).context("cannot write to .cache")
}

/// The headers' makefile, including its neighbour by where it is instead of by `/usr/src`.
fn relocatable(makefile: &str) -> Result<String> {
    if !makefile.contains("include /usr/src/") {
        bail!("the kernel headers' Makefile does not look as it should:\n{makefile}");
    }
    let here = "include $(dir $(realpath $(lastword $(MAKEFILE_LIST))))../";
    Ok(makefile.replace("include /usr/src/", here))
}

#[cfg(test)]
mod tests {
    //! What the packages say of themselves.

    use super::{newest, relocatable};

    #[test]
    fn finds_the_newest_kernel() {
        let depends = "linux-image-6.12.117+deb12-arm64 (= 6.12.117-1~deb12u1)";
        assert_eq!(newest(depends).unwrap(), "6.12.117+deb12");
        let both = "libc6, linux-image-6.12.9-arm64 | linux-image-6.12.9-arm64-unsigned";
        assert_eq!(newest(both).unwrap(), "6.12.9");
        assert!(newest("linux-base").is_err());
    }

    #[test]
    fn rewrites_the_makefile_or_says_that_it_is_another() {
        let text = relocatable("include /usr/src/linux-headers-6-common/Makefile\n").unwrap();
        assert!(text.ends_with("../linux-headers-6-common/Makefile\n") && !text.contains("/usr"));
        assert!(relocatable("all:\n").is_err());
    }
}

//! What the attack profile needs of the systems that it compares Redoubt with: the debug information
//! of the stock kernel, and a container runtime.
//!
//! Each is fetched when it is first asked for, unpacked below `.cache/peers`, never installed, and
//! kept. One that cannot be had is an error that names the package; the caller goes on without it.
//!
//! Invariants: what is in place is complete (it is renamed there); the debug information belongs to
//! the very kernel that the machines start, which is compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::apt::Apt;
use super::debs::Arm64;
use super::libraries;
use crate::paths::{Paths, make_folder, remove_folder};
use crate::shell;
use crate::ui;

/// The container runtime.
const RUNTIME: &str = "crun";
/// Names the packages and versions of an unpacked peer, and shows that it is complete.
const STAMP: &str = "packages";
/// What the folders of debug information are called, before the kernel's release.
const DEBUG: &str = "debug-";
/// How a kernel says what it is.
const BANNER: &[u8] = b"Linux version ";

/// The stock kernel's debug information.
#[derive(Clone, Debug)]
pub struct DebugInformation {
    /// The kernel, with its symbols and line tables.
    pub vmlinux: PathBuf,
    /// Folder of the modules: each is at the path that it also has in the kernel's own package.
    pub modules: PathBuf,
}

/// The container runtime with the libraries that it needs.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Where it is unpacked, with Debian's paths.
    pub root: PathBuf,
    /// Its version.
    pub version: String,
}

/// Makes sure that the kernel's debug information is there, and that of these modules (paths below
/// the folder of all modules, such as `kernel/fs/ext4/ext4.ko`).
pub fn debug_information(
    paths: &Paths,
    arm64: &Arm64,
    modules: &[String],
) -> Result<DebugInformation> {
    let release = &arm64.release;
    let root = folder(paths)?.join(format!("{DEBUG}{release}"));
    let debug = DebugInformation {
        vmlinux: root.join(format!("usr/lib/debug/boot/vmlinux-{release}")),
        modules: root.join(format!("usr/lib/debug/lib/modules/{release}")),
    };
    let whole = || {
        debug.vmlinux.is_file() && modules.iter().all(|module| debug.modules.join(module).is_file())
    };
    if !whole() {
        let package = format!("linux-image-{release}-dbg");
        let apt = apt(paths)?;
        let size = apt.size(&package).with_context(|| {
            format!(
                "the debug information of the kernel {release} is gone from the mirror: \
                 `cargo xtask setup --refresh` gets a newer kernel, whose debug information is there"
            )
        })?;
        let downloads = download(paths, &apt, std::slice::from_ref(&package), "debug", size)?;
        ui::step("unpacking debug information", |_| {
            let fresh = fresh(paths, "debug")?;
            let mut wanted = vec![format!("./usr/lib/debug/boot/vmlinux-{release}")];
            let below = format!("./usr/lib/debug/lib/modules/{release}");
            wanted.extend(modules.iter().map(|module| format!("{below}/{module}")));
            for file in files(&downloads)? {
                extract(&file, &fresh, &wanted)?;
            }
            let vmlinux = fresh.join(format!("usr/lib/debug/boot/vmlinux-{release}"));
            if let Err(error) = same_kernel(&vmlinux, &arm64.kernel()) {
                remove_folder(&fresh)?;
                return Err(error);
            }
            place(&fresh, &root)?;
            forget_older(paths, &root)?;
            Ok(((), format!("vmlinux and {} modules", modules.len())))
        })?;
        remove_folder(&downloads)?;
        apt.forget()?;
    }
    if !whole() {
        bail!("the debug information in {} is incomplete: remove that folder", root.display());
    }
    Ok(debug)
}

/// Whether the container runtime is there.
pub fn has_runtime(paths: &Paths) -> bool {
    paths.cache.join("peers").join(RUNTIME).join(STAMP).is_file()
}

/// Makes sure that the container runtime is there; the newest one if `refresh` is set.
pub fn runtime(paths: &Paths, refresh: bool) -> Result<Runtime> {
    let root = folder(paths)?.join(RUNTIME);
    let read = || fs::read_to_string(root.join(STAMP)).ok();
    if refresh || read().is_none() {
        let apt = apt(paths)?;
        let packages = apt.closure(RUNTIME)?;
        let mut size = 0;
        for package in &packages {
            size += apt.size(package)?;
        }
        let downloads = download(paths, &apt, &packages, RUNTIME, size)?;
        ui::step("unpacking the container runtime", |_| {
            let fresh = fresh(paths, RUNTIME)?;
            let mut names = Vec::new();
            for file in files(&downloads)? {
                shell::output(Command::new("dpkg").arg("-x").arg(&file).arg(&fresh))
                    .with_context(|| format!("cannot unpack {}", file.display()))?;
                names.push(file.file_stem().unwrap_or_default().to_string_lossy().into_owned());
            }
            names.sort();
            fs::write(fresh.join(STAMP), names.join("\n") + "\n")
                .context("cannot write to .cache")?;
            place(&fresh, &root)?;
            Ok(((), format!("{} packages", packages.len())))
        })?;
        remove_folder(&downloads)?;
        apt.forget()?;
    }
    let stamp = read().with_context(|| format!("cannot read {}", root.join(STAMP).display()))?;
    let version = stamp.lines().find_map(|line| version(line, RUNTIME));
    let version = version.with_context(|| format!("`{RUNTIME}` was not among what it needs"))?;
    Ok(Runtime { root, version })
}

/// The version in a package's file name, `NAME_VERSION_ARCHITECTURE`, if it is that of `name`.
fn version(file: &str, name: &str) -> Option<String> {
    let rest = file.strip_prefix(name)?.strip_prefix('_')?;
    Some(rest.rsplit_once('_')?.0.to_owned())
}

/// A program or library of [`Runtime`], or a library that one of them needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// Where the loader looks for it, without the leading `/`.
    pub path: String,
    /// The file here.
    pub file: PathBuf,
}

impl Runtime {
    /// The program, and behind it the loader and the libraries, with what these need in turn.
    pub fn files(&self) -> Result<Vec<Needed>> {
        const LOADER: &str = "lib/ld-linux-aarch64.so.1";
        let here = |path: &str| Needed { path: path.to_owned(), file: self.root.join(path) };
        let mut found = vec![here(&format!("usr/bin/{RUNTIME}")), here(LOADER)];
        let mut next = 0;
        while let Some(file) = found.get(next).map(|needed| needed.file.clone()) {
            next += 1;
            for name in libraries::needed(&file)? {
                if found.iter().any(|needed| needed.path.ends_with(&format!("/{name}"))) {
                    continue;
                }
                let path = libraries::FOLDERS
                    .iter()
                    .map(|folder| format!("{folder}/{name}"))
                    .find(|path| self.root.join(path).is_file())
                    .with_context(|| format!("no package holds the library {name}"))?;
                found.push(here(&path));
            }
        }
        Ok(found)
    }
}

/// Where peers are kept.
fn folder(paths: &Paths) -> Result<PathBuf> {
    let folder = paths.cache.join("peers");
    make_folder(&folder)?;
    Ok(folder)
}

/// Lists of Debian's packages for arm64.
fn apt(paths: &Paths) -> Result<Apt> {
    let apt = Apt::of_machines(paths, "peers")?.foreign(&["arm64"]);
    ui::step("fetching the lists of arm64 packages", |_| Ok((apt.update()?, String::new())))?;
    Ok(apt)
}

/// Downloads packages of `size` bytes in all and says how far it is.
fn download(
    paths: &Paths,
    apt: &Apt,
    packages: &[String],
    name: &str,
    size: u64,
) -> Result<PathBuf> {
    let target = folder(paths)?.join(format!("{name}.debs"));
    // What an earlier attempt left may be of another version, or cut short.
    remove_folder(&target)?;
    make_folder(&target)?;
    let what =
        if packages.len() == 1 { packages[0].clone() } else { format!("{name} and libraries") };
    ui::step(&format!("downloading {what} ({})", ui::bytes(size)), |step| {
        thread::scope(|scope| {
            let download = scope.spawn(|| apt.download(packages, &target));
            while !download.is_finished() {
                let here: u64 = files(&target)
                    .unwrap_or_default()
                    .iter()
                    .filter_map(|file| fs::metadata(file).ok())
                    .map(|metadata| metadata.len())
                    .sum();
                step.detail(&format!("{} of {}", ui::bytes(here), ui::bytes(size)));
                thread::sleep(Duration::from_millis(200));
            }
            download.join().map_err(|_| anyhow::anyhow!("the download panicked"))?
        })?;
        Ok((target.clone(), String::new()))
    })
}

/// Removes the debug information of kernels that were here before this one.
fn forget_older(paths: &Paths, current: &Path) -> Result<()> {
    for entry in fs::read_dir(folder(paths)?).context("cannot read .cache")? {
        let path = entry.context("cannot read .cache")?.path();
        let is_debug =
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(DEBUG));
        if is_debug && path != current {
            remove_folder(&path)?;
        }
    }
    Ok(())
}

/// The files in a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

/// An empty folder to unpack into.
fn fresh(paths: &Paths, name: &str) -> Result<PathBuf> {
    let fresh = folder(paths)?.join(format!("{name}.new"));
    remove_folder(&fresh)?;
    make_folder(&fresh)?;
    Ok(fresh)
}

/// Moves what was unpacked into place, before what may be there.
fn place(fresh: &Path, root: &Path) -> Result<()> {
    if root.exists() {
        // Somebody may be reading it: it goes only once its place is taken.
        let old = root.with_file_name("old");
        remove_folder(&old)?;
        fs::rename(root, &old).with_context(|| format!("cannot move {}", root.display()))?;
        fs::rename(fresh, root).with_context(|| format!("cannot move to {}", root.display()))?;
        return remove_folder(&old);
    }
    fs::rename(fresh, root).with_context(|| format!("cannot move to {}", root.display()))
}

/// Unpacks `wanted` of a package; nothing else of it is ever on the disk.
fn extract(package: &Path, target: &Path, wanted: &[String]) -> Result<()> {
    let mut reader = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("`dpkg-deb` cannot be run: only Debian and its kin have it")?;
    let stream = reader.stdout.take().context("dpkg-deb has no output")?;
    let mut tar = Command::new("tar");
    tar.arg("-x").arg("-C").arg(target).args(wanted).stdin(stream);
    let unpacked = shell::output(&mut tar);
    let status = reader.wait().context("cannot wait for dpkg-deb")?;
    unpacked.with_context(|| match status.success() {
        true => format!("{} does not hold what it should", package.display()),
        false => format!("{} is damaged, or there is no room: try again", package.display()),
    })?;
    if !status.success() {
        bail!("{} is damaged: try again", package.display());
    }
    Ok(())
}

/// Fails unless both files are the same build of the kernel.
fn same_kernel(vmlinux: &Path, image: &Path) -> Result<()> {
    let banner = |file: &Path| -> Result<Vec<u8>> {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        find_banner(&bytes).with_context(|| format!("{} is no kernel", file.display()))
    };
    let (ours, theirs) = (banner(image)?, banner(vmlinux)?);
    if ours != theirs {
        bail!(
            "the debug information is of another build of the kernel ({}, not {}): \
             `cargo xtask setup --refresh` gets the newest",
            String::from_utf8_lossy(&theirs),
            String::from_utf8_lossy(&ours)
        );
    }
    Ok(())
}

/// What a kernel says of itself, up to the end of the text.
fn find_banner(bytes: &[u8]) -> Option<Vec<u8>> {
    // Code and the format of the banner may hold its beginning, too; then a digit does not follow.
    let mut rest = bytes;
    loop {
        let at = rest.windows(BANNER.len()).position(|window| window == BANNER)?;
        rest = &rest[at + BANNER.len()..];
        if rest.first().is_some_and(u8::is_ascii_digit) {
            let end = rest.iter().position(|byte| matches!(byte, 0 | b'\n'))?;
            return Some(rest[..end].to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    //! Names, banners, and archives made here.

    use super::{find_banner, version};

    #[test]
    fn reads_versions_out_of_file_names() {
        assert_eq!(version("crun_1.8.1-1+deb12u1_arm64", "crun").unwrap(), "1.8.1-1+deb12u1");
        assert!(version("crun-wasm_1_arm64", "crun").is_none());
        assert!(version("libc6_2.36_arm64", "crun").is_none());
    }

    #[test]
    fn finds_what_a_kernel_says_of_itself() {
        let bytes = b"\x01Linux version %s\0Linux version 6.12.1 (gcc) #1\n\0rest";
        assert_eq!(find_banner(bytes).unwrap(), b"6.12.1 (gcc) #1");
        assert!(find_banner(b"Linux version %s\0").is_none());
        assert!(find_banner(b"").is_none());
    }
}

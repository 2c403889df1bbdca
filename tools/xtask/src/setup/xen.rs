//! Xen, as a peer to be measured: Debian's hypervisor, its debug information, and the tools for dom0.
//!
//! Decides the version (the newest whose source the mirror has, too: a security update's is not always
//! there), and what of it is started: Debian's own binary where a build from its source is the same
//! byte for byte, so that the debug information of the one is the other's; else, the build itself.
//! Nothing of it is installed.
//!
//! Invariants: the folder is complete or absent (it is renamed into place), and holds no path of this
//! machine.
//!
//! Trusted: Debian's packages and sources, through apt and its signatures.

mod same;
mod source;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::apt::Apt;
use super::packages::on_demand;
use crate::paths::{Paths, make_folder, remove_folder};
use crate::shell;
use crate::ui;

/// The hypervisor's package, in Debian 12 like the kernel of dom0.
const HYPERVISOR: &str = "xen-hypervisor-4.17-arm64";
/// Its name in that package, and below it its configuration.
const IMAGE: &str = "boot/xen-4.17-arm64";
/// The source package of all of Xen's packages.
const SOURCE: &str = "xen";
/// What is unpacked for dom0, of the same version.
const TOOLS: [&str; 11] = [
    "xen-utils-4.17",
    "libxenmisc4.17",
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxenhypfs1",
    "libxenstore4",
    "libxentoolcore1",
    "libxentoollog1",
];
/// What these need of the rest of Debian.
const LIBRARIES: [&str; 6] = ["libc6", "libgcc-s1", "libfdt1", "libuuid1", "libyajl2", "zlib1g"];

/// What is in the folder.
const VERSION: &str = "version";
const SYMBOLS: &str = "xen-syms";
const STARTED: &str = "xen";
const DIFFERENCE: &str = "difference";
const DOM0: &str = "dom0";

/// Xen, unpacked and built.
#[derive(Clone, Debug)]
pub struct Xen {
    root: PathBuf,
    /// Debian's version.
    pub version: String,
    /// Where the build from source differs from Debian's binary, which is then not what is started.
    pub difference: Option<String>,
}

impl Xen {
    /// What a bootloader starts.
    pub fn image(&self) -> PathBuf {
        self.root.join(STARTED)
    }

    /// The linked hypervisor with debug information.
    pub fn symbols(&self) -> PathBuf {
        self.root.join(SYMBOLS)
    }

    /// The files that dom0 needs: where they are there, without the leading `/`, and here.
    pub fn dom0(&self) -> Result<Vec<(String, PathBuf)>> {
        tools::placed(&self.root.join(DOM0))
    }

    /// What is below `root`, if all of it is there.
    fn open(root: &Path) -> Option<Xen> {
        let read = |name: &str| fs::read_to_string(root.join(name)).ok();
        let version = read(VERSION)?.trim().to_owned();
        let difference = read(DIFFERENCE).map(|text| text.trim().to_owned());
        let xen = Xen { root: root.to_owned(), version, difference };
        let whole = xen.image().is_file() && xen.symbols().is_file();
        (whole && tools::complete(&root.join(DOM0))).then_some(xen)
    }
}

fn root(paths: &Paths) -> PathBuf {
    paths.cache.join("peers/xen")
}

/// Whether Xen was ever asked for.
pub fn is_there(paths: &Paths) -> bool {
    root(paths).is_dir()
}

/// Downloads, unpacks and builds Xen, unless it is there.
pub fn ensure(paths: &Paths, refresh: bool) -> Result<Xen> {
    let root = root(paths);
    let present = Xen::open(&root);
    if let Some(present) = &present
        && !refresh
    {
        return Ok(present.clone());
    }
    on_demand(
        paths,
        &["dpkg-dev"],
        "to unpack Xen's source",
        "do without Xen: the others are measured",
    )?;
    let apt = lists(paths)?;
    let work = paths.cache.join("peers/xen.new");
    remove_folder(&work)?;
    let downloads = work.join("source-package");
    make_folder(&downloads)?;
    let version = newest_with_source(&apt, &downloads)?;
    if let Some(present) = present
        && present.version == version
    {
        println!("  ok Xen is the newest: {version}");
        remove_folder(&work)?;
        apt.forget()?;
        return Ok(present);
    }
    let fresh = work.join("fresh");
    make_folder(&fresh)?;
    let packages = work.join("packages");
    unpack(&apt, &version, &work.join("debs"), &packages)?;
    ui::step("unpacking Xen's tools for dom0", |_| {
        tools::collect(&packages, &fresh.join(DOM0))?;
        Ok(((), String::new()))
    })?;
    ui::step("building Xen with debug information", |_| {
        let same = hypervisor(paths, &packages, &downloads, &work.join("source"), &fresh)?;
        let said = if same { "the same as Debian's" } else { "NOT the same as Debian's" };
        Ok(((), said.into()))
    })?;
    // Last, so that nothing half done looks whole.
    fs::write(fresh.join(VERSION), format!("{version}\n")).context("cannot write to .cache")?;
    remove_folder(&root)?;
    fs::rename(&fresh, &root).context("cannot move Xen into place")?;
    remove_folder(&work)?;
    apt.forget()?;
    Xen::open(&root).context("Debian's packages of Xen do not hold what they should")
}

/// Fetches the lists of Debian 12's packages and sources.
fn lists(paths: &Paths) -> Result<Apt> {
    let apt = Apt::of_machines(paths, "xen")?.foreign(&["arm64"]).with_sources()?;
    ui::step("fetching the lists of Xen's packages", |_| Ok((apt.update()?, String::new())))?;
    Ok(apt)
}

/// Downloads the newest source that is to be had of a hypervisor, and returns its version.
fn newest_with_source(apt: &Apt, downloads: &Path) -> Result<String> {
    let versions = apt.versions(HYPERVISOR)?;
    ui::step("downloading the source of Xen", |_| {
        let mut failure = None;
        for version in &versions {
            match apt.source(SOURCE, version, downloads) {
                Ok(()) => {
                    let said = match &failure {
                        Some(_) => {
                            format!("{version}, as the mirror lacks that of {}", versions[0])
                        }
                        None => version.clone(),
                    };
                    return Ok((version.clone(), said));
                }
                Err(error) => {
                    failure = failure.or(Some(error));
                    // Part of it may be there.
                    remove_folder(downloads)?;
                    make_folder(downloads)?;
                }
            }
        }
        let error = failure.context("there is no version of Xen")?;
        Err(error.context(format!(
            "the Debian mirror of this machine has no source of `{HYPERVISOR}`, from which its debug \
             information is made: name a mirror with sources in /etc/apt, or try again later"
        )))
    })
}

/// Downloads Debian's packages and unpacks them to `root`.
fn unpack(apt: &Apt, version: &str, downloads: &Path, root: &Path) -> Result<()> {
    make_folder(downloads)?;
    make_folder(root)?;
    let own = [HYPERVISOR].into_iter().chain(TOOLS);
    let own = own.map(|package| format!("{package}={version}"));
    let packages: Vec<_> = own.chain(LIBRARIES.map(str::to_owned)).collect();
    ui::step("downloading Xen", |_| Ok((apt.download(&packages, downloads)?, version.to_owned())))?;
    for entry in fs::read_dir(downloads).context("cannot read the downloads")? {
        let package = entry.context("cannot read the downloads")?.path();
        shell::output(Command::new("dpkg").arg("-x").arg(&package).arg(root))
            .with_context(|| format!("cannot unpack {}", package.display()))?;
    }
    Ok(())
}

/// Builds the hypervisor and puts into `to` what is started and what describes it; says whether it is
/// the same as Debian's.
fn hypervisor(
    paths: &Paths,
    packages: &Path,
    downloads: &Path,
    folder: &Path,
    to: &Path,
) -> Result<bool> {
    let config = format!("{IMAGE}.config");
    let debian = fs::read(packages.join(IMAGE))
        .with_context(|| format!("Debian's package {HYPERVISOR} has no {IMAGE}"))?;
    let config = fs::read_to_string(packages.join(&config))
        .with_context(|| format!("Debian's package {HYPERVISOR} has no {config}"))?;
    source::unpack(downloads, folder)?;
    let built = source::build(folder, &debian, &config, &paths.logs().join("build-xen.log"))?;
    let symbols = fs::read(&built.symbols).context("the build of Xen left no xen-syms")?;
    let image = fs::read(&built.image).context("the build of Xen left no image")?;
    let difference = same::difference(&debian, &image, &same::build_id(&symbols)?);
    let started = if difference.is_none() { &debian } else { &image };
    let write = |name: &str, bytes: &[u8]| {
        fs::write(to.join(name), bytes).with_context(|| format!("cannot write {name} to .cache"))
    };
    write(SYMBOLS, &symbols)?;
    write(STARTED, started)?;
    if let Some(difference) = &difference {
        write(DIFFERENCE, difference.as_bytes())?;
    }
    Ok(difference.is_none())
}

#[cfg(test)]
mod tests {
    //! A folder that is whole, and one that is not.

    use std::fs;

    use super::{DIFFERENCE, STARTED, SYMBOLS, VERSION, Xen, tools};

    #[test]
    fn is_there_only_when_it_is_whole() {
        let root = std::env::temp_dir().join(format!("redoubt-peer-xen-{}", std::process::id()));
        for name in tools::PROGRAMS {
            let folder = root.join("dom0/bin");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), "").unwrap();
        }
        fs::create_dir_all(root.join("dom0/lib")).unwrap();
        for name in [SYMBOLS, STARTED] {
            assert!(Xen::open(&root).is_none());
            fs::write(root.join(name), "").unwrap();
        }
        assert!(Xen::open(&root).is_none());
        fs::write(root.join(VERSION), "4.17.5-1\n").unwrap();
        let xen = Xen::open(&root).unwrap();
        assert_eq!((xen.version.as_str(), xen.difference), ("4.17.5-1", None));
        fs::write(root.join(DIFFERENCE), "3 bytes\n").unwrap();
        assert_eq!(Xen::open(&root).unwrap().difference.as_deref(), Some("3 bytes"));
        fs::remove_dir_all(root).unwrap();
    }
}

//! Builds the hypervisor from Debian's source, with debug information.
//!
//! Debian's packages have the hypervisor's symbols, but not its lines. So the very same source is
//! compiled again, with the configuration that Debian ships beside its binary, the same compiler and
//! `-g`, which changes no machine code. What Debian's build says of itself (compiler, date,
//! maintainer) is put in, so that no string has another length than in Debian's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail};

use crate::paths::make_folder;
use crate::shell;

/// The compiler of Debian 12, used where it is there.
const COMPILER: &str = "aarch64-linux-gnu-gcc-12";
/// What stands in for it.
const OTHER_COMPILER: &str = "aarch64-linux-gnu-gcc";
/// How Debian's compiler calls itself in the hypervisor.
const COMPILER_SAYS: &[u8] = b"aarch64-linux-gnu-gcc (";

/// What was built, in the folder of the source.
#[derive(Debug)]
pub struct Built {
    /// The linked hypervisor, with debug information.
    pub symbols: PathBuf,
    /// What is started.
    pub image: PathBuf,
}

/// Unpacks the source package of which `downloads` holds the files, to `folder`.
pub fn unpack(downloads: &Path, folder: &Path) -> Result<()> {
    let entries = fs::read_dir(downloads).context("cannot read the downloads")?.flatten();
    let description = entries
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "dsc"))
        .context("apt downloaded no description of the source package")?;
    // Apt has checked the files against its signed lists.
    let mut command = Command::new("dpkg-source");
    command.args(["--no-check", "-x"]).arg(&description).arg(folder);
    shell::output(&mut command).context("the source of Xen cannot be unpacked")?;
    Ok(())
}

/// Builds the hypervisor in `source` as Debian built `image`, with the configuration `config`.
pub fn build(source: &Path, image: &[u8], config: &str, log: &Path) -> Result<Built> {
    // The compiler names what it reads by where that really is, which it is then told to forget.
    let source = &source.canonicalize().context("the source of Xen is not there")?;
    let xen = source.join("xen");
    identify(source, image)?;
    configure(&xen, config)?;
    let compiler = if shell::succeeds(Command::new(COMPILER).arg("--version")) {
        COMPILER
    } else {
        OTHER_COMPILER
    };
    let place = source.display();
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let mut make = Command::new("make");
    make.arg(format!("-j{jobs}")).arg("-C").arg(&xen).args([
        "XEN_TARGET_ARCH=arm64",
        "CROSS_COMPILE=aarch64-linux-gnu-",
        "LD=aarch64-linux-gnu-ld",
        "WGET=false",
        "GIT=false",
    ]);
    make.arg(format!("CC={compiler}"));
    // As Debian's rules have it, but for `-g`.
    let prefix = format!("-ffile-prefix-map={place}=. -fdebug-prefix-map={place}=.");
    make.arg(format!("EXTRA_CFLAGS_XEN_CORE={prefix} -g"));
    for variable in ["MAKEFLAGS", "CFLAGS", "CPPFLAGS", "LDFLAGS"] {
        make.env_remove(variable);
    }
    shell::logged(&mut make, log).context("the hypervisor Xen cannot be built from its source")?;
    Ok(Built { symbols: xen.join("xen-syms"), image: xen.join("xen") })
}

/// Writes into the source what Debian's build says of itself.
fn identify(source: &Path, image: &[u8]) -> Result<()> {
    let read = |name: &str| {
        fs::read_to_string(source.join(name)).with_context(|| format!("Xen's source has no {name}"))
    };
    let changes = read("debian/changelog")?;
    let date = date(&changes)?;
    let as_date = |format: &[&str]| -> Result<String> {
        let mut command = Command::new("date");
        command.env("LC_ALL", "C").args(["-u", "-d", date]).args(format);
        Ok(shell::output(&mut command)?.trim().to_owned())
    };
    let (local, domain) = maintainer(&read("debian/control")?)?;
    let values = [
        ("date", as_date(&[])?),
        ("time", as_date(&["+%T"])?),
        ("system_distribution", "Debian".into()),
        ("system_maintainer_local", local),
        ("system_maintainer_domain", domain),
        ("system_version", version(&changes)?),
        ("compiler", compiler(image)?),
        ("changeset", String::new()),
    ];
    let name = "xen/include/xen/compile.h.in";
    let text = filled(&read(name)?, &values)?;
    fs::write(source.join(name), text).context("cannot write to Xen's source")
}

/// Puts values in for their names.
fn filled(template: &str, values: &[(&str, String)]) -> Result<String> {
    let mut text = template.to_owned();
    for (name, value) in values {
        let place = format!("@@{name}@@");
        if !text.contains(&place) {
            bail!("the build of Xen does not say its {name}: its source has changed");
        }
        text = text.replace(&place, value);
    }
    Ok(text)
}

/// Gives the build the configuration that Debian's own ended with, in the three forms that it reads.
/// They are newer than the plain one, so no configuration program is built and run.
fn configure(xen: &Path, config: &str) -> Result<()> {
    let write = |name: &str, text: &str| {
        let file = xen.join(name);
        if let Some(folder) = file.parent() {
            make_folder(folder)?;
        }
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    };
    write(".config", config)?;
    write("include/generated/autoconf.h", &header(config))?;
    write("include/config/auto.conf.cmd", "")?;
    write("include/config/auto.conf", config)
}

/// The configuration as a C header.
fn header(config: &str) -> String {
    let settings = config.lines().filter(|line| line.starts_with("CONFIG_"));
    let settings = settings.filter_map(|line| line.split_once('='));
    settings
        .map(|(name, value)| match value {
            "y" => format!("#define {name} 1\n"),
            _ => format!("#define {name} {value}\n"),
        })
        .collect()
}

/// The date of the newest entry of a changelog.
fn date(changes: &str) -> Result<&str> {
    let line = changes.lines().find(|line| line.starts_with(" -- "));
    let date = line.and_then(|line| line.rsplit_once(">  "));
    Ok(date.context("the newest entry of Xen's debian/changelog has no date")?.1)
}

/// The version of the newest entry.
fn version(changes: &str) -> Result<String> {
    let version = changes.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    Ok(version.context("Xen's debian/changelog names no version")?.0.to_owned())
}

/// The two halves of the maintainer's address.
fn maintainer(control: &str) -> Result<(String, String)> {
    let line = control.lines().find_map(|line| line.strip_prefix("Maintainer: "));
    let address = line.and_then(|line| line.split_once('<')?.1.split_once('>'));
    let halves = address.and_then(|(address, _)| address.split_once('@'));
    let (local, domain) = halves.context("Xen's debian/control names no maintainer")?;
    Ok((local.to_owned(), domain.to_owned()))
}

/// How the compiler of a hypervisor called itself.
fn compiler(image: &[u8]) -> Result<String> {
    let start = image.windows(COMPILER_SAYS.len()).position(|bytes| bytes == COMPILER_SAYS);
    let rest = &image[start.context("Debian's Xen does not say what it was compiled with")?..];
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    //! What Debian's files and binaries say.

    use super::{compiler, date, filled, header, maintainer, version};

    const CHANGES: &str = "xen (4.17.5+72-g0-1) bookworm-security; urgency=medium\n\n  * x (y)\n\n \
                           -- A B <a@b.c>  Sat, 29 Nov 2025 14:52:25 +0100\n\nxen (4.16-1) x\n";

    #[test]
    fn reads_the_changelog() {
        assert_eq!(date(CHANGES).unwrap(), "Sat, 29 Nov 2025 14:52:25 +0100");
        assert_eq!(version(CHANGES).unwrap(), "4.17.5+72-g0-1");
        assert!(date("xen (1) x\n").is_err() && version("").is_err());
    }

    #[test]
    fn reads_maintainer_and_compiler() {
        let control = "Source: xen\nMaintainer: Team <team@lists.example>\nUploaders: X <x@y>\n";
        let (local, domain) = maintainer(control).unwrap();
        assert_eq!((local.as_str(), domain.as_str()), ("team", "lists.example"));
        assert!(maintainer("Source: xen\n").is_err());
        let image = b"\0aarch64-linux-gnu-gcc (Debian 12) 12.2.0\0rest";
        assert_eq!(compiler(image).unwrap(), "aarch64-linux-gnu-gcc (Debian 12) 12.2.0");
        assert!(compiler(b"clang").is_err());
    }

    #[test]
    fn writes_the_configuration_as_a_header() {
        let config = "# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=\"x\"\nCONFIG_D=128\n";
        let expected = "#define CONFIG_B 1\n#define CONFIG_C \"x\"\n#define CONFIG_D 128\n";
        assert_eq!(header(config), expected);
    }

    #[test]
    fn every_value_has_its_place() {
        let values = [("date", "today".to_owned())];
        assert_eq!(filled("D \"@@date@@\"", &values).unwrap(), "D \"today\"");
        let error = filled("D", &values).unwrap_err().to_string();
        assert!(error.contains("date"), "{error}");
    }
}

//! Uses apt with lists of its own.
//!
//! Decides where packages come from: the mirror that the machine's own sources name, with the
//! suites that are needed, in lists kept below `.cache/`. So third-party sources are not asked, a
//! foreign architecture need not be added to the system, and the system's sources stay as they are.

mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::release::Release;
use crate::paths::{Paths, make_folder};
use crate::shell;

/// One line of a list of sources: an address and what is taken from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Source {
    uri: String,
    suites: Vec<String>,
    signed_by: Option<String>,
}

/// Where Debian's packages come from on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    main: Source,
    security: Option<Source>,
}

impl Mirror {
    /// Finds the mirror in the machine's own sources.
    pub fn find(codename: &str) -> Result<Mirror> {
        let mut sources = Vec::new();
        let folder = Path::new("/etc/apt");
        let mut files = vec![folder.join("sources.list")];
        if let Ok(entries) = fs::read_dir(folder.join("sources.list.d")) {
            files.extend(entries.flatten().map(|entry| entry.path()));
        }
        files.sort();
        for file in files {
            let Ok(text) = fs::read_to_string(&file) else {
                continue;
            };
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("sources") => sources.extend(parse_paragraphs(&text)),
                Some("list") => sources.extend(parse_lines(&text)),
                _ => {}
            }
        }
        Mirror::choose(&sources, codename)
    }

    fn choose(sources: &[Source], codename: &str) -> Result<Mirror> {
        let with =
            |suite: String| sources.iter().find(|source| source.suites.contains(&suite)).cloned();
        let Some(main) = with(codename.to_owned()) else {
            bail!("no source in /etc/apt names the suite `{codename}`: add Debian's mirror there");
        };
        Ok(Mirror { main, security: with(format!("{codename}-security")) })
    }

    /// The lines of a list with `suites` of the main archive and `security` suites.
    fn lines(&self, suites: &[&str], security: &[&str]) -> String {
        let mut text = String::new();
        let from_main = suites.iter().map(|suite| (&self.main, suite));
        let from_security =
            security.iter().filter_map(|suite| Some((self.security.as_ref()?, suite)));
        for (source, suite) in from_main.chain(from_security) {
            let options = match &source.signed_by {
                Some(key) => format!("[signed-by={key}] "),
                None => String::new(),
            };
            text.push_str(&format!("deb {options}{} {suite} main\n", source.uri));
        }
        text
    }
}

/// Reads sources in their form of one paragraph each.
fn parse_paragraphs(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for paragraph in text.split("\n\n") {
        let lines = || paragraph.lines().filter(|line| !line.starts_with('#'));
        let field = |name: &str| {
            lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let words = |name: &str| -> Vec<String> {
            field(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        };
        let disabled = field("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
        if disabled || !words("Types").iter().any(|word| word == "deb") {
            continue;
        }
        let signed_by = field("Signed-By").filter(|value| value.starts_with('/'));
        if let Some(uri) = words("URIs").into_iter().next() {
            sources.push(Source { uri, suites: words("Suites"), signed_by });
        }
    }
    sources
}

/// Reads sources in their form of one line each.
fn parse_lines(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix("deb ") else {
            continue;
        };
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let signed_by = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by=").map(str::to_owned));
        let mut words = rest.split_whitespace();
        if let (Some(uri), Some(suite)) = (words.next(), words.next()) {
            sources.push(Source { uri: uri.into(), suites: vec![suite.into()], signed_by });
        }
    }
    sources
}

/// Apt with its own sources and lists.
#[derive(Clone, Debug)]
pub struct Apt {
    folder: PathBuf,
    options: Vec<String>,
    log: PathBuf,
}

impl Apt {
    /// Prepares lists of what machines run, called `name`: Debian 12's packages on every machine, so that
    /// everyone runs the same.
    pub fn of_machines(paths: &Paths, name: &str) -> Result<Apt> {
        let suite = Release::Bookworm.codename();
        let mirror = Mirror::find(Release::find()?.codename())?;
        Apt::new(
            &paths.cache.join(format!("apt-{name}")),
            &paths.logs().join(format!("setup-{name}.log")),
            &mirror,
            &[suite],
            &[&format!("{suite}-security")],
        )
    }

    /// Prepares lists below `folder` with the given suites; what apt says goes to `log`.
    pub fn new(
        folder: &Path,
        log: &Path,
        mirror: &Mirror,
        suites: &[&str],
        security: &[&str],
    ) -> Result<Apt> {
        make_folder(&folder.join("lists/partial"))?;
        make_folder(&folder.join("cache/archives/partial"))?;
        let list = folder.join("sources.list");
        fs::write(&list, mirror.lines(suites, security))
            .with_context(|| format!("cannot write {}", list.display()))?;
        let options = [
            ("Dir::Etc::SourceList", list.display().to_string()),
            ("Dir::Etc::SourceParts", "/dev/null".into()),
            ("Dir::State::Lists", folder.join("lists").display().to_string()),
            ("Dir::Cache", folder.join("cache").display().to_string()),
            // Apt's own user cannot read below a home folder.
            ("APT::Sandbox::User", "root".into()),
            // A mirror that cannot be reached is an error, not a warning.
            ("APT::Update::Error-Mode", "any".into()),
        ];
        let options = options.iter().map(|(name, value)| format!("-o{name}={value}")).collect();
        Ok(Apt { folder: folder.into(), options, log: log.into() })
    }

    /// Makes apt see packages for these architectures, and none of them as installed.
    pub fn foreign(mut self, architectures: &[&str]) -> Apt {
        self.options.push(format!("-oAPT::Architecture={}", architectures[0]));
        for architecture in architectures {
            self.options.push(format!("-oAPT::Architectures::={architecture}"));
        }
        self.options.push("-oDir::State::Status=/dev/null".into());
        self
    }

    /// Fetches the lists.
    pub fn update(&self) -> Result<()> {
        let mut command = self.command("apt-get", &["update"]);
        shell::logged(&mut command, &self.log).context(
            "the Debian mirror of this machine cannot be reached: check the network, \
             and the sources in /etc/apt",
        )
    }

    /// Installs packages, from `suite` where one is named.
    pub fn install(&self, packages: &[&str], suite: Option<&str>) -> Result<()> {
        let mut arguments = vec!["-y", "--no-install-recommends"];
        if let Some(suite) = suite {
            arguments.extend(["-t", suite]);
        }
        arguments.push("install");
        arguments.extend(packages);
        let mut command = self.command("apt-get", &arguments);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        shell::logged(&mut command, &self.log)
            .with_context(|| format!("cannot install {}", packages.join(" ")))
    }

    /// Downloads packages into `folder`.
    pub fn download(&self, packages: &[String], folder: &Path) -> Result<()> {
        let mut command = self.command("apt-get", &["download"]);
        command.args(packages).current_dir(folder);
        shell::logged(&mut command, &self.log)
            .with_context(|| format!("cannot download {}", packages.join(" ")))
    }

    /// The dependencies of the newest version of `package`, as its own words.
    pub fn depends(&self, package: &str) -> Result<String> {
        let mut command = self.command("apt-cache", &["show", "--no-all-versions", package]);
        let text = shell::output(&mut command)
            .with_context(|| format!("the mirror has no package `{package}`"))?;
        let field = text.lines().find_map(|line| line.strip_prefix("Depends: "));
        Ok(field.with_context(|| format!("`{package}` depends on nothing"))?.to_owned())
    }

    /// Bytes of the newest version of `package`, as it is downloaded.
    pub fn size(&self, package: &str) -> Result<u64> {
        let mut command = self.command("apt-cache", &["show", "--no-all-versions", package]);
        let text = shell::output(&mut command)
            .with_context(|| format!("the mirror has no package `{package}`"))?;
        let field = text.lines().find_map(|line| line.strip_prefix("Size: "));
        field
            .and_then(|size| size.trim().parse().ok())
            .with_context(|| format!("the mirror does not say how large `{package}` is"))
    }

    /// `package` and all that it needs, on a system where nothing is installed.
    pub fn closure(&self, package: &str) -> Result<Vec<String>> {
        let arguments = ["--no-install-recommends", "--simulate", "install", package];
        let text = shell::output(&mut self.command("apt-get", &arguments))
            .with_context(|| format!("the mirror has not all that `{package}` needs"))?;
        Ok(installed(&text))
    }

    /// Removes the lists and whatever was downloaded.
    pub fn forget(self) -> Result<()> {
        crate::paths::remove_folder(&self.folder)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options).args(arguments);
        command
    }
}

/// The packages that a simulation of apt would install.
fn installed(simulation: &str) -> Vec<String> {
    let lines = simulation.lines().filter_map(|line| line.strip_prefix("Inst "));
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;

//! Source packages, and versions beside the newest.
//!
//! Decides how apt is asked for them: each list of packages gets one of sources by its side, from
//! the same mirror and under the same key. Apt checks what it downloads against these lists.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Apt;
use crate::shell;

impl Apt {
    /// Makes apt see source packages, too.
    pub fn with_sources(self) -> Result<Apt> {
        let list = self.folder.join("sources.list");
        let text =
            fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        fs::write(&list, both(&text))
            .with_context(|| format!("cannot write {}", list.display()))?;
        Ok(self)
    }

    /// All versions of `package` that the mirror has, the newest first.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        let mut command = self.command("apt-cache", &["show", package]);
        let text = shell::output(&mut command)
            .with_context(|| format!("the mirror has no package `{package}`"))?;
        let versions = versions(&text);
        if versions.is_empty() {
            bail!("the mirror names no version of the package `{package}`");
        }
        Ok(versions)
    }

    /// Downloads the files of a source package into `folder`, without unpacking them.
    pub fn source(&self, package: &str, version: &str, folder: &Path) -> Result<()> {
        let mut command = self.command("apt-get", &["source", "--download-only"]);
        command.arg(format!("{package}={version}")).current_dir(folder);
        shell::logged(&mut command, &self.log)
            .with_context(|| format!("cannot download the source of {package} {version}"))
    }
}

/// A list of packages, with one of sources behind it.
fn both(list: &str) -> String {
    let packages = list.lines().filter_map(|line| line.strip_prefix("deb "));
    let sources: String = packages.map(|rest| format!("deb-src {rest}\n")).collect();
    format!("{list}{sources}")
}

/// The versions in what `apt-cache show` prints, in its order: the newest first.
fn versions(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix("Version: ")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    //! What apt reads and prints.

    use super::{both, versions};

    #[test]
    fn a_list_of_sources_is_beside_each_of_packages() {
        let list = "deb [signed-by=/k] http://m/debian stable main\n";
        let with = "deb-src [signed-by=/k] http://m/debian stable main\n";
        assert_eq!(both(list), format!("{list}{with}"));
        assert_eq!(both(""), "");
    }

    #[test]
    fn reads_versions_in_their_order() {
        let text =
            "Package: xen\nVersion: 4.17.7-1\nDepends: x\n\nPackage: xen\nVersion: 4.17.5-1\n";
        assert_eq!(versions(text), ["4.17.7-1", "4.17.5-1"]);
        assert!(versions("N: nothing\n").is_empty());
    }
}

//! Builds the TCG plugin that records, and says whether QEMU takes it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use redoubt_qemu::Qemu;
use serde_json::Value;

use crate::paths::Paths;
use crate::shell;
use crate::ui;

/// The package of the plugin.
const PACKAGE: &str = "redoubt-profile-plugin";

/// Builds the plugin for this machine; fails where QEMU was built without plugins.
pub fn build(paths: &Paths, qemu: &Qemu) -> Result<PathBuf> {
    qemu.require_plugins()?;
    ui::step(PACKAGE, |_| {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&paths.root).args(["build", "--release", "--package", PACKAGE]);
        cargo.arg("--message-format=json-render-diagnostics");
        let messages = shell::output(&mut cargo)?;
        let plugin = library(&messages).context("cargo built no plugin")?;
        Ok((plugin, "a plugin of QEMU".into()))
    })
}

/// The shared library that cargo's messages name.
fn library(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut libraries = messages
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter(|message| message["target"]["kind"][0] == "cdylib");
    libraries.find_map(|message| message["filenames"][0].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    //! Cargo's messages.

    use super::library;
    use std::path::PathBuf;

    #[test]
    fn finds_the_library_among_others() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"target\":{\"kind\":[\"lib\"]},",
            "\"filenames\":[\"/t/libx.rlib\"]}\n",
            "{\"reason\":\"compiler-artifact\",\"target\":{\"kind\":[\"cdylib\"]},",
            "\"filenames\":[\"/t/libp.so\"]}\nno json\n"
        );
        assert_eq!(library(messages), Some(PathBuf::from("/t/libp.so")));
        assert_eq!(library("{\"reason\":\"build-finished\"}\n"), None);
    }
}

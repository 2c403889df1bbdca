//! The crates that are compiled into the image besides our own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::paths::Paths;
use crate::road::BARE;
use crate::shell;

/// A crate of someone else's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where its source is.
    pub folder: PathBuf,
}

/// The dependencies of the image, direct and indirect.
pub fn of_image(paths: &Paths) -> Result<Vec<Dependency>> {
    let mut command = Command::new("cargo");
    command.current_dir(&paths.root);
    command.args(["metadata", "--format-version=1", "--filter-platform", BARE]);
    let text = shell::output(&mut command).context("cargo cannot read the workspace")?;
    let metadata = serde_json::from_str(&text).context("cargo's metadata is no JSON")?;
    reachable(&metadata, "redoubt-el2")
}

/// The crates outside the workspace that `from` is linked with.
fn reachable(metadata: &Value, from: &str) -> Result<Vec<Dependency>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<_, _> = list(&metadata["packages"])
        .into_iter()
        .map(|package| (text(&package["id"]), package))
        .collect();
    let nodes: BTreeMap<_, _> = list(&metadata["resolve"]["nodes"])
        .into_iter()
        .map(|node| (text(&node["id"]), node))
        .collect();
    let ours: BTreeSet<_> = list(&metadata["workspace_members"]).iter().map(text).collect();
    let start = ours.iter().find(|id| packages.get(*id).is_some_and(|p| p["name"] == from));
    let mut open = vec![start.with_context(|| format!("no crate `{from}` here"))?.clone()];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        for edge in nodes.get(&id).map(|node| list(&node["deps"])).unwrap_or_default() {
            // Kind null is a dependency of the program; others are of build scripts and tests.
            if list(&edge["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()) {
                open.push(text(&edge["pkg"]));
            }
        }
    }
    let mut found: Vec<_> = seen
        .iter()
        .filter(|id| !ours.contains(*id))
        .filter_map(|id| packages.get(id))
        .map(|package| {
            let manifest = PathBuf::from(text(&package["manifest_path"]));
            let folder = manifest.parent().map(PathBuf::from).unwrap_or_default();
            Dependency { name: text(&package["name"]), version: text(&package["version"]), folder }
        })
        .collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    //! A small workspace.

    use super::reachable;
    use serde_json::json;

    #[test]
    fn follows_normal_dependencies_only() {
        let dep = |to: &str, kind: Option<&str>| json!({"pkg": to, "dep_kinds": [{"kind": kind}]});
        let package = |id: &str| json!({"id": id, "name": id, "version": "1", "manifest_path": format!("/{id}/Cargo.toml")});
        let packages = ["el2", "core", "far", "tool", "deep"].map(package);
        let metadata = json!({
            "packages": packages,
            "workspace_members": ["el2", "core"],
            "resolve": {"nodes": [
                {"id": "el2", "deps": [dep("core", None), dep("tool", Some("build"))]},
                {"id": "core", "deps": [dep("far", None), dep("tool", Some("dev"))]},
                {"id": "far", "deps": [dep("deep", None)]},
                {"id": "deep", "deps": []},
                {"id": "tool", "deps": []},
            ]},
        });
        let found = reachable(&metadata, "el2").unwrap();
        let names: Vec<_> = found.iter().map(|dependency| dependency.name.as_str()).collect();
        assert_eq!(names, ["deep", "far"]);
        assert!(reachable(&metadata, "absent").is_err());
    }
}

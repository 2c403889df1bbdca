//! Names of source files, as reports give them: relative to the tree they come from.
//!
//! Decides what is cut off the names that compilers write down: build directories, toolchains and
//! package caches, which differ from machine to machine. What is left never names a directory of the
//! machine that built the code: `hyp/redoubt-core/src/addr.rs`, `core/src/option.rs`,
//! `spin-0.10.1/src/once.rs`, `kernel/sched/core.c`.

#[cfg(test)]
mod tests;

/// Places that names are relative to, wherever they are; a star stands for the rest of a part.
const TREES: [&[&str]; 4] = [
    // The standard library: as a source package, and in a build of the Rust project's own.
    &["rustlib", "src", "rust", "library"],
    &["rustc", "*", "library"],
    // Crates of a registry.
    &["registry", "src", "*"],
    // The kernel's headers, as a package for those who build modules.
    &["usr", "src", "linux-headers-*"],
];

/// The name of a source file relative to its tree.
///
/// `name` is taken relative to `directory`, and both relative to `compiled_in`. What comes from a
/// toolchain or a package cache is named from there; else `root` is cut off where it fits, or
/// `compiled_in`.
pub fn relative(name: &str, directory: &str, compiled_in: &str, root: Option<&str>) -> String {
    let mut path = name.to_owned();
    for base in [directory, compiled_in] {
        // A relative directory of compilation is what the compiler was told to write instead.
        let useful = base.starts_with('/') || base == directory;
        if !path.starts_with('/') && !base.is_empty() && useful {
            path = format!("{base}/{path}");
        }
    }
    let absolute = path.starts_with('/');
    let parts = normal(&path);
    for tree in TREES {
        let is_tree =
            |window: &[&str]| window.iter().zip(tree).all(|(part, name)| fits(part, name));
        if let Some(at) = parts.windows(tree.len()).position(is_tree) {
            return parts[at + tree.len()..].join("/");
        }
    }
    if let Some(parts) = root.and_then(|root| parts.strip_prefix(normal(root).as_slice())) {
        return parts.join("/");
    }
    if !absolute {
        return parts.join("/");
    }
    match parts.strip_prefix(normal(compiled_in).as_slice()) {
        Some(parts) if compiled_in.starts_with('/') => parts.join("/"),
        _ => parts[parts.len().saturating_sub(2)..].join("/"),
    }
}

/// Whether a part of a path is what a place is called.
fn fits(part: &str, name: &str) -> bool {
    name.strip_suffix('*').map_or(part == name, |start| part.starts_with(start))
}

/// The parts of a path, without `.` and `..`.
fn normal(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts
}

//! Which Rust toolchain compiles for arm64.
//!
//! Two roads lead there. Where `rustup` has the two arm64 targets, the toolchain that runs this
//! program is used as it is. Elsewhere Debian's own toolchain (`rustc-web`, `cargo-web`) compiles
//! the standard library along with the program, from Debian's own copy of its source. The road is
//! found, not chosen, and every build says which it took.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::paths::Paths;
use crate::shell;

/// What runs without an operating system: the hypervisor, bare-metal payloads.
pub const BARE: &str = "aarch64-unknown-none-softfloat";
/// What runs in the host's user space.
pub const LINUX: &str = "aarch64-unknown-linux-gnu";

/// The linker for [`LINUX`].
pub const LINUX_LINKER: &str = "aarch64-linux-gnu-gcc";

/// A way to compile for arm64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// The current toolchain has the targets.
    Targets,
    /// Debian's toolchain builds the standard library along.
    Debian,
}

/// Variables that tell a nested cargo about the outer one's toolchain.
const INHERITED: [&str; 6] =
    ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"];

impl Road {
    /// Finds the road: rustup's targets where they are installed.
    pub fn find() -> Road {
        let sysroot = shell::output(Command::new("rustc").args(["--print", "sysroot"]));
        let has = |target: &str| match &sysroot {
            Ok(root) => {
                Path::new(root.trim()).join("lib/rustlib").join(target).join("lib").is_dir()
            }
            Err(_) => false,
        };
        if has(BARE) && has(LINUX) { Road::Targets } else { Road::Debian }
    }

    /// The road, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Road::Targets => "the installed arm64 targets of this Rust toolchain",
            Road::Debian => "Debian's Rust toolchain, building the standard library along",
        }
    }

    /// A cargo command (`build`, `check`) for the target, with the road's own arguments.
    pub fn cargo(self, paths: &Paths, verb: &str, target: &str) -> Command {
        let mut command = match self {
            Road::Targets => Command::new("cargo"),
            Road::Debian => Command::new("/usr/bin/cargo"),
        };
        for name in INHERITED {
            command.env_remove(name);
        }
        command.current_dir(&paths.root).env("CARGO_TARGET_DIR", paths.cross_target());
        command.args([verb, "--release", "--target", target]);
        if self == Road::Debian {
            command.env("RUSTC", "/usr/bin/rustc");
        }
        // The code generator's branch protection and building the standard library along are not
        // stable yet.
        command.env("RUSTC_BOOTSTRAP", "1");
        if self == Road::Debian || (target == BARE && has_source()) {
            command.args(std_parts(target));
        }
        // Given by variable, so that a build for this machine never sees them.
        let prefix = format!("CARGO_TARGET_{}", target.to_uppercase().replace('-', "_"));
        let (linker, flags) = link(target);
        command.env(format!("{prefix}_LINKER"), linker);
        command.env(format!("{prefix}_RUSTFLAGS"), format!("{flags}{}", remap_home()));
        command
    }

    /// The version of the compiler.
    pub fn compiler(self) -> Result<String> {
        let mut rustc = match self {
            Road::Targets => Command::new("rustc"),
            Road::Debian => Command::new("/usr/bin/rustc"),
        };
        for name in INHERITED {
            rustc.env_remove(name);
        }
        Ok(shell::output(rustc.arg("--version"))?.trim().to_owned())
    }

    /// Makes `command`, a `check`, run clippy on this workspace's crates, all warnings being errors.
    pub fn clippy(self, command: &mut Command) -> Result<()> {
        let driver = match self {
            Road::Targets => {
                let found = shell::output(Command::new("rustc").args(["--print", "sysroot"]))?;
                PathBuf::from(found.trim()).join("bin/clippy-driver")
            }
            Road::Debian => PathBuf::from("/usr/bin/clippy-driver"),
        };
        if !driver.is_file() {
            None.with_context(|| {
                format!("{} is missing: run `cargo xtask setup`", driver.display())
            })?
        }
        command.env("RUSTC_WORKSPACE_WRAPPER", driver);
        // The form in which cargo's own clippy hands its arguments to the driver.
        command.env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");
        Ok(())
    }
}

/// Which parts of the standard library are built along.
fn std_parts(target: &str) -> &'static [&'static str] {
    if target == BARE {
        &["-Zbuild-std=core,compiler_builtins", "-Zbuild-std-features=compiler-builtins-mem"]
    } else {
        &["-Zbuild-std=std,panic_abort"]
    }
}

/// Whether the current toolchain has the standard library's source: then the image's copy of it is
/// built with the image's own branch protection.
fn has_source() -> bool {
    let sysroot = shell::output(Command::new("rustc").args(["--print", "sysroot"]));
    sysroot
        .is_ok_and(|root| Path::new(root.trim()).join("lib/rustlib/src/rust/library/core").is_dir())
}

/// The flag that gives the sources of libraries, which panics name, the same path whoever builds: by
/// its length things move in a program, and its kernel then does other things for it.
fn remap_home() -> String {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    match home {
        // Flags are told apart by spaces: such a path stays.
        Some(home) if !home.to_string_lossy().contains(' ') => {
            format!(" --remap-path-prefix={}=/cargo", home.display())
        }
        _ => String::new(),
    }
}

/// The linker and the compiler's flags: EL2's code pages are guarded, so that every target of an
/// indirect branch needs a landing pad; programs for Linux need no library on the machine they run
/// on.
fn link(target: &str) -> (&'static str, &'static str) {
    if target == BARE {
        ("ld.lld", "-Clinker-flavor=ld.lld -Zbranch-protection=bti")
    } else {
        (LINUX_LINKER, "-Ctarget-feature=+crt-static")
    }
}

//! What was built, for tests and runs to start.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The products of a build, and where a run may write.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// Redoubt with the host's kernel; absent where the stock kernel is to be started in its place.
    pub image: Option<PathBuf>,
    /// The host's kernel alone.
    pub kernel: PathBuf,
    /// The part of the initrd that is the host.
    pub host: PathBuf,
    /// The part of the initrd that a guest boots from.
    pub guest: PathBuf,
    /// The part of the initrd that attacks.
    pub hostile: PathBuf,
    /// Bare-metal programs; in the part that attacks, too.
    pub payloads: Vec<PathBuf>,
    /// U-Boot for QEMU.
    pub u_boot: PathBuf,
    /// Where logs go.
    pub logs: PathBuf,
    /// Where files go that one run needs.
    pub scratch: PathBuf,
}

impl Artifacts {
    /// A bare-metal program by its name.
    pub fn payload(&self, name: &str) -> Result<&Path> {
        let found = self.payloads.iter().find(|payload| payload.ends_with(name));
        found.map(PathBuf::as_path).with_context(|| format!("the payload `{name}` was not built"))
    }

    /// The image with Redoubt in it.
    pub fn redoubt(&self) -> Result<&Path> {
        self.image.as_deref().context("there is no Redoubt image: the hypervisor was not built")
    }
}

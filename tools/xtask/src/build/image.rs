//! The image that a bootloader starts: Redoubt with the host's kernel in it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::elf;
use crate::paths::{Paths, write_if_changed};
use crate::setup::Arm64;
use crate::ui;

/// Packs the linked hypervisor and the host's kernel into the image.
pub fn build(paths: &Paths, arm64: &Arm64, hypervisor: &Path) -> Result<PathBuf> {
    ui::step("redoubt.img", |_| {
        let read =
            |file: &Path| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
        let flat = elf::flatten(&read(hypervisor)?)
            .with_context(|| format!("in {}", hypervisor.display()))?;
        let kernel = read(&arm64.kernel())?;
        let image = redoubt_boot::bundle::pack(&flat.bytes, flat.memory_size, &kernel)
            .map_err(|error| anyhow!("the image cannot be packed: {error:?}"))?;
        write_if_changed(&paths.image(), &image)?;
        let (own, host) = (ui::bytes(flat.bytes.len() as u64), ui::bytes(kernel.len() as u64));
        Ok((paths.image(), format!("{own} of Redoubt, {host} of the host's kernel")))
    })
}

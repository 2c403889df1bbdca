//! Links each payload to a flat image at its fixed guest address: what cargo leaves in the target
//! folder is loaded as it is, by a VMM, by the hostile host or by `qemu -kernel`.

use std::env;

fn main() {
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rerun-if-changed=payload.ld");
    println!("cargo::rerun-if-changed=src/entry.S");
    println!("cargo::rerun-if-changed=src/bin/bench-peer.S");
    println!("cargo::rerun-if-changed=src/bin/bench-vmm.S");
    println!("cargo::rerun-if-changed=src/bin/counted.S");
    println!("cargo::rerun-if-changed=src/bin/fuzz-guest.S");
    // A host build (documentation, clippy of the workspace) has no use for the linker script.
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo::rustc-link-arg-bins=-T{folder}/payload.ld");
        println!("cargo::rustc-link-arg-bins=--oformat=binary");
        println!("cargo::rustc-link-arg-bins=--no-dynamic-linker");
    }
}

//! Hands the linker script and the early console's address to the build.

fn main() {
    println!("cargo::rerun-if-changed=image.ld");
    println!("cargo::rerun-if-env-changed=REDOUBT_EARLY_CONSOLE");
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rustc-link-arg-bins=-T{root}/image.ld");
    println!("cargo::rustc-link-arg-bins=-no-pie");
    println!("cargo::rustc-link-arg-bins=-zmax-page-size=4096");
}

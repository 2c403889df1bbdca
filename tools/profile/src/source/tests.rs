use super::relative;

#[test]
fn names_are_relative_to_their_tree() {
    for (name, directory, compiled_in, root, expected) in [
        // A compiler that was told to write names relative to the tree.
        ("main.c", "init", "debian/build/build_arm64", None, "init/main.c"),
        ("mod.rs", "hyp/redoubt-core/src", "/home/me/tree", None, "hyp/redoubt-core/src/mod.rs"),
        ("tiny.c", "", "/build/tiny", None, "tiny.c"),
        ("/build/tiny/src/tiny.c", "", "/build/tiny", None, "src/tiny.c"),
        ("/build/linux/init/main.c", "", "/build/linux/out", Some("/build/linux"), "init/main.c"),
        ("main.c", "../init", "/build/linux/out", Some("/build/linux/"), "init/main.c"),
        ("x.c", "./a/../b", "/build/tiny", None, "b/x.c"),
        // Rust's own.
        (
            "mod.rs",
            "/usr/lib/rustlib/src/rust/library/core/src/num",
            "/t",
            None,
            "core/src/num/mod.rs",
        ),
        ("a.rs", "/rustc/0123456789/library/core/src", "/t", None, "core/src/a.rs"),
        (
            "barrier.rs",
            "/usr/lib/rustlib/src/rust/library/core/src/../../stdarch/crates/core_arch/src",
            "/t",
            None,
            "stdarch/crates/core_arch/src/barrier.rs",
        ),
        // A registry's.
        (
            "once.rs",
            "/home/me/.cargo/registry/src/index.example-1949cf8c6b5b557f/spin-0.10.1/src",
            "/t",
            None,
            "spin-0.10.1/src/once.rs",
        ),
        (
            "src/once.rs",
            "",
            "/home/me/.cargo/registry/src/index.example-1949cf8c6b5b557f/spin-0.10.1",
            None,
            "spin-0.10.1/src/once.rs",
        ),
        (
            "once.rs",
            "/tree/.cache/cargo/registry/src/index.example-1949cf8c6b5b557f/spin-0.10.1/src",
            "/tree",
            Some("/tree"),
            "spin-0.10.1/src/once.rs",
        ),
        (
            "list.h",
            "/t/.cache/usr/src/linux-headers-6.12.1+deb12-common/include/linux",
            "/t/kmod",
            Some("/t"),
            "include/linux/list.h",
        ),
        // Elsewhere on the machine: no more than says what it is.
        ("/home/me/other/include/stdint.h", "", "/build/tiny", None, "include/stdint.h"),
        ("/x.h", "", "/build/tiny", None, "x.h"),
    ] {
        assert_eq!(relative(name, directory, compiled_in, root), expected, "{directory}/{name}");
    }
}

#[test]
fn a_directory_whose_name_begins_like_the_tree_is_another() {
    assert_eq!(relative("/build/tiny2/a/b.c", "", "/build/tiny", None), "a/b.c");
    assert_eq!(relative("/build/tiny2/a/c/b.c", "", "/build/tiny", None), "c/b.c");
}

//! Has the linker fold functions that compile to the same code: the generic code of many types does, about 0.8 MB of the program.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    let set = |name: &str| std::env::var(name).unwrap_or_default();
    // The linker that Rust brings along for this target can fold (Rust 1.90 made it the default); GNU's refuses the argument, so whoever
    // chooses a linker of their own does without.
    let own = set("CARGO_ENCODED_RUSTFLAGS");
    if set("TARGET") == "x86_64-unknown-linux-gnu"
        && !own.contains("linker")
        && !own.contains("fuse-ld")
        && set("RUSTC_LINKER").is_empty()
    {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
}

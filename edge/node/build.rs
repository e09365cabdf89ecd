//! How the program is linked.

fn main() {
    // Packed relocations take an eighth of the space, in the file and in memory at start.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    println!("cargo::rerun-if-changed=build.rs");
}

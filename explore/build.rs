//! Tells the sources of `wal` that they are built for the explorer.

fn main() {
    println!("cargo::rustc-cfg=explore");
    println!("cargo::rerun-if-changed=build.rs");
}

//! Asks the linker for packed relative relocations where the C library of this machine reads them.
//!
//! An unpacked table is some 700 kB that every start reads in full and that stays resident, a
//! twentieth of what an idle agent holds. glibc reads packed ones from 2.36 on; a binary that has
//! them does not start on an older one, nor does one that was built against this one's symbols.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = env::var("TARGET").unwrap_or_default();
    let native = env::var("HOST").is_ok_and(|host| host == target);
    if native && target.ends_with("-linux-gnu") && glibc().is_some_and(|version| version >= (2, 36))
    {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of the C library, if it is glibc and says so.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

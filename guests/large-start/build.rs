//! Starts with 1 GiB of memory; the linker takes the last of several such arguments.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=--initial-memory=1073741824");
    println!("cargo::rerun-if-changed=build.rs");
}

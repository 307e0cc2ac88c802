//! Rebuilds the crate when what is embedded in the program changes: a migration, or the built front end.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
    println!("cargo:rerun-if-changed=dist");
}

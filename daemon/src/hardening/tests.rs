//! What a panic and an abort leave behind.

use super::*;
use secrecy::{ExposeSecret, SecretString};
use std::process::Command;

const PANIC: &str = "LAKEBASE_TEST_PANIC";
const CANARY: &str = "CANARY_7f3a";

#[test]
fn child_of_the_next_test() {
    if std::env::var_os(PANIC).is_none() {
        return;
    }
    harden().expect("hardened");
    assert_eq!(getrlimit(Resource::Core).current, Some(0));
    let secret = SecretString::from(CANARY);
    let panicked = std::panic::catch_unwind(|| panic!("cannot use {}", secret.expose_secret()));
    assert!(panicked.is_err());
    std::process::abort();
}

#[test]
fn sec_17_a_panic_with_a_secret_tells_its_place_alone_and_leaves_no_core() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let this = std::env::current_exe().expect("the test binary");
    let output = Command::new(this)
        .args([
            "--exact",
            "hardening::tests::child_of_the_next_test",
            "--nocapture",
        ])
        .env(PANIC, "1")
        .current_dir(dir.path())
        .output()
        .expect("the test binary runs");
    assert!(!output.status.success());
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains("lakebased panicked at daemon/src/hardening/tests.rs:"),
        "{said}"
    );
    assert!(!said.contains(CANARY), "{said}");
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("listed").count(),
        0,
        "a core"
    );
}

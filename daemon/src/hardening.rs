//! What the process does to itself before it holds a secret: no core dump, no look into its memory by others of the same
//! user, no panic text, and as many file descriptors as it may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Hardens this process. Children that are started later may be looked into again; core dumps stay off for them.
///
/// # Errors
/// When the system refuses.
pub fn harden() -> std::io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    let files = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: files.maximum,
        maximum: files.maximum,
    };
    // Where the limit is endless the system may refuse; what there was is enough to begin with.
    setrlimit(Resource::Nofile, all).ok();
    quiet_panics();
    Ok(())
}

/// A panic's text may hold what the code held, so only its place is told.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(
            place,
            thread = thread.name(),
            "panicked; this is a bug in lakebased"
        );
        eprintln!("lakebased panicked at {place}; this is a bug");
    }));
}

#[cfg(test)]
mod tests {
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
            said.contains("lakebased panicked at daemon/src/hardening.rs:"),
            "{said}"
        );
        assert!(!said.contains(CANARY), "{said}");
        assert_eq!(
            std::fs::read_dir(dir.path()).expect("listed").count(),
            0,
            "a core"
        );
    }
}

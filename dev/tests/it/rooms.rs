//! What the development loop may not know of.

use std::process::Command;

/// What has no business here, and why.
const FORBIDDEN: [(&str, &str); 7] = [
    ("git2", "a worktree is a directory with a file"),
    ("sqlx", "processes speak to databases, not their supervisor"),
    ("tonic", "`lakebase run` asks the daemon"),
    ("reqwest", "readiness is one request on this machine"),
    ("rustls", "readiness is one request on this machine"),
    ("lakebase-proto", "`lakebase run` asks the daemon"),
    ("daemon-core", "the daemon decides about branches"),
];

#[test]
fn the_development_loop_links_nothing_of_ours_and_nothing_heavy() {
    let out = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "-p", "lakebase-dev"])
        .args(["-e", "normal,no-proc-macro", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("notify"), "{out:?}");
    let names: Vec<_> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    for (name, why) in FORBIDDEN {
        assert!(
            !names.contains(&name),
            "lakebase-dev must not link `{name}`: {why}"
        );
    }
}

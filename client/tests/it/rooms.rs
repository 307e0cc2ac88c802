//! What the client may not know of.

use std::process::Command;

/// What would make it slow to start, and why it has no need of it.
const FORBIDDEN: [(&str, &str); 9] = [
    ("git2", "the daemon reads git"),
    ("libgit2-sys", "the daemon reads git"),
    ("sqlx", "the daemon keeps the ledger, and psql speaks SQL"),
    ("sqlx-core", "the daemon keeps the ledger, and psql speaks SQL"),
    ("reqwest", "only the daemon speaks to the service"),
    ("notify", "`lakebase-dev` watches files"),
    ("toml", "`lakebase-dev` reads its own file"),
    ("rustls", "the socket is private to the user, and needs no TLS"),
    (
        "native-tls",
        "the socket is private to the user, and needs no TLS",
    ),
];
/// What the hook does without, in addition.
const NOT_IN_THE_HOOK: [&str; 6] = [
    "clap",
    "anyhow",
    "serde_json",
    "owo-colors",
    "tempfile",
    "daemon-core",
];

fn tree(args: &[&str]) -> Vec<String> {
    let out = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "-p",
            "lakebase",
            "-e",
            "normal,no-proc-macro",
            "--prefix",
            "none",
        ])
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("text");
    let names = text.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

#[test]
fn the_client_links_nothing_heavy() {
    let tree = tree(&[]);
    assert!(tree.iter().any(|name| name == "lakebase-proto"), "{tree:?}");
    for (name, why) in FORBIDDEN {
        assert!(
            !tree.iter().any(|it| it == name),
            "the client must not link `{name}`: {why}"
        );
    }
    for ours in ["lakebase-api", "lakebase-dev", "lakebased", "local-lakebase"] {
        assert!(
            !tree.iter().any(|it| it == ours),
            "the client knows `lakebase-proto` and the pure `daemon-core`, not `{ours}`"
        );
    }
}

#[test]
fn the_hook_links_nothing_of_the_command_line() {
    let tree = tree(&["--no-default-features"]);
    assert!(tree.iter().any(|name| name == "tonic"), "{tree:?}");
    for name in NOT_IN_THE_HOOK {
        assert!(
            !tree.iter().any(|it| it == name),
            "the hook must not link `{name}`: it starts at each checkout"
        );
    }
}

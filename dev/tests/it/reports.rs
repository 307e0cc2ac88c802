//! What is told: wrong files, logs, checks and builds.

use crate::world::{WEB, World, stdout_of, text};
use std::io::{BufRead, BufReader};

#[test]
fn a_file_that_is_wrong_or_missing_is_told_with_the_line() {
    let world = World::new();
    let tree = world.tree("a", "[process.web]\nrun = \"true\"\nwacth = [\"src\"]");
    for command in ["start", "restart", "check", "build"] {
        let (code, said) = tree.fails(&[command]);
        assert_eq!(code, 4, "{said}");
        assert_eq!(
            said,
            "error: cannot use `lakebase.dev.toml`: line 3: unknown key `wacth`; the nearest known one is `watch`\n"
        );
    }
    std::fs::remove_file(tree.root.join("lakebase.dev.toml")).expect("remove");
    let (code, said) = tree.fails(&["start"]);
    assert_eq!(code, 4);
    assert!(
        said.starts_with("error: there is no `lakebase.dev.toml` in this worktree\nhint: "),
        "{said}"
    );
    tree.write("lakebase.dev.toml", "[check]\nrun = [\"true\"]");
    assert_eq!(tree.fails(&["start"]).0, 4, "it describes no process");
    assert_eq!(tree.fails(&["build"]).0, 4, "there is nothing to build");
    assert_eq!(tree.fails(&["logs", "-d", "1w"]).0, 2);
}

#[test]
fn check_runs_all_and_build_stops_at_the_first_failure() {
    let world = World::new();
    let commands = "run = [\"echo one >> ran\", \"exit 4\", \"echo three >> ran\"]";
    let tree = world.tree("a", &format!("[check]\n{commands}\n[build]\n{commands}"));
    let ran = || std::fs::read_to_string(tree.root.join("ran")).unwrap_or_default();
    let out = tree.dev(&["check"]).output().expect("it runs");
    assert_eq!(out.status.code(), Some(1));
    let words: Vec<String> = text(&out.stdout)
        .lines()
        .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(words, ["ok", "FAILED", "ok"]);
    assert_eq!(ran(), "one\nthree\n");
    let out = tree.dev(&["build", "--json"]).output().expect("it runs");
    assert_eq!(out.status.code(), Some(1));
    let shown: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(shown["ok"], false);
    assert_eq!(shown["results"].as_array().map(Vec::len), Some(2));
    assert_eq!(ran(), "one\nthree\none\n");
    tree.write("lakebase.dev.toml", "[check]\nrun = [\"echo said\"]");
    let out = tree.dev(&["check"]).output().expect("it runs");
    assert!(out.status.success());
    assert!(
        !text(&out.stdout).contains("said\n"),
        "what it says is not the summary"
    );
    assert!(text(&out.stderr).contains("said\n"));
}

#[test]
fn logs_have_process_and_time_and_are_followed() {
    let world = World::new();
    let tree = world.tree(
        "a",
        &format!("{WEB}[process.chat]\nrun = \"echo first; exec sleep 1000\""),
    );
    tree.start();
    crate::world::until("it has spoken", || tree.ok(&["logs"]).contains("chat | first"));
    let logs = tree.ok(&["logs"]);
    assert!(logs.contains("web | serving on "), "{logs}");
    assert!(
        logs.lines()
            .all(|line| line.starts_with("20") && line.contains('Z')),
        "{logs}"
    );
    let only = tree.ok(&["logs", "chat", "-d", "1h"]);
    assert!(only.contains("chat | first") && !only.contains("web"), "{only}");
    assert!(!logs.contains('\u{1b}'), "no colour where nobody looks");

    let mut follow = tree.background(&["logs", "-f", "chat", "--json"]);
    let mut lines = BufReader::new(follow.stdout.take().expect("piped")).lines();
    let mut next = || -> serde_json::Value {
        serde_json::from_str(&lines.next().expect("a line").expect("read")).expect("JSON")
    };
    let first = next();
    assert_eq!(first["process"], "chat");
    assert_eq!(first["note"], true);
    assert_eq!(next()["text"], "first");
    tree.ok(&["restart", "chat"]);
    assert_eq!(next()["text"], "restarted by a person");
    let later = [next(), next()];
    assert!(later.iter().any(|line| line["text"] == "first"), "{later:?}");
    follow.kill().expect("kill");
    follow.wait().expect("wait");

    // Older than the span.
    let log = tree.state_dir().join("log");
    let old = std::fs::read_to_string(&log).expect("read").replace("20", "19");
    tree.ok(&["stop"]);
    std::fs::write(&log, old).expect("write");
    assert_eq!(tree.ok(&["logs", "-d", "1h"]), "");
    let out = stdout_of(tree.background(&["logs"]));
    assert!(
        text(&out.stdout).contains("chat | first"),
        "without a span all of it"
    );
}

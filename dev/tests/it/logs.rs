//! `lakebase dev logs`: which lines, and until when.

use crate::scene::{Scene, until};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

const TWO: &str = r#"
[process.a]
run = "echo from a; while [ ! -e go ]; do sleep 0.02; done; printf '\\033[31mlater\\033[0m\\n'; exec sleep 1000"

[process.b]
run = "echo from b >&2; exec sleep 1000"
"#;

#[test]
fn lines_are_chosen_by_process_and_by_time_and_followed() {
    let scene = Scene::new();
    let project = scene.project("shop", TWO);
    project.good(&["start"]);
    let log = || project.good(&["logs"]);
    until("both have spoken", || {
        log().contains("a | from a") && log().contains("b | from b")
    });
    assert!(!project.good(&["logs", "b"]).contains("from a"));

    // As if it had been written long ago.
    project.good(&["stop"]);
    let file = fs::read_dir(scene.state())
        .expect("listed")
        .flatten()
        .map(|entry| entry.path().join("log"))
        .find(|path| path.exists())
        .expect("a log");
    fs::write(&file, "2020-01-01T00:00:00.000Z a | long ago\n").expect("write");
    project.good(&["start"]);
    until("a has spoken", || log().contains("from a"));
    assert!(log().contains("long ago"));
    let lately = project.good(&["logs", "-d", "1h"]);
    assert!(
        lately.contains("from a") && !lately.contains("long ago"),
        "{lately}"
    );
    assert_eq!(project.bad(&["logs", "-d", "1 hour"]).0, 2);
    let (code, said) = project.bad(&["logs", "c"]);
    assert_eq!(
        (code, said.contains("there is no process `c`")),
        (1, true),
        "{said}"
    );

    let mut following = project
        .command(&["logs", "-f", "a"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(following.stdout.take().expect("piped")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.ends_with("from a"))));
    project.write("go", "");
    // Without colour, as nobody looks.
    assert!(lines.any(|line| line.is_ok_and(|line| line.ends_with("a | later"))));
    following.kill().expect("ours");
    following.wait().expect("ours");

    let json = project.good(&["logs", "--json", "-d", "1h", "a"]);
    let first: serde_json::Value = serde_json::from_str(json.lines().next().expect("lines")).expect("JSON");
    assert_eq!(first["process"], "a");
}

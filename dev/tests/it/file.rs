//! The file: what is wrong with it, and its lists of commands.

use crate::scene::{Scene, err, out};
use serde_json::Value;

#[test]
fn what_is_wrong_in_the_file_is_told_with_the_line() {
    let scene = Scene::new();
    let project = scene.project("shop", "[process.web]\nrun = 'true'\nreday = 'http://x'\n");
    let (code, said) = project.bad(&["start"]);
    assert_eq!(code, 4);
    assert!(
        said.contains(
            "cannot use `lakebase.dev.toml`: line 3: unknown key `reday`; the nearest known one is `ready`"
        ),
        "{said}"
    );
    project.write("lakebase.dev.toml", "[check]\nrun = ['true']\n");
    let (code, said) = project.bad(&["start"]);
    assert_eq!((code, said.contains("describes no process")), (4, true), "{said}");
    assert_eq!(scene.processes(), [""; 0]);
}

#[test]
fn a_worktree_without_the_file_is_told_so() {
    let scene = Scene::new();
    let project = scene.project("shop", "");
    std::fs::remove_file(project.root.join("lakebase.dev.toml")).expect("remove");
    for command in ["start", "stop", "restart", "status", "logs", "check", "build"] {
        let (code, said) = project.bad(&[command]);
        assert_eq!(code, 4, "{command}: {said}");
        assert!(
            said.contains("there is no `lakebase.dev.toml` in this worktree"),
            "{said}"
        );
    }
    assert_eq!(project.bad(&["statsu"]).0, 2);
}

#[test]
fn check_runs_all_commands_and_says_which_failed() {
    let scene = Scene::new();
    let file = "[check]\nrun = ['echo one >> ran', 'echo oh >&2; exit 7', 'echo two >> ran']\n";
    let project = scene.project("shop", file);
    project.write("deep/er/file", "");
    let output = project
        .command(&["check"])
        .current_dir(project.root.join("deep/er"))
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(project.read("ran"), "one\ntwo\n");
    let words: Vec<String> = out(&output)
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    assert_eq!(words, ["ok", "FAILED", "ok"]);
    assert!(err(&output).contains("1 of 3 failed"), "{}", err(&output));

    project.write("lakebase.dev.toml", "[check]\nrun = ['echo to stdout', 'true']\n");
    let json: Value = serde_json::from_str(&project.good(&["check", "--json"])).expect("JSON alone");
    assert_eq!(json["ok"], true);
    assert_eq!(json["results"][1]["run"], "true");
}

#[test]
fn build_stops_at_the_first_that_fails() {
    let scene = Scene::new();
    let project = scene.project(
        "shop",
        "[build]\nrun = ['echo one >> ran', 'false', 'echo two >> ran']\n",
    );
    assert_eq!(project.bad(&["build"]).0, 1);
    assert_eq!(project.read("ran"), "one\n");
    project.write("lakebase.dev.toml", "[build]\nrun = ['echo good >> ran']\n");
    project.good(&["build"]);
    assert_eq!(project.read("ran"), "one\ngood\n");
    let (code, said) = project.bad(&["check"]);
    assert_eq!((code, said.contains("no `[check]`")), (4, true), "{said}");
}

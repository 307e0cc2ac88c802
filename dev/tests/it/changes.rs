//! Files that change, and whom it concerns.

use crate::scene::{Scene, until};
use std::fs;

/// Two that note each start, and a third by which a test knows that earlier events were seen.
const THREE: &str = r#"
[process.a]
run = "echo run >> ../runs-a; exec sleep 1000"
dir = "a"
watch = ["a"]

[process.b]
run = "echo run >> ../runs-b; exec sleep 1000"
dir = "b"
watch = ["b", "shared.txt"]

[process.seen]
run = "echo run >> ../runs-seen; exec sleep 1000"
dir = "seen"
watch = ["seen"]
"#;

#[test]
fn a_change_restarts_exactly_the_process_that_watches_the_file() {
    let scene = Scene::new();
    let project = scene.project("shop", THREE);
    for dir in ["a", "b", "seen"] {
        project.write(&format!("{dir}/file"), "");
    }
    project.write(".gitignore", "*.log\n/runs-*\n/a/target/\n");
    project.write("shared.txt", "");
    project.good(&["start"]);
    let runs = || ["runs-a", "runs-b", "runs-seen"].map(|file| project.lines(file));
    assert_eq!(runs(), [1, 1, 1]);

    project.write("a/file", "new");
    until("a runs again", || runs() == [2, 1, 1]);
    project.write("shared.txt", "new");
    until("b runs again", || runs() == [2, 2, 1]);

    // Ignored, an editor's own, or nobody's: followed by one that counts.
    project.write("a/noise.log", "new");
    project.write("a/target/deep/file", "new");
    project.write("b/.file.swp", "new");
    project.write("other/file", "new");
    project.write("seen/file", "new");
    until("the last one was seen", || runs()[2] == 2);
    assert_eq!(runs(), [2, 2, 2]);

    // A directory that arrives with files in it.
    project.write("elsewhere/in/it", "");
    fs::rename(project.root.join("elsewhere"), project.root.join("a/arrived")).expect("rename");
    until("a runs again", || runs() == [3, 2, 2]);
    project.write("a/arrived/in/it", "new");
    until("what is in it is watched", || runs() == [4, 2, 2]);
    fs::remove_file(project.root.join("a/file")).expect("remove");
    until("a file that goes is a change", || runs() == [5, 2, 2]);
    let log = project.good(&["logs", "a"]);
    assert!(log.contains("a * changed: a/file"), "{log}");
}

#[test]
fn the_last_good_one_goes_on_while_a_build_fails() {
    let scene = Scene::new();
    let project = scene.project(
        "shop",
        r#"
[process.web]
build = "sh src/build.sh && cp src/version built"
run = "cp built running; exec sleep 1000"
watch = ["src"]
"#,
    );
    project.write("src/build.sh", "true");
    project.write("src/version", "1");
    project.good(&["start"]);
    until("it runs", || project.read("running") == "1");
    let pid = project.process("web")["pid"].clone();

    project.write("src/build.sh", "echo type error >&2; exit 1");
    until("the build has failed", || {
        project.process("web")["problem"].is_string()
    });
    let web = project.process("web");
    assert_eq!((&web["pid"], &web["state"]), (&pid, &"ready".into()));
    assert!(project.good(&["logs"]).contains("type error"));

    project.write("src/version", "2");
    project.write("src/build.sh", "true");
    until("the new one runs", || project.read("running") == "2");
    assert!(project.process("web")["problem"].is_null());
    assert_ne!(project.process("web")["pid"], pid);
}

#[test]
fn restart_is_for_one_process_or_for_all_with_the_file_read_again() {
    let scene = Scene::new();
    let project = scene.project("shop", THREE);
    for dir in ["a", "b", "seen"] {
        project.write(&format!("{dir}/file"), "");
    }
    project.good(&["start"]);
    project.good(&["restart", "a"]);
    until("a has noted it", || project.lines("runs-a") == 2);
    assert_eq!(project.lines("runs-b"), 1);
    let (code, said) = project.bad(&["restart", "nobody"]);
    assert_eq!(
        (code, said.contains("there is no process `nobody`")),
        (1, true),
        "{said}"
    );

    project.write("lakebase.dev.toml", "[process.a]\nrun = ''");
    let (code, said) = project.bad(&["restart"]);
    assert_eq!((code, said.contains("`run` is empty")), (4, true), "{said}");
    assert_eq!(project.status()["running"], true, "a broken file stops nothing");
    project.write("lakebase.dev.toml", "[process.only]\nrun = 'exec sleep 1000'");
    project.good(&["restart"]);
    let status = project.status();
    assert_eq!(status["processes"].as_array().map(Vec::len), Some(1), "{status}");
}

#[test]
fn a_first_build_that_fails_is_mended_by_a_change() {
    let scene = Scene::new();
    let project = scene.project(
        "shop",
        "[process.web]\nbuild = 'sh src/build.sh'\nrun = 'exec sleep 1000'\nwatch = ['src']",
    );
    project.write("src/build.sh", "echo type error >&2; exit 1");
    let (code, said) = project.bad(&["start"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("| type error") && said.contains("its build failed"),
        "{said}"
    );
    assert_eq!(project.process("web")["state"], "failed");
    project.write("src/build.sh", "true");
    until("it runs", || project.process("web")["state"] == "ready");
    project.good(&["status"]);
}

#[test]
fn one_that_is_restarted_alone_does_not_wait_for_the_others() {
    let scene = Scene::new();
    let project = scene.project(
        "shop",
        "[process.good]\nrun = 'exec sleep 1000'\n[process.bad]\nrun = 'exit 1'\nport = 'PORT'",
    );
    assert_eq!(project.bad(&["start"]).0, 1);
    project.good(&["restart", "good"]);
    assert_eq!(project.bad(&["restart", "bad"]).0, 1);
    assert_eq!(project.bad(&["status"]).0, 5);
}

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

/// Notes what is in the files that it watches, each time it is started.
const NOTES: &str = r#"
[process.a]
run = "cat src/file deep/er/file gen/file >> seen 2>/dev/null; echo - >> seen; exec sleep 1000"
watch = ["./src/", "deep/er", "gen"]
"#;

#[test]
fn a_watched_directory_that_is_removed_and_made_again_is_still_watched() {
    let scene = Scene::new();
    let project = scene.project("shop", NOTES);
    let [src, old, new] = ["src", "old", "new"].map(|dir| project.root.join(dir));
    project.write("src/file", "one");
    project.write("deep/er/file", "");
    let sees = |text: &str| until(text, || project.read("seen").contains(text));
    let said = project.told(&["start"]);
    assert!(
        said.contains("process `a` watches `gen`, which is not there"),
        "{said}"
    );
    sees("one");
    project.write("gen/file", "two");
    sees("two");
    assert!(!project.status().to_string().contains("not there"));

    fs::remove_dir_all(&src).expect("remove");
    until("the removal was seen", || {
        project.good(&["logs"]).contains("changed: src")
    });
    project.write("src/file", "three");
    sees("three");
    project.write("src/file", "four");
    sees("four");

    // The one that it was watched in goes, too.
    fs::remove_dir_all(project.root.join("deep")).expect("remove");
    until("the removal was seen", || {
        project.good(&["logs"]).contains("changed: deep")
    });
    project.write("deep/er/file", "five");
    sees("five");

    // Another one takes its place, and then the first one goes.
    project.write("new/file", "six");
    fs::rename(&src, &old).expect("rename");
    fs::rename(&new, &src).expect("rename");
    sees("six");
    let before = project.good(&["logs"]).lines().count();
    fs::remove_dir_all(&old).expect("remove");
    until("the removal was seen", || {
        project.good(&["logs"]).lines().count() > before
    });
    project.write("src/file", "seven");
    sees("seven");
}

#[test]
fn a_directory_that_git_ignores_is_watched_when_the_file_names_it() {
    let scene = Scene::new();
    let project = scene.project("shop", NOTES);
    project.write(".gitignore", "/gen/\n*.log\n");
    project.write("src/file", "");
    project.write("deep/er/file", "");
    project.write("gen/file", "one");
    project.good(&["start"]);
    until("it runs", || project.read("seen").contains("one"));
    project.write("gen/file", "two");
    until("the change is seen", || project.read("seen").contains("two"));
    project.write("gen/made/with.log", "new");
    project.write("gen/made/file", "new");
    let changed = || project.good(&["logs"]);
    until("what is made in it is seen", || {
        changed().contains("changed: gen/made/file")
    });
    assert!(!changed().contains("with.log"), "{}", changed());
}

#[test]
fn a_file_that_has_changed_is_told_until_a_restart_follows_it() {
    let scene = Scene::new();
    let one = "[process.a]\nrun = 'exec sleep 1000'\n";
    let project = scene.project("shop", one);
    project.good(&["start"]);
    let told = |args: &[&str]| project.told(args);
    let changed = "warning: `lakebase.dev.toml` has changed, and what runs is as it was";
    project.write(
        "lakebase.dev.toml",
        &(one.to_owned() + "# a word\n[check]\nrun = ['true']\n"),
    );
    assert!(!told(&["status"]).contains("warning"), "nothing else would run");
    project.write("lakebase.dev.toml", &one.replace("1000", "2000"));
    for args in [["status"], ["start"]] {
        let said = told(&args);
        assert!(
            said.contains(changed) && said.contains("`lakebase dev restart`"),
            "{said}"
        );
    }
    assert_eq!(project.status()["problems"].as_array().map(Vec::len), Some(1));
    project.write("lakebase.dev.toml", "[process.a]\nrun = ''");
    assert!(
        told(&["status"]).contains("cannot use `lakebase.dev.toml`: line 1: process `a`: `run` is empty")
    );
    project.write("lakebase.dev.toml", &one.replace("1000", "2000"));
    told(&["restart"]);
    assert!(!told(&["status"]).contains("warning"));
}

#[test]
fn restart_of_one_process_waits_for_as_long_as_it_is_told() {
    let scene = Scene::new();
    let project = scene.project(
        "shop",
        r#"
[process.web]
run = "[ -e go ] || exec sleep 1000; exec python3 -m http.server --bind 127.0.0.1 {port}"
port = "PORT"
"#,
    );
    project.write("go", "");
    let url = project.good(&["start"]);
    fs::remove_file(project.root.join("go")).expect("remove");
    assert_eq!(project.good(&["restart", "web", "--no-wait"]), url);
    until("it is started again", || {
        project.process("web")["state"] == "starting"
    });
    let (code, said) = project.bad(&["restart", "web", "--timeout", "1s"]);
    assert_eq!(
        (code, said.contains("not ready after 1 s: web")),
        (5, true),
        "{said}"
    );
}

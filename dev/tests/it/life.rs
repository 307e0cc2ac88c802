//! From start to stop, and what remains when something is killed in between.

use crate::world::{DEV, WEB, World, get, kill_9, stdout_of, text, until};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn start_waits_until_it_answers_and_prints_the_url() {
    let world = World::new();
    let tree = world.tree("a", WEB);
    tree.write("not-ready", "");
    let mut start = tree.background(&["start"]);
    until("it serves, and is not ready", || {
        tree.status()["running"] == true && get(tree.status()["url"].as_str().expect("a URL")).is_some()
    });
    assert_eq!(tree.process("web")["state"], "starting");
    assert!(start.try_wait().expect("wait").is_none(), "it waits");
    assert_eq!(tree.fails(&["status"]).0, 5);
    fs::remove_file(tree.root.join("not-ready")).expect("remove");
    let out = stdout_of(start);
    assert!(out.status.success(), "{out:?}");
    let url = text(&out.stdout);
    assert_eq!(get(url.trim()).as_deref(), Some("hello"));
    tree.ok(&["status"]);
    assert_eq!(tree.start(), url.trim(), "started again it is the same");
}

#[test]
fn start_gives_up_in_time_and_leaves_it_running() {
    let world = World::new();
    let tree = world.tree("a", WEB);
    tree.write("not-ready", "");
    let (code, said) = tree.fails(&["start", "--timeout", "1s"]);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("not ready after 1 s: web"), "{said}");
    tree.ok(&["start", "--no-wait"]);
    fs::remove_file(tree.root.join("not-ready")).expect("remove");
    tree.start();
}

#[test]
fn a_process_that_fails_is_told_with_its_last_words() {
    let world = World::new();
    let tree = world.tree("a", "[process.web]\nrun = \"echo out of eggs >&2; exit 3\"");
    let (code, said) = tree.fails(&["start"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("  | out of eggs"), "{said}");
    assert!(
        said.contains("process `web`: it ended by itself: exit status: 3"),
        "{said}"
    );
    assert!(said.contains("hint: see `lakebase dev logs web`"), "{said}");
}

#[test]
fn one_that_crashes_is_started_again_ever_more_slowly() {
    let world = World::new();
    let tree = world.tree("a", "[process.web]\nrun = \"exit 3\"");
    tree.fails(&["start"]);
    until("it was tried three times", || {
        tree.process("web")["restarts"].as_u64() >= Some(3)
    });
    let logs = tree.ok(&["logs", "web"]);
    for pause in [
        "started again 0.5 s later",
        "started again 1 s later",
        "started again 2 s later",
    ] {
        assert!(logs.contains(pause), "{logs}");
    }
    assert_eq!(tree.fails(&["status"]).0, 5);
    assert_eq!(tree.process("web")["state"], "crashed");
}

#[test]
fn one_that_is_killed_comes_back_on_its_port() {
    let world = World::new();
    let tree = world.tree("a", WEB);
    let url = tree.start();
    let pid = tree.pid("web");
    kill_9(pid);
    until("it is ready again", || {
        let process = tree.process("web");
        process["state"] == "ready" && process["pid"] != pid
    });
    assert_eq!(tree.process("web")["restarts"], 1);
    assert_eq!(get(&url).as_deref(), Some("hello"));
}

#[test]
fn stop_leaves_nobody_also_not_those_that_hide_or_refuse() {
    let world = World::new();
    // One in the background, one in a group of its own, one that does not end when asked.
    let file = r#"
[process.a]
run = "sleep 1000 & python3 -c 'import os, time; os.setpgid(0, 0); time.sleep(1000)' & trap '' TERM; while true; do sleep 0.1; done"
"#;
    let tree = world.tree("a", file);
    tree.start();
    until("all of them run", || tree.living().len() >= 5);
    assert_eq!(tree.ok(&["stop"]), "stopped\n");
    assert_eq!(tree.living(), Vec::<u32>::new());
    assert_eq!(tree.ok(&["stop"]), "nothing ran\n");
    assert_eq!(tree.fails(&["status"]).0, 3);
}

#[test]
fn what_a_killed_supervisor_left_is_ended_and_the_port_is_kept() {
    let world = World::new();
    let tree = world.tree("a", WEB);
    let url = tree.start();
    let old = tree.pid("web");
    kill_9(tree.status()["pid"].as_u64().expect("it runs"));
    assert!(get(&url).is_some(), "the orphan serves");
    assert_eq!(tree.start(), url);
    assert!(!tree.living().iter().any(|pid| u64::from(*pid) == old));
    kill_9(tree.status()["pid"].as_u64().expect("it runs"));
    let (code, said) = tree.fails(&["status"]);
    assert_eq!(code, 3);
    assert!(said.contains("ended what it had left running"), "{said}");
    assert_eq!(tree.living(), Vec::<u32>::new());
    tree.start();
    kill_9(tree.status()["pid"].as_u64().expect("it runs"));
    assert_eq!(tree.ok(&["stop"]), "stopped\n");
    assert_eq!(tree.living(), Vec::<u32>::new());
}

#[test]
fn a_worktree_that_is_removed_takes_its_processes_with_it() {
    let world = World::new();
    let tree = world.tree("a", WEB);
    tree.start();
    let state = tree.state_dir();
    fs::remove_dir_all(&tree.root).expect("remove");
    until("nothing runs", || tree.living().is_empty());
    assert!(!state.exists(), "what was kept about it is gone");
}

#[test]
fn two_starts_at_once_start_one() {
    let world = World::new();
    let tree = world.tree("a", WEB);
    let starts: Vec<_> = (0..4).map(|_| tree.background(&["start"])).collect();
    let urls: Vec<_> = starts
        .into_iter()
        .map(|start| text(&stdout_of(start).stdout))
        .collect();
    assert!(
        urls.iter()
            .all(|url| *url == urls[0] && url.starts_with("http://")),
        "{urls:?}"
    );
    assert_eq!(tree.living().len(), 2, "one supervisor, one server");
}

#[test]
fn restart_reads_the_file_again_or_touches_one_process_alone() {
    let world = World::new();
    let tree = world.tree("a", &format!("{WEB}[process.other]\nrun = \"exec sleep 1000\""));
    let url = tree.start();
    let (web, other) = (tree.pid("web"), tree.pid("other"));
    assert_eq!(tree.ok(&["restart", "web"]).trim(), url);
    assert_ne!(tree.pid("web"), web);
    assert_eq!(tree.pid("other"), other);
    let (code, said) = tree.fails(&["restart", "webb"]);
    assert_eq!(code, 1, "{said}");
    tree.write("lakebase.dev.toml", "[process.web");
    assert_eq!(
        tree.fails(&["restart"]).0,
        4,
        "nothing is stopped for a file that is wrong"
    );
    assert_eq!(tree.pid("other"), other);
    tree.write("lakebase.dev.toml", WEB);
    assert_eq!(tree.ok(&["restart"]).trim(), url);
    assert_eq!(tree.status()["processes"].as_array().map(Vec::len), Some(1));
}

#[test]
fn one_that_wants_a_database_is_run_by_lakebase_run() {
    let world = World::new();
    let file = "[process.web]\nrun = \"echo at $DATABASE_URL; exec sleep 1000\"\ndatabase = true";
    let tree = world.tree("a", file);
    let bin = world.dir().join("bin");
    fs::create_dir(&bin).expect("mkdir");
    fs::copy(DEV, bin.join("lakebase-dev")).expect("copy");
    let lakebase =
        "#!/bin/sh\n[ \"$1 $2\" = 'run --' ] || exit 9\nshift 2\nDATABASE_URL=the-branch exec \"$@\"\n";
    fs::write(bin.join("lakebase"), lakebase).expect("write");
    fs::set_permissions(bin.join("lakebase"), fs::Permissions::from_mode(0o755)).expect("chmod");
    let out = tree
        .program(&bin.join("lakebase-dev"), &["start"])
        .output()
        .expect("it runs");
    assert!(out.status.success(), "{out:?}");
    until("it has said so", || {
        tree.ok(&["logs"]).contains("web | at the-branch")
    });
}

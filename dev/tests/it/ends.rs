//! Nothing stays behind: after `stop`, after the supervisor was killed, and when the worktree is removed.

use crate::scene::{Project, Scene, until};
use crate::start::WEB;
use std::fs;
use std::process::Command;

/// Children of every sort: in the group, in a group and a session of their own, and one that does not listen.
const TREE: &str = r#"
[process.tree]
run = "sleep 1001 & setsid sleep 1002 & sh -c 'trap \"\" TERM; touch deaf; while :; do sleep 0.1; done' & touch up; wait"
"#;

fn kill_supervisor(project: &Project<'_>) {
    let pid = project.status()["pid"].to_string();
    let killed = Command::new("kill").args(["-9", &pid]).status();
    assert!(killed.expect("kill runs").success());
    let gone = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    until("it is gone", gone);
}

#[test]
fn stop_leaves_no_process() {
    let scene = Scene::new();
    let project = scene.project("shop", TREE);
    project.good(&["start"]);
    until("all are up", || {
        let all = scene.processes();
        let runs = |name: &str| all.iter().any(|line| line.contains(name));
        runs("sleep 1001") && runs("sleep 1002") && project.root.join("deaf").exists()
    });
    assert_eq!(project.good(&["stop"]), "stopped");
    assert_eq!(scene.processes(), [""; 0]);
    assert_eq!(project.good(&["stop"]), "nothing ran");
    let (code, said) = project.bad(&["status"]);
    assert_eq!(
        (code, said.contains("nothing runs in this worktree")),
        (3, true),
        "{said}"
    );
}

#[test]
fn the_supervisor_has_a_session_of_its_own() {
    let scene = Scene::new();
    let project = scene.project("shop", WEB);
    project.good(&["start"]);
    let pid = project.status()["pid"].to_string();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let session = stat.rsplit_once(')').expect("a name").1.split_whitespace().nth(3);
    assert_eq!(
        session,
        Some(pid.as_str()),
        "the end of the terminal would end it"
    );
}

#[test]
fn what_a_killed_supervisor_left_is_ended_and_the_ports_are_kept() {
    let scene = Scene::new();
    let project = scene.project("shop", WEB);
    let url = project.good(&["start"]);
    let before = project.process("web")["pid"].to_string();
    kill_supervisor(&project);
    assert!(!scene.processes().is_empty(), "its process outlived it");
    assert_eq!(project.good(&["start"]), url);
    let now = scene.processes();
    assert!(
        !now.iter().any(|line| line.starts_with(&format!("{before} "))),
        "{now:?}"
    );
    assert_eq!(now.len(), 2, "a supervisor and its process: {now:?}");

    kill_supervisor(&project);
    let (code, said) = project.bad(&["status"]);
    assert_eq!(
        (code, said.contains("the supervisor was killed")),
        (3, true),
        "{said}"
    );
    assert_eq!(scene.processes(), [""; 0]);

    project.good(&["start"]);
    kill_supervisor(&project);
    assert_eq!(project.good(&["stop"]), "stopped");
    assert_eq!(scene.processes(), [""; 0]);
}

#[test]
fn a_stranger_that_got_the_pid_of_what_was_left_is_left_alone() {
    let scene = Scene::new();
    let project = scene.project("shop", "[process.a]\nrun = 'exec sleep 1000'");
    project.good(&["start"]);
    kill_supervisor(&project);
    let mut stranger = Command::new("sleep").arg("1003").spawn().expect("sleep runs");
    // The same record, but for a pid that belongs to somebody else by now.
    let record = fs::read_dir(scene.state())
        .expect("listed")
        .flatten()
        .map(|entry| entry.path().join("run.json"))
        .find(|path| path.exists())
        .expect("a record");
    let mut run: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&record).expect("read")).expect("JSON");
    let leaders = run["groups"].as_array_mut().expect("a list");
    let mut reused = leaders[0].clone();
    reused["leader"] = stranger.id().into();
    leaders.push(reused);
    fs::write(&record, run.to_string()).expect("write");
    project.good(&["stop"]);
    assert_eq!(scene.processes(), [""; 0]);
    assert_eq!(stranger.try_wait().expect("ours"), None, "a stranger was ended");
    stranger.kill().expect("ours");
    stranger.wait().expect("ours");
}

#[test]
fn all_ends_when_the_worktree_is_removed() {
    let scene = Scene::new();
    let main = scene.project("main", WEB);
    let git = |args: &[&str]| {
        let done = Command::new("git")
            .args(["-c", "user.name=Jane", "-c", "user.email=jane@example.com", "-C"])
            .arg(&main.root)
            .args(args)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .expect("git runs");
        assert!(done.status.success(), "{}", crate::scene::err(&done));
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "all"]);
    git(&["worktree", "add", "--quiet", "--detach", "../agent"]);
    let agent = scene.project("agent", WEB);
    let (ours, theirs) = (main.good(&["start"]), agent.good(&["start"]));
    assert_ne!(ours, theirs);
    assert_eq!(scene.processes().len(), 4);
    git(&["worktree", "remove", "--force", "../agent"]);
    until("the agent's have ended", || scene.processes().len() == 2);
    assert_eq!(main.good(&["start"]), ours);
    until("nothing is kept about it", || {
        let kept = fs::read_dir(scene.state()).expect("listed").flatten();
        kept.filter(|entry| entry.path().is_dir()).count() == 1
    });
}

#[test]
fn all_ends_when_the_file_is_gone_for_good() {
    let scene = Scene::new();
    let project = scene.project("shop", WEB);
    let url = project.good(&["start"]);
    fs::remove_file(project.root.join("lakebase.dev.toml")).expect("remove");
    until("nothing runs that nobody could stop", || {
        scene.processes().is_empty()
    });
    project.write("lakebase.dev.toml", WEB);
    let log = project.good(&["logs"]);
    assert!(
        log.contains("stopped, because `lakebase.dev.toml` is gone"),
        "{log}"
    );
    assert_eq!(project.good(&["start"]), url);
}

#[test]
fn one_that_is_killed_comes_back_on_its_port() {
    let scene = Scene::new();
    let project = scene.project("shop", WEB);
    let url = project.good(&["start"]);
    let pid = project.process("web")["pid"].clone();
    assert!(
        Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .expect("kill runs")
            .success()
    );
    until("it is back", || {
        let web = project.process("web");
        web["state"] == "ready" && web["pid"] != pid
    });
    let web = project.process("web");
    assert_eq!((&web["url"], &web["restarts"]), (&url.into(), &1.into()));
}

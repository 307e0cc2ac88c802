//! What the commands print, for people, shells and programs, and what they exit with.

use crate::fake::{PASSWORD, World};
use crate::scene::{Scene, failure, json, stdout, write};
use lakebase_proto::v1::{self, WorktreeState};
use lakebase_proto::{PROTOCOL, Reason};
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

/// Every command that asks the daemon.
const ASKING: [&[&str]; 9] = [
    &["init"],
    &["status"],
    &["ls"],
    &["env"],
    &["run", "--", "true"],
    &["psql"],
    &["reconcile"],
    &["trust"],
    &["hook", "install"],
];

#[test]
fn without_a_daemon_every_command_says_how_to_start_it() {
    let scene = Scene::new();
    for args in ASKING {
        let (code, text) = failure(&mut scene.lakebase(args));
        assert_eq!(code, 3, "{args:?}: {text}");
        assert!(
            text.ends_with("is not running\nhint: start it with `lakebase up`\n"),
            "{args:?}: {text}"
        );
    }
}

#[test]
fn the_exit_code_follows_the_reason() {
    let scene = Scene::new();
    let fake = scene.ready();
    for (reason, expected) in [
        (Reason::NotARepository, 4),
        (Reason::NotRegistered, 4),
        (Reason::NotConfigured, 4),
        (Reason::NotReady, 5),
        (Reason::Blocked, 5),
        (Reason::ShuttingDown, 3),
        (Reason::Internal, 1),
    ] {
        fake.world().refusal = Some(reason);
        let (code, text) = failure(&mut scene.lakebase(&["env"]));
        assert_eq!(code, expected, "{reason:?}");
        assert_eq!(
            text,
            "error: cannot get a credential: refused by the test\nhint: stop testing\n"
        );
    }
}

#[test]
fn a_wrong_argument_is_wrong_usage() {
    let scene = Scene::new();
    assert_eq!(failure(&mut scene.lakebase(&["lss"])).0, 2);
    assert_eq!(failure(&mut scene.lakebase(&["env", "--format", "xml"])).0, 2);
    assert!(stdout(&mut scene.lakebase(&["--help"])).contains("Exit codes:"));
}

#[test]
fn a_server_that_hangs_up_is_told_as_such() {
    let scene = Scene::new();
    let listener = UnixListener::bind(scene.socket()).expect("bind");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        stream.read_exact(&mut [0; 1]).expect("the first byte");
    });
    let (code, text) = failure(&mut scene.lakebase(&["ls"]));
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("cannot speak to lakebased"), "{text}");
    server.join().expect("it ends");
}

#[test]
fn a_shell_gets_the_variables_as_they_are() {
    let scene = Scene::new();
    let _fake = scene.ready();
    let script = "eval \"$(\"$0\" env)\"; printf '%s\\n' \"$PGPASSWORD\" \"$PGHOST\" \"$PGSSLROOTCERT\" \"${PGSERVICE-unset}\"";
    let mut shell = scene.pinned("sh", &scene.root());
    let out = stdout(
        shell
            .args(["-c", script, crate::scene::LAKEBASE])
            .env("PGSERVICE", "elsewhere"),
    );
    assert_eq!(out, format!("{PASSWORD}0\n127.0.1.5\n/nowhere/ca.crt\nunset\n"));
}

#[test]
fn rotation_asks_for_a_new_password() {
    let scene = Scene::new();
    let _fake = scene.ready();
    let password = |args: &[&str]| json(&mut scene.lakebase(args))["PGPASSWORD"].clone();
    assert_eq!(password(&["env", "--json"]), format!("{PASSWORD}0"));
    assert_eq!(password(&["env", "--json", "--rotate"]), format!("{PASSWORD}1"));
    assert_eq!(password(&["env", "--format", "json"]), format!("{PASSWORD}1"));
}

#[test]
fn the_url_and_the_env_file_hold_the_same() {
    let scene = Scene::new();
    let _fake = scene.ready();
    let text = stdout(&mut scene.lakebase(&["env", "--format", "dotenv"]));
    let url = "DATABASE_URL='postgresql://jane%40localhost:CANARY%27pass%20word-0@127.0.1.5:5432/databricks_postgres\
               ?sslmode=verify-full&sslrootcert=%2Fnowhere%2Fca.crt'";
    assert!(text.lines().any(|line| line == url), "{text}");
    assert!(text.lines().any(|line| line == "PGHOST=127.0.1.5"), "{text}");
    // No spelling of this password means the same to all who read such a file.
    assert!(
        text.lines()
            .any(|line| line.starts_with("# PGPASSWORD is left out")),
        "{text}"
    );
}

#[test]
fn a_command_runs_with_the_variables_and_its_own_exit_code() {
    let scene = Scene::new();
    let _fake = scene.ready();
    let out = stdout(&mut scene.lakebase(&["run", "--", "sh", "-c", "echo $PGUSER $PGDATABASE"]));
    assert_eq!(out, "jane@localhost databricks_postgres\n");
    assert_eq!(
        failure(&mut scene.lakebase(&["run", "sh", "-c", "exit 42"])).0,
        42
    );
    assert_eq!(failure(&mut scene.lakebase(&["run", "no-such-command"])).0, 127);
    assert_eq!(failure(&mut scene.lakebase(&["run", "/"])).0, 126);
}

#[test]
fn psql_gets_its_arguments_and_never_the_password_among_them() {
    let scene = Scene::new();
    let _fake = scene.ready();
    let bin = scene.dir().join("bin");
    let psql = bin.join("psql");
    write(
        &psql,
        "#!/bin/sh\necho \"args: $*\"; echo \"password: $PGPASSWORD\"\n",
    );
    std::fs::set_permissions(&psql, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let mut command = scene.lakebase(&["psql", "-c", "select 1", "--csv"]);
    let out = stdout(command.env("PATH", path));
    assert_eq!(out, format!("args: -c select 1 --csv\npassword: {PASSWORD}0\n"));
}

#[test]
fn a_missing_psql_is_named_by_its_package() {
    let scene = Scene::new();
    let _fake = scene.ready();
    let (code, text) = failure(scene.lakebase(&["psql"]).env("PATH", "/nonexistent"));
    assert_eq!(code, 127);
    assert!(text.contains("postgresql-client"), "{text}");
}

#[test]
fn worktrees_are_listed_as_a_tree() {
    let scene = Scene::new();
    let _fake = scene.ready();
    let text = stdout(&mut scene.lakebase(&["ls"]));
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("BRANCH"), "{text}");
    assert_eq!(lines[1], "production");
    assert!(lines[2].starts_with("└─ jane-main  ready  in "), "{text}");
    let end = format!(
        "7.8 MB (1.0 MB own)  owned      {} (here)",
        scene.root().display()
    );
    assert!(lines[2].ends_with(&end), "{text}");
}

#[test]
fn branches_that_no_worktree_is_on_are_listed_too() {
    let scene = Scene::new();
    let fake = scene.ready();
    fake.world().unused.push(v1::UnusedBranch {
        repository_id: "r1".into(),
        branch: Some(v1::Branch {
            branch_id: "jane-left".into(),
            uid: "br-2".into(),
            source_branch: "projects/shop/branches/production".into(),
            ownership: v1::Ownership::Owned.into(),
            logical_size_bytes: 1_000_000,
            own_size_bytes: 1_200_000,
            ..v1::Branch::default()
        }),
        orphaned: false,
        why: "no worktree is on it now".into(),
    });
    let text = stdout(&mut scene.lakebase(&["ls"]));
    let lines: Vec<_> = text.lines().collect();
    let words: Vec<_> = lines[2].split_whitespace().collect();
    assert_eq!(
        words.join(" "),
        "├─ jane-left unused never 1.2 MB, all own owned - (no worktree is on it now)"
    );
    assert!(lines[3].starts_with("└─ jane-main"), "{text}");
    let listed = json(&mut scene.lakebase(&["ls", "--json"]));
    let unused = &listed["unused"][0];
    assert_eq!(unused["branch"]["branch_id"], "jane-left");
    assert_eq!(unused["orphaned"], false);
    assert_eq!(unused["why"], "no worktree is on it now");
}

#[test]
fn the_json_of_a_worktree_keeps_its_shape() {
    let scene = Scene::new();
    let _fake = scene.ready();
    let listed = json(&mut scene.lakebase(&["ls", "--json"]));
    let expected = serde_json::json!({"worktrees": [{
        "repository_id": "r1",
        "worktree_id": null,
        "path": scene.root(),
        "git_branch": "main",
        "detached_at": null,
        "locked": false,
        "state": "ready",
        "why": "the branch is there \u{202e}\u{1b}[31m",
        "branch": {
            "branch_id": "jane-main",
            "name": "projects/shop/branches/jane-main",
            "uid": "br-1",
            "source_branch": "projects/shop/branches/production",
            "expire_time": "2100-01-01T00:00:00Z",
            "create_time": "2023-11-14T22:13:20Z",
            "ownership": "owned",
            "logical_size_bytes": 7_864_320,
            "own_size_bytes": 1_048_576,
        },
        "problem": null,
    }], "unused": []});
    assert_eq!(listed, expected);
}

#[test]
fn sec_15_nothing_from_elsewhere_moves_the_cursor() {
    let scene = Scene::new();
    let _fake = scene.ready();
    for args in [&["status"][..], &["ls", "--json"], &["status", "--json"]] {
        let text = stdout(&mut scene.lakebase(args));
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{args:?}: {text}");
    }
}

#[test]
fn status_shows_daemon_repositories_and_worktree() {
    let scene = Scene::new();
    let _fake = scene.ready();
    let text = stdout(&mut scene.lakebase(&["status"]));
    for part in [
        "9.8.7",
        "http://127.0.0.1:7777",
        "15.14",
        "watched by events",
        "git branch main",
        "jane-main (owned)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let elsewhere = stdout(scene.lakebase(&["status"]).current_dir(scene.dir()));
    assert!(elsewhere.contains("in no registered repository"), "{elsewhere}");
}

#[test]
fn the_json_of_status_keeps_its_shape() {
    let scene = Scene::new();
    let _fake = scene.ready();
    let status = json(&mut scene.lakebase(&["status", "--json"]));
    assert_eq!(status["daemon"]["version"], "9.8.7");
    assert_eq!(status["daemon"]["local_lakebase"]["postgres_version"], "15.14");
    assert_eq!(status["repositories"][0]["watch_mode"], "events");
    assert_eq!(status["repositories"][0]["project_id"], serde_json::Value::Null);
    assert_eq!(status["daemon"]["ledger_problem"], serde_json::Value::Null);
    assert_eq!(status["worktree"]["branch"]["branch_id"], "jane-main");
}

#[test]
fn status_without_a_daemon_is_json_too() {
    let scene = Scene::new();
    let out = scene
        .lakebase(&["status", "--json"])
        .assert()
        .code(3)
        .get_output()
        .clone();
    let status: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(status["daemon"], serde_json::Value::Null);
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let scene = Scene::new();
    let _fake = scene.ready();
    let is_coloured = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = scene.lakebase(args);
        stdout(command.envs(env.iter().copied())).contains('\u{1b}')
    };
    assert!(!is_coloured(&["ls"], &[]));
    // Asked for although nobody looks.
    let force = ("CLICOLOR_FORCE", "1");
    assert!(is_coloured(&["ls"], &[force]));
    assert!(!is_coloured(&["ls", "--no-color"], &[force]));
    assert!(!is_coloured(&["ls"], &[force, ("NO_COLOR", "1")]));
}

#[test]
fn a_daemon_of_another_time_is_warned_of_once() {
    let scene = Scene::new();
    let world = World {
        protocol: PROTOCOL + 1,
        ..World::ready(&scene.root())
    };
    let _fake = crate::fake::Fake::start(&scene.socket(), world);
    let out = scene.lakebase(&["ls"]).assert().success().get_output().clone();
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(text.matches("warning:").count(), 1, "{text}");
    assert!(text.contains("9.8.7 is newer"), "{text}");
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let scene = Scene::new();
    let _fake = scene.ready();
    let mut child = std::process::Command::new(crate::scene::LAKEBASE)
        .args(["status"])
        .current_dir(scene.root())
        .env("LAKEBASE_SOCKET", scene.socket())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let out = child.wait_with_output().expect("it ends");
    assert!(out.status.success(), "{out:?}");
    assert!(out.stderr.is_empty(), "{out:?}");
}

#[test]
fn a_look_can_be_waited_for() {
    let scene = Scene::new();
    let fake = scene.ready();
    write(
        &scene.root().join("lakebase.config"),
        "LAKEBASE_PROJECT_ID=\"shop\"\n",
    );
    fake.world().state = WorktreeState::Pending;
    stdout(&mut scene.lakebase(&["reconcile"]));
    assert_eq!(fake.world().state, WorktreeState::Pending);
    stdout(&mut scene.lakebase(&["reconcile", "--wait"]));
    assert_eq!(fake.world().state, WorktreeState::Ready);
}

#[test]
fn shells_can_complete_commands() {
    let scene = Scene::new();
    assert!(stdout(&mut scene.lakebase(&["completions", "bash"])).contains("reconcile"));
}

#[test]
fn the_doctor_looks_at_what_lies_before_the_daemon_when_there_is_none() {
    let scene = Scene::new();
    let (code, text) = failure(&mut scene.lakebase(&["doctor"]));
    assert_eq!((code, text.as_str()), (1, "error: one check failed\n"));
    let out = scene
        .lakebase(&["doctor", "--json"])
        .assert()
        .code(1)
        .get_output()
        .clone();
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(report["healthy"], false);
    assert_eq!(report["checks"][0]["name"], "daemon");
    assert_eq!(report["checks"][0]["fix"], "start it with `lakebase up`");
    assert_eq!(report["checks"][1]["state"], "skipped");
}

#[test]
fn the_doctor_shows_what_the_daemon_found_and_a_warning_is_no_failure() {
    let scene = Scene::new();
    let fake = scene.ready();
    let set_mode = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(scene.socket(), mode).expect("chmod");
    };
    set_mode(0o666);
    let out = scene.lakebase(&["doctor"]).assert().code(1).get_output().clone();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(text.contains("is not for you alone (mode 0666)"), "{text}");
    set_mode(0o600);
    let text = stdout(&mut scene.lakebase(&["doctor"]));
    for part in [
        "Programs\n",
        "lakebase 0.1.0 and lakebased 9.8.7 differ",
        "is for you alone",
        "Repository\n  ok  repository  it is registered\n",
        "warning  git  an old git",
        "    fix: install a newer one\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    fake.world().registered = false;
    let (code, _) = failure(&mut scene.lakebase(&["doctor"]));
    assert_eq!(code, 1);
}

fn change(key: &str, confirmed: Option<&str>, proposed: Option<&str>) -> v1::ConfigurationChange {
    v1::ConfigurationChange {
        key: key.into(),
        confirmed: confirmed.map(str::to_owned),
        proposed: proposed.map(str::to_owned),
    }
}

#[test]
fn sec_56_trust_shows_what_it_confirms_and_init_does_the_same() {
    let scene = Scene::new();
    let fake = scene.ready();
    write(
        &scene.root().join("lakebase.config"),
        "LAKEBASE_PROJECT_ID=shop\n",
    );
    fake.world().proposed = vec![
        change("LAKEBASE_PROJECT_ID", Some("shop"), Some("other\u{1b}[2K")),
        change("LAKEBASE_PROFILE", None, Some("prod")),
    ];
    let text = stdout(&mut scene.lakebase(&["trust", "--dry-run"]));
    assert!(!text.contains('\u{1b}'), "{text}");
    for part in ["LAKEBASE_PROJECT_ID  shop       ->", "(not set)  ->  prod"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(fake.world().trusted.is_empty());
    assert_eq!(stdout(&mut scene.lakebase(&["trust"])), text);
    assert_eq!(fake.world().trusted, ["the proposal"]);
    let shown = json(&mut scene.lakebase(&["--json", "trust"]));
    assert_eq!(shown["confirmed"], true);
    assert_eq!(shown["changes"][1]["confirmed"], serde_json::Value::Null);
    let shown = json(&mut scene.lakebase(&["--json", "init", "--no-hook"]));
    assert_eq!(shown["changes"][0]["key"], "LAKEBASE_PROJECT_ID");
    assert_eq!(fake.world().trusted.len(), 3);
    fake.world().proposed.clear();
    stdout(&mut scene.lakebase(&["trust"]));
    assert_eq!(fake.world().trusted.len(), 3, "there was nothing to confirm");
}

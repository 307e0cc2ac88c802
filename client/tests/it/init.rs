//! `lakebase init` and `lakebase hook`: what is there stays, what is missing is made.

use crate::scene::{HOOK, Scene, failure, json, stdout, write};
use lakebase_proto::v1::{Problem, WorktreeState};
use std::fs;
use std::path::Path;
use std::time::Duration;

const ADVICE: &str = "lakebase hook post-checkout \"$@\"";

fn config(scene: &Scene) -> String {
    fs::read_to_string(scene.root().join("lakebase.config")).expect("the configuration")
}

#[test]
fn a_fresh_repository_gets_configuration_hook_and_branch() {
    let scene = Scene::new();
    let fake = scene.fresh();
    fake.world().making = Duration::from_millis(300);
    let out = scene.lakebase(&["init"]).assert().success().get_output().clone();
    let (text, progress) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(text.contains("project  shop\n"), "{text}");
    assert!(text.contains("lakebase.config (written)"), "{text}");
    assert!(text.contains("post-checkout (installed)"), "{text}");
    assert!(text.contains("branch   jane-main (ready)"), "{text}");
    assert_eq!(progress, "making branch jane-main ...\n");
    assert!(config(&scene).contains("\nLAKEBASE_PROJECT_ID=\"shop\"\n"));
    assert_eq!(
        fs::read_link(scene.hook_place()).expect("a link"),
        Path::new(HOOK).canonicalize().expect("the hook")
    );
}

#[test]
fn it_works_below_the_root_and_a_second_time() {
    let scene = Scene::new();
    let _fake = scene.fresh();
    let below = scene.root().join("src");
    fs::create_dir(&below).expect("mkdir");
    stdout(
        scene
            .lakebase(&["init", "--project", "store-7"])
            .current_dir(&below),
    );
    let before = config(&scene);
    assert!(before.contains("\nLAKEBASE_PROJECT_ID=\"store-7\"\n"));
    let again = json(&mut scene.lakebase(&["init", "--project", "store-7", "--json"]));
    assert_eq!(again["config_written"], false);
    assert_eq!(again["hook"]["state"], "present");
    assert_eq!(again["worktree"]["state"], "ready");
    assert_eq!(again["repository"]["project_id"], "store-7");
    assert_eq!(config(&scene), before);
}

#[test]
fn another_project_than_configured_is_refused() {
    let scene = Scene::new();
    let _fake = scene.fresh();
    write(
        &scene.root().join("lakebase.config"),
        "LAKEBASE_PROJECT_ID='mine'\n",
    );
    let (code, text) = failure(&mut scene.lakebase(&["init", "--project", "other"]));
    assert_eq!(code, 1);
    assert!(text.contains("names `mine`"), "{text}");
    assert_eq!(config(&scene), "LAKEBASE_PROJECT_ID='mine'\n");
}

#[test]
fn a_bad_project_is_refused_before_anything_is_done() {
    let scene = Scene::new();
    let fake = scene.fresh();
    let (code, text) = failure(&mut scene.lakebase(&["init", "--project", "My Shop"]));
    assert_eq!(code, 2);
    assert!(text.contains("hint: try `--project my-shop`"), "{text}");
    assert!(!fake.world().registered);
}

#[test]
fn git_15_a_hook_of_somebody_elses_stays_to_the_byte() {
    let scene = Scene::new();
    let _fake = scene.fresh();
    let script = "#!/bin/sh\r\necho \"mine\" # no newline at the end";
    write(&scene.hook_place(), script);
    let out = scene.lakebase(&["init"]).assert().success().get_output().clone();
    let hint = String::from_utf8_lossy(&out.stderr);
    assert!(hint.contains(ADVICE), "{hint}");
    stdout(&mut scene.lakebase(&["hook", "install"]));
    let removed = json(&mut scene.lakebase(&["hook", "uninstall", "--json"]));
    assert_eq!(removed["state"], "foreign");
    assert_eq!(fs::read_to_string(scene.hook_place()).expect("read"), script);
}

#[test]
fn no_hook_means_no_hook() {
    let scene = Scene::new();
    let _fake = scene.fresh();
    stdout(&mut scene.lakebase(&["init", "--no-hook"]));
    assert!(fs::symlink_metadata(scene.hook_place()).is_err());
}

#[test]
fn git_15_a_hooks_directory_outside_of_the_repository_needs_a_word() {
    let scene = Scene::new();
    let fake = scene.fresh();
    let shared = scene.dir().join("shared-hooks");
    fake.world().hooks_dir.clone_from(&shared);
    let out = scene.lakebase(&["init"]).assert().success().get_output().clone();
    let hint = String::from_utf8_lossy(&out.stderr);
    assert!(hint.contains("core.hooksPath"), "{hint}");
    assert!(!shared.exists());
    stdout(&mut scene.lakebase(&["hook", "install"]));
    assert!(shared.join("post-checkout").is_symlink());
}

#[test]
fn git_15_a_hooks_directory_that_leads_out_needs_a_word_too() {
    let scene = Scene::new();
    let fake = scene.fresh();
    let outside = scene.dir().join("outside");
    fs::create_dir(&outside).expect("made");
    let git_dir = scene.root().join(".git");
    std::os::unix::fs::symlink(&outside, git_dir.join("link")).expect("linked");
    for hooks in ["../../outside", "link", "link/hooks", "hooks/../../../outside"] {
        fake.world().hooks_dir = git_dir.join(hooks);
        let out = scene.lakebase(&["init"]).assert().success().get_output().clone();
        let hint = String::from_utf8_lossy(&out.stderr);
        assert!(hint.contains("core.hooksPath"), "{hooks}: {hint}");
        assert_eq!(fs::read_dir(&outside).expect("listed").count(), 0, "{hooks}");
    }
    fake.world().hooks_dir = git_dir.join("own/hooks");
    stdout(&mut scene.lakebase(&["init"]));
    assert!(git_dir.join("own/hooks/post-checkout").is_symlink());
}

#[test]
fn the_hook_comes_and_goes() {
    let scene = Scene::new();
    let _fake = scene.ready();
    let state = |verb: &str| json(&mut scene.lakebase(&["hook", verb, "--json"]))["state"].clone();
    assert_eq!(state("uninstall"), "absent");
    assert_eq!(state("install"), "installed");
    assert_eq!(state("install"), "present");
    assert!(scene.hook_place().is_symlink());
    assert_eq!(state("uninstall"), "removed");
    assert!(!scene.hook_place().is_symlink());
}

#[test]
fn a_branch_that_cannot_be_had_is_told_with_its_fix() {
    let scene = Scene::new();
    let fake = scene.fresh();
    fake.world().state = WorktreeState::Blocked;
    fake.world().problem = Some(Problem {
        message: "PostgreSQL is not installed".into(),
        fix: "apt install postgresql".into(),
    });
    let (code, text) = failure(&mut scene.lakebase(&["init"]));
    assert_eq!(code, 5);
    let expected = "error: the branch of this worktree is not ready: PostgreSQL is not installed\n\
                    hint: apt install postgresql\n";
    assert!(text.ends_with(expected), "{text}");
    assert!(fake.world().registered);
}

#[test]
fn an_env_file_that_git_would_commit_is_told() {
    let scene = Scene::new();
    let fake = scene.fresh();
    fake.world().problem = Some(Problem {
        message: "did not write `.env`: git does not ignore it".into(),
        fix: "add `.env` to .gitignore".into(),
    });
    let out = scene.lakebase(&["init"]).assert().success().get_output().clone();
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(text.contains("warning: did not write `.env`"), "{text}");
    assert!(text.contains("fix: add `.env` to .gitignore"), "{text}");
    assert!(!scene.root().join(".gitignore").exists());
}

#[test]
fn outside_of_any_repository_there_is_nothing_to_register() {
    let scene = Scene::new();
    let _fake = scene.fresh();
    let (code, text) = failure(scene.lakebase(&["init"]).current_dir(scene.dir()));
    assert_eq!(code, 4);
    assert!(
        text.starts_with("error: cannot register the repository: "),
        "{text}"
    );
}

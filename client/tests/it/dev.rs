//! `lakebase dev` becomes the program beside it.

use crate::scene::{LAKEBASE, Scene, failure, stdout, write};
use std::path::Path;
use std::process::Command;

/// `lakebase`, copied beside what is written here as `lakebase-dev`.
fn installed(scene: &Scene, script: Option<&str>) -> assert_cmd::Command {
    let bin = scene.dir().join("bin");
    let program = bin.join("lakebase-dev");
    write(&program, script.unwrap_or_default());
    let copy = |command: &str, paths: [&Path; 2]| {
        let status = Command::new(command).args(paths).status();
        assert!(status.expect("it runs").success());
    };
    copy("cp", [Path::new(LAKEBASE), &bin.join("lakebase")]);
    if script.is_some() {
        copy("chmod", [Path::new("755"), &program]);
    } else {
        std::fs::remove_file(program).expect("remove");
    }
    scene.pinned(bin.join("lakebase"), &scene.root())
}

#[test]
fn dev_hands_everything_over() {
    let scene = Scene::new();
    let mut command = installed(&scene, Some("#!/bin/sh\nprintf '<%s>' \"$@\"\n"));
    let said = stdout(command.args(["--no-color", "dev", "logs", "-f", "-d", "1h", "--help", "a b"]));
    assert_eq!(said, "<--no-color><logs><-f><-d><1h><--help><a b>");
    let said = stdout(
        installed(&scene, Some("#!/bin/sh\nprintf '<%s>' \"$@\"\n")).args(["dev", "status", "--json"]),
    );
    assert!(said.contains("<status>") && said.contains("<--json>"), "{said}");
    let mut command = installed(&scene, Some("#!/bin/sh\nexit 5\n"));
    assert_eq!(failure(command.args(["dev", "status"])).0, 5);
}

#[test]
fn dev_without_its_program_says_what_to_install() {
    let scene = Scene::new();
    let (code, said) = failure(
        installed(&scene, None)
            .args(["dev", "start"])
            .env("PATH", "/nonexistent"),
    );
    assert_eq!(code, 1);
    assert!(
        said.contains("hint: install `lakebase-dev` beside `lakebase`"),
        "{said}"
    );
}

#[test]
fn help_and_completions_know_dev() {
    let scene = Scene::new();
    assert!(stdout(&mut scene.lakebase(&["--help"])).contains("  dev "));
    assert!(stdout(&mut scene.lakebase(&["completions", "bash"])).contains("lakebase,dev)"));
}

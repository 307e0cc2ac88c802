//! `lakebase doctor` as a person sees it: run as a program, and compared with what is committed, byte for byte, once what is
//! another each time was replaced. `LAKEBASE_TEST_UPDATE=1` writes what was seen instead.

use crate::world::World;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs the command line in the main worktree.
pub(crate) fn lakebase(world: &World, args: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_lakebased")).with_file_name("lakebase");
    assert!(
        program.is_file(),
        "build the workspace first: there is no {}",
        program.display()
    );
    Command::new(program)
        .args(args)
        .current_dir(world.main())
        .env_clear()
        .env("HOME", world.path(""))
        .env("LAKEBASE_SOCKET", world.socket())
        .output()
        .expect("it runs")
}

/// What `lakebase doctor` prints and exits with, and what `lakebase status` says is wrong. `host` is the service's.
pub(crate) fn seen(world: &World, host: &str) -> String {
    let doctor = lakebase(world, &["doctor"]);
    let status = lakebase(world, &["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    let repositories = status.lines().skip_while(|line| *line != "Repositories");
    let about = repositories.take_while(|line| !line.is_empty());
    let text = format!(
        "$ lakebase doctor\n{}{}[exit {}]\n\n$ lakebase status\n{}\n",
        String::from_utf8_lossy(&doctor.stdout),
        String::from_utf8_lossy(&doctor.stderr),
        doctor.status.code().expect("it was not killed"),
        about.collect::<Vec<_>>().join("\n")
    );
    steady(world, host, &text)
}

/// Replaces what is another each time.
fn steady(world: &World, host: &str, text: &str) -> String {
    let version = format!(" {}", env!("CARGO_PKG_VERSION"));
    let text = text
        .replace(host, "<host>")
        .replace(world.path("").to_string_lossy().trim_end_matches('/'), "<dir>")
        .replace(&version, " <version>");
    let text = between(&text, "(pid ", ")", "<pid>");
    let text = between(&text, "[TraceId: ", "]", "<trace>");
    let text = between(&text, "(os error ", ")", "<number>");
    let text = between(&text, "install PostgreSQL 15 or newer (", ")", "<command>");
    let text = between(&text, "git         git version ", "\n", "<version>");
    let text = between(&text, "disk        ", " GB", "<free>");
    between(&text, "postgresql  ", " for Local", "<version>")
}

/// Replaces what stands between two texts on one line, wherever it does.
fn between(text: &str, start: &str, end: &str, with: &str) -> String {
    let mut parts = text.split(start);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let line = part.split_inclusive('\n').next().unwrap_or_default();
        let replaced = line.find(end).map(|at| [with, &part[at..]].concat());
        out += start;
        out += &replaced.unwrap_or_else(|| part.to_owned());
    }
    out
}

/// Compares with what is committed. No token is in it, whatever was seen.
pub(crate) fn compare(name: &str, seen: &str) {
    assert!(!seen.contains("CANARY"), "{seen}");
    let file = place(name);
    if std::env::var_os("LAKEBASE_TEST_UPDATE").is_some() {
        fs::create_dir_all(file.parent().expect("it has one")).expect("made");
        return fs::write(&file, seen).expect("written");
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        seen == expected,
        "{} is not what is seen now; if that is right, set LAKEBASE_TEST_UPDATE=1\n{seen}",
        file.display()
    );
}

fn place(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/service/doctor");
    dir.join(format!("{name}.txt"))
}

//! Which file may touch what: text checks over the daemon's sources. Each failure says the rule.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .expect("listed")
        .flatten()
        .map(|entry| entry.path());
    let of = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    entries
        .flat_map(of)
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The files below `src` that hold a text, tests left out.
fn holders(text: &str) -> Vec<String> {
    let src = root().join("src");
    let holds = |path: &PathBuf| {
        let source = fs::read_to_string(path).expect("readable");
        source
            .lines()
            .any(|line| !line.trim_start().starts_with("//") && line.contains(text))
    };
    let is_test = |path: &PathBuf| path.ends_with("tests.rs");
    // A file and the folder of its name are one room.
    let room = |path: PathBuf| {
        let inside = path.strip_prefix(&src).expect("inside");
        let first = inside.iter().next().expect("it has a name");
        Path::new(first)
            .with_extension("rs")
            .to_string_lossy()
            .into_owned()
    };
    let holders = sources(&src)
        .into_iter()
        .filter(|path| holds(path) && !is_test(path));
    let rooms: BTreeSet<String> = holders.map(room).collect();
    rooms.into_iter().collect()
}

#[test]
fn each_foreign_crate_has_one_owner() {
    for (text, owners, rule) in [
        ("git2::", &["git.rs"][..], "git is read in one place"),
        ("notify::", &["watcher.rs"], "file events come in at one place"),
        ("sqlx::", &["ledger.rs"], "SQL stays with the ledger"),
        ("Utc::now", &["clock.rs"], "the wall clock is asked in one place"),
        (
            "std::env::var",
            &["config.rs", "failpoint.rs"],
            "the environment is read in one place, but for the fail points of builds for tests",
        ),
        (
            ".delete_branch(",
            &["provider.rs"],
            "only the port deletes, and it takes a permit",
        ),
        (
            "local_lakebase::",
            &["command.rs", "config.rs", "local.rs", "services.rs", "store.rs"],
            "above the services nobody knows which one it is; the others are its flags and its own commands",
        ),
        (
            "lakebase.dev",
            &[],
            "what a repository holds is never run by the daemon; `lakebase dev` is a person's command",
        ),
    ] {
        assert_eq!(holders(text), owners, "{rule} (`{text}`)");
    }
}

#[test]
fn the_core_has_nothing_to_do_io_with() {
    let manifest = fs::read_to_string(root().join("core/Cargo.toml")).expect("readable");
    for name in [
        "tokio",
        "git2",
        "sqlx",
        "reqwest",
        "notify",
        "tonic",
        "hyper",
        "rustix",
        "lakebase-api",
    ] {
        assert!(
            !manifest.contains(name),
            "the core decides and does no I/O, so it must not depend on {name}"
        );
    }
    for path in sources(&root().join("core/src")) {
        let source = fs::read_to_string(&path).expect("readable");
        for name in [
            "std::fs",
            "std::env",
            "std::net",
            "std::process",
            "Utc::now",
            "Instant::now",
            "SystemTime",
        ] {
            assert!(
                !source.contains(name),
                "the core may not look around, but {} uses {name}",
                path.display()
            );
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let workspace = root().parent().expect("the workspace").to_owned();
    for member in [
        "proto",
        "lakebase-api",
        "local-lakebase",
        "daemon",
        "client",
        "dev",
        "store-app",
    ] {
        for path in sources(&workspace.join(member)) {
            let source = fs::read_to_string(&path).expect("readable");
            assert!(
                source.starts_with("//!"),
                "{} does not say what it is for",
                path.display()
            );
        }
    }
}

#[test]
fn the_readme_names_what_is_there() {
    let workspace = root().parent().expect("the workspace").to_owned();
    for file in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(workspace.join(file)).expect("readable");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            assert!(
                workspace.join(link).exists(),
                "{file} links to {link}, which is not there"
            );
        }
    }
}

//! A recovery that is killed after each of its steps, over real catalogs and directories that only look like PostgreSQL's.

use super::*;
use crate::catalog::tests::{branch, now, primary};
use crate::catalog::{Catalog, Write, files};
use crate::model::project;
use crate::model::record::Phase;
use std::os::unix::fs::PermissionsExt;

/// A directory that PostgreSQL's user can enter.
fn scratch() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn make_data(root: &Path, id: &str) {
    let global = root
        .join("projects/shop")
        .join(format!("br-{id}"))
        .join("pgdata/global");
    fs::create_dir_all(&global).unwrap();
    fs::write(global.join("pg_control"), id).unwrap();
}

async fn add(catalog: &Catalog, root: &Path, id: &str) {
    make_data(root, id);
    let writes = [
        Write::Project(project::tests::record("shop", now())),
        Write::Branch(branch(id, Phase::Ready)),
        Write::Endpoint(primary(id)),
    ];
    catalog.commit(&writes).await.unwrap();
}

/// An installation that was killed: its log holds commits that the catalog's file does not, and a directory is unknown.
async fn killed(root: &Path) {
    let elsewhere = scratch();
    let catalog = Catalog::open(&elsewhere.path().join(CATALOG), "").await.unwrap();
    for id in ["production", "dev"] {
        add(&catalog, elsewhere.path(), id).await;
    }
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(elsewhere.path().join("."))
        .arg(root)
        .status();
    assert!(copied.unwrap().success());
    assert!(fs::metadata(root.join("catalog.db-wal")).unwrap().len() > 0);
    catalog.close().await;
    make_data(root, "unknown");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Examined,
    Built,
    Arranged,
    Described,
    LogAside,
    OldAside,
}

const STEPS: [Step; 6] = [
    Step::Examined,
    Step::Built,
    Step::Arranged,
    Step::Described,
    Step::LogAside,
    Step::OldAside,
];

/// Does what `carry_out` does, up to a step.
async fn killed_after(recovery: Recovery, step: Step) {
    if step >= Step::Built {
        recovery.build().await.unwrap();
    }
    if step >= Step::Arranged {
        recovery.arrange().await.unwrap();
    }
    if step >= Step::Described {
        recovery.describe().unwrap();
    }
    if step == Step::LogAside {
        let log = recovery.root.join("catalog.db-wal");
        drop(fs::rename(&log, recovery.root.join("catalog.db.then-wal")));
    }
    if step >= Step::OldAside {
        recovery.keep_old().unwrap();
    }
}

fn remove_catalog(root: &Path) {
    for file in files(root) {
        drop(fs::remove_file(file));
    }
}

async fn verdict(root: &Path) -> Result<(), Refusal> {
    let catalog = catalog::inspect(root).await;
    let dirs = directories(root).await.unwrap().branches;
    judge(&catalog, &dirs, &with_data(root, &catalog))
}

/// The branches that the catalog has, with the generation that it and their descriptors say.
async fn recovered(root: &Path) -> Vec<(String, i64, i64)> {
    let remembered = catalog::remembered(root).await.unwrap();
    let dirs = directories(root).await.unwrap().branches;
    let described = |uid: &str| {
        let of_branch = dirs.iter().find(|dir| dir.key.uid == uid).unwrap();
        of_branch.described.here().unwrap().generation
    };
    let branches = remembered.branches.into_iter();
    branches
        .map(|(generation, it)| (it.branch.uid.clone(), generation, described(&it.branch.uid)))
        .collect()
}

async fn carry_out(root: &Path) -> Done {
    Recovery::examine_at(root, now())
        .await
        .unwrap()
        .carry_out()
        .await
        .unwrap()
}

#[tokio::test]
async fn ll_05_a_recovery_that_is_killed_at_any_step_is_finished_by_the_next_one() {
    for is_lost in [true, false] {
        for step in STEPS {
            let dir = scratch();
            let root = dir.path().canonicalize().unwrap();
            killed(&root).await;
            if is_lost {
                remove_catalog(&root);
                assert!(verdict(&root).await.is_err());
            }
            let recovery = Recovery::examine_at(&root, now()).await.unwrap();
            let generation = recovery.plan.generation;
            killed_after(recovery, step).await;
            if step >= Step::Described {
                let refused = verdict(&root).await;
                assert!(
                    refused.is_err(),
                    "{step:?}: an older catalog with newer descriptors is not served"
                );
            }
            carry_out(&root).await;
            assert_eq!(verdict(&root).await, Ok(()), "{step:?}");
            let all = recovered(&root).await;
            let names: Vec<_> = all.iter().map(|(uid, ..)| uid.as_str()).collect();
            assert_eq!(names, ["br-dev", "br-production"], "{step:?}");
            assert!(
                all.iter()
                    .all(|(_, row, descriptor)| row == descriptor && *row >= generation),
                "{step:?}: {all:?}"
            );
            assert_eq!(lost::list(&root).unwrap().len(), 1, "{step:?}");
            assert!(
                !Recovery::examine_at(&root, now()).await.unwrap().plan().is_needed,
                "{step:?}"
            );
            assert!(!root.join(NEW).exists());
        }
    }
}

#[tokio::test]
async fn ll_02_the_old_catalog_is_kept_with_its_log() {
    let dir = scratch();
    let root = dir.path().canonicalize().unwrap();
    killed(&root).await;
    let done = carry_out(&root).await;
    let kept = done.old_catalog.unwrap();
    assert_eq!(kept, root.join("catalog.db.20260801T100000Z"));
    let elsewhere = scratch();
    for (suffix, name) in [("", "catalog.db"), ("-wal", "catalog.db-wal")] {
        let mut from = kept.clone().into_os_string();
        from.push(suffix);
        fs::copy(from, elsewhere.path().join(name)).unwrap();
    }
    assert_eq!(
        catalog::remembered(elsewhere.path())
            .await
            .unwrap()
            .branches
            .len(),
        2
    );
    // A second one within the second is kept beside it.
    fs::remove_file(root.join(CATALOG)).unwrap();
    fs::write(root.join(CATALOG), "broken").unwrap();
    let done = carry_out(&root).await;
    assert_eq!(
        done.old_catalog.unwrap(),
        root.join("catalog.db.20260801T100000Z.2")
    );
}

#[tokio::test]
async fn ll_08_a_directory_is_taken_back_from_lost_into_a_project_that_is_gone() {
    let dir = scratch();
    let root = dir.path().canonicalize().unwrap();
    killed(&root).await;
    let lost = root.join("lost/shop.br-dev.20260801T100000Z.not-in-catalog");
    fs::create_dir(root.join("lost")).unwrap();
    fs::rename(root.join("projects/shop/br-dev"), &lost).unwrap();
    fs::rename(root.join("projects/shop"), root.join("lost/mine")).unwrap();
    fs::create_dir_all(root.join("projects")).unwrap();
    remove_catalog(&root);
    carry_out(&root).await;
    let names: Vec<_> = recovered(&root).await.into_iter().map(|(uid, ..)| uid).collect();
    assert_eq!(names, ["br-dev"]);
    assert!(root.join("lost/mine").is_dir() && !lost.exists());
}

#[tokio::test]
async fn a_descriptor_cannot_name_a_place_outside() {
    let dir = scratch();
    let root = dir.path().canonicalize().unwrap();
    killed(&root).await;
    fs::create_dir(root.join("lost")).unwrap();
    fs::rename(root.join("projects/shop/br-dev"), root.join("lost/evil")).unwrap();
    let file = root.join("lost/evil/branch.json");
    let text = fs::read_to_string(&file)
        .unwrap()
        .replace("br-dev", "../../../br-dev");
    fs::write(&file, text).unwrap();
    let recovery = Recovery::examine_at(&root, now()).await.unwrap();
    assert_eq!(recovery.plan.branches.len(), 1, "{:?}", recovery.shown.restore);
}

//! Catalogs that are lost, broken, older or another installation's, beside data that are whole. No data directory goes, nothing
//! is served, and one command brings everything back as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use local_lakebase::{Recovery, RefusalReason, StartError};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, SqliteConnection};

use crate::lake::{Lake, Stopped};

/// Every data directory below `projects` and `lost`, by inode.
pub(crate) fn inventory(dir: &Path) -> BTreeMap<u64, PathBuf> {
    let below = |dir: PathBuf| {
        fs::read_dir(dir)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
    };
    let projects = below(dir.join("projects")).flat_map(below);
    let pgdata = projects
        .chain(below(dir.join("lost")))
        .map(|dir| dir.join("pgdata"));
    pgdata
        .filter(|dir| dir.is_dir())
        .map(|dir| (fs::metadata(&dir).unwrap().ino(), dir))
        .collect()
}

pub(crate) fn inodes(dir: &Path) -> BTreeSet<u64> {
    inventory(dir).into_keys().collect()
}

async fn open(catalog: &Path) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(catalog);
    options.connect().await.unwrap()
}

pub(crate) async fn execute(dir: &Path, statements: &[&'static str]) {
    let mut db = open(&dir.join("catalog.db")).await;
    for statement in statements {
        sqlx::query(*statement).execute(&mut db).await.unwrap();
    }
    sqlx::Connection::close(db).await.unwrap();
}

/// The control: how many directories a start would have removed that believes this catalog.
async fn unknown_to_catalog(dir: &Path) -> usize {
    let file = dir.join("catalog.db");
    let is_there = fs::metadata(&file).is_ok_and(|meta| meta.len() > 0);
    let known: Vec<String> = if is_there {
        let mut db = open(&file).await;
        sqlx::query_scalar("SELECT uid FROM branch")
            .fetch_all(&mut db)
            .await
            .unwrap()
    } else {
        vec![]
    };
    let uid = |pgdata: &PathBuf| {
        pgdata
            .parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    inventory(dir)
        .values()
        .map(uid)
        .filter(|uid| !known.contains(uid))
        .count()
}

pub(crate) async fn refused(stopped: &Stopped) -> RefusalReason {
    match stopped.try_start().await {
        Err(error @ StartError::Refused { .. }) => {
            assert!(error.required_action().is_some(), "{error}");
            let StartError::Refused { refusal, .. } = error else {
                unreachable!()
            };
            refusal.reason
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it is served"),
    }
}

/// What a client sees of the project `shop`: everything but sizes, and when things last changed.
pub(crate) async fn seen(lake: &Lake) -> Value {
    let mut seen = json!({});
    for path in [
        "branches?show_deleted=true",
        "branches/dev/endpoints",
        "branches/dev/roles",
        "branches/dev/databases",
        "branches/production/endpoints",
        "branches/production/roles",
    ] {
        let mut answer = lake
            .ok("GET", &format!("projects/shop/{path}"), Value::Null)
            .await;
        for branch in answer["branches"].as_array_mut().into_iter().flatten() {
            for size in ["logical_size_bytes", "own_size_bytes"] {
                branch["status"].as_object_mut().unwrap().remove(size);
            }
        }
        for endpoint in answer["endpoints"].as_array_mut().into_iter().flatten() {
            endpoint["status"]
                .as_object_mut()
                .unwrap()
                .remove("current_state");
        }
        seen[path] = answer;
    }
    seen["project"] = lake.get("projects/shop").await.body;
    let role = "projects/shop/branches/dev/roles/app/password";
    seen["password"] = lake.ok("POST", role, Value::Null).await;
    seen
}

/// A project with a protected branch, one that expires, one that is soft-deleted; with roles, databases and data.
pub(crate) async fn shop() -> Lake {
    let lake = Lake::start().await;
    lake.project().await;
    lake.branch("dev").await;
    lake.branch("gone").await;
    let spec = json!({"spec": {"no_expiry": true, "is_protected": true}});
    lake.ok("POST", "projects/shop/branches?branch_id=kept", spec)
        .await;
    let role = json!({"spec": {"postgres_role": "app", "auth_method": "PG_PASSWORD_SCRAM_SHA_256"}});
    lake.ok("POST", "projects/shop/branches/dev/roles?role_id=app", role)
        .await;
    let database =
        json!({"spec": {"postgres_database": "more", "role": "projects/shop/branches/dev/roles/app"}});
    lake.ok(
        "POST",
        "projects/shop/branches/dev/databases?database_id=more",
        database,
    )
    .await;
    for branch in ["production", "dev", "gone"] {
        lake.sql(branch, &format!("CREATE TABLE kept AS SELECT '{branch}' AS name"))
            .await;
    }
    lake.ok("DELETE", "projects/shop/branches/gone", Value::Null)
        .await;
    lake
}

pub(crate) async fn recover(dir: &Path) -> Value {
    let recovery = Recovery::examine(dir).await.unwrap();
    let plan = serde_json::to_value(recovery.plan()).unwrap();
    assert_eq!(plan["is_needed"], true);
    recovery.carry_out().await.unwrap();
    plan
}

pub(crate) fn remove_catalog(dir: &Path) {
    for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        drop(fs::remove_file(dir.join(name)));
    }
}

/// Compares part by part, so that a difference can be read.
pub(crate) fn same(after: &Value, before: &Value) {
    for (part, before) in before.as_object().unwrap() {
        assert_eq!(&after[part], before, "{part}");
    }
}

/// One kind of damage to a catalog: refused for a reason of its own, with all directories where they were, and undone by the
/// command.
async fn damaged(
    lake: Lake,
    damage: impl AsyncFnOnce(&Path),
    is_expected: fn(&RefusalReason) -> bool,
) -> Lake {
    let before = seen(&lake).await;
    let stopped = lake.halt().await;
    let dir = stopped.data_dir();
    let directories = inventory(&dir);
    assert_eq!(directories.len(), 4);
    damage(&dir).await;
    let reason = refused(&stopped).await;
    assert!(is_expected(&reason), "{reason:?}");
    assert_eq!(inventory(&dir), directories, "nothing was moved or removed");
    assert_eq!(refused(&stopped).await, reason, "and so it stays");
    recover(&dir).await;
    assert_eq!(inventory(&dir), directories, "they stay where they are");
    let lake = stopped.start().await;
    same(&seen(&lake).await, &before);
    for branch in ["production", "dev"] {
        assert_eq!(lake.sql(branch, "SELECT name FROM kept").await, branch);
    }
    assert_eq!(lake.local.problems(), []);
    lake
}

#[tokio::test]
async fn ll_01_a_catalog_that_is_deleted_or_broken_costs_nothing() {
    let lake = shop().await;
    let missing = |reason: &RefusalReason| *reason == RefusalReason::CatalogMissing;
    let unreadable = |reason: &RefusalReason| matches!(reason, RefusalReason::CatalogUnreadable(_));
    let deleted = async |dir: &Path| {
        remove_catalog(dir);
        assert_eq!(
            unknown_to_catalog(dir).await,
            4,
            "all of them would have been removed"
        );
    };
    let lake = damaged(lake, deleted, missing).await;
    let emptied = async |dir: &Path| {
        remove_catalog(dir);
        fs::write(dir.join("catalog.db"), "").unwrap();
    };
    let lake = damaged(lake, emptied, missing).await;
    let cut = async |dir: &Path| {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(dir.join("catalog.db"))
            .unwrap();
        let pages = file.metadata().unwrap().len() / 4096;
        file.set_len(pages / 2 * 4096).unwrap();
    };
    let lake = damaged(lake, cut, unreadable).await;
    let overwritten =
        async |dir: &Path| fs::write(dir.join("catalog.db"), "not a database, but text").unwrap();
    let lake = damaged(lake, overwritten, unreadable).await;
    let replaced = async |dir: &Path| {
        remove_catalog(dir);
        fs::create_dir(dir.join("catalog.db")).unwrap();
    };
    let lake = damaged(lake, replaced, unreadable).await;
    let emptied = async |dir: &Path| {
        execute(dir, &["DELETE FROM branch", "DELETE FROM project"]).await;
        assert_eq!(
            unknown_to_catalog(dir).await,
            4,
            "all of them would have been removed"
        );
    };
    let empty = |reason: &RefusalReason| *reason == RefusalReason::CatalogEmpty;
    damaged(lake, emptied, empty).await.stop().await;
}

#[tokio::test]
async fn ll_03_a_catalog_restored_from_an_hour_ago_costs_nothing() {
    let lake = shop().await;
    let stopped = lake.halt().await;
    let dir = stopped.data_dir();
    let copy = fs::read(dir.join("catalog.db")).unwrap();
    let lake = stopped.start().await;
    lake.ok("DELETE", "projects/shop/branches/gone?purge=true", Value::Null)
        .await;
    lake.branch("later").await;
    lake.sql("later", "UPDATE kept SET name = 'later'").await;
    let rename = json!({"spec": {"display_name": "Renamed"}});
    lake.ok("PATCH", "projects/shop?update_mask=spec.display_name", rename)
        .await;
    let restored = async |dir: &Path| {
        fs::write(dir.join("catalog.db"), copy).unwrap();
        assert_eq!(
            unknown_to_catalog(dir).await,
            1,
            "the later one would have been removed"
        );
    };
    let older = |reason: &RefusalReason| matches!(reason, RefusalReason::CatalogOlder(_));
    let lake = damaged(lake, restored, older).await;
    assert_eq!(lake.sql("later", "SELECT name FROM kept").await, "later");
    assert_eq!(
        lake.get("projects/shop/branches/gone").await.status,
        404,
        "purged is purged"
    );
    lake.stop().await;
}

#[tokio::test]
async fn ll_04_the_catalog_of_another_installation_costs_nothing() {
    let other = Lake::start().await;
    other.project().await;
    other.branch("theirs").await;
    let other = other.halt().await;
    let theirs = other.data_dir().join("catalog.db");
    let replaced = async |dir: &Path| {
        remove_catalog(dir);
        fs::copy(theirs, dir.join("catalog.db")).unwrap();
        assert_eq!(
            unknown_to_catalog(dir).await,
            4,
            "all of them would have been removed"
        );
    };
    let foreign = |reason: &RefusalReason| matches!(reason, RefusalReason::CatalogForeign(4));
    let lake = damaged(shop().await, replaced, foreign).await;
    assert_eq!(lake.get("projects/shop/branches/theirs").await.status, 404);
    lake.stop().await;
}

#[tokio::test]
async fn ll_12_an_installation_from_before_descriptors_gets_them_at_the_next_start() {
    let lake = shop().await;
    let before = seen(&lake).await;
    let stopped = lake.halt().await;
    let dir = stopped.data_dir();
    let downgrade = [
        "ALTER TABLE branch DROP COLUMN generation",
        "DROP TABLE removal",
        "DELETE FROM setting WHERE key IN ('catalog_id', 'generation')",
        "DELETE FROM _sqlx_migrations WHERE version = 4",
    ];
    execute(&dir, &downgrade).await;
    let descriptor = |pgdata: &PathBuf| pgdata.with_file_name("branch.json");
    let descriptors: Vec<_> = inventory(&dir).values().map(descriptor).collect();
    for file in &descriptors {
        fs::remove_file(file).unwrap();
    }
    let older = fs::read(dir.join("catalog.db")).unwrap();
    let lake = stopped.start().await;
    same(&seen(&lake).await, &before);
    for file in &descriptors {
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
    }
    let restored = async |dir: &Path| fs::write(dir.join("catalog.db"), older).unwrap();
    let is_older = |reason: &RefusalReason| matches!(reason, RefusalReason::CatalogOlder(4));
    let lake = damaged(lake, restored, is_older).await;
    lake.stop().await;
}

/// What a kill between a commit and its descriptor leaves: the descriptor of before, or none. The catalog is right then, and
/// nothing else is concluded.
#[tokio::test]
async fn ll_05_a_kill_between_commit_and_descriptor_means_nothing() {
    let lake = shop().await;
    let uid = lake.get("projects/shop/branches/dev").await.body["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    let file = lake
        .local
        .data_dir()
        .join("projects/shop")
        .join(uid)
        .join("branch.json");
    let older = fs::read(&file).unwrap();
    let renewed = json!({"spec": {"ttl": "36000s"}});
    lake.ok(
        "PATCH",
        "projects/shop/branches/dev?update_mask=spec.ttl",
        renewed,
    )
    .await;
    let (newer, before) = (fs::read(&file).unwrap(), seen(&lake).await);
    assert_ne!(newer, older);
    let mut stopped = lake.halt().await;
    for left in [Some(&older), None, Some(&vec![]), Some(&b"{\"format\"".to_vec())] {
        match left {
            Some(left) => fs::write(&file, left).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let lake = stopped.start().await;
        same(&seen(&lake).await, &before);
        assert_eq!(fs::read(&file).unwrap(), newer, "it is written again");
        assert_eq!(lake.local.problems(), []);
        stopped = lake.halt().await;
    }
    // The row that says `creating` is of a copy of the catalog; the descriptor proves that the branch was finished.
    let dir = stopped.data_dir();
    let directories = inodes(&dir);
    execute(
        &dir,
        &["UPDATE branch SET phase = 'creating' WHERE name = 'projects/shop/branches/dev'"],
    )
    .await;
    let lake = stopped.start().await;
    assert_eq!(inodes(&dir), directories);
    assert_eq!(lake.local.problems().len(), 1);
    let stopped = lake.halt().await;
    recover(&dir).await;
    let lake = stopped.start().await;
    assert_eq!(lake.sql("dev", "SELECT name FROM kept").await, "dev");
    lake.stop().await;
}

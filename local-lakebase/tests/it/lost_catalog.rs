//! Catalogs that are lost, broken, older or another installation's, beside data that are whole. No data directory goes, nothing
//! is served, and one command brings everything back as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use local_lakebase::{RecoverError, Recovery, RefusalReason, StartError};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, SqliteConnection};

use crate::lake::{Lake, Stopped};

/// Every data directory below `projects` and `lost`, by inode.
fn inventory(dir: &Path) -> BTreeMap<u64, PathBuf> {
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

fn inodes(dir: &Path) -> BTreeSet<u64> {
    inventory(dir).into_keys().collect()
}

async fn open(catalog: &Path) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(catalog);
    options.connect().await.unwrap()
}

async fn execute(dir: &Path, statements: &[&'static str]) {
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

async fn refused(stopped: &Stopped) -> RefusalReason {
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
async fn seen(lake: &Lake) -> Value {
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
async fn shop() -> Lake {
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

async fn recover(dir: &Path) -> Value {
    let recovery = Recovery::examine(dir).await.unwrap();
    let plan = serde_json::to_value(recovery.plan()).unwrap();
    assert_eq!(plan["is_needed"], true);
    recovery.carry_out().await.unwrap();
    plan
}

fn remove_catalog(dir: &Path) {
    for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        drop(fs::remove_file(dir.join(name)));
    }
}

/// Compares part by part, so that a difference can be read.
fn same(after: &Value, before: &Value) {
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

#[tokio::test]
async fn ll_06_a_removal_that_was_cut_short_is_finished_and_no_other() {
    let stopped = shop().await.halt().await;
    let dir = stopped.data_dir();
    let before = inventory(&dir);
    let cut_short = [
        "INSERT INTO removal SELECT project, uid FROM branch WHERE name = 'projects/shop/branches/gone'",
        "DELETE FROM branch WHERE name = 'projects/shop/branches/gone'",
        "DELETE FROM branch WHERE name = 'projects/shop/branches/kept'",
    ];
    execute(&dir, &cut_short).await;
    let lake = stopped.start().await;
    let after = inventory(&dir);
    let lost: Vec<_> = after
        .values()
        .filter(|path| path.starts_with(dir.join("lost")))
        .collect();
    assert_eq!((after.len(), lost.len()), (before.len() - 1, 1), "{after:?}");
    let problems = lake.local.problems();
    assert!(
        problems[0].message.contains("/lost`") && problems[0].fix.contains("recover"),
        "{problems:?}"
    );

    let stopped = lake.halt().await;
    let left = inodes(&dir);
    let plan = recover(&dir).await;
    let kept = plan["restore"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == "projects/shop/branches/kept");
    assert!(kept.unwrap()["taken_back"].is_string(), "{plan}");
    let lake = stopped.start().await;
    assert_eq!(inodes(&dir), left);
    let kept = lake.get("projects/shop/branches/kept").await.body;
    assert_eq!(kept["status"]["is_protected"], true);
    assert_eq!(lake.sql("kept", "SELECT 1").await, "1");
    assert_eq!(lake.local.problems(), []);
    lake.stop().await;
}

#[tokio::test]
async fn ll_10_what_somebody_else_put_there_stays_or_is_moved_but_never_removed() {
    let lake = shop().await;
    let dir = lake.local.data_dir().to_owned();
    let uid = lake.get("projects/shop/branches/dev").await.body["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    let stopped = lake.halt().await;
    let shop = dir.join("projects/shop");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([shop.join(&uid), shop.join("dev-backup")])
        .status();
    assert!(copied.unwrap().success());
    let strange = [
        "projects/shop/restore.tmp/pgdata",
        "projects/notes",
        "trash/mine",
        "x.tmp",
        "lost/old/pgdata",
    ];
    for strange in strange {
        fs::create_dir_all(dir.join(strange)).unwrap();
    }
    let directories = inodes(&dir);
    let lake = stopped.start().await;
    assert_eq!(inodes(&dir), directories);
    for strange in strange {
        assert!(dir.join(strange).is_dir(), "{strange}");
    }
    assert!(!shop.join("dev-backup").exists());
    assert_eq!(lake.sql("dev", "SELECT name FROM kept").await, "dev");
    let problems = lake.local.problems();
    assert!(
        problems[0].message.starts_with("2 data directories"),
        "{problems:?}"
    );
    let stopped = lake.halt().await;
    let recovery = Recovery::examine(&dir).await.unwrap();
    assert!(
        !recovery.plan().is_needed,
        "a copy is not taken back: {:?}",
        recovery.plan()
    );
    assert_eq!(recovery.plan().still_lost.len(), 1);
    drop(recovery);
    stopped.start().await.stop().await;
}

#[tokio::test]
async fn ll_11_a_catalog_without_its_data_is_refused_until_they_are_back() {
    let stopped = shop().await.halt().await;
    let (dir, away) = (stopped.data_dir(), stopped.data_dir().with_extension("away"));
    let catalog = fs::read(dir.join("catalog.db")).unwrap();
    fs::rename(dir.join("projects"), &away).unwrap();
    for is_mount_point in [false, true] {
        if is_mount_point {
            fs::create_dir(dir.join("projects")).unwrap();
        }
        assert_eq!(refused(&stopped).await, RefusalReason::DataMissing);
        let error = Recovery::examine(&dir).await.unwrap_err();
        assert!(matches!(&error, RecoverError::Impossible { .. }), "{error}");
        assert!(error.fix().contains("mount the disk"), "{}", error.fix());
        assert_eq!(
            dir.join("projects").exists(),
            is_mount_point,
            "nothing is made there"
        );
    }
    assert_eq!(fs::read(dir.join("catalog.db")).unwrap(), catalog);
    fs::remove_dir(dir.join("projects")).unwrap();
    fs::rename(away, dir.join("projects")).unwrap();
    let lake = stopped.start().await;
    assert_eq!(lake.sql("dev", "SELECT name FROM kept").await, "dev");
    lake.stop().await;
}

#[tokio::test]
async fn ll_11_a_branch_without_its_data_is_not_served_as_if_it_were_fine() {
    let lake = shop().await;
    let dir = lake.local.data_dir().to_owned();
    let place = async |id: &str| {
        let branch = lake.get(&format!("projects/shop/branches/{id}")).await.body;
        dir.join("projects/shop").join(branch["uid"].as_str().unwrap())
    };
    let (dev, gone) = (place("dev").await, place("gone").await);
    let stopped = lake.halt().await;
    fs::rename(&dev, dir.join("aside")).unwrap();
    fs::remove_dir_all(&gone).unwrap();
    // An empty directory is no database either.
    fs::create_dir_all(gone.join("pgdata")).unwrap();
    let lake = stopped.start().await;
    let messages: Vec<_> = lake
        .local
        .problems()
        .into_iter()
        .map(|problem| problem.message)
        .collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(
        messages[0].contains("`projects/shop/branches/dev` are missing"),
        "{messages:?}"
    );
    let endpoint = json!({"endpoint": "projects/shop/branches/dev/endpoints/primary"});
    let answer = lake.send("POST", "credentials", endpoint).await;
    assert_eq!(
        (answer.status, answer.code()),
        (400, "INVALID_STATE"),
        "{answer:?}"
    );
    assert!(answer.message().contains("lakebased local recover"), "{answer:?}");
    let answer = lake
        .send("POST", "projects/shop/branches/gone/undelete", Value::Null)
        .await;
    assert_eq!(answer.code(), "INVALID_STATE", "{answer:?}");
    assert_eq!(
        lake.sql("production", "SELECT name FROM kept").await,
        "production",
        "the others are served"
    );
    assert!(!dev.exists(), "no empty database takes its place");
    assert_eq!(fs::read_dir(gone.join("pgdata")).unwrap().count(), 0);

    let stopped = lake.halt().await;
    let plan = recover(&dir).await;
    assert_eq!(plan["missing"].as_array().unwrap().len(), 2, "{plan}");
    let lake = stopped.start().await;
    assert_eq!(
        lake.get("projects/shop/branches/dev").await.status,
        404,
        "it is dropped on request"
    );
    lake.stop().await;
}

#[tokio::test]
async fn ll_13_a_catalog_of_a_newer_version_is_left_as_it_is() {
    let stopped = shop().await.halt().await;
    let dir = stopped.data_dir();
    let newer = "INSERT INTO _sqlx_migrations SELECT 99, 'later', installed_on, success, checksum, execution_time \
                 FROM _sqlx_migrations WHERE version = 1";
    execute(&dir, &[newer]).await;
    let catalog = fs::read(dir.join("catalog.db")).unwrap();
    assert_eq!(refused(&stopped).await, RefusalReason::CatalogNewer);
    assert!(matches!(
        Recovery::examine(&dir).await,
        Err(RecoverError::Impossible { .. })
    ));
    assert_eq!(fs::read(dir.join("catalog.db")).unwrap(), catalog);
}

#[tokio::test]
async fn ll_09_a_lost_signing_key_is_named_with_the_passwords_that_go_with_it() {
    let stopped = shop().await.halt().await;
    let dir = stopped.data_dir();
    remove_catalog(&dir);
    let plan = serde_json::to_value(Recovery::examine(&dir).await.unwrap().plan()).unwrap();
    assert_eq!(plan["lost_passwords"], json!([]));
    fs::remove_file(dir.join("signing.key")).unwrap();
    let plan = recover(&dir).await;
    assert_eq!(
        plan["lost_passwords"],
        json!([{"branch": "projects/shop/branches/dev", "role": "app"}])
    );
    let lake = stopped.start().await;
    assert_eq!(lake.sql("dev", "SELECT name FROM kept").await, "dev");
    lake.stop().await;
}

#[tokio::test]
async fn ll_14_no_secret_is_in_a_descriptor() {
    let lake = shop().await;
    let dir = lake.local.data_dir().to_owned();
    let password = lake
        .ok(
            "POST",
            "projects/shop/branches/dev/roles/app/password",
            Value::Null,
        )
        .await;
    let secrets = [
        password["password"].as_str().unwrap().to_owned(),
        fs::read_to_string(dir.join("token")).unwrap(),
        fs::read_to_string(dir.join("signing.key")).unwrap(),
        fs::read_to_string(dir.join("client"))
            .unwrap()
            .lines()
            .nth(1)
            .unwrap()
            .to_owned(),
    ];
    for pgdata in inventory(&dir).values() {
        let file = pgdata.with_file_name("branch.json");
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "{text}");
    }
    lake.stop().await;
}

#[tokio::test]
async fn ll_15_a_server_that_runs_is_not_recovered_and_a_plan_changes_nothing() {
    let lake = shop().await;
    let dir = lake.local.data_dir().to_owned();
    assert!(matches!(
        Recovery::examine(&dir).await,
        Err(RecoverError::InUse(_))
    ));
    let stopped = lake.halt().await;
    let listing = |dir: &Path| {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    assert!(!Recovery::examine(&dir).await.unwrap().plan().is_needed);
    remove_catalog(&dir);
    let before = listing(&dir);
    let recovery = Recovery::examine(&dir).await.unwrap();
    assert!(recovery.plan().is_needed);
    assert!(
        matches!(stopped.try_start().await, Err(StartError::InUse(_))),
        "nobody starts meanwhile"
    );
    drop(recovery);
    assert_eq!(listing(&dir), before);
    recover(&dir).await;
    stopped.start().await.stop().await;
}

//! Data that the catalog does not name, and catalogs whose data are gone: what is moved, what stays, and what is said of it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use local_lakebase::{RecoverError, Recovery, RefusalReason, StartError};
use serde_json::{Value, json};

use crate::lost_catalog::{execute, inodes, inventory, recover, refused, remove_catalog, shop};

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
async fn ll_10_directories_of_the_user_stay_or_are_moved_and_none_is_removed() {
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

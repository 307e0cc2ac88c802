//! Beliefs about the ledger: in memory, and on a disk that loses it, damages it or brings an older one back.

use super::*;
use daemon_core::ids::{GitRef, WorktreeId};
use std::time::Duration;

fn at(seconds: i64) -> Timestamp {
    DateTime::from_timestamp(seconds, 0).expect("in range")
}

fn row(id: &str, path: &str, inode: u64) -> RepositoryRow {
    RepositoryRow {
        id: RepositoryId::new(id),
        common_dir: path.into(),
        device: u64::MAX,
        inode,
        confirmed_config: None,
        born: None,
        main_worktree: None,
        registered_at: at(0),
        is_retired: false,
        is_unconfirmed: false,
    }
}

fn record(slot: Slot, branch: &str) -> Record {
    Record {
        slot,
        project: ProjectId::new("shop"),
        origin: "local".into(),
        branch: BranchId::new(branch),
        state: RecordState::Intent,
        uid: None,
        source: Some(BranchId::new("production")),
        since: at(1),
        lease_held: true,
        reap_after: Some(at(2)),
        was_locked: true,
        is_kept: true,
    }
}

fn place() -> Place {
    Place {
        origin: "local".into(),
        project: ProjectId::new("shop"),
    }
}

#[tokio::test]
async fn git_03_a_moved_repository_keeps_its_id_and_a_replaced_one_is_retired() -> Result<(), LedgerError> {
    let ledger = Ledger::in_memory().await?;
    let a = ledger.register(&row("a", "/x/.git", 1), at(0)).await?;
    assert_eq!(ledger.register(&row("b", "/y/.git", 1), at(1)).await?, a);
    assert_eq!(ledger.repositories().await?[0].common_dir, Path::new("/y/.git"));
    let c = ledger.register(&row("c", "/y/.git", 2), at(2)).await?;
    let watched = ledger.repositories().await?;
    assert_eq!(watched.iter().map(|row| &row.id).collect::<Vec<_>>(), vec![&c]);
    assert_eq!(watched[0].device, u64::MAX);
    Ok(())
}

#[tokio::test]
async fn a_repository_that_is_given_up_leaves_only_the_leases_that_it_held() -> Result<(), LedgerError> {
    let ledger = Ledger::in_memory().await?;
    let born = RepositoryRow {
        born: Some(5),
        ..row("a", "/x/.git", 1)
    };
    let id = ledger.register(&born, at(0)).await?;
    let slot = |name: &str| Slot::Ref(GitRef::new(format!("refs/heads/{name}")));
    let held = Record {
        state: RecordState::Owned,
        is_kept: false,
        ..record(slot("main"), "jane-main")
    };
    let other = Record {
        lease_held: false,
        ..record(slot("other"), "jane-other")
    };
    ledger.save(&id, &held).await?;
    ledger.save(&id, &other).await?;
    ledger.unregister(&id).await?;
    assert!(ledger.repositories().await?.is_empty());
    let holding = ledger.holding().await?;
    assert!(holding.len() == 1 && holding[0].is_retired);
    assert_eq!(ledger.all_records(&id).await?, std::slice::from_ref(&held));
    let again = ledger.register(&born, at(1)).await?;
    assert_eq!(again, id, "the same directory is the same repository");
    assert_eq!(ledger.all_records(&id).await?, std::slice::from_ref(&held));
    ledger.unregister(&id).await?;
    ledger.forget(&id, &place(), &held.slot).await?;
    ledger.tidy(at(2)).await?;
    assert_ne!(
        ledger
            .register(
                &RepositoryRow {
                    id: RepositoryId::new("b"),
                    ..born
                },
                at(3)
            )
            .await?,
        id
    );
    Ok(())
}

#[tokio::test]
async fn a_directory_that_took_the_place_of_another_gets_its_names() -> Result<(), LedgerError> {
    let ledger = Ledger::in_memory().await?;
    let old = ledger.register(&row("a", "/x/.git", 1), at(0)).await?;
    let free = Record {
        lease_held: false,
        ..record(Slot::Ref(GitRef::new("refs/heads/main")), "jane-main")
    };
    ledger.save(&old, &free).await?;
    let new = ledger.register(&row("b", "/x/.git", 2), at(1)).await?;
    assert!(ledger.taken(&new, &place(), at(1)).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn s16_what_is_too_old_to_matter_is_dropped() -> Result<(), LedgerError> {
    let ledger = Ledger::in_memory().await?;
    let (id, uid) = (RepositoryId::new("a"), BranchUid::new("br-1"));
    let record = Record {
        uid: Some(uid.clone()),
        ..record(Slot::Ref(GitRef::new("refs/heads/x")), "jane-x")
    };
    ledger.condemn(&id, &record, at(9)).await?;
    ledger.hold_name(&place(), &record.branch, at(9)).await?;
    let day = 24 * 60 * 60;
    ledger.tidy(at(29 * day)).await?;
    assert!(ledger.is_condemned(&place(), &uid).await?);
    ledger.tidy(at(31 * day)).await?;
    assert!(!ledger.is_condemned(&place(), &uid).await?);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM held_names")
        .fetch_one(&ledger.pool)
        .await?;
    assert_eq!(left, 0);
    Ok(())
}

#[tokio::test]
async fn git_16_a_directory_born_later_is_another_repository() -> Result<(), LedgerError> {
    let ledger = Ledger::in_memory().await?;
    let born = |id, path, at| RepositoryRow {
        born: Some(at),
        ..row(id, path, 1)
    };
    let a = ledger.register(&born("a", "/x/.git", 5), at(0)).await?;
    assert_eq!(ledger.register(&born("b", "/y/.git", 5), at(1)).await?, a);
    assert_ne!(ledger.register(&born("c", "/y/.git", 6), at(2)).await?, a);
    Ok(())
}

#[tokio::test]
async fn git_07_a_renamed_record_is_the_same_under_its_new_slot() -> Result<(), LedgerError> {
    let ledger = Ledger::in_memory().await?;
    let id = ledger.register(&row("a", "/x", 1), at(0)).await?;
    let slot = |name: &str| Slot::Ref(GitRef::new(name));
    let old = record(slot("refs/heads/old"), "jane-old");
    ledger.save(&id, &old).await?;
    ledger
        .rename(&id, &place(), &old.slot, &slot("refs/heads/new"))
        .await?;
    let moved = Record {
        slot: slot("refs/heads/new"),
        reap_after: None,
        ..old
    };
    assert_eq!(ledger.records(&id, &place()).await?, [moved]);
    Ok(())
}

fn file(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("state.db")
}

async fn on_disk(dir: &tempfile::TempDir, machine: &str) -> Result<Ledger, LedgerError> {
    Ledger::open(&file(dir), machine.to_owned()).await
}

/// A closed ledger with records in it.
async fn used(records: usize) -> Result<tempfile::TempDir, LedgerError> {
    let dir = tempfile::tempdir().expect("a temp dir");
    let ledger = on_disk(&dir, "m1").await?;
    let id = ledger.register(&row("a", "/x", 1), at(0)).await?;
    for n in 0..records {
        let slot = Slot::Ref(GitRef::new(format!("refs/heads/{n}")));
        ledger.save(&id, &record(slot, &format!("jane-{n}"))).await?;
    }
    assert!(!ledger.is_unconfirmed());
    ledger.pool.close().await;
    Ok(dir)
}

#[tokio::test]
async fn fs_10_a_lost_ledger_is_unconfirmed_until_the_user_confirms_it() -> Result<(), LedgerError> {
    let dir = used(1).await?;
    assert!(
        !on_disk(&dir, "m1").await?.is_unconfirmed(),
        "nothing was lost yet"
    );
    std::fs::remove_file(file(&dir)).expect("removed");
    for _ in 0..2 {
        let ledger = on_disk(&dir, "m1").await?;
        assert!(
            ledger.is_unconfirmed(),
            "it stays so until somebody says otherwise"
        );
        ledger.pool.close().await;
    }
    let ledger = on_disk(&dir, "m1").await?;
    ledger.confirm().await?;
    ledger.pool.close().await;
    assert!(!on_disk(&dir, "m1").await?.is_unconfirmed());
    Ok(())
}

#[tokio::test]
async fn fs_10_an_older_copy_is_unconfirmed() -> Result<(), LedgerError> {
    let dir = used(1).await?;
    let copy = std::fs::read(file(&dir)).expect("readable");
    let ledger = on_disk(&dir, "m1").await?;
    let id = ledger.repositories().await?[0].id.clone();
    let slot = Slot::Ref(GitRef::new("refs/heads/later"));
    ledger.save(&id, &record(slot, "jane-later")).await?;
    ledger.pool.close().await;
    std::fs::write(file(&dir), copy).expect("written");
    let ledger = on_disk(&dir, "m1").await?;
    assert!(ledger.is_unconfirmed());
    assert_eq!(ledger.records(&id, &place()).await?.len(), 1);
    Ok(())
}

fn is_aside(path: &Path) -> bool {
    let name = path.to_string_lossy();
    name.contains("state.db.broken-") && name.ends_with(|last: char| last.is_ascii_digit())
}

#[tokio::test]
async fn fs_10_a_damaged_ledger_is_moved_aside() -> Result<(), LedgerError> {
    let dir = used(200).await?;
    let good = std::fs::read(file(&dir)).expect("readable");
    let truncated = good[..good.len() / 2 + 100].to_vec();
    let mut flipped = good.clone();
    // In the header of a page full of records.
    let page = good.len() / 4096 / 2 * 4096;
    for byte in &mut flipped[page..page + 8] {
        *byte ^= 0xff;
    }
    for bad in [
        truncated,
        flipped,
        b"not a database at all, but long enough to have a header of one".repeat(99),
    ] {
        std::fs::write(file(&dir), &bad).expect("written");
        let ledger = on_disk(&dir, "m1").await?;
        assert!(ledger.is_unconfirmed());
        let known = ledger.unconfirmed().await?;
        assert!(known.len() == 1 && ledger.records(&known[0].id, &place()).await?.is_empty());
        ledger.pool.close().await;
        let entries = std::fs::read_dir(dir.path()).expect("listed").flatten();
        let aside = entries
            .map(|entry| entry.path())
            .find(|path| is_aside(path))
            .expect("it is kept");
        assert!(
            std::fs::read(&aside).expect("readable") == bad,
            "it is another one"
        );
        std::fs::remove_file(aside).expect("removed");
    }
    Ok(())
}

/// Closes a ledger, and takes away what is beside it and inside of it.
async fn lose(dir: &tempfile::TempDir, ledger: Ledger, names: &[&str]) {
    ledger.pool.close().await;
    for name in names {
        std::fs::remove_file(dir.path().join(name)).expect("removed");
    }
}

#[tokio::test]
async fn lg_03_whatever_part_is_lost_the_registrations_come_back_unconfirmed() -> Result<(), LedgerError> {
    for lost in [
        &["state.db"][..],
        &["state.db", "generation"],
        &["generation"],
        &["generation", "registrations.json"],
    ] {
        let dir = used(1).await?;
        let ledger = on_disk(&dir, "m1").await?;
        let rows = ledger.repositories().await?;
        let text = "LAKEBASE_PROJECT_ID=\"shop\"\n";
        assert!(ledger.replace_config(&rows[0].id, None, text).await?);
        let before = ledger.repositories().await?;
        lose(&dir, ledger, lost).await;
        for _ in 0..2 {
            let ledger = on_disk(&dir, "m1").await?;
            assert!(ledger.is_unconfirmed(), "{lost:?}");
            let doubted = RepositoryRow {
                is_unconfirmed: true,
                ..before[0].clone()
            };
            assert_eq!(ledger.unconfirmed().await?, [doubted], "{lost:?}");
            ledger.pool.close().await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn lg_03_an_older_copy_gets_the_registrations_of_last_time() -> Result<(), LedgerError> {
    let dir = used(1).await?;
    let copy = std::fs::read(file(&dir)).expect("readable");
    let ledger = on_disk(&dir, "m1").await?;
    let first = ledger.repositories().await?[0].id.clone();
    let moved = ledger.register(&row("x", "/moved", 1), at(2)).await?;
    assert_eq!(moved, first);
    ledger.register(&row("b", "/y", 2), at(3)).await?;
    let forgotten = ledger.register(&row("c", "/z", 3), at(4)).await?;
    ledger.unregister(&forgotten).await?;
    ledger.pool.close().await;
    std::fs::write(file(&dir), copy).expect("written");
    let ledger = on_disk(&dir, "m1").await?;
    let rows = ledger.unconfirmed().await?;
    let paths: Vec<_> = rows.iter().map(|row| &*row.common_dir).collect();
    assert_eq!(paths, [Path::new("/moved"), Path::new("/y")]);
    let records = ledger.old_records(&first, &place()).await?;
    assert!(records.len() == 1 && records[0].file == "state.db");
    Ok(())
}

#[tokio::test]
async fn lg_03_a_repository_that_was_unregistered_since_does_not_come_back() -> Result<(), LedgerError> {
    let dir = used(1).await?;
    let copy = std::fs::read(file(&dir)).expect("readable");
    let ledger = on_disk(&dir, "m1").await?;
    let id = ledger.repositories().await?[0].id.clone();
    ledger.unregister(&id).await?;
    ledger.pool.close().await;
    std::fs::write(file(&dir), copy).expect("written");
    let ledger = on_disk(&dir, "m1").await?;
    assert!(ledger.is_unconfirmed() && ledger.repositories().await?.is_empty());
    Ok(())
}

/// The names of files beside the ledger that start so.
fn beside(dir: &tempfile::TempDir, prefix: &str) -> usize {
    let entries = std::fs::read_dir(dir.path()).expect("listed").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(prefix)).count()
}

#[tokio::test]
async fn lg_03_broken_registrations_are_moved_aside_and_written_again() -> Result<(), LedgerError> {
    let dir = used(1).await?;
    let kept = dir.path().join("registrations.json");
    std::fs::write(&kept, "{").expect("written");
    let ledger = on_disk(&dir, "m1").await?;
    assert!(!ledger.is_unconfirmed(), "the ledger itself is right");
    assert!(std::fs::read_to_string(&kept).expect("written").contains("/x"));
    assert_eq!(beside(&dir, "registrations.json.broken-"), 1);
    Ok(())
}

#[tokio::test]
async fn lg_04_what_can_be_read_of_a_damaged_ledger_is_evidence() -> Result<(), LedgerError> {
    let dir = used(200).await?;
    let ledger = on_disk(&dir, "m1").await?;
    let id = ledger.repositories().await?[0].id.clone();
    lose(&dir, ledger, &["registrations.json"]).await;
    let length = std::fs::metadata(file(&dir)).expect("there").len();
    let cut = std::fs::OpenOptions::new().write(true).open(file(&dir));
    cut.expect("opened")
        .set_len(length - 4096 * 3)
        .expect("truncated");
    let ledger = on_disk(&dir, "m1").await?;
    assert!(ledger.is_unconfirmed());
    let rows = ledger.unconfirmed().await?;
    assert!(
        rows.len() == 1 && rows[0].id == id,
        "its registrations are read too"
    );
    let records = ledger.old_records(&id, &place()).await?;
    assert!(records.len() > 20, "{} of 200", records.len());
    assert!(records.iter().all(|it| it.file.starts_with("state.db.broken-")));
    Ok(())
}

#[tokio::test]
async fn lg_05_a_recovery_replaces_the_records_and_confirms_each_repository() -> Result<(), LedgerError> {
    let dir = used(2).await?;
    let ledger = on_disk(&dir, "m1").await?;
    let id = ledger.repositories().await?[0].id.clone();
    let other = ledger.register(&row("b", "/y", 2), at(3)).await?;
    lose(&dir, ledger, &["generation"]).await;
    let ledger = on_disk(&dir, "m1").await?;
    ledger.keep_copy("before-recovery").await?;
    let new = record(Slot::Ref(GitRef::new("refs/heads/1")), "jane-other");
    let recovered = [(id.clone(), vec![new.clone()])];
    ledger.recover(&place(), &recovered).await?;
    assert_eq!(ledger.records(&id, &place()).await?, [new]);
    let left: Vec<_> = ledger
        .unconfirmed()
        .await?
        .into_iter()
        .map(|row| row.id)
        .collect();
    assert_eq!(left, [other]);
    assert!(ledger.is_unconfirmed(), "the ledger as a whole still waits");
    ledger.confirm().await?;
    ledger.pool.close().await;
    let ledger = on_disk(&dir, "m1").await?;
    assert!(!ledger.is_unconfirmed());
    assert_eq!(
        ledger.unconfirmed().await?.len(),
        1,
        "one that was away still waits"
    );
    assert_eq!(beside(&dir, "state.db.before-recovery-"), 1);
    Ok(())
}

#[tokio::test]
async fn pr_07_a_ledger_of_a_newer_daemon_is_refused_and_left_alone() -> Result<(), LedgerError> {
    let dir = used(1).await?;
    let ledger = on_disk(&dir, "m1").await?;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'x', 1, x'00', 0)";
    sqlx::query(newer).execute(&ledger.pool).await?;
    ledger.pool.close().await;
    let before = std::fs::read(file(&dir)).expect("readable");
    assert!(matches!(on_disk(&dir, "m1").await, Err(LedgerError::Newer(9999))));
    assert_eq!(std::fs::read(file(&dir)).expect("readable"), before);
    Ok(())
}

#[tokio::test]
async fn pr_12_what_another_machine_registered_is_not_acted_on() -> Result<(), LedgerError> {
    let dir = used(1).await?;
    let ledger = on_disk(&dir, "m2").await?;
    assert!(ledger.repositories().await?.is_empty());
    let id = ledger.register(&row("b", "/x", 1), at(1)).await?;
    assert!(ledger.records(&id, &place()).await?.is_empty());
    assert_eq!(
        ledger.taken(&id, &place(), at(1)).await?.len(),
        1,
        "its names are taken"
    );
    ledger.pool.close().await;
    let ledger = on_disk(&dir, "m1").await?;
    let id = ledger.repositories().await?[0].id.clone();
    assert_eq!(
        ledger.records(&id, &place()).await?.len(),
        1,
        "the other one has it as before"
    );
    Ok(())
}

#[tokio::test]
async fn a_record_comes_back_as_it_was_saved() -> Result<(), LedgerError> {
    let ledger = Ledger::in_memory().await?;
    let id = ledger.register(&row("a", "/x", 1), at(0)).await?;
    let saved = record(
        Slot::Worktree(WorktreeId::Linked("wt".into())),
        "jane-main-worktree-wt",
    );
    ledger.save(&id, &saved).await?;
    assert_eq!(ledger.records(&id, &place()).await?, vec![saved.clone()]);
    let owned = Record {
        state: RecordState::Owned,
        uid: Some(BranchUid::new("br-1")),
        ..saved
    };
    ledger.save(&id, &owned).await?;
    assert_eq!(ledger.records(&id, &place()).await?, vec![owned]);
    Ok(())
}

#[tokio::test]
async fn names_of_other_repositories_are_taken() -> Result<(), LedgerError> {
    let ledger = Ledger::in_memory().await?;
    let a = ledger.register(&row("a", "/a", 1), at(0)).await?;
    let b = ledger.register(&row("b", "/b", 2), at(0)).await?;
    ledger
        .save(
            &a,
            &record(Slot::Ref(GitRef::new("refs/heads/main")), "jane-main"),
        )
        .await?;
    assert_eq!(
        ledger.taken(&b, &place(), at(0)).await?,
        BTreeSet::from([BranchId::new("jane-main")])
    );
    assert!(ledger.taken(&a, &place(), at(0)).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_held_name_is_taken_for_its_time() -> Result<(), LedgerError> {
    let ledger = Ledger::in_memory().await?;
    let (id, branch) = (RepositoryId::new("a"), BranchId::new("jane-x"));
    ledger.hold_name(&place(), &branch, at(10)).await?;
    assert_eq!(
        ledger.taken(&id, &place(), at(9)).await?,
        BTreeSet::from([branch])
    );
    assert!(ledger.taken(&id, &place(), at(10)).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_buried_record_is_gone_and_leaves_a_tombstone() -> Result<(), LedgerError> {
    let ledger = Ledger::in_memory().await?;
    let id = ledger.register(&row("a", "/a", 1), at(0)).await?;
    let record = Record {
        uid: Some(BranchUid::new("br-1")),
        ..record(Slot::Ref(GitRef::new("refs/heads/x")), "jane-x")
    };
    ledger.save(&id, &record).await?;
    ledger.bury(&id, &record, at(9)).await?;
    assert!(ledger.records(&id, &place()).await?.is_empty());
    let uid: String = sqlx::query_scalar("SELECT uid FROM tombstones")
        .fetch_one(&ledger.pool)
        .await?;
    assert_eq!(uid, "br-1");
    Ok(())
}

#[tokio::test]
async fn a_branch_is_condemned_until_it_is_spared() -> Result<(), LedgerError> {
    let ledger = Ledger::in_memory().await?;
    let (id, uid) = (RepositoryId::new("a"), BranchUid::new("br-1"));
    let record = Record {
        uid: Some(uid.clone()),
        ..record(Slot::Ref(GitRef::new("refs/heads/x")), "jane-x")
    };
    assert!(!ledger.is_condemned(&place(), &uid).await?);
    ledger.condemn(&id, &record, at(9)).await?;
    assert!(ledger.is_condemned(&place(), &uid).await?);
    ledger.spare(&place(), &uid).await?;
    assert!(!ledger.is_condemned(&place(), &uid).await?);
    Ok(())
}

#[tokio::test]
async fn old_events_are_dropped() -> Result<(), LedgerError> {
    let ledger = Ledger::in_memory().await?;
    let (repository, branch) = (RepositoryId::new("a"), BranchId::new("x"));
    sqlx::query("INSERT INTO events VALUES (?, 0, 'a', 'x', 'old', '')")
        .bind(EVENTS_KEPT)
        .execute(&ledger.pool)
        .await?;
    sqlx::query("INSERT INTO events VALUES (1, 0, 'a', 'x', 'older', '')")
        .execute(&ledger.pool)
        .await?;
    let event = Event {
        at: at(0),
        repository: &repository,
        branch: &branch,
        action: "new",
        why: "",
    };
    ledger.log(&event).await?;
    let left: Vec<String> = sqlx::query_scalar("SELECT action FROM events ORDER BY sequence")
        .fetch_all(&ledger.pool)
        .await?;
    assert_eq!(left, ["old", "new"]);
    Ok(())
}

#[tokio::test]
async fn lg_03_registrations_at_the_same_time_are_written_one_after_the_other() -> Result<(), LedgerError> {
    let dir = tempfile::tempdir().expect("a temp dir");
    let ledger = on_disk(&dir, "m1").await?;
    let file = super::registrations::RegistrationsFile::beside(&file(&dir));
    let kept = || match file.read() {
        super::registrations::Reading::Kept(kept) => kept.repositories.len(),
        other => panic!("{other:?}"),
    };
    let turn = ledger.keep.turn.clone().lock_owned().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..16 {
        let (ledger, row) = (ledger.clone(), row(&format!("r{n}"), &format!("/x{n}"), n));
        tasks.spawn(async move { ledger.register(&row, at(0)).await });
    }
    let first = tokio::time::timeout(Duration::from_millis(300), tasks.join_next());
    assert!(
        first.await.is_err(),
        "a writer does not wait for the one before it"
    );
    assert_eq!(kept(), 0);
    drop(turn);
    while let Some(registered) = tasks.join_next().await {
        registered.expect("no panic")?;
    }
    assert_eq!(kept(), 16);
    Ok(())
}

#[tokio::test]
async fn lg_04_registrations_of_an_earlier_release_are_read() -> Result<(), LedgerError> {
    let dir = used(1).await?;
    let ledger = on_disk(&dir, "m1").await?;
    let id = ledger.repositories().await?[0].id.clone();
    let text = "LAKEBASE_PROJECT_ID=\"shop\"\n";
    assert!(ledger.replace_config(&id, None, text).await?);
    let older = "ALTER TABLE repositories RENAME COLUMN confirmed_config TO last_config";
    sqlx::query(older).execute(&ledger.pool).await?;
    ledger.pool.close().await;
    let found = super::copies::registrations(&file(&dir)).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].config.as_deref(), Some(text));
    Ok(())
}

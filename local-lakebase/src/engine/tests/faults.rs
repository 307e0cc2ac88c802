//! Callers that go away, processes that die, and deletions that cross with wake-ups.

use super::*;
use rustix::process::{Pid, Signal, kill_process};

const SOON: Duration = Duration::from_mins(1);

/// Waits until something is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn kill(pid: &str) {
    let pid = Pid::from_raw(pid.parse().expect("a number")).expect("not zero");
    kill_process(pid, Signal::KILL).expect("it was there");
}

/// The postmasters whose data are somewhere below a directory.
#[cfg(target_os = "linux")]
fn postmasters_below(dir: &std::path::Path) -> usize {
    let dir = dir.to_str().expect("a plain path");
    let processes = fs::read_dir("/proc").expect("listed").flatten();
    let commands = processes.filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok());
    commands
        .filter(|command| command.contains("postgres\0-D") && command.contains(dir))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_while_a_compute_starts_leaves_one_that_is_known() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    for patience in [0, 2, 5, 10, 20, 40] {
        engine.shutdown().await;
        let patience = Duration::from_millis(patience);
        drop(tokio::time::timeout(patience, engine.connect(&root)).await);
        let started = Instant::now();
        assert_eq!(number(&engine, &root, "SELECT 1::bigint").await, 1);
        assert!(
            started.elapsed() < Duration::from_secs(8),
            "{:?}",
            started.elapsed()
        );
    }
    engine.shutdown().await;
    drop(tokio::time::timeout(Duration::from_millis(5), engine.connect(&root)).await);
    until("it is seen to run", || {
        engine.state(&root) == ComputeState::Running
    })
    .await;
    engine.shutdown().await;
    assert_eq!(pid_of(&scratch, &root), None, "what is known is stopped");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_is_deleted_is_not_woken_again() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    engine.shutdown().await;
    for round in 0..6 {
        let child = key(&format!("br-child-{round}"));
        engine
            .fork(&root, &child, Durability::Ephemeral, None)
            .await
            .expect("forked");
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (engine, child) = (engine.clone(), child.clone());
            callers.spawn(async move {
                loop {
                    if let Err(error) = engine.connect(&child).await {
                        return error;
                    }
                }
            });
        }
        let (state, child_too) = (engine.clone(), child.clone());
        until("it runs", move || {
            state.state(&child_too) == ComputeState::Running
        })
        .await;
        engine.delete(&child).await.expect("deleted");
        for error in callers.join_all().await {
            assert!(matches!(error, EngineError::Missing(_)), "{error}");
        }
        engine.delete(&child).await.expect("gone already");
        assert_eq!(postmasters_below(scratch.dir.path()), 0, "round {round}");
    }
    assert_eq!(scratch.names_below("projects/shop"), ["br-root"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_whose_caller_goes_away_leaves_nothing() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    let child = key("br-child");
    let only_the_root = || scratch.names_below("projects/shop") == ["br-root"];
    for is_asleep in [false, true] {
        if is_asleep {
            engine.shutdown().await;
        }
        for patience in [1, 5, 15, 30, 60] {
            let fork = engine.fork(&root, &child, Durability::Ephemeral, None);
            if let Ok(forked) = tokio::time::timeout(Duration::from_millis(patience), fork).await {
                forked.expect("forked");
                engine.delete(&child).await.expect("deleted");
            }
            until("nothing is left", only_the_root).await;
        }
    }
    engine
        .fork(&root, &child, Durability::Ephemeral, None)
        .await
        .expect("the name is free");
    assert_eq!(number(&engine, &child, "SELECT 1::bigint").await, 1);
    engine.shutdown().await;
}

#[tokio::test]
async fn pg_05_an_adopted_postmaster_that_is_killed_comes_back() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    execute(&engine, &root, "CREATE TABLE t AS SELECT 5::bigint AS n").await;
    drop(engine);
    let engine = scratch.open().await;
    let recovered = engine
        .recover(known(std::slice::from_ref(&root)), DateTime::UNIX_EPOCH)
        .await
        .expect("recovered");
    assert_eq!(recovered.adopted, 1);
    let pid = pid_of(&scratch, &root).expect("it runs");
    kill(&pid);
    until("its end is seen", || {
        engine.state(&root) == ComputeState::Suspended
    })
    .await;
    assert_eq!(number(&engine, &root, "SELECT n FROM t").await, 5);
    assert_ne!(pid_of(&scratch, &root), Some(pid));
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_dies_under_a_fork_is_forked_all_the_same() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    execute(&engine, &root, "CREATE TABLE t AS SELECT 5::bigint AS n").await;
    let pid = pid_of(&scratch, &root).expect("it runs");
    let child = key("br-child");
    let forking = {
        let (engine, root, child) = (engine.clone(), root.clone(), child.clone());
        tokio::spawn(async move { engine.fork(&root, &child, Durability::Ephemeral, None).await })
    };
    let has_begun = || {
        scratch
            .names_below("projects/shop")
            .iter()
            .any(|name| name != "br-root")
    };
    until("the copy has begun", has_begun).await;
    kill(&pid);
    forking.await.expect("no panic").expect("forked");
    assert_eq!(number(&engine, &child, "SELECT n FROM t").await, 5);
    let mut names = scratch.names_below("projects/shop");
    names.sort();
    assert_eq!(names, ["br-child", "br-root"]);
    engine.shutdown().await;
}

#[tokio::test]
async fn no_postgres_says_what_to_install_and_odd_names_make_no_directories() {
    let scratch = Scratch::new();
    let config = EngineConfig {
        data_dir: scratch.dir.path().join("data"),
        pg_bindir: Some(scratch.dir.path().join("nothing")),
        suspend_timeout: SOON,
        running_computes: 20,
    };
    let error = Engine::open(config).await.expect_err("there is none");
    assert!(matches!(error, EngineError::NoPostgres { fix } if fix.contains("LAKEBASE_PG_BINDIR")));

    let engine = scratch.open().await;
    for uid in ["../../escaped", "", "br.x", "Br-x", "br x"] {
        let made = engine.create_root(&key(uid), CREATOR).await;
        assert!(matches!(made, Err(EngineError::OddName(_))), "{uid:?}: {made:?}");
        assert!(matches!(
            engine.connect(&key(uid)).await,
            Err(EngineError::Missing(_))
        ));
        engine
            .delete(&key(uid))
            .await
            .expect("there is nothing to delete");
    }
}

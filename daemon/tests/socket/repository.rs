//! A repository that somebody else made: its configuration, its names and its links are data.

use crate::world::{World, bytes, until};
use lakebase_proto::{Reason, reason_of, v1};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[tokio::test]
async fn sec_06_a_path_leads_to_its_own_repository_or_nowhere() {
    let mut world = World::new().without_postgres();
    world.start().await;
    world.register().await;
    let other = world.path("other");
    fs::create_dir(&other).expect("made");
    world.git_in(&other, &["init", "-q"]);
    symlink(&other, world.main().join("link")).expect("made");
    symlink(world.main().join("loop"), world.main().join("loop")).expect("made");
    let reason = async |path: &[u8]| {
        let request = v1::CheckoutRequest {
            cwd: path.to_vec(),
            git_dir: bytes(&world.main().join(".git")),
            branch_checkout: true,
            ..v1::CheckoutRequest::default()
        };
        let refused = world.client().await.checkout(request).await;
        refused.err().and_then(|status| reason_of(&status))
    };
    let inside = world.main().join(".git/../.git/hooks/../..");
    assert_eq!(reason(&bytes(&inside)).await, None, "ours, by a detour");
    for (path, expected) in [
        (bytes(&world.main().join("link")), Reason::NotRegistered),
        (bytes(&world.main().join("../other")), Reason::NotRegistered),
        (bytes(&world.main().join("../../..")), Reason::NotARepository),
        (bytes(&world.main().join("loop")), Reason::NotARepository),
        (b"../../..".to_vec(), Reason::NotARepository),
        (b".".to_vec(), Reason::NotARepository),
        (b"".to_vec(), Reason::NotARepository),
        (
            [world.main().as_os_str().as_bytes(), b"\0/etc"].concat(),
            Reason::NotARepository,
        ),
        (b"\xff\xfe".to_vec(), Reason::NotARepository),
        (
            [b"/".repeat(5000), b"x".to_vec()].concat(),
            Reason::NotARepository,
        ),
    ] {
        let shown = String::from_utf8_lossy(&path).into_owned();
        assert_eq!(reason(&path).await, Some(expected), "{shown:.100}");
    }
}

#[tokio::test]
async fn sec_10_a_configuration_is_data_whatever_is_in_it() {
    let mut world = World::new().without_postgres();
    world.start().await;
    world.register().await;
    let canary = world.path("canary");
    let touch = format!("touch {}", canary.display());
    let file = world.main().join("lakebase.config");
    let huge = format!("LAKEBASE_PROJECT_ID=\"shop\"\n#{}\n", "x".repeat(10 << 20));
    for (text, expected) in [
        (
            format!("LAKEBASE_PROJECT_ID=\"$({touch})\"\n"),
            "line 1: LAKEBASE_PROJECT_ID",
        ),
        (
            format!("LAKEBASE_PROJECT_ID=\"`{touch}`\"\n"),
            "line 1: LAKEBASE_PROJECT_ID",
        ),
        (
            format!("LAKEBASE_PROJECT_ID=shop; {touch}\n"),
            "more than one word",
        ),
        (
            format!("LAKEBASE_PROJECT_ID=\"shop\"\n{touch}\n"),
            "line 2: expected KEY",
        ),
        (
            format!("LAKEBASE_PROJECT_ID=\"shop\n{touch}\"\n"),
            "a quote that is not closed",
        ),
        (
            format!("LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_DATABASE=\"a\x1b[31m$({touch})\"\n"),
            "control character",
        ),
        (
            "\u{feff}LAKEBASE_PROJECT_ID=\"shop\"\n".to_owned(),
            "unknown key `\\u{feff}LAKEBASE",
        ),
        (
            "LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_HOST=\"https://evil.example\"\n".to_owned(),
            "unknown key",
        ),
        (huge, "larger than 65536 bytes"),
    ] {
        fs::remove_file(&file).ok();
        fs::write(&file, &text).expect("written");
        refused(&world, expected).await;
    }
    assert!(!canary.exists(), "a configuration was executed");
}

#[tokio::test]
async fn sec_10_a_configuration_is_a_plain_file_of_ours() {
    let mut world = World::new().without_postgres();
    world.start().await;
    world.register().await;
    let file = world.main().join("lakebase.config");
    fs::remove_file(&file).expect("removed");
    let secret = world.path("secret");
    fs::write(&secret, "LAKEBASE_PROJECT_ID=\"shop\"\n").expect("written");
    symlink(&secret, &file).expect("made");
    refused(&world, "cannot read").await;
    fs::remove_file(&file).expect("removed");
    assert!(
        Command::new("mkfifo")
            .arg(&file)
            .status()
            .expect("it runs")
            .success()
    );
    refused(&world, "not a plain file").await;
    fs::remove_file(&file).expect("removed");
    fs::create_dir(&file).expect("made");
    refused(&world, "not a plain file").await;
}

async fn refused(world: &World, expected: &str) {
    world.reconcile().await;
    let problems = world.repository().await.problems;
    assert!(
        problems.iter().any(|problem| problem.message.contains(expected)),
        "{expected}: {problems:?}"
    );
}

#[tokio::test]
async fn sec_11_a_repository_can_name_no_host() {
    let mut world = World::new().without_postgres();
    // Whoever connects here was sent by the repository.
    let trap = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    trap.set_nonblocking(true).expect("set");
    let port = trap.local_addr().expect("bound").port();
    world.start().await;
    world.register().await;
    for line in [
        format!("LAKEBASE_HOST=\"http://127.0.0.1:{port}\""),
        format!("DATABRICKS_HOST=\"http://127.0.0.1:{port}\""),
        format!("LAKEBASE_PROFILE=\"http://127.0.0.1:{port}\""),
        format!("LAKEBASE_PROFILE=\"x@127.0.0.1:{port}\""),
        format!("LAKEBASE_PROJECT_ID=\"a@127.0.0.1:{port}/\""),
        format!("LAKEBASE_SOURCE_BRANCH=\"../../@127.0.0.1:{port}\""),
    ] {
        let project = if line.contains("PROJECT") {
            ""
        } else {
            "LAKEBASE_PROJECT_ID=\"shop\"\n"
        };
        world.configure(&format!("{project}{line}\n"));
        world.reconcile().await;
        let repository = world.repository().await;
        assert!(!repository.problems.is_empty(), "{line}: {repository:?}");
        assert!(!repository.service.contains(&port.to_string()), "{repository:?}");
    }
    assert!(trap.accept().is_err(), "somebody connected");
}

#[tokio::test]
async fn sec_18_hostile_names_of_git_branches_become_plain_names() {
    let mut world = World::new().with_args(&["--local-branch-limit", "40"]);
    world.start().await;
    world.register().await;
    let before = databases(&world, &world.main()).await;
    let mut seen = BTreeSet::new();
    for (number, name) in [
        "x\";DROP-DATABASE-postgres;--",
        "x';SELECT(pg_terminate_backend(1));--",
        "$(id)`id`|id&id;id>x<y",
        "\u{202e}gpj.é-😀",
        "-rf",
    ]
    .into_iter()
    .enumerate()
    {
        let dir = format!("../w{number}");
        // By its full name, as git itself will not make a branch that begins with a dash.
        world.git(&["update-ref", &format!("refs/heads/{name}"), "HEAD"]);
        world.git(&["worktree", "add", "-q", "--detach", &dir]);
        let dir = world.path(&format!("w{number}"));
        world.git_in(&dir, &["symbolic-ref", "HEAD", &format!("refs/heads/{name}")]);
        let branch = world.branch(&dir).await;
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(
            branch.len() <= 63 && branch.chars().all(is_plain),
            "{name} became {branch}"
        );
        assert!(seen.insert(branch), "{name} shares a branch");
        assert_eq!(databases(&world, &dir).await, before, "{name}");
    }
}

/// What a branch has in its catalog.
async fn databases(world: &World, dir: &Path) -> String {
    let credential = world.credential(dir).await.expect("ready");
    let sql = "SELECT string_agg(datname, ' ' ORDER BY datname) || (SELECT string_agg(rolname, ' ' ORDER BY rolname) \
               FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%') FROM pg_database";
    query(&credential, sql).await
}

async fn query(credential: &v1::Credential, statement: &'static str) -> String {
    use sqlx::postgres::{PgConnectOptions, PgSslMode};
    use sqlx::{Connection, PgConnection, Row};
    let options = PgConnectOptions::new_without_pgpass()
        .host(&credential.host)
        .port(u16::try_from(credential.port).expect("a port"))
        .database(&credential.database)
        .username(&credential.user)
        .password(&credential.password)
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert(&credential.ssl_root_cert);
    let mut connection = PgConnection::connect_with(&options).await.expect("it opens");
    let row = sqlx::query(statement)
        .fetch_one(&mut connection)
        .await
        .expect("one row");
    row.get(0)
}

/// A program that leaves a mark when it runs.
fn trap(world: &World, name: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = world.path(name);
    let text = format!("#!/bin/sh\n: > {}\n", world.path("canary").display());
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("changed");
    path.to_string_lossy().into_owned()
}

/// Sets every trap that a repository can set; returns a bare repository within the worktree, as a stranger may commit one.
fn set_traps(world: &World) -> PathBuf {
    let program = trap(world, "trap");
    let hooks = world.path("hooks");
    fs::create_dir(&hooks).expect("made");
    for hook in [
        "post-checkout",
        "post-index-change",
        "reference-transaction",
        "fsmonitor-watchman",
    ] {
        trap(world, &format!("hooks/{hook}"));
    }
    let embedded = world.main().join("embedded");
    fs::create_dir(&embedded).expect("made");
    world.git_in(&embedded, &["init", "-q", "--bare"]);
    world.git_in(&embedded, &["config", "core.fsmonitor", &program]);
    for key in [
        "core.fsmonitor",
        "core.sshCommand",
        "core.editor",
        "core.pager",
        "diff.external",
        "credential.helper",
        "gpg.program",
        "filter.x.clean",
        "filter.x.smudge",
        "uploadpack.packObjectsHook",
    ] {
        world.git(&["config", key, &program]);
    }
    world.git(&["config", "core.hooksPath", &hooks.to_string_lossy()]);
    fs::write(world.main().join(".gitattributes"), "* filter=x diff=x\n").expect("written");
    fs::write(world.main().join(".gitignore"), "\n").expect("written");
    embedded
}

/// The same command, with every program that it or a child of it executes written to a file.
fn audited(plain: &Command, audit: &Path) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-e", "trace=execve", "-o"])
        .arg(audit)
        .arg(plain.get_program())
        .args(plain.get_args())
        .env_clear();
    for (key, value) in plain.get_envs() {
        command.envs(value.map(|value| (key, value)));
    }
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

#[tokio::test]
async fn sec_21_nothing_that_a_repository_configures_is_executed() {
    let mut world = World::new().without_postgres();
    world.git(&["worktree", "add", "-q", "--detach", "../abc"]);
    let embedded = set_traps(&world);
    let audit = world.path("audit");
    let strace = Command::new("strace").arg("-V").output();
    let is_audited = strace.is_ok_and(|output| output.status.success());
    let plain = world.command();
    let command = if is_audited {
        audited(&plain, &audit)
    } else {
        plain
    };
    world.start_as(command).await;
    world.register().await;
    for dir in [world.main(), world.path("abc"), embedded] {
        world.reconcile().await;
        drop(world.credential(&dir).await);
    }
    until("both worktrees are seen", async || {
        world.worktree(&world.main()).await.is_some() && world.worktree(&world.path("abc")).await.is_some()
    })
    .await;
    world.shut_down().await;
    assert!(!world.path("canary").exists(), "a program of the repository ran");
    if is_audited {
        let text = fs::read_to_string(&audit).expect("written");
        let executed: Vec<_> = text.lines().filter(|line| line.contains("execve(")).collect();
        assert_eq!(executed.len(), 1, "only the daemon itself: {executed:#?}");
    }
}

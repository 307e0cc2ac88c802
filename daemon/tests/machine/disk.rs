//! File systems that fail, hang, run full or tell nothing, and ledgers that are lost.

use crate::world::{World, bytes, until};
use lakebase_proto::v1;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

async fn problems(world: &World) -> String {
    let problems = world.repository().await.problems;
    let texts: Vec<_> = problems.into_iter().flat_map(|p| [p.message, p.fix]).collect();
    texts.join("\n")
}

async fn has_branch(world: &World, name: &str) -> bool {
    world.service_names().await.iter().any(|there| there == name)
}

fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .stdout(Stdio::null())
        .status();
    let is_there = found.is_ok_and(|status| status.success());
    if !is_there {
        eprintln!("skipped: there is no {program}");
    }
    is_there
}

#[tokio::test]
async fn fs_01_04_a_storm_of_events_ends_in_the_right_picture() {
    let world = World::started().await;
    world.branch(&world.main()).await;
    let noisy = world.main().join(".git/worktrees");
    fs::create_dir_all(&noisy).expect("made");
    // More than the queue holds, in a watched directory, some of it before the daemon could look.
    for n in 0..60_000 {
        let path = noisy.join(format!("x{}", n % 7));
        fs::create_dir(&path).expect("made");
        fs::remove_dir(&path).expect("removed");
    }
    fs::remove_dir(&noisy).expect("removed");
    world.git(&["worktree", "add", "-q", "--detach", "../w"]);
    until("the worktree is seen unasked", async || {
        let worktree = world.worktree(&world.path("w")).await;
        worktree.is_some_and(|worktree| worktree.branch.is_some())
    })
    .await;
    world.git(&["worktree", "remove", "--force", "../w"]);
    until("its branch is reaped", async || {
        world.service_names().await.len() == 2
    })
    .await;
}

/// The daemon with a system call that always fails, as it does when a limit of inotify is reached.
fn without(world: &World, call: &str, error: &str) -> Command {
    let daemon = world.command();
    let mut strace = Command::new("strace");
    // The tracer is not the parent: the daemon stays our child.
    strace.args([
        "-D",
        "-f",
        "-q",
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={call}"),
    ]);
    strace.args(["-e", &format!("inject={call}:error={error}")]);
    strace.arg(daemon.get_program()).env_clear();
    strace.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    strace.stdin(Stdio::null()).stderr(Stdio::null());
    strace
}

#[tokio::test]
async fn fs_02_03_without_watches_worktrees_are_polled_and_the_status_says_so() {
    if !has("strace") {
        return;
    }
    for (call, error) in [("inotify_add_watch", "ENOSPC"), ("inotify_init1", "EMFILE")] {
        let mut world = World::new().with_env("LAKEBASE_RESYNC", "1");
        let command = without(&world, call, error);
        world.start_as(command).await;
        world.register().await;
        world.branch(&world.main()).await;
        assert_eq!(
            world.repository().await.watch_mode(),
            v1::WatchMode::Polling,
            "{call}"
        );
        world.git(&["worktree", "add", "-q", "--detach", "../w"]);
        until("the clock alone finds it", async || {
            let worktree = world.worktree(&world.path("w")).await;
            worktree.is_some_and(|worktree| worktree.branch.is_some())
        })
        .await;
        world.shut_down().await;
    }
}

/// Opening a FIFO hangs as a dead file system does, and comes back when the other end is opened.
#[tokio::test]
async fn fs_06_a_repository_that_hangs_holds_nobody_else() {
    let world = World::started().await;
    world.branch(&world.main()).await;
    let other = world.path("other");
    world.git(&["clone", "-q", ".", "../other"]);
    fs::write(other.join("lakebase.config"), "LAKEBASE_PROJECT_ID=\"shop\"\n").expect("written");
    world.git_in(&other, &["switch", "-q", "-c", "other"]);
    world.register_at(&other).await;
    world.branch(&other).await;
    let config = other.join(".git/config");
    let text = fs::read(&config).expect("readable");
    fs::remove_file(&config).expect("removed");
    make_fifo(&config);
    let hint = v1::ReconcileRequest {
        path: vec![],
        wait: false,
    };
    world.client().await.reconcile(hint).await.expect("taken");
    let is_hanging = async || {
        let all = world
            .client()
            .await
            .list_repositories(v1::ListRepositoriesRequest {})
            .await;
        format!("{all:?}").contains("does not answer")
    };
    until("it is told", is_hanging).await;
    world.git(&["worktree", "add", "-q", "--detach", "../w"]);
    assert_eq!(world.branch(&world.path("w")).await, "jane-doe-main-worktree-w");
    let mut hanging = JoinSet::new();
    for number in 0..70 {
        // `lakebase init` reads the repository's files.
        let dir = other.join(format!("dir{number}"));
        fs::create_dir(&dir).expect("made");
        let mut client = world.client().await;
        let path = bytes(&dir);
        hanging.spawn(async move {
            let request = v1::RegisterRepositoryRequest { path };
            client.register_repository(request).await
        });
    }
    // A path that has to be resolved on the disk, in another repository.
    let sub = world.main().join("sub");
    fs::create_dir(&sub).expect("made");
    let asked = timeout(Duration::from_secs(4), world.branch(&sub)).await;
    assert_eq!(asked.expect("it is not held up"), "jane-doe-main");
    for answer in hanging.join_all().await {
        let refused = answer.expect_err("its files cannot be read");
        assert!(refused.message().contains("does not answer"), "{refused}");
    }
    // Whoever hangs in it comes free, and finds an empty file first.
    fs::write(&config, "").expect("written");
    fs::remove_file(&config).expect("removed");
    fs::write(&config, text).expect("written");
    until("it is itself again", async || {
        let hint = v1::ReconcileRequest {
            path: vec![],
            wait: false,
        };
        world.client().await.reconcile(hint).await.expect("taken");
        !is_hanging().await
    })
    .await;
    assert!(has_branch(&world, "jane-doe-other").await);
}

/// System calls of a running daemon that fail, until the value is dropped.
struct Failing(Child);

impl Failing {
    fn calls(world: &World, file: &str, calls: &str, error: &str) -> Self {
        let file = world.path("state").join(file);
        let mut strace = Command::new("strace")
            .args([
                "-f",
                "-q",
                "-o",
                "/dev/null",
                "-p",
                &world.pid().to_string(),
                "-P",
            ])
            .arg(file)
            .args([
                "-e",
                &format!("trace={calls}"),
                "-e",
                &format!("inject={calls}:error={error}"),
            ])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("strace is installed");
        let status = format!("/proc/{}/status", world.pid());
        while !fs::read_to_string(&status)
            .expect("it runs")
            .contains(&format!("TracerPid:\t{}", strace.id()))
        {
            assert!(strace.try_wait().expect("ours").is_none(), "strace ended");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Self(strace)
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        // TERM lets go of the daemon; KILL would too, but leaves the last call as it is.
        drop(Command::new("kill").arg(self.0.id().to_string()).status());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn fs_07_a_full_disk_keeps_the_intent_from_being_written_and_the_request_from_being_sent() {
    if !has("strace") {
        return;
    }
    let world = World::started().await;
    world.branch(&world.main()).await;
    let failing = Failing::calls(&world, "state.db-wal", "write,pwrite64", "ENOSPC");
    world.git(&["worktree", "add", "-q", "--detach", "../w"]);
    until("it is told", async || {
        problems(&world).await.contains("cannot use the ledger")
    })
    .await;
    assert!(
        !has_branch(&world, "jane-doe-main-worktree-w").await,
        "the request was sent"
    );
    drop(failing);
    until("it heals by itself", async || {
        world.credential(&world.path("w")).await.is_ok()
    })
    .await;
    assert_eq!(world.service_names().await.len(), 3);
}

#[tokio::test]
async fn fs_09_after_a_lost_write_nothing_is_done_until_a_restart() {
    if !has("strace") {
        return;
    }
    let mut world = World::started().await;
    world.branch(&world.main()).await;
    let failing = Failing::calls(&world, "state.db-wal", "fsync,fdatasync", "EIO");
    world.git(&["worktree", "add", "-q", "--detach", "../w"]);
    until("it is told", async || {
        problems(&world).await.contains("restart lakebased")
    })
    .await;
    drop(failing);
    let hint = v1::ReconcileRequest {
        path: vec![],
        wait: true,
    };
    world.client().await.reconcile(hint).await.expect("taken");
    assert!(
        problems(&world).await.contains("restart lakebased"),
        "the disk is trusted again"
    );
    assert!(!has_branch(&world, "jane-doe-main-worktree-w").await);
    world
        .credential(&world.main())
        .await
        .expect("what it has it serves");
    world.kill();
    world.start().await;
    assert_eq!(world.branch(&world.path("w")).await, "jane-doe-main-worktree-w");
}

#[tokio::test]
async fn fs_10_nothing_is_reaped_after_the_ledger_was_lost_or_an_older_one_came_back() {
    let mut world = World::new();
    world.configure("LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_REAP_GRACE=\"0\"\n");
    world.start().await;
    world.register().await;
    world.git(&["worktree", "add", "-q", "--detach", "../old"]);
    world.branch(&world.path("old")).await;
    world.shut_down().await;
    let parts = ["state.db", "state.db-wal"].map(|part| world.path("state").join(part));
    let copies = parts.clone().map(|part| fs::read(part).ok());
    world.start().await;
    world.git(&["worktree", "add", "-q", "--detach", "../new"]);
    world.branch(&world.path("new")).await;
    world.shut_down().await;
    drop(fs::remove_file(world.path("state/state.db-shm")));
    for (part, copy) in parts.iter().zip(copies) {
        drop(fs::remove_file(part));
        if let Some(copy) = copy {
            fs::write(part, copy).expect("written");
        }
    }
    world.start().await;
    world.branch(&world.path("old")).await;
    world.git(&["worktree", "remove", "--force", "../old"]);
    world.reconcile().await;
    world.reconcile().await;
    assert!(problems(&world).await.contains("lakebase init --recover"));
    assert!(has_branch(&world, "jane-doe-main-worktree-old").await);
    // Truncated in the middle of a page: kept for the user, and started again.
    world.shut_down().await;
    let file = fs::OpenOptions::new()
        .write(true)
        .open(world.path("state/state.db"))
        .expect("there");
    file.set_len(5000).expect("truncated");
    world.start().await;
    world.git(&["worktree", "remove", "--force", "../new"]);
    world.reconcile().await;
    assert!(problems(&world).await.contains("lakebase init --recover"));
    assert!(has_branch(&world, "jane-doe-main-worktree-new").await);
}

/// Makes something odd in the place of a file.
type Maker = Box<dyn FnOnce(&Path)>;

fn make_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.expect("mkfifo is installed").success());
}

/// What the worktree says of its `.env`.
async fn env_problem(world: &World) -> String {
    world.reconcile().await;
    let worktree = world.worktree(&world.main()).await.expect("listed");
    worktree
        .problem
        .map(|problem| problem.message)
        .unwrap_or_default()
}

#[tokio::test]
async fn fs_12_13_14_an_env_file_in_an_odd_place_is_not_written() {
    let world = World::started().await;
    world.branch(&world.main()).await;
    let env = world.main().join(".env");
    until("it is there", async || env.is_file()).await;
    let outside = world.path("outside");
    fs::write(&outside, "precious\n").expect("written");
    fs::create_dir(world.main().join("inside")).expect("made");
    fs::write(world.main().join("inside/env"), "mine\n").expect("written");
    let link = |to: PathBuf| move |env: &Path| std::os::unix::fs::symlink(to, env).expect("linked");
    let odd: Vec<Maker> = vec![
        Box::new(link(outside.clone())),
        Box::new(link("inside/env".into())),
        Box::new(link("nowhere".into())),
        Box::new(link(".env".into())),
        Box::new(make_fifo),
        Box::new(|env| fs::create_dir(env).expect("made")),
    ];
    for make in odd {
        drop(fs::remove_file(&env));
        make(&env);
        assert!(env_problem(&world).await.contains("not a plain file"));
        assert_eq!(fs::read_to_string(&outside).expect("readable"), "precious\n");
        assert_eq!(
            fs::read_to_string(world.main().join("inside/env")).expect("readable"),
            "mine\n"
        );
    }
    fs::remove_dir(&env).expect("removed");
    assert_eq!(env_problem(&world).await, "", "it is written where it can be");
    // Not at once: the repository may be about to be removed.
    until("it is there again", async || {
        world.reconcile().await;
        env.is_file()
    })
    .await;
    world.git(&["add", "-f", ".env"]);
    fs::write(&env, "A=1\n").expect("written");
    assert!(env_problem(&world).await.contains("git tracks it"));
    assert_eq!(fs::read_to_string(&env).expect("readable"), "A=1\n");
    world
        .credential(&world.main())
        .await
        .expect("the branch is as good as before");
}

/// Makes a path immutable, which binds root too, until the value is dropped.
struct Immutable(PathBuf);

impl Immutable {
    fn make(path: &Path) -> Option<Self> {
        let made = Command::new("chattr")
            .arg("+i")
            .arg(path)
            .stderr(Stdio::null())
            .status();
        made.is_ok_and(|status| status.success())
            .then(|| Self(path.to_owned()))
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        drop(Command::new("chattr").arg("-i").arg(&self.0).status());
    }
}

#[tokio::test]
async fn fs_12_a_read_only_env_file_or_directory_is_told_and_nothing_is_left_behind() {
    let world = World::started().await;
    let sub = world.main().join("sub");
    fs::create_dir(&sub).expect("made");
    fs::write(world.main().join(".gitignore"), ".env*\nsub/\n").expect("written");
    world.configure("LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_ENV_FILE=\"sub/.env\"\n");
    world.trust().await;
    let env = sub.join(".env");
    until("it is there", async || env.is_file()).await;
    for path in [&env, &sub] {
        fs::write(&env, "A=1\n").expect("written");
        let is_root = rustix::process::geteuid().is_root();
        let immutable = if is_root { Immutable::make(path) } else { None };
        if is_root && immutable.is_none() {
            eprintln!("skipped: root can write everywhere here");
            return;
        }
        fs::set_permissions(&sub, fs::Permissions::from_mode(0o500))
            .or_else(|error| if is_root { Ok(()) } else { Err(error) })
            .expect("changed");
        assert!(
            env_problem(&world).await.contains("cannot write"),
            "{}",
            path.display()
        );
        drop(immutable);
        fs::set_permissions(&sub, fs::Permissions::from_mode(0o700)).expect("changed");
        assert_eq!(fs::read_to_string(&env).expect("readable"), "A=1\n");
        assert_eq!(
            fs::read_dir(&sub).expect("listed").count(),
            1,
            "a part of a file is left"
        );
    }
    assert_eq!(env_problem(&world).await, "");
}

#[tokio::test]
async fn fs_16_whatever_the_umask_files_are_the_users_alone() {
    for umask in ["000", "077"] {
        let mut world = World::new();
        let daemon = world.command();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {umask}; exec \"$0\"")]);
        command.arg(daemon.get_program()).env_clear();
        command.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null()).stderr(Stdio::null());
        world.start_as(command).await;
        world.register().await;
        world.branch(&world.main()).await;
        let mode = |path: PathBuf| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(world.main().join(".env")), 0o600);
        assert_eq!(
            (mode(world.path("state")), mode(world.path("run"))),
            (0o700, 0o700)
        );
        assert_eq!(mode(world.socket()), 0o600);
    }
}

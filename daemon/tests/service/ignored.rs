//! No password where git picks it up: rules of every kind, entries of the index, checkouts of
//! commits without the rule. Each test ends with `git add -A`, as a user or an agent runs it.

use crate::proxy::error;
use crate::rig::Rig;
use crate::world::{until, until_within};
use local_lakebase::Limits;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const SECRET: &str = "PGPASSWORD";

/// How soon a block must be gone after a file event, on a machine that is busy with other tests.
/// Without an event it takes up to half a minute.
const SOON: Duration = Duration::from_secs(10);

/// Git as the user runs it: with the user's own configuration, and hooks that find the daemon.
fn git(rig: &Rig, dir: &Path, args: &[&str]) -> Output {
    Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", rig.world.path(""))
        .env("LAKEBASE_SOCKET", rig.world.socket())
        .output()
        .expect("git is installed")
}

fn run(rig: &Rig, dir: &Path, args: &[&str]) {
    let output = git(rig, dir, args);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "git {args:?}: {complaint}");
}

fn says(rig: &Rig, dir: &Path, args: &[&str]) -> String {
    String::from_utf8_lossy(&git(rig, dir, args).stdout).into_owned()
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

fn has_block(file: &Path) -> bool {
    text(file).contains(SECRET)
}

/// What `git add -A` would have committed.
fn assert_nothing_is_staged(rig: &Rig, dir: &Path, what: &str) {
    let status = says(rig, dir, &["status", "--porcelain", "-uall"]);
    assert!(!status.contains(".env"), "{what}: {status}");
    run(rig, dir, &["add", "-A"]);
    assert_eq!(says(rig, dir, &["grep", "--cached", "-l", SECRET]), "", "{what}");
    run(rig, dir, &["reset", "-q"]);
}

async fn problem(rig: &Rig, dir: &Path) -> String {
    let worktree = rig.world.worktree(dir).await;
    let problem = worktree.and_then(|worktree| worktree.problem);
    problem
        .map(|problem| format!("{} ({})", problem.message, problem.fix))
        .unwrap_or_default()
}

async fn until_problem(rig: &Rig, dir: &Path, part: &str) {
    let what = format!("`{}` says: {part}", dir.display());
    until(&what, async || problem(rig, dir).await.contains(part)).await;
}

async fn until_block(file: &Path) {
    until("the block is there", async || has_block(file)).await;
}

async fn until_no_block(file: &Path) {
    until_within(SOON, "the block is gone", async || !has_block(file)).await;
}

/// A daemon that has written a `.env`, and a repository in which everything else is committed: at
/// `after` with the rule, at `before` without it.
async fn written() -> Rig {
    let rig = Rig::ready().await;
    let main = rig.world.main();
    run(&rig, &main, &["add", "-A"]);
    run(&rig, &main, &["commit", "-q", "-m", "configuration"]);
    run(&rig, &main, &["tag", "after"]);
    let old = "commit-tree -m old after^{tree}".split(' ').collect::<Vec<_>>();
    // Without `.gitignore`.
    run(&rig, &main, &["rm", "-q", "--cached", ".gitignore"]);
    let tree = says(&rig, &main, &["write-tree"]);
    run(&rig, &main, &["reset", "-q"]);
    let commit = says(&rig, &main, &[&old[..3], &[tree.trim()]].concat());
    run(&rig, &main, &["tag", "before", commit.trim()]);
    until_block(&main.join(".env")).await;
    rig
}

fn install_hook(rig: &Rig) {
    let hook = Path::new(env!("CARGO_BIN_EXE_lakebased")).with_file_name("lakebase-hook");
    assert!(
        hook.is_file(),
        "build the workspace first: there is no {}",
        hook.display()
    );
    symlink(hook, rig.world.main().join(".git/hooks/post-checkout")).expect("linked");
}

/// A change of the rules: what it is, how it is made, and whether git ignores the file then.
type Change = (&'static str, fn(&Rig), bool);

fn write(rig: &Rig, name: &str, text: &str) {
    let path = rig.world.path(name);
    fs::create_dir_all(path.parent().expect("it has one")).expect("made");
    fs::write(path, text).expect("written");
}

fn remove(rig: &Rig, name: &str) {
    fs::remove_file(rig.world.path(name)).expect("removed");
}

fn in_main(rig: &Rig, args: &[&str]) {
    run(rig, &rig.world.main(), args);
}

fn include_if(rig: &Rig) {
    let here = rig.world.path("").display().to_string();
    let text = format!("[includeIf \"gitdir:{here}/\"]\npath = included\n").replace("//", "/");
    write(rig, ".gitconfig", &text);
}

const CHANGES: &[Change] = &[
    (
        "the repository negates the user's rule",
        |rig| {
            write(rig, ".config/git/ignore", ".env\n");
            write(rig, "shop/.gitignore", "!.env\n");
        },
        false,
    ),
    (
        "only the user's rule is left",
        |rig| write(rig, "shop/.gitignore", ""),
        true,
    ),
    (
        "the exclude file negates the user's rule",
        |rig| write(rig, "shop/.git/info/exclude", "!.env\n"),
        false,
    ),
    (
        "it does not any more",
        |rig| write(rig, "shop/.git/info/exclude", ""),
        true,
    ),
    (
        "the user names another file of rules",
        |rig| write(rig, ".gitconfig", "[core]\nexcludesFile = ~/rules\n"),
        false,
    ),
    ("which appears", |rig| write(rig, "rules", ".env\n"), true),
    ("which is changed", |rig| write(rig, "rules", "other\n"), false),
    ("and back", |rig| write(rig, "rules", ".env\n"), true),
    ("which is removed", |rig| remove(rig, "rules"), false),
    (
        "a file that is included for this repository names one",
        |rig| {
            include_if(rig);
            write(rig, "included", "[core]\nexcludesFile = ~/mine\n");
            write(rig, "mine", ".env\n");
        },
        true,
    ),
    (
        "the included file is removed, and so is the default",
        |rig| {
            remove(rig, "included");
            remove(rig, ".config/git/ignore");
        },
        false,
    ),
    (
        "the included file is back",
        |rig| write(rig, "included", "[core]\nexcludesFile = ~/mine\n"),
        true,
    ),
    (
        "the worktree has a configuration of its own",
        |rig| {
            in_main(rig, &["config", "extensions.worktreeConfig", "true"]);
            in_main(rig, &["config", "--worktree", "core.excludesFile", "/dev/null"]);
        },
        false,
    ),
    (
        "which names the file too",
        |rig| in_main(rig, &["config", "--worktree", "core.excludesFile", "~/mine"]),
        true,
    ),
    (
        "the rules are a link, which git does not follow in a worktree",
        |rig| {
            in_main(rig, &["config", "--worktree", "--unset", "core.excludesFile"]);
            remove(rig, ".gitconfig");
            remove(rig, "shop/.gitignore");
            symlink(rig.world.path("mine"), rig.world.main().join(".gitignore")).expect("linked");
        },
        false,
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_30_git_decides_by_rules_from_everywhere_while_the_daemon_runs() {
    let rig = written().await;
    let (main, file) = (rig.world.main(), rig.world.main().join(".env"));
    for (what, change, is_ignored) in CHANGES {
        change(&rig);
        rig.world.reconcile().await;
        eprintln!("{what}");
        if *is_ignored {
            until_block(&file).await;
            until("nothing is wrong", async || problem(&rig, &main).await.is_empty()).await;
        } else {
            until_no_block(&file).await;
            until_problem(&rig, &main, "did not write").await;
        }
        let ignored = git(&rig, &main, &["check-ignore", "-q", ".env"]).status.success();
        assert_eq!(ignored, *is_ignored, "{what}");
        assert_nothing_is_staged(&rig, &main, what);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_30_rules_on_the_way_to_a_file_in_a_directory_count() {
    let rig = written().await;
    let main = rig.world.main();
    write(&rig, "shop/sub/file", "x\n");
    write(&rig, "shop/.gitignore", ".env\n");
    rig.world
        .configure("LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_ENV_FILE=\"sub/.env\"\n");
    let file = main.join("sub/.env");
    rig.world.trust().await;
    fs::remove_file(main.join(".env")).expect("it is empty");
    let changes: [Change; 5] = [
        ("a rule of the root", |_| {}, true),
        (
            "the directory negates it",
            |rig| write(rig, "shop/sub/.gitignore", "!.env\n"),
            false,
        ),
        (
            "the directory is excluded, so nothing in it can be negated",
            |rig| write(rig, "shop/.gitignore", "sub/\n!sub/.env\n"),
            true,
        ),
        (
            "the directory becomes a repository",
            |rig| run(rig, &rig.world.main(), &["init", "-q", "sub"]),
            false,
        ),
        (
            "and is none any more",
            |rig| fs::remove_dir_all(rig.world.main().join("sub/.git")).expect("removed"),
            true,
        ),
    ];
    for (what, change, is_safe) in changes {
        change(&rig);
        rig.world.reconcile().await;
        eprintln!("{what}");
        if is_safe {
            until_block(&file).await;
        } else {
            until_no_block(&file).await;
            until_problem(&rig, &main, "did not write").await;
        }
        assert_nothing_is_staged(&rig, &main, what);
    }
}

/// Without a request to the daemon: the write of the index is noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_32_36_a_file_with_an_entry_in_the_index_has_no_block() {
    let rig = written().await;
    let (main, file) = (rig.world.main(), rig.world.main().join(".env"));
    // The password is in the index now, and nothing but the user can take it out.
    run(&rig, &main, &["add", "-f", ".env"]);
    until_no_block(&file).await;
    until_problem(&rig, &main, "the index may hold a password").await;
    until_problem(&rig, &main, "git rm --cached .env").await;
    run(&rig, &main, &["rm", "-q", "-f", "--cached", ".env"]);
    until_block(&file).await;
    until("nothing is wrong", async || problem(&rig, &main).await.is_empty()).await;
    run(&rig, &main, &["add", "-f", "-N", ".env"]);
    until_no_block(&file).await;
    run(&rig, &main, &["reset", "-q"]);
    until_block(&file).await;

    fs::write(&file, "A=1\n").expect("written");
    run(&rig, &main, &["add", "-f", ".env"]);
    run(&rig, &main, &["commit", "-q", "-m", "tracked"]);
    run(&rig, &main, &["update-index", "--skip-worktree", ".env"]);
    rig.world.reconcile().await;
    until_no_block(&file).await;
    until_problem(&rig, &main, "git tracks it").await;
    assert_eq!(text(&file), "A=1\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_32_a_file_in_a_merge_conflict_has_no_block() {
    let rig = written().await;
    rig.add("abc");
    let dir = rig.world.path("abc");
    let file = dir.join(".env");
    until_block(&file).await;
    for (name, line) in [("one", "A=1\n"), ("two", "A=2\n")] {
        run(&rig, &dir, &["switch", "-q", "-f", "-c", name, "after"]);
        // Not by `add -f .env`: the daemon may have put a block into the file by then.
        fs::write(dir.join("line"), line).expect("written");
        let blob = says(&rig, &dir, &["hash-object", "-w", "line"]);
        let entry = format!("100644,{},.env", blob.trim());
        run(&rig, &dir, &["update-index", "--add", "--cacheinfo", &entry]);
        run(&rig, &dir, &["commit", "-q", "-m", name]);
        run(&rig, &dir, &["reset", "-q", "--hard"]);
    }
    assert!(!git(&rig, &dir, &["merge", "-q", "one"]).status.success());
    let stages = says(&rig, &dir, &["ls-files", "--unmerged"]);
    assert!(stages.contains(".env"), "{stages}");
    rig.world.reconcile().await;
    rig.world.branch(&dir).await;
    until_problem(&rig, &dir, "git tracks it").await;
    assert!(text(&file).contains("<<<<<<<"), "{}", text(&file));
    assert!(!has_block(&file));
    run(&rig, &dir, &["merge", "--abort"]);
    rig.world.reconcile().await;
    assert_eq!(text(&file), "A=2\n", "it is tracked here too");
    run(&rig, &dir, &["switch", "-q", "--detach", "after"]);
    until_block(&file).await;
    assert_nothing_is_staged(&rig, &dir, "after the merge");
}

/// A worktree whose file is not tracked where sparse checkout leaves its rules out: git reads them
/// from the index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_30_rules_that_a_sparse_checkout_leaves_out_count() {
    let rig = written().await;
    let (main, file) = (rig.world.main(), rig.world.main().join(".env"));
    write(&rig, ".config/git/ignore", ".env\n");
    write(&rig, "shop/.gitignore", "!.env\n");
    run(&rig, &main, &["commit", "-q", "-a", "-m", "negated"]);
    rig.world.reconcile().await;
    until_no_block(&file).await;
    run(
        &rig,
        &main,
        &["sparse-checkout", "set", "--no-cone", "/lakebase.config"],
    );
    assert!(!main.join(".gitignore").exists());
    rig.world.reconcile().await;
    until_problem(&rig, &main, "git does not ignore it").await;
    assert!(!has_block(&file));
    assert_nothing_is_staged(&rig, &main, "sparse");
}

/// Checks something out; returns whether the hook heard of the daemon in time. It gives up after 40
/// ms, which may be too short on a machine that is busy with other tests.
fn checkout(rig: &Rig, dir: &Path, what: &str) -> bool {
    let output = git(rig, dir, &["checkout", "-q", what]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "git checkout {what}: {said}");
    assert!(!said.contains("not running"), "{said}");
    !said.contains("does not answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_34_the_block_is_gone_before_a_checkout_returns_where_the_hook_runs() {
    let rig = written().await;
    install_hook(&rig);
    rig.add("abc");
    let (main, linked) = (rig.world.main(), rig.world.path("abc"));
    run(&rig, &main, &["branch", "old", "before"]);
    let mut answered = 0;
    // To another git branch, and from commit to commit, which leaves the worktree on its branch.
    for (dir, there, back) in [(&main, "old", "main"), (&linked, "before", "after")] {
        let file = dir.join(".env");
        for round in 0..5 {
            until_block(&file).await;
            let is_mixed = round % 2 == 1;
            if is_mixed {
                fs::write(&file, format!("MINE={round}\n{}", text(&file))).expect("written");
            }
            if checkout(&rig, dir, there) {
                answered += 1;
                assert!(!has_block(&file), "round {round}: {}", text(&file));
            }
            until_no_block(&file).await;
            if is_mixed {
                assert!(text(&file).contains(&format!("MINE={round}\n")), "a line is lost");
                fs::remove_file(&file).expect("removed");
            }
            // It is emptied first, and removed when no other process has written into it meanwhile.
            until("an empty file is removed", async || !file.exists()).await;
            assert_nothing_is_staged(&rig, dir, there);
            until_problem(&rig, dir, "git does not ignore it").await;
            checkout(&rig, dir, back);
        }
        until_block(&file).await;
        until("nothing is wrong", async || problem(&rig, dir).await.is_empty()).await;
    }
    eprintln!("{answered} of 10 checkouts were answered in time");
    assert!(answered > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_34_without_the_hook_the_block_is_gone_soon_after_any_verb_that_takes_the_rule_away() {
    let rig = written().await;
    rig.add("abc");
    let dir = rig.world.path("abc");
    let file = dir.join(".env");
    run(&rig, &dir, &["switch", "-q", "-c", "topic"]);
    // From the second on HEAD stays what it is, and only the index is written.
    let verbs: [&[&str]; 4] = [
        &["checkout", "-q", "before"],
        &["reset", "-q", "--hard", "before"],
        &["rm", "-q", ".gitignore"],
        &["read-tree", "-u", "-m", "before"],
    ];
    for verb in verbs {
        until_block(&file).await;
        run(&rig, &dir, verb);
        until_no_block(&file).await;
        assert_nothing_is_staged(&rig, &dir, verb[0]);
        run(&rig, &dir, &["checkout", "-q", "-f", "topic"]);
        run(&rig, &dir, &["reset", "-q", "--hard", "after"]);
    }
    until_block(&file).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_34_without_file_events_each_pass_finds_a_rule_that_is_gone() {
    let mut rig = Rig::new(Limits::default()).await;
    let mut command = rig.world.command();
    command.env("LAKEBASE_WATCH", "poll").env("LAKEBASE_RESYNC", "1");
    rig.world.start_as(command).await;
    rig.world.register().await;
    let (main, file) = (rig.world.main(), rig.world.main().join(".env"));
    until_block(&file).await;
    fs::write(main.join(".gitignore"), "other\n").expect("written");
    until_no_block(&file).await;
    assert_nothing_is_staged(&rig, &main, "polled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_34_a_block_of_the_daemon_before_goes_also_while_the_service_cannot_be_reached() {
    let mut rig = written().await;
    let (main, file) = (rig.world.main(), rig.world.main().join(".env"));
    fs::write(&file, format!("MINE=1\n{}", text(&file))).expect("written");
    rig.world.shut_down().await;
    run(&rig, &main, &["checkout", "-q", "before"]);
    rig.world.git(&["symbolic-ref", "HEAD", "refs/heads/main"]);
    assert!(has_block(&file), "nothing took it out");
    rig.proxy
        .on("GET", "", error(503, "TEMPORARILY_UNAVAILABLE", "busy"));
    rig.world.start().await;
    until_no_block(&file).await;
    assert_eq!(text(&file), "MINE=1\n");
}

/// Puts a program in the place of git that does this when it is asked what is ignored.
fn fake_git(rig: &Rig, script: &str) -> PathBuf {
    let bin = rig.world.path("bin");
    fs::create_dir_all(&bin).expect("made");
    let path = std::env::var("PATH").unwrap_or_default();
    let text = format!(
        "#!/bin/sh\nPATH='{path}'\ncase \"$*\" in *check-ignore*) {script};; esac\nexec git \"$@\"\n"
    );
    fs::write(bin.join("git"), text).expect("written");
    fs::set_permissions(bin.join("git"), fs::Permissions::from_mode(0o755)).expect("changed");
    bin
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_31_without_an_answer_of_git_there_is_no_block_and_the_branch_is_as_good_as_before() {
    let mut rig = written().await;
    let (main, file) = (rig.world.main(), rig.world.main().join(".env"));
    for (what, script) in [
        ("hanging", "exec sleep 60"),
        ("failing", "exit 128"),
        ("warning", "echo 'warning: unable to access' >&2; exit 0"),
        ("missing", ""),
    ] {
        eprintln!("{what}");
        rig.world.shut_down().await;
        let mut command = rig.world.command();
        let bin = fake_git(&rig, script);
        if script.is_empty() {
            fs::remove_file(bin.join("git")).expect("removed");
        }
        command.env("PATH", &bin);
        rig.world.start_as(command).await;
        until_no_block(&file).await;
        until_problem(&rig, &main, "it is not certain that git ignores it").await;
        rig.world.branch(&main).await;
        rig.world.shut_down().await;
        rig.world.start().await;
        until_block(&file).await;
    }
}

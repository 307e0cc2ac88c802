//! Real repositories, made by the real git with a pinned environment.

use super::*;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::time::Duration;

struct Repo {
    dir: tempfile::TempDir,
}

fn run_git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"GIT_")) {
        command.env_remove(name);
    }
    let output = command
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git is installed");
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Repo {
    fn new() -> Self {
        let repo = Self {
            dir: tempfile::tempdir().expect("a temp dir"),
        };
        std::fs::create_dir(repo.main()).expect("made");
        repo.git(&["init", "-q"]);
        repo.git(&["commit", "-q", "--allow-empty", "-m", "first"]);
        repo
    }

    fn main(&self) -> PathBuf {
        self.dir.path().canonicalize().expect("it is there").join("main")
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.main().parent().expect("a parent").join(name)
    }

    fn git(&self, args: &[&str]) -> String {
        run_git(&self.main(), args)
    }

    fn question(&self, refs: &[&str]) -> Question {
        question(&self.main(), refs)
    }

    fn look(&self, before: Option<&Found>) -> Found {
        look_at(&self.question(&["refs/heads/main", "refs/heads/gone"]), before)
    }
}

fn question(dir: &Path, refs: &[&str]) -> Question {
    let located = locate(dir).expect("a repository");
    Question {
        common_dir: located.common_dir,
        device: located.device,
        inode: located.inode,
        born: located.born,
        main_worktree: located.main_worktree,
        refs: refs
            .iter()
            .map(|name| (GitRef::new(*name), Timestamp::UNIX_EPOCH))
            .collect(),
        worktrees: None,
    }
}

fn look_at(question: &Question, before: Option<&Found>) -> Found {
    match look(question, before) {
        Seen::Present(found) => found,
        Seen::Unknown(reason) => panic!("{reason}"),
    }
}

fn head_of<'a>(found: &'a Found, id: &str) -> &'a Head {
    let id = WorktreeId::parse(id);
    &found
        .view
        .worktrees
        .iter()
        .find(|worktree| worktree.id == id)
        .expect("it is listed")
        .head
}

#[test]
fn worktrees_and_their_heads_are_found() {
    let repo = Repo::new();
    repo.git(&["worktree", "add", "-q", "-b", "feature/x", "../wt-x"]);
    repo.git(&["worktree", "add", "-q", "--detach", "../wt-d"]);
    repo.git(&["worktree", "lock", "../wt-d"]);
    let found = repo.look(None);
    assert_eq!(head_of(&found, ""), &Head::Branch(GitRef::new("refs/heads/main")));
    assert_eq!(
        head_of(&found, "wt-x"),
        &Head::Branch(GitRef::new("refs/heads/feature/x"))
    );
    assert!(matches!(head_of(&found, "wt-d"), Head::Detached(commit) if commit.len() == 40));
    let locked: Vec<_> = found
        .view
        .worktrees
        .iter()
        .filter(|worktree| worktree.is_locked)
        .collect();
    assert_eq!(locked.len(), 1);
    assert_eq!(
        found.places[&WorktreeId::parse("wt-d")].root(),
        repo.beside("wt-d")
    );
    assert_eq!(found.view.refs, BTreeSet::from([GitRef::new("refs/heads/main")]));
    assert_eq!(found.view.main_branch, Some(GitRef::new("refs/heads/main")));
}

#[test]
fn a_worktree_is_located_from_within() {
    let repo = Repo::new();
    repo.git(&["worktree", "add", "-q", "--detach", "../wt"]);
    std::fs::create_dir(repo.beside("wt").join("sub")).expect("made");
    let located = locate(&repo.beside("wt").join("sub")).expect("a repository");
    assert_eq!(located.common_dir, repo.main().join(".git"));
    assert_eq!(located.main_worktree, Some(repo.main()));
    assert_eq!(located.config_path(), repo.main().join("lakebase.config"));
    assert_eq!(located.hooks_dir, repo.main().join(".git/hooks"));
    repo.git(&["config", "core.hooksPath", ".githooks"]);
    assert_eq!(
        locate(&repo.main()).expect("a repository").hooks_dir,
        repo.main().join(".githooks")
    );
    assert!(matches!(
        locate(repo.dir.path()),
        Err(GitError::NotARepository { .. })
    ));
}

#[test]
fn git_04_a_bare_repository_has_linked_worktrees_and_no_main_one() {
    let repo = Repo::new();
    run_git(repo.dir.path(), &["clone", "-q", "--bare", "main", "bare.git"]);
    run_git(
        &repo.beside("bare.git"),
        &["worktree", "add", "-q", "../of-bare", "main"],
    );
    let located = locate(&repo.beside("of-bare")).expect("a repository");
    assert_eq!(
        (located.main_worktree.clone(), located.common_dir.clone()),
        (None, repo.beside("bare.git"))
    );
    let question = Question {
        common_dir: located.common_dir,
        device: located.device,
        inode: located.inode,
        born: None,
        main_worktree: None,
        refs: BTreeMap::new(),
        worktrees: None,
    };
    let Seen::Present(found) = look(&question, None) else {
        panic!("it can be read")
    };
    let ids: Vec<_> = found
        .view
        .worktrees
        .iter()
        .map(|worktree| worktree.id.clone())
        .collect();
    assert_eq!(ids, [WorktreeId::parse("of-bare")]);
}

#[test]
fn git_02_a_removed_worktree_is_told_from_one_whose_place_went_away() {
    let repo = Repo::new();
    for name in ["removed", "pruned", "elsewhere/away"] {
        repo.git(&["worktree", "add", "-q", "--detach", &format!("../{name}")]);
    }
    let before = repo.look(None);
    repo.git(&["worktree", "remove", "../removed"]);
    // As when a disk is unmounted: the directory that held it is another one now.
    std::fs::rename(repo.beside("elsewhere"), repo.beside("unmounted")).expect("renamed");
    std::fs::create_dir(repo.beside("elsewhere")).expect("made");
    repo.git(&["worktree", "prune"]);
    let after = repo.look(Some(&before));
    assert_eq!(after.view.worktrees.len(), 2, "main and pruned are left");
    assert_eq!(
        after.view.removed_live,
        BTreeSet::from([WorktreeId::parse("removed")])
    );
    let away = BTreeSet::from([WorktreeId::parse("away")]);
    assert_eq!(after.view.away, away);
    assert_eq!(repo.look(Some(&after)).view.away, away, "it stays known");
}

#[test]
fn git_02_a_root_that_is_missing_is_away_unless_it_was_taken_from_where_it_stood() {
    let repo = Repo::new();
    for name in ["deleted", "elsewhere/away", "elsewhere/taken"] {
        repo.git(&["worktree", "add", "-q", "--detach", &format!("../{name}")]);
    }
    let before = repo.look(None);
    assert!(before.view.away.is_empty());
    std::fs::remove_dir_all(repo.beside("deleted")).expect("removed");
    std::fs::rename(repo.beside("elsewhere"), repo.beside("unmounted")).expect("renamed");
    std::fs::create_dir_all(repo.beside("elsewhere/taken")).expect("made");
    let away = ["away", "taken"].map(WorktreeId::parse).into();
    let after = repo.look(Some(&before));
    assert_eq!(after.view.away, away);
    let after = repo.look(Some(&after));
    assert_eq!(after.view.away, away, "what is there is not what was there");
    std::fs::remove_dir_all(repo.beside("elsewhere")).expect("removed");
    std::fs::rename(repo.beside("unmounted"), repo.beside("elsewhere")).expect("renamed");
    assert!(
        repo.look(Some(&after)).view.away.is_empty(),
        "it is mounted again"
    );
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(seconds, 0).expect("a time")
}

/// A look with these records about detached worktrees, and since when there are.
fn look_with(repo: &Repo, records: &[(&str, i64)], before: Option<&Found>) -> Found {
    let records = records
        .iter()
        .map(|(id, since)| (WorktreeId::parse(id), at(*since)));
    let worktrees = Some(records.collect());
    let question = Question {
        worktrees,
        ..repo.question(&[])
    };
    look_at(&question, before)
}

#[test]
fn nothing_that_git_does_to_the_entry_of_a_worktree_makes_it_another_one() {
    let repo = Repo::new();
    repo.git(&["worktree", "add", "-q", "--detach", "../wt"]);
    let mut found = look_with(&repo, &[], None);
    let born = found.places[&WorktreeId::parse("wt")].born;
    assert!(born.is_some(), "this file system tells");
    for args in [
        &["lock", "../wt"][..],
        &["unlock", "../wt"],
        &["move", "../wt", "../x"],
        &["move", "../x", "../wt"],
        &["repair"],
        &["prune"],
    ] {
        repo.git(&[&["worktree"], args].concat());
        run_git(
            &repo.main(),
            &[
                "--git-dir=.git/worktrees/wt",
                "update-ref",
                "refs/worktree/x",
                "HEAD",
            ],
        );
        found = look_with(&repo, &[("wt", 1)], Some(&found));
        assert!(found.view.succeeded.is_empty(), "{args:?}");
    }
}

#[test]
fn a_worktree_that_is_added_again_under_its_name_is_another_one() {
    let repo = Repo::new();
    let add = || repo.git(&["worktree", "add", "-q", "--detach", "../wt"]);
    add();
    let first = look_with(&repo, &[("wt", 1)], None);
    repo.git(&["worktree", "remove", "../wt"]);
    add();
    let wt = WorktreeId::parse("wt");
    let unknown = repo.look(Some(&first)).view;
    assert!(unknown.succeeded.contains_key(&wt), "no ledger could be asked");
    let again = look_with(&repo, &[("wt", 1)], Some(&first));
    let succeeded = BTreeMap::from([(wt.clone(), at(1))]);
    let removed = BTreeSet::from([wt.succeeded(at(1))]);
    assert_eq!(
        (&again.view.succeeded, &again.view.removed_live),
        (&succeeded, &removed)
    );
    let later = look_with(&repo, &[("wt", 1)], Some(&again));
    assert_eq!(
        later.view.succeeded, succeeded,
        "it stays known until the record was moved"
    );
    let moved = look_with(&repo, &[("wt/1000", 1), ("wt", 2)], Some(&again));
    assert_eq!(
        (&moved.view.succeeded, &moved.view.removed_live),
        (&BTreeMap::new(), &removed)
    );

    // The record is of the worktree that was there when it was made, not of the one that the next look finds.
    let new = look_with(&repo, &[], Some(&moved));
    repo.git(&["worktree", "remove", "../wt"]);
    add();
    assert_eq!(look_with(&repo, &[("wt", 3)], Some(&new)).view.succeeded.len(), 1);
    // One that was seen to go, and comes back after.
    let first = look_with(&repo, &[("wt", 3)], None);
    repo.git(&["worktree", "remove", "../wt"]);
    let gone = look_with(&repo, &[("wt", 3)], Some(&first));
    add();
    let back = look_with(&repo, &[("wt", 3)], Some(&gone)).view;
    assert_eq!(back.removed_live, BTreeSet::from([wt.succeeded(at(3))]));
    // One whose directory was seen to be gone, and its entry not yet.
    let first = look_with(&repo, &[("wt", 5)], None);
    std::fs::remove_dir_all(repo.beside("wt")).expect("removed");
    let between = look_with(&repo, &[("wt", 5)], Some(&first));
    repo.git(&["worktree", "prune"]);
    add();
    let back = look_with(&repo, &[("wt", 5)], Some(&between)).view;
    assert_eq!(back.removed_live, BTreeSet::from([wt.succeeded(at(5))]));
}

#[test]
fn a_look_between_the_two_halves_of_a_removal_loses_nothing() {
    let repo = Repo::new();
    repo.git(&["worktree", "add", "-q", "--detach", "../wt"]);
    let before = repo.look(None);
    std::fs::remove_file(repo.beside("wt/.git")).expect("removed");
    let begun = repo.look(Some(&before));
    assert!(begun.view.away.is_empty(), "it is the same directory");
    std::fs::remove_dir_all(repo.beside("wt")).expect("removed");
    let between = repo.look(Some(&begun));
    assert!(between.view.away.is_empty(), "it was taken away");
    assert!(between.view.removed_live.is_empty(), "its entry is still there");
    let entry = repo.main().join(".git/worktrees/wt");
    std::fs::remove_file(entry.join("gitdir")).expect("removed");
    let in_the_middle = repo.look(Some(&between));
    assert!(
        in_the_middle.view.removed_live.is_empty(),
        "a part of its entry is still there"
    );
    std::fs::remove_dir_all(entry).expect("removed");
    let after = repo.look(Some(&in_the_middle));
    assert_eq!(after.view.removed_live, BTreeSet::from([WorktreeId::parse("wt")]));
    let later = repo.look(Some(&after));
    assert_eq!(later.view.removed_live, after.view.removed_live, "it stays known");
    repo.git(&["worktree", "add", "-q", "--detach", "../wt"]);
    assert!(
        repo.look(Some(&later)).view.removed_live.is_empty(),
        "until it is there again"
    );
}

#[test]
fn git_03_a_moved_worktree_keeps_its_id() {
    let repo = Repo::new();
    repo.git(&["worktree", "add", "-q", "--detach", "../wt"]);
    repo.git(&["worktree", "move", "../wt", "../elsewhere"]);
    assert_eq!(
        repo.look(None).places[&WorktreeId::parse("wt")].root(),
        repo.beside("elsewhere")
    );
}

#[test]
fn git_16_another_repository_at_the_same_path_is_unknown_not_empty() {
    let repo = Repo::new();
    let question = repo.question(&[]);
    std::fs::rename(repo.main().join(".git"), repo.beside("old")).expect("renamed");
    repo.git(&["init", "-q"]);
    assert!(matches!(look(&question, None), Seen::Unknown(reason) if reason.contains("another repository")));
    std::fs::remove_dir_all(repo.main()).expect("removed");
    assert!(matches!(look(&question, None), Seen::Unknown(_)));
}

#[test]
fn git_04_a_git_directory_elsewhere_is_not_taken_for_a_worktree() {
    let repo = Repo::new();
    std::fs::create_dir(repo.beside("deep")).expect("made");
    run_git(
        repo.dir.path(),
        &["init", "-q", "--separate-git-dir", "deep/store.git", "apart"],
    );
    let located = locate(&repo.beside("apart")).expect("a repository");
    assert_eq!(
        (located.common_dir.clone(), located.main_worktree),
        (repo.beside("deep/store.git"), Some(repo.beside("apart")))
    );
    let again = |worktree: Option<&Path>| {
        locate_again(&located.common_dir, worktree)
            .expect("a repository")
            .main_worktree
    };
    assert_eq!(again(None), None, "only the worktree knows");
    assert_eq!(again(Some(&*repo.beside("apart"))), Some(repo.beside("apart")));
    assert_eq!(
        again(Some(&*repo.main())),
        None,
        "a worktree of another repository"
    );
}

#[test]
fn lg_01_every_slot_that_may_have_had_a_branch_claims_one() {
    let repo = Repo::new();
    repo.git(&["branch", "idle"]);
    repo.git(&["switch", "-q", "-c", "old"]);
    repo.git(&["branch", "-m", "old", "mid"]);
    repo.git(&["branch", "-m", "mid", "new"]);
    let wt = repo.beside("moved");
    repo.git(&[
        "worktree",
        "add",
        "-q",
        "--detach",
        &repo.beside("wt").to_string_lossy(),
    ]);
    repo.git(&["worktree", "move", "../wt", &wt.to_string_lossy()]);
    let claims = claims(&repo.question(&[]), Timestamp::UNIX_EPOCH).expect("readable");
    let of = |slot: Slot| {
        let mut all = claims.claimants.iter();
        all.find(|it| it.slot == slot).expect("it claims one")
    };
    let git = |name: &str| Slot::Ref(GitRef::new(format!("refs/heads/{name}")));
    let new = of(git("new"));
    assert_eq!(new.names, ["new", "mid", "old"]);
    assert_eq!(new.former, [git("mid"), git("old")]);
    assert!(new.is_in_use && new.born.is_none());
    // `switch -c old`: the log has the name of that time.
    assert!(!new.appeared.is_empty());
    let tree = of(Slot::Worktree(WorktreeId::Linked("wt".into())));
    assert_eq!(tree.names, ["moved", "wt"]);
    assert!(tree.is_in_use && tree.born.is_some());
    assert!(!of(git("idle")).is_in_use && !of(git("main")).is_in_use);
    assert_eq!(claims.main_git_branch.as_deref(), Some("new"));
    assert_eq!(claims.roots[&tree.slot], [wt]);
}

#[test]
fn git_07_a_renamed_git_branch_is_known_by_its_reflog() {
    let repo = Repo::new();
    repo.git(&["branch", "gone"]);
    repo.git(&["branch", "-m", "gone", "deep/er"]);
    let renamed = |repo: &Repo| repo.look(None).view.renamed;
    let wanted = |to: &str| BTreeMap::from([(GitRef::new("refs/heads/gone"), GitRef::new(to))]);
    assert_eq!(renamed(&repo), wanted("refs/heads/deep/er"));
    repo.git(&["branch", "-m", "deep/er", "Gone"]);
    assert_eq!(renamed(&repo), wanted("refs/heads/Gone"));
    repo.git(&["pack-refs", "--all"]);
    assert_eq!(renamed(&repo), wanted("refs/heads/Gone"));
    repo.git(&["branch", "-D", "Gone"]);
    assert!(renamed(&repo).is_empty(), "the new one is gone too");
    repo.git(&["branch", "gone"]);
    assert!(renamed(&repo).is_empty(), "the old one is there");
}

/// Makes a repository of a kind that libgit2 cannot open, with a detached and an attached worktree; `None` where git is too old.
fn odd_repo(format: &str) -> Option<Repo> {
    let repo = Repo {
        dir: tempfile::tempdir().expect("a temp dir"),
    };
    let made = Command::new("git")
        .args(["init", "-q", "-b", "main", format, "main"])
        .current_dir(repo.dir.path())
        .output()
        .expect("git is installed");
    if !made.status.success() {
        eprintln!("skipped: this git knows no {format}");
        return None;
    }
    repo.git(&["commit", "-q", "--allow-empty", "-m", "first"]);
    repo.git(&["worktree", "add", "-q", "-b", "feature/x", "../wt-x"]);
    repo.git(&["worktree", "add", "-q", "--detach", "../wt-d"]);
    Some(repo)
}

#[test]
fn git_12_reftables_and_sha256_are_read_through_git_itself() {
    for format in ["--ref-format=reftable", "--object-format=sha256"] {
        let Some(repo) = odd_repo(format) else { continue };
        repo.git(&["config", "core.fsmonitor", "touch ../executed; false"]);
        let located = locate(&repo.beside("wt-x")).expect("a repository");
        assert_eq!(located.common_dir, repo.main().join(".git"), "{format}");
        assert_eq!(located.main_worktree, Some(repo.main()), "{format}");
        let found = repo.look(None);
        assert_eq!(head_of(&found, ""), &Head::Branch(GitRef::new("refs/heads/main")));
        assert_eq!(
            head_of(&found, "wt-x"),
            &Head::Branch(GitRef::new("refs/heads/feature/x"))
        );
        assert!(matches!(head_of(&found, "wt-d"), Head::Detached(commit) if commit.len() >= 40));
        assert_eq!(found.view.refs, BTreeSet::from([GitRef::new("refs/heads/main")]));
        let now = |name: &str, id: &str| {
            let admin_dir = &found.places[&WorktreeId::parse(id)].admin_dir;
            head_now(&repo.beside(name), admin_dir)
        };
        assert_eq!(&now("main", ""), head_of(&found, ""));
        assert_eq!(&now("wt-d", "wt-d"), head_of(&found, "wt-d"));
        assert!(
            !repo.beside("executed").exists(),
            "what a repository configures was executed"
        );
    }
}

#[test]
fn git_05_odd_heads_are_unknown() {
    let repo = Repo::new();
    repo.git(&["worktree", "add", "-q", "--detach", "../wt"]);
    let head = repo.main().join(".git/worktrees/wt/HEAD");
    let with = |bytes: &[u8]| {
        std::fs::write(&head, bytes).expect("written");
        head_of(&repo.look(None), "wt").clone()
    };
    for bytes in [
        &b""[..],
        b"\xff\xfe",
        b"ref: ../../x",
        b"hello",
        b"0000000000000000000000000000000000000000\n",
    ] {
        assert!(matches!(with(bytes), Head::Unknown(_)), "{bytes:?}");
    }
    assert_eq!(
        with(b"ref: refs/heads/unborn\n"),
        Head::Branch(GitRef::new("refs/heads/unborn"))
    );
    std::fs::remove_file(&head).expect("removed");
    std::os::unix::fs::symlink("/etc/hostname", &head).expect("linked");
    assert!(
        matches!(head_of(&repo.look(None), "wt"), Head::Unknown(_)),
        "a link is not followed"
    );
    std::fs::remove_file(&head).expect("removed");
    let made = Command::new("mkfifo")
        .arg(&head)
        .status()
        .expect("mkfifo is installed");
    assert!(
        made.success() && matches!(head_of(&repo.look(None), "wt"), Head::Unknown(_)),
        "a FIFO is not waited for"
    );
}

#[test]
fn git_05_names_of_refs_are_judged_as_git_does() {
    let names = [
        "x",
        "a/b",
        "a/",
        "/a",
        "a//b",
        "a..b",
        ".a",
        "a/.b",
        "a.",
        "a.lock",
        "a.lock/b",
        "a b",
        "a~",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[",
        "a\\b",
        "a@{b",
        "a@b",
        "@",
        "a{",
        "\u{7f}",
        "a\t",
        "\u{85}",
        "-x",
        "caf\u{e9}",
        "a.b",
        "..",
        ".",
    ];
    for name in names {
        let full = format!("refs/heads/{name}");
        let judged = Command::new("git").args(["check-ref-format", &full]).status();
        let is_name = judged.expect("git is installed").success();
        assert_eq!(GitRef::parse(&full).is_some(), is_name, "{name:?}");
    }
}

#[test]
fn git_05_a_ref_that_nobody_can_look_for_is_its_own_trouble_alone() {
    let repo = Repo::new();
    repo.git(&["branch", "here"]);
    let names = [
        "refs/heads/feature/",
        "refs/heads/a..b",
        "refs/heads/a b",
        &format!("refs/heads/{}x", "long/".repeat(300)),
        &format!("refs/heads/{}", "n".repeat(300)),
        "refs/heads/here",
        "refs/heads/here/below",
        "refs/heads/gone",
    ];
    let found = look_at(&repo.question(&names), None);
    let gone = |name: &str| !found.view.refs.contains(&GitRef::new(name));
    let gone: Vec<_> = names.into_iter().filter(|name| gone(name)).collect();
    assert_eq!(gone, ["refs/heads/here/below", "refs/heads/gone"]);

    // A reflog that a stranger wrote leads to no such name either.
    let log = "0 1 J <j@x> 1795439762 +0100\tBranch: renamed refs/heads/gone to refs/heads/a..b\n";
    std::fs::write(repo.main().join(".git/logs/refs/heads/here"), log).expect("written");
    assert!(repo.look(None).view.renamed.is_empty());
}

/// Makes two lines of history that cannot be put together, and returns the commits of `topic`, the last one first.
fn with_a_conflict(repo: &Repo) -> (String, String) {
    let commit = |text: &str| {
        std::fs::write(repo.main().join("file"), text).expect("written");
        repo.git(&["add", "file"]);
        repo.git(&["commit", "-q", "-m", text]);
        repo.git(&["rev-parse", "HEAD"])
    };
    repo.git(&["switch", "-q", "-c", "topic"]);
    let first = commit("one");
    let last = commit("two");
    repo.git(&["switch", "-q", "main"]);
    commit("other");
    (last, first)
}

/// The same as [`run_git`] for what may stop in the middle.
fn try_git(dir: &Path, args: &[&str]) -> bool {
    let git = Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "-c",
            "core.editor=true",
        ])
        .args(args)
        .current_dir(dir)
        .output();
    git.expect("git is installed").status.success()
}

#[test]
fn git_08_a_worktree_stays_on_the_git_branch_that_is_rebased_or_bisected() {
    for is_linked in [false, true] {
        let repo = Repo::new();
        let (last, first) = with_a_conflict(&repo);
        let (dir, id) = if is_linked {
            repo.git(&["worktree", "add", "-q", "../wt", "topic"]);
            (repo.beside("wt"), "wt")
        } else {
            repo.git(&["switch", "-q", "topic"]);
            (repo.main(), "")
        };
        let topic = Head::Branch(GitRef::new("refs/heads/topic"));
        let mut found = repo.look(None);
        let mut assert_on = |head: &Head, what: &str| {
            found = repo.look(Some(&found));
            assert_eq!(head_of(&found, id), head, "{what}");
            let admin_dir = &found.places[&WorktreeId::parse(id)].admin_dir;
            assert_eq!(&head_now(&dir, admin_dir), head, "{what}");
        };
        for backend in ["--merge", "--apply"] {
            assert!(
                !try_git(&dir, &["rebase", backend, "main"]),
                "it stops at a conflict"
            );
            assert_on(&topic, "stopped");
            assert!(try_git(&dir, &["rebase", "--abort"]));
            assert_on(&topic, "aborted");
            assert!(
                !try_git(&dir, &["rebase", backend, "main"]),
                "it stops at a conflict"
            );
            while !try_git(&dir, &["rebase", "--skip"]) {
                assert_on(&topic, "stopped again");
            }
            assert_on(&topic, "done");
            run_git(&dir, &["reset", "-q", "--hard", &last]);
        }
        run_git(&dir, &["bisect", "start", "topic", "topic~2"]);
        assert_on(&topic, "bisected");
        run_git(&dir, &["bisect", "reset"]);
        assert_on(&topic, "reset");

        // What was detached before stays so, and what is given up in the middle is.
        run_git(&dir, &["switch", "-q", "--detach"]);
        assert_on(&Head::Detached(last.clone()), "detached");
        run_git(&dir, &["bisect", "start", "HEAD", "HEAD~2"]);
        assert_on(&Head::Detached(first.clone()), "detached and bisected");
        run_git(&dir, &["bisect", "reset"]);
        run_git(&dir, &["switch", "-q", "topic"]);
        assert!(!try_git(&dir, &["rebase", "main"]), "it stops at a conflict");
        assert!(try_git(&dir, &["rebase", "--quit"]));
        let main = repo.git(&["rev-parse", "main"]);
        assert_on(&Head::Detached(main), "given up");
    }
}

#[test]
fn git_08_a_bisect_that_begins_where_head_stays_is_seen_in_spite_of_memory() {
    let repo = Repo::new();
    repo.git(&["worktree", "add", "-q", "--detach", "../wt"]);
    let id = WorktreeId::parse("wt");
    let mut before = repo.look(None);
    while before.places[&id].head_version().is_none() {
        std::thread::sleep(Duration::from_millis(100));
        before = repo.look(Some(&before));
    }
    let version = before.places[&id].head_version().expect("just seen");
    let admin_dir = before.places[&id].admin_dir.clone();
    assert!(is_head_still(&admin_dir, version));
    std::fs::write(admin_dir.join("BISECT_START"), "main\n").expect("written");
    assert!(!is_head_still(&admin_dir, version));
    let main = Head::Branch(GitRef::new("refs/heads/main"));
    assert_eq!(head_of(&repo.look(Some(&before)), "wt"), &main);
    std::fs::write(admin_dir.join("BISECT_START"), "a..b\n").expect("written");
    assert!(matches!(
        head_of(&repo.look(Some(&before)), "wt"),
        Head::Unknown(_)
    ));
    std::fs::remove_file(admin_dir.join("BISECT_START")).expect("removed");
    std::os::unix::fs::symlink(repo.beside("elsewhere"), admin_dir.join("rebase-merge")).expect("linked");
    std::fs::create_dir(repo.beside("elsewhere")).expect("made");
    std::fs::write(repo.beside("elsewhere/head-name"), "refs/heads/main\n").expect("written");
    let found = repo.look(Some(&before));
    assert!(
        matches!(head_of(&found, "wt"), Head::Detached(_)),
        "a link is not followed"
    );
}

#[test]
fn an_unreadable_list_is_unknown_not_empty() {
    let repo = Repo::new();
    let worktrees = repo.main().join(".git/worktrees");
    std::fs::write(&worktrees, "not a directory").expect("written");
    assert!(matches!(look(&repo.question(&[]), None), Seen::Unknown(_)));
}

#[test]
fn git_01_what_was_read_is_taken_from_memory_until_its_file_changes() {
    let repo = Repo::new();
    repo.git(&["worktree", "add", "-q", "-b", "a", "../wt"]);
    repo.git(&["branch", "b"]);
    let id = WorktreeId::parse("wt");
    let mut before = repo.look(None);
    assert_eq!(
        before.places[&id].head_version(),
        None,
        "HEAD was written just now"
    );
    while before.places[&id].head_version().is_none() {
        std::thread::sleep(Duration::from_millis(100));
        before = repo.look(Some(&before));
    }
    let version = before.places[&id].head_version().expect("just seen");
    let admin_dir = before.places[&id].admin_dir.clone();
    assert!(is_head_still(&admin_dir, version));

    // Something that is in no file shows where a look has it from.
    let remembered = Head::Branch(GitRef::new("refs/heads/remembered"));
    let place = before.places.get_mut(&id).expect("just seen");
    place.remembered.head = Some((version, remembered.clone()));
    assert_eq!(head_of(&repo.look(Some(&before)), "wt"), &remembered);
    let on_remote = Found {
        is_remote: true,
        ..before.clone()
    };
    assert_eq!(
        head_of(&repo.look(Some(&on_remote)), "wt"),
        &Head::Branch(GitRef::new("refs/heads/a"))
    );

    run_git(&repo.beside("wt"), &["switch", "-q", "b"]);
    assert!(!is_head_still(&admin_dir, version));
    let found = repo.look(Some(&before));
    assert_eq!(head_of(&found, "wt"), &Head::Branch(GitRef::new("refs/heads/b")));
    repo.git(&["worktree", "move", "../wt", "../moved"]);
    let found = repo.look(Some(&found));
    assert_eq!(found.places[&id].root(), repo.beside("moved"));
    assert_eq!(head_of(&found, "wt"), &Head::Branch(GitRef::new("refs/heads/b")));
}

#[test]
fn fs_06_a_root_is_known_again_unless_it_is_another_or_a_link_to_it() {
    let repo = Repo::new();
    repo.git(&["worktree", "add", "-q", "-b", "a", "../wt"]);
    let wt = repo.beside("wt");
    let stands_at = repo.look(None).places[&WorktreeId::parse("wt")]
        .stands_at
        .expect("it is there");
    assert!(is_root_still(&wt, stands_at));
    std::fs::rename(&wt, repo.beside("elsewhere")).expect("renamed");
    assert!(!is_root_still(&wt, stands_at), "it is gone");
    std::os::unix::fs::symlink(repo.beside("elsewhere"), &wt).expect("linked");
    assert!(!is_root_still(&wt, stands_at), "a link to it");
    let found = repo.look(None);
    assert_eq!(
        found.places[&WorktreeId::parse("wt")].root(),
        repo.beside("elsewhere"),
        "free of links"
    );
}

/// What a look shows of a worktree's place: its root, and whether one can stand there.
fn place_of<'a>(found: &'a Found, id: &str) -> (&'a Path, bool) {
    let place = &found.places[&WorktreeId::parse(id)];
    (place.root(), place.stands_at.is_some())
}

#[test]
fn sec_06_a_root_is_believed_only_where_it_leads_back() {
    let repo = Repo::new();
    repo.git(&["worktree", "add", "-q", "-b", "a", "../wt"]);
    let (wt, away) = (repo.beside("wt"), repo.beside("away"));
    let nowhere = Path::new("");
    let on_a = Head::Branch(GitRef::new("refs/heads/a"));
    run_git(repo.dir.path(), &["clone", "-q", "main", "other"]);
    let crafted = repo.beside("other/.git/worktrees/evil");
    std::fs::create_dir_all(&crafted).expect("made");
    std::fs::write(crafted.join("HEAD"), "ref: refs/heads/main\n").expect("written");
    std::fs::write(crafted.join("commondir"), "../..\n").expect("written");
    for target in [&wt, &repo.main()] {
        let gitdir = format!("{}/.git\n", target.display());
        std::fs::write(crafted.join("gitdir"), gitdir).expect("written");
        let found = look_at(&question(&repo.beside("other"), &[]), None);
        assert_eq!(place_of(&found, "evil"), (nowhere, false), "{}", target.display());
        assert!(matches!(head_of(&found, "evil"), Head::Unknown(reason) if reason.contains("belongs to")));
    }
    let found = repo.look(None);
    assert_eq!(
        (place_of(&found, "wt"), head_of(&found, "wt")),
        ((&*wt, true), &on_a)
    );

    // Moved by hand, or its disk is away: its git branch is as much in use as before.
    std::fs::rename(&wt, &away).expect("renamed");
    let found = repo.look(Some(&found));
    assert_eq!(
        (place_of(&found, "wt"), head_of(&found, "wt")),
        ((&*wt, false), &on_a)
    );
    std::fs::create_dir(&wt).expect("made");
    let found = repo.look(Some(&found));
    assert_eq!(
        (place_of(&found, "wt"), head_of(&found, "wt")),
        ((nowhere, false), &on_a)
    );
    run_git(&wt, &["init", "-q"]);
    let found = repo.look(Some(&found));
    assert_eq!(place_of(&found, "wt"), (nowhere, false), "another repository");
    assert!(matches!(head_of(&found, "wt"), Head::Unknown(_)));
    run_git(&away, &["worktree", "repair"]);
    let found = repo.look(Some(&found));
    assert_eq!(
        (place_of(&found, "wt"), head_of(&found, "wt")),
        ((&*away, true), &on_a)
    );
}

#[test]
fn sec_06_what_led_back_once_is_read_again_when_it_changes() {
    let repo = Repo::new();
    repo.git(&["worktree", "add", "-q", "-b", "a", "../wt"]);
    let id = WorktreeId::parse("wt");
    let mut before = repo.look(None);
    while before.places[&id].remembered.dot_git.is_none() {
        std::thread::sleep(Duration::from_millis(100));
        before = repo.look(Some(&before));
    }
    assert_eq!(
        repo.look(Some(&before)).places[&id].remembered,
        before.places[&id].remembered
    );
    let other = format!("gitdir: {}\n", repo.main().join(".git").display());
    std::fs::write(repo.beside("wt/.git"), other).expect("written");
    assert_eq!(place_of(&repo.look(Some(&before)), "wt"), (Path::new(""), false));
}

/// Code of the daemon, with the path of its file.
fn sources(dir: &Path) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(dir).expect("listed").flatten();
    let read = |path: PathBuf| {
        if path.is_dir() {
            return sources(&path);
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        vec![(path, text)]
    };
    entries.flat_map(|entry| read(entry.path())).collect()
}

#[test]
fn sec_24_libgit2_is_never_asked_to_fetch() {
    let version = git2::Version::get();
    assert!(!version.https() && !version.ssh(), "it has transports");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let code = sources(&dir);
    let is_test = |path: &Path| path.ends_with("git/tests.rs");
    let is_user = |path: &Path, text: &str| !is_test(path) && text.contains("git2::");
    let users: Vec<_> = code.iter().filter(|(path, text)| is_user(path, text)).collect();
    for (path, _) in &users {
        let is_inside = path == &dir.join("git.rs") || path.starts_with(dir.join("git"));
        assert!(is_inside, "git2 has one user: {}", path.display());
    }
    let text: String = users.iter().map(|(_, text)| text.as_str()).collect();
    let types: BTreeSet<&str> = text
        .split("git2::")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next())
        .collect();
    let wanted = ["Error", "ErrorCode", "Repository", "RepositoryOpenFlags"];
    assert_eq!(types, wanted.into());
    // The methods of these types with which everything begins that opens a transport.
    for call in [
        "Repository::clone",
        ".remote(",
        ".remotes(",
        ".find_remote(",
        ".remote_",
        ".submodules(",
        ".find_submodule(",
        ".submodule(",
        ".fetch(",
    ] {
        assert!(!text.contains(call), "{call}");
    }
}

//! Real repositories, made by the real git with a pinned environment.

use super::*;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

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
        let located = locate(&self.main()).expect("a repository");
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
        }
    }

    fn look(&self, before: Option<&Found>) -> Found {
        match look(&self.question(&["refs/heads/main", "refs/heads/gone"]), before) {
            Seen::Present(found) => found,
            Seen::Unknown(reason) => panic!("{reason}"),
        }
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
    assert_eq!(found.places[&WorktreeId::parse("wt-d")].root, repo.beside("wt-d"));
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
}

#[test]
fn a_look_between_the_two_halves_of_a_removal_loses_nothing() {
    let repo = Repo::new();
    repo.git(&["worktree", "add", "-q", "--detach", "../wt"]);
    let before = repo.look(None);
    std::fs::remove_dir_all(repo.beside("wt")).expect("removed");
    let between = repo.look(Some(&before));
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
        repo.look(None).places[&WorktreeId::parse("wt")].root,
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
        let is_ignored = || is_safely_ignored(&repo.main(), Path::new(".env")).expect("readable");
        assert!(!is_ignored());
        std::fs::write(repo.main().join(".gitignore"), ".env\n").expect("written");
        assert!(is_ignored());
        std::fs::write(repo.main().join(".env"), "A=1\n").expect("written");
        repo.git(&["-c", "core.fsmonitor=", "add", "-f", ".env"]);
        assert!(!is_ignored(), "a tracked file is not ignored");
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
fn an_unreadable_list_is_unknown_not_empty() {
    let repo = Repo::new();
    let worktrees = repo.main().join(".git/worktrees");
    std::fs::write(&worktrees, "not a directory").expect("written");
    assert!(matches!(look(&repo.question(&[]), None), Seen::Unknown(_)));
}

#[test]
fn fs_14_a_secret_may_go_only_where_git_ignores_it() {
    let repo = Repo::new();
    let is_ignored = || is_safely_ignored(&repo.main(), Path::new(".env")).expect("readable");
    assert!(!is_ignored());
    std::fs::write(repo.main().join(".gitignore"), ".env\n").expect("written");
    assert!(is_ignored());
    std::fs::write(repo.main().join(".env"), "A=1\n").expect("written");
    repo.git(&["add", "-f", ".env"]);
    assert!(!is_ignored(), "a tracked file is not ignored");
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
    assert_eq!(found.places[&id].root, repo.beside("moved"));
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
        found.places[&WorktreeId::parse("wt")].root,
        repo.beside("elsewhere"),
        "free of links"
    );
}

//! Real repositories, asked about in as many shapes as an answer can have.

use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::time::Duration;

/// A repository with a user who has a home directory.
struct Repo {
    dir: tempfile::TempDir,
    rules: IgnoreRules,
}

/// The file that would hold a secret.
const ENV: &str = ".env";

impl Repo {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temp dir");
        let home = dir.path().canonicalize().expect("there").join("home");
        fs::create_dir_all(home.join(".config/git")).expect("made");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let env = [("PATH", path), ("HOME", home.into())];
        let repo = Self {
            dir,
            rules: IgnoreRules::with_env(&env),
        };
        let made = [&["init", "-q", "-b", "main"], options, &["repo"]].concat();
        assert!(repo.try_git_in(&repo.path(""), &made), "git {made:?}");
        repo.git(&["commit", "-q", "--allow-empty", "-m", "first"]);
        repo
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().expect("there").join(name)
    }

    fn root(&self) -> PathBuf {
        self.path("repo")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn git(&self, args: &[&str]) {
        self.git_in(&self.root(), args);
    }

    fn git_in(&self, dir: &Path, args: &[&str]) {
        assert!(self.try_git_in(dir, args), "git {args:?}");
    }

    fn try_git_in(&self, dir: &Path, args: &[&str]) -> bool {
        let output = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args(args)
            .current_dir(dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .output()
            .expect("git is installed");
        output.status.success()
    }

    /// Git's answer in the main worktree, without memory.
    fn exposure(&self, relative: &str) -> Option<Exposure> {
        let (root, git_dir) = (self.root(), self.root().join(".git"));
        self.answer(&root, &git_dir, relative, None).exposure
    }

    fn answer(&self, root: &Path, admin_dir: &Path, relative: &str, before: Option<Answer>) -> Answer {
        let place = SecretPlace {
            root,
            relative: Path::new(relative),
            admin_dir,
            common_dir: &self.root().join(".git"),
            is_local: true,
        };
        self.rules.answer(place, before, Instant::now())
    }

    /// Checks that the answer for `.env` is what git itself does with the file.
    #[track_caller]
    fn agrees(&self, what: &str, wanted: Option<&Exposure>) {
        assert_eq!(self.exposure(ENV).as_ref(), wanted, "{what}");
        fs::write(self.root().join(ENV), "A=1\n").expect("written");
        assert_eq!(self.exposure(ENV).as_ref(), wanted, "{what}: with the file there");
        if matches!(wanted, None | Some(Exposure::NotIgnored)) {
            let status = Command::new("git")
                .args(["status", "--porcelain", ENV])
                .current_dir(self.root())
                .env("HOME", self.path("home"))
                .output();
            let shown = String::from_utf8(status.expect("it runs").stdout).expect("text");
            assert_eq!(shown.is_empty(), wanted.is_none(), "{what}: git shows {shown:?}");
        }
    }

    /// Waits until the files of this repository have settled and an answer can be kept.
    fn kept(&self, root: &Path, admin_dir: &Path, relative: &str) -> Answer {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.answer(root, admin_dir, relative, None);
            if matches!(answer.basis, Basis::Files { .. }) {
                return answer;
            }
            assert!(Instant::now() < deadline, "it is never kept");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

const NOT_IGNORED: Option<Exposure> = Some(Exposure::NotIgnored);
const TRACKED: Option<Exposure> = Some(Exposure::Tracked);

#[test]
fn fs_14_a_secret_may_go_only_where_git_ignores_it_and_does_not_track_it() {
    let repo = Repo::new();
    repo.agrees("no rule", NOT_IGNORED.as_ref());
    repo.write("repo/.gitignore", ".env\n");
    repo.agrees("a rule", None);
    repo.git(&["add", "-f", ENV]);
    repo.agrees("added", TRACKED.as_ref());
    repo.git(&["commit", "-q", "-m", "tracked"]);
    repo.agrees("committed", TRACKED.as_ref());
    repo.git(&["update-index", "--skip-worktree", ENV]);
    repo.agrees("skipped", TRACKED.as_ref());
    repo.git(&["update-index", "--no-skip-worktree", ENV]);
    repo.git(&["update-index", "--assume-unchanged", ENV]);
    repo.agrees("assumed unchanged", TRACKED.as_ref());
    repo.git(&["rm", "-q", "-f", "--cached", ENV]);
    repo.git(&["commit", "-q", "-m", "no longer tracked"]);
    repo.agrees("no longer tracked", None);
    repo.git(&["add", "-f", "-N", ENV]);
    repo.agrees("to be added", TRACKED.as_ref());
}

#[test]
fn sec_30_rules_are_weighed_as_git_weighs_them() {
    let repo = Repo::new();
    repo.write("home/.config/git/ignore", ".env\n");
    repo.agrees("the user's rule", None);
    repo.write("repo/.gitignore", "!.env\n");
    repo.agrees("the repository negates the user's rule", NOT_IGNORED.as_ref());
    repo.write("repo/.gitignore", "");
    repo.write("repo/.git/info/exclude", "!.env\n");
    repo.agrees("the exclude file negates the user's rule", NOT_IGNORED.as_ref());
    repo.write("repo/.git/info/exclude", "");
    repo.write("repo/.gitignore", ".env\n*.env\n!/.env\n");
    repo.agrees("the last rule counts", NOT_IGNORED.as_ref());
    repo.write("repo/.gitignore", "!.env\n.env\n");
    repo.agrees("the last rule counts, the other way", None);
    repo.write("repo/.gitignore", ".env/\n");
    repo.write("home/.config/git/ignore", "");
    repo.agrees("a rule for directories", NOT_IGNORED.as_ref());
}

#[test]
fn sec_30_rules_on_the_way_to_the_file_are_weighed_as_git_weighs_them() {
    let repo = Repo::new();
    repo.write("repo/sub/file", "");
    repo.write("repo/.gitignore", ".env\n");
    assert_eq!(repo.exposure("sub/.env"), None);
    repo.write("repo/sub/.gitignore", "!.env\n");
    assert_eq!(repo.exposure("sub/.env"), NOT_IGNORED);
    repo.write("repo/.gitignore", "sub/\n!sub/.env\n");
    assert_eq!(repo.exposure("sub/.env"), None, "the directory is excluded");
    fs::rename(repo.path("repo/sub"), repo.path("repo/other")).expect("renamed");
    symlink("other", repo.path("repo/sub")).expect("linked");
    assert!(matches!(repo.exposure("sub/.env"), Some(Exposure::Unknown(_))));
}

#[test]
fn sec_30_the_users_rules_are_found_where_git_finds_them() {
    let repo = Repo::new();
    repo.write("home/.gitconfig", "[core]\nexcludesFile = ~/mine\n");
    repo.write("home/mine", ".env\n");
    repo.agrees("core.excludesFile", None);
    repo.write("home/.gitconfig", "[include]\npath = more\n");
    repo.write("home/more", "[core]\nexcludesFile = ~/mine\n");
    repo.agrees("in an included file", None);
    let here = repo.path("").display().to_string();
    let condition = format!("[includeIf \"gitdir:{here}\"]\npath = more\n");
    repo.write("home/.gitconfig", &condition);
    repo.agrees("in a file that is included for this repository", None);
    repo.write(
        "home/.gitconfig",
        "[includeIf \"gitdir:/elsewhere/\"]\npath = more\n",
    );
    repo.agrees(
        "in a file that is included for another repository",
        NOT_IGNORED.as_ref(),
    );
    repo.write("home/.gitconfig", "[includeIf \"onbranch:main\"]\npath = more\n");
    repo.agrees("in a file that is included on this git branch", None);
    repo.git(&["switch", "-q", "-c", "other"]);
    repo.agrees(
        "in a file that is included on another git branch",
        NOT_IGNORED.as_ref(),
    );
    repo.write("home/.gitconfig", "");
    repo.git(&["config", "core.excludesFile", "rules"]);
    repo.write("repo/rules", ".env\n");
    repo.agrees("relative to the worktree", None);
}

#[test]
fn sec_30_configuration_of_one_worktree_counts_there() {
    let repo = Repo::new();
    repo.git(&["worktree", "add", "-q", "--detach", "../w"]);
    repo.git(&["config", "extensions.worktreeConfig", "true"]);
    let (main, linked) = (repo.root().join(".git"), repo.root().join(".git/worktrees/w"));
    repo.write("rules", ".env\n");
    let rules = repo.path("rules");
    let root = repo.path("w");
    repo.git_in(
        &root,
        &[
            "config",
            "--worktree",
            "core.excludesFile",
            &rules.to_string_lossy(),
        ],
    );
    assert_eq!(repo.answer(&root, &linked, ENV, None).exposure, None);
    assert_eq!(repo.answer(&repo.root(), &main, ENV, None).exposure, NOT_IGNORED);
    let kept = repo.kept(&root, &linked, ENV);
    repo.git_in(&root, &["config", "--worktree", "core.excludesFile", "/dev/null"]);
    let answer = repo.answer(&root, &linked, ENV, Some(kept));
    assert_eq!(answer.exposure, NOT_IGNORED);
}

#[test]
fn sec_32_a_file_of_a_merge_conflict_is_tracked_at_any_stage() {
    let repo = Repo::new();
    repo.write("repo/.gitignore", ".env\n");
    repo.git(&["add", "."]);
    repo.git(&["commit", "-q", "-m", "rules"]);
    for (name, text) in [("one", "A=1\n"), ("two", "A=2\n")] {
        repo.git(&["switch", "-q", "-c", name, "main"]);
        repo.write("repo/.env", text);
        repo.git(&["add", "-f", ENV]);
        repo.git(&["commit", "-q", "-m", name]);
    }
    assert!(!repo.try_git_in(&repo.root(), &["merge", "-q", "one"]));
    assert_eq!(repo.exposure(ENV), TRACKED, "stages 2 and 3");
    repo.git(&["merge", "--abort"]);
    repo.git(&["switch", "-q", "-c", "three", "one"]);
    repo.git(&["rm", "-q", ENV]);
    repo.git(&["commit", "-q", "-m", "three"]);
    repo.git(&["switch", "-q", "one"]);
    repo.write("repo/.env", "A=3\n");
    repo.git(&["commit", "-q", "-a", "-m", "changed"]);
    assert!(!repo.try_git_in(&repo.root(), &["merge", "-q", "three"]));
    assert_eq!(repo.exposure(ENV), TRACKED, "stages 1 and 2");
    repo.git(&["merge", "--abort"]);
    repo.git(&["switch", "-q", "main"]);
    assert_eq!(repo.exposure(ENV), None);
}

#[test]
fn sec_31_a_repository_between_the_root_and_the_file_is_none_of_ours() {
    let repo = Repo::new();
    repo.write("repo/.gitignore", "sub/\n.env\n");
    repo.write("repo/sub/deep/file", "");
    assert_eq!(repo.exposure("sub/deep/.env"), None);
    repo.git_in(&repo.root(), &["init", "-q", "sub"]);
    let inner = Some(Exposure::OtherRepository(repo.root().join("sub")));
    assert_eq!(repo.exposure("sub/deep/.env"), inner);
    fs::remove_dir_all(repo.path("repo/sub/.git")).expect("removed");
    fs::write(repo.path("repo/sub/.git"), "gitdir: ../elsewhere\n").expect("written");
    assert_eq!(
        repo.exposure("sub/deep/.env"),
        inner,
        "a submodule that is not there"
    );
}

#[test]
fn sec_31_rules_that_git_cannot_read_are_a_doubt() {
    let repo = Repo::new();
    repo.write("repo/.gitignore", ".env\n");
    let doubt = |what: &str| {
        let exposure = repo.exposure(ENV);
        let is_doubt = matches!(&exposure, Some(Exposure::Unknown(_)));
        assert!(is_doubt, "{what}: {exposure:?}");
    };
    repo.write("rules", ".env\n");
    fs::rename(repo.path("repo/.gitignore"), repo.path("repo/real")).expect("renamed");
    symlink("real", repo.path("repo/.gitignore")).expect("linked");
    doubt("git follows no link in a worktree");
    fs::remove_file(repo.path("repo/.gitignore")).expect("removed");
    make_fifo(&repo.path("repo/.gitignore"));
    doubt("a FIFO in the place of rules");
    fs::remove_file(repo.path("repo/.gitignore")).expect("removed");
    fs::create_dir(repo.path("repo/.gitignore")).expect("made");
    doubt("a directory in the place of rules");
    fs::remove_dir(repo.path("repo/.gitignore")).expect("removed");
    repo.write("repo/.gitignore", ".env\n");
    assert_eq!(repo.exposure(ENV), None);
    repo.git(&["config", "core.excludesFile", "/dev/zero"]);
    doubt("a device in the place of rules");
    repo.git(&["config", "core.excludesFile", "/dev/null"]);
    assert_eq!(repo.exposure(ENV), None, "that is how to have no rules there");
    repo.git(&["config", "--unset", "core.excludesFile"]);
    let config = repo.path("repo/.git/config");
    let text = fs::read_to_string(&config).expect("readable");
    fs::write(&config, format!("{text}[core\n")).expect("written");
    doubt("a broken configuration");
    fs::write(&config, text).expect("written");
    fs::write(repo.path("repo/.git/index"), "not an index").expect("written");
    doubt("a broken index");
}

/// The rules of a partial clone that sparse checkout leaves out may say the opposite of the user's.
#[test]
fn sec_31_rules_that_would_have_to_be_fetched_are_a_doubt() {
    let repo = Repo::new();
    repo.write("home/.config/git/ignore", ".env\n");
    repo.write("repo/.gitignore", "!.env\n");
    repo.write("repo/file", "x\n");
    repo.git(&["add", "."]);
    repo.git(&["commit", "-q", "-m", "rules"]);
    repo.git(&["config", "uploadpack.allowFilter", "true"]);
    let url = format!("file://{}", repo.root().display());
    let clone = [
        "clone",
        "-q",
        "--no-checkout",
        "--filter=blob:none",
        &url,
        "clone",
    ];
    repo.git_in(&repo.path(""), &clone);
    let root = repo.path("clone");
    repo.git_in(&root, &["config", "core.sparseCheckout", "true"]);
    repo.write("clone/.git/info/sparse-checkout", "/file\n");
    repo.git_in(&root, &["checkout", "-q", "main"]);
    fs::rename(repo.root(), repo.path("upstream")).expect("renamed");
    fs::rename(&root, repo.root()).expect("renamed");
    let exposure = repo.exposure(ENV);
    assert!(matches!(&exposure, Some(Exposure::Unknown(_))), "{exposure:?}");
    let url = format!("file://{}", repo.path("upstream").display());
    repo.git(&["config", "remote.origin.url", &url]);
    repo.git(&["cat-file", "-p", ":.gitignore"]);
    assert_eq!(repo.exposure(ENV), NOT_IGNORED, "once they are fetched");
}

#[test]
fn sec_31_rules_of_the_user_that_cannot_be_read_are_a_doubt() {
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: root can read everything");
        return;
    }
    let repo = Repo::new();
    repo.write("repo/.gitignore", ".env\n");
    repo.write("home/.config/git/ignore", ".env\n");
    let closed = fs::Permissions::from_mode(0o000);
    fs::set_permissions(repo.path("home/.config/git/ignore"), closed).expect("changed");
    assert!(matches!(repo.exposure(ENV), Some(Exposure::Unknown(_))));
}

#[test]
fn sec_31_a_configuration_that_blocks_git_is_a_doubt_and_costs_its_time_once() {
    let repo = Repo::new();
    repo.write("repo/.gitignore", ".env\n");
    make_fifo(&repo.path("fifo"));
    repo.git(&["config", "include.path", &repo.path("fifo").to_string_lossy()]);
    let doubt = || matches!(repo.exposure(ENV), Some(Exposure::Unknown(why)) if why.contains("in time"));
    assert!(doubt());
    let begun = Instant::now();
    for _ in 0..20 {
        assert!(doubt());
    }
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "it was asked again each time"
    );
}

#[test]
fn sec_31_without_git_or_with_an_old_one_nothing_is_ignored() {
    let mut repo = Repo::new();
    repo.write("repo/.gitignore", ".env\n");
    let home = repo.path("home").into_os_string();
    let bin = repo.path("bin");
    fs::create_dir(&bin).expect("made");
    let env = [("PATH", bin.clone().into_os_string()), ("HOME", home)];
    repo.rules = IgnoreRules::with_env(&env);
    assert!(matches!(repo.exposure(ENV), Some(Exposure::Unknown(why)) if why.contains("cannot run git")));
    let program = |text: &str| {
        fs::write(bin.join("git"), format!("#!/bin/sh\n{text}\n")).expect("written");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(bin.join("git"), executable).expect("changed");
    };
    for said in ["git version 2.25.4", "git version 1.9.1", "a git of my own", ""] {
        // Whatever else it is asked it says yes.
        program(&format!("case \"$*\" in *version*) echo '{said}';; esac"));
        assert!(matches!(repo.exposure(ENV), Some(Exposure::OldGit(_))), "{said}");
    }
    program("echo 'git version 2.39.5'; exec /bin/sleep 60");
    assert!(matches!(repo.exposure(ENV), Some(Exposure::Unknown(why)) if why.contains("in time")));
}

#[test]
fn sec_31_a_tracked_file_whose_name_differs_in_case_is_tracked_where_case_is_ignored() {
    let repo = Repo::new();
    repo.write("repo/.gitignore", ".env\n");
    repo.write("repo/.ENV", "A=1\n");
    repo.git(&["add", "-f", ".ENV"]);
    assert_eq!(repo.exposure(ENV), None, "it is another file");
    repo.git(&["config", "core.ignoreCase", "true"]);
    assert_eq!(repo.exposure(ENV), TRACKED);
}

#[test]
fn sec_31_odd_names_of_files_are_names() {
    let repo = Repo::new();
    // The first is a pattern for git, which would take the others for tracked, were it after them:
    // a no too many does no harm.
    let names = [
        "*.env",
        "[a].env",
        ":(exclude)x",
        "-v",
        "a b\u{e9}\n",
        "!x",
        "#y",
        ":/z",
    ];
    for name in names {
        assert_eq!(repo.exposure(name), NOT_IGNORED, "{name}");
    }
    repo.write("repo/.gitignore", "/*\n");
    for name in names {
        assert_eq!(repo.exposure(name), None, "{name}");
        repo.write(&format!("repo/{name}"), "");
        let pathspec = format!(":(literal){name}");
        repo.git(&["add", "-f", "--", &pathspec]);
        assert_eq!(repo.exposure(name), TRACKED, "{name}");
    }
}

fn make_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.expect("mkfifo is installed").success());
}

/// A change of a file that an answer about `sub/.env` depends on.
type Change = (&'static str, fn(&Repo));

const CHANGES: [Change; 11] = [
    ("the rules beside the file", |repo| {
        repo.write("repo/sub/.gitignore", "x\n");
    }),
    ("the rules of the root", |repo| {
        repo.write("repo/.gitignore", ".env\ny\n");
    }),
    ("the exclude file", |repo| {
        repo.write("repo/.git/info/exclude", "x\n");
    }),
    ("the user's rules", |repo| repo.write("home/mine", "x\n")),
    ("the user's rules are removed", |repo| {
        fs::remove_file(repo.path("home/mine")).expect("removed");
    }),
    ("the default rules, which were not there", |repo| {
        repo.write("home/.config/git/ignore", "x\n");
    }),
    ("an included file that was not there", |repo| {
        repo.write("home/missing", "[core]\nbare = false\n");
    }),
    ("the repository's configuration", |repo| {
        repo.git(&["config", "core.excludesFile", "/none"]);
    }),
    ("a configuration that was not there", |repo| {
        repo.write("home/.config/git/config", "[core]\n");
    }),
    ("the index", |repo| repo.git(&["add", "-f", "sub/file"])),
    ("a repository on the way", |repo| repo.git(&["init", "-q", "sub"])),
];

#[test]
fn sec_33_a_kept_answer_ends_with_any_file_that_it_depends_on() {
    let check = |(what, change): Change| {
        let repo = Repo::new();
        repo.write(
            "home/.gitconfig",
            "[include]\npath = missing\n[core]\nexcludesFile = ~/mine\n",
        );
        repo.write("home/mine", "");
        repo.write("repo/sub/file", "");
        repo.write("repo/.gitignore", ".env\n");
        let kept = repo.kept(&repo.root(), &repo.root().join(".git"), "sub/.env");
        assert!(kept.is_still(&mut Glance::default()), "{what}");
        change(&repo);
        assert!(!kept.is_still(&mut Glance::default()), "{what}");
    };
    // Each waits until its files have settled.
    std::thread::scope(|scope| {
        for change in CHANGES {
            scope.spawn(move || check(change));
        }
    });
}

#[test]
fn sec_33_what_concerns_no_ignored_file_leaves_an_answer_as_it_is() {
    let repo = Repo::new();
    repo.write("repo/.gitignore", ".env\n");
    let (root, git_dir) = (repo.root(), repo.root().join(".git"));
    let kept = repo.kept(&root, &git_dir, ENV);
    repo.git(&["config", "branch.main.remote", "origin"]);
    assert!(!kept.is_still(&mut Glance::default()));
    // Were git asked, this would be its answer.
    let rules = repo.path("repo/.gitignore");
    let (moved, stamped) = (repo.path("moved"), Stamps::of([rules.clone()]));
    fs::rename(&rules, &moved).expect("renamed");
    fs::rename(&moved, &rules).expect("renamed");
    assert!(!stamped.are_still(), "a rename shows");
    let kept = repo.kept(&root, &git_dir, ENV);
    repo.git(&["config", "branch.main.merge", "refs/heads/main"]);
    let carried = repo.rules.carried_over(
        SecretPlace {
            root: &root,
            relative: Path::new(ENV),
            admin_dir: &git_dir,
            common_dir: &git_dir,
            is_local: true,
        },
        kept,
        Instant::now(),
    );
    assert!(carried.is_some_and(|answer| answer.exposure.is_none()));
}

#[test]
fn sec_33_nothing_is_kept_on_a_network_file_system() {
    let repo = Repo::new();
    repo.write("repo/.gitignore", ".env\n");
    let (root, git_dir) = (repo.root(), repo.root().join(".git"));
    drop(repo.kept(&root, &git_dir, ENV));
    let place = SecretPlace {
        root: &root,
        relative: Path::new(ENV),
        admin_dir: &git_dir,
        common_dir: &git_dir,
        is_local: false,
    };
    let answer = repo.rules.answer(place, None, Instant::now());
    assert_eq!(answer.exposure, None);
    assert!(!answer.is_still(&mut Glance::default()));
}

#[test]
fn git_12_repositories_that_libgit2_cannot_open_are_asked_about_alike() {
    for format in ["--ref-format=reftable", "--object-format=sha256"] {
        let dir = tempfile::tempdir().expect("a temp dir");
        let made = Command::new("git")
            .args(["init", "-q", format])
            .arg(dir.path())
            .output();
        if !made.expect("git is installed").status.success() {
            eprintln!("skipped: this git knows no {format}");
            continue;
        }
        let repo = Repo::with(&[format]);
        repo.agrees("no rule", NOT_IGNORED.as_ref());
        repo.write("repo/.gitignore", ".env\n");
        repo.agrees("a rule", None);
        repo.git(&["add", "-f", ENV]);
        repo.agrees("added", TRACKED.as_ref());
    }
}

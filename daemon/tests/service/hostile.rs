//! Nothing of a repository is executed: repositories of every kind name a program under every key
//! that takes one, and the daemon looks at them, makes their branches and writes their `.env`
//! files. As a control each program is shown to run when git is called as users call it, or as the
//! daemon once did.

use crate::rig::Rig;
use crate::world::until;
use local_lakebase::Limits;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Programs that leave a mark each.
struct Traps {
    programs: PathBuf,
    marks: PathBuf,
}

impl Traps {
    fn new(rig: &Rig) -> Self {
        let traps = Self {
            programs: rig.world.path("traps"),
            marks: rig.world.path("marks"),
        };
        fs::create_dir(&traps.programs).expect("made");
        fs::create_dir(&traps.marks).expect("made");
        traps
    }

    /// The path of a program whose mark has this name.
    fn program(&self, name: &str) -> String {
        let path = self.programs.join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        let mark = self.marks.join(name.replace('/', "-"));
        // A hook that fails would keep git from the next one.
        let code = u8::from(!name.starts_with("hooks/"));
        let text = format!("#!/bin/sh\n: > {}\nexit {code}\n", mark.display());
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("changed");
        path.to_string_lossy().into_owned()
    }

    /// The names of the programs that ran since the last call.
    fn take(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.marks).expect("listed").flatten();
        let take = |entry: fs::DirEntry| {
            fs::remove_file(entry.path()).expect("removed");
            entry.file_name().to_string_lossy().into_owned()
        };
        let mut names: Vec<_> = entries.map(take).collect();
        names.sort();
        names
    }

    #[track_caller]
    fn assert_none_ran(&self, what: &str) {
        assert_eq!(
            self.take(),
            Vec::<String>::new(),
            "{what}: the daemon ran a program"
        );
    }

    #[track_caller]
    fn assert_ran(&self, name: &str, what: &str) {
        let ran = self.take();
        assert!(ran.iter().any(|ran| ran == name), "{what}: only {ran:?} ran");
    }
}

fn clean(rig: &Rig, program: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", rig.world.path(""))
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Git as a user runs it, whatever comes of it.
fn plain_git(rig: &Rig, dir: &Path, args: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
    let status = clean(rig, "git", dir).args(identity).args(args).status();
    status.expect("git is installed");
}

/// Git as the daemon once asked it what is ignored.
fn unprotected_git(rig: &Rig, dir: &Path) {
    let options = ["-c", "core.fsmonitor=", "-c", "core.hooksPath=/dev/null"];
    let status = clean(rig, "git", dir)
        .args(options)
        .args(["check-ignore", "-q", "--", ".env"])
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .status();
    status.expect("git is installed");
}

/// Makes a repository with one commit and a configuration of ours, on a git branch of its own name.
fn repository(rig: &Rig, name: &str, format: &str) -> Option<PathBuf> {
    let dir = rig.world.path(name);
    let init = ["init", "-q", "-b", name, format, &dir.to_string_lossy()].map(str::to_owned);
    let made = clean(rig, "git", &rig.world.path("")).args(init).status();
    if !made.expect("git is installed").success() {
        eprintln!("skipped: this git knows no {format}");
        return None;
    }
    fs::write(dir.join(".gitignore"), ".env\n").expect("written");
    fs::write(dir.join("lakebase.config"), "LAKEBASE_PROJECT_ID=\"shop\"\n").expect("written");
    fs::create_dir(dir.join("sub")).expect("made");
    fs::write(dir.join("sub/file"), "x\n").expect("written");
    rig.world.git_in(&dir, &["add", "-A"]);
    rig.world.git_in(&dir, &["commit", "-q", "-m", "first"]);
    Some(dir)
}

/// Makes a partial clone that has its rules in the index only, and not their content.
fn partial_clone(rig: &Rig, name: &str, format: &str) -> Option<PathBuf> {
    let upstream = repository(rig, &format!("{name}-upstream"), format)?;
    for key in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"] {
        rig.world.git_in(&upstream, &["config", key, "true"]);
    }
    let (dir, url) = (rig.world.path(name), format!("file://{}", upstream.display()));
    let clone = ["clone", "-q", "--no-checkout", "--filter=blob:none", &url, name];
    rig.world.git_in(&rig.world.path(""), &clone);
    // As an older git writes it, so that libgit2 does not open it.
    for (key, value) in [
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("core.sparseCheckout", "true"),
    ] {
        rig.world.git_in(&dir, &["config", key, value]);
    }
    fs::create_dir_all(dir.join(".git/info")).expect("made");
    fs::write(dir.join(".git/info/sparse-checkout"), "/lakebase.config\n").expect("written");
    rig.world.git_in(&dir, &["checkout", "-q", "-b", name]);
    assert!(dir.join("lakebase.config").exists() && !dir.join(".gitignore").exists());
    Some(dir)
}

/// Makes a partial clone whose index has a directory as a whole, and not the tree that lists it.
fn sparse_clone(rig: &Rig, name: &str, format: &str) -> Option<PathBuf> {
    let upstream = repository(rig, &format!("{name}-upstream"), format)?;
    for key in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"] {
        rig.world.git_in(&upstream, &["config", key, "true"]);
    }
    let (dir, url) = (rig.world.path(name), format!("file://{}", upstream.display()));
    let clone = ["clone", "-q", "--no-checkout", "--filter=tree:0", &url, name];
    rig.world.git_in(&rig.world.path(""), &clone);
    rig.world
        .git_in(&dir, &["sparse-checkout", "set", "--cone", "--sparse-index"]);
    rig.world.git_in(&dir, &["checkout", "-q", "-b", name]);
    let rev_parse = clean(rig, "git", &upstream)
        .args(["rev-parse", "HEAD:sub"])
        .stdout(Stdio::piped())
        .output();
    let tree = String::from_utf8(rev_parse.expect("git is installed").stdout).expect("a name");
    let packs = fs::read_dir(dir.join(".git/objects/pack"))
        .expect("listed")
        .flatten();
    let indexes = packs.map(|entry| entry.path());
    for index in indexes.filter(|path| path.extension().is_some_and(|ext| ext == "idx")) {
        let listed = clean(rig, "git", &dir)
            .arg("show-index")
            .stdin(fs::File::open(&index).expect("it opens"))
            .stdout(Stdio::piped())
            .output();
        let listed = String::from_utf8(listed.expect("git is installed").stdout).expect("names");
        if listed.contains(tree.trim()) {
            for extension in ["idx", "pack", "promisor"] {
                fs::remove_file(index.with_extension(extension)).expect("removed");
            }
        }
    }
    assert!(dir.join(".gitignore").exists() && !dir.join("sub").exists());
    Some(dir)
}

/// The ways to a promisor remote, each with the program on it: the settings, and the program's
/// name.
fn ways(traps: &Traps, http: &str) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let url = |url: &str| ("remote.origin.url", url.to_owned());
    let helper = format!("!{}", traps.program("helper"));
    vec![
        (
            "uploadpack",
            vec![("remote.origin.uploadpack", traps.program("uploadpack"))],
        ),
        (
            "ext",
            vec![
                ("protocol.ext.allow", "always".into()),
                url(&format!("ext::{}", traps.program("ext"))),
            ],
        ),
        (
            "ssh",
            vec![
                ("core.sshCommand", traps.program("ssh")),
                url("ssh://example.com/x"),
            ],
        ),
        (
            "proxy",
            vec![
                ("core.gitProxy", traps.program("proxy")),
                url("git://example.com/x"),
            ],
        ),
        ("helper", vec![("credential.helper", helper), url(http)]),
        (
            "askpass",
            vec![
                ("credential.helper", String::new()),
                ("core.askPass", traps.program("askpass")),
                url(http),
            ],
        ),
    ]
}

/// A server that always asks for a password; returns its address.
fn asking_server() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            drop(connection.read(&mut [0; 4096]));
            let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\
                          Connection: close\r\n\r\n";
            drop(connection.write_all(answer.as_bytes()));
        }
    });
    format!("http://127.0.0.1:{port}/x")
}

async fn problem(rig: &Rig, dir: &Path) -> String {
    let worktree = rig.world.worktree(dir).await;
    let problem = worktree.and_then(|worktree| worktree.problem);
    problem.map(|problem| problem.message).unwrap_or_default()
}

/// Lets the daemon look at a repository until it says this of its `.env`.
async fn looked_at(rig: &Rig, dir: &Path, part: &str) {
    let what = format!("{} says: {part}", dir.display());
    until(&what, async || {
        rig.world.reconcile_at(dir).await;
        let said = problem(rig, dir).await;
        said.contains(part) && said.is_empty() == part.is_empty()
    })
    .await;
}

fn has_http(rig: &Rig) -> bool {
    let mut command = clean(rig, "git", &rig.world.path(""));
    let output = command.arg("--exec-path").stdout(Stdio::piped()).output();
    let dir = String::from_utf8(output.expect("git is installed").stdout).expect("a path");
    Path::new(dir.trim()).join("git-remote-http").exists()
}

/// The promisor remote of a partial clone, in every way, with a daemon whose git is this.
async fn no_program_of_a_promisor_remote(rig: &Rig, traps: &Traps, dir: &Path, refusal: &str) {
    let http = asking_server();
    // Before the daemon sees it: one object that it fetches is no longer missing.
    let program = traps.program("uploadpack");
    rig.world
        .git_in(dir, &["config", "remote.origin.uploadpack", &program]);
    rig.world.register_at(dir).await;
    rig.world.branch(dir).await;
    traps.assert_none_ran("the first look");
    let has_http = has_http(rig);
    for (name, settings) in ways(traps, &http) {
        if !has_http && matches!(name, "helper" | "askpass") {
            eprintln!("skipped: this git speaks no HTTP");
            continue;
        }
        for (key, value) in &settings {
            rig.world.git_in(dir, &["config", key, value]);
        }
        let what = format!("{} by {name}", dir.display());
        rig.world.reconcile_at(dir).await;
        traps.assert_none_ran(&what);
        looked_at(rig, dir, refusal).await;
        traps.assert_none_ran(&what);
        assert!(!dir.join(".env").exists(), "{what}");
        unprotected_git(rig, dir);
        traps.assert_ran(name, &what);
    }
}

/// Makes a repository of this name and format.
type Maker = fn(&Rig, &str, &str) -> Option<PathBuf>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_22_no_program_of_a_promisor_remote_runs_for_a_missing_object() {
    let rig = Rig::ready().await;
    let traps = Traps::new(&rig);
    let kinds: [(&str, &str, Maker); 3] = [
        ("partial", "--object-format=sha1", partial_clone),
        ("partial256", "--object-format=sha256", partial_clone),
        ("sparse", "--object-format=sha1", sparse_clone),
    ];
    for (name, format, make) in kinds {
        let Some(dir) = make(&rig, name, format) else {
            continue;
        };
        let program = traps.program("uploadpack");
        rig.world
            .git_in(&dir, &["config", "remote.origin.uploadpack", &program]);
        unprotected_git(&rig, &dir);
        if traps.take().is_empty() {
            eprintln!("skipped: this git needs no object for the answer in {name}");
            continue;
        }
        no_program_of_a_promisor_remote(&rig, &traps, &dir, "did not write").await;
    }
}

/// As before, with a git that does not know `GIT_NO_LAZY_FETCH`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_22_no_program_of_a_promisor_remote_runs_with_an_older_git_either() {
    let mut rig = Rig::new(Limits::default()).await;
    let traps = Traps::new(&rig);
    let bin = rig.world.path("bin");
    fs::create_dir(&bin).expect("made");
    let path = std::env::var("PATH").unwrap_or_default();
    let text = format!("#!/bin/sh\nunset GIT_NO_LAZY_FETCH\nPATH='{path}'\nexec git \"$@\"\n");
    fs::write(bin.join("git"), text).expect("written");
    fs::set_permissions(bin.join("git"), fs::Permissions::from_mode(0o755)).expect("changed");
    let mut command = rig.world.command();
    command.env("PATH", &bin);
    rig.world.start_as(command).await;
    let dir = partial_clone(&rig, "partial", "--object-format=sha1").expect("git knows it");
    no_program_of_a_promisor_remote(&rig, &traps, &dir, "not allowed").await;
}

/// A key that takes a program, the name of its program, and a command of git's that runs it.
type Key = (&'static str, &'static str, &'static [&'static str]);

const KEYS: [Key; 19] = [
    ("core.fsmonitor", "fsmonitor", &["status"]),
    ("core.editor", "editor", &["commit", "--allow-empty"]),
    ("sequence.editor", "sequence", &REBASE),
    ("core.sshCommand", "ssh", &["ls-remote", "ssh://example.com/x"]),
    ("core.gitProxy", "proxy", &["ls-remote", "git://example.com/x"]),
    ("core.askPass", "askpass", &["credential", "fill"]),
    (
        "core.alternateRefsCommand",
        "alternates",
        &["fetch", "--upload-pack", "git-upload-pack", "source"],
    ),
    ("credential.helper", "helper", &["credential", "fill"]),
    ("diff.external", "external", &["diff"]),
    ("diff.x.textconv", "textconv", &["diff", "--no-ext-diff"]),
    ("filter.x.clean", "clean", &["add", "sub/file"]),
    (
        "filter.x.smudge",
        "smudge",
        &["checkout", "-f", "HEAD", "sub/file"],
    ),
    ("filter.y.process", "process", &["add", "sub/other"]),
    (
        "gpg.program",
        "gpg",
        &["commit", "-S", "--allow-empty", "-m", "signed"],
    ),
    ("remote.source.uploadpack", "uploadpack", &["fetch", "source"]),
    ("alias.trap", "alias", &["trap"]),
    ("pager.log", "pager", &["log"]),
    ("alias.check-ignore", "shadow", &[]),
    ("alias.ls-files", "shadow", &[]),
];

/// It starts with a clean worktree only.
const REBASE: [&str; 14] = [
    "-c",
    "core.fsmonitor=",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "filter.x.clean=",
    "-c",
    "filter.x.smudge=",
    "-c",
    "filter.y.process=",
    "rebase",
    "-i",
    "--root",
    "--autostash",
];

const HOOKS: [(&str, &[&str]); 3] = [
    ("post-index-change", &["update-index", "--force-write-index"]),
    (
        "reference-transaction",
        &["update-ref", "refs/heads/hooked", "HEAD"],
    ),
    ("post-checkout", &["checkout", "-q", "--detach"]),
];

/// Names a program under every key.
fn set_traps(rig: &Rig, traps: &Traps, dir: &Path) {
    let upstream = rig.world.main().to_string_lossy().into_owned();
    rig.world.git_in(dir, &["config", "remote.source.url", &upstream]);
    rig.world.git_in(dir, &["config", "maintenance.auto", "false"]);
    fs::write(dir.join("sub/other"), "y\n").expect("written");
    fs::write(dir.join("sub/file"), "changed\n").expect("written");
    let attributes = "sub/file filter=x diff=x\nsub/other filter=y\n";
    fs::write(dir.join(".git/info/attributes"), attributes).expect("written");
    let alternates = rig.world.main().join(".git/objects");
    fs::write(
        dir.join(".git/objects/info/alternates"),
        alternates.as_os_str().as_encoded_bytes(),
    )
    .expect("written");
    for (key, name, _) in KEYS {
        let is_shell = key.starts_with("alias.") || key == "credential.helper";
        let program = traps.program(name);
        let value = if is_shell { format!("!{program}") } else { program };
        rig.world.git_in(dir, &["config", key, &value]);
    }
    for (hook, _) in HOOKS {
        traps.program(&format!("hooks/{hook}"));
    }
    let hooks = traps.programs.join("hooks").to_string_lossy().into_owned();
    rig.world.git_in(dir, &["config", "core.hooksPath", &hooks]);
    traps.take();
}

/// Shows that each program runs.
fn control(rig: &Rig, traps: &Traps, dir: &Path) {
    let script = Command::new("script").arg("--version").output();
    // That of util-linux.
    let has_script = script.is_ok_and(|output| output.status.success());
    for (key, name, command) in KEYS.into_iter().filter(|(_, _, command)| !command.is_empty()) {
        match name {
            "pager" if !has_script => eprintln!("skipped: no terminal for {key}"),
            // Only on a terminal.
            "pager" => {
                let mut script = clean(rig, "script", dir);
                let status = script.args(["-qec", "git log", "/dev/null"]).status();
                status.expect("it is there");
                traps.assert_ran(name, key);
            }
            "askpass" | "helper" => {
                // Either answers for the other.
                let mut git = clean(rig, "git", dir);
                if name == "askpass" {
                    git.args(["-c", "credential.helper="]);
                }
                let mut git = git
                    .args(command)
                    .stdin(Stdio::piped())
                    .spawn()
                    .expect("it starts");
                let mut asks = git.stdin.take().expect("it is piped");
                asks.write_all(b"protocol=https\nhost=example.com\n\n")
                    .expect("written");
                drop(asks);
                drop(git.wait());
                traps.assert_ran(name, key);
            }
            _ => {
                plain_git(rig, dir, command);
                traps.assert_ran(name, key);
            }
        }
    }
    for (hook, command) in HOOKS {
        plain_git(rig, dir, command);
        traps.assert_ran(&format!("hooks-{hook}"), hook);
    }
}

/// Every git process of the daemon is one that it started itself, with its options.
fn assert_only_our_git_ran(audit: &Path) {
    let text = fs::read_to_string(audit).expect("written");
    let executed = text
        .lines()
        .filter(|line| line.contains("execve(") && line.ends_with("= 0"));
    let others = executed.filter(|line| {
        let is_daemon = line.contains("lakebased\"");
        let is_ours = line.contains("[\"git\", \"--no-pager\", \"-c\", \"core.fsmonitor=\"");
        !is_daemon && !is_ours
    });
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(text.contains("\"check-ignore\""), "git was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_23_25_no_program_that_a_repository_names_runs_for_any_command() {
    let mut rig = Rig::new(Limits::default()).await;
    let traps = Traps::new(&rig);
    let (audit, target) = (rig.world.path("audit"), rig.world.path("trace"));
    // It is of the user's own, and no file of the daemon's business either.
    let trace = format!(
        "[trace2]\neventTarget = {0}\nnormalTarget = {0}\nperfTarget = {0}\n",
        target.display()
    );
    fs::write(rig.world.path(".gitconfig"), trace).expect("written");
    let command = rig.world.command();
    let strace = Command::new("strace").arg("-V").output();
    let is_audited = strace.is_ok_and(|output| output.status.success());
    if is_audited {
        rig.world.start_as(audited(&command, &audit)).await;
    } else {
        eprintln!("skipped: no strace to list the programs with");
        rig.world.start_as(command).await;
    }
    for (name, format) in [
        ("plain", "--object-format=sha1"),
        ("longer", "--object-format=sha256"),
        ("tables", "--ref-format=reftable"),
    ] {
        let Some(dir) = repository(&rig, name, format) else {
            continue;
        };
        set_traps(&rig, &traps, &dir);
        drop(fs::remove_file(&target));
        rig.world.register_at(&dir).await;
        assert_eq!(rig.world.branch(&dir).await, format!("jane-doe-{name}"));
        until("its `.env` is written", async || dir.join(".env").exists()).await;
        rig.world.reconcile_at(&dir).await;
        traps.assert_none_ran(name);
        assert!(!target.exists(), "git left a trace");
        control(&rig, &traps, &dir);
        assert!(target.exists(), "the target is no target");
    }
    rig.world.shut_down().await;
    if is_audited {
        assert_only_our_git_ran(&audit);
    }
}

/// The same command, with every program that it or a child of it executes written to a file.
fn audited(plain: &Command, audit: &Path) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-s", "256", "-e", "trace=execve", "-o"])
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

/// Settings and places that a git which calls the daemon has in its environment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_27_the_environment_of_another_git_changes_nothing() {
    let mut rig = Rig::new(Limits::default()).await;
    let traps = Traps::new(&rig);
    let dir = repository(&rig, "plain", "--object-format=sha1").expect("git knows it");
    let other = repository(&rig, "other", "--object-format=sha1").expect("git knows it");
    let mut command = rig.world.command();
    command
        .env("GIT_DIR", other.join(".git"))
        .env("GIT_WORK_TREE", &other)
        .env("GIT_INDEX_FILE", other.join(".git/index"))
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "core.fsmonitor")
        .env("GIT_CONFIG_VALUE_0", traps.program("fsmonitor"))
        .env("GIT_CONFIG_PARAMETERS", "'core.excludesFile'='/dev/null'")
        .env("GIT_SSH_COMMAND", traps.program("ssh"))
        .env("GIT_EXTERNAL_DIFF", traps.program("diff"))
        .env("GIT_TRACE", rig.world.path("trace"));
    rig.world.start_as(command).await;
    fs::write(dir.join(".gitignore"), "other\n").expect("written");
    rig.world.register_at(&dir).await;
    rig.world.branch(&dir).await;
    looked_at(&rig, &dir, "git does not ignore it").await;
    fs::write(dir.join(".gitignore"), ".env\n").expect("written");
    looked_at(&rig, &dir, "").await;
    until("its `.env` is written", async || dir.join(".env").exists()).await;
    traps.assert_none_ran("the environment");
    assert!(!rig.world.path("trace").exists(), "git left a trace");
}

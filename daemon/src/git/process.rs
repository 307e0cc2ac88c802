//! Starts git: every git process of the daemon gets the same options, environment and deadline, so
//! that no program named in a repository's configuration is executed and no object is fetched.
//!
//! The keys of git-config(1) that name a program, and why it is not executed:
//!
//! - `core.fsmonitor`: cleared.
//! - `core.hooksPath`, `hooks/`, `hook.*.command`: no command below writes an index or a ref, and
//!   the path is `/dev/null`.
//! - `core.pager`, `pager.*`: `--no-pager`, and the output is a file.
//! - `alias.*`: an alias cannot replace a command of git's own.
//! - `filter.*`, `diff.*`, `merge.*`, `gpg.*`, `core.editor`, `sequence.editor`, …: no command
//!   below converts, compares, merges, signs or edits.
//! - `remote.*.uploadpack`, `remote.*.vcs`, `url.*.insteadOf`, `core.sshCommand`, `core.gitProxy`,
//!   `core.askPass`, `credential.*`, `core.alternateRefsCommand`: they need a fetch. A partial
//!   clone starts one for a missing object, which `GIT_NO_LAZY_FETCH` forbids. Releases without
//!   that variable (it came with 2.45 and the security fixes of 2024) start it, and no protocol is
//!   allowed there. `fetch.bundleURI` is cleared because it is read before that check.
//! - a program `git` in the worktree: relative parts of `PATH` are left out.
//! - `trace2.*` (a file or a socket): the variables that override it turn it off.
//!
//! The commands are `version`, `rev-parse`, `symbolic-ref`, `worktree list`, `for-each-ref`,
//! `config` to read, `check-ignore`, `ls-files`, `ls-tree` and `cat-file`. System, user and repository
//! configuration are read as they are, because `safe.directory` and `core.excludesFile` are in
//! there.

use crate::config;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often a running git is asked whether it has ended.
const POLL: Duration = Duration::from_millis(1);

/// How much of git's complaints is kept.
const MAX_COMPLAINT: u64 = 4096;

/// Options before the command: they go before every configuration file.
const OPTIONS: [&str; 11] = [
    "--no-pager",
    // Empty, not `false`: before 2.36 any other value is the path of a program.
    "-c",
    "core.fsmonitor=",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.quotePath=false",
    "-c",
    "protocol.allow=never",
    "-c",
    "fetch.bundleURI=",
];

/// Variables for every git process. The rest of its environment is `config::git_env`.
const ENVIRONMENT: [(&str, &str); 10] = [
    ("GIT_NO_LAZY_FETCH", "1"),
    // A list of protocols; none has this name.
    ("GIT_ALLOW_PROTOCOL", "none"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ADVICE", "0"),
    ("GIT_DISCOVERY_ACROSS_FILESYSTEM", "1"),
    ("GIT_TRACE2", "0"),
    ("GIT_TRACE2_EVENT", "0"),
    ("GIT_TRACE2_PERF", "0"),
    ("LC_ALL", "C"),
];

/// Where git looks for the repository.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start<'a> {
    /// In this directory.
    At(&'a Path),
    /// In this directory and those above.
    Within(&'a Path),
}

impl<'a> Start<'a> {
    fn dir(self) -> &'a Path {
        match self {
            Self::At(dir) | Self::Within(dir) => dir,
        }
    }
}

/// Outcome of a git process that ended by itself.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) output: Vec<u8>,
    /// The start of its standard error.
    pub(super) complaint: Vec<u8>,
}

impl Finished {
    /// Returns the first line of what git wrote to standard error, apart from advice.
    pub(super) fn complaint(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.complaint);
        let is_advice = |line: &str| line.trim().is_empty() || line.starts_with("hint:");
        let line = text.lines().find(|line| !is_advice(line))?;
        Some(line.trim().to_owned())
    }
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotFinished {
    #[error("cannot run git in `{dir}`: {source}")]
    Failed { dir: PathBuf, source: io::Error },
    #[error("git did not answer in time in `{dir}`")]
    Late { dir: PathBuf },
}

/// Git, with the part of the daemon's environment that it gets.
#[derive(Debug)]
pub(super) struct Git {
    env: Vec<(&'static str, OsString)>,
}

impl Default for Git {
    fn default() -> Self {
        Self::with_env(config::git_env())
    }
}

impl Git {
    pub(super) fn with_env(env: impl IntoIterator<Item = (&'static str, OsString)>) -> Self {
        let is_path = |name: &str| name == "PATH";
        let searched = |(name, value): (&'static str, OsString)| {
            let value = if is_path(name) { outside(&value)? } else { value };
            Some((name, value))
        };
        let env = env.into_iter().filter_map(searched).collect();
        Self { env }
    }

    /// Runs git and waits for it. The output goes to files: a full pipe would block it.
    ///
    /// # Errors
    /// [`NotFinished`] when git cannot be started, or was killed at the deadline.
    pub(super) fn run(
        &self,
        start: Start<'_>,
        patience: Duration,
        args: &[&OsStr],
    ) -> Result<Finished, NotFinished> {
        let failed = |source| NotFinished::Failed {
            dir: start.dir().to_owned(),
            source,
        };
        let mut output = tempfile::tempfile().map_err(failed)?;
        let mut complaint = tempfile::tempfile().map_err(failed)?;
        let mut command = self.command(start, args);
        command
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(complaint.try_clone().map_err(failed)?);
        let child = command.spawn().map_err(failed)?;
        let status = wait(child, patience).map_err(failed)?;
        let status = status.ok_or_else(|| NotFinished::Late {
            dir: start.dir().to_owned(),
        })?;
        Ok(Finished {
            status,
            output: read(&mut output, u64::MAX).map_err(failed)?,
            complaint: read(&mut complaint, MAX_COMPLAINT).map_err(failed)?,
        })
    }

    fn command(&self, start: Start<'_>, args: &[&OsStr]) -> Command {
        let mut command = Command::new("git");
        command
            .args(OPTIONS)
            .args(args)
            .current_dir(start.dir())
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .envs(ENVIRONMENT)
            .process_group(0)
            .stdin(Stdio::null());
        if let Start::At(dir) = start
            && let Some(parent) = dir.parent()
        {
            // Without it git would go on to the repository around this one if `.git` has just gone.
            command.env("GIT_CEILING_DIRECTORIES", parent);
        }
        command
    }
}

/// Leaves out the relative parts of a search path: git runs in a worktree, and a program of the
/// repository must not be found there. `None` if nothing is left, for an empty part is relative too.
fn outside(path: &OsStr) -> Option<OsString> {
    let dirs = std::env::split_paths(path).filter(|dir| dir.is_absolute());
    let outside = std::env::join_paths(dirs).ok()?;
    Some(outside).filter(|path| !path.is_empty())
}

/// Waits for the end; at the deadline the process and its children are killed.
fn wait(mut git: Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = git.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            if let Some(group) = rustix::process::Pid::from_raw(git.id().cast_signed()) {
                // One that has just ended is no matter.
                rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
            }
            drop(git.kill());
            drop(git.wait());
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

fn read(file: &mut std::fs::File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    file.rewind()?;
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A directory with a program in the place of git.
    fn git(script: &str) -> (tempfile::TempDir, Git) {
        let dir = tempfile::tempdir().expect("a temp dir");
        let program = dir.path().join("git");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("changed");
        let git = Git::with_env([("PATH", dir.path().as_os_str().to_owned())]);
        (dir, git)
    }

    fn run(dir: &Path, git: &Git, patience: Duration) -> Result<Finished, NotFinished> {
        git.run(Start::At(dir), patience, &["version".as_ref()])
    }

    #[test]
    fn sec_26_a_git_that_hangs_is_ended_with_its_children() {
        let (dir, git) = git("/bin/sleep 60 & echo $! > child; wait");
        let late = run(dir.path(), &git, Duration::from_secs(1));
        assert!(matches!(late, Err(NotFinished::Late { .. })), "{late:?}");
        let child = fs::read_to_string(dir.path().join("child")).expect("it was started");
        let place = PathBuf::from(format!("/proc/{}", child.trim()));
        let deadline = Instant::now() + Duration::from_secs(10);
        // One that has ended may wait for its new parent.
        let is_alive = || {
            let stat = fs::read_to_string(place.join("stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        while is_alive() {
            assert!(Instant::now() < deadline, "a child of git goes on");
            std::thread::sleep(POLL);
        }
    }

    #[test]
    fn sec_28_a_git_of_the_repository_is_not_found() {
        for path in [".", ":/usr/bin:/bin", "/usr/bin:/bin:", "./:sub/../.", ""] {
            let (dir, _) = git(": > ran");
            // The control: found by the same path when nothing is left out.
            let plain = Command::new("git")
                .arg("version")
                .current_dir(dir.path())
                .env("PATH", format!(".:{path}"))
                .status();
            plain.expect("it is found");
            fs::remove_file(dir.path().join("ran")).expect("it ran");
            let git = Git::with_env([("PATH", path.into())]);
            drop(run(dir.path(), &git, Duration::from_secs(30)));
            assert!(!dir.path().join("ran").exists(), "{path:?}");
        }
    }

    #[test]
    fn sec_26_an_endless_complaint_is_cut_and_blocks_nothing() {
        let (dir, git) = git("i=0; while [ $i -lt 20000 ]; do echo 'warning: x' >&2; i=$((i+1)); done");
        let finished = run(dir.path(), &git, Duration::from_secs(30)).expect("it ends");
        assert_eq!(finished.complaint().as_deref(), Some("warning: x"));
        assert!(finished.complaint.len() <= 4096);
    }

    #[test]
    fn sec_27_git_gets_no_variable_but_those_that_are_listed() {
        let (dir, git) = git("/usr/bin/env");
        let finished = run(dir.path(), &git, Duration::from_secs(30)).expect("it ends");
        let text = String::from_utf8_lossy(&finished.output).into_owned();
        let mut names: Vec<_> = text
            .lines()
            .filter_map(|line| Some(line.split_once('=')?.0))
            // The shell's own.
            .filter(|name| !matches!(*name, "PWD" | "OLDPWD" | "SHLVL" | "_"))
            .collect();
        names.sort_unstable();
        let mut wanted = ENVIRONMENT.map(|(name, _)| name).to_vec();
        wanted.extend(["GIT_CEILING_DIRECTORIES", "PATH"]);
        wanted.sort_unstable();
        assert_eq!(names, wanted);
        for (name, _) in config::git_env() {
            let is_of_a_repository = name.starts_with("GIT_") && !name.starts_with("GIT_CONFIG_");
            assert!(!is_of_a_repository, "{name}");
        }
    }
}

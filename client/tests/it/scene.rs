//! A directory with a git repository, a socket path, and the binaries with a pinned environment.

use crate::fake::{Fake, World};
use assert_cmd::Command;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

pub(crate) const HOOK: &str = env!("CARGO_BIN_EXE_lakebase-hook");
pub(crate) const LAKEBASE: &str = env!("CARGO_BIN_EXE_lakebase");
/// Git's three arguments for a checkout of a git branch.
pub(crate) const CHECKOUT: [&str; 3] = [
    "1111111111111111111111111111111111111111",
    "2222222222222222222222222222222222222222",
    "1",
];

pub(crate) struct Scene {
    dir: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let scene = Self {
            dir: tempfile::tempdir().expect("temp dir"),
        };
        scene.git(&["init", "--quiet", "--initial-branch=main", "shop"]);
        scene
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().canonicalize().expect("it exists")
    }

    /// The repository's root.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir().join("shop")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir().join("l.sock")
    }

    pub(crate) fn hook_place(&self) -> PathBuf {
        self.root().join(".git/hooks/post-checkout")
    }

    /// A daemon that has this repository's branch ready.
    pub(crate) fn ready(&self) -> Fake {
        Fake::start(&self.socket(), World::ready(&self.root()))
    }

    /// A daemon that has never heard of this repository.
    pub(crate) fn fresh(&self) -> Fake {
        Fake::start(&self.socket(), World::new(&self.root()))
    }

    /// Runs git in the directory above the repository.
    pub(crate) fn git(&self, args: &[&str]) {
        self.pinned("git", &self.dir()).args(args).assert().success();
    }

    /// `lakebase`, started at the repository's root.
    pub(crate) fn lakebase(&self, args: &[&str]) -> Command {
        let mut command = self.pinned(LAKEBASE, &self.root());
        command.args(args);
        command
    }

    /// The hook as git calls it.
    pub(crate) fn hook(&self, args: &[&str]) -> Command {
        let mut command = self.pinned(HOOK, &self.root());
        command.args(args);
        command
    }

    /// A program with nothing in its environment that the test does not know.
    pub(crate) fn pinned(&self, program: impl AsRef<Path>, cwd: &Path) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .current_dir(cwd)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("LAKEBASE_SOCKET", self.socket())
            .timeout(Duration::from_mins(1));
        command
    }
}

/// Writes a file, and makes the directories above it.
pub(crate) fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
    fs::write(path, text).expect("write");
}

pub(crate) fn stdout(command: &mut Command) -> String {
    let out = command.assert().success().get_output().stdout.clone();
    String::from_utf8(out).expect("text")
}

/// Exit code and standard error of a command that fails.
pub(crate) fn failure(command: &mut Command) -> (i32, String) {
    let out = command.assert().failure().get_output().clone();
    let text = String::from_utf8(out.stderr).expect("text");
    (out.status.code().expect("it was not killed"), text)
}

pub(crate) fn json(command: &mut Command) -> serde_json::Value {
    serde_json::from_str(&stdout(command)).expect("JSON")
}

//! Projects with a `lakebase.dev.toml` in a directory of their own, and what runs in them.

use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// On a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);
/// Inherited by everything that a scene starts.
const OURS: &str = "LAKEBASE_DEV_TEST";

/// A state directory and projects that use it.
pub(crate) struct Scene {
    dir: TempDir,
    program: PathBuf,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("temp dir"),
            program: env!("CARGO_BIN_EXE_lakebase-dev").into(),
        }
    }

    /// One in which this script is the `lakebase` beside the program.
    pub(crate) fn with_lakebase(script: &str) -> Self {
        let mut scene = Self::new();
        let bin = scene.dir().join("bin");
        write(&bin.join("lakebase"), script);
        let program = bin.join("lakebase-dev");
        let made = Command::new("sh")
            .args(["-c", "cp \"$0\" \"$1\" && chmod 755 \"$2\""])
            .args([&scene.program, &program, &bin.join("lakebase")])
            .status();
        assert!(made.expect("sh runs").success());
        scene.program = program;
        scene
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().canonicalize().expect("it exists")
    }

    /// A project of this name with this file.
    pub(crate) fn project(&self, name: &str, file: &str) -> Project<'_> {
        let root = self.dir().join(name);
        write(&root.join("lakebase.dev.toml"), file);
        Project { scene: self, root }
    }

    /// What runs of all that was started here, by pid and command line.
    pub(crate) fn processes(&self) -> Vec<String> {
        let mark = format!("{OURS}={}", self.dir().display());
        let entries = fs::read_dir("/proc").expect("proc").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let marked = |pid: &String| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|one| one == mark.as_bytes())
        };
        let line = |pid: String| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            format!("{pid} {}", String::from_utf8_lossy(&line).replace('\0', " "))
        };
        pids.filter(|pid| pid.parse::<u32>().is_ok())
            .filter(marked)
            .map(line)
            .collect()
    }

    /// The files that are kept about its projects.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir().join("state/dev")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.dir()).expect("listed").flatten() {
            if entry.path().join("lakebase.dev.toml").is_file() {
                Project {
                    scene: self,
                    root: entry.path(),
                }
                .command(&["stop"])
                .output()
                .expect("it runs");
            }
        }
    }
}

/// A directory with a `lakebase.dev.toml`.
pub(crate) struct Project<'a> {
    scene: &'a Scene,
    pub(crate) root: PathBuf,
}

impl Project<'_> {
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.scene.program);
        command
            .args(args)
            .current_dir(&self.root)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.scene.dir())
            .env("LAKEBASE_STATE_DIR", self.scene.dir().join("state"))
            .env(OURS, self.scene.dir());
        command
    }

    /// Runs a command that succeeds; returns what it prints, without the end of the line.
    pub(crate) fn good(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("it runs");
        assert!(output.status.success(), "{args:?}: {}", err(&output));
        out(&output).trim_end().to_owned()
    }

    /// Runs a command that succeeds; returns what it says beside its answer.
    pub(crate) fn told(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("it runs");
        assert!(output.status.success(), "{args:?}: {}", err(&output));
        err(&output)
    }

    /// Runs a command that fails; returns its exit code and what it says.
    pub(crate) fn bad(&self, args: &[&str]) -> (i32, String) {
        let output = self.command(args).output().expect("it runs");
        assert!(!output.status.success(), "{args:?}: {}", out(&output));
        (output.status.code().expect("not killed"), err(&output))
    }

    /// What `status --json` prints, whatever its exit code is.
    pub(crate) fn status(&self) -> Value {
        let output = self.command(&["status", "--json"]).output().expect("it runs");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {}", err(&output)))
    }

    /// One process of the status.
    pub(crate) fn process(&self, name: &str) -> Value {
        let status = self.status();
        let processes = status["processes"].as_array().expect("a list");
        let found = processes.iter().find(|process| process["name"] == name);
        found.unwrap_or_else(|| panic!("no `{name}`: {status}")).clone()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        write(&self.root.join(path), text);
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_default()
    }

    /// How many lines a file has.
    pub(crate) fn lines(&self, path: &str) -> usize {
        self.read(path).lines().count()
    }
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
    fs::write(path, text).expect("write");
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks a URL as `http://127.0.0.1:20000`, and returns the body of what is at the path.
pub(crate) fn get(url: &str, path: &str) -> String {
    let address = url.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
    assert!(head.contains(" 200 "), "{head}");
    body.to_owned()
}

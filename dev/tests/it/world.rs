//! A directory with worktrees and a state directory of its own, in which nothing is left running.

use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) const DEV: &str = env!("CARGO_BIN_EXE_lakebase-dev");

/// Answers with what `answer` held when it started; `/ready` with 503 for as long as there is a file `not-ready`.
const SERVER: &str = r#"
import http.server, os, sys
answer = open("answer").read().encode() if os.path.exists("answer") else b"hello"
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        away = self.path == "/ready" and os.path.exists("not-ready")
        self.send_response(503 if away else 200)
        self.end_headers()
        self.wfile.write(answer)
    def log_message(self, *args): pass
print("serving on", os.environ["PORT"], flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// One server that is ready when `/ready` answers well.
pub(crate) const WEB: &str = r#"
[process.web]
run = "exec python3 server.py"
port = "PORT"
ready = "http://127.0.0.1:{port}/ready"
"#;

pub(crate) struct World {
    dir: TempDir,
}

/// One worktree with a `lakebase.dev.toml`.
pub(crate) struct Tree<'a> {
    world: &'a World,
    pub(crate) root: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("temp dir"),
        }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().canonicalize().expect("it is there")
    }

    pub(crate) fn tree(&self, name: &str, file: &str) -> Tree<'_> {
        let root = self.dir().join(name);
        fs::create_dir(&root).expect("mkdir");
        fs::write(root.join("server.py"), SERVER).expect("write");
        fs::write(root.join("lakebase.dev.toml"), file).expect("write");
        Tree { world: self, root }
    }
}

impl Drop for Tree<'_> {
    fn drop(&mut self) {
        // A test that failed must leave nothing either.
        fs::create_dir_all(&self.root).ok();
        fs::write(self.root.join("lakebase.dev.toml"), "").ok();
        self.dev(&["stop"]).output().ok();
    }
}

impl Tree<'_> {
    pub(crate) fn dev(&self, args: &[&str]) -> Command {
        self.program(Path::new(DEV), args)
    }

    pub(crate) fn program(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(&self.root)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LAKEBASE_STATE_DIR", self.world.dir().join("state"))
            .stdin(Stdio::null());
        command
    }

    /// Runs it, and returns standard output of one that must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let out = self.dev(args).output().expect("it runs");
        assert!(out.status.success(), "{args:?}: {out:?}");
        text(&out.stdout)
    }

    /// Exit code and standard error of one that must fail.
    pub(crate) fn fails(&self, args: &[&str]) -> (i32, String) {
        let out = self.dev(args).output().expect("it runs");
        assert!(!out.status.success(), "{args:?}: {out:?}");
        (out.status.code().expect("it was not killed"), text(&out.stderr))
    }

    /// Starts it and returns the URL.
    pub(crate) fn start(&self) -> String {
        self.ok(&["start"]).trim().to_owned()
    }

    pub(crate) fn background(&self, args: &[&str]) -> Child {
        let mut command = self.dev(args);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts")
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(path, text).expect("write");
    }

    pub(crate) fn status(&self) -> Value {
        let out = self.dev(&["status", "--json"]).output().expect("it runs");
        serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out:?}"))
    }

    /// One process out of the status.
    pub(crate) fn process(&self, name: &str) -> Value {
        let status = self.status();
        let all = status["processes"].as_array().expect("a list");
        let one = all.iter().find(|process| process["name"] == name);
        one.unwrap_or_else(|| panic!("no {name} in {status}")).clone()
    }

    pub(crate) fn pid(&self, name: &str) -> u64 {
        self.process(name)["pid"].as_u64().expect("it runs")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        let name = self
            .root
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let entries = fs::read_dir(self.world.dir().join("state/dev")).expect("there");
        let mut dirs = entries.map(|entry| entry.expect("entry").path());
        dirs.find(|path| {
            path.file_name()
                .is_some_and(|it| it.to_string_lossy().starts_with(&format!("{name}-")))
        })
        .expect("it was started once")
    }

    /// The processes that were started in this world and live, whatever group or session they are in.
    pub(crate) fn living(&self) -> Vec<u32> {
        let own = format!("LAKEBASE_STATE_DIR={}", self.world.dir().join("state").display());
        let entries = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_ours = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|one| one == own.as_bytes())
        };
        pids.filter(is_ours).collect()
    }
}

pub(crate) fn kill_9(pid: u64) {
    let status = Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status()
        .expect("kill runs");
    assert!(status.success());
    let is_dead = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
    };
    until("it is dead", is_dead);
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

pub(crate) fn stdout_of(child: Child) -> Output {
    child.wait_with_output().expect("it ends")
}

/// The body that a URL answers with.
pub(crate) fn get(url: &str) -> Option<String> {
    let authority = url.strip_prefix("http://").expect("http");
    let mut stream = TcpStream::connect(authority).ok()?;
    write!(stream, "GET / HTTP/1.0\r\nHost: {authority}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

/// Waits for a condition.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

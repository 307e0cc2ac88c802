//! The built program: its arguments, what it prints, how it ends.

use crate::control::Control;
use crate::postgres::Postgres;
use crate::store::DEADLINE;
use lakebase_proto::{Reason, status};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The program in an environment of its own.
pub(crate) fn program(args: &[&str], home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_store-app"));
    command
        .args(args)
        .env_clear()
        .env("HOME", home)
        .env("LAKEBASE_SOCKET", home.join("l.sock"))
        .current_dir(home)
        .stdin(Stdio::null());
    command
}

/// A running program, ended with the value.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Running {
    /// Starts it and returns the address it prints.
    fn start(mut command: Command) -> (Self, String) {
        command.stderr(Stdio::piped());
        Self::start_with_log(command)
    }

    /// The same, with a log that goes where the caller said.
    pub(crate) fn start_with_log(mut command: Command) -> (Self, String) {
        let child = command.stdout(Stdio::piped()).spawn();
        let mut running = Self(child.expect("runs"));
        let mut line = String::new();
        BufReader::new(running.0.stdout.as_mut().expect("piped"))
            .read_line(&mut line)
            .expect("text");
        let url = line.trim_end().strip_prefix("listening on ");
        let url = url.unwrap_or_else(|| panic!("{line:?}")).to_owned();
        (running, url)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends SIGTERM and returns the exit code and what was logged, unless that goes elsewhere.
    pub(crate) fn terminate(self) -> (Option<i32>, String) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()));
        self.ended()
    }

    /// Waits for its end, and returns the same.
    fn ended(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + DEADLINE;
        let code = loop {
            if let Some(status) = self.0.try_wait().expect("our child") {
                break status.code();
            }
            assert!(Instant::now() < deadline, "still running");
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut log = String::new();
        if let Some(stderr) = self.0.stderr.as_mut() {
            stderr.read_to_string(&mut log).expect("text");
        }
        (code, log)
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn status_of(url: &str) -> u16 {
    reqwest::get(url).await.expect("an answer").status().as_u16()
}

#[test]
fn without_any_source_it_says_what_to_do() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let output = program(&["--daemon-wait", "200ms"], dir.path())
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    for part in [
        "waiting up to 200ms for lakebased",
        "hint: ",
        "`lakebase up`",
        "`lakebase init`",
        "DATABASE_URL",
    ] {
        assert!(said.contains(part), "{part} not in {said}");
    }
}

#[test]
fn wrong_arguments_are_refused() {
    let dir = tempfile::tempdir().expect("temporary directory");
    for args in [
        ["--daemon-wait", "30"],
        ["--addr", "nowhere"],
        ["--port", "99999"],
        ["--connection-life", "0s"],
    ] {
        let output = program(&args, dir.path()).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn a_port_that_is_taken_is_refused_before_anything_else() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("bound").to_string();
    let output = program(&["--addr", &addr], dir.path()).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains(&format!("cannot listen on `{addr}`")),
        "{}",
        stderr(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_daemon_the_environment_serves_after_the_wait() {
    let postgres = Postgres::with_shop().await;
    let mut command = program(&["serve", "--daemon-wait", "200ms"], postgres.dir());
    command
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", postgres.port.to_string())
        .env("PGDATABASE", "shop")
        .env("PGUSER", "jane")
        .env("PGPASSWORD", crate::postgres::JANE)
        .env("PGSSLMODE", "disable");
    let (running, url) = Running::start(command);
    assert_eq!(status_of(&format!("{url}/api/health/ready")).await, 200);
    assert_eq!(status_of(&format!("{url}/api/products/13")).await, 200);
    let (code, log) = running.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("looking at the environment instead"), "{log}");
    assert!(!log.contains(crate::postgres::JANE), "{log}");
}

/// How a store ends that should serve nobody.
fn end_of(mut command: Command) -> (Option<i32>, String) {
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    Running(command.spawn().expect("runs")).ended()
}

/// A store in the worktree of a daemon, while the environment names the database of another worktree.
fn in_anothers_environment(postgres: &Postgres, wait: &str) -> Command {
    let mut command = program(&["serve", "--daemon-wait", wait], postgres.dir());
    command.env("DATABASE_URL", postgres.url("shop"));
    command
}

async fn assert_untouched(postgres: &Postgres) {
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(postgres.count("shop", tables).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worktree_without_a_branch_is_not_served_from_anothers_database() {
    let postgres = Postgres::with_shop().await;
    let control = Control::start(&postgres.dir().join("l.sock"));
    let full = status(Reason::Blocked, "the project is full", "delete a branch");
    control.refuse(full);
    let (code, said) = end_of(in_anothers_environment(&postgres, "30s"));
    assert_eq!(code, Some(1), "{said}");
    let end = "error: cannot use the branch of this worktree: lakebased says: the project is full\n\
               hint: delete a branch\n";
    assert!(said.ends_with(end), "{said}");
    assert_untouched(&postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_takes_too_long_is_not_replaced_by_anothers_database() {
    let postgres = Postgres::with_shop().await;
    let _never_ready = Control::start(&postgres.dir().join("l.sock"));
    let (code, said) = end_of(in_anothers_environment(&postgres, "300ms"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("hint: `lakebase why`"), "{said}");
    assert!(!said.contains("`lakebase up`"), "{said}");
    assert_untouched(&postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_daemon_has_no_worktree_the_environment_serves() {
    let postgres = Postgres::with_shop().await;
    let control = Control::start(&postgres.dir().join("l.sock"));
    control.refuse(status(Reason::NotRegistered, "not registered", ""));
    let (running, url) = Running::start(in_anothers_environment(&postgres, "30s"));
    assert_eq!(status_of(&format!("{url}/api/products/1")).await, 200);
    assert_eq!(running.terminate().0, Some(0));
}

/// A store that starts, and what it says, line by line.
fn starting(mut command: Command) -> (Running, impl FnMut(&str)) {
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("runs");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
    let until = move |part: &str| {
        let is_said = |line: String| line.contains(part);
        while !is_said(
            told.recv_timeout(DEADLINE)
                .unwrap_or_else(|_| panic!("never said: {part}")),
        ) {}
    };
    (Running(child), until)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_waits_says_each_thing_that_it_waits_for() {
    let postgres = Postgres::with_shop().await;
    let (_running, mut until) = starting(program(&["--daemon-wait", "30s"], postgres.dir()));
    until("it is not running");
    let control = Control::start(&postgres.dir().join("l.sock"));
    for why in ["no room yet", "no compute yet"] {
        control.refuse(status(Reason::NotReady, why, ""));
        until(&format!("still waiting: lakebased says: {why}"));
    }
    control.publish(postgres.credential("shop"));
    until("the database is ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_came_late_is_not_said_to_be_away() {
    let postgres = Postgres::with_shop().await;
    let (_running, mut until) = starting(in_anothers_environment(&postgres, "3s"));
    until("it is not running");
    let _never_ready = Control::start(&postgres.dir().join("l.sock"));
    until("error: cannot use the branch of this worktree: lakebased has no branch ready");
    until("hint: `lakebase why`");
    assert_untouched(&postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_of_a_defect_what_the_caller_is_not_told() {
    let postgres = Postgres::with_shop().await;
    let mut command = program(&["serve", "--daemon-wait", "0s"], postgres.dir());
    command.env("DATABASE_URL", postgres.url("shop"));
    let (running, url) = Running::start(command);
    assert_eq!(status_of(&format!("{url}/api/health/ready")).await, 200);
    postgres.run("shop", "DROP TABLE inventory").await;
    let request = reqwest::Client::new().get(format!("{url}/api/products"));
    let answer = request.header("x-request-id", "find-me").send().await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 500);
    let document: serde_json::Value = answer.json().await.expect("a document");
    let told = serde_json::json!({"code": "internal", "message": "something failed inside", "request_id": "find-me"});
    assert_eq!(document, told);
    let (code, log) = running.terminate();
    assert_eq!(code, Some(0), "{log}");
    let line = log.lines().find(|line| line.contains("find-me")).expect("a line");
    assert!(line.contains("ERROR") && line.contains("inventory"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_every_refused_request_is_in_the_log() {
    let postgres = Postgres::with_shop().await;
    let mut command = program(&["serve", "--daemon-wait", "0s"], postgres.dir());
    command.env("DATABASE_URL", postgres.url("shop"));
    let (running, url) = Running::start(command);
    for (method, path, status) in [
        ("GET", "/api/health/live", 200),
        ("GET", "/api/products/99?token=hidden", 404),
        ("GET", "/no-such-page", 404),
        ("POST", "/api/products", 405),
        ("GET", "/api/products?limit=hidden", 422),
    ] {
        let method = method.parse().expect("a method");
        let request = reqwest::Client::new().request(method, format!("{url}{path}"));
        let request = request.header("x-request-id", format!("id-{status}"));
        assert_eq!(
            request.send().await.expect("an answer").status(),
            status,
            "{path}"
        );
    }
    let (_, log) = running.terminate();
    for (id, parts) in [
        ("id-404", ["GET", "\"/api/products/99\"", "status=404"]),
        ("id-404", ["GET", "\"/no-such-page\"", "status=404"]),
        ("id-405", ["POST", "\"/api/products\"", "status=405"]),
        ("id-422", ["GET", "\"/api/products\"", "status=422"]),
    ] {
        let is_it = |line: &str| line.contains(id) && parts.iter().all(|part| line.contains(part));
        assert!(log.lines().any(is_it), "{id} {parts:?} not in {log}");
    }
    assert!(!log.contains("hidden") && !log.contains("id-200"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_daemon_the_environment_is_not_looked_at() {
    let postgres = Postgres::with_shop().await;
    let control = Control::start(&postgres.dir().join("l.sock"));
    control.publish(postgres.credential("shop"));
    let mut command = program(&["--port", "0"], postgres.dir());
    command.env("DATABASE_URL", "postgres://nobody:nothing@127.0.0.1:1/none");
    // Would reach into every connection, were it left standing.
    command.env("PGSSLMODE", "verify-full");
    let (running, url) = Running::start(command);
    assert_eq!(status_of(&format!("{url}/api/products/1")).await, 200);
    let (code, log) = running.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains(crate::postgres::JANE), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_brings_the_schema_and_ends() {
    let postgres = Postgres::with_shop().await;
    let migrate = || {
        program(&["migrate", "--daemon-wait", "0s"], postgres.dir())
            .env("DATABASE_URL", postgres.url("shop"))
            .output()
            .expect("runs")
    };
    for _ in 0..2 {
        let output = migrate();
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(postgres.count("shop", "SELECT count(*) FROM products").await, 13);
    }
    let output = program(&["migrate", "--daemon-wait", "0s"], postgres.dir())
        .env("DATABASE_URL", postgres.url("absent"))
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("database \"absent\" does not exist"), "{said}");
    assert!(!said.contains(crate::postgres::JANE), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_runs_what_is_in_a_directory_beside_what_was_built_in() {
    let postgres = Postgres::with_shop().await;
    let migrate = |directory: &str| {
        program(
            &["migrate", "--daemon-wait", "0s", "--source", directory],
            postgres.dir(),
        )
        .env("DATABASE_URL", postgres.url("shop"))
        .output()
        .expect("runs")
    };
    let here = postgres.dir().join("migrations");
    for wrong in ["migrations", "."] {
        let output = migrate(wrong);
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(
            said.contains(&format!("cannot read migrations in `{wrong}`")),
            "{said}"
        );
        std::fs::create_dir_all(&here).expect("a directory");
    }
    let reviews = "CREATE TABLE reviews (product_id bigint REFERENCES products (id), stars smallint)";
    std::fs::write(here.join("0003_reviews.up.sql"), reviews).expect("written");
    std::fs::write(here.join("0003_reviews.down.sql"), "DROP TABLE reviews").expect("written");
    // It needs the table of the two before it.
    assert_eq!(migrate("migrations").status.code(), Some(1));
    let built_in = program(&["migrate", "--daemon-wait", "0s"], postgres.dir())
        .env("DATABASE_URL", postgres.url("shop"))
        .output()
        .expect("runs");
    assert!(built_in.status.success(), "{}", stderr(&built_in));
    for _ in 0..2 {
        let output = migrate("migrations");
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let known = "SELECT count(*) FROM _sqlx_migrations WHERE success";
    assert_eq!(postgres.count("shop", known).await, 3);
    assert_eq!(postgres.count("shop", "SELECT count(*) FROM reviews").await, 0);
}

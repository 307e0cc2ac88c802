//! What the daemon counts, as text for Prometheus: written to a file every so often, from where the textfile collector of
//! `node_exporter` takes it. No port is opened for it, and nothing in it is secret.

use crate::board::{Board, Repositories};
use crate::clock;
use crate::convert;
use daemon_core::Timestamp;
use lakebase_proto::v1::WorktreeState;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) static PASSES: Counter = Counter::new();
pub(crate) static FAILED_PASSES: Counter = Counter::new();
pub(crate) static MINTS: Counter = Counter::new();
pub(crate) static FAILED_MINTS: Counter = Counter::new();
pub(crate) static REFUSED_USER: Counter = Counter::new();
pub(crate) static REFUSED_SILENT: Counter = Counter::new();
pub(crate) static REFUSED_EXHAUSTED: Counter = Counter::new();
pub(crate) static REFUSED_CALLS: Counter = Counter::new();
pub(crate) static FAILED_CHECKS: Counter = Counter::new();
pub(crate) static CONNECTIONS: Gauge = Gauge(Counter::new());
pub(crate) static STREAMS: Gauge = Gauge(Counter::new());

/// Counts what happens.
#[derive(Debug)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts what is open.
#[derive(Debug)]
pub(crate) struct Gauge(Counter);

/// Something that is open for as long as this lives.
#[derive(Debug)]
pub(crate) struct Open(&'static Gauge);

impl Gauge {
    pub(crate) fn open(&'static self) -> Open {
        self.0.count();
        Open(self)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where the file is, and how often it is written.
#[derive(Debug, Clone)]
pub struct MetricsFile {
    /// Its path.
    pub path: PathBuf,
    /// The time between two of its states.
    pub period: Duration,
}

/// Writes the file until it is dropped.
pub(crate) async fn keep(file: MetricsFile, board: Arc<Board>, started_at: Timestamp) {
    loop {
        let text = render(&board.repositories(), started_at);
        let path = file.path.clone();
        match crate::reconcile::blocking(move || write(&path, &text)).await {
            Ok(()) => {}
            Err(error) => tracing::warn!(file = %file.path.display(), %error, "cannot write the metrics"),
        }
        tokio::time::sleep(file.period).await;
    }
}

/// Whole or not at all: the collector may read at any time, and as another user.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".metrics-").tempfile_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}

fn render(repositories: &Repositories, started_at: Timestamp) -> String {
    let mut text = Text::default();
    let up = (clock::now() - started_at).num_seconds().max(0);
    text.metric("uptime_seconds", "gauge", "Seconds since the daemon began.");
    text.value("uptime_seconds", "", up.unsigned_abs());
    text.metric("repositories", "gauge", "Registered repositories.");
    text.value(
        "repositories",
        "",
        u64::try_from(repositories.len()).unwrap_or(u64::MAX),
    );
    text.metric("worktrees", "gauge", "Worktrees by the state of their branch.");
    for (state, count) in states(repositories) {
        text.value("worktrees", &format!("{{state=\"{state}\"}}"), count);
    }
    for (name, counter, help) in [
        ("passes_total", &PASSES, "Looks at a repository."),
        ("passes_failed_total", &FAILED_PASSES, "Looks that failed."),
        ("mints_total", &MINTS, "Credentials minted."),
        (
            "mints_failed_total",
            &FAILED_MINTS,
            "Credentials that could not be minted.",
        ),
        (
            "calls_refused_total",
            &REFUSED_CALLS,
            "Calls without what every call must carry.",
        ),
        (
            "self_checks_failed_total",
            &FAILED_CHECKS,
            "Times that the daemon did not answer itself.",
        ),
    ] {
        text.metric(name, "counter", help);
        text.value(name, "", counter.value());
    }
    text.metric(
        "connections_refused_total",
        "counter",
        "Connections hung up on, by reason.",
    );
    for (reason, counter) in [
        ("user", &REFUSED_USER),
        ("silent", &REFUSED_SILENT),
        ("exhausted", &REFUSED_EXHAUSTED),
    ] {
        let labels = format!("{{reason=\"{reason}\"}}");
        text.value("connections_refused_total", &labels, counter.value());
    }
    for (name, gauge, help) in [
        ("connections_open", &CONNECTIONS, "Clients that are connected."),
        ("streams_open", &STREAMS, "Calls that follow something."),
    ] {
        text.metric(name, "gauge", help);
        text.value(name, "", gauge.0.value());
    }
    text.0
}

fn states(repositories: &Repositories) -> [(&'static str, u64); 5] {
    let mut states = [
        (WorktreeState::Pending, "pending", 0),
        (WorktreeState::Creating, "creating", 0),
        (WorktreeState::Ready, "ready", 0),
        (WorktreeState::Failing, "failing", 0),
        (WorktreeState::Blocked, "blocked", 0),
    ];
    for worktree in repositories.values().flat_map(|view| view.worktrees.iter()) {
        let state = convert::state(worktree);
        for (_, _, count) in states.iter_mut().filter(|(of, ..)| *of == state) {
            *count += 1;
        }
    }
    states.map(|(_, name, count)| (name, count))
}

/// Lines in Prometheus' form.
#[derive(Default)]
struct Text(String);

impl Text {
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        let lines = writeln!(
            self.0,
            "# HELP lakebased_{name} {help}\n# TYPE lakebased_{name} {kind}"
        );
        lines.expect("text takes text");
    }

    fn value(&mut self, name: &str, labels: &str, value: u64) {
        writeln!(self.0, "lakebased_{name}{labels} {value}").expect("text takes text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_type_and_the_file_is_whole() {
        let text = render(&Repositories::default(), clock::now());
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().expect("a name");
            assert!(text.contains(&format!("# TYPE {name} ")), "{line}");
        }
        let dir = tempfile::tempdir().expect("a temp dir");
        let path = dir.path().join("metrics.prom");
        write(&path, "old, and longer than the next").expect("written");
        write(&path, "new").expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "new");
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1);
    }

    #[test]
    fn what_is_open_is_counted_until_it_ends() {
        static GAUGE: Gauge = Gauge(Counter::new());
        let open = GAUGE.open();
        assert_eq!(GAUGE.0.value(), 1);
        drop(open);
        assert_eq!(GAUGE.0.value(), 0);
    }
}

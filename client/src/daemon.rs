//! Finds, starts and watches the daemon's process. Only `lakebase up` starts it.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

const BINARY: &str = "lakebased";
/// Variables that name a path. The daemon runs in `/`, so they are made absolute.
const PATHS: [&str; 4] = [
    "LAKEBASE_SOCKET",
    "LAKEBASE_STATE_DIR",
    "LAKEBASE_LOCAL_DIR",
    "LAKEBASE_PG_BINDIR",
];
/// How much of a log is shown.
const LINES: usize = 8;

/// The daemon's command.
pub(crate) fn command() -> Command {
    crate::here::program(BINARY)
}

/// A daemon that was just started, and what it says before it has a log.
#[derive(Debug)]
pub(crate) struct Started {
    child: Child,
    said: File,
}

/// Starts the daemon in the background, in a process group of its own, so that Ctrl-C is not for it.
///
/// # Errors
/// When it cannot be found or started.
pub(crate) fn start() -> io::Result<Started> {
    // A file without a name and not a pipe: a daemon that lives on must not fail when nobody reads any more.
    let said = tempfile::tempfile()?;
    let mut command = command();
    for name in PATHS {
        if let Some(path) = std::env::var_os(name).filter(|path| !path.is_empty()) {
            command.env(name, std::path::absolute(path)?);
        }
    }
    let child = command
        .current_dir("/")
        // Started within a development loop, it does not end with that.
        .env_remove("LAKEBASE_DEV")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone()?)
        .process_group(0)
        .spawn()?;
    Ok(Started { child, said })
}

impl Started {
    /// Returns its exit status, if it has exited. Success means that it found another daemon at work.
    pub(crate) fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Its last lines: what it wrote to standard error, else the log.
    pub(crate) fn last_words(&mut self) -> Vec<String> {
        let mut text = String::new();
        let read = self
            .said
            .rewind()
            .and_then(|()| self.said.read_to_string(&mut text));
        if read.is_err() || text.trim().is_empty() {
            text = log_dir()
                .and_then(|dir| newest_log(&dir))
                .and_then(|log| fs::read_to_string(log).ok())
                .unwrap_or_default();
        }
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines[lines.len().saturating_sub(LINES)..].to_vec()
    }
}

/// Where the daemon logs to.
pub(crate) fn log_dir() -> Option<PathBuf> {
    let var = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let state_home = || {
        let named = var("XDG_STATE_HOME").filter(|dir| dir.is_absolute());
        named.or_else(|| Some(var("HOME")?.join(".local/state")))
    };
    let state = var("LAKEBASE_STATE_DIR").or_else(|| Some(state_home()?.join("lakebase")));
    state.map(|state| state.join("log"))
}

/// The names hold the date, so the last in order is the newest.
fn newest_log(dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(dir).ok()?.filter_map(Result::ok);
    let logs = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(BINARY) && name.ends_with(".log")
    });
    logs.max()
}

/// Says whether the process is there. One that we may not ask about is there.
pub(crate) fn is_alive(pid: i32) -> bool {
    let pid = rustix::process::Pid::from_raw(pid);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_log_is_the_last_by_date() {
        let dir = tempfile::tempdir().expect("temp dir");
        for name in ["lakebased.2026-02-09.log", "lakebased.2026-10-01.log", "zzz.txt"] {
            File::create(dir.path().join(name)).expect("create");
        }
        let newest = newest_log(dir.path()).expect("a log");
        assert!(newest.ends_with("lakebased.2026-10-01.log"), "{newest:?}");
    }

    #[test]
    fn this_process_is_alive() {
        assert!(is_alive(std::process::id().cast_signed()));
        assert!(!is_alive(i32::MAX));
    }
}

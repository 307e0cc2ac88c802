//! A postmaster process: started, found again after we were gone, stopped. It stands in a process group of its own, so that
//! neither Ctrl-C nor our death takes it along.

use super::instance::Instance;
use super::sql::{self, Access};
use crate::postgres::RunAs;
use crate::storage::program;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use sqlx::PgConnection;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::sync::watch;

/// How long a start may take, recovery from a crash included.
const START_PATIENCE: Duration = Duration::from_mins(2);
/// How long the processes of a dead postmaster may linger; they hold its memory, and a new one refuses to start.
const LINGER: Duration = Duration::from_secs(10);
/// How long a stop may take before it is made a hard one.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// How often a socket or a process is looked at.
const POLL: Duration = Duration::from_millis(1);
/// How long a postmaster whose socket refuses may take to be seen dead, or to answer after all.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);
/// A log larger than this is begun anew at the next start.
const MAX_LOG: u64 = 4 * 1024 * 1024;
/// A log that grows larger than this under a running compute is emptied.
const MAX_RUNNING_LOG: u64 = 16 * 1024 * 1024;
/// How much of the end of a log goes into an error.
const LAST_WORDS: u64 = 2000;

/// A running postmaster.
#[derive(Clone, Debug)]
pub(crate) struct Postmaster {
    pid: Pid,
    end: End,
}

/// How its end is noticed.
#[derive(Clone, Debug)]
enum End {
    /// It is our child: becomes true when it has ended and was waited for.
    Child(watch::Receiver<bool>),
    /// It was started before we were: the process that uses this data directory is looked for.
    Adopted(PathBuf),
}

/// Outcome of our first login.
#[derive(Debug)]
pub(super) enum Answer {
    /// It lets us in.
    Session(PgConnection),
    /// It does not, for a reason that does not pass.
    Refused(sqlx::Error),
    /// It exits, or takes too long.
    Silence,
}

impl Postmaster {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// Its last words.
    pub(super) async fn start(instance: &Instance) -> Result<(Self, Answer), String> {
        let begun = Instant::now();
        loop {
            let postmaster = Self::spawn(instance)?;
            match postmaster.answer(&instance.access, START_PATIENCE).await {
                Answer::Silence => {}
                answer => return Ok((postmaster, answer)),
            }
            let words = last_words(&instance.log);
            let must_wait = words.contains("lock file \"postmaster.pid\" already exists")
                || words.contains("pre-existing shared memory block");
            if postmaster.is_alive() {
                postmaster.stop().await;
                return Err(format!("it did not answer within {START_PATIENCE:?}: {words}"));
            }
            if !must_wait || begun.elapsed() > LINGER {
                return Err(words);
            }
            tokio::time::sleep(POLL * 20).await;
        }
    }

    fn spawn(instance: &Instance) -> Result<Self, String> {
        let (run_as, pgdata) = (instance.layout.run_as(), &instance.pgdata);
        let log = open_log(&instance.log, run_as);
        let (out, err) = log.map_err(|error| format!("cannot open its log: {error}"))?;
        let mut child = program(&instance.postgres, "postgres", run_as)
            .arg("-D")
            .arg(pgdata)
            .current_dir(pgdata)
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .map_err(|error| error.to_string())?;
        let pid = child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
            .ok_or("it ended at once")?;
        let (end, ended) = watch::channel(false);
        // Waits for it, so that no zombie keeps its lock file alive. Ends with the process.
        tokio::spawn(async move {
            let status = child.wait().await;
            tracing::debug!(?status, "a postmaster ended");
            end.send_replace(true);
        });
        Ok(Self {
            pid,
            end: End::Child(ended),
        })
    }

    /// Finds the postmaster that uses a data directory, if one does.
    pub(super) fn find(pgdata: &Path) -> Option<Self> {
        let text = fs::read_to_string(pgdata.join("postmaster.pid")).ok()?;
        let mut lines = text.lines();
        // That of a process without a postmaster is negative.
        let pid: i32 = lines.next()?.trim().parse().ok().filter(|pid| *pid > 0)?;
        let pid = Pid::from_raw(pid)?;
        let is_its = lines.next()? == pgdata.to_str()?;
        let end = End::Adopted(pgdata.to_owned());
        (is_its && test_kill_process(pid).is_ok() && is_postgres(pid, pgdata)).then_some(Self { pid, end })
    }

    /// Says whether the process is there.
    pub(super) fn is_alive(&self) -> bool {
        match &self.end {
            End::Child(ended) => !*ended.borrow(),
            End::Adopted(pgdata) => {
                test_kill_process(self.pid).is_ok() && is_still_postgres(self.pid, pgdata)
            }
        }
    }

    /// Says whether it takes connections. A socket that refuses belongs to one that is just dying.
    pub(super) async fn answers(&self, socket: &Path) -> bool {
        let deadline = Instant::now() + REFUSAL_PATIENCE;
        while self.is_alive() && Instant::now() < deadline {
            if UnixStream::connect(socket).await.is_ok() {
                return true;
            }
            tokio::time::sleep(POLL).await;
        }
        false
    }

    /// Waits until it answers our login, or ends.
    pub(super) async fn answer(&self, access: &Access, patience: Duration) -> Answer {
        let deadline = Instant::now() + patience;
        let socket = access.socket();
        while self.is_alive() && Instant::now() < deadline {
            let login = async {
                UnixStream::connect(&socket).await?;
                sql::try_open(access).await
            };
            // One that accepts and then says nothing must not outlast our patience.
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, login).await {
                Ok(Ok(session)) => return Answer::Session(session),
                Ok(Err(error)) if sql::is_final(&error) => return Answer::Refused(error),
                Ok(Err(_)) | Err(_) => tokio::time::sleep(POLL).await,
            }
        }
        Answer::Silence
    }

    /// Makes it read its login rules again.
    pub(super) fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Stops it: sessions are ended, a checkpoint is written; after a while without it.
    pub(super) async fn stop(&self) {
        self.signal(Signal::INT);
        if tokio::time::timeout(STOP_PATIENCE, self.gone()).await.is_ok() {
            return;
        }
        tracing::warn!(
            pid = self.pid.as_raw_nonzero(),
            "a compute does not stop; it is made to"
        );
        self.signal(Signal::QUIT);
        if tokio::time::timeout(STOP_PATIENCE, self.gone()).await.is_err() {
            self.signal(Signal::KILL);
            drop(tokio::time::timeout(STOP_PATIENCE, self.gone()).await);
        }
    }

    fn signal(&self, signal: Signal) {
        if self.is_alive()
            && let Err(error) = kill_process(self.pid, signal)
        {
            // It may have ended this very moment.
            tracing::debug!(%error, ?signal, "cannot signal a postmaster");
        }
    }

    async fn gone(&self) {
        match &self.end {
            End::Child(ended) => drop(ended.clone().wait_for(|ended| *ended).await),
            End::Adopted(_) => {
                while self.is_alive() {
                    tokio::time::sleep(POLL * 5).await;
                }
            }
        }
    }
}

/// Process numbers are used again: the one in a stale lock file may be anybody's by now.
#[cfg(target_os = "linux")]
fn is_postgres(pid: Pid, pgdata: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let mut words = command.split(|byte| *byte == 0);
    let program = words.next().unwrap_or_default();
    program.ends_with(b"postgres") && words.any(|word| word == pgdata.as_os_str().as_bytes())
}

/// One that nobody waits for stays in the list of processes; it has no command line any more.
#[cfg(target_os = "linux")]
fn is_still_postgres(pid: Pid, pgdata: &Path) -> bool {
    is_postgres(pid, pgdata)
}

/// Elsewhere a look costs a process, and what has no parent is waited for by the system.
#[cfg(not(target_os = "linux"))]
fn is_still_postgres(_: Pid, _: &Path) -> bool {
    true
}

#[cfg(not(target_os = "linux"))]
fn is_postgres(pid: Pid, pgdata: &Path) -> bool {
    let mut command = std::process::Command::new("ps");
    let output = command
        .args(["-o", "args=", "-p", &pid.as_raw_nonzero().to_string()])
        .output();
    let args = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    args.contains("postgres") && pgdata.to_str().is_some_and(|pgdata| args.contains(pgdata))
}

fn open_log(log: &Path, run_as: RunAs) -> std::io::Result<(File, File)> {
    if fs::metadata(log).is_ok_and(|meta| meta.len() > MAX_LOG) {
        fs::rename(log, log.with_extension("log.old"))?;
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(log)?;
    run_as.own(log)?;
    Ok((file.try_clone()?, file))
}

/// Empties a log that grew too large under a running compute, which appends to it whatever its length.
pub(super) fn trim_log(log: &Path) {
    let trim = || OpenOptions::new().write(true).open(log)?.set_len(0);
    if fs::metadata(log).is_ok_and(|meta| meta.len() > MAX_RUNNING_LOG)
        && let Err(error) = trim()
    {
        tracing::warn!(log = %log.display(), %error, "cannot trim the log of a compute");
    }
}

/// The end of a log: its last fatal line, or whatever there is.
fn last_words(log: &Path) -> String {
    let read = || {
        let mut file = File::open(log)?;
        let start = file.metadata()?.len().saturating_sub(LAST_WORDS);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = vec![];
        file.read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let is_fatal = |line: &&str| line.contains("FATAL:") || line.contains("PANIC:");
    text.lines()
        .rfind(is_fatal)
        .or(text.lines().next_back())
        .unwrap_or("it said nothing")
        .to_owned()
}

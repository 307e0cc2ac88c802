//! The one process per worktree that has the others running: starts a task for each, answers commands, passes changes of
//! files on, and ends everything when it is told to or when the worktree is gone.

use crate::board::{Board, State, View, now_ms};
use crate::control::{MAX_REQUEST, Reply, Request};
use crate::file::{DevFile, Plan};
use crate::left::Run;
use crate::log::{Log, Voice};
use crate::place::Place;
use crate::process::{self, Common, Order};
use crate::watch::{Interest, Watch};
use crate::{command, ports, system};
use anyhow::Context;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

const LOOK: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(2);
/// Orders that wait for a process that is busy ending another.
const ORDERS: usize = 64;

/// Runs until it is told to stop.
///
/// # Errors
/// When it cannot begin; nothing runs then.
pub(crate) async fn run(place: &Place) -> anyhow::Result<()> {
    // Away from the terminal, so that neither its end nor Ctrl-C is for us. It fails where we lead a session already.
    rustix::process::setsid().ok();
    let Some(_lock) = place.supervisor_lock().context("cannot take the lock")? else {
        return Ok(());
    };
    let file = command::load(place)?;
    let names: Vec<&str> = file.with_ports().collect();
    let ports = ports::of(place, &names)?;
    let plans = file
        .plans(&ports)
        .map_err(|(name, message)| anyhow::anyhow!("process `{name}`: {message}"))?;
    let mut supervisor = Supervisor::open(place, &file, plans)?;
    let why = supervisor.serve().await;
    supervisor.end(why).await;
    Ok(())
}

/// Why it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Told,
    WorktreeGone,
}

struct Supervisor {
    place: Place,
    open: Option<usize>,
    names: Vec<String>,
    common: Common,
    orders: Vec<mpsc::Sender<Order>>,
    lives: JoinSet<()>,
    listener: UnixListener,
    /// Ends with the supervisor.
    watching: JoinSet<()>,
    problem: Option<String>,
    term: Signal,
    int: Signal,
}

impl Supervisor {
    fn open(place: &Place, file: &DevFile, plans: Vec<Plan>) -> anyhow::Result<Self> {
        let socket = place.socket();
        // The lock is ours, so nobody listens there.
        fs::remove_file(&socket).ok();
        let listener = UnixListener::bind(&socket)
            .with_context(|| format!("cannot listen at `{}`", socket.display()))?;
        let (term, int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let run = own_run(place);
        run.save(&place.run_file()).context("cannot record the run")?;
        let common = Common {
            root: place.root.clone(),
            board: Board::new(plans.iter().map(view).collect()),
            log: Log::open(&place.log()).context("cannot open the log")?,
            run: Arc::new(Mutex::new(run)),
            run_file: place.run_file(),
        };
        let (watch, problem) = watch(&place.root, &plans);
        let mut supervisor = Self {
            place: place.clone(),
            open: file.open,
            names: plans.iter().map(|plan| plan.name.clone()).collect(),
            common,
            orders: Vec::new(),
            lives: JoinSet::new(),
            listener,
            watching: JoinSet::new(),
            problem,
            term,
            int,
        };
        for (index, plan) in plans.into_iter().enumerate() {
            let (sender, receiver) = mpsc::channel(ORDERS);
            supervisor.orders.push(sender);
            supervisor
                .lives
                .spawn(process::live(index, plan, supervisor.common.clone(), receiver));
        }
        if let Some(watch) = watch {
            // A task of its own: a burst of changes must not be forgotten because a command asks something.
            supervisor
                .watching
                .spawn(pass_on(watch, supervisor.orders.clone()));
        }
        Ok(supervisor)
    }

    async fn serve(&mut self) -> Why {
        let identity = identity(&self.place.root);
        let mut look = interval(LOOK);
        loop {
            tokio::select! {
                connection = self.listener.accept() => if let Ok((stream, _)) = connection {
                    // Nobody else can reach the socket, so a slow one is our own.
                    if matches!(timeout(PATIENCE, self.answer(stream)).await, Ok(Ok(true))) {
                        return Why::Told;
                    }
                },
                _ = look.tick() => if identity.is_some() && crate::supervisor::identity(&self.place.root) != identity {
                    return Why::WorktreeGone;
                },
                _ = self.term.recv() => return Why::Told,
                _ = self.int.recv() => return Why::Told,
            }
        }
    }

    /// Answers one request; says whether it was to stop.
    async fn answer(&self, stream: UnixStream) -> io::Result<bool> {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        BufReader::new(read.take(MAX_REQUEST))
            .read_line(&mut line)
            .await?;
        let request: Request = serde_json::from_str(&line)?;
        let problem = match &request {
            Request::Restart(name) => match self.names.iter().position(|known| known == name) {
                Some(index) => {
                    self.common.board.change(index, |view| view.problem = None);
                    self.again(index, "restarted by a person");
                    None
                }
                None => Some(format!("there is no process `{name}`")),
            },
            Request::Status | Request::Stop => self.problem.clone(),
        };
        let processes = self.common.board.views();
        let reply = Reply {
            pid: std::process::id(),
            url: self.open.and_then(|index| processes.get(index)?.url.clone()),
            processes,
            problem,
        };
        let mut text = serde_json::to_vec(&reply)?;
        text.push(b'\n');
        write.write_all(&text).await?;
        Ok(request == Request::Stop)
    }

    fn again(&self, index: usize, why: &str) {
        if let Some(orders) = self.orders.get(index) {
            again(orders, why.to_owned());
        }
    }

    async fn end(&mut self, why: Why) {
        for orders in &self.orders {
            orders.send(Order::Stop).await.ok();
        }
        while self.lives.join_next().await.is_some() {}
        // What made itself a group of its own within our session.
        let run = self
            .common
            .run
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        run.end_groups().await;
        fs::remove_file(self.place.run_file()).ok();
        fs::remove_file(self.place.socket()).ok();
        match why {
            Why::Told => self.common.log.add("supervisor", Voice::Supervisor, "stopped"),
            Why::WorktreeGone => self.place.remove().unwrap_or_default(),
        }
    }
}

fn again(orders: &mpsc::Sender<Order>, why: String) {
    // With so many waiting, one more would change nothing.
    orders.try_send(Order::Again(why)).ok();
}

/// Tells each process of the changes that concern it.
async fn pass_on(mut watch: Watch, orders: Vec<mpsc::Sender<Order>>) {
    loop {
        for change in watch.changes().await {
            if let Some(orders) = orders.get(change.process) {
                again(orders, format!("changed: {}", change.path.display()));
            }
        }
    }
}

fn view(plan: &Plan) -> View {
    View {
        name: plan.name.clone(),
        state: State::Waiting,
        pid: None,
        port: plan.port,
        url: plan.url.clone(),
        restarts: 0,
        since_ms: now_ms(),
        problem: None,
        once: plan.once,
        times_ready: 0,
    }
}

fn own_run(place: &Place) -> Run {
    let pid = std::process::id().cast_signed();
    let started = system::process(pid)
        .map(|process| process.started)
        .unwrap_or_default();
    Run {
        supervisor: pid,
        mark: format!("{}:{pid}:{}", place.key, now_ms()),
        started,
        groups: Vec::new(),
    }
}

/// A worktree without watches is better than none.
fn watch(root: &Path, plans: &[Plan]) -> (Option<Watch>, Option<String>) {
    let interest = |(process, plan): (usize, &Plan)| Interest {
        process,
        paths: plan.watch.iter().map(|path| root.join(path)).collect(),
    };
    let interests: Vec<_> = plans
        .iter()
        .enumerate()
        .map(interest)
        .filter(|interest| !interest.paths.is_empty())
        .collect();
    if interests.is_empty() {
        return (None, None);
    }
    match Watch::begin(root, interests) {
        Ok(watch) => (Some(watch), None),
        Err(error) => (None, Some(format!("changes of files are not seen: {error:#}"))),
    }
}

/// Which directory it is, also when another takes its place under the same name.
fn identity(root: &Path) -> Option<(u64, u64)> {
    fs::metadata(root).ok().map(|dir| (dir.dev(), dir.ino()))
}

//! The one process per worktree that has the others running: starts a task for each, lets commands come to the desk, passes
//! changes of files on, and ends everything when it is told to or when the worktree, or its file, is gone.

use crate::board::{Board, State, View, now_ms};
use crate::desk::Desk;
use crate::file::{DevFile, Plan};
use crate::left::Run;
use crate::log::{Log, Voice};
use crate::place::{FILE, Place};
use crate::process::{self, Common, Order};
use crate::watch::{Interest, Watch};
use crate::{command, ports, system};
use anyhow::Context;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

const LOOK: Duration = Duration::from_millis(500);
/// How many looks must miss the file: who writes it anew may remove it first.
const MISSED: u32 = 4;
/// For one request of a command, which waits a little longer.
const PATIENCE: Duration = Duration::from_secs(4);
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
    let mut supervisor = Supervisor::open(place, file, plans)?;
    let why = supervisor.serve().await;
    supervisor.end(why).await;
    Ok(())
}

/// Why it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Told,
    /// Commands find a worktree by its file, so nobody could stop what runs.
    FileGone,
    WorktreeGone,
}

struct Supervisor {
    desk: Arc<Desk>,
    lives: JoinSet<()>,
    listener: UnixListener,
    /// Answers commands and watches files; each says whether it was told to stop. They end with the supervisor.
    tasks: JoinSet<bool>,
    term: Signal,
    int: Signal,
}

impl Supervisor {
    fn open(place: &Place, file: DevFile, plans: Vec<Plan>) -> anyhow::Result<Self> {
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
        let (mut lives, mut tasks) = (JoinSet::new(), JoinSet::new());
        let mut orders = Vec::new();
        for (index, plan) in plans.iter().enumerate() {
            let (sender, receiver) = mpsc::channel(ORDERS);
            orders.push(sender);
            lives.spawn(process::live(index, plan.clone(), common.clone(), receiver));
        }
        if let Some(watch) = watch {
            // A task of its own: a burst of changes must not be forgotten because a command asks something.
            tasks.spawn(pass_on(watch, orders.clone(), place.file()));
        }
        let desk = Desk {
            place: place.clone(),
            file,
            plans,
            common,
            orders,
            problem,
        };
        Ok(Self {
            desk: Arc::new(desk),
            lives,
            listener,
            tasks,
            term,
            int,
        })
    }

    async fn serve(&mut self) -> Why {
        let root = self.desk.place.root.clone();
        let identity = identity(&root);
        let mut look = interval(LOOK);
        let mut missed = 0;
        loop {
            tokio::select! {
                connection = self.listener.accept() => if let Ok((stream, _)) = connection {
                    let desk = Arc::clone(&self.desk);
                    // Nobody else can reach the socket, so a slow one is our own.
                    let answer = async move { timeout(PATIENCE, desk.answer(stream)).await };
                    self.tasks.spawn(async { matches!(answer.await, Ok(Ok(true))) });
                },
                ended = self.tasks.join_next(), if !self.tasks.is_empty() => if matches!(ended, Some(Ok(true))) {
                    return Why::Told;
                },
                _ = look.tick() => {
                    if identity.is_some() && crate::supervisor::identity(&root) != identity {
                        return Why::WorktreeGone;
                    }
                    missed = if self.desk.place.file().exists() { 0 } else { missed + 1 };
                    if missed >= MISSED {
                        return Why::FileGone;
                    }
                },
                _ = self.term.recv() => return Why::Told,
                _ = self.int.recv() => return Why::Told,
            }
        }
    }

    async fn end(&mut self, why: Why) {
        let Desk {
            place,
            common,
            orders,
            ..
        } = &*self.desk;
        for orders in orders {
            orders.send(Order::Stop).await.ok();
        }
        while self.lives.join_next().await.is_some() {}
        // What made itself a group of its own within our session.
        let run = common.run.lock().unwrap_or_else(PoisonError::into_inner).clone();
        run.end_groups().await;
        fs::remove_file(place.run_file()).ok();
        fs::remove_file(place.socket()).ok();
        match why {
            Why::Told => common.log.add("supervisor", Voice::Supervisor, "stopped"),
            Why::FileGone => {
                let text = format!("stopped, because `{FILE}` is gone");
                common.log.add("supervisor", Voice::Supervisor, &text);
            }
            Why::WorktreeGone => place.remove().unwrap_or_default(),
        }
    }
}

/// Tells each process of the changes that concern it. Not without the file: then the worktree is being removed, and what a
/// build made would be in the way.
async fn pass_on(mut watch: Watch, orders: Vec<mpsc::Sender<Order>>, file: PathBuf) -> bool {
    loop {
        let changes = watch.changes().await;
        for change in changes.into_iter().filter(|_| file.exists()) {
            if let Some(orders) = orders.get(change.process) {
                process::again(orders, format!("changed: {}", change.path.display()));
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
    let interests: Vec<_> = plans
        .iter()
        .enumerate()
        .filter(|(_, plan)| !plan.watch.is_empty())
        .map(|(process, plan)| Interest::new(process, root, &plan.watch))
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

//! The life of one process: build, run, probe, end, back off. One task for each.

use crate::board::{Board, State, View};
use crate::file::Plan;
use crate::left::{Group, MARK, Run};
use crate::log::{Log, Voice};
use crate::ready::{self, Answer};
use crate::system;
use std::collections::BTreeSet;
use std::future::{Future, pending};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// The first pause after it ended by itself; doubled each time.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// One that ran for so long begins anew with short pauses.
const STABLE: Duration = Duration::from_secs(20);
/// How long the last words of one that has ended are waited for. Somebody who left its group may hold the pipe.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// What a process is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Build and start it again, because of this.
    Again(String),
    Stop,
}

/// Gives the order to build and start it again.
pub(crate) fn again(orders: &mpsc::Sender<Order>, why: String) {
    // With so many waiting, one more would change nothing.
    orders.try_send(Order::Again(why)).ok();
}

/// What all processes of a supervisor share.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) root: PathBuf,
    pub(crate) board: Board,
    pub(crate) log: Log,
    /// What runs, kept on the disk at this path.
    pub(crate) run: Arc<Mutex<Run>>,
    pub(crate) run_file: PathBuf,
}

impl Common {
    fn note(&self, change: impl FnOnce(&mut Vec<Group>)) {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut run.groups);
        if let Err(error) = run.save(&self.run_file) {
            self.log.add(
                "supervisor",
                Voice::Supervisor,
                &format!("cannot record what runs: {error}"),
            );
        }
    }

    fn mark(&self) -> String {
        self.run
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .mark
            .clone()
    }
}

/// A command that runs, and its process group.
#[derive(Debug)]
struct Alive {
    child: Child,
    group: i32,
    since: Instant,
    /// What it writes, on its way into the log.
    words: JoinSet<()>,
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One process and what is going on with it.
struct Life {
    index: usize,
    plan: Plan,
    common: Common,
    child: Option<Alive>,
    build: Option<Alive>,
    probe: Option<Later<Answer>>,
    retry: Option<Later<()>>,
    failures: u32,
    /// How often those it comes after had become ready when it began.
    seen: u64,
}

/// Lives through a process until it is told to stop.
pub(crate) async fn live(index: usize, plan: Plan, common: Common, mut orders: mpsc::Receiver<Order>) {
    let board = common.board.clone();
    let after = plan.after.clone();
    let mut life = Life {
        index,
        plan,
        common,
        child: None,
        build: None,
        probe: None,
        retry: None,
        failures: 0,
        seen: 0,
    };
    let may_start = |views: &Vec<View>| {
        after
            .iter()
            .all(|other| views.get(*other).is_some_and(|view| view.state.has_come_up()))
    };
    loop {
        tokio::select! {
            () = board.until(may_start) => break,
            order = orders.recv() => if !matches!(order, Some(Order::Again(_))) { return life.stop().await },
        }
    }
    life.begin().await;
    loop {
        let seen = life.seen;
        let again = board.until(|views| life.plan.once && may_start(views) && times(views, &after) > seen);
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Again(why)) => match latest(why, &mut orders) {
                    Order::Again(why) => life.again(&why).await,
                    Order::Stop => return life.stop().await,
                },
                Some(Order::Stop) | None => return life.stop().await,
            },
            ended = end_of(&mut life.build) => life.built(ended).await,
            ended = end_of(&mut life.child) => life.ended(ended).await,
            answer = time_of(&mut life.probe) => life.is_ready(answer),
            () = time_of(&mut life.retry) => life.retry().await,
            () = again => life.again("what it comes after is new").await,
        }
    }
}

/// The orders that came while the process was busy are obeyed once.
fn latest(why: String, orders: &mut mpsc::Receiver<Order>) -> Order {
    let mut latest = Order::Again(why);
    while latest != Order::Stop {
        match orders.try_recv() {
            Ok(order) => latest = order,
            Err(_) => break,
        }
    }
    latest
}

fn times(views: &[View], of: &[usize]) -> u64 {
    of.iter()
        .filter_map(|index| views.get(*index))
        .map(|view| view.times_ready)
        .sum()
}

async fn end_of(alive: &mut Option<Alive>) -> io::Result<ExitStatus> {
    match alive {
        Some(alive) => alive.child.wait().await,
        None => pending().await,
    }
}

async fn time_of<T>(later: &mut Option<Later<T>>) -> T {
    match later {
        Some(later) => later.await,
        None => pending().await,
    }
}

impl Life {
    async fn again(&mut self, why: &str) {
        self.say(why);
        self.failures = 0;
        self.begin().await;
    }

    /// Builds, while the last good one goes on, or starts at once when there is nothing to build.
    async fn begin(&mut self) {
        self.seen = times(&self.common.board.views(), &self.plan.after);
        self.retry = None;
        self.show(|view| view.problem = None);
        self.finish_build().await;
        let Some(build) = self.plan.build.clone() else {
            return self.swap().await;
        };
        match self.spawn(&build, false) {
            Ok(alive) => {
                self.build = Some(alive);
                if self.child.is_none() {
                    self.state(State::Building);
                }
            }
            Err(error) => self.fail(format!("cannot run its build: {error}")),
        }
    }

    async fn built(&mut self, ended: io::Result<ExitStatus>) {
        self.finish_build().await;
        match ended {
            Ok(status) if status.success() => self.swap().await,
            Ok(status) => self.fail(format!("its build failed: {status}")),
            Err(error) => self.fail(format!("its build failed: {error}")),
        }
    }

    /// Ends the one that runs, and starts another.
    async fn swap(&mut self) {
        self.finish_child().await;
        let run = self.plan.run.clone();
        match self.spawn(&run, self.plan.database) {
            Ok(alive) => {
                let pid = alive.group;
                self.child = Some(alive);
                if !self.plan.once {
                    self.probe = Some(Box::pin(ready::answers(self.plan.probe.clone())));
                }
                self.show(|view| {
                    view.state = State::Starting;
                    view.pid = u32::try_from(pid).ok();
                });
            }
            Err(error) => self.pause(&format!("cannot run it: {error}")),
        }
    }

    fn is_ready(&mut self, answer: Answer) {
        self.probe = None;
        self.say("ready");
        let url = self.plan.url.clone().map(|url| match answer {
            Answer::AsNamed => url,
            Answer::OnIpv6 => url.replacen("://127.0.0.1:", "://[::1]:", 1),
        });
        self.show(|view| {
            view.state = State::Ready;
            view.url = url;
        });
    }

    async fn ended(&mut self, ended: io::Result<ExitStatus>) {
        let is_success = ended.as_ref().is_ok_and(ExitStatus::success);
        let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
        let ran = self
            .child
            .as_ref()
            .map(|alive| alive.since.elapsed())
            .unwrap_or_default();
        self.finish_child().await;
        self.show(|view| view.pid = None);
        match (self.plan.once, is_success) {
            (true, true) => self.state(State::Done),
            (true, false) => self.fail(format!("it failed: {how}")),
            (false, _) => {
                if ran >= STABLE {
                    self.failures = 0;
                }
                self.pause(&format!("it ended by itself: {how}"));
            }
        }
    }

    /// Starts it again, but not at once.
    fn pause(&mut self, why: &str) {
        let pause = PAUSE
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST_PAUSE);
        self.failures += 1;
        self.retry = Some(Box::pin(sleep(pause)));
        let problem = format!("{why}; started again {} s later", pause.as_secs_f32());
        self.say(&problem);
        self.show(|view| {
            view.state = State::Crashed;
            view.problem = Some(problem);
        });
    }

    async fn retry(&mut self) {
        self.retry = None;
        self.show(|view| view.restarts += 1);
        self.swap().await;
    }

    /// Waits for a change. If an earlier one runs, it goes on.
    fn fail(&mut self, problem: String) {
        self.say(&problem);
        let state = if self.child.is_none() {
            Some(State::Failed)
        } else {
            None
        };
        self.show(|view| {
            view.state = state.unwrap_or(view.state);
            view.problem = Some(problem);
        });
    }

    async fn stop(&mut self) {
        self.finish_build().await;
        self.finish_child().await;
        self.show(|view| view.pid = None);
        self.state(State::Stopped);
    }

    async fn finish_child(&mut self) {
        self.probe = None;
        let child = self.child.take();
        self.finish(child).await;
    }

    async fn finish_build(&mut self) {
        let build = self.build.take();
        self.finish(build).await;
    }

    /// Ends what is left of a group, also when its leader has ended by itself.
    async fn finish(&mut self, alive: Option<Alive>) {
        let Some(mut alive) = alive else {
            return;
        };
        system::end(&BTreeSet::from([alive.group])).await;
        alive.child.wait().await.map(drop).ok();
        let words = async { while alive.words.join_next().await.is_some() {} };
        if timeout(LAST_WORDS, words).await.is_err() {
            alive.words.detach_all();
        }
        self.common
            .note(|groups| groups.retain(|group| group.leader != alive.group));
    }

    fn spawn(&self, text: &str, with_database: bool) -> io::Result<Alive> {
        let mut command = if with_database {
            with_database_variables()
        } else {
            Command::new("sh")
        };
        command.arg("-c").arg(text);
        let mut child = command
            .current_dir(self.common.root.join(&self.plan.dir))
            .envs(self.plan.env.iter().map(|(name, value)| (name, value)))
            .env(MARK, self.common.mark())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let group = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .unwrap_or_default();
        let started = system::process(group)
            .map(|process| process.started)
            .unwrap_or_default();
        self.common.note(|groups| {
            groups.push(Group {
                leader: group,
                started,
            });
        });
        let log = &self.common.log;
        let mut words = JoinSet::new();
        if let Some(pipe) = child.stdout.take() {
            words.spawn(log.clone().follow(self.plan.name.clone(), pipe));
        }
        if let Some(pipe) = child.stderr.take() {
            words.spawn(log.clone().follow(self.plan.name.clone(), pipe));
        }
        Ok(Alive {
            child,
            group,
            since: Instant::now(),
            words,
        })
    }

    fn say(&self, text: &str) {
        self.common.log.add(&self.plan.name, Voice::Supervisor, text);
    }

    fn state(&self, state: State) {
        self.show(|view| view.state = state);
    }

    fn show(&self, change: impl FnOnce(&mut View)) {
        self.common.board.change(self.index, change);
    }
}

/// `lakebase run` becomes the shell, with the variables that lead to the worktree's branch.
fn with_database_variables() -> Command {
    let beside = std::env::current_exe().and_then(|this| this.canonicalize());
    let beside = beside
        .map(|this| this.with_file_name("lakebase"))
        .ok()
        .filter(|path| path.is_file());
    let mut command = Command::new(beside.unwrap_or_else(|| "lakebase".into()));
    command.args(["run", "--", "sh"]);
    command
}

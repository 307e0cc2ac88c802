//! What the supervisor shows of its processes, and waits for in them.

use crate::clock;
use serde::{Deserialize, Serialize};
use std::time::UNIX_EPOCH;
use tokio::sync::watch;

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// For those named in `after`.
    Waiting,
    /// Its `build` runs, and no earlier one serves.
    Building,
    /// It runs and does not answer yet.
    Starting,
    Ready,
    /// It was ready, and did not answer when somebody asked for the status.
    Silent,
    /// A `once` that has ended well.
    Done,
    /// It ended by itself and is started again after a pause.
    Crashed,
    /// Its build, or a `once`, failed: waits for a change.
    Failed,
    Stopped,
}

impl State {
    pub(crate) fn is_good(self) -> bool {
        matches!(self, Self::Ready | Self::Done)
    }

    /// Whether those that come after it may start.
    pub(crate) fn has_come_up(self) -> bool {
        self.is_good() || self == Self::Silent
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Building => "building",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Silent => "silent",
            Self::Done => "done",
            Self::Crashed => "crashed",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// One process, as `lakebase dev status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct View {
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) pid: Option<u32>,
    pub(crate) port: Option<u16>,
    pub(crate) url: Option<String>,
    /// How often it was started again after it had ended by itself.
    pub(crate) restarts: u64,
    /// When it came into this state, in milliseconds since 1970.
    pub(crate) since_ms: u64,
    /// What is wrong, if something is.
    pub(crate) problem: Option<String>,
    pub(crate) once: bool,
    /// How often it has become ready, or done.
    pub(crate) times_ready: u64,
}

impl View {
    /// Notes whether the process of this pid, which was ready when it was asked, still answers.
    pub(crate) fn note_answer(&mut self, pid: Option<u32>, answers: bool) {
        match (self.state, answers) {
            _ if self.pid != pid => {}
            (State::Ready, false) => self.state = State::Silent,
            (State::Silent, true) => self.state = State::Ready,
            _ => {}
        }
    }
}

/// The processes, in the order of the file.
#[derive(Debug, Clone)]
pub(crate) struct Board(watch::Sender<Vec<View>>);

impl Board {
    pub(crate) fn new(views: Vec<View>) -> Self {
        Self(watch::Sender::new(views))
    }

    pub(crate) fn views(&self) -> Vec<View> {
        self.0.borrow().clone()
    }

    pub(crate) fn change(&self, index: usize, change: impl FnOnce(&mut View)) {
        self.0.send_modify(|views| {
            if let Some(view) = views.get_mut(index) {
                let before = view.state;
                change(view);
                if view.state != before {
                    view.since_ms = now_ms();
                    // One that answers again is no new one.
                    let is_new = view.state.is_good() && before != State::Silent;
                    view.times_ready += u64::from(is_new);
                }
            }
        });
    }

    /// Waits until the condition holds.
    pub(crate) async fn until(&self, holds: impl FnMut(&Vec<View>) -> bool) {
        // The sender is in `self`, so it is not gone.
        self.0.subscribe().wait_for(holds).await.map(drop).ok();
    }
}

pub(crate) fn now_ms() -> u64 {
    let since = clock::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

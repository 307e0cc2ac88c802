//! Where commands come to: each says what it wants, and is told how everything is. Two at once do not wait for each other.

use crate::board::State;
use crate::command;
use crate::control::{MAX_REQUEST, Reply, Request};
use crate::file::{DevFile, Plan};
use crate::place::{FILE, Place};
use crate::process::{self, Common, Order};
use crate::ready::{self, Probe};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long a process that was ready has to answer when somebody asks for the status.
const HEARING: Duration = Duration::from_secs(2);

/// What a supervisor can tell, and whom it can give orders.
pub(crate) struct Desk {
    pub(crate) place: Place,
    /// As it was when all of this was started.
    pub(crate) file: DevFile,
    pub(crate) plans: Vec<Plan>,
    pub(crate) common: Common,
    pub(crate) orders: Vec<mpsc::Sender<Order>>,
    /// What is wrong with watching files.
    pub(crate) problem: Option<String>,
}

impl Desk {
    /// Answers one request; says whether it was to stop.
    pub(crate) async fn answer(&self, stream: UnixStream) -> io::Result<bool> {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        BufReader::new(read.take(MAX_REQUEST))
            .read_line(&mut line)
            .await?;
        let request: Request = serde_json::from_str(&line)?;
        let refused = match &request {
            Request::Restart(name) => self.restart(name),
            Request::Look => {
                self.look().await;
                None
            }
            Request::Status | Request::Stop => None,
        };
        let processes = self.common.board.views();
        let reply = Reply {
            pid: std::process::id(),
            url: self.file.open.and_then(|index| processes.get(index)?.url.clone()),
            processes,
            refused,
            problems: self.problems(),
        };
        let mut text = serde_json::to_vec(&reply)?;
        text.push(b'\n');
        write.write_all(&text).await?;
        Ok(request == Request::Stop)
    }

    /// Restarts a process, or says why not.
    fn restart(&self, name: &str) -> Option<String> {
        let Some(index) = self.plans.iter().position(|plan| plan.name == name) else {
            return Some(format!("there is no process `{name}`"));
        };
        self.common.board.change(index, |view| view.problem = None);
        if let Some(orders) = self.orders.get(index) {
            process::again(orders, "restarted by a person".to_owned());
        }
        None
    }

    /// Asks those that were ready whether they still answer.
    async fn look(&self) {
        let mut asked = JoinSet::new();
        for (index, (view, plan)) in self.common.board.views().iter().zip(&self.plans).enumerate() {
            let was_ready = matches!(view.state, State::Ready | State::Silent);
            if was_ready && plan.probe != Probe::Nothing {
                let (pid, probe) = (view.pid, plan.probe.clone());
                asked.spawn(async move { (index, pid, ready::ask(&probe, HEARING).await.is_some()) });
            }
        }
        while let Some(Ok((index, pid, answers))) = asked.join_next().await {
            self.common
                .board
                .change(index, |view| view.note_answer(pid, answers));
        }
    }

    /// What is wrong with the file, or with watching files.
    fn problems(&self) -> Vec<String> {
        let missing = self.plans.iter().flat_map(|plan| {
            let missing = plan
                .watch
                .iter()
                .filter(|path| !self.place.root.join(path).exists());
            missing.map(|path| format!("process `{}` watches `{path}`, which is not there", plan.name))
        });
        self.change_of_file()
            .into_iter()
            .chain(self.problem.clone())
            .chain(missing)
            .collect()
    }

    /// Whether the file is another one than what runs.
    fn change_of_file(&self) -> Option<String> {
        match command::load(&self.place) {
            Ok(file) if file.runs_the_same(&self.file) => None,
            Ok(_) => Some(format!(
                "`{FILE}` has changed, and what runs is as it was: `lakebase dev restart` follows it"
            )),
            Err(error) => Some(format!("{error:#}")),
        }
    }
}

//! What the daemon costs, each figure beside something bare that is measured in the same session. Run it with
//! `scripts/bench daemon`.

#![expect(clippy::print_stdout, reason = "the figures are its answer")]

mod calls;
mod echo;
#[path = "../local/figures.rs"]
mod figures;
mod rig;
mod service;

use anyhow::Context;
use clap::Parser;
use figures::{Budget, Figure, Floor};
use rig::Rig;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Measures looks, calls, memory and starts.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
struct Args {
    /// Only show that it works: few worktrees and repetitions
    #[arg(long)]
    quick: bool,
    /// How many worktrees the repository has; more than one number with commas
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000])]
    worktrees: Vec<usize>,
    /// How often each thing is measured
    #[arg(long, default_value_t = 9)]
    count: usize,
    /// Keep a `.env` in every worktree
    #[arg(long)]
    env_files: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Serve the bare echo
    #[arg(long, hide = true, value_name = "SOCKET")]
    echo: Option<PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = Args::parse();
    if let Some(socket) = &args.echo {
        return echo::serve(socket).await;
    }
    if args.quick {
        (args.worktrees, args.count) = (vec![50, 200], 3);
    }
    if !args.json {
        println!("{}", Figure::heading());
    }
    let mut all = vec![];
    for (n, count) in args.worktrees.iter().enumerate() {
        eprintln!("# {count} worktrees");
        let mut bench = Bench {
            rig: Rig::new(*count, args.env_files).await?,
            worktrees: *count,
            repeat: args.count,
            seconds: if args.quick { 1 } else { 5 },
        };
        show(
            &args,
            &mut all,
            vec![bench.pass().await?, bench.requests().await?],
        );
        // What it takes at rest, not right after a look.
        show(&args, &mut all, vec![bench.idle().await?, bench.memory()?]);
        if n == 0 {
            show(&args, &mut all, vec![bench.appears().await?]);
            let calls = bench.calls().await?;
            show(&args, &mut all, calls);
        }
        show(&args, &mut all, vec![bench.comes_back().await?]);
    }
    if args.json {
        let figures: Vec<_> = all.iter().map(Figure::json).collect();
        println!("{}", serde_json::json!({"figures": figures}));
    }
    Ok(())
}

/// Prints what is new at once: the whole takes minutes.
fn show(args: &Args, all: &mut Vec<Figure>, new: Vec<Figure>) {
    for figure in new {
        if !args.json {
            println!("{}", figure.row());
        }
        all.push(figure);
    }
}

struct Bench {
    rig: Rig,
    worktrees: usize,
    repeat: usize,
    seconds: u64,
}

impl Bench {
    fn figure(&self, what: &str, unit: &'static str, ours: Vec<f64>) -> Figure {
        Figure {
            what: what.to_owned(),
            place: format!("{} wt", self.worktrees),
            unit,
            ours,
            floor: None,
            budget: None,
        }
    }

    /// A look that finds nothing to do, beside git's own list.
    async fn pass(&self) -> anyhow::Result<Figure> {
        let (mut ours, mut git) = (vec![], vec![]);
        for _ in 0..self.repeat {
            ours.push(ms(self.rig.reconcile().await?));
            let begun = Instant::now();
            self.rig.git(&["worktree", "list", "--porcelain"])?;
            git.push(ms(begun.elapsed()));
        }
        // Faster than git; of so many that git itself takes its time, in a second. Of few, the call itself and the request for
        // the list are most of it.
        let budget = match self.worktrees {
            0..1000 => None,
            1000 => Some(Budget::TimesFloor(1.0)),
            _ => Some(Budget::AtMost(1000.0)),
        };
        Ok(Figure {
            floor: Some(Floor {
                what: "git worktree list --porcelain",
                values: git,
            }),
            budget,
            ..self.figure("a look with nothing to do", "ms", ours)
        })
    }

    async fn requests(&self) -> anyhow::Result<Figure> {
        let mut ours = vec![];
        for _ in 0..self.repeat {
            let before = self.rig.service.asked();
            self.rig.reconcile().await?;
            let after = self.rig.service.asked();
            anyhow::ensure!(after.lists > before.lists, "a look asks for the list");
            ours.push(count(after.requests - before.requests));
        }
        Ok(Figure {
            budget: Some(Budget::AtMost(1.0)),
            ..self.figure("requests of such a look", "", ours)
        })
    }

    fn memory(&self) -> anyhow::Result<Figure> {
        let limit = if self.worktrees > 100 { 100.0 } else { 30.0 };
        let daemon = self.rig.daemon.as_ref();
        let resident = daemon.map_or(Ok(f64::NAN), rig::Process::resident)?;
        Ok(Figure {
            budget: Some(Budget::AtMost(limit)),
            ..self.figure("resident memory when idle", "MB", vec![resident])
        })
    }

    async fn idle(&self) -> anyhow::Result<Figure> {
        let Some(daemon) = &self.rig.daemon else {
            anyhow::bail!("it does not run");
        };
        let time = Duration::from_secs(self.seconds * 4);
        let before = daemon.busy()?;
        tokio::time::sleep(time).await;
        let busy = daemon.busy()?.saturating_sub(before);
        let percent = busy.as_secs_f64() / time.as_secs_f64() * 100.0;
        Ok(Figure {
            budget: Some(Budget::AtMost(0.5)),
            ..self.figure("processor time when idle", "%", vec![percent])
        })
    }

    /// From the beginning of `git worktree add` to the request for its branch, which may come before git ends.
    async fn appears(&self) -> anyhow::Result<Figure> {
        let (mut ours, mut git) = (vec![], vec![]);
        for n in 0..self.repeat {
            let name = format!("new{n}");
            let place = self.rig.main().with_file_name(&name);
            let begun = Instant::now();
            self.rig
                .git(&["worktree", "add", "-q", "--detach", &place.to_string_lossy()])?;
            let ended = Instant::now();
            let asked = loop {
                if let Some(at) = self.rig.service.asked_for(&name) {
                    break at;
                }
                anyhow::ensure!(ended.elapsed() < Duration::from_mins(1), "{name} gets no branch");
                tokio::time::sleep(Duration::from_millis(1)).await;
            };
            ours.push(ms(asked.saturating_duration_since(begun)));
            git.push(ms(ended - begun));
        }
        let limit = figures::median(&git) + 50.0;
        Ok(Figure {
            floor: Some(Floor {
                what: "git worktree add by itself",
                values: git,
            }),
            budget: Some(Budget::AtMost(limit.round())),
            ..self.figure("git worktree add to the request", "ms", ours)
        })
    }

    async fn calls(&self) -> anyhow::Result<Vec<Figure>> {
        let dir = tempfile::tempdir()?;
        let (echo, echo_socket) = rig::echo(dir.path()).await?;
        let (ours, path) = (self.rig.socket(), self.rig.worktree(0));
        let daemon = self.rig.daemon.as_ref().context("it does not run")?;
        let mut all = vec![];
        for in_flight in [1, 16] {
            let (mut daemons, mut bare) = (Storms::default(), Storms::default());
            for _ in 0..self.repeat.min(5) {
                self.storm(daemon, &ours, in_flight, &mut daemons).await?;
                self.storm(&echo, &echo_socket, in_flight, &mut bare).await?;
            }
            let beside = |what: &str, unit, ours, bare, budget| Figure {
                floor: Some(Floor {
                    what: "bare tonic unary echo",
                    values: bare,
                }),
                budget,
                ..self.figure(&format!("{what}, {in_flight} in flight"), unit, ours)
            };
            let (part, limit) = (Some(Budget::PartOfFloor(0.8)), Some(Budget::AtMost(5.0)));
            all.extend([
                beside("cached credential", "/s", daemons.rate, bare.rate, part),
                beside("the same, p99", "ms", daemons.slow, bare.slow, limit),
                beside("the same, processor time", "us", daemons.busy, bare.busy, None),
            ]);
        }
        all.push(self.crowd(&ours, &echo_socket, &path).await?);
        Ok(all)
    }

    async fn storm(
        &self,
        server: &rig::Process,
        socket: &Path,
        in_flight: usize,
        storms: &mut Storms,
    ) -> anyhow::Result<()> {
        let time = Duration::from_secs(self.seconds);
        let before = server.busy()?;
        let took = calls::storm(socket, &self.rig.worktree(0), in_flight, time).await?;
        let busy = server.busy()?.saturating_sub(before);
        storms.rate.push(count(took.len()) / time.as_secs_f64());
        storms.slow.push(ms(calls::p99(&took)));
        storms.busy.push(busy.as_secs_f64() * 1e6 / count(took.len()));
        Ok(())
    }

    async fn crowd(&self, ours: &Path, echo: &Path, path: &Path) -> anyhow::Result<Figure> {
        let (mut took, mut bare) = (vec![], vec![]);
        for _ in 0..self.repeat.min(5) {
            took.push(ms(calls::crowd(ours, path, 1000).await?));
            bare.push(ms(calls::crowd(echo, path, 1000).await?));
        }
        Ok(Figure {
            floor: Some(Floor {
                what: "bare tonic unary echo",
                values: bare,
            }),
            budget: Some(Budget::AtMost(500.0)),
            ..self.figure("1,000 clients at once", "ms", took)
        })
    }

    async fn comes_back(&mut self) -> anyhow::Result<Figure> {
        let mut took = vec![];
        for _ in 0..self.repeat.min(5) {
            // Killed with the value.
            drop(self.rig.daemon.take());
            took.push(ms(self.rig.start().await?));
        }
        Ok(Figure {
            budget: Some(Budget::AtMost(500.0)),
            ..self.figure("killed daemon serves again", "ms", took)
        })
    }
}

/// What storms of calls showed of a server.
#[derive(Default)]
struct Storms {
    /// Calls in a second.
    rate: Vec<f64>,
    /// What all but one in a hundred keep, in milliseconds.
    slow: Vec<f64>,
    /// What the server spent on processors for a call, in microseconds.
    busy: Vec<f64>,
}

fn count(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::INFINITY, f64::from)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

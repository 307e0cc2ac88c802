//! Clones are right: of a production under load, again and again, while the server is killed at any moment of it.
//!
//! Run by `cargo test` in short, and by `scripts/soak clones` for as long as one likes.

mod check;
mod lake;
mod load;
mod server;

use anyhow::{Context, ensure};
use check::Span;
use lake::Branch;
use load::{Load, open};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use server::{Server, postmaster};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// The first clones are not disturbed: they show how long one takes.
const CALM: usize = 2;

/// How much there is to do; set by the environment.
#[derive(Clone, Copy, Debug)]
struct Plan {
    count: usize,
    kills: usize,
    seed: u64,
    scale: u32,
}

impl Plan {
    fn from_env() -> anyhow::Result<Self> {
        let number = |name: &str, default: u64| match std::env::var(name) {
            Ok(text) => text.parse().with_context(|| format!("{name} is no number")),
            Err(_) => Ok(default),
        };
        let plan = Self {
            count: usize::try_from(number("LAKEBASE_SOAK_COUNT", 10)?)?,
            kills: usize::try_from(number("LAKEBASE_SOAK_KILLS", 3)?)?,
            seed: number("LAKEBASE_SOAK_SEED", rand::random_range(0..1_000_000))?,
            scale: u32::try_from(number("LAKEBASE_SOAK_SCALE", 1)?)?,
        };
        ensure!(
            plan.kills + CALM <= plan.count,
            "{} kills need at least {} clones",
            plan.kills,
            plan.kills + CALM
        );
        Ok(plan)
    }

    /// Says which clones are disturbed, and at which part of the time that a clone takes: spread over all of it, and a
    /// little more.
    fn kills(&self) -> BTreeMap<usize, f64> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut clones: Vec<usize> = (CALM..self.count).collect();
        clones.shuffle(&mut random);
        let count = u32::try_from(self.kills).unwrap_or(u32::MAX);
        let moments = (0..count).map(|n| 1.1 * (f64::from(n) + random.random::<f64>()) / f64::from(count));
        let moments: Vec<f64> = moments.collect();
        clones.into_iter().zip(moments).collect()
    }
}

/// What it came to.
#[derive(Debug, Default)]
struct Tally {
    clones: usize,
    kills: usize,
    /// Kills that the clone survived: it was there after the restart.
    survived: usize,
    /// From the request to the answer.
    took: Vec<Duration>,
    /// From the start of the server to its word that it is ready.
    back: Vec<Duration>,
}

struct Soak {
    server: Server,
    load: Load,
    production: PathBuf,
    tally: Tally,
}

#[tokio::test(flavor = "multi_thread")]
async fn clones_are_right_though_the_server_is_killed() -> anyhow::Result<()> {
    let plan = Plan::from_env()?;
    let begun = Instant::now();
    eprintln!("# {plan:?}");
    let mut soak = Soak::start(&plan).await?;
    let kills = plan.kills();
    for n in 0..plan.count {
        let id = format!("clone-{n}");
        let done = match kills.get(&n) {
            Some(moment) => soak.disturbed(&id, *moment).await,
            None => soak.calm(&id).await,
        };
        done.with_context(|| format!("{id} of {plan:?}\n{}", soak.server.last_words()))?;
    }
    let result = soak.end(&plan, begun).await?;
    eprintln!("# {result}");
    match std::env::var_os("LAKEBASE_SOAK_RESULT") {
        Some(file) => Ok(std::fs::write(file, format!("{result}\n"))?),
        None => Ok(()),
    }
}

impl Soak {
    async fn start(plan: &Plan) -> anyhow::Result<Self> {
        let program = Path::new(env!("CARGO_BIN_EXE_lakebased"));
        let server = Server::start(program, &std::env::temp_dir()).await?;
        let lake = server.lake();
        lake.create_project("shop").await?;
        let branches = lake.branches().await?;
        let production = lake.pgdata(&branches.first().context("there is no branch")?.uid);
        let load = Load::start(lake, production.clone(), plan.scale).await?;
        // Stays for all the time, and its compute must, too.
        lake.create_branch("neighbour").await?;
        check::goes_on(&load).await?;
        Ok(Self {
            server,
            load,
            production,
            tally: Tally::default(),
        })
    }

    /// Makes a clone, checks it, removes it.
    async fn calm(&mut self, id: &str) -> anyhow::Result<()> {
        let lake = self.server.lake();
        let least = self.load.numbers(|numbers| numbers.acknowledged);
        let begun = Instant::now();
        let uid = lake.create_branch(id).await?;
        let took = begun.elapsed();
        let checked = Instant::now();
        let most = self.load.numbers(|numbers| numbers.tried);
        let branch = Branch {
            id: id.to_owned(),
            uid,
        };
        check::clone(lake, &branch, Span { least, most }, &self.load).await?;
        lake.purge_branch(id).await?;
        check::tidy(&self.server).await?;
        eprintln!(
            "# {id}: right, made in {took:.0?}, checked in {:.1?}",
            checked.elapsed()
        );
        self.tally.took.push(took);
        self.tally.clones += 1;
        Ok(())
    }

    /// Kills the server while it makes a clone, starts it again, looks at everything, and makes the clone once more.
    async fn disturbed(&mut self, id: &str, moment: f64) -> anyhow::Result<()> {
        let neighbour = self.wake_neighbour().await?;
        let running = [postmaster(&self.production), postmaster(&neighbour)];
        let least = self.load.numbers(|numbers| numbers.acknowledged);
        let moment = median(&self.tally.took).mul_f64(moment);
        let (lake, name) = (self.server.lake().clone(), id.to_owned());
        let begun = Instant::now();
        let creating = tokio::spawn(async move { lake.create_branch(&name).await });
        tokio::time::sleep_until(begun + moment).await;
        self.server.kill().await?;
        let killed = begun.elapsed();
        let answer = creating.await?;
        let most = self.load.numbers(|numbers| numbers.tried);
        let back = self.server.start_again().await?;
        self.tally.kills += 1;
        self.tally.back.push(back);
        let now = [postmaster(&self.production), postmaster(&neighbour)];
        ensure!(
            running == now && now[1].is_some(),
            "computes were {running:?} and are {now:?}"
        );
        check::tidy(&self.server).await?;
        check::production(self.server.lake(), &self.load).await?;
        check::goes_on(&self.load).await?;
        let lake = self.server.lake();
        let made = lake.branches().await?.into_iter().find(|branch| branch.id == id);
        ensure!(
            answer.is_err() || made.is_some(),
            "the clone was promised, and is not there"
        );
        let fate = if made.is_some() {
            "it was there"
        } else {
            "it was not there"
        };
        eprintln!("# {id}: server killed after {killed:.0?}, back in {back:.0?}, {fate}");
        if let Some(branch) = made {
            self.tally.survived += 1;
            check::clone(lake, &branch, Span { least, most }, &self.load).await?;
            lake.purge_branch(id).await?;
        }
        self.calm(id).await
    }

    /// Makes sure that the branch that stays has a running compute; returns its data directory.
    async fn wake_neighbour(&self) -> anyhow::Result<PathBuf> {
        let lake = self.server.lake();
        let branches = lake.branches().await?;
        let neighbour = branches.iter().find(|branch| branch.id == "neighbour");
        let neighbour = neighbour.context("the neighbour is gone")?;
        drop(open(&lake.door("neighbour").await?).await?);
        Ok(lake.pgdata(&neighbour.uid))
    }

    /// Stops all and says what it came to.
    async fn end(mut self, plan: &Plan, begun: Instant) -> anyhow::Result<serde_json::Value> {
        let transfers = check::production(self.server.lake(), &self.load).await?;
        let numbers = self.load.numbers(Clone::clone);
        let busy = i64::try_from(plan.count)?;
        ensure!(
            transfers > 10 * busy && numbers.churned > plan.count as u64,
            "production was hardly used: {transfers} transfers, {} rounds of tables",
            numbers.churned
        );
        drop(self.load);
        let status = self.server.stop().await?;
        ensure!(status.success(), "the server ended with {status}");
        let left = self.server.processes()?;
        let left: Vec<_> = left
            .iter()
            .filter(|process| !process.args.contains("pgbench"))
            .collect();
        ensure!(left.is_empty(), "left running: {left:?}");
        Ok(serde_json::json!({
            "clones": self.tally.clones,
            "kills": self.tally.kills,
            "survived_kill": self.tally.survived,
            "wrong": 0,
            "transfers": transfers,
            "acknowledged_commits": numbers.acknowledged,
            "lost_commits": 0,
            "unclear_commits": numbers.unknown.len(),
            "clone_p50_ms": median(&self.tally.took).as_millis(),
            "clone_max_ms": self.tally.took.iter().max().map(Duration::as_millis),
            "back_p50_ms": median(&self.tally.back).as_millis(),
            "seconds": begun.elapsed().as_secs(),
            "seed": plan.seed,
            "scale": plan.scale,
        }))
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

//! Branches made and woken, beside a copy of the same files and a start of PostgreSQL on it.

use crate::bare::{Bare, Target};
use crate::figures::{Budget, Figure, Floor};
use crate::lake::{DATABASE, Door, USER};
use crate::place::{Kind, Place};
use crate::server::Server;
use anyhow::{Context, ensure};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Instant;

/// A server on one file system, with production filled.
pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) place: Place,
    pub(crate) production: PathBuf,
    pub(crate) bindir: PathBuf,
    label: String,
    count: usize,
}

/// Times of ours and of the bare steps, in milliseconds, in turns.
#[derive(Default)]
struct Turns {
    call: Vec<f64>,
    first_query: Vec<f64>,
    copy: Vec<f64>,
    copy_and_start: Vec<f64>,
}

/// pgbench in the background; it ends with the value.
struct Pgbench(Child);

impl Drop for Pgbench {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Bench {
    pub(crate) async fn new(
        program: &Path,
        place: Place,
        size: (&str, u32),
        count: usize,
    ) -> anyhow::Result<Self> {
        let server = Server::start(program, place.dir()).await?;
        let lake = server.lake();
        lake.create_project("shop").await?;
        let branches = lake.branches().await?;
        let production = lake.pgdata(&branches.first().context("there is no branch")?.uid);
        let bindir = crate::server::pg_program(&production, "postgres")?;
        let bench = Self {
            label: format!("{} {}", place.kind.name(), size.0),
            bindir: bindir.parent().context("it is in a directory")?.to_owned(),
            server,
            place,
            production,
            count,
        };
        let target = bench.target().await?;
        let scale = size.1.to_string();
        crate::place::run(&mut target.pgbench(&bench.bindir, &["-i", "-q", "-s", &scale]))?;
        Ok(bench)
    }

    /// Production through its endpoint.
    pub(crate) async fn target(&self) -> anyhow::Result<Target> {
        let Door { host, port, password } = self.server.lake().door("production").await?;
        let ssl = "require";
        Ok(Target {
            host,
            port,
            password,
            ssl,
        })
    }

    pub(crate) fn figure(&self, what: &str, unit: &'static str, ours: Vec<f64>) -> Figure {
        Figure {
            what: what.to_owned(),
            place: self.label.clone(),
            unit,
            ours,
            floor: None,
            budget: None,
        }
    }

    /// Puts all computes to sleep.
    pub(crate) async fn sleep(&mut self) -> anyhow::Result<()> {
        let status = self.server.stop().await?;
        ensure!(status.success(), "the server ended with {status}");
        self.server.start_again().await.map(drop)
    }

    fn still(&self) -> PathBuf {
        self.place.dir().join("still")
    }

    fn copied(&self) -> PathBuf {
        self.place.dir().join("copied")
    }

    /// Clones of a source that sleeps, waking, and clones of a source in use.
    pub(crate) async fn run(&mut self) -> anyhow::Result<Vec<Figure>> {
        self.sleep().await?;
        // The files as they are now, for the bare side of everything that follows.
        drop(Bare::copy(&self.production, &self.still(), &self.bindir)?);
        let mut figures = self.figures("source asleep", self.clones("asleep").await?, true);
        figures.push(self.wakes(false).await?);
        if Path::new("/proc/sys/vm/drop_caches").exists() && rustix::process::geteuid().is_root() {
            figures.push(self.wakes(true).await?);
        }
        let load = self.load().await?;
        let live = self.clones("live").await?;
        drop(load);
        figures.extend(self.figures("source in use", live, false));
        figures.push(self.comes_back().await?);
        Ok(figures)
    }

    async fn load(&self) -> anyhow::Result<Pgbench> {
        let mut command = self.target().await?.pgbench(
            &self.bindir,
            &["-n", "-c", "4", "-R", "300", "-M", "prepared", "-T", "86400"],
        );
        Ok(Pgbench(
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?,
        ))
    }

    async fn clones(&self, name: &str) -> anyhow::Result<Turns> {
        let mut turns = Turns::default();
        for n in 0..self.count {
            let (bare, copy) = Bare::copy(&self.still(), &self.copied(), &self.bindir)?;
            let (running, start) = bare.start(&[]).await?;
            running.stop()?;
            turns.copy.push(ms(copy));
            turns.copy_and_start.push(ms(copy + start));
            let id = format!("{name}-{n}");
            let lake = self.server.lake();
            let begun = Instant::now();
            lake.create_branch(&id).await?;
            turns.call.push(ms(begun.elapsed()));
            first_query(&lake.door(&id).await?).await?;
            turns.first_query.push(ms(begun.elapsed()));
            lake.purge_branch(&id).await?;
        }
        Ok(turns)
    }

    fn figures(&self, source: &str, turns: Turns, is_asleep: bool) -> Vec<Figure> {
        let budgets = match (self.place.kind, is_asleep) {
            (Kind::Disk, _) => [None, Some(Budget::TimesFloor(1.3))],
            (_, true) => [None, Some(Budget::AtMost(60.0))],
            (_, false) => [Some(Budget::AtMost(100.0)), Some(Budget::AtMost(150.0))],
        };
        let call = self.figure(&format!("clone, {source}: the API call"), "ms", turns.call);
        let whole = self.figure(
            &format!("clone, {source}: to the first answer"),
            "ms",
            turns.first_query,
        );
        let floors = if self.place.kind.shares_blocks() {
            ["cp --reflink", "cp --reflink + postgres"]
        } else {
            ["cp -a", "cp -a + postgres"]
        };
        let floors = floors.into_iter().zip([turns.copy, turns.copy_and_start]);
        let figures = [call, whole].into_iter().zip(floors).zip(budgets);
        let figures = figures.map(|((figure, (what, values)), budget)| Figure {
            floor: Some(Floor { what, values }),
            budget,
            ..figure
        });
        figures.collect()
    }

    /// From a connection to the answer of a compute that sleeps.
    async fn wakes(&mut self, is_cold: bool) -> anyhow::Result<Figure> {
        let (mut ours, mut bare) = (vec![], vec![]);
        for _ in 0..self.count {
            self.sleep().await?;
            let door = self.server.lake().door("production").await?;
            forget_files(is_cold)?;
            let begun = Instant::now();
            first_query(&door).await?;
            ours.push(ms(begun.elapsed()));
            let (copy, _) = Bare::copy(&self.still(), &self.copied(), &self.bindir)?;
            forget_files(is_cold)?;
            let (running, took) = copy.start(&[]).await?;
            running.stop()?;
            bare.push(ms(took));
        }
        let what = if is_cold {
            "wake, no file in memory"
        } else {
            "wake"
        };
        Ok(Figure {
            floor: Some(Floor {
                what: "postgres",
                values: bare,
            }),
            budget: Some(Budget::AtMost(if is_cold { 300.0 } else { 60.0 })),
            ..self.figure(what, "ms", ours)
        })
    }

    /// The server, killed and started again.
    async fn comes_back(&mut self) -> anyhow::Result<Figure> {
        let mut took = vec![];
        for _ in 0..self.count {
            self.server.kill().await?;
            took.push(ms(self.server.start_again().await?));
        }
        Ok(Figure {
            budget: Some(Budget::AtMost(500.0)),
            ..self.figure("killed server is back", "ms", took)
        })
    }
}

/// Drops the page cache; what is not written yet is written first.
fn forget_files(really: bool) -> anyhow::Result<()> {
    if really {
        rustix::fs::sync();
        std::fs::write("/proc/sys/vm/drop_caches", "3")?;
    }
    Ok(())
}

pub(crate) async fn first_query(door: &Door) -> anyhow::Result<()> {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&door.host)
        .port(door.port)
        .username(USER)
        .password(&door.password)
        .database(DATABASE)
        .ssl_mode(PgSslMode::Require)
        .disable_statement_logging();
    let mut session = options.connect().await?;
    sqlx::raw_sql("SELECT 1").execute(&mut session).await?;
    Ok(session.close().await?)
}

pub(crate) fn ms(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

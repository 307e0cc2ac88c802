//! What the store's HTTP costs: requests by `wrk` beside the same query through plain sqlx with as many connections, on the
//! same PostgreSQL, in turns. Run it with `scripts/bench store`.

#![expect(clippy::print_stdout, reason = "the figures are its answer")]

mod bare;
#[path = "../../../daemon/benches/local/figures.rs"]
#[expect(dead_code, reason = "shared with the benchmarks of the daemon")]
mod figures;
#[path = "../../tests/it/postgres.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod postgres;
mod wrk;

use anyhow::Context;
use bare::Bare;
use clap::Parser;
use figures::{Budget, Figure, Floor};
use postgres::Postgres;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Measures the product list and one product.
#[derive(Debug, Parser)]
struct Args {
    /// Only show that it works: short turns, and few
    #[arg(long)]
    quick: bool,
    /// How many turns each side has
    #[arg(long, default_value_t = 7)]
    count: usize,
    /// How many requests, or queries, are under way at a time
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is asked of the store, and how to recognise the query behind it.
const PAGES: [(&str, &str, &str); 2] = [
    ("product list", "/api/products", "LIMIT $2 OFFSET $3"),
    ("one product", "/api/products/6", "category_description"),
];
const PART: f64 = 0.8;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = Args::parse();
    let mut turn = Duration::from_secs(4);
    if args.quick {
        (args.count, turn) = (2, Duration::from_secs(1));
    }
    let postgres = Postgres::with_shop().await;
    let store = Store::start(&postgres.url("shop"))?;
    let load = wrk::Load {
        clients: args.clients,
        turn,
    };
    wait_until_ready(&store.url).await?;
    if !args.json {
        println!("{}", Figure::heading());
    }
    let mut all = vec![];
    for (what, path, mark) in PAGES {
        let url = format!("{}{path}", store.url);
        let bare = Bare::new(&postgres.url("shop"), mark, args.clients).await?;
        let bare_url = bare::serve(&bare).await?;
        let (mut ours, mut gzipped, mut floor, mut bare_http) = (vec![], vec![], vec![], vec![]);
        for _ in 0..args.count {
            floor.push(bare.rate(turn).await?);
            bare_http.push(load.rate(&bare_url, None).await?);
            ours.push(load.rate(&url, None).await?);
            gzipped.push(load.rate(&url, Some("gzip")).await?);
        }
        show(&args, &mut all, figure(what, ours, Some(&floor), Some(PART)));
        let behind = format!("{what}, bare axum");
        show(&args, &mut all, figure(&behind, bare_http, Some(&floor), None));
        show(
            &args,
            &mut all,
            figure(&format!("{what}, gzipped"), gzipped, Some(&floor), None),
        );
    }
    let version = format!("{}/api/version", store.url);
    let mut alone = vec![];
    for _ in 0..args.count {
        alone.push(load.rate(&version, None).await?);
    }
    show(
        &args,
        &mut all,
        figure("no query: the version", alone, None, None),
    );
    if args.json {
        let figures: Vec<_> = all.iter().map(Figure::json).collect();
        println!("{}", serde_json::json!({"figures": figures}));
    }
    Ok(())
}

fn figure(what: &str, ours: Vec<f64>, floor: Option<&[f64]>, part: Option<f64>) -> Figure {
    Figure {
        what: what.to_owned(),
        place: "http".to_owned(),
        unit: "/s",
        ours,
        floor: floor.map(|values| Floor {
            what: "the query through plain sqlx",
            values: values.to_vec(),
        }),
        budget: part.map(Budget::PartOfFloor),
    }
}

/// Prints what is new at once: the whole takes minutes.
fn show(args: &Args, all: &mut Vec<Figure>, figure: Figure) {
    if !args.json {
        println!("{}", figure.row());
    }
    all.push(figure);
}

/// The store as a process of its own, ended with the value.
struct Store {
    process: Child,
    url: String,
}

impl Store {
    fn start(database: &str) -> anyhow::Result<Self> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_store-app"))
            .args(["serve", "--daemon-wait", "0s"])
            .env("DATABASE_URL", database)
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the store")?;
        let stdout = process.stdout.take().context("it has an output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let url = line.trim_end().strip_prefix("listening on ");
        let url = url
            .with_context(|| format!("the store said {line:?}"))?
            .to_owned();
        Ok(Self { process, url })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

async fn wait_until_ready(url: &str) -> anyhow::Result<()> {
    let ready = async {
        while !reqwest::get(format!("{url}/api/health/ready"))
            .await?
            .status()
            .is_success()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(30), ready)
        .await
        .context("the store does not become ready")?
}

//! What branches cost on this machine, each figure beside what bounds it there, in turns. Run it with `scripts/bench local`.

#![expect(clippy::print_stdout, reason = "the figures are its answer")]

mod bare;
mod branches;
mod figures;
#[path = "../../tests/clones/lake.rs"]
mod lake;
mod place;
mod queries;
#[path = "../../tests/clones/server.rs"]
#[expect(dead_code, reason = "the bench needs less of it than the tests")]
mod server;

use branches::Bench;
use clap::{Parser, ValueEnum};
use figures::Figure;
use place::{Kind, Place};
use std::path::Path;

/// Measures clones, waking, queries and memory.
#[derive(Debug, Parser)]
struct Args {
    /// Only show that it works: 30 MB, on the disk, few repetitions
    #[arg(long)]
    quick: bool,
    /// How much data production has; may be given more than once
    #[arg(long, value_enum, default_values = ["30m", "1g"])]
    size: Vec<Size>,
    /// On which file systems [default: all that can be had]
    #[arg(long, value_enum)]
    on: Vec<Kind>,
    /// How often each thing is measured
    #[arg(long, default_value_t = 5)]
    count: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Size {
    #[value(name = "30m")]
    Small,
    #[value(name = "1g")]
    Medium,
    #[value(name = "5g")]
    Large,
}

impl Size {
    /// Its name, pgbench's scale, and megabytes.
    fn parts(self) -> (&'static str, u32, u64) {
        match self {
            Self::Small => ("30 MB", 2, 60),
            Self::Medium => ("1 GB", 65, 1100),
            Self::Large => ("5 GB", 335, 5400),
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = Args::parse();
    if args.quick {
        (args.size, args.count) = (vec![Size::Small], args.count.min(2));
    }
    if args.on.is_empty() {
        let all = [Kind::Disk, Kind::Xfs, Kind::Btrfs].into_iter();
        args.on = all
            .filter(|kind| !args.quick && kind.is_there() || *kind == Kind::Disk)
            .collect();
    }
    if !args.json {
        println!("{}", Figure::heading());
    }
    // Interrupted, it still ends what it started and unmounts what it mounted.
    let figures = tokio::select! {
        figures = measure(&args) => figures?,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
    };
    if args.json {
        let figures: Vec<_> = figures.iter().map(Figure::json).collect();
        println!("{}", serde_json::json!({"figures": figures}));
    }
    Ok(())
}

async fn measure(args: &Args) -> anyhow::Result<Vec<Figure>> {
    let mut all = vec![];
    for kind in &args.on {
        for (n, size) in args.size.iter().enumerate() {
            let (name, scale, megabytes) = size.parts();
            eprintln!("# {} with {name}", kind.name());
            let place = Place::new(*kind, megabytes)?;
            let program = Path::new(env!("CARGO_BIN_EXE_lakebased"));
            let mut bench = Bench::new(program, place, (name, scale), args.count).await?;
            show(args, &mut all, bench.run().await?);
            // These do not depend on how files are copied.
            if *kind == Kind::Disk && n == 0 {
                let seconds = if args.quick { 1 } else { 5 };
                show(
                    args,
                    &mut all,
                    queries::queries(&mut bench, args.count, seconds).await?,
                );
                let computes = if args.quick { 3 } else { 20 };
                show(args, &mut all, queries::memory(&mut bench, computes).await?);
            }
        }
    }
    Ok(all)
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

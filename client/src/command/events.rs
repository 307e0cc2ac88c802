//! `lakebase events`: what the daemon did, and with `--follow` what it does from now on.

use crate::connect::{Session, next_event};
use crate::here;
use crate::json;
use crate::terminal::{self, Cell, Output};
use crate::text::plain;
use lakebase_proto::v1::Event;
use owo_colors::Style;
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Go on and print what happens, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many past events
    #[arg(short = 'n', long, default_value_t = 20)]
    lines: u32,
    /// Every registered repository, not only the one here
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Serialize)]
struct Listing {
    events: Vec<json::Event>,
}

pub(crate) async fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    let mut session = Session::open().await?;
    let cwd = here::cwd()?;
    let path = (!args.all).then_some(cwd.as_path());
    // Before the list, so that nothing falls between the two.
    let following = if args.follow {
        Some(session.watch_events(path).await?)
    } else {
        None
    };
    let past = match args.lines {
        0 => vec![],
        lines => session.events(path, lines).await?,
    };
    let newest = past.last().map_or(0, |event| event.sequence);
    match following {
        None if output.is_json() => {
            let events = past.iter().map(json::Event::from).collect();
            terminal::print_json(&Listing { events })?;
        }
        None => print_all(&past)?,
        Some(mut stream) => {
            for event in &past {
                print_one(event, output)?;
            }
            while let Some(event) = next_event(&mut stream).await? {
                if event.sequence > newest {
                    print_one(&event, output)?;
                }
            }
        }
    }
    Ok(())
}

fn print_all(events: &[Event]) -> anyhow::Result<()> {
    if events.is_empty() {
        terminal::progress("nothing happened yet");
    }
    for line in terminal::columns(&events.iter().map(cells).collect::<Vec<_>>()) {
        terminal::print(line)?;
    }
    Ok(())
}

/// One event by itself: as a line, or as one line of JSON.
fn print_one(event: &Event, output: Output) -> anyhow::Result<()> {
    if output.is_json() {
        return Ok(terminal::print_json_line(&json::Event::from(event))?);
    }
    for line in terminal::columns(&[cells(event)]) {
        terminal::print(line)?;
    }
    Ok(())
}

fn cells(event: &Event) -> Vec<Cell> {
    // Seconds are enough for people.
    let time = event.time.as_ref().map(|time| {
        prost_types::Timestamp {
            seconds: time.seconds,
            nanos: 0,
        }
        .to_string()
    });
    vec![
        Cell::new(time.unwrap_or_default(), Style::new().dimmed()),
        Cell::new(plain(&event.branch_id), Style::new().bold()),
        plain(&event.action).into(),
        Cell::new(plain(&event.why), Style::new().dimmed()),
    ]
}

//! `lakebase trust`: confirms the changes in `lakebase.config` that do not apply before the user says so.

use crate::connect::Session;
use crate::failure::Failure;
use crate::here;
use crate::json;
use crate::terminal::{self, Cell, Output};
use crate::text::plain;
use lakebase_proto::v1::{ConfigurationChange, TrustConfigurationResponse};
use owo_colors::Style;
use serde::Serialize;
use std::path::Path;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only show what would be confirmed
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct Shown {
    confirmed: bool,
    changes: Vec<json::Change>,
}

pub(crate) async fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    let cwd = here::cwd()?;
    let mut session = Session::open().await?;
    let review = session.trust(&cwd, "").await?;
    if !output.is_json() {
        show(&review)?;
    }
    let is_change = review.is_first || !review.changes.is_empty();
    let confirms = is_change && !args.dry_run;
    if confirms {
        session.trust(&cwd, &review.proposal).await?;
        session.reconcile(Some(&cwd), true).await?;
    }
    if output.is_json() {
        let changes = review.changes.iter().map(json::Change::from);
        terminal::print_json(&Shown {
            confirmed: confirms,
            changes: changes.collect(),
        })?;
    } else if confirms {
        terminal::progress("confirmed for all worktrees of this repository");
    }
    Ok(())
}

/// Confirms the file of a repository that the user registers, and returns what that changes. A file that cannot be used changes
/// nothing; the daemon reports it.
pub(crate) async fn confirm(session: &mut Session, cwd: &Path) -> Result<Vec<ConfigurationChange>, Failure> {
    let review = match session.trust(cwd, "").await {
        Ok(review) => review,
        Err(failure) if failure.is_elsewhere() => return Ok(vec![]),
        Err(failure) => return Err(failure),
    };
    for line in terminal::columns(&rows(&review.changes)) {
        terminal::progress(&line);
    }
    session.trust(cwd, &review.proposal).await?;
    Ok(review.changes)
}

fn show(review: &TrustConfigurationResponse) -> anyhow::Result<()> {
    if review.changes.is_empty() {
        let text = if review.is_first {
            "no configuration was in force; the file's values are used"
        } else {
            "the file changes nothing"
        };
        terminal::progress(text);
    }
    for line in terminal::columns(&rows(&review.changes)) {
        terminal::print(line)?;
    }
    Ok(())
}

fn rows(changes: &[ConfigurationChange]) -> Vec<Vec<Cell>> {
    changes.iter().map(row).collect()
}

fn row(change: &ConfigurationChange) -> Vec<Cell> {
    let value = |value: &Option<String>| value.as_deref().map_or_else(|| "(not set)".into(), plain);
    vec![
        Cell::new(plain(&change.key), Style::new().bold()),
        value(&change.confirmed).into(),
        "->".to_owned().into(),
        value(&change.proposed).into(),
    ]
}

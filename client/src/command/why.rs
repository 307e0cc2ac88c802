//! `lakebase why`: tells step by step why this worktree is on its branch.

use crate::connect::Session;
use crate::here;
use crate::json;
use crate::terminal::{self, Output};
use crate::text::plain;
use lakebase_proto::v1::ExplainResponse;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Explained<'a> {
    worktree: Option<json::Worktree>,
    steps: &'a [String],
}

pub(crate) async fn run(output: Output) -> anyhow::Result<()> {
    let mut session = Session::open().await?;
    let ExplainResponse { worktree, steps } = session.explain(&here::cwd()?).await?;
    if output.is_json() {
        let worktree = worktree.as_ref().map(json::Worktree::from);
        return Ok(terminal::print_json(&Explained {
            worktree,
            steps: &steps,
        })?);
    }
    for (index, step) in steps.iter().enumerate() {
        terminal::print(format!("{:>2}. {}", index + 1, plain(step)))?;
    }
    Ok(())
}

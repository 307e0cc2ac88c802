//! `lakebase status`: the daemon, Local Lakebase, the repositories, and the branch of this worktree.

use crate::clock;
use crate::connect::Session;
use crate::here;
use crate::json;
use crate::terminal::{self, Cell, Output};
use crate::text::plain;
use crate::words;
use lakebase_proto::v1::{Branch, DaemonInfo, LocalLakebase, Problem, Repository, Worktree, worktree::Head};
use owo_colors::{OwoColorize, Style};
use prost_types::Timestamp;
use serde::Serialize;

/// Data directory of a Local Lakebase that root runs.
const ROOT_DATA: &str = "/var/lib/lakebase/local";

#[derive(Debug, Default, Serialize)]
struct Status {
    /// `null`: it is not running.
    daemon: Option<json::Daemon>,
    repositories: Vec<json::Repository>,
    /// The one that holds the working directory.
    worktree: Option<json::Worktree>,
}

pub(crate) async fn run(output: Output) -> anyhow::Result<()> {
    let mut session = match Session::open().await {
        Ok(session) => session,
        Err(failure) => {
            if output.is_json() && failure.is_not_running() {
                terminal::print_json(&Status::default())?;
            }
            return Err(failure.into());
        }
    };
    let repositories = session.repositories().await?;
    let cwd = here::cwd()?;
    let worktrees = match session.worktrees(Some(&cwd)).await {
        Err(failure) if failure.is_elsewhere() => Vec::new(),
        listed => listed?,
    };
    let here = here::worktree_of(&worktrees, &cwd);
    if output.is_json() {
        terminal::print_json(&Status {
            daemon: Some((&session.info).into()),
            repositories: repositories.iter().map(json::Repository::from).collect(),
            worktree: here.map(json::Worktree::from),
        })?;
        return Ok(session.check()?);
    }
    let now = clock::now();
    let mut blocks: Vec<_> = session.info.ledger_problem.iter().map(ledger).collect();
    blocks.push(daemon(&session.info, &now));
    blocks.extend(session.info.local.as_ref().map(local));
    blocks.push(titled("Repositories", registered(&repositories)));
    blocks.push(titled("This worktree", standing(here, &now)));
    show(&blocks)?;
    Ok(session.check()?)
}

fn ledger(problem: &Problem) -> Vec<String> {
    titled("Ledger", problems(std::slice::from_ref(problem)))
}

fn show(blocks: &[Vec<String>]) -> anyhow::Result<()> {
    for (index, block) in blocks.iter().enumerate() {
        if index > 0 {
            terminal::print("")?;
        }
        for line in block {
            terminal::print(line)?;
        }
    }
    Ok(())
}

fn titled(title: &str, lines: Vec<String>) -> Vec<String> {
    let lines = lines.into_iter().map(|line| format!("  {line}"));
    std::iter::once(title.bold().to_string()).chain(lines).collect()
}

/// Pairs of a name and a value, lined up.
fn facts(facts: &[(&str, String)]) -> Vec<String> {
    let cells = facts.iter().map(|(name, value)| {
        let name = Cell::new(*name, Style::new().dimmed());
        vec![name, plain(value).into()]
    });
    terminal::columns(&cells.collect::<Vec<_>>())
}

fn problems(problems: &[Problem]) -> Vec<String> {
    let style = Style::new().red();
    let lines = problems.iter().flat_map(words::problem);
    lines.map(|line| plain(&line).style(style).to_string()).collect()
}

fn daemon(info: &DaemonInfo, now: &Timestamp) -> Vec<String> {
    let since = info.start_time.as_ref().map(|at| words::relative(at, now));
    let mut lines = facts(&[
        ("version", info.version.clone()),
        ("pid", info.pid.to_string()),
        ("started", since.unwrap_or_else(|| "unknown".into())),
        ("socket", info.socket.clone()),
        ("state", info.state_dir.clone()),
    ]);
    lines.extend(problems(&info.problems));
    titled("Daemon", lines)
}

fn local(local: &LocalLakebase) -> Vec<String> {
    let postgres = match local.postgres_version.as_str() {
        "" => "not found".to_owned(),
        version => version.to_owned(),
    };
    let lines = facts(&[
        ("API", local.api_url.clone()),
        ("PostgreSQL", postgres),
        ("data", data(&local.data_dir)),
        (
            "configuration",
            format!(
                "DATABRICKS_CONFIG_FILE={} DATABRICKS_CONFIG_PROFILE={}",
                local.databricks_config_file,
                words::LOCAL_PROFILE
            ),
        ),
        ("certificate", local.ca_file.clone()),
    ]);
    titled("Local Lakebase", lines)
}

/// Root's data are not where the home directory lets expect them: PostgreSQL's user cannot enter that.
fn data(dir: &str) -> String {
    if dir == ROOT_DATA {
        format!("{dir} (that of root, whatever HOME is)")
    } else {
        dir.to_owned()
    }
}

fn registered(repositories: &[Repository]) -> Vec<String> {
    if repositories.is_empty() {
        return vec!["none; run `lakebase init` in one".into()];
    }
    repositories.iter().flat_map(repository).collect()
}

fn repository(repository: &Repository) -> Vec<String> {
    let place = match repository.main_worktree.as_str() {
        "" => &repository.common_dir,
        path => path,
    };
    let or_unknown = |text: &str| {
        if text.is_empty() {
            "unknown".to_owned()
        } else {
            plain(text)
        }
    };
    let about = format!(
        "  project {} on {}, forks from {}, watched by {}",
        or_unknown(&repository.project_id),
        or_unknown(&repository.service),
        or_unknown(&repository.source_branch),
        words::watch_mode(repository.watch_mode()),
    );
    let problems = problems(&repository.problems)
        .into_iter()
        .map(|line| format!("  {line}"));
    [plain(place), about].into_iter().chain(problems).collect()
}

fn standing(worktree: Option<&Worktree>, now: &Timestamp) -> Vec<String> {
    let Some(worktree) = worktree else {
        return vec!["none: this directory is in no registered repository".into()];
    };
    let head = match &worktree.head {
        Some(Head::GitBranch(name)) => format!("git branch {name}"),
        Some(Head::DetachedAt(commit)) => format!("detached at {}", commit.get(..10).unwrap_or(commit)),
        None => "unknown".to_owned(),
    };
    let mut rows = vec![
        ("path", worktree.path.clone()),
        ("HEAD", head),
        ("state", words::state(worktree.state()).to_owned()),
    ];
    if let Some(branch) = &worktree.branch {
        rows.extend(about_branch(branch, now));
    }
    // A problem below says the same, with what to do.
    if worktree
        .problem
        .as_ref()
        .is_none_or(|problem| problem.message != worktree.why)
    {
        rows.push(("why", worktree.why.clone()));
    }
    let mut lines = facts(&rows);
    lines.extend(problems(worktree.problem.as_slice()));
    lines
}

fn about_branch(branch: &Branch, now: &Timestamp) -> Vec<(&'static str, String)> {
    // A branch without a uid is one that is still to be made: all there is is its name.
    if branch.uid.is_empty() {
        return vec![("branch", format!("{} (not made yet)", branch.branch_id))];
    }
    vec![
        (
            "branch",
            format!("{} ({})", branch.branch_id, words::ownership(branch.ownership())),
        ),
        ("forked from", branch.source_branch.clone()),
        ("expires", words::expiry(branch.expire_time.as_ref(), now)),
        ("size", words::sizes(branch)),
    ]
}

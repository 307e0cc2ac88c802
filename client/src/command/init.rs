//! `lakebase init`: registers a repository, gives it a configuration and the hook, and shows its first branch come up. What
//! is there already stays, so it can be run again at any time.

use crate::command::hook::{self, Hook};
use crate::command::recover::{self, LeftBehind};
use crate::command::trust;
use crate::config_file;
use crate::connect::Session;
use crate::failure::{Exit, Failure};
use crate::here;
use crate::hook_file::{self, Outcome};
use crate::json;
use crate::terminal::{self, Cell, Output};
use crate::text::plain;
use crate::words;
use lakebase_proto::v1::{ConfigurationChange, Repository, Worktree, WorktreeState};
use owo_colors::Style;
use serde::Serialize;
use std::path::{Component, Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

/// How often the worktree is looked at while its branch is made.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The Lakebase project [default: named after the directory of the main worktree]
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// Do not install git's post-checkout hook; the daemon notices checkouts without it too, a moment later
    #[arg(long)]
    no_hook: bool,
    #[command(flatten)]
    ledger: Lost,
}

/// What becomes of a ledger that was lost.
#[derive(Debug, clap::Args)]
struct Lost {
    /// After the daemon's ledger was lost: take the branches of all registered repositories back, by their uids
    ///
    /// Shows what is found, and asks before anything is written.
    #[arg(long, conflicts_with_all = ["fresh", "project", "no_hook"])]
    recover: bool,
    /// After the daemon's ledger was lost: unregister all repositories and start over with this one; their branches stay
    ///
    /// Shows what is left behind, and asks before anything is written.
    #[arg(long)]
    fresh: bool,
    /// Do what `--recover` or `--fresh` shows without asking
    #[arg(long)]
    yes: bool,
}

/// What was done.
struct Done {
    repository: Repository,
    config: config_file::Outcome,
    changes: Vec<ConfigurationChange>,
    hook: Step,
    worktree: Option<Worktree>,
    left_behind: Option<LeftBehind>,
}

/// What became of the hook.
enum Step {
    NotWanted,
    /// Git looks for hooks outside of this repository's own directory.
    Elsewhere(PathBuf),
    Failed(anyhow::Error),
    Settled(PathBuf, Outcome),
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    repository: json::Repository,
    config_written: bool,
    changes: Vec<json::Change>,
    hook: Option<Hook>,
    worktree: Option<json::Worktree>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_behind: Option<&'a LeftBehind>,
}

pub(crate) async fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    args.project.as_deref().map_or(Ok(()), config_file::check_id)?;
    let Lost { recover, fresh, yes } = args.ledger;
    if yes && !recover && !fresh {
        return Err(Failure::new(Exit::Usage, "`--yes` goes with `--recover` or `--fresh`").into());
    }
    if recover {
        return recover::recover(yes, output).await;
    }
    let left_behind = if fresh {
        Some(recover::start_over(yes, output).await?)
    } else {
        None
    };
    let cwd = here::cwd()?;
    let mut session = Session::open().await?;
    let repository = session.register(&cwd).await?;
    let config = configuration(&mut session, &cwd, &repository, args.project.as_deref()).await?;
    let changes = trust::confirm(&mut session, &cwd).await?;
    let hook = if args.no_hook {
        Step::NotWanted
    } else {
        install(&repository)
    };
    let worktree = follow(&session, &cwd).await?;
    let now = session.repositories().await?;
    let done = Done {
        repository: now
            .into_iter()
            .find(|it| it.id == repository.id)
            .unwrap_or(repository),
        config,
        changes,
        hook,
        worktree,
        left_behind,
    };
    if output.is_json() {
        terminal::print_json(&shown(&done))?;
    } else {
        tell(&done)?;
    }
    verdict(&done)
}

/// Writes the configuration file, unless the repository has a configuration: in the file, in the commit of a bare repository, or one
/// that the user confirmed while the file was there.
async fn configuration(
    session: &mut Session,
    cwd: &Path,
    repository: &Repository,
    project: Option<&str>,
) -> anyhow::Result<config_file::Outcome> {
    let is_missing = Path::new(&repository.config_path).symlink_metadata().is_err();
    if project.is_none() && is_missing && session.trust(cwd, "").await.is_ok() {
        return Ok(config_file::Outcome::InForce);
    }
    config_file::ensure(repository, project)
}

/// Installs the hook in the repository's own directory. Anywhere else it would be in the way of other repositories, or of a
/// commit: that needs a word from the user, which is `lakebase hook install`.
fn install(repository: &Repository) -> Step {
    let place = hook_file::place(&repository.hooks_dir);
    if !is_within(
        Path::new(&repository.hooks_dir),
        Path::new(&repository.common_dir),
    ) {
        return Step::Elsewhere(place);
    }
    match hook::install_at(&place) {
        Ok(outcome) => Step::Settled(place, outcome),
        Err(error) => Step::Failed(error),
    }
}

/// Returns whether a directory is or will be in the git directory. `core.hooksPath` can hold `..`, and a part of it can be a
/// link: both lead to the directory of another repository.
fn is_within(dir: &Path, git_dir: &Path) -> bool {
    let goes_up = dir.components().any(|part| part == Component::ParentDir);
    let real = dir.ancestors().find_map(|dir| dir.canonicalize().ok());
    let git_dir = git_dir.canonicalize();
    !goes_up && matches!((real, git_dir), (Some(real), Ok(git_dir)) if real.starts_with(&git_dir))
}

/// Has the daemon look, tells how it goes, and returns this worktree when its branch is ready or there is nothing more to
/// wait for. A bare repository has no worktree here.
async fn follow(session: &Session, cwd: &Path) -> anyhow::Result<Option<Worktree>> {
    let mut looking = session.clone();
    let mut asking = session.clone();
    let mut look = pin!(looking.reconcile(Some(cwd), true));
    let mut last = String::new();
    loop {
        let looked = tokio::time::timeout(LOOK, &mut look).await;
        let worktrees = asking.worktrees(Some(cwd)).await?;
        let here = here::worktree_of(&worktrees, cwd);
        if let Some(line) = here.and_then(step).filter(|line| *line != last) {
            terminal::progress(&plain(&line));
            last = line;
        }
        let is_ready = here.is_some_and(|it| it.state() == WorktreeState::Ready);
        match looked {
            Ok(Err(failure)) => return Err(failure.into()),
            Ok(Ok(())) => return Ok(here.cloned()),
            Err(_) if is_ready => return Ok(here.cloned()),
            Err(_) => {}
        }
    }
}

/// The line about a branch on its way.
fn step(worktree: &Worktree) -> Option<String> {
    let name = worktree.branch.as_ref().map(|branch| branch.branch_id.as_str());
    match worktree.state() {
        WorktreeState::Creating => Some(format!("making branch {} ...", name.unwrap_or_default())),
        WorktreeState::Pending => Some("looking at the worktree ...".to_owned()),
        WorktreeState::Unspecified
        | WorktreeState::Ready
        | WorktreeState::Failing
        | WorktreeState::Blocked => None,
    }
}

fn shown(done: &Done) -> Shown<'_> {
    Shown {
        repository: (&done.repository).into(),
        config_written: done.config == config_file::Outcome::Written,
        changes: done.changes.iter().map(json::Change::from).collect(),
        hook: match &done.hook {
            Step::Settled(place, outcome) => Some(hook::shown(place, *outcome)),
            Step::NotWanted | Step::Elsewhere(_) | Step::Failed(_) => None,
        },
        worktree: done.worktree.as_ref().map(json::Worktree::from),
        left_behind: done.left_behind.as_ref(),
    }
}

fn tell(done: &Done) -> anyhow::Result<()> {
    let repository = &done.repository;
    let written = match done.config {
        config_file::Outcome::Written => "written",
        config_file::Outcome::Kept => "there already",
        config_file::Outcome::InForce => "no file; the configuration in force stays",
    };
    let mut rows = vec![
        fact("project", plain(&repository.project_id)),
        fact(
            "config",
            format!("{} ({written})", plain(&repository.config_path)),
        ),
        fact("hook", hook_line(&done.hook)),
    ];
    rows.extend(done.worktree.as_ref().map(branch_row));
    for line in terminal::columns(&rows) {
        terminal::print(line)?;
    }
    notes(done);
    Ok(())
}

fn fact(name: &str, value: String) -> Vec<Cell> {
    vec![Cell::new(name, Style::new().dimmed()), value.into()]
}

fn hook_line(hook: &Step) -> String {
    match hook {
        Step::NotWanted => "none".to_owned(),
        Step::Elsewhere(place) => format!("{} (not installed)", plain(&place.to_string_lossy())),
        Step::Failed(_) => "not installed".to_owned(),
        Step::Settled(place, outcome) => hook::told(place, *outcome),
    }
}

fn branch_row(worktree: &Worktree) -> Vec<Cell> {
    let state = worktree.state();
    let name = worktree.branch.as_ref().map(|branch| plain(&branch.branch_id));
    let text = format!("{} ({})", name.unwrap_or_else(|| "-".into()), words::state(state));
    vec![
        Cell::new("branch", Style::new().dimmed()),
        Cell::new(text, words::state_style(state)),
    ]
}

/// What is not as it should be, though the work is done.
fn notes(done: &Done) {
    match &done.hook {
        Step::Settled(_, Outcome::Foreign) => hook::advise(),
        Step::Elsewhere(_) => terminal::hint(
            "core.hooksPath leads out of this repository; `lakebase hook install` installs the hook there all the same",
        ),
        Step::Failed(error) => terminal::warn(&plain(&format!(
            "{error:#}; the daemon notices checkouts by itself"
        ))),
        Step::NotWanted | Step::Settled(..) => {}
    }
    let is_ready = |worktree: &&Worktree| worktree.state() == WorktreeState::Ready;
    let problem = done
        .worktree
        .as_ref()
        .filter(is_ready)
        .and_then(|it| it.problem.as_ref());
    for line in problem.map(words::problem).unwrap_or_default() {
        terminal::warn(&plain(&line));
    }
}

/// A repository whose branch cannot be had is registered all the same, and yet not what was wanted.
fn verdict(done: &Done) -> anyhow::Result<()> {
    let Some(worktree) = &done.worktree else {
        return Ok(());
    };
    if worktree.state() == WorktreeState::Ready {
        return Ok(());
    }
    let of_all = done.repository.problems.first();
    let failure = Failure::new(Exit::NotReady, "the branch of this worktree is not ready");
    Err(match worktree.problem.as_ref().or(of_all) {
        Some(problem) => failure.cause(&problem.message).hint(problem.fix.clone()),
        None => failure
            .cause(&worktree.why)
            .hint("the daemon goes on; see `lakebase status`"),
    }
    .into())
}

//! `lakebase init --recover` and `--fresh`: what becomes of a ledger that was lost or replaced by an older copy. Both show what they
//! would do, and do it after a confirmation: `--yes`, or an answer at a terminal.

use crate::clock;
use crate::connect::Session;
use crate::failure::{Exit, Failure};
use crate::here;
use crate::json;
use crate::terminal::{self, Cell, Output};
use crate::text::plain;
use crate::words;
use lakebase_proto::v1::{
    Branch, RecoverLedgerResponse, RecoveredBranch, RecoveredRepository, RecoveredSlot, ResetLedgerResponse,
};
use owo_colors::{OwoColorize, Style};
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Shown {
    applied: bool,
    unconfirmed: bool,
    repositories: Vec<ShownRepository>,
    left: Vec<json::Branch>,
}

/// What is left behind when the ledger starts over.
#[derive(Debug, Serialize)]
pub(crate) struct LeftBehind {
    repositories: Vec<ShownRepository>,
    branches: Vec<json::Branch>,
}

#[derive(Debug, Serialize)]
struct ShownRepository {
    id: String,
    common_dir: String,
    main_worktree: Option<String>,
    project_id: Option<String>,
    service: Option<String>,
    branches: Vec<ShownBranch>,
    missing: Vec<ShownSlot>,
    problem: Option<json::Problem>,
}

#[derive(Debug, Serialize)]
struct ShownBranch {
    slot: String,
    worktrees: Vec<String>,
    branch: Option<json::Branch>,
    proof: String,
    lapsed: bool,
    kept: bool,
}

#[derive(Debug, Serialize)]
struct ShownSlot {
    slot: String,
    worktrees: Vec<String>,
}

/// Takes the branches of a lost ledger back.
pub(crate) async fn recover(is_confirmed: bool, output: Output) -> anyhow::Result<()> {
    let mut session = Session::open().await?;
    let cwd = here::cwd()?;
    let plan = session.recover_ledger(&cwd, false).await?;
    if !plan.unconfirmed && plan.repositories.is_empty() {
        return nothing(&plan, output);
    }
    if !is_confirmed {
        show(&plan, false, output)?;
        if output.is_json() || !terminal::confirm("Take these branches back?") {
            let failure = Failure::new(Exit::Failed, "the ledger is not recovered yet");
            return Err(failure.hint("`lakebase init --recover --yes` does it").into());
        }
    }
    let done = session.recover_ledger(&cwd, true).await?;
    if is_confirmed {
        show(&done, true, output)?;
    }
    verdict(&done)
}

fn nothing(plan: &RecoverLedgerResponse, output: Output) -> anyhow::Result<()> {
    if output.is_json() {
        return show(plan, false, output);
    }
    terminal::progress("nothing to recover: the ledger is the one of last time");
    Ok(())
}

/// Starts over, and returns what is left behind. The caller registers its repository again.
pub(crate) async fn start_over(is_confirmed: bool, output: Output) -> anyhow::Result<LeftBehind> {
    let mut session = Session::open().await?;
    let plan = session.reset_ledger(false).await?;
    if !output.is_json() {
        tell_left_behind(&plan)?;
    }
    if !is_confirmed && (output.is_json() || !terminal::confirm("Start over?")) {
        if output.is_json() {
            terminal::print_json(&LeftBehind::from(&plan))?;
        }
        let failure = Failure::new(Exit::Failed, "the ledger does not start over yet");
        return Err(failure.hint("`lakebase init --fresh --yes` does it").into());
    }
    Ok(LeftBehind::from(&session.reset_ledger(true).await?))
}

fn verdict(done: &RecoverLedgerResponse) -> anyhow::Result<()> {
    let problems = done.repositories.iter().filter_map(|it| it.problem.as_ref());
    let problems: Vec<_> = problems.collect();
    let Some(first) = problems.first() else {
        let branches: usize = done.repositories.iter().map(|it| it.branches.len()).sum();
        terminal::progress(&format!("recovered, branches: {branches}; see `lakebase status`"));
        return Ok(());
    };
    let text = match problems.len() {
        1 => "one repository is not recovered".to_owned(),
        count => format!("{count} repositories are not recovered"),
    };
    let failure = Failure::new(Exit::Failed, text).cause(&first.message);
    Err(failure.hint(first.fix.clone()).into())
}

// ---- what is shown

fn show(plan: &RecoverLedgerResponse, applied: bool, output: Output) -> anyhow::Result<()> {
    if output.is_json() {
        return Ok(terminal::print_json(&Shown {
            applied,
            unconfirmed: plan.unconfirmed,
            repositories: plan.repositories.iter().map(ShownRepository::from).collect(),
            left: plan.left.iter().map(json::Branch::from).collect(),
        })?);
    }
    if plan.repositories.is_empty() {
        terminal::progress("no registration was kept; run it in a repository to recover that one");
    }
    for repository in &plan.repositories {
        tell(repository)?;
    }
    tell_left(
        "Left alone: no worktree or git branch of these repositories has them",
        &plan.left,
    )
}

fn tell(repository: &RecoveredRepository) -> anyhow::Result<()> {
    terminal::print(title(repository).bold())?;
    let branches = repository.branches.iter().map(branch_row);
    let rows: Vec<_> = branches
        .chain(repository.missing.iter().map(missing_row))
        .collect();
    for line in terminal::columns(&rows) {
        terminal::print(format!("  {line}"))?;
    }
    for line in repository.problem.iter().flat_map(words::problem) {
        terminal::print(format!("  {}", plain(&line).red()))?;
    }
    Ok(())
}

fn title(repository: &RecoveredRepository) -> String {
    let place = match repository.main_worktree.as_str() {
        "" => &repository.common_dir,
        path => path,
    };
    match repository.project_id.as_str() {
        "" => plain(place),
        project => format!(
            "{}: project {} on {}",
            plain(place),
            plain(project),
            plain(&repository.service)
        ),
    }
}

fn branch_row(recovered: &RecoveredBranch) -> Vec<Cell> {
    let branch = recovered.branch.clone().unwrap_or_default();
    let mut why = recovered.proof.clone();
    if recovered.lapsed {
        why = format!("its lease ran out, so it is undeleted; {why}");
    }
    if recovered.kept {
        why += "; kept for good, because it has no expiration";
    }
    vec![
        plain(&recovered.slot).into(),
        plain(&branch.branch_id).into(),
        words::ownership(branch.ownership()).into(),
        Cell::new(plain(&why), Style::new().dimmed()),
    ]
}

fn missing_row(slot: &RecoveredSlot) -> Vec<Cell> {
    vec![
        plain(&slot.slot).into(),
        "-".into(),
        Cell::new("new", Style::new().yellow()),
        Cell::new("no branch was found, so it gets a new one", Style::new().dimmed()),
    ]
}

fn tell_left(title: &str, left: &[Branch]) -> anyhow::Result<()> {
    if left.is_empty() {
        return Ok(());
    }
    terminal::print(title.bold())?;
    let row = |branch: &Branch| {
        let expiry = words::expiry(branch.expire_time.as_ref(), &clock::now());
        let expires = format!("expires {expiry}");
        vec![
            plain(&branch.branch_id).into(),
            Cell::new(expires, Style::new().dimmed()),
        ]
    };
    for line in terminal::columns(&left.iter().map(row).collect::<Vec<_>>()) {
        terminal::print(format!("  {line}"))?;
    }
    Ok(())
}

fn tell_left_behind(plan: &ResetLedgerResponse) -> anyhow::Result<()> {
    if !plan.repositories.is_empty() {
        terminal::print("Unregistered: their worktrees get no branches until `lakebase init`".bold())?;
    }
    for repository in &plan.repositories {
        terminal::print(format!("  {}", title(repository)))?;
        for line in repository.problem.iter().flat_map(words::problem) {
            terminal::print(format!("    {}", plain(&line).red()))?;
        }
    }
    let title =
        "Left in their projects: one with an expiration ends with it, the others stay until you delete them";
    tell_left(title, &branches_of(plan))
}

fn branches_of(plan: &ResetLedgerResponse) -> Vec<Branch> {
    let recoverable = plan.repositories.iter().flat_map(|it| &it.branches);
    let living = recoverable.filter(|it| !it.lapsed);
    let branches = living.filter_map(|it| it.branch.clone());
    branches.chain(plan.left.iter().cloned()).collect()
}

// ---- JSON

impl From<&ResetLedgerResponse> for LeftBehind {
    fn from(plan: &ResetLedgerResponse) -> Self {
        Self {
            repositories: plan.repositories.iter().map(ShownRepository::from).collect(),
            branches: branches_of(plan).iter().map(json::Branch::from).collect(),
        }
    }
}

impl From<&RecoveredRepository> for ShownRepository {
    fn from(repository: &RecoveredRepository) -> Self {
        let filled = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Self {
            id: repository.id.clone(),
            common_dir: repository.common_dir.clone(),
            main_worktree: filled(&repository.main_worktree),
            project_id: filled(&repository.project_id),
            service: filled(&repository.service),
            branches: repository.branches.iter().map(ShownBranch::from).collect(),
            missing: repository.missing.iter().map(ShownSlot::from).collect(),
            problem: repository.problem.as_ref().map(json::Problem::from),
        }
    }
}

impl From<&RecoveredBranch> for ShownBranch {
    fn from(recovered: &RecoveredBranch) -> Self {
        Self {
            slot: recovered.slot.clone(),
            worktrees: recovered.worktrees.clone(),
            branch: recovered.branch.as_ref().map(json::Branch::from),
            proof: recovered.proof.clone(),
            lapsed: recovered.lapsed,
            kept: recovered.kept,
        }
    }
}

impl From<&RecoveredSlot> for ShownSlot {
    fn from(slot: &RecoveredSlot) -> Self {
        Self {
            slot: slot.slot.clone(),
            worktrees: slot.worktrees.clone(),
        }
    }
}

//! Sees to what a ready branch needs besides itself: its endpoint, a credential, the block in `.env`. A failure here leaves
//! the branch as ready as it is.

use crate::attempts::problem;
use crate::board::{Ownership, Problem, RepositoryView, WorktreeView};
use crate::credentials::{Freshness, Target};
use crate::failpoint;
use crate::patient::Hangs;
use crate::provider::{Provider, ProviderError};
use crate::reconcile::{Memory, Reconciler};
use crate::services::chain;
use daemon_core::config_file::Settings;
use daemon_core::ids::BranchUid;
use daemon_core::plan::Standing;
use lakebase_api::Error;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Returns the sslmode that goes with a credential. Where the certificate authority is known, clients check the server's
/// certificate and its name: while the daemon is down, another user's program may listen at the endpoint's address. A workspace's
/// certificate is signed by a public authority, which libpq trusts only with `sslrootcert=system`
/// (<https://www.postgresql.org/docs/current/libpq-ssl.html>).
fn sslmode(ca_file: Option<&Path>) -> &'static str {
    if ca_file.is_some() {
        "verify-full"
    } else {
        "require"
    }
}

/// Goes through the ready worktrees. Returns true when an endpoint is still to come.
pub(crate) async fn tend(
    reconciler: &Reconciler,
    provider: &Arc<Provider>,
    settings: &Settings,
    memory: &mut Memory,
    view: &mut RepositoryView,
) -> bool {
    let mut is_waiting = false;
    let id = view.id.clone();
    let worktrees = view.worktrees.iter().map(|worktree| &**worktree);
    memory.env.take_back(&memory.looking, worktrees).await;
    let disk = memory.env.look(&memory.looking).await;
    for worktree in view
        .worktrees
        .iter_mut()
        .filter(|worktree| worktree.standing == Standing::Ready)
    {
        let (mut target_now, mut problem_now) = (worktree.target.clone(), worktree.problem.clone());
        match target(provider, settings, memory, worktree).await {
            Ok(Some(target)) => target_now = Some(target),
            Ok(None) => is_waiting = true,
            Err(error) => {
                is_waiting = true;
                problem_now = Some(problem(&error));
            }
        }
        if let Some(target) = &target_now
            && let Err(hindrance) = credential(reconciler, memory, worktree, target, disk).await
        {
            problem_now = Some(hindrance.into());
        }
        // Shown only now: whoever waited for the branch finds `.env` in place, and may remove the worktree at once without
        // meeting us in it. Nobody waits for the other worktrees.
        if !is_same_target(target_now.as_ref(), worktree.target.as_ref()) || problem_now != worktree.problem {
            let shown = Arc::make_mut(worktree);
            (shown.target, shown.problem) = (target_now, problem_now);
            let shown = worktree.clone();
            reconciler.board.amend(&id, |view| view.worktrees.replace(shown));
        }
    }
    let shown = view
        .worktrees
        .iter()
        .filter_map(|worktree| worktree.target.as_ref());
    let shown: BTreeSet<&BranchUid> = shown.map(|target| &target.uid).collect();
    memory.targets.retain(|uid, _| shown.contains(uid));
    is_waiting
}

fn is_same_target(before: Option<&Arc<Target>>, after: Option<&Arc<Target>>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => Arc::ptr_eq(before, after),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Takes down every branch of a project that the service says is not there. What could not be looked at stays as it was.
pub(crate) fn note_gone(view: &mut RepositoryView, error: &ProviderError, told: &Problem) {
    if !matches!(error, ProviderError::Service(Error::NotFound { .. })) {
        return;
    }
    for worktree in view.worktrees.iter_mut() {
        let worktree = Arc::make_mut(worktree);
        worktree.standing = Standing::Blocked;
        worktree.target = None;
        worktree.problem = Some(told.clone());
        worktree.why = "its project is gone".into();
    }
}

/// The endpoint of a worktree's branch, fetched once per branch.
async fn target(
    provider: &Arc<Provider>,
    settings: &Settings,
    memory: &mut Memory,
    worktree: &WorktreeView,
) -> Result<Option<Arc<Target>>, ProviderError> {
    let Some((branch, uid)) = worktree
        .branch
        .as_ref()
        .and_then(|branch| Some((branch, branch.uid.clone()?)))
    else {
        return Ok(None);
    };
    if let Some(target) = memory.targets.get_mut(&uid) {
        if !Arc::ptr_eq(&target.provider, provider) {
            // Somebody has signed in again.
            *target = Arc::new(Target {
                provider: provider.clone(),
                ..Target::clone(target)
            });
        }
        return Ok(Some(target.clone()));
    }
    let Some(endpoint) = provider.endpoint(&branch.id).await? else {
        return Ok(None);
    };
    if branch.ownership == Some(Ownership::Owned)
        && endpoint.suspend_timeout != Some(settings.suspend_timeout)
        && let Err(error) = provider
            .set_suspend(&endpoint.name, settings.suspend_timeout)
            .await
    {
        // It only costs money.
        tracing::warn!(branch = %branch.id, error = chain(&error), "cannot set the suspend timeout");
    }
    failpoint::pass("endpoint: suspend timeout set");
    let target = Arc::new(Target {
        provider: provider.clone(),
        uid: uid.clone(),
        endpoint: endpoint.name,
        host: endpoint.host,
        port: endpoint.port,
        database: settings.database.clone(),
        user: provider.user_name.clone(),
        sslmode: sslmode(provider.ca_file.as_deref()),
        ssl_root_cert: provider.ca_file.clone(),
    });
    memory.targets.insert(uid, target.clone());
    Ok(Some(target))
}

/// Keeps the credentials fresh that were served before, while nothing else about their branches can be found out: whoever
/// follows one must not be left with a password that has ended. One that cannot be had ends it; the others cannot either.
pub(crate) async fn keep_fresh(reconciler: &Reconciler, memory: &mut Memory, view: &mut RepositoryView) {
    let disk = memory.env.look(&memory.looking).await;
    let ready = view
        .worktrees
        .iter_mut()
        .filter(|worktree| worktree.standing == Standing::Ready);
    for worktree in ready {
        let Some(target) = worktree.target.clone() else {
            continue;
        };
        match credential(reconciler, memory, worktree, &target, disk).await {
            Ok(()) => {}
            Err(Hindrance::Credential(problem)) => {
                tracing::debug!(problem.message, "cannot keep a credential fresh");
                return;
            }
            Err(Hindrance::EnvFile(problem)) if worktree.problem.as_ref() == Some(&problem) => {}
            Err(Hindrance::EnvFile(problem)) => Arc::make_mut(worktree).problem = Some(problem),
        }
    }
}

/// The part of a worktree's credential that failed.
enum Hindrance {
    /// The service gives none.
    Credential(Problem),
    /// It is not in the `.env`. Other worktrees have theirs.
    EnvFile(Problem),
}

impl From<Hindrance> for Problem {
    fn from(hindrance: Hindrance) -> Self {
        match hindrance {
            Hindrance::Credential(problem) | Hindrance::EnvFile(problem) => problem,
        }
    }
}

/// Keeps a credential cached, and the worktree's `.env` in line with it if the disk answers.
///
/// # Errors
/// What hinders either.
async fn credential(
    reconciler: &Reconciler,
    memory: &mut Memory,
    worktree: &WorktreeView,
    target: &Arc<Target>,
    disk: Result<(), Hangs>,
) -> Result<(), Hindrance> {
    let minted = reconciler.credentials.fetch(target, Freshness::Fresh).await;
    let minted = minted.map_err(|error| Hindrance::Credential(problem(&error)))?;
    failpoint::pass("credential: minted");
    if disk.is_err() {
        return Ok(());
    }
    let Memory { env, looking, .. } = memory;
    let guard = &reconciler.env_guard;
    let kept = env.keep(guard, looking, &worktree.id, (target, &minted)).await;
    kept.map_err(Hindrance::EnvFile)
}

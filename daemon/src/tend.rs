//! Sees to what a ready branch needs besides itself: its endpoint, a credential, the block in `.env`. A failure here leaves
//! the branch as ready as it is.

use crate::attempts::problem;
use crate::board::{Ownership, Problem, RepositoryView, WorktreeView};
use crate::credentials::{Freshness, Minted, Target};
use crate::env_writer::{self, EnvFile};
use crate::failpoint;
use crate::provider::{Provider, ProviderError};
use crate::reconcile::{Memory, Reconciler, blocking, is_same};
use crate::services::chain;
use daemon_core::config_file::Settings;
use daemon_core::ids::{BranchUid, WorktreeId};
use daemon_core::plan::Standing;
use lakebase_api::Error;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// The sslmode that goes with every credential: the service takes nothing less, and with a certificate authority at hand
/// libpq checks the server by it.
const SSLMODE: &str = "require";

/// What was last written into a worktree's `.env`.
#[derive(Debug)]
pub(crate) struct Written {
    minted: Arc<Minted>,
    /// How the file looked after; if it looks otherwise, somebody else wrote.
    stamp: Option<(SystemTime, u64)>,
    /// When it was first found missing.
    missing_since: Option<Instant>,
}

/// How long a file that we wrote must be missing before it is written again: git may be about to remove a linked worktree,
/// which takes long when it holds much, and fails if something new appears in it.
const MISSING_FOR: Duration = Duration::from_secs(20);

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
            && let Err(problem) = credential(reconciler, settings, memory, worktree, target).await
        {
            problem_now = Some(problem);
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
        sslmode: SSLMODE,
        ssl_root_cert: provider.ca_file.clone(),
    });
    memory.targets.insert(uid, target.clone());
    Ok(Some(target))
}

/// Keeps a credential at hand, and the worktree's `.env` in line with it.
///
/// # Errors
/// What hinders either.
async fn credential(
    reconciler: &Reconciler,
    settings: &Settings,
    memory: &mut Memory,
    worktree: &WorktreeView,
    target: &Arc<Target>,
) -> Result<(), Problem> {
    let minted = reconciler.credentials.fetch(target, Freshness::Fresh).await;
    let minted = minted.map_err(|error| problem(&error))?;
    failpoint::pass("credential: minted");
    let Some(file) = EnvFile::of(worktree, settings) else {
        return Ok(());
    };
    let path = file.path();
    if memory
        .written
        .get(&worktree.id)
        .is_some_and(|w| is_same(&w.minted, &minted) && w.stamp == stamp(&path))
    {
        return Ok(());
    }
    if let Some(written) = memory.written.get_mut(&worktree.id)
        && worktree.id != WorktreeId::Main
        && stamp(&path).is_none()
    {
        let since = *written.missing_since.get_or_insert_with(Instant::now);
        if since.elapsed() < MISSING_FOR {
            return Ok(());
        }
    }
    let (job_target, job_minted) = (target.clone(), minted.clone());
    blocking(move || env_writer::write(&file, &job_target, &job_minted)).await?;
    let written = Written {
        minted,
        stamp: stamp(&path),
        missing_since: None,
    };
    memory.written.insert(worktree.id.clone(), written);
    Ok(())
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

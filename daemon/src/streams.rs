//! The tasks behind open streams: each follows the board and says what its client should know, until one of them goes.

use crate::board::{Repositories, WorktreeView, find_worktree};
use crate::convert;
use crate::credentials::{Freshness, Minted, Target};
use crate::lookup::{Now, is_hopeless, not_ready};
use crate::outlet::Outlet;
use crate::patient::Budget;
use crate::reconcile::env_guard::Checked;
use crate::service::{PATIENCE, Service, ledger_failed};
use daemon_core::ids::{RepositoryId, Slot};
use daemon_core::plan::Standing;
use lakebase_proto::v1;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

impl Service {
    /// Follows a worktree's credential into a stream until somebody goes away, or the worktree leaves what was sent for a
    /// branch that cannot be had: whoever uses it must not take the old one for the worktree's.
    pub(crate) async fn follow_credential(
        self,
        path: PathBuf,
        mut out: Outlet<Result<v1::Credential, Status>>,
    ) {
        let mut board = self.lookup.board.follow();
        let mut sent: Option<(Arc<Target>, Arc<Minted>)> = None;
        // What the worktree was on when that was good.
        let mut stood_on: Option<Slot> = None;
        loop {
            let repositories = board.borrow_and_update().clone();
            let mut rotations = None;
            match self.lookup.now(&repositories, &path).await {
                Ok(Now::Ready(_, worktree, target)) => {
                    let mut changes = self.credentials.follow(&target.uid);
                    changes.mark_unchanged();
                    if let Ok(minted) = self.credentials.fetch(&target, Freshness::Usable).await
                        && sent
                            .as_ref()
                            .is_none_or(|(t, m)| !t.is_same_place(&target) || !Arc::ptr_eq(m, &minted))
                    {
                        let message = convert::credential(&worktree, &target, &minted);
                        sent = Some((target, minted));
                        out.put(Ok(message));
                    }
                    stood_on = worktree.slot.clone().filter(|_| sent.is_some());
                    rotations = Some(changes);
                }
                Ok(Now::Coming(view, worktree))
                    if has_left(stood_on.as_ref(), &worktree)
                        && (worktree.standing == Standing::Failing || is_hopeless(&view, &worktree)) =>
                {
                    return out.end(Err(not_ready(&view, Some(&worktree)))).await;
                }
                Ok(Now::Coming(..) | Now::Unseen(_)) => {}
                Err(error) => return out.end(Err(error)).await,
            }
            let rotated = async {
                match rotations.as_mut() {
                    Some(changes) => drop(changes.changed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = out.flow() => return,
                _ = board.changed() => {}
                () = rotated => {}
            }
        }
    }

    /// Follows the list of worktrees into a stream: what it is, and again whenever it changes.
    pub(crate) async fn follow_worktrees(
        self,
        path: Vec<u8>,
        mut out: Outlet<Result<v1::ListWorktreesResponse, Status>>,
    ) {
        let mut board = self.lookup.board.follow();
        let mut sent = None;
        loop {
            board.mark_unchanged();
            let now = match self.worktrees(&path).await {
                Ok(now) => now,
                Err(error) => return out.end(Err(error)).await,
            };
            if sent.as_ref() != Some(&now) {
                sent = Some(now.clone());
                out.put(Ok(now));
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = out.flow() => return,
                _ = board.changed() => {}
            }
        }
    }

    /// Follows the event list into a stream, from now on. A reader that is slow gets them all, later; one that reads
    /// nothing is given up.
    pub(crate) async fn follow_events(
        self,
        repository: Option<RepositoryId>,
        out: mpsc::Sender<Result<v1::Event, Status>>,
    ) {
        let mut newest = self.ledger.follow_events();
        let mut sent = *newest.borrow_and_update();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = out.closed() => return,
                changed = newest.changed() => if changed.is_err() { return },
            }
            let events = match self.ledger.events(repository.as_ref(), sent, u32::MAX).await {
                Ok(events) => events,
                Err(error) => return drop(out.send(Err(ledger_failed(&error))).await),
            };
            for event in events {
                sent = event.sequence;
                let told = out.send_timeout(Ok(convert::event(&event)), self.about.unread);
                if told.await.is_err() {
                    return;
                }
            }
        }
    }

    /// Starts to check that no password is where git may pick it up, after a checkout in the
    /// worktree of a path.
    pub(crate) fn check_env_file(&self, repositories: &Repositories, path: &Path) -> EnvCheck {
        let Some((view, worktree)) = find_worktree(repositories, path) else {
            return EnvCheck(None);
        };
        let guard = self.reconciler.env_guard.clone();
        let guarded = guard.files(&view.id).get(&worktree.id).cloned();
        // To look here and now costs less than to wake a thread for it.
        let Some(guarded) = guarded.filter(|guarded| !(view.is_local && guarded.is_checked())) else {
            return EnvCheck(None);
        };
        let (desk, controller, id) = (
            self.lookup.desk.clone(),
            self.lookup.controller.clone(),
            view.id.clone(),
        );
        let since = std::time::Instant::now();
        EnvCheck(Some(tokio::spawn(async move {
            let budget = Budget::Repository(id.clone());
            let check = move || guard.check(&guarded, since);
            if desk.run(budget, check).await == Ok(Checked::Changed) {
                controller.hint(id);
            }
        })))
    }

    /// Tells a hook what happens until its worktree's branch is ready and no password is where git
    /// may pick it up.
    pub(crate) async fn follow_checkout(
        self,
        path: PathBuf,
        mut check: EnvCheck,
        mut out: Outlet<Result<v1::CheckoutProgress, Status>>,
    ) {
        let deadline = Instant::now() + PATIENCE;
        let mut board = self.lookup.board.follow();
        let mut last = None;
        loop {
            let repositories = board.borrow_and_update().clone();
            let mut progress = match self.lookup.now(&repositories, &path).await {
                Ok(now) => progress(&self.repositories(), &now),
                Err(error) => return out.end(Err(error)).await,
            };
            let is_over = !matches!(
                progress.state(),
                v1::WorktreeState::Pending | v1::WorktreeState::Creating
            );
            if is_over && check.is_done() {
                return out.end(Ok(progress)).await;
            }
            if is_over {
                progress.set_state(v1::WorktreeState::Pending);
                progress.message = "checking that git ignores the `.env`".into();
            }
            if last.as_ref() != Some(&progress) {
                last = Some(progress.clone());
                out.put(Ok(progress));
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = out.flow() => return,
                () = check.done(), if !check.is_done() => {}
                changed = timeout_at(deadline, board.changed()) => if changed.is_err() { return },
            }
        }
    }
}

/// A check of a worktree's `.env` that is under way. It goes on when this is dropped.
#[derive(Debug)]
pub(crate) struct EnvCheck(Option<JoinHandle<()>>);

impl EnvCheck {
    /// Waits for its end, also one of a panic.
    pub(crate) async fn done(&mut self) {
        if let Some(check) = &mut self.0 {
            drop(check.await);
            self.0 = None;
        }
    }

    fn is_done(&self) -> bool {
        self.0.is_none()
    }
}

/// Says whether a worktree is on something else than it was. A HEAD that cannot be read tells nothing.
fn has_left(stood_on: Option<&Slot>, worktree: &WorktreeView) -> bool {
    matches!((stood_on, &worktree.slot), (Some(then), Some(now)) if then != now)
}

/// One line about a checkout.
pub(crate) fn progress(repositories: &Repositories, now: &Now) -> v1::CheckoutProgress {
    let (view, state, branch, message) = match now {
        Now::Ready(view, worktree, _) | Now::Coming(view, worktree) => {
            let branch = worktree
                .branch
                .as_ref()
                .map(|branch| branch.id.to_string())
                .unwrap_or_default();
            let problem = worktree
                .problem
                .as_ref()
                .or(view.hindrance.as_ref())
                .or(view.problems.first());
            let state = match convert::state(worktree) {
                v1::WorktreeState::Pending | v1::WorktreeState::Creating if is_hopeless(view, worktree) => {
                    v1::WorktreeState::Blocked
                }
                state => state,
            };
            let message = match state {
                v1::WorktreeState::Ready => format!("branch {branch} is ready"),
                _ => problem.map_or_else(|| worktree.why.clone(), |problem| problem.message.clone()),
            };
            (Some(view), state, branch, message)
        }
        Now::Unseen(id) => (
            repositories.get(id),
            v1::WorktreeState::Pending,
            String::new(),
            "looking at the worktree".into(),
        ),
    };
    let hook_wait = view.map(|view| convert::duration(view.hook_wait()));
    v1::CheckoutProgress {
        state: state.into(),
        branch,
        message,
        hook_wait,
    }
}

//! One pass over one repository: look, plan, apply, show. Every `if` about policy is in the core's plan.

use crate::apply::{self, Applying};
use crate::attempts::{self, Attempts};
use crate::board::{Board, Problem, RepositoryView, WatchMode};
use crate::clock;
use crate::credentials::{Credentials, Minted, Target};
use crate::env_keeper::EnvKeeper;
use crate::git::{self, Found, GitError, Located, Question};
use crate::ledger::{Ledger, LedgerError, Place, RepositoryRow};
use crate::patient::{Budget, Desk, Hangs, Turnstile};
use crate::repository_config::{self, Confirmed, Reading};
use crate::services::{Services, chain};
use crate::tend;
use crate::view;
use crate::watcher::{Interest, Wanted, Watcher};
use crate::wishes::{Taken, Wishes};
use chrono::TimeDelta;
use daemon_core::config_file::Settings;
use daemon_core::confirmed;
use daemon_core::ids::{BranchId, BranchUid, RepositoryId, Slot};
use daemon_core::plan::{Action, Plan, Standing, Step, plan};
use daemon_core::queue::Outcome;
use daemon_core::state::{Asks, Look, Observed, Record, Seen};
use daemon_core::why::Why;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

pub(crate) mod env_guard;
pub(crate) mod recovery;

use env_guard::EnvGuard;

/// How many times as long as it takes to show what was done there is something else to do before it is shown again: with ten
/// thousand worktrees it takes longer than a step.
const SHOWING_SHARE: u32 = 10;

/// How soon after something was done: what was done may open the way for more.
const FOLLOW_UP: Duration = Duration::from_millis(20);
/// How soon while the service is busy with a branch.
const POLL: Duration = Duration::from_millis(500);

/// What a pass remembers for the next one. Losing it costs time, never a branch.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    located: Option<Located>,
    found: Option<Arc<Found>>,
    settings: Option<Arc<Settings>>,
    pub(crate) attempts: Attempts,
    steps: clock::Steps,
    pub(crate) targets: BTreeMap<BranchUid, Arc<Target>>,
    pub(crate) env: EnvKeeper,
    passes: u64,
    /// What touches the repository's disk goes through here, one after the other.
    pub(crate) looking: Turnstile,
}

/// Everything that a pass works with.
#[derive(Debug)]
pub(crate) struct Reconciler {
    pub(crate) ledger: Ledger,
    pub(crate) services: Arc<Services>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) board: Arc<Board>,
    pub(crate) watcher: Mutex<Watcher>,
    /// How soon a repository is looked at again though nothing was heard of it.
    pub(crate) resync: Duration,
    /// The service refuses two mutations of one project at once, so whoever may make one takes its turn.
    pub(crate) turns: Mutex<BTreeMap<Place, Arc<tokio::sync::Mutex<()>>>>,
    /// Counts the passes that began, by repository.
    pub(crate) begun: Mutex<BTreeMap<RepositoryId, u64>>,
    pub(crate) wishes: Wishes,
    pub(crate) env_guard: Arc<EnvGuard>,
}

/// What came of a plan's steps.
#[derive(Debug, Default)]
struct Done {
    any: bool,
    with_failures: bool,
}

/// What one look at a repository found before the service was asked.
struct Looking {
    settings: Arc<Settings>,
    git: Seen<Arc<Found>>,
    /// The records are those of a ledger that was lost or replaced.
    is_unconfirmed: bool,
}

/// Why a pass ended before its end.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("{}", .0.message)]
    Problem(Problem),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Reconciler {
    /// Makes one repository right, as far as one look shows what that is.
    #[tracing::instrument(name = "pass", skip_all, fields(repository = %row.id))]
    pub(crate) async fn pass(&self, row: &RepositoryRow, memory: &mut Memory) -> Outcome {
        memory.passes = self.begin(&row.id);
        let mut wishes = self.wishes.take(&row.id);
        memory.env.sweep(&memory.looking).await;
        let mut view = match self.first_view(row, memory).await {
            Ok(view) => view,
            Err(view) => {
                let hindrance = view.problems.first().cloned();
                self.show(*view, memory);
                wishes.tell(hindrance.as_ref());
                return Outcome::Failed;
            }
        };
        let outcome = match self.try_pass(row, memory, &mut view, &mut wishes).await {
            Ok(outcome) => {
                memory.attempts.is_news(None);
                outcome
            }
            Err(stop) => {
                if memory.attempts.is_news(Some(&chain(&stop))) {
                    tracing::warn!(error = chain(&stop), "a pass stopped; it is tried again");
                }
                let problem = match stop {
                    Stop::Problem(problem) => problem,
                    Stop::Ledger(error) => {
                        self.ledger.judge(&error);
                        // A mark that is lost must not be taken for one that was never set.
                        memory.steps.forget();
                        Problem {
                            message: chain(&error),
                            fix: "see the daemon's log".into(),
                        }
                    }
                };
                view.problems.push(problem.clone());
                view.hindrance = Some(problem);
                memory.attempts.stopped()
            }
        };
        let hindrance = view.hindrance.clone();
        self.show(view, memory);
        wishes.tell(hindrance.as_ref());
        outcome
    }

    /// The number of the last pass that began.
    pub(crate) fn begun(&self, id: &RepositoryId) -> u64 {
        self.begun
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .copied()
            .unwrap_or_default()
    }

    /// Stops watching a repository.
    pub(crate) fn unwatch(&self, id: &RepositoryId) {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        watcher.set(id, &Wanted::new());
        drop(watcher);
        self.env_guard.forget(id);
    }

    fn begin(&self, id: &RepositoryId) -> u64 {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let number = begun.entry(id.clone()).or_default();
        *number += 1;
        *number
    }

    fn show(&self, mut view: RepositoryView, memory: &Memory) {
        view.passes = memory.passes;
        self.board.update(view);
        let all = self.board.repositories();
        let targets = all
            .values()
            .flat_map(|view| view.worktrees.iter())
            .filter_map(|worktree| worktree.target.as_ref());
        self.credentials
            .retain(&targets.map(|target| target.uid.clone()).collect());
    }

    /// The view that the pass fills in: what stays from the last one.
    async fn first_view(
        &self,
        row: &RepositoryRow,
        memory: &mut Memory,
    ) -> Result<RepositoryView, Box<RepositoryView>> {
        let before = self.board.repository(&row.id);
        if !is_located(memory, row) {
            let (common_dir, worktree) = (row.common_dir.clone(), row.main_worktree.clone());
            let located = memory
                .looking
                .run(move || git::locate_again(&common_dir, worktree.as_deref()));
            let hangs = |source| GitError::Hangs {
                path: row.common_dir.clone(),
                source,
            };
            match located.await.map_err(hangs).flatten() {
                Ok(located) => memory.located = Some(located),
                Err(error) => return Err(Box::new(view::unreadable_view(row, before.as_deref(), &error))),
            }
        }
        let Some(located) = memory.located.clone() else {
            unreachable!("it was just set")
        };
        Ok(RepositoryView {
            id: row.id.clone(),
            common_dir: located.common_dir.clone(),
            main_worktree: located.main_worktree.clone(),
            hooks_dir: located.hooks_dir.clone(),
            config_path: located.config_path(),
            settings: None,
            proposed: vec![],
            service: before
                .as_ref()
                .map(|view| view.service.clone())
                .unwrap_or_default(),
            watch_mode: before.as_ref().map(|view| view.watch_mode).unwrap_or_default(),
            is_local: false,
            problems: vec![],
            hindrance: None,
            worktrees: before
                .as_ref()
                .map(|view| view.worktrees.clone())
                .unwrap_or_default(),
            unused: before
                .as_ref()
                .map(|view| view.unused.clone())
                .unwrap_or_default(),
            passes: 0,
            is_settled: false,
        })
    }

    async fn try_pass(
        &self,
        row: &RepositoryRow,
        memory: &mut Memory,
        view: &mut RepositoryView,
        wishes: &mut Taken,
    ) -> Result<Outcome, Stop> {
        let is_unconfirmed = self.ledger.is_unconfirmed() || row.is_unconfirmed;
        if is_unconfirmed {
            view.problems.push(view::unconfirmed_ledger());
        }
        let settings = self.settings(row, memory, view).await?;
        let provider = match &settings {
            Some(settings) => Some(self.services.provider(settings).await),
            None => None,
        };
        let place = match &provider {
            Some(Ok(provider)) => Some(Place {
                origin: provider.origin.clone(),
                project: provider.project_id(),
            }),
            _ => None,
        };
        let turn = place.as_ref().map(|place| self.turn(place));
        let _turn = match &turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        let records = match &place {
            Some(place) => Some(self.ledger.records(&row.id, place).await?),
            None => None,
        };
        let git = self.look_at_git(row, memory, records.as_deref()).await;
        self.note_worktrees(view, memory, &git);
        if matches!(git, Seen::Present(_)) {
            self.inspect_env_files(&row.id, memory, view, settings.as_ref())
                .await;
        }
        match (settings, provider, place) {
            (Some(settings), Some(Ok(provider)), Some(place)) => {
                view.service.clone_from(&provider.origin);
                let mut applying = Applying {
                    ledger: &self.ledger,
                    provider: &provider,
                    repository: &row.id,
                    place: &place,
                    records: records.unwrap_or_default(),
                    locked: BTreeSet::new(),
                };
                let looking = Looking {
                    settings,
                    git,
                    is_unconfirmed,
                };
                self.converge(&mut applying, memory, view, &looking, wishes).await
            }
            (_, Some(Err(problem)), _) => Err(Stop::Problem(problem)),
            _ => Ok(Outcome::Done(self.resync)),
        }
    }

    /// Looks at the service, plans, applies, and sees to credentials.
    async fn converge(
        &self,
        applying: &mut Applying<'_>,
        memory: &mut Memory,
        view: &mut RepositoryView,
        looking: &Looking,
        wishes: &mut Taken,
    ) -> Result<Outcome, Stop> {
        let provider = applying.provider;
        let Looking { settings, git, .. } = looking;
        if let Seen::Present(found) = git {
            apply::note_locks(applying, &found.view).await?;
        }
        if memory.steps.may_have_been_set() {
            apply::restart_graces(applying).await?;
        }
        memory.steps.note();
        // What git shows is on the board before the service is asked: a caller may be waiting for it.
        self.board.update(RepositoryView {
            passes: memory.passes - 1,
            ..view.clone()
        });
        let observed = match provider.observe().await {
            Ok(observed) => {
                memory.attempts.room_made(observed.branches.len());
                Seen::Present(observed)
            }
            Err(error) => {
                let problem = memory.attempts.look_failed(provider.project.id(), &error);
                tend::note_gone(view, &error, &problem);
                Seen::Unknown(problem.message)
            }
        };
        let steps = match self
            .plan(applying, memory, looking, &observed, &wishes.asks)
            .await?
        {
            Plan::Steps(steps) => steps,
            Plan::Wait(reason) => {
                tend::keep_fresh(self, memory, view).await;
                return Err(Stop::Problem(memory.attempts.hindrance(reason)));
            }
        };
        let mut after = match observed {
            Seen::Present(observed) => observed,
            Seen::Unknown(_) => Observed::default(),
        };
        let done = self
            .do_steps(applying, memory, view, &steps, &mut after, wishes)
            .await?;
        let is_waiting = tend::tend(self, provider, settings, memory, view).await;
        let is_pending = is_waiting || steps.iter().any(|step| step.standing == Standing::Pending);
        // What failed is left alone for a while, so nothing follows from it soon.
        view.is_settled = (!done.any || done.with_failures) && !is_pending;
        let again_in = match () {
            () if done.any && !done.with_failures => FOLLOW_UP,
            () if is_pending => POLL,
            () => self.resync,
        };
        Ok(Outcome::Done(
            again_in.min(memory.attempts.next_in().unwrap_or(self.resync)),
        ))
    }

    /// Does the steps one after the other; what comes of each is on the board at once, or soon if there is much to show.
    async fn do_steps(
        &self,
        applying: &mut Applying<'_>,
        memory: &mut Memory,
        view: &mut RepositoryView,
        steps: &[Step],
        after: &mut Observed,
        wishes: &mut Taken,
    ) -> Result<Done, Stop> {
        let mut done = Done::default();
        let mut show_from = Instant::now();
        for step in steps {
            let branch = applying.branch_of(&step.slot);
            if step.action == Action::Keep {
                answer(wishes, step, branch);
                continue;
            }
            done.any = true;
            let result = match apply::apply(applying, step, after).await {
                Ok(()) => {
                    memory.attempts.succeeded(&step.slot);
                    Ok(())
                }
                Err(apply::Failed::Ledger(error)) => return Err(error.into()),
                Err(apply::Failed::Provider(error)) => {
                    done.with_failures = true;
                    memory.attempts.failed(&step.slot, &error);
                    Err(attempts::problem(&error))
                }
            };
            if let (Why::Asked, Some(branch)) = (&step.why, branch) {
                wishes.note(branch, result);
            }
            let begun = Instant::now();
            if begun < show_from {
                continue;
            }
            view::update(view, steps, &memory.attempts.problems(), applying, after);
            self.board.update(RepositoryView {
                passes: memory.passes - 1,
                ..view.clone()
            });
            show_from = Instant::now() + begun.elapsed() * SHOWING_SHARE;
        }
        view::update(view, steps, &memory.attempts.problems(), applying, after);
        Ok(done)
    }

    async fn plan(
        &self,
        applying: &Applying<'_>,
        memory: &mut Memory,
        looking: &Looking,
        observed: &Seen<Observed>,
        asks: &Asks,
    ) -> Result<Plan, Stop> {
        let git = match &looking.git {
            Seen::Present(found) => Seen::Present(&found.view),
            Seen::Unknown(reason) => Seen::Unknown(reason.clone()),
        };
        let taken = self
            .ledger
            .taken(applying.repository, applying.place, clock::now())
            .await?;
        let reaped = self
            .ledger
            .reaped(applying.place, clock::now() - TimeDelta::hours(1))
            .await?;
        Ok(plan(&Look {
            repository: applying.repository,
            project: &applying.place.project,
            origin: &applying.place.origin,
            git,
            observed,
            records: &applying.records,
            taken: &taken,
            backing_off: &memory.attempts.backing_off(),
            asks,
            reaped,
            policy: &looking.settings.policy,
            is_unconfirmed: looking.is_unconfirmed,
            user_name: &applying.provider.user_name,
            now: clock::now(),
        }))
    }

    /// The turn to change something in a project.
    pub(crate) fn turn(&self, place: &Place) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(place.clone()).or_default().clone()
    }

    // ---- looking

    /// Returns the settings in force: the confirmed ones, with those changes of the file that need no confirmation.
    async fn settings(
        &self,
        row: &RepositoryRow,
        memory: &mut Memory,
        view: &mut RepositoryView,
    ) -> Result<Option<Arc<Settings>>, Stop> {
        let confirmed = self.ledger.confirmed_config(&row.id).await?;
        let before = match Confirmed::of(confirmed.as_deref()) {
            Confirmed::Unreadable => {
                view.problems.push(view::unreadable_confirmed());
                view.settings.clone_from(&memory.settings);
                return Ok(memory.settings.clone());
            }
            before => before.settings(),
        };
        let (worktree, common_dir) = (view.main_worktree.clone(), view.common_dir.clone());
        let read = move || repository_config::of(worktree.as_deref(), &common_dir);
        let shown = view.config_path.display().to_string();
        let in_force = match memory.looking.run(read).await {
            Ok(Reading::Valid(proposed)) => {
                let verdict = confirmed::judge(before.as_ref(), &proposed);
                let text = verdict.in_force.to_text();
                let is_kept = confirmed.as_deref() == Some(&*text)
                    || self
                        .ledger
                        .replace_config(&row.id, confirmed.as_deref(), &text)
                        .await?;
                view.problems
                    .extend(view::unconfirmed_config(&view.config_path, &verdict.pending));
                view.proposed = verdict.pending;
                // Else the user has just confirmed another one; the next pass has it.
                if is_kept { Some(verdict.in_force) } else { before }
            }
            Ok(Reading::Missing) => {
                let is_first = before.is_none();
                view.problems
                    .extend(is_first.then(|| view::missing_config(&view.config_path)));
                before
            }
            Ok(Reading::Broken(problem)) => {
                view.problems.push(problem);
                before
            }
            Err(hangs) => {
                view.problems.push(unreadable_config(&shown, hangs));
                before
            }
        };
        if memory.settings.as_deref() != in_force.as_ref() {
            memory.env.leave(&memory.looking, in_force.as_ref()).await;
            memory.settings = in_force.map(Arc::new);
            memory.targets.clear();
        }
        view.settings.clone_from(&memory.settings);
        Ok(memory.settings.clone())
    }

    async fn look_at_git(
        &self,
        row: &RepositoryRow,
        memory: &mut Memory,
        records: Option<&[Record]>,
    ) -> Seen<Arc<Found>> {
        let refs = records
            .iter()
            .copied()
            .flatten()
            .filter_map(|record| match &record.slot {
                Slot::Ref(name) => Some((name.clone(), record.since)),
                Slot::Worktree(_) => None,
            });
        let worktrees = |records: &[Record]| {
            let worktrees = records.iter().filter_map(|record| match &record.slot {
                Slot::Worktree(id) => Some((id.clone(), record.since)),
                Slot::Ref(_) => None,
            });
            worktrees.collect()
        };
        let question = Question {
            common_dir: row.common_dir.clone(),
            device: row.device,
            inode: row.inode,
            born: row.born,
            main_worktree: row.main_worktree.clone(),
            refs: refs.collect(),
            worktrees: records.map(worktrees),
        };
        let before = memory.found.clone();
        let seen = memory
            .looking
            .run(move || git::look(&question, before.as_deref()));
        match seen
            .await
            .unwrap_or_else(|hangs| Seen::Unknown(hangs.to_string()))
        {
            Seen::Present(found) => {
                let found = Arc::new(found);
                memory.found = Some(found.clone());
                Seen::Present(found)
            }
            Seen::Unknown(reason) => {
                // The directory may have moved; it is looked for again.
                memory.located = None;
                Seen::Unknown(reason)
            }
        }
    }

    /// Finds the `.env` files about which git may say something else by now. Before the service is
    /// asked, which may take long or fail: a password must not wait for that.
    async fn inspect_env_files(
        &self,
        id: &RepositoryId,
        memory: &mut Memory,
        view: &RepositoryView,
        settings: Option<&Arc<Settings>>,
    ) {
        let began_at = std::time::Instant::now();
        let Some(settings) = settings.cloned() else {
            memory.env.inspected(Arc::default(), began_at);
            return self.env_guard.forget(id);
        };
        let (guard, id, worktrees, is_local) = (
            self.env_guard.clone(),
            id.clone(),
            view.worktrees.clone(),
            view.is_local,
        );
        let inspect = move || guard.inspect(&id, &worktrees, &settings, is_local);
        if let Ok(files) = memory.looking.run(inspect).await {
            memory.env.inspected(files, began_at);
        }
    }

    /// Brings the view's worktrees in line with what git shows, and watches the directories where that can change.
    fn note_worktrees(&self, view: &mut RepositoryView, memory: &mut Memory, git: &Seen<Arc<Found>>) {
        let found = match git {
            Seen::Present(found) => found,
            Seen::Unknown(reason) => {
                let fix = "check that the repository can be read".into();
                view.problems.push(Problem {
                    message: reason.clone(),
                    fix,
                });
                return;
            }
        };
        let before = std::mem::take(&mut view.worktrees);
        view.worktrees = view::worktree_views(found, &before);
        view.is_local = !found.is_remote;
        memory
            .env
            .retain(|id| found.places.contains_key(id) && !found.view.succeeded.contains_key(id));
        let wanted = wanted_watches(&view.common_dir, found);
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        view.watch_mode = match watcher.set(&view.id, &wanted) {
            WatchMode::Events if found.is_remote => WatchMode::Polling,
            mode => mode,
        };
    }
}

/// Says whether it is known where the repository's parts are; it may have moved since they were looked for.
fn is_located(memory: &Memory, row: &RepositoryRow) -> bool {
    memory
        .located
        .as_ref()
        .is_some_and(|located| located.common_dir == row.common_dir)
}

fn unreadable_config(path: &str, hangs: Hangs) -> Problem {
    Problem {
        message: format!("cannot read `{path}`: {hangs}"),
        fix: "check that the repository can be read".into(),
    }
}

/// The common directory, the list of worktrees, each worktree's git directory, and each root as an entry of its parent.
fn wanted_watches(common_dir: &Path, found: &Found) -> Wanted {
    let mut wanted = BTreeSet::from([
        (common_dir.to_owned(), Interest::GitFiles),
        (common_dir.join("worktrees"), Interest::Entries),
    ]);
    for place in found.places.values() {
        wanted.insert((place.admin_dir.clone(), Interest::GitFiles));
        if let Some((parent, name)) = place.entry() {
            wanted.insert((parent.to_owned(), Interest::Named(name.to_owned())));
        }
    }
    wanted
}

/// Tells who asked for something that is so already, or asked in vain.
fn answer(wishes: &mut Taken, step: &Step, branch: Option<BranchId>) {
    match (&step.why, branch) {
        (Why::Asked, Some(branch)) => wishes.note(branch, Ok(())),
        (Why::AskedInVain(refusal), Some(branch)) => {
            let problem = Problem {
                message: format!("branch `{branch}` must stay: {refusal}"),
                fix: refusal.fix().into(),
            };
            wishes.note(branch, Err(problem));
        }
        _ => {}
    }
}

/// The view of a registered repository before its first pass.
pub(crate) async fn unseen(row: &RepositoryRow, desk: &Desk) -> RepositoryView {
    let (common_dir, worktree) = (row.common_dir.clone(), row.main_worktree.clone());
    let budget = Budget::Repository(row.id.clone());
    let located = desk.run(budget, move || {
        git::locate_again(&common_dir, worktree.as_deref())
    });
    let hangs = |source| GitError::Hangs {
        path: row.common_dir.clone(),
        source,
    };
    match located.await.map_err(hangs).flatten() {
        Ok(located) => RepositoryView::unseen(row.id.clone(), &located),
        Err(error) => view::unreadable_view(row, None, &error),
    }
}

/// Runs something that may wait for the disk. A panic in it is a panic of the pass.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Says whether two minted credentials are one.
pub(crate) fn is_same(a: &Arc<Minted>, b: &Arc<Minted>) -> bool {
    Arc::ptr_eq(a, b)
}

//! Why a worktree is on the branch it is on, step by step, for `lakebase why`: from what the last pass saw, what the ledger
//! holds and what the event list tells.

use crate::board::{Ownership, RepositoryView, WatchMode, WorktreeView};
use crate::clock;
use crate::convert;
use crate::ledger::LoggedEvent;
use crate::service::{Service, ledger_failed};
use chrono::{SecondsFormat, TimeDelta};
use daemon_core::Timestamp;
use daemon_core::ids::Slot;
use daemon_core::state::{Head, Record, RecordState, WorktreeSource};
use lakebase_proto::v1;
use std::path::Path;
use tonic::Status;

/// How many of the branch's last events are told.
const EVENTS: usize = 5;

/// How many events are searched for them.
const SEARCHED: u32 = 500;

impl Service {
    pub(crate) async fn explained(&self, path: &Path) -> Result<v1::ExplainResponse, Status> {
        let (view, worktree) = self.worktree_at(path).await?;
        let records = self.ledger.all_records(&view.id).await;
        let records = records.map_err(|error| ledger_failed(&error))?;
        let events = self.ledger.events(Some(&view.id), 0, SEARCHED).await;
        let events = events.map_err(|error| ledger_failed(&error))?;
        let record = records
            .iter()
            .find(|record| Some(&record.slot) == worktree.slot.as_ref() && record.origin == view.service);
        let steps = [
            looked(&view),
            asks_for(&view, &worktree),
            record.map(named).unwrap_or_default(),
            lease(&view, &worktree, record),
            last_look(&worktree),
            record.map(|record| lately(record, &events)).unwrap_or_default(),
        ];
        Ok(v1::ExplainResponse {
            worktree: Some(convert::worktree(&view, &worktree)),
            steps: steps.concat(),
        })
    }
}

fn looked(view: &RepositoryView) -> Vec<String> {
    let how = match view.watch_mode {
        WatchMode::Events => "by file events",
        WatchMode::Polling => "by looking every so often, for want of file events",
    };
    let mut steps = vec![format!(
        "the repository `{}` is registered and watched {how}",
        view.common_dir.display()
    )];
    steps.push(match &view.settings {
        Some(settings) => format!(
            "its configuration names project `{}`; its service is `{}`",
            settings.project, view.service
        ),
        None => format!(
            "`{}` is missing or wrong, so no branch is made",
            view.config_path.display()
        ),
    });
    let problems = view
        .problems
        .iter()
        .map(|problem| format!("in the way: {}", problem.message));
    steps.extend(problems);
    steps
}

fn asks_for(view: &RepositoryView, worktree: &WorktreeView) -> Vec<String> {
    let source = view.settings.as_ref().map(|settings| &settings.policy);
    let from_source = source.map(|policy| format!("`{}`", policy.source_branch));
    let from_source = from_source.unwrap_or_else(|| "the source branch".into());
    let step = match (&worktree.slot, &worktree.head) {
        (Some(Slot::Ref(name)), _) => format!(
            "HEAD is on git branch `{}`, which has a branch of its own, forked from {from_source}",
            name.short()
        ),
        (Some(Slot::Worktree(_)), _)
            if source.is_some_and(|policy| policy.worktree_source == WorktreeSource::Source) =>
        {
            format!("HEAD is detached, so the worktree has a branch of its own, forked from {from_source}")
        }
        (Some(Slot::Worktree(_)), _) => {
            "HEAD is detached, so the worktree has a branch of its own, forked from the \
                                         main worktree's where that may have children"
                .into()
        }
        (None, Head::Unknown(reason)) => format!("HEAD cannot be read: {reason}"),
        (None, _) => "HEAD names nothing that could have a branch".into(),
    };
    vec![step]
}

fn named(record: &Record) -> Vec<String> {
    let since = time(record.since);
    let branch = &record.branch;
    vec![match record.state {
        RecordState::Intent => format!("`{branch}` was asked for at {since}; no answer came yet"),
        RecordState::Owned => format!("`{branch}` was chosen and made by this daemon at {since}"),
        RecordState::Adopted => {
            format!("`{branch}` was there before; it was adopted at {since}, so it is never reaped")
        }
        RecordState::Quarantined => {
            format!("another branch has the name `{branch}` now, so it is left alone")
        }
    }]
}

fn lease(view: &RepositoryView, worktree: &WorktreeView, record: Option<&Record>) -> Vec<String> {
    let Some(branch) = &worktree.branch else {
        return vec![];
    };
    let mut steps = vec![];
    if let Some(source) = &branch.source {
        steps.push(format!("it forks from `{source}`"));
    }
    steps.push(match (branch.expire_time, record) {
        (None, Some(record)) if record.is_kept => "it is kept for good: no lease, never reaped".into(),
        (None, Some(record)) if record.lease_held => {
            "it has no expiration because branches fork from it; its lease is held for it".into()
        }
        (None, _) => "it has no expiration".into(),
        (Some(at), _) => {
            let left = at - clock::now();
            let ttl = view
                .settings
                .as_ref()
                .and_then(|settings| settings.policy.ttl)
                .map_or_else(String::new, |ttl| {
                    format!(" of {}, renewed at half of it,", span(ttl))
                });
            format!("its lease{ttl} runs until {}, {} from now", time(at), span(left))
        }
    });
    if branch.ownership == Some(Ownership::Owned) && record.is_some_and(|record| record.was_locked) {
        steps.push(
            "the worktree is locked or out of reach, so the branch is not reaped even if the worktree goes"
                .into(),
        );
    }
    steps
}

/// As in `5 h 59 min`.
fn span(of: TimeDelta) -> String {
    let minutes = of.num_minutes();
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

fn last_look(worktree: &WorktreeView) -> Vec<String> {
    let mut steps = vec![format!("at the last look: {}", worktree.why)];
    if let Some(problem) = &worktree.problem {
        steps.push(format!("in the way: {}", problem.message));
    }
    if let Some(target) = &worktree.target {
        steps.push(format!("its endpoint is {}:{}", target.host, target.port));
    }
    steps
}

fn lately(record: &Record, events: &[LoggedEvent]) -> Vec<String> {
    let ours: Vec<_> = events
        .iter()
        .filter(|event| event.branch == record.branch.as_str())
        .collect();
    let newest = &ours[ours.len().saturating_sub(EVENTS)..];
    newest
        .iter()
        .map(|event| format!("{}: {}, because {}", time(event.at), event.action, event.why))
        .collect()
}

fn time(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

//! What happens by itself: branches past their expiration are soft-deleted, soft-deleted ones past their window are
//! purged, old operations are forgotten. A little late by design, as on the service.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use lakebase_api::ProjectName;
use tokio_util::sync::CancellationToken;

use super::overdue::Overdue;
use super::{Control, family};
use crate::error::ApiError;
use crate::model::branch::{self, Due};
use crate::model::project;
use crate::model::record::ProjectRecord;

/// How long an operation can be asked for.
const OPERATION_LIFE: TimeDelta = TimeDelta::days(30);

/// How often old operations are looked for.
const FORGET_PERIOD: TimeDelta = TimeDelta::hours(1);

/// How often the data are looked at.
const HEALTH_PERIOD: TimeDelta = TimeDelta::seconds(10);

/// When things are due that are not done each time.
#[derive(Default)]
struct Agenda {
    forget_at: DateTime<Utc>,
    check_at: DateTime<Utc>,
    overdue: Overdue,
}

/// Sweeps until it is told to stop.
pub(crate) async fn sweep(control: Arc<Control>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(control.limits.sweep_period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut agenda = Agenda::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = control.sweep_once(&mut agenda).await {
            tracing::warn!(message = error.message, "cannot sweep; trying again");
        }
    }
}

impl Control {
    async fn sweep_once(self: &Arc<Self>, agenda: &mut Agenda) -> Result<(), ApiError> {
        self.catalog.retry_descriptors().await?;
        for project in self.catalog.projects().await? {
            if project.is_live() {
                self.sweep_branches(project, &mut agenda.overdue).await?;
                continue;
            }
            let (uid, is_due) = (project.uid.clone(), project::is_due(&project, self.clock.now()));
            if agenda.overdue.is_ripe(&uid, is_due, self.limits.purge_delay) {
                let name = project.name.clone();
                let purge = |control: Arc<Self>| async move { control.purge_if_due(&project.name).await };
                self.change(name, purge).await?;
                agenda.overdue.remove(&uid);
            }
        }
        let now = self.clock.now();
        // A time further ahead than a period was set while the clock was.
        let is_due = |at: DateTime<Utc>, period| at <= now || at > now + period;
        if is_due(agenda.forget_at, FORGET_PERIOD) {
            self.catalog.forget_operations(now - OPERATION_LIFE).await?;
            agenda.forget_at = now + FORGET_PERIOD;
        }
        if is_due(agenda.check_at, HEALTH_PERIOD) {
            self.check_health().await?;
            agenda.check_at = now + HEALTH_PERIOD;
        }
        Ok(())
    }

    /// Finds what is due in a project, and does it when the project's turn has come.
    async fn sweep_branches(
        self: &Arc<Self>,
        project: ProjectRecord,
        overdue: &mut Overdue,
    ) -> Result<(), ApiError> {
        let branches = self.catalog.branches(&project.name).await?;
        let (now, family) = (self.clock.now(), family(&project, &branches));
        let mut due = HashMap::new();
        for branch in &branches {
            let what = branch::due(&family, branch, now);
            let is_purge = what == Some(Due::Purge);
            let is_ripe = overdue.is_ripe(&branch.uid, is_purge, self.limits.purge_delay);
            if let Some(what) = what.filter(|_| is_ripe || !is_purge) {
                due.insert(branch.uid.clone(), what);
            }
        }
        if due.is_empty() {
            return Ok(());
        }
        let (name, uids) = (project.name.clone(), due.clone());
        let sweep = |control: Arc<Self>| async move { control.sweep_project(&project, &due).await };
        self.change(name, sweep).await?;
        for uid in uids.keys() {
            overdue.remove(uid);
        }
        Ok(())
    }

    /// Looks again, now that no change is under way: it may have been brought back.
    async fn purge_if_due(&self, name: &ProjectName) -> Result<(), ApiError> {
        let project = self.catalog.project(name).await?;
        match project.filter(|project| project::is_due(project, self.clock.now())) {
            Some(project) => self.purge_project(&project, Vec::new()).await,
            None => Ok(()),
        }
    }

    /// Looks again, now that no change is under way, and does what was due and still is.
    async fn sweep_project(
        &self,
        project: &ProjectRecord,
        found: &HashMap<String, Due>,
    ) -> Result<(), ApiError> {
        let branches = self.catalog.branches(&project.name).await?;
        let (now, family) = (self.clock.now(), family(project, &branches));
        for branch in &branches {
            let due = branch::due(&family, branch, now);
            match due.filter(|due| found.get(&branch.uid) == Some(due)) {
                Some(Due::Delete) => self.bury(branch.clone(), Vec::new()).await?,
                Some(Due::Purge) => self.purge(branch, Vec::new()).await?,
                None => {}
            }
        }
        Ok(())
    }
}

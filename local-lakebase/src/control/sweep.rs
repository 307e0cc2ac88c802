//! What happens by itself: branches past their expiration are soft-deleted, soft-deleted ones past their window are
//! purged, old operations are forgotten. A little late by design, as on the service.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use lakebase_api::ProjectName;
use tokio_util::sync::CancellationToken;

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
            let name = project.name.clone();
            if !project.is_live() {
                if project::is_due(&project, self.clock.now()) {
                    let purge = |control: Arc<Self>| async move { control.purge_if_due(&project.name).await };
                    self.change(name, purge).await?;
                }
                continue;
            }
            let branches = self.catalog.branches(&project.name).await?;
            let (now, family) = (self.clock.now(), family(&project, &branches));
            if branches
                .iter()
                .any(|branch| branch::due(&family, branch, now).is_some())
            {
                let sweep = |control: Arc<Self>| async move { control.sweep_project(&project).await };
                self.change(name, sweep).await?;
            }
        }
        let now = self.clock.now();
        if agenda.forget_at <= now {
            self.catalog.forget_operations(now - OPERATION_LIFE).await?;
            agenda.forget_at = now + FORGET_PERIOD;
        }
        if agenda.check_at <= now {
            self.check_health().await?;
            agenda.check_at = now + HEALTH_PERIOD;
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

    /// Looks again, now that no change is under way, and does what is due.
    async fn sweep_project(&self, project: &ProjectRecord) -> Result<(), ApiError> {
        let branches = self.catalog.branches(&project.name).await?;
        let (now, family) = (self.clock.now(), family(project, &branches));
        for branch in &branches {
            match branch::due(&family, branch, now) {
                Some(Due::Delete) => self.bury(branch.clone(), Vec::new()).await?,
                Some(Due::Purge) => self.purge(branch, Vec::new()).await?,
                None => {}
            }
        }
        Ok(())
    }
}

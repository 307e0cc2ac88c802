//! What is wrong with the data, for the user: branches without data, and data without a branch.

use std::sync::PoisonError;

use lakebase_api::BranchName;

use super::{Control, key};
use crate::error::ApiError;
use crate::model::record::{Phase, ProjectRecord};
use crate::{recovery, storage};

/// What was found the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// Branches whose data are missing.
    pub(crate) without_data: Vec<BranchName>,
    /// Number of directories in `lost`.
    pub(crate) lost: usize,
}

impl Control {
    /// Returns what was found the last time.
    pub(crate) fn health(&self) -> Health {
        let health = self.running.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.clone()
    }

    /// Looks for branches without data, and data without a branch.
    pub(crate) async fn check_health(&self) -> Result<(), ApiError> {
        let mut keys = vec![];
        for project in self
            .catalog
            .projects()
            .await?
            .iter()
            .filter(|project| ProjectRecord::is_live(project))
        {
            let branches = self.catalog.branches(&project.name).await?;
            let finished = branches
                .into_iter()
                .filter(|branch| branch.phase != Phase::Creating);
            keys.extend(finished.map(|branch| (key(&branch), branch.name)));
        }
        let engine = self.engine.clone();
        let found = storage::blocking(move || {
            let without = keys.into_iter().filter(|(key, _)| !engine.has_data(key));
            Health {
                without_data: without.map(|(_, name)| name).collect(),
                lost: recovery::count_lost(engine.data_dir()),
            }
        })
        .await;
        let found = self.without_those_removed(found).await?;
        *self.running.health.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    /// Data may have been removed with their row between the two looks.
    async fn without_those_removed(&self, mut health: Health) -> Result<Health, ApiError> {
        let mut still = vec![];
        for name in health.without_data {
            let row = self.catalog.branch(&name).await?;
            if row
                .is_some_and(|branch| branch.phase != Phase::Creating && !self.engine.has_data(&key(&branch)))
            {
                still.push(name);
            }
        }
        health.without_data = still;
        Ok(health)
    }
}

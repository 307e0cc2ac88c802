//! What `lakebase doctor` is told: everything that a worktree needs, looked at now, in the order in which one builds on the
//! other. It changes nothing and decides nothing; every part of it may be broken.

mod machine;
mod repository;
mod service;

use crate::board::Problem;
use crate::service::Service;
use lakebase_proto::v1::{self, Area, CheckState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::board::RepositoryView;

/// How long asking the service may take, whatever it does. Somebody waits at a terminal.
const PATIENCE: Duration = Duration::from_secs(20);

impl Service {
    pub(crate) async fn diagnosed(&self, path: &[u8]) -> v1::DiagnoseResponse {
        let (view, mut checks) = self.repository_checks(path).await;
        let asked = tokio::time::timeout(PATIENCE, self.service_checks(view.as_ref())).await;
        checks.extend(asked.unwrap_or_else(|_| vec![too_slow()]));
        checks.extend(self.machine_checks().await);
        v1::DiagnoseResponse { checks }
    }

    /// The registered repository that holds the path.
    async fn repository_at(&self, path: &[u8]) -> Result<(Arc<RepositoryView>, PathBuf), tonic::Status> {
        let path = self.lookup.resolve(path).await?;
        let repositories = self.repositories();
        let id = self.lookup.repository_of(&repositories, &path).await?;
        let view = self.lookup.board.repository(&id);
        let view = view.ok_or_else(|| {
            lakebase_proto::status(
                lakebase_proto::Reason::NotReady,
                "the repository was not looked at yet",
                "run `lakebase doctor` again",
            )
        })?;
        Ok((view, path))
    }
}

fn too_slow() -> v1::Check {
    let message = format!("the service has not answered within {} s", PATIENCE.as_secs());
    failure(Area::Service, "host", message, "run `lakebase doctor` again")
}

fn check(area: Area, name: &str, state: CheckState, message: String, fix: &str) -> v1::Check {
    v1::Check {
        area: area.into(),
        name: name.into(),
        state: state.into(),
        message,
        fix: fix.into(),
    }
}

fn ok(area: Area, name: &str, message: impl Into<String>) -> v1::Check {
    check(area, name, CheckState::Ok, message.into(), "")
}

fn skipped(area: Area, name: &str, message: impl Into<String>) -> v1::Check {
    check(area, name, CheckState::Skipped, message.into(), "")
}

fn warning(area: Area, name: &str, message: impl Into<String>, fix: &str) -> v1::Check {
    check(area, name, CheckState::Warning, message.into(), fix)
}

fn failure(area: Area, name: &str, message: impl Into<String>, fix: &str) -> v1::Check {
    check(area, name, CheckState::Failure, message.into(), fix)
}

fn failed(area: Area, name: &str, problem: &Problem) -> v1::Check {
    failure(area, name, problem.message.clone(), &problem.fix)
}

//! Answers about a changed configuration: what it would change, and that the user has confirmed it.

use crate::board::Problem;
use crate::convert;
use crate::patient::Budget;
use crate::repository_config::{self, Confirmed, Reading};
use crate::service::{Service, ledger_failed};
use crate::view;
use daemon_core::config_file::Settings;
use daemon_core::confirmed::{self, Change};
use daemon_core::ids::RepositoryId;
use lakebase_proto::{Reason, status, v1};
use std::path::Path;
use tonic::Status;

/// A repository's file beside the configuration in force.
struct Review {
    repository: RepositoryId,
    /// Text of the configuration in force, as the ledger has it.
    before: Option<String>,
    proposed: Settings,
    changes: Vec<Change>,
}

impl Service {
    /// Lists what the configuration file would change; with a proposal confirms it.
    pub(crate) async fn trust_configuration(
        &self,
        path: &Path,
        proposal: &str,
    ) -> Result<v1::TrustConfigurationResponse, Status> {
        self.require_confirmed()?;
        let review = self.review(path).await?;
        let text = review.proposed.to_text();
        if !proposal.is_empty() {
            if proposal != text {
                let message = "the configuration was changed after it was shown";
                return Err(status(Reason::Refused, message, "run `lakebase trust` again"));
            }
            self.confirm_configuration(&review, &text).await?;
        }
        Ok(v1::TrustConfigurationResponse {
            changes: review.changes.iter().map(convert::change).collect(),
            proposal: text,
            is_first: review.before.is_none(),
        })
    }

    async fn review(&self, path: &Path) -> Result<Review, Status> {
        let repositories = self.repositories();
        let id = self.lookup.repository_of(&repositories, path).await?;
        let located = self.lookup.locate(path.to_owned(), "").await?;
        let before = self.ledger.confirmed_config(&id).await;
        let before = before.map_err(|error| ledger_failed(&error))?;
        let stored = Confirmed::of(before.as_deref());
        let is_unreadable = stored == Confirmed::Unreadable;
        let in_force = stored.settings();
        // A linked worktree does not always lead to the main one; the board has that of the last pass.
        let view = self.lookup.board.repository(&id);
        let view = view.filter(|view| view.common_dir == located.common_dir);
        let worktree = view.map_or(located.main_worktree, |view| view.main_worktree.clone());
        let common_dir = located.common_dir;
        let file = worktree
            .as_ref()
            .unwrap_or(&common_dir)
            .join(repository_config::FILE);
        let budget = Budget::Repository(id.clone());
        let read = move || repository_config::of(worktree.as_deref(), &common_dir);
        let proposed = match self.lookup.desk.run(budget, read).await {
            Ok(Reading::Valid(settings)) => *settings,
            // A missing file changes nothing.
            Ok(Reading::Missing) => in_force
                .clone()
                .ok_or_else(|| unusable(view::missing_config(&file)))?,
            Ok(Reading::Broken(problem)) => return Err(unusable(problem)),
            Err(hangs) => {
                let message = format!("cannot read `{}`: {hangs}", file.display());
                return Err(status(Reason::NotConfigured, message, "check the disk"));
            }
        };
        let changes = match in_force {
            Some(in_force) => confirmed::changes(&in_force, &proposed),
            None if is_unreadable => confirmed::all(&proposed),
            None => vec![],
        };
        Ok(Review {
            repository: id,
            before,
            changes,
            proposed,
        })
    }

    async fn confirm_configuration(&self, review: &Review, text: &str) -> Result<(), Status> {
        let replaced = self
            .ledger
            .replace_config(&review.repository, review.before.as_deref(), text);
        if !replaced.await.map_err(|error| ledger_failed(&error))? {
            let message = "the configuration in force was changed at the same time";
            return Err(status(Reason::Refused, message, "run `lakebase trust` again"));
        }
        tracing::info!(repository = %review.repository, changes = review.changes.len(), "configuration confirmed");
        self.lookup
            .controller
            .retry(vec![review.repository.clone()])
            .await;
        Ok(())
    }
}

fn unusable(problem: Problem) -> Status {
    status(Reason::NotConfigured, problem.message, problem.fix)
}

//! The service that a repository would get, looked at anew for `lakebase doctor`: what was decided, why, and a client that has
//! little patience.

use super::{Chosen, LOCAL, Services, Why, problem};
use crate::board::Problem;
use lakebase_api::auth::{Attempt, Outcome, profile};
use lakebase_api::{Client, Limits, Workspace};
use std::time::Duration;

/// How many branches of a project may be unarchived at once on the real service, which does not tell.
const BRANCHES: usize = 10;

/// How long one question to the service may take.
const QUICK: Limits = Limits {
    deadline: Duration::from_secs(8),
    connect: Duration::from_secs(4),
    answer_bytes: 4 * 1024 * 1024,
    retries: 0,
    first_pause: Duration::from_millis(250),
    longest_pause: Duration::from_secs(1),
};

/// What came of it.
pub(crate) struct Examined {
    /// The ways of signing in, in their order.
    pub(crate) ways: Vec<Way>,
    /// Which service it is and why, in one sentence.
    pub(crate) chosen: Result<String, Problem>,
    pub(crate) client: Result<Client, Problem>,
    /// How many unarchived branches a project may have there.
    pub(crate) limit: usize,
}

/// A way of signing in, and what became of it.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    /// Why it was passed over, if it was.
    pub(crate) skipped: Option<String>,
}

impl Services {
    /// Decides anew which service it is, and makes a client for it.
    pub(crate) async fn examine(&self, named: Option<&str>) -> Examined {
        let found = self.choose(named);
        let ways = match found {
            Ok(Chosen::Local(_)) => vec![],
            Ok(Chosen::Workspace(_)) | Err(_) => profile::explain(named, &self.auth).1,
        };
        let ways = ways.into_iter().map(way).collect();
        let (chosen, workspace, limit) = match found {
            Err(problem) => (Err(problem.clone()), Err(problem), BRANCHES),
            Ok(Chosen::Workspace(workspace)) => {
                let words = format!("`{}`, named by {}", workspace.origin, workspace.source);
                (Ok(words), Ok(workspace), BRANCHES)
            }
            Ok(Chosen::Local(why)) => {
                let limit = self.config.local.limits.unarchived_branches;
                let workspace = self.local_workspace().await;
                (Ok(self.about_local(&why)), workspace, limit)
            }
        };
        Examined {
            ways,
            chosen,
            client: workspace.and_then(client),
            limit,
        }
    }

    /// Names Local Lakebase, the reason for it, and the profile that other tools find it by.
    fn about_local(&self, why: &Why) -> String {
        let file = self.config.local.data_dir.join(local_lakebase::PROFILES);
        let info = self.local_info();
        let api = info
            .map(|info| format!("`{}`, ", info.api_url))
            .unwrap_or_default();
        let file = file.display();
        format!("Local Lakebase ({api}profile `{LOCAL}` in `{file}`), {why}")
    }

    async fn local_workspace(&self) -> Result<Workspace, Problem> {
        self.started_local().await?.workspace()
    }
}

fn way(attempt: Attempt) -> Way {
    Way {
        name: attempt.method,
        skipped: match attempt.outcome {
            Outcome::Chosen => None,
            Outcome::Skipped(why) => Some(why),
        },
    }
}

fn client(workspace: Workspace) -> Result<Client, Problem> {
    Client::with_limits(workspace, QUICK).map_err(|error| problem(&error, "see the daemon's log"))
}

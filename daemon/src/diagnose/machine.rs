//! The machine: git, PostgreSQL for Local Lakebase, room on the disk.

use super::{failed, failure, ok, skipped, warning};
use crate::git;
use crate::patient::Budget;
use crate::service::Service;
use crate::services::LocalState;
use lakebase_proto::v1::{self, Area};
use std::path::Path;

const AREA: Area = Area::Machine;

/// The first git that tells absolute paths, which we ask for.
const GIT: (u32, u32) = (2, 31);

/// Below this much room a fork may not fit, and below this much nothing may.
const LITTLE: u64 = 2_000_000_000;
const NONE: u64 = 200_000_000;

impl Service {
    pub(super) async fn machine_checks(&self) -> Vec<v1::Check> {
        let git = self.lookup.desk.run(Budget::Machine, git::version).await;
        let state_dir = self.about.state_dir.clone();
        let disk = self
            .lookup
            .desk
            .run(Budget::Machine, move || disk(&state_dir))
            .await;
        let mut checks = vec![
            git_check(git.unwrap_or_else(|hangs| Err(hangs.to_string()))),
            self.postgres(),
        ];
        checks.extend(self.local_data());
        checks
            .push(disk.unwrap_or_else(|hangs| failure(AREA, "disk", hangs.to_string(), "look at the disk")));
        checks
    }

    /// Problems of Local Lakebase's data; none when they are well.
    fn local_data(&self) -> Vec<v1::Check> {
        if let (LocalState::Refused, Some(problem)) =
            (self.services.local_state(), self.services.local_problem())
        {
            return vec![failed(AREA, "data", &problem)];
        }
        let problems = self.services.local_data_problems().into_iter();
        problems
            .map(|problem| warning(AREA, "data", problem.message, &problem.fix))
            .collect()
    }

    fn postgres(&self) -> v1::Check {
        if self.services.local_state() == LocalState::Refused {
            return skipped(AREA, "postgresql", "Local Lakebase is not started");
        }
        match (self.services.local_problem(), self.services.local_info()) {
            (Some(problem), _) => failed(AREA, "postgresql", &problem),
            (None, Some(local)) if !local.postgres_version.is_empty() => ok(
                AREA,
                "postgresql",
                format!("{} for Local Lakebase", local.postgres_version),
            ),
            (None, Some(_)) => ok(AREA, "postgresql", "another process serves Local Lakebase"),
            (None, None) => skipped(AREA, "postgresql", "Local Lakebase is not used"),
        }
    }
}

fn git_check(version: Result<String, String>) -> v1::Check {
    let version = match version {
        Ok(version) => version,
        Err(error) => return failure(AREA, "git", error, "install git"),
    };
    match git::parse_version(&version) {
        Some(found) if found < GIT => warning(
            AREA,
            "git",
            format!("{version} is older than {}.{}", GIT.0, GIT.1),
            "install a newer git",
        ),
        Some(_) | None => ok(AREA, "git", version),
    }
}

/// How much room there is where we keep things. Blocking.
fn disk(dir: &Path) -> v1::Check {
    let shown = dir.display();
    let free = match rustix::fs::statvfs(dir) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => {
            return failure(
                AREA,
                "disk",
                format!("cannot use `{shown}`: {error}"),
                "look at the disk",
            );
        }
    };
    let message = format!(
        "{}.{} GB free at `{shown}`",
        free / 1_000_000_000,
        free / 100_000_000 % 10
    );
    let fix = "run `lakebase gc`, or make room";
    match free {
        ..NONE => failure(AREA, "disk", message, fix),
        NONE..LITTLE => warning(AREA, "disk", message, fix),
        LITTLE.. => ok(AREA, "disk", message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lakebase_proto::v1::CheckState;

    #[test]
    fn an_old_git_is_a_warning_and_a_strange_one_is_not() {
        let state = |text: &str| git_check(Ok(text.to_owned())).state();
        assert_eq!(state("git version 2.30.9"), CheckState::Warning);
        assert_eq!(state("git version 2.39.5 (Apple Git-154)"), CheckState::Ok);
        assert_eq!(state("git version 10.0"), CheckState::Ok);
        assert_eq!(state("git of my own"), CheckState::Ok);
        assert_eq!(git_check(Err("no".into())).state(), CheckState::Failure);
    }
}

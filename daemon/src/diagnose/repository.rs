//! The repository, its configuration, its hook, and the worktree one stands in.

use super::{failed, failure, ok, skipped, warning};
use crate::board::{Problem, RepositoryView, WatchMode, find_worktree};
use crate::convert;
use crate::patient::Budget;
use crate::repository_config::{self, Confirmed, Reading};
use crate::service::Service;
use crate::view::{self, missing_config};
use daemon_core::config_file::Settings;
use daemon_core::confirmed;
use lakebase_proto::v1::{self, Area, WorktreeState};
use lakebase_proto::{Reason, fix_of, reason_of};
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

const AREA: Area = Area::Repository;

/// What git calls the hook, what its link leads to, and what a hook of somebody else's calls.
const HOOK: &str = "post-checkout";
const HOOK_BINARY: &str = "lakebase-hook";
const HOOK_LINE: &str = "lakebase hook post-checkout";

/// How much of a hook is searched for our line.
const HOOK_BYTES: u64 = 64 * 1024;

impl Service {
    /// The repository at a path, if it is registered, and how it stands.
    pub(super) async fn repository_checks(
        &self,
        path: &[u8],
    ) -> (Option<Arc<RepositoryView>>, Vec<v1::Check>) {
        let (view, path) = match self.repository_at(path).await {
            Ok(found) => found,
            Err(status) => return (None, vec![elsewhere(&status)]),
        };
        let how = match view.watch_mode {
            WatchMode::Events => "by file events",
            WatchMode::Polling => "by looking every so often, for want of file events",
        };
        let registered = format!("`{}` is registered, and watched {how}", view.common_dir.display());
        let hooks_dir = view.hooks_dir.clone();
        let budget = Budget::Repository(view.id.clone());
        let hook = self.lookup.desk.run(budget, move || hook(&hooks_dir)).await;
        let checks = vec![
            ok(AREA, "repository", registered),
            self.configuration(&view).await,
            hook.unwrap_or_else(|hangs| warning(AREA, "hook", hangs.to_string(), "look at the disk")),
            self.worktree_check(&view, &path),
        ];
        (Some(view), checks)
    }

    async fn configuration(&self, view: &RepositoryView) -> v1::Check {
        let stored = self.ledger.confirmed_config(&view.id).await;
        if stored.is_ok_and(|text| Confirmed::of(text.as_deref()) == Confirmed::Unreadable) {
            return failed(AREA, "configuration", &view::unreadable_confirmed());
        }
        let (worktree, common_dir) = (view.main_worktree.clone(), view.common_dir.clone());
        let budget = Budget::Repository(view.id.clone());
        let read = move || repository_config::of(worktree.as_deref(), &common_dir);
        let path = &view.config_path;
        match self.lookup.desk.run(budget, read).await {
            Ok(Reading::Valid(settings)) => {
                let in_force = view.settings.as_deref();
                let pending = confirmed::judge(in_force, &settings).pending;
                match view::unconfirmed_config(path, &pending) {
                    Some(Problem { message, fix }) => warning(AREA, "configuration", message, &fix),
                    None => ok(AREA, "configuration", told(&settings, path)),
                }
            }
            Ok(Reading::Missing) if view.settings.is_some() => {
                let message = format!(
                    "there is no `{}`; the confirmed configuration stays in force",
                    path.display()
                );
                warning(AREA, "configuration", message, "run `lakebase forget` to end it")
            }
            Ok(Reading::Missing) => failed(AREA, "configuration", &missing_config(path)),
            Ok(Reading::Broken(problem)) => failed(AREA, "configuration", &problem),
            Err(hangs) => failure(AREA, "configuration", hangs.to_string(), "look at the disk"),
        }
    }

    fn worktree_check(&self, view: &RepositoryView, path: &Path) -> v1::Check {
        let repositories = self.repositories();
        let Some((_, worktree)) = find_worktree(&repositories, path) else {
            return skipped(AREA, "worktree", "this directory is in none of its worktrees");
        };
        let branch = worktree.branch.as_ref().map(|branch| branch.id.to_string());
        let branch = branch.map_or_else(|| "a branch".to_owned(), |id| format!("branch `{id}`"));
        let hindrance = worktree.problem.as_ref().or(view.hindrance.as_ref());
        match (convert::state(worktree), hindrance) {
            (WorktreeState::Ready, None) => ok(AREA, "worktree", format!("{branch} is ready")),
            (WorktreeState::Ready, Some(Problem { message, fix })) => {
                let message = format!("{branch} is ready, and the last look failed: {message}");
                warning(AREA, "worktree", message, fix)
            }
            (_, Some(problem)) => failed(AREA, "worktree", problem),
            (_, None) => {
                let message = format!("{branch} is still being made");
                warning(AREA, "worktree", message, "run `lakebase reconcile --wait`")
            }
        }
    }
}

fn elsewhere(status: &tonic::Status) -> v1::Check {
    match reason_of(status) {
        Some(Reason::NotARepository) => skipped(AREA, "repository", "this directory is in no git repository"),
        _ => failure(
            AREA,
            "repository",
            status.message(),
            &fix_of(status).unwrap_or_default(),
        ),
    }
}

fn told(settings: &Settings, path: &Path) -> String {
    let profile = settings.profile.as_ref();
    let profile = profile.map_or_else(|| "no profile".to_owned(), |name| format!("profile `{name}`"));
    format!(
        "`{}` names project `{}`, source `{}` and {profile}",
        path.display(),
        settings.project,
        settings.policy.source_branch
    )
}

/// Says whether git tells us of checkouts. Blocking.
fn hook(hooks_dir: &Path) -> v1::Check {
    let place = hooks_dir.join(HOOK);
    let shown = place.display();
    let install = "run `lakebase hook install`";
    let meta = match fs::symlink_metadata(&place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let message = "there is no post-checkout hook, so `git checkout` does not wait for its branch";
            return warning(AREA, "hook", message, install);
        }
        Err(error) => return warning(AREA, "hook", format!("cannot read `{shown}`: {error}"), install),
        Ok(meta) => meta,
    };
    let target = fs::read_link(&place).unwrap_or_default();
    if meta.is_symlink() && target.file_name().is_some_and(|name| name == HOOK_BINARY) {
        if target.exists() {
            return ok(AREA, "hook", format!("`{shown}` is ours"));
        }
        let message = format!("`{shown}` leads to `{}`, which is not there", target.display());
        return failure(AREA, "hook", message, install);
    }
    if calls_us(&place) {
        return ok(
            AREA,
            "hook",
            format!("`{shown}` is your own, and calls `{HOOK_LINE}`"),
        );
    }
    let message = format!("`{shown}` is your own, and does not call us");
    warning(
        AREA,
        "hook",
        message,
        &format!("add this line to it: {HOOK_LINE} \"$@\""),
    )
}

fn calls_us(place: &Path) -> bool {
    let mut text = Vec::new();
    // A pipe or a device in its place would hold us.
    let is_file = fs::metadata(place).is_ok_and(|meta| meta.is_file());
    let read = is_file
        && fs::File::open(place).is_ok_and(|file| file.take(HOOK_BYTES).read_to_end(&mut text).is_ok());
    read && String::from_utf8_lossy(&text).contains(HOOK_LINE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lakebase_proto::v1::CheckState;
    use std::os::unix::fs::symlink;

    fn state(hooks_dir: &Path) -> CheckState {
        hook(hooks_dir).state()
    }

    #[test]
    fn a_hook_is_ours_or_calls_us_or_is_a_strangers() {
        let dir = tempfile::tempdir().expect("made");
        assert_eq!(state(dir.path()), CheckState::Warning);
        let place = dir.path().join(HOOK);
        fs::write(&place, "#!/bin/sh\nexec true\n").expect("written");
        assert_eq!(state(dir.path()), CheckState::Warning);
        fs::write(&place, "#!/bin/sh\nlakebase hook post-checkout \"$@\"\n").expect("written");
        assert_eq!(state(dir.path()), CheckState::Ok);
        fs::remove_file(&place).expect("removed");
        let binary = dir.path().join(HOOK_BINARY);
        symlink(&binary, &place).expect("linked");
        assert_eq!(state(dir.path()), CheckState::Failure);
        fs::write(&binary, "").expect("written");
        assert_eq!(state(dir.path()), CheckState::Ok);
    }
}

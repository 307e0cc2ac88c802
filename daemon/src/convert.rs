//! From the daemon's words to the contract's.

use crate::board::{BranchView, Ownership, Problem, RepositoryView, UnusedView, WatchMode, WorktreeView};
use crate::credentials::{Minted, Target};
use crate::ledger::LoggedEvent;
use crate::services::{LocalInfo, LocalState};
use chrono::TimeDelta;
use daemon_core::Timestamp;
use daemon_core::confirmed::Change;
use daemon_core::plan::Standing;
use daemon_core::state::Head;
use lakebase_proto::v1;
use secrecy::ExposeSecret;
use std::path::Path;

pub(crate) fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.timestamp_subsec_nanos()).unwrap_or_default();
    prost_types::Timestamp {
        seconds: at.timestamp(),
        nanos,
    }
}

pub(crate) fn duration(span: TimeDelta) -> prost_types::Duration {
    prost_types::Duration {
        seconds: span.num_seconds(),
        nanos: span.subsec_nanos(),
    }
}

pub(crate) fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

pub(crate) fn local_state(state: LocalState) -> v1::LocalState {
    match state {
        LocalState::None => v1::LocalState::Unspecified,
        LocalState::Starting => v1::LocalState::Starting,
        LocalState::Serving => v1::LocalState::Serving,
        LocalState::Refused => v1::LocalState::Refused,
    }
}

pub(crate) fn problem(problem: &Problem) -> v1::Problem {
    v1::Problem {
        message: problem.message.clone(),
        fix: problem.fix.clone(),
    }
}

pub(crate) fn state(worktree: &WorktreeView) -> v1::WorktreeState {
    match worktree.standing {
        Standing::Ready if worktree.target.is_some() => v1::WorktreeState::Ready,
        Standing::Pending if worktree.branch.is_none() => v1::WorktreeState::Pending,
        Standing::Ready | Standing::Pending => v1::WorktreeState::Creating,
        Standing::Failing => v1::WorktreeState::Failing,
        Standing::Blocked => v1::WorktreeState::Blocked,
        Standing::Unused => v1::WorktreeState::Unspecified,
    }
}

pub(crate) fn worktree(repository: &RepositoryView, worktree: &WorktreeView) -> v1::Worktree {
    let head = match &worktree.head {
        Head::Branch(name) => Some(v1::worktree::Head::GitBranch(name.short().to_owned())),
        Head::Detached(commit) => Some(v1::worktree::Head::DetachedAt(commit.clone())),
        Head::Unknown(_) => None,
    };
    v1::Worktree {
        repository_id: repository.id.to_string(),
        worktree_id: worktree.id.as_str().to_owned(),
        path: path(&worktree.root),
        head,
        locked: worktree.is_locked,
        state: state(worktree).into(),
        why: worktree.why.clone(),
        branch: worktree.branch.as_ref().map(branch),
        problem: worktree.problem.as_ref().map(problem),
    }
}

pub(crate) fn unused(repository: &RepositoryView, unused: &UnusedView) -> v1::UnusedBranch {
    v1::UnusedBranch {
        repository_id: repository.id.to_string(),
        branch: Some(branch(&unused.branch)),
        orphaned: unused.is_orphan,
        why: unused.why.clone(),
    }
}

pub(crate) fn branch(branch: &BranchView) -> v1::Branch {
    let ownership = match branch.ownership {
        Some(Ownership::Owned) => v1::Ownership::Owned,
        Some(Ownership::Adopted) => v1::Ownership::Adopted,
        None => v1::Ownership::Unspecified,
    };
    v1::Branch {
        branch_id: branch.id.to_string(),
        name: branch.name.clone(),
        uid: branch.uid.as_ref().map(ToString::to_string).unwrap_or_default(),
        source_branch: branch.source.clone().unwrap_or_default(),
        expire_time: branch.expire_time.map(timestamp),
        ownership: ownership.into(),
        logical_size_bytes: branch.logical_size_bytes,
        own_size_bytes: branch.own_size_bytes,
        create_time: branch.create_time.map(timestamp),
    }
}

pub(crate) fn event(event: &LoggedEvent) -> v1::Event {
    v1::Event {
        sequence: event.sequence.cast_unsigned(),
        time: Some(timestamp(event.at)),
        repository_id: event.repository.to_string(),
        branch_id: event.branch.clone(),
        action: event.action.clone(),
        why: event.why.clone(),
    }
}

pub(crate) fn credential(worktree: &WorktreeView, target: &Target, minted: &Minted) -> v1::Credential {
    v1::Credential {
        host: target.host.clone(),
        port: target.port.into(),
        database: target.database.clone(),
        user: target.user.clone(),
        password: minted.password.expose_secret().to_owned(),
        sslmode: target.sslmode.to_owned(),
        ssl_root_cert: target.ssl_root_cert.as_deref().map(path).unwrap_or_default(),
        expire_time: Some(timestamp(minted.expire_time)),
        endpoint: target.endpoint.to_string(),
        branch: worktree.branch.as_ref().map(branch),
    }
}

pub(crate) fn repository(view: &RepositoryView) -> v1::Repository {
    let settings = view.settings.as_deref();
    let watch_mode = match view.watch_mode {
        WatchMode::Events => v1::WatchMode::Events,
        WatchMode::Polling => v1::WatchMode::Polling,
    };
    v1::Repository {
        id: view.id.to_string(),
        common_dir: path(&view.common_dir),
        main_worktree: view.main_worktree.as_deref().map(path).unwrap_or_default(),
        hooks_dir: path(&view.hooks_dir),
        config_path: path(&view.config_path),
        config_exists: view.config_path.symlink_metadata().is_ok(),
        project_id: settings
            .map(|settings| settings.project.to_string())
            .unwrap_or_default(),
        source_branch: settings
            .map(|settings| settings.policy.source_branch.to_string())
            .unwrap_or_default(),
        service: view.service.clone(),
        watch_mode: watch_mode.into(),
        problems: view.problems.iter().map(problem).collect(),
        proposed_changes: view.proposed.iter().map(change).collect(),
    }
}

pub(crate) fn change(change: &Change) -> v1::ConfigurationChange {
    v1::ConfigurationChange {
        key: change.key.to_owned(),
        confirmed: change.confirmed.clone(),
        proposed: change.proposed.clone(),
    }
}

pub(crate) fn local(info: &LocalInfo) -> v1::LocalLakebase {
    v1::LocalLakebase {
        api_url: info.api_url.clone(),
        data_dir: path(&info.data_dir),
        databricks_config_file: path(&info.databricks_config_file),
        ca_file: path(&info.ca_file),
        postgres_version: info.postgres_version.clone(),
    }
}

//! The shapes that `--json` prints. Programs read them: fields may be added, never renamed or removed. Absent is `null`,
//! times are RFC 3339, states are the words that people see.

use crate::words;
use lakebase_proto::v1;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    message: String,
    fix: Option<String>,
}

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the contract")]
pub(crate) struct Branch {
    branch_id: String,
    name: String,
    uid: String,
    source_branch: Option<String>,
    expire_time: Option<String>,
    create_time: Option<String>,
    ownership: &'static str,
    logical_size_bytes: u64,
    own_size_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the contract")]
pub(crate) struct Worktree {
    repository_id: String,
    worktree_id: Option<String>,
    path: String,
    git_branch: Option<String>,
    detached_at: Option<String>,
    locked: bool,
    state: &'static str,
    why: String,
    branch: Option<Branch>,
    problem: Option<Problem>,
}

#[derive(Debug, Serialize)]
pub(crate) struct UnusedBranch {
    repository_id: String,
    branch: Option<Branch>,
    orphaned: bool,
    why: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Repository {
    id: String,
    common_dir: String,
    main_worktree: Option<String>,
    hooks_dir: String,
    config_path: String,
    config_exists: bool,
    project_id: Option<String>,
    source_branch: Option<String>,
    service: Option<String>,
    watch_mode: &'static str,
    problems: Vec<Problem>,
    proposed_changes: Vec<Change>,
}

/// A change in `lakebase.config`; null for a key that is not set.
#[derive(Debug, Serialize)]
pub(crate) struct Change {
    key: String,
    confirmed: Option<String>,
    proposed: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Check {
    area: &'static str,
    name: String,
    state: &'static str,
    message: String,
    fix: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Event {
    sequence: u64,
    time: Option<String>,
    repository_id: String,
    branch_id: Option<String>,
    action: String,
    why: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Local {
    api_url: String,
    data_dir: String,
    databricks_config_file: String,
    databricks_config_profile: &'static str,
    ca_file: String,
    postgres_version: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Daemon {
    version: String,
    protocol: u32,
    pid: i32,
    start_time: Option<String>,
    socket: String,
    state_dir: String,
    local_lakebase: Option<Local>,
    /// `starting`, `serving` or `refused`.
    local_state: Option<&'static str>,
    problems: Vec<Problem>,
    ledger_problem: Option<Problem>,
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn time(at: Option<&prost_types::Timestamp>) -> Option<String> {
    at.map(ToString::to_string)
}

fn problems(problems: &[v1::Problem]) -> Vec<Problem> {
    problems.iter().map(Problem::from).collect()
}

impl From<&v1::Problem> for Problem {
    fn from(problem: &v1::Problem) -> Self {
        Self {
            message: problem.message.clone(),
            fix: filled(&problem.fix),
        }
    }
}

impl From<&v1::Check> for Check {
    fn from(check: &v1::Check) -> Self {
        Self {
            area: words::area(check.area()),
            name: check.name.clone(),
            state: words::check_state(check.state()),
            message: check.message.clone(),
            fix: filled(&check.fix),
        }
    }
}

impl From<&v1::Branch> for Branch {
    fn from(branch: &v1::Branch) -> Self {
        Self {
            branch_id: branch.branch_id.clone(),
            name: branch.name.clone(),
            uid: branch.uid.clone(),
            source_branch: filled(&branch.source_branch),
            expire_time: time(branch.expire_time.as_ref()),
            create_time: time(branch.create_time.as_ref()),
            ownership: words::ownership(branch.ownership()),
            logical_size_bytes: branch.logical_size_bytes,
            own_size_bytes: Some(branch.own_size_bytes).filter(|bytes| *bytes > 0),
        }
    }
}

impl From<&v1::Worktree> for Worktree {
    fn from(worktree: &v1::Worktree) -> Self {
        let (git_branch, detached_at) = match &worktree.head {
            Some(v1::worktree::Head::GitBranch(name)) => (Some(name.clone()), None),
            Some(v1::worktree::Head::DetachedAt(commit)) => (None, Some(commit.clone())),
            None => (None, None),
        };
        Self {
            repository_id: worktree.repository_id.clone(),
            worktree_id: filled(&worktree.worktree_id),
            path: worktree.path.clone(),
            git_branch,
            detached_at,
            locked: worktree.locked,
            state: words::state(worktree.state()),
            why: worktree.why.clone(),
            branch: worktree.branch.as_ref().map(Branch::from),
            problem: worktree.problem.as_ref().map(Problem::from),
        }
    }
}

impl From<&v1::UnusedBranch> for UnusedBranch {
    fn from(unused: &v1::UnusedBranch) -> Self {
        Self {
            repository_id: unused.repository_id.clone(),
            branch: unused.branch.as_ref().map(Branch::from),
            orphaned: unused.orphaned,
            why: unused.why.clone(),
        }
    }
}

impl From<&v1::Repository> for Repository {
    fn from(repository: &v1::Repository) -> Self {
        Self {
            id: repository.id.clone(),
            common_dir: repository.common_dir.clone(),
            main_worktree: filled(&repository.main_worktree),
            hooks_dir: repository.hooks_dir.clone(),
            config_path: repository.config_path.clone(),
            config_exists: repository.config_exists,
            project_id: filled(&repository.project_id),
            source_branch: filled(&repository.source_branch),
            service: filled(&repository.service),
            watch_mode: words::watch_mode(repository.watch_mode()),
            problems: problems(&repository.problems),
            proposed_changes: repository.proposed_changes.iter().map(Change::from).collect(),
        }
    }
}

impl From<&v1::ConfigurationChange> for Change {
    fn from(change: &v1::ConfigurationChange) -> Self {
        Self {
            key: change.key.clone(),
            confirmed: change.confirmed.clone(),
            proposed: change.proposed.clone(),
        }
    }
}

impl From<&v1::Event> for Event {
    fn from(event: &v1::Event) -> Self {
        Self {
            sequence: event.sequence,
            time: time(event.time.as_ref()),
            repository_id: event.repository_id.clone(),
            branch_id: filled(&event.branch_id),
            action: event.action.clone(),
            why: event.why.clone(),
        }
    }
}

impl From<&v1::LocalLakebase> for Local {
    fn from(local: &v1::LocalLakebase) -> Self {
        Self {
            api_url: local.api_url.clone(),
            data_dir: local.data_dir.clone(),
            databricks_config_file: local.databricks_config_file.clone(),
            databricks_config_profile: words::LOCAL_PROFILE,
            ca_file: local.ca_file.clone(),
            postgres_version: filled(&local.postgres_version),
        }
    }
}

impl From<&v1::DaemonInfo> for Daemon {
    fn from(info: &v1::DaemonInfo) -> Self {
        Self {
            version: info.version.clone(),
            protocol: info.protocol,
            pid: info.pid,
            start_time: time(info.start_time.as_ref()),
            socket: info.socket.clone(),
            state_dir: info.state_dir.clone(),
            local_lakebase: info.local.as_ref().map(Local::from),
            local_state: words::local_state(info.local_state()),
            problems: problems(&info.problems),
            ledger_problem: info.ledger_problem.as_ref().map(Problem::from),
        }
    }
}

//! Rebuilds a ledger that was lost or replaced: looks at each repository, at its old records and at the branches of its project, has
//! the core decide, and writes the new records. Of the service it only asks for lists.

use super::Reconciler;
use crate::attempts;
use crate::board::{BranchView, Ownership, Problem};
use crate::clock;
use crate::git::{self, Claims, Question};
use crate::ledger::{LedgerError, Place, RepositoryRow};
use crate::patient::{Budget, Desk, Hangs};
use crate::provider::{Provider, ProviderError};
use crate::repository_config::{self, Confirmed, Reading};
use daemon_core::config_file::Settings;
use daemon_core::ids::{BranchId, RepositoryId, Slot};
use daemon_core::recovery::{self, Project, Recovered, Repository};
use daemon_core::state::{Record, RecordState, RemoteBranch};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is recovered, or would be.
#[derive(Debug, Default)]
pub(crate) struct Recoveries {
    pub(crate) repositories: Vec<RepositoryRecovery>,
    /// Branches of this user that belong to no slot of these repositories.
    pub(crate) left: Vec<BranchView>,
}

/// One repository's part of it.
#[derive(Debug)]
pub(crate) struct RepositoryRecovery {
    pub(crate) row: RepositoryRow,
    /// Where its branches are; `None` for a repository that never had a configuration.
    pub(crate) place: Option<Place>,
    pub(crate) branches: Vec<(Recovered, BranchView)>,
    /// Slots in use for which no branch was found.
    pub(crate) missing: Vec<Slot>,
    /// The worktrees of the slots in use.
    pub(crate) roots: BTreeMap<Slot, Vec<PathBuf>>,
    /// What keeps it from being recovered now.
    pub(crate) problem: Option<Problem>,
}

/// A repository of which everything but its branches is known.
struct Examined {
    index: usize,
    provider: Arc<Provider>,
    settings: Settings,
    claims: Claims,
}

impl Reconciler {
    /// Finds out what each repository gets back; with `apply` writes it down and confirms the repository. One that cannot be read
    /// stays as it is.
    ///
    /// # Errors
    /// When the ledger fails.
    pub(crate) async fn recover(
        &self,
        rows: Vec<RepositoryRow>,
        desk: &Desk,
        apply: bool,
    ) -> Result<Recoveries, LedgerError> {
        let mut recoveries = Recoveries::default();
        let mut by_place: BTreeMap<Place, Vec<Examined>> = BTreeMap::new();
        for (index, row) in rows.into_iter().enumerate() {
            let mut recovery = RepositoryRecovery::of(row);
            match self.examine(index, &recovery.row, desk).await {
                Ok(Some(examined)) => {
                    let place = place_of(&examined.provider);
                    recovery.place = Some(place.clone());
                    recovery.roots.clone_from(&examined.claims.roots);
                    by_place.entry(place).or_default().push(examined);
                }
                Ok(None) if apply => self.ledger.confirm_repository(&recovery.row.id).await?,
                Ok(None) => {}
                Err(problem) => recovery.problem = Some(problem),
            }
            recoveries.repositories.push(recovery);
        }
        for (place, examined) in by_place {
            self.recover_in(&place, &examined, &mut recoveries, apply).await?;
        }
        Ok(recoveries)
    }

    /// Looks at a repository, and connects to its service. `None`: no configuration was ever in force, so it has no branch.
    async fn examine(
        &self,
        index: usize,
        row: &RepositoryRow,
        desk: &Desk,
    ) -> Result<Option<Examined>, Problem> {
        let (question, registered_at) = (question(row), row.registered_at);
        let budget = Budget::Repository(row.id.clone());
        let claims = desk
            .run(budget, move || git::claims(&question, registered_at))
            .await;
        let claims = claims.map_err(|hangs| hanging(row, hangs))?;
        let claims = claims.map_err(|reason| unreadable(row, reason))?;
        let Some(settings) = self.settings_known(row, desk).await? else {
            return Ok(None);
        };
        let provider = self.services.provider(&settings).await?;
        Ok(Some(Examined {
            index,
            provider,
            settings,
            claims,
        }))
    }

    /// The settings that were in force, else those of the file: none were ever known of a repository that is new here.
    async fn settings_known(&self, row: &RepositoryRow, desk: &Desk) -> Result<Option<Settings>, Problem> {
        match Confirmed::of(row.confirmed_config.as_deref()) {
            Confirmed::None => {}
            confirmed => return Ok(confirmed.settings()),
        }
        let (worktree, common_dir) = (row.main_worktree.clone(), row.common_dir.clone());
        let budget = Budget::Repository(row.id.clone());
        let reading = desk
            .run(budget, move || {
                repository_config::of(worktree.as_deref(), &common_dir)
            })
            .await;
        match reading.map_err(|hangs| hanging(row, hangs))? {
            Reading::Valid(settings) => Ok(Some(*settings)),
            Reading::Missing | Reading::Broken(_) => Ok(None),
        }
    }

    /// Recovers the repositories of one project.
    async fn recover_in(
        &self,
        place: &Place,
        examined: &[Examined],
        recoveries: &mut Recoveries,
        apply: bool,
    ) -> Result<(), LedgerError> {
        let turn = self.turn(place);
        let _turn = turn.lock().await;
        let Some(provider) = examined.first().map(|it| &it.provider) else {
            return Ok(());
        };
        let ids: Vec<_> = examined
            .iter()
            .map(|it| recoveries.repositories[it.index].row.id.clone())
            .collect();
        let project = match self.project(provider, place, &ids).await? {
            Ok(project) => project,
            Err(problem) => {
                for it in examined {
                    recoveries.repositories[it.index].problem = Some(problem.clone());
                }
                return Ok(());
            }
        };
        let mut repositories = vec![];
        for it in examined {
            repositories.push(
                self.known(&recoveries.repositories[it.index].row, it, place)
                    .await?,
            );
        }
        let recovered = recovery::recover(&project, &repositories);
        let mut records: Vec<(RepositoryId, Vec<Record>)> = vec![];
        for ((it, id), found) in examined.iter().zip(ids).zip(recovered.repositories) {
            let new = found.recovered.iter().map(|it| it.record.clone());
            records.push((id, new.collect()));
            let into = &mut recoveries.repositories[it.index];
            into.missing = found.missing;
            let shown = |found: Recovered| shown(provider, &project, found);
            into.branches = found.recovered.into_iter().filter_map(shown).collect();
        }
        let left = recovered
            .left
            .iter()
            .filter_map(|id| project.living.branches.get(id));
        recoveries
            .left
            .extend(left.map(|remote| branch_view(provider, remote, None)));
        if apply {
            self.ledger.recover(place, &records).await?;
        }
        Ok(())
    }

    /// The project's branches, but for those that records of other repositories name, and those that were to be deleted.
    async fn project(
        &self,
        provider: &Provider,
        place: &Place,
        ids: &[RepositoryId],
    ) -> Result<Result<Project, Problem>, LedgerError> {
        let others = self.ledger.names_of_others(ids, place).await?;
        let (mut living, mut lapsed) = match provider.observe_with_lapsed().await {
            Ok(observed) => observed,
            Err(error) => return Ok(Err(attempts::problem(&error))),
        };
        let mut unwanted: BTreeSet<BranchId> = others.clone();
        for (id, remote) in &lapsed {
            if let Some(uid) = &remote.uid
                && self.ledger.is_condemned(place, uid).await?
            {
                unwanted.insert(id.clone());
            }
        }
        living.branches.retain(|id, _| !others.contains(id));
        lapsed.retain(|id, _| !unwanted.contains(id));
        Ok(Ok(Project {
            origin: place.origin.clone(),
            id: place.project.clone(),
            user_name: provider.user_name.clone(),
            living,
            lapsed,
            now: clock::now(),
        }))
    }

    async fn known(
        &self,
        row: &RepositoryRow,
        examined: &Examined,
        place: &Place,
    ) -> Result<Repository, LedgerError> {
        Ok(Repository {
            id: row.id.clone(),
            policy: examined.settings.policy.clone(),
            main_git_branch: examined.claims.main_git_branch.clone(),
            claimants: examined.claims.claimants.clone(),
            records: self.ledger.old_records(&row.id, place).await?,
        })
    }
}

impl RepositoryRecovery {
    fn of(row: RepositoryRow) -> Self {
        Self {
            row,
            place: None,
            branches: vec![],
            missing: vec![],
            roots: BTreeMap::new(),
            problem: None,
        }
    }
}

fn place_of(provider: &Provider) -> Place {
    Place {
        origin: provider.origin.clone(),
        project: provider.project_id(),
    }
}

fn question(row: &RepositoryRow) -> Question {
    Question {
        common_dir: row.common_dir.clone(),
        device: row.device,
        inode: row.inode,
        born: row.born,
        main_worktree: row.main_worktree.clone(),
        refs: BTreeMap::new(),
        worktrees: None,
    }
}

fn hanging(row: &RepositoryRow, hangs: Hangs) -> Problem {
    unreadable(
        row,
        format!("cannot read `{}`: {hangs}", row.common_dir.display()),
    )
}

fn unreadable(row: &RepositoryRow, message: String) -> Problem {
    let at: &Path = row.main_worktree.as_ref().unwrap_or(&row.common_dir);
    let fix = format!(
        "run `lakebase init --recover` again once it can be read, or `lakebase forget {}`",
        at.display()
    );
    Problem { message, fix }
}

fn shown(provider: &Provider, project: &Project, found: Recovered) -> Option<(Recovered, BranchView)> {
    let from = if found.has_lapsed {
        &project.lapsed
    } else {
        &project.living.branches
    };
    let remote = from.get(&found.record.branch)?;
    let ownership = match found.record.state {
        RecordState::Owned => Ownership::Owned,
        RecordState::Intent | RecordState::Adopted | RecordState::Quarantined => Ownership::Adopted,
    };
    let view = branch_view(provider, remote, Some(ownership));
    Some((found, view))
}

fn branch_view(provider: &Provider, remote: &RemoteBranch, ownership: Option<Ownership>) -> BranchView {
    let name = |id: &BranchId| -> Result<String, ProviderError> { Ok(provider.branch_name(id)?.to_string()) };
    BranchView {
        id: remote.id.clone(),
        name: name(&remote.id).unwrap_or_default(),
        uid: remote.uid.clone(),
        source: remote.source.as_ref().and_then(|source| name(source).ok()),
        expire_time: remote.expire_time,
        ownership,
        logical_size_bytes: remote.logical_size_bytes.unwrap_or_default(),
        own_size_bytes: remote.own_size_bytes.unwrap_or_default(),
        create_time: remote.create_time,
    }
}

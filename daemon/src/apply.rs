//! Does the steps of a plan, one after the other: ledger first, then the service, then the ledger again. Computes nothing:
//! steps carry final values.

use crate::clock;
use crate::ledger::{Event, Ledger, LedgerError, Place};
use crate::provider::{Provider, ProviderError};
use chrono::TimeDelta;
use daemon_core::Timestamp;
use daemon_core::ids::{BranchId, RepositoryId, Slot};
use daemon_core::plan::{Action, Step};
use daemon_core::state::{Observed, Record, RecordState, RemoteState, Worktree};
use lakebase_api::Error;
use std::sync::Arc;

/// How long a deleted branch is taken to hold its name (branches: undelete, 7 days).
const NAME_HELD: TimeDelta = TimeDelta::days(7);

/// What steps are done with.
pub(crate) struct Applying<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) provider: &'a Arc<Provider>,
    pub(crate) repository: &'a RepositoryId,
    pub(crate) place: &'a Place,
    /// The repository's records; kept as the ledger has them.
    pub(crate) records: Vec<Record>,
}

/// Why a step was not done.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Nothing may be done while the ledger does not work.
    Ledger(LedgerError),
    /// Only this slot has to wait.
    Provider(ProviderError),
}

impl From<LedgerError> for Failed {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<ProviderError> for Failed {
    fn from(error: ProviderError) -> Self {
        Self::Provider(error)
    }
}

/// Does one step. `observed` is kept in line with what was done, so that the pass can show it.
pub(crate) async fn apply(
    applying: &mut Applying<'_>,
    step: &Step,
    observed: &mut Observed,
) -> Result<(), Failed> {
    let slot = &step.slot;
    match &step.action {
        Action::Keep => return Ok(()),
        Action::Create { branch, source, ttl } => {
            applying.create(slot, branch, source, *ttl, observed).await?;
        }
        Action::Adopt { branch, uid } => {
            let record = applying.new_record(slot, branch, RecordState::Adopted);
            applying
                .save(Record {
                    uid: uid.clone(),
                    ..record
                })
                .await?;
        }
        Action::Own { uid } => {
            let own = |record: &mut Record| {
                record.state = RecordState::Owned;
                record.uid = Some(uid.clone());
            };
            applying.change(slot, own).await?;
        }
        Action::Renew { expire_time } => applying.renew(slot, *expire_time, observed).await?,
        Action::Hold => applying.hold(slot, observed).await?,
        Action::Release { expire_time } => {
            applying.renew(slot, *expire_time, observed).await?;
            applying.change(slot, |record| record.lease_held = false).await?;
        }
        Action::MarkAbsent { reap_after } => {
            applying
                .change(slot, |record| record.reap_after = Some(*reap_after))
                .await?;
        }
        Action::Rename { to } => applying.rename(slot, to).await?,
        Action::MarkPresent => applying.change(slot, |record| record.reap_after = None).await?,
        Action::Quarantine => {
            applying
                .change(slot, |record| record.state = RecordState::Quarantined)
                .await?;
        }
        Action::Reap(permit) => {
            applying.provider.delete(permit).await?;
            applying.bury(slot).await?;
            observed.branches.remove(permit.branch());
        }
        Action::Forget => applying.forget(slot).await?,
    }
    applying.report(step, observed).await
}

/// Records which worktrees are locked: once a worktree is gone, nobody else can say whether it was.
pub(crate) async fn note_locks(
    applying: &mut Applying<'_>,
    worktrees: &[Worktree],
) -> Result<(), LedgerError> {
    for worktree in worktrees {
        let Some(slot) = worktree.slot() else { continue };
        let record = applying.records.iter_mut().find(|record| record.slot == slot);
        if let Some(record) = record.filter(|record| record.was_locked != worktree.is_locked) {
            record.was_locked = worktree.is_locked;
            applying.ledger.save(applying.repository, record).await?;
        }
    }
    Ok(())
}

fn set_expiry(observed: &mut Observed, branch: &BranchId, expire_time: Option<Timestamp>) {
    if let Some(remote) = observed.branches.get_mut(branch) {
        remote.expire_time = expire_time;
    }
}

impl Applying<'_> {
    async fn create(
        &mut self,
        slot: &Slot,
        branch: &BranchId,
        source: &BranchId,
        ttl: Option<TimeDelta>,
        observed: &mut Observed,
    ) -> Result<(), Failed> {
        let intent = self.new_record(slot, branch, RecordState::Intent);
        let intent = Record {
            source: Some(source.clone()),
            ..intent
        };
        self.save(intent.clone()).await?;
        // Without an answer, or without a uid in it, the intent stays, and the next look settles it.
        let made = match self.provider.create(branch, source, ttl).await {
            Err(ProviderError::Service(Error::AlreadyExists { .. }))
                if self.provider.is_held_by_tombstone(branch).await? =>
            {
                return self.give_up_name(slot, branch).await;
            }
            made => made?,
        };
        if let Some(made) = made
            && made.uid.is_some()
        {
            self.save(Record {
                state: RecordState::Owned,
                uid: made.uid.clone(),
                ..intent
            })
            .await?;
            observed.branches.insert(branch.clone(), made);
        }
        Ok(())
    }

    /// Drops a name that the service will not give out: the next look chooses another one.
    async fn give_up_name(&mut self, slot: &Slot, branch: &BranchId) -> Result<(), Failed> {
        self.ledger
            .hold_name(self.place, branch, clock::now() + NAME_HELD)
            .await?;
        self.forget(slot).await
    }

    async fn renew(
        &self,
        slot: &Slot,
        expire_time: Timestamp,
        observed: &mut Observed,
    ) -> Result<(), Failed> {
        let branch = self.record(slot)?.branch;
        self.provider.renew(&branch, expire_time).await?;
        set_expiry(observed, &branch, Some(expire_time));
        Ok(())
    }

    async fn hold(&mut self, slot: &Slot, observed: &mut Observed) -> Result<(), Failed> {
        let branch = self.record(slot)?.branch;
        // Written first: a lease that we hold and have forgotten would never run out.
        self.change(slot, |record| record.lease_held = true).await?;
        self.provider.hold(&branch).await?;
        set_expiry(observed, &branch, None);
        Ok(())
    }

    fn new_record(&self, slot: &Slot, branch: &BranchId, state: RecordState) -> Record {
        Record {
            slot: slot.clone(),
            project: self.place.project.clone(),
            origin: self.place.origin.clone(),
            branch: branch.clone(),
            state,
            uid: None,
            source: None,
            since: clock::now(),
            lease_held: false,
            reap_after: None,
            was_locked: false,
        }
    }

    fn record(&self, slot: &Slot) -> Result<Record, Failed> {
        let record = self.records.iter().find(|record| &record.slot == slot).cloned();
        record.ok_or_else(|| Failed::Provider(ProviderError::Odd(format!("no record of {slot}"))))
    }

    async fn save(&mut self, record: Record) -> Result<(), Failed> {
        self.ledger.save(self.repository, &record).await?;
        self.records.retain(|old| old.slot != record.slot);
        self.records.push(record);
        Ok(())
    }

    async fn change(&mut self, slot: &Slot, change: impl FnOnce(&mut Record)) -> Result<(), Failed> {
        let mut record = self.record(slot)?;
        change(&mut record);
        self.save(record).await
    }

    async fn rename(&mut self, from: &Slot, to: &Slot) -> Result<(), Failed> {
        let record = Record {
            slot: to.clone(),
            reap_after: None,
            ..self.record(from)?
        };
        self.ledger.rename(self.repository, self.place, from, to).await?;
        self.records.retain(|old| &old.slot != from);
        self.records.push(record);
        Ok(())
    }

    async fn forget(&mut self, slot: &Slot) -> Result<(), Failed> {
        self.ledger.forget(self.repository, self.place, slot).await?;
        self.records.retain(|record| &record.slot != slot);
        Ok(())
    }

    async fn bury(&mut self, slot: &Slot) -> Result<(), Failed> {
        let record = self.record(slot)?;
        self.ledger.bury(self.repository, &record, clock::now()).await?;
        self.records.retain(|record| &record.slot != slot);
        Ok(())
    }

    /// Writes down what was done, for people: in the event list and in the log.
    async fn report(&self, step: &Step, observed: &Observed) -> Result<(), Failed> {
        let branch = match &step.action {
            Action::Reap(permit) => permit.branch().clone(),
            Action::Create { branch, .. } => branch.clone(),
            Action::Rename { to } => self.record(to)?.branch,
            _ => self
                .record(&step.slot)
                .map_or_else(|_| BranchId::new(""), |record| record.branch),
        };
        let is_made = observed
            .branches
            .get(&branch)
            .is_some_and(|remote| remote.state == RemoteState::Ready);
        let (action, why) = (word(&step.action, is_made), step.why.to_string());
        tracing::info!(%branch, slot = %step.slot, why, "{action}");
        let event = Event {
            at: clock::now(),
            repository: self.repository,
            branch: &branch,
            action,
            why: &why,
        };
        Ok(self.ledger.log(&event).await?)
    }
}

/// What was done, in one word of the event list.
fn word(action: &Action, is_made: bool) -> &'static str {
    match action {
        Action::Keep => "kept",
        Action::Create { .. } if is_made => "created",
        Action::Create { .. } => "asked for",
        Action::Adopt { .. } => "adopted",
        Action::Own { .. } => "confirmed",
        Action::Renew { .. } => "renewed",
        Action::Hold => "lease held",
        Action::Release { .. } => "lease released",
        Action::MarkAbsent { .. } => "marked absent",
        Action::Rename { .. } => "moved",
        Action::MarkPresent => "marked present",
        Action::Reap(_) => "reaped",
        Action::Forget => "forgotten",
        Action::Quarantine => "quarantined",
    }
}

//! Does the steps of a plan, one after the other: ledger first, then the service, then the ledger again. Computes nothing:
//! steps carry final values.

use crate::clock;
use crate::failpoint;
use crate::ledger::{Event, Ledger, LedgerError, Place};
use crate::provider::{Holder, Provider, ProviderError};
use crate::services::chain;
use chrono::TimeDelta;
use daemon_core::Timestamp;
use daemon_core::ids::{BranchId, RepositoryId, Slot};
use daemon_core::lease;
use daemon_core::naming;
use daemon_core::permit::DeletePermit;
use daemon_core::plan::{Action, Step};
use daemon_core::state::{GitView, Observed, Record, RecordState, RemoteBranch, RemoteState};
use daemon_core::why::Why;
use lakebase_api::Error;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long a deleted branch is taken to hold its name (branches: undelete, 7 days).
const NAME_HELD: TimeDelta = TimeDelta::days(7);

/// How long a name that we asked for, and that is given out and yet not to be seen, is taken to be that of our own branch.
const UNSEEN: Duration = Duration::from_mins(10);

/// How many branches a person is offered to give up when there is no room.
const IDLE_SHOWN: usize = 3;

/// What steps are done with.
pub(crate) struct Applying<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) provider: &'a Arc<Provider>,
    pub(crate) repository: &'a RepositoryId,
    pub(crate) place: &'a Place,
    /// The repository's records; kept as the ledger has them.
    pub(crate) records: Vec<Record>,
    /// The slots whose worktrees are locked, as far as [`note_locks`] saw.
    pub(crate) locked: BTreeSet<Slot>,
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
    let before = applying.branch_of(slot);
    match &step.action {
        Action::Keep => return Ok(()),
        Action::Create { branch, source, ttl } => {
            if step.why == Why::Lapsed
                && let Some(done) = applying.bring_back(slot, branch, observed).await?
            {
                return applying.log(step, branch, done).await;
            }
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
            failpoint::pass("release: written");
        }
        Action::MarkAbsent { reap_after } => {
            applying
                .change(slot, |record| record.reap_after = Some(*reap_after))
                .await?;
            failpoint::pass("mark absent: written");
        }
        Action::Rename { to } => applying.rename(slot, to).await?,
        Action::MarkPresent => applying.change(slot, |record| record.reap_after = None).await?,
        Action::Quarantine => {
            applying
                .change(slot, |record| record.state = RecordState::Quarantined)
                .await?;
        }
        Action::Reap(permit) => applying.reap(slot, permit, observed).await?,
        Action::Forget => {
            applying.forget(slot).await?;
            failpoint::pass("forget: written");
        }
        Action::KeepForGood => applying.keep(slot, observed).await?,
        Action::GiveBack => applying.give_back(slot).await?,
    }
    applying.report(step, before, observed).await
}

/// Starts every grace anew: they are counted by the wall clock, and that was set.
pub(crate) async fn restart_graces(applying: &mut Applying<'_>) -> Result<(), LedgerError> {
    for record in applying.records.iter_mut().filter(|r| r.reap_after.is_some()) {
        tracing::info!(branch = %record.branch, "its grace begins anew: the clock may have been set");
        record.reap_after = None;
        applying.ledger.save(applying.repository, record).await?;
    }
    Ok(())
}

/// Records which worktrees are locked: once a worktree is gone, nobody else can say whether it was.
pub(crate) async fn note_locks(applying: &mut Applying<'_>, git: &GitView) -> Result<(), LedgerError> {
    let is_locked = git.locks();
    for record in &mut applying.records {
        if let Some(now) = is_locked
            .get(&record.slot)
            .filter(|now| **now != record.was_locked)
        {
            record.was_locked = *now;
            applying.ledger.save(applying.repository, record).await?;
        }
    }
    applying.locked = is_locked
        .into_iter()
        .filter_map(|(slot, now)| now.then_some(slot))
        .collect();
    Ok(())
}

fn set_expiry(observed: &mut Observed, branch: &BranchId, expire_time: Option<Timestamp>) {
    if let Some(remote) = observed.branches.get_mut(branch) {
        remote.expire_time = expire_time;
    }
}

impl Applying<'_> {
    /// The branch that a slot's record names.
    pub(crate) fn branch_of(&self, slot: &Slot) -> Option<BranchId> {
        let record = self.records.iter().find(|record| &record.slot == slot);
        record.map(|record| record.branch.clone())
    }

    async fn create(
        &mut self,
        slot: &Slot,
        branch: &BranchId,
        source: &BranchId,
        ttl: Option<TimeDelta>,
        observed: &mut Observed,
    ) -> Result<(), Failed> {
        let before = self.records.iter().find(|record| &record.slot == slot).cloned();
        // Each attempt follows a complete list without the branch, so it is as young as the last attempt.
        let intent = Record {
            source: Some(source.clone()),
            ..self.new_record(slot, branch, RecordState::Intent)
        };
        self.save(intent.clone()).await?;
        failpoint::pass("create: intent written");
        // Without an answer, or without a uid in it, the intent stays, and the next look settles it.
        let made = self.provider.create(branch, source, ttl).await;
        failpoint::pass("create: answered");
        let made = match made {
            Err(ProviderError::Service(error @ Error::AlreadyExists { .. })) => {
                // Whatever has the name, this request has not made it.
                self.put_back(slot, before.clone()).await?;
                let named = before.filter(|record| &record.branch == branch);
                match self.holder_of(&intent, named, error).await? {
                    Some(ours) => {
                        self.provider.begun.made(branch);
                        Some(ours)
                    }
                    None => return Ok(()),
                }
            }
            made => {
                self.provider.begun.is_given_out(branch);
                if made.as_ref().is_err_and(|error| !error.is_unclear()) {
                    self.put_back(slot, before).await?;
                }
                made.map_err(|error| self.with_room(branch, error, observed))?
            }
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
            failpoint::pass("create: owned");
            observed.branches.insert(branch.clone(), made);
        }
        Ok(())
    }

    /// Finds out who has the name that we cannot have; `named` is what was recorded under it before. Returns the branch if it
    /// is the one that we asked for then, and got no answer.
    async fn holder_of(
        &mut self,
        intent: &Record,
        named: Option<Record>,
        error: Error,
    ) -> Result<Option<RemoteBranch>, Failed> {
        let holder = self.provider.holder(&intent.branch).await?;
        let is_old = match holder {
            Holder::Nobody => self.provider.begun.unseen_for(&intent.branch) > UNSEEN,
            Holder::Living(_) | Holder::Deleted { .. } => false,
        };
        let asked = named
            .as_ref()
            .filter(|record| record.state == RecordState::Intent);
        match holder {
            Holder::Living(remote) if asked.is_some_and(|asked| asked.is_met_by(&remote)) => {
                return Ok(Some(remote));
            }
            // Somebody was faster, or the list left out what we knew of. The next look sees it, and decides.
            Holder::Living(_) => {}
            Holder::Nobody if named.is_some() && !is_old => {}
            Holder::Deleted { .. } | Holder::Nobody => {
                self.give_up_name(&intent.slot, &intent.branch).await?;
                return Ok(None);
            }
        }
        Err(ProviderError::Service(error).into())
    }

    /// Leaves a slot's record as it was before a request that was refused: an intent would later take for its own what
    /// somebody else makes under that name.
    async fn put_back(&mut self, slot: &Slot, before: Option<Record>) -> Result<(), Failed> {
        match before {
            Some(record) => self.save(record).await,
            None => self.forget(slot).await,
        }
    }

    /// Brings back a branch of ours whose lease ran out while we could not renew it, if the service still has it. Returns
    /// what was done; `None` if the branch has to be made anew.
    async fn bring_back(
        &mut self,
        slot: &Slot,
        branch: &BranchId,
        observed: &mut Observed,
    ) -> Result<Option<&'static str>, Failed> {
        let record = self.record(slot)?;
        let Some(ours) = record.uid.filter(|_| record.state == RecordState::Owned) else {
            return Ok(None);
        };
        match self.provider.holder(branch).await? {
            Holder::Living(remote) if remote.uid.as_ref() == Some(&ours) => {
                observed.branches.insert(branch.clone(), remote);
                Ok(Some("found again"))
            }
            Holder::Deleted { uid, has_lapsed } if has_lapsed && uid.as_ref() == Some(&ours) => {
                if self.ledger.is_condemned(self.place, &ours).await? {
                    return Ok(None);
                }
                // It comes without an expiration, and gets one at the next look, as a lease that we held open does.
                self.change(slot, |record| record.lease_held = true).await?;
                failpoint::pass("undelete: written");
                let undeleted = self.provider.undelete(branch).await;
                failpoint::pass("undelete: answered");
                match undeleted {
                    Ok(()) => Ok(Some("brought back")),
                    Err(error) if error.is_refusal() => {
                        // As when what it was forked from has an expiration by now. A new one is better than none.
                        tracing::warn!(%branch, error = chain(&error), "cannot bring a branch back; it is made anew");
                        Ok(None)
                    }
                    Err(error) => Err(self.with_room(branch, error, observed).into()),
                }
            }
            Holder::Living(_) | Holder::Deleted { .. } | Holder::Nobody => Ok(None),
        }
    }

    /// Tells a person whose project is full what could make room.
    fn with_room(&self, branch: &BranchId, error: ProviderError, observed: &Observed) -> ProviderError {
        let ProviderError::Service(source @ Error::QuotaExceeded { .. }) = error else {
            return error;
        };
        let idle = observed.idle_longest(&naming::prefix(&self.provider.user_name), IDLE_SHOWN);
        let idle: Vec<_> = idle.into_iter().map(BranchId::as_str).collect();
        ProviderError::Full {
            branch: branch.clone(),
            in_use: observed.branches.len(),
            idle: if idle.is_empty() {
                "none of yours".into()
            } else {
                idle.join(", ")
            },
            source: Box::new(source),
        }
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
        let record = self.record(slot)?;
        self.check_lease(&record, Some(expire_time)).await?;
        self.provider.renew(&record.branch, expire_time).await?;
        failpoint::pass("renew: answered");
        set_expiry(observed, &record.branch, Some(expire_time));
        Ok(())
    }

    async fn hold(&mut self, slot: &Slot, observed: &mut Observed) -> Result<(), Failed> {
        let record = self.record(slot)?;
        self.check_lease(&record, None).await?;
        // Written first: a lease that we hold and have forgotten would never run out.
        self.change(slot, |record| record.lease_held = true).await?;
        failpoint::pass("hold: written");
        self.provider.hold(&record.branch).await?;
        failpoint::pass("hold: answered");
        set_expiry(observed, &record.branch, None);
        Ok(())
    }

    async fn reap(
        &mut self,
        slot: &Slot,
        permit: &DeletePermit,
        observed: &mut Observed,
    ) -> Result<(), Failed> {
        self.condemn(slot).await?;
        failpoint::pass("reap: condemned");
        let deleted = self.provider.delete(permit).await;
        failpoint::pass("reap: answered");
        if let Err(error) = deleted {
            if !error.is_unclear() {
                self.spare(slot).await?;
            }
            return Err(error.into());
        }
        self.bury(slot).await?;
        failpoint::pass("reap: buried");
        observed.branches.remove(permit.branch());
        Ok(())
    }

    async fn give_back(&mut self, slot: &Slot) -> Result<(), Failed> {
        // Its lease is ours to run again, which the next look sees to.
        let give_back = |record: &mut Record| {
            record.is_kept = false;
            record.lease_held = true;
        };
        self.change(slot, give_back).await?;
        failpoint::pass("give back: written");
        Ok(())
    }

    async fn keep(&mut self, slot: &Slot, observed: &mut Observed) -> Result<(), Failed> {
        let record = self.record(slot)?;
        self.check_lease(&record, None).await?;
        self.change(slot, |record| record.is_kept = true).await?;
        failpoint::pass("keep: written");
        self.provider.hold(&record.branch).await?;
        failpoint::pass("keep: answered");
        set_expiry(observed, &record.branch, None);
        Ok(())
    }

    /// Reads a branch once more before its lease is moved: since the look, requests may have taken minutes.
    async fn check_lease(&self, record: &Record, to: Option<Timestamp>) -> Result<(), Failed> {
        match self.provider.living(&record.branch).await? {
            Some(fresh) if lease::may_move(record, &fresh, to) => Ok(()),
            Some(_) | None => {
                let changed = format!("`{}` changed since it was listed", record.branch);
                Err(ProviderError::Odd(changed).into())
            }
        }
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
            was_locked: self.locked.contains(slot),
            is_kept: false,
        }
    }

    fn record(&self, slot: &Slot) -> Result<Record, Failed> {
        let record = self.records.iter().find(|record| &record.slot == slot).cloned();
        Ok(record.ok_or_else(|| ProviderError::Odd(format!("no record of {slot}")))?)
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
        failpoint::pass("rename: written");
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

    async fn condemn(&self, slot: &Slot) -> Result<(), Failed> {
        let record = self.record(slot)?;
        Ok(self
            .ledger
            .condemn(self.repository, &record, clock::now())
            .await?)
    }

    async fn spare(&self, slot: &Slot) -> Result<(), Failed> {
        if let Some(uid) = self.record(slot)?.uid {
            self.ledger.spare(self.place, &uid).await?;
        }
        Ok(())
    }

    /// Writes down what was done, for people: in the event list and in the log. `before` is the branch that the slot had.
    async fn report(&self, step: &Step, before: Option<BranchId>, observed: &Observed) -> Result<(), Failed> {
        let branch = match &step.action {
            Action::Create { branch, .. } | Action::Adopt { branch, .. } => branch.clone(),
            _ => before.unwrap_or_else(|| BranchId::new("")),
        };
        let is_made = observed
            .branches
            .get(&branch)
            .is_some_and(|remote| remote.state == RemoteState::Ready);
        self.log(step, &branch, word(&step.action, is_made)).await
    }

    async fn log(&self, step: &Step, branch: &BranchId, action: &str) -> Result<(), Failed> {
        let why = step.why.to_string();
        tracing::info!(%branch, slot = %step.slot, why, "{action}");
        let event = Event {
            at: clock::now(),
            repository: self.repository,
            branch,
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
        Action::KeepForGood => "kept for good",
        Action::GiveBack => "given back",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::begun::Begun;
    use crate::ledger::RepositoryRow;
    use daemon_core::ids::{BranchUid, GitRef, ProjectId};
    use lakebase_api::{Client, ProjectName, TokenSource, Workspace};

    /// Nobody is asked in these tests.
    fn provider() -> Arc<Provider> {
        let workspace = Workspace::with_token(
            "http://127.0.0.1:9".parse().expect("an origin"),
            "dapi".to_owned().into(),
            TokenSource::Environment,
        );
        Arc::new(Provider {
            client: Client::new(workspace).expect("a client"),
            project: ProjectName::new("shop").expect("a name"),
            origin: "local".into(),
            user_name: "jane@example.com".into(),
            ca_file: None,
            begun: Begun::default(),
        })
    }

    #[tokio::test]
    async fn ck_02_when_the_clock_was_set_every_grace_begins_anew() -> Result<(), LedgerError> {
        let ledger = Ledger::in_memory().await?;
        let (repository, provider) = (RepositoryId::new("r"), provider());
        let row = RepositoryRow {
            id: repository.clone(),
            common_dir: "/r".into(),
            device: 1,
            inode: 1,
            confirmed_config: None,
            born: None,
            main_worktree: None,
            registered_at: clock::now(),
            is_retired: false,
            is_unconfirmed: false,
        };
        ledger.register(&row, clock::now()).await?;
        let place = Place {
            origin: "local".into(),
            project: ProjectId::new("shop"),
        };
        let mut applying = Applying {
            ledger: &ledger,
            provider: &provider,
            repository: &repository,
            place: &place,
            records: vec![],
            locked: BTreeSet::new(),
        };
        for (name, reap_after) in [("gone", Some(clock::now())), ("there", None)] {
            let slot = Slot::Ref(GitRef::new(format!("refs/heads/{name}")));
            let record = Record {
                uid: Some(BranchUid::new(name)),
                reap_after,
                ..applying.new_record(&slot, &BranchId::new(name), RecordState::Owned)
            };
            ledger.save(&repository, &record).await?;
        }
        applying.records = ledger.records(&repository, &place).await?;
        let in_grace = |applying: &Applying<'_>| {
            applying
                .records
                .iter()
                .filter(|record| record.reap_after.is_some())
                .count()
        };
        assert_eq!(in_grace(&applying), 1);
        restart_graces(&mut applying).await?;
        assert_eq!(in_grace(&applying), 0);
        assert_eq!(ledger.records(&repository, &place).await?, applying.records);
        Ok(())
    }
}

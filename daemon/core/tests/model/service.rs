//! The control plane of one project, which knows who made every branch. It does as the service does, errors included, and
//! it is also the judge: what the daemon must never ask for is noted as a breach.

use crate::event::Mischief;
use chrono::TimeDelta;
use daemon_core::Timestamp;
use daemon_core::ids::{BranchId, BranchUid, Slot};
use daemon_core::state::{Observed, RemoteBranch, RemoteState};
use std::collections::{BTreeMap, BTreeSet};

/// The furthest that an expiration can be away.
const MAX_EXPIRATION: TimeDelta = TimeDelta::days(30);
const QUOTA: usize = 30;
/// How near to a request somebody else must do the same for nobody to tell the two apart, with room for clocks that differ.
const DOUBLE: TimeDelta = TimeDelta::minutes(5);
const PRODUCTION: &str = "production";
const STAGING: &str = "staging";

/// How a service behaves that is right in every case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// For how long a new branch may be missing from lists.
    pub(crate) list_lag: TimeDelta,
    /// And from reads of its name.
    pub(crate) get_lag: TimeDelta,
    /// How long it takes to make a branch.
    pub(crate) making: TimeDelta,
    /// Whether the name of a deleted branch cannot be had.
    pub(crate) holds_names: bool,
    /// Whether a read of that name shows the deleted branch.
    pub(crate) shows_deleted: bool,
}

/// Who made a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Maker {
    /// The daemon, for this slot of this repository in this life of it.
    Daemon {
        repository: usize,
        slot: Slot,
        life: u32,
    },
    Somebody,
}

impl Maker {
    fn ends_its_life(&mut self) {
        if let Self::Daemon { life, .. } = self {
            *life = u32::MAX;
        }
    }

    /// Says whether it made the branch for the life that a slot has, or had, and not for one that others have ended.
    fn is_for_a_life(&self) -> bool {
        matches!(self, Self::Daemon { life, .. } if *life != u32::MAX)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct TrueBranch {
    pub(crate) remote: RemoteBranch,
    pub(crate) maker: Maker,
    made: Timestamp,
    busy_until: Timestamp,
    /// The daemon took the expiration off; nobody else did.
    is_held: bool,
    /// Somebody decided about its lease.
    pub(crate) is_touched: bool,
    /// It is deleted because its lease ran out.
    has_lapsed: bool,
}

/// Why the service does not do as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Offline,
    AlreadyExists,
    NotFound,
    Quota,
    Invalid(&'static str),
}

/// What a read of one name shows.
#[derive(Debug, Clone)]
pub(crate) enum Got {
    Living(RemoteBranch),
    Deleted {
        uid: Option<BranchUid>,
        has_lapsed: bool,
    },
}

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) branches: BTreeMap<BranchId, TrueBranch>,
    deleted: BTreeMap<BranchId, TrueBranch>,
    manners: Manners,
    is_full: bool,
    made: u32,
    /// What somebody made under a name, from a source and in the minutes in which the daemon asked for the same and got no
    /// answer: nobody can tell it from what was asked for.
    doubles: BTreeSet<BranchUid>,
    uid_prefix: &'static str,
    pub(crate) now: Timestamp,
    /// The children that the last list showed, and the branch that the last read showed.
    told_parents: BTreeSet<BranchId>,
    told: Option<RemoteBranch>,
    pub(crate) breach: Option<String>,
}

impl Service {
    pub(crate) fn new(manners: Manners, uid_prefix: &'static str, now: Timestamp) -> Self {
        let mut service = Self {
            branches: BTreeMap::new(),
            deleted: BTreeMap::new(),
            manners,
            is_full: false,
            made: 0,
            doubles: BTreeSet::new(),
            uid_prefix,
            now,
            told_parents: BTreeSet::new(),
            told: None,
            breach: None,
        };
        service.put(BranchId::new(PRODUCTION), None, None, Maker::Somebody);
        service.of(PRODUCTION).remote.is_default = true;
        service.put(
            BranchId::new(STAGING),
            Some(BranchId::new(PRODUCTION)),
            None,
            Maker::Somebody,
        );
        // They have been there for long.
        service.of(STAGING).made = now - TimeDelta::days(1);
        service.of(PRODUCTION).made = now - TimeDelta::days(1);
        service
    }

    fn of(&mut self, name: &str) -> &mut TrueBranch {
        self.branches.get_mut(&BranchId::new(name)).expect("it is there")
    }

    fn put(&mut self, id: BranchId, source: Option<BranchId>, expire_time: Option<Timestamp>, maker: Maker) {
        self.made += 1;
        self.deleted.remove(&id);
        let remote = RemoteBranch {
            uid: Some(BranchUid::new(format!("br-{}-{}", self.uid_prefix, self.made))),
            id: id.clone(),
            state: RemoteState::Ready,
            is_default: false,
            is_protected: false,
            source,
            expire_time,
            create_time: Some(self.now),
            logical_size_bytes: None,
            own_size_bytes: None,
        };
        let branch = TrueBranch {
            remote,
            maker,
            made: self.now,
            busy_until: self.now,
            is_held: false,
            is_touched: false,
            has_lapsed: false,
        };
        self.branches.insert(id, branch);
    }

    fn breach(&mut self, what: String) {
        self.breach.get_or_insert(what);
    }

    pub(crate) fn has_children(&self, id: &BranchId) -> bool {
        let sources = self.branches.values().map(|branch| &branch.remote.source);
        sources.flatten().any(|source| source == id)
    }

    /// Time goes by; leases run out.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        self.now = now;
        let is_over = |branch: &TrueBranch| branch.remote.expire_time.is_some_and(|at| at <= now);
        let over: Vec<BranchId> = self
            .branches
            .iter()
            .filter(|(_, b)| is_over(b))
            .map(|(id, _)| id.clone())
            .collect();
        for id in over {
            self.of(id.as_str()).has_lapsed = true;
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &BranchId) {
        if let Some(gone) = self.branches.remove(id) {
            self.deleted.insert(id.clone(), gone);
        }
    }

    // ---- what the daemon asks

    /// The pages of one list.
    pub(crate) fn list(&mut self) -> [Observed; 2] {
        let (now, lag) = (self.now, self.manners.list_lag);
        let listed = self.branches.values().filter(|branch| now - branch.made >= lag);
        let listed: Vec<RemoteBranch> = listed.map(|branch| branch.shown(now)).collect();
        self.told_parents = listed.iter().filter_map(|branch| branch.source.clone()).collect();
        let mut rest = Observed {
            branches: listed
                .into_iter()
                .map(|branch| (branch.id.clone(), branch))
                .collect(),
        };
        // The first page has the second half of the alphabet, so that a list that breaks off lacks `jane-main`.
        let first = rest.branches.split_off(&BranchId::new("jane-main-"));
        [Observed { branches: first }, rest]
    }

    pub(crate) fn get(&mut self, id: &BranchId) -> Result<Got, Refused> {
        let (now, lag) = (self.now, self.manners.get_lag);
        let living = self.branches.get(id).filter(|branch| now - branch.made >= lag);
        self.told = living.map(|branch| branch.shown(now));
        let deleted = self.deleted.get(id).filter(|_| self.manners.shows_deleted);
        match (&self.told, deleted) {
            (Some(remote), _) => Ok(Got::Living(remote.clone())),
            (None, Some(gone)) => Ok(Got::Deleted {
                uid: gone.remote.uid.clone(),
                has_lapsed: gone.has_lapsed,
            }),
            (None, None) => Err(Refused::NotFound),
        }
    }

    pub(crate) fn create(
        &mut self,
        id: &BranchId,
        source: &BranchId,
        ttl: Option<TimeDelta>,
        maker: Maker,
    ) -> Result<Option<RemoteBranch>, Refused> {
        let is_held = self.manners.holds_names && self.deleted.contains_key(id);
        if is_held || self.branches.contains_key(id) {
            return Err(Refused::AlreadyExists);
        }
        let parent = self.branches.get(source).ok_or(Refused::NotFound)?;
        if parent.remote.expire_time.is_some() {
            return Err(Refused::Invalid(
                "branches with an expiration cannot have children",
            ));
        }
        if self.is_full || self.branches.len() >= QUOTA {
            return Err(Refused::Quota);
        }
        if let Some((twin, _)) = self.branches.iter().find(|(_, branch)| branch.maker == maker) {
            let twin = twin.clone();
            self.breach(format!("{id} is made for a slot that has {twin}"));
        }
        self.put(
            id.clone(),
            Some(source.clone()),
            ttl.map(|ttl| self.now + ttl),
            maker,
        );
        let making = self.manners.making;
        let new = self.of(id.as_str());
        new.busy_until = new.made + making;
        let is_done = making <= TimeDelta::zero();
        Ok(is_done.then(|| new.remote.clone()))
    }

    /// Moves the end of a lease.
    pub(crate) fn renew(&mut self, id: &BranchId, expire_time: Timestamp) -> Result<(), Refused> {
        let has_children = self.has_children(id);
        let (now, branch) = (self.now, self.branches.get_mut(id).ok_or(Refused::NotFound)?);
        if expire_time <= now || expire_time - now > MAX_EXPIRATION {
            return Err(Refused::Invalid("the expiration is out of range"));
        }
        if branch.remote.is_default || branch.remote.is_protected || has_children {
            return Err(Refused::Invalid("the branch cannot have an expiration"));
        }
        let is_shorter = match branch.remote.expire_time {
            Some(old) => expire_time < old,
            None => !branch.is_held,
        };
        branch.remote.expire_time = Some(expire_time);
        branch.is_held = false;
        if is_shorter {
            self.breach(format!("the lease of {id} is shortened"));
        }
        Ok(())
    }

    /// Takes an expiration off.
    pub(crate) fn hold(&mut self, id: &BranchId) -> Result<(), Refused> {
        let branch = self.branches.get_mut(id).ok_or(Refused::NotFound)?;
        branch.is_held |= branch.remote.expire_time.take().is_some();
        Ok(())
    }

    /// Takes an expiration off because a person said so.
    pub(crate) fn keep(&mut self, id: &BranchId) -> Result<(), Refused> {
        let branch = self.branches.get_mut(id).ok_or(Refused::NotFound)?;
        branch.remote.expire_time = None;
        branch.is_held = true;
        Ok(())
    }

    /// Deletes, softly, as the daemon's only delete does.
    pub(crate) fn delete(&mut self, id: &BranchId) -> Result<(), Refused> {
        let has_children = self.has_children(id);
        let branch = self.branches.get(id).ok_or(Refused::NotFound)?;
        let truth = branch.remote.clone();
        let is_double = truth.uid.as_ref().is_some_and(|uid| self.doubles.contains(uid));
        let is_ours = branch.maker != Maker::Somebody || is_double;
        let told = self.told.take().filter(|told| &told.id == id);
        let told = told.as_ref().unwrap_or(&truth);
        let breach = if !is_ours {
            Some("somebody else's")
        } else if told.is_default {
            Some("the default one")
        } else if told.is_protected {
            Some("protected")
        } else if told.source.is_none() {
            Some("a root")
        } else if self.told_parents.contains(id) {
            Some("a parent")
        } else {
            None
        };
        if let Some(what) = breach {
            self.breach(format!("a delete of {id}, which is {what}"));
        }
        if truth.is_default || truth.is_protected || truth.source.is_none() || has_children {
            return Err(Refused::Invalid("the branch cannot be deleted"));
        }
        self.remove(id);
        Ok(())
    }

    /// Brings a deleted branch back, without an expiration.
    pub(crate) fn undelete(&mut self, id: &BranchId) -> Result<(), Refused> {
        if self.is_full || self.branches.contains_key(id) {
            return Err(Refused::Quota);
        }
        let back = self.deleted.get(id).cloned().ok_or(Refused::NotFound)?;
        let source = back
            .remote
            .source
            .as_ref()
            .and_then(|source| self.branches.get(source));
        if source.is_some_and(|source| source.remote.expire_time.is_some()) {
            return Err(Refused::Invalid(
                "branches with an expiration cannot have children",
            ));
        }
        self.deleted.remove(id);
        let is_twin = |branch: &TrueBranch| branch.maker.is_for_a_life() && branch.maker == back.maker;
        let twin = self.branches.iter().find(|(_, branch)| is_twin(branch));
        if let Some((twin, _)) = twin {
            let twin = twin.clone();
            self.breach(format!("{id} is brought back for a slot that has {twin}"));
        }
        let remote = RemoteBranch {
            expire_time: None,
            ..back.remote
        };
        let back = TrueBranch {
            remote,
            is_held: true,
            has_lapsed: false,
            ..back
        };
        self.branches.insert(id.clone(), back);
        Ok(())
    }

    // ---- what others do

    /// `names` are those that the daemon may want; `held` are those whose lease the daemon holds by its records; what was done about them and not yet written down may be
    /// done once more.
    pub(crate) fn suffer(&mut self, mischief: Mischief, names: &[BranchId], held: &BTreeSet<BranchId>) {
        self.do_mischief(mischief, names);
        for id in held {
            if let Some(branch) = self.branches.get_mut(id) {
                branch.is_held |= branch.remote.expire_time.is_none();
            }
        }
    }

    fn do_mischief(&mut self, mischief: Mischief, names: &[BranchId]) {
        match mischief {
            Mischief::Delete(n) => {
                if let Some(id) = self.leaf(n) {
                    self.remove(&id);
                }
            }
            Mischief::Replace(n) => {
                if let Some(id) = self.leaf(n) {
                    let expire_time = n.is_multiple_of(2).then(|| self.now + TimeDelta::days(2));
                    self.put(id, Some(source_of(n)), expire_time, Maker::Somebody);
                }
            }
            Mischief::Protect(n) => self.touch(n, |branch| {
                branch.expire_time = None;
                branch.is_protected = true;
            }),
            Mischief::Unprotect(n) => self.touch(n, |branch| branch.is_protected = false),
            Mischief::MakeDefault(n) => self.make_default(n),
            Mischief::Fork(n) => self.fork(n),
            Mischief::DropForks => self.drop_forks(),
            Mischief::Open(n) => self.touch(n, |branch| branch.expire_time = None),
            Mischief::Lengthen(n) => {
                let until = self.now + TimeDelta::days(20);
                self.touch(n, |branch| {
                    branch.expire_time = branch.expire_time.map(|at| at.max(until));
                });
            }
            Mischief::Busy(n) => {
                let until = self.now + TimeDelta::seconds(60);
                if let Some(id) = self.any(n) {
                    self.of(id.as_str()).busy_until = until;
                }
            }
            Mischief::TakeName(n) => {
                let id = names[n as usize % names.len()].clone();
                if !self.branches.contains_key(&id) {
                    self.put(id, Some(source_of(n)), None, Maker::Somebody);
                }
            }
            Mischief::Undelete(n) => self.bring_back(n),
            Mischief::Quota => self.is_full = !self.is_full,
        }
    }

    /// The daemon asked for a branch at such a time, and got no answer.
    pub(crate) fn note_unanswered(&mut self, id: &BranchId, asked: Timestamp) {
        let is_double =
            |branch: &&TrueBranch| branch.maker == Maker::Somebody && (branch.made - asked).abs() <= DOUBLE;
        if let Some(branch) = self.branches.get(id).filter(is_double) {
            self.doubles.extend(branch.remote.uid.clone());
        }
    }

    /// One of the branches, those aside that stay.
    fn any(&self, n: u32) -> Option<BranchId> {
        let ids: Vec<&BranchId> = self
            .branches
            .keys()
            .filter(|id| ![PRODUCTION, STAGING].contains(&id.as_str()))
            .collect();
        (!ids.is_empty()).then(|| ids[n as usize % ids.len()].clone())
    }

    /// The same, if it can be deleted.
    fn leaf(&self, n: u32) -> Option<BranchId> {
        let id = self.any(n)?;
        let remote = &self.branches[&id].remote;
        (!remote.is_default && !remote.is_protected && !self.has_children(&id)).then_some(id)
    }

    fn touch(&mut self, n: u32, change: impl FnOnce(&mut RemoteBranch)) {
        if let Some(id) = self.any(n) {
            let branch = self.of(id.as_str());
            let before = branch.remote.expire_time;
            change(&mut branch.remote);
            branch.is_touched = true;
            branch.is_held &= before.is_none() && branch.remote.expire_time.is_none();
        }
    }

    fn make_default(&mut self, n: u32) {
        if self.any(n).is_some() {
            for branch in self.branches.values_mut() {
                branch.remote.is_default = false;
            }
            self.touch(n, |branch| {
                branch.expire_time = None;
                branch.is_default = true;
            });
        }
    }

    fn fork(&mut self, n: u32) {
        let source = self.any(n);
        let source = source.filter(|id| self.branches[id].remote.expire_time.is_none());
        if let Some(source) = source {
            let id = BranchId::new(format!("fork-{}", self.made));
            self.put(id, Some(source), None, Maker::Somebody);
        }
    }

    fn drop_forks(&mut self) {
        let is_fork = |id: &&BranchId| id.as_str().starts_with("fork-") && !self.has_children(id);
        let forks: Vec<BranchId> = self.branches.keys().filter(is_fork).cloned().collect();
        for id in forks {
            self.branches.remove(&id);
        }
    }

    /// A branch that the daemon was told to leave is no longer what it made.
    pub(crate) fn let_go(&mut self, id: &BranchId) {
        if let Some(branch) = self.branches.get_mut(id) {
            branch.maker.ends_its_life();
        }
    }

    /// A branch that somebody brings back is no longer what the daemon made.
    fn bring_back(&mut self, n: u32) {
        let ids: Vec<&BranchId> = self.deleted.keys().collect();
        let id = (!ids.is_empty()).then(|| ids[n as usize % ids.len()].clone());
        let can_come = |id: &BranchId| {
            let source = self.deleted[id].remote.source.as_ref();
            let source = source.and_then(|source| self.branches.get(source));
            !self.branches.contains_key(id) && source.is_none_or(|s| s.remote.expire_time.is_none())
        };
        if let Some(id) = id.filter(can_come) {
            let mut back = self.deleted.remove(&id).expect("it was just listed");
            back.maker.ends_its_life();
            back.remote.expire_time = None;
            // That it has no expiration comes of the way; nobody has asked for it.
            (back.is_held, back.is_touched, back.has_lapsed) = (true, true, false);
            self.branches.insert(id, back);
        }
    }

    /// People clear away what only they can: foreign branches under names that the daemon had chosen, forks, the limit,
    /// a default branch in the wrong place.
    pub(crate) fn calm<'a>(&mut self, quarantined: impl Iterator<Item = &'a BranchId>) {
        self.is_full = false;
        for _ in 0..self.branches.len() {
            self.drop_forks();
        }
        for branch in self.branches.values_mut() {
            branch.remote.is_default = branch.remote.id.as_str() == PRODUCTION;
        }
        for id in quarantined {
            self.branches.remove(id);
            // What forked from it is moved first.
            for child in self
                .branches
                .values_mut()
                .filter(|b| b.remote.source.as_ref() == Some(id))
            {
                child.remote.source = Some(BranchId::new(PRODUCTION));
            }
        }
    }
}

/// What others fork from: as often as not what the daemon does.
fn source_of(n: u32) -> BranchId {
    BranchId::new(if n.is_multiple_of(2) { PRODUCTION } else { STAGING })
}

impl TrueBranch {
    fn shown(&self, now: Timestamp) -> RemoteBranch {
        let mut remote = self.remote.clone();
        if now < self.busy_until {
            remote.state = RemoteState::Transitional("INIT".into());
        }
        remote
    }

    pub(crate) fn is_listed(&self, now: Timestamp) -> bool {
        now - self.made >= TimeDelta::seconds(60)
    }
}

//! Which branches belong to which slots when the ledger cannot tell: from old records, names, sources and times to the records of
//! a new ledger, each with its proof. Decides only; nothing here creates or deletes.
//!
//! | proof | what the branch becomes |
//! |---|---|
//! | an old record names its uid | what the record says |
//! | its name has a suffix that only this repository gives to this slot | owned |
//! | its plain name fits, and it was created when its slot appeared | owned |
//! | only its plain name fits | adopted: another installation of the same user may own it |

use crate::Timestamp;
use crate::ids::{BranchId, Slot};
use crate::naming;
use crate::state::{Record, RecordState, RemoteBranch};
use chrono::TimeDelta;
use std::collections::{BTreeMap, BTreeSet, HashMap};

mod evidence;

pub use evidence::{Claimant, OldRecord, Project, Proof, Recovered, Recoveries, Recovery, Repository};

/// Time within which a daemon that runs creates the branch of a slot that appears.
const PROMPTLY: TimeDelta = TimeDelta::minutes(10);

/// Difference of clocks that is allowed for: the service's times are turned into ours by the `Date` of its answers.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(1);

/// Decides what each repository of a project gets back. Better proofs come first, whatever the order of the repositories.
pub fn recover<'p>(project: &'p Project, repositories: &[Repository]) -> Recoveries {
    let mut search = Search {
        project,
        branches: branches(project),
        claimed: BTreeSet::new(),
        found: repositories.iter().map(|_| Recovery::default()).collect(),
    };
    let steps: [fn(&mut Search<'p>, usize, &Repository); 4] = [
        Search::by_record,
        Search::by_suffix,
        Search::by_name_and_time,
        Search::by_name,
    ];
    for step in steps {
        for (index, repository) in repositories.iter().enumerate() {
            step(&mut search, index, repository);
        }
    }
    search.finish(repositories)
}

#[derive(Debug, Clone, Copy)]
struct Branch<'a> {
    remote: &'a RemoteBranch,
    has_lapsed: bool,
}

/// A living branch hides one of its name that has lapsed: that cannot be undeleted any more.
fn branches(project: &Project) -> BTreeMap<&BranchId, Branch<'_>> {
    let branch = |has_lapsed| move |(id, remote)| (id, Branch { remote, has_lapsed });
    let lapsed = project.lapsed.iter().map(branch(true));
    lapsed
        .chain(project.living.branches.iter().map(branch(false)))
        .collect()
}

struct Search<'a> {
    project: &'a Project,
    branches: BTreeMap<&'a BranchId, Branch<'a>>,
    claimed: BTreeSet<&'a BranchId>,
    found: Vec<Recovery>,
}

impl<'a> Search<'a> {
    fn by_record(&mut self, index: usize, repository: &Repository) {
        let claimants: HashMap<&Slot, &Claimant> = slots(repository).collect();
        for old in &repository.records {
            let record = &old.record;
            let Some(branch) = self.branches.get(&record.branch).copied() else {
                continue;
            };
            if !is_about(record, branch.remote) {
                continue;
            }
            let proof = Proof::Recorded(old.file.clone());
            let of_its_name = claimants.get(&record.slot).copied();
            match of_its_name.filter(|claimant| !is_of_a_former_worktree(record, claimant)) {
                Some(claimant) => self.claim(index, repository, claimant, branch, proof, Some(record)),
                // Nothing needs it, so it is not undeleted.
                None if branch.has_lapsed => {}
                None => {
                    let absent = absent(record, of_its_name.is_some());
                    self.claim(index, repository, &absent, branch, proof, Some(record));
                }
            }
        }
    }

    fn by_suffix(&mut self, index: usize, repository: &Repository) {
        let mut by_suffix: HashMap<&str, Vec<Branch<'a>>> = HashMap::new();
        for (id, branch) in &self.branches {
            if let Some(suffix) = naming::suffix(&self.project.user_name, id) {
                by_suffix.entry(suffix).or_default().push(*branch);
            }
        }
        for claimant in self.open(index, repository) {
            let slots = std::iter::once(&claimant.slot).chain(&claimant.former);
            let suffixes = slots.flat_map(|slot| naming::suffixes(&repository.id, slot));
            let branches = suffixes.filter_map(|suffix| by_suffix.get(&*suffix)).flatten();
            let free = branches.filter(|branch| !self.claimed.contains(&branch.remote.id));
            // The slot's last one, if it had several.
            let newest = free.max_by_key(|branch| (!branch.has_lapsed, branch.remote.create_time));
            if let Some(branch) = newest.copied() {
                self.claim(index, repository, claimant, branch, Proof::Suffix, None);
            }
        }
    }

    fn by_name_and_time(&mut self, index: usize, repository: &Repository) {
        for claimant in self.open(index, repository) {
            let named = self.named(repository, claimant);
            let fits = |branch: &&Branch<'_>| self.is_prompt(repository, claimant, branch.remote);
            if let Some(branch) = named.iter().find(fits).copied() {
                self.claim(index, repository, claimant, branch, Proof::NameAndTime, None);
            }
        }
    }

    fn by_name(&mut self, index: usize, repository: &Repository) {
        for claimant in self.open(index, repository) {
            let named = self.named(repository, claimant);
            let of_today = |branch: &&Branch<'_>| self.is_of_today(repository, claimant, &branch.remote.id);
            let only = || named.first().filter(|_| named.len() == 1);
            if let Some(branch) = named.iter().find(of_today).or_else(only).copied() {
                self.claim(index, repository, claimant, branch, Proof::Name, None);
            }
        }
    }

    /// The claimants of a repository that have no branch yet.
    fn open<'r>(&self, index: usize, repository: &'r Repository) -> Vec<&'r Claimant> {
        let found = self.found[index].recovered.iter();
        let found: BTreeSet<&Slot> = found.map(|recovered| &recovered.record.slot).collect();
        let claimants = repository.claimants.iter();
        claimants
            .filter(|claimant| !found.contains(&claimant.slot))
            .collect()
    }

    /// The free branches with a plain name that fits, best first.
    fn named(&self, repository: &Repository, claimant: &Claimant) -> Vec<Branch<'a>> {
        let user = &self.project.user_name;
        let is_free = |branch: &Branch<'_>| !self.claimed.contains(&branch.remote.id);
        if let Slot::Ref(_) = claimant.slot {
            let names = claimant.names.iter().filter_map(|name| naming::plain(user, name));
            let branches = names.filter_map(|name| self.branches.get(&name).copied());
            return branches.filter(is_free).collect();
        }
        let is_named = |branch: &&Branch<'_>| {
            let mut dirs = claimant.names.iter();
            dirs.any(|dir| naming::main_git_branch(user, dir, &branch.remote.id).is_some())
        };
        let all = self.branches.values().filter(is_named).copied();
        let mut named: Vec<_> = all.filter(is_free).collect();
        named.sort_by_key(|branch| !self.is_of_today(repository, claimant, &branch.remote.id));
        named
    }

    /// Returns whether the daemon would choose this name today.
    fn is_of_today(&self, repository: &Repository, claimant: &Claimant, name: &BranchId) -> bool {
        let (user, Some(first)) = (&self.project.user_name, claimant.names.first()) else {
            return false;
        };
        match claimant.slot {
            Slot::Ref(_) => naming::plain(user, first).as_ref() == Some(name),
            Slot::Worktree(_) => {
                let main = repository.main_git_branch.as_deref().unwrap_or("detached");
                naming::main_git_branch(user, first, name)
                    .is_some_and(|spelled| naming::is_spelled(main, spelled))
            }
        }
    }

    /// Returns whether a branch was created when its slot appeared, from the source and with the lease that a daemon asks for.
    fn is_prompt(&self, repository: &Repository, claimant: &Claimant, remote: &RemoteBranch) -> bool {
        let Some(created) = remote.create_time else {
            return false;
        };
        // One from before may be what the user made for the slot. That is adopted.
        let is_moment = |at: &Timestamp| (*at..=*at + PROMPTLY).contains(&created);
        let prefix = naming::prefix(&self.project.user_name);
        let is_source = |source: &BranchId| {
            let is_parent =
                matches!(claimant.slot, Slot::Worktree(_)) && source.as_str().starts_with(&prefix);
            source == &repository.policy.source_branch || is_parent
        };
        let ends_as_asked = |end: Timestamp| {
            let ttl = repository.policy.ttl;
            ttl.is_some_and(|ttl| end <= self.project.now + ttl + CLOCK_SKEW)
        };
        claimant.appeared.iter().any(is_moment)
            && remote.source.as_ref().is_some_and(is_source)
            && remote.expire_time.is_none_or(ends_as_asked)
    }

    fn claim(
        &mut self,
        index: usize,
        repository: &Repository,
        claimant: &Claimant,
        branch: Branch<'a>,
        proof: Proof,
        old: Option<&Record>,
    ) {
        let recovered = &mut self.found[index].recovered;
        let has_one = recovered.iter().any(|it| it.record.slot == claimant.slot);
        if has_one || !self.claimed.insert(&branch.remote.id) {
            return;
        }
        let state = state(&proof, branch, old);
        let record = Record {
            slot: claimant.slot.clone(),
            project: self.project.id.clone(),
            origin: self.project.origin.clone(),
            branch: branch.remote.id.clone(),
            state,
            uid: branch.remote.uid.clone(),
            source: branch.remote.source.clone(),
            since: old.map_or_else(
                || branch.remote.create_time.unwrap_or(self.project.now),
                |old| old.since,
            ),
            lease_held: false,
            reap_after: None,
            was_locked: claimant.is_locked,
            is_kept: false,
        };
        let has_children = self.project.living.has_children(&branch.remote.id);
        recovered.push(Recovered {
            record: with_lease(record, branch, old, repository.policy.ttl, has_children),
            proof,
            has_lapsed: branch.has_lapsed,
            is_in_use: claimant.is_in_use,
        });
    }

    fn finish(mut self, repositories: &[Repository]) -> Recoveries {
        for (index, repository) in repositories.iter().enumerate() {
            let open = self.open(index, repository);
            let in_use = open.into_iter().filter(|claimant| claimant.is_in_use);
            self.found[index].missing = in_use.map(|claimant| claimant.slot.clone()).collect();
        }
        let prefix = naming::prefix(&self.project.user_name);
        let living = self.project.living.branches.values();
        let left = living.filter(|remote| {
            let is_a_users = remote.id.as_str().starts_with(&prefix) && !remote.is_default;
            is_a_users && remote.source.is_some() && !self.claimed.contains(&remote.id)
        });
        Recoveries {
            left: left.map(|remote| remote.id.clone()).collect(),
            repositories: self.found,
        }
    }
}

/// Every slot by which a claimant may be recorded; one of today goes before a former one of another.
fn slots(repository: &Repository) -> impl Iterator<Item = (&Slot, &Claimant)> {
    let claimants = || repository.claimants.iter();
    let former = claimants().flat_map(|claimant| claimant.former.iter().map(move |slot| (slot, claimant)));
    former.chain(claimants().map(|claimant| (&claimant.slot, claimant)))
}

/// Returns whether a record is about this very branch, by its uid; or asked for it, at the time when it was created.
fn is_about(record: &Record, remote: &RemoteBranch) -> bool {
    match record.state {
        RecordState::Owned | RecordState::Adopted => record.uid.is_some() && record.uid == remote.uid,
        RecordState::Intent => remote.uid.is_some() && record.is_met_by(remote),
        RecordState::Quarantined => false,
    }
}

/// Returns whether a worktree was added after the record was written: then that is about another one of its name.
fn is_of_a_former_worktree(record: &Record, claimant: &Claimant) -> bool {
    claimant.born.is_some_and(|born| record.since + CLOCK_SKEW < born)
}

/// The slot of a record whose worktree or git branch is gone; another worktree may have its name.
fn absent(record: &Record, has_successor: bool) -> Claimant {
    let slot = match &record.slot {
        Slot::Worktree(id) if has_successor => Slot::Worktree(id.succeeded(record.since)),
        slot @ (Slot::Ref(_) | Slot::Worktree(_)) => slot.clone(),
    };
    Claimant {
        slot,
        is_in_use: false,
        is_locked: record.was_locked,
        names: vec![],
        former: vec![],
        born: None,
        appeared: vec![],
    }
}

/// Whose the branch is. One that lapsed was renewed by no installation, so no other one uses it.
fn state(proof: &Proof, branch: Branch<'_>, old: Option<&Record>) -> RecordState {
    let is_ordinary = branch.remote.source.is_some() && !branch.remote.is_default;
    match (proof, old.map(|old| old.state)) {
        (Proof::Recorded(_), Some(RecordState::Adopted)) => RecordState::Adopted,
        (Proof::Recorded(_), _) => RecordState::Owned,
        (Proof::Suffix | Proof::NameAndTime, _) if is_ordinary => RecordState::Owned,
        (Proof::Name, _) if branch.has_lapsed => RecordState::Owned,
        (Proof::Suffix | Proof::NameAndTime | Proof::Name, _) => RecordState::Adopted,
    }
}

/// Works out why a branch has no expiration: it has children, or the user asked to keep it. In doubt it is kept, because a kept
/// branch is never deleted.
fn with_lease(
    record: Record,
    branch: Branch<'_>,
    old: Option<&Record>,
    ttl: Option<TimeDelta>,
    has_children: bool,
) -> Record {
    let (was_held, was_kept) = old.map_or((false, false), |old| (old.lease_held, old.is_kept));
    let (lease_held, is_kept) = match (record.state, branch.remote.expire_time) {
        _ if branch.has_lapsed => (false, false),
        (RecordState::Owned, Some(_)) => (false, false),
        (RecordState::Owned, None) if ttl.is_none() => (was_held, was_kept),
        (RecordState::Owned, None) => (has_children, was_kept || !has_children),
        (RecordState::Intent | RecordState::Adopted | RecordState::Quarantined, _) => (was_held, was_kept),
    };
    Record {
        lease_held,
        is_kept,
        ..record
    }
}

#[cfg(test)]
mod tests;

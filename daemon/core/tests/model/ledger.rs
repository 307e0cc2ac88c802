//! The ledger: what survives the daemon. It notes a breach when a record is lost whose branch still lives, or when two slots
//! get one branch.

use daemon_core::Timestamp;
use daemon_core::ids::{BranchId, BranchUid, Slot};
use daemon_core::state::{Record, RecordState};
use std::collections::{BTreeMap, BTreeSet};

/// Repository, service, slot.
type Key = (usize, usize, Slot);

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    rows: BTreeMap<Key, Record>,
    /// Names that a service will not give out, and until when.
    held: BTreeMap<(usize, BranchId), Timestamp>,
    planted: BTreeSet<Key>,
    /// Branches that we deleted, or meant to, and when.
    pub(crate) condemned: BTreeMap<(usize, BranchUid), Timestamp>,
    pub(crate) breach: Option<String>,
}

impl Ledger {
    pub(crate) fn records(&self, repository: usize, origin: usize) -> Vec<Record> {
        let rows = self.rows.iter();
        rows.filter(|((r, o, _), _)| (*r, *o) == (repository, origin))
            .map(|(_, record)| record.clone())
            .collect()
    }

    /// The same as if nobody asked which service they are for.
    pub(crate) fn records_of_any_origin(&self, repository: usize) -> Vec<Record> {
        let rows = self.rows.iter().filter(|((r, ..), _)| *r == repository);
        let by_slot: BTreeMap<&Slot, &Record> = rows.map(|((.., slot), record)| (slot, record)).collect();
        by_slot.into_values().cloned().collect()
    }

    pub(crate) fn taken(&self, repository: usize, origin: usize, now: Timestamp) -> BTreeSet<BranchId> {
        let others = self
            .rows
            .iter()
            .filter(|((r, o, _), _)| *r != repository && *o == origin);
        let held = self
            .held
            .iter()
            .filter(|((o, _), until)| *o == origin && **until > now);
        others
            .map(|(_, record)| record.branch.clone())
            .chain(held.map(|((_, id), _)| id.clone()))
            .collect()
    }

    pub(crate) fn save(&mut self, repository: usize, origin: usize, record: &Record) {
        let key = (repository, origin, record.slot.clone());
        let twin = self.rows.iter().find(|(other, row)| {
            **other != key
                && other.1 == origin
                && row.branch == record.branch
                && !self.planted.contains(other)
        });
        if let Some(((_, _, slot), _)) = twin.filter(|_| !self.planted.contains(&key)) {
            let what = format!("{} is recorded for {} and for {slot}", record.branch, record.slot);
            self.breach.get_or_insert(what);
        }
        self.rows.insert(key, record.clone());
    }

    /// Drops a record and returns it.
    pub(crate) fn forget(&mut self, repository: usize, origin: usize, slot: &Slot) -> Option<Record> {
        let key = (repository, origin, slot.clone());
        self.planted.remove(&key);
        self.rows.remove(&key)
    }

    pub(crate) fn hold_name(&mut self, origin: usize, id: &BranchId, until: Timestamp) {
        self.held.insert((origin, id.clone()), until);
    }

    /// Somebody else writes.
    pub(crate) fn plant(&mut self, repository: usize, origin: usize, record: Record) {
        let key = (repository, origin, record.slot.clone());
        if !self.rows.contains_key(&key) {
            self.planted.insert(key.clone());
            self.rows.insert(key, record);
        }
    }

    /// The branches whose leases the records say are held.
    pub(crate) fn held_open(&self, origin: usize) -> BTreeSet<BranchId> {
        let held = self
            .rows
            .iter()
            .filter(|((_, o, _), record)| *o == origin && record.lease_held);
        held.map(|(_, record)| record.branch.clone()).collect()
    }

    /// The names that the daemon asked for, as far as the records know no answer.
    pub(crate) fn asked_for(&self, origin: usize) -> BTreeSet<BranchId> {
        let rows = self.rows.iter().filter(|((_, o, _), _)| *o == origin);
        rows.filter(|(_, record)| record.state == RecordState::Intent)
            .map(|(_, record)| record.branch.clone())
            .collect()
    }

    /// How many branches the records say are ours.
    pub(crate) fn owned(&self, origin: usize) -> usize {
        let rows = self.rows.iter().filter(|((_, o, _), _)| *o == origin);
        rows.filter(|(_, record)| record.state == RecordState::Owned)
            .count()
    }

    /// How many branches were deleted, or meant to be.
    pub(crate) fn condemned_since(&self, origin: usize, since: Timestamp) -> usize {
        let here = self.condemned.iter().filter(|((o, _), _)| *o == origin);
        here.filter(|(_, at)| **at >= since).count()
    }

    pub(crate) fn quarantined(&self) -> Vec<(usize, BranchId)> {
        let rows = self
            .rows
            .iter()
            .filter(|(_, record)| record.state == RecordState::Quarantined);
        rows.map(|((_, origin, _), record)| (*origin, record.branch.clone()))
            .collect()
    }
}

//! What is still to be done about branches that no repository looks after any more. Deletes nothing: they run out by
//! themselves, but for those whose leases were held open for their children.

use super::{LIST_LAG, is_other};
use crate::Timestamp;
use crate::state::{Observed, Record, RecordState};
use chrono::TimeDelta;

/// What becomes of a lease that was held open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unattended {
    /// Branches fork from it still, whose own leases run out; or it is so new that the list may leave it out.
    Wait,
    /// It gets an expiration.
    Release {
        /// The end of its lease.
        expire_time: Timestamp,
    },
    /// There is nothing to give back.
    Nothing,
}

/// Decides about one record whose lease is held; `ttl` is the lease's length, `None` if branches do not expire.
pub fn unattended(
    record: &Record,
    observed: &Observed,
    ttl: Option<TimeDelta>,
    now: Timestamp,
) -> Unattended {
    let remote = observed.branches.get(&record.branch);
    let is_held = record.state == RecordState::Owned && record.lease_held && !record.is_kept;
    let ours = remote.filter(|remote| is_held && !is_other(record, remote) && remote.expire_time.is_none());
    if remote.is_none() && (now - record.since).abs() < LIST_LAG {
        return Unattended::Wait;
    }
    match (ours, ttl) {
        (None, _) | (_, None) => Unattended::Nothing,
        (Some(_), Some(_)) if observed.has_children(&record.branch) => Unattended::Wait,
        (Some(_), Some(ttl)) => Unattended::Release {
            expire_time: now + ttl,
        },
    }
}

//! Arithmetic on times: when a lease is renewed, when a credential is refreshed, how long it is good.

use crate::Timestamp;
use crate::state::{Record, RecordState, RemoteBranch};
use chrono::TimeDelta;
use sha2::{Digest, Sha256};

/// A credential that has less than this left is not handed out: a client still has to connect with it.
const CREDENTIAL_MARGIN: TimeDelta = TimeDelta::seconds(30);

/// How far a due time is moved so that a hundred branches are not renewed in one second: a share of the half-life
/// between -10 % and +10 %, always the same for the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jitter {
    permille: i32,
}

impl Jitter {
    /// The jitter of a name.
    pub fn of(name: &str) -> Self {
        let hash = Sha256::digest(name);
        let spread = u16::from_be_bytes([hash[0], hash[1]]);
        Self {
            permille: i32::from(spread % 201) - 100,
        }
    }

    fn apply(self, span: TimeDelta) -> TimeDelta {
        span * (1000 + self.permille) / 1000
    }
}

/// Returns when a lease that ends at `expire_time` and is `ttl` long is to be pushed forward: at half-life ± 10 %.
pub fn renew_at(expire_time: Timestamp, ttl: TimeDelta, jitter: Jitter) -> Timestamp {
    expire_time - jitter.apply(ttl / 2)
}

/// Returns the new end of a lease: `ttl` from now, and never sooner than it is.
pub fn renewed(expire_time: Timestamp, ttl: TimeDelta, now: Timestamp) -> Timestamp {
    expire_time.max(now + ttl)
}

/// Says whether a lease may be moved to `to` (`None`: no expiration) for what a fresh read of the branch shows. To be asked
/// right before, because the service moves leases by name and knows no condition: another branch may have taken the name
/// since the look, or somebody may have given this one more time.
pub fn may_move(record: &Record, fresh: &RemoteBranch, to: Option<Timestamp>) -> bool {
    let is_same = match (&record.uid, &fresh.uid) {
        (Some(ours), Some(theirs)) => ours == theirs,
        (None, _) | (_, None) => record.state == RecordState::Adopted,
    };
    is_same
        && match (fresh.expire_time, to) {
            (Some(end), Some(to)) => to >= end,
            (None, Some(_)) => record.lease_held,
            // Without an expiration it is as somebody else wants it, and we have nothing to hold.
            (end, None) => end.is_some(),
        }
}

/// Returns when a credential is to be replaced: at the half of its life ± 10 %.
pub fn refresh_at(minted_at: Timestamp, expire_time: Timestamp, jitter: Jitter) -> Timestamp {
    minted_at + jitter.apply((expire_time - minted_at) / 2)
}

/// Says whether a credential can still be handed out.
pub fn is_usable(expire_time: Timestamp, now: Timestamp) -> bool {
    now + CREDENTIAL_MARGIN < expire_time
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BranchId, BranchUid, GitRef, ProjectId, Slot};
    use crate::state::RemoteState;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(seconds, 0).expect("in range")
    }

    proptest! {
        #[test]
        fn renewal_falls_due_around_half_life(name in ".{0,20}", ttl_s in 60_i64..2_592_000) {
            let ttl = TimeDelta::seconds(ttl_s);
            let due = renew_at(at(ttl_s), ttl, Jitter::of(&name)) - at(0);
            prop_assert!(due >= ttl * 44 / 100 && due <= ttl * 56 / 100, "{due}");
        }

        #[test]
        fn cp_26_renewal_never_shortens(expire in 0_i64..1_000_000, now in 0_i64..1_000_000, ttl_s in 0_i64..1_000_000) {
            prop_assert!(renewed(at(expire), TimeDelta::seconds(ttl_s), at(now)) >= at(expire));
        }
    }

    #[test]
    fn a_credential_about_to_expire_is_not_usable() {
        assert!(is_usable(at(100), at(69)));
        assert!(!is_usable(at(100), at(70)));
        assert!(!is_usable(at(100), at(200)));
    }

    #[test]
    fn cp_26_a_lease_is_moved_only_forward_and_only_that_of_the_recorded_branch() {
        let record = |state, lease_held| Record {
            slot: Slot::Ref(GitRef::new("refs/heads/x")),
            project: ProjectId::new("shop"),
            origin: "local".into(),
            branch: BranchId::new("jane-x"),
            state,
            uid: Some(BranchUid::new("br-1")),
            source: None,
            since: at(0),
            lease_held,
            reap_after: None,
            was_locked: false,
            is_kept: false,
        };
        let fresh = |uid: &str, expire_time: Option<i64>| RemoteBranch {
            id: BranchId::new("jane-x"),
            uid: Some(BranchUid::new(uid)),
            state: RemoteState::Ready,
            is_default: false,
            is_protected: false,
            source: None,
            expire_time: expire_time.map(at),
            create_time: None,
            logical_size_bytes: None,
            own_size_bytes: None,
        };
        let (ours, held) = (
            record(RecordState::Owned, false),
            record(RecordState::Owned, true),
        );
        // (record, uid, its end, where to, whether it may move)
        let table = [
            (&ours, "br-1", Some(9), Some(10), true),
            (&ours, "br-1", Some(9), Some(9), true),
            (&ours, "br-1", Some(9), Some(8), false),
            (&ours, "br-1", Some(9), None, true),
            (&ours, "br-1", None, Some(10), false),
            (&ours, "br-1", None, None, false),
            (&held, "br-1", None, Some(10), true),
            (&held, "br-1", None, None, false),
            (&ours, "br-2", Some(9), Some(10), false),
            (&ours, "br-2", Some(9), None, false),
            (&held, "br-2", None, Some(10), false),
        ];
        for (record, uid, end, to, may) in table {
            let fresh = fresh(uid, end);
            assert_eq!(may_move(record, &fresh, to.map(at)), may, "{uid} {end:?} {to:?}");
        }
        let nameless = RemoteBranch {
            uid: None,
            ..fresh("", Some(9))
        };
        assert!(!may_move(&ours, &nameless, Some(at(10))));
        assert!(may_move(
            &record(RecordState::Adopted, false),
            &nameless,
            Some(at(10))
        ));
    }
}

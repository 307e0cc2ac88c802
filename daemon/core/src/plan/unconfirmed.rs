//! The steps that remain while the ledger is not confirmed: leases of recorded branches are renewed, and what the user asks for is
//! answered. Nothing is created, deleted, released or forgotten, because a record that was lost would have said otherwise.

use super::{Action, Standing, Step};
use crate::why::Why;

/// Replaces each step that an unconfirmed ledger does not allow by one that says so.
pub(super) fn restrict(steps: Vec<Step>) -> Vec<Step> {
    steps.into_iter().map(restricted).collect()
}

fn restricted(step: Step) -> Step {
    let standing = match (&step.action, &step.why) {
        // Without its branch the worktree waits for the user.
        (Action::Create { .. } | Action::Adopt { .. } | Action::Quarantine, _)
        | (Action::Keep, Why::ParentNotReady) => Standing::Blocked,
        // A lease that we hold may be one that the user asked to keep since.
        (
            Action::Hold
            | Action::Release { .. }
            | Action::MarkAbsent { .. }
            | Action::Reap(_)
            | Action::Forget,
            _,
        ) => step.standing,
        (
            Action::Keep
            | Action::Own { .. }
            | Action::Renew { .. }
            | Action::Rename { .. }
            | Action::MarkPresent
            | Action::KeepForGood
            | Action::GiveBack,
            _,
        ) => return step,
    };
    Step {
        action: Action::Keep,
        why: Why::Unconfirmed,
        standing,
        ..step
    }
}

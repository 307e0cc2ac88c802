//! What a person asks for about a branch comes before everything else, and is answered at once: done, or refused with the
//! reason.

use super::{Action, Planner, Standing};
use crate::ids::Slot;
use crate::permit::{Refusal, may_delete};
use crate::state::{Ask, Record, RecordState, RemoteBranch};
use crate::why::Why;

impl<'a> Planner<'a> {
    /// Answers what is asked about a slot's branch; false when nothing is, or there is no such branch.
    pub(super) fn answered(&mut self, slot: &Slot) -> bool {
        let asked = self.record(slot).and_then(|record| {
            let remote = self.observed.branches.get(&record.branch)?;
            Some((record, remote, self.ask(record)?))
        });
        let Some((record, remote, ask)) = asked else {
            return false;
        };
        let is_used = self.is_in_use(slot);
        if record.reap_after.is_some() && (is_used || !self.is_absent(slot)) {
            // Whatever is asked, it was seen: a later look that does not find it is the first one that does not.
            self.push(slot, Action::MarkPresent, Why::BackAgain, self.standing(slot));
        }
        match ask {
            Ask::Delete if is_used => self.refuse(slot, Refusal::InUse),
            Ask::Delete | Ask::Reset => self.delete(record, remote),
            Ask::Keep | Ask::GiveBack if record.state != RecordState::Owned => {
                self.refuse(slot, Refusal::NotOwned);
            }
            Ask::Keep => self.push(slot, Action::KeepForGood, Why::Asked, self.standing(slot)),
            // Somebody else may have taken its expiration off; that is not given back.
            Ask::GiveBack if !record.is_kept => {
                self.push(slot, Action::Keep, Why::Asked, self.standing(slot));
            }
            Ask::GiveBack => self.push(slot, Action::GiveBack, Why::Asked, self.standing(slot)),
        }
        true
    }

    /// The repository is given up: nothing is made, and what is ours goes.
    pub(super) fn leave(&mut self) {
        for record in self.look.records {
            let slot = &record.slot;
            let may_be_ours = matches!(record.state, RecordState::Owned | RecordState::Intent);
            match (record.state, self.observed.branches.get(&record.branch)) {
                (RecordState::Owned, Some(remote)) => self.delete(record, remote),
                (RecordState::Intent, Some(remote)) => self.settle_intent(record, remote),
                // It may be made, and not be listed yet. Forgotten now it would stay for good.
                (_, None) if may_be_ours && self.is_young(record) => {
                    self.push(slot, Action::Keep, Why::TooYoungToMiss, Standing::Pending);
                }
                (_, _) => self.push(slot, Action::Forget, Why::Asked, Standing::Unused),
            }
        }
    }

    /// Collecting garbage asks for the deletion of every orphan.
    fn ask(&self, record: &Record) -> Option<Ask> {
        let is_garbage = || {
            self.look.asks.collect_garbage
                && record.state == RecordState::Owned
                && self.is_absent(&record.slot)
        };
        let named = self.look.asks.branches.get(&record.branch).copied();
        named.or_else(|| is_garbage().then_some(Ask::Delete))
    }

    fn delete(&mut self, record: &'a Record, remote: &RemoteBranch) {
        match may_delete(record, remote, self.observed, self.question(true)) {
            Ok(permit) => {
                let standing = self.standing(&record.slot);
                self.push(&record.slot, Action::Reap(permit), Why::Asked, standing);
            }
            Err(refusal) => self.refuse(&record.slot, refusal),
        }
    }

    fn refuse(&mut self, slot: &Slot, refusal: Refusal) {
        let standing = self.standing(slot);
        self.push(slot, Action::Keep, Why::AskedInVain(refusal), standing);
    }

    fn standing(&self, slot: &Slot) -> Standing {
        if self.is_in_use(slot) {
            Standing::Pending
        } else {
            Standing::Unused
        }
    }
}

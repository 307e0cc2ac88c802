//! The brake: what nobody asked for happens to few branches at a time. A disk that is away, a `git worktree prune` or a
//! fault of our own may make many worktrees look gone at once.

use super::Planner;
use crate::permit::Refusal;
use crate::state::{Record, RecordState};

/// So many deletes in an hour are always fine.
const FEW: usize = 3;

impl Planner<'_> {
    /// Says whether one more branch may be reaped without anybody's word. A removal that was watched as it happened is
    /// somebody's word.
    pub(super) fn brake(&self, record: &Record) -> Result<(), Refusal> {
        if self.was_watched(&record.slot) {
            return Ok(());
        }
        if *self.is_mass_orphaned.get_or_init(|| self.is_mass_orphaned()) {
            return Err(Refusal::TooManyAtOnce);
        }
        let budget = FEW.max(self.look.reaped.owned / 5);
        if self.look.reaped.in_last_hour + self.reaps >= budget {
            return Err(Refusal::OverBudget);
        }
        Ok(())
    }

    /// Says whether more than half of our branches look orphaned at once.
    fn is_mass_orphaned(&self) -> bool {
        let orphans = self.ours().filter(|record| self.is_orphan(record)).count();
        orphans > FEW.max(self.ours().count() / 2)
    }

    fn ours(&self) -> impl Iterator<Item = &Record> {
        let is_ours = |record: &&Record| record.state == RecordState::Owned;
        self.look.records.iter().filter(is_ours)
    }

    fn is_orphan(&self, record: &Record) -> bool {
        let is_there = self.observed.branches.contains_key(&record.branch);
        is_there && self.is_absent(&record.slot) && !self.was_watched(&record.slot)
    }
}

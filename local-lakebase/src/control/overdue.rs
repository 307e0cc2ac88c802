//! Purges that are due, and how long they have been.
//!
//! The wall clock says when a purge is due, and the wall clock can be wrong: set days ahead it would take the data of branches
//! that can still be undeleted. So a purge waits until it has been due for a while by a clock that cannot be set.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Since when purges have been due, by uid.
#[derive(Debug, Default)]
pub(super) struct Overdue(HashMap<String, Instant>);

impl Overdue {
    /// Returns whether a purge is due and has been at each call for at least `delay`.
    pub(super) fn is_ripe(&mut self, uid: &str, is_due: bool, delay: Duration) -> bool {
        if !is_due {
            self.0.remove(uid);
            return false;
        }
        let now = Instant::now();
        let since = *self.0.entry(uid.to_owned()).or_insert(now);
        now.duration_since(since) >= delay
    }

    /// Forgets what was purged.
    pub(super) fn remove(&mut self, uid: &str) {
        self.0.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_hours(1);

    #[tokio::test(start_paused = true)]
    async fn ck_05_a_purge_waits_until_it_has_been_due_for_an_hour_on_end() {
        let mut overdue = Overdue::default();
        assert!(!overdue.is_ripe("a", true, DELAY));
        tokio::time::advance(DELAY / 2).await;
        assert!(!overdue.is_ripe("a", true, DELAY));
        assert!(!overdue.is_ripe("a", false, DELAY), "the clock was set back");
        tokio::time::advance(DELAY).await;
        assert!(!overdue.is_ripe("a", true, DELAY));
        tokio::time::advance(DELAY).await;
        assert!(overdue.is_ripe("a", true, DELAY));
    }
}

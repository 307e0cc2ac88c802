//! Which key is looked at next: due times, one run at a time, hints that come during a run, back-off after failures.
//! Time is a span since some start; the queue never asks for it.

use crate::backoff;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest pause of a key that was not asked to stay away: whatever made it fail may be over, and everything must be right
/// a minute later.
const LONGEST: Duration = Duration::from_secs(45);

/// Monotonic time since the owner's start.
pub type Tick = Duration;

#[derive(Debug, Clone, Default)]
struct Entry {
    /// When to run next; `None` while nothing is asked for.
    due: Option<Tick>,
    /// Not before this, because of failures. A person's wish passes it.
    not_before: Tick,
    is_running: bool,
    /// A person asked for another run while this one was under way.
    is_wished: bool,
    failures: u32,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done; come back after this long even if nobody asks.
    Done(Duration),
    /// Failed as a whole; come back after a pause.
    Failed,
    /// Failed as a whole, and was asked not to come back sooner than this.
    StayAway(Duration),
}

/// The queue. A key is never handed out twice at once, and no hint is lost.
#[derive(Debug)]
pub struct Queue<K> {
    entries: BTreeMap<K, Entry>,
}

impl<K: Ord + Clone> Default for Queue<K> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// Asks for a look at `key`. The earliest wish wins; a hint does not cut a back-off short.
    pub fn hint(&mut self, key: K, at: Tick) {
        let entry = self.entries.entry(key).or_default();
        entry.due = Some(entry.due.map_or(at, |due| due.min(at)));
    }

    /// Asks as a person does: at once, back-off or not.
    pub fn retry(&mut self, key: &K, now: Tick) {
        self.hint(key.clone(), now);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.not_before = Tick::ZERO;
            entry.is_wished = entry.is_running;
        }
    }

    /// Takes the key that is due longest, marking it as running. `None` if none is due.
    pub fn take(&mut self, now: Tick) -> Option<K> {
        let (key, entry) = self
            .entries
            .iter_mut()
            .filter_map(|(key, entry)| Some((entry.next_run()?, key, entry)))
            .filter(|(at, ..)| *at <= now)
            .min_by_key(|(at, ..)| *at)
            .map(|(_, key, entry)| (key, entry))?;
        entry.is_running = true;
        entry.due = None;
        Some(key.clone())
    }

    /// Says how the run of a taken key ended.
    pub fn finish(&mut self, key: &K, outcome: Outcome, now: Tick, spread: u8) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.is_running = false;
        let next = match outcome {
            Outcome::Done(after) => {
                entry.failures = 0;
                entry.not_before = Tick::ZERO;
                now + after
            }
            Outcome::Failed | Outcome::StayAway(_) => {
                let asked = match outcome {
                    Outcome::StayAway(asked) => asked + asked * u32::from(spread.min(100)) / 400,
                    Outcome::Done(_) | Outcome::Failed => Duration::ZERO,
                };
                entry.failures = entry.failures.saturating_add(1);
                entry.not_before = now + backoff::pause(entry.failures, spread).min(LONGEST).max(asked);
                entry.not_before
            }
        };
        entry.due = Some(entry.due.map_or(next, |due| due.min(next)));
        if std::mem::take(&mut entry.is_wished) {
            entry.not_before = Tick::ZERO;
        }
    }

    /// Forgets a key; if it is running, its end is ignored.
    pub fn remove(&mut self, key: &K) {
        self.entries.remove(key);
    }

    /// When the next key falls due; `None` if none will.
    pub fn next_due(&self) -> Option<Tick> {
        self.entries.values().filter_map(Entry::next_run).min()
    }
}

impl Entry {
    fn next_run(&self) -> Option<Tick> {
        if self.is_running {
            None
        } else {
            self.due.map(|due| due.max(self.not_before))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const RESYNC: Outcome = Outcome::Done(Duration::from_secs(30));

    #[test]
    fn a_key_never_runs_twice_at_once_and_a_hint_during_a_run_is_kept() {
        let mut queue = Queue::default();
        queue.hint("a", Tick::ZERO);
        assert_eq!(queue.take(S), Some("a"));
        queue.hint("a", S);
        assert_eq!(queue.take(S), None);
        queue.finish(&"a", RESYNC, S, 0);
        assert_eq!(queue.take(S), Some("a"));
    }

    #[test]
    fn hints_are_merged_and_the_earliest_wins() {
        let mut queue = Queue::default();
        queue.hint("a", 5 * S);
        queue.hint("a", 2 * S);
        queue.hint("a", 9 * S);
        assert_eq!(queue.next_due(), Some(2 * S));
        assert_eq!(queue.take(2 * S), Some("a"));
        queue.finish(&"a", RESYNC, 2 * S, 0);
        assert_eq!(queue.next_due(), Some(32 * S));
    }

    #[test]
    fn a_hint_does_not_cut_a_back_off_short_but_a_person_does() {
        let mut queue = Queue::default();
        queue.hint("a", Tick::ZERO);
        queue.take(Tick::ZERO);
        queue.finish(&"a", Outcome::Failed, 10 * S, 0);
        queue.hint("a", 10 * S);
        assert_eq!(queue.next_due(), Some(10 * S + Duration::from_millis(500)));
        queue.retry(&"a", 10 * S);
        assert_eq!(queue.take(10 * S), Some("a"));
    }

    #[test]
    fn a_persons_wish_during_a_run_passes_the_back_off_that_comes_of_it() {
        let mut queue = Queue::default();
        queue.hint("a", Tick::ZERO);
        queue.take(Tick::ZERO);
        queue.retry(&"a", S);
        queue.finish(&"a", Outcome::StayAway(300 * S), 2 * S, 0);
        assert_eq!(queue.take(2 * S), Some("a"));
        queue.finish(&"a", Outcome::StayAway(300 * S), 3 * S, 0);
        assert_eq!(queue.next_due(), Some(303 * S), "once");
    }

    #[test]
    fn cp_20_who_is_told_to_stay_away_stays_away_whatever_is_heard() {
        let mut queue = Queue::default();
        queue.hint("a", Tick::ZERO);
        queue.take(Tick::ZERO);
        queue.finish(&"a", Outcome::StayAway(60 * S), S, 100);
        for second in 1..60 {
            queue.hint("a", second * S);
            assert_eq!(queue.take(second * S), None);
        }
        assert_eq!(queue.next_due(), Some(76 * S), "and a quarter longer");
        assert_eq!(queue.take(76 * S), Some("a"));
        queue.finish(&"a", Outcome::StayAway(S), 76 * S, 0);
        assert_eq!(
            queue.next_due(),
            Some(77 * S),
            "as asked, if that is longer than the pause"
        );
    }

    #[test]
    fn success_ends_a_back_off() {
        let mut queue = Queue::default();
        queue.hint("a", Tick::ZERO);
        for _ in 0..5 {
            let now = queue.next_due().expect("it comes back by itself");
            queue.take(now);
            queue.finish(&"a", Outcome::Failed, now, 0);
        }
        let now = queue.next_due().expect("it comes back by itself");
        queue.take(now);
        queue.finish(&"a", RESYNC, now, 0);
        queue.hint("a", now);
        assert_eq!(queue.take(now), Some("a"));
    }

    #[test]
    fn the_longest_waiting_goes_first() {
        let mut queue = Queue::default();
        queue.hint("b", 2 * S);
        queue.hint("a", 3 * S);
        assert_eq!(queue.take(4 * S), Some("b"));
        assert_eq!(queue.take(4 * S), Some("a"));
    }

    #[test]
    fn a_removed_key_is_gone_even_while_running() {
        let mut queue = Queue::default();
        queue.hint("a", Tick::ZERO);
        queue.take(Tick::ZERO);
        queue.remove(&"a");
        queue.finish(&"a", RESYNC, S, 0);
        assert_eq!(queue.next_due(), None);
    }
}

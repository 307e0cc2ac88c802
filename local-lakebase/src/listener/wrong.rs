//! Wrong passwords cost time: each one from a source delays the answer to it, and more than the one before. The right one
//! is never delayed, so that nobody can keep others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The delay of the second wrong password in a row; the first is a slip.
const FIRST: Duration = Duration::from_millis(50);
/// The longest delay; well below what a client may take to show who it is.
const LONGEST: Duration = Duration::from_secs(2);
/// After how long without a wrong password a source is as good as new.
const FORGIVEN: Duration = Duration::from_mins(1);
/// How many sources are remembered. Loopback addresses are many, but not for an honest client.
const MAX_SOURCES: usize = 1024;

/// Wrong passwords of late, by source.
#[derive(Debug, Default)]
pub(super) struct Wrong {
    sources: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

impl Wrong {
    /// Notes a wrong password; the answer to it is to wait so long.
    pub(super) fn note(&self, source: IpAddr) -> Duration {
        let now = Instant::now();
        self.with(|sources| {
            sources.retain(|_, (_, last)| now.duration_since(*last) < FORGIVEN);
            if sources.len() >= MAX_SOURCES && !sources.contains_key(&source) {
                return LONGEST;
            }
            let (count, last) = sources.entry(source).or_insert((0, now));
            (*count, *last) = (count.saturating_add(1), now);
            delay(*count)
        })
    }

    /// Forgets a source that has shown the right one.
    pub(super) fn forget(&self, source: IpAddr) {
        self.with(|sources| sources.remove(&source));
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<IpAddr, (u32, Instant)>) -> T) -> T {
        act(&mut self.sources.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn delay(count: u32) -> Duration {
    match count {
        0 | 1 => Duration::ZERO,
        _ => LONGEST.min(FIRST * 2_u32.saturating_pow(count - 2).min(1000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pg_01_each_wrong_password_waits_longer_until_a_right_one_or_a_pause() {
        let wrong = Wrong::default();
        let (here, there) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let delays: Vec<_> = (0..10).map(|_| wrong.note(here)).collect();
        assert_eq!(delays[..3], [Duration::ZERO, FIRST, FIRST * 2]);
        assert!(delays.is_sorted() && delays[9] == LONGEST);
        assert_eq!(wrong.note(there), Duration::ZERO, "another source");
        wrong.forget(here);
        assert_eq!(wrong.note(here), Duration::ZERO);
        wrong.note(here);
        tokio::time::advance(FORGIVEN).await;
        assert_eq!(wrong.note(here), Duration::ZERO);
    }

    #[test]
    fn the_longest_delay_fits_into_the_time_of_a_login() {
        assert_eq!(delay(u32::MAX), LONGEST);
    }
}

//! The only place that asks the machine for the time: the wall's, which may be set, and that since boot, which only ever
//! goes on, also while the machine sleeps.

use chrono::TimeDelta;
use daemon_core::Timestamp;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How far the wall clock may stray from the other before it counts as set; small corrections are everyday.
const STEP: TimeDelta = TimeDelta::minutes(1);

/// Returns the wall time.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the seam that everybody else goes through"
)]
pub(crate) fn now() -> Timestamp {
    chrono::Utc::now()
}

/// One point in time by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) wall: Timestamp,
    pub(crate) since_boot: Duration,
}

impl Moment {
    /// Returns the wall time if the wall clock had gone on as the other did since an earlier moment, or the wall time that
    /// it shows, whichever is later: what a life that began then has come to.
    pub(crate) fn latest_since(self, earlier: Self) -> Timestamp {
        self.wall.max(earlier.wall + self.passed_since(earlier))
    }

    fn passed_since(self, earlier: Self) -> TimeDelta {
        let passed = self.since_boot.saturating_sub(earlier.since_boot);
        TimeDelta::from_std(passed).unwrap_or(TimeDelta::MAX)
    }
}

/// What tells the moment; tests hold one that they move.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> Moment + Send + Sync>);

impl Clock {
    pub(crate) fn moment(&self) -> Moment {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self(Arc::new(|| Moment {
            wall: now(),
            since_boot: since_boot(),
        }))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").finish_non_exhaustive()
    }
}

/// Notices when somebody sets the wall clock.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    clock: Clock,
    last: Option<Moment>,
}

impl Steps {
    /// Says whether the wall clock may have been set since [`Steps::note`]. Nobody knows what happened before the first time.
    pub(crate) fn may_have_been_set(&self) -> bool {
        let now = self.clock.moment();
        self.last
            .is_none_or(|last| (now.wall - last.wall - now.passed_since(last)).abs() > STEP)
    }

    /// Notes the clock as it is: what rests on how it was is settled.
    pub(crate) fn note(&mut self) {
        self.last = Some(self.clock.moment());
    }

    /// Forgets how the clock was: what was settled may be lost.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }
}

/// A difference of the two clocks that go on that is no nap but their imprecision.
const NAP: Duration = Duration::from_secs(2);

/// Notices that the machine slept.
#[derive(Debug)]
pub(crate) struct Naps {
    clock: Clock,
    /// The time since boot, which goes on in sleep, and the timers' time, which on Linux stands still.
    last: (Duration, Instant),
}

impl Naps {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            last: (clock.moment().since_boot, Instant::now()),
            clock,
        }
    }

    /// Says whether the machine slept since it was last asked.
    pub(crate) fn noticed(&mut self) -> bool {
        let now = (self.clock.moment().since_boot, Instant::now());
        let before = std::mem::replace(&mut self.last, now);
        let awake = now.1.duration_since(before.1);
        now.0.saturating_sub(before.0).saturating_sub(awake) > NAP
    }
}

fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    // The monotonic clock of the other systems goes on while they sleep.
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A clock that stands still until it is moved.
    #[derive(Clone)]
    pub(crate) struct Hands(Arc<Mutex<Moment>>);

    impl Hands {
        pub(crate) fn new() -> Self {
            Self(Arc::new(Mutex::new(Clock::default().moment())))
        }

        pub(crate) fn clock(&self) -> Clock {
            let hands = self.0.clone();
            Clock(Arc::new(move || *hands.lock().expect("no panic")))
        }

        /// Lets time pass, awake or asleep.
        pub(crate) fn pass(&self, time: TimeDelta) {
            let mut moment = self.0.lock().expect("no panic");
            moment.wall += time;
            moment.since_boot += time.to_std().expect("forward");
        }

        /// Sets the wall clock.
        pub(crate) fn set(&self, by: TimeDelta) {
            self.0.lock().expect("no panic").wall += by;
        }

        pub(crate) fn moment(&self) -> Moment {
            *self.0.lock().expect("no panic")
        }
    }

    #[test]
    fn ck_02_a_clock_that_is_set_is_noticed_and_a_sleep_is_not_that() {
        let hands = Hands::new();
        let mut steps = Steps {
            clock: hands.clock(),
            last: None,
        };
        assert!(steps.may_have_been_set(), "nobody knows what was before");
        steps.note();
        hands.pass(TimeDelta::hours(80));
        assert!(!steps.may_have_been_set(), "it slept");
        hands.pass(TimeDelta::seconds(30));
        hands.set(TimeDelta::seconds(2));
        assert!(!steps.may_have_been_set(), "a small correction");
        for by in [TimeDelta::days(365), TimeDelta::days(-730)] {
            steps.note();
            hands.pass(TimeDelta::seconds(30));
            hands.set(by);
            assert!(steps.may_have_been_set(), "{by}");
        }
        steps.note();
        assert!(!steps.may_have_been_set());
        steps.forget();
        assert!(steps.may_have_been_set(), "what rested on it may be lost");
    }

    #[tokio::test(start_paused = true)]
    async fn a_nap_is_noticed_once_and_a_wait_or_a_set_clock_is_none() {
        let hands = Hands::new();
        let mut naps = Naps::new(hands.clock());
        assert!(!naps.noticed(), "nothing happened");
        let wait = Duration::from_secs(5);
        hands.pass(TimeDelta::from_std(wait).expect("short"));
        tokio::time::advance(wait).await;
        assert!(!naps.noticed(), "awake all the time");
        hands.set(TimeDelta::hours(8));
        assert!(!naps.noticed(), "the wall clock was set");
        hands.pass(TimeDelta::hours(8));
        assert!(naps.noticed(), "it slept");
        assert!(!naps.noticed(), "and woke up");
    }

    #[test]
    fn the_clock_since_boot_goes_on() {
        let clock = Clock::default();
        let (one, two) = (clock.moment(), clock.moment());
        assert!(two.since_boot >= one.since_boot && one.since_boot > Duration::ZERO);
    }
}

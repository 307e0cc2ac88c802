//! The end of a stream that its client reads. It never makes the sender wait: what the client has not taken is replaced by
//! what is newer, and a client that takes nothing for too long is given up.

use crate::metrics::{self, Open};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Holds at most one message that is on its way and one that is to follow.
#[derive(Debug)]
pub(crate) struct Outlet<T> {
    out: mpsc::Sender<T>,
    pending: Option<T>,
    /// Since when the client has taken nothing though there was something.
    stuck_since: Instant,
    patience: Duration,
    _open: Open,
}

impl<T> Outlet<T> {
    /// Makes both ends. A client that takes nothing for as long as `patience` is given up.
    pub(crate) fn new(patience: Duration) -> (Self, mpsc::Receiver<T>) {
        let (out, taken) = mpsc::channel(1);
        let outlet = Self {
            out,
            pending: None,
            stuck_since: Instant::now(),
            patience,
            _open: metrics::STREAMS.open(),
        };
        (outlet, taken)
    }

    /// Sends a message, instead of one that was not taken yet.
    pub(crate) fn put(&mut self, message: T) {
        if self.pending.replace(message).is_none() {
            self.stuck_since = Instant::now();
        }
    }

    /// Passes on what was put, and returns when there is nobody to pass it on to.
    ///
    /// # Cancel safety
    /// What was put is kept until it is passed on.
    pub(crate) async fn flow(&mut self) {
        while self.pending.is_some() {
            let given_up = self.stuck_since + self.patience;
            match tokio::time::timeout_at(given_up, self.out.reserve()).await {
                Ok(Ok(place)) => {
                    if let Some(message) = self.pending.take() {
                        place.send(message);
                    }
                }
                Ok(Err(_)) => return,
                Err(_) => {
                    tracing::info!("a client that reads nothing was given up");
                    return;
                }
            }
        }
        self.out.closed().await;
    }

    /// Passes on the last message, as far as the client takes it.
    pub(crate) async fn end(mut self, message: T) {
        self.put(message);
        while self.pending.is_some() {
            let given_up = self.stuck_since + self.patience;
            let Ok(Ok(place)) = tokio::time::timeout_at(given_up, self.out.reserve()).await else {
                return;
            };
            if let Some(message) = self.pending.take() {
                place.send(message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn ld_04_a_slow_reader_misses_values_but_never_the_newest() {
        let (mut outlet, mut taken) = Outlet::new(PATIENCE);
        for value in 0..1000 {
            outlet.put(value);
            assert!(timeout(Duration::from_millis(1), outlet.flow()).await.is_err());
        }
        assert_eq!(taken.recv().await, Some(0));
        assert!(timeout(Duration::from_millis(1), outlet.flow()).await.is_err());
        assert_eq!(taken.recv().await, Some(999));
        assert!(taken.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn ld_04_only_a_reader_that_takes_nothing_is_given_up() {
        let (mut outlet, mut taken) = Outlet::new(PATIENCE);
        assert!(
            timeout(PATIENCE * 10, outlet.flow()).await.is_err(),
            "nothing to take"
        );
        let begun = Instant::now();
        for value in 0..3 {
            outlet.put(value);
        }
        assert!(timeout(Duration::from_secs(1), outlet.flow()).await.is_err());
        outlet.put(3);
        outlet.flow().await;
        assert_eq!(begun.elapsed(), PATIENCE + Duration::from_secs(1));
        drop(outlet);
        assert_eq!(taken.recv().await, Some(2));
        assert_eq!(taken.recv().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_word_is_passed_on_after_the_others() {
        let (mut outlet, mut taken) = Outlet::new(PATIENCE);
        outlet.put(1);
        assert!(timeout(Duration::from_secs(1), outlet.flow()).await.is_err());
        let ending = outlet.end(2);
        let (first, ()) = tokio::join!(taken.recv(), ending);
        assert_eq!(
            (first, taken.recv().await, taken.recv().await),
            (Some(1), Some(2), None)
        );
    }
}

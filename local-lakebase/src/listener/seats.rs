//! Seats of clients that have not logged in yet. A listening socket has a fixed number; a newcomer takes the seat of the client
//! that has been silent for the longest time, so that no crowd of silent clients keeps the others out.
//!
//! The seats are counted per listening socket, which is per endpoint where endpoints have addresses of their own, and not per
//! address of the peer: on loopback any process chooses its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Clients of one listening socket that may be on their way in.
const SEATS: usize = 64;

/// Shortest time between two reports of evicted clients.
const REPORT_PERIOD: Duration = Duration::from_mins(1);

/// Seats of one listening socket.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    /// Number of the next turn. Each sign of life takes one, so that the lowest number is the longest silence.
    next: u64,
    /// Clients that have not sent a byte. They are evicted first.
    silent: BTreeMap<u64, CancellationToken>,
    /// Clients that have.
    speaking: BTreeMap<u64, CancellationToken>,
    /// Evicted clients that were not reported yet.
    evicted: u64,
    reported_at: Option<Instant>,
}

/// A seat, until it is dropped or taken by a newcomer.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    turn: u64,
    evicted: CancellationToken,
}

impl Seats {
    /// Returns a seat, and whether another client lost it.
    pub(super) fn take(self: &Arc<Self>) -> (Seat, bool) {
        let evicted = CancellationToken::new();
        let (turn, is_crowded) = self.with(|taken| {
            let is_crowded = taken.silent.len() + taken.speaking.len() >= SEATS;
            if is_crowded {
                taken.evict();
            }
            let turn = taken.turn();
            taken.silent.insert(turn, evicted.clone());
            (turn, is_crowded)
        });
        let seats = self.clone();
        (Seat { seats, turn, evicted }, is_crowded)
    }

    /// Returns the number of evicted clients since the last report, if it is time for one.
    pub(super) fn report(&self) -> Option<u64> {
        self.with(|taken| {
            let is_due = taken.reported_at.is_none_or(|at| at.elapsed() >= REPORT_PERIOD);
            let due = (is_due && taken.evicted > 0).then(|| std::mem::take(&mut taken.evicted))?;
            taken.reported_at = Some(Instant::now());
            Some(due)
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Taken) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Taken {
    fn turn(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn evict(&mut self) {
        let longest = self.silent.pop_first().or_else(|| self.speaking.pop_first());
        if let Some((_, evicted)) = longest {
            evicted.cancel();
            self.evicted += 1;
        }
    }

    fn remove(&mut self, turn: u64) -> Option<CancellationToken> {
        self.silent.remove(&turn).or_else(|| self.speaking.remove(&turn))
    }
}

impl Seat {
    /// Notes a sign of life.
    pub(super) fn heard(&mut self) {
        self.turn = self.seats.with(|taken| {
            // An evicted client stays so.
            let Some(evicted) = taken.remove(self.turn) else {
                return self.turn;
            };
            let turn = taken.turn();
            taken.speaking.insert(turn, evicted);
            turn
        });
    }

    /// Returns a token that is cancelled when a newcomer takes the seat.
    pub(super) fn evicted(&self) -> CancellationToken {
        self.evicted.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.with(|taken| drop(taken.remove(self.turn)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pg_11_a_newcomer_takes_the_seat_of_the_longest_silent() {
        let seats = Arc::new(Seats::default());
        let mut all: Vec<Seat> = (0..SEATS).map(|_| seats.take().0).collect();
        all[0].heard();
        let (newcomer, is_crowded) = seats.take();
        assert!(is_crowded);
        let evicted = |seat: &Seat| seat.evicted.is_cancelled();
        assert!(evicted(&all[1]), "the first that never spoke");
        assert_eq!(all.iter().filter(|seat| evicted(seat)).count(), 1);
        for seat in &mut all {
            seat.heard();
        }
        let (_second, _) = seats.take();
        assert!(evicted(&newcomer), "one that spoke stays before one that did not");
        let (_third, _) = seats.take();
        let (_fourth, _) = seats.take();
        assert_eq!(all.iter().filter(|seat| evicted(seat)).count(), 1);
    }

    #[test]
    fn pg_11_among_those_that_spoke_the_longest_silence_ends_first() {
        let seats = Arc::new(Seats::default());
        let mut all: Vec<Seat> = (0..SEATS).map(|_| seats.take().0).collect();
        for seat in &mut all {
            seat.heard();
        }
        all[0].heard();
        let (_newcomer, _) = seats.take();
        assert!(!all[0].evicted.is_cancelled() && all[1].evicted.is_cancelled());
        all[1].heard();
        assert!(all[1].evicted.is_cancelled(), "an evicted client stays so");
        drop(all);
        assert!(!seats.take().1, "a seat is free again when it is dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn pg_11_evictions_are_reported_once_a_minute() {
        let seats = Arc::new(Seats::default());
        let _all: Vec<Seat> = (0..SEATS + 10).map(|_| seats.take().0).collect();
        assert_eq!(seats.report(), Some(10));
        let _more = seats.take();
        assert_eq!(seats.report(), None);
        tokio::time::advance(REPORT_PERIOD).await;
        assert_eq!(seats.report(), Some(1));
    }
}

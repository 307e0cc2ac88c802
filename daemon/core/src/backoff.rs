//! How long to leave something alone after it failed.

use std::time::Duration;

/// The first pause; each further failure doubles it.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST: Duration = Duration::from_mins(2);

/// Returns the pause after so many failures in a row. `spread` (0..=100) lengthens it by up to a quarter, so that what
/// failed together does not come back together.
pub fn pause(failures: u32, spread: u8) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let base = doubled.min(LONGEST);
    base + base * u32::from(spread.min(100)) / 400
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        assert_eq!(pause(1, 0), Duration::from_millis(500));
        assert_eq!(pause(2, 0), Duration::from_secs(1));
        assert_eq!(pause(9, 0), LONGEST);
        assert_eq!(pause(u32::MAX, 0), LONGEST);
        assert_eq!(pause(1, 100), Duration::from_millis(625));
    }
}

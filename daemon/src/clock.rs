//! The only place that asks the machine for the wall time.

use daemon_core::Timestamp;

/// Returns the wall time.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the seam that everybody else goes through"
)]
pub(crate) fn now() -> Timestamp {
    chrono::Utc::now()
}

//! The only wall clock of the client.

use prost_types::Timestamp;
use std::time::SystemTime;

#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

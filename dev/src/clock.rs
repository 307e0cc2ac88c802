//! The only wall clock of the program.

use std::time::SystemTime;

#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

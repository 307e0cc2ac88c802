//! Points between two effects where a test ends the daemon, as a power cut would. In a release build there is none.

/// Names the point where the daemon ends.
const VARIABLE: &str = "LAKEBASE_TEST_DIE_AT";

/// Ends the process here if a test asked for that: nothing is written, told or cleaned up any more.
pub(crate) fn pass(name: &str) {
    if cfg!(debug_assertions) && std::env::var_os(VARIABLE).is_some_and(|at| at == name) {
        std::process::abort();
    }
}

//! What the process does to itself before it holds a secret: no core dump, no look into its memory by others of the same
//! user, no panic text, and as many file descriptors as it may have.

use std::io::Write;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Hardens this process. Children that are started later may be looked into again; core dumps stay off for them.
///
/// # Errors
/// When the system refuses.
pub fn harden() -> std::io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    let files = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: files.maximum,
        maximum: files.maximum,
    };
    // Where the limit is endless the system may refuse; what there was is enough to begin with.
    setrlimit(Resource::Nofile, all).ok();
    quiet_panics();
    Ok(())
}

/// A panic's text may hold what the code held, so only its place is told.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(
            place,
            thread = thread.name(),
            "panicked; this is a bug in lakebased"
        );
        // Not `eprintln`: it panics when nobody reads, and a panic in here ends the process.
        writeln!(std::io::stderr(), "lakebased panicked at {place}; this is a bug").ok();
    }));
}

#[cfg(test)]
mod tests;

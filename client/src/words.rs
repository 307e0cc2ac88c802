//! Times, sizes and states in words.

use lakebase_proto::v1::{
    Area, Branch, CheckState, LocalState, Ownership, Problem, WatchMode, WorktreeState,
};
use owo_colors::Style;
use prost_types::Timestamp;

/// Profile of Local Lakebase in its file of profiles, with its token.
pub(crate) const LOCAL_PROFILE: &str = "local";

/// How far a moment is from now, as in `in 5 h 12 min` or `3 days ago`.
pub(crate) fn relative(at: &Timestamp, now: &Timestamp) -> String {
    let seconds = at.seconds - now.seconds;
    let span = span(seconds.unsigned_abs());
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {span}"),
        _ => format!("{span} ago"),
    }
}

/// When a branch expires.
pub(crate) fn expiry(at: Option<&Timestamp>, now: &Timestamp) -> String {
    match at {
        None => "never".to_owned(),
        Some(at) if at.seconds <= now.seconds => format!("expired {}", relative(at, now)),
        Some(at) => relative(at, now),
    }
}

fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86400 if minutes % 60 == 0 => format!("{hours} h"),
        3600..86400 => format!("{hours} h {} min", minutes % 60),
        86400..172_800 => "1 day".to_owned(),
        _ => format!("{days} days"),
    }
}

/// A size in decimal units, as storage is sold and shown.
pub(crate) fn size(bytes: u64) -> String {
    const STEPS: [(u64, &str); 4] = [
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1_000, "kB"),
    ];
    match STEPS.into_iter().find(|(step, _)| bytes >= *step) {
        None => format!("{bytes} B"),
        Some((step, unit)) => format!("{}.{} {unit}", bytes / step, bytes % step * 10 / step),
    }
}

/// How large a branch is, and what of that is not shared with other branches, where that is known.
pub(crate) fn sizes(branch: &Branch) -> String {
    match branch.own_size_bytes {
        // No database is empty.
        0 if branch.logical_size_bytes == 0 => "not measured yet".to_owned(),
        0 => size(branch.logical_size_bytes),
        // Files round up: no branch shares more than nothing.
        own if own >= branch.logical_size_bytes => format!("{}, all own", size(own)),
        own => format!("{} ({} own)", size(branch.logical_size_bytes), size(own)),
    }
}

/// Returns the word for a state of Local Lakebase; none when it is not used.
pub(crate) fn local_state(state: LocalState) -> Option<&'static str> {
    match state {
        LocalState::Unspecified => None,
        LocalState::Starting => Some("starting"),
        LocalState::Serving => Some("serving"),
        LocalState::Refused => Some("refused"),
    }
}

pub(crate) fn state(state: WorktreeState) -> &'static str {
    match state {
        WorktreeState::Unspecified => "none",
        WorktreeState::Pending => "pending",
        WorktreeState::Creating => "creating",
        WorktreeState::Ready => "ready",
        WorktreeState::Failing => "failing",
        WorktreeState::Blocked => "blocked",
    }
}

pub(crate) fn state_style(state: WorktreeState) -> Style {
    match state {
        WorktreeState::Ready => Style::new().green(),
        WorktreeState::Pending | WorktreeState::Creating => Style::new().yellow(),
        WorktreeState::Failing | WorktreeState::Blocked => Style::new().red(),
        WorktreeState::Unspecified => Style::new().dimmed(),
    }
}

pub(crate) fn ownership(ownership: Ownership) -> &'static str {
    match ownership {
        Ownership::Unspecified => "-",
        Ownership::Owned => "owned",
        Ownership::Adopted => "adopted",
    }
}

pub(crate) fn watch_mode(mode: WatchMode) -> &'static str {
    match mode {
        WatchMode::Unspecified => "unknown",
        WatchMode::Events => "events",
        WatchMode::Polling => "polling",
    }
}

/// What checks are about, in the order in which one builds on the other.
pub(crate) const AREAS: [Area; 6] = [
    Area::Program,
    Area::Repository,
    Area::SignIn,
    Area::Service,
    Area::Machine,
    Area::Unspecified,
];

pub(crate) fn area(area: Area) -> &'static str {
    match area {
        Area::Program => "Programs",
        Area::Repository => "Repository",
        Area::SignIn => "Ways of signing in",
        Area::Service => "Service",
        Area::Machine => "Machine",
        Area::Unspecified => "Other",
    }
}

pub(crate) fn check_state(state: CheckState) -> &'static str {
    match state {
        CheckState::Ok => "ok",
        CheckState::Warning => "warning",
        CheckState::Failure => "failure",
        CheckState::Skipped | CheckState::Unspecified => "skipped",
    }
}

pub(crate) fn check_style(state: CheckState) -> Style {
    match state {
        CheckState::Ok => Style::new().green(),
        CheckState::Warning => Style::new().yellow(),
        CheckState::Failure => Style::new().red(),
        CheckState::Skipped | CheckState::Unspecified => Style::new().dimmed(),
    }
}

/// A problem in one line, and what to do in another.
pub(crate) fn problem(problem: &Problem) -> Vec<String> {
    let fix = Some(format!("fix: {}", problem.fix)).filter(|_| !problem.fix.is_empty());
    std::iter::once(problem.message.clone()).chain(fix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    #[test]
    fn times_are_told_as_people_tell_them() {
        let now = at(1_000_000);
        let told = |offset: i64| relative(&at(1_000_000 + offset), &now);
        assert_eq!(told(0), "now");
        assert_eq!(told(59), "in 59 s");
        assert_eq!(told(-61), "1 min ago");
        assert_eq!(told(6 * 3600), "in 6 h");
        assert_eq!(told(5 * 3600 + 12 * 60 + 7), "in 5 h 12 min");
        assert_eq!(told(-100_000), "1 day ago");
        assert_eq!(told(30 * 86400), "in 30 days");
    }

    #[test]
    fn a_branch_without_expiry_never_expires() {
        assert_eq!(expiry(None, &at(0)), "never");
        assert_eq!(expiry(Some(&at(10)), &at(70)), "expired 1 min ago");
    }

    #[test]
    fn sizes_have_one_decimal() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(7_864_320), "7.8 MB");
        assert_eq!(size(1_999_999_999), "1.9 GB");
    }
}

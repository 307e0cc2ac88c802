//! The rules of the service as functions of values: a request and what is remembered go in, a decision or a refusal
//! in the service's own words comes out. Nothing here does I/O or asks for the time.

pub(crate) mod branch;
pub(crate) mod credential;
pub(crate) mod database;
pub(crate) mod endpoint;
pub(crate) mod id;
pub(crate) mod mask;
pub(crate) mod page;
pub(crate) mod project;
pub(crate) mod record;
pub(crate) mod role;
pub(crate) mod view;

/// How many and how long. The defaults are the real service's.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Branches of a project, soft-deleted ones aside.
    pub branches: usize,
    /// Branches of a project that are not archived. Local Lakebase archives none, so this is the limit that bites.
    pub unarchived_branches: usize,
    /// Protected branches of a project.
    pub protected_branches: usize,
    /// The longest time from now until a branch expires.
    pub max_expiration: std::time::Duration,
    /// How long a soft-deleted branch can be brought back.
    pub undelete_window: std::time::Duration,
    /// Time for which a purge must have been due, by a clock that cannot be set, before it happens.
    pub purge_delay: std::time::Duration,
    /// How often expired and deleted branches are looked for.
    pub sweep_period: std::time::Duration,
    /// Computes that run at once, of all projects. The one that was used least lately makes room.
    pub running_computes: usize,
    /// Whether each endpoint gets a loopback address of its own, on port 5432. Needs Linux.
    pub own_addresses: bool,
    /// How many of a hundred requests fail on purpose.
    pub failing_percent: u8,
    /// How long an access token of the API lives.
    pub access_token_life: std::time::Duration,
    /// How long the password of a database lives when nobody asks for another time.
    pub credential_life: std::time::Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            branches: 500,
            unarchived_branches: 10,
            protected_branches: 1,
            max_expiration: std::time::Duration::from_secs(30 * DAY),
            undelete_window: std::time::Duration::from_secs(7 * DAY),
            purge_delay: std::time::Duration::from_hours(1),
            sweep_period: std::time::Duration::from_secs(2),
            running_computes: 20,
            own_addresses: cfg!(target_os = "linux"),
            failing_percent: 0,
            access_token_life: std::time::Duration::from_hours(1),
            credential_life: std::time::Duration::from_hours(1),
        }
    }
}

/// Reads a duration as the service's times are counted; one too long for that is as good as for ever.
pub(crate) fn delta(duration: std::time::Duration) -> chrono::TimeDelta {
    chrono::TimeDelta::from_std(duration).unwrap_or(chrono::TimeDelta::MAX)
}

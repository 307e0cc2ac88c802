//! Who we are to the service: which workspace, which way of signing in, and where both were found. Choosing is done with values
//! (`settings`, `choose`, `profile`); tokens are fetched in `fetch`, one file per way that has to ask somebody, and kept by
//! `tokens`.

pub mod env;
pub mod origin;
pub mod profile;
pub mod sign_in;

mod choose;
mod config_file;
mod fetch;
mod settings;
pub(crate) mod tokens;

use std::fmt;
use std::io;
use std::path::PathBuf;

use secrecy::SecretString;

pub use choose::{Attempt, Outcome};
use origin::{Origin, OriginError};
use sign_in::SignIn;

/// A workspace and the right to talk to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Workspace {
    /// Where it is, and the only place the token is sent to.
    pub origin: Origin,
    /// The ways of signing in; the first that gives a token is used.
    pub sign_in: Vec<SignIn>,
    /// Where both were found, for messages.
    pub source: TokenSource,
    /// The workspace's number, where somebody told it.
    pub workspace_id: Option<String>,
}

impl Workspace {
    /// A workspace whose token is known.
    pub fn with_token(origin: Origin, token: SecretString, source: TokenSource) -> Self {
        Self {
            origin,
            sign_in: vec![SignIn::Token(token)],
            source,
            workspace_id: None,
        }
    }
}

/// Where host and token were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// `DATABRICKS_HOST` and `DATABRICKS_TOKEN`.
    Environment,
    /// A profile.
    Profile {
        /// Its name.
        name: String,
        /// The file it is in.
        file: PathBuf,
    },
    /// The program itself, in its own words: "Local Lakebase".
    Given(String),
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("the environment"),
            Self::Profile { name, file } => write!(f, "profile `{name}` in `{}`", file.display()),
            Self::Given(words) => f.write_str(words),
        }
    }
}

/// Why no workspace was chosen.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Nothing is configured at all.
    #[error(
        "cannot find a workspace: `DATABRICKS_HOST`, `DATABRICKS_TOKEN` and `DATABRICKS_CONFIG_PROFILE` are not set, and `{}` has no default profile",
        .file.display()
    )]
    NotConfigured {
        /// The file that was looked at.
        file: PathBuf,
    },
    /// The profile that was asked for does not exist.
    #[error("cannot find profile `{profile}` in `{}`, which has {}", .file.display(), listed(.known))]
    UnknownProfile {
        /// The name that was asked for.
        profile: String,
        /// The file that was looked at.
        file: PathBuf,
        /// The profiles it does have.
        known: Vec<String>,
    },
    /// Half of what is needed is there.
    #[error("cannot use {place}: it has no {missing}")]
    Incomplete {
        /// The place.
        place: TokenSource,
        /// What is missing: "host", or a setting.
        missing: &'static str,
    },
    /// One place asks for several ways of signing in. The words are those of the service's own libraries.
    #[error(
        "validate: more than one authorization method configured: {} (`{}` in {place})",
        .methods.join(" and "), .keys.join("`, `")
    )]
    SeveralMethods {
        /// The place.
        place: TokenSource,
        /// The kinds of signing in.
        methods: Vec<&'static str>,
        /// A setting of each.
        keys: Vec<&'static str>,
    },
    /// Two places or two ways of signing in contradict each other.
    #[error("cannot choose between {first} and {second}")]
    Ambiguous {
        /// One of them.
        first: String,
        /// The other one.
        second: String,
    },
    /// It asks for a way of signing in that is not built in.
    #[error("cannot sign in with `{method}` of {place}; there are {}", .supported.join(", "))]
    Unsupported {
        /// The place.
        place: TokenSource,
        /// What it asks for.
        method: String,
        /// What is built in.
        supported: Vec<&'static str>,
    },
    /// The host is not one a token may be sent to.
    #[error("cannot use the host of {place}")]
    BadHost {
        /// The place.
        place: TokenSource,
        /// What is wrong with it.
        source: OriginError,
    },
    /// The file of profiles cannot be read.
    #[error("cannot read `{}`", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file of profiles is not an INI file. Its text is not shown, because it holds secrets.
    #[error("cannot read `{}`: line {line} is neither a section nor `key = value`", .file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The line, counted from one.
        line: usize,
    },
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "no profile".to_owned()
    } else {
        format!("`{}`", names.join("`, `"))
    }
}

impl AuthError {
    /// Returns what a person should try: one command, or one sentence.
    pub fn fix(&self) -> String {
        match self {
            Self::NotConfigured { .. } => "run `databricks auth login`".into(),
            Self::UnknownProfile { profile, .. } => {
                format!("run `databricks auth login --profile {profile}`")
            }
            Self::Incomplete { place, missing } => format!("add `{missing}` to {place}"),
            Self::SeveralMethods { place, .. } => {
                format!("set `auth_type` in {place} to the one that is meant")
            }
            Self::Ambiguous { first, second } => format!("unset one of {first} and {second}"),
            Self::Unsupported { place, .. } => format!("set `auth_type` in {place} to one of them"),
            Self::BadHost { place, .. } => format!("mend `host` in {place}"),
            Self::Unreadable { file, .. } | Self::Malformed { file, .. } => {
                format!("mend `{}`", file.display())
            }
        }
    }
}

//! Who we are to the service: which workspace, which token, and where both were found. Each way of signing in is a
//! file here; so far there is one, `pat` (a personal access token). Nothing here talks to the network.

pub mod env;
pub mod origin;
pub mod profile;

mod config_file;
mod pat;

use std::fmt;
use std::io;
use std::path::PathBuf;

use secrecy::SecretString;

use origin::{Origin, OriginError};

/// A workspace and the right to talk to it.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// Where it is, and the only place the token is sent to.
    pub origin: Origin,
    /// The token.
    pub token: SecretString,
    /// Where both were found, for messages.
    pub source: TokenSource,
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
        /// What is missing: "host" or "token".
        missing: &'static str,
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
    #[error("cannot sign in with `{method}` of {place}: only tokens are supported")]
    Unsupported {
        /// The place.
        place: TokenSource,
        /// What it asks for.
        method: String,
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

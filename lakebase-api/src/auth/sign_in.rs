//! The ways of signing in, with all that each needs, and why one did not work. Values only: `fetch` acts on them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::origin::Origin;

/// One way of signing in. The names are those of the service's own libraries (`auth_type`).
#[derive(Clone, Debug)]
pub enum SignIn {
    /// `pat`: a token that is good as it is.
    Token(SecretString),
    /// `oauth-m2m`: a service principal with a secret.
    Machine {
        /// The application's id.
        client_id: String,
        /// Its secret.
        client_secret: SecretString,
    },
    /// `env-oidc` and `file-oidc`: a token of another issuer, given for one of the workspace.
    Exchange {
        /// Where the other token is.
        token: IdToken,
        /// The service principal to become; `None` for the one that the issuer's policy is for.
        client_id: Option<String>,
    },
    /// `azure-client-secret`: a service principal of Azure.
    AzureSecret {
        /// Azure's address for signing in.
        login: Url,
        /// The directory; asked from the workspace when nobody said.
        tenant: Option<String>,
        /// The application's id.
        client_id: String,
        /// Its secret.
        client_secret: SecretString,
    },
    /// `azure-cli`: who is signed in there.
    AzureCli {
        /// The directory to ask for.
        tenant: Option<String>,
        /// The environment that it runs with.
        variables: Variables,
    },
    /// `databricks-cli`: who has signed in there with a browser.
    DatabricksCli(Box<DatabricksCli>),
}

/// How the Databricks CLI is asked for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabricksCli {
    /// The program, as a path or a name.
    pub program: PathBuf,
    /// Whose token: `--profile` or `--host`, and its value.
    pub whose: [String; 2],
    /// The environment that it runs with.
    pub variables: Variables,
    /// Held while it runs, so that processes of one user ask one after the other.
    pub lock: Option<PathBuf>,
}

/// The environment of a program. The address of a proxy may hold a password, so only names are shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(pub(crate) BTreeMap<String, String>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Where a token of another issuer is.
#[derive(Clone, Debug)]
pub enum IdToken {
    /// It was in the environment.
    Value(SecretString),
    /// In a file, which is read each time: its owner renews it.
    File(PathBuf),
}

impl SignIn {
    /// Its name in `auth_type` and in the user agent.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Token(_) => "pat",
            Self::Machine { .. } => "oauth-m2m",
            Self::Exchange {
                token: IdToken::Value(_),
                ..
            } => "env-oidc",
            Self::Exchange {
                token: IdToken::File(_),
                ..
            } => "file-oidc",
            Self::AzureSecret { .. } => "azure-client-secret",
            Self::AzureCli { .. } => "azure-cli",
            Self::DatabricksCli(_) => "databricks-cli",
        }
    }

    /// All that tells one from another, secrets included.
    fn parts(&self) -> Vec<&str> {
        match self {
            Self::Token(token) => vec![token.expose_secret()],
            Self::Machine {
                client_id,
                client_secret,
            } => vec![client_id, client_secret.expose_secret()],
            Self::Exchange { token, client_id } => vec![
                match token {
                    IdToken::Value(token) => token.expose_secret(),
                    IdToken::File(path) => path.to_str().unwrap_or_default(),
                },
                client_id.as_deref().unwrap_or_default(),
            ],
            Self::AzureSecret {
                login,
                tenant,
                client_id,
                client_secret,
            } => vec![
                login.as_str(),
                tenant.as_deref().unwrap_or_default(),
                client_id,
                client_secret.expose_secret(),
            ],
            Self::AzureCli { tenant, .. } => vec![tenant.as_deref().unwrap_or_default()],
            Self::DatabricksCli(cli) => {
                vec![
                    cli.program.to_str().unwrap_or_default(),
                    &cli.whose[0],
                    &cli.whose[1],
                ]
            }
        }
    }
}

impl PartialEq for SignIn {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.parts() == other.parts()
    }
}

/// Why signing in did not give a token.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Nobody has signed in, or too long ago.
    #[error("nobody is signed in: {said}")]
    NotLoggedIn {
        /// The command that signs in.
        login: String,
        /// What was said, without secrets.
        said: String,
    },
    /// The program that keeps the token is not there.
    #[error("there is no `{program}`")]
    NoProgram {
        /// The program.
        program: String,
        /// How to get it.
        fix: &'static str,
    },
    /// The program is too old to be asked.
    #[error("`{program}` is version {version}; at least {least} is needed")]
    TooOld {
        /// The program.
        program: String,
        /// What it says it is.
        version: String,
        /// What is needed.
        least: &'static str,
    },
    /// The program does not end.
    #[error("`{program}` does not answer in time")]
    Hangs {
        /// The program.
        program: String,
        /// What to try.
        fix: String,
    },
    /// The keyring cannot be opened.
    #[error("the keyring is locked or cannot be reached: {said}")]
    Locked {
        /// What to try.
        fix: String,
        /// What was said.
        said: String,
    },
    /// What was shown is not accepted.
    #[error("`{who}` does not accept {what}: {said}")]
    Refused {
        /// The host that was asked.
        who: String,
        /// What it was shown, in words.
        what: &'static str,
        /// What it said.
        said: String,
    },
    /// An address was told that no secret may be sent to.
    #[error("`{origin}` names `{told}` to sign in at, which is of another owner")]
    Elsewhere {
        /// The workspace.
        origin: String,
        /// The host that it named.
        told: String,
    },
    /// A file that should hold a token cannot be read.
    #[error("cannot read `{}`", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An answer that makes no sense.
    #[error("`{who}` answered {reason}")]
    Odd {
        /// Who was asked.
        who: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// Nobody answered.
    #[error("cannot reach `{who}`")]
    Offline {
        /// Who was asked.
        who: String,
        /// What the network said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl SignInError {
    /// All of it takes longer than a call may.
    pub(crate) fn slow(origin: &Origin) -> Self {
        Self::Hangs {
            program: format!("signing in to {origin}"),
            fix: "run `lakebase doctor`; perhaps the keyring waits for a password".into(),
        }
    }

    /// Returns what a person should try: one command, or one sentence.
    pub fn fix(&self) -> String {
        match self {
            Self::NotLoggedIn { login, .. } => format!("run `{login}`"),
            Self::NoProgram { fix, .. } => (*fix).to_owned(),
            Self::TooOld { .. } => {
                "install a newer Databricks CLI (https://docs.databricks.com/dev-tools/cli/install)".into()
            }
            Self::Hangs { fix, .. } | Self::Locked { fix, .. } => fix.clone(),
            Self::Refused { what, .. } => {
                format!("put {what} that is accepted where it was found (see `lakebase doctor`)")
            }
            Self::Elsewhere { .. } => "check the host: it must be the workspace's own address".into(),
            Self::Unreadable { .. } => "check the file, and DATABRICKS_OIDC_TOKEN_FILEPATH".into(),
            Self::Odd { .. } => {
                "check the host, and whether a sign-in page of the network answers in its place".into()
            }
            Self::Offline { .. } => "check the network and the proxy; it is tried again by itself".into(),
        }
    }

    /// Says whether it may work later although nobody does anything about it.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Offline { .. } | Self::Odd { .. } | Self::Hangs { .. })
    }
}

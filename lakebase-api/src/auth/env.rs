//! The environment, read once. Everything else in this crate takes values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::sign_in::Variables;

/// What the environment says. Empty variables count as not set. Any of them may be a secret.
#[derive(Clone, Debug, Default)]
pub struct AuthEnv {
    variables: BTreeMap<String, SecretString>,
}

impl AuthEnv {
    /// Reads the environment of this process.
    pub fn from_process() -> Self {
        let variables = std::env::vars_os();
        Self::of(
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// Takes these variables for the environment.
    pub fn of<N: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        let trimmed = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into().trim().to_owned()));
        Self {
            variables: trimmed
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (name, value.into()))
                .collect(),
        }
    }

    /// An environment that says nothing but where the profiles are.
    pub fn with_profiles(file: &Path) -> Self {
        Self::of([("DATABRICKS_CONFIG_FILE", file.display().to_string())])
    }

    /// Returns a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(ExposeSecret::expose_secret)
    }

    /// Returns the variables that a program of somebody else needs to run.
    pub(crate) fn for_programs(&self) -> Variables {
        let is_needed =
            |name: &str| PASSED.contains(&name) || name.starts_with("XDG_") || name.starts_with("LC_");
        let needed = self.variables.iter().filter(|(name, _)| is_needed(name));
        let needed = needed.map(|(name, value)| (name.clone(), value.expose_secret().to_owned()));
        Variables(needed.collect())
    }

    /// Returns where the profiles are: the file that `DATABRICKS_CONFIG_FILE` names, else `.databrickscfg` in the home directory.
    pub fn config_path(&self) -> Option<PathBuf> {
        let home = self.get("HOME").map(PathBuf::from);
        match (self.get("DATABRICKS_CONFIG_FILE").map(PathBuf::from), home) {
            (Some(file), Some(home)) => Some(match file.strip_prefix("~") {
                Ok(rest) => home.join(rest),
                Err(_) => file,
            }),
            (Some(file), None) => Some(file),
            (None, home) => home.map(|home| home.join(".databrickscfg")),
        }
    }
}

/// The variables that programs are passed on.
const PASSED: [&str; 19] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TMPDIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "DATABRICKS_CONFIG_FILE",
    "DATABRICKS_AUTH_STORAGE",
    "AZURE_CONFIG_DIR",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
];

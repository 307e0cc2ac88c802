//! The environment, read once. Everything else in this crate takes values.

use std::path::PathBuf;

use secrecy::SecretString;

/// The variables that choose a way of signing in other than a token. They are only noticed, not used.
const OTHER_METHODS: [&str; 9] = [
    "DATABRICKS_CLIENT_ID",
    "DATABRICKS_CLIENT_SECRET",
    "DATABRICKS_USERNAME",
    "DATABRICKS_PASSWORD",
    "DATABRICKS_METADATA_SERVICE_URL",
    "DATABRICKS_OIDC_TOKEN_ENV",
    "DATABRICKS_OIDC_TOKEN_FILEPATH",
    "DATABRICKS_AZURE_RESOURCE_ID",
    "GOOGLE_CREDENTIALS",
];

/// What the environment says about signing in. Empty variables count as not set.
#[derive(Clone, Debug, Default)]
pub struct AuthEnv {
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `DATABRICKS_HOST`.
    pub host: Option<String>,
    /// `DATABRICKS_TOKEN`.
    pub token: Option<SecretString>,
    /// `DATABRICKS_CONFIG_PROFILE`.
    pub profile: Option<String>,
    /// `DATABRICKS_CONFIG_FILE`.
    pub config_file: Option<PathBuf>,
    /// `DATABRICKS_AUTH_TYPE`.
    pub auth_type: Option<String>,
    /// The variables that are set and belong to another way of signing in.
    pub other_methods: Vec<&'static str>,
}

impl AuthEnv {
    /// Reads the environment of this process.
    pub fn from_process() -> Self {
        let path = |key: &str| {
            std::env::var_os(key)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let text = |key: &str| std::env::var(key).ok().filter(|value| !value.trim().is_empty());
        Self {
            home: path("HOME"),
            host: text("DATABRICKS_HOST"),
            token: text("DATABRICKS_TOKEN").map(|token| SecretString::from(token.trim().to_owned())),
            profile: text("DATABRICKS_CONFIG_PROFILE"),
            config_file: path("DATABRICKS_CONFIG_FILE"),
            auth_type: text("DATABRICKS_AUTH_TYPE"),
            other_methods: OTHER_METHODS
                .into_iter()
                .filter(|key| text(key).is_some())
                .collect(),
        }
    }

    /// Returns where the profiles are: the named file, else `.databrickscfg` in the home directory.
    pub fn config_path(&self) -> Option<PathBuf> {
        match (&self.config_file, &self.home) {
            (Some(file), Some(home)) => Some(
                file.strip_prefix("~")
                    .map_or_else(|_| file.clone(), |rest| home.join(rest)),
            ),
            (Some(file), None) => Some(file.clone()),
            (None, home) => home.as_ref().map(|home| home.join(".databrickscfg")),
        }
    }
}

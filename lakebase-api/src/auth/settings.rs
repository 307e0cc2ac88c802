//! What one place says about signing in: the environment, or a profile. The names of the settings are those of the service's
//! own libraries. Values only.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::TokenSource;
use super::config_file::Profile;
use super::env::AuthEnv;

/// A setting: its key in a profile, its variable, and the kind of signing in that it belongs to, if to one.
struct Known {
    key: &'static str,
    variable: &'static str,
    kind: &'static str,
}

const fn known(key: &'static str, variable: &'static str, kind: &'static str) -> Known {
    Known { key, variable, kind }
}

const KNOWN: [Known; 20] = [
    known("host", "DATABRICKS_HOST", ""),
    known("workspace_id", "DATABRICKS_WORKSPACE_ID", ""),
    known("auth_type", "DATABRICKS_AUTH_TYPE", ""),
    known("databricks_cli_path", "DATABRICKS_CLI_PATH", ""),
    known("token", "DATABRICKS_TOKEN", "pat"),
    known("username", "DATABRICKS_USERNAME", "basic"),
    known("password", "DATABRICKS_PASSWORD", "basic"),
    known("client_id", "DATABRICKS_CLIENT_ID", "oauth"),
    known("client_secret", "DATABRICKS_CLIENT_SECRET", "oauth"),
    known("oidc_token_env", "DATABRICKS_OIDC_TOKEN_ENV", "env-oidc"),
    known(
        "oidc_token_filepath",
        "DATABRICKS_OIDC_TOKEN_FILEPATH",
        "file-oidc",
    ),
    known(
        "metadata_service_url",
        "DATABRICKS_METADATA_SERVICE_URL",
        "metadata-service",
    ),
    known("google_credentials", "GOOGLE_CREDENTIALS", "google"),
    known(
        "google_service_account",
        "DATABRICKS_GOOGLE_SERVICE_ACCOUNT",
        "google",
    ),
    known(
        "azure_workspace_resource_id",
        "DATABRICKS_AZURE_RESOURCE_ID",
        "azure",
    ),
    known("azure_use_msi", "ARM_USE_MSI", "azure"),
    known("azure_client_id", "ARM_CLIENT_ID", "azure"),
    known("azure_client_secret", "ARM_CLIENT_SECRET", "azure"),
    known("azure_tenant_id", "ARM_TENANT_ID", "azure"),
    known("azure_environment", "ARM_ENVIRONMENT", ""),
];

/// The settings of one place.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) source: TokenSource,
    values: BTreeMap<&'static str, SecretString>,
}

impl Settings {
    pub(super) fn of_environment(env: &AuthEnv) -> Self {
        let value = |known: &Known| Some((known.key, SecretString::from(env.get(known.variable)?)));
        Self {
            source: TokenSource::Environment,
            values: KNOWN.iter().filter_map(value).collect(),
        }
    }

    pub(super) fn of_profile(profile: &Profile<'_>, source: TokenSource) -> Self {
        let value = |known: &Known| Some((known.key, SecretString::from(profile.value(known.key)?)));
        Self {
            source,
            values: KNOWN.iter().filter_map(value).collect(),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(ExposeSecret::expose_secret)
    }

    pub(super) fn secret(&self, key: &str) -> Option<SecretString> {
        self.values.get(key).cloned()
    }

    /// The kinds of signing in that are set here, each with the setting that says so, by the alphabet.
    pub(super) fn kinds(&self) -> BTreeMap<&'static str, &'static str> {
        let set = KNOWN.iter().filter(|known| self.values.contains_key(known.key));
        set.filter(|known| !known.kind.is_empty())
            .map(|known| (known.kind, known.key))
            .collect()
    }

    /// Says whether the place is about a workspace at all. Those of Azure's own tools alone are not: they are set for others.
    pub(super) fn is_about_a_workspace(&self) -> bool {
        self.workspace_variable().is_some()
    }

    /// Returns the variable of the first setting here that names a workspace or a way of signing in to one.
    pub(super) fn workspace_variable(&self) -> Option<&'static str> {
        let is_telling = |key: &str| key == "azure_workspace_resource_id" || !key.starts_with("azure_");
        let is_kind = |known: &Known| !known.kind.is_empty() || known.key == "host";
        KNOWN
            .iter()
            .filter(|known| is_kind(known) && self.values.contains_key(known.key))
            .find(|known| is_telling(known.key))
            .map(|known| known.variable)
    }

    /// The settings whose values are others here than there, by their variables.
    pub(super) fn differing(&self, other: &Self) -> Option<&'static str> {
        let differs = |known: &&Known| {
            let here = self.get(known.key);
            here.is_some() && here != other.get(known.key) && known.key != "host"
        };
        KNOWN.iter().find(differs).map(|known| known.variable)
    }
}

//! Short-lived passwords for the database of one endpoint. The token is the only secret among the resources.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::duration::ProtoDuration;
use super::name::EndpointName;

/// A password for PostgreSQL and how long it opens new connections ("credentials: generate").
///
/// Serialising writes the token in clear: that is what the server side of the API is for, and nothing else may do it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatabaseCredential {
    /// The password.
    #[serde(serialize_with = "write_token", deserialize_with = "read_token")]
    pub token: SecretString,
    /// Until when it opens new connections; open ones live on.
    pub expire_time: DateTime<Utc>,
}

/// What is asked for with "credentials: generate".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialRequest {
    /// The endpoint the password is for.
    pub endpoint: EndpointName,
    /// When it is to expire; excludes `ttl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<DateTime<Utc>>,
    /// How long it is to live, 300 to 3600 seconds; the service's own choice is an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<ProtoDuration>,
}

fn write_token<S: Serializer>(token: &SecretString, output: S) -> Result<S::Ok, S::Error> {
    output.serialize_str(token.expose_secret())
}

pub(crate) fn read_token<'de, D: Deserializer<'de>>(input: D) -> Result<SecretString, D::Error> {
    String::deserialize(input).map(SecretString::from)
}
